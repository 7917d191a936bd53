//! Listens to a call: when each frame of the other side arrived, and how long it was silent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::seat::{Seat, Sent};

/// When a frame arrived, and its number at the sender.
type Heard = (Instant, u32);

/// A seat that speaks (see [`Seat`]) and notes what it hears, until dropped.
#[derive(Debug)]
pub struct Ear {
    heard: Arc<Mutex<Vec<Heard>>>,
    told: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Ear {
    /// Listens from now on.
    pub fn of(mut seat: Seat) -> Self {
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let (tell, told) = watch::channel(0);
        let task = tokio::spawn({
            let heard = Arc::clone(&heard);
            async move {
                while let Some(number) = seat.next().await {
                    let mut all = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push((Instant::now(), number));
                    tell.send_replace(all.len());
                }
            }
        });
        Self { heard, told, task }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long after `from` the first frame arrived that did so later than that; waits for it.
    pub async fn after(&self, from: Instant, at_most: Duration) -> Option<Duration> {
        let mut told = self.told.clone();
        let come = async {
            loop {
                let first = self.all().iter().map(|(at, _)| *at).find(|at| *at >= from);
                if let Some(first) = first {
                    return Some(first - from);
                }
                told.changed().await.ok()?;
            }
        };
        tokio::time::timeout(at_most, come).await.ok().flatten()
    }

    /// How long each frame was under way that arrived in this window, by the times at which the other seat sent them.
    pub fn delays(&self, sent: &Sent, from: Instant, to: Instant) -> Vec<Duration> {
        let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.all();
        let window = all.iter().filter(|(at, _)| (from..=to).contains(at));
        window.filter_map(|(at, number)| Some(*at - *sent.get(usize::try_from(*number).ok()?)?)).collect()
    }

    /// Frames that arrived in this window.
    pub fn count(&self, from: Instant, to: Instant) -> usize {
        self.all().iter().filter(|(at, _)| (from..=to).contains(at)).count()
    }

    /// The longest time in this window in which nothing arrived, with what went on when it began.
    pub fn silence(&self, from: Instant, to: Instant) -> Duration {
        let all = self.all();
        let before = all.iter().map(|(at, _)| *at).take_while(|at| *at < from).last();
        let inside = all.iter().map(|(at, _)| *at).filter(|at| (from..=to).contains(at));
        let points: Vec<Instant> = [before.unwrap_or(from)].into_iter().chain(inside).chain([to]).collect();
        points.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}
