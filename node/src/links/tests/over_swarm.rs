//! The same over real streams of the swarm, on both transports: here a closed stream may look different.

use futures::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::swarm::{self, Event, ServerMode, Stream};

struct Node {
    handle: swarm::Handle,
    inbound: mpsc::Receiver<Stream>,
    addresses: Vec<String>,
}

impl Node {
    /// A node on loopback; `person` takes the node's name in the swarm for her own.
    async fn start(person: &mut Person) -> Self {
        let config = swarm::Config {
            listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".into(), "/ip4/127.0.0.1/tcp/0".into()],
            bootstrap: Vec::new(),
            mdns: false,
            dht_server: ServerMode::Off,
            ..Default::default()
        };
        let (handle, mut events) = swarm::start(config).unwrap();
        let mut addresses = Vec::new();
        while addresses.len() < 2 {
            if let Some(Event::Listening(address)) = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap() {
                addresses.push(address);
            }
        }
        let (tell, inbound) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let Event::Inbound(stream) = event
                    && tell.send(stream).await.is_err()
                {
                    return;
                }
            }
        });
        person.peer = handle.peer_id().clone();
        Self { handle, inbound, addresses }
    }

    /// A stream to `other` over the transport whose address contains `transport`, and its other end.
    async fn stream_to(&self, other: &mut Self, transport: &str) -> (Stream, Stream) {
        let address = other.addresses.iter().find(|address| address.contains(transport)).unwrap().clone();
        let both = async {
            let connection = self.handle.dial(vec![address], None, PATIENCE).await.unwrap();
            let mut stream = self.handle.open(connection.connection).await.unwrap();
            // The other side hears of a stream with the first bytes, those of the negotiation at least.
            stream.flush().await.unwrap();
            (stream, other.inbound.recv().await.unwrap())
        };
        tokio::time::timeout(PATIENCE, both).await.unwrap()
    }
}

/// What somebody who sends `bytes` can tell of the answer: what came, and how it ended.
async fn seen(mut stream: Stream, bytes: &[u8]) -> (Vec<u8>, Option<io::ErrorKind>) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    (answer, end.err().map(|error| error.kind()))
}

#[tokio::test]
async fn a_wrong_tag_looks_the_same_on_every_transport() {
    for transport in ["udp", "tcp"] {
        let (mut alice, mut bob, mut eve) = (Person::new(1), Person::new(2), Person::new(3));
        let _alices = Node::start(&mut alice).await;
        let mut bobs = Node::start(&mut bob).await;
        let eves = Node::start(&mut eve).await;
        let acceptor = bob.acceptor();
        let mut answers = Vec::new();
        for table in [bob.table(&[&alice]), GateTable::default()] {
            for opening in [eve.opening(&bob), vec![0; 32]] {
                let (stream, at_bob) = eves.stream_to(&mut bobs, transport).await;
                let ends = Ends::of(bob.peer.clone(), at_bob.info());
                assert_eq!(ends.remote, eve.peer);
                let (seen, accepted) = tokio::join!(seen(stream, &opening), acceptor.accept(at_bob, &ends, &table));
                assert!(accepted.unwrap().is_none());
                answers.push(seen);
            }
        }
        assert_eq!(answers[0], answers[2], "{transport}");
        assert_eq!(answers[1], answers[3], "{transport}");
        assert!(answers.iter().all(|(answer, _)| answer.is_empty()), "{transport}");
    }
}

#[tokio::test]
async fn friends_meet_talk_and_part_on_every_transport() {
    for transport in ["udp", "tcp"] {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        let alices = Node::start(&mut alice).await;
        let mut bobs = Node::start(&mut bob).await;
        let (stream, at_bob) = alices.stream_to(&mut bobs, transport).await;
        let (to_bob, to_alice) =
            (Ends::of(alice.peer.clone(), stream.info()), Ends::of(bob.peer.clone(), at_bob.info()));
        let (target, table, acceptor) = (alice.link_to(&bob), bob.table(&[&alice]), bob.acceptor());
        let both = async {
            tokio::join!(open(stream, &to_bob, &target, &alice.identity), acceptor.accept(at_bob, &to_alice, &table))
        };
        let (a, b) = tokio::time::timeout(PATIENCE, both).await.unwrap();
        let (mut a, mut b) = (a.unwrap(), b.unwrap().unwrap());
        for n in 0..10 {
            a.tx.send(vec![n; LINK_FRAME_MAX]).await.unwrap();
            assert_eq!(received(&mut b).await.unwrap(), vec![n; LINK_FRAME_MAX]);
            b.tx.send(vec![n; 100]).await.unwrap();
            assert_eq!(received(&mut a).await.unwrap(), vec![n; 100]);
        }
        // What is queued arrives before the end does.
        b.tx.try_send(b"last words".to_vec()).unwrap();
        let Opened { tx, rx, ended, .. } = b;
        drop((tx, rx));
        assert_eq!(received(&mut a).await.unwrap(), b"last words");
        assert_eq!(end_of(a).await, Ended::There, "{transport}");
        assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap(), Ended::Here, "{transport}");
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so_on_every_transport() {
    for transport in ["udp", "tcp"] {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        let alices = Node::start(&mut alice).await;
        let mut bobs = Node::start(&mut bob).await;
        let (stream, at_bob) = alices.stream_to(&mut bobs, transport).await;
        let (to_bob, to_alice) =
            (Ends::of(alice.peer.clone(), stream.info()), Ends::of(bob.peer.clone(), at_bob.info()));
        let (target, table, acceptor) = (alice.link_to(&bob), GateTable::default(), bob.acceptor());
        let (at_alice, at_bob) =
            tokio::join!(open(stream, &to_bob, &target, &alice.identity), acceptor.accept(at_bob, &to_alice, &table));
        assert_eq!(at_alice.unwrap_err(), LinkError::NotAdmitted, "{transport}");
        assert!(at_bob.unwrap().is_none());
    }
}
