//! Sender and receiver with real threads, joined as a call would join them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::codec::PictureCodec;
use super::measure::Meter;
use super::moving::Tag;
use super::{Receiver, Sender, Settings, Tap, VideoSink, VideoSource};
use crate::frame::EncodedFrame;
use crate::session::{Out, Outgoing, Part};

const PATIENCE: Duration = Duration::from_secs(20);

fn channel() -> (Out, mpsc::Receiver<Outgoing>) {
    let (put, get) = mpsc::sync_channel(1000);
    (Arc::new(move |outgoing| drop(put.try_send(outgoing))), get)
}

fn moving() -> (Sender, mpsc::Receiver<Outgoing>) {
    let (out, get) = channel();
    (Sender::start(VideoSource::Moving { seed: 4 }, Settings::default(), PictureCodec::default(), out).unwrap(), get)
}

fn frame(from: &mpsc::Receiver<Outgoing>) -> EncodedFrame {
    loop {
        if let Outgoing::Frame(frame) = from.recv_timeout(PATIENCE).expect("a frame in time") {
            return frame;
        }
    }
}

#[test]
fn a_picture_crosses_from_sender_to_receiver() {
    let (sender, frames) = moving();
    let tap = Tap::new();
    let (out, _asked) = channel();
    let receiver = Receiver::start(VideoSink::Tap(tap.clone()), Arc::new(|_, _| None), out).unwrap();
    sender.set_on(true);
    let first = frame(&frames);
    assert!(first.key && first.layer == 0 && first.sequence == 0);
    receiver.push(first);
    let mut last = 0;
    for _ in 0..30 {
        let frame = frame(&frames);
        assert!(!frame.key && frame.time_ns > last);
        last = frame.time_ns;
        receiver.push(frame);
    }
    let picture = tap.wait_beyond(30, PATIENCE).expect("all are shown");
    let measured = Meter::new(640, 360, 4).unwrap().measure(&picture, crate::now_ns()).unwrap();
    assert_eq!(measured.tag.number, 30);
    assert!(measured.psnr_db > 30.0, "{}", measured.psnr_db);
    let stats = receiver.stats();
    assert_eq!((stats.received, stats.decoded, stats.broken, stats.key_requests), (31, 31, 0, 0));
    assert!(stats.first_shown_ns > 0);
    assert!(sender.preview().wait_beyond(30, PATIENCE).is_some());
}

#[test]
fn turning_on_begins_with_a_key_frame_and_off_stops_at_once() {
    let (sender, frames) = moving();
    assert!(frames.recv_timeout(Duration::from_millis(100)).is_err(), "off at the start");
    for _ in 0..2 {
        sender.set_on(true);
        assert!(frame(&frames).key);
        assert!(!frame(&frames).key);
        sender.set_on(false);
        while frames.recv_timeout(Duration::from_millis(150)).is_ok() {}
        let sent = sender.stats().sent;
        assert!(frames.recv_timeout(Duration::from_millis(150)).is_err());
        assert_eq!(sender.stats().sent, sent);
    }
}

#[test]
fn key_frames_on_request_come_at_most_once_a_second() {
    let (sender, frames) = moving();
    sender.set_on(true);
    let mut keys = Vec::new();
    while keys.len() < 4 {
        let frame = frame(&frames);
        if frame.key {
            keys.push(frame.time_ns);
        }
        sender.request_key();
    }
    for pair in keys.windows(2) {
        // The limit counts from when encoding began, a little after the capture.
        assert!(pair[1] - pair[0] > 900_000_000, "{keys:?}");
    }
}

#[test]
fn a_low_bitrate_makes_the_picture_smaller_and_slower() {
    let (sender, frames) = moving();
    sender.set_on(true);
    frame(&frames);
    sender.set_bitrate(40_000);
    let tap = Tap::new();
    let (out, _asked) = channel();
    let receiver = Receiver::start(VideoSink::Tap(tap.clone()), Arc::new(|_, _| None), out).unwrap();
    let mut seen = 0;
    let small = loop {
        receiver.push(frame(&frames));
        let Some(picture) = tap.wait_beyond(seen, Duration::from_millis(10)) else { continue };
        seen = tap.count();
        if picture.width() == 320 {
            break picture;
        }
    };
    assert!(Tag::read(&small).is_some());
    assert!((sender.stats().frame_rate - 15.0).abs() < 1e-9);
}

#[test]
fn after_a_lost_frame_the_receiver_freezes_asks_and_recovers() {
    let (sender, frames) = moving();
    let tap = Tap::new();
    let (out, asked) = channel();
    let receiver = Receiver::start(VideoSink::Tap(tap.clone()), Arc::new(|_, _| None), out).unwrap();
    sender.set_on(true);
    let first = frame(&frames);
    receiver.push(first);
    // A frame of layer 1 may be missing.
    let mut optional = false;
    while !optional {
        let frame = frame(&frames);
        optional = frame.layer == 1;
        if !optional {
            receiver.push(frame);
        }
    }
    let lost = loop {
        let frame = frame(&frames);
        if frame.layer == 0 {
            break frame;
        }
        receiver.push(frame);
    };
    assert_eq!(receiver.stats().broken, 0);
    let request = loop {
        receiver.push(frame(&frames));
        if let Ok(request) = asked.try_recv() {
            break request;
        }
    };
    assert_eq!(request, Outgoing::NeedKeyFrame { stream: lost.stream });
    let frozen = tap.count();
    sender.request_key();
    loop {
        let frame = frame(&frames);
        let key = frame.key;
        receiver.push(frame);
        if key {
            break;
        }
    }
    assert!(tap.wait_beyond(frozen, PATIENCE).is_some());
    let stats = receiver.stats();
    assert_eq!((stats.broken, stats.frozen), (1, false));
}

#[test]
fn garbage_and_floods_cost_no_memory_and_no_wait() {
    let (out, asked) = channel();
    let receiver = Receiver::start(VideoSink::Null, Arc::new(|_, _| None), out).unwrap();
    let (sender, frames) = moving();
    sender.set_on(true);
    let key = frame(&frames);
    for at in 0..2000_u32 {
        let payload = vec![at as u8; 100_000];
        receiver.push(EncodedFrame { payload, ..key.clone() });
    }
    receiver.push(key);
    assert!(matches!(asked.recv_timeout(PATIENCE), Ok(Outgoing::NeedKeyFrame { .. })));
    while receiver.stats().decoded == 0 {
        std::thread::yield_now();
    }
    let stats = receiver.stats();
    assert_eq!((stats.received, stats.decoded, stats.dropped), (2001, 1, 2000));
}

#[test]
fn pictures_wait_for_their_sound_in_order() {
    let (sender, frames) = moving();
    sender.set_on(true);
    let late = Arc::new(AtomicU64::new(0));
    let (watch, wrong) = (Arc::clone(&late), Arc::new(AtomicBool::new(false)));
    let early = Arc::clone(&wrong);
    let last = AtomicU64::new(0);
    let tap = Tap::watched(move |picture, now| {
        early.fetch_or(now < watch.load(Ordering::SeqCst), Ordering::SeqCst);
        early.fetch_or(picture.time_ns < last.swap(picture.time_ns, Ordering::SeqCst), Ordering::SeqCst);
    });
    let show_at = crate::now_ns() + 400_000_000;
    late.store(show_at, Ordering::SeqCst);
    let (out, _asked) = channel();
    let clock = Arc::new(move |_, _| Some(show_at));
    let receiver = Receiver::start(VideoSink::Tap(tap.clone()), clock, out).unwrap();
    for _ in 0..6 {
        receiver.push(frame(&frames));
    }
    assert!(tap.wait_beyond(5, PATIENCE).is_some());
    assert!(!wrong.load(Ordering::SeqCst));
}

#[test]
fn a_missing_camera_is_told_at_the_start() {
    let (out, _get) = channel();
    let missing = VideoSource::Camera(Some("/dev/no-camera".into()));
    let error = Sender::start(missing, Settings::default(), PictureCodec::default(), out).unwrap_err().to_string();
    assert!(error.contains("no camera"), "{error}");
}

#[test]
fn a_file_that_ends_in_the_middle_is_told_once_and_the_sender_stays_usable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.y4m");
    std::fs::write(&path, "YUV4MPEG2 W64 H64 F30:1\n").unwrap();
    let (out, get) = channel();
    let sender =
        Sender::start(VideoSource::file(&path).unwrap(), Settings::default(), PictureCodec::default(), out).unwrap();
    sender.set_on(true);
    let Ok(Outgoing::Problem(problem)) = get.recv_timeout(PATIENCE) else { panic!("a problem is told") };
    assert!(problem.part == Part::VideoIn && !problem.retrying && problem.text.contains("empty.y4m"), "{problem:?}");
    assert!(get.recv_timeout(Duration::from_millis(100)).is_err());
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "hello").unwrap();
    let error = VideoSource::file(&text).unwrap_err().to_string();
    assert!(error.contains("notes.txt is a text file"), "{error}");
    assert!(VideoSource::file(&folder.path().join("none")).unwrap_err().to_string().contains("no such file"));
}

#[test]
fn a_file_of_twice_the_rate_is_thinned_and_a_large_one_made_smaller() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fast.y4m");
    let mut file = b"YUV4MPEG2 W1280 H960 F60:1 C420\nFRAME\n".to_vec();
    file.resize(file.len() + 1280 * 960 * 3 / 2, 128);
    std::fs::write(&path, file).unwrap();
    let (out, frames) = channel();
    let sender =
        Sender::start(VideoSource::file(&path).unwrap(), Settings::default(), PictureCodec::default(), out).unwrap();
    sender.set_on(true);
    for _ in 0..5 {
        frame(&frames);
    }
    let stats = sender.stats();
    assert!((stats.frame_rate - 30.0).abs() < 1e-9);
    assert_eq!((stats.width, stats.height), (480, 360));
    assert!(stats.captured >= 2 * stats.sent - 1, "{stats:?}");
}
