//! The sound and picture of one call: carries frames between a media session and the node's media channel, and takes
//! the seat again with its token when node or socket go away for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use twocan_control::{
    CallId, CallState, Code, Error, Handle, Made, MediaChannel, MediaControl, MediaFrame, MediaKind, MediaMessage,
    SeatToken, Shown, TakeSeat,
};
use twocan_media::audio::{AudioSettings, AudioSink, AudioSource};
use twocan_media::session::{Guidance, Incoming, Levels, Outgoing, Part, ScreenOptions, Session, SessionConfig};
use twocan_media::video::{Settings, Tap, VideoSink, VideoSource};
use twocan_media::{EncodedFrame, Kind};

use crate::model::Update;

/// How often the node is told how pictures are shown.
const REPORT: Duration = Duration::from_secs(1);
/// What the session gives out waits here until it is carried: about a second of sound and picture. Then frames are
/// dropped, and the picture goes on with the next key frame.
const QUEUE: usize = 96;
/// How often a node that went away is looked for, and how long: the call itself waits 30 s.
const RETRY: Duration = Duration::from_millis(250);
const GIVE_UP: Duration = Duration::from_secs(35);

/// Which devices are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// A synthetic voice and picture instead of microphone and camera, to try calls on a machine without them.
    pub synthetic: bool,
}

impl Devices {
    /// What stands for the camera.
    #[must_use]
    pub fn camera(self) -> VideoSource {
        if self.synthetic { VideoSource::Moving { seed: 1 } } else { VideoSource::Camera(None) }
    }

    fn session(self, remote: &Tap) -> SessionConfig {
        let (audio_in, audio_out) = if self.synthetic {
            (AudioSource::Speech { seed: 1 }, AudioSink::Null)
        } else {
            (AudioSource::Device(None), AudioSink::Device(None))
        };
        SessionConfig {
            audio_in,
            audio_out,
            muted: false,
            audio: AudioSettings::default(),
            video_in: None,
            video_out: VideoSink::Tap(remote.clone()),
            video: Settings::default(),
            screen: ScreenOptions::default(),
        }
    }
}

/// The running media of a call.
pub struct Media {
    session: Session,
    /// The friend's pictures.
    pub remote: Tap,
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Media").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Media {
    /// Opens the devices (this may take some tens of milliseconds). A camera that does not work is an update, no
    /// failure: the call goes on without it.
    ///
    /// # Errors
    /// What the session says: nothing to listen to or to speak into.
    pub fn open(
        devices: Devices,
        video: bool,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<(Self, mpsc::Receiver<Outgoing>, Option<Update>), Error> {
        let remote = Tap::watched(move |_, _| wake());
        let (tx, rx) = mpsc::channel(QUEUE);
        // A full queue means that the node does not read: what does not fit is old by then.
        let out = Arc::new(move |outgoing| drop(tx.try_send(outgoing)));
        let session = Session::start_with(devices.session(&remote), out);
        let session = session.map_err(|error| Error::new(Code::Internal, error.to_string()))?;
        let media = Self { session, remote };
        let trouble = if video { media.set_video(Some(devices.camera())) } else { None };
        Ok((media, rx, trouble))
    }

    /// Changes what is sent as picture; the update to tell if it does not work.
    pub fn set_video(&self, source: Option<VideoSource>) -> Option<Update> {
        let result = self.session.set_video(source);
        result.err().map(|error| Update::Device { part: word(Part::VideoIn), trouble: Some(error.to_string()) })
    }

    /// Mutes or unmutes the microphone.
    pub fn set_muted(&self, muted: bool) {
        self.session.set_muted(muted);
    }

    /// My own pictures, while they are sent.
    #[must_use]
    pub fn preview(&self) -> Option<Tap> {
        self.session.preview()
    }

    /// How loud it is.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.session.levels()
    }
}

/// Where the window finds the media of the call.
#[derive(Clone, Debug, Default)]
pub struct Live {
    inner: Arc<Mutex<Option<Arc<Media>>>>,
}

impl Live {
    /// The media of the call that has its seat here.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Media>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts media here, or takes them away.
    pub fn set(&self, media: Option<Arc<Media>>) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = media;
    }
}

/// A part of the session, in a word.
fn word(part: Part) -> &'static str {
    match part {
        Part::AudioIn => "microphone",
        Part::AudioOut => "speaker",
        Part::VideoIn => "camera",
        Part::VideoOut => "picture",
        Part::ScreenIn => "shared screen",
        Part::ScreenSound => "sound of the shared screen",
        Part::ScreenOut => "friend's screen",
    }
}

/// Carries frames until the call is over. Returns why the seat was lost, if it was.
pub async fn keep<H: Handle>(
    node: H,
    call: CallId,
    mut token: SeatToken,
    media: Arc<Media>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    updates: mpsc::Sender<Update>,
) -> Option<Error> {
    loop {
        if let Ok(channel) = node.media(&call, &token).await
            && carry(channel, &media, &mut outgoing, &updates).await == End::Over
        {
            return None;
        }
        match take_again(&node, &call, &token).await {
            Ok(Some(new)) => token = new,
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

/// The new token; `None` when the call is over.
async fn take_again<H: Handle>(node: &H, call: &str, token: &SeatToken) -> Result<Option<SeatToken>, Error> {
    let begin = Instant::now();
    loop {
        let error = match node.call(call).await {
            Ok(call) if call.state == CallState::Ended => return Ok(None),
            Ok(_) => match node.take_seat(call, TakeSeat { token: Some(token.clone()) }).await {
                Ok(seated) => return Ok(Some(seated.seat)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        match error.code {
            Code::NotFound | Code::Conflict => return Ok(None),
            Code::NoNode | Code::Internal if begin.elapsed() < GIVE_UP => tokio::time::sleep(RETRY).await,
            _ => return Err(error),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Over,
    Lost,
}

async fn carry(
    channel: MediaChannel,
    media: &Media,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    updates: &mpsc::Sender<Update>,
) -> End {
    let MediaChannel { tx, mut rx } = channel;
    // What was encoded before this channel existed is old; trouble with a device is not.
    while let Ok(item) = outgoing.try_recv() {
        if !matches!(item, Outgoing::Frame(_)) {
            tell(item, &tx, updates);
        }
    }
    let mut wait_for_key = false;
    let mut report = tokio::time::interval(REPORT);
    loop {
        tokio::select! {
            message = rx.recv() => match message {
                None => return End::Lost,
                Some(MediaMessage::Control(MediaControl::Ended)) => return End::Over,
                Some(MediaMessage::Frame(frame)) => media.session.incoming(Incoming::Frame(from_node(frame))),
                Some(MediaMessage::Control(control)) => {
                    if let Some(incoming) = told(control) {
                        media.session.incoming(incoming);
                    }
                }
            },
            _ = report.tick() => media.session.report().into_iter().for_each(|outgoing| tell(outgoing, &tx, updates)),
            item = outgoing.recv() => match item {
                None => return End::Lost,
                Some(Outgoing::Frame(frame)) => {
                    let (kind, key) = (frame.kind, frame.key);
                    let video = kind == Kind::Video;
                    if video && wait_for_key && !key {
                        continue;
                    }
                    match tx.try_send(MediaMessage::Frame(to_node(frame))) {
                        Ok(()) => wait_for_key &= !(video && key),
                        // The node may still say that the call is over.
                        Err(mpsc::error::TrySendError::Closed(_)) => return last_words(&mut rx).await,
                        Err(mpsc::error::TrySendError::Full(_)) if video && !wait_for_key => {
                            wait_for_key = true;
                            media.session.incoming(Incoming::KeyFrameRequest { kind });
                        }
                        Err(mpsc::error::TrySendError::Full(_)) => {}
                    }
                }
                Some(other) => tell(other, &tx, updates),
            },
        }
    }
}

async fn last_words(rx: &mut mpsc::Receiver<MediaMessage>) -> End {
    while let Some(message) = rx.recv().await {
        if message == MediaMessage::Control(MediaControl::Ended) {
            return End::Over;
        }
    }
    End::Lost
}

/// What is no frame. Queues that are full are passed over: each word will be outdated, or said again.
fn tell(outgoing: Outgoing, tx: &mpsc::Sender<MediaMessage>, updates: &mpsc::Sender<Update>) {
    let say = |control| drop(tx.try_send(MediaMessage::Control(control)));
    match outgoing {
        Outgoing::NeedKeyFrame { stream } => say(MediaControl::NeedKeyFrame { stream }),
        Outgoing::Playout { concealed, delay_ms } => say(MediaControl::Playout { concealed, delay_ms }),
        Outgoing::Shown { stream, width, height, frame_rate, freezes, freeze_ms, av_offset_ms } => {
            let shown = Shown { stream, width, height, frame_rate, freezes, freeze_ms, av_offset_ms };
            say(MediaControl::Shown(shown));
        }
        Outgoing::Made { kind, width, height, frame_rate } => {
            say(MediaControl::Made(Made { kind: kind_there(kind), width, height, frame_rate }));
        }
        Outgoing::Problem(problem) => {
            drop(updates.try_send(Update::Device { part: word(problem.part), trouble: Some(problem.text) }));
        }
        Outgoing::Solved(part) => drop(updates.try_send(Update::Device { part: word(part), trouble: None })),
        _ => {}
    }
}

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
        MediaControl::Streams { audio_red, .. } => Incoming::Redundancy { taken: audio_red },
        MediaControl::KeyFrameRequest { kind } => Incoming::KeyFrameRequest { kind: kind_here(kind) },
        MediaControl::Clock { stream, timestamp, sender_us } => Incoming::Clock { stream, timestamp, sender_us },
        _ => return None,
    })
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
