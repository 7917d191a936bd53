//! The agent at work: its packets go out by the port and the relays, its clock runs, and webrtc's socket is kept busy.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use rtc::crypto::RTCCryptoProvider;
use tokio::sync::Notify;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit as Outgoing};

use super::agent::{Agent, Work};
use super::stand_in::StandIn;
use super::{Chosen, Credentials, Local, Route, Via};
use crate::calls::candidate::Candidate;
use crate::calls::mux::Mux;
use crate::calls::stun::{self, Kind};
use crate::calls::tap::Meters;
use crate::relay::Relayed;

/// Packets held for webrtc until its driver takes them; the oldest goes first. Half a second of 8 Mbit/s video.
pub(in crate::calls) const MAX_QUEUED: usize = 512;
/// Allocations of one peer: four relays, over UDP and TLS, and as many that are being replaced, with room.
const MAX_RELAYS: usize = 24;
/// The address that webrtc believes the friend to have. Nothing is ever sent there.
pub(in crate::calls) const INSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
/// The address that webrtc is told to be its own.
pub(super) const INSIDE_OWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10);
/// The clock rests at most this long.
const REST: Duration = Duration::from_secs(3600);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The allocations of one peer. They outlive its connections: a rebuilt one finds them ready.
#[derive(Debug, Default)]
pub(in crate::calls) struct Relays {
    open: Mutex<Vec<(u16, Arc<Relayed>)>>,
    paths: Mutex<Weak<Paths>>,
}

impl Relays {
    /// An allocation is there for packets.
    pub(in crate::calls) fn insert(&self, number: u16, relayed: Arc<Relayed>) {
        let mut open = lock(&self.open);
        open.retain(|(known, _)| *known != number);
        if open.len() < MAX_RELAYS {
            open.push((number, relayed));
        }
    }

    pub(in crate::calls) fn remove(&self, number: u16) {
        lock(&self.open).retain(|(known, _)| *known != number);
    }

    /// What came through an allocation, from a peer of it.
    pub(in crate::calls) fn packet(&self, number: u16, from: SocketAddr, packet: &[u8]) {
        let paths = lock(&self.paths).upgrade();
        if let Some(paths) = paths {
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            paths.relayed(Instant::now(), Route { via: Via::Relay(number), to: from }, packet);
        }
    }

    fn get(&self, number: u16) -> Option<Arc<Relayed>> {
        lock(&self.open).iter().find(|(known, _)| *known == number).map(|(_, relayed)| relayed.clone())
    }
}

/// How the paths of a connection are set up.
pub(in crate::calls) struct Setup {
    pub(in crate::calls) crypto: Arc<dyn RTCCryptoProvider>,
    pub(in crate::calls) controlling: bool,
    /// Loopback and private addresses are welcome everywhere.
    pub(in crate::calls) lax: bool,
    /// Nothing may leave or come but through relays.
    pub(in crate::calls) relay_only: bool,
}

/// All paths of one connection.
pub(in crate::calls) struct Paths {
    mux: Arc<Mux>,
    port: u64,
    relays: Arc<Relays>,
    relay_only: bool,
    agent: Mutex<Agent>,
    inside: Mutex<StandIn>,
    route: Mutex<Option<Route>>,
    queue: Queue,
    overflow: AtomicU64,
    /// What is known of the path in use.
    meters: OnceLock<Arc<Meters>>,
    /// Nothing answers: told, and not looked at yet.
    stranded: AtomicBool,
    /// The clock must be looked at anew.
    wound: Notify,
    /// The path in use has changed.
    pub(in crate::calls) news: Notify,
}

impl std::fmt::Debug for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paths").field("port", &self.port).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Queue {
    packets: Mutex<VecDeque<Vec<u8>>>,
    waker: AtomicWaker,
}

impl Paths {
    pub(in crate::calls) fn new(mux: Arc<Mux>, port: u64, relays: Arc<Relays>, setup: Setup) -> Arc<Self> {
        let Setup { crypto, controlling, lax, relay_only } = setup;
        let number = mux.local().port();
        let agent = Agent::new(Instant::now(), crypto.clone(), controlling, rand::random(), lax, number);
        let paths = Arc::new(Self {
            mux,
            port,
            relays: relays.clone(),
            relay_only,
            agent: Mutex::new(agent),
            inside: Mutex::new(StandIn::new(crypto)),
            route: Mutex::default(),
            queue: Queue::default(),
            overflow: AtomicU64::new(0),
            meters: OnceLock::new(),
            stranded: AtomicBool::new(false),
            wound: Notify::new(),
            news: Notify::new(),
        });
        *lock(&relays.paths) = Arc::downgrade(&paths);
        paths
    }

    /// Runs the clock until the connection is gone.
    pub(in crate::calls) async fn run(this: Weak<Self>) {
        loop {
            let Some(paths) = this.upgrade() else { return };
            let at = lock(&paths.agent).poll_timeout().unwrap_or_else(|| Instant::now() + REST);
            let wound = paths.wound.notified();
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => paths.turn(Instant::now()),
                () = wound => {}
            }
        }
    }

    fn turn(&self, now: Instant) {
        let rate = self.meters.get().map_or(0.0, |meters| meters.estimate().target);
        self.with(|agent| {
            agent.set_rate(rate);
            agent.handle_timeout(now);
        });
    }

    /// Does something with the agent, and then what it asks for.
    fn with<T>(&self, act: impl FnOnce(&mut Agent) -> T) -> T {
        let (value, work, route) = {
            let mut agent = lock(&self.agent);
            let value = act(&mut agent);
            let work = agent.take();
            let route = agent.selected;
            if work.changed {
                *lock(&self.route) = route;
            }
            (value, work, route)
        };
        self.carry_out(work, route);
        value
    }

    fn carry_out(&self, work: Work, route: Option<Route>) {
        for (number, peer) in work.permits {
            if let Some(relayed) = self.relays.get(number) {
                relayed.permit(peer);
            }
        }
        for transmit in work.packets {
            if let (Some(id), Via::Direct(_)) = (transmit.check, transmit.route.via) {
                self.mux.remember_check(id, self.port, transmit.route.to);
            }
            self.send(transmit.route, &transmit.packet);
        }
        if work.stranded {
            self.stranded.store(true, Ordering::Relaxed);
            self.news.notify_one();
        }
        if work.changed {
            if route.is_some() {
                lock(&self.inside).open();
            }
            self.news.notify_one();
        }
    }

    fn send(&self, route: Route, packet: &[u8]) {
        match route.via {
            Via::Direct(ip) if !self.relay_only => self.mux.send(Some(ip), route.to, packet),
            Via::Direct(_) => {}
            Via::Relay(number) => {
                if let Some(relayed) = self.relays.get(number) {
                    relayed.send(route.to, packet);
                }
            }
        }
    }

    // ---- what the peer's task tells ----

    pub(in crate::calls) fn set_own(&self, own: Credentials) {
        lock(&self.inside).set_own(own.clone());
        lock(&self.agent).set_own(own);
    }

    pub(in crate::calls) fn set_friend(&self, friend: Credentials) {
        lock(&self.inside).set_friend(friend.clone());
        self.with(|agent| agent.set_friend(Instant::now(), friend));
        self.wound.notify_one();
    }

    pub(in crate::calls) fn add_remote(&self, candidate: &Candidate) {
        self.with(|agent| agent.add_remote(Instant::now(), candidate));
        self.wound.notify_one();
    }

    pub(in crate::calls) fn set_locals(&self, locals: Vec<Local>, reflexive: Vec<SocketAddr>) {
        self.with(|agent| {
            agent.set_reflexive(reflexive);
            agent.set_locals(Instant::now(), locals);
            // A path that went with its address must not be used any longer.
            agent.set_changed();
        });
        self.wound.notify_one();
    }

    /// Where it is found what the path carries.
    pub(in crate::calls) fn watch(&self, meters: Arc<Meters>) {
        // Only the first counts: a connection has one set of them.
        let _ = self.meters.set(meters);
    }

    /// Checks everything anew.
    pub(in crate::calls) fn renew(&self) {
        self.with(|agent| agent.renew(Instant::now()));
        self.wound.notify_one();
    }

    /// Whether nothing answers any more, as found since the last look.
    pub(in crate::calls) fn take_stranded(&self) -> bool {
        self.stranded.swap(false, Ordering::Relaxed)
    }

    /// The path in use.
    pub(in crate::calls) fn chosen(&self) -> Option<Chosen> {
        lock(&self.agent).chosen()
    }

    /// When the path in use answered last.
    pub(in crate::calls) fn alive_at(&self) -> Option<Instant> {
        lock(&self.agent).alive_at()
    }

    // ---- what comes in ----

    /// A check or answer that came to the port. Says whether it was genuine.
    pub(in crate::calls) fn checked(&self, now: Instant, from: SocketAddr, to: Option<IpAddr>, packet: &[u8]) -> bool {
        if self.relay_only {
            return false;
        }
        let genuine = self.with(|agent| {
            let via = agent.via_direct(to, from);
            via.is_some_and(|via| agent.input(now, Route { via, to: from }, packet))
        });
        if genuine {
            self.wound.notify_one();
        }
        genuine
    }

    /// Media that came to the port from a source that belongs to this connection.
    pub(in crate::calls) fn media(&self, now: Instant, from: SocketAddr, to: Option<IpAddr>, packet: &[u8]) {
        {
            let mut agent = lock(&self.agent);
            if let Some(via) = agent.via_direct(to, from) {
                agent.heard(now, Route { via, to: from });
            }
        }
        self.deliver(packet);
    }

    fn relayed(&self, now: Instant, route: Route, packet: &[u8]) {
        match stun::kind(packet) {
            Kind::Check(_) | Kind::Answer(_) if self.with(|agent| agent.input(now, route, packet)) => {
                self.wound.notify_one();
            }
            // Only what comes from a checked address: the relay lets everything from a permitted host through.
            Kind::Media if lock(&self.agent).heard(now, route) => {
                self.mux.see_certificate(self.port, packet);
                self.deliver(packet);
            }
            _ => {}
        }
    }

    fn deliver(&self, packet: &[u8]) {
        let ready = lock(&self.inside).pass(packet.to_vec());
        if let Some(packet) = ready {
            self.push(packet);
            self.queue.waker.wake();
        }
    }

    /// Packets of the friend that webrtc has not taken yet.
    #[cfg(test)]
    pub(in crate::calls) fn waiting(&self) -> usize {
        lock(&self.queue.packets).len() + lock(&self.inside).held()
    }

    fn push(&self, packet: Vec<u8>) {
        let mut packets = lock(&self.queue.packets);
        if packets.len() >= MAX_QUEUED {
            packets.pop_front();
            self.overflow.fetch_add(1, Ordering::Relaxed);
            self.mux.count_overflow();
        }
        packets.push_back(packet);
    }
}

/// The one socket that webrtc has.
#[derive(Debug)]
pub(in crate::calls) struct Inside {
    local: SocketAddr,
    paths: Arc<Paths>,
}

impl Inside {
    pub(in crate::calls) fn new(local: SocketAddr, paths: Arc<Paths>) -> Self {
        Self { local, paths }
    }
}

impl AsyncUdpSocket for Inside {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    /// Never fails and never waits: what the system does not take is lost, as on any network. (An error would end
    /// webrtc's driver.)
    fn poll_send(&self, _cx: &mut Context<'_>, transmit: &Outgoing<'_>) -> Poll<io::Result<usize>> {
        let packet = transmit.contents;
        if matches!(stun::kind(packet), Kind::Check(_) | Kind::Answer(_)) {
            let answers = lock(&self.paths.inside).input(packet);
            if !answers.is_empty() {
                answers.into_iter().for_each(|answer| self.paths.push(answer));
                self.paths.queue.waker.wake();
            }
        } else {
            let route = *lock(&self.paths.route);
            if let Some(route) = route {
                self.paths.send(route, packet);
            }
        }
        Poll::Ready(Ok(packet.len()))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        let queue = &self.paths.queue;
        let mut packet = lock(&queue.packets).pop_front();
        if packet.is_none() {
            // The driver also asks with a waker that does nothing; it must not replace the real one.
            if !cx.waker().will_wake(Waker::noop()) {
                queue.waker.register(cx.waker());
            }
            packet = lock(&queue.packets).pop_front();
        }
        let Some(packet) = packet else { return Poll::Pending };
        let length = packet.len().min(buffer.len());
        buffer[..length].copy_from_slice(&packet[..length]);
        *meta = RecvMeta::default();
        meta.addr = INSIDE;
        meta.len = length;
        meta.stride = length.max(1);
        Poll::Ready(Ok(1))
    }
}
