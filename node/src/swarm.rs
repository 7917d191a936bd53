//! The network between nodes: libp2p, and nothing of libp2p outside.
//!
//! One task owns the swarm ([`actor`]); a [`Handle`] sends it bounded commands, [`Event`]s come back. A swarm key is
//! made at every start, so a PeerId says nothing about a person and nobody can be followed across restarts.
//!
//! - Connections: QUIC and TCP ([`transport`]), limits per network and in all ([`behaviour`], [`limits`]). A connection
//!   lives while a stream of ours is open on it, or a reservation needs it; else it is closed after some seconds.
//! - Streams: one protocol, `/twocan/peer/1`, opened on a given connection ([`streams`]).
//! - DHT: Kademlia `/twocan/kad/1` ([`dht`]); the crate serves and keeps the table, lookups are our own ([`ask`],
//!   [`crate::dht`]). Only nodes that say in identify that they serve it, at an address they
//!   were met at, enter the routing table. Records are verified before they are stored ([`store`]).
//! - Reachability: other nodes test our addresses ([`autonat`], [`reachability`]). A node that the internet cannot reach
//!   waits for circuits at two relays ([`relays`]); one that it can reach carries circuits for others ([`circuits`]).
//! - A hidden node looks into the DHT, and puts into it, through its relays alone ([`hop`]).
//! - Public nodes say where they answer STUN for calls ([`stun`]).
//! - A relayed connection is made direct by hole punching where that is possible ([`punch`]), and dead connections to
//!   relays are noticed in seconds ([`alive`]).
//! - Addresses are told, kept and dialled only within their [`scope`].
//!
//! A query never waits for the DHT's bootstrap: it starts with whatever peer is known, or as soon as one is.

mod actor;
mod alive;
mod announce;
mod ask;
mod autonat;
mod behaviour;
mod circuits;
mod dht;
mod exchange;
mod hop;
mod limits;
mod protobuf;
mod proxied;
pub mod public;
mod punch;
mod reachability;
mod relays;
mod scope;
mod store;
mod streams;
mod stun;
mod transport;
mod types;

#[cfg(test)]
mod tests;

pub use limits::RangeLimiter;
pub use scope::{Scope, SourceRange};
pub use streams::OpenError;
pub use transport::{QUIC_IDLE, QUIC_KEEP_ALIVE};
pub use types::{
    Addresses, CircuitLimit, Config, ConnectionId, ConnectionInfo, Copy, DhtView, DialError, Event, Get, GetEvent,
    GetReport, Observation, PutEvent, PutReport, QueryId, Reachability, RelayNode, Route, ServerMode, StartError,
    Stats, Stopped, Stream, Transport,
};

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};
use twocan_protocol::identity::PeerId;

use actor::Command;

/// Commands that may wait for the swarm's task; senders wait beyond that.
const COMMANDS: usize = 256;
/// Events that may wait for the owner of the node; beyond that, the swarm's task waits.
const EVENTS: usize = 256;
/// Copies of one lookup that may wait for their reader: more than a query can find (20), with room for stale ones.
const COPIES: usize = 64;
/// Addresses that are looked at in one dial: all that a slot can hold. Which of them are tried is bounded by kind, so that
/// a record cannot send us to many third machines.
pub const MAX_DIAL_ADDRESSES: usize = 24;

/// What the rest of the node holds of the swarm. Cheap to clone; the swarm stops when the last one is dropped.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    dht: watch::Receiver<DhtView>,
    addresses: watch::Receiver<Addresses>,
    reachability: watch::Receiver<Reachability>,
    relayed: watch::Receiver<Vec<String>>,
    stun_servers: watch::Receiver<Vec<SocketAddr>>,
    queries: Arc<AtomicU64>,
    peer: PeerId,
    peer_text: String,
}

/// Whether a node can be at an address that a person wrote down: a multiaddr of IP or name, with a TCP or UDP port.
///
/// # Errors
/// [`StartError::Bootstrap`], which says what is wrong with it.
pub fn check_bootstrap(address: &str) -> Result<(), StartError> {
    let refused = |reason: String| StartError::Bootstrap { address: address.to_owned(), reason };
    let parsed = address.parse().map_err(|error: libp2p::multiaddr::Error| refused(error.to_string()))?;
    if scope::is_dialable(&parsed) {
        return Ok(());
    }
    Err(refused("it takes /ip4, /ip6 or /dns with /tcp/PORT or /udp/PORT/quic-v1".to_owned()))
}

/// The source network of an address that begins with an IP, for limits on how much is done for one, and whether it is
/// this machine or a private network.
pub fn ip_range(address: &str) -> Option<(SourceRange, bool)> {
    let ip = scope::ip_of(&address.parse().ok()?)?;
    let scope = scope::scope_of_ip(ip)?;
    Some((SourceRange::of(ip), scope != Scope::Public))
}

/// Starts a swarm with a new key, on the current tokio runtime.
///
/// # Errors
/// If an address of `config` cannot be understood or listened on.
pub fn start(config: Config) -> Result<(Handle, mpsc::Receiver<Event>), StartError> {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (outbox, events) = mpsc::channel(EVENTS);
    let started = actor::start(config, inbox, outbox)?;
    let handle = Handle {
        commands,
        dht: started.dht,
        addresses: started.addresses,
        reachability: started.reachability,
        relayed: started.relayed,
        stun_servers: started.stun_servers,
        queries: Arc::new(AtomicU64::new(1)),
        peer: started.peer,
        peer_text: started.peer_text,
    };
    Ok((handle, events))
}

impl Handle {
    /// The PeerId of this start.
    pub fn peer_id(&self) -> &PeerId {
        &self.peer
    }

    /// The PeerId as libp2p writes it (base58).
    pub fn peer_text(&self) -> &str {
        &self.peer_text
    }

    /// Dials `addresses` (multiaddr texts, at most [`MAX_DIAL_ADDRESSES`]), QUIC first and TCP 200 ms later, through
    /// relays 250 ms later where there are public addresses, and returns the first connection. With `expect`, only that node will do, and an open connection to it is returned
    /// at once; without, any node that answers there does.
    ///
    /// # Errors
    /// Why the last address failed, [`DialError::Timeout`] after `deadline`, or that no address could be used.
    pub async fn dial(
        &self,
        addresses: Vec<String>,
        expect: Option<PeerId>,
        deadline: Duration,
    ) -> Result<ConnectionInfo, DialError> {
        let mut attempts = self.dial_each(addresses, expect).await?;
        let mut last = DialError::NoAddress;
        let first = async {
            while let Some(result) = attempts.recv().await {
                match result {
                    Ok(info) => return Ok(info),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        tokio::time::timeout(deadline, first).await.unwrap_or(Err(DialError::Timeout))
    }

    /// As [`Handle::dial`], but reports every address's outcome: who wants a certain person at addresses that another
    /// node may have taken over goes on to the next connection. Dropping the receiver gives up what is not yet dialled.
    ///
    /// # Errors
    /// If the swarm has stopped.
    pub async fn dial_each(
        &self,
        mut addresses: Vec<String>,
        expect: Option<PeerId>,
    ) -> Result<mpsc::Receiver<Result<ConnectionInfo, DialError>>, DialError> {
        addresses.truncate(MAX_DIAL_ADDRESSES);
        let (reply, results) = mpsc::channel(MAX_DIAL_ADDRESSES + 1);
        self.send(Command::Dial { addresses, expect, reply }).await.map_err(|Stopped| DialError::Stopped)?;
        Ok(results)
    }

    /// Opens a `/twocan/peer/1` stream on that very connection, without waiting for the other side: that it is silent
    /// ([`std::io::ErrorKind::TimedOut`] after some seconds) or does not speak the protocol shows when the stream is read.
    ///
    /// # Errors
    /// If the connection is gone or too busy.
    pub async fn open(&self, connection: ConnectionId) -> Result<Stream, OpenError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Open { connection, reply }).await.map_err(|Stopped| OpenError::Closed)?;
        let (info, opening) = answer.await.map_err(|_| OpenError::Closed)?.ok_or(OpenError::Closed)?;
        let raw = opening.await.map_err(|_| OpenError::Closed)??;
        Ok(Stream::new(raw, info))
    }

    /// Closes a connection, with all its streams.
    pub async fn disconnect(&self, connection: ConnectionId) {
        let _ = self.send(Command::Disconnect(connection)).await;
    }

    /// Puts `value` to the nodes closest to `key`. Each node that takes it is reported as it answers, then
    /// [`PutEvent::Done`]. That a node answers does not prove that it stored: read the record back. Waits for the
    /// first DHT peer if there is none; dropping the receiver does not stop a put.
    ///
    /// # Errors
    /// If the swarm has stopped.
    pub async fn put(&self, key: [u8; 32], value: Vec<u8>) -> Result<(QueryId, mpsc::Receiver<PutEvent>), Stopped> {
        let id = self.next_query();
        let (reply, events) = mpsc::channel(COPIES);
        self.send(Command::Put { id, key, value, reply }).await?;
        Ok((id, events))
    }

    /// Puts `value` to `peers` only: holders of a stale copy, or newcomers.
    ///
    /// # Errors
    /// If the swarm has stopped.
    pub async fn put_to(
        &self,
        key: [u8; 32],
        value: Vec<u8>,
        peers: Vec<PeerId>,
    ) -> Result<(QueryId, mpsc::Receiver<PutEvent>), Stopped> {
        let id = self.next_query();
        let (reply, events) = mpsc::channel(COPIES);
        self.send(Command::PutTo { id, key, value, peers, reply }).await?;
        Ok((id, events))
    }

    /// Asks the nodes closest to `key`, starting with whoever is known now, or with the first one that will be. Every
    /// copy is reported as it comes, unverified. Dropping the [`Get`] ends the query.
    ///
    /// # Errors
    /// If the swarm has stopped.
    pub async fn get(&self, key: [u8; 32]) -> Result<Get, Stopped> {
        let id = self.next_query();
        let (reply, events) = mpsc::channel(COPIES);
        self.send(Command::Get { id, key, reply }).await?;
        Ok(Get::new(id, events, self.commands.clone()))
    }

    /// Addresses at which DHT nodes may be: from the configuration, a URI's hints, remembered peers, friends.
    pub async fn add_bootstrap(&self, addresses: Vec<String>) {
        let _ = self.send(Command::Bootstrap(addresses)).await;
    }

    /// Addresses of DHT nodes that were met, latest first, to be remembered for the next start.
    pub async fn known_public_peers(&self) -> Vec<String> {
        self.ask(Command::KnownPeers).await.unwrap_or_default()
    }

    /// What the DHT looks like from here, now and as it changes.
    pub fn dht(&self) -> watch::Receiver<DhtView> {
        self.dht.clone()
    }

    /// Number of DHT nodes in the routing table.
    pub fn dht_peers(&self) -> usize {
        self.dht.borrow().peers
    }

    /// Own addresses, now and as they change.
    pub fn addresses(&self) -> watch::Receiver<Addresses> {
        self.addresses.clone()
    }

    /// Whether the internet can reach this node, now and as it changes.
    pub fn reachability(&self) -> watch::Receiver<Reachability> {
        self.reachability.clone()
    }

    /// Addresses through relays at which this node can be reached, best first, without its own PeerId; now and as they
    /// change. Empty while it is reachable without.
    pub fn relayed(&self) -> watch::Receiver<Vec<String>> {
        self.relayed.clone()
    }

    /// What other nodes saw this node come from, latest last. A NAT that shows every observer another port is one that
    /// cannot be punched from both sides.
    pub async fn observed(&self) -> Vec<Observation> {
        self.ask(Command::Observed).await.unwrap_or_default()
    }

    /// Public multiaddrs at which a router forwards to this node. Replaces those given before. They are told to friends
    /// at once, and to others when another node got through.
    pub async fn add_external(&self, addresses: Vec<String>) {
        let _ = self.send(Command::AddExternal(addresses)).await;
    }

    /// Public multiaddrs of another listener of this machine that hands connections on to this node, such as a shared TCP
    /// port 443. Replaces those given before. They count as our own: told at once, until other nodes find them closed.
    pub async fn also_listens(&self, addresses: Vec<String>) {
        let _ = self.send(Command::AlsoListens(addresses)).await;
    }

    /// Relays to be used before strangers': multiaddrs with the relay's PeerId at the end. Replaces those given before.
    pub async fn prefer_relays(&self, addresses: Vec<String>) {
        let _ = self.send(Command::PreferRelays(addresses)).await;
    }

    /// The UDP port at which the internet reaches this node's STUN server, which other nodes are told; `None` if it does not.
    pub async fn set_stun_port(&self, port: Option<u16>) {
        let _ = self.send(Command::StunPort(port)).await;
    }

    /// A few public nodes that say that they answer STUN, one of each network, the one met last first; now and as they
    /// change. Nobody has tried them.
    pub fn stun_servers(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.stun_servers.clone()
    }

    /// Nodes that carry circuits and are known, those that serve us first.
    pub async fn relay_nodes(&self) -> Vec<RelayNode> {
        self.ask(Command::RelayNodes).await.unwrap_or_default()
    }

    /// The machine's network is another one, or it slept: every connection is doubted and probed, the dead ones are closed
    /// within seconds, relays are asked again, and what others saw of us is forgotten and found out anew.
    pub fn network_changed(&self) {
        let _ = self.commands.try_send(Command::NetworkChanged);
    }

    /// A connection may be dead without the transport knowing: it is probed, and until it answers dials make a new one
    /// instead of giving this one back.
    pub fn doubt(&self, connection: ConnectionId) {
        // With a full queue the swarm is in no state to redial either.
        let _ = self.commands.try_send(Command::Doubt(connection));
    }

    /// Counters of the swarm.
    pub async fn stats(&self) -> Stats {
        self.ask(Command::Stats).await.unwrap_or_default()
    }

    /// Closes every connection, so that the other sides know at once, and stops the swarm.
    pub async fn shutdown(&self) {
        let _ = self.ask(Command::Shutdown).await;
    }

    /// A name for a lookup that is made elsewhere, so that it is unique in the log.
    pub fn name_query(&self) -> QueryId {
        self.next_query()
    }

    fn next_query(&self) -> QueryId {
        QueryId::new(self.queries.fetch_add(1, Ordering::Relaxed))
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }
}
