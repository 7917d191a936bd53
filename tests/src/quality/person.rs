//! One person of a measured call: a real session, whose mouth, ears and eyes are watched with times of one clock.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use twocan_cli::bridge::{Counters, Voice};
use twocan_cli::live::seat::Seat;
use twocan_control::{Client, SeatedCall};
use twocan_media::audio::{AudioSettings, AudioSink, AudioSource, CaptureTap};
use twocan_media::measure::SoundLog;
use twocan_media::session::{ScreenOptions, Session, SessionConfig, Stats};
use twocan_media::video::moving::Tag;
use twocan_media::video::{self, Picture, VideoSink, VideoSource};

/// One in so many pictures is kept to be compared.
const KEEP_EVERY: u64 = 8;
/// So many are kept at most: at 640x360 60 MB.
const KEEP: usize = 180;

/// What a person sends.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The voice.
    pub voice: AudioSource,
    /// The picture: chosen by a seed, and its size; none: no picture is sent.
    pub picture: Option<(u64, video::Settings)>,
    /// Pictures from a file instead of the drawn ones, so that drawing them costs nothing.
    pub film: Option<PathBuf>,
    /// Whether what comes in is watched; else it goes to nobody.
    pub watched: bool,
}

/// A picture that was shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When, ns.
    pub at_ns: u64,
    /// What it says of itself.
    pub tag: Option<Tag>,
    /// Its size.
    pub size: (u32, u32),
    /// Itself, of some.
    pub picture: Option<Arc<Picture>>,
}

#[derive(Debug, Default)]
struct Watched {
    said: Mutex<SoundLog>,
    heard: Mutex<SoundLog>,
    shown: Mutex<Vec<Shown>>,
    kept: AtomicU64,
    keeping: AtomicU64,
}

/// A person in a call. The session ends when this is dropped.
#[derive(Debug)]
pub struct Person {
    session: Arc<Session>,
    voice: Option<Voice>,
    media: Option<JoinHandle<Result<(), twocan_cli::Failure>>>,
    watched: Arc<Watched>,
}

/// What was noted of a person.
#[derive(Debug)]
pub struct Notes {
    /// What entered the encoder.
    pub said: SoundLog,
    /// What left the jitter buffer.
    pub heard: SoundLog,
    /// What was shown.
    pub shown: Vec<Shown>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Person {
    /// Starts the session.
    ///
    /// # Errors
    /// A file that cannot be played.
    pub fn start(plan: &Plan) -> Result<Self> {
        let watched = Arc::new(Watched::default());
        let (said, heard, seen) = (Arc::clone(&watched), Arc::clone(&watched), Arc::clone(&watched));
        let mouth = CaptureTap(Arc::new(move |at, samples: &[f32]| lock(&said.said).push(at, samples)));
        let ear = AudioSink::Tap(Arc::new(move |at, samples: &[f32]| lock(&heard.heard).push(at, samples)));
        let eye = video::Tap::watched(move |picture: &Arc<Picture>, at| seen.show(at, picture));
        let settings = plan.picture.as_ref().map(|(_, settings)| settings.clone()).unwrap_or_default();
        let source = match (&plan.film, &plan.picture) {
            (Some(film), Some(_)) => Some(VideoSource::Y4m(film.clone())),
            (_, Some((seed, _))) => Some(VideoSource::Moving { seed: *seed }),
            (_, None) => None,
        };
        let voice = Voice::start(SessionConfig {
            audio_in: plan.voice.clone(),
            audio_out: if plan.watched { ear } else { AudioSink::Null },
            muted: false,
            audio: AudioSettings { capture_tap: plan.watched.then_some(mouth), ..AudioSettings::default() },
            video_in: source,
            video_out: if plan.watched { VideoSink::Tap(eye) } else { VideoSink::Null },
            video: settings,
            screen: ScreenOptions::default(),
        })
        .context("the session does not start")?;
        Ok(Self { session: Arc::clone(&voice.session), voice: Some(voice), media: None, watched })
    }

    /// Takes the seat of a call; media flow from now on, once the call is answered.
    ///
    /// # Errors
    /// The person sits in a call already.
    pub fn sit(&mut self, api: &Client, seated: SeatedCall) -> Result<()> {
        let voice = self.voice.take().context("a person sits in one call only")?;
        let seat = Seat { node: api.clone(), call: seated.call.id, token: seated.seat };
        // Nobody listens to notes; problems show in the numbers.
        let (notes, _) = mpsc::channel(1);
        self.media = Some(tokio::spawn(seat.keep(voice, notes, Arc::<Counters>::default())));
        Ok(())
    }

    /// When the first sound was heard, ns.
    #[must_use]
    pub fn first_sound_ns(&self) -> Option<u64> {
        lock(&self.watched.heard).first_sound_ns()
    }

    /// The session's own counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.session.stats()
    }

    /// Keeps some of the pictures from now on.
    pub fn keep_pictures(&self) {
        self.watched.keeping.store(1, Ordering::Relaxed);
    }

    /// What was noted; ends the session.
    pub async fn finish(mut self) -> Notes {
        if let Some(mut media) = self.media.take()
            && tokio::time::timeout(std::time::Duration::from_secs(2), &mut media).await.is_err()
        {
            media.abort();
        }
        Notes {
            said: std::mem::take(&mut *lock(&self.watched.said)),
            heard: std::mem::take(&mut *lock(&self.watched.heard)),
            shown: std::mem::take(&mut *lock(&self.watched.shown)),
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if let Some(media) = self.media.take() {
            media.abort();
        }
    }
}

impl Watched {
    fn show(&self, at_ns: u64, picture: &Arc<Picture>) {
        let mut shown = lock(&self.shown);
        let keep = self.keeping.load(Ordering::Relaxed) == 1
            && (shown.len() as u64).is_multiple_of(KEEP_EVERY)
            && self.kept.load(Ordering::Relaxed) < KEEP as u64;
        if keep {
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
        shown.push(Shown {
            at_ns,
            tag: Tag::read(picture),
            size: (picture.width(), picture.height()),
            picture: keep.then(|| Arc::clone(picture)),
        });
    }
}
