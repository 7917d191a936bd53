//! What a record says, before it is sealed: who speaks, under which PeerId, and at which network addresses.

use std::fmt;

use super::record::BODY_LEN;
use crate::{
    identity::{CERTIFICATE_LEN, Certificate, CertificateError, PeerId},
    limits::{ADDRESSES_PER_KIND_MAX, MULTIADDR_MAX, PEER_ID_MAX},
};

/// Format version of a body, its first byte.
const VERSION: u8 = 1;

/// Where a node is, said by its owner. Addresses are multiaddr texts, best first.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// The device that is there.
    pub certificate: Certificate,
    /// Its name in the swarm, for this start.
    pub peer_id: PeerId,
    /// Addresses that answer from anywhere.
    pub direct: Vec<String>,
    /// Addresses on its local networks (or loopback).
    pub lan: Vec<String>,
    /// Addresses through relays.
    pub relayed: Vec<String>,
    /// Until when to believe this (Unix ms).
    pub expires_ms: u64,
}

impl fmt::Debug for Body {
    /// Numbers only: addresses of friends stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.direct.len(), self.lan.len(), self.relayed.len());
        write!(f, "Body({:?}, {:?}, {counts:?} addresses)", self.certificate.root, self.peer_id)
    }
}

/// Why a body cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Of a later version.
    #[error("record body of unknown version {0}")]
    Version(u8),
    /// Lengths or text that cannot be.
    #[error("record body is malformed")]
    Malformed,
    /// The certificate in it does not count.
    #[error("record body: {0}")]
    Certificate(#[from] CertificateError),
    /// It does not fit a record: see [`Body::fit`].
    #[error("too many or too long addresses for one record")]
    TooLarge,
}

impl Body {
    /// Drops what no reader would accept (no multiaddr text, too long, too many) and then, until the rest fits a
    /// record, the last address of the longest list.
    pub fn fit(&mut self) {
        for list in [&mut self.direct, &mut self.lan, &mut self.relayed] {
            list.retain(|address| is_multiaddr_text(address));
            list.truncate(ADDRESSES_PER_KIND_MAX);
        }
        while self.size() > BODY_LEN {
            let lists = [&mut self.direct, &mut self.lan, &mut self.relayed];
            let Some(longest) = lists.into_iter().max_by_key(|list| list.iter().map(String::len).sum::<usize>()) else {
                return;
            };
            if longest.pop().is_none() {
                return;
            }
        }
    }

    /// `u8 version = 1 | certificate 149 | expires u64 | u8 length, PeerId | three lists: u8 count, each u8 length and
    /// text | zeroes up to the fixed size`.
    pub(super) fn encode(&self) -> Result<[u8; BODY_LEN], BodyError> {
        if self.size() > BODY_LEN {
            return Err(BodyError::TooLarge);
        }
        let mut out = Vec::with_capacity(BODY_LEN);
        out.push(VERSION);
        out.extend_from_slice(&self.certificate.encode());
        out.extend_from_slice(&self.expires_ms.to_be_bytes());
        push_short(&mut out, self.peer_id.as_bytes())?;
        for list in [&self.direct, &self.lan, &self.relayed] {
            if list.len() > ADDRESSES_PER_KIND_MAX || !list.iter().all(|address| is_multiaddr_text(address)) {
                return Err(BodyError::TooLarge);
            }
            out.push(u8::try_from(list.len()).map_err(|_| BodyError::TooLarge)?);
            for address in list {
                push_short(&mut out, address.as_bytes())?;
            }
        }
        out.resize(BODY_LEN, 0);
        out.try_into().map_err(|_| BodyError::TooLarge)
    }

    /// Reads a body. What follows the lists is ignored: later versions may put more there.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let mut rest = bytes;
        let version = take(&mut rest, 1)?[0];
        if version != VERSION {
            return Err(BodyError::Version(version));
        }
        let certificate = Certificate::decode(take(&mut rest, CERTIFICATE_LEN)?)?;
        let expires_ms = u64::from_be_bytes(take(&mut rest, 8)?.try_into().map_err(|_| BodyError::Malformed)?);
        let peer_id = take_short(&mut rest, PEER_ID_MAX)?;
        let peer_id = PeerId::from_bytes(peer_id).map_err(|_| BodyError::Malformed)?;
        let mut list = || -> Result<Vec<String>, BodyError> {
            let count = usize::from(take(&mut rest, 1)?[0]);
            if count > ADDRESSES_PER_KIND_MAX {
                return Err(BodyError::Malformed);
            }
            (0..count)
                .map(|_| {
                    let text = std::str::from_utf8(take_short(&mut rest, MULTIADDR_MAX)?);
                    let text = text.ok().filter(|text| is_multiaddr_text(text));
                    text.map(str::to_owned).ok_or(BodyError::Malformed)
                })
                .collect()
        };
        Ok(Self { certificate, peer_id, direct: list()?, lan: list()?, relayed: list()?, expires_ms })
    }

    fn size(&self) -> usize {
        let lists = [&self.direct, &self.lan, &self.relayed];
        let lists: usize = lists.iter().map(|list| 1 + list.iter().map(|text| 1 + text.len()).sum::<usize>()).sum();
        1 + CERTIFICATE_LEN + 8 + 1 + self.peer_id.as_bytes().len() + lists
    }
}

/// A slash, then visible ASCII, within the bound. Whether it means anything is for the swarm to find out.
pub(crate) fn is_multiaddr_text(text: &str) -> bool {
    text.len() <= MULTIADDR_MAX && text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn push_short(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), BodyError> {
    out.push(u8::try_from(bytes.len()).map_err(|_| BodyError::TooLarge)?);
    out.extend_from_slice(bytes);
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], BodyError> {
    let (head, tail) = rest.split_at_checked(count).ok_or(BodyError::Malformed)?;
    *rest = tail;
    Ok(head)
}

fn take_short<'a>(rest: &mut &'a [u8], most: usize) -> Result<&'a [u8], BodyError> {
    let length = usize::from(take(rest, 1)?[0]);
    if length > most {
        return Err(BodyError::Malformed);
    }
    take(rest, length)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::{DeviceKey, RootKey};

    pub(in super::super) fn body_of(root: &RootKey) -> Body {
        let certificate = Certificate::issue(root, DeviceKey::from_secret(&[7; 32]).public(), 0, 1, u64::MAX);
        Body {
            certificate,
            peer_id: PeerId::from_bytes(&[9; 38]).unwrap(),
            direct: vec!["/ip4/203.0.113.7/udp/4001/quic-v1".to_owned()],
            lan: vec!["/ip4/192.168.1.2/udp/4001/quic-v1".to_owned(), "/ip4/192.168.1.2/tcp/4001".to_owned()],
            relayed: Vec::new(),
            expires_ms: 1_800_000_000_000,
        }
    }

    #[test]
    fn a_body_reads_back() {
        let body = body_of(&RootKey::from_secret(&[1; 32]));
        assert_eq!(Body::decode(&body.encode().unwrap()).unwrap(), body);
    }

    #[test]
    fn a_body_that_is_too_large_is_refused_until_it_is_made_to_fit() {
        let mut body = body_of(&RootKey::from_secret(&[1; 32]));
        body.relayed = (0..20).map(|n| format!("/ip4/203.0.113.{n}/tcp/1/{}", "x".repeat(100))).collect();
        body.lan.push("no multiaddr".to_owned());
        assert_eq!(body.encode().unwrap_err(), BodyError::TooLarge);
        body.fit();
        assert!(body.relayed.len() >= 3, "{}", body.relayed.len());
        assert_eq!(body.direct.len(), 1);
        assert_eq!(body.lan.len(), 2);
        assert_eq!(Body::decode(&body.encode().unwrap()).unwrap(), body);
    }

    #[test]
    fn addresses_do_not_show_in_debug() {
        assert!(!format!("{:?}", body_of(&RootKey::from_secret(&[1; 32]))).contains("203.0.113"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..900)) {
            let _ = Body::decode(&bytes);
        }

        #[test]
        fn changed_bodies_are_refused_or_stay_within_bounds(at in 0..BODY_LEN, value: u8) {
            let mut bytes = body_of(&RootKey::from_secret(&[1; 32])).encode().unwrap();
            bytes[at] = value;
            if let Ok(body) = Body::decode(&bytes) {
                prop_assert!(body.encode().is_ok());
            }
        }
    }
}
