//! The rules of the DHT that need no network: distances, how a lookup goes on, what is kept for others.
//!
//! [`crate::swarm`] drives them over real connections, the simulator (`tests/src/sim.rs`) over a model of a network with
//! a thousand nodes. Time comes in as an argument, and nothing in here waits.

mod key;
mod lookup;

pub use key::{Distance, Key};
pub use lookup::{Lookup, Node, PER_RANGE, Patience, Step};

/// Nodes that hold a record, and that one node names in an answer (Kademlia's k).
pub const K: usize = 20;
