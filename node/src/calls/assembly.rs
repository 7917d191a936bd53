//! From RTP packets of video to access units, in order, with bounded patience.
//!
//! A missing packet is waited for (somebody asks for it, see [`super::nack`]). Meanwhile:
//! - a frame that no other refers to is passed over if it cannot come in time for its moment: nothing freezes;
//! - any other frame holds up what comes after it. The picture stands still, never shows damage. Shortly before that
//!   would take 300 ms, a key frame is wanted;
//! - a whole key frame ends all waiting: what is missing before it is worth nothing any more.
//!
//! Everything is bounded: packets held, bytes of a frame, and how far a sequence number may jump before the stream
//! counts as begun anew. Audio does not come through here: it is passed on as it arrives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::h264::{self, Start};

/// Packets held while something is missing before them: more than the largest frame has, and few enough to be looked
/// through at each one.
const MAX_PACKETS: usize = 1024;
/// Largest access unit with its frame header, as the local API takes it.
const MAX_FRAME: usize = twocan_control::media::MAX_FRAME_LEN - twocan_control::media::HEADER_LEN;
/// Bytes held together.
const MAX_BYTES: usize = 2 * MAX_FRAME;
/// A jump of sequence numbers beyond this is a new beginning, not a loss.
const MAX_JUMP: u64 = 4096;
/// So long may the picture stand still.
const FREEZE: Duration = Duration::from_millis(300);
/// What a key frame takes beyond the round trip: until the next picture is taken, to encode, to send.
const KEY_TAKES: Duration = Duration::from_millis(70);
/// Longest wait before a key frame is wanted, however long the path is.
const MAX_PATIENCE: Duration = Duration::from_millis(450);
/// A key frame that does not come is wanted again.
const KEY_AGAIN: Duration = Duration::from_millis(250);
/// After this nothing is waited for any more.
const END: Duration = Duration::from_millis(1500);
/// A frame that no other refers to is waited for at most so long: its sound is not heard later than that either.
const MAX_SKIP: Duration = Duration::from_millis(45);

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
    /// Frames that were passed over because nobody needs them.
    pub(super) skipped: u64,
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
    hole: Option<Hole>,
    /// `frame_num` of the last frame handed on that others refer to; `None` if it is not known or one was lost.
    reference: Option<u32>,
    /// Width of `frame_num` in bits.
    bits: Option<u32>,
    skip_after: Duration,
    key_after: Duration,
}

/// Something is missing at the front.
#[derive(Clone, Copy, Debug)]
struct Hole {
    since: Instant,
    /// When a key frame is to be wanted next.
    key_at: Instant,
    /// A whole frame after it that needs nothing of what is missing: its first number.
    beyond: Option<u64>,
}

impl Assembler {
    pub(super) fn new() -> Self {
        Self {
            held: BTreeMap::new(),
            bytes: 0,
            next: None,
            done: None,
            gap: false,
            hole: None,
            reference: None,
            bits: None,
            skip_after: MAX_SKIP,
            key_after: FREEZE - 2 * KEY_TAKES,
        }
    }

    /// What repairs take on this path, and how much later than those after it a packet may come.
    pub(super) fn set_path(&mut self, round_trip: Duration, repair: Duration, disorder: Duration) {
        let repaired = repair + disorder;
        self.skip_after = if repaired + Duration::from_millis(8) <= MAX_SKIP {
            repaired + Duration::from_millis(8)
        } else {
            disorder.min(MAX_SKIP)
        };
        // In time for the key frame to come before the picture has stood still for too long; but one repair is
        // awaited in any case.
        let in_time = FREEZE.saturating_sub(round_trip + KEY_TAKES);
        self.key_after = in_time.max(repaired * 5 / 4 + 2 * disorder).min(MAX_PATIENCE);
    }

    /// Forgets everything; what comes next is a new beginning.
    pub(super) fn reset(&mut self) {
        *self = Self { skip_after: self.skip_after, key_after: self.key_after, gap: true, ..Self::new() };
    }

    /// Packets before this number are of no use.
    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    /// When [`Self::handle_timeout`] wants to be called, if at all.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let hole = self.hole?;
        let skip = hole.beyond.map(|_| hole.since + self.skip_after);
        [Some(hole.key_at), Some(hole.since + END), skip].into_iter().flatten().min()
    }

    /// Takes a packet in.
    pub(super) fn handle_packet(&mut self, now: Instant, number: u64, packet: Packet) -> Output {
        let mut out = Output::default();
        if self.next.is_some_and(|next| number < next) {
            return out;
        }
        if self.next.is_none() && packet.payload.is_empty() {
            // The first picture begins after it.
            self.next = Some(number + 1);
            return out;
        }
        // Padding has no payload here, but a number like any other packet.
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

    /// Wants a key frame, passes over what nobody needs, gives up on what has been missing for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Output {
        let mut out = Output::default();
        while let Some(hole) = self.hole {
            if let Some(beyond) = hole.beyond.filter(|_| hole.since + self.skip_after <= now) {
                self.jump(beyond);
                out.skipped += 1;
            } else if hole.since + END <= now {
                self.give_up(&mut out);
            } else {
                break;
            }
            self.drain(now, &mut out);
        }
        if let Some(hole) = self.hole.as_mut().filter(|hole| hole.key_at <= now) {
            hole.key_at = now + KEY_AGAIN;
            out.want_key = true;
        }
        out
    }

    /// Hands on whole frames from the front.
    fn drain(&mut self, now: Instant, out: &mut Output) {
        loop {
            self.drain_front(out);
            // A hole is a missing number with something after it.
            let open = self.next.is_some_and(|next| {
                self.held.last_key_value().is_some_and(|(last, _)| last - next + 1 != self.held.len() as u64)
            });
            if !open {
                self.hole = None;
                return;
            }
            let hole = self.hole.get_or_insert(Hole { since: now, key_at: now + self.key_after, beyond: None });
            let since = hole.since;
            match self.beyond() {
                Some((first, true)) => self.jump(first),
                found => {
                    let beyond = found.map(|(first, _)| first);
                    self.hole = self.hole.map(|hole| Hole { since, beyond, ..hole });
                    return;
                }
            }
        }
    }

    fn drain_front(&mut self, out: &mut Output) {
        while let Some(next) = self.next {
            let Some(first) = self.held.get(&next) else { break };
            if first.payload.is_empty() {
                self.held.remove(&next);
                self.next = Some(next + 1);
                continue;
            }
            let timestamp = first.timestamp;
            let mut end = None;
            let mut expected = next;
            for (&number, packet) in self.held.range(next..) {
                if number != expected {
                    break;
                }
                if packet.payload.is_empty() {
                    expected += 1;
                    continue;
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
    }

    fn hand_on(&mut self, first: u64, end: u64, timestamp: u32, out: &mut Output) {
        let rest = self.held.split_off(&end);
        let packets = std::mem::replace(&mut self.held, rest);
        self.bytes -= packets.values().map(|packet| packet.payload.len()).sum::<usize>();
        self.next = Some(end);
        self.hole = None;
        if self.done == Some(timestamp) {
            return;
        }
        self.done = Some(timestamp);
        let arrived_ns = packets.values().map(|packet| packet.arrived_ns).min().unwrap_or(0);
        let payloads = packets.values().map(|packet| &packet.payload[..]).filter(|payload| !payload.is_empty());
        match h264::depacketize(payloads, MAX_FRAME) {
            Some(unit) => {
                self.follow(h264::access_unit(&unit.bytes, self.bits));
                out.frames.push(Frame {
                    sequence: first,
                    timestamp,
                    arrived_ns,
                    key: unit.key,
                    layer: unit.layer,
                    gap: std::mem::take(&mut self.gap),
                    payload: unit.bytes,
                });
            }
            None => {
                self.gap = true;
                self.reference = None;
                out.want_key = true;
            }
        }
    }

    /// Remembers where in the chain of references the stream is.
    fn follow(&mut self, start: Option<Start>) {
        let Some(start) = start else {
            self.reference = None;
            return;
        };
        self.bits = start.bits.or(self.bits);
        if start.key {
            self.reference = start.frame_num;
        } else if start.reference {
            let continues = start.frame_num.is_some() && start.frame_num == self.following();
            self.reference = start.frame_num.filter(|_| continues);
        }
    }

    /// `frame_num` of a frame that can be decoded now (7.4.3: every frame after one that is referred to counts one up).
    fn following(&self) -> Option<u32> {
        Some((self.reference? + 1) & ((1_u32 << self.bits?) - 1))
    }

    /// The first whole frame after the hole that needs nothing of what is missing, or a later key frame; the second
    /// value tells that it is a key frame.
    fn beyond(&self) -> Option<(u64, bool)> {
        let mut found = None;
        // First number, timestamp, and whether the frame could be decoded.
        let mut run: Option<(u64, u32, Start)> = None;
        let mut before: Option<(u64, bool)> = None;
        for (&number, packet) in &self.held {
            if packet.payload.is_empty() {
                before = before.filter(|(last, _)| last + 1 == number).map(|(_, marker)| (number, marker));
                continue;
            }
            let follows = before.is_some_and(|(last, _)| last + 1 == number);
            let goes_on = follows && run.is_some_and(|(_, timestamp, _)| timestamp == packet.timestamp);
            if !goes_on {
                run = h264::start(&packet.payload, self.bits)
                    .filter(|_| self.done != Some(packet.timestamp))
                    .map(|start| (number, packet.timestamp, start));
            }
            if packet.marker
                && let Some((first, _, start)) = run.take()
                && Some(first) != self.next
            {
                if start.key {
                    return Some((first, true));
                }
                if found.is_none() && start.frame_num.is_some() && start.frame_num == self.following() {
                    found = Some((first, false));
                }
            }
            before = Some((number, packet.marker));
        }
        found
    }

    /// Goes on at this number; what is before it is dropped.
    fn jump(&mut self, first: u64) {
        self.held = self.held.split_off(&first);
        self.bytes = self.held.values().map(|packet| packet.payload.len()).sum();
        self.next = Some(first);
        self.gap = true;
        self.hole = None;
    }

    /// Drops the frame that cannot be completed, and goes to the first packet that may begin another one.
    fn give_up(&mut self, out: &mut Output) {
        self.gap = true;
        self.reference = None;
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
        self.hole = None;
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
mod tests;
