//! Which relays this node waits at for circuits: whom to ask next, and where friends find us through them.
//!
//! Pure: the swarm's task tells it what it met and what became of its requests, and does what it says. Relays of friends
//! come first (their owners chose to serve us), then public nodes of the DHT that offer circuits, in networks that differ.
//! A relay that refuses, dies or is not found rests for a growing time.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, core::transport::ListenerId, multiaddr::Protocol};

use super::scope::{Circuit, Families, SourceRange, ip_of, is_dialable, is_quic, scope_of};

/// Reservations at a time while the internet cannot reach this node. One relay may die unnoticed for ten seconds; with
/// two, friends still get through.
pub(super) const WANTED: usize = 2;
/// The same while it can: friends that hide their address come through relays only, and those without IPv4, too.
pub(super) const WANTED_OPEN: usize = 1;
/// Relays of friends that are kept in mind.
const MAX_PREFERRED: usize = 16;
/// Public nodes with circuits that are kept in mind.
const MAX_MET: usize = 32;
/// Addresses kept of one relay: two transports, two families.
const PER_RELAY: usize = 4;
/// Circuit addresses that are told to friends in all: about 100 bytes each in a slot that has room for six.
const MAX_TOLD: usize = 5;
/// A relay that failed rests so long the first time, twice as long each time after, up to the second value.
const REST: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));
/// The same for a relay that had served us: it may be back in a moment, or the connection alone died.
const SHORT_REST: Duration = Duration::from_millis(200);
/// Relays whose failures are remembered.
const MAX_RESTING: usize = 64;

/// A relay that is known.
#[derive(Clone, Debug)]
struct Known {
    peer: PeerId,
    addresses: Vec<Multiaddr>,
}

/// A reservation, asked for or held.
#[derive(Clone, Debug)]
struct Held {
    listener: Option<ListenerId>,
    reached: Multiaddr,
    told: Vec<Multiaddr>,
    since: Option<Instant>,
    preferred: bool,
}

#[derive(Clone, Copy, Debug)]
struct Resting {
    until: Instant,
    failures: u32,
}

/// A relay, for whoever shows or uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) peer: PeerId,
    pub(super) address: Multiaddr,
    pub(super) held: bool,
    pub(super) preferred: bool,
}

/// Known relays and reservations.
#[derive(Default)]
pub(super) struct Relays {
    wanted: usize,
    preferred: Vec<Known>,
    met: Vec<Known>,
    held: HashMap<PeerId, Held>,
    resting: HashMap<PeerId, Resting>,
}

impl Relays {
    /// How many relays this node needs. Reservations that are there stay until they end. One more is asked for while they
    /// are strangers' and a friend's relay is there: strangers may be overrun at any time.
    pub(super) fn set_wanted(&mut self, wanted: usize) {
        self.wanted = wanted;
    }

    /// Takes the relays of friends: addresses with the PeerId of the relay at the end.
    pub(super) fn prefer(&mut self, addresses: impl IntoIterator<Item = Multiaddr>) {
        let mut preferred: Vec<Known> = Vec::new();
        for mut address in addresses {
            let Some(Protocol::P2p(peer)) = address.pop() else { continue };
            if !is_dialable(&address) {
                continue;
            }
            let full = preferred.len() >= MAX_PREFERRED;
            match preferred.iter_mut().find(|known| known.peer == peer) {
                Some(known) if known.addresses.len() < PER_RELAY => known.addresses.push(address),
                None if !full => preferred.push(Known { peer, addresses: vec![address] }),
                _ => {}
            }
        }
        for (peer, held) in &mut self.held {
            held.preferred = preferred.iter().any(|known| known.peer == *peer);
        }
        self.preferred = preferred;
    }

    /// A node that offers circuits was met at `address`.
    pub(super) fn on_met(&mut self, peer: PeerId, address: Multiaddr) {
        let known = self.met.iter().position(|known| known.peer == peer).map(|index| self.met.remove(index));
        // Whoever answers at an address now has taken it over from whoever did before.
        self.met.retain(|known| known.addresses.first() != Some(&address));
        if self.met.len() >= MAX_MET {
            self.met.remove(0);
        }
        let mut addresses = known.map(|known| known.addresses).unwrap_or_default();
        addresses.retain(|known| *known != address);
        addresses.insert(0, address);
        addresses.truncate(PER_RELAY);
        self.met.push(Known { peer, addresses });
    }

    /// A node that was met offers no circuits any more.
    pub(super) fn on_offers_none(&mut self, peer: PeerId) {
        self.met.retain(|known| known.peer != peer);
    }

    /// The network changed: who could not be reached before may be now.
    pub(super) fn forget_failures(&mut self) {
        self.resting.clear();
    }

    /// Whom to ask for a reservation now, and where it may be.
    pub(super) fn next(&self, families: &Families, now: Instant) -> Option<(PeerId, Vec<Multiaddr>)> {
        if self.wanted == 0 {
            return None;
        }
        let strangers = self.held.values().filter(|held| !held.preferred).count();
        let friends = self.held.len() - strangers;
        let usable = |known: &&Known| {
            let rests = self.resting.get(&known.peer).is_some_and(|resting| resting.until > now);
            !rests && !self.held.contains_key(&known.peer)
        };
        let reachable = |known: &Known| {
            let addresses: Vec<Multiaddr> =
                known.addresses.iter().filter(|address| families.reach(address)).cloned().collect();
            (!addresses.is_empty()).then_some((known.peer, addresses))
        };
        if friends < self.wanted && self.held.len() <= self.wanted {
            let friend = self.preferred.iter().filter(usable).find_map(reachable);
            if friend.is_some() {
                return friend;
            }
        }
        if self.held.len() >= self.wanted {
            return None;
        }
        let taken: Vec<SourceRange> =
            self.held.values().filter_map(|held| ip_of(&held.reached)).map(SourceRange::of).collect();
        let elsewhere = |known: &&Known| {
            let range = known.addresses.first().and_then(ip_of).map(SourceRange::of);
            !range.is_some_and(|range| taken.contains(&range))
        };
        // The one met last is likeliest to be there.
        let strangers = || self.met.iter().rev().filter(usable);
        strangers().filter(elsewhere).find_map(reachable).or_else(|| strangers().find_map(reachable))
    }

    /// When a relay that rests may be asked again, if one is wanted.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        if self.held.len() >= self.wanted {
            return None;
        }
        let known = self.preferred.iter().chain(&self.met).filter(|known| !self.held.contains_key(&known.peer));
        known
            .filter_map(|known| self.resting.get(&known.peer))
            .map(|resting| resting.until)
            .filter(|at| *at > now)
            .min()
    }

    /// A reservation is being asked for, at `address` as far as is known.
    pub(super) fn on_asked(&mut self, peer: PeerId, address: Multiaddr) {
        let preferred = self.preferred.iter().any(|known| known.peer == peer);
        self.held.insert(peer, Held { listener: None, reached: address, told: Vec::new(), since: None, preferred });
    }

    /// The relay was reached at `address`, and the request is under way as `listener`.
    pub(super) fn on_listening(&mut self, peer: PeerId, address: Multiaddr, listener: ListenerId) {
        if let Some(held) = self.held.get_mut(&peer) {
            held.listener = Some(listener);
            held.reached = address;
        }
    }

    /// The relay was not reached.
    pub(super) fn on_failed(&mut self, peer: PeerId, now: Instant) {
        self.held.remove(&peer);
        self.rest(peer, REST.0, now);
    }

    /// The relay accepted.
    pub(super) fn on_accepted(&mut self, peer: PeerId, now: Instant) {
        self.resting.remove(&peer);
        if let Some(held) = self.held.get_mut(&peer) {
            held.since.get_or_insert(now);
        }
    }

    /// The relay says that circuits to us may come through it at this address.
    pub(super) fn on_circuit_address(&mut self, listener: ListenerId, address: &Multiaddr) {
        let held = self.held.values_mut().find(|held| held.listener == Some(listener));
        if let (Some(held), Some(circuit)) = (held, Circuit::of(address))
            && !held.told.contains(&circuit.address)
            && held.told.len() < 2 * PER_RELAY
        {
            held.told.push(circuit.address);
        }
    }

    /// A listener ended. `true` if it was one of these.
    pub(super) fn on_listener_closed(&mut self, listener: ListenerId, now: Instant) -> bool {
        let found = self.held.iter().find(|(_, held)| held.listener == Some(listener)).map(|(peer, _)| *peer);
        let Some(peer) = found else { return false };
        let served = self.held.remove(&peer).is_some_and(|held| held.since.is_some());
        self.rest(peer, if served { SHORT_REST } else { REST.0 }, now);
        true
    }

    fn rest(&mut self, peer: PeerId, first: Duration, now: Instant) {
        if self.resting.len() >= MAX_RESTING {
            self.resting.retain(|_, resting| resting.until > now);
            if self.resting.len() >= MAX_RESTING {
                self.resting.clear();
            }
        }
        let failures = self.resting.get(&peer).map_or(0, |resting| resting.failures);
        let pause = first.saturating_mul(1 << failures.min(16)).min(REST.1);
        self.resting.insert(peer, Resting { until: now + pause, failures: failures + 1 });
    }

    /// Whether this is one of the relays that were given.
    pub(super) fn is_preferred(&self, peer: PeerId) -> bool {
        self.preferred.iter().any(|known| known.peer == peer)
    }

    /// Whether this node holds, or has asked for, a reservation at `peer`.
    pub(super) fn is_relay(&self, peer: PeerId) -> bool {
        self.held.contains_key(&peer)
    }

    /// All relays that are known, those that serve us first.
    pub(super) fn view(&self) -> Vec<View> {
        let held = self.held.iter().map(|(peer, held)| View {
            peer: *peer,
            address: held.reached.clone(),
            held: held.since.is_some(),
            preferred: held.preferred,
        });
        let others =
            self.preferred.iter().map(|known| (known, true)).chain(self.met.iter().rev().map(|known| (known, false)));
        let others =
            others.filter(|(known, _)| !self.held.contains_key(&known.peer)).filter_map(|(known, preferred)| {
                Some(View { peer: known.peer, address: known.addresses.first()?.clone(), held: false, preferred })
            });
        let mut view: Vec<View> = held.chain(others).collect();
        view.sort_by_key(|relay| (!relay.held, !relay.preferred));
        view
    }

    /// Where friends reach us through relays, best first, without our own PeerId: the likeliest address of each relay,
    /// then the second of each, and so on.
    pub(super) fn circuits(&self) -> Vec<Multiaddr> {
        let mut relays: Vec<(&PeerId, &Held)> = self.held.iter().filter(|(_, held)| held.since.is_some()).collect();
        relays.sort_by_key(|(peer, held)| (!held.preferred, held.since, peer.to_bytes()));
        let lists: Vec<Vec<Multiaddr>> = relays.into_iter().map(|(peer, held)| circuits_of(*peer, held)).collect();
        let mut circuits = Vec::new();
        for turn in 0..PER_RELAY {
            circuits.extend(lists.iter().filter_map(|list| list.get(turn)).cloned());
        }
        circuits.truncate(MAX_TOLD);
        circuits
    }
}

/// The circuit addresses over one relay: one of each transport and family, in the scope in which it was reached.
fn circuits_of(relay: PeerId, held: &Held) -> Vec<Multiaddr> {
    let scope = scope_of(&held.reached);
    let ip = ip_of(&held.reached);
    let mut kinds: Vec<(bool, bool)> = Vec::new();
    let mut circuits = Vec::new();
    // What we reached is the surest. Of the rest, a relay may lie; what has its own IP can mean nobody else.
    let mut told: Vec<&Multiaddr> = held.told.iter().filter(|address| ip_of(address).is_some()).collect();
    told.sort_by_key(|address| ip_of(address) != ip);
    for address in [&held.reached].into_iter().chain(told) {
        let kind = (is_quic(address), ip_of(address).is_some_and(|ip| ip.is_ipv4()));
        if scope.is_some() && scope_of(address) == scope && !kinds.contains(&kind) {
            kinds.push(kind);
            circuits.push((kind, Circuit { address: address.clone(), relay, target: None }.to_multiaddr()));
        }
    }
    circuits.sort_by_key(|((quic, v4), _)| (!*v4, !*quic));
    // QUIC over IPv4, then TCP over IPv4 for those whose UDP is blocked, then the same over IPv6.
    circuits.into_iter().map(|(_, address)| address).take(PER_RELAY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u8) -> Multiaddr {
        format!("/ip4/9.9.{n}.1/udp/4/quic-v1").parse().unwrap()
    }

    fn relays(met: u8) -> (Relays, Vec<PeerId>, Instant) {
        let now = Instant::now();
        let mut relays = Relays::default();
        relays.set_wanted(WANTED);
        let peers: Vec<PeerId> = (0..met).map(|_| PeerId::random()).collect();
        for (n, peer) in (0..).zip(&peers) {
            relays.on_met(*peer, at(n));
        }
        (relays, peers, now)
    }

    fn ask(relays: &mut Relays, now: Instant) -> Option<(PeerId, ListenerId)> {
        let (peer, addresses) = relays.next(&Families::default(), now)?;
        let listener = ListenerId::next();
        relays.on_asked(peer, addresses[0].clone());
        relays.on_listening(peer, addresses[0].clone(), listener);
        Some((peer, listener))
    }

    #[test]
    fn two_reservations_are_held_and_a_dead_one_is_replaced_at_once() {
        let (mut relays, peers, now) = relays(3);
        let (first, listener) = ask(&mut relays, now).unwrap();
        assert_eq!(first, peers[2], "the one met last");
        let (second, _) = ask(&mut relays, now).unwrap();
        assert_eq!(ask(&mut relays, now), None);
        relays.on_accepted(first, now);
        relays.on_accepted(second, now);
        assert_eq!(relays.circuits().len(), 2);
        assert!(relays.on_listener_closed(listener, now));
        assert_eq!(relays.circuits().len(), 1);
        let (third, _) = ask(&mut relays, now).unwrap();
        assert_eq!(third, peers[0]);
    }

    #[test]
    fn the_only_relay_is_asked_again_after_a_rest_that_grows() {
        let (mut relays, _, mut now) = relays(1);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let (_, listener) = ask(&mut relays, now).unwrap();
            relays.on_listener_closed(listener, now);
            let wake = relays.next_wake(now).unwrap();
            pauses.push((wake - now).as_secs());
            assert_eq!(ask(&mut relays, now), None);
            now = wake;
        }
        assert_eq!(pauses[..4], [2, 4, 8, 16]);
        assert_eq!(pauses[11], 600);
        let (peer, listener) = ask(&mut relays, now).unwrap();
        relays.on_accepted(peer, now);
        relays.on_listener_closed(listener, now);
        assert_eq!(relays.next_wake(now).unwrap() - now, SHORT_REST);
    }

    #[test]
    fn a_friends_relay_comes_first_and_even_as_a_third() {
        let (mut relays, _, now) = relays(5);
        for _ in 0..2 {
            let (peer, _) = ask(&mut relays, now).unwrap();
            relays.on_accepted(peer, now);
        }
        let friend = PeerId::random();
        relays.prefer([at(77).with(Protocol::P2p(friend)), at(78), "/memory/1".parse().unwrap()]);
        assert_eq!(ask(&mut relays, now).unwrap().0, friend);
        relays.on_accepted(friend, now);
        assert_eq!(ask(&mut relays, now), None);
        assert!(relays.circuits()[0].to_string().contains(&friend.to_string()));
    }

    #[test]
    fn relays_in_other_networks_are_preferred() {
        let now = Instant::now();
        let mut relays = Relays::default();
        relays.set_wanted(WANTED);
        let [near, far] = [PeerId::random(), PeerId::random()];
        relays.on_met(far, at(2));
        relays.on_met(near, "/ip4/9.9.1.8/udp/4/quic-v1".parse().unwrap());
        relays.on_met(PeerId::random(), at(1));
        assert!(ask(&mut relays, now).is_some());
        assert_eq!(ask(&mut relays, now).unwrap().0, far);
    }

    #[test]
    fn what_a_relay_says_of_itself_is_bounded_and_stays_in_its_scope() {
        let (mut relays, peers, now) = relays(1);
        let (relay, listener) = ask(&mut relays, now).unwrap();
        relays.on_accepted(relay, now);
        let me = PeerId::random();
        let told = |address: &str| format!("{address}/p2p/{}/p2p-circuit/p2p/{me}", peers[0]).parse().unwrap();
        for address in [
            "/ip4/8.8.8.8/tcp/25",
            "/ip4/9.9.0.1/udp/4/quic-v1",
            "/ip4/9.9.0.1/tcp/4",
            "/ip4/192.168.1.1/tcp/4",
            "/ip4/127.0.0.1/tcp/4",
            "/ip6/2a00::1/udp/4/quic-v1",
            "/ip6/2a00::1/tcp/4",
            "/ip4/8.8.8.8/udp/53/quic-v1",
            "/dns4/victim.example/tcp/4",
        ] {
            relays.on_circuit_address(listener, &told(address));
        }
        let circuits: Vec<String> = relays.circuits().iter().map(ToString::to_string).collect();
        let expected =
            ["/ip4/9.9.0.1/udp/4/quic-v1", "/ip4/9.9.0.1/tcp/4", "/ip6/2a00::1/udp/4/quic-v1", "/ip6/2a00::1/tcp/4"]
                .map(|address| format!("{address}/p2p/{relay}/p2p-circuit"));
        assert_eq!(circuits, expected);
    }

    #[test]
    fn who_needs_no_relay_asks_nobody() {
        let (mut relays, _, now) = relays(3);
        relays.set_wanted(0);
        assert_eq!(ask(&mut relays, now), None);
        assert_eq!(relays.next_wake(now), None);
    }
}
