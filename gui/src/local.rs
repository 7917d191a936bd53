//! Work on this machine that would hold up the window: files, pictures, devices, kept choices. Each piece runs in a
//! thread of its own and answers through a bounded queue that the window empties.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use eframe::egui::{ColorImage, Context};
use twocan_media::audio::backend::{self, Device};
use twocan_media::settings::{MediaSettings, Store};
use twocan_media::video;

use crate::pictures;

/// Answers that wait for the window.
const QUEUE: usize = 64;
/// Entries of a folder that are shown.
const MAX_ENTRIES: usize = 5_000;

/// What there is to speak into, hear with and be seen by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Microphones and speakers; what went wrong if there is no list.
    pub sound: Vec<Device>,
    /// Why there is none.
    pub trouble: Option<String>,
    /// Cameras by name.
    pub cameras: Vec<String>,
}

/// A file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// It is a folder.
    pub folder: bool,
    /// Bytes of a file.
    pub size: u64,
}

/// What came of a piece of work.
#[derive(Debug)]
pub enum Done {
    /// Devices of this machine.
    Machine(Machine),
    /// What is kept, as it is now; and what was wrong with the file.
    Settings(Box<MediaSettings>, Option<String>),
    /// What is in a folder.
    Folder(PathBuf, Result<Vec<Entry>, String>),
    /// The text of a code.
    Scanned(Result<String, String>),
    /// A picture of a person, to be shown; by its hash.
    Portrait(String, Option<ColorImage>),
    /// My picture, ready for the node.
    OwnPortrait(Result<Vec<u8>, String>),
    /// A file was written.
    Saved(Result<PathBuf, String>),
}

/// Where work is given to.
#[derive(Debug)]
pub struct Local {
    store: Option<Arc<Store>>,
    tx: SyncSender<Done>,
    rx: Receiver<Done>,
    context: Option<Context>,
}

impl Default for Local {
    fn default() -> Self {
        let (tx, rx) = sync_channel(QUEUE);
        Self { store: None, tx, rx, context: None }
    }
}

impl Local {
    /// With the kept choices of this home, waking this window.
    #[must_use]
    pub fn new(home: &Path, context: Context) -> Self {
        Self { store: Some(Arc::new(Store::in_home(home))), context: Some(context), ..Self::default() }
    }

    /// Whether there is a place where choices are kept.
    #[must_use]
    pub fn has_home(&self) -> bool {
        self.store.is_some()
    }

    /// The next answer.
    #[must_use]
    pub fn next(&self) -> Option<Done> {
        self.rx.try_recv().ok()
    }

    /// What is kept, read at once: for the start, before anything is shown.
    #[must_use]
    pub fn load(&self) -> (MediaSettings, Option<String>) {
        let Some(store) = &self.store else { return Default::default() };
        let loaded = store.load();
        (loaded.settings, loaded.trouble.map(|trouble| trouble.to_string()))
    }

    fn spawn(&self, work: impl FnOnce() -> Done + Send + 'static) {
        let (tx, context) = (self.tx.clone(), self.context.clone());
        let thread = std::thread::Builder::new().name("local".into()).spawn(move || {
            // A window that does not read any more needs no answer.
            if let Err(TrySendError::Full(done)) = tx.try_send(work()) {
                drop(tx.send(done));
            }
            if let Some(context) = context {
                context.request_repaint();
            }
        });
        // Without a thread there is no answer; the button can be used again.
        drop(thread);
    }

    /// Lists devices.
    pub fn machine(&self) {
        self.spawn(|| {
            let cameras = video::cameras();
            Done::Machine(match backend::system().devices() {
                Ok(sound) => Machine { sound, trouble: None, cameras },
                Err(error) => Machine { sound: Vec::new(), trouble: Some(error.to_string()), cameras },
            })
        });
    }

    /// Changes what is kept.
    pub fn keep(&self, change: impl FnOnce(&mut MediaSettings) + Send + 'static) {
        let Some(store) = self.store.clone() else { return };
        self.spawn(move || match store.update(change) {
            Ok(saved) => {
                let aside = saved.kept_aside.map(|path| path.display().to_string());
                Done::Settings(Box::new(saved.settings), aside)
            }
            Err(error) => Done::Settings(Box::new(store.load().settings), Some(error.to_string())),
        });
    }

    /// Lists a folder.
    pub fn folder(&self, path: PathBuf) {
        self.spawn(move || {
            let entries = list(&path).map_err(|error| error.to_string());
            Done::Folder(path, entries)
        });
    }

    /// Looks for a code in a file, or in the clipboard without one.
    pub fn scan(&self, path: Option<PathBuf>) {
        self.spawn(move || {
            let found = path.map_or_else(pictures::scan_clipboard, |path| pictures::scan_file(&path));
            Done::Scanned(found.map_err(|error| error.to_string()))
        });
    }

    /// Decodes a person's picture.
    pub fn portrait(&self, hash: String, bytes: Arc<[u8]>) {
        self.spawn(move || Done::Portrait(hash, pictures::portrait(&bytes).ok()));
    }

    /// Makes my picture of a file.
    pub fn own_portrait(&self, path: PathBuf) {
        self.spawn(move || Done::OwnPortrait(pictures::own_portrait(&path).map_err(|error| error.to_string())));
    }

    /// Writes a file; one that is there is not written over.
    pub fn save(&self, path: PathBuf, bytes: Arc<[u8]>) {
        self.spawn(move || {
            let written = write_new(&path, &bytes).map_err(|error| error.to_string());
            Done::Saved(written)
        });
    }
}

fn list(path: &Path) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)?.flatten().take(MAX_ENTRIES) {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Hidden files are nothing that people give to each other.
        if name.starts_with('.') {
            continue;
        }
        // What cannot be looked at cannot be chosen either.
        let Ok(meta) = std::fs::metadata(entry.path()) else { continue };
        entries.push(Entry { name, folder: meta.is_dir(), size: meta.len() });
    }
    entries.sort_by_cached_key(|entry| (!entry.folder, entry.name.to_lowercase()));
    Ok(entries)
}

/// Writes beside what is there: "name (2).txt" and so on.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("twocan").to_owned();
    let end = path.extension().and_then(|end| end.to_str()).map(|end| format!(".{end}")).unwrap_or_default();
    for number in 1..1000 {
        let name = if number == 1 { format!("{stem}{end}") } else { format!("{stem} ({number}){end}") };
        let path = path.with_file_name(name);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(mut file) => {
                std::io::Write::write_all(&mut file, bytes)?;
                file.sync_all()?;
                return Ok(path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_file_is_written_beside_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let names: Vec<_> = (0..3).map(|_| write_new(&path, b"x").unwrap().file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.txt", "a (2).txt", "a (3).txt"]);
    }

    #[test]
    fn folders_come_before_files_and_hidden_ones_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("z")).unwrap();
        for name in ["B.png", "a.png", ".hidden"] {
            std::fs::write(folder.path().join(name), b"12").unwrap();
        }
        let names: Vec<_> = list(folder.path()).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["z", "a.png", "B.png"]);
    }

    #[test]
    fn choices_are_kept_and_told() {
        let home = tempfile::tempdir().unwrap();
        let local = Local::new(home.path(), Context::default());
        local.keep(|settings| settings.audio.microphone = Some("desk".into()));
        let done = local.rx.recv_timeout(Duration::from_secs(20)).unwrap();
        let Done::Settings(settings, None) = done else { panic!("{done:?}") };
        assert_eq!(settings.audio.microphone.as_deref(), Some("desk"));
        assert_eq!(local.load().0, *settings);
    }
}
