//! A model of the routing table: the crate's k-buckets, with the node's own rules for who gets in.
//!
//! A bucket holds 20. Who is seen is moved behind the others. When it is full, the one that was seen longest ago is
//! dialled; if it is not there after a minute, the newcomer takes its place. Whoever was not reached twice leaves.

use twocan_node::dht::{Distance, K, Key, has_room_in_bucket};
use twocan_node::swarm::SourceRange;

use super::net::{Id, MINUTE, Time};

/// Failures to reach a node before it leaves the table, as in the node.
const MAX_FAILURES: u8 = 2;
/// How long a newcomer waits for the place of one that is not there, as in the crate.
const PENDING: Time = MINUTE;
/// A connection stays open so long after its last use, as in the node; then its end counts as disconnected.
pub(super) const IDLE: Time = 10_000_000;

#[derive(Clone)]
struct Entry {
    id: Id,
    key: Key,
    range: Option<SourceRange>,
    seen: Time,
    failures: u8,
}

#[derive(Clone, Default)]
struct Bucket {
    entries: Vec<Entry>,
    pending: Option<(Entry, Time)>,
}

/// The routing table of one node.
#[derive(Clone)]
pub(super) struct Table {
    own: Key,
    buckets: Vec<Bucket>,
    len: usize,
}

/// What putting a node into the table led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insert {
    /// It was there, or may not come in.
    Nothing,
    /// It is in.
    New,
    /// It waits for the place of this one, which is to be dialled.
    Dial(Id),
}

impl Table {
    /// The empty table of the node at `own`.
    pub(super) fn new(own: Key) -> Self {
        Self { own, buckets: vec![Bucket::default(); 256], len: 0 }
    }

    /// Nodes in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of leading bits that the nearest node in it shares with this one.
    pub(super) fn deepest(&self) -> usize {
        self.buckets.iter().rposition(|bucket| !bucket.entries.is_empty()).unwrap_or(0)
    }

    /// A node that serves was met.
    pub(super) fn insert(&mut self, id: Id, key: Key, range: Option<SourceRange>, now: Time) -> Insert {
        let at = self.own.distance(&key).shared_bits() as usize;
        let Some(bucket) = self.buckets.get_mut(at) else { return Insert::Nothing };
        let entry = Entry { id, key, range, seen: now, failures: 0 };
        if let Some(index) = bucket.entries.iter().position(|entry| entry.id == id) {
            bucket.entries.remove(index);
            bucket.entries.push(entry);
            return Insert::Nothing;
        }
        if let Some((pending, ready)) = bucket.pending.take() {
            if ready > now {
                bucket.pending = Some((pending, ready));
            } else if bucket.entries.len() < K || bucket.entries[0].seen + IDLE < now {
                if bucket.entries.len() < K {
                    self.len += 1;
                } else {
                    bucket.entries.remove(0);
                }
                bucket.entries.push(pending);
            }
        }
        if bucket.entries.iter().any(|entry| entry.id == id)
            || !has_room_in_bucket(bucket.entries.iter().map(|entry| entry.range), range)
        {
            return Insert::Nothing;
        }
        if bucket.entries.len() < K {
            bucket.entries.push(entry);
            self.len += 1;
            return Insert::New;
        }
        let oldest = &bucket.entries[0];
        if bucket.pending.is_some() || oldest.seen + IDLE >= now {
            return Insert::Nothing;
        }
        let oldest = oldest.id;
        bucket.pending = Some((entry, now + PENDING));
        Insert::Dial(oldest)
    }

    /// A node in the table was talked to.
    pub(super) fn seen(&mut self, id: Id, key: &Key, now: Time) {
        let at = self.own.distance(key).shared_bits() as usize;
        if let Some(bucket) = self.buckets.get_mut(at)
            && let Some(index) = bucket.entries.iter().position(|entry| entry.id == id)
        {
            let mut entry = bucket.entries.remove(index);
            entry.seen = now;
            entry.failures = 0;
            bucket.entries.push(entry);
        }
    }

    /// A node was not reached.
    pub(super) fn failed(&mut self, id: Id, key: &Key) {
        let at = self.own.distance(key).shared_bits() as usize;
        if let Some(bucket) = self.buckets.get_mut(at)
            && let Some(index) = bucket.entries.iter().position(|entry| entry.id == id)
        {
            bucket.entries[index].failures += 1;
            if bucket.entries[index].failures >= MAX_FAILURES {
                bucket.entries.remove(index);
                self.len -= 1;
            }
        }
    }

    /// The nodes nearest to a place, at most [`K`], without `asker`.
    pub(super) fn closest(&self, target: &Key, asker: Option<Id>) -> Vec<Id> {
        let mut all: Vec<(Distance, Id)> = Vec::with_capacity(self.len);
        for bucket in &self.buckets {
            let entries = bucket.entries.iter().filter(|entry| Some(entry.id) != asker);
            all.extend(entries.map(|entry| (entry.key.distance(target), entry.id)));
        }
        if all.len() > K {
            all.select_nth_unstable(K - 1);
            all.truncate(K);
        }
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }
}
