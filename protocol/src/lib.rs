//! The pure rules between twocan nodes.
//!
//! Nothing here opens a socket, reads a file, asks a clock or draws randomness by itself: time and randomness come in
//! as arguments, bytes go in and out. So everything that a second implementation has to agree on is in this crate, and
//! the numbered pages under `specs/` say it in words, with test vectors in `specs/vectors/`.
//!
//! - [`identity`]: root key, device key, certificate, friendship key (`specs/01-identity.md`)
//! - [`address`]: what a person hands out (`specs/01-identity.md`)
//! - [`safety`]: words to compare by voice (`specs/01-identity.md`)
//! - [`sealed`]: bytes at rest under a key or a passphrase (`specs/01-identity.md`)
//! - [`call`]: ringing, answering and keeping calls alive (`specs/05-call.md`)
//! - [`chat`]: messages between friends (`specs/04-link.md`)
//! - [`files`]: files between friends (`specs/04-link.md`)
//! - [`friend`]: the book of friends, requests and blocks (`specs/03-contact.md`)
//! - [`gate`]: the tag that opens a stream between two nodes (`specs/03-contact.md`)
//! - [`rendezvous`]: slots and records in the DHT (`specs/02-rendezvous.md`)
//! - [`handshake`]: who is at the other end of a stream (`specs/04-link.md`)
//! - [`wire`]: frames and messages between nodes (`specs/04-link.md`)
//! - [`link`]: one session per friend that outlives connections (`specs/04-link.md`)
//! - [`limits`]: every bound on what a stranger may send, with its reason
//! - [`redact`]: keeps secrets and whereabouts out of logs

pub mod address;
pub mod call;
pub mod chat;
mod domain;
pub mod files;
pub mod friend;
pub mod gate;
pub mod handshake;
pub mod identity;
pub mod limits;
pub mod link;
pub mod redact;
pub mod rendezvous;
pub mod safety;
pub mod sealed;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wire;

#[cfg(test)]
mod vectors;
