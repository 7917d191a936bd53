//! What the network says to the book, and when the book tries again.

use std::time::{Duration, Instant};

use super::book::{AT_ONCE, Book, Entry};
use super::{Asked, Asking, Event, FriendState, Output};
use crate::identity::RootPublic;
use crate::link::Backoff;
use crate::rendezvous::Grant;
use crate::wire::{Availability, ENVELOPE_VERSION, Friendship, Hello, Message, Reply, Request};

/// First pause between two searches for a friend who is away.
const SEARCH_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between two searches. A friend who comes back finds us as well, so this is only the second chance.
pub const SEARCH_LONGEST: Duration = Duration::from_secs(600);
/// First pause between two attempts to deliver a request.
const ASK_FIRST: Duration = Duration::from_secs(2);
/// Longest pause between two attempts to deliver a request.
pub const ASK_LONGEST: Duration = Duration::from_secs(900);
/// Longest pause between two searches while a call with the friend goes on, or waits to go on: whoever is in a call
/// waits for this.
pub const SEARCH_IN_CALL: Duration = Duration::from_secs(1);
/// First pause after a node said that it takes no requests at present; its bucket gives one place a minute.
const LATER_FIRST: Duration = Duration::from_secs(60);
/// A search or an attempt to ask that has said nothing for this long is counted as failed.
pub const SEARCH_LIMIT: Duration = Duration::from_secs(120);
/// After so many searches in vain for a friend whose address is known, the contact slot is tried as well: the friend
/// may have lost its book, and be back with the words alone.
pub const RECLAIM_FIRST: u32 = 2;
/// And again each time after so many.
pub const RECLAIM_EVERY: u32 = 6;

/// Attempts at one thing that may fail.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    backoff: Backoff,
    /// When to try next, unless an attempt runs.
    next: Option<Instant>,
    /// Until when an attempt runs.
    running: Option<Instant>,
}

impl Reach {
    pub(super) fn search(seed: u64) -> Self {
        Self { backoff: Backoff::new(seed, SEARCH_FIRST, SEARCH_LONGEST), next: None, running: None }
    }

    pub(super) fn ask(seed: u64) -> Self {
        Self { backoff: Backoff::new(seed, ASK_FIRST, ASK_LONGEST), next: None, running: None }
    }

    pub(super) fn later(seed: u64) -> Backoff {
        Backoff::new(seed, LATER_FIRST, ASK_LONGEST)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.running.or(self.next)
    }

    /// Nothing is wanted any more.
    pub(super) fn stop(&mut self) {
        self.next = None;
        self.running = None;
        self.backoff.reset();
    }

    /// There is hope: soon, and with short pauses again. An attempt that runs goes on.
    pub(super) fn hope(&mut self, at: Instant) {
        self.backoff.reset();
        if self.running.is_none() {
            self.next = Some(at);
        }
    }

    /// The attempt failed; the next one comes after a pause of at least `least`.
    fn failed(&mut self, now: Instant, least: Duration) {
        self.failed_within(now, least, Duration::MAX);
    }

    /// The same, but of `most` at most.
    fn failed_within(&mut self, now: Instant, least: Duration, most: Duration) {
        self.running = None;
        self.next = Some(now + self.backoff.failed().max(least).min(most));
    }

    /// Whether an attempt is to begin now; if so it runs from now on.
    fn start(&mut self, now: Instant) -> bool {
        if self.running.is_some_and(|until| until <= now) {
            self.failed(now, AT_ONCE);
        }
        if self.running.is_some() || self.next.is_none_or(|next| next > now) {
            return false;
        }
        self.next = None;
        self.running = Some(now + SEARCH_LIMIT);
        true
    }
}

impl Entry {
    /// Begins what the state of the friendship calls for.
    pub(super) fn plan_attempts(&mut self, now: Instant) {
        match (self.record.state, self.record.asking) {
            _ if self.linked => {
                self.search.stop();
                self.ask.stop();
            }
            (FriendState::Accepted, _) => {
                self.ask.stop();
                self.search.hope(now);
            }
            (FriendState::Requested, Asking::Declined | Asking::Ended) => {
                self.ask.stop();
                self.search.stop();
            }
            (FriendState::Requested, _) => {
                self.search.stop();
                self.ask.hope(now);
            }
        }
    }

    /// Seen now; but who wants to look like offline is not.
    fn seen(&mut self, unix_ms: u64) {
        if self.availability != Some(Availability::Invisible) {
            self.record.last_seen_ms = Some(unix_ms);
        }
    }

    /// What stands in the way, in one sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.linked {
            return None;
        }
        let name = self.name();
        match (self.record.state, self.record.asking) {
            (FriendState::Requested, Asking::Trying) if self.ask.backoff.failures() == 0 => None,
            (FriendState::Requested, Asking::Trying) => Some(format!(
                "{name} has not been found yet: offline, or the address is no longer valid. Trying goes on by itself."
            )),
            (FriendState::Requested, Asking::Delivered) => {
                Some(format!("The request was delivered; {name} has not answered yet."))
            }
            (FriendState::Requested, Asking::Later) => Some(format!(
                "{name}'s node puts requests off at present; an earlier one may still wait there. Trying goes on by itself."
            )),
            (FriendState::Requested, Asking::Declined) => {
                Some(format!("{name} declined. Add the address again to ask once more."))
            }
            (FriendState::Requested, Asking::Ended) => {
                Some(format!("{name} ended the friendship. Add the address again to ask anew."))
            }
            (FriendState::Accepted, Asking::Delivered) => {
                Some(format!("{name}'s node no longer knows this friendship; it waits for {name} to confirm it."))
            }
            (FriendState::Accepted, _) => None,
        }
    }
}

impl Book {
    pub(super) fn link_up(&mut self, root: RootPublic) {
        let Some(entry) = self.friends.get_mut(&root).filter(|entry| entry.may_link()) else {
            return self.outputs.push(Output::DropLink(root));
        };
        let hello = Hello {
            protocol: ENVELOPE_VERSION,
            name: self.state.name.clone(),
            availability: self.state.availability,
            granted: entry.record.grant.as_ref().map_or(0, |grant| grant.generation),
        };
        entry.linked = true;
        entry.search.stop();
        entry.ask.stop();
        let state = entry.record.state;
        self.outputs.push(Output::Send(root, Message::Hello(hello)));
        let friendship = match state {
            FriendState::Accepted => Friendship::Accepted,
            FriendState::Requested => Friendship::Asked,
        };
        self.outputs.push(Output::Send(root, Message::Friendship(friendship)));
        self.event(Event::Friend(root));
    }

    pub(super) fn link_down(&mut self, now: Instant, unix_ms: u64, root: RootPublic) {
        let Some(entry) = self.friends.get_mut(&root).filter(|entry| entry.linked) else { return };
        entry.linked = false;
        entry.seen(unix_ms);
        entry.availability = None;
        entry.plan_attempts(now);
        self.store(&root);
        self.event(Event::Friend(root));
        self.retry(now);
    }

    pub(super) fn received(&mut self, now: Instant, unix_ms: u64, root: RootPublic, message: Message) {
        if !self.friends.get(&root).is_some_and(Entry::may_link) {
            return;
        }
        match message {
            Message::Hello(hello) => {
                self.set_remote(root, Some(hello.name), Some(hello.availability));
                self.seen(unix_ms, root);
                self.reconcile_grant(unix_ms, root, hello.granted);
            }
            Message::Profile(name) => self.set_remote(root, Some(name), None),
            Message::Presence(availability) => {
                // Before: who becomes invisible was seen until now.
                self.seen(unix_ms, root);
                self.set_remote(root, None, Some(availability));
            }
            Message::Friendship(Friendship::Accepted) => self.agreed(now, unix_ms, root),
            Message::Friendship(Friendship::Asked) => {
                // Asked over a link: this side is asked or has asked as well, which makes both of one mind.
                self.agreed(now, unix_ms, root);
                self.outputs.push(Output::Send(root, Message::Friendship(Friendship::Accepted)));
            }
            Message::Friendship(Friendship::Removed) => self.ended(now, root),
            Message::Grant(grant) => self.take_grant(root, grant),
            Message::GrantStored(generation) => self.granted(root, generation),
            _ => {}
        }
    }

    pub(super) fn asked(&mut self, now: Instant, unix_ms: u64, root: RootPublic, asked: Asked) {
        let Some(entry) = self.friends.get_mut(&root) else { return };
        let requested = entry.record.state == FriendState::Requested;
        let before = (entry.record.asking, entry.trouble());
        match asked {
            Asked::Reply(Reply::Accepted) => {
                entry.record.asking = Asking::Trying;
                entry.ask.stop();
                if requested {
                    return self.agreed(now, unix_ms, root);
                }
                entry.plan_attempts(now);
                return self.retry(now);
            }
            Asked::Reply(Reply::Declined) => {
                entry.record.state = FriendState::Requested;
                entry.record.asking = Asking::Declined;
                entry.plan_attempts(now);
            }
            Asked::Reply(Reply::Later) if requested => {
                entry.record.asking = Asking::Later;
                let pause = entry.later.failed();
                entry.ask.failed(now, pause);
            }
            Asked::Reply(Reply::Pending | Reply::Other) => {
                entry.record.asking = Asking::Delivered;
                entry.ask.failed(now, AT_ONCE);
            }
            _ => entry.ask.failed(now, AT_ONCE),
        }
        if !requested || entry.linked {
            // Asking is the searching's helper here; it does not repeat by itself.
            entry.ask.stop();
        }
        if before != (entry.record.asking, entry.trouble()) {
            self.store(&root);
            self.event(Event::Friend(root));
        }
    }

    pub(super) fn search_failed(&mut self, now: Instant, root: RootPublic) {
        let Some(entry) = self.friends.get_mut(&root).filter(|entry| !entry.linked) else { return };
        if entry.record.state != FriendState::Accepted {
            return entry.search.stop();
        }
        let most = if entry.wanted { SEARCH_IN_CALL } else { SEARCH_LONGEST };
        entry.search.failed_within(now, AT_ONCE, most);
        let failures = entry.search.backoff.failures();
        if (failures == RECLAIM_FIRST || failures % RECLAIM_EVERY == 0) && entry.record.token.is_some() {
            entry.ask.hope(now);
            self.retry(now);
        }
    }

    /// Whether a call with this friend goes on, or waits to.
    pub(super) fn wanted(&mut self, now: Instant, root: RootPublic, wanted: bool) {
        let Some(entry) = self.friends.get_mut(&root) else { return };
        entry.wanted = wanted;
        if wanted && !entry.linked {
            entry.plan_attempts(now);
            self.retry(now);
        }
    }

    pub(super) fn network_changed(&mut self, now: Instant) {
        for entry in self.friends.values_mut() {
            entry.plan_attempts(now);
        }
        self.retry(now);
    }

    pub(super) fn urge(&mut self, now: Instant, root: RootPublic) {
        if let Some(entry) = self.friends.get_mut(&root) {
            entry.plan_attempts(now);
            // A person waits: one who has lost its book is told at once that there is a friendship.
            if !entry.linked && !entry.wanted && entry.record.state == FriendState::Accepted {
                entry.ask.hope(now);
            }
        }
        self.retry(now);
    }

    /// Begins every attempt that is due.
    pub(super) fn retry(&mut self, now: Instant) {
        let name = self.state.name.clone();
        for entry in self.friends.values_mut() {
            if entry.search.start(now) {
                self.outputs.push(Output::Search(entry.record.root));
            }
            if entry.ask.start(now) {
                let Some(address) = entry.address() else {
                    entry.ask.stop();
                    continue;
                };
                let (id, message) = entry.record.request.clone().unwrap_or_default();
                let friends = entry.record.state == FriendState::Accepted;
                self.outputs.push(Output::Ask(address, Request { id, name: name.clone(), message, friends }));
            }
        }
    }

    /// Both sides want it.
    pub(super) fn agreed(&mut self, now: Instant, unix_ms: u64, root: RootPublic) {
        let Some(entry) = self.friends.get_mut(&root) else { return };
        let was_waiting = entry.record.asking == Asking::Delivered;
        entry.record.asking = Asking::Trying;
        if entry.record.state == FriendState::Accepted {
            if was_waiting {
                self.store(&root);
                self.event(Event::Friend(root));
            }
            return;
        }
        entry.record.state = FriendState::Accepted;
        entry.record.granted = 0;
        entry.record.ungranted_ms = unix_ms;
        entry.plan_attempts(now);
        self.store(&root);
        if self.requests.remove(&root).is_some() {
            self.outputs.push(Output::ForgetRequest(root));
            self.event(Event::RequestGone(root));
        }
        self.offer_grant(root);
        self.event(Event::Friend(root));
        self.retry(now);
    }

    /// The friend ended it. What is known of the friend stays until the person removes it.
    fn ended(&mut self, now: Instant, root: RootPublic) {
        let Some(entry) = self.friends.get_mut(&root) else { return };
        entry.record.state = FriendState::Requested;
        entry.record.asking = Asking::Ended;
        entry.record.grant = None;
        entry.record.granted = 0;
        entry.linked = false;
        entry.availability = None;
        entry.plan_attempts(now);
        self.store(&root);
        self.outputs.push(Output::DropLink(root));
        self.event(Event::Friend(root));
    }

    fn seen(&mut self, unix_ms: u64, root: RootPublic) {
        if let Some(entry) = self.friends.get_mut(&root) {
            entry.seen(unix_ms);
            self.store(&root);
        }
    }

    fn set_remote(&mut self, root: RootPublic, name: Option<crate::wire::Name>, availability: Option<Availability>) {
        let Some(entry) = self.friends.get_mut(&root) else { return };
        let before = (entry.record.own_name.clone(), entry.availability);
        if let Some(name) = name {
            entry.record.own_name = Some(name).filter(|name| !name.is_empty());
        }
        entry.availability = availability.or(entry.availability);
        let renamed = before.0 != entry.record.own_name;
        if renamed {
            self.store(&root);
        }
        let Some(entry) = self.friends.get(&root) else { return };
        if renamed || before.1 != entry.availability {
            self.event(Event::Friend(root));
        }
    }

    /// The own presence key is new (or stored, at the start).
    pub(super) fn own_grant(&mut self, unix_ms: u64, grant: Grant) {
        if grant.generation < self.state.generation {
            // A key from before the last rotation: the program ended between. Rotate again.
            self.grant = None;
            return self.outputs.push(Output::RotateGrant(self.state.generation));
        }
        if grant.generation > self.state.generation {
            self.state.generation = grant.generation;
            self.store_book();
        }
        let generation = grant.generation;
        self.grant = Some(grant);
        for entry in self.friends.values_mut() {
            if entry.record.granted < generation && entry.record.ungranted_ms == 0 {
                entry.record.ungranted_ms = unix_ms;
            }
        }
        for root in self.friends.keys().copied().collect::<Vec<_>>() {
            self.offer_grant(root);
        }
    }

    /// Asks the driver for a new presence key: one who could read the slots is not welcome any more.
    pub(super) fn rotate_grant(&mut self, unix_ms: u64) {
        // Never below the clock, so that a book restored from a backup does not reuse a generation.
        self.state.generation = unix_ms.max(self.state.generation + 1);
        self.grant = None;
        for entry in self.friends.values_mut() {
            entry.record.ungranted_ms = unix_ms;
        }
        self.store_book();
        self.outputs.push(Output::RotateGrant(self.state.generation));
    }

    /// The friend says which generation of the own grant it holds: it may have lost what it once acknowledged.
    fn reconcile_grant(&mut self, unix_ms: u64, root: RootPublic, held: u64) {
        let current = self.state.generation;
        let Some(entry) = self.friends.get_mut(&root) else { return };
        let held = if held > current { 0 } else { held };
        if entry.record.granted != held {
            entry.record.granted = held;
            entry.record.ungranted_ms = if held == current { 0 } else { unix_ms };
            self.store(&root);
        }
        self.offer_grant(root);
    }

    fn offer_grant(&mut self, root: RootPublic) {
        let Some(entry) = self.friends.get(&root).filter(|e| e.linked && e.record.state == FriendState::Accepted)
        else {
            return;
        };
        if self.hides(&root) {
            return;
        }
        if let Some(grant) = self.grant.as_ref().filter(|grant| entry.record.granted < grant.generation) {
            self.outputs.push(Output::Send(root, Message::Grant(grant.clone())));
        }
    }

    fn take_grant(&mut self, root: RootPublic, grant: Grant) {
        let Some(entry) = self.friends.get_mut(&root) else { return };
        if entry.record.state != FriendState::Accepted || grant.check().is_err() {
            return;
        }
        let generation = grant.generation;
        if entry.record.grant.as_ref().is_none_or(|old| old.generation < generation) {
            entry.record.grant = Some(grant);
            self.store(&root);
        }
        self.outputs.push(Output::Send(root, Message::GrantStored(generation)));
    }

    fn granted(&mut self, root: RootPublic, generation: u64) {
        let current = self.state.generation;
        let Some(entry) = self.friends.get_mut(&root) else { return };
        // More than was ever given out is a lie and counts as nothing.
        if generation <= current && generation > entry.record.granted {
            entry.record.granted = generation;
            if generation == current {
                entry.record.ungranted_ms = 0;
            }
            self.store(&root);
        }
    }
}
