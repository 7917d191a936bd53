//! A look at the certificate in a DTLS 1.2 handshake as it passes (RFC 6347, 4.1 and 4.2.2; RFC 5246, 7.4.2).
//!
//! webrtc's crate refuses a certificate with the wrong fingerprint, but keeps to itself that it did: the handshake
//! simply never ends. What is seen here only words the reason; it is not authenticated and decides nothing else.

/// Record type "handshake", as the first byte of a datagram.
const HANDSHAKE: u8 = 22;
/// Handshake type "certificate".
const CERTIFICATE: u8 = 11;
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// The first certificate (DER) in a datagram of a handshake in clear, if there is a whole one.
pub(super) fn certificate(mut datagram: &[u8]) -> Option<&[u8]> {
    while datagram.first() == Some(&HANDSHAKE) {
        let header = datagram.get(..RECORD_HEADER)?;
        let record = datagram.get(RECORD_HEADER..)?.get(..number(&header[11..13]))?;
        // Epoch 0 is what is not encrypted yet.
        if number(&header[3..5]) == 0
            && let Some(found) = in_messages(record)
        {
            return Some(found);
        }
        datagram = &datagram[RECORD_HEADER + record.len()..];
    }
    None
}

fn in_messages(mut record: &[u8]) -> Option<&[u8]> {
    loop {
        let header = record.get(..MESSAGE_HEADER)?;
        let (length, offset, fragment) = (number(&header[1..4]), number(&header[6..9]), number(&header[9..12]));
        let body = record.get(MESSAGE_HEADER..)?.get(..fragment)?;
        if header[0] == CERTIFICATE && offset == 0 && fragment == length {
            let length = number(body.get(3..6)?);
            return body.get(6..)?.get(..length);
        }
        record = &record[MESSAGE_HEADER + fragment..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        [&[kind][..], &length[1..], &[0, 2], &[0, 0, 0], &length[1..], body].concat()
    }

    fn record(epoch: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u16).to_be_bytes();
        [&[HANDSHAKE, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 1][..], &length, content].concat()
    }

    fn flight() -> Vec<u8> {
        let list = [&[0, 0, 8, 0, 0, 5][..], b"hello"].concat();
        [record(0, &message(2, &[1; 40])), record(0, &[message(2, &[]), message(CERTIFICATE, &list)].concat())].concat()
    }

    #[test]
    fn the_certificate_in_a_flight_is_found() {
        assert_eq!(certificate(&flight()), Some(&b"hello"[..]));
        assert_eq!(certificate(&record(0, &message(2, &[1; 40]))), None);
        assert_eq!(certificate(&record(1, &message(CERTIFICATE, &[0, 0, 8, 0, 0, 5, 1, 1, 1, 1, 1]))), None);
    }

    #[test]
    fn cut_and_bent_flights_are_passed_over() {
        let whole = flight();
        for end in 0..whole.len() {
            assert_eq!(certificate(&whole[..end]), None);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 22, 0x7f, 0xff] {
                let mut bent = whole.clone();
                bent[at] = value;
                let _ = certificate(&bent);
            }
        }
    }
}
