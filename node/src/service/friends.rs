//! Carries out what the book of friends says, and answers what clients ask about friends.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use twocan_control::{self as api, Code, Error, Event};
use twocan_protocol::address::{Address, AddressUri, ContactToken};
use twocan_protocol::friend::{self, Input, Output, SlotPlan};
use twocan_protocol::identity::{FriendshipKey, RootPublic};
use twocan_protocol::link;
use twocan_protocol::rendezvous::PresenceKey;
use twocan_protocol::wire::{Name, Note, Reply, Request};

use super::keep::TokenRecord;
use super::{Service, unix_ms, view};
use crate::rendezvous::Slot;
use crate::store::Change;

/// Shortest beginning of an id that names somebody.
const ID_MIN: usize = 6;

impl Service {
    pub(super) fn book_input(&mut self, input: Input) {
        let outputs = self.book.handle(Instant::now(), unix_ms(), input);
        self.book_outputs(outputs);
    }

    /// Carries out outputs in order. What is to be stored is on the disk before anything after it is sent or shown.
    pub(super) fn book_outputs(&mut self, outputs: Vec<Output>) {
        self.book_outputs_with(outputs, None);
    }

    fn book_outputs_with(&mut self, outputs: Vec<Output>, mut reply: Option<oneshot::Sender<Reply>>) {
        let mut changes: Vec<Change> = Vec::new();
        let mut gates = false;
        for output in outputs {
            match output {
                Output::StoreFriend(record) => {
                    gates = true;
                    changes.extend(self.records.friend(&record));
                    continue;
                }
                Output::ForgetFriend(root) => {
                    gates = true;
                    changes.extend(self.records.forget_friend(&root));
                    continue;
                }
                Output::StoreRequest(record) => {
                    changes.extend(self.records.request(&record));
                    continue;
                }
                Output::ForgetRequest(root) => {
                    changes.push(self.records.forget_request(&root));
                    continue;
                }
                Output::StoreBook(record) => {
                    changes.extend(self.records.book(&record));
                    continue;
                }
                _ => self.records.now(std::mem::take(&mut changes)),
            }
            if std::mem::take(&mut gates) {
                self.open_gates();
            }
            self.book_output(output, &mut reply);
        }
        self.records.now(changes);
        if gates {
            self.open_gates();
        }
    }

    fn book_output(&mut self, output: Output, reply: &mut Option<oneshot::Sender<Reply>>) {
        match output {
            Output::Send(root, message) => self.session_input(root, link::Input::Send(message)),
            Output::Reply(_, answer) => {
                if let Some(reply) = reply.take() {
                    // The asker may be gone by now.
                    let _ = reply.send(answer);
                }
            }
            Output::Search(root) => self.search(root),
            Output::Ask(address, request) => self.ask(address, request),
            Output::PlanChanged => self.publish(),
            Output::Relink(root) => self.relink(root),
            Output::DropLink(root) => {
                self.drop_link(root);
                self.open_gates();
            }
            Output::RotateToken => self.new_token(),
            Output::RotateGrant(generation) => {
                let key = PresenceKey::generate(generation, &mut rand::rng());
                let change = self.records.presence(&key);
                self.records.now(change.into_iter().collect());
                self.presence = Arc::new(key);
                self.publish();
                self.book_input(Input::OwnGrant(self.presence.grant()));
            }
            Output::Event(event) => self.book_event(event),
            Output::Refused(root, refusal) => tracing::debug!("refused for {}: {refusal}", root.short()),
            Output::StoreFriend(_)
            | Output::ForgetFriend(_)
            | Output::StoreRequest(_)
            | Output::ForgetRequest(_)
            | Output::StoreBook(_) => {}
        }
    }

    fn book_event(&mut self, event: friend::Event) {
        let event = match event {
            friend::Event::Friend(root) => match self.friend_view(&root) {
                Some(friend) => Event::Friend { friend },
                None => return,
            },
            friend::Event::FriendRemoved(root) => {
                self.chat_input(twocan_protocol::chat::Input::FriendGone(root));
                self.forget_portrait(&root);
                self.files_happen(twocan_protocol::files::Input::FriendGone(root));
                Event::FriendRemoved { id: root.to_string() }
            }
            friend::Event::Request(record) => Event::Request { request: view::request(&record) },
            friend::Event::RequestGone(root) => Event::RequestGone { id: root.to_string() },
            friend::Event::Availability(availability) => {
                self.apply_settings();
                Event::Availability { availability: view::availability(availability) }
            }
        };
        self.emitter.emit(event);
    }

    /// A stranger's request; the answer goes back over its stream.
    pub(super) fn stranger_asks(&mut self, root: RootPublic, request: Request, reply: oneshot::Sender<Reply>) {
        let outputs = self.book.handle(Instant::now(), unix_ms(), Input::Request(root, request));
        self.book_outputs_with(outputs, Some(reply));
    }

    /// Runs an act of the person; a refusal becomes an error.
    pub(super) fn act(&mut self, input: Input) -> api::Result<()> {
        let outputs = self.book.handle(Instant::now(), unix_ms(), input);
        let refused = outputs.iter().find_map(|output| match output {
            Output::Refused(_, refusal) => Some(*refusal),
            _ => None,
        });
        self.book_outputs(outputs);
        refused.map_or(Ok(()), |refusal| Err(view::friend_refused(refusal)))
    }

    /// The key shared with a friend, computed once.
    pub(super) fn friendship(&mut self, root: &RootPublic) -> FriendshipKey {
        let own = &self.keys.root;
        self.friendships.entry(*root).or_insert_with(|| FriendshipKey::of(own, root)).clone()
    }

    /// Tells the rendezvous what to publish.
    pub(super) fn publish(&mut self) {
        self.settle_hiding();
        let plan = self.book.slots();
        let mut slots = Vec::new();
        for slot in plan {
            match slot {
                SlotPlan::Presence => slots.push(Slot::Presence(Arc::clone(&self.presence))),
                SlotPlan::Contact => {
                    slots.extend(Slot::contacts(&self.keys.root, self.token.token, self.book.hides_any()));
                }
                SlotPlan::Pair { root, since_ms } => slots.push(Slot::Pair {
                    root: Arc::clone(&self.keys.root),
                    friendship: self.friendship(&root),
                    friend: root,
                    since_ms,
                }),
            }
        }
        self.slots.send_replace(slots);
    }

    fn new_token(&mut self) {
        self.token = TokenRecord { token: ContactToken::random(&mut rand::rng()), rotated_ms: Some(unix_ms()) };
        let change = self.records.token(&self.token);
        self.records.now(change.into_iter().collect());
        self.open_gates();
        self.publish();
    }

    // What clients ask.

    pub(super) fn identity(&self) -> api::Identity {
        let address = Address { root: self.keys.root.public(), token: self.token.token };
        let hints = self.hints();
        let uri = AddressUri { address, hints };
        let name = self.book.own_name().to_string();
        api::Identity {
            address: address.to_string(),
            uri: uri.to_string(),
            root: address.root.to_string(),
            name,
            picture: self.pictures.own_hash(),
            device_index: self.keys.certificate.index,
            token_rotated_ms: self.token.rotated_ms,
        }
    }

    pub(super) fn rotate_token(&mut self) -> api::Identity {
        self.new_token();
        self.identity()
    }

    pub(super) fn set_profile(&mut self, profile: &api::Profile) -> api::Identity {
        self.book_input(Input::Profile(Name::clean(&profile.name)));
        self.identity()
    }

    pub(super) fn friend_view(&self, root: &RootPublic) -> Option<api::Friend> {
        let link = self.sessions.get(root).and_then(|linked| linked.view.as_ref());
        Some(view::friend(
            &self.book.friend(root)?,
            &self.keys.root.public(),
            link,
            self.book.hides(root),
            self.pictures.hash_of(root),
        ))
    }

    pub(super) fn friend_views(&self) -> Vec<api::Friend> {
        let own = self.keys.root.public();
        let link = |root: &RootPublic| self.sessions.get(root).and_then(|linked| linked.view.as_ref());
        let view = |friend: &friend::FriendView| {
            let root = &friend.record.root;
            view::friend(friend, &own, link(root), self.book.hides(root), self.pictures.hash_of(root))
        };
        self.book.friends().map(|friend| view(&friend)).collect()
    }

    pub(super) fn add_friend(&mut self, add: &api::AddFriend) -> api::Result<api::Friend> {
        let uri: AddressUri = add.address.trim().parse().map_err(|error: twocan_protocol::address::UriError| {
            Error::new(Code::BadAddress, error.to_string()).hint("copy the whole address again, or scan the QR code")
        })?;
        // Whoever made the address may have written hints that nobody else has seen: they are not asked in the open.
        if !uri.hints.is_empty() && !self.book.hides_all() {
            let (swarm, hints) = (self.swarm.clone(), uri.hints.clone());
            tokio::spawn(async move { swarm.add_bootstrap(hints).await });
        }
        let root = uri.address.root;
        self.act(Input::Add {
            address: uri.address,
            name: add.name.as_deref().map(Name::clean),
            message: Note::clean(add.message.as_deref().unwrap_or_default()),
            id: rand::random(),
        })?;
        self.friend_view(&root).ok_or_else(|| Error::new(Code::Internal, "the friend was not kept"))
    }

    pub(super) fn update_friend(&mut self, whom: &str, update: &api::FriendUpdate) -> api::Result<api::Friend> {
        let root = self.resolve(whom)?;
        if let Some(name) = &update.name {
            self.act(Input::Rename(root, Name::clean(name)))?;
        }
        if let Some(verified) = update.verified {
            self.act(Input::Verify(root, verified))?;
        }
        if let Some(hidden) = update.hide_address {
            self.act(Input::Hide { friend: Some(root), hidden })?;
        }
        self.friend_view(&root).ok_or_else(|| no_friend(whom))
    }

    pub(super) fn block(&mut self, whom: &str) -> api::Result<()> {
        let root = match self.resolve(whom) {
            Ok(root) => root,
            Err(error) => parse_anybody(whom).ok_or(error)?,
        };
        self.act(Input::Block(root))
    }

    pub(super) fn answer_request(&mut self, id: &str, answer: &api::RequestAnswer) -> api::Result<()> {
        let root = self.resolve_request(id)?;
        self.act(match answer {
            api::RequestAnswer::Accept { name } => Input::Accept { root, name: name.as_deref().map(Name::clean) },
            api::RequestAnswer::Decline => Input::Decline(root),
            api::RequestAnswer::Block => Input::Block(root),
        })
    }

    /// Whom a client means: an id or its beginning, an address, or the exact name.
    pub(super) fn resolve(&self, whom: &str) -> api::Result<RootPublic> {
        let friends: Vec<(RootPublic, String)> =
            self.book.friends().map(|friend| (friend.record.root, friend.name)).collect();
        if let Ok(uri) = whom.parse::<AddressUri>() {
            let root = uri.address.root;
            return friends.iter().any(|(friend, _)| *friend == root).then_some(root).ok_or_else(|| no_friend(whom));
        }
        choose(whom, &friends).map_err(|error| if error.code == Code::NotFound { no_friend(whom) } else { error })
    }

    fn resolve_request(&self, whom: &str) -> api::Result<RootPublic> {
        let requests: Vec<(RootPublic, String)> =
            self.book.requests().map(|request| (request.root, request.name.to_string())).collect();
        choose(whom, &requests).map_err(|error| match error.code {
            Code::NotFound => {
                Error::new(Code::NotFound, "no such request waits").hint("`twocan requests` lists those that do")
            }
            _ => error,
        })
    }

    pub(super) fn urge(&mut self, root: RootPublic) {
        self.book_input(Input::Urge(root));
    }
}

/// The root key of anybody, friend or not, from an address or a whole id.
fn parse_anybody(whom: &str) -> Option<RootPublic> {
    whom.parse::<AddressUri>().map(|uri| uri.address.root).ok().or_else(|| whom.parse().ok())
}

/// Finds whom a text means: exact name first, then a beginning of the id.
fn choose(whom: &str, people: &[(RootPublic, String)]) -> api::Result<RootPublic> {
    let named: Vec<RootPublic> = people.iter().filter(|(_, name)| name == whom).map(|(root, _)| *root).collect();
    let beginning = whom.to_ascii_lowercase();
    let hex = beginning.len() >= ID_MIN && beginning.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = if named.is_empty() && hex {
        people.iter().filter(|(root, _)| root.to_string().starts_with(&beginning)).map(|(root, _)| *root).collect()
    } else {
        named
    };
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Error::new(Code::NotFound, format!("nobody is called \"{whom}\""))),
        _ => Err(Error::new(Code::Ambiguous, format!("{} people are meant by \"{whom}\"", found.len()))
            .hint("use the beginning of the id (at least 6 digits)")),
    }
}

fn no_friend(whom: &str) -> Error {
    let message = match whom.parse::<AddressUri>() {
        Ok(_) => "this is the address of nobody among your friends".to_owned(),
        Err(_) => format!("no friend is called {whom}"),
    };
    Error::new(Code::NotFound, message).hint("`twocan friends` lists them")
}
