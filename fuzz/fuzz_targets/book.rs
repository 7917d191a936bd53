//! The book of friends with people and peers that do anything: never a panic, never beyond its bounds, every asker
//! gets exactly one reply, and nobody blocked is a friend.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use twocan_protocol::address::{Address, ContactToken};
use twocan_protocol::friend::{Asked, Book, BookRecord, Input, MAX_REQUESTS, Output, SlotPlan};
use twocan_protocol::rendezvous::Grant;
use twocan_protocol::testing::{Clock, person};
use twocan_protocol::wire::{Availability, Friendship, Hello, Message, Name, Note, Reply, Request};

#[derive(Arbitrary, Debug)]
enum Step {
    Add(u8, u8),
    Accept(u8),
    Decline(u8),
    Block(u8),
    Unblock(u8),
    Rename(u8, String),
    Verify(u8, bool),
    Remove(u8),
    Profile(String),
    Availability(u8),
    OwnGrant(u8),
    LinkUp(u8),
    LinkDown(u8),
    Hello(u8, String, u64),
    Friendship(u8, u8),
    Grant(u8, [u8; 32], u64),
    GrantStored(u8, u64),
    Request(u8, u64, String, bool),
    Asked(u8, u8),
    SearchFailed(u8),
    NetworkChanged,
    Urge(u8),
    Pass(u32),
    Restart,
}

fuzz_target!(|steps: Vec<Step>| {
    let mut clock = Clock::new();
    let people: Vec<_> = (1..=6).map(person).collect();
    let who = |n: u8| people[usize::from(n) % people.len()];
    let mut book = Book::new(clock.now, people[0], 1, BookRecord::default(), Vec::new(), Vec::new());
    for step in steps.into_iter().take(300) {
        let asks = matches!(step, Step::Request(..));
        let input = match step {
            Step::Add(n, token) => Input::Add {
                address: Address { root: who(n), token: ContactToken::from_bytes(&[token; 8]).expect("any bytes") },
                name: None,
                message: Note::default(),
                id: token.into(),
            },
            Step::Accept(n) => Input::Accept { root: who(n), name: None },
            Step::Decline(n) => Input::Decline(who(n)),
            Step::Block(n) => Input::Block(who(n)),
            Step::Unblock(n) => Input::Unblock(who(n)),
            Step::Rename(n, name) => Input::Rename(who(n), Name::clean(&name)),
            Step::Verify(n, verified) => Input::Verify(who(n), verified),
            Step::Remove(n) => Input::Remove(who(n)),
            Step::Profile(name) => Input::Profile(Name::clean(&name)),
            Step::Availability(n) => Input::Availability(Availability::ALL[usize::from(n) % Availability::ALL.len()]),
            Step::OwnGrant(n) => {
                let slot_public = *person(9).as_bytes();
                Input::OwnGrant(Grant { slot_public, secret: [n; 32], generation: clock.unix_ms + u64::from(n) })
            }
            Step::LinkUp(n) => Input::LinkUp(who(n)),
            Step::LinkDown(n) => Input::LinkDown(who(n)),
            Step::Hello(n, name, granted) => {
                let availability = Availability::Available;
                Input::Received(
                    who(n),
                    Message::Hello(Hello { protocol: 1, name: Name::clean(&name), availability, granted }),
                )
            }
            Step::Friendship(n, state) => {
                let state = Friendship::ALL[usize::from(state) % Friendship::ALL.len()];
                Input::Received(who(n), Message::Friendship(state))
            }
            Step::Grant(n, slot_public, generation) => {
                let grant = Grant { slot_public, secret: [1; 32], generation };
                Input::Received(who(n), Message::Grant(grant))
            }
            Step::GrantStored(n, generation) => Input::Received(who(n), Message::GrantStored(generation)),
            Step::Request(n, id, text, friends) => {
                let request = Request { id, name: Name::clean(&text), message: Note::clean(&text), friends };
                Input::Request(person(n), request)
            }
            Step::Asked(n, reply) => {
                let reply = Reply::ALL.get(usize::from(reply)).copied();
                Input::Asked(who(n), reply.map_or(Asked::NotReached, Asked::Reply))
            }
            Step::SearchFailed(n) => Input::SearchFailed(who(n)),
            Step::NetworkChanged => Input::NetworkChanged,
            Step::Urge(n) => Input::Urge(who(n)),
            Step::Pass(ms) => {
                clock.advance(Duration::from_millis(ms.into()));
                let mut rounds = 0;
                while book.poll_timeout().is_some_and(|due| due <= clock.now) {
                    book.handle_timeout(clock.now, clock.unix_ms);
                    rounds += 1;
                    assert!(rounds < 10, "a timeout stays due");
                }
                continue;
            }
            Step::Restart => {
                let friends: Vec<_> = book.friends().map(|friend| friend.record).collect();
                let requests: Vec<_> = book.requests().cloned().collect();
                let state = BookRecord {
                    name: book.own_name().clone(),
                    availability: book.availability(),
                    blocked: book.blocked().copied().collect(),
                    ..BookRecord::default()
                };
                book = Book::new(clock.now, people[0], 2, state, friends, requests);
                continue;
            }
        };
        let outputs = book.handle(clock.now, clock.unix_ms, input);
        let replies = outputs.iter().filter(|output| matches!(output, Output::Reply(..))).count();
        assert_eq!(replies, usize::from(asks), "every asker gets one reply, nobody else one");
        assert!(book.requests().count() <= MAX_REQUESTS);
        assert!(book.blocked().all(|root| !book.is_friend(root)), "a blocked friend");
        assert!(!book.is_friend(&people[0]), "friends with oneself");
        assert!(book.slots().contains(&SlotPlan::Presence));
        for friend in book.friends() {
            assert!(friend.record.own_name.is_none_or(|name| name.as_str().chars().count() <= 64));
        }
    }
});
