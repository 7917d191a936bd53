//! Becoming friends, with real processes: asking, accepting, declining, blocking, crossing requests, requests while the
//! other is away, and grants that both sides rotate while the other is away.

use anyhow::Result;
use twocan_control::{AddFriend, Code, Event, FriendState, FriendUpdate, Handle, RequestAnswer};
use twocan_tests::{World, ask, incoming_request, offline, online};

#[tokio::test(flavor = "multi_thread")]
async fn two_people_become_friends_by_address() -> Result<()> {
    let world = World::of(&["alice", "bob"]).await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let asked = ask(alice, bob).await?;
    assert_eq!(asked.state, FriendState::Requested);
    let id = incoming_request(bob, alice).await?;
    let request = bob.api().requests().await?.remove(0);
    assert_eq!((request.name.as_str(), request.message.as_str()), ("alice", "it is me"));
    bob.api().answer_request(&id, RequestAnswer::Accept { name: Some("my alice".to_owned()) }).await?;
    let (seen_by_alice, seen_by_bob) = (online(alice, bob).await?, online(bob, alice).await?);
    assert_eq!(seen_by_bob.name, "my alice");
    assert_eq!(seen_by_bob.own_name.as_deref(), Some("alice"));
    assert_eq!(seen_by_alice.safety_words, seen_by_bob.safety_words);
    assert_eq!(seen_by_alice.safety_words.split(' ').count(), 6);
    assert!(bob.api().requests().await?.is_empty());
    let verified =
        alice.api().update_friend("bob", FriendUpdate { verified: Some(true), ..FriendUpdate::default() }).await?;
    assert!(verified.verified);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_refused_with_the_mistake_named() -> Result<()> {
    let world = World::of(&["alice", "bob"]).await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let address = bob.api().identity().await?.address;
    let mut mistyped: Vec<char> = address.chars().collect();
    mistyped[20] = if mistyped[20] == 'q' { 'p' } else { 'q' };
    let add = |address: String| AddFriend { address, name: None, message: None };
    let error = alice.api().add_friend(add(mistyped.into_iter().collect())).await.unwrap_err();
    assert_eq!(error.code, Code::BadAddress);
    assert!(error.message.contains("21") || error.hint.as_deref().unwrap_or("").contains("21"), "{error:?}");
    let own = alice.api().identity().await?.address;
    assert!(alice.api().add_friend(add(own)).await.is_err(), "nobody befriends himself");
    assert!(alice.api().friends().await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_other_to_come_online_across_restarts_of_the_asker() -> Result<()> {
    let mut world = World::of(&["alice", "bob"]).await?;
    let address = world.people[1].api().identity().await?.address;
    world.people[1].stop().await?;
    let add = AddFriend { address, name: None, message: Some("hello".to_owned()) };
    world.people[0].api().add_friend(add).await?;
    world.people[0].kill_and_restart().await?;
    assert_eq!(world.people[0].api().friends().await?[0].state, FriendState::Requested);
    world.people[1].start_again().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let id = incoming_request(bob, alice).await?;
    bob.api().answer_request(&id, RequestAnswer::Accept { name: None }).await?;
    online(alice, bob).await?;
    online(bob, alice).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cross_are_a_friendship() -> Result<()> {
    let world = World::of(&["alice", "bob"]).await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let (one, two) = tokio::join!(ask(alice, bob), ask(bob, alice));
    one?;
    two?;
    online(alice, bob).await?;
    online(bob, alice).await?;
    assert!(alice.api().requests().await?.is_empty());
    assert!(bob.api().requests().await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_person_hears_nothing_and_the_address_changes() -> Result<()> {
    let world = World::of(&["alice", "bob"]).await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let before = bob.api().identity().await?.address;
    ask(alice, bob).await?;
    let id = incoming_request(bob, alice).await?;
    bob.api().answer_request(&id, RequestAnswer::Block).await?;
    assert_eq!(bob.api().blocked().await?, [id]);
    assert!(bob.api().requests().await?.is_empty());
    assert_ne!(bob.api().identity().await?.address, before, "the contact token is rotated");
    assert_eq!(alice.api().friends().await?[0].state, FriendState::Requested, "blocking is silent");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_friend_is_gone_here_and_offline_or_gone_there() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let id = alice.api().identity().await?.root;
    let mut events = bob.events();
    bob.api().remove_friend(&id).await?;
    events
        .wait("the removal", |event| match event {
            Event::FriendRemoved { id: gone } => (gone == id).then_some(()),
            _ => None,
        })
        .await?;
    let root = bob.api().identity().await?.root;
    alice
        .eventually("bob gone or offline", |api| {
            let root = root.clone();
            async move { Ok((!api.friends().await?.iter().any(|friend| friend.id == root && friend.online)).then_some(())) }
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn friends_whose_grants_both_changed_while_the_other_was_away_meet_again() -> Result<()> {
    let mut world = World::of(&["alice", "bob", "carol", "dave"]).await?;
    world.befriend(0, 1).await?;
    world.befriend(0, 2).await?;
    world.befriend(1, 3).await?;
    let (alice_id, bob_id) =
        (world.people[0].api().identity().await?.root, world.people[1].api().identity().await?.root);
    // Alice is away while Bob removes Dave (a new grant), then Bob is away while Alice removes Carol.
    world.people[0].stop().await?;
    offline(&world.people[1], &alice_id).await?;
    world.people[1].api().remove_friend("dave").await?;
    world.people[1].stop().await?;
    world.people[0].start_again().await?;
    offline(&world.people[0], &bob_id).await?;
    world.people[0].api().remove_friend("carol").await?;
    world.people[0].stop().await?;
    let (first, second) = world.people.split_at_mut(1);
    let (one, two) = tokio::join!(first[0].start_again(), second[0].start_again());
    one?;
    two?;
    online(&world.people[0], &world.people[1]).await?;
    online(&world.people[1], &world.people[0]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_says_when_it_is_ready() -> Result<()> {
    let world = World::of(&["alice", "bob", "carol", "dave"]).await?;
    for node in &world.people {
        let status = node.until(|status| status.timings.ready_ms.is_some()).await?;
        assert!(status.timings.ready_ms >= status.timings.dht_peer_ms);
    }
    Ok(())
}
