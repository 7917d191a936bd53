//! The records that this node keeps for others as a DHT server.
//!
//! Every record is verified before it comes here (`protocol::rendezvous::verify_record`), so what is stored is signed
//! by the owner of its slot. What is left to bound is how much there is: the number in all, per source network, the
//! size and the life of each. When the store is full, what is farthest from our own id gives way: those records are
//! the ones that other nodes are responsible for.

use std::{
    borrow::Cow,
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{
    PeerId,
    kad::{
        KBucketDistance, KBucketKey, ProviderRecord, Record, RecordKey,
        store::{Error, RecordStore, Result},
    },
};

use super::scope::SourceRange;

/// Records in all: with at most [`MAX_VALUE`] bytes each, the store never takes more than about 4 MB.
pub(super) const MAX_RECORDS: usize = 4096;
/// Records from one source network, unless it is loopback or private: one person needs about ten.
pub(super) const MAX_PER_RANGE: usize = 512;
/// Largest value that is kept; all records of the protocol have one size below this.
pub(super) const MAX_VALUE: usize = 1024;
/// Longest life of a record: the epoch before which it is put (one hour ahead), its epoch, and an hour of lateness.
pub(super) const MAX_LIFE: Duration = Duration::from_secs(3 * 3600);

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The value is larger than any record of the protocol.
    #[error("too large")]
    TooLarge,
    /// A newer sequence is stored.
    #[error("older than what is stored")]
    Older,
    /// This source network has its share.
    #[error("too many from this network")]
    RangeFull,
    /// The store is full of records that are closer to us.
    #[error("full of closer records")]
    Full,
}

struct Entry {
    record: Record,
    sequence: u64,
    range: Option<SourceRange>,
    distance: KBucketDistance,
}

/// Bounded store of verified records. Provider records are never kept.
pub(super) struct Store {
    own: KBucketKey<PeerId>,
    records: HashMap<RecordKey, Entry>,
    per_range: HashMap<SourceRange, usize>,
    max_records: usize,
    max_per_range: usize,
}

impl Store {
    pub(super) fn new(own: PeerId) -> Self {
        Self::with_bounds(own, MAX_RECORDS, MAX_PER_RANGE)
    }

    fn with_bounds(own: PeerId, max_records: usize, max_per_range: usize) -> Self {
        Self { own: own.into(), records: HashMap::new(), per_range: HashMap::new(), max_records, max_per_range }
    }

    /// Number of records kept.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Sequence of the record stored at `key`.
    #[cfg(test)]
    fn sequence(&self, key: &RecordKey) -> Option<u64> {
        self.records.get(key).map(|entry| entry.sequence)
    }

    /// Takes a verified record with its `sequence`; `range` is the network that it came from, where shares apply.
    pub(super) fn admit(
        &mut self,
        mut record: Record,
        sequence: u64,
        range: Option<SourceRange>,
        now: Instant,
    ) -> std::result::Result<(), Refusal> {
        if record.value.len() > MAX_VALUE {
            return Err(Refusal::TooLarge);
        }
        let limit = now + MAX_LIFE;
        record.expires = Some(record.expires.map_or(limit, |expires| expires.min(limit)));
        record.publisher = None;

        if let Some(entry) = self.records.get(&record.key) {
            let expired = entry.record.is_expired(now);
            if !expired && sequence < entry.sequence {
                return Err(Refusal::Older);
            }
            self.take_out(&record.key.clone());
        }
        if let Some(range) = range
            && self.per_range.get(&range).copied().unwrap_or(0) >= self.max_per_range
        {
            return Err(Refusal::RangeFull);
        }
        let distance = self.own.distance(&KBucketKey::new(record.key.clone()));
        if self.records.len() >= self.max_records {
            self.sweep(now);
        }
        if self.records.len() >= self.max_records {
            let farthest = self.records.values().max_by_key(|entry| entry.distance);
            match farthest.map(|entry| (entry.distance, entry.record.key.clone())) {
                Some((far, key)) if far > distance => self.take_out(&key),
                _ => return Err(Refusal::Full),
            }
        }
        if let Some(range) = range {
            *self.per_range.entry(range).or_default() += 1;
        }
        self.records.insert(record.key.clone(), Entry { record, sequence, range, distance });
        Ok(())
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&mut self, now: Instant) {
        let expired: Vec<RecordKey> =
            self.records.iter().filter(|(_, entry)| entry.record.is_expired(now)).map(|(key, _)| key.clone()).collect();
        for key in expired {
            self.take_out(&key);
        }
    }

    fn take_out(&mut self, key: &RecordKey) {
        let Some(entry) = self.records.remove(key) else { return };
        if let Some(range) = entry.range
            && let Some(count) = self.per_range.get_mut(&range)
        {
            *count -= 1;
            if *count == 0 {
                self.per_range.remove(&range);
            }
        }
    }
}

impl RecordStore for Store {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.records.get(key).map(|entry| Cow::Borrowed(&entry.record))
    }

    /// Not a way in: records come through [`Store::admit`] only, where they have a verified sequence.
    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, key: &RecordKey) {
        self.take_out(key);
    }

    /// Empty: it feeds the crate's own replication, which is off (owners refresh their records themselves).
    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, _: ProviderRecord) -> Result<()> {
        Err(Error::MaxProvidedKeys)
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
    use super::*;

    fn record(n: u16, size: usize) -> Record {
        Record::new(RecordKey::new(&n.to_be_bytes()), vec![7; size])
    }

    fn range(n: u8) -> Option<SourceRange> {
        Some(SourceRange::of(format!("9.9.{n}.1").parse().unwrap()))
    }

    #[test]
    fn an_older_sequence_never_replaces_a_newer_one() {
        let now = Instant::now();
        let mut store = Store::new(PeerId::random());
        store.admit(record(1, 10), 5, None, now).unwrap();
        assert_eq!(store.admit(record(1, 10), 4, None, now), Err(Refusal::Older));
        store.admit(record(1, 10), 6, None, now).unwrap();
        assert_eq!(store.sequence(&RecordKey::new(&1u16.to_be_bytes())), Some(6));
    }

    #[test]
    fn a_full_store_keeps_what_is_closest_to_its_own_id() {
        let now = Instant::now();
        let own = PeerId::random();
        let mut store = Store::with_bounds(own, 8, 100);
        for n in 0..200 {
            let _ = store.admit(record(n, 10), 1, None, now);
        }
        assert_eq!(store.len(), 8);
        let key: KBucketKey<PeerId> = own.into();
        let mut all: Vec<_> = (0..200u16).map(|n| key.distance(&KBucketKey::new(record(n, 0).key))).collect();
        all.sort();
        let mut kept: Vec<_> = store.records.values().map(|entry| entry.distance).collect();
        kept.sort();
        assert_eq!(kept, all[..8]);
    }

    #[test]
    fn one_network_cannot_take_more_than_its_share() {
        let now = Instant::now();
        let mut store = Store::with_bounds(PeerId::random(), 100, 3);
        for n in 0..3 {
            store.admit(record(n, 10), 1, range(1), now).unwrap();
        }
        assert_eq!(store.admit(record(3, 10), 1, range(1), now), Err(Refusal::RangeFull));
        store.admit(record(2, 10), 2, range(1), now).unwrap();
        store.admit(record(3, 10), 1, range(2), now).unwrap();
        store.remove(&record(2, 0).key);
        store.admit(record(4, 10), 1, range(1), now).unwrap();
    }

    #[test]
    fn life_and_size_are_bounded_whatever_the_sender_asks() {
        let now = Instant::now();
        let mut store = Store::new(PeerId::random());
        let mut long = record(1, 10);
        long.expires = Some(now + Duration::from_secs(1_000_000));
        store.admit(long, 1, None, now).unwrap();
        assert_eq!(store.admit(record(2, MAX_VALUE + 1), 1, None, now), Err(Refusal::TooLarge));
        store.sweep(now + MAX_LIFE - Duration::from_secs(1));
        assert_eq!(store.len(), 1);
        store.sweep(now + MAX_LIFE + Duration::from_secs(1));
        assert_eq!(store.len(), 0);
    }
}
