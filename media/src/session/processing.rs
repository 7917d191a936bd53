//! The stage between a microphone and the encoder: brings what was played and what was heard together in steps of
//! 10 ms, runs the [`Processor`] on them, and withholds what shall not be sent.
//!
//! Played and heard sound are paired by count of samples, not by time: the callbacks of two devices come in bursts, but
//! neither device loses samples in between. When one of them does (a device was changed, a stall), the canceller finds
//! the new delay.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::voice_out::VoiceOut;
use super::{Session, lock};
use crate::audio::meter::{Level, Meter};
use crate::audio::process::{FRAME, ProcessingSettings, Processor, Transmit};

/// Played sound that waits for heard sound: at most half a second, then what is too old is dropped.
const MOST_WAITING: usize = 24_000;
/// And as much when pairing begins: 20 ms, one burst of a playback device.
const WAITING_AT_FIRST: usize = 960;

/// See the module.
pub(super) struct Processing {
    voice: Arc<VoiceOut>,
    played: Mutex<VecDeque<f32>>,
    inner: Mutex<Inner>,
    level: Meter,
}

struct Inner {
    processor: Processor,
    settings: ProcessingSettings,
    /// Whether sound comes from a microphone, which alone is processed.
    microphone: bool,
    talks: bool,
    paired: bool,
    rest: Vec<f32>,
    echo_delay_ms: Option<f64>,
    speaks: bool,
}

impl Processing {
    pub(super) fn new(settings: ProcessingSettings, voice: Arc<VoiceOut>) -> Self {
        let inner = Inner {
            processor: Processor::new(settings),
            settings,
            microphone: false,
            talks: false,
            paired: false,
            rest: Vec::with_capacity(2 * FRAME),
            echo_delay_ms: None,
            speaks: false,
        };
        Self { voice, played: Mutex::default(), inner: Mutex::new(inner), level: Meter::default() }
    }

    /// From now on sound comes from a microphone, or from what needs no processing.
    pub(super) fn set_source(&self, microphone: bool) {
        let mut inner = self.inner();
        inner.microphone = microphone;
        inner.paired = false;
        inner.rest.clear();
        drop(inner);
        lock(&self.played).clear();
    }

    /// Takes what was handed to the speaker. Called from the playback thread, returns at once.
    pub(super) fn played(&self, samples: &[f32]) {
        let mut played = lock(&self.played);
        played.extend(samples);
        let excess = played.len().saturating_sub(MOST_WAITING);
        if excess > 0 {
            let drop = played.len().saturating_sub(WAITING_AT_FIRST);
            played.drain(..drop);
        }
    }

    /// Takes captured sound, and passes on what is to be sent. Called from the capture thread.
    pub(super) fn captured(&self, samples: &[f32]) {
        let mut inner = self.inner();
        if !inner.microphone {
            self.level.feed(samples);
            self.pass(&mut inner, samples);
            return;
        }
        inner.rest.extend(samples.iter().map(|x| if x.is_finite() { x.clamp(-1.0, 1.0) } else { 0.0 }));
        let whole = inner.rest.len() / FRAME * FRAME;
        let heard: Vec<f32> = inner.rest.drain(..whole).collect();
        let mut out = [0.0; FRAME];
        for heard in heard.as_chunks::<FRAME>().0 {
            let played = self.next_played(&mut inner.paired);
            inner.processor.process(&played, heard, &mut out);
            self.level.feed(&out);
            inner.speaks = inner.processor.speaks();
            self.pass(&mut inner, &out);
        }
        inner.echo_delay_ms = inner.processor.echo_delay_ms();
    }

    /// The next 10 ms that were handed to the speaker; silence where nothing was.
    fn next_played(&self, paired: &mut bool) -> [f32; FRAME] {
        let mut block = [0.0; FRAME];
        let mut played = lock(&self.played);
        if !*paired {
            if played.len() < WAITING_AT_FIRST {
                return block;
            }
            *paired = true;
            let drop = played.len() - WAITING_AT_FIRST;
            played.drain(..drop);
        }
        if played.len() >= FRAME {
            for (slot, x) in block.iter_mut().zip(played.drain(..FRAME)) {
                *slot = x;
            }
        }
        block
    }

    fn pass(&self, inner: &mut Inner, samples: &[f32]) {
        let open = match inner.settings.transmit {
            Transmit::Always => true,
            Transmit::PushToTalk => inner.talks,
            Transmit::VoiceActivity if inner.microphone => inner.speaks,
            Transmit::VoiceActivity => Level::of(samples).rms_db > -52.0,
        };
        if open {
            self.voice.captured(samples);
        } else {
            self.voice.captured(&vec![0.0; samples.len()]);
        }
    }

    pub(super) fn level(&self) -> Level {
        self.level.read()
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Switches echo cancelling, noise suppression and the like on and off, and says when to send. Takes effect with the
    /// next 10 ms of sound; what stays on keeps what it has learnt.
    pub fn set_processing(&self, settings: ProcessingSettings) {
        let mut inner = self.processing.inner();
        inner.settings = settings;
        inner.processor.set(settings);
    }

    /// How the voice is processed.
    #[must_use]
    pub fn processing(&self) -> ProcessingSettings {
        self.processing.inner().settings
    }

    /// The key of [`Transmit::PushToTalk`] is held, or let go.
    pub fn set_push_to_talk(&self, held: bool) {
        self.processing.inner().talks = held;
    }

    /// How loud a person is played: 1 is as they come, 0 silent, at most 4 (12 dB louder). Streams are people: a call
    /// between two has stream 0 only.
    pub fn set_volume(&self, stream: u16, volume: f32) {
        self.voice_in.set_volume(stream, volume);
    }

    /// How much later than it is handed to the speaker my sound comes back into my microphone, ms; none while no echo was
    /// found.
    #[must_use]
    pub fn echo_delay_ms(&self) -> Option<f64> {
        self.processing.inner().echo_delay_ms
    }
}
