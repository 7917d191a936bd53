//! Trying the sound devices without a call: what the microphone hears, whether the speaker plays, and how long the way
//! through both is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::SAMPLE_RATE;
use super::backend::{AudioBackend, AudioError};
use super::meter::Level;
use super::process;
use super::synth::{Speech, Synth};
use crate::now_ns;

/// A device that gives nothing for so long gives nothing.
const SILENT_FOR: Duration = Duration::from_secs(4);
/// How often the level is told.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How long the speaker speaks to measure the way back into the microphone.
const PROBE: usize = 3 * SAMPLE_RATE as usize;
/// Longest way that is looked for: 1 s.
const MOST: usize = SAMPLE_RATE as usize;
/// A way is believed if it stands so far out of chance.
const SURE: f32 = 9.0;

/// Sound as it came, with the time of its first sample.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Mono, 48 kHz.
    pub samples: Vec<f32>,
    /// When the first sample was captured or handed over, on the scale of [`now_ns`].
    pub since_ns: u64,
}

impl Recording {
    /// How loud it is.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::of(&self.samples)
    }

    /// Share of samples at full scale.
    #[must_use]
    pub fn clipped(&self) -> f64 {
        let full = self.samples.iter().filter(|x| x.abs() > 0.999).count();
        full as f64 / self.samples.len().max(1) as f64
    }
}

/// What was found out about the way from the speaker into the microphone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundTrip {
    /// From handing sound over to hearing it, milliseconds.
    pub ms: f64,
    /// How loud it comes back, dB against how it was played.
    pub loudness_db: f32,
}

/// Shared between a device's thread and who waits for it.
#[derive(Default)]
struct Shelf(Mutex<Recording>, Condvar);

impl Shelf {
    /// Takes sound that was captured until now.
    fn heard(&self, samples: &[f32]) {
        let length = samples.len() as u64 * 1_000_000_000 / u64::from(SAMPLE_RATE);
        self.push(now_ns().saturating_sub(length), samples);
    }

    /// Takes sound that begins at this time.
    fn push(&self, since_ns: u64, samples: &[f32]) {
        let mut recording = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A device that sleeps takes the first samples long before it goes on; the last ones tell the time.
        let before = recording.samples.len() as u64 * 1_000_000_000 / u64::from(SAMPLE_RATE);
        recording.since_ns = since_ns.saturating_sub(before);
        recording.samples.extend_from_slice(samples);
        self.1.notify_all();
    }

    /// Waits until there is so much, or nothing comes; tells the level of what came.
    fn wait(&self, wanted: usize, mut tell: impl FnMut(Level)) -> Recording {
        let mut recording = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut told, mut grew) = (0, Instant::now());
        while recording.samples.len() < wanted && grew.elapsed() < SILENT_FOR {
            let before = recording.samples.len();
            recording = self.1.wait_timeout(recording, TELL_EVERY).unwrap_or_else(PoisonError::into_inner).0;
            if recording.samples.len() > before {
                grew = Instant::now();
            }
            if recording.samples.len() >= told + SAMPLE_RATE as usize / 10 {
                tell(Level::of(&recording.samples[told..]));
                told = recording.samples.len();
            }
        }
        recording.clone()
    }
}

/// Records for so long; `tell` is called with the level about ten times a second. Fewer samples than asked for mean that
/// the device gives none.
///
/// # Errors
/// No sound server, or no such device.
pub fn record(
    system: &dyn AudioBackend,
    device: Option<&str>,
    length: Duration,
    tell: impl FnMut(Level),
) -> Result<Recording, AudioError> {
    let shelf = Arc::new(Shelf::default());
    let keep = shelf.clone();
    let stream = system.capture(device, Arc::new(move |samples| keep.heard(samples)))?;
    let wanted = (length.as_secs_f64() * f64::from(SAMPLE_RATE)) as usize;
    let recording = shelf.wait(wanted, tell);
    drop(stream);
    Ok(recording)
}

/// Plays this to its end. False: the device does not take it.
///
/// # Errors
/// No sound server, or no such device.
pub fn play(system: &dyn AudioBackend, device: Option<&str>, samples: Vec<f32>) -> Result<bool, AudioError> {
    let (done, wake) = (Arc::new(AtomicUsize::new(0)), Arc::new(Shelf::default()));
    let (at, bell, len) = (done.clone(), wake.clone(), samples.len());
    let stream = system.playback(
        device,
        Arc::new(move |out: &mut [f32], _| {
            let from = at.fetch_add(out.len(), Ordering::Relaxed).min(samples.len());
            let part = &samples[from..(from + out.len()).min(samples.len())];
            out[..part.len()].copy_from_slice(part);
            out[part.len()..].fill(0.0);
            bell.push(now_ns(), out);
        }),
    )?;
    // A tenth of a second more, for what the device holds.
    wake.wait(len + SAMPLE_RATE as usize / 10, |_| ());
    drop(stream);
    Ok(done.load(Ordering::Relaxed) >= len)
}

/// Plays a synthetic voice for three seconds and looks for it in what the microphone hears. None: it is not heard, as
/// with headphones.
///
/// # Errors
/// No sound server, or no such device.
pub fn round_trip(
    system: &dyn AudioBackend,
    microphone: Option<&str>,
    speaker: Option<&str>,
) -> Result<Option<RoundTrip>, AudioError> {
    let (heard, played) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    let keep = heard.clone();
    let capture = system.capture(microphone, Arc::new(move |samples| keep.heard(samples)))?;
    let (voice, said) = (Mutex::new(Speech::new(11)), played.clone());
    let playback = system.playback(
        speaker,
        Arc::new(move |out: &mut [f32], _| {
            voice.lock().unwrap_or_else(PoisonError::into_inner).fill(out);
            said.push(now_ns(), out);
        }),
    )?;
    let mut said = played.wait(PROBE, |_| ());
    // What was said last is still on its way.
    let mut listened = heard.wait(said.samples.len() + MOST, |_| ());
    drop((capture, playback));
    said.samples.truncate(PROBE);
    listened.samples.truncate(PROBE + 2 * MOST);
    if said.samples.is_empty() || listened.samples.is_empty() {
        return Ok(None);
    }
    let Some((lag, sure)) = process::find(&said.samples, &listened.samples, 2 * MOST) else { return Ok(None) };
    let lag_ms = lag as f64 * 1000.0 / f64::from(SAMPLE_RATE);
    let ms = lag_ms + (listened.since_ns as f64 - said.since_ns as f64) / 1e6;
    if sure < SURE || !(0.0..1_000.0).contains(&ms) {
        return Ok(None);
    }
    let from = usize::try_from(lag).unwrap_or(0).min(listened.samples.len());
    let loudness_db = Level::of(&listened.samples[from..]).rms_db - said.level().rms_db;
    Ok(Some(RoundTrip { ms, loudness_db }))
}
