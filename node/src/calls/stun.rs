//! The little of STUN (RFC 8489) and of the first-byte rule (RFC 7983) that sharing one port needs: telling packets
//! apart, and reading the two fields by which a check names its peer. Nothing here trusts a length.

/// The fixed value in every STUN header.
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Length of the STUN header.
const HEADER: usize = 20;
/// Attribute USERNAME.
const USERNAME: u16 = 0x0006;
/// Attribute MESSAGE-INTEGRITY.
const MESSAGE_INTEGRITY: u16 = 0x0008;
/// Longest user fragment taken (RFC 8445, 5.3).
const MAX_UFRAG: usize = 256;

/// Transaction id of a STUN message.
pub(super) type Transaction = [u8; 12];

/// What a datagram is, as far as its first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A connectivity check for the peer with this user fragment; `None` if it names none or carries no integrity.
    Check(Option<&'a [u8]>),
    /// An answer, success or error, to a check of ours.
    Answer(Transaction),
    /// A STUN indication.
    Indication,
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
        _ => Kind::Other,
    }
}

/// The transaction id, if the packet is a binding request.
pub(super) fn request_transaction(packet: &[u8]) -> Option<Transaction> {
    (packet.len() >= HEADER && packet[..2] == [0, 1] && packet[4..8] == MAGIC).then(|| transaction(packet))
}

fn transaction(packet: &[u8]) -> Transaction {
    let mut id = [0; 12];
    id.copy_from_slice(&packet[8..HEADER]);
    id
}

fn stun(packet: &[u8]) -> Option<Kind<'_>> {
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    if packet.len() < HEADER || packet[4..8] != MAGIC || length != packet.len() - HEADER {
        return None;
    }
    // Method "binding" only; the class is in bits 4 and 8 of the type.
    Some(match u16::from_be_bytes([packet[0], packet[1]]) {
        0x0001 => Kind::Check(checked_ufrag(packet)),
        0x0101 | 0x0111 => Kind::Answer(transaction(packet)),
        0x0011 => Kind::Indication,
        _ => return None,
    })
}

/// The first half of USERNAME, which is the receiver's own user fragment, of a request that carries integrity.
fn checked_ufrag(packet: &[u8]) -> Option<&[u8]> {
    let mut rest = &packet[HEADER..];
    let (mut ufrag, mut integrity) = (None, false);
    while let [t0, t1, l0, l1, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = tail.get(..length)?;
        match u16::from_be_bytes([*t0, *t1]) {
            USERNAME => {
                let end = value.iter().position(|&b| b == b':')?;
                ufrag = (1..=MAX_UFRAG).contains(&end).then(|| &value[..end]);
            }
            MESSAGE_INTEGRITY => integrity = length == 20,
            _ => {}
        }
        rest = tail.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    ufrag.filter(|_| integrity)
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
