//! The bell: plays the tune of the moment on the speaker, on a thread of its own, because sound systems let one wait.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use twocan_media::audio::backend::{self, AudioBackend};
use twocan_media::audio::device::{Purpose, Supervised};
use twocan_media::audio::ring::{Ringer, Tune};

/// Changes of the tune that wait: more than a person could bring about.
const QUEUE: usize = 16;
/// How long a tune that is heard once is given.
const ONCE: Duration = Duration::from_millis(1500);

/// What is to be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    tune: Option<Tune>,
    speaker: Option<String>,
}

/// The bell. Dropping it stops the sound.
#[derive(Debug)]
pub struct Bell {
    wanted: Option<SyncSender<Wanted>>,
    latest: Option<Tune>,
}

impl Bell {
    /// A bell on the sound system of this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::on(backend::system())
    }

    /// A bell that nobody hears, for machines without sound.
    #[must_use]
    pub fn silent() -> Self {
        Self { wanted: None, latest: None }
    }

    /// A bell on this sound system.
    #[must_use]
    pub fn on(system: Arc<dyn AudioBackend>) -> Self {
        let (wanted, wishes) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("bell".into()).spawn(move || ring(&system, &wishes));
        // Without a thread there is no sound, and all else works.
        Self { wanted: thread.is_ok().then_some(wanted), latest: None }
    }

    /// Plays this tune from now on, or none, on the speaker that calls use. A tune that plays already goes on. Never
    /// waits.
    pub fn play(&mut self, tune: Option<Tune>, speaker: Option<&String>) {
        if self.latest == tune {
            return;
        }
        let wish = Wanted { tune, speaker: speaker.cloned() };
        if self.wanted.as_ref().is_none_or(|wanted| wanted.try_send(wish).is_ok()) {
            // What is heard once may be asked for again.
            self.latest = tune.filter(|tune| tune.period().is_some());
        }
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

fn ring(system: &Arc<dyn AudioBackend>, wishes: &Receiver<Wanted>) {
    let mut playing: Option<Supervised> = None;
    let mut once = false;
    loop {
        let wish = if once {
            match wishes.recv_timeout(ONCE) {
                Ok(wish) => Some(wish),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        } else {
            match wishes.recv() {
                Ok(wish) => Some(wish),
                Err(_) => return,
            }
        };
        // What ends is not cut off by silence that is wished for anyway.
        if once && wish.as_ref().is_some_and(|wish| wish.tune.is_none()) {
            continue;
        }
        drop(playing.take());
        let Some(Wanted { tune: Some(tune), speaker }) = wish else {
            once = false;
            continue;
        };
        once = tune.period().is_none();
        let ringer = Mutex::new(Ringer::new(tune));
        let fill = Arc::new(move |samples: &mut [f32], _| {
            ringer.lock().unwrap_or_else(PoisonError::into_inner).fill(samples);
        });
        // Without a speaker it is silent; who calls is on the screen all the same.
        let report = Arc::new(|_| ());
        playing = Supervised::start(Arc::clone(system), speaker, Purpose::Playback(fill), report).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use twocan_media::audio::backend::{AudioError, Device, Fill, Stream, Take};

    use super::*;

    /// A speaker that keeps the loudest sample.
    #[derive(Default)]
    struct Ear {
        streams: Mutex<Vec<(Fill, Arc<AtomicBool>)>>,
    }

    struct Playing(Arc<AtomicBool>);

    impl Stream for Playing {
        fn alive(&self) -> bool {
            true
        }
    }

    impl Drop for Playing {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl AudioBackend for Ear {
        fn name(&self) -> &'static str {
            "ear"
        }

        fn devices(&self) -> Result<Vec<Device>, AudioError> {
            Ok(Vec::new())
        }

        fn capture(&self, _: Option<&str>, _: Take) -> Result<Box<dyn Stream>, AudioError> {
            Err(AudioError::Timeout)
        }

        fn playback(&self, _: Option<&str>, fill: Fill) -> Result<Box<dyn Stream>, AudioError> {
            let ended = Arc::new(AtomicBool::new(false));
            self.streams.lock().unwrap().push((fill, Arc::clone(&ended)));
            Ok(Box::new(Playing(ended)))
        }
    }

    impl Ear {
        fn until(&self, what: impl Fn(&[(Fill, Arc<AtomicBool>)]) -> bool) {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !what(&self.streams.lock().unwrap()) {
                assert!(Instant::now() < deadline);
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn the_bell_plays_changes_and_falls_silent() {
        let ear = Arc::new(Ear::default());
        let mut bell = Bell::on(ear.clone());
        bell.play(Some(Tune::Ring), None);
        bell.play(Some(Tune::Ring), None);
        ear.until(|streams| !streams.is_empty());
        let fill = ear.streams.lock().unwrap()[0].0.clone();
        let mut samples = vec![0.0; 4800];
        fill(&mut samples, Duration::ZERO);
        assert!(samples.iter().any(|sample| sample.abs() > 0.05), "it is heard");
        bell.play(None, None);
        ear.until(|streams| streams[0].1.load(Ordering::Relaxed));
        bell.play(Some(Tune::Knock), None);
        ear.until(|streams| streams.len() >= 2);
        drop(bell);
        ear.until(|streams| streams.iter().all(|stream| stream.1.load(Ordering::Relaxed)));
    }
}
