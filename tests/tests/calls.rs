//! Calls between real processes, from ringing to the history, without devices: seats send numbered frames.

use anyhow::{Result, bail};
use twocan_control::{
    AnswerCall, Availability, Call, CallState, CallUpdate, Code, Decline, Event, Handle, MediaControl, Outcome,
    PlaceCall, SeatedCall, SetAvailability, TakeSeat,
};
use twocan_tests::{Node, Seat, World, incoming_call};

fn place(friend: &str) -> PlaceCall {
    PlaceCall { friend: friend.to_owned(), video: false }
}

/// Places a call to Bob and waits until it rings there.
async fn ring(caller: &Node, bob: &Node) -> Result<(SeatedCall, Call)> {
    let mut events = bob.events();
    let seated = caller.api().place_call(place("bob")).await?;
    let incoming = events.wait("the ringing", incoming_call).await?;
    assert_eq!(incoming.id, seated.call.id);
    Ok((seated, incoming))
}

/// Answers and takes the seat.
async fn answer(node: &Node, id: &str) -> Result<Seat> {
    Seat::take(node.api(), node.api().answer_call(id, AnswerCall { video: false }).await?).await
}

/// Waits until a node sees the call as the condition wants.
async fn until_call(node: &Node, id: &str, what: &str, wanted: impl Fn(&Call) -> bool) -> Result<Call> {
    let wanted = &wanted;
    node.eventually(what, |api| async move { Ok(Some(api.call(id).await?).filter(|call| wanted(call))) }).await
}

fn ended(call: &Call) -> bool {
    call.state == CallState::Ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_heard_both_ways_and_hung_up() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let (seated, incoming) = ring(alice, bob).await?;
    let mut at_alice = Seat::take(alice.api(), seated).await?;
    let mut at_bob = answer(bob, &incoming.id).await?;
    at_bob.hear().await?;
    at_alice.hear().await?;
    let active = until_call(alice, &incoming.id, "the call active", |call| call.state == CallState::Active).await?;
    assert!(active.answered_ms.is_some());
    bob.api().hangup(&incoming.id).await?;
    let over = until_call(alice, &incoming.id, "the end", ended).await?;
    assert_eq!(over.outcome, Some(Outcome::Completed));
    at_alice.ended().await?;
    at_bob.ended().await?;
    for node in [alice, bob] {
        assert_eq!(node.api().history().await?[0].outcome, Outcome::Completed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_seat_is_given_before_the_answer() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let (seated, incoming) = ring(alice, bob).await?;
    let mut at_alice = Seat::take(alice.api(), seated).await?;
    at_alice.control("the streams", |control| matches!(control, MediaControl::Streams { .. })).await?;
    let refused = bob.api().take_seat(&incoming.id, TakeSeat::default()).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    answer(bob, &incoming.id).await?.hear().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn declined_cancelled_and_do_not_disturb_are_told_apart() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);

    let (_, incoming) = ring(alice, bob).await?;
    bob.api().decline_call(&incoming.id, Decline { text: Some("in a meeting".to_owned()) }).await?;
    let over = until_call(alice, &incoming.id, "the refusal", ended).await?;
    assert_eq!((over.outcome, over.reason.as_deref()), (Some(Outcome::Declined), Some("in a meeting")));

    let (_, incoming) = ring(alice, bob).await?;
    alice.api().hangup(&incoming.id).await?;
    let over = until_call(bob, &incoming.id, "the missed call", ended).await?;
    assert_eq!(over.outcome, Some(Outcome::Cancelled));

    bob.api().set_availability(SetAvailability { availability: Availability::Dnd }).await?;
    let seated = alice.api().place_call(place("bob")).await?;
    let over = until_call(alice, &seated.call.id, "do not disturb", ended).await?;
    assert_eq!(over.outcome, Some(Outcome::DoNotDisturb));
    let missed = bob
        .eventually("the missed call in the history", |api| async move {
            Ok(api.history().await?.into_iter().find(|entry| entry.outcome == Outcome::DoNotDisturb))
        })
        .await?;
    assert_eq!(missed.friend_name, "alice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_calling_each_other_at_once_is_one_call() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let mut before = 0;
    let placed = loop {
        let (one, two) = tokio::join!(alice.api().place_call(place("bob")), bob.api().place_call(place("alice")));
        match (one, two) {
            (Ok(one), Ok(two)) => break [one.call.id, two.call.id],
            (Err(one), Err(two)) => bail!("neither can call: {one}, {two}"),
            // One was so quick that it rang before the other called: not at once. Once more.
            (Ok(quick), Err(_)) => alice.api().hangup(&quick.call.id).await?,
            (Err(_), Ok(quick)) => bob.api().hangup(&quick.call.id).await?,
        }
        before += 1;
        assert!(before < 20, "never at once");
        for node in [alice, bob] {
            node.eventually("the end of the call that was quicker", |api| async move {
                Ok((api.calls().await?.iter().all(ended) && api.history().await?.len() == before).then_some(()))
            })
            .await?;
        }
    };
    // Each client keeps the id that it was given; between the nodes it is one call.
    let only = |calls: Vec<Call>| match calls.iter().filter(|call| !ended(call)).collect::<Vec<_>>().as_slice() {
        [call] if call.state == CallState::Active => Some((*call).clone()),
        _ => None,
    };
    for node in [alice, bob] {
        let call = node.eventually("one active call", |api| async move { Ok(only(api.calls().await?)) }).await?;
        assert!(placed.contains(&call.id));
    }
    let id = placed[0].clone();
    alice.api().hangup(&id).await?;
    for node in [alice, bob] {
        node.eventually("the end of the one call", |api| async move {
            Ok(api.calls().await?.iter().all(ended).then_some(()))
        })
        .await?;
        assert_eq!(node.api().history().await?.len(), before + 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn muting_holding_and_video_are_seen_on_the_other_side() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let (seated, incoming) = ring(alice, bob).await?;
    let id = incoming.id.clone();
    let mut at_alice = Seat::take(alice.api(), seated).await?;
    let mut at_bob = answer(bob, &id).await?;
    at_bob.hear().await?;
    at_alice.hear().await?;
    alice.api().update_call(&id, CallUpdate { muted: Some(true), video: Some(true), ..CallUpdate::default() }).await?;
    until_call(bob, &id, "muted and video", |call| call.remote_muted && call.remote_video).await?;
    alice.api().update_call(&id, CallUpdate { held: Some(true), ..CallUpdate::default() }).await?;
    until_call(bob, &id, "held", |call| call.remote_held).await?;
    at_bob.control("the stop of sending", |control| matches!(control, MediaControl::Flow { audio: false, .. })).await?;
    alice.api().update_call(&id, CallUpdate { held: Some(false), muted: Some(false), ..CallUpdate::default() }).await?;
    until_call(bob, &id, "resumed", |call| !call.remote_held && !call.remote_muted).await?;
    at_alice.hear().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_of_the_token_takes_the_seat_again_by_itself() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let (seated, incoming) = ring(alice, bob).await?;
    let id = incoming.id.clone();
    let token = seated.seat.clone();
    let at_alice = Seat::take(alice.api(), seated).await?;
    let mut at_bob = answer(bob, &id).await?;
    at_bob.hear().await?;
    let refused = alice.api().take_seat(&id, TakeSeat::default()).await.unwrap_err();
    assert_eq!(refused.code, Code::SeatTaken);
    drop(at_alice);
    until_call(bob, &id, "the empty seat", |call| call.remote_seat_empty).await?;
    let again = alice.api().take_seat(&id, TakeSeat { token: Some(token) }).await?;
    let mut at_alice = Seat::take(alice.api(), again).await?;
    at_alice.hear().await?;
    until_call(bob, &id, "the seat taken again", |call| !call.remote_seat_empty).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_waits_and_answering_it_holds_the_first() -> Result<()> {
    let world = World::of(&["alice", "bob", "carol"]).await?;
    world.befriend(0, 1).await?;
    world.befriend(2, 1).await?;
    let (alice, bob, carol) = (&world.people[0], &world.people[1], &world.people[2]);
    let (seated, first) = ring(alice, bob).await?;
    let _at_alice = Seat::take(alice.api(), seated).await?;
    let mut at_bob = answer(bob, &first.id).await?;
    at_bob.hear().await?;
    let (seated, second) = ring(carol, bob).await?;
    let mut at_carol = Seat::take(carol.api(), seated).await?;
    let mut second_at_bob = answer(bob, &second.id).await?;
    second_at_bob.hear().await?;
    at_carol.hear().await?;
    until_call(bob, &first.id, "the first call held", |call| call.held).await?;
    until_call(alice, &first.id, "being held", |call| call.remote_held).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_friend_who_is_away_can_be_given_up() -> Result<()> {
    let mut world = World::of_friends().await?;
    let root = world.people[1].api().identity().await?.root;
    world.people[1].stop().await?;
    twocan_tests::offline(&world.people[0], &root).await?;
    let alice = &world.people[0];
    let mut events = alice.events();
    match alice.api().place_call(place("bob")).await {
        Err(error) => assert_eq!(error.code, Code::Unreachable),
        Ok(seated) => {
            alice.api().hangup(&seated.call.id).await?;
            events
                .wait("the end", |event| match event {
                    Event::Call { call } if ended(&call) => Some(()),
                    _ => None,
                })
                .await?;
        }
    }
    Ok(())
}
