//! The table of connections, and dialling.
//!
//! A dial with an expected PeerId is one attempt of libp2p's over all direct addresses, and one over each relay a little
//! later. A dial without one is an attempt per address, and whoever asked judges each connection: an old address of a
//! friend may be a stranger's today.
//!
//! A friend chooses the addresses in its record, so what it can have us dial is bounded: [`MAX_PUBLIC`] public addresses
//! at [`MAX_MACHINES`] machines, [`MAX_NEAR`] in our own site, [`MAX_RELAYS`] relays.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, TransportError,
    core::ConnectedPoint,
    swarm::{
        self, DialError as Theirs,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::mpsc;

use super::{
    super::{
        scope::{
            Circuit, Scope, SourceRange, ip_of, is_circuit, is_dialable, is_quic, public_range, scope_of,
            source_towards, without_peer,
        },
        types::{ConnectionId, ConnectionInfo, DialError, Event, Route, Transport},
    },
    Actor,
    relaying::Errand,
    to_ours, to_theirs,
};

/// TCP is tried this much later than QUIC.
const TCP_DELAY: Duration = Duration::from_millis(200);
/// Addresses to start from other than QUIC are tried this much later, if nobody was found: a round trip or two.
const START_DELAY: Duration = Duration::from_millis(150);
/// Circuits are tried this much later than public addresses: two round trips of most connections.
const CIRCUIT_DELAY: Duration = Duration::from_millis(250);
/// The same after addresses of a local network, which answer at once if at all.
const NEAR_DELAY: Duration = Duration::from_millis(20);
/// A second and third relay follow at this distance.
const NEXT_RELAY: Duration = Duration::from_millis(250);
/// Public addresses that one dial tries: two families, two transports, and a second machine.
const MAX_PUBLIC: usize = 8;
/// Different public machines among them.
const MAX_MACHINES: usize = 4;
/// Addresses of local networks or loopback that one dial tries.
const MAX_NEAR: usize = 8;
/// Relays that one dial tries.
const MAX_RELAYS: usize = 3;
/// Addresses of one relay that are tried.
const MAX_PER_RELAY: usize = 4;
/// Dials of ours that may run or wait at a time.
const MAX_DIALS: usize = 128;

pub(super) type DialReply = mpsc::Sender<Result<ConnectionInfo, DialError>>;

#[derive(Default)]
pub(super) struct Connections {
    open: HashMap<swarm::ConnectionId, Connection>,
    dialling: HashMap<swarm::ConnectionId, DialReply>,
    later: Vec<Later>,
}

/// An address that waits for its turn.
struct Later {
    at: Instant,
    address: Multiaddr,
    /// Who waits for it. Nobody waits for an address to start from: it is needed while no DHT node is known.
    reply: Option<DialReply>,
}

struct Connection {
    peer: PeerId,
    remote: Multiaddr,
    info: ConnectionInfo,
    /// From which of our addresses packets went to it when it was made.
    source: Option<IpAddr>,
    /// Perhaps dead: a dial makes a new connection.
    doubted: bool,
    /// What the other side sees us come from, and whether it tests addresses for others.
    seen: Option<(Multiaddr, bool)>,
}

impl Connection {
    fn is_direct(&self) -> bool {
        self.info.route != Route::Relayed
    }
}

/// The addresses of a dial that are tried, by kind.
#[derive(Default)]
struct Chosen {
    direct: Vec<Multiaddr>,
    relays: Vec<(PeerId, Option<PeerId>, Vec<Multiaddr>)>,
    has_public: bool,
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
        public_range(&self.open.values().find(|connection| connection.peer == peer)?.remote)
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.later.iter().map(|later| later.at).min()
    }

    /// The best open connection with a peer: direct before relayed, the newest first. None that is doubted.
    fn with(&self, peer: PeerId) -> Option<&ConnectionInfo> {
        let open = self.open.values().filter(|connection| connection.peer == peer && !connection.doubted);
        open.max_by_key(|connection| (connection.is_direct(), connection.info.connection)).map(|found| &found.info)
    }

    /// The newest direct connection with a peer.
    pub(super) fn direct_with(&self, peer: PeerId) -> Option<&ConnectionInfo> {
        self.with(peer).filter(|info| info.route != Route::Relayed)
    }

    /// Direct connections with a peer that are doubted still, other than this one.
    fn doubted_with(&self, peer: PeerId, but: swarm::ConnectionId) -> Vec<swarm::ConnectionId> {
        let direct = self.open.iter().filter(|(_, found)| found.peer == peer && found.is_direct() && found.doubted);
        direct.map(|(id, _)| *id).filter(|id| *id != but).collect()
    }

    /// All direct connections with a peer.
    pub(super) fn direct_ids(&self, peer: PeerId) -> Vec<swarm::ConnectionId> {
        let direct = self.open.iter().filter(|(_, connection)| connection.peer == peer && connection.is_direct());
        direct.map(|(id, _)| *id).collect()
    }

    /// Where a peer is, by the connection with it: the address that was dialled, if one was.
    pub(super) fn address_of(&self, peer: PeerId) -> Option<Multiaddr> {
        let open = self.open.values();
        let direct = open.filter(|found| found.peer == peer && found.is_direct() && !found.doubted);
        let quic = |found: &Connection| found.info.transport == Transport::Quic;
        let best = direct.max_by_key(|found| (found.info.outbound, quic(found), found.info.connection))?;
        Some(without_peer(best.remote.clone()))
    }

    /// Who is at the other end of the direct connection to this address.
    pub(super) fn peer_at(&self, address: &Multiaddr) -> Option<PeerId> {
        let mut open = self.open.values().filter(|found| found.is_direct());
        open.find(|found| without_peer(found.remote.clone()) == *address).map(|found| found.peer)
    }

    /// Whether a connection to this address is open, and not doubted.
    pub(super) fn is_open_to(&self, address: &Multiaddr) -> bool {
        self.outbound_to(address).is_some()
    }

    fn outbound_to(&self, address: &Multiaddr) -> Option<&ConnectionInfo> {
        let mut open = self.open.values().filter(|found| found.info.outbound && !found.doubted);
        open.find(|found| without_peer(found.remote.clone()) == *address).map(|found| &found.info)
    }

    pub(super) fn ids(&self) -> Vec<swarm::ConnectionId> {
        self.open.keys().copied().collect()
    }

    /// Connections that cannot live on: what we send on them would come from another address than before, and neither
    /// TCP nor our QUIC follows an address.
    pub(super) fn uprooted(&self) -> Vec<swarm::ConnectionId> {
        let uprooted = |connection: &Connection| {
            connection.source.is_some() && ip_of(&connection.remote).and_then(source_towards) != connection.source
        };
        self.open.iter().filter(|(_, connection)| uprooted(connection)).map(|(id, _)| *id).collect()
    }

    pub(super) fn set_doubted(&mut self, id: swarm::ConnectionId, doubted: bool) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.doubted = doubted;
        }
    }

    /// The other side said what it sees us come from, and whether it tests addresses.
    pub(super) fn on_seen(&mut self, id: swarm::ConnectionId, seen: Multiaddr, tests: bool) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.seen = Some((seen, tests));
        }
    }

    /// A node that can test addresses of ours: who, in which network, and what it sees us come from.
    pub(super) fn tester(&self, id: swarm::ConnectionId) -> Option<(PeerId, SourceRange, Multiaddr)> {
        let connection = self.open.get(&id).filter(|connection| connection.is_direct() && !connection.doubted)?;
        let (seen, tests) = connection.seen.as_ref()?;
        let range = SourceRange::of(ip_of(&connection.remote)?);
        tests.then(|| (connection.peer, range, seen.clone()))
    }

    /// Whether the other side of an open connection sees us come from `address`.
    pub(super) fn shows(&self, address: &Multiaddr) -> bool {
        self.open.values().any(|found| found.seen.as_ref().is_some_and(|(seen, _)| seen == address))
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
        let expect = match expect.as_ref().map(to_theirs) {
            Some(None) => {
                let _ = reply.try_send(Err(DialError::NoAddress));
                return;
            }
            Some(peer) => peer,
            None => None,
        };
        // The friend of a hidden node may be a relay of its, too: that connection is not one with the friend.
        let usable = |info: &&ConnectionInfo| !self.hidden || info.route == Route::Relayed;
        if let Some(info) = expect.and_then(|peer| self.connections.with(peer)).filter(usable) {
            let _ = reply.try_send(Ok(info.clone()));
            return;
        }
        let chosen = self.choose(&addresses, expect);
        let nothing = chosen.direct.is_empty() && chosen.relays.is_empty();
        let mut wait = match (chosen.direct.is_empty(), chosen.has_public) {
            (true, _) => Duration::ZERO,
            (false, true) => CIRCUIT_DELAY,
            (false, false) => NEAR_DELAY,
        };
        for (relay, target, addresses) in chosen.relays {
            if let Some(target) = expect.or(target) {
                let errand = Errand::Dial { target, reply: reply.clone() };
                self.send_to_relay(relay, addresses, errand, now + wait, now);
                wait += NEXT_RELAY;
            }
        }
        if self.hidden {
            if nothing {
                let _ = reply.try_send(Err(DialError::NoAddress));
            }
            return;
        }
        match expect {
            // Without any address, Kademlia may know where it is.
            Some(peer) if nothing || !chosen.direct.is_empty() => self.dial_peer(peer, chosen.direct, reply),
            Some(_) => {}
            None if nothing || !chosen.direct.is_empty() => self.dial_addresses(chosen.direct, &reply, now),
            None => {}
        }
    }

    /// Of the addresses given, those that are worth an attempt and within the bounds.
    fn choose(&self, addresses: &[String], expect: Option<PeerId>) -> Chosen {
        let (own, families) = (self.own_scope(), self.families());
        let mut chosen = Chosen::default();
        let (mut public, mut near, mut machines) = (0, 0, Vec::new());
        for address in addresses.iter().filter_map(|text| text.parse::<Multiaddr>().ok()) {
            // Another machine's loopback address means us, unless we live on loopback alone.
            let usable = |address: &Multiaddr| {
                let ours = scope_of(address) == Some(Scope::Loopback) && own.is_some_and(|own| own > Scope::Loopback);
                is_dialable(address) && !ours && families.reach(address)
            };
            if is_circuit(&address) {
                let Some(circuit) = Circuit::of(&address).filter(|circuit| usable(&circuit.address)) else { continue };
                let leads = circuit.target.or(expect);
                if leads.is_none() || (expect.is_some() && leads != expect) || leads == Some(circuit.relay) {
                    continue;
                }
                // A relay sees where we are. A hidden node goes only to those that it chose itself.
                if self.hidden && !self.relays.is_preferred(circuit.relay) {
                    continue;
                }
                let full = chosen.relays.len() >= MAX_RELAYS;
                let same = |relay: PeerId, target| relay == circuit.relay && target == circuit.target;
                match chosen.relays.iter_mut().find(|(relay, target, _)| same(*relay, *target)) {
                    Some((_, _, addresses)) if addresses.len() < MAX_PER_RELAY => addresses.push(circuit.address),
                    None if !full => chosen.relays.push((circuit.relay, circuit.target, vec![circuit.address])),
                    _ => {}
                }
                continue;
            }
            let address = without_peer(address);
            if self.hidden || !usable(&address) || chosen.direct.contains(&address) {
                continue;
            }
            if scope_of(&address) == Some(Scope::Public) {
                let machine = address.iter().next().map(|part| part.to_string());
                if !machines.contains(&machine) {
                    machines.push(machine);
                }
                if public < MAX_PUBLIC && machines.len() <= MAX_MACHINES {
                    public += 1;
                    chosen.direct.push(address);
                }
            } else if near < MAX_NEAR {
                near += 1;
                chosen.direct.push(address);
            }
        }
        chosen.has_public = public > 0;
        chosen
    }

    fn dial_peer(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, reply: DialReply) {
        // Kademlia may know where it is, too.
        let options = DialOpts::peer_id(peer)
            .addresses(addresses)
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
        let some_quic = addresses.iter().any(is_quic);
        for address in addresses.into_iter().map(without_peer) {
            if some_quic && !is_quic(&address) && self.connections.later.len() < MAX_DIALS {
                self.connections.later.push(Later { at: now + TCP_DELAY, address, reply: Some(reply.clone()) });
            } else {
                self.dial_address(address, reply.clone());
            }
        }
    }

    pub(super) fn dial_what_is_due(&mut self, now: Instant) {
        self.tend_errands(now);
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.connections.later).into_iter().partition(|later| later.at <= now);
        self.connections.later = later;
        for Later { address, reply, .. } in due {
            match reply {
                Some(reply) if !reply.is_closed() => self.dial_address(address, reply),
                None if self.table.is_empty() => self.dial_address(address, mpsc::channel(1).0),
                _ => {}
            }
        }
    }

    /// Dials addresses to start from: QUIC at once, the others a little later if no DHT node was found by then.
    pub(super) fn dial_to_start(&mut self, addresses: Vec<Multiaddr>, now: Instant) {
        let some_quic = addresses.iter().any(is_quic);
        for address in addresses {
            if !some_quic || is_quic(&address) {
                self.dial_address(address, mpsc::channel(1).0);
            } else if self.connections.later.len() < MAX_DIALS {
                self.connections.later.push(Later { at: now + START_DELAY, address, reply: None });
            }
        }
    }

    fn dial_address(&mut self, address: Multiaddr, reply: DialReply) {
        if let Some(info) = self.connections.outbound_to(&address) {
            let _ = reply.try_send(Ok(info.clone()));
            return;
        }
        self.start_dial(DialOpts::unknown_peer_id().address(address).build(), reply);
    }

    pub(super) fn start_dial(&mut self, options: DialOpts, reply: DialReply) {
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

    pub(super) fn on_established(
        &mut self,
        peer: PeerId,
        id: swarm::ConnectionId,
        endpoint: &ConnectedPoint,
        now: Instant,
    ) {
        let Some(ours) = to_ours(&peer) else {
            self.swarm.close_connection(id);
            return;
        };
        let remote = endpoint.get_remote_address().clone();
        let mut info = ConnectionInfo::new(id, ours, endpoint);
        let path = match endpoint {
            ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr.clone(),
            _ => remote.clone(),
        };
        if endpoint.is_relayed() {
            self.complete(&mut info, peer, &path);
        }
        tracing::debug!(connection = %id, %peer, %remote, outbound = info.outbound, "connected");
        let source = ip_of(&remote).and_then(source_towards);
        let connection = Connection { peer, remote, info: info.clone(), source, doubted: false, seen: None };
        self.connections.open.insert(id, connection);
        if let Some(reply) = self.connections.dialling.remove(&id) {
            let _ = reply.try_send(Ok(info.clone()));
        }
        self.outbox.push_back(Event::Connected(info.clone()));
        if endpoint.is_relayed() {
            self.on_relayed(id, peer, &path, !info.outbound, now);
            return;
        }
        self.table.on_reached(peer);
        self.forget_relay_dial(id);
        // Whoever is asked by a ping on an old connection answers sooner than a new one is made: the old one is dead.
        let dead = self.connections.doubted_with(peer, id);
        for old in &dead {
            tracing::debug!(connection = %old, %peer, "closed: no answer while another connection was made");
            self.swarm.close_connection(*old);
        }
        if dead.is_empty() {
            self.run_errands(peer, now);
        } else {
            // The relay client would take the dead connection until it is told of its end.
            self.postpone_errands(peer, now);
        }
        if self.relays.is_relay(peer) {
            self.swarm.behaviour_mut().alive.watch(peer, id);
        }
        self.on_start_reached(peer, id, now);
        self.on_direct(id, peer, &info);
    }

    pub(super) fn on_closed(&mut self, peer: PeerId, id: swarm::ConnectionId, reason: String, now: Instant) {
        tracing::debug!(connection = %id, %peer, reason, "disconnected");
        if let Some(connection) = self.connections.open.remove(&id) {
            let peer = connection.info.peer;
            self.outbox.push_back(Event::Disconnected { connection: ConnectionId(id), peer, reason });
        }
        self.on_punched_closed(id, peer, now);
        self.hops_lost(id, now);
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
        self.on_relay_dial_failed(id, &reason, now);
        // That a circuit or a punch fails says nothing about where the peer is.
        let punch = self.on_punch_failed(id, now);
        if let Some(peer) = peer.filter(|_| !punch && !is_circuit_error(error)) {
            self.on_unreachable(peer, &reason, now);
        }
        if let Some(reply) = self.connections.dialling.remove(&id) {
            let _ = reply.try_send(Err(reason));
        }
    }
}

/// Whether the dial went through relays only.
fn is_circuit_error(error: &Theirs) -> bool {
    matches!(error, Theirs::Transport(attempts) if attempts.iter().all(|(address, _)| is_circuit(address)))
}

/// The reason without the addresses.
pub(super) fn to_dial_error(error: &Theirs) -> DialError {
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
