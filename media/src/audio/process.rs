//! What happens to my voice between microphone and encoder: echo cancelling, high-pass, noise suppression, automatic
//! gain, and the decision whether it is sent at all. 10 ms at a time, on the thread that captures.

use serde::{Deserialize, Serialize};

use super::SAMPLE_RATE;

mod activity;
mod adaptive;
mod align;
mod clean;
mod echo;
mod noise;
mod rival;
mod spectrum;
mod suppress;

use activity::Activity;
use adaptive::BLOCK;
use clean::Cleaner;
use echo::EchoCanceller;
use spectrum::{Fft, Spectrum};

/// Samples that are processed at a time: 10 ms.
pub const FRAME: usize = BLOCK;

/// What is done to the sound of a microphone. Files and synthetic sound are never processed, but may be withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessingSettings {
    /// Take the friend's voice, as my speaker plays it, out of what my microphone hears. Not needed with headphones.
    pub echo_cancelling: bool,
    /// Take steady noise out.
    pub noise_suppression: bool,
    /// Bring my voice to a good loudness.
    pub automatic_gain: bool,
    /// Take rumble below speech out.
    pub high_pass: bool,
    /// When to send.
    pub transmit: Transmit,
}

impl Default for ProcessingSettings {
    fn default() -> Self {
        Self {
            echo_cancelling: true,
            noise_suppression: true,
            automatic_gain: true,
            high_pass: true,
            transmit: Transmit::Always,
        }
    }
}

impl ProcessingSettings {
    /// Sound as the microphone gives it.
    pub const RAW: Self = Self {
        echo_cancelling: false,
        noise_suppression: false,
        automatic_gain: false,
        high_pass: false,
        transmit: Transmit::Always,
    };
}

/// When sound is sent; else silence is, which costs next to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transmit {
    /// Always, unless muted.
    #[default]
    Always,
    /// While somebody speaks.
    #[serde(rename = "voice")]
    VoiceActivity,
    /// While the key is held ([`crate::session::Session::set_push_to_talk`]).
    #[serde(rename = "key")]
    PushToTalk,
}

/// The chain. Pure: sound in, sound out, no clock and no thread.
#[derive(Debug)]
pub struct Processor {
    settings: ProcessingSettings,
    echo: Option<Box<EchoCanceller>>,
    clean: Cleaner,
    activity: Activity,
    speaks: bool,
}

impl Processor {
    /// A chain that knows nothing of room and voice yet.
    #[must_use]
    pub fn new(settings: ProcessingSettings) -> Self {
        Self {
            settings,
            echo: settings.echo_cancelling.then(|| Box::new(EchoCanceller::new())),
            clean: Cleaner::new(&settings),
            activity: Activity::new(),
            speaks: false,
        }
    }

    /// Switches parts on and off; what stays on keeps what it has learnt.
    pub fn set(&mut self, settings: ProcessingSettings) {
        match (&self.echo, settings.echo_cancelling) {
            (None, true) => self.echo = Some(Box::new(EchoCanceller::new())),
            (Some(_), false) => self.echo = None,
            _ => {}
        }
        self.clean.set(&settings);
        self.settings = settings;
    }

    /// How things are set.
    #[must_use]
    pub fn settings(&self) -> ProcessingSettings {
        self.settings
    }

    /// Takes 10 ms of what the microphone `heard`, and of what was handed to the speaker in the same 10 ms (by count of
    /// samples; a jump in between is found and followed), and gives 10 ms to send.
    pub fn process(&mut self, played: &[f32; FRAME], heard: &[f32; FRAME], out: &mut [f32; FRAME]) {
        match &mut self.echo {
            Some(echo) => echo.process(played, heard, out),
            None => *out = *heard,
        }
        self.clean.process(out);
        self.speaks = self.activity.speaks(out);
    }

    /// Whether somebody spoke in the last 10 ms, or shortly before.
    #[must_use]
    pub fn speaks(&self) -> bool {
        self.speaks
    }

    /// By how many samples the echo canceller makes the sound later (5 ms, or nothing if it is off).
    #[must_use]
    pub fn echo_latency(&self) -> usize {
        if self.echo.is_some() { echo::LATENCY } else { 0 }
    }

    /// How much later the echo comes than its sound is handed to the speaker, milliseconds, if an echo was found.
    #[must_use]
    pub fn echo_delay_ms(&self) -> Option<f64> {
        let delay = self.echo.as_ref()?.delay()?;
        Some(delay as f64 * 1000.0 / f64::from(SAMPLE_RATE))
    }
}

/// The convolution of a signal with an answer, as long as the signal.
pub(super) fn convolve(signal: &[f32], answer: &[f32]) -> Vec<f32> {
    const HOP: usize = 8_192;
    let mut fft = Fft::new((answer.len() + HOP).next_power_of_two());
    let spectrum = || Spectrum::new(fft.bins());
    let (mut filter, mut part, mut product) = (spectrum(), spectrum(), spectrum());
    fft.input().fill(0.0);
    fft.input()[..answer.len()].copy_from_slice(answer);
    fft.forward(&mut filter);
    let mut out = vec![0.0; signal.len()];
    for start in (0..signal.len()).step_by(HOP) {
        let piece = &signal[start..(start + HOP).min(signal.len())];
        fft.input().fill(0.0);
        fft.input()[..piece.len()].copy_from_slice(piece);
        fft.forward(&mut part);
        product.clear();
        product.add_product(&part, &filter);
        for (out, x) in out[start..].iter_mut().zip(fft.backward(&product).iter()) {
            *out += x;
        }
    }
    out
}

/// Where in `heard` the sound `played` begins: samples, negative if earlier, at most `most`; and how far the answer
/// stands out of chance (8 and more is sure). By phases only, so that neither room nor loudness matter.
pub(super) fn find(played: &[f32], heard: &[f32], most: usize) -> Option<(isize, f32)> {
    let size = (played.len().max(heard.len()) + most).next_power_of_two();
    let mut fft = Fft::new(size.max(32));
    let (mut a, mut b) = (Spectrum::new(fft.bins()), Spectrum::new(fft.bins()));
    for (sound, spectrum) in [(heard, &mut a), (played, &mut b)] {
        let input = fft.input();
        input.fill(0.0);
        input[..sound.len()].copy_from_slice(sound);
        fft.forward(spectrum);
    }
    // 200 Hz to 6 kHz: below is rumble, above there is little of a voice.
    let bin = |hertz: usize| hertz * size / SAMPLE_RATE as usize;
    let band = bin(200)..bin(6_000).min(fft.bins());
    for k in 0..fft.bins() {
        let (re, im) = (a.re[k] * b.re[k] + a.im[k] * b.im[k], a.im[k] * b.re[k] - a.re[k] * b.im[k]);
        let weight = if band.contains(&k) { 1.0 / ((re * re + im * im).powf(0.4) + 1e-9) } else { 0.0 };
        (a.re[k], a.im[k]) = (re * weight, im * weight);
    }
    let like = fft.backward(&a);
    let lags = |lag: isize| if lag < 0 { size - lag.unsigned_abs() } else { lag.unsigned_abs() };
    let most = isize::try_from(most).ok()?;
    let rms = ((-most..=most).map(|lag| like[lags(lag)].powi(2)).sum::<f32>() / (2 * most + 1) as f32).sqrt();
    let best = (-most..=most).max_by(|x, y| like[lags(*x)].total_cmp(&like[lags(*y)]))?;
    (rms > 0.0).then(|| (best, like[lags(best)] / rms))
}

#[cfg(test)]
mod tests;
