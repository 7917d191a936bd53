//! How much is relayed, and the bounds on it: bytes per second as a token bucket, bytes per day as a sum. And how often
//! strangers are answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What may come at once beyond the rate: half a second of it. Sending side and jitter buffers are smaller.
const BURST_PER_RATE: u64 = 2;
/// The last part of a bucket is for small packets: audio goes on where video has used up the rate.
const RESERVED_PART: u64 = 4;
/// Packets up to this size are audio, or checks.
const SMALL: usize = 400;
const DAY_MS: u64 = 86_400_000;

/// The two clocks, read once for each packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// For intervals.
    pub(crate) now: Instant,
    /// For days, and expiry that people see.
    pub(crate) unix_ms: u64,
}

impl Clock {
    /// The day, counted from 1970 (UTC).
    pub(crate) fn day(self) -> u64 {
        self.unix_ms / DAY_MS
    }
}

/// Counts what somebody uses, and holds it to a rate and a sum.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    tokens: u64,
    filled: Instant,
    day: u64,
    today: u64,
    second: Instant,
    this_second: u64,
    last_second: u64,
}

/// Bounds of a [`Meter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) allocations: u32,
    pub(crate) bytes_per_second: u64,
    pub(crate) bytes_per_day: u64,
}

impl Bounds {
    /// A part of these, at least one allocation.
    pub(crate) fn part(self, divisor: u32) -> Self {
        Self {
            allocations: (self.allocations / divisor).max(self.allocations.min(1)),
            bytes_per_second: self.bytes_per_second / u64::from(divisor),
            bytes_per_day: self.bytes_per_day / u64::from(divisor),
        }
    }
}

impl Meter {
    /// Nothing used; a full bucket.
    pub(crate) fn new(clock: Clock, bounds: Bounds) -> Self {
        Self {
            tokens: bounds.bytes_per_second / BURST_PER_RATE,
            filled: clock.now,
            day: clock.day(),
            today: 0,
            second: clock.now,
            this_second: 0,
            last_second: 0,
        }
    }

    /// Whether a packet of this size can go. Nothing is counted yet.
    pub(crate) fn allows(&mut self, clock: Clock, bounds: Bounds, bytes: usize) -> bool {
        let most = bounds.bytes_per_second / BURST_PER_RATE;
        let passed = clock.now.saturating_duration_since(self.filled);
        let earned = u128::from(bounds.bytes_per_second) * passed.as_micros() / 1_000_000;
        if let Ok(earned) = u64::try_from(earned)
            && earned > 0
        {
            self.tokens = self.tokens.saturating_add(earned).min(most);
            self.filled = clock.now;
        }
        let day = clock.day();
        if self.day != day {
            self.day = day;
            self.today = 0;
        }
        let size = bytes as u64;
        let kept = if bytes <= SMALL { 0 } else { most / RESERVED_PART };
        self.tokens >= size + kept && self.today.saturating_add(size) <= bounds.bytes_per_day
    }

    /// Counts a packet that goes.
    pub(crate) fn count(&mut self, clock: Clock, bytes: usize) {
        let size = bytes as u64;
        self.tokens = self.tokens.saturating_sub(size);
        self.today = self.today.saturating_add(size);
        self.turn(clock.now);
        self.this_second = self.this_second.saturating_add(size);
    }

    /// Counts bytes of an earlier run on this day.
    pub(crate) fn add_today(&mut self, clock: Clock, bytes: u64) {
        if self.day != clock.day() {
            self.day = clock.day();
            self.today = 0;
        }
        self.today = self.today.saturating_add(bytes);
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.second);
        if passed >= Duration::from_secs(1) {
            self.last_second = if passed < Duration::from_secs(2) { self.this_second } else { 0 };
            self.this_second = 0;
            self.second = now;
        }
    }

    /// Bytes in about the last second, and since midnight (UTC).
    pub(crate) fn used(&mut self, clock: Clock) -> (u64, u64) {
        self.turn(clock.now);
        let today = if self.day == clock.day() { self.today } else { 0 };
        (self.last_second.max(self.this_second), today)
    }
}

/// Answers to strangers in one second, per source range: a household behind one address gets through its start.
const ANSWERS_PER_RANGE: u32 = 40;
/// Ranges that are counted at the same time. Beyond it, new ranges wait for the next second.
const RANGES: usize = 4096;

/// Limits answers to those who have shown no credential, per source range (/24, or /56 of IPv6) and second. The sender's
/// address may be forged; this bounds what somebody else can be sent.
#[derive(Debug)]
pub(crate) struct Answers {
    second: Instant,
    ranges: HashMap<IpAddr, u32>,
}

impl Answers {
    pub(crate) fn new(now: Instant) -> Self {
        Self { second: now, ranges: HashMap::new() }
    }

    /// Whether one more answer goes to this address.
    pub(crate) fn allow(&mut self, now: Instant, ip: IpAddr) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.ranges.clear();
        }
        let range = range(ip);
        if self.ranges.len() >= RANGES && !self.ranges.contains_key(&range) {
            return false;
        }
        let count = self.ranges.entry(range).or_default();
        *count += 1;
        *count <= ANSWERS_PER_RANGE
    }
}

fn range(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & 0xffff_ff00).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 72 << 72).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { allocations: 4, bytes_per_second: 100_000, bytes_per_day: 1_000_000 };

    fn later(clock: Clock, ms: u64) -> Clock {
        Clock { now: clock.now + Duration::from_millis(ms), unix_ms: clock.unix_ms + ms }
    }

    #[test]
    fn the_rate_holds_over_time_and_small_packets_go_on_when_large_ones_stop() {
        let mut clock = Clock { now: Instant::now(), unix_ms: 20_000 * DAY_MS };
        let mut meter = Meter::new(clock, BOUNDS);
        let (mut large, mut small) = (0, 0);
        for _ in 0..5000 {
            clock = later(clock, 1);
            for (size, passed) in [(1000, &mut large), (100, &mut small)] {
                if meter.allows(clock, BOUNDS, size) {
                    meter.count(clock, size);
                    *passed += 1;
                }
            }
        }
        let bytes = large * 1000 + small * 100;
        assert!((500_000..=550_000).contains(&bytes), "{bytes}");
        assert!(small >= 4990, "{small}");
    }

    #[test]
    fn the_day_ends_at_midnight_and_its_sum_holds() {
        let mut clock = Clock { now: Instant::now(), unix_ms: 20_001 * DAY_MS - 100_000 };
        let mut meter = Meter::new(clock, BOUNDS);
        let mut bytes = 0;
        for _ in 0..9000 {
            clock = later(clock, 10);
            if clock.unix_ms < 20_001 * DAY_MS && meter.allows(clock, BOUNDS, 900) {
                meter.count(clock, 900);
                bytes += 900;
            }
        }
        assert!((999_000..=1_000_000).contains(&bytes), "{bytes}");
        assert!(!meter.allows(clock, BOUNDS, 900));
        let tomorrow = later(clock, 100_000);
        assert!(meter.allows(tomorrow, BOUNDS, 900));
        assert_eq!(meter.used(tomorrow), (0, 0));
    }

    #[test]
    fn answers_to_one_range_are_few_and_to_others_go_on() {
        let now = Instant::now();
        let mut answers = Answers::new(now);
        let given = (0..1000).filter(|n| answers.allow(now, [192, 0, 2, (n % 256) as u8].into())).count();
        assert_eq!(given, ANSWERS_PER_RANGE as usize);
        assert!(answers.allow(now, [192, 0, 3, 1].into()));
        assert!(answers.allow(now + Duration::from_secs(1), [192, 0, 2, 1].into()));
        let now = now + Duration::from_secs(2);
        for n in 0..10_000_u32 {
            answers.allow(now, IpAddr::V4((n << 8).into()));
        }
        assert!(answers.ranges.len() <= RANGES);
    }
}
