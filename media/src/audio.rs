//! Sound: codec, jitter buffer, devices and their file and synthetic twins.
//!
//! All sound inside is mono `f32` at [`SAMPLE_RATE`], nominally within ±1.

use std::path::PathBuf;
use std::sync::Arc;

pub mod backend;
pub mod codec;
pub mod device;
pub mod echo_lab;
pub mod jitter;
pub mod join;
pub mod limiter;
pub mod loopback;
pub mod meter;
pub mod mixer;
pub mod music;
pub mod paced;
pub mod packet;
pub mod process;
pub mod protection;
pub mod red;
pub mod resample;
pub mod ring;
pub mod sender;
pub mod source;
pub mod stretch;
pub mod synth;
pub mod wav;

#[cfg(not(target_os = "linux"))]
pub mod cpal_host;
#[cfg(target_os = "linux")]
pub mod pulse;

/// Samples per second of all sound inside.
pub const SAMPLE_RATE: u32 = 48_000;

/// Where sound to send comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum AudioSource {
    /// A microphone: the named one, or the system's default.
    Device(Option<String>),
    /// A WAV file of any rate and number of channels, played at its own pace.
    Wav {
        /// The file.
        path: PathBuf,
        /// Begin anew at its end; else silence follows.
        repeat: bool,
    },
    /// A sine.
    Tone {
        /// Hertz.
        frequency: f32,
    },
    /// A synthetic voice: sounds like speech, never repeats, the same for the same seed.
    Speech {
        /// Chooses voice and words.
        seed: u64,
    },
    /// Nothing to hear.
    Silence,
}

/// Where received sound goes.
#[derive(Clone)]
pub enum AudioSink {
    /// A speaker: the named one, or the system's default.
    Device(Option<String>),
    /// A WAV file, 16 bit mono 48 kHz; readable up to the last second even after a crash.
    Wav(PathBuf),
    /// Played at the right pace to nobody.
    Null,
    /// Given to a function, 10 ms at a time as it leaves the jitter buffer, at the pace of playback.
    Tap(Tap),
    /// To several sinks at once: the first sets the pace (a tap or a file along with a device).
    Both(Box<AudioSink>, Box<AudioSink>),
}

/// Takes sound with the time ([`crate::now_ns`]) at which its first sample passed. Must return at once.
pub type Tap = Arc<dyn Fn(u64, &[f32]) + Send + Sync>;

impl std::fmt::Debug for AudioSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(name) => f.debug_tuple("Device").field(name).finish(),
            Self::Wav(path) => f.debug_tuple("Wav").field(path).finish(),
            Self::Null => f.write_str("Null"),
            Self::Tap(_) => f.write_str("Tap"),
            Self::Both(a, b) => f.debug_tuple("Both").field(a).field(b).finish(),
        }
    }
}

/// What to do with captured sound, and how to encode it.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioSettings {
    /// Bits per second at most, 6 000 to 128 000; feedback lowers it.
    pub max_bitrate: u32,
    /// Milliseconds per packet: 10 or 20.
    pub frame_ms: u32,
    /// Send almost nothing while the microphone hears nothing (Opus DTX).
    pub dtx: bool,
    /// 0 (cheap) to 10.
    pub complexity: u8,
    /// What is done to the sound of a microphone before it is encoded.
    pub processing: process::ProcessingSettings,
    /// Is given every piece of captured sound as it enters the encoder's queue, for measuring.
    pub capture_tap: Option<CaptureTap>,
}

/// A [`Tap`] that can stand in settings.
#[derive(Clone)]
pub struct CaptureTap(pub Tap);

impl std::fmt::Debug for CaptureTap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CaptureTap")
    }
}

impl PartialEq for CaptureTap {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for AudioSettings {
    fn default() -> Self {
        Self {
            max_bitrate: 32_000,
            frame_ms: 20,
            dtx: true,
            complexity: 6,
            processing: Default::default(),
            capture_tap: None,
        }
    }
}
