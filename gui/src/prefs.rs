//! What a person chose for the window itself: theme, size of letters, language, what makes a sound. Kept beside the
//! devices in the clients' file, under the word "gui".

use serde::{Deserialize, Serialize};
use twocan_media::settings::MediaSettings;

use crate::text::Language;

/// The word in the clients' file.
const KEY: &str = "gui";
/// Bounds of the size of letters, percent.
pub const SCALES: [u16; 6] = [80, 90, 100, 115, 130, 150];

/// Light or dark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// As the system is.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

/// The choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prefs {
    /// The first start is over.
    pub welcomed: bool,
    /// Light or dark.
    pub look: Look,
    /// Size of everything, percent.
    pub scale: u16,
    /// Language; none is the system's.
    pub language: Option<Language>,
    /// Show a notification of the desktop for calls, while the window is in the background.
    pub notify_calls: bool,
    /// The same for messages and requests.
    pub notify_messages: bool,
    /// Ring with sound.
    pub ring: bool,
    /// Show in notifications who it is and what was written.
    pub notify_content: bool,
}

impl Default for Prefs {
    fn default() -> Self {
        Self {
            welcomed: false,
            look: Look::default(),
            scale: 100,
            language: None,
            notify_calls: true,
            notify_messages: true,
            ring: true,
            notify_content: true,
        }
    }
}

impl Prefs {
    /// What the file says; whatever cannot be understood is as if it were not there.
    #[must_use]
    pub fn of(settings: &MediaSettings) -> Self {
        let kept = settings.others.get(KEY).cloned().unwrap_or_default();
        let mut prefs: Self = serde_json::from_value(kept).unwrap_or_default();
        prefs.scale = prefs.scale.clamp(SCALES[0], SCALES[SCALES.len() - 1]);
        prefs
    }

    /// Puts them into what the file will say.
    pub fn keep(&self, settings: &mut MediaSettings) {
        if let Ok(value) = serde_json::to_value(self) {
            settings.others.insert(KEY.to_owned(), value);
        }
    }

    /// The language to be spoken.
    #[must_use]
    pub fn spoken(&self) -> Language {
        self.language.unwrap_or_else(Language::of_system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_come_back_as_they_were_kept_and_nonsense_is_passed_over() {
        let mut settings = MediaSettings::default();
        assert_eq!(Prefs::of(&settings), Prefs::default());
        let prefs = Prefs { look: Look::Dark, scale: 130, language: Some(Language::German), ..Prefs::default() };
        prefs.keep(&mut settings);
        assert_eq!(Prefs::of(&settings), prefs);
        settings.others.insert(KEY.into(), serde_json::json!({ "scale": 9000, "look": "dark" }));
        assert_eq!((Prefs::of(&settings).scale, Prefs::of(&settings).look), (150, Look::Dark));
        settings.others.insert(KEY.into(), serde_json::json!([1, 2]));
        assert_eq!(Prefs::of(&settings), Prefs::default());
    }
}
