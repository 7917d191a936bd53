//! The owner of all state: friends, links, calls, presence. Everything else in the node is a driver around it.
//!
//! One task runs [`Service::run`]. Into it come requests of clients, events of the swarm, frames of links, events of call
//! peers, and results of searches; the state machines of `protocol` say what to do, and the files beside this one do it:
//! - [`friends`]: the book of friends (requests, grants, what is published);
//! - [`links`]: sessions with friends over channels that come and go;
//! - [`reach`]: searching and dialling, in tasks of their own;
//! - [`paths`]: moving links between connections;
//! - [`network`]: other addresses, waking up, and telling friends where this node is;
//! - [`calls`]: calls and their media peers;
//! - [`keep`]: what is stored; [`view`]: what clients see; [`handle`]: what clients may ask.
//!
//! The task never waits for a peer or a client: queues to them are bounded and a full one means that they are too slow.

mod calls;
mod clock;
mod doctor;
mod files;
mod friends;
mod handle;
mod hide;
mod history;
mod keep;
mod links;
mod messages;
mod network;
mod paths;
mod pictures;
mod portmap;
mod preflight;
mod public;
mod reach;
mod recording;
mod relay;
mod settings;
mod stun;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use twocan_control::{Event, Status};
use twocan_protocol::address::ContactToken;
use twocan_protocol::call::{self, Calls, HistoryRecord};
use twocan_protocol::chat::Chats;
use twocan_protocol::friend::{self, Book};
use twocan_protocol::identity::{FriendshipKey, RootPublic};
use twocan_protocol::limits::HINTS_MAX;
use twocan_protocol::rendezvous::PresenceKey;

pub use handle::{Handle, Unlocker};
pub use keep::{Ports, Records};

use crate::config::Config;
use crate::emitter::Emitter;
use crate::keyfile::Keys;
use crate::rendezvous::Rendezvous;
use crate::{links as streams, netwatch, rendezvous, swarm};
use calls::Seats;
use keep::{TokenRecord, Whereabouts};
use links::{Linked, Note};

/// Requests of clients that may wait; a client beyond that waits itself.
const REQUESTS: usize = 128;
/// Notes from tasks that may wait; the tasks wait beyond that, and with them the peers behind them.
const NOTES: usize = 512;
/// How long good-byes may take when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// Own addresses that the status lists.
const LISTEN_SHOWN: usize = 32;
/// Ended calls that are looked through at a start for one that can be resumed.
const RECENT: usize = 64;
/// How often met DHT nodes are written down.
const REMEMBER: Duration = Duration::from_secs(600);

/// A client's request: runs on the service's task.
type Request = Box<dyn FnOnce(&mut Service) + Send>;

/// Everything that a service is made of.
pub struct Parts {
    /// Settings of the person.
    pub config: Config,
    /// Where the node lives, for [`Status`].
    pub home: std::path::PathBuf,
    /// When the process began.
    pub began: Instant,
    /// Who we are.
    pub keys: Arc<Keys>,
    /// What this node says in handshakes.
    pub identity: Arc<streams::Identity>,
    /// The store.
    pub records: Records,
    /// The network.
    pub swarm: swarm::Handle,
    /// What happens in it.
    pub swarm_events: mpsc::Receiver<swarm::Event>,
    /// Publishing and finding.
    pub rendezvous: Rendezvous,
    /// What happens in it.
    pub rendezvous_events: mpsc::Receiver<rendezvous::Event>,
    /// Changes of the machine's network.
    pub network: mpsc::Receiver<netwatch::Change>,
    /// The public IPFS DHT, if it may be asked.
    pub public: Option<swarm::public::Client>,
    /// Media of calls.
    pub engine: crate::calls::Engine,
    /// Ports of the home router.
    pub portmap: crate::portmap::Portmap,
    /// The packet relay.
    pub relay: crate::relay::Server,
    /// To the clients.
    pub emitter: Emitter,
    /// What the person should know from the start.
    pub notices: Vec<String>,
    /// When the API answered first.
    pub api_ms: f64,
    /// Ends the node.
    pub stop: CancellationToken,
}

/// The owner of all state.
pub struct Service {
    config: Config,
    home: std::path::PathBuf,
    began: Instant,
    keys: Arc<Keys>,
    records: Records,
    swarm: swarm::Handle,
    rendezvous: Rendezvous,
    public: Option<swarm::public::Client>,
    slots: watch::Sender<Vec<rendezvous::Slot>>,
    listen: Vec<String>,
    addresses: Option<swarm::Addresses>,
    engine: crate::calls::Engine,
    portmap: crate::portmap::Portmap,
    relays: relay::Relays,
    emitter: Emitter,
    notices: Vec<String>,
    timings: twocan_control::Timings,
    stop: CancellationToken,

    book: Book,
    token: TokenRecord,
    presence: Arc<PresenceKey>,
    friendships: BTreeMap<RootPublic, FriendshipKey>,
    whereabouts: BTreeMap<RootPublic, Whereabouts>,
    lan: Vec<reach::Neighbour>,
    dials: reach::Dials,
    carried: doctor::Carried,
    clocks: clock::Clocks,
    circuits: paths::Circuits,
    preflights: preflight::Preflights,
    /// How often friends refused a link for another of ours, since one was up.
    refused: BTreeMap<RootPublic, u32>,
    told_of_other_self: bool,

    identity: Arc<streams::Identity>,
    acceptor: Arc<streams::Acceptor>,
    gates: Arc<streams::GateTable>,
    hidden_gates: Arc<streams::GateTable>,
    hidden: Option<hide::HiddenNode>,
    sessions: BTreeMap<RootPublic, Linked>,
    channels: links::Channels,

    calls: Calls,
    seats: Seats,
    history: Vec<HistoryRecord>,
    history_seen_ms: u64,
    settings: settings::SettingsRecord,
    chats: Chats,
    files: files::Files,
    pictures: pictures::Pictures,

    notes: mpsc::Sender<Note>,
}

/// The ends that the run loop reads from.
struct Inbox {
    requests: mpsc::Receiver<Request>,
    notes: mpsc::Receiver<Note>,
    swarm: mpsc::Receiver<swarm::Event>,
    rendezvous: mpsc::Receiver<rendezvous::Event>,
    network: mpsc::Receiver<netwatch::Change>,
}

/// Starts the service on its own task. The sender takes clients' requests; the task ends with `parts.stop`.
pub(crate) fn start(parts: Parts) -> (mpsc::Sender<Request>, tokio::task::JoinHandle<()>) {
    let (requests, requests_in) = mpsc::channel(REQUESTS);
    let (notes, notes_in) = mpsc::channel(NOTES);
    let inbox = Inbox {
        requests: requests_in,
        notes: notes_in,
        swarm: parts.swarm_events,
        rendezvous: parts.rendezvous_events,
        network: parts.network,
    };
    let kept = parts.records.load();
    let own = parts.keys.root.public();
    let now = Instant::now();
    let token =
        kept.token.unwrap_or_else(|| TokenRecord { token: ContactToken::derived(&parts.keys.root), rotated_ms: None });
    let fresh = kept.presence.is_none();
    let presence = Arc::new(kept.presence.unwrap_or_else(|| PresenceKey::generate(unix_ms(), &mut rand::rng())));
    let settings =
        call::Settings { dnd: false, call_waiting: parts.config.calls.waiting, grace: parts.config.calls.grace() };
    let mut service = Service {
        book: Book::new(now, own, rand::random(), kept.book, kept.friends, kept.requests),
        calls: Calls::new(settings),
        seats: Seats::default(),
        history: kept.history,
        history_seen_ms: kept.history_seen_ms,
        chats: Chats::new(kept.settings.read_marks, kept.chats, kept.lines),
        files: files::Files::new(kept.files),
        pictures: kept.pictures,
        settings: kept.settings,
        whereabouts: kept.whereabouts.into_iter().collect(),
        friendships: BTreeMap::new(),
        lan: Vec::new(),
        dials: reach::Dials::default(),
        carried: doctor::Carried::default(),
        clocks: clock::Clocks::default(),
        circuits: paths::Circuits::default(),
        preflights: preflight::Preflights::default(),
        refused: BTreeMap::new(),
        told_of_other_self: false,
        token,
        presence,
        acceptor: Arc::new(streams::Acceptor::new(Arc::clone(&parts.identity))),
        identity: Arc::clone(&parts.identity),
        gates: Arc::default(),
        hidden_gates: Arc::default(),
        hidden: None,
        sessions: BTreeMap::new(),
        channels: links::Channels::default(),
        timings: twocan_control::Timings { api_ms: Some(parts.api_ms), ..twocan_control::Timings::default() },
        relays: relay::Relays::new(relay::Own::new(parts.relay, &parts.config.relay, parts.records.relay())),
        config: parts.config,
        home: parts.home,
        began: parts.began,
        keys: parts.keys,
        records: parts.records,
        slots: publisher(parts.rendezvous.clone(), parts.identity.certificate, parts.swarm.relayed()),
        swarm: parts.swarm,
        rendezvous: parts.rendezvous,
        public: parts.public,
        listen: Vec::new(),
        addresses: None,
        engine: parts.engine,
        portmap: parts.portmap,
        emitter: parts.emitter,
        notices: parts.notices,
        stop: parts.stop,
        notes,
    };
    if fresh {
        let change = service.records.presence(&service.presence);
        service.records.now(change.into_iter().collect());
    }
    portmap::follow(&service.portmap, service.swarm.clone(), service.engine.clone());
    let task = tokio::spawn(async move {
        service.begin(kept.calls);
        service.run(inbox).await;
    });
    (requests, task)
}

impl Service {
    /// The first steps: gates, slots, calls of the last run.
    fn begin(&mut self, calls: Vec<call::CallRecord>) {
        self.open_gates();
        self.book_input(friend::Input::OwnGrant(self.presence.grant()));
        self.apply_settings();
        self.watch_reachability();
        self.watch_stun_servers();
        self.publish();
        self.begin_files();
        let recent: Vec<HistoryRecord> = self.history.iter().rev().take(RECENT).cloned().collect();
        // The latest word about each friend is the one that stays.
        for record in recent.into_iter().rev() {
            self.calls_input(call::Input::EndedBefore(record));
        }
        for record in calls {
            self.calls_input(call::Input::Restore(record));
        }
    }

    async fn run(mut self, mut inbox: Inbox) {
        let stop = self.stop.clone();
        let mut health = self.rendezvous.status();
        let mut remember = tokio::time::interval(REMEMBER);
        remember.reset();
        let mut relayed = self.swarm.relayed();
        let mut see = tokio::time::interval(call::SEEN_EVERY);
        loop {
            let due = self.next_timeout();
            let sleep = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(change) = inbox.network.recv() => self.network_changed(change),
                Some(request) = inbox.requests.recv() => request(&mut self),
                Some(note) = inbox.notes.recv() => self.note(note),
                event = inbox.swarm.recv() => match event {
                    Some(event) => self.swarm_event(event),
                    None => break,
                },
                Some(event) = inbox.rendezvous.recv() => self.rendezvous_event(&event),
                // The event of the last slot comes before the sum that counts it.
                Ok(()) = health.changed() => self.check_ready(),
                () = sleep => self.timeouts(due),
                _ = remember.tick() => {
                    self.remember_dht_peers();
                    self.keep_relayed_today();
                }
                Ok(()) = relayed.changed() => self.tell_whereabouts(),
                _ = see.tick() => self.see_calls(),
            }
        }
        self.farewell(&mut inbox).await;
    }

    /// When something is due next.
    fn next_timeout(&self) -> Option<Instant> {
        let sessions = self.sessions.values().filter_map(|linked| linked.session.poll_timeout());
        let sessions = sessions.chain(self.relays.poll_timeout()).chain(self.next_renewal());
        let sessions = sessions.chain(self.chats.poll_timeout()).chain(self.files.transfers.poll_timeout());
        sessions.chain(self.book.poll_timeout()).chain(self.calls.poll_timeout()).min()
    }

    fn timeouts(&mut self, due: Option<Instant>) {
        let now = Instant::now();
        self.excuse_silence(due, now);
        if self.book.poll_timeout().is_some_and(|at| at <= now) {
            let outputs = self.book.handle_timeout(now, unix_ms());
            self.book_outputs(outputs);
        }
        if self.calls.poll_timeout().is_some_and(|at| at <= now) {
            let outputs = self.calls.handle_timeout(now, unix_ms());
            self.calls_outputs(outputs);
        }
        self.session_timeouts(now);
        self.relay_timeouts(now);
        self.chat_timeout(now);
        self.files_timeout(now);
        self.renew_circuits(now);
    }

    fn swarm_event(&mut self, event: swarm::Event) {
        match event {
            swarm::Event::Inbound(stream) => self.accept(stream),
            swarm::Event::AddressesChanged(addresses) => {
                self.addresses = Some(addresses);
                self.tell_whereabouts();
                self.remember_ports();
            }
            swarm::Event::DhtPeers(count) => {
                if count > 0 && self.timings.dht_peer_ms.is_none() {
                    self.timings.dht_peer_ms = Some(self.since_start_ms());
                    self.check_ready();
                }
            }
            swarm::Event::Discovered { peer, addresses } => self.neighbour(peer, addresses),
            swarm::Event::ListenFailed(reason) => {
                tracing::warn!("a listener ended: {reason}");
                self.notice(format!("The network stopped listening on an address: {reason}"));
            }
            swarm::Event::Listening(address) => self.listening(address),
            swarm::Event::Upgraded { from, to, .. } => self.upgraded(from, to),
            swarm::Event::Connected(info) => {
                self.carried.count(&info);
                self.connected(&info);
            }
            swarm::Event::Disconnected { connection, .. } => drop(self.circuits.remove(&connection)),
        }
    }

    fn rendezvous_event(&mut self, event: &rendezvous::Event) {
        match event {
            rendezvous::Event::Published { slot, query, holders, .. } => {
                tracing::debug!("{} slot published on {holders} nodes (query {query})", slot.kind());
            }
            rendezvous::Event::Confirmed { slot, query, .. } => {
                tracing::debug!("{} slot read back (query {query})", slot.kind());
                self.check_ready();
            }
        }
    }

    fn listening(&mut self, address: String) {
        tracing::debug!("listening on {address}");
        if self.listen.len() < LISTEN_SHOWN && !self.listen.contains(&address) {
            self.listen.push(address);
            self.want_ports();
            self.share_relay_tls();
        }
        self.remember_ports();
    }

    /// Keeps the ports for the next start, so that friends find us where we were.
    fn remember_ports(&self) {
        let port = |kind: &str| {
            self.listen.iter().find_map(|address| {
                let (_, rest) = address.split_once(kind)?;
                rest.split('/').next()?.parse().ok()
            })
        };
        let ports =
            Ports { quic: port("/udp/").unwrap_or(0), tcp: port("/tcp/").unwrap_or(0), media: self.engine.port() };
        self.records.set_ports(ports);
    }

    /// Public addresses of this node, for a URI.
    fn hints(&self) -> Vec<String> {
        let Some(addresses) = &self.addresses else { return Vec::new() };
        let hint = |address: &String| format!("{address}/p2p/{}", self.swarm.peer_text());
        addresses.direct.iter().take(HINTS_MAX).map(hint).collect()
    }

    /// Notes the moment at which the node can be found by friends.
    fn check_ready(&mut self) {
        let found = self.rendezvous.status().borrow().is_complete();
        if self.timings.ready_ms.is_none() && self.timings.dht_peer_ms.is_some() && found {
            let ready_ms = self.since_start_ms();
            self.timings.ready_ms = Some(ready_ms);
            tracing::info!("ready after {ready_ms:.0} ms");
            self.emitter.emit(Event::Ready { ready_ms });
        }
    }

    fn notice(&mut self, text: String) {
        self.emitter.emit(Event::Notice { text: text.clone() });
        // What stands in the status is bounded: the oldest goes.
        if self.notices.len() >= 16 {
            self.notices.remove(0);
        }
        self.notices.push(text);
    }

    /// Writes down the DHT nodes that were met.
    fn remember_dht_peers(&self) {
        let (swarm, notes) = (self.swarm.clone(), self.notes.clone());
        tokio::spawn(async move {
            let mut peers = swarm.known_public_peers().await;
            peers.truncate(keep::DHT_PEERS);
            if !peers.is_empty() {
                let _ = notes.send(Note::DhtPeers(peers)).await;
            }
        });
    }

    /// Leaves calls, says good-bye to friends, and waits until that is said.
    async fn farewell(&mut self, inbox: &mut Inbox) {
        self.emitter.emit(Event::Stopping);
        self.leave_calls();
        self.close_sessions();
        self.keep_relayed_today();
        let swarm = self.swarm.clone();
        let mut peers = swarm.known_public_peers().await;
        peers.truncate(keep::DHT_PEERS);
        if !peers.is_empty() {
            self.records.set_dht_peers(&peers);
        }
        // Channels close after what was queued has been written; their tasks say so.
        let drained = async {
            while self.channels.closing() {
                match inbox.notes.recv().await {
                    Some(note) => self.channels.note_closed(&note),
                    None => break,
                }
            }
        };
        let _ = tokio::join!(tokio::time::timeout(FAREWELL, drained), self.portmap.stop());
        if let Some(hidden) = self.hidden.take() {
            let _ = tokio::time::timeout(FAREWELL, hidden.swarm.shutdown()).await;
        }
        let _ = tokio::time::timeout(FAREWELL, swarm.shutdown()).await;
    }

    fn since_start_ms(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1000.0
    }

    fn status(&self) -> Status {
        let mut notices = self.notices.clone();
        notices.extend(self.records.trouble());
        Status {
            api_version: twocan_control::API_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            home: self.home.display().to_string(),
            uptime_s: self.began.elapsed().as_secs(),
            locked: false,
            availability: view::availability(self.book.availability()),
            peer_id: self.swarm.peer_text().to_owned(),
            listen: self.listen.clone(),
            media_port: self.engine.port(),
            reachability: self.reachability(),
            dht: self.health(),
            friends: small(self.book.friends().count()),
            friends_online: small(self.book.friends().filter(|friend| friend.online).count()),
            requests: small(self.book.requests().count()),
            calls: small(self.calls.iter().count()),
            missed: self.missed_calls(),
            unread: small(self.chats.unread()),
            timings: self.timings.clone(),
            notices,
        }
    }
}

/// Hands plans to the rendezvous, and the addresses at relays, the latest ones last; whoever makes them does not wait.
fn publisher(
    rendezvous: Rendezvous,
    certificate: twocan_protocol::identity::Certificate,
    mut relayed: watch::Receiver<Vec<String>>,
) -> watch::Sender<Vec<rendezvous::Slot>> {
    let (slots, mut plan) = watch::channel(Vec::new());
    tokio::spawn(async move {
        loop {
            let addresses = relayed.borrow_and_update().clone();
            rendezvous.set_device(certificate, addresses).await;
            loop {
                tokio::select! {
                    changed = plan.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let slots = plan.borrow_and_update().clone();
                        rendezvous.set_slots(slots).await;
                    }
                    changed = relayed.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                }
            }
        }
    });
    slots
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The wall clock in milliseconds.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
