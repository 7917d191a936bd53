//! From RTP packets of video to access units, in order, with bounded patience.
//!
//! A missing packet is waited for (a NACK has asked for it) until a deadline; then what is broken is dropped, the next
//! whole frame carries a gap flag, and a key frame is wanted. Everything is bounded: packets held, bytes of a frame,
//! and how far a sequence number may jump before the stream counts as begun anew.
//! Audio does not come through here: it is passed on as it arrives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::h264;

/// Packets held while something is missing before them: more than the largest frame has.
const MAX_PACKETS: usize = 2048;
/// Largest access unit with its frame header, as the local API takes it.
const MAX_FRAME: usize = twocan_control::media::MAX_FRAME_LEN - twocan_control::media::HEADER_LEN;
/// Bytes held together.
const MAX_BYTES: usize = 2 * MAX_FRAME;
/// A jump of sequence numbers beyond this is a new beginning, not a loss.
const MAX_JUMP: u64 = 4096;
/// Shortest and longest patience with a missing packet; in between, two round trips.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(200));

/// RTP sequence numbers carried on past 16 bits.
#[derive(Debug, Default)]
pub(super) struct Extended {
    highest: Option<u64>,
}

impl Extended {
    /// The full number of a packet; the second value tells that it is too far from what came before to belong to it.
    pub(super) fn number(&mut self, sequence: u16) -> (u64, bool) {
        let Some(highest) = self.highest else {
            // Room below the first one, for packets that were overtaken by it.
            let first = (1 << 16) + u64::from(sequence);
            self.highest = Some(first);
            return (first, false);
        };
        let ahead = sequence.wrapping_sub(highest as u16);
        let number = if ahead < 0x8000 {
            highest + u64::from(ahead)
        } else {
            highest.saturating_sub(u64::from(ahead.wrapping_neg()))
        };
        let far = number.abs_diff(highest) > MAX_JUMP;
        self.highest = Some(highest.max(number));
        (number, far)
    }

    /// Starts at a packet that is far from what came before; numbers keep growing.
    pub(super) fn restart(&mut self, sequence: u16) -> u64 {
        let base = self.highest.unwrap_or(0);
        let number = (base | 0xffff) + 1 + u64::from(sequence);
        self.highest = Some(number);
        number
    }
}

/// A packet of video, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: Bytes,
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub(super) arrived_ns: u64,
}

/// A whole access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pub(super) arrived_ns: u64,
    pub(super) key: bool,
    pub(super) layer: u8,
    pub(super) gap: bool,
    pub(super) payload: Bytes,
}

/// What came out of one step.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) frames: Vec<Frame>,
    /// The picture is broken until the next key frame.
    pub(super) want_key: bool,
}

/// Puts one stream together.
#[derive(Debug)]
pub(super) struct Assembler {
    held: BTreeMap<u64, Packet>,
    bytes: usize,
    /// The first number not yet handed on or given up.
    next: Option<u64>,
    /// Timestamp of what was handed on or given up last: its remaining packets are worthless.
    done: Option<u32>,
    gap: bool,
    hole_since: Option<Instant>,
    patience: Duration,
}

impl Assembler {
    pub(super) fn new() -> Self {
        Self {
            held: BTreeMap::new(),
            bytes: 0,
            next: None,
            done: None,
            gap: false,
            hole_since: None,
            patience: PATIENCE.1 / 2,
        }
    }

    /// How long a packet may be missing: two round trips, within bounds.
    pub(super) fn set_round_trip(&mut self, round_trip: Duration) {
        self.patience = (2 * round_trip + PATIENCE.0 / 2).clamp(PATIENCE.0, PATIENCE.1);
    }

    /// Forgets everything; what comes next is a new beginning.
    pub(super) fn reset(&mut self) {
        *self = Self { patience: self.patience, gap: true, ..Self::new() };
    }

    /// When [`Self::handle_timeout`] wants to be called, if at all.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.hole_since.map(|since| since + self.patience)
    }

    /// Takes a packet in.
    pub(super) fn handle_packet(&mut self, now: Instant, number: u64, packet: Packet) -> Output {
        let mut out = Output::default();
        if self.next.is_some_and(|next| number < next) || packet.payload.is_empty() {
            // Late, or padding; an empty packet still closes its hole in the numbers.
            if self.next == Some(number) {
                self.next = Some(number + 1);
                self.drain(now, &mut out);
            }
            return out;
        }
        self.next.get_or_insert(number);
        self.bytes += packet.payload.len();
        if let Some(old) = self.held.insert(number, packet) {
            self.bytes -= old.payload.len();
        }
        self.drain(now, &mut out);
        while self.held.len() > MAX_PACKETS || self.bytes > MAX_BYTES {
            self.give_up(&mut out);
            self.drain(now, &mut out);
        }
        out
    }

    /// Gives up on what has been missing for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Output {
        let mut out = Output::default();
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.hole_since = None;
            self.give_up(&mut out);
            self.drain(now, &mut out);
        }
        out
    }

    /// Hands on whole frames from the front.
    fn drain(&mut self, now: Instant, out: &mut Output) {
        while let Some(next) = self.next {
            let Some(first) = self.held.get(&next) else { break };
            let timestamp = first.timestamp;
            let mut end = None;
            let mut expected = next;
            for (&number, packet) in self.held.range(next..) {
                if number != expected {
                    break;
                }
                if packet.timestamp != timestamp {
                    end = Some(number);
                    break;
                }
                expected += 1;
                if packet.marker {
                    end = Some(expected);
                    break;
                }
            }
            let Some(end) = end else { break };
            self.hand_on(next, end, timestamp, out);
        }
        // A hole is a missing number with something after it.
        let hole = self.next.is_some_and(|next| {
            self.held.last_key_value().is_some_and(|(last, _)| last - next + 1 != self.held.len() as u64)
        });
        self.hole_since = if hole { self.hole_since.or(Some(now)) } else { None };
    }

    fn hand_on(&mut self, first: u64, end: u64, timestamp: u32, out: &mut Output) {
        let rest = self.held.split_off(&end);
        let packets = std::mem::replace(&mut self.held, rest);
        self.bytes -= packets.values().map(|packet| packet.payload.len()).sum::<usize>();
        self.next = Some(end);
        self.hole_since = None;
        if self.done == Some(timestamp) {
            return;
        }
        self.done = Some(timestamp);
        let arrived_ns = packets.values().map(|packet| packet.arrived_ns).min().unwrap_or(0);
        match h264::depacketize(packets.values().map(|packet| &packet.payload[..]), MAX_FRAME) {
            Some(unit) => out.frames.push(Frame {
                sequence: first,
                timestamp,
                arrived_ns,
                key: unit.key,
                layer: unit.layer,
                gap: std::mem::take(&mut self.gap),
                payload: unit.bytes,
            }),
            None => {
                self.gap = true;
                out.want_key = true;
            }
        }
    }

    /// Drops the frame that cannot be completed, and goes to the first packet that may begin another one.
    fn give_up(&mut self, out: &mut Output) {
        self.gap = true;
        out.want_key = true;
        let Some(next) = self.next else { return };
        let mut broken = None;
        if let Some(packet) = self.held.get(&next) {
            // The front frame has a hole, or is too long.
            broken = Some(packet.timestamp);
        }
        let mut previous: Option<(u64, bool)> = None;
        let mut start = None;
        for (&number, packet) in &self.held {
            let after_end = previous.is_some_and(|(before, marker)| marker && before + 1 == number);
            let other = broken.is_some_and(|timestamp| timestamp != packet.timestamp);
            if after_end || other {
                start = Some(number);
                break;
            }
            if broken.is_none() {
                // The hole is before this packet: its frame may have begun in the hole.
                broken = Some(packet.timestamp);
                if begins(&packet.payload) {
                    start = Some(number);
                    broken = None;
                    break;
                }
            }
            previous = Some((number, packet.marker));
        }
        if let Some(timestamp) = broken {
            self.done = Some(timestamp);
        }
        match start {
            Some(start) => {
                self.held = self.held.split_off(&start);
                self.bytes = self.held.values().map(|packet| packet.payload.len()).sum();
                self.next = Some(start);
            }
            None => {
                self.next = self.held.last_key_value().map_or(self.next, |(last, _)| Some(last + 1));
                self.held.clear();
                self.bytes = 0;
            }
        }
        self.hole_since = None;
    }
}

/// Whether a payload may be the first of an access unit: all but a later fragment of a NAL unit.
fn begins(payload: &[u8]) -> bool {
    match payload {
        [header, flags, ..] if header & 0x1f == 28 => flags & 0x80 != 0,
        [_, ..] => true,
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(size: usize, key: bool) -> Bytes {
        let mut out = vec![0, 0, 0, 1, if key { 0x65 } else { 0x41 }];
        out.extend((0..size).map(|i| (i % 250 + 1) as u8));
        Bytes::from(out)
    }

    /// Packets of a run of frames: (number, packet).
    fn stream(sizes: &[usize]) -> Vec<(u64, Packet)> {
        let mut out = Vec::new();
        for (index, &size) in sizes.iter().enumerate() {
            let payloads = h264::packetize(&frame(size, index == 0));
            let count = payloads.len();
            for (i, payload) in payloads.into_iter().enumerate() {
                let number = 70_000 + out.len() as u64;
                out.push((
                    number,
                    Packet { timestamp: index as u32 * 3000, marker: i + 1 == count, payload, arrived_ns: number },
                ));
            }
        }
        out
    }

    fn feed(assembler: &mut Assembler, now: Instant, packets: &[(u64, Packet)]) -> (Vec<Frame>, bool) {
        let mut frames = Vec::new();
        let mut want_key = false;
        for (number, packet) in packets {
            let out = assembler.handle_packet(now, *number, packet.clone());
            frames.extend(out.frames);
            want_key |= out.want_key;
        }
        (frames, want_key)
    }

    #[test]
    fn whole_frames_come_out_at_once() {
        let mut assembler = Assembler::new();
        let (frames, want_key) = feed(&mut assembler, Instant::now(), &stream(&[5000, 300, 2000]));
        assert_eq!(
            frames.iter().map(|f| f.payload.clone()).collect::<Vec<_>>(),
            [frame(5000, true), frame(300, false), frame(2000, false)]
        );
        assert!(frames[0].key && !frames[1].key && !want_key && frames.iter().all(|f| !f.gap));
        assert_eq!(frames[0].arrived_ns, 70_000);
        assert_eq!(assembler.deadline(), None);
    }

    #[test]
    fn a_packet_that_is_repaired_in_time_leaves_no_trace() {
        let mut assembler = Assembler::new();
        let mut packets = stream(&[5000, 300]);
        let lost = packets.remove(2);
        let now = Instant::now();
        let (frames, _) = feed(&mut assembler, now, &packets);
        assert!(frames.is_empty() && assembler.deadline().is_some());
        let (frames, want_key) = feed(&mut assembler, now, &[lost]);
        assert_eq!(frames.len(), 2);
        assert!(!want_key && frames.iter().all(|f| !f.gap) && assembler.deadline().is_none());
    }

    #[test]
    fn a_packet_lost_for_good_costs_its_frame_only() {
        let mut assembler = Assembler::new();
        let mut packets = stream(&[3000, 5000, 300, 400]);
        packets.remove(4);
        let now = Instant::now();
        assert_eq!(feed(&mut assembler, now, &packets).0.len(), 1);
        let deadline = assembler.deadline().unwrap();
        assert!(assembler.handle_timeout(now).frames.is_empty());
        let out = assembler.handle_timeout(deadline);
        assert!(out.want_key);
        assert_eq!(out.frames.iter().map(|f| (f.timestamp, f.gap)).collect::<Vec<_>>(), [(6000, true), (9000, false)]);
        assert_eq!(assembler.deadline(), None);
    }

    #[test]
    fn the_first_packet_of_a_frame_lost_for_good_drops_that_frame() {
        let mut assembler = Assembler::new();
        let mut packets = stream(&[3000, 5000, 300]);
        packets.remove(3);
        let now = Instant::now();
        assert_eq!(feed(&mut assembler, now, &packets).0.len(), 1);
        let out = assembler.handle_timeout(now + PATIENCE.1);
        assert_eq!(out.frames.iter().map(|f| f.timestamp).collect::<Vec<_>>(), [6000]);
    }

    #[test]
    fn whole_lost_frames_do_not_cost_the_next_one() {
        let mut assembler = Assembler::new();
        let mut packets = stream(&[300, 300, 5000]);
        packets.remove(1);
        let now = Instant::now();
        assert_eq!(feed(&mut assembler, now, &packets).0.len(), 1);
        let out = assembler.handle_timeout(now + PATIENCE.1);
        assert_eq!(out.frames.iter().map(|f| (f.timestamp, f.gap)).collect::<Vec<_>>(), [(6000, true)]);
    }

    #[test]
    fn duplicates_and_late_packets_change_nothing() {
        let mut assembler = Assembler::new();
        let packets = stream(&[5000, 300]);
        let now = Instant::now();
        let twice: Vec<_> = packets.iter().flat_map(|p| [p.clone(), p.clone()]).chain(packets.clone()).collect();
        assert_eq!(feed(&mut assembler, now, &twice).0.len(), 2);
        assert_eq!((assembler.held.len(), assembler.bytes), (0, 0));
    }

    #[test]
    fn an_endless_frame_is_given_up() {
        let mut assembler = Assembler::new();
        let now = Instant::now();
        let mut wanted = false;
        for number in 0..10_000 {
            let payload = Bytes::from(vec![0x1c, if number == 0 { 0x85 } else { 0x05 }, 1, 2, 3]);
            let out =
                assembler.handle_packet(now, number, Packet { timestamp: 1, marker: false, payload, arrived_ns: 0 });
            assert!(out.frames.is_empty());
            wanted |= out.want_key;
        }
        assert!(wanted && assembler.held.len() <= MAX_PACKETS);
    }

    #[test]
    fn numbers_grow_past_sixteen_bits() {
        let mut extended = Extended::default();
        let (first, _) = extended.number(65_534);
        assert_eq!(extended.number(65_535), (first + 1, false));
        assert_eq!(extended.number(1), (first + 3, false));
        assert_eq!(extended.number(0), (first + 2, false));
        let (_, far) = extended.number(20_000);
        assert!(far);
        let anew = extended.restart(7);
        assert_eq!((anew & 0xffff, extended.number(8)), (7, (anew + 1, false)));
    }

    proptest! {
        #[test]
        fn any_order_within_patience_gives_every_frame(order in Just(()).prop_perturb(|(), mut rng| {
            let mut order: Vec<usize> = (1..20).collect();
            for i in (1..order.len()).rev() { order.swap(i, (rng.next_u32() as usize) % (i + 1)); }
            order
        })) {
            let mut assembler = Assembler::new();
            let packets = stream(&[5000, 300, 2500, 400, 1500, 600, 2500]);
            let now = Instant::now();
            // The first packet comes first: the stream begins with what is seen first.
            let mut mixed = vec![packets[0].clone()];
            mixed.extend(order.iter().filter_map(|i| packets.get(*i).cloned()));
            mixed.extend(packets.iter().skip(20).cloned());
            let (frames, want_key) = feed(&mut assembler, now, &mixed);
            prop_assert_eq!(frames.len(), 7);
            prop_assert!(!want_key && frames.is_sorted_by_key(|f| f.sequence));
        }

        #[test]
        fn hostile_packets_stay_within_bounds(packets in prop::collection::vec(
            (0_u64..6000, 0_u32..50, any::<bool>(), prop::collection::vec(any::<u8>(), 0..40), 0_u64..300), 0..400)
        ) {
            let mut assembler = Assembler::new();
            let start = Instant::now();
            for (number, timestamp, marker, payload, ms) in packets {
                let now = start + Duration::from_millis(ms);
                assembler.handle_packet(now, number, Packet { timestamp, marker, payload: payload.into(), arrived_ns: 0 });
                assembler.handle_timeout(now);
                prop_assert!(assembler.held.len() <= MAX_PACKETS);
                prop_assert_eq!(assembler.bytes, assembler.held.values().map(|p| p.payload.len()).sum::<usize>());
            }
        }
    }
}
