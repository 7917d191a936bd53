//! A laboratory: an internet on one machine, to see how nodes get through NATs and firewalls and survive what happens.
//!
//! Each host is a network namespace with one TUN device ([`namespace`]); everything between hosts (lines, NATs,
//! firewalls, the public network) is a state machine of ours ([`net`]), driven by one thread ([`pump`]). So it needs
//! root, and nothing else of the system: no packet filter, no connection tracking, no names to clean up. Addresses look
//! public (11.0.0.0/8, 2a00::/16), so that address scopes are those of the real internet.

pub mod ear;
pub mod idle;
pub mod link;
pub mod matrix;
pub mod namespace;
pub mod nat;
pub mod net;
pub mod packet;
pub mod pair;
pub mod people;
pub mod proxy;
mod pump;
pub mod relaycost;
pub mod site;
pub mod survive;
pub mod topology;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::link::{Conditions, Link};
use self::namespace::Namespace;
use self::net::{HostId, Net, Place, Site, SiteId, Tamper};
use self::packet::Proto;
use self::pump::Shared;
use self::site::Kind;

/// A laboratory. Ends when the last copy of it is dropped.
#[derive(Clone, Debug)]
pub struct Lab(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    pump: Option<JoinHandle<()>>,
    uplink: Conditions,
    seed: u64,
    /// How many addresses each site has given out: (NAT generations, hosts).
    given: Mutex<Vec<(u8, u8)>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(pump) = self.pump.take() {
            let _ = pump.join();
        }
    }
}

impl Lab {
    /// Starts an empty lab in which a round trip between two sites takes `rtt`. Refuses where none can run.
    pub fn start(rtt: Duration, seed: u64) -> Result<Self> {
        if let Some(why) = namespace::missing() {
            bail!("no laboratory can run here: {why}");
        }
        namespace::remove_leftovers();
        let (shared, woken) = Shared::new()?;
        let shared = Arc::new(shared);
        let pump = thread::Builder::new().name("lab-pump".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || pump::run(&shared, &woken)
        })?;
        // Each packet passes two uplinks on its way.
        let uplink = Conditions::delay(rtt / 4);
        Ok(Self(Arc::new(Inner { shared, pump: Some(pump), uplink, seed, given: Mutex::default() })))
    }

    /// A lab for a test, or nothing with a line that says why, where none can run.
    pub fn or_skip(rtt: Duration) -> Option<Self> {
        Self::start(rtt, 1).inspect_err(|why| println!("skipped: {why:#}")).ok()
    }

    /// Adds a site whose uplink has half of the lab's one-way delay.
    pub fn site(&self, kind: Kind) -> Result<SiteId> {
        let mut given = self.0.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut net = self.0.shared.net();
        let id = SiteId::try_from(net.sites.len() + 1).ok().filter(|id| *id < 255).context("too many sites")?;
        net.sites.push(Site::new(id, kind, self.0.uplink, self.0.seed));
        given.push((1, 0));
        Ok(id)
    }

    /// Adds a site of a kind with a name (see [`site::NAMES`]) and a host in it.
    pub fn host_at(&self, kind: &str) -> Result<Host> {
        self.host(self.site(kind.parse()?)?)
    }

    /// Adds a host to a site.
    pub fn host(&self, site: SiteId) -> Result<Host> {
        let (namespace, device) = Namespace::create()?;
        let seed = self.0.seed.wrapping_mul(7_919);
        let id = {
            let mut net = self.0.shared.net();
            let id = net.hosts.len();
            let seed = seed.wrapping_add(id as u64 * 2);
            let line = |seed| Link::new(Conditions::default(), seed);
            net.hosts.push(Place { site, addresses: Vec::new(), up: line(seed), down: line(seed + 1) });
            // Under the same lock, so that devices and hosts keep the same numbers.
            self.0.shared.add_device(device);
            id
        };
        let host = Host { lab: self.clone(), id, namespace };
        host.move_to(site)?;
        Ok(host)
    }

    /// Changes a site under the lab's feet; no packet moves meanwhile.
    pub fn with_site<T>(&self, site: SiteId, change: impl FnOnce(&mut Site) -> T) -> T {
        change(self.0.shared.net().site(site))
    }

    /// Lets a site's uplink behave differently, in both directions.
    pub fn set_uplink(&self, site: SiteId, conditions: Conditions) {
        self.with_site(site, |site| {
            site.up.set(conditions);
            site.down.set(conditions);
        });
    }

    /// How sites' uplinks behave if nothing else is said.
    pub fn uplink(&self) -> Conditions {
        self.0.uplink
    }

    /// Cuts a site off (its hosts are not told), or joins it again.
    pub fn cut(&self, site: SiteId, cut: bool) {
        self.with_site(site, |site| site.cut = cut);
    }

    /// Makes a site's NATs and firewalls forget what they know.
    pub fn forget(&self, site: SiteId) {
        self.with_site(site, Site::forget);
    }

    /// Gives a site's outermost NAT another public address; it forgets its mappings. The hosts are not told.
    pub fn readdress(&self, site: SiteId) -> Result<Ipv4Addr> {
        let mut given = self.0.given.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = &mut given[usize::from(site) - 1].0;
        *generation = generation.checked_add(1).context("too many addresses")?;
        let address = site::public_nat(site, *generation);
        self.with_site(site, |site| match site.nats.last_mut() {
            Some(nat) => {
                nat.readdress(address);
                Ok(address)
            }
            None => bail!("this site has no NAT"),
        })
    }

    /// Puts a box on a site's uplink, or takes it away.
    pub fn tamper(&self, site: SiteId, tamper: Option<Tamper>) {
        self.with_site(site, |site| site.tamper = tamper);
    }

    /// Forwards an outer port of a site's innermost NAT to a host (`None`: no longer), as port mapping protocols do.
    pub fn forward(&self, site: SiteId, proto: Proto, port: u16, inside: Option<SocketAddr>) -> bool {
        self.with_site(site, |site| site.nats.first_mut().is_some_and(|nat| nat.forward(proto, port, inside)))
    }

    /// What a site's NATs have mapped, a line each, the innermost first.
    pub fn mappings(&self, site: SiteId) -> Vec<String> {
        self.with_site(site, |site| site.nats.iter().flat_map(nat::Nat::lines).collect())
    }

    fn net<T>(&self, change: impl FnOnce(&mut Net) -> T) -> T {
        change(&mut self.0.shared.net())
    }
}

/// A host in a lab.
#[derive(Clone, Debug)]
pub struct Host {
    lab: Lab,
    id: HostId,
    namespace: Namespace,
}

impl Host {
    /// Where processes run that are on this host.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its number.
    pub fn id(&self) -> HostId {
        self.id
    }

    /// The site where it is.
    pub fn site(&self) -> SiteId {
        self.lab.net(|net| net.hosts[self.id].site)
    }

    /// Its IPv4 address, as it sees it itself.
    pub fn v4(&self) -> Option<Ipv4Addr> {
        self.addresses().into_iter().find_map(|address| match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> Option<Ipv6Addr> {
        self.addresses().into_iter().find_map(|address| match address {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        })
    }

    /// Its addresses, as it sees them itself.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.lab.net(|net| net.hosts[self.id].addresses.clone())
    }

    /// Gives it other addresses at the same site, as after a new lease.
    pub fn readdress(&self) -> Result<()> {
        self.move_to(self.site())
    }

    /// Takes it to a site, with new addresses there.
    pub fn move_to(&self, site: SiteId) -> Result<()> {
        let number = {
            let mut given = self.lab.0.given.lock().unwrap_or_else(PoisonError::into_inner);
            let hosts = &mut given[usize::from(site) - 1].1;
            *hosts = hosts.checked_add(1).filter(|hosts| *hosts < 200).context("too many addresses")?;
            *hosts
        };
        let kind = self.lab.with_site(site, |site| site.kind.clone());
        let addresses = site::host_addresses(site, &kind, number);
        self.lab.net(|net| {
            let place = &mut net.hosts[self.id];
            place.site = site;
            place.addresses = addresses.iter().map(|(address, _)| *address).collect();
        });
        self.namespace.configure(&addresses, site::gateway(site, &kind).map(IpAddr::V4))
    }

    /// Pulls its cable: the system sees the interface go down and lose its addresses.
    pub fn unplug(&self) -> Result<()> {
        self.namespace.ip("link set eth0 down\naddr flush dev eth0 scope global\n")
    }

    /// Plugs it in again at its site, with the addresses that it had.
    pub fn plug(&self) -> Result<()> {
        let (site, addresses) = self.lab.net(|net| {
            let place = &net.hosts[self.id];
            (place.site, place.addresses.clone())
        });
        let kind = self.lab.with_site(site, |site| site.kind.clone());
        let with_prefix = |address: IpAddr| (address, if address.is_ipv4() { 24 } else { 64 });
        let addresses: Vec<_> = addresses.into_iter().map(with_prefix).collect();
        self.namespace.configure(&addresses, site::gateway(site, &kind).map(IpAddr::V4))
    }

    /// Lets its own line (its Wi-Fi, say) behave differently, in both directions.
    pub fn set_line(&self, conditions: Conditions) {
        self.lab.net(|net| {
            net.hosts[self.id].up.set(conditions);
            net.hosts[self.id].down.set(conditions);
        });
    }

    /// Lets it send whatever it likes, whatever its site forbids (the machine of a proxy).
    pub fn exempt(&self) {
        let addresses = self.addresses();
        self.lab.with_site(self.site(), |site| site.exempt.extend(addresses));
    }

    /// A command that runs a program on it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        self.namespace.command(program.as_ref())
    }

    /// A UDP socket on it, on all addresses of a family.
    pub fn udp(&self, v6: bool, port: u16) -> Result<UdpSocket> {
        let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        Ok(self.namespace.inside(|| UdpSocket::bind((any, port)))??)
    }
}
