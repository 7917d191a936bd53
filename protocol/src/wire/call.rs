//! Messages about calls. Each names its call and the participant that speaks (0 is the caller, 1 the callee of a call
//! of two; more follow with groups). What they mean and when they are sent is in `specs/05-call.md`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::record::{RecordBody, RecordWord};
use super::text::words;
use super::{Bounded, List, Note, Reason, WireError, from_cbor, to_cbor};

/// Most bytes of a session description. What the node makes has about 4 KiB.
pub const MAX_SDP: usize = 16 * 1024;

/// Most bytes of the further sections of a session description. Two have about 1500 bytes.
pub const MAX_MORE: usize = 4 * 1024;

/// Most candidates in one message, and most that a node takes from the other side for one generation.
pub const MAX_CANDIDATES: usize = 16;

/// Names a call: 16 random bytes, chosen by the caller's node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallId({self})")
    }
}

/// Something about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallMessage {
    /// Which call.
    pub call: CallId,
    /// Who speaks: 0 the caller, 1 the callee.
    pub participant: u16,
    /// What is said.
    pub body: CallBody,
}

/// What is said about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallBody {
    /// The caller asks to talk. Carries an offer of generation 0, or of a higher one when it is sent again to a node
    /// that was restarted while it rang.
    Invite {
        /// The offer.
        description: Description,
        /// Candidates known already.
        candidates: Candidates,
        /// Whether the caller wants to send video.
        video: bool,
        /// The lost call that is gone on with, if it is that.
        resumes: Option<CallId>,
    },
    /// It rings at the callee.
    Ringing,
    /// An answer to the offer of the same generation (the first one while it rings: early ICE and DTLS).
    Answer {
        /// The answer.
        description: Description,
        /// Candidates known already.
        candidates: Candidates,
    },
    /// More candidates.
    Candidates {
        /// Of the sender's description of this generation.
        generation: u32,
        /// The candidates.
        candidates: Candidates,
    },
    /// The callee takes the call; media may flow.
    Accept {
        /// Whether the callee sends video.
        video: bool,
    },
    /// The callee does not take the call.
    Decline {
        /// Why.
        reason: DeclineReason,
        /// A line for the caller; may be empty.
        text: Note,
    },
    /// The sender leaves the call, whatever state it is in.
    Leave {
        /// Why.
        reason: LeaveReason,
        /// In words, where the reason alone does not say it; may be empty.
        text: Reason,
    },
    /// What the sender does at present; sent whenever any of it changes and when a link comes back.
    State {
        /// The microphone is off.
        muted: bool,
        /// Video is sent.
        video: bool,
        /// A screen is shared.
        screen: bool,
        /// The call is held.
        held: bool,
        /// Somebody sits there: a client holds the seat.
        seat: bool,
    },
    /// An offer that renews the path of an answered call: an ICE restart, or, when its fingerprint is another one than
    /// before, a new peer with a new DTLS session (the receiver then makes a new one, too).
    Offer {
        /// The offer; its generation is higher than any before.
        description: Description,
        /// Candidates known already.
        candidates: Candidates,
    },
    /// A word about recording the call.
    Record(RecordWord),
}

words! {
    /// Whether a description offers or answers.
    DescriptionKind {
        /// An offer.
        Offer = "offer",
        /// An answer.
        Answer = "answer",
    } else
    /// A word of a later version; refused.
    Other
}

/// A session description (RFC 8866, RFC 8829) with what the link vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Offer or answer.
    pub kind: DescriptionKind,
    /// Counts the offers of this call; an answer has the number of its offer.
    pub generation: u32,
    /// SHA-256 of the sender's DTLS certificate, 32 bytes. The description's own fingerprint line must say the same.
    #[serde(with = "serde_bytes")]
    pub fingerprint: [u8; 32],
    /// The SDP: session part, voice and camera.
    pub sdp: Bounded<MAX_SDP>,
    /// The further sections (shared screen, its sound), of the same session: a node that does not know this field
    /// leaves them out, and negotiates a call without them. May be empty.
    #[serde(default, skip_serializing_if = "Bounded::is_empty")]
    pub more: Bounded<MAX_MORE>,
}

/// An ICE candidate as the value of an `a=candidate` line (RFC 8839).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Candidate(pub Bounded<256>);

impl Candidate {
    /// Takes the text if it is short enough.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        Bounded::new(text).map(Self)
    }
}

/// Candidates of one message.
pub type Candidates = List<Candidate, MAX_CANDIDATES>;

words! {
    /// Why a callee does not take a call.
    DeclineReason {
        /// The person said no.
        Declined = "declined",
        /// In another call.
        Busy = "busy",
        /// Does not want to be disturbed.
        Dnd = "dnd",
        /// Nobody answered there in time.
        Unanswered = "unanswered",
        /// Another device of the callee took it.
        Elsewhere = "elsewhere",
    } else
    /// A word of a later version; to be treated as declined.
    Other
}

words! {
    /// Why a side leaves.
    LeaveReason {
        /// Hung up after talking.
        Completed = "completed",
        /// The caller gave up before an answer.
        Cancelled = "cancelled",
        /// Nobody answered in time.
        Unanswered = "unanswered",
        /// The callee's node could not be reached in time.
        Unreachable = "unreachable",
        /// No media path, or it was lost for good, or the peer lied about its certificate.
        Failed = "failed",
        /// The sender knows no such call.
        Gone = "gone",
    } else
    /// A word of a later version; to be treated as completed if answered, else as cancelled.
    Other
}

/// What every call message has around what is said.
#[derive(Serialize, Deserialize)]
struct Addressed<T> {
    call: CallId,
    participant: u16,
    body: T,
}

#[derive(Serialize, Deserialize)]
struct InviteBody {
    description: Description,
    #[serde(default)]
    candidates: Candidates,
    #[serde(default)]
    video: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resumes: Option<CallId>,
}

#[derive(Serialize, Deserialize)]
struct DescriptionBody {
    description: Description,
    #[serde(default)]
    candidates: Candidates,
}

#[derive(Serialize, Deserialize)]
struct CandidatesBody {
    generation: u32,
    candidates: Candidates,
}

#[derive(Serialize, Deserialize)]
struct AcceptBody {
    #[serde(default)]
    video: bool,
}

#[derive(Serialize, Deserialize)]
struct DeclineBody {
    reason: DeclineReason,
    #[serde(default)]
    text: Note,
}

#[derive(Serialize, Deserialize)]
struct LeaveBody {
    reason: LeaveReason,
    #[serde(default)]
    text: Reason,
}

#[derive(Serialize, Deserialize)]
struct StateBody {
    #[serde(default)]
    muted: bool,
    #[serde(default)]
    video: bool,
    #[serde(default)]
    screen: bool,
    #[serde(default)]
    held: bool,
    #[serde(default)]
    seat: bool,
}

#[derive(Serialize, Deserialize)]
struct EmptyBody {}

impl CallBody {
    /// Name of the kind on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Invite { .. } => "call.invite",
            Self::Ringing => "call.ringing",
            Self::Answer { .. } => "call.answer",
            Self::Candidates { .. } => "call.candidates",
            Self::Accept { .. } => "call.accept",
            Self::Decline { .. } => "call.decline",
            Self::Leave { .. } => "call.leave",
            Self::State { .. } => "call.state",
            Self::Offer { .. } => "call.offer",
            Self::Record(word) => word.kind(),
        }
    }
}

/// CBOR body of a call message.
pub(super) fn encode(message: &CallMessage) -> Result<Vec<u8>, WireError> {
    let (call, participant) = (message.call, message.participant);
    let kind = message.body.kind();
    match message.body.clone() {
        CallBody::Invite { description, candidates, video, resumes } => to_cbor(
            kind,
            &Addressed { call, participant, body: InviteBody { description, candidates, video, resumes } },
        ),
        CallBody::Ringing => to_cbor(kind, &Addressed { call, participant, body: EmptyBody {} }),
        CallBody::Answer { description, candidates } | CallBody::Offer { description, candidates } => {
            to_cbor(kind, &Addressed { call, participant, body: DescriptionBody { description, candidates } })
        }
        CallBody::Candidates { generation, candidates } => {
            to_cbor(kind, &Addressed { call, participant, body: CandidatesBody { generation, candidates } })
        }
        CallBody::Accept { video } => to_cbor(kind, &Addressed { call, participant, body: AcceptBody { video } }),
        CallBody::Decline { reason, text } => {
            to_cbor(kind, &Addressed { call, participant, body: DeclineBody { reason, text } })
        }
        CallBody::Leave { reason, text } => {
            to_cbor(kind, &Addressed { call, participant, body: LeaveBody { reason, text } })
        }
        CallBody::State { muted, video, screen, held, seat } => {
            to_cbor(kind, &Addressed { call, participant, body: StateBody { muted, video, screen, held, seat } })
        }
        CallBody::Record(word) => to_cbor(kind, &Addressed { call, participant, body: word.body() }),
    }
}

/// The call message of a kind, or none if the kind is not about calls.
pub(super) fn decode(kind: &str, bytes: &[u8]) -> Result<Option<CallMessage>, WireError> {
    /// Reads the body as `T` and turns it into what is said.
    fn read<T: serde::de::DeserializeOwned>(
        what: &'static str,
        bytes: &[u8],
        into: impl FnOnce(T) -> CallBody,
    ) -> Result<Option<CallMessage>, WireError> {
        let Addressed { call, participant, body } = from_cbor::<Addressed<T>>(what, bytes)?;
        Ok(Some(CallMessage { call, participant, body: into(body) }))
    }

    match kind {
        "call.invite" => read("call.invite", bytes, |InviteBody { description, candidates, video, resumes }| {
            CallBody::Invite { description, candidates, video, resumes }
        }),
        "call.ringing" => read("call.ringing", bytes, |EmptyBody {}| CallBody::Ringing),
        "call.answer" => read("call.answer", bytes, |DescriptionBody { description, candidates }| CallBody::Answer {
            description,
            candidates,
        }),
        "call.candidates" => read("call.candidates", bytes, |CandidatesBody { generation, candidates }| {
            CallBody::Candidates { generation, candidates }
        }),
        "call.accept" => read("call.accept", bytes, |AcceptBody { video }| CallBody::Accept { video }),
        "call.decline" => {
            read("call.decline", bytes, |DeclineBody { reason, text }| CallBody::Decline { reason, text })
        }
        "call.leave" => read("call.leave", bytes, |LeaveBody { reason, text }| CallBody::Leave { reason, text }),
        "call.state" => read("call.state", bytes, |StateBody { muted, video, screen, held, seat }| CallBody::State {
            muted,
            video,
            screen,
            held,
            seat,
        }),
        "call.offer" => read("call.offer", bytes, |DescriptionBody { description, candidates }| CallBody::Offer {
            description,
            candidates,
        }),
        kind if RecordWord::is_kind(kind) => {
            read("call.record", bytes, |body: RecordBody| CallBody::Record(RecordWord::of(kind, body)))
        }
        _ => Ok(None),
    }
}
