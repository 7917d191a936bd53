//! How fast a friend's messages are taken: two buckets, one of messages and one of bytes.

use std::time::{Duration, Instant};

/// Messages that may come at once: all that may wait at the friend's node, and a few.
const BURST: f64 = 220.0;
/// Messages a second after that; nobody types as fast.
const PER_SECOND: f64 = 4.0;
/// Bytes that may come at once.
const BURST_BYTES: f64 = 600.0 * 1024.0;
/// Bytes a second after that.
const BYTES_PER_SECOND: f64 = 16.0 * 1024.0;

/// The buckets of one friend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    messages: f64,
    bytes: f64,
    filled: Option<Instant>,
}

impl Default for Flow {
    fn default() -> Self {
        Self { messages: BURST, bytes: BURST_BYTES, filled: None }
    }
}

impl Flow {
    /// Takes a message of so many bytes, or says how long to wait for room.
    pub(super) fn take(&mut self, now: Instant, bytes: usize) -> Result<(), Duration> {
        let passed = self.filled.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.filled = Some(now);
        self.messages = (self.messages + passed * PER_SECOND).min(BURST);
        self.bytes = (self.bytes + passed * BYTES_PER_SECOND).min(BURST_BYTES);
        let size = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        let (short, short_bytes) = (1.0 - self.messages, size - self.bytes);
        if short > 0.0 || short_bytes > 0.0 {
            let wait = (short / PER_SECOND).max(short_bytes / BYTES_PER_SECOND);
            return Err(Duration::from_secs_f64(wait.clamp(0.25, 60.0)));
        }
        self.messages -= 1.0;
        self.bytes -= size;
        Ok(())
    }
}
