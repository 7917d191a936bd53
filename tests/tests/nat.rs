//! Friends behind NATs and firewalls connect and talk, by the best path there is, and stay connected when something
//! befalls them. Times are measured by `lab`, not here.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use twocan_control::{CallState, Handle, LinkPath};
use twocan_tests::lab::net::Verdict;
use twocan_tests::lab::packet;
use twocan_tests::lab::pair::{Pair, Setup};
use twocan_tests::lab::proxy::Proxy;
use twocan_tests::lab::survive::{self, Outcome, Story, until_path};
use twocan_tests::lab::{Lab, matrix, namespace, people};
use twocan_tests::talk;

/// Round trips are short here: what is tested is which way is found.
fn setup() -> Setup {
    Setup { rtt: Duration::from_millis(20), ..Setup::default() }
}

/// Whether a lab can run here; says why not.
fn possible() -> bool {
    namespace::missing().inspect(|why| println!("skipped: no laboratory can run here: {why}")).is_none()
}

/// How many pairs are tried at the same time: each is three nodes.
const AT_ONCE: usize = 4;

/// Two kinds connect and talk over the kind of path that is possible between them.
async fn meet(a: &str, b: &str) -> Result<()> {
    let pair = Pair::linked([&a.parse()?, &b.parse()?], &setup()).await?;
    let (talk, _) = pair.talk().await?;
    until_path(&pair, &talk, matrix::expected(a, b)).await?;
    let settled = Instant::now();
    let heard = talk.heard(settled, Duration::from_secs(10)).await;
    ensure!(heard.iter().all(Option::is_some), "silent over the chosen path: {heard:?}");
    pair.hang_up(talk).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_kinds_talks_by_the_path_that_must_be() -> Result<()> {
    if !possible() {
        return Ok(());
    }
    let met = matrix::pairs().into_iter().map(|(a, b)| async move {
        let met = meet(&a, &b).await;
        met.with_context(|| format!("{a} with {b}, which must be {:?}", matrix::expected(&a, &b)))
    });
    let met: Vec<Result<()>> = stream::iter(met).buffer_unordered(AT_ONCE).collect().await;
    ensure!(met.len() == 36, "{} pairs", met.len());
    let failed: Vec<String> = met.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_public_friend_a_strangers_node_tells_both_how_they_look_from_outside() -> Result<()> {
    if !possible() {
        return Ok(());
    }
    let setup = Setup { strangers: true, ..setup() };
    let kind = "port-restricted".parse()?;
    let pair = Pair::linked([&kind, &kind], &setup).await?;
    let (talk, _) = pair.talk().await?;
    until_path(&pair, &talk, LinkPath::Direct).await?;
    let settled = Instant::now();
    ensure!(talk.heard(settled, Duration::from_secs(10)).await.iter().all(Option::is_some), "silent");
    pair.hang_up(talk).await
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

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_path_is_taken_when_it_becomes_possible() -> Result<()> {
    if !possible() {
        return Ok(());
    }
    let pair = Pair::linked([&"udp-blocked".parse()?, &"port-restricted".parse()?], &setup()).await?;
    let (talk, _) = pair.talk().await?;
    until_path(&pair, &talk, LinkPath::Relayed).await?;
    // The hotel's firewall is left behind.
    pair.hosts[0].move_to(pair.lab.site("port-restricted".parse()?)?)?;
    until_path(&pair, &talk, LinkPath::Direct).await?;
    let moved = Instant::now();
    ensure!(talk.heard(moved, Duration::from_secs(10)).await.iter().all(Option::is_some), "silent after the move");
    pair.hang_up(talk).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_side_shows_a_living_call_that_is_dead() -> Result<()> {
    if !possible() {
        return Ok(());
    }
    let config = "[calls]\ngrace_s = 5\n".to_owned();
    let pair = Pair::linked([&"open".parse()?, &"open".parse()?], &Setup { config, ..setup() }).await?;
    let (talk, _) = pair.talk().await?;
    pair.lab.cut(pair.hosts[0].site(), true);
    let over = pair.until_state(&talk.id, &[CallState::Ended], Duration::from_secs(40)).await;
    ensure!(over.iter().all(Option::is_some), "a dead call goes on: {over:?}");
    for call in pair.calls(&talk.id).await? {
        ensure!(call.reason.is_some() || call.outcome.is_some(), "an end without a reason: {call:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_damages_and_repeats_packets_ends_no_call() -> Result<()> {
    if !possible() {
        return Ok(());
    }
    let pair = Pair::linked([&"port-restricted".parse()?, &"port-restricted".parse()?], &setup()).await?;
    let (talk, _) = pair.talk().await?;
    let mut count = 0_usize;
    pair.lab.tamper(
        pair.hosts[0].site(),
        Some(Box::new(move |_, packet| {
            count += 1;
            if count.is_multiple_of(5)
                && let Some(last) = packet::udp_payload_mut(packet).and_then(|payload| payload.last_mut())
            {
                *last ^= 0x55;
                packet::forget_udp_checksum(packet);
            }
            if count.is_multiple_of(3) { Verdict::Twice } else { Verdict::Pass }
        })),
    );
    let begin = Instant::now();
    for _ in 0..3 {
        let heard = talk.heard(Instant::now() + Duration::from_secs(2), Duration::from_secs(20)).await;
        ensure!(heard.iter().all(Option::is_some), "silent after {:?}", begin.elapsed());
    }
    pair.lab.tamper(pair.hosts[0].site(), None);
    pair.hang_up(talk).await
}

#[tokio::test(flavor = "multi_thread")]
async fn link_and_call_go_through_a_proxy_where_nothing_else_leaves() -> Result<()> {
    let Some(lab) = Lab::or_skip(Duration::from_millis(20)) else { return Ok(()) };
    let (_host, carol, bootstrap) = people::public_node(&lab, "carol", &[], people::PUBLIC_CONFIG).await?;
    let site = lab.site("proxy-only".parse()?)?;
    let (machine, office) = (lab.host(site)?, lab.host(site)?);
    machine.exempt();
    let proxy = Proxy::start(&machine, 3128)?;
    let extra = format!("proxy = \"http://{}\"\n", proxy.address());
    let alice = people::person(&office, "alice", &bootstrap, &extra).await?;
    let bob = people::person(&lab.host_at("port-restricted")?, "bob", &bootstrap, "").await?;
    people::befriend(&alice, &carol).await.context("through the proxy")?;
    people::befriend(&bob, &carol).await?;
    people::befriend(&alice, &bob).await?;
    let path = alice.api().friend("carol").await?.link.context("no link")?;
    ensure!(path.transport == "tcp", "{path:?}");
    // The relay's TLS goes through the proxy as well, and media inside it.
    let before = proxy.connections();
    let (mut at_alice, mut at_bob) = talk(&alice, &bob).await?;
    at_alice.hear().await?;
    at_bob.hear().await?;
    ensure!(proxy.connections() > before, "media did not go through the proxy");
    let call = at_alice.seated.call.id.clone();
    let path = alice
        .eventually("the path of the call", |api| {
            let call = call.clone();
            async move { Ok(api.call(&call).await?.quality.and_then(|quality| quality.path)) }
        })
        .await?;
    ensure!(path == LinkPath::Relayed, "{path:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_serves_anyone_carries_a_call_that_no_friend_can() -> Result<()> {
    if !possible() {
        return Ok(());
    }
    let public_config = format!("{}serve = \"anyone\"\n", people::PUBLIC_CONFIG);
    let setup = Setup { strangers: true, public_config, ..setup() };
    let kind = "symmetric".parse()?;
    let pair = Pair::linked([&kind, &kind], &setup).await?;
    let (talk, _) = pair.talk().await?;
    until_path(&pair, &talk, LinkPath::Relayed).await?;
    let settled = Instant::now();
    ensure!(talk.heard(settled, Duration::from_secs(10)).await.iter().all(Option::is_some), "silent");
    let relay = pair.public[0].api().relay().await?;
    ensure!(relay.by_me.iter().any(|used| used.guest && used.traffic.bytes_today > 0), "{relay:?}");
    pair.hang_up(talk).await
}
