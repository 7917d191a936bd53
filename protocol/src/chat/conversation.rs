//! One conversation: its lines by place, what waits to be delivered, and how far the other side has come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::flow::Flow;
use super::{ChatRecord, FileNote, LineRecord, MAX_WAITING, MAX_WAITING_BYTES, Output, Refusal, View};
use crate::wire::{CallId, ChatMessage, Id, MAX_TEXT, Mark, Prose, Text};

/// Messages that are sent before the first of them is acknowledged: a few round trips for a full queue, and never so
/// much that a call's words have to wait behind it.
const WINDOW: usize = 4;
/// Bytes of them, but one message in any case.
const WINDOW_BYTES: usize = 24 * 1024;
/// Longest that the friend's node can make us wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is known of a line without its text.
#[derive(Clone, Copy, Debug)]
struct Line {
    place: u64,
    number: u64,
    size: usize,
    mine: bool,
}

/// A message of mine that the friend's node does not have.
#[derive(Clone, Debug)]
struct Waiting {
    place: u64,
    text: Text,
}

#[derive(Clone, Debug)]
pub(super) struct Conversation {
    record: ChatRecord,
    lines: VecDeque<Line>,
    bytes: usize,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// All up to this place is on the disk.
    kept: u64,
    /// Numbers of the friend's that came and are not acknowledged, with the place that must be on the disk first.
    unanswered: VecDeque<(u64, u64)>,
    /// The last number that was acknowledged, or could be.
    answerable: u64,
    /// What the friend was told to be read, over the present connection.
    told: u64,
    up: bool,
    unsupported: bool,
    /// So many of `waiting` were sent over the present connection.
    in_flight: usize,
    /// The friend's node wants us to wait.
    resume: Option<Instant>,
    flow: Flow,
    /// The friend was told to wait until then.
    closed: Option<Instant>,
}

impl Conversation {
    pub(super) fn new(record: ChatRecord) -> Self {
        Self {
            kept: record.next_place.saturating_sub(1),
            answerable: record.applied,
            record,
            lines: VecDeque::new(),
            bytes: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            unanswered: VecDeque::new(),
            told: 0,
            up: false,
            unsupported: false,
            in_flight: 0,
            resume: None,
            flow: Flow::default(),
            closed: None,
        }
    }

    /// Takes a line that was kept. They come in the order of their places.
    pub(super) fn load(&mut self, line: LineRecord) {
        self.record.next_place = self.record.next_place.max(line.place.saturating_add(1));
        self.kept = self.record.next_place - 1;
        self.append(&line);
        if line.mine && line.number > self.record.delivered {
            self.record.next_number = self.record.next_number.max(line.number.saturating_add(1));
            self.wait(line.place, self.text_of(&line));
        }
    }

    fn text_of(&self, line: &LineRecord) -> Text {
        Text {
            line: self.record.line,
            number: line.number,
            id: line.id,
            sent: line.sent_ms,
            text: Prose::clean(&line.text).unwrap_or_default(),
            call: line.call,
        }
    }

    fn wait(&mut self, place: u64, text: Text) {
        self.waiting_bytes += text.text.as_str().len();
        self.waiting.push_back(Waiting { place, text });
    }

    fn append(&mut self, line: &LineRecord) {
        let size = line.size();
        self.bytes += size;
        self.lines.push_back(Line { place: line.place, number: line.number, size, mine: line.mine });
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn view(&self) -> View {
        let seen = self.record.seen_place;
        let unread = self.lines.iter().rev().take_while(|line| line.place > seen).filter(|line| !line.mine).count();
        View {
            unread,
            waiting: self.waiting.len(),
            delivered_until: self.record.delivered_place,
            read_until: self.record.read_place,
            seen_until: seen,
            last: self.lines.back().map_or(0, |line| line.place),
            unsupported: self.unsupported,
        }
    }

    pub(super) fn places(&self, before: Option<u64>, limit: usize) -> (Vec<u64>, bool) {
        let end = before.map_or(self.lines.len(), |before| self.lines.partition_point(|line| line.place < before));
        let begin = end.saturating_sub(limit);
        (self.lines.range(begin..end).map(|line| line.place).collect(), begin > 0)
    }

    /// Adds a line and has it kept.
    fn add(&mut self, unix_ms: u64, make: impl FnOnce(u64) -> LineRecord, out: &mut Vec<Output>) -> LineRecord {
        let place = self.record.next_place;
        self.record.next_place += 1;
        let line = LineRecord { kept_ms: unix_ms, ..make(place) };
        self.append(&line);
        out.push(Output::Store(self.record.clone(), Some(line.clone())));
        out.push(Output::Line(line.clone()));
        line
    }

    pub(super) fn send(
        &mut self,
        unix_ms: u64,
        id: Id,
        text: Prose<MAX_TEXT>,
        call: Option<CallId>,
        out: &mut Vec<Output>,
    ) {
        if self.waiting.len() >= MAX_WAITING || self.waiting_bytes + text.as_str().len() > MAX_WAITING_BYTES {
            out.push(Output::Refused(Refusal::Full));
            return;
        }
        let (friend, number) = (self.record.friend, self.record.next_number);
        self.record.next_number += 1;
        let line = |place| LineRecord {
            friend,
            place,
            id,
            mine: true,
            number,
            text: text.into(),
            sent_ms: unix_ms,
            kept_ms: unix_ms,
            call,
            file: None,
        };
        let line = self.add(unix_ms, line, out);
        self.wait(line.place, self.text_of(&line));
        out.push(Output::Changed(friend));
    }

    pub(super) fn note(&mut self, unix_ms: u64, mine: bool, id: Id, file: FileNote, out: &mut Vec<Output>) {
        let friend = self.record.friend;
        let line = |place| LineRecord {
            friend,
            place,
            id,
            mine,
            number: 0,
            text: String::new(),
            sent_ms: unix_ms,
            kept_ms: unix_ms,
            call: None,
            file: Some(file),
        };
        self.add(unix_ms, line, out);
        out.push(Output::Changed(friend));
    }

    pub(super) fn kept(&mut self, place: u64, tell: bool, out: &mut Vec<Output>) {
        self.kept = self.kept.max(place);
        let mut answer = None;
        while let Some((number, _)) = self.unanswered.pop_front_if(|(_, needs)| *needs <= self.kept) {
            answer = Some(number);
        }
        if let Some(number) = answer {
            self.answerable = number;
            self.answer(out);
            self.tell_seen(tell, out);
        }
        self.pump(out);
    }

    fn answer(&self, out: &mut Vec<Output>) {
        let mark = Mark { line: self.record.their_line, number: self.answerable };
        out.push(Output::Send(self.record.friend, ChatMessage::Got(mark)));
    }

    /// Sends what may be sent.
    fn pump(&mut self, out: &mut Vec<Output>) {
        if !self.up || self.unsupported || self.resume.is_some() {
            return;
        }
        let size = |waiting: &Waiting| waiting.text.text.as_str().len();
        let mut flying: usize = self.waiting.iter().take(self.in_flight).map(size).sum();
        while let Some(next) = self.waiting.get(self.in_flight).filter(|next| next.place <= self.kept) {
            flying += size(next);
            if self.in_flight >= WINDOW || (self.in_flight > 0 && flying > WINDOW_BYTES) {
                return;
            }
            out.push(Output::Send(self.record.friend, ChatMessage::Text(next.text.clone())));
            self.in_flight += 1;
        }
    }

    pub(super) fn set_up(&mut self) {
        self.up = true;
    }

    pub(super) fn link_up(&mut self, tell: bool, out: &mut Vec<Output>) {
        self.up = true;
        self.in_flight = 0;
        self.resume = None;
        self.closed = None;
        if std::mem::take(&mut self.unsupported) {
            out.push(Output::Changed(self.record.friend));
        }
        self.told = 0;
        self.tell_seen(tell, out);
        self.pump(out);
    }

    pub(super) fn link_down(&mut self) {
        self.up = false;
        self.in_flight = 0;
        self.resume = None;
    }

    pub(super) fn unsupported(&mut self, out: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.unsupported, true) {
            out.push(Output::Changed(self.record.friend));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.resume
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.resume.is_some_and(|at| at <= now) {
            self.resume = None;
            self.pump(out);
        }
    }

    pub(super) fn received(&mut self, now: Instant, unix_ms: u64, message: ChatMessage, out: &mut Vec<Output>) {
        match message {
            ChatMessage::Text(text) => self.text(now, unix_ms, text, out),
            ChatMessage::Got(mark) if mark.line == self.record.line => self.got(mark.number, out),
            ChatMessage::Wait { mark, ms } if mark.line == self.record.line => {
                self.in_flight = 0;
                let wait = Duration::from_millis(ms.into()).clamp(Duration::from_millis(50), LONGEST_WAIT);
                self.resume = Some(now + wait);
            }
            ChatMessage::Read(mark) if mark.line == self.record.line => self.was_read(mark.number, out),
            // About a line that is none of ours any more.
            ChatMessage::Got(_) | ChatMessage::Wait { .. } | ChatMessage::Read(_) => {}
        }
    }

    fn text(&mut self, now: Instant, unix_ms: u64, text: Text, out: &mut Vec<Output>) {
        if text.number == 0 || text.number == u64::MAX || text.line == 0 {
            return;
        }
        let same = text.line == self.record.their_line;
        if same && text.number <= self.record.applied {
            // It came before. What is not on the disk yet is acknowledged when it is.
            if text.number <= self.answerable {
                self.answer(out);
            }
            return;
        }
        if self.closed.is_some_and(|until| now < until) {
            return;
        }
        self.closed = None;
        if let Err(wait) = self.flow.take(now, text.text.as_str().len()) {
            self.closed = Some(now + wait);
            let number = if same { self.record.applied } else { text.number - 1 };
            let ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
            let message = ChatMessage::Wait { mark: Mark { line: text.line, number }, ms };
            out.push(Output::Send(self.record.friend, message));
            return;
        }
        if !same {
            self.record.their_line = text.line;
            self.record.seen = 0;
            self.unanswered.clear();
            self.answerable = 0;
            self.told = 0;
        }
        self.record.applied = text.number;
        let friend = self.record.friend;
        // Something must be written before it is acknowledged, even where nothing is left to be shown.
        let line = |place| LineRecord {
            friend,
            place,
            id: text.id,
            mine: false,
            number: text.number,
            text: text.text.into(),
            // A clock that is ahead must not put a line into the future.
            sent_ms: text.sent.min(unix_ms),
            kept_ms: unix_ms,
            call: text.call,
            file: None,
        };
        let line = self.add(unix_ms, line, out);
        self.unanswered.push_back((line.number, line.place));
        out.push(Output::Changed(friend));
    }

    fn got(&mut self, number: u64, out: &mut Vec<Output>) {
        if number >= self.record.next_number || number <= self.record.delivered {
            return;
        }
        while let Some(gone) = self.waiting.pop_front_if(|waiting| waiting.text.number <= number) {
            self.waiting_bytes -= gone.text.text.as_str().len();
            self.in_flight = self.in_flight.saturating_sub(1);
            self.record.delivered_place = gone.place;
        }
        self.record.delivered = number;
        out.push(Output::Store(self.record.clone(), None));
        out.push(Output::Changed(self.record.friend));
        self.pump(out);
    }

    fn was_read(&mut self, number: u64, out: &mut Vec<Output>) {
        let read = |line: &&Line| line.mine && line.number != 0 && line.number <= number;
        let place = self.lines.iter().rev().find(read).map_or(0, |line| line.place);
        // What was read was delivered.
        self.got(number.min(self.record.next_number - 1), out);
        if place > self.record.read_place {
            self.record.read_place = place;
            out.push(Output::Store(self.record.clone(), None));
            out.push(Output::Changed(self.record.friend));
        }
    }

    pub(super) fn read(&mut self, until: Option<u64>, tell: bool, out: &mut Vec<Output>) {
        let last = self.record.next_place - 1;
        let until = until.map_or(last, |until| until.min(last));
        if until <= self.record.seen_place {
            return;
        }
        self.record.seen_place = until;
        let theirs = |line: &&Line| !line.mine && line.number != 0 && line.place <= until;
        // Numbers of another line of the friend's, from before it lost its store, are greater or smaller by chance.
        let number = self.lines.iter().rev().find(theirs).map_or(0, |line| line.number).min(self.record.applied);
        self.record.seen = self.record.seen.max(number);
        out.push(Output::Store(self.record.clone(), None));
        out.push(Output::Changed(self.record.friend));
        self.tell_seen(tell, out);
    }

    /// Tells what was read, as far as it is on the disk: who has read a message has it.
    fn tell_seen(&mut self, tell: bool, out: &mut Vec<Output>) {
        let number = self.record.seen.min(self.answerable);
        if tell && self.up && number > self.told {
            self.told = number;
            let mark = Mark { line: self.record.their_line, number };
            out.push(Output::Send(self.record.friend, ChatMessage::Read(mark)));
        }
    }

    pub(super) fn delete(&mut self, out: &mut Vec<Output>) {
        let places = self.lines.drain(..).map(|line| line.place).collect();
        self.bytes = 0;
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.in_flight = 0;
        self.record.seen_place = self.record.next_place - 1;
        out.push(Output::Forget(self.record.friend, places));
        out.push(Output::Store(self.record.clone(), None));
        out.push(Output::Deleted(self.record.friend));
    }

    /// Forgets the oldest lines until the rest is within the bounds; whether any was forgotten. What waits stays.
    pub(super) fn trim(&mut self, lines: usize, bytes: usize, out: &mut Vec<Output>) -> bool {
        let waits = self.waiting.front().map_or(u64::MAX, |waiting| waiting.place);
        let mut places = Vec::new();
        while self.lines.len() > lines || self.bytes > bytes {
            let Some(gone) = self.lines.pop_front_if(|line| line.place < waits) else { break };
            self.bytes -= gone.size;
            places.push(gone.place);
        }
        let any = !places.is_empty();
        if any {
            out.push(Output::Forget(self.record.friend, places));
        }
        any
    }
}
