//! The verdict on networks of every kind, from made-up facts: what a person would read there.

use std::net::{IpAddr, SocketAddr};

use twocan_control::Health;
use twocan_control::doctor::{Check, Doctor, MappingState, NatKind, Reachability};

use super::facts::{Facts, OwnPorts, RelayFact, Seen, Serving};
use super::verdict::examine;
use crate::portmap::{Family, Mapped, Purpose, State, Via, View, Want};

/// A node at home behind a router, which has met others.
fn home() -> Facts {
    Facts {
        local4: Some("192.168.1.5".parse().unwrap()),
        ports: OwnPorts { quic: 4001, tcp: 4001, media: 4002 },
        tested: true,
        mapping_on: true,
        mapping: View {
            state: State::Refused,
            gateway: Some("192.168.1.1".parse().unwrap()),
            tried: vec![(Via::Pcp, "no answer".to_owned()), (Via::Upnp, "no router answered the search".to_owned())],
            ..View::default()
        },
        dht: Health { peers: 3, slots_published: 2, slots_confirmed: 2, ..Health::default() },
        friends: 1,
        linked: 1,
        listening: 4,
        ..Facts::default()
    }
}

fn seen(pairs: &[(&str, &str)]) -> Vec<Seen> {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    pairs.iter().map(|(server, mapped)| Seen { server: at(server), mapped: at(mapped) }).collect()
}

fn relay(udp: Option<Option<f64>>, tls: Option<Option<f64>>) -> RelayFact {
    RelayFact { friend: "Carol".to_owned(), udp, tls }
}

fn mapped(external: &str) -> View {
    let want = Want { purpose: Purpose::Media, family: Family::V4, port: 4002 };
    let mapped = vec![Mapped { want, external: external.parse().unwrap(), via: Via::Upnp }];
    View { state: State::Mapped, gateway: Some("192.168.1.1".parse().unwrap()), mapped, tried: Vec::new() }
}

fn line<'a>(doctor: &'a Doctor, name: &str) -> &'a Check {
    doctor.checks.iter().find(|check| check.name == name).unwrap()
}

#[test]
fn two_servers_that_see_the_same_port_make_an_endpoint_independent_nat() {
    let seen = seen(&[("11.1.0.1:3478", "11.9.0.1:4002"), ("11.2.0.1:3478", "11.9.0.1:4002")]);
    let doctor = examine(&Facts { seen, ..home() });
    assert_eq!(doctor.nat.kind, NatKind::EndpointIndependent);
    assert_eq!(doctor.nat.udp, Some(true));
    assert!(doctor.nat.finding.contains("keeps the port"), "{}", doctor.nat.finding);
    assert!(doctor.summary.starts_with("Fine for calls"), "{}", doctor.summary);
    assert_eq!(doctor.ipv4.seen_as, ["11.9.0.1:4002"]);
}

#[test]
fn two_servers_that_see_different_ports_make_a_symmetric_nat_which_wants_a_relay() {
    let seen = seen(&[("11.1.0.1:3478", "11.9.0.1:7000"), ("11.2.0.1:3478", "11.9.0.1:9000")]);
    let doctor = examine(&Facts { seen: seen.clone(), ..home() });
    assert_eq!(doctor.nat.kind, NatKind::AddressDependent);
    assert!(doctor.summary.contains("no relay"), "{}", doctor.summary);
    assert!(line(&doctor, "relays").advice.as_ref().unwrap().contains("twocan relay friends"));
    let relays = vec![relay(Some(Some(41.0)), None)];
    let doctor = examine(&Facts { seen, relays, ..home() });
    assert!(doctor.summary.contains("the rest goes through a relay"), "{}", doctor.summary);
    assert!(line(&doctor, "relays").ok);
}

#[test]
fn one_server_says_too_little_and_so_does_one_machine_with_two_ports() {
    for pairs in [
        &[("11.1.0.1:3478", "11.9.0.1:7000")][..],
        &[("11.1.0.1:3478", "11.9.0.1:7000"), ("11.1.0.1:4000", "11.9.0.1:9000")],
    ] {
        let doctor = examine(&Facts { seen: seen(pairs), ..home() });
        assert_eq!(doctor.nat.kind, NatKind::Nat);
        assert!(doctor.nat.finding.contains("not known yet"), "{}", doctor.nat.finding);
    }
}

#[test]
fn servers_of_the_own_network_say_nothing_about_the_nat() {
    let seen = seen(&[("192.168.1.7:4000", "192.168.1.5:4002"), ("192.168.1.8:4000", "192.168.1.5:4002")]);
    assert_eq!(examine(&Facts { seen, ..home() }).nat.kind, NatKind::Nat);
}

#[test]
fn silence_over_udp_where_tcp_answers_is_udp_blocked() {
    let blocked = Facts { relays: vec![relay(Some(None), Some(Some(52.0)))], udp_passes: Some(false), ..home() };
    let doctor = examine(&blocked);
    assert_eq!((doctor.nat.kind, doctor.nat.udp), (NatKind::UdpBlocked, Some(false)));
    assert!(doctor.summary.contains("over TLS"), "{}", doctor.summary);
    assert!(line(&doctor, "NAT").ok, "nothing to do: the relay answers");
    let without = Facts { relays: Vec::new(), udp_passes: Some(false), ..home() };
    let without = Facts { carried: super::Carried { quic: 0, tcp: 3 }, ..without };
    let doctor = examine(&without);
    assert_eq!(doctor.nat.kind, NatKind::UdpBlocked);
    assert!(doctor.summary.contains("hardly work"), "{}", doctor.summary);
    assert!(line(&doctor, "NAT").advice.as_ref().unwrap().contains("tls_port = 443"));
    let nobody = Facts { udp_passes: Some(false), ..home() };
    assert_eq!(examine(&nobody).nat.kind, NatKind::Nat, "without any answer at all nothing is claimed");
}

#[test]
fn a_public_address_that_others_reach_needs_nothing() {
    let own: IpAddr = "11.3.0.7".parse().unwrap();
    let public = Facts {
        local4: Some("11.3.0.7".parse().unwrap()),
        confirmed: vec![own],
        mapping: View { state: State::Unneeded, ..View::default() },
        serving: Serving { on: true, tls_port: Some(8443) },
        ..home()
    };
    let doctor = examine(&public);
    assert_eq!((doctor.nat.kind, doctor.reachability), (NatKind::None, Reachability::Public));
    assert_eq!(doctor.ipv4.reachable, Some(true));
    assert!(doctor.advice.is_empty(), "{:?}", doctor.advice);
    assert!(line(&doctor, "relaying").finding.contains("Port 443"));
}

#[test]
fn a_firewall_before_a_public_address_is_named_with_the_ports_to_open() {
    let local4 = Some("11.3.0.7".parse().unwrap());
    let doctor = examine(&Facts { local4, mapping: View { state: State::Unneeded, ..View::default() }, ..home() });
    assert_eq!(doctor.nat.kind, NatKind::Firewall);
    assert!(doctor.advice[0].contains("sudo ufw allow 4001,4002/udp"), "{:?}", doctor.advice);
    let untested = examine(&Facts { local4, tested: false, ..home() });
    assert_eq!(untested.nat.kind, NatKind::None);
    assert!(untested.nat.finding.contains("nobody has tried yet"), "{}", untested.nat.finding);
}

#[test]
fn a_mapped_port_makes_the_node_reachable_and_needs_no_advice() {
    let doctor = examine(&Facts { mapping: mapped("11.9.0.1:4002"), tested: false, ..home() });
    assert_eq!((doctor.reachability, doctor.port_mapping.state), (Reachability::Mapped, MappingState::Mapped));
    assert!(doctor.advice.is_empty(), "{:?}", doctor.advice);
    assert_eq!(doctor.port_mapping.ports[0].external, "11.9.0.1:4002");
}

#[test]
fn a_mapped_port_that_nobody_reaches_makes_nothing_reachable() {
    let doctor = examine(&Facts { mapping: mapped("100.64.1.2:4002"), ..home() });
    assert_eq!(doctor.port_mapping.state, MappingState::DoubleNat);
    assert!(doctor.nat.double);
    assert_eq!(doctor.reachability, Reachability::Outgoing);
    let advice = line(&doctor, "port mapping").advice.as_ref().unwrap();
    assert!(advice.contains("100.64.1.2") && advice.contains("bridge mode"), "{advice}");
}

#[test]
fn a_router_that_maps_nothing_is_told_with_what_to_forward() {
    let advice = examine(&home()).advice.join("\n");
    assert!(advice.contains("http://192.168.1.1/"), "{advice}");
    assert!(advice.contains("forward UDP 4001 and 4002 and TCP 4001 to 192.168.1.5"), "{advice}");
}

#[test]
fn a_machine_without_ipv4_wants_a_relay_with_both() {
    let v6 = Facts { local4: None, local6: Some("2a00:1::5".parse().unwrap()), mapping: View::default(), ..home() };
    let doctor = examine(&v6);
    assert_eq!(doctor.nat.kind, NatKind::NoIpv4);
    assert!(doctor.summary.starts_with("IPv6 only") && doctor.summary.contains("none is known"), "{}", doctor.summary);
    assert!(!line(&doctor, "relays").ok);
    let doctor = examine(&Facts { relays: vec![relay(Some(Some(9.0)), None)], ..v6 });
    assert!(doctor.summary.contains("through a relay with the others"), "{}", doctor.summary);
}

#[test]
fn a_machine_without_any_network_is_told_so_first() {
    let doctor = examine(&Facts { local4: None, ..home() });
    assert!(doctor.summary.contains("no way to the internet"), "{}", doctor.summary);
}

#[test]
fn a_wrong_clock_is_the_first_thing_to_mend() {
    let wrong = Facts { clock_ms: Some(-420_000.0), clock_friends: 3, ..home() };
    let doctor = examine(&wrong);
    assert!(doctor.summary.contains("clock is wrong"), "{}", doctor.summary);
    assert_eq!(line(&doctor, "clock").finding, "7 minutes behind the clocks of 3 friends");
    assert!(line(&doctor, "clock").advice.as_ref().unwrap().contains("timedatectl"));
    let right = examine(&Facts { clock_ms: Some(12.0), clock_friends: 1, ..home() });
    assert_eq!(line(&right, "clock").finding, "right within a second, by the clocks of 1 friend");
    let alone = examine(&home());
    assert!(line(&alone, "clock").ok && line(&alone, "clock").finding.contains("not compared"));
}

#[test]
fn a_node_that_has_met_nobody_claims_nothing() {
    let alone = Facts { tested: false, dht: Health::default(), mapping: View::default(), ..home() };
    let doctor = examine(&alone);
    assert_eq!(doctor.reachability, Reachability::Unknown);
    assert!(doctor.summary.contains("no node outside this network has been met"), "{}", doctor.summary);
    assert_eq!(doctor.ipv4.reachable, None);
}

#[test]
fn a_node_for_this_machine_alone_is_not_examined_for_nats() {
    let doctor = examine(&Facts { loopback: true, ..home() });
    assert_eq!(doctor.reachability, Reachability::Local);
    assert!(doctor.checks.iter().all(|check| check.name != "NAT"));
    assert!(doctor.advice.is_empty(), "{:?}", doctor.advice);
}
