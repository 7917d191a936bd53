//! Requests to other DHT nodes, one stream each: Kademlia's messages as far as a node that asks needs them.
//!
//! The crate's Kademlia answers others and keeps the routing table; its own queries take whoever is nearest, even if all
//! of them are one machine. So lookups are ours ([`crate::dht`]), and this is how they ask. The messages are those of
//! libp2p's specification (kad-dht/README.md); whatever a node sends, it is bounded before it is looked at.

use std::io;

use futures::{AsyncRead, AsyncWrite};
use libp2p::{Multiaddr, PeerId, StreamProtocol, request_response};

use super::{
    dht::{KAD_PROTOCOL, MAX_PACKET, REQUEST_TIMEOUT},
    protobuf::{Malformed, Value, Writer, fields, receive, send},
};
use crate::dht::{K, MAX_LIFE};

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
        Err(Malformed.into())
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
    ) -> io::Result<Response> {
        Ok(decode(&receive(stream, MAX_PACKET).await?)?)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        stream: &mut T,
        request: Request,
    ) -> io::Result<()> {
        send(stream, &encode(&request)).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Response,
    ) -> io::Result<()> {
        Err(Malformed.into())
    }
}

/// `Message { type = 1, key = 2, record = 3 { key = 1, value = 2, ttl = 777 }, clusterLevelRaw = 10 }`.
fn encode(request: &Request) -> Writer {
    let head = |kind: u64, key: &[u8; 32]| Writer::default().number(1, kind).bytes(2, key);
    let message = match request {
        Request::FindNode(key) => head(FIND_NODE, key),
        Request::GetValue(key) => head(GET_VALUE, key),
        Request::PutValue(key, value) => {
            let record = Writer::default().bytes(1, key).bytes(2, value).number(777, MAX_LIFE.as_secs());
            head(PUT_VALUE, key).bytes(3, &record.finish())
        }
    };
    message.number(10, 10)
}

/// Reads an answer; nodes with an id or an address that means nothing are left out.
fn decode(message: &[u8]) -> Result<Response, Malformed> {
    let mut response = Response::default();
    for field in fields(message)? {
        match field {
            (3, Value::Bytes(record)) => {
                let (mut key, mut value) = (Vec::new(), Vec::new());
                for field in fields(record)? {
                    match field {
                        (1, Value::Bytes(bytes)) => key = bytes.to_vec(),
                        (2, Value::Bytes(bytes)) => value = bytes.to_vec(),
                        _ => {}
                    }
                }
                response.record = Some((key, value));
            }
            (8, Value::Bytes(node)) if response.closer.len() < K => {
                let (mut peer, mut addresses) = (None, Vec::new());
                for field in fields(node)? {
                    match field {
                        (1, Value::Bytes(bytes)) => peer = PeerId::from_bytes(bytes).ok(),
                        (2, Value::Bytes(bytes)) if addresses.len() < MAX_ADDRESSES => {
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
    Ok(response)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(nodes: usize, addresses: usize) -> Vec<u8> {
        let record = Writer::default().bytes(1, b"key").bytes(2, b"value").bytes(5, b"now").finish();
        let mut out = Writer::default().number(1, GET_VALUE).bytes(3, &record);
        for _ in 0..nodes {
            let mut node = Writer::default().bytes(1, &PeerId::random().to_bytes());
            for port in 0..addresses {
                let address: Multiaddr = format!("/ip4/9.9.9.9/tcp/{port}").parse().unwrap();
                node = node.bytes(2, &address.to_vec());
            }
            out = out.bytes(8, &node.bytes(2, b"no address").number(3, 1).finish());
        }
        out.bytes(8, &Writer::default().bytes(1, &[1, 2]).finish()).finish()
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
        let find = encode(&Request::FindNode([7; 32])).finish();
        let expected = [(1, Value::Number(FIND_NODE)), (2, Value::Bytes(&[7; 32])), (10, Value::Number(10))];
        assert_eq!(fields(&find).unwrap(), expected);
        let put = encode(&Request::PutValue([7; 32], vec![1; 1024])).finish();
        assert_eq!(decode(&put).unwrap().record, Some((vec![7; 32], vec![1; 1024])));
        assert_eq!(put[..2], [0x08, 0]);
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
            if let Ok(response) = decode(&bytes) {
                prop_assert!(response.closer.len() <= K);
            }
        }
    }
}
