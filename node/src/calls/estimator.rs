//! How much the path carries: our own estimate from transport-wide feedback, behind the crate's trait.
//!
//! The crate's estimator never noticed a growing queue in our measurements. Ours listens to three things, each in a
//! file of its own: how long the queue on the path is ([`delay`]), which part of the loss is the path's own ([`loss`]),
//! and how fast packets that left together come out of the narrowest link ([`train`]). [`rate`] makes one number of
//! them. All of it is pure and runs in virtual time in `super::simulation`; this file only joins it to the crate's
//! reports and to the [`Meters`], where the sending task finds the result.
//!
//! Reports come from the friend and may lie. They can name only packets that we have sent (the crate keeps the list, and
//! [`super::reporter`] bounds how long a report may be); times may be anything. So a lie moves the rate between [`MIN`]
//! and [`MAX`], as dropping packets would, and can do nothing else: every list here is bounded, no time is trusted to
//! grow.

pub(in crate::calls) mod delay;
pub(in crate::calls) mod loss;
pub(in crate::calls) mod rate;
pub(in crate::calls) mod train;

use std::sync::Arc;
use std::time::Instant;

use rtc::interceptor::{BandwidthEstimator, PacketReport};

use super::tap::{Meters, OVERHEAD};
use rate::{Rate, Sample};

/// Where a call begins before anything is known, bits per second with all headers: a small picture and the voice.
pub(super) const START: f64 = 600_000.0;
/// Where it begins at most when the first trains say that there is more.
pub(super) const START_MOST: f64 = 1_500_000.0;
/// Never less: Opus at its least, with headers.
pub(super) const MIN: f64 = 32_000.0;
/// Never more: what camera, screen and sound need together.
pub(super) const MAX: f64 = 8_000_000.0;
/// Samples handed on from one report at most; a second of the highest rate. The crate's list is as long as what was sent
/// in its memory, so only a lie after a long silence reaches this.
const MAX_SAMPLES: usize = 2048;

/// The estimate of one connection.
#[derive(Debug)]
pub(super) struct Estimator {
    rate: Rate,
    meters: Arc<Meters>,
}

impl Estimator {
    /// Publishes its results in the meters at every report.
    pub(super) fn new(meters: Arc<Meters>) -> Self {
        Self { rate: Rate::new(), meters }
    }
}

impl BandwidthEstimator for Estimator {
    fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        let wishes = self.meters.wishes();
        if wishes.moved {
            self.rate.path_changed();
        }
        self.rate.set_voice_only(now, wishes.voice_only);
        let samples: Vec<Sample> = reports
            .iter()
            .rev()
            .take(MAX_SAMPLES)
            .rev()
            .map(|report| Sample {
                sent: report.departure,
                arrival: report.arrival,
                arrived: report.arrived,
                bytes: report.size + OVERHEAD as usize,
            })
            .collect();
        self.rate.report(now, &samples);
        self.meters.estimated(now, &self.rate);
    }

    fn target_bitrate(&self) -> f64 {
        self.rate.target()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(id: u64, sent: Instant, arrived: bool, arrival: Duration, size: usize) -> PacketReport {
        PacketReport {
            ssrc: 1,
            id,
            rtp_sequence_number: id as u16,
            is_twcc: true,
            twcc_sequence_number: id as u16,
            size,
            arrived,
            departure: sent,
            arrival: Some(arrival),
            ecn: Default::default(),
        }
    }

    #[test]
    fn what_it_finds_is_in_the_meters() {
        let epoch = Instant::now();
        let meters = Arc::new(Meters::new(epoch, START as u64));
        let mut estimator = Estimator::new(meters.clone());
        for n in 0..400_u64 {
            let sent = Duration::from_millis(10 * n);
            let arrival = Duration::from_secs(9) + sent * 2;
            estimator
                .on_reports(epoch + sent + Duration::from_millis(50), &[report(n, epoch + sent, true, arrival, 900)]);
        }
        assert_eq!(meters.target() as f64, estimator.target_bitrate().floor());
        assert!(meters.target() < START as u64, "twice as slow there as here is a queue");
    }

    #[test]
    fn reports_that_lie_move_it_within_its_bounds() {
        let epoch = Instant::now();
        let meters = Arc::new(Meters::new(epoch, START as u64));
        let mut estimator = Estimator::new(meters.clone());
        let mut seed = 7_u64;
        let mut any = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for n in 0..3_000_u64 {
            let lies: Vec<PacketReport> = (0..any() % 40)
                .map(|k| {
                    let arrival = match any() % 4 {
                        0 => Duration::MAX,
                        1 => Duration::ZERO,
                        _ => Duration::from_micros(any() * any() % 1_000_000_000_000),
                    };
                    report(n + k, epoch + Duration::from_millis(any() % 100_000), any() % 3 != 0, arrival, 65_535)
                })
                .collect();
            estimator.on_reports(epoch + Duration::from_millis(n), &lies);
            assert!((MIN..=MAX).contains(&estimator.target_bitrate()), "{}", estimator.target_bitrate());
            assert!(estimator.rate.pace().is_finite() && estimator.rate.pace() <= MAX);
            assert!((0.0..=1.0).contains(&estimator.rate.loss().share()));
            assert!((1.0..=100.0).contains(&estimator.rate.loss().burst()));
        }
        // And the truth afterwards is believed again.
        let sent = |n: u64| epoch + Duration::from_secs(200) + Duration::from_millis(5 * n);
        for n in 0..20_000_u64 {
            let arrival = Duration::from_secs(5_000) + Duration::from_millis(5 * n);
            estimator.on_reports(sent(n) + Duration::from_millis(20), &[report(n, sent(n), true, arrival, 1000)]);
        }
        assert!(meters.target() > 1_000_000, "{}", meters.target());
    }

    #[test]
    fn a_report_about_half_a_million_packets_is_cut_short() {
        let epoch = Instant::now();
        let meters = Arc::new(Meters::new(epoch, START as u64));
        let mut estimator = Estimator::new(meters.clone());
        let many: Vec<PacketReport> =
            (0..500_000).map(|n| report(n, epoch, true, Duration::from_secs(1), 1200)).collect();
        estimator.on_reports(epoch + Duration::from_secs(1), &many);
        assert!(estimator.rate.remembered() <= MAX_SAMPLES);
    }
}
