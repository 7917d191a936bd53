//! Which of the working pairs carries media.
//!
//! The controlling side chooses and says so in its checks of the chosen pair (USE-CANDIDATE); it may choose another at
//! any time. The other side follows as long as that pair works for it, and helps itself when it does not. Media is
//! taken from any checked pair, so a change costs nothing.

use std::time::{Duration, Instant};

use super::Route;
use super::agent::Agent;
use super::pair::{Pair, RESERVE};

/// A pair that answered within this time is known to work.
const FRESH: Duration = Duration::from_millis(2 * RESERVE.as_millis() as u64);
/// A pair that failed in use must work for this long before it is used again.
const PROBATION: Duration = Duration::from_secs(3);
/// For an equally cheap pair to be taken, it must be quicker by this and by a third.
const QUICKER: Duration = Duration::from_millis(8);

impl Agent {
    /// Takes another pair into use if that is better now.
    pub(super) fn choose(&mut self, now: Instant) {
        let Some(next) = self.better(now) else { return };
        if let Some(at) = self.selected_at()
            && self.pairs[at].is_dead(now)
        {
            self.pairs[at].distrusted = Some(now + PROBATION);
        }
        self.selected = Some(next);
        self.set_changed();
        if let Some(at) = self.selected_at() {
            // The friend is told at once, and what we believe of the pair is checked.
            self.pairs[at].next = now;
        }
    }

    fn better(&self, now: Instant) -> Option<Route> {
        let current = self.selected_at().map(|at| &self.pairs[at]);
        let current_works = current.is_some_and(|pair| !pair.is_dead(now));
        let usable = |pair: &&Pair| {
            pair.works(now)
                && !pair.is_doubted(now)
                && pair.distrusted.is_none_or(|until| now >= until || current.is_none())
                && pair.answered.is_some_and(|at| match current {
                    // Only what has answered since the silence began is better than silence.
                    Some(dead) if !current_works => dead.silent_since().is_none_or(|since| at >= since),
                    _ => now.saturating_duration_since(at) < FRESH,
                })
        };
        if !self.controlling
            && let Some(nominated) = self.nominated
            && let Some(pair) = self.pairs.iter().find(|pair| pair.route == nominated)
            && pair.works(now)
        {
            return (self.selected != Some(nominated)).then_some(nominated);
        }
        let others = || self.pairs.iter().filter(|pair| Some(pair.route) != self.selected).filter(usable);
        let best = others().min_by_key(|pair| (pair.cost, pair.round_trip, std::cmp::Reverse(pair.priority)))?;
        let Some(current) = current.filter(|_| current_works) else { return Some(best.route) };
        if best.cost < current.cost {
            return Some(best.route);
        }
        // The friend speaks on another pair, and not on this one: it knows more than we do.
        if current.heard.is_some()
            && !current.is_heard(now)
            && current.is_doubted(now)
            && let Some(followed) = others().find(|pair| pair.is_heard(now))
        {
            return Some(followed.route);
        }
        let quicker = |a: Option<Duration>, b: Option<Duration>| match (a, b) {
            (Some(a), Some(b)) => a + QUICKER < b && a * 3 / 2 < b,
            _ => false,
        };
        (best.cost == current.cost && quicker(best.round_trip, current.round_trip)).then_some(best.route)
    }
}
