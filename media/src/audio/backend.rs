//! What a sound system must offer: a list of devices, capture and playback of mono 48 kHz.
//!
//! A stream that breaks later is noticed by its [`Stream::alive`] or by its silence; [`super::device`] then opens it
//! again. Backends call back from threads of their own.

use std::sync::Arc;
use std::time::Duration;

/// A device as the person may choose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What [`AudioBackend::capture`] and [`AudioBackend::playback`] take; stable across restarts.
    pub id: String,
    /// For people.
    pub name: String,
    /// Whether it hears (else it plays).
    pub input: bool,
    /// Whether it is the system's default of its kind.
    pub default: bool,
    /// Whether it hears what a speaker plays, rather than a person.
    pub monitor: bool,
}

/// Why there is no sound from or to a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// No PulseAudio or PipeWire (or what the system has instead) answers.
    #[error("no sound server answers ({0}); start PulseAudio or PipeWire, or use files instead of devices")]
    NoServer(String),
    /// The server has no device of that name, or none at all.
    #[error("there is no {kind} {}; see the list of sound devices", describe(.name.as_deref()))]
    NoDevice {
        /// "microphone" or "speaker".
        kind: &'static str,
        /// What was asked for.
        name: Option<String>,
    },
    /// The server does not answer in time.
    #[error("the sound server does not answer")]
    Timeout,
    /// The server or the device refuses.
    #[error("the sound server refuses: {0}")]
    Refused(String),
    /// A file that cannot be used as sound.
    #[error(transparent)]
    Wav(#[from] super::wav::WavError),
}

fn describe(name: Option<&str>) -> String {
    name.map_or_else(|| "at all".to_owned(), |name| format!("named {name:?}"))
}

/// Takes captured samples, in pieces of the backend's choice, as they come.
pub type Take = Arc<dyn Fn(&[f32]) + Send + Sync>;
/// Fills samples to play; the duration says how long after this call they will be heard, as far as it is known.
pub type Fill = Arc<dyn Fn(&mut [f32], Duration) + Send + Sync>;

/// A running stream; dropping it ends it.
pub trait Stream: Send {
    /// False once it will never call back again.
    fn alive(&self) -> bool;

    /// Asks the sound system whether the stream is still connected to a device; for a stream that has fallen silent.
    /// May wait for the answer.
    fn still_there(&self) -> bool {
        self.alive()
    }
}

/// A sound system.
pub trait AudioBackend: Send + Sync {
    /// Its name, for `doctor` and logs.
    fn name(&self) -> &'static str;
    /// All devices, defaults first.
    fn devices(&self) -> Result<Vec<Device>, AudioError>;
    /// Begins to capture from a device (its id; none: the default).
    fn capture(&self, device: Option<&str>, take: Take) -> Result<Box<dyn Stream>, AudioError>;
    /// Begins to capture what other programs play, calls left out; silence where nothing does.
    fn capture_playing(&self, _take: Take) -> Result<Box<dyn Stream>, AudioError> {
        Err(AudioError::Refused(format!("the sound of other programs cannot be heard with {}", self.name())))
    }
    /// Begins to play on a device (its id; none: the default).
    fn playback(&self, device: Option<&str>, fill: Fill) -> Result<Box<dyn Stream>, AudioError>;
}

/// The sound system of this machine.
#[must_use]
pub fn system() -> Arc<dyn AudioBackend> {
    #[cfg(target_os = "linux")]
    return Arc::new(super::pulse::Pulse::from_env());
    #[cfg(not(target_os = "linux"))]
    return Arc::new(super::cpal_host::Cpal);
}
