//! Packet relay: what carries sealed media where no direct path exists (`specs/08-relay.md`).
//!
//! [`Server`] is the TURN server (RFC 8656) in every node that is publicly reachable. It answers on the UDP port of the
//! calls and, for networks without UDP, inside TLS 1.3 over TCP. It serves those to whom a friend handed a credential
//! over the link. [`Relayed`] is the client's side: one allocation on somebody's relay, over UDP or TLS.

mod relayed;
mod server;
mod types;

pub use relayed::{Family, Proxy, Relayed, RelayedEvent, Way};
pub use server::{Limits, Policy, Server, ServerConfig, Status, Usage};
pub use types::{Access, Credential, Kind, Owner, PacketOut, Secret};
