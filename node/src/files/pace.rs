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

    /// Waits until so many bytes may move.
    pub(crate) async fn take(&self, bytes: usize, relayed: bool) {
        if !self.is_slow(relayed) {
            return;
        }
        let until = {
            let mut next = self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let start = next.map_or(now, |next| next.max(now));
            *next = Some(start + Duration::from_micros(bytes as u64 * 1_000_000 / SLOW));
            start
        };
        while self.is_slow(relayed) && Instant::now() < until {
            sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn files_are_slow_in_a_call_and_over_a_relay_and_fast_again_after() {
        let pace = Pace::default();
        let began = Instant::now();
        for _ in 0..100 {
            pace.take(1 << 20, false).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..21 {
            pace.take(16 * 1024, true).await;
        }
        assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
        pace.set_calling(true);
        let began = Instant::now();
        pace.take(10 << 20, false).await;
        let other = pace.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(3)).await;
            other.set_calling(false);
        });
        pace.take(1, false).await;
        assert!(began.elapsed() < Duration::from_secs(4), "the call is over: {:?}", began.elapsed());
    }
}
