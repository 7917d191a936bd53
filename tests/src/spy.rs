//! A friend who wants to know where somebody is, and uses the network to the full for it: the pair slot that only he can
//! read, the contact slot, circuits, identify, hole punching, and the DHT's own search for nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use libp2p::kad::store::MemoryStore;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, dcutr, identify, identity, kad, noise, ping, relay, tcp,
    yamux,
};
use tokio::time::timeout;
use twocan_node::rendezvous::{Rendezvous, Target};
use twocan_node::swarm;
use twocan_protocol::rendezvous::Body;

use crate::node::DEADLINE;

/// How long the spy goes on listening once it has spoken with the other node: a hole punch takes two round trips.
const LINGER: Duration = Duration::from_secs(4);

#[derive(NetworkBehaviour)]
struct Tools {
    relay: relay::client::Behaviour,
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
    dcutr: dcutr::Behaviour,
    ping: ping::Behaviour,
}

/// What the spy found out about a node.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// Every address that was said to be the node's, or from which it spoke.
    pub addresses: BTreeSet<String>,
    /// What it says that it speaks.
    pub protocols: BTreeSet<String>,
    /// Whether a circuit to it came up.
    pub reached: bool,
    /// Whether a hole was punched to it.
    pub punched: bool,
}

/// Reads a slot as the one who is entitled to.
pub async fn read_slot(bootstrap: &[String], target: Target) -> Result<Body> {
    let (swarm, mut events) = swarm::start(swarm::Config {
        bootstrap: bootstrap.to_vec(),
        dht_server: swarm::ServerMode::Off,
        ..Default::default()
    })?;
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let (rendezvous, mut told) = Rendezvous::start(swarm.clone());
    tokio::spawn(async move { while told.recv().await.is_some() {} });
    let search = async {
        loop {
            // "Not found" may only mean that it was not put yet.
            if let Some(found) = rendezvous.find(target.clone()).first().await {
                return found.body;
            }
        }
    };
    let body = timeout(DEADLINE, search).await.context("the slot was not found")?;
    swarm.shutdown().await;
    Ok(body)
}

/// Goes to a node through the circuits that it names, and asks everybody about it.
pub async fn pry(bootstrap: &[String], peer: &[u8], circuits: &[String]) -> Result<Learned> {
    let target = PeerId::from_bytes(peer)?;
    let mut spy = build()?;
    spy.listen_on("/ip4/0.0.0.0/udp/0/quic-v1".parse()?)?;
    spy.listen_on("/ip4/0.0.0.0/tcp/0".parse()?)?;
    for address in bootstrap {
        let address: Multiaddr = address.parse()?;
        if let Some(Protocol::P2p(node)) = address.iter().last() {
            spy.behaviour_mut().kad.add_address(&node, address.clone());
        }
        let _ = spy.dial(address);
    }
    let query = spy.behaviour_mut().kad.get_closest_peers(target);
    let ways = circuits.iter().map(|circuit| {
        let address: Multiaddr = circuit.parse()?;
        Ok(address.with_p2p(target).unwrap_or_else(|address| address))
    });
    let ways: Vec<Multiaddr> = ways.collect::<Result<_>>()?;
    let mut again = tokio::time::interval(Duration::from_secs(1));
    let mut learned = Learned::default();
    let (mut asked, mut told) = (false, false);
    let talk = async {
        while !(asked && told) {
            let event = tokio::select! {
                event = spy.select_next_some() => event,
                _ = again.tick(), if !learned.reached => {
                    ways.iter().for_each(|way| drop(spy.dial(way.clone())));
                    continue;
                }
            };
            note(&mut learned, target, &event);
            match event {
                SwarmEvent::Behaviour(ToolsEvent::Kad(kad::Event::OutboundQueryProgressed { id, step, .. })) => {
                    asked |= id == query && step.last;
                }
                SwarmEvent::Behaviour(ToolsEvent::Identify(identify::Event::Received { peer_id, .. })) => {
                    told |= peer_id == target;
                }
                _ => {}
            }
        }
    };
    timeout(DEADLINE, talk).await.context("the node says nothing of itself")?;
    let linger = async {
        loop {
            let event = spy.select_next_some().await;
            note(&mut learned, target, &event);
        }
    };
    let _: Result<(), _> = timeout(LINGER, linger).await;
    Ok(learned)
}

fn build() -> Result<Swarm<Tools>> {
    let swarm = SwarmBuilder::with_existing_identity(identity::Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, relay| {
            let me = PeerId::from(key.public());
            Tools {
                relay,
                identify: identify::Behaviour::new(identify::Config::new("/twocan/1".to_owned(), key.public())),
                kad: kad::Behaviour::with_config(
                    me,
                    MemoryStore::new(me),
                    kad::Config::new(StreamProtocol::new("/twocan/kad/1")),
                ),
                dcutr: dcutr::Behaviour::new(me),
                ping: ping::Behaviour::default(),
            }
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(DEADLINE))
        .build();
    Ok(swarm)
}

/// Keeps whatever an event says about the node.
fn note(learned: &mut Learned, target: PeerId, event: &SwarmEvent<ToolsEvent>) {
    let mut address = |address: &Multiaddr| learned.addresses.extend([address.to_string()]);
    match event {
        SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } if *peer_id == target => {
            address(endpoint.get_remote_address());
            learned.reached = true;
        }
        SwarmEvent::NewExternalAddrOfPeer { peer_id, address: of } if *peer_id == target => address(of),
        SwarmEvent::Behaviour(ToolsEvent::Identify(identify::Event::Received { peer_id, info, .. }))
            if *peer_id == target =>
        {
            info.listen_addrs.iter().for_each(&mut address);
            learned.protocols.extend(info.protocols.iter().map(ToString::to_string));
        }
        SwarmEvent::Behaviour(ToolsEvent::Kad(kad::Event::OutboundQueryProgressed {
            result: kad::QueryResult::GetClosestPeers(result),
            ..
        })) => {
            let peers = match result {
                Ok(found) => &found.peers,
                Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
            };
            for found in peers.iter().filter(|found| found.peer_id == target) {
                found.addrs.iter().for_each(&mut address);
            }
        }
        SwarmEvent::Behaviour(ToolsEvent::Dcutr(dcutr::Event { remote_peer_id, result }))
            if *remote_peer_id == target =>
        {
            learned.punched |= result.is_ok();
        }
        _ => {}
    }
}
