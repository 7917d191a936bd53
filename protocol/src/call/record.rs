//! What the store keeps of calls. Unknown fields are ignored and missing ones have defaults.

use serde::{Deserialize, Serialize};

use super::one::{Direction, Outcome};
use crate::identity::RootPublic;
use crate::wire::CallId;

/// A call that was answered and goes on, so that a restarted node can go on with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its id for clients.
    pub id: CallId,
    /// Its id between nodes (another one after both sides called at once).
    pub wire: CallId,
    /// With whom.
    pub friend: RootPublic,
    /// Who called, for people.
    pub direction: Direction,
    /// Whether this node is the caller of `wire`.
    pub caller: bool,
    /// When it began (Unix ms).
    pub started_ms: u64,
    /// When it was answered (Unix ms).
    pub answered_ms: u64,
    /// Highest generation of descriptions so far.
    pub generation: u32,
    /// Hash of the token of the seat.
    #[serde(default)]
    pub seat: Option<serde_bytes::ByteArray<32>>,
    /// Whether the caller asked for video.
    #[serde(default)]
    pub wants_video: bool,
    /// Microphone off.
    #[serde(default)]
    pub muted: bool,
    /// Video on.
    #[serde(default)]
    pub video: bool,
    /// A screen is shared.
    #[serde(default)]
    pub screen: bool,
    /// Held.
    #[serde(default)]
    pub held: bool,
    /// Whether there was video at any time.
    #[serde(default)]
    pub had_video: bool,
    /// The lost call that this one resumes.
    #[serde(default)]
    pub resumes: Option<CallId>,
    /// When the node last saw the call running (Unix ms); the driver writes it every [`super::SEEN_EVERY`].
    #[serde(default)]
    pub seen_ms: Option<u64>,
}

/// A call that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// Its id.
    pub id: CallId,
    /// With whom.
    pub friend: RootPublic,
    /// Who called.
    pub direction: Direction,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where the outcome alone does not say it, or the text of a decline.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it began (Unix ms).
    pub started_ms: u64,
    /// When it ended (Unix ms).
    pub ended_ms: u64,
    /// How long people talked.
    pub talked_ms: u64,
    /// Whether either side sent video.
    pub video: bool,
    /// The lost call that this one resumed.
    #[serde(default)]
    pub resumes: Option<CallId>,
}
