//! How late packets come, and how long the buffer should therefore hold them.
//!
//! A packet's *transit* is its arrival minus its place in the sender's time; only differences mean something. The least
//! transit of the last seconds is the *base*. How much later than the base packets come is kept as a histogram that
//! forgets, and the wanted delay is a high quantile of it. All times are in milliseconds as `f64`.

use std::collections::VecDeque;

/// The base is the least transit within this time; shorter follows clock drift better, longer survives stalls.
const BASE_WINDOW_MS: f64 = 6_000.0;
/// The base window is kept as one minimum per slice of this length.
const BASE_SLICE_MS: f64 = 250.0;
/// Width of a histogram bin.
const BIN_MS: f64 = 2.0;
/// Bins; delays beyond one second count as one second.
const BINS: usize = 500;
/// What a packet's entry still weighs one packet later: half is forgotten after 350 packets, 7 s of 20 ms packets.
const FORGET: f32 = 0.998;
/// Share of packets that should be in time.
const QUANTILE: f32 = 0.98;

/// The estimate.
#[derive(Debug)]
pub(super) struct DelayEstimate {
    /// (start of the slice, least transit in it)
    slices: VecDeque<(f64, f64)>,
    bins: Vec<f32>,
    total: f32,
    late_ms: f64,
}

impl DelayEstimate {
    pub(super) fn new() -> Self {
        Self { slices: VecDeque::new(), bins: vec![0.0; BINS], total: 0.0, late_ms: 0.0 }
    }

    /// Takes a packet that arrived at `now` and has its place at `media` in the sender's time.
    pub(super) fn arrived(&mut self, now: f64, media: f64) {
        let transit = now - media;
        match self.slices.back_mut() {
            Some((start, least)) if now - *start < BASE_SLICE_MS => *least = least.min(transit),
            _ => self.slices.push_back((now, transit)),
        }
        while self.slices.front().is_some_and(|(start, _)| now - start > BASE_WINDOW_MS) && self.slices.len() > 1 {
            self.slices.pop_front();
        }
        let late = (transit - self.base().unwrap_or(transit)).max(0.0);
        let bin = ((late / BIN_MS) as usize).min(BINS - 1);
        self.total = self.total * FORGET + (1.0 - FORGET);
        for weight in &mut self.bins {
            *weight *= FORGET;
        }
        if let Some(weight) = self.bins.get_mut(bin) {
            *weight += 1.0 - FORGET;
        }
        self.late_ms = self.quantile();
    }

    /// Least transit lately; None before the first packet.
    pub(super) fn base(&self) -> Option<f64> {
        self.slices.iter().map(|(_, least)| *least).min_by(f64::total_cmp)
    }

    /// [`QUANTILE`] of packets come not later than this after the base.
    pub(super) fn late_ms(&self) -> f64 {
        self.late_ms
    }

    /// The sender began a new time line: transits of the old one mean nothing any more, its jitter does.
    pub(super) fn restart(&mut self) {
        self.slices.clear();
    }

    fn quantile(&self) -> f64 {
        let wanted = self.total * QUANTILE;
        let mut sum = 0.0;
        for (bin, weight) in self.bins.iter().enumerate() {
            sum += weight;
            if sum >= wanted {
                return (bin + 1) as f64 * BIN_MS;
            }
        }
        BINS as f64 * BIN_MS
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
        assert_eq!((estimate.base(), estimate.late_ms()), (Some(1000.0), BIN_MS));
    }

    #[test]
    fn jitter_raises_the_delay_soon_and_is_forgotten_slowly() {
        let mut estimate = DelayEstimate::new();
        let mut run = |from: i32, packets: i32, jitter: i32| {
            for i in from..from + packets {
                let late = f64::from((i * 7919) % (jitter + 1));
                estimate.arrived(f64::from(i) * 20.0 + late, f64::from(i) * 20.0);
            }
            estimate.late_ms()
        };
        assert!(run(0, 500, 0) <= BIN_MS);
        let after_one_second = run(500, 50, 60);
        assert!((40.0..=64.0).contains(&after_one_second), "{after_one_second}");
        let after_a_minute = run(550, 3000, 0);
        assert!(after_a_minute <= 4.0, "{after_a_minute}");
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
}
