//! Nodes that are killed without a word, at the worst moments, and started again.

use anyhow::Result;
use twocan_control::{AnswerCall, CallState, Event, FriendState, Handle, Outcome, PlaceCall, RequestAnswer, TakeSeat};
use twocan_tests::{Node, Options, Seat, World, ask, incoming_call, incoming_request, online, talk};

#[tokio::test(flavor = "multi_thread")]
async fn friends_find_each_other_again_after_a_kill() -> Result<()> {
    let mut world = World::of_friends().await?;
    for victim in [0, 1] {
        world.people[victim].kill_and_restart().await?;
        online(&world.people[0], &world.people[1]).await?;
        online(&world.people[1], &world.people[0]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_a_request_loses_neither_the_request_nor_the_answer() -> Result<()> {
    let mut world = World::of(&["alice", "bob"]).await?;
    ask(&world.people[0], &world.people[1]).await?;
    let id = incoming_request(&world.people[1], &world.people[0]).await?;
    world.people[1].kill_and_restart().await?;
    let waiting = world.people[1].api().requests().await?;
    assert_eq!(waiting.len(), 1, "a request that was shown is there after a kill");
    world.people[0].kill().await?;
    world.people[1].api().answer_request(&id, RequestAnswer::Accept { name: None }).await?;
    world.people[1].kill_and_restart().await?;
    world.people[0].start_again().await?;
    online(&world.people[0], &world.people[1]).await?;
    let friend = online(&world.people[1], &world.people[0]).await?;
    assert_eq!(friend.state, FriendState::Accepted);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_other_side_is_killed_and_stays_away_ends_with_the_reason() -> Result<()> {
    let options = Options { extra: "[calls]\ngrace_s = 5\n".to_owned(), ..Options::default() };
    let mut world = World::with(&["alice", "bob"], &options).await?;
    world.befriend(0, 1).await?;
    let mut rings = world.people[1].events();
    let seated = world.people[0].api().place_call(PlaceCall { friend: "bob".to_owned(), video: false }).await?;
    let id = rings.wait("the ringing", incoming_call).await?.id;
    let mut at_alice = Seat::take(world.people[0].api(), seated).await?;
    let bob = world.people[1].api();
    let mut at_bob = Seat::take(bob, bob.answer_call(&id, AnswerCall { video: false }).await?).await?;
    at_bob.hear().await?;
    at_alice.hear().await?;
    world.people[1].kill().await?;
    let alice = &world.people[0];
    let until = async |state: CallState| {
        let id = &id;
        let ask = |api: twocan_control::Client| async move {
            Ok(Some(api.call(id).await?).filter(|call| call.state == state))
        };
        alice.eventually(&format!("{state:?}"), ask).await
    };
    until(CallState::Reconnecting).await?;
    let over = until(CallState::Ended).await?;
    assert!(over.reason.is_some_and(|reason| !reason.is_empty()), "the end is explained");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_one_home_is_refused_and_the_first_lives_on() -> Result<()> {
    let mut node = Node::start("alice", &Options::default()).await?;
    let output =
        tokio::process::Command::new(twocan_tests::binary("twocand")).env("TWOCAN_HOME", node.home()).output().await?;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("process {}", node.pid())), "{text}");
    assert!(node.alive());
    node.api().status().await?;
    Ok(())
}

/// A call goes on after the node of one side was killed and started again within the grace time.
async fn the_call_goes_on_after_a_kill_of(victim: usize) -> Result<()> {
    let mut world = World::of_friends().await?;
    let (mut at_alice, mut at_bob) = talk(&world.people[0], &world.people[1]).await?;
    let id = at_alice.seated.call.id.clone();
    let other = 1 - victim;
    let token = [&at_alice, &at_bob][victim].seated.seat.clone();
    let stayed = if victim == 0 { &mut at_bob } else { &mut at_alice };
    while stayed.hear().await? < 100 {}
    let mut seen = world.people[other].events();
    let state = |state: CallState| {
        let id = id.clone();
        move |event| match event {
            Event::Call { call } if call.id == id && call.state == state => Some(()),
            _ => None,
        }
    };
    world.people[victim].kill().await?;
    seen.wait("the call reconnecting", state(CallState::Reconnecting)).await?;
    world.people[victim].start_again().await?;
    let api = world.people[victim].api();
    let seated = api.take_seat(&id, TakeSeat { token: Some(token) }).await?;
    assert_eq!(seated.call.friend, world.people[other].api().identity().await?.root);
    let mut again = Seat::take(api, seated).await?;
    seen.wait("the call active again", state(CallState::Active)).await?;
    again.hear().await?;
    // The new seat counts from 0, so this is sound of after the restart and not what still waited in a queue.
    while stayed.hear().await? > 50 {}
    api.hangup(&id).await?;
    for node in &world.people {
        node.eventually("one entry in the history", |api| async move {
            let history = api.history().await?;
            Ok((history.len() == 1 && history[0].outcome == Outcome::Completed).then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callee_whose_node_is_killed_and_restarted_is_back_in_the_call() -> Result<()> {
    the_call_goes_on_after_a_kill_of(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_node_is_killed_and_restarted_is_back_in_the_call() -> Result<()> {
    the_call_goes_on_after_a_kill_of(0).await
}
