//! Recording a call: what clients ask, and what they see of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Result;
use crate::validate::Validate;

/// Longest path that is kept for the client that writes.
const MAX_PATH: usize = 4096;
/// Longest reason, in characters: what the link carries.
const MAX_REASON: usize = 140;

/// What a client does about the recording of a call (`POST /v1/calls/{call}/recording`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum RecordCall {
    /// Asks the friend. Everything that follows comes as events.
    Ask {
        /// Where the client in the seat shall write, for clients of this node only; absent: it chooses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// Agrees to what the friend asks.
    Allow,
    /// Does not agree, or takes an agreement back.
    Refuse,
    /// The client in the seat writes (the state was `agreed`).
    Started,
    /// Ends the own recording, or withdraws the own request.
    Stop {
        /// Why, where it was not by choice (at most 140 characters); the friend reads it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// How far a recording has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordState {
    /// The request is on its way to the friend.
    Asking,
    /// The friend sees the request.
    Shown,
    /// The friend asks to record, and nobody here has answered.
    Asked,
    /// Everybody has agreed. If it is `mine`, the client in the seat begins to write and says `started`.
    Agreed,
    /// It is recorded.
    Running,
    /// It is over, or did not come about; `reason` says why.
    Ended,
}

/// The recording of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recording {
    /// How far it has come.
    pub state: RecordState,
    /// Whether it is recorded here (or would be); else at the friend's.
    pub mine: bool,
    /// Where to write, as the one who asked said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Since when it is written (Unix ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Why it is over, one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Validate for RecordCall {
    fn validate(&self) -> Result<()> {
        match self {
            Self::Ask { file: Some(file) } => crate::validate::line("the file", file, MAX_PATH),
            Self::Stop { reason: Some(reason) } => crate::validate::line("the reason", reason, MAX_REASON),
            _ => Ok(()),
        }
    }
}
