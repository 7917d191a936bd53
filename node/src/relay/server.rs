//! The relay server: sockets, TLS connections and the state machine between them. Cheap to clone.
//!
//! A packet passes in one go: the socket's task asks the state machine under a lock and sends at once, without another
//! task in between. Started by the service ([`Server::start`]); everything ends with the last clone.

mod complaints;
mod config;
mod listen;
mod sockets;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use twocan_protocol::identity::RootPublic;

use super::turn::peers::PeerRules;
use super::turn::quota::{Bounds, Clock};
use super::turn::server::{Account, Action, Client, Core, DayUse, Settings, Via, Wrap, data_indication};
use super::turn::{codec, server as core};
use super::types::{Credential, Kind, PacketOut, Secret};
use sockets::{Opener, RelaySocket};
use tls::Streams;

pub use config::{Limits, Policy, RELAY_PORTS, ServerConfig, Status, Usage, UsedBy};
pub use listen::{HTTPS, TlsPort, open_tls, source_addresses};
pub use tls::ListenError;

/// Lifetimes are looked at this often while there is something that can end.
const TICK: Duration = Duration::from_secs(15);
/// Random bytes of a user name and of a password.
const USER_LEN: usize = 16;
const PASSWORD_LEN: usize = 24;

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("core", &*self.0.core()).finish_non_exhaustive()
    }
}

struct Inner {
    core: Mutex<Core<Arc<RelaySocket>>>,
    out: RwLock<Option<PacketOut>>,
    streams: Streams,
    opener: Opener,
    config: Mutex<ServerConfig>,
    began: Arc<Notify>,
    ticker: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clock() -> Clock {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock { now: Instant::now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
}

fn settings(config: &ServerConfig) -> Settings {
    let first = |v4: bool| config.addresses.iter().copied().find(|ip| ip.is_ipv4() == v4);
    let limits = config.limits;
    Settings {
        v4: first(true),
        v6: first(false),
        rules: PeerRules { private: config.private_peers, own: config.addresses.clone(), calls: config.calls_port },
        bounds: Bounds {
            allocations: limits.allocations,
            bytes_per_second: limits.bytes_per_second,
            bytes_per_day: limits.bytes_per_day,
        },
        friends: config.policy.serves_friends(),
        guests: config.policy == Policy::Anyone,
    }
}

impl Server {
    /// Makes the server. Nothing leaves through the calls' port before [`Self::set_out`]. Must run inside the tokio
    /// runtime.
    pub fn start(config: ServerConfig) -> Self {
        let secret: [u8; 32] = rand::random();
        let core = Core::new(clock(), settings(&config), &secret);
        let began = Arc::new(Notify::new());
        let server = Self(Arc::new_cyclic(|inner: &Weak<Inner>| Inner {
            core: Mutex::new(core),
            out: RwLock::new(None),
            streams: Streams::default(),
            opener: Opener::new(inner.clone(), config.ports.clone()),
            config: Mutex::new(config),
            ticker: tokio::spawn(tick(inner.clone(), began.clone())).abort_handle(),
            began,
        }));
        tokio::spawn(complaints::tell(Arc::downgrade(&server.0)));
        server
    }

    /// How datagrams leave through the calls' port. The mux gives it; it should not hold the mux alive (`Weak`).
    pub fn set_out(&self, out: PacketOut) {
        *self.0.out.write().unwrap_or_else(PoisonError::into_inner) = Some(out);
    }

    /// Whether there is an allocation made from this address over UDP.
    pub fn knows(&self, from: SocketAddr) -> bool {
        self.0.core().knows(&Client { from, via: Via::Udp })
    }

    /// A packet that belongs to no call: STUN and TURN requests from anyone, and packets from whom [`Self::knows`].
    /// Answers through `out`.
    pub fn input(&self, from: SocketAddr, packet: &[u8]) {
        if codec::may_be_turn(packet) {
            self.0.input(Client { from, via: Via::Udp }, packet);
        }
    }

    /// A new credential for a friend, or for the friend's partner in a call. `None` if friends are not served, or too
    /// many credentials of this friend are in use.
    pub fn issue(&self, friend: RootPublic, kind: Kind) -> Option<Credential> {
        // Both count as the friend's use; the kind is in the name only for the log.
        let (name, life) = match kind {
            Kind::Own => ("o", None),
            Kind::Partner => ("p", Some(core::PARTNER_LIFE)),
        };
        self.0.issue(Account::Friend(friend), name, life)
    }

    /// A new credential for a node that is no friend, where the policy is [`Policy::Anyone`]. All nodes of one source
    /// address (as text) are one guest.
    pub fn issue_guest(&self, source: &str) -> Option<Credential> {
        let digest = Sha256::digest(source.as_bytes());
        let number = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        self.0.issue(Account::Guest(number), "g", None)
    }

    /// Ends all credentials and allocations of a friend.
    pub fn revoke(&self, friend: &RootPublic) {
        self.0.core().revoke(Account::Friend(*friend));
    }

    /// Changes whom it serves. What is not served any more ends.
    pub fn set_policy(&self, policy: Policy) {
        self.change(|config| config.policy = policy);
    }

    /// Changes the addresses that relayed packets leave from; allocations on others end.
    pub fn set_addresses(&self, addresses: Vec<IpAddr>) {
        self.change(|config| config.addresses = addresses);
    }

    fn change(&self, change: impl FnOnce(&mut ServerConfig)) {
        let settings = {
            let mut config = lock(&self.0.config);
            change(&mut config);
            settings(&config)
        };
        self.0.core().set_settings(settings);
    }

    /// What was relayed today, to be kept.
    pub fn day_use(&self) -> DayUse {
        self.0.core().day_use(clock())
    }

    /// Counts what an earlier run has relayed today.
    pub fn restore(&self, used: &DayUse) {
        self.0.core().restore(clock(), used);
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let clock = clock();
        let mut core = self.0.core();
        let usage = core.uses(clock).into_iter().map(|used| Usage {
            by: match used.account {
                Account::Friend(root) => UsedBy::Friend(root),
                Account::Guest(number) => UsedBy::Guest(number),
            },
            allocations: used.allocations,
            bytes_per_second: used.bytes_per_second,
            bytes_today: used.bytes_today,
        });
        let usage = usage.collect();
        let (allocations, bytes_per_second, bytes_today) = core.total(clock);
        let counters = core.counters();
        drop(core);
        let config = lock(&self.0.config);
        Status {
            policy: config.policy,
            limits: config.limits,
            usage,
            allocations,
            bytes_per_second,
            bytes_today,
            tls_connections: self.0.streams.count(),
            bindings: counters.bindings,
            unauthorized: counters.unauthorized,
            over_quota: counters.over_quota,
            unpermitted: counters.unpermitted,
        }
    }
}

impl Inner {
    fn core(&self) -> MutexGuard<'_, Core<Arc<RelaySocket>>> {
        lock(&self.core)
    }

    fn issue(&self, account: Account, kind: &str, life: Option<Duration>) -> Option<Credential> {
        let user = format!("{kind}{}", hex(&rand::random::<[u8; USER_LEN]>()));
        let password = hex(&rand::random::<[u8; PASSWORD_LEN]>());
        let clock = clock();
        if !self.core().issue(clock, account, user.clone(), &password, life) {
            return None;
        }
        self.began.notify_one();
        let life = u64::try_from(core::CREDENTIAL_LIFE.as_millis()).unwrap_or(u64::MAX);
        Some(Credential { user, password: Secret::new(password), expires_ms: clock.unix_ms.saturating_add(life) })
    }

    /// A packet of a client.
    fn input(&self, client: Client, packet: &[u8]) {
        let action = self.core().handle(clock(), client, packet, &mut self.opener.clone());
        match action {
            Action::Nothing => {}
            Action::Reply(reply) => {
                self.to_client(&client, &reply);
                self.began.notify_one();
            }
            Action::Relay { socket, peer, payload } => socket.send(peer, payload),
        }
    }

    fn to_client(&self, client: &Client, packet: &[u8]) {
        match client.via {
            Via::Udp => {
                let out = self.out.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(out) = &*out {
                    out(client.from, packet);
                }
            }
            Via::Stream(number) => self.streams.send(number, packet),
        }
    }

    /// A packet of a peer. It lies in `buffer` behind room for the header of ChannelData.
    fn peer_sent(&self, client: &Client, allocation: u64, peer: SocketAddr, buffer: &mut [u8]) {
        let length = buffer.len() - codec::CHANNEL_HEADER;
        let wrap = self.core().peer_sent(clock(), client, allocation, peer, length);
        match wrap {
            Some(Wrap::Channel(number)) => {
                buffer[..codec::CHANNEL_HEADER].copy_from_slice(&codec::channel_header(number, length));
                self.to_client(client, buffer);
            }
            Some(Wrap::Indication) => {
                let indication =
                    data_indication(Vec::with_capacity(length + 64), peer, &buffer[codec::CHANNEL_HEADER..]);
                self.to_client(client, &indication);
            }
            None => {}
        }
    }
}

/// Ends what has run out. Sleeps while there is nothing that can.
async fn tick(inner: Weak<Inner>, began: Arc<Notify>) {
    loop {
        began.notified().await;
        loop {
            tokio::time::sleep(TICK).await;
            let Some(inner) = inner.upgrade() else { return };
            let mut core = inner.core();
            core.handle_timeout(clock());
            if core.poll_timeout().is_none() {
                break;
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
