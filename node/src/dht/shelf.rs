//! What a node keeps for others, and what gives way when there is too much.
//!
//! Records are verified before they come here, so what is stored is signed by the owner of its slot. What is left to
//! bound is how much there is: the number in all, per source network, and the life of each. When the shelf is full, the
//! network that has the most on it gives way, with what is farthest from this node: whoever fills shelves with junk
//! drives out his own. Only where no network has more than the newcomer's does distance decide alone: what is farthest
//! are the records that other nodes are responsible for.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Distance, Key};
use crate::swarm::SourceRange;

/// Records in all: of 1024 bytes each, so that a shelf never takes more than about 5 MB.
pub const MAX_RECORDS: usize = 4096;
/// Records from one source network, unless it is loopback or private: one person needs about ten.
pub const MAX_PER_RANGE: usize = 512;
/// Longest life of a record: the epoch before which it is put (one hour ahead), its epoch, and an hour of lateness.
pub const MAX_LIFE: Duration = Duration::from_secs(3 * 3600);

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A newer sequence is stored.
    #[error("older than what is stored")]
    Older,
    /// This source network has its share.
    #[error("too many from this network")]
    RangeFull,
    /// The shelf is full of records that are closer to this node, of networks that have no more than this one.
    #[error("full of closer records")]
    Full,
}

struct Entry<V> {
    value: V,
    sequence: u64,
    range: Option<SourceRange>,
    distance: Distance,
    expires: Instant,
}

/// Bounded store of verified records by their keys.
pub struct Shelf<V> {
    own: Key,
    entries: HashMap<[u8; 32], Entry<V>>,
    per_range: HashMap<SourceRange, usize>,
    max_records: usize,
    max_per_range: usize,
}

impl<V> Shelf<V> {
    /// The shelf of the node at `own`.
    pub fn new(own: Key) -> Self {
        Self::with_bounds(own, MAX_RECORDS, MAX_PER_RANGE)
    }

    /// A shelf with other bounds than those of the specification, for tests and models.
    pub fn with_bounds(own: Key, max_records: usize, max_per_range: usize) -> Self {
        Self { own, entries: HashMap::new(), per_range: HashMap::new(), max_records, max_per_range }
    }

    /// Number of records kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What lies at a key, expired or not, with its sequence and the end of its life.
    pub fn get(&self, key: &[u8; 32]) -> Option<(&V, u64, Instant)> {
        self.entries.get(key).map(|entry| (&entry.value, entry.sequence, entry.expires))
    }

    /// Takes a verified record with its `sequence`; `range` is the network that it came from, where shares apply;
    /// `expires` is what the sender asks for.
    pub fn admit(
        &mut self,
        key: [u8; 32],
        value: V,
        sequence: u64,
        range: Option<SourceRange>,
        expires: Option<Instant>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let limit = now + MAX_LIFE;
        let expires = expires.map_or(limit, |expires| expires.min(limit));
        if let Some(entry) = self.entries.get(&key) {
            if entry.expires > now && sequence < entry.sequence {
                return Err(Refusal::Older);
            }
            self.remove(&key);
        }
        let share = range.map_or(0, |range| self.share(range));
        if share >= self.max_per_range {
            return Err(Refusal::RangeFull);
        }
        let distance = self.own.distance(&Key::of(&key));
        if self.entries.len() >= self.max_records {
            self.sweep(now);
        }
        if self.entries.len() >= self.max_records {
            let victim = self.victim(range, share, distance).ok_or(Refusal::Full)?;
            self.remove(&victim);
        }
        if let Some(range) = range {
            *self.per_range.entry(range).or_default() += 1;
        }
        self.entries.insert(key, Entry { value, sequence, range, distance, expires });
        Ok(())
    }

    /// Forgets what has expired.
    pub fn sweep(&mut self, now: Instant) {
        let expired: Vec<[u8; 32]> =
            self.entries.iter().filter(|(_, entry)| entry.expires <= now).map(|(key, _)| *key).collect();
        for key in expired {
            self.remove(&key);
        }
    }

    /// Forgets one record.
    pub fn remove(&mut self, key: &[u8; 32]) {
        let Some(entry) = self.entries.remove(key) else { return };
        if let Some(range) = entry.range
            && let Some(count) = self.per_range.get_mut(&range)
        {
            *count -= 1;
            if *count == 0 {
                self.per_range.remove(&range);
            }
        }
    }

    fn share(&self, range: SourceRange) -> usize {
        self.per_range.get(&range).copied().unwrap_or(0)
    }

    /// What gives way to a record of a network that has `share` records here.
    fn victim(&self, range: Option<SourceRange>, share: usize, distance: Distance) -> Option<[u8; 32]> {
        let most = self.per_range.iter().max_by_key(|(range, count)| (**count, **range));
        let (from, at_any_distance) = match most {
            Some((most, count)) if *count > share + 1 => (Some(*most), true),
            _ if share > 0 => (range, false),
            _ => (None, false),
        };
        let among = self.entries.iter().filter(|(_, entry)| from.is_none() || entry.range == from);
        let (key, entry) = among.max_by_key(|(_, entry)| entry.distance)?;
        (at_any_distance || entry.distance > distance).then_some(*key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Key {
        Key::of(b"this node")
    }

    fn key(n: u16) -> [u8; 32] {
        *Key::of(&n.to_be_bytes()).as_bytes()
    }

    fn range(n: u8) -> Option<SourceRange> {
        Some(SourceRange::of([9, 9, n, 1].into()))
    }

    #[test]
    fn an_older_sequence_never_replaces_a_newer_one() {
        let now = Instant::now();
        let mut shelf = Shelf::new(own());
        shelf.admit(key(1), "5", 5, None, None, now).unwrap();
        assert_eq!(shelf.admit(key(1), "4", 4, None, None, now), Err(Refusal::Older));
        shelf.admit(key(1), "6", 6, None, None, now).unwrap();
        assert_eq!(shelf.get(&key(1)).map(|(value, sequence, _)| (*value, sequence)), Some(("6", 6)));
        let later = now + MAX_LIFE + Duration::from_secs(1);
        shelf.admit(key(1), "1", 1, None, None, later).unwrap();
    }

    #[test]
    fn a_full_shelf_of_equals_keeps_what_is_closest_to_its_own_place() {
        let now = Instant::now();
        let mut shelf = Shelf::with_bounds(own(), 8, 100);
        for n in 0..200 {
            let _ = shelf.admit(key(n), (), 1, None, None, now);
        }
        let mut all: Vec<_> = (0..200).map(|n| own().distance(&Key::of(&key(n)))).collect();
        all.sort();
        let mut kept: Vec<_> = shelf.entries.values().map(|entry| entry.distance).collect();
        kept.sort();
        assert_eq!(kept, all[..8]);
    }

    #[test]
    fn one_network_cannot_take_more_than_its_share() {
        let now = Instant::now();
        let mut shelf = Shelf::with_bounds(own(), 100, 3);
        for n in 0..3 {
            shelf.admit(key(n), (), 1, range(1), None, now).unwrap();
        }
        assert_eq!(shelf.admit(key(3), (), 1, range(1), None, now), Err(Refusal::RangeFull));
        shelf.admit(key(2), (), 2, range(1), None, now).unwrap();
        shelf.admit(key(3), (), 1, range(2), None, now).unwrap();
        shelf.remove(&key(2));
        shelf.admit(key(4), (), 1, range(1), None, now).unwrap();
    }

    #[test]
    fn whoever_fills_the_shelf_drives_out_his_own_however_near_his_junk_is() {
        let now = Instant::now();
        let mut shelf = Shelf::with_bounds(own(), 64, 32);
        let mut by_distance: Vec<u16> = (0..1000).collect();
        by_distance.sort_by_key(|n| own().distance(&Key::of(&key(*n))));
        let (junk, honest) = (&by_distance[..400], &by_distance[980..]);
        for (index, n) in honest.iter().enumerate() {
            shelf.admit(key(*n), (), 1, range(100 + index as u8), None, now).unwrap();
        }
        for (index, n) in junk.iter().enumerate() {
            let _ = shelf.admit(key(*n), (), 1, range((index % 8) as u8), None, now);
        }
        assert_eq!(shelf.len(), 64);
        assert!(
            honest.iter().all(|n| shelf.get(&key(*n)).is_some()),
            "eight networks, each with its share of the rest"
        );
        shelf.admit(key(2000), (), 1, range(200), None, now).unwrap();
        assert_eq!(shelf.len(), 64);
        let refused = by_distance[500];
        assert_eq!(shelf.admit(key(refused), (), 1, range(1), None, now), Err(Refusal::Full));
    }

    #[test]
    fn life_is_bounded_whatever_the_sender_asks() {
        let now = Instant::now();
        let mut shelf = Shelf::new(own());
        shelf.admit(key(1), (), 1, None, Some(now + Duration::from_secs(1_000_000)), now).unwrap();
        shelf.sweep(now + MAX_LIFE - Duration::from_secs(1));
        assert_eq!(shelf.len(), 1);
        shelf.sweep(now + MAX_LIFE);
        assert!(shelf.is_empty());
    }
}
