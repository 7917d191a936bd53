//! The receiving side: a thread that decodes frames as they come and shows each picture at the time of its sound.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::codec::{CodecError, Registry, VideoDecoder};
use super::picture::Shared as SharedPicture;
use super::sink::{self, Sink};
use super::smooth::{Shown, Watch};
use super::{Error, VideoSink, h264};
use crate::frame::EncodedFrame;
use crate::now_ns;
use crate::session::{Out, Outgoing, Part, Problem};

/// Most frames that wait for the decoder: two seconds; more means that this machine is too slow for them, and all that
/// waits is dropped up to the next key frame.
const MAX_WAITING: usize = 60;
/// Most bytes that wait for the decoder.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Most decoded pictures that wait for their time, and most of their bytes; the oldest is then shown early.
const MAX_PENDING: usize = 16;
const MAX_PENDING_BYTES: usize = 32 << 20;
/// No picture waits longer than this for its sound.
const MAX_AHEAD_NS: u64 = 1_000_000_000;
/// A key frame is asked for at most this often.
const ASK_EVERY_NS: u64 = 500_000_000;
/// The thread looks around at least this often.
const IDLE: Duration = Duration::from_secs(1);

/// Tells when ([`crate::now_ns`]) a picture of this stream and RTP timestamp is to be seen, so that it fits its sound.
/// `None`: at once.
pub type PresentAt = Arc<dyn Fn(u16, u32) -> Option<u64> + Send + Sync>;

/// Counters of a receiver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceiverStats {
    /// Frames that were handed in.
    pub received: u64,
    /// Pictures that were decoded.
    pub decoded: u64,
    /// Frames that were not decoded: too many waited, or what they build on was missing.
    pub dropped: u64,
    /// Pictures that were shown.
    pub shown: u64,
    /// How often the picture stood still for more than 150 ms beyond the time between two captures.
    pub freezes: u64,
    /// How long together, milliseconds.
    pub freeze_ms: u64,
    /// The longest of them, milliseconds.
    pub longest_freeze_ms: u64,
    /// How often the decoder lost its thread and waited for a key frame.
    pub broken: u64,
    /// Frames that came of layer 0, and of all above it.
    pub layers: [u64; 2],
    /// Key frames that were decoded.
    pub keys: u64,
    /// Picture minus sound, median of the last ten seconds, milliseconds; positive: the picture is late.
    pub av_offset_ms: Option<f64>,
    /// 95th percentile of its absolute value, milliseconds.
    pub av_offset_p95_ms: Option<f64>,
    /// Whether it is frozen now, or nothing came yet.
    pub frozen: bool,
    /// How often a key frame was asked for.
    pub key_requests: u64,
    /// Size of the latest picture, in pixels.
    pub width: u32,
    /// Size of the latest picture, in pixels.
    pub height: u32,
    /// [`crate::now_ns`] when the first picture was shown; 0 before.
    pub first_shown_ns: u64,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<EncodedFrame>,
    bytes: usize,
    dropped: u64,
    stop: bool,
    stream: Option<u16>,
    /// The codec of what comes from now on, if it is another.
    codec: Option<String>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    stats: Mutex<ReceiverStats>,
}

impl Shared {
    fn stats(&self, change: impl FnOnce(&mut ReceiverStats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Decodes and shows one stream. Dropping it stops the thread and finishes the sinks.
pub struct Receiver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl Receiver {
    /// Opens the sink and waits for frames. `clock` knows when the sound of the same moment is heard.
    /// They are H.264, which every client makes, until [`Self::set_codec`] says otherwise.
    ///
    /// # Errors
    /// A sink that cannot be opened.
    pub fn start(sink: VideoSink, clock: PresentAt, out: Out) -> Result<Self, Error> {
        let decoder = Registry::default().decoder(h264::NAME)?;
        let mut sinks = Vec::new();
        sink::open(&sink, &mut sinks)?;
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            shared: Arc::clone(&shared),
            sinks,
            clock,
            out,
            decoder,
            codec: h264::NAME.to_owned(),
            stream: None,
            pending: VecDeque::new(),
            watch: Watch::default(),
            gap: false,
            begins: true,
            frozen: true,
            asked_at: None,
        };
        let thread = std::thread::Builder::new().name("video-recv".into()).spawn(move || worker.run());
        Ok(Self { shared, thread: Some(thread.map_err(|e| Error::Thread(e.to_string()))?) })
    }

    /// Hands in a frame in order of arrival; never waits.
    pub fn push(&self, frame: EncodedFrame) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.stats(|stats| stats.received += 1);
        queue.stream = Some(frame.stream);
        if queue.frames.len() >= MAX_WAITING || queue.bytes + frame.payload.len() > MAX_WAITING_BYTES {
            queue.dropped += queue.frames.len() as u64;
            queue.frames.clear();
            queue.bytes = 0;
            if frame.payload.len() > MAX_WAITING_BYTES {
                queue.dropped += 1;
                return;
            }
        }
        queue.bytes += frame.payload.len();
        queue.frames.push_back(frame);
        self.shared.changed.notify_one();
    }

    /// What comes from now on is of this codec.
    pub fn set_codec(&self, codec: &str) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).codec = Some(codec.to_owned());
    }

    /// Which stream came last.
    #[must_use]
    pub fn stream(&self) -> Option<u16> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).stream
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> ReceiverStats {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// A decoded picture and when it is to be seen.
struct Pending {
    picture: SharedPicture,
    show_at: u64,
    shown: Shown,
}

/// What the thread owns.
struct Worker {
    shared: Arc<Shared>,
    sinks: Vec<Box<dyn Sink>>,
    clock: PresentAt,
    out: Out,
    decoder: Box<dyn VideoDecoder>,
    /// The name of its codec.
    codec: String,
    stream: Option<u16>,
    pending: VecDeque<Pending>,
    watch: Watch,
    /// Something is missing, or the stream began anew, since the last picture.
    gap: bool,
    begins: bool,
    frozen: bool,
    asked_at: Option<u64>,
}

impl Worker {
    fn run(mut self) {
        while self.next() {}
        // What was decoded in time is not lost to a recording.
        while let Some(pending) = self.pending.pop_front() {
            self.show(&pending);
        }
        for mut sink in std::mem::take(&mut self.sinks) {
            if let Err(error) = sink.finish() {
                self.problem(&error);
            }
        }
    }

    /// One frame decoded, or the pictures shown whose time has come. `false` ends the thread.
    fn next(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut changed = None;
        let frame = {
            let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if queue.stop {
                    return false;
                }
                if queue.dropped > 0 {
                    let dropped = std::mem::take(&mut queue.dropped);
                    shared.stats(|stats| stats.dropped += dropped);
                }
                let left = self.pending.front().map(|p| p.show_at.saturating_sub(now_ns()));
                if left == Some(0) {
                    break None;
                }
                if let Some(frame) = queue.frames.pop_front() {
                    queue.bytes -= frame.payload.len();
                    changed = queue.codec.take().filter(|codec| *codec != self.codec);
                    break Some(frame);
                }
                let left = left.map_or(IDLE, Duration::from_nanos).min(IDLE);
                queue = shared.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        };
        if let Some(codec) = changed {
            self.codec = codec;
            self.begin_anew();
        }
        match frame {
            Some(frame) => self.decode(&frame),
            None => {
                if let Some(pending) = self.pending.pop_front() {
                    self.show(&pending);
                }
            }
        }
        true
    }

    fn decode(&mut self, frame: &EncodedFrame) {
        if self.stream.replace(frame.stream) != Some(frame.stream) || frame.restart {
            self.begin_anew();
        }
        self.gap |= frame.gap;
        self.shared.stats(|stats| stats.layers[usize::from(frame.layer > 0)] += 1);
        match self.decoder.decode(&frame.payload) {
            Ok(Some(mut picture)) => {
                (picture.timestamp, picture.time_ns) = (frame.timestamp, frame.time_ns);
                (self.frozen, self.asked_at) = (false, None);
                self.shared.stats(|stats| {
                    stats.decoded += 1;
                    stats.keys += u64::from(frame.key);
                    stats.frozen = false;
                    (stats.width, stats.height) = (picture.width(), picture.height());
                });
                self.schedule(Arc::new(picture), frame);
            }
            Ok(None) => {}
            Err(error) => self.freeze(frame, &error),
        }
    }

    /// What comes next builds on nothing that came before.
    fn begin_anew(&mut self) {
        self.begins = true;
        match Registry::default().decoder(&self.codec) {
            Ok(decoder) => self.decoder = decoder,
            Err(error) => self.problem(&error.into()),
        }
    }

    /// The last picture stays until a key frame comes, and one is asked for.
    fn freeze(&mut self, frame: &EncodedFrame, error: &CodecError) {
        let now = now_ns();
        let froze = !std::mem::replace(&mut self.frozen, true);
        self.gap = true;
        let ask = self.asked_at.is_none_or(|at| now.saturating_sub(at) >= ASK_EVERY_NS);
        self.shared.stats(|stats| {
            stats.dropped += 1;
            stats.broken += u64::from(froze);
            stats.key_requests += u64::from(ask);
            stats.frozen = true;
        });
        if froze {
            tracing::debug!(stream = frame.stream, %error, "the picture is frozen until the next key frame");
        }
        if ask {
            self.asked_at = Some(now);
            (self.out)(Outgoing::NeedKeyFrame { stream: frame.stream });
        }
    }

    /// Puts a picture in line for the time of its sound; at once where there is none.
    fn schedule(&mut self, picture: SharedPicture, frame: &EncodedFrame) {
        let now = now_ns();
        let at = (self.clock)(frame.stream, frame.timestamp);
        let mut show_at = at.map_or(now, |at| at.min(now + MAX_AHEAD_NS));
        if let Some(last) = self.pending.back() {
            // Pictures never overtake each other.
            show_at = show_at.max(last.show_at);
        }
        let bytes = picture.luma().len() * 3 / 2;
        let room = (MAX_PENDING_BYTES / bytes.max(1)).clamp(1, MAX_PENDING);
        while self.pending.len() >= room {
            if let Some(oldest) = self.pending.pop_front() {
                self.show(&oldest);
            }
        }
        let shown = Shown {
            timestamp: frame.timestamp,
            gap: std::mem::take(&mut self.gap),
            begins: std::mem::take(&mut self.begins),
            ideal_ns: at,
        };
        let pending = Pending { picture, show_at, shown };
        if show_at <= now && self.pending.is_empty() {
            self.show(&pending);
        } else {
            self.pending.push_back(pending);
        }
    }

    fn show(&mut self, pending: &Pending) {
        let now = now_ns();
        let picture = &pending.picture;
        self.watch.shown(now, pending.shown);
        let smooth = self.watch.smooth();
        self.shared.stats(|stats| {
            stats.shown += 1;
            (stats.freezes, stats.freeze_ms) = (smooth.freezes, smooth.freeze_ms);
            stats.longest_freeze_ms = smooth.longest_freeze_ms;
            (stats.av_offset_ms, stats.av_offset_p95_ms) = (smooth.offset_ms, smooth.offset_p95_ms);
            if stats.first_shown_ns == 0 {
                stats.first_shown_ns = now;
            }
        });
        let mut failed = Vec::new();
        self.sinks.retain_mut(|sink| sink.show(picture).map_err(|error| failed.push(error)).is_ok());
        for error in failed {
            self.problem(&error);
        }
    }

    fn problem(&self, error: &Error) {
        let problem = Problem { part: Part::VideoOut, text: error.to_string(), retrying: false };
        (self.out)(Outgoing::Problem(problem));
    }
}
