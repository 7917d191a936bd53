//! All calls of a node: the two doors, and what every part of the machine does with a call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::one::{Call, Outcome, Path, Phase, Snapshot, State};
use super::resume::Lost;
use super::{CallRecord, GRACE_LONGEST, HistoryRecord, Input, MAX_REMEMBERED, Output, PeerCommand, SETUP, Settings};
use crate::identity::RootPublic;
use crate::wire::{CallBody, CallId, Reason};

/// An ended call, as it is remembered.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) wire: CallId,
    pub(super) caller: bool,
    pub(super) answered: bool,
    pub(super) history: HistoryRecord,
    pub(super) last: Snapshot,
}

/// All calls of a node.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    pub(super) settings: Settings,
    pub(super) calls: BTreeMap<CallId, Call>,
    pub(super) ended: VecDeque<Ended>,
    pub(super) linked: BTreeSet<RootPublic>,
    /// The last call with each friend, if it was lost a short while ago.
    pub(super) lost: BTreeMap<RootPublic, Lost>,
    /// Invites of each friend: since when, how many. Entries older than a minute go.
    pub(super) invites: BTreeMap<RootPublic, (Instant, u32)>,
    pub(super) outputs: Vec<Output>,
}

impl Calls {
    /// No calls yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut calls = Self::default();
        calls.set_settings(settings);
        calls
    }

    /// Takes what happened; returns what to do, in order.
    pub fn handle(&mut self, now: Instant, unix_ms: u64, input: Input) -> Vec<Output> {
        match input {
            Input::Place { call, friend, video, seat } => self.place(now, unix_ms, call, friend, video, seat, None),
            Input::Resume { lost, call, video, seat } => self.resume(now, unix_ms, lost, call, video, seat),
            Input::Answer { call, video, seat } => self.answer(now, unix_ms, call, video, seat),
            Input::Decline { call, text } => self.decline(unix_ms, call, text),
            Input::HangUp(call) => self.hang_up(unix_ms, call),
            Input::Update { call, muted, video, screen, held } => self.update(call, muted, video, screen, held),
            Input::Record { call, act } => self.record(now, unix_ms, call, act),
            Input::RecordUnknown(friend) => self.record_unknown(friend),
            Input::SeatTaken { call, seat } => self.seat_taken(call, seat),
            Input::SeatLost(call) => self.seat_lost(now, call),
            Input::Settings(settings) => self.set_settings(settings),
            Input::LinkUp { friend, restarted } => self.link_up(now, unix_ms, friend, restarted),
            Input::LinkDown(friend) => self.link_down(now, friend),
            Input::Received(friend, message) => self.received(now, unix_ms, friend, message),
            Input::Undelivered(friend, message) => {
                if let Some(id) = self.find(&friend, &message.call) {
                    let reason = "too much waits for the friend's node";
                    self.end(unix_ms, id, Outcome::Failed, Some(reason.to_owned()), None);
                }
            }
            Input::Peer(call, event) => self.peer(now, unix_ms, call, event),
            Input::AddressChanged => self.address_changed(now),
            Input::Unseen(time) => self.unseen(now, time),
            Input::FriendGone(friend) => self.friend_gone(unix_ms, friend),
            Input::Restore(record) => self.restore(now, unix_ms, &record),
            Input::EndedBefore(record) => self.ended_before(unix_ms, &record),
        }
        std::mem::take(&mut self.outputs)
    }

    /// When [`Calls::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.calls.values().filter_map(|call| call.due.next()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, unix_ms: u64) -> Vec<Output> {
        self.expire(now, unix_ms);
        std::mem::take(&mut self.outputs)
    }

    /// A running call as it is now.
    #[must_use]
    pub fn get(&self, call: &CallId) -> Option<Snapshot> {
        self.calls.get(call).map(Call::snapshot)
    }

    /// A call that ended a short while ago, as it ended.
    #[must_use]
    pub fn get_ended(&self, call: &CallId) -> Option<&Snapshot> {
        self.ended.iter().rev().find(|ended| ended.last.id == *call).map(|ended| &ended.last)
    }

    /// What to store of the calls that go on, seen at `unix_ms`.
    pub fn records(&self, unix_ms: u64) -> impl Iterator<Item = CallRecord> {
        let seen = move |record| CallRecord { seen_ms: Some(unix_ms), ..record };
        self.calls.values().filter_map(Call::record).map(seen)
    }

    /// All running calls.
    pub fn iter(&self) -> impl Iterator<Item = Snapshot> {
        self.calls.values().map(Call::snapshot)
    }

    pub(super) fn set_settings(&mut self, settings: Settings) {
        self.settings = Settings { grace: settings.grace.clamp(SETUP, GRACE_LONGEST), ..settings };
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }

    pub(super) fn send(&mut self, id: CallId, body: CallBody) {
        if let Some(call) = self.calls.get(&id) {
            self.outputs.push(Output::Send(call.friend, call.message(body)));
        }
    }

    pub(super) fn command(&mut self, id: CallId, command: PeerCommand) {
        self.outputs.push(Output::Peer(id, command));
    }

    pub(super) fn changed(&mut self, id: CallId) {
        if let Some(call) = self.calls.get(&id) {
            self.outputs.push(Output::Changed(call.snapshot()));
        }
    }

    pub(super) fn store(&mut self, id: CallId) {
        if let Some(record) = self.calls.get(&id).and_then(Call::record) {
            self.outputs.push(Output::Store(record));
        }
    }

    /// Brings the peer's flow and what the other side knows in line with the call's state.
    pub(super) fn sync(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.had_video |= call.answered() && (call.mine.video || call.theirs.video);
        let flow = call.flow_now();
        if call.answered() && call.flow.as_ref() != Some(&flow) {
            call.flow = Some(flow.clone());
            self.outputs.push(Output::Peer(id, flow));
        }
        if call.answered() && call.told != call.mine {
            self.tell(id);
        }
    }

    /// Tells the other side what this one does.
    pub(super) fn tell(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.told = call.mine;
        let body = CallBody::State {
            muted: call.mine.muted,
            video: call.mine.video,
            screen: call.mine.screen,
            held: call.mine.held,
            seat: call.mine.seat,
        };
        self.send(id, body);
    }

    /// Adds a call, and quickens the link's heartbeat.
    pub(super) fn begin(&mut self, call: Call) {
        let friend = call.friend;
        if !self.calls.values().any(|other| other.friend == friend) {
            self.outputs.push(Output::InCall(friend, true));
        }
        self.calls.insert(call.id, call);
    }

    /// The call is answered, here or there.
    pub(super) fn answered(&mut self, now: Instant, unix_ms: u64, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.phase = Phase::Answered;
        call.answered_ms = Some(unix_ms);
        call.due.ring = None;
        self.lost.remove(&call.friend);
        if call.path == Path::New {
            call.due.setup = Some(now + SETUP);
        } else if call.path == Path::Broken {
            call.due.grace = Some(now + self.settings.grace);
        }
        if !call.mine.seat {
            call.due.seat = Some(now + self.settings.grace);
        }
        let trouble = call.dead || call.path == Path::Broken;
        if !call.mine.held {
            self.hold_others(id);
        }
        self.sync(id);
        if trouble {
            self.plan_restart(now, id);
        }
        self.store(id);
        self.changed(id);
    }

    /// Holds every other call that is talking.
    pub(super) fn hold_others(&mut self, id: CallId) {
        let others: Vec<_> = self
            .calls
            .values_mut()
            .filter(|call| call.id != id && call.answered() && !call.mine.held)
            .map(|call| {
                call.mine.held = true;
                call.id
            })
            .collect();
        for other in others {
            self.sync(other);
            self.store(other);
            self.changed(other);
        }
    }

    /// Ends a call. `word` is what the other side is told, if anything.
    pub(super) fn end(
        &mut self,
        unix_ms: u64,
        id: CallId,
        outcome: Outcome,
        reason: Option<String>,
        word: Option<CallBody>,
    ) {
        let told = word.is_none();
        if let Some(word) = word {
            self.send(id, word);
        }
        let Some(mut call) = self.calls.remove(&id) else { return };
        call.recording.call_over();
        let reason = reason.filter(|reason| !reason.is_empty());
        let history = call.history(unix_ms, outcome, reason.clone());
        let last = Snapshot {
            state: State::Ended,
            ended_ms: Some(unix_ms),
            outcome: Some(outcome),
            reason,
            seat_taken: false,
            ..call.snapshot()
        };
        self.push(Output::Peer(id, PeerCommand::Close));
        if call.answered() {
            self.push(Output::Forget(id));
        }
        self.push(Output::History(history.clone()));
        self.push(Output::Changed(last.clone()));
        if !self.calls.values().any(|other| other.friend == call.friend) {
            self.push(Output::InCall(call.friend, false));
        }
        self.note_lost(unix_ms, &call, outcome, told);
        self.remember(Ended { wire: call.wire, caller: call.caller, answered: call.answered(), history, last });
    }

    /// Ends a call from this side, saying so.
    pub(super) fn leave(&mut self, unix_ms: u64, id: CallId, outcome: Outcome, reason: &str) {
        let word = CallBody::Leave { reason: outcome.to_leave(), text: Reason::clean(reason) };
        self.end(unix_ms, id, outcome, Some(reason.to_owned()), Some(word));
    }

    pub(super) fn remember(&mut self, ended: Ended) {
        if self.ended.len() >= MAX_REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
    }

    /// The running call that a friend means.
    pub(super) fn find(&self, friend: &RootPublic, wire: &CallId) -> Option<CallId> {
        self.calls.values().find(|call| call.friend == *friend && call.wire == *wire).map(|call| call.id)
    }
}
