//! The node itself: how it is, what it does. What stands in its way is in [`crate::doctor`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::doctor::Reachability;
use crate::friend::Availability;

/// How the node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the local API.
    pub api_version: u32,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Home folder.
    pub home: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Whether the keys are under a passphrase that has not been given yet.
    pub locked: bool,
    /// Own availability.
    pub availability: Availability,
    /// Swarm key of this start (libp2p PeerId); says nothing about the identity. Empty while locked.
    pub peer_id: String,
    /// Addresses that the swarm listens on.
    pub listen: Vec<String>,
    /// UDP port of all calls (0 while locked).
    pub media_port: u16,
    /// How others can reach this node.
    #[serde(default)]
    pub reachability: Reachability,
    /// The DHT as this node sees it.
    pub dht: Health,
    /// Friends in all, and online.
    pub friends: u32,
    /// Friends online.
    pub friends_online: u32,
    /// Requests waiting for an answer.
    pub requests: u32,
    /// Calls not ended.
    pub calls: u32,
    /// Missed calls that were not seen yet.
    #[serde(default)]
    pub missed: u32,
    /// Lines of conversations that were not read yet.
    #[serde(default)]
    pub unread: u32,
    /// Milestones of this start.
    pub timings: Timings,
    /// Something that the person should know (a repaired store, a newer device seen, …), one sentence each.
    pub notices: Vec<String>,
}

/// The DHT as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Connected peers that speak our DHT.
    pub peers: u32,
    /// Whether this node serves the DHT for others.
    pub server: bool,
    /// Slots that are published at present.
    pub slots_published: u32,
    /// Slots that were read back from another node since they were last written.
    pub slots_confirmed: u32,
    /// Records kept for others.
    pub records_stored: u32,
    /// Where friends are found: in the nodes' "own" DHT, in the public "ipfs" one, or in "both".
    #[serde(default)]
    pub discovery: String,
    /// The public IPFS DHT, if it may be asked: for slots, or for first nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<PublicDht>,
}

/// The public IPFS DHT as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicDht {
    /// How its client is doing.
    pub state: PublicDhtState,
    /// Servers connected at present.
    pub servers: u32,
    /// Slots that are published there.
    pub slots_published: u32,
    /// Slots that were read back from there.
    pub slots_confirmed: u32,
    /// What went wrong last, if nothing went well since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// How the client of the public DHT is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublicDhtState {
    /// Not asked for anything at present.
    #[default]
    Resting,
    /// Asked, and no server has answered yet.
    Reaching,
    /// Servers answer.
    Connected,
}

/// Milestones of this start, milliseconds since the process began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// The API answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_ms: Option<f64>,
    /// A DHT peer was connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dht_peer_ms: Option<f64>,
    /// API, DHT peer, and the own slots read back from another node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<f64>,
}

/// Looks up a friend's or stranger's slot afresh, without any cache (for `doctor` and `demo`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LookupRequest {
    /// Friend (id, beginning, name) or address.
    pub whom: String,
}

/// What a lookup found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lookup {
    /// Which slot answered: "presence", "pair" or "contact", with " over IPFS" from the public DHT.
    pub slot: String,
    /// Id of the DHT query, as in the log.
    pub query: String,
    /// From asking to the first valid copy.
    pub first_ms: f64,
    /// Valid copies seen.
    pub copies: u32,
    /// Copies that failed verification.
    pub bad_copies: u32,
}

/// A redacted report for a bug report: no keys, names, addresses or ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// The text of the file.
    pub text: String,
}
