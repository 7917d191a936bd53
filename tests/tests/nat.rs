//! Friends behind NATs and firewalls connect and talk, by the best path there is, and stay connected when something
//! befalls them. Times are measured by `lab`, not here.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use twocan_tests::lab::pair::{Pair, Setup};
use twocan_tests::lab::survive::{self, Outcome, Story, until_path};
use twocan_tests::lab::{matrix, namespace};

/// Round trips are short here: what is tested is which way is found.
fn setup() -> Setup {
    Setup { rtt: Duration::from_millis(20), ..Setup::default() }
}

/// Whether a lab can run here; says why not.
fn possible() -> bool {
    namespace::missing().inspect(|why| println!("skipped: no laboratory can run here: {why}")).is_none()
}

/// Two kinds connect and talk over the kind of path that is possible between them.
async fn meet(a: &str, b: &str) -> Result<()> {
    if !possible() {
        return Ok(());
    }
    let pair = Pair::linked([&a.parse()?, &b.parse()?], &setup()).await?;
    let (talk, _) = pair.talk().await?;
    until_path(&pair, &talk, matrix::expected(a, b)).await?;
    let settled = Instant::now();
    let heard = talk.heard(settled, Duration::from_secs(10)).await;
    ensure!(heard.iter().all(Option::is_some), "silent over the chosen path: {heard:?}");
    pair.hang_up(talk).await
}

#[tokio::test(flavor = "multi_thread")]
async fn port_restricted_meets_port_restricted_directly() -> Result<()> {
    meet("port-restricted", "port-restricted").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carriers_nat_meets_endpoint_independent_directly() -> Result<()> {
    meet("cgnat", "endpoint-independent").await
}

#[tokio::test(flavor = "multi_thread")]
async fn symmetric_meets_open_directly() -> Result<()> {
    meet("symmetric", "open").await
}

#[tokio::test(flavor = "multi_thread")]
async fn symmetric_meets_symmetric_through_a_relay() -> Result<()> {
    meet("symmetric", "symmetric").await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_udp_they_talk_through_a_relay() -> Result<()> {
    meet("udp-blocked", "port-restricted").await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_with_only_tcp_443_talk_through_a_relay() -> Result<()> {
    meet("tcp443", "tcp443").await
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_only_meets_ipv4_only_through_a_relay() -> Result<()> {
    meet("ipv6-only", "open").await
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_only_meets_ipv6_only_directly() -> Result<()> {
    meet("ipv6-only", "ipv6-only").await
}

/// A story is survived, without a second ring.
async fn live(story: Story) -> Result<Option<Outcome>> {
    if !possible() {
        return Ok(None);
    }
    let outcome = survive::happen(story, &setup(), Duration::from_secs(20)).await;
    ensure!(outcome.survived, "{outcome:?}");
    ensure!(!outcome.rang_again, "it rang again");
    Ok(Some(outcome))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_when_one_joins_another_network() -> Result<()> {
    live(Story::AddressDirect).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_call_goes_on_when_one_joins_another_network() -> Result<()> {
    live(Story::AddressRelayed).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_when_its_relay_dies_and_another_friend_has_one() -> Result<()> {
    live(Story::RelayKilled).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_say_that_they_reconnect_and_talk_again_after_a_cut() -> Result<()> {
    let Some(outcome) = live(Story::Cut).await? else { return Ok(()) };
    ensure!(outcome.reconnecting_ms.iter().all(Option::is_some), "{outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_when_both_nats_forget() -> Result<()> {
    live(Story::Forgotten).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_who_slept_is_seen_again_and_can_call() -> Result<()> {
    live(Story::Suspended).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_when_a_node_was_stopped_for_some_seconds() -> Result<()> {
    live(Story::SuspendedInCall).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_killed_and_restarted_gets_back_into_the_call() -> Result<()> {
    live(Story::Restarted).await.map(drop)
}
