//! The numbers of the last minutes of a call, for its plots.

use std::collections::VecDeque;

use twocan_control::Quality;

/// Samples that are kept: two minutes at one a second, as much as a plot can show.
pub const KEPT: usize = 120;

/// The numbers of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// When (Unix ms).
    pub at_ms: u64,
    /// Round trip, ms, if known.
    pub rtt_ms: Option<f64>,
    /// Lost on the way here, 0 to 1.
    pub loss_in: f64,
    /// Lost on the way there, 0 to 1.
    pub loss_out: f64,
    /// Jitter of what comes, ms.
    pub jitter_ms: f64,
    /// Received, bits per second.
    pub bitrate_in: f64,
    /// Sent, bits per second.
    pub bitrate_out: f64,
}

impl Sample {
    /// What a plot needs of the call's numbers.
    #[must_use]
    pub fn of(quality: &Quality, at_ms: u64) -> Self {
        Self {
            at_ms,
            rtt_ms: quality.rtt_ms,
            loss_in: quality.loss_in,
            loss_out: quality.loss_out,
            jitter_ms: quality.jitter_ms,
            bitrate_in: quality.bitrate_in as f64,
            bitrate_out: quality.bitrate_out as f64,
        }
    }
}

/// The last minutes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plots {
    samples: VecDeque<Sample>,
}

impl Plots {
    /// Takes the numbers of a second.
    pub fn push(&mut self, sample: Sample) {
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The latest.
    #[must_use]
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// One line of a plot: how long ago in seconds, and the value. Numbers that are none are left out.
    pub fn line(&self, value: impl Fn(&Sample) -> Option<f64>) -> Vec<(f32, f64)> {
        let Some(last) = self.last() else { return Vec::new() };
        let ago = |sample: &Sample| last.at_ms.saturating_sub(sample.at_ms) as f32 / 1000.0;
        let point = |sample: &Sample| value(sample).filter(|value| value.is_finite()).map(|value| (ago(sample), value));
        self.samples.iter().filter_map(point).collect()
    }
}

/// A round number that is not less than the value, for the top of a plot.
#[must_use]
pub fn ceiling(value: f64, least: f64) -> f64 {
    let value = value.max(least).clamp(1e-9, 1e15);
    let unit = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * unit).find(|top| *top >= value * 0.999).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_minutes_are_kept_and_nonsense_is_left_out() {
        let mut plots = Plots::default();
        assert!(plots.line(|sample| sample.rtt_ms).is_empty());
        for second in 0..200u64 {
            let rtt_ms = match second % 3 {
                0 => None,
                1 => Some(f64::NAN),
                _ => Some(20.0),
            };
            plots.push(Sample { at_ms: second * 1000, rtt_ms, ..Sample::default() });
        }
        let line = plots.line(|sample| sample.rtt_ms);
        assert_eq!(line.len(), 40);
        assert!(line.iter().all(|(ago, value)| *ago < 120.0 && *value == 20.0));
        assert_eq!(plots.line(|sample| Some(sample.loss_in)).len(), KEPT);
    }

    #[test]
    fn a_plot_ends_at_a_round_number() {
        for (value, top) in [(0.0, 50.0), (51.0, 100.0), (180.0, 200.0), (201.0, 500.0), (1_200_000.0, 2_000_000.0)] {
            assert!((ceiling(value, 50.0) - top).abs() < 1e-6, "{value}");
        }
        assert!(ceiling(f64::INFINITY, 1.0).is_finite());
    }
}
