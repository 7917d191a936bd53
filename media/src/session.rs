//! A session: one person's devices (or their file and synthetic twins) in one call, as encoded frames in and out.
//!
//! What flows where: source → encoder → [`Outgoing::Frame`], and [`Incoming::Frame`] → jitter buffer or decoder →
//! sink. The session owns all threads; dropping or [`Session::stop`]ping it ends them. Outgoing audio begins the moment
//! [`Incoming::Flow`] lets it, with sound that was captured just before, so that nothing waits for a device.

use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::audio::backend::{self, AudioBackend, AudioError, Stream};
use crate::audio::codec::CodecError;
use crate::audio::device::{Purpose, Report, Supervised};
use crate::audio::jitter::JitterStats;
use crate::audio::meter::Level;
use crate::audio::paced::{Paced, STEP_SAMPLES};
use crate::audio::source::SoundSource;
use crate::audio::wav::WavSink;
use crate::audio::{AudioSettings, AudioSink, AudioSource};
use crate::frame::{EncodedFrame, Kind};
use crate::record::{RecordError, Tap as RecordTap};
use crate::video::codec::PictureCodec;
use crate::video::{self, VideoSink, VideoSource};

mod codecs;
mod guidance;
mod processing;
mod recording;
mod report;
mod screen;
mod sound_out;
pub mod sync;
mod voice_in;
mod voice_out;

pub use codecs::Agreed;
pub use guidance::Guidance;
use processing::Processing;
use screen::Screens;
pub use screen::{ScreenOptions, Share, ShareSound};
use sync::PlayoutClock;
use voice_in::{Listener, VoiceIn};
use voice_out::VoiceOut;
pub use voice_out::VoiceOutStats;

/// What a session is made of.
#[derive(Debug)]
pub struct SessionConfig {
    /// Where my voice comes from.
    pub audio_in: AudioSource,
    /// Where the other's voice goes.
    pub audio_out: AudioSink,
    /// Start muted.
    pub muted: bool,
    /// Bitrate, frame length and the like of the audio encoder.
    pub audio: AudioSettings,
    /// Where my picture comes from; none sends no video (it can be added later by [`Session::set_video`]).
    pub video_in: Option<VideoSource>,
    /// Where the other's picture goes.
    pub video_out: VideoSink,
    /// Size, rate and bitrate limits of the video encoder.
    pub video: video::Settings,
    /// Shared screens, the other's and mine.
    pub screen: ScreenOptions,
}

/// What comes from the other side, and from the node in between, into a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// An encoded frame of the other side, in order of arrival.
    Frame(EncodedFrame),
    /// A stream's clock against the sender's: for lip sync.
    Clock {
        /// Which stream.
        stream: u16,
        /// RTP timestamp in ticks of that stream.
        timestamp: u32,
        /// The sender's clock at that timestamp, microseconds; only differences mean something.
        sender_us: u64,
    },
    /// The other side's decoder needs a key frame.
    KeyFrameRequest {
        /// Of which pictures: [`Kind::Video`] or [`Kind::Screen`].
        kind: Kind,
    },
    /// What the path carries, and how the other side receives.
    Feedback(Guidance),
    /// Which codecs were agreed.
    Agreed(Agreed),
    /// Send now, or stop. A session starts with both stopped.
    Flow {
        /// Whether audio frames go out.
        audio: bool,
        /// Whether video frames go out.
        video: bool,
        /// Whether frames of the shared screen and its sound go out.
        screen: bool,
    },
}

/// What a session gives out.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outgoing {
    /// An encoded frame for the other side.
    Frame(EncodedFrame),
    /// My decoder of that stream of the other side needs a key frame.
    NeedKeyFrame {
        /// Which stream.
        stream: u16,
    },
    /// About once a second: how the other's voice was played since the last report.
    Playout {
        /// Share of concealed audio, 0 to 1.
        concealed: f64,
        /// Mean delay in the jitter buffer, milliseconds.
        delay_ms: f64,
        /// Packets so far that came too late to be played.
        late: u64,
    },
    /// How a stream of pictures of the other side is shown ([`Session::report`]).
    Shown {
        /// Which stream.
        stream: u16,
        /// Pixels of the latest picture.
        width: u32,
        /// Pixels of the latest picture.
        height: u32,
        /// Pictures shown per second since the last report.
        frame_rate: f64,
        /// How often it froze so far.
        freezes: u64,
        /// For how long it was frozen so far, milliseconds.
        freeze_ms: u64,
        /// How much later than its voice the picture was shown lately, milliseconds.
        av_offset_ms: Option<f64>,
    },
    /// What an encoder of pictures makes ([`Session::report`]).
    Made {
        /// Which pictures: [`Kind::Video`] or [`Kind::Screen`].
        kind: Kind,
        /// Pixels of the latest picture.
        width: u32,
        /// Pixels of the latest picture.
        height: u32,
        /// Pictures per second that are aimed at.
        frame_rate: f64,
    },
    /// Something does not work; the call goes on without it.
    Problem(Problem),
    /// What did not work works again.
    Solved(Part),
    /// The recording ended, because its file cannot be written any more (a full disk). What is in it can be played.
    RecordingFailed(RecordError),
}

/// A part of a session that can fail by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Microphone, or what stands for it.
    AudioIn,
    /// Speaker, or what stands for it.
    AudioOut,
    /// Camera, or what stands for it.
    VideoIn,
    /// Where the friend's picture is shown, or what stands for it.
    VideoOut,
    /// The shared screen.
    ScreenIn,
    /// The sound that goes with it.
    ScreenSound,
    /// Where the friend's shared screen is shown.
    ScreenOut,
}

/// Why a part of the session does not work now, in words for the person in the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which part.
    pub part: Part,
    /// What is wrong and what to do, one sentence.
    pub text: String,
    /// Whether the session itself keeps trying (a device that went away), or gave up.
    pub retrying: bool,
}

/// Where the threads of a session put what leaves it. It must not block for long (encoders wait for it), and it must
/// not call the session, nor drop it: pass on and return.
pub type Out = Arc<dyn Fn(Outgoing) + Send + Sync>;

/// Frames that wait between a session and a slow owner ([`Session::start`]): two seconds of a video call. Then frames
/// are dropped and counted.
pub const OUT_QUEUE: usize = 256;

/// Why a session cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Sound: a file that is no WAV file, or cannot be written. A missing device is no reason: it is a
    /// [`Outgoing::Problem`], and the call goes on.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// The codec refuses its settings.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Picture: a file that is none, or cannot be written.
    #[error(transparent)]
    Video(#[from] video::Error),
    /// Two sound devices cannot play at once.
    #[error("only one of the sinks for sound can be a device")]
    TwoDevices,
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// How loud it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Levels {
    /// What I say (also while muted).
    pub input: Level,
    /// What I hear.
    pub output: Level,
}

/// What happened so far; counts only grow.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Voice that went out.
    pub voice_out: VoiceOutStats,
    /// Voice that came in: lost, concealed, delay.
    pub voice_in: JitterStats,
    /// Picture that went out, while there is a source.
    pub video_out: Option<video::SenderStats>,
    /// Picture that came in.
    pub video_in: video::ReceiverStats,
    /// Shared screen that went out, while there is one.
    pub screen_out: Option<video::SenderStats>,
    /// Shared screen that came in, since it is shown.
    pub screen_in: Option<video::ReceiverStats>,
}

/// A running session. Dropping it stops it; never drop it inside the [`Out`] function.
pub struct Session {
    voice_out: Arc<VoiceOut>,
    processing: Arc<Processing>,
    voice_in: Arc<VoiceIn>,
    clock: Arc<PlayoutClock>,
    /// What drives capture and playback; stopped first.
    microphone: Mutex<Option<Driver>>,
    speaker: Mutex<Option<Driver>>,
    system: Arc<dyn AudioBackend>,
    picture_in: video::Receiver,
    picture_out: Mutex<PictureOut>,
    video_settings: video::Settings,
    screens: Mutex<Screens>,
    reported: Mutex<report::Reported>,
    record: Arc<RecordTap>,
    out: Out,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// Held only so that dropping it stops it.
enum Driver {
    Paced { _running: Paced },
    Device { _running: Supervised },
    Stream { _running: Box<dyn Stream> },
}

#[derive(Default)]
struct PictureOut {
    sender: Option<video::Sender>,
    source: Option<VideoSource>,
    flowing: bool,
    bitrate: Option<u32>,
    /// The path is too narrow for it, and that was told.
    narrow: bool,
    /// What it is encoded in.
    codec: PictureCodec,
    /// The friend takes nothing that we make.
    refused: bool,
}

impl Session {
    /// Starts everything; what leaves it comes out of the channel. If that is full, frames are dropped.
    pub fn start(config: SessionConfig) -> Result<(Self, Receiver<Outgoing>), SessionError> {
        let (tx, rx) = sync_channel(OUT_QUEUE);
        let out: Out = Arc::new(move |outgoing| {
            if let Err(TrySendError::Full(_)) = tx.try_send(outgoing) {
                tracing::debug!("nobody takes what the session gives out");
            }
        });
        Ok((Self::start_with(config, out)?, rx))
    }

    /// Starts everything; `out` is called with what leaves it, from the session's threads.
    pub fn start_with(config: SessionConfig, out: Out) -> Result<Self, SessionError> {
        Self::start_on(config, out, &backend::system())
    }

    /// Like [`Self::start_with`], on this sound system instead of the machine's own.
    pub fn start_on(config: SessionConfig, out: Out, system: &Arc<dyn AudioBackend>) -> Result<Self, SessionError> {
        // What can be wrong with files is found out before anything runs.
        let source = SoundSource::open(&config.audio_in).map_err(AudioError::from)?;
        let (speaker, listeners) = open_sinks(&config.audio_out)?;
        let record = Arc::new(RecordTap::default());
        let out = recording::through(out, Arc::clone(&record));
        let clock = Arc::new(PlayoutClock::default());
        let voice_out = Arc::new(VoiceOut::new(&config.audio, config.muted, out.clone())?);
        let processing = Arc::new(Processing::new(config.audio.processing, voice_out.clone()));
        let voice_in = Arc::new(VoiceIn::new(listeners, clock.clone(), out.clone()));
        let present = {
            let clock = clock.clone();
            Arc::new(move |stream, timestamp| clock.present_at(crate::now_ns(), stream, timestamp))
        };
        let picture_in = video::Receiver::start(config.video_out, present, out.clone())?;
        let microphone = Mutex::new(Some(capture(source, processing.clone(), &out, system)?));
        let speaker = Mutex::new(Some(playback(speaker, voice_in.clone(), processing.clone(), &out, system)?));
        let session = Self {
            voice_out,
            processing,
            voice_in,
            clock,
            microphone,
            speaker,
            system: system.clone(),
            picture_in,
            picture_out: Mutex::default(),
            video_settings: config.video,
            screens: Mutex::new(Screens::new(config.screen)),
            reported: Mutex::default(),
            record,
            out,
        };
        session.set_video(config.video_in)?;
        Ok(session)
    }

    /// Hands in what came. Never blocks for long.
    pub fn incoming(&self, incoming: Incoming) {
        if let Incoming::Frame(frame) = &incoming {
            self.record.pass(false, frame);
        }
        match incoming {
            Incoming::Frame(frame) if !frame.kind.is_picture() => self.voice_in.push(frame),
            Incoming::Frame(frame) if frame.kind == Kind::Video => self.picture_in.push(frame),
            frame @ Incoming::Frame(_) => Self::screen_incoming(&self.screens, frame, &self.out),
            Incoming::Clock { stream, timestamp, sender_us } => self.clock.tie(stream, timestamp, sender_us),
            Incoming::KeyFrameRequest { kind: Kind::Video } => {
                if let Some(sender) = &self.picture_out().sender {
                    sender.request_key();
                }
            }
            request @ Incoming::KeyFrameRequest { .. } => Self::screen_incoming(&self.screens, request, &self.out),
            Incoming::Feedback(guidance) => self.guided(&guidance),
            Incoming::Agreed(agreed) => self.agreed(agreed),
            Incoming::Flow { audio, video, screen } => {
                self.voice_out.set_flow(audio);
                lock(&self.screens).set_flow(screen);
                let mut picture = self.picture_out();
                picture.flowing = video;
                if let Some(sender) = &picture.sender {
                    sender.set_on(video && !picture.refused);
                }
            }
        }
    }

    /// Muted people send silence, so that the call sees that they are there.
    pub fn set_muted(&self, muted: bool) {
        self.voice_out.set_muted(muted);
    }

    /// Whether muted.
    #[must_use]
    pub fn muted(&self) -> bool {
        self.voice_out.muted()
    }

    /// Takes the voice from somewhere else from now on, without a pause in the packets. An error leaves it as it was.
    pub fn set_microphone(&self, source: &AudioSource) -> Result<(), SessionError> {
        let source = SoundSource::open(source).map_err(AudioError::from)?;
        let mut microphone = lock(&self.microphone);
        // The old device closes first: it may be the same one.
        microphone.take();
        *microphone = Some(capture(source, self.processing.clone(), &self.out, &self.system)?);
        Ok(())
    }

    /// Plays on this device from now on (its name, or the default), or on none. Files and taps hear on.
    pub fn set_speaker(&self, device: Option<Option<String>>) -> Result<(), SessionError> {
        let mut speaker = lock(&self.speaker);
        speaker.take();
        *speaker = Some(playback(device, self.voice_in.clone(), self.processing.clone(), &self.out, &self.system)?);
        Ok(())
    }

    /// Sends the picture of this source from now on, or none. The stream goes on where the old source left it: same
    /// clock, a key frame first. An error leaves the picture as it was, or off if both sources are one camera.
    pub fn set_video(&self, source: Option<VideoSource>) -> Result<(), SessionError> {
        let Some(source) = source else {
            let old = self.picture_out().sender.take();
            drop(old);
            return Ok(());
        };
        let closed_first = {
            let mut picture = self.picture_out();
            let same = picture.source.as_ref().is_some_and(|old| old.excludes(&source));
            if same { picture.sender.take() } else { None }
        };
        drop(closed_first);
        let codec = self.picture_out().codec.clone();
        let sender = video::Sender::start(source.clone(), self.video_settings.clone(), codec, self.out.clone())?;
        // The old one ends before the new one begins: their frames must not mix.
        let old = self.picture_out().sender.take();
        drop(old);
        let mut picture = self.picture_out();
        if let Some(bitrate) = picture.bitrate {
            sender.set_bitrate(bitrate);
        }
        // What was agreed while the source was opened.
        sender.set_codec(picture.codec.clone());
        sender.set_on(picture.flowing && !picture.refused);
        picture.sender = Some(sender);
        picture.source = Some(source);
        let refused = picture.refused;
        drop(picture);
        self.tell_refused(refused, Part::VideoIn);
        Ok(())
    }

    /// A look at the own picture, if there is one.
    #[must_use]
    pub fn preview(&self) -> Option<video::Tap> {
        self.picture_out().sender.as_ref().map(video::Sender::preview)
    }

    /// How loud it is now.
    #[must_use]
    pub fn levels(&self) -> Levels {
        Levels { input: self.processing.level(), output: self.voice_in.level() }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (screen_out, screen_in) = lock(&self.screens).stats();
        Stats {
            screen_out,
            screen_in,
            voice_out: self.voice_out.stats(),
            voice_in: self.voice_in.stats(),
            video_out: self.picture_out().sender.as_ref().map(video::Sender::stats),
            video_in: self.picture_in.stats(),
        }
    }

    /// Ends everything, completes files, and says how it went.
    pub fn stop(self) -> Stats {
        self.stats()
    }

    fn picture_out(&self) -> std::sync::MutexGuard<'_, PictureOut> {
        lock(&self.picture_out)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Session {
    fn drop(&mut self) {
        self.voice_out.set_flow(false);
        lock(&self.microphone).take();
        // Its threads may be waiting for the lock: they end outside of it.
        let mut screens = std::mem::take(&mut *lock(&self.screens));
        screens.finish();
        drop(screens);
        lock(&self.speaker).take();
        self.voice_in.finish();
        self.record.stop();
    }
}

/// Tells the owner when a device breaks and when it works again.
fn report(part: Part, out: &Out) -> Report {
    let out = out.clone();
    Arc::new(move |trouble| {
        out(match trouble {
            Some(error) => Outgoing::Problem(Problem { part, text: error.to_string(), retrying: true }),
            None => Outgoing::Solved(part),
        });
    })
}

fn capture(
    source: SoundSource,
    voice: Arc<Processing>,
    out: &Out,
    system: &Arc<dyn AudioBackend>,
) -> Result<Driver, SessionError> {
    voice.set_source(matches!(source, SoundSource::Device(_)));
    let mut source = match source {
        SoundSource::Device(device) => {
            let take = Arc::new(move |samples: &[f32]| voice.captured(samples));
            let report = report(Part::AudioIn, out);
            let running = Supervised::start(system.clone(), device, Purpose::Capture(take), report)?;
            return Ok(Driver::Device { _running: running });
        }
        other => other,
    };
    // A source without a clock of its own begins with a whole frame, so that sending can begin at once.
    let mut piece = vec![0.0; 2 * STEP_SAMPLES];
    let work = move |_| {
        source.fill(&mut piece);
        voice.captured(&piece);
        piece.truncate(STEP_SAMPLES);
    };
    Ok(Driver::Paced { _running: Paced::start("sound-in", work)? })
}

fn playback(
    speaker: Option<Option<String>>,
    voice: Arc<VoiceIn>,
    processing: Arc<Processing>,
    out: &Out,
    system: &Arc<dyn AudioBackend>,
) -> Result<Driver, SessionError> {
    if let Some(device) = speaker {
        let fill = Arc::new(move |samples: &mut [f32], latency| {
            voice.fill(samples, latency);
            processing.played(samples);
        });
        let report = report(Part::AudioOut, out);
        let running = Supervised::start(system.clone(), device, Purpose::Playback(fill), report)?;
        return Ok(Driver::Device { _running: running });
    }
    let mut scratch = [0.0; STEP_SAMPLES];
    let work = move |_| voice.fill(&mut scratch, std::time::Duration::ZERO);
    Ok(Driver::Paced { _running: Paced::start("sound-out", work)? })
}

/// The device among the sinks (if any: its name, if it has one), and everything else that listens.
fn open_sinks(sink: &AudioSink) -> Result<(Option<Option<String>>, Vec<Listener>), SessionError> {
    let (mut device, mut listeners) = (None, Vec::new());
    let mut todo = vec![sink];
    while let Some(sink) = todo.pop() {
        match sink {
            AudioSink::Device(_) if device.is_some() => return Err(SessionError::TwoDevices),
            AudioSink::Device(name) => device = Some(name.clone()),
            AudioSink::Wav(path) => {
                listeners.push(Listener::Wav(Some(WavSink::create(path).map_err(AudioError::from)?)));
            }
            AudioSink::Null => {}
            AudioSink::Tap(tap) => listeners.push(Listener::Tap(tap.clone())),
            AudioSink::Both(a, b) => todo.extend([&**b, &**a]),
        }
    }
    Ok((device, listeners))
}

#[cfg(test)]
mod tests;
