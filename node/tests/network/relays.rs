//! Circuits through relays, and the way from a relayed to a direct connection.

use futures::{AsyncReadExt, AsyncWriteExt};
use twocan_node::swarm::{self, Config, ConnectionInfo, Event, OpenError, Route, ServerMode};

use crate::support::{DEADLINE, Node, within};

/// A node that carries circuits.
async fn relay() -> Node {
    Node::with(Config { relay_server: ServerMode::On, dht_server: ServerMode::On, ..Config::default() }).await
}

/// A node that only dials: nobody can reach it but through relays.
fn unreachable() -> Node {
    let (handle, events) = swarm::start(Config::default()).unwrap();
    Node { handle, events, addresses: Vec::new() }
}

fn with_name(node: &Node, address: &str) -> String {
    format!("{address}/p2p/{}", node.handle.peer_text())
}

/// Waits until `node` waits for circuits at `count` relays, and returns where.
async fn waits_at(node: &Node, relays: &[&Node]) -> Vec<String> {
    let mut relayed = node.handle.relayed();
    let all = |addresses: &Vec<String>| {
        relays.iter().all(|relay| addresses.iter().any(|address| address.contains(relay.handle.peer_text())))
    };
    within("reservations", relayed.wait_for(all)).await.unwrap().clone()
}

async fn dial(from: &Node, to: &Node, addresses: &[String]) -> ConnectionInfo {
    let expect = Some(to.handle.peer_id().clone());
    from.handle.dial(addresses.to_vec(), expect, DEADLINE).await.unwrap()
}

/// Sends a greeting over a new stream of `connection` and has it answered.
async fn talk(from: &Node, to: &mut Node, info: &ConnectionInfo) {
    let mut stream = within("open", from.handle.open(info.connection)).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    let mut inbound = to.event("stream", |event| if let Event::Inbound(s) = event { Some(s) } else { None }).await;
    let mut greeting = [0; 5];
    within("greeting", inbound.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"hello");
    inbound.write_all(b"there").await.unwrap();
    inbound.flush().await.unwrap();
    within("answer", stream.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_nobody_can_reach_is_reached_through_a_relay() {
    let relay = relay().await;
    let (mut alice, bob) = (unreachable(), unreachable());
    alice.handle.prefer_relays(vec![with_name(&relay, &relay.quic())]).await;
    let addresses = waits_at(&alice, &[&relay]).await;
    let info = dial(&bob, &alice, &addresses).await;
    assert_eq!((info.route, info.relay.as_ref()), (Route::Relayed, Some(relay.handle.peer_id())));
    let limit = info.limit.unwrap();
    assert!(limit.duration.unwrap().as_secs() >= 1800 && limit.bytes.unwrap() >= 1 << 20, "{limit:?}");
    let there = alice
        .event("circuit", |event| match event {
            Event::Connected(info) if info.route == Route::Relayed => Some(info),
            _ => None,
        })
        .await;
    assert_eq!((there.peer.clone(), there.outbound), (bob.handle.peer_id().clone(), false));
    assert_eq!(there.relay.as_ref(), Some(relay.handle.peer_id()));
    assert_eq!(there.limit, info.limit);
    talk(&bob, &mut alice, &info).await;
    let load = relay.handle.stats().await;
    assert_eq!((load.reservations, load.circuits), (1, 1));
    // Serving needs a way in: neither of them carries circuits or the DHT because of an address at a relay.
    assert!(!alice.handle.stats().await.server);
    assert!(alice.handle.reachability().borrow().public.is_empty());
    assert!(alice.handle.addresses().borrow().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_is_replaced_and_asked_again_when_it_is_back() {
    let (first, second) = (relay().await, relay().await);
    let (mut alice, bob) = (unreachable(), unreachable());
    let both = vec![with_name(&first, &first.quic()), with_name(&second, &second.tcp())];
    alice.handle.prefer_relays(both).await;
    waits_at(&alice, &[&first, &second]).await;
    first.handle.shutdown().await;
    let mut relayed = alice.handle.relayed();
    let gone = |addresses: &Vec<String>| addresses.iter().all(|address| !address.contains(first.handle.peer_text()));
    let left = within("the dead relay leaves", relayed.wait_for(gone)).await.unwrap().clone();
    assert!(!left.is_empty());
    let info = dial(&bob, &alice, &left).await;
    assert_eq!(info.relay.as_ref(), Some(second.handle.peer_id()));
    talk(&bob, &mut alice, &info).await;
    let third = relay().await;
    alice.handle.prefer_relays(vec![with_name(&second, &second.tcp()), with_name(&third, &third.quic())]).await;
    waits_at(&alice, &[&second, &third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relayed_connection_is_made_direct_and_stays_until_its_owner_closes_it() {
    let relay = relay().await;
    let (mut alice, mut bob) = (Node::start(&[], ServerMode::Off).await, Node::start(&[], ServerMode::Off).await);
    for node in [&alice, &bob] {
        node.handle.prefer_relays(vec![with_name(&relay, &relay.quic())]).await;
    }
    let addresses = waits_at(&alice, &[&relay]).await;
    waits_at(&bob, &[&relay]).await;
    let relayed = dial(&bob, &alice, &addresses).await;
    assert_eq!(relayed.route, Route::Relayed);
    let _held = within("open", bob.handle.open(relayed.connection)).await.unwrap();
    let upgraded = |event| match event {
        Event::Upgraded { peer, from, to } => Some((peer, from, to)),
        _ => None,
    };
    let (peer, from, to) = bob.event("upgrade", upgraded).await;
    assert_eq!((&peer, from), (alice.handle.peer_id(), relayed.connection));
    assert_eq!((to.route, to.relay.clone()), (Route::Loopback, None));
    let (peer, _, there) = alice.event("upgrade", upgraded).await;
    assert_eq!((&peer, there.route), (bob.handle.peer_id(), Route::Loopback));
    talk(&bob, &mut alice, &to).await;
    // The next dial takes the direct one; the relayed one is still there.
    let best = dial(&bob, &alice, &addresses).await;
    assert_eq!(best.route, Route::Loopback);
    talk(&bob, &mut alice, &relayed).await;
    bob.handle.disconnect(relayed.connection).await;
    assert!(matches!(within("open", bob.handle.open(relayed.connection)).await, Err(OpenError::Closed)));
    talk(&bob, &mut alice, &to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_lets_go_of_the_older_connection_of_a_node_that_roams() {
    let relay = relay().await;
    let (mut alice, bob) = (unreachable(), unreachable());
    let (front, path) = crate::support::path_to(&relay.quic()).await;
    alice.handle.prefer_relays(vec![with_name(&relay, &front)]).await;
    let addresses = waits_at(&alice, &[&relay]).await;
    // The way to the relay breaks without a word; over another one a new reservation is made.
    path.abort();
    alice.handle.prefer_relays(vec![with_name(&relay, &relay.quic())]).await;
    alice.handle.network_changed();
    alice
        .event("the dead connection is noticed", |event| match event {
            Event::Disconnected { peer, .. } if peer == *relay.handle.peer_id() => Some(()),
            _ => None,
        })
        .await;
    let new = |now: &Vec<String>| !now.is_empty() && *now != addresses;
    let now = within("a new reservation", alice.handle.relayed().wait_for(new)).await.unwrap().clone();
    let info = dial(&bob, &alice, &now).await;
    talk(&bob, &mut alice, &info).await;
    assert_eq!(relay.handle.stats().await.reservations, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_relay_connection_is_noticed_without_anybody_asking() {
    let relay = relay().await;
    let mut alice = unreachable();
    let (front, path) = crate::support::path_to(&relay.quic()).await;
    alice.handle.prefer_relays(vec![with_name(&relay, &front)]).await;
    waits_at(&alice, &[&relay]).await;
    path.abort();
    alice
        .event("the dead connection is noticed", |event| match event {
            Event::Disconnected { peer, .. } if peer == *relay.handle.peer_id() => Some(()),
            _ => None,
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_offer_circuits_is_no_relay() {
    let plain = Node::start(&[], ServerMode::On).await;
    let alice = unreachable();
    alice.handle.prefer_relays(vec![with_name(&plain, &plain.quic())]).await;
    let info = alice.handle.dial(vec![plain.quic()], None, DEADLINE).await.unwrap();
    assert_eq!(info.peer, *plain.handle.peer_id());
    let bob = unreachable();
    let circuit = format!("{}/p2p-circuit", with_name(&plain, &plain.quic()));
    let refused = bob.handle.dial(vec![circuit], Some(alice.handle.peer_id().clone()), DEADLINE).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(alice.handle.relayed().borrow().is_empty());
}
