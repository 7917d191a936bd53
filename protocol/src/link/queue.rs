//! The two ends of the sequence: what waits to be acknowledged, and what has been applied.

use std::collections::VecDeque;

use super::{Fault, Refusal};
use crate::wire::Message;

/// Most messages that wait for an acknowledgement. A call needs about ten; a friend who is away for long gets state
/// anew when back, so nothing but calls and texts waits.
pub const MAX_QUEUED: usize = 256;

/// Most bytes that wait, as encoded.
pub const MAX_QUEUED_BYTES: usize = 512 * 1024;

/// One message that waits.
#[derive(Clone, Debug)]
struct Waiting {
    sequence: u64,
    size: usize,
    message: Message,
}

/// Messages on their way to the friend.
#[derive(Clone, Debug, Default)]
pub(super) struct Outgoing {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Last sequence given out.
    last: u64,
}

impl Outgoing {
    /// Takes a message of `size` encoded bytes and gives it the next sequence.
    pub(super) fn push(&mut self, message: &Message, size: usize) -> Result<u64, Refusal> {
        if self.waiting.len() >= MAX_QUEUED || self.bytes + size > MAX_QUEUED_BYTES {
            return Err(Refusal::Full);
        }
        self.last += 1;
        self.bytes += size;
        self.waiting.push_back(Waiting { sequence: self.last, size, message: message.clone() });
        Ok(self.last)
    }

    /// Everything up to `sequence` has arrived.
    pub(super) fn acknowledge(&mut self, sequence: u64) -> Result<(), Fault> {
        if sequence > self.last {
            return Err(Fault::Acknowledged { sent: self.last, got: sequence });
        }
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.sequence <= sequence) {
            self.bytes -= waiting.size;
        }
        Ok(())
    }

    /// Sequence where a replay starts.
    pub(super) fn first(&self) -> u64 {
        self.waiting.front().map_or(self.last + 1, |waiting| waiting.sequence)
    }

    /// What waits, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Message)> {
        self.waiting.iter().map(|waiting| (waiting.sequence, &waiting.message))
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// How far the friend's messages have been applied.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Incoming {
    /// Highest sequence applied.
    pub(super) applied: u64,
    /// The friend's sequence that `applied` is about; 0 if nothing is known.
    pub(super) session: u64,
}

impl Incoming {
    /// The friend's node says which sequence it speaks, and where its replay starts.
    pub(super) fn open(&mut self, session: u64, first: u64) -> Result<(), Fault> {
        let first = first.max(1);
        if self.session != session {
            self.session = session;
            self.applied = first - 1;
        } else if first > self.applied.saturating_add(1) {
            return Err(Fault::Gap { expected: self.applied.saturating_add(1), got: first });
        }
        Ok(())
    }

    /// A message with a sequence came: whether it is to be applied (else it was before).
    pub(super) fn accept(&mut self, sequence: u64) -> Result<bool, Fault> {
        if (1..=self.applied).contains(&sequence) {
            return Ok(false);
        }
        if sequence.checked_sub(1) != Some(self.applied) {
            return Err(Fault::Gap { expected: self.applied.saturating_add(1), got: sequence });
        }
        self.applied = sequence;
        Ok(true)
    }
}
