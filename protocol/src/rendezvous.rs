//! Slots: places in the DHT where a node says, sealed, where it is now (`specs/02-rendezvous.md`).
//!
//! The key of a place is the hash of a *blinded* public key. Whoever is entitled can compute that public key and the
//! key of the seal; only the owner can sign. A storing node can check the signature and knows nothing else. There are
//! three kinds: *presence* (one for all friends), *pair* (for one friend) and *contact* (for who holds the address).

mod blind;
mod body;
mod first;
mod ipns;
mod record;
mod schedule;
mod slot;

pub(crate) use body::is_multiaddr_text;
pub use body::{Body, BodyError};
pub use first::{FIRST_KEY_LEN, FIRST_KEYS, first_key};
pub use ipns::{IPNS_NAME_LEN, IPNS_RECORD_MAX, IpnsEntry, IpnsError, IpnsName, verify_ipns};
pub use record::{Publisher, RECORD_LEN, Reader, RecordError, RecordKey, verify_record};
pub use schedule::{DAY_MS, HOUR_MS, Schedule};
pub use slot::{
    CONTACT_SLOTS, Grant, PresenceKey, contact_publisher, contact_reader, pair_publisher, pair_reader,
    presence_publisher, presence_reader,
};
