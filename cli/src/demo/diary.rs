//! A diary of a node's events: each with the time when this client was told of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use twocan_control::Event;
use twocan_media::now_ns;

use crate::exit::{Exit, Failure};

/// Events that are kept; a call makes a few dozen, and each call begins with an empty diary.
const KEPT: usize = 4096;
/// What does not happen in this time does not happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happened, newest last.
#[derive(Debug)]
pub struct Diary {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<VecDeque<(u64, Event)>>,
    written: Notify,
}

impl Shared {
    fn find<T>(&self, mut pick: impl FnMut(&Event) -> Option<T>) -> Option<(T, u64)> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find_map(|(at, event)| pick(event).map(|found| (found, *at)))
    }
}

impl Diary {
    /// Begins to write down what `events` brings.
    pub fn follow(mut events: BoxStream<'static, Event>) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let at = now_ns();
                {
                    let mut entries = writer.entries.lock().unwrap_or_else(PoisonError::into_inner);
                    if entries.len() == KEPT {
                        entries.pop_front();
                    }
                    entries.push_back((at, event));
                }
                writer.written.notify_waiters();
            }
        });
        Self { shared, task }
    }

    /// Forgets everything so far.
    pub fn clear(&self) {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The first entry that `pick` picks, with its time.
    pub fn find<T>(&self, pick: impl FnMut(&Event) -> Option<T>) -> Option<(T, u64)> {
        self.shared.find(pick)
    }

    /// Waits for the first entry that `pick` picks (it may be written already).
    ///
    /// # Errors
    /// It does not come in 20 seconds; the failure names `what`.
    pub async fn wait<T>(&self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> Result<(T, u64), Failure> {
        let found = async {
            loop {
                let notified = self.shared.written.notified();
                tokio::pin!(notified);
                // Registered before looking, so that nothing is written unseen in between.
                notified.as_mut().enable();
                if let Some(found) = self.shared.find(&mut pick) {
                    return found;
                }
                notified.await;
            }
        };
        timeout(PATIENCE, found)
            .await
            .map_err(|_| Failure::new(Exit::Unwell, format!("waited {} s in vain for {what}", PATIENCE.as_secs())))
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_before_and_after_asking_is_found() {
        let (tx, rx) = tokio::sync::mpsc::channel(4);
        let stream = futures::stream::unfold(rx, |mut rx| async { rx.recv().await.map(|event| (event, rx)) });
        let diary = Diary::follow(stream.boxed());
        let notice = |text: &str| Event::Notice { text: text.into() };
        let pick = |wanted: &'static str| {
            move |event: &Event| matches!(event, Event::Notice { text } if text == wanted).then_some(())
        };
        tx.send(notice("one")).await.unwrap();
        let (_, first) = diary.wait("one", pick("one")).await.unwrap();
        tx.send(notice("two")).await.unwrap();
        let (_, second) = diary.wait("two", pick("two")).await.unwrap();
        assert!(second >= first);
        assert!(diary.find(pick("one")).is_some());
        diary.clear();
        assert!(diary.find(pick("one")).is_none());
    }
}
