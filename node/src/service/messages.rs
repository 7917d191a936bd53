//! Conversations: carries out what [`Chats`](twocan_protocol::chat::Chats) says, and answers what clients ask about them.
//!
//! Lines lie in the store only; the machine knows their places. What is stored is written by the store's thread, so that
//! a friend who writes much never holds this task up; a message leaves, or is acknowledged, when that is done.

use std::time::Instant;

use tokio::sync::oneshot;
use twocan_control::{self as api, Code, Error, Event};
use twocan_protocol::chat::{ChatRecord, FileNote, Input, LineRecord, Output, Refusal, View};
use twocan_protocol::identity::RootPublic;
use twocan_protocol::link;
use twocan_protocol::wire::{CallId, Id, Message, Prose};

use super::links::Note;
use super::{Service, small, unix_ms};
use crate::store::Change;

/// Comes when something is on the disk.
pub(super) type Written = oneshot::Receiver<()>;

impl Service {
    /// Gives the machine something; the answer comes when what it had stored is on the disk.
    pub(super) fn chat_input(&mut self, input: Input) -> Option<Written> {
        let outputs = self.chats.handle(Instant::now(), unix_ms(), input);
        self.chat_outputs(outputs)
    }

    pub(super) fn chat_timeout(&mut self, now: Instant) {
        if self.chats.poll_timeout().is_some_and(|at| at <= now) {
            let outputs = self.chats.handle_timeout(now);
            self.chat_outputs(outputs);
        }
    }

    fn chat_outputs(&mut self, outputs: Vec<Output>) -> Option<Written> {
        let mut written = None;
        for output in outputs {
            match output {
                Output::Send(root, message) => {
                    if self.sessions.contains_key(&root) {
                        self.session_input(root, link::Input::SendNow(Message::Chat(message)));
                    }
                }
                Output::Store(record, line) => written = both(written, self.store_line(&record, line.as_ref())),
                Output::Forget(root, places) => written = both(written, self.records.forget_lines(&root, &places)),
                Output::ForgetChat(root) => written = both(written, self.records.forget_chat(&root)),
                Output::Line(line) => {
                    let view = self.chats.view(&line.friend);
                    let message = line_view(line, &view);
                    self.emitter.emit(Event::Message { message });
                }
                Output::Changed(root) => {
                    let conversation = self.conversation(&root);
                    self.emitter.emit(Event::Conversation { conversation });
                }
                Output::Deleted(root) => self.emitter.emit(Event::ConversationRemoved { friend: root.to_string() }),
                Output::Refused(refusal) => tracing::debug!("a message was refused: {refusal}"),
            }
        }
        written
    }

    /// Has something written; the machine is told when it is.
    fn store_line(&self, record: &ChatRecord, line: Option<&LineRecord>) -> Written {
        let changes: Vec<Change> = self.records.chat(record, line);
        let write = self.records.write(changes);
        let (done, written) = oneshot::channel();
        let (notes, root, place) = (self.notes.clone(), record.friend, line.map(|line| line.place));
        tokio::spawn(async move {
            // What the disk refuses is kept in memory and written later; the node's status says so.
            if let Err(error) = write.await {
                tracing::error!("{error}");
            }
            let _ = done.send(());
            if let Some(place) = place {
                let _ = notes.send(Note::LineKept(root, place)).await;
            }
        });
        written
    }

    /// A file was offered: a line says so.
    pub(super) fn chat_file(&mut self, friend: RootPublic, mine: bool, file: FileNote) {
        self.chat_input(Input::File { friend, mine, id: Id(rand::random()), file });
    }

    /// The line that goes with the decline of a call.
    pub(super) fn chat_decline(&mut self, friend: RootPublic, call: CallId, text: &str) {
        if let Some(text) = Prose::clean(text).filter(|text| !text.is_empty())
            && self.book.is_friend(&friend)
        {
            self.chat_input(Input::Send { friend, id: Id(rand::random()), text, call: Some(call) });
        }
    }

    // What clients ask.

    pub(super) fn conversation(&self, root: &RootPublic) -> api::Conversation {
        let view = self.chats.view(root);
        let last = Some(view.last).filter(|place| *place > 0).and_then(|place| self.records.line(root, place));
        api::Conversation {
            friend: root.to_string(),
            friend_name: self.book.name_of(root),
            unread: small(view.unread),
            waiting: small(view.waiting),
            delivered_until: view.delivered_until,
            read_until: view.read_until,
            trouble: (view.unsupported && view.waiting > 0)
                .then(|| "your friend's twocan is too old for messages".to_owned()),
            last: last.map(|line| line_view(line, &view)),
        }
    }

    pub(super) fn conversations(&self) -> Vec<api::Conversation> {
        let mut all: Vec<api::Conversation> = self.chats.friends().map(|root| self.conversation(root)).collect();
        all.sort_by_key(|chat| std::cmp::Reverse(chat.last.as_ref().map_or(0, |last| last.kept_ms)));
        all
    }

    pub(super) fn messages(&self, whom: &str, page: api::PageRequest) -> api::Result<api::MessagePage> {
        let root = self.resolve(whom)?;
        let limit = usize::try_from(page.limit.unwrap_or(api::limits::PAGE)).unwrap_or(usize::MAX);
        let (places, more) = self.chats.places(&root, page.before, limit);
        let view = self.chats.view(&root);
        let lines = places.into_iter().filter_map(|place| self.records.line(&root, place));
        Ok(api::MessagePage { messages: lines.map(|line| line_view(line, &view)).collect(), more })
    }

    /// Gives the line, and when it is kept.
    pub(super) fn send_message(
        &mut self,
        whom: &str,
        send: &api::SendMessage,
    ) -> api::Result<(api::ChatMessage, Option<Written>)> {
        let friend = self.resolve(whom)?;
        if !self.book.is_friend(&friend) {
            return Err(Error::new(Code::Conflict, "you are not friends yet")
                .hint("messages go to those who have accepted your request"));
        }
        let text = Prose::clean(&send.text).ok_or_else(|| Error::new(Code::Invalid, "the message is too long"))?;
        let id = Id(rand::random());
        let outputs = self.chats.handle(Instant::now(), unix_ms(), Input::Send { friend, id, text, call: None });
        let (mut refused, mut made) = (None, None);
        for output in &outputs {
            match output {
                Output::Refused(refusal) => refused = Some(*refusal),
                Output::Line(line) => made = Some(line.clone()),
                _ => {}
            }
        }
        let written = self.chat_outputs(outputs);
        if let Some(refusal) = refused {
            return Err(match refusal {
                Refusal::Empty => Error::new(Code::Invalid, refusal.to_string()),
                Refusal::Full | Refusal::AllFull => {
                    Error::new(Code::Limit, refusal.to_string()).hint("they leave when the friend is online")
                }
            });
        }
        let line = made.ok_or_else(|| Error::new(Code::Internal, "the message was not kept"))?;
        Ok((line_view(line, &self.chats.view(&friend)), written))
    }

    pub(super) fn mark_read(&mut self, whom: &str, read: api::MarkRead) -> api::Result<api::Conversation> {
        let root = self.resolve(whom)?;
        self.chat_input(Input::Read(root, read.until));
        Ok(self.conversation(&root))
    }

    /// Deletes a conversation; the answer comes when it is gone from the disk.
    pub(super) fn delete_conversation(&mut self, whom: &str) -> api::Result<Option<Written>> {
        let root = self.resolve(whom)?;
        Ok(self.chat_input(Input::Delete(root)))
    }
}

/// Answers when both have.
fn both(first: Option<Written>, second: Written) -> Option<Written> {
    let Some(first) = first else { return Some(second) };
    let (done, written) = oneshot::channel();
    tokio::spawn(async move {
        let _ = tokio::join!(first, second);
        let _ = done.send(());
    });
    Some(written)
}

fn line_view(line: LineRecord, view: &View) -> api::ChatMessage {
    let state = match line.mine {
        true if line.place <= view.read_until => api::MessageState::Read,
        // A file has its own states.
        true if line.place <= view.delivered_until || line.file.is_some() => api::MessageState::Delivered,
        true => api::MessageState::Waiting,
        false if line.place <= view.seen_until => api::MessageState::Read,
        false => api::MessageState::Delivered,
    };
    api::ChatMessage {
        id: line.id.to_string(),
        friend: line.friend.to_string(),
        place: line.place,
        direction: if line.mine { api::Direction::Outgoing } else { api::Direction::Incoming },
        text: line.text,
        sent_ms: line.sent_ms,
        kept_ms: line.kept_ms,
        state,
        call: line.call.map(|call| call.to_string()),
        file: line.file.map(|file| api::FileNote { id: file.id.to_string(), name: file.name, size: file.size }),
    }
}
