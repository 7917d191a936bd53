//! `specs/vectors/handshake.json`.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::{bytes, check};
use crate::{
    handshake::{Channel, Initiator, Local, Purpose, Responder},
    identity::{Certificate, DeviceKey, PeerId, RootKey},
};

struct Side {
    root: RootKey,
    device: DeviceKey,
    certificate: Certificate,
    peer: PeerId,
    boot: u64,
    rng: ChaCha20Rng,
}

impl Side {
    fn new(n: u8, boot: u64) -> Self {
        let (root, device) = (RootKey::from_secret(&bytes(n)), DeviceKey::from_secret(&bytes(n + 99)));
        let certificate = Certificate::issue(&root, device.public(), 0, 1_800_000_000, 1_831_536_000);
        let peer = PeerId::from_bytes(&[&[0, 0x24, 8, 1, 0x12, 0x20], &bytes(n + 50)[..]].concat()).unwrap();
        Self { root, device, certificate, peer, boot, rng: ChaCha20Rng::seed_from_u64(u64::from(n)) }
    }

    fn local(&self) -> Local<'_> {
        Local { device: &self.device, certificate: &self.certificate, boot: self.boot }
    }

    fn json(&self) -> Value {
        let mut ephemeral = [0; 32];
        self.rng.clone().fill_bytes(&mut ephemeral);
        json!({
            "root": self.root.public().to_string(), "device_seed": hex::encode(*self.device.secret()),
            "ephemeral": hex::encode(ephemeral), "peer_id": hex::encode(self.peer.as_bytes()), "boot": self.boot,
            "certificate": hex::encode(self.certificate.encode()),
        })
    }
}

fn case(purpose: Purpose, unix_s: u64) -> Value {
    let (mut alice, mut bob) = (Side::new(1, 1_800_000_000_001), Side::new(2, 7));
    let (initiator_json, responder_json) = (alice.json(), bob.json());
    let (alice_peer, bob_peer) = (alice.peer.clone(), bob.peer.clone());
    let channel = Channel { purpose, initiator: &alice_peer, responder: &bob_peer };
    let mut rng = alice.rng.clone();
    let (initiator, first) =
        Initiator::start(alice.local(), channel, bob.root.public(), bob.device.public(), unix_s, &mut rng).unwrap();
    alice.rng = rng;
    let mut rng = bob.rng.clone();
    let (responder, second) = Responder::start(bob.local(), channel, None, &first, unix_s, &mut rng).unwrap();
    bob.rng = rng;
    let (third, mut at_alice) = initiator.finish(&second).unwrap();
    let mut at_bob = responder.finish(&third).unwrap();
    let frames: Vec<Value> = [("initiator", "6869"), ("initiator", ""), ("responder", "796573"), ("responder", "00ff")]
        .into_iter()
        .map(|(from, frame)| {
            let (sender, receiver) = if from == "initiator" {
                (&mut at_alice.transport, &mut at_bob.transport)
            } else {
                (&mut at_bob.transport, &mut at_alice.transport)
            };
            let plain = hex::decode(frame).unwrap();
            let message = sender.encrypt(&plain).unwrap();
            assert_eq!(receiver.decrypt(&message).unwrap(), plain);
            json!({ "from": from, "frame": frame, "message": hex::encode(message) })
        })
        .collect();
    json!({
        "purpose": purpose.as_str(), "unix_s": unix_s, "initiator": initiator_json, "responder": responder_json,
        "messages": [hex::encode(first), hex::encode(second), hex::encode(third)],
        "hash": hex::encode(at_bob.hash), "frames": frames,
    })
}

#[test]
fn handshake_vectors() {
    check(
        "handshake",
        &json!({
            "spec": "specs/04-link.md", "version": 1,
            "cases": [case(Purpose::Link, 1_800_000_100), case(Purpose::Contact, 1_800_000_100)],
        }),
    );
}
