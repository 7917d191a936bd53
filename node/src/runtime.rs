//! Brings a node up and down: the order of things, and what happens when one of them is not to be had.
//!
//! The control socket is there first, so that a client can ask from the first moment; then keys, store, network, calls and
//! the service. A node whose keys are under a passphrase stays before the keys until it is given.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use twocan_control::{Code, Error as ApiError, Event};
use twocan_protocol::identity::DeviceKey;
use twocan_protocol::sealed::StoreKey;

use crate::backup::store_folder;
use crate::calls::{Engine, EngineConfig, EngineError};
use crate::config::{self, Config, DhtServer};
use crate::control::{BindError, Server};
use crate::emitter::Emitter;
use crate::home::{self, Home};
use crate::keyfile::{self, Found, Keys};
use crate::portmap::{self, Portmap};
use crate::rendezvous::{Discovery, Rendezvous, first};
use crate::service::{self, Handle, Parts, Ports, Records, Unlocker};
use crate::store::{self, Vault};
use crate::swarm::public::{Client, check_start};
use crate::{footprint, links, netwatch, relay, swarm};

/// How long a passphrase attempt that failed makes the next one wait.
const WRONG_PASSPHRASE_PAUSE: Duration = Duration::from_millis(500);

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] home::Error),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] BindError),
    /// The keys cannot be read or written.
    #[error(transparent)]
    Keys(#[from] keyfile::Error),
    /// There is a store and no key file: a new identity could not read it, and would bury that something was lost.
    #[error(
        "the home {} has a store but no key file `{}`; put the key file back, or move the folder `store` away: then \
         `twocan restore` brings the identity back, and `twocan up` makes a new one",
        .home.display(),
        keyfile::NAME
    )]
    KeysMissing {
        /// The home.
        home: PathBuf,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The network cannot be set up.
    #[error(transparent)]
    Swarm(#[from] swarm::StartError),
    /// The port for calls cannot be opened.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The system refuses a thread.
    #[error("the system has no more threads: {0}")]
    Thread(std::io::Error),
}

/// Runs a node in a home until it is told to stop.
///
/// # Errors
/// If something that a node cannot do without is missing; each says what to do.
pub async fn run(path: &Path, began: Instant, stop: CancellationToken) -> Result<(), Error> {
    let home = Home::open(path)?;
    let config = Config::load(&home.config_file())?;
    let emitter = Emitter::new(format!("{:016x}", rand::random::<u64>()));
    let handle = Handle::new(home.path().to_owned(), began, emitter.clone(), stop.clone());
    let server = Server::start(home.path(), handle.clone()).await?;
    let api_ms = handle.since_start_ms();
    let up = Up { home: &home, config, began, emitter, stop: stop.clone(), api_ms };
    let result = up.keys_then_service(&handle).await;
    server.stop().await;
    result
}

/// What is known before the keys are.
struct Up<'a> {
    home: &'a Home,
    config: Config,
    began: Instant,
    emitter: Emitter,
    stop: CancellationToken,
    api_ms: f64,
}

impl Up<'_> {
    async fn keys_then_service(self, handle: &Handle) -> Result<(), Error> {
        let path = self.home.key_file();
        let keys = match keyfile::find(&path)? {
            Found::Open(keys) => *keys,
            Found::Nothing if store_folder(self.home.path()).exists() => {
                return Err(Error::KeysMissing { home: self.home.path().to_owned() });
            }
            Found::Nothing => {
                let keys = Keys::generate(service::unix_ms() / 1000, &mut rand::rng());
                keys.write(&path, "", &mut rand::rng())?;
                tracing::info!("made a new identity");
                keys
            }
            Found::Sealed(sealed) => {
                let (opened, mut wait) = mpsc::channel(1);
                handle.locked(unlocker(path, Arc::new(sealed), opened));
                tracing::info!("locked: waiting for the passphrase");
                tokio::select! {
                    () = self.stop.cancelled() => return Ok(()),
                    keys = wait.recv() => match keys {
                        Some(keys) => keys,
                        None => return Ok(()),
                    },
                }
            }
        };
        self.serve(keys, handle).await
    }

    async fn serve(self, keys: Keys, handle: &Handle) -> Result<(), Error> {
        let opened = Vault::open(&store_folder(self.home.path()), StoreKey::from_secret(keys.store.secret()))?;
        let mut notices = opened.notices;
        for notice in &notices {
            tracing::warn!("{notice}");
        }
        let records = Records::new(opened.vault).map_err(Error::Thread)?;
        let boot = records.next_boot(service::unix_ms())?;
        let ports = records.ports();
        let mut bootstrap = self.config.network.bootstrap.clone();
        bootstrap.iter().try_for_each(|address| swarm::check_bootstrap(address))?;
        bootstrap.extend(records.dht_peers());
        let (swarm, swarm_events) = start_swarm(&self.config, bootstrap, ports)?;
        let public = start_public(&self.config, &swarm)?;
        let discovery = match (self.config.network.discovery, public.clone()) {
            (config::Discovery::Ipfs, Some(client)) => Discovery::Public(client),
            (config::Discovery::Both, Some(client)) => Discovery::Both(client),
            _ => Discovery::Own,
        };
        let (rendezvous, rendezvous_events) = Rendezvous::start_in(swarm.clone(), discovery);
        let engine = start_engine(&self.config, ports).await?;
        if let Some(busy) = engine.busy() {
            notices.push(format!("UDP port {busy} is in use; calls use port {} instead.", engine.port()));
        }
        let portmap = start_portmap(&self.config, &keys);
        let relay = start_relay(&self.config, engine.port());
        engine.serve(relay.clone());
        engine.set_proxy(proxy(&self.config));
        let device = DeviceKey::from_secret(&keys.device.secret());
        let identity = links::Identity { device, certificate: keys.certificate, boot };
        let unlocked = self.emitter.clone();
        footprint::start(&self.emitter);
        let parts = Parts {
            config: self.config,
            home: self.home.path().to_owned(),
            began: self.began,
            keys: Arc::new(keys),
            identity: Arc::new(identity),
            records,
            swarm,
            swarm_events,
            rendezvous,
            rendezvous_events,
            public,
            network: netwatch::start(),
            engine,
            portmap,
            relay,
            emitter: self.emitter,
            notices,
            api_ms: self.api_ms,
            stop: self.stop.clone(),
        };
        let (requests, task) = service::start(parts);
        handle.running(requests);
        unlocked.emit(Event::Unlocked);
        tracing::info!("running in {}", self.home.path().display());
        if let Err(error) = task.await {
            tracing::error!("the service died: {error}");
        }
        self.stop.cancel();
        Ok(())
    }
}

/// Opens the keys with the passphrases that clients give, one attempt at a time.
fn unlocker(path: PathBuf, sealed: Arc<zeroize::Zeroizing<Vec<u8>>>, opened: mpsc::Sender<Keys>) -> Unlocker {
    Box::new(move |passphrase| {
        let (path, sealed, opened) = (path.clone(), Arc::clone(&sealed), opened.clone());
        async move {
            let passphrase = zeroize::Zeroizing::new(passphrase);
            let keys = tokio::task::spawn_blocking(move || keyfile::unseal(&path, &sealed, &passphrase))
                .await
                .map_err(|_| ApiError::new(Code::Internal, "opening the keys failed"))?;
            match keys {
                Ok(keys) => {
                    // A second right answer at the same moment finds the place taken, and is right all the same.
                    let _ = opened.try_send(keys);
                    Ok(())
                }
                Err(keyfile::Error::WrongPassphrase) => {
                    tokio::time::sleep(WRONG_PASSPHRASE_PAUSE).await;
                    Err(ApiError::new(Code::WrongPassphrase, "wrong passphrase")
                        .hint("try again; nothing is lost. Without it, restore your 24 words into an empty home"))
                }
                Err(error) => Err(ApiError::new(Code::Storage, error.to_string())),
            }
        }
        .boxed()
    })
}

/// Starts the swarm on the ports of last time where the configuration leaves the choice to us, else on any.
fn start_swarm(
    config: &Config,
    bootstrap: Vec<String>,
    ports: Ports,
) -> Result<(swarm::Handle, mpsc::Receiver<swarm::Event>), swarm::StartError> {
    let mode = |mode: DhtServer| match mode {
        DhtServer::Auto => swarm::ServerMode::Auto,
        DhtServer::On => swarm::ServerMode::On,
        DhtServer::Off => swarm::ServerMode::Off,
    };
    let wanted = |listen: Vec<String>| swarm::Config {
        listen,
        bootstrap: bootstrap.clone(),
        mdns: config.network.mdns,
        dht_server: mode(config.network.dht_server),
        relay_server: mode(config.network.relay_server),
        proxy: proxy(config),
        hidden: false,
    };
    let any = &config.network.listen;
    let last: Vec<String> = any.iter().map(|address| with_port(address, ports)).collect();
    if last != *any {
        match swarm::start(wanted(last)) {
            Ok(started) => return Ok(started),
            Err(error) => tracing::info!("not on the ports of last time: {error}"),
        }
    }
    swarm::start(wanted(any.clone()))
}

/// Puts the port of last time in the place of port 0.
fn with_port(address: &str, ports: Ports) -> String {
    let put = |kind: &str, port: u16| {
        (port != 0).then(|| format!("/{kind}/0")).and_then(|zero| {
            let (before, after) = address.split_once(&zero)?;
            (after.is_empty() || after.starts_with('/')).then(|| format!("{before}/{kind}/{port}{after}"))
        })
    };
    put("udp", ports.quic).or_else(|| put("tcp", ports.tcp)).unwrap_or_else(|| address.to_owned())
}

/// The client of the public DHT, if anything in the configuration needs one; it rests until it is asked for something.
/// Nodes on loopback alone ask nobody outside for first nodes.
fn start_public(config: &Config, swarm: &swarm::Handle) -> Result<Option<Client>, swarm::StartError> {
    let network = &config.network;
    network.ipfs_bootstrap.iter().try_for_each(|address| check_start(address))?;
    let outside = !loopback_alone(config) || !network.starts_well_known();
    let first = network.bootstrap_public && outside && !network.ipfs_bootstrap.is_empty();
    if !first && network.discovery == config::Discovery::Own {
        return Ok(None);
    }
    let client = Client::new(&network.ipfs_bootstrap)?;
    if first {
        first::start_seeking(swarm, &client);
        let announcer = || Client::announcer(&network.ipfs_bootstrap);
        match network.announce {
            config::Announce::Auto => first::start_announcing(swarm, announcer()?, first::Announce::Auto),
            config::Announce::On => first::start_announcing(swarm, announcer()?, first::Announce::On),
            config::Announce::Off => {}
        }
    }
    Ok(Some(client))
}

/// Opens the one port of all calls: the configured one, the one used last, or any.
async fn start_engine(config: &Config, ports: Ports) -> Result<Engine, EngineError> {
    let port = if config.media.port != 0 { config.media.port } else { ports.media };
    let loopback = loopback_alone(config);
    let host = if loopback {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        std::net::IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED)
    };
    let bind = std::net::SocketAddr::new(host, port);
    Engine::start(EngineConfig { bind, loopback }).await
}

/// Nodes that listen on loopback alone are on one machine, as in the demo and in tests.
pub(crate) fn loopback_alone(config: &Config) -> bool {
    config.network.listen.iter().all(|address| address.contains("/127.0.0.1/") || address.contains("/::1/"))
}

/// The port mapper, unless it is switched off or nobody outside could use what it maps.
fn start_portmap(config: &Config, keys: &Keys) -> Portmap {
    if !config.network.port_mapping || loopback_alone(config) {
        return Portmap::off();
    }
    let secret = StoreKey::from_secret(keys.store.secret()).index(b"twocan port mapping", b"nonce");
    Portmap::start(portmap::Config::of_this_machine(secret))
}

/// The proxy for TCP connections to relays: the configured one, or the environment's.
pub(crate) fn proxy(config: &Config) -> Option<relay::Proxy> {
    match &config.network.proxy {
        // The configuration was checked when it was read; an empty text means none.
        Some(text) => relay::Proxy::parse(text.reveal()).ok(),
        None => relay::Proxy::from_environment(),
    }
}

/// The packet relay. It serves nobody until the service knows where it can be reached; STUN it answers at once.
fn start_relay(config: &Config, calls_port: u16) -> relay::Server {
    let settings = &config.relay;
    relay::Server::start(relay::ServerConfig {
        addresses: Vec::new(),
        ports: settings.ports[0]..=settings.ports[1],
        calls_port: Some(calls_port),
        policy: relay::Policy::Off,
        limits: relay::Limits {
            allocations: settings.allocations,
            bytes_per_second: settings.bytes_per_second,
            bytes_per_day: settings.bytes_per_day,
        },
        private_peers: settings.private_peers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_without_its_key_file_is_not_buried_under_a_new_identity() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(store_folder(folder.path())).unwrap();
        let error = run(folder.path(), Instant::now(), CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error, Error::KeysMissing { .. }), "{error}");
        assert!(error.to_string().contains(keyfile::NAME), "{error}");
        assert!(!folder.path().join(keyfile::NAME).exists());
    }

    #[test]
    fn a_mistyped_address_to_start_from_is_named() {
        let good = ["/ip4/127.0.0.1/tcp/4001", "/dns4/example.org/udp/4001/quic-v1", "/ip6/::1/udp/4001/quic-v1"];
        assert!(good.iter().all(|address| swarm::check_bootstrap(address).is_ok()));
        for bad in ["hello", "", "/ip4/127.0.0.1/tcp/x", "/ip4/127.0.0.1/tcp/0", "/ip4/0.0.0.0/tcp/4001", "/memory/1"] {
            let text = swarm::check_bootstrap(bad).unwrap_err().to_string();
            assert!(text.contains(&format!("“{bad}”")) && text.contains("bootstrap"), "{text}");
        }
    }

    #[test]
    fn ports_of_last_time_fill_in_for_zero_only() {
        let ports = Ports { quic: 4001, tcp: 4002, media: 0 };
        assert_eq!(with_port("/ip4/0.0.0.0/udp/0/quic-v1", ports), "/ip4/0.0.0.0/udp/4001/quic-v1");
        assert_eq!(with_port("/ip4/0.0.0.0/tcp/0", ports), "/ip4/0.0.0.0/tcp/4002");
        assert_eq!(with_port("/ip4/0.0.0.0/udp/9/quic-v1", ports), "/ip4/0.0.0.0/udp/9/quic-v1");
        assert_eq!(with_port("/ip4/0.0.0.0/udp/0/quic-v1", Ports::default()), "/ip4/0.0.0.0/udp/0/quic-v1");
    }
}
