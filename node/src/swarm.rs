//! The network between nodes: libp2p, and nothing of libp2p outside.
//!
//! One task owns the swarm ([`actor`]); a [`Handle`] sends it bounded commands, [`Event`]s come back. A swarm key is
//! made at every start, so a PeerId says nothing about a person and nobody can be followed across restarts.
//!
//! - Connections: QUIC and TCP ([`transport`]), limits per network and in all ([`behaviour`], [`limits`]). A connection
//!   lives while a stream of ours is open on it, else it is closed after a few seconds.
//! - Streams: one protocol, `/twocan/peer/1`, opened on a given connection ([`streams`]).
//! - DHT: Kademlia `/twocan/kad/1` ([`dht`]). Only nodes that say in identify that they serve it, at an address they
//!   were met at, enter the routing table. Records are verified before they are stored ([`store`]).
//! - Addresses are told, kept and dialled only within their [`scope`].
//!
//! A query never waits for the DHT's bootstrap: it starts with whatever peer is known, or as soon as one is.

mod actor;
mod announce;
mod behaviour;
mod dht;
mod limits;
mod scope;
mod store;
mod streams;
mod transport;
mod types;

pub use scope::{Scope, SourceRange};
pub use streams::OpenError;
pub use types::{
    Addresses, Config, ConnectionId, ConnectionInfo, Copy, DhtView, DialError, Event, Get, GetEvent, GetReport,
    PutEvent, PutReport, QueryId, Route, ServerMode, StartError, Stats, Stopped, Stream, Transport,
};

use std::{
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
/// Addresses that are tried in one dial.
pub const MAX_DIAL_ADDRESSES: usize = 16;

/// What the rest of the node holds of the swarm. Cheap to clone; the swarm stops when the last one is dropped.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    dht: watch::Receiver<DhtView>,
    addresses: watch::Receiver<Addresses>,
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

    /// Dials `addresses` (multiaddr texts, at most [`MAX_DIAL_ADDRESSES`]), QUIC first and TCP 200 ms later, and
    /// returns the first connection. With `expect`, only that node will do, and an open connection to it is returned
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

    /// Opens a `/twocan/peer/1` stream on that very connection.
    ///
    /// # Errors
    /// If the connection is gone, too busy, or the other side does not speak the protocol.
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

    /// A connection may be dead without the transport knowing: dials go past it, until it closes.
    pub fn doubt(&self, connection: ConnectionId) {
        // With a full queue the swarm is in no state to redial either.
        let _ = self.commands.try_send(Command::Doubt(Some(connection)));
    }

    /// The machine's network is another one, or it slept: every connection may be dead.
    pub fn network_changed(&self) {
        let _ = self.commands.try_send(Command::Doubt(None));
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

    /// Counters of the swarm.
    pub async fn stats(&self) -> Stats {
        self.ask(Command::Stats).await.unwrap_or_default()
    }

    /// Closes every connection, so that the other sides know at once, and stops the swarm.
    pub async fn shutdown(&self) {
        let _ = self.ask(Command::Shutdown).await;
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
