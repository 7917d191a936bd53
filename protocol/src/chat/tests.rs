//! Two sides of a conversation over a link that breaks, with disks that are slow and nodes that are killed.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};

use super::*;
use crate::identity::RootKey;
use crate::testing::Clock;
use crate::wire::{ChatMessage, Mark, Text};

fn people() -> [RootPublic; 2] {
    [1, 2].map(|n| RootKey::from_secret(&[n; 32]).public())
}

fn prose(text: &str) -> Prose<{ wire::MAX_TEXT }> {
    Prose::clean(text).unwrap()
}

/// What lies on a disk.
#[derive(Clone, Default)]
struct Disk {
    chat: Option<ChatRecord>,
    lines: BTreeMap<u64, LineRecord>,
}

/// A write on its way to the disk.
enum Write {
    Store(ChatRecord, Option<Box<LineRecord>>),
    Forget(Vec<u64>),
}

struct Side {
    chats: Chats,
    disk: Disk,
    writes: VecDeque<Write>,
    sent: Vec<ChatMessage>,
    shown: Vec<LineRecord>,
    refused: Vec<Refusal>,
}

struct World {
    now: Instant,
    ms: u64,
    sides: [Side; 2],
    /// Messages on their way from side 0 and from side 1, over the present connection.
    wire: [VecDeque<ChatMessage>; 2],
    up: bool,
}

impl World {
    fn new() -> Self {
        let side = || Side {
            chats: Chats::new(true, vec![], vec![]),
            disk: Disk::default(),
            writes: VecDeque::new(),
            sent: vec![],
            shown: vec![],
            refused: vec![],
        };
        let wire = [VecDeque::new(), VecDeque::new()];
        Self { now: Clock::new().now, ms: 1_800_000_000_000, sides: [side(), side()], wire, up: false }
    }

    fn input(&mut self, at: usize, input: Input) {
        let outputs = self.sides[at].chats.handle(self.now, self.ms, input);
        self.outputs(at, outputs);
    }

    fn outputs(&mut self, at: usize, outputs: Vec<Output>) {
        for output in outputs {
            let side = &mut self.sides[at];
            match output {
                Output::Send(_, message) => {
                    side.sent.push(message.clone());
                    if self.up {
                        self.wire[at].push_back(message);
                    }
                }
                Output::Store(record, line) => side.writes.push_back(Write::Store(record, line.map(Box::new))),
                Output::Forget(_, places) => side.writes.push_back(Write::Forget(places)),
                Output::Line(line) => side.shown.push(line),
                Output::Refused(refusal) => side.refused.push(refusal),
                Output::ForgetChat(_) | Output::Changed(_) | Output::Deleted(_) => {}
            }
        }
    }

    /// The next write of a side reaches the disk.
    fn write(&mut self, at: usize) {
        let friend = people()[1 - at];
        match self.sides[at].writes.pop_front() {
            Some(Write::Store(record, line)) => {
                let place = line.as_ref().map(|line| line.place);
                let disk = &mut self.sides[at].disk;
                disk.chat = Some(record);
                disk.lines.extend(line.map(|line| (line.place, *line)));
                if let Some(place) = place {
                    self.input(at, Input::Kept(friend, place));
                }
            }
            Some(Write::Forget(places)) => {
                for place in places {
                    self.sides[at].disk.lines.remove(&place);
                }
            }
            None => {}
        }
    }

    fn deliver(&mut self, from: usize) {
        if let Some(message) = self.wire[from].pop_front() {
            self.input(1 - from, Input::Received(people()[from], message));
        }
    }

    fn connect(&mut self) {
        self.up = true;
        self.wire = [VecDeque::new(), VecDeque::new()];
        for at in 0..2 {
            self.input(at, Input::LinkUp(people()[1 - at]));
        }
    }

    fn break_link(&mut self) {
        self.up = false;
        self.wire = [VecDeque::new(), VecDeque::new()];
        for at in 0..2 {
            self.input(at, Input::LinkDown(people()[1 - at]));
        }
    }

    /// Kill -9: what is not on the disk is gone.
    fn kill(&mut self, at: usize) {
        self.break_link();
        let side = &mut self.sides[at];
        side.writes.clear();
        let lines = side.disk.lines.values().cloned().collect();
        side.chats = Chats::new(true, side.disk.chat.clone().into_iter().collect(), lines);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.ms += u64::try_from(time.as_millis()).unwrap();
        for at in 0..2 {
            if self.sides[at].chats.poll_timeout().is_some_and(|due| due <= self.now) {
                let outputs = self.sides[at].chats.handle_timeout(self.now);
                self.outputs(at, outputs);
            }
        }
    }

    /// Everything that can happen by itself happens.
    fn settle(&mut self) {
        for _ in 0..20_000 {
            let busy = (0..2).any(|at| !self.sides[at].writes.is_empty() || !self.wire[at].is_empty());
            let due = (0..2).any(|at| self.sides[at].chats.poll_timeout().is_some());
            if !busy && !due {
                return;
            }
            for at in 0..2 {
                self.write(at);
                self.deliver(at);
            }
            self.pass(Duration::from_millis(10));
        }
        panic!("it does not come to rest");
    }

    fn send(&mut self, at: usize, n: u64, text: &str) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let input = Input::Send { friend: people()[1 - at], id: Id(id), text: prose(text), call: None };
        self.input(at, input);
    }

    fn texts(&self, at: usize, mine: bool) -> Vec<String> {
        let lines = self.sides[at].disk.lines.values().filter(|line| line.mine == mine);
        lines.map(|line| line.text.clone()).collect()
    }

    fn view(&self, at: usize) -> View {
        self.sides[at].chats.view(&people()[1 - at])
    }
}

#[test]
fn what_is_written_to_somebody_who_is_away_is_delivered_in_order_and_marked() {
    let mut world = World::new();
    for n in 0..20 {
        world.send(0, n, &format!("message {n}"));
    }
    world.settle();
    assert_eq!(world.view(0).waiting, 20);
    world.connect();
    world.settle();
    assert_eq!(world.texts(1, false), world.texts(0, true));
    assert_eq!((world.view(0).waiting, world.view(0).delivered_until, world.view(0).read_until), (0, 20, 0));
    assert_eq!(world.view(1).unread, 20);
    world.input(1, Input::Read(people()[0], Some(7)));
    world.settle();
    assert_eq!((world.view(1).unread, world.view(0).read_until), (13, 7));
    world.input(1, Input::Read(people()[0], None));
    world.settle();
    assert_eq!((world.view(1).unread, world.view(0).read_until), (0, 20));
}

#[test]
fn read_marks_can_be_switched_off() {
    let mut world = World::new();
    world.connect();
    world.input(1, Input::ReadMarks(false));
    world.send(0, 1, "hello");
    world.settle();
    world.input(1, Input::Read(people()[0], None));
    world.settle();
    assert_eq!((world.view(1).unread, world.view(0).read_until, world.view(0).delivered_until), (0, 0, 1));
}

#[test]
fn nothing_leaves_and_nothing_is_acknowledged_before_it_is_on_the_disk() {
    let mut world = World::new();
    world.connect();
    world.send(0, 1, "hello");
    assert!(world.sides[0].sent.is_empty());
    world.write(0);
    assert!(matches!(world.sides[0].sent.as_slice(), [ChatMessage::Text(_)]));
    world.deliver(0);
    assert!(world.sides[1].sent.is_empty());
    world.write(1);
    assert!(matches!(world.sides[1].sent.as_slice(), [ChatMessage::Got(Mark { number: 1, .. })]));
}

#[test]
fn a_full_queue_refuses_and_loses_nothing() {
    let mut world = World::new();
    for n in 0..=MAX_WAITING as u64 {
        world.send(0, n, "x");
    }
    assert_eq!(world.sides[0].refused, [Refusal::Full]);
    world.connect();
    world.settle();
    assert_eq!(world.texts(1, false).len(), MAX_WAITING);
    world.send(0, 1000, " \n ");
    assert_eq!(world.sides[0].refused.last(), Some(&Refusal::Empty));
}

#[test]
fn a_flood_is_slowed_down_and_loses_nothing() {
    let mut world = World::new();
    world.connect();
    let mut n = 0;
    for _ in 0..5 {
        for _ in 0..150 {
            world.send(0, n, &format!("{n}"));
            n += 1;
        }
        world.settle();
    }
    assert_eq!(world.texts(1, false), (0..n).map(|n| n.to_string()).collect::<Vec<_>>());
    let waits = world.sides[1].sent.iter().filter(|message| matches!(message, ChatMessage::Wait { .. })).count();
    assert!(waits > 0, "the friend was never told to wait");
    // One that does not listen is told once, and not heard.
    let before = world.texts(1, false).len();
    world.sides[1].sent.clear();
    for number in 10_000..11_000 {
        let text = Text { line: 9, number, id: Id([9; 16]), sent: 1, text: prose("spam"), call: None };
        world.input(1, Input::Received(people()[0], ChatMessage::Text(text)));
    }
    while !world.sides[1].writes.is_empty() {
        world.write(1);
    }
    let waits = world.sides[1].sent.iter().filter(|message| matches!(message, ChatMessage::Wait { .. })).count();
    assert!(world.texts(1, false).len() - before <= 220 && waits == 1, "{waits} waits");
}

#[test]
fn a_conversation_that_is_deleted_stays_away_and_goes_on() {
    let mut world = World::new();
    world.connect();
    world.send(0, 1, "one");
    world.settle();
    world.input(1, Input::Delete(people()[0]));
    world.settle();
    assert!(world.texts(1, false).is_empty() && world.sides[1].chats.friends().next().is_none());
    world.kill(1);
    world.connect();
    world.settle();
    assert!(world.texts(1, false).is_empty(), "an old message came back");
    world.send(0, 2, "two");
    world.settle();
    assert_eq!(world.texts(1, false), ["two"]);
    assert_eq!(world.view(1).unread, 1);
}

#[test]
fn a_friend_who_lost_the_store_is_heard_again() {
    let mut world = World::new();
    world.connect();
    world.send(0, 1, "before");
    world.settle();
    world.sides[0].disk = Disk::default();
    world.kill(0);
    world.pass(Duration::from_secs(5));
    world.connect();
    world.send(0, 2, "after");
    world.settle();
    assert_eq!(world.texts(1, false), ["before", "after"]);
    assert_eq!(world.view(0).waiting, 0);
}

#[test]
fn an_old_node_is_not_asked_again_and_again() {
    let mut world = World::new();
    world.connect();
    world.send(0, 1, "hello");
    world.write(0);
    world.input(0, Input::Unsupported(people()[1]));
    world.sides[0].sent.clear();
    world.send(0, 2, "hello?");
    world.write(0);
    assert!(world.sides[0].sent.is_empty() && world.view(0).unsupported);
    world.break_link();
    world.connect();
    world.settle();
    assert_eq!(world.texts(1, false), ["hello", "hello?"], "the friend has a newer node now");
}

#[test]
fn the_oldest_lines_go_when_a_conversation_is_too_large_and_what_waits_stays() {
    let mut world = World::new();
    let long = "y".repeat(16_000);
    world.send(0, 0, "first, and it waits");
    world.settle();
    for n in 0..140 {
        let text = Text { line: 7, number: n + 1, id: Id([3; 16]), sent: 1, text: prose(&long), call: None };
        world.pass(Duration::from_secs(2));
        world.input(0, Input::Received(people()[1], ChatMessage::Text(text)));
        world.settle();
    }
    // The first line waits, and everything behind it stays with it.
    assert_eq!(world.texts(0, true), ["first, and it waits"]);
    world.connect();
    world.settle();
    let text = Text { line: 7, number: 200, id: Id([3; 16]), sent: 1, text: prose(&long), call: None };
    world.input(0, Input::Received(people()[1], ChatMessage::Text(text)));
    world.settle();
    let bytes: usize = world.sides[0].disk.lines.values().map(LineRecord::size).sum();
    assert!(bytes <= MAX_BYTES && world.texts(0, true).is_empty(), "{bytes}");
    assert_eq!(world.sides[0].chats.places(&people()[1], None, 3).0.len(), 3);
}

#[test]
fn pages_follow_each_other() {
    let mut world = World::new();
    for n in 0..25 {
        world.send(0, n, "x");
    }
    let chats = &world.sides[0].chats;
    let friend = people()[1];
    let (last, more) = chats.places(&friend, None, 10);
    assert_eq!((last, more), ((16..=25).collect(), true));
    let (first, more) = chats.places(&friend, Some(6), 10);
    assert_eq!((first, more), ((1..=5).collect(), false));
    assert_eq!(chats.places(&people()[0], None, 10), (vec![], false));
}

#[test]
fn whatever_breaks_each_message_that_was_kept_arrives_once_and_in_order() {
    for seed in 0..300 {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new();
        let mut n = 0;
        for _ in 0..400 {
            let at = rng.random_range(0..2);
            match rng.random_range(0..100) {
                0..20 => {
                    world.send(at, n, &format!("{n}"));
                    n += 1;
                }
                20..50 => world.write(at),
                50..85 => world.deliver(at),
                85..90 => world.connect(),
                90..93 => world.break_link(),
                93..95 => world.kill(at),
                95..97 => world.input(at, Input::Read(people()[1 - at], None)),
                _ => world.pass(Duration::from_millis(rng.random_range(1..3000))),
            }
        }
        world.connect();
        world.settle();
        for at in 0..2 {
            assert_eq!(world.texts(1 - at, false), world.texts(at, true), "seed {seed}");
            assert_eq!(world.view(at).waiting, 0, "seed {seed}");
        }
        // Marks agree in the end.
        for at in 0..2 {
            world.input(at, Input::Read(people()[1 - at], None));
        }
        world.settle();
        for at in 0..2 {
            let last = world.sides[at].disk.lines.values().rev().find(|line| line.mine).map_or(0, |line| line.place);
            assert!(world.view(at).read_until >= last, "seed {seed}");
            assert_eq!(world.view(at).unread, 0, "seed {seed}");
        }
    }
}
