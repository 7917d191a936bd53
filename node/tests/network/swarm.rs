//! Streams, dialling, and the DHT among honest and dishonest nodes.

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use twocan_node::swarm::{DialError, Event, OpenError, PutEvent, Route, ServerMode, Transport};
use twocan_protocol::rendezvous::{PresenceKey, RECORD_LEN, presence_publisher};

use crate::support::{DEADLINE, Node, body, network, path_to, record, rng, root, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_opens_on_the_connection_that_was_asked_for() {
    let mut bob = Node::first().await;
    let alice = Node::first().await;
    let quic = alice.handle.dial(vec![bob.quic()], None, DEADLINE).await.unwrap();
    let tcp = alice.handle.dial(vec![bob.tcp()], None, DEADLINE).await.unwrap();
    assert_eq!((quic.transport, tcp.transport), (Transport::Quic, Transport::Tcp));
    assert_eq!((quic.route, quic.peer.clone()), (Route::Loopback, bob.handle.peer_id().clone()));
    assert_ne!(quic.connection, tcp.connection);

    for wanted in [&tcp, &quic, &tcp, &quic] {
        let mut stream = within("open", alice.handle.open(wanted.connection)).await.unwrap();
        assert_eq!(stream.info().connection, wanted.connection);
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        let mut inbound = bob
            .event("stream", |event| match event {
                Event::Inbound(stream) => Some(stream),
                _ => None,
            })
            .await;
        assert_eq!(inbound.info().transport, wanted.transport);
        let mut greeting = [0; 5];
        within("greeting", inbound.read_exact(&mut greeting)).await.unwrap();
        assert_eq!(&greeting, b"hello");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_cannot_open_streams_without_end() {
    let mut bob = Node::first().await;
    let alice = Node::first().await;
    let connection = alice.handle.dial(vec![bob.quic()], None, DEADLINE).await.unwrap().connection;
    let mut held = Vec::new();
    let mut opened = Vec::new();
    for _ in 0..8 {
        let mut stream = within("open", alice.handle.open(connection)).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        opened.push(stream);
        held.push(bob.event("stream", |event| if let Event::Inbound(s) = event { Some(s) } else { None }).await);
    }
    let mut ninth = within("open", alice.handle.open(connection)).await.unwrap();
    let _ = ninth.write_all(b"x").await;
    let _ = ninth.flush().await;
    let mut byte = [0];
    let end = within("refusal", ninth.read(&mut byte)).await;
    assert!(!matches!(end, Ok(1..)), "the ninth stream is closed without an answer");
    drop(held);
    let mut stream = within("open", alice.handle.open(connection)).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    bob.event("stream", |event| if let Event::Inbound(s) = event { Some(s) } else { None }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_connection_is_used_again_and_ends_by_itself_when_its_last_stream_has() {
    let mut bob = Node::first().await;
    let mut alice = Node::first().await;
    let info = alice.handle.dial(vec![bob.quic()], Some(bob.handle.peer_id().clone()), DEADLINE).await.unwrap();
    let again = alice.handle.dial(vec![], Some(bob.handle.peer_id().clone()), DEADLINE).await.unwrap();
    assert_eq!(again.connection, info.connection, "an open connection is used again");
    let mut stream = within("open", alice.handle.open(info.connection)).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    let inbound = bob.event("stream", |event| if let Event::Inbound(s) = event { Some(s) } else { None }).await;
    drop((inbound, stream));
    let ended = |event| match event {
        Event::Disconnected { connection, reason, .. } => Some((connection, reason)),
        _ => None,
    };
    // The relay server holds it for ten seconds, and then the swarm for ten more.
    let (gone, reason) = alice.event_in(3 * DEADLINE, "end", ended).await;
    assert!(reason.to_lowercase().contains("keep-alive"), "closed because nothing needs it, not lost: {reason}");
    assert_eq!(gone, info.connection);
    assert!(matches!(within("open", alice.handle.open(gone)).await, Err(OpenError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_says_why_it_failed() {
    let bob = Node::first().await;
    let alice = Node::first().await;
    let stranger = Node::first().await;
    let wrong = alice.handle.dial(vec![bob.quic()], Some(stranger.handle.peer_id().clone()), DEADLINE).await;
    assert_eq!(wrong, Err(DialError::WrongPeer));
    let itself = alice.handle.dial(vec![alice.quic()], None, DEADLINE).await;
    assert!(matches!(itself, Err(DialError::Itself | DialError::NoAddress)), "{itself:?}");
    let nonsense = alice.handle.dial(vec!["nonsense".into(), "/ip4/0.0.0.0/tcp/1".into()], None, DEADLINE).await;
    assert_eq!(nonsense, Err(DialError::NoAddress));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = alice.handle.dial(vec![format!("/ip4/127.0.0.1/tcp/{port}")], None, DEADLINE).await;
    assert_eq!(closed, Err(DialError::Refused));
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/udp/{}/quic-v1", silent.local_addr().unwrap().port());
    let late = alice.handle.dial(vec![address], None, Duration::from_millis(100)).await;
    assert_eq!(late, Err(DialError::Timeout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_puts_another_gets_and_the_newest_stays() {
    let nodes = network(5).await;
    let alice = root(1);
    let presence = PresenceKey::generate(1, &mut rng(1));
    let publisher = presence_publisher(&presence, 7);
    let (key, first) = record(&publisher, 1, &body(&alice, nodes[0].handle.peer_id(), vec![]));
    let report = nodes[0].put(key, first.clone()).await;
    assert_eq!((report.stored, report.failed), (4, 0));
    assert_eq!(nodes[4].copies(key).await, vec![first.clone(); 4]);

    let (_, second) = record(&publisher, 2, &body(&alice, nodes[0].handle.peer_id(), vec![]));
    nodes[1].put(key, second.clone()).await;
    assert_eq!(nodes[3].copies(key).await, vec![second.clone(); 4]);

    // A replay of the older record changes nothing, whoever sends it.
    nodes[2].put(key, first).await;
    assert_eq!(nodes[3].copies(key).await, vec![second; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_the_owner_of_a_slot_can_write_there() {
    let nodes = network(5).await;
    let publisher = presence_publisher(&PresenceKey::generate(1, &mut rng(1)), 7);
    let other = presence_publisher(&PresenceKey::generate(1, &mut rng(2)), 7);
    let (key, genuine) = record(&publisher, 1, &body(&root(1), nodes[0].handle.peer_id(), vec![]));
    let (other_key, foreign) = record(&other, 99, &body(&root(2), nodes[0].handle.peer_id(), vec![]));
    nodes[0].put(key, genuine.clone()).await;

    let mut tampered = genuine.clone();
    tampered[RECORD_LEN - 1] ^= 1;
    let mut newer = genuine.clone();
    newer[32..40].copy_from_slice(&u64::MAX.to_be_bytes());
    for junk in [vec![0xee; RECORD_LEN], vec![], vec![1; 5000], foreign.clone(), tampered, newer] {
        nodes[1].put(key, junk).await;
    }
    assert_eq!(nodes[4].copies(key).await, vec![genuine; 4]);
    nodes[1].put([5; 32], foreign).await;
    assert!(nodes[4].copies([5; 32]).await.is_empty());
    assert!(nodes[4].copies(other_key).await.is_empty());
    let refused = nodes[2].handle.stats().await;
    assert_eq!(refused.records, 1);
    assert!(refused.refused >= 6, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_only_asks_stores_nothing_and_is_in_nobodys_table() {
    let nodes = network(3).await;
    let client = Node::start(&[nodes[0].quic()], ServerMode::Off).await;
    client.knows(1).await;
    let publisher = presence_publisher(&PresenceKey::generate(1, &mut rng(1)), 7);
    let (key, value) = record(&publisher, 1, &body(&root(1), client.handle.peer_id(), vec![]));
    let report = client.put(key, value.clone()).await;
    assert_eq!(report.stored, 3, "found through the one node that it knew");
    assert_eq!(nodes[1].copies(key).await, vec![value; 2]);
    assert_eq!(client.handle.stats().await.records, 0);
    for node in &nodes {
        assert_eq!(node.handle.dht_peers(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_before_any_node_is_known_is_answered_when_one_is() {
    let nodes = network(2).await;
    let publisher = presence_publisher(&PresenceKey::generate(1, &mut rng(1)), 7);
    let (key, value) = record(&publisher, 1, &body(&root(1), nodes[0].handle.peer_id(), vec![]));
    nodes[0].put(key, value.clone()).await;
    let late = Node::start(&[], ServerMode::Off).await;
    let (copies, ()) = tokio::join!(late.copies(key), late.handle.add_bootstrap(vec![nodes[0].quic()]));
    assert!(copies.contains(&value));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_has_another_name_and_the_old_one_is_forgotten() {
    let nodes = network(3).await;
    let port = nodes[1].quic();
    let old = nodes[1].handle.peer_id().clone();
    nodes[1].handle.shutdown().await;
    let config = twocan_node::swarm::Config {
        listen: vec![port],
        bootstrap: vec![nodes[0].quic()],
        mdns: false,
        dht_server: ServerMode::On,
        ..Default::default()
    };
    // The system gives the port back a moment after the goodbyes have left.
    let (again, _events) = within("the port is free", async {
        loop {
            match twocan_node::swarm::start(config.clone()) {
                Ok(started) => return started,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
    assert_ne!(*again.peer_id(), old);
    // The next queries meet the new name at the old address.
    let publisher = presence_publisher(&PresenceKey::generate(1, &mut rng(1)), 7);
    let (key, value) = record(&publisher, 1, &body(&root(1), nodes[0].handle.peer_id(), vec![]));
    let report = nodes[2].put(key, value.clone()).await;
    assert!(report.stored >= 1);
    let mut dht = nodes[2].handle.dht();
    within("the old name leaves", dht.wait_for(|view| !view.all.contains(&old))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_node_stays_in_the_table_when_other_ways_to_it_are_dead() {
    let bob = Node::first().await;
    let alice = Node::first().await;
    let name = bob.handle.peer_id().clone();
    let silent = [(); 2].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let [one, other] = silent
        .each_ref()
        .map(|socket| vec![format!("/ip4/127.0.0.1/udp/{}/quic-v1", socket.local_addr().unwrap().port())]);
    // All three begin before there is a connection; the last one makes it, the others end in silence.
    let (one, other, good) = tokio::join!(
        alice.handle.dial(one, Some(name.clone()), DEADLINE),
        alice.handle.dial(other, Some(name.clone()), DEADLINE),
        alice.handle.dial(vec![bob.quic()], Some(name.clone()), DEADLINE),
    );
    assert!(good.is_ok(), "{good:?}");
    assert_eq!((one, other), (Err(DialError::Timeout), Err(DialError::Timeout)));
    // What the swarm's task was asked after the failures comes after them.
    let known = alice.handle.known_public_peers().await;
    assert!(known.contains(&bob.quic()), "{known:?}");
    assert!(alice.handle.dht().borrow().all.contains(&name), "a connected node left the table");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_were_met_are_remembered_by_address() {
    let nodes = network(3).await;
    let known = nodes[2].handle.known_public_peers().await;
    assert!(known.contains(&nodes[0].quic()), "{known:?}");
    let fresh = Node::start(&known, ServerMode::Off).await;
    fresh.knows(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loopback_addresses_go_into_a_slot_only_when_there_is_nothing_else() {
    let node = Node::first().await;
    let mut addresses = node.handle.addresses();
    let own = within("addresses", addresses.wait_for(|own| own.lan.len() == 2)).await.unwrap().clone();
    assert!(own.direct.is_empty());
    assert_eq!(own.lan, [node.quic(), node.tcp()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_reports_its_first_success_while_dead_nodes_are_still_waited_for() {
    let mut nodes = network(6).await;
    let dead: Vec<Node> = nodes.drain(4..).collect();
    for node in &dead {
        node.handle.shutdown().await;
    }
    let publisher = presence_publisher(&PresenceKey::generate(1, &mut rng(1)), 7);
    let (key, value) = record(&publisher, 1, &body(&root(1), nodes[0].handle.peer_id(), vec![]));
    let (_, mut events) = nodes[0].handle.put(key, value).await.unwrap();
    let mut all = Vec::new();
    within("put", async {
        while let Some(event) = events.recv().await {
            all.push(event);
        }
    })
    .await;
    let stored: Vec<u32> =
        all.iter().filter_map(|event| if let PutEvent::Stored(count) = event { Some(*count) } else { None }).collect();
    assert_eq!(stored, [1, 2, 3]);
    assert!(matches!(all.last(), Some(PutEvent::Done(report)) if report.stored == 3), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_other_side_is_silent_is_closed_and_not_used_again() {
    let bob = Node::first().await;
    let mut alice = Node::first().await;
    let (address, path) = path_to(&bob.quic()).await;
    let expect = Some(bob.handle.peer_id().clone());
    let dead = alice.handle.dial(vec![address], expect.clone(), DEADLINE).await.unwrap();
    // A stream keeps the connection from being closed as idle.
    let held = within("open", alice.handle.open(dead.connection)).await.unwrap();
    path.abort();
    let mut stream = within("open", alice.handle.open(dead.connection)).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    let read = within("read", stream.read(&mut [0])).await;
    assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::TimedOut));
    alice
        .event("end", |event| match event {
            Event::Disconnected { connection, .. } if connection == dead.connection => Some(()),
            _ => None,
        })
        .await;
    drop(held);
    let alive = alice.handle.dial(vec![bob.quic()], expect, DEADLINE).await.unwrap();
    assert_ne!(alive.connection, dead.connection);
    assert!(within("open", alice.handle.open(alive.connection)).await.is_ok());
}
