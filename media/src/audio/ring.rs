//! The tunes of a program that rings: made, not recorded, so that nobody's rights are touched and nothing is loaded.
//!
//! Notes are struck like those of a marimba: a sine and a quiet overtone that fade by themselves. Pure: the same samples
//! each time.

use std::f32::consts::TAU;

use super::SAMPLE_RATE;

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tune {
    /// Somebody calls: a rising figure, twice, then a pause.
    Ring,
    /// Somebody calls while one talks: two quiet notes, seldom.
    Knock,
    /// It rings at the friend's: a long soft tone, as telephones have it.
    RingBack,
    /// The call is over: two falling notes, once.
    Over,
}

/// A note: when it begins and its pitch.
struct Note {
    /// Seconds after the begin of the tune.
    at: f32,
    /// Hertz.
    pitch: f32,
    /// Peak, 0 to 1.
    loud: f32,
    /// Seconds in which it falls to a third.
    fade: f32,
}

const fn note(at: f32, pitch: f32, loud: f32, fade: f32) -> Note {
    Note { at, pitch, loud, fade }
}

/// E, A, C sharp, E: an open chord that rises.
const RING: &[Note] = &[
    note(0.0, 659.26, 0.30, 0.16),
    note(0.16, 880.0, 0.30, 0.16),
    note(0.32, 1108.73, 0.28, 0.16),
    note(0.48, 1318.51, 0.32, 0.30),
    note(1.1, 659.26, 0.30, 0.16),
    note(1.26, 880.0, 0.30, 0.16),
    note(1.42, 1108.73, 0.28, 0.16),
    note(1.58, 1318.51, 0.32, 0.45),
];
const KNOCK: &[Note] = &[note(0.0, 880.0, 0.08, 0.08), note(0.2, 880.0, 0.08, 0.12)];
const OVER: &[Note] = &[note(0.0, 659.26, 0.16, 0.12), note(0.17, 493.88, 0.16, 0.22)];

/// The tone of [`Tune::RingBack`], Hz, how long it sounds and how loud (ITU-T E.180: 425 Hz, one second in five).
const TONE: (f32, f32, f32) = (425.0, 1.0, 0.12);
/// Its edges, seconds: without them it would click.
const EDGE: f32 = 0.03;

impl Tune {
    /// Seconds after which it begins anew; none: it is heard once.
    #[must_use]
    pub fn period(self) -> Option<f32> {
        match self {
            Self::Ring => Some(3.6),
            Self::Knock | Self::RingBack => Some(5.0),
            Self::Over => None,
        }
    }

    /// One sample, so many seconds after the begin.
    fn sample(self, at: f32) -> f32 {
        let at = self.period().map_or(at, |period| at % period);
        let notes = match self {
            Self::Ring => RING,
            Self::Knock => KNOCK,
            Self::Over => OVER,
            Self::RingBack => return tone(at),
        };
        notes.iter().map(|note| struck(note, at - note.at)).sum()
    }
}

fn tone(at: f32) -> f32 {
    let (pitch, length, loud) = TONE;
    let edge = (at / EDGE).min((length - at) / EDGE).clamp(0.0, 1.0);
    loud * edge * (TAU * pitch * at).sin()
}

fn struck(note: &Note, since: f32) -> f32 {
    // After eight times the fade nothing is left.
    if !(0.0..note.fade * 8.0).contains(&since) {
        return 0.0;
    }
    let rise = (since / 0.004).min(1.0);
    let body = (TAU * note.pitch * since).sin() * (-since / note.fade).exp();
    let overtone = (TAU * note.pitch * 4.0 * since).sin() * (-since / (note.fade * 0.25)).exp();
    note.loud * rise * 0.85f32.mul_add(body, 0.15 * overtone)
}

/// Plays a tune, piece by piece.
#[derive(Clone, Debug)]
pub struct Ringer {
    tune: Tune,
    played: u64,
}

impl Ringer {
    /// From its begin.
    #[must_use]
    pub fn new(tune: Tune) -> Self {
        Self { tune, played: 0 }
    }

    /// The next samples, mono at [`SAMPLE_RATE`].
    pub fn fill(&mut self, samples: &mut [f32]) {
        for sample in samples {
            // A period has a whole number of samples; the rest keeps the arithmetic exact for hours.
            let length = self.tune.period().map(|period| (period * SAMPLE_RATE as f32) as u64);
            let at = length.map_or(self.played, |length| self.played % length);
            *sample = self.tune.sample(at as f32 / SAMPLE_RATE as f32);
            self.played += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::meter::Level;

    fn seconds(tune: Tune, seconds: usize) -> Vec<f32> {
        let mut samples = vec![0.0; seconds * SAMPLE_RATE as usize];
        let mut ringer = Ringer::new(tune);
        samples.chunks_mut(480).for_each(|piece| ringer.fill(piece));
        samples
    }

    #[test]
    fn tunes_are_heard_repeat_and_never_clip() {
        for tune in [Tune::Ring, Tune::Knock, Tune::RingBack, Tune::Over] {
            let samples = seconds(tune, 12);
            let level = Level::of(&samples[..24_000]);
            assert!(level.peak_db < -3.0 && level.rms_db > -45.0, "{tune:?}: {level:?}");
            let late = Level::of(&samples[5 * 48_000..]);
            assert_eq!(late.peak_db > -60.0, tune.period().is_some(), "{tune:?}");
        }
    }

    #[test]
    fn no_tune_clicks() {
        for tune in [Tune::Ring, Tune::Knock, Tune::RingBack, Tune::Over] {
            let samples = seconds(tune, 8);
            let jump = samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
            assert!(jump < 0.2, "{tune:?}: {jump}");
        }
    }

    #[test]
    fn a_second_call_is_much_quieter_than_a_first() {
        let peak = |tune| Level::of(&seconds(tune, 4)).peak_db;
        assert!(peak(Tune::Ring) > peak(Tune::Knock) + 9.0);
    }
}
