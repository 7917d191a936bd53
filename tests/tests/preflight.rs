//! Preflights between real nodes: the path of a call is tried, measured and judged, and nobody notices.

use std::time::Duration;

use anyhow::{Context, Result};
use twocan_control::doctor::{Doctor, NatKind, Reachability};
use twocan_control::{Code, Event, Handle, LinkPath};
use twocan_tests::lab::{Lab, people};
use twocan_tests::{World, offline};

#[tokio::test(flavor = "multi_thread")]
async fn the_path_to_a_friend_is_tried_without_a_ring_or_a_trace() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let mut rings = bob.events();
    let found = alice.api().preflight("bob").await?;
    assert!(found.works, "{found:?}");
    assert_eq!((found.path, found.friend_name.as_str()), (Some(LinkPath::Loopback), "bob"));
    let (incoming, outgoing) = (found.incoming.unwrap(), found.outgoing.unwrap());
    assert!(incoming.packets > 100 && outgoing.packets > 100, "{found:?}");
    assert!(found.mos.is_some() && found.grade.is_some(), "{found:?}");
    assert!(alice.api().history().await?.is_empty() && bob.api().history().await?.is_empty());
    assert!(alice.api().calls().await?.is_empty() && bob.api().calls().await?.is_empty());
    // Asked again at once, Bob's node keeps its peace.
    let again = alice.api().preflight("bob").await?;
    assert!(!again.works && again.summary.contains("a moment ago"), "{again:?}");
    bob.api().shutdown().await?;
    let seen = rings.wait("the end", |event| match event {
        Event::CallIncoming { .. } | Event::Call { .. } => Some(true),
        Event::Stopping => Some(false),
        _ => None,
    });
    assert!(!seen.await?, "nothing rang");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_who_is_away_and_a_stranger_are_told_apart() -> Result<()> {
    let mut world = World::of_friends().await?;
    assert_eq!(world.people[0].api().preflight("nobody").await.unwrap_err().code, Code::NotFound);
    let root = world.people[1].api().identity().await?.root;
    world.people[1].stop().await?;
    offline(&world.people[0], &root).await?;
    let found = world.people[0].api().preflight("bob").await?;
    assert!(!found.works && found.summary.contains("not reachable now"), "{found:?}");
    assert!(!found.advice.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_is_tried_during_a_call() -> Result<()> {
    let world = World::of_friends().await?;
    let (alice, bob) = (&world.people[0], &world.people[1]);
    let (_at_alice, _at_bob) = twocan_tests::talk(alice, bob).await?;
    assert_eq!(alice.api().preflight("bob").await.unwrap_err().code, Code::Conflict);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_hard_nats_the_path_goes_through_a_friends_relay_and_the_doctor_names_the_nat() -> Result<()> {
    let Some(lab) = Lab::or_skip(Duration::from_millis(20)) else { return Ok(()) };
    let (_host, carol, bootstrap) = people::public_node(&lab, "carol", &[], people::PUBLIC_CONFIG).await?;
    let (at_alice, at_bob) = (lab.host_at("symmetric")?, lab.host_at("symmetric")?);
    let alice = people::person(&at_alice, "alice", &bootstrap, "").await?;
    let bob = people::person(&at_bob, "bob", &bootstrap, "").await?;
    people::befriend(&alice, &carol).await?;
    people::befriend(&bob, &carol).await?;
    people::befriend(&alice, &bob).await?;
    alice
        .eventually("carol's relay", |api| async move {
            let relays = api.doctor().await?.relays;
            Ok(relays.into_iter().find(|relay| relay.friend == "carol" && relay.udp_ms.is_some()))
        })
        .await?;
    let doctor = alice.api().doctor().await?;
    assert!(!matches!(doctor.nat.kind, NatKind::None | NatKind::UdpBlocked | NatKind::NoIpv4), "{:?}", doctor.nat);
    assert_eq!(doctor.nat.udp, Some(true));
    assert_ne!(doctor.reachability, Reachability::Public);
    assert!(doctor.clock.friends >= 1 && doctor.clock.error_ms.unwrap().abs() < 5000.0, "{:?}", doctor.clock);
    let found = alice.api().preflight("bob").await?;
    assert!(found.works, "{found:?}");
    assert_eq!(found.path, Some(LinkPath::Relayed), "{found:?}");
    Ok(())
}

/// What the doctor says at a site of a kind, once it has named the NAT; or what it said last.
async fn diagnosis(kind: &str, expected: NatKind) -> Result<Option<Doctor>> {
    let Some(lab) = Lab::or_skip(Duration::from_millis(20)) else { return Ok(None) };
    // The kind of a NAT shows to two who look from different networks.
    let (_at_carol, carol, bootstrap) = people::public_node(&lab, "carol", &[], people::PUBLIC_CONFIG).await?;
    let (_at_dave, dave, more) = people::public_node(&lab, "dave", &bootstrap, people::PUBLIC_CONFIG).await?;
    let bootstrap = [bootstrap, more].concat();
    let alice = people::person(&lab.host_at(kind)?, "alice", &bootstrap, "").await?;
    people::befriend(&alice, &carol).await?;
    people::befriend(&alice, &dave).await?;
    let named = alice.eventually("the name of the NAT and both relays", |api| async move {
        let doctor = api.doctor().await?;
        let answered = doctor.relays.iter().filter(|relay| relay.udp_ms.or(relay.tls_ms).is_some()).count();
        Ok((doctor.nat.kind == expected && answered == 2).then_some(doctor))
    });
    match named.await {
        Ok(doctor) => Ok(Some(doctor)),
        Err(error) => Err(error).context(format!("{:?}", alice.api().doctor().await?)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_a_symmetric_nat() -> Result<()> {
    let Some(doctor) = diagnosis("symmetric", NatKind::AddressDependent).await? else { return Ok(()) };
    assert_eq!(doctor.nat.udp, Some(true));
    assert!(!doctor.nat.double && doctor.summary.starts_with("A hard NAT"), "{doctor:?}");
    assert!(doctor.relays.iter().all(|relay| relay.udp_ms.is_some() && relay.tls_ms.is_some()), "{doctor:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_a_network_without_udp() -> Result<()> {
    let Some(doctor) = diagnosis("udp-blocked", NatKind::UdpBlocked).await? else { return Ok(()) };
    assert_eq!(doctor.nat.udp, Some(false));
    assert!(doctor.summary.contains("blocks UDP") && doctor.summary.contains("TLS"), "{doctor:?}");
    assert!(doctor.relays.iter().all(|relay| relay.udp_ms.is_none() && relay.tls_ms.is_some()), "{doctor:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_a_nat_with_one_port_for_everybody() -> Result<()> {
    let Some(doctor) = diagnosis("port-restricted", NatKind::EndpointIndependent).await? else { return Ok(()) };
    assert_eq!(doctor.nat.udp, Some(true));
    assert!(doctor.summary.starts_with("Fine for calls"), "{doctor:?}");
    assert_ne!(doctor.reachability, Reachability::Public);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_udp_on_one_side_the_preflight_goes_through_a_relay_and_works() -> Result<()> {
    let Some(lab) = Lab::or_skip(Duration::from_millis(20)) else { return Ok(()) };
    let (_host, carol, bootstrap) = people::public_node(&lab, "carol", &[], people::PUBLIC_CONFIG).await?;
    let (at_alice, at_bob) = (lab.host_at("udp-blocked")?, lab.host_at("port-restricted")?);
    let alice = people::person(&at_alice, "alice", &bootstrap, "").await?;
    let bob = people::person(&at_bob, "bob", &bootstrap, "").await?;
    people::befriend(&alice, &carol).await?;
    people::befriend(&bob, &carol).await?;
    people::befriend(&alice, &bob).await?;
    alice
        .eventually("carol's relay", |api| async move {
            let relays = api.doctor().await?.relays;
            Ok(relays.into_iter().find(|relay| relay.friend == "carol" && relay.tls_ms.is_some()))
        })
        .await?;
    let found = bob.api().preflight("alice").await?;
    assert!(found.works, "{found:?}");
    assert_eq!(found.path, Some(LinkPath::Relayed), "{found:?}");
    let (incoming, outgoing) = (found.incoming.context("nothing came")?, found.outgoing.context("nothing went")?);
    assert!(incoming.packets > 100 && outgoing.packets > 100);
    Ok(())
}
