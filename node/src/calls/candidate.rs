//! Candidates (RFC 8839, 5.1): what we tell a friend, and what we take from one.
//!
//! A friend chooses the addresses that our node sends checks to, before anybody has answered. So only numbers are
//! taken (no names to look up), no multicast, no loopback unless the friend is on this machine, no low ports, few of
//! them; and webrtc sees a line that we wrote anew from the parts, never the friend's text.

use std::net::{IpAddr, SocketAddr};

use super::MAX_CANDIDATE_LEN;

/// Ports below this belong to system services and are not sent to.
const LOWEST_PORT: u16 = 1024;
/// Longest foundation (RFC 8839).
const MAX_FOUNDATION: usize = 32;

/// Kind of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relay,
}

impl Kind {
    /// Its word in a candidate line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relay => "relay",
        }
    }

    /// Priority of a candidate of this kind (RFC 8445, 5.1.2.1), component 1. The larger preference comes first among
    /// those of one kind.
    pub(super) fn priority(self, preference: u16) -> u32 {
        let kind: u32 = match self {
            Self::Host => 126,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relay => 0,
        };
        (kind << 24) + (u32::from(preference) << 8) + 255
    }
}

/// A candidate, UDP, component 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) foundation: String,
    pub(super) priority: u32,
    pub(super) address: SocketAddr,
    pub(super) kind: Kind,
}

/// Why a candidate is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("a candidate line that cannot be read")]
    Malformed,
    #[error("a candidate that is not UDP")]
    Protocol,
    #[error("a candidate with an address that is nobody's")]
    Address,
    #[error("a loopback candidate from another machine")]
    Loopback,
    #[error("a candidate on a system port")]
    LowPort,
    #[error("a relayed candidate with a private address")]
    PrivateRelay,
}

impl Candidate {
    /// Reads a line, ours or a friend's; says nothing about whether it is wise to use it.
    pub(super) fn parse(line: &str) -> Result<Self, Refusal> {
        if line.len() > MAX_CANDIDATE_LEN || !line.is_ascii() {
            return Err(Refusal::Malformed);
        }
        let line = line.strip_prefix("a=").unwrap_or(line);
        let line = line.strip_prefix("candidate:").unwrap_or(line);
        let mut words = line.split_ascii_whitespace();
        let mut next = || words.next().ok_or(Refusal::Malformed);
        let foundation = next()?;
        let component = next()?;
        let protocol = next()?;
        let priority = next()?.parse().map_err(|_| Refusal::Malformed)?;
        let ip: IpAddr = next()?.parse().map_err(|_| Refusal::Address)?;
        let port = next()?.parse().map_err(|_| Refusal::Malformed)?;
        if next()? != "typ" {
            return Err(Refusal::Malformed);
        }
        let kind = match next()? {
            "host" => Kind::Host,
            "srflx" => Kind::ServerReflexive,
            "prflx" => Kind::PeerReflexive,
            "relay" => Kind::Relay,
            _ => return Err(Refusal::Malformed),
        };
        let ice_char = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/' || b == b'-';
        if component != "1" || foundation.len() > MAX_FOUNDATION || !foundation.bytes().all(ice_char) {
            return Err(Refusal::Malformed);
        }
        if !protocol.eq_ignore_ascii_case("udp") {
            return Err(Refusal::Protocol);
        }
        let address = SocketAddr::new(ip.to_canonical(), port);
        Ok(Self { foundation: foundation.to_owned(), priority, address, kind })
    }

    /// Whether our node may send to it.
    pub(super) fn examine(self, loopback: bool) -> Result<Self, Refusal> {
        let ip = self.address.ip();
        let nobody = match ip {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_unspecified() || v4.is_broadcast() || v4.octets()[0] == 0,
            // A link-local address means nothing without the name of the link.
            IpAddr::V6(v6) => v6.is_multicast() || v6.is_unspecified() || v6.is_unicast_link_local(),
        };
        if nobody {
            return Err(Refusal::Address);
        }
        if ip.is_loopback() && !loopback {
            return Err(Refusal::Loopback);
        }
        if self.address.port() < LOWEST_PORT {
            return Err(Refusal::LowPort);
        }
        // A relay that others can use has a public address; anything else points into somebody's own network.
        if self.kind == Kind::Relay && !loopback && !is_public(ip) {
            return Err(Refusal::PrivateRelay);
        }
        Ok(self)
    }

    /// The line, without related address: that would tell a relay's user where we live.
    pub(super) fn line(&self) -> String {
        let Self { foundation, priority, address, kind } = self;
        let (ip, port) = (address.ip(), address.port());
        let related = match kind {
            Kind::Host => "",
            _ if ip.is_ipv4() => " raddr 0.0.0.0 rport 9",
            _ => " raddr :: rport 9",
        };
        format!("candidate:{foundation} 1 udp {priority} {ip} {port} typ {}{related}", kind.word())
    }
}

/// Whether an address can be reached from anywhere (the reserved ranges that matter in practice are left out).
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared || a == 0 || a >= 224)
        }
        // 2000::/3 is all that has been given out.
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    }
}

/// Which of the machine's addresses are worth offering.
pub(super) fn usable(ip: IpAddr, loopback: bool) -> bool {
    if ip.is_loopback() {
        return loopback;
    }
    match ip {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_link_local() && !v4.is_multicast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_unicast_link_local() && !v6.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(line: &str, loopback: bool) -> Result<String, Refusal> {
        Candidate::parse(line)?.examine(loopback).map(|c| c.line())
    }

    #[test]
    fn a_candidate_is_written_anew_from_its_parts() {
        let line = "candidate:1966762133 1 UDP 2130706431 192.0.2.7 41000 typ host ufrag abcd generation 0";
        assert_eq!(taken(line, false).unwrap(), "candidate:1966762133 1 udp 2130706431 192.0.2.7 41000 typ host");
        let line = "candidate:1 1 udp 5 198.51.100.7 41000 typ srflx raddr 10.1.2.3 rport 555";
        assert_eq!(
            taken(line, false).unwrap(),
            "candidate:1 1 udp 5 198.51.100.7 41000 typ srflx raddr 0.0.0.0 rport 9"
        );
    }

    #[test]
    fn addresses_that_a_friend_has_no_business_naming_are_refused() {
        for (ip, port, why) in [
            ("224.0.0.251", 5353, Refusal::Address),
            ("0.0.0.0", 5000, Refusal::Address),
            ("255.255.255.255", 5000, Refusal::Address),
            ("fe80::1", 5000, Refusal::Address),
            ("ff02::1", 5000, Refusal::Address),
            ("router.local", 5000, Refusal::Address),
            ("127.0.0.1", 5000, Refusal::Loopback),
            ("::1", 5000, Refusal::Loopback),
            ("::ffff:127.0.0.1", 5000, Refusal::Loopback),
            ("192.168.1.1", 53, Refusal::LowPort),
        ] {
            assert_eq!(taken(&format!("candidate:1 1 udp 1 {ip} {port} typ host"), false), Err(why), "{ip}");
        }
        assert!(taken("candidate:1 1 udp 1 127.0.0.1 5000 typ host", true).is_ok());
        for private in ["10.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"] {
            let line = format!("candidate:1 1 udp 1 {private} 5000 typ relay");
            assert_eq!(taken(&line, false), Err(Refusal::PrivateRelay));
        }
        assert!(taken("candidate:1 1 udp 1 198.51.100.1 5000 typ relay", false).is_ok());
    }

    #[test]
    fn lines_that_are_no_candidates_are_refused() {
        for line in [
            "",
            "candidate:",
            "candidate:1 1 udp 1 10.0.0.1",
            "candidate:1 1 udp x 10.0.0.1 5000 typ host",
            "candidate:1 1 udp 1 10.0.0.1 70000 typ host",
            "candidate:1 1 udp 1 10.0.0.1 5000 typ strange",
            "candidate:1 2 udp 1 10.0.0.1 5000 typ host",
            "candidate:a*b 1 udp 1 10.0.0.1 5000 typ host",
        ] {
            assert_eq!(taken(line, false), Err(Refusal::Malformed), "{line}");
        }
        assert_eq!(taken("candidate:1 1 tcp 1 10.0.0.1 5000 typ host", false), Err(Refusal::Protocol));
        assert_eq!(taken(&format!("candidate:{}", "9 ".repeat(500)), false), Err(Refusal::Malformed));
    }
}
