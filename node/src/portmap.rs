//! Asks the home router for open ports, so that friends reach this node from outside: PCP (RFC 6887), NAT-PMP (RFC 6886)
//! and UPnP-IGD, in this order, whichever the router speaks first.
//!
//! One task does all of it. It is quiet: it asks the default gateway only, a multicast search goes out once at the start
//! and once after a change of network, mappings are renewed at half of their life, and nothing at all is sent while the
//! machine has a public IPv4 address of its own or while there is no port to map. Mappings end with the node; after a
//! crash they run out within the hour ([`LIFETIME`]).
//!
//! What the router says is a stranger's word: answers are bounded, must come from the gateway, and an external address
//! that is none of the internet (a router behind another one, or behind a carrier's NAT) is told apart by
//! [`Mapped::is_public`].

mod gateway;
mod pcp;
mod route;
mod task;
mod upnp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use route::{Place, Side};

/// Life of a mapping as asked for. An hour: a mapping that a crash left behind is gone before it surprises anybody.
pub const LIFETIME: Duration = Duration::from_secs(3600);
/// Ports mapped at most: two transports in two address families, calls in two, the relay in two.
pub const MAX_WANTS: usize = 8;
/// How long the good-bye to the router may take when the node stops.
const FAREWELL: Duration = Duration::from_millis(1500);

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Links and DHT over QUIC.
    Quic,
    /// Links and DHT over TCP.
    Tcp,
    /// All calls, and the relay over UDP.
    Media,
    /// The relay over TLS.
    Tls,
}

impl Purpose {
    /// Whether the port is one of UDP (else of TCP).
    #[must_use]
    pub fn is_udp(self) -> bool {
        matches!(self, Self::Quic | Self::Media)
    }

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "links (QUIC)",
            Self::Tcp => "links (TCP)",
            Self::Media => "calls (UDP)",
            Self::Tls => "relay (TLS)",
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4: an address translation is asked for.
    V4,
    /// IPv6: a hole in the firewall is asked for (PCP only).
    V6,
}

/// A port to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Want {
    /// What for.
    pub purpose: Purpose,
    /// In which family.
    pub family: Family,
    /// The port on this machine.
    pub port: u16,
}

/// How a router was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// Port Control Protocol.
    Pcp,
    /// NAT Port Mapping Protocol.
    NatPmp,
    /// UPnP Internet Gateway Device.
    Upnp,
}

impl Via {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        }
    }
}

/// A port that the router forwards to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Which.
    pub want: Want,
    /// Where the router takes packets for it.
    pub external: SocketAddr,
    /// How it was asked.
    pub via: Via,
}

impl Mapped {
    /// Whether the internet can reach it. A router that is itself behind a NAT tells a private or shared address.
    #[must_use]
    pub fn is_public(&self) -> bool {
        is_public(self.external.ip())
    }
}

/// Where the mapper stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing to do: off by configuration, or no port wanted yet, or loopback alone.
    #[default]
    Idle,
    /// This machine has a public IPv4 address of its own.
    Unneeded,
    /// There is no default gateway to ask.
    NoGateway,
    /// The router is being asked for the first time in this network.
    Asking,
    /// At least one port is mapped.
    Mapped,
    /// The router speaks none of the protocols, or refuses.
    Refused,
}

/// What the mapper knows, as it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Where it stands.
    pub state: State,
    /// Whom it asks.
    pub gateway: Option<IpAddr>,
    /// What is mapped at present.
    pub mapped: Vec<Mapped>,
    /// What came of each protocol that did not help, one sentence each.
    pub tried: Vec<(Via, String)>,
}

impl View {
    /// The mappings that the internet reaches.
    pub fn public(&self) -> impl Iterator<Item = &Mapped> {
        self.mapped.iter().filter(|mapped| mapped.is_public())
    }

    /// The router's own outer address, if that is not one of the internet: there is a second NAT before the internet.
    #[must_use]
    pub fn behind_another(&self) -> Option<IpAddr> {
        self.mapped
            .iter()
            .find(|mapped| mapped.want.family == Family::V4 && !mapped.is_public())
            .map(|mapped| mapped.external.ip())
    }
}

/// How a mapper is set up.
#[derive(Clone)]
pub struct Config {
    /// Where we are; asked at the start and after each change of network.
    pub place: Arc<dyn Fn() -> Place + Send + Sync>,
    /// From this the nonces of PCP are derived. It must be the same after a restart: a router lets only the holder of
    /// the nonce renew a mapping that a crash left behind.
    pub secret: [u8; 32],
    /// Whether multicast search for UPnP routers is allowed.
    pub upnp: bool,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("upnp", &self.upnp).finish_non_exhaustive()
    }
}

impl Config {
    /// Looks at this machine's own routes.
    #[must_use]
    pub fn of_this_machine(secret: [u8; 32]) -> Self {
        Self { place: Arc::new(Place::of_this_machine), secret, upnp: true }
    }
}

/// The mapper. Dropping it ends its task; [`Portmap::stop`] takes the mappings back first.
#[derive(Debug)]
pub struct Portmap {
    wants: watch::Sender<Vec<Want>>,
    view: watch::Receiver<View>,
    changed: Arc<Notify>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Portmap {
    /// Starts the task, inside a tokio runtime. It waits for [`Portmap::want`].
    #[must_use]
    pub fn start(config: Config) -> Self {
        let (wants, wanted) = watch::channel(Vec::new());
        let (show, view) = watch::channel(View::default());
        let changed = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let task = task::Task::new(config, wanted, show, Arc::clone(&changed), stop.clone());
        Self { wants, view, changed, stop, task: Some(tokio::spawn(task.run())) }
    }

    /// A mapper that does nothing (`[network] port_mapping = false`).
    #[must_use]
    pub fn off() -> Self {
        let (wants, _) = watch::channel(Vec::new());
        let (_, view) = watch::channel(View::default());
        Self { wants, view, changed: Arc::new(Notify::new()), stop: CancellationToken::new(), task: None }
    }

    /// Whether there is one at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.task.is_some()
    }

    /// The ports to be mapped from now on, all of them (at most [`MAX_WANTS`]; the rest is left out).
    pub fn want(&self, mut wants: Vec<Want>) {
        wants.sort_unstable();
        wants.dedup();
        wants.truncate(MAX_WANTS);
        self.wants.send_if_modified(|now| {
            let new = *now != wants;
            *now = wants;
            new
        });
    }

    /// The machine may be in another network now: what was mapped is forgotten, and the router there is asked.
    pub fn network_changed(&self) {
        self.changed.notify_one();
    }

    /// What is mapped, now and as it changes.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Takes the mappings back and ends the task; waits 1.5 s at most.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(mut task) = self.task.take()
            && tokio::time::timeout(FAREWELL, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

impl Drop for Portmap {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Whether an address is one of the internet, as far as its number says.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(a == 0
                || a >= 224
                || v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || is_shared(v4)
                || (a, b, c) == (192, 0, 0)
                || (a, b, c) == (192, 0, 2)
                || (a, b) == (198, 18)
                || (a, b) == (198, 19))
        }
        // 2000::/3 is all that is given out.
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    }
}

/// Whether the address is of the range that carriers use behind their own NAT (RFC 6598).
#[must_use]
pub fn is_shared(ip: std::net::Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && (64..128).contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_behind_a_nat_are_none_of_the_internet() {
        for ip in [
            "10.1.2.3",
            "192.168.0.1",
            "172.20.0.1",
            "100.64.0.1",
            "100.127.9.9",
            "169.254.1.1",
            "0.0.0.0",
            "127.0.0.1",
            "192.0.2.9",
            "224.0.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["11.0.0.1", "100.63.0.1", "100.128.0.1", "8.8.8.8", "2a00:1::1", "::ffff:8.8.8.8"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
