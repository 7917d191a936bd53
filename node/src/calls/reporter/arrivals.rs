//! When each packet came, for the friend's estimator (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
    SymbolTypeTcc, TransportLayerCc,
};

/// Packets remembered at most, gaps included: two seconds at the highest rate. A number farther off begins anew.
const MAX_SPAN: u64 = 2000;
/// Packets in one report: below 700 bytes, whatever became of them.
const MAX_IN_REPORT: usize = 256;
/// Between two reports at least.
const SHORTEST: Duration = Duration::from_millis(50);
/// At the beginning, while nothing is known, they come sooner.
const EAGER: Duration = Duration::from_millis(25);
const EAGER_PACKETS: u32 = 60;
/// At most, when more than a few packets wait to be told of, and when hardly any came.
const LONGEST: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_millis(1000);
const FEW: u32 = 6;
/// A report of about 80 bytes for so many bytes received: a twentieth.
const BYTES: usize = 1600;
/// Units of time in a report.
const REFERENCE_US: i64 = 64_000;
const DELTA_US: i64 = 250;

/// See the module.
#[derive(Debug)]
pub(super) struct Arrivals {
    start: Option<Instant>,
    /// Arrival in microseconds since `start`, from number `first` on.
    came: VecDeque<Option<i64>>,
    first: u64,
    /// The first number that has not been told of, and those of the two reports before.
    untold: u64,
    again: [u64; 2],
    count: u8,
    media: u32,
    bytes: usize,
    packets: u32,
    total: u32,
    since: Option<Instant>,
    reported: Option<Instant>,
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Self {
            start: None,
            came: VecDeque::new(),
            first: 0,
            untold: 0,
            again: [0; 2],
            count: 0,
            media: 0,
            bytes: 0,
            packets: 0,
            total: 0,
            since: None,
            reported: None,
        }
    }

    /// A packet came.
    pub(super) fn packet(&mut self, now: Instant, number: u16, bytes: usize, media: u32) {
        let start = *self.start.get_or_insert(now);
        let at = i64::try_from(now.saturating_duration_since(start).as_micros()).unwrap_or(i64::MAX);
        // One that comes after it was told missing three times is of no use to anybody.
        let Some(number) = self.extended(number) else { return };
        let Ok(place) = usize::try_from(number - self.first) else { return };
        if self.came.len() <= place {
            self.came.resize(place + 1, None);
        }
        if let Some(slot) = self.came.get_mut(place) {
            if slot.is_some() {
                return;
            }
            *slot = Some(at);
        }
        self.untold = self.untold.min(number);
        self.media = media;
        self.bytes += bytes;
        self.packets += 1;
        self.total = self.total.saturating_add(1);
        self.since.get_or_insert(now);
    }

    /// The number carried on past 16 bits, never below `first`; `None` for one that is too old.
    fn extended(&mut self, number: u16) -> Option<u64> {
        let newest = self.first + self.came.len() as u64;
        if self.came.is_empty() {
            return Some(self.restart(number));
        }
        let ahead = number.wrapping_sub(newest as u16);
        let full = if ahead < 0x8000 { newest + u64::from(ahead) } else { newest - u64::from(ahead.wrapping_neg()) };
        if full + MAX_SPAN < self.first || full >= newest + MAX_SPAN {
            return Some(self.restart(number));
        }
        if full < self.first {
            return None;
        }
        // Room is made at the old end.
        while full - self.first >= MAX_SPAN {
            self.came.pop_front();
            self.first += 1;
        }
        self.untold = self.untold.max(self.first);
        self.again = self.again.map(|again| again.max(self.first));
        Some(full)
    }

    /// Far from all before: those are forgotten. One round of 16 bits on, so that numbers never run backwards.
    fn restart(&mut self, number: u16) -> u64 {
        let base = (self.first + self.came.len() as u64 + 0x2_0000) & !0xffff;
        self.came.clear();
        self.first = base + u64::from(number);
        (self.untold, self.again) = (self.first, [self.first; 2]);
        self.first
    }

    /// When [`Self::reports`] wants to be asked.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since?;
        let shortest = if self.total < EAGER_PACKETS { EAGER } else { SHORTEST };
        let soonest = self.reported.map_or(since, |at| at + shortest).max(since + Duration::from_millis(5));
        let latest = since + if self.packets >= FEW { LONGEST } else { IDLE };
        let much = self.bytes >= BYTES || self.total < EAGER_PACKETS;
        Some(if much { soonest } else { latest.max(soonest) })
    }

    /// What is to be told now. Several if one does not hold it all.
    pub(super) fn reports(&mut self, now: Instant, sender_ssrc: u32) -> Vec<TransportLayerCc> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        let end = self.first + self.came.len() as u64;
        let mut reports = Vec::new();
        let mut from = self.again[0].min(self.untold).max(self.first);
        while from < end {
            let to = end.min(from + MAX_IN_REPORT as u64);
            let (report, told) = self.report(from, to, sender_ssrc);
            if let Some(report) = report {
                reports.push(report);
            }
            from = told;
        }
        (self.again, self.untold) = ([self.again[1], self.untold], end);
        while self.first < self.again[0] {
            self.came.pop_front();
            self.first += 1;
        }
        (self.bytes, self.packets, self.since, self.reported) = (0, 0, None, Some(now));
        reports
    }

    /// Tells of `from..to`, as far as the units reach; also gives the first number that is not told of.
    fn report(&mut self, from: u64, to: u64, sender_ssrc: u32) -> (Option<TransportLayerCc>, u64) {
        let place = |number: u64| usize::try_from(number - self.first).unwrap_or(usize::MAX);
        let (mut symbols, mut deltas) = (Vec::new(), Vec::new());
        let mut clock: Option<i64> = None;
        let mut reference = 0;
        let mut told = to;
        for number in from..to {
            let Some(at) = self.came.get(place(number)).copied().flatten() else {
                symbols.push(SymbolTypeTcc::PacketNotReceived);
                continue;
            };
            let before = *clock.get_or_insert_with(|| {
                reference = at / REFERENCE_US;
                reference * REFERENCE_US
            });
            let units = (at - before + DELTA_US / 2).div_euclid(DELTA_US);
            if i16::try_from(units).is_err() {
                told = number;
                break;
            }
            let symbol = if (0..=255).contains(&units) {
                SymbolTypeTcc::PacketReceivedSmallDelta
            } else {
                SymbolTypeTcc::PacketReceivedLargeDelta
            };
            symbols.push(symbol);
            deltas.push(RecvDelta { type_tcc_packet: symbol, delta: units * DELTA_US });
            clock = Some(before + units * DELTA_US);
        }
        if deltas.is_empty() {
            return (None, told.max(from + 1));
        }
        let report = TransportLayerCc {
            sender_ssrc,
            media_ssrc: self.media,
            base_sequence_number: from as u16,
            packet_status_count: symbols.len() as u16,
            reference_time: (reference & 0xff_ffff) as u32,
            fb_pkt_count: self.count,
            packet_chunks: chunks(&symbols),
            recv_deltas: deltas,
        };
        self.count = self.count.wrapping_add(1);
        (Some(report), told)
    }
}

/// Runs where they are shorter, else seven to a chunk.
fn chunks(mut symbols: &[SymbolTypeTcc]) -> Vec<PacketStatusChunk> {
    let mut chunks = Vec::new();
    while let Some(&first) = symbols.first() {
        let run = symbols.iter().take_while(|symbol| **symbol == first).count();
        let taken = if run >= 7 {
            chunks.push(PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                packet_status_symbol: first,
                run_length: run as u16,
            }));
            run
        } else {
            let taken = symbols.len().min(7);
            let mut list = symbols[..taken].to_vec();
            list.resize(7, SymbolTypeTcc::PacketNotReceived);
            chunks.push(PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                symbol_size: SymbolSizeTypeTcc::TwoBit,
                symbol_list: list,
            }));
            taken
        };
        symbols = &symbols[taken..];
    }
    chunks
}

#[cfg(test)]
mod tests {
    use rtc::shared::marshal::{Marshal, Unmarshal};

    use super::*;

    /// What a report says, through its wire form: number and arrival in microseconds.
    fn told(report: &TransportLayerCc) -> Vec<(u16, Option<i64>)> {
        let bytes = report.marshal().unwrap();
        let report = TransportLayerCc::unmarshal(&mut bytes.clone()).unwrap();
        let mut symbols = Vec::new();
        for chunk in &report.packet_chunks {
            match chunk {
                PacketStatusChunk::RunLengthChunk(run) => {
                    symbols.extend(std::iter::repeat_n(run.packet_status_symbol, usize::from(run.run_length)));
                }
                PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend(vector.symbol_list.iter().copied()),
            }
        }
        let mut at = i64::from(report.reference_time) * REFERENCE_US;
        let mut deltas = report.recv_deltas.iter();
        (0..report.packet_status_count)
            .zip(symbols)
            .map(|(n, symbol)| {
                let came = symbol != SymbolTypeTcc::PacketNotReceived;
                (
                    report.base_sequence_number.wrapping_add(n),
                    came.then(|| {
                        at += deltas.next().unwrap().delta;
                        at
                    }),
                )
            })
            .collect()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_report_tells_what_came_and_what_did_not_three_times_over() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new();
        for n in 0..30_u16 {
            if n != 4 && n != 17 {
                arrivals.packet(start + ms(u64::from(n) * 3), 65_530_u16.wrapping_add(n), 1200, 1);
            }
        }
        let first = arrivals.reports(start + ms(100), 9);
        assert_eq!(first.len(), 1);
        let list = told(&first[0]);
        assert_eq!(list.len(), 30);
        for (n, (number, at)) in list.iter().enumerate() {
            assert_eq!(*number, 65_530_u16.wrapping_add(n as u16));
            assert_eq!(at.is_none(), n == 4 || n == 17, "{n}");
            assert!(at.is_none_or(|at| at.abs_diff(n as i64 * 3000) <= 125), "{n}: {at:?}");
        }
        for n in 30..40_u16 {
            arrivals.packet(start + ms(u64::from(n) * 3), 65_530_u16.wrapping_add(n), 1200, 1);
        }
        let second = arrivals.reports(start + ms(200), 9);
        assert_eq!(told(&second[0]).len(), 40, "the report before is told again");
        for n in 40..60_u16 {
            arrivals.packet(start + ms(u64::from(n) * 3), 65_530_u16.wrapping_add(n), 1200, 1);
            if n == 49 {
                assert_eq!(told(&arrivals.reports(start + ms(300), 9)[0]).len(), 50);
            }
        }
        let fourth = arrivals.reports(start + ms(400), 9);
        assert_eq!(told(&fourth[0]).len(), 30, "but not more than twice again");
    }

    #[test]
    fn reports_are_rare_when_little_comes() {
        let start = Instant::now();
        let reports = |every: u64, bytes: usize| {
            let mut arrivals = Arrivals::new();
            let (mut count, mut number) = (0, 0_u16);
            for t in 0..20_000 {
                let now = start + ms(t);
                if t % every == 0 {
                    arrivals.packet(now, number, bytes, 1);
                    number = number.wrapping_add(1);
                }
                if arrivals.due().is_some_and(|due| due <= now) && t > 10_000 {
                    count += arrivals.reports(now, 1).len();
                } else {
                    arrivals.reports(now, 1);
                }
            }
            f64::from(count as u32) / 10.0
        };
        let (picture, voice, silence) = (reports(8, 1200), reports(20, 150), reports(160, 70));
        assert!((15.0..=20.0).contains(&picture), "{picture}");
        assert!((3.0..=6.0).contains(&voice), "{voice}");
        assert!((0.7..=1.1).contains(&silence), "{silence}");
    }

    #[test]
    fn numbers_that_leap_are_bounded() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new();
        let mut number = 0_u16;
        for t in 0..5_000_u64 {
            number = number.wrapping_mul(31_421).wrapping_add(6_927);
            arrivals.packet(start + ms(t), number, 1200, 1);
            assert!(arrivals.came.len() as u64 <= MAX_SPAN, "{}", arrivals.came.len());
            for report in arrivals.reports(start + ms(t), 1) {
                assert!(report.packet_chunks.len() * 2 + report.recv_deltas.len() * 2 < 1000);
                told(&report);
            }
        }
    }

    #[test]
    fn a_pause_longer_than_the_units_reach_begins_another_report() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new();
        arrivals.packet(start, 1, 1200, 1);
        arrivals.packet(start + ms(20_000), 2, 1200, 1);
        let reports = arrivals.reports(start + ms(20_100), 1);
        let all: Vec<_> = reports.iter().flat_map(told).collect();
        assert_eq!(all, [(1, Some(0)), (2, Some(20_000_000))]);
    }
}
