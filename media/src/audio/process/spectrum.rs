//! Real spectra: what every part of the voice processing computes with.
//!
//! Real and imaginary parts lie in arrays of their own, so that the loops over bins become vector instructions.

use sonora_fft::pffft::{FftType, Pffft, PffftBuffer};

/// A spectrum of a real signal of even length `n`: `n / 2 + 1` bins from zero to half the sample rate.
#[derive(Clone, Debug, Default)]
pub(super) struct Spectrum {
    pub(super) re: Vec<f32>,
    pub(super) im: Vec<f32>,
}

impl Spectrum {
    pub(super) fn new(bins: usize) -> Self {
        Self { re: vec![0.0; bins], im: vec![0.0; bins] }
    }

    pub(super) fn clear(&mut self) {
        self.re.fill(0.0);
        self.im.fill(0.0);
    }

    /// Adds `a * b`.
    pub(super) fn add_product(&mut self, a: &Self, b: &Self) {
        let out = self.re.iter_mut().zip(&mut self.im);
        let factors = a.re.iter().zip(&a.im).zip(b.re.iter().zip(&b.im));
        for ((re, im), ((ar, ai), (br, bi))) in out.zip(factors) {
            *re += ar * br - ai * bi;
            *im += ar * bi + ai * br;
        }
    }

    /// Writes |bin|² into `out`.
    pub(super) fn power(&self, out: &mut [f32]) {
        for (out, (re, im)) in out.iter_mut().zip(self.re.iter().zip(&self.im)) {
            *out = re * re + im * im;
        }
    }
}

/// Transforms of one length.
#[derive(Debug)]
pub(super) struct Fft {
    len: usize,
    plan: Pffft,
    time: PffftBuffer,
    packed: PffftBuffer,
}

impl Fft {
    /// For signals of `len` samples: a product of twos, threes and fives, at least 32 and even.
    pub(super) fn new(len: usize) -> Self {
        let plan = Pffft::new(len, FftType::Real);
        let (time, packed) = (plan.create_buffer(), plan.create_buffer());
        Self { len, plan, time, packed }
    }

    pub(super) fn bins(&self) -> usize {
        self.len / 2 + 1
    }

    /// What to transform next; [`Self::forward`] reads it.
    pub(super) fn input(&mut self) -> &mut [f32] {
        self.time.as_mut_slice()
    }

    /// Transforms what lies in [`Self::input`].
    pub(super) fn forward(&mut self, out: &mut Spectrum) {
        self.plan.forward(&self.time, &mut self.packed, false);
        // FFTPACK's order: the constant part, pairs, and half the sample rate, which are real at both ends.
        let packed = self.packed.as_slice();
        let last = self.len / 2;
        out.re[0] = packed[0];
        out.im[0] = 0.0;
        let pairs = packed[1..self.len - 1].as_chunks::<2>().0;
        for ((re, im), pair) in out.re[1..last].iter_mut().zip(&mut out.im[1..last]).zip(pairs) {
            *re = pair[0];
            *im = pair[1];
        }
        out.re[last] = packed[self.len - 1];
        out.im[last] = 0.0;
    }

    /// The signal of a spectrum, in its right size; valid until the next use.
    pub(super) fn backward(&mut self, spectrum: &Spectrum) -> &mut [f32] {
        let last = self.len / 2;
        let scale = 1.0 / self.len as f32;
        let packed = self.packed.as_mut_slice();
        packed[0] = spectrum.re[0] * scale;
        packed[self.len - 1] = spectrum.re[last] * scale;
        let pairs = packed[1..self.len - 1].as_chunks_mut::<2>().0;
        for (pair, (re, im)) in pairs.iter_mut().zip(spectrum.re[1..last].iter().zip(&spectrum.im[1..last])) {
            *pair = [re * scale, im * scale];
        }
        self.plan.backward(&self.packed, &mut self.time, false);
        self.time.as_mut_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    #[test]
    fn a_sine_is_one_bin_and_comes_back() {
        for len in [480, 960, 16_384] {
            let mut fft = Fft::new(len);
            let sine: Vec<f32> = (0..len).map(|i| (TAU * 5.0 * i as f32 / len as f32).sin()).collect();
            fft.input().copy_from_slice(&sine);
            let mut spectrum = Spectrum::new(fft.bins());
            fft.forward(&mut spectrum);
            let half = len as f32 / 2.0;
            assert!((spectrum.im[5] + half).abs() < 1e-3 * half, "{len}: {}", spectrum.im[5]);
            let mut power = vec![0.0; fft.bins()];
            spectrum.power(&mut power);
            let rest: f32 = power.iter().enumerate().filter(|(bin, _)| *bin != 5).map(|(_, p)| p).sum();
            assert!(rest < 1e-6 * power[5], "{len}: {rest}");
            let back = fft.backward(&spectrum);
            assert!(back.iter().zip(&sine).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }

    #[test]
    fn a_product_of_spectra_is_a_convolution() {
        let (mut fft, mut a, mut b, mut sum) =
            (Fft::new(480), Spectrum::new(241), Spectrum::new(241), Spectrum::new(241));
        fft.input().fill(0.0);
        fft.input()[3] = 1.0;
        fft.forward(&mut a);
        fft.input().fill(0.0);
        fft.input()[10] = 0.5;
        fft.forward(&mut b);
        sum.add_product(&a, &b);
        let out = fft.backward(&sum);
        assert!((out[13] - 0.5).abs() < 1e-5 && out[12].abs() < 1e-5);
    }
}
