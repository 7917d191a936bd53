//! What happens, as it happens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::call::{Call, CallId};
use crate::files::{FileId, FileTransfer};
use crate::friend::{Availability, Friend, FriendId, Request};
use crate::message::{ChatMessage, Conversation};

/// One event. On the wire one JSON object a line (`GET /v1/events`), told apart by `event`.
/// A client that does not read fast enough is dropped: it asks for the state anew and follows again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// First on every stream: from here on, every change is told.
    Hello {
        /// API version of the node.
        api_version: u32,
        /// Boot id of the node: another one than before means that it was restarted.
        boot_id: String,
    },
    /// A friend was added or something about one changed.
    Friend {
        /// As it is now.
        friend: Friend,
    },
    /// A friend is no longer kept.
    FriendRemoved {
        /// Who.
        id: FriendId,
    },
    /// A stranger asks.
    Request {
        /// What.
        request: Request,
    },
    /// A request is no longer waiting (answered, or withdrawn).
    RequestGone {
        /// Whose.
        id: FriendId,
    },
    /// A friend calls: ring.
    CallIncoming {
        /// The call.
        call: Call,
    },
    /// Something about a call changed (its state among others).
    Call {
        /// As it is now.
        call: Call,
    },
    /// A call ended because the connection was lost, and the friend is there: it can be resumed
    /// (`POST /v1/calls/{id}/resume`).
    CallResumable {
        /// The call that was lost.
        id: CallId,
        /// With whom.
        friend: FriendId,
        /// The friend's name.
        friend_name: String,
        /// Until when (Unix ms).
        until_ms: u64,
    },
    /// A line came into a conversation, from either side.
    Message {
        /// The line.
        message: ChatMessage,
    },
    /// How far messages have come, or what is unread, changed in a conversation.
    Conversation {
        /// As it is now.
        conversation: Conversation,
    },
    /// A conversation was deleted.
    ConversationRemoved {
        /// With whom.
        friend: FriendId,
    },
    /// A file was offered, from either side, or something about one changed. Progress comes twice a second at most.
    File {
        /// As it is now.
        file: FileTransfer,
    },
    /// A transfer is no longer listed.
    FileRemoved {
        /// Which.
        id: FileId,
    },
    /// Calls that were missed were seen, or the history was emptied.
    HistorySeen {
        /// Missed calls that were not seen yet.
        missed: u32,
    },
    /// Own availability changed.
    Availability {
        /// The new one.
        availability: Availability,
    },
    /// The node reached a milestone (see [`crate::Timings`]).
    Ready {
        /// Milliseconds since the process began.
        ready_ms: f64,
    },
    /// A friend was found.
    Found {
        /// Who.
        id: FriendId,
        /// "memory", "lan", "presence", "pair" or "contact"; the last three with " over IPFS" from the public DHT.
        via: String,
        /// Id of the DHT query, if there was one; the log has it too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        query: Option<String>,
        /// From the start of the search.
        took_ms: f64,
    },
    /// Something that the person should know.
    Notice {
        /// One sentence.
        text: String,
    },
    /// The node was unlocked.
    Unlocked,
    /// The node stops now.
    Stopping,
    /// A kind that this client does not know.
    #[serde(other)]
    Unknown,
}
