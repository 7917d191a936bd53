//! What the swarm says to the rest of the node, in types of our own.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::ConnectedPoint;
use tokio::sync::mpsc;
use twocan_protocol::identity::PeerId;

use super::{
    actor::Command,
    scope::{Circuit, Scope, SourceRange, is_circuit, is_quic, scope_of, without_peer},
    streams::RawStream,
};

/// Whether this node keeps records and answers queries for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerMode {
    /// When it can be reached: on loopback and private networks while it listens there (only peers of the same network
    /// are told the address), on the internet when its address is confirmed.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How a swarm is started.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Multiaddrs to listen on.
    pub listen: Vec<String>,
    /// Multiaddrs at which DHT nodes may be, with or without a PeerId.
    pub bootstrap: Vec<String>,
    /// Whether to look for nodes on the LAN.
    pub mdns: bool,
    /// Whether to serve the DHT.
    pub dht_server: ServerMode,
    /// Whether to carry circuits for others. By itself, only where the internet can reach this node.
    pub relay_server: ServerMode,
    /// The HTTP proxy through which TCP connections to public addresses are made where they do not come up without.
    pub proxy: Option<crate::relay::Proxy>,
    /// A swarm for peers that must not learn where this machine is: it is reached, and reaches others, through the relays
    /// of [`super::Handle::prefer_relays`] only, and has no part in anything else. Listens nowhere, whatever `listen` says.
    pub hidden: bool,
}

/// Why a swarm did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listen address of the configuration is no multiaddr.
    #[error("“{address}” is no address to listen on: {reason}")]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An address of the configuration is none at which a node can be.
    #[error("“{address}” in [network] bootstrap is no address of a node: {reason}")]
    Bootstrap {
        /// As given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An address of the configuration is none at which a server of the public DHT can be.
    #[error("“{address}” in [network] ipfs_bootstrap is no address to start from: {reason}")]
    PublicBootstrap {
        /// As given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An address cannot be listened on, for example because the port is taken.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// As given.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The transports could not be made.
    #[error("the network could not be set up: {0}")]
    Transport(String),
}

/// The swarm has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network of this node has stopped")]
pub struct Stopped;

/// Names a connection for as long as the process runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(super) libp2p::swarm::ConnectionId);

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a query or a put, in the log and in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId(u64);

impl QueryId {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q{}", self.0)
    }
}

/// How a connection runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Within this machine.
    Loopback,
    /// Within private networks.
    Lan,
    /// Over the internet, directly.
    Direct,
    /// Through a third node.
    Relayed,
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TCP with Noise and Yamux.
    Tcp,
}

/// What a relay allows one circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitLimit {
    /// How long it may live, counted from when the connection was made.
    pub duration: Option<Duration>,
    /// Bytes that may pass, both directions together.
    pub bytes: Option<u64>,
}

/// What is known of a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Its name.
    pub connection: ConnectionId,
    /// The node at the other end (proved by the transport's handshake).
    pub peer: PeerId,
    /// Multiaddr of the other end: without a PeerId if direct; with it if relayed and dialled by us, since only the
    /// PeerId says to whom a circuit leads. Of a relayed one that came to us, the relay's. Not for logs above debug.
    pub remote: String,
    /// How it runs.
    pub route: Route,
    /// What carries it.
    pub transport: Transport,
    /// Whether this side dialled.
    pub outbound: bool,
    /// Which node relays it, if one does and it is known.
    pub relay: Option<PeerId>,
    /// What the relay allows.
    pub limit: Option<CircuitLimit>,
}

impl ConnectionInfo {
    pub(super) fn new(id: libp2p::swarm::ConnectionId, peer: PeerId, endpoint: &ConnectedPoint) -> Self {
        let path = match endpoint {
            ConnectedPoint::Listener { local_addr, .. } if is_circuit(local_addr) => local_addr,
            _ => endpoint.get_remote_address(),
        };
        let route = match scope_of(path) {
            _ if endpoint.is_relayed() => Route::Relayed,
            Some(Scope::Loopback) => Route::Loopback,
            Some(Scope::Private) => Route::Lan,
            Some(Scope::Public) | None => Route::Direct,
        };
        let remote = if endpoint.is_relayed() { path.clone() } else { without_peer(path.clone()) };
        Self {
            connection: ConnectionId(id),
            peer,
            remote: remote.to_string(),
            route,
            transport: if is_quic(path) { Transport::Quic } else { Transport::Tcp },
            outbound: endpoint.is_dialer(),
            relay: Circuit::of(path).and_then(|circuit| super::actor::to_ours(&circuit.relay)),
            limit: None,
        }
    }
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInfo")
            .field("connection", &self.connection)
            .field("peer", &self.peer)
            .field("route", &self.route)
            .field("transport", &self.transport)
            .field("outbound", &self.outbound)
            .finish_non_exhaustive()
    }
}

/// A stream of `/twocan/peer/1`. Its connection stays open for as long as it lives.
#[derive(Debug)]
pub struct Stream {
    inner: RawStream,
    info: ConnectionInfo,
}

impl Stream {
    pub(super) fn new(inner: RawStream, info: ConnectionInfo) -> Self {
        Self { inner, info }
    }

    /// The connection that it runs on.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Why an address could not be dialled. Names no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// None of the addresses can be used from here.
    #[error("no address that can be dialled from here")]
    NoAddress,
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    Timeout,
    /// The machine is there, but no node listens.
    #[error("the connection was refused")]
    Refused,
    /// Another node answers at this address.
    #[error("another node answers there")]
    WrongPeer,
    /// The address is our own.
    #[error("that is this node itself")]
    Itself,
    /// A limit of ours forbids one more connection.
    #[error("too many connections")]
    Limit,
    /// Something else, in the system's words.
    #[error("{0}")]
    Failed(String),
    /// The swarm has stopped.
    #[error("the network of this node has stopped")]
    Stopped,
}

/// What happens in the swarm without being asked for.
#[derive(Debug)]
pub enum Event {
    /// Somebody opened a stream. Nothing has been read from it.
    Inbound(Stream),
    /// A connection was made, by us or to us.
    Connected(ConnectionInfo),
    /// A connection ended.
    Disconnected {
        /// Which.
        connection: ConnectionId,
        /// With whom.
        peer: PeerId,
        /// Why, in a few words.
        reason: String,
    },
    /// We listen on this multiaddr.
    Listening(String),
    /// A listener ended.
    ListenFailed(String),
    /// The number of DHT nodes known changed.
    DhtPeers(usize),
    /// Our own addresses changed.
    AddressesChanged(Addresses),
    /// There is a direct connection now to a peer with which there was only a relayed one: a hole was punched, or a dial
    /// got through. The relayed one stays until its owner closes it; the direct one ends after ten seconds without a
    /// stream.
    Upgraded {
        /// With whom.
        peer: PeerId,
        /// The relayed connection.
        from: ConnectionId,
        /// The direct one.
        to: ConnectionInfo,
    },
    /// Nodes were seen on the LAN; the swarm asks them itself whether they serve our DHT.
    Discovered {
        /// Which node.
        peer: PeerId,
        /// Where.
        addresses: Vec<String>,
    },
}

/// Own addresses, as they may be told in a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Where the internet reaches this node: confirmed, or listened on with a public address.
    pub direct: Vec<String>,
    /// Where the site reaches it; loopback only if nothing else is listened on.
    pub lan: Vec<String>,
}

impl Addresses {
    /// Whether a friend could reach us at all by these.
    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.lan.is_empty()
    }
}

/// Whether the internet can reach this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reachability {
    /// At which addresses, QUIC first: public ones of an interface that nobody found closed, and others that another
    /// node reached.
    pub public: Vec<String>,
    /// Whether another node has tested any since the network changed last.
    pub tested: bool,
}

/// What another node saw us come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The network of the observer: an IPv4 /24, an IPv6 /48, or "loopback".
    pub observer: String,
    /// Our address as it saw it.
    pub address: String,
}

/// A node that carries circuits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayNode {
    /// Which.
    pub peer: PeerId,
    /// Where, with its PeerId at the end.
    pub address: String,
    /// Whether we wait for circuits there now.
    pub held: bool,
    /// Whether it is one of those given to [`super::Handle::prefer_relays`].
    pub preferred: bool,
}

/// The DHT as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DhtView {
    /// Nodes in the routing table.
    pub peers: usize,
    /// Who they are, while they are so few (at most 20) that every record belongs on each of them.
    pub all: Vec<PeerId>,
    /// Whether this node serves.
    pub server: bool,
}

/// Counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open connections.
    pub connections: usize,
    /// Nodes in the routing table.
    pub dht_peers: usize,
    /// Whether this node serves the DHT.
    pub server: bool,
    /// Records kept for others.
    pub records: usize,
    /// Records refused since the start: bad, older, or beyond a bound.
    pub refused: u64,
    /// Queries and puts running.
    pub queries: usize,
    /// Nodes that wait for circuits here.
    pub reservations: usize,
    /// Circuits that pass through here.
    pub circuits: usize,
    /// Reservations and circuits refused since the start.
    pub circuits_refused: u64,
}

/// One copy of a record, as a node gave it: not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The record.
    pub value: Vec<u8>,
    /// Who gave it; `None` if it lay in our own store.
    pub from: Option<PeerId>,
    /// The public network of who gave it: copies from one network count as one. `None` for loopback and private ones.
    pub range: Option<SourceRange>,
}

/// How a lookup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetReport {
    /// Requests sent.
    pub asked: u32,
    /// Requests answered.
    pub answered: u32,
}

/// What a lookup reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetEvent {
    /// A copy was found.
    Copy(Copy),
    /// Nothing more will come.
    Done(GetReport),
}

/// A lookup that runs until it is dropped.
#[derive(Debug)]
pub struct Get {
    id: QueryId,
    events: mpsc::Receiver<GetEvent>,
    commands: mpsc::Sender<Command>,
    ended: bool,
}

impl Get {
    pub(super) fn new(id: QueryId, events: mpsc::Receiver<GetEvent>, commands: mpsc::Sender<Command>) -> Self {
        Self { id, events, commands, ended: false }
    }

    /// Its name in the log.
    pub fn id(&self) -> QueryId {
        self.id
    }

    /// The next copy, or the end; `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<GetEvent> {
        let event = self.events.recv().await;
        self.ended |= !matches!(event, Some(GetEvent::Copy(_)));
        event
    }
}

impl Drop for Get {
    fn drop(&mut self) {
        if !self.ended {
            // If the queue is full, the query ends at the next copy, which finds nobody waiting.
            let _ = self.commands.try_send(Command::Finish(self.id));
        }
    }
}

/// How a put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutReport {
    /// Nodes that took the record, by their word.
    pub stored: u32,
    /// Nodes that did not answer.
    pub failed: u32,
    /// From the start to the end.
    pub took: Duration,
}

/// What a put reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutEvent {
    /// One more node took the record; so many have.
    Stored(u32),
    /// All have answered or failed.
    Done(PutReport),
}
