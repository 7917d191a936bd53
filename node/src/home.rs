//! The node's home folder: one place for everything it keeps, 0700, and one node at a time.
//!
//! A home that cannot be used is a clear error before anything is touched: who holds it, what is missing, what to do.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither `$TWOCAN_HOME` nor `$HOME` is set.
    #[error("no home folder: neither TWOCAN_HOME nor HOME is set")]
    NoHome,
    /// Another node uses it.
    #[error("the home {} is in use by another twocand (process {pid}); stop it with `twocan down`, or set TWOCAN_HOME to another folder", .path.display())]
    InUse {
        /// The home.
        path: PathBuf,
        /// The process that holds it, or "unknown".
        pid: String,
    },
    /// The folder cannot be made, read or written.
    #[error("the home {} cannot be used: {action} failed: {source}", .path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// An opened home. Holds the lock until dropped.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    /// Opens the home at `path`, making it if it is not there, and takes its lock.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |action| {
            let path = path.to_owned();
            move |source| Error::Io { path, action, source }
        };
        fs::create_dir_all(path).map_err(fail("making the folder"))?;
        let path = path.canonicalize().map_err(fail("finding the folder"))?;
        restrict(&path, 0o700).map_err(fail("setting its permissions to 0700"))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key file (`specs/07-storage.md`).
    pub fn key_file(&self) -> PathBuf {
        self.path.join(crate::keyfile::NAME)
    }

    /// Settings, written by the person.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        twocan_control::paths::socket(&self.path)
    }
}

/// Takes the lock file, and writes our pid into it for the one who comes second.
fn lock(home: &Path) -> Result<File, Error> {
    let path = home.join("lock");
    let fail = |action| {
        let path = path.clone();
        move |source| Error::Io { path, action, source }
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(fail("opening the lock file"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The holder's pid is a courtesy: without it the error still stands.
            let _ = file.take(32).read_to_string(&mut pid);
            let pid = pid.trim();
            let known = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
            return Err(Error::InUse {
                path: home.to_owned(),
                pid: if known { pid.to_owned() } else { "unknown".to_owned() },
            });
        }
        Err(TryLockError::Error(source)) => return Err(fail("locking")(source)),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(fail("writing the lock file"))?;
    Ok(file)
}

/// Writes a file so that after a crash either the old or the new content is there: temporary file, fsync, rename,
/// fsync of the folder. The file is 0600.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn restrict(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_node_on_a_home_learns_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Home::open(folder.path()).unwrap();
        let text = Home::open(folder.path()).unwrap_err().to_string();
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert!(text.contains("twocan down"), "{text}");
        drop(first);
        Home::open(folder.path()).unwrap();
    }

    #[test]
    fn a_home_that_is_a_file_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let text = Home::open(&file).unwrap_err().to_string();
        assert!(text.contains(file.to_str().unwrap()), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_written_atomically_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
