//! Keeps the mix of all voices from clipping: a limiter that looks ahead and sees true peaks, also those between the
//! samples (ITU-R BS.1770-5, annex 2).
//!
//! What is not too loud passes bit for bit, 1.6 ms later.

use std::collections::VecDeque;

/// Highest peak that leaves: -1 dBTP.
pub const CEILING: f32 = 0.891;
/// How far it looks ahead: 1.5 ms, over which the gain glides down.
const AHEAD: usize = 72;
/// Points between two samples at which peaks are looked for, and taps for each of them.
const PHASES: usize = 4;
const TAPS: usize = 12;
/// Samples that the interpolation is late.
const LATE: usize = TAPS / 2;
/// The gain comes back by 63 % in 80 ms.
const RELEASE: f64 = 1.0 / (0.08 * 48_000.0);
/// By how many samples sound comes out later.
pub const LATENCY: usize = AHEAD + LATE;

/// See the module.
#[derive(Debug)]
pub struct Limiter {
    taps: [[f32; TAPS]; PHASES],
    /// The last samples, for the interpolation.
    recent: [f32; TAPS],
    delayed: VecDeque<f32>,
    /// Gains asked for by the peaks ahead, rising from front to back, with the index of their samples.
    asked: VecDeque<(u64, f32)>,
    /// The least gain of each last [`AHEAD`] samples, of which the mean is applied.
    least: VecDeque<f32>,
    sum: f64,
    held: f64,
    index: u64,
}

impl Default for Limiter {
    fn default() -> Self {
        use std::f32::consts::PI;
        let taps = std::array::from_fn(|phase| {
            std::array::from_fn(|tap| {
                let t = tap as f32 - (LATE as f32 - 1.0) - phase as f32 / PHASES as f32;
                let sinc = if t == 0.0 { 1.0 } else { (PI * t).sin() / (PI * t) };
                sinc * (0.5 + 0.5 * (PI * t / (LATE as f32 + 0.5)).cos())
            })
        });
        Self {
            taps,
            recent: [0.0; TAPS],
            delayed: std::iter::repeat_n(0.0, LATENCY).collect(),
            asked: VecDeque::with_capacity(AHEAD + 1),
            least: std::iter::repeat_n(1.0, AHEAD).collect(),
            sum: AHEAD as f64,
            held: 1.0,
            index: 0,
        }
    }
}

impl Limiter {
    /// Limits samples in place.
    pub fn process(&mut self, samples: &mut [f32]) {
        for sample in samples {
            let input = if sample.is_finite() { *sample } else { 0.0 };
            *sample = self.step(input);
        }
    }

    fn step(&mut self, input: f32) -> f32 {
        self.recent.copy_within(1.., 0);
        self.recent[TAPS - 1] = input;
        let between = self.taps.iter().map(|taps| {
            let sum: f32 = taps.iter().zip(&self.recent).map(|(tap, x)| tap * x).sum();
            sum.abs()
        });
        let peak = between.fold(self.recent[LATE - 1].abs().max(self.recent[LATE].abs()), f32::max);
        let gain = if peak > CEILING { CEILING / peak } else { 1.0 };
        // The least gain that any peak of the next AHEAD samples asks for.
        while self.asked.back().is_some_and(|(_, before)| *before >= gain) {
            self.asked.pop_back();
        }
        self.asked.push_back((self.index, gain));
        while self.asked.front().is_some_and(|(index, _)| index + (AHEAD as u64) < self.index) {
            self.asked.pop_front();
        }
        self.index += 1;
        let wanted = self.asked.front().map_or(1.0, |(_, gain)| f64::from(*gain));
        self.held = if wanted < self.held { wanted } else { self.held + RELEASE * (wanted - self.held) };
        if self.held > 0.999_99 {
            self.held = 1.0;
        }
        // A mean over the time of looking ahead has arrived at the least gain when its peak comes out.
        let held = self.held as f32;
        self.least.push_back(held);
        self.sum += f64::from(held) - f64::from(self.least.pop_front().unwrap_or(1.0));
        self.delayed.push_back(input);
        let out = self.delayed.pop_front().unwrap_or_default();
        let gain = (self.sum / AHEAD as f64) as f32;
        if gain > 0.999_99 { out } else { (out * gain).clamp(-1.0, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::synth::{Speech, Synth};
    use std::f32::consts::TAU;

    /// The true peak of a sound by four times finer interpolation.
    fn true_peak(sound: &[f32]) -> f32 {
        let taps = Limiter::default().taps;
        let windows = sound.windows(TAPS);
        windows
            .flat_map(|window| {
                taps.iter().map(move |taps| taps.iter().zip(window).map(|(a, b)| a * b).sum::<f32>().abs())
            })
            .fold(0.0, f32::max)
    }

    #[test]
    fn what_is_not_too_loud_passes_bit_for_bit() {
        let mut voice = vec![0.0; 48_000];
        Speech::new(3).fill(&mut voice);
        let mut out = voice.clone();
        Limiter::default().process(&mut out);
        assert_eq!(out[LATENCY..], voice[..voice.len() - LATENCY]);
    }

    #[test]
    fn four_shouting_people_do_not_clip() {
        let mut sum = vec![0.0; 96_000];
        for seed in 0..4 {
            let mut voice = vec![0.0; sum.len()];
            Speech::new(seed).fill(&mut voice);
            sum.iter_mut().zip(&voice).for_each(|(sum, x)| *sum += 4.0 * x);
        }
        assert!(true_peak(&sum) > 1.5, "the test is loud enough");
        Limiter::default().process(&mut sum);
        assert!(true_peak(&sum) <= CEILING * 1.02, "{}", true_peak(&sum));
        assert!(sum.iter().any(|x| x.abs() > 0.7), "and not made quiet");
    }

    #[test]
    fn a_peak_between_the_samples_is_seen() {
        // A quarter of the sample rate, sampled beside its peaks: samples at 0.92, true peaks at 1.3.
        let mut sound: Vec<f32> = (0..4_800).map(|i| 1.3 * (TAU * (i as f32 / 4.0 + 0.125)).sin()).collect();
        assert!(sound.iter().all(|x| x.abs() < 0.93));
        Limiter::default().process(&mut sound);
        assert!(true_peak(&sound[600..]) <= CEILING * 1.03, "{}", true_peak(&sound[600..]));
    }

    #[test]
    fn the_gain_comes_back_and_bad_numbers_do_no_harm() {
        let mut limiter = Limiter::default();
        let mut bad = [f32::NAN, f32::INFINITY, 9.0, -9.0];
        limiter.process(&mut bad);
        let mut rest = vec![0.5; 48_000];
        limiter.process(&mut rest);
        assert!(rest.iter().all(|x| x.is_finite() && x.abs() <= 1.0));
        assert_eq!(rest[47_999], 0.5);
    }
}
