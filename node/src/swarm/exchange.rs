//! A connection handler for protocols that are one short conversation per stream.
//!
//! Hole punching, reachability tests and pings all are: open a stream, say something, hear something, report. Each
//! conversation is an async function; this handler opens and accepts the streams for them, bounds how many run at a time
//! and how long, and hands their reports to the behaviour.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    StreamExt,
    future::{BoxFuture, Ready, ready},
    stream::FuturesUnordered,
};
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

/// Conversations that the other side may have open on one connection; more are closed at once.
const MAX_SERVED: usize = 4;
/// Conversations of ours on one connection, waiting or running; more fail at once.
const MAX_ASKED: usize = 8;
/// How long the other side may take to agree to a stream.
const NEGOTIATION: Duration = Duration::from_secs(4);

/// A conversation that begins with a stream of ours.
pub(super) struct Ask<R> {
    /// What to speak.
    pub(super) protocol: StreamProtocol,
    /// The conversation.
    pub(super) talk: Box<dyn FnOnce(Stream) -> BoxFuture<'static, R> + Send>,
    /// What is reported if there is no stream to be had, or the conversation takes too long.
    pub(super) failed: R,
    /// How long it may take; forever if `None`.
    pub(super) patience: Option<Duration>,
}

impl<R: fmt::Debug> fmt::Debug for Ask<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// What a conversation that the other side began reports at its end, if anything.
pub(super) type Serving<R> = BoxFuture<'static, Option<R>>;

/// A protocol in which the other side may begin.
pub(super) struct Accept<R> {
    /// What it may speak.
    pub(super) protocol: StreamProtocol,
    /// Whether this is offered at present.
    pub(super) offered: Arc<AtomicBool>,
    /// How long a conversation may take; as long as the connection if `None`.
    pub(super) patience: Option<Duration>,
    /// Our side of it.
    pub(super) talk: Box<dyn Fn(Stream) -> Serving<R> + Send>,
}

/// Always offered.
pub(super) fn always() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

/// The conversations of one connection.
pub(super) struct Handler<R> {
    accepts: Vec<Accept<R>>,
    asks: VecDeque<Ask<R>>,
    reports: VecDeque<R>,
    negotiating: usize,
    asked: FuturesUnordered<BoxFuture<'static, R>>,
    served: FuturesUnordered<Serving<R>>,
}

impl<R> Handler<R> {
    /// A handler that lets the other side begin what is in `accepts`.
    pub(super) fn new(accepts: Vec<Accept<R>>) -> Self {
        Self {
            accepts,
            asks: VecDeque::new(),
            reports: VecDeque::new(),
            negotiating: 0,
            asked: FuturesUnordered::new(),
            served: FuturesUnordered::new(),
        }
    }

    /// Begins a conversation as soon as it can.
    pub(super) fn ask(&mut self, ask: Ask<R>) {
        if self.asks.len() + self.negotiating + self.asked.len() >= MAX_ASKED {
            self.reports.push_back(ask.failed);
        } else {
            self.asks.push_back(ask);
        }
    }
}

/// The protocols that the other side may begin.
#[derive(Clone)]
pub(super) struct Offer(Vec<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl<C> InboundUpgrade<C> for Offer {
    type Output = (StreamProtocol, C);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: C, protocol: Self::Info) -> Self::Future {
        ready(Ok((protocol, stream)))
    }
}

impl<R: Clone + fmt::Debug + Send + 'static> ConnectionHandler for Handler<R> {
    type FromBehaviour = Ask<R>;
    type ToBehaviour = R;
    type InboundProtocol = Offer;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Ask<R>;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        let offered = self.accepts.iter().filter(|accept| accept.offered.load(Ordering::Relaxed));
        SubstreamProtocol::new(Offer(offered.map(|accept| accept.protocol.clone()).collect()), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Ask<R>, Self::ToBehaviour>> {
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if let Some(ask) = self.asks.pop_front() {
            self.negotiating += 1;
            let upgrade = ReadyUpgrade::new(ask.protocol.clone());
            let patience = ask.patience.map_or(NEGOTIATION, |patience| patience.min(NEGOTIATION));
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(upgrade, ask).with_timeout(patience),
            });
        }
        if let Poll::Ready(Some(report)) = self.asked.poll_next_unpin(cx) {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        while let Poll::Ready(Some(report)) = self.served.poll_next_unpin(cx) {
            if let Some(report) = report {
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
            }
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, ask: Ask<R>) {
        self.ask(ask);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Offer, Self::OutboundProtocol, (), Ask<R>>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (name, stream), .. }) => {
                let accept = self.accepts.iter().find(|accept| accept.protocol == name);
                if let Some(accept) = accept.filter(|_| self.served.len() < MAX_SERVED) {
                    let (talk, patience) = ((accept.talk)(stream), accept.patience);
                    self.served.push(match patience {
                        None => talk,
                        Some(patience) => {
                            Box::pin(async move { tokio::time::timeout(patience, talk).await.ok().flatten() })
                        }
                    });
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: ask }) => {
                self.negotiating = self.negotiating.saturating_sub(1);
                let talk = (ask.talk)(stream);
                self.asked.push(match ask.patience {
                    None => talk,
                    Some(patience) => {
                        Box::pin(async move { tokio::time::timeout(patience, talk).await.unwrap_or(ask.failed) })
                    }
                });
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: ask, .. }) => {
                self.negotiating = self.negotiating.saturating_sub(1);
                self.reports.push_back(ask.failed);
            }
            _ => {}
        }
    }
}
