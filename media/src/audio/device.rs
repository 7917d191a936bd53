//! Keeps a device's stream running through a call: opens it, notices when it dies, opens it again.
//!
//! While there is no device, silence is captured and sound is played to nobody at the right pace, so that the rest of
//! the session neither stops nor notices. When a device that was chosen by name is unplugged, the system's default stands
//! in for it, within a fifth of a second, until it returns. Unplugged devices and a restarted sound server come back by
//! themselves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backend::{AudioBackend, AudioError, Fill, Stream, Take};
use super::paced::{Paced, STEP_SAMPLES};

/// How often a running stream is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// A stream that called before and does not call for so long (75 ms) is asked whether its device is still there ...
const ASK_AFTER_LOOKS: u32 = 3;
/// ... and one that does not call for so long (3 s) is dead, whatever it says. Shorter is wrong: a virtual device that
/// was idle may take two seconds to begin.
const DEAD_AFTER_LOOKS: u32 = 120;
/// While another device stands in for the one that was asked for, looks between two searches for that one: 1 s.
const SEARCH_EVERY_LOOKS: u32 = 40;
/// First and longest pause between two attempts to open.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// What a stream is for.
#[derive(Clone)]
pub enum Purpose {
    /// Capture into this.
    Capture(Take),
    /// Play from this.
    Playback(Fill),
}

/// Is told when the device breaks (with the reason, once for each spell of trouble), and when it works again (none).
pub type Report = Arc<dyn Fn(Option<AudioError>) + Send + Sync>;

/// A supervised device; dropping it closes the stream.
#[derive(Debug)]
pub struct Supervised {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Supervised {
    /// Opens the device in the background and keeps it open.
    pub fn start(
        backend: Arc<dyn AudioBackend>,
        device: Option<String>,
        purpose: Purpose,
        report: Report,
    ) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let worker = Worker {
            backend,
            device,
            purpose,
            report,
            stop: stop.clone(),
            calls: Arc::new(AtomicU64::new(0)),
            in_trouble: false,
        };
        let thread = std::thread::Builder::new().name("sound-device".to_owned()).spawn(move || worker.run())?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the device thread panicked");
        }
    }
}

struct Worker {
    backend: Arc<dyn AudioBackend>,
    device: Option<String>,
    purpose: Purpose,
    report: Report,
    stop: Arc<(Mutex<bool>, Condvar)>,
    /// Counts calls of the running stream.
    calls: Arc<AtomicU64>,
    in_trouble: bool,
}

impl Worker {
    fn run(mut self) {
        let mut pause = RETRY.0;
        loop {
            // Until the device itself calls, the substitute does.
            let substituting = Arc::new(AtomicBool::new(true));
            let substitute = self.substitute(substituting.clone());
            match self.open_any(&substituting) {
                Ok((stream, stands_in)) => {
                    let end = self.watch(stream.as_ref(), substitute, stands_in);
                    if end != End::NeverLived {
                        pause = RETRY.0;
                    }
                    drop(stream);
                    if self.stopped(Duration::ZERO) {
                        return;
                    }
                    if end != End::Returned {
                        self.broken(AudioError::Refused("the device went away".to_owned()));
                    }
                }
                Err(error) => {
                    self.broken(error);
                    if self.stopped(pause) {
                        return;
                    }
                    drop(substitute);
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Waits, and tells whether the end has come.
    fn stopped(&self, wait: Duration) -> bool {
        let (flag, signal) = &*self.stop;
        let guard = flag.lock().unwrap_or_else(PoisonError::into_inner);
        let (guard, _) =
            signal.wait_timeout_while(guard, wait, |stopped| !*stopped).unwrap_or_else(PoisonError::into_inner);
        *guard
    }

    fn broken(&mut self, error: AudioError) {
        if !self.in_trouble {
            self.in_trouble = true;
            (self.report)(Some(error));
        }
    }

    /// Silence in, nobody to hear: at the pace of a device.
    fn substitute(&self, active: Arc<AtomicBool>) -> Option<Paced> {
        let purpose = self.purpose.clone();
        let mut scratch = [0.0; STEP_SAMPLES];
        let work = move |_| {
            if !active.load(Ordering::Acquire) {
                return;
            }
            match &purpose {
                Purpose::Capture(take) => take(&[0.0; STEP_SAMPLES]),
                Purpose::Playback(fill) => fill(&mut scratch, Duration::ZERO),
            }
        };
        Paced::start("sound-none", work).inspect_err(|error| tracing::warn!(%error, "no substitute for a device")).ok()
    }

    /// Opens the device that was asked for; if that is gone, the system's default stands in for it (true).
    fn open_any(&mut self, substituting: &Arc<AtomicBool>) -> Result<(Box<dyn Stream>, bool), AudioError> {
        match self.open(self.device.as_deref(), substituting.clone()) {
            Err(error @ AudioError::NoDevice { name: Some(_), .. }) => {
                self.broken(error.clone());
                let stream = self.open(None, substituting.clone()).map_err(|_| error)?;
                Ok((stream, true))
            }
            result => Ok((result?, false)),
        }
    }

    /// Whether the device that was asked for is there.
    fn returned(&self) -> bool {
        let input = matches!(self.purpose, Purpose::Capture(_));
        let found = self.backend.devices().unwrap_or_default();
        found.iter().any(|device| device.input == input && Some(&device.id) == self.device.as_ref())
    }

    fn open(&self, device: Option<&str>, substituting: Arc<AtomicBool>) -> Result<Box<dyn Stream>, AudioError> {
        let calls = self.calls.clone();
        let called = move || {
            substituting.store(false, Ordering::Release);
            calls.fetch_add(1, Ordering::Relaxed);
        };
        match self.purpose.clone() {
            Purpose::Capture(take) => self.backend.capture(
                device,
                Arc::new(move |samples| {
                    called();
                    take(samples);
                }),
            ),
            Purpose::Playback(fill) => self.backend.playback(
                device,
                Arc::new(move |samples, latency| {
                    called();
                    fill(samples, latency);
                }),
            ),
        }
    }

    /// Returns when the stream is dead, the device returned that this one stands in for, or the end has come.
    fn watch(&mut self, stream: &dyn Stream, substitute: Option<Paced>, stands_in: bool) -> End {
        let mut substitute = substitute;
        let start = self.calls.load(Ordering::Relaxed);
        let (mut last, mut quiet, mut lived, mut looks) = (start, 0_u32, false, 0_u32);
        while !self.stopped(LOOK_EVERY) {
            let now = self.calls.load(Ordering::Relaxed);
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
            if now != start && !lived {
                lived = true;
                substitute = None;
                // A stand-in works, but what was asked for does not.
                if !stands_in && std::mem::take(&mut self.in_trouble) {
                    (self.report)(None);
                }
            }
            let gone = lived && quiet > 0 && quiet.is_multiple_of(ASK_AFTER_LOOKS) && !stream.still_there();
            if gone || quiet >= DEAD_AFTER_LOOKS || !stream.alive() {
                break;
            }
            looks = looks.wrapping_add(1);
            if stands_in && looks.is_multiple_of(SEARCH_EVERY_LOOKS) && self.returned() {
                return End::Returned;
            }
        }
        drop(substitute);
        if lived { End::Dead } else { End::NeverLived }
    }
}

/// Why a stream is not watched any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Dead,
    NeverLived,
    Returned,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::backend::Device;
    use std::sync::mpsc;

    /// A sound system whose plug can be pulled.
    struct Plug {
        plugged: Arc<AtomicBool>,
        opened: AtomicU64,
    }

    struct Wire(Arc<AtomicBool>, Option<Paced>);

    impl Stream for Wire {
        fn alive(&self) -> bool {
            self.0.load(Ordering::Acquire) && self.1.is_some()
        }
    }

    impl AudioBackend for Plug {
        fn name(&self) -> &'static str {
            "plug"
        }

        fn devices(&self) -> Result<Vec<Device>, AudioError> {
            Ok(Vec::new())
        }

        fn capture(&self, _: Option<&str>, take: Take) -> Result<Box<dyn Stream>, AudioError> {
            if !self.plugged.load(Ordering::Acquire) {
                return Err(AudioError::NoDevice { kind: "microphone", name: None });
            }
            self.opened.fetch_add(1, Ordering::Relaxed);
            let plugged = self.plugged.clone();
            let paced = Paced::start("plug", move |_| {
                if plugged.load(Ordering::Acquire) {
                    take(&[0.5; STEP_SAMPLES]);
                }
            });
            Ok(Box::new(Wire(self.plugged.clone(), paced.ok())))
        }

        fn playback(&self, _: Option<&str>, _: Fill) -> Result<Box<dyn Stream>, AudioError> {
            Err(AudioError::NoDevice { kind: "speaker", name: None })
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn an_unplugged_device_is_reported_replaced_by_silence_and_taken_up_again() {
        let plugged = Arc::new(AtomicBool::new(true));
        let backend = Arc::new(Plug { plugged: plugged.clone(), opened: AtomicU64::new(0) });
        let (events_tx, events) = mpsc::sync_channel(16);
        let (sound_tx, sound) = mpsc::sync_channel(4096);
        let supervised = Supervised::start(
            backend.clone(),
            None,
            Purpose::Capture(Arc::new(move |samples: &[f32]| {
                let _ = sound_tx.try_send(samples[0]);
            })),
            Arc::new(move |event| {
                let _ = events_tx.try_send(event.is_some());
            }),
        )
        .unwrap();
        let until = |wanted: f32| while sound.recv_timeout(PATIENCE).expect("sound goes on") != wanted {};
        until(0.5);
        plugged.store(false, Ordering::Release);
        assert!(events.recv_timeout(PATIENCE).expect("the trouble is told"));
        until(0.0);
        plugged.store(true, Ordering::Release);
        until(0.5);
        assert!(!events.recv_timeout(PATIENCE).expect("the end of the trouble is told"));
        drop(supervised);
        assert_eq!(backend.opened.load(Ordering::Relaxed), 2);
        assert!(events.try_recv().is_err(), "nothing else is told");
    }

    #[test]
    fn without_any_speaker_the_sound_is_still_taken_at_the_pace_of_playback() {
        let backend = Arc::new(Plug { plugged: Arc::new(AtomicBool::new(false)), opened: AtomicU64::new(0) });
        let (pulled_tx, pulled) = mpsc::sync_channel(64);
        let (events_tx, events) = mpsc::sync_channel(16);
        let supervised = Supervised::start(
            backend,
            None,
            Purpose::Playback(Arc::new(move |samples: &mut [f32], _| {
                let _ = pulled_tx.try_send(samples.len());
            })),
            Arc::new(move |event| {
                let _ = events_tx.try_send(event);
            }),
        )
        .unwrap();
        for _ in 0..5 {
            assert_eq!(pulled.recv_timeout(PATIENCE).expect("sound is taken"), STEP_SAMPLES);
        }
        let error = events.recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(error.to_string().contains("no speaker"), "{error}");
        drop(supervised);
    }
}
