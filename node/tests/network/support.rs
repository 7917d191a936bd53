//! Nodes for these tests, and waiting with a deadline.

use std::{future::Future, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::mpsc;
use twocan_node::swarm::{self, Config, Event, GetEvent, Handle, PutEvent, PutReport, ServerMode};
use twocan_protocol::{
    identity::{Certificate, DeviceKey, PeerId, RootKey},
    rendezvous::{Body, Publisher},
};

/// Nothing in these tests takes longer on a busy machine; what does has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `future`, and fails with `what` at the deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// A running swarm on loopback.
pub(crate) struct Node {
    pub(crate) handle: Handle,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) addresses: Vec<String>,
}

impl Node {
    /// Starts a node that listens on loopback over QUIC and TCP and knows the nodes at `bootstrap`.
    pub(crate) async fn start(bootstrap: &[String], dht_server: ServerMode) -> Self {
        Self::with(Config { bootstrap: bootstrap.to_vec(), dht_server, ..Config::default() }).await
    }

    /// Starts a node that listens on loopback over QUIC and TCP.
    pub(crate) async fn with(config: Config) -> Self {
        let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".into(), "/ip4/127.0.0.1/tcp/0".into()];
        let (handle, mut events) = swarm::start(Config { listen, ..config }).unwrap();
        let mut addresses = Vec::new();
        while addresses.len() < 2 {
            if let Some(Event::Listening(address)) = within("listening", events.recv()).await {
                addresses.push(address);
            }
        }
        Self { handle, events, addresses }
    }

    /// A server that knows nobody yet.
    pub(crate) async fn first() -> Self {
        Self::start(&[], ServerMode::On).await
    }

    pub(crate) fn quic(&self) -> String {
        self.addresses.iter().find(|address| address.contains("quic")).unwrap().clone()
    }

    pub(crate) fn tcp(&self) -> String {
        self.addresses.iter().find(|address| address.contains("tcp")).unwrap().clone()
    }

    /// Waits until the routing table has at least `peers` nodes.
    pub(crate) async fn knows(&self, peers: usize) {
        let mut dht = self.handle.dht();
        within("DHT peers", dht.wait_for(|view| view.peers >= peers)).await.unwrap();
    }

    /// The next event that `wanted` takes.
    pub(crate) async fn event<T>(&mut self, what: &str, wanted: impl FnMut(Event) -> Option<T>) -> T {
        self.event_in(DEADLINE, what, wanted).await
    }

    /// The same, for what takes longer.
    pub(crate) async fn event_in<T>(
        &mut self,
        deadline: Duration,
        what: &str,
        mut wanted: impl FnMut(Event) -> Option<T>,
    ) -> T {
        let next = async {
            loop {
                let event = self.events.recv().await.expect("the swarm runs");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(deadline, next).await.unwrap_or_else(|_| panic!("not in time: {what}"))
    }

    /// Puts a record and waits for all answers.
    pub(crate) async fn put(&self, key: [u8; 32], value: Vec<u8>) -> PutReport {
        let (_, mut events) = self.handle.put(key, value).await.unwrap();
        within("put", async {
            loop {
                if let Some(PutEvent::Done(report)) = events.recv().await {
                    return report;
                }
            }
        })
        .await
    }

    /// All copies at `key` that come from other nodes.
    pub(crate) async fn copies(&self, key: [u8; 32]) -> Vec<Vec<u8>> {
        let mut get = self.handle.get(key).await.unwrap();
        let mut copies = Vec::new();
        within("get", async {
            while let Some(GetEvent::Copy(copy)) = get.next().await {
                if copy.from.is_some() {
                    copies.push(copy.value);
                }
            }
        })
        .await;
        copies
    }
}

/// `count` servers that all know each other.
pub(crate) async fn network(count: usize) -> Vec<Node> {
    let mut nodes = vec![Node::first().await];
    for _ in 1..count {
        let known: Vec<String> = nodes.iter().map(Node::quic).collect();
        nodes.push(Node::start(&known, ServerMode::On).await);
    }
    for node in &nodes {
        node.knows(count - 1).await;
    }
    nodes
}

/// A root key for tests, by number.
pub(crate) fn root(number: u8) -> RootKey {
    RootKey::from_secret(&[number; 32])
}

/// Randomness that is the same in each run.
pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

/// What `owner` says of itself.
pub(crate) fn body(owner: &RootKey, peer: &PeerId, lan: Vec<String>) -> Body {
    let device = DeviceKey::from_secret(owner.secret()).public();
    Body {
        certificate: Certificate::issue(owner, device, 0, 0, u64::MAX),
        peer_id: peer.clone(),
        direct: Vec::new(),
        lan,
        relayed: Vec::new(),
        expires_ms: u64::MAX,
    }
}

/// A record of a slot, and its key.
pub(crate) fn record(publisher: &Publisher, sequence: u64, body: &Body) -> ([u8; 32], Vec<u8>) {
    (*publisher.key.as_bytes(), publisher.record(sequence, body, &mut rng(sequence)).unwrap())
}

/// A UDP path to the QUIC address `target` that can be cut; returns its own address.
pub(crate) async fn path_to(target: &str) -> (String, tokio::task::JoinHandle<()>) {
    let port = target.split('/').nth(4).unwrap();
    let front = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    back.connect(format!("127.0.0.1:{port}")).await.unwrap();
    let address = format!("/ip4/127.0.0.1/udp/{}/quic-v1", front.local_addr().unwrap().port());
    let task = tokio::spawn(async move {
        let (mut there, mut here) = ([0; 2048], [0; 2048]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((size, from)) = front.recv_from(&mut there) => {
                    client = Some(from);
                    let _ = back.send(&there[..size]).await;
                }
                Ok(size) = back.recv(&mut here) => if let Some(client) = client {
                    let _ = front.send_to(&here[..size], client).await;
                },
            }
        }
    });
    (address, task)
}
