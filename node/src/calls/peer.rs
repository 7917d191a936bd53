//! One friend in one call: the commands it takes, the events it tells, and what its tasks share.
//!
//! The task itself is in [`drive`]; it ends with [`PeerCommand::Close`] or when the [`Peer`] is dropped, and everything
//! that it started ends with it: webrtc's driver, the entry in the port, the tasks for media.

mod drive;
mod measure;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use twocan_control::friend::LinkPath;
use twocan_control::{Made, MediaKind, MediaMessage, Quality, Shown};

use super::engine::Inner;
use super::formats::Ability;
use super::inbound::{AudioTypes, Reception};
use super::picture::PictureCounts;
use super::red;
use super::seat::{SeatEnd, SeatSink, SeatStats};
use super::{Description, DescriptionError, place_of};
use crate::relay::{Access, Owner};

/// Commands waiting for a peer. It answers them in microseconds; a full queue means a peer that hangs.
const COMMANDS: usize = 64;
/// Events waiting for the owner. Statistics are dropped when it is full; for the others the peer waits.
const EVENTS: usize = 256;
/// Notes from a peer's media tasks to the peer.
const NOTES: usize = 32;

/// How a peer is set up.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// The call, as the log names it (a few hex digits).
    pub label: String,
    /// Whether our offer yields when both sides offer in one generation. Exactly one side must be polite: the callee.
    pub polite: bool,
    /// Whether the friend is on this machine (its link's path is loopback), so that loopback candidates make sense.
    pub loopback: bool,
    /// The friend's number in the call, for the streams' description (0 is the caller, 1 the callee).
    pub participant: u16,
    /// Relays to use, of both sides as far as they are known. Allocations are made at once.
    pub relays: Vec<Access>,
    /// The friend must not learn our address: nothing leaves and nothing is taken but through relays, and only relayed
    /// candidates are told. (The caller's law: none of `relays` is this node's own.)
    pub relay_only: bool,
}

/// What an offer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferKind {
    /// The first of a call.
    First,
    /// A new path for a running call; media goes on where the path permits.
    Restart,
    /// A new connection in place of one that is beyond repair, or that the friend has lost (its node was restarted).
    Rebuild,
}

/// What may pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Our audio may go out.
    pub audio: bool,
    /// Our video may go out.
    pub video: bool,
    /// Our shared screen and its sound may go out.
    pub screen: bool,
    /// What the friend sends is handed on (false before the answer and while the call is held).
    pub receive: bool,
}

/// What the owner wants.
#[derive(Debug)]
pub enum PeerCommand {
    /// Make an offer; [`PeerEvent::Local`] brings it.
    Offer {
        /// Greater than any before in this call.
        generation: u32,
        /// What for.
        kind: OfferKind,
    },
    /// The friend's description. An offer is answered with [`PeerEvent::Local`].
    Remote(Description),
    /// More of the friend's candidates. Those of a description that has not come yet are held.
    Candidates {
        /// Of which description.
        generation: u32,
        /// Candidate lines.
        list: Vec<String>,
    },
    /// More relays, or new credentials for known ones.
    Relays(Vec<Access>),
    /// Opens and closes the gates.
    Flow(Flow),
    /// A client takes the seat; one that had it is ended.
    Attach(SeatEnd),
    /// The client is sent away; the call goes on without.
    Detach,
    /// Ends everything. [`PeerEvent::Closed`] is the last event.
    Close,
}

/// The path that media takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// Kind of path.
    pub path: LinkPath,
    /// Candidate kinds, ours first: "host/srflx".
    pub candidates: String,
    /// Its round trip, once measured.
    pub round_trip: Option<Duration>,
    /// Whose relay it goes through, if any.
    pub relay: Option<Owner>,
    /// Our side reaches the relay inside TLS.
    pub tls: bool,
}

/// The path that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Of which generation.
    pub generation: u32,
    /// What it is. It may get better at any time: [`PeerEvent::Path`].
    pub path: PathInfo,
    /// Time since the descriptions of this generation were complete.
    pub took: Duration,
}

/// What sort of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The friend's certificate is not the one that the link vouched for: somebody is in between.
    Fingerprint,
    /// No packet found its way within ten seconds.
    NoPath,
    /// Packets pass, but the encrypted handshake does not come to an end.
    Handshake,
    /// The friend's description is not acceptable.
    Description,
    /// The media engine stopped or refused a step.
    Engine,
}

/// Why a peer gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What sort.
    pub kind: FailureKind,
    /// One sentence for people.
    pub reason: String,
}

/// What a peer tells.
#[derive(Debug)]
pub enum PeerEvent {
    /// Our description, for the friend.
    Local(Description),
    /// Candidates found after the description was made, for the friend.
    Candidates {
        /// Of which description.
        generation: u32,
        /// Candidate lines.
        list: Vec<String>,
    },
    /// The path is up, encrypted, and ends at the certificate that the link vouched for.
    Connected(Connected),
    /// Media takes another path now.
    Path(PathInfo),
    /// Nothing has come for a second and a half.
    Silent,
    /// Packets come again.
    Recovered,
    /// The path is gone, or a new one was not found; a restart may help.
    PathLost,
    /// The friend answered with another certificate than before: its node has lost the connection. An offer of kind
    /// [`OfferKind::Rebuild`] is needed.
    NeedsRebuild,
    /// The friend's first media packet came (before the answer it is dropped).
    MediaArrived,
    /// The client gave the seat up, crashed, or was too slow.
    SeatLost {
        /// Why, in one sentence.
        reason: String,
        /// What it lost before.
        stats: SeatStats,
    },
    /// What only the client knows.
    Playout {
        /// Share of concealed audio.
        concealed: f64,
        /// Delay in its jitter buffer, milliseconds.
        delay_ms: f64,
    },
    /// Numbers, about once a second.
    Stats(Box<Quality>),
    /// The connection is over; only `Close`, or an offer of kind [`OfferKind::Rebuild`], makes sense now.
    Failed(Failure),
    /// Everything is freed.
    Closed,
}

/// A command could not be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer is closed.
    #[error("the call's connection is closed")]
    Closed,
    /// It does not take commands: it hangs and should be dropped.
    #[error("the call's connection does not react")]
    Stuck,
}

/// Gives commands to a peer; cheap to clone. The peer ends when all handles are gone.
#[derive(Clone, Debug)]
pub struct PeerHandle(mpsc::Sender<PeerCommand>);

impl PeerHandle {
    /// Gives a command; never waits. Commands are carried out in order.
    ///
    /// # Errors
    /// When the peer is closed, or has 64 commands waiting.
    pub fn send(&self, command: PeerCommand) -> Result<(), SendError> {
        self.0.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Stuck,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }
}

/// A peer: one task, and what it starts.
#[derive(Debug)]
pub struct Peer {
    /// For commands.
    pub handle: PeerHandle,
    /// What happens. Must be read.
    pub events: mpsc::Receiver<PeerEvent>,
}

impl Peer {
    pub(super) fn spawn(engine: Arc<Inner>, config: PeerConfig) -> Self {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (tell, events) = mpsc::channel(EVENTS);
        let (notes, noted) = mpsc::channel(NOTES);
        let shared = Arc::new(Shared::new(notes));
        tokio::spawn(drive::Driver::new(engine, config, shared, receiver, tell, noted).run());
        Self { handle: PeerHandle(commands), events }
    }
}

/// What the media tasks tell the peer's task.
#[derive(Debug)]
pub(super) enum Note {
    FirstMedia,
    /// A decoder of the friend's pictures of this kind begins, or lost its thread.
    NeedKeyFrame(MediaKind),
    /// A picture of ours, of this kind, could not be sent.
    KeyFrameLost(MediaKind),
    Playout {
        concealed: f64,
        delay_ms: f64,
        late: u64,
    },
    Shown(Shown),
    Made(Made),
    /// What the client makes and shows.
    Able(Ability),
    SeatGone(u64),
}

/// What went out of one stream of ours.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Emission {
    /// Frames.
    pub(super) frames: u64,
    /// Bytes of encoded media.
    pub(super) bytes: u64,
    /// Key frames among them.
    pub(super) keys: u64,
}

/// What the tasks of one peer share.
#[derive(Debug)]
pub(super) struct Shared {
    flow: Mutex<Flow>,
    /// The path is up and its certificate checked.
    ready: AtomicBool,
    /// Changes whenever what a client gets begins anew.
    epoch: AtomicU64,
    media_seen: AtomicBool,
    seat: Mutex<Option<SeatSink>>,
    /// What came and went, by [`place_of`].
    receptions: Mutex<[Reception; 4]>,
    emissions: Mutex<[Emission; 4]>,
    pictures: Mutex<[PictureCounts; 4]>,
    round_trip_us: AtomicU64,
    audio_types: Mutex<AudioTypes>,
    notes: mpsc::Sender<Note>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn new(notes: mpsc::Sender<Note>) -> Self {
        Self {
            flow: Mutex::default(),
            ready: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            media_seen: AtomicBool::new(false),
            seat: Mutex::default(),
            receptions: Mutex::default(),
            emissions: Mutex::default(),
            pictures: Mutex::default(),
            round_trip_us: AtomicU64::new(0),
            audio_types: Mutex::new(AudioTypes { opus: red::CLIENT_TYPE, red: None }),
            notes,
        }
    }

    /// Whether a frame of ours may go out now.
    pub(super) fn may_send(&self, kind: MediaKind) -> bool {
        let flow = *lock(&self.flow);
        self.ready.load(Ordering::Acquire)
            && match kind {
                MediaKind::Audio => flow.audio,
                MediaKind::Video => flow.video,
                MediaKind::Screen | MediaKind::Sound => flow.screen,
            }
    }

    /// The payload types that were agreed for audio.
    pub(super) fn audio_types(&self) -> AudioTypes {
        *lock(&self.audio_types)
    }

    fn set_audio_types(&self, types: AudioTypes) {
        *lock(&self.audio_types) = types;
    }

    /// The epoch in which the friend's frames are handed on, if they are.
    pub(super) fn delivery(&self) -> Option<u64> {
        let open = self.ready.load(Ordering::Acquire) && lock(&self.flow).receive && lock(&self.seat).is_some();
        open.then(|| self.epoch.load(Ordering::Acquire))
    }

    /// Hands a message to the client, if there is one.
    pub(super) fn deliver(&self, message: MediaMessage) {
        let need_key = lock(&self.seat).as_ref().map(|seat| seat.push(Instant::now(), message)).unwrap_or_default();
        for kind in need_key.into_iter().flatten() {
            self.note(Note::NeedKeyFrame(kind));
        }
    }

    /// A media packet of the friend came.
    pub(super) fn arrived(&self, _kind: MediaKind) {
        if !self.media_seen.load(Ordering::Relaxed) && self.ready.load(Ordering::Acquire) {
            self.media_seen.store(true, Ordering::Relaxed);
            self.note(Note::FirstMedia);
        }
    }

    /// Statistics of a stream.
    pub(super) fn received(&self, kind: MediaKind, reception: Reception) {
        lock(&self.receptions)[place_of(kind)] = reception;
    }

    /// A frame of ours went out.
    pub(super) fn emitted(&self, kind: MediaKind, bytes: usize, key: bool) {
        let emission = &mut lock(&self.emissions)[place_of(kind)];
        emission.frames += 1;
        emission.keys += u64::from(key);
        emission.bytes += bytes as u64;
    }

    fn receptions(&self) -> [Reception; 4] {
        *lock(&self.receptions)
    }

    fn emissions(&self) -> [Emission; 4] {
        *lock(&self.emissions)
    }

    /// What happened to the friend's pictures of this kind so far.
    pub(super) fn pictures(&self, kind: MediaKind, counts: PictureCounts) {
        lock(&self.pictures)[place_of(kind)] = counts;
    }

    /// See [`Self::pictures`].
    pub(super) fn picture_counts(&self, kind: MediaKind) -> PictureCounts {
        lock(&self.pictures)[place_of(kind)]
    }

    /// Round trip of the path, once measured.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let us = self.round_trip_us.load(Ordering::Relaxed);
        (us > 0).then(|| Duration::from_micros(us))
    }

    /// Tells the peer's task; may be lost when that is far behind (it looks after the seat by itself, too).
    pub(super) fn note(&self, note: Note) {
        let _ = self.notes.try_send(note);
    }

    fn set_flow(&self, flow: Flow) {
        let before = std::mem::replace(&mut *lock(&self.flow), flow);
        if flow.receive && !before.receive {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn set_seat(&self, seat: Option<SeatSink>) -> Option<SeatSink> {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        std::mem::replace(&mut *lock(&self.seat), seat)
    }
}

/// What kind of path ends at this address.
fn path_to(ip: IpAddr, relayed: bool) -> LinkPath {
    let local = match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    match ip {
        _ if relayed => LinkPath::Relayed,
        _ if ip.is_loopback() => LinkPath::Loopback,
        _ if local => LinkPath::Lan,
        _ => LinkPath::Direct,
    }
}

impl Failure {
    fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    fn fingerprint() -> Self {
        Self::new(
            FailureKind::Fingerprint,
            "the certificate on the media path does not have the fingerprint that the friend sent over the link: \
             somebody may be in between",
        )
    }
}

impl From<DescriptionError> for Failure {
    fn from(error: DescriptionError) -> Self {
        let kind = match error {
            DescriptionError::Fingerprint => FailureKind::Fingerprint,
            _ => FailureKind::Description,
        };
        Self::new(kind, error.to_string())
    }
}
