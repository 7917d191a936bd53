//! The table of connections, and dialling.
//!
//! A dial with an expected PeerId is one attempt of libp2p's over all addresses. A dial without one is an attempt per
//! address, and whoever asked judges each connection: an old address of a friend may be a stranger's today.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, TransportError,
    core::ConnectedPoint,
    multiaddr::Protocol,
    swarm::{
        self, DialError as Theirs,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::mpsc;

use super::{
    super::{
        scope::{Scope, SourceRange, ip_of, is_dialable, scope_of, scope_of_ip, without_peer},
        types::{ConnectionId, ConnectionInfo, DialError, Event},
    },
    Actor, to_ours, to_theirs,
};

/// TCP is tried this much later than QUIC.
const TCP_DELAY: Duration = Duration::from_millis(200);
/// Dials of ours that may run or wait at a time.
const MAX_DIALS: usize = 128;

pub(super) type DialReply = mpsc::Sender<Result<ConnectionInfo, DialError>>;

#[derive(Default)]
pub(super) struct Connections {
    open: HashMap<swarm::ConnectionId, Connection>,
    dialling: HashMap<swarm::ConnectionId, DialReply>,
    later: Vec<(Instant, Multiaddr, DialReply)>,
}

struct Connection {
    peer: PeerId,
    remote: Multiaddr,
    info: ConnectionInfo,
    /// Perhaps dead: no answer to a wish for a connection.
    doubted: bool,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn info(&self, id: swarm::ConnectionId) -> Option<&ConnectionInfo> {
        self.open.get(&id).map(|connection| &connection.info)
    }

    pub(super) fn peer(&self, id: swarm::ConnectionId) -> Option<PeerId> {
        self.open.get(&id).map(|connection| connection.peer)
    }

    /// The address at the other end, and whether we dialled it.
    pub(super) fn remote(&self, id: swarm::ConnectionId) -> Option<(&Multiaddr, bool)> {
        self.open.get(&id).map(|connection| (&connection.remote, connection.info.outbound))
    }

    /// The public network of a connected peer.
    pub(super) fn range(&self, peer: PeerId) -> Option<SourceRange> {
        let ip = ip_of(&self.open.values().find(|connection| connection.peer == peer)?.remote)?;
        (scope_of_ip(ip) == Some(Scope::Public)).then(|| SourceRange::of(ip))
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.later.iter().map(|(at, _, _)| *at).min()
    }

    fn with(&self, peer: PeerId) -> Option<&ConnectionInfo> {
        let open = self.open.values().find(|connection| connection.peer == peer && !connection.doubted);
        open.map(|connection| &connection.info)
    }

    /// This connection, or all of them, may be dead.
    pub(super) fn doubt(&mut self, which: Option<swarm::ConnectionId>) {
        for (id, connection) in &mut self.open {
            connection.doubted |= which.is_none_or(|which| which == *id);
        }
    }
}

impl Actor {
    pub(super) fn dial(
        &mut self,
        addresses: Vec<String>,
        expect: Option<twocan_protocol::identity::PeerId>,
        reply: DialReply,
        now: Instant,
    ) {
        let own = self.own_scope();
        let usable: Vec<Multiaddr> = addresses
            .iter()
            .filter_map(|text| text.parse::<Multiaddr>().ok())
            .filter(is_dialable)
            // Another machine's loopback address means us, unless we live on loopback alone.
            .filter(|address| {
                scope_of(address) != Some(Scope::Loopback) || own.is_none_or(|own| own == Scope::Loopback)
            })
            .collect();
        match expect {
            Some(peer) => match to_theirs(&peer) {
                Some(peer) => self.dial_peer(peer, usable, reply),
                None => {
                    let _ = reply.try_send(Err(DialError::NoAddress));
                }
            },
            None => self.dial_addresses(usable, &reply, now),
        }
    }

    fn dial_peer(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, reply: DialReply) {
        if let Some(info) = self.connections.with(peer) {
            let _ = reply.try_send(Ok(info.clone()));
            return;
        }
        // Kademlia may know where it is, too.
        let options = DialOpts::peer_id(peer)
            .addresses(addresses.into_iter().map(without_peer).collect())
            .extend_addresses_through_behaviour()
            .condition(PeerCondition::Always)
            .build();
        self.start_dial(options, reply);
    }

    /// Dials each address on its own, whoever may answer there; TCP a little later where there is QUIC.
    pub(super) fn dial_addresses(&mut self, addresses: Vec<Multiaddr>, reply: &DialReply, now: Instant) {
        if addresses.is_empty() {
            let _ = reply.try_send(Err(DialError::NoAddress));
        }
        let is_quic = |address: &Multiaddr| address.iter().any(|part| part == Protocol::QuicV1);
        let some_quic = addresses.iter().any(is_quic);
        for address in addresses.into_iter().map(without_peer) {
            if some_quic && !is_quic(&address) && self.connections.later.len() < MAX_DIALS {
                self.connections.later.push((now + TCP_DELAY, address, reply.clone()));
            } else {
                self.dial_address(address, reply.clone());
            }
        }
    }

    pub(super) fn dial_what_is_due(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.connections.later).into_iter().partition(|(at, _, _)| *at <= now);
        self.connections.later = later;
        for (_, address, reply) in due {
            if !reply.is_closed() {
                self.dial_address(address, reply);
            }
        }
    }

    fn dial_address(&mut self, address: Multiaddr, reply: DialReply) {
        let open = self
            .connections
            .open
            .values()
            .filter(|connection| connection.info.outbound && !connection.doubted)
            .find(|connection| without_peer(connection.remote.clone()) == address);
        if let Some(connection) = open {
            let _ = reply.try_send(Ok(connection.info.clone()));
            return;
        }
        self.start_dial(DialOpts::unknown_peer_id().address(address).build(), reply);
    }

    fn start_dial(&mut self, options: DialOpts, reply: DialReply) {
        if self.connections.dialling.len() >= MAX_DIALS {
            let _ = reply.try_send(Err(DialError::Limit));
            return;
        }
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.connections.dialling.insert(id, reply);
            }
            Err(error) => {
                let reason = to_dial_error(&error);
                tracing::debug!(connection = %id, %reason, "dial refused");
                let _ = reply.try_send(Err(reason));
            }
        }
    }

    pub(super) fn on_established(&mut self, peer: PeerId, id: swarm::ConnectionId, endpoint: &ConnectedPoint) {
        let Some(ours) = to_ours(&peer) else {
            self.swarm.close_connection(id);
            return;
        };
        let remote = endpoint.get_remote_address().clone();
        let info = ConnectionInfo::new(id, ours, &remote, endpoint.is_dialer());
        tracing::debug!(connection = %id, %peer, %remote, outbound = info.outbound, "connected");
        self.connections.open.insert(id, Connection { peer, remote, info: info.clone(), doubted: false });
        if let Some(reply) = self.connections.dialling.remove(&id) {
            let _ = reply.try_send(Ok(info.clone()));
        }
        self.table.on_reached(peer);
        self.outbox.push_back(Event::Connected(info));
    }

    pub(super) fn on_closed(&mut self, peer: PeerId, id: swarm::ConnectionId, reason: String) {
        tracing::debug!(connection = %id, %peer, reason, "disconnected");
        if let Some(connection) = self.connections.open.remove(&id) {
            let peer = connection.info.peer;
            self.outbox.push_back(Event::Disconnected { connection: ConnectionId(id), peer, reason });
        }
    }

    pub(super) fn on_dial_failed(
        &mut self,
        id: swarm::ConnectionId,
        peer: Option<PeerId>,
        error: &Theirs,
        now: Instant,
    ) {
        let reason = to_dial_error(error);
        tracing::debug!(connection = %id, ?peer, %reason, "dial failed");
        if let Some(peer) = peer {
            self.on_unreachable(peer, &reason, now);
        }
        if let Some(reply) = self.connections.dialling.remove(&id) {
            let _ = reply.try_send(Err(reason));
        }
    }
}

/// The reason without the addresses.
fn to_dial_error(error: &Theirs) -> DialError {
    match error {
        Theirs::LocalPeerId { .. } => DialError::Itself,
        Theirs::NoAddresses => DialError::NoAddress,
        Theirs::WrongPeerId { .. } => DialError::WrongPeer,
        Theirs::Denied { .. } => DialError::Limit,
        Theirs::DialPeerConditionFalse(_) | Theirs::Aborted => DialError::Failed("the dial was given up".to_owned()),
        Theirs::Transport(attempts) => {
            let mut errors = attempts.iter().map(|(_, error)| from_transport(error));
            let last = errors.next_back().unwrap_or(DialError::NoAddress);
            errors.find(|error| *error == DialError::Refused).unwrap_or(last)
        }
    }
}

fn from_transport(error: &TransportError<io::Error>) -> DialError {
    match error {
        TransportError::MultiaddrNotSupported(_) => DialError::NoAddress,
        TransportError::Other(error) => {
            let text = super::root_cause(error);
            match error.kind() {
                io::ErrorKind::ConnectionRefused => DialError::Refused,
                io::ErrorKind::TimedOut => DialError::Timeout,
                _ if text.to_lowercase().contains("timed out") || text.to_lowercase().contains("timeout") => {
                    DialError::Timeout
                }
                _ if text.to_lowercase().contains("refused") => DialError::Refused,
                _ => DialError::Failed(text),
            }
        }
    }
}
