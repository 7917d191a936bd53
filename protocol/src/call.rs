//! Calls: ringing, answering, keeping alive what has been answered, and ending, on both sides of the link. The words
//! for it, with tables and sequences, are in `specs/05-call.md`.
//!
//! [`Calls`] owns all calls of a node. It knows no sockets and no codecs: what is to be done comes out as [`Output`],
//! in order, and what happened goes in as [`Input`]. The caller's law: carry out all outputs in order, and call
//! [`Calls::handle_timeout`] when [`Calls::poll_timeout`] is due.

mod machine;
mod media;
mod one;
mod person;
mod record;
mod recording;
mod remote;
mod resume;
mod time;

pub use machine::Calls;
pub use one::{Direction, Outcome, Snapshot, State};
pub use record::{CallRecord, HistoryRecord};
pub use recording::{
    MAX_RECORD_ASKS, RECORD_ANSWER, RECORD_BEGIN, RECORD_SHOWN, RECORD_UNLINKED, RecordAct, RecordEnd, RecordState,
    RecordView,
};

use std::time::Duration;

use crate::identity::RootPublic;
use crate::wire::{CallId, CallMessage, Candidate, Description};

/// How long it rings at the other side before the caller gives up.
pub const RING: Duration = Duration::from_secs(30);
/// How long it rings here before the callee's node gives up by itself: longer, so that the caller's word counts.
pub const RING_HERE: Duration = Duration::from_secs(35);
/// How long the media path may take after the answer.
pub const SETUP: Duration = Duration::from_secs(10);
/// How long an answered call waits for its media to come back, unless set otherwise.
pub const GRACE: Duration = Duration::from_secs(30);
/// Longest [`Settings::grace`].
pub const GRACE_LONGEST: Duration = Duration::from_secs(600);
/// How long the caller leaves the other side the first word when media stops: its address may have changed.
pub const RESTART_DELAY: Duration = Duration::from_millis(300);
/// How much longer the callee leaves it to the caller.
pub const RESTART_DELAY_CALLEE: Duration = Duration::from_millis(2300);
/// Pause between two attempts to renew a path.
pub const RESTART_EVERY: Duration = Duration::from_secs(5);
/// How long a call that was lost can be resumed by one act of a person.
pub const RESUME: Duration = Duration::from_secs(300);
/// How much longer than [`GRACE`] a stored call may be unseen before it is taken as over at a start: the moment at which
/// it was last seen is stored now and then only.
pub const SEEN_EVERY: Duration = Duration::from_secs(15);
/// How long an outgoing call rings on when its client is gone.
pub const SEAT_RINGING: Duration = Duration::from_secs(3);

/// Most calls at once, in any state.
pub const MAX_CALLS: usize = 8;
/// Most calls that ring here at once; more are told that the callee is busy.
pub const MAX_RINGING: usize = 3;
/// Most invites of one friend within a minute, none of them answered; more are declined without ringing and without an
/// entry in the history.
pub const MAX_INVITES: u32 = 12;
/// Most offers that a friend may send for one call within half a minute; more end the call.
pub const MAX_OFFERS: u32 = 20;
/// How far the other side's generation may run ahead.
pub const MAX_GENERATION_STEP: u32 = 1000;
/// Ended calls that are remembered, so that late words about them are understood; the oldest goes first.
pub const MAX_REMEMBERED: usize = 64;

/// SHA-256 of a seat token. The token itself is the client's.
pub type SeatHash = [u8; 32];

/// How this node takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Decline every call, saying so.
    pub dnd: bool,
    /// Let a second call ring during a call; otherwise it is told that the callee is busy.
    pub call_waiting: bool,
    /// How long an answered call waits for its media to come back (at most [`GRACE_LONGEST`]).
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { dnd: false, call_waiting: true, grace: GRACE }
    }
}

/// What can happen to calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A client calls a friend and takes the seat. The id is 16 random bytes.
    Place {
        /// The new call.
        call: CallId,
        /// Whom. That it is a friend is the driver's to check.
        friend: RootPublic,
        /// Whether to send video.
        video: bool,
        /// Hash of the seat token that the client gets.
        seat: SeatHash,
    },
    /// A client resumes a call that was lost, and takes the seat of a new one. The id is 16 random bytes.
    Resume {
        /// The call that was lost.
        lost: CallId,
        /// The new call.
        call: CallId,
        /// Whether to send video.
        video: bool,
        /// Hash of the seat token that the client gets.
        seat: SeatHash,
    },
    /// A client answers and takes the seat.
    Answer {
        /// Which call.
        call: CallId,
        /// Whether to send video.
        video: bool,
        /// Hash of the seat token that the client gets.
        seat: SeatHash,
    },
    /// The person says no to a call that rings here.
    Decline {
        /// Which call.
        call: CallId,
        /// A line for the caller; may be empty.
        text: crate::wire::Note,
    },
    /// The person ends a call: hang up, cancel, or decline without a word.
    HangUp(CallId),
    /// The person steers a call; what is `None` stays.
    Update {
        /// Which call.
        call: CallId,
        /// Microphone off.
        muted: Option<bool>,
        /// Send video.
        video: Option<bool>,
        /// Share a screen.
        screen: Option<bool>,
        /// Hold. Taking a call off hold holds the others.
        held: Option<bool>,
    },
    /// The person or the client does something about recording an answered call.
    Record {
        /// Which call.
        call: CallId,
        /// What.
        act: RecordAct,
    },
    /// A friend's node did not understand a word about recording.
    RecordUnknown(RootPublic),
    /// A client took the seat of a running call.
    SeatTaken {
        /// Which call.
        call: CallId,
        /// Hash of the new token.
        seat: SeatHash,
    },
    /// The client in the seat is gone.
    SeatLost(CallId),
    /// How this node takes calls from now on.
    Settings(Settings),
    /// The link to a friend is up.
    LinkUp {
        /// Whose.
        friend: RootPublic,
        /// The friend's node was restarted since the link was last up.
        restarted: bool,
    },
    /// The link to a friend is down.
    LinkDown(RootPublic),
    /// A friend's node said this over the link.
    Received(RootPublic, CallMessage),
    /// An [`Output::Send`] was refused by the link: too much waits there.
    Undelivered(RootPublic, CallMessage),
    /// The media engine said this about a call. What a peer says after its [`PeerCommand::Close`] must not be fed.
    Peer(CallId, PeerEvent),
    /// An own address changed: running calls need new paths, and this side offers them.
    AddressChanged,
    /// For this long, nothing was seen and no timer ran: the machine slept, and the clock that gives the time stood.
    /// (Time during which the clock went on is seen by the deadlines themselves.)
    Unseen(Duration),
    /// Somebody is no friend any more: calls with them end.
    FriendGone(RootPublic),
    /// A call that was running when the node stopped.
    Restore(CallRecord),
    /// A call that ended before the node was started.
    EndedBefore(HistoryRecord),
}

/// What the driver is to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Deliver over the link (`link::Input::Send`). If it is refused there, feed [`Input::Undelivered`].
    Send(RootPublic, CallMessage),
    /// Tell the media engine.
    Peer(CallId, PeerCommand),
    /// It rings here.
    Incoming(Snapshot),
    /// Something about a call changed. A snapshot in [`State::Ended`] is the last of its call.
    Changed(Snapshot),
    /// Keep this in the history; a second entry with the same id replaces the first.
    History(HistoryRecord),
    /// Keep this while the call runs, to go on after a restart.
    Store(CallRecord),
    /// The call need not be kept any more.
    Forget(CallId),
    /// The link to this friend is wanted now (`friend::Input::Urge`).
    Urge(RootPublic),
    /// The link to this friend may be dead (`link::Input::Probe`).
    Probe(RootPublic),
    /// Whether any call with this friend goes on (`link::Input::InCall`, `friend::Input::Wanted`).
    InCall(RootPublic, bool),
    /// A friend with whom a call was lost is there: offer the person to resume it.
    Resumable(Resumable),
    /// An act of the person was refused.
    Refused(CallId, Refusal),
}

/// A call that was lost and can be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumable {
    /// The call that was lost.
    pub call: CallId,
    /// With whom.
    pub friend: RootPublic,
    /// Until when (Unix ms).
    pub until_ms: u64,
}

/// Why an act of the person was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such call (any more).
    #[error("there is no such call")]
    NoCall,
    /// The id is taken.
    #[error("a call of this id exists already")]
    Taken,
    /// It makes no sense in this state.
    #[error("this cannot be done with a call that is {0:?}")]
    State(State),
    /// Another client answered first.
    #[error("the call has been answered by another client")]
    AnsweredElsewhere,
    /// There is a call with this friend already.
    #[error("there is a call with this friend already")]
    InCall(CallId),
    /// The friend calls at this moment: answer that call.
    #[error("this friend is calling: answer that call")]
    Ringing(CallId),
    /// The call was not lost, or too long ago.
    #[error("this call cannot be resumed: it was not lost, or is over for too long")]
    NotResumable,
    /// Somebody records already, or asks to.
    #[error("this call is recorded already, or somebody asks to record it")]
    Recording,
    /// Nobody asks to record.
    #[error("nobody asks to record this call")]
    NotAsked,
    /// Not everybody has agreed.
    #[error("not everybody has agreed to record this call")]
    NotAgreed,
    /// It is not recorded.
    #[error("this call is not recorded, and nobody asks to record it")]
    NotRecording,
    /// [`MAX_CALLS`] are there.
    #[error("there are {MAX_CALLS} calls already")]
    TooMany,
}

/// What an offer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferKind {
    /// The first of a call.
    First,
    /// A new path for the running connection.
    Restart,
    /// A new connection.
    Rebuild,
}

/// What the media engine is to do for one call.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerCommand {
    /// Make a peer.
    Open {
        /// Whether our offer yields when both sides offer in one generation: the callee's does.
        polite: bool,
        /// The other side's number in the call.
        participant: u16,
    },
    /// Make an offer and say [`PeerEvent::Local`].
    Offer {
        /// Greater than any before.
        generation: u32,
        /// What for.
        kind: OfferKind,
    },
    /// The other side's description; an offer is answered with [`PeerEvent::Local`].
    Remote {
        /// Whose fingerprint the peer must present.
        description: Description,
        /// Known already.
        candidates: Vec<Candidate>,
    },
    /// More candidates of the other side.
    Candidates {
        /// Of which description.
        generation: u32,
        /// The candidates.
        list: Vec<Candidate>,
    },
    /// What may pass. Whenever a call is answered, packets go out at least five times a second, whatever this says.
    Flow {
        /// Our audio goes out.
        audio: bool,
        /// Our video goes out.
        video: bool,
        /// Our shared screen and its sound go out.
        screen: bool,
        /// What comes in is handed to the seat; also, the call is answered.
        receive: bool,
    },
    /// End the peer.
    Close,
}

/// What the media engine says about one call.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerEvent {
    /// Our description.
    Local {
        /// For the other side.
        description: Description,
        /// Known already.
        candidates: Vec<Candidate>,
    },
    /// More of our candidates.
    Candidates {
        /// Of which description.
        generation: u32,
        /// The candidates.
        list: Vec<Candidate>,
    },
    /// The path is up and ends at the certificate that the link vouched for.
    Connected,
    /// Nothing has come for 1.5 seconds.
    Silent,
    /// Packets come again.
    Recovered,
    /// The path is gone; a restart may help.
    PathLost,
    /// The other side lost the connection; a rebuild is needed.
    NeedsRebuild,
    /// The first media packet came.
    MediaArrived,
    /// The connection is over.
    Failed {
        /// Whether nothing can help: the certificate was wrong, or the description unacceptable.
        fatal: bool,
        /// One sentence.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
