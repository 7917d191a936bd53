//! Waiting longer after each failure, with jitter, so that two nodes do not redial in step for ever.

use std::time::Duration;

/// Delays that double from a first to a longest one; each is shortened at random by up to half. The same seed gives
/// the same delays.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    seed: u64,
}

impl Backoff {
    /// A back-off that has seen no failure.
    #[must_use]
    pub fn new(seed: u64, first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0, seed }
    }

    /// How long to wait after one more failure: between half of and the whole of `first · 2^failures`, at most
    /// `longest`.
    pub fn failed(&mut self) -> Duration {
        let whole = self.first.saturating_mul(2u32.saturating_pow(self.failures)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        let share = f64::from((self.random() >> 32) as u32) / f64::from(u32::MAX);
        half + half.mul_f64(share)
    }

    /// How many failures there were since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It worked, or there is a reason to hope anew: the next delay is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): enough for jitter, and the same everywhere.
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
