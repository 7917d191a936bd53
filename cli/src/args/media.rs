//! Arguments about sound and picture: what a call takes, and what is kept for all calls.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use twocan_media::audio::process::{ProcessingSettings, Transmit};
use twocan_media::settings::MAX_VOLUME_PERCENT;
use twocan_media::video::{NoQuarterTurn, Turn};

use super::Switch;

/// Devices, or what stands for them.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Media {
    /// Send video from the start
    #[arg(long)]
    pub video: bool,
    /// Devices, or what stands for them
    #[command(flatten)]
    pub choice: Choice,
    /// Where to show the friend's picture: `window`, a .y4m file, a .png file (the last picture), `none`
    #[arg(long, value_name = "SINK", default_value = "window")]
    pub video_out: String,
    /// Share a screen from the start: the primary one, its number, a window's title or id (`twocan screens` lists
    /// them), or `synthetic`
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub screen: Option<String>,
    /// Sound to send with a shared screen: `none`, `system` (what other programs play), a WAV file, `tone`
    #[arg(long, value_name = "SOURCE", default_value = "none")]
    pub screen_sound: String,
    /// Where to show the friend's screen: `window`, a .y4m file, a .png file (the last picture), `none`
    #[arg(long, value_name = "SINK", default_value = "window")]
    pub screen_out: String,
    /// What is done to my voice
    #[command(flatten)]
    pub processing: Processing,
    /// How loud the friend is played, percent (default: as kept for them, else 100)
    #[arg(long, value_name = "PERCENT", value_parser = percent())]
    pub volume: Option<u16>,
    /// Ask to record the call into this new file (Matroska) when it is answered
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Hang up after this long
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// No live line and no keys, only what changes
    #[arg(long)]
    pub no_live: bool,
}

/// Devices, or what stands for them; without a word what is kept holds (`twocan audio show`).
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Choice {
    /// Sound to send: `device` (the system's default), `device:NAME`, a WAV file, `tone`, `speech`, `silence`
    #[arg(long, value_name = "SOURCE")]
    pub audio_in: Option<String>,
    /// Where to play the friend's sound: `device` (the system's default), `device:NAME`, a WAV file, `none`
    #[arg(long, value_name = "SINK")]
    pub audio_out: Option<String>,
    /// Picture to send: `camera` (the first that works), `camera:/dev/videoN`, a .y4m or .ivf file, `moving`
    #[arg(long, value_name = "SOURCE")]
    pub video_in: Option<String>,
    /// Turn the camera's picture clockwise by so many degrees: 0, 90, 180, 270
    #[arg(long, value_name = "DEGREES", value_parser = quarter_turns)]
    pub camera_turn: Option<Turn>,
}

impl Choice {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.audio_in.is_none() && self.audio_out.is_none() && self.video_in.is_none() && self.camera_turn.is_none()
    }
}

/// What is done to my voice, and when it is sent; without a word what is kept holds (`twocan audio show`).
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Processing {
    /// Take the friend's voice out of what the microphone hears; not needed with headphones
    #[arg(long, value_name = "SWITCH")]
    pub echo_cancelling: Option<Switch>,
    /// Take the room's noise out
    #[arg(long, value_name = "SWITCH")]
    pub noise_suppression: Option<Switch>,
    /// Bring the microphone to a good loudness
    #[arg(long, value_name = "SWITCH")]
    pub automatic_gain: Option<Switch>,
    /// Take rumble below speech out
    #[arg(long, value_name = "SWITCH")]
    pub high_pass: Option<Switch>,
    /// The same as --echo-cancelling off
    #[arg(long, conflicts_with = "echo_cancelling")]
    pub no_echo_cancelling: bool,
    /// The same as --noise-suppression off
    #[arg(long, conflicts_with = "noise_suppression")]
    pub no_noise_suppression: bool,
    /// The same as --automatic-gain off
    #[arg(long, conflicts_with = "automatic_gain")]
    pub no_automatic_gain: bool,
    /// The same as --high-pass off
    #[arg(long, conflicts_with = "high_pass")]
    pub no_high_pass: bool,
    /// When to send sound: `always`, `voice` (while somebody speaks), `key` (while the space bar is held)
    #[arg(long, value_name = "WHEN")]
    pub talk: Option<Talk>,
}

impl Processing {
    /// What was said, over what holds without a word.
    pub fn over(&self, mut settings: ProcessingSettings) -> ProcessingSettings {
        let said = |switch: Option<Switch>, off: bool| switch.map(|on| on == Switch::On).or(off.then_some(false));
        let set = |setting: &mut bool, said: Option<bool>| *setting = said.unwrap_or(*setting);
        set(&mut settings.echo_cancelling, said(self.echo_cancelling, self.no_echo_cancelling));
        set(&mut settings.noise_suppression, said(self.noise_suppression, self.no_noise_suppression));
        set(&mut settings.automatic_gain, said(self.automatic_gain, self.no_automatic_gain));
        set(&mut settings.high_pass, said(self.high_pass, self.no_high_pass));
        settings.transmit = match self.talk {
            None => settings.transmit,
            Some(Talk::Always) => Transmit::Always,
            Some(Talk::Voice) => Transmit::VoiceActivity,
            Some(Talk::Key) => Transmit::PushToTalk,
        };
        settings
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        let switches = [self.echo_cancelling, self.noise_suppression, self.automatic_gain, self.high_pass];
        let offs = [self.no_echo_cancelling, self.no_noise_suppression, self.no_automatic_gain, self.no_high_pass];
        switches.iter().all(Option::is_none) && !offs.contains(&true) && self.talk.is_none()
    }
}

fn quarter_turns(text: &str) -> Result<Turn, NoQuarterTurn> {
    text.parse::<u16>().map_err(|_| NoQuarterTurn)?.try_into()
}

/// A volume.
fn percent() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..=i64::from(MAX_VOLUME_PERCENT))
}

/// When sound is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Talk {
    /// Always, unless muted
    Always,
    /// While somebody speaks
    Voice,
    /// While the space bar is held
    Key,
}

/// About sound devices.
#[derive(Clone, Debug, Subcommand)]
pub enum AudioAction {
    /// Microphones and speakers, with the names that --audio-in and --audio-out take
    Devices,
    /// What calls use, as it is kept: devices, camera, what is done to the voice, how loud friends are played
    Show,
    /// Keep what calls shall use from now on; the options are those of `call`
    Set(AudioSet),
    /// How loud a friend is played, or from now on
    Volume {
        /// Who: name, or beginning of the id
        who: String,
        /// As they come is 100
        #[arg(value_parser = percent())]
        percent: Option<u16>,
    },
    /// Record what the microphone hears and play it again, show levels, measure the way from speaker to microphone
    Test(AudioTest),
}

/// What shall be kept.
#[derive(Clone, Debug, ClapArgs)]
pub struct AudioSet {
    /// Devices only: `device`, `device:NAME`, `camera`, `camera:/dev/videoN`
    #[command(flatten)]
    pub choice: Choice,
    /// What is done to my voice
    #[command(flatten)]
    pub processing: Processing,
}

/// A test of the sound devices.
#[derive(Clone, Debug, ClapArgs)]
pub struct AudioTest {
    /// The microphone: `device`, `device:NAME` (default: as kept)
    #[arg(long, value_name = "SOURCE")]
    pub audio_in: Option<String>,
    /// The speaker: `device`, `device:NAME` (default: as kept)
    #[arg(long, value_name = "SINK")]
    pub audio_out: Option<String>,
    /// How long to record
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Only listen, play nothing
    #[arg(long)]
    pub no_playback: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn processing(line: &str) -> Processing {
        let args = Args::try_parse_from(["twocan", "audio", "set"].into_iter().chain(line.split_whitespace())).unwrap();
        match args.command {
            Command::Audio { action: AudioAction::Set(set) } => set.processing,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_said_goes_before_what_holds_and_the_rest_stays() {
        let off = ProcessingSettings::RAW;
        assert_eq!(processing("").over(off), off);
        assert!(processing("").is_empty() && !processing("--talk voice").is_empty());
        let said = processing("--echo-cancelling on --talk key").over(off);
        assert_eq!(said, ProcessingSettings { echo_cancelling: true, transmit: Transmit::PushToTalk, ..off });
        let on = ProcessingSettings::default();
        let said = processing("--no-noise-suppression --high-pass off").over(on);
        assert_eq!(said, ProcessingSettings { noise_suppression: false, high_pass: false, ..on });
    }

    #[test]
    fn a_camera_turns_by_quarters_only() {
        assert!(Args::try_parse_from(["twocan", "audio", "set", "--camera-turn", "270"]).is_ok());
        assert!(Args::try_parse_from(["twocan", "audio", "set", "--camera-turn", "45"]).is_err());
    }
}
