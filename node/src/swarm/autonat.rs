//! AutoNAT v2 (`/libp2p/autonat/2/*`): asks other nodes whether an address of ours can be reached, and tests theirs.
//!
//! The stock behaviour gives each address one test by a server of its choice and never another one, and as a server it
//! dials whatever it is asked to. Here the caller chooses who tests what and how often; and a server dials back only to
//! the very IP address that the asking node was met at, at a bounded rate per network, so that nobody can have it knock
//! at others or pay anything for it. The protocol is the standard one.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures::{AsyncWriteExt, FutureExt};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, DialFailure, FromSwarm, NetworkBehaviour,
        NotifyHandler, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::{mpsc, oneshot};

use super::{
    exchange::{Accept, Ask, Handler, always},
    limits::{RangeLimiter, Rate},
    protobuf::{self, Malformed, Value, Writer, fields},
    scope::{ip_of, is_circuit, is_dialable, scope_of, without_peer},
};

/// Asks for a test.
pub(super) const DIAL_REQUEST: StreamProtocol = StreamProtocol::new("/libp2p/autonat/2/dial-request");
/// Proves that the test reached us.
const DIAL_BACK: StreamProtocol = StreamProtocol::new("/libp2p/autonat/2/dial-back");
/// Longest message but for the padding that we never ask for: eight addresses.
const MAX_MESSAGE: usize = 4096;
/// Addresses of one request that are looked at.
const MAX_ADDRESSES: usize = 8;
/// A test takes a dial (QUIC 2.5 s, TCP 5 s), a stream (4 s) and an answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// Tests of ours at a time.
const MAX_TESTS: usize = 8;
/// Tests for others at a time.
const MAX_SERVED: usize = 16;
/// Tests for one network: a node tests a few addresses at start and once an hour.
const RATE: Rate = Rate { burst: 16.0, per_second: 0.2 };
/// The same for loopback and private networks, where many nodes may be ours.
const NEAR_RATE: Rate = Rate { burst: 128.0, per_second: 16.0 };

/// `DialResponse.status` and `DialStatus` of the protocol.
mod code {
    pub(super) const DIAL_REFUSED: u64 = 101;
    pub(super) const INTERNAL_ERROR: u64 = 0;
    pub(super) const OK: u64 = 200;
    pub(super) const DIAL_ERROR: u64 = 100;
    pub(super) const DIAL_BACK_ERROR: u64 = 101;
}

/// What a test showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server reached us there, and proved it.
    Reachable,
    /// It did not.
    Unreachable,
    /// Nothing: the server refused, or went away.
    Unknown,
}

/// The end of a test.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// Connection to the server.
    pub(super) connection: ConnectionId,
    /// What was tested.
    pub(super) address: Multiaddr,
    /// What came of it.
    pub(super) outcome: Outcome,
}

/// What the conversations report.
#[derive(Clone, Debug)]
pub(super) enum Report {
    Tested { address: Multiaddr, nonce: u64, answer: Option<bool> },
    DialledBack { heard: bool },
}

/// A test that another node asked for.
struct Job {
    client: PeerId,
    ip: IpAddr,
    address: Multiaddr,
    nonce: u64,
    reply: oneshot::Sender<u64>,
}

/// Nonces of our running tests, and whether they came back.
type Nonces = Arc<Mutex<HashMap<u64, bool>>>;

/// Client and server.
pub(super) struct Behaviour {
    enabled: bool,
    nonces: Nonces,
    serving: Arc<AtomicBool>,
    jobs: (mpsc::Sender<Job>, mpsc::Receiver<Job>),
    dialling: HashMap<ConnectionId, Job>,
    answering: HashMap<ConnectionId, oneshot::Sender<u64>>,
    rates: RangeLimiter,
    queue: VecDeque<ToSwarm<Event, Ask<Report>>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Without `enabled` it takes part in nothing: a hidden node has no address to be tested.
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            nonces: Nonces::default(),
            serving: Arc::default(),
            jobs: mpsc::channel(MAX_SERVED),
            dialling: HashMap::new(),
            answering: HashMap::new(),
            rates: RangeLimiter::new(RATE, NEAR_RATE),
            queue: VecDeque::new(),
            waker: None,
        }
    }

    /// Whether to test for others.
    pub(super) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Asks the server at the other end of `connection` to reach us at `address`. `false` if too many tests run.
    pub(super) fn test(&mut self, server: PeerId, connection: ConnectionId, address: Multiaddr) -> bool {
        let nonce = rand::random();
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        if nonces.len() >= MAX_TESTS {
            return false;
        }
        nonces.insert(nonce, false);
        drop(nonces);
        let asked = address.clone();
        let ask = Ask {
            protocol: DIAL_REQUEST,
            failed: Report::Tested { address: address.clone(), nonce, answer: None },
            patience: Some(PATIENCE),
            talk: Box::new(move |stream| {
                async move {
                    let answer = request(stream, &asked, nonce).await.unwrap_or_default();
                    Report::Tested { address: asked, nonce, answer }
                }
                .boxed()
            }),
        };
        self.push(ToSwarm::NotifyHandler { peer_id: server, handler: NotifyHandler::One(connection), event: ask });
        true
    }

    fn push(&mut self, event: ToSwarm<Event, Ask<Report>>) {
        self.queue.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&self, peer: PeerId, remote: &Multiaddr) -> Handler<Report> {
        if !self.enabled || is_circuit(remote) || ip_of(remote).is_none() {
            return Handler::new(Vec::new());
        }
        let nonces = Arc::clone(&self.nonces);
        let hear = Accept {
            protocol: DIAL_BACK,
            offered: always(),
            patience: Some(PATIENCE),
            talk: Box::new(move |stream| {
                let nonces = Arc::clone(&nonces);
                async move { hear_dial_back(stream, &nonces).await.ok().and(None) }.boxed()
            }),
        };
        let (jobs, remote) = (self.jobs.0.clone(), remote.clone());
        let serve = Accept {
            protocol: DIAL_REQUEST,
            offered: Arc::clone(&self.serving),
            patience: Some(PATIENCE),
            talk: Box::new(move |stream| {
                let (jobs, remote) = (jobs.clone(), remote.clone());
                async move { serve(stream, peer, &remote, &jobs).await.ok().and(None) }.boxed()
            }),
        };
        Handler::new(vec![hear, serve])
    }

    fn start(&mut self, job: Job, now: Instant) {
        if self.dialling.len() + self.answering.len() >= MAX_SERVED || !self.rates.take(job.ip, now) {
            return;
        }
        let dial = DialOpts::peer_id(job.client)
            .addresses(vec![job.address.clone()])
            .condition(PeerCondition::Always)
            .allocate_new_port()
            .build();
        self.dialling.insert(dial.connection_id(), job);
        self.queue.push_back(ToSwarm::Dial { opts: dial });
    }
}

/// Our side of a test: `Some(answer)` if the server tried.
async fn request(mut stream: Stream, address: &Multiaddr, nonce: u64) -> std::io::Result<Option<bool>> {
    let inner = Writer::default().bytes(1, &address.to_vec()).fixed64(2, nonce).finish();
    protobuf::send(&mut stream, &Writer::default().bytes(1, &inner)).await?;
    let answer = protobuf::receive(&mut stream, MAX_MESSAGE).await?;
    let _ = stream.close().await;
    let Some(&(2, Value::Bytes(response))) = fields(&answer)?.first() else {
        // It wants to be sent padding before it dials anything but what it sees. Servers of ours do not.
        return Ok(None);
    };
    let (mut status, mut dial) = (code::INTERNAL_ERROR, 0);
    for field in fields(response)? {
        match field {
            (1, Value::Number(value)) => status = value,
            (3, Value::Number(value)) => dial = value,
            _ => {}
        }
    }
    Ok(match (status, dial) {
        (code::OK, code::OK) => Some(true),
        (code::OK, code::DIAL_ERROR) => Some(false),
        _ => None,
    })
}

/// A server reached us: notes the nonce, if it is one of ours.
async fn hear_dial_back(mut stream: Stream, nonces: &Nonces) -> std::io::Result<()> {
    let message = protobuf::receive(&mut stream, MAX_MESSAGE).await?;
    let Some(&(1, Value::Fixed64(nonce))) = fields(&message)?.first() else { return Err(Malformed.into()) };
    match nonces.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&nonce) {
        Some(heard) => *heard = true,
        None => return Err(Malformed.into()),
    }
    protobuf::send(&mut stream, &Writer::default().number(1, 0)).await?;
    stream.close().await
}

/// Reads a request, has it carried out, and answers.
async fn serve(
    mut stream: Stream,
    client: PeerId,
    remote: &Multiaddr,
    jobs: &mpsc::Sender<Job>,
) -> std::io::Result<()> {
    let message = protobuf::receive(&mut stream, MAX_MESSAGE).await?;
    let Some(&(1, Value::Bytes(request))) = fields(&message)?.first() else { return Err(Malformed.into()) };
    let (mut chosen, mut nonce, mut index) = (None, None, 0u64);
    for field in fields(request)? {
        match field {
            (1, Value::Bytes(bytes)) => {
                let address = Multiaddr::try_from(bytes.to_vec()).ok().map(without_peer);
                if let Some(address) = address.filter(|address| may_dial(address, remote))
                    && (index as usize) < MAX_ADDRESSES
                    && chosen.is_none()
                {
                    chosen = Some((index, address));
                }
                index += 1;
            }
            (2, Value::Fixed64(value)) => nonce = Some(value),
            _ => {}
        }
    }
    let (status, index, dial) = match (chosen, nonce, ip_of(remote)) {
        (Some((index, address)), Some(nonce), Some(ip)) => {
            let (reply, answer) = oneshot::channel();
            // If too many are asked for at once, the reply is dropped with the job.
            let _ = jobs.try_send(Job { client, ip, address, nonce, reply });
            match answer.await {
                Ok(dial) => (code::OK, index, dial),
                Err(_) => (code::DIAL_REFUSED, index, 0),
            }
        }
        _ => (code::DIAL_REFUSED, 0, 0),
    };
    let response = Writer::default().number(1, status).number(2, index).number(3, dial).finish();
    protobuf::send(&mut stream, &Writer::default().bytes(2, &response)).await?;
    stream.close().await
}

/// Whether a server may dial `address` for a node that it met at `remote`: the same machine, as far as can be seen.
fn may_dial(address: &Multiaddr, remote: &Multiaddr) -> bool {
    is_dialable(address) && ip_of(address).is_some() && ip_of(address) == ip_of(remote) && scope_of(remote).is_some()
}

/// The server's side once it is connected: `true` if the client took the nonce.
async fn dial_back(mut stream: Stream, nonce: u64) -> std::io::Result<bool> {
    protobuf::send(&mut stream, &Writer::default().fixed64(1, nonce)).await?;
    let answer = protobuf::receive(&mut stream, MAX_MESSAGE).await?;
    let refused = fields(&answer)?.iter().any(|field| matches!(field, (1, Value::Number(status)) if *status != 0));
    let _ = stream.close().await;
    Ok(!refused)
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler<Report>;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, if is_circuit(local) { local } else { remote }))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let mut handler = self.handler(peer, remote);
        if let Some(job) = self.dialling.remove(&connection) {
            let nonce = job.nonce;
            handler.ask(Ask {
                protocol: DIAL_BACK,
                failed: Report::DialledBack { heard: false },
                patience: Some(PATIENCE),
                talk: Box::new(move |stream| {
                    async move { Report::DialledBack { heard: dial_back(stream, nonce).await.unwrap_or(false) } }
                        .boxed()
                }),
            });
            self.answering.insert(connection, job.reply);
        }
        Ok(handler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::DialFailure(DialFailure { connection_id, .. }) => {
                if let Some(job) = self.dialling.remove(&connection_id) {
                    let _ = job.reply.send(code::DIAL_ERROR);
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.answering.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, report: THandlerOutEvent<Self>) {
        match report {
            Report::Tested { address, nonce, answer } => {
                let heard = self.nonces.lock().unwrap_or_else(PoisonError::into_inner).remove(&nonce).unwrap_or(false);
                let outcome = match answer {
                    Some(true) if heard => Outcome::Reachable,
                    Some(false) if !heard => Outcome::Unreachable,
                    _ => Outcome::Unknown,
                };
                self.push(ToSwarm::GenerateEvent(Event { connection, address, outcome }));
            }
            Report::DialledBack { heard } => {
                if let Some(reply) = self.answering.remove(&connection) {
                    let _ = reply.send(if heard { code::OK } else { code::DIAL_BACK_ERROR });
                    let connection = CloseConnection::One(connection);
                    self.push(ToSwarm::CloseConnection { peer_id: peer, connection });
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Poll::Ready(event);
            }
            match self.jobs.1.poll_recv(cx) {
                Poll::Ready(Some(job)) => self.start(job, Instant::now()),
                _ => break,
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_dials_only_the_machine_that_asks() {
        let may = |address: &str, remote: &str| may_dial(&address.parse().unwrap(), &remote.parse().unwrap());
        assert!(may("/ip4/9.9.9.9/udp/4/quic-v1", "/ip4/9.9.9.9/udp/1000/quic-v1"));
        assert!(may("/ip4/9.9.9.9/tcp/4", "/ip4/9.9.9.9/udp/1000/quic-v1"));
        assert!(!may("/ip4/9.9.9.8/tcp/4", "/ip4/9.9.9.9/udp/1000/quic-v1"), "a third machine");
        assert!(!may("/ip4/127.0.0.1/tcp/4", "/ip4/9.9.9.9/udp/1000/quic-v1"), "the server itself");
        assert!(!may("/dns4/example.org/tcp/4", "/ip4/9.9.9.9/udp/1000/quic-v1"), "a name, which may mean anybody");
        let relay = PeerId::random();
        let circuit = format!("/ip4/9.9.9.9/tcp/4/p2p/{relay}/p2p-circuit");
        assert!(!may(&circuit, "/ip4/9.9.9.9/udp/1000/quic-v1"), "a third machine behind the first");
    }
}
