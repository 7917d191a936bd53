//! The relay server: sockets, TLS connections and the state machine between them. Cheap to clone.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use twocan_protocol::identity::RootPublic;

use super::types::{Credential, Kind, PacketOut, Secret};

/// Whom this node relays for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Friends, where this node is publicly reachable.
    #[default]
    Auto,
    /// Nobody. STUN is answered all the same.
    Off,
    /// Friends and their partners in a call, whatever reachability tests say.
    Friends,
    /// Friends, and with small limits any node that asks.
    Anyone,
}

/// What the relay gives at most, in total. A friend gets at most a quarter of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Allocations at the same time.
    pub allocations: u32,
    /// Bytes per second that are taken in, both directions together.
    pub bytes_per_second: u64,
    /// Bytes per day (UTC), both directions together.
    pub bytes_per_day: u64,
}

impl Default for Limits {
    /// 64 allocations, 20 Mbit/s, 20 GB a day: some ten calls with video, and a tenth of what a small server has.
    fn default() -> Self {
        Self { allocations: 64, bytes_per_second: 2_500_000, bytes_per_day: 20_000_000_000 }
    }
}

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Addresses of this machine that peers can reach; relayed packets leave from them (the first of each family).
    pub addresses: Vec<IpAddr>,
    /// UDP ports for relayed packets.
    pub ports: RangeInclusive<u16>,
    /// Whom it serves.
    pub policy: Policy,
    /// What it gives.
    pub limits: Limits,
    /// Relay to private and loopback addresses, too (laboratories and tests).
    pub private_peers: bool,
}

/// What one friend uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Who.
    pub friend: RootPublic,
    /// Allocations now.
    pub allocations: u32,
    /// Bytes relayed in the last second.
    pub bytes_per_second: u64,
    /// Bytes relayed since midnight (UTC).
    pub bytes_today: u64,
}

/// How the server is.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whom it serves.
    pub policy: Policy,
    /// What it gives.
    pub limits: Limits,
    /// By friend.
    pub usage: Vec<Usage>,
    /// STUN binding requests answered since the start.
    pub bindings: u64,
}

/// The server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {}

impl Server {
    /// Makes the server. It answers nothing before [`Self::set_out`]. Must run inside the tokio runtime.
    pub fn start(config: ServerConfig) -> Self {
        drop(config);
        Self {}
    }

    /// How datagrams leave through the calls' port. The mux gives it; it should not hold the mux alive (`Weak`).
    pub fn set_out(&self, out: PacketOut) {
        drop(out);
    }

    /// Whether there is an allocation made from this address.
    pub fn knows(&self, from: SocketAddr) -> bool {
        let _ = from;
        false
    }

    /// A packet that belongs to no call: STUN and TURN requests from anyone, and packets from whom [`Self::knows`].
    /// Answers through `out`.
    pub fn input(&self, from: SocketAddr, packet: &[u8]) {
        let _ = (from, packet);
    }

    /// A new credential for a friend or the friend's partner.
    pub fn issue(&self, friend: RootPublic, kind: Kind) -> Credential {
        let _ = (friend, kind);
        Credential { user: String::new(), password: Secret::new(""), expires_ms: 0 }
    }

    /// Ends all credentials and allocations of a friend.
    pub fn revoke(&self, friend: &RootPublic) {
        let _ = friend;
    }

    /// Changes whom it serves. [`Policy::Off`] ends what there is.
    pub fn set_policy(&self, policy: Policy) {
        let _ = policy;
    }

    /// How it is.
    pub fn status(&self) -> Status {
        Status::default()
    }
}
