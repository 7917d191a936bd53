//! Several books in one small world, where links, contact streams and the DHT work at once or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
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
                Output::DropLink(root) => {
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
            for (n, other) in [(a, b), (b, a)] {
                let root = self.nodes[other].root;
                self.input(n, Input::LinkDown(root));
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

#[test]
fn a_request_is_delivered_accepted_and_becomes_a_link_with_grants_on_both_sides() {
    let mut world = World::new::<2>();
    world.act(1, Input::Profile(Name::clean("Bob")));
    world.add(0, 1);
    assert_eq!(world.nodes[1].requests.len(), 1, "it waits for the person");
    assert_eq!(world.view(0, 1).expect("listed").record.asking, Asking::Delivered);
    assert!(!world.friends(0, 1), "nothing happens without the person");
    let root = world.nodes[0].root;
    world.act(1, Input::Accept { root, name: Some(Name::clean("Alice")) });
    assert!(world.friends(0, 1));
    assert_eq!(world.view(0, 1).expect("friend").name, "Bob");
    assert_eq!(world.view(1, 0).expect("friend").name, "Alice");
    for n in [0, 1] {
        assert!(world.nodes[n].book.slots().contains(&SlotPlan::Presence));
        let pairs = world.nodes[n].book.slots().iter().filter(|slot| matches!(slot, SlotPlan::Pair { .. })).count();
        assert_eq!(pairs, 0, "acknowledged grants make pair slots needless");
        assert!(world.nodes[n].requests.is_empty());
    }
}

#[test]
fn a_request_to_somebody_who_is_away_is_kept_trying_across_a_restart() {
    let mut world = World::new::<2>();
    world.stop(1);
    world.add(0, 1);
    world.pass(Duration::from_secs(3600));
    assert!(world.view(0, 1).expect("listed").trouble.expect("says why").contains("not been found"));
    world.stop(0);
    world.start(1);
    world.start(0);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.nodes[1].requests.len(), 1);
    let root = world.nodes[0].root;
    world.act(1, Input::Accept { root, name: None });
    assert!(world.friends(0, 1));
}

#[test]
fn an_acceptance_while_the_asker_is_away_reaches_it_when_it_is_back() {
    let mut world = World::new::<2>();
    world.add(0, 1);
    world.stop(0);
    let root = world.nodes[0].root;
    world.act(1, Input::Accept { root, name: None });
    world.pass(Duration::from_secs(7200));
    world.start(0);
    world.pass(Duration::from_secs(1));
    assert!(world.friends(0, 1));
}

#[test]
fn requests_that_cross_are_a_friendship_without_a_further_word() {
    let mut world = World::new::<2>();
    world.add(0, 1);
    world.add(1, 0);
    assert!(world.friends(0, 1));
    assert!(world.nodes.iter().all(|node| node.requests.is_empty()));

    // Both asked while neither could be reached.
    let mut world = World::new::<2>();
    world.stop(0);
    world.add(1, 0);
    world.stop(1);
    world.start(0);
    world.add(0, 1);
    world.start(1);
    world.pass(Duration::from_secs(5));
    assert!(world.friends(0, 1));
}

#[test]
fn both_rotate_their_grants_while_the_other_is_away_restart_and_meet() {
    let mut world = World::new::<4>();
    world.befriend(0, 1);
    world.befriend(0, 2);
    world.befriend(1, 3);
    world.stop(1);
    let root = world.nodes[2].root;
    world.act(0, Input::Remove(root));
    world.stop(0);
    world.start(1);
    world.pass(Duration::from_secs(60));
    let root = world.nodes[3].root;
    world.act(1, Input::Block(root));
    assert!(!world.finds(1, 0) && !world.links.contains(&(0, 1)));
    world.stop(1);
    world.start(0);
    world.start(1);
    world.pass(Duration::from_secs(700));
    assert!(world.friends(0, 1));
    let grants: Vec<Grant> =
        [(0, 1), (1, 0)].map(|(n, m)| world.view(n, m).expect("friend").record.grant).into_iter().flatten().collect();
    assert_eq!(grants, [world.nodes[1].key.grant(), world.nodes[0].key.grant()]);
}

#[test]
fn one_who_is_blocked_is_told_nothing_and_finds_nobody() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    let (token, key) = (world.nodes[1].token, world.nodes[1].key.grant());
    let root = world.nodes[0].root;
    world.act(1, Input::Block(root));
    assert!(world.links.is_empty());
    assert_ne!(world.nodes[1].token, token, "the address that the friend holds is void");
    assert!(world.nodes[1].key.grant() != key, "so is the grant");
    assert_eq!(world.view(0, 1).expect("still listed there").record.state, FriendState::Accepted);
    world.pass(Duration::from_secs(7200));
    assert!(!world.friends(0, 1) && world.nodes[1].requests.is_empty());
    // Even with the new address, asking again looks like waiting.
    world.nodes[1].token = token;
    world.input(0, Input::Remove(world.nodes[1].root));
    world.add(0, 1);
    assert_eq!(world.view(0, 1).expect("listed").record.asking, Asking::Delivered);
    assert!(world.nodes[1].requests.is_empty());
    world.act(1, Input::Unblock(root));
    world.add(0, 1);
    assert_eq!(world.nodes[1].requests.len(), 1);
}

#[test]
fn a_friend_who_is_removed_is_told_and_asks_no_more_by_itself() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    let root = world.nodes[0].root;
    world.act(1, Input::Remove(root));
    let view = world.view(0, 1).expect("still listed");
    assert!(!view.online && view.trouble.expect("says why").contains("ended the friendship"));
    world.pass(Duration::from_secs(100_000));
    assert!(world.nodes[1].requests.is_empty());
    world.add(0, 1);
    assert_eq!(world.nodes[1].requests.len(), 1, "by the person's act it may ask again");
}

#[test]
fn declined_is_told_once_asked_and_asking_anew_is_possible() {
    let mut world = World::new::<2>();
    world.add(0, 1);
    let root = world.nodes[0].root;
    world.act(1, Input::Decline(root));
    world.stop(1);
    world.start(1);
    world.pass(Duration::from_secs(1800));
    assert_eq!(world.view(0, 1).expect("listed").record.asking, Asking::Declined);
    assert!(world.nodes[1].requests.is_empty(), "the retry is not a new request");
    world.add(0, 1);
    assert_eq!(world.nodes[1].requests.len(), 1);
}

#[test]
fn a_friend_restored_from_the_phrase_alone_is_asked_whether_we_are_friends() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    world.stop(1);
    let node = &mut world.nodes[1];
    node.friends.clear();
    node.requests.clear();
    node.state = BookRecord::default();
    node.key = PresenceKey::generate(1, &mut world.rng);
    world.start(1);
    world.pass(Duration::from_secs(3 * 3600));
    let request = world.nodes[1].requests.values().next().expect("the friend asks").clone();
    assert!(request.says_friends);
    assert!(world.view(0, 1).expect("friend").trouble.expect("says why").contains("no longer knows"));
    world.act(1, Input::Accept { root: request.root, name: None });
    world.pass(Duration::from_secs(1200));
    assert!(world.friends(0, 1));
    assert_eq!(world.view(1, 0).expect("friend").record.grant, Some(world.nodes[0].key.grant()));
}

#[test]
fn invisible_is_shown_as_offline_and_takes_the_contact_slot_away() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    world.act(0, Input::Availability(Availability::Invisible));
    let view = world.view(1, 0).expect("friend");
    assert!(!view.online && view.linked);
    assert!(!world.nodes[0].book.slots().contains(&SlotPlan::Contact));
    world.act(0, Input::Availability(Availability::Dnd));
    let view = world.view(1, 0).expect("friend");
    assert!(view.online && view.availability == Some(Availability::Dnd));
}

#[test]
fn a_flood_of_askers_fills_neither_memory_nor_the_list_beyond_its_bound() {
    let mut world = World::new::<1>();
    let mut replies = BTreeMap::new();
    for n in 2..=255u8 {
        let root = crate::testing::person(n);
        world.input(
            0,
            Input::Request(root, Request { id: 1, name: Name::default(), message: Note::default(), friends: false }),
        );
        *replies.entry(world.nodes[0].replies.pop().expect("a reply").word()).or_insert(0) += 1;
    }
    assert_eq!(world.nodes[0].requests.len(), REQUEST_BURST as usize);
    assert_eq!(replies["later"], 254 - REQUEST_BURST as usize);
    for hour in 2..200u8 {
        world.clock.advance(Duration::from_secs(600));
        let root = crate::testing::person(hour);
        world.input(
            0,
            Input::Request(root, Request { id: 2, name: Name::default(), message: Note::default(), friends: false }),
        );
    }
    assert_eq!(world.nodes[0].requests.len(), MAX_REQUESTS);
    world.clock.advance(REQUEST_LIFE);
    world.input(
        0,
        Input::Request(
            crate::testing::person(250),
            Request { id: 3, name: Name::default(), message: Note::default(), friends: false },
        ),
    );
    assert_eq!(world.nodes[0].requests.len(), 1, "old ones are forgotten");
}

#[test]
fn acts_that_make_no_sense_are_refused_with_a_reason() {
    let mut world = World::new::<3>();
    world.add(0, 0);
    world.befriend(0, 1);
    world.add(0, 1);
    let stranger = world.nodes[2].root;
    world.act(0, Input::Remove(stranger));
    world.act(0, Input::Accept { root: stranger, name: None });
    world.act(0, Input::Unblock(stranger));
    world.act(0, Input::Block(stranger));
    world.add(0, 2);
    let expected = [
        Refusal::Own,
        Refusal::AlreadyFriends,
        Refusal::NoFriend,
        Refusal::NoRequest,
        Refusal::NotBlocked,
        Refusal::Blocked,
    ];
    assert_eq!(world.nodes[0].refused, expected);
}

#[test]
fn a_friend_who_stays_away_is_searched_for_less_and_less() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    world.stop(1);
    world.nodes[0].searches = 0;
    world.pass(Duration::from_secs(24 * 3600));
    assert!(world.nodes[0].searches < 320, "{} searches in a day", world.nodes[0].searches);
    world.nodes[0].searches = 0;
    world.act(0, Input::NetworkChanged);
    assert_eq!(world.nodes[0].searches, 1, "a new network is a reason to try at once");
}

#[test]
fn what_a_stranger_says_over_a_link_changes_nothing() {
    let mut world = World::new::<2>();
    let stranger = world.nodes[1].root;
    world.act(0, Input::LinkUp(stranger));
    let hello = Hello { protocol: 1, name: Name::clean("x"), availability: Availability::Available, granted: 0 };
    for message in [Message::Hello(hello), Message::Friendship(Friendship::Accepted)] {
        world.act(0, Input::Received(stranger, message));
    }
    assert!(world.nodes[0].friends.is_empty() && !world.nodes[0].book.is_friend(&stranger));
}

/// Something that people or the world do.
#[derive(Clone, Debug)]
enum Step {
    Add(usize, usize),
    Accept(usize, usize),
    Decline(usize, usize),
    Block(usize, usize),
    Unblock(usize, usize),
    Remove(usize, usize),
    Availability(usize, usize),
    Stop(usize),
    Start(usize),
    Cut(usize, usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let two = || (0usize..3, 0usize..3);
    prop_oneof![
        4 => two().prop_map(|(a, b)| Step::Add(a, b)),
        4 => two().prop_map(|(a, b)| Step::Accept(a, b)),
        1 => two().prop_map(|(a, b)| Step::Decline(a, b)),
        1 => two().prop_map(|(a, b)| Step::Block(a, b)),
        1 => two().prop_map(|(a, b)| Step::Unblock(a, b)),
        1 => two().prop_map(|(a, b)| Step::Remove(a, b)),
        1 => (0usize..3, 0usize..3).prop_map(|(n, a)| Step::Availability(n, a)),
        2 => (0usize..3).prop_map(Step::Stop),
        3 => (0usize..3).prop_map(Step::Start),
        2 => two().prop_map(|(a, b)| Step::Cut(a, b)),
        4 => (0u64..4000).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_people_do_the_books_agree_in_the_end(steps in proptest::collection::vec(step(), 0..60)) {
        let mut world = World::new::<3>();
        for step in &steps {
            match *step {
                Step::Add(a, b) => world.add(a, b),
                Step::Accept(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Accept { root, name: None }); }
                Step::Decline(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Decline(root)); }
                Step::Block(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Block(root)); }
                Step::Unblock(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Unblock(root)); }
                Step::Remove(a, b) => { let root = world.nodes[b].root; world.act(a, Input::Remove(root)); }
                Step::Availability(n, a) => world.act(n, Input::Availability(Availability::ALL[a])),
                Step::Stop(n) => world.stop(n),
                Step::Start(n) => if !world.nodes[n].running { world.start(n) },
                Step::Cut(a, b) => { world.unlink(a, b); world.settle(); }
                Step::Pass(s) => world.pass(Duration::from_secs(s)),
            }
        }
        for n in 0..3 {
            if !world.nodes[n].running { world.start(n); }
        }
        world.pass(Duration::from_secs(7200));
        for n in 0..3 {
            let node = &world.nodes[n];
            // The store holds exactly what the book holds.
            for view in node.book.friends() {
                prop_assert_eq!(node.friends.get(&view.record.root).map(|r| r.state), Some(view.record.state));
                prop_assert!(!node.book.blocked().any(|root| *root == view.record.root));
            }
            prop_assert_eq!(node.friends.len(), node.book.friends().count());
            prop_assert_eq!(node.requests.len(), node.book.requests().count());
            for other in 0..3 {
                if n == other { continue; }
                let accepted = |a: usize, b: usize| world.view(a, b).is_some_and(|v| v.record.state == FriendState::Accepted);
                // Two who both see a friendship are linked, whatever happened before.
                if accepted(n, other) && accepted(other, n) {
                    prop_assert!(world.links.contains(&pair(n, other)), "{} and {} found each other", n, other);
                }
                // Whoever is not a friend here is not linked.
                if world.links.contains(&pair(n, other)) {
                    prop_assert!(accepted(n, other), "{} keeps a link to {}", n, other);
                }
            }
        }
    }
}
