//! What the other side says about calls, and what the link's coming and going means for them.

use std::time::{Duration, Instant};

use super::machine::Calls;
use super::one::{Call, Direction, Doing, Outcome, Path, Phase, State};
use super::{
    MAX_CALLS, MAX_GENERATION_STEP, MAX_INVITES, MAX_OFFERS, MAX_RINGING, OfferKind, Output, PeerCommand,
    RESTART_EVERY, RING, RING_HERE,
};
use crate::identity::RootPublic;
use crate::wire::{
    CallBody, CallId, CallMessage, Candidates, DeclineReason, Description, DescriptionKind, LeaveReason,
    MAX_CANDIDATES, Note, Reason,
};

impl Calls {
    pub(super) fn received(&mut self, now: Instant, unix_ms: u64, friend: RootPublic, message: CallMessage) {
        let CallMessage { call: wire, participant, body } = message;
        if let CallBody::Invite { description, candidates, video, resumes } = body {
            if participant == 0 && description.kind == DescriptionKind::Offer {
                self.invited(now, unix_ms, friend, wire, description, candidates, video, resumes);
            }
            return;
        }
        let Some(id) = self.find(&friend, &wire) else { return self.unknown(friend, wire, participant, body) };
        let Some(call) = self.calls.get_mut(&id).filter(|call| u16::from(call.caller) == participant) else { return };
        match body {
            CallBody::Invite { .. } => {}
            CallBody::Ringing => {
                if call.phase == Phase::Calling {
                    call.phase = Phase::Ringing;
                    call.due.ring = Some(now + RING);
                    self.changed(id);
                }
            }
            CallBody::Answer { description, candidates } => {
                let wanted = call.offered == Some(description.generation);
                if wanted && description.kind == DescriptionKind::Answer {
                    call.offered = None;
                    self.forward(id, description, candidates);
                }
            }
            CallBody::Candidates { generation, candidates } => {
                if generation == call.generation {
                    let room = MAX_CANDIDATES.saturating_sub(call.candidates);
                    let list: Vec<_> = candidates.into_vec().into_iter().take(room).collect();
                    call.candidates += list.len();
                    if !list.is_empty() {
                        self.command(id, PeerCommand::Candidates { generation, list });
                    }
                }
            }
            CallBody::Accept { video } => {
                if call.caller && !call.answered() {
                    call.theirs.video = video;
                    self.answered(now, unix_ms, id);
                } else if call.caller && call.theirs.video != video {
                    // Media was faster than the word.
                    call.theirs.video = video;
                    self.sync(id);
                    self.changed(id);
                }
            }
            CallBody::Decline { reason, text } => {
                if call.caller {
                    self.end(unix_ms, id, Outcome::of_decline(reason), Some(text.into()), None);
                }
            }
            CallBody::Leave { reason, text } => {
                let outcome = Outcome::of_leave(reason, call.answered());
                let text = match (reason, text.is_empty()) {
                    (LeaveReason::Gone, _) => "the other side no longer knows this call".to_owned(),
                    (_, _) => text.into(),
                };
                self.end(unix_ms, id, outcome, Some(text), None);
            }
            CallBody::State { muted, video, screen, held, seat } => {
                let before = call.theirs;
                call.theirs = Doing { muted, video, screen, held, seat };
                if call.theirs != before {
                    self.sync(id);
                    self.changed(id);
                }
            }
            CallBody::Offer { description, candidates } => self.offered(now, unix_ms, id, description, candidates),
            CallBody::Record(word) => self.record_received(now, unix_ms, id, word),
        }
    }

    /// Somebody calls.
    #[expect(clippy::too_many_arguments, reason = "the fields of an invite")]
    fn invited(
        &mut self,
        now: Instant,
        unix_ms: u64,
        friend: RootPublic,
        wire: CallId,
        description: Description,
        candidates: Candidates,
        video: bool,
        resumes: Option<CallId>,
    ) {
        if let Some(id) = self.find(&friend, &wire) {
            return self.invited_again(id, description, candidates);
        }
        if let Some(ended) = self.ended.iter().find(|e| e.history.friend == friend && e.wire == wire) {
            let reason = ended.history.outcome.to_leave();
            let participant = u16::from(!ended.caller);
            let body = CallBody::Leave { reason, text: Reason::default() };
            return self.push(Output::Send(friend, CallMessage { call: wire, participant, body }));
        }
        // An id of another friend's call is no accident.
        let taken = self.calls.contains_key(&wire) || self.ended.iter().any(|ended| ended.last.id == wire);
        if taken || self.too_often(now, friend) {
            return self.turn_away(friend, wire, DeclineReason::Busy);
        }
        if let Some(other) = self.calls.values().find(|call| call.friend == friend) {
            match (other.phase, other.direction, other.path) {
                // Both call at once: one call, the lower id.
                (Phase::Calling | Phase::Ringing, Direction::Outgoing, _) => {
                    let id = other.id;
                    if other.wire > wire {
                        self.merge(now, unix_ms, id, wire, description, candidates, video);
                    }
                    return;
                }
                (Phase::Calling | Phase::Ringing, Direction::Incoming, _) => {
                    let (id, reason) = (other.id, "the caller called again");
                    self.end(unix_ms, id, Outcome::Cancelled, Some(reason.to_owned()), None);
                }
                (Phase::Answered, _, Path::Up) => return self.turn_away(friend, wire, DeclineReason::Busy),
                (Phase::Answered, _, Path::New | Path::Broken) => {
                    let (id, reason) = (other.id, "the other side gave it up and called again");
                    self.leave(unix_ms, id, Outcome::Failed, reason);
                }
            }
        }
        let mut call = Call::new(now, unix_ms, wire, friend, false, video);
        let ringing = self.calls.values().filter(|c| c.direction == Direction::Incoming && !c.answered()).count();
        let refusal = if self.settings.dnd {
            Some((Outcome::DoNotDisturb, DeclineReason::Dnd))
        } else if self.calls.len() >= MAX_CALLS
            || ringing >= MAX_RINGING
            || (!self.settings.call_waiting && !self.calls.is_empty())
        {
            Some((Outcome::Busy, DeclineReason::Busy))
        } else {
            None
        };
        if let Some((outcome, reason)) = refusal {
            self.turn_away(friend, wire, reason);
            return self.missed(unix_ms, &call, outcome);
        }
        call.waiting = !self.calls.is_empty();
        call.resumes = self.resumed(&friend, resumes).zip(resumes);
        call.theirs.video = video;
        call.generation = description.generation;
        call.due.ring = Some(now + RING_HERE);
        let snapshot = call.snapshot();
        self.begin(call);
        self.push(Output::Incoming(snapshot));
        self.send(wire, CallBody::Ringing);
        self.command(wire, PeerCommand::Open { polite: true, participant: 0 });
        self.forward(wire, description, candidates);
    }

    /// The same invite came again, with a newer offer if the caller had to begin anew.
    fn invited_again(&mut self, id: CallId, description: Description, candidates: Candidates) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let newer =
            description.generation > call.generation && description.generation - call.generation <= MAX_GENERATION_STEP;
        if !call.caller && !call.answered() && newer {
            call.generation = description.generation;
            self.forward(id, description, candidates);
        }
    }

    /// Both sides called: the own call goes on under the friend's id, with this side as the callee, and is answered.
    #[expect(clippy::too_many_arguments, reason = "the fields of an invite")]
    fn merge(
        &mut self,
        now: Instant,
        unix_ms: u64,
        id: CallId,
        wire: CallId,
        description: Description,
        candidates: Candidates,
        video: bool,
    ) {
        // The own invite is withdrawn, lest it ring when the other side gives its call up at this moment.
        self.send(id, CallBody::Leave { reason: LeaveReason::Cancelled, text: Reason::default() });
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.wire = wire;
        call.caller = false;
        call.phase = Phase::Ringing;
        call.path = Path::New;
        call.dead = false;
        call.offered = None;
        call.generation = description.generation;
        call.wants_video |= video;
        call.theirs.video = video;
        let video = call.mine.video;
        call.told.video = video;
        self.command(id, PeerCommand::Close);
        self.command(id, PeerCommand::Open { polite: true, participant: 0 });
        self.forward(id, description, candidates);
        self.send(id, CallBody::Accept { video });
        self.answered(now, unix_ms, id);
    }

    /// The other side offers a new path.
    fn offered(&mut self, now: Instant, unix_ms: u64, id: CallId, description: Description, candidates: Candidates) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.offers.0 + Duration::from_secs(30) <= now {
            call.offers = (now, 0);
        }
        call.offers.1 += 1;
        if call.offers.1 > MAX_OFFERS {
            return self.leave(unix_ms, id, Outcome::Failed, "the other side renews the path without end");
        }
        let generation = description.generation;
        // Both offered at once: the caller's offer stands.
        let crossing = call.offered == Some(generation) && call.caller;
        let stale = generation < call.generation || (generation == call.generation && call.offered.is_none());
        if !call.answered()
            || crossing
            || stale
            || generation - call.generation > MAX_GENERATION_STEP
            || description.kind != DescriptionKind::Offer
        {
            return;
        }
        call.generation = generation;
        call.offered = None;
        call.dead = false;
        call.moved = false;
        call.due.restart = (call.path != Path::Up).then_some(now + RESTART_EVERY);
        self.forward(id, description, candidates);
        self.store(id);
    }

    /// Gives a description to the peer.
    fn forward(&mut self, id: CallId, description: Description, candidates: Candidates) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let candidates = candidates.into_vec();
        call.candidates = candidates.len();
        self.command(id, PeerCommand::Remote { description, candidates });
    }

    /// Words about a call that does not run here.
    fn unknown(&mut self, friend: RootPublic, wire: CallId, participant: u16, body: CallBody) {
        let ended = self.ended.iter_mut().find(|e| e.history.friend == friend && e.wire == wire);
        let (outcome, text) = match &body {
            CallBody::Leave { reason: LeaveReason::Gone, .. } => return,
            CallBody::Leave { reason, text } => {
                let answered = ended.as_ref().is_some_and(|ended| ended.answered);
                (Some(Outcome::of_leave(*reason, answered)), text.to_string())
            }
            CallBody::Decline { reason, text } => (Some(Outcome::of_decline(*reason)), text.to_string()),
            _ => (None, String::new()),
        };
        match (outcome, ended) {
            (Some(outcome), Some(ended)) => {
                // Both ended it at once. The caller's word counts.
                if ended.caller || ended.history.outcome == outcome {
                    return;
                }
                ended.history.outcome = outcome;
                ended.history.reason = Some(text).filter(|text| !text.is_empty());
                ended.last.outcome = Some(outcome);
                ended.last.reason.clone_from(&ended.history.reason);
                let (history, last) = (ended.history.clone(), ended.last.clone());
                self.push(Output::History(history));
                self.push(Output::Changed(last));
            }
            (Some(_), None) => {}
            (None, ended) => {
                // The other side believes that the call runs: it has not heard of the end, or this node forgot it.
                if matches!(body, CallBody::Accept { .. } | CallBody::Offer { .. } | CallBody::State { .. }) {
                    let reason = ended.map_or(LeaveReason::Gone, |ended| ended.history.outcome.to_leave());
                    let body = CallBody::Leave { reason, text: Reason::default() };
                    let participant = u16::from(participant == 0);
                    self.push(Output::Send(friend, CallMessage { call: wire, participant, body }));
                }
            }
        }
    }

    /// Counts an invite; whether it is one too many.
    fn too_often(&mut self, now: Instant, friend: RootPublic) -> bool {
        self.invites.retain(|_, (since, _)| *since + Duration::from_secs(60) > now);
        let (_, count) = self.invites.entry(friend).or_insert((now, 0));
        *count += 1;
        *count > MAX_INVITES
    }

    fn turn_away(&mut self, friend: RootPublic, wire: CallId, reason: DeclineReason) {
        let body = CallBody::Decline { reason, text: Note::default() };
        self.push(Output::Send(friend, CallMessage { call: wire, participant: 1, body }));
    }

    /// Remembers and tells of a call that was turned away without ringing.
    fn missed(&mut self, unix_ms: u64, call: &Call, outcome: Outcome) {
        let history = call.history(unix_ms, outcome, None);
        let last =
            super::Snapshot { state: State::Ended, ended_ms: Some(unix_ms), outcome: Some(outcome), ..call.snapshot() };
        self.push(Output::History(history.clone()));
        self.push(Output::Changed(last.clone()));
        self.remember(super::machine::Ended { wire: call.wire, caller: false, answered: false, history, last });
    }

    pub(super) fn link_up(&mut self, now: Instant, unix_ms: u64, friend: RootPublic, restarted: bool) {
        self.linked.insert(friend);
        self.record_link(now, friend, true, restarted);
        let calls: Vec<_> = self.calls.values().filter(|call| call.friend == friend).map(|call| call.id).collect();
        for id in calls {
            let Some(call) = self.calls.get_mut(&id) else { continue };
            match (call.answered(), call.direction) {
                (true, _) => {
                    if restarted {
                        // Finds out whether the other side still knows the call; if so it will offer.
                        self.tell(id);
                    }
                    if self.calls.get(&id).is_some_and(|call| call.path == Path::Broken || call.moved || call.dead) {
                        self.plan_restart(now, id);
                    }
                }
                (false, Direction::Outgoing) if restarted => {
                    // The other node forgot the invite and its half of the connection: begin both anew.
                    call.phase = Phase::Calling;
                    call.path = Path::New;
                    self.offer(now, id, OfferKind::Rebuild);
                    self.changed(id);
                }
                (false, Direction::Incoming) if restarted => {
                    let reason = "the caller's node was restarted".to_owned();
                    self.end(unix_ms, id, Outcome::Cancelled, Some(reason), None);
                }
                (false, _) => {}
            }
        }
        self.offer_resume(unix_ms, friend);
    }

    pub(super) fn link_down(&mut self, now: Instant, friend: RootPublic) {
        self.linked.remove(&friend);
        self.record_link(now, friend, false, false);
        if self.calls.values().any(|call| call.friend == friend) {
            self.push(Output::Urge(friend));
        }
    }
}
