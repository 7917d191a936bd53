//! Messages of a preflight: two nodes build the media path of a call between them without ringing anybody, send a few
//! seconds of silence over it, and tell each other how much arrived (`specs/05-call.md`, "Preflight").

use serde::{Deserialize, Serialize};

use super::text::words;
use super::{CallId, CallRelay, Candidates, Description, List, WireError, from_cbor, to_cbor};
use crate::limits::RELAYS_PER_CALL_MAX;

/// A message of a preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightMessage {
    /// Which preflight: 16 random bytes, chosen by the one who asks.
    pub id: CallId,
    /// What is said.
    pub body: PreflightBody,
}

/// What is said about a preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreflightBody {
    /// Asks the other node to take part. Nobody is rung.
    Offer(Side),
    /// Takes part.
    Answer(Side),
    /// More candidates of the sender.
    Candidates(Candidates),
    /// Does not take part.
    Refuse(PreflightRefusal),
    /// What arrived at the sender, when the stream is over.
    Report(PreflightReport),
    /// The sender is done with it, or gives up.
    End,
}

/// One side of the path to be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Offer or answer, of generation 0.
    pub description: Description,
    /// Candidates known already.
    #[serde(default)]
    pub candidates: Candidates,
    /// Relays that the receiver may use in it.
    #[serde(default)]
    pub relays: List<CallRelay, RELAYS_PER_CALL_MAX>,
}

/// What arrived at one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreflightReport {
    /// Audio packets that arrived.
    pub packets: u32,
    /// Audio packets that are missing between the first and the last that arrived.
    pub lost: u32,
    /// Interarrival jitter of the audio (RFC 3550, 6.4.1) in microseconds.
    pub jitter: u32,
    /// Bits per second that the path to this side was found to carry; 0 if that is not known.
    #[serde(default)]
    pub rate: u64,
}

words! {
    /// Why a node does not take part.
    PreflightRefusal {
        /// A call or another preflight is going on there: it would disturb.
        Busy = "busy",
        /// The same friend asked a moment ago.
        Often = "often",
        /// No path can be offered: the media port has no room or there are no certificates.
        Failed = "failed",
    } else
    /// A word of a later version; to be treated as failed.
    Other
}

#[derive(Serialize, Deserialize)]
struct Named<T> {
    id: CallId,
    body: T,
}

#[derive(Serialize, Deserialize)]
struct CandidatesBody {
    candidates: Candidates,
}

#[derive(Serialize, Deserialize)]
struct RefuseBody {
    reason: PreflightRefusal,
}

#[derive(Serialize, Deserialize)]
struct EmptyBody {}

impl PreflightBody {
    /// Name of the kind on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Offer(_) => "preflight.offer",
            Self::Answer(_) => "preflight.answer",
            Self::Candidates(_) => "preflight.candidates",
            Self::Refuse(_) => "preflight.refuse",
            Self::Report(_) => "preflight.report",
            Self::End => "preflight.end",
        }
    }
}

/// CBOR body of a message of a preflight.
pub(super) fn encode(message: &PreflightMessage) -> Result<Vec<u8>, WireError> {
    let (id, kind) = (message.id, message.body.kind());
    match message.body.clone() {
        PreflightBody::Offer(body) | PreflightBody::Answer(body) => to_cbor(kind, &Named { id, body }),
        PreflightBody::Candidates(candidates) => to_cbor(kind, &Named { id, body: CandidatesBody { candidates } }),
        PreflightBody::Refuse(reason) => to_cbor(kind, &Named { id, body: RefuseBody { reason } }),
        PreflightBody::Report(body) => to_cbor(kind, &Named { id, body }),
        PreflightBody::End => to_cbor(kind, &Named { id, body: EmptyBody {} }),
    }
}

/// The message of a preflight of a kind, or none if the kind is not about preflights.
pub(super) fn decode(kind: &str, bytes: &[u8]) -> Result<Option<PreflightMessage>, WireError> {
    /// Reads the body as `T` and turns it into what is said.
    fn read<T: serde::de::DeserializeOwned>(
        what: &'static str,
        bytes: &[u8],
        into: impl FnOnce(T) -> PreflightBody,
    ) -> Result<Option<PreflightMessage>, WireError> {
        let Named { id, body } = from_cbor::<Named<T>>(what, bytes)?;
        Ok(Some(PreflightMessage { id, body: into(body) }))
    }

    match kind {
        "preflight.offer" => read("preflight.offer", bytes, PreflightBody::Offer),
        "preflight.answer" => read("preflight.answer", bytes, PreflightBody::Answer),
        "preflight.candidates" => {
            read("preflight.candidates", bytes, |CandidatesBody { candidates }| PreflightBody::Candidates(candidates))
        }
        "preflight.refuse" => read("preflight.refuse", bytes, |RefuseBody { reason }| PreflightBody::Refuse(reason)),
        "preflight.report" => read("preflight.report", bytes, PreflightBody::Report),
        "preflight.end" => read("preflight.end", bytes, |EmptyBody {}| PreflightBody::End),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Bounded, Candidate, DescriptionKind, Frame, MAX_FRAME, MAX_MORE, MAX_SDP, Message, Word};

    #[test]
    fn the_longest_offer_fits_into_a_frame() {
        let word = || Word::new("p".repeat(64)).unwrap();
        let endpoint = || "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse::<std::net::SocketAddr>().unwrap();
        let endpoints = || List::first_of(std::iter::repeat_n(endpoint().into(), 99));
        let relay = CallRelay {
            udp: endpoints(),
            tls: endpoints(),
            certificate: [0xff; 32],
            user: word(),
            password: word(),
            lifetime: u32::MAX,
        };
        let side = Side {
            description: Description {
                kind: DescriptionKind::Offer,
                generation: u32::MAX,
                fingerprint: [0xff; 32],
                sdp: Bounded::new("x".repeat(MAX_SDP)).unwrap(),
                more: Bounded::new("x".repeat(MAX_MORE)).unwrap(),
            },
            candidates: List::first_of(std::iter::repeat_n(Candidate::new("c".repeat(256)).unwrap(), 99)),
            relays: List::first_of(std::iter::repeat_n(relay, 99)),
        };
        let message = Message::Preflight(PreflightMessage { id: CallId([0xff; 16]), body: PreflightBody::Offer(side) });
        let frame = Frame { sequence: None, acknowledged: Some(u64::MAX), message };
        let bytes = frame.encode().unwrap();
        assert!(bytes.len() < MAX_FRAME, "{} bytes", bytes.len());
        assert_eq!(Frame::decode(&bytes).unwrap(), frame);
    }
}
