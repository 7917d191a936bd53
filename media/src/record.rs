//! Recording a call to one file: Matroska with every stream as it was encoded, so that nothing is computed and nothing
//! gets worse.
//!
//! A [`Recorder`] takes the encoded frames that go out and come in, from any thread and without waiting; a thread of its
//! own writes them. Each voice and each picture is a track with a name. The file is complete in itself every second: a
//! crash costs what came after. It never replaces a file. That everybody agreed is the business of whoever starts one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::frame::EncodedFrame;

mod ebml;
pub mod export;
mod file;
pub mod read;
mod timeline;
mod tracks;

use tracks::Tracks;

/// Frames that wait for the disk: ten seconds of a call. A disk that is slower than that loses frames, counted.
const QUEUE: usize = 2048;
/// Bytes that wait for the disk at most, however large frames are.
const QUEUE_BYTES: usize = 32 << 20;

/// Why nothing is recorded (any more).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// There is a file of this name, and it stays.
    #[error("{} exists already, and no recording replaces a file", .0.display())]
    Exists(PathBuf),
    /// The file cannot be made or written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A recording runs already.
    #[error("a recording runs already")]
    Running,
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(String),
    /// The file is no recording.
    #[error("{} is no recording of a call: {reason}", path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What to record into, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordConfig {
    /// The file; it must not exist. Matroska, so best with `.mkv`.
    pub path: PathBuf,
    /// My name, for my tracks.
    pub own: String,
    /// The friend's name, for theirs.
    pub friend: String,
}

/// How a recording went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordReport {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// From the first frame to the last, seconds.
    pub seconds: f64,
    /// Frames in it.
    pub frames: u64,
    /// Frames that are not in it, because the disk was too slow.
    pub dropped: u64,
    /// Names of its tracks.
    pub tracks: Vec<String>,
    /// Why it ended early, if it did; what was written until then can be played.
    pub error: Option<RecordError>,
}

/// A frame on its way to the file.
struct Item {
    own: bool,
    frame: EncodedFrame,
}

/// What a recorder and its thread share.
#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicUsize,
    dropped: AtomicU64,
    failed: AtomicBool,
}

/// A running recording. Dropping it completes the file, too.
#[derive(Debug)]
pub struct Recorder {
    tx: Option<SyncSender<Item>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<RecordReport>>,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item").field("own", &self.own).field("kind", &self.frame.kind).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Makes the file and starts the thread. `failed` is called from that thread, once, if the file cannot be written
    /// any more (a full disk).
    ///
    /// # Errors
    /// The file exists, or cannot be made.
    pub fn start(
        config: &RecordConfig,
        failed: impl FnOnce(RecordError) + Send + 'static,
    ) -> Result<Self, RecordError> {
        let file = file::Writer::create(&config.path)?;
        let tracks = Tracks::new(file, &config.own, &config.friend);
        let (tx, rx) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let here = Arc::clone(&shared);
        let work = move || write(tracks, &rx, &here, failed);
        let thread = std::thread::Builder::new()
            .name("record".to_owned())
            .spawn(work)
            .map_err(|error| RecordError::Thread(error.to_string()))?;
        Ok(Self { tx: Some(tx), shared, thread: Some(thread) })
    }

    /// Takes a frame; never waits. `own`: it goes out.
    pub fn push(&self, own: bool, frame: &EncodedFrame) {
        let Some(tx) = self.tx.as_ref().filter(|_| !self.shared.failed.load(Ordering::Relaxed)) else { return };
        let size = frame.payload.len();
        let waiting = self.shared.bytes.fetch_add(size, Ordering::Relaxed);
        let sent = if waiting + size > QUEUE_BYTES {
            Err(())
        } else {
            match tx.try_send(Item { own, frame: frame.clone() }) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(()),
            }
        };
        if sent.is_err() {
            self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Completes the file and says what is in it.
    #[must_use]
    pub fn finish(mut self) -> RecordReport {
        self.end().unwrap_or_default()
    }

    fn end(&mut self) -> Option<RecordReport> {
        self.tx.take();
        let report = self.thread.take()?.join();
        report.inspect_err(|_| tracing::error!("the recording's thread panicked")).ok()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

fn write(
    mut tracks: Tracks,
    rx: &Receiver<Item>,
    shared: &Shared,
    failed: impl FnOnce(RecordError) + Send + 'static,
) -> RecordReport {
    let mut trouble = None;
    while let Ok(Item { own, frame }) = rx.recv() {
        shared.bytes.fetch_sub(frame.payload.len(), Ordering::Relaxed);
        if let Err(error) = tracks.take(own, frame) {
            // What still comes is not taken any more; the file ends after its last whole second.
            shared.failed.store(true, Ordering::Relaxed);
            trouble = Some(error);
            break;
        }
    }
    let mut report = tracks.finish(trouble);
    report.dropped = shared.dropped.load(Ordering::Relaxed);
    if let Some(error) = &report.error {
        tracing::warn!(%error, "the recording ended early");
        failed(error.clone());
    }
    report
}

/// Where the frames of a session pass by, whether they are recorded or not.
#[derive(Debug, Default)]
pub struct Tap {
    recorder: Mutex<Option<Recorder>>,
    on: AtomicBool,
    /// Streams of pictures that came in.
    pictures: Mutex<Vec<u16>>,
}

/// Streams of pictures that are remembered.
const MAX_PICTURES: usize = 16;

impl Tap {
    /// Records from now on.
    ///
    /// # Errors
    /// A recording runs already, or none can begin.
    pub fn start(
        &self,
        config: &RecordConfig,
        failed: impl FnOnce(RecordError) + Send + 'static,
    ) -> Result<(), RecordError> {
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        if recorder.is_some() {
            return Err(RecordError::Running);
        }
        *recorder = Some(Recorder::start(config, failed)?);
        self.on.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the recording, if one runs. Waits for the disk.
    pub fn stop(&self) -> Option<RecordReport> {
        self.on.store(false, Ordering::Relaxed);
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).take();
        recorder.map(Recorder::finish)
    }

    /// Whether one runs.
    #[must_use]
    pub fn running(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// The streams of pictures that came in so far.
    #[must_use]
    pub fn pictures(&self) -> Vec<u16> {
        self.pictures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows a frame to the recording, if one runs.
    pub fn pass(&self, own: bool, frame: &EncodedFrame) {
        if !own && frame.key {
            let mut pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
            if !pictures.contains(&frame.stream) && pictures.len() < MAX_PICTURES {
                pictures.push(frame.stream);
            }
        }
        if self.on.load(Ordering::Relaxed)
            && let Some(recorder) = &*self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
        {
            recorder.push(own, frame);
        }
    }
}

fn write_error(path: &Path, error: &std::io::Error) -> RecordError {
    RecordError::Write { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
