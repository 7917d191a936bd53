//! Recording, only while everybody in the call has agreed: request, consent, start and stop, as a state machine of its
//! own beside the call's.
//!
//! The side that wants to record asks; the other's person agrees or not, and may take it back at any time. A node that
//! does not know of recording says so at once by not understanding the request. No agreement outlives the call, a
//! restart of either node, or a link that stays away: then nobody could take it back.

use std::time::{Duration, Instant};

use super::Refusal;
use super::machine::Calls;
use crate::identity::RootPublic;
use crate::wire::{CallBody, CallId, Reason, RecordWord};

/// How long the friend's node may take to show a request.
pub const RECORD_SHOWN: Duration = Duration::from_secs(10);
/// How long the friend may think about it.
pub const RECORD_ANSWER: Duration = Duration::from_secs(60);
/// How long the own client may take to begin once everybody has agreed.
pub const RECORD_BEGIN: Duration = Duration::from_secs(20);
/// How long an agreement holds while the link is down.
pub const RECORD_UNLINKED: Duration = Duration::from_secs(15);
/// Most requests that a friend may make in one call; more are refused without a person's hearing of them.
pub const MAX_RECORD_ASKS: u32 = 20;

/// What the person or the client does about recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordAct {
    /// Ask the friend.
    Ask,
    /// Agree to what the friend asks.
    Allow,
    /// Do not agree, or no longer.
    Refuse,
    /// The client writes: everybody has agreed.
    Started,
    /// Withdraw the own request, or end the own recording. In words, where it was not by choice.
    Stop(Reason),
}

/// How far a recording has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// The request is on its way.
    Asking,
    /// The friend's node shows the request.
    Shown,
    /// The friend asks, and the person here has not answered.
    Asked,
    /// Everybody has agreed; nothing is written yet.
    Agreed,
    /// It is recorded.
    Running,
    /// It is over, or did not come about.
    Ended,
}

/// Why a recording is over, or did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordEnd {
    /// The one who was asked did not agree.
    Refused,
    /// The one who had agreed took it back.
    Withdrawn,
    /// The one who asked ended it; in words, where it was not by choice.
    Stopped(Reason),
    /// No answer in time.
    Unanswered,
    /// The friend's node does not know of recording.
    Unsupported,
    /// The link was away for too long.
    Unlinked,
    /// A node was started anew.
    Restarted,
    /// The call is over.
    CallOver,
}

/// A recording as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// How far it has come.
    pub state: RecordState,
    /// Whether this side records (or wants to); else the friend.
    pub mine: bool,
    /// When it began to be written (Unix ms).
    pub since_ms: Option<u64>,
    /// Why it is over.
    pub end: Option<RecordEnd>,
}

/// The recording of one call. At most one side records.
#[derive(Clone, Debug, Default)]
pub(super) struct Recording {
    view: Option<RecordView>,
    /// The request that it is about.
    request: u32,
    /// Own requests so far.
    asked: u32,
    /// Requests of the friend so far.
    heard: u32,
    /// When the present state is given up.
    until: Option<Instant>,
    /// When the link has been away for too long.
    unlinked: Option<Instant>,
}

/// What follows from an input: what the friend is told, and whether clients are.
type Effect = (Option<RecordWord>, bool);

const NOTHING: Effect = (None, false);

impl Recording {
    pub(super) fn view(&self) -> Option<RecordView> {
        self.view.clone()
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.until, self.unlinked].into_iter().flatten().min()
    }

    fn state(&self) -> RecordState {
        self.view.as_ref().map_or(RecordState::Ended, |view| view.state)
    }

    fn mine(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.mine)
    }

    fn goes_on(&self) -> bool {
        self.state() != RecordState::Ended
    }

    fn agreed(&self) -> bool {
        matches!(self.state(), RecordState::Agreed | RecordState::Running)
    }

    fn enter(&mut self, mine: bool, state: RecordState) {
        self.view = Some(RecordView { state, mine, since_ms: None, end: None });
        self.until = None;
    }

    fn over(&mut self, end: RecordEnd) {
        if let Some(view) = &mut self.view {
            view.state = RecordState::Ended;
            view.end = Some(end);
        }
        (self.until, self.unlinked) = (None, None);
    }

    fn act(&mut self, now: Instant, unix_ms: u64, linked: bool, act: RecordAct) -> Result<Effect, Refusal> {
        let request = self.request;
        match (act, self.state(), self.mine()) {
            (RecordAct::Ask, RecordState::Ended, _) => {
                self.asked = self.asked.wrapping_add(1);
                self.request = self.asked;
                self.enter(true, RecordState::Asking);
                self.until = Some(now + RECORD_SHOWN);
                Ok((Some(RecordWord::Ask(self.request)), true))
            }
            (RecordAct::Ask, ..) => Err(Refusal::Recording),
            (RecordAct::Allow, RecordState::Asked, false) => {
                self.enter(false, RecordState::Agreed);
                self.unlinked = (!linked).then_some(now + RECORD_UNLINKED);
                Ok((Some(RecordWord::Allow(request)), true))
            }
            (RecordAct::Allow, ..) => Err(Refusal::NotAsked),
            (RecordAct::Refuse | RecordAct::Stop(_), RecordState::Asked, false) => {
                self.over(RecordEnd::Refused);
                Ok((Some(RecordWord::Refuse(request)), true))
            }
            (RecordAct::Refuse | RecordAct::Stop(_), RecordState::Agreed | RecordState::Running, false) => {
                self.over(RecordEnd::Withdrawn);
                Ok((Some(RecordWord::Refuse(request)), true))
            }
            (RecordAct::Started, RecordState::Agreed, true) => {
                self.enter(true, RecordState::Running);
                if let Some(view) = &mut self.view {
                    view.since_ms = Some(unix_ms);
                }
                Ok((Some(RecordWord::Start(request)), true))
            }
            (RecordAct::Started, RecordState::Running, true) => Ok(NOTHING),
            (RecordAct::Started, ..) => Err(Refusal::NotAgreed),
            (RecordAct::Stop(_) | RecordAct::Refuse, RecordState::Ended, _) => Err(Refusal::NotRecording),
            (RecordAct::Stop(text), _, _) => Ok(self.stop(text)),
            (RecordAct::Refuse, ..) => Ok(self.stop(Reason::default())),
        }
    }

    /// Ends the own recording, or request.
    fn stop(&mut self, text: Reason) -> Effect {
        self.over(RecordEnd::Stopped(text.clone()));
        (Some(RecordWord::Stop(self.request, text)), true)
    }

    fn received(&mut self, now: Instant, unix_ms: u64, caller: bool, word: RecordWord) -> Effect {
        let known = self.goes_on() && self.request == word.request();
        let (mine, state) = (self.mine(), self.state());
        match word {
            RecordWord::Ask(request) => {
                self.heard = self.heard.saturating_add(1);
                let taken = self.goes_on() && mine && (caller || self.agreed());
                if self.heard > MAX_RECORD_ASKS || (taken && self.agreed()) {
                    return (Some(RecordWord::Refuse(request)), false);
                }
                if taken {
                    // Both asked at once: the caller's request stands, and the callee knows it by then.
                    return NOTHING;
                }
                // A new request takes the place of what was agreed before: whoever asks anew has given that up.
                self.enter(false, RecordState::Asked);
                self.unlinked = None;
                self.request = request;
                (Some(RecordWord::Shown(request)), true)
            }
            RecordWord::Shown(_) if known && mine && state == RecordState::Asking => {
                self.enter(true, RecordState::Shown);
                self.until = Some(now + RECORD_ANSWER);
                (None, true)
            }
            RecordWord::Allow(_) if known && mine && matches!(state, RecordState::Asking | RecordState::Shown) => {
                self.enter(true, RecordState::Agreed);
                self.until = Some(now + RECORD_BEGIN);
                (None, true)
            }
            // Agreed to something that is over: the friend shall not believe that it is recorded.
            RecordWord::Allow(request) if !known => (Some(RecordWord::Stop(request, Reason::default())), false),
            RecordWord::Refuse(_) if known && mine => {
                let end = if self.agreed() { RecordEnd::Withdrawn } else { RecordEnd::Refused };
                self.over(end);
                (None, true)
            }
            RecordWord::Start(_) if known && !mine && state == RecordState::Agreed => {
                self.enter(false, RecordState::Running);
                if let Some(view) = &mut self.view {
                    view.since_ms = Some(unix_ms);
                }
                (None, true)
            }
            // Nobody here agreed to that.
            RecordWord::Start(request) if !(known && !mine && state == RecordState::Running) => {
                (Some(RecordWord::Refuse(request)), false)
            }
            RecordWord::Stop(_, text) if known && !mine => {
                self.over(RecordEnd::Stopped(text));
                (None, true)
            }
            _ => NOTHING,
        }
    }

    /// Time has passed.
    fn expire(&mut self, now: Instant) -> Effect {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let (mine, state, request) = (self.mine(), self.state(), self.request);
        let word = || {
            let stop = RecordWord::Stop(request, Reason::default());
            Some(if mine { stop } else { RecordWord::Refuse(request) })
        };
        if due(self.unlinked) {
            self.over(RecordEnd::Unlinked);
            (word(), true)
        } else if due(self.until) {
            self.over(match state {
                RecordState::Agreed => RecordEnd::Stopped(Reason::clean("no program writes it")),
                _ => RecordEnd::Unanswered,
            });
            (word(), true)
        } else {
            NOTHING
        }
    }

    fn link(&mut self, now: Instant, up: bool, restarted: bool) -> Effect {
        if !self.goes_on() {
            return NOTHING;
        }
        if up && restarted {
            self.over(RecordEnd::Restarted);
            return (None, true);
        }
        self.unlinked = if up || !self.agreed() { None } else { self.unlinked.or(Some(now + RECORD_UNLINKED)) };
        NOTHING
    }

    /// The call is over; so is its recording.
    pub(super) fn call_over(&mut self) {
        if self.goes_on() {
            self.over(RecordEnd::CallOver);
        }
    }
}

impl Calls {
    /// Does something with a call's recording, and tells of it.
    fn with_recording(&mut self, id: CallId, change: impl FnOnce(&mut Recording) -> Effect) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (word, changed) = change(&mut call.recording);
        call.due.record = call.recording.due();
        if let Some(word) = word {
            self.send(id, CallBody::Record(word));
        }
        if changed {
            self.changed(id);
        }
    }

    pub(super) fn record(&mut self, now: Instant, unix_ms: u64, id: CallId, act: RecordAct) {
        let Some(call) = self.calls.get_mut(&id) else { return self.refuse(id, Refusal::NoCall) };
        if !call.answered() {
            let state = call.state();
            return self.refuse(id, Refusal::State(state));
        }
        let linked = self.linked.contains(&call.friend);
        match call.recording.act(now, unix_ms, linked, act) {
            Ok(effect) => self.with_recording(id, |_| effect),
            Err(refusal) => self.refuse(id, refusal),
        }
    }

    pub(super) fn record_received(&mut self, now: Instant, unix_ms: u64, id: CallId, word: RecordWord) {
        let Some(call) = self.calls.get(&id) else { return };
        let (answered, caller) = (call.answered(), call.caller);
        if answered {
            self.with_recording(id, |recording| recording.received(now, unix_ms, caller, word));
        }
    }

    /// The friend's node did not understand a request to record.
    pub(super) fn record_unknown(&mut self, friend: RootPublic) {
        for id in self.with_friend(friend) {
            self.with_recording(id, |recording| {
                if recording.mine() && recording.state() == RecordState::Asking {
                    recording.over(RecordEnd::Unsupported);
                    (None, true)
                } else {
                    NOTHING
                }
            });
        }
    }

    pub(super) fn record_due(&mut self, now: Instant, id: CallId) {
        self.with_recording(id, |recording| recording.expire(now));
    }

    pub(super) fn record_link(&mut self, now: Instant, friend: RootPublic, up: bool, restarted: bool) {
        for id in self.with_friend(friend) {
            self.with_recording(id, |recording| recording.link(now, up, restarted));
        }
    }

    /// The client that writes is gone: what it wrote is complete, and nothing more comes.
    pub(super) fn record_seat_lost(&mut self, id: CallId) {
        self.with_recording(id, |recording| {
            if recording.mine() && recording.goes_on() {
                recording.stop(Reason::clean("the program that recorded was closed"))
            } else {
                NOTHING
            }
        });
    }

    fn with_friend(&self, friend: RootPublic) -> Vec<CallId> {
        self.calls.values().filter(|call| call.friend == friend).map(|call| call.id).collect()
    }
}
