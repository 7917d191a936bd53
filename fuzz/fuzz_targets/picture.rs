//! Video of a hostile peer: packets with any number, time and payload into the receiving half. Never a panic; requests and
//! frames stay within bounds, and frames come in order.
#![no_main]

// What is looked at is built from its own files: the node's other dependencies would take minutes, and add nothing.
#[path = "../../node/src/calls"]
mod calls {
    pub(crate) mod assembly;
    pub(crate) mod h264;
    pub(crate) mod nack {
        pub(crate) mod requester;
        pub(crate) mod store;
        pub(super) use requester::Requester;
        pub(super) use store::Store;
    }
    #[expect(dead_code, reason = "the node uses more of it than this target")]
    pub(crate) mod picture;
}

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::Bytes;
use calls::picture::{Link, PictureIn, VideoPacket};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    /// A packet: steps of number and time, marker, source, payload.
    Packet(i8, u8, bool, bool, Vec<u8>),
    /// A packet from far away.
    Far(u16, u32, Vec<u8>),
    /// A whole frame of an honest packetizer, of which some packets are lost.
    Frame(Vec<u8>, u8),
    Pass(u8),
    RoundTrip(u16),
    Ask(Vec<u16>),
}

fuzz_target!(|steps: Vec<Step>| {
    let (mut picture, mut link) = (PictureIn::new(), Link::default());
    let mut now = Instant::now();
    let (mut sequence, mut timestamp, mut last) = (0_u16, 0_u32, None);
    for step in steps.into_iter().take(300) {
        let mut packets = Vec::new();
        let mut source = 1;
        match step {
            Step::Packet(number, time, marker, other, payload) => {
                sequence = sequence.wrapping_add_signed(number.into());
                timestamp = timestamp.wrapping_add(u32::from(time) * 3000);
                source += u32::from(other);
                packets.push(VideoPacket { sequence, timestamp, marker, payload: payload.into(), arrived_ns: 0 });
            }
            Step::Far(number, time, payload) => {
                (sequence, timestamp) = (number, time);
                packets.push(VideoPacket { sequence, timestamp, marker: true, payload: payload.into(), arrived_ns: 0 });
            }
            Step::Frame(unit, lost) => {
                timestamp = timestamp.wrapping_add(3000);
                packets = link.frame(now, timestamp, &Bytes::from(unit));
                let mut at = 0;
                packets.retain(|_| {
                    at += 1;
                    lost >> (at % 8) & 1 == 0
                });
            }
            Step::Pass(ms) => now += Duration::from_millis(ms.into()),
            Step::RoundTrip(ms) => picture.set_round_trip(Duration::from_millis(ms.into())),
            Step::Ask(numbers) => {
                let again = link.asked(now, Duration::from_millis(20), 1_000_000, &numbers);
                assert!(again.len() <= numbers.len());
            }
        }
        let mut frames = Vec::new();
        for packet in packets {
            let step = picture.handle_packet(now, source, packet);
            assert!(step.ask.len() <= 128);
            frames.extend(step.frames);
        }
        let step = picture.handle_timeout(now);
        assert!(step.ask.len() <= 128);
        frames.extend(step.frames);
        for frame in frames {
            assert!(frame.payload.len() <= 1 << 20);
            let counts = picture.counts();
            assert!(counts.repaired <= counts.asked);
            assert!(last.replace(frame.sequence).is_none_or(|before| before < frame.sequence));
        }
    }
});
