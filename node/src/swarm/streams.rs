//! The stream protocol of twocan, as a behaviour of our own.
//!
//! libp2p-stream opens a stream on whichever connection it likes; a link has to know on which path it runs and has to
//! be able to choose. Here a stream is opened on one given connection, several can be negotiated at once, inbound ones
//! are bounded per connection in number and rate, and a connection lives as long as one of its streams (the swarm sees
//! to that: none of our streams is exempt from its keep-alive count).

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Sleep, sleep},
};

use super::limits::{Bucket, Rate};

/// The one protocol of twocan streams; a gate tag inside says what a stream is for.
pub(super) const PEER_PROTOCOL: StreamProtocol = StreamProtocol::new("/twocan/peer/1");
/// Inbound streams that one connection may have open: a link, a contact, and room for what comes.
pub(super) const MAX_INBOUND_PER_CONNECTION: usize = 8;
/// Outbound streams that may be in negotiation on one connection.
const MAX_OPENING_PER_CONNECTION: usize = 16;
/// How long a stream may take to open, and then the other side to say the first word on it once that is waited for. Whoever
/// is silent for longer is probably gone.
const NEGOTIATION: Duration = Duration::from_secs(4);
/// Rate of new inbound streams on one connection.
const INBOUND_RATE: Rate = Rate { burst: 16.0, per_second: 2.0 };

/// Why a stream could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The other side does not speak our protocol.
    #[error("the other node does not speak /twocan/peer/1")]
    Unsupported,
    /// The connection is closed, or closed meanwhile.
    #[error("the connection is closed")]
    Closed,
    /// Too many streams are being opened on this connection.
    #[error("too many streams are being opened on this connection")]
    Busy,
    /// The other side did not answer in time.
    #[error("the other node did not answer in time")]
    Timeout,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(String),
}

pub(super) type OpenReply = oneshot::Sender<Result<RawStream, OpenError>>;

/// A stream; an inbound one gives its place back when dropped. An outbound one is open before the other side has agreed
/// to it (the agreement, or a refusal, is read before the first byte), so it minds that anything comes back at all.
#[derive(Debug)]
pub(super) struct RawStream {
    inner: libp2p::Stream,
    _place: Option<Arc<()>>,
    first_word: Option<FirstWord>,
}

/// Until the other side has said anything on a stream.
#[derive(Debug)]
struct FirstWord {
    /// Since when it is waited for.
    due: Option<Pin<Box<Sleep>>>,
    silent: mpsc::Sender<()>,
}

impl AsyncRead for RawStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(cx, buffer) {
            this.first_word = None;
            return Poll::Ready(read);
        }
        if let Some(first_word) = &mut this.first_word
            && first_word.due.get_or_insert_with(|| Box::pin(sleep(NEGOTIATION))).as_mut().poll(cx).is_ready()
        {
            // If the handler has not taken the last word of this kind, it need not hear another.
            let _ = first_word.silent.try_send(());
            this.first_word = None;
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncWrite for RawStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// What the behaviour reports.
#[derive(Debug)]
pub(super) enum Event {
    /// The other side opened a stream.
    Inbound { connection: ConnectionId, stream: RawStream },
    /// Nothing came back on a stream of ours: the connection may be dead, though nothing else says so yet.
    Silent { connection: ConnectionId },
}

/// What the handler of one connection reports.
#[derive(Debug)]
pub(super) enum Report {
    Inbound(RawStream),
    Silent,
}

/// Opens and accepts streams of [`PEER_PROTOCOL`].
#[derive(Default)]
pub(super) struct Behaviour {
    queue: VecDeque<ToSwarm<Event, Open>>,
    waker: Option<Waker>,
}

/// Asks the handler of one connection for a stream.
#[derive(Debug)]
pub(super) struct Open(OpenReply);

impl Behaviour {
    /// Opens a stream on `connection`; the answer is [`OpenError::Closed`] (by dropping) if there is no such one.
    pub(super) fn open(&mut self, peer: PeerId, connection: ConnectionId, reply: OpenReply) {
        self.push(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: Open(reply),
        });
    }

    fn push(&mut self, event: ToSwarm<Event, Open>) {
        self.queue.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(Instant::now()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(Instant::now()))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, connection: ConnectionId, report: THandlerOutEvent<Self>) {
        self.push(ToSwarm::GenerateEvent(match report {
            Report::Inbound(stream) => Event::Inbound { connection, stream },
            Report::Silent => Event::Silent { connection },
        }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.queue.pop_front() {
            return Poll::Ready(event);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The streams of one connection.
pub(super) struct Handler {
    requested: VecDeque<OpenReply>,
    opening: usize,
    reports: VecDeque<Report>,
    silent: (mpsc::Sender<()>, mpsc::Receiver<()>),
    places: Arc<()>,
    inbound: Bucket,
}

impl Handler {
    fn new(now: Instant) -> Self {
        Self {
            requested: VecDeque::new(),
            opening: 0,
            reports: VecDeque::new(),
            silent: mpsc::channel(1),
            places: Arc::new(()),
            inbound: Bucket::full(INBOUND_RATE, now),
        }
    }

    fn accept(&mut self, inner: libp2p::Stream) {
        let live = Arc::strong_count(&self.places) - 1;
        if live >= MAX_INBOUND_PER_CONNECTION || !self.inbound.take(INBOUND_RATE, Instant::now()) {
            tracing::debug!(live, "stream refused: too many on this connection");
            return;
        }
        let stream = RawStream { inner, _place: Some(Arc::clone(&self.places)), first_word: None };
        self.reports.push_back(Report::Inbound(stream));
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenReply;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PEER_PROTOCOL), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if self.silent.1.poll_recv(cx).is_ready() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Report::Silent));
        }
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if let Some(reply) = self.requested.pop_front() {
            self.opening += 1;
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(ReadyUpgrade::new(PEER_PROTOCOL), reply).with_timeout(NEGOTIATION),
            });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, Open(reply): Self::FromBehaviour) {
        if self.requested.len() + self.opening >= MAX_OPENING_PER_CONNECTION {
            let _ = reply.send(Err(OpenError::Busy));
        } else {
            self.requested.push_back(reply);
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => self.accept(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.opening = self.opening.saturating_sub(1);
                let first_word = Some(FirstWord { due: None, silent: self.silent.0.clone() });
                let _ = info.send(Ok(RawStream { inner: protocol, _place: None, first_word }));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                self.opening = self.opening.saturating_sub(1);
                let _ = info.send(Err(match error {
                    StreamUpgradeError::Timeout => {
                        self.reports.push_back(Report::Silent);
                        OpenError::Timeout
                    }
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Io(error) => OpenError::Io(error.to_string()),
                    StreamUpgradeError::Apply(never) => never_happens(never),
                }));
            }
            _ => {}
        }
    }
}

/// Turns the error of an upgrade that cannot fail into any type.
fn never_happens<T>(never: Infallible) -> T {
    match never {}
}
