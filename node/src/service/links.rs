//! Links to friends: a session for each, over channels that come and go, and the streams that strangers open.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use twocan_protocol::handshake::Purpose;
use twocan_protocol::identity::{PeerId, RootPublic};
use twocan_protocol::link::{self, CloseReason, ConnectionId, Session};
use twocan_protocol::wire::{
    ByeReason, CallId, ChatMessage, ContactMessage, FilesMessage, Message, PreflightMessage, RecordWord, Reply,
};
use twocan_protocol::{call, chat, files, friend};

use super::files::FileWord;
use super::view::{LinkView, path, transport};
use super::{Service, unix_ms};
use crate::links::{self as streams, GateTable, Opened};
use crate::swarm::{self, ConnectionInfo, Route, Stream};

/// A contact stream has this long for its two messages.
const CONTACT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// So many refusals of one friend, with no link between them, mean that another node has our identity.
const REFUSED: u32 = 3;

/// What tasks tell the service.
pub(super) enum Note {
    /// A friend's stream is through the handshake, from either side.
    Opened { opened: Opened, info: ConnectionInfo },
    /// A stranger asks.
    Asks { root: RootPublic, request: twocan_protocol::wire::Request, reply: oneshot::Sender<Reply> },
    /// A frame of a channel.
    Frame(ConnectionId, Vec<u8>),
    /// A channel is over.
    Closed(ConnectionId, String),
    /// A search for a friend found nobody.
    NotFound(RootPublic),
    /// A link is to move to another connection, if nobody has moved it.
    Move { root: RootPublic, from: crate::swarm::ConnectionId, to: ConnectionInfo },
    /// A redial beside a link that may be dead came to its end.
    Redialled(RootPublic, Option<(Opened, ConnectionInfo)>),
    /// A friend was found; where, for the next time.
    Found { root: RootPublic, found: super::reach::Found },
    /// What came of asking somebody.
    Asked(RootPublic, friend::Asked),
    /// A call's peer says something.
    Peer(CallId, u64, crate::calls::PeerEvent),
    /// What the own relay depends on may have changed.
    Reachability,
    /// Public nodes that answer STUN were met, or changed.
    StunServers,
    /// Relays of nodes that serve anyone.
    Guests(Vec<twocan_protocol::wire::GuestRelay>),
    /// Something happened in the hidden swarm.
    Hidden(swarm::Event),
    /// The hidden swarm can be reached by these circuits now.
    HiddenMoved(Vec<String>),
    /// The hidden swarm wants to know relays.
    HiddenNeedsRelays,
    /// A preflight's task says something to the friend.
    PreflightSays(RootPublic, PreflightMessage),
    /// A preflight's task has ended.
    PreflightOver(CallId),
    /// Something about a file.
    File(FileWord),
    /// A line of a conversation is on the disk, and all before it.
    LineKept(RootPublic, u64),
    /// DHT nodes to be remembered.
    DhtPeers(Vec<String>),
}

/// A session with a friend.
pub(super) struct Linked {
    pub(super) session: Session,
    pub(super) view: Option<LinkView>,
}

/// A channel that is open.
struct Channel {
    root: RootPublic,
    info: ConnectionInfo,
    /// Whether this side opened it.
    dialled: bool,
    certificate: twocan_protocol::identity::Certificate,
    /// Dropping it closes the channel after what is queued.
    tx: mpsc::Sender<Vec<u8>>,
    /// Ends the reading task, which holds the other half.
    _reading: oneshot::Sender<()>,
}

/// All channels, by number.
#[derive(Default)]
pub(super) struct Channels {
    open: HashMap<ConnectionId, Channel>,
    /// Channels that were closed here and whose tasks have not ended yet.
    closing: u64,
    last: u64,
}

impl Channels {
    /// Whose links run on a connection.
    pub(super) fn on(&self, connection: crate::swarm::ConnectionId) -> impl Iterator<Item = RootPublic> {
        let on = move |channel: &&Channel| channel.info.connection == connection;
        self.open.values().filter(on).map(|channel| channel.root)
    }

    pub(super) fn closing(&self) -> bool {
        self.closing > 0
    }

    /// The nodes at the other ends of a friend's channels.
    pub(super) fn peers<'a>(&'a self, root: &'a RootPublic) -> impl Iterator<Item = PeerId> + 'a {
        self.open.values().filter(move |channel| channel.root == *root).map(|channel| channel.info.peer.clone())
    }

    pub(super) fn note_closed(&mut self, note: &Note) {
        if let Note::Closed(..) = note {
            self.closing = self.closing.saturating_sub(1);
        }
    }
}

impl Service {
    /// Lets a stream in, on a task of its own; what is right behind the gate comes back as a note.
    pub(super) fn accept(&self, stream: Stream) {
        self.accept_on(&self.swarm, &self.gates, stream);
    }

    /// Lets a stream in that came to the hidden swarm.
    pub(super) fn accept_hidden(&self, stream: Stream) {
        if let Some(hidden) = &self.hidden {
            self.accept_on(&hidden.swarm, &self.hidden_gates, stream);
        }
    }

    fn accept_on(&self, swarm: &swarm::Handle, gates: &Arc<GateTable>, stream: Stream) {
        let (acceptor, gates, notes) = (Arc::clone(&self.acceptor), Arc::clone(gates), self.notes.clone());
        let info = stream.info().clone();
        let ends = streams::Ends::of(swarm.peer_id().clone(), &info);
        tokio::spawn(async move {
            match acceptor.accept(stream, &ends, &gates).await {
                Ok(None) => {}
                Ok(Some(opened)) => match opened.purpose {
                    Purpose::Link => drop(notes.send(Note::Opened { opened, info }).await),
                    Purpose::Contact => serve_contact(opened, &notes).await,
                    Purpose::File => drop(notes.send(Note::File(FileWord::Stream(Box::new(opened), info))).await),
                },
                Err(error) => tracing::info!("a stream was dropped: {error}"),
            }
        });
    }

    /// Makes the gates anew after friends or the contact token changed.
    pub(super) fn open_gates(&mut self) {
        let roots: Vec<RootPublic> = self.book.gate().copied().collect();
        for root in &roots {
            self.friendship(root);
        }
        let own = self.keys.root.public();
        // Strangers are met where the contact slot leads them. Nobody learns from the other swarm that we are there.
        let contact_hidden = self.book.hides_any();
        let table = |hidden: bool| {
            let friends = roots.iter().filter(|root| self.book.hides(root) == hidden);
            let friends = friends.filter_map(|root| Some((*root, self.friendships.get(root)?)));
            GateTable::new(friends, (contact_hidden == hidden).then_some((&own, &self.token.token)))
        };
        let open = match self.relays.own.guest_desk() {
            Some(desk) => table(false).with_relay(desk),
            None => table(false),
        };
        (self.gates, self.hidden_gates) = (Arc::new(open), Arc::new(table(true)));
    }

    /// What tasks tell.
    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Opened { opened, info } => self.opened(opened, info),
            Note::Asks { root, request, reply } => self.stranger_asks(root, request, reply),
            Note::Frame(id, bytes) => {
                let of = self.channels.open.get(&id).map(|channel| (channel.root, channel.info.connection));
                if let Some((root, connection)) = of {
                    self.count_frame(connection, bytes.len());
                    self.session_input(root, link::Input::Frame(id, bytes));
                }
            }
            Note::Closed(id, reason) => match self.channels.open.remove(&id) {
                Some(channel) => {
                    tracing::debug!("link to {} lost a channel: {reason}", channel.root.short());
                    self.session_input(channel.root, link::Input::Disconnected(id));
                }
                None => self.channels.closing = self.channels.closing.saturating_sub(1),
            },
            Note::NotFound(root) => self.book_input(friend::Input::SearchFailed(root)),
            Note::Move { root, from, to } => self.move_link(root, from, to),
            Note::Redialled(root, redialled) => self.redialled(root, redialled),
            Note::Found { root, found } => self.found(root, found),
            Note::Asked(root, asked) => self.book_input(friend::Input::Asked(root, asked)),
            Note::Peer(call, peer, event) => self.peer_event(call, peer, event),
            Note::Reachability => self.refresh_relay(),
            Note::StunServers => self.use_stun_servers(),
            Note::Guests(relays) => self.guests_answered(relays),
            Note::Hidden(event) => self.hidden_event(event),
            Note::HiddenMoved(relayed) => self.hidden_moved(relayed),
            Note::HiddenNeedsRelays => self.offer_relays_to_hidden(),
            Note::PreflightSays(root, message) => self.preflight_says(root, message),
            Note::PreflightOver(id) => self.preflight_over(id),
            Note::File(word) => self.file_word(word),
            Note::LineKept(root, place) => drop(self.chat_input(chat::Input::Kept(root, place))),
            Note::DhtPeers(peers) => self.records.set_dht_peers(&peers),
        }
    }

    /// A friend's stream is through the handshake.
    pub(super) fn opened(&mut self, opened: Opened, info: ConnectionInfo) {
        let root = opened.remote.root;
        if root == self.keys.root.public() || !self.book.gate().any(|friend| *friend == root) {
            return;
        }
        self.channels.last += 1;
        let id = ConnectionId(self.channels.last);
        let (reading, stop) = oneshot::channel();
        tokio::spawn(read(id, opened.rx, opened.ended, stop, self.notes.clone()));
        let (remote_boot, dialled) = (opened.remote_boot, opened.dialled);
        let relayed = info.route == Route::Relayed;
        let channel = Channel { root, info, dialled, certificate: opened.remote, tx: opened.tx, _reading: reading };
        self.channels.open.insert(id, channel);
        self.session_input(root, link::Input::Connected { connection: id, remote_boot, dialled, relayed });
        // A link that comes up during a call has not heard of the call yet.
        let in_call = self.calls.iter().any(|snapshot| snapshot.friend == root);
        self.session_input(root, link::Input::InCall(in_call));
    }

    pub(super) fn session_input(&mut self, root: RootPublic, input: link::Input) {
        let own = self.keys.root.public();
        let linked =
            self.sessions.entry(root).or_insert_with(|| Linked { session: Session::new(&own, &root), view: None });
        let outputs = linked.session.handle(Instant::now(), input);
        self.session_outputs(root, outputs);
    }

    pub(super) fn session_timeouts(&mut self, now: Instant) {
        let due: Vec<RootPublic> = self
            .sessions
            .iter()
            .filter(|(_, linked)| linked.session.poll_timeout().is_some_and(|at| at <= now))
            .map(|(root, _)| *root)
            .collect();
        for root in due {
            if let Some(linked) = self.sessions.get_mut(&root) {
                let outputs = linked.session.handle_timeout(now);
                self.session_outputs(root, outputs);
            }
        }
    }

    fn session_outputs(&mut self, root: RootPublic, outputs: Vec<link::Output>) {
        for output in outputs {
            match output {
                link::Output::Transmit(id, frame) => {
                    let Some(channel) = self.channels.open.get(&id) else { continue };
                    let (connection, size) = (channel.info.connection, frame.len());
                    let full = channel.tx.try_send(frame).is_err();
                    self.count_frame(connection, size);
                    if full {
                        tracing::info!("link to {}: the channel is too slow", root.short());
                        self.channels.open.remove(&id);
                        self.channels.closing += 1;
                        self.session_input(root, link::Input::Disconnected(id));
                    }
                }
                link::Output::Close(id, reason) => {
                    if let Some(channel) = self.channels.open.remove(&id) {
                        self.channels.closing += 1;
                        match &reason {
                            CloseReason::Fault(fault) => tracing::warn!("link to {} closed: {fault}", root.short()),
                            // The transport notices much later, and a redial would go over the dead connection.
                            CloseReason::Silent => {
                                self.swarms().for_each(|swarm| swarm.doubt(channel.info.connection));
                                self.disconnect(channel.info.connection);
                            }
                            CloseReason::Replaced | CloseReason::Remote(ByeReason::Replaced) => {
                                self.left(&channel.info)
                            }
                            _ => {}
                        }
                    }
                }
                link::Output::Received(message) => self.received(root, message),
                link::Output::Up { connection, restarted } => self.link_up(root, connection, restarted),
                link::Output::Down(reason) => self.link_down(root, &reason),
                link::Output::Unopened { dialled, reason } => self.link_refused(root, dialled, &reason),
                link::Output::Rtt(rtt) => {
                    if let Some(view) = self.sessions.get_mut(&root).and_then(|linked| linked.view.as_mut()) {
                        view.rtt_ms = Some(rtt.as_secs_f64() * 1000.0);
                    }
                }
                link::Output::Refused(message, refusal) => {
                    tracing::info!("a message to {} was not taken: {refusal}", root.short());
                    if let Message::Call(message) = message {
                        self.calls_input(call::Input::Undelivered(root, message));
                    }
                }
            }
        }
    }

    fn disconnect(&self, connection: crate::swarm::ConnectionId) {
        for swarm in self.swarms() {
            let swarm = swarm.clone();
            tokio::spawn(async move { swarm.disconnect(connection).await });
        }
    }

    fn received(&mut self, root: RootPublic, message: Message) {
        match message {
            Message::Call(message) => {
                if self.book.is_friend(&root) {
                    self.calls_input(call::Input::Received(root, message));
                }
            }
            Message::Unsupported(kind) if RecordWord::is_kind(kind.as_str()) => {
                self.calls_input(call::Input::RecordUnknown(root));
            }
            Message::Unsupported(kind) if kind.as_str() == ChatMessage::TEXT => {
                self.chat_input(chat::Input::Unsupported(root));
            }
            Message::Chat(message) => {
                if self.book.is_friend(&root) {
                    self.chat_input(chat::Input::Received(root, message));
                }
            }
            Message::Unsupported(kind) if kind.as_str() == FilesMessage::KIND => {
                self.files_happen(files::Input::Unsupported(root));
            }
            Message::Files(message) => self.files_received(root, message),
            Message::Portrait(message) => {
                if self.book.is_friend(&root) {
                    self.portrait(root, message);
                }
            }
            Message::Whereabouts(told) => self.told_whereabouts(root, &told),
            Message::Relay(message) => self.relay_received(root, message),
            Message::Preflight(message) => self.preflight_received(root, message),
            Message::Clock(message) => {
                if self.book.is_friend(&root) {
                    self.clock_message(root, message);
                }
            }
            message => self.book_input(friend::Input::Received(root, message)),
        }
    }

    fn link_up(&mut self, root: RootPublic, connection: ConnectionId, restarted: bool) {
        let Some(channel) = self.channels.open.get(&connection) else { return };
        let (info, certificate) = (channel.info.clone(), channel.certificate);
        let view = LinkView { path: path(&info), transport: transport(&info), rtt_ms: None, since_ms: unix_ms() };
        tracing::info!("link to {} is up ({:?}, {})", root.short(), info.route, view.transport);
        if let Some(linked) = self.sessions.get_mut(&root) {
            linked.view = Some(view);
        }
        self.refused.remove(&root);
        // Whatever else is being dialled would only replace what is there.
        self.dials.stop(&root);
        self.remember_link(root, &certificate, &info);
        self.book_input(friend::Input::LinkUp(root));
        self.tell_whereabouts_to(root);
        self.relay_link_up(root, restarted);
        self.calls_input(call::Input::LinkUp { friend: root, restarted });
        self.ask_clock(root);
        self.chat_input(chat::Input::LinkUp(root));
        self.tell_portrait(root);
        self.files_happen(files::Input::LinkUp(root));
    }

    /// A connection ended before the link was up.
    fn link_refused(&mut self, root: RootPublic, dialled: bool, reason: &CloseReason) {
        tracing::debug!("a connection to {} came to nothing: {reason}", root.short());
        if !dialled {
            return;
        }
        self.book_input(friend::Input::SearchFailed(root));
        // Once or twice it may be that both sides dialled at the same time.
        if *reason == CloseReason::Remote(ByeReason::Replaced) {
            let refused = self.refused.entry(root).or_insert(0);
            *refused = refused.saturating_add(1);
            if *refused == REFUSED {
                self.other_self(&root);
            }
        }
    }

    /// A friend's node prefers the link of another node again and again: somebody who says to be us, and was started later.
    fn other_self(&mut self, root: &RootPublic) {
        tracing::warn!("{} has a link with another node of this identity: is this home a copy?", root.short());
        if !std::mem::replace(&mut self.told_of_other_self, true) {
            self.notice(
                "Another node with your identity is running, and friends talk to it: the home was perhaps copied. Stop \
                 one of the two."
                    .to_owned(),
            );
        }
    }

    /// How the link to a friend runs at present.
    pub(super) fn route_to(&self, root: &RootPublic) -> Option<Route> {
        self.live_channel(root).map(|(info, _)| info.route)
    }

    /// The connection that the link to a friend runs on, and whether this side dialled the link.
    pub(super) fn live_channel(&self, root: &RootPublic) -> Option<(&ConnectionInfo, bool)> {
        let connection = self.sessions.get(root)?.session.connection()?;
        self.channels.open.get(&connection).map(|channel| (&channel.info, channel.dialled))
    }

    /// The friends whose links run on a connection at present, and whether this side dialled the link.
    pub(super) fn links_on(&self, connection: crate::swarm::ConnectionId) -> Vec<(RootPublic, bool)> {
        let on = |root: RootPublic| {
            let (info, dialled) = self.live_channel(&root)?;
            (info.connection == connection).then_some((root, dialled))
        };
        self.channels.on(connection).filter_map(on).collect()
    }

    fn link_down(&mut self, root: RootPublic, reason: &CloseReason) {
        tracing::info!("link to {} is down: {reason}", root.short());
        if let Some(linked) = self.sessions.get_mut(&root) {
            linked.view = None;
        }
        self.relay_link_down(&root);
        self.calls_input(call::Input::LinkDown(root));
        self.chat_input(chat::Input::LinkDown(root));
        self.pictures.link_down(&root);
        self.files_happen(files::Input::LinkDown(root));
        self.book_input(friend::Input::LinkDown(root));
    }

    /// Closes a link for good and forgets its session.
    pub(super) fn drop_link(&mut self, root: RootPublic) {
        // Calls first: what they say still goes over the link.
        self.calls_input(call::Input::FriendGone(root));
        if self.sessions.contains_key(&root) {
            self.session_input(root, link::Input::Close(ByeReason::Removed));
            self.sessions.remove(&root);
        }
        self.relay_friend_gone(&root);
        self.dials.stop(&root);
        self.refused.remove(&root);
        self.friendships.remove(&root);
        self.whereabouts.remove(&root);
        self.clocks.forget(&root);
    }

    /// Closes the link; it is made again another way.
    pub(super) fn relink(&mut self, root: RootPublic) {
        self.settle_hiding();
        self.use_offers();
        if self.book.hides(&root) {
            // What it holds of our relay says where we are.
            self.relays.own.server.revoke(&root);
        }
        self.open_gates();
        self.dials.stop(&root);
        if self.sessions.contains_key(&root) {
            self.session_input(root, link::Input::Close(ByeReason::Replaced));
        }
    }

    pub(super) fn close_sessions(&mut self) {
        let roots: Vec<RootPublic> = self.sessions.keys().copied().collect();
        for root in roots {
            self.session_input(root, link::Input::Close(ByeReason::Stopping));
        }
    }
}

/// Passes the frames of a channel on until it ends, or is closed here.
async fn read(
    id: ConnectionId,
    mut frames: mpsc::Receiver<Vec<u8>>,
    ended: oneshot::Receiver<streams::Ended>,
    stop: oneshot::Receiver<()>,
    notes: mpsc::Sender<Note>,
) {
    let pass = async {
        while let Some(frame) = frames.recv().await {
            if notes.send(Note::Frame(id, frame)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = pass => {}
        _ = stop => {}
    }
    drop(frames);
    let reason = ended.await.map_or_else(|_| "it ended".to_owned(), |ended| ended.to_string());
    let _ = notes.send(Note::Closed(id, reason)).await;
}

/// One request, one reply.
async fn serve_contact(mut opened: Opened, notes: &mpsc::Sender<Note>) {
    let root = opened.remote.root;
    let talk = async {
        let frame = opened.rx.recv().await?;
        let request = match ContactMessage::decode(&frame) {
            Ok(ContactMessage::Request(request)) => request,
            Ok(_) => return None,
            Err(error) => {
                tracing::info!("a contact stream was dropped: {error}");
                return None;
            }
        };
        let (reply, answer) = oneshot::channel();
        notes.send(Note::Asks { root, request, reply }).await.ok()?;
        let reply = ContactMessage::Reply(answer.await.ok()?).encode().ok()?;
        opened.tx.send(reply).await.ok()
    };
    let _ = tokio::time::timeout(CONTACT_PATIENCE, talk).await;
    // The reply is written before the stream is closed.
    drop(opened.tx);
    let _ = tokio::time::timeout(CONTACT_PATIENCE, opened.ended).await;
}
