//! Devices to be tried before a call: the camera's picture, the microphone's loudness, a test sound.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use twocan_media::audio::backend::{self, Stream};
use twocan_media::audio::{AudioSettings, AudioSink, AudioSource, SAMPLE_RATE};
use twocan_media::session::{Incoming, ScreenOptions, Session, SessionConfig};
use twocan_media::settings::MediaSettings;
use twocan_media::video::{Settings, Tap, VideoSink, VideoSource};

/// Seconds of the test sound.
const SECONDS: f32 = 1.6;
/// Loudness of the test sound, of 1.
const LOUDNESS: f32 = 0.18;
/// Below this nothing is heard; the meter begins here (dB below full scale).
const QUIETEST_DB: f32 = -60.0;

/// How devices are being tried.
#[derive(Clone, Default)]
pub struct Trial {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    session: Option<Session>,
    sound: Option<Box<dyn Stream>>,
    trouble: Option<String>,
    /// Grows with every start: what was opened for an older one is closed again.
    turn: u64,
    wanted: bool,
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial").finish_non_exhaustive()
    }
}

impl Trial {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens microphone and camera as they are chosen, in a thread.
    pub fn start(&self, settings: &MediaSettings, synthetic: bool) {
        let turn = {
            let mut inner = self.lock();
            inner.wanted = true;
            inner.turn += 1;
            inner.turn
        };
        let config = SessionConfig {
            audio_in: if synthetic { AudioSource::Speech { seed: 1 } } else { settings.audio_source() },
            audio_out: AudioSink::Null,
            muted: false,
            audio: AudioSettings { processing: settings.processing(), ..AudioSettings::default() },
            video_in: None,
            video_out: VideoSink::Null,
            video: Settings { turn: settings.video.camera_turn, ..Settings::default() },
            screen: ScreenOptions::default(),
        };
        let camera = if synthetic { VideoSource::Moving { seed: 1 } } else { settings.video_source() };
        let trial = self.clone();
        let open = move || {
            // What was open is closed first: a camera can be opened once.
            let old = trial.lock().session.take();
            drop(old);
            let opened = Session::start_with(config, Arc::new(|_| {})).map(|session| {
                let trouble = session.set_video(Some(camera)).err().map(|error| error.to_string());
                session.incoming(Incoming::Flow { audio: true, video: true, screen: false });
                (session, trouble)
            });
            let mut inner = trial.lock();
            let late = inner.turn != turn || !inner.wanted;
            let unused = match opened {
                Ok((session, trouble)) if !late => {
                    inner.trouble = trouble;
                    inner.session.replace(session)
                }
                Ok((session, _)) => Some(session),
                Err(error) => {
                    inner.trouble = Some(error.to_string());
                    None
                }
            };
            drop(inner);
            drop(unused);
        };
        // Without a thread nothing is tried, which is seen.
        drop(std::thread::Builder::new().name("trial".into()).spawn(open));
    }

    /// Whether devices are being tried.
    #[must_use]
    pub fn running(&self) -> bool {
        self.lock().wanted
    }

    /// Closes all.
    pub fn stop(&self) {
        let old = {
            let mut inner = self.lock();
            if !inner.wanted && inner.session.is_none() && inner.sound.is_none() {
                return;
            }
            inner.wanted = false;
            inner.trouble = None;
            (inner.session.take(), inner.sound.take())
        };
        // Closing waits for threads of devices.
        drop(std::thread::Builder::new().name("trial".into()).spawn(move || drop(old)));
    }

    /// How loud the microphone is, 0 to 1.
    #[must_use]
    pub fn level(&self) -> f32 {
        let level = self.lock().session.as_ref().map(|session| session.levels().input.peak_db);
        level.map_or(0.0, |db| ((db - QUIETEST_DB) / -QUIETEST_DB).clamp(0.0, 1.0))
    }

    /// The camera's picture.
    #[must_use]
    pub fn preview(&self) -> Option<Tap> {
        self.lock().session.as_ref().and_then(Session::preview)
    }

    /// What does not work.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Plays the test sound on a speaker, in a thread.
    pub fn play(&self, speaker: Option<String>) {
        let trial = self.clone();
        let play = move || {
            let position = Arc::new(Mutex::new(0_usize));
            let fill: backend::Fill = Arc::new(move |samples: &mut [f32], _: Duration| {
                let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
                for sample in samples {
                    *sample = chime(*position as f32 / SAMPLE_RATE as f32);
                    *position += 1;
                }
            });
            let result = backend::system().playback(speaker.as_deref(), fill);
            let mut inner = trial.lock();
            let old = match result {
                Ok(stream) => inner.sound.replace(stream),
                Err(error) => {
                    inner.trouble = Some(error.to_string());
                    None
                }
            };
            drop(inner);
            drop(old);
            std::thread::sleep(Duration::from_secs_f32(SECONDS + 0.4));
            let played = trial.lock().sound.take();
            drop(played);
        };
        // Without a thread nothing is heard, which is what the test is for.
        drop(std::thread::Builder::new().name("chime".into()).spawn(play));
    }
}

/// Three notes of a chord that fade, by the time in seconds.
fn chime(time: f32) -> f32 {
    if time >= SECONDS {
        return 0.0;
    }
    let note = |begin: f32, hertz: f32| {
        let t = time - begin;
        if t < 0.0 {
            return 0.0;
        }
        let attack = (t / 0.01).min(1.0);
        attack * (-3.2 * t).exp() * (std::f32::consts::TAU * hertz * t).sin()
    };
    let end = ((SECONDS - time) / 0.05).min(1.0);
    LOUDNESS * end * (note(0.0, 523.25) + note(0.22, 659.26) + note(0.44, 783.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_sound_is_heard_does_not_clip_and_ends() {
        let samples: Vec<f32> = (0..SAMPLE_RATE * 2).map(|n| chime(n as f32 / SAMPLE_RATE as f32)).collect();
        let peak = samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        assert!(peak > 0.1 && peak < 0.6, "{peak}");
        assert!(samples[samples.len() - 10_000..].iter().all(|sample| *sample == 0.0));
    }
}
