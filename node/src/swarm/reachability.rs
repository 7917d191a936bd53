//! What this node knows of how others see it: addresses that were observed, mapped, or are its own, and which of them
//! other nodes could reach.
//!
//! Pure: the swarm's task feeds it and asks it. Three kinds of addresses are candidates:
//! - *own*: a public address on an interface. Reachable until a test says otherwise, else the first nodes of a network
//!   could never begin to serve.
//! - *mapped*: a port that the router forwards, by its word. Reachable when a test says so.
//! - *observed*: what other nodes saw us come from. Reachable when a test says so (a NAT that lets anybody in), and in
//!   any case what a hole punch aims at.
//!
//! A verdict is that of one server, and servers may lie: of the latest verdicts from different networks the majority
//! counts, of a tie the latest. Only a server that reached us can say that it did.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::Multiaddr;

use super::scope::{Scope, SourceRange, ip_of, is_dialable, is_quic, scope_of};

/// Observations kept; the oldest goes.
const MAX_OBSERVED: usize = 32;
/// Mapped addresses kept.
const MAX_MAPPED: usize = 8;
/// An observation counts for so long after it was made last, unless its connection still lives.
const OBSERVED_LIFE: Duration = Duration::from_secs(15 * 60);
/// Addresses with verdicts.
const MAX_TESTED: usize = 16;
/// Verdicts on one address that count: the latest ones of different networks.
const VERDICTS: usize = 3;
/// So many networks are asked about an address at first.
const ASKED_AT_FIRST: usize = 2;
/// After that, an address is tested again in this time.
const RETEST: Duration = Duration::from_secs(3600);
/// A test that gave no verdict is not repeated before.
const PAUSE: Duration = Duration::from_secs(15);
/// Observed addresses of one transport and family that a punch aims at: the latest ones. A NAT that shows each observer
/// another port shows that there is nothing to aim at.
const PER_KIND: usize = 2;

/// What somebody saw.
#[derive(Clone, Debug)]
struct Seen {
    address: Multiaddr,
    observer: SourceRange,
    at: Instant,
}

/// Verdicts on one address.
#[derive(Clone, Debug, Default)]
struct Tests {
    verdicts: Vec<(SourceRange, bool, Instant)>,
    asked_at: Option<Instant>,
}

impl Tests {
    fn says_reachable(&self) -> Option<bool> {
        let latest = self.verdicts.iter().max_by_key(|(_, _, at)| *at)?;
        let good = self.verdicts.iter().filter(|(_, reachable, _)| *reachable).count();
        Some(match good.cmp(&(self.verdicts.len() - good)) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => latest.1,
        })
    }

    fn is_due(&self, server: SourceRange, now: Instant) -> bool {
        if self.asked_at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            return false;
        }
        let by_server = self.verdicts.iter().find(|(range, ..)| *range == server);
        match by_server {
            Some((_, _, at)) => now.saturating_duration_since(*at) >= RETEST,
            None if self.verdicts.len() < ASKED_AT_FIRST => true,
            None => self.verdicts.iter().all(|(_, _, at)| now.saturating_duration_since(*at) >= RETEST),
        }
    }
}

/// Observed, mapped and own addresses, with verdicts.
#[derive(Default)]
pub(super) struct Reachability {
    own: Vec<Multiaddr>,
    given: Vec<Multiaddr>,
    mapped: Vec<Multiaddr>,
    observed: Vec<Seen>,
    tests: HashMap<Multiaddr, Tests>,
}

impl Reachability {
    /// Takes the addresses that are listened on.
    pub(super) fn set_own<'a>(&mut self, listening: impl IntoIterator<Item = &'a Multiaddr>) {
        let public = |address: &&Multiaddr| is_public(address);
        self.own = listening.into_iter().filter(public).cloned().collect();
        self.own.extend(self.given.iter().cloned());
        self.own.sort_by_key(|address| (!is_quic(address), address.to_string()));
    }

    /// Takes addresses of other listeners that lead to this node; they count as own ones from the next
    /// [`Reachability::set_own`] on.
    pub(super) fn set_given(&mut self, given: impl IntoIterator<Item = Multiaddr>) {
        self.given =
            given.into_iter().filter(|address| is_public(address) && is_dialable(address)).take(MAX_MAPPED).collect();
    }

    /// Takes the addresses that a router forwards to us.
    pub(super) fn set_mapped(&mut self, mapped: Vec<Multiaddr>) {
        self.mapped = mapped.into_iter().filter(is_public).take(MAX_MAPPED).collect();
    }

    /// A node in `observer` saw us come from `address`.
    pub(super) fn on_observed(&mut self, address: Multiaddr, observer: SourceRange, now: Instant) {
        self.observed.retain(|seen| seen.address != address || seen.observer != observer);
        if self.observed.len() >= MAX_OBSERVED {
            self.observed.remove(0);
        }
        self.observed.push(Seen { address, observer, at: now });
    }

    /// What was observed, latest last, with the network of the observer.
    pub(super) fn observed(&self) -> impl Iterator<Item = (&SourceRange, &Multiaddr)> {
        self.observed.iter().map(|seen| (&seen.observer, &seen.address))
    }

    /// The network changed: nothing that others saw or tested holds any more.
    pub(super) fn forget(&mut self) {
        self.observed.clear();
        self.tests.clear();
    }

    /// Whether anybody has tested anything.
    pub(super) fn is_tested(&self) -> bool {
        self.tests.values().any(|tests| !tests.verdicts.is_empty())
    }

    /// Addresses that may be tested: own ones first.
    fn candidates(&self) -> impl Iterator<Item = &Multiaddr> {
        let observed = self.observed.iter().rev().map(|seen| &seen.address).filter(|address| is_public(address));
        self.own.iter().chain(&self.mapped).chain(observed)
    }

    /// What a server in `server` that sees us at `seen` should test now; it dials back to the IP address that it sees.
    pub(super) fn next_tests(&mut self, server: SourceRange, seen: &Multiaddr, now: Instant) -> Vec<Multiaddr> {
        let ip = ip_of(seen);
        let mut chosen: Vec<Multiaddr> = Vec::new();
        for address in self.candidates().filter(|address| ip.is_some() && ip_of(address) == ip) {
            let due = self.tests.get(address).is_none_or(|tests| tests.is_due(server, now));
            if due && !chosen.contains(address) {
                chosen.push(address.clone());
            }
        }
        // One of each transport: other ports of it are no more likely to be open.
        let mut kinds = Vec::new();
        chosen.retain(|address| {
            let kind = is_quic(address);
            let first = !kinds.contains(&kind) || self.own.contains(address) || self.mapped.contains(address);
            kinds.push(kind);
            first
        });
        for address in &chosen {
            self.tests(address).asked_at = Some(now);
        }
        chosen
    }

    /// A server's verdict.
    pub(super) fn on_verdict(&mut self, address: &Multiaddr, server: SourceRange, reachable: bool, now: Instant) {
        let tests = self.tests(address);
        tests.asked_at = None;
        tests.verdicts.retain(|(range, ..)| *range != server);
        if tests.verdicts.len() >= VERDICTS {
            tests.verdicts.remove(0);
        }
        tests.verdicts.push((server, reachable, now));
    }

    fn tests(&mut self, address: &Multiaddr) -> &mut Tests {
        if !self.tests.contains_key(address) && self.tests.len() >= MAX_TESTED {
            let kept: Vec<Multiaddr> = self.candidates().cloned().collect();
            self.tests.retain(|address, _| kept.contains(address));
            if self.tests.len() >= MAX_TESTED {
                self.tests.clear();
            }
        }
        self.tests.entry(address.clone()).or_default()
    }

    fn says_reachable(&self, address: &Multiaddr) -> Option<bool> {
        self.tests.get(address).and_then(Tests::says_reachable)
    }

    /// Where the internet reaches this node, QUIC first.
    pub(super) fn public(&self) -> Vec<Multiaddr> {
        let own = self.own.iter().filter(|address| self.says_reachable(address) != Some(false));
        let mut public: Vec<Multiaddr> = own.cloned().collect();
        for address in self.candidates() {
            if self.says_reachable(address) == Some(true) && !public.contains(address) {
                public.push(address.clone());
            }
        }
        public.sort_by_key(|address| !is_quic(address));
        public
    }

    /// Public addresses to be told to friends: those above, and mapped ones that nobody has tested or found closed.
    pub(super) fn direct(&self) -> Vec<Multiaddr> {
        let mut direct = self.public();
        for address in &self.mapped {
            if self.says_reachable(address).is_none() && !direct.contains(address) {
                direct.push(address.clone());
            }
        }
        direct
    }

    /// What a hole punch aims at, best first: mapped and own addresses, then what was observed last.
    pub(super) fn punch_candidates(&self) -> Vec<Multiaddr> {
        let mut chosen: Vec<Multiaddr> = self.public();
        chosen.extend(self.mapped.iter().chain(&self.own).cloned());
        let mut kinds: HashMap<(bool, bool, Option<Scope>), usize> = HashMap::new();
        for seen in self.observed.iter().rev() {
            let v4 = ip_of(&seen.address).is_some_and(|ip| ip.is_ipv4());
            let count = kinds.entry((is_quic(&seen.address), v4, scope_of(&seen.address))).or_default();
            if *count < PER_KIND && !chosen.contains(&seen.address) {
                *count += 1;
                chosen.push(seen.address.clone());
            }
        }
        let mut unique: Vec<Multiaddr> = Vec::new();
        for address in chosen {
            if !unique.contains(&address) {
                unique.push(address);
            }
        }
        unique.sort_by_key(|address| !is_quic(address));
        unique
    }

    /// Forgets observations that are old and whose address no open connection shows (`fresh` says which do).
    pub(super) fn sweep(&mut self, fresh: impl Fn(&Multiaddr) -> bool, now: Instant) {
        self.observed.retain(|seen| now.saturating_duration_since(seen.at) < OBSERVED_LIFE || fresh(&seen.address));
    }
}

fn is_public(address: &Multiaddr) -> bool {
    scope_of(address) == Some(Scope::Public) && ip_of(address).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn range(n: u8) -> SourceRange {
        SourceRange::of(format!("8.8.{n}.1").parse().unwrap())
    }

    const OWN: &str = "/ip4/9.9.9.9/udp/4/quic-v1";

    #[test]
    fn an_own_public_address_counts_until_it_is_refuted_and_again_when_most_say_so() {
        let now = Instant::now();
        let mut state = Reachability::default();
        state.set_own(&[address(OWN), address("/ip4/192.168.1.1/udp/4/quic-v1")]);
        assert_eq!(state.public(), [address(OWN)]);
        assert!(!state.is_tested());
        state.on_verdict(&address(OWN), range(1), false, now);
        assert!(state.public().is_empty() && state.is_tested());
        state.on_verdict(&address(OWN), range(2), true, now + PAUSE);
        assert_eq!(state.public(), [address(OWN)], "of a tie the latest counts");
        state.on_verdict(&address(OWN), range(3), true, now + 2 * PAUSE);
        state.on_verdict(&address(OWN), range(1), false, now + 3 * PAUSE);
        assert_eq!(state.public(), [address(OWN)], "one liar changes nothing");
    }

    #[test]
    fn observed_and_mapped_addresses_count_only_when_somebody_came_in_there() {
        let now = Instant::now();
        let mut state = Reachability::default();
        let (seen, mapped) = (address("/ip4/9.9.9.9/udp/5000/quic-v1"), address("/ip4/9.9.9.9/udp/6000/quic-v1"));
        state.on_observed(seen.clone(), range(1), now);
        state.set_mapped(vec![mapped.clone(), address("/ip4/10.0.0.1/udp/1/quic-v1")]);
        assert!(state.public().is_empty());
        assert_eq!(state.direct(), std::slice::from_ref(&mapped));
        assert_eq!(state.punch_candidates(), [mapped.clone(), seen.clone()]);
        state.on_verdict(&mapped, range(1), false, now);
        assert!(state.direct().is_empty());
        state.on_verdict(&seen, range(1), true, now);
        assert_eq!(state.public(), [seen]);
        state.forget();
        assert!(state.public().is_empty() && !state.is_tested());
    }

    #[test]
    fn servers_are_asked_only_about_the_address_that_they_see_and_not_too_often() {
        let now = Instant::now();
        let mut state = Reachability::default();
        state.set_own(&[address(OWN), address("/ip4/9.9.9.9/tcp/4"), address("/ip6/2a00::1/udp/4/quic-v1")]);
        let seen = address("/ip4/9.9.9.9/udp/777/quic-v1");
        assert_eq!(state.next_tests(range(1), &seen, now), [address(OWN), address("/ip4/9.9.9.9/tcp/4")]);
        assert!(state.next_tests(range(2), &seen, now).is_empty(), "running");
        state.on_verdict(&address(OWN), range(1), true, now);
        state.on_verdict(&address("/ip4/9.9.9.9/tcp/4"), range(1), true, now);
        assert!(state.next_tests(range(1), &seen, now).is_empty());
        assert_eq!(state.next_tests(range(2), &seen, now).len(), 2, "a second opinion");
        state.on_verdict(&address(OWN), range(2), true, now);
        state.on_verdict(&address("/ip4/9.9.9.9/tcp/4"), range(2), true, now);
        assert!(state.next_tests(range(3), &seen, now).is_empty());
        assert_eq!(state.next_tests(range(3), &seen, now + RETEST).len(), 2);
    }

    #[test]
    fn a_nat_that_shows_everybody_another_port_does_not_fill_the_list() {
        let now = Instant::now();
        let mut state = Reachability::default();
        for n in 0..40u8 {
            state.on_observed(address(&format!("/ip4/9.9.9.9/udp/{}/quic-v1", 1000 + u16::from(n))), range(n), now);
            state.on_observed(address(&format!("/ip4/9.9.9.9/tcp/{}", 1000 + u16::from(n))), range(n), now);
        }
        let candidates = state.punch_candidates();
        assert_eq!(candidates.len(), 2 * PER_KIND);
        assert_eq!(candidates[0], address("/ip4/9.9.9.9/udp/1039/quic-v1"));
        assert_eq!(state.observed().count(), MAX_OBSERVED);
        state.sweep(|_| false, now + OBSERVED_LIFE);
        assert_eq!(state.observed().count(), 0);
    }
}
