//! Measuring a call by its sound: when the first sound came, and how long each piece of sound was on its way.
//!
//! Both ends are logged as they happen: what entered the encoder's queue, and what left the jitter buffer, with times of
//! one clock ([`crate::now_ns`], the same for all processes of a machine). Pieces of what was heard are then looked for
//! in what was said, by cross-correlation, so that concealment, time stretching and lost packets cannot fool the result.

pub mod voice_path;

use std::collections::VecDeque;

use crate::audio::SAMPLE_RATE;
use crate::audio::meter::Level;

/// Louder than this is sound, dBFS: well above a codec's comfort noise, well below any voice.
pub const AUDIBLE_DB: f32 = -50.0;
/// Most sound that a log keeps, in samples: 120 s, 23 MB. Older sound is dropped.
pub const MAX_LOG_SAMPLES: usize = 120 * SAMPLE_RATE as usize;
/// Longest delay that is looked for.
pub const MAX_DELAY_MS: u64 = 1_000;

/// Samples are searched at 48 kHz divided by this; the last step is at full rate.
const COARSE: usize = 8;
/// Length of a piece that is looked for: 100 ms, more than a syllable's vowel.
const PIECE: usize = 4_800;
/// From one piece to the next: 100 ms.
const HOP: usize = 4_800;
/// A piece counts as found if it correlates at least so well.
const FOUND: f32 = 0.8;

/// Similarity of two equally long sounds, -1 to 1 (normalised cross-correlation at no shift); 0 if either is silent.
#[must_use]
pub fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let (mut ab, mut aa, mut bb) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (x, y) in a.iter().zip(b) {
        ab += f64::from(x * y);
        aa += f64::from(x * x);
        bb += f64::from(y * y);
    }
    if aa * bb > 0.0 { (ab / (aa * bb).sqrt()) as f32 } else { 0.0 }
}

/// Sound with the time at which each piece of it passed a point.
#[derive(Clone, Debug, Default)]
pub struct SoundLog {
    samples: VecDeque<f32>,
    /// (index of the first sample since the start, time) of each piece.
    pieces: VecDeque<(u64, u64)>,
    dropped: u64,
    first_sound: Option<u64>,
}

impl SoundLog {
    /// Logs a piece that passed at `time_ns`, as taps give it.
    pub fn push(&mut self, time_ns: u64, samples: &[f32]) {
        if samples.is_empty() {
            return;
        }
        if self.first_sound.is_none() && Level::of(samples).rms_db > AUDIBLE_DB {
            self.first_sound = Some(time_ns);
        }
        self.pieces.push_back((self.dropped + self.samples.len() as u64, time_ns));
        self.samples.extend(samples);
        let excess = self.samples.len().saturating_sub(MAX_LOG_SAMPLES);
        if excess > 0 {
            self.samples.drain(..excess);
            self.dropped += excess as u64;
            while self.pieces.get(1).is_some_and(|(index, _)| *index <= self.dropped) {
                self.pieces.pop_front();
            }
        }
    }

    /// When the first audible piece passed, ns.
    #[must_use]
    pub fn first_sound_ns(&self) -> Option<u64> {
        self.first_sound
    }

    /// Everything that is still kept, oldest first.
    #[must_use]
    pub fn samples(&self) -> Vec<f32> {
        self.samples.iter().copied().collect()
    }

    /// When the kept sample with this index passed, ns.
    #[must_use]
    pub fn time_of(&self, index: usize) -> u64 {
        let index = self.dropped + index as u64;
        let after = self.pieces.partition_point(|(start, _)| *start <= index);
        after.checked_sub(1).and_then(|i| self.pieces.get(i)).map_or(0, |(_, time)| *time)
    }

    /// The first kept sample that passed at `time_ns` or later.
    #[must_use]
    pub fn index_at(&self, time_ns: u64) -> usize {
        let piece = self.pieces.partition_point(|(_, time)| *time < time_ns);
        let start = self.pieces.get(piece).map_or(self.dropped + self.samples.len() as u64, |(start, _)| *start);
        usize::try_from(start.saturating_sub(self.dropped)).unwrap_or(usize::MAX).min(self.samples.len())
    }
}

/// What a comparison of two logs says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DelayReport {
    /// Middle one of all delays, ms.
    pub median_ms: f64,
    /// 95 of 100 pieces were not later than this, ms.
    pub p95_ms: f64,
    /// Pieces that were found again.
    pub found: usize,
    /// Audible pieces that were looked for.
    pub looked_for: usize,
    /// Mean similarity of the found pieces with what was said.
    pub similarity: f64,
}

/// Both ends of one direction of a call.
#[derive(Clone, Debug, Default)]
pub struct DelayProbe {
    /// What entered the encoder's queue.
    pub sent: SoundLog,
    /// What left the jitter buffer.
    pub received: SoundLog,
}

/// One piece of what was heard, found again in what was said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// When it was heard, ns.
    pub heard_ns: u64,
    /// How long it had been on its way, ms.
    pub delay_ms: f64,
    /// Its similarity with what was said.
    pub similarity: f64,
}

impl DelayProbe {
    /// Finds pieces of the received sound in the sent sound. None if nothing was found.
    #[must_use]
    pub fn report(&self) -> Option<DelayReport> {
        let (pieces, looked_for) = self.pieces(0..u64::MAX, MAX_DELAY_MS);
        if pieces.is_empty() {
            return None;
        }
        let mut delays: Vec<f64> = pieces.iter().map(|piece| piece.delay_ms).collect();
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).or(delays.last()).copied();
        Some(DelayReport {
            median_ms: at(0.5).unwrap_or_default(),
            p95_ms: at(0.95).unwrap_or_default(),
            found: delays.len(),
            looked_for,
            similarity: pieces.iter().map(|piece| piece.similarity).sum::<f64>() / delays.len() as f64,
        })
    }

    /// The audible pieces that were heard in this time (ns) and found again in what was said up to `max_delay_ms`
    /// before; and how many were looked for. Every 100 ms one, of 100 ms.
    #[must_use]
    pub fn pieces(&self, within: std::ops::Range<u64>, max_delay_ms: u64) -> (Vec<Piece>, usize) {
        let (sent, received) = (self.sent.samples(), self.received.samples());
        let (sent_coarse, received_coarse) = (decimate(&sent), decimate(&received));
        let (mut pieces, mut looked_for) = (Vec::new(), 0);
        for start in (0..received.len().saturating_sub(PIECE)).step_by(HOP) {
            let heard = self.received.time_of(start);
            if !within.contains(&heard) {
                continue;
            }
            let Some(piece) = received.get(start..start + PIECE) else { break };
            if Level::of(piece).rms_db < AUDIBLE_DB + 10.0 {
                continue;
            }
            looked_for += 1;
            let earliest = self.sent.index_at(heard.saturating_sub(max_delay_ms * 1_000_000));
            // What is heard now cannot have been said later, but a piece spans some time.
            let latest = (self.sent.index_at(heard) + PIECE).min(sent.len());
            let Some(coarse_piece) = received_coarse.get(start / COARSE..(start + PIECE) / COARSE) else { continue };
            let Some(space) = sent_coarse.get(earliest / COARSE..latest / COARSE) else { continue };
            let Some(rough) = best_shift(coarse_piece, space) else { continue };
            let rough = (earliest / COARSE + rough) * COARSE;
            let from = rough.saturating_sub(2 * COARSE);
            let Some(space) = sent.get(from..(rough + PIECE + 2 * COARSE).min(sent.len())) else { continue };
            let Some(fine) = best_shift(piece, space).map(|shift| from + shift) else { continue };
            let found = correlation(piece, sent.get(fine..fine + PIECE).unwrap_or_default());
            if found < FOUND {
                continue;
            }
            // Sound moves in pieces at both ends; the mean over the piece is what a listener gets.
            let steps = PIECE / 120;
            let sum: i128 = (0..steps)
                .map(|i| i * 120)
                .map(|i| i128::from(self.received.time_of(start + i)) - i128::from(self.sent.time_of(fine + i)))
                .sum();
            let delay_ms = sum as f64 / steps as f64 / 1e6;
            pieces.push(Piece { heard_ns: heard, delay_ms, similarity: f64::from(found) });
        }
        (pieces, looked_for)
    }
}

/// Every [`COARSE`]th sample of the sound, after a mean over as many: a voice's energy is far below the new limit.
fn decimate(sound: &[f32]) -> Vec<f32> {
    sound.chunks_exact(COARSE).map(|piece| piece.iter().sum::<f32>() / COARSE as f32).collect()
}

/// Where in `space` the `piece` fits best; None if it does not fit at all.
fn best_shift(piece: &[f32], space: &[f32]) -> Option<usize> {
    let shifts = space.len().checked_sub(piece.len())?;
    let mut best = (0.0_f32, None);
    let mut energy: f64 = space.iter().take(piece.len()).map(|x| f64::from(x * x)).sum();
    for shift in 0..=shifts {
        let window = space.get(shift..shift + piece.len())?;
        let dot: f32 = piece.iter().zip(window).map(|(a, b)| a * b).sum();
        let score = dot / (energy.max(1e-9) as f32).sqrt();
        if score > best.0 {
            best = (score, Some(shift));
        }
        let (out, next) = (space.get(shift)?, space.get(shift + piece.len()));
        energy += next.map_or(0.0, |x| f64::from(x * x)) - f64::from(out * out);
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::synth::{Speech, Synth};

    fn speech(seconds: usize) -> Vec<f32> {
        let mut out = vec![0.0; seconds * 48_000];
        Speech::new(2).fill(&mut out);
        out
    }

    #[test]
    fn a_known_delay_is_measured() {
        let sound = speech(10);
        let mut probe = DelayProbe::default();
        for (i, piece) in sound.chunks(480).enumerate() {
            probe.sent.push(1_000_000_000 + i as u64 * 10_000_000, piece);
        }
        // Heard 73 ms later, in pieces of 20 ms, half as loud; one second of it is missing.
        let mut heard = sound.clone();
        heard[96_000..144_000].fill(0.0);
        for (i, piece) in heard.chunks(960).enumerate() {
            let quiet: Vec<f32> = piece.iter().map(|x| x * 0.5).collect();
            probe.received.push(1_078_000_000 + i as u64 * 20_000_000, &quiet);
        }
        let report = probe.report().unwrap();
        assert!((report.median_ms - 73.0).abs() < 1.0, "{report:?}");
        assert!((report.p95_ms - 73.0).abs() < 1.0, "{report:?}");
        assert!(report.found > 30 && report.found == report.looked_for, "{report:?}");
        assert_eq!(probe.received.first_sound_ns(), Some(1_078_000_000));
    }

    #[test]
    fn foreign_sound_is_not_found() {
        let mut probe = DelayProbe::default();
        let mut other = vec![0.0; 48_000 * 4];
        Speech::new(77).fill(&mut other);
        for (i, (said, heard)) in speech(4).chunks(480).zip(other.chunks(480)).enumerate() {
            probe.sent.push(i as u64 * 10_000_000, said);
            probe.received.push(i as u64 * 10_000_000 + 50_000_000, heard);
        }
        let found = probe.report().map_or(0, |report| report.found);
        assert!(found < 4, "{found} pieces of another voice were found");
    }

    #[test]
    fn a_log_forgets_what_is_too_old_and_keeps_its_times() {
        let mut log = SoundLog::default();
        let piece = [0.1; 4_800];
        for i in 0..(MAX_LOG_SAMPLES / 4_800 + 50) {
            log.push(i as u64 * 100_000_000, &piece);
        }
        assert_eq!(log.samples.len(), MAX_LOG_SAMPLES);
        assert_eq!(log.time_of(0), 50 * 100_000_000);
        assert_eq!(log.index_at(50 * 100_000_000), 0);
        assert_eq!(log.index_at(51 * 100_000_000), 4_800);
        assert!(log.pieces.len() <= MAX_LOG_SAMPLES / 4_800 + 1);
    }
}
