//! What friends say to each other over a link, and strangers over a contact stream: CBOR messages in one envelope.
//! The words for it are in `specs/04-link.md` (frames, link messages), `specs/03-contact.md`, `specs/05-call.md` and `specs/08-relay.md`.
//!
//! Everything that comes in is bounded while it is decoded: a frame by [`MAX_FRAME`], nesting by a small limit, each
//! text, list and byte string by its type ([`Line`], [`Bounded`], [`List`], [`Blob`]). Unknown fields are ignored and
//! unknown kinds come out as [`Message::Unknown`], so that old and new versions meet without harm.

mod call;
mod chat;
mod clock;
mod contact;
mod files;
mod message;
mod portrait;
mod preflight;
mod record;
mod relay;
mod text;
mod whereabouts;

pub use call::{
    CallBody, CallId, CallMessage, Candidate, Candidates, DeclineReason, Description, DescriptionKind, LeaveReason,
    MAX_CANDIDATES, MAX_MORE, MAX_SDP,
};
pub use chat::{ChatMessage, Id, MAX_TEXT, Mark, Text};
pub use clock::ClockMessage;
pub use contact::{ContactMessage, Reply, Request, RequestId};
pub use files::{
    FileAnswer, FileEnd, FileName, FileOffer, FileRefusal, FileReply, FileRequest, FileWord, FilesMessage, MAX_FILES,
    TAIL,
};
pub use message::{Availability, ByeReason, Friendship, Hello, Message, Open};
pub use portrait::{MAX_PICTURE, PICTURE_PART, PictureHash, PortraitMessage};
pub use preflight::{PreflightBody, PreflightMessage, PreflightRefusal, PreflightReport, Side};
pub use record::RecordWord;
pub use relay::{
    CallRelay, Credential, Endpoint, Endpoints, GuestRelay, Offer, RelayGrant, RelayMessage, RelayRefusal, Word,
};
pub use text::{Blob, Bounded, Line, List, Name, Note, Prose, Reason};
pub use whereabouts::{Addresses, MAX_HOSTS, Whereabouts, few_hosts};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the envelope. A frame with another one cannot be read at all; what a side can do within a version is
/// told by kinds and fields.
pub const ENVELOPE_VERSION: u16 = 1;

/// Most bytes of one frame, before encryption. The largest message (an invite with a full description and all its
/// candidates) fits with room to spare, and a frame always fits into one Noise message (65535 bytes).
pub const MAX_FRAME: usize = 32 * 1024;

/// Most bytes of the name of a kind.
pub const MAX_KIND: usize = 32;

/// Deepest nesting of CBOR items in a frame. What we send needs 6.
const MAX_DEPTH: usize = 12;

/// One frame: a message with what the link needs to deliver it exactly once.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Place of the message in the sender's sequence, if it is to be acknowledged (starts at 1 for each boot id).
    pub sequence: Option<u64>,
    /// All messages of the receiver up to and with this one have been applied.
    pub acknowledged: Option<u64>,
    /// What is said.
    pub message: Message,
}

/// Why bytes are not a frame. Any of these ends the connection that they came on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// More than [`MAX_FRAME`] bytes.
    #[error("frame of {0} bytes is larger than {MAX_FRAME}")]
    TooLong(usize),
    /// Not CBOR, not the expected shape, or beyond a bound.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What the decoder said (never the bytes themselves).
        why: String,
    },
    /// Bytes after the end of the item.
    #[error("{0} bytes after the end of the frame")]
    Trailing(usize),
    /// An envelope of another version.
    #[error("envelope version {0} instead of {ENVELOPE_VERSION}")]
    Version(u16),
    /// A message that cannot be written down (only for our own, never caused by a peer).
    #[error("cannot encode {0}")]
    Encode(&'static str),
}

/// The envelope as it is on the wire. The body is a byte string, so that it can be skipped without being understood.
#[derive(Serialize, Deserialize)]
struct Envelope {
    v: u16,
    k: Bounded<MAX_KIND>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<u64>,
    b: Blob<MAX_FRAME>,
}

impl Frame {
    /// A frame for a message without sequence or acknowledgement.
    #[must_use]
    pub fn plain(message: Message) -> Self {
        Self { sequence: None, acknowledged: None, message }
    }

    /// The bytes of this frame (at most [`MAX_FRAME`]).
    ///
    /// # Errors
    /// [`WireError::TooLong`] or [`WireError::Encode`]; neither happens with values made through the public types.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let (kind, body) = self.message.to_parts()?;
        seal(kind, self.sequence, self.acknowledged, body)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// Any [`WireError`]: the sender is faulty or hostile, its connection is to be closed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let envelope = unseal(bytes)?;
        let message = Message::from_parts(envelope.k.as_str(), envelope.b.as_bytes())?;
        Ok(Self { sequence: envelope.n, acknowledged: envelope.a, message })
    }
}

impl ContactMessage {
    /// The bytes of this message on a contact stream: the same envelope, without sequence.
    ///
    /// # Errors
    /// As [`Frame::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let (kind, body) = self.to_parts()?;
        seal(kind, None, None, body)
    }

    /// Reads a message of a contact stream.
    ///
    /// # Errors
    /// As [`Frame::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let envelope = unseal(bytes)?;
        Self::from_parts(envelope.k.as_str(), envelope.b.as_bytes())
    }
}

fn seal(kind: &str, sequence: Option<u64>, acknowledged: Option<u64>, body: Vec<u8>) -> Result<Vec<u8>, WireError> {
    let kind = Bounded::new(kind).ok_or(WireError::Encode("kind"))?;
    let body = Blob::new(body).ok_or(WireError::Encode("body"))?;
    let envelope = Envelope { v: ENVELOPE_VERSION, k: kind, n: sequence, a: acknowledged, b: body };
    let bytes = to_cbor("frame", &envelope)?;
    if bytes.len() > MAX_FRAME {
        return Err(WireError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

fn unseal(bytes: &[u8]) -> Result<Envelope, WireError> {
    if bytes.len() > MAX_FRAME {
        return Err(WireError::TooLong(bytes.len()));
    }
    let envelope: Envelope = from_cbor("frame", bytes)?;
    if envelope.v != ENVELOPE_VERSION {
        return Err(WireError::Version(envelope.v));
    }
    Ok(envelope)
}

/// CBOR of a value.
fn to_cbor<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|_| WireError::Encode(what))?;
    Ok(bytes)
}

/// A value from CBOR that is all of `bytes`, which the caller has limited in length.
fn from_cbor<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, WireError> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).map_err(|error| {
        let why = match error {
            ciborium::de::Error::Io(_) => "it ends too early".to_owned(),
            ciborium::de::Error::Syntax(at) => format!("no CBOR at byte {at}"),
            ciborium::de::Error::Semantic(_, why) => Reason::clean(&why).into(),
            ciborium::de::Error::RecursionLimitExceeded => "nested too deep".to_owned(),
        };
        WireError::Malformed { what, why }
    })?;
    if rest.is_empty() { Ok(value) } else { Err(WireError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests;
