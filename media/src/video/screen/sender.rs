//! Sends a shared screen: a thread that looks a few times a second, encodes what changed, sharpens what stands still, and
//! is silent otherwise.

use std::sync::Arc;
use std::time::Duration;

use super::super::Error;
use super::super::codec::{PictureCodec, Registry, VideoEncoder};
use super::super::ladder::fit;
use super::super::picture::Picture;
use super::super::sending::{Control, KEY_EVERY_NS, Leaving, Sender, Shared};
use super::rate::Rate;
use super::{Grab, Grabbed, ScreenSource, open};
use crate::frame::Kind;
use crate::now_ns;
use crate::session::{Out, Outgoing, Part, Problem};

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

impl Sender {
    /// Shares a screen. It starts turned off: nothing is looked at until [`Sender::set_on`]. A dialog of the desktop
    /// opens at once.
    ///
    /// A share that ends by itself (a window is closed, the person refuses, the desktop stops it) is a
    /// [`Outgoing::Problem`] of [`Part::ScreenIn`] that is not tried again: whoever turned it on turns it off.
    ///
    /// # Errors
    /// What cannot be shared, and why.
    pub fn share(source: &ScreenSource, settings: Settings, codec: PictureCodec, out: Out) -> Result<Self, Error> {
        let grab = open(source, settings.fps.clamp(1, 30))?;
        let shared = Shared::new(settings.max_bitrate, codec);
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
        Self::run("screen-send", shared, move || worker.run())
    }
}

struct Encoder {
    inner: Box<dyn VideoEncoder>,
    size: (u32, u32),
    bitrate: u32,
    codec: PictureCodec,
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
        while let Some(wishes) = self.wait(next) {
            let now = now_ns();
            next = now + period;
            match self.step(now, &wishes) {
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
    fn wait(&mut self, until: u64) -> Option<Control> {
        let shared = Arc::clone(&self.shared);
        let mut control = shared.control();
        loop {
            if control.stop {
                return None;
            }
            let due = until <= now_ns();
            let begun = control.on && std::mem::take(&mut control.begun);
            self.first |= begun;
            if begun || (control.on && due) {
                return Some(control.clone());
            }
            // Refused or closed before anything flowed: nobody waits for that to be told.
            if !control.on
                && let Some(error) = self.grab.over()
            {
                drop(control);
                self.tell(error.to_string(), false);
                return None;
            }
            let until = control.on.then_some(until);
            control = shared.wait(control, until, IDLE);
        }
    }

    fn step(&mut self, now: u64, wishes: &Control) -> Result<(), Error> {
        if wishes.bitrate < TOO_NARROW {
            let text = "the path is too narrow for a shared screen: it is shown again when the path widens";
            return Err(Error::Screen(text.into()));
        }
        if self.first {
            self.grab.fresh();
        }
        if let Grabbed::New(picture) = self.grab.grab(now)? {
            (self.picture, self.changed, self.sharpen) = (Some(picture), true, SHARPEN);
            self.shared.stats().captured += 1;
        }
        let key = self.first || (wishes.key && self.last_key.is_none_or(|at| now.saturating_sub(at) >= KEY_EVERY_NS));
        let still = now.saturating_sub(self.last_sent) >= STILL_NS;
        if !(self.changed || key || still || self.sharpen > 0) || !(self.first || self.rate.due(now)) {
            return Ok(());
        }
        let Some(picture) = self.picture.take() else { return Ok(()) };
        let sent = self.send(now, &picture, key, wishes);
        self.picture = Some(picture);
        sent
    }

    fn send(&mut self, now: u64, picture: &Picture, key: bool, wishes: &Control) -> Result<(), Error> {
        let full = (picture.width(), picture.height());
        let most = self.settings.max_bitrate.min(wishes.codec.limits.bitrate);
        let bitrate = wishes.bitrate.clamp(MIN_BITRATE, most.max(MIN_BITRATE));
        let limit = (self.settings.max_width & !1, self.settings.max_height & !1);
        let fitted = wishes.codec.limits.fitted(fit(full, limit), f64::from(self.settings.fps.clamp(1, 30)));
        let divisor = self.rate.divisor(now, fitted, bitrate);
        let size = ((fitted.0 / divisor) & !1, (fitted.1 / divisor) & !1);
        let fps = f64::from(self.settings.fps.clamp(1, 30));
        let encoder = match &mut self.encoder {
            Some(encoder) if encoder.size == size && encoder.codec.name == wishes.codec.name => encoder,
            other => {
                let worst = self.settings.worst_quantiser;
                let codec = wishes.codec.clone();
                let inner = Registry::default().screen_encoder(&codec.name, size, fps as f32, bitrate, worst)?;
                other.insert(Encoder { inner, size, bitrate, codec })
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
        self.changed = false;
        self.sharpen = self.sharpen.saturating_sub(1);
        let Some(encoded) = encoded else { return Ok(()) };
        let (key, bytes, sequence) = (encoded.key, encoded.payload.len(), self.sequence);
        {
            let mut stats = self.shared.stats();
            (stats.width, stats.height, stats.frame_rate, stats.bitrate) = (size.0, size.1, fps, bitrate);
        }
        let leaving = Leaving { kind: Kind::Screen, encoded, sequence, captured_ns: now, started_ns: now };
        if !self.shared.leave(&self.out, leaving) {
            return Ok(());
        }
        if key {
            self.last_key = Some(now);
        }
        self.rate.sent(now, bytes, bitrate);
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
    use crate::frame::EncodedFrame;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn sender(settings: Settings) -> (Sender, mpsc::Receiver<EncodedFrame>) {
        let (tx, rx) = mpsc::sync_channel(1000);
        let out: Out = Arc::new(move |outgoing| {
            if let Outgoing::Frame(frame) = outgoing {
                let _ = tx.try_send(frame);
            }
        });
        (Sender::share(&ScreenSource::Synthetic { seed: 4 }, settings, PictureCodec::default(), out).unwrap(), rx)
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
