//! The circuit relay v2 server: carries the links of nodes that cannot reach each other, within bounds.
//!
//! What goes through here is signalling: the frames of a link, and what it takes to punch a hole. Media has relays of its
//! own. So circuits are long (links live on them until a direct path is found) and thin.
//!
//! This wraps the stock behaviour, which needs help in four places. It tells everybody the same addresses of ours; here
//! each node is told those of the scope in which it was met. It sends circuits to any connection of a node that ever
//! reserved; here a newer reservation of the same node closes the older connection, which is dead when a node roams. And
//! it minds relayed connections of our own, which must not pass through other relays. And its handler would keep every
//! idle connection of this node open for good ([`waking`]).

mod waking;

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    task::{Context, Poll, Waker},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    relay,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        behaviour::{ExternalAddrConfirmed, ExternalAddrExpired},
    },
};

use super::{
    announce::addresses_for,
    limits::{RangeLimiter, Rate},
    scope::{ip_of, is_circuit, scope_of},
};
use waking::Waking;

/// Nodes that may wait for circuits here. Each costs a connection, about 40 kB.
const MAX_RESERVATIONS: usize = 128;
/// Reservations of one node: a new connection may come before the old one is known to be dead.
const MAX_RESERVATIONS_PER_PEER: usize = 2;
/// Life of a reservation; clients renew at three quarters of it.
const RESERVATION: Duration = Duration::from_secs(3600);
/// Circuits at a time. Each costs two streams and a few kB of buffers.
const MAX_CIRCUITS: usize = 128;
/// Circuits that begin or end at one node: so many friends can hold links to it over this relay.
const MAX_CIRCUITS_PER_PEER: usize = 32;
/// Life of a circuit. Links that still need one after that are moved to a new one before.
const CIRCUIT: Duration = Duration::from_secs(3600);
/// Bytes of a circuit, both directions together: an idle link takes 0.3 MB an hour, one in a call 1 MB.
const CIRCUIT_BYTES: u64 = 8 << 20;
/// Reservations from one network: nodes behind one address that all start or roam at once, then one in ten seconds.
const RESERVATION_RATE: Rate = Rate { burst: 32.0, per_second: 0.1 };
/// Circuits that one network may open.
const CIRCUIT_RATE: Rate = Rate { burst: 64.0, per_second: 0.5 };
/// The same from loopback and private networks, where many nodes may be ours.
const NEAR_RATE: Rate = Rate { burst: 512.0, per_second: 32.0 };
/// Circuits that one node may open within a minute or so, whatever networks it comes from.
const PEER_CIRCUITS: (u32, Duration) = (32, Duration::from_secs(4));

/// What the relay does at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Nodes that wait for circuits here.
    pub(super) reservations: usize,
    /// Circuits that run.
    pub(super) circuits: usize,
    /// Requests refused since the start.
    pub(super) refused: u64,
}

/// The relay server.
pub(super) struct Behaviour {
    inner: relay::Behaviour,
    remotes: HashMap<ConnectionId, Multiaddr>,
    reserved: HashMap<PeerId, ConnectionId>,
    listening: Vec<Multiaddr>,
    external: Vec<Multiaddr>,
    told: Vec<Multiaddr>,
    load: Load,
    queue: VecDeque<ToSwarm<(), THandlerInEvent<Self>>>,
    waker: Option<Waker>,
}

impl Behaviour {
    pub(super) fn new(me: PeerId) -> Self {
        let mut config = relay::Config {
            max_reservations: MAX_RESERVATIONS,
            max_reservations_per_peer: MAX_RESERVATIONS_PER_PEER,
            reservation_duration: RESERVATION,
            reservation_rate_limiters: vec![per_range(RESERVATION_RATE)],
            max_circuits: MAX_CIRCUITS,
            max_circuits_per_peer: MAX_CIRCUITS_PER_PEER,
            max_circuit_duration: CIRCUIT,
            max_circuit_bytes: CIRCUIT_BYTES,
            circuit_src_rate_limiters: vec![per_range(CIRCUIT_RATE)],
        };
        if let Some(count) = NonZeroU32::new(PEER_CIRCUITS.0) {
            config = config.circuit_src_per_peer(count, PEER_CIRCUITS.1);
        }
        let mut inner = relay::Behaviour::new(me, config);
        inner.set_status(Some(relay::Status::Disable));
        Self {
            inner,
            remotes: HashMap::new(),
            reserved: HashMap::new(),
            listening: Vec::new(),
            external: Vec::new(),
            told: Vec::new(),
            load: Load::default(),
            queue: VecDeque::new(),
            waker: None,
        }
    }

    /// Whether to offer circuits. Those that run go on.
    pub(super) fn set_serving(&mut self, serving: bool) {
        let status = if serving { relay::Status::Enable } else { relay::Status::Disable };
        self.inner.set_status(Some(status));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What it does at present.
    pub(super) fn load(&self) -> Load {
        Load { reservations: self.reserved.len(), ..self.load }
    }

    /// Whether this node waits for circuits here, by that connection.
    pub(super) fn waits(&self, peer: PeerId, connection: ConnectionId) -> bool {
        self.reserved.get(&peer) == Some(&connection)
    }

    /// Has the next reservation carry what a node at `remote` can use.
    fn prepare(&mut self, remote: &Multiaddr) {
        let mut addresses = addresses_for(scope_of(remote), true, &self.listening, &self.external);
        // Whoever is here has reached us somewhere: behind a forwarded port we may know no address of our own.
        if addresses.is_empty() {
            addresses.extend(self.listening.first().cloned());
        }
        for addr in std::mem::take(&mut self.told) {
            self.inner.on_swarm_event(FromSwarm::ExternalAddrExpired(ExternalAddrExpired { addr: &addr }));
        }
        for addr in &addresses {
            self.inner.on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr }));
        }
        self.told = addresses;
    }

    /// Takes what the inner behaviour wants, on account of `source` if it is an answer to that connection.
    fn drain(&mut self, cx: &mut Context<'_>, source: Option<(PeerId, ConnectionId)>) {
        while let Poll::Ready(event) = self.inner.poll(cx) {
            match event {
                ToSwarm::GenerateEvent(event) => self.on_event(&event, source),
                other => self.queue.push_back(other.map_out(|_| ())),
            }
        }
    }

    fn on_event(&mut self, event: &relay::Event, source: Option<(PeerId, ConnectionId)>) {
        match event {
            relay::Event::ReservationReqAccepted { src_peer_id, renewed } => {
                tracing::debug!(peer = %src_peer_id, renewed, "a node waits for circuits here");
                let Some((peer, connection)) = source else { return };
                if let Some(older) = self.reserved.insert(peer, connection)
                    && older != connection
                {
                    tracing::debug!(%peer, connection = %older, "closed: it has a newer reservation");
                    let connection = CloseConnection::One(older);
                    self.queue.push_back(ToSwarm::CloseConnection { peer_id: peer, connection });
                }
            }
            relay::Event::ReservationTimedOut { .. } => {
                if let Some((peer, connection)) = source {
                    self.forget(peer, connection);
                }
            }
            relay::Event::CircuitReqAccepted { .. } => {
                self.load.circuits += 1;
                tracing::debug!(circuits = self.load.circuits, "carrying a circuit");
            }
            relay::Event::CircuitClosed { .. } => {
                self.load.circuits = self.load.circuits.saturating_sub(1);
                tracing::debug!(circuits = self.load.circuits, "a circuit ended");
            }
            relay::Event::ReservationReqDenied { src_peer_id, status } => {
                self.load.refused += 1;
                tracing::debug!(peer = %src_peer_id, ?status, "reservation refused");
            }
            relay::Event::CircuitReqDenied { src_peer_id, status, .. } => {
                self.load.refused += 1;
                tracing::debug!(peer = %src_peer_id, ?status, "circuit refused");
            }
            _ => {}
        }
    }

    fn forget(&mut self, peer: PeerId, connection: ConnectionId) {
        if self.reserved.get(&peer) == Some(&connection) {
            self.reserved.remove(&peer);
        }
    }
}

/// The limits of the crate are per node or per address; a site has many of both.
fn per_range(rate: Rate) -> Box<dyn relay::RateLimiter> {
    let mut limiter = RangeLimiter::new(rate, NEAR_RATE);
    Box::new(move |_: PeerId, address: &Multiaddr, now| ip_of(address).is_some_and(|ip| limiter.take(ip, now)))
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Waking<THandler<relay::Behaviour>>;
    type ToSwarm = ();

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote).map(Waking::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role_override: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let handler =
            self.inner.handle_established_outbound_connection(connection, peer, remote, role_override, port_use)?;
        Ok(Waking::new(handler))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match &event {
            // The inner behaviour would send orders to the dummy handlers of relayed connections, which panic at them.
            FromSwarm::ConnectionEstablished(new) if new.endpoint.is_relayed() => return,
            FromSwarm::ConnectionClosed(gone) if gone.endpoint.is_relayed() => return,
            FromSwarm::ConnectionEstablished(new) => {
                self.remotes.insert(new.connection_id, new.endpoint.get_remote_address().clone());
            }
            FromSwarm::ConnectionClosed(gone) => {
                self.remotes.remove(&gone.connection_id);
                self.forget(gone.peer_id, gone.connection_id);
            }
            FromSwarm::NewListenAddr(new) if !is_circuit(new.addr) && !self.listening.contains(new.addr) => {
                self.listening.push(new.addr.clone());
            }
            FromSwarm::ExpiredListenAddr(gone) => self.listening.retain(|address| address != gone.addr),
            FromSwarm::ExternalAddrConfirmed(new) => {
                if !is_circuit(new.addr) && !self.external.contains(new.addr) {
                    self.external.push(new.addr.clone());
                }
                return;
            }
            FromSwarm::ExternalAddrExpired(gone) => {
                self.external.retain(|address| address != gone.addr);
                return;
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        if let Some(remote) = self.remotes.get(&connection).cloned() {
            self.prepare(&remote);
        }
        self.inner.on_connection_handler_event(peer, connection, event);
        self.drain(&mut Context::from_waker(Waker::noop()), Some((peer, connection)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.drain(cx, None);
        if let Some(event) = self.queue.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
