//! Conversations with friends: messages, how far they have come, and what is unread.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::call::{CallId, Direction};
use crate::files::FileId;
use crate::friend::FriendId;

/// A message is named by 32 hex digits.
pub type MessageId = String;

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Mine: kept here until the friend's node has it.
    Waiting,
    /// Mine: the friend's node has it. The friend's: it is here, and was not read yet.
    Delivered,
    /// Read: by the friend, as the friend's node tells if it may; or here.
    Read,
}

/// The file that a line of a conversation is about. How far it has come is in `/v1/files`, as long as it is listed there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileNote {
    /// Which transfer.
    pub id: FileId,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// One line of a conversation: a text, or a file that was offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatMessage {
    /// Its id.
    pub id: MessageId,
    /// With whom.
    pub friend: FriendId,
    /// Place in the conversation: lines are shown in this order. Grows; places of what was deleted stay empty.
    pub place: u64,
    /// Who wrote it.
    pub direction: Direction,
    /// What was written, lines separated by `\n`, without control characters. Empty for a file.
    pub text: String,
    /// When it was written, by the clock of whoever wrote it (Unix ms).
    pub sent_ms: u64,
    /// When it came into this conversation (Unix ms).
    pub kept_ms: u64,
    /// How far it has come.
    pub state: MessageState,
    /// It came with the decline of this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// It is about a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileNote>,
}

/// A conversation as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Conversation {
    /// With whom.
    pub friend: FriendId,
    /// The friend's name at present.
    pub friend_name: String,
    /// Lines of the friend that were not read here.
    pub unread: u32,
    /// Messages of mine that the friend's node does not have yet.
    pub waiting: u32,
    /// The friend's node has all my messages up to and with this place.
    pub delivered_until: u64,
    /// The friend has read all my messages up to and with this place, as far as told.
    pub read_until: u64,
    /// Why messages wait, if not because the friend is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ChatMessage>,
}

/// Some lines of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessagePage {
    /// Lines, in their order.
    pub messages: Vec<ChatMessage>,
    /// Whether there are older ones: ask again with `before` the place of the first.
    pub more: bool,
}

/// Which lines to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// Only lines before this place; without it, the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many at most (1 to 100; 50 if absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Sends a message. Delivered now, or when the friend is next online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SendMessage {
    /// What to say: at most 16384 bytes of UTF-8, line breaks allowed.
    pub text: String,
}

/// Marks lines of the friend as read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MarkRead {
    /// Up to and with this place; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}
