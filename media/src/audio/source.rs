//! An [`AudioSource`] that was opened: ready to give samples, or the name of a device.

use super::AudioSource;
use super::synth::{Silence, Speech, Synth, Tone};
use super::wav::{WavError, WavSource};

/// See the module.
pub enum SoundSource {
    /// A microphone: the named one, or the default.
    Device(Option<String>),
    /// A file.
    Wav(WavSource),
    /// Made up.
    Synth(Box<dyn Synth>),
}

impl std::fmt::Debug for SoundSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(name) => f.debug_tuple("Device").field(name).finish(),
            Self::Wav(source) => source.fmt(f),
            Self::Synth(_) => f.write_str("Synth"),
        }
    }
}

impl SoundSource {
    /// Opens files; devices are opened later, by whoever drives them.
    pub fn open(source: &AudioSource) -> Result<Self, WavError> {
        Ok(match source {
            AudioSource::Device(name) => Self::Device(name.clone()),
            AudioSource::Wav { path, repeat } => Self::Wav(WavSource::open(path, *repeat)?),
            AudioSource::Tone { frequency } => Self::Synth(Box::new(Tone::new(*frequency))),
            AudioSource::Speech { seed } => Self::Synth(Box::new(Speech::new(*seed))),
            AudioSource::Silence => Self::Synth(Box::new(Silence)),
        })
    }

    /// Fills `out` with what comes next; silence from a device that is not driven here.
    pub fn fill(&mut self, out: &mut [f32]) {
        match self {
            Self::Device(_) => out.fill(0.0),
            Self::Wav(source) => {
                source.fill(out);
            }
            Self::Synth(synth) => synth.fill(out),
        }
    }
}
