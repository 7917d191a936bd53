//! The sound that goes with a shared screen, against a real PulseAudio server of the test's own: another program's sound
//! is heard, the call's own is not. Without PulseAudio and its `pacat` the test says that it is skipped.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::f32::consts::TAU;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use twocan_media::audio::SAMPLE_RATE;
use twocan_media::audio::backend::AudioBackend;
use twocan_media::audio::pulse::Pulse;

const PATIENCE: Duration = Duration::from_secs(60);
/// What the other program plays, and what the call plays, in Hz.
const OTHER: f32 = 440.0;
const OWN: f32 = 1000.0;

/// Ends a program with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

fn server(folder: &Path, socket: &Path) -> Option<Ended> {
    let native = format!("module-native-protocol-unix socket={} auth-anonymous=1", socket.display());
    let mut command = Command::new("pulseaudio");
    command
        .args(["-n", "--daemonize=no", "--exit-idle-time=60", "--use-pid-file=no", "-L", native.as_str()])
        .args(["-L", "module-null-sink sink_name=spk rate=48000 channels=2"])
        .env("HOME", folder)
        .env("XDG_RUNTIME_DIR", folder)
        .env_remove("PULSE_SERVER")
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    let Ok(child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        skipped("there is no pulseaudio here");
        return None;
    };
    let mut server = Ended(child);
    let deadline = Instant::now() + PATIENCE;
    while Pulse::at(socket.to_owned()).devices().is_err() {
        if let Ok(Some(status)) = server.0.try_wait() {
            skipped(&format!("pulseaudio does not run here ({status})"));
            return None;
        }
        assert!(Instant::now() < deadline, "pulseaudio does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(server)
}

/// A program that plays [`OTHER`] for a minute.
fn program(socket: &Path) -> Option<Ended> {
    let mut command = Command::new("pacat");
    command
        .args(["--playback", "--raw", "--format=float32le", "--rate=48000", "--channels=1", "-d", "spk"])
        .env("PULSE_SERVER", format!("unix:{}", socket.display()));
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        skipped("there is no pacat here");
        return None;
    };
    let mut input = child.stdin.take().unwrap();
    std::thread::spawn(move || {
        let mut phase = 0_u32;
        // Ends when the program does.
        loop {
            let piece: Vec<u8> = (0..4800)
                .flat_map(|_| {
                    phase += 1;
                    (0.2 * (phase as f32 * OTHER / SAMPLE_RATE as f32 * TAU).sin()).to_le_bytes()
                })
                .collect();
            if input.write_all(&piece).is_err() {
                return;
            }
        }
    });
    Some(Ended(child))
}

/// Power at a frequency (Goertzel), as the square of an amplitude.
fn power(samples: &[f32], frequency: f32) -> f32 {
    let step = TAU * frequency / SAMPLE_RATE as f32;
    let (mut sine, mut cosine) = (0.0_f32, 0.0_f32);
    for (n, sample) in samples.iter().enumerate() {
        sine += sample * (n as f32 * step).sin();
        cosine += sample * (n as f32 * step).cos();
    }
    let scale = 2.0 / samples.len() as f32;
    (sine * scale).powi(2) + (cosine * scale).powi(2)
}

#[test]
fn other_programs_are_heard_and_the_call_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("native");
    let Some(_server) = server(folder.path(), &socket) else { return };
    let pulse = Pulse::at(socket.clone());
    let phase = Mutex::new(0_u32);
    let fill = move |samples: &mut [f32], _| {
        let mut phase = phase.lock().unwrap();
        for sample in samples {
            *phase += 1;
            *sample = 0.5 * (*phase as f32 * OWN / SAMPLE_RATE as f32 * TAU).sin();
        }
    };
    let own = pulse.playback(Some("spk"), Arc::new(fill)).unwrap();
    let Some(_program) = program(&socket) else { return };

    let heard = Arc::new((Mutex::new(Vec::<f32>::new()), Condvar::new()));
    let take = heard.clone();
    let capture = pulse
        .capture_playing(Arc::new(move |samples: &[f32]| {
            let mut heard = take.0.lock().unwrap();
            heard.extend_from_slice(samples);
            let excess = heard.len().saturating_sub(9600);
            heard.drain(..excess);
            take.1.notify_all();
        }))
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut samples = heard.0.lock().unwrap();
    while samples.len() < 9600 || power(&samples, OTHER) < 0.02 {
        assert!(Instant::now() < deadline, "the other program is not heard: {}", power(&samples, OTHER));
        samples = heard.1.wait_timeout(samples, Duration::from_secs(1)).unwrap().0;
    }
    let (other, mine) = (power(&samples, OTHER), power(&samples, OWN));
    drop(samples);
    assert!(own.alive() && capture.alive());
    // 0.2 squared, and nothing of ours (which is 0.25 at the speaker).
    assert!((0.02..0.06).contains(&other) && mine < 1e-4, "other {other}, own {mine}");
}
