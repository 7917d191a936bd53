//! How late packets come, and how long the buffer should therefore hold them.
//!
//! A packet's *transit* is its arrival minus its place in the sender's time; only differences mean something. The least
//! transit of the last seconds is the *base*; the wanted delay is a high quantile of how much later than the base packets
//! came within the same time. All times are in milliseconds as `f64`.
//!
//! How long something is remembered depends on how it was. A steady path needs a long memory, so that the quantile does
//! not swing. After a bad spell everything of it shall be forgotten soon: when the newest packets came far better than
//! all together, they alone count. Unless bad spells come again and again with good times between them: then the next
//! one is waited for, twice as long as the last took to come.
//!
//! A lost packet of which a copy comes counts with the transit of its first copy; almost no copy may be missed, because
//! what comes late can still be waited for, but a copy that is not waited for is a hole.

use std::collections::VecDeque;

use super::spells::Spells;

/// Packets are remembered for so long; shorter follows clock drift better, longer swings less.
const WINDOW_MS: f64 = 10_000.0;
/// The newest packets, which can show that a bad spell has begun, or is over.
const NEWEST_MS: f64 = 2_500.0;
/// They show that it is over by coming at most so late, as a share of what all together need, and less by so much; and
/// that one has begun the other way round.
const OVER_SHARE: f64 = 0.6;
const OVER_MS: f64 = 5.0;
/// Copies are remembered longer: the deeper ones are rare.
const COPY_WINDOW_MS: f64 = 9_000.0;
/// At least so many packets are remembered however old they are, so that one of silence's few does not rule...
const LEAST_ENTRIES: usize = 30;
/// ...and at most so many of each kind: ten seconds of 10 ms packets.
const MAX_ENTRIES: usize = 1_000;
/// Share of packets that may come too late.
const MAY_BE_LATE: f64 = 0.02;
/// Share of packets whose only copies may come too late.
const COPIES_MAY_BE_LATE: f64 = 0.002;
/// Added to the quantile, for the rounding of clocks.
const ROUND_MS: f64 = 1.0;

/// A packet, or the first copy of one.
#[derive(Clone, Copy, Debug)]
struct Entry {
    arrived: f64,
    /// Its place in the sender's time.
    media: f64,
    transit: f64,
}

/// The estimate.
#[derive(Debug)]
pub(super) struct DelayEstimate {
    packets: VecDeque<Entry>,
    copies: VecDeque<Entry>,
    spells: Spells,
    /// Used to sort in; kept to save an allocation for each packet. (packet, whether it is a copy)
    sorted: Vec<(Entry, bool)>,
    base: Option<f64>,
    late_ms: f64,
    /// Wanted delay of before a restart: holds until there is something to say of the new time line.
    held_ms: f64,
}

fn remember(entries: &mut VecDeque<Entry>, entry: Entry, window_ms: f64, least: usize) {
    entries.push_back(entry);
    while let Some(front) = entries.front()
        && (entries.len() > MAX_ENTRIES || (entries.len() > least && entry.arrived - front.arrived > window_ms))
    {
        entries.pop_front();
    }
}

impl DelayEstimate {
    pub(super) fn new() -> Self {
        Self {
            packets: VecDeque::new(),
            copies: VecDeque::new(),
            spells: Spells::default(),
            sorted: Vec::new(),
            base: None,
            late_ms: 0.0,
            held_ms: 0.0,
        }
    }

    /// Takes a packet that arrived at `now` and has its place at `media` in the sender's time.
    pub(super) fn arrived(&mut self, now: f64, media: f64) {
        // What was overtaken by its own copy is not lost: it was here when the copy was.
        let copied = self.copies.iter().position(|copy| (copy.media - media).abs() < 0.01);
        let copied = copied.and_then(|at| self.copies.remove(at)).map_or(f64::MAX, |copy| copy.transit);
        let entry = Entry { arrived: now, media, transit: (now - media).min(copied) };
        remember(&mut self.packets, entry, WINDOW_MS, LEAST_ENTRIES);
        while self.copies.front().is_some_and(|copy| now - copy.arrived > COPY_WINDOW_MS) {
            self.copies.pop_front();
        }
        let base = self.packets.iter().map(|packet| packet.transit).fold(entry.transit, f64::min);
        self.base = Some(base);
        if self.packets.len() > LEAST_ENTRIES {
            self.held_ms = 0.0;
        }
        let (all, newest) = self.quantiles(now, base);
        let over = newest < OVER_SHARE * all - OVER_MS;
        let all = if OVER_SHARE * newest - OVER_MS > all { newest } else { all };
        let recurring = self.spells.learn(now, entry.transit - base, all);
        let late_ms = match recurring {
            Some(held) => all.max(held),
            None if over => newest,
            _ => all,
        };
        self.late_ms = late_ms.max(self.held_ms);
    }

    /// Takes the first copy of a packet that did not come itself (so far); before [`Self::arrived`] of the packet that
    /// brought it.
    pub(super) fn copy_arrived(&mut self, now: f64, media: f64) {
        remember(&mut self.copies, Entry { arrived: now, media, transit: now - media }, COPY_WINDOW_MS, 0);
    }

    /// Least transit lately; None before the first packet.
    pub(super) fn base(&self) -> Option<f64> {
        self.base
    }

    /// Almost all packets, or their first copies, come not later than this after the base.
    pub(super) fn late_ms(&self) -> f64 {
        self.late_ms
    }

    /// The sender began a new time line: transits of the old one mean nothing any more, its jitter does.
    pub(super) fn restart(&mut self) {
        self.packets.clear();
        self.copies.clear();
        self.base = None;
        self.held_ms = self.late_ms;
    }

    /// What all packets need, and what the newest do.
    fn quantiles(&mut self, now: f64, base: f64) -> (f64, f64) {
        self.sorted.clear();
        self.sorted.extend(self.packets.iter().map(|packet| (*packet, false)));
        self.sorted.extend(self.copies.iter().map(|copy| (*copy, true)));
        self.sorted.sort_unstable_by(|a, b| b.0.transit.total_cmp(&a.0.transit));
        let newest = |entry: &Entry| now - entry.arrived < NEWEST_MS;
        let all = quantile(&self.sorted, |_, _| true);
        // Copies are rare: those that count at all count for both.
        let newest = quantile(&self.sorted, |entry, copy| copy || newest(entry));
        (all - base + ROUND_MS, newest - base + ROUND_MS)
    }
}

/// The transit that almost all of these have at most; `entries` are sorted, the latest first, and not empty.
fn quantile(entries: &[(Entry, bool)], counts: impl Fn(&Entry, bool) -> bool) -> f64 {
    let total = entries.iter().filter(|(entry, copy)| counts(entry, *copy)).count() as f64;
    // From the latest down, until what may be too late is used up.
    let (mut late, mut late_copies) = (total * MAY_BE_LATE, total * COPIES_MAY_BE_LATE);
    let mut last = 0.0;
    for (entry, copy) in entries.iter().filter(|(entry, copy)| counts(entry, *copy)) {
        late -= 1.0;
        late_copies -= if *copy { 1.0 } else { 0.0 };
        last = entry.transit;
        if late < 0.0 || late_copies < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_path_needs_almost_no_delay() {
        let mut estimate = DelayEstimate::new();
        for i in 0..500 {
            estimate.arrived(1000.0 + f64::from(i) * 20.0, f64::from(i) * 20.0);
        }
        assert_eq!((estimate.base(), estimate.late_ms()), (Some(1000.0), ROUND_MS));
    }

    #[test]
    fn jitter_raises_the_delay_soon_and_is_forgotten_within_seconds() {
        let mut estimate = DelayEstimate::new();
        let mut run = |from: i32, packets: i32, jitter: i32| {
            for i in from..from + packets {
                let late = f64::from((i * 7919) % (jitter + 1));
                estimate.arrived(f64::from(i) * 20.0 + late, f64::from(i) * 20.0);
            }
            estimate.late_ms()
        };
        assert!(run(0, 500, 0) <= ROUND_MS);
        let after_one_second = run(500, 50, 60);
        assert!((40.0..=64.0).contains(&after_one_second), "{after_one_second}");
        let after_three_seconds = run(550, 150, 0);
        assert!(after_three_seconds <= 4.0, "{after_three_seconds}");
    }

    #[test]
    fn a_bad_spell_of_stalls_is_forgotten_three_seconds_after_its_end() {
        let mut estimate = DelayEstimate::new();
        let mut back = None;
        for i in 0..800 {
            // From 4 s on, eight times: 150 ms in which nothing passes, 250 in which all does.
            let (at, spell) = (f64::from(i) * 20.0, (200..360).contains(&i));
            let stalled = if spell { (150.0 - (at - 4_000.0) % 400.0).max(0.0) } else { 0.0 };
            estimate.arrived(at + stalled, at);
            if (359..360).contains(&i) {
                assert!(estimate.late_ms() > 100.0, "{}", estimate.late_ms());
            }
            if i >= 360 && estimate.late_ms() < 10.0 {
                back.get_or_insert(at - 7_200.0);
            } else {
                back = None;
            }
        }
        assert!(back.is_some_and(|back| back < 3_000.0), "{back:?}");
    }

    #[test]
    fn stalls_that_come_again_and_again_are_waited_for() {
        let mut estimate = DelayEstimate::new();
        let mut wanted: Vec<f64> = Vec::new();
        for i in 0..2_000 {
            // Every 4 s nothing passes for 200 ms, for half a minute.
            let at = f64::from(i) * 20.0;
            let stalled = if i < 1_500 { (200.0 - at % 4_000.0).max(0.0) } else { 0.0 };
            estimate.arrived(at + stalled, at);
            if (600..1_500).contains(&i) {
                wanted.push(estimate.late_ms());
            }
        }
        let (least, most) = wanted.iter().fold((f64::MAX, 0.0_f64), |(a, b), x| (a.min(*x), b.max(*x)));
        assert!(least > 120.0 && most < 210.0 && most - least < 60.0, "{least} to {most}");
        assert!(estimate.late_ms() < 10.0, "ten seconds later: {}", estimate.late_ms());
    }

    #[test]
    fn a_path_of_steady_jitter_asks_for_a_steady_delay() {
        // In order and not, with and without copies that overtake what they are copies of.
        for (ordered, copies) in [(false, false), (false, true), (true, false)] {
            let mut estimate = DelayEstimate::new();
            let (mut random, mut last, mut packets) = (7_u64, 0.0_f64, Vec::new());
            for i in 0..3_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let media = f64::from(i) * 20.0;
                let at = media + (random >> 33) as f64 / f64::from(1_u32 << 31) * 100.0;
                last = if ordered { last.max(at) } else { at };
                packets.push((last, media));
            }
            packets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (mut seen, mut wanted) = (std::collections::BTreeSet::new(), Vec::new());
            for (at, media) in packets {
                let before = (media - 20.0) as i64;
                if copies && before >= 0 && seen.insert(before) {
                    estimate.copy_arrived(at, media - 20.0);
                }
                seen.insert(media as i64);
                estimate.arrived(at, media);
                if at > 12_000.0 {
                    wanted.push(estimate.late_ms());
                }
            }
            let (least, most) = wanted.iter().fold((f64::MAX, 0.0_f64), |(a, b), x| (a.min(*x), b.max(*x)));
            assert!(most - least < 15.0 && most <= 102.0, "{ordered} {copies}: {least} to {most}");
        }
    }

    #[test]
    fn copies_of_lost_packets_are_waited_for() {
        for (every, waited) in [(100, true), (2000, false)] {
            let mut estimate = DelayEstimate::new();
            for i in 0..1000 {
                let at = f64::from(i) * 20.0;
                // Some are lost: the next packet carries their copies.
                match i % every {
                    1 => continue,
                    2 => estimate.copy_arrived(at, at - 20.0),
                    _ => {}
                }
                estimate.arrived(at, at);
            }
            assert_eq!(estimate.late_ms() > 20.0, waited, "one in {every}: {}", estimate.late_ms());
        }
    }

    #[test]
    fn a_drifting_clock_is_followed() {
        let mut estimate = DelayEstimate::new();
        // The sender's clock is slow by 200 ppm: transits grow by 12 ms a minute.
        for i in 0..6000 {
            let media = f64::from(i) * 20.0;
            estimate.arrived(media * 1.0002, media);
        }
        let base = estimate.base().unwrap();
        assert!((base - 24.0).abs() < 2.5, "{base}");
        assert!(estimate.late_ms() <= 4.0, "{}", estimate.late_ms());
    }

    #[test]
    fn memory_is_bounded_whatever_the_times_say() {
        let mut estimate = DelayEstimate::new();
        for i in 0..5000 {
            estimate.copy_arrived(0.0, f64::from(i));
            estimate.arrived(0.0, f64::from(i));
        }
        assert!(estimate.packets.len() <= MAX_ENTRIES && estimate.copies.len() <= MAX_ENTRIES);
    }
}
