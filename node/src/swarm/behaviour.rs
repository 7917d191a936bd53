//! Everything that runs on a connection, put together, with the limits of each part.
//!
//! Order matters: what refuses connections comes first, so that the others never hear of refused ones.

use std::time::Duration;

use libp2p::{
    PeerId,
    connection_limits::{self, ConnectionLimits},
    identify, identity, mdns, memory_connection_limits, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::{alive, announce, ask, autonat, circuits, dht, hop, limits, punch, streams, stun};

/// Names our family of protocols in identify; the same for every node and version, and says nothing about the person.
const IDENTIFY_PROTOCOL: &str = "/twocan/1";
/// Addresses and protocols of a peer hardly change during a connection.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// Peers on the LAN announce themselves when they come; asking is only for lost packets.
const MDNS_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// Life of an mDNS answer: two intervals.
const MDNS_TTL: Duration = Duration::from_secs(30 * 60);
/// Handshakes from strangers at a time.
const MAX_PENDING_INCOMING: u32 = 32;
/// Dials at a time: a query dials four peers, a search several addresses.
const MAX_PENDING_OUTGOING: u32 = 64;
/// Connections from others at a time.
const MAX_INCOMING: u32 = 128;
/// Connections to others at a time.
const MAX_OUTGOING: u32 = 128;
/// Connections in all.
const MAX_CONNECTIONS: u32 = 192;
/// Connections with one peer: dials that cross over two transports, one or two through relays, and those that punching
/// makes from both sides.
const MAX_PER_PEER: u32 = 8;
/// Memory of the process beyond which no new connection is taken.
const MAX_MEMORY: usize = 192 << 20;

/// What is left out, or off.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    /// Look for nodes on the LAN.
    pub(super) mdns: bool,
    /// Tell nobody anything by which this machine could be found: see [`super::types::Config::hidden`].
    pub(super) hidden: bool,
}

/// The behaviours of one swarm.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    rates: limits::Behaviour,
    connections: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub(super) identify: announce::Behaviour,
    pub(super) dht: dht::Behaviour,
    pub(super) ask: ask::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) streams: streams::Behaviour,
    pub(super) autonat: autonat::Behaviour,
    pub(super) circuits: circuits::Behaviour,
    relay: relay::client::Behaviour,
    pub(super) punch: punch::Behaviour,
    pub(super) alive: alive::Behaviour,
    pub(super) stun: stun::Behaviour,
    pub(super) hop: hop::Behaviour,
}

impl Behaviour {
    /// The behaviours for the swarm key `key`; without mDNS if it is switched off or no socket can be had for it.
    pub(super) fn new(key: &identity::Keypair, relay: relay::client::Behaviour, parts: Parts) -> Self {
        let me = PeerId::from(key.public());
        let mdns = (parts.mdns && !parts.hidden)
            .then(|| {
                let config = mdns::Config { ttl: MDNS_TTL, query_interval: MDNS_INTERVAL, enable_ipv6: false };
                mdns::tokio::Behaviour::new(config, me)
                    .inspect_err(|error| tracing::warn!(%error, "mDNS is off: no socket for it"))
                    .ok()
            })
            .flatten();
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), key.public())
            .with_agent_version("twocan".to_owned())
            .with_interval(IDENTIFY_INTERVAL)
            .with_cache_size(0)
            .with_hide_listen_addrs(true);
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(MAX_PENDING_INCOMING))
            .with_max_pending_outgoing(Some(MAX_PENDING_OUTGOING))
            .with_max_established_incoming(Some(MAX_INCOMING))
            .with_max_established_outgoing(Some(MAX_OUTGOING))
            .with_max_established(Some(MAX_CONNECTIONS))
            .with_max_established_per_peer(Some(MAX_PER_PEER));
        Self {
            rates: limits::Behaviour::new(),
            connections: connection_limits::Behaviour::new(limits),
            memory: memory_connection_limits::Behaviour::with_max_bytes(MAX_MEMORY),
            identify: announce::Behaviour::new(identify),
            dht: dht::Behaviour::new(me),
            ask: ask::behaviour(),
            mdns: mdns.into(),
            streams: streams::Behaviour::default(),
            autonat: autonat::Behaviour::new(!parts.hidden),
            circuits: circuits::Behaviour::new(me),
            relay,
            punch: punch::Behaviour::new(!parts.hidden),
            alive: alive::Behaviour::default(),
            stun: stun::Behaviour::default(),
            hop: hop::Behaviour::default(),
        }
    }
}
