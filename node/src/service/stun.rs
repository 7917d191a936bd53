//! STUN servers for the calls' port: friends' relays first, then public nodes of strangers that were met; and telling
//! others that this node is one.
//!
//! A server sees from which address and port the question comes, and nothing else; that there is a node, whoever runs a
//! DHT node sees anyhow. Still nobody is asked for nothing (only who has a friend that may know the own address), nor at
//! an address where somebody relays from whom it is hidden.

use std::net::{IpAddr, SocketAddr};

use super::Service;
use super::links::Note;
use crate::portmap::Purpose;
use crate::relay::Policy;

impl Service {
    /// Has [`Self::use_stun_servers`] called whenever public nodes were met.
    pub(super) fn watch_stun_servers(&self) {
        let (mut servers, notes) = (self.swarm.stun_servers(), self.notes.clone());
        tokio::spawn(async move {
            while servers.changed().await.is_ok() {
                servers.mark_unchanged();
                if notes.send(Note::StunServers).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Whom to ask for the address of the calls' port: `friends`, the relays that friends offered, and strangers.
    pub(super) fn stun_servers(&self, friends: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let mut servers: Vec<SocketAddr> = friends.collect();
        // Calls with those from whom the address is hidden have no use for it.
        if self.book.friends().any(|friend| !self.book.hides(&friend.record.root)) {
            let avoided = self.relays_avoided();
            let own = &self.relays.own;
            let met = self.swarm.stun_servers().borrow().clone();
            let strangers = met.into_iter().filter(|server| own.is_usable(*server) && !avoided.contains(&server.ip()));
            servers.extend(strangers);
        }
        let mut known = std::collections::BTreeSet::new();
        servers.retain(|server| known.insert(*server));
        servers
    }

    /// Tells other nodes at which port this one answers STUN, if the internet reaches it.
    pub(super) fn tell_stun_port(&self, reached: &[String], own: &[IpAddr]) {
        let is_reached = |ip: IpAddr| {
            let part = if ip.is_ipv4() { format!("/ip4/{ip}/") } else { format!("/ip6/{ip}/") };
            reached.iter().any(|address| address.starts_with(&part))
        };
        let port = if self.relays.own.policy() == Policy::Off {
            None
        } else if own.iter().any(|ip| is_reached(*ip)) {
            Some(self.engine.port())
        } else {
            // The router forwards the calls' port, maybe from another one, as it does those by which we are reached.
            let view = self.portmap.view();
            let view = view.borrow();
            let mapped =
                view.public().find(|mapped| mapped.want.purpose == Purpose::Media && is_reached(mapped.external.ip()));
            mapped.map(|mapped| mapped.external.port())
        };
        let swarm = self.swarm.clone();
        tokio::spawn(async move { swarm.set_stun_port(port).await });
    }
}
