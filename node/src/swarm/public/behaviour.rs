//! What runs on the connections of the public DHT's client: Kademlia, and a limit on their number. No ping, no server,
//! and no identify, except in a client that announces: older servers take a provider's addresses from there.
//!
//! The wrapper around Kademlia drops addresses that must not be dialled, and tells the addresses of providers, which the
//! stock behaviour keeps to itself.

use std::{
    num::NonZeroUsize,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    connection_limits::{self, ConnectionLimits},
    core::{Endpoint, transport::PortUse},
    identify, identity, kad,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
        behaviour::{ExternalAddrConfirmed, ExternalAddrExpired, toggle::Toggle},
    },
};

use super::{
    super::{
        dht::Kademlia,
        scope::{Scope, is_useful, without_peer},
        store::Store,
    },
    Start,
};

/// The public IPFS DHT (also called Amino).
const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");
/// Servers asked at a time: many do not answer.
const PARALLELISM: usize = 8;
/// A query that has not ended by then has met many dead servers.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// Largest message: twenty peers with many addresses each, and a record.
const MAX_PACKET: usize = 64 * 1024;
/// Connections at a time. Two puts, each to twenty servers found among about as many more.
const MAX_CONNECTIONS: u32 = 96;
/// Dials at a time.
const MAX_DIALS: u32 = 32;
/// What an announcing client says that it speaks: what every node of that network says.
const IDENTIFY_PROTOCOL: &str = "ipfs/0.1.0";
/// Addresses of one server that are tried: some list dozens.
const MAX_ADDRESSES: usize = 8;

/// The behaviours of the client's swarm.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    connections: connection_limits::Behaviour,
    identify: Toggle<identify::Behaviour>,
    pub(super) dht: Dht,
}

impl Behaviour {
    /// Dials only addresses that reach at least as far as `scope`, and `start`.
    pub(super) fn new(key: &identity::Keypair, scope: Scope, start: &[Start], announces: bool) -> Self {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(0))
            .with_max_established_incoming(Some(0))
            .with_max_pending_outgoing(Some(MAX_DIALS))
            .with_max_established_outgoing(Some(MAX_CONNECTIONS))
            .with_max_established_per_peer(Some(2));
        let identify = announces.then(|| {
            let config = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public());
            // The default agent version names the library.
            let config = config.with_agent_version(String::new()).with_hide_listen_addrs(true).with_cache_size(0);
            identify::Behaviour::new(config)
        });
        Self {
            connections: connection_limits::Behaviour::new(limits),
            identify: identify.into(),
            dht: Dht::new(PeerId::from(key.public()), scope, start),
        }
    }

    /// The addresses that announcements carry from now on. The swarm itself does not know of them: it listens nowhere.
    pub(super) fn announce(&mut self, addresses: Vec<Multiaddr>) {
        for addr in &self.dht.announced {
            let gone = || FromSwarm::ExternalAddrExpired(ExternalAddrExpired { addr });
            self.identify.on_swarm_event(gone());
            self.dht.inner.on_swarm_event(gone());
        }
        for addr in &addresses {
            let new = || FromSwarm::ExternalAddrConfirmed(ExternalAddrConfirmed { addr });
            self.identify.on_swarm_event(new());
            self.dht.inner.on_swarm_event(new());
        }
        self.dht.announced = addresses;
    }
}

/// Kademlia as a client.
pub(super) struct Dht {
    inner: Kademlia,
    scope: Scope,
    /// Addresses of the person's choice: a name there may stand for several addresses.
    start: Vec<Multiaddr>,
    announced: Vec<Multiaddr>,
}

impl Dht {
    fn new(me: PeerId, scope: Scope, start: &[Start]) -> Self {
        let mut config = kad::Config::new(KAD_PROTOCOL);
        config
            .set_query_timeout(QUERY_TIMEOUT)
            .set_substreams_timeout(REQUEST_TIMEOUT)
            .set_max_packet_size(MAX_PACKET)
            .set_record_filtering(kad::StoreInserts::FilterBoth)
            .set_record_ttl(None)
            .set_replication_interval(None)
            .set_publication_interval(None)
            .set_provider_publication_interval(None)
            .set_caching(kad::Caching::Disabled)
            .set_periodic_bootstrap_interval(None);
        if let Some(parallelism) = NonZeroUsize::new(PARALLELISM) {
            config.set_parallelism(parallelism);
        }
        let mut inner = Kademlia::with_config(me, Store::new(me), config);
        inner.set_mode(Some(kad::Mode::Client));
        for Start { peer, address } in start {
            inner.add_address(peer, address.clone());
        }
        Self { inner, scope, start: start.iter().map(|start| start.address.clone()).collect(), announced: Vec::new() }
    }

    /// The Kademlia behaviour itself.
    pub(super) fn kad(&mut self) -> &mut Kademlia {
        &mut self.inner
    }

    /// Where running queries have heard that `peer` is, within the scope.
    pub(super) fn addresses_of(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        // Kademlia tells what it knows only to who is about to dial; nothing is dialled here.
        let unused = ConnectionId::new_unchecked(0);
        let found = self.inner.handle_pending_outbound_connection(unused, Some(peer), &[], Endpoint::Dialer);
        self.usable(found.unwrap_or_default()).into_iter().map(without_peer).collect()
    }

    fn usable(&self, mut addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
        addresses.retain(|address| {
            is_useful(address, Some(self.scope)) || self.start.contains(&without_peer(address.clone()))
        });
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }
}

impl NetworkBehaviour for Dht {
    type ConnectionHandler = <Kademlia as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = kad::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let found = self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)?;
        Ok(self.usable(found))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}
