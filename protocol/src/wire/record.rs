//! What is said about the recording of a call (`specs/05-call.md`, "Recording").

use serde::{Deserialize, Serialize};

use super::Reason;

/// A word about a recording. `request` counts the requests of the side that wants to record, so that an answer belongs to
/// one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordWord {
    /// The sender wants to record.
    Ask(u32),
    /// The receiver of a request shows it to its person.
    Shown(u32),
    /// The person agrees.
    Allow(u32),
    /// The person does not agree, or no longer.
    Refuse(u32),
    /// The side that asked records from now on.
    Start(u32),
    /// The side that asked does not record (any more): in words, where it was not by choice; may be empty.
    Stop(u32, Reason),
}

/// Body on the wire.
#[derive(Serialize, Deserialize)]
pub(super) struct RecordBody {
    request: u32,
    #[serde(default, skip_serializing_if = "Reason::is_empty")]
    text: Reason,
}

impl RecordWord {
    /// Every kind with its maker.
    const KINDS: [&'static str; 6] = [
        "call.record.ask",
        "call.record.shown",
        "call.record.allow",
        "call.record.refuse",
        "call.record.start",
        "call.record.stop",
    ];

    /// Whether this kind is a word about a recording.
    #[must_use]
    pub fn is_kind(kind: &str) -> bool {
        Self::KINDS.contains(&kind)
    }

    /// Name of the kind on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ask(_) => "call.record.ask",
            Self::Shown(_) => "call.record.shown",
            Self::Allow(_) => "call.record.allow",
            Self::Refuse(_) => "call.record.refuse",
            Self::Start(_) => "call.record.start",
            Self::Stop(..) => "call.record.stop",
        }
    }

    /// Which request it is about.
    #[must_use]
    pub fn request(&self) -> u32 {
        match self {
            Self::Ask(request)
            | Self::Shown(request)
            | Self::Allow(request)
            | Self::Refuse(request)
            | Self::Start(request)
            | Self::Stop(request, _) => *request,
        }
    }

    pub(super) fn body(&self) -> RecordBody {
        let text = if let Self::Stop(_, text) = self { text.clone() } else { Reason::default() };
        RecordBody { request: self.request(), text }
    }

    pub(super) fn of(kind: &str, body: RecordBody) -> Self {
        let RecordBody { request, text } = body;
        match kind {
            "call.record.ask" => Self::Ask(request),
            "call.record.shown" => Self::Shown(request),
            "call.record.allow" => Self::Allow(request),
            "call.record.refuse" => Self::Refuse(request),
            "call.record.start" => Self::Start(request),
            _ => Self::Stop(request, text),
        }
    }
}
