//! The keys that change how my voice is processed and how loud the friend is, during a call.

use std::time::{Duration, Instant};

use twocan_media::audio::process::Transmit;
use twocan_media::session::Session;

use super::line::Key;

/// A terminal tells that a key goes down and repeats, but not that it is let go: so speaking ends this long after the
/// last repeat. Longer than the pause before the first one.
const LET_GO: Duration = Duration::from_millis(700);
/// From one volume to the next: 3 dB.
const STEP: f32 = 1.412_5;
/// The keys do not make a friend quieter than this: they count in steps, and silence is none.
const QUIETEST: f32 = 0.05;

/// What the keys have done so far.
#[derive(Debug)]
pub(super) struct Keys {
    talking: Option<Instant>,
    volume: f32,
    turned: bool,
}

impl Keys {
    /// With the friend played so loud, percent.
    pub(super) fn new(volume: u16) -> Self {
        Self { talking: None, volume: f32::from(volume) / 100.0, turned: false }
    }

    /// How loud the friend is played, percent, if a key changed it.
    pub(super) fn turned(&self) -> Option<u16> {
        self.turned.then_some((self.volume * 100.0).round() as u16)
    }

    /// Acts on a key, and says what it did.
    pub(super) fn press(&mut self, key: Key, session: &Session) -> Option<String> {
        let mut settings = session.processing();
        let word = |on| if on { "on" } else { "off" };
        let said = match key {
            Key::Talk => {
                if settings.transmit != Transmit::PushToTalk {
                    return Some("The space bar speaks only with --talk key.".to_owned());
                }
                self.talking = Some(Instant::now());
                session.set_push_to_talk(true);
                return None;
            }
            Key::Echo => {
                settings.echo_cancelling = !settings.echo_cancelling;
                format!("Echo cancelling is {}.", word(settings.echo_cancelling))
            }
            Key::Noise => {
                settings.noise_suppression = !settings.noise_suppression;
                format!("Noise suppression is {}.", word(settings.noise_suppression))
            }
            Key::Louder | Key::Quieter => {
                let volume = if key == Key::Louder { self.volume * STEP } else { self.volume / STEP };
                self.turned = true;
                self.volume = volume.clamp(QUIETEST, twocan_media::audio::mixer::MAX_VOLUME);
                session.set_volume(0, self.volume);
                return Some(format!("The friend is played at {:.0} %.", self.volume * 100.0));
            }
            _ => return None,
        };
        session.set_processing(settings);
        Some(said)
    }

    /// Called a few times a second: ends speaking when the key was let go.
    pub(super) fn tick(&mut self, session: &Session) {
        if self.talking.is_some_and(|since| since.elapsed() > LET_GO) {
            self.talking = None;
            session.set_push_to_talk(false);
        }
    }
}
