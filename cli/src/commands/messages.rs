//! Messages: send one, read conversations, follow them.

use std::io::Read;
use std::pin::pin;

use futures::StreamExt;
use twocan_control::{
    ChatMessage, Conversation, Direction, Event, Handle, MarkRead, MessageState, PageRequest, SendMessage, limits,
};

use crate::args::Messages;
use crate::exit::{Exit, Failure};
use crate::format::clean_line;
use crate::format::time::utc;
use crate::output::{Out, reader_gone};

/// Sends a text, or what stands on standard input.
pub async fn message<H: Handle>(node: &H, who: &str, text: Option<String>, out: &mut Out) -> Result<Exit, Failure> {
    let text = match text.as_deref() {
        Some("-") | None => from_input()?,
        Some(text) => text.to_owned(),
    };
    let sent = node.send_message(who, SendMessage { text }).await?;
    let online = node.friend(&sent.friend).await.is_ok_and(|friend| friend.online);
    out.show(&sent, |_| match online {
        true => "Sent.\n".to_owned(),
        false => "Kept; it is delivered when your friend is next online.\n".to_owned(),
    })?;
    Ok(Exit::Ok)
}

fn from_input() -> Result<String, Failure> {
    let mut text = String::new();
    // One byte more than fits tells that it is too long.
    std::io::stdin().lock().take(limits::MAX_MESSAGE as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// Shows all conversations, or one; marks what is shown as read; follows.
pub async fn messages<H: Handle>(node: &H, args: &Messages, out: &mut Out) -> Result<Exit, Failure> {
    let mut events = if args.follow { Some(node.events().await?) } else { None };
    let friend = match &args.who {
        None => {
            let conversations = node.conversations().await?;
            if !args.follow {
                out.show(&conversations, |all| list(all))?;
            }
            None
        }
        Some(who) => {
            let friend = node.friend(who).await?;
            let page = PageRequest { before: args.before, limit: Some(args.limit) };
            let page = node.messages(&friend.id, page).await?;
            if let Some(last) = page.messages.last().filter(|_| !args.keep_unread) {
                node.mark_read(&friend.id, MarkRead { until: Some(last.place) }).await?;
            }
            if args.follow && out.json() {
                page.messages.iter().try_for_each(|line| out.json_line(line))?;
            } else {
                out.show(&page, |page| page.messages.iter().map(|line| one(line, &friend.name)).collect())?;
            }
            Some(friend)
        }
    };
    let Some(events) = &mut events else { return Ok(Exit::Ok) };
    let mut gone = pin!(reader_gone());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = &mut gone => return Ok(Exit::Ok),
        };
        match event {
            Some(Event::Message { message }) if friend.as_ref().is_none_or(|friend| friend.id == message.friend) => {
                if out.json() {
                    out.json_line(&message)?;
                } else {
                    let name = match &friend {
                        Some(friend) => friend.name.clone(),
                        None => node.friend(&message.friend).await.map_or_else(|_| "?".to_owned(), |found| found.name),
                    };
                    out.text(&one(&message, &name))?;
                }
                if message.direction == Direction::Incoming && !args.keep_unread {
                    node.mark_read(&message.friend, MarkRead { until: Some(message.place) }).await?;
                }
            }
            Some(Event::Stopping) => return Ok(Exit::Ok),
            Some(_) => {}
            None => return Err(Failure::new(Exit::NoNode, "the node went away")),
        }
    }
}

fn list(conversations: &[Conversation]) -> String {
    if conversations.is_empty() {
        return "No messages. `twocan message NAME TEXT` sends one.\n".to_owned();
    }
    let line = |chat: &Conversation| {
        let mut notes = Vec::new();
        if chat.unread > 0 {
            notes.push(format!("{} unread", chat.unread));
        }
        if chat.waiting > 0 {
            notes.push(format!("{} waiting", chat.waiting));
        }
        notes.extend(chat.trouble.clone());
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        let last = chat.last.as_ref().map(what).unwrap_or_default();
        let last: String = last.lines().next().unwrap_or_default().chars().take(60).collect();
        format!("{}{notes}: {}\n", clean_line(&chat.friend_name), isolated(&last))
    };
    conversations.iter().map(line).collect()
}

/// A line of a conversation, with its time and its mark.
fn one(line: &ChatMessage, friend: &str) -> String {
    let (who, mark) = match (line.direction, line.state) {
        (Direction::Incoming, _) => (clean_line(friend), ""),
        (Direction::Outgoing, MessageState::Waiting) => ("me".to_owned(), " [waiting]"),
        (Direction::Outgoing, MessageState::Delivered) => ("me".to_owned(), " [delivered]"),
        (Direction::Outgoing, MessageState::Read) => ("me".to_owned(), " [read]"),
    };
    let time = utc(line.sent_ms);
    let text: Vec<String> = what(line).lines().map(isolated).collect();
    format!("{} {who}: {}{mark}\n", time.get(..16).unwrap_or_default(), text.join("\n    "))
}

fn what(line: &ChatMessage) -> String {
    match &line.file {
        Some(file) => {
            format!("[file {}, {} bytes, {}]", clean_line(&file.name), file.size, &file.id[..8.min(file.id.len())])
        }
        None => line.text.clone(),
    }
}

/// What somebody else wrote cannot turn the rest of the line: it stands between U+2068 and U+2069, and nothing in it steers
/// the terminal.
fn isolated(text: &str) -> String {
    let plain = |c: &char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String = text.chars().filter(plain).collect();
    if text.is_ascii() { text } else { format!("\u{2068}{text}\u{2069}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_friend_writes_neither_steers_nor_turns() {
        assert_eq!(isolated("plain"), "plain");
        assert_eq!(isolated("a\u{1b}[2Jb"), "a[2Jb");
        assert_eq!(isolated("שלום\u{202e}"), "\u{2068}שלום\u{2069}");
    }
}
