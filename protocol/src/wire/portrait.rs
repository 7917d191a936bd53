//! Words about the pictures of people: told by their hash, fetched once, in parts that a frame holds
//! (`specs/04-link.md`, "Pictures of people").

use serde::{Deserialize, Serialize};

use super::{Blob, WireError, from_cbor, to_cbor};

/// Largest picture in bytes: JPEG or PNG of 256 × 256.
pub const MAX_PICTURE: usize = 32 * 1024;

/// Bytes of a picture in one message.
pub const PICTURE_PART: usize = 8 * 1024;

/// SHA-256 of a picture's bytes.
pub type PictureHash = [u8; 32];

/// What is said about pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortraitMessage {
    /// The sender's picture at present; none if there is none.
    Tell(Option<PictureHash>),
    /// Asks for the part of the receiver's picture that begins at this byte.
    Ask {
        /// Which picture.
        hash: PictureHash,
        /// From which byte on.
        offset: u32,
    },
    /// A part of the sender's picture.
    Part {
        /// Which picture.
        hash: PictureHash,
        /// From which byte on.
        offset: u32,
        /// Bytes of the whole picture.
        size: u32,
        /// [`PICTURE_PART`] bytes, or the last ones.
        bytes: Blob<PICTURE_PART>,
    },
}

#[derive(Serialize, Deserialize)]
struct TellBody {
    /// 32 bytes, or none.
    hash: Blob<32>,
}

#[derive(Serialize, Deserialize)]
struct AskBody {
    #[serde(with = "serde_bytes")]
    hash: PictureHash,
    offset: u32,
}

#[derive(Serialize, Deserialize)]
struct PartBody {
    #[serde(with = "serde_bytes")]
    hash: PictureHash,
    offset: u32,
    size: u32,
    bytes: Blob<PICTURE_PART>,
}

impl PortraitMessage {
    /// Name of the kind on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tell(_) => "picture",
            Self::Ask { .. } => "picture.ask",
            Self::Part { .. } => "picture.part",
        }
    }
}

/// CBOR body.
pub(super) fn encode(message: &PortraitMessage) -> Result<Vec<u8>, WireError> {
    let kind = message.kind();
    match message.clone() {
        PortraitMessage::Tell(hash) => {
            let hash = Blob::new(hash.map(|hash| hash.to_vec()).unwrap_or_default()).unwrap_or_default();
            to_cbor(kind, &TellBody { hash })
        }
        PortraitMessage::Ask { hash, offset } => to_cbor(kind, &AskBody { hash, offset }),
        PortraitMessage::Part { hash, offset, size, bytes } => to_cbor(kind, &PartBody { hash, offset, size, bytes }),
    }
}

/// What is said about pictures, or none if the kind is another.
pub(super) fn decode(kind: &str, bytes: &[u8]) -> Result<Option<PortraitMessage>, WireError> {
    Ok(Some(match kind {
        "picture" => {
            let TellBody { hash } = from_cbor("picture", bytes)?;
            match hash.as_bytes() {
                [] => PortraitMessage::Tell(None),
                bytes => PortraitMessage::Tell(Some(bytes.try_into().map_err(|_| WireError::Malformed {
                    what: "picture",
                    why: "a hash of another length".to_owned(),
                })?)),
            }
        }
        "picture.ask" => {
            let AskBody { hash, offset } = from_cbor("picture.ask", bytes)?;
            PortraitMessage::Ask { hash, offset }
        }
        "picture.part" => {
            let PartBody { hash, offset, size, bytes } = from_cbor("picture.part", bytes)?;
            PortraitMessage::Part { hash, offset, size, bytes }
        }
        _ => return Ok(None),
    }))
}
