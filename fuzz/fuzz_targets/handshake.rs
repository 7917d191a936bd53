//! Handshake messages from strangers: arbitrary bytes and changed messages never panic and never end in a handshake.
//!
//! A single message may be taken: the instrumentation shows the fuzzer what a tag is compared with, and it learns to
//! write that tag. It cannot forge what is behind it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use twocan_protocol::handshake::{Channel, Initiator, Local, Purpose, Responder};
use twocan_protocol::identity::{Certificate, DeviceKey, PeerId, RootKey};

const NOW: u64 = 1_800_000_000;

struct Node {
    root: RootKey,
    device: DeviceKey,
    certificate: Certificate,
    peer: PeerId,
}

impl Node {
    fn new(n: u8) -> Self {
        let root = RootKey::from_secret(&[n; 32]);
        let device = DeviceKey::from_secret(&[n + 100; 32]);
        let certificate = Certificate::issue(&root, device.public(), 0, NOW - 10, NOW + 1_000_000);
        Self { root, device, certificate, peer: PeerId::from_bytes(&[n; 38]).expect("a length in range") }
    }

    fn local(&self) -> Local<'_> {
        Local { device: &self.device, certificate: &self.certificate, boot: 1 }
    }
}

static NODES: LazyLock<[Node; 2]> = LazyLock::new(|| [Node::new(1), Node::new(2)]);

/// Changes a message at places that the data names; whether it is another one now.
fn change(message: &mut Vec<u8>, data: &[u8]) -> bool {
    let before = message.clone();
    for change in data.chunks_exact(2) {
        let place = usize::from(change[0]) % message.len();
        message[place] ^= change[1];
    }
    *message != before
}

fuzz_target!(|data: &[u8]| {
    let [alice, bob] = &*NODES;
    let channel = Channel { purpose: Purpose::Link, initiator: &alice.peer, responder: &bob.peer };
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let Some((&mode, data)) = data.split_first() else { return };
    let root = Some(alice.root.public());
    let begin = |rng: &mut ChaCha20Rng| {
        Initiator::start(alice.local(), channel, bob.root.public(), bob.device.public(), NOW, rng).expect("starts")
    };
    match mode % 6 {
        0 => {
            if let Ok((responder, _)) = Responder::start(bob.local(), channel, root, data, NOW, &mut rng) {
                assert!(responder.finish(data).is_err());
            }
        }
        1 => assert!(begin(&mut rng).0.finish(data).is_err()),
        2 => {
            let (_, first) = begin(&mut rng);
            let (responder, _) = Responder::start(bob.local(), channel, root, &first, NOW, &mut rng).expect("starts");
            assert!(responder.finish(data).is_err());
        }
        3 => {
            let (initiator, mut first) = begin(&mut rng);
            let changed = change(&mut first, data);
            if let Ok((_, second)) = Responder::start(bob.local(), channel, root, &first, NOW, &mut rng) {
                assert!(!changed || initiator.finish(&second).is_err());
            }
        }
        4 => {
            let (initiator, first) = begin(&mut rng);
            let (_, mut second) = Responder::start(bob.local(), channel, root, &first, NOW, &mut rng).expect("starts");
            if change(&mut second, data) {
                assert!(initiator.finish(&second).is_err());
            }
        }
        _ => {
            let (initiator, first) = begin(&mut rng);
            let (responder, second) =
                Responder::start(bob.local(), channel, root, &first, NOW, &mut rng).expect("starts");
            let (mut third, _) = initiator.finish(&second).expect("a good message");
            let changed = change(&mut third, data);
            match responder.finish(&third) {
                Ok(mut established) => {
                    assert!(!changed, "a changed message was taken");
                    let _ = established.transport.decrypt(data);
                }
                Err(error) => assert!(changed, "{error}"),
            }
        }
    }
});
