//! The book: its state, what can be asked of it, and the two doors through which everything comes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::network::Reach;
use super::requests::Bucket;
use super::{BookRecord, Event, FriendRecord, FriendState, Input, Output, RequestRecord};
use crate::address::Address;
use crate::identity::RootPublic;
use crate::link::Backoff;
use crate::rendezvous::Grant;
use crate::wire::{Availability, Name};

/// A friend with what is known at present.
#[derive(Clone, Debug, PartialEq)]
pub struct FriendView {
    /// What is stored.
    pub record: FriendRecord,
    /// The name to show.
    pub name: String,
    /// Whether there is a link and the friend wants to be seen.
    pub online: bool,
    /// Whether there is a link at all.
    pub linked: bool,
    /// What the friend said, while linked.
    pub availability: Option<Availability>,
    /// What stands in the way, in one sentence.
    pub trouble: Option<String>,
}

/// A slot that this node has to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotPlan {
    /// The presence slot for all friends.
    Presence,
    /// The pair slot for one friend who cannot use the presence slot.
    Pair {
        /// For whom.
        root: RootPublic,
        /// Since when it has been needed (Unix ms): the longer ago, the less often it is renewed. `None`: always, since
        /// the own addresses are hidden from this friend, who never gets the grant.
        since_ms: Option<u64>,
    },
    /// The contact slot for strangers who hold the address.
    Contact,
}

/// A friend as the book keeps it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) record: FriendRecord,
    pub(super) linked: bool,
    pub(super) availability: Option<Availability>,
    pub(super) search: Reach,
    pub(super) ask: Reach,
    /// Pauses after "later".
    pub(super) later: Backoff,
    /// A call with this friend goes on, or waits to.
    pub(super) wanted: bool,
}

/// Everybody this node knows.
#[derive(Clone, Debug)]
pub struct Book {
    pub(super) own: RootPublic,
    pub(super) state: BookRecord,
    pub(super) blocked: BTreeSet<RootPublic>,
    pub(super) grant: Option<Grant>,
    pub(super) friends: BTreeMap<RootPublic, Entry>,
    pub(super) requests: BTreeMap<RootPublic, RequestRecord>,
    pub(super) bucket: Bucket,
    pub(super) seed: u64,
    pub(super) plan: Vec<SlotPlan>,
    pub(super) outputs: Vec<Output>,
}

impl Book {
    /// A book with what the store kept. `seed` makes the jitter of retries. Searching begins at the first
    /// [`Book::handle_timeout`], which is due at once.
    #[must_use]
    pub fn new(
        now: Instant,
        own: RootPublic,
        seed: u64,
        state: BookRecord,
        friends: Vec<FriendRecord>,
        requests: Vec<RequestRecord>,
    ) -> Self {
        let mut book = Self {
            own,
            blocked: state.blocked.iter().copied().collect(),
            state,
            grant: None,
            friends: BTreeMap::new(),
            requests: requests.into_iter().map(|request| (request.root, request)).collect(),
            bucket: Bucket::new(now),
            seed,
            plan: Vec::new(),
            outputs: Vec::new(),
        };
        for record in friends {
            book.insert(now, record);
        }
        book.plan = book.slots();
        book
    }

    /// Takes what happened; returns what to do, in order.
    pub fn handle(&mut self, now: Instant, unix_ms: u64, input: Input) -> Vec<Output> {
        match input {
            Input::Add { address, name, message, id } => self.add(now, unix_ms, address, name, message, id),
            Input::Accept { root, name } => self.accept(now, unix_ms, root, name),
            Input::Decline(root) => self.decline(unix_ms, root),
            Input::Block(root) => self.block(unix_ms, root),
            Input::Unblock(root) => self.unblock(root),
            Input::Rename(root, name) => self.rename(root, name),
            Input::Verify(root, verified) => self.verify(root, verified),
            Input::Remove(root) => self.remove(unix_ms, root),
            Input::Profile(name) => self.profile(name),
            Input::Availability(availability) => self.set_availability(availability),
            Input::OwnGrant(grant) => self.own_grant(unix_ms, grant),
            Input::LinkUp(root) => self.link_up(root),
            Input::LinkDown(root) => self.link_down(now, unix_ms, root),
            Input::Received(root, message) => self.received(now, unix_ms, root, message),
            Input::Request(root, request) => self.requested(now, unix_ms, root, request),
            Input::Asked(root, asked) => self.asked(now, unix_ms, root, asked),
            Input::SearchFailed(root) => self.search_failed(now, root),
            Input::NetworkChanged => self.network_changed(now),
            Input::Urge(root) => self.urge(now, root),
            Input::Hide { friend, hidden } => self.hide(unix_ms, friend, hidden),
            Input::Wanted(root, wanted) => self.wanted(now, root, wanted),
        }
        self.finish()
    }

    /// When [`Book::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.friends.values().flat_map(|entry| [entry.search.due(), entry.ask.due()]).flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant, unix_ms: u64) -> Vec<Output> {
        self.expire(unix_ms);
        self.retry(now);
        self.finish()
    }

    /// A friend as it is now.
    #[must_use]
    pub fn friend(&self, root: &RootPublic) -> Option<FriendView> {
        self.friends.get(root).map(Entry::view)
    }

    /// All friends, by root.
    pub fn friends(&self) -> impl Iterator<Item = FriendView> {
        self.friends.values().map(Entry::view)
    }

    /// What strangers asked, by root.
    pub fn requests(&self) -> impl Iterator<Item = &RequestRecord> {
        self.requests.values()
    }

    /// Who is blocked.
    pub fn blocked(&self) -> impl Iterator<Item = &RootPublic> {
        self.blocked.iter()
    }

    /// Who may open a link: friends, and those asked to be (their link is the acceptance).
    pub fn gate(&self) -> impl Iterator<Item = &RootPublic> {
        self.friends.values().filter(|entry| entry.may_link()).map(|entry| &entry.record.root)
    }

    /// Whether calls to and from this person are welcome.
    #[must_use]
    pub fn is_friend(&self, root: &RootPublic) -> bool {
        self.friends.get(root).is_some_and(|entry| entry.record.state == FriendState::Accepted)
    }

    /// Whether the own addresses are hidden from this person: links and calls run through relays only.
    #[must_use]
    pub fn hides(&self, root: &RootPublic) -> bool {
        self.friends.get(root).and_then(|entry| entry.record.hidden).unwrap_or(self.state.hide_all)
    }

    /// Whether the own addresses are hidden from everybody of whom nothing else is said.
    #[must_use]
    pub fn hides_all(&self) -> bool {
        self.state.hide_all
    }

    /// Whether the own addresses are hidden from anybody: strangers then get them neither.
    #[must_use]
    pub fn hides_any(&self) -> bool {
        self.state.hide_all || self.friends.values().any(|entry| entry.record.hidden == Some(true))
    }

    /// The name to show for somebody.
    #[must_use]
    pub fn name_of(&self, root: &RootPublic) -> String {
        self.friends.get(root).map_or_else(|| root.short(), Entry::name)
    }

    /// The own name.
    #[must_use]
    pub fn own_name(&self) -> &Name {
        &self.state.name
    }

    /// The own availability.
    #[must_use]
    pub fn availability(&self) -> Availability {
        self.state.availability
    }

    /// Which slots are to be published.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotPlan> {
        let mut plan = vec![SlotPlan::Presence];
        if self.state.availability != Availability::Invisible {
            plan.push(SlotPlan::Contact);
        }
        let generation = self.state.generation;
        plan.extend(self.friends.values().filter(|entry| entry.may_link()).filter_map(|entry| {
            let record = &entry.record;
            if self.hides(&record.root) {
                return Some(SlotPlan::Pair { root: record.root, since_ms: None });
            }
            let served = record.state == FriendState::Accepted && record.granted >= generation.max(1);
            (!served).then_some(SlotPlan::Pair { root: record.root, since_ms: Some(record.ungranted_ms) })
        }));
        plan
    }

    pub(super) fn insert(&mut self, now: Instant, record: FriendRecord) {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut entry = Entry {
            linked: false,
            availability: None,
            search: Reach::search(self.seed),
            ask: Reach::ask(self.seed ^ u64::MAX),
            later: Reach::later(self.seed.rotate_left(32)),
            wanted: false,
            record,
        };
        entry.plan_attempts(now);
        self.friends.insert(entry.record.root, entry);
    }

    pub(super) fn store(&mut self, root: &RootPublic) {
        if let Some(entry) = self.friends.get(root) {
            self.outputs.push(Output::StoreFriend(entry.record.clone()));
        }
    }

    pub(super) fn store_book(&mut self) {
        self.state.blocked = self.blocked.iter().copied().collect();
        self.outputs.push(Output::StoreBook(self.state.clone()));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push(Output::Event(event));
    }

    fn finish(&mut self) -> Vec<Output> {
        let plan = self.slots();
        if plan != self.plan {
            self.plan = plan;
            self.outputs.push(Output::PlanChanged);
        }
        std::mem::take(&mut self.outputs)
    }
}

impl Entry {
    pub(super) fn may_link(&self) -> bool {
        match self.record.state {
            FriendState::Accepted => true,
            FriendState::Requested => !matches!(self.record.asking, super::Asking::Declined | super::Asking::Ended),
        }
    }

    pub(super) fn name(&self) -> String {
        let given = self.record.name.as_ref().filter(|name| !name.is_empty());
        let own = self.record.own_name.as_ref().filter(|name| !name.is_empty());
        given.or(own).map_or_else(|| self.record.root.short(), Name::to_string)
    }

    pub(super) fn address(&self) -> Option<Address> {
        self.record.token.map(|token| Address { root: self.record.root, token })
    }

    fn view(&self) -> FriendView {
        let availability = self.availability.filter(|_| self.linked);
        FriendView {
            record: self.record.clone(),
            name: self.name(),
            online: self.linked
                && self.record.state == FriendState::Accepted
                && availability != Some(Availability::Invisible),
            linked: self.linked,
            availability,
            trouble: self.trouble(),
        }
    }
}

/// No pause.
pub(super) const AT_ONCE: Duration = Duration::ZERO;
