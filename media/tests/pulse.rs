//! The Linux sound backend against a real PulseAudio server, which each test starts for itself in a folder of its own:
//! a null sink is the speaker, its monitor hears what was played. Without PulseAudio the tests say that they are skipped.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use twocan_media::audio::backend::{AudioBackend, Take};
use twocan_media::audio::loopback;
use twocan_media::audio::meter::Level;
use twocan_media::audio::process::ProcessingSettings;
use twocan_media::audio::pulse::Pulse;
use twocan_media::audio::synth::{Speech, Synth, Tone};
use twocan_media::audio::{AudioSettings, AudioSink, AudioSource, CaptureTap};
use twocan_media::measure::DelayProbe;
use twocan_media::session::{Incoming, Out, Outgoing, Part, ScreenOptions, Session, SessionConfig};
use twocan_media::video::{Settings, VideoSink};

const PATIENCE: Duration = Duration::from_secs(60);

/// A PulseAudio server with the speaker "spk" and the microphone "mic" (which hears what is played to "micsink").
struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    fn socket(folder: &Path) -> PathBuf {
        folder.join("native")
    }

    /// None, with a word why, if there is no PulseAudio here.
    fn start(folder: &Path) -> Option<Self> {
        let native = format!("module-native-protocol-unix socket={} auth-anonymous=1", Self::socket(folder).display());
        let child = Command::new("pulseaudio")
            .args(["-n", "--daemonize=no", "--exit-idle-time=60", "--use-pid-file=no", "--log-target=stderr"])
            .args(["-L", native.as_str()])
            .args(["-L", "module-null-sink sink_name=spk rate=48000 channels=2"])
            .args(["-L", "module-null-sink sink_name=micsink rate=48000 channels=1"])
            .args(["-L", "module-remap-source master=micsink.monitor source_name=mic"])
            .env("HOME", folder)
            .env("XDG_RUNTIME_DIR", folder)
            .env("XDG_CONFIG_HOME", folder)
            .env_remove("PULSE_SERVER")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: pulseaudio cannot be started ({error}); install it to run this test");
                return None;
            }
        };
        let mut server = Self { child, folder: folder.to_owned() };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let devices = Pulse::at(Self::socket(folder)).devices();
            if devices.as_ref().is_ok_and(|devices| devices.iter().any(|device| device.id == "mic")) {
                return Some(server);
            }
            if let Ok(Some(status)) = server.child.try_wait() {
                println!("skipped: pulseaudio does not run here ({status})");
                return None;
            }
            assert!(Instant::now() < deadline, "pulseaudio does not answer: {devices:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn pulse(&self) -> Arc<dyn AudioBackend> {
        Arc::new(Pulse::at(Self::socket(&self.folder)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends of a path, and a bell.
#[derive(Clone, Default)]
struct Probe(Arc<(Mutex<DelayProbe>, Condvar)>);

impl Probe {
    fn sent(&self, samples: &[f32]) {
        self.0.0.lock().unwrap().sent.push(twocan_media::now_ns(), samples);
    }

    fn heard(&self, samples: &[f32]) {
        self.0.0.lock().unwrap().received.push(twocan_media::now_ns(), samples);
        self.0.1.notify_all();
    }

    /// Waits until sound was heard for so long.
    fn wait(&self, heard: Duration) -> DelayProbe {
        let deadline = Instant::now() + PATIENCE;
        let mut probe = self.0.0.lock().unwrap();
        loop {
            let first = probe.received.first_sound_ns();
            if first.is_some_and(|first| u128::from(twocan_media::now_ns().saturating_sub(first)) > heard.as_nanos()) {
                return probe.clone();
            }
            assert!(Instant::now() < deadline, "nothing was heard");
            probe = self.0.1.wait_timeout(probe, Duration::from_secs(1)).unwrap().0;
        }
    }
}

#[test]
fn the_devices_of_the_server_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else { return };
    let devices = server.pulse().devices().unwrap();
    let find = |id: &str, input| devices.iter().find(|device| device.id == id && device.input == input).unwrap();
    assert!(find("spk.monitor", true).monitor && !find("mic", true).monitor);
    assert!(!find("spk", false).name.is_empty());
    let none: Take = Arc::new(|_| ());
    let error = server.pulse().capture(Some("no such"), none).err().unwrap();
    assert!(error.to_string().contains("no microphone named \"no such\""), "{error}");
}

#[test]
fn asking_often_leaves_no_connections_behind() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else { return };
    // The server takes 64 connections at a time.
    for round in 0..200 {
        let devices = server.pulse().devices();
        assert!(devices.is_ok(), "round {round}: {devices:?}");
    }
}

#[test]
fn without_a_server_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = Pulse::at(folder.path().join("native")).devices().unwrap_err();
    assert!(error.to_string().contains("no sound server answers"), "{error}");
}

#[test]
fn what_is_played_is_heard_at_the_monitor() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else { return };
    let probe = Probe::default();
    let (says, hears) = (probe.clone(), probe.clone());
    let capture =
        server.pulse().capture(Some("spk.monitor"), Arc::new(move |samples: &[f32]| hears.heard(samples))).unwrap();
    let voice = Mutex::new(Speech::new(6));
    let fill = move |samples: &mut [f32], _| {
        voice.lock().unwrap().fill(samples);
        says.sent(samples);
    };
    let playback = server.pulse().playback(Some("spk"), Arc::new(fill)).unwrap();
    let report = probe.wait(Duration::from_secs(4)).report().expect("the speech is found");
    assert!(capture.alive() && playback.alive(), "{report:?}");
    println!("played to heard: {report:?}");
    assert!(report.similarity > 0.95, "{report:?}");
    assert!(report.found * 2 >= report.looked_for, "{report:?}");
}

fn config(audio_in: AudioSource, audio_out: AudioSink) -> SessionConfig {
    SessionConfig {
        audio_in,
        audio_out,
        muted: false,
        audio: AudioSettings::default(),
        video_in: None,
        video_out: VideoSink::Null,
        video: Settings::default(),
        screen: ScreenOptions::default(),
    }
}

/// Starts a session on this sound system, giving out into a channel.
fn session(config: SessionConfig, system: &Arc<dyn AudioBackend>) -> (Session, Receiver<Outgoing>) {
    let (tx, rx) = sync_channel(4096);
    let out: Out = Arc::new(move |outgoing| {
        let _ = tx.try_send(outgoing);
    });
    (Session::start_on(config, out, system).unwrap(), rx)
}

/// A voice enters the microphone of one person and leaves the speaker of the other, through all of the real thing.
#[test]
fn a_call_between_two_people_with_devices() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else { return };
    let system = server.pulse();
    let probe = Probe::default();

    let (says, hears) = (probe.clone(), probe.clone());
    let ear = system.capture(Some("spk.monitor"), Arc::new(move |samples: &[f32]| hears.heard(samples))).unwrap();
    let device = |name: &str| Some(name.to_owned());
    let mut alice = config(AudioSource::Device(device("mic")), AudioSink::Null);
    let captured = Arc::new(AtomicBool::new(false));
    let flag = captured.clone();
    // The probe compares wave forms, which the high-pass and the noise suppressor bend.
    alice.audio.processing =
        ProcessingSettings { high_pass: false, noise_suppression: false, ..ProcessingSettings::default() };
    alice.audio.capture_tap = Some(CaptureTap(Arc::new(move |_, _| flag.store(true, Ordering::Relaxed))));
    let (alice, from_alice) = session(alice, &system);
    let (bob, from_bob) = session(config(AudioSource::Silence, AudioSink::Device(device("spk"))), &system);
    alice.incoming(Incoming::Flow { audio: true, video: false, screen: false });

    let voice = Mutex::new(Speech::new(8));
    let fill = move |samples: &mut [f32], _| {
        voice.lock().unwrap().fill(samples);
        says.sent(samples);
    };
    let mouth = system.playback(Some("micsink"), Arc::new(fill)).unwrap();
    let stop = AtomicBool::new(false);
    let heard = std::thread::scope(|scope| {
        let (stop, bob) = (&stop, &bob);
        scope.spawn(move || {
            while !stop.load(Ordering::Acquire) {
                match from_alice.recv_timeout(Duration::from_millis(50)) {
                    Ok(Outgoing::Frame(frame)) => bob.incoming(Incoming::Frame(frame)),
                    // A machine that stands still for seconds may make a device look dead; it is taken up again.
                    Ok(Outgoing::Problem(problem)) => assert!(problem.retrying, "{problem:?}"),
                    _ => {}
                }
            }
        });
        let heard = probe.wait(Duration::from_secs(5));
        stop.store(true, Ordering::Release);
        heard
    });
    drop((mouth, ear));
    let report = heard.report().expect("the voice is found");
    println!("mouth to ear: {report:?}\n{:?}", bob.stats().voice_in);
    assert!(captured.load(Ordering::Relaxed));
    assert!(report.similarity > 0.8 && report.found * 2 >= report.looked_for, "{report:?}");
    assert!(!from_bob.try_iter().any(|out| matches!(out, Outgoing::Problem(problem) if !problem.retrying)));
}

#[test]
fn a_server_that_dies_is_reported_and_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else { return };
    let system = server.pulse();
    let sink = AudioSink::Device(Some("spk".to_owned()));
    let (session, out) = session(config(AudioSource::Device(Some("mic".to_owned())), sink), &system);
    session.incoming(Incoming::Flow { audio: true, video: false, screen: false });
    let until = |wanted: &dyn Fn(&Outgoing) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "it did not come");
            if out.recv_timeout(PATIENCE).is_ok_and(|outgoing| wanted(&outgoing)) {
                return;
            }
        }
    };
    let both = |part: &dyn Fn(&Outgoing) -> Option<Part>| {
        let (input, output) = (Cell::new(false), Cell::new(false));
        while !(input.get() && output.get()) {
            until(&|outgoing| {
                match part(outgoing) {
                    Some(Part::AudioIn) => input.set(true),
                    Some(Part::AudioOut) => output.set(true),
                    _ => return false,
                }
                true
            });
        }
    };
    until(&|outgoing| matches!(outgoing, Outgoing::Frame(_)));
    drop(server);
    // Both directions break; which one first is chance.
    both(&|outgoing| match outgoing {
        Outgoing::Problem(problem) if problem.retrying => Some(problem.part),
        _ => None,
    });
    until(&|outgoing| matches!(outgoing, Outgoing::Frame(_)));
    let Some(_server) = Server::start(folder.path()) else { panic!("the server does not come back") };
    both(&|outgoing| match outgoing {
        Outgoing::Solved(part) => Some(*part),
        _ => None,
    });
}

/// Loads and unloads what is plugged in and out.
impl Server {
    fn pactl(&self, arguments: &[&str]) -> String {
        let output = Command::new("pactl")
            .arg("--server")
            .arg(format!("unix:{}", Self::socket(&self.folder).display()))
            .args(arguments)
            .env("XDG_RUNTIME_DIR", &self.folder)
            .env("HOME", &self.folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "pactl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// The longest silence in what was heard after its first sound, in samples: by count, so that a slow machine changes
/// nothing.
#[derive(Clone, Default)]
struct Gaps(Arc<(Mutex<Heard>, Condvar)>);

/// Samples.
#[derive(Debug, Default)]
struct Heard {
    sound: usize,
    silence: usize,
    longest: usize,
}

impl Gaps {
    /// Counts sound (all of a tone but its zero crossings is louder than this) and silence.
    fn heard(&self, samples: &[f32]) {
        let mut state = self.0.0.lock().unwrap();
        for block in samples.chunks(240) {
            let loud = block.iter().any(|x| x.abs() > 0.01);
            let Heard { sound, silence, longest } = &mut *state;
            if loud {
                *sound += block.len();
                *silence = 0;
            } else if *sound > 0 {
                *silence += block.len();
                *longest = (*longest).max(*silence);
            }
        }
        self.0.1.notify_all();
    }

    /// Waits for so much more sound (samples), and tells the longest silence so far.
    fn wait_for_sound(&self, more: usize) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.0.0.lock().unwrap();
        let wanted = state.sound + more;
        while state.sound < wanted {
            assert!(Instant::now() < deadline, "no more sound: {state:?}");
            state = self.0.1.wait_timeout(state, Duration::from_secs(1)).unwrap().0;
        }
        state.longest
    }
}

/// 300 ms.
const LONGEST_GAP: usize = 14_400;

#[test]
fn a_microphone_that_is_unplugged_or_changed_leaves_no_long_gap() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else { return };
    let system = server.pulse();
    // Two more microphones, both of which hear the same tone.
    let first = server.pactl(&["load-module", "module-null-sink", "sink_name=usb", "rate=48000", "channels=1"]);
    server.pactl(&["load-module", "module-null-sink", "sink_name=built", "rate=48000", "channels=1"]);
    server.pactl(&["set-default-source", "built.monitor"]);
    let tone = |sink: &str| {
        let voice = Mutex::new(Tone::new(440.0));
        let fill = move |samples: &mut [f32], _| voice.lock().unwrap().fill(samples);
        system.playback(Some(sink), Arc::new(fill)).unwrap()
    };
    let tones = (tone("usb"), tone("built"));
    let gaps = Gaps::default();
    let hears = gaps.clone();
    let mut alice = config(AudioSource::Device(Some("usb.monitor".to_owned())), AudioSink::Null);
    alice.audio.processing = ProcessingSettings::RAW;
    alice.audio.capture_tap = Some(CaptureTap(Arc::new(move |_, samples| hears.heard(samples))));
    let (session, out) = session(alice, &system);
    gaps.wait_for_sound(48_000);
    // Unplugged: the default takes its place.
    server.pactl(&["unload-module", &first]);
    let longest = gaps.wait_for_sound(96_000);
    println!("unplugged microphone: {} ms of silence", longest / 48);
    assert!(longest <= LONGEST_GAP, "{} ms without sound", longest / 48);
    // Changed by the person.
    session.set_microphone(&AudioSource::Device(Some("built.monitor".to_owned()))).unwrap();
    let longest = gaps.wait_for_sound(96_000);
    println!("changed microphone: {} ms of silence", longest / 48);
    assert!(longest <= LONGEST_GAP, "{} ms without sound", longest / 48);
    drop((session, out, tones));
}

#[test]
fn a_speaker_that_is_unplugged_or_changed_leaves_no_long_gap() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else { return };
    let system = server.pulse();
    let usb = server.pactl(&["load-module", "module-null-sink", "sink_name=usb", "rate=48000", "channels=1"]);
    server.pactl(&["set-default-sink", "spk"]);
    // Whoever listens hears both speakers: what is played anywhere is heard.
    let gaps = Gaps::default();
    let ear = |source: &str| {
        let hears = gaps.clone();
        system.capture(Some(source), Arc::new(move |samples: &[f32]| hears.heard(samples))).unwrap()
    };
    let (alice, from_alice) = session(config(AudioSource::Tone { frequency: 440.0 }, AudioSink::Null), &system);
    let (bob, _out) = session(config(AudioSource::Silence, AudioSink::Device(Some("usb".to_owned()))), &system);
    alice.incoming(Incoming::Flow { audio: true, video: false, screen: false });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (stop, bob) = (&stop, &bob);
        scope.spawn(move || {
            while !stop.load(Ordering::Acquire) {
                if let Ok(Outgoing::Frame(frame)) = from_alice.recv_timeout(Duration::from_millis(50)) {
                    bob.incoming(Incoming::Frame(frame));
                }
            }
        });
        let on_usb = ear("usb.monitor");
        gaps.wait_for_sound(48_000);
        drop(on_usb);
        // From here on only the default is listened to; the silence that counts is on it, from the moment of unplugging.
        let on_default = ear("spk.monitor");
        server.pactl(&["unload-module", &usb]);
        let longest = gaps.wait_for_sound(96_000);
        println!("unplugged speaker: {} ms of silence", longest / 48);
        assert!(longest <= LONGEST_GAP + 4_800, "{} ms without sound", longest / 48);
        bob.set_speaker(Some(Some("spk".to_owned()))).unwrap();
        let longest = gaps.wait_for_sound(96_000);
        println!("changed speaker: {} ms of silence", longest / 48);
        assert!(longest <= LONGEST_GAP + 4_800, "{} ms without sound", longest / 48);
        drop(on_default);
        stop.store(true, Ordering::Release);
    });
}

/// The speaker is heard by the microphone, as in a room: what one person says does not come back to them.
#[test]
fn an_echo_through_real_devices_is_taken_out() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else { return };
    let system = server.pulse();
    let gone = |processing: ProcessingSettings| {
        let mut bob =
            config(AudioSource::Device(Some("spk.monitor".to_owned())), AudioSink::Device(Some("spk".to_owned())));
        let heard: Arc<(Mutex<Vec<f32>>, Condvar)> = Arc::default();
        let keep = heard.clone();
        bob.audio.processing = processing;
        bob.audio.capture_tap = Some(CaptureTap(Arc::new(move |_, samples| {
            keep.0.lock().unwrap().extend_from_slice(samples);
            keep.1.notify_all();
        })));
        let (alice, from_alice) = session(config(AudioSource::Speech { seed: 3 }, AudioSink::Null), &system);
        let (bob, _out) = session(bob, &system);
        alice.incoming(Incoming::Flow { audio: true, video: false, screen: false });
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (stop, bob) = (&stop, &bob);
            scope.spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    if let Ok(Outgoing::Frame(frame)) = from_alice.recv_timeout(Duration::from_millis(50)) {
                        bob.incoming(Incoming::Frame(frame));
                    }
                }
            });
            let deadline = Instant::now() + PATIENCE;
            let mut samples = heard.0.lock().unwrap();
            while samples.len() < 12 * 48_000 {
                assert!(Instant::now() < deadline, "the microphone gives nothing");
                samples = heard.1.wait_timeout(samples, Duration::from_secs(1)).unwrap().0;
            }
            stop.store(true, Ordering::Release);
            // Median over pieces of 100 ms, so that a stall of the machine does not count.
            let mut pieces: Vec<f32> =
                samples[6 * 48_000..12 * 48_000].chunks(4_800).map(|piece| Level::of(piece).rms_db).collect();
            pieces.sort_by(f32::total_cmp);
            pieces[pieces.len() / 2]
        })
    };
    let raw = gone(ProcessingSettings::RAW);
    let cancelled = gone(ProcessingSettings { echo_cancelling: true, ..ProcessingSettings::RAW });
    println!("echo through a null sink: {raw:.1} dB, cancelled {cancelled:.1} dB");
    assert!(raw > -45.0 && cancelled < raw - 15.0, "{raw} {cancelled}");
}

#[test]
fn the_sound_test_finds_the_way_from_speaker_to_microphone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(folder.path()) else { return };
    let system = server.pulse();
    let way = loopback::round_trip(system.as_ref(), Some("spk.monitor"), Some("spk")).unwrap();
    println!("{way:?}");
    let way = way.expect("the monitor hears the speaker");
    assert!(way.loudness_db.abs() < 3.0, "{way:?}");
    let none = loopback::round_trip(system.as_ref(), Some("mic"), Some("spk")).unwrap();
    assert_eq!(none, None, "this microphone does not hear the speaker");
    let recording = loopback::record(system.as_ref(), Some("mic"), Duration::from_secs(1), |_| ()).unwrap();
    assert!(recording.samples.len() >= 48_000 && recording.level().peak_db < -75.0);
    assert!(loopback::play(system.as_ref(), Some("spk"), vec![0.1; 24_000]).unwrap());
}
