//! What was asked of the node for one page: history, the doctor's report, relaying, settings, pictures.

use std::collections::BTreeMap;
use std::sync::Arc;

use twocan_control::doctor::{Doctor, Preflight};
use twocan_control::{
    Conversation, Error, FileTransfer, FriendId, HistoryEntry, MessagePage, Outcome, Phrase, Privacy, RelayStatus,
    Settings,
};

/// Pictures of people that are kept: as many as a node has friends.
const MAX_PICTURES: usize = 1000;

/// Something that is asked for.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Loadable<T> {
    /// Not asked for yet.
    #[default]
    Unknown,
    /// Under way.
    Loading,
    /// Here.
    Ready(T),
    /// It did not come.
    Failed(Error),
}

impl<T> Loadable<T> {
    /// What is here.
    #[must_use]
    pub fn ready(&self) -> Option<&T> {
        if let Self::Ready(value) = self { Some(value) } else { None }
    }

    /// Takes in how asking went.
    pub fn settle(&mut self, result: Result<T, Error>) {
        *self = match result {
            Ok(value) => Self::Ready(value),
            Err(error) => Self::Failed(error),
        };
    }

    /// Whether it is to be asked for; if so, it counts as under way from now on.
    pub fn begin(&mut self) -> bool {
        let wanted = matches!(self, Self::Unknown);
        if wanted {
            *self = Self::Loading;
        }
        wanted
    }
}

/// What the worker answers to [`crate::worker::node::NodeCommand`].
#[derive(Clone, Debug)]
pub enum NodeUpdate {
    /// All conversations.
    Conversations(Vec<Conversation>),
    /// One of them as it is now.
    Conversation(Conversation),
    /// All transfers.
    Files(Vec<FileTransfer>),
    /// Lines of a conversation.
    Page {
        /// With whom.
        friend: FriendId,
        /// The lines, or why there are none.
        page: Result<MessagePage, Error>,
    },
    /// A message could not be sent: it goes back into the field.
    Unsent {
        /// To whom.
        friend: FriendId,
        /// What it said.
        text: String,
        /// Why.
        error: Error,
    },
    /// Calls that are over.
    History(Vec<HistoryEntry>),
    /// The doctor's report.
    Doctor(Box<Result<Doctor, Error>>),
    /// How relaying is.
    Relay(Result<RelayStatus, Error>),
    /// What others learn of this node.
    Privacy(Result<Privacy, Error>),
    /// Settings of the node.
    Settings(Result<Settings, Error>),
    /// Who is blocked.
    Blocked(Result<Vec<FriendId>, Error>),
    /// The 24 words.
    Phrase(Result<Phrase, Error>),
    /// How a call to a friend would be.
    Preflight {
        /// Whom.
        friend: FriendId,
        /// What was found.
        result: Box<Result<Preflight, Error>>,
    },
    /// A picture of a person; of me without a friend.
    Picture {
        /// Of whom.
        friend: Option<FriendId>,
        /// Its hash.
        hash: String,
        /// Its bytes.
        bytes: Arc<[u8]>,
    },
    /// A text to be kept as a file (report or backup).
    Text {
        /// Name that is proposed for it.
        name: &'static str,
        /// Its bytes.
        bytes: Arc<[u8]>,
    },
    /// `twocan service install` is done.
    Service(Result<(), Error>),
}

/// Answers of the node, page by page.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    /// Calls that are over, newest first.
    pub history: Vec<HistoryEntry>,
    /// Something has changed in it: it is to be asked for.
    pub history_stale: bool,
    /// The doctor's report.
    pub doctor: Loadable<Doctor>,
    /// How relaying is.
    pub relay: Loadable<RelayStatus>,
    /// What others learn of this node.
    pub privacy: Loadable<Privacy>,
    /// Settings of the node.
    pub settings: Loadable<Settings>,
    /// Who is blocked.
    pub blocked: Loadable<Vec<FriendId>>,
    /// The 24 words, while they are looked at.
    pub phrase: Loadable<Phrase>,
    /// How a call to a friend would be.
    pub preflight: Option<(FriendId, Loadable<Preflight>)>,
    /// Pictures of people by hash.
    pub pictures: BTreeMap<String, Arc<[u8]>>,
    /// Whether the node runs at login, once asked for.
    pub service: Loadable<()>,
    /// A text that waits to be saved: proposed name and bytes.
    pub to_save: Option<(&'static str, Arc<[u8]>)>,
}

impl Desk {
    /// Takes in an answer.
    pub fn apply(&mut self, update: NodeUpdate) {
        match update {
            NodeUpdate::History(history) => {
                self.history = history;
                for entry in &mut self.history {
                    entry.friend_name = crate::text::clean(&entry.friend_name);
                }
            }
            NodeUpdate::Doctor(result) => self.doctor.settle(*result),
            NodeUpdate::Relay(result) => self.relay.settle(result),
            NodeUpdate::Privacy(result) => self.privacy.settle(result),
            NodeUpdate::Settings(result) => self.settings.settle(result),
            NodeUpdate::Blocked(result) => self.blocked.settle(result),
            NodeUpdate::Phrase(result) => self.phrase.settle(result),
            NodeUpdate::Service(result) => self.service.settle(result),
            NodeUpdate::Preflight { friend, result } => {
                let mut found = Loadable::Loading;
                found.settle(*result);
                self.preflight = Some((friend, found));
            }
            NodeUpdate::Picture { hash, bytes, .. } => {
                while self.pictures.len() >= MAX_PICTURES {
                    self.pictures.pop_first();
                }
                self.pictures.insert(hash, bytes);
            }
            NodeUpdate::Text { name, bytes } => self.to_save = Some((name, bytes)),
            NodeUpdate::Conversations(_)
            | NodeUpdate::Conversation(_)
            | NodeUpdate::Files(_)
            | NodeUpdate::Page { .. }
            | NodeUpdate::Unsent { .. } => {}
        }
    }

    /// Calls of others that nobody took.
    #[must_use]
    pub fn missed(&self) -> u32 {
        u32::try_from(self.history.iter().filter(|entry| entry.unseen).count()).unwrap_or(u32::MAX)
    }
}

/// Whether a call came and was not taken.
#[must_use]
pub fn was_missed(entry: &HistoryEntry) -> bool {
    entry.direction == twocan_control::Direction::Incoming
        && !matches!(entry.outcome, Outcome::Completed | Outcome::AnsweredElsewhere | Outcome::Declined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_control::Code;

    #[test]
    fn what_is_asked_for_is_asked_for_once() {
        let mut asked: Loadable<u8> = Loadable::Unknown;
        assert!(asked.begin() && !asked.begin());
        asked.settle(Err(Error::new(Code::Internal, "no")));
        assert!(!asked.begin() && asked.ready().is_none());
        asked.settle(Ok(3));
        assert_eq!(asked.ready(), Some(&3));
    }

    #[test]
    fn pictures_are_bounded() {
        let mut desk = Desk::default();
        for n in 0..MAX_PICTURES + 5 {
            let hash = format!("{n:064x}");
            desk.apply(NodeUpdate::Picture { friend: None, hash, bytes: Arc::from([0u8].as_slice()) });
        }
        assert_eq!(desk.pictures.len(), MAX_PICTURES);
    }
}
