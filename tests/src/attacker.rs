//! A third party: a swarm and an identity of its own, which keep to the rules only as far as they like.
//!
//! It knows what anybody can know who was given an address: the contact slot, and with it the way to a node.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use twocan_control::Handle;
use twocan_node::links::{self, Ends, Identity, Opened, Target};
use twocan_node::rendezvous::{self, Rendezvous};
use twocan_node::swarm::{self, ConnectionInfo, Event, PutEvent, PutReport, ServerMode, Stream};
use twocan_protocol::address::Address;
use twocan_protocol::gate::Key;
use twocan_protocol::handshake::Purpose;
use twocan_protocol::identity::{Certificate, DeviceKey, FriendshipKey, RootKey};
use twocan_protocol::wire::{ContactMessage, Name, Note, Reply, Request};

use crate::node::{DEADLINE, Node};

/// A running attacker.
pub struct Attacker {
    /// Its place in the network.
    pub swarm: swarm::Handle,
    /// Where others reach it, with its PeerId.
    pub address: String,
    rendezvous: Rendezvous,
}

impl Attacker {
    /// Starts a swarm that knows the given nodes and serves the DHT.
    pub async fn start(bootstrap: &[String]) -> Result<Self> {
        let (swarm, mut events) = swarm::start(swarm::Config {
            listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()],
            bootstrap: bootstrap.to_vec(),
            mdns: false,
            dht_server: ServerMode::On,
            ..Default::default()
        })?;
        let listening = async {
            loop {
                match events.recv().await {
                    Some(Event::Listening(address)) => return Ok(address),
                    Some(_) => {}
                    None => bail!("the attacker's swarm ended"),
                }
            }
        };
        let address = timeout(DEADLINE, listening).await.context("the attacker does not listen")??;
        let address = format!("{}/p2p/{}", address.split("/p2p/").next().unwrap_or_default(), swarm.peer_text());
        // Streams of others are dropped at once.
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        let (rendezvous, mut told) = Rendezvous::start(swarm.clone());
        tokio::spawn(async move { while told.recv().await.is_some() {} });
        Ok(Self { swarm, address, rendezvous })
    }

    /// Waits until DHT nodes are known.
    pub async fn joined(&self) -> Result<()> {
        let mut dht = self.swarm.dht();
        timeout(DEADLINE, dht.wait_for(|view| view.peers > 0)).await.context("no DHT peers")??;
        Ok(())
    }

    /// A new connection to a node.
    pub async fn connect(&self, node: &Node) -> Result<ConnectionInfo> {
        let address = node.bootstrap_address().await?;
        let address = address.split("/p2p/").next().unwrap_or_default().to_owned();
        Ok(self.swarm.dial(vec![address], None, DEADLINE).await?)
    }

    /// A stream to a node on a new connection. A node lets only so many connections of one peer live, and may close
    /// this one because it has not heard yet that an older one is gone: then another is made.
    pub async fn stream(&self, node: &Node) -> Result<(Stream, ConnectionInfo)> {
        let attempts = async {
            loop {
                if let Ok(info) = self.connect(node).await
                    && let Ok(stream) = self.swarm.open(info.connection).await
                {
                    return (stream, info);
                }
            }
        };
        timeout(DEADLINE, attempts).await.context("the node takes no connection")
    }

    /// Both ends of a connection of this attacker.
    pub fn ends(&self, info: &ConnectionInfo) -> Ends {
        Ends::of(self.swarm.peer_id().clone(), info)
    }

    /// What opens a contact stream to the owner of an address: in the DHT for whoever holds it.
    pub async fn contact(&self, node: &Node) -> Result<Target> {
        node.until(|status| status.timings.ready_ms.is_some()).await?;
        self.joined().await?;
        let address: Address = node.api().identity().await?.address.parse()?;
        let mut search = self.rendezvous.find(rendezvous::Target::Contact(address));
        let found = timeout(DEADLINE, search.first()).await?.context("the contact slot was not found")?;
        Ok(Target {
            purpose: Purpose::Contact,
            root: address.root,
            device: found.body.certificate.device,
            gate: Key::contact(&address.root, &address.token),
        })
    }

    /// Asks for contact under the name of person `number`, on a stream of `info`; records what was sent if asked to.
    pub async fn ask(&self, number: u64, target: &Target, stream: Recorder, info: &ConnectionInfo) -> Result<Reply> {
        let identity = identity(number);
        let mut opened = links::open(stream, &self.ends(info), target, &identity).await?;
        let name = Name::clean(&format!("nobody {number}"));
        let request = Request { id: number, name, message: Note::default(), friends: false };
        exchange(&mut opened, request).await
    }

    /// Person `number` opens a link, as a friend of the person whose contact stream `target` opens.
    pub async fn link(&self, number: u64, target: &Target, node: &Node) -> Result<Opened> {
        let friendship = FriendshipKey::of(&root_key(number), &target.root);
        let target = Target { purpose: Purpose::Link, gate: Key::link(&friendship), ..target.clone() };
        let (stream, info) = self.stream(node).await?;
        Ok(links::open(stream, &self.ends(&info), &target, &identity(number)).await?)
    }

    /// Puts a value into the DHT and waits for all answers.
    pub async fn put(&self, key: [u8; 32], value: Vec<u8>) -> Result<PutReport> {
        let (_, mut events) = self.swarm.put(key, value).await?;
        let done = async {
            while let Some(event) = events.recv().await {
                if let PutEvent::Done(report) = event {
                    return Ok(report);
                }
            }
            bail!("a put without an end")
        };
        timeout(DEADLINE, done).await.context("a put takes too long")?
    }
}

/// The root key of person `number`.
fn root_key(number: u64) -> RootKey {
    let mut secret = [0x5a; 32];
    secret[..8].copy_from_slice(&number.to_be_bytes());
    RootKey::from_secret(&secret)
}

async fn exchange(opened: &mut Opened, request: Request) -> Result<Reply> {
    opened.tx.send(ContactMessage::Request(request).encode()?).await?;
    let answer = timeout(DEADLINE, opened.rx.recv()).await?.context("no answer")?;
    match ContactMessage::decode(&answer)? {
        ContactMessage::Reply(reply) => Ok(reply),
        other => bail!("no reply: {other:?}"),
    }
}

/// The identity of person `number`.
fn identity(number: u64) -> Identity {
    let root = root_key(number);
    let device = DeviceKey::from_secret(root.secret());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let certificate = Certificate::issue(&root, device.public(), 0, now, now + 3600);
    Identity { device, certificate, boot: number }
}

/// A stream that keeps a copy of what is written.
#[derive(Debug)]
pub struct Recorder {
    inner: Stream,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// Records what goes over the stream; the second one holds it.
    pub fn new(inner: Stream) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let written = Arc::default();
        (Self { inner, written: Arc::clone(&written) }, written)
    }
}

impl AsyncRead for Recorder {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Task<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.written.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..*count]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Says something on a stream, closes it, and gives back what came before the end, however that came.
pub async fn say(mut stream: Stream, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    let talk = async {
        // A node may close before it has read all.
        if stream.write_all(bytes).await.is_ok() {
            let _ = stream.close().await;
        }
        let _ = stream.read_to_end(&mut answer).await;
    };
    timeout(DEADLINE, talk).await.context("the stream does not end")?;
    Ok(answer)
}

/// Bytes without any sense; the same for the same seed.
pub fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}
