//! The internet of a lab: sites with their NATs and firewalls, lines between them, and packets under way.
//!
//! A pure state machine: packets and the time go in, packets for hosts come out. [`super::pump`] drives it with TUN
//! devices and the clock. A packet from one site to another passes: the host's line, the site's gates from the inside
//! out, the site's uplink, the public network (no delay of its own), and the same on the other side in reverse.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use super::link::{Conditions, Link};
use super::nat::{Firewall, Nat};
use super::packet::{self, Flow, Proto};
use super::site::{Egress, Kind, V4, V6};

/// Number of a site, from 1. It is in the site's addresses: public `11.<n>.0.0/16` and `2a00:<n>::/32`, home network
/// `192.168.<n>.0/24`.
pub type SiteId = u8;

/// Number of a host.
pub type HostId = usize;

/// Which way a packet goes over a site's uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the public network.
    Out,
    /// From the public network.
    In,
}

/// What a box on the uplink does with a packet, which it may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It is gone.
    Drop,
    /// It goes on, and once more.
    Twice,
}

/// A box on a site's uplink that watches, damages, drops or repeats packets.
pub type Tamper = Box<dyn FnMut(Way, &mut Vec<u8>) -> Verdict + Send>;

/// How many packets may be under way in the whole lab (at 1500 bytes: 100 MB); what comes on top is dropped.
const MAX_PENDING: usize = 65_536;

/// One site.
pub struct Site {
    /// What is between it and the public network.
    pub kind: Kind,
    /// The line to the public network.
    pub up: Link,
    /// The line from the public network.
    pub down: Link,
    /// Whether nothing passes the uplink, without anyone being told.
    pub cut: bool,
    /// Its NATs for IPv4, the innermost first.
    pub nats: Vec<Nat>,
    /// Inside addresses that may send whatever they like.
    pub exempt: Vec<IpAddr>,
    v4_wall: Option<Firewall>,
    v6_wall: Option<Firewall>,
    /// A box on the uplink.
    pub tamper: Option<Tamper>,
    /// Packets that a gate refused.
    pub refused: u64,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Site {
    /// A site with this number.
    pub fn new(id: SiteId, kind: Kind, uplink: Conditions, seed: u64) -> Self {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(u64::from(id) * 16);
        let nats = match &kind.v4 {
            V4::Nat(chain) => super::site::nats(id, chain, 1, seed),
            _ => Vec::new(),
        };
        Self {
            up: Link::new(uplink, seed + 1),
            down: Link::new(uplink, seed + 2),
            cut: false,
            nats,
            exempt: Vec::new(),
            v4_wall: matches!(kind.v4, V4::Public { firewall: true }).then(Firewall::default),
            v6_wall: matches!(kind.v6, V6::Firewalled).then(Firewall::default),
            tamper: None,
            refused: 0,
            kind,
        }
    }

    /// All gates forget what they learnt from packets.
    pub fn forget(&mut self) {
        self.nats.iter_mut().for_each(Nat::forget);
        self.v4_wall.iter_mut().chain(&mut self.v6_wall).for_each(Firewall::forget);
    }

    /// The site's gates, from the inside out. False: refused.
    fn leave(&mut self, now: Instant, packet: &mut [u8]) -> bool {
        let flow = packet::flow(packet);
        let Some((from, _)) = packet::addresses(packet) else { return false };
        if !self.kind.egress.permits(flow.as_ref()) && !self.exempt.contains(&from) {
            return false;
        }
        let wall = if from.is_ipv4() { &mut self.v4_wall } else { &mut self.v6_wall };
        if let (Some(wall), Some(flow)) = (wall, &flow) {
            wall.outbound(now, flow);
        }
        if from.is_ipv6() || self.nats.is_empty() {
            return true;
        }
        let Some(mut flow) = flow else { return false };
        for nat in &mut self.nats {
            let outside = nat.outbound(now, &flow);
            packet::set_source(packet, &flow, outside);
            flow.src = outside;
        }
        true
    }

    /// The site's gates, from the outside in. False: refused.
    fn enter(&mut self, now: Instant, packet: &mut [u8]) -> bool {
        let Some((_, to)) = packet::addresses(packet) else { return false };
        let flow = packet::flow(packet);
        let wall = if to.is_ipv4() { &mut self.v4_wall } else { &mut self.v6_wall };
        if let (Some(wall), Some(flow)) = (wall, &flow)
            && !wall.inbound(now, flow)
        {
            return false;
        }
        if to.is_ipv6() || self.nats.is_empty() {
            return true;
        }
        let Some(mut flow) = flow else { return false };
        for nat in self.nats.iter_mut().rev() {
            let Some(inside) = nat.inbound(now, &flow) else { return false };
            packet::set_destination(packet, &flow, inside);
            flow.dst = inside;
        }
        true
    }
}

/// A host's place.
#[derive(Debug)]
pub struct Place {
    /// Where it is at present.
    pub site: SiteId,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
    /// The line from it.
    pub up: Link,
    /// The line to it.
    pub down: Link,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Gates(HostId),
    Core,
    Site(SiteId),
    Host(HostId),
}

#[derive(Debug)]
struct Pending {
    due: Instant,
    number: u64,
    stage: Stage,
    packet: Vec<u8>,
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.number) == (other.due, other.number)
    }
}
impl Eq for Pending {}
impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// The whole internet of a lab.
#[derive(Debug, Default)]
pub struct Net {
    /// All sites; the first has number 1.
    pub sites: Vec<Site>,
    /// All hosts.
    pub hosts: Vec<Place>,
    pending: BinaryHeap<Reverse<Pending>>,
    number: u64,
}

impl Net {
    /// A site by its number.
    pub fn site(&mut self, id: SiteId) -> &mut Site {
        &mut self.sites[usize::from(id) - 1]
    }

    /// A host sends a packet.
    pub fn send(&mut self, now: Instant, host: HostId, packet: Vec<u8>) {
        let due = self.hosts[host].up.admit(now, packet.len());
        self.later(due, Stage::Gates(host), packet);
    }

    /// When something is to be done next.
    pub fn due(&self) -> Option<Instant> {
        self.pending.peek().map(|Reverse(pending)| pending.due)
    }

    /// Moves on what is due, and gives to `deliver` what has arrived at a host.
    pub fn run(&mut self, now: Instant, mut deliver: impl FnMut(HostId, &[u8])) {
        while self.due().is_some_and(|due| due <= now)
            && let Some(Reverse(pending)) = self.pending.pop()
        {
            // The time of a step is when it was due, not when this machine came to it.
            let at = pending.due;
            match pending.stage {
                Stage::Gates(host) => self.at_gates(at, host, pending.packet),
                Stage::Core => self.at_core(at, pending.packet),
                Stage::Site(site) => self.at_site(at, site, pending.packet),
                Stage::Host(host) => deliver(host, &pending.packet),
            }
        }
    }

    fn later(&mut self, due: [Option<Instant>; 2], stage: Stage, packet: Vec<u8>) {
        for due in due.into_iter().flatten() {
            if self.pending.len() < MAX_PENDING {
                self.number += 1;
                self.pending.push(Reverse(Pending { due, number: self.number, stage, packet: packet.clone() }));
            }
        }
    }

    fn at_gates(&mut self, now: Instant, host: HostId, mut packet: Vec<u8>) {
        let Some((from, to)) = packet::addresses(&packet) else { return };
        let place = &self.hosts[host];
        let id = place.site;
        // What stays at home: multicast to all, else to the one. Nobody sends under a foreign address.
        if to.is_multicast() || is_broadcast(to) {
            let others = (0..self.hosts.len()).filter(|other| *other != host && self.hosts[*other].site == id);
            for other in others.collect::<Vec<_>>() {
                self.hand_over(now, other, packet.clone());
            }
            return;
        }
        if let Some(other) = self.hosts.iter().position(|other| other.site == id && other.addresses.contains(&to)) {
            return self.hand_over(now, other, packet);
        }
        if !place.addresses.contains(&from) || !is_public(to) {
            return;
        }
        let site = self.site(id);
        if !site.leave(now, &mut packet) {
            site.refused += 1;
            return;
        }
        let copies = site.tamper.as_mut().map_or(Verdict::Pass, |tamper| tamper(Way::Out, &mut packet));
        if site.cut || copies == Verdict::Drop {
            return;
        }
        for _ in 0..=usize::from(copies == Verdict::Twice) {
            let due = self.site(id).up.admit(now, packet.len());
            self.later(due, Stage::Core, packet.clone());
        }
    }

    fn at_core(&mut self, now: Instant, packet: Vec<u8>) {
        let Some((from, to)) = packet::addresses(&packet) else { return };
        // A provider lets no foreign sender address through (BCP 38).
        let Some(id) = site_of(to).filter(|id| usize::from(*id) <= self.sites.len() && is_public(from)) else { return };
        let site = self.site(id);
        if site.cut {
            return;
        }
        let due = site.down.admit(now, packet.len());
        self.later(due, Stage::Site(id), packet);
    }

    fn at_site(&mut self, now: Instant, id: SiteId, mut packet: Vec<u8>) {
        let site = self.site(id);
        if site.cut {
            return;
        }
        let verdict = site.tamper.as_mut().map_or(Verdict::Pass, |tamper| tamper(Way::In, &mut packet));
        if verdict == Verdict::Drop {
            return;
        }
        if !site.enter(now, &mut packet) {
            site.refused += 1;
            return;
        }
        let Some((_, to)) = packet::addresses(&packet) else { return };
        if let Some(host) = self.hosts.iter().position(|host| host.site == id && host.addresses.contains(&to)) {
            for _ in 0..=usize::from(verdict == Verdict::Twice) {
                self.hand_over(now, host, packet.clone());
            }
        }
    }

    fn hand_over(&mut self, now: Instant, host: HostId, packet: Vec<u8>) {
        let due = self.hosts[host].down.admit(now, packet.len());
        self.later(due, Stage::Host(host), packet);
    }
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[3] == 255)
}

/// The site that an address belongs to.
fn site_of(address: IpAddr) -> Option<SiteId> {
    match address {
        IpAddr::V4(v4) => (v4.octets()[0] == 11).then_some(v4.octets()[1]),
        IpAddr::V6(v6) => (v6.segments()[0] == 0x2a00).then(|| u8::try_from(v6.segments()[1]).ok()).flatten(),
    }
    .filter(|id| *id > 0)
}

fn is_public(address: IpAddr) -> bool {
    site_of(address).is_some()
}

impl Egress {
    /// Whether a packet may leave.
    fn permits(&self, flow: Option<&Flow>) -> bool {
        match (self, flow.map(|flow| (flow.proto, flow.dst.port()))) {
            (Self::All, _) => true,
            (Self::NoUdp, Some((proto, _))) => proto != Proto::Udp,
            (Self::OnlyTcp(ports), Some((Proto::Tcp, port))) => ports.contains(&port),
            (Self::NoUdp | Self::OnlyTcp(_), _) => false,
        }
    }
}
