//! Picture: sources, codec, sinks. This is the seam to the session; what is behind it follows.

use std::path::PathBuf;

/// Where the picture to send comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum VideoSource {
    /// A camera: the named one (`/dev/video0`), or the first that works.
    Camera(Option<String>),
    /// A Y4M file, repeated at its end.
    Y4m(PathBuf),
    /// A picture that moves by itself, the same for the same seed.
    Moving {
        /// Chooses the picture.
        seed: u64,
    },
}

/// Where the received picture goes.
#[derive(Clone, Debug, Default)]
pub enum VideoSink {
    /// A Y4M file.
    Y4m(PathBuf),
    /// Decoded and dropped.
    #[default]
    Null,
}

/// Limits of the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second at most.
    pub fps: u32,
    /// Bits per second at most.
    pub max_bitrate: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { width: 640, height: 360, fps: 30, max_bitrate: 800_000 }
    }
}
