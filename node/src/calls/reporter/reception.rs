//! How much of each stream is missing (receiver reports, RFC 3550, 6.4).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rtc::rtcp::reception_report::ReceptionReport;

/// Streams at most: camera, screen, voice, sound, and a repair stream for each picture. More are not bound.
const MAX_STREAMS: usize = 8;
/// Between two reports when much comes, and when little does.
const BUSY: Duration = Duration::from_millis(1000);
const QUIET: Duration = Duration::from_millis(4000);
/// More packets than this in a [`BUSY`] time are much: a voice sends fifty, silence seven.
const MUCH: u32 = 15;
/// A number farther off than this is a new beginning.
const MAX_JUMP: u64 = 3000;

#[derive(Debug)]
struct Stream {
    rate: f64,
    first: Option<u64>,
    highest: u64,
    received: u64,
    told_expected: u64,
    told_received: u64,
    transit: Option<f64>,
    jitter: f64,
    sender_report: Option<(Instant, u32)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Receptions {
    start: Option<Instant>,
    streams: HashMap<u32, Stream>,
    packets: u32,
    since: Option<Instant>,
}

impl Receptions {
    pub(super) fn new() -> Self {
        Self { start: None, streams: HashMap::new(), packets: 0, since: None }
    }

    /// A stream of the friend begins.
    pub(super) fn bind(&mut self, ssrc: u32, clock_rate: u32) {
        if self.streams.len() < MAX_STREAMS {
            self.streams.entry(ssrc).or_insert_with(|| Stream {
                rate: f64::from(clock_rate.max(1)),
                first: None,
                highest: 0,
                received: 0,
                told_expected: 0,
                told_received: 0,
                transit: None,
                jitter: 0.0,
                sender_report: None,
            });
        }
    }

    /// And ends.
    pub(super) fn unbind(&mut self, ssrc: u32) {
        self.streams.remove(&ssrc);
    }

    /// A packet of a stream came.
    pub(super) fn packet(&mut self, now: Instant, ssrc: u32, number: u16, timestamp: u32) {
        let start = *self.start.get_or_insert(now);
        let Some(stream) = self.streams.get_mut(&ssrc) else { return };
        let ahead = number.wrapping_sub(stream.highest as u16);
        let full = if ahead < 0x8000 {
            stream.highest + u64::from(ahead)
        } else {
            stream.highest.saturating_sub(u64::from(ahead.wrapping_neg()))
        };
        if stream.first.is_none() || full.abs_diff(stream.highest) > MAX_JUMP {
            let base = (1 << 16) + u64::from(number);
            (stream.first, stream.highest) = (Some(base), base);
            (stream.received, stream.told_expected, stream.told_received) = (0, 0, 0);
            stream.transit = None;
        }
        stream.highest = stream.highest.max(full);
        stream.received += 1;
        let transit = now.saturating_duration_since(start).as_secs_f64() * stream.rate - f64::from(timestamp);
        if let Some(before) = stream.transit.replace(transit) {
            let change = (transit - before).abs();
            // Beyond a second it is the timestamp that wrapped or jumped.
            if change < stream.rate {
                stream.jitter += (change - stream.jitter) / 16.0;
            }
        }
        self.packets += 1;
        self.since.get_or_insert(now);
    }

    /// A sender report of a stream came.
    pub(super) fn sender_report(&mut self, now: Instant, ssrc: u32, ntp: u64) {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.sender_report = Some((now, (ntp >> 16) as u32));
        }
    }

    /// When [`Self::reports`] wants to be asked.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + if self.packets > MUCH { BUSY } else { QUIET })
    }

    /// What is to be told now of the streams of which something came.
    pub(super) fn reports(&mut self, now: Instant) -> Option<Vec<ReceptionReport>> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        (self.since, self.packets) = (None, 0);
        let mut reports = Vec::new();
        for (ssrc, stream) in &mut self.streams {
            let Some(first) = stream.first else { continue };
            if stream.received == stream.told_received {
                continue;
            }
            let expected = stream.highest.saturating_sub(first) + 1;
            let lately = expected.saturating_sub(stream.told_expected);
            let lost = lately.saturating_sub(stream.received.saturating_sub(stream.told_received));
            (stream.told_expected, stream.told_received) = (expected, stream.received);
            let delay = stream.sender_report.map_or(0, |(at, _)| {
                (now.saturating_duration_since(at).as_secs_f64() * 65_536.0).min(f64::from(u32::MAX)) as u32
            });
            reports.push(ReceptionReport {
                ssrc: *ssrc,
                fraction_lost: ((lost * 256) / lately.max(1)).min(255) as u8,
                total_lost: expected.saturating_sub(stream.received).min(0x7f_ffff) as u32,
                last_sequence_number: (stream.highest - (1 << 16)) as u32,
                jitter: stream.jitter as u32,
                last_sender_report: stream.sender_report.map_or(0, |(_, middle)| middle),
                delay,
            });
        }
        (!reports.is_empty()).then_some(reports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_since_the_last_report_is_told() {
        let start = Instant::now();
        let ms = |n: u64| start + Duration::from_millis(n);
        let mut receptions = Receptions::new();
        receptions.bind(5, 48_000);
        for n in 0..50_u16 {
            if n % 5 != 2 {
                receptions.packet(ms(u64::from(n) * 20), 5, 65_500_u16.wrapping_add(n), u32::from(n) * 960);
            }
        }
        receptions.sender_report(ms(990), 5, 7 << 32);
        assert!(receptions.reports(ms(900)).is_none());
        let reports = receptions.reports(ms(1_000)).unwrap();
        assert_eq!(reports.len(), 1);
        assert_eq!((reports[0].ssrc, reports[0].fraction_lost, reports[0].total_lost), (5, 51, 10));
        assert_eq!(reports[0].last_sequence_number, (1 << 16) + 13);
        assert_eq!((reports[0].last_sender_report, reports[0].delay), (7 << 16, 655));
        // In silence hardly anything is said.
        receptions.packet(ms(1_100), 5, 14, 0);
        assert_eq!(receptions.due(), Some(ms(1_100) + QUIET));
        assert!(receptions.reports(ms(2_500)).is_none());
        assert_eq!(receptions.reports(ms(5_200)).unwrap()[0].fraction_lost, 0);
        assert_eq!(receptions.due(), None);
    }

    #[test]
    fn streams_and_numbers_from_nowhere_do_no_harm() {
        let start = Instant::now();
        let mut receptions = Receptions::new();
        for ssrc in 0..1000 {
            receptions.bind(ssrc, 0);
        }
        assert_eq!(receptions.streams.len(), MAX_STREAMS);
        let mut number = 1_u16;
        for t in 0..20_000_u64 {
            number = number.wrapping_mul(31_421).wrapping_add(6_927);
            let now = start + Duration::from_millis(t);
            receptions.packet(now, u32::from(number % 12), number, u32::from(number) << 13);
            receptions.reports(now);
        }
    }
}
