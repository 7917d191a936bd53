//! A clock for what has none: files, synthetic sound and sinks without a device run in steps of 10 ms of real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One step.
pub const STEP: Duration = Duration::from_millis(10);
/// Samples in one step.
pub const STEP_SAMPLES: usize = 480;
/// After a gap of this length (a suspended machine) time is taken up anew, instead of rushing after it.
const GIVE_UP_AFTER: Duration = Duration::from_millis(500);

/// A thread that does something every 10 ms, without drift, until dropped.
#[derive(Debug)]
pub struct Paced {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Paced {
    /// Starts at once: `work` is called with the time at which this step was due, in [`crate::now_ns`].
    pub fn start(name: &str, mut work: impl FnMut(u64) + Send + 'static) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut pace = Pace::new();
            while !stopped.load(Ordering::Acquire) {
                work(pace.due_ns());
                pace.wait();
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a paced thread panicked");
        }
    }
}

/// Steps of 10 ms on the calling thread.
#[derive(Debug)]
pub(crate) struct Pace {
    due: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// When the current step was due.
    pub(super) fn due_ns(&self) -> u64 {
        let late = u64::try_from(self.due.elapsed().as_nanos()).unwrap_or(u64::MAX);
        crate::now_ns().saturating_sub(late)
    }

    /// Sleeps until the next step is due.
    pub(crate) fn wait(&mut self) {
        self.due += STEP;
        let now = Instant::now();
        if now.saturating_duration_since(self.due) > GIVE_UP_AFTER {
            self.due = now;
        }
        std::thread::sleep(self.due.saturating_duration_since(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn steps_are_due_one_after_the_other() {
        let (tx, rx) = mpsc::sync_channel(64);
        let paced = Paced::start("test", move |due| {
            let _ = tx.try_send(due);
        })
        .unwrap();
        let times: Vec<u64> = (0..12).map(|_| rx.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        drop(paced);
        assert!(times.is_sorted() && times[11] > times[0], "{times:?}");
    }

    #[test]
    fn dropping_ends_the_thread() {
        let (tx, rx) = mpsc::sync_channel(1);
        let paced = Paced::start("test", move |_| {
            let _ = tx.try_send(());
        })
        .unwrap();
        rx.recv_timeout(Duration::from_secs(10)).unwrap();
        drop(paced);
        // The sender went with the thread: at most what was still in the channel comes.
        assert!(rx.iter().count() <= 1);
    }
}
