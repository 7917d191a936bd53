//! What the window shows, as plain data: updates in, views out. Knows no window, no socket, no clock.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use twocan_control::{
    Availability, Call, CallId, CallState, Code, Direction, Error, Event, Friend, FriendId, FriendState, Identity,
    Quality, Request, Status,
};

pub mod call;
pub mod chat;
pub mod desk;
pub mod people;
pub mod ring;

use call::Stage;
use call::gear::{Found, Gears};

/// Most messages that are kept to be shown; the oldest go first.
const MAX_TOASTS: usize = 4;
/// How long a message stays, milliseconds.
const TOAST_MS: u64 = 8_000;
/// How long an ended call is still shown, milliseconds.
const ENDED_MS: u64 = 4_000;

/// How the window stands to the node.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Node {
    /// Not known yet: the first attempt is under way.
    #[default]
    Looking,
    /// It does not run, or cannot be used; why, and what to do.
    Missing(Error),
    /// It waits for its passphrase.
    Locked,
    /// Connected.
    Up,
}

/// All that the node was asked for when the connection was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Who I am.
    pub identity: Identity,
    /// How the node is.
    pub status: Status,
    /// Friends and the asked.
    pub friends: Vec<Friend>,
    /// What strangers asked.
    pub requests: Vec<Request>,
    /// Calls that are not over.
    pub calls: Vec<Call>,
}

/// What the worker tells.
#[derive(Clone, Debug)]
pub enum Update {
    /// Connected: this is the state, changes follow.
    Connected(Snapshot),
    /// The node waits for its passphrase.
    Locked,
    /// There is no node, or it went away.
    Missing(Error),
    /// The node was asked again.
    Refreshed {
        /// Who I am.
        identity: Identity,
        /// How the node is.
        status: Status,
    },
    /// Something happened.
    Event(Event),
    /// An answer to a page.
    Node(desk::NodeUpdate),
    /// A command was refused.
    Refused(Error),
    /// A command was done, and nothing else would tell.
    Done(String),
    /// The devices of the call: something does not work, or works again.
    Device {
        /// Which part, in a word.
        part: &'static str,
        /// What is wrong; `None` when it works again.
        trouble: Option<String>,
    },
    /// This window has the seat of that call now; `None` when it has none any more.
    Seat(Option<CallId>),
    /// Numbers of the call that is here, about once a second.
    Quality {
        /// Which call.
        call: CallId,
        /// As they are now.
        quality: Quality,
    },
    /// A recording is complete.
    Recorded(PathBuf),
    /// What there is to choose from.
    Found(Found),
}

/// A message that goes away by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Toast {
    /// What it says.
    pub text: String,
    /// What helps.
    pub hint: Option<String>,
    /// Whether something went wrong.
    pub bad: bool,
    /// Where the person can do something about it.
    pub help: Option<Help>,
    /// When it appeared (Unix ms).
    pub since_ms: u64,
}

/// A button on a message about something that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// Start the node.
    Start,
    /// Choose other devices.
    Devices,
    /// Look at the network.
    Doctor,
}

impl Help {
    /// What helps against an error.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        match error.code {
            Code::NoNode => Some(Self::Start),
            Code::Unreachable => Some(Self::Doctor),
            _ => None,
        }
    }
}

/// A line of the list of friends.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// The friend.
    pub friend: &'a Friend,
    /// Second line.
    pub line: String,
    /// Whether a call with this friend is under way.
    pub in_call: bool,
    /// Lines that were not read.
    pub unread: u32,
    /// When the last of them came, in a word.
    pub time: String,
}

/// Everything that the window shows.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// How we stand to the node.
    pub node: Node,
    /// Who I am, once known.
    pub identity: Option<Identity>,
    /// How the node is, once known.
    pub status: Option<Status>,
    /// My availability.
    pub availability: Availability,
    friends: BTreeMap<FriendId, Friend>,
    requests: Vec<Request>,
    calls: BTreeMap<CallId, Call>,
    /// When calls that are shown a little longer ended, by this machine's clock.
    ended: BTreeMap<CallId, u64>,
    /// What does not work in the call, by part.
    pub devices: BTreeMap<&'static str, String>,
    /// The call whose sound and picture are here.
    pub seat: Option<CallId>,
    /// The call that is here, beyond what the node keeps of it.
    pub stage: Stage,
    /// What there is to choose from.
    pub gears: Gears,
    /// What the person did about calls that ring.
    pub rings: ring::Rings,
    toasts: VecDeque<Toast>,
    /// Conversations and files.
    pub chats: chat::Chats,
    /// What was asked of the node for one page.
    pub desk: desk::Desk,
    /// Grows with everything that may change the order of friends.
    revision: u64,
    listed: people::Listed,
    /// The connection is new: everything is to be asked for.
    pub fresh: bool,
    /// A node was here in this run: that it is gone is news.
    pub was_up: bool,
    /// The friend whose page is shown.
    pub selected: Option<FriendId>,
}

impl Model {
    /// Takes in what the worker tells; `now_ms` is Unix time.
    pub fn apply(&mut self, update: Update, now_ms: u64) {
        match update {
            Update::Connected(snapshot) => self.connected(snapshot),
            Update::Locked => self.node = Node::Locked,
            Update::Missing(error) => {
                // What was shown of a node that went away is not true any more.
                let (selected, drafts) = (self.selected.take(), std::mem::take(&mut self.chats.drafts));
                let was_up = self.was_up;
                *self = Self { node: Node::Missing(error), selected, was_up, ..Self::default() };
                self.chats.drafts = drafts;
            }
            Update::Refreshed { identity, status } => {
                self.availability = status.availability;
                (self.identity, self.status) = (Some(identity), Some(status));
            }
            Update::Event(event) => self.event(event, now_ms),
            Update::Node(update) => {
                if let Some(update) = self.chats.apply(update) {
                    self.desk.apply(update);
                }
                self.revision += 1;
            }
            Update::Refused(error) => {
                let help = Help::of(&error);
                self.say(Toast { text: error.message, hint: error.hint, bad: true, help, since_ms: now_ms });
            }
            Update::Done(text) => self.toast(text, false, now_ms),
            Update::Device { part, trouble: Some(text) } => drop(self.devices.insert(part, text)),
            Update::Device { part, trouble: None } => drop(self.devices.remove(part)),
            Update::Seat(seat) => {
                if let Some(call) = &seat {
                    self.rings.taken(call);
                }
                self.seat = seat;
                self.devices.clear();
                self.stage = Stage::default();
            }
            Update::Found(found) => self.gears.found(found),
            Update::Quality { call, quality } => {
                self.stage.numbers(&quality, now_ms);
                if let Some(call) = self.calls.get_mut(&call) {
                    call.quality = Some(quality);
                }
            }
            Update::Recorded(path) => self.toast(format!("The recording is {}", path.display()), false, now_ms),
        }
        self.tidy(now_ms);
    }

    /// Removes what was only to be seen for a while. Returns whether anything is left that will go by itself.
    pub fn tidy(&mut self, now_ms: u64) -> bool {
        self.toasts.retain(|toast| now_ms.saturating_sub(toast.since_ms) < TOAST_MS);
        self.ended.retain(|id, since| {
            let keep = now_ms.saturating_sub(*since) < ENDED_MS;
            if !keep {
                self.calls.remove(id);
            }
            keep
        });
        self.rings.tidy(&self.calls);
        !self.toasts.is_empty() || !self.ended.is_empty()
    }

    fn connected(&mut self, snapshot: Snapshot) {
        self.node = Node::Up;
        (self.fresh, self.was_up) = (true, true);
        self.revision += 1;
        self.desk = desk::Desk::default();
        self.availability = snapshot.status.availability;
        (self.identity, self.status) = (Some(snapshot.identity), Some(snapshot.status));
        self.friends = snapshot.friends.into_iter().map(|friend| (friend.id.clone(), people::clean(friend))).collect();
        self.requests = snapshot.requests.into_iter().map(people::clean_request).collect();
        let running = snapshot.calls.into_iter().filter(|call| call.state != CallState::Ended);
        self.calls = running.map(|call| (call.id.clone(), people::clean_call(call))).collect();
        self.ended.clear();
        if self.selected.as_ref().is_some_and(|id| !self.friends.contains_key(id)) {
            self.selected = None;
        }
    }

    fn event(&mut self, event: Event, now_ms: u64) {
        self.revision += 1;
        match event {
            Event::Friend { friend } => drop(self.friends.insert(friend.id.clone(), people::clean(friend))),
            Event::FriendRemoved { id } => {
                self.friends.remove(&id);
                if self.selected.as_ref() == Some(&id) {
                    self.selected = None;
                }
            }
            Event::Request { request } => {
                self.requests.retain(|known| known.id != request.id);
                self.requests.push(people::clean_request(request));
            }
            Event::RequestGone { id } => self.requests.retain(|request| request.id != id),
            Event::CallIncoming { call } | Event::Call { call } => self.call_changed(call, now_ms),
            Event::Message { message } => self.chats.line(message),
            Event::Conversation { conversation } => self.chats.changed(conversation),
            Event::ConversationRemoved { friend } => self.chats.removed(&friend),
            Event::File { file } => drop(self.chats.files.insert(file.id.clone(), file)),
            Event::FileRemoved { id } => drop(self.chats.files.remove(&id)),
            Event::HistorySeen { .. } => self.desk.history_stale = true,
            Event::Availability { availability } => self.availability = availability,
            Event::Notice { text } => self.toast(text, false, now_ms),
            _ => {}
        }
    }

    fn call_changed(&mut self, call: Call, now_ms: u64) {
        let call = people::clean_call(call);
        self.desk.history_stale |= call.state == CallState::Ended;
        if call.state == CallState::Ended {
            if self.calls.contains_key(&call.id) {
                self.ended.entry(call.id.clone()).or_insert(now_ms);
            } else {
                return;
            }
        }
        let old = self.calls.remove(&call.id).and_then(|old| old.quality);
        // Events tell what changed; the numbers come by themselves.
        let quality = call.quality.or(old);
        self.calls.insert(call.id.clone(), Call { quality, ..call });
    }

    /// Shows a message of the window itself.
    pub fn tell(&mut self, text: impl Into<String>, bad: bool, now_ms: u64) {
        self.toast(text.into(), bad, now_ms);
    }

    /// Takes a message away.
    pub fn forget_toast(&mut self, at: usize) {
        self.toasts.remove(at);
    }

    fn toast(&mut self, text: String, bad: bool, now_ms: u64) {
        self.say(Toast { text, hint: None, bad, help: None, since_ms: now_ms });
    }

    fn say(&mut self, toast: Toast) {
        self.toasts.retain(|known| known.text != toast.text);
        if self.toasts.len() == MAX_TOASTS {
            self.toasts.pop_front();
        }
        self.toasts.push_back(toast);
    }

    /// Messages to show, oldest first.
    pub fn toasts(&self) -> impl Iterator<Item = &Toast> {
        self.toasts.iter()
    }

    /// Strangers' requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The friend whose page is shown.
    #[must_use]
    pub fn selected(&self) -> Option<&Friend> {
        self.friends.get(self.selected.as_ref()?)
    }

    /// How many friends are there, and how many of them online.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let accepted = self.friends.values().filter(|f| f.state == FriendState::Accepted);
        accepted.fold((0, 0), |(all, online), friend| (all + 1, online + usize::from(friend.online)))
    }

    /// The call with a friend that is under way, or just ended.
    #[must_use]
    pub fn call_with(&self, friend: &str) -> Option<&Call> {
        self.calls.values().filter(|call| call.friend == friend).min_by_key(|call| call.state == CallState::Ended)
    }

    /// Calls that ring here, the oldest first.
    #[must_use]
    pub fn ringing(&self) -> Vec<&Call> {
        let incoming = |call: &&Call| call.direction == Direction::Incoming && call.state == CallState::Ringing;
        let mut calls: Vec<&Call> = self.calls.values().filter(incoming).collect();
        calls.sort_by_key(|call| call.started_ms);
        calls
    }

    /// All calls that are not over, and those that just ended.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    /// A call by its id.
    #[must_use]
    pub fn call(&self, id: &str) -> Option<&Call> {
        self.calls.get(id)
    }

    /// The call to show large: the one with its sound here, else the one that was begun last and does not ring here.
    #[must_use]
    pub fn current_call(&self) -> Option<&Call> {
        let ringing = |call: &Call| call.direction == Direction::Incoming && call.state == CallState::Ringing;
        let seat = self.seat.as_ref().and_then(|id| self.calls.get(id));
        seat.filter(|call| !ringing(call)).or_else(|| {
            let shown = self.calls.values().filter(|call| !ringing(call));
            shown.max_by_key(|call| (call.state != CallState::Ended, call.started_ms))
        })
    }

    /// Whether a node is missing for the plain reason that it does not run.
    #[must_use]
    pub fn not_running(&self) -> bool {
        matches!(&self.node, Node::Missing(error) if error.code == Code::NoNode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_control::testing::{sample_address, sample_call, sample_friend, sample_id};
    use twocan_control::{Health, Outcome, Timings};

    fn status() -> Status {
        Status {
            api_version: 1,
            version: "0.1.0".into(),
            pid: 1,
            home: "/home".into(),
            uptime_s: 1,
            locked: false,
            availability: Availability::Available,
            peer_id: String::new(),
            listen: vec![],
            media_port: 1,
            reachability: twocan_control::doctor::Reachability::Unknown,
            dht: Health::default(),
            friends: 0,
            friends_online: 0,
            requests: 0,
            calls: 0,
            missed: 0,
            unread: 0,
            timings: Timings::default(),
            notices: vec![],
        }
    }

    fn identity() -> Identity {
        Identity {
            address: sample_address("me"),
            uri: String::new(),
            root: sample_id("me"),
            name: "Me".into(),
            picture: None,
            device_index: 0,
            token_rotated_ms: None,
        }
    }

    fn up(friends: Vec<Friend>) -> Model {
        let mut model = Model::default();
        let snapshot = Snapshot { identity: identity(), status: status(), friends, requests: vec![], calls: vec![] };
        model.apply(Update::Connected(snapshot), 0);
        model
    }

    fn names(model: &mut Model) -> Vec<String> {
        model.list("").iter().filter_map(|id| model.friend(id)).map(|friend| friend.name.clone()).collect()
    }

    fn call(model: &mut Model, call: &Call, state: CallState, now_ms: u64) {
        let mut call = call.clone();
        call.state = state;
        model.apply(Update::Event(Event::Call { call }), now_ms);
    }

    #[test]
    fn who_is_there_stands_above_who_is_not() {
        let with = |name: &str, online, state| {
            let mut friend = sample_friend(name);
            (friend.online, friend.state) = (online, state);
            friend
        };
        let mut model = up(vec![
            with("zoe", true, FriendState::Accepted),
            with("Adam", false, FriendState::Accepted),
            with("bea", true, FriendState::Accepted),
            with("asked", false, FriendState::Requested),
        ]);
        assert_eq!(names(&mut model), ["bea", "zoe", "Adam", "asked"]);
        assert_eq!(model.counts(), (3, 2));
        model.apply(Update::Event(Event::Friend { friend: with("Adam", true, FriendState::Accepted) }), 0);
        assert_eq!(names(&mut model), ["Adam", "bea", "zoe", "asked"]);
        let zoe = sample_call(&sample_friend("zoe"), Direction::Outgoing, CallState::Calling);
        call(&mut model, &zoe, CallState::Ringing, 0);
        assert_eq!(names(&mut model), ["zoe", "Adam", "bea", "asked"]);
        assert_eq!(model.row(&sample_id("zoe"), 0).unwrap().line, "ringing…");
    }

    #[test]
    fn a_removed_friend_is_not_shown_any_more() {
        let bea = sample_friend("bea");
        let mut model = up(vec![bea.clone()]);
        model.selected = Some(bea.id.clone());
        assert_eq!(model.selected(), Some(&bea));
        model.apply(Update::Event(Event::FriendRemoved { id: bea.id }), 0);
        assert!(model.selected().is_none() && model.selected.is_none() && names(&mut model).is_empty());
    }

    #[test]
    fn requests_come_and_go_once_each() {
        let mut model = up(vec![]);
        let mut ask = |name: &str, message: &str| {
            let request = Request {
                id: sample_id(name),
                name: name.into(),
                message: message.into(),
                received_ms: 0,
                says_friends: false,
            };
            model.apply(Update::Event(Event::Request { request }), 0);
        };
        ask("carl", "hi");
        ask("dora", "hello");
        ask("carl", "hi again");
        let told: Vec<&str> = model.requests().iter().map(|r| r.message.as_str()).collect();
        assert_eq!(told, ["hello", "hi again"]);
        model.apply(Update::Event(Event::RequestGone { id: sample_id("dora") }), 0);
        assert_eq!(model.requests().len(), 1);
    }

    #[test]
    fn a_call_rings_is_shown_and_goes_away_after_its_end() {
        let bea = sample_friend("bea");
        let mut model = up(vec![bea.clone()]);
        let incoming = sample_call(&bea, Direction::Incoming, CallState::Ringing);
        model.apply(Update::Event(Event::CallIncoming { call: incoming.clone() }), 1000);
        assert_eq!(model.ringing().len(), 1);
        assert!(model.current_call().is_none(), "what rings is not in the way");
        model.apply(Update::Seat(Some(incoming.id.clone())), 1500);
        call(&mut model, &incoming, CallState::Active, 2000);
        assert!(model.ringing().is_empty());
        assert_eq!(model.current_call().map(|c| c.state), Some(CallState::Active));
        let mut over = incoming.clone();
        (over.state, over.outcome) = (CallState::Ended, Some(Outcome::Completed));
        model.apply(Update::Event(Event::Call { call: over.clone() }), 9000);
        assert_eq!(model.current_call().map(crate::text::ended), Some("call ended".into()));
        assert!(model.tidy(9000 + ENDED_MS - 1));
        assert!(!model.tidy(9000 + ENDED_MS));
        assert!(model.current_call().is_none() && model.call_with(&bea.id).is_none());
        // What the node tells once more of an old call is nothing new.
        model.apply(Update::Event(Event::Call { call: over }), 20_000);
        assert!(model.current_call().is_none());
    }

    #[test]
    fn a_call_with_the_sound_here_is_shown_before_a_newer_one() {
        let (bea, carl) = (sample_friend("bea"), sample_friend("carl"));
        let mut model = up(vec![bea.clone(), carl.clone()]);
        let mut first = sample_call(&bea, Direction::Outgoing, CallState::Active);
        first.id = "1".repeat(32);
        let mut second = sample_call(&carl, Direction::Outgoing, CallState::Active);
        (second.id, second.started_ms) = ("2".repeat(32), first.started_ms + 1);
        call(&mut model, &first, CallState::Active, 0);
        call(&mut model, &second, CallState::Active, 0);
        assert_eq!(model.current_call().map(|c| c.id.as_str()), Some(second.id.as_str()));
        model.apply(Update::Seat(Some(first.id.clone())), 0);
        assert_eq!(model.current_call().map(|c| c.id.as_str()), Some(first.id.as_str()));
    }

    #[test]
    fn nothing_is_shown_of_a_node_that_went_away() {
        let mut model = up(vec![sample_friend("bea")]);
        model.apply(Update::Missing(Error::new(Code::NoNode, "no node runs")), 0);
        assert!(model.not_running() && names(&mut model).is_empty() && model.identity.is_none());
        model.apply(Update::Missing(Error::new(Code::Version, "older")), 0);
        assert!(!model.not_running());
        model.apply(Update::Locked, 0);
        assert_eq!(model.node, Node::Locked);
    }

    #[test]
    fn messages_are_few_and_go_by_themselves() {
        let mut model = up(vec![]);
        for number in 0..10 {
            model.apply(Update::Refused(Error::new(Code::Internal, format!("problem {number}"))), number);
        }
        model.apply(Update::Refused(Error::new(Code::Internal, "problem 9").hint("try again")), 10);
        let texts: Vec<&str> = model.toasts().map(|t| t.text.as_str()).collect();
        assert_eq!(texts, ["problem 6", "problem 7", "problem 8", "problem 9"]);
        assert_eq!(model.toasts().last().and_then(|toast| toast.hint.as_deref()), Some("try again"));
        assert!(!model.tidy(10 + TOAST_MS));
        assert_eq!(model.toasts().count(), 0);
    }

    #[test]
    fn troubles_of_devices_belong_to_one_call() {
        let mut model = up(vec![]);
        model.apply(Update::Device { part: "camera", trouble: Some("unplugged".into()) }, 0);
        model.apply(Update::Device { part: "speaker", trouble: Some("none".into()) }, 0);
        model.apply(Update::Device { part: "speaker", trouble: None }, 0);
        assert_eq!(model.devices.keys().copied().collect::<Vec<_>>(), ["camera"]);
        model.apply(Update::Seat(None), 0);
        assert!(model.devices.is_empty());
    }
}
