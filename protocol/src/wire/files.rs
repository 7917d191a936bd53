//! Words about files between friends: what is offered, and how far it has come (`specs/04-link.md`, "Files"). The bytes of
//! a file go over streams of their own, which begin with a [`FileRequest`].
//!
//! One kind says everything, as state rather than as steps: what is said again changes nothing.

use serde::{Deserialize, Serialize};

use super::chat::Id;
use super::text::words;
use super::{List, Reason, WireError, from_cbor, seal, to_cbor, unseal};
use crate::wire::Line;

/// Most offers, answers and ends in one message: with the longest names and reasons it is half a frame.
pub const MAX_FILES: usize = 16;

/// Bytes before the place where a transfer goes on, whose hash is compared: enough to find what a crash has left behind.
pub const TAIL: u64 = 64 * 1024;

/// The name of a file, as the sender has it. The receiver makes a harmless one of it.
pub type FileName = Line<128>;

/// What the sender says of a file that it offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOffer {
    /// Names the transfer.
    pub id: Id,
    /// Its name.
    pub name: FileName,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of all of it.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
    /// The sender's person holds it.
    #[serde(default)]
    pub paused: bool,
}

words! {
    /// How a transfer stands with the receiver.
    FileWord {
        /// The person has not answered yet.
        Offered = "offered",
        /// It is wanted.
        Accepted = "accepted",
        /// It is wanted, and held by the receiver's person.
        Paused = "paused",
        /// It is not wanted.
        Declined = "declined",
        /// All of it is there.
        Done = "done",
        /// The receiver's person gave it up.
        Cancelled = "cancelled",
        /// It went wrong there.
        Failed = "failed",
    } else
    /// A word of a later version; to be treated as failed.
    Other
}

/// What the receiver says of a file that it was offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAnswer {
    /// Which transfer.
    pub id: Id,
    /// How it stands.
    pub word: FileWord,
    /// Bytes that are there.
    #[serde(default)]
    pub done: u64,
    /// Why; may be empty.
    #[serde(default)]
    pub reason: Reason,
}

/// What the sender says of a file that it offers no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEnd {
    /// Which transfer.
    pub id: Id,
    /// Whether a person gave it up (else it went wrong, or is not known).
    #[serde(default)]
    pub cancelled: bool,
    /// Why; may be empty.
    #[serde(default)]
    pub reason: Reason,
}

/// Body of [`super::Message::Files`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesMessage {
    /// Files that the sender offers.
    #[serde(default)]
    pub offers: List<FileOffer, MAX_FILES>,
    /// How files stand that the receiver offers.
    #[serde(default)]
    pub answers: List<FileAnswer, MAX_FILES>,
    /// Files that the sender offers no more.
    #[serde(default)]
    pub ends: List<FileEnd, MAX_FILES>,
}

impl FilesMessage {
    /// Name of the kind on the wire.
    pub const KIND: &'static str = "files";

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offers.as_slice().is_empty() && self.answers.as_slice().is_empty() && self.ends.as_slice().is_empty()
    }
}

/// First on a stream for a file: from the receiver, who opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRequest {
    /// Which transfer.
    pub id: Id,
    /// From which byte on.
    pub offset: u64,
    /// SHA-256 of the [`TAIL`] bytes before (or of all, where there are fewer).
    #[serde(with = "serde_bytes")]
    pub tail: [u8; 32],
}

words! {
    /// Why no bytes follow.
    FileRefusal {
        /// This transfer is not offered (any more), or is paused.
        Closed = "closed",
        /// The file is another one than was offered, or is gone.
        Changed = "changed",
        /// Too many streams at a time.
        Busy = "busy",
    } else
    /// A word of a later version; to be treated as closed.
    Other
}

/// The answer to a [`FileRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileReply {
    /// The bytes follow, each frame so many of them as fit, from this byte on: the one asked for, or 0 if the receiver's
    /// part is not the beginning of this file.
    Data {
        /// From which byte on.
        offset: u64,
    },
    /// Nothing follows.
    No(FileRefusal),
}

#[derive(Serialize, Deserialize)]
struct DataBody {
    offset: u64,
}

#[derive(Serialize, Deserialize)]
struct NoBody {
    reason: FileRefusal,
}

impl FileRequest {
    /// The bytes of the request: one frame.
    ///
    /// # Errors
    /// As [`super::Frame::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        seal("file.get", None, None, to_cbor("file.get", self)?)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// As [`super::Frame::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let envelope = unseal(bytes)?;
        match envelope.k.as_str() {
            "file.get" => from_cbor("file.get", envelope.b.as_bytes()),
            _ => Err(WireError::Malformed { what: "file request", why: "another kind".to_owned() }),
        }
    }
}

impl FileReply {
    /// The bytes of the reply: one frame.
    ///
    /// # Errors
    /// As [`super::Frame::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        match self {
            Self::Data { offset } => {
                seal("file.data", None, None, to_cbor("file.data", &DataBody { offset: *offset })?)
            }
            Self::No(reason) => seal("file.no", None, None, to_cbor("file.no", &NoBody { reason: *reason })?),
        }
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// As [`super::Frame::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let envelope = unseal(bytes)?;
        let body = envelope.b.as_bytes();
        match envelope.k.as_str() {
            "file.data" => Ok(Self::Data { offset: from_cbor::<DataBody>("file.data", body)?.offset }),
            "file.no" => Ok(Self::No(from_cbor::<NoBody>("file.no", body)?.reason)),
            _ => Err(WireError::Malformed { what: "file reply", why: "another kind".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, MAX_FRAME, Message};

    #[test]
    fn the_longest_word_about_files_fits_into_a_frame() {
        let id = Id([0xff; 16]);
        let long = "\u{10ffff}".repeat(200);
        let (name, reason) = (FileName::clean(&long), Reason::clean(&long));
        let offer = FileOffer { id, name, size: u64::MAX, hash: [0xff; 32], paused: true };
        let answer = FileAnswer { id, word: FileWord::Cancelled, done: u64::MAX, reason: reason.clone() };
        let end = FileEnd { id, cancelled: true, reason };
        let message = FilesMessage {
            offers: List::first_of(std::iter::repeat_n(offer, 99)),
            answers: List::first_of(std::iter::repeat_n(answer, 99)),
            ends: List::first_of(std::iter::repeat_n(end, 99)),
        };
        let frame = Frame::plain(Message::Files(message));
        let bytes = frame.encode().unwrap();
        assert!(bytes.len() < MAX_FRAME, "{} bytes", bytes.len());
        assert_eq!(Frame::decode(&bytes).unwrap(), frame);
    }

    #[test]
    fn requests_and_replies_of_a_stream_are_read_again() {
        let request = FileRequest { id: Id([7; 16]), offset: 1 << 40, tail: [9; 32] };
        assert_eq!(FileRequest::decode(&request.encode().unwrap()).unwrap(), request);
        let replies = [FileReply::Data { offset: 5 }, FileReply::No(FileRefusal::Changed)];
        for reply in replies {
            assert_eq!(FileReply::decode(&reply.encode().unwrap()).unwrap(), reply);
        }
        assert!(FileReply::decode(&request.encode().unwrap()).is_err());
        assert!(FileRequest::decode(b"\xff").is_err());
    }
}
