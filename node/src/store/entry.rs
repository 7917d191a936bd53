//! The form of an entry on the disk: a name that tells nothing, and a sealed value that opens only in its place.

use ciborium::Value;
use twocan_protocol::sealed::{SealError, StoreKey};
use zeroize::Zeroizing;

use super::{Entry, Error, MAX_KEY, MAX_RECORD, Tree};

/// Length of a name in bytes.
pub(super) const NAME_LEN: usize = 32;
/// The name of an entry: a keyed hash of tree and key.
pub(super) type Name = [u8; NAME_LEN];

/// Context of all names and values of the store.
const DOMAIN: &[u8] = b"twocan store entry";

/// A sealed entry as it lies on the disk, with what the tree's order needs.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    /// When it was written, as a number that only grows.
    pub(super) order: u64,
    pub(super) bytes: Box<[u8]>,
}

/// Names and seals entries.
#[derive(Debug)]
pub(super) struct Sealer {
    key: StoreKey,
}

impl Sealer {
    pub(super) fn new(key: StoreKey) -> Self {
        Self { key }
    }

    pub(super) fn store_key(&self) -> &StoreKey {
        &self.key
    }

    pub(super) fn name(&self, tree: Tree, key: &[u8]) -> Name {
        self.key.index(&[DOMAIN, &[tree as u8]].concat(), key)
    }

    pub(super) fn seal(&self, tree: Tree, name: &Name, entry: &Entry, order: u64) -> Result<Sealed, Error> {
        if entry.key.len() > MAX_KEY {
            return Err(Error::TooLarge("key"));
        }
        if entry.record.len() > MAX_RECORD {
            return Err(Error::TooLarge("record"));
        }
        let value = Value::Array(vec![
            Value::from(order),
            Value::from(entry.version),
            Value::Bytes(entry.key.clone()),
            Value::Bytes(entry.record.to_vec()),
        ]);
        let mut plain = Zeroizing::new(Vec::with_capacity(entry.record.len() + entry.key.len() + 32));
        let written = ciborium::into_writer(&value, &mut *plain);
        wipe(value);
        written.map_err(|_| Error::Record("written"))?;
        let bytes = self.key.seal(&context(tree, name), &plain, &mut rand::rng());
        Ok(Sealed { order, bytes: bytes.into() })
    }

    pub(super) fn open(&self, tree: Tree, name: &Name, sealed: &[u8]) -> Result<(u64, Entry), SealError> {
        let plain = self.key.open(&context(tree, name), sealed)?;
        // The seal is ours: what is inside was written by `seal`, or by a newer version of it.
        let (order, version, key, record): (u64, u16, serde_bytes::ByteBuf, serde_bytes::ByteBuf) =
            ciborium::from_reader(plain.as_slice()).map_err(|_| SealError::Refused)?;
        let record = Zeroizing::new(record.into_vec());
        Ok((order, Entry { key: key.into_vec(), version, record }))
    }
}

fn context(tree: Tree, name: &Name) -> Vec<u8> {
    [DOMAIN, &[tree as u8], name.as_slice()].concat()
}

/// Overwrites the copy of the record that was made for the encoder.
fn wipe(value: Value) {
    if let Value::Array(parts) = value {
        for part in parts {
            if let Value::Bytes(bytes) = part {
                drop(Zeroizing::new(bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_opens_only_in_its_place_and_tells_nothing() {
        let sealer = Sealer::new(StoreKey::from_secret(&[3; 32]));
        let entry = Entry { key: b"bob".to_vec(), version: 2, record: Zeroizing::new(b"grant".to_vec()) };
        let name = sealer.name(Tree::Friends, b"bob");
        let sealed = sealer.seal(Tree::Friends, &name, &entry, 9).unwrap();
        assert_eq!(sealer.open(Tree::Friends, &name, &sealed.bytes).unwrap(), (9, entry.clone()));
        assert!(sealer.open(Tree::Blocks, &name, &sealed.bytes).is_err());
        assert!(sealer.open(Tree::Friends, &sealer.name(Tree::Friends, b"eve"), &sealed.bytes).is_err());
        assert_ne!(name, sealer.name(Tree::Blocks, b"bob"));
        assert!(!sealed.bytes.windows(3).any(|part| part == b"bob"));
        let other = Sealer::new(StoreKey::from_secret(&[4; 32]));
        assert_ne!(name, other.name(Tree::Friends, b"bob"));
        assert!(other.open(Tree::Friends, &name, &sealed.bytes).is_err());
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let sealer = Sealer::new(StoreKey::from_secret(&[3; 32]));
        let entry = |key: usize, record: usize| Entry {
            key: vec![0; key],
            version: 1,
            record: Zeroizing::new(vec![0; record]),
        };
        let seal = |entry: &Entry| sealer.seal(Tree::Peers, &[0; NAME_LEN], entry, 0);
        assert!(seal(&entry(MAX_KEY, MAX_RECORD)).is_ok());
        assert!(matches!(seal(&entry(MAX_KEY + 1, 1)), Err(Error::TooLarge(_))));
        assert!(matches!(seal(&entry(1, MAX_RECORD + 1)), Err(Error::TooLarge(_))));
    }
}
