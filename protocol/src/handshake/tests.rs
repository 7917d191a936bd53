//! What the handshake lets through and what not.

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::{identity::RootKey, limits::LINK_FRAME_MAX};

const NOW_S: u64 = 1_000_000;

struct Person {
    root: RootKey,
    device: DeviceKey,
    certificate: Certificate,
    peer: PeerId,
}

impl Person {
    fn new(n: u8) -> Self {
        let (root, device) = (RootKey::from_secret(&[n; 32]), DeviceKey::from_secret(&[n + 100; 32]));
        let certificate = Certificate::issue(&root, device.public(), 0, NOW_S - 10, NOW_S + 10);
        Self { root, device, certificate, peer: PeerId::from_bytes(&[n; 38]).unwrap() }
    }

    fn local(&self) -> Local<'_> {
        Local { device: &self.device, certificate: &self.certificate, boot: u64::from(self.peer.as_bytes()[0]) }
    }
}

struct Plan<'a> {
    alice: &'a Person,
    bob: &'a Person,
    wanted_root: RootPublic,
    wanted_device: DevicePublic,
    expected: Option<RootPublic>,
    channels: [(Purpose, &'a PeerId, &'a PeerId); 2],
    now: [u64; 2],
}

impl<'a> Plan<'a> {
    fn good(alice: &'a Person, bob: &'a Person) -> Self {
        let channel = (Purpose::Link, &alice.peer, &bob.peer);
        Self {
            alice,
            bob,
            wanted_root: bob.root.public(),
            wanted_device: bob.device.public(),
            expected: Some(alice.root.public()),
            channels: [channel; 2],
            now: [NOW_S; 2],
        }
    }

    fn run(&self) -> Result<(Established, Established), HandshakeError> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let [a, b] = self.channels.map(|(purpose, initiator, responder)| Channel { purpose, initiator, responder });
        let (initiator, first) =
            Initiator::start(self.alice.local(), a, self.wanted_root, self.wanted_device, self.now[0], &mut rng)?;
        let (responder, second) = Responder::start(self.bob.local(), b, self.expected, &first, self.now[1], &mut rng)?;
        let (third, at_alice) = initiator.finish(&second)?;
        Ok((at_alice, responder.finish(&third)?))
    }
}

#[test]
fn two_friends_meet_and_talk_both_ways() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (mut a, mut b) = Plan::good(&alice, &bob).run().unwrap();
    assert_eq!((a.remote, a.remote_boot, a.version), (bob.certificate, 2, 1));
    assert_eq!((b.remote, b.remote_boot, b.version), (alice.certificate, 1, 1));
    assert_eq!(a.hash, b.hash);
    for frame in [vec![], vec![1; 10], vec![2; LINK_FRAME_MAX]] {
        let message = a.transport.encrypt(&frame).unwrap();
        assert_eq!(b.transport.decrypt(&message).unwrap(), frame);
        let message = b.transport.encrypt(&frame).unwrap();
        assert_eq!(a.transport.decrypt(&message).unwrap(), frame);
    }
    assert_eq!(a.transport.encrypt(&vec![0; LINK_FRAME_MAX + 1]), Err(TransportError::Length(LINK_FRAME_MAX + 1)));
}

#[test]
fn messages_repeated_changed_or_out_of_order_are_refused() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (mut a, mut b) = Plan::good(&alice, &bob).run().unwrap();
    let [first, second] = [b"1", b"2"].map(|frame| a.transport.encrypt(frame).unwrap());
    assert_eq!(b.transport.decrypt(&second), Err(TransportError::Refused));
    assert_eq!(b.transport.decrypt(&first).unwrap(), b"1");
    assert_eq!(b.transport.decrypt(&first), Err(TransportError::Refused));
    let mut changed = second.clone();
    changed[0] ^= 1;
    assert_eq!(b.transport.decrypt(&changed), Err(TransportError::Refused));
    assert_eq!(b.transport.decrypt(&[]), Err(TransportError::Refused));
}

#[test]
fn a_stream_passed_on_to_another_node_fails() {
    let (alice, bob, mallory) = (Person::new(1), Person::new(2), Person::new(3));
    let mut plan = Plan::good(&alice, &bob);
    plan.channels[0].2 = &mallory.peer;
    assert_eq!(plan.run().unwrap_err(), HandshakeError::Refused);
    let mut plan = Plan::good(&alice, &bob);
    plan.channels[1].1 = &mallory.peer;
    assert_eq!(plan.run().unwrap_err(), HandshakeError::Refused);
}

#[test]
fn a_contact_stream_is_no_link() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut plan = Plan::good(&alice, &bob);
    plan.channels[0].0 = Purpose::Contact;
    assert_eq!(plan.run().unwrap_err(), HandshakeError::Refused);
}

#[test]
fn the_wrong_person_or_device_is_refused_on_either_side() {
    let (alice, bob, mallory) = (Person::new(1), Person::new(2), Person::new(3));
    let mut plan = Plan::good(&alice, &bob);
    plan.wanted_device = mallory.device.public();
    assert_eq!(plan.run().unwrap_err(), HandshakeError::Refused);
    let mut plan = Plan::good(&alice, &bob);
    plan.wanted_root = mallory.root.public();
    assert_eq!(plan.run().unwrap_err(), HandshakeError::Root);
    let mut plan = Plan::good(&alice, &bob);
    plan.expected = Some(mallory.root.public());
    assert_eq!(plan.run().unwrap_err(), HandshakeError::Root);
    plan.expected = None;
    assert!(plan.run().is_ok());
}

#[test]
fn a_borrowed_certificate_is_refused_on_either_side() {
    let (alice, bob, mut mallory) = (Person::new(1), Person::new(2), Person::new(3));
    mallory.certificate = bob.certificate;
    let mut plan = Plan::good(&alice, &mallory);
    plan.wanted_root = bob.root.public();
    assert_eq!(plan.run().unwrap_err(), HandshakeError::Device);
    mallory.certificate = alice.certificate;
    let mut plan = Plan::good(&mallory, &bob);
    plan.expected = Some(alice.root.public());
    assert_eq!(plan.run().unwrap_err(), HandshakeError::Device);
}

#[test]
fn certificates_out_of_time_are_refused_on_either_side() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    for side in 0..2 {
        let mut plan = Plan::good(&alice, &bob);
        plan.now[side] = NOW_S + 10;
        assert_eq!(plan.run().unwrap_err(), HandshakeError::Certificate(CertificateError::Expired));
        plan.now[side] = 0;
        assert_eq!(plan.run().unwrap_err(), HandshakeError::Certificate(CertificateError::NotYetValid));
    }
}

#[test]
fn the_initiators_identity_is_not_in_what_it_sends_first() {
    let (alice, bob, carol) = (Person::new(1), Person::new(2), Person::new(3));
    let first = |person: &Person| {
        let channel = Channel { purpose: Purpose::Link, initiator: &alice.peer, responder: &bob.peer };
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (root, device) = (bob.root.public(), bob.device.public());
        Initiator::start(person.local(), channel, root, device, NOW_S, &mut rng).unwrap().1
    };
    assert_eq!(first(&alice), first(&carol));
}

#[test]
fn later_fields_in_a_payload_are_ignored_and_version_zero_is_refused() {
    let alice = Person::new(1);
    let mut bytes = Payload::of(alice.local()).encode();
    bytes.extend_from_slice(b"later");
    assert_eq!(Payload::decode(&bytes).unwrap().certificate, alice.certificate);
    assert!(matches!(Payload::decode(&bytes[..158]), Err(HandshakeError::Payload)));
    bytes[..2].fill(0);
    assert!(matches!(Payload::decode(&bytes), Err(HandshakeError::Version(0))));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
        let (alice, bob) = (Person::new(1), Person::new(2));
        let channel = Channel { purpose: Purpose::Link, initiator: &alice.peer, responder: &bob.peer };
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let responder = Responder::start(bob.local(), channel, None, &bytes, NOW_S, &mut rng);
        prop_assert!(responder.is_err());
        let (root, device) = (bob.root.public(), bob.device.public());
        let (initiator, first) = Initiator::start(alice.local(), channel, root, device, NOW_S, &mut rng).unwrap();
        prop_assert!(initiator.finish(&bytes).is_err());
        let (responder, _) = Responder::start(bob.local(), channel, None, &first, NOW_S, &mut rng).unwrap();
        prop_assert!(responder.finish(&bytes).is_err());
        let _ = Payload::decode(&bytes);
    }

    #[test]
    fn a_flipped_bit_in_any_message_is_noticed(which in 0..3_usize, at: prop::sample::Index, bit in 0..8_u8) {
        let (alice, bob) = (Person::new(1), Person::new(2));
        let channel = Channel { purpose: Purpose::Link, initiator: &alice.peer, responder: &bob.peer };
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let flip = |message: &mut Vec<u8>, number| if which == number {
            let at = at.index(message.len());
            message[at] ^= 1 << bit;
        };
        let (root, device) = (bob.root.public(), bob.device.public());
        let (initiator, mut first) = Initiator::start(alice.local(), channel, root, device, NOW_S, &mut rng).unwrap();
        flip(&mut first, 0);
        // X25519 ignores the top bit of a public key; Noise hashes it all the same, so the next message fails.
        let Ok((responder, mut second)) = Responder::start(bob.local(), channel, None, &first, NOW_S, &mut rng) else {
            return Ok(());
        };
        flip(&mut second, 1);
        let Ok((mut third, _)) = initiator.finish(&second) else { return Ok(()) };
        flip(&mut third, 2);
        prop_assert!(responder.finish(&third).is_err());
    }
}
