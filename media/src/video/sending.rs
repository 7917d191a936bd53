//! What the senders of camera and shared screen have in common: what they are told from outside, how they wait for it,
//! and how an encoded picture leaves.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::codec::{Encoded, PictureCodec};
use super::{Error, Tap};
use crate::frame::{EncodedFrame, Kind, timestamp_of};
use crate::now_ns;
use crate::session::{Out, Outgoing};

/// At most one key frame on request in this time: each costs as much as ten other frames.
pub(super) const KEY_EVERY_NS: u64 = 1_000_000_000;

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
    /// Frames per second that are aimed at now; of a screen, how often it is looked at.
    pub frame_rate: f64,
    /// Bits per second that are aimed at now.
    pub bitrate: u32,
    /// Mean time that scaling and encoding one picture took, in milliseconds.
    pub encode_ms: f64,
}

/// The wishes of the moment.
#[derive(Clone, Debug)]
pub(super) struct Control {
    pub(super) on: bool,
    /// It was turned on since the thread looked last, and begins anew.
    pub(super) begun: bool,
    pub(super) stop: bool,
    /// A key frame is wanted; stays until one was made.
    pub(super) key: bool,
    pub(super) bitrate: u32,
    pub(super) codec: PictureCodec,
    /// Something changed, look again.
    pub(super) woken: bool,
}

/// What a sender and its thread share.
#[derive(Debug)]
pub(super) struct Shared {
    control: Mutex<Control>,
    changed: Condvar,
    stats: Mutex<SenderStats>,
    pub(super) preview: Tap,
}

impl Shared {
    /// Turned off.
    pub(super) fn new(bitrate: u32, codec: PictureCodec) -> Arc<Self> {
        let control = Control { on: false, begun: false, stop: false, key: false, bitrate, codec, woken: false };
        let (control, stats) = (Mutex::new(control), Mutex::default());
        Arc::new(Self { control, changed: Condvar::new(), stats, preview: Tap::new() })
    }

    pub(super) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> MutexGuard<'_, SenderStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is wished, and wakes the thread.
    pub(super) fn change(&self, change: impl FnOnce(&mut Control)) {
        let mut control = self.control();
        change(&mut control);
        control.woken = true;
        self.changed.notify_one();
    }

    /// Gives the lock back until something changes, `until` comes ([`now_ns`]), or `at_most` is over.
    pub(super) fn wait<'a>(
        &self,
        control: MutexGuard<'a, Control>,
        until: Option<u64>,
        at_most: Duration,
    ) -> MutexGuard<'a, Control> {
        let left = until.map_or(at_most, |at| Duration::from_nanos(at.saturating_sub(now_ns()))).min(at_most);
        self.changed.wait_timeout(control, left).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// An encoded picture on its way out.
pub(super) struct Leaving {
    pub(super) kind: Kind,
    pub(super) encoded: Encoded,
    pub(super) sequence: u32,
    /// When it was captured ([`now_ns`]).
    pub(super) captured_ns: u64,
    /// When its scaling and encoding began.
    pub(super) started_ns: u64,
}

impl Shared {
    /// Counts a picture and gives it out. False: sending was turned off while it was encoded; then nothing goes out.
    pub(super) fn leave(&self, out: &Out, leaving: Leaving) -> bool {
        let Leaving { kind, encoded, sequence, captured_ns, started_ns } = leaving;
        let took = now_ns().saturating_sub(started_ns);
        {
            let mut control = self.control();
            if !control.on {
                return false;
            }
            control.key &= !encoded.key;
        }
        {
            let mut stats = self.stats();
            stats.sent += 1;
            stats.keys += u64::from(encoded.key);
            stats.bytes += encoded.payload.len() as u64;
            stats.encode_ms += (took as f64 / 1e6 - stats.encode_ms) / stats.sent as f64;
        }
        out(Outgoing::Frame(EncodedFrame {
            kind,
            key: encoded.key,
            gap: false,
            restart: false,
            red: false,
            layer: encoded.layer,
            stream: 0,
            sequence,
            timestamp: timestamp_of(kind, captured_ns),
            time_ns: captured_ns,
            payload: encoded.payload,
        }));
        true
    }
}

/// Sends pictures of one source: a camera or what stands for it (`Sender::start`), or a shared screen
/// (`Sender::share`). It starts turned off; dropping it stops its thread and closes the source.
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
    /// Runs the work of a sender on a thread of this name.
    pub(super) fn run(name: &str, shared: Arc<Shared>, work: impl FnOnce() + Send + 'static) -> Result<Self, Error> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(work);
        Ok(Self { shared, thread: Some(thread.map_err(|e| Error::Thread(e.to_string()))?) })
    }

    /// Sends from now on, beginning with a key frame at once; or stops at once and closes a camera.
    pub fn set_on(&self, on: bool) {
        self.shared.change(|control| {
            control.begun |= on && !control.on;
            control.on = on;
        });
    }

    /// Bits per second, at most those of the settings. 0: nothing is sent, but the source stays open; what comes after
    /// that begins with a key frame.
    pub fn set_bitrate(&self, bits_per_second: u32) {
        self.shared.change(|control| control.bitrate = bits_per_second);
    }

    /// Encodes so from now on, beginning with a key frame.
    pub fn set_codec(&self, codec: PictureCodec) {
        self.shared.change(|control| control.codec = codec);
    }

    /// The other side needs a key frame: soon, but not more than one a second.
    pub fn request_key(&self) {
        self.shared.change(|control| control.key = true);
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> SenderStats {
        self.shared.stats().clone()
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
