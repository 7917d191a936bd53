//! One UDP port for all calls.
//!
//! Every connection has an entry in a table behind the one real socket. Incoming packets find theirs like this:
//! - a connectivity check by the user fragment in it (random, known only to the friend it was sent to over the link);
//! - an answer to a check by the transaction id of the check that we sent;
//! - everything else by its source address, which an entry can *claim* only through one of the two above, and only when
//!   its agent found the packet genuine.
//!
//! A claim that is in use cannot be taken over by another call, so that no friend can divert another's packets.
//!
//! What belongs to nobody is looked at last: answers to our own questions to STUN servers, and what is for the relay
//! server of this node ([`crate::relay::Server`]). The rest is counted and dropped.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use webrtc::runtime::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::dtls;
use super::ice::paths::Paths;
use super::reflexive::Asker;
use super::stun::{self, Kind, Transaction};
use crate::relay::Server;

/// Entries of the table: more calls at once than any machine carries.
pub(super) const MAX_PORTS: usize = 64;
/// User fragments of one call: the present one, with room.
const MAX_UFRAGS: usize = 4;
/// Source addresses claimed by one call: its candidate pairs (16 remote candidates at most) with room for new mappings.
const MAX_SOURCES: usize = 32;
/// Unanswered checks remembered, for all calls: a busy agent sends 250 a second and waits four seconds.
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
    /// Checks and answers that were not genuine.
    pub forged: u64,
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
    forged: AtomicU64,
}

/// The shared socket and its table.
pub(super) struct Mux {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    table: Mutex<Table>,
    counters: Counters,
    server: OnceLock<Server>,
    /// What was asked of STUN servers.
    pub(super) asker: Asker,
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
    paths: Weak<Paths>,
    sources: usize,
    /// The certificate seen last in a handshake, not authenticated.
    certificate: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Claim {
    port: u64,
    seen: Instant,
}

/// To whom a packet goes.
enum Owner {
    /// Genuine or not: its agent says.
    Check(u64, Arc<Paths>),
    Media(Arc<Paths>),
    Nobody,
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
        Ok(Self {
            socket,
            state,
            local,
            table: Mutex::default(),
            counters: Counters::default(),
            server: OnceLock::new(),
            asker: Asker::default(),
        })
    }

    /// Where the socket is bound.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Hands what belongs to no call to the relay server. The first server stays.
    pub(super) fn serve(self: &Arc<Self>, server: Server) {
        let mux = Arc::downgrade(self);
        server.set_out(Arc::new(move |to, packet: &[u8]| {
            if let Some(mux) = mux.upgrade() {
                mux.send(None, to, packet);
            }
        }));
        if self.server.set(server).is_err() {
            tracing::warn!("the calls' port has a relay server already");
        }
    }

    /// Counters and sizes.
    pub(super) fn stats(&self) -> PortStats {
        let (ports, sources) = {
            let table = lock(&self.table);
            (table.ports.len(), table.sources.len())
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PortStats {
            foreign: read(&self.counters.foreign),
            overflow: read(&self.counters.overflow),
            unsent: read(&self.counters.unsent),
            contested: read(&self.counters.contested),
            forged: read(&self.counters.forged),
            ports,
            sources,
        }
    }

    pub(super) fn count_overflow(&self) {
        self.counters.overflow.fetch_add(1, Ordering::Relaxed);
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
        let kind = stun::kind(packet);
        match self.owner(now, from, packet, &kind) {
            Owner::Check(port, paths) => {
                if paths.checked(now, from, to, packet) {
                    self.claim(now, from, port);
                } else {
                    self.counters.forged.fetch_add(1, Ordering::Relaxed);
                }
            }
            Owner::Media(paths) if packet.len() <= MAX_DATAGRAM => paths.media(now, from, to, packet),
            _ => self.foreign(now, from, packet, &kind),
        }
    }

    fn owner(&self, now: Instant, from: SocketAddr, packet: &[u8], kind: &Kind<'_>) -> Owner {
        let mut table = lock(&self.table);
        let owner = match kind {
            Kind::Check(Some(ufrag)) => {
                table.ufrags.get(*ufrag).and_then(|port| Some(Owner::Check(*port, table.paths(*port)?)))
            }
            Kind::Answer(transaction) => {
                let port = table.checks.get(transaction).filter(|(_, to)| *to == from).map(|(port, _)| *port);
                port.and_then(|port| {
                    table.checks.remove(transaction);
                    Some(Owner::Check(port, table.paths(port)?))
                })
            }
            Kind::Media => {
                let port = table.sources.get_mut(&from).map(|claim| {
                    claim.seen = now;
                    claim.port
                });
                port.and_then(|port| {
                    table.see_certificate(port, packet);
                    Some(Owner::Media(table.paths(port)?))
                })
            }
            _ => None,
        };
        owner.unwrap_or(Owner::Nobody)
    }

    /// What is for no call: an answer to a question of ours, the relay server's, or nobody's.
    fn foreign(&self, now: Instant, from: SocketAddr, packet: &[u8], kind: &Kind<'_>) {
        let served = match kind {
            Kind::Answer(transaction) if self.asker.answered(now, transaction, from, packet) => return,
            Kind::Check(None) | Kind::Turn => self.server.get(),
            Kind::Channel => self.server.get().filter(|server| server.knows(from)),
            _ => None,
        };
        match served {
            Some(server) => server.input(from, packet),
            None => drop(self.counters.foreign.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn claim(&self, now: Instant, from: SocketAddr, port: u64) {
        if !lock(&self.table).claim(now, from, port) {
            self.counters.contested.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An answer to this check is for this entry.
    pub(super) fn remember_check(&self, transaction: Transaction, port: u64, to: SocketAddr) {
        lock(&self.table).remember_check(transaction, port, to);
    }

    /// Keeps the certificate in a packet of a handshake, if there is one.
    pub(super) fn see_certificate(&self, port: u64, packet: &[u8]) {
        lock(&self.table).see_certificate(port, packet);
    }

    /// Sends a datagram from one of the machine's addresses (`None`: the system chooses). Never fails and never waits:
    /// what the system does not take is lost, as on any network.
    pub(super) fn send(&self, source: Option<IpAddr>, to: SocketAddr, packet: &[u8]) {
        let wire = match plain(to) {
            SocketAddr::V4(v4) if self.local.is_ipv6() => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            other => other,
        };
        let datagram = Transmit {
            destination: wire,
            ecn: None,
            contents: packet,
            segment_size: None,
            src_ip: source.filter(|_| self.local.ip().is_unspecified()),
        };
        let sent =
            self.socket.try_io(Interest::WRITABLE, || self.state.try_send(UdpSockRef::from(&self.socket), &datagram));
        if sent.is_err() {
            self.counters.unsent.fetch_add(1, Ordering::Relaxed);
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
    fn paths(&self, port: u64) -> Option<Arc<Paths>> {
        self.ports.get(&port)?.paths.upgrade()
    }

    fn see_certificate(&mut self, port: u64, packet: &[u8]) {
        if let Some(entry) = self.ports.get_mut(&port)
            && let Some(certificate) = dtls::certificate(packet)
        {
            entry.certificate = Some(certificate.to_vec());
        }
    }

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

    /// Where the packets of this call go.
    pub(super) fn attach(&self, paths: &Arc<Paths>) {
        if let Some(entry) = lock(&self.mux.table).ports.get_mut(&self.id) {
            entry.paths = Arc::downgrade(paths);
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn mux(&self) -> &Arc<Mux> {
        &self.mux
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::candidate::{self, Candidate};
    use crate::calls::ice::paths::{Relays, Setup};
    use crate::calls::ice::{Credentials, Local, Via};
    use crate::calls::stun::Writer;
    use crate::calls::stun::tests::{check, message};

    fn mux() -> Arc<Mux> {
        Arc::new(Mux::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap())
    }

    fn credentials(name: &str) -> Credentials {
        Credentials { ufrag: name.into(), password: format!("{name}-password") }
    }

    /// A connection known by this fragment, with one candidate of its friend.
    fn port(mux: &Arc<Mux>, ufrag: &str) -> (Port, Arc<Paths>) {
        let port = mux.open().unwrap();
        port.add_ufrag(ufrag);
        let crypto = rtc::crypto::default_provider().unwrap();
        let setup = Setup { crypto, controlling: true, lax: true, relay_only: false };
        let paths = Paths::new(mux.clone(), port.id(), Arc::<Relays>::default(), setup);
        port.attach(&paths);
        paths.set_own(credentials(ufrag));
        paths.set_friend(credentials("friend"));
        paths.set_locals(vec![Local { via: Via::Direct(mux.local().ip()), v4: true, extra: 0 }], Vec::new());
        (port, paths)
    }

    /// A genuine check of the friend.
    fn genuine(ufrag: &str, id: u8) -> Vec<u8> {
        let crypto = rtc::crypto::default_provider().unwrap();
        let request = Writer::request([id; 12]).username(&format!("{ufrag}:friend")).role(false, 1);
        request.sealed(&*crypto, format!("{ufrag}-password").as_bytes()).unwrap()
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
        assert_eq!((a.waiting(), b.waiting(), mux.stats().foreign), (0, 0, 1));
        mux.receive(now, address(5000), None, &genuine("aaaa", 1));
        mux.receive(now, address(5001), None, &genuine("bbbb", 2));
        mux.receive(now, address(5000), None, &[0x80, 111]);
        assert_eq!((a.waiting(), b.waiting(), mux.stats().foreign), (1, 0, 1));
    }

    #[tokio::test]
    async fn a_forged_check_claims_nothing() {
        let mux = mux();
        let (_a, a) = port(&mux, "aaaa");
        let now = Instant::now();
        mux.receive(now, address(5000), None, &check("aaaa:friend", 1));
        let mut bent = genuine("aaaa", 1);
        bent[10] ^= 1;
        mux.receive(now, address(5000), None, &bent);
        mux.receive(now, address(5000), None, &[0x80, 111]);
        assert_eq!((a.waiting(), mux.stats().forged, mux.stats().sources), (0, 2, 0));
    }

    #[tokio::test]
    async fn an_answer_counts_only_from_where_the_check_went() {
        let mux = mux();
        let friend = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        friend.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (_a, a) = port(&mux, "aaaa");
        tokio::spawn(Paths::run(Arc::downgrade(&a)));
        let line = format!("candidate:1 1 udp 5 127.0.0.1 {} typ host", friend.local_addr().unwrap().port());
        a.add_remote(&Candidate::parse(&line).unwrap());
        let (id, friend) = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 200];
            let length = friend.recv(&mut buffer).unwrap();
            (stun::Message::read(&buffer[..length]).unwrap().transaction, friend)
        })
        .await
        .unwrap();
        let crypto = rtc::crypto::default_provider().unwrap();
        let answer = |password: &[u8]| Writer::success(id, mux.local()).sealed(&*crypto, password).unwrap();
        let from = friend.local_addr().unwrap();
        mux.receive(Instant::now(), address(6000), None, &answer(b"friend-password"));
        mux.receive(Instant::now(), from, None, &message(0x0101, 7, &[]));
        assert_eq!((a.chosen(), mux.stats().sources), (None, 0));
        mux.receive(Instant::now(), from, None, &answer(b"friend-password"));
        assert_eq!(mux.stats().sources, 1);
        assert_eq!(a.chosen().map(|chosen| (chosen.route.to, chosen.local)), Some((from, candidate::Kind::Host)));
    }

    #[tokio::test]
    async fn an_address_in_use_is_not_taken_over_until_it_falls_silent() {
        let mux = mux();
        let ((_a, a), (_b, b)) = (port(&mux, "aaaa"), port(&mux, "bbbb"));
        let now = Instant::now();
        mux.receive(now, address(5000), None, &genuine("aaaa", 1));
        mux.receive(now, address(5000), None, &genuine("bbbb", 2));
        mux.receive(now, address(5000), None, &[22, 1]);
        assert_eq!((a.waiting(), b.waiting(), mux.stats().contested), (1, 0, 1));
        let later = now + CLAIM_IDLE + CLAIM_IDLE;
        mux.receive(later, address(5000), None, &genuine("bbbb", 3));
        mux.receive(later, address(5000), None, &[22, 1]);
        assert_eq!((a.waiting(), b.waiting()), (1, 1));
    }

    #[tokio::test]
    async fn tables_and_queues_stay_within_their_bounds() {
        let mux = mux();
        let (_a, a) = port(&mux, "aaaa");
        let now = Instant::now();
        for source in 0..200 {
            mux.receive(now, address(2000 + source), None, &genuine("aaaa", 1));
        }
        for _ in 0..1000 {
            mux.receive(now, address(2199), None, &[0x80, 111]);
        }
        assert_eq!(mux.stats().sources, MAX_SOURCES);
        assert!(a.waiting() <= crate::calls::ice::paths::MAX_QUEUED);
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
        let (a, paths) = port(&mux, "aaaa");
        a.add_ufrag("a2");
        mux.receive(Instant::now(), address(5000), None, &genuine("aaaa", 1));
        assert_eq!(mux.stats().sources, 1);
        drop((a, paths));
        let table = lock(&mux.table);
        assert!(table.ports.is_empty() && table.ufrags.is_empty() && table.sources.is_empty());
    }
}
