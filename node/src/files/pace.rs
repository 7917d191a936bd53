//! Files give way: while a call goes on here, or over a relay, all of them together move slowly.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Bytes a second of all files together in one direction while they are to be slow: a quarter of a megabit, which beside a
/// call with video is little, and which a relay of volunteers can bear.
const SLOW: u64 = 32 * 1024;
/// How soon a change is noticed by who waits.
const LOOK: Duration = Duration::from_millis(200);

/// One direction. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    calling: AtomicBool,
    /// When the next byte may move, while slow.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// Whether a call goes on.
    pub(crate) fn set_calling(&self, calling: bool) {
        self.shared.calling.store(calling, Ordering::Relaxed);
    }

    fn is_slow(&self, relayed: bool) -> bool {
        relayed || self.shared.calling.load(Ordering::Relaxed)
    }

    /// When so many bytes may move while it is slow; those that ask next come after them.
    fn turn(&self, now: Instant, bytes: usize) -> Instant {
        let mut next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        let start = next.map_or(now, |next| next.max(now));
        *next = Some(start + Duration::from_micros(bytes as u64 * 1_000_000 / SLOW));
        start
    }

    /// Waits until so many bytes may move.
    pub(crate) async fn take(&self, bytes: usize, relayed: bool) {
        if !self.is_slow(relayed) {
            return;
        }
        let until = self.turn(Instant::now(), bytes);
        while self.is_slow(relayed) && Instant::now() < until {
            sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_move_so_fast_while_they_are_slow() {
        let pace = Pace::default();
        let began = Instant::now();
        for n in 0..20 {
            [&pace, &pace.clone()][n % 2].turn(began, 16 * 1024);
        }
        assert_eq!(pace.turn(began, 1), began + Duration::from_secs(10));
        let later = began + Duration::from_secs(60);
        assert_eq!(pace.turn(later, 1), later, "what was not used is not saved up");
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_the_call_is_over() {
        let pace = Pace::default();
        assert!(pace.is_slow(true) && !pace.is_slow(false));
        pace.set_calling(true);
        // Five minutes' worth, and then one byte: it waits, or the test would be over before the call is.
        pace.take(10 << 20, false).await;
        let other = pace.clone();
        let waiting = tokio::spawn(async move { other.take(1, false).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        pace.set_calling(false);
        tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
    }
}
