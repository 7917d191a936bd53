//! The receiving half of one video stream, without sockets and clocks: numbers, what to ask for, and whole frames.
//!
//! Pure, so that a simulation can drive it through lossy links in virtual time (`twocan-tests`, `picture`); the same
//! code runs in every call. [`Link`] is the sending half of the simulation: the packets of a frame, and what the
//! responder sends again.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::assembly::{Assembler, Extended, Frame, Packet};
use super::h264;
use super::nack::{Requester, Store};

/// A packet of video on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoPacket {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// Last packet of its frame.
    pub marker: bool,
    /// RTP payload.
    pub payload: Bytes,
    /// `CLOCK_MONOTONIC` nanoseconds of its arrival.
    pub arrived_ns: u64,
}

/// A whole access unit that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeFrame {
    /// Extended sequence number of its first packet.
    pub sequence: u64,
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// When its first packet came.
    pub arrived_ns: u64,
    /// It needs no other.
    pub key: bool,
    /// 1 if no other refers to it, else 0.
    pub layer: u8,
    /// Something is missing before it.
    pub gap: bool,
    /// Numbers or timestamps began anew before it.
    pub restart: bool,
    /// Annex B bytes.
    pub payload: Bytes,
}

/// What to do after a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Whole frames, in order.
    pub frames: Vec<WholeFrame>,
    /// Sequence numbers to ask the sender for.
    pub ask: Vec<u16>,
    /// A key frame is needed.
    pub want_key: bool,
    /// The extended number of the packet that came, and whether the stream began anew with it.
    pub number: Option<(u64, bool)>,
}

/// What happened to a stream so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureCounts {
    /// Requests for a packet.
    pub asked: u64,
    /// Packets that came after a request.
    pub repaired: u64,
    /// Packets that never came, or too late.
    pub given_up: u64,
    /// Whole frames of layer 0 and 1.
    pub layers: [u64; 2],
    /// Frames passed over because no other needs them.
    pub skipped: u64,
    /// Key frames wanted.
    pub keys_wanted: u64,
    /// Key frames that came.
    pub keys: u64,
}

/// Puts one stream together and says what is to be asked for.
#[derive(Debug)]
pub struct PictureIn {
    extended: Extended,
    source: Option<u32>,
    assembler: Assembler,
    requester: Requester,
    restarted: bool,
    counts: PictureCounts,
}

impl Default for PictureIn {
    fn default() -> Self {
        Self::new()
    }
}

impl PictureIn {
    /// Waits for its first packet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            extended: Extended::default(),
            source: None,
            assembler: Assembler::new(),
            requester: Requester::new(),
            restarted: false,
            counts: PictureCounts::default(),
        }
    }

    /// The path's round trip, as it is known now.
    pub fn set_round_trip(&mut self, round_trip: Duration) {
        self.requester.set_round_trip(round_trip);
        self.assembler.set_path(round_trip, self.requester.repair_time(), self.requester.wait());
    }

    /// Counters since the start.
    #[must_use]
    pub fn counts(&self) -> PictureCounts {
        let asked = self.requester.counts();
        PictureCounts { asked: asked.requests, repaired: asked.repaired, given_up: asked.given_up, ..self.counts }
    }

    /// Takes a packet of the source `ssrc` in.
    pub fn handle_packet(&mut self, now: Instant, ssrc: u32, packet: VideoPacket) -> Step {
        let (mut number, mut far) = self.extended.number(packet.sequence);
        far |= self.source.replace(ssrc).is_some_and(|before| before != ssrc);
        if far {
            number = self.extended.restart(packet.sequence);
            self.assembler.reset();
            self.requester.reset();
            self.restarted = true;
        }
        let padding = h264::is_filler(&packet.payload);
        let repairable = self.requester.handle_packet(now, number, packet.marker || padding);
        let packet = Packet {
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload: if padding { Bytes::new() } else { packet.payload },
            arrived_ns: packet.arrived_ns,
        };
        let mut output = self.assembler.handle_packet(now, number, packet);
        output.want_key |= !repairable;
        let mut step = self.step(now, output);
        step.number = Some((number, far));
        step
    }

    /// When [`Self::handle_timeout`] wants to be called, if at all.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        [self.assembler.deadline(), self.requester.deadline()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Step {
        let output = self.assembler.handle_timeout(now);
        self.step(now, output)
    }

    fn step(&mut self, now: Instant, output: super::assembly::Output) -> Step {
        if let Some(next) = self.assembler.next() {
            self.requester.forget_before(next);
        }
        let ask: Vec<u16> = self.requester.due(now).into_iter().map(|number| number as u16).collect();
        self.counts.skipped += output.skipped;
        self.counts.keys_wanted += u64::from(output.want_key);
        let frames = output.frames.into_iter().map(|frame| self.whole(frame)).collect();
        Step { frames, ask, want_key: output.want_key, number: None }
    }

    fn whole(&mut self, frame: Frame) -> WholeFrame {
        self.counts.keys += u64::from(frame.key);
        self.counts.layers[usize::from(frame.layer.min(1))] += 1;
        WholeFrame {
            sequence: frame.sequence,
            timestamp: frame.timestamp,
            arrived_ns: frame.arrived_ns,
            key: frame.key,
            layer: frame.layer,
            gap: frame.gap,
            restart: std::mem::take(&mut self.restarted),
            payload: frame.payload,
        }
    }
}

/// The sending half of a simulated stream: packets of frames, and answers to requests.
#[derive(Debug, Default)]
pub struct Link {
    sequence: u16,
    store: Store<VideoPacket>,
}

impl Link {
    /// The packets of a frame.
    pub fn frame(&mut self, now: Instant, timestamp: u32, access_unit: &Bytes) -> Vec<VideoPacket> {
        let payloads = h264::packetize(access_unit);
        let last = payloads.len().saturating_sub(1);
        let packets = payloads.into_iter().enumerate().map(|(at, payload)| {
            let sequence = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
            VideoPacket { sequence, timestamp, marker: at == last, payload, arrived_ns: 0 }
        });
        let packets: Vec<VideoPacket> = packets.collect();
        for packet in &packets {
            self.store.keep(now, packet.sequence, packet.payload.len() + 20, packet.clone());
        }
        packets
    }

    /// What is sent again of what was asked for; `rate` is what the path carries, bits per second.
    pub fn asked(&mut self, now: Instant, round_trip: Duration, rate: u64, numbers: &[u16]) -> Vec<VideoPacket> {
        numbers.iter().filter_map(|number| self.store.answer(now, round_trip, rate, *number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn unit(size: usize, key: bool) -> Bytes {
        let mut out = vec![0, 0, 0, 1, if key { 0x65 } else { 0x41 }];
        out.extend((0..size).map(|i| (i % 250 + 1) as u8));
        Bytes::from(out)
    }

    #[test]
    fn a_lost_packet_is_asked_for_and_its_repair_leaves_no_trace() {
        let (mut link, mut picture, start) = (Link::default(), PictureIn::new(), Instant::now());
        picture.set_round_trip(20 * MS);
        let mut packets = link.frame(start, 0, &unit(5000, true));
        let lost = packets.remove(2);
        let mut frames = 0;
        for packet in packets {
            frames += picture.handle_packet(start, 1, packet).frames.len();
        }
        let at = picture.deadline().unwrap();
        let step = picture.handle_timeout(at);
        assert_eq!((frames, step.frames.len(), step.ask.as_slice()), (0, 0, &[lost.sequence][..]));
        let mut again = link.asked(at + 10 * MS, 20 * MS, 1_000_000, &step.ask);
        let step = picture.handle_packet(at + 20 * MS, 1, again.remove(0));
        assert!(step.frames.len() == 1 && !step.frames[0].gap && !step.want_key);
        assert_eq!(picture.deadline(), None);
        let counts = picture.counts();
        assert_eq!((counts.asked, counts.repaired, counts.given_up, counts.keys), (1, 1, 0, 1));
    }

    #[test]
    fn another_source_is_a_new_beginning() {
        let (mut link, mut picture, start) = (Link::default(), PictureIn::new(), Instant::now());
        let first = link.frame(start, 0, &unit(50, true)).remove(0);
        assert!(!picture.handle_packet(start, 1, first.clone()).frames[0].restart);
        let step = picture.handle_packet(start, 2, VideoPacket { sequence: 40_000, timestamp: 9, ..first });
        assert!(step.frames[0].restart && step.number.unwrap().1);
    }

    proptest! {
        #[test]
        fn hostile_streams_cost_bounded_requests(packets in prop::collection::vec(
            (any::<u16>(), 0_u32..9, any::<bool>(), prop::collection::vec(any::<u8>(), 0..30), 0_u64..40, 0_u32..2), 0..300)
        ) {
            let (mut picture, mut now) = (PictureIn::new(), Instant::now());
            let mut asked = 0;
            for (sequence, timestamp, marker, payload, ms, ssrc) in packets {
                now += Duration::from_millis(ms);
                let packet = VideoPacket { sequence, timestamp, marker, payload: payload.into(), arrived_ns: 0 };
                asked += picture.handle_packet(now, ssrc, packet).ask.len();
                asked += picture.handle_timeout(now).ask.len();
            }
            prop_assert!(asked <= 300 * 200);
        }
    }
}
