//! Publishing and finding, among a few nodes.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use twocan_node::{
    rendezvous::{Event, Rendezvous, SearchEvent, Slot, Target},
    swarm::{PutEvent, ServerMode},
};
use twocan_protocol::{
    address::{Address, ContactToken},
    identity::{Certificate, DeviceKey, FriendshipKey, RootKey},
    rendezvous::{CONTACT_SLOTS, PresenceKey, Schedule, contact_publisher, presence_publisher},
};

use crate::support::{Node, body, network, record, rng, root, within};

/// A node with a person on it.
struct Person {
    node: Node,
    root: Arc<RootKey>,
    rendezvous: Rendezvous,
    events: tokio::sync::mpsc::Receiver<Event>,
}

impl Person {
    async fn start(number: u8, bootstrap: &[String]) -> Self {
        let node = Node::start(bootstrap, ServerMode::Off).await;
        let root = Arc::new(root(number));
        let (rendezvous, events) = Rendezvous::start(node.handle.clone());
        rendezvous.set_device(certificate(&root), vec![]).await;
        Self { node, root, rendezvous, events }
    }

    async fn confirmed(&self, slots: usize) {
        let mut status = self.rendezvous.status();
        within("confirmed", status.wait_for(|status| status.confirmed == slots)).await.unwrap();
    }
}

fn certificate(root: &RootKey) -> Certificate {
    let device = DeviceKey::from_secret(root.secret()).public();
    Certificate::issue(root, device, 0, 0, u64::MAX)
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn presence(seed: u64) -> Arc<PresenceKey> {
    Arc::new(PresenceKey::generate(1, &mut rng(seed)))
}

/// `Target` for a friend of `me`.
fn friend(me: &RootKey, them: &RootKey, key: Option<&PresenceKey>) -> Target {
    Target::Friend {
        root: them.public(),
        friendship: FriendshipKey::of(me, &them.public()),
        grant: key.map(PresenceKey::grant),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn friends_and_strangers_find_each_other_through_a_node_that_knows_neither() {
    let stranger = Node::first().await;
    let mut alice = Person::start(1, &[stranger.quic()]).await;
    let bob = Person::start(2, &[stranger.quic()]).await;
    let key = presence(1);
    let token = ContactToken::derived(&alice.root);
    alice
        .rendezvous
        .set_slots([Slot::Presence(key.clone())].into_iter().chain(Slot::contacts(&alice.root, token, false)).collect())
        .await;
    alice.confirmed(5).await;
    let mut confirmed = 0;
    while confirmed < 5 {
        if let Event::Confirmed { .. } = within("event", alice.events.recv()).await.unwrap() {
            confirmed += 1;
        }
    }

    for (target, via) in [
        (friend(&bob.root, &alice.root, Some(&key)), "presence"),
        (Target::Contact(Address { root: alice.root.public(), token }), "contact"),
    ] {
        let mut search = bob.rendezvous.find(target);
        let found = within("found", search.first()).await.unwrap();
        assert_eq!((found.via, &found.body.peer_id), (via, alice.node.handle.peer_id()));
        assert_eq!(found.body.certificate, certificate(&alice.root));
        let report = within("end", search.report()).await;
        assert_eq!(report.answer, Some((via, found.query)));
        let slots = if via == "contact" { u32::from(CONTACT_SLOTS) } else { 1 };
        assert!((1..=slots).contains(&report.copies), "one copy in each slot: {report:?}");
        assert_eq!(report.bad_copies, 0);
        let lan = found.body.lan.clone();
        assert!(lan.contains(&alice.node.quic()));
        let info = within("dial", bob.node.handle.dial(lan, Some(found.body.peer_id), crate::support::DEADLINE)).await;
        assert_eq!(info.unwrap().peer, *alice.node.handle.peer_id());
    }
    assert_eq!(stranger.handle.dht_peers(), 0, "neither serves the DHT, so neither is in a table");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_friend_without_the_new_grant_is_met_in_the_pair_slot() {
    let stranger = Node::first().await;
    let alice = Person::start(1, &[stranger.quic()]).await;
    let bob = Person::start(2, &[stranger.quic()]).await;
    let friendship = FriendshipKey::of(&alice.root, &bob.root.public());
    let pair =
        Slot::Pair { root: alice.root.clone(), friendship, friend: bob.root.public(), since_ms: Some(unix_ms()) };
    alice.rendezvous.set_slots(vec![Slot::Presence(presence(2)), pair]).await;
    alice.confirmed(2).await;
    let old = presence(1);
    for grant in [None, Some(&*old)] {
        let mut search = bob.rendezvous.find(friend(&bob.root, &alice.root, grant));
        let found = within("found", search.first()).await.unwrap();
        assert_eq!((found.via, &found.body.peer_id), ("pair", alice.node.handle.peer_id()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_who_writes_hundreds_of_addresses_into_his_record_is_not_found() {
    let stranger = Node::first().await;
    let bob = Person::start(2, &[stranger.quic()]).await;
    let alice = root(1);
    let token = ContactToken::derived(&alice);
    let day = Schedule::contact(&alice.public(), &token).epoch_of(unix_ms());
    let mut addresses = vec![1];
    addresses.extend_from_slice(&certificate(&alice).encode());
    addresses.extend_from_slice(&u64::MAX.to_be_bytes());
    addresses.push(38);
    addresses.extend_from_slice(bob.node.handle.peer_id().as_bytes());
    addresses.push(30);
    for n in 0..30 {
        let text = format!("/ip4/9.9.9.{n}/tcp/25");
        addresses.push(u8::try_from(text.len()).unwrap());
        addresses.extend_from_slice(text.as_bytes());
    }
    for index in 0..CONTACT_SLOTS {
        let publisher = contact_publisher(&alice, &token, day, index);
        let record = publisher.hostile_record(1, &addresses, &mut rng(1));
        bob.node.put(*publisher.key.as_bytes(), record).await;
    }
    let search = bob.rendezvous.find(Target::Contact(Address { root: alice.public(), token }));
    let report = within("end", search.report()).await;
    assert_eq!((report.answer, report.copies), (None, 0), "{report:?}");
    assert!(report.bad_copies >= u32::from(CONTACT_SLOTS), "it was stored, read and refused: {report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_reported_as_nothing_found() {
    let stranger = Node::first().await;
    let bob = Person::start(2, &[stranger.quic()]).await;
    let report = within("end", bob.rendezvous.find(friend(&bob.root, &root(1), Some(&presence(1)))).report()).await;
    assert_eq!((report.answer, report.copies, report.queries), (None, 0, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_is_found_under_its_new_name_and_stale_copies_are_mended() {
    let nodes = network(3).await;
    let bob = Person::start(2, &[nodes[0].quic()]).await;
    let alice = root(1);
    let key = presence(1);
    let epoch = Schedule::presence(&key.grant()).epoch_of(unix_ms());
    let publisher = presence_publisher(&key, epoch);
    let (old_name, new_name) = (nodes[1].handle.peer_id(), nodes[2].handle.peer_id());
    let (place, old) = record(&publisher, 1, &body(&alice, old_name, vec![]));
    let (_, new) = record(&publisher, 2, &body(&alice, new_name, vec![]));
    bob.node.put(place, old.clone()).await;
    let (_, mut done) =
        nodes[0].handle.put_to(place, new.clone(), vec![nodes[1].handle.peer_id().clone()]).await.unwrap();
    within("put", async { while let Some(PutEvent::Stored(_)) = done.recv().await {} }).await;

    let mut search = bob.rendezvous.find(friend(&bob.root, &alice, Some(&key)));
    let mut last = None;
    let report = within("end", async {
        loop {
            match search.next().await.unwrap() {
                SearchEvent::Found(found) => last = Some(found),
                SearchEvent::Done(report) => return report,
            }
        }
    })
    .await;
    assert_eq!(last.unwrap().body.peer_id, *new_name, "the newest wins, whatever came first");
    assert_eq!((report.copies, report.bad_copies), (3, 0));
    within("mended", async {
        while bob.node.copies(place).await != vec![new.clone(); 3] {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_begun_before_any_node_is_known_ends_well() {
    let nodes = network(5).await;
    let alice = Person::start(1, &[nodes[1].quic()]).await;
    let key = presence(1);
    alice.rendezvous.set_slots(vec![Slot::Presence(key.clone())]).await;
    alice.confirmed(1).await;
    // Bob searches at once: his node has neither a connection nor a routing table yet.
    let bob = Person::start(2, &[]).await;
    let mut search = bob.rendezvous.find(friend(&bob.root, &alice.root, Some(&key)));
    bob.node.handle.add_bootstrap(vec![nodes[4].quic()]).await;
    let found = within("found", search.first()).await.unwrap();
    assert_eq!(found.body.peer_id, *alice.node.handle.peer_id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_a_small_network_is_given_the_records() {
    let first = Node::first().await;
    let alice = Person::start(1, &[first.quic()]).await;
    let key = presence(1);
    alice.rendezvous.set_slots(vec![Slot::Presence(key.clone())]).await;
    alice.confirmed(1).await;
    let second = Node::start(&[first.quic()], ServerMode::On).await;
    alice.node.handle.add_bootstrap(vec![second.quic()]).await;
    within("meeting", alice.node.handle.dial(vec![second.quic()], None, crate::support::DEADLINE)).await.unwrap();
    within("the newcomer holds it", async {
        while second.handle.stats().await.records == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    first.handle.shutdown().await;
    let bob = Person::start(2, &[second.quic()]).await;
    let mut search = bob.rendezvous.find(friend(&bob.root, &alice.root, Some(&key)));
    assert!(within("found", search.first()).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_nodes_delay_neither_the_first_copies_nor_their_confirmation() {
    let mut nodes = network(9).await;
    let alice = Person::start(1, &[nodes[0].quic()]).await;
    let bob = Person::start(2, &[nodes[0].quic()]).await;
    bob.node.knows(1).await;
    // A third of the nodes dies; the others still name them.
    for dead in nodes.drain(6..) {
        dead.handle.shutdown().await;
    }
    let key = presence(1);
    alice.rendezvous.set_slots(vec![Slot::Presence(key.clone())]).await;
    alice.confirmed(1).await;
    let mut search = bob.rendezvous.find(friend(&bob.root, &alice.root, Some(&key)));
    let found = within("found", search.first()).await.unwrap();
    assert_eq!(found.body.peer_id, *alice.node.handle.peer_id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_node_that_serves_is_found_in_its_own_slots() {
    let alone = Node::first().await;
    let root = Arc::new(root(1));
    let (rendezvous, _events) = Rendezvous::start(alone.handle.clone());
    rendezvous.set_device(certificate(&root), vec![]).await;
    let token = ContactToken::derived(&root);
    rendezvous.set_slots(Slot::contacts(&root, token, false).collect()).await;
    let bob = Person::start(2, &[alone.quic()]).await;
    within("found", async {
        loop {
            let mut search = bob.rendezvous.find(Target::Contact(Address { root: root.public(), token }));
            if let Some(found) = search.first().await {
                return assert_eq!(found.body.peer_id, *alone.handle.peer_id());
            }
        }
    })
    .await;
}
