//! The only place that names sled: one tree of entries, written in atomic batches.
//!
//! The store's trees are ranges of one sled tree (key = tree byte, then the entry's name), because sled writes a batch
//! atomically within a tree only, and a batch of ours (request gone, friend there) crosses trees. Key 0 stands before
//! all of them: the generation, and a sealed mark by which a wrong key file is told from damage.
//!
//! Every call is guarded against panics: sled 0.34 answers some damaged files with one.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::entry::{NAME_LEN, Name};
use super::{Error, Tree};

/// Pages that sled keeps in memory. Reads come from our own mirror; this serves writes.
const CACHE: u64 = 1024 * 1024;
/// Name of the sled tree.
const TREE: &[u8] = b"entries";
/// Number of the last change (u64, big-endian).
const GENERATION: &[u8] = b"\0generation";
/// Something sealed under the store key.
const MARK: &[u8] = b"\0mark";

/// sled's own threads hold the lock for a moment after a database was dropped, and so does the kernel after a kill.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// A full store opens in 0.1 s; a slow disk may take a hundred times as long.
const OPEN_PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// An open sled database.
#[derive(Debug)]
pub(super) struct Log {
    database: sled::Db,
    tree: sled::Tree,
    path: PathBuf,
}

/// Why a log does not open.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another process has it.
    InUse,
    /// The system refuses (rights, space): the files may be well.
    Refused(io::Error),
    /// The files are not well.
    Damaged(String),
}

/// What a log holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) generation: u64,
    pub(super) mark: Option<Vec<u8>>,
    pub(super) lines: Vec<(Tree, Name, Box<[u8]>)>,
}

impl Contents {
    /// Whether nothing was ever written to it.
    pub(super) fn is_new(&self) -> bool {
        self.mark.is_none() && self.lines.is_empty()
    }
}

impl Log {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        // Whether there is a folder at all is asked first: sled's own error does not tell.
        match std::fs::metadata(path) {
            Ok(found) if !found.is_dir() => return Err(Failure::Damaged("it is not a folder".to_owned())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::Refused(error)),
            _ => {}
        }
        let path = path.to_owned();
        let open = move || {
            let config = sled::Config::new().path(&path).cache_capacity(CACHE).flush_every_ms(None);
            let database = config.open()?;
            let tree = database.open_tree(TREE)?;
            Ok(Self { database, tree, path: path.clone() })
        };
        let give_up = Instant::now() + LOCK_PATIENCE;
        loop {
            match watch(open.clone()).map_err(Failure::Damaged)?.map_err(sort) {
                Err(Failure::InUse) if Instant::now() < give_up => std::thread::sleep(LOCK_PAUSE),
                result => return result,
            }
        }
    }

    pub(super) fn read(&self) -> Result<Contents, String> {
        let tree = self.tree.clone();
        let read = move || {
            let mut contents = Contents::default();
            for item in &tree {
                let (key, value) = item?;
                if key.as_ref() == GENERATION {
                    contents.generation = value.as_ref().try_into().map_or(0, u64::from_be_bytes);
                } else if key.as_ref() == MARK {
                    contents.mark = Some(value.to_vec());
                } else if let Some((tree, name)) = split(&key) {
                    contents.lines.push((tree, name, value.as_ref().into()));
                }
            }
            Ok::<_, sled::Error>(contents)
        };
        watch(read)?.map_err(|error| error.to_string())
    }

    /// Writes some entries (`None` removes one) and the generation, all or nothing, and waits until they are on the disk.
    pub(super) fn write<'a>(
        &self,
        generation: u64,
        mark: &[u8],
        lines: impl Iterator<Item = (Tree, &'a Name, Option<&'a [u8]>)>,
    ) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        batch.insert(GENERATION, &generation.to_be_bytes());
        batch.insert(MARK, mark);
        for (tree, name, sealed) in lines {
            match sealed {
                Some(sealed) => batch.insert(join(tree, name), sealed),
                None => batch.remove(join(tree, name)),
            }
        }
        let write = || {
            self.tree.apply_batch(batch)?;
            self.database.flush().map(drop)
        };
        guard(write)?.map_err(|error| error.to_string())?;
        self.sync().map_err(|error| error.to_string())
    }

    /// What sled calls a flush hands the bytes to the system only; this sees them onto the disk.
    fn sync(&self) -> io::Result<()> {
        File::open(self.path.join("db"))?.sync_data()?;
        // Where large values lie, if there are any.
        for entry in self.path.join("blobs").read_dir()? {
            match File::open(entry?.path()) {
                Ok(file) => file.sync_data()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn join(tree: Tree, name: &Name) -> Vec<u8> {
    [&[tree as u8], name.as_slice()].concat()
}

fn split(key: &[u8]) -> Option<(Tree, Name)> {
    let (tree, name) = key.split_first()?;
    Some((Tree::from_byte(*tree)?, <[u8; NAME_LEN]>::try_from(name).ok()?))
}

/// The same, and an end of the waiting: damage could make sled walk in a circle. Its thread is given up then.
fn watch<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (done, result) = sync_channel(1);
    let run = move || drop(done.send(guard(work)));
    std::thread::Builder::new().name("store-open".to_owned()).spawn(run).map_err(|error| error.to_string())?;
    result.recv_timeout(OPEN_PATIENCE).map_err(|_| "sled does not come to an end".to_owned())?
}

/// Turns a panic of sled into an error.
fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        format!("sled gave up: {text}")
    })
}

fn sort(error: sled::Error) -> Failure {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error {
        // sled hides the kind of this one.
        sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => Failure::InUse,
        sled::Error::Io(error)
            if matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull) =>
        {
            Failure::Refused(error)
        }
        error => Failure::Damaged(error.to_string()),
    }
}

impl Failure {
    /// The error where there is nothing to fall back to.
    pub(super) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::InUse => Error::InUse(path.to_owned()),
            Self::Refused(source) => Error::Io { path: path.to_owned(), action: "opening it", source },
            Self::Damaged(reason) => Error::Damaged(reason),
        }
    }
}
