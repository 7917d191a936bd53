//! From facts to findings, one sentence on what they mean for calls, and what to do.
//!
//! What is not known is said to be not known; advice names the very ports, addresses and commands.

use std::net::IpAddr;

use twocan_control::doctor::{
    ClockState, Doctor, IpFamily, MappedPort, MappingState, Nat, NatKind, PortMapping, Reachability, RelayPath,
};

use super::checks::checks;
use super::facts::Facts;
use crate::portmap::{Family, State, is_public, is_shared};

/// A clock that is off by more than this breaks finding friends sooner or later: slots are published for epochs of an
/// hour and read one before and after.
pub(super) const CLOCK_LIMIT_MS: f64 = 300_000.0;

/// The whole report.
pub(super) fn examine(facts: &Facts) -> Doctor {
    let nat = nat(facts);
    let reachability = reachability(facts);
    let mut doctor = Doctor {
        summary: String::new(),
        advice: Vec::new(),
        reachability,
        ipv4: family(facts, true),
        ipv6: family(facts, false),
        port_mapping: mapping(facts),
        relays: facts
            .relays
            .iter()
            .map(|relay| RelayPath {
                friend: relay.friend.clone(),
                udp_ms: relay.udp.flatten(),
                tls_ms: relay.tls.flatten(),
            })
            .collect(),
        relaying: facts.serving.on,
        clock: ClockState { error_ms: facts.clock_ms, friends: facts.clock_friends },
        dht: facts.dht.clone(),
        checks: Vec::new(),
        nat,
    };
    doctor.checks = checks(facts, &doctor);
    doctor.summary = summary(facts, &doctor);
    doctor.advice = doctor.checks.iter().filter_map(|check| check.advice.clone()).collect();
    doctor
}

/// What stands between this machine and the internet, for UDP over IPv4.
fn nat(facts: &Facts) -> Nat {
    let (kind, finding) = nat_kind(facts);
    let udp = match kind {
        NatKind::UdpBlocked => Some(false),
        _ if !facts.seen.is_empty() || !facts.observed.is_empty() || facts.carried.quic > 0 => Some(true),
        _ => None,
    };
    Nat { kind, udp, double: second_nat(facts).is_some(), finding }
}

fn nat_kind(facts: &Facts) -> (NatKind, String) {
    if facts.loopback {
        return (NatKind::Unknown, "not looked at: this node listens on this machine only".to_owned());
    }
    if udp_blocked(facts) {
        let text = "UDP does not pass: servers that answer over TCP are silent over UDP";
        return (NatKind::UdpBlocked, text.to_owned());
    }
    let Some(local) = facts.local4 else {
        return (NatKind::NoIpv4, "this machine has no way out over IPv4".to_owned());
    };
    if is_public(local.into()) || facts.confirmed.contains(&local.into()) {
        return match (facts.confirmed_in(true), facts.tested) {
            (true, _) => (NatKind::None, "no NAT: others reach this machine at its own address".to_owned()),
            (false, true) => {
                let text = "no NAT, but a firewall: this machine has a public address, and others did not reach it";
                (NatKind::Firewall, text.to_owned())
            }
            (false, false) => {
                let text = "no NAT: this machine has a public address; nobody has tried yet whether it lets others in";
                (NatKind::None, text.to_owned())
            }
        };
    }
    // Two who see the same port tell more than one; two that differ tell all.
    let (parties, outer) = facts.views();
    match (parties, outer.as_slice()) {
        (0, _) => {
            (NatKind::Nat, "a NAT of a kind that is not known: nobody outside has answered over UDP yet".to_owned())
        }
        (1, _) => {
            let text =
                "a NAT whose kind is not known yet: that takes the answers of two nodes outside, and one answered";
            (NatKind::Nat, text.to_owned())
        }
        (_, [one]) => {
            let kept = one.port() == facts.ports.media || one.port() == facts.ports.quic;
            let same = if kept { ", and keeps the port's number" } else { "" };
            (
                NatKind::EndpointIndependent,
                format!("a NAT with one outer port for everybody (endpoint-independent){same}"),
            )
        }
        (_, several) => {
            let count = several.len();
            let text = format!("a NAT with another outer port for each partner (symmetric): {count} were seen");
            (NatKind::AddressDependent, text)
        }
    }
}

/// Whether UDP is blocked: nobody answers over UDP who should, and somebody does over TCP.
fn udp_blocked(facts: &Facts) -> bool {
    if !facts.seen.is_empty()
        || facts.carried.quic > 0
        || facts.relays.iter().any(|relay| relay.udp.flatten().is_some())
    {
        return false;
    }
    let silent_relay = facts.relays.iter().any(|relay| relay.udp.is_some());
    let by_tcp = facts.carried.tcp > 0 || facts.relays.iter().any(|relay| relay.tls.flatten().is_some());
    by_tcp && (facts.udp_passes == Some(false) || silent_relay || facts.carried.tcp > 1)
}

/// The address that stands for a second NAT, if there is one.
pub(super) fn second_nat(facts: &Facts) -> Option<IpAddr> {
    let shared = facts.local4.filter(|local| is_shared(*local)).map(IpAddr::V4);
    facts.mapping.behind_another().or(shared)
}

/// How others reach this node.
pub(super) fn reachability(facts: &Facts) -> Reachability {
    let mapped = facts.mapping.public().next().is_some();
    let by_mapping = facts.mapping.public().any(|mapped| facts.confirmed.contains(&mapped.external.ip()));
    if facts.loopback {
        Reachability::Local
    } else if mapped && (by_mapping || !facts.tested || facts.confirmed.is_empty()) {
        Reachability::Mapped
    } else if !facts.confirmed.is_empty() {
        Reachability::Public
    } else if facts.circuits > 0 {
        Reachability::Relayed
    } else if facts.tested {
        Reachability::Outgoing
    } else {
        Reachability::Unknown
    }
}

fn family(facts: &Facts, v4: bool) -> IpFamily {
    let own = if v4 { facts.local4.map(IpAddr::V4) } else { facts.local6.map(IpAddr::V6) };
    let mut seen_as: Vec<String> = facts.seen_in(v4).map(|seen| seen.mapped.to_string()).collect();
    seen_as.sort_unstable();
    seen_as.dedup();
    let reachable = match (own, facts.confirmed_in(v4), facts.tested) {
        (None, ..) => Some(false),
        (Some(_), true, _) => Some(true),
        (Some(_), false, true) => Some(false),
        (Some(_), false, false) => None,
    };
    let finding = match (own, reachable) {
        (None, _) => "this machine has no way out".to_owned(),
        (Some(ip), Some(true)) => format!("{ip}; others reach this node"),
        (Some(ip), Some(false)) => format!("{ip}; others do not reach this node unasked"),
        (Some(ip), None) => format!("{ip}; whether others reach this node is not known yet"),
    };
    IpFamily { own: own.map(|ip| ip.to_string()), seen_as, reachable: reachable.filter(|_| own.is_some()), finding }
}

fn mapping(facts: &Facts) -> PortMapping {
    let view = &facts.mapping;
    let via = view.mapped.first().map(|mapped| mapped.via.name().to_owned());
    let ports: Vec<MappedPort> = view
        .mapped
        .iter()
        .map(|mapped| MappedPort {
            purpose: mapped.want.purpose.name().to_owned(),
            port: mapped.want.port,
            external: mapped.external.to_string(),
        })
        .collect();
    let state = match view.state {
        _ if !facts.mapping_on => MappingState::Off,
        State::Idle => MappingState::Off,
        State::Unneeded => MappingState::Unneeded,
        State::NoGateway => MappingState::NoRouter,
        State::Asking => MappingState::Asking,
        State::Refused => MappingState::Refused,
        State::Mapped if view.behind_another().is_some() && view.public().next().is_none() => MappingState::DoubleNat,
        State::Mapped => MappingState::Mapped,
    };
    let name = via.clone().unwrap_or_default();
    let finding = match state {
        MappingState::Off if facts.loopback => "not needed: this node listens on this machine only".to_owned(),
        MappingState::Off if !facts.mapping_on => "switched off in config.toml".to_owned(),
        MappingState::Off => "nothing to be mapped yet".to_owned(),
        MappingState::Unneeded => "not needed: this machine has a public address".to_owned(),
        MappingState::NoRouter => "there is no router to ask".to_owned(),
        MappingState::Asking => "the router is being asked".to_owned(),
        MappingState::Mapped if view.mapped.iter().all(|mapped| mapped.want.family == Family::V6) => {
            format!("the router lets {} ports in over IPv6 ({name})", ports.len())
        }
        MappingState::Mapped => format!("the router forwards {} ports to this node ({name})", ports.len()),
        MappingState::DoubleNat => {
            let outer = view.behind_another().map(|ip| ip.to_string()).unwrap_or_default();
            format!("the router forwards ports ({name}), but its own address {outer} is not one of the internet")
        }
        MappingState::Refused => {
            let tried: Vec<String> = view.tried.iter().map(|(via, why)| format!("{}: {why}", via.name())).collect();
            match tried.is_empty() {
                true => "the router does not map ports".to_owned(),
                false => format!("the router does not map ports ({})", tried.join("; ")),
            }
        }
    };
    PortMapping { state, router: view.gateway.map(|ip| ip.to_string()), via, ports, finding }
}

/// What it all means for calls.
fn summary(facts: &Facts, doctor: &Doctor) -> String {
    if let Some(trouble) = trouble(facts) {
        return trouble;
    }
    let relay = facts.relays.iter().find(|relay| relay.answers());
    let tls = facts.relays.iter().any(|relay| relay.tls.flatten().is_some());
    let udp_relay = facts.relays.iter().any(|relay| relay.udp.flatten().is_some());
    let text = match (doctor.reachability, doctor.nat.kind) {
        (Reachability::Local, _) => "This node is for this machine alone: it calls nobody outside.",
        (Reachability::Public, _) if facts.serving.on => {
            "Good for calls: friends reach this node directly, and it relays for them."
        }
        (Reachability::Public, _) => "Good for calls: friends reach this node directly.",
        (Reachability::Mapped, _) => "Good for calls: the router forwards what friends send, so they come directly.",
        (_, NatKind::UdpBlocked) if tls => {
            "This network blocks UDP: calls go through a friend's relay over TLS, a little slower."
        }
        (_, NatKind::UdpBlocked) => {
            "This network blocks UDP and no friend's relay answers over TLS: calls will hardly work from here."
        }
        (_, NatKind::None | NatKind::EndpointIndependent) => {
            "Fine for calls: this node reaches most friends directly, the others through a relay."
        }
        (_, NatKind::Firewall) => {
            "Fine for calls, though a firewall keeps others out: direct with most friends, the others through a relay."
        }
        (_, NatKind::AddressDependent) if udp_relay => {
            "A hard NAT: calls are direct only with friends whose network lets others in; the rest goes through a relay."
        }
        (_, NatKind::AddressDependent) => {
            "A hard NAT and no relay: calls work only with friends whose own network lets others in."
        }
        (_, _) if facts.local4.is_none() && facts.local6.is_some() && relay.is_none() => {
            "IPv6 only: calls work with friends who have IPv6; for others a relay with both is needed, and none is known."
        }
        (_, _) if facts.local4.is_none() && facts.local6.is_some() => {
            "IPv6 only: calls are direct with friends who have IPv6, and go through a relay with the others."
        }
        (_, _) if facts.outside() => {
            "Calls work; how directly is not known yet, because too few other nodes have answered so far."
        }
        (_, _) => "Nothing can be said about calls yet: no node outside this network has been met.",
    };
    text.to_owned()
}

/// What stands in the way of everything else.
fn trouble(facts: &Facts) -> Option<String> {
    if !facts.loopback && facts.local4.is_none() && facts.local6.is_none() {
        return Some(
            "This machine has no way to the internet, so nobody outside its own network can be called.".to_owned(),
        );
    }
    if facts.store.is_some() {
        return Some("The node cannot write to its disk: what happens now is lost at the next start.".to_owned());
    }
    if facts.clock_ms.is_some_and(|error| error.abs() > CLOCK_LIMIT_MS) {
        return Some("This machine's clock is wrong, so friends will not be found until it is set right.".to_owned());
    }
    None
}
