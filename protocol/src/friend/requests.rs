//! What strangers ask, and what they are told. Everything here is bounded, since anybody who holds the address can ask
//! under as many names as wanted.

use std::time::{Duration, Instant};

use super::book::Book;
use super::{Event, FriendState, Output, RequestRecord};
use crate::identity::RootPublic;
use crate::wire::{Reply, Request};

/// Most requests that wait for the person. None is thrown out for a newer one: when all places are taken, askers are
/// told to come later, and their nodes do. Whoever floods is got rid of with a new contact token.
pub const MAX_REQUESTS: usize = 64;

/// A request that nobody answered for this long is forgotten.
pub const REQUEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// How many requests of new people may come at once.
pub const REQUEST_BURST: u32 = 16;

/// How often one more is allowed after that.
pub const REQUEST_REFILL: Duration = Duration::from_secs(60);

/// How long one person must wait before asking anew, after asking or after being declined.
pub const DECLINE_REST: Duration = Duration::from_secs(60);

/// Most declined requests that are remembered; the oldest goes first. One who is forgotten may just ask again.
pub const MAX_DECLINES: usize = 256;

/// A token bucket over all strangers together.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: REQUEST_BURST, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        while self.tokens < REQUEST_BURST && self.filled + REQUEST_REFILL <= now {
            self.tokens += 1;
            self.filled += REQUEST_REFILL;
        }
        if self.tokens == REQUEST_BURST {
            self.filled = now;
        }
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }
}

impl Book {
    pub(super) fn requested(&mut self, now: Instant, unix_ms: u64, root: RootPublic, request: Request) {
        self.expire(unix_ms);
        let reply = self.judge(now, unix_ms, root, request);
        self.outputs.push(Output::Reply(root, reply));
    }

    fn judge(&mut self, now: Instant, unix_ms: u64, root: RootPublic, request: Request) -> Reply {
        if root == self.own || self.blocked.contains(&root) {
            return Reply::Pending;
        }
        if let Some(entry) = self.friends.get_mut(&root) {
            if entry.record.state == FriendState::Accepted {
                // It has forgotten us or has just been accepted: no person is needed on this side.
                if !entry.linked {
                    entry.plan_attempts(now);
                    self.retry(now);
                }
                return Reply::Accepted;
            }
            if entry.may_link() {
                self.agreed(now, unix_ms, root);
                return Reply::Accepted;
            }
        }
        let rest = u64::try_from(DECLINE_REST.as_millis()).unwrap_or(u64::MAX);
        if let Some(decline) = self.state.declined.iter().find(|decline| decline.root == root) {
            if decline.id == request.id {
                return Reply::Declined;
            }
            if unix_ms < decline.at_ms.saturating_add(rest) {
                return Reply::Later;
            }
        }
        match self.requests.get(&root) {
            Some(waiting) if waiting.id == request.id => return Reply::Pending,
            Some(waiting) if unix_ms < waiting.received_ms.saturating_add(rest) => return Reply::Later,
            Some(_) => {}
            None if self.requests.len() >= MAX_REQUESTS || !self.bucket.take(now) => return Reply::Later,
            None => {}
        }
        let record = RequestRecord {
            root,
            id: request.id,
            name: request.name,
            message: request.message,
            received_ms: unix_ms,
            says_friends: request.friends,
        };
        self.requests.insert(root, record.clone());
        self.outputs.push(Output::StoreRequest(record.clone()));
        self.event(Event::Request(record));
        Reply::Pending
    }

    /// Forgets requests that waited too long.
    pub(super) fn expire(&mut self, unix_ms: u64) {
        let life = u64::try_from(REQUEST_LIFE.as_millis()).unwrap_or(u64::MAX);
        let old = |record: &RequestRecord| record.received_ms.saturating_add(life) <= unix_ms;
        let gone: Vec<_> = self.requests.values().filter(|record| old(record)).map(|record| record.root).collect();
        for root in gone {
            self.requests.remove(&root);
            self.outputs.push(Output::ForgetRequest(root));
            self.event(Event::RequestGone(root));
        }
    }
}
