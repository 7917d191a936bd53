//! Which addresses of this machine are worth telling a friend, and the candidate lines made of them.
//!
//! Left out: interfaces that are down or have no carrier, bridges of containers and virtual machines, link-local
//! addresses, IPv6 addresses that are not ready or on their way out, loopback unless the friend is on this machine.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::candidate::{self, Candidate, Kind};
use super::reflexive::Reflexive;

/// Addresses of the machine that are offered at most: each costs checks.
const MAX_HOSTS: usize = 6;
/// Reflexive addresses that are offered at most: two servers in two families.
const MAX_REFLEXIVE: usize = 4;
/// Mapped ports that are offered at most.
const MAX_MAPPED: usize = 2;
/// Beginnings of the names of interfaces that lead to containers and virtual machines of this machine only.
const VIRTUAL: [&str; 9] = ["docker", "br-", "virbr", "veth", "lxc", "lxd", "podman", "cni", "vmnet"];

/// An address of the machine, as the system tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) ip: IpAddr,
    /// Up, and with a carrier.
    pub(super) running: bool,
}

/// Whether an address is worth offering.
fn worth(found: &Found, loopback: bool) -> bool {
    if found.ip.is_loopback() {
        return loopback;
    }
    found.running && candidate::usable(found.ip, loopback) && !VIRTUAL.iter().any(|name| found.name.starts_with(name))
}

/// The addresses to offer, IPv4 and IPv6 in turn, in the system's order.
pub(super) fn hosts(found: &[Found], dying: &[Ipv6Addr], v6: bool, loopback: bool) -> Vec<IpAddr> {
    let of = |v4: bool| {
        let mut ips: Vec<IpAddr> = Vec::new();
        for found in found.iter().filter(|found| found.ip.is_ipv4() == v4 && worth(found, loopback)) {
            let gone = matches!(found.ip, IpAddr::V6(ip) if dying.contains(&ip));
            if !gone && (v4 || v6) && !ips.contains(&found.ip) {
                ips.push(found.ip);
            }
        }
        ips
    };
    let (mut v4, mut v6) = (of(true).into_iter(), of(false).into_iter());
    let mut hosts = Vec::new();
    while hosts.len() < MAX_HOSTS {
        let (a, b) = (v6.next(), v4.next());
        if a.is_none() && b.is_none() {
            break;
        }
        hosts.extend(a.into_iter().chain(b));
    }
    hosts.truncate(MAX_HOSTS);
    hosts
}

/// Asks the system.
#[cfg(unix)]
pub(super) fn system() -> Vec<Found> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` is a valid place for the pointer that the call writes; it is read only if the call succeeds.
    #[expect(unsafe_code, reason = "no safe crate in use tells whether an interface has a carrier")]
    let failed = unsafe { libc::getifaddrs(&raw mut list) } != 0;
    if failed {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut at = list;
    while !at.is_null() {
        // SAFETY: `at` is a node of the list made by `getifaddrs`, which lives until `freeifaddrs` below; its name is a
        // C string, and its address, if any, has the size that its family says.
        #[expect(unsafe_code, reason = "reads the list of the system call")]
        let (next, entry) = unsafe { ((*at).ifa_next, read(&*at)) };
        found.extend(entry);
        at = next;
    }
    // SAFETY: `list` came from `getifaddrs` and is freed once; nothing borrowed from it is left.
    #[expect(unsafe_code, reason = "gives the list back")]
    unsafe {
        libc::freeifaddrs(list);
    }
    found
}

/// # Safety
/// `entry` must come from `getifaddrs`.
#[cfg(unix)]
#[expect(unsafe_code, reason = "reads C structures")]
unsafe fn read(entry: &libc::ifaddrs) -> Option<Found> {
    if entry.ifa_addr.is_null() {
        return None;
    }
    // SAFETY: checked above, and the caller vouches for the list.
    let ip = match unsafe { i32::from((*entry.ifa_addr).sa_family) } {
        libc::AF_INET => {
            // SAFETY: the family says what it is.
            let address = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in>() };
            IpAddr::from(address.sin_addr.s_addr.to_ne_bytes())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says what it is.
            let address = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in6>() };
            IpAddr::from(address.sin6_addr.s6_addr)
        }
        _ => return None,
    };
    let wanted = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_uint;
    // SAFETY: a C string that lives as long as the list.
    let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
    Some(Found { name, ip, running: entry.ifa_flags & wanted == wanted })
}

/// Asks the system.
#[cfg(not(unix))]
pub(super) fn system() -> Vec<Found> {
    let interfaces = rtc::shared::ifaces::ifaces().unwrap_or_default();
    let found = |interface: rtc::shared::ifaces::Interface| {
        Some(Found { ip: interface.addr?.ip(), name: interface.name, running: true })
    };
    interfaces.into_iter().filter_map(found).collect()
}

/// IPv6 addresses that must not be offered (Linux): tentative, deprecated, or found to be somebody else's.
pub(super) fn dying() -> Vec<Ipv6Addr> {
    const FLAGS: u32 = 0x08 | 0x20 | 0x40;
    let text = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    dying_in(&text, FLAGS)
}

fn dying_in(text: &str, flags: u32) -> Vec<Ipv6Addr> {
    let read = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let ip = u128::from_str_radix(words.next()?, 16).ok()?;
        let has = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        (has & flags != 0).then(|| Ipv6Addr::from(ip))
    };
    text.lines().filter_map(read).collect()
}

/// What can be told a friend now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) hosts: Vec<IpAddr>,
    pub(super) reflexive: Vec<Reflexive>,
    pub(super) mapped: Vec<SocketAddr>,
    /// How often the network has changed: allocations of an earlier one are worth nothing, even if the addresses are the
    /// same.
    pub(super) changes: u64,
}

impl Known {
    /// The candidates for these addresses, best first, with the priorities of RFC 8445, 5.1.2.
    pub(super) fn candidates(&self, port: u16, loopback: bool) -> Vec<Candidate> {
        let mut out: Vec<Candidate> = Vec::new();
        let mut add = |kind: Kind, address: SocketAddr, rank: usize| {
            if !out.iter().any(|known| known.address == address) {
                let preference = u16::MAX - rank as u16 * 256;
                let foundation = format!("{}{rank}", &kind.word()[..1]);
                out.push(Candidate { foundation, priority: kind.priority(preference), address, kind });
            }
        };
        let hosts = self.hosts.iter().filter(|ip| loopback || !ip.is_loopback());
        for (rank, ip) in hosts.enumerate() {
            add(Kind::Host, SocketAddr::new(*ip, port), rank);
        }
        for (rank, address) in self.mapped.iter().take(MAX_MAPPED).enumerate() {
            add(Kind::ServerReflexive, *address, rank);
        }
        for (rank, seen) in self.reflexive.iter().take(MAX_REFLEXIVE).enumerate() {
            add(Kind::ServerReflexive, seen.mapped, MAX_MAPPED + rank);
        }
        out
    }

    /// Own addresses as others see them.
    pub(super) fn outside(&self) -> Vec<SocketAddr> {
        self.mapped.iter().copied().chain(self.reflexive.iter().map(|seen| seen.mapped)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, ip: &str, running: bool) -> Found {
        Found { name: name.into(), ip: ip.parse().unwrap(), running }
    }

    #[test]
    fn addresses_of_no_use_to_a_friend_are_not_offered() {
        let machine = [
            found("lo", "127.0.0.1", true),
            found("lo", "::1", true),
            found("eth0", "192.168.1.20", true),
            found("eth0", "fe80::1", true),
            found("eth0", "2001:db8::20", true),
            found("eth0", "2001:db8::dead", true),
            found("wlan0", "10.1.1.1", false),
            found("eth1", "169.254.3.4", true),
            found("docker0", "172.17.0.1", true),
            found("br-09ab", "172.18.0.1", true),
            found("virbr0", "192.168.122.1", true),
        ];
        let dying: Vec<Ipv6Addr> = vec!["2001:db8::dead".parse().unwrap()];
        let offered = |v6, loopback| {
            hosts(&machine, &dying, v6, loopback).into_iter().map(|ip| ip.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(offered(true, false), ["2001:db8::20", "192.168.1.20"]);
        assert_eq!(offered(false, false), ["192.168.1.20"]);
        assert_eq!(offered(false, true), ["127.0.0.1", "192.168.1.20"]);
    }

    #[test]
    fn neither_family_starves_the_other() {
        let mut machine: Vec<_> = (1..30).map(|n| found("eth0", &format!("10.0.0.{n}"), true)).collect();
        machine.push(found("eth0", "2001:db8::1", true));
        let offered = hosts(&machine, &[], true, false);
        assert_eq!(offered.len(), MAX_HOSTS);
        assert!(offered.iter().any(IpAddr::is_ipv6));
    }

    #[test]
    fn addresses_on_their_way_out_are_known_by_their_flags() {
        let text = "20010db8000000000000000000000001 02 40 00 20     eth0\n\
                    20010db8000000000000000000000002 02 40 00 00     eth0\nnonsense\n";
        assert_eq!(dying_in(text, 0x20), ["2001:db8::1".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn the_system_tells_of_loopback() {
        assert!(system().iter().any(|found| found.ip.is_loopback()));
    }

    #[test]
    fn lines_carry_the_priorities_of_the_standard_and_no_related_address() {
        let known = Known {
            hosts: vec!["127.0.0.1".parse().unwrap(), "192.168.1.20".parse().unwrap()],
            reflexive: vec![
                Reflexive { server: "192.0.2.1:1".parse().unwrap(), mapped: "203.0.113.5:777".parse().unwrap() },
                Reflexive { server: "192.0.2.2:1".parse().unwrap(), mapped: "203.0.113.5:777".parse().unwrap() },
            ],
            mapped: vec!["203.0.113.5:4001".parse().unwrap()],
            changes: 0,
        };
        let lines: Vec<String> = known.candidates(4000, false).iter().map(Candidate::line).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "candidate:h0 1 udp 2130706431 192.168.1.20 4000 typ host");
        assert_eq!(lines[1], "candidate:s0 1 udp 1694498815 203.0.113.5 4001 typ srflx raddr 0.0.0.0 rport 9");
        assert!(lines[2].contains("203.0.113.5 777 typ srflx raddr 0.0.0.0 rport 9"));
        assert_eq!(known.candidates(4000, true).len(), 4);
    }
}
