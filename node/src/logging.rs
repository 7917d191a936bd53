//! The node's log: to standard error, one line an event, without secrets and, above debug level, without addresses.
//!
//! Some libraries print what they must not: the webrtc driver writes whole media payloads into ERROR lines when a
//! queue is full, and libp2p names addresses at info level. Their targets are held back here, whatever `TWOCAN_LOG` says
//! about the rest.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

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

/// Sets the log up; without `TWOCAN_LOG`, our own crates speak at `info` and all others at `warn`.
pub fn init() {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let mut filter = EnvFilter::try_new(format!("warn,twocan_node=info,twocan_protocol=info,{wanted}"))
        .unwrap_or_else(|_| EnvFilter::new("warn,twocan_node=info,twocan_protocol=info"));
    for text in held_back() {
        if let Ok(directive) = text.parse::<Directive>() {
            filter = filter.add_directive(directive);
        }
    }
    // A second call (tests that start two nodes in one process) finds the first subscriber in place; that one serves.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(true)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_that_is_held_back_parses() {
        for text in held_back() {
            assert!(text.parse::<Directive>().is_ok(), "{text}");
        }
    }
}
