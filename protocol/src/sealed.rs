//! Bytes at rest: under the store key (everything in the store), or under a passphrase (key file and backup).

pub mod passphrase;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::{domain, identity::secret_debug};

/// Format version of a sealed value, its first byte.
const VERSION: u8 = 1;
/// `u8 version | nonce 24`.
const HEADER: usize = 25;
/// Poly1305 tag.
const TAG: usize = 16;

/// Why sealed bytes do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Too short to be a sealed value.
    #[error("sealed value is cut short")]
    Short,
    /// Written by a later version.
    #[error("sealed value of unknown version {0}")]
    Version(u8),
    /// Another key, another context, or changed bytes.
    #[error("sealed value does not open: changed, or not ours")]
    Refused,
}

/// The key that seals what lies on disk (XChaCha20-Poly1305).
#[derive(Clone)]
pub struct StoreKey(Zeroizing<[u8; 32]>);

secret_debug!(StoreKey);

impl StoreKey {
    /// A new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(key.as_mut_slice());
        Self(key)
    }

    /// A key from the key file.
    pub fn from_secret(key: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*key))
    }

    /// The key, for the key file and for nothing else.
    pub const fn secret(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }

    /// Seals a value for one place: it opens only with the same context (say, tree and key).
    pub fn seal(&self, context: &[u8], plaintext: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        let mut nonce = [0; 24];
        rng.fill_bytes(&mut nonce);
        let mut out = Vec::with_capacity(HEADER + plaintext.len() + TAG);
        out.push(VERSION);
        out.extend_from_slice(&nonce);
        out.extend(encrypt(&self.0, &nonce, &domain::tuple(domain::STORE, &[&[VERSION], context]), plaintext));
        out
    }

    /// Opens what [`Self::seal`] made for the same context.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        if sealed.len() < HEADER + TAG {
            return Err(SealError::Short);
        }
        if sealed[0] != VERSION {
            return Err(SealError::Version(sealed[0]));
        }
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&sealed[1..HEADER]);
        decrypt(&self.0, &nonce, &domain::tuple(domain::STORE, &[&[VERSION], context]), &sealed[HEADER..])
            .ok_or(SealError::Refused)
    }

    /// A name for an entry of the store that tells nothing about `key` to whoever reads the disk: HMAC-SHA256 under a
    /// key derived from this one. Stable, so that the entry is found again.
    pub fn index(&self, context: &[u8], key: &[u8]) -> [u8; 32] {
        let subkey = domain::kdf(domain::STORE_INDEX_KEY, self.0.as_slice(), &[]);
        domain::hmac(&subkey, domain::STORE_INDEX, &[context, key])
    }
}

/// XChaCha20-Poly1305, ciphertext followed by the tag.
pub(crate) fn encrypt(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "invariant: only fails beyond 256 GiB of plaintext")]
    XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(*nonce), Payload { msg, aad })
        .expect("plaintext within the cipher's limit")
}

/// The plaintext, if key, nonce, associated data and ciphertext belong together.
pub(crate) fn decrypt(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], msg: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg, aad }).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;

    #[test]
    fn a_value_opens_only_in_its_place_and_unchanged() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let key = StoreKey::generate(&mut rng);
        let sealed = key.seal(b"friends/bob", b"his token", &mut rng);
        assert_eq!(key.open(b"friends/bob", &sealed).unwrap().as_slice(), b"his token");
        assert_eq!(key.open(b"friends/eve", &sealed), Err(SealError::Refused));
        assert_eq!(StoreKey::generate(&mut rng).open(b"friends/bob", &sealed), Err(SealError::Refused));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(b"friends/bob", &changed).is_err(), "byte {at}");
            assert!(key.open(b"friends/bob", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn index_names_are_stable_and_hang_on_key_and_context() {
        let key = StoreKey::from_secret(&[1; 32]);
        assert_eq!(key.index(b"friends", b"bob"), key.index(b"friends", b"bob"));
        assert_ne!(key.index(b"friends", b"bob"), key.index(b"friend", b"sbob"));
        assert_ne!(key.index(b"friends", b"bob"), StoreKey::from_secret(&[2; 32]).index(b"friends", b"bob"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(StoreKey::from_secret(&[1; 32]).open(b"", &bytes).is_err());
        }
    }
}
