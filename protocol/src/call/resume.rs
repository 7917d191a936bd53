//! A call that ended because the connection was lost can be resumed for a while: one act of a person, when the friend
//! is back. Resuming is a new call that names the lost one, so that it rings as what it is; no microphone opens by itself.

use std::time::Instant;

use super::machine::Calls;
use super::one::{Call, Outcome, Path};
use super::{HistoryRecord, Output, RESUME, Refusal, Resumable, SeatHash};
use crate::identity::RootPublic;
use crate::wire::CallId;

/// A call that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Its id for clients.
    id: CallId,
    /// Its id between nodes.
    wire: CallId,
    /// Until when it can be resumed (Unix ms).
    until_ms: u64,
}

fn until(unix_ms: u64) -> u64 {
    unix_ms.saturating_add(u64::try_from(RESUME.as_millis()).unwrap_or(u64::MAX))
}

impl Calls {
    /// A call ended; whether here or there is in `told`. If it was lost, it can be resumed.
    pub(super) fn note_lost(&mut self, unix_ms: u64, call: &Call, outcome: Outcome, told: bool) {
        if !call.answered() || outcome != Outcome::Failed || !(told || call.path == Path::Broken) {
            return;
        }
        self.lost.insert(call.friend, Lost { id: call.id, wire: call.wire, until_ms: until(unix_ms) });
        if self.linked.contains(&call.friend) {
            self.offer_resume(unix_ms, call.friend);
        }
    }

    /// A call that ended before the node was started: if it was lost a short while ago, it can be resumed.
    pub(super) fn ended_before(&mut self, unix_ms: u64, record: &HistoryRecord) {
        let until_ms = until(record.ended_ms);
        let lost = record.outcome == Outcome::Failed && record.talked_ms > 0;
        // An end that lies ahead is a clock that was set back.
        if lost && unix_ms < until_ms && record.ended_ms <= unix_ms {
            self.lost.insert(record.friend, Lost { id: record.id, wire: record.id, until_ms });
        }
    }

    /// Tells clients that the friend of a lost call is there.
    pub(super) fn offer_resume(&mut self, unix_ms: u64, friend: RootPublic) {
        self.lost.retain(|_, lost| unix_ms < lost.until_ms);
        if let Some(lost) = self.lost.get(&friend)
            && !self.calls.values().any(|call| call.friend == friend)
        {
            self.outputs.push(Output::Resumable(Resumable { call: lost.id, friend, until_ms: lost.until_ms }));
        }
    }

    /// The person resumes a lost call.
    pub(super) fn resume(&mut self, now: Instant, unix_ms: u64, lost: CallId, id: CallId, video: bool, seat: SeatHash) {
        self.lost.retain(|_, lost| unix_ms < lost.until_ms);
        let found = self.lost.iter().find(|(_, known)| known.id == lost).map(|(friend, lost)| (*friend, *lost));
        let Some((friend, lost)) = found else { return self.refuse(id, Refusal::NotResumable) };
        self.place(now, unix_ms, id, friend, video, seat, Some((lost.id, lost.wire)));
    }

    /// The lost call that a friend means to resume, if there was one.
    pub(super) fn resumed(&self, friend: &RootPublic, wire: Option<CallId>) -> Option<CallId> {
        let lost = self.lost.get(friend)?;
        (wire? == lost.wire).then_some(lost.id)
    }

    /// Until when a call that was lost can be resumed (Unix ms).
    #[must_use]
    pub fn resumable(&self, call: &CallId, unix_ms: u64) -> Option<u64> {
        let lost = self.lost.values().find(|lost| lost.id == *call)?;
        (unix_ms < lost.until_ms).then_some(lost.until_ms)
    }
}
