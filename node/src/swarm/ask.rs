//! Requests to other DHT nodes, one stream each: Kademlia's messages as far as a node that asks needs them.
//!
//! The crate's Kademlia answers others and keeps the routing table; its own queries take whoever is nearest, even if all
//! of them are one machine. So lookups are ours ([`crate::dht`]), and this is how they ask. The messages are those of
//! libp2p's specification (kad-dht/README.md), read by hand: whatever a node sends, it is bounded before it is looked at.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{Multiaddr, PeerId, StreamProtocol, request_response};

use super::{
    dht::{KAD_PROTOCOL, MAX_PACKET, REQUEST_TIMEOUT},
    store::MAX_LIFE,
};
use crate::dht::K;

/// Requests that may be under way on one connection.
const MAX_STREAMS: usize = 32;
/// Addresses of one node that are looked at.
const MAX_ADDRESSES: usize = 8;
/// Kinds of messages.
const PUT_VALUE: u64 = 0;
const GET_VALUE: u64 = 1;
const FIND_NODE: u64 = 4;

/// The behaviour that carries requests.
pub(super) type Behaviour = request_response::Behaviour<Codec>;
/// What it reports.
pub(super) type Event = request_response::Event<Request, Response>;

/// What a node is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Who is near the hash of these bytes?
    FindNode([u8; 32]),
    /// What lies at this key, and who is near it?
    GetValue([u8; 32]),
    /// Keep this record.
    PutValue([u8; 32], Vec<u8>),
}

/// What it says. Nothing in it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    /// Key and value of a record.
    pub(super) record: Option<(Vec<u8>, Vec<u8>)>,
    /// Nodes near the key, at most [`K`] with a few addresses each.
    pub(super) closer: Vec<(PeerId, Vec<Multiaddr>)>,
}

/// The behaviour for one swarm; it asks only.
pub(super) fn behaviour() -> Behaviour {
    let config = request_response::Config::default()
        .with_request_timeout(REQUEST_TIMEOUT)
        .with_max_concurrent_streams(MAX_STREAMS);
    Behaviour::with_codec(Codec, [(KAD_PROTOCOL, request_response::ProtocolSupport::Outbound)], config)
}

/// Kademlia's messages on a stream: an unsigned varint for the length, then the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
    ) -> io::Result<Request> {
        Err(malformed("requests are answered elsewhere"))
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Response> {
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            if length > MAX_PACKET || shift > 14 {
                return Err(malformed("an answer is too long"));
            }
            if byte[0] & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        let mut message = vec![0; length];
        stream.read_exact(&mut message).await?;
        decode(&message).ok_or_else(|| malformed("an answer is malformed"))
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        request: Request,
    ) -> io::Result<()> {
        let message = encode(&request);
        let mut framed = Vec::with_capacity(message.len() + 3);
        put_varint(&mut framed, message.len() as u64);
        framed.extend(message);
        stream.write_all(&framed).await?;
        stream.flush().await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Response,
    ) -> io::Result<()> {
        Err(malformed("requests are answered elsewhere"))
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// `Message { type = 1, key = 2, record = 3 { key = 1, value = 2, ttl = 777 }, clusterLevelRaw = 10 }`.
fn encode(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    let mut head = |kind: u64, key: &[u8; 32]| {
        put_number(&mut out, 1, kind);
        put_bytes(&mut out, 2, key);
    };
    match request {
        Request::FindNode(key) => head(FIND_NODE, key),
        Request::GetValue(key) => head(GET_VALUE, key),
        Request::PutValue(key, value) => {
            head(PUT_VALUE, key);
            let mut record = Vec::with_capacity(value.len() + 48);
            put_bytes(&mut record, 1, key);
            put_bytes(&mut record, 2, value);
            put_number(&mut record, 777, MAX_LIFE.as_secs());
            put_bytes(&mut out, 3, &record);
        }
    }
    put_number(&mut out, 10, 10);
    out
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3);
    put_varint(out, value);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads an answer; nodes with an id or an address that means nothing are left out.
fn decode(message: &[u8]) -> Option<Response> {
    let mut response = Response::default();
    for field in Fields(message) {
        match field? {
            (3, record) => {
                let (mut key, mut value) = (Vec::new(), Vec::new());
                for field in Fields(record) {
                    match field? {
                        (1, bytes) => key = bytes.to_vec(),
                        (2, bytes) => value = bytes.to_vec(),
                        _ => {}
                    }
                }
                response.record = Some((key, value));
            }
            (8, node) if response.closer.len() < K => {
                let (mut peer, mut addresses) = (None, Vec::new());
                for field in Fields(node) {
                    match field? {
                        (1, bytes) => peer = PeerId::from_bytes(bytes).ok(),
                        (2, bytes) if addresses.len() < MAX_ADDRESSES => {
                            addresses.extend(Multiaddr::try_from(bytes.to_vec()).ok());
                        }
                        _ => {}
                    }
                }
                response.closer.extend(peer.map(|peer| (peer, addresses)));
            }
            _ => {}
        }
    }
    Some(response)
}

/// The fields of a message that hold bytes; numbers are skipped, and what cannot be read ends it with `None`.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let field = read_field(&mut self.0);
            match field {
                None => self.0 = &[],
                Some((_, None)) => continue,
                Some(_) => {}
            }
            return Some(field.and_then(|(number, bytes)| Some((number, bytes?))));
        }
        None
    }
}

fn read_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let tag = read_varint(rest)?;
    let skip = match tag & 7 {
        0 => {
            read_varint(rest)?;
            return Some((tag >> 3, None));
        }
        1 => 8,
        5 => 4,
        2 => usize::try_from(read_varint(rest)?).ok()?,
        _ => return None,
    };
    let (bytes, tail) = rest.split_at_checked(skip)?;
    *rest = tail;
    Some((tag >> 3, (tag & 7 == 2).then_some(bytes)))
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(nodes: usize, addresses: usize) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, 1, GET_VALUE);
        let mut record = Vec::new();
        put_bytes(&mut record, 1, b"key");
        put_bytes(&mut record, 2, b"value");
        put_bytes(&mut record, 5, b"now");
        put_bytes(&mut out, 3, &record);
        for _ in 0..nodes {
            let mut node = Vec::new();
            put_bytes(&mut node, 1, &PeerId::random().to_bytes());
            for port in 0..addresses {
                let address: Multiaddr = format!("/ip4/9.9.9.9/tcp/{port}").parse().unwrap();
                put_bytes(&mut node, 2, &address.to_vec());
            }
            put_bytes(&mut node, 2, b"no address");
            put_number(&mut node, 3, 1);
            put_bytes(&mut out, 8, &node);
        }
        put_bytes(&mut out, 8, &[0x0a, 2, 1, 2]);
        out
    }

    #[test]
    fn an_answer_is_read_within_bounds_however_much_it_says() {
        let few = decode(&answer(2, 3)).unwrap();
        assert_eq!(few.record, Some((b"key".to_vec(), b"value".to_vec())));
        assert_eq!(few.closer.iter().map(|(_, addresses)| addresses.len()).collect::<Vec<_>>(), [3, 3]);
        let many = decode(&answer(100, 30)).unwrap();
        assert_eq!(many.closer.len(), K);
        assert!(many.closer.iter().all(|(_, addresses)| addresses.len() == MAX_ADDRESSES));
    }

    #[test]
    fn requests_have_the_fields_of_the_specification() {
        let found: Vec<_> = Fields(&encode(&Request::FindNode([7; 32]))).map(|field| field.unwrap().0).collect();
        assert_eq!(found, [2]);
        let put = encode(&Request::PutValue([7; 32], vec![1; 1024]));
        let read = decode(&put).unwrap();
        assert_eq!(read.record, Some((vec![7; 32], vec![1; 1024])));
        assert_eq!(put[..2], [0x08, 0]);
        assert!(put.ends_with(&[0x50, 10]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_damaged_answer_stays_within_bounds(at in 0..600_usize, value: u8) {
            let mut bytes = answer(5, 2);
            let at = at % bytes.len();
            bytes[at] = value;
            if let Some(response) = decode(&bytes) {
                prop_assert!(response.closer.len() <= K);
            }
        }
    }
}
