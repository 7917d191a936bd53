//! What the person does with the book.

use std::time::Instant;

use super::book::Book;
use super::{
    Asking, Decline, Event, FriendRecord, FriendState, MAX_BLOCKED, MAX_DECLINES, MAX_FRIENDS, Output, Refusal,
};
use crate::address::Address;
use crate::identity::RootPublic;
use crate::wire::{Availability, Friendship, Message, Name, Note, RequestId};

impl Book {
    pub(super) fn add(
        &mut self,
        now: Instant,
        unix_ms: u64,
        address: Address,
        name: Option<Name>,
        message: Note,
        id: RequestId,
    ) {
        let root = address.root;
        if root == self.own {
            return self.refuse(root, Refusal::Own);
        }
        if self.blocked.contains(&root) {
            return self.refuse(root, Refusal::Blocked);
        }
        if let Some(entry) = self.friends.get_mut(&root) {
            // Either way the address that was added last is the one to use.
            entry.record.token = Some(address.token);
            let accepted = entry.record.state == FriendState::Accepted;
            if !accepted {
                entry.record.asking = Asking::Trying;
                entry.record.request = Some((id, message));
                entry.record.name = name.or(entry.record.name.take());
                entry.record.ungranted_ms = unix_ms;
                entry.plan_attempts(now);
            }
            self.store(&root);
            if accepted {
                return self.refuse(root, Refusal::AlreadyFriends);
            }
            self.event(Event::Friend(root));
            return self.retry(now);
        }
        if self.friends.len() >= MAX_FRIENDS {
            return self.refuse(root, Refusal::TooMany(MAX_FRIENDS));
        }
        self.insert(
            now,
            FriendRecord {
                root,
                token: Some(address.token),
                name,
                own_name: None,
                state: FriendState::Requested,
                asking: Asking::Trying,
                request: Some((id, message)),
                verified: false,
                added_ms: unix_ms,
                last_seen_ms: None,
                grant: None,
                granted: 0,
                ungranted_ms: unix_ms,
                hidden: None,
            },
        );
        if self.requests.contains_key(&root) {
            // Both asked: that is a friendship.
            return self.agreed(now, unix_ms, root);
        }
        self.store(&root);
        self.event(Event::Friend(root));
        self.retry(now);
    }

    pub(super) fn accept(&mut self, now: Instant, unix_ms: u64, root: RootPublic, name: Option<Name>) {
        let Some(request) = self.requests.get(&root) else { return self.refuse(root, Refusal::NoRequest) };
        if self.friends.len() >= MAX_FRIENDS && !self.friends.contains_key(&root) {
            return self.refuse(root, Refusal::TooMany(MAX_FRIENDS));
        }
        let own_name = Some(request.name.clone()).filter(|name| !name.is_empty());
        let before = self.friends.get(&root).map(|entry| entry.record.clone());
        let token = before.as_ref().and_then(|record| record.token);
        let name = name.or_else(|| before.and_then(|record| record.name));
        self.insert(
            now,
            FriendRecord {
                root,
                token,
                name,
                own_name,
                state: FriendState::Requested,
                asking: Asking::Trying,
                request: None,
                verified: false,
                added_ms: unix_ms,
                last_seen_ms: None,
                grant: None,
                granted: 0,
                ungranted_ms: unix_ms,
                hidden: None,
            },
        );
        self.agreed(now, unix_ms, root);
    }

    pub(super) fn decline(&mut self, unix_ms: u64, root: RootPublic) {
        let Some(request) = self.requests.remove(&root) else { return self.refuse(root, Refusal::NoRequest) };
        self.state.declined.retain(|decline| decline.root != root);
        if self.state.declined.len() >= MAX_DECLINES {
            self.state.declined.remove(0);
        }
        self.state.declined.push(Decline { root, id: request.id, at_ms: unix_ms });
        self.store_book();
        self.outputs.push(Output::ForgetRequest(root));
        self.event(Event::RequestGone(root));
    }

    pub(super) fn block(&mut self, unix_ms: u64, root: RootPublic) {
        if root == self.own {
            return self.refuse(root, Refusal::Own);
        }
        if self.blocked.len() >= MAX_BLOCKED && !self.blocked.contains(&root) {
            return self.refuse(root, Refusal::TooMany(MAX_BLOCKED));
        }
        self.blocked.insert(root);
        self.state.declined.retain(|decline| decline.root != root);
        self.store_book();
        if self.requests.remove(&root).is_some() {
            self.outputs.push(Output::ForgetRequest(root));
            self.event(Event::RequestGone(root));
        }
        self.outputs.push(Output::RotateToken);
        if self.friends.remove(&root).is_some() {
            // Silent: the friend is not told, and finds nobody any more.
            self.outputs.push(Output::ForgetFriend(root));
            self.outputs.push(Output::DropLink(root));
            self.event(Event::FriendRemoved(root));
            self.rotate_grant(unix_ms);
        }
    }

    pub(super) fn unblock(&mut self, root: RootPublic) {
        if !self.blocked.remove(&root) {
            return self.refuse(root, Refusal::NotBlocked);
        }
        self.store_book();
    }

    pub(super) fn rename(&mut self, root: RootPublic, name: Name) {
        let Some(entry) = self.friends.get_mut(&root) else { return self.refuse(root, Refusal::NoFriend) };
        entry.record.name = Some(name).filter(|name| !name.is_empty());
        self.store(&root);
        self.event(Event::Friend(root));
    }

    pub(super) fn verify(&mut self, root: RootPublic, verified: bool) {
        let Some(entry) = self.friends.get_mut(&root) else { return self.refuse(root, Refusal::NoFriend) };
        entry.record.verified = verified;
        self.store(&root);
        self.event(Event::Friend(root));
    }

    pub(super) fn remove(&mut self, unix_ms: u64, root: RootPublic) {
        let Some(entry) = self.friends.remove(&root) else { return self.refuse(root, Refusal::NoFriend) };
        if entry.linked {
            self.outputs.push(Output::Send(root, Message::Friendship(Friendship::Removed)));
        }
        self.outputs.push(Output::ForgetFriend(root));
        self.outputs.push(Output::DropLink(root));
        self.event(Event::FriendRemoved(root));
        if entry.record.state == FriendState::Accepted {
            self.rotate_grant(unix_ms);
        }
    }

    pub(super) fn hide(&mut self, unix_ms: u64, friend: Option<RootPublic>, hidden: bool) {
        let before: Vec<RootPublic> = self.friends.keys().filter(|root| self.hides(root)).copied().collect();
        match friend {
            None => self.state.hide_all = hidden,
            Some(root) => match self.friends.get_mut(&root) {
                Some(entry) => entry.record.hidden = Some(hidden),
                None => return self.refuse(root, Refusal::NoFriend),
            },
        }
        match friend {
            None => self.store_book(),
            Some(root) => self.store(&root),
        }
        let changed: Vec<RootPublic> =
            self.friends.keys().filter(|root| before.contains(root) != self.hides(root)).copied().collect();
        // Whoever holds the grant would go on reading the presence slots, which tell where this node is.
        let knew = |root: &RootPublic| self.friends[root].record.state == FriendState::Accepted;
        if changed.iter().any(|root| self.hides(root) && knew(root)) {
            self.rotate_grant(unix_ms);
        }
        for root in changed {
            self.outputs.push(Output::Relink(root));
            self.event(Event::Friend(root));
        }
        if let Some(root) = friend {
            // The person's word is shown even where it changes nothing, because everybody is hidden from.
            self.event(Event::Friend(root));
        }
    }

    pub(super) fn profile(&mut self, name: Name) {
        if self.state.name != name {
            self.state.name = name.clone();
            self.store_book();
            self.tell_all(&Message::Profile(name));
        }
    }

    pub(super) fn set_availability(&mut self, availability: Availability) {
        if self.state.availability != availability {
            self.state.availability = availability;
            self.store_book();
            self.tell_all(&Message::Presence(availability));
            self.event(Event::Availability(availability));
        }
    }

    fn tell_all(&mut self, message: &Message) {
        let linked = self.friends.values().filter(|entry| entry.linked);
        self.outputs.extend(linked.map(|entry| Output::Send(entry.record.root, message.clone())));
    }

    pub(super) fn refuse(&mut self, root: RootPublic, refusal: Refusal) {
        self.outputs.push(Output::Refused(root, refusal));
    }
}
