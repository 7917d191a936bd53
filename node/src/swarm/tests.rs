//! Our reachability tests and hole punching against libp2p's own, and a hidden node against one that asks everything.

mod hop;

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Swarm, autonat, dcutr, identify, identity, kad,
    multiaddr::Protocol,
    relay,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use tokio::sync::mpsc;

use super::{Config, Event, Handle, ServerMode, autonat as ours, start, transport};

/// Nothing in these tests takes longer on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

fn foreign<B: NetworkBehaviour>(make: impl FnOnce(&identity::Keypair, relay::client::Behaviour) -> B) -> Swarm<B> {
    let key = identity::Keypair::generate_ed25519();
    let (transport, relay) = transport::build(&key, None).unwrap();
    let behaviour = make(&key, relay);
    let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(DEADLINE);
    Swarm::new(transport, behaviour, key.public().to_peer_id(), config)
}

async fn listening<B: NetworkBehaviour>(swarm: &mut Swarm<B>) -> Multiaddr {
    swarm.listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

fn identify_of(key: &identity::Keypair) -> identify::Behaviour {
    identify::Behaviour::new(identify::Config::new("/foreign/1".to_owned(), key.public()))
}

#[derive(NetworkBehaviour)]
struct Tested {
    autonat: ours::Behaviour,
}

#[derive(NetworkBehaviour)]
struct StockServer {
    autonat: autonat::v2::server::Behaviour,
}

#[tokio::test]
async fn a_stock_server_tests_our_addresses() {
    let mut server = foreign(|_, _| StockServer { autonat: autonat::v2::server::Behaviour::default() });
    let at = listening(&mut server).await;
    let mut us = foreign(|_, _| Tested { autonat: ours::Behaviour::new(true) });
    let good = listening(&mut us).await;
    let closed: Multiaddr = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        format!("/ip4/127.0.0.1/udp/{}/quic-v1", socket.local_addr().unwrap().port()).parse().unwrap()
    };
    us.dial(at.with(Protocol::P2p(*server.local_peer_id()))).unwrap();
    tokio::spawn(async move {
        loop {
            server.select_next_some().await;
        }
    });
    let mut verdicts = Vec::new();
    within("verdicts", async {
        while verdicts.len() < 2 {
            match us.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } if endpoint.is_dialer() => {
                    for address in [&good, &closed] {
                        assert!(us.behaviour_mut().autonat.test(peer_id, connection_id, address.clone()));
                    }
                }
                SwarmEvent::Behaviour(TestedEvent::Autonat(verdict)) => {
                    verdicts.push((verdict.address, verdict.outcome));
                }
                _ => {}
            }
        }
    })
    .await;
    verdicts.sort_by_key(|(_, outcome)| *outcome != ours::Outcome::Reachable);
    // For any address but the one that it sees, a stock server wants tens of kilobytes first: we rather do not know.
    assert_eq!(verdicts, [(good, ours::Outcome::Reachable), (closed, ours::Outcome::Unknown)]);
}

#[derive(NetworkBehaviour)]
struct Server {
    identify: identify::Behaviour,
    autonat: ours::Behaviour,
}

#[derive(NetworkBehaviour)]
struct StockClient {
    identify: identify::Behaviour,
    autonat: autonat::v2::client::Behaviour,
}

#[tokio::test]
async fn we_test_the_addresses_of_a_stock_client() {
    let mut server = foreign(|key, _| Server { identify: identify_of(key), autonat: ours::Behaviour::new(true) });
    server.behaviour_mut().autonat.set_serving(true);
    let at = listening(&mut server).await;
    let mut client = foreign(|key, _| {
        let config = autonat::v2::client::Config::default().with_probe_interval(Duration::from_millis(100));
        let autonat = autonat::v2::client::Behaviour::new(rand::make_rng(), config);
        StockClient { identify: identify_of(key), autonat }
    });
    let own = listening(&mut client).await;
    client.dial(at.with(Protocol::P2p(*server.local_peer_id()))).unwrap();
    tokio::spawn(async move {
        loop {
            server.select_next_some().await;
        }
    });
    let tested = within("test", async {
        loop {
            if let SwarmEvent::Behaviour(StockClientEvent::Autonat(event)) = client.select_next_some().await {
                return event;
            }
        }
    })
    .await;
    assert!(tested.result.is_ok(), "{tested:?}");
    assert_eq!(tested.tested_addr, own);
}

#[derive(NetworkBehaviour)]
struct Stranger {
    identify: identify::Behaviour,
    relay: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
}

fn stranger() -> Swarm<Stranger> {
    foreign(|key, relay| {
        let me = key.public().to_peer_id();
        let kad = kad::Config::new(super::dht::KAD_PROTOCOL);
        Stranger {
            identify: identify_of(key),
            relay,
            dcutr: dcutr::Behaviour::new(me),
            kad: kad::Behaviour::with_config(me, kad::store::MemoryStore::new(me), kad),
        }
    })
}

async fn relay_node() -> (Handle, mpsc::Receiver<Event>, String) {
    let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()];
    let config = Config { listen, relay_server: ServerMode::On, dht_server: ServerMode::Off, ..Config::default() };
    let (handle, mut events) = start(config).unwrap();
    loop {
        if let Some(Event::Listening(address)) = events.recv().await {
            let address = format!("{address}/p2p/{}", handle.peer_text());
            return (handle, events, address);
        }
    }
}

/// Waits for an address of `handle` through the relay, and completes it.
async fn circuit_to(handle: &Handle) -> Multiaddr {
    let mut relayed = handle.relayed();
    let addresses = within("reservation", relayed.wait_for(|addresses| !addresses.is_empty())).await.unwrap().clone();
    let peer: PeerId = handle.peer_text().parse().unwrap();
    addresses[0].parse::<Multiaddr>().unwrap().with(Protocol::P2p(peer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_is_punched_with_a_stock_node() {
    let (_relay, _events, at) = relay_node().await;
    let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()];
    let config = Config { listen, dht_server: ServerMode::Off, ..Config::default() };
    let (alice, _alice_events) = start(config).unwrap();
    alice.prefer_relays(vec![at.clone()]).await;
    let circuit = circuit_to(&alice).await;
    let mut stranger = stranger();
    listening(&mut stranger).await;
    stranger.dial(at.parse::<Multiaddr>().unwrap()).unwrap();
    let result = within("punch", async {
        loop {
            match stranger.select_next_some().await {
                // The relay has told the stranger where it sees it: now it has candidates.
                SwarmEvent::NewExternalAddrCandidate { .. } => {
                    stranger.dial(circuit.clone()).unwrap();
                }
                SwarmEvent::Behaviour(StrangerEvent::Dcutr(event)) => return event.result,
                _ => {}
            }
        }
    })
    .await;
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_node_tells_a_friend_who_asks_everything_no_address_and_comes_to_no_relay_of_his() {
    let (_relay, _events, at) = relay_node().await;
    let (own_relay, mut theirs, bait) = relay_node().await;
    let config = Config { hidden: true, listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()], ..Config::default() };
    let (hidden, mut events) = start(Config { bootstrap: vec![bait.clone()], ..config }).unwrap();
    hidden.prefer_relays(vec![at.clone()]).await;
    let circuit = circuit_to(&hidden).await;
    let mut stranger = stranger();
    listening(&mut stranger).await;
    stranger.dial(at.parse::<Multiaddr>().unwrap()).unwrap();
    let me: PeerId = hidden.peer_text().parse().unwrap();
    let told = within("identify", async {
        loop {
            match stranger.select_next_some().await {
                SwarmEvent::NewExternalAddrCandidate { .. } => {
                    stranger.dial(circuit.clone()).unwrap();
                }
                SwarmEvent::Behaviour(StrangerEvent::Identify(identify::Event::Received { peer_id, info, .. }))
                    if peer_id == me =>
                {
                    return info;
                }
                _ => {}
            }
        }
    })
    .await;
    assert!(told.listen_addrs.is_empty(), "{told:?}");
    let ip = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Ip4(_) | Protocol::Ip6(_)));
    assert!(!ip(&told.observed_addr), "{told:?}");
    for absent in ["/libp2p/dcutr", "/twocan/kad/1", "/libp2p/autonat", "/libp2p/circuit"] {
        assert!(told.protocols.iter().all(|protocol| !protocol.as_ref().starts_with(absent)), "{absent}: {told:?}");
    }
    stranger.behaviour_mut().kad.add_address(&me, circuit.clone());
    let asked = stranger.behaviour_mut().kad.get_closest_peers(me);
    let found = within("nobody answers in the DHT", async {
        loop {
            if let SwarmEvent::Behaviour(StrangerEvent::Kad(kad::Event::OutboundQueryProgressed {
                id,
                stats,
                step,
                ..
            })) = stranger.select_next_some().await
                && id == asked
                && step.last
            {
                return stats.num_successes();
            }
        }
    })
    .await;
    assert_eq!(found, 0);

    // He names a relay of his own, and himself: the hidden node goes to neither.
    let his = own_relay.peer_id().clone();
    let lures =
        [bait.clone(), format!("{bait}/p2p-circuit"), format!("{bait}/p2p-circuit/p2p/{}", stranger.local_peer_id())];
    for lure in lures {
        for expect in [None, Some(his.clone())] {
            let refused = hidden.dial(vec![lure.clone()], expect, DEADLINE).await;
            assert_eq!(refused, Err(super::DialError::NoAddress), "{lure}");
        }
    }
    hidden.add_bootstrap(vec![bait]).await;
    hidden.network_changed();
    assert!(hidden.stats().await.connections >= 1);
    while let Some(Some(event)) = theirs.recv().now_or_never() {
        assert!(!matches!(event, Event::Connected(_)), "{event:?}");
    }
    while let Some(Some(event)) = events.recv().now_or_never() {
        assert!(!matches!(event, Event::Listening(_) | Event::Upgraded { .. }), "{event:?}");
    }
    assert!(hidden.addresses().borrow().is_empty());
}
