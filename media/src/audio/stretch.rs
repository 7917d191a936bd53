//! Time stretching of a voice by whole pitch periods, which the ear hardly notices (WSOLA, Verhelst and Roelands 1993).
//!
//! The jitter buffer uses it to become shorter or longer while somebody speaks: a period is cut out or said twice, with
//! a cross-fade of 5 ms where the waveform is most like itself. Where it is not, nothing is done.

/// Length of the cross-fade and of the window that is compared: 5 ms.
pub const FADE: usize = 240;
/// Shortest period that is cut or doubled: 2.5 ms (a voice of 400 Hz).
pub const MIN_LAG: usize = 120;
/// Longest: 15 ms (a voice of 67 Hz).
pub const MAX_LAG: usize = 720;
/// Most samples that [`shorten`] and [`lengthen`] need to work at their best.
pub const BEST_LEN: usize = MAX_LAG + FADE;

/// Below this mean power a sound is so quiet that any cut is inaudible: -60 dBFS.
const QUIET_POWER: f32 = 1e-6;
/// Waveforms must be this similar across the cut.
const SIMILAR: f32 = 0.8;

/// Cuts up to `at_most` samples out of the beginning of `sound`; returns how many (0 if no cut would go unnoticed).
/// With `force` a cut is made even if it can be heard.
pub fn shorten(sound: &mut Vec<f32>, at_most: usize, force: bool) -> usize {
    let longest = sound.len().saturating_sub(FADE).min(MAX_LAG).min(at_most);
    let Some(lag) = find_lag(sound, 0, longest, |lag| lag, force) else { return 0 };
    for i in 0..FADE {
        let share = i as f32 / FADE as f32;
        let later = sound.get(lag + i).copied().unwrap_or_default();
        if let Some(sample) = sound.get_mut(i) {
            *sample = *sample * (1.0 - share) + later * share;
        }
    }
    let cut_end = (FADE + lag).min(sound.len());
    sound.drain(FADE.min(cut_end)..cut_end);
    lag
}

/// Says up to `at_most` samples twice at the beginning of `sound`; `before` is what was heard right before it. Returns
/// by how many samples it grew.
pub fn lengthen(before: &[f32], sound: &mut Vec<f32>, at_most: usize, force: bool) -> usize {
    if sound.len() < FADE {
        return 0;
    }
    let longest = before.len().min(MAX_LAG).min(at_most);
    let tail = before.get(before.len() - longest..).unwrap_or_default();
    let mut joined = Vec::with_capacity(longest + sound.len() + MAX_LAG);
    joined.extend_from_slice(tail);
    joined.extend_from_slice(sound);
    let Some(lag) = find_lag(&joined, longest, longest, |lag| longest - lag, force) else { return 0 };
    // From the seam on: fade from what comes into what was one period earlier, and go on from there.
    let mut out: Vec<f32> = Vec::with_capacity(sound.len() + lag);
    for i in 0..FADE {
        let share = i as f32 / FADE as f32;
        let next = sound.get(i).copied().unwrap_or_default();
        let earlier = joined.get(longest - lag + i).copied().unwrap_or_default();
        out.push(next * (1.0 - share) + earlier * share);
    }
    out.extend_from_slice(joined.get(longest - lag + FADE..).unwrap_or_default());
    *sound = out;
    lag
}

/// The lag up to `longest` for which the window at `other(lag)` is most like the window at `here`.
fn find_lag(sound: &[f32], here: usize, longest: usize, other: impl Fn(usize) -> usize, force: bool) -> Option<usize> {
    if longest < MIN_LAG {
        return None;
    }
    let window = sound.get(here..here + FADE)?;
    let power: f32 = window.iter().map(|x| x * x).sum();
    let (mut best_lag, mut best) = (None, -1.0_f32);
    let mut loudest: f32 = power;
    for lag in (MIN_LAG..=longest).step_by(2) {
        let Some(candidate) = sound.get(other(lag)..other(lag) + FADE) else { continue };
        let (mut dot, mut energy) = (0.0_f32, 0.0_f32);
        for (a, b) in window.iter().zip(candidate) {
            dot += a * b;
            energy += b * b;
        }
        loudest = loudest.max(energy);
        let similarity = dot / (power * energy + 1e-12).sqrt();
        if similarity > best {
            (best_lag, best) = (Some(lag), similarity);
        }
    }
    if loudest < QUIET_POWER * FADE as f32 {
        return Some(longest);
    }
    best_lag.filter(|_| best > SIMILAR || force)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::TAU;

    fn sine(from: usize, len: usize, period: f32) -> Vec<f32> {
        (from..from + len).map(|i| 0.5 * (TAU * i as f32 / period).sin()).collect()
    }

    /// A sine obeys x[n+1] = 2 cos(w) x[n] - x[n-1]; where it does not, there is a click.
    fn worst_click(sound: &[f32], period: f32) -> f32 {
        let k = 2.0 * (TAU / period).cos();
        sound.windows(3).map(|x| (x[2] - (k * x[1] - x[0])).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn shortening_a_periodic_sound_leaves_no_click() {
        for period in [130.0, 240.0, 333.3, 600.0] {
            let mut sound = sine(0, 1920, period);
            let cut = shorten(&mut sound, MAX_LAG, false);
            assert!(cut >= MIN_LAG, "period {period}");
            assert_eq!(sound.len(), 1920 - cut);
            assert!(worst_click(&sound, period) < 0.01, "period {period}: {}", worst_click(&sound, period));
        }
    }

    #[test]
    fn lengthening_joins_what_was_heard_before_without_a_click() {
        for period in [130.0, 240.0, 333.3, 600.0] {
            let before = sine(0, 960, period);
            let mut sound = sine(960, 480, period);
            let grown = lengthen(&before, &mut sound, MAX_LAG, false);
            assert!(grown >= MIN_LAG, "period {period}");
            assert_eq!(sound.len(), 480 + grown);
            let all: Vec<f32> = before.into_iter().chain(sound).collect();
            assert!(worst_click(&all, period) < 0.01, "period {period}: {}", worst_click(&all, period));
        }
    }

    #[test]
    fn a_sound_that_is_nowhere_like_itself_is_left_alone_unless_forced() {
        // A chirp that doubles its frequency within each millisecond or so.
        let mut sound: Vec<f32> = (0..960).map(|i| (0.00009 * (i as f32).powi(2)).sin()).collect();
        for (i, sample) in sound.iter_mut().enumerate().skip(240) {
            *sample = if i % 2 == 0 { 0.9 } else { -0.9 };
        }
        let before = sound.clone();
        assert_eq!(shorten(&mut sound, MAX_LAG, false), 0);
        assert_eq!(sound, before);
        assert!(shorten(&mut sound, MAX_LAG, true) > 0);
    }

    #[test]
    fn silence_is_cut_as_far_as_wanted() {
        let mut sound = vec![0.0; 960];
        assert_eq!(shorten(&mut sound, 500, false), 500);
        assert_eq!(lengthen(&[0.0; 960], &mut sound, 300, false), 300);
        assert_eq!(sound.len(), 960 - 500 + 300);
    }

    #[test]
    fn too_little_sound_is_left_alone() {
        for len in 0..FADE + MIN_LAG {
            let mut sound = vec![0.5; len];
            assert_eq!(shorten(&mut sound, MAX_LAG, true), 0);
        }
        assert_eq!(lengthen(&[0.5; 100], &mut vec![0.5; 960], MAX_LAG, true), 0);
        assert_eq!(lengthen(&[0.5; 960], &mut vec![0.5; FADE - 1], MAX_LAG, true), 0);
    }
}
