//! The part of STUN (RFC 8489) that calls need: telling packets on the shared port apart (first-byte rule of RFC 7983),
//! reading and writing connectivity checks (RFC 8445, 7) and binding requests. Nothing here trusts a length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rtc::crypto::{HmacAlgorithm, RTCCryptoProvider};

/// The fixed value in every STUN header.
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Length of the STUN header.
const HEADER: usize = 20;
/// Attribute USERNAME.
const USERNAME: u16 = 0x0006;
/// Attribute MESSAGE-INTEGRITY.
const MESSAGE_INTEGRITY: u16 = 0x0008;
/// Attribute ERROR-CODE.
const ERROR_CODE: u16 = 0x0009;
/// Attribute XOR-MAPPED-ADDRESS.
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Attribute PRIORITY (RFC 8445, 16.1).
const PRIORITY: u16 = 0x0024;
/// Attribute USE-CANDIDATE.
const USE_CANDIDATE: u16 = 0x0025;
/// Attribute FINGERPRINT.
const FINGERPRINT: u16 = 0x8028;
/// Attribute ICE-CONTROLLED.
const ICE_CONTROLLED: u16 = 0x8029;
/// Attribute ICE-CONTROLLING.
const ICE_CONTROLLING: u16 = 0x802a;
/// What the checksum is mixed with in FINGERPRINT.
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// Length of the integrity tag (HMAC-SHA1).
const TAG: usize = 20;
/// Longest user fragment taken (RFC 8445, 5.3).
const MAX_UFRAG: usize = 256;

/// Transaction id of a STUN message.
pub(super) type Transaction = [u8; 12];

/// What a datagram is, as far as its first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A connectivity check for the peer with this user fragment; `None` if it names none or carries no integrity.
    Check(Option<&'a [u8]>),
    /// An answer, success or error, to a binding request of ours.
    Answer(Transaction),
    /// A binding indication.
    Indication,
    /// STUN of another method: a relay's business.
    Turn,
    /// A packet in a relay's channel (RFC 8656, 12.4).
    Channel,
    /// DTLS, SRTP or SRTCP.
    Media,
    /// Anything else.
    Other,
}

/// Looks at a datagram.
pub(super) fn kind(packet: &[u8]) -> Kind<'_> {
    match packet.first() {
        Some(0..=3) => stun(packet).unwrap_or(Kind::Other),
        Some(20..=63 | 128..=191) => Kind::Media,
        Some(64..=79) => Kind::Channel,
        _ => Kind::Other,
    }
}

fn transaction(packet: &[u8]) -> Transaction {
    let mut id = [0; 12];
    id.copy_from_slice(&packet[8..HEADER]);
    id
}

fn framed(packet: &[u8]) -> Option<()> {
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    (packet.len() >= HEADER && packet[4..8] == MAGIC && length == packet.len() - HEADER).then_some(())
}

fn stun(packet: &[u8]) -> Option<Kind<'_>> {
    framed(packet)?;
    // The class is in bits 4 and 8 of the type.
    Some(match u16::from_be_bytes([packet[0], packet[1]]) {
        0x0001 => Kind::Check(checked_ufrag(packet)),
        0x0101 | 0x0111 => Kind::Answer(transaction(packet)),
        0x0011 => Kind::Indication,
        _ => Kind::Turn,
    })
}

/// The first half of USERNAME, which is the receiver's own user fragment, of a request that carries integrity.
fn checked_ufrag(packet: &[u8]) -> Option<&[u8]> {
    let message = Message::read(packet)?;
    let name = message.username?;
    let end = name.iter().position(|&b| b == b':')?;
    ((1..=MAX_UFRAG).contains(&end) && message.integrity.is_some()).then(|| &name[..end])
}

/// Class of a binding message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Request,
    Success,
    Error,
}

/// A binding message as read. Nothing in it is true before [`Self::verified`] says so.
#[derive(Debug)]
pub(super) struct Message<'a> {
    raw: &'a [u8],
    pub(super) class: Class,
    pub(super) transaction: Transaction,
    pub(super) username: Option<&'a [u8]>,
    pub(super) priority: Option<u32>,
    pub(super) use_candidate: bool,
    pub(super) controlling: Option<u64>,
    pub(super) controlled: Option<u64>,
    pub(super) mapped: Option<SocketAddr>,
    pub(super) error: Option<u16>,
    /// Where the integrity attribute begins.
    integrity: Option<usize>,
}

impl<'a> Message<'a> {
    /// Reads a binding request or answer. What follows the integrity attribute is passed over, as it is not covered.
    pub(super) fn read(raw: &'a [u8]) -> Option<Self> {
        framed(raw)?;
        let class = match u16::from_be_bytes([raw[0], raw[1]]) {
            0x0001 => Class::Request,
            0x0101 => Class::Success,
            0x0111 => Class::Error,
            _ => return None,
        };
        let mut message = Self {
            raw,
            class,
            transaction: transaction(raw),
            username: None,
            priority: None,
            use_candidate: false,
            controlling: None,
            controlled: None,
            mapped: None,
            error: None,
            integrity: None,
        };
        let mut at = HEADER;
        while let Some([t0, t1, l0, l1]) = raw.get(at..at + 4) {
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let value = raw.get(at + 4..at + 4 + length)?;
            match u16::from_be_bytes([*t0, *t1]) {
                USERNAME => message.username = Some(value),
                PRIORITY => message.priority = value.try_into().ok().map(u32::from_be_bytes),
                USE_CANDIDATE => message.use_candidate = true,
                ICE_CONTROLLING => message.controlling = value.try_into().ok().map(u64::from_be_bytes),
                ICE_CONTROLLED => message.controlled = value.try_into().ok().map(u64::from_be_bytes),
                XOR_MAPPED_ADDRESS => message.mapped = mapped(value, &message.transaction),
                ERROR_CODE => {
                    message.error = value.get(2..4).map(|code| u16::from(code[0] & 7) * 100 + u16::from(code[1]));
                }
                MESSAGE_INTEGRITY => {
                    if length == TAG {
                        message.integrity = Some(at);
                    }
                    break;
                }
                _ => {}
            }
            at += 4 + length.next_multiple_of(4);
        }
        Some(message)
    }

    /// Whether it was made by somebody who holds this password (short-term credential).
    pub(super) fn verified(&self, crypto: &dyn RTCCryptoProvider, password: &[u8]) -> bool {
        let Some(at) = self.integrity else { return false };
        let covered = ((at - HEADER + 4 + TAG) as u16).to_be_bytes();
        let Some(tag) = self.raw.get(at + 4..at + 4 + TAG) else { return false };
        crypto
            .crypto()
            .new_hmac(HmacAlgorithm::Sha1, password)
            .and_then(|mut mac| mac.verify(&[&self.raw[..2], &covered, &self.raw[4..at]], tag))
            .is_ok()
    }

    /// Whether USERNAME is exactly this.
    pub(super) fn is_for(&self, username: &str) -> bool {
        self.username == Some(username.as_bytes())
    }
}

fn mapped(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let [_, family, p0, p1, address @ ..] = value else { return None };
    let port = u16::from_be_bytes([p0 ^ MAGIC[0], p1 ^ MAGIC[1]]);
    let mut key = [0; 16];
    key[..4].copy_from_slice(&MAGIC);
    key[4..].copy_from_slice(transaction);
    let plain = |n: usize| address[n] ^ key[n];
    let ip: IpAddr = match (family, address.len()) {
        (1, 4) => Ipv4Addr::new(plain(0), plain(1), plain(2), plain(3)).into(),
        (2, 16) => Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(plain)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Writes a binding message.
pub(super) struct Writer {
    out: Vec<u8>,
    transaction: Transaction,
}

impl Writer {
    fn new(kind: u16, transaction: Transaction) -> Self {
        let mut out = Vec::with_capacity(128);
        out.extend(kind.to_be_bytes());
        out.extend([0, 0]);
        out.extend(MAGIC);
        out.extend(transaction);
        Self { out, transaction }
    }

    /// A binding request.
    pub(super) fn request(transaction: Transaction) -> Self {
        Self::new(0x0001, transaction)
    }

    /// The answer that tells from where a request came.
    pub(super) fn success(transaction: Transaction, from: SocketAddr) -> Self {
        let mut writer = Self::new(0x0101, transaction);
        let mut key = [0; 16];
        key[..4].copy_from_slice(&MAGIC);
        key[4..].copy_from_slice(&writer.transaction);
        let mut value = vec![0, if from.is_ipv4() { 1 } else { 2 }];
        value.extend((from.port() ^ u16::from_be_bytes([MAGIC[0], MAGIC[1]])).to_be_bytes());
        match from.ip() {
            IpAddr::V4(ip) => value.extend(ip.octets().iter().zip(key).map(|(a, b)| a ^ b)),
            IpAddr::V6(ip) => value.extend(ip.octets().iter().zip(key).map(|(a, b)| a ^ b)),
        }
        writer.attribute(XOR_MAPPED_ADDRESS, &value);
        writer
    }

    /// The answer to a request of one who believes to have our role (487).
    pub(super) fn role_conflict(transaction: Transaction) -> Self {
        let mut writer = Self::new(0x0111, transaction);
        writer.attribute(ERROR_CODE, &[0, 0, 4, 87]);
        writer
    }

    pub(super) fn username(mut self, name: &str) -> Self {
        self.attribute(USERNAME, name.as_bytes());
        self
    }

    pub(super) fn priority(mut self, priority: u32) -> Self {
        self.attribute(PRIORITY, &priority.to_be_bytes());
        self
    }

    /// The sender's role and tie breaker.
    pub(super) fn role(mut self, controlling: bool, tie_breaker: u64) -> Self {
        self.attribute(if controlling { ICE_CONTROLLING } else { ICE_CONTROLLED }, &tie_breaker.to_be_bytes());
        self
    }

    pub(super) fn use_candidate(mut self) -> Self {
        self.attribute(USE_CANDIDATE, &[]);
        self
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.out.extend(kind.to_be_bytes());
        self.out.extend((value.len() as u16).to_be_bytes());
        self.out.extend(value);
        self.out.resize(self.out.len().next_multiple_of(4), 0);
    }

    fn set_length(&mut self, after: usize) {
        let length = ((self.out.len() - HEADER + after) as u16).to_be_bytes();
        self.out[2..4].copy_from_slice(&length);
    }

    /// Ends the message with MESSAGE-INTEGRITY and FINGERPRINT. `None` if the cryptography fails.
    pub(super) fn sealed(mut self, crypto: &dyn RTCCryptoProvider, password: &[u8]) -> Option<Vec<u8>> {
        self.set_length(4 + TAG);
        let mut tag = [0; TAG];
        crypto
            .crypto()
            .new_hmac(HmacAlgorithm::Sha1, password)
            .and_then(|mut m| m.sign(&[&self.out], &mut tag))
            .ok()?;
        self.attribute(MESSAGE_INTEGRITY, &tag);
        Some(self.plain())
    }

    /// Ends the message with FINGERPRINT alone.
    pub(super) fn plain(mut self) -> Vec<u8> {
        self.set_length(8);
        let sum = crc32(&self.out) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, &sum.to_be_bytes());
        self.out
    }
}

/// CRC-32 as in ITU V.42, bit by bit: messages have a hundred bytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A binding request with USERNAME and a made-up MESSAGE-INTEGRITY.
    pub(in crate::calls) fn check(username: &str, id: u8) -> Vec<u8> {
        let mut body = vec![0, 6];
        body.extend((username.len() as u16).to_be_bytes());
        body.extend(username.as_bytes());
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend([0, 8, 0, 20]);
        body.extend([7; 20]);
        message(0x0001, id, &body)
    }

    /// A STUN message of this type.
    pub(in crate::calls) fn message(kind: u16, id: u8, body: &[u8]) -> Vec<u8> {
        let mut out = kind.to_be_bytes().to_vec();
        out.extend((body.len() as u16).to_be_bytes());
        out.extend(MAGIC);
        out.extend([id; 12]);
        out.extend(body);
        out
    }

    /// The sample request of RFC 5769, 2.1 (password "VOkJxbRl1RmTxUk/WvJxBt").
    const SAMPLE: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
                          002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
                          000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_sample_of_the_standard_is_read_and_its_integrity_holds() {
        let crypto = rtc::crypto::default_provider().unwrap();
        let raw = bytes(SAMPLE);
        let message = Message::read(&raw).unwrap();
        assert_eq!((message.class, message.priority), (Class::Request, Some(0x6e00_01ff)));
        assert!(message.is_for("evtj:h6vY") && message.controlled == Some(0x932f_f9b1_5126_3b36));
        assert!(message.verified(&*crypto, b"VOkJxbRl1RmTxUk/WvJxBt"));
        assert!(!message.verified(&*crypto, b"VOkJxbRl1RmTxUk/WvJxBu"));
        assert_eq!(kind(&raw), Kind::Check(Some(b"evtj")));
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let end = raw.len() - 8;
        assert_eq!((crc32(&raw[..end]) ^ FINGERPRINT_XOR).to_be_bytes(), raw[end + 4..]);
        for at in 20..end {
            let mut bent = raw.clone();
            bent[at] ^= 1;
            let message = Message::read(&bent);
            assert!(message.is_none_or(|m| !m.verified(&*crypto, b"VOkJxbRl1RmTxUk/WvJxBt")), "{at}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let crypto = rtc::crypto::default_provider().unwrap();
        let request = Writer::request([3; 12]).username("a:b").priority(7).role(true, 9).use_candidate();
        let raw = request.sealed(&*crypto, b"secret").unwrap();
        let read = Message::read(&raw).unwrap();
        assert!(read.verified(&*crypto, b"secret") && read.use_candidate && read.is_for("a:b"));
        assert_eq!((read.controlling, read.priority, read.transaction), (Some(9), Some(7), [3; 12]));
        for from in ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"] {
            let raw = Writer::success([5; 12], from.parse().unwrap()).sealed(&*crypto, b"secret").unwrap();
            let read = Message::read(&raw).unwrap();
            assert!(read.class == Class::Success && read.verified(&*crypto, b"secret"));
            assert_eq!(read.mapped, Some(from.parse().unwrap()));
        }
        let raw = Writer::role_conflict([5; 12]).sealed(&*crypto, b"secret").unwrap();
        assert_eq!(Message::read(&raw).unwrap().error, Some(487));
        assert!(!Message::read(&Writer::request([1; 12]).plain()).unwrap().verified(&*crypto, b""));
    }

    #[test]
    fn a_check_names_the_peer_it_is_for() {
        assert_eq!(kind(&check("mine:theirs", 1)), Kind::Check(Some(b"mine")));
    }

    #[test]
    fn a_check_without_integrity_names_nobody() {
        assert_eq!(kind(&message(1, 1, b"\0\x06\0\x04ab:c")), Kind::Check(None));
    }

    #[test]
    fn answers_and_media_are_told_apart_by_the_first_bytes() {
        assert_eq!(kind(&message(0x0101, 9, &[])), Kind::Answer([9; 12]));
        assert_eq!(kind(&message(0x0111, 9, &[])), Kind::Answer([9; 12]));
        assert_eq!(kind(&[22, 254, 253]), Kind::Media);
        assert_eq!(kind(&[0x80, 111]), Kind::Media);
        assert_eq!(kind(&[200; 40]), Kind::Other);
        assert_eq!(kind(&[0x40, 0, 0, 4, 1, 2, 3, 4]), Kind::Channel);
        assert_eq!(kind(&message(0x0003, 9, &[])), Kind::Turn);
        assert_eq!(kind(&[]), Kind::Other);
    }

    #[test]
    fn no_cut_or_bent_check_is_read_past_its_end() {
        let whole = check("mine:theirs", 1);
        for end in 0..whole.len() {
            assert_ne!(kind(&whole[..end]), Kind::Check(Some(b"mine")));
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bent = whole.clone();
                bent[at] = value;
                let _ = kind(&bent);
            }
        }
    }
}
