//! The node's log: to standard error, one line an event, without secrets and, above debug level, without addresses.
//!
//! Some libraries print what they must not: the webrtc driver writes whole media payloads into ERROR lines when a
//! queue is full, and libp2p names addresses at info level. Their targets are held back here, whatever `TWOCAN_LOG` says
//! about the rest.

use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::calls::LOG_FILTER;

/// Environment variable with filter directives, as `twocan_node=debug,twocan_node::swarm=trace`.
pub const VARIABLE: &str = "TWOCAN_LOG";

/// Targets that may never speak below the given level, because they name addresses or cry wolf. (Those of the media
/// engine are in [`LOG_FILTER`].)
const HELD_BACK: &[&str] = &[
    "libp2p_swarm=off",
    "libp2p_quic=off",
    "libp2p_tcp=off",
    "libp2p_kad=off",
    "libp2p_identify=off",
    "libp2p_mdns=off",
    "quinn=off",
    "quinn_proto=off",
    "yamux=off",
    "hickory_resolver=off",
    "hickory_proto=off",
    "sled=warn",
];

/// Everything that is held back.
fn held_back() -> impl Iterator<Item = &'static str> {
    HELD_BACK.iter().chain(LOG_FILTER).copied()
}

/// Sets the log up; without `TWOCAN_LOG`, our own crates speak at `info` and all others at `warn`. What is held back
/// comes last: nothing that is asked for overrides it.
pub fn init() {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let (filter, understood) = match filter(&wanted) {
        Some(filter) => (filter, true),
        None => (filter("").unwrap_or_default(), false),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(true);
    // A second call (tests that start two nodes in one process) finds the first subscriber in place; that one serves.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    if !understood {
        tracing::warn!("{VARIABLE} is not understood, for example: twocan_node=debug,twocan_node::swarm=trace");
    }
}

/// What is let through if `wanted` is asked for; nothing if that is no list of directives.
fn filter(wanted: &str) -> Option<Targets> {
    let asked = format!("warn,twocan_node=info,twocan_protocol=info,{wanted}");
    let asked: Targets = asked.trim_end_matches(',').parse().ok()?;
    let held: Targets = held_back().collect::<Vec<_>>().join(",").parse().ok()?;
    Some(asked.with_targets(held))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_is_asked_for_is_let_through_and_what_is_held_back_is_not() {
        let filter = filter("twocan_node::swarm=trace,webrtc=trace,libp2p_kad=debug").unwrap();
        assert!(filter.would_enable("twocan_node::swarm", &Level::TRACE));
        assert!(filter.would_enable("twocan_node::service", &Level::INFO));
        assert!(!filter.would_enable("twocan_node::service", &Level::DEBUG));
        assert!(!filter.would_enable("webrtc", &Level::ERROR));
        assert!(!filter.would_enable("libp2p_kad::behaviour", &Level::ERROR));
        assert!(filter.would_enable("anything", &Level::WARN));
    }

    #[test]
    fn nonsense_is_refused_and_nothing_at_all_is_fine() {
        assert!(filter("=,=x=loud").is_none());
        assert!(filter("").is_some());
    }
}
