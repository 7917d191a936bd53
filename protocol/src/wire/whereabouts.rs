//! Where a node is, told to a friend over the link. A friend who knows the present addresses finds the way back without
//! the DHT when the link breaks, and both sides can dial. The bounds are those of a slot's record
//! (`specs/02-rendezvous.md`), since it says the same.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Blob, Bounded, List};
use crate::identity::PeerId;
use crate::limits::{ADDRESSES_PER_KIND_MAX, MULTIADDR_MAX, PEER_ID_MAX};
use crate::rendezvous::is_multiaddr_text;

/// Most machines that one friend's word may have us dial: enough for a node with several networks and both IP versions,
/// too few to make many nodes knock at the doors of a third party.
pub const MAX_HOSTS: usize = 8;

/// Addresses of one kind, best first.
pub type Addresses = List<Bounded<MULTIADDR_MAX>, ADDRESSES_PER_KIND_MAX>;

/// Body of [`super::Message::Whereabouts`]: replaces what was said before. Addresses are multiaddr texts.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The sender's name in the swarm.
    pub peer: Blob<PEER_ID_MAX>,
    /// Addresses that answer from anywhere.
    #[serde(default)]
    pub direct: Addresses,
    /// Addresses on the sender's local networks.
    #[serde(default)]
    pub lan: Addresses,
    /// Addresses through relays.
    #[serde(default)]
    pub relayed: Addresses,
}

impl fmt::Debug for Whereabouts {
    /// Numbers only: addresses of friends stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [&self.direct, &self.lan, &self.relayed].map(|list| list.as_slice().len());
        write!(f, "Whereabouts({counts:?} addresses)")
    }
}

impl Whereabouts {
    /// What to tell: the first addresses of each kind that are short enough to be told.
    #[must_use]
    pub fn new(peer: &PeerId, direct: &[String], lan: &[String], relayed: &[String]) -> Self {
        let list = |addresses: &[String]| {
            List::first_of(addresses.iter().filter(|a| is_multiaddr_text(a)).filter_map(|a| Bounded::new(a.as_str())))
        };
        Self {
            peer: Blob::new(peer.as_bytes().to_vec()).unwrap_or_default(),
            direct: list(direct),
            lan: list(lan),
            relayed: list(relayed),
        }
    }

    /// The name in the swarm, if it is one.
    #[must_use]
    pub fn peer(&self) -> Option<PeerId> {
        PeerId::from_bytes(self.peer.as_bytes()).ok()
    }

    /// Addresses to dial, nearest first: only texts that can be addresses, and of [`MAX_HOSTS`] machines at most.
    #[must_use]
    pub fn to_dial(&self) -> Vec<String> {
        let texts = self.lan.as_slice().iter().chain(self.direct.as_slice()).map(Bounded::as_str);
        few_hosts(texts.filter(|text| is_multiaddr_text(text)), MAX_HOSTS)
    }

    /// Addresses through relays, at most [`MAX_HOSTS`] relays.
    #[must_use]
    pub fn through_relays(&self) -> Vec<String> {
        let texts = self.relayed.as_slice().iter().map(Bounded::as_str);
        few_hosts(texts.filter(|text| is_multiaddr_text(text)), MAX_HOSTS)
    }
}

/// The addresses (multiaddr texts) in order, without repetition, leaving out those of further machines once `most`
/// different ones are named. Whoever is dialled at another's word is dialled within this bound.
#[must_use]
pub fn few_hosts<'a>(addresses: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<String> {
    let mut hosts = BTreeSet::new();
    let mut taken: Vec<String> = Vec::new();
    for address in addresses {
        let host = host_of(address);
        if (hosts.contains(&host) || hosts.len() < most) && !taken.iter().any(|known| known == address) {
            hosts.insert(host);
            taken.push(address.to_owned());
        }
    }
    taken
}

/// The machine that an address names: an IP address in one form, or the text of a name.
fn host_of(address: &str) -> String {
    let mut parts = address.split('/').skip(1);
    let (kind, host) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match (kind, host.parse::<IpAddr>()) {
        ("ip4" | "ip6", Ok(ip)) => ip.to_canonical().to_string(),
        _ => host.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerId {
        PeerId::from_bytes(&[9; 38]).unwrap()
    }

    #[test]
    fn what_is_told_is_what_can_be_dialled_nearest_first() {
        let direct = ["/ip4/203.0.113.7/udp/4001/quic-v1".to_owned(), "no address".to_owned()];
        let lan = ["/ip4/192.168.1.2/udp/4001/quic-v1".to_owned()];
        let told = Whereabouts::new(&peer(), &direct, &lan, &["x".repeat(300)]);
        assert_eq!(told.peer(), Some(peer()));
        assert_eq!(told.to_dial(), [lan[0].clone(), direct[0].clone()]);
        assert!(told.through_relays().is_empty());
        assert!(!format!("{told:?}").contains("203.0.113"));
    }

    #[test]
    fn a_friend_who_names_many_machines_has_few_of_them_dialled() {
        let many: Vec<String> = (0..100).map(|n| format!("/ip4/203.0.113.{n}/tcp/80")).collect();
        let told = Whereabouts::new(&peer(), &many, &many, &[]);
        assert_eq!(told.to_dial().len(), ADDRESSES_PER_KIND_MAX.min(MAX_HOSTS));
        let texts = many.iter().map(String::as_str);
        assert_eq!(few_hosts(texts, MAX_HOSTS), many[..MAX_HOSTS]);
    }

    #[test]
    fn several_ports_of_one_machine_are_one_machine_however_it_is_written() {
        let same = ["/ip4/203.0.113.7/tcp/1", "/ip6/::ffff:203.0.113.7/tcp/2", "/ip4/203.0.113.7/tcp/1"];
        assert_eq!(few_hosts(same, 1), same[..2]);
        assert_eq!(few_hosts(["/dns/Example.org/tcp/1", "/dns4/example.org/tcp/2", "/dns/b/tcp/1"], 1).len(), 2);
    }
}
