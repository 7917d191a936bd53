//! What there is to choose from in a call: devices, and screens to share.

use twocan_media::audio::backend::{self, Device};
use twocan_media::settings::MediaSettings;
use twocan_media::video::{self, screen::Offer};

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Screens and windows.
    Screens,
    /// Microphones, speakers and cameras.
    Gear,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// What can be shared, or why nothing can.
    Screens(Result<Offer, String>),
    /// Devices.
    Gear(Box<Gear>),
}

/// The devices of this machine, and which are chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gear {
    /// What hears.
    pub microphones: Vec<Device>,
    /// What plays.
    pub speakers: Vec<Device>,
    /// Names of the cameras.
    pub cameras: Vec<String>,
    /// What is chosen.
    pub chosen: MediaSettings,
}

impl Gear {
    /// Asks the sound system and looks for cameras; this waits for both.
    #[must_use]
    pub fn of_machine(chosen: MediaSettings) -> Self {
        let devices = backend::system().devices().unwrap_or_default();
        let (microphones, speakers): (Vec<_>, Vec<_>) = devices.into_iter().partition(|device| device.input);
        // What hears a speaker is no microphone to a person.
        let microphones = microphones.into_iter().filter(|device| !device.monitor).collect();
        Self { microphones, speakers, cameras: video::cameras(), chosen }
    }
}

/// What was found last.
#[derive(Clone, Debug, Default)]
pub struct Gears {
    /// What can be shared; none while it is looked for.
    pub screens: Option<Result<Offer, String>>,
    /// Devices.
    pub gear: Gear,
}

impl Gears {
    pub(in crate::model) fn found(&mut self, found: Found) {
        match found {
            Found::Screens(offer) => self.screens = Some(offer),
            Found::Gear(gear) => self.gear = *gear,
        }
    }
}
