//! Conversations and files of the node in memory, and what the friend's side of them does.

use super::samples::sample_id;
use super::{FakeNode, State};
use crate::*;

/// A conversation with one friend.
#[derive(Clone, Debug, Default)]
pub(super) struct Chat {
    friend: FriendId,
    lines: Vec<ChatMessage>,
    place: u64,
    delivered: u64,
    read: u64,
}

impl FakeNode {
    /// A friend writes.
    ///
    /// # Panics
    /// If there is no such friend.
    #[expect(clippy::expect_used, reason = "a test helper; a wrong name is a fault of the test")]
    pub fn friend_writes(&self, friend: &str, text: &str) -> ChatMessage {
        let mut state = self.state();
        let friend = state.find(friend).expect("the test named a friend that it added");
        state.line(&friend, Direction::Incoming, text, None)
    }

    /// The friend's node takes what waits there, and the friend reads it.
    ///
    /// # Panics
    /// If there is no such friend.
    #[expect(clippy::expect_used, reason = "a test helper; a wrong name is a fault of the test")]
    pub fn friend_reads(&self, friend: &str, read: bool) {
        let mut state = self.state();
        let id = state.find(friend).expect("the test named a friend that it added").id;
        if let Some(chat) = state.chats.iter_mut().find(|chat| chat.friend == id) {
            chat.delivered = chat.place;
            chat.read = if read { chat.place } else { chat.read };
            let (delivered, read) = (chat.delivered, chat.read);
            for line in chat.lines.iter_mut().filter(|line| line.direction == Direction::Outgoing) {
                line.state = mark(line.place, delivered, read);
            }
        }
        let conversation = state.conversation(&id);
        state.emit(&Event::Conversation { conversation });
    }

    /// A friend offers a file.
    ///
    /// # Panics
    /// If there is no such friend.
    #[expect(clippy::expect_used, reason = "a test helper; a wrong name is a fault of the test")]
    pub fn friend_offers(&self, friend: &str, name: &str, size: u64) -> FileTransfer {
        let mut state = self.state();
        let friend = state.find(friend).expect("the test named a friend that it added");
        state.transfer(&friend, Direction::Incoming, name, size, None)
    }

    /// A transfer comes so far.
    ///
    /// # Panics
    /// If there is no such transfer.
    #[expect(clippy::expect_used, reason = "a test helper; a wrong id is a fault of the test")]
    pub fn file_moves(&self, id: &str, done: u64) -> FileTransfer {
        let mut state = self.state();
        state
            .change_file(id, |file| {
                file.done = done.min(file.size);
                file.state = if file.done == file.size { FileState::Done } else { FileState::Running };
            })
            .expect("the test named a transfer that there is")
    }
}

fn mark(place: u64, delivered: u64, read: u64) -> MessageState {
    if place <= read {
        MessageState::Read
    } else if place <= delivered {
        MessageState::Delivered
    } else {
        MessageState::Waiting
    }
}

impl State {
    fn chat(&mut self, friend: &str) -> &mut Chat {
        let at = self.chats.iter().position(|chat| chat.friend == friend).unwrap_or_else(|| {
            self.chats.push(Chat { friend: friend.to_owned(), ..Chat::default() });
            self.chats.len() - 1
        });
        &mut self.chats[at]
    }

    pub(super) fn line(
        &mut self,
        friend: &Friend,
        direction: Direction,
        text: &str,
        file: Option<FileNote>,
    ) -> ChatMessage {
        let now = self.now();
        let id = sample_id(&format!("message {now}"))[..32].to_owned();
        let chat = self.chat(&friend.id);
        chat.place += 1;
        let state = match direction {
            Direction::Outgoing => MessageState::Waiting,
            Direction::Incoming => MessageState::Delivered,
        };
        let message = ChatMessage {
            id,
            friend: friend.id.clone(),
            place: chat.place,
            direction,
            text: text.to_owned(),
            sent_ms: now,
            kept_ms: now,
            state,
            call: None,
            file,
        };
        chat.lines.push(message.clone());
        self.emit(&Event::Message { message: message.clone() });
        message
    }

    pub(super) fn conversation(&self, friend: &str) -> Conversation {
        let found = self.chats.iter().find(|chat| chat.friend == friend).cloned().unwrap_or_default();
        let count = |direction, state| {
            let lines = found.lines.iter().filter(|line| line.direction == direction && line.state == state);
            u32::try_from(lines.count()).unwrap_or(u32::MAX)
        };
        let name = self.friends.iter().find(|known| known.id == friend).map(|known| known.name.clone());
        Conversation {
            friend: friend.to_owned(),
            friend_name: name.unwrap_or_default(),
            unread: count(Direction::Incoming, MessageState::Delivered),
            waiting: count(Direction::Outgoing, MessageState::Waiting),
            delivered_until: found.delivered,
            read_until: found.read,
            trouble: None,
            last: found.lines.last().cloned(),
        }
    }

    pub(super) fn conversations(&self) -> Vec<Conversation> {
        let mut all: Vec<Conversation> = self.chats.iter().map(|chat| self.conversation(&chat.friend)).collect();
        all.sort_by_key(|chat| std::cmp::Reverse(chat.last.as_ref().map_or(0, |last| last.kept_ms)));
        all
    }

    pub(super) fn page(&self, friend: &str, page: PageRequest) -> MessagePage {
        let lines = self.chats.iter().find(|chat| chat.friend == friend).map_or(&[][..], |chat| &chat.lines);
        let end = lines.partition_point(|line| page.before.is_none_or(|before| line.place < before));
        let limit = usize::try_from(page.limit.unwrap_or(limits::PAGE)).unwrap_or(usize::MAX);
        let begin = end.saturating_sub(limit);
        MessagePage { messages: lines[begin..end].to_vec(), more: begin > 0 }
    }

    pub(super) fn read(&mut self, friend: &str, until: Option<u64>) -> Conversation {
        for line in &mut self.chat(friend).lines {
            if line.direction == Direction::Incoming && until.is_none_or(|until| line.place <= until) {
                line.state = MessageState::Read;
            }
        }
        let conversation = self.conversation(friend);
        self.emit(&Event::Conversation { conversation: conversation.clone() });
        conversation
    }

    pub(super) fn delete_chat(&mut self, friend: &str) {
        self.chats.retain(|chat| chat.friend != friend);
        self.emit(&Event::ConversationRemoved { friend: friend.to_owned() });
    }

    pub(super) fn transfer(
        &mut self,
        friend: &Friend,
        direction: Direction,
        name: &str,
        size: u64,
        path: Option<String>,
    ) -> FileTransfer {
        let now = self.now();
        let file = FileTransfer {
            id: sample_id(&format!("file {now}"))[..32].to_owned(),
            friend: friend.id.clone(),
            friend_name: friend.name.clone(),
            direction,
            name: name.to_owned(),
            size,
            state: FileState::Offered,
            done: 0,
            bytes_per_second: None,
            paused_here: false,
            paused_there: false,
            path,
            reason: None,
            offered_ms: now,
            ended_ms: None,
        };
        self.files.insert(0, file.clone());
        self.emit(&Event::File { file: file.clone() });
        self.line(friend, direction, "", Some(FileNote { id: file.id.clone(), name: file.name.clone(), size }));
        file
    }

    pub(super) fn file(&self, id: &str) -> Result<FileTransfer> {
        let found = self.files.iter().find(|file| !id.is_empty() && file.id.starts_with(id)).cloned();
        found.ok_or_else(|| Error::new(Code::NotFound, format!("no file has the id {id}")))
    }

    pub(super) fn change_file(&mut self, id: &str, change: impl FnOnce(&mut FileTransfer)) -> Result<FileTransfer> {
        let id = self.file(id)?.id;
        let now = self.now();
        let file = self.files.iter_mut().find(|file| file.id == id);
        let file = file.ok_or_else(|| Error::new(Code::NotFound, "the file is gone"))?;
        change(file);
        file.ended_ms = file.state.is_over().then_some(now);
        let file = file.clone();
        self.emit(&Event::File { file: file.clone() });
        Ok(file)
    }

    pub(super) fn act_on_file(&mut self, id: &str, act: &FileAct) -> Result<FileTransfer> {
        let file = self.file(id)?;
        let incoming = file.direction == Direction::Incoming;
        let fits = match act {
            FileAct::Accept(_) | FileAct::Decline => incoming && file.state == FileState::Offered,
            FileAct::Pause | FileAct::Cancel => !file.state.is_over(),
            FileAct::Resume => file.paused_here,
        };
        if !fits {
            return Err(Error::new(Code::Conflict, "the file is not in a state for that"));
        }
        self.change_file(id, |file| match act {
            FileAct::Accept(_) => file.state = FileState::Waiting,
            FileAct::Decline => file.state = FileState::Declined,
            FileAct::Pause => (file.state, file.paused_here) = (FileState::Paused, true),
            FileAct::Resume => (file.state, file.paused_here) = (FileState::Waiting, false),
            FileAct::Cancel => file.state = FileState::Cancelled,
        })
    }
}
