//! What all calls of a node share: the port, the certificates made ahead, and which addresses can be offered.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use rtc::crypto::{HashAlgorithm, RTCCryptoProvider, SignatureScheme};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use webrtc::peer_connection::RTCCertificate;

use super::mux::{Mux, Port, PortStats};
use super::peer::{Peer, PeerConfig};
use super::{Fingerprint, candidate};

/// Certificates kept ready: a call and the next one.
const CERTIFICATES: usize = 2;
/// Addresses offered at most: machines with container networks have dozens, and each costs checks.
const MAX_ADDRESSES: usize = 8;

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
    tasks: [JoinHandle<()>; 2],
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("mux", &self.mux).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
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
        Ok(Self(Arc::new(Inner { mux, busy, loopback: config.loopback, crypto, ready, tasks: [reader, refill] })))
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

    /// The addresses to offer, looked up anew each time webrtc asks (at the start and at each ICE restart).
    pub(super) fn addresses(&self, loopback: bool) -> LocalAddresses {
        let ip = self.mux.local().ip();
        LocalAddresses { only: (!ip.is_unspecified()).then_some(ip), v6: ip.is_ipv6(), loopback }
    }
}

/// The machine's addresses worth offering, asked for anew at each use.
#[derive(Clone, Debug)]
pub(super) struct LocalAddresses {
    only: Option<IpAddr>,
    v6: bool,
    loopback: bool,
}

impl ToSocketAddrs for LocalAddresses {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let mut found = Vec::new();
        if let Some(ip) = self.only {
            found.push(ip);
        } else {
            for interface in rtc::shared::ifaces::ifaces()? {
                let Some(ip) = interface.addr.map(|address| address.ip()) else { continue };
                if candidate::usable(ip, self.loopback)
                    && (ip.is_ipv4() || self.v6)
                    && found.len() < MAX_ADDRESSES
                    && !found.contains(&ip)
                {
                    found.push(ip);
                }
            }
            if found.is_empty() {
                // No network at all: webrtc needs some socket, and the call will say that there is no path.
                found.push(Ipv4Addr::LOCALHOST.into());
            }
        }
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter())
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
