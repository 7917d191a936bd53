//! Typed records over the store's bytes.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{Change, Entry, Error, Store, Tree};

/// The records of one type in one tree.
///
/// Fields may be added to `T` under the same version if they have defaults; anything else takes a new version and a
/// reader for the old one. A record of a newer version is left alone: an older program neither shows nor loses it.
pub struct Collection<T> {
    store: Arc<dyn Store>,
    tree: Tree,
    version: u16,
    kind: PhantomData<fn(T) -> T>,
}

/// All records of a collection.
#[derive(Debug)]
pub struct All<T> {
    /// Key and record, the one written longest ago first.
    pub records: Vec<(Vec<u8>, T)>,
    /// How many are there that this program cannot read. They stay.
    pub unread: usize,
}

impl<T: Serialize + DeserializeOwned> Collection<T> {
    /// The records of `tree`, written in `version` from now on.
    pub fn new(store: Arc<dyn Store>, tree: Tree, version: u16) -> Self {
        Self { store, tree, version, kind: PhantomData }
    }

    /// One record. `None` if there is none, or only one of a newer version.
    ///
    /// # Errors
    /// [`Error::Sealed`] or [`Error::Record`] if it does not open.
    pub fn get(&self, key: &[u8]) -> Result<Option<T>, Error> {
        match self.store.get(self.tree, key)? {
            Some(entry) if entry.version <= self.version => decode(&entry).map(Some),
            _ => Ok(None),
        }
    }

    /// All records.
    pub fn all(&self) -> All<T> {
        let mut all = All { records: Vec::new(), unread: 0 };
        for entry in self.store.all(self.tree) {
            match decode(&entry) {
                Ok(record) if entry.version <= self.version => all.records.push((entry.key, record)),
                _ => all.unread += 1,
            }
        }
        all
    }

    /// Writes one record and returns when it is on the disk.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn put(&self, key: &[u8], record: &T) -> Result<(), Error> {
        self.store.apply(vec![self.change(key, record)?])
    }

    /// Removes one record and returns when that is on the disk.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.store.apply(vec![self.removal(key)])
    }

    /// The change that [`Collection::put`] would make, for a batch.
    ///
    /// # Errors
    /// [`Error::Record`] if it cannot be written as CBOR.
    pub fn change(&self, key: &[u8], record: &T) -> Result<Change, Error> {
        let mut bytes = Zeroizing::new(Vec::new());
        ciborium::into_writer(record, &mut *bytes).map_err(|_| Error::Record("written"))?;
        Ok(Change::Put(self.tree, Entry { key: key.to_vec(), version: self.version, record: bytes }))
    }

    /// The change that [`Collection::remove`] would make, for a batch.
    pub fn removal(&self, key: &[u8]) -> Change {
        Change::Remove(self.tree, key.to_vec())
    }
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), tree: self.tree, version: self.version, kind: PhantomData }
    }
}

impl<T> std::fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Collection({}, version {})", self.tree.name(), self.version)
    }
}

fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, Error> {
    ciborium::from_reader(entry.record.as_slice()).map_err(|_| Error::Record("read"))
}
