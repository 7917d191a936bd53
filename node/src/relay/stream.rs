//! TURN over a byte stream, for both sides: a small queue out, in which what is old is dropped rather than delayed, and
//! frames in. The kernel's own queue is kept small, too, because what waits there cannot be dropped any more.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::turn::framing::{Splitter, pad};

/// Packets of media that have waited longer are of no use: the jitter buffer has gone on without them.
const STALE: Duration = Duration::from_millis(200);
/// Frames that wait: 200 ms of video and audio at 4 Mbit/s.
const MAX_FRAMES: usize = 128;
/// Frames written at once, in bytes: one TLS record.
const BATCH: usize = 8 * 1024;
/// Bytes that the kernel takes before it has sent them; a round trip of 100 ms at 2 Mbit/s.
const SEND_BUFFER: usize = 32 * 1024;
/// Bytes that the kernel holds unsent.
const UNSENT: u32 = 8 * 1024;
/// Bytes read at once.
const READ: usize = 8 * 1024;

struct Waiting {
    frame: Vec<u8>,
    since: Instant,
    /// A request or response: it is worth sending late.
    lasting: bool,
}

/// Frames on their way into a stream. Pushing never waits.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Waiting>,
    dropped: u64,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("Queue").field("frames", &state.frames.len()).field("dropped", &state.dropped).finish()
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a frame. When there are too many, the oldest packet of media goes.
    pub(super) fn push(&self, now: Instant, frame: &[u8]) {
        let mut padded = Vec::with_capacity(frame.len().next_multiple_of(4));
        padded.extend_from_slice(frame);
        pad(&mut padded);
        let lasting = is_lasting(frame);
        {
            let mut state = self.lock();
            if state.closed {
                return;
            }
            if state.frames.len() >= MAX_FRAMES {
                let oldest = state.frames.iter().position(|waiting| !waiting.lasting).unwrap_or(0);
                state.frames.remove(oldest);
                state.dropped += 1;
            }
            state.frames.push_back(Waiting { frame: padded, since: now, lasting });
        }
        self.filled.notify_one();
    }

    /// Takes the frames of one write; what has become stale is dropped.
    fn take(&self, now: Instant, batch: &mut Vec<u8>) {
        let mut state = self.lock();
        while let Some(first) = state.frames.front() {
            if !batch.is_empty() && batch.len() + first.frame.len() > BATCH {
                break;
            }
            let Some(first) = state.frames.pop_front() else { break };
            if first.lasting || now.saturating_duration_since(first.since) <= STALE {
                batch.extend_from_slice(&first.frame);
            } else {
                state.dropped += 1;
            }
        }
    }

    /// What is in the queue is still written, then the stream ends.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    fn is_finished(&self) -> bool {
        let state = self.lock();
        state.closed && state.frames.is_empty()
    }

    /// Frames dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }
}

/// Requests and responses, in contrast to ChannelData and indications.
fn is_lasting(frame: &[u8]) -> bool {
    match frame {
        [b0 @ 0..=3, b1, ..] => !(b0 & 1 == 0 && b1 & 0x10 == 0x10),
        _ => false,
    }
}

/// Makes the kernel's queue small, and sends small packets at once.
pub(super) fn tune(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let set = stream.set_nodelay(true).and_then(|()| socket.set_send_buffer_size(SEND_BUFFER));
    let set = set.and_then(|()| unsent(&socket));
    if let Err(error) = set {
        // It works without, with older packets under load.
        tracing::debug!("cannot set a small send queue: {error}");
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
fn unsent(socket: &socket2::SockRef<'_>) -> io::Result<()> {
    #[cfg(target_os = "macos")]
    {
        let _ = socket;
        Ok(())
    }
    #[cfg(not(target_os = "macos"))]
    socket.set_tcp_notsent_lowat(UNSENT)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
fn unsent(_socket: &socket2::SockRef<'_>) -> io::Result<()> {
    Ok(())
}

/// Carries frames both ways until the stream ends, `take` says so (`false`), or the queue is closed.
///
/// # Errors
/// What the stream says, or that it holds something else than TURN.
pub(super) async fn carry<S: AsyncRead + AsyncWrite>(
    stream: S,
    queue: &Queue,
    mut take: impl FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = async {
        let (mut splitter, mut buffer) = (Splitter::default(), vec![0; READ]);
        loop {
            let length = reader.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            splitter.fill(&buffer[..length]);
            while let Some(frame) = splitter.next().map_err(io::Error::other)? {
                if !take(frame) {
                    return Ok(());
                }
            }
        }
    };
    let write = async {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            queue.take(Instant::now(), &mut batch);
            if !batch.is_empty() {
                writer.write_all(&batch).await?;
                writer.flush().await?;
            } else if queue.is_finished() {
                return writer.shutdown().await;
            } else {
                queue.filled.notified().await;
            }
        }
    };
    tokio::select! {
        result = read => result,
        result = write => result,
    }
}

#[cfg(test)]
mod tests {
    use super::super::turn::codec::{Class, Writer, channel_header, method};
    use super::*;

    fn audio(n: u8) -> Vec<u8> {
        [&channel_header(0x4000, 1)[..], &[n]].concat()
    }

    #[test]
    fn a_full_queue_drops_the_oldest_media_and_no_request() {
        let (queue, now) = (Queue::default(), Instant::now());
        let request = Writer::new(Class::Request, method::REFRESH, &[1; 12]).finish(None, false);
        queue.push(now, &request);
        for n in 0..=255 {
            queue.push(now, &audio(n));
        }
        let mut batch = Vec::new();
        queue.take(now, &mut batch);
        assert_eq!(batch[..request.len()], request);
        let last = &batch[request.len()..];
        assert_eq!((last.len() / 8, last[4], last[last.len() - 4]), (MAX_FRAMES - 1, 129, 255));
        assert_eq!(queue.dropped(), 129);
    }

    #[test]
    fn old_media_is_dropped_rather_than_delayed_and_a_request_is_late() {
        let (queue, now) = (Queue::default(), Instant::now());
        let request = Writer::new(Class::Request, method::REFRESH, &[1; 12]).finish(None, false);
        let indication = Writer::new(Class::Indication, method::SEND, &[1; 12]).finish(None, false);
        for frame in [&audio(1), &request, &indication] {
            queue.push(now, frame);
        }
        queue.push(now + Duration::from_millis(150), &audio(2));
        let mut batch = Vec::new();
        queue.take(now + Duration::from_millis(300), &mut batch);
        assert_eq!(batch[..request.len()], request);
        assert_eq!(batch[request.len() + 4], 2);
        assert_eq!(batch.len(), request.len() + 8);
    }
}
