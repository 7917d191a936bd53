//! What a call and a link live through, between real processes on loopback: a stopped node, a killed one, a copied home.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;
use twocan_control::{CallState, Event, Friend, Handle, PlaceCall};
use twocan_tests::{DEADLINE, Node, World, incoming_call, offline, online, talk};

fn signal(node: &Node, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(i32::try_from(node.pid())?), signal).context("the signal is not taken")
}

/// Waits until a node sees a call in a state.
async fn until(node: &Node, id: &str, state: CallState) -> Result<twocan_control::Call> {
    node.eventually(&format!("the call {state:?}"), |api| async move {
        Ok(Some(api.call(id).await?).filter(|call| call.state == state))
    })
    .await
}

async fn friend(node: &Node, root: &str) -> Result<Friend> {
    Ok(node.api().friend(root).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_stopped_for_longer_than_links_live_is_back_when_it_goes_on() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let root = bob.api().identity().await?.root;
    signal(bob, Signal::SIGSTOP)?;
    // The heartbeat of an idle link notices after 30 s of silence and 10 s of patience.
    offline(alice, &root).await?;
    assert!(!friend(alice, &root).await?.online);
    signal(bob, Signal::SIGCONT)?;
    online(alice, bob).await?;
    online(bob, alice).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_after_its_other_side_was_stopped_for_a_while() -> Result<()> {
    let world = World::of_friends().await?;
    let (mut at_alice, mut at_bob) = talk(&world.people[0], &world.people[1]).await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let id = at_alice.seated.call.id.clone();
    let mut rings = alice.events();
    let mut rings_at_bob = bob.events();
    signal(bob, Signal::SIGSTOP)?;
    until(alice, &id, CallState::Reconnecting).await?;
    signal(bob, Signal::SIGCONT)?;
    until(alice, &id, CallState::Active).await?;
    until(bob, &id, CallState::Active).await?;
    let heard = at_alice.hear().await?;
    while at_alice.hear().await? < heard + 10 {}
    at_bob.hear().await?;
    bob.api().hangup(&id).await?;
    until(alice, &id, CallState::Ended).await?;
    let ring = |event| matches!(event, Event::CallIncoming { .. }).then_some(());
    for events in [&mut rings, &mut rings_at_bob] {
        let rang = timeout(Duration::from_millis(1), events.wait("a ring", ring)).await;
        assert!(rang.is_err(), "it rang again");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_that_was_stopped_for_longer_than_the_call_waits_finds_the_call_ended_for_the_reason() -> Result<()> {
    let options = twocan_tests::Options { extra: "[calls]\ngrace_s = 10\n".to_owned(), ..Default::default() };
    let world = World::with(&["alice", "bob"], &options).await?;
    world.befriend(0, 1).await?;
    let (at_alice, _at_bob) = talk(&world.people[0], &world.people[1]).await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let id = at_alice.seated.call.id.clone();
    signal(bob, Signal::SIGSTOP)?;
    let over = until(alice, &id, CallState::Ended).await?;
    assert!(over.reason.is_some_and(|reason| !reason.is_empty()), "the end is explained");
    signal(bob, Signal::SIGCONT)?;
    let over = timeout(DEADLINE, until(bob, &id, CallState::Ended)).await??;
    assert!(over.reason.is_some_and(|reason| !reason.is_empty()), "the end is explained");
    assert_eq!(over.outcome, Some(twocan_control::Outcome::Failed));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_nodes_with_one_identity_the_later_one_has_the_link_and_the_other_is_told() -> Result<()> {
    let mut world = World::of_friends().await?;
    let options = world.options().await?;
    world.people[1].stop().await?;
    let folder = tempfile::Builder::new().prefix("twocan-copy-").tempdir()?;
    copy(world.people[1].home(), folder.path())?;
    world.people[1].start_again().await?;
    online(&world.people[0], &world.people[1]).await?;
    let copied = Node::start_in("copy", folder.path(), &options, None).await?;
    // The first one tries again and again, and is told why it is in vain.
    let first = &world.people[1];
    first.until(|status| status.notices.iter().any(|notice| notice.contains("identity"))).await?;
    let log = first.log()?;
    assert_eq!(log.matches("is this home a copy").count(), 1, "one line");
    let ups = log.matches(") is up").count();
    assert!(ups <= 4, "no storm: {ups} links of the older node");
    // Calls go to the later one.
    let alice = &world.people[0];
    let mut rings = copied.events();
    alice.api().place_call(PlaceCall { friend: "bob".to_owned(), video: false }).await?;
    rings.wait("the ring", incoming_call).await?;
    Ok(())
}

/// Copies a folder with all that is in it; what lives only while a node runs is left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
