//! What the doctor goes by: plain facts, so that the verdict can be tested without a network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use twocan_control::Health;

use crate::portmap;
use crate::swarm::{ConnectionInfo, Route, Transport};

/// What a server said: as whom it sees our media port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) server: SocketAddr,
    pub(super) mapped: SocketAddr,
}

/// A friend's relay, and how it answered just now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RelayFact {
    pub(super) friend: String,
    /// Whether it offers UDP, and the round trip if it answered.
    pub(super) udp: Option<Option<f64>>,
    /// Whether it offers TLS, and the time to connect if it answered.
    pub(super) tls: Option<Option<f64>>,
}

/// Connections over the internet since the start, by what carried them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::service) struct Carried {
    /// QUIC over UDP.
    pub(in crate::service) quic: u32,
    /// TCP.
    pub(in crate::service) tcp: u32,
}

impl Carried {
    /// Counts a connection, if it came over the internet.
    pub(in crate::service) fn count(&mut self, info: &ConnectionInfo) {
        match (info.route, info.transport) {
            (Route::Direct, Transport::Quic) => self.quic = self.quic.saturating_add(1),
            (Route::Direct, Transport::Tcp) => self.tcp = self.tcp.saturating_add(1),
            _ => {}
        }
    }
}

/// Ports of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnPorts {
    pub(super) quic: u16,
    pub(super) tcp: u16,
    pub(super) media: u16,
}

/// How this node relays for friends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Serving {
    /// It does, at present.
    pub(super) on: bool,
    /// Where it answers TLS, if it does.
    pub(super) tls_port: Option<u16>,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// By configuration only this machine is served.
    pub(super) loopback: bool,
    /// Our addresses towards the internet.
    pub(super) local4: Option<Ipv4Addr>,
    pub(super) local6: Option<Ipv6Addr>,
    pub(super) ports: OwnPorts,
    /// What STUN servers answered to our media port.
    pub(super) seen: Vec<Seen>,
    /// Whether any of those that were asked answered; nothing while nobody was asked to the end.
    pub(super) udp_passes: Option<bool>,
    /// As whom other nodes see the QUIC port: their network, and our address.
    pub(super) observed: Vec<(String, SocketAddr)>,
    /// Addresses of ours (IP) that others have tried and reached.
    pub(super) confirmed: Vec<IpAddr>,
    /// Whether others have tried at all.
    pub(super) tested: bool,
    pub(super) carried: Carried,
    /// Circuits through other nodes at which we can be reached.
    pub(super) circuits: usize,
    pub(super) mapping_on: bool,
    pub(super) mapping: portmap::View,
    pub(super) relays: Vec<RelayFact>,
    pub(super) serving: Serving,
    /// Clock error in milliseconds and how many friends told.
    pub(super) clock_ms: Option<f64>,
    pub(super) clock_friends: u32,
    pub(super) dht: Health,
    pub(super) friends: usize,
    pub(super) linked: usize,
    pub(super) listening: usize,
    /// What the store complains about.
    pub(super) store: Option<String>,
    /// The media port that was wanted and is another program's.
    pub(super) media_busy: Option<u16>,
}

impl Facts {
    /// Whether there is any sign of the internet beyond this site.
    pub(super) fn outside(&self) -> bool {
        !self.seen.is_empty() || self.carried.quic + self.carried.tcp > 0 || self.relays.iter().any(RelayFact::answers)
    }

    /// What servers on the internet saw, of one family.
    pub(super) fn seen_in(&self, v4: bool) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| seen.mapped.is_ipv4() == v4 && portmap::is_public(seen.server.ip()))
    }

    /// As whom independent parties on the internet see one IPv4 port of ours: parties and addresses, each counted once.
    /// The media port tells, else the port of QUIC.
    pub(super) fn views(&self) -> (usize, Vec<SocketAddr>) {
        let by_media = self.seen_in(true).map(|seen| (seen.server.ip().to_string(), seen.mapped));
        let by_media = count(by_media);
        if by_media.0 > 1 {
            return by_media;
        }
        let public = |address: &SocketAddr| address.is_ipv4() && portmap::is_public(address.ip());
        let by_quic = count(self.observed.iter().filter(|(_, address)| public(address)).cloned());
        if by_quic.0 > by_media.0 { by_quic } else { by_media }
    }

    /// Whether others reached us at an address of this family.
    pub(super) fn confirmed_in(&self, v4: bool) -> bool {
        self.confirmed.iter().any(|ip| ip.is_ipv4() == v4)
    }
}

fn count(views: impl Iterator<Item = (String, SocketAddr)>) -> (usize, Vec<SocketAddr>) {
    let (mut parties, mut addresses): (Vec<String>, Vec<SocketAddr>) = views.unzip();
    parties.sort_unstable();
    parties.dedup();
    addresses.sort_unstable();
    addresses.dedup();
    (parties.len(), addresses)
}

impl RelayFact {
    /// Whether it answered in any way.
    pub(super) fn answers(&self) -> bool {
        self.udp.flatten().is_some() || self.tls.flatten().is_some()
    }
}
