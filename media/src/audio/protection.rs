//! How a voice is protected against loss: bitrate, copies of earlier packets (RFC 2198), and Opus' own redundancy.
//!
//! The other side tells what share of packets it lost. A little loss is left to the coarse copy that Opus puts into the
//! next packet (in-band FEC), which costs some quality of every packet. More loss switches whole copies on, one
//! generation after the other: a packet is then lost only if all packets that carry it are. They cost bandwidth, so the
//! bitrate that is left for the voice decides how many there can be. Generations come at once and go one by one, after
//! the loss has stayed low for a while.
//!
//! Where packets are lost in rows, a copy in the very next packet is lost with it. One that follows after the length of a
//! row is worth more than four that follow at once: with outages of 100 ms for a tenth of the time, copies 100 and 200 ms
//! later leave 1.6 % lost, four copies within 80 ms leave 4.5 % and cost twice as much. They cost delay, because the
//! receiver must wait for them; so they reach no further than 200 ms.

use super::codec::MIN_BITRATE;
use super::red::{HEADER_LEN, MAX_GENERATIONS};

/// From this share of lost packets on there are 1, 2, 3 and 4 copies of each packet. What is then lost in spite of them is
/// below 0.2 % at 4 %, 0.4 % at 15 %, and 0.9 % at 30 %.
const STEPS: [f64; MAX_GENERATIONS] = [0.012, 0.045, 0.15, 0.33];
/// A step is taken back below this part of its share...
const STEP_DOWN: f64 = 0.6;
/// ...when it was so for this time, ms.
const HOLD_MS: u64 = 6_000;
/// With 1, 2, 3 and 4 copies the voice itself gets at most this: more would go into copies of what is good enough.
const MOST_WITH_COPIES: [u32; MAX_GENERATIONS] = [32_000, 28_000, 24_000, 24_000];
/// Copies are given up before the voice itself falls below this, bits per second: below 16 kbit/s Opus sounds clearly
/// worse, and on a path that narrow it is the rate that loses packets.
const LEAST_WITH_COPIES: [u32; MAX_GENERATIONS] = [16_000; MAX_GENERATIONS];
/// Loss that the codec is told when its own redundancy would only duplicate the copies.
const NO_LOSS: f64 = 0.0;
/// Least loss that the codec is told without copies, so that a first lost packet finds a coarse copy.
const SOME_LOSS: f64 = 0.02;
/// Copies until the path is known: the first words of a call are to be understood, too.
const AT_FIRST: usize = 1;
/// Copies stand apart from a mean row of this length on: with independent losses of a third it is 1.5.
const APART_FROM: f64 = 2.2;
/// And no longer below this.
const APART_UNTIL: f64 = 1.8;
/// Farthest packet that is copied then, and the farthest apart: what the receiver waits for is heard as delay.
const REACH: usize = 10;
const MAX_SPACING: usize = 5;
/// Bursts longer than a second are an outage, which no copy bridges.
const MAX_BURST: f64 = 50.0;

/// What to do with the next packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Bits per second for the encoder.
    pub bitrate: u32,
    /// Copies of earlier packets in each packet.
    pub generations: usize,
    /// Of every so many-th packet before it.
    pub spacing: usize,
    /// Share of lost packets that the encoder is told, 0 to 1.
    pub expected_loss: f64,
}

/// What is known of the path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Bits per second that the packets' payloads may use.
    pub bitrate: u32,
    /// Share of packets that the other side lost lately, 0 to 1.
    pub loss: f64,
    /// Mean number of packets lost in a row; 1 or less if unknown.
    pub burst: f64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Protection {
    max_bitrate: u32,
    packets_per_second: u32,
    /// The other side takes redundant audio.
    taken: bool,
    wanted: usize,
    /// Copies are of every so many-th packet.
    spacing: usize,
    /// Since when fewer generations would do.
    low_since_ms: Option<u64>,
}

impl Protection {
    /// For packets of `frame_ms`, at most `max_bitrate` each way of counting: voice alone.
    #[must_use]
    pub fn new(max_bitrate: u32, frame_ms: u32) -> Self {
        Self {
            max_bitrate,
            packets_per_second: 1000 / frame_ms.max(1),
            taken: false,
            wanted: AT_FIRST,
            spacing: 1,
            low_since_ms: None,
        }
    }

    /// Whether the other side takes redundant audio; not until it is known.
    pub fn set_taken(&mut self, taken: bool) {
        self.taken = taken;
    }

    /// The same plan, as far as copies are taken.
    #[must_use]
    pub fn without_news(&self, plan: Plan) -> Plan {
        let generations = if self.taken { self.wanted } else { 0 };
        Plan {
            generations,
            spacing: self.spacing,
            expected_loss: if generations > 0 { NO_LOSS } else { plan.expected_loss.max(SOME_LOSS) },
            ..plan
        }
    }

    /// What to do from now on, given what is known now.
    pub fn plan(&mut self, now_ms: u64, known: Known) -> Plan {
        let loss = if known.loss.is_finite() { known.loss.clamp(0.0, 1.0) } else { 0.0 };
        let burst = if known.burst.is_finite() { known.burst.clamp(1.0, MAX_BURST) } else { 1.0 };
        self.space(burst);
        self.step(now_ms, loss, burst);
        let mut generations = if self.taken { self.wanted.min(REACH / self.spacing) } else { 0 };
        // The voice first: copies go when it would become poor.
        let bitrate = loop {
            let of = |limits: &[u32], without| {
                generations.checked_sub(1).and_then(|i| limits.get(i).copied()).unwrap_or(without)
            };
            let ceiling = self.max_bitrate.min(of(&MOST_WITH_COPIES, u32::MAX));
            let copies = u32::try_from(generations).unwrap_or(0);
            let headers = copies * HEADER_LEN as u32 * 8 * self.packets_per_second;
            let bitrate = known.bitrate.saturating_sub(headers) / (copies + 1);
            if generations == 0 || bitrate >= of(&LEAST_WITH_COPIES, 0).min(ceiling) {
                break bitrate.min(ceiling).max(MIN_BITRATE);
            }
            generations -= 1;
        };
        let expected_loss = if generations > 0 { NO_LOSS } else { loss.max(SOME_LOSS) };
        Plan { bitrate, generations, spacing: self.spacing, expected_loss }
    }

    fn space(&mut self, burst: f64) {
        let apart = burst >= if self.spacing > 1 { APART_UNTIL } else { APART_FROM };
        let wanted = if apart { (burst.ceil() as usize).clamp(2, MAX_SPACING) } else { 1 };
        // The mean of a few rows is uncertain; a change by one is none.
        if self.spacing.abs_diff(wanted) > 1 || wanted == 1 || wanted == MAX_SPACING {
            self.spacing = wanted;
        }
    }

    fn step(&mut self, now_ms: u64, loss: f64, burst: f64) {
        let steps = |factor: f64| STEPS.iter().filter(|step| loss >= **step * factor).count();
        // A burst swallows a packet together with its copies, unless there is one more copy than the burst is long, or they
        // stand apart: then there are two at least.
        let apart = self.spacing > 1;
        let bridge = |steps: usize| match steps {
            0 => 0,
            _ if apart => steps.max(2),
            _ if burst > 1.5 => steps.max((burst.ceil() as usize).min(MAX_GENERATIONS)),
            _ => steps,
        };
        let (needed, enough) = (bridge(steps(1.0)), bridge(steps(STEP_DOWN)));
        if needed >= self.wanted {
            self.wanted = needed;
            self.low_since_ms = None;
        } else if enough >= self.wanted {
            self.low_since_ms = None;
        } else if now_ms.saturating_sub(*self.low_since_ms.get_or_insert(now_ms)) >= HOLD_MS {
            self.wanted -= 1;
            self.low_since_ms = Some(now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known(bitrate: u32, loss: f64) -> Known {
        Known { bitrate, loss, burst: 1.0 }
    }

    fn protection() -> Protection {
        let mut protection = Protection::new(32_000, 20);
        protection.set_taken(true);
        protection
    }

    #[test]
    fn without_loss_there_are_no_copies_and_the_voice_gets_everything() {
        let mut protection = protection();
        assert_eq!(protection.plan(0, known(1_000_000, 0.0)).generations, AT_FIRST);
        let plan = protection.plan(HOLD_MS, known(1_000_000, 0.0));
        assert_eq!(plan, Plan { bitrate: 32_000, generations: 0, spacing: 1, expected_loss: SOME_LOSS });
    }

    #[test]
    fn more_loss_brings_more_copies_at_once() {
        let mut last = 0;
        for (loss, generations) in [(0.02, 1), (0.1, 2), (0.2, 3), (0.4, 4)] {
            let plan = protection().plan(0, known(1_000_000, loss));
            assert_eq!(plan.generations, generations, "loss {loss}");
            assert!(plan.generations >= last);
            last = plan.generations;
        }
        let bursts = protection().plan(0, Known { bitrate: 1_000_000, loss: 0.03, burst: 2.1 });
        assert_eq!((bursts.generations, bursts.spacing), (3, 1));
    }

    #[test]
    fn where_packets_are_lost_in_rows_copies_stand_apart_and_reach_no_further_than_is_bearable() {
        let mut protection = protection();
        let at = |protection: &mut Protection, loss, burst| {
            let plan = protection.plan(0, Known { bitrate: 1_000_000, loss, burst });
            (plan.generations, plan.spacing)
        };
        assert_eq!(at(&mut protection, 0.3, 1.5), (3, 1), "a row of one or two is chance");
        assert_eq!(at(&mut protection, 0.03, 5.0).1, 5);
        assert_eq!(at(&mut protection, 0.1, 4.1), (2, 5));
        assert_eq!(at(&mut protection, 0.1, 30.0), (2, 5));
        assert_eq!(at(&mut protection, 0.1, 3.5).1, 5, "one step more or less is none");
        assert_eq!(at(&mut protection, 0.1, 1.2).1, 1);
    }

    #[test]
    fn copies_go_one_by_one_and_only_after_a_quiet_time() {
        let mut protection = protection();
        assert_eq!(protection.plan(0, known(1_000_000, 0.2)).generations, 3);
        let mut seen = Vec::new();
        for second in 0..30 {
            let generations = protection.plan(second * 1000, known(1_000_000, 0.0)).generations;
            if seen.last() != Some(&generations) {
                seen.push(generations);
            }
        }
        assert_eq!(seen, [3, 2, 1, 0]);
    }

    #[test]
    fn loss_around_a_step_does_not_switch_back_and_forth() {
        let mut protection = protection();
        let (mut changes, mut last) = (0, AT_FIRST);
        for i in 0..600_u64 {
            let loss = if i % 2 == 0 { 0.05 } else { 0.04 };
            let generations = protection.plan(i * 500, known(1_000_000, loss)).generations;
            changes += usize::from(generations != last);
            last = generations;
        }
        assert_eq!(changes, 1);
    }

    #[test]
    fn a_friend_who_takes_no_copies_gets_the_codecs_own_redundancy() {
        let mut protection = Protection::new(32_000, 20);
        let plan = protection.plan(0, known(1_000_000, 0.2));
        assert_eq!((plan.generations, plan.expected_loss), (0, 0.2));
    }

    #[test]
    fn a_narrow_path_has_fewer_copies_and_then_none() {
        let wide = protection().plan(0, known(200_000, 0.2));
        let narrow = protection().plan(0, known(40_000, 0.2));
        let narrower = protection().plan(0, known(20_000, 0.2));
        assert_eq!((wide.generations, wide.bitrate), (3, 24_000));
        assert_eq!((narrow.generations, narrow.bitrate), (1, 19_200));
        assert_eq!((narrower.generations, narrower.bitrate), (0, 20_000));
        assert!(narrower.expected_loss > 0.0);
    }

    proptest! {
        #[test]
        fn plans_keep_to_what_is_allowed(
            bitrate in 0..2_000_000_u32, loss in any::<f64>(), burst in any::<f64>(), taken in any::<bool>(),
        ) {
            let mut protection = Protection::new(32_000, 20);
            protection.set_taken(taken);
            let plan = protection.plan(0, Known { bitrate, loss, burst });
            let copies = plan.generations as u32;
            let most = if taken { MAX_GENERATIONS } else { 0 };
            prop_assert!(plan.generations <= most);
            prop_assert!((MIN_BITRATE..=32_000).contains(&plan.bitrate));
            let used = plan.bitrate * (copies + 1) + copies * 4 * 8 * 50;
            prop_assert!(used <= bitrate.max(MIN_BITRATE), "{plan:?}");
        }
    }
}
