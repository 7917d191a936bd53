//! A friend who lies in wait: a DHT node of his own as near as he likes to a slot that only he and his friend can compute,
//! and a list of who came to it, from where, and for what.
//!
//! It is a node as any other to the rest: libp2p, identify, and the DHT's requests, which it answers honestly from what it
//! was given; the little that it takes of Kademlia is written here, since the crate's own does not say for which key
//! somebody asks.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use anyhow::{Context, Result};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, Message, ProtocolSupport};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, Swarm, SwarmBuilder, identify, identity, kad, noise, ping, tcp, yamux};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::lab::Host;
use crate::node::DEADLINE;

/// Identities that are made to find one near the key: with so many it is nearer than any of a few thousand other nodes.
const TRIES: usize = 4096;
/// Longest request that is read.
const MAX_REQUEST: usize = 16 * 1024;

/// What somebody wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To put a record.
    Put,
    /// To have a record.
    Get,
    /// To know who is near a key.
    Find,
}

/// Somebody came.
#[derive(Clone, Debug)]
pub struct Visit {
    /// From where.
    pub from: IpAddr,
    /// For what.
    pub wish: Wish,
    /// For which key, as it was sent.
    pub key: Vec<u8>,
}

/// A running node that lies in wait; it ends with the process.
#[derive(Clone, Debug)]
pub struct Lurker {
    visits: watch::Receiver<Vec<Visit>>,
}

#[derive(NetworkBehaviour)]
struct Parts {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    dht: request_response::Behaviour<Codec>,
}

impl Lurker {
    /// Starts one on a host, near a key, known to the nodes of `bootstrap`.
    pub fn start(host: &Host, near: &[u8; 32], bootstrap: &[String]) -> Result<Self> {
        let own = host.v4().context("a node that others can reach has an address")?;
        let key = identity_near(near);
        let addresses: Vec<Multiaddr> = bootstrap.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let (seen, visits) = watch::channel(Vec::new());
        let namespace = host.namespace().clone();
        std::thread::spawn(move || {
            namespace.inside(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(lie_in_wait(&key, own.into(), &addresses, &seen))
            })
        });
        Ok(Self { visits })
    }

    /// Who came so far.
    pub fn visits(&self) -> Vec<Visit> {
        self.visits.borrow().clone()
    }

    /// Waits until somebody has come as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Visit) -> bool) -> Result<()> {
        let mut visits = self.visits.clone();
        let come = visits.wait_for(|visits| visits.iter().any(&wanted));
        let come = timeout(DEADLINE, come).await.with_context(|| format!("waited in vain for: {what}"))?;
        come.map(drop).context("the node that lies in wait has ended")
    }
}

/// An identity whose place in the DHT is near a key's.
fn identity_near(key: &[u8; 32]) -> identity::Keypair {
    let target = kad::KBucketKey::new(kad::RecordKey::new(key));
    let made = (0..TRIES).map(|_| identity::Keypair::generate_ed25519());
    let distance = |key: &identity::Keypair| target.distance(&kad::KBucketKey::from(key.public().to_peer_id()));
    made.min_by_key(distance).unwrap_or_else(identity::Keypair::generate_ed25519)
}

async fn lie_in_wait(
    key: &identity::Keypair,
    own: IpAddr,
    bootstrap: &[Multiaddr],
    visits: &watch::Sender<Vec<Visit>>,
) -> Result<()> {
    let mut swarm = build(key)?;
    for transport in ["udp/4001/quic-v1", "tcp/4001"] {
        swarm.listen_on(format!("/ip4/{own}/{transport}").parse()?)?;
    }
    for address in bootstrap {
        // Those of a family that the host does not have fail, and do not matter.
        let _ = swarm.dial(address.clone());
    }
    let mut remotes: HashMap<ConnectionId, IpAddr> = HashMap::new();
    let mut records: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { connection_id, endpoint, .. } => {
                let ip = endpoint.get_remote_address().iter().find_map(|part| match part {
                    Protocol::Ip4(ip) => Some(ip.into()),
                    Protocol::Ip6(ip) => Some(ip.into()),
                    _ => None,
                });
                remotes.extend(ip.map(|ip| (connection_id, ip)));
            }
            SwarmEvent::Behaviour(PartsEvent::Dht(request_response::Event::Message {
                connection_id,
                message: Message::Request { request, channel, .. },
                ..
            })) => {
                if let Some(from) = remotes.get(&connection_id) {
                    let visit = Visit { from: *from, wish: request.wish, key: request.key.clone() };
                    visits.send_modify(|visits| visits.push(visit));
                }
                if let (Wish::Put, Some(value)) = (request.wish, &request.value) {
                    records.insert(request.key.clone(), value.clone());
                }
                let value = records.get(&request.key).filter(|_| request.wish != Wish::Find).cloned();
                let _ = swarm.behaviour_mut().dht.send_response(channel, Request { value, ..request });
            }
            _ => {}
        }
    }
}

fn build(key: &identity::Keypair) -> Result<Swarm<Parts>> {
    let swarm = SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_behaviour(|key| Parts {
            identify: identify::Behaviour::new(identify::Config::new("/twocan/1".to_owned(), key.public())),
            ping: ping::Behaviour::default(),
            dht: request_response::Behaviour::with_codec(
                Codec,
                [(StreamProtocol::new("/twocan/kad/1"), ProtocolSupport::Inbound)],
                request_response::Config::default(),
            ),
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(DEADLINE))
        .build();
    Ok(swarm)
}

/// A request of the DHT, and the answer to it: the same with the record that is there.
#[derive(Clone, Debug)]
struct Request {
    wish: Wish,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// Kademlia's messages, as far as a node that knows nobody needs them.
#[derive(Clone, Copy, Debug)]
struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Request;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Request> {
        let length = read_varint(stream).await?;
        if length > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).await?;
        decode(&message).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
    ) -> io::Result<Request> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Request,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        answer: Request,
    ) -> io::Result<()> {
        let message = encode(&answer);
        let mut framed = varint(message.len());
        framed.extend(message);
        stream.write_all(&framed).await?;
        stream.flush().await
    }
}

async fn read_varint<T: AsyncRead + Unpin>(stream: &mut T) -> io::Result<usize> {
    let mut value = 0;
    for index in 0..3 {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        value |= usize::from(byte[0] & 0x7f) << (7 * index);
        if byte[0] & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

/// The fields of a message: number and bytes of each; numbers as their little-endian bytes.
fn fields(mut message: &[u8]) -> Option<Vec<(usize, Vec<u8>)>> {
    fn take_varint(bytes: &mut &[u8]) -> Option<usize> {
        let mut value = 0_usize;
        for index in 0..9 {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= usize::from(first & 0x7f) << (7 * index);
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match tag & 7 {
            0 => found.push((tag >> 3, take_varint(&mut message)?.to_le_bytes().to_vec())),
            2 => {
                let length = take_varint(&mut message)?;
                let (value, rest) = message.split_at_checked(length)?;
                found.push((tag >> 3, value.to_vec()));
                message = rest;
            }
            _ => return None,
        }
    }
    Some(found)
}

/// `Message { type = 1, key = 2, record = 3 { key = 1, value = 2 } }`.
fn decode(message: &[u8]) -> Option<Request> {
    let fields = fields(message)?;
    let of = |fields: &[(usize, Vec<u8>)], wanted| {
        fields.iter().find(|(field, _)| *field == wanted).map(|(_, value)| value.clone())
    };
    let wish = match of(&fields, 1).and_then(|kind| kind.first().copied()).unwrap_or(0) {
        0 => Wish::Put,
        1 => Wish::Get,
        4 => Wish::Find,
        _ => return None,
    };
    let record = of(&fields, 3).and_then(|record| self::fields(&record));
    let key = of(&fields, 2).or_else(|| record.as_ref().and_then(|record| of(record, 1)))?;
    Some(Request { wish, key, value: record.and_then(|record| of(&record, 2)) })
}

fn encode(answer: &Request) -> Vec<u8> {
    fn bytes(out: &mut Vec<u8>, field: usize, value: &[u8]) {
        out.extend(varint(field << 3 | 2));
        out.extend(varint(value.len()));
        out.extend(value);
    }
    let kind = match answer.wish {
        Wish::Put => 0,
        Wish::Get => 1,
        Wish::Find => 4,
    };
    let mut out = vec![0x08, kind];
    bytes(&mut out, 2, &answer.key);
    if let Some(value) = &answer.value {
        let mut record = Vec::new();
        bytes(&mut record, 1, &answer.key);
        bytes(&mut record, 2, value);
        bytes(&mut out, 3, &record);
    }
    out
}
