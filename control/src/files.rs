//! Files between friends: offered, accepted, moved over the link's path, with progress.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::call::Direction;
use crate::friend::FriendId;

/// A transfer is named by 32 hex digits.
pub type FileId = String;

/// How far a transfer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Outgoing: the file is being read, to know its hash.
    Preparing,
    /// Offered, and not accepted yet: by the friend (outgoing) or here (incoming).
    Offered,
    /// Accepted, and waiting for the friend to be online, or for its turn.
    Waiting,
    /// Bytes move.
    Running,
    /// Held by a person: see `paused_here` and `paused_there`.
    Paused,
    /// All of it is there, and its hash is right.
    Done,
    /// The receiver did not want it.
    Declined,
    /// Given up by a person; `reason` says by whom.
    Cancelled,
    /// It went wrong; `reason` says how.
    Failed,
}

impl FileState {
    /// Whether nothing more happens.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Declined | Self::Cancelled | Self::Failed)
    }
}

/// A file on its way, or one that was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileTransfer {
    /// Its id.
    pub id: FileId,
    /// With whom.
    pub friend: FriendId,
    /// The friend's name at present.
    pub friend_name: String,
    /// Whether it comes or goes.
    pub direction: Direction,
    /// Name of the file, without folders.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// How far it has come.
    pub state: FileState,
    /// Bytes that the receiver has.
    pub done: u64,
    /// How fast it moves at present, bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Whether it is paused here.
    #[serde(default)]
    pub paused_here: bool,
    /// Whether the friend has paused it.
    #[serde(default)]
    pub paused_there: bool,
    /// Outgoing: the file that is read. Incoming: the finished file, or where it will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why it is over or does not move, in one sentence, where the state alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was offered (Unix ms).
    pub offered_ms: u64,
    /// When it was over (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
}

/// Offers a file to a friend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferFile {
    /// Absolute path of a file that the node can read. It is read when the friend takes it: leave it where it is.
    pub path: String,
}

/// Accepts a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcceptFile {
    /// Folder to put it into (absolute); without it, the one of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// What to do with a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAct {
    /// Take what is offered.
    Accept(AcceptFile),
    /// Do not take it.
    Decline,
    /// Hold it.
    Pause,
    /// Go on.
    Resume,
    /// Give it up, from either side; what has come of it is removed.
    Cancel,
}

impl FileAct {
    /// Its word in the path.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Accept(_) => "accept",
            Self::Decline => "decline",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }
}
