//! What the store keeps for the book. Unknown fields are ignored and missing ones have defaults, so that records of
//! neighbouring versions can be read.

use serde::{Deserialize, Serialize};

use crate::address::ContactToken;
use crate::identity::RootPublic;
use crate::rendezvous::Grant;
use crate::wire::{Availability, Name, Note, RequestId};

/// How far a friendship has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FriendState {
    /// Asked from here, not answered.
    Requested,
    /// Both agreed.
    Accepted,
}

/// Where an own request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asking {
    /// Not delivered yet.
    Trying,
    /// Delivered; the person there has not answered.
    Delivered,
    /// The node there takes no more requests at present.
    Later,
    /// The person there said no. Nothing more is tried.
    Declined,
    /// The person there ended the friendship. Nothing more is tried.
    Ended,
}

/// A friend, or somebody asked to be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FriendRecord {
    /// Who.
    pub root: RootPublic,
    /// The contact token of the address that was added, if it was.
    #[serde(default)]
    pub token: Option<ContactToken>,
    /// The name given here.
    #[serde(default)]
    pub name: Option<Name>,
    /// The name that the friend chose.
    #[serde(default)]
    pub own_name: Option<Name>,
    /// Requested or accepted.
    pub state: FriendState,
    /// Where the own request stands.
    pub asking: Asking,
    /// The own request: its id and line.
    #[serde(default)]
    pub request: Option<(RequestId, Note)>,
    /// Whether the safety words were compared.
    #[serde(default)]
    pub verified: bool,
    /// When added (Unix ms).
    pub added_ms: u64,
    /// When last linked (Unix ms).
    #[serde(default)]
    pub last_seen_ms: Option<u64>,
    /// The friend's grant.
    #[serde(default)]
    pub grant: Option<Grant>,
    /// Highest generation of the own grant that the friend has stored.
    #[serde(default)]
    pub granted: u64,
    /// Since when the friend waits for the present grant (Unix ms); pair slots fall in frequency with it.
    #[serde(default)]
    pub ungranted_ms: u64,
    /// Whether the own addresses are hidden from this friend; `None` goes by [`BookRecord::hide_all`].
    #[serde(default)]
    pub hidden: Option<bool>,
}

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Who.
    pub root: RootPublic,
    /// Which act of asking.
    pub id: RequestId,
    /// The name that the asker gave.
    pub name: Name,
    /// The line that came with it.
    pub message: Note,
    /// When it came, the last act of asking (Unix ms).
    pub received_ms: u64,
    /// The asker says that there is a friendship already.
    #[serde(default)]
    pub says_friends: bool,
}

/// A request that was declined, so that the asker can be told whenever its node asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// Who asked.
    pub root: RootPublic,
    /// Which act of asking.
    pub id: RequestId,
    /// When it was declined (Unix ms).
    pub at_ms: u64,
}

/// What belongs to the book as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookRecord {
    /// The own name.
    #[serde(default)]
    pub name: Name,
    /// The own availability.
    pub availability: Availability,
    /// Who is blocked.
    #[serde(default)]
    pub blocked: Vec<RootPublic>,
    /// What was declined, oldest first.
    #[serde(default)]
    pub declined: Vec<Decline>,
    /// Generation of the own grant that is wanted; below it, the key in the store is outdated.
    #[serde(default)]
    pub generation: u64,
    /// The own addresses are hidden from every friend of whom nothing else is said.
    #[serde(default)]
    pub hide_all: bool,
}
