//! Records as they lie in the DHT: self-certifying, sealed, and all of one size.

use std::fmt;

use rand::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    blind::BlindedKey,
    body::{Body, BodyError},
};
use crate::{
    domain,
    identity::{RootPublic, checked_point, secret_debug},
    limits,
    sealed::{decrypt, encrypt},
};

/// Every record has exactly this size.
pub const RECORD_LEN: usize = limits::RECORD_LEN;
/// `slot public key 32 | sequence u64 | signature 64 | nonce 24 | ciphertext and tag`.
const SIGNATURE_AT: usize = 40;
const NONCE_AT: usize = 104;
const CIPHERTEXT_AT: usize = 128;
/// Size of the padded body.
pub(super) const BODY_LEN: usize = RECORD_LEN - CIPHERTEXT_AT - 16;

/// A place in the DHT: SHA-256 of the slot public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey([u8; 32]);

impl RecordKey {
    pub(super) fn of(slot_public: &[u8; 32]) -> Self {
        Self(Sha256::digest(slot_public).into())
    }

    /// Any 32 bytes may be asked for.
    pub const fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// The bytes, as the DHT takes them.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RecordKey {
    /// Eight digits: enough to follow a query in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKey(")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Why a record does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not [`RECORD_LEN`] bytes.
    #[error("a record has {RECORD_LEN} bytes, not {0}")]
    Length(usize),
    /// It lies at a key that is not the hash of its public key.
    #[error("record at a key that is not its own")]
    Key,
    /// Its public key is none, or weak.
    #[error("record with a bad public key")]
    PublicKey,
    /// The signature does not hold.
    #[error("record with a wrong signature")]
    Signature,
    /// Signed by the owner of the slot, but not sealed for us.
    #[error("record does not open")]
    Sealed,
    /// Its content cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It names somebody else than the owner of the slot.
    #[error("record speaks for another identity")]
    Owner,
}

/// What a storing node and every reader checks first: size, key, public key, signature. Gives the sequence; of two
/// valid records at one key the one with the higher sequence counts (only the owner can make two with equal ones).
pub fn verify_record(key: &[u8], value: &[u8]) -> Result<u64, RecordError> {
    let value: &[u8; RECORD_LEN] = value.try_into().map_err(|_| RecordError::Length(value.len()))?;
    let public: [u8; 32] = part(value, 0);
    let expected = RecordKey::of(&public);
    if key != expected.0 {
        return Err(RecordError::Key);
    }
    if checked_point(&public).is_err() {
        return Err(RecordError::PublicKey);
    }
    let verifier = ed25519_dalek::VerifyingKey::from_bytes(&public).map_err(|_| RecordError::PublicKey)?;
    let signature = ed25519_dalek::Signature::from_bytes(&part(value, SIGNATURE_AT));
    let message = signed(&expected, &part(value, 32), &value[NONCE_AT..]);
    verifier.verify_strict(&message, &signature).map_err(|_| RecordError::Signature)?;
    Ok(u64::from_be_bytes(part(value, 32)))
}

/// Makes the records of one slot in one epoch. Holds the blinded secret: it is made when needed and dropped.
pub struct Publisher {
    /// Where the records go.
    pub key: RecordKey,
    pub(super) secret: BlindedKey,
    pub(crate) seal: Zeroizing<[u8; 32]>,
}

secret_debug!(Publisher, Reader);

impl Publisher {
    pub(super) fn new(secret: BlindedKey, seal: Zeroizing<[u8; 32]>) -> Self {
        Self { key: RecordKey::of(&secret.public()), secret, seal }
    }

    /// A record. `sequence` must be higher than that of the record before: `max(last + 1, Unix ms)`.
    pub fn record(&self, sequence: u64, body: &Body, rng: &mut impl CryptoRng) -> Result<Vec<u8>, BodyError> {
        Ok(self.seal(sequence, &Zeroizing::new(body.encode()?), rng))
    }

    /// A record whose owner wrote into the body what he liked: well sealed, and signed.
    #[cfg(any(test, feature = "testing"))]
    pub fn hostile_record(&self, sequence: u64, body: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        let mut padded = [0; BODY_LEN];
        let length = body.len().min(BODY_LEN);
        padded[..length].copy_from_slice(&body[..length]);
        self.seal(sequence, &padded, rng)
    }

    fn seal(&self, sequence: u64, body: &[u8; BODY_LEN], rng: &mut impl CryptoRng) -> Vec<u8> {
        let public = self.secret.public();
        let sequence = sequence.to_be_bytes();
        let sealed = seal_with(&self.seal, &associated(&public, &sequence), body, rng);
        let signature = self.secret.sign(&signed(&self.key, &sequence, &sealed));
        let mut record = Vec::with_capacity(RECORD_LEN);
        record.extend_from_slice(&public);
        record.extend_from_slice(&sequence);
        record.extend_from_slice(&signature);
        record.extend(sealed);
        record
    }
}

/// Reads the records of one slot in one epoch.
pub struct Reader {
    /// Where the records are.
    pub key: RecordKey,
    pub(super) slot_public: [u8; 32],
    pub(super) owner: RootPublic,
    pub(crate) seal: Zeroizing<[u8; 32]>,
}

impl Reader {
    pub(super) fn new(slot_public: &[u8; 32], owner: RootPublic, seal: Zeroizing<[u8; 32]>) -> Self {
        Self { key: RecordKey::of(slot_public), slot_public: *slot_public, owner, seal }
    }

    /// Verifies and opens a copy. The certificate's signature and root are checked here; its time, and `expires_ms`,
    /// are for the caller, who has a clock.
    pub fn open(&self, value: &[u8]) -> Result<(u64, Body), RecordError> {
        let sequence = verify_record(&self.key.0, value)?;
        let value: &[u8; RECORD_LEN] = value.try_into().map_err(|_| RecordError::Length(value.len()))?;
        let aad = associated(&part(value, 0), &part(value, 32));
        let plain = unseal(&self.seal, &aad, &value[NONCE_AT..]);
        Ok((sequence, self.body(&plain.ok_or(RecordError::Sealed)?)?))
    }

    /// Reads an opened body, which must speak for the owner of the slot.
    pub(super) fn body(&self, plain: &[u8]) -> Result<Body, RecordError> {
        let body = Body::decode(plain)?;
        body.certificate.verify_signature().map_err(BodyError::Certificate)?;
        if body.certificate.root != self.owner {
            return Err(RecordError::Owner);
        }
        Ok(body)
    }
}

/// `nonce 24 | ciphertext and tag`, with a random nonce.
pub(super) fn seal_with(
    key: &[u8; 32],
    associated: &[u8; 40],
    body: &[u8; BODY_LEN],
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    let mut nonce = [0; 24];
    rng.fill_bytes(&mut nonce);
    let mut sealed = nonce.to_vec();
    sealed.extend(encrypt(key, &nonce, associated, body));
    sealed
}

/// Opens what [`seal_with`] made.
pub(super) fn unseal(key: &[u8; 32], associated: &[u8; 40], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<24>()?;
    decrypt(key, nonce, associated, ciphertext)
}

/// What the slot key signs: where the record lies, its sequence, and nonce and ciphertext.
fn signed(key: &RecordKey, sequence: &[u8; 8], sealed: &[u8]) -> Vec<u8> {
    domain::tuple(domain::RECORD, &[&key.0, sequence, sealed]).to_vec()
}

/// Associated data of the seal: slot public key and sequence, which are the first 40 bytes of the record.
pub(super) fn associated(public: &[u8; 32], sequence: &[u8; 8]) -> [u8; 40] {
    let mut out = [0; 40];
    out[..32].copy_from_slice(public);
    out[32..].copy_from_slice(sequence);
    out
}

/// `N` bytes from `at`; both are constants of the layout above.
fn part<const N: usize>(value: &[u8; RECORD_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&value[at..at + N]);
    out
}
