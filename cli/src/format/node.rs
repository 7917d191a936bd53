//! The node in words: status, lookup.

use twocan_control::doctor::Reachability;
use twocan_control::{Availability, Lookup, Status};

use super::{Colour, Style, clean_line, time};

/// An availability in words.
pub fn availability(availability: Availability) -> &'static str {
    match availability {
        Availability::Available => "available",
        Availability::Dnd => "do not disturb",
        Availability::Invisible => "invisible",
    }
}

/// How others can reach the node, in a few words.
pub fn reachability(reachability: Reachability) -> &'static str {
    match reachability {
        Reachability::Unknown => "not known yet (`twocan doctor` says more)",
        Reachability::Public => "directly, by anybody",
        Reachability::Mapped => "directly, through the router's open ports",
        Reachability::Relayed => "through relays, directly where both sides knock",
        Reachability::Outgoing => "only by those to whom this node reaches out (`twocan doctor` says what to do)",
        Reachability::Local => "on this machine only",
    }
}

/// How the node is.
pub fn status(status: &Status, style: Style) -> String {
    let mut lines = vec![format!(
        "twocan {} runs (process {}) for {}, home {}",
        clean_line(&status.version),
        status.pid,
        time::span(status.uptime_s.saturating_mul(1000)),
        clean_line(&status.home)
    )];
    if status.locked {
        lines.push(style.paint(Colour::Yellow, "locked: open it with `twocan unlock`"));
    } else {
        let server = if status.dht.server { ", serving the DHT" } else { "" };
        let dht = match status.dht.peers {
            0 if status.dht.discovery == "own" || status.dht.discovery.is_empty() => {
                style.paint(Colour::Yellow, "no other node known: friends cannot be found yet")
            }
            0 => "no other node known".to_owned(),
            1 => format!("1 node connected{server}"),
            peers => format!("{peers} nodes connected{server}"),
        };
        lines.push(format!("you:      {}", availability(status.availability)));
        lines.push(format!("friends:  {} of {} online", status.friends_online, status.friends));
        lines.push(format!("requests: {} waiting", status.requests));
        lines.push(format!("calls:    {}", status.calls));
        lines.push(format!("network:  {dht}"));
        lines.push(format!("reached:  {}", reachability(status.reachability)));
        let slots = (status.dht.slots_confirmed, status.dht.slots_published);
        lines.push(format!("findable: {} of {} slots confirmed by other nodes", slots.0, slots.1));
        if let Some(public) = &status.dht.public
            && status.dht.discovery != "own"
        {
            lines.push(format!(
                "IPFS:     {} of {} slots confirmed in the public DHT",
                public.slots_confirmed, public.slots_published
            ));
        }
        lines.push(format!("calls on: UDP port {}", status.media_port));
    }
    for notice in &status.notices {
        lines.push(style.paint(Colour::Yellow, &format!("note: {}", clean_line(notice))));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What a lookup found.
pub fn lookup(lookup: &Lookup) -> String {
    format!(
        "found by the {} slot in {:.1} ms: {} valid {}, {} bad (query {})\n",
        clean_line(&lookup.slot),
        lookup.first_ms,
        lookup.copies,
        if lookup.copies == 1 { "copy" } else { "copies" },
        lookup.bad_copies,
        clean_line(&lookup.query)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_control::{Health, Timings};

    fn plain() -> Status {
        Status {
            api_version: 1,
            version: "0.1.0".into(),
            pid: 7,
            home: "/h".into(),
            uptime_s: 61,
            locked: false,
            availability: Availability::Available,
            peer_id: String::new(),
            listen: vec![],
            media_port: 4000,
            reachability: Reachability::Mapped,
            dht: Health::default(),
            friends: 2,
            friends_online: 1,
            requests: 0,
            calls: 0,
            missed: 0,
            unread: 0,
            timings: Timings::default(),
            notices: vec!["the store was repaired".into()],
        }
    }

    #[test]
    fn a_node_without_peers_says_that_nobody_can_be_found() {
        let text = status(&plain(), Style::default());
        assert!(text.contains("reached:  directly, through the router"), "{text}");
        assert!(text.contains("no other node known") && text.contains("note: the store was repaired"), "{text}");
    }

    #[test]
    fn a_locked_node_says_how_to_open_it_and_nothing_else() {
        let text = status(&Status { locked: true, ..plain() }, Style::default());
        assert!(text.contains("twocan unlock") && !text.contains("friends"), "{text}");
    }
}
