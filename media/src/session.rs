//! A session: one person's devices (or their file and synthetic twins) in one call, as encoded frames in and out.
//!
//! What flows where: source → encoder → [`Outgoing::Frame`], and [`Incoming::Frame`] → jitter buffer or decoder →
//! sink. The session owns all threads; dropping or [`Session::stop`]ping it ends them. Outgoing audio begins the moment
//! [`Incoming::Flow`] lets it, with sound that was captured just before, so that nothing waits for a device.

use std::sync::Arc;

use crate::audio::{AudioSettings, AudioSink, AudioSource};
use crate::frame::EncodedFrame;
use crate::video::{self, VideoSink, VideoSource};

/// What a session is made of.
#[derive(Debug)]
pub struct SessionConfig {
    /// Where my voice comes from.
    pub audio_in: AudioSource,
    /// Where the other's voice goes.
    pub audio_out: AudioSink,
    /// Start muted.
    pub muted: bool,
    /// Bitrate, frame length and the like of the audio encoder.
    pub audio: AudioSettings,
    /// Where my picture comes from; none sends no video (it can be added later by [`Session::set_video`]).
    pub video_in: Option<VideoSource>,
    /// Where the other's picture goes.
    pub video_out: VideoSink,
    /// Size, rate and bitrate limits of the video encoder.
    pub video: video::Settings,
}

/// What comes from the other side, and from the node in between, into a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// An encoded frame of the other side, in order of arrival.
    Frame(EncodedFrame),
    /// A stream's clock against the sender's: for lip sync.
    Clock {
        /// Which stream.
        stream: u16,
        /// RTP timestamp in ticks of that stream.
        timestamp: u32,
        /// The sender's clock at that timestamp, microseconds; only differences mean something.
        sender_us: u64,
    },
    /// The other side's decoder needs a key frame.
    KeyFrameRequest,
    /// What the path carries, and how the other side receives.
    Feedback {
        /// Bits per second for audio and video together.
        target_bitrate: u64,
        /// Share of my packets that the other side lost, 0 to 1.
        loss: f64,
        /// Round trip in milliseconds.
        rtt_ms: Option<f64>,
    },
    /// Send now, or stop. A session starts with both stopped.
    Flow {
        /// Whether audio frames go out.
        audio: bool,
        /// Whether video frames go out.
        video: bool,
    },
}

/// What a session gives out.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outgoing {
    /// An encoded frame for the other side.
    Frame(EncodedFrame),
    /// My decoder of that stream of the other side needs a key frame.
    NeedKeyFrame {
        /// Which stream.
        stream: u16,
    },
    /// About once a second: how the other's voice was played since the last report.
    Playout {
        /// Share of concealed audio, 0 to 1.
        concealed: f64,
        /// Mean delay in the jitter buffer, milliseconds.
        delay_ms: f64,
    },
    /// Something does not work; the call goes on without it.
    Problem(Problem),
    /// What did not work works again.
    Solved(Part),
}

/// A part of a session that can fail by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Microphone, or what stands for it.
    AudioIn,
    /// Speaker, or what stands for it.
    AudioOut,
    /// Camera, or what stands for it.
    VideoIn,
    /// Screen, or what stands for it.
    VideoOut,
}

/// Why a part of the session does not work now, in words for the person in the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which part.
    pub part: Part,
    /// What is wrong and what to do, one sentence.
    pub text: String,
    /// Whether the session itself keeps trying (a device that went away), or gave up.
    pub retrying: bool,
}

/// Where the threads of a session put what leaves it. It must not block for long: encoders wait for it.
pub type Out = Arc<dyn Fn(Outgoing) + Send + Sync>;
