//! Sound out of nothing: a tone, silence, and a voice that speaks no language.
//!
//! The voice is a source and a filter, as in the textbooks (Klatt 1980): a pulse train with a falling, wavering pitch
//! and breath noise, through four formant resonators that glide from vowel to vowel, in syllables of a speaking rhythm
//! with consonants and pauses. It never repeats, so a piece of it is found again by cross-correlation, and a voice
//! codec treats it like a voice.

use std::f32::consts::{PI, TAU};

/// Makes sound of any length at 48 kHz.
pub trait Synth: Send {
    /// Fills `out` with what comes next.
    fn fill(&mut self, out: &mut [f32]);
}

/// A sine at -12 dBFS.
#[derive(Debug)]
pub struct Tone {
    phase: f32,
    step: f32,
}

impl Tone {
    /// Of so many hertz, clamped to what people can hear.
    #[must_use]
    pub fn new(frequency: f32) -> Self {
        let frequency = if frequency.is_finite() { frequency.clamp(20.0, 20_000.0) } else { 440.0 };
        Self { phase: 0.0, step: TAU * frequency / RATE }
    }
}

impl Synth for Tone {
    fn fill(&mut self, out: &mut [f32]) {
        for sample in out {
            *sample = 0.25 * self.phase.sin();
            self.phase = (self.phase + self.step) % TAU;
        }
    }
}

/// Nothing to hear.
#[derive(Debug, Default)]
pub struct Silence;

impl Synth for Silence {
    fn fill(&mut self, out: &mut [f32]) {
        out.fill(0.0);
    }
}

const RATE: f32 = 48_000.0;
/// Filters change this often: 2.5 ms.
const CONTROL_SAMPLES: u32 = 120;

/// Formants F1 to F4 of vowels in hertz (after Peterson and Barney 1952, F4 constant).
const VOWELS: [[f32; 4]; 8] = [
    [730.0, 1090.0, 2440.0, 3400.0],
    [270.0, 2290.0, 3010.0, 3500.0],
    [300.0, 870.0, 2240.0, 3300.0],
    [530.0, 1840.0, 2480.0, 3500.0],
    [570.0, 840.0, 2410.0, 3300.0],
    [660.0, 1720.0, 2410.0, 3500.0],
    [440.0, 1020.0, 2240.0, 3300.0],
    [490.0, 1350.0, 1690.0, 3300.0],
];
const BANDWIDTHS: [f32; 4] = [70.0, 90.0, 120.0, 200.0];
/// How strong each formant is heard.
const GAINS: [f32; 4] = [1.0, 0.6, 0.35, 0.18];

/// A two-pole resonator with unit gain at its peak, near enough.
#[derive(Clone, Copy, Debug, Default)]
struct Resonator {
    a: f32,
    b: f32,
    c: f32,
    y1: f32,
    y2: f32,
}

impl Resonator {
    fn tune(&mut self, frequency: f32, bandwidth: f32) {
        let radius = (-PI * bandwidth / RATE).exp();
        self.b = 2.0 * radius * (TAU * frequency / RATE).cos();
        self.c = -radius * radius;
        self.a = (1.0 - radius * radius) * (TAU * frequency / RATE).sin();
    }

    fn step(&mut self, x: f32) -> f32 {
        let y = self.a * x + self.b * self.y1 + self.c * self.y2;
        self.y2 = self.y1;
        self.y1 = y;
        y
    }
}

/// What the mouth does for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sound {
    /// Vocal folds swing, formants glide to this vowel.
    Vowel(usize),
    /// Noise around this frequency: s, sh, f.
    Hiss(f32),
    /// The mouth is shut: before a burst, between words.
    Closed,
}

/// The synthetic voice.
#[derive(Debug)]
pub struct Speech {
    random: u64,
    pitch_mean: f32,
    sound: Sound,
    left: u32,
    length: u32,
    syllables_left: u32,
    phrase_syllables: u32,
    control_left: u32,
    phase: f32,
    pitch: f32,
    wobble: f32,
    loudness: f32,
    breath: f32,
    formants: [f32; 4],
    filters: [Resonator; 4],
    hiss: Resonator,
    last_pulse: f32,
}

impl Speech {
    /// A voice of its own for each seed; it begins with a vowel at once, so that its first sound can be waited for.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut voice = Self {
            random: seed ^ 0x9e37_79b9_7f4a_7c15,
            pitch_mean: 0.0,
            sound: Sound::Vowel(0),
            left: 9_600,
            length: 9_600,
            syllables_left: 6,
            phrase_syllables: 6,
            control_left: 0,
            phase: 0.0,
            pitch: 120.0,
            wobble: 0.0,
            loudness: 0.3,
            breath: 0.0,
            formants: VOWELS[0],
            filters: [Resonator::default(); 4],
            hiss: Resonator::default(),
            last_pulse: 0.0,
        };
        voice.pitch_mean = 95.0 + 120.0 * voice.uniform();
        voice.pitch = voice.pitch_mean;
        let vowel = voice.pick(VOWELS.len());
        voice.sound = Sound::Vowel(vowel);
        voice.formants = VOWELS.get(vowel).copied().unwrap_or(VOWELS[0]);
        voice
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 24) as f32
    }

    fn pick(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    /// Chooses what the mouth does next.
    fn advance(&mut self) {
        let ms = |ms: f32| (ms * RATE / 1000.0) as u32;
        let (sound, length) = match self.sound {
            Sound::Vowel(_) if self.syllables_left == 0 => {
                self.phrase_syllables = 4 + self.pick(6) as u32;
                self.syllables_left = self.phrase_syllables;
                (Sound::Closed, ms(180.0 + 240.0 * self.uniform()))
            }
            Sound::Vowel(_) => match self.pick(10) {
                0..=3 => (Sound::Hiss(2500.0 + 4500.0 * self.uniform()), ms(50.0 + 60.0 * self.uniform())),
                4..=6 => (Sound::Closed, ms(30.0 + 40.0 * self.uniform())),
                _ => self.vowel(),
            },
            // A shut mouth opens with a short burst now and then.
            Sound::Closed => match self.pick(2) {
                0 => (Sound::Hiss(1500.0 + 3000.0 * self.uniform()), ms(14.0)),
                _ => self.vowel(),
            },
            Sound::Hiss(_) => self.vowel(),
        };
        self.sound = sound;
        self.left = length.max(CONTROL_SAMPLES);
        self.length = self.left;
        if let Sound::Hiss(frequency) = sound {
            self.hiss.tune(frequency, 900.0);
        }
    }

    fn vowel(&mut self) -> (Sound, u32) {
        self.syllables_left = self.syllables_left.saturating_sub(1);
        let vowel = self.pick(VOWELS.len());
        (Sound::Vowel(vowel), ((90.0 + 130.0 * self.uniform()) * RATE / 1000.0) as u32)
    }

    /// Every 2.5 ms: glide formants, pitch and loudness towards where they should be.
    fn control(&mut self) {
        let done = 1.0 - self.left as f32 / self.length.max(1) as f32;
        let (loudness, breath) = match self.sound {
            Sound::Vowel(_) => (0.35 + 0.65 * (PI * done.clamp(0.08, 0.95)).sin(), 0.0),
            Sound::Hiss(_) => (0.0, 0.5),
            Sound::Closed => (0.0, 0.0),
        };
        self.loudness += 0.25 * (loudness - self.loudness);
        self.breath += 0.4 * (breath - self.breath);
        if let Sound::Vowel(index) = self.sound {
            let target = VOWELS.get(index).copied().unwrap_or(VOWELS[0]);
            for (formant, target) in self.formants.iter_mut().zip(target) {
                *formant += 0.09 * (target - *formant);
            }
        }
        for ((filter, formant), bandwidth) in self.filters.iter_mut().zip(self.formants).zip(BANDWIDTHS) {
            filter.tune(formant, bandwidth);
        }
        // The pitch falls along the phrase and wavers.
        let along = self.syllables_left as f32 / self.phrase_syllables.max(1) as f32;
        let noise = self.uniform() - 0.5;
        self.wobble = 0.97 * self.wobble + 0.05 * noise;
        let target = self.pitch_mean * (0.85 + 0.3 * along + self.wobble);
        self.pitch += 0.05 * (target - self.pitch);
    }

    fn sample(&mut self) -> f32 {
        if self.control_left == 0 {
            self.control_left = CONTROL_SAMPLES;
            self.control();
        }
        self.control_left -= 1;
        if self.left == 0 {
            self.advance();
        }
        self.left = self.left.saturating_sub(1);

        // Vocal folds: open slowly, shut fast (Rosenberg 1971); what is radiated is the derivative of that flow.
        self.phase += self.pitch / RATE;
        if self.phase >= 1.0 {
            self.phase -= 1.0;
        }
        let pulse = match self.phase {
            p if p < 0.4 => 0.5 * (1.0 - (PI * p / 0.4).cos()),
            p if p < 0.56 => (PI * (p - 0.4) / 0.32).cos(),
            _ => 0.0,
        };
        let flow = (pulse - self.last_pulse) * 14.0;
        self.last_pulse = pulse;
        let noise = self.uniform() - 0.5;
        let source = (flow + 0.04 * noise) * self.loudness;
        let mut voice = 0.0;
        for (filter, gain) in self.filters.iter_mut().zip(GAINS) {
            voice += gain * filter.step(source);
        }
        let hiss = self.hiss.step(noise * self.breath);
        // Soft limit: never above full scale, whatever the formants do.
        (2.2 * voice + 0.6 * hiss).tanh() * 0.6
    }
}

impl Synth for Speech {
    fn fill(&mut self, out: &mut [f32]) {
        for sample in out {
            *sample = self.sample();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::meter::Level;
    use crate::measure::correlation;

    fn speak(seed: u64, seconds: usize) -> Vec<f32> {
        let mut out = vec![0.0; seconds * 48_000];
        Speech::new(seed).fill(&mut out);
        out
    }

    #[test]
    fn a_voice_speaks_at_once_and_at_the_loudness_of_speech() {
        for seed in 0..20 {
            let sound = speak(seed, 10);
            let (start, all) = (Level::of(&sound[..960]), Level::of(&sound));
            assert!(start.rms_db > -40.0, "seed {seed} begins with {start:?}");
            assert!((-32.0..-12.0).contains(&all.rms_db), "seed {seed} speaks at {all:?}");
            assert!(all.peak_db < -3.0, "seed {seed} peaks at {all:?}");
        }
    }

    #[test]
    fn a_voice_has_syllables_and_pauses() {
        let sound = speak(3, 20);
        let loud: Vec<bool> = sound.chunks(480).map(|piece| Level::of(piece).rms_db > -45.0).collect();
        let share = loud.iter().filter(|loud| **loud).count() as f32 / loud.len() as f32;
        let onsets = loud.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((0.5..0.97).contains(&share), "sounds {share} of the time");
        assert!((10..160).contains(&onsets), "{onsets} onsets in 20 s");
    }

    #[test]
    fn a_seed_always_says_the_same_and_another_seed_something_else() {
        let (a, b, c) = (speak(7, 2), speak(7, 2), speak(8, 2));
        assert_eq!(a, b);
        assert!(correlation(&a, &c).abs() < 0.3);
    }

    #[test]
    fn a_voice_does_not_sound_like_itself_later() {
        let sound = speak(1, 10);
        let piece = &sound[24_000..24_000 + 9_600];
        for start in (48_000..400_000).step_by(4801) {
            assert!(correlation(piece, &sound[start..start + 9_600]) < 0.6);
        }
    }

    #[test]
    fn how_it_is_cut_into_pieces_changes_nothing() {
        let whole = speak(9, 1);
        let mut pieces = vec![0.0; 48_000];
        let mut voice = Speech::new(9);
        for piece in pieces.chunks_mut(77) {
            voice.fill(piece);
        }
        assert_eq!(whole, pieces);
    }
}
