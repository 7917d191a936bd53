//! The store for async code: a thread of its own waits for the disk, and batches that come meanwhile become one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::{Change, Error, MAX_BATCH, Store};

/// Batches that wait for the disk. A slow disk takes 20 ms for one; who fills this has a broken disk.
const QUEUE: usize = 256;

struct Job {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<(), Error>>,
}

/// Writes to a store without blocking an event loop. Dropping it waits for what was handed in.
#[derive(Debug)]
pub struct Keeper {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub fn start(store: Arc<dyn Store>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let run = move || work(store.as_ref(), &queue);
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(run)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Hands changes in, in the order of the calls. The answer says when they are on the disk; who does not wait for it
    /// has them written all the same.
    pub fn apply(&self, changes: Vec<Change>) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (done, answer) = oneshot::channel();
        let handed = match &self.jobs {
            None => Err(Error::Closed),
            Some(jobs) => jobs.try_send(Job { changes, done }).map_err(|error| match error {
                TrySendError::Full(_) => Error::Disk("it is too slow".to_owned()),
                TrySendError::Disconnected(_) => Error::Closed,
            }),
        };
        async move {
            handed?;
            answer.await.map_err(|_| Error::Closed)?
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread died");
        }
    }
}

fn work(store: &dyn Store, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        let mut size = jobs[0].changes.len();
        while size < MAX_BATCH
            && let Ok(next) = queue.try_recv()
        {
            size += next.changes.len();
            jobs.push(next);
        }
        write(store, jobs);
    }
}

/// One fsync for all. Where the whole is refused, each is tried alone, so that one bad change harms only its own batch.
fn write(store: &dyn Store, mut jobs: Vec<Job>) {
    if jobs.len() > 1 {
        let together: Vec<Change> = jobs.iter().flat_map(|job| job.changes.iter().cloned()).collect();
        if together.len() <= MAX_BATCH && store.apply(together).is_ok() {
            for job in jobs {
                // Whoever handed it in may have stopped waiting.
                let _ = job.done.send(Ok(()));
            }
            return;
        }
    }
    for job in jobs.drain(..) {
        let _ = job.done.send(store.apply(job.changes));
    }
}
