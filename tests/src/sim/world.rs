//! The people and the nodes of one simulated network, and what they do: the driver of the node's own rules.

use std::collections::HashMap;
use std::rc::Rc;

use rand::RngExt;
use twocan_node::dht::{Key, Lookup, Node as Known, Patience, Step};

use super::hostile::{EVERY, Hostile, Trick, near};
use super::net::{Answer, Ask, Event, HOUR, Id, MILLI, MINUTE, Net, Rec, SECOND, Tag, Time};
use super::person::{By, Person};
use super::put::Job;
use super::table::Insert;
use super::tries::{Tally, Try};

/// Nodes that a newcomer dials: a real one remembers 32, and dials eight at a time until it knows somebody.
const KNOWN: usize = 8;
/// How long a person's node is away between two runs.
const AWAY: Time = 20 * SECOND;
/// How soon a small table is looked after, as in the crate.
const REFRESH_SOON: Time = 500 * MILLI;
/// How often a node looks after its table, as in the node.
const REFRESH: Time = HOUR;
/// A table with fewer nodes is looked after whenever a node comes in, as in the crate.
const LOW: usize = 20;
/// The wall clock is looked at so often for the turn of epochs, as in the node.
const LOOK: Time = MINUTE;
/// Time limits of a lookup for a record and of one for the nearest nodes, as in the node.
const LIMITS: (Time, Time) = (10 * SECOND, 6 * SECOND);

/// Who joins.
#[derive(Clone, Copy)]
pub(super) struct Newcomer {
    /// Whose node it is.
    pub(super) person: Option<usize>,
    /// How it lies.
    pub(super) trick: Option<Trick>,
    /// Where, if that is chosen.
    pub(super) place: Option<Id>,
}

/// What a lookup is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To look after the routing table.
    Refresh,
    /// To find the nearest nodes for a put.
    Search(u64),
    /// To read back what was put.
    Read(u64),
    /// To see whether it is still there.
    Check(u64),
    /// For a place of a search.
    Look(u64, usize),
}

/// A lookup under way.
pub(super) struct Op {
    pub(super) node: Id,
    pub(super) kind: Kind,
    key: [u8; 32],
    lookup: Lookup<Id>,
    depth: HashMap<Id, u32>,
    until: Time,
    wake: Time,
    pub(super) traffic: (u64, u64),
}

/// A network with people in it.
pub(super) struct World {
    /// Places, nodes and time.
    pub(super) net: Net,
    /// What hostile nodes share.
    pub(super) hostile: Hostile,
    /// Everybody.
    pub(super) persons: Vec<Person>,
    pub(super) ops: HashMap<u64, Op>,
    pub(super) jobs: HashMap<u64, Job>,
    pub(super) tries: HashMap<u64, Try>,
    /// Results of tries, by experiment.
    pub(super) tallies: Vec<Tally>,
    /// Tries that did not count, since somebody left in the middle.
    pub(super) void: usize,
    /// Requests, bytes, holders and time of each put.
    pub(super) puts: Vec<(u64, u64, u32, Time)>,
    /// Who is looked for, and how, in the tries to come.
    pub(super) wanted: Vec<(usize, By, Option<usize>)>,
    pub(super) next: u64,
    churn: f64,
}

impl World {
    /// A network of `nodes` nodes that join one after the other in the first half hour; `hostile` of them lie, `churn`
    /// of them restart in an hour.
    pub(super) fn new(nodes: usize, hostile: f64, churn: f64, ask_only: f64, seed: u64) -> Self {
        let mut net = Net::new(seed);
        let liars = (nodes as f64 * hostile).round() as usize;
        let shared = Hostile::new(&mut net, if liars > 0 { 6000 } else { 0 });
        let mut persons = Vec::new();
        for index in 0..nodes {
            let at = if index < 10 { 0 } else { net.rng.random_range(0..30 * MINUTE) };
            let trick = (index >= nodes - liars).then(|| super::hostile::TRICKS[index % super::hostile::TRICKS.len()]);
            let person = trick.is_none().then(|| {
                let serves = index < 10 || !net.rng.random_bool(ask_only);
                persons.push(Person::new(&mut net.rng, serves, index % 4 == 0));
                persons.len() - 1
            });
            net.push(at, Event::Join(Newcomer { person, trick, place: None }));
        }
        if churn > 0.0 {
            net.push(30 * MINUTE, Event::Churn);
        }
        Self {
            net,
            hostile: shared,
            persons,
            ops: HashMap::new(),
            jobs: HashMap::new(),
            tries: HashMap::new(),
            tallies: vec![Tally::default()],
            void: 0,
            puts: Vec::new(),
            wanted: Vec::new(),
            next: 0,
            churn: churn * nodes as f64 / HOUR as f64,
        }
    }

    /// Lets it run until then.
    pub(super) fn run(&mut self, until: Time) {
        while let Some(event) = self.net.pop(until) {
            self.on(event);
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Arrive { from, to, ask, tag, back } => self.arrive(from, to, &ask, tag, back),
            Event::Answer { from, to, tag, answer } => self.answer(from, to, tag, &answer),
            Event::Fail { asker, peer, tag } => self.fail(asker, peer, tag),
            Event::Probe { asker, peer } => self.probe(asker, peer),
            Event::Wake(op) => self.go_on(op),
            Event::Tick(search) => self.tick(search),
            Event::Person(person) => self.look_at_plan(person),
            Event::ReadAgain(job) => self.read_back(job),
            Event::Refresh(node) => self.refresh(node),
            Event::Join(newcomer) => self.join(newcomer),
            Event::Churn => self.churn(),
            Event::Mischief(node) => {
                if let Some(trick) = self.net.node(node).and_then(|node| node.trick) {
                    self.hostile.mischief(&mut self.net, node, trick);
                }
            }
            Event::Try => self.begin_try(),
        }
    }

    /// A number for what has none of its own.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    // Coming and going.

    fn join(&mut self, newcomer: Newcomer) {
        let range = self.net.any_range();
        let id = newcomer.place.unwrap_or_else(|| self.net.place(None, range));
        let serves = newcomer.person.is_none_or(|person| self.persons[person].serves);
        let known: Vec<Id> =
            (0..KNOWN).filter_map(|_| if self.net.running.is_empty() { None } else { self.net.any_server() }).collect();
        self.net.start(id, serves, newcomer.trick, newcomer.person);
        let key = self.net.spots[id as usize].key;
        for known in known {
            self.net.send(id, known, Ask::Find(key), Tag::Nobody);
        }
        match newcomer.trick {
            Some(Trick::Crowd(number)) => self.hostile.crowds[number as usize].push(id),
            Some(_) => self.hostile.ring.push(id),
            None => {}
        }
        if newcomer.trick.is_some() {
            let at = self.net.now + self.net.rng.random_range(0..EVERY);
            self.net.push(at, Event::Mischief(id));
        }
        if let Some(person) = newcomer.person {
            self.start_person(person, id);
        }
    }

    fn churn(&mut self) {
        let wait = -(1.0 - self.net.rng.random::<f64>()).ln() / self.churn;
        self.net.push(self.net.now + wait as Time, Event::Churn);
        let index = self.net.rng.random_range(0..self.net.running.len());
        let id = self.net.running[index];
        let Some(node) = self.net.node(id) else { return };
        let (person, trick) = (node.person, node.trick);
        if matches!(trick, Some(Trick::Crowd(_))) {
            return;
        }
        self.stop(id);
        self.net.push(self.net.now + AWAY, Event::Join(Newcomer { person, trick, place: None }));
    }

    fn stop(&mut self, id: Id) {
        if let Some(person) = self.net.node(id).and_then(|node| node.person) {
            self.persons[person].node = None;
        }
        self.hostile.ring.retain(|other| *other != id);
        self.net.stop(id);
    }

    /// Restarts somebody's node, under another PeerId.
    pub(super) fn restart(&mut self, person: usize) {
        if let Some(id) = self.persons[person].node {
            self.stop(id);
            self.net
                .push(self.net.now + AWAY, Event::Join(Newcomer { person: Some(person), trick: None, place: None }));
        }
    }

    /// Somebody who holds the address of `person` puts `nodes` nodes near its contact slots of today, in `ranges` networks.
    pub(super) fn crowd(&mut self, person: usize, nodes: usize, ranges: usize) {
        let number = self.hostile.crowds.len();
        self.hostile.crowds.push(Vec::new());
        let ranges: Vec<_> = (0..ranges).map(|_| self.net.any_range()).collect();
        let today = twocan_node::rendezvous::places(&self.persons[person].target(By::Contact), self.net.unix_ms());
        let keys: Vec<Key> = today[0].iter().map(|place| Key::of(place.reader.key.as_bytes())).collect();
        for index in 0..nodes {
            let key = near(&mut self.net, &keys[index % keys.len()], 20);
            let place = self.net.place(Some(key), ranges[index / keys.len() % ranges.len()]);
            let trick = Some(Trick::Crowd(u32::try_from(number).unwrap_or(u32::MAX)));
            let at = self.net.now + self.net.rng.random_range(0..5 * MINUTE);
            self.net.push(at, Event::Join(Newcomer { person: None, trick, place: Some(place) }));
        }
    }

    // Requests.

    /// Two nodes talk: each puts the other into its table if that one serves.
    fn meet(&mut self, me: Id, other: Id) {
        let now = self.net.now;
        let (key, range) = (self.net.spots[other as usize].key, self.net.spots[other as usize].range);
        if !self.net.node(other).is_some_and(|node| node.serves) {
            return;
        }
        let Some(node) = self.net.node(me) else { return };
        match node.table.insert(other, key, Some(range), now) {
            Insert::New if node.table.len() < LOW => self.refresh_soon(me),
            Insert::Dial(oldest) => self.net.probe(me, oldest),
            _ => {}
        }
    }

    fn arrive(&mut self, from: Id, to: Id, ask: &Ask, tag: Tag, back: Time) {
        if self.net.node(from).is_none() {
            return;
        }
        let Some(trick) = self.net.node(to).map(|node| node.trick) else { return self.net.ignore(from, to, tag) };
        self.net.touch(from, to);
        self.meet(from, to);
        self.meet(to, from);
        let answer = match trick {
            Some(trick) => self.hostile.answer(&mut self.net, to, from, trick, ask),
            None => self.honest(to, from, ask),
        };
        match answer {
            Some(answer) => self.net.push(self.net.now + back, Event::Answer { from: to, to: from, tag, answer }),
            None => self.net.ignore(from, to, tag),
        }
    }

    /// What a node that keeps the rules answers.
    fn honest(&mut self, me: Id, asker: Id, ask: &Ask) -> Option<Answer> {
        let now = self.net.instant();
        let range = self.net.spots[asker as usize].range;
        let node = self.net.node(me)?;
        Some(match ask {
            Ask::Find(target) => Answer { nodes: node.table.closest(target, Some(asker)), record: None },
            Ask::Get(key, target) => {
                let record = node.shelf.get(key).filter(|(.., expires)| *expires > now).map(|(rec, ..)| Rc::clone(rec));
                Answer { nodes: node.table.closest(target, Some(asker)), record }
            }
            Ask::Put(record) => {
                if node.puts.take(super::person::ip_in(range), now)
                    && let Some(sequence) = record.sequence
                {
                    let _ = node.shelf.admit(record.key, Rc::clone(record), sequence, Some(range), None, now);
                }
                Answer::default()
            }
        })
    }

    fn answer(&mut self, from: Id, to: Id, tag: Tag, answer: &Answer) {
        if self.net.node(to).is_none() {
            return;
        }
        let weight = Net::weight(answer);
        self.net.traffic.1 += weight;
        match tag {
            Tag::Nobody => {}
            Tag::Store(job) => self.stored(job, true),
            Tag::Lookup(number) => {
                let now = self.net.instant();
                let Some(op) = self.ops.get_mut(&number) else { return };
                op.traffic.1 += weight;
                let depth = op.depth.get(&from).copied().unwrap_or(1);
                let mut named = Vec::new();
                for id in answer.nodes.iter().copied().filter(|id| *id != to) {
                    op.depth.entry(id).or_insert(depth + 1);
                    named.push(known(&self.net, id));
                }
                let range = self.net.spots[from as usize].range;
                op.lookup.answered(&from, Some(range), named, now);
                let kind = op.kind;
                if let Some(record) = &answer.record
                    && op.key == record.key
                {
                    // What lies at another key is dropped where the answer is read, as in the node.
                    self.copy(kind, Some(from), Rc::clone(record), depth);
                }
                self.go_on(number);
            }
        }
    }

    fn fail(&mut self, asker: Id, peer: Id, tag: Tag) {
        let key = self.net.spots[peer as usize].key;
        let Some(node) = self.net.node(asker) else { return };
        node.table.failed(peer, &key);
        match tag {
            Tag::Nobody => {}
            Tag::Store(job) => self.stored(job, false),
            Tag::Lookup(number) => {
                if let Some(op) = self.ops.get_mut(&number) {
                    op.lookup.failed(&peer);
                    self.go_on(number);
                }
            }
        }
    }

    fn probe(&mut self, asker: Id, peer: Id) {
        let key = self.net.spots[peer as usize].key;
        let (alive, now) = (self.net.node(peer).is_some(), self.net.now);
        let Some(node) = self.net.node(asker) else { return };
        if alive {
            node.table.seen(peer, &key, now);
        } else {
            node.table.failed(peer, &key);
        }
    }

    // Lookups.

    /// Begins a lookup for what lies at, or near, the hash of `key`.
    pub(super) fn look_up(&mut self, node: Id, key: [u8; 32], kind: Kind) -> u64 {
        self.begin(node, key, Key::of(&key), kind)
    }

    fn begin(&mut self, node: Id, key: [u8; 32], target: Key, kind: Kind) -> u64 {
        let number = self.number();
        let seeds = self.net.node(node).map(|node| node.table.closest(&target, None)).unwrap_or_default();
        let seeds: Vec<Known<Id>> = seeds.into_iter().map(|id| known(&self.net, id)).collect();
        let reads = matches!(kind, Kind::Read(_) | Kind::Check(_) | Kind::Look(..));
        let (patience, limit) = if reads { (Patience::Full, LIMITS.0) } else { (Patience::None, LIMITS.1) };
        let op = Op {
            node,
            kind,
            key,
            depth: seeds.iter().map(|seed| (seed.peer, 1)).collect(),
            lookup: Lookup::new(target, patience, seeds, self.net.instant()),
            until: self.net.now + limit,
            wake: 0,
            traffic: (0, 0),
        };
        self.ops.insert(number, op);
        // Its owner is to know its number before anything happens to it.
        self.net.push(self.net.now, Event::Wake(number));
        number
    }

    fn go_on(&mut self, number: u64) {
        loop {
            let now = self.net.instant();
            let Some(op) = self.ops.get_mut(&number) else { return };
            let node = op.node;
            if self.net.nodes[node as usize].is_none() {
                self.ops.remove(&number);
                return;
            }
            let step = if self.net.now >= op.until { Step::Done } else { op.lookup.next(now) };
            match step {
                Step::Ask(peer) => {
                    let target = *op.lookup.target();
                    let ask = match op.kind {
                        Kind::Refresh | Kind::Search(_) => Ask::Find(target),
                        _ => Ask::Get(op.key, target),
                    };
                    op.traffic.0 += 1;
                    op.traffic.1 += self.net.send(node, peer, ask, Tag::Lookup(number));
                }
                Step::Wait(due) => {
                    let due = due.map_or(op.until, |due| self.net.time_of(due)).clamp(self.net.now + 1, op.until);
                    if op.wake <= self.net.now || due < op.wake {
                        op.wake = due;
                        self.net.push(due, Event::Wake(number));
                    }
                    return;
                }
                Step::Done => {
                    if let Some(op) = self.ops.remove(&number) {
                        self.ended(op);
                    }
                    return;
                }
            }
        }
    }

    fn ended(&mut self, op: Op) {
        let answered = op.lookup.counts().1;
        match op.kind {
            Kind::Refresh => self.refresh_next(op.node),
            Kind::Search(job) => self.store(job, op.lookup.closest(), op.traffic),
            Kind::Read(job) => self.read_ended(job, op.traffic),
            Kind::Check(job) => self.check_ended(job, false),
            Kind::Look(search, place) => self.look_ended(search, place, answered, op.traffic),
        }
    }

    fn copy(&mut self, kind: Kind, from: Option<Id>, record: Rc<Rec>, depth: u32) {
        match kind {
            Kind::Refresh | Kind::Search(_) => {}
            Kind::Read(job) => self.read_copy(job, from, &record),
            Kind::Check(job) => {
                if record.sequence.is_some() {
                    self.check_ended(job, true);
                }
            }
            Kind::Look(search, place) => self.look_copy(search, place, from, &record, depth),
        }
    }

    /// A node that serves looks onto its own shelf first.
    pub(super) fn own_copy(&mut self, node: Id, key: &[u8; 32], kind: Kind) {
        let now = self.net.instant();
        let own = self.net.node(node).and_then(|node| node.shelf.get(key).filter(|(.., expires)| *expires > now));
        if let Some(record) = own.map(|(record, ..)| Rc::clone(record)) {
            self.copy(kind, None, record, 0);
        }
    }

    // Looking after the table.

    fn refresh_soon(&mut self, id: Id) {
        if let Some(node) = self.net.node(id)
            && !node.refreshing
        {
            node.refreshing = true;
            self.net.push(self.net.now + REFRESH_SOON, Event::Refresh(id));
        }
    }

    fn refresh(&mut self, id: Id) {
        let key = self.net.spots[id as usize].key;
        let Some(node) = self.net.node(id) else { return };
        if node.refresh.is_empty() {
            node.refreshing = true;
            node.refresh = (0..=node.table.deepest()).collect();
            self.begin(id, [0; 32], key, Kind::Refresh);
        }
    }

    fn refresh_next(&mut self, id: Id) {
        let key = self.net.spots[id as usize].key;
        let Some(node) = self.net.node(id) else { return };
        match node.refresh.pop() {
            Some(bits) => {
                let mut target = *near(&mut self.net, &key, bits + 1).as_bytes();
                target[bits / 8] ^= 0x80 >> (bits % 8);
                self.begin(id, [0; 32], Key::from_bytes(target), Kind::Refresh);
            }
            None => {
                node.refreshing = false;
                self.net.push(self.net.now + REFRESH, Event::Refresh(id));
            }
        }
    }

    /// Sets when a person's plan is looked at next.
    pub(super) fn wake_person(&mut self, person: usize) {
        let due = self.persons[person].plan.next_due().map_or(Time::MAX, |due| self.net.time_of(due));
        let due = due.clamp(self.net.now + MILLI, self.net.now + LOOK);
        let wake = &mut self.persons[person].wake;
        if *wake <= self.net.now || due < *wake {
            *wake = due;
            self.net.push(due, Event::Person(person));
        }
    }
}

/// A node as a lookup knows it.
fn known(net: &Net, id: Id) -> Known<Id> {
    let spot = &net.spots[id as usize];
    Known { peer: id, key: spot.key, range: Some(spot.range) }
}
