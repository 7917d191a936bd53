//! Bytes of STUN messages (RFC 8489, 5 and 14) and of ChannelData (RFC 8656, 12.4). Reading borrows from the packet and
//! trusts no length; writing appends to one buffer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::auth::Key;

/// The fixed value in every STUN header.
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Length of the STUN header.
const HEADER: usize = 20;
/// FINGERPRINT is the CRC-32 of the message, combined with this.
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Length of MESSAGE-INTEGRITY (HMAC-SHA1).
const INTEGRITY_LEN: usize = 20;

/// Names a request and its response.
pub(crate) type TransactionId = [u8; 12];

/// Methods that are known here.
pub(crate) mod method {
    pub(crate) const BINDING: u16 = 0x001;
    pub(crate) const ALLOCATE: u16 = 0x003;
    pub(crate) const REFRESH: u16 = 0x004;
    pub(crate) const SEND: u16 = 0x006;
    pub(crate) const DATA: u16 = 0x007;
    pub(crate) const CREATE_PERMISSION: u16 = 0x008;
    pub(crate) const CHANNEL_BIND: u16 = 0x009;
}

/// Attributes that are known here.
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(crate) const LIFETIME: u16 = 0x000d;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(crate) const EVEN_PORT: u16 = 0x0018;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub(crate) const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
}

/// Class of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// A STUN message whose header, lengths and fingerprint (if there is one) are right. Borrows the packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    pub(crate) class: Class,
    pub(crate) method: u16,
    pub(crate) transaction: TransactionId,
}

/// Whether the first byte says STUN or ChannelData (RFC 7983): what a relay or its client may be meant by.
pub(crate) fn may_be_turn(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(0..=3 | 64..=79))
}

impl<'a> Message<'a> {
    /// Reads a message that is all of `bytes`.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let head: &[u8; HEADER] = bytes.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if head[0] >= 0x40 || head[4..8] != MAGIC || length != bytes.len() - HEADER || !length.is_multiple_of(4) {
            return None;
        }
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let class = match (kind >> 7 & 2) | (kind >> 4 & 1) {
            0 => Class::Request,
            1 => Class::Indication,
            2 => Class::Success,
            _ => Class::Error,
        };
        let method = (kind & 0xf) | (kind >> 1 & 0x70) | (kind >> 2 & 0xf80);
        let mut transaction = TransactionId::default();
        transaction.copy_from_slice(&head[8..]);
        let message = Self { bytes, class, method, transaction };
        // Every attribute must lie within the message, and a fingerprint must be last and right.
        let mut at = HEADER;
        while at < bytes.len() {
            let (kind, value, next) = message.at(at)?;
            if kind == attribute::FINGERPRINT {
                let right = (crc32fast::hash(&bytes[..at]) ^ FINGERPRINT_XOR).to_be_bytes();
                if next != bytes.len() || value != right {
                    return None;
                }
            }
            at = next;
        }
        Some(message)
    }

    /// The attribute at an offset: kind, value, and where the next one starts.
    fn at(&self, at: usize) -> Option<(u16, &'a [u8], usize)> {
        let head = self.bytes.get(at..at + 4)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = self.bytes.get(at + 4..at + 4 + length)?;
        let next = at + 4 + length.next_multiple_of(4);
        (next <= self.bytes.len()).then_some((u16::from_be_bytes([head[0], head[1]]), value, next))
    }

    /// The attributes with their offsets, up to and with MESSAGE-INTEGRITY: what comes after it is not protected and
    /// does not count (RFC 8489, 14.5).
    fn walk(&self) -> impl Iterator<Item = (usize, u16, &'a [u8])> + use<'a> {
        let message = *self;
        let mut at = Some(HEADER);
        std::iter::from_fn(move || {
            let here = at?;
            let (kind, value, next) = message.at(here)?;
            at = (kind != attribute::MESSAGE_INTEGRITY).then_some(next);
            Some((here, kind, value))
        })
    }

    /// The attributes in order, up to and with MESSAGE-INTEGRITY.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        self.walk().map(|(_, kind, value)| (kind, value))
    }

    /// The first attribute of a kind; later ones of the same kind do not count (RFC 8489, 14).
    pub(crate) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// An attribute that is text.
    pub(crate) fn text(&self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.get(kind)?).ok()
    }

    /// An attribute that is a number of four bytes.
    pub(crate) fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// An attribute that is one address.
    pub(crate) fn address(&self, kind: u16) -> Option<SocketAddr> {
        self.addresses(kind).next()?
    }

    /// All addresses of a kind; `None` for one that is malformed.
    pub(crate) fn addresses(&self, kind: u16) -> impl Iterator<Item = Option<SocketAddr>> + use<'a> {
        let transaction = self.transaction;
        self.attributes().filter(move |(found, _)| *found == kind).map(move |(_, value)| unxor(value, &transaction))
    }

    /// Code of ERROR-CODE.
    pub(crate) fn error(&self) -> Option<u16> {
        let [_, _, class @ 3..=6, number @ 0..=99, ..] = self.get(attribute::ERROR_CODE)? else { return None };
        Some(u16::from(*class) * 100 + u16::from(*number))
    }

    /// Whether it carries MESSAGE-INTEGRITY.
    pub(crate) fn has_integrity(&self) -> bool {
        self.get(attribute::MESSAGE_INTEGRITY).is_some()
    }

    /// Whether the last attribute is FINGERPRINT (which [`Self::parse`] has checked).
    pub(crate) fn has_fingerprint(&self) -> bool {
        let tail = self.bytes.len().checked_sub(8).filter(|at| *at >= HEADER);
        tail.is_some_and(|at| self.bytes[at..at + 4] == [0x80, 0x28, 0, 4])
    }

    /// Whether MESSAGE-INTEGRITY is there and was made with this key.
    pub(crate) fn is_authentic(&self, key: &Key) -> bool {
        let Some((at, _, value)) = self.walk().find(|(_, kind, _)| *kind == attribute::MESSAGE_INTEGRITY) else {
            return false;
        };
        // The length in the header counts up to the end of MESSAGE-INTEGRITY.
        let Ok(length) = u16::try_from(at + 4 + INTEGRITY_LEN - HEADER) else { return false };
        let [high, low] = length.to_be_bytes();
        let parts = [&self.bytes[..2], &[high, low], &self.bytes[4..at]];
        value.len() == INTEGRITY_LEN && key.verify(&parts, value)
    }
}

fn unxor(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let [_, family, port @ ..] = value.first_chunk::<4>()?;
    let port = u16::from_be_bytes([port[0] ^ MAGIC[0], port[1] ^ MAGIC[1]]);
    let mask = mask(transaction);
    let ip = match (*family, value.len()) {
        (1, 8) => {
            let octets: [u8; 4] = value[4..].try_into().ok()?;
            IpAddr::V4(Ipv4Addr::from(std::array::from_fn(|n| octets[n] ^ mask[n])))
        }
        (2, 20) => {
            let octets: [u8; 16] = value[4..].try_into().ok()?;
            // A mapped IPv4 address in an IPv6 attribute would slip past rules for either family.
            let ip = Ipv6Addr::from(std::array::from_fn(|n| octets[n] ^ mask[n]));
            ip.to_ipv4_mapped().is_none().then_some(IpAddr::V6(ip))?
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn mask(transaction: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC);
    mask[4..].copy_from_slice(transaction);
    mask
}

/// A message being written.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a message.
    pub(crate) fn new(class: Class, method: u16, transaction: &TransactionId) -> Self {
        Self::into(Vec::with_capacity(160), class, method, transaction)
    }

    /// Begins a message in a buffer that is used again.
    pub(crate) fn into(mut bytes: Vec<u8>, class: Class, method: u16, transaction: &TransactionId) -> Self {
        let class = match class {
            Class::Request => 0,
            Class::Indication => 0x010,
            Class::Success => 0x100,
            Class::Error => 0x110,
        };
        let kind = (method & 0xf) | (method & 0x70) << 1 | (method & 0xf80) << 2 | class;
        bytes.clear();
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(transaction);
        Self { bytes }
    }

    /// Appends an attribute; what would not fit into a message is left out.
    pub(crate) fn put(mut self, kind: u16, value: &[u8]) -> Self {
        if let Ok(length) = u16::try_from(value.len())
            && self.bytes.len() + value.len() + 64 < usize::from(u16::MAX)
        {
            self.bytes.extend_from_slice(&kind.to_be_bytes());
            self.bytes.extend_from_slice(&length.to_be_bytes());
            self.bytes.extend_from_slice(value);
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        }
        self
    }

    /// Appends an address.
    pub(crate) fn put_address(self, kind: u16, address: SocketAddr) -> Self {
        let mut transaction = TransactionId::default();
        transaction.copy_from_slice(&self.bytes[8..HEADER]);
        let mask = mask(&transaction);
        let mut value = [0; 20];
        let [p0, p1] = address.port().to_be_bytes();
        value[2] = p0 ^ MAGIC[0];
        value[3] = p1 ^ MAGIC[1];
        let mut fill = |family, octets: &[u8]| {
            value[1] = family;
            for (n, octet) in octets.iter().enumerate() {
                value[4 + n] = octet ^ mask[n];
            }
            4 + octets.len()
        };
        let length = match address.ip() {
            IpAddr::V4(ip) => fill(1, &ip.octets()),
            IpAddr::V6(ip) => fill(2, &ip.octets()),
        };
        self.put(kind, &value[..length])
    }

    /// Appends ERROR-CODE.
    pub(crate) fn put_error(self, code: u16, reason: &str) -> Self {
        let mut value = vec![0, 0, u8::try_from(code / 100).unwrap_or(5), u8::try_from(code % 100).unwrap_or(0)];
        value.extend_from_slice(reason.as_bytes());
        self.put(attribute::ERROR_CODE, &value)
    }

    /// The message, with MESSAGE-INTEGRITY under `key` and with FINGERPRINT if asked for.
    pub(crate) fn finish(mut self, key: Option<&Key>, fingerprint: bool) -> Vec<u8> {
        if let Some(key) = key {
            self.set_length(4 + INTEGRITY_LEN);
            let tag = key.sign(&self.bytes);
            self = self.put(attribute::MESSAGE_INTEGRITY, &tag);
        }
        if fingerprint {
            self.set_length(8);
            let crc = crc32fast::hash(&self.bytes) ^ FINGERPRINT_XOR;
            self = self.put(attribute::FINGERPRINT, &crc.to_be_bytes());
        }
        self.set_length(0);
        self.bytes
    }

    /// Writes the length into the header, as if `more` bytes followed.
    fn set_length(&mut self, more: usize) {
        let length = u16::try_from(self.bytes.len() - HEADER + more).unwrap_or(u16::MAX);
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }
}

/// First and last channel number (RFC 8656, 12).
pub(crate) const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4fff;
/// Length of the ChannelData header.
pub(crate) const CHANNEL_HEADER: usize = 4;

/// Number and payload of ChannelData; what follows the payload is padding.
pub(crate) fn channel_data(packet: &[u8]) -> Option<(u16, &[u8])> {
    let [n0, n1, l0, l1, rest @ ..] = packet else { return None };
    let number = u16::from_be_bytes([*n0, *n1]);
    let payload = rest.get(..usize::from(u16::from_be_bytes([*l0, *l1])))?;
    // Over UDP padding is allowed, up to a multiple of four and no more.
    (CHANNELS.contains(&number) && rest.len() - payload.len() < 4).then_some((number, payload))
}

/// The header of ChannelData with a payload of this length.
pub(crate) fn channel_header(number: u16, length: usize) -> [u8; CHANNEL_HEADER] {
    let [n0, n1] = number.to_be_bytes();
    let [l0, l1] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [n0, n1, l0, l1]
}

#[cfg(test)]
mod tests;
