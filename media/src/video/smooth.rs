//! How smoothly a picture was shown: freezes, and how far it was from its sound. Pure: times come in as arguments.
//!
//! A freeze is time that a picture stood still beyond the time between its capture and that of the next one, so that a
//! sender who pauses, films in the dark at five pictures a second, or shares a screen on which nothing moves, freezes
//! nothing. Where pictures are missing in between, the usual time between two of them counts.

use std::collections::VecDeque;

/// Standing still so much longer counts as frozen, nanoseconds (as the W3C's statistics for WebRTC count it).
const FREEZE_NS: u64 = 150_000_000;
/// Offsets kept for the percentiles: ten seconds.
const OFFSETS: usize = 300;
/// An offset beyond this is a clock that jumped, milliseconds.
const MAX_OFFSET_MS: f64 = 10_000.0;
/// Ticks of a video timestamp per second.
const TICKS: u64 = 90_000;

/// What is known of a picture that is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// RTP timestamp.
    pub(super) timestamp: u32,
    /// Something is missing before it.
    pub(super) gap: bool,
    /// Timestamps began anew.
    pub(super) begins: bool,
    /// When its sound is heard, if that is known.
    pub(super) ideal_ns: Option<u64>,
}

/// Freezes and offsets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Smooth {
    pub(super) freezes: u64,
    pub(super) freeze_ms: u64,
    pub(super) longest_freeze_ms: u64,
    /// Median of picture minus sound over the last ten seconds, milliseconds; positive: the picture is late.
    pub(super) offset_ms: Option<f64>,
    /// 95th percentile of its absolute value.
    pub(super) offset_p95_ms: Option<f64>,
}

/// Watches what is shown.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<(u64, u32)>,
    /// Usual time between two captures, nanoseconds.
    usual_ns: Option<u64>,
    offsets: VecDeque<f64>,
    smooth: Smooth,
}

impl Watch {
    pub(super) fn shown(&mut self, now_ns: u64, picture: Shown) {
        let Shown { timestamp, gap, begins, ideal_ns } = picture;
        if let Some((at, before)) = self.last.replace((now_ns, timestamp)).filter(|_| !begins) {
            let ticks = timestamp.wrapping_sub(before);
            // Backwards is a stream that began anew, too.
            let apart = (ticks < 1 << 31).then(|| u64::from(ticks) * 1_000_000_000 / TICKS);
            if let Some(apart) = apart {
                let nominal = if gap { self.usual_ns.unwrap_or(apart).min(apart) } else { apart };
                if !gap && apart < 2_000_000_000 {
                    let usual = self.usual_ns.unwrap_or(apart);
                    self.usual_ns = Some((usual * 7 + apart) / 8);
                }
                let still = now_ns.saturating_sub(at).saturating_sub(nominal);
                if still >= FREEZE_NS {
                    let ms = still / 1_000_000;
                    self.smooth.freezes += 1;
                    self.smooth.freeze_ms += ms;
                    self.smooth.longest_freeze_ms = self.smooth.longest_freeze_ms.max(ms);
                }
            }
        }
        if let Some(ideal) = ideal_ns {
            let offset = (now_ns as f64 - ideal as f64) / 1e6;
            if self.offsets.len() >= OFFSETS {
                self.offsets.pop_front();
            }
            self.offsets.push_back(offset.clamp(-MAX_OFFSET_MS, MAX_OFFSET_MS));
        }
    }

    pub(super) fn smooth(&self) -> Smooth {
        let percentile = |share: f64, of: fn(f64) -> f64| {
            let mut sorted: Vec<f64> = self.offsets.iter().map(|offset| of(*offset)).collect();
            sorted.sort_by(f64::total_cmp);
            sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1))).copied()
        };
        Smooth { offset_ms: percentile(0.5, |x| x), offset_p95_ms: percentile(0.95, f64::abs), ..self.smooth }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn shown(ms: u64) -> Shown {
        Shown { timestamp: (ms * 90) as u32, gap: false, begins: false, ideal_ns: None }
    }

    fn freezes(pictures: &[(u64, Shown)]) -> (u64, u64, u64) {
        let mut watch = Watch::default();
        for (at, picture) in pictures {
            watch.shown(at * MS, *picture);
        }
        let smooth = watch.smooth();
        (smooth.freezes, smooth.freeze_ms, smooth.longest_freeze_ms)
    }

    #[test]
    fn a_picture_that_waits_for_a_repair_is_frozen_and_one_of_a_slow_camera_is_not() {
        let steady: Vec<_> = (0..30).map(|n| (n * 40 + 50, shown(n * 40))).collect();
        assert_eq!(freezes(&steady), (0, 0, 0));
        let slow: Vec<_> = (0..10).map(|n| (n * 400 + 50, shown(n * 400))).collect();
        assert_eq!(freezes(&slow), (0, 0, 0));
        let mut stuck = steady.clone();
        stuck[20].0 += 200;
        assert_eq!(freezes(&stuck), (1, 200, 200));
        // A pause of the sender, then frames that were lost.
        let pause = [(0, shown(0)), (40, shown(40)), (5040, shown(5040))];
        assert_eq!(freezes(&pause), (0, 0, 0));
        let lost = [(0, shown(0)), (40, shown(40)), (80, shown(80)), (480, Shown { gap: true, ..shown(480) })];
        assert_eq!(freezes(&lost), (1, 360, 360));
    }

    #[test]
    fn the_offset_to_the_sound_is_its_median_and_its_95th_percentile() {
        let mut watch = Watch::default();
        assert_eq!(watch.smooth().offset_ms, None);
        for n in 0..1000_u64 {
            let late = if n % 10 == 0 { 30 } else { 5 };
            watch.shown((1000 + n * 33) * MS, Shown { ideal_ns: Some((1000 + n * 33 - late) * MS), ..shown(n * 33) });
        }
        let smooth = watch.smooth();
        assert_eq!((smooth.offset_ms, smooth.offset_p95_ms), (Some(5.0), Some(30.0)));
        assert_eq!(watch.offsets.len(), OFFSETS);
    }

    proptest! {
        #[test]
        fn clocks_that_jump_break_nothing(pictures in prop::collection::vec(
            (any::<u64>(), any::<u32>(), any::<bool>(), any::<bool>(), any::<Option<u64>>()), 0..50)
        ) {
            let mut watch = Watch::default();
            for (now, timestamp, gap, begins, ideal_ns) in pictures {
                watch.shown(now, Shown { timestamp, gap, begins, ideal_ns });
            }
            let smooth = watch.smooth();
            prop_assert!(smooth.offset_ms.is_none_or(|ms| ms.abs() <= MAX_OFFSET_MS));
        }
    }
}
