//! Level meters: how loud it is now, readable from any thread without a lock.

use std::sync::atomic::{AtomicU32, Ordering};

/// What a meter reads when there is no sound at all, dBFS.
pub const FLOOR_DB: f32 = -100.0;
/// How fast a reading falls after the sound ends: 20 dB in about 300 ms, as people expect of a meter.
const FALL_DB_PER_SECOND: f32 = 66.0;

/// Loudness at one moment, in dBFS (0 is full scale, [`FLOOR_DB`] is nothing).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Root mean square.
    pub rms_db: f32,
    /// Highest sample.
    pub peak_db: f32,
}

impl Default for Level {
    fn default() -> Self {
        Self { rms_db: FLOOR_DB, peak_db: FLOOR_DB }
    }
}

impl Level {
    /// Of these samples.
    #[must_use]
    pub fn of(samples: &[f32]) -> Self {
        if samples.is_empty() {
            return Self::default();
        }
        let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32;
        let peak = samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        Self { rms_db: decibel(power.sqrt()), peak_db: decibel(peak) }
    }
}

fn decibel(amplitude: f32) -> f32 {
    if amplitude > 0.0 { (20.0 * amplitude.log10()).clamp(FLOOR_DB, 20.0) } else { FLOOR_DB }
}

/// A meter: one side feeds it, any side reads it.
#[derive(Debug)]
pub struct Meter {
    rms: AtomicU32,
    peak: AtomicU32,
}

impl Default for Meter {
    fn default() -> Self {
        Self { rms: AtomicU32::new(FLOOR_DB.to_bits()), peak: AtomicU32::new(FLOOR_DB.to_bits()) }
    }
}

impl Meter {
    /// Takes samples at 48 kHz: rises at once, falls slowly.
    pub fn feed(&self, samples: &[f32]) {
        let now = Level::of(samples);
        let fall = FALL_DB_PER_SECOND * samples.len() as f32 / 48_000.0;
        for (slot, value) in [(&self.rms, now.rms_db), (&self.peak, now.peak_db)] {
            let before = f32::from_bits(slot.load(Ordering::Relaxed));
            slot.store(value.max(before - fall).max(FLOOR_DB).to_bits(), Ordering::Relaxed);
        }
    }

    /// What it shows.
    #[must_use]
    pub fn read(&self) -> Level {
        Level {
            rms_db: f32::from_bits(self.rms.load(Ordering::Relaxed)),
            peak_db: f32::from_bits(self.peak.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_square_wave_reads_zero_and_nothing_reads_the_floor() {
        assert_eq!(Level::of(&[1.0, -1.0]), Level { rms_db: 0.0, peak_db: 0.0 });
        assert_eq!(Level::of(&[0.0; 9]), Level::default());
        assert_eq!(Level::of(&[]), Level::default());
    }

    #[test]
    fn a_meter_rises_at_once_and_falls_slowly() {
        let meter = Meter::default();
        meter.feed(&[0.1; 480]);
        assert!((meter.read().rms_db + 20.0).abs() < 0.01);
        meter.feed(&[0.0; 480]);
        let falling = meter.read().rms_db;
        assert!((-22.0..-20.1).contains(&falling), "{falling}");
        for _ in 0..200 {
            meter.feed(&[0.0; 480]);
        }
        assert_eq!(meter.read(), Level::default());
    }
}
