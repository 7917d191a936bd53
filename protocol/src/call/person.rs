//! What people and their clients do with calls.

use std::time::Instant;

use super::machine::Calls;
use super::one::{Call, Direction, Outcome, Phase, State};
use super::{MAX_CALLS, OfferKind, Output, PeerCommand, RING, Refusal, SEAT_RINGING, SeatHash};
use crate::identity::RootPublic;
use crate::wire::{CallBody, CallId, DeclineReason, Note};

impl Calls {
    #[expect(clippy::too_many_arguments, reason = "the fields of the input")]
    pub(super) fn place(
        &mut self,
        now: Instant,
        unix_ms: u64,
        id: CallId,
        friend: RootPublic,
        video: bool,
        seat: SeatHash,
        resumes: Option<(CallId, CallId)>,
    ) {
        if self.calls.contains_key(&id) || self.ended.iter().any(|ended| ended.last.id == id) {
            return self.refuse(id, Refusal::Taken);
        }
        if let Some(other) = self.calls.values().find(|call| call.friend == friend) {
            let rings = other.direction == Direction::Incoming && !other.answered();
            let other = other.id;
            return self.refuse(id, if rings { Refusal::Ringing(other) } else { Refusal::InCall(other) });
        }
        if self.calls.len() >= MAX_CALLS {
            return self.refuse(id, Refusal::TooMany);
        }
        let mut call = Call::new(now, unix_ms, id, friend, true, video);
        call.mine.video = video;
        call.told.video = video;
        call.seat = Some(seat);
        call.resumes = resumes;
        call.offered = Some(0);
        call.due.ring = Some(now + RING);
        self.begin(call);
        self.hold_others(id);
        self.command(id, PeerCommand::Open { polite: false, participant: 1 });
        self.command(id, PeerCommand::Offer { generation: 0, kind: OfferKind::First });
        if !self.linked.contains(&friend) {
            self.push(Output::Urge(friend));
        }
        self.changed(id);
    }

    pub(super) fn answer(&mut self, now: Instant, unix_ms: u64, id: CallId, video: bool, seat: SeatHash) {
        let Some(call) = self.calls.get_mut(&id) else { return self.refuse(id, Refusal::NoCall) };
        if call.direction == Direction::Outgoing {
            let state = call.state();
            return self.refuse(id, Refusal::State(state));
        }
        if call.phase == Phase::Answered {
            return self.refuse(id, Refusal::AnsweredElsewhere);
        }
        call.seat = Some(seat);
        call.mine.video = video;
        call.told.video = video;
        let friend = call.friend;
        // Whoever is answered is no nuisance: the count begins anew.
        self.invites.remove(&friend);
        self.send(id, CallBody::Accept { video });
        self.answered(now, unix_ms, id);
    }

    pub(super) fn decline(&mut self, unix_ms: u64, id: CallId, text: Note) {
        let Some(call) = self.calls.get(&id) else { return self.refuse(id, Refusal::NoCall) };
        if call.direction == Direction::Outgoing || call.answered() {
            let state = call.state();
            return self.refuse(id, Refusal::State(state));
        }
        let word = CallBody::Decline { reason: DeclineReason::Declined, text: text.clone() };
        self.end(unix_ms, id, Outcome::Declined, Some(text.into()), Some(word));
    }

    pub(super) fn hang_up(&mut self, unix_ms: u64, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return self.refuse(id, Refusal::NoCall) };
        match (call.answered(), call.direction) {
            (true, _) => self.leave(unix_ms, id, Outcome::Completed, ""),
            (false, Direction::Outgoing) => self.leave(unix_ms, id, Outcome::Cancelled, ""),
            (false, Direction::Incoming) => self.decline(unix_ms, id, Note::default()),
        }
    }

    pub(super) fn update(
        &mut self,
        id: CallId,
        muted: Option<bool>,
        video: Option<bool>,
        screen: Option<bool>,
        held: Option<bool>,
    ) {
        let Some(call) = self.calls.get_mut(&id) else { return self.refuse(id, Refusal::NoCall) };
        if call.direction == Direction::Incoming && !call.answered() || (held.is_some() && !call.answered()) {
            let state = call.state();
            return self.refuse(id, Refusal::State(state));
        }
        let before = call.mine;
        call.mine.muted = muted.unwrap_or(before.muted);
        call.mine.video = video.unwrap_or(before.video);
        call.mine.screen = screen.unwrap_or(before.screen);
        call.mine.held = held.unwrap_or(before.held);
        if call.mine == before {
            return;
        }
        if before.held && held == Some(false) {
            self.hold_others(id);
        }
        self.sync(id);
        self.store(id);
        self.changed(id);
    }

    pub(super) fn seat_taken(&mut self, id: CallId, seat: SeatHash) {
        let Some(call) = self.calls.get_mut(&id) else { return self.refuse(id, Refusal::NoCall) };
        if call.state() == State::Ringing && call.direction == Direction::Incoming {
            return self.refuse(id, Refusal::State(State::Ringing));
        }
        call.seat = Some(seat);
        call.mine.seat = true;
        call.due.seat = None;
        self.sync(id);
        self.store(id);
        self.changed(id);
    }

    pub(super) fn seat_lost(&mut self, now: Instant, id: CallId) {
        let grace = self.settings.grace;
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.mine.seat && call.seat.is_some()) else { return };
        call.mine.seat = false;
        call.due.seat = Some(now + if call.answered() { grace } else { SEAT_RINGING });
        self.record_seat_lost(id);
        self.sync(id);
        self.changed(id);
    }

    pub(super) fn friend_gone(&mut self, unix_ms: u64, friend: RootPublic) {
        let calls: Vec<_> = self.calls.values().filter(|call| call.friend == friend).map(|call| call.id).collect();
        for id in calls {
            self.hang_up(unix_ms, id);
        }
        self.linked.remove(&friend);
        self.invites.remove(&friend);
    }

    pub(super) fn refuse(&mut self, id: CallId, refusal: Refusal) {
        self.push(Output::Refused(id, refusal));
    }
}
