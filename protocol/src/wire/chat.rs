//! Words of conversations: messages, how far they were taken, and what was read (`specs/04-link.md`, "Messages").
//!
//! None of them is in the link's sequence. A message is kept by its sender until the receiver's node says that it has it
//! on its disk; sending again is harmless, because messages are numbered.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CallId, Prose, WireError, from_cbor, to_cbor};

/// Longest message in bytes of UTF-8. It fits into a frame with room to spare.
pub const MAX_TEXT: usize = 16 * 1024;

/// Names a message or a transfer: 16 random bytes, chosen by the sender's node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

/// A place in the messages of one side to the other. A sender counts its messages to one friend 1, 2, 3, … in a *line*; it
/// begins another line (with another name) only when it has lost its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Names the line.
    pub line: u64,
    /// All up to and with this number.
    pub number: u64,
}

/// A message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Names the sender's line.
    pub line: u64,
    /// Its number in the line. Numbers may be left out (the person deleted what waited), never used twice.
    pub number: u64,
    /// Its name, by which people's programs know it.
    pub id: Id,
    /// When it was written, by the sender's clock (Unix ms).
    pub sent: u64,
    /// What was written.
    pub text: Prose<MAX_TEXT>,
    /// It came with the decline of this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
}

impl fmt::Debug for Text {
    /// What people write stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({}, number {}, {} bytes)", self.id, self.number, self.text.as_str().len())
    }
}

/// What is said about messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatMessage {
    /// A message.
    Text(Text),
    /// All the receiver's messages up to this one are kept here.
    Got(Mark),
    /// No more than these were taken: they come too fast. The rest is to be sent again after some time.
    Wait {
        /// What was taken.
        mark: Mark,
        /// After how many milliseconds to go on.
        ms: u32,
    },
    /// The person has read the receiver's messages up to this one.
    Read(Mark),
}

#[derive(Serialize, Deserialize)]
struct WaitBody {
    line: u64,
    number: u64,
    ms: u32,
}

impl ChatMessage {
    /// Name of the kind of a message.
    pub const TEXT: &'static str = "text";

    /// Name of the kind on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => Self::TEXT,
            Self::Got(_) => "text.got",
            Self::Wait { .. } => "text.wait",
            Self::Read(_) => "text.read",
        }
    }
}

/// CBOR body.
pub(super) fn encode(message: &ChatMessage) -> Result<Vec<u8>, WireError> {
    let kind = message.kind();
    match message {
        ChatMessage::Text(text) => to_cbor(kind, text),
        ChatMessage::Got(mark) | ChatMessage::Read(mark) => to_cbor(kind, mark),
        ChatMessage::Wait { mark: Mark { line, number }, ms } => {
            to_cbor(kind, &WaitBody { line: *line, number: *number, ms: *ms })
        }
    }
}

/// What is said about messages, or none if the kind is another.
pub(super) fn decode(kind: &str, bytes: &[u8]) -> Result<Option<ChatMessage>, WireError> {
    Ok(Some(match kind {
        "text" => ChatMessage::Text(from_cbor("text", bytes)?),
        "text.got" => ChatMessage::Got(from_cbor("text.got", bytes)?),
        "text.wait" => {
            let WaitBody { line, number, ms } = from_cbor("text.wait", bytes)?;
            ChatMessage::Wait { mark: Mark { line, number }, ms }
        }
        "text.read" => ChatMessage::Read(from_cbor("text.read", bytes)?),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, MAX_FRAME, Message};

    #[test]
    fn the_longest_message_fits_into_a_frame() {
        let text = Text {
            line: u64::MAX,
            number: u64::MAX,
            id: Id([0xff; 16]),
            sent: u64::MAX,
            text: Prose::clean(&"x".repeat(MAX_TEXT)).unwrap(),
            call: Some(CallId([0xff; 16])),
        };
        let frame = Frame::plain(Message::Chat(ChatMessage::Text(text)));
        let bytes = frame.encode().unwrap();
        assert!(bytes.len() < MAX_FRAME, "{} bytes", bytes.len());
        assert_eq!(Frame::decode(&bytes).unwrap(), frame);
    }
}
