//! When a frame of the screen may go out, and how large: pure rules, with times as arguments.
//!
//! The quantiser is bounded, so a frame has the size that it has. What was sent is a debt that the bitrate pays off; the
//! next frame waits until little of it is left. Text stays sharp, and what a narrow path costs is frames.

/// So much debt may be left when the next frame goes out, as time that the path needs for it.
const DEBT_NS: u64 = 150_000_000;
/// No frame makes others wait longer than this: what the encoder made of it was a mistake, not the screen.
const MAX_DEBT_NS: u64 = 6_000_000_000;
/// Below so many bits a second for each pixel the picture is halved in both directions: a page of text would take more
/// than about five seconds.
const ENOUGH: f64 = 0.03;
/// It grows again when there is so much more than enough, for so long.
const MARGIN: f64 = 2.0;
const PATIENCE_NS: u64 = 3_000_000_000;
/// Never smaller than this, in pixels.
const MIN_HEIGHT: u32 = 360;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    /// When everything that was sent has passed a path of this bitrate.
    paid_at: u64,
    halved: bool,
    enough_since: Option<u64>,
}

impl Rate {
    /// Whether a frame may go out at `now`.
    pub(super) fn due(&self, now: u64) -> bool {
        self.paid_at <= now.saturating_add(DEBT_NS)
    }

    /// A frame of so many bytes went out at `now`.
    pub(super) fn sent(&mut self, now: u64, bytes: usize, bits_per_second: u32) {
        let bits = bytes as u64 * 8;
        let takes = bits.saturating_mul(1_000_000_000) / u64::from(bits_per_second.max(1));
        self.paid_at = self.paid_at.max(now).saturating_add(takes).min(now.saturating_add(MAX_DEBT_NS));
    }

    /// What width and height are divided by at this bitrate: 1 or 2.
    pub(super) fn divisor(&mut self, now: u64, (width, height): (u32, u32), bits_per_second: u32) -> u32 {
        let pixels = f64::from(width) * f64::from(height);
        let bits = f64::from(bits_per_second);
        if height / 2 < MIN_HEIGHT || width / 2 < MIN_HEIGHT {
            self.halved = false;
        } else if bits < pixels * ENOUGH {
            (self.halved, self.enough_since) = (true, None);
        } else if self.halved && bits >= pixels * ENOUGH * MARGIN {
            let since = *self.enough_since.get_or_insert(now);
            if now.saturating_sub(since) >= PATIENCE_NS {
                (self.halved, self.enough_since) = (false, None);
            }
        } else {
            self.enough_since = None;
        }
        if self.halved { 2 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_large_frame_makes_the_next_wait_as_long_as_the_path_needs() {
        let mut rate = Rate::default();
        assert!(rate.due(1000 * MS));
        // 50 kB at 400 kbit/s: one second.
        rate.sent(1000 * MS, 50_000, 400_000);
        assert!(!rate.due(1800 * MS) && rate.due(1850 * MS));
        rate.sent(1850 * MS, 50_000, 400_000);
        assert!(!rate.due(2800 * MS) && rate.due(2850 * MS), "what was sent early is not forgotten");
        rate.sent(5000 * MS, 1 << 20, 1);
        assert!(rate.due(11_000 * MS), "nothing waits for ever");
    }

    #[test]
    fn only_a_very_low_bitrate_makes_the_picture_smaller() {
        let mut rate = Rate::default();
        let mut at = |ms: u64, bits| rate.divisor(ms * MS, (1920, 1080), bits);
        assert_eq!((at(0, 2_000_000), at(1, 100_000), at(2, 60_000)), (1, 1, 2));
        assert_eq!((at(3, 100_000), at(4, 200_000), at(2000, 200_000)), (2, 2, 2));
        assert_eq!((at(2500, 100_000), at(3000, 200_000), at(6000, 200_000)), (2, 2, 1));
        assert_eq!(Rate::default().divisor(0, (640, 480), 1), 1, "a small one stays as it is");
    }
}
