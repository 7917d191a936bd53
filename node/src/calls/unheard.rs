//! What may still be sent when the friend's reports stay away.
//!
//! The estimate changes only with a report. On a path that has suddenly become very narrow the reports stand in the same
//! queue, or are lost with what they tell of, while the old rate goes on to fill it. So pictures are throttled, the more
//! the longer nothing is heard, and go on at once when the next report says what became of them. The voice is not
//! touched: it is what the path is for.

use std::time::{Duration, Instant};

/// Reports of a picture come twenty times a second, fewer where little flows, and some are lost.
const GRACE: Duration = Duration::from_millis(220);
/// After that the rate halves in this time...
const HALF: Duration = Duration::from_millis(150);
/// ...down to this share.
const LEAST: f64 = 0.03;
/// So little needs no report: a voice of half a second.
const LITTLE: u64 = 6_000;

/// The share of the pace that is left, when the next report could have come at `due` and so many bytes have left since the
/// last one.
pub(super) fn share(now: Instant, due: Instant, bytes: u64) -> f64 {
    let late = now.saturating_duration_since(due).saturating_sub(GRACE);
    if late.is_zero() || bytes < LITTLE {
        return 1.0;
    }
    (-late.as_secs_f64() / HALF.as_secs_f64()).exp2().max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_of_reports_throttles_and_little_that_was_sent_does_not_matter() {
        let due = Instant::now();
        let after = |ms: u64, bytes: u64| share(due + Duration::from_millis(ms), due, bytes);
        assert_eq!(after(200, 1_000_000), 1.0);
        assert!((after(370, 100_000) - 0.5).abs() < 1e-9, "{}", after(370, 100_000));
        assert!(after(1_000, 100_000) < 0.1);
        assert_eq!(after(60_000, 100_000), LEAST);
        assert_eq!(after(60_000, 2_000), 1.0);
        assert_eq!(share(due, due + GRACE, 100_000), 1.0, "it may still come");
    }
}
