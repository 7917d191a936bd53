//! IP packets as far as routers need them: who talks to whom, and other addresses and ports in their place.
//!
//! Checksums are corrected in place (RFC 1624), never computed anew: a packet that was damaged on purpose stays so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a NAT or firewall tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proto {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// Ping; its identifier stands for the port of the side that asked.
    Echo,
}

/// From where to where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The transport.
    pub proto: Proto,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
}

const UDP: u8 = 17;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// Sender and receiver of an IP packet.
pub fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => Some((v4(packet, 12).into(), v4(packet, 16).into())),
        6 if packet.len() >= 40 => Some((v6(packet, 8).into(), v6(packet, 24).into())),
        _ => None,
    }
}

fn v4(packet: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3])
}

fn v6(packet: &[u8], at: usize) -> Ipv6Addr {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&packet[at..at + 16]);
    bytes.into()
}

/// Where the transport header begins, and its protocol number. Fragments have none: no router here joins them.
fn transport(packet: &[u8]) -> Option<(usize, u8)> {
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 => {
            let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff;
            (fragment == 0).then_some((usize::from(packet[0] & 15) * 4, packet[9]))
        }
        6 if packet.len() >= 40 => Some((40, packet[6])),
        _ => None,
    }
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

/// The flow of a packet; nothing for what is neither UDP, TCP nor ping.
pub fn flow(packet: &[u8]) -> Option<Flow> {
    let (src, dst) = addresses(packet)?;
    let (at, number) = transport(packet)?;
    let (proto, from, to) = match number {
        UDP | TCP => {
            let proto = if number == UDP { Proto::Udp } else { Proto::Tcp };
            (proto, word(packet, at)?, word(packet, at + 2)?)
        }
        ICMP | ICMP6 => match (number, *packet.get(at)?) {
            (ICMP, 8) | (ICMP6, 128) => (Proto::Echo, word(packet, at + 4)?, 0),
            (ICMP, 0) | (ICMP6, 129) => (Proto::Echo, 0, word(packet, at + 4)?),
            _ => return None,
        },
        _ => return None,
    };
    Some(Flow { proto, src: SocketAddr::new(src, from), dst: SocketAddr::new(dst, to) })
}

/// The bytes behind the UDP header.
pub fn udp_payload(packet: &[u8]) -> Option<&[u8]> {
    let (at, number) = transport(packet)?;
    (number == UDP).then(|| packet.get(at + 8..)).flatten()
}

/// The same as [`udp_payload`], to damage it.
pub fn udp_payload_mut(packet: &mut [u8]) -> Option<&mut [u8]> {
    let (at, number) = transport(packet)?;
    (number == UDP).then(|| packet.get_mut(at + 8..)).flatten()
}

/// Makes the kernel of the receiver take a damaged IPv4 UDP packet as it is: without a checksum.
pub fn forget_udp_checksum(packet: &mut [u8]) {
    if let Some((at, UDP)) = transport(packet)
        && let Some(sum) = packet.get_mut(at + 6..at + 8)
    {
        sum.fill(0);
    }
}

/// Puts another sender into an IPv4 packet.
pub fn set_source(packet: &mut [u8], flow: &Flow, to: SocketAddr) {
    rewrite(packet, flow.proto, 12, 0, to);
}

/// Puts another receiver into an IPv4 packet.
pub fn set_destination(packet: &mut [u8], flow: &Flow, to: SocketAddr) {
    rewrite(packet, flow.proto, 16, 2, to);
}

fn rewrite(packet: &mut [u8], proto: Proto, address_at: usize, port_at: usize, to: SocketAddr) {
    let (Some((at, _)), IpAddr::V4(ip)) = (transport(packet), to.ip()) else { return };
    let (sum, port_at) = match proto {
        Proto::Udp => (at + 6, at + port_at),
        Proto::Tcp => (at + 16, at + port_at),
        Proto::Echo => (at + 2, at + 4),
    };
    if packet.len() < sum + 2 || packet.len() < port_at + 2 {
        return;
    }
    let old: [u8; 4] = v4(packet, address_at).octets();
    packet[address_at..address_at + 4].copy_from_slice(&ip.octets());
    correct(packet, 10, &old, &ip.octets());
    let none = proto == Proto::Udp && packet[sum..sum + 2] == [0, 0];
    if !none && proto != Proto::Echo {
        correct(packet, sum, &old, &ip.octets());
    }
    let (old, new) = ([packet[port_at], packet[port_at + 1]], to.port().to_be_bytes());
    packet[port_at..port_at + 2].copy_from_slice(&new);
    if !none {
        correct(packet, sum, &old, &new);
        if proto == Proto::Udp && packet[sum..sum + 2] == [0, 0] {
            packet[sum..sum + 2].fill(0xff);
        }
    }
}

/// RFC 1624, equation 3, for each 16-bit word.
fn correct(packet: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let mut sum = u32::from(!u16::from_be_bytes([packet[at], packet[at + 1]]));
    for (old, new) in old.chunks_exact(2).zip(new.chunks_exact(2)) {
        sum += u32::from(!u16::from_be_bytes([old[0], old[1]])) + u32::from(u16::from_be_bytes([new[0], new[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = u16::try_from(sum).unwrap_or_default();
    packet[at..at + 2].copy_from_slice(&(!sum).to_be_bytes());
}
