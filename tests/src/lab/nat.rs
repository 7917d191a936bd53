//! Network address translators and stateful firewalls, in the words of RFC 4787: how they map, how they filter.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::packet::{Flow, Proto};

/// On what a mapping or a filter depends (RFC 4787, sections 4.1 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depends {
    /// On nothing outside.
    Nothing,
    /// On the address of the other side.
    Address,
    /// On the address and port of the other side.
    AddressAndPort,
}

/// Which outer port a mapping gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The inner one if it is free, as Linux does.
    Kept,
    /// Any.
    Moved,
}

/// What a NAT does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How it maps.
    pub mapping: Depends,
    /// What it lets in.
    pub filtering: Depends,
    /// Which ports it gives.
    pub ports: Ports,
}

impl Behaviour {
    /// Maps and filters independently of the other side ("full cone").
    pub const ENDPOINT_INDEPENDENT: Self =
        Self { mapping: Depends::Nothing, filtering: Depends::Nothing, ports: Ports::Moved };
    /// As Linux masquerades: the port is kept, the same for all, and only who was spoken to may answer.
    pub const PORT_RESTRICTED: Self =
        Self { mapping: Depends::Nothing, filtering: Depends::AddressAndPort, ports: Ports::Kept };
    /// The same, with ports moved: what a carrier's NAT does at least (RFC 6888).
    pub const CARRIER: Self =
        Self { mapping: Depends::Nothing, filtering: Depends::AddressAndPort, ports: Ports::Moved };
    /// A new port for each other side, as Linux does with `fully-random` ("symmetric").
    pub const SYMMETRIC: Self =
        Self { mapping: Depends::AddressAndPort, filtering: Depends::AddressAndPort, ports: Ports::Moved };
}

/// How long a NAT remembers a flow of UDP on which nothing passes, and what counts as passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// While nothing came back yet.
    pub udp: Duration,
    /// Once both have spoken.
    pub udp_answered: Duration,
    /// Whether what comes in counts; what leaves always does (RFC 4787, REQ-6).
    pub inbound: bool,
}

impl Memory {
    /// As Linux does by default (`nf_conntrack_udp_timeout`, `…_stream`).
    pub const LINUX: Self =
        Self { udp: Duration::from_secs(30), udp_answered: Duration::from_secs(120), inbound: true };
    /// As the worst home routers do: half a minute at any time, and only what leaves counts.
    pub const SHORT: Self =
        Self { udp: Duration::from_secs(30), udp_answered: Duration::from_secs(30), inbound: false };
}

/// TCP, nothing came back yet (`nf_conntrack_tcp_timeout_syn_sent`).
const TCP: Duration = Duration::from_secs(120);
/// TCP, both have spoken (RFC 5382: at least this long).
const TCP_STREAM: Duration = Duration::from_secs(7440);

/// What passes between an inside and an outside endpoint.
#[derive(Clone, Copy, Debug)]
struct Session {
    last: Instant,
    answered: bool,
}

impl Session {
    fn alive(&self, proto: Proto, memory: Memory, now: Instant) -> bool {
        let lifetime = match (proto, self.answered) {
            (Proto::Tcp, false) => TCP,
            (Proto::Tcp, true) => TCP_STREAM,
            (_, false) => memory.udp,
            (_, true) => memory.udp_answered,
        };
        now.saturating_duration_since(self.last) < lifetime
    }
}

#[derive(Debug)]
struct Mapping {
    proto: Proto,
    inside: SocketAddr,
    outside: u16,
    /// Set if the mapping holds for one other side only.
    only: Option<SocketAddr>,
    sessions: HashMap<SocketAddr, Session>,
    /// Made by hand or by a port mapping protocol: anyone may come in, and it does not end by itself.
    forwarded: bool,
}

impl Mapping {
    fn alive(&mut self, memory: Memory, now: Instant) -> bool {
        let proto = self.proto;
        self.sessions.retain(|_, session| session.alive(proto, memory, now));
        self.forwarded || !self.sessions.is_empty()
    }
}

/// One NAT for IPv4, with one outer address.
#[derive(Debug)]
pub struct Nat {
    behaviour: Behaviour,
    memory: Memory,
    address: Ipv4Addr,
    mappings: Vec<Mapping>,
    rng: StdRng,
}

impl Nat {
    /// A NAT with this outer address.
    pub fn new(behaviour: Behaviour, address: Ipv4Addr, seed: u64) -> Self {
        let (memory, rng) = (Memory::LINUX, StdRng::seed_from_u64(seed));
        Self { behaviour, memory, address, mappings: Vec::new(), rng }
    }

    /// Gives it another memory.
    pub fn remember(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// The same NAT with another memory.
    #[must_use]
    pub fn remembering(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// The outer address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Gives it another outer address; all mappings are forgotten, forwarded ones too.
    pub fn readdress(&mut self, address: Ipv4Addr) {
        self.address = address;
        self.mappings.clear();
    }

    /// Forgets what it learnt from packets, as after a restart.
    pub fn forget(&mut self) {
        self.mappings.retain(|mapping| mapping.forwarded);
        for mapping in &mut self.mappings {
            mapping.sessions.clear();
        }
    }

    /// Forwards an outer port to an inside endpoint; `None` takes it back. False if another has the port.
    pub fn forward(&mut self, proto: Proto, outside: u16, inside: Option<SocketAddr>) -> bool {
        let same = |mapping: &Mapping| mapping.proto == proto && mapping.outside == outside;
        let Some(inside) = inside else {
            self.mappings.retain(|mapping| !(same(mapping) && mapping.forwarded));
            return true;
        };
        if self.mappings.iter().any(|mapping| same(mapping) && mapping.inside != inside) {
            return false;
        }
        self.mappings.retain(|mapping| !same(mapping));
        let sessions = HashMap::new();
        self.mappings.push(Mapping { proto, inside, outside, only: None, sessions, forwarded: true });
        true
    }

    /// A packet leaves: from which outer endpoint.
    pub fn outbound(&mut self, now: Instant, flow: &Flow) -> SocketAddr {
        let memory = self.memory;
        self.mappings.retain_mut(|mapping| mapping.alive(memory, now));
        let only = match self.behaviour.mapping {
            Depends::Nothing => None,
            Depends::Address => Some(SocketAddr::new(flow.dst.ip(), 0)),
            Depends::AddressAndPort => Some(flow.dst),
        };
        let found = self.mappings.iter().position(|mapping| {
            mapping.proto == flow.proto && mapping.inside == flow.src && (mapping.forwarded || mapping.only == only)
        });
        let at = found.unwrap_or_else(|| {
            let outside = self.port(flow.proto, flow.src.port());
            let sessions = HashMap::new();
            let mapping = Mapping { proto: flow.proto, inside: flow.src, outside, only, sessions, forwarded: false };
            self.mappings.push(mapping);
            self.mappings.len() - 1
        });
        let mapping = &mut self.mappings[at];
        let session = mapping.sessions.entry(flow.dst).or_insert(Session { last: now, answered: false });
        session.last = now;
        SocketAddr::new(IpAddr::V4(self.address), mapping.outside)
    }

    /// A packet wants in: to which inside endpoint, if it may.
    pub fn inbound(&mut self, now: Instant, flow: &Flow) -> Option<SocketAddr> {
        if flow.dst.ip() != IpAddr::V4(self.address) {
            return None;
        }
        let memory = self.memory;
        self.mappings.retain_mut(|mapping| mapping.alive(memory, now));
        let filtering = self.behaviour.filtering;
        let mapping = self
            .mappings
            .iter_mut()
            .find(|mapping| mapping.proto == flow.proto && mapping.outside == flow.dst.port())?;
        let known = |wanted: &dyn Fn(&SocketAddr) -> bool| mapping.sessions.keys().any(wanted);
        let may = mapping.forwarded
            || match filtering {
                Depends::Nothing => true,
                Depends::Address => known(&|other| other.ip() == flow.src.ip()),
                Depends::AddressAndPort => known(&|other| *other == flow.src),
            };
        // What comes in may keep an open session alive, and opens none by itself.
        if let Some(session) = mapping.sessions.get_mut(&flow.src).filter(|_| may) {
            session.answered = true;
            if memory.inbound || flow.proto == Proto::Tcp {
                session.last = now;
            }
        }
        may.then_some(mapping.inside)
    }

    fn port(&mut self, proto: Proto, wanted: u16) -> u16 {
        let taken = |port: u16| self.mappings.iter().any(|mapping| mapping.proto == proto && mapping.outside == port);
        if self.behaviour.ports == Ports::Kept && !taken(wanted) {
            return wanted;
        }
        // A lab has some hundred mappings: a free one among 64,000 is found soon.
        loop {
            let port = self.rng.random_range(1024..=u16::MAX);
            if !taken(port) {
                return port;
            }
        }
    }

    /// What is mapped at present, a line each.
    pub fn lines(&self) -> Vec<String> {
        let line = |mapping: &Mapping| {
            let others: Vec<String> = mapping.sessions.keys().map(ToString::to_string).collect();
            let forwarded = if mapping.forwarded { " forwarded" } else { "" };
            let Mapping { proto, inside, outside, .. } = mapping;
            format!("{proto:?} {inside} as {}:{outside}{forwarded} with {}", self.address, others.join(", "))
        };
        self.mappings.iter().map(line).collect()
    }
}

/// A firewall without translation: who was spoken to may answer (RFC 6092).
#[derive(Debug, Default)]
pub struct Firewall {
    sessions: HashMap<(Proto, SocketAddr, SocketAddr), Session>,
}

impl Firewall {
    /// A packet leaves.
    pub fn outbound(&mut self, now: Instant, flow: &Flow) {
        self.sessions.retain(|(proto, _, _), session| session.alive(*proto, Memory::LINUX, now));
        let session = self.sessions.entry((flow.proto, flow.src, flow.dst));
        session.or_insert(Session { last: now, answered: false }).last = now;
    }

    /// Whether a packet may come in.
    pub fn inbound(&mut self, now: Instant, flow: &Flow) -> bool {
        match self.sessions.get_mut(&(flow.proto, flow.dst, flow.src)) {
            Some(session) if session.alive(flow.proto, Memory::LINUX, now) => {
                *session = Session { last: now, answered: true };
                true
            }
            _ => false,
        }
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.sessions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: Ipv4Addr = Ipv4Addr::new(11, 1, 0, 1);

    fn udp(src: &str, dst: &str) -> Flow {
        Flow { proto: Proto::Udp, src: src.parse().unwrap(), dst: dst.parse().unwrap() }
    }

    /// Speaks to a server and gives back the outer endpoint.
    fn speak(nat: &mut Nat, now: Instant, server: &str) -> SocketAddr {
        nat.outbound(now, &udp("192.168.1.2:5000", server))
    }

    fn may(nat: &mut Nat, now: Instant, from: &str, to: SocketAddr) -> bool {
        nat.inbound(now, &udp(from, &to.to_string())).is_some()
    }

    #[test]
    fn endpoint_independent_maps_once_and_lets_anyone_in() {
        let (mut nat, now) = (Nat::new(Behaviour::ENDPOINT_INDEPENDENT, OUTER, 1), Instant::now());
        let outside = speak(&mut nat, now, "11.2.0.1:1");
        assert_eq!(outside, speak(&mut nat, now, "11.3.0.1:1"));
        assert!(may(&mut nat, now, "11.9.0.1:9", outside));
    }

    #[test]
    fn port_restricted_keeps_the_port_and_lets_only_the_addressed_endpoint_in() {
        let (mut nat, now) = (Nat::new(Behaviour::PORT_RESTRICTED, OUTER, 1), Instant::now());
        let outside = speak(&mut nat, now, "11.2.0.1:1");
        assert_eq!(outside.port(), 5000);
        assert!(may(&mut nat, now, "11.2.0.1:1", outside));
        assert!(!may(&mut nat, now, "11.2.0.1:2", outside));
        assert!(!may(&mut nat, now, "11.3.0.1:1", outside));
    }

    #[test]
    fn symmetric_maps_each_other_side_to_another_port() {
        let (mut nat, now) = (Nat::new(Behaviour::SYMMETRIC, OUTER, 1), Instant::now());
        let outside = speak(&mut nat, now, "11.2.0.1:1");
        assert_ne!(outside, speak(&mut nat, now, "11.2.0.1:2"));
        assert_eq!(outside, speak(&mut nat, now, "11.2.0.1:1"));
        assert!(!may(&mut nat, now, "11.2.0.1:2", outside));
    }

    #[test]
    fn a_mapping_ends_when_nothing_passes_and_lives_while_something_does() {
        let (mut nat, now) = (Nat::new(Behaviour::PORT_RESTRICTED, OUTER, 1), Instant::now());
        let outside = speak(&mut nat, now, "11.2.0.1:1");
        let later = now + Duration::from_secs(29);
        assert!(may(&mut nat, later, "11.2.0.1:1", outside));
        assert!(may(&mut nat, later + Duration::from_secs(119), "11.2.0.1:1", outside));
        assert!(!may(&mut nat, later + Duration::from_secs(240), "11.2.0.1:1", outside));
    }

    #[test]
    fn a_forgetful_nat_counts_only_what_leaves() {
        let now = Instant::now();
        let mut nat = Nat::new(Behaviour::PORT_RESTRICTED, OUTER, 1).remembering(Memory::SHORT);
        let outside = speak(&mut nat, now, "11.2.0.1:1");
        assert!(may(&mut nat, now + Duration::from_secs(29), "11.2.0.1:1", outside));
        assert!(!may(&mut nat, now + Duration::from_secs(31), "11.2.0.1:1", outside));
    }

    #[test]
    fn a_forwarded_port_lets_anyone_in_until_it_is_taken_back() {
        let (mut nat, now) = (Nat::new(Behaviour::PORT_RESTRICTED, OUTER, 1), Instant::now());
        let inside: SocketAddr = "192.168.1.2:5000".parse().unwrap();
        let outside = SocketAddr::new(IpAddr::V4(OUTER), 6000);
        assert!(nat.forward(Proto::Udp, 6000, Some(inside)));
        assert!(!nat.forward(Proto::Udp, 6000, Some("192.168.1.3:5000".parse().unwrap())));
        nat.forget();
        assert!(may(&mut nat, now, "11.3.0.1:7", outside));
        assert!(nat.forward(Proto::Udp, 6000, None));
        assert!(!may(&mut nat, now, "11.3.0.1:7", outside));
    }

    #[test]
    fn a_firewall_lets_in_only_who_was_spoken_to() {
        let (mut wall, now) = (Firewall::default(), Instant::now());
        wall.outbound(now, &udp("[2a00:1::2]:5000", "[2a00:2::2]:1"));
        assert!(wall.inbound(now, &udp("[2a00:2::2]:1", "[2a00:1::2]:5000")));
        assert!(!wall.inbound(now, &udp("[2a00:2::2]:2", "[2a00:1::2]:5000")));
        wall.forget();
        assert!(!wall.inbound(now, &udp("[2a00:2::2]:1", "[2a00:1::2]:5000")));
    }
}
