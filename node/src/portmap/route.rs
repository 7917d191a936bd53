//! Where this machine stands: its default gateways, and the addresses with which it speaks to the world.
//!
//! On Linux the gateways are read from `/proc/net/route` and `/proc/net/ipv6_route`; elsewhere none is known, and only the
//! UPnP search finds the router. Asking the system for a source address (a connected UDP socket) sends nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// Port of PCP and NAT-PMP (RFC 6887, 19.1).
const PCP_PORT: u16 = 5351;
/// Where UPnP devices listen for searches (UPnP Device Architecture 1.1, 1.3.2).
const SSDP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), 1900);
/// Routing tables are read up to this size; a full table of the internet is no home.
const MAX_TABLE: usize = 256 * 1024;

/// One address family's way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Our address towards the world.
    pub local: IpAddr,
    /// Where the gateway takes PCP and NAT-PMP, if the gateway is known.
    pub gateway: Option<SocketAddr>,
}

/// Where this machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// IPv4, if there is a way out.
    pub v4: Option<Side>,
    /// IPv6, if there is a way out.
    pub v6: Option<Side>,
    /// Where UPnP searches go.
    pub ssdp: SocketAddr,
}

impl Place {
    /// Asks the system.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let gateway4 = table("/proc/net/route").and_then(|text| default_v4(&text));
        let gateway6 = table("/proc/net/ipv6_route").and_then(|text| default_v6(&text)).map(|(ip, interface)| {
            let scope = if ip.is_unicast_link_local() { interface_index(&interface) } else { 0 };
            SocketAddr::V6(SocketAddrV6::new(ip, PCP_PORT, 0, scope))
        });
        // Documentation addresses: they are routed like the internet, and a datagram is never sent.
        let towards4 = gateway4.unwrap_or(Ipv4Addr::new(192, 0, 2, 1));
        let local4 = source(SocketAddr::new(towards4.into(), PCP_PORT));
        let local6 = source(SocketAddr::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), PCP_PORT));
        Self {
            v4: local4.map(|local| Side { local, gateway: gateway4.map(|ip| SocketAddr::new(ip.into(), PCP_PORT)) }),
            v6: local6.map(|local| Side { local, gateway: gateway6 }),
            ssdp: SSDP,
        }
    }
}

fn table(path: &str) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_TABLE as u64).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The address with which the system would speak to `to`; `None` without a route.
fn source(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

#[cfg(target_os = "linux")]
fn interface_index(name: &str) -> u32 {
    std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn interface_index(_: &str) -> u32 {
    0
}

/// The gateway of the default route with the lowest metric in the text of `/proc/net/route`: columns of hexadecimal
/// numbers in the machine's byte order (Iface Destination Gateway Flags RefCnt Use Metric Mask …).
fn default_v4(text: &str) -> Option<Ipv4Addr> {
    const UP_AND_GATEWAY: u32 = 0x3;
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().take(8).collect();
        let [interface, destination, gateway, flags, _, _, metric, mask] = fields[..] else { return None };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let usable = interface_is_real(interface)
            && hex(destination)? == 0
            && hex(mask)? == 0
            && hex(flags)? & UP_AND_GATEWAY == UP_AND_GATEWAY;
        let gateway = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        (usable && !gateway.is_unspecified()).then_some((metric.parse::<u32>().ok()?, gateway))
    };
    text.lines().filter_map(route).min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

/// Gateway and interface of the default route with the lowest metric in the text of `/proc/net/ipv6_route`: columns of
/// hexadecimal numbers (destination, length, source, length, next hop, metric, references, uses, flags, interface).
fn default_v6(text: &str) -> Option<(Ipv6Addr, String)> {
    const UP_AND_GATEWAY: u32 = 0x3;
    const REJECT: u32 = 0x200;
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().take(10).collect();
        let [destination, length, _, _, hop, metric, _, _, flags, interface] = fields[..] else { return None };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let hop = Ipv6Addr::from(u128::from_str_radix(hop, 16).ok()?);
        let usable = interface_is_real(interface)
            && u128::from_str_radix(destination, 16).ok()? == 0
            && u32::from_str_radix(length, 16).ok()? == 0
            && flags & UP_AND_GATEWAY == UP_AND_GATEWAY
            && flags & REJECT == 0
            && !hop.is_unspecified();
        usable.then_some((u32::from_str_radix(metric, 16).ok()?, hop, interface.to_owned()))
    };
    text.lines().filter_map(route).min_by_key(|(metric, ..)| *metric).map(|(_, hop, interface)| (hop, interface))
}

fn interface_is_real(name: &str) -> bool {
    name != "lo" && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_gateway_is_that_of_the_lowest_metric() {
        let text = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                    wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                    eth0\t00000000\tFE01000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                    eth0\t0001000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(default_v4(text), Some(Ipv4Addr::new(10, 0, 1, 254)));
    }

    #[test]
    fn a_default_route_without_a_gateway_or_in_a_broken_table_is_none() {
        let point_to_point = "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(default_v4(point_to_point), None);
        assert_eq!(default_v4("eth0\tx\ty\n\n"), None);
        assert_eq!(default_v6("zz\n0000 00\n"), None);
    }

    #[test]
    fn the_default_gateway_of_ipv6_is_found_with_its_interface() {
        let zero = "0".repeat(32);
        let text = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );
        assert_eq!(default_v6(&text), Some(("fe80::1".parse().unwrap(), "eth0".to_owned())));
    }
}
