//! The blind hop (`/twocan/hop/1`): a relay looks into the DHT, and puts into it, for a node that waits there for circuits.
//!
//! Some slots only two people can compute, and one of them may be the one from whom the other hides: he can run DHT nodes
//! near the slot's key, and see who puts it and who looks for it. So a hidden node asks neither: its relay does, which
//! knows where the node is anyhow, and learns a key and a sealed record that mean nothing to it.
//!
//! One request on a stream; the answer is copies of the record as they come (for a search), and then how many DHT nodes
//! took it, or answered. Messages are framed like all of libp2p's. What is asked and answered is bounded here and in
//! [`super::actor`]; records are verified by both sides.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
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
use tokio::sync::mpsc;

use super::{
    exchange::{Accept, Ask, Handler},
    protobuf::{self, Malformed, Value, Writer, fields},
    scope::{SourceRange, is_circuit},
    types::{Copy, GetEvent, QueryId},
};

/// The name of the protocol.
const HOP: StreamProtocol = StreamProtocol::new("/twocan/hop/1");
/// Longest message: a record with its key, and room.
const MAX_MESSAGE: usize = 2048;
/// Copies of one search: each is newer than the one before.
const MAX_COPIES: usize = 16;
/// A search takes 10 s at most, a put the same and some requests.
const PATIENCE: Duration = Duration::from_secs(15);
/// Requests that wait for the swarm's task.
const MAX_JOBS: usize = 16;

/// What a relay is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Put this value at this key.
    Put([u8; 32], Vec<u8>),
    /// Tell what lies at this key.
    Get([u8; 32]),
}

/// A part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A copy of the record.
    Copy(Vec<u8>),
    /// The end: so many nodes took the record, or answered.
    Done(u32),
}

/// What the behaviour tells the swarm's task.
#[derive(Debug)]
pub(super) enum Event {
    /// A node asks us.
    Asked {
        /// Who.
        peer: PeerId,
        /// On which connection.
        connection: ConnectionId,
        /// For what.
        request: Request,
        /// Where the answer goes; dropped if we do not want to.
        answers: mpsc::Sender<Answer>,
    },
    /// A relay has done what we asked for, or has not.
    Answered(Report),
}

/// The end of a request of ours.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// What it was for.
    pub(super) query: QueryId,
    /// Who was asked.
    pub(super) hop: PeerId,
    /// So many nodes took the record, or answered; `None` if the relay did not do it.
    pub(super) count: Option<u32>,
}

struct Job {
    peer: PeerId,
    connection: ConnectionId,
    request: Request,
    answers: mpsc::Sender<Answer>,
}

/// Both sides of the protocol.
pub(super) struct Behaviour {
    serving: Arc<AtomicBool>,
    jobs: (mpsc::Sender<Job>, mpsc::Receiver<Job>),
    queue: VecDeque<ToSwarm<Event, Ask<Report>>>,
    waker: Option<Waker>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { serving: Arc::default(), jobs: mpsc::channel(MAX_JOBS), queue: VecDeque::new(), waker: None }
    }
}

impl Behaviour {
    /// Whether others may ask us.
    pub(super) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Asks a relay, on the connection that we have with it. Copies of a search go to `copies` as they come.
    pub(super) fn ask(
        &mut self,
        hop: (PeerId, ConnectionId, Option<SourceRange>),
        query: QueryId,
        request: Request,
        copies: Option<mpsc::Sender<GetEvent>>,
    ) {
        let (peer, connection, range) = hop;
        let failed = Report { query, hop: peer, count: None };
        let report = failed.clone();
        let talk = move |stream| {
            async move {
                let count = request_of(stream, &request, copies, (peer, range)).await.ok();
                Report { count, ..report }
            }
            .boxed()
        };
        let ask = Ask { protocol: HOP, talk: Box::new(talk), failed, patience: Some(PATIENCE) };
        let handler = NotifyHandler::One(connection);
        self.push(ToSwarm::NotifyHandler { peer_id: peer, handler, event: ask });
    }

    fn push(&mut self, event: ToSwarm<Event, Ask<Report>>) {
        self.queue.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn handler(&self, peer: PeerId, connection: ConnectionId, remote: &Multiaddr) -> Handler<Report> {
        // A circuit's other end could be anybody; who waits here for circuits has a connection of his own.
        if is_circuit(remote) {
            return Handler::new(Vec::new());
        }
        let jobs = self.jobs.0.clone();
        Handler::new(vec![Accept {
            protocol: HOP,
            offered: Arc::clone(&self.serving),
            patience: Some(PATIENCE),
            talk: Box::new(move |stream| {
                let jobs = jobs.clone();
                async move { serve(stream, (peer, connection), &jobs).await.ok().and(None) }.boxed()
            }),
        }])
    }
}

/// Our side of a request.
async fn request_of(
    mut stream: Stream,
    request: &Request,
    copies: Option<mpsc::Sender<GetEvent>>,
    (hop, range): (PeerId, Option<SourceRange>),
) -> io::Result<u32> {
    protobuf::send(&mut stream, &encode_request(request)).await?;
    for _ in 0..=MAX_COPIES {
        match decode_answer(&protobuf::receive(&mut stream, MAX_MESSAGE).await?)? {
            Answer::Done(count) => {
                let _ = stream.close().await;
                return Ok(count);
            }
            Answer::Copy(value) => {
                let Some(copies) = &copies else { return Err(Malformed.into()) };
                let from = super::actor::to_ours(&hop);
                if copies.try_send(GetEvent::Copy(Copy { value, from, range })).is_err() && copies.is_closed() {
                    // Nobody wants to know any more.
                    return Ok(0);
                }
            }
        }
    }
    Err(Malformed.into())
}

/// The relay's side: reads a request, has it carried out, and answers.
async fn serve(
    mut stream: Stream,
    (peer, connection): (PeerId, ConnectionId),
    jobs: &mpsc::Sender<Job>,
) -> io::Result<()> {
    let request = decode_request(&protobuf::receive(&mut stream, MAX_MESSAGE).await?)?;
    let (answers, mut coming) = mpsc::channel(MAX_COPIES);
    jobs.try_send(Job { peer, connection, request, answers }).map_err(|_| io::ErrorKind::ResourceBusy)?;
    while let Some(answer) = coming.recv().await {
        protobuf::send(&mut stream, &encode_answer(&answer)).await?;
        if matches!(answer, Answer::Done(_)) {
            break;
        }
    }
    stream.close().await
}

/// `Request { key = 1, value = 2 }`; without a value it is a search.
fn encode_request(request: &Request) -> Writer {
    match request {
        Request::Put(key, value) => Writer::default().bytes(1, key).bytes(2, value),
        Request::Get(key) => Writer::default().bytes(1, key),
    }
}

fn decode_request(message: &[u8]) -> Result<Request, Malformed> {
    let (mut key, mut value) = (None, None);
    for field in fields(message)? {
        match field {
            (1, Value::Bytes(bytes)) => key = <[u8; 32]>::try_from(bytes).ok(),
            (2, Value::Bytes(bytes)) => value = Some(bytes.to_vec()),
            _ => {}
        }
    }
    let key = key.ok_or(Malformed)?;
    Ok(value.map_or(Request::Get(key), |value| Request::Put(key, value)))
}

/// `Answer { copy = 1, count = 2 }`, one of the two.
fn encode_answer(answer: &Answer) -> Writer {
    match answer {
        Answer::Copy(value) => Writer::default().bytes(1, value),
        Answer::Done(count) => Writer::default().number(2, u64::from(*count)),
    }
}

fn decode_answer(message: &[u8]) -> Result<Answer, Malformed> {
    match fields(message)?.first() {
        Some((1, Value::Bytes(value))) => Ok(Answer::Copy(value.to_vec())),
        Some((2, Value::Number(count))) => Ok(Answer::Done(u32::try_from(*count).unwrap_or(u32::MAX))),
        _ => Err(Malformed),
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler<Report>;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection, if is_circuit(local) { local } else { remote }))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection, remote))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, report: THandlerOutEvent<Self>) {
        self.push(ToSwarm::GenerateEvent(Event::Answered(report)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.queue.pop_front() {
            return Poll::Ready(event);
        }
        if let Poll::Ready(Some(Job { peer, connection, request, answers })) = self.jobs.1.poll_recv(cx) {
            return Poll::Ready(ToSwarm::GenerateEvent(Event::Asked { peer, connection, request, answers }));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        for request in [Request::Get([7; 32]), Request::Put([7; 32], vec![9; 1024])] {
            let bytes = encode_request(&request).finish();
            assert!(bytes.len() <= MAX_MESSAGE);
            assert_eq!(decode_request(&bytes), Ok(request));
        }
        for answer in [Answer::Copy(vec![9; 1024]), Answer::Done(20)] {
            assert_eq!(decode_answer(&encode_answer(&answer).finish()), Ok(answer));
        }
        assert_eq!(decode_request(&Writer::default().bytes(1, &[7; 31]).finish()), Err(Malformed));
        assert_eq!(decode_request(&Writer::default().bytes(2, &[7; 32]).finish()), Err(Malformed));
        assert_eq!(decode_answer(&[]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_request(&bytes);
            let _ = decode_answer(&bytes);
        }
    }
}
