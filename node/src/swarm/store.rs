//! The records that this node keeps for others as a DHT server: [`Shelf`] with its bounds, as the crate wants to see it.
//!
//! Every record is verified before it comes here (`protocol::rendezvous::verify_record`).

use std::{borrow::Cow, time::Instant};

use libp2p::{
    PeerId,
    kad::{
        ProviderRecord, Record, RecordKey,
        store::{Error, RecordStore, Result},
    },
};

use super::scope::SourceRange;
pub(super) use crate::dht::MAX_LIFE;
use crate::dht::{Key, Refusal, Shelf};

/// Bounded store of verified records. Provider records are never kept.
pub(super) struct Store {
    own: PeerId,
    shelf: Shelf<Record>,
}

impl Store {
    pub(super) fn new(own: PeerId) -> Self {
        Self { own, shelf: Shelf::new(Key::of(&own.to_bytes())) }
    }

    /// Number of records kept.
    pub(super) fn len(&self) -> usize {
        self.shelf.len()
    }

    /// Takes a verified record with its `sequence`; `range` is the network that it came from, where shares apply.
    pub(super) fn admit(
        &mut self,
        mut record: Record,
        sequence: u64,
        range: Option<SourceRange>,
        now: Instant,
    ) -> std::result::Result<(), Refusal> {
        // The check has seen to it that the key has 32 bytes.
        let key = to_key(&record.key).ok_or(Refusal::Full)?;
        let limit = now + MAX_LIFE;
        let expires = record.expires.map_or(limit, |expires| expires.min(limit));
        record.expires = Some(expires);
        record.publisher = None;
        self.shelf.admit(key, record, sequence, range, Some(expires), now)
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.shelf.sweep(now);
    }
}

fn to_key(key: &RecordKey) -> Option<[u8; 32]> {
    key.as_ref().try_into().ok()
}

impl RecordStore for Store {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.shelf.get(&to_key(key)?).map(|(record, ..)| Cow::Borrowed(record))
    }

    /// Not a way in: records come through [`Store::admit`] only, where they have a verified sequence.
    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, key: &RecordKey) {
        if let Some(key) = to_key(key) {
            self.shelf.remove(&key);
        }
    }

    /// Empty: it feeds the crate's own replication, which is off (owners refresh their records themselves).
    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    /// Kept for nobody. The public DHT's client announces itself through here, and has nothing to keep for that.
    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.provider == self.own { Ok(()) } else { Err(Error::MaxProvidedKeys) }
    }

    fn providers(&self, _: &RecordKey) -> Vec<ProviderRecord> {
        Vec::new()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, _: &RecordKey, _: &PeerId) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libp2p::kad::KBucketKey;

    use super::*;

    #[test]
    fn our_distances_are_those_of_the_crate() {
        let [one, other] = [PeerId::random(), PeerId::random()];
        let record = RecordKey::new(&[7; 32]);
        let theirs = |peer: PeerId| KBucketKey::from(peer).distance(&KBucketKey::new(record.clone()));
        let ours = |peer: PeerId| Key::of(&peer.to_bytes()).distance(&Key::of(&[7; 32]));
        assert_eq!(theirs(one) < theirs(other), ours(one) < ours(other));
        assert_eq!(theirs(one).ilog2(), Some(255 - ours(one).shared_bits()));
    }

    #[test]
    fn a_record_keeps_no_publisher_and_no_longer_life_than_ours() {
        let now = Instant::now();
        let mut store = Store::new(PeerId::random());
        let mut record = Record::new(RecordKey::new(&[7; 32]), vec![1; 1024]);
        record.publisher = Some(PeerId::random());
        record.expires = Some(now + Duration::from_secs(1_000_000));
        store.admit(record, 1, None, now).unwrap();
        let kept = store.get(&RecordKey::new(&[7; 32])).unwrap().into_owned();
        assert_eq!((kept.publisher, kept.expires), (None, Some(now + MAX_LIFE)));
        let short = Record::new(RecordKey::new(&[7; 31]), Vec::new());
        assert_eq!(store.admit(short, 1, None, now), Err(Refusal::Full));
    }
}
