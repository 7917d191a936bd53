//! Opening the store: what lies there, what of it is believed, and what the person is told.
//!
//! Sled and the snapshot each carry the number of the last change they know. Usually sled is believed; where it does not
//! open, or knows less than the snapshot, the snapshot is. Nothing is deleted on the way: what does not open is moved
//! aside.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Instant, SystemTime};

use twocan_protocol::sealed::StoreKey;

use super::entry::{Name, Sealer};
use super::log::{Contents, Failure, Log};
use super::mirror::Mirror;
use super::snapshot::{self, Found, Snapshot};
use super::vault::{State, Vault};
use super::{Error, FORMAT, Tree, migrations};
use crate::home::write_atomically;

/// Damaged databases that are kept beside the new one.
const MAX_ASIDE: usize = 3;
/// What the mark in sled is sealed for, and its text.
const MARK: &[u8] = b"twocan store mark";

/// An opened store, and what the person should know about it.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub vault: Vault,
    /// One sentence each; empty if all was well.
    pub notices: Vec<String>,
}

impl Vault {
    /// Opens the store in the folder `dir` (usually `store` in the home), making it if it is not there.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Older`], [`Error::WrongKey`], [`Error::InUse`], [`Error::Io`], [`Error::Damaged`];
    /// after none of them anything was changed.
    pub fn open(dir: &Path, key: StoreKey) -> Result<Opened, Error> {
        make_folder(dir)?;
        let known = check_format(dir)?;
        let sealer = Sealer::new(key);
        let found = match snapshot::read(&snapshot_path(dir), sealer.store_key()) {
            // A later version would have written the file `format` first: this one is damaged where its version stands.
            Err(error @ (Error::Newer { .. } | Error::Older { .. })) if known => Found::Bad(error.to_string()),
            found => found?,
        };
        let mut notices = Vec::new();
        let (log, contents, log_trouble) = open_log(dir, &sealer, &found, &mut notices)?;
        let (had_snapshot, snapshot) = match found {
            Found::Good(snapshot) => (true, snapshot),
            Found::Nothing => (contents.is_new(), Snapshot::default()),
            Found::Bad(reason) => {
                notices.push(format!("The snapshot of the store was damaged ({reason}) and was written anew."));
                (false, Snapshot::default())
            }
        };
        let state = State {
            generation: contents.generation.max(snapshot.generation),
            mirror: merge(&sealer, contents, snapshot, &mut notices),
            log,
            log_tried: None,
            log_trouble,
            snapshot_trouble: None,
        };
        let vault = Self { dir: dir.to_owned(), sealer, state: Mutex::new(state), trouble: Mutex::new(None) };
        write_format(dir).unwrap_or_else(|error| tracing::warn!(%error, "the store's format could not be noted"));
        vault.settle(had_snapshot);
        Ok(Opened { vault, notices })
    }

    /// Brings log and snapshot to what was believed.
    fn settle(&self, had_snapshot: bool) {
        let mut guard = self.lock();
        let state = &mut *guard;
        match state.log.take() {
            Some(log) => match bring_up_to_date(&log, &self.sealer, state) {
                Ok(()) => state.log = Some(log),
                Err(reason) => {
                    state.log_tried = Some(Instant::now());
                    state.log_trouble = Some(reason);
                }
            },
            None => state.log_tried = Some(Instant::now()),
        }
        if !had_snapshot {
            self.write_snapshot(state);
        }
        self.note_trouble(state);
    }
}

pub(super) fn snapshot_path(dir: &Path) -> PathBuf {
    dir.join("vault.snapshot")
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("sled")
}

/// Something that only the right key opens.
pub(super) fn mark(sealer: &Sealer) -> Vec<u8> {
    sealer.store_key().seal(MARK, MARK, &mut rand::rng())
}

/// Opens sled anew and writes all that the mirror holds; a reason if that does not work.
pub(super) fn renew(dir: &Path, sealer: &Sealer, state: &State) -> Result<Log, String> {
    let path = log_path(dir);
    let log = match Log::open(&path) {
        Ok(log) => log,
        Err(Failure::InUse) => return Err("another process has it open".to_owned()),
        Err(Failure::Refused(error)) => return Err(error.to_string()),
        Err(Failure::Damaged(reason)) => {
            move_aside(&path).map_err(|error| format!("{reason}; moving it aside failed: {error}"))?;
            Log::open(&path).map_err(|error| error.into_error(&path).to_string())?
        }
    };
    bring_up_to_date(&log, sealer, state)?;
    Ok(log)
}

/// Writes to sled what differs from the mirror.
fn bring_up_to_date(log: &Log, sealer: &Sealer, state: &State) -> Result<(), String> {
    let contents = log.read()?;
    let there: HashMap<(Tree, Name), Box<[u8]>> =
        contents.lines.into_iter().map(|(tree, name, sealed)| ((tree, name), sealed)).collect();
    let mut lines: Vec<(Tree, &Name, Option<&[u8]>)> = Vec::new();
    for (tree, name, sealed) in state.mirror.all() {
        if there.get(&(tree, *name)) != Some(&sealed.bytes) {
            lines.push((tree, name, Some(&sealed.bytes)));
        }
    }
    for (tree, name) in there.keys() {
        if state.mirror.get(*tree, name).is_none() {
            lines.push((*tree, name, None));
        }
    }
    if lines.is_empty() && contents.generation == state.generation && contents.mark.is_some() {
        return Ok(());
    }
    log.write(state.generation, &mark(sealer), lines.into_iter())
}

/// Sled and what it holds, or the reason why it goes on without; the snapshot is what there is to fall back to.
fn open_log(
    dir: &Path,
    sealer: &Sealer,
    snapshot: &Found,
    notices: &mut Vec<String>,
) -> Result<(Option<Log>, Contents, Option<String>), Error> {
    let path = log_path(dir);
    let failure = match Log::open(&path) {
        Ok(log) => match log.read() {
            Ok(contents) if contents.mark.is_none() && !contents.lines.is_empty() => {
                Failure::Damaged("its mark is missing".to_owned())
            }
            Ok(contents) => match &contents.mark {
                Some(mark) if sealer.store_key().open(MARK, mark).is_err() => {
                    if !matches!(snapshot, Found::Good(_)) {
                        return Err(Error::WrongKey);
                    }
                    Failure::Damaged("it belongs to another key file".to_owned())
                }
                None if matches!(snapshot, Found::Bad(_)) => return Err(damaged("it is empty", snapshot)),
                None => {
                    if matches!(snapshot, Found::Good(_)) {
                        notices.push(
                            "The store was empty: friends, requests, blocks and settings come from its \
                                      snapshot; the history of calls is lost."
                                .to_owned(),
                        );
                    }
                    return Ok((Some(log), contents, None));
                }
                Some(_) => return Ok((Some(log), contents, None)),
            },
            Err(reason) => Failure::Damaged(reason),
        },
        Err(failure) => failure,
    };
    match (failure, snapshot) {
        (Failure::Damaged(reason), Found::Good(_)) => {
            let io = |source| Error::Io { path: path.clone(), action: "moving the damaged store aside", source };
            let aside = move_aside(&path).map_err(io)?;
            notices.push(format!(
                "The store was damaged ({reason}): friends, requests, blocks and settings come from its snapshot; the \
                 history of calls is lost. The damaged files are in {}.",
                aside.display()
            ));
            let log = Log::open(&path).map_err(|failure| failure.into_error(&path))?;
            Ok((Some(log), Contents::default(), None))
        }
        (Failure::Refused(error), Found::Good(_)) => {
            notices.push(format!(
                "The store cannot be opened ({error}): the node goes on with its snapshot, and keeps changes in memory."
            ));
            Ok((None, Contents::default(), Some(error.to_string())))
        }
        (Failure::Damaged(reason), found) => Err(damaged(&reason, found)),
        (failure, _) => Err(failure.into_error(&path)),
    }
}

fn damaged(reason: &str, snapshot: &Found) -> Error {
    match snapshot {
        Found::Bad(other) => Error::Damaged(format!("{reason}; {other}")),
        _ => Error::Damaged(format!("{reason}; there is no snapshot")),
    }
}

/// What is believed: sled, and where the snapshot knows more, that.
fn merge(sealer: &Sealer, contents: Contents, snapshot: Snapshot, notices: &mut Vec<String>) -> Mirror {
    let mut mirror = Mirror::default();
    let from_snapshot = snapshot.generation > contents.generation;
    let spare: HashMap<(Tree, Name), &Box<[u8]>> =
        snapshot.lines.iter().map(|(tree, name, sealed)| ((*tree, *name), sealed)).collect();
    let mut unread = 0;
    for (tree, name, sealed) in contents.lines {
        if from_snapshot && tree.is_precious() {
            continue;
        }
        let order = sealer.open(tree, &name, &sealed).ok().map(|(order, _)| order);
        let spare = spare.get(&(tree, name)).filter(|_| order.is_none());
        match spare.and_then(|spare| Some((sealer.open(tree, &name, spare).ok()?.0, (*spare).clone()))) {
            Some((order, spare)) => mirror.load(tree, name, Some(order), spare),
            None => {
                unread += usize::from(order.is_none());
                mirror.load(tree, name, order, sealed);
            }
        }
    }
    if from_snapshot {
        for (tree, name, sealed) in snapshot.lines {
            let order = sealer.open(tree, &name, &sealed).ok().map(|(order, _)| order);
            unread += usize::from(order.is_none());
            mirror.load(tree, name, order, sealed);
        }
    }
    if unread > 0 {
        notices.push(format!("{unread} entries of the store were changed on the disk and cannot be read."));
    }
    mirror
}

/// Gives a damaged folder another name, and forgets the oldest of those kept before.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let aside = path.with_extension(format!("damaged-{now}"));
    std::fs::rename(path, &aside)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut kept: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end.to_string_lossy().starts_with("damaged-")))
        .collect();
    kept.sort();
    for old in kept.iter().rev().skip(MAX_ASIDE) {
        if let Err(error) = std::fs::remove_dir_all(old) {
            tracing::warn!(%error, "an old damaged store could not be removed");
        }
    }
    Ok(aside)
}

fn make_folder(dir: &Path) -> Result<(), Error> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(source) => Err(Error::Io { path: dir.to_owned(), action: "making the folder", source }),
        Ok(()) => Ok(()),
    }
}

/// Whether the file `format` says that the format is the present one; without the file that is not known.
fn check_format(dir: &Path) -> Result<bool, Error> {
    let path = dir.join("format");
    match std::fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(FORMAT) => Ok(true),
            Ok(found) if found > FORMAT => Err(Error::Newer { found }),
            Ok(found) => migrations::run(dir, found).map(|()| true),
            // Not worth a refusal: the snapshot carries its own version.
            Err(_) => Ok(false),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // Not text: damaged, as above.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
        Err(source) => Err(Error::Io { path, action: "reading it", source }),
    }
}

fn write_format(dir: &Path) -> io::Result<()> {
    let path = dir.join("format");
    let text = format!("{FORMAT}\n");
    if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    write_atomically(&path, text.as_bytes())
}
