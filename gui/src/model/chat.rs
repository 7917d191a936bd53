//! Conversations as they are shown: lines, marks, files, what is unread, what is being written.

use std::collections::BTreeMap;

use twocan_control::{
    ChatMessage, Conversation, Direction, Error, FileId, FileTransfer, FriendId, MessagePage, MessageState,
};

use super::desk::NodeUpdate;

/// Lines of one conversation that are kept here; older ones are asked for again.
const MAX_LINES: usize = 2_000;
/// Conversations whose lines are kept here.
const MAX_OPEN: usize = 8;

/// What stands under a message of mine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It waits here until the friend is there.
    Waiting,
    /// The friend's node has it.
    Delivered,
    /// The friend has read it.
    Read,
}

/// The lines of a conversation.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// By place.
    pub lines: BTreeMap<u64, ChatMessage>,
    /// There are older ones.
    pub more: bool,
    /// They are being asked for.
    pub loading: bool,
    /// They have been asked for once.
    pub asked: bool,
    /// Why they did not come.
    pub trouble: Option<Error>,
}

/// All conversations.
#[derive(Clone, Debug, Default)]
pub struct Chats {
    conversations: BTreeMap<FriendId, Conversation>,
    open: Vec<(FriendId, Lines)>,
    /// Transfers by id.
    pub files: BTreeMap<FileId, FileTransfer>,
    /// What is being written, by friend.
    pub drafts: BTreeMap<FriendId, String>,
}

impl Chats {
    /// Takes in an answer of the node; `None` if it is for others.
    pub fn apply(&mut self, update: NodeUpdate) -> Option<NodeUpdate> {
        match update {
            NodeUpdate::Conversations(all) => {
                self.conversations = all.into_iter().map(|one| (one.friend.clone(), one)).collect();
            }
            NodeUpdate::Conversation(one) => self.changed(one),
            NodeUpdate::Files(files) => {
                self.files = files.into_iter().map(|file| (file.id.clone(), file)).collect();
            }
            NodeUpdate::Page { friend, page } => self.page(&friend, page),
            NodeUpdate::Unsent { friend, text, .. } => {
                let draft = self.drafts.entry(friend).or_default();
                // What was written since is kept behind it.
                *draft = if draft.is_empty() { text } else { format!("{text}\n{draft}") };
            }
            other => return Some(other),
        }
        None
    }

    fn page(&mut self, friend: &str, page: Result<MessagePage, Error>) {
        let lines = self.lines_mut(friend);
        lines.loading = false;
        match page {
            Ok(page) => {
                lines.more = page.more;
                lines.trouble = None;
                lines.lines.extend(page.messages.into_iter().map(|message| (message.place, message)));
                while lines.lines.len() > MAX_LINES {
                    lines.lines.pop_last();
                }
            }
            Err(error) => lines.trouble = Some(error),
        }
    }

    /// The lines of a conversation to be shown; the one that was not looked at for longest is forgotten.
    pub fn lines_mut(&mut self, friend: &str) -> &mut Lines {
        if let Some(at) = self.open.iter().position(|(id, _)| id == friend) {
            let found = self.open.remove(at);
            self.open.push(found);
        } else {
            if self.open.len() >= MAX_OPEN {
                self.open.remove(0);
            }
            self.open.push((friend.to_owned(), Lines::default()));
        }
        let last = self.open.len() - 1;
        &mut self.open[last].1
    }

    /// The lines of a conversation, if they were asked for.
    #[must_use]
    pub fn lines(&self, friend: &str) -> Option<&Lines> {
        self.open.iter().find(|(id, _)| id == friend).map(|(_, lines)| lines)
    }

    /// A line is new, or has come further.
    pub fn line(&mut self, message: ChatMessage) {
        if let Some((_, lines)) = self.open.iter_mut().find(|(id, _)| *id == message.friend) {
            lines.lines.insert(message.place, message);
            while lines.lines.len() > MAX_LINES {
                lines.lines.pop_first();
                lines.more = true;
            }
        }
    }

    /// A conversation as a whole has changed.
    pub fn changed(&mut self, conversation: Conversation) {
        self.conversations.insert(conversation.friend.clone(), conversation);
    }

    /// A conversation is gone.
    pub fn removed(&mut self, friend: &str) {
        self.conversations.remove(friend);
        self.open.retain(|(id, _)| id != friend);
        self.drafts.remove(friend);
    }

    /// A conversation as a whole.
    #[must_use]
    pub fn conversation(&self, friend: &str) -> Option<&Conversation> {
        self.conversations.get(friend)
    }

    /// Lines of this friend that were not read.
    #[must_use]
    pub fn unread(&self, friend: &str) -> u32 {
        self.conversations.get(friend).map_or(0, |conversation| conversation.unread)
    }

    /// The lines of a friend are being read: not unread any more, before the node says so.
    pub fn seen(&mut self, friend: &str) {
        if let Some(whole) = self.conversations.get_mut(friend) {
            whole.unread = 0;
        }
    }

    /// Conversations with something unread.
    #[must_use]
    pub fn all_unread(&self) -> u32 {
        self.conversations.values().fold(0, |sum, one| sum.saturating_add(one.unread))
    }

    /// What stands under this line; nothing under the friend's.
    #[must_use]
    pub fn mark(&self, message: &ChatMessage) -> Option<Mark> {
        if message.direction == Direction::Incoming {
            return None;
        }
        let whole = self.conversations.get(&message.friend);
        let (delivered, read) = whole.map_or((0, 0), |whole| (whole.delivered_until, whole.read_until));
        Some(match message.state {
            MessageState::Read => Mark::Read,
            _ if message.place <= read => Mark::Read,
            MessageState::Delivered => Mark::Delivered,
            _ if message.place <= delivered => Mark::Delivered,
            MessageState::Waiting => Mark::Waiting,
        })
    }
}

/// A piece of a text: plain, or a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// To be read.
    Plain(&'a str),
    /// To be clicked.
    Link(&'a str),
}

/// Finds web addresses in a text: whole words that begin with `https://` or `http://`, without the full stop after
/// them. Nothing else is clickable, least of all what merely looks like an address.
#[must_use]
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut plain = 0;
    let mut from = 0;
    while let Some(found) = ["https://", "http://"].iter().filter_map(|s| text[from..].find(s)).min() {
        let begin = from + found;
        let length = text[begin..]
            .find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"'))
            .unwrap_or(text.len() - begin);
        let mut link = &text[begin..begin + length];
        link = link.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '…']);
        if link.ends_with(')') && !link.contains('(') {
            link = link.trim_end_matches(')');
        }
        let alone = text[..begin].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
        let rest = link.trim_start_matches("https://").trim_start_matches("http://");
        if alone && rest.len() > 2 {
            if plain < begin {
                pieces.push(Piece::Plain(&text[plain..begin]));
            }
            pieces.push(Piece::Link(link));
            plain = begin + link.len();
        }
        from = begin + length.max(1);
    }
    if plain < text.len() {
        pieces.push(Piece::Plain(&text[plain..]));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(place: u64, direction: Direction, state: MessageState) -> ChatMessage {
        ChatMessage {
            id: format!("{place:032x}"),
            friend: "f".into(),
            place,
            direction,
            text: format!("line {place}"),
            sent_ms: place,
            kept_ms: place,
            state,
            call: None,
            file: None,
        }
    }

    fn conversation(unread: u32, delivered_until: u64, read_until: u64) -> Conversation {
        Conversation {
            friend: "f".into(),
            friend_name: "F".into(),
            unread,
            waiting: 0,
            delivered_until,
            read_until,
            trouble: None,
            last: None,
        }
    }

    #[test]
    fn marks_follow_what_the_friend_has_and_has_read() {
        let mut chats = Chats::default();
        chats.changed(conversation(2, 5, 3));
        let mark = |place, state| chats.mark(&message(place, Direction::Outgoing, state));
        assert_eq!(mark(3, MessageState::Waiting), Some(Mark::Read));
        assert_eq!(mark(5, MessageState::Waiting), Some(Mark::Delivered));
        assert_eq!(mark(6, MessageState::Waiting), Some(Mark::Waiting));
        assert_eq!(mark(9, MessageState::Read), Some(Mark::Read));
        assert_eq!(chats.mark(&message(1, Direction::Incoming, MessageState::Delivered)), None);
        assert_eq!((chats.unread("f"), chats.unread("g"), chats.all_unread()), (2, 0, 2));
    }

    #[test]
    fn lines_come_in_pages_and_one_by_one_in_their_order() {
        let mut chats = Chats::default();
        chats.lines_mut("f").loading = true;
        let page = |places: &[u64], more| MessagePage {
            messages: places.iter().map(|p| message(*p, Direction::Incoming, MessageState::Read)).collect(),
            more,
        };
        assert!(chats.apply(NodeUpdate::Page { friend: "f".into(), page: Ok(page(&[4, 5], true)) }).is_none());
        chats.line(message(6, Direction::Outgoing, MessageState::Waiting));
        chats.apply(NodeUpdate::Page { friend: "f".into(), page: Ok(page(&[2, 3], false)) });
        let lines = chats.lines("f").unwrap();
        assert_eq!(lines.lines.keys().copied().collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        assert!(!lines.more && !lines.loading);
        // What is not looked at is not kept.
        chats.line(ChatMessage { friend: "other".into(), ..message(1, Direction::Incoming, MessageState::Read) });
        assert!(chats.lines("other").is_none());
        for n in 0..2 * MAX_OPEN {
            chats.lines_mut(&n.to_string());
        }
        assert!(chats.lines("f").is_none());
        chats.removed("15");
        assert!(chats.lines("15").is_none());
    }

    #[test]
    fn a_message_that_cannot_be_sent_goes_back_into_the_field() {
        let mut chats = Chats::default();
        let error = Error::new(twocan_control::Code::NoNode, "no");
        let unsent = |text: &str| NodeUpdate::Unsent { friend: "f".into(), text: text.into(), error: error.clone() };
        chats.apply(unsent("hello"));
        assert_eq!(chats.drafts["f"], "hello");
        chats.apply(unsent("before"));
        assert_eq!(chats.drafts["f"], "before\nhello");
    }

    #[test]
    fn links_are_found_and_nothing_else() {
        use Piece::{Link, Plain};
        assert_eq!(
            pieces("see https://example.org/a(b), or (http://x.de)."),
            [Plain("see "), Link("https://example.org/a(b)"), Plain(", or ("), Link("http://x.de"), Plain(").")]
        );
        for text in ["", "javascript:alert(1)", "https://", "file:///etc/passwd", "xhttps://no.no", "www.example.org"] {
            assert!(pieces(text).iter().all(|piece| matches!(piece, Plain(_))), "{text}");
        }
        assert_eq!(pieces("https://ä.de"), [Link("https://ä.de")]);
    }
}
