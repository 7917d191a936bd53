//! Friends, their presence, and what strangers asked.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A friend is named by the public root key, 64 hex digits. Where the API takes a friend, it also takes a unique
/// beginning of that (at least 6 digits), the exact name, or an address.
pub type FriendId = String;

/// How far a friendship has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FriendState {
    /// I asked; the other side has not answered. Kept trying until it does.
    Requested,
    /// Both agreed.
    Accepted,
}

/// How a friend is reached at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkPath {
    /// Same machine.
    Loopback,
    /// Same local network.
    Lan,
    /// Straight over the internet.
    Direct,
    /// Through another node.
    Relayed,
}

/// The link to a friend, while it is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// Over which kind of path.
    pub path: LinkPath,
    /// Transport ("quic" or "tcp").
    pub transport: String,
    /// Last measured round trip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Since when (Unix ms).
    pub since_ms: u64,
}

/// What a friend says of being available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Calls ring.
    #[default]
    Available,
    /// Do not disturb: calls are declined at once with that reason, and listed as missed.
    Dnd,
    /// Friends see this node as offline; links stay, so that own calls ring at once.
    Invisible,
}

/// Sets the own availability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetAvailability {
    /// The new one.
    pub availability: Availability,
}

/// A friend, or somebody asked to be one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Friend {
    /// Public root key, 64 hex digits.
    pub id: FriendId,
    /// The name given here, else the one that the friend chose, else the beginning of the id.
    pub name: String,
    /// The name that the friend chose, if told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_name: Option<String>,
    /// Requested or accepted.
    pub state: FriendState,
    /// Whether the friend is there. Absence of a link is "unknown", shown as offline.
    pub online: bool,
    /// What the friend said, while online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// The link, while up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// When last seen (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_ms: Option<u64>,
    /// Six words to compare by voice (`specs/01-identity.md`).
    pub safety_words: String,
    /// Whether the person here confirmed them.
    pub verified: bool,
    /// Whether this node's addresses are hidden from the friend: links and calls run through relays only.
    #[serde(default)]
    pub hide_address: bool,
    /// For a requested friend: what stands in the way, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Hash of the friend's picture (`GET /v1/friends/{friend}/picture`), if there is one and it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// When added (Unix ms).
    pub added_ms: u64,
}

/// Adds a friend by address. One-sided: it is delivered when the other side is next online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddFriend {
    /// `twocan1…` or `twocan:…`.
    pub address: String,
    /// A name to show here (at most 64 characters).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A line about myself for the other side (at most 280 characters).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Changes what is kept here about a friend. Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FriendUpdate {
    /// A new name here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the safety words were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// Whether to hide this node's addresses from the friend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hide_address: Option<bool>,
}

/// What others learn of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Privacy {
    /// Whether this node's addresses are hidden from everybody of whom nothing else is said: links and calls run
    /// through relays only. What is said of one friend ([`FriendUpdate::hide_address`]) counts more: a friend whose
    /// relay is to be used must not be hidden from, since a relay sees whom it serves.
    pub hide_address: bool,
}

/// A contact request from a stranger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Request {
    /// Public root key of the asker, 64 hex digits.
    pub id: FriendId,
    /// The name that the asker gave.
    pub name: String,
    /// The line that came with it.
    pub message: String,
    /// When it came (Unix ms).
    pub received_ms: u64,
    /// Whether the asker says that we are friends already (after a restore from the phrase alone).
    #[serde(default)]
    pub says_friends: bool,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum RequestAnswer {
    /// Become friends.
    Accept {
        /// A name to show here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Say no; the asker may ask again.
    Decline,
    /// Say nothing, and never hear of it again.
    Block,
}
