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
}

impl Conditions {
    /// Nothing but a delay.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// What a line with a rate holds back at most, before it drops: as much as leaves it in this time (a home router's
/// queue of middling size).
const QUEUE: Duration = Duration::from_millis(200);

/// One direction of a line.
#[derive(Debug)]
pub struct Link {
    conditions: Conditions,
    rng: StdRng,
    free_at: Option<Instant>,
    last: Option<Instant>,
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
        Self { conditions, rng, free_at: None, last: None, packets: 0, bytes: 0, lost: 0 }
    }

    /// How it behaves.
    pub fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// Behaves differently from the next packet on.
    pub fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// When a packet of this size, sent now, arrives: never, once, or twice.
    pub fn admit(&mut self, now: Instant, bytes: usize) -> [Option<Instant>; 2] {
        self.packets += 1;
        self.bytes += bytes as u64;
        let conditions = self.conditions;
        if self.chance(conditions.loss) {
            self.lost += 1;
            return [None, None];
        }
        let mut sent = now;
        if let Some(rate) = conditions.rate {
            let start = self.free_at.map_or(now, |free| free.max(now));
            if start.duration_since(now) > QUEUE {
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
            let due = sent + conditions.delay + extra;
            let due = self.last.map_or(due, |last| last.max(due));
            self.last = Some(due);
            due
        };
        let again = self.chance(conditions.duplicate).then_some(first);
        [Some(first), again]
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
            rate: None,
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
    fn a_rate_spreads_packets_and_drops_when_the_queue_is_full() {
        // 1000 bytes at 800 kbit/s: 10 ms each.
        let fates = fates(Conditions { rate: Some(800_000), ..Conditions::default() }, 1, 30);
        assert_eq!(fates[0][0], Some(Duration::from_millis(10)));
        assert_eq!(fates[4][0], Some(Duration::from_millis(50)));
        assert!(fates[29][0].is_none());
    }
}
