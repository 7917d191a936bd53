//! The client's side: one allocation on somebody's relay, over UDP or TLS.
//!
//! Packets do not pass through a task: [`Relayed::send`] wraps and sends under a lock, and what comes in goes to the
//! owner's sink from where it was read. A task of its own reads the socket or stream and keeps the allocation alive;
//! it ends with the allocation, which ends with its owner.

mod connect;
mod proxy;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};

use super::carried::Carried;
use super::stream::{self, Queue};
use super::turn::client::{Challenge, Client, Event, Input, Wanted};
use super::turn::framing::MAX_FRAME;
use super::types::{Access, PacketOut};

pub use proxy::{Proxy, ProxyError};

/// Events that wait for the owner of an allocation: ready, and then its end. What does not fit is not told.
const EVENTS: usize = 4;
/// While packets go, the state machine is looked at this often at least; else it sleeps until something is due.
const ACTIVE: Duration = Duration::from_millis(250);
/// Relays whose realm and nonce are remembered.
const REMEMBERED: usize = 32;
/// After its owner is gone, a stream has this long to say so to the relay.
const FAREWELL: Duration = Duration::from_secs(1);

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

impl Way {
    fn server(&self) -> SocketAddr {
        match self {
            Self::Udp { server, .. } | Self::Socket { server } | Self::Tls { server, .. } => *server,
        }
    }
}

impl std::fmt::Debug for Way {
    /// Without the address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Udp { .. } => "Udp",
            Self::Socket { .. } => "Socket",
            Self::Tls { proxy: None, .. } => "Tls",
            Self::Tls { proxy: Some(_), .. } => "Tls through a proxy",
        })
    }
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

/// Counters of an allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayedCounts {
    /// Packets sent to peers.
    pub sent: u64,
    /// Packets that came from peers.
    pub received: u64,
    /// Packets that could not go: no allocation (yet), a peer that was not permitted, or a queue that was full.
    pub dropped: u64,
}

/// One allocation. Sends never wait; what cannot go is dropped and counted. Dropping it releases the allocation.
#[derive(Debug)]
pub struct Relayed {
    inner: Arc<Inner>,
}

enum Out {
    Packets(PacketOut),
    Socket(Arc<UdpSocket>),
    Stream(Arc<Queue>),
    /// There is no socket.
    None,
}

struct State {
    client: Client,
    scratch: Vec<u8>,
}

struct Inner {
    state: Mutex<State>,
    server: SocketAddr,
    out: Out,
    sink: PacketOut,
    events: mpsc::Sender<RelayedEvent>,
    wake: Notify,
    /// The task sleeps for long.
    dozing: AtomicBool,
    carried: Carried,
    /// The allocation is counted as one that is there.
    counted: AtomicBool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.state().client.fmt(f)
    }
}

/// Realms and nonces of relays, so that the next allocation takes one round trip. They are no secrets.
static CHALLENGES: Mutex<Vec<(SocketAddr, Challenge)>> = Mutex::new(Vec::new());

fn challenges() -> MutexGuard<'static, Vec<(SocketAddr, Challenge)>> {
    CHALLENGES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relayed {
    /// Asks the relay for an allocation. `sink` gets every packet that comes through it, with the peer's address; it is
    /// called from a task of this allocation (or within [`Self::input`]) and must not wait. Must run inside the tokio
    /// runtime.
    pub fn open(access: Access, way: Way, family: Family, sink: PacketOut) -> (Self, mpsc::Receiver<RelayedEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        let server = way.server();
        let wanted = match family {
            Family::V4 => Wanted::V4,
            Family::V6 => Wanted::V6,
            Family::Both => Wanted::Both,
        };
        let reliable = matches!(way, Way::Tls { .. });
        let known = challenges().iter().find(|(known, _)| *known == server).map(|(_, challenge)| challenge.clone());
        let password = access.password.reveal();
        let client = Client::new(Instant::now(), access.user, password, wanted, reliable, known, rand::random);
        let (out, trouble) = match &way {
            Way::Udp { out, .. } => (Out::Packets(out.clone()), None),
            Way::Tls { .. } => (Out::Stream(Arc::default()), None),
            Way::Socket { .. } => match bind(server) {
                Ok(socket) => (Out::Socket(Arc::new(socket)), None),
                Err(error) => (Out::None, Some(format!("no socket: {error}"))),
            },
        };
        let inner = Arc::new(Inner {
            state: Mutex::new(State { client, scratch: Vec::with_capacity(MAX_FRAME) }),
            server,
            out,
            sink,
            events,
            wake: Notify::new(),
            dozing: AtomicBool::new(false),
            carried: access.carried,
            counted: AtomicBool::new(false),
        });
        if let Some(trouble) = trouble {
            inner.tell(RelayedEvent::Failed(trouble));
            return (Self { inner }, receiver);
        }
        tokio::spawn(run(inner.clone(), way, access.certificate));
        (Self { inner }, receiver)
    }

    /// Lets packets from and to this peer through: permission and channel, refreshed until dropped. Idempotent.
    pub fn permit(&self, peer: SocketAddr) {
        let mut state = self.inner.state();
        state.client.permit(Instant::now(), peer);
        self.inner.flush(&mut state);
        drop(state);
        self.inner.wake.notify_one();
    }

    /// Sends a packet to a peer that was permitted.
    pub fn send(&self, peer: SocketAddr, packet: &[u8]) {
        let mut state = self.inner.state();
        let State { client, scratch } = &mut *state;
        if client.wrap(Instant::now(), peer, packet, scratch) {
            self.inner.transmit(scratch);
            self.inner.carried.count(packet.len());
        }
        drop(state);
        if self.inner.dozing.swap(false, Ordering::Relaxed) {
            self.inner.wake.notify_one();
        }
    }

    /// For [`Way::Udp`]: what came from the relay's address. Says whether it was for this allocation; what was not may
    /// be for the own relay server (two nodes can be each other's relay).
    pub fn input(&self, packet: &[u8]) -> bool {
        self.inner.input(packet)
    }

    /// The addresses at the relay; empty until ready.
    pub fn relayed(&self) -> Vec<SocketAddr> {
        self.inner.state().client.relayed().to_vec()
    }

    /// Counters.
    pub fn counts(&self) -> RelayedCounts {
        let counts = self.inner.state().client.counts();
        let stale = match &self.inner.out {
            Out::Stream(queue) => queue.dropped(),
            _ => 0,
        };
        RelayedCounts { sent: counts.sent, received: counts.received, dropped: counts.dropped + stale }
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        state.client.release(Instant::now());
        self.inner.flush(&mut state);
        drop(state);
        self.inner.uncount();
        if let Out::Stream(queue) = &self.inner.out {
            queue.close();
        }
        self.inner.wake.notify_one();
    }
}

/// A socket for one relay.
fn bind(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind(SocketAddr::new(any, 0))?;
    // The system then drops what comes from elsewhere.
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transmit(&self, packet: &[u8]) {
        match &self.out {
            Out::Packets(out) => out(self.server, packet),
            // What the system does not take is lost, as on any network.
            Out::Socket(socket) => drop(socket2::SockRef::from(&**socket).send(packet)),
            Out::Stream(queue) => queue.push(Instant::now(), packet),
            Out::None => {}
        }
    }

    /// Sends what the state machine wants sent, and tells what happened.
    fn flush(&self, state: &mut State) {
        for packet in state.client.outgoing() {
            self.transmit(&packet);
        }
        let events: Vec<_> = state.client.events().collect();
        for event in events {
            self.tell(match event {
                Event::Ready(relayed) => {
                    if let Some(challenge) = state.client.challenge() {
                        remember(self.server, challenge.clone());
                    }
                    if !self.counted.swap(true, Ordering::Relaxed) {
                        self.carried.opened();
                    }
                    RelayedEvent::Ready { relayed }
                }
                Event::Failed(failure) => RelayedEvent::Failed(failure.to_string()),
                Event::Lost(failure) => {
                    self.uncount();
                    RelayedEvent::Lost(failure.to_string())
                }
            });
        }
    }

    fn uncount(&self) {
        if self.counted.swap(false, Ordering::Relaxed) {
            self.carried.closed();
        }
    }

    fn tell(&self, event: RelayedEvent) {
        // An owner that is gone needs no events.
        let _ = self.events.try_send(event);
    }

    fn input(&self, packet: &[u8]) -> bool {
        let mut state = self.state();
        let (data, wake) = match state.client.handle(Instant::now(), packet) {
            Input::Foreign => return false,
            Input::Taken => (None, true),
            Input::Data(peer, payload) => (Some((peer, payload)), false),
        };
        if wake {
            self.flush(&mut state);
        }
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        if let Some((peer, payload)) = data {
            self.carried.count(payload.len());
            (self.sink)(peer, payload);
        }
        true
    }

    /// Does what is due, and says when to look again; `None` when it is over.
    fn turn(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        state.client.handle_timeout(now);
        self.flush(&mut state);
        let next = state.client.poll_timeout().filter(|_| !state.client.is_over())?;
        drop(state);
        // A send in the meantime may bring the next moment nearer.
        let doze = next > now + ACTIVE;
        self.dozing.store(doze, Ordering::Relaxed);
        Some(next)
    }

    /// The connection is gone, or never came.
    fn disconnected(&self, why: &str) {
        tracing::debug!("a way to a relay ended: {why}");
        let mut state = self.state();
        state.client.disconnected();
        self.flush(&mut state);
    }
}

fn remember(server: SocketAddr, challenge: Challenge) {
    let mut known = challenges();
    known.retain(|(other, _)| *other != server);
    if known.len() >= REMEMBERED {
        known.remove(0);
    }
    known.push((server, challenge));
}

/// Keeps the allocation: timers, and for a socket of its own what comes in.
async fn run(inner: Arc<Inner>, way: Way, certificate: [u8; 32]) {
    match (&inner.out, way) {
        (Out::Socket(socket), _) => {
            let socket = socket.clone();
            tokio::select! {
                () = keep(&inner) => {}
                () = read(&inner, &socket) => {}
            }
        }
        (Out::Stream(queue), Way::Tls { server, proxy }) => {
            let queue = queue.clone();
            let talk = async {
                let stream = connect::connect(server, proxy.as_ref(), certificate).await?;
                stream::carry(stream, &queue, |frame| {
                    inner.input(frame);
                    true
                })
                .await
                .map_err(connect::ConnectError::from)
            };
            let mut talk = std::pin::pin!(talk);
            tokio::select! {
                () = keep(&inner) => {
                    // Its owner may have gone, and the relay is to be told.
                    queue.close();
                    let _ = tokio::time::timeout(FAREWELL, talk).await;
                }
                result = &mut talk => {
                    let why = result.map_or_else(|error| error.to_string(), |()| "it was closed".to_owned());
                    inner.disconnected(&why);
                }
            }
        }
        _ => keep(&inner).await,
    }
}

async fn keep(inner: &Inner) {
    while let Some(next) = inner.turn() {
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = inner.wake.notified() => {}
        }
    }
}

async fn read(inner: &Inner, socket: &UdpSocket) {
    let mut buffer = vec![0; MAX_FRAME];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => drop(inner.input(&buffer[..length])),
            // The relay's machine says that nobody listens there; the state machine will give up by itself.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
/// How long it takes to reach a relay over TLS 1.3, from nothing to the end of the handshake.
///
/// # Errors
/// Why it cannot be reached, in the system's or the library's words.
pub async fn tls_answers(
    server: SocketAddr,
    proxy: Option<&Proxy>,
    certificate: [u8; 32],
) -> std::io::Result<Duration> {
    let begin = Instant::now();
    let stream = connect::connect(server, proxy, certificate).await.map_err(std::io::Error::other)?;
    let took = begin.elapsed();
    drop(stream);
    Ok(took)
}
