//! The numbers of a call's path, from counters and reports.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use twocan_control::friend::LinkPath;
use twocan_control::{MediaControl, Quality};

use super::super::inbound::Reception;
use super::super::outbound::ntp_us;
use super::super::tap::{Counts, Report};
use super::super::{AUDIO_STREAM, VIDEO_STREAM};

/// How often numbers are made.
const EVERY: Duration = Duration::from_secs(1);
/// Loss is averaged over about this many rounds.
const SMOOTH: f64 = 3.0;
/// Streams of which reports are kept: ours and the friend's, two each.
const MAX_STREAMS: usize = 8;

/// The numbers so far.
#[derive(Debug)]
pub(super) struct Measure {
    at: Instant,
    counts: Counts,
    receptions: [Reception; 2],
    loss_in: f64,
    /// Loss of our streams as the friend reports it, by SSRC.
    loss_out: HashMap<u32, f64>,
    path: Option<LinkPath>,
    candidates: Option<String>,
    /// The friend's SSRCs, by stream.
    clocks: [Option<u32>; 2],
    /// Clocks of streams that have not shown themselves yet: a report may overtake the news of its stream.
    early: VecDeque<(u32, u64, u32)>,
}

impl Measure {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            at: now,
            counts: Counts::default(),
            receptions: Default::default(),
            loss_in: 0.0,
            loss_out: HashMap::new(),
            path: None,
            candidates: None,
            clocks: [None; 2],
            early: VecDeque::new(),
        }
    }

    pub(super) fn path(&mut self, path: LinkPath, candidates: String) {
        self.path = Some(path);
        self.candidates = Some(candidates);
    }

    /// The friend's SSRC of a stream, so that its clock can be told from the other's; gives the clock if it has come.
    pub(super) fn source(&mut self, stream: u16, ssrc: u32) -> Option<MediaControl> {
        *self.clocks.get_mut(usize::from(stream.saturating_sub(AUDIO_STREAM)))? = Some(ssrc);
        let at = self.early.iter().rposition(|(of, ..)| *of == ssrc)?;
        let (_, ntp, rtp) = self.early.remove(at)?;
        Some(clock(stream, ntp, rtp))
    }

    /// Takes a report; one about the friend's clock is for the client.
    pub(super) fn report(&mut self, report: Report) -> Option<MediaControl> {
        match report {
            Report::Receiver { ssrc, lost } => {
                if self.loss_out.len() < MAX_STREAMS || self.loss_out.contains_key(&ssrc) {
                    let smoothed = self.loss_out.entry(ssrc).or_insert(lost);
                    *smoothed += (lost - *smoothed) / SMOOTH;
                }
                None
            }
            Report::Sender { ssrc, ntp, rtp } => {
                let Some(at) = self.clocks.iter().position(|known| *known == Some(ssrc)) else {
                    if self.early.len() >= MAX_STREAMS {
                        self.early.pop_front();
                    }
                    self.early.push_back((ssrc, ntp, rtp));
                    return None;
                };
                Some(clock([AUDIO_STREAM, VIDEO_STREAM][at], ntp, rtp))
            }
        }
    }

    /// Share of our packets that the friend lost lately; of the worse stream.
    pub(super) fn loss_out(&self) -> f64 {
        self.loss_out.values().copied().fold(0.0, f64::max)
    }

    pub(super) fn due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= EVERY
    }

    pub(super) fn quality(
        &mut self,
        now: Instant,
        counts: Counts,
        target: u64,
        receptions: [Reception; 2],
        round_trip: Option<Duration>,
    ) -> Quality {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64().max(1e-3);
        // A rebuilt connection counts from zero.
        let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 * 8.0 / seconds) as u64;
        let sum = |pick: fn(&Reception) -> u64| {
            let total = |of: &[Reception; 2]| of.iter().map(pick).sum::<u64>();
            total(&receptions).saturating_sub(total(&self.receptions))
        };
        let (expected, received) = (sum(|r| r.expected), sum(|r| r.received));
        if expected > 0 {
            let lost = expected.saturating_sub(received) as f64 / expected as f64;
            self.loss_in += (lost - self.loss_in) / SMOOTH;
        }
        let quality = Quality {
            path: self.path,
            candidates: self.candidates.clone(),
            // Names are the service's business.
            relay: None,
            rtt_ms: round_trip.map(|rtt| rtt.as_secs_f64() * 1e3),
            loss_in: self.loss_in,
            loss_out: self.loss_out(),
            jitter_ms: receptions[0].jitter_ms,
            bitrate_in: rate(counts.bytes_in, self.counts.bytes_in),
            bitrate_out: rate(counts.bytes_out, self.counts.bytes_out),
            target_bitrate: target,
            packets_in: counts.packets_in,
            packets_out: counts.packets_out,
        };
        (self.at, self.counts, self.receptions) = (now, counts, receptions);
        quality
    }
}

fn clock(stream: u16, ntp: u64, rtp: u32) -> MediaControl {
    MediaControl::Clock { stream, timestamp: rtp, sender_us: ntp_us(ntp) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_loss_are_those_of_the_last_seconds() {
        let start = Instant::now();
        let mut measure = Measure::new(start);
        assert!(!measure.due(start) && measure.due(start + EVERY));
        let counts = Counts { packets_in: 50, packets_out: 60, bytes_in: 10_000, bytes_out: 20_000 };
        let audio = Reception { expected: 100, received: 70, jitter_ms: 2.0 };
        let quality = measure.quality(start + EVERY, counts, 5, [audio, Reception::default()], None);
        assert_eq!((quality.bitrate_in, quality.bitrate_out, quality.packets_out), (80_000, 160_000, 60));
        assert!((quality.loss_in - 0.1).abs() < 1e-9);
    }

    #[test]
    fn the_friends_clock_is_told_for_known_streams_only() {
        let mut measure = Measure::new(Instant::now());
        measure.source(VIDEO_STREAM, 7);
        let told = measure.report(Report::Sender { ssrc: 7, ntp: 3 << 32, rtp: 5 });
        assert_eq!(told, Some(MediaControl::Clock { stream: VIDEO_STREAM, timestamp: 5, sender_us: 3_000_000 }));
        for ssrc in 100..200 {
            assert_eq!(measure.report(Report::Sender { ssrc, ntp: 1 << 32, rtp: ssrc }), None);
        }
        assert_eq!(measure.early.len(), MAX_STREAMS);
        let late = measure.source(AUDIO_STREAM, 199);
        assert_eq!(late, Some(MediaControl::Clock { stream: AUDIO_STREAM, timestamp: 199, sender_us: 1_000_000 }));
        for ssrc in 0..100 {
            measure.report(Report::Receiver { ssrc, lost: 0.5 });
        }
        assert_eq!((measure.loss_out.len(), measure.loss_out()), (MAX_STREAMS, 0.5));
    }
}
