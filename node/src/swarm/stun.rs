//! Which public nodes answer STUN, and at which port.
//!
//! A node's calls have a UDP port of their own, which answers STUN for anyone. A node that the internet can reach says in
//! identify which port that is, by a protocol name (`/twocan/stun/1/<port>`) that no stream is ever opened for. Others
//! keep a few such nodes, so that they learn what their own calls' port looks like from outside without any friend's
//! relay. The IP address is the one at which the node was met, never one that it names.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{DeniedUpgrade, InboundUpgrade, UpgradeInfo},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, handler::ConnectionEvent,
    },
};
use tokio::sync::watch;

use super::scope::{Scope, SourceRange, scope_of_ip};

/// What a protocol name begins with that says where STUN is answered.
const PREFIX: &str = "/twocan/stun/1/";
/// Servers that are kept, one of each public network: two of each family are asked, the others are for when they go.
const MAX_SERVERS: usize = 8;

/// The port that a peer's protocols name.
pub(super) fn port_in(protocols: &[StreamProtocol]) -> Option<u16> {
    let named = protocols.iter().find_map(|protocol| protocol.as_ref().strip_prefix(PREFIX))?;
    named.parse().ok().filter(|port: &u16| *port != 0 && named == port.to_string())
}

/// Nodes that answer STUN, the one met last first.
pub(super) struct Servers {
    met: Vec<(PeerId, SocketAddr)>,
    view: watch::Sender<Vec<SocketAddr>>,
}

impl Servers {
    pub(super) fn new(view: watch::Sender<Vec<SocketAddr>>) -> Self {
        Self { met: Vec::new(), view }
    }

    /// A node was met at a public address, and names this port or none.
    pub(super) fn on_met(&mut self, peer: PeerId, ip: IpAddr, port: Option<u16>) {
        if scope_of_ip(ip) != Some(Scope::Public) {
            return;
        }
        let server = port.map(|port| SocketAddr::new(ip, port));
        if server.is_some_and(|server| self.met.contains(&(peer, server))) {
            return;
        }
        let range = SourceRange::of(ip);
        let before = self.met.len();
        // One of a network; and of one node, which may have moved, one of a family.
        self.met.retain(|(known, at)| {
            let moved = *known == peer && at.is_ipv4() == ip.is_ipv4();
            !moved && (server.is_none() || SourceRange::of(at.ip()) != range)
        });
        if let Some(server) = server {
            self.met.insert(0, (peer, server));
            self.met.truncate(MAX_SERVERS);
        } else if self.met.len() == before {
            return;
        }
        self.view.send_replace(self.met.iter().map(|(_, server)| *server).collect());
    }
}

/// Names our own port to everybody, while there is one to name.
#[derive(Default)]
pub(super) struct Behaviour {
    port: Arc<AtomicU16>,
}

impl Behaviour {
    /// The port at which the internet reaches our STUN server; `None` if it does not.
    pub(super) fn set_port(&self, port: Option<u16>) {
        self.port.store(port.unwrap_or(0), Ordering::Relaxed);
    }

    fn handler(&self) -> Handler {
        Handler { port: Arc::clone(&self.port) }
    }
}

/// Says a protocol name, and does nothing.
pub(super) struct Handler {
    port: Arc<AtomicU16>,
}

/// The name, if there is a port.
pub(super) struct Name(Option<StreamProtocol>);

impl UpgradeInfo for Name {
    type Info = StreamProtocol;
    type InfoIter = std::option::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl<C> InboundUpgrade<C> for Name {
    type Output = ();
    type Error = Infallible;
    type Future = std::future::Ready<Result<(), Infallible>>;

    /// Whoever takes the name for an invitation finds a stream that ends at once.
    fn upgrade_inbound(self, _: C, _: Self::Info) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Name;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Name> {
        let port = self.port.load(Ordering::Relaxed);
        let name = (port != 0).then(|| StreamProtocol::try_from_owned(format!("{PREFIX}{port}")).ok()).flatten();
        SubstreamProtocol::new(Name(name), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Infallible>> {
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, _: ConnectionEvent<Name, DeniedUpgrade, (), ()>) {}
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Option<u16> {
        let owned = |name: &&str| StreamProtocol::try_from_owned((*name).to_owned()).unwrap();
        port_in(&names.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_port_is_read_from_a_name_that_has_exactly_one() {
        assert_eq!(named(&["/ipfs/id/1.0.0", "/twocan/stun/1/40000"]), Some(40000));
        for none in
            ["/twocan/stun/1/", "/twocan/stun/1/0", "/twocan/stun/1/65536", "/twocan/stun/1/+7", "/twocan/stun/1/07"]
        {
            assert_eq!(named(&[none]), None, "{none}");
        }
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn few_servers_are_kept_the_latest_first_and_one_of_a_network() {
        let (view, servers) = watch::channel(Vec::new());
        let mut met = Servers::new(view);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let texts = || servers.borrow().iter().map(ToString::to_string).collect::<Vec<_>>();
        let [a, b] = [PeerId::random(), PeerId::random()];
        met.on_met(a, ip("9.9.9.9"), Some(1000));
        met.on_met(b, ip("9.9.9.10"), Some(1001));
        met.on_met(b, ip("2a00::1"), Some(1001));
        met.on_met(a, ip("10.0.0.1"), Some(1002));
        assert_eq!(texts(), ["[2a00::1]:1001", "9.9.9.10:1001"]);
        met.on_met(b, ip("8.8.8.8"), Some(1003));
        assert_eq!(texts(), ["8.8.8.8:1003", "[2a00::1]:1001"], "it has moved");
        met.on_met(b, ip("8.8.8.8"), None);
        assert_eq!(texts(), ["[2a00::1]:1001"], "it answers no more");
        for n in 1..30 {
            met.on_met(PeerId::random(), ip(&format!("9.9.{n}.1")), Some(1000));
        }
        assert_eq!(texts().len(), MAX_SERVERS);
        assert_eq!(texts()[0], "9.9.29.1:1000");
    }
}
