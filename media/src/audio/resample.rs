//! One sample rate to another, by windowed sinc interpolation; streaming, with bounded memory.

use std::f64::consts::PI;

use super::SAMPLE_RATE;

/// Zero crossings of the kernel to each side, at the lower of the two rates: 70 dB of stop band with this window.
const CROSSINGS: f64 = 16.0;

/// Turns a stream of one rate into a stream of another, mostly 48 kHz.
#[derive(Debug)]
pub struct Resampler {
    /// Input samples per output sample.
    step: f64,
    /// Cut-off as a share of the input's Nyquist frequency.
    cutoff: f64,
    /// Half of the kernel, in input samples.
    reach: usize,
    input: Vec<f32>,
    /// Place of the next output sample in `input`.
    at: f64,
}

impl Resampler {
    /// From this rate in hertz (at least 1) to 48 kHz.
    #[must_use]
    pub fn new(from: u32) -> Self {
        Self::between(from, SAMPLE_RATE)
    }

    /// From any rate to any other.
    #[must_use]
    pub fn between(from: u32, to: u32) -> Self {
        let step = f64::from(from.max(1)) / f64::from(to.max(1));
        let cutoff = if step > 1.0 { 0.97 / step } else { 0.97 };
        let reach = (CROSSINGS / cutoff).ceil() as usize;
        // Silence before the first sample, so that it comes out whole.
        Self { step, cutoff, reach, input: vec![0.0; reach], at: reach as f64 }
    }

    /// Appends to `out` what follows from these samples.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        if (self.step - 1.0).abs() < f64::EPSILON {
            out.extend_from_slice(samples);
            return;
        }
        self.input.extend_from_slice(samples);
        while (self.at as usize) + self.reach < self.input.len() {
            out.push(self.interpolate());
            self.at += self.step;
        }
        let used = (self.at as usize).saturating_sub(self.reach).min(self.input.len());
        self.input.drain(..used);
        self.at -= used as f64;
    }

    /// Appends what is still inside; after the last [`Self::push`].
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        if (self.step - 1.0).abs() >= f64::EPSILON {
            self.push(&vec![0.0; self.reach], out);
        }
    }

    fn interpolate(&self) -> f32 {
        let centre = self.at as usize;
        let first = centre.saturating_sub(self.reach - 1);
        let mut sum = 0.0;
        for (i, sample) in self.input.iter().enumerate().skip(first).take(2 * self.reach) {
            let x = i as f64 - self.at;
            let window = 0.5 + 0.5 * (PI * x / self.reach as f64).cos();
            if x.abs() < self.reach as f64 {
                sum += f64::from(*sample) * window * sinc(x * self.cutoff) * self.cutoff;
            }
        }
        sum as f32
    }
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::meter::Level;
    use std::f64::consts::TAU;

    fn convert(from: u32, frequency: f64) -> Vec<f32> {
        let input: Vec<f32> =
            (0..from).map(|i| (0.5 * (TAU * frequency * f64::from(i) / f64::from(from)).sin()) as f32).collect();
        let mut resampler = Resampler::new(from);
        let mut out = Vec::new();
        for piece in input.chunks(777) {
            resampler.push(piece, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn a_tone_of_any_rate_is_the_same_tone_at_48_khz() {
        for from in [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
            let out = convert(from, 1000.0);
            assert!(out.len().abs_diff(48_000) <= 48, "{from} Hz gives {} samples", out.len());
            let error = out
                .iter()
                .enumerate()
                .skip(2_000)
                .take(40_000)
                .map(|(i, x)| (f64::from(*x) - 0.5 * (TAU * 1000.0 * i as f64 / 48_000.0).sin()).abs())
                .fold(0.0, f64::max);
            assert!(error < 0.005, "{from} Hz is off by {error}");
        }
    }

    #[test]
    fn what_48_khz_cannot_hold_is_taken_out() {
        let out = convert(96_000, 30_000.0);
        assert!(Level::of(&out[2_000..40_000]).rms_db < -50.0);
    }
}
