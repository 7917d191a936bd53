//! Conversations between friends: messages that wait until the friend's node has them, what came, what was read
//! (`specs/04-link.md`, "Messages").
//!
//! A pure state machine. [`Chats`] takes what happens and the time, and gives what to do; texts that are delivered are
//! the driver's to keep, here are their places only. A message leaves, and one that came is acknowledged, only when the
//! driver has said that it is on the disk ([`Input::Kept`]): so a node may be killed at any moment, and a message is
//! neither lost nor shown twice.

mod conversation;
mod flow;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::identity::RootPublic;
use crate::wire::{self, CallId, Id, Prose};

use conversation::Conversation;
pub use record::{ChatRecord, FileNote, LineRecord};

/// Most messages that wait for one friend: more than anybody writes to somebody who is away.
pub const MAX_WAITING: usize = 200;
/// Most bytes of text that wait for one friend.
pub const MAX_WAITING_BYTES: usize = 512 * 1024;
/// Most bytes of text that wait for all friends together: they are in memory.
pub const MAX_ALL_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// Lines of one conversation that are kept; beyond that the oldest go.
pub const MAX_LINES: usize = 10_000;
/// Bytes of one conversation that are kept: no friend fills the disk.
pub const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of all conversations that are kept. The store holds them in memory, sealed.
pub const MAX_ALL_BYTES: usize = 32 * 1024 * 1024;

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The person writes.
    Send {
        /// To whom.
        friend: RootPublic,
        /// A new random name.
        id: Id,
        /// What.
        text: Prose<{ wire::MAX_TEXT }>,
        /// With the decline of this call.
        call: Option<CallId>,
    },
    /// A file was offered.
    File {
        /// By or to whom.
        friend: RootPublic,
        /// Whether the person here offered it.
        mine: bool,
        /// A new random name for the line.
        id: Id,
        /// The file.
        file: FileNote,
    },
    /// All lines up to and with this place, and what was stored with them, are on the disk.
    Kept(RootPublic, u64),
    /// The person has read the friend's lines up to and with this place; without one, all.
    Read(RootPublic, Option<u64>),
    /// The person deletes the conversation.
    Delete(RootPublic),
    /// Whether friends are told what was read.
    ReadMarks(bool),
    /// The link to a friend is up, maybe over another connection than before.
    LinkUp(RootPublic),
    /// The link to a friend is down.
    LinkDown(RootPublic),
    /// A friend's node said this.
    Received(RootPublic, wire::ChatMessage),
    /// A friend's node does not know messages.
    Unsupported(RootPublic),
    /// No friend any more.
    FriendGone(RootPublic),
}

/// What the driver is to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Tell the friend over the present connection, or forget it.
    Send(RootPublic, wire::ChatMessage),
    /// Keep this, as one batch, in the order of these outputs; then give [`Input::Kept`] with the place of the line.
    Store(ChatRecord, Option<LineRecord>),
    /// These lines are no longer kept.
    Forget(RootPublic, Vec<u64>),
    /// Nothing of this friend is kept any more.
    ForgetChat(RootPublic),
    /// A line is new: show it.
    Line(LineRecord),
    /// [`Chats::view`] of this friend is another one.
    Changed(RootPublic),
    /// The conversation is deleted.
    Deleted(RootPublic),
    /// An act of the person was refused.
    Refused(Refusal),
}

/// Why an act of the person was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too much waits for this friend.
    #[error("{MAX_WAITING} messages wait for this friend already")]
    Full,
    /// Too much waits for all friends.
    #[error("too many messages wait for friends who are away")]
    AllFull,
    /// Nothing is left of the text.
    #[error("the message is empty")]
    Empty,
}

/// How a conversation is at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The friend's lines that were not read.
    pub unread: usize,
    /// My messages that the friend's node does not have.
    pub waiting: usize,
    /// My messages up to this place were delivered.
    pub delivered_until: u64,
    /// My messages up to this place were read.
    pub read_until: u64,
    /// The friend's lines up to this place were read here.
    pub seen_until: u64,
    /// Place of the last line; 0 if there is none.
    pub last: u64,
    /// The friend's node does not know messages.
    pub unsupported: bool,
}

/// All conversations.
#[derive(Clone, Debug, Default)]
pub struct Chats {
    by: BTreeMap<RootPublic, Conversation>,
    read_marks: bool,
}

impl Chats {
    /// Conversations as they were kept.
    #[must_use]
    pub fn new(read_marks: bool, chats: Vec<ChatRecord>, lines: Vec<LineRecord>) -> Self {
        let mut by: BTreeMap<RootPublic, Conversation> = BTreeMap::new();
        for record in chats {
            by.insert(record.friend, Conversation::new(record));
        }
        let mut lines = lines;
        lines.sort_by_key(|line| line.place);
        for line in lines {
            let friend = line.friend;
            by.entry(friend).or_insert_with(|| Conversation::new(ChatRecord::new(friend, 1))).load(line);
        }
        Self { by, read_marks }
    }

    /// Takes what happened at `now` (`unix_ms` on the wall clock); returns what to do, in order.
    pub fn handle(&mut self, now: Instant, unix_ms: u64, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Send { friend, id, text, call } => {
                if text.is_empty() {
                    return vec![Output::Refused(Refusal::Empty)];
                }
                let all: usize = self.by.values().map(Conversation::waiting_bytes).sum();
                if all + text.as_str().len() > MAX_ALL_WAITING_BYTES {
                    return vec![Output::Refused(Refusal::AllFull)];
                }
                self.of(friend, unix_ms).send(unix_ms, id, text, call, &mut out);
                self.trim(friend, &mut out);
            }
            Input::File { friend, mine, id, file } => {
                self.of(friend, unix_ms).note(unix_ms, mine, id, file, &mut out);
                self.trim(friend, &mut out);
            }
            Input::Kept(friend, place) => {
                let tell = self.read_marks;
                self.with(&friend, |chat| chat.kept(place, tell, &mut out));
            }
            Input::Read(friend, until) => {
                let tell = self.read_marks;
                self.with(&friend, |chat| chat.read(until, tell, &mut out));
            }
            Input::Delete(friend) => self.with(&friend, |chat| chat.delete(&mut out)),
            Input::ReadMarks(on) => self.read_marks = on,
            Input::LinkUp(friend) => {
                let tell = self.read_marks;
                // A conversation begins with the first word; until then there is nothing to be said.
                self.with(&friend, |chat| chat.link_up(tell, &mut out));
                self.up(friend, unix_ms);
            }
            Input::LinkDown(friend) => self.with(&friend, Conversation::link_down),
            Input::Received(friend, message) => {
                self.of(friend, unix_ms).received(now, unix_ms, message, &mut out);
                self.trim(friend, &mut out);
            }
            Input::Unsupported(friend) => self.with(&friend, |chat| chat.unsupported(&mut out)),
            Input::FriendGone(friend) => {
                if let Some(mut chat) = self.by.remove(&friend) {
                    chat.delete(&mut out);
                    out.push(Output::ForgetChat(friend));
                }
            }
        }
        out
    }

    /// When [`Chats::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.by.values().filter_map(Conversation::poll_timeout).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Output> {
        let mut out = Vec::new();
        for chat in self.by.values_mut() {
            chat.handle_timeout(now, &mut out);
        }
        out
    }

    /// Friends with whom there is a conversation: a line, or something that waits.
    pub fn friends(&self) -> impl Iterator<Item = &RootPublic> {
        self.by.iter().filter(|(_, chat)| !chat.is_empty()).map(|(friend, _)| friend)
    }

    /// How the conversation with a friend is.
    #[must_use]
    pub fn view(&self, friend: &RootPublic) -> View {
        self.by.get(friend).map(Conversation::view).unwrap_or_default()
    }

    /// Places of the last `limit` lines before a place (of the last ones, without it), in order; and whether there are
    /// older ones.
    #[must_use]
    pub fn places(&self, friend: &RootPublic, before: Option<u64>, limit: usize) -> (Vec<u64>, bool) {
        self.by.get(friend).map(|chat| chat.places(before, limit)).unwrap_or_default()
    }

    /// Lines that were not read, in all conversations.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.by.values().map(|chat| chat.view().unread).sum()
    }

    fn with(&mut self, friend: &RootPublic, act: impl FnOnce(&mut Conversation)) {
        if let Some(chat) = self.by.get_mut(friend) {
            act(chat);
        }
    }

    fn of(&mut self, friend: RootPublic, unix_ms: u64) -> &mut Conversation {
        self.by.entry(friend).or_insert_with(|| Conversation::new(ChatRecord::new(friend, unix_ms)))
    }

    /// Remembers that the link is up, for a conversation that begins later.
    fn up(&mut self, friend: RootPublic, unix_ms: u64) {
        self.of(friend, unix_ms).set_up();
    }

    /// Forgets the oldest lines of the largest conversations until all fit.
    fn trim(&mut self, friend: RootPublic, out: &mut Vec<Output>) {
        self.with(&friend, |chat| {
            chat.trim(MAX_LINES, MAX_BYTES, out);
        });
        while self.by.values().map(Conversation::bytes).sum::<usize>() > MAX_ALL_BYTES {
            let Some(largest) = self.by.values_mut().max_by_key(|chat| chat.bytes()) else { return };
            let less = largest.bytes().saturating_sub(64 * 1024);
            if !largest.trim(MAX_LINES, less, out) {
                return;
            }
        }
    }
}
