//! The media options of the command line as a session's configuration, and what to say when a device is missing.

use std::path::{Path, PathBuf};

use twocan_media::audio::{AudioSettings, AudioSink, AudioSource};
use twocan_media::session::{Part, ScreenOptions, SessionConfig, SessionError, Share, ShareSound};
use twocan_media::settings::MediaSettings;
#[cfg(target_os = "linux")]
use twocan_media::video::screen::Dialog;
use twocan_media::video::screen::ScreenSource;
use twocan_media::video::{self, VideoSink, VideoSource};

use crate::args::Media;
use crate::exit::{Exit, Failure};

/// Seed of the synthetic voice and picture: any will do, the same each time makes runs comparable.
const SEED: u64 = 1;
/// What to say when the friend's picture cannot be shown.
pub const UNSEEN: &str =
    "There is no display: your friend's picture is not shown (--video-out FILE.y4m or FILE.png keeps it).";
/// Pitch of `tone`, Hz.
const TONE: f32 = 440.0;

/// A session's configuration, and what the person should know about it.
#[derive(Debug)]
pub struct Plan {
    /// For [`twocan_media::session::Session::start_with`].
    pub config: SessionConfig,
    /// What to send when video is switched on later.
    pub video_in: VideoSource,
    /// What to share when a screen is shared.
    pub share: Share,
    /// There is no display for the friend's picture.
    pub unseen: bool,
}

/// Reads the options; what they do not say is as `kept`. `display` tells whether a window can be opened.
///
/// # Errors
/// A word that names no source or sink, or a file that is not there.
pub fn plan(media: &Media, kept: &MediaSettings, display: bool) -> Result<Plan, Failure> {
    let choice = &media.choice;
    let video_in = choice.video_in.as_deref().map_or_else(|| Ok(kept.video_source()), video_source)?;
    let mut video_out = video_sink("--video-out", "twocan", &media.video_out)?;
    let mut screen_out = video_sink("--screen-out", "twocan: your friend's screen", &media.screen_out)?;
    if matches!(screen_out, VideoSink::Window { .. }) && !display {
        screen_out = VideoSink::Null;
    }
    let share = Share {
        source: screen_source(media.screen.as_deref().unwrap_or_default()),
        sound: screen_sound(&media.screen_sound)?,
    };
    let unseen = matches!(video_out, VideoSink::Window { .. }) && !display;
    if unseen {
        video_out = VideoSink::Null;
    }
    let config = SessionConfig {
        audio_in: choice.audio_in.as_deref().map_or_else(|| Ok(kept.audio_source()), audio_source)?,
        audio_out: choice.audio_out.as_deref().map_or_else(|| Ok(kept.audio_sink()), audio_sink)?,
        muted: false,
        audio: AudioSettings { processing: media.processing.over(kept.processing()), ..AudioSettings::default() },
        video_in: media.video.then(|| video_in.clone()),
        video_out,
        video: video::Settings {
            turn: choice.camera_turn.unwrap_or(kept.video.camera_turn),
            ..video::Settings::default()
        },
        screen: ScreenOptions { sink: screen_out, ..ScreenOptions::default() },
    };
    Ok(Plan { config, video_in, share, unseen })
}

/// What a part of a session is called.
pub fn part(part: Part) -> &'static str {
    match part {
        Part::AudioIn => "microphone",
        Part::AudioOut => "speaker",
        Part::VideoIn => "camera",
        Part::VideoOut => "picture",
        Part::ScreenIn => "shared screen",
        Part::ScreenSound => "sound of the shared screen",
        Part::ScreenOut => "view of the friend's screen",
    }
}

/// What else there is when a device is missing.
pub fn instead(part: Part) -> Option<&'static str> {
    match part {
        Part::AudioIn => Some("Without a microphone: --audio-in FILE.wav, speech, tone or silence."),
        Part::AudioOut => Some("Without a speaker: --audio-out FILE.wav or none."),
        Part::VideoIn => Some("Without a camera: --video-in FILE.y4m or moving."),
        Part::VideoOut => Some("Without a display: --video-out FILE.y4m or none."),
        Part::ScreenIn => Some("Without a display: --screen=synthetic."),
        Part::ScreenSound => Some("Without it: --screen-sound none."),
        Part::ScreenOut => Some("Without a display: --screen-out FILE.y4m or none."),
    }
}

/// A session that could not start.
pub fn unusable(error: &SessionError) -> Failure {
    Failure::new(Exit::Media, error.to_string()).hint("`twocan help call` lists what can be sent and where it can go")
}

/// Whether a window can be opened here.
pub fn display() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(not(target_os = "linux")) || set("DISPLAY") || set("WAYLAND_DISPLAY")
}

pub(crate) fn audio_source(word: &str) -> Result<AudioSource, Failure> {
    Ok(match word {
        "device" => AudioSource::Device(None),
        "tone" => AudioSource::Tone { frequency: TONE },
        "speech" => AudioSource::Speech { seed: SEED },
        "silence" | "none" => AudioSource::Silence,
        _ => match word.strip_prefix("device:") {
            Some(name) => AudioSource::Device(Some(name.to_owned())),
            None => AudioSource::Wav { path: existing(word, "--audio-in", AUDIO_SOURCES)?, repeat: true },
        },
    })
}

const AUDIO_SOURCES: &str = "`device`, `device:NAME`, a WAV file, `tone`, `speech` or `silence`";
const VIDEO_SOURCES: &str = "`camera`, `camera:/dev/videoN`, a .y4m or .ivf file, or `moving`";

pub(crate) fn audio_sink(word: &str) -> Result<AudioSink, Failure> {
    Ok(match word {
        "device" => AudioSink::Device(None),
        "none" => AudioSink::Null,
        _ => match word.strip_prefix("device:") {
            Some(name) => AudioSink::Device(Some(name.to_owned())),
            None if has_extension(word, "wav") => AudioSink::Wav(writable(word)?),
            None => {
                return Err(unknown(
                    "--audio-out",
                    word,
                    "`device`, `device:NAME`, a file that ends in .wav, or `none`",
                ));
            }
        },
    })
}

pub(crate) fn video_source(word: &str) -> Result<VideoSource, Failure> {
    Ok(match word {
        "camera" => VideoSource::Camera(None),
        "moving" => VideoSource::Moving { seed: SEED },
        _ => match word.strip_prefix("camera:") {
            Some(name) => VideoSource::Camera(Some(name.to_owned())),
            // What a file is, its first bytes tell, not its name.
            None => VideoSource::file(&existing(word, "--video-in", VIDEO_SOURCES)?)
                .map_err(|error| Failure::new(Exit::Media, error.to_string()))?,
        },
    })
}

/// What `--screen` means: nothing is the primary screen, a number a screen, else a window.
fn screen_source(word: &str) -> ScreenSource {
    match word {
        "" => ScreenSource::Screen(None),
        #[cfg(target_os = "linux")]
        "dialog" => ScreenSource::Dialog(Dialog::default()),
        #[cfg(target_os = "linux")]
        "again" => ScreenSource::Dialog(Dialog { again: true, ..Dialog::default() }),
        "synthetic" => ScreenSource::Synthetic { seed: SEED },
        _ => word.parse().map_or_else(|_| ScreenSource::Window(word.to_owned()), |n| ScreenSource::Screen(Some(n))),
    }
}

fn screen_sound(word: &str) -> Result<Option<ShareSound>, Failure> {
    Ok(match word {
        "none" => None,
        "system" => Some(ShareSound::System),
        _ => Some(ShareSound::Source(audio_source(word)?)),
    })
}

fn video_sink(option: &str, title: &str, word: &str) -> Result<VideoSink, Failure> {
    Ok(match word {
        "window" => VideoSink::Window { title: title.to_owned() },
        "none" => VideoSink::Null,
        _ if has_extension(word, "y4m") || has_extension(word, "png") => VideoSink::file(&writable(word)?),
        _ => return Err(unknown(option, word, "`window`, a file that ends in .y4m or .png, or `none`")),
    })
}

fn has_extension(word: &str, extension: &str) -> bool {
    Path::new(word).extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn existing(word: &str, option: &str, choices: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(word);
    match path.metadata() {
        Ok(meta) if meta.is_dir() => Err(unknown(option, word, choices)),
        Ok(_) => Ok(path),
        Err(error) => {
            Err(Failure::new(Exit::Media, format!("cannot read {word}: {error}"))
                .hint(format!("{option} takes {choices}")))
        }
    }
}

/// A file to write into: its folder has to be there, so that nobody talks for an hour into nothing.
fn writable(word: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(word);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(path);
    }
    Err(Failure::new(Exit::Media, format!("cannot write {word}: the folder {} does not exist", folder.display())))
}

fn unknown(option: &str, word: &str, choices: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{option} does not know \"{word}\"")).hint(format!("{option} takes {choices}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Choice;
    use twocan_media::video::Turn;

    fn choice() -> Choice {
        let word = |word: &str| Some(word.to_owned());
        Choice { audio_in: word("speech"), audio_out: word("none"), video_in: word("moving"), camera_turn: None }
    }

    /// With nothing kept.
    fn plan(media: &Media, display: bool) -> Result<Plan, Failure> {
        super::plan(media, &MediaSettings::default(), display)
    }

    fn media() -> Media {
        Media {
            choice: choice(),
            video_out: "window".into(),
            screen: None,
            screen_sound: "none".into(),
            screen_out: "window".into(),
            ..Media::default()
        }
    }

    #[test]
    fn a_missing_display_is_noticed_and_does_not_stop_the_call() {
        let plan = plan(&media(), false).unwrap();
        assert!(plan.unseen);
        assert!(matches!(plan.config.video_out, VideoSink::Null));
    }

    #[test]
    fn video_is_sent_only_when_asked_for() {
        assert!(plan(&media(), true).unwrap().config.video_in.is_none());
        assert!(plan(&Media { video: true, ..media() }, true).unwrap().config.video_in.is_some());
    }

    #[test]
    fn a_missing_file_and_a_wrong_word_name_the_option() {
        let nowhere = Choice { audio_in: Some("/nowhere.wav".into()), ..choice() };
        let missing = plan(&Media { choice: nowhere, ..media() }, true).unwrap_err();
        assert_eq!(missing.exit, Exit::Media);
        let wrong = plan(&Media { video_out: "screen".into(), ..media() }, true).unwrap_err();
        assert_eq!(wrong.exit, Exit::Usage);
        assert!(wrong.message.contains("--video-out"), "{}", wrong.message);
    }

    #[test]
    fn what_is_kept_holds_and_an_option_goes_before_it() {
        let mut kept = MediaSettings::default();
        kept.audio.microphone = Some("usb".into());
        kept.audio.speaker = Some("hall".into());
        kept.audio.echo_cancelling = false;
        kept.video.camera = Some("/dev/video2".into());
        kept.video.camera_turn = Turn::Quarter;
        let plain = Media { choice: Choice::default(), ..media() };
        let Plan { config, video_in, .. } = super::plan(&plain, &kept, true).unwrap();
        assert_eq!(config.audio_in, AudioSource::Device(Some("usb".into())));
        assert!(matches!(config.audio_out, AudioSink::Device(Some(name)) if name == "hall"));
        assert!(!config.audio.processing.echo_cancelling && config.audio.processing.high_pass);
        assert_eq!(video_in, VideoSource::Camera(Some("/dev/video2".into())));
        assert_eq!(config.video.turn, Turn::Quarter);
        let said = Choice { audio_in: Some("device".into()), camera_turn: Some(Turn::None), ..Choice::default() };
        let said = super::plan(&Media { choice: said, ..media() }, &kept, true).unwrap().config;
        assert_eq!((said.audio_in, said.video.turn), (AudioSource::Device(None), Turn::None));
    }

    #[test]
    fn a_screen_is_a_number_a_window_or_synthetic() {
        let share = |word: &str| plan(&Media { screen: Some(word.into()), ..media() }, true).unwrap().share.source;
        assert_eq!(share(""), ScreenSource::Screen(None));
        assert_eq!(share("2"), ScreenSource::Screen(Some(2)));
        assert_eq!(share("0x2a00007"), ScreenSource::Window("0x2a00007".into()));
        assert_eq!(share("My notes"), ScreenSource::Window("My notes".into()));
        assert!(matches!(share("synthetic"), ScreenSource::Synthetic { .. }));
        assert!(matches!(share("dialog"), ScreenSource::Dialog(Dialog { again: false, .. })));
        assert!(matches!(share("again"), ScreenSource::Dialog(Dialog { again: true, .. })));
        let sound =
            |word: &str| plan(&Media { screen_sound: word.into(), ..media() }, true).map(|plan| plan.share.sound);
        assert_eq!(sound("system").unwrap(), Some(ShareSound::System));
        assert_eq!(sound("/nowhere.wav").unwrap_err().exit, Exit::Media);
    }
}
