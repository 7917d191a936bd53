//! The test vectors of RFC 5769, round trips, and bytes that mean harm.

use proptest::prelude::*;

use super::*;

/// RFC 5769, 2.4: a request with long-term credential (user "マトリックス", realm "example.org", password "TheMatrIX").
const LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b90000\
    0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f726700000800\
    14f67024656dd64a3e02b8e0712e85c9a28ca89666";
/// RFC 5769, 2.2: an IPv4 response with FINGERPRINT.
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643\
    000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/// RFC 5769, 2.3: an IPv6 response with FINGERPRINT.
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9fa\
    a5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn the_vectors_of_rfc_5769_are_read() {
    let request = bytes(LONG_TERM);
    let message = Message::parse(&request).unwrap();
    assert_eq!((message.class, message.method), (Class::Request, method::BINDING));
    assert_eq!(message.text(attribute::USERNAME), Some("マトリックス"));
    assert_eq!(message.text(attribute::REALM), Some("example.org"));
    assert!(message.is_authentic(&Key::long_term("マトリックス", "example.org", "TheMatrIX")));
    assert!(!message.is_authentic(&Key::long_term("マトリックス", "example.org", "TheMatrix")));
    for (hex, address) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let response = bytes(hex);
        let message = Message::parse(&response).unwrap();
        assert_eq!(message.class, Class::Success);
        assert!(message.has_fingerprint() && message.has_integrity());
        assert_eq!(message.address(attribute::XOR_MAPPED_ADDRESS), Some(address.parse().unwrap()));
    }
}

#[test]
fn what_is_written_is_read_again() {
    let key = Key::long_term("user", "realm", "password");
    let peers: Vec<SocketAddr> = vec!["203.0.114.9:4001".parse().unwrap(), "[2a00:1::9]:443".parse().unwrap()];
    for (class, number) in
        [(Class::Request, 0x003), (Class::Indication, 0x007), (Class::Success, 0xabc), (Class::Error, 0xfff)]
    {
        let mut writer = Writer::new(class, number, &[9; 12]).put(attribute::DATA, b"odd").put_error(486, "Quota");
        for peer in &peers {
            writer = writer.put_address(attribute::XOR_PEER_ADDRESS, *peer);
        }
        let written = writer.finish(Some(&key), true);
        let message = Message::parse(&written).unwrap();
        assert_eq!((message.class, message.method, message.transaction), (class, number, [9; 12]));
        assert_eq!(message.get(attribute::DATA), Some(&b"odd"[..]));
        assert_eq!(message.error(), Some(486));
        let read: Vec<_> = message.addresses(attribute::XOR_PEER_ADDRESS).map(Option::unwrap).collect();
        assert_eq!(read, peers);
        assert!(message.is_authentic(&key));
    }
}

#[test]
fn attributes_behind_the_integrity_do_not_count() {
    let key = Key::long_term("user", "realm", "password");
    let mut forged = Writer::new(Class::Request, method::REFRESH, &[9; 12]).finish(Some(&key), false);
    forged.extend_from_slice(&[0, 13, 0, 4, 0, 0, 0, 0]);
    let length = u16::try_from(forged.len() - HEADER).unwrap().to_be_bytes();
    forged[2..4].copy_from_slice(&length);
    let message = Message::parse(&forged).unwrap();
    assert!(message.is_authentic(&key));
    assert_eq!(message.number(attribute::LIFETIME), None);
}

#[test]
fn a_mapped_ipv4_address_is_no_ipv6_peer() {
    let peer = "[::ffff:10.0.0.1]:5000".parse().unwrap();
    let written = Writer::new(Class::Request, 1, &[1; 12]).put_address(attribute::XOR_PEER_ADDRESS, peer);
    let written = written.finish(None, false);
    assert_eq!(Message::parse(&written).unwrap().address(attribute::XOR_PEER_ADDRESS), None);
}

#[test]
fn channel_data_is_as_long_as_it_says() {
    let whole = [&channel_header(0x4abc, 5)[..], b"voice"].concat();
    assert_eq!(channel_data(&whole), Some((0x4abc, &b"voice"[..])));
    assert_eq!(channel_data(&[whole.as_slice(), &[0; 3]].concat()), Some((0x4abc, &b"voice"[..])));
    assert_eq!(channel_data(&[whole.as_slice(), &[0; 4]].concat()), None);
    for end in 0..whole.len() {
        assert_eq!(channel_data(&whole[..end]), None);
    }
    assert_eq!(channel_data(&channel_header(0x5000, 0)), None);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(data in proptest::collection::vec(any::<u8>(), 0..200), length in 0..50_u16) {
        let mut packet = vec![0, 1];
        packet.extend((length * 4).to_be_bytes());
        packet.extend(MAGIC);
        packet.extend(data);
        for packet in [packet.as_slice(), &packet[..packet.len().min(20 + usize::from(length) * 4)]] {
            if let Some(message) = Message::parse(packet) {
                let _ = (message.error(), message.addresses(attribute::XOR_PEER_ADDRESS).count());
                let _ = (message.has_fingerprint(), message.is_authentic(&Key::long_term("", "", "")));
            }
            let _ = channel_data(packet);
        }
    }

    #[test]
    fn a_signed_message_with_another_byte_is_not_authentic(place in 0..200_usize, flip in 1..=255_u8) {
        let key = Key::long_term("user", "realm", "password");
        let mut written = Writer::new(Class::Request, method::REFRESH, &[9; 12]).put(attribute::LIFETIME, &[0; 4]);
        written = written.put(attribute::NONCE, b"0123456789");
        let mut written = written.finish(Some(&key), false);
        let place = place % written.len();
        written[place] ^= flip;
        prop_assert!(Message::parse(&written).is_none_or(|message| !message.is_authentic(&key)));
    }
}
