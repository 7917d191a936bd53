//! The rules of the DHT that need no network: distances, how a lookup goes on, what is kept for others.
//!
//! [`crate::swarm`] drives them over real connections, the simulator (`tests/src/sim.rs`) over a model of a network with
//! a thousand nodes. Time comes in as an argument, and nothing in here waits.

mod key;
mod lookup;
mod shelf;

pub use key::{Distance, Key};
pub use lookup::{Lookup, Node, PER_RANGE, Patience, Step};
pub use shelf::{MAX_LIFE, MAX_PER_RANGE, MAX_RECORDS, Refusal, Shelf};

use crate::swarm::SourceRange;

/// Nodes that hold a record, and that one node names in an answer (Kademlia's k).
pub const K: usize = 20;

/// Nodes of one public network in one bucket of a routing table.
pub const BUCKET_PER_RANGE: usize = 2;

/// Whether a node of the network `new` may come into a bucket with nodes of these networks. Whoever makes many ids near
/// one place has them all in the same bucket of everybody else; without this they would be all that others hear of.
pub fn has_room_in_bucket(bucket: impl Iterator<Item = Option<SourceRange>>, new: Option<SourceRange>) -> bool {
    new.is_none() || bucket.filter(|range| *range == new).count() < BUCKET_PER_RANGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_two_nodes_of_a_public_network_and_any_number_of_near_ones() {
        let [one, other] = ["9.9.9.1", "9.9.8.1"].map(|ip| Some(SourceRange::of(ip.parse().unwrap())));
        assert!(has_room_in_bucket([one, other].into_iter(), one));
        assert!(!has_room_in_bucket([one, other, one].into_iter(), one));
        assert!(has_room_in_bucket([one, other, one].into_iter(), other));
        assert!(has_room_in_bucket(std::iter::repeat_n(None, 19), None));
    }
}
