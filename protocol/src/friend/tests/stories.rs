//! Friendships on a good day and a bad one.

use super::*;

#[test]
fn a_request_is_delivered_accepted_and_becomes_a_link_with_grants_on_both_sides() {
    let mut world = World::new::<2>();
    world.act(1, Input::Profile(Name::clean("Bob")));
    world.add(0, 1);
    assert_eq!(world.nodes[1].requests.len(), 1, "it waits for the person");
    assert_eq!(world.view(0, 1).expect("listed").record.asking, Asking::Delivered);
    assert!(!world.friends(0, 1), "nothing happens without the person");
    let root = world.nodes[0].root;
    world.act(1, Input::Accept { root, name: Some(Name::clean("Alice")) });
    assert!(world.friends(0, 1));
    assert_eq!(world.view(0, 1).expect("friend").name, "Bob");
    assert_eq!(world.view(1, 0).expect("friend").name, "Alice");
    for n in [0, 1] {
        assert!(world.nodes[n].book.slots().contains(&SlotPlan::Presence));
        let pairs = world.nodes[n].book.slots().iter().filter(|slot| matches!(slot, SlotPlan::Pair { .. })).count();
        assert_eq!(pairs, 0, "acknowledged grants make pair slots needless");
        assert!(world.nodes[n].requests.is_empty());
    }
}

#[test]
fn a_request_to_somebody_who_is_away_is_kept_trying_across_a_restart() {
    let mut world = World::new::<2>();
    world.stop(1);
    world.add(0, 1);
    world.pass(Duration::from_secs(3600));
    assert!(world.view(0, 1).expect("listed").trouble.expect("says why").contains("not been found"));
    world.stop(0);
    world.start(1);
    world.start(0);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.nodes[1].requests.len(), 1);
    let root = world.nodes[0].root;
    world.act(1, Input::Accept { root, name: None });
    assert!(world.friends(0, 1));
}

#[test]
fn an_acceptance_while_the_asker_is_away_reaches_it_when_it_is_back() {
    let mut world = World::new::<2>();
    world.add(0, 1);
    world.stop(0);
    let root = world.nodes[0].root;
    world.act(1, Input::Accept { root, name: None });
    world.pass(Duration::from_secs(7200));
    world.start(0);
    world.pass(Duration::from_secs(1));
    assert!(world.friends(0, 1));
}

#[test]
fn requests_that_cross_are_a_friendship_without_a_further_word() {
    let mut world = World::new::<2>();
    world.add(0, 1);
    world.add(1, 0);
    assert!(world.friends(0, 1));
    assert!(world.nodes.iter().all(|node| node.requests.is_empty()));

    // Both asked while neither could be reached.
    let mut world = World::new::<2>();
    world.stop(0);
    world.add(1, 0);
    world.stop(1);
    world.start(0);
    world.add(0, 1);
    world.start(1);
    world.pass(Duration::from_secs(5));
    assert!(world.friends(0, 1));
}

#[test]
fn both_rotate_their_grants_while_the_other_is_away_restart_and_meet() {
    let mut world = World::new::<4>();
    world.befriend(0, 1);
    world.befriend(0, 2);
    world.befriend(1, 3);
    world.stop(1);
    let root = world.nodes[2].root;
    world.act(0, Input::Remove(root));
    world.stop(0);
    world.start(1);
    world.pass(Duration::from_secs(60));
    let root = world.nodes[3].root;
    world.act(1, Input::Block(root));
    assert!(!world.finds(1, 0) && !world.links.contains(&(0, 1)));
    world.stop(1);
    world.start(0);
    world.start(1);
    world.pass(Duration::from_secs(700));
    assert!(world.friends(0, 1));
    let grants: Vec<Grant> =
        [(0, 1), (1, 0)].map(|(n, m)| world.view(n, m).expect("friend").record.grant).into_iter().flatten().collect();
    assert_eq!(grants, [world.nodes[1].key.grant(), world.nodes[0].key.grant()]);
}

#[test]
fn one_who_is_blocked_is_told_nothing_and_finds_nobody() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    let (token, key) = (world.nodes[1].token, world.nodes[1].key.grant());
    let root = world.nodes[0].root;
    world.act(1, Input::Block(root));
    assert!(world.links.is_empty());
    assert_ne!(world.nodes[1].token, token, "the address that the friend holds is void");
    assert!(world.nodes[1].key.grant() != key, "so is the grant");
    assert_eq!(world.view(0, 1).expect("still listed there").record.state, FriendState::Accepted);
    world.pass(Duration::from_secs(7200));
    assert!(!world.friends(0, 1) && world.nodes[1].requests.is_empty());
    // Even with the new address, asking again looks like waiting.
    world.nodes[1].token = token;
    world.input(0, Input::Remove(world.nodes[1].root));
    world.add(0, 1);
    assert_eq!(world.view(0, 1).expect("listed").record.asking, Asking::Delivered);
    assert!(world.nodes[1].requests.is_empty());
    world.act(1, Input::Unblock(root));
    world.add(0, 1);
    assert_eq!(world.nodes[1].requests.len(), 1);
}

#[test]
fn a_friend_who_is_removed_is_told_and_asks_no_more_by_itself() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    let root = world.nodes[0].root;
    world.act(1, Input::Remove(root));
    let view = world.view(0, 1).expect("still listed");
    assert!(!view.online && view.trouble.expect("says why").contains("ended the friendship"));
    world.pass(Duration::from_secs(100_000));
    assert!(world.nodes[1].requests.is_empty());
    world.add(0, 1);
    assert_eq!(world.nodes[1].requests.len(), 1, "by the person's act it may ask again");
}

#[test]
fn declined_is_told_once_asked_and_asking_anew_is_possible() {
    let mut world = World::new::<2>();
    world.add(0, 1);
    let root = world.nodes[0].root;
    world.act(1, Input::Decline(root));
    world.stop(1);
    world.start(1);
    world.pass(Duration::from_secs(1800));
    assert_eq!(world.view(0, 1).expect("listed").record.asking, Asking::Declined);
    assert!(world.nodes[1].requests.is_empty(), "the retry is not a new request");
    world.add(0, 1);
    assert_eq!(world.nodes[1].requests.len(), 1);
}

#[test]
fn a_friend_restored_from_the_phrase_alone_is_asked_whether_we_are_friends() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    world.stop(1);
    let node = &mut world.nodes[1];
    node.friends.clear();
    node.requests.clear();
    node.state = BookRecord::default();
    node.key = PresenceKey::generate(1, &mut world.rng);
    world.start(1);
    world.pass(Duration::from_secs(3 * 3600));
    let request = world.nodes[1].requests.values().next().expect("the friend asks").clone();
    assert!(request.says_friends);
    assert!(world.view(0, 1).expect("friend").trouble.expect("says why").contains("no longer knows"));
    world.act(1, Input::Accept { root: request.root, name: None });
    world.pass(Duration::from_secs(1200));
    assert!(world.friends(0, 1));
    assert_eq!(world.view(1, 0).expect("friend").record.grant, Some(world.nodes[0].key.grant()));
}

#[test]
fn invisible_is_shown_as_offline_and_takes_the_contact_slot_away() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    world.act(0, Input::Availability(Availability::Invisible));
    let view = world.view(1, 0).expect("friend");
    assert!(!view.online && view.linked);
    assert!(!world.nodes[0].book.slots().contains(&SlotPlan::Contact));
    // What comes and goes unseen does not move the time at which it was seen last.
    let seen = view.record.last_seen_ms;
    assert!(seen.is_some());
    world.pass(Duration::from_secs(60));
    world.stop(0);
    world.start(0);
    world.pass(Duration::from_secs(1200));
    let view = world.view(1, 0).expect("friend");
    assert!(view.linked && !view.online);
    assert_eq!(view.record.last_seen_ms, seen);
    world.act(0, Input::Availability(Availability::Dnd));
    let view = world.view(1, 0).expect("friend");
    assert!(view.online && view.availability == Some(Availability::Dnd));
}

#[test]
fn a_flood_of_askers_fills_neither_memory_nor_the_list_beyond_its_bound() {
    let mut world = World::new::<1>();
    let mut replies = BTreeMap::new();
    for n in 2..=255u8 {
        let root = crate::testing::person(n);
        world.input(
            0,
            Input::Request(root, Request { id: 1, name: Name::default(), message: Note::default(), friends: false }),
        );
        *replies.entry(world.nodes[0].replies.pop().expect("a reply").word()).or_insert(0) += 1;
    }
    assert_eq!(world.nodes[0].requests.len(), REQUEST_BURST as usize);
    assert_eq!(replies["later"], 254 - REQUEST_BURST as usize);
    for hour in 2..200u8 {
        world.clock.advance(Duration::from_secs(600));
        let root = crate::testing::person(hour);
        world.input(
            0,
            Input::Request(root, Request { id: 2, name: Name::default(), message: Note::default(), friends: false }),
        );
    }
    assert_eq!(world.nodes[0].requests.len(), MAX_REQUESTS);
    world.clock.advance(REQUEST_LIFE);
    world.input(
        0,
        Input::Request(
            crate::testing::person(250),
            Request { id: 3, name: Name::default(), message: Note::default(), friends: false },
        ),
    );
    assert_eq!(world.nodes[0].requests.len(), 1, "old ones are forgotten");
}

#[test]
fn acts_that_make_no_sense_are_refused_with_a_reason() {
    let mut world = World::new::<3>();
    world.add(0, 0);
    world.befriend(0, 1);
    world.add(0, 1);
    let stranger = world.nodes[2].root;
    world.act(0, Input::Remove(stranger));
    world.act(0, Input::Accept { root: stranger, name: None });
    world.act(0, Input::Unblock(stranger));
    world.act(0, Input::Block(stranger));
    world.add(0, 2);
    let expected = [
        Refusal::Own,
        Refusal::AlreadyFriends,
        Refusal::NoFriend,
        Refusal::NoRequest,
        Refusal::NotBlocked,
        Refusal::Blocked,
    ];
    assert_eq!(world.nodes[0].refused, expected);
}

#[test]
fn a_friend_who_stays_away_is_searched_for_less_and_less() {
    let mut world = World::new::<2>();
    world.befriend(0, 1);
    world.stop(1);
    world.nodes[0].searches = 0;
    world.pass(Duration::from_secs(24 * 3600));
    assert!(world.nodes[0].searches < 320, "{} searches in a day", world.nodes[0].searches);
    world.nodes[0].searches = 0;
    world.act(0, Input::NetworkChanged);
    assert_eq!(world.nodes[0].searches, 1, "a new network is a reason to try at once");
}

#[test]
fn what_a_stranger_says_over_a_link_changes_nothing() {
    let mut world = World::new::<2>();
    let stranger = world.nodes[1].root;
    world.act(0, Input::LinkUp(stranger));
    let hello = Hello { protocol: 1, name: Name::clean("x"), availability: Availability::Available, granted: 0 };
    for message in [Message::Hello(hello), Message::Friendship(Friendship::Accepted)] {
        world.act(0, Input::Received(stranger, message));
    }
    assert!(world.nodes[0].friends.is_empty() && !world.nodes[0].book.is_friend(&stranger));
}

#[test]
fn a_friend_from_whom_the_address_is_hidden_is_met_by_the_pair_slot_only() {
    let mut world = World::new::<3>();
    world.befriend(0, 1);
    world.befriend(0, 2);
    let (bob, old) = (world.nodes[1].root, world.nodes[0].key.grant());
    assert!(world.view(1, 0).unwrap().record.grant == Some(old.clone()));
    world.act(0, Input::Hide { friend: Some(bob), hidden: true });
    world.pass(Duration::from_secs(300));
    // The key that Bob knows is not published any more; Carol has the new one.
    assert_ne!(world.nodes[0].key.grant(), old);
    assert_eq!(world.view(1, 0).unwrap().record.grant, Some(old));
    assert_eq!(world.view(2, 0).unwrap().record.grant, Some(world.nodes[0].key.grant()));
    assert!(world.nodes[0].book.slots().contains(&SlotPlan::Pair { root: bob, since_ms: None }));
    assert!(world.friends(0, 1) && world.friends(0, 2), "both are linked again");
    // A restart changes nothing about it.
    world.stop(0);
    world.start(0);
    world.pass(Duration::from_secs(300));
    assert!(world.nodes[0].book.hides(&bob) && world.nodes[0].book.hides_any() && world.friends(0, 1));
    world.act(0, Input::Hide { friend: Some(bob), hidden: false });
    world.pass(Duration::from_secs(300));
    assert_eq!(world.view(1, 0).unwrap().record.grant, Some(world.nodes[0].key.grant()));
    assert!(!world.nodes[0].book.hides_any());
}
