//! `specs/vectors/public-dht.json`: slots as IPNS records, and the well-known keys of first nodes.

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::{bytes, check};
use crate::{
    address::{Address, ContactToken},
    identity::{Certificate, DeviceKey, PeerId, RootKey},
    rendezvous::{Body, FIRST_KEYS, contact_publisher, contact_reader, first_key, verify_ipns},
};

const EPOCH: u64 = 20_833;
/// Which of the contact slots of the day.
const INDEX: u8 = 1;
const NOW_MS: u64 = 1_800_000_123_456;
const UNTIL_MS: u64 = 1_800_090_000_000;

#[test]
fn public_dht_vectors() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let root = RootKey::from_secret(&bytes(1));
    let token = ContactToken::derived(&root);
    let address = Address { root: root.public(), token };
    let body = Body {
        certificate: Certificate::issue(
            &root,
            DeviceKey::from_secret(&bytes(100)).public(),
            0,
            1_800_000_000,
            1_831_536_000,
        ),
        peer_id: PeerId::from_bytes(&[&[0, 0x24, 8, 1, 0x12, 0x20], &bytes(77)[..]].concat()).unwrap(),
        direct: vec!["/ip4/203.0.113.7/udp/4001/quic-v1".to_owned()],
        lan: Vec::new(),
        relayed: Vec::new(),
        expires_ms: UNTIL_MS,
    };
    let publisher = contact_publisher(&root, &token, EPOCH, INDEX);
    let reader = contact_reader(&address, EPOCH, INDEX).unwrap();
    let record = publisher.ipns_record(NOW_MS, &body, UNTIL_MS, &mut rng).unwrap();
    assert_eq!(reader.open_ipns(&record, NOW_MS).unwrap(), (NOW_MS, body.clone()));

    let name = publisher.ipns_name();
    let refused: Vec<Value> = [("signature", 10), ("value", 200), ("sequence", record.len() - 65), ("cut short", 0)]
        .into_iter()
        .map(|(note, at)| {
            let mut changed = record.clone();
            if at == 0 {
                changed.pop();
            } else {
                changed[at] ^= 1;
            }
            assert!(verify_ipns(&name, &changed, NOW_MS).is_err(), "{note}");
            json!({ "note": note, "key": hex::encode(name.as_bytes()), "record": hex::encode(changed) })
        })
        .collect();
    let first: Vec<Value> = [(20_833, 0), (20_833, FIRST_KEYS - 1), (20_834, 0)]
        .into_iter()
        .map(|(day, index)| json!({ "day": day, "index": index, "multihash": hex::encode(first_key(day, index)) }))
        .collect();
    check(
        "public-dht",
        &json!({
            "spec": "specs/02-rendezvous.md", "version": 1,
            "mirrors": [{
                "owner_entropy": hex::encode(bytes(1)), "address": address.to_string(), "epoch": EPOCH, "index": INDEX,
                "name": hex::encode(name.as_bytes()), "seal_key": hex::encode(publisher.seal.as_slice()),
                "sequence": NOW_MS, "validity": "2027-01-16T09:00:00.000000000Z",
                "body": {
                    "certificate": hex::encode(body.certificate.encode()), "expires_ms": body.expires_ms,
                    "peer_id": hex::encode(body.peer_id.as_bytes()),
                    "direct": body.direct, "lan": body.lan, "relayed": body.relayed,
                },
                "record": hex::encode(&record),
            }],
            "refused": refused,
            "first_keys": first,
        }),
    );
}
