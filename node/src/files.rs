//! The bytes of files between friends: hashing what is offered, fetching and serving over streams of their own, and
//! putting what came under a harmless name (`specs/04-link.md`, "Files"). What is wanted and when is decided by
//! [`twocan_protocol::files`]; the service carries it out with what is here.
//!
//! Each fetch and each stream served is one task. Disk work is done on threads for blocking work, a frame at a time.

mod fetch;
mod pace;
mod place;
mod serve;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest, Sha256};

pub(crate) use fetch::{Job, fetch};
pub(crate) use pace::Pace;
pub(crate) use place::remove_part;
pub(crate) use serve::{Served, Source, read_request, refuse, serve};

/// How long the first words on a stream may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a file in one frame: small, so that little is in flight when a call begins.
const FRAME: usize = 16 * 1024;
/// Bytes read at once while hashing.
const CHUNK: usize = 128 * 1024;

/// What is known of a file that is offered, before it is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Size in bytes.
    pub(crate) size: u64,
    /// When it was changed last, in nanoseconds since 1970.
    pub(crate) stamp: u64,
}

/// Looks at a file that a person offers.
///
/// # Errors
/// If it is no regular file, or cannot be read.
pub(crate) fn facts(path: &Path) -> io::Result<Facts> {
    facts_of(&File::open(path)?)
}

fn facts_of(file: &File) -> io::Result<Facts> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let stamp = changed.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    Ok(Facts { size: metadata.len(), stamp })
}

/// SHA-256 of a whole file that must still be what it was.
///
/// # Errors
/// If it cannot be read, or was changed.
pub(crate) fn hash(path: &Path, expected: Facts) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    if facts_of(&file)? != expected {
        return Err(io::Error::other("it was changed"));
    }
    let mut digest = Sha256::new();
    let read = hash_into(&mut file, &mut digest, expected.size)?;
    if read != expected.size || facts_of(&file)? != expected {
        return Err(io::Error::other("it was changed"));
    }
    Ok(digest.finalize().into())
}

/// Hashes up to `most` bytes from where the file stands; gives how many there were.
fn hash_into(file: &mut File, digest: &mut Sha256, most: u64) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut reader = file.take(most);
    let mut all = 0;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok(all);
        }
        digest.update(&buffer[..read]);
        all += read as u64;
    }
}

/// SHA-256 of the bytes before `offset` that two sides compare.
fn tail(file: &mut File, offset: u64) -> io::Result<[u8; 32]> {
    let length = offset.min(twocan_protocol::wire::TAIL);
    file.seek(SeekFrom::Start(offset - length))?;
    let mut digest = Sha256::new();
    hash_into(file, &mut digest, length)?;
    Ok(digest.finalize().into())
}
