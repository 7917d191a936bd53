//! Which part of the network an address belongs to, and which addresses may be used or told to whom.
//!
//! A node that tells everybody its 127.0.0.1 and 10.x addresses makes strangers dial their own machines, and shows how
//! its home network is numbered. So every address has a [`Scope`], and an address goes only to peers that were reached
//! in the same scope, or in any scope if it is public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use libp2p::{
    PeerId,
    multiaddr::{Multiaddr, Protocol},
};

/// How far an address reaches, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// This machine only.
    Loopback,
    /// This site: private, link-local, shared (RFC 1918, 3927, 4193, 4291, 6598).
    Private,
    /// The internet.
    Public,
}

/// The network that an address lies in, for limits per source: one machine for loopback, /24 for IPv4, /48 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceRange([u8; 7]);

impl SourceRange {
    /// The network of an address.
    pub fn of(ip: IpAddr) -> Self {
        let mut bytes = [0; 7];
        match canonical(ip) {
            ip if scope_of_ip(ip) == Some(Scope::Loopback) => bytes[0] = 1,
            IpAddr::V4(v4) => {
                bytes[0] = 4;
                bytes[1..4].copy_from_slice(&v4.octets()[..3]);
            }
            IpAddr::V6(v6) => {
                bytes[0] = 6;
                bytes[1..7].copy_from_slice(&v6.octets()[..6]);
            }
        }
        Self(bytes)
    }

    /// Its first address.
    pub fn first(&self) -> IpAddr {
        let [kind, a, b, c, d, e, f] = self.0;
        match kind {
            4 => Ipv4Addr::new(a, b, c, 0).into(),
            6 => {
                let [x, y, z] = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
                Ipv6Addr::new(x, y, z, 0, 0, 0, 0, 0).into()
            }
            _ => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

impl std::fmt::Display for SourceRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [kind, a, b, c, d, e, g] = self.0;
        match kind {
            4 => write!(f, "{a}.{b}.{c}.0/24"),
            6 => write!(f, "{a:x}{b:02x}:{c:x}{d:02x}:{e:x}{g:02x}::/48"),
            _ => f.write_str("loopback"),
        }
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn scope_of_v4(ip: Ipv4Addr) -> Option<Scope> {
    let [a, b, ..] = ip.octets();
    if ip.is_loopback() {
        Some(Scope::Loopback)
    } else if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || a == 0 || a >= 240 {
        None
    } else if ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b)) {
        Some(Scope::Private)
    } else {
        Some(Scope::Public)
    }
}

fn scope_of_v6(ip: Ipv6Addr) -> Option<Scope> {
    if ip.is_loopback() {
        Some(Scope::Loopback)
    } else if ip.is_unspecified() || ip.is_multicast() {
        None
    } else if ip.is_unicast_link_local() || ip.is_unique_local() {
        Some(Scope::Private)
    } else {
        Some(Scope::Public)
    }
}

/// The scope of an IP address; `None` for one that no peer can have (unspecified, multicast, broadcast, reserved).
pub(super) fn scope_of_ip(ip: IpAddr) -> Option<Scope> {
    match canonical(ip) {
        IpAddr::V4(v4) => scope_of_v4(v4),
        IpAddr::V6(v6) => scope_of_v6(v6),
    }
}

/// The IP address at the head of a multiaddr, if it has one.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(canonical(IpAddr::V6(ip))),
        _ => None,
    }
}

/// The public network of a multiaddr that begins with a public IP address.
pub(super) fn public_range(address: &Multiaddr) -> Option<SourceRange> {
    let ip = ip_of(address)?;
    (scope_of_ip(ip) == Some(Scope::Public)).then(|| SourceRange::of(ip))
}

/// The address of ours from which packets go to another, by the system's routes; none if there is no way there.
pub(super) fn source_towards(remote: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Nothing is sent: a connected UDP socket only knows its route. Any port will do.
    socket.connect((remote, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The scope of a multiaddr; names count as public. `None` for one that cannot be dialled directly: an address through
/// a relay has no scope of its own, however public the relay is (a node that took its circuits for public addresses
/// would serve the DHT from behind its NAT).
pub(super) fn scope_of(address: &Multiaddr) -> Option<Scope> {
    if is_circuit(address) {
        return None;
    }
    match address.iter().next()? {
        Protocol::Ip4(_) | Protocol::Ip6(_) => scope_of_ip(ip_of(address)?),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_) => Some(Scope::Public),
        _ => None,
    }
}

/// Whether this is one of our kinds of transport address with a port that can be dialled.
pub(super) fn is_dialable(address: &Multiaddr) -> bool {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    // An IPv6 link-local address means nothing without the interface, which a multiaddr of ours does not name.
    let nowhere = matches!(ip_of(address), Some(IpAddr::V6(ip)) if ip.is_unicast_link_local());
    scope_of(address).is_some() && !nowhere && port.is_some_and(|port| port != 0)
}

/// Whether an address leads through a relay.
pub(super) fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether it is a QUIC address.
pub(super) fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::QuicV1)
}

/// An address through a relay, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Circuit {
    /// Where the relay is, without its PeerId.
    pub(super) address: Multiaddr,
    /// Which node relays.
    pub(super) relay: PeerId,
    /// Whom it leads to, if the address says so.
    pub(super) target: Option<PeerId>,
}

impl Circuit {
    /// Reads `<address>/p2p/<relay>/p2p-circuit[/p2p/<target>]`, and nothing else: no circuits through circuits, and no
    /// transport that we would not dial.
    pub(super) fn of(address: &Multiaddr) -> Option<Self> {
        let mut transport = Multiaddr::empty();
        let mut parts = address.iter();
        let relay = loop {
            match parts.next()? {
                Protocol::P2p(relay) => break relay,
                Protocol::P2pCircuit => return None,
                part => transport.push(part),
            }
        };
        if parts.next()? != Protocol::P2pCircuit || !is_dialable(&transport) {
            return None;
        }
        let target = match parts.next() {
            None => None,
            Some(Protocol::P2p(target)) => Some(target),
            Some(_) => return None,
        };
        parts.next().is_none().then_some(Self { address: transport, relay, target })
    }

    /// The address again.
    pub(super) fn to_multiaddr(&self) -> Multiaddr {
        let circuit = self.address.clone().with(Protocol::P2p(self.relay)).with(Protocol::P2pCircuit);
        match self.target {
            Some(target) => circuit.with(Protocol::P2p(target)),
            None => circuit,
        }
    }
}

/// Which address families reach beyond this machine from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Families {
    known: bool,
    v4: bool,
    v6_near: bool,
    v6_public: bool,
}

impl Families {
    /// Judges by the addresses that this node has. Without any beyond loopback nothing is known, and everything is tried.
    pub(super) fn of<'a>(listening: impl IntoIterator<Item = &'a Multiaddr>) -> Self {
        let mut families = Self::default();
        for address in listening {
            match (ip_of(address), scope_of(address)) {
                (_, None | Some(Scope::Loopback)) | (None, _) => continue,
                (Some(IpAddr::V4(_)), _) => families.v4 = true,
                (Some(IpAddr::V6(_)), Some(Scope::Private)) => families.v6_near = true,
                (Some(IpAddr::V6(_)), Some(Scope::Public)) => families.v6_public = true,
            }
            families.known = true;
        }
        families
    }

    /// Whether there is an address of our own from which this one could be reached. Names may be of any family.
    pub(super) fn reach(&self, address: &Multiaddr) -> bool {
        match (ip_of(address), scope_of(address)) {
            _ if !self.known => true,
            (Some(IpAddr::V4(_)), Some(Scope::Private | Scope::Public)) => self.v4,
            (Some(IpAddr::V6(_)), Some(Scope::Private)) => self.v6_near || self.v6_public,
            (Some(IpAddr::V6(_)), Some(Scope::Public)) => self.v6_public,
            _ => true,
        }
    }
}

/// The address without a trailing `/p2p/<peer>`: PeerIds change at every start, addresses stay.
pub(super) fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    address
}

/// Whether an address may be kept or dialled, given the widest scope in which a DHT node was `confirmed`.
///
/// A node that is on the internet's DHT has no use for another's LAN addresses, one on a LAN's none for loopback: there
/// they would mean other machines, or itself.
pub(super) fn is_useful(address: &Multiaddr, confirmed: Option<Scope>) -> bool {
    is_dialable(address) && scope_of(address) >= confirmed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Option<Scope> {
        scope_of(&text.parse().unwrap())
    }

    #[test]
    fn packets_to_this_machine_come_from_it() {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(source_towards(here), Some(here));
    }

    #[test]
    fn addresses_fall_into_the_scope_that_can_reach_them() {
        assert_eq!(scope("/ip4/127.0.0.1/tcp/1"), Some(Scope::Loopback));
        assert_eq!(scope("/ip6/::1/udp/1/quic-v1"), Some(Scope::Loopback));
        assert_eq!(scope("/ip6/::ffff:127.0.0.1/tcp/1"), Some(Scope::Loopback));
        assert_eq!(scope("/ip4/192.168.1.5/tcp/1"), Some(Scope::Private));
        assert_eq!(scope("/ip4/100.64.0.1/tcp/1"), Some(Scope::Private));
        assert_eq!(scope("/ip6/fe80::1/tcp/1"), Some(Scope::Private));
        assert_eq!(scope("/ip4/9.9.9.9/tcp/1"), Some(Scope::Public));
        assert_eq!(scope("/dns4/example.org/tcp/1"), Some(Scope::Public));
        assert_eq!(scope("/ip4/0.0.0.0/tcp/1"), None);
        assert_eq!(scope("/ip4/224.0.0.1/tcp/1"), None);
        assert_eq!(scope("/memory/1"), None);
    }

    #[test]
    fn addresses_narrower_than_the_dht_that_was_met_are_not_used() {
        let (loopback, private, public) = ("/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/9.9.9.9/udp/4/quic-v1");
        let useful = |text: &str, confirmed| is_useful(&text.parse().unwrap(), confirmed);
        assert!(useful(loopback, None));
        assert!(useful(loopback, Some(Scope::Loopback)));
        assert!(!useful(loopback, Some(Scope::Private)));
        assert!(useful(private, Some(Scope::Private)));
        assert!(!useful(private, Some(Scope::Public)));
        assert!(useful(public, Some(Scope::Public)));
        assert!(!useful("/ip4/9.9.9.9/tcp/0", None));
        assert!(!useful("/ip6/fe80::1/tcp/1", None));
    }

    #[test]
    fn an_address_through_a_relay_is_in_no_scope_and_is_taken_apart() {
        let relay = PeerId::random();
        let target = PeerId::random();
        let circuit: Multiaddr =
            format!("/ip4/9.9.9.9/udp/4/quic-v1/p2p/{relay}/p2p-circuit/p2p/{target}").parse().unwrap();
        assert_eq!(scope_of(&circuit), None);
        assert!(!is_dialable(&circuit));
        let read = Circuit::of(&circuit).unwrap();
        assert_eq!((read.relay, read.target), (relay, Some(target)));
        assert_eq!(read.address.to_string(), "/ip4/9.9.9.9/udp/4/quic-v1");
        assert_eq!(read.to_multiaddr(), circuit);
        for bad in [
            format!("/ip4/9.9.9.9/tcp/4/p2p/{relay}"),
            "/ip4/9.9.9.9/tcp/4/p2p-circuit".to_owned(),
            format!("/p2p/{relay}/p2p-circuit"),
            format!("/ip4/9.9.9.9/tcp/4/p2p/{relay}/p2p-circuit/p2p/{target}/p2p-circuit"),
            format!("/memory/1/p2p/{relay}/p2p-circuit"),
        ] {
            assert_eq!(Circuit::of(&bad.parse().unwrap()), None, "{bad}");
        }
    }

    #[test]
    fn families_without_an_address_of_our_own_are_not_dialled() {
        let families = |own: &[&str]| {
            let own: Vec<Multiaddr> = own.iter().map(|text| text.parse().unwrap()).collect();
            Families::of(&own)
        };
        let reach = |families: Families, text: &str| families.reach(&text.parse().unwrap());
        let (v4, v6) = ("/ip4/9.9.9.9/tcp/1", "/ip6/2a00::1/tcp/1");
        let old = families(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip6/fe80::1/tcp/1"]);
        assert!(reach(old, v4) && !reach(old, v6));
        assert!(reach(old, "/dns4/example.org/tcp/1"));
        let new = families(&["/ip6/2a00::7/tcp/1"]);
        assert!(!reach(new, v4) && reach(new, v6));
        let unknown = families(&["/ip4/127.0.0.1/tcp/1"]);
        assert!(reach(unknown, v4) && reach(unknown, v6));
    }

    #[test]
    fn neighbours_share_a_source_range() {
        let range = |text: &str| SourceRange::of(text.parse().unwrap());
        assert_eq!(range("9.9.9.1"), range("9.9.9.200"));
        assert_ne!(range("9.9.9.1"), range("9.9.8.1"));
        assert_eq!(range("127.0.0.1"), range("127.9.0.1"));
        assert_eq!(range("::ffff:9.9.9.1"), range("9.9.9.2"));
        assert_eq!(range("2001:db8:1:2::1"), range("2001:db8:1:3::1"));
        assert_ne!(range("2001:db8:1::1"), range("2001:db8:2::1"));
        for text in ["9.9.9.1", "2001:db8:1:2::1", "127.0.0.1"] {
            assert_eq!(SourceRange::of(range(text).first()), range(text));
        }
    }
}
