//! What the linear filter leaves of the echo: estimated per frequency, and taken down without touching a near voice.
//!
//! How much echo is left is learnt from the sounds themselves, in bands, against three references: the echo that was
//! taken out, what was played, and how unsure the filter is. The lowest part of each ratio is tracked: a near voice only
//! ever raises it, and not everywhere at once. Transforms of 10 ms every 5 ms; sound comes out 5 ms later.

use std::f32::consts::PI;

use super::adaptive;
use super::noise::Noise;
use super::spectrum::{Fft, Spectrum};

/// Samples from one transform to the next: 5 ms, which is also how much later sound comes out.
pub(super) const HOP: usize = 240;
const SIZE: usize = 2 * HOP;
/// Bins of 100 Hz.
pub(super) const BINS: usize = HOP + 1;
/// Bands in which ratios are learnt, of rising width.
const BANDS: usize = 24;
/// How fast a learnt ratio may rise and fall, dB per hop (4 and 30 dB a second): so it stays near the lowest eighth.
const RISE: f32 = 0.02;
const FALL: f32 = 0.15;
/// While nearly all that is heard is echo, what is left can be nothing else: ratios may rise five times as fast.
const RISE_ALONE: f32 = 5.0 * RISE;
/// In the first second of a call, or after the echo was first found, ratios fall three times as fast.
const EARLY_HOPS: u32 = 200;
/// What is added to a learnt ratio, dB: from the lowest eighth to the mean and above it.
const OVER_ECHO: f32 = 12.0;
const OVER_PLAYED: f32 = 6.0;
const OVER_PATH: f32 = 12.0;
/// How much the filter's own doubt counts.
const OVER_DOUBT: f32 = 2.0;
/// How references fade from hop to hop, as the tail of a room does.
const ECHO_FADES: f32 = 0.6;
const PLAYED_FADES: f32 = 0.75;
/// ... and while it is not known how late the echo comes, with what they are taken to come back.
const UNKNOWN_FADES: f32 = 0.98;
const UNKNOWN: f32 = 2.0;
/// Smoothing of the signal-to-echo ratio ("decision directed", Ephraim and Malah 1984).
const DECIDED: f32 = 0.9;
/// Memory of the filter's validity per hop: 100 ms.
const VALIDITY_KEEPS: f32 = 0.95;
/// Least gain of a bin.
const LEAST: f32 = 0.01;
/// Gain of everything while only echo is there, and while the filter fits no more.
const ONLY_ECHO: f32 = 0.1;
const BROKEN: f32 = 0.03;
/// Sound this much above the estimated echo is a voice.
const VOICE: f32 = 1.0;
/// Power below which a reference says nothing.
const SILENT: f32 = 1e-5;
/// Bins that count for the whole: 300 Hz to 6 (8) kHz.
const COUNTED: std::ops::Range<usize> = 3..60;
const COMPARED: std::ops::Range<usize> = 3..80;

/// What goes in, each one hop long.
#[derive(Clone, Copy)]
pub(super) struct Sounds<'a> {
    /// What the linear filter left.
    pub(super) error: &'a [f32],
    /// The echo that it took out.
    pub(super) echo: &'a [f32],
    /// What the microphone heard.
    pub(super) heard: &'a [f32],
    /// What was played, as late as the echo.
    pub(super) played: &'a [f32],
}

/// See the module.
#[derive(Debug)]
pub(super) struct Suppressor {
    fft: Fft,
    window: Vec<f32>,
    last: [[f32; HOP]; 4],
    spectra: [Spectrum; 4],
    power: [Vec<f32>; 4],
    /// References that fade like a room.
    echo: Vec<f32>,
    played: Vec<f32>,
    smooth: Vec<f32>,
    noise: Noise,
    /// Learnt ratios, dB: what is left to the echo, what is left to what was played, what is heard to what was played.
    left_to_echo: [f32; BANDS],
    left_to_played: [f32; BANDS],
    heard_to_played: [f32; BANDS],
    edges: Vec<usize>,
    residual: Vec<f32>,
    prior: Vec<f32>,
    gain: Vec<f32>,
    gate: f32,
    near: f32,
    tail: [f32; HOP],
    fits: Fits,
    hops: u32,
    knows: Knows,
}

/// What is known of the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knows {
    /// Neither when it comes nor that there is none: all that could be one is taken down.
    Nothing,
    /// There is none: nothing is played, or nothing of it is heard, as with headphones. Sound passes as it is.
    NoEcho,
    /// When it comes.
    Echo,
}

/// Whether the predicted echo is in what was heard.
#[derive(Clone, Copy, Debug, Default)]
struct Fits {
    cross: f32,
    echo: f32,
    heard: f32,
    /// 1: the prediction is right; 0: it has nothing to do with what was heard.
    validity: f32,
}

impl Fits {
    fn learn(&mut self, heard: &Spectrum, echo: &Spectrum) {
        let (mut cross, mut echoes, mut all) = (0.0, 0.0, 0.0);
        for b in COMPARED {
            let weight = b as f32 / 10.0;
            let (hr, hi, er, ei) = (heard.re[b], heard.im[b], echo.re[b], echo.im[b]);
            cross += weight * (hr * er + hi * ei);
            echoes += weight * (er * er + ei * ei);
            all += weight * (hr * hr + hi * hi);
        }
        self.cross = VALIDITY_KEEPS * self.cross + cross;
        self.echo = VALIDITY_KEEPS * self.echo + echoes;
        self.heard = VALIDITY_KEEPS * self.heard + all;
        if self.audible() {
            self.validity = (self.cross / self.echo).clamp(0.0, 1.2);
        }
        if self.echo < 0.02 * self.heard {
            self.validity = 0.0;
        }
    }

    fn audible(&self) -> bool {
        self.echo > 1e-4
    }

    /// Whether nobody speaks on this side, as far as can be told.
    fn alone(&self) -> bool {
        self.audible() && self.echo > 0.75 * self.heard && self.echo < 1.3 * self.heard
    }

    /// Only what is mostly echo can tell that the filter fits no more: a loud near voice correlates by chance.
    fn broken(&self) -> bool {
        self.audible() && self.echo > 0.25 * self.heard && self.validity < 0.5
    }
}

impl Suppressor {
    pub(super) fn new() -> Self {
        let mut edges = vec![1];
        let mut at = 1.0_f32;
        while edges.len() <= BANDS {
            at = (at * 1.16).max(at + 1.0);
            edges.push((at as usize).min(BINS));
        }
        edges[BANDS] = BINS;
        Self {
            fft: Fft::new(SIZE),
            window: (0..SIZE).map(|i| (PI * (i as f32 + 0.5) / SIZE as f32).sin()).collect(),
            last: [[0.0; HOP]; 4],
            spectra: std::array::from_fn(|_| Spectrum::new(BINS)),
            power: std::array::from_fn(|_| vec![0.0; BINS]),
            echo: vec![0.0; BINS],
            played: vec![0.0; BINS],
            smooth: vec![0.0; BINS],
            noise: Noise::new(BINS),
            left_to_echo: [0.0; BANDS],
            left_to_played: [0.0; BANDS],
            heard_to_played: [0.0; BANDS],
            edges,
            residual: vec![0.0; BINS],
            prior: vec![0.0; BINS],
            gain: vec![1.0; BINS],
            gate: 1.0,
            near: 0.0,
            tail: [0.0; HOP],
            fits: Fits::default(),
            hops: 0,
            knows: Knows::Nothing,
        }
    }

    /// Tells what is known of the echo.
    pub(super) fn set_knows(&mut self, knows: Knows) {
        self.knows = knows;
    }

    /// How right the filter's prediction is: 0 (not at all) to about 1.
    pub(super) fn validity(&self) -> f32 {
        self.fits.validity
    }

    /// Whether the filter's prediction has nothing to do any more with what is heard.
    pub(super) fn broken(&self) -> bool {
        self.fits.broken()
    }

    /// The echo was found just now: what was learnt before was learnt beside it.
    pub(super) fn begin(&mut self) {
        self.left_to_echo = [0.0; BANDS];
        self.left_to_played = [0.0; BANDS];
        self.heard_to_played = [0.0; BANDS];
        self.hops = 0;
    }

    /// The filter was mended: what is known of its fit is from before.
    pub(super) fn mended(&mut self) {
        let Fits { cross, echo, heard, .. } = &mut self.fits;
        *cross = 0.15 * *echo;
        *echo *= 0.3;
        *heard *= 0.3;
    }

    /// Takes one hop of everything, and `doubt`, the filter's [`adaptive::Adaptive::doubtful`]; gives one hop out.
    pub(super) fn process(&mut self, sounds: Sounds<'_>, doubt: &[f32], out: &mut [f32]) {
        for (which, input) in [sounds.error, sounds.echo, sounds.heard, sounds.played].into_iter().enumerate() {
            let time = self.fft.input();
            time[..HOP].copy_from_slice(&self.last[which]);
            time[HOP..].copy_from_slice(input);
            self.last[which].copy_from_slice(input);
            for (x, w) in time.iter_mut().zip(&self.window) {
                *x *= w;
            }
            self.fft.forward(&mut self.spectra[which]);
            self.spectra[which].power(&mut self.power[which]);
        }
        self.hops = self.hops.saturating_add(1);
        self.fits.learn(&self.spectra[2], &self.spectra[1]);
        self.estimate(doubt);
        self.decide();

        let spectrum = &mut self.spectra[0];
        for (gain, (re, im)) in self.gain.iter().zip(spectrum.re.iter_mut().zip(&mut spectrum.im)) {
            *re *= gain;
            *im *= gain;
        }
        let time = self.fft.backward(&self.spectra[0]);
        for i in 0..HOP {
            out[i] = self.tail[i] + time[i] * self.window[i];
            self.tail[i] = time[HOP + i] * self.window[HOP + i];
        }
    }

    /// Estimates the power of the echo that is left in each bin.
    fn estimate(&mut self, doubt: &[f32]) {
        let [error, echo, heard, played] = &self.power;
        let (fades, least) = match self.knows {
            Knows::Nothing => (UNKNOWN_FADES, UNKNOWN),
            Knows::NoEcho | Knows::Echo => (PLAYED_FADES, 0.0),
        };
        let returns = if self.knows == Knows::NoEcho { 0.0 } else { 1.0 };
        for b in 0..BINS {
            self.echo[b] = echo[b].max(self.echo[b] * ECHO_FADES);
            self.played[b] = played[b].max(self.played[b] * fades);
            self.smooth[b] = 0.5 * (self.smooth[b] + error[b]);
        }
        self.noise.learn(&self.smooth);
        let fall = if self.hops < EARLY_HOPS { 3.0 * FALL } else { FALL };
        let rise = if self.fits.alone() { RISE_ALONE } else { RISE };
        let wrong = returns * (1.0 - self.fits.validity).max(0.0).powi(2);
        for band in 0..BANDS {
            let range = self.edges[band]..self.edges[band + 1];
            let sum = |of: &[f32]| of[range.clone()].iter().sum::<f32>();
            let (left, all) = (sum(error), sum(heard));
            let (echo, played, noise) = (sum(&self.echo), sum(&self.played), sum(self.noise.floor()));
            let learn = |ratio: &mut f32, power: f32, reference: f32| {
                if reference > 30.0 * noise && reference > SILENT {
                    let now = 10.0 * ((power + 1e-12) / (reference + 1e-12)).log10();
                    *ratio = (*ratio + if now > *ratio { rise } else { -fall }).clamp(-50.0, 10.0);
                }
            };
            learn(&mut self.left_to_echo[band], left, echo);
            learn(&mut self.left_to_played[band], left, played);
            learn(&mut self.heard_to_played[band], all, played);
            let by_echo = linear(self.left_to_echo[band] + OVER_ECHO).max(4.0 * wrong);
            let by_played = (returns * linear(self.left_to_played[band] + OVER_PLAYED))
                .max(wrong * linear(self.heard_to_played[band] + OVER_PATH))
                .max(least);
            for b in range {
                let left = (by_echo * self.echo[b]).max(by_played * self.played[b]);
                self.residual[b] = returns * left.max(OVER_DOUBT * doubt_at(doubt, b));
            }
        }
    }

    /// Sets the gain of each bin.
    fn decide(&mut self) {
        let error = &self.power[0];
        let noise = self.noise.floor();
        let (mut all, mut echo) = (0.0, 0.0);
        for b in COUNTED {
            let weight = b as f32 / 10.0;
            all += weight * error[b];
            echo += weight * (self.residual[b] + 2.0 * noise[b]);
        }
        self.near = 0.6 * self.near + 0.4 * (all / (echo + 1e-9)).min(10.0);
        if self.fits.broken() && self.knows != Knows::NoEcho {
            self.gate = self.gate.min(BROKEN);
            self.near = 0.0;
        }
        if self.near > VOICE || self.knows == Knows::NoEcho {
            self.gate += 0.6 * (1.0 - self.gate);
        } else {
            self.gate += 0.25 * (ONLY_ECHO - self.gate);
        }
        for b in 0..BINS {
            let residual = self.residual[b] + 1e-10;
            let ratio = error[b] / residual;
            let prior = DECIDED * self.prior[b] + (1.0 - DECIDED) * (ratio - 1.0).max(0.0);
            let gain = if residual < noise[b] { 1.0 } else { prior / (1.0 + prior) };
            self.prior[b] = gain * gain * ratio;
            // Never below the room's own noise: a pause must not sound like a dead line.
            let floor = (noise[b] / (error[b] + 1e-12)).sqrt().min(1.0);
            self.gain[b] = (gain * self.gate).max(LEAST).max(floor);
        }
    }
}

fn linear(db: f32) -> f32 {
    10.0_f32.powf(db / 10.0)
}

/// The filter's doubt at one of our bins: its bins are half as wide, its window is twice as strong.
fn doubt_at(doubt: &[f32], bin: usize) -> f32 {
    let (left, right) = ((2 * bin).saturating_sub(1), (2 * bin + 1).min(adaptive::BINS - 1));
    0.5 * (doubt[2 * bin] + 0.5 * (doubt[left] + doubt[right]))
}
