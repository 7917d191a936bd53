//! Records from the DHT: arbitrary bytes are refused without a panic, and so is every change to a good record.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use twocan_protocol::identity::{Certificate, DeviceKey, PeerId, RootKey};
use twocan_protocol::rendezvous::{Body, PresenceKey, Reader, presence_publisher, presence_reader, verify_record};

const EPOCH: u64 = 500_000;

/// A good record, its key and its reader.
static GOOD: LazyLock<(Vec<u8>, [u8; 32], Reader)> = LazyLock::new(|| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let root = RootKey::from_secret(&[1; 32]);
    let device = DeviceKey::from_secret(&[2; 32]);
    let key = PresenceKey::generate(1, &mut rng);
    let body = Body {
        certificate: Certificate::issue(&root, device.public(), 0, 0, u64::MAX / 2),
        peer_id: PeerId::from_bytes(&[7; 38]).expect("a length in range"),
        direct: vec!["/ip4/192.0.2.1/udp/4001/quic-v1".to_owned()],
        lan: Vec::new(),
        relayed: Vec::new(),
        expires_ms: u64::MAX / 2,
    };
    let publisher = presence_publisher(&key, EPOCH);
    let record = publisher.record(9, &body, &mut rng).expect("it fits");
    let reader = presence_reader(&root.public(), &key.grant(), EPOCH).expect("a good grant");
    (record, *publisher.key.as_bytes(), reader)
});

fuzz_target!(|data: &[u8]| {
    let (record, key, reader) = &*GOOD;
    assert!(verify_record(key, data).is_err() || data == &record[..]);
    let _ = reader.open(data);
    // The same bytes as places and values of changes to the good record.
    let mut changed = record.clone();
    for change in data.chunks_exact(3).take(8) {
        let place = usize::from(u16::from_be_bytes([change[0], change[1]])) % changed.len();
        changed[place] ^= change[2];
    }
    if changed != *record {
        assert!(verify_record(key, &changed).is_err(), "a changed record was taken");
        assert!(reader.open(&changed).is_err(), "a changed record was opened");
    }
    let cut = &record[..record.len() - usize::from(data.first().copied().unwrap_or(1)).clamp(1, record.len())];
    assert!(verify_record(key, cut).is_err());
});
