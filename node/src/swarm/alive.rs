//! Notices dead connections where nothing else would in time.
//!
//! A transport needs 40 s (QUIC) or minutes (TCP) to give a silent peer up. Links have a heartbeat of their own; what
//! has none is the connection to a relay that holds a reservation: while it is dead and we do not know, nobody reaches us.
//! So those connections are *watched* with pings (`/ipfs/ping/1.0.0`, which every libp2p node answers), and any
//! connection can be *probed* once, after a change of the network.
//!
//! We answer pings here, too: the crate's behaviour answers on one stream of a connection at a time and drops the older
//! one, so that a probe would end a watch.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::{
    Multiaddr, PeerId, Stream,
    core::{Endpoint, transport::PortUse},
    ping,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
};
use tokio::time::{sleep, timeout};

use super::exchange::{Accept, Ask, Handler, always};

/// Between pings on a watched connection: about 40 bytes a second in both directions.
const INTERVAL: Duration = Duration::from_secs(6);
/// A watched peer that does not answer for this time is gone: so ten seconds at most, on average seven.
const SILENCE: Duration = Duration::from_millis(3500);
/// The same for a probe after a change of the network, where somebody waits.
const PROBE: Duration = Duration::from_millis(1500);
/// Bytes of a ping.
const SIZE: usize = 32;

/// How a watch or a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// The other side answered a probe.
    Alive,
    /// It did not answer.
    Dead,
}

/// A watched or probed connection was judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) connection: ConnectionId,
    pub(super) pulse: Pulse,
}

/// Watches and probes connections.
#[derive(Default)]
pub(super) struct Behaviour {
    queue: VecDeque<ToSwarm<Event, Ask<Pulse>>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Pings on that connection from now on, until it ends or is found dead.
    pub(super) fn watch(&mut self, peer: PeerId, connection: ConnectionId) {
        self.ask(peer, connection, None, |stream| watch(stream).boxed());
    }

    /// Asks once, and reports soon.
    pub(super) fn probe(&mut self, peer: PeerId, connection: ConnectionId) {
        self.ask(peer, connection, Some(PROBE), |stream| probe(stream).boxed());
    }

    fn ask(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        patience: Option<Duration>,
        talk: fn(Stream) -> futures::future::BoxFuture<'static, Pulse>,
    ) {
        let ask = Ask { protocol: ping::PROTOCOL_NAME, talk: Box::new(talk), failed: Pulse::Dead, patience };
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

async fn probe(mut stream: Stream) -> Pulse {
    stream.ignore_for_keep_alive();
    if round(&mut stream).await { Pulse::Alive } else { Pulse::Dead }
}

async fn watch(mut stream: Stream) -> Pulse {
    stream.ignore_for_keep_alive();
    while timeout(SILENCE, round(&mut stream)).await.unwrap_or(false) {
        sleep(INTERVAL).await;
    }
    Pulse::Dead
}

/// Answers pings until the other side ends the stream.
async fn answer(mut stream: Stream) -> Option<Pulse> {
    stream.ignore_for_keep_alive();
    let mut ping = [0; SIZE];
    loop {
        stream.read_exact(&mut ping).await.ok()?;
        stream.write_all(&ping).await.ok()?;
        stream.flush().await.ok()?;
    }
}

fn handler() -> Handler<Pulse> {
    Handler::new(vec![Accept {
        protocol: ping::PROTOCOL_NAME,
        offered: always(),
        patience: None,
        talk: Box::new(|stream| answer(stream).boxed()),
    }])
}

/// One ping; `false` if it does not come back as it went.
async fn round(stream: &mut Stream) -> bool {
    let sent: [u8; SIZE] = rand::random();
    let mut received = [0; SIZE];
    let talk = async {
        stream.write_all(&sent).await?;
        stream.flush().await?;
        stream.read_exact(&mut received).await
    };
    talk.await.is_ok() && sent == received
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler<Pulse>;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(handler())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, connection: ConnectionId, pulse: THandlerOutEvent<Self>) {
        self.queue.push_back(ToSwarm::GenerateEvent(Event { connection, pulse }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.queue.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
