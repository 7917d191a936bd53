//! The assembler against loss, disorder, floods and nonsense.

use super::*;
use proptest::prelude::*;

/// A sequence parameter set as openh264 writes it.
const SETS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40];

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
fn a_frame_that_others_refer_to_holds_up_what_follows_until_a_key_frame_ends_the_wait() {
    let mut assembler = Assembler::new();
    let now = Instant::now();
    let mut packets = stream(&[3000, 5000, 300, 400]);
    let key = packets.len() as u64 + 70_000;
    packets.remove(4);
    assert_eq!(feed(&mut assembler, now, &packets).0.len(), 1);
    assert_eq!(assembler.deadline(), Some(now + assembler.key_after));
    assert!(!assembler.handle_timeout(now + assembler.key_after - Duration::from_millis(1)).want_key);
    let out = assembler.handle_timeout(now + assembler.key_after);
    assert!(out.want_key && out.frames.is_empty());
    assert!(!assembler.handle_timeout(now + assembler.key_after).want_key, "not at every look");
    // With its parameter sets before it.
    let unit = Bytes::from([&[0, 0, 0, 1][..], SETS, &frame(3000, true)].concat());
    let payloads = h264::packetize(&unit);
    let last = payloads.len() - 1;
    let key_packets: Vec<_> = payloads
        .into_iter()
        .enumerate()
        .map(|(at, payload)| {
            (key + at as u64, Packet { timestamp: 99_000, marker: at == last, payload, arrived_ns: 0 })
        })
        .collect();
    let (frames, want_key) = feed(&mut assembler, now, &key_packets);
    assert_eq!(frames.iter().map(|f| (f.key, f.gap, f.timestamp)).collect::<Vec<_>>(), [(true, true, 99_000)]);
    assert!(!want_key && assembler.deadline().is_none() && assembler.held.is_empty());
}

#[test]
fn after_the_last_deadline_the_next_whole_frame_is_handed_on() {
    for lost in [3, 4] {
        let mut assembler = Assembler::new();
        let mut packets = stream(&[3000, 5000, 300, 400]);
        packets.remove(lost);
        let now = Instant::now();
        assert_eq!(feed(&mut assembler, now, &packets).0.len(), 1);
        let out = assembler.handle_timeout(now + END);
        assert!(out.want_key);
        assert_eq!(out.frames.iter().map(|f| (f.timestamp, f.gap)).collect::<Vec<_>>(), [(6000, true), (9000, false)]);
        assert_eq!(assembler.deadline(), None);
    }
}

#[test]
fn whole_lost_frames_do_not_cost_the_next_one() {
    let mut assembler = Assembler::new();
    let mut packets = stream(&[300, 300, 5000]);
    packets.remove(1);
    let now = Instant::now();
    assert_eq!(feed(&mut assembler, now, &packets).0.len(), 1);
    let out = assembler.handle_timeout(now + END);
    assert_eq!(out.frames.iter().map(|f| (f.timestamp, f.gap)).collect::<Vec<_>>(), [(6000, true)]);
}

/// A frame of one packet, numbered as H.264 does it, in a stream whose `frame_num` has 4 bits.
fn numbered(number: u64, frame_num: u8, header: u8) -> (u64, Packet) {
    let body = if header == 0x65 {
        // Sets with 4 bits of frame_num, then first_mb 0, slice_type 7, pps 0, frame_num 0.
        let sets = [0x67, 0x42, 0xc0, 0x1f, 0b1111_0000];
        let slice = [0x65, 0b1000_1000, 0b1000_0111, 0x55];
        [&[0x78, 0, 5][..], &sets, &[0, 4], &slice].concat()
    } else {
        // first_mb 0, slice_type 5, pps 0, frame_num.
        vec![header, 0b1001_1010 | frame_num >> 3, frame_num << 5 | 0x11, 0x55]
    };
    let payload = Bytes::from(body);
    (number, Packet { timestamp: number as u32 * 3000, marker: true, payload, arrived_ns: number })
}

#[test]
fn a_lost_frame_that_nobody_refers_to_is_passed_over_soon() {
    let mut assembler = Assembler::new();
    assembler.set_path(Duration::from_millis(20), Duration::from_millis(20), Duration::from_millis(2));
    let now = Instant::now();
    let frames = [numbered(70_000, 0, 0x65), numbered(70_002, 1, 0x41), numbered(70_003, 2, 0x01)];
    assert_eq!(feed(&mut assembler, now, &frames).0.len(), 1, "its repair would be in time");
    let at = assembler.deadline().unwrap();
    assert!(at <= now + MAX_SKIP);
    let out = assembler.handle_timeout(at);
    assert_eq!((out.frames.len(), out.skipped, out.want_key), (2, 1, false));
    assert!(out.frames[0].gap && out.frames[1].layer == 1);
    // A path that is too long for repairs is not waited for.
    assembler.set_path(Duration::from_millis(150), Duration::from_millis(150), Duration::from_millis(2));
    assert_eq!(feed(&mut assembler, now, &[numbered(70_005, 2, 0x41)]).0.len(), 0);
    assert_eq!(assembler.deadline(), Some(now + Duration::from_millis(2)));
}

#[test]
fn a_lost_frame_that_others_refer_to_is_not_passed_over() {
    let mut assembler = Assembler::new();
    let now = Instant::now();
    let frames = [numbered(70_000, 0, 0x65), numbered(70_002, 2, 0x41), numbered(70_003, 3, 0x41)];
    assert_eq!(feed(&mut assembler, now, &frames).0.len(), 1);
    let out = assembler.handle_timeout(now + MAX_SKIP);
    assert!(out.frames.is_empty() && assembler.deadline() > Some(now + MAX_SKIP));
    assert_eq!(feed(&mut assembler, now + MAX_SKIP, &[numbered(70_001, 1, 0x41)]).0.len(), 3);
}

#[test]
fn of_a_first_picture_after_padding_nothing_is_missed() {
    let mut assembler = Assembler::new();
    let now = Instant::now();
    let mut packets = stream(&[3000]);
    let first = packets.remove(0);
    let padding = (69_999, Packet { timestamp: 1, marker: false, payload: Bytes::new(), arrived_ns: 0 });
    let (frames, want_key) = feed(&mut assembler, now, &[&[padding][..], &packets].concat());
    assert!(frames.is_empty() && !want_key && assembler.deadline().is_some());
    assert_eq!(feed(&mut assembler, now, &[first]).0.len(), 1);
}

#[test]
fn padding_closes_its_place_in_the_numbers_in_any_order() {
    let mut assembler = Assembler::new();
    let now = Instant::now();
    let padding = |number| (number, Packet { timestamp: 1, marker: false, payload: Bytes::new(), arrived_ns: 0 });
    let (first, second) = (numbered(70_000, 0, 0x65), numbered(70_003, 1, 0x41));
    let (frames, _) = feed(&mut assembler, now, &[first, padding(70_002), second, padding(70_001)]);
    assert_eq!(frames.len(), 2);
    assert_eq!((assembler.deadline(), assembler.held.len(), assembler.bytes), (None, 0, 0));
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
        let out = assembler.handle_packet(now, number, Packet { timestamp: 1, marker: false, payload, arrived_ns: 0 });
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
