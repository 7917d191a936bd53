//! What happens when time passes: every state that is not a healthy call has an end.

use std::time::Instant;

use super::machine::Calls;
use super::one::{Deadlines, Direction, Outcome, Path, Phase};
use super::{Output, SETUP};
use crate::wire::{CallBody, CallId, DeclineReason, Note};

impl Calls {
    pub(super) fn expire(&mut self, now: Instant, unix_ms: u64) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let calls: Vec<(CallId, Deadlines)> = self.calls.values().map(|call| (call.id, call.due)).collect();
        for (id, deadlines) in calls {
            if due(deadlines.ring) {
                self.rang_out(unix_ms, id);
            } else if due(deadlines.seat) {
                self.deserted(unix_ms, id);
            } else if due(deadlines.setup) {
                self.not_set_up(now, unix_ms, id);
            } else if due(deadlines.grace) {
                self.lost(unix_ms, id);
            } else if due(deadlines.restart) {
                self.restart(now, id);
            } else if due(deadlines.record) {
                self.record_due(now, id);
            }
        }
    }

    fn rang_out(&mut self, unix_ms: u64, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        match (call.direction, call.phase) {
            (Direction::Incoming, _) => {
                let word = CallBody::Decline { reason: DeclineReason::Unanswered, text: Note::default() };
                self.end(unix_ms, id, Outcome::Unanswered, None, Some(word));
            }
            (Direction::Outgoing, Phase::Calling) => {
                let reason = if self.linked.contains(&call.friend) {
                    "the friend's node did not ring"
                } else {
                    "the friend's node could not be reached"
                };
                self.leave(unix_ms, id, Outcome::Unreachable, reason);
            }
            (Direction::Outgoing, _) => self.leave(unix_ms, id, Outcome::Unanswered, ""),
        }
    }

    /// The client left and did not come back.
    fn deserted(&mut self, unix_ms: u64, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let outcome = if call.answered() { Outcome::Completed } else { Outcome::Cancelled };
        self.leave(unix_ms, id, outcome, "the program that held the call was closed");
    }

    fn not_set_up(&mut self, now: Instant, unix_ms: u64, id: CallId) {
        let rest = self.settings.grace.saturating_sub(SETUP);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.due.setup = None;
        if call.path != Path::New {
            return;
        }
        if self.linked.contains(&call.friend) || rest.is_zero() {
            let reason = call.trouble.take();
            let reason =
                reason.as_deref().unwrap_or("no way for sound and picture was found between the two computers");
            return self.leave(unix_ms, id, Outcome::Failed, reason);
        }
        // The descriptions could not even be exchanged: wait for the link as long as for a lost path.
        call.due.grace = Some(now + rest);
        let friend = call.friend;
        self.push(Output::Urge(friend));
    }

    fn lost(&mut self, unix_ms: u64, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let reason = if self.linked.contains(&call.friend) {
            "sound and picture were lost and no new way was found"
        } else {
            "the connection was lost and did not come back"
        };
        self.leave(unix_ms, id, Outcome::Failed, reason);
    }
}
