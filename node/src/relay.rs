//! Packet relay: what carries sealed media where no direct path exists (`specs/08-relay.md`).
//!
//! [`Server`] is the TURN server (RFC 8656) in every node that is publicly reachable. It answers on the UDP port of the
//! calls and, for networks without UDP, inside TLS 1.3 over TCP. It serves those to whom a friend handed a credential
//! over the link. [`Relayed`] is the client's side: one allocation on somebody's relay, over UDP or TLS.
//!
//! `turn` holds the rules without I/O; `server` and `relayed` move packets between them, sockets, and the port of the
//! calls; `stream` is TURN on TCP, for both.

mod carried;
mod certificate;
mod relayed;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod turn;
mod types;

pub use carried::{Carried, CarriedUse};
pub use certificate::{CertificateError, Identity};
pub use relayed::{Family, Proxy, ProxyError, Relayed, RelayedCounts, RelayedEvent, Way, tls_answers};
pub use server::{
    HTTPS, Limits, ListenError, Policy, RELAY_PORTS, Server, ServerConfig, Status, TlsPort, Usage, UsedBy, open_tls,
    source_addresses,
};
pub use turn::peers::is_public;
pub use turn::server::DayUse;
pub use types::{Access, Credential, Kind, Owner, PacketOut, Secret};
