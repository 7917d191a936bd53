//! Loss: which part of it is the path's own, and which part says that too much is sent.
//!
//! A radio link loses packets at any rate; a full queue, or a policer, loses what is above its rate. In the spirit of
//! libwebrtc's loss-based estimator the loss of the last seconds is explained by two unknowns: a share `i` that is lost
//! whatever is sent, and a rate `b` above which everything is lost,
//! `p(r) = i + (1 - i) · max(0, 1 - b / r)`. Of a grid of both the pair is taken that explains best what was seen. If
//! both explain it equally well the queue decides: loss without one is the path's own. A mistake corrects itself: if it
//! was the rate after all, sending more loses more, and the next fit says so.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One look lasts so long at least, and has so many packets at least.
const LOOK: Duration = Duration::from_millis(250);
const LOOK_PACKETS: u32 = 12;
/// Looks remembered: about six seconds.
const LOOKS: usize = 24;
/// An older look counts this much less than the one after it.
const FADE: f64 = 0.9;
/// Shares of loss that may be the path's own.
const OWN: [f64; 14] = [0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5];
/// Rates that may be the limit, as shares of the highest that arrived.
const LIMITS: [f64; 8] = [0.5, 0.65, 0.8, 0.9, 0.95, 1.0, 1.05, 1.15];
/// Loss is smoothed over about this time.
const SMOOTH_S: f64 = 2.0;

#[derive(Clone, Copy, Debug)]
struct Look {
    rate: f64,
    sent: f64,
    lost: f64,
    queue: bool,
}

/// The loss half of the estimator.
#[derive(Debug)]
pub(in crate::calls) struct Loss {
    looks: VecDeque<Look>,
    since: Option<Instant>,
    sent: u32,
    lost: u32,
    bytes: usize,
    queued: bool,
    own: f64,
    limit: Option<f64>,
    smooth: f64,
    smoothed: Option<Instant>,
    run: u32,
    runs: f64,
    losses: f64,
}

impl Loss {
    pub(in crate::calls) fn new() -> Self {
        Self {
            looks: VecDeque::new(),
            since: None,
            sent: 0,
            lost: 0,
            bytes: 0,
            queued: false,
            own: 0.0,
            limit: None,
            smooth: 0.0,
            smoothed: None,
            run: 0,
            runs: 0.0,
            losses: 0.0,
        }
    }

    /// A packet, in the order of sending.
    pub(in crate::calls) fn packet(&mut self, arrived: bool, bytes: usize) {
        self.sent = self.sent.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        if !arrived {
            self.lost = self.lost.saturating_add(1);
            self.run = self.run.saturating_add(1);
        } else if self.run > 0 {
            // Runs and losses fade together: their quotient is the mean length of the last ten or twenty runs.
            self.losses = self.losses * 0.93 + f64::from(self.run.min(100));
            self.runs = self.runs * 0.93 + 1.0;
            self.run = 0;
        }
    }

    /// To be called once for each report, after its packets. `queue`: there is one on the path.
    pub(in crate::calls) fn judge(&mut self, now: Instant, queue: bool) {
        self.queued |= queue;
        let since = *self.since.get_or_insert(now);
        let lasted = now.saturating_duration_since(since);
        if lasted < LOOK || self.sent < LOOK_PACKETS {
            return;
        }
        let share = f64::from(self.lost) / f64::from(self.sent);
        let passed = self.smoothed.replace(now).map_or(LOOK, |at| now.saturating_duration_since(at)).as_secs_f64();
        // A first look counts as it is only in part: a dozen packets say little.
        self.smooth += (share - self.smooth) * (passed / SMOOTH_S).min(0.5);
        if self.looks.len() >= LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(Look {
            rate: self.bytes as f64 * 8.0 / lasted.as_secs_f64(),
            sent: f64::from(self.sent),
            lost: f64::from(self.lost),
            queue: self.queued,
        });
        (self.since, self.sent, self.lost, self.bytes, self.queued) = (Some(now), 0, 0, 0, false);
        self.fit();
    }

    fn fit(&mut self) {
        let arrived = |look: &Look| look.rate * (1.0 - look.lost / look.sent);
        let best = self.looks.iter().map(arrived).fold(0.0, f64::max);
        let mut found = (f64::NEG_INFINITY, 0.0, None);
        for own in OWN {
            for limit in LIMITS.iter().map(|share| Some(share * best)).chain([None]) {
                let mut weight = 1.0;
                // More loss of its own than a tenth is rare; a limit is rarer than none.
                let mut worth = -6.0 * own - if limit.is_some() { 3.0 } else { 0.0 };
                for look in self.looks.iter().rev() {
                    let over = limit.map_or(0.0, |limit| (1.0 - limit / look.rate.max(1.0)).max(0.0));
                    let p = (own + (1.0 - own) * over).clamp(0.002, 0.98);
                    let likely = look.lost * p.ln() + (look.sent - look.lost) * (1.0 - p).ln();
                    // Loss without a queue speaks for the path's own, loss with one for the rate.
                    let hint = match (look.queue, limit.is_some()) {
                        (true, false) => -0.15 * look.lost,
                        (false, true) => -0.05 * look.lost,
                        _ => 0.0,
                    };
                    worth += weight * (likely + hint);
                    weight *= FADE;
                }
                if worth > found.0 {
                    found = (worth, own, limit);
                }
            }
        }
        (self.own, self.limit) = (found.1, found.2);
    }

    /// The share that is lost whatever is sent.
    pub(in crate::calls) fn own(&self) -> f64 {
        self.own
    }

    /// What may be sent, bits per second on the wire, as far as loss tells.
    pub(in crate::calls) fn limit(&self) -> Option<f64> {
        self.limit.map(|limit| limit / (1.0 - self.own))
    }

    /// Share of packets lost, over about two seconds.
    pub(in crate::calls) fn share(&self) -> f64 {
        self.smooth
    }

    /// Packets lost in a row, mean; 1 if every loss stands alone.
    pub(in crate::calls) fn burst(&self) -> f64 {
        if self.runs > 0.0 { self.losses / self.runs } else { 1.0 }
    }

    /// Looks at a path that is another one now tell nothing; the smoothed share stays.
    pub(in crate::calls) fn forget(&mut self) {
        self.looks.clear();
        (self.own, self.limit) = (0.0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks of 250 ms with 25 packets each, of which so many are lost.
    fn looks(loss: &mut Loss, from: Instant, count: u32, queue: bool, bytes: usize, lost: impl Fn(u32) -> u32) {
        for n in 0..count {
            for k in 0..25 {
                loss.packet(k * lost(n) % 25 >= lost(n), bytes);
            }
            loss.judge(from + LOOK * n, queue);
        }
    }

    #[test]
    fn loss_that_does_not_ask_for_the_rate_is_the_paths_own() {
        let start = Instant::now();
        let mut loss = Loss::new();
        looks(&mut loss, start, 24, false, 1000, |_| 5);
        assert_eq!(loss.limit(), None);
        assert!((0.1..=0.3).contains(&loss.own()), "{}", loss.own());
        assert!((0.1..=0.3).contains(&loss.share()), "{}", loss.share());
    }

    #[test]
    fn loss_above_a_rate_is_a_limit() {
        let start = Instant::now();
        let mut loss = Loss::new();
        // Nothing is lost at 800 kbit/s, a third at 1200.
        looks(&mut loss, start, 8, false, 1000, |_| 0);
        looks(&mut loss, start + LOOK * 8, 8, false, 1500, |_| 8);
        let limit = loss.limit();
        assert!(limit.is_some_and(|limit| (650e3..1_000e3).contains(&limit)), "{limit:?}");
        assert!(loss.own() < 0.05, "{}", loss.own());
    }

    #[test]
    fn losses_in_a_row_are_told_from_losses_alone() {
        let mut alone = Loss::new();
        let mut rows = Loss::new();
        for n in 0..1000 {
            alone.packet(n % 10 != 3, 1000);
            rows.packet(n % 40 >= 4, 1000);
        }
        assert!((alone.burst() - 1.0).abs() < 0.01, "{}", alone.burst());
        assert!((rows.burst() - 4.0).abs() < 0.2, "{}", rows.burst());
    }
}
