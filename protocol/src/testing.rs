//! Helpers for tests, here and in other crates (feature `testing`): a clock that stands still until told, and people.

pub mod calls;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::identity::{RootKey, RootPublic};

/// A clock of its own for a test: monotonic and Unix time move together, and only when told.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The monotonic time.
    pub now: Instant,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock at some instant (only differences count) and a fixed Unix time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "there is no other way to an Instant; only differences are used")]
    pub fn new() -> Self {
        Self { now: Instant::now(), unix_ms: 1_800_000_000_000 }
    }

    /// Moves both forward.
    pub fn advance(&mut self, by: Duration) {
        self.now += by;
        self.unix_ms += u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    }

    /// Moves to a later instant; an earlier one changes nothing.
    pub fn advance_to(&mut self, instant: Instant) {
        self.advance(instant.saturating_duration_since(self.now));
    }
}

/// The person whose secret is `n` repeated. The same `n` is the same person.
#[must_use]
pub fn person(n: u8) -> RootPublic {
    // Made once each: a key costs more than most tests.
    static PEOPLE: [OnceLock<RootPublic>; 256] = [const { OnceLock::new() }; 256];
    *PEOPLE[usize::from(n)].get_or_init(|| RootKey::from_secret(&[n; 32]).public())
}

/// `N` different people, lowest root first.
#[must_use]
pub fn people<const N: usize>() -> [RootPublic; N] {
    let mut n = 0;
    let mut people = [(); N].map(|()| {
        n += 1;
        person(n)
    });
    people.sort();
    people
}
