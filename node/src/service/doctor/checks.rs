//! The doctor's list: each thing that was looked at, how it is, and what to do if it is not well.

use twocan_control::doctor::{Check, Doctor, MappingState, NatKind, Reachability};

use super::facts::{Facts, OwnPorts, RelayFact};
use super::verdict::{CLOCK_LIMIT_MS, second_nat};

/// One by one, what matters most first.
pub(super) fn checks(facts: &Facts, doctor: &Doctor) -> Vec<Check> {
    let mut list = vec![store(facts), listening(facts), media_port(facts), clock(facts)];
    if !facts.loopback {
        list.extend([nat(facts, doctor), family("IPv4", &doctor.ipv4.finding), family("IPv6", &doctor.ipv6.finding)]);
        list.extend([mapping(facts, doctor), relays(facts, doctor)]);
        list.extend(relaying(facts, doctor));
    }
    list.push(dht(facts));
    list.extend(public_dht(facts));
    list.extend([found(facts), friends(facts)]);
    list
}

fn check(name: &str, finding: String, advice: Option<String>) -> Check {
    Check { name: name.to_owned(), ok: advice.is_none(), finding, advice }
}

/// A node that knows others has no need of the public DHT, unless its slots lie there.
fn public_dht(facts: &Facts) -> Option<Check> {
    let public = facts.dht.public.as_ref()?;
    let for_slots = facts.dht.discovery != "own";
    let needed = for_slots || facts.dht.peers == 0;
    let finding = match &public.last_error {
        Some(error) => error.clone(),
        None if for_slots => {
            format!("{} slots are published there, {} were read back", public.slots_published, public.slots_confirmed)
        }
        None => "it is asked only while no other twocan node is known".to_owned(),
    };
    let advice = "Look whether this machine reaches the internet, and at [network] ipfs_bootstrap in config.toml.";
    Some(check("public IPFS DHT", finding, advise(needed && public.last_error.is_some(), advice)))
}

fn advise(when: bool, advice: impl Into<String>) -> Option<String> {
    when.then(|| advice.into())
}

fn store(facts: &Facts) -> Check {
    let finding = facts.store.clone().unwrap_or_else(|| "everything is written to the disk".to_owned());
    check("store", finding, advise(facts.store.is_some(), "Free some space, or look at the rights of the home folder."))
}

fn listening(facts: &Facts) -> Check {
    let finding = match facts.listening {
        0 => "no address of this machine".to_owned(),
        1 => "1 address of this machine".to_owned(),
        count => format!("{count} addresses of this machine"),
    };
    let advice = "Look at [network] listen in config.toml, and whether the machine has a network.";
    check("listening", finding, advise(facts.listening == 0, advice))
}

fn media_port(facts: &Facts) -> Check {
    let port = facts.ports.media;
    let finding = match facts.media_busy {
        None => format!("UDP port {port}"),
        Some(busy) => format!("UDP port {port}, because {busy} is in use by another program"),
    };
    let advice = "Stop the other program, or set [media] port in config.toml.";
    check("calls", finding, advise(facts.media_busy.is_some(), advice))
}

fn clock(facts: &Facts) -> Check {
    let Some(error) = facts.clock_ms else {
        return check("clock", "not compared: no friend is linked who could tell the time".to_owned(), None);
    };
    let of = if facts.clock_friends == 1 { "1 friend".to_owned() } else { format!("{} friends", facts.clock_friends) };
    let way = if error > 0.0 { "ahead of" } else { "behind" };
    let size = error.abs();
    let finding = match size {
        _ if size < 1000.0 => format!("right within a second, by the clocks of {of}"),
        _ if size < 120_000.0 => format!("{:.0} s {way} the clocks of {of}", size / 1000.0),
        _ => format!("{:.0} minutes {way} the clocks of {of}", size / 60_000.0),
    };
    let advice = if facts.clock_friends == 1 {
        "Compare this machine's clock with another one; if it is this one that is wrong, set it: `sudo timedatectl \
         set-ntp true` lets it set itself."
    } else {
        "Set this machine's clock: `sudo timedatectl set-ntp true` lets it set itself."
    };
    check("clock", finding, advise(size > CLOCK_LIMIT_MS, advice))
}

fn nat(facts: &Facts, doctor: &Doctor) -> Check {
    let OwnPorts { quic, tcp, media } = facts.ports;
    let any_tls = doctor.relays.iter().any(|relay| relay.tls_ms.is_some());
    let advice = match doctor.nat.kind {
        NatKind::Firewall => Some(format!(
            "Let UDP {quic} and {media} and TCP {tcp} in through this machine's firewall, for example: `sudo ufw allow \
             {quic},{media}/udp && sudo ufw allow {tcp}/tcp`, or in the settings of the hosting provider."
        )),
        NatKind::UdpBlocked if !any_tls => Some(
            "Use another network, or ask a friend with a public node to serve its relay over TLS on port 443 ([relay] \
             tls_port = 443 there)."
                .to_owned(),
        ),
        _ => None,
    };
    check("NAT", doctor.nat.finding.clone(), advice)
}

fn family(name: &str, finding: &str) -> Check {
    check(name, finding.to_owned(), None)
}

fn mapping(facts: &Facts, doctor: &Doctor) -> Check {
    let OwnPorts { quic, tcp, media } = facts.ports;
    let direct = matches!(doctor.reachability, Reachability::Public | Reachability::Mapped);
    let machine = facts.local4.map_or_else(|| "this machine".to_owned(), |ip| ip.to_string());
    let at = match &doctor.port_mapping.router {
        Some(router) => format!(" (its page is usually http://{router}/)"),
        None => String::new(),
    };
    let forward = format!("forward UDP {quic} and {media} and TCP {tcp} to {machine} there");
    let advice = match doctor.port_mapping.state {
        _ if direct => None,
        MappingState::Refused | MappingState::NoRouter | MappingState::Off if second_nat(facts).is_some() => {
            Some(double_nat(facts))
        }
        MappingState::Refused => Some(format!(
            "Switch on UPnP, NAT-PMP or PCP in your router{at}, or {forward}: then friends come directly."
        )),
        MappingState::DoubleNat => Some(double_nat(facts)),
        MappingState::Off if !facts.mapping_on && is_behind(doctor) => {
            Some(format!("Set port_mapping = true under [network] in config.toml, or {forward} in your router{at}."))
        }
        _ => None,
    };
    let line = check("port mapping", doctor.port_mapping.finding.clone(), advice);
    // Where calls find their way all the same, it is a hint, not a fault.
    Check { ok: line.ok || !is_hard(doctor) || facts.relays.iter().any(RelayFact::answers), ..line }
}

/// Whether direct calls are an exception from here.
fn is_hard(doctor: &Doctor) -> bool {
    matches!(doctor.nat.kind, NatKind::AddressDependent | NatKind::UdpBlocked)
}

fn is_behind(doctor: &Doctor) -> bool {
    matches!(doctor.nat.kind, NatKind::Nat | NatKind::EndpointIndependent | NatKind::AddressDependent)
}

fn double_nat(facts: &Facts) -> String {
    let outer = second_nat(facts).map(|ip| format!(" ({ip})")).unwrap_or_default();
    format!(
        "There are two NATs in a row{outer}: if both boxes are yours, put one of them into bridge mode; if the outer one \
         is the provider's, ask the provider for a public IPv4 address, or for IPv6."
    )
}

fn relays(facts: &Facts, doctor: &Doctor) -> Check {
    let ms = |time: Option<f64>| time.map(|ms| format!("{ms:.0} ms"));
    let words: Vec<String> = facts
        .relays
        .iter()
        .map(|relay| match (ms(relay.udp.flatten()), ms(relay.tls.flatten())) {
            (Some(udp), Some(tls)) => format!("{} (UDP {udp}, TLS {tls})", relay.friend),
            (Some(udp), None) => format!("{} (UDP {udp})", relay.friend),
            (None, Some(tls)) => format!("{} (TLS {tls}, no UDP)", relay.friend),
            (None, None) => format!("{} (does not answer)", relay.friend),
        })
        .collect();
    let direct = matches!(doctor.reachability, Reachability::Public | Reachability::Mapped);
    let any = facts.relays.iter().any(RelayFact::answers);
    let finding = match (words.is_empty(), direct) {
        (true, true) => "no friend offers one, and none is needed: this node is reached directly".to_owned(),
        (true, false) => "no friend offers one".to_owned(),
        (false, _) => words.join(", "),
    };
    // Without NAT trouble a missing relay is no fault; with a hard one it decides.
    let hard = is_hard(doctor) || (facts.local4.is_none() && facts.local6.is_some());
    let advice = "Ask a friend whose node is public (a server, or a home whose router forwards ports) to relay for \
                  friends: `twocan relay friends` there.";
    check("relays", finding, advise(!any && hard && !direct, advice))
}

fn relaying(facts: &Facts, doctor: &Doctor) -> Option<Check> {
    if !facts.serving.on || !matches!(doctor.reachability, Reachability::Public | Reachability::Mapped) {
        return None;
    }
    let finding = match facts.serving.tls_port {
        Some(443) => "this node relays for friends, over UDP and on TCP port 443".to_owned(),
        Some(port) => format!(
            "this node relays for friends, over UDP and on TCP port {port}; friends in networks that let only port 443 \
             out need it there (docs/cli.md, \"Port 443\")"
        ),
        None => "this node relays for friends, over UDP only; friends in networks without UDP need TLS (docs/cli.md, \
                 \"Port 443\")"
            .to_owned(),
    };
    Some(check("relaying", finding, None))
}

fn dht(facts: &Facts) -> Check {
    let finding = match facts.dht.peers {
        0 => "no other twocan node is known".to_owned(),
        1 => "1 other node is known".to_owned(),
        peers => format!("{peers} other nodes are known"),
    };
    let advice = "Add a friend's address with hints (`twocan id --uri` there), put a node into [network] bootstrap, or wait \
                  for one on the LAN.";
    check("DHT", finding, advise(facts.dht.peers == 0, advice))
}

fn found(facts: &Facts) -> Check {
    let (published, confirmed) = (facts.dht.slots_published, facts.dht.slots_confirmed);
    let finding = format!("{published} slots are published, {confirmed} were read back from another node");
    let advice = "Wait a minute; until then friends find this node by its last address only.";
    check("being found", finding, advise(confirmed == 0 && facts.dht.peers > 0, advice))
}

fn friends(facts: &Facts) -> Check {
    let (linked, friends) = (facts.linked, facts.friends);
    let advice = "Friends who are away are looked for again and again; a call to one looks at once.";
    check("friends", format!("{linked} of {friends} linked"), advise(friends > 0 && linked == 0, advice))
}
