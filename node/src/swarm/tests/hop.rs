//! The blind hop: a relay does what a hidden node asks, and nothing for anybody else.

use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use rand::{SeedableRng, rngs::StdRng};
use twocan_protocol::{
    address::ContactToken,
    identity::{Certificate, DeviceKey, PeerId, RootKey},
    rendezvous::{Body, contact_publisher},
};

use super::*;
use crate::swarm::{Copy, GetEvent, PutEvent, hop, types::QueryId};

/// A valid record, and the key that it lies at.
fn record() -> ([u8; 32], Vec<u8>) {
    let root = RootKey::from_secret(&[1; 32]);
    let publisher = contact_publisher(&root, &ContactToken::derived(&root), 7, 0);
    let body = Body {
        certificate: Certificate::issue(&root, DeviceKey::from_secret(&[2; 32]).public(), 0, 0, u64::MAX),
        peer_id: PeerId::from_bytes(&[9; 38]).unwrap(),
        direct: Vec::new(),
        lan: Vec::new(),
        relayed: Vec::new(),
        expires_ms: u64::MAX,
    };
    let value = publisher.record(5, &body, &mut StdRng::seed_from_u64(1)).unwrap();
    (*publisher.key.as_bytes(), value)
}

/// A node that serves circuits and the DHT.
async fn node(bootstrap: Vec<String>) -> (Handle, mpsc::Receiver<Event>, String) {
    let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()];
    let (relay_server, dht_server) = (ServerMode::On, ServerMode::On);
    let config = Config { listen, bootstrap, relay_server, dht_server, ..Config::default() };
    let (handle, mut events) = start(config).unwrap();
    loop {
        if let Some(Event::Listening(address)) = events.recv().await {
            let address = format!("{address}/p2p/{}", handle.peer_text());
            return (handle, events, address);
        }
    }
}

async fn put(handle: &Handle, key: [u8; 32], value: Vec<u8>) -> u32 {
    let (_, mut events) = handle.put(key, value).await.unwrap();
    loop {
        if let PutEvent::Done(report) = within("put", events.recv()).await.unwrap() {
            return report.stored;
        }
    }
}

async fn get(handle: &Handle, key: [u8; 32]) -> Vec<Copy> {
    let mut get = handle.get(key).await.unwrap();
    let mut copies = Vec::new();
    while let Some(GetEvent::Copy(copy)) = within("search", get.next()).await {
        copies.push(copy);
    }
    copies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_puts_and_looks_for_a_hidden_node_which_speaks_with_nobody_else() {
    let (relay, _relay_events, at) = node(Vec::new()).await;
    let (_one, mut one_events, _) = node(vec![at.clone()]).await;
    let (_two, mut two_events, _) = node(vec![at.clone()]).await;
    within("the DHT", relay.dht().wait_for(|dht| dht.peers == 2)).await.unwrap();
    let (hidden, _events) = start(Config { hidden: true, ..Config::default() }).unwrap();
    let (key, value) = record();
    // What is asked before there is a relay waits for one.
    let early = hidden.get(key).await.unwrap();
    hidden.prefer_relays(vec![at.clone()]).await;
    circuit_to(&hidden).await;
    drop(early);
    assert!(get(&hidden, key).await.is_empty());
    assert!(put(&hidden, key, value.clone()).await >= 2);
    let copies = get(&hidden, key).await;
    assert_eq!(copies.len(), 1, "the same record is told once");
    assert_eq!((&copies[0].value, copies[0].from.as_ref()), (&value, Some(relay.peer_id())));
    let mut damaged = value;
    damaged[500] ^= 1;
    assert_eq!(put(&hidden, key, damaged).await, 0);
    for events in [&mut one_events, &mut two_events] {
        while let Some(Some(event)) = events.recv().now_or_never() {
            let met = matches!(&event, Event::Connected(info) if info.peer == *hidden.peer_id());
            assert!(!met, "{event:?}");
        }
    }
}

#[derive(NetworkBehaviour)]
struct Asking {
    hop: hop::Behaviour,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_wait_at_a_relay_is_served_nothing_by_it() {
    let (relay, _events, at) = node(Vec::new()).await;
    let (_other, _other_events, _) = node(vec![at.clone()]).await;
    within("the DHT", relay.dht().wait_for(|dht| dht.peers == 1)).await.unwrap();
    let (key, value) = record();
    assert!(put(&relay, key, value).await >= 1);
    let mut stranger = foreign(|_, _| Asking { hop: hop::Behaviour::default() });
    stranger.dial(at.parse::<Multiaddr>().unwrap()).unwrap();
    let (copies, mut told) = mpsc::channel(8);
    let report = within("the end of the stream", async {
        loop {
            match stranger.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                    let request = hop::Request::Get(key);
                    let relay = (peer_id, connection_id, None);
                    stranger.behaviour_mut().hop.ask(relay, QueryId::new(1), request, Some(copies.clone()));
                }
                SwarmEvent::Behaviour(AskingEvent::Hop(hop::Event::Answered(report))) => return report,
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(report.count, None);
    assert!(told.try_recv().is_err());
}
