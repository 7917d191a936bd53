//! Circuits: dialling others through relays, and waiting at relays ourselves.
//!
//! Both begin with a connection to a relay, which may be known under several addresses of which some do not work from
//! here (UDP is blocked, a family is missing). So that is an errand of its own: the relay is dialled at all of them, and
//! whatever waits for it goes on when it is there. (Left to the crate, a circuit is dialled at one address of the relay,
//! and a second circuit over another address fails because the first dial still runs.)

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, relay,
    swarm::{
        self,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{
    super::{
        scope::{Circuit, Families, is_circuit, without_peer},
        types::{CircuitLimit, ConnectionInfo, DialError, RelayNode},
    },
    Actor,
    connections::DialReply,
    to_ours,
};

/// Errands that may wait, over all relays.
const MAX_ERRANDS: usize = 64;
/// Limits of circuits whose connection is not there yet.
const MAX_LIMITS: usize = 64;
/// Until the end of a connection is known everywhere in the swarm.
const MOMENT: Duration = Duration::from_millis(15);
/// A relay tells the limit of a circuit that becomes a connection a few round trips later.
const LIMIT_LIFE: Duration = Duration::from_secs(20);

/// What is to be done at a relay.
pub(super) enum Errand {
    /// Go on to this node.
    Dial { target: PeerId, reply: DialReply },
    /// Wait there for circuits to us.
    Reserve,
}

/// Errands that wait for their relay.
#[derive(Default)]
pub(super) struct Errands {
    waiting: HashMap<PeerId, Vec<Errand>>,
    dials: HashMap<swarm::ConnectionId, PeerId>,
    later: Vec<(Instant, PeerId, Vec<Multiaddr>, Errand)>,
    limits: HashMap<PeerId, (CircuitLimit, Instant)>,
}

impl Errands {
    fn len(&self) -> usize {
        self.later.len() + self.waiting.values().map(Vec::len).sum::<usize>()
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.later.iter().map(|(at, ..)| *at).min()
    }
}

impl Actor {
    /// The families in which this node can dial.
    pub(super) fn families(&self) -> Families {
        Families::of(self.swarm.listeners().filter(|address| !is_circuit(address)))
    }

    /// Does an errand at a relay, at once or at `at`.
    pub(super) fn send_to_relay(
        &mut self,
        relay: PeerId,
        addresses: Vec<Multiaddr>,
        errand: Errand,
        at: Instant,
        now: Instant,
    ) {
        if self.errands.len() >= MAX_ERRANDS {
            self.fail_errand(relay, errand, &DialError::Limit, now);
        } else if at > now {
            self.errands.later.push((at, relay, addresses, errand));
        } else {
            self.go_to_relay(relay, addresses, errand, now);
        }
    }

    fn go_to_relay(&mut self, relay: PeerId, addresses: Vec<Multiaddr>, errand: Errand, now: Instant) {
        if relay == *self.swarm.local_peer_id() {
            self.fail_errand(relay, errand, &DialError::Itself, now);
            return;
        }
        if let Some(address) = self.connections.address_of(relay) {
            self.run_errand(relay, &address, errand, now);
            return;
        }
        let waiting = self.errands.waiting.entry(relay).or_default();
        waiting.push(errand);
        if waiting.len() > 1 {
            return;
        }
        let options = DialOpts::peer_id(relay)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .condition(PeerCondition::Always)
            .build();
        let id = options.connection_id();
        self.errands.dials.insert(id, relay);
        if let Err(error) = self.swarm.dial(options) {
            self.on_relay_dial_failed(id, &super::connections::to_dial_error(&error), now);
        }
    }

    pub(super) fn tend_errands(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.errands.later).into_iter().partition(|(at, ..)| *at <= now);
        self.errands.later = later;
        for (_, relay, addresses, errand) in due {
            if !matches!(&errand, Errand::Dial { reply, .. } if reply.is_closed()) {
                self.go_to_relay(relay, addresses, errand, now);
            }
        }
    }

    /// A direct connection to `peer` is there: whatever waited for that goes on.
    pub(super) fn run_errands(&mut self, peer: PeerId, now: Instant) {
        let Some(errands) = self.errands.waiting.remove(&peer) else { return };
        let Some(address) = self.connections.address_of(peer) else { return };
        for errand in errands {
            self.run_errand(peer, &address, errand, now);
        }
    }

    /// Whatever waited for a connection to `peer` goes on a moment later.
    pub(super) fn postpone_errands(&mut self, peer: PeerId, now: Instant) {
        for errand in self.errands.waiting.remove(&peer).unwrap_or_default() {
            self.errands.later.push((now + MOMENT, peer, Vec::new(), errand));
        }
    }

    fn run_errand(&mut self, relay: PeerId, address: &Multiaddr, errand: Errand, now: Instant) {
        match errand {
            Errand::Dial { reply, .. } if reply.is_closed() => {}
            Errand::Dial { target, reply } => {
                if let Some(info) = self.connections.direct_with(target).filter(|_| !self.hidden) {
                    let _ = reply.try_send(Ok(info.clone()));
                    return;
                }
                let circuit = Circuit { address: address.clone(), relay, target: None }.to_multiaddr();
                let options =
                    DialOpts::peer_id(target).addresses(vec![circuit]).condition(PeerCondition::Always).build();
                self.start_dial(options, reply);
            }
            Errand::Reserve => {
                let circuit = Circuit { address: address.clone(), relay, target: None }.to_multiaddr();
                match self.swarm.listen_on(circuit) {
                    Ok(listener) => self.relays.on_listening(relay, address.clone(), listener),
                    Err(error) => {
                        tracing::debug!(%relay, %error, "cannot wait at this relay");
                        self.relays.on_failed(relay, now);
                    }
                }
            }
        }
    }

    /// That dial to a relay has come through.
    pub(super) fn forget_relay_dial(&mut self, id: swarm::ConnectionId) {
        self.errands.dials.remove(&id);
    }

    /// A dial failed; if it was one to a relay, so has what waited for it.
    pub(super) fn on_relay_dial_failed(&mut self, id: swarm::ConnectionId, reason: &DialError, now: Instant) {
        let Some(relay) = self.errands.dials.remove(&id) else { return };
        // It may have come to us in the meantime.
        if self.connections.address_of(relay).is_some() {
            self.run_errands(relay, now);
            return;
        }
        for errand in self.errands.waiting.remove(&relay).unwrap_or_default() {
            self.fail_errand(relay, errand, reason, now);
        }
    }

    fn fail_errand(&mut self, relay: PeerId, errand: Errand, reason: &DialError, now: Instant) {
        match errand {
            Errand::Dial { reply, .. } => {
                let _ = reply.try_send(Err(reason.clone()));
            }
            Errand::Reserve => {
                tracing::debug!(%relay, %reason, "a relay cannot be reached");
                self.relays.on_failed(relay, now);
            }
        }
    }

    /// Asks relays to wait for us where more are wanted.
    pub(super) fn tend_relays(&mut self, now: Instant) {
        let families = self.families();
        while let Some((relay, addresses)) = self.relays.next(&families, now) {
            let Some(first) = addresses.first().cloned() else { return };
            tracing::debug!(%relay, "asking a relay to wait for us");
            self.relays.on_asked(relay, first);
            self.send_to_relay(relay, addresses, Errand::Reserve, now, now);
        }
    }

    pub(super) fn on_relay_client(&mut self, event: relay::client::Event, now: Instant) {
        match event {
            relay::client::Event::ReservationReqAccepted { relay_peer_id, renewal, .. } => {
                tracing::debug!(relay = %relay_peer_id, renewal, "a relay waits for us");
                self.relays.on_accepted(relay_peer_id, now);
                self.tend_hops(now);
                self.addresses_due.get_or_insert(now + super::ADDRESS_DELAY);
                if !renewal {
                    for id in self.connections.direct_ids(relay_peer_id) {
                        self.swarm.behaviour_mut().alive.watch(relay_peer_id, id);
                    }
                }
            }
            relay::client::Event::OutboundCircuitEstablished { relay_peer_id, limit } => {
                let limit = limit.map(|limit| (limit.duration(), limit.data_in_bytes()));
                self.note_limit(relay_peer_id, limit, now);
            }
            relay::client::Event::InboundCircuitEstablished { src_peer_id, limit } => {
                let limit = limit.map(|limit| (limit.duration(), limit.data_in_bytes()));
                self.note_limit(src_peer_id, limit, now);
            }
        }
    }

    fn note_limit(&mut self, peer: PeerId, limit: Option<(Option<Duration>, Option<u64>)>, now: Instant) {
        let Some((duration, bytes)) = limit else { return };
        self.errands.limits.retain(|_, (_, at)| now.saturating_duration_since(*at) < LIMIT_LIFE);
        if self.errands.limits.len() < MAX_LIMITS {
            self.errands.limits.insert(peer, (CircuitLimit { duration, bytes }, now));
        }
    }

    /// Completes what is known of a relayed connection.
    pub(super) fn complete(&mut self, info: &mut ConnectionInfo, peer: PeerId, local: &Multiaddr) {
        if info.relay.is_none() {
            // The relay was dialled without a PeerId in the address.
            let transport: Multiaddr =
                local.iter().take_while(|part| !is_circuit(&Multiaddr::from(part.clone()))).collect();
            info.relay = self.connections.peer_at(&without_peer(transport)).and_then(|relay| to_ours(&relay));
        }
        info.limit = if info.outbound {
            // All circuits of a relay have its limit: others that were asked for at the same time need it, too.
            let relay = info.relay.as_ref().and_then(super::to_theirs);
            relay.and_then(|relay| self.errands.limits.get(&relay)).map(|(limit, _)| *limit)
        } else {
            self.errands.limits.remove(&peer).map(|(limit, _)| limit)
        };
    }

    pub(super) fn relay_nodes(&self) -> Vec<RelayNode> {
        let view = self.relays.view().into_iter();
        view.filter_map(|relay| {
            let address = format!("{}/p2p/{}", relay.address, relay.peer);
            Some(RelayNode { peer: to_ours(&relay.peer)?, address, held: relay.held, preferred: relay.preferred })
        })
        .collect()
    }
}
