//! Two sessions joined back to back: what one says, the other hears.

use super::*;
use crate::audio::{CaptureTap, Tap};
use crate::measure::DelayProbe;
use std::sync::Condvar;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Enough for a machine that does ten other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both ends of one direction, and a bell that rings when something was heard.
#[derive(Clone, Default)]
struct Probe(Arc<(Mutex<DelayProbe>, Condvar)>);

impl Probe {
    fn sent(&self) -> CaptureTap {
        let probe = self.clone();
        CaptureTap(Arc::new(move |time, samples| probe.0.0.lock().unwrap().sent.push(time, samples)))
    }

    fn received(&self) -> Tap {
        let probe = self.clone();
        Arc::new(move |time, samples| {
            probe.0.0.lock().unwrap().received.push(time, samples);
            probe.0.1.notify_all();
        })
    }

    /// Waits until so much was heard since the first sound.
    fn wait_heard(&self, heard: Duration) -> DelayProbe {
        let deadline = Instant::now() + PATIENCE;
        let mut probe = self.0.0.lock().unwrap();
        loop {
            let since = probe.received.first_sound_ns().map_or(0, |first| crate::now_ns().saturating_sub(first));
            if u128::from(since) > heard.as_nanos() {
                return probe.clone();
            }
            assert!(Instant::now() < deadline, "nothing was heard in {PATIENCE:?}");
            probe = self.0.1.wait_timeout(probe, Duration::from_secs(1)).unwrap().0;
        }
    }
}

fn config(audio_in: AudioSource, audio_out: AudioSink) -> SessionConfig {
    SessionConfig {
        audio_in,
        audio_out,
        muted: false,
        audio: AudioSettings::default(),
        video_in: None,
        video_out: VideoSink::Null,
        video: video::Settings::default(),
        screen: super::ScreenOptions::default(),
    }
}

/// Carries what comes out of one session into the other until the first is gone; gives back all but the frames.
fn carry(from: Receiver<Outgoing>, to: &Session, stop: &std::sync::atomic::AtomicBool) -> Vec<Outgoing> {
    let mut others = Vec::new();
    loop {
        match from.recv_timeout(Duration::from_millis(20)) {
            Ok(Outgoing::Frame(frame)) => to.incoming(Incoming::Frame(EncodedFrame { stream: 1, ..frame })),
            Ok(other) => others.push(other),
            Err(RecvTimeoutError::Timeout) if stop.load(std::sync::atomic::Ordering::Acquire) => return others,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return others,
        }
    }
}

#[test]
fn what_one_says_the_other_hears() {
    let probe = Probe::default();
    let mut alice = config(AudioSource::Speech { seed: 1 }, AudioSink::Null);
    alice.audio.capture_tap = Some(probe.sent());
    let (alice, from_alice) = Session::start(alice).unwrap();
    let (bob, from_bob) = Session::start(config(AudioSource::Silence, AudioSink::Tap(probe.received()))).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (heard, others) = std::thread::scope(|scope| {
        let to_bob = scope.spawn(|| carry(from_alice, &bob, &stop));
        let to_alice = scope.spawn(|| carry(from_bob, &alice, &stop));
        let flow = crate::now_ns();
        alice.incoming(Incoming::Flow { audio: true, video: false, screen: false });
        let heard = probe.wait_heard(Duration::from_secs(4));
        let first = heard.received.first_sound_ns().unwrap_or_default().saturating_sub(flow);
        println!("first sound {:.1} ms after it might", first as f64 / 1e6);
        stop.store(true, std::sync::atomic::Ordering::Release);
        to_bob.join().unwrap();
        (heard, to_alice.join().unwrap())
    });
    let report = heard.report().expect("the speech is found");
    println!("{report:?}\n{:?}", bob.stats().voice_in);
    assert!(report.similarity > 0.8, "{report:?}");
    assert!(report.found * 10 >= report.looked_for * 8, "{report:?}");
    assert_eq!(bob.stats().voice_in.refused, 0);
    assert!(alice.levels().input.rms_db > -100.0);
    assert!(others.iter().any(|other| matches!(other, Outgoing::Playout { .. })), "playout is reported: {others:?}");
    let stats = alice.stop();
    assert!(stats.voice_out.sent > 100, "{stats:?}");
}

/// The voice takes 150 ms longer than the picture; only the clocks of both streams can tell that.
#[test]
fn a_picture_waits_for_its_voice() {
    const DETOUR: Duration = Duration::from_millis(150);
    let probe = Probe::default();
    let mut alice = config(AudioSource::Speech { seed: 5 }, AudioSink::Null);
    alice.audio.capture_tap = Some(probe.sent());
    alice.video_in = Some(VideoSource::Moving { seed: 1 });
    let (alice, from_alice) = Session::start(alice).unwrap();
    let delays = Arc::new(Mutex::new(Vec::new()));
    let seen = delays.clone();
    let mut bob = config(AudioSource::Silence, AudioSink::Tap(probe.received()));
    bob.video_out = VideoSink::Tap(video::Tap::watched(move |picture, shown| {
        if let Some(tag) = video::moving::Tag::read(picture) {
            seen.lock().unwrap().push(f64::from(tag.age_ms(shown)));
        }
    }));
    let (bob, _from_bob) = Session::start(bob).unwrap();
    alice.incoming(Incoming::Flow { audio: true, video: true, screen: false });
    let stop = std::sync::atomic::AtomicBool::new(false);
    let heard = std::thread::scope(|scope| {
        let (bob, stop) = (&bob, &stop);
        scope.spawn(move || {
            let mut detour = std::collections::VecDeque::new();
            while !stop.load(std::sync::atomic::Ordering::Acquire) {
                if let Ok(Outgoing::Frame(frame)) = from_alice.recv_timeout(Duration::from_millis(2)) {
                    let stream = if frame.kind == Kind::Audio { 1 } else { 2 };
                    let (timestamp, sender_us) = (frame.timestamp, frame.time_ns / 1000);
                    bob.incoming(Incoming::Clock { stream, timestamp, sender_us });
                    let frame = EncodedFrame { stream, ..frame };
                    if frame.kind == Kind::Audio {
                        detour.push_back((Instant::now() + DETOUR, frame));
                    } else {
                        bob.incoming(Incoming::Frame(frame));
                    }
                }
                while detour.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                    if let Some((_, frame)) = detour.pop_front() {
                        bob.incoming(Incoming::Frame(frame));
                    }
                }
            }
        });
        let heard = probe.wait_heard(Duration::from_secs(4));
        stop.store(true, std::sync::atomic::Ordering::Release);
        heard
    });
    let voice = heard.report().expect("the voice is heard").median_ms;
    // Pictures of the time before the voice was first heard are shown at once.
    let mut delays: Vec<f64> = delays.lock().unwrap().iter().copied().skip(30).collect();
    delays.sort_by(f64::total_cmp);
    let picture = delays.get(delays.len() / 2).copied().unwrap_or_default();
    println!("voice {voice:.0} ms, picture {picture:.0} ms on the way, {} pictures", delays.len());
    // Without the clocks pictures would be shown about as soon as they come, long before the voice.
    assert!(picture > 150.0, "the picture was {picture} ms on its way, the voice {voice} ms");
}

#[test]
fn a_muted_person_is_not_heard_but_is_there() {
    let probe = Probe::default();
    let mut alice = config(AudioSource::Speech { seed: 2 }, AudioSink::Null);
    alice.muted = true;
    let (alice, from_alice) = Session::start(alice).unwrap();
    let (bob, _from_bob) = Session::start(config(AudioSource::Silence, AudioSink::Tap(probe.received()))).unwrap();
    alice.incoming(Incoming::Flow { audio: true, video: false, screen: false });
    let mut frames = 0;
    let mut carry_frames = |wanted: u32| {
        while frames < wanted {
            if let Outgoing::Frame(frame) = from_alice.recv_timeout(PATIENCE).expect("packets go on") {
                bob.incoming(Incoming::Frame(frame));
                frames += 1;
            }
        }
    };
    carry_frames(20);
    assert!(probe.0.0.lock().unwrap().received.first_sound_ns().is_none(), "nothing is heard");
    assert!(alice.muted() && alice.levels().input.rms_db > -60.0, "but the meter shows it");
    alice.set_muted(false);
    carry_frames(120);
    probe.wait_heard(Duration::ZERO);
}

#[test]
fn microphone_and_speaker_change_while_the_call_runs() {
    let probe = Probe::default();
    let (alice, from_alice) = Session::start(config(AudioSource::Silence, AudioSink::Null)).unwrap();
    let (bob, _from_bob) = Session::start(config(AudioSource::Silence, AudioSink::Tap(probe.received()))).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| carry(from_alice, &bob, &stop));
        alice.incoming(Incoming::Flow { audio: true, video: false, screen: false });
        bob.set_speaker(None).unwrap();
        alice.set_microphone(&AudioSource::Speech { seed: 9 }).unwrap();
        probe.wait_heard(Duration::from_millis(500));
        let missing = AudioSource::Wav { path: "/nowhere.wav".into(), repeat: false };
        assert!(alice.set_microphone(&missing).is_err());
        // A failed change changes nothing: the voice is still heard.
        probe.0.0.lock().unwrap().received = crate::measure::SoundLog::default();
        probe.wait_heard(Duration::from_millis(100));
        stop.store(true, std::sync::atomic::Ordering::Release);
    });
    assert_eq!(bob.stats().voice_in.restarts, 0, "the stream goes on through the change");
}

#[test]
fn a_call_is_recorded_and_a_file_is_played() {
    let folder = tempfile::tempdir().unwrap();
    let (said, heard) = (folder.path().join("said.wav"), folder.path().join("heard.wav"));
    let mut speech = vec![0.0; 96_000];
    crate::audio::synth::Synth::fill(&mut crate::audio::synth::Speech::new(3), &mut speech);
    let mut writer = WavSink::create(&said).unwrap();
    writer.write(&speech).unwrap();
    writer.finish().unwrap();

    let probe = Probe::default();
    let both = AudioSink::Both(Box::new(AudioSink::Wav(heard.clone())), Box::new(AudioSink::Tap(probe.received())));
    let (alice, from_alice) =
        Session::start(config(AudioSource::Wav { path: said.clone(), repeat: false }, AudioSink::Null)).unwrap();
    let (bob, _from_bob) = Session::start(config(AudioSource::Silence, both)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| carry(from_alice, &bob, &stop));
        alice.incoming(Incoming::Flow { audio: true, video: false, screen: false });
        probe.wait_heard(Duration::from_secs(2));
        stop.store(true, std::sync::atomic::Ordering::Release);
    });
    bob.stop();
    let mut comparison = DelayProbe::default();
    let mut recorded = crate::audio::wav::WavSource::open(&heard, false).unwrap();
    let mut piece = vec![0.0; 480];
    for (i, sent) in speech.chunks(480).enumerate() {
        let time = i as u64 * 10_000_000;
        comparison.sent.push(time, sent);
        recorded.fill(&mut piece);
        comparison.received.push(time, &piece);
    }
    let report = comparison.report().expect("the file is in the recording");
    assert!(report.similarity > 0.8 && report.found > 5, "{report:?}");
}

#[test]
fn what_cannot_work_is_said_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no.wav");
    std::fs::write(&path, "not a sound").unwrap();
    let out: Out = Arc::new(|_| ());
    let start = |audio_in, audio_out| Session::start_with(config(audio_in, audio_out), out.clone()).unwrap_err();
    let error = start(AudioSource::Wav { path: path.clone(), repeat: true }, AudioSink::Null);
    assert!(error.to_string().contains("no.wav is no WAV file"), "{error}");
    let error = start(AudioSource::Silence, AudioSink::Wav(folder.path().join("none/out.wav")));
    assert!(error.to_string().contains("cannot write"), "{error}");
    let two = AudioSink::Both(Box::new(AudioSink::Device(None)), Box::new(AudioSink::Device(None)));
    assert!(matches!(start(AudioSource::Silence, two), SessionError::TwoDevices));
}

#[test]
fn hostile_input_does_not_stop_a_session() {
    let (session, _out) = Session::start(config(AudioSource::Silence, AudioSink::Null)).unwrap();
    for i in 0..5_000_u32 {
        let kind = if i % 3 == 0 { Kind::Video } else { Kind::Audio };
        session.incoming(Incoming::Frame(EncodedFrame {
            kind,
            key: i % 5 == 0,
            gap: i % 7 == 0,
            restart: i % 11 == 0,
            red: i % 4 == 0,
            layer: 200,
            stream: i as u16,
            sequence: i.wrapping_mul(0x9e37_79b9),
            timestamp: i.wrapping_mul(0x85eb_ca6b),
            time_ns: u64::MAX - u64::from(i),
            payload: vec![i as u8; (i % 300) as usize],
        }));
        session.incoming(Incoming::Clock { stream: i as u16, timestamp: i, sender_us: u64::MAX });
    }
    session.incoming(Incoming::Feedback(Guidance {
        loss: f64::INFINITY,
        loss_burst: f64::NAN,
        rtt_ms: Some(f64::NAN),
        ..Guidance::default()
    }));
    session.incoming(Incoming::KeyFrameRequest { kind: Kind::Video });
    assert!(session.stop().voice_in.received > 0);
}

#[test]
fn another_camera_goes_on_in_the_same_stream_and_one_that_fails_leaves_the_old_one() {
    let mut config = config(AudioSource::Silence, AudioSink::Null);
    config.video_in = Some(VideoSource::Moving { seed: 1 });
    let (session, out) = Session::start(config).unwrap();
    session.incoming(Incoming::Flow { audio: false, video: true, screen: false });
    let frame = || loop {
        match out.recv_timeout(PATIENCE) {
            Ok(Outgoing::Frame(frame)) if frame.kind == Kind::Video => break frame,
            Ok(_) => {}
            Err(error) => panic!("no frame: {error}"),
        }
    };
    assert!(frame().key);
    assert!(!frame().key);
    let missing = VideoSource::Y4m("/no/such/file.y4m".into());
    assert!(session.set_video(Some(missing)).is_err());
    let before = frame();
    assert!(!before.key, "the old one goes on");
    session.set_video(Some(VideoSource::Moving { seed: 2 })).unwrap();
    // What the old one had made already comes first.
    let mut last = before.timestamp;
    loop {
        let next = frame();
        assert!(next.timestamp.wrapping_sub(last) < 1 << 31, "one clock");
        last = next.timestamp;
        if next.key {
            break;
        }
    }
    assert!(!frame().key);
    session.set_video(None).unwrap();
    assert_eq!(session.stats().video_out, None);
    let two = [VideoSource::Camera(None), VideoSource::Camera(Some("/dev/video1".into()))];
    assert!(two[0].excludes(&two[1]) && two[1].excludes(&two[1]) && !two[1].excludes(&VideoSource::Moving { seed: 1 }));
}

/// The next frame of pictures, and what else came before it.
fn next_picture(from: &Receiver<Outgoing>) -> EncodedFrame {
    loop {
        match from.recv_timeout(PATIENCE).expect("pictures go on") {
            Outgoing::Frame(frame) if frame.kind.is_picture() => return frame,
            _ => {}
        }
    }
}

#[test]
fn pictures_become_as_small_as_the_friends_program_takes_them() {
    let mut config = config(AudioSource::Silence, AudioSink::Null);
    config.video_in = Some(VideoSource::Moving { seed: 3 });
    let (alice, from_alice) = Session::start(config).unwrap();
    alice.incoming(Incoming::Flow { audio: false, video: true, screen: false });
    assert!(next_picture(&from_alice).key);
    let limits = video::codec::PictureLimits { pixels: 396 * 256, ..video::codec::PictureLimits::NONE };
    let video = Some(PictureCodec { limits, ..PictureCodec::default() });
    alice.incoming(Incoming::Agreed(Agreed { video, ..Agreed::default() }));
    // Another size begins with a key frame.
    while !next_picture(&from_alice).key {}
    let stats = alice.stats().video_out.unwrap();
    assert!(stats.width * stats.height <= 396 * 256 && stats.width > 400, "{stats:?}");
}

#[test]
fn without_a_codec_in_common_the_voice_goes_on_and_it_is_said() {
    let mut config = config(AudioSource::Tone { frequency: 440.0 }, AudioSink::Null);
    config.video_in = Some(VideoSource::Moving { seed: 3 });
    let (alice, from_alice) = Session::start(config).unwrap();
    let told = |from: &Receiver<Outgoing>, part: Part| loop {
        match from.recv_timeout(PATIENCE).expect("it is said") {
            Outgoing::Problem(problem) if problem.part == part => return problem,
            Outgoing::Frame(frame) => assert!(!frame.kind.is_picture()),
            _ => {}
        }
    };
    alice.incoming(Incoming::Agreed(Agreed::default()));
    let problem = told(&from_alice, Part::VideoIn);
    assert!(problem.text.contains("voice") && !problem.retrying, "{problem:?}");
    alice.incoming(Incoming::Flow { audio: true, video: true, screen: true });
    // What is switched on later is said again.
    let source = video::screen::ScreenSource::Synthetic { seed: 1 };
    alice.set_screen(Some(Share { source, sound: None })).unwrap();
    told(&from_alice, Part::ScreenIn);
    let mut voice = 0;
    while voice < 25 {
        if let Outgoing::Frame(frame) = from_alice.recv_timeout(PATIENCE).expect("the voice goes on") {
            assert_eq!(frame.kind, Kind::Audio);
            voice += 1;
        }
    }
    // Another friend's program, in a call that goes on: pictures come.
    alice.incoming(Incoming::Agreed(Agreed { video: Some(PictureCodec::default()), ..Agreed::default() }));
    assert!(next_picture(&from_alice).key);
}
