//! The node in words: status, doctor, lookup.

use twocan_control::{Availability, Doctor, Lookup, Status};

use super::{Colour, Style, clean_line, time};

/// An availability in words.
pub fn availability(availability: Availability) -> &'static str {
    match availability {
        Availability::Available => "available",
        Availability::Dnd => "do not disturb",
        Availability::Invisible => "invisible",
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
            0 => style.paint(Colour::Yellow, "no other node known: friends cannot be found yet"),
            1 => format!("1 node connected{server}"),
            peers => format!("{peers} nodes connected{server}"),
        };
        lines.push(format!("you:      {}", availability(status.availability)));
        lines.push(format!("friends:  {} of {} online", status.friends_online, status.friends));
        lines.push(format!("requests: {} waiting", status.requests));
        lines.push(format!("calls:    {}", status.calls));
        lines.push(format!("network:  {dht}"));
        let slots = (status.dht.slots_confirmed, status.dht.slots_published);
        lines.push(format!("findable: {} of {} slots confirmed by other nodes", slots.0, slots.1));
        lines.push(format!("calls on: UDP port {}", status.media_port));
    }
    for notice in &status.notices {
        lines.push(style.paint(Colour::Yellow, &format!("note: {}", clean_line(notice))));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The doctor's report.
pub fn doctor(doctor: &Doctor, style: Style) -> String {
    let mut out = format!("{}\n", clean_line(&doctor.summary));
    for check in &doctor.checks {
        let mark = if check.ok { style.paint(Colour::Green, "ok  ") } else { style.paint(Colour::Red, "FAIL") };
        out.push_str(&format!("{mark} {}: {}\n", clean_line(&check.name), clean_line(&check.finding)));
        if let Some(advice) = &check.advice {
            out.push_str(&format!("     {}\n", clean_line(advice)));
        }
    }
    out
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
    use twocan_control::{Check, Health, Timings};

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
            dht: Health::default(),
            friends: 2,
            friends_online: 1,
            requests: 0,
            calls: 0,
            timings: Timings::default(),
            notices: vec!["the store was repaired".into()],
        }
    }

    #[test]
    fn a_node_without_peers_says_that_nobody_can_be_found() {
        let text = status(&plain(), Style::default());
        assert!(text.contains("no other node known") && text.contains("note: the store was repaired"), "{text}");
    }

    #[test]
    fn a_locked_node_says_how_to_open_it_and_nothing_else() {
        let text = status(&Status { locked: true, ..plain() }, Style::default());
        assert!(text.contains("twocan unlock") && !text.contains("friends"), "{text}");
    }

    #[test]
    fn the_doctor_gives_advice_under_what_is_wrong() {
        let check = Check { name: "DHT".into(), ok: false, finding: "no peer".into(), advice: Some("add one".into()) };
        let text = doctor(&Doctor { summary: "One thing is wrong".into(), checks: vec![check] }, Style::default());
        assert_eq!(text, "One thing is wrong\nFAIL DHT: no peer\n     add one\n");
    }
}
