//! What the node finds when it looks at itself: for a person (`doctor`), and for a bug report without secrets (`report`).
//!
//! [`Examination::ask`] asks others anew (which takes a second or two), [`Service::concluded`] adds what is known
//! already, and [`verdict`] makes of it what a person reads.

mod checks;
mod facts;
mod probe;
#[cfg(test)]
mod tests;
mod verdict;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use twocan_control::{Doctor, Report, doctor::Reachability};

use super::Service;
use crate::portmap::{Place, Side};
use crate::relay::Proxy;
use crate::swarm;
pub(super) use facts::Carried;
use facts::{Facts, OwnPorts, RelayFact, Seen, Serving};
pub(super) use probe::Target;

/// What is asked outside of the service, because it takes its time.
pub(super) struct Examination {
    swarm: swarm::Handle,
    targets: Vec<Target>,
    proxy: Option<Proxy>,
}

/// What was answered.
pub(super) struct Answers {
    observed: Vec<(String, SocketAddr)>,
    relays: Vec<RelayFact>,
}

impl Examination {
    /// Asks those who can be asked.
    pub(super) async fn ask(self) -> Answers {
        let (observed, relays) = futures::join!(self.swarm.observed(), probe::ask(self.targets, self.proxy));
        let observed = observed.into_iter().filter_map(|seen| Some((seen.observer, quic(&seen.address)?))).collect();
        Answers { observed, relays }
    }
}

/// The address of a multiaddr of QUIC.
fn quic(address: &str) -> Option<SocketAddr> {
    let mut parts = address.split('/').skip(2);
    let ip = parts.next()?.parse::<IpAddr>().ok()?;
    let port = (parts.next()? == "udp").then(|| parts.next()?.parse().ok())??;
    Some(SocketAddr::new(ip, port))
}

/// The IP address of a multiaddr.
fn ip(address: &str) -> Option<IpAddr> {
    address.split('/').nth(2)?.parse().ok()
}

impl Service {
    /// What is to be asked before [`Service::concluded`].
    pub(super) fn examination(&self) -> Examination {
        Examination {
            swarm: self.swarm.clone(),
            targets: self.relay_targets(),
            proxy: crate::runtime::proxy(&self.config),
        }
    }

    /// The report.
    pub(super) fn concluded(&self, answers: Answers) -> Doctor {
        verdict::examine(&Facts { observed: answers.observed, relays: answers.relays, ..self.facts() })
    }

    /// How others can reach this node, for the status.
    pub(super) fn reachability(&self) -> Reachability {
        verdict::reachability(&self.known())
    }

    /// What is known, and what the system says about its own addresses.
    fn facts(&self) -> Facts {
        let place = Place::of_this_machine();
        let local = |side: Option<Side>| side.map(|side| side.local);
        Facts {
            local4: local(place.v4).and_then(|ip| if let IpAddr::V4(v4) = ip { Some(v4) } else { None }),
            local6: local(place.v6).and_then(|ip| if let IpAddr::V6(v6) = ip { Some(v6) } else { None }),
            ..self.known()
        }
    }

    fn known(&self) -> Facts {
        let port = |kind: &str| {
            let find = |address: &String| address.split_once(kind)?.1.split('/').next()?.parse().ok();
            self.listen.iter().find_map(find).unwrap_or(0)
        };
        let seen = self.engine.reflexive().borrow().clone();
        let reachability = self.swarm.reachability().borrow().clone();
        let confirmed = reachability.public.iter().filter(|_| reachability.tested).filter_map(|address| ip(address));
        let listen_outside = |address: &String| !address.contains("/127.") && !address.contains("/::1/");
        Facts {
            loopback: !self.listen.is_empty() && !self.listen.iter().any(listen_outside),
            ports: OwnPorts { quic: port("/udp/"), tcp: port("/tcp/"), media: self.engine.port() },
            seen: seen.iter().map(|seen| Seen { server: seen.server, mapped: seen.mapped }).collect(),
            udp_passes: self.engine.udp_passes(),
            serving: Serving { on: self.relays_now(), tls_port: self.relays.own.tls_port() },
            confirmed: confirmed.collect(),
            tested: reachability.tested,
            circuits: self.swarm.relayed().borrow().len(),
            carried: self.carried,
            mapping_on: self.config.network.port_mapping,
            mapping: self.portmap.view().borrow().clone(),
            dht: self.health(),
            clock_ms: self.clocks.error().map(|(error, _)| error),
            clock_friends: super::small(self.clocks.error().map_or(0, |(_, friends)| friends)),
            friends: self.book.friends().count(),
            linked: self.book.friends().filter(|friend| friend.linked).count(),
            listening: self.listen.len(),
            store: self.records.trouble(),
            media_busy: self.engine.busy(),
            ..Facts::default()
        }
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
        for check in verdict::examine(&self.facts()).checks {
            line(&format!("check {}", check.name), (if check.ok { "ok" } else { "not ok" }).to_owned());
        }
        Report { text }
    }
}
