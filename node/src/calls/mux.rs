//! One UDP port for all calls.
//!
//! The webrtc crate wants sockets of its own for each call. Here every call gets a *port*: an entry in a table behind
//! one real socket. Incoming packets find their entry like this:
//! - a connectivity check by the user fragment in it (random, known only to the friend it was sent to over the link);
//! - an answer to a check by the transaction id of the check that we sent;
//! - everything else by its source address, which an entry can *claim* only through one of the two above.
//!
//! What belongs to nobody is counted and dropped: that is the place where an own STUN and relay server will join.
//! A claim that is in use cannot be taken over by another call, so that no friend can divert another's packets.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::dtls;
use super::stun::{self, Kind, Transaction};

/// Packets held for one call until its driver takes them; the oldest goes first. Half a second of 8 Mbit/s video.
const MAX_QUEUED: usize = 512;
/// Entries of the table: more calls at once than any machine carries.
pub(super) const MAX_PORTS: usize = 64;
/// User fragments of one call: the present ones and those of a restart under way, with room.
const MAX_UFRAGS: usize = 4;
/// Source addresses claimed by one call: its candidate pairs (16 remote candidates at most) with room for new mappings.
const MAX_SOURCES: usize = 32;
/// Unanswered checks remembered, for all calls: 16 candidates, a check every 20 ms, 64 calls would be 1024 a second.
const MAX_CHECKS: usize = 4096;
/// A claim without traffic for this long can be taken over by another call (checks come twice a second).
const CLAIM_IDLE: Duration = Duration::from_millis(1500);
/// Largest datagram that is handed on: nobody we speak with sends more than an Ethernet frame.
const MAX_DATAGRAM: usize = 2000;

/// Counters of the port, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets that belonged to no call.
    pub foreign: u64,
    /// Packets dropped because a call did not take them in time.
    pub overflow: u64,
    /// Packets that the socket did not take.
    pub unsent: u64,
    /// Attempts to claim an address that another call was using.
    pub contested: u64,
    /// Calls in the table.
    pub ports: usize,
    /// Claimed addresses in the table.
    pub sources: usize,
}

#[derive(Debug, Default)]
struct Counters {
    foreign: AtomicU64,
    overflow: AtomicU64,
    unsent: AtomicU64,
    contested: AtomicU64,
}

/// The shared socket and its table.
pub(super) struct Mux {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    table: Mutex<Table>,
    counters: Counters,
}

impl std::fmt::Debug for Mux {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mux").field("port", &self.local.port()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    ports: HashMap<u64, Entry>,
    ufrags: HashMap<Vec<u8>, u64>,
    sources: HashMap<SocketAddr, Claim>,
    checks: HashMap<Transaction, (u64, SocketAddr)>,
    checks_in_order: VecDeque<Transaction>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Oldest first.
    ufrags: VecDeque<Vec<u8>>,
    queues: Vec<(IpAddr, Arc<Queue>)>,
    sources: usize,
    /// The certificate seen last in a handshake, not authenticated.
    certificate: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Claim {
    port: u64,
    seen: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    packets: Mutex<VecDeque<(SocketAddr, Vec<u8>)>>,
    waker: AtomicWaker,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An IPv4 address that came through an IPv6 socket, as itself.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Mux {
    /// Takes the socket over. Must run inside the tokio runtime.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let local = socket.local_addr()?;
        Ok(Self { socket, state, local, table: Mutex::default(), counters: Counters::default() })
    }

    /// Where the socket is bound.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Counters and sizes.
    pub(super) fn stats(&self) -> PortStats {
        let (ports, sources) = {
            let table = lock(&self.table);
            (table.ports.len(), table.sources.len())
        };
        PortStats {
            foreign: self.counters.foreign.load(Ordering::Relaxed),
            overflow: self.counters.overflow.load(Ordering::Relaxed),
            unsent: self.counters.unsent.load(Ordering::Relaxed),
            contested: self.counters.contested.load(Ordering::Relaxed),
            ports,
            sources,
        }
    }

    /// Reads the socket for ever; errors of single packets (an ICMP answer, for example) are passed over.
    pub(super) async fn run(self: Arc<Self>) {
        // The kernel may hand over several packets of one sender in one buffer.
        let mut buffer = vec![0; self.state.gro_segments().max(1) * MAX_DATAGRAM];
        loop {
            if self.socket.readable().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            let mut meta = [RecvMeta::default()];
            let received = self.socket.try_io(Interest::READABLE, || {
                self.state.recv(UdpSockRef::from(&self.socket), &mut [IoSliceMut::new(&mut buffer)], &mut meta)
            });
            if !matches!(received, Ok(1..)) {
                continue;
            }
            let now = Instant::now();
            let to = meta[0].dst_ip.map(|ip| ip.to_canonical());
            for packet in buffer[..meta[0].len].chunks(meta[0].stride.max(1)) {
                self.receive(now, plain(meta[0].addr), to, packet);
            }
        }
    }

    /// Routes one packet.
    fn receive(&self, now: Instant, from: SocketAddr, to: Option<IpAddr>, packet: &[u8]) {
        let queue = {
            let mut table = lock(&self.table);
            let port = match stun::kind(packet) {
                Kind::Check(Some(ufrag)) => {
                    let port = table.ufrags.get(ufrag).copied();
                    if let Some(port) = port {
                        self.claim(&mut table, now, from, port);
                    }
                    port
                }
                Kind::Answer(transaction) => {
                    let port = table.checks.remove(&transaction).filter(|(_, to)| *to == from).map(|(port, _)| port);
                    if let Some(port) = port {
                        self.claim(&mut table, now, from, port);
                    }
                    port
                }
                Kind::Media | Kind::Indication => table.sources.get_mut(&from).map(|claim| {
                    claim.seen = now;
                    claim.port
                }),
                Kind::Check(None) | Kind::Other => None,
            };
            if let Some(entry) = port.and_then(|port| table.ports.get_mut(&port))
                && let Some(certificate) = dtls::certificate(packet)
            {
                entry.certificate = Some(certificate.to_vec());
            }
            port.and_then(|port| table.queue(port, from, to))
        };
        match queue {
            Some(queue) if packet.len() <= MAX_DATAGRAM => {
                let mut packets = lock(&queue.packets);
                if packets.len() >= MAX_QUEUED {
                    packets.pop_front();
                    self.counters.overflow.fetch_add(1, Ordering::Relaxed);
                }
                packets.push_back((from, packet.to_vec()));
                drop(packets);
                queue.waker.wake();
            }
            _ => {
                self.counters.foreign.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn claim(&self, table: &mut Table, now: Instant, from: SocketAddr, port: u64) {
        if !table.claim(now, from, port) {
            self.counters.contested.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens an entry; `None` when the table is full.
    pub(super) fn open(self: &Arc<Self>) -> Option<Port> {
        let mut table = lock(&self.table);
        if table.ports.len() >= MAX_PORTS {
            return None;
        }
        let id = table.next;
        table.next += 1;
        table.ports.insert(id, Entry::default());
        Some(Port { id, mux: self.clone() })
    }
}

impl Table {
    fn claim(&mut self, now: Instant, from: SocketAddr, port: u64) -> bool {
        let previous = match self.sources.get_mut(&from) {
            Some(claim) if claim.port == port => {
                claim.seen = now;
                return true;
            }
            Some(claim) if now.saturating_duration_since(claim.seen) < CLAIM_IDLE => return false,
            Some(claim) => Some(claim.port),
            None => None,
        };
        let Some(entry) = self.ports.get(&port) else { return false };
        if entry.sources >= MAX_SOURCES {
            let oldest =
                self.sources.iter().filter(|(_, c)| c.port == port).min_by_key(|(_, c)| c.seen).map(|(a, _)| *a);
            if let Some(oldest) = oldest {
                self.unclaim(oldest);
            }
        }
        if previous.is_some() {
            self.unclaim(from);
        }
        if let Some(entry) = self.ports.get_mut(&port) {
            entry.sources += 1;
            self.sources.insert(from, Claim { port, seen: now });
        }
        true
    }

    fn unclaim(&mut self, from: SocketAddr) {
        if let Some(claim) = self.sources.remove(&from)
            && let Some(entry) = self.ports.get_mut(&claim.port)
        {
            entry.sources = entry.sources.saturating_sub(1);
        }
    }

    /// The queue of the local address that the packet was sent to; else one of the sender's family; else any.
    fn queue(&self, port: u64, from: SocketAddr, to: Option<IpAddr>) -> Option<Arc<Queue>> {
        let queues = &self.ports.get(&port)?.queues;
        queues
            .iter()
            .find(|(ip, _)| Some(*ip) == to)
            .or_else(|| queues.iter().find(|(ip, _)| ip.is_ipv4() == from.is_ipv4()))
            .map(|(_, queue)| queue.clone())
    }

    fn remember_check(&mut self, transaction: Transaction, port: u64, to: SocketAddr) {
        if self.checks_in_order.len() >= MAX_CHECKS
            && let Some(oldest) = self.checks_in_order.pop_front()
        {
            self.checks.remove(&oldest);
        }
        if self.checks.insert(transaction, (port, to)).is_none() {
            self.checks_in_order.push_back(transaction);
        }
    }
}

/// A call's entry in the table. Dropping it removes all that belongs to it.
#[derive(Debug)]
pub(super) struct Port {
    id: u64,
    mux: Arc<Mux>,
}

impl Port {
    /// Lets checks with this user fragment in. The fragments of an earlier restart fall out at the far end.
    pub(super) fn add_ufrag(&self, ufrag: &str) {
        let mut table = lock(&self.mux.table);
        let key = ufrag.as_bytes().to_vec();
        if table.ufrags.contains_key(&key) {
            return;
        }
        let Some(entry) = table.ports.get_mut(&self.id) else { return };
        entry.ufrags.push_back(key.clone());
        let old = if entry.ufrags.len() > MAX_UFRAGS { entry.ufrags.pop_front() } else { None };
        if let Some(old) = old {
            table.ufrags.remove(&old);
        }
        table.ufrags.insert(key, self.id);
    }

    /// The certificate (DER) seen last in a handshake on its way to this call. Anybody on the path may have made it.
    pub(super) fn seen_certificate(&self) -> Option<Vec<u8>> {
        lock(&self.mux.table).ports.get(&self.id)?.certificate.clone()
    }

    /// A socket for one local address: what webrtc believes to be its own.
    pub(super) fn socket(self: &Arc<Self>, local: SocketAddr) -> PortSocket {
        let queue = Arc::new(Queue::default());
        if let Some(entry) = lock(&self.mux.table).ports.get_mut(&self.id) {
            entry.queues.retain(|(ip, _)| *ip != local.ip());
            entry.queues.push((local.ip(), queue.clone()));
        }
        PortSocket { local, port: self.clone(), queue }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut table = lock(&self.mux.table);
        if let Some(entry) = table.ports.remove(&self.id) {
            for ufrag in entry.ufrags {
                table.ufrags.remove(&ufrag);
            }
        }
        table.sources.retain(|_, claim| claim.port != self.id);
        table.checks.retain(|_, (port, _)| *port != self.id);
        let Table { checks, checks_in_order, .. } = &mut *table;
        checks_in_order.retain(|transaction| checks.contains_key(transaction));
    }
}

/// One local address of a call, as webrtc sees it.
#[derive(Debug)]
pub(super) struct PortSocket {
    local: SocketAddr,
    port: Arc<Port>,
    queue: Arc<Queue>,
}

impl Drop for PortSocket {
    fn drop(&mut self) {
        if let Some(entry) = lock(&self.port.mux.table).ports.get_mut(&self.port.id) {
            entry.queues.retain(|(_, queue)| !Arc::ptr_eq(queue, &self.queue));
        }
    }
}

impl AsyncUdpSocket for PortSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    /// Never fails and never waits: a datagram that the system does not take is lost, as on any network. (An error
    /// would end the driver, and the shared socket could wake only one of its waiters.)
    fn poll_send(&self, _cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let mux = &self.port.mux;
        let destination = plain(transmit.destination);
        if let Some(transaction) = stun::request_transaction(transmit.contents) {
            lock(&mux.table).remember_check(transaction, self.port.id, destination);
        }
        let wire = match destination {
            SocketAddr::V4(v4) if mux.local.is_ipv6() => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            other => other,
        };
        let datagram = Transmit {
            destination: wire,
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip: mux.local.ip().is_unspecified().then(|| self.local.ip()),
        };
        let sent =
            mux.socket.try_io(Interest::WRITABLE, || mux.state.try_send(UdpSockRef::from(&mux.socket), &datagram));
        if sent.is_err() {
            mux.counters.unsent.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(Ok(transmit.contents.len()))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        let mut packet = lock(&self.queue.packets).pop_front();
        if packet.is_none() {
            // The driver also asks with a waker that does nothing; it must not replace the real one.
            if !cx.waker().will_wake(Waker::noop()) {
                self.queue.waker.register(cx.waker());
            }
            packet = lock(&self.queue.packets).pop_front();
        }
        let Some((from, packet)) = packet else { return Poll::Pending };
        let length = packet.len().min(buffer.len());
        buffer[..length].copy_from_slice(&packet[..length]);
        *meta = RecvMeta::default();
        meta.addr = from;
        meta.len = length;
        meta.stride = length.max(1);
        Poll::Ready(Ok(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::stun::tests::{check, message};

    fn mux() -> Arc<Mux> {
        Arc::new(Mux::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap())
    }

    fn port(mux: &Arc<Mux>, ufrag: &str) -> (Arc<Port>, PortSocket) {
        let port = Arc::new(mux.open().unwrap());
        port.add_ufrag(ufrag);
        let socket = port.socket("127.0.0.1:1".parse().unwrap());
        (port, socket)
    }

    fn waiting(socket: &PortSocket) -> usize {
        lock(&socket.queue.packets).len()
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[tokio::test]
    async fn media_reaches_the_call_whose_check_came_from_that_address() {
        let mux = mux();
        let ((_a, a), (_b, b)) = (port(&mux, "aaaa"), port(&mux, "bbbb"));
        let now = Instant::now();
        mux.receive(now, address(5000), None, &[0x80, 111]);
        assert_eq!((waiting(&a), waiting(&b), mux.stats().foreign), (0, 0, 1));
        mux.receive(now, address(5000), None, &check("aaaa:x", 1));
        mux.receive(now, address(5001), None, &check("bbbb:x", 2));
        mux.receive(now, address(5000), None, &[0x80, 111]);
        assert_eq!((waiting(&a), waiting(&b), mux.stats().foreign), (2, 1, 1));
    }

    #[tokio::test]
    async fn an_answer_counts_only_from_where_the_check_went() {
        let mux = mux();
        let (_a, a) = port(&mux, "aaaa");
        let request = check("them:aaaa", 7);
        let transmit =
            Transmit { destination: address(5000), ecn: None, contents: &request, segment_size: None, src_ip: None };
        assert!(a.poll_send(&mut Context::from_waker(Waker::noop()), &transmit).is_ready());
        mux.receive(Instant::now(), address(6000), None, &message(0x0101, 7, &[]));
        assert_eq!(waiting(&a), 0);
        assert!(a.poll_send(&mut Context::from_waker(Waker::noop()), &transmit).is_ready());
        mux.receive(Instant::now(), address(5000), None, &message(0x0101, 7, &[]));
        assert_eq!((waiting(&a), mux.stats().sources), (1, 1));
    }

    #[tokio::test]
    async fn an_address_in_use_is_not_taken_over_until_it_falls_silent() {
        let mux = mux();
        let ((_a, a), (_b, b)) = (port(&mux, "aaaa"), port(&mux, "bbbb"));
        let now = Instant::now();
        mux.receive(now, address(5000), None, &check("aaaa:x", 1));
        mux.receive(now, address(5000), None, &check("bbbb:x", 2));
        mux.receive(now, address(5000), None, &[22, 1]);
        assert_eq!((waiting(&a), waiting(&b), mux.stats().contested), (2, 1, 1));
        let later = now + CLAIM_IDLE + CLAIM_IDLE;
        mux.receive(later, address(5000), None, &check("bbbb:x", 3));
        mux.receive(later, address(5000), None, &[22, 1]);
        assert_eq!((waiting(&a), waiting(&b)), (2, 3));
    }

    #[tokio::test]
    async fn tables_and_queues_stay_within_their_bounds() {
        let mux = mux();
        let (_a, a) = port(&mux, "aaaa");
        let now = Instant::now();
        for source in 0..1000 {
            mux.receive(now, address(2000 + source), None, &check("aaaa:x", 1));
        }
        assert_eq!((mux.stats().sources, waiting(&a)), (MAX_SOURCES, MAX_QUEUED));
        assert_eq!(mux.stats().overflow, 1000 - MAX_QUEUED as u64);
        let held: Vec<_> = (0..MAX_PORTS - 1).map(|_| mux.open().unwrap()).collect();
        assert!(mux.open().is_none());
        drop(held);
        let mut table = lock(&mux.table);
        for n in 0..2 * MAX_CHECKS {
            let mut id = [0; 12];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            table.remember_check(id, 0, address(1));
        }
        assert_eq!((table.checks.len(), table.checks_in_order.len()), (MAX_CHECKS, MAX_CHECKS));
    }

    #[tokio::test]
    async fn everything_of_a_call_leaves_with_it() {
        let mux = mux();
        let (a, socket) = port(&mux, "aaaa");
        a.add_ufrag("a2");
        mux.receive(Instant::now(), address(5000), None, &check("a2:x", 1));
        assert_eq!(waiting(&socket), 1);
        drop((a, socket));
        let table = lock(&mux.table);
        assert!(table.ports.is_empty() && table.ufrags.is_empty() && table.sources.is_empty());
    }

    #[tokio::test]
    async fn packets_go_to_the_socket_of_the_address_they_were_sent_to() {
        let mux = mux();
        let (port, lo) = port(&mux, "aaaa");
        let lan = port.socket("192.168.1.2:1".parse().unwrap());
        mux.receive(Instant::now(), address(5000), Some("192.168.1.2".parse().unwrap()), &check("aaaa:x", 1));
        assert_eq!((waiting(&lo), waiting(&lan)), (0, 1));
    }
}
