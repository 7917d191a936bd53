//! Packet relays: what this node carries for others, and what others carry for it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::friend::FriendId;

/// Whom this node relays for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelayPolicy {
    /// Friends and their partners in a call, where the internet can reach this node.
    #[default]
    Auto,
    /// Nobody.
    Off,
    /// Friends and their partners in a call, whatever the tests of reachability say.
    Friends,
    /// Friends, and with small limits any node that asks.
    Anyone,
}

/// Sets whom this node relays for. It stays so over restarts, whatever the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetRelay {
    /// Whom.
    pub serve: RelayPolicy,
}

/// How relaying is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayStatus {
    /// Whom this node relays for.
    pub serve: RelayPolicy,
    /// Whether it does so at present.
    pub serving: bool,
    /// Why it does, or does not: one sentence.
    pub reason: String,
    /// Where it answers over UDP (address and port).
    pub udp: Vec<String>,
    /// Where it answers over TLS.
    pub tls: Vec<String>,
    /// What is to be known of the TLS port: one sentence.
    pub tls_note: String,
    /// What it gives at most.
    pub limits: RelayLimits,
    /// What it gives in total.
    pub total: RelayTraffic,
    /// What it gives, by friend and guest.
    pub by_me: Vec<RelayUse>,
    /// Relays that friends offer, and what they gave.
    pub for_me: Vec<FriendRelay>,
    /// STUN questions answered since the start.
    pub stun_answers: u64,
    /// Requests without a good credential since the start.
    pub refused: u64,
    /// Packets dropped for a quota since the start.
    pub over_quota: u64,
}

/// What a relay gives at most, in total. A friend gets at most a quarter of each, guests together a quarter, and one of
/// them a sixteenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayLimits {
    /// Allocations at the same time. A call takes one or two.
    pub allocations: u32,
    /// Bytes per second, both directions together.
    pub bytes_per_second: u64,
    /// Bytes per day (UTC), both directions together.
    pub bytes_per_day: u64,
}

/// What is relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayTraffic {
    /// Allocations now.
    pub allocations: u32,
    /// Bytes in the last second, both directions together.
    pub bytes_per_second: u64,
    /// Bytes since midnight (UTC), both directions together.
    pub bytes_today: u64,
}

/// What this node relays for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayUse {
    /// The friend's id; of a guest, a number that stands for its network address.
    pub id: FriendId,
    /// The friend's name here; empty for a guest.
    pub name: String,
    /// Served because this node relays for anyone.
    pub guest: bool,
    /// How much.
    pub traffic: RelayTraffic,
}

/// A relay that a friend offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FriendRelay {
    /// The friend's id.
    pub id: FriendId,
    /// The friend's name here.
    pub name: String,
    /// It answers over UDP.
    pub udp: bool,
    /// It answers over TLS.
    pub tls: bool,
    /// A credential for the next call is here.
    pub ready: bool,
    /// How much it relays for me.
    pub traffic: RelayTraffic,
}
