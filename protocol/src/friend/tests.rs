//! Several books in one small world, where links, contact streams and the DHT work at once or not at all.

mod model;
mod stories;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::address::ContactToken;
use crate::identity::RootPublic;
use crate::rendezvous::{Grant, PresenceKey};
use crate::testing::{Clock, people};
use crate::wire::{Friendship, Hello};

/// One person's node: the book, what its store holds, and whether it runs.
struct Node {
    root: RootPublic,
    token: ContactToken,
    book: Book,
    running: bool,
    key: PresenceKey,
    state: BookRecord,
    friends: BTreeMap<RootPublic, FriendRecord>,
    requests: BTreeMap<RootPublic, RequestRecord>,
    events: Vec<Event>,
    refused: Vec<Refusal>,
    replies: Vec<Reply>,
    searches: usize,
}

struct World {
    clock: Clock,
    nodes: Vec<Node>,
    links: BTreeSet<(usize, usize)>,
    rng: ChaCha20Rng,
    /// Messages on links, delivered in order.
    wire: Vec<(usize, usize, Message)>,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl World {
    fn new<const N: usize>() -> Self {
        let clock = Clock::new();
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let nodes = people::<N>().map(|root| Node {
            root,
            token: ContactToken::random(&mut rng),
            book: Book::new(clock.now, root, 1, BookRecord::default(), Vec::new(), Vec::new()),
            running: true,
            key: PresenceKey::generate(clock.unix_ms, &mut rng),
            state: BookRecord::default(),
            friends: BTreeMap::new(),
            requests: BTreeMap::new(),
            events: Vec::new(),
            refused: Vec::new(),
            replies: Vec::new(),
            searches: 0,
        });
        let mut world = Self { clock, nodes: nodes.into(), links: BTreeSet::new(), rng, wire: Vec::new() };
        for n in 0..N {
            let grant = world.nodes[n].key.grant();
            world.input(n, Input::OwnGrant(grant));
        }
        world
    }

    fn index(&self, root: &RootPublic) -> Option<usize> {
        self.nodes.iter().position(|node| node.root == *root)
    }

    fn address(&self, n: usize) -> Address {
        Address { root: self.nodes[n].root, token: self.nodes[n].token }
    }

    fn input(&mut self, n: usize, input: Input) {
        if self.nodes[n].running {
            let (now, unix_ms) = (self.clock.now, self.clock.unix_ms);
            let outputs = self.nodes[n].book.handle(now, unix_ms, input);
            self.apply(n, outputs);
        }
    }

    fn act(&mut self, n: usize, input: Input) {
        self.input(n, input);
        self.settle();
    }

    fn add(&mut self, who: usize, whom: usize) {
        let address = self.address(whom);
        let id = self.clock.unix_ms + who as u64;
        self.act(who, Input::Add { address, name: None, message: Note::clean("it's me"), id });
    }

    fn befriend(&mut self, a: usize, b: usize) {
        self.add(a, b);
        let root = self.nodes[a].root;
        self.act(b, Input::Accept { root, name: None });
    }

    /// Whether a search finds the other node: through the presence slot with the present grant, or a pair slot.
    fn finds(&self, n: usize, other: usize) -> bool {
        let (me, them) = (&self.nodes[n], &self.nodes[other]);
        let grant = me.book.friend(&them.root).and_then(|friend| friend.record.grant);
        let by_presence = grant.is_some_and(|grant| grant == them.key.grant());
        let by_pair = them.book.slots().iter().any(|s| matches!(s, SlotPlan::Pair { root, .. } if *root == me.root));
        them.running && (by_presence || by_pair) && them.book.gate().any(|root| *root == me.root)
    }

    fn apply(&mut self, n: usize, outputs: Vec<Output>) {
        let own = self.nodes[n].root;
        for output in outputs {
            let node = &mut self.nodes[n];
            match output {
                Output::StoreFriend(record) => drop(node.friends.insert(record.root, record)),
                Output::ForgetFriend(root) => drop(node.friends.remove(&root)),
                Output::StoreRequest(record) => drop(node.requests.insert(record.root, record)),
                Output::ForgetRequest(root) => drop(node.requests.remove(&root)),
                Output::StoreBook(record) => node.state = record,
                Output::Reply(_, reply) => node.replies.push(reply),
                Output::RotateToken => node.token = ContactToken::random(&mut self.rng),
                Output::RotateGrant(generation) => {
                    node.key = PresenceKey::generate(generation, &mut self.rng);
                    let grant = node.key.grant();
                    self.input(n, Input::OwnGrant(grant));
                }
                Output::Event(event) => node.events.push(event),
                Output::Refused(_, refusal) => node.refused.push(refusal),
                Output::PlanChanged => {}
                Output::Send(root, message) => {
                    if let Some(other) = self.index(&root).filter(|other| self.links.contains(&pair(n, *other))) {
                        self.wire.push((n, other, message));
                    }
                }
                Output::DropLink(root) | Output::Relink(root) => {
                    if let Some(other) = self.index(&root) {
                        self.settle_between(n, other);
                        self.unlink(n, other);
                    }
                }
                Output::Search(root) => {
                    node.searches += 1;
                    match self.index(&root).filter(|other| self.finds(n, *other)) {
                        Some(other) if self.links.insert(pair(n, other)) => {
                            self.input(n, Input::LinkUp(root));
                            self.input(other, Input::LinkUp(own));
                        }
                        Some(_) => {}
                        None => self.input(n, Input::SearchFailed(root)),
                    }
                }
                Output::Ask(address, request) => {
                    let other = self.index(&address.root).filter(|other| {
                        let node = &self.nodes[*other];
                        node.running && node.token == address.token && node.book.slots().contains(&SlotPlan::Contact)
                    });
                    let asked = match other {
                        None => Asked::NotReached,
                        Some(other) => {
                            self.input(other, Input::Request(own, request));
                            Asked::Reply(self.nodes[other].replies.pop().expect("every request gets a reply"))
                        }
                    };
                    self.input(n, Input::Asked(address.root, asked));
                }
            }
        }
    }

    fn settle_between(&mut self, a: usize, b: usize) {
        while let Some(at) = self.wire.iter().position(|(from, to, _)| pair(*from, *to) == pair(a, b)) {
            let (from, to, message) = self.wire.remove(at);
            let root = self.nodes[from].root;
            self.input(to, Input::Received(root, message));
        }
    }

    fn settle(&mut self) {
        while !self.wire.is_empty() {
            let (from, to, message) = self.wire.remove(0);
            let root = self.nodes[from].root;
            self.input(to, Input::Received(root, message));
        }
    }

    fn unlink(&mut self, a: usize, b: usize) {
        if self.links.remove(&pair(a, b)) {
            self.wire.retain(|(from, to, _)| pair(*from, *to) != pair(a, b));
            // Both notice before either does anything about it.
            let noticed = [(a, b), (b, a)].map(|(n, other)| {
                let (root, clock) = (self.nodes[other].root, &self.clock);
                let node = &mut self.nodes[n];
                let outputs = node.running.then(|| node.book.handle(clock.now, clock.unix_ms, Input::LinkDown(root)));
                (n, outputs.unwrap_or_default())
            });
            for (n, outputs) in noticed {
                self.apply(n, outputs);
            }
        }
    }

    /// The process ends; the store stays.
    fn stop(&mut self, n: usize) {
        self.nodes[n].running = false;
        for other in 0..self.nodes.len() {
            self.unlink(n, other);
        }
    }

    fn start(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let friends = node.friends.values().cloned().collect();
        let requests = node.requests.values().cloned().collect();
        node.book = Book::new(self.clock.now, node.root, 2, node.state.clone(), friends, requests);
        node.running = true;
        let grant = node.key.grant();
        self.act(n, Input::OwnGrant(grant));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.clock.now + time;
        loop {
            let running = self.nodes.iter().filter(|node| node.running);
            let next = running.filter_map(|node| node.book.poll_timeout()).min().filter(|at| *at <= end);
            self.clock.advance_to(next.unwrap_or(end));
            if next.is_none() {
                return;
            }
            for n in 0..self.nodes.len() {
                if self.nodes[n].running && self.nodes[n].book.poll_timeout().is_some_and(|at| at <= self.clock.now) {
                    let outputs = self.nodes[n].book.handle_timeout(self.clock.now, self.clock.unix_ms);
                    self.apply(n, outputs);
                    self.settle();
                }
            }
        }
    }

    fn view(&self, n: usize, other: usize) -> Option<FriendView> {
        self.nodes[n].book.friend(&self.nodes[other].root)
    }

    fn friends(&self, a: usize, b: usize) -> bool {
        let sees = |n: usize, other: usize| {
            self.view(n, other).is_some_and(|view| view.record.state == FriendState::Accepted && view.online)
        };
        sees(a, b) && sees(b, a)
    }
}
