//! What this machine plays, but for calls: the sound that goes with a shared screen.
//!
//! The monitor of a speaker would do, were it not for the friend's own voice, which is played there too and would come
//! back to the friend. So every program's stream is recorded by itself (PulseAudio: a record stream that is direct on
//! a sink input), and those of twocan are left out.

use std::collections::{BTreeMap, VecDeque};
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pulseaudio::protocol::{self, ChannelMap, RecordStreamParams, stream};

use super::{
    ANSWER_WITHIN, AudioError, Connection, FRAGMENT_BYTES, Guard, Pulse, Running, Stream, Take, flags, spec, tame, wait,
};
use crate::audio::paced::{Pace, STEP_SAMPLES};

/// The name under which every stream of ours is known to the server.
const OURS: &std::ffi::CStr = c"twocan";
/// How often the server is asked which programs play.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Programs that are heard at once; more are noise.
const MAX_INPUTS: usize = 16;
/// Samples of a program that wait before it is heard, and at most.
const READY: usize = 2 * STEP_SAMPLES;
const MOST: usize = 20 * STEP_SAMPLES;

/// One program's sound.
struct Input {
    queue: Arc<Mutex<VecDeque<f32>>>,
    ready: bool,
    running: Box<dyn Stream>,
}

/// See the module. Dropping it ends it.
pub(super) struct Playing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stream for Playing {
    fn alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the system's sound panicked");
        }
    }
}

impl Pulse {
    /// Gives what other programs play, mixed, in pieces of 10 ms at the pace of time, silence included.
    pub(super) fn playing(&self, take: Take) -> Result<Box<dyn Stream>, AudioError> {
        let pulse = Self { socket: self.socket.clone() };
        // That there is a server, and that it lets us look, is known before anything runs.
        pulse.others()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let run = move || {
            let (mut inputs, mut looked) = (BTreeMap::new(), None::<Instant>);
            let (mut pace, mut mix) = (Pace::new(), [0.0; STEP_SAMPLES]);
            while !stopped.load(Ordering::Acquire) {
                if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                    looked = Some(Instant::now());
                    pulse.look(&mut inputs);
                }
                mix.fill(0.0);
                inputs.values_mut().for_each(|input| input.add(&mut mix));
                mix.iter_mut().for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
                take(&mix);
                pace.wait();
            }
        };
        let thread = std::thread::Builder::new().name("system-sound".into()).spawn(run);
        let thread = thread.map_err(|error| AudioError::Refused(error.to_string()))?;
        Ok(Box::new(Playing { stop, thread: Some(thread) }))
    }

    /// Brings the inputs in line with what plays now.
    fn look(&self, inputs: &mut BTreeMap<u32, Input>) {
        let playing = match self.others() {
            Ok(playing) => playing,
            Err(error) => {
                tracing::debug!(%error, "cannot see what plays");
                Vec::new()
            }
        };
        inputs.retain(|index, input| playing.contains(index) && input.running.alive());
        for index in playing {
            if inputs.len() < MAX_INPUTS && !inputs.contains_key(&index) {
                match self.listen(index) {
                    Ok(input) => drop(inputs.insert(index, input)),
                    Err(error) => tracing::debug!(%error, "cannot hear a program"),
                }
            }
        }
    }

    /// Streams of other programs.
    fn others(&self) -> Result<Vec<u32>, AudioError> {
        let connection = self.connect()?;
        let clients = wait(connection.client.list_clients())?;
        let ours = |index: Option<u32>| {
            clients.iter().any(|client| Some(client.index) == index && client.name.as_c_str() == OURS)
        };
        let inputs = self.inputs().map_err(|error| AudioError::Refused(error.to_string()))?;
        Ok(inputs.iter().filter(|input| !ours(input.client_index)).map(|input| input.index).collect())
    }

    /// All playing streams. The crate's client cannot ask for them, so this speaks the protocol itself.
    fn inputs(&self) -> Result<protocol::SinkInputInfoList, Box<dyn std::error::Error>> {
        let path = self.socket.clone().or_else(pulseaudio::socket_path_from_env).ok_or("no socket found")?;
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        socket.set_write_timeout(Some(ANSWER_WITHIN))?;
        let mut socket = BufReader::new(socket);
        let cookie = pulseaudio::cookie_path_from_env().and_then(|path| std::fs::read(path).ok()).unwrap_or_default();
        let newest = protocol::MAX_VERSION;
        let auth = protocol::AuthParams { version: newest, supports_shm: false, supports_memfd: false, cookie };
        protocol::write_command_message(socket.get_mut(), 0, &protocol::Command::Auth(auth), newest)?;
        let (_, reply) = protocol::read_reply_message::<protocol::AuthReply>(&mut socket, newest)?;
        let version = newest.min(reply.version);
        let mut props = protocol::Props::new();
        props.set(protocol::Prop::ApplicationName, OURS);
        protocol::write_command_message(socket.get_mut(), 1, &protocol::Command::SetClientName(props), version)?;
        protocol::read_reply_message::<protocol::SetClientNameReply>(&mut socket, version)?;
        protocol::write_command_message(socket.get_mut(), 2, &protocol::Command::GetSinkInputInfoList, version)?;
        Ok(protocol::read_reply_message::<protocol::SinkInputInfoList>(&mut socket, version)?.1)
    }

    /// Records one program's stream.
    fn listen(&self, index: u32) -> Result<Input, AudioError> {
        let connection: Connection = self.connect()?;
        let params = RecordStreamParams {
            direct_on_input_index: Some(index),
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
        let queue = Arc::new(Mutex::new(VecDeque::new()));
        let into = queue.clone();
        let sink = move |bytes: &[u8]| {
            let _ = &guard;
            let mut queue = into.lock().unwrap_or_else(PoisonError::into_inner);
            queue.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| tame(f32::from_le_bytes(*bytes))));
            let excess = queue.len().saturating_sub(MOST);
            queue.drain(..excess);
        };
        let stream = wait(connection.client.create_record_stream(params, sink))?;
        let running = Box::new(Running { gone, _connection: connection, stream });
        Ok(Input { queue, ready: false, running })
    }
}

impl Input {
    /// Adds what comes next of this program.
    fn add(&mut self, mix: &mut [f32; STEP_SAMPLES]) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.ready = if self.ready { queue.len() >= STEP_SAMPLES } else { queue.len() >= READY };
        if self.ready {
            for (sum, sample) in mix.iter_mut().zip(queue.drain(..STEP_SAMPLES)) {
                *sum += sample;
            }
        }
    }
}
