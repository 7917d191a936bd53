//! Where pictures come from, each at its time: the clock for files and the synthetic scene, the camera for itself.

use std::sync::Arc;

use super::camera::Camera;
use super::moving::Scene;
use super::picture::Picture;
use super::{Error, Settings, VideoSource, ivf, y4m};

/// Called from another thread when [`Source::poll`] is worth calling again.
pub(crate) type Waker = Arc<dyn Fn() + Send + Sync>;

/// What a source has now.
#[derive(Debug)]
pub(crate) enum Poll {
    /// A picture.
    Ready(Picture),
    /// Ask again at this time ([`crate::now_ns`]).
    At(u64),
    /// Ask again when the waker was called.
    Wait,
}

/// Gives pictures when asked, and never waits.
pub(crate) trait Source: Send {
    /// What there is at `now_ns`.
    fn poll(&mut self, now_ns: u64) -> Result<Poll, Error>;

    /// Size and rate of the pictures, where it is known before the first.
    fn format(&self) -> Option<(u32, u32, f64)>;

    /// The next picture is due at once: sending begins, or begins again.
    fn restart(&mut self);
}

/// Opens what can be opened without a person's noticing: files and the scene. A camera stays closed until it is
/// needed, so that its light is off; that it exists is checked.
pub(crate) fn check(source: &VideoSource) -> Result<(), Error> {
    match source {
        VideoSource::Camera(name) => Camera::check(name.as_deref()),
        _ => Ok(()),
    }
}

/// Opens a source.
pub(crate) fn open(source: &VideoSource, settings: &Settings, waker: Waker) -> Result<Box<dyn Source>, Error> {
    let fps = f64::from(settings.fps.clamp(1, 60));
    Ok(match source {
        VideoSource::Camera(name) => Box::new(Camera::open(name.as_deref(), settings, waker)?),
        VideoSource::Y4m(path) => {
            let mut reader = y4m::Reader::open(path)?;
            let (width, height, rate) = reader.format();
            let pictures = move |_, _| reader.next_picture();
            Box::new(Paced::new(Some((width, height)), rate, pictures))
        }
        VideoSource::Ivf(path) => {
            let mut reader = ivf::Reader::open(path)?;
            Box::new(Paced::new(None, reader.rate(), move |_, _| reader.next_picture()))
        }
        VideoSource::Moving { seed } => {
            let scene = Scene::new(settings.width & !1, settings.height & !1, *seed)?;
            let size = (settings.width & !1, settings.height & !1);
            Box::new(Paced::new(Some(size), fps, move |number, now| Ok(scene.draw(number, now))))
        }
    })
}

/// Pictures by the clock. One that is late is still given, and the clock set back: nothing is left out of a file.
struct Paced<F> {
    size: Option<(u32, u32)>,
    rate: f64,
    make: F,
    /// When picture `first` was due.
    started: Option<u64>,
    first: u64,
    next: u64,
}

impl<F> Paced<F> {
    fn new(size: Option<(u32, u32)>, rate: f64, make: F) -> Self {
        Self { size, rate, make, started: None, first: 0, next: 0 }
    }
}

impl<F: FnMut(u64, u64) -> Result<Picture, Error> + Send> Source for Paced<F> {
    fn poll(&mut self, now_ns: u64) -> Result<Poll, Error> {
        let started = *self.started.get_or_insert(now_ns);
        let period = 1e9 / self.rate;
        let due = started + ((self.next - self.first) as f64 * period) as u64;
        if now_ns < due {
            return Ok(Poll::At(due));
        }
        if now_ns - due > 2 * period as u64 {
            (self.started, self.first) = (Some(now_ns), self.next);
        }
        let mut picture = (self.make)(self.next, now_ns)?;
        picture.time_ns = now_ns;
        self.next += 1;
        Ok(Poll::Ready(picture))
    }

    fn format(&self) -> Option<(u32, u32, f64)> {
        self.size.map(|(width, height)| (width, height, self.rate))
    }

    fn restart(&mut self) {
        (self.started, self.first) = (None, self.next);
    }
}

/// Stands for cameras where this build cannot open any.
#[cfg(not(target_os = "linux"))]
pub(crate) struct NoCamera;

#[cfg(not(target_os = "linux"))]
impl NoCamera {
    pub(crate) fn check(_: Option<&str>) -> Result<(), Error> {
        Err(Error::Camera("cameras of this system are not supported yet; use --video-in FILE".into()))
    }

    pub(crate) fn list() -> Vec<String> {
        Vec::new()
    }

    pub(crate) fn open(name: Option<&str>, _: &Settings, _: Waker) -> Result<Self, Error> {
        Self::check(name).map(|()| Self)
    }
}

#[cfg(not(target_os = "linux"))]
impl Source for NoCamera {
    fn poll(&mut self, _: u64) -> Result<Poll, Error> {
        Ok(Poll::Wait)
    }

    fn format(&self) -> Option<(u32, u32, f64)> {
        None
    }

    fn restart(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn moving() -> Box<dyn Source> {
        open(&VideoSource::Moving { seed: 1 }, &Settings::default(), Arc::new(|| ())).unwrap()
    }

    fn ready(source: &mut dyn Source, now: u64) -> bool {
        matches!(source.poll(now).unwrap(), Poll::Ready(picture) if picture.time_ns == now)
    }

    #[test]
    fn pictures_come_by_the_clock_and_at_once_after_a_restart() {
        let mut source = moving();
        assert!(ready(&mut *source, 1000 * MS));
        assert!(matches!(source.poll(1001 * MS).unwrap(), Poll::At(due) if due / MS == 1033));
        assert!(ready(&mut *source, 1034 * MS));
        // On time again although the last was late.
        assert!(matches!(source.poll(1035 * MS).unwrap(), Poll::At(due) if due / MS == 1066));
        source.restart();
        assert!(ready(&mut *source, 1036 * MS));
        assert!(matches!(source.poll(1037 * MS).unwrap(), Poll::At(due) if due / MS == 1069));
    }

    #[test]
    fn after_a_long_stop_pictures_do_not_come_in_a_burst() {
        let mut source = moving();
        assert!(ready(&mut *source, 0));
        assert!(ready(&mut *source, 5000 * MS));
        assert!(matches!(source.poll(5001 * MS).unwrap(), Poll::At(due) if due / MS == 5033));
    }
}
