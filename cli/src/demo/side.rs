//! One person in a call of the demo: a real session with synthetic (or file) sources, watched at both ends.
//!
//! What enters the encoder's queue and what leaves the jitter buffer is logged with times; of the pictures shown, the
//! first is timed and a few are kept to be compared after the call, so that measuring does not disturb what it measures.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use twocan_media::audio::meter::Level;
use twocan_media::audio::{AudioSettings, AudioSink, AudioSource, CaptureTap};
use twocan_media::measure::{AUDIBLE_DB, SoundLog};
use twocan_media::now_ns;
use twocan_media::session::{ScreenOptions, Session, SessionConfig};
use twocan_media::video::{self, Picture, VideoSink, VideoSource};

use crate::bridge::{Counters, Voice};
use crate::exit::Failure;
use crate::live::options::unusable;

/// One in so many pictures is kept to be compared: two a second at 30 a second.
const KEEP_EVERY: u64 = 15;
/// So many are kept at most: 20 seconds, 14 MB at 640x360. Later ones are not compared.
const KEEP: usize = 40;
/// Sound this old is the present: two capture pieces.
const PRESENT_NS: u64 = 25_000_000;

/// What one person sends, and where what comes in is left.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Chooses voice and picture.
    pub seed: u64,
    /// Whether pictures are sent and wanted.
    pub video: bool,
    /// Sound from a file instead.
    pub audio_in: Option<PathBuf>,
    /// Picture from a file instead.
    pub video_in: Option<PathBuf>,
    /// A WAV file for what was heard.
    pub heard: Option<PathBuf>,
}

/// A person in a call.
#[derive(Debug)]
pub struct Side {
    /// The session; taken out when the seat's media begin.
    pub voice: Option<Voice>,
    /// Frames to and from the node.
    pub counters: Arc<Counters>,
    session: Arc<Session>,
    watched: Arc<Watched>,
    seed: u64,
}

#[derive(Debug, Default)]
struct Watched {
    sent: Mutex<SoundLog>,
    received: Mutex<SoundLog>,
    pictures: Mutex<Pictures>,
    last_said_ns: AtomicU64,
}

/// Pictures that were shown.
#[derive(Debug, Default)]
pub struct Pictures {
    /// When the first was shown.
    pub first_ns: Option<u64>,
    /// How many were.
    pub shown: u64,
    /// Some of them, with their times.
    pub kept: Vec<(u64, Arc<Picture>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Side {
    /// Starts the person's session.
    ///
    /// # Errors
    /// A file that cannot be played.
    pub fn start(plan: &Plan) -> Result<Self, Failure> {
        let watched = Arc::new(Watched::default());
        let (said, heard, seen) = (Arc::clone(&watched), Arc::clone(&watched), Arc::clone(&watched));
        let capture = CaptureTap(Arc::new(move |at, samples: &[f32]| {
            lock(&said.sent).push(at, samples);
            if Level::of(samples).rms_db > AUDIBLE_DB + 10.0 {
                said.last_said_ns.store(now_ns(), Ordering::Relaxed);
            }
        }));
        let ear = AudioSink::Tap(Arc::new(move |at, samples: &[f32]| lock(&heard.received).push(at, samples)));
        let eye = video::Tap::watched(move |picture: &Arc<Picture>, at| lock(&seen.pictures).show(at, picture));
        let audio_in = match &plan.audio_in {
            Some(path) => AudioSource::Wav { path: path.clone(), repeat: true },
            None => AudioSource::Speech { seed: plan.seed },
        };
        let video_in = match &plan.video_in {
            Some(path) => {
                VideoSource::file(path).map_err(|error| Failure::new(crate::Exit::Media, error.to_string()))?
            }
            None => VideoSource::Moving { seed: plan.seed },
        };
        let voice = Voice::start(SessionConfig {
            audio_in,
            audio_out: match &plan.heard {
                Some(path) => AudioSink::Both(Box::new(ear), Box::new(AudioSink::Wav(path.clone()))),
                None => ear,
            },
            muted: false,
            audio: AudioSettings { capture_tap: Some(capture), ..AudioSettings::default() },
            video_in: plan.video.then_some(video_in),
            video_out: if plan.video { VideoSink::Tap(eye) } else { VideoSink::Null },
            video: video::Settings::default(),
            screen: ScreenOptions::default(),
        })
        .map_err(|error| unusable(&error))?;
        let session = Arc::clone(&voice.session);
        Ok(Self { voice: Some(voice), session, counters: Arc::default(), watched, seed: plan.seed })
    }

    /// Whether the person says something just now.
    pub fn speaks(&self) -> bool {
        now_ns().saturating_sub(self.watched.last_said_ns.load(Ordering::Relaxed)) < PRESENT_NS
    }

    /// When the first audible sound of the friend was played.
    pub fn first_sound_ns(&self) -> Option<u64> {
        lock(&self.watched.received).first_sound_ns()
    }

    /// When the friend's first picture was shown.
    pub fn first_picture_ns(&self) -> Option<u64> {
        lock(&self.watched.pictures).first_ns
    }

    /// Sound that had to be made up because none came, in packets of 20 ms, rounded up.
    pub fn concealed(&self) -> u64 {
        self.session.stats().voice_in.concealed.div_ceil(960)
    }

    /// What was said and heard, and the pictures seen; leaves nothing behind.
    pub fn take(&self) -> (SoundLog, SoundLog, Pictures) {
        let taken = &self.watched;
        (
            std::mem::take(&mut *lock(&taken.sent)),
            std::mem::take(&mut *lock(&taken.received)),
            std::mem::take(&mut *lock(&taken.pictures)),
        )
    }

    /// The seed of what this person sends.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl Pictures {
    fn show(&mut self, at: u64, picture: &Arc<Picture>) {
        self.first_ns.get_or_insert(at);
        if self.shown.is_multiple_of(KEEP_EVERY) && self.kept.len() < KEEP {
            self.kept.push((at, Arc::clone(picture)));
        }
        self.shown += 1;
    }

    /// Writes the last kept picture as a PNG; false if there is none.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<bool, Failure> {
        let Some((_, picture)) = self.kept.last() else { return Ok(false) };
        let written =
            std::fs::File::create(path).and_then(|file| video::write_png(picture, std::io::BufWriter::new(file)));
        written.map(|()| true).map_err(|error| Failure::file(path, "write", &error))
    }

    /// Median PSNR in dB against what a synthetic source of `seed` sent; none if the pictures carry no tag.
    pub fn psnr_db(&self, seed: u64) -> Option<f64> {
        let size = video::Settings::default();
        let meter = video::measure::Meter::new(size.width, size.height, seed).ok()?;
        let measured = self.kept.iter().filter_map(|(at, picture)| meter.measure(picture, *at));
        super::numbers::median(&measured.map(|one| one.psnr_db).collect::<Vec<f64>>())
    }
}
