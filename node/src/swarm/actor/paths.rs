//! What others can reach of this node, and what follows from that: whether it serves the DHT, carries circuits and tests
//! others, or needs relays itself; and what to do when the network changes.

use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId, identify, relay, swarm, swarm::dial_opts::DialOpts};
use tokio::sync::{mpsc, watch};

use super::{
    super::{
        alive::{Event as AliveEvent, Pulse},
        autonat::{DIAL_REQUEST, Event as Verdict, Outcome},
        reachability::Reachability as State,
        relays::{WANTED, WANTED_OPEN},
        scope::{Scope, SourceRange, ip_of, is_circuit, is_dialable, scope_of, without_peer},
        stun,
        types::{Observation, Reachability, ServerMode},
    },
    ADDRESS_DELAY, Actor,
};

/// After the start or a change of the network, nodes that were met are asked what they see of us, if too few have said.
const LOOK_SOON: Duration = Duration::from_secs(2);
/// Later they are asked this often, since routers and providers change without a word.
const LOOK: Duration = Duration::from_secs(3600);
/// Nodes asked.
const ASKED: usize = 3;
/// Enough observers for a good guess at the kind of NAT.
const OBSERVERS: usize = 2;

/// What is known of our own addresses.
pub(super) struct Paths {
    state: State,
    view: watch::Sender<Reachability>,
    look_at: Option<Instant>,
}

impl Paths {
    pub(super) fn new(view: watch::Sender<Reachability>) -> Self {
        Self { state: State::default(), view, look_at: None }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.look_at
    }

    pub(super) fn direct(&self) -> Vec<Multiaddr> {
        self.state.direct()
    }

    pub(super) fn observed(&self) -> Vec<Observation> {
        let observed = self.state.observed();
        observed
            .map(|(observer, address)| Observation { observer: observer.to_string(), address: address.to_string() })
            .collect()
    }
}

impl Actor {
    /// Draws all conclusions from what is known of our addresses. Cheap, and does nothing if nothing changed.
    pub(super) fn judge_paths(&mut self, now: Instant) {
        let listening: Vec<Multiaddr> =
            self.swarm.listeners().filter(|address| !is_circuit(address)).cloned().collect();
        self.paths.state.set_own(&listening);
        let public = self.paths.state.public();

        let confirmed: Vec<Multiaddr> =
            self.swarm.external_addresses().filter(|address| !is_circuit(address)).cloned().collect();
        for gone in confirmed.iter().filter(|address| !public.contains(address)) {
            self.swarm.remove_external_address(gone);
        }
        for new in public.iter().filter(|address| !confirmed.contains(address)) {
            self.swarm.add_external_address(new.clone());
        }

        let near = listening.iter().any(|address| matches!(scope_of(address), Some(Scope::Loopback | Scope::Private)));
        let by = |mode: ServerMode, auto: bool| match mode {
            ServerMode::Auto => auto,
            ServerMode::On => true,
            ServerMode::Off => false,
        };
        self.set_server(by(self.dht_server, near || !public.is_empty()));
        let relays = by(self.relay_server, !public.is_empty());
        let tests = !public.is_empty() || self.own_scope() == Some(Scope::Loopback);
        let families = self.families();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.dht.set_families(families);
        behaviour.circuits.set_serving(relays);
        behaviour.hop.set_serving(relays);
        behaviour.autonat.set_serving(tests);
        // Most of the internet has IPv4 only: who is reached over IPv6 alone needs relays for the rest.
        let open = public.iter().any(|address| ip_of(address).is_some_and(|ip| ip.is_ipv4()));
        self.relays.set_wanted(if open { WANTED_OPEN } else { WANTED });
        if behaviour.punch.set_candidates(self.paths.state.punch_candidates()) {
            self.punching.renew(now);
        }

        let new = Reachability {
            public: public.iter().map(ToString::to_string).collect(),
            tested: self.paths.state.is_tested(),
        };
        self.paths.view.send_if_modified(|view| {
            let changed = *view != new;
            if changed {
                tracing::debug!(public = new.public.len(), tested = new.tested, "reachability");
                *view = new;
            }
            changed
        });
        if self.own_scope() > Some(Scope::Loopback) {
            self.paths.look_at.get_or_insert(now + LOOK_SOON);
        }
        self.addresses_due.get_or_insert(now + ADDRESS_DELAY);
        self.tend_relays(now);
    }

    /// Another node says who it is, what it offers, and what it sees of us.
    pub(super) fn on_met(
        &mut self,
        peer: PeerId,
        connection: swarm::ConnectionId,
        info: &identify::Info,
        now: Instant,
    ) {
        if self.hidden {
            return;
        }
        let Some((remote, outbound)) = self.connections.remote(connection) else { return };
        let (remote, scope) = (without_peer(remote.clone()), scope_of(remote));
        let Some(range) = ip_of(&remote).map(SourceRange::of) else { return };
        let seen = without_peer(info.observed_addr.clone());
        let tests = info.protocols.contains(&DIAL_REQUEST);
        if is_dialable(&seen) && scope_of(&seen) == scope && ip_of(&seen).is_some() {
            self.paths.state.on_observed(seen.clone(), range, now);
            self.connections.on_seen(connection, seen, tests);
        }
        // Only public strangers: on a LAN nobody needs a relay, and friends' relays are given to us.
        if scope == Some(Scope::Public) && outbound {
            if info.protocols.contains(&relay::HOP_PROTOCOL_NAME) {
                self.relays.on_met(peer, remote.clone());
            } else {
                self.relays.on_offers_none(peer);
            }
        }
        if let Some(ip) = ip_of(&remote) {
            self.stun_servers.on_met(peer, ip, stun::port_in(&info.protocols));
        }
        self.judge_paths(now);
        self.start_tests(connection, now);
    }

    /// A node to start from was reached. Most of those carry circuits: it is asked for a reservation a round trip before
    /// identify says whether it does, because until we have one, nobody may find us.
    pub(super) fn on_start_reached(&mut self, peer: PeerId, connection: swarm::ConnectionId, now: Instant) {
        let Some((remote, true)) = self.connections.remote(connection) else { return };
        let remote = without_peer(remote.clone());
        if !self.hidden && scope_of(&remote) == Some(Scope::Public) && self.table.is_start(&remote) {
            self.relays.on_met(peer, remote);
            self.tend_relays(now);
        }
    }

    /// Has the node at the other end test what is due.
    fn start_tests(&mut self, connection: swarm::ConnectionId, now: Instant) {
        let Some((server, range, seen)) = self.connections.tester(connection) else { return };
        // Who sees us at a private address cannot say what the internet sees.
        if scope_of(&seen) != Some(Scope::Public) {
            return;
        }
        for address in self.paths.state.next_tests(range, &seen, now) {
            tracing::debug!(%server, "asking a node to test an address of ours");
            self.swarm.behaviour_mut().autonat.test(server, connection, address);
        }
    }

    pub(super) fn on_verdict(&mut self, verdict: &Verdict, now: Instant) {
        let reachable = match verdict.outcome {
            Outcome::Reachable => true,
            Outcome::Unreachable => false,
            Outcome::Unknown => return,
        };
        let Some((_, range, _)) = self.connections.tester(verdict.connection) else { return };
        tracing::debug!(address = %verdict.address, reachable, "tested");
        self.paths.state.on_verdict(&verdict.address, range, reachable, now);
        self.judge_paths(now);
    }

    pub(super) fn add_external(&mut self, addresses: &[String], now: Instant) {
        if self.hidden {
            return;
        }
        let mapped = addresses.iter().filter_map(|text| text.parse().ok()).filter(is_dialable).collect();
        self.paths.state.set_mapped(mapped);
        self.judge_paths(now);
        self.test_again(now);
    }

    pub(super) fn also_listens(&mut self, addresses: &[String], now: Instant) {
        if self.hidden {
            return;
        }
        self.paths.state.set_given(addresses.iter().filter_map(|text| text.parse().ok()));
        self.judge_paths(now);
        self.test_again(now);
    }

    fn test_again(&mut self, now: Instant) {
        for connection in self.connections.ids() {
            self.start_tests(connection, now);
        }
    }

    pub(super) fn tend_paths(&mut self, now: Instant) {
        if self.paths.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.paths.look_at = Some(now + LOOK);
        let connections = &self.connections;
        self.paths.state.sweep(|address| connections.shows(address), now);
        self.test_again(now);
        let mut observers: Vec<_> = self.paths.state.observed().map(|(observer, _)| *observer).collect();
        observers.sort();
        observers.dedup();
        if observers.len() < OBSERVERS || !self.paths.state.is_tested() {
            self.look_around();
        }
        self.judge_paths(now);
    }

    /// Dials some nodes that were met, to hear what they see of us.
    fn look_around(&mut self) {
        let families = self.families();
        let mut known = self.table.known_addresses();
        known.retain(|address| scope_of(address) == Some(Scope::Public) && families.reach(address));
        known.truncate(ASKED);
        let (reply, _) = mpsc::channel(1);
        for address in known {
            if !self.connections.is_open_to(&address) {
                self.start_dial(DialOpts::unknown_peer_id().address(address).build(), reply.clone());
            }
        }
    }

    pub(super) fn network_changed(&mut self, now: Instant) {
        tracing::info!("the network changed: looking at every connection");
        self.paths.state.forget();
        self.relays.forget_failures();
        let uprooted = self.connections.uprooted();
        for connection in self.connections.ids() {
            self.connections.set_doubted(connection, true);
            if uprooted.contains(&connection) {
                tracing::debug!(%connection, "closed: it began at an address that is no longer ours");
                self.swarm.close_connection(connection);
            } else if let Some(peer) = self.connections.peer(connection) {
                self.swarm.behaviour_mut().alive.probe(peer, connection);
            }
        }
        self.table.renew(now);
        self.look_around();
        self.judge_paths(now);
        self.paths.look_at = Some(now + LOOK_SOON);
    }

    /// Somebody thinks that a connection is dead.
    pub(super) fn doubt(&mut self, connection: swarm::ConnectionId) {
        self.connections.set_doubted(connection, true);
        if let Some(peer) = self.connections.peer(connection) {
            self.swarm.behaviour_mut().alive.probe(peer, connection);
        }
    }

    pub(super) fn on_pulse(&mut self, AliveEvent { connection, pulse }: AliveEvent) {
        match pulse {
            Pulse::Alive => self.connections.set_doubted(connection, false),
            Pulse::Dead => {
                tracing::debug!(%connection, "closed: no answer to a ping");
                self.swarm.close_connection(connection);
            }
        }
    }
}
