//! The sound and picture of one call: a media session, the films of its pictures, and what a person changes in it.
//!
//! [`keep`] carries frames between the session and the node; [`record`] writes the call down while everybody agrees.

mod carry;
pub mod film;
pub mod record;
pub mod textures;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use twocan_control::{Call, Error, FriendId, RecordCall};
use twocan_media::audio::process::ProcessingSettings;
use twocan_media::audio::{AudioSettings, AudioSink, AudioSource};
use twocan_media::session::{Levels, Outgoing, Part, ScreenOptions, Session, SessionConfig, SessionError, Share};
use twocan_media::settings::MediaSettings;
use twocan_media::video::{Settings, VideoSink, VideoSource};

use crate::model::Update;
use crate::worker::Wake;

pub use carry::keep;
pub use film::{Film, Shot};
use record::Recorder;
pub use textures::{Place, Textures};

/// What the session gives out waits here until it is carried: about a second of sound and picture. Then frames are
/// dropped, and the picture goes on with the next key frame.
const QUEUE: usize = 96;
/// Seed of the synthetic voice and picture.
const SEED: u64 = 1;

/// What stands for devices in place of what a person chose, from the start of the program on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Devices {
    /// A synthetic voice and no speaker instead of the machine's, to try calls on a machine without them.
    pub synthetic: bool,
    /// What stands for the camera; none: what the person chose, or a synthetic picture if all is synthetic.
    pub camera: Option<VideoSource>,
}

impl Devices {
    /// What stands for the camera.
    #[must_use]
    pub fn camera(&self, settings: &MediaSettings) -> VideoSource {
        match &self.camera {
            Some(source) => source.clone(),
            None if self.synthetic => VideoSource::Moving { seed: SEED },
            None => settings.video_source(),
        }
    }

    fn session(&self, settings: &MediaSettings, camera: &Film, screen: &Film) -> SessionConfig {
        let (audio_in, audio_out) = if self.synthetic {
            (AudioSource::Speech { seed: SEED }, AudioSink::Null)
        } else {
            (settings.audio_source(), settings.audio_sink())
        };
        SessionConfig {
            audio_in,
            audio_out,
            muted: false,
            audio: AudioSettings { processing: settings.processing(), ..AudioSettings::default() },
            video_in: None,
            video_out: VideoSink::Tap(camera.tap()),
            video: Settings { turn: settings.video.camera_turn, ..Settings::default() },
            screen: ScreenOptions { sink: VideoSink::Tap(screen.tap()), ..ScreenOptions::default() },
        }
    }
}

/// What a person changes in a call, beyond what every client can do.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Shares this screen or window, or none any more.
    Share(Option<Share>),
    /// Speaks into this microphone (its id, or the default).
    Microphone(Option<String>),
    /// Listens on this speaker (its id, or the default).
    Speaker(Option<String>),
    /// Shows this camera from now on (its name, or the first that works).
    Camera(Option<String>),
    /// How loud a friend is, percent of what comes.
    Volume {
        /// Whose voice.
        friend: FriendId,
        /// 0 to [`twocan_media::settings::MAX_VOLUME_PERCENT`].
        percent: u16,
    },
    /// What is done to my voice.
    Processing(ProcessingSettings),
    /// The key to talk is held, or let go.
    Talk(bool),
    /// Asks to record, agrees, refuses, ends.
    Record(RecordCall),
}

/// The running media of a call.
pub struct Media {
    session: Session,
    /// The friend's camera.
    pub camera: Film,
    /// The friend's shared screen.
    pub screen: Film,
    /// My own camera.
    pub own: Film,
    recorder: Mutex<Recorder>,
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Media").field("camera", &self.camera).finish_non_exhaustive()
    }
}

impl Media {
    /// Opens the devices (this may take some tens of milliseconds). A camera that does not work is an update, no
    /// failure: the call goes on without it.
    ///
    /// # Errors
    /// What the session says: nothing to listen to or to speak into.
    pub fn open(
        devices: &Devices,
        settings: &MediaSettings,
        video: bool,
        wake: &Wake,
    ) -> Result<(Self, mpsc::Receiver<Outgoing>, Option<Update>), Error> {
        let [camera, screen, own] = [(); 3].map(|()| Film::new(Arc::clone(wake)));
        let (tx, rx) = mpsc::channel(QUEUE);
        // A full queue means that the node does not read: what does not fit is old by then.
        let out = Arc::new(move |outgoing| drop(tx.try_send(outgoing)));
        let session = Session::start_with(devices.session(settings, &camera, &screen), out);
        let session = session.map_err(|error| internal(&error))?;
        let media = Self { session, camera, screen, own, recorder: Mutex::default() };
        let trouble = if video { media.set_video(Some(devices.camera(settings))) } else { None };
        Ok((media, rx, trouble))
    }

    /// Changes what is sent as picture; the update to tell if it does not work.
    pub fn set_video(&self, source: Option<VideoSource>) -> Option<Update> {
        let result = self.session.set_video(source);
        if let Some(preview) = self.session.preview() {
            let own = self.own.clone();
            preview.watch(move |picture, due_ns| own.put(picture, due_ns));
        }
        result.err().map(|error| Update::Device { part: word(Part::VideoIn), trouble: Some(error.to_string()) })
    }

    /// Mutes or unmutes the microphone.
    pub fn set_muted(&self, muted: bool) {
        self.session.set_muted(muted);
    }

    /// How loud the friend is; 1 is as it comes.
    pub fn set_volume(&self, volume: f32) {
        // The voice of the friend is stream 0 of a call between two.
        self.session.set_volume(0, volume);
    }

    /// Shares a screen, or none any more. May wait for the sound system.
    ///
    /// # Errors
    /// What cannot be shared, in words.
    pub fn share(&self, share: Option<Share>) -> Result<(), Error> {
        self.session.set_screen(share).map_err(|error| internal(&error))
    }

    /// Does what concerns the devices; sharing and recording are the worker's.
    ///
    /// # Errors
    /// What does not work, in words; the call goes on as before.
    pub fn act(&self, act: &Act) -> Result<(), Error> {
        match act {
            Act::Microphone(id) => self.session.set_microphone(&AudioSource::Device(id.clone())),
            Act::Speaker(id) => self.session.set_speaker(Some(id.clone())),
            Act::Camera(name) if self.shows_me() => match self.set_video(Some(VideoSource::Camera(name.clone()))) {
                Some(Update::Device { trouble: Some(text), .. }) => {
                    return Err(Error::new(twocan_control::Code::Internal, text));
                }
                _ => Ok(()),
            },
            Act::Volume { percent, .. } => {
                self.set_volume(f32::from(*percent) / 100.0);
                Ok(())
            }
            Act::Processing(settings) => {
                self.session.set_processing(*settings);
                Ok(())
            }
            Act::Talk(held) => {
                self.session.set_push_to_talk(*held);
                Ok(())
            }
            Act::Camera(_) | Act::Share(_) | Act::Record(_) => Ok(()),
        }
        .map_err(|error| internal(&error))
    }

    /// Whether I send a picture now.
    #[must_use]
    pub fn shows_me(&self) -> bool {
        self.session.preview().is_some()
    }

    /// How loud it is.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.session.levels()
    }

    /// The call changed by whatever client: the session follows. What is to be told to the node and to the person comes
    /// back. May wait for the disk.
    pub fn follow(&self, call: &Call, own: &str, folder: &std::path::Path) -> record::Step {
        self.session.set_muted(call.muted);
        if !call.video && self.shows_me() {
            drop(self.set_video(None));
        }
        if !call.remote_screen {
            self.session.screen_ended();
        }
        self.recorder().changed(call, own, folder, &self.session)
    }

    /// Ends a recording, if there is one; where it is.
    pub fn stop_recording(&self) -> Option<twocan_media::record::RecordReport> {
        self.session.stop_recording()
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn internal(error: &SessionError) -> Error {
    Error::new(twocan_control::Code::Internal, error.to_string())
}

/// Where the window finds the media of the call.
#[derive(Clone, Debug, Default)]
pub struct Live {
    inner: Arc<Mutex<Option<Arc<Media>>>>,
}

impl Live {
    /// The media of the call that has its seat here.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Media>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts media here, or takes them away.
    pub fn set(&self, media: Option<Arc<Media>>) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = media;
    }
}

/// A part of the session, in a word.
fn word(part: Part) -> &'static str {
    match part {
        Part::AudioIn => "microphone",
        Part::AudioOut => "speaker",
        Part::VideoIn => "camera",
        Part::VideoOut => "picture",
        Part::ScreenIn => "shared screen",
        Part::ScreenSound => "sound of the shared screen",
        Part::ScreenOut => "friend's screen",
    }
}
