//! The shared screen in a session: what this side shares, with its sound, and what it is shown.

use std::sync::{Arc, Mutex};

use super::sound_out::SoundOut;
use super::{Driver, Incoming, Out, Outgoing, Part, Problem, Session, SessionError, lock};
use crate::audio::AudioSource;
use crate::audio::backend::{AudioBackend, AudioError};
use crate::audio::device::{Purpose, Supervised};
use crate::audio::paced::{Paced, STEP_SAMPLES};
use crate::audio::source::SoundSource;
use crate::frame::EncodedFrame;
use crate::video::codec::PictureCodec;
use crate::video::screen::{self, ScreenSource};
use crate::video::{Receiver, ReceiverStats, Sender, SenderStats, Tap, VideoSink};

/// A screen to share.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// What.
    pub source: ScreenSource,
    /// What is heard with it: the system's sound (`audio::system`), a file, or nothing.
    pub sound: Option<ShareSound>,
}

/// The sound that goes with a shared screen.
#[derive(Clone, Debug, PartialEq)]
pub enum ShareSound {
    /// Everything that this machine plays, but for the call itself.
    System,
    /// This instead.
    Source(AudioSource),
}

/// How a session deals with shared screens.
#[derive(Clone, Debug, Default)]
pub struct ScreenOptions {
    /// Where the other's shared screen goes; opened with its first picture.
    pub sink: VideoSink,
    /// Limits of a screen that is shared by [`Session::set_screen`].
    pub settings: screen::Settings,
}

/// What a session has of screens.
#[derive(Default)]
pub(super) struct Screens {
    sharing: Option<Sender>,
    sound: Option<Arc<SoundOut>>,
    sound_driver: Option<Driver>,
    flowing: bool,
    bitrate: Option<u32>,
    options: ScreenOptions,
    shown: Option<Receiver>,
    /// The sink could not be opened: it was told once.
    unseen: bool,
    /// What it is encoded in.
    codec: PictureCodec,
    /// The friend takes nothing that we make.
    refused: bool,
    /// What the friend's comes in, if it is not H.264.
    incoming_codec: Option<String>,
}

impl Screens {
    pub(super) fn new(options: ScreenOptions) -> Self {
        Self { options, ..Self::default() }
    }

    pub(super) fn stats(&self) -> (Option<SenderStats>, Option<ReceiverStats>) {
        (self.sharing.as_ref().map(Sender::stats), self.shown.as_ref().map(Receiver::stats))
    }

    pub(super) fn stream(&self) -> Option<u16> {
        self.shown.as_ref().and_then(Receiver::stream)
    }

    /// A frame of the friend's screen. The first one opens the sink.
    pub(super) fn push(&mut self, frame: EncodedFrame, out: &Out) {
        if self.shown.is_none() && !self.unseen {
            // Its problems are those of another window than the camera's.
            let tell = out.clone();
            let relabelled: Out = Arc::new(move |outgoing| {
                tell(match outgoing {
                    Outgoing::Problem(problem) => Outgoing::Problem(Problem { part: Part::ScreenOut, ..problem }),
                    other => other,
                });
            });
            // A screen waits for no sound: who points at something is to be followed at once.
            match Receiver::start(self.options.sink.clone(), Arc::new(|_, _| None), relabelled) {
                Ok(receiver) => {
                    if let Some(codec) = &self.incoming_codec {
                        receiver.set_codec(codec);
                    }
                    self.shown = Some(receiver);
                }
                Err(error) => {
                    self.unseen = true;
                    let text = error.to_string();
                    out(Outgoing::Problem(Problem { part: Part::ScreenOut, text, retrying: false }));
                }
            }
        }
        if let Some(shown) = &self.shown {
            shown.push(frame);
        }
    }

    pub(super) fn request_key(&self) {
        if let Some(sharing) = &self.sharing {
            sharing.request_key();
        }
    }

    pub(super) fn set_flow(&mut self, on: bool) {
        self.flowing = on;
        if let Some(sharing) = &self.sharing {
            sharing.set_on(on && !self.refused);
        }
        if let Some(sound) = &self.sound {
            sound.set_flow(on);
        }
    }

    /// The friend's screen comes in this codec.
    pub(super) fn set_incoming_codec(&mut self, codec: &str) {
        self.incoming_codec = Some(codec.to_owned());
        if let Some(shown) = &self.shown {
            shown.set_codec(codec);
        }
    }

    /// Encodes so from now on. True: a screen is shared, and the friend takes nothing that we make.
    pub(super) fn agreed(&mut self, codec: Option<PictureCodec>) -> bool {
        self.refused = codec.is_none();
        if let Some(codec) = codec {
            self.codec = codec;
        }
        if let Some(sharing) = &self.sharing {
            sharing.set_codec(self.codec.clone());
            sharing.set_on(self.flowing && !self.refused);
        }
        self.refused && self.sharing.is_some()
    }

    /// Bits per second for the screen.
    pub(super) fn set_bitrate(&mut self, bitrate: u32) {
        self.bitrate = Some(bitrate);
        if let Some(sharing) = &self.sharing {
            sharing.set_bitrate(bitrate);
        }
    }

    /// Ends everything that runs by itself.
    pub(super) fn finish(&mut self) {
        drop((self.sound_driver.take(), self.sharing.take(), self.sound.take()));
    }
}

impl Session {
    /// Shares this screen from now on, or none. Nothing of it leaves before [`Incoming::Flow`] lets it.
    ///
    /// # Errors
    /// What cannot be shared, and why; then nothing is.
    pub fn set_screen(&self, share: Option<Share>) -> Result<(), SessionError> {
        // What was shared before ends outside of the lock: its threads may be waiting for it.
        let old = {
            let mut screens = lock(&self.screens);
            (screens.sound_driver.take(), screens.sharing.take(), screens.sound.take())
        };
        drop(old);
        let Some(share) = share else { return Ok(()) };
        let (settings, codec) = {
            let screens = lock(&self.screens);
            (screens.options.settings.clone(), screens.codec.clone())
        };
        let sender = Sender::share(&share.source, settings, codec, self.out.clone())?;
        let sound = match share.sound {
            Some(sound) => Some(hear(sound, &self.out, &self.system)?),
            None => None,
        };
        let mut screens = lock(&self.screens);
        if let Some(bitrate) = screens.bitrate {
            sender.set_bitrate(bitrate);
        }
        sender.set_codec(screens.codec.clone());
        sender.set_on(screens.flowing && !screens.refused);
        screens.sharing = Some(sender);
        let refused = screens.refused;
        if let Some((out, driver)) = sound {
            out.set_flow(screens.flowing);
            (screens.sound, screens.sound_driver) = (Some(out), Some(driver));
        }
        drop(screens);
        self.tell_refused(refused, Part::ScreenIn);
        Ok(())
    }

    /// A look at what is shared, if anything is.
    #[must_use]
    pub fn screen_preview(&self) -> Option<Tap> {
        lock(&self.screens).sharing.as_ref().map(Sender::preview)
    }

    /// The friend shares no screen any more: its window closes. Files stay open for the next time.
    pub fn screen_ended(&self) {
        let closing = {
            let mut screens = lock(&self.screens);
            let window = matches!(screens.options.sink, VideoSink::Window { .. });
            screens.unseen = false;
            if window { screens.shown.take() } else { None }
        };
        drop(closing);
    }

    /// What the friend's node says of a screen.
    pub(super) fn screen_incoming(screens: &Mutex<Screens>, incoming: Incoming, out: &Out) {
        let mut screens = lock(screens);
        match incoming {
            Incoming::Frame(frame) => screens.push(frame, out),
            Incoming::KeyFrameRequest { .. } => screens.request_key(),
            _ => {}
        }
    }
}

/// Begins to capture what is heard with a screen.
fn hear(sound: ShareSound, out: &Out, system: &Arc<dyn AudioBackend>) -> Result<(Arc<SoundOut>, Driver), SessionError> {
    let encoder = Arc::new(SoundOut::new(out.clone())?);
    let take = encoder.clone();
    let driver = match sound {
        ShareSound::System => {
            let capture = system.capture_playing(Arc::new(move |samples: &[f32]| take.captured(samples)))?;
            Driver::Stream { _running: capture }
        }
        ShareSound::Source(source) => match SoundSource::open(&source).map_err(AudioError::from)? {
            SoundSource::Device(device) => {
                let take = Arc::new(move |samples: &[f32]| take.captured(samples));
                let report = super::report(Part::ScreenSound, out);
                let running = Supervised::start(system.clone(), device, Purpose::Capture(take), report)?;
                Driver::Device { _running: running }
            }
            mut source => {
                let mut piece = vec![0.0; STEP_SAMPLES];
                let work = move |_| {
                    source.fill(&mut piece);
                    take.captured(&piece);
                };
                Driver::Paced { _running: Paced::start("screen-sound", work)? }
            }
        },
    };
    Ok((encoder, driver))
}
