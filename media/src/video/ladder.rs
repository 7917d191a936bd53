//! Which size and rate the picture has at a bitrate: bitrate falls first, then the rate, then the size.
//!
//! A simple rule: a step is worth sending as long as each pixel gets [`ENOUGH`] bits. Going down happens at once, going
//! up after [`PATIENCE_NS`] of more than enough, so that it does not swing.

/// Bits per pixel that a step needs at least; below it openh264 smears (seen on a talking head at 640x360).
pub const ENOUGH: f64 = 0.025;
/// A better step must have so much more than enough.
const MARGIN: f64 = 1.4;
/// For so long, in nanoseconds.
const PATIENCE_NS: u64 = 3_000_000_000;
/// Smallest side that is still sent, in pixels.
const MIN_SIDE: u32 = 90;

/// One step: what width, height and rate are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of width and height.
    pub size: u32,
    /// Of the pictures per second.
    pub rate: u32,
}

const STEPS: [Step; 5] = [
    Step { size: 1, rate: 1 },
    Step { size: 1, rate: 2 },
    Step { size: 2, rate: 2 },
    Step { size: 2, rate: 4 },
    Step { size: 4, rate: 4 },
];

/// Remembers the step and since when there would be enough for a better one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ladder {
    at: usize,
    enough_since: Option<u64>,
}

impl Ladder {
    /// The step for pictures of this size and rate at `bits_per_second`; `now_ns` only needs to move forward.
    pub fn choose(&mut self, now_ns: u64, (width, height): (u32, u32), rate: f64, bits_per_second: u32) -> Step {
        let pixels = f64::from(width) * f64::from(height) * rate;
        let smallest = width.min(height);
        let fits = |step: &Step, margin: f64| {
            let needed = pixels / f64::from(step.size * step.size * step.rate) * ENOUGH * margin;
            f64::from(bits_per_second) >= needed
        };
        let possible = STEPS.iter().rposition(|s| smallest / s.size >= MIN_SIDE).unwrap_or(0);
        let best = STEPS.iter().position(|s| fits(s, 1.0)).unwrap_or(STEPS.len()).min(possible);
        let better = STEPS.iter().position(|s| fits(s, MARGIN)).unwrap_or(STEPS.len()).min(possible);
        if best > self.at {
            self.at = best;
            self.enough_since = None;
        } else if better < self.at {
            let since = *self.enough_since.get_or_insert(now_ns);
            if now_ns.saturating_sub(since) >= PATIENCE_NS {
                self.at = better;
                self.enough_since = None;
            }
        } else {
            self.enough_since = None;
        }
        STEPS[self.at]
    }
}

/// The largest even size within `limit` that keeps the picture's shape; never larger than the picture.
#[must_use]
pub fn fit((width, height): (u32, u32), limit: (u32, u32)) -> (u32, u32) {
    if width <= limit.0 && height <= limit.1 {
        return (width, height);
    }
    let by_width = u64::from(limit.0) * u64::from(height) <= u64::from(limit.1) * u64::from(width);
    let (top, bottom) = if by_width { (limit.0, width) } else { (limit.1, height) };
    let side = |n: u32| (u64::from(n) * u64::from(top) / u64::from(bottom.max(1))) as u32 & !1;
    (side(width).max(2), side(height).max(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_picture_shrinks_at_once_and_grows_with_patience() {
        let mut ladder = Ladder::default();
        let mut at = |second: u64, bits| {
            let step = ladder.choose(second * SECOND, (640, 360), 30.0, bits);
            (step.size, step.rate)
        };
        assert_eq!(at(0, 600_000), (1, 1));
        assert_eq!(at(1, 180_000), (1, 1));
        assert_eq!(at(2, 120_000), (1, 2));
        assert_eq!(at(3, 30_000), (2, 2));
        assert_eq!(at(4, 5_000), (4, 4));
        assert_eq!(at(5, 600_000), (4, 4));
        assert_eq!(at(7, 600_000), (4, 4));
        assert_eq!(at(8, 600_000), (1, 1));
        // Just enough is no reason to go up, only to stay.
        assert_eq!(at(9, 120_000), (1, 2));
        for second in 10..20 {
            assert_eq!(at(second, 180_000), (1, 2));
        }
    }

    #[test]
    fn small_pictures_are_not_shrunk_away() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.choose(0, (160, 90), 30.0, 1_000).size, 1);
    }

    #[test]
    fn pictures_are_fitted_into_the_limit_with_their_shape() {
        assert_eq!(fit((640, 480), (640, 360)), (480, 360));
        assert_eq!(fit((1920, 1080), (640, 360)), (640, 360));
        assert_eq!(fit((1080, 1920), (640, 360)), (202, 360));
        assert_eq!(fit((320, 240), (640, 360)), (320, 240));
        assert_eq!(fit((4096, 2), (640, 360)), (640, 2));
    }
}
