//! What can stand between a site and the public network: the kinds that the lab knows by name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::nat::{Behaviour, Nat};
use super::net::SiteId;

/// IPv4 of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum V4 {
    /// There is none.
    None,
    /// Its hosts have public addresses.
    Public {
        /// Whether a stateful firewall refuses what nobody asked for.
        firewall: bool,
    },
    /// Behind NATs, the innermost first.
    Nat(Vec<Behaviour>),
}

/// IPv6 of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V6 {
    /// There is none.
    None,
    /// Its hosts can be reached.
    Open,
    /// A stateful firewall refuses what nobody asked for.
    Firewalled,
}

/// What may leave a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Everything.
    All,
    /// Everything but UDP.
    NoUdp,
    /// Only TCP to these ports.
    OnlyTcp(Vec<u16>),
}

/// What stands between a site and the public network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// IPv4.
    pub v4: V4,
    /// IPv6.
    pub v6: V6,
    /// What may leave.
    pub egress: Egress,
}

/// Every kind with a name, and what it stands for.
pub const NAMES: [(&str, &str); 12] = [
    ("open", "a public IPv4 address, no firewall"),
    ("dual", "public IPv4 and IPv6 addresses, no firewall"),
    ("firewalled", "a public IPv4 address behind a stateful firewall"),
    ("endpoint-independent", "NAT with endpoint-independent mapping and filtering (full cone), ports moved"),
    ("port-restricted", "NAT as Linux masquerade: same port for all, only the addressed endpoint may answer"),
    ("symmetric", "NAT with a new random port for each other side"),
    ("cgnat", "port-restricted behind a carrier's NAT that moves ports"),
    ("udp-blocked", "port-restricted, no UDP leaves"),
    ("tcp443", "port-restricted, only TCP to port 443 leaves"),
    ("ipv6-only", "IPv6 behind a stateful firewall, no IPv4"),
    ("dual-stack", "port-restricted for IPv4, IPv6 behind a stateful firewall"),
    ("proxy-only", "nothing leaves, except from the host at which an HTTP CONNECT proxy runs"),
];

impl Kind {
    fn of(v4: V4, v6: V6, egress: Egress) -> Self {
        Self { v4, v6, egress }
    }

    /// A site with a public IPv4 address.
    pub fn open() -> Self {
        Self::of(V4::Public { firewall: false }, V6::None, Egress::All)
    }

    /// A site with public addresses of both families.
    pub fn dual() -> Self {
        Self { v6: V6::Open, ..Self::open() }
    }

    /// A site behind one NAT.
    pub fn nat(behaviour: Behaviour) -> Self {
        Self::of(V4::Nat(vec![behaviour]), V6::None, Egress::All)
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let restricted = || V4::Nat(vec![Behaviour::PORT_RESTRICTED]);
        Ok(match name {
            "open" => Self::open(),
            "dual" => Self::dual(),
            "firewalled" => Self::of(V4::Public { firewall: true }, V6::None, Egress::All),
            "endpoint-independent" => Self::nat(Behaviour::ENDPOINT_INDEPENDENT),
            "port-restricted" => Self::nat(Behaviour::PORT_RESTRICTED),
            "symmetric" => Self::nat(Behaviour::SYMMETRIC),
            "cgnat" => {
                let chain = vec![Behaviour::PORT_RESTRICTED, Behaviour::CARRIER];
                Self::of(V4::Nat(chain), V6::None, Egress::All)
            }
            "udp-blocked" => Self::of(restricted(), V6::None, Egress::NoUdp),
            "tcp443" => Self::of(restricted(), V6::None, Egress::OnlyTcp(vec![443])),
            "ipv6-only" => Self::of(V4::None, V6::Firewalled, Egress::All),
            "dual-stack" => Self::of(restricted(), V6::Firewalled, Egress::All),
            "proxy-only" => Self::of(restricted(), V6::None, Egress::OnlyTcp(Vec::new())),
            other => {
                let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                anyhow::bail!("{other:?} is no kind of site; there are: {}", names.join(", "));
            }
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(name, _)| name.parse::<Self>().is_ok_and(|kind| kind == *self));
        f.write_str(name.map_or("special", |(name, _)| name))
    }
}

/// The NATs of a site; `generation` counts its public addresses.
pub(super) fn nats(id: SiteId, chain: &[Behaviour], generation: u8, seed: u64) -> Vec<Nat> {
    let last = chain.len().saturating_sub(1);
    let nat = |(at, behaviour): (usize, &Behaviour)| {
        let outer = if at == last { public_nat(id, generation) } else { Ipv4Addr::new(100, 64, id, 2) };
        Nat::new(*behaviour, outer, seed.wrapping_add(3 + at as u64))
    };
    chain.iter().enumerate().map(nat).collect()
}

/// The public address of a site's outermost NAT.
pub(super) fn public_nat(id: SiteId, generation: u8) -> Ipv4Addr {
    Ipv4Addr::new(11, id, 0, generation)
}

/// The addresses of a site's host number `number` (from 1, unique over time), with prefix lengths.
pub(super) fn host_addresses(id: SiteId, kind: &Kind, number: u8) -> Vec<(IpAddr, u8)> {
    let last = number.saturating_add(9);
    let v4 = match kind.v4 {
        V4::None => None,
        V4::Public { .. } => Some((Ipv4Addr::new(11, id, 1, last).into(), 24)),
        V4::Nat(_) => Some((Ipv4Addr::new(192, 168, id, last).into(), 24)),
    };
    let v6 = (kind.v6 != V6::None).then(|| {
        let address = Ipv6Addr::new(0x2a00, u16::from(id), 0, 1, 0, 0, 0, u16::from(last));
        (IpAddr::V6(address), 64)
    });
    v4.into_iter().chain(v6).collect()
}

/// The site's router as its hosts see it.
pub(super) fn gateway(id: SiteId, kind: &Kind) -> Option<Ipv4Addr> {
    match kind.v4 {
        V4::None => None,
        V4::Public { .. } => Some(Ipv4Addr::new(11, id, 1, 1)),
        V4::Nat(_) => Some(Ipv4Addr::new(192, 168, id, 1)),
    }
}
