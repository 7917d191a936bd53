//! What the media engine says, and when a path is renewed.

use std::time::{Duration, Instant};

use super::machine::Calls;
use super::one::{Call, Outcome, Path, Phase};
use super::{
    CallRecord, OfferKind, Output, PeerCommand, PeerEvent, RESTART_DELAY, RESTART_DELAY_CALLEE, RESTART_EVERY,
    SEEN_EVERY, SETUP,
};
use crate::wire::{CallBody, CallId, Candidates, DescriptionKind, List, MAX_CANDIDATES};

/// So many offers are made at once when there is a reason; after them, each waits, so that an engine that fails at
/// once is not driven in circles.
const QUICK_ATTEMPTS: u32 = 3;

impl Calls {
    pub(super) fn peer(&mut self, now: Instant, unix_ms: u64, id: CallId, event: PeerEvent) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match event {
            PeerEvent::Local { description, candidates } => {
                if description.generation != call.generation {
                    return;
                }
                let candidates = Candidates::first_of(candidates);
                let body = match (description.kind, call.answered()) {
                    (DescriptionKind::Offer, _) if call.offered.is_none() => return,
                    (DescriptionKind::Offer, false) => {
                        let resumes = call.resumes.map(|(_, wire)| wire);
                        CallBody::Invite { description, candidates, video: call.mine.video, resumes }
                    }
                    (DescriptionKind::Offer, true) => CallBody::Offer { description, candidates },
                    (_, _) => CallBody::Answer { description, candidates },
                };
                self.send(id, body);
            }
            PeerEvent::Candidates { generation, list } => {
                if generation == call.generation {
                    let mut list = list.into_iter().peekable();
                    while list.peek().is_some() {
                        let candidates = List::first_of(list.by_ref().take(MAX_CANDIDATES));
                        self.send(id, CallBody::Candidates { generation, candidates });
                    }
                }
            }
            PeerEvent::Connected | PeerEvent::Recovered => self.path_up(id),
            PeerEvent::MediaArrived => {
                if call.caller && !call.answered() {
                    self.answered(now, unix_ms, id);
                }
                self.path_up(id);
            }
            PeerEvent::Silent | PeerEvent::PathLost => self.path_down(now, id),
            PeerEvent::NeedsRebuild => {
                call.dead = true;
                self.path_down(now, id);
            }
            PeerEvent::Failed { fatal: true, reason } => self.leave(unix_ms, id, Outcome::Failed, &reason),
            PeerEvent::Failed { fatal: false, reason } => {
                call.dead = true;
                call.trouble = Some(reason);
                self.path_down(now, id);
            }
        }
    }

    fn path_up(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let before = call.state();
        call.path = Path::Up;
        call.dead = false;
        call.trouble = None;
        call.attempts = 0;
        call.due.setup = None;
        call.due.grace = None;
        if !call.moved {
            call.due.restart = None;
        }
        if call.state() != before {
            self.changed(id);
        }
    }

    fn path_down(&mut self, now: Instant, id: CallId) {
        let grace = self.settings.grace;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let before = call.state();
        if call.path == Path::Up {
            call.path = Path::Broken;
            if call.answered() {
                let slept = call.slept.filter(|(until, _)| now <= *until).map_or(Duration::ZERO, |(_, slept)| slept);
                call.due.grace = Some(now + grace.saturating_sub(slept).max(SETUP.min(grace)));
            }
        }
        if call.answered() {
            let friend = call.friend;
            if call.state() != before {
                self.changed(id);
            }
            // What broke the path has perhaps broken the link, too, and nobody has noticed yet.
            let linked = self.linked.contains(&friend);
            self.push(if linked { Output::Probe(friend) } else { Output::Urge(friend) });
            self.plan_restart(now, id);
        }
    }

    /// Decides when this side offers a new path, if the link is there to carry it.
    pub(super) fn plan_restart(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if !call.answered() || !self.linked.contains(&call.friend) {
            return;
        }
        let urgent = call.moved || (call.caller && call.dead);
        if !urgent && call.offered.is_some() && call.due.restart.is_some() {
            // An offer is on its way; the next one has its time already.
            return;
        }
        let wait = match (urgent, call.caller) {
            (true, _) if call.attempts >= QUICK_ATTEMPTS => RESTART_EVERY,
            (true, _) => return self.restart(now, id),
            (false, true) => RESTART_DELAY,
            (false, false) => RESTART_DELAY_CALLEE,
        };
        let at = now + wait;
        call.due.restart = Some(call.due.restart.map_or(at, |due| due.min(at)));
    }

    /// Offers a new path now.
    pub(super) fn restart(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if !self.linked.contains(&call.friend) {
            // Asked again when the link is up.
            if let Some(call) = self.calls.get_mut(&id) {
                call.due.restart = None;
            }
            return;
        }
        let kind = if call.dead { OfferKind::Rebuild } else { OfferKind::Restart };
        self.offer(now, id, kind);
    }

    /// Has the peer make an offer of the next generation.
    pub(super) fn offer(&mut self, now: Instant, id: CallId, kind: OfferKind) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.generation = call.generation.saturating_add(1);
        call.attempts = call.attempts.saturating_add(1);
        call.offered = Some(call.generation);
        call.candidates = 0;
        call.moved = false;
        call.dead = false;
        if call.answered() {
            call.due.restart = (call.path != Path::Up).then_some(now + RESTART_EVERY);
        }
        let generation = call.generation;
        self.command(id, PeerCommand::Offer { generation, kind });
        self.store(id);
    }

    pub(super) fn address_changed(&mut self, now: Instant) {
        let calls: Vec<_> = self.calls.values().filter(|call| call.answered()).map(|call| call.id).collect();
        for id in calls {
            if let Some(call) = self.calls.get_mut(&id) {
                call.moved = true;
            }
            self.plan_restart(now, id);
        }
    }

    /// The machine slept, or the process was stopped, for `unseen`: what waits for the other side has waited that much
    /// longer already, and is given only a short while more to be found again.
    pub(super) fn unseen(&mut self, now: Instant, unseen: Duration) {
        let least = now + SETUP;
        for call in self.calls.values_mut() {
            call.slept = Some((now + SETUP, unseen));
            let due = &mut call.due;
            for at in [&mut due.ring, &mut due.grace, &mut due.seat].into_iter().flatten() {
                *at = at.checked_sub(unseen).unwrap_or(least).max(least.min(*at));
            }
        }
    }

    /// A call that was running when the node stopped: it waits for its partner, and for a client.
    pub(super) fn restore(&mut self, now: Instant, unix_ms: u64, record: &CallRecord) {
        if self.calls.contains_key(&record.id) || self.calls.len() >= super::MAX_CALLS {
            return self.push(Output::Forget(record.id));
        }
        let mut call = Call::new(now, unix_ms, record.id, record.friend, record.caller, record.wants_video);
        call.wire = record.wire;
        call.direction = record.direction;
        call.phase = Phase::Answered;
        call.path = Path::Broken;
        call.started_ms = record.started_ms;
        call.answered_ms = Some(record.answered_ms);
        call.generation = record.generation;
        call.had_video = record.had_video;
        call.resumes = record.resumes.map(|id| (id, id));
        call.seat = record.seat.map(serde_bytes::ByteArray::into_array);
        call.mine = super::one::Doing {
            muted: record.muted,
            video: record.video,
            screen: record.screen,
            held: record.held,
            seat: false,
        };
        call.dead = true;
        call.moved = true;
        call.due.grace = Some(now + self.settings.grace);
        call.due.seat = Some(now + self.settings.grace);
        let (id, friend, caller) = (call.id, call.friend, call.caller);
        self.begin(call);
        let longest = u64::try_from((self.settings.grace + SEEN_EVERY).as_millis()).unwrap_or(u64::MAX);
        if let Some(seen) = record.seen_ms.filter(|seen| seen.saturating_add(longest) < unix_ms) {
            // The other side has given it up long since.
            let reason = "the node was stopped in the middle of the call".to_owned();
            return self.end(seen, id, Outcome::Failed, Some(reason), None);
        }
        let participant = u16::from(caller);
        self.command(id, PeerCommand::Open { polite: !caller, participant });
        self.sync(id);
        self.changed(id);
        if self.linked.contains(&friend) {
            self.plan_restart(now, id);
        } else {
            self.push(Output::Urge(friend));
        }
    }
}
