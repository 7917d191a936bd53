//! What is kept of a transfer.

use serde::{Deserialize, Serialize};

use crate::identity::RootPublic;
use crate::wire::{FileAnswer, FileEnd, FileName, FileOffer, FileWord, Id, Reason};

/// How far a transfer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Outgoing: its hash is not known yet.
    Preparing,
    /// The receiver's person has not answered.
    Offered,
    /// It is wanted.
    Accepted,
    /// All of it is there.
    Done,
    /// It was not wanted.
    Declined,
    /// A person gave it up.
    Cancelled,
    /// It went wrong.
    Failed,
}

impl Stage {
    /// Whether nothing more happens.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Declined | Self::Cancelled | Self::Failed)
    }
}

/// A transfer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRecord {
    /// Its name.
    pub id: Id,
    /// With whom.
    pub friend: RootPublic,
    /// Whether the person here offered it.
    pub mine: bool,
    /// Name of the file.
    pub name: String,
    /// Its size.
    pub size: u64,
    /// SHA-256 of all of it; zeros while it is not known.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
    /// Outgoing: the file. Incoming: the folder to put it into, and once it is there the file.
    pub path: String,
    /// Outgoing: when the file was changed last, in a form of the driver's.
    #[serde(default)]
    pub stamp: u64,
    /// How far it has come.
    pub stage: Stage,
    /// The person here holds it.
    #[serde(default)]
    pub paused_here: bool,
    /// The friend holds it.
    #[serde(default)]
    pub paused_there: bool,
    /// Bytes that the receiver has, as far as known.
    #[serde(default)]
    pub done: u64,
    /// It came whole and wrong once.
    #[serde(default)]
    pub tried_again: bool,
    /// Why it is over.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was offered (Unix ms).
    pub offered_ms: u64,
    /// When it was over (Unix ms).
    #[serde(default)]
    pub ended_ms: Option<u64>,
}

impl TransferRecord {
    pub(super) fn offered_here(
        friend: RootPublic,
        id: Id,
        name: String,
        size: u64,
        path: String,
        stamp: u64,
        unix_ms: u64,
    ) -> Self {
        let offer = FileOffer { id, name: FileName::clean(&name), size, hash: [0; 32], paused: false };
        Self { mine: true, path, stamp, stage: Stage::Preparing, ..Self::offered_there(friend, &offer, unix_ms) }
    }

    pub(super) fn offered_there(friend: RootPublic, offer: &FileOffer, unix_ms: u64) -> Self {
        Self {
            id: offer.id,
            friend,
            mine: false,
            name: offer.name.to_string(),
            size: offer.size,
            hash: offer.hash,
            path: String::new(),
            stamp: 0,
            stage: Stage::Offered,
            paused_here: false,
            paused_there: offer.paused,
            done: 0,
            tried_again: false,
            reason: None,
            offered_ms: unix_ms,
            ended_ms: None,
        }
    }

    /// What the side that has the file says of it.
    pub(super) fn offer(&self) -> FileOffer {
        let name = FileName::clean(&self.name);
        FileOffer { id: self.id, name, size: self.size, hash: self.hash, paused: self.paused_here }
    }

    /// What the receiver says of it.
    pub(super) fn answer(&self) -> FileAnswer {
        let word = match self.stage {
            Stage::Preparing | Stage::Offered => FileWord::Offered,
            Stage::Accepted if self.paused_here => FileWord::Paused,
            Stage::Accepted => FileWord::Accepted,
            Stage::Done => FileWord::Done,
            Stage::Declined => FileWord::Declined,
            Stage::Cancelled => FileWord::Cancelled,
            Stage::Failed => FileWord::Failed,
        };
        FileAnswer { id: self.id, word, done: self.done, reason: self.told_reason() }
    }

    /// What the side that has the file says when it is over.
    pub(super) fn end(&self) -> FileEnd {
        FileEnd { id: self.id, cancelled: self.stage == Stage::Cancelled, reason: self.told_reason() }
    }

    /// A reason is told where it is about this side's machine; that a person gave it up is in the word.
    fn told_reason(&self) -> Reason {
        match self.stage {
            Stage::Cancelled => Reason::default(),
            _ => Reason::clean(self.reason.as_deref().unwrap_or_default()),
        }
    }
}
