//! What a person has chosen for sound and picture, kept in a file that all clients of a home share: which microphone,
//! speaker and camera, what is done to the voice, and how loud each friend is played.
//!
//! The node knows nothing of this: devices belong to clients. [`Store`] reads and writes the file (`client.json` in the
//! home folder); what a client is told for one call goes before what is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::audio::mixer::MAX_VOLUME;
use crate::audio::process::{ProcessingSettings, Transmit};
use crate::audio::{AudioSink, AudioSource};
use crate::video::{Turn, VideoSource};

mod store;

pub use store::{Error, Loaded, MAX_FILE, NAME, Saved, Store};

/// Loudest that a friend can be made, percent: [`MAX_VOLUME`].
pub const MAX_VOLUME_PERCENT: u16 = (MAX_VOLUME * 100.0) as u16;
/// As a friend comes, percent.
pub const USUAL_VOLUME_PERCENT: u16 = 100;
/// Friends whose volume is kept: as many as a node has friends (`specs/07-storage.md`).
pub const MAX_VOLUMES: usize = 1000;
/// Bytes of a device's name: sound servers and file systems have less.
pub const MAX_NAME: usize = 1024;

/// What is kept. Keys that are not known here (of a newer version, or of one client alone) are kept as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaSettings {
    /// Sound.
    pub audio: AudioChoice,
    /// Picture.
    pub video: VideoChoice,
    /// How loud friends are played, percent (0 to [`MAX_VOLUME_PERCENT`]), by friend id; who is not in it is played as
    /// they come.
    pub volumes: BTreeMap<String, u16>,
    /// What else the file holds, by its first word. A client that keeps something of its own here uses a word of its own.
    #[serde(flatten)]
    pub others: serde_json::Map<String, serde_json::Value>,
}

/// Chosen for sound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AudioChoice {
    /// Name of the microphone ([`crate::audio::backend::Device::id`]); none is the system's default.
    pub microphone: Option<String>,
    /// Name of the speaker; none is the system's default.
    pub speaker: Option<String>,
    /// Take the friend's voice out of what the microphone hears.
    pub echo_cancelling: bool,
    /// Take steady noise out.
    pub noise_suppression: bool,
    /// Bring my voice to a good loudness.
    pub automatic_gain: bool,
    /// Take rumble below speech out.
    pub high_pass: bool,
    /// When my voice is sent: always, while I speak, or while a key is held.
    pub talk: Transmit,
    /// What else is in it.
    #[serde(flatten)]
    pub others: serde_json::Map<String, serde_json::Value>,
}

impl Default for AudioChoice {
    fn default() -> Self {
        let ProcessingSettings { echo_cancelling, noise_suppression, automatic_gain, high_pass, transmit } =
            ProcessingSettings::default();
        Self {
            microphone: None,
            speaker: None,
            echo_cancelling,
            noise_suppression,
            automatic_gain,
            high_pass,
            talk: transmit,
            others: serde_json::Map::new(),
        }
    }
}

/// Chosen for the picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VideoChoice {
    /// Name of the camera (`/dev/video0`); none is the first that works.
    pub camera: Option<String>,
    /// How the camera stands: its pictures are turned clockwise by so many degrees.
    pub camera_turn: Turn,
    /// What else is in it.
    #[serde(flatten)]
    pub others: serde_json::Map<String, serde_json::Value>,
}

impl MediaSettings {
    /// Where my voice comes from.
    #[must_use]
    pub fn audio_source(&self) -> AudioSource {
        AudioSource::Device(self.audio.microphone.clone())
    }

    /// Where the friend's voice goes.
    #[must_use]
    pub fn audio_sink(&self) -> AudioSink {
        AudioSink::Device(self.audio.speaker.clone())
    }

    /// What is done to my voice.
    #[must_use]
    pub fn processing(&self) -> ProcessingSettings {
        ProcessingSettings {
            echo_cancelling: self.audio.echo_cancelling,
            noise_suppression: self.audio.noise_suppression,
            automatic_gain: self.audio.automatic_gain,
            high_pass: self.audio.high_pass,
            transmit: self.audio.talk,
        }
    }

    /// Keeps what is done to my voice.
    pub fn set_processing(&mut self, processing: ProcessingSettings) {
        let ProcessingSettings { echo_cancelling, noise_suppression, automatic_gain, high_pass, transmit } = processing;
        self.audio.echo_cancelling = echo_cancelling;
        self.audio.noise_suppression = noise_suppression;
        self.audio.automatic_gain = automatic_gain;
        self.audio.high_pass = high_pass;
        self.audio.talk = transmit;
    }

    /// Where my picture comes from, while I send one.
    #[must_use]
    pub fn video_source(&self) -> VideoSource {
        VideoSource::Camera(self.video.camera.clone())
    }

    /// How loud this friend is played, percent.
    #[must_use]
    pub fn volume(&self, friend: &str) -> u16 {
        self.volumes.get(friend).copied().unwrap_or(USUAL_VOLUME_PERCENT)
    }

    /// How loud this friend is played, as [`crate::session::Session::set_volume`] takes it (1: as they come).
    #[must_use]
    pub fn gain(&self, friend: &str) -> f32 {
        f32::from(self.volume(friend)) / 100.0
    }

    /// Plays this friend so loud from now on, at most [`MAX_VOLUME_PERCENT`]. 100 is forgotten, because it is what holds
    /// without a word; so is one of the others if there are [`MAX_VOLUMES`] already.
    pub fn set_volume(&mut self, friend: &str, percent: u16) {
        self.volumes.remove(friend);
        if percent == USUAL_VOLUME_PERCENT {
            return;
        }
        while self.volumes.len() >= MAX_VOLUMES {
            self.volumes.pop_first();
        }
        self.volumes.insert(friend.to_owned(), percent.min(MAX_VOLUME_PERCENT));
    }

    /// What is out of range, by its place in the file and what it may be.
    fn out_of_range(&self) -> Option<(String, String)> {
        let names = [
            ("audio.microphone", &self.audio.microphone),
            ("audio.speaker", &self.audio.speaker),
            ("video.camera", &self.video.camera),
        ];
        for (place, name) in names {
            if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_NAME) {
                return Some((place.into(), format!("the name of a device (at most {MAX_NAME} bytes), or null")));
            }
        }
        if self.volumes.len() > MAX_VOLUMES {
            return Some(("volumes".into(), format!("at most {MAX_VOLUMES} friends")));
        }
        let loud = self.volumes.iter().find(|(_, percent)| **percent > MAX_VOLUME_PERCENT);
        loud.map(|(friend, _)| (format!("volumes.{friend}"), format!("0 to {MAX_VOLUME_PERCENT}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_chosen_is_the_default_of_a_session() {
        let settings = MediaSettings::default();
        assert_eq!(settings.processing(), ProcessingSettings::default());
        assert_eq!(settings.audio_source(), AudioSource::Device(None));
        assert_eq!(settings.video_source(), VideoSource::Camera(None));
        assert_eq!(settings.volume("somebody"), 100);
    }

    #[test]
    fn processing_comes_back_as_it_was_kept() {
        let mut settings = MediaSettings::default();
        let processing = ProcessingSettings { transmit: Transmit::PushToTalk, ..ProcessingSettings::RAW };
        settings.set_processing(processing);
        assert_eq!(settings.processing(), processing);
    }

    #[test]
    fn volumes_are_kept_for_those_who_are_not_played_as_they_come() {
        let mut settings = MediaSettings::default();
        settings.set_volume("a", 150);
        settings.set_volume("b", u16::MAX);
        assert_eq!((settings.volume("a"), settings.volume("b")), (150, MAX_VOLUME_PERCENT));
        assert!((settings.gain("a") - 1.5).abs() < 1e-6);
        settings.set_volume("a", 100);
        assert_eq!(settings.volumes.len(), 1);
        for n in 0..2 * MAX_VOLUMES {
            settings.set_volume(&format!("friend {n}"), 50);
        }
        assert_eq!(settings.volumes.len(), MAX_VOLUMES);
        assert_eq!(settings.volume(&format!("friend {}", 2 * MAX_VOLUMES - 1)), 50, "the newest is kept");
        assert_eq!(settings.out_of_range(), None);
    }
}
