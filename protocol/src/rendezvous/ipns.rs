//! Slots as IPNS records, for the public IPFS DHT (`specs/02-rendezvous.md`, "The public DHT").
//!
//! Servers of that DHT keep nothing but records that they can check themselves; one kind of those is IPNS: an Ed25519
//! key, a value, a sequence and an expiry, signed. A slot's blinded key is an ordinary Ed25519 key, so it names an IPNS
//! record that only the owner of the slot can write, and the value is the slot's sealed body. The format is that of the
//! IPNS specification (<https://specs.ipfs.tech/ipns/ipns-record/>), version 2 signatures only.

mod time;
mod wire;

use std::fmt;

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{
    body::{Body, BodyError},
    record::{BODY_LEN, Publisher, Reader, RecordError, associated, seal_with, unseal},
};
use crate::identity::checked_point;

/// Length of a name: `/ipns/` and the PeerId of an Ed25519 key (identity multihash of its protobuf form).
pub const IPNS_NAME_LEN: usize = 44;
/// What begins every name.
const NAMESPACE: &[u8; 6] = b"/ipns/";
/// What begins the PeerId of an Ed25519 key: identity multihash of 36 bytes; key type 1; 32 bytes of key.
const PEER_ID_HEAD: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
/// What is signed begins with this (IPNS specification, "Record Creation").
const SIGNED: &[u8] = b"ipns-signature:";
/// What begins the value: implementations that read it as a path want a slash there.
const VALUE_HEAD: u8 = b'/';
/// Size of the value: the slash, nonce, ciphertext and tag.
const VALUE_LEN: usize = 1 + 24 + BODY_LEN + 16;
/// Largest record that is looked at. Ours have about 1150 bytes; IPNS allows 10 KiB, which no slot needs.
pub const IPNS_RECORD_MAX: usize = 2048;

/// The name of a slot in the public DHT, as bytes of a DHT key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpnsName([u8; IPNS_NAME_LEN]);

impl IpnsName {
    pub(super) fn of(slot_public: &[u8; 32]) -> Self {
        let mut name = [0; IPNS_NAME_LEN];
        name[..6].copy_from_slice(NAMESPACE);
        name[6..12].copy_from_slice(&PEER_ID_HEAD);
        name[12..].copy_from_slice(slot_public);
        Self(name)
    }

    /// The DHT key.
    pub const fn as_bytes(&self) -> &[u8; IPNS_NAME_LEN] {
        &self.0
    }

    fn slot_public(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(&self.0[12..]);
        key
    }
}

impl fmt::Debug for IpnsName {
    /// Eight digits of the key: enough to follow a query in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IpnsName(")?;
        self.0[12..16].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Why an IPNS record does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpnsError {
    /// Larger than [`IPNS_RECORD_MAX`].
    #[error("IPNS record of {0} bytes")]
    TooLarge(usize),
    /// No IPNS record, or one without a version 2 signature.
    #[error("IPNS record is malformed")]
    Malformed,
    /// The key in its name is none, or weak.
    #[error("IPNS name with a bad public key")]
    PublicKey,
    /// The signature does not hold under the key in the name.
    #[error("IPNS record with a wrong signature")]
    Signature,
    /// Its time is over.
    #[error("IPNS record has expired")]
    Expired,
    /// A valid record whose value is no sealed body.
    #[error("IPNS record without a slot in it")]
    Value,
    /// The slot in it does not open, or speaks for somebody else.
    #[error(transparent)]
    Slot(#[from] RecordError),
}

/// A record that was verified as every server of the public DHT does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpnsEntry {
    /// Of two records with one name the higher one counts.
    pub sequence: u64,
    /// Until when it counts (Unix ms).
    pub valid_until_ms: u64,
    /// The value: for a slot, the sealed body.
    pub value: Vec<u8>,
}

/// Verifies a record as servers do: format, signature under the key in `name`, and that its time is not over.
///
/// # Errors
/// What is wrong with it.
pub fn verify_ipns(name: &IpnsName, record: &[u8], unix_ms: u64) -> Result<IpnsEntry, IpnsError> {
    if record.len() > IPNS_RECORD_MAX {
        return Err(IpnsError::TooLarge(record.len()));
    }
    let (signature, data) = wire::split(record).ok_or(IpnsError::Malformed)?;
    let public = name.slot_public();
    checked_point(&public).map_err(|_| IpnsError::PublicKey)?;
    let verifier = ed25519_dalek::VerifyingKey::from_bytes(&public).map_err(|_| IpnsError::PublicKey)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature);
    verifier.verify_strict(&[SIGNED, data].concat(), &signature).map_err(|_| IpnsError::Signature)?;
    let entry = wire::entry(data).ok_or(IpnsError::Malformed)?;
    if entry.valid_until_ms <= unix_ms {
        return Err(IpnsError::Expired);
    }
    Ok(entry)
}

impl Publisher {
    /// The name of the slot in the public DHT.
    pub fn ipns_name(&self) -> IpnsName {
        IpnsName::of(&self.secret.public())
    }

    /// An IPNS record with this body. `sequence` as in [`Publisher::record`]; it counts until `valid_until_ms`, in
    /// whole seconds.
    ///
    /// # Errors
    /// If the body does not fit.
    pub fn ipns_record(
        &self,
        sequence: u64,
        body: &Body,
        valid_until_ms: u64,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, BodyError> {
        let body = Zeroizing::new(body.encode()?);
        let mut value = Vec::with_capacity(VALUE_LEN);
        value.push(VALUE_HEAD);
        value.extend(seal_with(&self.seal, &associated(&self.secret.public(), &sequence.to_be_bytes()), &body, rng));
        let data = wire::data(&IpnsEntry { sequence, valid_until_ms, value });
        let signature = self.secret.sign(&[SIGNED, &data].concat());
        Ok(wire::join(&signature, &data))
    }
}

impl Reader {
    /// The name of the slot in the public DHT.
    pub fn ipns_name(&self) -> IpnsName {
        IpnsName::of(&self.slot_public)
    }

    /// Verifies and opens a copy from the public DHT: sequence and body. As in [`Reader::open`], the certificate's
    /// time and the body's expiry are for the caller.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open_ipns(&self, record: &[u8], unix_ms: u64) -> Result<(u64, Body), IpnsError> {
        let entry = verify_ipns(&self.ipns_name(), record, unix_ms)?;
        let sealed = match entry.value.split_first() {
            Some((&VALUE_HEAD, sealed)) if entry.value.len() == VALUE_LEN => sealed,
            _ => return Err(IpnsError::Value),
        };
        let aad = associated(&self.slot_public, &entry.sequence.to_be_bytes());
        let plain = unseal(&self.seal, &aad, sealed).ok_or(RecordError::Sealed)?;
        Ok((entry.sequence, self.body(&plain)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    use super::*;
    use crate::{
        address::{Address, ContactToken},
        identity::RootKey,
        rendezvous::{body::tests::body_of, contact_publisher, contact_reader},
    };

    const NOW_MS: u64 = 1_800_000_000_000;

    fn slot(n: u8, day: u64) -> (RootKey, Publisher, Reader) {
        let root = RootKey::from_secret(&[n; 32]);
        let token = ContactToken::derived(&root);
        let publisher = contact_publisher(&root, &token, day, 0);
        let reader = contact_reader(&Address { root: root.public(), token }, day, 0).unwrap();
        (root, publisher, reader)
    }

    fn record(root: &RootKey, publisher: &Publisher, sequence: u64) -> Vec<u8> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        publisher.ipns_record(sequence, &body_of(root), NOW_MS + 60_000, &mut rng).unwrap()
    }

    #[test]
    fn who_may_read_a_slot_finds_and_opens_its_mirror_until_it_expires() {
        let (root, publisher, reader) = slot(1, 5);
        assert_eq!(publisher.ipns_name(), reader.ipns_name());
        let bytes = record(&root, &publisher, 7);
        assert_eq!(reader.open_ipns(&bytes, NOW_MS).unwrap(), (7, body_of(&root)));
        assert_eq!(reader.open_ipns(&bytes, NOW_MS + 59_999).unwrap().0, 7);
        assert_eq!(reader.open_ipns(&bytes, NOW_MS + 60_000), Err(IpnsError::Expired));
        assert!(bytes.len() < 1200, "{}", bytes.len());
    }

    #[test]
    fn a_name_is_the_libp2p_peer_id_of_the_blinded_key() {
        let (_, publisher, _) = slot(1, 5);
        let name = publisher.ipns_name();
        assert_eq!(&name.as_bytes()[..12], b"/ipns/\x00\x24\x08\x01\x12\x20");
        assert_eq!(&name.as_bytes()[12..], publisher.secret.public());
        assert_ne!(name, slot(1, 6).1.ipns_name());
    }

    #[test]
    fn a_change_to_any_byte_of_a_mirrored_record_is_noticed_or_changes_nothing() {
        let (root, publisher, reader) = slot(1, 5);
        let bytes = record(&root, &publisher, 7);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            assert!(reader.open_ipns(&changed, NOW_MS).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_stranger_a_slot_of_another_day_and_a_foreign_value_are_refused() {
        let (root, publisher, reader) = slot(1, 5);
        let (mallory, theirs, _) = slot(9, 5);
        assert_eq!(reader.open_ipns(&record(&mallory, &theirs, 8), NOW_MS), Err(IpnsError::Signature));
        let (_, _, other_day) = slot(1, 6);
        assert_eq!(other_day.open_ipns(&record(&root, &publisher, 8), NOW_MS), Err(IpnsError::Signature));
        let entry = IpnsEntry { sequence: 1, valid_until_ms: NOW_MS + 1000, value: b"/ipfs/bafy".to_vec() };
        let data = wire::data(&entry);
        let signed = wire::join(&publisher.secret.sign(&[SIGNED, &data].concat()), &data);
        assert_eq!(verify_ipns(&reader.ipns_name(), &signed, NOW_MS).unwrap(), entry);
        assert_eq!(reader.open_ipns(&signed, NOW_MS), Err(IpnsError::Value));
        assert_eq!(reader.open_ipns(&vec![0; IPNS_RECORD_MAX + 1], NOW_MS), Err(IpnsError::TooLarge(2049)));
    }

    #[test]
    fn a_body_moved_to_another_sequence_does_not_open() {
        let (root, publisher, reader) = slot(1, 5);
        let name = reader.ipns_name();
        let mut entry = verify_ipns(&name, &record(&root, &publisher, 7), NOW_MS).unwrap();
        entry.sequence = 8;
        let data = wire::data(&entry);
        let signed = wire::join(&publisher.secret.sign(&[SIGNED, &data].concat()), &data);
        assert_eq!(reader.open_ipns(&signed, NOW_MS), Err(IpnsError::Slot(RecordError::Sealed)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1400)) {
            let (_, _, reader) = slot(1, 5);
            prop_assert!(reader.open_ipns(&bytes, NOW_MS).is_err());
            let _ = wire::split(&bytes);
            let _ = wire::entry(&bytes);
        }
    }
}
