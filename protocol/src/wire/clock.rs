//! Messages by which two friends compare their clocks. What hangs on a right clock is in `specs/02-rendezvous.md`:
//! epochs are counted from it.

use serde::{Deserialize, Serialize};

use super::{WireError, from_cbor, to_cbor};

/// Something about clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMessage {
    /// Asks for a [`ClockMessage::Tell`] at once.
    Ask {
        /// Names the question.
        id: u64,
    },
    /// Answers [`ClockMessage::Ask`].
    Tell {
        /// Of the question.
        id: u64,
        /// Unix time in milliseconds at the moment of the answer.
        time: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct AskBody {
    id: u64,
}

#[derive(Serialize, Deserialize)]
struct TellBody {
    id: u64,
    time: u64,
}

impl ClockMessage {
    /// Name of the kind on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ask { .. } => "clock.ask",
            Self::Tell { .. } => "clock.tell",
        }
    }
}

/// CBOR body of a clock message.
pub(super) fn encode(message: &ClockMessage) -> Result<Vec<u8>, WireError> {
    match *message {
        ClockMessage::Ask { id } => to_cbor("clock.ask", &AskBody { id }),
        ClockMessage::Tell { id, time } => to_cbor("clock.tell", &TellBody { id, time }),
    }
}

/// The clock message of a kind, or none if the kind is not about clocks.
pub(super) fn decode(kind: &str, bytes: &[u8]) -> Result<Option<ClockMessage>, WireError> {
    Ok(Some(match kind {
        "clock.ask" => ClockMessage::Ask { id: from_cbor::<AskBody>("clock.ask", bytes)?.id },
        "clock.tell" => {
            let TellBody { id, time } = from_cbor("clock.tell", bytes)?;
            ClockMessage::Tell { id, time }
        }
        _ => return Ok(None),
    }))
}
