//! The numbers of a call's path, from counters, reports, and what the client tells. What they mean for people is worked
//! out in [`people`].

mod people;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use twocan_control::friend::LinkPath;
use twocan_control::{Made, MediaControl, MediaKind, Quality, RepairCounts, Shown};

use super::super::inbound::Reception;
use super::super::outbound::ntp_us;
use super::super::picture::PictureCounts;
use super::super::tap::{Counts, Report};
use super::super::{AUDIO_STREAM, place_of};
use super::{Emission, Flow};
use people::People;

/// How often numbers are made.
const EVERY: Duration = Duration::from_secs(1);
/// Loss is averaged over about this many rounds.
const SMOOTH: f64 = 3.0;
/// Streams of which reports are kept: ours and the friend's, four each.
const MAX_STREAMS: usize = 8;

/// A reading of everything that is counted.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The friend's number in the call.
    pub(super) participant: u16,
    pub(super) counts: Counts,
    /// What the path is believed to carry, bits per second.
    pub(super) target: u64,
    /// By [`place_of`], as all arrays here.
    pub(super) receptions: [Reception; 4],
    pub(super) emissions: [Emission; 4],
    /// What became of the friend's pictures.
    pub(super) pictures: [PictureCounts; 4],
    /// Repairs that we sent, with the SSRC of each stream.
    pub(super) repairs: Vec<(u32, RepairCounts)>,
    pub(super) round_trip: Option<Duration>,
    pub(super) flow: Flow,
    /// Nothing has come for a while.
    pub(super) silent: bool,
    /// Pictures of ours are wanted, and stopped: the path is too narrow.
    pub(super) narrow: bool,
}

/// How a stream of ours arrives at the friend.
#[derive(Clone, Copy, Debug, Default)]
struct There {
    lost: f64,
    /// Ticks of the stream's clock.
    jitter: u32,
    /// What the friend asked for again.
    repairs: RepairCounts,
}

/// The numbers so far.
#[derive(Debug)]
pub(super) struct Measure {
    at: Instant,
    counts: Counts,
    receptions: [Reception; 4],
    loss_in: f64,
    /// How our streams arrive, by SSRC.
    there: HashMap<u32, There>,
    /// Our SSRCs, by stream.
    own: [Option<u32>; 4],
    path: Option<LinkPath>,
    candidates: Option<String>,
    /// The friend's SSRCs, by stream.
    clocks: [Option<u32>; 4],
    /// Clocks of streams that have not shown themselves yet: a report may overtake the news of its stream.
    early: VecDeque<(u32, u64, u32)>,
    people: People,
}

impl Measure {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            at: now,
            counts: Counts::default(),
            receptions: Default::default(),
            loss_in: 0.0,
            there: HashMap::new(),
            own: [None; 4],
            path: None,
            candidates: None,
            clocks: [None; 4],
            early: VecDeque::new(),
            people: People::default(),
        }
    }

    pub(super) fn path(&mut self, path: LinkPath, candidates: String) {
        self.path = Some(path);
        self.candidates = Some(candidates);
    }

    /// Our SSRCs, by [`place_of`].
    pub(super) fn sends(&mut self, own: [Option<u32>; 4]) {
        self.there.retain(|ssrc, _| own.contains(&Some(*ssrc)));
        self.own = own;
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
            Report::Receiver { ssrc, lost, jitter } => {
                if self.there.len() < MAX_STREAMS || self.there.contains_key(&ssrc) {
                    let there = self.there.entry(ssrc).or_insert(There { lost, jitter, ..There::default() });
                    there.lost += (lost - there.lost) / SMOOTH;
                    there.jitter = jitter;
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
                Some(clock(u16::try_from(at).unwrap_or(0) + AUDIO_STREAM, ntp, rtp))
            }
        }
    }

    /// Share of our packets that the friend lost lately; of the worse stream.
    pub(super) fn loss_out(&self) -> f64 {
        self.there.values().map(|there| there.lost).fold(0.0, f64::max)
    }

    /// The client plays the voice.
    pub(super) fn playout(&mut self, now: Instant, concealed: f64, delay_ms: f64, late: u64) {
        self.people.playout(now, concealed, delay_ms, late);
    }

    /// The client shows a stream of the friend.
    pub(super) fn shown(&mut self, now: Instant, shown: Shown) {
        self.people.shown(now, shown);
    }

    /// The client makes a stream of ours.
    pub(super) fn made(&mut self, now: Instant, made: Made) {
        self.people.made(now, made);
    }

    /// A key frame of the friend was asked for.
    pub(super) fn asked(&mut self, kind: MediaKind) {
        self.people.asked[place_of(kind)] += 1;
    }

    /// The friend asked for key frames of ours.
    pub(super) fn was_asked(&mut self, kind: MediaKind, requests: u32) {
        self.people.was_asked[place_of(kind)] += u64::from(requests);
    }

    pub(super) fn due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= EVERY
    }

    pub(super) fn quality(&mut self, now: Instant, reading: &Reading) -> Quality {
        let Reading { counts, receptions, round_trip, .. } = *reading;
        let seconds = now.saturating_duration_since(self.at).as_secs_f64().max(1e-3);
        // A rebuilt connection counts from zero.
        let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 * 8.0 / seconds) as u64;
        let sum = |pick: fn(&Reception) -> u64| {
            let total = |of: &[Reception; 4]| of.iter().map(pick).sum::<u64>();
            total(&receptions).saturating_sub(total(&self.receptions))
        };
        let (expected, received) = (sum(|r| r.expected), sum(|r| r.received));
        if expected > 0 {
            let lost = expected.saturating_sub(received) as f64 / expected as f64;
            self.loss_in += (lost - self.loss_in) / SMOOTH;
        }
        let mut quality = Quality {
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
            target_bitrate: reading.target,
            packets_in: counts.packets_in,
            packets_out: counts.packets_out,
            ..Quality::default()
        };
        let there = self.own.map(|ssrc| {
            let repairs = reading.repairs.iter().find(|(of, _)| Some(*of) == ssrc).map(|(_, counts)| *counts);
            let reported = ssrc.and_then(|ssrc| self.there.get(&ssrc)).copied().unwrap_or_default();
            There { repairs: repairs.unwrap_or_default(), ..reported }
        });
        self.people.rate(now, seconds, reading, &there, &mut quality);
        (self.at, self.counts, self.receptions) = (now, counts, receptions);
        quality
    }
}

fn clock(stream: u16, ntp: u64, rtp: u32) -> MediaControl {
    MediaControl::Clock { stream, timestamp: rtp, sender_us: ntp_us(ntp) }
}

#[cfg(test)]
mod tests {
    use super::super::super::VIDEO_STREAM;
    use super::*;

    #[test]
    fn rates_and_loss_are_those_of_the_last_seconds() {
        let start = Instant::now();
        let mut measure = Measure::new(start);
        assert!(!measure.due(start) && measure.due(start + EVERY));
        let counts = Counts { packets_in: 50, packets_out: 60, bytes_in: 10_000, bytes_out: 20_000 };
        let audio = Reception { expected: 100, received: 70, jitter_ms: 2.0, ..Reception::default() };
        let rest = [Reception::default(); 3];
        let quality = measure.quality(
            start + EVERY,
            &Reading {
                participant: 1,
                counts,
                target: 5,
                receptions: [audio, rest[0], rest[1], rest[2]],
                emissions: Default::default(),
                pictures: Default::default(),
                repairs: Vec::new(),
                round_trip: None,
                flow: Flow::default(),
                silent: false,
                narrow: false,
            },
        );
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
            measure.report(Report::Receiver { ssrc, lost: 0.5, jitter: 0 });
        }
        assert_eq!((measure.there.len(), measure.loss_out()), (MAX_STREAMS, 0.5));
    }
}
