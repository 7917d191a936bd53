//! Kademlia, set up for slots, with a filter on the addresses that it dials.
//!
//! The stock behaviour dials whatever addresses other nodes report, and so can be made to knock at 127.0.0.1 or at
//! machines of the own network. This wrapper drops those before they are dialled. Everything else is passed through.

use std::{
    num::NonZeroUsize,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    kad,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};

use super::{
    scope::{Families, Scope, is_useful},
    store::{MAX_LIFE, Store},
};

/// Our own DHT; no node of another network speaks it.
pub(super) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/twocan/kad/1");
/// Peers asked at a time, and number of disjoint paths of a query.
const PARALLELISM: usize = 4;
/// A query that has not ended by then has met many dead nodes; what it found was reported on the way.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one request may take: two round trips on the slowest link that could still carry a call.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// Largest message: twenty peers with eight addresses of 64 bytes, and one record.
pub(super) const MAX_PACKET: usize = 16 * 1024;

pub(super) type Kademlia = kad::Behaviour<Store>;

/// Kademlia behind an address filter.
pub(super) struct Behaviour {
    inner: Kademlia,
    confirmed: Option<Scope>,
    families: Families,
}

impl Behaviour {
    pub(super) fn new(me: PeerId) -> Self {
        let mut config = kad::Config::new(KAD_PROTOCOL);
        config
            .set_query_timeout(QUERY_TIMEOUT)
            .set_substreams_timeout(REQUEST_TIMEOUT)
            .set_max_packet_size(MAX_PACKET)
            .set_record_filtering(kad::StoreInserts::FilterBoth)
            .set_record_ttl(Some(MAX_LIFE))
            .set_replication_interval(None)
            .set_publication_interval(None)
            .set_provider_publication_interval(None)
            .set_kbucket_inserts(kad::BucketInserts::Manual)
            .set_caching(kad::Caching::Disabled)
            .set_periodic_bootstrap_interval(None)
            .disjoint_query_paths(true);
        if let Some(parallelism) = NonZeroUsize::new(PARALLELISM) {
            config.set_parallelism(parallelism);
        }
        let mut inner = Kademlia::with_config(me, Store::new(me), config);
        inner.set_mode(Some(kad::Mode::Client));
        Self { inner, confirmed: None, families: Families::default() }
    }

    /// The Kademlia behaviour itself.
    pub(super) fn kad(&mut self) -> &mut Kademlia {
        &mut self.inner
    }

    /// Sets the widest scope in which a DHT node was confirmed.
    pub(super) fn set_confirmed(&mut self, confirmed: Option<Scope>) {
        self.confirmed = confirmed;
    }

    /// Sets the families in which this node can dial.
    pub(super) fn set_families(&mut self, families: Families) {
        self.families = families;
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = <Kademlia as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = kad::Event;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

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
        let mut found = self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)?;
        found.retain(|address| is_useful(address, self.confirmed) && self.families.reach(address));
        Ok(found)
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
