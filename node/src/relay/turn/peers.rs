//! To whom a relay carries packets: public addresses and ports above the system's. A relay stands inside its owner's
//! network, and must not open it to others.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports below this belong to services of the system; no call runs there.
const LOWEST_PORT: u16 = 1024;

/// The rules, with what is this relay's own.
#[derive(Clone, Debug)]
pub(crate) struct PeerRules {
    /// Relay to private and loopback addresses, too, also those of the machine (laboratories and tests).
    pub(crate) private: bool,
    /// The machine's own addresses: there, only relayed ports and the calls' port may be reached.
    pub(crate) own: Vec<IpAddr>,
    /// The port of the owner's own calls: a friend whose network lets no UDP out reaches the owner through it.
    pub(crate) calls: Option<u16>,
}

impl PeerRules {
    /// Whether a permission for this address is given at all.
    pub(crate) fn allows_ip(&self, ip: IpAddr) -> bool {
        is_public(ip) || (self.private && is_unicast(ip))
    }

    /// Whether packets go to this address and port; `relayed` are the relayed addresses that there are.
    pub(crate) fn allows(&self, peer: SocketAddr, relayed: &HashSet<SocketAddr>) -> bool {
        let port = if !self.private && self.own.contains(&peer.ip()) {
            relayed.contains(&peer) || self.calls == Some(peer.port())
        } else {
            peer.port() >= LOWEST_PORT
        };
        port && self.allows_ip(peer.ip())
    }
}

/// Whether an address is one of the internet, as far as its number says.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_unicast_v4(ip) && is_public_v4(ip),
        IpAddr::V6(ip) => match embedded_v4(ip) {
            // Through a translator these reach IPv4 addresses, for which the rules of IPv4 hold.
            Some(v4) => is_public(v4.into()),
            None => is_unicast_v6(ip) && is_public_v6(ip),
        },
    }
}

fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_unicast_v4(ip),
        IpAddr::V6(ip) => embedded_v4(ip).map_or_else(|| is_unicast_v6(ip), is_unicast_v4),
    }
}

fn is_unicast_v4(ip: Ipv4Addr) -> bool {
    let first = ip.octets()[0];
    first != 0 && first < 224
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let special = a == 192 && b == 0 && c == 0;
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || shared
        || special
        || benchmark)
}

fn is_unicast_v6(ip: Ipv6Addr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast()
}

/// Global unicast is 2000::/3; all else is local, or not given out.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    segments[0] & 0xe000 == 0x2000 && !(segments[0] == 0x2001 && segments[1] == 0xdb8)
}

/// The IPv4 address inside an IPv6 address that is translated: mapped, NAT64 (RFC 6052), 6to4, Teredo's are refused.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 1, ..] => Some(Ipv4Addr::UNSPECIFIED),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        [0x2001, 0, ..] => Some(Ipv4Addr::UNSPECIFIED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(private: bool) -> PeerRules {
        let own = vec!["203.0.114.9".parse().unwrap(), "2a00:1::9".parse().unwrap()];
        PeerRules { private, own, calls: Some(4000) }
    }

    #[test]
    fn only_public_addresses_are_relayed_to() {
        for ip in ["11.0.0.1", "8.8.8.8", "203.0.114.9", "2a00:1::5", "64:ff9b::808:808"] {
            assert!(rules(false).allows_ip(ip.parse().unwrap()), "{ip}");
        }
        let refused = [
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "2001:0:1::1",
            "2001:db8::1",
            "64:ff9b:1::808:808",
            "::7f00:1",
        ];
        for ip in refused {
            assert!(!rules(false).allows_ip(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn the_switch_for_laboratories_opens_private_ranges_but_no_multicast() {
        for ip in ["10.0.0.1", "127.0.0.1", "::1", "fd12::1"] {
            assert!(rules(true).allows_ip(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1", "::"] {
            assert!(!rules(true).allows_ip(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn low_ports_and_the_own_services_are_no_peers_but_the_own_calls_are() {
        let relayed = HashSet::from(["203.0.114.9:49152", "[2a00:1::9]:49200"].map(|text| text.parse().unwrap()));
        for peer in ["11.0.0.1:1024", "[2a00:1::5]:5000", "203.0.114.9:49152", "[2a00:1::9]:49200", "203.0.114.9:4000"]
        {
            assert!(rules(false).allows(peer.parse().unwrap(), &relayed), "{peer}");
        }
        for peer in ["11.0.0.1:53", "11.0.0.1:0", "203.0.114.9:4001", "[2a00:1::9]:443", "203.0.114.9:49201"] {
            assert!(!rules(false).allows(peer.parse().unwrap(), &relayed), "{peer}");
        }
    }
}
