//! The task that owns the swarm.
//!
//! It takes commands from [`super::Handle`]s, drives libp2p, and reports events. Nothing in here waits for anybody: a
//! reply that nobody reads is dropped, and while the owner of the node does not take its events the network waits.
//! [`connections`] has dialling and the table of connections, [`relaying`] circuits and the relays that we wait at,
//! [`punching`] the way from a relayed to a direct connection, [`paths`] what others can reach of us, [`queries`] lookups
//! and puts, [`table`] the routing table with its bootstrap, and the storing side.

mod connections;
mod hops;
mod paths;
mod punching;
mod queries;
mod relaying;
mod table;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::upgrade,
    identity, kad, mdns,
    swarm::{self, SwarmEvent},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    behaviour::{Behaviour, BehaviourEvent, Parts},
    relays::Relays,
    scope::{Scope, is_circuit, is_dialable, scope_of},
    streams::{Event as StreamEvent, OpenError, RawStream},
    stun, transport,
    types::{
        Addresses, Config, ConnectionId, ConnectionInfo, DhtView, DialError, Event, GetEvent, Observation, PutEvent,
        QueryId, Reachability, RelayNode, Route, ServerMode, StartError, Stats, Stream,
    },
};
use connections::Connections;
use hops::Hops;
use paths::Paths;
use punching::Punching;
use queries::Queries;
use relaying::Errands;
use table::Table;

/// Connections without streams are closed after this time: long enough for a search to become a link.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Events kept while the owner of the node is busy; beyond that the swarm is not polled.
const OUTBOX: usize = 128;
/// Streams that are being negotiated by the other side, per connection.
const MAX_NEGOTIATING: usize = 16;
/// Changes of addresses within this time are reported as one.
const ADDRESS_DELAY: Duration = Duration::from_millis(3);
/// On shutdown, how long the goodbyes may take to leave.
const GOODBYE: Duration = Duration::from_millis(300);

/// The answer to [`Command::Open`]: the connection, and where the stream will come.
pub(super) type Opening = (ConnectionInfo, oneshot::Receiver<Result<RawStream, OpenError>>);

/// What handles ask of the task.
#[derive(Debug)]
pub(super) enum Command {
    Dial {
        addresses: Vec<String>,
        expect: Option<twocan_protocol::identity::PeerId>,
        reply: mpsc::Sender<Result<ConnectionInfo, DialError>>,
    },
    Open {
        connection: ConnectionId,
        reply: oneshot::Sender<Option<Opening>>,
    },
    Disconnect(ConnectionId),
    /// This connection may be dead.
    Doubt(ConnectionId),
    NetworkChanged,
    AddExternal(Vec<String>),
    AlsoListens(Vec<String>),
    PreferRelays(Vec<String>),
    StunPort(Option<u16>),
    Observed(oneshot::Sender<Vec<Observation>>),
    RelayNodes(oneshot::Sender<Vec<RelayNode>>),
    Put {
        id: QueryId,
        key: [u8; 32],
        value: Vec<u8>,
        reply: mpsc::Sender<PutEvent>,
    },
    PutTo {
        id: QueryId,
        key: [u8; 32],
        value: Vec<u8>,
        peers: Vec<twocan_protocol::identity::PeerId>,
        reply: mpsc::Sender<PutEvent>,
    },
    Get {
        id: QueryId,
        key: [u8; 32],
        reply: mpsc::Sender<GetEvent>,
    },
    Finish(QueryId),
    Bootstrap(Vec<String>),
    KnownPeers(oneshot::Sender<Vec<String>>),
    Stats(oneshot::Sender<Stats>),
    Shutdown(oneshot::Sender<()>),
}

/// What [`start`] hands back for the handle.
pub(super) struct Started {
    pub(super) peer: twocan_protocol::identity::PeerId,
    pub(super) peer_text: String,
    pub(super) dht: watch::Receiver<DhtView>,
    pub(super) addresses: watch::Receiver<Addresses>,
    pub(super) reachability: watch::Receiver<Reachability>,
    pub(super) relayed: watch::Receiver<Vec<String>>,
    pub(super) stun_servers: watch::Receiver<Vec<SocketAddr>>,
}

struct Actor {
    swarm: Swarm<Behaviour>,
    inbox: mpsc::Receiver<Command>,
    outbox: VecDeque<Event>,
    dht_server: ServerMode,
    relay_server: ServerMode,
    hidden: bool,
    connections: Connections,
    queries: Queries,
    hops: Hops,
    table: Table,
    paths: Paths,
    relays: Relays,
    errands: Errands,
    punching: Punching,
    stun_servers: stun::Servers,
    addresses: watch::Sender<Addresses>,
    relayed: watch::Sender<Vec<String>>,
    addresses_due: Option<Instant>,
}

/// Makes a swarm with a new key, listens, and starts its task.
pub(super) fn start(
    config: Config,
    inbox: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
) -> Result<Started, StartError> {
    let key = identity::Keypair::generate_ed25519();
    let me = PeerId::from(key.public());
    let peer = to_ours(&me).ok_or_else(|| StartError::Transport("the new PeerId is too long".to_owned()))?;
    let (transport, relay_client) =
        transport::build(&key, config.proxy.clone()).map_err(|error| StartError::Transport(error.to_string()))?;
    let swarm_config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
        // Who opens a stream names the protocol and goes on at once: a round trip less for each stream, two over a relay.
        .with_substream_upgrade_protocol_override(upgrade::Version::V1Lazy)
        .with_smart_dial();
    let parts = Parts { mdns: config.mdns, hidden: config.hidden };
    let mut swarm = Swarm::new(transport, Behaviour::new(&key, relay_client, parts), me, swarm_config);
    for address in config.listen.iter().filter(|_| !config.hidden) {
        let parsed: Multiaddr = address.parse().map_err(|error: libp2p::multiaddr::Error| StartError::Address {
            address: address.clone(),
            reason: error.to_string(),
        })?;
        swarm
            .listen_on(parsed)
            .map_err(|error| StartError::Listen { address: address.clone(), reason: root_cause(&error) })?;
    }
    let (dht, dht_view) = watch::channel(DhtView::default());
    let (addresses, addresses_view) = watch::channel(Addresses::default());
    let (relayed, relayed_view) = watch::channel(Vec::new());
    let (reachability, reachability_view) = watch::channel(Reachability::default());
    let (stun_servers, stun_view) = watch::channel(Vec::new());
    let mut actor = Actor {
        swarm,
        inbox,
        outbox: VecDeque::new(),
        dht_server: if config.hidden { ServerMode::Off } else { config.dht_server },
        relay_server: if config.hidden { ServerMode::Off } else { config.relay_server },
        hidden: config.hidden,
        connections: Connections::default(),
        queries: Queries::default(),
        hops: Hops::new(Instant::now()),
        table: Table::new(dht),
        paths: Paths::new(reachability),
        relays: Relays::default(),
        errands: Errands::default(),
        punching: Punching::default(),
        stun_servers: stun::Servers::new(stun_servers),
        addresses,
        relayed,
        addresses_due: None,
    };
    actor.judge_paths(Instant::now());
    actor.add_bootstrap(config.bootstrap, Instant::now());
    tokio::spawn(actor.run(events));
    Ok(Started {
        peer,
        peer_text: me.to_string(),
        dht: dht_view,
        addresses: addresses_view,
        reachability: reachability_view,
        relayed: relayed_view,
        stun_servers: stun_view,
    })
}

impl Actor {
    async fn run(mut self, events: mpsc::Sender<Event>) {
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    None => return,
                    Some(Command::Shutdown(done)) => {
                        self.say_goodbye().await;
                        drop(self);
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.on_command(command, Instant::now()),
                },
                permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => if let Some(event) = self.outbox.pop_front() {
                        permit.send(event);
                    },
                    Err(_) => return,
                },
                event = self.swarm.select_next_some(), if self.outbox.len() < OUTBOX => {
                    self.on_swarm_event(event, Instant::now());
                }
                () = sleep_until(wake) => self.on_time(Instant::now()),
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let wakes = [
            self.addresses_due,
            self.connections.next_wake(),
            self.errands.next_wake(),
            self.punching.next_wake(),
            self.paths.next_wake(),
            self.relays.next_wake(Instant::now()),
            self.queries.next_wake(),
            self.hops.next_wake(),
            self.table.next_wake(),
        ];
        wakes.into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) {
        if self.addresses_due.is_some_and(|due| due <= now) {
            self.addresses_due = None;
            self.report_addresses();
        }
        self.tend_paths(now);
        self.tend_relays(now);
        self.tend_punches(now);
        self.dial_what_is_due(now);
        self.go_on_with_lookups(now);
        self.tend_hops(now);
        self.tend_table(now);
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Dial { addresses, expect, reply } => self.dial(addresses, expect, reply, now),
            Command::Open { connection, reply } => {
                let _ = reply.send(self.open(connection));
            }
            Command::Disconnect(ConnectionId(id)) => {
                self.swarm.close_connection(id);
            }
            Command::Doubt(ConnectionId(id)) => self.doubt(id),
            Command::NetworkChanged => self.network_changed(now),
            Command::AddExternal(addresses) => self.add_external(&addresses, now),
            Command::AlsoListens(addresses) => self.also_listens(&addresses, now),
            Command::PreferRelays(addresses) => {
                self.relays.prefer(addresses.iter().filter_map(|text| text.parse().ok()));
                self.tend_relays(now);
            }
            Command::StunPort(port) => self.swarm.behaviour().stun.set_port(port.filter(|_| !self.hidden)),
            Command::Observed(reply) => {
                let _ = reply.send(self.paths.observed());
            }
            Command::RelayNodes(reply) => {
                let _ = reply.send(self.relay_nodes());
            }
            Command::Put { id, key, value, reply } if self.hidden => self.put_by_hop(id, key, value, reply, now),
            Command::Get { id, key, reply } if self.hidden => self.get_by_hop(id, key, reply, now),
            // Only nodes that were met can be sent something, and a hidden one meets none.
            Command::PutTo { .. } if self.hidden => {}
            Command::Finish(id) if self.hidden => self.finish_by_hop(id),
            Command::Put { id, key, value, reply } => self.put(id, key, value, reply, now),
            Command::PutTo { id, key, value, peers, reply } => self.put_to(id, key, value, &peers, reply, now),
            Command::Get { id, key, reply } => self.get(id, key, reply, now),
            Command::Finish(id) => self.finish_get(id),
            Command::Bootstrap(addresses) => self.add_bootstrap(addresses, now),
            Command::KnownPeers(reply) => {
                let _ = reply.send(self.table.known());
            }
            Command::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            Command::Shutdown(_) => {}
        }
    }

    fn open(&mut self, ConnectionId(id): ConnectionId) -> Option<Opening> {
        let info = self.connections.info(id)?.clone();
        if self.hidden && info.route != Route::Relayed {
            return None;
        }
        let peer = self.connections.peer(id)?;
        let (reply, opening) = oneshot::channel();
        self.swarm.behaviour_mut().streams.open(peer, id, reply);
        Some((info, opening))
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>, now: Instant) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint, now);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                let reason = cause.map_or_else(|| "closed".to_owned(), |cause| root_cause(&cause));
                self.on_closed(peer_id, connection_id, reason, now);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, &error, now);
            }
            SwarmEvent::NewListenAddr { listener_id, address } if is_circuit(&address) => {
                self.relays.on_circuit_address(listener_id, &address);
                self.addresses_due.get_or_insert(now + ADDRESS_DELAY);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::debug!(%address, "listening");
                self.judge_paths(now);
                self.table.hasten(now);
                self.outbox.push_back(Event::Listening(address.to_string()));
                self.addresses_due.get_or_insert(now + ADDRESS_DELAY);
            }
            SwarmEvent::ExpiredListenAddr { .. } => self.judge_paths(now),
            SwarmEvent::ExternalAddrConfirmed { .. } | SwarmEvent::ExternalAddrExpired { .. } => {
                self.addresses_due.get_or_insert(now + ADDRESS_DELAY);
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let reason = reason.err().map_or_else(|| "closed".to_owned(), |error| root_cause(&error));
                self.addresses_due.get_or_insert(now + ADDRESS_DELAY);
                if self.relays.on_listener_closed(listener_id, now) {
                    tracing::debug!(reason, "a relay does not wait for us any more");
                    self.tend_relays(now);
                } else {
                    self.outbox.push_back(Event::ListenFailed(reason));
                    self.judge_paths(now);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "listener"),
            SwarmEvent::IncomingConnectionError { error, .. } => tracing::debug!(%error, "inbound connection failed"),
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent, now: Instant) {
        match event {
            BehaviourEvent::Streams(StreamEvent::Inbound { connection, stream }) => {
                // A hidden node has direct connections with relays only, and nothing to say to them.
                let heard = |info: &&ConnectionInfo| !self.hidden || info.route == Route::Relayed;
                if let Some(info) = self.connections.info(connection).filter(heard) {
                    self.outbox.push_back(Event::Inbound(Stream::new(stream, info.clone())));
                }
            }
            BehaviourEvent::Streams(StreamEvent::Silent { connection }) => {
                tracing::debug!(%connection, "nothing comes back on a stream: perhaps dead");
                self.doubt(connection);
            }
            BehaviourEvent::Identify(libp2p::identify::Event::Received { connection_id, peer_id, info }) => {
                self.on_identified(peer_id, connection_id, info, now);
            }
            BehaviourEvent::Dht(kad::Event::InboundRequest { request }) => self.on_request(request, now),
            BehaviourEvent::Ask(event) => self.on_answer(event, now),
            BehaviourEvent::Dht(kad::Event::RoutingUpdated { .. }) => self.on_routing_updated(now),
            BehaviourEvent::Autonat(verdict) => self.on_verdict(&verdict, now),
            BehaviourEvent::Relay(event) => self.on_relay_client(event, now),
            BehaviourEvent::Punch(event) => self.on_agreement(event, now),
            BehaviourEvent::Alive(event) => self.on_pulse(event),
            BehaviourEvent::Hop(event) => self.on_hop(event, now),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_discovered(found, now),
            _ => {}
        }
    }

    /// How far our own listeners reach.
    fn own_scope(&self) -> Option<Scope> {
        self.swarm.listeners().filter_map(scope_of).max()
    }

    fn report_addresses(&mut self) {
        let widest = self.own_scope();
        let near = |address: &&Multiaddr| match scope_of(address) {
            Some(Scope::Private) => true,
            Some(Scope::Loopback) => widest == Some(Scope::Loopback),
            _ => false,
        };
        let mut direct: Vec<String> = self.paths.direct().iter().map(ToString::to_string).collect();
        let near = self.swarm.listeners().filter(near).filter(|address| is_dialable(address));
        let mut lan: Vec<String> = near.map(ToString::to_string).collect();
        for list in [&mut direct, &mut lan] {
            list.sort();
            list.dedup();
            // QUIC first: who reads a slot tries in this order.
            list.sort_by_key(|address| !address.contains("/quic-v1"));
        }
        let new = Addresses { direct, lan };
        if *self.addresses.borrow() != new {
            self.addresses.send_replace(new.clone());
            self.outbox.push_back(Event::AddressesChanged(new));
        }
        let circuits: Vec<String> = self.relays.circuits().iter().map(ToString::to_string).collect();
        self.relayed.send_if_modified(|relayed| {
            let changed = *relayed != circuits;
            if changed {
                tracing::debug!(addresses = circuits.len(), "reachable through relays");
                *relayed = circuits;
            }
            changed
        });
    }

    fn set_server(&mut self, server: bool) {
        let mode = if server { kad::Mode::Server } else { kad::Mode::Client };
        let behaviour = self.swarm.behaviour_mut();
        if behaviour.dht.kad().mode() != mode {
            behaviour.dht.kad().set_mode(Some(mode));
        }
        behaviour.identify.set_serving(server);
        self.table.set_server(server);
    }

    fn stats(&mut self) -> Stats {
        let refused = self.table.refused();
        let load = self.swarm.behaviour().circuits.load();
        Stats {
            connections: self.connections.len(),
            dht_peers: self.table.view().peers,
            server: self.table.view().server,
            records: self.swarm.behaviour_mut().dht.kad().store_mut().len(),
            refused,
            queries: self.queries.len() + self.hops.len(),
            reservations: load.reservations,
            circuits: load.circuits,
            circuits_refused: load.refused,
        }
    }

    async fn say_goodbye(&mut self) {
        let peers: HashMap<PeerId, ()> = self.swarm.connected_peers().map(|peer| (*peer, ())).collect();
        for peer in peers.into_keys() {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closing = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, closing).await;
    }
}

/// A PeerId in the protocol's type.
pub(super) fn to_ours(peer: &PeerId) -> Option<twocan_protocol::identity::PeerId> {
    twocan_protocol::identity::PeerId::from_bytes(&peer.to_bytes()).ok()
}

/// A PeerId in libp2p's type.
fn to_theirs(peer: &twocan_protocol::identity::PeerId) -> Option<PeerId> {
    PeerId::from_bytes(peer.as_bytes()).ok()
}

/// The innermost error's text: the outer ones repeat addresses.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
