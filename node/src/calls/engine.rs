//! What all calls of a node share: the port, the certificates made ahead, and which addresses can be offered.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rtc::crypto::{HashAlgorithm, RTCCryptoProvider, SignatureScheme};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use webrtc::peer_connection::RTCCertificate;

use super::gather::{self, Known};
use super::ice::Via;
use super::mux::{Mux, Port, PortStats};
use super::peer::{Peer, PeerConfig};
use super::reflexive::{self, Reflexive};
use super::slots::Environment;
use super::{Fingerprint, ice};
use crate::relay::{Proxy, Server};

/// Certificates kept ready: a call and the next one.
const CERTIFICATES: usize = 2;

/// How the engine is set up.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Where the port is bound. `[::]` serves IPv4, too (and `0.0.0.0` is taken where there is no IPv6). Port 0 lets
    /// the system choose; the choice is to be kept for the next start.
    pub bind: SocketAddr,
    /// Offer and take loopback addresses in every call, not only with friends on this machine.
    pub loopback: bool,
}

/// Why there is no engine, or no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The port could not be opened.
    #[error("cannot open the UDP port for calls on {address}")]
    Bind {
        /// Where it should have been.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The cryptography does not work.
    #[error("cannot make certificates for calls: {0}")]
    Certificate(String),
}

/// The engine. Cheap to clone; the port closes with the last clone and the last peer.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

pub(super) struct Inner {
    mux: Arc<Mux>,
    busy: Option<u16>,
    loopback: bool,
    crypto: Arc<dyn RTCCryptoProvider>,
    ready: Arc<Certificates>,
    /// What can be told a friend: the machine's addresses, and how others see them.
    known: watch::Sender<Known>,
    proxy: Mutex<Option<Proxy>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("mux", &self.mux).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in lock(&self.tasks).iter() {
            task.abort();
        }
    }
}

#[derive(Default)]
struct Certificates {
    pool: Mutex<VecDeque<RTCCertificate>>,
    taken: Notify,
}

impl Engine {
    /// Opens the port and makes the first certificates. Must run inside the tokio runtime.
    ///
    /// # Errors
    /// [`EngineError::Bind`] if no port can be had at all; a busy one is replaced (see [`Self::busy`]).
    #[expect(clippy::unused_async, reason = "must be called inside the runtime, which the signature says")]
    pub async fn start(config: EngineConfig) -> Result<Self, EngineError> {
        let (socket, busy) = bind(config.bind).map_err(|source| EngineError::Bind { address: config.bind, source })?;
        let mux = Mux::new(socket).map_err(|source| EngineError::Bind { address: config.bind, source })?;
        let mux = Arc::new(mux);
        let crypto = rtc::crypto::default_provider().map_err(|error| EngineError::Certificate(error.to_string()))?;
        let ready = Arc::new(Certificates::default());
        let first = certificate(&*crypto)?;
        lock(&ready.pool).push_back(first);
        let refill = tokio::spawn(refill(ready.clone(), crypto.clone()));
        let reader = tokio::spawn(mux.clone().run());
        let inner = Arc::new(Inner {
            mux,
            busy,
            loopback: config.loopback,
            crypto,
            ready,
            known: watch::channel(Known::default()).0,
            proxy: Mutex::default(),
            tasks: Mutex::new(vec![reader, refill]),
        });
        inner.look_around();
        let weak = Arc::downgrade(&inner);
        let own = {
            let weak = weak.clone();
            move |ip: IpAddr| weak.upgrade().is_some_and(|inner| inner.known.borrow().hosts.contains(&ip))
        };
        let asking = tokio::spawn(reflexive::run(inner.mux.clone(), own));
        let hearing = tokio::spawn(hear(inner.mux.asker.watch(), weak));
        lock(&inner.tasks).extend([asking, hearing]);
        Ok(Self(inner))
    }

    /// Public nodes that are asked how this node's port looks from outside: two of each address family, the first ones
    /// that fit, but those that were silent last. At most eight are kept.
    pub fn set_stun_servers(&self, servers: Vec<SocketAddr>) {
        self.0.mux.asker.set_servers(servers);
    }

    /// How the port looks from outside, by the server that was asked. Two answers with different addresses mean a NAT
    /// that gives every destination another mapping.
    pub fn reflexive(&self) -> watch::Receiver<Vec<Reflexive>> {
        self.0.mux.asker.watch()
    }

    /// Whether UDP gets out at all: `None` while no STUN server has been asked to the end.
    pub fn udp_passes(&self) -> Option<bool> {
        self.0.mux.asker.passes()
    }

    /// Addresses at which a router forwards to the calls' port (UPnP, NAT-PMP, PCP).
    pub fn set_mapped(&self, mapped: Vec<SocketAddr>) {
        self.0.known.send_if_modified(|known| std::mem::replace(&mut known.mapped, mapped.clone()) != mapped);
    }

    /// The proxy through which TCP connections to relays go.
    pub fn set_proxy(&self, proxy: Option<Proxy>) {
        *lock(&self.0.proxy) = proxy;
    }

    /// Hands what comes to the port and belongs to no call to this relay server.
    pub fn serve(&self, server: Server) {
        self.0.mux.serve(server);
    }

    /// The network has changed: own addresses are looked up anew at once, running calls use them and ask their relays
    /// anew, and the STUN servers are asked again.
    pub fn network_changed(&self) {
        self.0.look_around();
        self.0.known.send_modify(|known| known.changes += 1);
        self.0.mux.asker.hasten();
    }

    /// The port in use.
    pub fn port(&self) -> u16 {
        self.0.mux.local().port()
    }

    /// The configured port, if it was busy and another was taken.
    pub fn busy(&self) -> Option<u16> {
        self.0.busy
    }

    /// Counters of the port.
    pub fn stats(&self) -> PortStats {
        self.0.mux.stats()
    }

    /// Makes a peer for one friend in one call. Nothing is sent before its first command.
    pub fn open(&self, config: PeerConfig) -> Peer {
        Peer::spawn(self.0.clone(), config)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Binds as asked; a busy port is replaced by any, missing IPv6 by IPv4.
fn bind(address: SocketAddr) -> io::Result<(std::net::UdpSocket, Option<u16>)> {
    let error = match std::net::UdpSocket::bind(address) {
        Ok(socket) => return Ok((socket, None)),
        Err(error) => error,
    };
    if error.kind() == io::ErrorKind::AddrInUse && address.port() != 0 {
        let (socket, _) = bind(SocketAddr::new(address.ip(), 0))?;
        return Ok((socket, Some(address.port())));
    }
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()));
    }
    Err(error)
}

/// A self-signed P-256 certificate (webrtc's DTLS takes no Ed25519). Subject and validity are the same for everybody,
/// so that it tells nothing but its key.
fn certificate(crypto: &dyn RTCCryptoProvider) -> Result<RTCCertificate, EngineError> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "call");
    RTCCertificate::generate(crypto.crypto(), SignatureScheme::EcdsaP256Sha256, parameters)
        .map_err(|error| EngineError::Certificate(error.to_string()))
}

/// Keeps the pool filled; ends with the engine.
async fn refill(ready: Arc<Certificates>, crypto: Arc<dyn RTCCryptoProvider>) {
    loop {
        while lock(&ready.pool).len() < CERTIFICATES {
            match certificate(&*crypto) {
                Ok(made) => lock(&ready.pool).push_back(made),
                Err(error) => {
                    tracing::error!("{error}");
                    break;
                }
            }
        }
        ready.taken.notified().await;
    }
}

impl Inner {
    /// A certificate nobody has used.
    pub(super) fn take_certificate(&self) -> Result<RTCCertificate, EngineError> {
        let ready = lock(&self.ready.pool).pop_front();
        self.ready.taken.notify_one();
        ready.map_or_else(|| certificate(&*self.crypto), Ok)
    }

    /// An entry of the port, if there is room.
    pub(super) fn open_port(&self) -> Option<Port> {
        self.mux.open()
    }

    pub(super) fn port_number(&self) -> u16 {
        self.mux.local().port()
    }

    pub(super) fn loopback(&self) -> bool {
        self.loopback || self.mux.local().ip().is_loopback()
    }

    /// SHA-256 of a certificate as presented.
    pub(super) fn fingerprint(&self, der: &[u8]) -> Option<Fingerprint> {
        let hash = self.crypto.crypto().hash(HashAlgorithm::Sha256, der).ok()?;
        Some(Fingerprint(hash.try_into().ok()?))
    }

    /// The fingerprint that we announce for a certificate.
    pub(super) fn own_fingerprint(&self, certificate: &RTCCertificate) -> Option<Fingerprint> {
        let prints = certificate.get_fingerprints(self.crypto.crypto()).ok()?;
        Fingerprint::from_text(&prints.first()?.value)
    }

    pub(super) fn crypto(&self) -> Arc<dyn RTCCryptoProvider> {
        self.crypto.clone()
    }

    /// What can be told a friend, as it changes.
    pub(super) fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// What the port looks like from outside may have changed: STUN servers are asked at once.
    pub(super) fn ask_again(&self) {
        self.mux.asker.hasten();
    }

    /// Looks the machine's addresses up anew.
    pub(super) fn look_around(&self) {
        let bound = self.mux.local().ip();
        let hosts = if bound.is_unspecified() {
            let (system, dying) = (gather::system(), gather::dying());
            let mut hosts = gather::hosts(&system, &dying, bound.is_ipv6(), false);
            let all = gather::hosts(&system, &dying, bound.is_ipv6(), true);
            hosts.extend(all.into_iter().filter(IpAddr::is_loopback));
            hosts
        } else {
            vec![bound]
        };
        self.known.send_if_modified(|known| std::mem::replace(&mut known.hosts, hosts.clone()) != hosts);
    }

    /// The ways out by the port itself.
    pub(super) fn direct(&self, loopback: bool) -> Vec<ice::Local> {
        let known = self.known.borrow();
        let hosts = known.hosts.iter().filter(|ip| loopback || !ip.is_loopback());
        hosts.map(|ip| ice::Local { via: Via::Direct(*ip), v4: ip.is_ipv4(), extra: 0 }).collect()
    }

    /// What the environment allows relays to be reached over.
    pub(super) fn environment(&self, loopback: bool) -> Environment {
        let known = self.known.borrow();
        let mut hosts = known.hosts.iter().filter(|ip| loopback || !ip.is_loopback());
        let v4 = hosts.clone().any(IpAddr::is_ipv4);
        let v6 = hosts.any(IpAddr::is_ipv6);
        Environment { udp: self.mux.asker.passes(), v4, v6, proxy: lock(&self.proxy).clone() }
    }
}

/// Takes over what STUN servers say. Ends with the engine.
async fn hear(mut answers: watch::Receiver<Vec<Reflexive>>, engine: Weak<Inner>) {
    while answers.changed().await.is_ok() {
        let told = answers.borrow_and_update().clone();
        let Some(inner) = engine.upgrade() else { return };
        inner.known.send_if_modified(|known| std::mem::replace(&mut known.reflexive, told.clone()) != told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_replaced_and_reported() {
        let held = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let bind = held.local_addr().unwrap();
        let engine = Engine::start(EngineConfig { bind, loopback: true }).await.unwrap();
        assert_eq!(engine.busy(), Some(bind.port()));
        assert_ne!(engine.port(), bind.port());
    }

    #[tokio::test]
    async fn the_port_is_kept_when_it_is_free() {
        let bind = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let engine = Engine::start(EngineConfig { bind, loopback: true }).await.unwrap();
        assert_eq!((engine.port(), engine.busy()), (bind.port(), None));
    }

    #[tokio::test]
    async fn every_call_gets_a_certificate_of_its_own() {
        let engine =
            Engine::start(EngineConfig { bind: "127.0.0.1:0".parse().unwrap(), loopback: true }).await.unwrap();
        let prints: std::collections::HashSet<_> =
            (0..5).map(|_| engine.0.own_fingerprint(&engine.0.take_certificate().unwrap()).unwrap()).collect();
        assert_eq!(prints.len(), 5);
    }
}
