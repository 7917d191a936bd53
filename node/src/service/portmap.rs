//! Joins the port mapper to the rest: which ports it is to map, and who is told what the router gave.

use std::net::IpAddr;

use super::Service;
use crate::calls::Engine;
use crate::portmap::{Family, Mapped, Portmap, Purpose, Want};
use crate::swarm;

/// Tells swarm and calls where the router takes packets for them, now and as it changes. Ends with the mapper.
pub(super) fn follow(portmap: &Portmap, swarm: swarm::Handle, engine: Engine) {
    if !portmap.is_on() {
        return;
    }
    let mut view = portmap.view();
    tokio::spawn(async move {
        let mut told = Vec::new();
        while view.changed().await.is_ok() {
            let now = view.borrow_and_update().clone();
            let media = now.public().filter(|mapped| mapped.want.purpose == Purpose::Media);
            engine.set_mapped(media.map(|mapped| mapped.external).collect());
            let addresses: Vec<String> = now.public().filter_map(multiaddr).collect();
            if addresses != told {
                told.clone_from(&addresses);
                swarm.add_external(addresses).await;
            }
        }
    });
}

/// Where links find a mapped port of the swarm.
fn multiaddr(mapped: &Mapped) -> Option<String> {
    let (ip, port) = (mapped.external.ip(), mapped.external.port());
    let kind = if ip.is_ipv4() { "ip4" } else { "ip6" };
    match mapped.want.purpose {
        Purpose::Quic => Some(format!("/{kind}/{ip}/udp/{port}/quic-v1")),
        Purpose::Tcp => Some(format!("/{kind}/{ip}/tcp/{port}")),
        Purpose::Media | Purpose::Tls => None,
    }
}

impl Service {
    /// Tells the mapper which ports this node listens on.
    pub(super) fn want_ports(&self) {
        if !self.portmap.is_on() {
            return;
        }
        let mut wants: Vec<Want> = self.listen.iter().filter_map(|address| want(address)).collect();
        let port = self.engine.port();
        let families: Vec<Family> = wants.iter().map(|want| want.family).collect();
        wants.extend(families.iter().map(|family| Want { purpose: Purpose::Media, family: *family, port }));
        if let Some(port) = self.relays.own.tls_port() {
            wants.extend(families.into_iter().map(|family| Want { purpose: Purpose::Tls, family, port }));
        }
        self.portmap.want(wants);
    }
}

/// What a listen address (multiaddr) needs to be reached from outside; nothing if it is for this machine alone.
fn want(address: &str) -> Option<Want> {
    let mut parts = address.split('/').skip(1);
    let (kind, ip) = (parts.next()?, parts.next()?.parse::<IpAddr>().ok()?);
    let family = match kind {
        "ip4" => Family::V4,
        "ip6" => Family::V6,
        _ => return None,
    };
    let (transport, port) = (parts.next()?, parts.next()?.parse().ok()?);
    let purpose = match (transport, parts.next()) {
        ("udp", Some("quic-v1")) => Purpose::Quic,
        ("tcp", None) => Purpose::Tcp,
        _ => return None,
    };
    (!ip.is_loopback() && port != 0).then_some(Want { purpose, family, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listened_on_is_what_is_mapped() {
        let quic = Want { purpose: Purpose::Quic, family: Family::V4, port: 4001 };
        assert_eq!(want("/ip4/192.168.1.2/udp/4001/quic-v1"), Some(quic));
        assert_eq!(want("/ip6/2a00::1/tcp/7"), Some(Want { purpose: Purpose::Tcp, family: Family::V6, port: 7 }));
        for nothing in
            ["/ip4/127.0.0.1/tcp/7", "/ip6/::1/tcp/7", "/ip4/1.2.3.4/tcp/0", "/ip4/1.2.3.4/udp/7", "/dns/x/tcp/7", ""]
        {
            assert_eq!(want(nothing), None, "{nothing}");
        }
    }
}
