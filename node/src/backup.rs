//! The encrypted backup: identity, friends, grants, blocks and settings in one file, and the way back into an empty home
//! (`specs/07-storage.md`).

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use twocan_protocol::identity::{PhraseError, RootKey};
use twocan_protocol::sealed::StoreKey;
use twocan_protocol::sealed::passphrase::{self, Kind, OpenError, SealFileError};
use zeroize::{Zeroize, Zeroizing};

use crate::home::Home;
use crate::keyfile::{self, Keys};
use crate::store::{self, Store, Vault};

/// Format version of what is inside the sealed file.
const VERSION: u16 = 1;

/// Why there is no backup, or it does not come back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The passphrase cannot be used, or the backup is too large.
    #[error(transparent)]
    Seal(#[from] SealFileError),
    /// The file does not open.
    #[error("the backup does not open: {0}")]
    Open(#[from] OpenError),
    /// The words are no recovery phrase.
    #[error(transparent)]
    Phrase(#[from] PhraseError),
    /// The content is not what this version writes.
    #[error("the backup was written by a newer twocan, or is damaged inside")]
    Content,
    /// There is an identity already.
    #[error(
        "the home {0} has an identity already; choose an empty one with TWOCAN_HOME, or move that folder away first"
    )]
    Occupied(String),
    /// A store that nobody can open is in the way.
    #[error("the folder `store` without a key file cannot be moved aside: {0}")]
    Aside(std::io::Error),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The key file cannot be written.
    #[error(transparent)]
    Keys(#[from] keyfile::Error),
}

/// What the sealed file holds (CBOR).
#[derive(Serialize, Deserialize)]
struct Content {
    v: u16,
    /// Secret of the root key.
    root: ByteArray<32>,
    /// What [`Vault::export`] gives.
    store: ByteBuf,
}

/// What to restore from.
pub enum Source<'a> {
    /// 24 words: the identity alone.
    Words(&'a str),
    /// A backup file and its passphrase.
    File {
        /// The file's bytes.
        bytes: &'a [u8],
        /// Its passphrase.
        passphrase: &'a str,
    },
}

/// Makes a backup file. Takes about 0.2 s: call it off the event loop.
///
/// # Errors
/// If the passphrase is too long, or the store cannot be read.
pub fn make(keys: &Keys, vault: &Vault, passphrase: &str) -> Result<Vec<u8>, Error> {
    let mut content = Content {
        v: VERSION,
        root: ByteArray::new(**keys.root.secret()),
        store: ByteBuf::from(vault.export()?.to_vec()),
    };
    let mut plain = Zeroizing::new(Vec::with_capacity(content.store.len() + 128));
    let written = ciborium::into_writer(&content, &mut *plain);
    content.root.zeroize();
    content.store.zeroize();
    written.map_err(|_| Error::Content)?;
    Ok(passphrase::seal(passphrase, Kind::Backup, &plain, &mut rand::rng())?)
}

/// Restores into a home that has no identity. This installation gets a device key of its own, with a certificate that is
/// newer than any before.
///
/// # Errors
/// If the home is not empty or the material does not open; nothing is written then.
pub fn restore(home: &Home, source: Source<'_>, unix_s: u64) -> Result<Keys, Error> {
    if home.key_file().exists() {
        return Err(Error::Occupied(home.path().display().to_string()));
    }
    let mut rng = rand::rng();
    let (root, changes) = match source {
        Source::Words(words) => (RootKey::from_phrase(words)?, Vec::new()),
        Source::File { bytes, passphrase } => {
            let plain = passphrase::open(passphrase, Kind::Backup, bytes)?;
            let mut content: Content = ciborium::from_reader(plain.as_slice()).map_err(|_| Error::Content)?;
            if content.v != VERSION {
                return Err(Error::Content);
            }
            let root = RootKey::from_secret(&content.root);
            content.root.zeroize();
            let changes = Vault::import(&content.store)?;
            content.store.zeroize();
            (root, changes)
        }
    };
    let keys = Keys::of_root(root, unix_s, &mut rng);
    let folder = store_folder(home.path());
    if folder.exists() {
        // Without a key file nobody can open it: what a restore left that was cut short.
        std::fs::rename(&folder, home.path().join(format!("store.without-key.{unix_s}"))).map_err(Error::Aside)?;
    }
    if !changes.is_empty() {
        let opened = Vault::open(&folder, StoreKey::from_secret(keys.store.secret()))?;
        opened.vault.apply(changes)?;
    }
    // The key file comes last: a restore that is cut short leaves a home that can be restored into again.
    keys.write(&home.key_file(), "", &mut rng)?;
    Ok(keys)
}

/// Where the store of a home lies.
pub fn store_folder(home: &Path) -> std::path::PathBuf {
    home.join("store")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, Entry, Tree};

    #[test]
    fn a_backup_brings_identity_and_friends_back() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("one")).unwrap();
        let keys = Keys::generate(1_800_000_000, &mut rand::rng());
        let vault = Vault::open(&store_folder(home.path()), StoreKey::from_secret(keys.store.secret())).unwrap().vault;
        let entry = Entry { key: b"bob".to_vec(), version: 1, record: Zeroizing::new(vec![0xf6]) };
        vault.apply(vec![Change::Put(Tree::Friends, entry.clone())]).unwrap();
        let file = make(&keys, &vault, "correct horse").unwrap();

        let empty = Home::open(&folder.path().join("two")).unwrap();
        let wrong = Source::File { bytes: &file, passphrase: "wrong horse" };
        assert!(matches!(restore(&empty, wrong, 1), Err(Error::Open(OpenError::WrongPassphrase))));
        let right = Source::File { bytes: &file, passphrase: "correct horse" };
        let again = restore(&empty, right, 1_800_000_001).unwrap();
        assert_eq!(again.root.public(), keys.root.public());
        assert!(again.certificate.issued_s > keys.certificate.issued_s);
        let found =
            Vault::open(&store_folder(empty.path()), StoreKey::from_secret(again.store.secret())).unwrap().vault;
        assert_eq!(found.get(Tree::Friends, b"bob").unwrap(), Some(entry));
        let twice = Source::Words("whatever");
        assert!(matches!(restore(&empty, twice, 1), Err(Error::Occupied(_))));
    }

    #[test]
    fn the_words_alone_bring_the_identity_back() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let keys = Keys::generate(1_800_000_000, &mut rand::rng());
        let again = restore(&home, Source::Words(&keys.root.phrase()), 1_800_000_000).unwrap();
        assert_eq!(again.root.public(), keys.root.public());
        assert_ne!(again.device.public(), keys.device.public());
    }
}
