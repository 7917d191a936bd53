//! The sending side: a thread that takes pictures from a source, scales and encodes them, and gives them out.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::codec::{self, VideoEncoder};
use super::h264;
use super::ladder::{Ladder, fit};
use super::picture::{MIN_SIDE, Picture};
use super::source::{self, Poll, Source, Waker};
use super::{Error, Settings, Tap, Turn, VideoSource};
use crate::frame::{EncodedFrame, Kind, timestamp_of};
use crate::now_ns;
use crate::session::{Out, Outgoing, Part, Problem};

/// At most one key frame on request in this time: each costs as much as ten other frames.
const KEY_EVERY_NS: u64 = 1_000_000_000;
/// A camera that went away is tried again this often.
const RETRY_NS: u64 = 2_000_000_000;
/// The thread looks around at least this often, in case a waker was lost.
const IDLE: Duration = Duration::from_secs(1);
/// Least bitrate that is taken from outside, bits per second: the encoder's own floor.
const MIN_BITRATE: u32 = 15_000;

/// Counters of a sender.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SenderStats {
    /// Pictures that came from the source while sending.
    pub captured: u64,
    /// Frames that were given out.
    pub sent: u64,
    /// Key frames among them.
    pub keys: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Size of the latest, in pixels.
    pub width: u32,
    /// Size of the latest, in pixels.
    pub height: u32,
    /// Frames per second that are aimed at now.
    pub frame_rate: f64,
    /// Bits per second that are aimed at now.
    pub bitrate: u32,
    /// Mean time that scaling and encoding one picture took, in milliseconds.
    pub encode_ms: f64,
}

#[derive(Debug)]
struct Control {
    on: bool,
    stop: bool,
    /// A key frame is wanted; stays until one was made.
    key: bool,
    bitrate: u32,
    /// Something changed, look again.
    woken: bool,
}

struct Shared {
    control: Mutex<Control>,
    changed: Condvar,
    stats: Mutex<SenderStats>,
    preview: Tap,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Control)) {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut control);
        control.woken = true;
        self.changed.notify_one();
    }
}

/// Sends one source. Dropping it stops the thread and closes the source.
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Sender {
    /// Opens the source (a camera only when it is turned on; here it is looked for) and has the encoder ready. It
    /// starts turned off.
    pub fn start(source: VideoSource, settings: Settings, out: Out) -> Result<Self, Error> {
        source::check(&source)?;
        let bitrate = settings.max_bitrate;
        let shared = Arc::new(Shared {
            control: Mutex::new(Control { on: false, stop: false, key: false, bitrate, woken: false }),
            changed: Condvar::new(),
            stats: Mutex::default(),
            preview: Tap::new(),
        });
        let waking = Arc::downgrade(&shared);
        let waker: Waker = Arc::new(move || {
            if let Some(shared) = waking.upgrade() {
                shared.change(|_| ());
            }
        });
        let mut worker = Worker::new(Arc::clone(&shared), source, settings, out, waker);
        worker.prepare()?;
        let thread = std::thread::Builder::new().name("video-send".into()).spawn(move || worker.run());
        Ok(Self { shared, thread: Some(thread.map_err(|e| Error::Thread(e.to_string()))?) })
    }

    /// Sends from now on, beginning with a key frame at once; or stops at once and closes a camera.
    pub fn set_on(&self, on: bool) {
        self.shared.change(|control| control.on = on);
    }

    /// Bits per second for video, at most those of the settings. 0: nothing is sent, but the source stays open; what
    /// comes after that begins with a key frame.
    pub fn set_bitrate(&self, bits_per_second: u32) {
        self.shared.change(|control| control.bitrate = bits_per_second);
    }

    /// The other side needs a key frame: soon, but not more than one a second.
    pub fn request_key(&self) {
        self.shared.change(|control| control.key = true);
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> SenderStats {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The pictures that are being sent, for a view of oneself.
    #[must_use]
    pub fn preview(&self) -> Tap {
        self.shared.preview.clone()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.change(|control| control.stop = true);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

struct Encoder {
    inner: Box<dyn VideoEncoder>,
    size: (u32, u32),
    bitrate: u32,
    rate: f64,
}

impl Encoder {
    fn new(size: (u32, u32), rate: f64, bitrate: u32) -> Result<Self, Error> {
        Ok(Self { inner: codec::encoder(h264::NAME, size, rate as f32, bitrate)?, size, bitrate, rate })
    }

    fn tune(&mut self, rate: f64, bitrate: u32) -> Result<(), Error> {
        // The rate of a camera is measured and never the same; a tenth more or less is no reason.
        if (rate - self.rate).abs() > (0.1 * self.rate).max(0.5) {
            self.inner.set_frame_rate(rate as f32)?;
            self.rate = rate;
        }
        if bitrate != self.bitrate {
            self.inner.set_bitrate(bitrate)?;
            self.bitrate = bitrate;
        }
        Ok(())
    }
}

/// What the thread owns.
struct Worker {
    shared: Arc<Shared>,
    source: VideoSource,
    settings: Settings,
    out: Out,
    waker: Waker,
    open: Option<Box<dyn Source>>,
    encoder: Option<Encoder>,
    ladder: Ladder,
    /// Sending now; the first frame after this became true is a key frame.
    running: bool,
    first: bool,
    last_key: Option<u64>,
    sequence: u32,
    counted: u64,
    cadence: Cadence,
    /// When the source is tried again after a problem; `u64::MAX` for never.
    retry_at: Option<u64>,
}

impl Worker {
    fn new(shared: Arc<Shared>, source: VideoSource, settings: Settings, out: Out, waker: Waker) -> Self {
        Self {
            shared,
            source,
            settings,
            out,
            waker,
            open: None,
            encoder: None,
            ladder: Ladder::default(),
            running: false,
            first: true,
            last_key: None,
            sequence: 0,
            counted: 0,
            cadence: Cadence::default(),
            retry_at: None,
        }
    }

    fn camera(&self) -> bool {
        matches!(self.source, VideoSource::Camera(_))
    }

    /// Pictures per second that are sent at most, and of how many that come one is sent for that.
    fn rate(&self) -> (f64, u32) {
        let most = f64::from(self.settings.fps.clamp(1, 60));
        let known = self.open.as_ref().and_then(|open| open.format()).map(|(_, _, comes)| comes);
        let comes = known.or(self.cadence.rate());
        let thinned = comes.map_or(1.0, |comes| (comes / most).round().max(1.0));
        (comes.map_or(most, |comes| (comes / thinned).min(most)), thinned as u32)
    }

    /// All that can be done before the first picture is wanted.
    fn prepare(&mut self) -> Result<(), Error> {
        let mut size = (self.settings.width & !1, self.settings.height & !1);
        if !self.camera() {
            let open = source::open(&self.source, &self.settings, Arc::clone(&self.waker))?;
            if let Some((width, height, _)) = open.format() {
                size = fitted((width, height), size);
            }
            self.open = Some(open);
        }
        self.encoder = Some(Encoder::new(size, self.rate().0, self.settings.max_bitrate)?);
        Ok(())
    }

    fn run(mut self) {
        while let Some(control) = self.look() {
            if let Err(error) = self.step(&control) {
                self.broken(&error);
            }
        }
    }

    /// Waits until there is something to do; `None` ends the thread.
    fn look(&mut self) -> Option<Now> {
        let shared = Arc::clone(&self.shared);
        let mut control = shared.control.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if control.stop {
                return None;
            }
            let now = now_ns();
            if !control.on {
                self.running = false;
                if self.camera() {
                    // Its thread calls the waker, which needs the lock.
                    drop(control);
                    self.open = None;
                    self.retry_at = None;
                    control = shared.control.lock().unwrap_or_else(PoisonError::into_inner);
                    if control.on || control.stop {
                        continue;
                    }
                }
            } else if self.retry_at.is_none_or(|at| now >= at) {
                control.woken = false;
                return Some(Now { key: control.key, bitrate: control.bitrate });
            }
            control = wait(&shared, control, self.retry_at);
        }
    }

    fn step(&mut self, now: &Now) -> Result<(), Error> {
        if !self.running {
            (self.running, self.first) = (true, true);
            if let Some(open) = &mut self.open {
                open.restart();
            }
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(source::open(&self.source, &self.settings, Arc::clone(&self.waker))?),
        };
        match open.poll(now_ns())? {
            Poll::Ready(picture) => {
                if self.retry_at.take().is_some() {
                    (self.out)(Outgoing::Solved(Part::VideoIn));
                }
                self.send(picture, now)
            }
            Poll::At(due) => {
                self.pause(Some(due));
                Ok(())
            }
            Poll::Wait => {
                self.pause(None);
                Ok(())
            }
        }
    }

    fn pause(&self, until: Option<u64>) {
        let control = self.shared.control.lock().unwrap_or_else(PoisonError::into_inner);
        drop(wait(&self.shared, control, until));
    }

    fn send(&mut self, picture: Picture, now: &Now) -> Result<(), Error> {
        let started = now_ns();
        self.cadence.picture(picture.time_ns);
        let turned = self.camera() && self.settings.turn != Turn::None;
        let picture = if turned { picture.turned(self.settings.turn) } else { picture };
        if now.bitrate == 0 {
            self.first = true;
            self.shared.preview.put(&Arc::new(picture), started);
            return Ok(());
        }
        let limit = (self.settings.width & !1, self.settings.height & !1);
        let full = fitted((picture.width(), picture.height()), limit);
        let (rate, thinned) = self.rate();
        let bitrate = now.bitrate.clamp(MIN_BITRATE, self.settings.max_bitrate.max(MIN_BITRATE));
        let step = self.ladder.choose(started, full, rate, bitrate);
        self.counted = if self.first { 0 } else { self.counted + 1 };
        let size = step.size(full);
        let size = (size.0.max(MIN_SIDE), size.1.max(MIN_SIDE));
        let rate = rate / f64::from(step.rate);
        let left_out = !self.counted.is_multiple_of(u64::from(thinned * step.rate));
        {
            let mut stats = self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
            stats.captured += 1;
            (stats.width, stats.height, stats.frame_rate, stats.bitrate) = (size.0, size.1, rate, bitrate);
        }
        if left_out {
            return Ok(());
        }
        let picture =
            if size == (picture.width(), picture.height()) { picture } else { picture.scaled(size.0, size.1)? };
        let encoder = match &mut self.encoder {
            Some(encoder) if encoder.size == size => encoder,
            other => other.insert(Encoder::new(size, rate, bitrate)?),
        };
        encoder.tune(rate, bitrate)?;
        let key_allowed = self.last_key.is_none_or(|at| started.saturating_sub(at) >= KEY_EVERY_NS);
        if self.first || now.key && key_allowed {
            encoder.inner.force_key();
        }
        let Some(encoded) = encoder.inner.encode(&picture)? else { return Ok(()) };
        let took = now_ns().saturating_sub(started);
        {
            // Turned off while it was encoded: then nothing goes out any more.
            let mut control = self.shared.control.lock().unwrap_or_else(PoisonError::into_inner);
            if !control.on {
                return Ok(());
            }
            if encoded.key {
                control.key = false;
            }
        }
        if encoded.key {
            self.last_key = Some(started);
        }
        {
            let mut stats = self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
            stats.sent += 1;
            stats.keys += u64::from(encoded.key);
            stats.bytes += encoded.payload.len() as u64;
            stats.encode_ms += (took as f64 / 1e6 - stats.encode_ms) / stats.sent as f64;
        }
        (self.out)(Outgoing::Frame(EncodedFrame {
            kind: Kind::Video,
            key: encoded.key,
            gap: false,
            restart: false,
            red: false,
            layer: encoded.layer,
            stream: 0,
            sequence: self.sequence,
            timestamp: timestamp_of(Kind::Video, picture.time_ns),
            time_ns: picture.time_ns,
            payload: encoded.payload,
        }));
        self.sequence = self.sequence.wrapping_add(1);
        self.first = false;
        self.shared.preview.put(&Arc::new(picture), started);
        Ok(())
    }

    /// A camera is tried again; a file or codec that fails once will fail again.
    fn broken(&mut self, error: &Error) {
        self.open = None;
        self.running = false;
        let retrying = self.camera();
        let told = self.retry_at.is_some();
        self.retry_at = Some(if retrying { now_ns() + RETRY_NS } else { u64::MAX });
        if !told {
            (self.out)(Outgoing::Problem(Problem { part: Part::VideoIn, text: error.to_string(), retrying }));
        }
    }
}

/// The size in which a picture is sent: within the limit, turned the picture's way, and never smaller than the codec
/// takes.
fn fitted(size: (u32, u32), limit: (u32, u32)) -> (u32, u32) {
    let upright = size.1 > size.0;
    let limit = if upright == (limit.1 > limit.0) { limit } else { (limit.1, limit.0) };
    let (width, height) = fit(size, limit);
    (width.max(MIN_SIDE), height.max(MIN_SIDE))
}

/// How many pictures a second a camera really gives: in the dark it exposes longer, and the rate control must know, or
/// it spends a third of what it may.
#[derive(Debug, Default)]
struct Cadence {
    last: Option<u64>,
    apart_ns: Option<f64>,
    seen: u32,
}

impl Cadence {
    /// Pictures before the rate is believed.
    const LEARN: u32 = 10;
    /// A pause longer than this is one, not a rate.
    const PAUSE_NS: u64 = 1_000_000_000;

    fn picture(&mut self, time_ns: u64) {
        let Some(apart) = self.last.replace(time_ns).map(|last| time_ns.saturating_sub(last)) else { return };
        if apart == 0 || apart > Self::PAUSE_NS {
            return;
        }
        self.seen = self.seen.saturating_add(1);
        let before = *self.apart_ns.get_or_insert(apart as f64);
        self.apart_ns = Some(before + (apart as f64 - before) / 16.0);
    }

    fn rate(&self) -> Option<f64> {
        self.apart_ns.filter(|_| self.seen >= Self::LEARN).map(|apart| 1e9 / apart)
    }
}

/// The wishes of the moment.
struct Now {
    key: bool,
    bitrate: u32,
}

/// Waits for a change, or until `until`.
fn wait<'a>(
    shared: &Shared,
    mut control: std::sync::MutexGuard<'a, Control>,
    until: Option<u64>,
) -> std::sync::MutexGuard<'a, Control> {
    if !control.woken {
        let left = until.map_or(IDLE, |at| Duration::from_nanos(at.saturating_sub(now_ns()))).min(IDLE);
        control = shared.changed.wait_timeout(control, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    control.woken = false;
    control
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upright_pictures_get_an_upright_limit_and_tiny_ones_are_made_large_enough() {
        let limit = (640, 360);
        assert_eq!(fitted((1920, 1080), limit), (640, 360));
        assert_eq!(fitted((1080, 1920), limit), (360, 640));
        assert_eq!(fitted((720, 1280), (360, 640)), (360, 640));
        assert_eq!(fitted((480, 640), limit), (360, 480));
        assert_eq!(fitted((4096, 2), limit), (640, 16));
        assert_eq!(fitted((2, 4096), limit), (16, 640));
        assert_eq!(fitted((500, 500), limit), (360, 360));
    }

    #[test]
    fn the_rate_of_a_camera_is_learned_and_a_pause_is_none() {
        let mut cadence = Cadence::default();
        let mut now = 0;
        for _ in 0..60 {
            now += 100_000_000;
            cadence.picture(now);
        }
        assert!((cadence.rate().unwrap() - 10.0).abs() < 0.01);
        now += 60_000_000_000;
        cadence.picture(now);
        assert!((cadence.rate().unwrap() - 10.0).abs() < 0.01);
        assert_eq!(Cadence::default().rate(), None);
    }
}
