//! The way of a voice in: packets → jitter buffers → mix → speaker, file or tap, when these ask.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::sync::PlayoutClock;
use super::{Out, Outgoing, Part, Problem};
use crate::audio::jitter::JitterStats;
use crate::audio::meter::{Level, Meter};
use crate::audio::mixer::Mixer;
use crate::audio::wav::WavSink;
use crate::audio::{SAMPLE_RATE, Tap};
use crate::frame::{EncodedFrame, Kind};
use crate::now_ns;

/// [`Outgoing::Playout`] is told after so many samples were played.
const REPORT_EVERY: u64 = SAMPLE_RATE as u64;

/// What hears along with the device, or instead of one.
pub(super) enum Listener {
    Tap(Tap),
    Wav(Option<WavSink>),
}

/// See the module.
pub(super) struct VoiceIn {
    inner: Mutex<Inner>,
    clock: Arc<PlayoutClock>,
    level: Meter,
    /// The stream of a shared screen's sound (-1: none): pictures follow the voice, not this.
    sound: AtomicI32,
    out: Out,
}

struct Inner {
    mixer: Mixer,
    listeners: Vec<Listener>,
    since_report: u64,
    reported: JitterStats,
}

impl VoiceIn {
    pub(super) fn new(listeners: Vec<Listener>, clock: Arc<PlayoutClock>, out: Out) -> Self {
        let inner = Inner { mixer: Mixer::default(), listeners, since_report: 0, reported: JitterStats::default() };
        Self { inner: Mutex::new(inner), clock, level: Meter::default(), sound: AtomicI32::new(-1), out }
    }

    /// Takes a packet of the other side, now.
    pub(super) fn push(&self, frame: EncodedFrame) {
        if frame.kind == Kind::Sound {
            self.sound.store(frame.stream.into(), Ordering::Relaxed);
        }
        let EncodedFrame { stream, timestamp, restart, red, payload, .. } = frame;
        let result = self.lock().mixer.push(now_ns(), stream, timestamp, restart, red, payload);
        if let Err(error) = result {
            tracing::warn!(%error, "a voice cannot be decoded");
        }
    }

    /// How loud a stream is played.
    pub(super) fn set_volume(&self, stream: u16, volume: f32) {
        self.lock().mixer.set_volume(stream, volume);
    }

    /// Fills what is played next; it is heard after `latency`. Called at the pace of playback.
    pub(super) fn fill(&self, samples: &mut [f32], latency: Duration) {
        let latency = u64::try_from(latency.as_nanos()).unwrap_or(0);
        let mut inner = self.lock();
        let now = now_ns();
        let sound = self.sound.load(Ordering::Relaxed);
        inner.mixer.pull(now, samples, |position| {
            if i32::from(position.stream) == sound {
                return;
            }
            self.clock.plays(position.stream, position.timestamp, now.saturating_add(latency));
        });
        self.level.feed(samples);
        let mut problems = Vec::new();
        for listener in &mut inner.listeners {
            match listener {
                Listener::Tap(tap) => tap(now, samples),
                Listener::Wav(Some(sink)) => problems.extend(sink.write(samples).err()),
                Listener::Wav(None) => {}
            }
        }
        let report = inner.report(samples.len() as u64);
        drop(inner);
        for error in problems {
            (self.out)(Outgoing::Problem(Problem { part: Part::AudioOut, text: error.to_string(), retrying: false }));
        }
        if let Some(report) = report {
            (self.out)(report);
        }
    }

    pub(super) fn level(&self) -> Level {
        self.level.read()
    }

    pub(super) fn stats(&self) -> JitterStats {
        self.lock().mixer.stats(now_ns())
    }

    /// Completes files.
    pub(super) fn finish(&self) {
        for listener in &mut self.lock().listeners {
            if let Listener::Wav(sink) = listener
                && let Some(sink) = sink.take()
                && let Err(error) = sink.finish()
            {
                tracing::warn!(%error, "the recording may lack its end");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Once a second of sound: what was concealed of it, and how long it waited.
    fn report(&mut self, samples: u64) -> Option<Outgoing> {
        self.since_report += samples;
        if self.since_report < REPORT_EVERY {
            return None;
        }
        self.since_report = 0;
        let now = self.mixer.stats(now_ns());
        let played = now.played.saturating_sub(self.reported.played);
        let concealed = now.concealed.saturating_sub(self.reported.concealed);
        self.reported = now;
        let delay_ms = self.mixer.take_mean_delay()?;
        let share = if played == 0 { 0.0 } else { (concealed as f64 / played as f64).min(1.0) };
        Some(Outgoing::Playout { concealed: share, delay_ms, late: now.late })
    }
}
