//! From what was measured to how a call would sound: the E-model (ITU-T G.107) in the short form that is used for
//! planning, and words for it.

use std::time::Duration;

use twocan_control::doctor::{Grade, PreflightStream};
use twocan_protocol::wire::PreflightReport;

/// Transmission rating without any impairment (G.107, default values).
const BEST: f64 = 93.2;
/// What our own ends add to the way: a frame of 20 ms, encoding, devices, in milliseconds.
const ENDS_MS: f64 = 55.0;
/// Robustness of Opus with concealment and in-band redundancy against random loss (Bpl of G.107), in percent of loss.
const ROBUSTNESS: f64 = 20.0;

/// What was counted in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counted {
    pub(super) packets: u32,
    pub(super) lost: u32,
    pub(super) jitter: Duration,
}

impl Counted {
    /// Share lost, 0 to 1.
    pub(super) fn loss(&self) -> f64 {
        let all = f64::from(self.packets) + f64::from(self.lost);
        if all > 0.0 { f64::from(self.lost) / all } else { 0.0 }
    }

    pub(super) fn shown(&self) -> PreflightStream {
        let jitter_ms = (self.jitter.as_secs_f64() * 10_000.0).round() / 10.0;
        PreflightStream { packets: self.packets, loss: self.loss(), jitter_ms }
    }

    pub(super) fn report(&self) -> PreflightReport {
        let jitter = u32::try_from(self.jitter.as_micros()).unwrap_or(u32::MAX);
        PreflightReport { packets: self.packets, lost: self.lost, jitter, rate: 0 }
    }
}

impl From<PreflightReport> for Counted {
    /// A friend's word; its bounds are those of the numbers.
    fn from(report: PreflightReport) -> Self {
        Self { packets: report.packets, lost: report.lost, jitter: Duration::from_micros(report.jitter.into()) }
    }
}

/// Counts packets by their RTP sequence, timestamp and arrival.
#[derive(Debug, Default)]
pub(super) struct Counter {
    first: Option<u32>,
    highest: u32,
    packets: u32,
    /// Arrival minus timestamp of the packet before, in nanoseconds.
    transit: Option<i128>,
    jitter_ns: f64,
}

impl Counter {
    /// An audio packet arrived: `sequence` extended past 16 bits, `timestamp` at 48 kHz, `time_ns` of arrival.
    pub(super) fn packet(&mut self, sequence: u32, timestamp: u32, time_ns: u64) {
        let first = *self.first.get_or_insert(sequence);
        if sequence < first {
            return;
        }
        self.highest = self.highest.max(sequence);
        self.packets = self.packets.saturating_add(1);
        let transit = i128::from(time_ns) - i128::from(timestamp) * 1_000_000_000 / 48_000;
        if let Some(before) = self.transit.replace(transit) {
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds within a few seconds need no 53 bits")]
            let difference = transit.abs_diff(before) as f64;
            // A wrapped timestamp is no jitter.
            if difference < 1e10 {
                self.jitter_ns += (difference - self.jitter_ns) / 16.0;
            }
        }
    }

    pub(super) fn counted(&self) -> Counted {
        let span = self.first.map_or(0, |first| (self.highest - first).saturating_add(1));
        Counted {
            packets: self.packets,
            lost: span.saturating_sub(self.packets),
            jitter: Duration::from_secs_f64(self.jitter_ns / 1e9),
        }
    }
}

/// Predicted mean opinion score of the worse direction, rounded to a tenth.
pub(super) fn mos(rtt: Option<Duration>, directions: &[Counted]) -> f64 {
    let way = rtt.unwrap_or_default().as_secs_f64() * 500.0;
    let worst = directions.iter().map(|counted| rating(way, counted)).fold(BEST, f64::min);
    let score = if worst <= 0.0 { 1.0 } else { 1.0 + 0.035 * worst + 7e-6 * worst * (worst - 60.0) * (100.0 - worst) };
    (score.clamp(1.0, 4.5) * 10.0).round() / 10.0
}

/// Transmission rating R of one direction.
fn rating(way_ms: f64, counted: &Counted) -> f64 {
    // The jitter buffer holds about twice the jitter, and two frames at least.
    let buffer = (counted.jitter.as_secs_f64() * 2000.0).max(20.0);
    let delay = way_ms + ENDS_MS + buffer;
    let by_delay = 0.024 * delay + if delay > 177.3 { 0.11 * (delay - 177.3) } else { 0.0 };
    let percent = counted.loss() * 100.0;
    let by_loss = 95.0 * percent / (percent + ROBUSTNESS);
    BEST - by_delay - by_loss
}

/// The score in a word.
pub(super) fn grade(mos: f64) -> Grade {
    match mos {
        _ if mos >= 4.25 => Grade::Excellent,
        _ if mos >= 3.95 => Grade::Good,
        _ if mos >= 3.55 => Grade::Fair,
        _ if mos >= 2.95 => Grade::Poor,
        _ => Grade::Bad,
    }
}

/// The word of a grade.
pub(super) fn word(grade: Grade) -> &'static str {
    match grade {
        Grade::Excellent => "excellent",
        Grade::Good => "good",
        Grade::Fair => "fair",
        Grade::Poor => "poor",
        Grade::Bad => "bad",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(lost: u32, jitter_ms: u64) -> Counted {
        Counted { packets: 150 - lost, lost, jitter: Duration::from_millis(jitter_ms) }
    }

    #[test]
    fn a_clean_short_path_is_excellent_and_each_impairment_lowers_the_score() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let clean = mos(ms(20), &[counted(0, 1), counted(0, 1)]);
        assert_eq!((clean, grade(clean)), (4.4, Grade::Excellent));
        let far = mos(ms(500), &[counted(0, 1)]);
        assert!(far < 4.0 && far > 3.0, "{far}");
        let lossy = mos(ms(20), &[counted(15, 1)]);
        assert_eq!((lossy, grade(lossy)), (3.1, Grade::Poor));
        let shaky = mos(ms(200), &[counted(0, 80)]);
        assert!(shaky < clean, "{shaky}");
        assert_eq!(grade(1.0), Grade::Bad);
    }

    #[test]
    fn the_worse_direction_counts() {
        let both = mos(None, &[counted(0, 1), counted(30, 1)]);
        assert_eq!(both, mos(None, &[counted(30, 1)]));
    }

    #[test]
    fn losses_are_gaps_between_the_first_and_the_last_and_jitter_is_that_of_the_rfc() {
        let mut counter = Counter::default();
        for (sequence, late_ms) in [(65_530, 0), (65_531, 0), (65_533, 4), (65_532, 0), (65_537, 0)] {
            let step = u64::from(sequence - 65_530);
            counter.packet(
                sequence,
                u32::try_from(step).unwrap() * 960,
                1_000_000_000 + (step * 20 + late_ms) * 1_000_000,
            );
        }
        let counted = counter.counted();
        assert_eq!((counted.packets, counted.lost), (5, 3));
        assert!((counted.loss() - 0.375).abs() < 1e-9);
        // 4 ms up and 4 ms down, each a sixteenth.
        let wanted = 4.0 / 16.0 * (15.0 / 16.0) + 4.0 / 16.0;
        assert!((counted.jitter.as_secs_f64() * 1000.0 - wanted * 15.0 / 16.0).abs() < 0.02, "{:?}", counted.jitter);
        assert_eq!(Counter::default().counted(), Counted::default());
    }

    #[test]
    fn a_lying_report_breaks_nothing() {
        let report = PreflightReport { packets: u32::MAX, lost: u32::MAX, jitter: u32::MAX, rate: u64::MAX };
        let score = mos(Some(Duration::MAX), &[Counted::from(report)]);
        assert_eq!((score, grade(score)), (1.0, Grade::Bad));
        assert_eq!(mos(None, &[Counted::default()]), mos(None, &[counted(0, 0)]));
    }
}
