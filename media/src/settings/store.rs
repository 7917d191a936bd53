//! The file of the settings: read with bounds, written so that a crash leaves the old or the new one, and never thrown
//! away when it cannot be understood.
//!
//! Two clients may change it at once: each change is made to what the file holds at that moment, under a lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::MediaSettings;

/// Name of the file in the home folder.
pub const NAME: &str = "client.json";
/// Bytes of the file at most: a thousand volumes take 72 kB; the rest is room for what clients add.
pub const MAX_FILE: u64 = 1 << 20;
/// Broken files that are kept beside, at most; then the last place is taken again.
const MAX_BROKEN: u32 = 9;

/// Why settings cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file exists and cannot be read, or cannot be written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no valid JSON, or something in it has the wrong type.
    #[error("{}, line {line}: {message}", .path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value is out of its range.
    #[error("{}: {key} must be {expected}", .path.display())]
    Range {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        key: String,
        /// What it may be.
        expected: String,
    },
    /// The file is larger than settings are.
    #[error("{} is larger than {MAX_FILE} bytes", .path.display())]
    Large {
        /// Which file.
        path: PathBuf,
    },
}

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    /// The settings; the defaults, if the file is not there or cannot be understood.
    pub settings: MediaSettings,
    /// Why the file was not understood: to be told to the person. The file is as it was.
    pub trouble: Option<Error>,
}

/// What was written.
#[derive(Debug)]
pub struct Saved {
    /// The settings as they are now.
    pub settings: MediaSettings,
    /// The file was broken and the change was made to the defaults: the old file lies here now.
    pub kept_aside: Option<PathBuf>,
}

/// Where settings are kept. Reading and writing take milliseconds, and may wait for another client that writes: not on a
/// thread that draws.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The settings of the clients of the node that lives in this home.
    #[must_use]
    pub fn in_home(home: &Path) -> Self {
        Self { path: home.join(NAME) }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file beside it for the desktop's permit to share a screen once more
    /// ([`crate::video::screen::ScreenSource::with_permit`]).
    #[must_use]
    pub fn screen_permit(&self) -> PathBuf {
        self.path.with_file_name("screen-share.permit")
    }

    /// Reads the settings. Whatever the file is, the settings can be used.
    #[must_use]
    pub fn load(&self) -> Loaded {
        match self.read() {
            Ok(settings) => Loaded { settings: settings.unwrap_or_default(), trouble: None },
            Err(error) => Loaded { settings: MediaSettings::default(), trouble: Some(error) },
        }
    }

    /// Changes the settings as they are in the file now. A file that is not understood is first put aside
    /// (`client.json.broken`), and the change is made to the defaults.
    ///
    /// # Errors
    /// [`Error::Io`] if the file can be neither read nor written, and [`Error::Range`] if the change is; it is as it was.
    pub fn update(&self, change: impl FnOnce(&mut MediaSettings)) -> Result<Saved, Error> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        make_folder(folder).map_err(self.fault("make the folder of"))?;
        let _held = self.lock()?;
        let (mut settings, kept_aside) = match self.read() {
            Ok(settings) => (settings.unwrap_or_default(), None),
            // What cannot even be read might be whole: nothing is written over it.
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(_) => (MediaSettings::default(), Some(self.put_aside()?)),
        };
        change(&mut settings);
        self.check(&settings)?;
        self.write(&settings)?;
        Ok(Saved { settings, kept_aside })
    }

    fn read(&self) -> Result<Option<MediaSettings>, Error> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(self.fault("read"))?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(self.fault("read"))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(Error::Large { path: self.path.clone() });
        }
        let settings: MediaSettings = serde_json::from_slice(&bytes).map_err(|error| Error::Parse {
            path: self.path.clone(),
            line: error.line(),
            // What serde says ends with the place, which stands at the beginning already.
            message: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        })?;
        self.check(&settings)?;
        Ok(Some(settings))
    }

    fn check(&self, settings: &MediaSettings) -> Result<(), Error> {
        match settings.out_of_range() {
            None => Ok(()),
            Some((key, expected)) => Err(Error::Range { path: self.path.clone(), key, expected }),
        }
    }

    fn write(&self, settings: &MediaSettings) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(settings).map_err(|error| self.fault("write")(error.into()))?;
        let new = self.path.with_extension("json.new");
        let replace = || {
            let mut file = private().open(&new)?;
            file.write_all(&json)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            drop(file);
            fs::rename(&new, &self.path)
        };
        replace().map_err(self.fault("write"))
    }

    /// Moves the file to the first free place beside it.
    fn put_aside(&self) -> Result<PathBuf, Error> {
        let place = |n: u32| match n {
            1 => self.path.with_extension("json.broken"),
            n => self.path.with_extension(format!("json.broken-{n}")),
        };
        let free = (1..MAX_BROKEN).map(place).find(|path| !path.exists()).unwrap_or_else(|| place(MAX_BROKEN));
        fs::rename(&self.path, &free).map_err(self.fault("put aside"))?;
        Ok(free)
    }

    /// Held while a client reads, changes and writes. The system gives it back when the process ends.
    fn lock(&self) -> Result<File, Error> {
        let path = self.path.with_extension("lock");
        let lock = private().open(&path).and_then(|file| file.lock().map(|()| file));
        lock.map_err(|source| Error::Io { path, action: "lock", source })
    }

    fn fault(&self, action: &'static str) -> impl Fn(io::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::Io { path: path.clone(), action, source }
    }
}

/// To write a file that only its owner reads: the names of devices and friends' ids are nobody else's business.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The home may not be there yet; as the node makes it, it is its owner's alone.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::process::Transmit;
    use crate::video::Turn;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::in_home(folder.path());
        (folder, store)
    }

    #[test]
    fn without_a_file_the_defaults_hold_and_none_is_made() {
        let (_folder, store) = store();
        let loaded = store.load();
        assert!(loaded.trouble.is_none());
        assert_eq!(loaded.settings, MediaSettings::default());
        assert!(!store.path().exists());
    }

    #[test]
    fn what_was_changed_is_there_the_next_time() {
        let (folder, _) = store();
        // The home need not be there yet.
        let store = Store::in_home(&folder.path().join("new").join("home"));
        let change = |settings: &mut MediaSettings| {
            settings.audio.microphone = Some("usb".into());
            settings.audio.noise_suppression = false;
            settings.audio.talk = Transmit::PushToTalk;
            settings.video.camera_turn = Turn::Quarter;
            settings.set_volume("f00", 160);
        };
        let saved = store.update(change).unwrap();
        assert!(saved.kept_aside.is_none());
        let loaded = store.load();
        assert!(loaded.trouble.is_none(), "{:?}", loaded.trouble);
        assert_eq!(loaded.settings, saved.settings);
        assert_eq!(loaded.settings.audio.microphone.as_deref(), Some("usb"));
        assert_eq!(loaded.settings.video.camera_turn, Turn::Quarter);
        assert_eq!(loaded.settings.volume("f00"), 160);
    }

    #[test]
    fn a_broken_file_is_told_of_and_kept_beside_when_something_is_changed() {
        let (folder, store) = store();
        let broken = "{\n  \"audio\": { \"echo_cancelling\": \"perhaps\" }\n}";
        for (n, name) in ["client.json.broken", "client.json.broken-2"].into_iter().enumerate() {
            fs::write(store.path(), broken).unwrap();
            let loaded = store.load();
            assert_eq!(loaded.settings, MediaSettings::default());
            let text = loaded.trouble.unwrap().to_string();
            assert!(text.contains("client.json, line 2"), "{text}");
            assert_eq!(fs::read_to_string(store.path()).unwrap(), broken, "reading changes nothing");
            let saved = store.update(|settings| settings.audio.high_pass = false).unwrap();
            assert_eq!(saved.kept_aside, Some(folder.path().join(name)), "{n}");
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), broken);
            assert!(!store.load().settings.audio.high_pass);
        }
    }

    #[test]
    fn values_out_of_range_name_their_place() {
        let (_folder, store) = store();
        fs::write(store.path(), r#"{"volumes": {"f00": 9000}}"#).unwrap();
        let text = store.load().trouble.unwrap().to_string();
        assert!(text.contains("volumes.f00 must be 0 to 400"), "{text}");
        fs::write(store.path(), r#"{"video": {"camera_turn": 45}}"#).unwrap();
        let text = store.load().trouble.unwrap().to_string();
        assert!(text.contains("0, 90, 180 or 270"), "{text}");
        fs::write(store.path(), vec![b' '; MAX_FILE as usize + 1]).unwrap();
        assert!(matches!(store.load().trouble, Some(Error::Large { .. })));
    }

    #[test]
    fn a_change_that_is_out_of_range_leaves_the_file_as_it_was() {
        let (_folder, store) = store();
        store.update(|settings| settings.set_volume("f00", 50)).unwrap();
        let refused = store.update(|settings| settings.audio.speaker = Some(String::new()));
        assert!(matches!(refused, Err(Error::Range { .. })));
        assert_eq!(store.load().settings.volume("f00"), 50);
    }

    #[test]
    fn what_others_put_into_the_file_stays() {
        let (_folder, store) = store();
        fs::write(store.path(), r#"{"gui": {"theme": "dark"}, "audio": {"new": [1, 2], "speaker": "s"}}"#).unwrap();
        store.update(|settings| settings.audio.speaker = None).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(store.path()).unwrap()).unwrap();
        assert_eq!(json["gui"]["theme"], "dark");
        assert_eq!(json["audio"]["new"], serde_json::json!([1, 2]));
        assert!(json["audio"]["speaker"].is_null());
    }

    #[test]
    fn changes_of_several_clients_at_once_are_all_kept() {
        let (_folder, store) = store();
        std::thread::scope(|scope| {
            for client in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for friend in 0..10 {
                        store.update(|settings| settings.set_volume(&format!("{client}-{friend}"), 50)).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.load().settings.volumes.len(), 40);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, store) = store();
        store.update(|_| {}).unwrap();
        assert_eq!(fs::metadata(store.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
