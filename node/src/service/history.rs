//! Calls that are over: which of the missed ones a person has seen, and forgetting them all.

use twocan_control::{self as api, Event};
use twocan_protocol::call::{Direction, HistoryRecord};

use super::{Service, small, unix_ms};

/// Whether a call was missed: a friend called, and nobody here took it or said no.
fn missed(entry: &HistoryRecord) -> bool {
    use twocan_protocol::call::Outcome;
    let outcome = matches!(
        entry.outcome,
        Outcome::Unanswered | Outcome::Cancelled | Outcome::Busy | Outcome::DoNotDisturb | Outcome::Unreachable
    );
    entry.direction == Direction::Incoming && entry.talked_ms == 0 && outcome
}

impl Service {
    /// Whether a call was missed and nobody has said since that it was seen.
    pub(super) fn is_unseen(&self, entry: &HistoryRecord) -> bool {
        missed(entry) && entry.ended_ms > self.history_seen_ms
    }

    /// Missed calls that were not seen yet.
    pub(super) fn missed_calls(&self) -> u32 {
        small(self.history.iter().filter(|entry| self.is_unseen(entry)).count())
    }

    /// The person has seen what was missed until now.
    pub(super) fn see_history(&mut self) -> api::Result<()> {
        // A clock that was set back must not leave calls unseen for ever.
        let latest = self.history.iter().map(|entry| entry.ended_ms).max().unwrap_or(0);
        self.history_seen_ms = latest.max(unix_ms());
        self.records.set_history_seen(self.history_seen_ms);
        self.emitter.emit(Event::HistorySeen { missed: 0 });
        Ok(())
    }

    /// Forgets all calls that are over.
    pub(super) fn clear_history(&mut self) -> api::Result<()> {
        let entries = std::mem::take(&mut self.history);
        self.records.forget_history(&entries);
        self.emitter.emit(Event::HistorySeen { missed: 0 });
        Ok(())
    }
}
