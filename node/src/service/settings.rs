//! What a person sets while the node runs, and is kept in the store (`specs/06-control-api.md`, "Settings").

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twocan_control as api;

use super::Service;

/// Files larger than this are declined unless a person says otherwise: what a home connection moves in an hour or two.
const MAX_FILE: u64 = 4 << 30;

/// The settings as they are kept. Absent fields have their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SettingsRecord {
    pub(super) read_marks: bool,
    /// Empty: the usual folder of this system.
    pub(super) download_folder: String,
    pub(super) auto_accept: u64,
    pub(super) max_file: u64,
}

impl Default for SettingsRecord {
    fn default() -> Self {
        Self { read_marks: true, download_folder: String::new(), auto_accept: 0, max_file: MAX_FILE }
    }
}

impl SettingsRecord {
    /// Where files go that come.
    pub(super) fn folder(&self, home: &Path) -> PathBuf {
        if self.download_folder.is_empty() { usual_folder(home) } else { PathBuf::from(&self.download_folder) }
    }
}

impl Service {
    pub(super) fn settings(&self) -> api::Settings {
        api::Settings {
            read_marks: self.settings.read_marks,
            download_folder: self.settings.folder(&self.home).display().to_string(),
            auto_accept_bytes: self.settings.auto_accept,
            max_file_bytes: self.settings.max_file,
        }
    }

    pub(super) fn update_settings(&mut self, update: &api::SettingsUpdate) -> api::Result<api::Settings> {
        let old = &self.settings;
        let new = SettingsRecord {
            read_marks: update.read_marks.unwrap_or(old.read_marks),
            download_folder: update.download_folder.clone().unwrap_or_else(|| old.download_folder.clone()),
            auto_accept: update.auto_accept_bytes.unwrap_or(old.auto_accept),
            max_file: update.max_file_bytes.unwrap_or(old.max_file),
        };
        if new != *old {
            self.settings = new;
            let change = self.records.settings(&self.settings);
            self.records.now(change.into_iter().collect());
            self.limit_files();
            self.chat_input(twocan_protocol::chat::Input::ReadMarks(self.settings.read_marks));
        }
        Ok(self.settings())
    }
}

/// The download folder of the desktop (XDG user directories), else a folder in the node's home.
fn usual_folder(home: &Path) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(folder) = set("XDG_DOWNLOAD_DIR") {
        return folder;
    }
    let Some(person) = set("HOME") else { return home.join("downloads") };
    let config = set("XDG_CONFIG_HOME").unwrap_or_else(|| person.join(".config"));
    let named = std::fs::read_to_string(config.join("user-dirs.dirs")).ok();
    let named = named.as_deref().and_then(|text| download_of(text, &person));
    let folder = named.unwrap_or_else(|| person.join("Downloads"));
    // A machine without a desktop has no such folder, and nobody looks there.
    if folder.is_dir() { folder } else { home.join("downloads") }
}

/// The line of `user-dirs.dirs` that names the download folder: `XDG_DOWNLOAD_DIR="$HOME/…"` or an absolute path.
fn download_of(text: &str, person: &Path) -> Option<PathBuf> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("XDG_DOWNLOAD_DIR="))?;
    let value = value.trim().trim_matches('"');
    let path = match value.strip_prefix("$HOME/") {
        Some(rest) => person.join(rest),
        None => PathBuf::from(value),
    };
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_download_folder_of_the_desktop_is_found() {
        let text = "# comment\nXDG_DESKTOP_DIR=\"$HOME/Desktop\"\nXDG_DOWNLOAD_DIR=\"$HOME/Geladenes\"\n";
        assert_eq!(download_of(text, Path::new("/home/a")), Some(PathBuf::from("/home/a/Geladenes")));
        assert_eq!(download_of("XDG_DOWNLOAD_DIR=\"/data/in\"", Path::new("/h")), Some(PathBuf::from("/data/in")));
        assert_eq!(download_of("XDG_DOWNLOAD_DIR=\"relative\"", Path::new("/h")), None);
        assert_eq!(download_of("", Path::new("/h")), None);
    }
}
