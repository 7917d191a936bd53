//! What calls use without a word on the command line: `twocan audio show`, `set` and `volume`.

use twocan_control::Handle;
use twocan_media::audio::backend::AudioBackend;
use twocan_media::audio::process::Transmit;
use twocan_media::audio::{AudioSink, AudioSource};
use twocan_media::settings::{self, Loaded, MediaSettings, Saved, Store};
use twocan_media::video::{self, Turn, VideoSource};

use crate::args::AudioSet;
use crate::exit::{Exit, Failure};
use crate::format::{Style, Table, clean_line, short};
use crate::live::options::{audio_sink, audio_source, video_source};
use crate::output::Out;

/// What is kept. A file that is not understood is told of on standard error, and the defaults hold.
pub fn load(store: &Store) -> MediaSettings {
    let Loaded { settings, trouble } = store.load();
    if let Some(trouble) = trouble {
        Failure::new(Exit::Storage, trouble.to_string())
            .hint("the defaults hold until it is put right; `twocan audio set` begins a new file and keeps this one beside")
            .print();
    }
    settings
}

/// Changes what is kept, and tells where a file went that was not understood.
///
/// # Errors
/// The file cannot be read or written, or a value is out of range.
pub fn change(store: &Store, change: impl FnOnce(&mut MediaSettings)) -> Result<MediaSettings, Failure> {
    let Saved { settings, kept_aside } = store.update(change).map_err(|error| {
        let exit = if matches!(error, settings::Error::Range { .. }) { Exit::Usage } else { Exit::Storage };
        Failure::new(exit, error.to_string())
    })?;
    if let Some(path) = kept_aside {
        let aside = format!("the settings could not be understood; they lie in {} now", path.display());
        Failure::new(Exit::Storage, aside).print();
    }
    Ok(settings)
}

/// `twocan audio show`.
pub fn show(store: &Store, out: &mut Out) -> Result<Exit, Failure> {
    let style = Style::of(out);
    out.show(&load(store), |settings| describe(settings, style))?;
    Ok(Exit::Ok)
}

/// `twocan audio set`.
pub fn set(store: &Store, set: &AudioSet, system: &dyn AudioBackend, out: &mut Out) -> Result<Exit, Failure> {
    if set.choice.is_empty() && set.processing.is_empty() {
        return Err(Failure::new(Exit::Usage, "nothing is to be kept")
            .hint("for example: twocan audio set --audio-in device:NAME; `twocan help audio` lists what can be kept"));
    }
    let word = |word: &Option<String>| word.clone();
    let microphone = word(&set.choice.audio_in).map(|word| match audio_source(&word)? {
        AudioSource::Device(name) => Ok(name),
        _ => Err(no_device("--audio-in", "`device` or `device:NAME`")),
    });
    let speaker = word(&set.choice.audio_out).map(|word| match audio_sink(&word)? {
        AudioSink::Device(name) => Ok(name),
        _ => Err(no_device("--audio-out", "`device` or `device:NAME`")),
    });
    let camera = word(&set.choice.video_in).map(|word| match video_source(&word)? {
        VideoSource::Camera(name) => Ok(name),
        _ => Err(no_device("--video-in", "`camera` or `camera:/dev/videoN`")),
    });
    let (microphone, speaker, camera) = (microphone.transpose()?, speaker.transpose()?, camera.transpose()?);
    let missing = missing(system, microphone.as_ref(), speaker.as_ref(), camera.as_ref());
    let settings = change(store, |settings| {
        settings.audio.microphone = microphone.unwrap_or(settings.audio.microphone.take());
        settings.audio.speaker = speaker.unwrap_or(settings.audio.speaker.take());
        settings.video.camera = camera.unwrap_or(settings.video.camera.take());
        settings.video.camera_turn = set.choice.camera_turn.unwrap_or(settings.video.camera_turn);
        settings.set_processing(set.processing.over(settings.processing()));
    })?;
    let style = Style::of(out);
    out.show(&settings, |settings| {
        let mut text = describe(settings, style);
        missing.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text
    })?;
    Ok(Exit::Ok)
}

fn no_device(option: &str, choices: &str) -> Failure {
    Failure::new(Exit::Usage, format!("only devices are kept, and {option} names none"))
        .hint(format!("{option} takes {choices} here"))
}

/// What was named and is not there now. It is kept all the same: it may be plugged in later.
fn missing(
    system: &dyn AudioBackend,
    microphone: Option<&Option<String>>,
    speaker: Option<&Option<String>>,
    camera: Option<&Option<String>>,
) -> Vec<String> {
    let mut lines = Vec::new();
    // Without a sound server nothing can be said of its devices.
    if let Ok(devices) = system.devices() {
        for (what, name, input) in [("microphone", microphone, true), ("speaker", speaker, false)] {
            if let Some(Some(name)) = name
                && !devices.iter().any(|device| device.id == *name && device.input == input)
            {
                lines.push(format!("There is no such {what} now; until there is, the default stands in for it."));
            }
        }
    }
    if let Some(Some(name)) = camera
        && !video::cameras().contains(name)
    {
        lines.push("There is no such camera now.".to_owned());
    }
    lines
}

/// `twocan audio volume`.
pub async fn volume<H: Handle>(
    node: &H,
    who: &str,
    percent: Option<u16>,
    store: &Store,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let friend = node.friend(who).await?;
    let settings = match percent {
        Some(percent) => change(store, |settings| settings.set_volume(&friend.id, percent))?,
        None => load(store),
    };
    let percent = settings.volume(&friend.id);
    let shown = serde_json::json!({ "friend": friend.id, "volume": percent });
    out.show(&shown, |_| format!("{} is played at {percent} %.\n", clean_line(&friend.name)))?;
    Ok(Exit::Ok)
}

fn describe(settings: &MediaSettings, style: Style) -> String {
    let device = |name: &Option<String>, without: &str| match name {
        Some(name) => clean_line(name),
        None => without.to_owned(),
    };
    let switch = |on: bool| if on { "on" } else { "off" };
    let turn = match settings.video.camera_turn {
        Turn::None => String::new(),
        turn => format!(", turned by {} degrees", u16::from(turn)),
    };
    let mut table = Table::new(["what", "is"]);
    let mut row = |what: &str, is: String| table.row([what.into(), is.into()]);
    row("microphone", device(&settings.audio.microphone, "the system's default"));
    row("speaker", device(&settings.audio.speaker, "the system's default"));
    row("camera", format!("{}{turn}", device(&settings.video.camera, "the first that works")));
    row("echo cancelling", switch(settings.audio.echo_cancelling).into());
    row("noise suppression", switch(settings.audio.noise_suppression).into());
    row("automatic gain", switch(settings.audio.automatic_gain).into());
    row("high-pass", switch(settings.audio.high_pass).into());
    let talk = match settings.audio.talk {
        Transmit::Always => "always",
        Transmit::VoiceActivity => "while somebody speaks",
        Transmit::PushToTalk => "while the key is held",
    };
    row("sound is sent", talk.into());
    for (friend, percent) in &settings.volumes {
        row(&format!("volume of {}", short(&clean_line(friend))), format!("{percent} %"));
    }
    table.render(style)
}
