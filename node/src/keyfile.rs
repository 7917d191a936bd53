//! The key file `identity.key`: who this node speaks for, and the key that seals everything else it keeps.
//! Format in `specs/07-storage.md`. It is written once, at the first start or by a restore, and again only when the
//! passphrase changes; each time atomically, so that a crash leaves the old or the new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::CryptoRng;
use twocan_protocol::identity::{CERTIFICATE_LEN, Certificate, CertificateError, DeviceKey, RootKey};
use twocan_protocol::sealed::StoreKey;
use twocan_protocol::sealed::passphrase::{self, Kind, OpenError, SealFileError};
use zeroize::{Zeroize, Zeroizing};

use crate::home::write_atomically;

/// Name of the file in the home.
pub const NAME: &str = "identity.key";
/// First bytes of a key file without passphrase; the last byte is the format version.
const MAGIC: &[u8; 8] = b"2cankey\x01";
/// `magic 8 | root secret 32 | device secret 32 | store key 32 | certificate 149 | checksum 8`.
const LEN: usize = 8 + 3 * 32 + CERTIFICATE_LEN + 8;
/// A certificate made here is valid for ten years: version 1 has one device and no revocation but a newer certificate.
const CERTIFICATE_YEARS: u64 = 10;
/// More than any key file has; a larger file is not read into memory.
const MAX_FILE: u64 = 64 * 1024;

/// Everything secret that does not change from day to day.
pub struct Keys {
    /// Who this is.
    pub root: Arc<RootKey>,
    /// This installation.
    pub device: DeviceKey,
    /// That the root lets the device speak for it.
    pub certificate: Certificate,
    /// What seals the store.
    pub store: StoreKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written.
    #[error("the key file {} cannot be {action}: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// "read" or "written".
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("the key file {} is damaged ({reason}); put a copy of it back, or restore your 24 words or a backup into an empty home with `twocan restore`", .path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Written by a later version of the program.
    #[error("the key file {} was written by a newer twocan; update this one", .path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
    },
    /// The passphrase does not open it.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// The passphrase cannot be used.
    #[error(transparent)]
    Seal(#[from] SealFileError),
}

/// What lies at the place of the key file.
#[derive(Debug)]
pub enum Found {
    /// No file: a first start.
    Nothing,
    /// Keys.
    Open(Box<Keys>),
    /// Keys under a passphrase.
    Sealed(Zeroizing<Vec<u8>>),
}

impl Keys {
    /// A new identity.
    pub fn generate(unix_s: u64, rng: &mut impl CryptoRng) -> Self {
        Self::of_root(RootKey::generate(rng), unix_s, rng)
    }

    /// A new installation of the identity `root`. Its certificate is newer than any before, so it takes over.
    pub fn of_root(root: RootKey, unix_s: u64, rng: &mut impl CryptoRng) -> Self {
        let device = DeviceKey::generate(rng);
        let expires = unix_s + CERTIFICATE_YEARS * 365 * 24 * 3600;
        let certificate = Certificate::issue(&root, device.public(), 0, unix_s, expires);
        Self { root: Arc::new(root), device, certificate, store: StoreKey::generate(rng) }
    }

    /// Writes the file, under the passphrase if it is not empty. Sealing takes about 0.2 s: call it off the event loop.
    pub fn write(&self, path: &Path, passphrase: &str, rng: &mut impl CryptoRng) -> Result<(), Error> {
        let plain = self.encode();
        let bytes = if passphrase.is_empty() {
            plain
        } else {
            Zeroizing::new(passphrase::seal(passphrase, Kind::KeyFile, &plain, rng)?)
        };
        write_atomically(path, &bytes).map_err(|source| Error::Io { path: path.to_owned(), action: "written", source })
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(LEN));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(self.root.secret().as_slice());
        out.extend_from_slice(self.device.secret().as_slice());
        out.extend_from_slice(self.store.secret().as_slice());
        out.extend_from_slice(&self.certificate.encode());
        let sum = checksum(&out);
        out.extend_from_slice(&sum);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() != LEN {
            return Err(format!("{} bytes instead of {LEN}", bytes.len()));
        }
        let (content, sum) = bytes.split_at(LEN - 8);
        if checksum(content) != sum {
            return Err("its checksum does not fit".to_owned());
        }
        let secret = |index: usize| {
            let mut out = Zeroizing::new([0; 32]);
            out.copy_from_slice(&content[8 + index * 32..][..32]);
            out
        };
        let root = RootKey::from_secret(&secret(0));
        let device = DeviceKey::from_secret(&secret(1));
        let store = StoreKey::from_secret(&secret(2));
        let certificate =
            Certificate::decode(&content[8 + 96..]).map_err(|error: CertificateError| error.to_string())?;
        if certificate.root != root.public() || certificate.device != device.public() {
            return Err("its certificate belongs to other keys".to_owned());
        }
        Ok(Self { root: Arc::new(root), device, certificate, store })
    }
}

/// Looks for a key file.
pub fn find(path: &Path) -> Result<Found, Error> {
    let fail = |source| Error::Io { path: path.to_owned(), action: "read", source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(fail(error)),
        Ok(metadata) if metadata.len() > MAX_FILE => {
            return Err(Error::Corrupt { path: path.to_owned(), reason: "it is far too large".to_owned() });
        }
        Ok(_) => {}
    }
    let mut bytes = std::fs::read(path).map_err(fail)?;
    if passphrase::is_sealed(&bytes) {
        return Ok(Found::Sealed(Zeroizing::new(bytes)));
    }
    if bytes.len() >= 8 && bytes[..7] == MAGIC[..7] && bytes[7] > MAGIC[7] {
        return Err(Error::Newer { path: path.to_owned() });
    }
    let found =
        if bytes.starts_with(MAGIC) { Keys::decode(&bytes) } else { Err("it does not begin like one".to_owned()) };
    bytes.zeroize();
    found.map(|keys| Found::Open(Box::new(keys))).map_err(|reason| Error::Corrupt { path: path.to_owned(), reason })
}

/// Opens sealed keys. Takes about 0.2 s: call it off the event loop.
pub fn unseal(path: &Path, sealed: &[u8], phrase: &str) -> Result<Keys, Error> {
    let corrupt = |reason| Error::Corrupt { path: path.to_owned(), reason };
    let plain = passphrase::open(phrase, Kind::KeyFile, sealed).map_err(|error| match error {
        OpenError::WrongPassphrase => Error::WrongPassphrase,
        OpenError::NewerVersion(_) => Error::Newer { path: path.to_owned() },
        other => corrupt(other.to_string()),
    })?;
    Keys::decode(&plain).map_err(corrupt)
}

/// FNV-1a over the content: tells damage from a whole file. (Against an attacker who can write the file nothing helps.)
fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(passphrase: &str) -> (tempfile::TempDir, PathBuf, Keys) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let keys = Keys::generate(1_800_000_000, &mut rand::rng());
        keys.write(&path, passphrase, &mut rand::rng()).unwrap();
        (folder, path, keys)
    }

    #[test]
    fn keys_come_back_from_their_file() {
        let (_folder, path, keys) = written("");
        let Found::Open(again) = find(&path).unwrap() else { panic!("not open") };
        assert_eq!(again.root.public(), keys.root.public());
        assert_eq!(again.certificate, keys.certificate);
        assert_eq!(again.store.secret(), keys.store.secret());
    }

    #[test]
    fn a_passphrase_is_needed_where_one_was_set() {
        let (_folder, path, keys) = written("open sesame");
        let Found::Sealed(sealed) = find(&path).unwrap() else { panic!("not sealed") };
        assert!(matches!(unseal(&path, &sealed, "wrong"), Err(Error::WrongPassphrase)));
        assert_eq!(unseal(&path, &sealed, "open sesame").unwrap().root.public(), keys.root.public());
    }

    #[test]
    fn every_damage_is_found_and_named() {
        let (_folder, path, _) = written("");
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            std::fs::write(&path, damaged).unwrap();
            let text = find(&path).unwrap_err().to_string();
            assert!(text.contains("identity.key"), "{text}");
        }
        std::fs::write(&path, &whole[..100]).unwrap();
        assert!(find(&path).unwrap_err().to_string().contains("twocan restore"));
    }

    #[test]
    fn a_key_file_of_a_later_version_is_left_alone() {
        let (_folder, path, _) = written("");
        let mut newer = std::fs::read(&path).unwrap();
        newer[7] = 2;
        std::fs::write(&path, newer).unwrap();
        assert!(matches!(find(&path), Err(Error::Newer { .. })));
    }
}
