//! What somebody's relay carries for us.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Counts what goes through one owner's relay. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Carried(Arc<Mutex<Counts>>);

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarriedUse {
    /// Allocations now.
    pub allocations: u32,
    /// Bytes in the last second, both directions together.
    pub bytes_per_second: u64,
    /// Bytes since midnight (UTC), both directions together.
    pub bytes_today: u64,
}

#[derive(Debug, Default)]
struct Counts {
    allocations: u32,
    day: u64,
    today: u64,
    second: Option<Instant>,
    this_second: u64,
    last_second: u64,
}

impl PartialEq for Carried {
    /// A counter is no part of what a credential is.
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Carried {}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / DAY)
}

impl Counts {
    fn turn(&mut self, now: Instant, day: u64) {
        if self.day != day {
            self.day = day;
            self.today = 0;
        }
        let passed = self.second.map_or(Duration::MAX, |second| now.saturating_duration_since(second));
        if passed >= Duration::from_secs(1) {
            self.last_second = if passed < Duration::from_secs(2) { self.this_second } else { 0 };
            self.this_second = 0;
            self.second = Some(now);
        }
    }
}

impl Carried {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A packet passed.
    pub(super) fn count(&self, bytes: usize) {
        let mut counts = self.counts();
        counts.turn(Instant::now(), today());
        counts.this_second += bytes as u64;
        counts.today += bytes as u64;
    }

    /// An allocation is there.
    pub(super) fn opened(&self) {
        self.counts().allocations += 1;
    }

    /// It is gone.
    pub(super) fn closed(&self) {
        let mut counts = self.counts();
        counts.allocations = counts.allocations.saturating_sub(1);
    }

    /// What was counted.
    pub fn used(&self) -> CarriedUse {
        let mut counts = self.counts();
        counts.turn(Instant::now(), today());
        CarriedUse {
            allocations: counts.allocations,
            bytes_per_second: counts.last_second.max(counts.this_second),
            bytes_today: counts.today,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_days_turn() {
        let (mut counts, now) = (Counts::default(), Instant::now());
        counts.turn(now, 5);
        counts.this_second = 100;
        counts.today = 100;
        counts.turn(now + Duration::from_millis(1100), 5);
        assert_eq!((counts.this_second, counts.last_second, counts.today), (0, 100, 100));
        counts.turn(now + Duration::from_secs(10), 6);
        assert_eq!((counts.this_second, counts.last_second, counts.today), (0, 0, 0));
    }
}
