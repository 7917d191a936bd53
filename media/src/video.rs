//! Picture: where it comes from, the codec, and where it goes.
//!
//! ```text
//! source ─▶ Sender's thread: scale, encode ─▶ Outgoing::Frame ─▶ … ─▶ Receiver::push ─▶ Receiver's thread: decode,
//! (camera: a thread of its own)                                        wait for the sound's time, show ─▶ sinks
//! ```
//!
//! Everything keeps the latest and drops the old: a picture that comes late is worth nothing. The decoder shows a whole
//! picture or freezes the last one until the next key frame, never a damaged one.

pub mod codec;
mod describe;
pub mod h264;
pub mod ivf;
pub mod ladder;
pub mod measure;
pub mod moving;
pub mod picture;
mod png;
mod receiver;
pub mod screen;
mod sender;
mod sending;
mod sink;
mod smooth;
mod source;
mod window;
pub mod y4m;

#[cfg(target_os = "linux")]
mod camera;
#[cfg(not(target_os = "linux"))]
mod camera {
    //! Cameras of other systems come with their own code; here they are missing, and say so.
    pub(crate) use super::source::NoCamera as Camera;
}

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use picture::Picture;
pub use png::write_png;
pub use receiver::{PresentAt, Receiver, ReceiverStats};
pub use sending::{Sender, SenderStats};
pub use sink::Tap;

/// Where the picture to send comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum VideoSource {
    /// A camera: the named one (`/dev/video0`), or the first that works.
    Camera(Option<String>),
    /// A Y4M file, at its own size and rate, repeated at its end.
    Y4m(PathBuf),
    /// An IVF file with H.264 inside, at its own size and rate, repeated at its end. It is decoded and encoded again,
    /// so that bitrate and key frames are the call's.
    Ivf(PathBuf),
    /// A picture that moves by itself, the same for the same seed; see [`moving`].
    Moving {
        /// Chooses the picture.
        seed: u64,
    },
}

impl VideoSource {
    /// The source that a file is, by its first bytes; the error names what was found instead.
    pub fn file(path: &Path) -> Result<Self, Error> {
        match describe::file(path).as_str() {
            "a Y4M video file" => Ok(Self::Y4m(path.into())),
            "an IVF video file" => Ok(Self::Ivf(path.into())),
            _ if !path.exists() => Err(Error::Open(path.into(), "there is no such file".into())),
            other => Err(Error::NotVideo(path.into(), other.into())),
        }
    }
}

impl VideoSource {
    /// Whether both cannot be open at once: one camera, or two that may be one.
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Camera(Some(one)), Self::Camera(Some(two))) => one == two,
            (Self::Camera(_), Self::Camera(_)) => true,
            _ => false,
        }
    }

    /// The camera after this one, round and round; `None` if there is no other.
    #[must_use]
    pub fn next_camera(&self) -> Option<Self> {
        let cameras = camera::Camera::list();
        let at = match self {
            Self::Camera(Some(name)) => cameras.iter().position(|camera| camera == name),
            Self::Camera(None) => Some(0),
            _ => None,
        };
        let next = at.map_or(0, |at| (at + 1) % cameras.len().max(1));
        let name = cameras.get(next).filter(|_| Some(next) != at)?;
        Some(Self::Camera(Some(name.clone())))
    }
}

/// Names of the machine's cameras, for [`VideoSource::Camera`], in the order in which they are tried.
#[must_use]
pub fn cameras() -> Vec<String> {
    camera::Camera::list()
}

/// Where the received picture goes.
#[derive(Clone, Debug, Default)]
pub enum VideoSink {
    /// A plain window of its own.
    Window {
        /// What its title bar says.
        title: String,
    },
    /// A Y4M file, 30 pictures a second.
    Y4m(PathBuf),
    /// A PNG file of the latest picture, written when the receiver ends.
    Png(PathBuf),
    /// Whoever holds the [`Tap`] looks at the pictures.
    Tap(Tap),
    /// Several at once.
    All(Vec<VideoSink>),
    /// Decoded and dropped.
    #[default]
    Null,
}

impl VideoSink {
    /// The sink for a file name: `.png` is a snapshot, anything else Y4M.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        let png = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
        if png { Self::Png(path.into()) } else { Self::Y4m(path.into()) }
    }
}

/// Limits of the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Pixels: what a camera is asked for, the synthetic picture is drawn in, and larger files are scaled down to.
    /// Pictures that stand upright are fitted into the same size turned.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames per second at most.
    pub fps: u32,
    /// Bits per second at most.
    pub max_bitrate: u32,
    /// How the camera stands: its pictures are turned clockwise by this.
    pub turn: Turn,
}

/// Quarter turns, clockwise; as a number, degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub enum Turn {
    /// As it is.
    #[default]
    None,
    /// 90 degrees.
    Quarter,
    /// 180 degrees.
    Half,
    /// 270 degrees.
    ThreeQuarters,
}

/// No quarter turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a picture can be turned by 0, 90, 180 or 270 degrees")]
pub struct NoQuarterTurn;

impl TryFrom<u16> for Turn {
    type Error = NoQuarterTurn;

    fn try_from(degrees: u16) -> Result<Self, NoQuarterTurn> {
        match degrees {
            0 => Ok(Self::None),
            90 => Ok(Self::Quarter),
            180 => Ok(Self::Half),
            270 => Ok(Self::ThreeQuarters),
            _ => Err(NoQuarterTurn),
        }
    }
}

impl From<Turn> for u16 {
    fn from(turn: Turn) -> Self {
        match turn {
            Turn::None => 0,
            Turn::Quarter => 90,
            Turn::Half => 180,
            Turn::ThreeQuarters => 270,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { width: 640, height: 360, fps: 30, max_bitrate: 800_000, turn: Turn::None }
    }
}

/// Why a source or sink does not work, in words for the person in the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("cannot read {0}: {1}")]
    Open(PathBuf, String),
    /// The file is something else.
    #[error("{0} is {1}, not a Y4M video file")]
    NotY4m(PathBuf, String),
    /// The file is something else.
    #[error("{0} is {1}, not an IVF video file")]
    NotIvf(PathBuf, String),
    /// The file is nothing that can be sent as a picture.
    #[error(
        "{0} is {1}; Y4M and IVF (H.264) video files can be sent; `ffmpeg -i FILE out.y4m` makes one of most others"
    )]
    NotVideo(PathBuf, String),
    /// The file is of the right kind, but cannot be used.
    #[error("{0} cannot be played: {1}")]
    BadFile(PathBuf, String),
    /// A file cannot be made or written.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, String),
    /// The camera is missing, busy, unplugged or gives nothing that can be used.
    #[error("{0}")]
    Camera(String),
    /// A screen or window cannot be shared.
    #[error("{0}")]
    Screen(String),
    /// The sharing of a screen or window has ended and does not come back by itself: it was closed, refused or stopped.
    #[error("{0}")]
    ScreenOver(String),
    /// No window can be opened.
    #[error("no window for the picture: {0}; use --video-out FILE or --video-out none")]
    Window(String),
    /// Sizes that cannot be.
    #[error(transparent)]
    Size(#[from] picture::SizeError),
    /// The codec does not work.
    #[error(transparent)]
    Codec(#[from] codec::CodecError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(String),
}

#[cfg(test)]
mod tests;
