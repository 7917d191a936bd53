//! identify, made to tell each peer only the addresses that it can use.
//!
//! The stock behaviour tells every peer either all listen addresses (which shows the home network to the world and
//! makes strangers dial their own 127.0.0.1) or none (and then a DHT server on a LAN cannot be found by its
//! neighbours). This wrapper chooses per connection: our confirmed public addresses for everybody, and while we serve
//! the DHT also the listen addresses of the scope in which this very peer was reached.

use std::task::{Context, Poll};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    identify,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
        behaviour::{ExternalAddrConfirmed, ExternalAddrExpired},
    },
};

use super::scope::{Scope, is_dialable, scope_of};

/// Addresses told to one peer at most.
const MAX_TOLD: usize = 8;

/// identify with addresses chosen per connection.
pub(super) struct Behaviour {
    inner: identify::Behaviour,
    listening: Vec<Multiaddr>,
    external: Vec<Multiaddr>,
    serving: bool,
    told: Vec<Multiaddr>,
}

impl Behaviour {
    /// `config` has to hide the listen addresses: what is told comes from here.
    pub(super) fn new(config: identify::Config) -> Self {
        Self {
            inner: identify::Behaviour::new(config),
            listening: Vec::new(),
            external: Vec::new(),
            serving: false,
            told: Vec::new(),
        }
    }

    /// Whether this node serves the DHT, and so tells its neighbours where it listens.
    pub(super) fn set_serving(&mut self, serving: bool) {
        self.serving = serving;
    }

    /// Has the next handler tell what a peer at `remote` may know.
    fn prepare(&mut self, remote: &Multiaddr) {
        let addresses = addresses_for(scope_of(remote), self.serving, &self.listening, &self.external);
        for addr in std::mem::take(&mut self.told) {
            self.inner.on_swarm_event(FromSwarm::ExternalAddrExpired(ExternalAddrExpired { addr: &addr }));
        }
        for addr in &addresses {
            self.inner.on_swarm_event(FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr }));
        }
        self.told = addresses;
    }
}

/// What a peer that was reached in scope `remote` is told.
pub(super) fn addresses_for(
    remote: Option<Scope>,
    serving: bool,
    listening: &[Multiaddr],
    external: &[Multiaddr],
) -> Vec<Multiaddr> {
    let near = listening.iter().filter(|address| serving && scope_of(address) == remote);
    let public = external.iter().filter(|address| scope_of(address) == Some(Scope::Public));
    let mut chosen: Vec<Multiaddr> = Vec::new();
    for address in public.chain(near).filter(|address| is_dialable(address)) {
        if !chosen.contains(address) && chosen.len() < MAX_TOLD {
            chosen.push(address.clone());
        }
    }
    chosen
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = <identify::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = identify::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.prepare(remote);
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role_override: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.prepare(remote);
        self.inner.handle_established_outbound_connection(connection, peer, remote, role_override, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::NewListenAddr(new) => {
                if !self.listening.contains(new.addr) {
                    self.listening.push(new.addr.clone());
                }
                self.inner.on_swarm_event(event);
            }
            FromSwarm::ExpiredListenAddr(gone) => {
                self.listening.retain(|address| address != gone.addr);
                self.inner.on_swarm_event(event);
            }
            FromSwarm::ExternalAddrConfirmed(new) => {
                if !self.external.contains(new.addr) {
                    self.external.push(new.addr.clone());
                }
            }
            FromSwarm::ExternalAddrExpired(gone) => self.external.retain(|address| address != gone.addr),
            _ => self.inner.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            match self.inner.poll(cx) {
                // Those to handlers would overwrite what each connection was told with what the latest one is told. The
                // candidates are observed addresses with our listen port put in the place of the observed one, which
                // is wrong behind every NAT that moves ports; the swarm's task takes them as they were observed.
                Poll::Ready(ToSwarm::NotifyHandler { .. } | ToSwarm::NewExternalAddrCandidate(_)) => {}
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_addresses_of_its_own_scope_and_public_ones_only() {
        let listening: Vec<Multiaddr> =
            ["/ip4/127.0.0.1/udp/9/quic-v1", "/ip4/192.168.7.1/udp/9/quic-v1", "/ip4/192.168.7.1/tcp/9"]
                .map(|text| text.parse().unwrap())
                .into();
        let external: Vec<Multiaddr> = vec!["/ip4/9.9.9.9/udp/9/quic-v1".parse().unwrap()];
        let told = |scope, serving| addresses_for(Some(scope), serving, &listening, &external);
        assert_eq!(told(Scope::Public, true), external);
        assert_eq!(told(Scope::Loopback, true), [external[0].clone(), listening[0].clone()]);
        assert_eq!(told(Scope::Private, true), [external[0].clone(), listening[1].clone(), listening[2].clone()]);
        assert_eq!(told(Scope::Private, false), external);
    }
}
