//! TURN inside TLS 1.3 on TCP, for networks without UDP. The port may be shared with the swarm: a connection that does
//! not begin as TLS does is passed on to the swarm's own TCP port, so that one open port is enough for both.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::super::certificate::{CertificateError, Identity};
use super::super::stream::{Queue, carry, tune};
use super::{Client, Inner, Server, Via, lock};

/// Connections at the same time; each costs some 50 kB with TLS.
const CONNECTIONS: usize = 256;
/// Connections of one source, an address or a /56 of IPv6: a household in several calls, with some of the swarm's.
const PER_SOURCE: u32 = 24;
/// From the connection to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// From there to an allocation, and from its end to another.
const IDLE: Duration = Duration::from_secs(15);
/// First byte of a TLS record with a ClientHello (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The socket cannot be used.
    #[error("cannot serve TLS: {0}")]
    Socket(#[from] io::Error),
}

/// All connections.
#[derive(Default)]
pub(super) struct Streams {
    open: Mutex<HashMap<u64, Arc<Queue>>>,
    by_source: Mutex<HashMap<IpAddr, u32>>,
    last: AtomicU64,
    listeners: Mutex<Vec<AbortHandle>>,
}

impl Drop for Streams {
    fn drop(&mut self) {
        for listener in lock(&self.listeners).iter() {
            listener.abort();
        }
    }
}

impl Streams {
    /// Queues a frame for a connection.
    pub(super) fn send(&self, number: u64, packet: &[u8]) {
        let queue = lock(&self.open).get(&number).cloned();
        if let Some(queue) = queue {
            queue.push(Instant::now(), packet);
        }
    }

    /// Connections that speak TURN.
    pub(super) fn count(&self) -> usize {
        lock(&self.open).len()
    }

    fn enter(&self, ip: IpAddr) -> bool {
        let mut sources = lock(&self.by_source);
        if sources.values().map(|count| *count as usize).sum::<usize>() >= CONNECTIONS {
            return false;
        }
        let count = sources.entry(source(ip)).or_default();
        *count += 1;
        let fits = *count <= PER_SOURCE;
        if !fits {
            *count -= 1;
        }
        fits
    }

    fn leave(&self, ip: IpAddr) {
        let mut sources = lock(&self.by_source);
        let source = source(ip);
        if let Some(count) = sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&source);
            }
        }
    }
}

/// Who is counted as one: a household has one address, or a whole network of IPv6 (RFC 6177).
fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 72 << 72).into()),
    }
}

/// One place among the connections; dropping it frees it.
struct Place {
    inner: Weak<Inner>,
    ip: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.streams.leave(self.ip);
        }
    }
}

/// A connection that speaks TURN; dropping it ends its allocation.
struct Open {
    inner: Weak<Inner>,
    client: Client,
    number: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            lock(&inner.streams.open).remove(&self.number);
            inner.core().closed(&self.client);
        }
    }
}

impl Server {
    /// Serves TURN over TLS on a socket that listens. What does not begin as TLS goes to `other`, a TCP port of this
    /// machine, which may become known later; 0: there is none, and such connections are closed. Must run inside the tokio runtime.
    ///
    /// # Errors
    /// If certificate or socket cannot be used.
    pub fn serve_tls(
        &self,
        listener: std::net::TcpListener,
        identity: &Identity,
        other: Arc<AtomicU16>,
    ) -> Result<SocketAddr, ListenError> {
        let acceptor = TlsAcceptor::from(identity.server()?);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let task = tokio::spawn(accept(Arc::downgrade(&self.0), listener, acceptor, other));
        lock(&self.0.streams.listeners).push(task.abort_handle());
        Ok(address)
    }
}

async fn accept(inner: Weak<Inner>, listener: TcpListener, acceptor: TlsAcceptor, other: Arc<AtomicU16>) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of file descriptors, for example: others may close some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Some(strong) = inner.upgrade() else { return };
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if !strong.streams.enter(from.ip()) {
            continue;
        }
        let place = Place { inner: inner.clone(), ip: from.ip() };
        let (inner, acceptor, other) = (inner.clone(), acceptor.clone(), other.load(Ordering::Relaxed));
        tokio::spawn(async move {
            if let Err(error) = serve(&inner, stream, from, acceptor, other).await {
                tracing::debug!("a TLS connection ended: {error}");
            }
            drop(place);
        });
    }
}

async fn serve(
    inner: &Weak<Inner>,
    stream: TcpStream,
    from: SocketAddr,
    acceptor: TlsAcceptor,
    other: u16,
) -> io::Result<()> {
    tune(&stream);
    let mut first = [0];
    let begun = async {
        if stream.peek(&mut first).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(first[0])
    };
    if tokio::time::timeout(HANDSHAKE, begun).await?? != TLS_HANDSHAKE {
        return match other {
            0 => Ok(()),
            port => splice(stream, port).await,
        };
    }
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let Some(strong) = inner.upgrade() else { return Ok(()) };
    let number = strong.streams.last.fetch_add(1, Ordering::Relaxed) + 1;
    let client = Client { from, via: Via::Stream(number) };
    let queue = Arc::new(Queue::default());
    lock(&strong.streams.open).insert(number, queue.clone());
    drop(strong);
    let _open = Open { inner: inner.clone(), client, number };
    let talk = carry(stream, &queue, |frame| {
        let Some(inner) = inner.upgrade() else { return false };
        inner.input(client, frame);
        true
    });
    tokio::select! {
        result = talk => result,
        () = unused(inner, &client) => Ok(()),
    }
}

/// Returns when a connection has had no allocation for a while.
async fn unused(inner: &Weak<Inner>, client: &Client) {
    loop {
        tokio::time::sleep(IDLE).await;
        let used = inner.upgrade().is_some_and(|inner| inner.core().knows(client));
        if !used {
            return;
        }
    }
}

/// Passes a connection on to the swarm. It goes to the address that it came to, so that the swarm does not take it for
/// one from this machine.
async fn splice(mut stream: TcpStream, port: u16) -> io::Result<()> {
    let to = SocketAddr::new(stream.local_addr()?.ip().to_canonical(), port);
    let mut swarm = tokio::time::timeout(HANDSHAKE, TcpStream::connect(to)).await??;
    swarm.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut stream, &mut swarm).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_many_addresses_takes_no_more_places_than_a_household() {
        let streams = Streams::default();
        let host = |n: u128| IpAddr::V6((0x2001_0db8_u128 << 96 | n).into());
        let entered = (0..500).filter(|n| streams.enter(host(*n))).count();
        assert_eq!(entered, PER_SOURCE as usize);
        assert!(streams.enter(IpAddr::V6((0x2001_0db9_u128 << 96).into())), "others have places");
        streams.leave(host(3));
        assert!(streams.enter(host(900)));
    }
}
