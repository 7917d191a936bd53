//! Linux sound: the PulseAudio protocol, spoken in pure Rust; PipeWire speaks it, too.
//!
//! One connection per stream, so that capture never waits for playback. Buffers are asked for as small as a call needs
//! (without `adjust_latency` and a buffer size the server keeps whole seconds). The crate's client ends its thread when
//! the server goes and then drops our callbacks, which is how a stream here learns that it is dead. The crate logs an
//! error then, also when it is us who end the connection: whoever prints logs should leave `pulseaudio` out.

mod playing;

use std::ffi::CString;
use std::future::Future;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use pulseaudio::protocol::{
    ChannelMap, ChannelVolume, PlaybackStreamParams, RecordStreamParams, SampleFormat, SampleSpec, stream,
};
use pulseaudio::{AsPlaybackSource, Client, ClientError};

use super::SAMPLE_RATE;
use super::backend::{AudioBackend, AudioError, Device, Fill, Stream, Take};

/// Captured sound comes in pieces of 10 ms.
const FRAGMENT_BYTES: u32 = 480 * 4;
/// The server holds 20 ms of ours, and asks for 10 ms at a time.
const TARGET_BYTES: u32 = 960 * 4;
/// How long the server may take to answer a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Longest piece that is asked of us in one go: more is a server that wants seconds, and gets them in parts.
const MAX_FILL: usize = 48_000;

/// A PulseAudio or PipeWire server.
#[derive(Debug)]
pub struct Pulse {
    socket: Option<PathBuf>,
}

impl Pulse {
    /// The server that the environment names (`PULSE_SERVER`, `PULSE_RUNTIME_PATH`, `XDG_RUNTIME_DIR`), asked for at
    /// each use.
    #[must_use]
    pub fn from_env() -> Self {
        Self { socket: None }
    }

    /// The server behind this socket.
    #[must_use]
    pub fn at(socket: PathBuf) -> Self {
        Self { socket: Some(socket) }
    }

    fn connect(&self) -> Result<Connection, AudioError> {
        let missing = |what: &str| AudioError::NoServer(what.to_owned());
        let path = match &self.socket {
            Some(path) => path.clone(),
            None => pulseaudio::socket_path_from_env().ok_or_else(|| missing("no socket found"))?,
        };
        let socket = UnixStream::connect(&path).map_err(|error| missing(&format!("{}: {error}", path.display())))?;
        // The handshake blocks; a server that hangs must not hang the call. The reactor makes it non-blocking after.
        let limits = socket.set_read_timeout(Some(ANSWER_WITHIN)).and(socket.set_write_timeout(Some(ANSWER_WITHIN)));
        limits.map_err(|error| missing(&error.to_string()))?;
        let cookie = pulseaudio::cookie_path_from_env().and_then(|path| std::fs::read(path).ok());
        let end = socket.try_clone().map_err(|error| missing(&error.to_string()))?;
        let client = Client::new_unix(c"twocan", socket, cookie).map_err(client_error)?;
        Ok(Connection { client, end })
    }
}

fn client_error(error: ClientError) -> AudioError {
    match error {
        ClientError::ServerUnavailable | ClientError::Disconnected | ClientError::Io(_) => {
            AudioError::NoServer(error.to_string())
        }
        other => AudioError::Refused(other.to_string()),
    }
}

/// Waits for an answer of the server, but not forever.
fn wait<F, T>(future: F) -> Result<T, AudioError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let deadline = Instant::now() + ANSWER_WITHIN;
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result.map_err(client_error);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(AudioError::Timeout);
        }
        std::thread::park_timeout(left);
    }
}

fn c_string(text: &str) -> Option<CString> {
    CString::new(text).ok()
}

const fn spec() -> SampleSpec {
    SampleSpec { format: SampleFormat::Float32Le, channels: 1, sample_rate: SAMPLE_RATE }
}

fn flags() -> stream::StreamFlags {
    stream::StreamFlags { adjust_latency: true, ..Default::default() }
}

/// Sets a flag when dropped: rides inside a callback and so learns that the callback is gone.
struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A connection that ends when dropped. The crate's own client leaves its thread and the server's end behind, until
/// either side says something; shutting the socket down ends both.
struct Connection {
    client: Client,
    end: UnixStream,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Err(error) = self.end.shutdown(std::net::Shutdown::Both) {
            tracing::debug!(%error, "the connection to the sound server was gone already");
        }
    }
}

/// A stream, held together with the connection under it.
struct Running<S: Send> {
    gone: Arc<AtomicBool>,
    _connection: Connection,
    stream: S,
}

impl<S: Send + Known> Stream for Running<S> {
    fn alive(&self) -> bool {
        !self.gone.load(Ordering::Acquire)
    }

    fn still_there(&self) -> bool {
        self.alive() && self.stream.known()
    }
}

/// What can be asked whether the server still knows it: the crate does not pass on that the server killed a stream.
trait Known {
    fn known(&self) -> bool;
}

impl Known for pulseaudio::RecordStream {
    fn known(&self) -> bool {
        wait(self.timing_info()).is_ok()
    }
}

impl Known for pulseaudio::PlaybackStream {
    fn known(&self) -> bool {
        wait(self.timing_info()).is_ok()
    }
}

impl AudioBackend for Pulse {
    fn name(&self) -> &'static str {
        "PulseAudio or PipeWire"
    }

    fn devices(&self) -> Result<Vec<Device>, AudioError> {
        let connection = self.connect()?;
        let client = &connection.client;
        let info = wait(client.server_info())?;
        let text = |text: &CString| text.to_string_lossy().into_owned();
        let mut devices: Vec<Device> = wait(client.list_sources())?
            .iter()
            .map(|source| Device {
                id: text(&source.name),
                name: source.description.as_ref().map_or_else(|| text(&source.name), text),
                input: true,
                default: info.default_source_name.as_ref() == Some(&source.name),
                monitor: source.monitor_of_sink_index.is_some(),
            })
            .collect();
        devices.extend(wait(client.list_sinks())?.iter().map(|sink| Device {
            id: text(&sink.name),
            name: sink.description.as_ref().map_or_else(|| text(&sink.name), text),
            input: false,
            default: info.default_sink_name.as_ref() == Some(&sink.name),
            monitor: false,
        }));
        devices.sort_by_key(|device| !device.default);
        Ok(devices)
    }

    fn capture(&self, device: Option<&str>, take: Take) -> Result<Box<dyn Stream>, AudioError> {
        let connection = self.connect()?;
        let client = &connection.client;
        let missing = || AudioError::NoDevice { kind: "microphone", name: device.map(str::to_owned) };
        let name = match device {
            Some(name) => {
                let name = c_string(name).ok_or_else(missing)?;
                wait(client.lookup_source_by_name(name.clone())).map_err(|_| missing())?;
                Some(name)
            }
            None => {
                if wait(client.list_sources())?.is_empty() {
                    return Err(missing());
                }
                None
            }
        };
        let params = RecordStreamParams {
            source_name: name,
            sample_spec: spec(),
            channel_map: ChannelMap::mono(),
            buffer_attr: stream::BufferAttr {
                max_length: u32::MAX,
                target_length: u32::MAX,
                pre_buffering: u32::MAX,
                minimum_request_length: u32::MAX,
                fragment_size: FRAGMENT_BYTES,
            },
            flags: flags(),
            ..Default::default()
        };
        let gone = Arc::new(AtomicBool::new(false));
        let guard = Guard(gone.clone());
        let mut samples = Vec::with_capacity(960);
        let sink = move |bytes: &[u8]| {
            let _ = &guard;
            samples.clear();
            samples.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| tame(f32::from_le_bytes(*bytes))));
            take(&samples);
        };
        let stream = wait(client.create_record_stream(params, sink))?;
        tracing::debug!(buffer = ?stream.buffer_attr(), "capture runs");
        Ok(Box::new(Running { gone, _connection: connection, stream }))
    }

    fn capture_playing(&self, take: Take) -> Result<Box<dyn Stream>, AudioError> {
        self.playing(take)
    }

    fn playback(&self, device: Option<&str>, fill: Fill) -> Result<Box<dyn Stream>, AudioError> {
        let connection = self.connect()?;
        let client = &connection.client;
        let missing = || AudioError::NoDevice { kind: "speaker", name: device.map(str::to_owned) };
        let name = match device {
            Some(name) => {
                let name = c_string(name).ok_or_else(missing)?;
                wait(client.lookup_sink_by_name(name.clone())).map_err(|_| missing())?;
                Some(name)
            }
            None => {
                if wait(client.list_sinks())?.is_empty() {
                    return Err(missing());
                }
                None
            }
        };
        let params = PlaybackStreamParams {
            sink_name: name,
            sample_spec: spec(),
            channel_map: ChannelMap::mono(),
            cvolume: Some(ChannelVolume::norm(1)),
            buffer_attr: stream::BufferAttr {
                max_length: u32::MAX,
                target_length: TARGET_BYTES,
                pre_buffering: TARGET_BYTES / 2,
                minimum_request_length: TARGET_BYTES / 2,
                fragment_size: u32::MAX,
            },
            flags: flags(),
            ..Default::default()
        };
        let gone = Arc::new(AtomicBool::new(false));
        let guard = Guard(gone.clone());
        // What is asked for now is heard after what the server holds of ours.
        let latency = Duration::from_micros(u64::from(TARGET_BYTES / 4) * 1_000_000 / u64::from(SAMPLE_RATE));
        let mut samples = Vec::with_capacity(960);
        let source = move |bytes: &mut [u8]| {
            let _ = &guard;
            let (slots, _) = bytes.as_chunks_mut::<4>();
            for part in slots.chunks_mut(MAX_FILL) {
                samples.clear();
                samples.resize(part.len(), 0.0);
                fill(&mut samples, latency);
                for (slot, sample) in part.iter_mut().zip(&samples) {
                    *slot = sample.to_le_bytes();
                }
            }
            // Nothing written would end the stream.
            slots.len() * 4
        };
        let stream = wait(client.create_playback_stream(params, source.as_playback_source()))?;
        tracing::debug!(buffer = ?stream.buffer_attr(), "playback runs");
        Ok(Box::new(Running { gone, _connection: connection, stream }))
    }
}

/// Samples of a device are sound, whatever a driver puts there.
fn tame(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}
