//! Whether somebody speaks: for sending only then.
//!
//! A voice is what stands out of the room's own noise for a moment; noise that goes on becomes the room's noise within
//! seconds. Runs behind echo canceller and noise suppression, which leave little else to be mistaken for a voice.

/// Sound this much above the noise is a voice, dB.
const ABOVE_NOISE_DB: f32 = 10.0;
/// And nothing below this is, dBFS.
const QUIET_DB: f32 = -52.0;
/// Blocks of 10 ms for which a voice is taken to go on after it was heard: 400 ms, longer than pauses between words.
const HOLD: u32 = 40;
/// How fast the noise is taken to rise and fall, dB per block: 3 and 60 dB a second.
const NOISE_RISES_DB: f32 = 0.03;
const NOISE_FALLS_DB: f32 = 0.6;

/// See the module.
#[derive(Debug)]
pub(super) struct Activity {
    noise_db: f32,
    hold: u32,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { noise_db: -60.0, hold: 0 }
    }

    /// Takes 10 ms; true while somebody speaks.
    pub(super) fn speaks(&mut self, block: &[f32]) -> bool {
        let power = block.iter().map(|x| x * x).sum::<f32>() / block.len().max(1) as f32;
        let db = 10.0 * (power + 1e-10).log10();
        self.noise_db += if db > self.noise_db { NOISE_RISES_DB } else { -NOISE_FALLS_DB };
        if db > QUIET_DB && db > self.noise_db + ABOVE_NOISE_DB {
            self.hold = HOLD;
        } else {
            self.hold = self.hold.saturating_sub(1);
        }
        self.hold > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::synth::{Speech, Synth};

    #[test]
    fn a_voice_opens_at_once_and_silence_closes_within_half_a_second() {
        let mut activity = Activity::new();
        assert!(!(0..200).any(|_| activity.speaks(&[0.000_1; 480])));
        let (mut voice, mut block, mut open) = (Speech::new(4), [0.0; 480], 0);
        for i in 0..300 {
            voice.fill(&mut block);
            let speaks = activity.speaks(&block);
            open += u32::from(speaks);
            assert!(speaks || i < 3 || open > 250, "closed at block {i}");
        }
        let closes = (0..50).position(|_| !activity.speaks(&[0.000_1; 480]));
        assert!(closes.is_some_and(|blocks| blocks < 45), "{closes:?}");
    }

    #[test]
    fn noise_that_goes_on_is_no_voice() {
        let mut activity = Activity::new();
        let mut random = 1_u32;
        let mut noise = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as f32 / (1 << 23) as f32 * 0.02 - 0.02
        };
        let mut last = true;
        for _ in 0..1_500 {
            let block: Vec<f32> = (0..480).map(|_| noise()).collect();
            last = activity.speaks(&block);
        }
        assert!(!last, "a fan is not a voice");
    }
}
