//! What the copies of one place are worth. Pure: the search of a real node and the simulated network both use it.

use std::collections::HashSet;

use twocan_protocol::{
    identity::PeerId,
    rendezvous::{Body, Reader},
};

use crate::swarm::{Copy, SourceRange};

/// So many copies of the newest sequence, from different networks, are enough. With three, nodes that keep what they saw
/// first deceived one search in four hundred where they are one in twenty-five (`docs/simulation.md`).
const ENOUGH: usize = 4;
/// Copies of one place that are opened at most; beyond, somebody floods.
const MAX_COPIES: u32 = 64;

/// What one copy was.
#[derive(Debug)]
pub enum Verdict {
    /// Not this slot's, damaged, or expired.
    Bad,
    /// Valid, with the sequence and what it says.
    Good(u64, Box<Body>),
}

/// Who says that a copy is the newest: a network counts once, however many nodes it has. Nodes on loopback and private
/// networks, and our own store, count one by one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Witness {
    Range(SourceRange),
    Near(Option<PeerId>),
}

/// Judges the copies of one place.
#[derive(Default)]
pub struct Judge {
    newest: Option<(u64, Vec<u8>)>,
    holders: Vec<(PeerId, u64)>,
    agreeing: HashSet<Witness>,
    good: u32,
    bad: u32,
}

impl Judge {
    /// Verifies and opens a copy.
    pub fn take(&mut self, reader: &Reader, copy: Copy, unix_ms: u64) -> Verdict {
        let opened = reader.open(&copy.value).ok().filter(|(_, body)| is_current(body, unix_ms));
        let Some((sequence, body)) = opened else {
            self.bad += 1;
            return Verdict::Bad;
        };
        self.good += 1;
        self.holders.extend(copy.from.clone().map(|peer| (peer, sequence)));
        let witness = copy.range.map_or(Witness::Near(copy.from), Witness::Range);
        match &self.newest {
            Some((newest, _)) if sequence < *newest => {}
            Some((newest, _)) if sequence == *newest => {
                self.agreeing.insert(witness);
            }
            _ => {
                self.agreeing.clear();
                self.agreeing.insert(witness);
                self.newest = Some((sequence, copy.value));
            }
        }
        Verdict::Good(sequence, Box::new(body))
    }

    /// Whether more copies would hardly change anything, or somebody floods.
    pub fn is_enough(&self) -> bool {
        self.agreeing.len() >= ENOUGH || self.good >= MAX_COPIES || self.bad >= MAX_COPIES
    }

    /// Whether a valid copy was seen.
    pub fn has_found(&self) -> bool {
        self.newest.is_some()
    }

    /// Valid and bad copies.
    pub fn counts(&self) -> (u32, u32) {
        (self.good, self.bad)
    }

    /// The newest copy, and the nodes that gave an older one.
    pub fn stale(&self) -> Option<(Vec<u8>, Vec<PeerId>)> {
        let (sequence, value) = self.newest.as_ref()?;
        let older = self.holders.iter().filter(|(_, held)| held < sequence);
        Some((value.clone(), older.map(|(peer, _)| peer.clone()).collect()))
    }
}

/// Whether a body may be believed now.
pub(super) fn is_current(body: &Body, unix_ms: u64) -> bool {
    body.expires_ms > unix_ms && body.certificate.verify(unix_ms / 1000).is_ok()
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};
    use twocan_protocol::{
        address::{Address, ContactToken},
        identity::{Certificate, DeviceKey, RootKey},
        rendezvous::{Publisher, contact_publisher, contact_reader},
    };

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn slot() -> (RootKey, Publisher, Reader) {
        let root = RootKey::from_secret(&[1; 32]);
        let token = ContactToken::derived(&root);
        let reader = contact_reader(&Address { root: root.public(), token }, 1, 0).unwrap();
        let publisher = contact_publisher(&root, &token, 1, 0);
        (root, publisher, reader)
    }

    fn record(root: &RootKey, publisher: &Publisher, sequence: u64, expires_ms: u64) -> Vec<u8> {
        let device = DeviceKey::from_secret(&[2; 32]).public();
        let body = Body {
            certificate: Certificate::issue(root, device, 0, 0, u64::MAX),
            peer_id: PeerId::from_bytes(&[9; 38]).unwrap(),
            direct: Vec::new(),
            lan: Vec::new(),
            relayed: Vec::new(),
            expires_ms,
        };
        publisher.record(sequence, &body, &mut StdRng::seed_from_u64(sequence)).unwrap()
    }

    fn copy(value: &[u8], node: u8, ip: Option<&str>) -> Copy {
        let range = ip.map(|ip| SourceRange::of(ip.parse().unwrap()));
        Copy { value: value.to_vec(), from: PeerId::from_bytes(&[node; 38]).ok(), range }
    }

    #[test]
    fn many_nodes_of_one_network_agree_like_one() {
        let (root, publisher, reader) = slot();
        let value = record(&root, &publisher, 5, u64::MAX);
        let mut judge = Judge::default();
        for node in 0..20 {
            judge.take(&reader, copy(&value, node, Some("9.9.9.7")), NOW_MS);
        }
        assert!(!judge.is_enough());
        judge.take(&reader, copy(&value, 21, Some("9.9.8.7")), NOW_MS);
        judge.take(&reader, copy(&value, 22, Some("2001:db8::1")), NOW_MS);
        assert!(!judge.is_enough());
        judge.take(&reader, copy(&value, 23, Some("2001:db8:1::1")), NOW_MS);
        assert!(judge.is_enough());

        let mut near = Judge::default();
        for node in 0..4 {
            near.take(&reader, copy(&value, node, None), NOW_MS);
        }
        assert!(near.is_enough(), "nodes of the own machine count one by one");
    }

    #[test]
    fn the_newest_copy_counts_and_who_holds_an_older_one_is_told() {
        let (root, publisher, reader) = slot();
        let [old, new] = [4, 5].map(|sequence| record(&root, &publisher, sequence, u64::MAX));
        let mut judge = Judge::default();
        for (node, value) in [(1, &old), (2, &new), (3, &old)] {
            assert!(matches!(judge.take(&reader, copy(value, node, None), NOW_MS), Verdict::Good(..)));
        }
        let (value, stale) = judge.stale().unwrap();
        assert_eq!(value, new);
        assert_eq!(stale, [1, 3].map(|node| PeerId::from_bytes(&[node; 38]).unwrap()));
    }

    #[test]
    fn a_flood_of_bad_or_expired_copies_ends_by_itself() {
        let (root, publisher, reader) = slot();
        let expired = record(&root, &publisher, 5, NOW_MS);
        let mut judge = Judge::default();
        let mut taken = 0;
        while !judge.is_enough() {
            let bad = if taken % 2 == 0 { &expired[..] } else { &[7; 1024][..] };
            assert!(matches!(judge.take(&reader, copy(bad, 1, None), NOW_MS), Verdict::Bad));
            taken += 1;
        }
        assert_eq!((taken, judge.counts(), judge.has_found()), (MAX_COPIES, (0, MAX_COPIES), false));
    }
}
