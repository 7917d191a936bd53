//! The messages of a link between two friends, each under the name of its kind.

use serde::{Deserialize, Serialize};

use super::call::{self, CallMessage};
use super::chat::{self, ChatMessage};
use super::clock::{self, ClockMessage};
use super::files::FilesMessage;
use super::portrait::{self, PortraitMessage};
use super::preflight::{self, PreflightMessage};
use super::relay::{self, RelayMessage};
use super::text::words;
use super::{Bounded, MAX_KIND, Name, Whereabouts, WireError, from_cbor, to_cbor};
use crate::rendezvous::Grant;

/// Anything that one friend's node says to another's.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// First on every connection, before all else: how far the receiver has come, so that the other replays the rest.
    Open(Open),
    /// Nothing but the acknowledgement in its frame.
    Ack,
    /// Asks for a [`Message::Pong`] with the same number.
    Ping(u64),
    /// Answers a [`Message::Ping`].
    Pong(u64),
    /// The sender closes this connection on purpose.
    Bye(ByeReason),
    /// A message of this kind came and was not understood.
    Unsupported(Bounded<MAX_KIND>),
    /// Who and how the sender is; sent whenever a connection comes up.
    Hello(Hello),
    /// The sender's availability changed.
    Presence(Availability),
    /// The sender's own name changed.
    Profile(Name),
    /// The right to read the sender's presence slots.
    Grant(Grant),
    /// The grant of this generation is stored.
    GrantStored(u64),
    /// How the sender sees the friendship.
    Friendship(Friendship),
    /// Where the sender's node is at present; sent when the link comes up and when it changes.
    Whereabouts(Whereabouts),
    /// Something about a call.
    Call(CallMessage),
    /// Something about packet relays.
    Relay(RelayMessage),
    /// Something about clocks.
    Clock(ClockMessage),
    /// Something about a preflight.
    Preflight(PreflightMessage),
    /// Something about messages.
    Chat(ChatMessage),
    /// How files stand.
    Files(FilesMessage),
    /// Something about pictures of people.
    Portrait(PortraitMessage),
    /// A kind that this version does not know. Never sent; the receiver answers with [`Message::Unsupported`].
    Unknown(Bounded<MAX_KIND>),
}

/// Body of [`Message::Open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Names the sender's sequence among all of its present boot id. Another number than before means that the sender
    /// has begun a new one (a friend removed and added again, say). Never 0.
    pub session: u64,
    /// Sequence of the next message that the sender has not yet seen acknowledged: replay starts here.
    pub first: u64,
    /// The receiver's `session` as the sender last heard it from the receiver's present boot id; 0 if never.
    pub of: u64,
    /// Highest sequence of `of` that the sender has applied; 0 if none.
    pub received: u64,
}

/// Body of [`Message::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Highest version of the messages that the sender speaks.
    pub protocol: u16,
    /// The name that the sender chose; may be empty.
    #[serde(default)]
    pub name: Name,
    /// Whether calls are welcome.
    pub availability: Availability,
    /// Generation of the receiver's grant that the sender holds; 0 if none.
    #[serde(default)]
    pub granted: u64,
}

words! {
    /// How a friend wants to be seen.
    #[derive(Default)]
    Availability {
        /// Calls ring.
        #[default]
        Available = "available",
        /// Do not disturb: calls are declined with that reason.
        Dnd = "dnd",
        /// To be shown as offline. Links stay up.
        Invisible = "invisible",
    } else
    /// A word of a later version; to be treated as available.
    Other
}

words! {
    /// Why a connection is closed on purpose.
    ByeReason {
        /// The node stops.
        Stopping = "stopping",
        /// Another connection took over.
        Replaced = "replaced",
        /// The friendship is over.
        Removed = "removed",
        /// The peer broke the protocol.
        Fault = "fault",
    } else
    /// A word of a later version.
    Other
}

words! {
    /// How one side sees a friendship.
    Friendship {
        /// Friends: calls and presence are welcome.
        Accepted = "accepted",
        /// I asked you and wait for your answer.
        Asked = "asked",
        /// I ended it. Nothing more follows.
        Removed = "removed",
    } else
    /// A word of a later version; ignored.
    Other
}

#[derive(Serialize, Deserialize)]
struct Empty {}

#[derive(Serialize, Deserialize)]
struct Numbered {
    id: u64,
}

#[derive(Serialize, Deserialize)]
struct Because {
    reason: ByeReason,
}

#[derive(Serialize, Deserialize)]
struct Kind {
    kind: Bounded<MAX_KIND>,
}

#[derive(Serialize, Deserialize)]
struct Presence {
    availability: Availability,
}

#[derive(Serialize, Deserialize)]
struct Profile {
    name: Name,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    generation: u64,
}

#[derive(Serialize, Deserialize)]
struct State {
    state: Friendship,
}

impl Message {
    /// Name of the kind on the wire.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Open(_) => "open",
            Self::Ack => "ack",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Bye(_) => "bye",
            Self::Unsupported(_) => "unsupported",
            Self::Hello(_) => "hello",
            Self::Presence(_) => "presence",
            Self::Profile(_) => "profile",
            Self::Grant(_) => "grant",
            Self::GrantStored(_) => "grant.stored",
            Self::Friendship(_) => "friendship",
            Self::Whereabouts(_) => "whereabouts",
            Self::Call(message) => message.body.kind(),
            Self::Relay(message) => message.kind(),
            Self::Clock(message) => message.kind(),
            Self::Preflight(message) => message.body.kind(),
            Self::Chat(message) => message.kind(),
            Self::Files(_) => FilesMessage::KIND,
            Self::Portrait(message) => message.kind(),
            Self::Unknown(kind) => kind.as_str(),
        }
    }

    /// Kind and CBOR body.
    pub(super) fn to_parts(&self) -> Result<(&str, Vec<u8>), WireError> {
        let body = match self {
            Self::Open(open) => to_cbor("open", open),
            Self::Ack => to_cbor("ack", &Empty {}),
            Self::Ping(id) | Self::Pong(id) => to_cbor("ping", &Numbered { id: *id }),
            Self::Bye(reason) => to_cbor("bye", &Because { reason: *reason }),
            Self::Unsupported(kind) => to_cbor("unsupported", &Kind { kind: kind.clone() }),
            Self::Hello(hello) => to_cbor("hello", hello),
            Self::Presence(availability) => to_cbor("presence", &Presence { availability: *availability }),
            Self::Profile(name) => to_cbor("profile", &Profile { name: name.clone() }),
            Self::Grant(grant) => to_cbor("grant", grant),
            Self::GrantStored(generation) => to_cbor("grant.stored", &Stored { generation: *generation }),
            Self::Friendship(state) => to_cbor("friendship", &State { state: *state }),
            Self::Whereabouts(whereabouts) => to_cbor("whereabouts", whereabouts),
            Self::Call(message) => call::encode(message),
            Self::Relay(message) => relay::encode(message),
            Self::Clock(message) => clock::encode(message),
            Self::Preflight(message) => preflight::encode(message),
            Self::Chat(message) => chat::encode(message),
            Self::Files(message) => to_cbor(FilesMessage::KIND, message),
            Self::Portrait(message) => portrait::encode(message),
            Self::Unknown(_) => Err(WireError::Encode("a kind that is not known here")),
        }?;
        Ok((self.kind(), body))
    }

    /// The message of a kind with its CBOR body.
    pub(super) fn from_parts(kind: &str, body: &[u8]) -> Result<Self, WireError> {
        Ok(match kind {
            "open" => Self::Open(from_cbor("open", body)?),
            "ack" => {
                let Empty {} = from_cbor("ack", body)?;
                Self::Ack
            }
            "ping" => Self::Ping(from_cbor::<Numbered>("ping", body)?.id),
            "pong" => Self::Pong(from_cbor::<Numbered>("pong", body)?.id),
            "bye" => Self::Bye(from_cbor::<Because>("bye", body)?.reason),
            "unsupported" => Self::Unsupported(from_cbor::<Kind>("unsupported", body)?.kind),
            "hello" => Self::Hello(from_cbor("hello", body)?),
            "presence" => Self::Presence(from_cbor::<Presence>("presence", body)?.availability),
            "profile" => Self::Profile(from_cbor::<Profile>("profile", body)?.name),
            "grant" => Self::Grant(from_cbor("grant", body)?),
            "grant.stored" => Self::GrantStored(from_cbor::<Stored>("grant.stored", body)?.generation),
            "friendship" => Self::Friendship(from_cbor::<State>("friendship", body)?.state),
            FilesMessage::KIND => Self::Files(from_cbor(FilesMessage::KIND, body)?),
            "whereabouts" => Self::Whereabouts(from_cbor("whereabouts", body)?),
            _ => {
                if let Some(message) = call::decode(kind, body)? {
                    Self::Call(message)
                } else if let Some(message) = relay::decode(kind, body)? {
                    Self::Relay(message)
                } else if let Some(message) = clock::decode(kind, body)? {
                    Self::Clock(message)
                } else if let Some(message) = chat::decode(kind, body)? {
                    Self::Chat(message)
                } else if let Some(message) = portrait::decode(kind, body)? {
                    Self::Portrait(message)
                } else if let Some(message) = preflight::decode(kind, body)? {
                    Self::Preflight(message)
                } else {
                    Self::Unknown(Bounded::new(kind).unwrap_or_default())
                }
            }
        })
    }
}
