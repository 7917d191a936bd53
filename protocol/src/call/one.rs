//! One call: its state and what can be read from it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::record::{CallRecord, HistoryRecord};
use super::recording::{RecordView, Recording};
use super::{PeerCommand, SeatHash};
use crate::identity::RootPublic;
use crate::wire::{CallBody, CallId, CallMessage, DeclineReason, LeaveReason};

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The friend.
    Incoming,
    /// This side.
    Outgoing,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The invite is on its way.
    Calling,
    /// It rings, there or here.
    Ringing,
    /// Answered; the media path is not up yet.
    Connecting,
    /// Talking.
    Active,
    /// The media path broke.
    Reconnecting,
    /// Over.
    Ended,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// One side hung up after the answer.
    Completed,
    /// The callee said no.
    Declined,
    /// The caller gave up before an answer.
    Cancelled,
    /// Nobody answered in time.
    Unanswered,
    /// The callee is in another call.
    Busy,
    /// The callee does not want to be disturbed.
    DoNotDisturb,
    /// Another device of the callee took it.
    AnsweredElsewhere,
    /// The friend's node could not be reached in time.
    Unreachable,
    /// No media path, or it was lost for good.
    Failed,
}

impl Outcome {
    /// What a decline of this reason means on both sides.
    pub(super) fn of_decline(reason: DeclineReason) -> Self {
        match reason {
            DeclineReason::Declined | DeclineReason::Other => Self::Declined,
            DeclineReason::Busy => Self::Busy,
            DeclineReason::Dnd => Self::DoNotDisturb,
            DeclineReason::Unanswered => Self::Unanswered,
            DeclineReason::Elsewhere => Self::AnsweredElsewhere,
        }
    }

    /// What the other side's leaving means here.
    pub(super) fn of_leave(reason: LeaveReason, answered: bool) -> Self {
        match reason {
            LeaveReason::Completed => Self::Completed,
            LeaveReason::Cancelled => Self::Cancelled,
            // The caller could not reach us: for us, a call that nobody answered.
            LeaveReason::Unanswered | LeaveReason::Unreachable => Self::Unanswered,
            LeaveReason::Failed => Self::Failed,
            LeaveReason::Gone if answered => Self::Failed,
            LeaveReason::Other if answered => Self::Completed,
            LeaveReason::Gone | LeaveReason::Other => Self::Cancelled,
        }
    }

    /// How the other side is told.
    pub(super) fn to_leave(self) -> LeaveReason {
        match self {
            Self::Completed => LeaveReason::Completed,
            Self::Unanswered => LeaveReason::Unanswered,
            Self::Unreachable => LeaveReason::Unreachable,
            Self::Failed => LeaveReason::Failed,
            _ => LeaveReason::Cancelled,
        }
    }
}

/// A call as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: CallId,
    /// With whom.
    pub friend: RootPublic,
    /// Who called.
    pub direction: Direction,
    /// How far it has come.
    pub state: State,
    /// It rings here while another call goes on.
    pub waiting: bool,
    /// When it began (Unix ms).
    pub started_ms: u64,
    /// When it was answered (Unix ms).
    pub answered_ms: Option<u64>,
    /// When it ended (Unix ms).
    pub ended_ms: Option<u64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why, where the outcome alone does not say it; or the text of a decline.
    pub reason: Option<String>,
    /// Whether the caller asks for video.
    pub wants_video: bool,
    /// Microphone off.
    pub muted: bool,
    /// Own video on.
    pub video: bool,
    /// A screen is shared from here.
    pub screen: bool,
    /// Held here.
    pub held: bool,
    /// The friend's microphone is off.
    pub remote_muted: bool,
    /// The friend sends video.
    pub remote_video: bool,
    /// The friend shares a screen.
    pub remote_screen: bool,
    /// The friend holds the call.
    pub remote_held: bool,
    /// Nobody sits at the friend's side at present.
    pub remote_seat_empty: bool,
    /// Whether a client here holds the seat.
    pub seat_taken: bool,
    /// Hash of the token of the seat held last; who shows that token may resume.
    pub seat: Option<SeatHash>,
    /// The lost call that this one resumes.
    pub resumes: Option<CallId>,
    /// Its recording, if anybody asked for one.
    pub recording: Option<RecordView>,
}

/// What one side does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doing {
    pub(super) muted: bool,
    pub(super) video: bool,
    pub(super) screen: bool,
    pub(super) held: bool,
    pub(super) seat: bool,
}

/// How far the signalling has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Calling,
    Ringing,
    Answered,
}

/// How the media path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// It was never up.
    New,
    /// Packets come.
    Up,
    /// It was up once.
    Broken,
}

/// What is due when. `None` is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadlines {
    /// Nobody answered.
    pub(super) ring: Option<Instant>,
    /// The path is not up in time after the answer.
    pub(super) setup: Option<Instant>,
    /// The path did not come back.
    pub(super) grace: Option<Instant>,
    /// Offer a new path.
    pub(super) restart: Option<Instant>,
    /// The client did not come back.
    pub(super) seat: Option<Instant>,
    /// Something about the recording.
    pub(super) record: Option<Instant>,
}

impl Deadlines {
    pub(super) fn next(&self) -> Option<Instant> {
        [self.ring, self.setup, self.grace, self.restart, self.seat, self.record].into_iter().flatten().min()
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    /// Its id between nodes.
    pub(super) wire: CallId,
    pub(super) friend: RootPublic,
    pub(super) direction: Direction,
    /// Whether this side is the caller of `wire`.
    pub(super) caller: bool,
    pub(super) phase: Phase,
    pub(super) path: Path,
    pub(super) waiting: bool,
    pub(super) started_ms: u64,
    pub(super) answered_ms: Option<u64>,
    pub(super) wants_video: bool,
    pub(super) had_video: bool,
    pub(super) mine: Doing,
    /// What the other side was last told of `mine`.
    pub(super) told: Doing,
    pub(super) theirs: Doing,
    pub(super) seat: Option<SeatHash>,
    /// The lost call that this one resumes: its id here, and between nodes.
    pub(super) resumes: Option<(CallId, CallId)>,
    /// Highest generation of either side.
    pub(super) generation: u32,
    /// Generation of an own offer that is not answered.
    pub(super) offered: Option<u32>,
    /// The peer can only be rebuilt.
    pub(super) dead: bool,
    /// What the peer said of its failure: better words for the person than any of ours.
    pub(super) trouble: Option<String>,
    /// The machine slept: until when a loss of the path counts as begun then, and how long ago that was.
    pub(super) slept: Option<(Instant, Duration)>,
    /// The own address changed: it is this side's turn to offer.
    pub(super) moved: bool,
    /// Candidates taken from the other side in this generation.
    pub(super) candidates: usize,
    /// Offers of the other side since when.
    pub(super) offers: (Instant, u32),
    /// Own offers since the path was last up.
    pub(super) attempts: u32,
    /// Last flow told to the peer.
    pub(super) flow: Option<PeerCommand>,
    pub(super) recording: Recording,
    pub(super) due: Deadlines,
}

impl Call {
    pub(super) fn new(now: Instant, unix_ms: u64, id: CallId, friend: RootPublic, caller: bool, video: bool) -> Self {
        let sits = Doing { muted: false, video: false, screen: false, held: false, seat: true };
        Self {
            id,
            wire: id,
            friend,
            direction: if caller { Direction::Outgoing } else { Direction::Incoming },
            caller,
            phase: if caller { Phase::Calling } else { Phase::Ringing },
            path: Path::New,
            waiting: false,
            started_ms: unix_ms,
            answered_ms: None,
            wants_video: video,
            had_video: false,
            mine: sits,
            told: sits,
            theirs: sits,
            seat: None,
            resumes: None,
            generation: 0,
            offered: None,
            dead: false,
            trouble: None,
            slept: None,
            moved: false,
            candidates: 0,
            offers: (now, 0),
            attempts: 0,
            flow: None,
            recording: Recording::default(),
            due: Deadlines::default(),
        }
    }

    pub(super) fn answered(&self) -> bool {
        self.phase == Phase::Answered
    }

    pub(super) fn state(&self) -> State {
        match (self.phase, self.path) {
            (Phase::Calling, _) => State::Calling,
            (Phase::Ringing, _) => State::Ringing,
            (Phase::Answered, Path::New) => State::Connecting,
            (Phase::Answered, Path::Up) => State::Active,
            (Phase::Answered, Path::Broken) => State::Reconnecting,
        }
    }

    /// A message from this side.
    pub(super) fn message(&self, body: CallBody) -> CallMessage {
        CallMessage { call: self.wire, participant: u16::from(!self.caller), body }
    }

    /// What may pass at present.
    pub(super) fn flow_now(&self) -> PeerCommand {
        let open = self.answered();
        let sends = open && self.mine.seat && !self.mine.held && !self.theirs.held;
        PeerCommand::Flow {
            audio: sends && !self.mine.muted,
            video: sends && self.mine.video,
            screen: sends && self.mine.screen,
            receive: open && !self.mine.held,
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            id: self.id,
            friend: self.friend,
            direction: self.direction,
            state: self.state(),
            waiting: self.waiting && !self.answered(),
            started_ms: self.started_ms,
            answered_ms: self.answered_ms,
            ended_ms: None,
            outcome: None,
            reason: None,
            wants_video: self.wants_video,
            muted: self.mine.muted,
            video: self.mine.video,
            screen: self.mine.screen,
            held: self.mine.held,
            remote_muted: self.theirs.muted,
            remote_video: self.theirs.video,
            remote_screen: self.theirs.screen,
            remote_held: self.theirs.held,
            remote_seat_empty: self.answered() && !self.theirs.seat,
            seat_taken: self.seat.is_some() && self.mine.seat,
            seat: self.seat,
            resumes: self.resumes.map(|(id, _)| id),
            recording: self.recording.view(),
        }
    }

    pub(super) fn record(&self) -> Option<CallRecord> {
        Some(CallRecord {
            id: self.id,
            wire: self.wire,
            friend: self.friend,
            direction: self.direction,
            caller: self.caller,
            started_ms: self.started_ms,
            answered_ms: self.answered_ms?,
            generation: self.generation,
            seat: self.seat.map(serde_bytes::ByteArray::new),
            wants_video: self.wants_video,
            muted: self.mine.muted,
            video: self.mine.video,
            screen: self.mine.screen,
            held: self.mine.held,
            had_video: self.had_video,
            resumes: self.resumes.map(|(id, _)| id),
            seen_ms: None,
        })
    }

    pub(super) fn history(&self, unix_ms: u64, outcome: Outcome, reason: Option<String>) -> HistoryRecord {
        HistoryRecord {
            id: self.id,
            friend: self.friend,
            direction: self.direction,
            outcome,
            reason,
            started_ms: self.started_ms,
            ended_ms: unix_ms,
            talked_ms: self.answered_ms.map_or(0, |answered| unix_ms.saturating_sub(answered)),
            video: self.had_video,
            resumes: self.resumes.map(|(id, _)| id),
        }
    }
}
