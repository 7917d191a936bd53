//! What a person can set in `config.toml`. Every key has a default; an unknown key or a bad value is an error that
//! names the line, because a silently ignored setting is worse than none.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::relay::{Limits, Proxy, RELAY_PORTS, Secret};
use crate::swarm::public::{MAX_START, WELL_KNOWN};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file exists and cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no valid configuration.
    #[error("{path}, line {line}: {message}")]
    Parse {
        /// Which file.
        path: String,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value is outside its range.
    #[error("{path}: {key} must be {expected}")]
    Range {
        /// Which file.
        path: String,
        /// Which key.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
    },
}

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Finding and being found.
    pub network: Network,
    /// Media of calls.
    pub media: Media,
    /// Calls.
    pub calls: Calls,
    /// Relaying for others.
    pub relay: Relay,
}

/// Finding and being found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Addresses to listen on (multiaddr). Port 0 lets the system choose.
    pub listen: Vec<String>,
    /// Nodes to start from (multiaddr, with or without `/p2p/…`), besides remembered peers and hints in URIs.
    pub bootstrap: Vec<String>,
    /// Whether to find nodes on the local network by multicast DNS.
    pub mdns: bool,
    /// Whether to serve the DHT for others.
    pub dht_server: DhtServer,
    /// Whether to ask the home router for open ports (PCP, NAT-PMP, UPnP).
    pub port_mapping: bool,
    /// Whether to carry circuits (links of nodes that cannot reach each other) for others.
    pub relay_server: DhtServer,
    /// HTTP proxy for TCP connections to relays, `http://[user:password@]host:port`; "" for none. Without this key
    /// the environment's `https_proxy` holds.
    pub proxy: Option<Secret>,
    /// In which DHT friends are found.
    pub discovery: Discovery,
    /// Whether to find first nodes in the public IPFS DHT while no other node is known, and to be found there.
    pub bootstrap_public: bool,
    /// Whether to be found there by nodes that know no other.
    pub announce: Announce,
    /// Where the public IPFS DHT is started from (multiaddr with `/p2p/…`).
    pub ipfs_bootstrap: Vec<String>,
}

impl Network {
    /// Whether the nodes of the public DHT to start from are those that everybody uses.
    pub fn starts_well_known(&self) -> bool {
        self.ipfs_bootstrap == WELL_KNOWN
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            listen: ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip6/::/udp/0/quic-v1", "/ip6/::/tcp/0"]
                .map(str::to_owned)
                .to_vec(),
            bootstrap: Vec::new(),
            mdns: true,
            dht_server: DhtServer::Auto,
            port_mapping: true,
            relay_server: DhtServer::Auto,
            proxy: None,
            discovery: Discovery::Own,
            bootstrap_public: true,
            announce: Announce::Auto,
            ipfs_bootstrap: WELL_KNOWN.map(str::to_owned).to_vec(),
        }
    }
}

/// In which DHT slots are published and looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// In that of the nodes themselves.
    #[default]
    Own,
    /// In the public IPFS DHT.
    Ipfs,
    /// In both.
    Both,
}

impl Discovery {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Ipfs => "ipfs",
            Self::Both => "both",
        }
    }
}

/// Whether this node lets others start from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announce {
    /// When others have found that it can be reached.
    #[default]
    Auto,
    /// At every public address it listens on.
    On,
    /// Never.
    Off,
}

/// Whether to do something for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DhtServer {
    /// Where others can reach this node.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Relaying for others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// For whom. What was chosen with `twocan relay` goes before this.
    pub serve: RelayServe,
    /// Allocations at the same time, in total (0 to 512). A call takes one or two.
    pub allocations: u32,
    /// Bytes per second in total, both directions together (50 000 or more).
    pub bytes_per_second: u64,
    /// Bytes per day (UTC) in total, both directions together.
    pub bytes_per_day: u64,
    /// TCP port of TLS; 0: none. Without this key 443 if it can be had, else the number of the calls' port.
    pub tls_port: Option<u16>,
    /// First and last UDP port for relayed packets (1024 or higher, 64 ports or more).
    pub ports: [u16; 2],
    /// Relay to private and loopback addresses, too, and offer them. For laboratories: it opens this node's own network
    /// to friends.
    pub private_peers: bool,
}

impl Default for Relay {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            serve: RelayServe::Auto,
            allocations: limits.allocations,
            bytes_per_second: limits.bytes_per_second,
            bytes_per_day: limits.bytes_per_day,
            tls_port: None,
            ports: [*RELAY_PORTS.start(), *RELAY_PORTS.end()],
            private_peers: false,
        }
    }
}

/// For whom to relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayServe {
    /// For friends, where the internet can reach this node.
    #[default]
    Auto,
    /// For nobody.
    Off,
    /// For friends, whatever the tests of reachability say.
    Friends,
    /// For friends, and with small limits for any node that asks.
    Anyone,
}

/// Media of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// The one UDP port of all calls; 0: the one used last, or any.
    pub port: u16,
}

/// Calls.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calls {
    /// Seconds that a broken call waits to come back (5 to 600).
    pub grace_s: u64,
    /// Whether a second call rings while one is on.
    pub waiting: bool,
}

impl Default for Calls {
    fn default() -> Self {
        Self { grace_s: 30, waiting: true }
    }
}

impl Calls {
    /// How long a broken call waits.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_s)
    }
}

impl Config {
    /// Reads the file; a missing one gives the defaults.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &shown),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::Read { path: shown, source }),
        }
    }

    /// Reads the text of a file called `path`.
    pub fn parse(text: &str, path: &str) -> Result<Self, Error> {
        let config: Self = toml::from_str(text).map_err(|error| {
            // One sentence on one line: it is shown in a terminal, and kept in a log.
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            Error::Parse { path: path.to_owned(), line, message: shown(&message) }
        })?;
        let range = |ok: bool, key, expected| {
            if ok { Ok(()) } else { Err(Error::Range { path: path.to_owned(), key, expected }) }
        };
        range((5..=600).contains(&config.calls.grace_s), "calls.grace_s", "5 to 600 seconds")?;
        range(config.network.listen.len() <= 16, "network.listen", "at most 16 addresses")?;
        let relay = &config.relay;
        range(relay.allocations <= 512, "relay.allocations", "0 to 512")?;
        range(relay.bytes_per_second >= 50_000, "relay.bytes_per_second", "50000 or more")?;
        let [first, last] = relay.ports;
        range(
            first >= 1024 && last.saturating_sub(first) >= 63,
            "relay.ports",
            "[first, last], 1024 or higher, 64 ports",
        )?;
        let proxy = config.network.proxy.as_ref().map(Secret::reveal).filter(|text| !text.is_empty());
        let proxy = proxy.is_none_or(|text| Proxy::parse(text).is_ok());
        range(proxy, "network.proxy", "http://host:port or http://user:password@host:port")?;
        range(config.network.bootstrap.len() <= 64, "network.bootstrap", "at most 64 addresses")?;
        range(config.network.ipfs_bootstrap.len() <= MAX_START, "network.ipfs_bootstrap", "at most 32 addresses")?;
        Ok(config)
    }
}

/// The parser may quote the file: what would steer a terminal is shown as what it is, an unreadable character.
fn shown(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(Config::parse("", "c").unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = Config::parse("[network]\nmdsn = true\n", "config.toml").unwrap_err().to_string();
        assert!(text.contains("config.toml") && text.contains("mdsn") && text.contains("line 2"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn an_error_that_quotes_the_file_does_not_steer_the_terminal() {
        let text = Config::parse("\u{1b}[31m = ", "config.toml").unwrap_err().to_string();
        assert!(text.contains("line 1") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        let text = Config::parse("[calls]\ngrace_s = 1\n", "config.toml").unwrap_err().to_string();
        assert_eq!(text, "config.toml: calls.grace_s must be 5 to 600 seconds");
    }
}
