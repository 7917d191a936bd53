//! What the node finds when it examines itself and its network, and what to do about it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::friend::LinkPath;
use crate::node::Health;

/// How others can reach this node, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reachability {
    /// Nobody outside was there yet to find out.
    #[default]
    Unknown,
    /// Anybody can: others have tried.
    Public,
    /// Anybody can, because the router forwards ports.
    Mapped,
    /// Through relays, and directly after both sides have knocked (hole punching).
    Relayed,
    /// Only those to whom this node reaches out.
    Outgoing,
    /// Only nodes on this machine: by configuration.
    Local,
}

/// One line of the doctor's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was looked at, in a few words.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was seen.
    pub finding: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What stands between this machine and the internet, for UDP over IPv4 (what calls use first).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NatKind {
    /// Not known yet.
    #[default]
    Unknown,
    /// There is no way out over IPv4.
    NoIpv4,
    /// Nothing: the machine's own address is public, and others reach it.
    None,
    /// The machine's own address is public, but a firewall keeps others out.
    Firewall,
    /// A NAT, of which more is not known yet.
    Nat,
    /// A NAT that uses one outer port for all whom this node talks to: direct calls work with most friends.
    EndpointIndependent,
    /// A NAT that uses another outer port for each whom this node talks to ("symmetric"): direct calls work only with
    /// friends whose own network lets them in.
    AddressDependent,
    /// UDP does not pass at all.
    UdpBlocked,
}

/// What was found out about NAT and firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nat {
    /// What it is.
    pub kind: NatKind,
    /// Whether UDP passes; absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<bool>,
    /// Whether there is a second NAT behind the first (a second router, or the provider's).
    pub double: bool,
    /// In a sentence.
    pub finding: String,
}

/// One address family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IpFamily {
    /// This machine's address towards the internet; absent if it has no way out in this family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<String>,
    /// The address and port of calls as servers see them.
    pub seen_as: Vec<String>,
    /// Whether others can reach this node in this family without being asked; absent if not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
    /// In a sentence.
    pub finding: String,
}

/// How the router's port mapping stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MappingState {
    /// Switched off in `config.toml`, or nothing to be mapped.
    #[default]
    Off,
    /// The machine has a public address of its own.
    Unneeded,
    /// There is no router to ask.
    NoRouter,
    /// The router is being asked.
    Asking,
    /// The router forwards ports to this node.
    Mapped,
    /// The router forwards ports, but stands itself behind a NAT.
    DoubleNat,
    /// The router refuses, or does not know how.
    Refused,
}

/// Port mapping by PCP, NAT-PMP or UPnP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortMapping {
    /// How it stands.
    pub state: MappingState,
    /// The router's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
    /// The protocol that the router speaks: "PCP", "NAT-PMP", "UPnP".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// What is mapped.
    pub ports: Vec<MappedPort>,
    /// In a sentence.
    pub finding: String,
}

/// A port that the router forwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MappedPort {
    /// What for.
    pub purpose: String,
    /// Port on this machine.
    pub port: u16,
    /// Where the router takes packets for it.
    pub external: String,
}

/// A friend's node that would relay a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RelayPath {
    /// Whose node, by the name under which the friend is known here.
    pub friend: String,
    /// Round trip over UDP in milliseconds; absent if it does not answer there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_ms: Option<f64>,
    /// Time to connect over TLS in milliseconds; absent if it does not answer there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<f64>,
}

/// How this machine's clock differs from friends' clocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClockState {
    /// Milliseconds by which this machine's clock is ahead (negative: behind) of the median of the friends' clocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_ms: Option<f64>,
    /// Friends who told their time.
    pub friends: u32,
}

/// The doctor's report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// What it all means for calls, in one sentence.
    pub summary: String,
    /// What to do, the most important first; empty if nothing needs doing.
    pub advice: Vec<String>,
    /// How others reach this node.
    pub reachability: Reachability,
    /// NAT and firewall.
    pub nat: Nat,
    /// IPv4.
    pub ipv4: IpFamily,
    /// IPv6.
    pub ipv6: IpFamily,
    /// The router's port mapping.
    pub port_mapping: PortMapping,
    /// Friends' nodes that would relay a call.
    pub relays: Vec<RelayPath>,
    /// Whether this node relays for friends.
    pub relaying: bool,
    /// The clock.
    pub clock: ClockState,
    /// The DHT.
    pub dht: Health,
    /// One by one.
    pub checks: Vec<Check>,
}

/// How good a call would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As if in the same room.
    Excellent,
    /// Hardly a difference.
    Good,
    /// Now and then something is missing or late.
    Fair,
    /// Tiring.
    Poor,
    /// Not worth trying, except in need.
    Bad,
}

/// One direction of a preflight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreflightStream {
    /// Packets that arrived.
    pub packets: u32,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Jitter in milliseconds (RFC 3550).
    pub jitter_ms: f64,
}

/// What a preflight to a friend found: the very path of a call, without a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Preflight {
    /// Id of the friend.
    pub friend: String,
    /// The name under which the friend is known here.
    pub friend_name: String,
    /// Whether a call would come through.
    pub works: bool,
    /// What it means, in one sentence.
    pub summary: String,
    /// What to do; empty if nothing needs doing.
    pub advice: Vec<String>,
    /// Path of the media.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<LinkPath>,
    /// Candidate kinds of the chosen pair, as "host/srflx".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<String>,
    /// From asking the friend's node to the first packet that could flow, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_ms: Option<f64>,
    /// Round trip of the media path in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// What arrived here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incoming: Option<PreflightStream>,
    /// What arrived at the friend, by its node's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<PreflightStream>,
    /// Bits per second that this node may send, as far as three seconds tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Predicted mean opinion score of a voice call, 1 (bad) to 4.5 (as good as it gets), by the E-model (ITU-T G.107).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// The score in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
}
