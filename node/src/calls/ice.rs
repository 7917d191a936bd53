//! Our own ICE agent (RFC 8445, 7675, 8838), under webrtc's.
//!
//! webrtc's agent chooses one pair once, drops it at every restart before a new one works, and fails with it. A call
//! that survives a dead relay, a forgetful NAT or a change of network without a word over the link needs several paths
//! at a time. So the wire is ours: [`agent`] checks pairs, keeps the best and some in reserve, and moves media between
//! them whenever another is alive or better. webrtc sees one socket and one address that never changes; its checks are
//! answered inside the process by [`stand_in`], as soon as there is a path, and everything else that it sends goes
//! where the agent says. [`paths`] connects the two with the port and the relays.

mod agent;
mod choose;
mod pair;
pub(super) mod paths;
mod stand_in;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::candidate::Kind;
pub(super) use agent::{TLS_EXTRA, TLS_PREFERENCE};

/// User fragment and password of one side, from its description.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) ufrag: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Where our packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Via {
    /// The shared port, from this address of the machine.
    Direct(IpAddr),
    /// An allocation at a relay, by its number.
    Relay(u16),
}

impl Via {
    pub(super) fn is_relay(self) -> bool {
        matches!(self, Self::Relay(_))
    }
}

/// A way out that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) via: Via,
    /// Whether it carries IPv4 (else IPv6). A relay with both is two of these.
    pub(super) v4: bool,
    /// Added to the cost of paths over it: a relay inside TLS is dearer than one over UDP.
    pub(super) extra: u32,
}

/// Where a packet goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) via: Via,
    pub(super) to: SocketAddr,
}

/// The path in use, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) route: Route,
    pub(super) local: Kind,
    pub(super) remote: Kind,
    pub(super) round_trip: Option<Duration>,
}
