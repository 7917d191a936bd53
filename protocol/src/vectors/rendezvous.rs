//! `specs/vectors/rendezvous.json`.

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::{bytes, check};
use crate::{
    address::{Address, ContactToken},
    identity::{Certificate, DeviceKey, FriendshipKey, PeerId, RootKey},
    rendezvous::{
        Body, CONTACT_SLOTS, PresenceKey, Publisher, Reader, Schedule, contact_publisher, contact_reader,
        pair_publisher, pair_reader, presence_publisher, presence_reader, verify_record,
    },
};

const EPOCH: u64 = 500_000;
const NOW_MS: u64 = 1_800_000_123_456;

fn body(root: &RootKey) -> Body {
    let device = DeviceKey::from_secret(&bytes(100));
    Body {
        certificate: Certificate::issue(root, device.public(), 0, 1_800_000_000, 1_831_536_000),
        peer_id: PeerId::from_bytes(&[&[0, 0x24, 8, 1, 0x12, 0x20], &bytes(77)[..]].concat()).unwrap(),
        direct: vec!["/ip4/203.0.113.7/udp/4001/quic-v1".to_owned(), "/ip6/2001:db8::7/tcp/4001".to_owned()],
        lan: vec!["/ip4/192.168.1.7/udp/4001/quic-v1".to_owned()],
        relayed: Vec::new(),
        expires_ms: NOW_MS + 7_200_000,
    }
}

fn slot(publisher: &Publisher, reader: &Reader, schedule: Schedule, sequence: u64, rng: &mut ChaCha20Rng) -> Value {
    let body = body(&RootKey::from_secret(&bytes(1)));
    let record = publisher.record(sequence, &body, rng).unwrap();
    assert_eq!(reader.open(&record).unwrap(), (sequence, body.clone()));
    let epoch = schedule.epoch_of(NOW_MS);
    json!({
        "epoch": EPOCH,
        "slot_public": hex::encode(&record[..32]), "record_key": hex::encode(publisher.key.as_bytes()),
        "seal_key": hex::encode(publisher.seal.as_slice()),
        "schedule": {
            "period_ms": schedule.period_ms(), "phase_ms": schedule.phase_ms(),
            "unix_ms": NOW_MS, "epoch": epoch, "end_ms": schedule.end_ms(epoch),
        },
        "sequence": sequence,
        "body": {
            "certificate": hex::encode(body.certificate.encode()), "expires_ms": body.expires_ms,
            "peer_id": hex::encode(body.peer_id.as_bytes()),
            "direct": body.direct, "lan": body.lan, "relayed": body.relayed,
        },
        "record": hex::encode(record),
    })
}

#[test]
fn rendezvous_vectors() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let [root, friend] = [1, 2].map(|n| RootKey::from_secret(&bytes(n)));
    let presence_key = PresenceKey::from_bytes(&std::array::from_fn(|index| match index {
        0..32 => bytes(30)[index],
        32..64 => bytes(60)[index - 32],
        71 => 9,
        _ => 0,
    }))
    .unwrap();
    let grant = presence_key.grant();
    let mut presence = slot(
        &presence_publisher(&presence_key, EPOCH),
        &presence_reader(&root.public(), &grant, EPOCH).unwrap(),
        Schedule::presence(&grant),
        NOW_MS,
        &mut rng,
    );
    presence["owner"] = json!(root.public().to_string());
    presence["seed"] = json!(hex::encode(bytes(30)));
    presence["grant"] = json!({
        "slot_public": hex::encode(grant.slot_public), "secret": hex::encode(grant.secret),
    });

    let friendship = FriendshipKey::of(&friend, &root.public());
    let mut pair = slot(
        &pair_publisher(&root, &friendship, EPOCH),
        &pair_reader(&root.public(), &friendship, EPOCH).unwrap(),
        Schedule::pair(&root.public(), &friendship),
        NOW_MS + 1,
        &mut rng,
    );
    pair["owner"] = json!(root.public().to_string());
    pair["owner_entropy"] = json!(hex::encode(bytes(1)));
    pair["friend_entropy"] = json!(hex::encode(bytes(2)));

    let token = ContactToken::derived(&root);
    let address = Address { root: root.public(), token };
    let contacts: Vec<Value> = (0..CONTACT_SLOTS)
        .map(|index| {
            let mut contact = slot(
                &contact_publisher(&root, &token, EPOCH, index),
                &contact_reader(&address, EPOCH, index).unwrap(),
                Schedule::contact(&root.public(), &token),
                NOW_MS + 2,
                &mut rng,
            );
            contact["index"] = json!(index);
            contact["owner"] = json!(root.public().to_string());
            contact["owner_entropy"] = json!(hex::encode(bytes(1)));
            contact["address"] = json!(address.to_string());
            contact
        })
        .collect();

    let record = hex::decode(contacts[0]["record"].as_str().unwrap()).unwrap();
    let key = hex::decode(contacts[0]["record_key"].as_str().unwrap()).unwrap();
    let refused: Vec<Value> = [
        (
            "another key",
            {
                let mut key = key.clone();
                key[0] ^= 1;
                key
            },
            record.clone(),
        ),
        ("signature", key.clone(), {
            let mut record = record.clone();
            record[50] ^= 1;
            record
        }),
        ("sequence changed", key.clone(), {
            let mut record = record.clone();
            record[39] ^= 1;
            record
        }),
        ("nonce changed", key.clone(), {
            let mut record = record.clone();
            record[110] ^= 1;
            record
        }),
        ("ciphertext changed", key.clone(), {
            let mut record = record.clone();
            record[500] ^= 1;
            record
        }),
        ("too short", key.clone(), record[..1023].to_vec()),
    ]
    .into_iter()
    .map(|(why, key, record)| {
        assert!(verify_record(&key, &record).is_err(), "{why}");
        json!({ "note": why, "record_key": hex::encode(key), "record": hex::encode(record) })
    })
    .collect();
    check(
        "rendezvous",
        &json!({
            "spec": "specs/02-rendezvous.md", "version": 1,
            "presence": [presence], "pair": [pair], "contact": contacts, "refused": refused,
        }),
    );
}
