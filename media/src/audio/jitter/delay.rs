//! How late packets come, and how long the buffer should therefore hold them.
//!
//! A packet's *transit* is its arrival minus its place in the sender's time; only differences mean something. The least
//! transit of the last seconds is the *base*; the wanted delay is a high quantile of how much later than the base packets
//! came within the same time. What is older is forgotten altogether, so that the delay falls back soon after a bad
//! spell. A lost packet of which a copy comes counts with the transit of its first copy; almost no copy may be missed,
//! because what comes late can still be waited for, but a copy that is not waited for is a hole. All times are in
//! milliseconds as `f64`.

use std::collections::VecDeque;

/// Packets are remembered for so long; shorter follows clock drift and the end of jitter better, longer survives stalls.
const WINDOW_MS: f64 = 6_000.0;
/// Copies are remembered longer: the deeper ones are rare.
const COPY_WINDOW_MS: f64 = 9_000.0;
/// At least so many packets are remembered however old they are, so that one of silence's few does not rule...
const LEAST_ENTRIES: usize = 30;
/// ...and at most so many of each kind: six seconds of 10 ms packets.
const MAX_ENTRIES: usize = 600;
/// Share of packets that may come too late.
const MAY_BE_LATE: f64 = 0.02;
/// Share of packets whose only copies may come too late.
const COPIES_MAY_BE_LATE: f64 = 0.002;
/// Added to the quantile, for the rounding of clocks.
const ROUND_MS: f64 = 1.0;

/// (arrival, transit)
type Entry = (f64, f64);

/// The estimate.
#[derive(Debug)]
pub(super) struct DelayEstimate {
    packets: VecDeque<Entry>,
    copies: VecDeque<Entry>,
    /// Used to sort in; kept to save an allocation for each packet. (transit, whether of a copy)
    sorted: Vec<(f64, bool)>,
    base: Option<f64>,
    late_ms: f64,
    /// Wanted delay of before a restart: holds until there is something to say of the new time line.
    held_ms: f64,
}

fn remember(entries: &mut VecDeque<Entry>, entry: Entry, window_ms: f64, least: usize) {
    entries.push_back(entry);
    while let Some((arrived, _)) = entries.front()
        && (entries.len() > MAX_ENTRIES || (entries.len() > least && entry.0 - arrived > window_ms))
    {
        entries.pop_front();
    }
}

impl DelayEstimate {
    pub(super) fn new() -> Self {
        Self {
            packets: VecDeque::new(),
            copies: VecDeque::new(),
            sorted: Vec::new(),
            base: None,
            late_ms: 0.0,
            held_ms: 0.0,
        }
    }

    /// Takes a packet that arrived at `now` and has its place at `media` in the sender's time.
    pub(super) fn arrived(&mut self, now: f64, media: f64) {
        remember(&mut self.packets, (now, now - media), WINDOW_MS, LEAST_ENTRIES);
        while self.copies.front().is_some_and(|(arrived, _)| now - arrived > COPY_WINDOW_MS) {
            self.copies.pop_front();
        }
        self.base = self.packets.iter().map(|(_, transit)| *transit).min_by(f64::total_cmp);
        if self.packets.len() > LEAST_ENTRIES {
            self.held_ms = 0.0;
        }
        self.late_ms = self.quantile().max(self.held_ms);
    }

    /// Takes the first copy of a packet that did not come itself (so far); before [`Self::arrived`] of the packet that
    /// brought it.
    pub(super) fn copy_arrived(&mut self, now: f64, media: f64) {
        remember(&mut self.copies, (now, now - media), COPY_WINDOW_MS, 0);
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

    fn quantile(&mut self) -> f64 {
        let Some(base) = self.base else { return self.late_ms };
        self.sorted.clear();
        self.sorted.extend(self.packets.iter().map(|(_, transit)| (*transit, false)));
        self.sorted.extend(self.copies.iter().map(|(_, transit)| (*transit, true)));
        self.sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let total = self.sorted.len() as f64;
        // From the latest down, until what may be too late is used up.
        let (mut late, mut late_copies) = (total * MAY_BE_LATE, total * COPIES_MAY_BE_LATE);
        for (transit, copy) in &self.sorted {
            late -= 1.0;
            late_copies -= if *copy { 1.0 } else { 0.0 };
            if late < 0.0 || late_copies < 0.0 {
                return transit - base + ROUND_MS;
            }
        }
        ROUND_MS
    }
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
        let after_seven_seconds = run(550, 350, 0);
        assert!(after_seven_seconds <= 4.0, "{after_seven_seconds}");
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
        assert!((base - 24.0).abs() < 2.0, "{base}");
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
