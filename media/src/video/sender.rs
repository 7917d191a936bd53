//! The sending side: a thread that takes pictures from a source, scales and encodes them, and gives them out.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::codec::{PictureCodec, Registry, VideoEncoder};
use super::ladder::{Ladder, fit};
use super::picture::{MIN_SIDE, Picture};
use super::sending::{Control, KEY_EVERY_NS, Leaving, Sender, Shared};
use super::source::{self, Poll, Source, Waker};
use super::{Error, Settings, Turn, VideoSource};
use crate::frame::Kind;
use crate::now_ns;
use crate::session::{Out, Outgoing, Part, Problem};

/// A camera that went away is tried again this often.
const RETRY_NS: u64 = 2_000_000_000;
/// The thread looks around at least this often, in case a waker was lost.
const IDLE: Duration = Duration::from_secs(1);
/// Least bitrate that is taken from outside, bits per second: the encoder's own floor.
const MIN_BITRATE: u32 = 15_000;

impl Sender {
    /// Opens the source (a camera only when it is turned on; here it is looked for) and has the encoder ready. It
    /// starts turned off.
    pub fn start(source: VideoSource, settings: Settings, codec: PictureCodec, out: Out) -> Result<Self, Error> {
        source::check(&source)?;
        let shared = Shared::new(settings.max_bitrate, codec.clone());
        let waking = Arc::downgrade(&shared);
        let waker: Waker = Arc::new(move || {
            if let Some(shared) = waking.upgrade() {
                shared.change(|_| ());
            }
        });
        let mut worker = Worker::new(Arc::clone(&shared), source, settings, out, waker);
        worker.prepare(&codec)?;
        Self::run("video-send", shared, move || worker.run())
    }
}

struct Encoder {
    inner: Box<dyn VideoEncoder>,
    size: (u32, u32),
    bitrate: u32,
    rate: f64,
    codec: PictureCodec,
}

impl Encoder {
    fn new(codec: &PictureCodec, size: (u32, u32), rate: f64, bitrate: u32) -> Result<Self, Error> {
        let inner = Registry::default().encoder(&codec.name, size, rate as f32, bitrate)?;
        Ok(Self { inner, size, bitrate, rate, codec: codec.clone() })
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
    fn prepare(&mut self, codec: &PictureCodec) -> Result<(), Error> {
        let mut size = (self.settings.width & !1, self.settings.height & !1);
        if !self.camera() {
            let open = source::open(&self.source, &self.settings, Arc::clone(&self.waker))?;
            if let Some((width, height, _)) = open.format() {
                size = fitted((width, height), size);
            }
            self.open = Some(open);
        }
        let size = codec.limits.fitted(size, self.rate().0);
        self.encoder = Some(Encoder::new(codec, size, self.rate().0, self.settings.max_bitrate)?);
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
    fn look(&mut self) -> Option<Control> {
        let shared = Arc::clone(&self.shared);
        let mut control = shared.control();
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
                    control = shared.control();
                    if control.on || control.stop {
                        continue;
                    }
                }
            } else if self.retry_at.is_none_or(|at| now >= at) {
                control.woken = false;
                return Some(control.clone());
            }
            control = wait(&shared, control, self.retry_at);
        }
    }

    fn step(&mut self, now: &Control) -> Result<(), Error> {
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
        drop(wait(&self.shared, self.shared.control(), until));
    }

    fn send(&mut self, picture: Picture, now: &Control) -> Result<(), Error> {
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
        let full = now.codec.limits.fitted(full, rate);
        let most = self.settings.max_bitrate.min(now.codec.limits.bitrate);
        let bitrate = now.bitrate.clamp(MIN_BITRATE, most.max(MIN_BITRATE));
        let step = self.ladder.choose(started, full, rate, bitrate);
        self.counted = if self.first { 0 } else { self.counted + 1 };
        let size = step.size(full);
        let size = (size.0.max(MIN_SIDE), size.1.max(MIN_SIDE));
        let rate = rate / f64::from(step.rate);
        let left_out = !self.counted.is_multiple_of(u64::from(thinned * step.rate));
        {
            let mut stats = self.shared.stats();
            stats.captured += 1;
            (stats.width, stats.height, stats.frame_rate, stats.bitrate) = (size.0, size.1, rate, bitrate);
        }
        if left_out {
            return Ok(());
        }
        let picture =
            if size == (picture.width(), picture.height()) { picture } else { picture.scaled(size.0, size.1)? };
        let encoder = match &mut self.encoder {
            Some(encoder) if encoder.size == size && encoder.codec.name == now.codec.name => encoder,
            other => other.insert(Encoder::new(&now.codec, size, rate, bitrate)?),
        };
        encoder.tune(rate, bitrate)?;
        let key_allowed = self.last_key.is_none_or(|at| started.saturating_sub(at) >= KEY_EVERY_NS);
        if self.first || now.key && key_allowed {
            encoder.inner.force_key();
        }
        let Some(encoded) = encoder.inner.encode(&picture)? else { return Ok(()) };
        let key = encoded.key;
        let (sequence, captured_ns) = (self.sequence, picture.time_ns);
        let leaving = Leaving { kind: Kind::Video, encoded, sequence, captured_ns, started_ns: started };
        if !self.shared.leave(&self.out, leaving) {
            return Ok(());
        }
        if key {
            self.last_key = Some(started);
        }
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

/// Waits for a change, or until `until`.
fn wait<'a>(shared: &Shared, mut control: MutexGuard<'a, Control>, until: Option<u64>) -> MutexGuard<'a, Control> {
    if !control.woken {
        control = shared.wait(control, until, IDLE);
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
