//! Finding how late the echo comes, and following it when that jumps.
//!
//! Played and heard sound is kept at a quarter of the rate. As long as nothing is known, the delay is where both
//! correlate best (with the phases only: PHAT, Knapp and Carter 1976). Once the room is known, a jump is found within a
//! tenth of a second, because then the *predicted* echo can be looked for, which fits far better than the played sound.

use std::collections::VecDeque;
use std::f32::consts::PI;

use super::adaptive::{BLOCK, TAPS};
use super::spectrum::{Fft, Spectrum};

/// Longest delay between a sound's hand-over to the device and its echo: 700 ms.
pub(super) const MAX_DELAY: usize = 33_600;
/// Played samples that are kept: the delay, and the filter's length behind it.
const KEPT: usize = MAX_DELAY + TAPS + 2 * BLOCK;
/// Searching happens at 12 kHz.
const FACTOR: usize = 4;
/// Half the length of the low-pass before that.
const LOWPASS: usize = 24;
/// Length of the transforms of a search: 1.4 s.
const SIZE: usize = 16_384;
const LAGS: usize = MAX_DELAY / FACTOR;
/// Heard sound that is compared with all played sound: 400 ms ...
const PIECE: usize = 4_800;
/// ... and with the predicted echo: 100 ms.
const SHORT: usize = 1_200;
/// Bins that count in the first search: 200 Hz to 4.5 kHz.
const BAND: (usize, usize) = (273, 6_144);

/// Lags that are looked at as one room: 20 ms.
const ROOM: usize = 240;
/// Lags by which two answers may differ: 5 ms.
const SAME: usize = 60;
/// How far an answer must stand out.
const SURE: f32 = 6.0;

/// Brings sound to a quarter of the rate.
#[derive(Debug)]
struct Decimator {
    taps: Vec<f32>,
    past: VecDeque<f32>,
}

fn lowpass() -> Vec<f32> {
    let cut = 0.11;
    (0..=2 * LOWPASS)
        .map(|i| {
            let t = i as f32 - LOWPASS as f32;
            let sinc = if t == 0.0 { 2.0 * cut } else { (2.0 * PI * cut * t).sin() / (PI * t) };
            sinc * (0.5 + 0.5 * (PI * t / (LOWPASS as f32 + 1.0)).cos())
        })
        .collect()
}

impl Decimator {
    fn new() -> Self {
        Self { taps: lowpass(), past: std::iter::repeat_n(0.0, 2 * LOWPASS).collect() }
    }

    fn push(&mut self, block: &[f32], out: &mut VecDeque<f32>, keep: usize) {
        self.past.extend(block);
        let past = self.past.make_contiguous();
        for start in (0..block.len()).step_by(FACTOR) {
            out.push_back(self.taps.iter().zip(&past[start..]).map(|(a, b)| a * b).sum());
        }
        self.past.drain(..block.len());
        out.drain(..out.len().saturating_sub(keep));
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Aligner {
    played: VecDeque<f32>,
    /// Both at 12 kHz, newest last.
    slow_played: VecDeque<f32>,
    slow_heard: VecDeque<f32>,
    down: (Decimator, Decimator),
    fft: Fft,
    a: Spectrum,
    b: Spectrum,
    c: Spectrum,
    /// Smoothed result of the first search.
    likeness: Vec<f32>,
    candidate: Option<usize>,
}

impl Aligner {
    pub(super) fn new() -> Self {
        let fft = Fft::new(SIZE);
        let bins = fft.bins();
        Self {
            played: std::iter::repeat_n(0.0, KEPT).collect(),
            slow_played: std::iter::repeat_n(0.0, SIZE).collect(),
            slow_heard: std::iter::repeat_n(0.0, PIECE).collect(),
            down: (Decimator::new(), Decimator::new()),
            fft,
            a: Spectrum::new(bins),
            b: Spectrum::new(bins),
            c: Spectrum::new(bins),
            likeness: vec![0.0; LAGS],
            candidate: None,
        }
    }

    /// Takes what was handed to the device and what was heard in the same 10 ms.
    pub(super) fn push(&mut self, played: &[f32; BLOCK], heard: &[f32; BLOCK]) {
        self.played.extend(played);
        self.played.drain(..BLOCK);
        self.down.0.push(played, &mut self.slow_played, SIZE);
        self.down.1.push(heard, &mut self.slow_heard, PIECE);
    }

    /// The block that was played `delay` samples before the newest one.
    pub(super) fn block(&self, delay: usize) -> [f32; BLOCK] {
        let start = KEPT - BLOCK - delay.min(MAX_DELAY);
        let mut block = [0.0; BLOCK];
        for (out, x) in block.iter_mut().zip(self.played.range(start..)) {
            *out = *x;
        }
        block
    }

    /// The blocks that a filter needs to go on at this delay, up to and with [`Self::block`].
    pub(super) fn recent(&self, delay: usize) -> Vec<f32> {
        let end = KEPT - delay.min(MAX_DELAY);
        self.played.range(end - TAPS - BLOCK..end).copied().collect()
    }

    /// Looks for the delay with nothing known but the sounds, of which `blocks` could be heard by now. Some: samples,
    /// after the same answer came twice.
    pub(super) fn search(&mut self, blocks: u32) -> Option<usize> {
        // A delay longer than there was sound would be chance.
        let lags = (blocks as usize * BLOCK / FACTOR).min(LAGS);
        self.load_heard(PIECE);
        self.fft.forward(&mut self.a);
        self.load_played();
        self.fft.forward(&mut self.b);
        self.c.clear();
        for k in BAND.0..BAND.1 {
            let (ar, ai, br, bi) = (self.a.re[k], self.a.im[k], self.b.re[k], self.b.im[k]);
            let (re, im) = (ar * br + ai * bi, ai * br - ar * bi);
            let weight = 1.0 / ((re * re + im * im).powf(0.4) + 1e-9);
            self.c.re[k] = re * weight;
            self.c.im[k] = im * weight;
        }
        let like = self.fft.backward(&self.c);
        // The heard piece lies at the end of the frame, like the newest played sound: a lag is a shift to later.
        let total = like.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-20);
        for (smooth, new) in self.likeness.iter_mut().zip(like.iter()) {
            *smooth = 0.7 * *smooth + 0.3 * new / total;
        }
        let (lag, stands_out) = cluster(&self.likeness[..lags])?;
        let before = self.candidate.replace(lag);
        let sure = stands_out > SURE && before.is_some_and(|before| before.abs_diff(lag) <= SAME);
        sure.then_some(lag * FACTOR)
    }

    /// Looks for the predicted echo of this room in the last 100 ms. Some: how well it fits (1 is perfectly) and the
    /// delay at which it does.
    pub(super) fn search_known(&mut self, answer: &[f32]) -> Option<(f32, usize)> {
        // The room's answer at the slow rate.
        let taps = lowpass();
        let input = self.fft.input();
        input.fill(0.0);
        for (i, out) in input.iter_mut().enumerate().take(TAPS / FACTOR) {
            let centre = i * FACTOR;
            *out = taps
                .iter()
                .enumerate()
                .filter_map(|(t, tap)| answer.get((centre + t).checked_sub(LOWPASS)?).map(|x| tap * x))
                .sum();
        }
        self.fft.forward(&mut self.a);
        self.load_played();
        self.fft.forward(&mut self.b);
        self.c.clear();
        self.c.add_product(&self.a, &self.b);
        let predicted = self.fft.backward(&self.c);
        let mut energy: f64 = predicted[SIZE - SHORT..].iter().map(|x| f64::from(x * x)).sum();
        let mut energies = Vec::with_capacity(LAGS);
        for lag in 0..LAGS {
            energies.push(energy as f32);
            let (enters, leaves) = (predicted[SIZE - SHORT - lag - 1], predicted[SIZE - 1 - lag]);
            energy += f64::from(enters * enters) - f64::from(leaves * leaves);
        }
        self.load_heard(SHORT);
        let heard: f32 = self.slow_heard.range(PIECE - SHORT..).map(|x| x * x).sum();
        self.fft.forward(&mut self.a);
        for k in 0..self.fft.bins() {
            let (ar, ai, br, bi) = (self.a.re[k], self.a.im[k], self.c.re[k], self.c.im[k]);
            self.b.re[k] = ar * br + ai * bi;
            self.b.im[k] = ai * br - ar * bi;
        }
        let cross = self.fft.backward(&self.b);
        // Where hardly anything was played, nothing can be found.
        let enough = heard * 0.05;
        let fit: Vec<f32> = cross
            .iter()
            .zip(&energies)
            .map(|(cross, energy)| if *energy > enough { cross / (energy * heard.max(1e-9)).sqrt() } else { 0.0 })
            .collect();
        let (lag, best) = peak(&fit)?;
        // Between the samples: a parabola through the three highest.
        let (left, right) =
            (fit.get(lag.wrapping_sub(1)).copied().unwrap_or(best), fit.get(lag + 1).copied().unwrap_or(best));
        let bend = left - 2.0 * best + right;
        let part = if bend < 0.0 { (0.5 * (left - right) / bend).clamp(-0.5, 0.5) } else { 0.0 };
        Some((best, ((lag as f32 + part) * FACTOR as f32).round().max(0.0) as usize))
    }

    /// What is known of the delay is not true any more.
    pub(super) fn forget(&mut self) {
        self.likeness.fill(0.0);
        self.candidate = None;
    }

    fn load_heard(&mut self, len: usize) {
        let input = self.fft.input();
        input.fill(0.0);
        for (slot, x) in input[SIZE - len..].iter_mut().zip(self.slow_heard.range(PIECE - len..)) {
            *slot = *x;
        }
    }

    fn load_played(&mut self) {
        for (slot, x) in self.fft.input().iter_mut().zip(&self.slow_played) {
            *slot = *x;
        }
    }
}

/// Where the echo begins: in the piece of [`ROOM`] in which a likeness is strongest, the first peak that counts; and how
/// far the piece stands out of the mean. A room answers with many peaks, and which of them is the highest changes from
/// word to word.
fn cluster(likeness: &[f32]) -> Option<(usize, f32)> {
    let mean = likeness.iter().map(|x| x * x).sum::<f32>() / likeness.len().max(1) as f32;
    let mut energy: f32 = likeness.get(..ROOM)?.iter().map(|x| x * x).sum();
    let mut best = (0, energy);
    for (lag, pair) in likeness.iter().zip(&likeness[ROOM..]).enumerate() {
        energy += pair.1 * pair.1 - pair.0 * pair.0;
        if energy > best.1 {
            best = (lag + 1, energy);
        }
    }
    let piece = likeness.get(best.0..best.0 + ROOM)?;
    let most = piece.iter().map(|x| x.abs()).fold(0.0, f32::max);
    let begins = piece.iter().position(|x| x.abs() > 0.4 * most)?;
    (mean > 0.0).then(|| (best.0 + begins, best.1 / (mean * ROOM as f32)))
}

fn peak(values: &[f32]) -> Option<(usize, f32)> {
    values.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))
}
