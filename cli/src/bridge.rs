//! The bridge between a seat and a session: frames of the node's media channel to the codecs and devices, and back.
//!
//! Started by `Bridge::start` on a session that already runs; one task carries both directions and ends with the
//! channel. What the session gives out passes a bounded queue without blocking an encoder: when the node does not
//! read, frames are dropped here and counted, and a picture stream goes on with the next key frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;
use twocan_control::{Made, MediaChannel, MediaControl, MediaFrame, MediaKind, MediaMessage, PictureLimits, Shown};
use twocan_media::audio::backend::{self, AudioBackend};
use twocan_media::session::{Agreed, Guidance, Incoming, Outgoing, Problem, Session, SessionConfig, SessionError};
use twocan_media::video::codec::{self, PictureCodec, Registry};
use twocan_media::{EncodedFrame, Kind};

/// What a session gives out waits here until the bridge takes it: a second of audio and video. More means that the
/// bridge stands still, and old frames are worthless in a call.
const QUEUE: usize = 96;
/// How often the node is told how pictures are shown.
const REPORT: std::time::Duration = std::time::Duration::from_secs(1);

/// A session and what it gives out.
#[derive(Debug)]
pub struct Voice {
    /// The session itself, for levels, mute and the like.
    pub session: Arc<Session>,
    outgoing: mpsc::Receiver<Outgoing>,
    dropped: Arc<AtomicU64>,
}

/// Why a bridge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The node said that the call is over.
    Over,
    /// The channel closed: the seat or the node is lost.
    Lost,
}

/// What the bridge noticed.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A part of the session does not work.
    Problem(Problem),
    /// It works again.
    Solved(twocan_media::session::Part),
    /// The recording ended, because its file cannot be written.
    RecordingFailed(twocan_media::record::RecordError),
}

/// Frames carried, for the demo's table.
#[derive(Debug, Default)]
pub struct Counters {
    audio_out: AtomicU64,
    audio_in: AtomicU64,
    video_out: AtomicU64,
    video_in: AtomicU64,
    screen_out: AtomicU64,
    screen_in: AtomicU64,
}

impl Counters {
    /// Audio frames given to the node.
    pub fn audio_out(&self) -> u64 {
        self.audio_out.load(Ordering::Relaxed)
    }

    /// Audio frames taken from the node.
    pub fn audio_in(&self) -> u64 {
        self.audio_in.load(Ordering::Relaxed)
    }

    /// Video frames given to the node.
    pub fn video_out(&self) -> u64 {
        self.video_out.load(Ordering::Relaxed)
    }

    /// Video frames taken from the node.
    pub fn video_in(&self) -> u64 {
        self.video_in.load(Ordering::Relaxed)
    }

    /// Frames of a shared screen given to the node.
    pub fn screen_out(&self) -> u64 {
        self.screen_out.load(Ordering::Relaxed)
    }

    /// Frames of a shared screen taken from the node.
    pub fn screen_in(&self) -> u64 {
        self.screen_in.load(Ordering::Relaxed)
    }

    fn count(&self, kind: MediaKind, out: bool) {
        let counter = match (kind, out) {
            (MediaKind::Audio | MediaKind::Sound, true) => &self.audio_out,
            (MediaKind::Audio | MediaKind::Sound, false) => &self.audio_in,
            (MediaKind::Screen, true) => &self.screen_out,
            (MediaKind::Screen, false) => &self.screen_in,
            (MediaKind::Video, true) => &self.video_out,
            (MediaKind::Video, false) => &self.video_in,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Voice {
    /// Starts a session whose output goes into a bounded queue.
    ///
    /// # Errors
    /// What the session failed with: a device or file that cannot be used.
    pub fn start(config: SessionConfig) -> Result<Self, SessionError> {
        Self::start_on(config, &backend::system())
    }

    /// Like [`Self::start`], on this sound system instead of the machine's own.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_on(config: SessionConfig, system: &Arc<dyn AudioBackend>) -> Result<Self, SessionError> {
        let (tx, outgoing) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let out = Arc::new(move |item| {
            if tx.try_send(item).is_err() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        let session = Session::start_on(config, out, system)?;
        Ok(Self { session: Arc::new(session), outgoing, dropped })
    }

    /// Carries frames between the session and the channel until the channel ends. Cancel-safe in the sense that a
    /// dropped future leaves the session running, ready for the next channel.
    pub async fn carry(&mut self, channel: MediaChannel, notes: &mpsc::Sender<Note>, counters: &Counters) -> End {
        let MediaChannel { tx, mut rx } = channel;
        // Frames that were encoded before this channel existed are old; trouble with a device is not.
        while let Ok(item) = self.outgoing.try_recv() {
            match item {
                Outgoing::Problem(problem) => note(notes, Note::Problem(problem)),
                Outgoing::Solved(part) => note(notes, Note::Solved(part)),
                _ => {}
            }
        }
        say(&tx, codecs());
        // Pictures of a kind (camera, screen) are left out until the next key frame.
        let mut wait_for_key = [false; 2];
        let mut report = tokio::time::interval(REPORT);
        loop {
            tokio::select! {
                message = rx.recv() => match message {
                    None => return End::Lost,
                    Some(MediaMessage::Control(MediaControl::Ended)) => return End::Over,
                    Some(MediaMessage::Frame(frame)) => {
                        counters.count(frame.kind, false);
                        self.session.incoming(Incoming::Frame(from_node(frame)));
                    }
                    Some(MediaMessage::Control(control)) => {
                        if let Some(incoming) = told(control) {
                            self.session.incoming(incoming);
                        }
                    }
                },
                _ = report.tick() => {
                    for control in self.session.report().into_iter().filter_map(told_of) {
                        say(&tx, control);
                    }
                }
                item = self.outgoing.recv() => match item {
                    // The session is gone; the channel is told by dropping it.
                    None => return End::Lost,
                    Some(Outgoing::Frame(frame)) => {
                        let (pictures, key) = (frame.kind, frame.key);
                        let waits = &mut wait_for_key[usize::from(pictures == Kind::Screen)];
                        if pictures.is_picture() && *waits && !key {
                            continue;
                        }
                        let frame = to_node(frame);
                        let kind = frame.kind;
                        match tx.try_send(MediaMessage::Frame(frame)) {
                            Ok(()) => {
                                counters.count(kind, true);
                                *waits &= !(pictures.is_picture() && key);
                            }
                            Err(mpsc::error::TrySendError::Closed(_)) => return drain(&mut rx).await,
                            Err(mpsc::error::TrySendError::Full(_)) => {
                                self.dropped.fetch_add(1, Ordering::Relaxed);
                                if pictures.is_picture() && !*waits {
                                    *waits = true;
                                    self.session.incoming(Incoming::KeyFrameRequest { kind: pictures });
                                }
                            }
                        }
                    }
                    Some(Outgoing::NeedKeyFrame { stream }) => say(&tx, MediaControl::NeedKeyFrame { stream }),
                    Some(Outgoing::Playout { concealed, delay_ms, late }) => {
                        say(&tx, MediaControl::Playout { concealed, delay_ms, late });
                    }
                    Some(Outgoing::Problem(problem)) => note(notes, Note::Problem(problem)),
                    Some(Outgoing::Solved(part)) => note(notes, Note::Solved(part)),
                    Some(Outgoing::RecordingFailed(error)) => note(notes, Note::RecordingFailed(error)),
                    Some(_) => {}
                },
            }
        }
    }

    /// Frames that were dropped because the node or this bridge did not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The last words of a channel whose sending half is closed: it may still say that the call is over.
async fn drain(rx: &mut mpsc::Receiver<MediaMessage>) -> End {
    while let Some(message) = rx.recv().await {
        if message == MediaMessage::Control(MediaControl::Ended) {
            return End::Over;
        }
    }
    End::Lost
}

fn say(tx: &mpsc::Sender<MediaMessage>, control: MediaControl) {
    // A full queue means that the node does not read; the word will be outdated when it does.
    let _ = tx.try_send(MediaMessage::Control(control));
}

fn note(notes: &mpsc::Sender<Note>, note: Note) {
    // Nobody may be listening to notes (the demo); the call goes on all the same.
    let _ = notes.try_send(note);
}

/// What this build makes and shows of pictures.
fn codecs() -> MediaControl {
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let build = Registry::default();
    MediaControl::Codecs { encode: names(build.encodes()), decode: names(build.decodes()) }
}

/// What the node says, as a session takes it.
fn told(control: MediaControl) -> Option<Incoming> {
    Some(match control {
        MediaControl::Flow { audio, video, screen } => Incoming::Flow { audio, video, screen },
        MediaControl::Feedback(told) => Incoming::Feedback(Guidance {
            target_bitrate: told.target_bitrate,
            audio_bitrate: told.audio_bitrate,
            video_bitrate: told.video_bitrate,
            screen_bitrate: told.screen_bitrate,
            loss: told.loss,
            loss_burst: told.loss_burst,
            rtt_ms: told.rtt_ms,
        }),
        MediaControl::Streams {
            receive, audio_red, video_codec, video_limits, screen_codec, screen_limits, ..
        } => Incoming::Agreed(Agreed {
            redundancy: audio_red,
            video: video_codec.map(|name| picture_codec(name, video_limits)),
            screen: screen_codec.map(|name| picture_codec(name, screen_limits)),
            receive: receive.into_iter().map(|stream| (kind_here(stream.kind), stream.codec)).collect(),
        }),
        MediaControl::KeyFrameRequest { kind } => Incoming::KeyFrameRequest { kind: kind_here(kind) },
        MediaControl::Clock { stream, timestamp, sender_us } => Incoming::Clock { stream, timestamp, sender_us },
        _ => return None,
    })
}

/// A codec of pictures in the session's terms.
fn picture_codec(name: String, limits: Option<PictureLimits>) -> PictureCodec {
    let limits = limits.map_or(codec::PictureLimits::NONE, |told| codec::PictureLimits {
        pixels: told.pixels,
        pixel_rate: told.pixel_rate,
        bitrate: u32::try_from(told.bitrate).unwrap_or(u32::MAX),
    });
    PictureCodec { name, limits }
}

/// What a session says about its pictures, for the numbers of the call.
fn told_of(outgoing: Outgoing) -> Option<MediaControl> {
    match outgoing {
        Outgoing::Shown { stream, width, height, frame_rate, freezes, freeze_ms, av_offset_ms } => {
            Some(MediaControl::Shown(Shown { stream, width, height, frame_rate, freezes, freeze_ms, av_offset_ms }))
        }
        Outgoing::Made { kind, width, height, frame_rate } => {
            Some(MediaControl::Made(Made { kind: kind_there(kind), width, height, frame_rate }))
        }
        _ => None,
    }
}

fn kind_there(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
        Kind::Screen => MediaKind::Screen,
        Kind::Sound => MediaKind::Sound,
    }
}

fn kind_here(kind: MediaKind) -> Kind {
    match kind {
        MediaKind::Audio => Kind::Audio,
        MediaKind::Video => Kind::Video,
        MediaKind::Screen => Kind::Screen,
        MediaKind::Sound => Kind::Sound,
    }
}

fn to_node(frame: EncodedFrame) -> MediaFrame {
    MediaFrame {
        kind: kind_there(frame.kind),
        key: frame.key,
        gap: frame.gap,
        restart: frame.restart,
        red: frame.red,
        layer: frame.layer,
        stream: frame.stream,
        sequence: frame.sequence,
        timestamp: frame.timestamp,
        time_ns: frame.time_ns,
        payload: Bytes::from(frame.payload),
    }
}

fn from_node(frame: MediaFrame) -> EncodedFrame {
    EncodedFrame {
        kind: kind_here(frame.kind),
        key: frame.key,
        gap: frame.gap,
        restart: frame.restart,
        red: frame.red,
        layer: frame.layer,
        stream: frame.stream,
        sequence: frame.sequence,
        timestamp: frame.timestamp,
        time_ns: frame.time_ns,
        payload: frame.payload.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_from_the_node_as_it_went() {
        let frame = EncodedFrame {
            kind: Kind::Video,
            key: true,
            gap: false,
            restart: true,
            red: true,
            layer: 1,
            stream: 3,
            sequence: 9,
            timestamp: 90_000,
            time_ns: 5,
            payload: vec![1, 2, 3],
        };
        assert_eq!(from_node(to_node(frame.clone())), frame);
    }
}
