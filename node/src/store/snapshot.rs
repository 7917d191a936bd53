//! The sealed snapshot: everything precious in one small file that is always whole, because it is written anew beside
//! the old one and renamed into its place.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use twocan_protocol::sealed::StoreKey;

use super::entry::{NAME_LEN, Name};
use super::{Error, FORMAT, Tree};
use crate::home::write_atomically;

/// First bytes of the file; the format version (u32, big-endian) follows.
const MAGIC: &[u8; 8] = b"2cansnap";
/// Largest file that is read: the trees at their limits with ordinary records have 10 MB.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// What the file is sealed for.
const CONTEXT: &[u8] = b"twocan store snapshot";

/// One entry as it lies on the disk: tree, name, sealed value.
pub(super) type Line = (Tree, Name, Box<[u8]>);

/// What a snapshot holds.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// The number of the change that it was written after.
    pub(super) generation: u64,
    pub(super) lines: Vec<Line>,
}

/// What lies at the place of the snapshot.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    Good(Snapshot),
    /// It cannot be used, and why.
    Bad(String),
}

#[derive(Serialize, Deserialize)]
struct Body {
    generation: u64,
    lines: Vec<(u8, ByteBuf, ByteBuf)>,
}

/// Writes the file; when it returns, the new one is on the disk.
pub(super) fn write<'a>(
    path: &Path,
    key: &StoreKey,
    generation: u64,
    lines: impl Iterator<Item = (Tree, &'a Name, &'a [u8])>,
) -> io::Result<()> {
    let lines = lines.map(|(tree, name, sealed)| (tree as u8, ByteBuf::from(name), ByteBuf::from(sealed))).collect();
    // The lines are sealed already: no secret lies open here.
    let mut plain = Vec::new();
    ciborium::into_writer(&Body { generation, lines }, &mut plain).map_err(io::Error::other)?;
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&FORMAT.to_be_bytes());
    file.extend(key.seal(CONTEXT, &plain, &mut rand::rng()));
    write_atomically(path, &file)
}

/// Reads the file.
///
/// # Errors
/// [`Error::Newer`] if a later version wrote it. Anything else that is wrong with it is [`Found::Bad`].
pub(super) fn read(path: &Path, key: &StoreKey) -> Result<Found, Error> {
    let bytes = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Ok(Found::Bad(error.to_string())),
        Ok(found) if found.len() > MAX_FILE => return Ok(Found::Bad("it is too large".to_owned())),
        Ok(_) => match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Found::Bad(error.to_string())),
        },
    };
    let Some((version, sealed)) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<4>()) else {
        return Ok(Found::Bad("it does not begin like a snapshot".to_owned()));
    };
    match u32::from_be_bytes(*version) {
        FORMAT => {}
        found if found > FORMAT => return Err(Error::Newer { found }),
        found => return Err(Error::Older { found }),
    }
    Ok(match parse(key, sealed) {
        Ok(snapshot) => Found::Good(snapshot),
        Err(reason) => Found::Bad(reason),
    })
}

fn parse(key: &StoreKey, sealed: &[u8]) -> Result<Snapshot, String> {
    let plain = key.open(CONTEXT, sealed).map_err(|error| error.to_string())?;
    let body: Body = ciborium::from_reader(plain.as_slice()).map_err(|_| "it holds no snapshot".to_owned())?;
    let lines = body.lines.into_iter().filter_map(|(tree, name, sealed)| {
        let name: [u8; NAME_LEN] = name.as_slice().try_into().ok()?;
        Some((Tree::from_byte(tree)?, name, sealed.into_vec().into_boxed_slice()))
    });
    Ok(Snapshot { generation: body.generation, lines: lines.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_comes_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vault.snapshot");
        let key = StoreKey::from_secret(&[5; 32]);
        assert!(matches!(read(&path, &key).unwrap(), Found::Nothing));
        let lines = [(Tree::Friends, &[1; NAME_LEN], &b"one"[..]), (Tree::Blocks, &[2; NAME_LEN], b"two")];
        write(&path, &key, 7, lines.into_iter()).unwrap();
        let Found::Good(snapshot) = read(&path, &key).unwrap() else { panic!("not good") };
        assert_eq!(snapshot.generation, 7);
        assert_eq!(snapshot.lines[1], (Tree::Blocks, [2; NAME_LEN], Box::from(&b"two"[..])));
        assert!(matches!(read(&path, &StoreKey::from_secret(&[6; 32])).unwrap(), Found::Bad(_)));
        let good = std::fs::read(&path).unwrap();
        for cut in 0..good.len() {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(matches!(read(&path, &key).unwrap(), Found::Bad(_)), "cut at {cut}");
        }
        for at in 12..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 0x40;
            std::fs::write(&path, &changed).unwrap();
            assert!(matches!(read(&path, &key).unwrap(), Found::Bad(_)), "byte {at}");
        }
        let mut newer = good.clone();
        newer[11] = 9;
        std::fs::write(&path, &newer).unwrap();
        assert!(matches!(read(&path, &key), Err(Error::Newer { found: 9 })));
    }
}
