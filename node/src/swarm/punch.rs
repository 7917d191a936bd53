//! Agreeing on a hole punch over a relayed connection (DCUtR, `/libp2p/dcutr`).
//!
//! The stock behaviour takes its address candidates once, when the relayed connection is made, never forgets one, and
//! dials whatever the other side names. Here the candidates are those of the moment, an attempt can be repeated when they
//! change, and what the other side names goes to the swarm's task, which dials only what is in bounds. The protocol is
//! the standard one: whoever accepted the relayed connection says CONNECT with its addresses, the other answers in kind,
//! the first says SYNC and waits half a round trip, and both dial at the same time.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures::{AsyncWriteExt, FutureExt};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};

use super::{
    exchange::{Accept, Ask, Handler, always},
    protobuf::{self, Malformed, Value, Writer, fields},
    scope::{Circuit, Scope, is_circuit, is_dialable, scope_of, without_peer},
};

const DCUTR: StreamProtocol = StreamProtocol::new("/libp2p/dcutr");
/// Longest message: the protocol's own limit.
const MAX_MESSAGE: usize = 4096;
/// Addresses that are told, and that are taken from the other side: two transports, two families, two observations each.
pub(super) const MAX_ADDRESSES: usize = 8;
/// An agreement takes three half round trips; slow relays may need seconds.
const PATIENCE: Duration = Duration::from_secs(10);

const CONNECT: u64 = 100;
const SYNC: u64 = 300;

/// What came of talking with the other side.
#[derive(Clone, Debug)]
pub(super) enum Agreement {
    /// Dial these, now.
    Dial {
        /// Where the other side says it is.
        addresses: Vec<Multiaddr>,
        /// Whether this side accepted the relayed connection, and so takes the listener's part in the dial.
        listener: bool,
    },
    /// It does not speak the protocol, or broke off.
    Failed,
}

/// An agreement on a relayed connection.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) connection: ConnectionId,
    pub(super) agreement: Agreement,
}

/// Our own candidates, best first; shared with the conversations, which take them when they need them.
type Candidates = Arc<RwLock<Vec<Multiaddr>>>;

/// Agrees on hole punches.
pub(super) struct Behaviour {
    candidates: Candidates,
    enabled: bool,
    queue: VecDeque<ToSwarm<Event, Ask<Agreement>>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Without `enabled` it takes part in nothing: a hidden node tells nobody where it is.
    pub(super) fn new(enabled: bool) -> Self {
        Self { candidates: Candidates::default(), enabled, queue: VecDeque::new(), waker: None }
    }

    /// Sets where others may try to reach us, best first. `true` if that is new.
    pub(super) fn set_candidates(&self, new: Vec<Multiaddr>) -> bool {
        let mut candidates = self.candidates.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *candidates != new;
        *candidates = new;
        changed
    }

    /// Begins a punch over `connection`, which is relayed and was accepted here.
    pub(super) fn attempt(&mut self, peer: PeerId, connection: ConnectionId, scope: Scope) {
        if !self.enabled {
            return;
        }
        let candidates = Arc::clone(&self.candidates);
        let ask = Ask {
            protocol: DCUTR,
            failed: Agreement::Failed,
            patience: Some(PATIENCE),
            talk: Box::new(move |stream| {
                async move { initiate(stream, &candidates, scope).await.unwrap_or(Agreement::Failed) }.boxed()
            }),
        };
        self.queue.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: ask,
        });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The candidates that a peer behind a relay in `scope` may be told: no private address leaves through a public relay.
fn told(candidates: &Candidates, scope: Scope) -> Vec<Multiaddr> {
    let candidates = candidates.read().unwrap_or_else(PoisonError::into_inner);
    candidates.iter().filter(|address| scope_of(address) == Some(scope)).take(MAX_ADDRESSES).cloned().collect()
}

fn message(kind: u64, addresses: &[Multiaddr]) -> Writer {
    addresses.iter().fold(Writer::default().number(1, kind), |writer, address| writer.bytes(2, &address.to_vec()))
}

/// Kind and addresses of a message; what we would not dial is left out.
fn read(bytes: &[u8], scope: Scope) -> Result<(u64, Vec<Multiaddr>), Malformed> {
    let (mut kind, mut addresses) = (0, Vec::new());
    for field in fields(bytes)? {
        match field {
            (1, Value::Number(value)) => kind = value,
            (2, Value::Bytes(bytes)) if addresses.len() < MAX_ADDRESSES => {
                let address = Multiaddr::try_from(bytes.to_vec()).ok().map(without_peer);
                addresses.extend(address.filter(|address| is_dialable(address) && scope_of(address) == Some(scope)));
            }
            _ => {}
        }
    }
    Ok((kind, addresses))
}

async fn initiate(mut stream: Stream, candidates: &Candidates, scope: Scope) -> io::Result<Agreement> {
    protobuf::send(&mut stream, &message(CONNECT, &told(candidates, scope))).await?;
    let sent = Instant::now();
    let (kind, addresses) = read(&protobuf::receive(&mut stream, MAX_MESSAGE).await?, scope)?;
    let round_trip = sent.elapsed();
    if kind != CONNECT {
        return Err(Malformed.into());
    }
    protobuf::send(&mut stream, &message(SYNC, &[])).await?;
    tokio::time::sleep(round_trip / 2).await;
    let _ = stream.close().await;
    Ok(Agreement::Dial { addresses, listener: true })
}

async fn respond(mut stream: Stream, candidates: &Candidates, scope: Scope) -> io::Result<Agreement> {
    let (kind, addresses) = read(&protobuf::receive(&mut stream, MAX_MESSAGE).await?, scope)?;
    if kind != CONNECT {
        return Err(Malformed.into());
    }
    protobuf::send(&mut stream, &message(CONNECT, &told(candidates, scope))).await?;
    let (kind, _) = read(&protobuf::receive(&mut stream, MAX_MESSAGE).await?, scope)?;
    if kind != SYNC {
        return Err(Malformed.into());
    }
    Ok(Agreement::Dial { addresses, listener: false })
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler<Agreement>;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // Whoever accepts a relayed connection begins, and never answers.
        Ok(Handler::new(Vec::new()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let scope = Circuit::of(remote).and_then(|circuit| scope_of(&circuit.address));
        let (true, true, Some(scope)) = (self.enabled, is_circuit(remote), scope) else {
            return Ok(Handler::new(Vec::new()));
        };
        let candidates = Arc::clone(&self.candidates);
        Ok(Handler::new(vec![Accept {
            protocol: DCUTR,
            offered: always(),
            patience: Some(PATIENCE),
            talk: Box::new(move |stream| {
                let candidates = Arc::clone(&candidates);
                async move { respond(stream, &candidates, scope).await.ok() }.boxed()
            }),
        }]))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, connection: ConnectionId, agreement: THandlerOutEvent<Self>) {
        self.queue.push_back(ToSwarm::GenerateEvent(Event { connection, agreement }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.queue.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_third_kinds_are_neither_told_nor_taken() {
        let all: Vec<Multiaddr> =
            ["/ip4/9.9.9.9/udp/4/quic-v1", "/ip4/192.168.1.1/tcp/4", "/ip4/127.0.0.1/tcp/4", "/ip4/0.0.0.0/tcp/4"]
                .map(|text| text.parse().unwrap())
                .into();
        let candidates = Arc::new(RwLock::new(all.clone()));
        assert_eq!(told(&candidates, Scope::Public), all[..1]);
        let relay = PeerId::random();
        let circuit: Multiaddr = format!("/ip4/9.9.9.9/tcp/4/p2p/{relay}/p2p-circuit").parse().unwrap();
        let sent = message(CONNECT, &[all.clone(), vec![circuit]].concat()).finish();
        assert_eq!(read(&sent, Scope::Public).unwrap(), (CONNECT, all[..1].to_vec()));
        assert_eq!(read(&sent, Scope::Private).unwrap(), (CONNECT, all[1..2].to_vec()));
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let many: Vec<Multiaddr> = (1..100u8).map(|n| format!("/ip4/9.9.9.{n}/tcp/4").parse().unwrap()).collect();
        let (_, taken) = read(&message(CONNECT, &many).finish(), Scope::Public).unwrap();
        assert_eq!(taken, many[..MAX_ADDRESSES]);
    }
}
