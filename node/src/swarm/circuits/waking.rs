//! A connection handler whose connection is asked again whether it is still needed.
//!
//! The relay server's handler (libp2p-relay 0.22) says that it needs a connection for ten seconds after it last carried a
//! reservation, but wakes nobody when they are over. The swarm asks only when something happens: a connection on which
//! nothing more does is asked within the ten seconds for the last time, and stays open for good. This wrapper wakes it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol, handler::ConnectionEvent};
use tokio::time::{Instant, Sleep, sleep};

/// While the inner handler needs its connection, it is asked this often: a little later than it stops to without a
/// reservation. With one, that is a wake-up in ten seconds.
const ASK: Duration = Duration::from_millis(10_100);

/// `H`, asked again from time to time.
pub(in crate::swarm) struct Waking<H> {
    inner: H,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<H> Waking<H> {
    pub(super) fn new(inner: H) -> Self {
        Self { inner, timer: None }
    }
}

impl<H: ConnectionHandler> ConnectionHandler for Waking<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Poll::Ready(event) = self.inner.poll(cx) {
            return Poll::Ready(event);
        }
        if self.inner.connection_keep_alive() {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(ASK)));
            while timer.as_mut().poll(cx).is_ready() {
                timer.as_mut().reset(Instant::now() + ASK);
            }
        } else {
            self.timer = None;
        }
        Poll::Pending
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx)
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
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
        self.inner.on_connection_event(event);
    }
}
