//! The two messages of a contact stream: a stranger asks, the person's node answers. See `specs/03-contact.md`.

use serde::{Deserialize, Serialize};

use super::text::words;
use super::{Bounded, MAX_KIND, Name, Note, WireError, from_cbor, to_cbor};

/// Tells one act of asking from the next by the same person, so that "declined" answers the question that was asked.
pub type RequestId = u64;

/// What goes over a contact stream: one request, then one reply, then the stream is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContactMessage {
    /// The opener asks.
    Request(Request),
    /// The answer.
    Reply(Reply),
    /// A kind of a later version. Never sent; the stream is closed.
    Unknown(Bounded<MAX_KIND>),
}

/// Asks a person to become a friend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which act of asking this is: the same in each attempt to deliver it, another when the person asks anew.
    pub id: RequestId,
    /// The name that the asker chose; may be empty.
    #[serde(default)]
    pub name: Name,
    /// A line about the asker.
    #[serde(default)]
    pub message: Note,
    /// The asker holds a friendship already and thinks that the other has lost it (restored from the phrase alone).
    #[serde(default)]
    pub friends: bool,
}

words! {
    /// Where a request stands.
    Reply {
        /// The person has not answered yet. Somebody who is blocked reads the same.
        Pending = "pending",
        /// Friends.
        Accepted = "accepted",
        /// The person said no to this request.
        Declined = "declined",
        /// Not taken: too many wait already, or the asker asks too often. Ask later.
        Later = "later",
    } else
    /// A word of a later version; to be treated as pending.
    Other
}

#[derive(Serialize, Deserialize)]
struct Status {
    status: Reply,
}

impl ContactMessage {
    /// Kind and CBOR body.
    pub(super) fn to_parts(&self) -> Result<(&'static str, Vec<u8>), WireError> {
        match self {
            Self::Request(request) => Ok(("request", to_cbor("request", request)?)),
            Self::Reply(status) => Ok(("reply", to_cbor("reply", &Status { status: *status })?)),
            Self::Unknown(_) => Err(WireError::Encode("a kind that is not known here")),
        }
    }

    /// The message of a kind with its CBOR body.
    pub(super) fn from_parts(kind: &str, body: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            "request" => Self::Request(from_cbor("request", body)?),
            "reply" => Self::Reply(from_cbor::<Status>("reply", body)?.status),
            _ => Self::Unknown(Bounded::new(kind).unwrap_or_default()),
        })
    }
}
