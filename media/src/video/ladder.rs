//! Which size and rate the camera's picture has at a bitrate: quality falls first, then the size, and the rate last.
//!
//! A face may be soft, but must move. (A screen is the other way round: [`super::screen`].) A step is worth sending as
//! long as each pixel gets [`ENOUGH`] bits. Going down waits for half a second, because a queue that drains takes that
//! long; going up waits longer, and longer still when the last way up was soon regretted, so that the picture does not
//! swing.

/// Bits per pixel that a step needs at least; below it openh264 smears (seen on a talking head at 640x360).
pub const ENOUGH: f64 = 0.025;
/// A better step must have so much more than enough.
const MARGIN: f64 = 1.3;
/// A shortage must last so long, in nanoseconds.
const SHORTAGE_NS: u64 = 500_000_000;
/// Plenty must last so long; doubled up to the second when it had to go down again within [`SOON_NS`].
const PATIENCE_NS: (u64, u64) = (2_500_000_000, 15_000_000_000);
const SOON_NS: u64 = 8_000_000_000;
/// Smallest side that is still sent, in pixels.
const MIN_SIDE: u32 = 90;

/// One step: what becomes of width, height and rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Width and height are multiplied by this, in quarters.
    pub quarters: u32,
    /// Pictures per second are divided by this.
    pub rate: u32,
}

impl Step {
    const fn new(quarters: u32, rate: u32) -> Self {
        Self { quarters, rate }
    }

    /// The size of a picture of this size in this step, even.
    #[must_use]
    pub fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        let side = |n: u32| ((n / 4 * self.quarters + n % 4 * self.quarters / 4) & !1).max(2);
        if self.quarters == 4 { (width, height) } else { (side(width), side(height)) }
    }
}

const STEPS: [Step; 6] =
    [Step::new(4, 1), Step::new(3, 1), Step::new(2, 1), Step::new(2, 2), Step::new(1, 2), Step::new(1, 4)];

/// Remembers the step, and since when another one would be right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ladder {
    begun: bool,
    at: usize,
    less_since: Option<u64>,
    more_since: Option<u64>,
    patience: Option<u64>,
    rose_at: Option<u64>,
}

impl Ladder {
    /// The step for pictures of this size and rate at `bits_per_second`; `now_ns` only needs to move forward.
    pub fn choose(&mut self, now_ns: u64, (width, height): (u32, u32), rate: f64, bits_per_second: u32) -> Step {
        let pixels = f64::from(width) * f64::from(height) * rate;
        let fits = |step: &Step, margin: f64| {
            let share = f64::from(step.quarters * step.quarters) / 16.0 / f64::from(step.rate);
            f64::from(bits_per_second) >= pixels * share * ENOUGH * margin
        };
        let smallest = |step: &Step| step.size((width, height)).0.min(step.size((width, height)).1);
        let last = STEPS.iter().rposition(|step| smallest(step) >= MIN_SIDE).unwrap_or(0);
        let best = STEPS.iter().position(|step| fits(step, 1.0)).unwrap_or(STEPS.len()).min(last);
        let better = STEPS.iter().position(|step| fits(step, MARGIN)).unwrap_or(STEPS.len()).min(last);
        if !std::mem::replace(&mut self.begun, true) || self.at > last {
            self.at = best;
        }
        self.less_since = if best > self.at { self.less_since.or(Some(now_ns)) } else { None };
        self.more_since = if better < self.at { self.more_since.or(Some(now_ns)) } else { None };
        let lasted = |since: Option<u64>, time| since.is_some_and(|since| now_ns.saturating_sub(since) >= time);
        let patience = self.patience.unwrap_or(PATIENCE_NS.0);
        if lasted(self.less_since, SHORTAGE_NS) {
            let soon = self.rose_at.is_some_and(|at| now_ns.saturating_sub(at) < SOON_NS);
            self.patience = Some(if soon { (patience * 2).min(PATIENCE_NS.1) } else { PATIENCE_NS.0 });
            (self.at, self.less_since) = (best, None);
        } else if lasted(self.more_since, patience) {
            (self.at, self.more_since, self.rose_at) = (better, None, Some(now_ns));
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
    const SIZE: (u32, u32) = (640, 360);

    /// What the ladder settles on within 600 ms from `at`, looking 30 times a second.
    fn settle(ladder: &mut Ladder, at: u64, bits: u32) -> (u32, u32) {
        let mut step = ladder.choose(at, SIZE, 30.0, bits);
        for n in 1..=18 {
            step = ladder.choose(at + n * SECOND / 30, SIZE, 30.0, bits);
        }
        (step.quarters, step.rate)
    }

    #[test]
    fn people_keep_moving_as_long_as_they_can() {
        let mut ladder = Ladder::default();
        let rates = [600_000, 120_000, 60_000, 30_000, 10_000, 4_000];
        let steps: Vec<_> = (0..).zip(rates).map(|(n, bits)| settle(&mut ladder, n * SECOND, bits)).collect();
        assert_eq!(steps, [(4, 1), (3, 1), (2, 1), (2, 2), (1, 2), (1, 4)]);
    }

    #[test]
    fn a_short_dip_changes_nothing_and_a_return_is_followed_within_seconds() {
        let mut ladder = Ladder::default();
        assert_eq!(settle(&mut ladder, 0, 600_000), (4, 1));
        for n in 0..12 {
            assert_eq!(ladder.choose(SECOND + n * SECOND / 30, SIZE, 30.0, 30_000).quarters, 4, "a queue drains");
        }
        assert_eq!(settle(&mut ladder, 2 * SECOND, 600_000), (4, 1));
        assert_eq!(settle(&mut ladder, 3 * SECOND, 60_000), (2, 1));
        for n in 0..70 {
            assert_eq!(ladder.choose(4 * SECOND + n * SECOND / 30, SIZE, 30.0, 600_000).quarters, 2);
        }
        assert_eq!(settle(&mut ladder, 7 * SECOND, 600_000), (4, 1));
    }

    #[test]
    fn it_does_not_swing_when_the_rate_does() {
        let mut ladder = Ladder::default();
        let (mut changes, mut before) = (0, None);
        // Four seconds enough for full size, one second not, for five minutes.
        for n in 0..300 * 30 {
            let bits = if n / 30 % 5 == 4 { 60_000 } else { 300_000 };
            let step = ladder.choose(n * SECOND / 30, SIZE, 30.0, bits);
            changes += u32::from(before.replace(step).is_some_and(|old| old != step));
        }
        assert!(changes <= 6, "{changes}");
    }

    #[test]
    fn small_pictures_are_not_shrunk_away() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.choose(0, (160, 90), 30.0, 1_000).quarters, 4);
        assert_eq!(Step::new(3, 1).size((642, 362)), (480, 270));
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
