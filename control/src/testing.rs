//! A node in memory, for tests of the server and of clients (feature `testing`).
//!
//! [`FakeNode`] keeps the same contract as a real node as far as one process can: names are looked up the same way,
//! events follow every change, seats are held by one client at a time, a slow follower of events is dropped. What only
//! a network could do is done by the test: [`FakeNode::stranger_asks`], [`FakeNode::friend_calls`],
//! [`FakeNode::friend_answers`], and the far end of a seat's media by [`FakeNode::far_end`].

mod chat;
mod handle;
mod samples;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::limits::MEDIA_QUEUE;
use crate::*;

pub use samples::{PHRASE, sample_address, sample_call, sample_friend, sample_id, sample_preflight, sample_relay};

/// Events that wait for one follower before it is dropped.
pub const EVENT_QUEUE: usize = 256;
/// As long as a node offers to resume a lost call.
const RESUMABLE_MS: u64 = 300_000;

/// A node in memory. Clones are the same node.
#[derive(Clone, Default)]
pub struct FakeNode {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    locked_by: Option<String>,
    name: String,
    rotations: u64,
    availability: Availability,
    friends: Vec<Friend>,
    requests: Vec<Request>,
    privacy: Privacy,
    relay: RelayPolicy,
    blocked: Vec<FriendId>,
    calls: Vec<Call>,
    seats: HashMap<CallId, SeatToken>,
    far_ends: HashMap<CallId, MediaChannel>,
    history: Vec<HistoryEntry>,
    chats: Vec<chat::Chat>,
    files: Vec<FileTransfer>,
    picture: Picture,
    settings: Option<Settings>,
    followers: Vec<mpsc::Sender<Event>>,
    counter: u64,
    delay: Duration,
    stopped: bool,
}

impl FakeNode {
    /// A node without friends.
    pub fn new() -> Self {
        Self::default()
    }

    /// Locks it; every operation but a few is refused until it is unlocked with this passphrase.
    pub fn lock(&self, passphrase: &str) {
        self.state().locked_by = Some(passphrase.to_owned());
    }

    /// Makes every operation from now on take this long.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Whether it was told to stop.
    pub fn stopped(&self) -> bool {
        self.state().stopped
    }

    /// Followers of the event stream that are still there.
    pub fn followers(&self) -> usize {
        let mut state = self.state();
        state.followers.retain(|follower| !follower.is_closed());
        state.followers.len()
    }

    /// Tells an event to all followers; who has [`EVENT_QUEUE`] unread ones is dropped.
    pub fn emit(&self, event: &Event) {
        self.state().emit(event);
    }

    /// Adds a friend who has accepted already and is online.
    pub fn befriend(&self, name: &str) -> Friend {
        let mut state = self.state();
        let friend = sample_friend(name);
        state.friends.push(friend.clone());
        state.emit(&Event::Friend { friend: friend.clone() });
        friend
    }

    /// A stranger asks to be a friend.
    pub fn stranger_asks(&self, name: &str, message: &str) -> Request {
        let mut state = self.state();
        let request = Request {
            id: sample_id(name),
            name: name.to_owned(),
            message: message.to_owned(),
            received_ms: state.now(),
            says_friends: false,
        };
        state.requests.push(request.clone());
        state.emit(&Event::Request { request: request.clone() });
        request
    }

    /// A friend calls.
    ///
    /// # Panics
    /// If there is no such friend.
    #[expect(clippy::expect_used, reason = "a test helper; a wrong name is a fault of the test")]
    pub fn friend_calls(&self, friend: &str, video: bool) -> Call {
        let mut state = self.state();
        let friend = state.find(friend).expect("the test named a friend that it added");
        let call = state.open_call(&friend, Direction::Incoming, CallState::Ringing, video);
        state.emit(&Event::CallIncoming { call: call.clone() });
        call
    }

    /// The friend answers a call that was placed here.
    ///
    /// # Panics
    /// If there is no such call.
    #[expect(clippy::expect_used, reason = "a test helper; a wrong name is a fault of the test")]
    pub fn friend_answers(&self, call: &str) -> Call {
        let mut state = self.state();
        let now = state.now();
        state
            .change(call, |call| {
                call.state = CallState::Active;
                call.answered_ms = Some(now);
            })
            .expect("the test named a call that it placed")
    }

    /// The far end of a seat's media, once a client has opened it: what the client sends comes out of `rx`.
    pub fn far_end(&self, call: &str) -> Option<MediaChannel> {
        self.state().far_ends.remove(call)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as told, and refuses what a locked node refuses.
    async fn enter(&self) -> Result<()> {
        let (delay, locked) = {
            let state = self.state();
            (state.delay, state.locked_by.is_some())
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if locked {
            return Err(Error::new(Code::Locked, "the node is locked").hint("open it with `twocan unlock`"));
        }
        Ok(())
    }
}

impl State {
    /// A clock that only counts: tests see the order of things, and nothing depends on the time of day.
    fn now(&mut self) -> u64 {
        self.counter += 1;
        1_700_000_000_000 + self.counter
    }

    fn emit(&mut self, event: &Event) {
        self.followers.retain(|follower| follower.try_send(event.clone()).is_ok());
    }

    fn find(&self, whom: &str) -> Result<Friend> {
        let is_id = whom.len() >= 6 && whom.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found = self.friends.iter().filter(|friend| {
            friend.name == whom || sample_address(&friend.name) == whom || (is_id && friend.id.starts_with(whom))
        });
        match (found.next(), found.next()) {
            (Some(friend), None) => Ok(friend.clone()),
            (Some(_), Some(_)) => {
                Err(Error::new(Code::Ambiguous, format!("more than one friend matches {whom}")).hint("use the id"))
            }
            (None, _) => {
                Err(Error::new(Code::NotFound, format!("no friend is called {whom}"))
                    .hint("`twocan friends` lists them"))
            }
        }
    }

    fn open_call(&mut self, friend: &Friend, direction: Direction, state: CallState, video: bool) -> Call {
        let now = self.now();
        let mut call = sample_call(friend, direction, state);
        call.id = format!("{:032x}", self.counter);
        call.started_ms = now;
        call.wants_video = video;
        self.calls.push(call.clone());
        call
    }

    fn call(&self, id: &str) -> Result<Call> {
        let found = self.calls.iter().find(|call| !id.is_empty() && call.id.starts_with(id)).cloned();
        found.ok_or_else(|| Error::new(Code::NotFound, format!("no call has the id {id}")))
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Call)) -> Result<Call> {
        let id = self.call(id)?.id;
        let call = self.calls.iter_mut().find(|call| call.id == id);
        let call = call.ok_or_else(|| Error::new(Code::NotFound, "the call is gone"))?;
        change(call);
        let call = call.clone();
        self.emit(&Event::Call { call: call.clone() });
        Ok(call)
    }

    fn seat(&mut self, call: &str) -> SeatToken {
        self.counter += 1;
        let seat = SeatToken(format!("{:064x}", self.counter));
        self.seats.insert(call.to_owned(), seat.clone());
        seat
    }

    fn end(&mut self, id: &str, outcome: Outcome, reason: Option<String>) -> Result<()> {
        let now = self.now();
        let call = self.change(id, |call| {
            call.state = CallState::Ended;
            call.ended_ms = Some(now);
            call.outcome = Some(outcome);
            call.reason.clone_from(&reason);
        })?;
        self.seats.remove(&call.id);
        self.far_ends.remove(&call.id);
        let entry = HistoryEntry {
            id: call.id,
            friend: call.friend,
            friend_name: call.friend_name,
            direction: call.direction,
            outcome,
            reason,
            started_ms: call.started_ms,
            talked_ms: call.answered_ms.map_or(0, |answered| now - answered),
            video: call.video || call.remote_video,
            unseen: call.direction == Direction::Incoming && call.answered_ms.is_none(),
            resumes: call.resumes,
            resumable_until_ms: (outcome == Outcome::Failed && call.answered_ms.is_some())
                .then_some(now + RESUMABLE_MS),
        };
        self.history.insert(0, entry);
        Ok(())
    }

    fn open_media(&mut self, id: &str) -> MediaChannel {
        let (to_node, from_client) = mpsc::channel(MEDIA_QUEUE);
        let (to_client, from_node) = mpsc::channel(MEDIA_QUEUE);
        self.far_ends.insert(id.to_owned(), MediaChannel { tx: to_client, rx: from_client });
        MediaChannel { tx: to_node, rx: from_node }
    }
}
