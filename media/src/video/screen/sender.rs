//! Sends a shared screen: a thread that looks a few times a second, encodes what changed, sharpens what stands still, and
//! is silent otherwise.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::codec::VideoEncoder;
use super::super::h264::H264Encoder;
use super::super::ladder::fit;
use super::super::picture::Picture;
use super::super::{Error, SenderStats, Tap};
use super::rate::Rate;
use super::{Grab, Grabbed, ScreenSource, open};
use crate::frame::{EncodedFrame, Kind, timestamp_of};
use crate::now_ns;
use crate::session::{Out, Outgoing, Part, Problem};

/// At most one key frame on request in this time: a page of text is large.
const KEY_EVERY_NS: u64 = 1_000_000_000;
/// A picture that stands still is encoded so often more, a bit better each time, until it is as good as it gets.
const SHARPEN: u32 = 3;
/// A still screen is sent again after this time: a few bytes, by which the other side sees that it is still shared.
const STILL_NS: u64 = 4_000_000_000;
/// A screen that cannot be looked at (a minimised window) is tried again this often.
const RETRY_NS: u64 = 1_000_000_000;
/// Least bitrate that the encoder is told, bits per second.
const MIN_BITRATE: u32 = 20_000;
/// Below this nothing is sent: the node says 0 where the path is too narrow for pictures.
const TOO_NARROW: u32 = 10_000;
/// The thread looks around at least this often while nothing is to be sent.
const IDLE: Duration = Duration::from_secs(1);

/// Limits of a shared screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pixels: larger screens are scaled down to this.
    pub max_width: u32,
    /// Pixels.
    pub max_height: u32,
    /// How often a second the screen is looked at, 1 to 30.
    pub fps: u32,
    /// Bits per second at most.
    pub max_bitrate: u32,
    /// The encoder's quantiser never goes above this (0 to 51): above about 36 small letters smear.
    pub worst_quantiser: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_width: 2560, max_height: 1440, fps: 12, max_bitrate: 2_500_000, worst_quantiser: 34 }
    }
}

#[derive(Debug)]
struct Control {
    on: bool,
    /// It was turned on since the thread looked last, and begins anew.
    begun: bool,
    stop: bool,
    /// A key frame is wanted; stays until one was made.
    key: bool,
    bitrate: u32,
}

struct Shared {
    control: Mutex<Control>,
    changed: Condvar,
    stats: Mutex<SenderStats>,
    preview: Tap,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Control)) {
        change(&mut self.control.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

/// Shares one source. Dropping it stops the thread.
pub struct Sender {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScreenSender").finish_non_exhaustive()
    }
}

impl Sender {
    /// Opens the source. It starts turned off: nothing is looked at until [`Sender::set_on`]. A dialog of the desktop
    /// opens at once.
    ///
    /// A share that ends by itself (a window is closed, the person refuses, the desktop stops it) is a
    /// [`Outgoing::Problem`] of [`Part::ScreenIn`] that is not tried again: whoever turned it on turns it off.
    ///
    /// # Errors
    /// What cannot be shared, and why.
    pub fn start(source: &ScreenSource, settings: Settings, out: Out) -> Result<Self, Error> {
        let grab = open(source, settings.fps.clamp(1, 30))?;
        let bitrate = settings.max_bitrate;
        let shared = Arc::new(Shared {
            control: Mutex::new(Control { on: false, begun: false, stop: false, key: false, bitrate }),
            changed: Condvar::new(),
            stats: Mutex::default(),
            preview: Tap::new(),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            grab,
            settings,
            out,
            encoder: None,
            rate: Rate::default(),
            picture: None,
            changed: false,
            sharpen: 0,
            first: true,
            last_key: None,
            last_sent: 0,
            sequence: 0,
            broken: None,
        };
        let thread = std::thread::Builder::new().name("screen-send".into()).spawn(move || worker.run());
        Ok(Self { shared, thread: Some(thread.map_err(|e| Error::Thread(e.to_string()))?) })
    }

    /// Sends from now on, beginning with a key frame at once; or stops at once.
    pub fn set_on(&self, on: bool) {
        self.shared.change(|control| {
            control.begun |= on && !control.on;
            control.on = on;
        });
    }

    /// Bits per second for the screen, at most those of the settings.
    pub fn set_bitrate(&self, bits_per_second: u32) {
        self.shared.change(|control| control.bitrate = bits_per_second);
    }

    /// The other side needs a key frame: soon, but not more than one a second.
    pub fn request_key(&self) {
        self.shared.change(|control| control.key = true);
    }

    /// Counters since the start. `frame_rate` is how often the screen is looked at.
    #[must_use]
    pub fn stats(&self) -> SenderStats {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The pictures that are being sent, for a view of what others see.
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
    inner: H264Encoder,
    size: (u32, u32),
    bitrate: u32,
}

/// What the thread owns.
struct Worker {
    shared: Arc<Shared>,
    grab: Box<dyn Grab>,
    settings: Settings,
    out: Out,
    encoder: Option<Encoder>,
    rate: Rate,
    /// What the screen shows, as captured.
    picture: Option<Picture>,
    /// It was not sent yet.
    changed: bool,
    /// So often it is still to be sent a bit better.
    sharpen: u32,
    first: bool,
    last_key: Option<u64>,
    last_sent: u64,
    sequence: u32,
    /// What was told to be wrong, until it works again.
    broken: Option<String>,
}

impl Worker {
    fn run(mut self) {
        let period = 1_000_000_000 / u64::from(self.settings.fps.clamp(1, 30));
        let mut next = now_ns();
        while let Some((key, bitrate)) = self.wait(next) {
            let now = now_ns();
            next = now + period;
            match self.step(now, key, bitrate) {
                Ok(()) => self.trouble(None),
                Err(Error::ScreenOver(text)) => {
                    self.tell(text, false);
                    return;
                }
                Err(error) => {
                    next = now + RETRY_NS;
                    self.trouble(Some(error.to_string()));
                }
            }
        }
    }

    /// Waits until it is time to look (and sending is on); `None` ends the thread.
    fn wait(&mut self, until: u64) -> Option<(bool, u32)> {
        let shared = Arc::clone(&self.shared);
        let mut control = shared.control.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if control.stop {
                return None;
            }
            let left = until.saturating_sub(now_ns());
            let begun = control.on && std::mem::take(&mut control.begun);
            self.first |= begun;
            if begun || (control.on && left == 0) {
                return Some((control.key, control.bitrate));
            }
            // Refused or closed before anything flowed: nobody waits for that to be told.
            if !control.on
                && let Some(error) = self.grab.over()
            {
                drop(control);
                self.tell(error.to_string(), false);
                return None;
            }
            let left = if control.on { Duration::from_nanos(left).min(IDLE) } else { IDLE };
            control = shared.changed.wait_timeout(control, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn step(&mut self, now: u64, key: bool, bitrate: u32) -> Result<(), Error> {
        if bitrate < TOO_NARROW {
            let text = "the path is too narrow for a shared screen: it is shown again when the path widens";
            return Err(Error::Screen(text.into()));
        }
        if self.first {
            self.grab.fresh();
        }
        if let Grabbed::New(picture) = self.grab.grab(now)? {
            (self.picture, self.changed, self.sharpen) = (Some(picture), true, SHARPEN);
            self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).captured += 1;
        }
        let key = self.first || (key && self.last_key.is_none_or(|at| now.saturating_sub(at) >= KEY_EVERY_NS));
        let still = now.saturating_sub(self.last_sent) >= STILL_NS;
        if !(self.changed || key || still || self.sharpen > 0) || !(self.first || self.rate.due(now)) {
            return Ok(());
        }
        let Some(picture) = self.picture.take() else { return Ok(()) };
        let sent = self.send(now, &picture, key, bitrate);
        self.picture = Some(picture);
        sent
    }

    fn send(&mut self, now: u64, picture: &Picture, key: bool, bitrate: u32) -> Result<(), Error> {
        let full = (picture.width(), picture.height());
        let bitrate = bitrate.clamp(MIN_BITRATE, self.settings.max_bitrate.max(MIN_BITRATE));
        let limit = (self.settings.max_width & !1, self.settings.max_height & !1);
        let fitted = fit(full, limit);
        let divisor = self.rate.divisor(now, fitted, bitrate);
        let size = ((fitted.0 / divisor) & !1, (fitted.1 / divisor) & !1);
        let fps = f64::from(self.settings.fps.clamp(1, 30));
        let encoder = match &mut self.encoder {
            Some(encoder) if encoder.size == size => encoder,
            other => {
                let worst = self.settings.worst_quantiser;
                let inner = H264Encoder::for_screen(size.0, size.1, fps as f32, bitrate, worst)?;
                other.insert(Encoder { inner, size, bitrate })
            }
        };
        if encoder.bitrate != bitrate {
            encoder.inner.set_bitrate(bitrate)?;
            encoder.bitrate = bitrate;
        }
        if key {
            encoder.inner.force_key();
        }
        let scaled;
        let shown = if size == full {
            picture
        } else {
            scaled = picture.scaled(size.0, size.1)?;
            &scaled
        };
        let encoded = encoder.inner.encode(shown)?;
        let took = now_ns().saturating_sub(now);
        self.changed = false;
        self.sharpen = self.sharpen.saturating_sub(1);
        let Some(encoded) = encoded else { return Ok(()) };
        {
            // Turned off while it was encoded: then nothing goes out any more.
            let mut control = self.shared.control.lock().unwrap_or_else(PoisonError::into_inner);
            if !control.on {
                return Ok(());
            }
            control.key &= !encoded.key;
        }
        if encoded.key {
            self.last_key = Some(now);
        }
        {
            let mut stats = self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
            (stats.width, stats.height, stats.frame_rate, stats.bitrate) = (size.0, size.1, fps, bitrate);
            stats.sent += 1;
            stats.keys += u64::from(encoded.key);
            stats.bytes += encoded.payload.len() as u64;
            stats.encode_ms += (took as f64 / 1e6 - stats.encode_ms) / stats.sent as f64;
        }
        self.rate.sent(now, encoded.payload.len(), bitrate);
        (self.out)(Outgoing::Frame(EncodedFrame {
            kind: Kind::Screen,
            key: encoded.key,
            gap: false,
            restart: false,
            red: false,
            layer: encoded.layer,
            stream: 0,
            sequence: self.sequence,
            timestamp: timestamp_of(Kind::Screen, now),
            time_ns: now,
            payload: encoded.payload,
        }));
        self.sequence = self.sequence.wrapping_add(1);
        (self.first, self.last_sent) = (false, now);
        if self.shared.preview.count() == 0 || self.sharpen + 1 == SHARPEN {
            self.shared.preview.put(&Arc::new(shown.clone()), now);
        }
        Ok(())
    }

    /// Tells what is wrong, once, and when it is right again.
    fn trouble(&mut self, text: Option<String>) {
        if text == self.broken {
            return;
        }
        match &text {
            Some(text) => self.tell(text.clone(), true),
            None => (self.out)(Outgoing::Solved(Part::ScreenIn)),
        }
        self.broken = text;
    }

    fn tell(&self, text: String, retrying: bool) {
        (self.out)(Outgoing::Problem(Problem { part: Part::ScreenIn, text, retrying }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::super::super::codec::VideoDecoder;
    use super::super::super::h264::H264Decoder;
    use super::super::super::measure::psnr_y;
    use super::super::super::moving::Tag;
    use super::super::page::Page;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn sender(settings: Settings) -> (Sender, mpsc::Receiver<EncodedFrame>) {
        let (tx, rx) = mpsc::sync_channel(1000);
        let out: Out = Arc::new(move |outgoing| {
            if let Outgoing::Frame(frame) = outgoing {
                let _ = tx.try_send(frame);
            }
        });
        (Sender::start(&ScreenSource::Synthetic { seed: 4 }, settings, out).unwrap(), rx)
    }

    #[test]
    fn a_page_arrives_sharp_at_its_full_size() {
        let (sender, frames) = sender(Settings::default());
        assert!(frames.recv_timeout(Duration::from_millis(50)).is_err(), "it begins turned off");
        sender.set_on(true);
        let (mut decoder, page) = (H264Decoder::new(), Page::new(4).unwrap());
        let (mut best, end) = (0.0_f64, Instant::now() + PATIENCE);
        while best < 36.0 {
            assert!(Instant::now() < end, "the best page had {best:.1} dB");
            let frame = frames.recv_timeout(PATIENCE).unwrap();
            assert_eq!((frame.kind, frame.layer), (Kind::Screen, 0));
            assert_eq!(frame.key, frame.sequence == 0);
            let Some(picture) = decoder.decode(&frame.payload).unwrap() else { continue };
            assert_eq!((picture.width(), picture.height()), super::super::page::SIZE);
            let tag = Tag::read(&picture).expect("the tag is legible");
            best = best.max(psnr_y(&page.draw_tagged(tag).unwrap(), &picture));
        }
        assert_eq!(sender.stats().width, 1280);
    }

    #[test]
    fn a_key_frame_comes_when_it_is_asked_for_and_nothing_when_it_is_off() {
        let (sender, frames) = sender(Settings::default());
        sender.set_on(true);
        assert!(frames.recv_timeout(PATIENCE).unwrap().key);
        sender.request_key();
        let end = Instant::now() + PATIENCE;
        while !frames.recv_timeout(PATIENCE).unwrap().key {
            assert!(Instant::now() < end);
        }
        sender.set_on(false);
        sender.set_on(true);
        while !frames.recv_timeout(PATIENCE).unwrap().key {
            assert!(Instant::now() < end, "who begins anew begins with a whole picture");
        }
    }

    #[test]
    fn a_narrow_path_gets_fewer_frames_and_only_a_very_narrow_one_a_smaller_picture() {
        let bytes_in = |bitrate: u32, seconds: u64| {
            let (sender, frames) = sender(Settings { max_bitrate: bitrate, ..Settings::default() });
            sender.set_on(true);
            let end = Instant::now() + Duration::from_secs(seconds);
            let mut bytes = 0;
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                if let Ok(frame) = frames.recv_timeout(left) {
                    bytes += frame.payload.len() as u64;
                }
            }
            (bytes, sender.stats())
        };
        let (narrow, stats) = bytes_in(200_000, 4);
        // The first page is a debt that four seconds pay off; a second one may stand.
        assert!(narrow * 8 < 200_000 * 10, "{narrow} bytes");
        assert_eq!(stats.width, 1280);
        let (_, stats) = bytes_in(20_000, 1);
        assert_eq!((stats.width, stats.height), (640, 360));
    }
}
