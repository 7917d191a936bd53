//! The routing table, how it is filled, and the storing side.
//!
//! A node enters the table only when its identify says that it serves our DHT, and only at addresses with the IP at
//! which it was met: so nobody can make others dial a third machine. A node that cannot be reached leaves at once:
//! swarm keys are new at every start, and a table of dead names would cost every query seconds.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, identify,
    kad::{InboundRequest, Record},
    swarm,
};
use tokio::sync::{mpsc, watch};

use super::{
    super::{
        dht::KAD_PROTOCOL,
        limits::RangeLimiter,
        scope::{Scope, SourceRange, ip_of, is_dialable, is_useful, public_range, scope_of, scope_of_ip, without_peer},
        types::{DhtView, DialError, Event, Route},
    },
    Actor, to_ours,
};
use crate::dht::has_room_in_bucket;

/// While the table has fewer nodes than this, everybody in it belongs to the closest of every key.
const SMALL: usize = 20;
/// Addresses to start from that are kept.
const MAX_BOOTSTRAP: usize = 64;
/// Of those, dialled at a time.
const BOOTSTRAP_AT_ONCE: usize = 8;
/// First and longest pause between rounds of dialling them.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// An address is not dialled again before this time: the first attempt may still succeed.
const ATTEMPT: Duration = Duration::from_millis(450);
/// How often a server looks after its table, by a search for itself and in every bucket.
const REFRESH: Duration = Duration::from_secs(3600);
/// How often one that only asks does, by a search for itself: its own queries do the rest.
const CLIENT_REFRESH: Duration = Duration::from_secs(4 * 3600);
/// Nodes remembered for the next start.
const MAX_KNOWN: usize = 32;
/// Failures to reach a node before it leaves the table; one is enough if somebody else answers in its place.
const MAX_FAILURES: u8 = 2;
/// Addresses kept of one node.
const MAX_ADDRESSES: usize = 4;
/// A confirmation of a scope counts for so long.
const SCOPE_LIFE: Duration = Duration::from_secs(3 * 3600);
/// How often expired records are looked for.
const SWEEP: Duration = Duration::from_secs(600);

pub(super) struct Table {
    view: watch::Sender<DhtView>,
    /// Where to start from, and when each was tried last.
    bootstrap: Vec<(Multiaddr, Option<Instant>)>,
    retry_at: Option<Instant>,
    pause: Duration,
    refresh_at: Option<Instant>,
    sweep_at: Option<Instant>,
    /// Nodes met, with an address and when; at most [`MAX_KNOWN`].
    known: Vec<(PeerId, Multiaddr, Instant)>,
    failures: HashMap<PeerId, u8>,
    confirmed: HashMap<Scope, Instant>,
    puts: RangeLimiter,
    refused: u64,
}

impl Table {
    pub(super) fn new(view: watch::Sender<DhtView>) -> Self {
        Self {
            view,
            bootstrap: Vec::new(),
            retry_at: None,
            pause: RETRY.0,
            refresh_at: None,
            sweep_at: None,
            known: Vec::new(),
            failures: HashMap::new(),
            confirmed: HashMap::new(),
            puts: RangeLimiter::puts(),
            refused: 0,
        }
    }

    pub(super) fn view(&self) -> watch::Ref<'_, DhtView> {
        self.view.borrow()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.view.borrow().peers == 0
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn set_server(&mut self, server: bool) {
        self.view.send_if_modified(|view| std::mem::replace(&mut view.server, server) != server);
    }

    /// Whether this is an address to start from.
    pub(super) fn is_start(&self, address: &Multiaddr) -> bool {
        self.bootstrap.iter().any(|(known, _)| known == address)
    }

    /// Dials the addresses to start from soon: nothing is known, or what is known does not answer.
    pub(super) fn hasten(&mut self, now: Instant) {
        if !self.bootstrap.is_empty() {
            let soon = now + if self.is_empty() { Duration::ZERO } else { self.pause };
            self.retry_at = Some(self.retry_at.map_or(soon, |at| at.min(soon)));
        }
    }

    fn refresh_pause(&self) -> Duration {
        if self.view.borrow().server { REFRESH } else { CLIENT_REFRESH }
    }

    pub(super) fn on_reached(&mut self, peer: PeerId) {
        self.failures.remove(&peer);
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        [self.retry_at, self.refresh_at, self.sweep_at].into_iter().flatten().min()
    }

    pub(super) fn known(&self) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for text in self.known_addresses().iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }

    /// Addresses of nodes that were met, latest first.
    pub(super) fn known_addresses(&self) -> Vec<Multiaddr> {
        let mut latest: Vec<_> = self.known.iter().collect();
        latest.sort_by_key(|(_, _, at)| std::cmp::Reverse(*at));
        latest.into_iter().map(|(_, address, _)| address.clone()).collect()
    }

    /// The network changed: the addresses to start from are tried again at once.
    pub(super) fn renew(&mut self, now: Instant) {
        for (_, tried) in &mut self.bootstrap {
            *tried = None;
        }
        self.pause = RETRY.0;
        self.retry_at = (!self.bootstrap.is_empty()).then_some(now);
    }

    fn remember(&mut self, peer: PeerId, address: Multiaddr, now: Instant) {
        self.known.retain(|(known, at, _)| *known != peer && *at != address);
        if self.known.len() >= MAX_KNOWN
            && let Some(oldest) = (0..self.known.len()).min_by_key(|index| self.known[*index].2)
        {
            self.known.swap_remove(oldest);
        }
        self.known.push((peer, address, now));
    }

    /// The widest scope in which a DHT node was confirmed lately.
    pub(super) fn confirmed_scope(&self, now: Instant) -> Option<Scope> {
        self.confirmed
            .iter()
            .filter(|(_, at)| now.saturating_duration_since(**at) < SCOPE_LIFE)
            .map(|(scope, _)| *scope)
            .max()
    }
}

impl Actor {
    pub(super) fn add_bootstrap(&mut self, addresses: Vec<String>, now: Instant) {
        if self.hidden {
            return;
        }
        for text in addresses {
            let Some(address) = text.parse().ok().map(without_peer).filter(is_dialable) else {
                tracing::debug!("an address to start from is not usable");
                continue;
            };
            if self.table.bootstrap.iter().any(|(known, _)| *known == address) {
                continue;
            }
            if self.table.bootstrap.len() >= MAX_BOOTSTRAP {
                self.table.bootstrap.remove(0);
            }
            self.table.bootstrap.push((address, None));
            self.table.pause = RETRY.0;
        }
        // Dialling before there is a listener would use another port than ours.
        if self.table.is_empty() && self.swarm.listeners().next().is_some() {
            self.table.hasten(now);
        } else if self.table.is_empty() {
            self.table.retry_at.get_or_insert(now + RETRY.0 / 5);
        }
    }

    pub(super) fn tend_table(&mut self, now: Instant) {
        if self.table.retry_at.is_some_and(|at| at <= now) {
            self.table.retry_at = None;
            self.dial_bootstrap(now);
        }
        if self.table.refresh_at.is_some_and(|at| at <= now) {
            self.table.refresh_at = Some(now + self.table.refresh_pause());
            let me = *self.swarm.local_peer_id();
            let server = self.table.view().server;
            let kad = self.swarm.behaviour_mut().dht.kad();
            if server {
                let _ = kad.bootstrap();
            } else {
                kad.get_closest_peers(me);
            }
        }
        if self.table.sweep_at.is_some_and(|at| at <= now) {
            let store = self.swarm.behaviour_mut().dht.kad().store_mut();
            store.sweep(now);
            self.table.sweep_at = (store.len() > 0).then_some(now + SWEEP);
        }
    }

    fn dial_bootstrap(&mut self, now: Instant) {
        let mut ready: Vec<&mut (Multiaddr, Option<Instant>)> = self
            .table
            .bootstrap
            .iter_mut()
            .filter(|(_, tried)| tried.is_none_or(|at| now.saturating_duration_since(at) >= ATTEMPT))
            .collect();
        ready.sort_by_key(|(_, tried)| *tried);
        ready.truncate(BOOTSTRAP_AT_ONCE);
        let mut chosen = Vec::new();
        for (address, tried) in ready {
            *tried = Some(now);
            chosen.push(address.clone());
        }
        if self.table.is_empty() && !self.table.bootstrap.is_empty() {
            self.table.retry_at = Some(now + self.table.pause);
        }
        if chosen.is_empty() {
            return;
        }
        tracing::debug!(addresses = chosen.len(), "dialling nodes to start from");
        // Nobody waits for these: what counts is who says in identify that it serves the DHT.
        self.dial_to_start(chosen, now);
        self.table.pause = (self.table.pause * 2).min(RETRY.1);
    }

    pub(super) fn on_discovered(&mut self, found: Vec<(PeerId, Multiaddr)>, now: Instant) {
        let mut by_peer: HashMap<PeerId, Vec<Multiaddr>> = HashMap::new();
        for (peer, address) in found.into_iter().take(MAX_BOOTSTRAP) {
            by_peer.entry(peer).or_default().push(address);
        }
        let (reply, _) = mpsc::channel(1);
        for (peer, addresses) in by_peer {
            let Some(ours) = to_ours(&peer) else { continue };
            if self.table.view().peers < SMALL {
                let near = addresses.iter().filter(|address| scope_of(address) == Some(Scope::Private)).cloned();
                self.dial_addresses(near.collect(), &reply, now);
            }
            let addresses = addresses.into_iter().map(|address| address.to_string()).collect();
            self.outbox.push_back(Event::Discovered { peer: ours, addresses });
        }
    }

    pub(super) fn on_identified(
        &mut self,
        peer: PeerId,
        connection: swarm::ConnectionId,
        info: identify::Info,
        now: Instant,
    ) {
        let relayed = self.connections.info(connection).is_none_or(|info| info.route == Route::Relayed);
        if relayed || self.hidden {
            return;
        }
        self.on_met(peer, connection, &info, now);
        if !info.protocols.contains(&KAD_PROTOCOL) {
            if self.swarm.behaviour_mut().dht.kad().remove_peer(&peer).is_some() {
                self.on_routing_updated(now);
            }
            return;
        }
        let Some((remote, outbound)) = self.connections.remote(connection) else { return };
        let remote = without_peer(remote.clone());
        let dialled = outbound.then(|| remote.clone());
        let told = info.listen_addrs.into_iter().map(without_peer).filter(|address| ip_of(address) == ip_of(&remote));
        let confirmed = self.table.confirmed_scope(now);
        let mut addresses: Vec<Multiaddr> = Vec::new();
        for address in dialled.into_iter().chain(told) {
            if is_useful(&address, confirmed) && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(MAX_ADDRESSES);
        let Some(first) = addresses.first().cloned() else { return };
        if let Some(scope) = scope_of(&first) {
            self.table.confirmed.insert(scope, now);
            if Some(scope) > confirmed {
                self.leave_narrower(scope);
            }
        }
        let range = public_range(&first);
        self.table.remember(peer, first, now);
        if !self.has_room(peer, range) {
            tracing::debug!(%peer, "not taken into the routing table: its network has its share of the bucket");
            return;
        }
        for address in addresses {
            self.swarm.behaviour_mut().dht.kad().add_address(&peer, address);
        }
        // The event for it comes too late for what is asked in the meantime.
        self.on_routing_updated(now);
    }

    /// Whether a node of that public network may come into its bucket of the routing table, or is there already.
    fn has_room(&mut self, peer: PeerId, range: Option<SourceRange>) -> bool {
        let Some(bucket) = self.swarm.behaviour_mut().dht.kad().kbucket(peer) else { return false };
        bucket.iter().any(|entry| *entry.node.key.preimage() == peer)
            || has_room_in_bucket(bucket.iter().map(|entry| entry.node.value.iter().find_map(public_range)), range)
    }

    /// A DHT node was met in a wider scope than before: nodes that are known in narrower ones only leave the table.
    fn leave_narrower(&mut self, scope: Scope) {
        let dht = &mut self.swarm.behaviour_mut().dht;
        dht.set_confirmed(Some(scope));
        let narrower: Vec<PeerId> = dht
            .kad()
            .kbuckets()
            .flat_map(|bucket| {
                bucket
                    .iter()
                    .filter(|entry| !entry.node.value.iter().any(|address| is_useful(address, Some(scope))))
                    .map(|entry| *entry.node.key.preimage())
                    .collect::<Vec<_>>()
            })
            .collect();
        for peer in narrower {
            dht.kad().remove_peer(&peer);
        }
    }

    pub(super) fn on_unreachable(&mut self, peer: PeerId, reason: &DialError, now: Instant) {
        if !matches!(reason, DialError::WrongPeer | DialError::Timeout | DialError::Refused | DialError::Failed(_)) {
            return;
        }
        // That one way to it is closed says nothing while another is open: two who dial each other at once lose a dial.
        if self.connections.direct_with(peer).is_some() {
            return;
        }
        let failures = self.table.failures.entry(peer).or_default();
        *failures += 1;
        if *reason == DialError::WrongPeer || *failures >= MAX_FAILURES {
            self.table.failures.remove(&peer);
            if self.swarm.behaviour_mut().dht.kad().remove_peer(&peer).is_some() {
                tracing::debug!(%peer, "left the routing table: unreachable");
                self.on_routing_updated(now);
            }
        }
        if self.table.failures.len() > 4 * SMALL {
            self.table.failures.clear();
        }
    }

    /// Tells who watches what the table looks like now.
    pub(super) fn on_routing_updated(&mut self, now: Instant) {
        let kad = self.swarm.behaviour_mut().dht.kad();
        let peers: usize = kad.kbuckets().map(|bucket| bucket.num_entries()).sum();
        let all = if peers <= SMALL {
            kad.kbuckets()
                .flat_map(|bucket| bucket.iter().map(|entry| *entry.node.key.preimage()).collect::<Vec<_>>())
                .filter_map(|peer| to_ours(&peer))
                .collect()
        } else {
            Vec::new()
        };
        let was = self.table.view().peers;
        self.table.view.send_if_modified(|view| {
            let changed = view.peers != peers || view.all != all;
            view.peers = peers;
            view.all = all;
            changed
        });
        if peers != was {
            self.outbox.push_back(Event::DhtPeers(peers));
        }
        if peers > 0 {
            let refresh_at = now + self.table.refresh_pause();
            self.table.refresh_at.get_or_insert(refresh_at);
            if was == 0 {
                self.table.retry_at = None;
                self.table.pause = RETRY.0;
            }
            self.start_waiting(now);
        } else if was > 0 {
            self.table.hasten(now);
        }
    }

    /// A request from another node: only records matter here, the rest is answered by the crate.
    pub(super) fn on_request(&mut self, request: InboundRequest, now: Instant) {
        if let InboundRequest::PutRecord { source, connection, record: Some(record) } = request {
            let ip = self.connections.remote(connection).and_then(|(remote, _)| ip_of(remote));
            let within_rate = ip.is_some_and(|ip| self.table.puts.take(ip, now));
            if !within_rate {
                self.table.refused += 1;
                tracing::debug!(%source, "record refused: too many from this network");
                return;
            }
            let range = ip.filter(|ip| scope_of_ip(*ip) == Some(Scope::Public)).map(SourceRange::of);
            self.keep(record, range, now);
        }
    }

    /// Verifies a record and stores it if it is newer than what is there and within the bounds.
    pub(super) fn keep(&mut self, record: Record, range: Option<SourceRange>, now: Instant) {
        let store = self.swarm.behaviour_mut().dht.kad().store_mut();
        let result = match twocan_protocol::rendezvous::verify_record(record.key.as_ref(), &record.value) {
            Ok(sequence) => store.admit(record, sequence, range, now).map_err(|refusal| refusal.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(()) => {
                self.table.sweep_at.get_or_insert(now + SWEEP);
            }
            Err(reason) => {
                self.table.refused += 1;
                tracing::debug!(reason, "record refused");
            }
        }
    }
}
