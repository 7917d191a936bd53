//! What is kept of conversations.

use serde::{Deserialize, Serialize};

use crate::identity::RootPublic;
use crate::wire::{CallId, Id};

/// What is kept of a conversation besides its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatRecord {
    /// With whom.
    pub friend: RootPublic,
    /// Names the own line of messages; greater than that of a conversation with the same friend before. Never 0.
    pub line: u64,
    /// Number of the next own message; starts at 1.
    pub next_number: u64,
    /// Place of the next line; starts at 1.
    pub next_place: u64,
    /// The friend's node has the own messages up to this number, whose place is that.
    pub delivered: u64,
    /// See above.
    pub delivered_place: u64,
    /// The friend has read own lines up to this place.
    #[serde(default)]
    pub read_place: u64,
    /// Names the friend's line; 0 if nothing has come.
    #[serde(default)]
    pub their_line: u64,
    /// The friend's messages up to this number have come.
    #[serde(default)]
    pub applied: u64,
    /// The person has read the friend's lines up to this place.
    #[serde(default)]
    pub seen_place: u64,
    /// The person has read the friend's messages up to this number.
    #[serde(default)]
    pub seen: u64,
}

impl ChatRecord {
    /// A conversation that begins now (Unix ms).
    #[must_use]
    pub fn new(friend: RootPublic, unix_ms: u64) -> Self {
        Self {
            friend,
            line: unix_ms.max(1),
            next_number: 1,
            next_place: 1,
            delivered: 0,
            delivered_place: 0,
            read_place: 0,
            their_line: 0,
            applied: 0,
            seen_place: 0,
            seen: 0,
        }
    }
}

/// The file that a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNote {
    /// Which transfer.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// One line of a conversation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineRecord {
    /// With whom.
    pub friend: RootPublic,
    /// Its place in the conversation.
    pub place: u64,
    /// Its name.
    pub id: Id,
    /// Whether the person here wrote it.
    pub mine: bool,
    /// Its number among the messages of whoever wrote it; 0 for a file.
    pub number: u64,
    /// What was written; empty for a file.
    pub text: String,
    /// When it was written (Unix ms).
    pub sent_ms: u64,
    /// When it came into the conversation (Unix ms).
    pub kept_ms: u64,
    /// It came with the decline of this call.
    #[serde(default)]
    pub call: Option<CallId>,
    /// It is about a file.
    #[serde(default)]
    pub file: Option<FileNote>,
}

impl std::fmt::Debug for LineRecord {
    /// What people write stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LineRecord({}, place {}, {} bytes)", self.id, self.place, self.text.len())
    }
}

impl LineRecord {
    /// About as many bytes as it takes on the disk.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.len() + self.file.as_ref().map_or(0, |file| file.name.len() + 32) + 160
    }
}
