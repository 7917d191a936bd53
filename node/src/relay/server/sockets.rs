//! Sockets of allocations: one per relayed address, each with a task that reads it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};

use rand::RngExt;
use tokio::task::AbortHandle;

use super::super::turn::codec::CHANNEL_HEADER;
use super::super::turn::framing::MAX_FRAME;
use super::Inner;
use super::core::{Client, Ports};

/// Ports that are tried before the relay says that none is free.
const TRIES: usize = 32;

/// A socket of an allocation. Dropping the last one closes it and ends its task.
pub(super) struct RelaySocket {
    socket: Arc<tokio::net::UdpSocket>,
    reader: AbortHandle,
}

impl std::fmt::Debug for RelaySocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RelaySocket")
    }
}

impl Drop for RelaySocket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl RelaySocket {
    /// Sends at once; what the system does not take is lost, as on any network.
    pub(super) fn send(&self, peer: SocketAddr, payload: &[u8]) {
        let _ = socket2::SockRef::from(&*self.socket).send_to(payload, &peer.into());
    }
}

/// Binds sockets in the range.
#[derive(Clone)]
pub(super) struct Opener {
    inner: Weak<Inner>,
    ports: RangeInclusive<u16>,
    runtime: tokio::runtime::Handle,
}

impl Opener {
    pub(super) fn new(inner: Weak<Inner>, ports: RangeInclusive<u16>) -> Self {
        Self { inner, ports, runtime: tokio::runtime::Handle::current() }
    }

    fn bind(&self, ip: IpAddr, even: bool) -> Option<io::Result<tokio::net::UdpSocket>> {
        let socket = (0..TRIES).find_map(|_| {
            let port = rand::rng().random_range(self.ports.clone());
            // Below a range that begins with an odd port is nothing for us.
            let port = if even { port & !1 } else { port };
            if !self.ports.contains(&port) {
                return None;
            }
            UdpSocket::bind((ip, port)).ok()
        })?;
        Some(socket.set_nonblocking(true).and_then(|()| tokio::net::UdpSocket::from_std(socket)))
    }
}

impl Ports for Opener {
    type Socket = Arc<RelaySocket>;

    fn open(&mut self, ip: IpAddr, even: bool, client: Client, allocation: u64) -> Option<(Self::Socket, SocketAddr)> {
        let _runtime = self.runtime.enter();
        let opened = self.bind(ip, even)?.and_then(|socket| Ok((socket.local_addr()?, Arc::new(socket))));
        match opened {
            Ok((address, socket)) => {
                let reader = tokio::spawn(read(self.inner.clone(), socket.clone(), client, allocation));
                Some((Arc::new(RelaySocket { socket, reader: reader.abort_handle() }), address))
            }
            Err(error) => {
                tracing::warn!("no socket for an allocation: {error}");
                None
            }
        }
    }
}

/// Passes on what peers send. Errors of single packets (an ICMP answer, for example) are passed over.
async fn read(inner: Weak<Inner>, socket: Arc<tokio::net::UdpSocket>, client: Client, allocation: u64) {
    let mut buffer = vec![0; CHANNEL_HEADER + MAX_FRAME];
    loop {
        let received = socket.recv_from(&mut buffer[CHANNEL_HEADER..]).await;
        let Some(inner) = inner.upgrade() else { return };
        if let Ok((length, peer)) = received
            && length < MAX_FRAME - 64
        {
            inner.peer_sent(&client, allocation, peer, &mut buffer[..CHANNEL_HEADER + length]);
        }
    }
}
