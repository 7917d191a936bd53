//! One direction of a line: delay, jitter, loss, reordering, duplicates and rate, repeatable by a seed.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How a line behaves, in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// How long every packet takes.
    pub delay: Duration,
    /// How much longer it may take, evenly spread; packets keep their order.
    pub jitter: Duration,
    /// Share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Share of packets that overtake those before them (they take no delay), 0 to 1.
    pub reorder: f64,
    /// Share of packets that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// Bits per second; none: as fast as it comes.
    pub rate: Option<u64>,
    /// What a line with a rate holds back at most before it drops: as much as leaves it in this time; none: [`QUEUE`].
    pub queue: Option<Duration>,
    /// Losses come in outages of this length on average, in which every packet is lost; zero: each by itself.
    pub burst: Duration,
    /// Packets with jitter may overtake each other, as in `netem`; else they keep their order.
    pub overtake: bool,
}

impl Conditions {
    /// Nothing but a delay.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// What a line with a rate holds back at most if nothing else is said: a home router's queue of middling size.
pub const QUEUE: Duration = Duration::from_millis(200);

/// One direction of a line.
#[derive(Debug)]
pub struct Link {
    conditions: Conditions,
    rng: StdRng,
    free_at: Option<Instant>,
    last: Option<Instant>,
    /// Until when this outage, or the time between two, lasts.
    weather: Option<(Instant, bool)>,
    /// Packets that went in.
    pub packets: u64,
    /// Bytes that went in.
    pub bytes: u64,
    /// Packets lost on purpose or by a full queue.
    pub lost: u64,
}

impl Link {
    /// A line; the same seed gives the same fate to the same sequence of packets.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { conditions, rng, free_at: None, last: None, weather: None, packets: 0, bytes: 0, lost: 0 }
    }

    /// How it behaves.
    pub fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// Behaves differently from the next packet on.
    pub fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
        self.weather = None;
    }

    /// When a packet of this size, sent now, arrives: never, once, or twice.
    pub fn admit(&mut self, now: Instant, bytes: usize) -> [Option<Instant>; 2] {
        self.packets += 1;
        self.bytes += bytes as u64;
        let conditions = self.conditions;
        let lost = if conditions.burst.is_zero() { self.chance(conditions.loss) } else { self.outage(now) };
        if lost {
            self.lost += 1;
            return [None, None];
        }
        let mut sent = now;
        if let Some(rate) = conditions.rate {
            let start = self.free_at.map_or(now, |free| free.max(now));
            if start.duration_since(now) > conditions.queue.unwrap_or(QUEUE) {
                self.lost += 1;
                return [None, None];
            }
            sent = start + Duration::from_secs_f64(bytes as f64 * 8.0 / rate.max(1) as f64);
            self.free_at = Some(sent);
        }
        let first = if self.chance(conditions.reorder) {
            sent
        } else {
            let extra = if conditions.jitter.is_zero() {
                Duration::ZERO
            } else {
                conditions.jitter.mul_f64(self.rng.random_range(0.0..1.0))
            };
            let mut due = sent + conditions.delay + extra;
            if !conditions.overtake {
                due = self.last.map_or(due, |last| last.max(due));
            }
            self.last = Some(due);
            due
        };
        let again = self.chance(conditions.duplicate).then_some(first);
        [Some(first), again]
    }

    /// Whether the line is out now: outages and the times between them have exponential lengths, whatever is sent.
    fn outage(&mut self, now: Instant) -> bool {
        let loss = self.conditions.loss.clamp(0.0, 0.99);
        if loss == 0.0 {
            return false;
        }
        let (mut until, mut out) = self.weather.unwrap_or((now, true));
        while until <= now {
            out = !out;
            let burst = self.conditions.burst;
            let mean = if out { burst } else { burst.mul_f64((1.0 - loss) / loss) };
            // At least a microsecond, so that this ends.
            let length = mean.mul_f64(-self.rng.random_range(f64::EPSILON..1.0).ln());
            until += length.max(Duration::from_micros(1));
        }
        self.weather = Some((until, out));
        out
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.rng.random_bool(share.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(conditions: Conditions, seed: u64, count: usize) -> Vec<[Option<Duration>; 2]> {
        let start = Instant::now();
        let mut link = Link::new(conditions, seed);
        let at = |sent: Option<Instant>| sent.map(|sent| sent - start);
        (0..count).map(|_| link.admit(start, 1000).map(at)).collect()
    }

    #[test]
    fn a_seed_repeats_every_fate() {
        let conditions = Conditions {
            delay: Duration::from_millis(25),
            jitter: Duration::from_millis(5),
            loss: 0.1,
            reorder: 0.1,
            duplicate: 0.1,
            ..Conditions::default()
        };
        assert_eq!(fates(conditions, 7, 500), fates(conditions, 7, 500));
        assert_ne!(fates(conditions, 7, 500), fates(conditions, 8, 500));
    }

    #[test]
    fn about_as_many_are_lost_as_said() {
        let lost = fates(Conditions { loss: 0.2, ..Conditions::default() }, 1, 10_000);
        let lost = lost.iter().filter(|fate| fate[0].is_none()).count();
        assert!((1_800..2_200).contains(&lost), "{lost}");
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let jitter = Conditions { jitter: Duration::from_millis(5), ..Conditions::default() };
        assert!(fates(jitter, 1, 100).windows(2).all(|pair| pair[0][0] <= pair[1][0]));
        let reorder = Conditions { reorder: 0.2, ..Conditions::delay(Duration::from_millis(5)) };
        assert!(fates(reorder, 1, 100).windows(2).any(|pair| pair[0][0] > pair[1][0]));
    }

    #[test]
    fn outages_lose_the_share_that_was_said_and_last_as_long() {
        let burst = Duration::from_millis(100);
        let mut link = Link::new(Conditions { loss: 0.1, burst, ..Conditions::default() }, 3);
        let start = Instant::now();
        let fates: Vec<bool> =
            (0..200_000_u32).map(|i| link.admit(start + Duration::from_millis(5) * i, 100)[0].is_none()).collect();
        let lost = fates.iter().filter(|lost| **lost).count();
        let outages = fates.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((16_000..24_000).contains(&lost), "{lost}");
        let mean_ms = lost as f64 / outages as f64 * 5.0;
        assert!((80.0..125.0).contains(&mean_ms), "{mean_ms} ms");
    }

    #[test]
    fn jitter_that_may_overtake_does() {
        let conditions = Conditions { jitter: Duration::from_millis(5), overtake: true, ..Conditions::default() };
        assert!(fates(conditions, 1, 100).windows(2).any(|pair| pair[0][0] > pair[1][0]));
    }

    #[test]
    fn a_rate_spreads_packets_and_drops_when_the_queue_is_full() {
        // 1000 bytes at 800 kbit/s: 10 ms each.
        let fates = fates(Conditions { rate: Some(800_000), ..Conditions::default() }, 1, 30);
        assert_eq!(fates[0][0], Some(Duration::from_millis(10)));
        assert_eq!(fates[4][0], Some(Duration::from_millis(50)));
        assert!(fates[29][0].is_none());
    }
}
