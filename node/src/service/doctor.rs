//! What the node finds when it looks at itself: for a person (`doctor`), and for a bug report without secrets (`report`).

use std::fmt::Write;

use twocan_control::{Check, Doctor, Report};

use super::Service;

impl Service {
    /// Looks at disk, network, DHT and links.
    pub(super) fn doctor(&self) -> Doctor {
        let status = self.status();
        let mut checks = Vec::new();
        let mut check = |name: &str, ok: bool, finding: String, advice: &str| {
            let advice = (!ok).then(|| advice.to_owned());
            checks.push(Check { name: name.to_owned(), ok, finding, advice });
        };
        let trouble = self.records.trouble();
        check(
            "store",
            trouble.is_none(),
            trouble.unwrap_or_else(|| "everything is written to the disk".to_owned()),
            "free some space, or look at the rights of the home folder",
        );
        check(
            "listening",
            !status.listen.is_empty(),
            match status.listen.len() {
                1 => "1 address of this machine".to_owned(),
                count => format!("{count} addresses of this machine"),
            },
            "look at [network] listen in config.toml, and whether the machine has a network",
        );
        check(
            "calls",
            self.engine.busy().is_none(),
            match self.engine.busy() {
                None => format!("UDP port {}", status.media_port),
                Some(port) => format!("UDP port {}, because {port} is in use by another program", status.media_port),
            },
            "stop the other program, or set [media] port in config.toml",
        );
        check(
            "DHT",
            status.dht.peers > 0,
            match status.dht.peers {
                0 => "no other twocan node is known".to_owned(),
                1 => "1 other node is known".to_owned(),
                peers => format!("{peers} other nodes are known"),
            },
            "add a friend's address with hints, put a node into [network] bootstrap, or wait for one on the LAN",
        );
        check(
            "being found",
            status.dht.slots_confirmed > 0,
            format!(
                "{} slots are published, {} were read back from another node",
                status.dht.slots_published, status.dht.slots_confirmed
            ),
            "friends can only find this node by its last address until the slots are published",
        );
        let searching = self.book.friends().filter(|friend| !friend.linked).count();
        let friends = self.book.friends().count();
        check(
            "friends",
            friends == 0 || searching < friends,
            format!("{} of {friends} linked", friends - searching),
            "friends who are away are looked for again and again; a call to one looks at once",
        );
        let bad: Vec<&str> = checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
        let summary = if bad.is_empty() { "All is well.".to_owned() } else { format!("Look at: {}.", bad.join(", ")) };
        Doctor { summary, checks }
    }

    /// Counts and settings, without keys, names, addresses or ids.
    pub(super) fn report(&self) -> Report {
        let status = self.status();
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}: {value}");
        };
        line("twocan", format!("{} ({} {})", status.version, std::env::consts::OS, std::env::consts::ARCH));
        line("uptime_s", status.uptime_s.to_string());
        line("dht_peers", status.dht.peers.to_string());
        line("dht_server", status.dht.server.to_string());
        line("slots", format!("{} published, {} confirmed", status.dht.slots_published, status.dht.slots_confirmed));
        line("listening", status.listen.len().to_string());
        line("friends", format!("{} ({} online)", status.friends, status.friends_online));
        line("requests", status.requests.to_string());
        line("calls", status.calls.to_string());
        let ms = |time: Option<f64>| time.map_or("not yet".to_owned(), |ms| format!("{ms:.1}"));
        line("api_ms", ms(status.timings.api_ms));
        line("dht_peer_ms", ms(status.timings.dht_peer_ms));
        line("ready_ms", ms(status.timings.ready_ms));
        line("mdns", self.config.network.mdns.to_string());
        line("listen_configured", self.config.network.listen.len().to_string());
        line("bootstrap_configured", self.config.network.bootstrap.len().to_string());
        line("call_waiting", self.config.calls.waiting.to_string());
        line("port", format!("{:?}", self.engine.stats()));
        for (number, entry) in self.history.iter().rev().take(20).enumerate() {
            line(
                &format!("call_{number}"),
                format!(
                    "{:?} {:?} talked {} ms, reason: {}",
                    entry.direction,
                    entry.outcome,
                    entry.talked_ms,
                    if entry.reason.is_some() { "given" } else { "none" }
                ),
            );
        }
        for check in self.doctor().checks {
            line(&format!("check {}", check.name), (if check.ok { "ok" } else { "not ok" }).to_owned());
        }
        Report { text }
    }
}
