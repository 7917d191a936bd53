//! What the owner of a relay sets, and what the owner sees of it.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use twocan_protocol::identity::RootPublic;

/// UDP ports for relayed packets where nothing else is set: part of the dynamic range, enough for the allocations.
pub const RELAY_PORTS: RangeInclusive<u16> = 49_152..=50_175;

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

impl Policy {
    /// Whether friends are served at all.
    pub fn serves_friends(self) -> bool {
        self != Self::Off
    }
}

/// What the relay gives at most, in total. A friend gets at most a quarter of each, all strangers together a quarter,
/// and one of them a sixteenth.
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
    /// 64 allocations, 20 Mbit/s, 20 GB a day: some six calls with video at a time, two of one friend, and a tenth of
    /// what a small server has.
    fn default() -> Self {
        Self { allocations: 64, bytes_per_second: 2_500_000, bytes_per_day: 20_000_000_000 }
    }
}

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Addresses of this machine that peers can reach; relayed packets leave from the first of each family.
    pub addresses: Vec<IpAddr>,
    /// UDP ports for relayed packets.
    pub ports: RangeInclusive<u16>,
    /// Port of this node's own calls, which may be relayed to.
    pub calls_port: Option<u16>,
    /// Whom it serves.
    pub policy: Policy,
    /// What it gives.
    pub limits: Limits,
    /// Relay to private and loopback addresses, too (laboratories and tests).
    pub private_peers: bool,
}

/// Who uses a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedBy {
    /// A friend.
    Friend(RootPublic),
    /// A node that is no friend, served because the owner serves anyone; a number made of its source address.
    Guest(u64),
}

/// What one friend or guest uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Who.
    pub by: UsedBy,
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
    /// By friend and guest.
    pub usage: Vec<Usage>,
    /// Allocations now, in total.
    pub allocations: u32,
    /// Bytes relayed in the last second, in total.
    pub bytes_per_second: u64,
    /// Bytes relayed since midnight (UTC), in total.
    pub bytes_today: u64,
    /// TLS connections now.
    pub tls_connections: usize,
    /// STUN binding requests answered since the start.
    pub bindings: u64,
    /// Requests without a good credential since the start.
    pub unauthorized: u64,
    /// Packets dropped for a quota since the start.
    pub over_quota: u64,
    /// Packets from or for a peer without a permission since the start.
    pub unpermitted: u64,
}
