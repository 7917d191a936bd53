//! Encoder and decoder together, and the decoder against streams that no honest encoder makes.

use super::syntax::{Inspector, Refusal, nals};
use super::{H264Decoder, H264Encoder};
use crate::video::codec::{CodecError, Encoded, VideoDecoder, VideoEncoder};
use crate::video::measure::psnr_y;
use crate::video::moving::Scene;
use crate::video::picture::Picture;

fn scene() -> Scene {
    Scene::new(640, 360, 1).unwrap()
}

/// Encodes pictures `from..to`, asking for a key frame at each number in `keys`.
fn encode(encoder: &mut H264Encoder, numbers: std::ops::Range<u64>, keys: &[u64]) -> Vec<Encoded> {
    let scene = scene();
    let frames = numbers.map(|number| {
        if keys.contains(&number) {
            encoder.force_key();
        }
        encoder.encode(&scene.draw(number, number * 33_000_000)).unwrap().expect("no frame is left out")
    });
    frames.collect()
}

fn encoder(bitrate: u32) -> H264Encoder {
    H264Encoder::new(640, 360, 30.0, bitrate).unwrap()
}

fn decode(decoder: &mut H264Decoder, frame: &Encoded) -> Result<Option<Picture>, CodecError> {
    decoder.decode(&frame.payload)
}

#[test]
fn what_is_decoded_looks_like_what_was_encoded() {
    let frames = encode(&mut encoder(800_000), 0..60, &[]);
    let (scene, mut decoder) = (scene(), H264Decoder::new());
    let psnr: Vec<f64> = frames
        .iter()
        .zip(0..)
        .map(|(frame, number)| {
            let picture = decode(&mut decoder, frame).unwrap().unwrap();
            psnr_y(&scene.draw(number, number * 33_000_000), &picture)
        })
        .collect();
    assert!(psnr.iter().all(|&p| p > 27.0), "{psnr:.1?}");
    assert!(psnr[30..].iter().sum::<f64>() / 30.0 > 34.0, "{psnr:.1?}");
}

#[test]
fn the_first_frame_and_every_wished_one_is_a_key_frame_with_its_parameter_sets() {
    let frames = encode(&mut encoder(600_000), 0..40, &[17, 31]);
    let keys: Vec<usize> = frames.iter().enumerate().filter(|(_, f)| f.key).map(|(at, _)| at).collect();
    assert_eq!(keys, [0, 17, 31]);
    for key in keys {
        let kinds: Vec<u8> = nals(&frames[key].payload).map(|nal| nal[0] & 31).collect();
        assert_eq!(kinds, [7, 8, 5]);
        // Whoever comes now can begin here.
        let picture = decode(&mut H264Decoder::new(), &frames[key]).unwrap();
        assert!(picture.is_some());
    }
}

#[test]
fn the_bitrate_is_kept_after_it_fell_and_after_it_rose() {
    let mut encoder = encoder(500_000);
    let mut rate_of = |bitrate: Option<u32>, numbers: std::ops::Range<u64>| {
        if let Some(bitrate) = bitrate {
            encoder.set_bitrate(bitrate).unwrap();
        }
        let skip = 30;
        let frames = encode(&mut encoder, numbers, &[]);
        let bytes: usize = frames[skip..].iter().map(|f| f.payload.len()).sum();
        bytes as f64 * 8.0 * 30.0 / (frames.len() - skip) as f64
    };
    for (bitrate, range) in [(None, 0..150), (Some(250_000), 150..300), (Some(1_000_000), 300..450)] {
        let target = f64::from(bitrate.unwrap_or(500_000));
        let rate = rate_of(bitrate, range);
        assert!((0.85..1.15).contains(&(rate / target)), "{rate:.0} instead of {target}");
    }
}

#[test]
fn every_second_frame_can_be_left_out_without_harm() {
    let frames = encode(&mut encoder(600_000), 0..60, &[]);
    let layers: Vec<u8> = frames.iter().map(|f| f.layer).collect();
    assert_eq!(layers.iter().filter(|&&l| l == 1).count(), 30, "{layers:?}");
    let (scene, mut decoder) = (scene(), H264Decoder::new());
    for (frame, number) in frames.iter().zip(0..).filter(|(f, _)| f.layer == 0) {
        let picture = decode(&mut decoder, frame).unwrap().unwrap();
        assert!(psnr_y(&scene.draw(number, number * 33_000_000), &picture) > 27.0);
    }
}

#[test]
fn a_lost_frame_freezes_the_picture_until_the_next_key_frame() {
    let frames = encode(&mut encoder(600_000), 0..60, &[40]);
    let lost = (20..).find(|&at| frames[at].layer == 0).unwrap();
    let mut decoder = H264Decoder::new();
    for (at, frame) in frames.iter().enumerate().filter(|(at, _)| *at != lost) {
        let result = decode(&mut decoder, frame);
        if at < lost || at >= 40 {
            assert!(matches!(result, Ok(Some(_))), "{at}: {result:?}");
        } else {
            assert_eq!(result, Err(CodecError::NeedKey), "{at}");
        }
    }
}

#[test]
fn pictures_of_another_size_need_another_encoder_and_no_other_decoder() {
    let mut encoder = encoder(600_000);
    let small = Scene::new(320, 180, 1).unwrap().draw(0, 0);
    assert_eq!(encoder.encode(&small), Err(CodecError::WrongSize));
    let mut decoder = H264Decoder::new();
    decode(&mut decoder, &encode(&mut encoder, 0..1, &[])[0]).unwrap().unwrap();
    let frame = H264Encoder::new(320, 180, 30.0, 300_000).unwrap().encode(&small).unwrap().unwrap();
    let picture = decode(&mut decoder, &frame).unwrap().unwrap();
    assert_eq!((picture.width(), picture.height()), (320, 180));
}

#[test]
fn sizes_that_are_not_a_multiple_of_16_are_cut_right() {
    for (width, height) in [(320, 180), (426, 240), (480, 270), (202, 360)] {
        let picture = Picture::filled(width, height, (90, 100, 140)).unwrap();
        let frame = H264Encoder::new(width, height, 30.0, 300_000).unwrap().encode(&picture).unwrap().unwrap();
        let decoded = decode(&mut H264Decoder::new(), &frame).unwrap().unwrap();
        assert_eq!((decoded.width(), decoded.height()), (width, height));
        assert!(psnr_y(&picture, &decoded) > 40.0);
    }
}

/// Writes bits; what the hostile headers below are made of.
#[derive(Default)]
struct BitWriter {
    bits: Vec<bool>,
}

impl BitWriter {
    fn bits(&mut self, value: u32, count: u32) -> &mut Self {
        self.bits.extend((0..count).rev().map(|at| value >> at & 1 == 1));
        self
    }

    fn ue(&mut self, value: u32) -> &mut Self {
        let code = u64::from(value) + 1;
        let length = 63 - code.leading_zeros();
        self.bits.extend(std::iter::repeat_n(false, length as usize));
        self.bits.extend((0..=length).rev().map(|at| code >> at & 1 == 1));
        self
    }

    fn nal(&self, header: u8) -> Vec<u8> {
        let mut bits = self.bits.clone();
        bits.push(true);
        let body = bits.chunks(8).map(|byte| (0..8).fold(0, |b, at| b << 1 | u8::from(byte.get(at) == Some(&true))));
        let mut nal = vec![0, 0, 0, 1, header];
        let mut zeros = 0;
        for byte in body {
            if zeros == 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        nal
    }
}

fn sps(profile: u32, id: u32, references: u32, columns: u32, rows: u32) -> Vec<u8> {
    let mut w = BitWriter::default();
    w.bits(profile, 8).bits(0, 8).bits(31, 8).ue(id).ue(0).ue(2).ue(references).bits(0, 1);
    w.ue(columns - 1).ue(rows - 1).bits(0b1100, 4);
    w.nal(0x67)
}

fn pps(id: u32, sps: u32, weighted: u32) -> Vec<u8> {
    let mut w = BitWriter::default();
    w.ue(id).ue(sps).bits(0, 2).ue(0).ue(0).ue(0).bits(weighted, 3).ue(0).ue(0).ue(0).bits(0, 3);
    w.nal(0x68)
}

#[test]
fn headers_that_ask_for_too_much_are_refused_before_the_decoder_sees_them() {
    let refused = |unit: &[u8]| {
        let refusal = Inspector::default().inspect(unit).unwrap_err();
        assert!(matches!(H264Decoder::new().decode(unit), Err(CodecError::Damaged(_))));
        refusal
    };
    assert_eq!(refused(&sps(66, 0, 1, 1024, 1024)), Refusal::Size);
    assert_eq!(refused(&sps(66, 0, 1, 1 << 30, 1)), Refusal::Size);
    assert_eq!(refused(&sps(100, 0, 1, 40, 23)), Refusal::Profile(100));
    assert!(matches!(refused(&sps(66, 32, 1, 40, 23)), Refusal::Range(_)));
    assert!(matches!(refused(&sps(66, 0, 16, 256, 144)), Refusal::Range(_)));
    assert!(matches!(refused(&pps(256, 0, 0)), Refusal::Range(_)));
    assert_eq!(refused(&pps(0, 0, 0b100)), Refusal::Unsupported("weighted prediction"));
    let good = Inspector::default().inspect(&[sps(66, 0, 1, 256, 144), pps(0, 0, 0)].concat());
    assert_eq!(good, Ok(None));
    assert!(matches!(refused(&[0, 0, 1, 0x67].repeat(1000)), Refusal::Truncated));
    assert!(matches!(refused(&[0, 0, 1, 0x09, 0x10].repeat(1000)), Refusal::Range("number of NAL units")));
    assert!(matches!(H264Decoder::new().decode(&vec![0; (1 << 20) + 1]), Err(CodecError::Damaged(_))));
}

#[test]
fn slices_that_grow_the_reference_store_are_refused() {
    let sets = [sps(66, 0, 1, 40, 23), pps(0, 0, 0)].concat();
    let slice = |write: &dyn Fn(&mut BitWriter), header: u8| {
        let mut w = BitWriter::default();
        write(&mut w);
        let mut inspector = Inspector::default();
        inspector.inspect(&sets).unwrap();
        // Bits for what follows the header, so that it is not refused for its end.
        w.bits(0, 32);
        inspector.inspect(&w.nal(header)).unwrap_err()
    };
    let long_term = slice(
        &|w| {
            w.ue(0).ue(7).ue(0).bits(0, 4).ue(0).bits(1, 2);
        },
        0x65,
    );
    assert_eq!(long_term, Refusal::Unsupported("long-term references or marking commands"));
    let marking = slice(
        &|w| {
            w.ue(0).ue(5).ue(0).bits(1, 4).bits(0, 2).bits(1, 1);
        },
        0x61,
    );
    assert_eq!(marking, Refusal::Unsupported("long-term references or marking commands"));
    let references = slice(
        &|w| {
            w.ue(0).ue(5).ue(0).bits(1, 4).bits(1, 1).ue(u32::MAX - 2);
        },
        0x61,
    );
    assert_eq!(references, Refusal::Range("num_ref_idx_l0_active"));
    let modification = slice(
        &|w| {
            w.ue(0).ue(5).ue(0).bits(1, 4).bits(0b01, 2);
            for _ in 0..40 {
                w.ue(0).ue(0);
            }
        },
        0x61,
    );
    assert_eq!(modification, Refusal::Range("ref_pic_list_modification"));
    let late = slice(
        &|w| {
            w.ue(40 * 23).ue(7).ue(0).bits(0, 4).ue(0).bits(0, 2);
        },
        0x65,
    );
    assert_eq!(late, Refusal::Range("first_mb_in_slice"));
    let unfinished = slice(
        &|w| {
            w.ue(5).ue(7).ue(0).bits(0, 4).ue(0).bits(0, 2);
        },
        0x65,
    );
    assert_eq!(unfinished, Refusal::SliceOrder);
}

/// Small random numbers, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % below
    }
}

#[test]
fn damaged_streams_never_panic_and_a_key_frame_always_heals() {
    let scene = Scene::new(160, 90, 1).unwrap();
    let mut encoder = H264Encoder::new(160, 90, 30.0, 200_000).unwrap();
    let mut draw = |number: u64| {
        if number.is_multiple_of(10) {
            encoder.force_key();
        }
        encoder.encode(&scene.draw(number, 0)).unwrap().unwrap()
    };
    let frames: Vec<Encoded> = (0..30).map(&mut draw).collect();
    let mut decoder = H264Decoder::new();
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let (mut damaged, mut shown) = (0, 0);
    for round in 0..2000 {
        // A good beginning, so that the damage meets a decoder in the middle of a stream.
        let good = dice.next(9);
        for frame in &frames[..=good] {
            assert!(matches!(decoder.decode(&frame.payload), Ok(Some(_))), "round {round}");
        }
        for frame in &frames[good + 1..good + 4] {
            let mut unit = frame.payload.clone();
            for _ in 0..1 + dice.next(8) {
                // Half of it in the headers.
                let room = if dice.next(2) == 0 { unit.len().min(40) } else { unit.len() };
                let at = dice.next(room);
                unit[at] ^= 1 << dice.next(8);
            }
            if dice.next(6) == 0 {
                unit.truncate(dice.next(unit.len()) + 1);
            }
            match decoder.decode(&unit) {
                Ok(_) => shown += 1,
                Err(_) => damaged += 1,
            }
        }
    }
    assert!(damaged > 1000 && shown > 100, "{damaged} {shown}");
}

#[test]
fn a_stream_cut_into_slices_is_decoded_and_a_missing_slice_is_noticed() {
    use openh264::OpenH264API;
    use openh264::encoder::{BitRate, Encoder, EncoderConfig, RateControlMode};
    use openh264::formats::YUVSlices;
    let config = EncoderConfig::new()
        .bitrate(BitRate::from_bps(1_000_000))
        .rate_control_mode(RateControlMode::Bitrate)
        .num_threads(1)
        .max_slice_len(1200);
    let mut foreign = Encoder::with_api_config(OpenH264API::from_source(), config).unwrap();
    let scene = scene();
    let mut decoder = H264Decoder::new();
    let mut most = 0;
    for number in 0..10 {
        let picture = scene.draw(number, 0);
        let planes = (picture.luma(), picture.chroma().0, picture.chroma().1);
        let source = YUVSlices::new(planes, (640, 360), (640, 320, 320));
        let unit = foreign.encode(&source).unwrap().to_vec();
        most = most.max(nals(&unit).count());
        if unit.is_empty() {
            continue;
        }
        let decoded = decoder.decode(&unit).unwrap().unwrap();
        assert!(psnr_y(&picture, &decoded) > 25.0, "{number}");
    }
    assert!(most > 5, "{most}");
    foreign.force_intra_frame();
    let picture = scene.draw(10, 0);
    let source = YUVSlices::new((picture.luma(), picture.chroma().0, picture.chroma().1), (640, 360), (640, 320, 320));
    let unit = foreign.encode(&source).unwrap().to_vec();
    let parts: Vec<&[u8]> = nals(&unit).collect();
    let join = |parts: &[&[u8]]| parts.iter().flat_map(|nal| [&[0, 0, 1], *nal].concat()).collect::<Vec<u8>>();
    assert!(decoder.decode(&join(&parts)).unwrap().is_some());
    assert!(decoder.decode(&join(&parts[..parts.len() - 1])).is_err());
    assert!(decoder.decode(&join(&[&parts[..2], &parts[3..]].concat())).is_err());
}

#[test]
fn the_encoder_of_a_screen_takes_a_higher_bitrate_than_it_began_with() {
    let mut encoder = H264Encoder::for_screen(320, 180, 10.0, 60_000, 34).unwrap();
    encoder.set_bitrate(2_000_000).unwrap();
    let picture = Picture::filled(320, 180, (10, 200, 90)).unwrap();
    assert!(encoder.encode(&picture).unwrap().is_some_and(|first| first.key));
    encoder.set_bitrate(2_500_000).unwrap();
}
