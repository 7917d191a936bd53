//! Bytes under a passphrase: the key file and the backup. Argon2id makes guessing dear; its parameters stand in the
//! header, are authenticated, and are bounded before any memory is taken, because the file may come from anybody.

use argon2::{Algorithm, Argon2, Params, Version};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{TAG, decrypt, encrypt};
use crate::limits::{PASSPHRASE_MAX, SEALED_FILE_MAX};

/// First bytes of every such file.
const MAGIC: &[u8; 8] = b"twocan\r\n";
/// Format version.
const VERSION: u8 = 1;
/// `magic 8 | kind u8 | version u8 | memory KiB u32 | passes u32 | lanes u32 | salt 16 | nonce 24`.
const HEADER: usize = 8 + 2 + 12 + 16 + 24;

/// Argon2id with 64 MiB and 3 passes (RFC 9106, second recommendation, one lane): about 0.2 s on a small machine.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// What is accepted on opening: 8 MiB to 256 MiB, up to 16 passes and 4 lanes. A file that asks for more is not ours,
/// one that asks for less gives its passphrase away.
const MEMORY_KIB_MIN: u32 = 8 * 1024;
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 4;

/// What kind of file it is; a backup does not open as a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The node's key file.
    KeyFile,
    /// A backup to be kept elsewhere.
    Backup,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::KeyFile => b'k',
            Self::Backup => b'b',
        }
    }
}

/// Why a file cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealFileError {
    /// Longer than [`PASSPHRASE_MAX`] bytes.
    #[error("the passphrase is longer than {PASSPHRASE_MAX} bytes")]
    PassphraseTooLong,
    /// More than [`SEALED_FILE_MAX`] bytes.
    #[error("more than {SEALED_FILE_MAX} bytes cannot be sealed in one file")]
    TooLarge,
    /// Argon2 found no memory.
    #[error("not enough memory to derive the key (64 MiB are needed)")]
    OutOfMemory,
}

/// Why a file does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The passphrase is another, or the content was changed: the cipher cannot tell the two apart.
    #[error("wrong passphrase (or the file was changed)")]
    WrongPassphrase,
    /// Not such a file, cut short, or with parameters that we never write.
    #[error("the file is damaged or of another kind")]
    Corrupt,
    /// Written by a later version.
    #[error("the file has format version {0}, which is newer than this program: update twocan")]
    NewerVersion(u8),
    /// Argon2 found no memory.
    #[error("not enough memory to derive the key")]
    OutOfMemory,
}

/// Seals a file. Takes about 0.2 s and 64 MiB: call it off the event loop.
pub fn seal(
    passphrase: &str,
    kind: Kind,
    plaintext: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, SealFileError> {
    if passphrase.len() > PASSPHRASE_MAX {
        return Err(SealFileError::PassphraseTooLong);
    }
    if plaintext.len() > SEALED_FILE_MAX {
        return Err(SealFileError::TooLarge);
    }
    let mut header = Vec::with_capacity(HEADER + plaintext.len() + TAG);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[kind.byte(), VERSION]);
    for number in [MEMORY_KIB, PASSES, LANES] {
        header.extend_from_slice(&number.to_be_bytes());
    }
    let mut salt = [0; 16];
    let mut nonce = [0; 24];
    rng.fill_bytes(&mut salt);
    rng.fill_bytes(&mut nonce);
    header.extend_from_slice(&salt);
    header.extend_from_slice(&nonce);
    let key = derive(passphrase, &salt, MEMORY_KIB, PASSES, LANES).ok_or(SealFileError::OutOfMemory)?;
    let ciphertext = encrypt(&key, &nonce, &header, plaintext);
    header.extend(ciphertext);
    Ok(header)
}

/// Opens what [`seal`] made for the same kind. As slow as sealing.
pub fn open(passphrase: &str, kind: Kind, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    if !is_sealed(file) || file.len() < 10 || file[8] != kind.byte() {
        return Err(OpenError::Corrupt);
    }
    if file[9] > VERSION {
        return Err(OpenError::NewerVersion(file[9]));
    }
    if file[9] != VERSION || file.len() < HEADER + TAG || file.len() > HEADER + SEALED_FILE_MAX + TAG {
        return Err(OpenError::Corrupt);
    }
    let (header, ciphertext) = file.split_at(HEADER);
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (memory, passes, lanes) = (number(10), number(14), number(18));
    let bounded = (MEMORY_KIB_MIN..=MEMORY_KIB_MAX).contains(&memory)
        && (1..=PASSES_MAX).contains(&passes)
        && (1..=LANES_MAX).contains(&lanes);
    if !bounded {
        return Err(OpenError::Corrupt);
    }
    if passphrase.len() > PASSPHRASE_MAX {
        return Err(OpenError::WrongPassphrase);
    }
    let mut salt = [0; 16];
    let mut nonce = [0; 24];
    salt.copy_from_slice(&header[22..38]);
    nonce.copy_from_slice(&header[38..]);
    let key = derive(passphrase, &salt, memory, passes, lanes).ok_or(OpenError::OutOfMemory)?;
    decrypt(&key, &nonce, header, ciphertext).ok_or(OpenError::WrongPassphrase)
}

/// Whether bytes begin like a file sealed under a passphrase.
pub fn is_sealed(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

/// Argon2id version 0x13 over the passphrase's UTF-8 bytes as typed; nothing if there is no memory for it.
fn derive(passphrase: &str, salt: &[u8; 16], memory: u32, passes: u32, lanes: u32) -> Option<Zeroizing<[u8; 32]>> {
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice())
        .ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    fn example() -> Vec<u8> {
        seal("correct horse", Kind::Backup, b"all of it", &mut ChaCha20Rng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn a_file_opens_with_its_passphrase_and_kind_only() {
        let file = example();
        assert_eq!(open("correct horse", Kind::Backup, &file).unwrap().as_slice(), b"all of it");
        assert_eq!(open("correct hearse", Kind::Backup, &file), Err(OpenError::WrongPassphrase));
        assert_eq!(open("correct horse", Kind::KeyFile, &file), Err(OpenError::Corrupt));
    }

    #[test]
    fn damage_and_later_versions_are_told_apart() {
        let file = example();
        assert_eq!(open("correct horse", Kind::Backup, &file[..40]), Err(OpenError::Corrupt));
        assert_eq!(open("correct horse", Kind::Backup, b"hello"), Err(OpenError::Corrupt));
        let mut newer = file.clone();
        newer[9] = 2;
        assert_eq!(open("correct horse", Kind::Backup, &newer), Err(OpenError::NewerVersion(2)));
        let mut changed = file.clone();
        changed[HEADER] ^= 1;
        assert_eq!(open("correct horse", Kind::Backup, &changed), Err(OpenError::WrongPassphrase));
    }

    #[test]
    fn a_file_cannot_ask_for_more_memory_or_time_than_allowed() {
        for (at, value) in [(10, u32::MAX), (10, 1), (14, 1000), (14, 0), (18, 5), (18, 0)] {
            let mut file = example();
            file[at..at + 4].copy_from_slice(&value.to_be_bytes());
            assert_eq!(open("correct horse", Kind::Backup, &file), Err(OpenError::Corrupt), "{at} {value}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_after_the_magic_are_refused_without_a_panic(tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut file = MAGIC.to_vec();
            file.extend(tail);
            prop_assert!(open("", Kind::Backup, &file).is_err());
        }
    }
}
