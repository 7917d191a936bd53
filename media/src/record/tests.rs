//! Recordings are read back: by our own reader, and by ffmpeg where it is installed.

use std::path::Path;
use std::process::Command;

use super::read::{Block, Reader};
use super::*;
use crate::audio::AudioSettings;
use crate::audio::codec::{OpusEncoder, VoiceEncoder};
use crate::audio::synth::{Speech, Synth};
use crate::frame::{Kind, timestamp_of};
use crate::measure::correlation;
use crate::video::codec::VideoEncoder;
use crate::video::h264::H264Encoder;
use crate::video::moving::Scene;

const SECOND: u64 = 1_000_000_000;

fn frame(kind: Kind, stream: u16, time_ns: u64, key: bool, payload: Vec<u8>) -> EncodedFrame {
    EncodedFrame {
        kind,
        key,
        gap: false,
        restart: false,
        red: false,
        layer: 0,
        stream,
        sequence: 0,
        timestamp: timestamp_of(kind, time_ns).wrapping_add(0xffff_f000),
        time_ns,
        payload,
    }
}

/// Packets of a voice, 20 ms each, and what they were made of.
fn voice(seed: u64, seconds: u64) -> (Vec<Vec<u8>>, Vec<f32>) {
    let mut sound = vec![0.0; seconds as usize * 48_000];
    Speech::new(seed).fill(&mut sound);
    let mut encoder = OpusEncoder::new(&AudioSettings { dtx: false, ..AudioSettings::default() }).unwrap();
    let encode = |frame: &[f32]| {
        let mut packet = Vec::new();
        encoder.encode(frame, &mut packet).unwrap();
        packet
    };
    (sound.chunks(960).map(encode).collect(), sound)
}

fn pictures(width: u32, height: u32, count: u64) -> Vec<(bool, Vec<u8>)> {
    let scene = Scene::new(width, height, 1).unwrap();
    let mut encoder = H264Encoder::new(width, height, 30.0, 400_000).unwrap();
    let encode = |number| {
        let frame = encoder.encode(&scene.draw(number, number * 33_000_000)).unwrap().unwrap();
        (frame.key, frame.payload)
    };
    (0..count).map(encode).collect()
}

/// Two voices and one picture for so many seconds, handed in as they would come.
fn talk(recorder: &Recorder, seconds: u64) -> [Vec<f32>; 2] {
    let ((mine, said), (theirs, heard)) = (voice(1, seconds), voice(2, seconds));
    let shown = pictures(320, 180, seconds * 30);
    for (number, (mine, theirs)) in mine.into_iter().zip(theirs).enumerate() {
        let now = 100 * SECOND + number as u64 * 20_000_000;
        recorder.push(true, &frame(Kind::Audio, 0, now, false, mine));
        // The friend's came a little later, with jitter.
        let mut late = frame(Kind::Audio, 3, now, false, theirs);
        late.time_ns = now + 40_000_000 + (number as u64 % 4) * 7_000_000;
        recorder.push(false, &late);
        for (picture, (key, data)) in shown.iter().enumerate() {
            let at = 100 * SECOND + picture as u64 * SECOND / 30;
            if (now..now + 20_000_000).contains(&at) {
                recorder.push(false, &frame(Kind::Video, 4, at, *key, data.clone()));
            }
        }
    }
    [said, heard]
}

fn config(path: &Path) -> RecordConfig {
    RecordConfig { path: path.to_owned(), own: "alice".to_owned(), friend: "bob".to_owned() }
}

fn read(path: &Path) -> (Reader, Vec<Block>) {
    let mut reader = Reader::open(path).unwrap();
    let blocks = std::iter::from_fn(|| reader.next_block()).collect();
    (reader, blocks)
}

fn times(blocks: &[Block], track: u64) -> Vec<i64> {
    blocks.iter().filter(|block| block.track == track).map(|block| block.time_ms).collect()
}

#[test]
fn what_is_recorded_can_be_read_back_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.mkv");
    let recorder = Recorder::start(&config(&path), |error| panic!("{error}")).unwrap();
    talk(&recorder, 5);
    let report = recorder.finish();
    assert_eq!((report.frames, report.dropped, report.error.clone()), (650, 0, None), "{report:?}");
    assert_eq!(report.tracks, ["alice: sound", "bob: sound", "bob: picture"]);
    assert!((4.9..5.2).contains(&report.seconds), "{report:?}");
    assert_eq!(report.bytes, std::fs::metadata(&path).unwrap().len());

    let (reader, blocks) = read(&path);
    assert!(reader.indexed() && reader.duration_ms().is_some_and(|ms| (4_900.0..5_200.0).contains(&ms)));
    let tracks: Vec<(&str, &str)> =
        reader.tracks().iter().map(|track| (track.name.as_str(), track.codec.as_str())).collect();
    assert_eq!(tracks, [("alice", "A_OPUS"), ("bob", "A_OPUS"), ("bob", "V_MPEG4/ISO/AVC")]);
    assert_eq!(reader.tracks()[2].size, Some((320, 180)));
    assert_eq!(reader.tracks()[2].private[..2], [1, 66]);
    assert_eq!(blocks.len(), 650);
    assert!(blocks.windows(2).all(|pair| pair[0].time_ms <= pair[1].time_ms), "in order of time");
    let (own, friend) = (times(&blocks, 1), times(&blocks, 2));
    assert_eq!(own[..3], [0, 20, 40]);
    // The quickest packets place the friend's voice: 40 ms after its capture here.
    assert_eq!(friend[100] - own[100], 40);
    assert!(blocks.iter().find(|block| block.track == 3).is_some_and(|block| block.key));
    ffprobe(&path, 650);
}

#[test]
fn a_recording_that_breaks_off_anywhere_can_be_played_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.mkv");
    let recorder = Recorder::start(&config(&path), |error| panic!("{error}")).unwrap();
    talk(&recorder, 4);
    // As after a crash: nobody completes the file.
    let bytes = loop {
        let bytes = std::fs::read(&path).unwrap();
        let copy = folder.path().join("now.mkv");
        std::fs::write(&copy, &bytes).unwrap();
        if read(&copy).1.len() > 250 {
            break bytes;
        }
        std::thread::yield_now();
    };
    let mut most = 0;
    for cut in (17_000..bytes.len()).step_by(bytes.len() / 40) {
        let copy = folder.path().join("cut.mkv");
        std::fs::write(&copy, &bytes[..cut]).unwrap();
        let (reader, blocks) = read(&copy);
        assert!(!reader.tracks().is_empty() && blocks.len() >= most, "cut at {cut}");
        assert!(!reader.indexed() && reader.duration_ms().is_none());
        most = blocks.len();
    }
    assert!(most > 200, "{most}");
    drop(recorder);
    assert_eq!(read(&path).1.len(), 4 * 130, "dropping completes the file");
}

#[test]
fn no_file_is_replaced_and_a_full_disk_ends_the_recording_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.mkv");
    std::fs::write(&path, "mine").unwrap();
    assert_eq!(Recorder::start(&config(&path), |_| ()).unwrap_err(), RecordError::Exists(path.clone()));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    assert!(matches!(
        Recorder::start(&config(&folder.path().join("no/call.mkv")), |_| ()),
        Err(RecordError::Write { .. })
    ));
    let tap = Tap::default();
    tap.start(&config(&folder.path().join("a.mkv")), |_| ()).unwrap();
    assert_eq!(tap.start(&config(&folder.path().join("b.mkv")), |_| ()), Err(RecordError::Running));
    assert!(tap.running() && tap.stop().is_some() && tap.stop().is_none() && !tap.running());
}

/// A file that takes so many bytes and no more, as on a full disk (`RLIMIT_FSIZE` would be the process's).
#[test]
fn what_was_written_before_the_disk_was_full_can_be_played() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.mkv");
    let mut writer = file::Writer::create(&path).unwrap();
    writer.limit = Some(160_000);
    let (failed, told) = sync_channel(1);
    let tracks = Tracks::new(writer, "alice", "bob");
    let (tx, rx) = sync_channel(QUEUE);
    let shared = Arc::new(Shared::default());
    let recorder = Recorder {
        tx: Some(tx),
        shared: Arc::clone(&shared),
        thread: Some(std::thread::spawn(move || write(tracks, &rx, &shared, move |error| failed.send(error).unwrap()))),
    };
    talk(&recorder, 8);
    let report = recorder.finish();
    assert!(matches!(report.error, Some(RecordError::Write { .. })), "{report:?}");
    assert_eq!(told.recv().ok(), report.error);
    let (reader, blocks) = read(&path);
    assert!(blocks.len() > 50 && blocks.len() as u64 == report.frames, "{} of {report:?}", blocks.len());
    assert!(reader.duration_ms().is_some() && std::fs::metadata(&path).unwrap().len() <= 160_000);
}

#[test]
fn each_voice_comes_out_as_wav_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.mkv");
    let recorder = Recorder::start(&config(&path), |error| panic!("{error}")).unwrap();
    let [said, heard] = talk(&recorder, 4);
    assert_eq!(recorder.finish().error, None);
    let written = export::wav(&path).unwrap();
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["call-alice.wav", "call-bob.wav"]);
    for (path, original, shift) in [(&written[0], said, 0), (&written[1], heard, 40 * 48)] {
        let reader = hound::WavReader::open(path).unwrap();
        let sound: Vec<f32> =
            reader.into_samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect();
        let piece = 48_000..144_000;
        let there = &sound[piece.start + shift..piece.end + shift];
        // The quickest packet is 40 ms behind, to the millisecond.
        let best = (0..96)
            .map(|off| correlation(&original[piece.start + off..piece.end - 96 + off], &there[48..there.len() - 48]))
            .fold(0.0, f32::max);
        assert!(best > 0.7, "{}: {best}", path.display());
    }
    assert!(matches!(export::wav(&path), Err(RecordError::Exists(_))));
    assert!(matches!(export::wav(&written[0]), Err(RecordError::NotOne { .. })));
}

#[test]
fn a_picture_that_changes_its_size_goes_on_in_its_track() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.mkv");
    let recorder = Recorder::start(&config(&path), |error| panic!("{error}")).unwrap();
    let mut now = SECOND;
    // Without a key frame there is nothing to begin with.
    let first = pictures(320, 180, 4);
    recorder.push(false, &frame(Kind::Video, 4, now, false, first[1].1.clone()));
    for (width, height) in [(320, 180), (160, 90)] {
        for (key, data) in pictures(width, height, 30) {
            now += 33_000_000;
            recorder.push(false, &frame(Kind::Video, 4, now, key, data));
        }
    }
    let report = recorder.finish();
    assert_eq!((report.frames, report.tracks.len()), (60, 1), "{report:?}");
    let (_, blocks) = read(&path);
    assert_eq!(blocks.iter().filter(|block| block.key).count(), 2);
    // Both key frames carry their own parameters.
    assert!(blocks.iter().filter(|block| block.key).all(|block| block.data[4] & 31 == 7));
    ffprobe(&path, 60);
}

#[test]
fn foreign_bytes_are_no_recording_and_harm_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.mkv");
    let recorder = Recorder::start(&config(&path), |error| panic!("{error}")).unwrap();
    for size in [0, 1, 2_000] {
        recorder.push(false, &frame(Kind::Audio, 1, SECOND, false, vec![3; size]));
        recorder.push(false, &frame(Kind::Video, 2, SECOND, true, vec![0xff; size]));
    }
    for stream in 0..100 {
        let mut odd = frame(Kind::Audio, stream, u64::from(stream) << 56, false, vec![0x48, 1, 2]);
        odd.timestamp = u32::from(stream).wrapping_mul(0x9e37_79b9);
        recorder.push(false, &odd);
    }
    let report = recorder.finish();
    assert!(report.error.is_none() && report.tracks.len() <= 16, "{report:?}");
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..200 {
        let mut broken = bytes.clone();
        let place = (at * 7919) % broken.len();
        broken[place] = broken[place].wrapping_add(1 + (at % 255) as u8);
        let copy = folder.path().join("broken.mkv");
        std::fs::write(&copy, &broken).unwrap();
        if let Ok(mut reader) = Reader::open(&copy) {
            assert!(std::iter::from_fn(|| reader.next_block()).take(10_000).count() < 10_000);
        }
    }
}

/// Lets ffmpeg count the packets, where it is installed.
fn ffprobe(path: &Path, packets: usize) {
    let words = ["-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0"];
    let Ok(output) = Command::new("ffprobe").args(words).arg(path).output() else {
        return println!("skipped: ffprobe is not installed");
    };
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts = String::from_utf8_lossy(&output.stdout);
    let sum: usize = counts.lines().filter_map(|line| line.trim_end_matches(',').parse::<usize>().ok()).sum();
    assert_eq!(sum, packets);
}
