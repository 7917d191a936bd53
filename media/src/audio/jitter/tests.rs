//! The jitter buffer against simulated networks: time and chance are arguments, so minutes run in milliseconds.

use super::*;
use crate::audio::AudioSettings;
use crate::audio::codec::{CodecError, LOOKAHEAD, OpusDecoder, OpusEncoder, VoiceEncoder};
use crate::audio::sender::VoiceSender;
use crate::audio::synth::{Speech, Synth};
use crate::measure::DelayProbe;
use proptest::prelude::*;

/// Decodes packets of [`packet_of`] to their number, the copy in them to the number before, nothing to -1.
struct Numbers;

impl VoiceDecoder for Numbers {
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<usize, CodecError> {
        let samples = packet::duration(packet)?;
        out.resize(out.len() + samples, number_in(packet));
        Ok(samples)
    }

    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        out.resize(out.len() + samples, number_in(next) - 1.0);
        Ok(samples)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        out.resize(out.len() + samples, -1.0);
        Ok(samples)
    }
}

/// A SILK packet of 20 ms with a copy of the one before.
fn packet_of(number: u32) -> Vec<u8> {
    let mut packet = vec![9 << 3, 0x40];
    packet.extend(number.to_be_bytes());
    packet
}

fn number_in(packet: &[u8]) -> f32 {
    packet.get(2..6).and_then(|bytes| bytes.try_into().ok()).map_or(0.0, |bytes| u32::from_be_bytes(bytes) as f32)
}

struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
    }
}

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

/// A path: packet number and chance to the time on the way in ms, or lost.
type Path = dyn Fn(u32, &mut Random) -> Option<f64>;

struct Outcome {
    stats: JitterStats,
    /// First value of each 10 ms that was given out.
    heard: Vec<f32>,
    late_delay_ms: f64,
}

/// Sends numbered packets every 20 ms of the sender's clock (which runs `drift` times as fast) over the path.
fn simulate(seconds: u32, seed: u64, drift: f64, path: &Path) -> Outcome {
    let mut random = Random(seed);
    let mut arrivals: Vec<(u64, u32)> = (0..seconds * 50)
        .filter_map(|i| path(i, &mut random).map(|ms| (SECOND + ((f64::from(i) * 20.0 / drift + ms) * 1e6) as u64, i)))
        .collect();
    arrivals.sort_by_key(|(at, _)| *at);
    let mut buffer = JitterBuffer::new(Box::new(Numbers));
    let mut arrivals = arrivals.into_iter().peekable();
    let (mut heard, mut out, mut late_delay_ms) = (Vec::new(), [0.0; 480], 0.0);
    for tick in 0..u64::from(seconds) * 100 {
        let now = SECOND + 3 * MS + tick * 10 * MS;
        while let Some((at, i)) = arrivals.next_if(|(at, _)| *at <= now) {
            buffer.push(at, 77_000_u32.wrapping_add(i * 960), false, false, packet_of(i));
        }
        buffer.pull(now, &mut out);
        heard.push(out[0]);
        if tick == u64::from(seconds) * 50 {
            buffer.take_mean_delay();
        }
    }
    if let Some(mean) = buffer.take_mean_delay() {
        late_delay_ms = mean;
    }
    Outcome { stats: buffer.stats(), heard, late_delay_ms }
}

#[test]
fn a_clean_path_costs_the_least_delay_and_nothing_is_guessed() {
    let outcome = simulate(30, 1, 1.0, &|_, random| Some(2.0 + random.uniform()));
    assert_eq!(outcome.stats.concealed, 0);
    assert_eq!((outcome.stats.late, outcome.stats.refused, outcome.stats.restarts), (0, 0, 0));
    assert!((12.0..24.0).contains(&outcome.late_delay_ms), "{}", outcome.late_delay_ms);
    let mut numbers: Vec<f32> = outcome.heard.iter().copied().filter(|x| *x > 0.0).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] >= pair[0]), "played in order");
    numbers.dedup();
    assert!(numbers.len() > 1490, "{} of 1500 packets were heard", numbers.len());
}

#[test]
fn the_first_sound_is_given_out_soon_after_the_first_packet() {
    let mut buffer = JitterBuffer::new(Box::new(Numbers));
    let mut out = [0.0; 480];
    buffer.pull(SECOND, &mut out);
    buffer.push(SECOND + MS, 5, false, false, packet_of(9));
    let mut first = None;
    for tick in 1..10 {
        buffer.pull(SECOND + tick * 10 * MS, &mut out);
        if let Some(offset) = out.iter().position(|x| *x == 9.0) {
            first = Some(tick as f64 * 10.0 + ms(offset as i64));
            break;
        }
    }
    let after = first.expect("the packet is played") - 1.0;
    assert!((14.9..15.1).contains(&after), "first sound after {after} ms");
}

#[test]
fn jitter_is_absorbed_by_a_longer_delay() {
    let outcome = simulate(60, 2, 1.0, &|_, random| Some(5.0 + 40.0 * random.uniform()));
    assert!(outcome.stats.concealed_share() < 0.01, "{:?}", outcome.stats);
    assert!((40.0..80.0).contains(&outcome.late_delay_ms), "{}", outcome.late_delay_ms);
}

#[test]
fn disordered_packets_are_played_in_order() {
    // Every fifth packet takes 45 ms longer than the others.
    let outcome = simulate(30, 3, 1.0, &|i, _| Some(if i % 5 == 0 { 50.0 } else { 5.0 }));
    assert!(outcome.stats.concealed_share() < 0.01, "{:?}", outcome.stats);
    let numbers: Vec<f32> = outcome.heard.iter().copied().filter(|x| *x > 0.0).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] >= pair[0]));
}

#[test]
fn lost_packets_are_rebuilt_from_the_next_one() {
    let outcome = simulate(60, 4, 1.0, &|_, random| (random.uniform() > 0.05).then_some(5.0));
    let lost_share = 0.05;
    let recovered = outcome.stats.fec as f64 / outcome.stats.played as f64;
    assert!(recovered > lost_share * 0.85, "{:?}", outcome.stats);
    assert!(outcome.stats.concealed_share() < lost_share * 0.2, "{:?}", outcome.stats);
    assert!(outcome.late_delay_ms < 60.0, "{}", outcome.late_delay_ms);
}

#[test]
fn a_stall_loses_nothing_and_the_delay_comes_back() {
    // Once, 300 ms of packets wait and then come all at once.
    let outcome = simulate(20, 5, 1.0, &|i, _| {
        Some(if (250..265).contains(&i) { 305.0 - f64::from(i - 250) * 20.0 } else { 5.0 })
    });
    let mut numbers: Vec<f32> = outcome.heard.iter().copied().filter(|x| *x > 0.0).collect();
    numbers.dedup();
    let around: Vec<f32> = numbers.iter().copied().filter(|x| (245.0..270.0).contains(x)).collect();
    assert_eq!(around.len(), 25, "heard {around:?}");
    assert!(outcome.stats.shortened > 48 * 200, "{:?}", outcome.stats);
    assert!(outcome.late_delay_ms < 60.0, "{}", outcome.late_delay_ms);
}

#[test]
fn repeated_stalls_do_not_ruin_the_call() {
    let outcome = simulate(60, 6, 1.0, &|i, random| {
        let stall = if i % 250 < 10 { 200.0 - f64::from(i % 250) * 20.0 } else { 0.0 };
        (random.uniform() > 0.02).then_some(5.0 + stall.max(0.0) + 5.0 * random.uniform())
    });
    assert!(outcome.stats.concealed_share() < 0.06, "{:?}", outcome.stats);
}

#[test]
fn drifting_clocks_are_followed_both_ways() {
    for drift in [0.9995, 1.0005] {
        let outcome = simulate(120, 7, drift, &|_, random| Some(5.0 + 2.0 * random.uniform()));
        assert!(outcome.stats.concealed_share() < 0.002, "drift {drift}: {:?}", outcome.stats);
        assert!((15.0..40.0).contains(&outcome.late_delay_ms), "drift {drift}: {}", outcome.late_delay_ms);
    }
}

#[test]
fn clocks_that_drift_for_hours_neither_empty_the_buffer_nor_fill_it() {
    for drift in [0.9998, 1.0002] {
        let outcome = simulate(2 * 3600, 7, drift, &|_, random| Some(5.0 + 4.0 * random.uniform()));
        let stats = outcome.stats;
        // 200 millionths of two hours are 1.4 seconds of sound, all of which were cut out or said twice.
        let led = if drift > 1.0 { stats.shortened } else { stats.lengthened };
        assert!((48 * 1_350..48 * 1_700).contains(&led), "drift {drift}: {stats:?}");
        assert_eq!((stats.late, stats.restarts, stats.skipped), (0, 0, 0), "drift {drift}: {stats:?}");
        assert!(stats.concealed_share() < 1e-5, "drift {drift}: {stats:?}");
        assert!((12.0..35.0).contains(&outcome.late_delay_ms), "drift {drift}: {}", outcome.late_delay_ms);
        assert!(stats.level_ms < 60.0, "drift {drift}: {stats:?}");
    }
}

#[test]
fn copies_are_played_in_the_place_of_lost_packets() {
    let mut buffer = JitterBuffer::new(Box::new(Numbers));
    let mut packer = red::Packer::default();
    let (mut out, mut payload, mut heard) = ([0.0; 480], Vec::new(), Vec::new());
    for i in 0..400_u32 {
        let now = SECOND + u64::from(i) * 20 * MS;
        let packed = packer.pack(i * 960, &packet_of(i), 2, 1, &mut payload);
        // Of every five packets two in a row are lost.
        if i % 5 > 1 {
            let payload = if packed { payload.clone() } else { packet_of(i) };
            buffer.push(now, i * 960, false, packed, payload);
        }
        for half in 0..2 {
            buffer.pull(now + MS + half * 10 * MS, &mut out);
            heard.push(out[0]);
        }
    }
    let stats = buffer.stats();
    assert!(stats.red > 100 * 960 && stats.fec == 0, "{stats:?}");
    let late: Vec<f32> = heard.into_iter().skip(200).collect();
    assert!(late.iter().all(|number| *number > 0.0), "every packet is heard once the buffer waits: {late:?}");
    assert!(late.windows(2).all(|pair| pair[1] >= pair[0]));
}

#[test]
fn an_outage_ends_and_the_sound_goes_on_at_the_usual_delay() {
    for lost_ms in [400, 3000] {
        let outcome = simulate(20, 8, 1.0, &move |i, _| (!(250..250 + lost_ms / 20).contains(&i)).then_some(5.0));
        assert!(outcome.late_delay_ms < 50.0, "{lost_ms}: {}", outcome.late_delay_ms);
        assert_eq!(outcome.heard.last(), Some(&998.0), "{lost_ms}: the end is heard");
    }
}

#[test]
fn announced_silence_is_not_counted_as_lost() {
    let mut buffer = JitterBuffer::new(Box::new(Numbers));
    let mut out = [0.0; 480];
    // One second of speech, then 3 s of pause with a sign of life every 160 ms, then speech again.
    for tick in 0..600_u64 {
        let now = SECOND + tick * 10 * MS;
        let i = u32::try_from(tick / 2).unwrap();
        let speaks = !(50..200).contains(&i);
        if tick % 2 == 0 && (speaks || i < 52 || i % 8 == 0) {
            let payload = if speaks { packet_of(i) } else { vec![9 << 3] };
            buffer.push(now, i * 960, false, false, payload);
        }
        buffer.pull(now + MS, &mut out);
    }
    let stats = buffer.stats();
    assert_eq!((stats.concealed, stats.late, stats.restarts), (0, 0, 0), "{stats:?}");
    assert!(stats.silent > 48_000 * 2, "{stats:?}");
    assert!(out[0] > 290.0, "speech is heard again: {}", out[0]);
}

#[test]
fn the_end_of_a_stream_is_not_counted_as_lost() {
    let outcome = simulate(10, 9, 1.0, &|i, _| (i < 250).then_some(5.0));
    assert_eq!(outcome.stats.concealed, 0);
    assert_eq!(outcome.heard.last(), Some(&0.0), "silence at the end");
}

#[test]
fn a_sender_that_begins_anew_is_followed_at_once_if_it_says_so_and_soon_if_not() {
    for told in [true, false] {
        let mut buffer = JitterBuffer::new(Box::new(Numbers));
        let mut out = [0.0; 480];
        for tick in 0..400_u64 {
            let now = SECOND + tick * 10 * MS;
            if tick % 2 == 0 {
                let i = u32::try_from(tick / 2).unwrap();
                let jump = if i >= 100 { 0x9000_0000 } else { 0 };
                buffer.push(now, jump + i * 960, told && i == 100, false, packet_of(i));
            }
            buffer.pull(now + MS, &mut out);
        }
        let stats = buffer.stats();
        assert_eq!(stats.restarts, 1);
        assert_eq!(stats.refused, u64::from(!told));
        assert!(out[0] > 190.0, "told {told}: heard {}", out[0]);
    }
}

#[test]
fn a_single_packet_from_nowhere_changes_nothing() {
    let mut buffer = JitterBuffer::new(Box::new(Numbers));
    let mut out = [0.0; 480];
    for i in 0..200_u32 {
        let now = SECOND + u64::from(i) * 20 * MS;
        if i % 50 == 25 {
            buffer.push(now, i.wrapping_mul(0x1234_5678), false, false, packet_of(7));
        }
        buffer.push(now, i * 960, false, false, packet_of(i));
        buffer.pull(now + MS, &mut out);
        buffer.pull(now + 11 * MS, &mut out);
    }
    let stats = buffer.stats();
    assert_eq!((stats.concealed, stats.restarts, stats.refused), (0, 0, 4), "{stats:?}");
}

#[test]
fn the_timestamp_wraps_without_a_sound() {
    let mut buffer = JitterBuffer::new(Box::new(Numbers));
    let mut out = [0.0; 480];
    for i in 0..200_u32 {
        let now = SECOND + u64::from(i) * 20 * MS;
        buffer.push(now, (u32::MAX - 96_000).wrapping_add(i * 960), false, false, packet_of(i));
        buffer.pull(now + MS, &mut out);
        buffer.pull(now + 11 * MS, &mut out);
    }
    assert_eq!((buffer.stats().concealed, buffer.stats().restarts), (0, 0));
}

#[test]
fn a_sink_that_stood_still_does_not_play_the_past() {
    let mut buffer = JitterBuffer::new(Box::new(Numbers));
    let mut out = [0.0; 480];
    for i in 0..500_u32 {
        let now = SECOND + u64::from(i) * 20 * MS;
        buffer.push(now, i * 960, false, false, packet_of(i));
        if !(100..400).contains(&i) {
            buffer.pull(now + MS, &mut out);
            buffer.pull(now + 11 * MS, &mut out);
        }
    }
    assert!(buffer.stats().delay_ms < 60.0, "{:?}", buffer.stats());
    assert!(out[0] > 490.0, "heard {}", out[0]);
}

#[test]
fn real_speech_over_a_bad_path_is_still_that_speech() {
    let mut sound = vec![0.0; 48_000 * 20];
    Speech::new(4).fill(&mut sound);
    let mut encoder = OpusEncoder::new(&AudioSettings::default()).unwrap();
    encoder.set_expected_loss(0.05);
    let mut random = Random(11);
    let mut probe = DelayProbe::default();
    let mut arrivals = Vec::new();
    for (i, frame) in sound.chunks_exact(960).enumerate() {
        let captured = SECOND + (i as u64 + 1) * 20 * MS;
        probe.sent.push(captured, frame);
        let mut packet = Vec::new();
        encoder.encode(frame, &mut packet).unwrap();
        if random.uniform() > 0.05 {
            arrivals.push((captured + 10 * MS + (20.0 * random.uniform() * 1e6) as u64, i as u32 * 960, packet));
        }
    }
    arrivals.sort_by_key(|(at, ..)| *at);
    let mut arrivals = arrivals.into_iter().peekable();
    let mut buffer = JitterBuffer::new(Box::new(OpusDecoder::new().unwrap()));
    let mut out = [0.0; 480];
    for tick in 0..2000_u64 {
        let now = SECOND + tick * 10 * MS;
        while let Some((at, timestamp, packet)) = arrivals.next_if(|(at, ..)| *at <= now) {
            buffer.push(at, timestamp, false, false, packet);
        }
        buffer.pull(now, &mut out);
        probe.received.push(now, &out);
    }
    let report = probe.report().expect("the speech is found");
    let stats = buffer.stats();
    assert!(stats.concealed_share() < 0.02, "{stats:?}");
    assert!(report.found * 10 > report.looked_for * 6, "{report:?} {stats:?}");
    // 10 ms on the way, up to 20 ms more, 6.5 ms in the codec, and the buffer.
    let codec = LOOKAHEAD as f64 / 48.0;
    assert!((30.0 + codec..90.0 + codec).contains(&report.median_ms), "{report:?}");
}

#[test]
fn in_announced_silence_the_noise_goes_on_as_loud_as_it_was() {
    let mut sender = VoiceSender::new(&AudioSettings::default()).unwrap();
    let mut buffer = JitterBuffer::new(Box::new(OpusDecoder::new().unwrap()));
    let (mut random, mut speech) = (Random(5), Speech::new(5));
    let (mut frame, mut out) = ([0.0_f32; 960], [0.0; 480]);
    let power = |sound: &[f32]| sound.iter().map(|x| f64::from(x * x)).sum::<f64>();
    let (mut said, mut heard, mut sent) = (0.0, Vec::new(), 0);
    for i in 0..1000_u32 {
        // Somebody speaks, and then there is a quiet room: noise of -65 dBFS.
        if i < 150 {
            speech.fill(&mut frame);
        }
        for sample in frame.iter_mut().filter(|_| i >= 150) {
            *sample = 1e-3 * (random.uniform() as f32 * 2.0 - 1.0);
        }
        let now = SECOND + u64::from(i) * 20 * MS;
        if let Some(packet) = sender.encode(i * 960, &frame).unwrap() {
            sent += u32::from(i >= 500);
            buffer.push(now, i * 960, false, packet.red, packet.payload);
        }
        for half in 0..2 {
            buffer.pull(now + MS + half * 10 * MS, &mut out);
            if i >= 500 {
                heard.push(power(&out));
            }
        }
        if i >= 500 {
            said += power(&frame);
        }
    }
    assert!(sent < 120, "{sent} packets in 10 s: this is no silence");
    let level = 10.0 * (heard.iter().sum::<f64>() / said).log10();
    assert!((-8.0..4.0).contains(&level), "{level} dB against the room");
    let quietest = heard.chunks(20).map(|piece| piece.iter().sum::<f64>()).fold(f64::MAX, f64::min);
    let dead = 10.0 * (quietest / (said / 50.0)).log10();
    assert!(dead > -15.0, "a dead line: {dead} dB");
    assert_eq!(buffer.stats().concealed, 0);
}

#[derive(Clone, Debug)]
enum Step {
    Push { timestamp: u32, restart: bool, red: bool, payload: Vec<u8> },
    Pull { len: usize },
    Wait { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let timestamp = prop_oneof![any::<u32>(), 0..100_000_u32, (0..200_u32).prop_map(|i| i * 960)];
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(vec![9 << 3]),
        (0..2000_usize).prop_map(|len| vec![0x48; len]),
    ];
    let redundant = (0..10_u32, any::<bool>()).prop_map(|(number, old)| {
        let offset = if old { 16_000_u32 } else { 960 };
        let header = (offset << 10 | 6).to_be_bytes();
        [&[0xef, header[1], header[2], header[3], 0x6f][..], &packet_of(number), &packet_of(number + 1)].concat()
    });
    let payload = prop_oneof![3 => payload, 1 => redundant];
    let push = (timestamp, prop::bool::weighted(0.05), any::<bool>(), payload)
        .prop_map(|(timestamp, restart, red, payload)| Step::Push { timestamp, restart, red, payload });
    let step = prop_oneof![
        4 => push,
        3 => (0..4000_usize).prop_map(|len| Step::Pull { len }),
        1 => (0..5000_u64).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn hostile_packets_neither_panic_nor_grow_memory_nor_make_noise(steps in steps(), real in any::<bool>()) {
        let decoder: Box<dyn VoiceDecoder> =
            if real { Box::new(OpusDecoder::new().unwrap()) } else { Box::new(Numbers) };
        let mut buffer = JitterBuffer::new(decoder);
        let mut now = 0_u64;
        for step in steps {
            match step {
                Step::Push { timestamp, restart, red, payload } => buffer.push(now, timestamp, restart, red, payload),
                Step::Pull { len } => {
                    let mut out = vec![f32::NAN; len];
                    buffer.pull(now, &mut out);
                    prop_assert!(out.iter().all(|sample| sample.is_finite()), "every sample is written");
                    now += len as u64 * SECOND / 48_000;
                }
                Step::Wait { ms } => now += ms * MS,
            }
            prop_assert!(buffer.packets.len() <= MAX_PACKETS && buffer.seen.len() <= MAX_SEEN);
            prop_assert!(buffer.pending.len() <= 4000 + 2 * packet::MAX_PACKET_SAMPLES);
            prop_assert!(buffer.heard.len() <= MAX_LAG);
            prop_assert!(buffer.stats().delay_ms.is_finite() && buffer.stats().target_ms <= 500.0);
        }
    }
}
