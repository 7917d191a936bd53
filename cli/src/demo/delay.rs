//! `twocan bench delay`: mouth to ear through real sound devices.
//!
//! A PulseAudio server of the bench's own has a microphone that hears what is played to it, and a speaker whose monitor
//! hears what comes out. A voice goes into Alice's microphone and out of Bob's speaker, through two real nodes; what
//! passes both points is recorded in the same way, so that the recording's own delay cancels out. Then Alice's node is
//! stopped for moments, again and again: to Bob that is a path that jitters. How soon the delay falls back is measured.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use twocan_control::{AnswerCall, Event, Handle, PlaceCall, SeatedCall};
use twocan_media::audio::backend::AudioBackend;
use twocan_media::audio::pulse::Pulse;
use twocan_media::audio::synth::{Speech, Synth};
use twocan_media::audio::{AudioSettings, AudioSink, AudioSource};
use twocan_media::measure::{DelayProbe, Piece, SoundLog};
use twocan_media::now_ns;
use twocan_media::session::{ScreenOptions, SessionConfig};
use twocan_media::video::{self, VideoSink};

use super::call::Task;
use super::node::Node;
use super::numbers::{median, percentile, tenth};
use super::setup::World;
use super::story::Story;
use crate::bridge::{Counters, Voice};
use crate::exit::{Exit, Failure};
use crate::live::options::unusable;
use crate::live::seat::Seat;

/// How long the sound server may take to start.
const SERVER: Duration = Duration::from_secs(10);
/// The call settles before it is measured.
const SETTLE: Duration = Duration::from_secs(5);
/// The bad spell: the node stands still for so long...
const STALL: Duration = Duration::from_millis(150);
/// ...and runs for so long, by turns...
const RUN: Duration = Duration::from_millis(250);
/// ...so many times.
const STALLS: u32 = 8;
/// How long the delay is watched afterwards.
const AFTER: Duration = Duration::from_secs(15);
/// The delay has fallen back when it is not more than this above what it was, ms...
const BACK_MS: f64 = 10.0;
/// ...in the median of so much time, ns.
const WINDOW_NS: u64 = 1_000_000_000;
/// Longest delay that is looked for, ms.
const LONGEST_MS: u64 = 1_500;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Median of the calm call, ms.
    pub median_ms: f64,
    /// 95th percentile of the calm call, ms.
    pub p95_ms: f64,
    /// Pieces of 100 ms that were found.
    pub pieces: usize,
    /// Jitter buffer's delay in the calm call, ms.
    pub buffer_ms: f64,
    /// Longest median of a second in and after the bad spell, ms.
    pub worst_ms: f64,
    /// From the end of the bad spell until the delay is back, s; none if it was not back at the end.
    pub back_s: Option<f64>,
}

/// A PulseAudio server of our own, gone when dropped.
struct Server {
    child: Child,
    socket: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start(folder: &Path) -> Result<Self, Failure> {
        let folder = folder.join("sound");
        std::fs::create_dir_all(&folder).map_err(|error| Failure::file(&folder, "make", &error))?;
        let socket = folder.join("native");
        let native = format!("module-native-protocol-unix socket={} auth-anonymous=1", socket.display());
        let child = Command::new("pulseaudio")
            .args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--log-target=stderr"])
            .args(["-L", native.as_str()])
            .args(["-L", "module-null-sink sink_name=speaker rate=48000 channels=2"])
            .args(["-L", "module-null-sink sink_name=mouth rate=48000 channels=1"])
            .args(["-L", "module-remap-source master=mouth.monitor source_name=microphone"])
            .env("HOME", &folder)
            .env("XDG_RUNTIME_DIR", &folder)
            .env("XDG_CONFIG_HOME", &folder)
            .env_remove("PULSE_SERVER")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| missing(&format!("pulseaudio cannot be started: {error}")))?;
        let mut server = Self { child, socket };
        let deadline = Instant::now() + SERVER;
        loop {
            let devices = Pulse::at(server.socket.clone()).devices();
            if devices.is_ok_and(|devices| devices.iter().any(|device| device.id == "microphone")) {
                return Ok(server);
            }
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(missing(&format!("pulseaudio does not run here ({status})")));
            }
            if Instant::now() > deadline {
                return Err(missing("pulseaudio does not answer"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn system(&self) -> Arc<dyn AudioBackend> {
        Arc::new(Pulse::at(self.socket.clone()))
    }
}

fn missing(what: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("no sound server to measure with: {what}"))
        .hint("install PulseAudio: the bench runs a server of its own, with devices that make no sound")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets the node stand still while this lives.
struct Stalled(libc::pid_t);

impl Stalled {
    fn new(node: &Node) -> Option<Self> {
        let pid = libc::pid_t::try_from(node.pid()).ok().filter(|pid| *pid > 0)?;
        signal(pid, libc::SIGSTOP);
        Some(Self(pid))
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        signal(self.0, libc::SIGCONT);
    }
}

fn signal(pid: libc::pid_t, signal: libc::c_int) {
    // SAFETY: no memory is involved; the process is a child of ours that is waited for only after this.
    #[expect(unsafe_code, reason = "std can only kill")]
    unsafe {
        libc::kill(pid, signal);
    }
}

fn person(audio_in: AudioSource, audio_out: AudioSink, system: &Arc<dyn AudioBackend>) -> Result<Voice, Failure> {
    let config = SessionConfig {
        audio_in,
        audio_out,
        muted: false,
        audio: AudioSettings::default(),
        video_in: None,
        video_out: VideoSink::Null,
        video: video::Settings::default(),
        screen: ScreenOptions::default(),
    };
    Voice::start_on(config, system).map_err(|error| unusable(&error))
}

fn sit(node: &Node, seated: SeatedCall, voice: Voice) -> Task {
    let seat = Seat { node: node.client.clone(), call: seated.call.id, token: seated.seat };
    // Nobody listens to notes: a device that fails shows as sound that is not found.
    let (notes, _) = mpsc::channel(1);
    Task(tokio::spawn(seat.keep(voice, notes, Arc::<Counters>::default())))
}

/// Measures one call; the calm part lasts for `calm`.
///
/// # Errors
/// No PulseAudio, or whatever did not happen in the call.
pub async fn measure(folder: &Path, calm: Duration, story: &mut Story<'_>) -> Result<Measured, Failure> {
    let server = Server::start(folder).await?;
    let system = server.system();
    let world = World::create(folder, story).await?;
    let (alice, bob) = (&world.alice, world.bob()?);
    story.chapter("A call through devices")?;
    let device = |name: &str| Some(name.to_owned());
    let speaks = person(AudioSource::Device(device("microphone")), AudioSink::Null, &system)?;
    let hears = person(AudioSource::Silence, AudioSink::Device(device("speaker")), &system)?;
    let ear = Arc::clone(&hears.session);
    alice.diary.clear();
    bob.diary.clear();
    let seated = alice.client.place_call(PlaceCall { friend: world.bob_is.root.clone(), video: false }).await?;
    let id = seated.call.id.clone();
    let alice_talks = sit(alice, seated, speaks);
    let rings = |event: &Event| match event {
        Event::CallIncoming { call } if call.id == id => Some(()),
        _ => None,
    };
    bob.diary.wait("Bob's client to ring", rings).await?;
    let bob_talks = sit(bob, bob.client.answer_call(&id, AnswerCall { video: false }).await?, hears);

    let (said, heard) = (Arc::new(Mutex::new(SoundLog::default())), Arc::new(Mutex::new(SoundLog::default())));
    let broken = |error: twocan_media::audio::backend::AudioError| Failure::new(Exit::Media, error.to_string());
    let record = |name: &str, log: &Arc<Mutex<SoundLog>>| {
        let log = Arc::clone(log);
        system.capture(Some(name), Arc::new(move |samples: &[f32]| lock(&log).push(now_ns(), samples))).map_err(broken)
    };
    let (at_mouth, at_ear) = (record("mouth.monitor", &said)?, record("speaker.monitor", &heard)?);
    let voice = Mutex::new(Speech::new(8));
    let says = system
        .playback(Some("mouth"), Arc::new(move |samples: &mut [f32], _| lock(&voice).fill(samples)))
        .map_err(broken)?;

    sleep(SETTLE).await;
    let begin = now_ns();
    sleep(calm).await;
    let stalls = now_ns();
    let buffer_ms = ear.stats().voice_in.delay_ms;
    story.tell("Alice's node stands still now and then")?;
    for _ in 0..STALLS {
        let stalled = Stalled::new(alice);
        sleep(STALL).await;
        drop(stalled);
        sleep(RUN).await;
    }
    let stalled = now_ns();
    sleep(AFTER).await;
    let end = now_ns();
    drop((says, at_mouth, at_ear));
    alice.client.hangup(&id).await?;
    alice_talks.finish().await;
    bob_talks.finish().await;

    let probe = DelayProbe { sent: lock(&said).clone(), received: lock(&heard).clone() };
    let (pieces, _) = tokio::task::spawn_blocking(move || probe.pieces(begin..end, LONGEST_MS))
        .await
        .map_err(|error| Failure::new(Exit::Internal, format!("comparing failed: {error}")))?;
    judge(&pieces, stalls, stalled, buffer_ms)
        .ok_or_else(|| Failure::new(Exit::Unwell, "the voice was not found at the speaker"))
}

/// What the pieces say: calm until `stalls`, a bad spell until `stalled`.
fn judge(pieces: &[Piece], stalls: u64, stalled: u64, buffer_ms: f64) -> Option<Measured> {
    let within = |from: u64, to: u64| -> Vec<f64> {
        pieces.iter().filter(|piece| (from..to).contains(&piece.heard_ns)).map(|piece| piece.delay_ms).collect()
    };
    let calm = within(0, stalls);
    let median_ms = median(&calm)?;
    let end = pieces.last()?.heard_ns;
    let (mut worst_ms, mut back_ns) = (median_ms, None);
    let mut from = stalls;
    while from < end {
        // A second without any sound says nothing.
        if let Some(delay) = median(&within(from, from + WINDOW_NS)) {
            worst_ms = delay.max(worst_ms);
            if delay > median_ms + BACK_MS {
                back_ns = None;
            } else if from >= stalled {
                back_ns.get_or_insert(from);
            }
        }
        from += WINDOW_NS / 2;
    }
    Some(Measured {
        median_ms: tenth(median_ms),
        p95_ms: tenth(percentile(&calm, 0.95)?),
        pieces: calm.len(),
        buffer_ms: tenth(buffer_ms),
        worst_ms: tenth(worst_ms),
        back_s: back_ns.map(|back| tenth(back.saturating_sub(stalled) as f64 / 1e9)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn pieces(delay: impl Fn(u64) -> f64) -> Vec<Piece> {
        (0..400).map(|i| i * S / 10).map(|at| Piece { heard_ns: at, delay_ms: delay(at), similarity: 1.0 }).collect()
    }

    #[test]
    fn the_delay_is_back_when_it_stays_back() {
        // Calm until 10 s, bad until 13 s, back at 16 s, and once more for a second at 18 s.
        let high = |at: u64| (10 * S..16 * S).contains(&at) || (18 * S..19 * S).contains(&at);
        let measured = judge(&pieces(|at| if high(at) { 200.0 } else { 70.0 }), 10 * S, 13 * S, 20.0).unwrap();
        assert_eq!((measured.median_ms, measured.p95_ms, measured.worst_ms), (70.0, 70.0, 200.0));
        let back = measured.back_s.unwrap();
        assert!((5.0..=6.5).contains(&back), "{back}");
    }

    #[test]
    fn a_delay_that_stays_is_never_back() {
        let measured = judge(&pieces(|at| if at > 10 * S { 200.0 } else { 70.0 }), 10 * S, 13 * S, 20.0).unwrap();
        assert_eq!(measured.back_s, None);
        assert!(judge(&[], 0, 0, 0.0).is_none());
    }
}
