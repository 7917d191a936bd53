//! Calls: placing, answering, steering, and what is remembered of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::friend::FriendId;
use crate::quality::Quality;
use crate::recording::Recording;

/// A call is named by 32 hex digits.
pub type CallId = String;

/// The right to a seat. Only its holder may resume media by itself; the node stores its hash alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct SeatToken(pub String);

impl std::fmt::Debug for SeatToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SeatToken(..)")
    }
}

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The friend calls me.
    Incoming,
    /// I call the friend.
    Outgoing,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// The invite is on its way (outgoing), the friend's node has not said that it rings.
    Calling,
    /// It rings: there (outgoing) or here (incoming).
    Ringing,
    /// Answered, the media path is not up yet.
    Connecting,
    /// Talking.
    Active,
    /// The path broke; the node works on it.
    Reconnecting,
    /// Over; `outcome` says how.
    Ended,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// One side hung up after talking.
    Completed,
    /// The callee said no.
    Declined,
    /// The caller gave up before an answer.
    Cancelled,
    /// Nobody answered in time.
    Unanswered,
    /// The callee is in another call and does not take a second.
    Busy,
    /// The callee does not want to be disturbed.
    DoNotDisturb,
    /// Another client or device of the callee took it.
    AnsweredElsewhere,
    /// The friend could not be reached.
    Unreachable,
    /// No media path could be built, or it was lost for good.
    Failed,
}

/// A call as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Call {
    /// Its id.
    pub id: CallId,
    /// With whom.
    pub friend: FriendId,
    /// The friend's name at present.
    pub friend_name: String,
    /// Who called whom.
    pub direction: Direction,
    /// How far it has come.
    pub state: CallState,
    /// When it began to ring or call (Unix ms).
    pub started_ms: u64,
    /// When it was answered (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_ms: Option<u64>,
    /// When it ended (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why, in one sentence, where the outcome alone does not say it; or the text of a decline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the caller asks for video.
    pub wants_video: bool,
    /// Whether my microphone is muted.
    pub muted: bool,
    /// Whether I send video.
    pub video: bool,
    /// Whether I share a screen.
    #[serde(default)]
    pub screen: bool,
    /// Whether I hold the call.
    pub held: bool,
    /// Whether the friend's microphone is muted.
    pub remote_muted: bool,
    /// Whether the friend sends video.
    pub remote_video: bool,
    /// Whether the friend shares a screen.
    #[serde(default)]
    pub remote_screen: bool,
    /// Whether the friend holds the call.
    pub remote_held: bool,
    /// Whether the friend's seat is empty at present (the client there is gone).
    pub remote_seat_empty: bool,
    /// Whether a client here holds the seat.
    pub seat_taken: bool,
    /// The call that was lost and is gone on with in this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<CallId>,
    /// Its recording, if anybody asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
    /// Numbers of the path, once there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
}

/// Calls a friend and takes the seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlaceCall {
    /// Whom (id, unique beginning, name or address).
    pub friend: String,
    /// Whether to send video from the start.
    #[serde(default)]
    pub video: bool,
}

/// Answers a call and takes the seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnswerCall {
    /// Whether to send video from the start.
    #[serde(default)]
    pub video: bool,
}

/// Takes the seat of a running call: again (with the token), or by a person's act (without).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TakeSeat {
    /// The token of the seat held before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SeatToken>,
}

/// A call and the seat in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeatedCall {
    /// The call.
    pub call: Call,
    /// The seat: opens `/v1/calls/{id}/media`.
    pub seat: SeatToken,
}

/// Declines a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decline {
    /// A line for the caller (at most 280 characters).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Steers a running call. Absent fields stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallUpdate {
    /// Mute or unmute my microphone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted: Option<bool>,
    /// Send video or stop it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<bool>,
    /// Share a screen (and its sound, if the client sends any) or stop it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<bool>,
    /// Hold or resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
}

/// A call that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// Its id.
    pub id: CallId,
    /// With whom.
    pub friend: FriendId,
    /// The friend's name when it ended.
    pub friend_name: String,
    /// Who called whom.
    pub direction: Direction,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where the outcome alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it began (Unix ms).
    pub started_ms: u64,
    /// How long people talked.
    pub talked_ms: u64,
    /// Whether either side sent video.
    pub video: bool,
    /// It was missed, and nobody has said since that it was seen.
    #[serde(default)]
    pub unseen: bool,
    /// The call that was lost and was gone on with in this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<CallId>,
    /// It was lost and can be resumed until then (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumable_until_ms: Option<u64>,
}
