//! Where received pictures go.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::picture::Shared;
use super::window::Window;
use super::{Error, VideoSink, write_png, y4m};

/// Takes pictures at the time when they are to be seen.
pub(crate) trait Sink: Send {
    /// Shows a picture. After an error the sink is not used again.
    fn show(&mut self, picture: &Shared) -> Result<(), Error>;

    /// The last picture was shown.
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Opens a sink and those in it; the first that does not open is the error.
pub(crate) fn open(sink: &VideoSink, into: &mut Vec<Box<dyn Sink>>) -> Result<(), Error> {
    match sink {
        VideoSink::Window { title } => into.push(Box::new(Window::open(title)?)),
        VideoSink::Y4m(path) => into.push(Box::new(y4m::Writer::create(path)?)),
        VideoSink::Png(path) => into.push(Box::new(Snapshot { path: path.clone(), latest: None })),
        VideoSink::Tap(tap) => into.push(Box::new(tap.clone())),
        VideoSink::All(sinks) => sinks.iter().try_for_each(|sink| open(sink, into))?,
        VideoSink::Null => {}
    }
    Ok(())
}

impl Sink for y4m::Writer {
    fn show(&mut self, picture: &Shared) -> Result<(), Error> {
        self.write(picture)
    }

    fn finish(&mut self) -> Result<(), Error> {
        y4m::Writer::finish(self)
    }
}

struct Snapshot {
    path: PathBuf,
    latest: Option<Shared>,
}

impl Sink for Snapshot {
    fn show(&mut self, picture: &Shared) -> Result<(), Error> {
        self.latest = Some(Arc::clone(picture));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        let Some(picture) = self.latest.take() else { return Ok(()) };
        let file = File::create(&self.path);
        let written = file.and_then(|file| write_png(&picture, BufWriter::new(file)));
        written.map_err(|e| Error::Write(self.path.clone(), e.to_string()))
    }
}

/// Called with each picture and the time at which it is shown ([`crate::now_ns`]).
type Watcher = Box<dyn Fn(&Shared, u64) + Send + Sync>;

#[derive(Default)]
struct Seen {
    latest: Option<Shared>,
    count: u64,
}

/// A place to look at the pictures of a receiver (or, from [`super::Sender::preview`], at one's own) from elsewhere.
/// Clones look at the same.
#[derive(Clone, Default)]
pub struct Tap {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    seen: Mutex<Seen>,
    changed: Condvar,
    watcher: OnceLock<Watcher>,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Tap {
    /// A tap to ask.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A tap that calls `watcher` with each picture and the time of showing, on the receiver's thread: it must be
    /// quick.
    pub fn watched(watcher: impl Fn(&Shared, u64) + Send + Sync + 'static) -> Self {
        let tap = Self::default();
        tap.watch(watcher);
        tap
    }

    /// Calls `watcher` from now on as [`Tap::watched`] does. A tap has one watcher: false, if it has one already.
    pub fn watch(&self, watcher: impl Fn(&Shared, u64) + Send + Sync + 'static) -> bool {
        self.inner.watcher.set(Box::new(watcher)).is_ok()
    }

    /// The latest picture.
    #[must_use]
    pub fn latest(&self) -> Option<Shared> {
        self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner).latest.clone()
    }

    /// How many pictures there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Waits until there were more than `count` pictures; the latest, or `None` after `timeout`.
    #[must_use]
    pub fn wait_beyond(&self, count: u64, timeout: Duration) -> Option<Shared> {
        let deadline = Instant::now() + timeout;
        let mut seen = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while seen.count <= count {
            let left = deadline.checked_duration_since(Instant::now())?;
            seen = self.inner.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        seen.latest.clone()
    }

    pub(crate) fn put(&self, picture: &Shared, now_ns: u64) {
        {
            let mut seen = self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.latest = Some(Arc::clone(picture));
            seen.count += 1;
        }
        self.inner.changed.notify_all();
        if let Some(watcher) = self.inner.watcher.get() {
            watcher(picture, now_ns);
        }
    }
}

impl Sink for Tap {
    fn show(&mut self, picture: &Shared) -> Result<(), Error> {
        self.put(picture, crate::now_ns());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::Picture;

    #[test]
    fn sinks_of_files_are_written_and_full_disks_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (film, still) = (folder.path().join("a.y4m"), folder.path().join("a.PNG"));
        let mut sinks = Vec::new();
        let both = VideoSink::All(vec![VideoSink::file(&film), VideoSink::file(&still), VideoSink::Null]);
        open(&both, &mut sinks).unwrap();
        let picture = Arc::new(Picture::black(32, 16).unwrap());
        for sink in &mut sinks {
            sink.show(&picture).unwrap();
            sink.finish().unwrap();
        }
        assert!(std::fs::read(&film).unwrap().starts_with(b"YUV4MPEG2 W32 H16"));
        assert!(std::fs::read(&still).unwrap().starts_with(b"\x89PNG"));

        let mut sinks = Vec::new();
        open(&VideoSink::Y4m("/dev/full".into()), &mut sinks).unwrap();
        let large = Arc::new(Picture::black(640, 360).unwrap());
        let error = sinks[0].show(&large).unwrap_err().to_string();
        assert!(error.contains("/dev/full") && error.contains("space"), "{error}");
        assert!(open(&VideoSink::Y4m("/nowhere/a.y4m".into()), &mut Vec::new()).is_err());
    }
}
