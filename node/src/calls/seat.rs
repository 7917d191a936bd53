//! A seat's media: the bounded way between one client and a call.
//!
//! Towards the client there is a queue of our own, because a full one must lose the *right* thing: the oldest video up
//! to the next key frame, then the oldest audio, never a control message (of which only the newest of each sort
//! counts). From the client an ordinary bounded channel does: a client that sends too fast waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use twocan_control::{MediaChannel, MediaControl, MediaFrame, MediaKind, MediaMessage};

use super::place_of;

/// Kinds of pictures of which a key frame is needed: camera, shared screen.
pub(super) type NeedKey = [Option<MediaKind>; 2];

/// Frames waiting for a client: about a second of audio and video.
const MAX_FRAMES: usize = 96;
/// Bytes waiting for a client: two of the largest frames.
const MAX_BYTES: usize = 2 << 20;
/// Messages in the channels themselves, on top of the queue. Small: what is in there can no longer be dropped.
const TO_CLIENT: usize = 8;
const FROM_CLIENT: usize = 64;
/// A client that takes nothing for this long has lost its seat.
pub(super) const TOO_SLOW: Duration = Duration::from_secs(10);

/// What a seat lost because its client was slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeatStats {
    /// Video frames dropped.
    pub video_dropped: u64,
    /// Audio frames dropped.
    pub audio_dropped: u64,
    /// Frames delivered.
    pub delivered: u64,
}

/// The node's end of a seat; goes to a peer with [`super::PeerCommand::Attach`].
#[derive(Debug)]
pub struct SeatEnd {
    pub(super) sink: SeatSink,
    pub(super) from_client: mpsc::Receiver<MediaMessage>,
}

/// Makes a seat: our end, and the client's. Must run inside the tokio runtime.
pub fn seat_pair() -> (SeatEnd, MediaChannel) {
    let (to_client, rx) = mpsc::channel(TO_CLIENT);
    let (tx, from_client) = mpsc::channel(FROM_CLIENT);
    let inner = Arc::new(Inner::default());
    tokio::spawn(pump(inner.clone(), to_client));
    (SeatEnd { sink: SeatSink(inner), from_client }, MediaChannel { tx, rx })
}

/// Where frames for the client go in. Dropping it ends the client's channel after what is waiting.
#[derive(Debug)]
pub(super) struct SeatSink(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    queue: Mutex<Queue>,
    changed: Notify,
    closed: AtomicBool,
    gone: AtomicBool,
    delivered: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<MediaMessage>,
    frames: usize,
    bytes: usize,
    /// Pictures of these kinds are dropped until a key frame comes.
    await_key: [bool; 4],
    audio_dropped: u64,
    video_dropped: u64,
    /// Since when the client has taken nothing although something waits.
    waiting_since: Option<Instant>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SeatSink {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.changed.notify_one();
    }
}

impl SeatSink {
    /// Puts a message in line; never waits. Returns the kinds of which a key frame is needed, because pictures were
    /// dropped.
    pub(super) fn push(&self, now: Instant, message: MediaMessage) -> NeedKey {
        let need_key = {
            let mut queue = self.0.lock();
            queue.waiting_since.get_or_insert(now);
            match message {
                MediaMessage::Control(control) => {
                    queue.control(control);
                    NeedKey::default()
                }
                MediaMessage::Frame(frame) => queue.frame(frame),
            }
        };
        self.0.changed.notify_one();
        need_key
    }

    /// Whether the client gave the seat up.
    pub(super) fn gone(&self) -> bool {
        self.0.gone.load(Ordering::Acquire)
    }

    /// Whether the client has taken nothing for too long.
    pub(super) fn too_slow(&self, now: Instant) -> bool {
        self.0.lock().waiting_since.is_some_and(|since| now.saturating_duration_since(since) > TOO_SLOW)
    }

    pub(super) fn stats(&self) -> SeatStats {
        let queue = self.0.lock();
        SeatStats {
            video_dropped: queue.video_dropped,
            audio_dropped: queue.audio_dropped,
            delivered: self.0.delivered.load(Ordering::Relaxed),
        }
    }
}

impl Queue {
    /// Of each sort of control message only the newest is worth anything.
    fn control(&mut self, control: MediaControl) {
        let same = |other: &MediaControl| match (&control, other) {
            (MediaControl::Clock { stream: a, .. }, MediaControl::Clock { stream: b, .. }) => a == b,
            (MediaControl::KeyFrameRequest { kind: a }, MediaControl::KeyFrameRequest { kind: b }) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        };
        self.items.retain(|item| !matches!(item, MediaMessage::Control(other) if same(other)));
        self.items.push_back(MediaMessage::Control(control));
    }

    fn frame(&mut self, mut frame: MediaFrame) -> NeedKey {
        let mut need_key = NeedKey::default();
        if std::mem::take(&mut self.await_key[place_of(frame.kind)]) {
            if !frame.key {
                self.await_key[place_of(frame.kind)] = true;
                self.video_dropped += 1;
                return need_key;
            }
            frame.gap = true;
        }
        self.frames += 1;
        self.bytes += frame.payload.len();
        self.items.push_back(MediaMessage::Frame(frame));
        while self.frames > MAX_FRAMES || self.bytes > MAX_BYTES {
            if let Some(kind) = self.drop_oldest() {
                need_key[usize::from(kind == MediaKind::Screen)] = Some(kind);
            }
        }
        need_key
    }

    /// Drops the oldest pictures of the camera up to its next key frame, else those of the shared screen, else the oldest
    /// frame of sound. The kind of which no key frame is in line, if it is so.
    fn drop_oldest(&mut self) -> Option<MediaKind> {
        let dropped = self.drop_pictures(MediaKind::Video).or_else(|| self.drop_pictures(MediaKind::Screen));
        if let Some(need_key) = dropped {
            return need_key;
        }
        let oldest = self.items.iter().position(|item| matches!(item, MediaMessage::Frame(_)));
        if let Some(MediaMessage::Frame(frame)) = oldest.and_then(|at| self.items.remove(at)) {
            self.frames -= 1;
            self.bytes -= frame.payload.len();
            self.audio_dropped += 1;
        }
        None
    }

    /// Drops pictures of this kind up to the next key frame. `None` if there were none; else the kind if no key frame is
    /// in line.
    fn drop_pictures(&mut self, kind: MediaKind) -> Option<Option<MediaKind>> {
        let Self { items, frames, bytes, video_dropped, await_key, .. } = self;
        let mut forget = |frame: &MediaFrame| {
            *frames -= 1;
            *bytes -= frame.payload.len();
        };
        let (mut dropped, mut found_key) = (0, false);
        items.retain_mut(|item| match item {
            MediaMessage::Frame(frame) if frame.kind == kind && !found_key => {
                if dropped > 0 && frame.key {
                    found_key = true;
                    frame.gap = true;
                    return true;
                }
                dropped += 1;
                forget(frame);
                false
            }
            _ => true,
        });
        if dropped == 0 {
            return None;
        }
        *video_dropped += dropped;
        await_key[place_of(kind)] = !found_key;
        Some((!found_key).then_some(kind))
    }

    fn pop(&mut self) -> Option<MediaMessage> {
        let item = self.items.pop_front()?;
        if let MediaMessage::Frame(frame) = &item {
            self.frames -= 1;
            self.bytes -= frame.payload.len();
        }
        Some(item)
    }
}

/// Moves messages from the queue to the client. Ends when either side is gone.
async fn pump(inner: Arc<Inner>, to_client: mpsc::Sender<MediaMessage>) {
    loop {
        let permit = match to_client.reserve().await {
            Ok(permit) => permit,
            Err(_) => break,
        };
        let item = loop {
            let changed = inner.changed.notified();
            if let Some(item) = inner.lock().pop() {
                break Some(item);
            }
            // Nothing waits: the client is not slow.
            inner.lock().waiting_since = None;
            if inner.closed.load(Ordering::Acquire) {
                break None;
            }
            tokio::select! {
                () = changed => {}
                () = to_client.closed() => break None,
            }
        };
        let Some(item) = item else { break };
        if matches!(item, MediaMessage::Frame(_)) {
            inner.delivered.fetch_add(1, Ordering::Relaxed);
        }
        inner.lock().waiting_since = Some(Instant::now());
        permit.send(item);
    }
    inner.gone.store(true, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn frame(kind: MediaKind, key: bool, sequence: u32, size: usize) -> MediaMessage {
        MediaMessage::Frame(MediaFrame {
            kind,
            key,
            gap: false,
            restart: false,
            red: false,
            layer: 0,
            stream: 1,
            sequence,
            timestamp: 0,
            time_ns: 0,
            payload: Bytes::from(vec![0; size]),
        })
    }

    fn frames(queue: &Queue) -> Vec<(MediaKind, u32, bool)> {
        queue
            .items
            .iter()
            .filter_map(|item| match item {
                MediaMessage::Frame(frame) => Some((frame.kind, frame.sequence, frame.gap)),
                MediaMessage::Control(_) => None,
            })
            .collect()
    }

    fn push(queue: &mut Queue, message: MediaMessage) -> bool {
        match message {
            MediaMessage::Frame(frame) => queue.frame(frame) != NeedKey::default(),
            MediaMessage::Control(control) => {
                queue.control(control);
                false
            }
        }
    }

    #[test]
    fn a_full_queue_drops_the_oldest_video_up_to_the_next_key_frame() {
        let mut queue = Queue::default();
        push(&mut queue, frame(MediaKind::Audio, false, 1000, 100));
        for n in 0..MAX_FRAMES as u32 - 1 {
            assert!(!push(&mut queue, frame(MediaKind::Video, n == 0 || n == 40, n, 100)));
        }
        assert!(!push(&mut queue, frame(MediaKind::Video, false, 500, 100)));
        let left = frames(&queue);
        assert_eq!(left[0], (MediaKind::Audio, 1000, false));
        assert_eq!(left[1], (MediaKind::Video, 40, true));
        assert_eq!((queue.video_dropped, queue.audio_dropped), (40, 0));
    }

    #[test]
    fn without_a_key_frame_in_line_all_video_goes_and_the_next_key_frame_is_awaited() {
        let mut queue = Queue::default();
        let mut asked = 0;
        for n in 0..=MAX_FRAMES as u32 {
            asked += u32::from(push(&mut queue, frame(MediaKind::Video, n == 0, n, 100)));
        }
        assert_eq!(asked, 1);
        assert!(frames(&queue).is_empty());
        push(&mut queue, frame(MediaKind::Video, false, 200, 100));
        assert!(frames(&queue).is_empty());
        push(&mut queue, frame(MediaKind::Video, true, 201, 100));
        assert_eq!(frames(&queue), [(MediaKind::Video, 201, true)]);
    }

    #[test]
    fn a_screen_gives_way_after_the_camera_and_by_itself() {
        let mut queue = Queue::default();
        for n in 0..60 {
            push(&mut queue, frame(MediaKind::Screen, n == 0, n, 100));
        }
        for n in 0..36 {
            push(&mut queue, frame(MediaKind::Video, n == 0, n, 100));
        }
        assert!(push(&mut queue, frame(MediaKind::Audio, false, 0, 100)), "the camera goes first");
        assert!(frames(&queue).iter().all(|(kind, ..)| *kind != MediaKind::Video));
        push(&mut queue, frame(MediaKind::Screen, false, 60, 100));
        assert_eq!(frames(&queue).len(), 62, "the screen goes on meanwhile");
        for n in 0..40 {
            push(&mut queue, frame(MediaKind::Sound, false, n, 100));
        }
        assert!(frames(&queue).iter().all(|(kind, ..)| !kind.is_picture()));
        assert_eq!((queue.video_dropped, queue.audio_dropped), (97, 0));
    }

    #[test]
    fn audio_is_dropped_last_and_oldest_first() {
        let mut queue = Queue::default();
        push(&mut queue, frame(MediaKind::Video, true, 0, 100));
        for n in 0..MAX_FRAMES as u32 + 10 {
            push(&mut queue, frame(MediaKind::Audio, false, n, 100));
        }
        assert_eq!((queue.video_dropped, queue.audio_dropped), (1, 10));
        assert_eq!(frames(&queue)[0], (MediaKind::Audio, 10, false));
    }

    #[test]
    fn large_frames_are_bounded_by_their_bytes() {
        let mut queue = Queue::default();
        for n in 0..20 {
            push(&mut queue, frame(MediaKind::Video, true, n, 900_000));
            assert!(queue.bytes <= MAX_BYTES);
        }
        assert_eq!(frames(&queue), [(MediaKind::Video, 18, true), (MediaKind::Video, 19, false)]);
    }

    #[test]
    fn control_messages_survive_and_only_the_newest_of_a_sort_counts() {
        let mut queue = Queue::default();
        for n in 0..1000 {
            queue.control(MediaControl::Clock { stream: n % 2, timestamp: u32::from(n), sender_us: 0 });
            queue.control(MediaControl::KeyFrameRequest { kind: MediaKind::Video });
            queue.control(MediaControl::KeyFrameRequest { kind: MediaKind::Screen });
            queue.control(MediaControl::Flow { audio: true, video: n % 2 == 0, screen: false });
            push(&mut queue, frame(MediaKind::Audio, false, u32::from(n), 10));
        }
        let controls: Vec<_> = queue.items.iter().filter(|i| matches!(i, MediaMessage::Control(_))).collect();
        assert_eq!(controls.len(), 5);
        let flow = MediaControl::Flow { audio: true, video: false, screen: false };
        assert!(controls.contains(&&MediaMessage::Control(flow)));
    }

    #[tokio::test]
    async fn frames_reach_the_client_in_order_and_the_end_is_seen_on_both_sides() {
        let (end, mut client) = seat_pair();
        for n in 0..50 {
            end.sink.push(Instant::now(), frame(MediaKind::Audio, false, n, 10));
        }
        for n in 0..50 {
            let Some(MediaMessage::Frame(got)) = client.rx.recv().await else { panic!("a frame") };
            assert_eq!(got.sequence, n);
        }
        assert_eq!(end.sink.stats(), SeatStats { delivered: 50, ..SeatStats::default() });
        let SeatEnd { sink, mut from_client } = end;
        drop(sink);
        assert_eq!(client.rx.recv().await, None);
        drop(client);
        assert_eq!(from_client.recv().await, None);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_too_slow() {
        let (end, client) = seat_pair();
        let now = Instant::now();
        for n in 0..200 {
            end.sink.push(now, frame(MediaKind::Audio, false, n, 10));
        }
        assert!(!end.sink.too_slow(now));
        assert!(end.sink.too_slow(now + 2 * TOO_SLOW));
        drop(client);
    }
}
