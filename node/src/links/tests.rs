//! What gets through the gate and the handshake, and what a stranger sees who does not.

use std::{sync::Arc, time::SystemTime};

use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::io::DuplexStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use twocan_protocol::{
    address::ContactToken,
    gate::Key,
    handshake::{Channel, Initiator, Local, Transport},
    identity::{FriendshipKey, RootKey, RootPublic},
    limits::LINK_FRAME_MAX,
};

use super::*;

mod over_swarm;

const SHORT: Deadlines = Deadlines {
    gate: Duration::from_millis(100),
    handshake: Duration::from_millis(300),
    write: Duration::from_millis(100),
    message: Duration::from_millis(100),
    linger: Duration::from_millis(100),
};

/// Nothing in these tests takes longer, on any machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Person {
    root: RootKey,
    identity: Arc<Identity>,
    peer: PeerId,
    token: ContactToken,
}

impl Person {
    fn new(n: u8) -> Self {
        let root = RootKey::from_secret(&[n; 32]);
        let device = DeviceKey::from_secret(&[n + 100; 32]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let certificate = Certificate::issue(&root, device.public(), 0, now, now + 1000);
        let token = ContactToken::derived(&root);
        let identity = Arc::new(Identity { device, certificate, boot: u64::from(n) });
        Self { root, identity, peer: PeerId::from_bytes(&[n; 38]).unwrap(), token }
    }

    fn key(&self, other: &Self) -> FriendshipKey {
        FriendshipKey::of(&self.root, &other.root.public())
    }

    fn ends(&self, other: &Self) -> Ends {
        Ends {
            own: self.peer.clone(),
            remote: other.peer.clone(),
            connection: format!("{:?}", other.peer),
            address: "/ip4/203.0.113.7/tcp/1".to_owned(),
        }
    }

    /// Everybody given is a friend, and the contact token is open.
    fn table(&self, friends: &[&Self]) -> GateTable {
        let friends: Vec<(RootPublic, FriendshipKey)> =
            friends.iter().map(|friend| (friend.root.public(), self.key(friend))).collect();
        GateTable::new(friends.iter().map(|(root, key)| (*root, key)), Some((&self.root.public(), &self.token)))
    }

    fn acceptor(&self) -> Acceptor {
        let mut acceptor = Acceptor::new(Arc::clone(&self.identity));
        acceptor.deadlines = SHORT;
        acceptor
    }

    fn link_to(&self, other: &Self) -> Target {
        Target {
            purpose: Purpose::Link,
            root: other.root.public(),
            device: other.identity.device.public(),
            gate: Key::link(&self.key(other)),
        }
    }

    fn contact_to(other: &Self) -> Target {
        Target {
            purpose: Purpose::Contact,
            root: other.root.public(),
            device: other.identity.device.public(),
            gate: Key::contact(&other.root.public(), &other.token),
        }
    }

    /// Tag, length and first handshake message, as [`open`] sends them.
    fn opening(&self, other: &Self) -> Vec<u8> {
        let target = self.link_to(other);
        let channel = Channel { purpose: Purpose::Link, initiator: &self.peer, responder: &other.peer };
        let local = Local { device: &self.identity.device, certificate: &self.identity.certificate, boot: 1 };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let started = Initiator::start(local, channel, target.root, target.device, now, &mut rand::rng());
        let first = started.unwrap().1;
        let mut bytes = target.gate.tag(&self.peer, &other.peer).to_vec();
        bytes.extend_from_slice(&u16::try_from(first.len()).unwrap().to_be_bytes());
        bytes.extend(first);
        bytes
    }
}

fn pipe() -> (Compat<DuplexStream>, Compat<DuplexStream>) {
    let (a, b) = tokio::io::duplex(4096);
    (a.compat(), b.compat())
}

async fn meet(alice: &Person, bob: &Person, target: &Target, table: &GateTable) -> (Opened, Opened) {
    let (a, b) = pipe();
    let (to_bob, to_alice) = (alice.ends(bob), bob.ends(alice));
    let acceptor = bob.acceptor();
    let both = async { tokio::join!(open(a, &to_bob, target, &alice.identity), acceptor.accept(b, &to_alice, table)) };
    let (at_alice, at_bob) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    (at_alice.unwrap(), at_bob.unwrap().unwrap())
}

/// What a stranger who sends these bytes gets back until the stream ends, and what the node makes of it.
async fn observe(
    acceptor: &Acceptor,
    ends: &Ends,
    table: &GateTable,
    bytes: &[u8],
    close: bool,
) -> (Vec<u8>, Result<bool, LinkError>) {
    let (mut stranger, stream) = pipe();
    let seen = async {
        // The node may be gone already: the answer is what counts.
        let _ = stranger.write_all(bytes).await;
        if close {
            let _ = stranger.close().await;
        }
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer).await;
        answer
    };
    let both = async { tokio::join!(seen, acceptor.accept(stream, ends, table)) };
    let (answer, result) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    (answer, result.map(|opened| opened.is_some()))
}

async fn received(opened: &mut Opened) -> Option<Vec<u8>> {
    tokio::time::timeout(PATIENCE, opened.rx.recv()).await.unwrap()
}

async fn end_of(opened: Opened) -> Ended {
    let Opened { ended, tx, mut rx, .. } = opened;
    while tokio::time::timeout(PATIENCE, rx.recv()).await.unwrap().is_some() {}
    drop(tx);
    tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap()
}

#[tokio::test]
async fn friends_meet_and_frames_go_both_ways() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (mut a, mut b) = meet(&alice, &bob, &alice.link_to(&bob), &bob.table(&[&alice])).await;
    assert_eq!((a.remote.root, a.remote_boot, a.dialled), (bob.root.public(), 2, true));
    assert_eq!((b.remote.root, b.remote_boot, b.dialled), (alice.root.public(), 1, false));
    for size in [0, 1, 1000, LINK_FRAME_MAX] {
        let frame = vec![7; size];
        a.tx.send(frame.clone()).await.unwrap();
        b.tx.send(frame.clone()).await.unwrap();
        assert_eq!(received(&mut b).await.unwrap(), frame);
        assert_eq!(received(&mut a).await.unwrap(), frame);
    }
}

#[tokio::test]
async fn a_stranger_with_the_address_gets_a_contact_stream_and_no_link() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (a, b) = meet(&alice, &bob, &Person::contact_to(&bob), &bob.table(&[])).await;
    assert_eq!((a.purpose, b.purpose), (Purpose::Contact, Purpose::Contact));
    assert_eq!(b.remote.root, alice.root.public());
}

#[tokio::test]
async fn what_is_queued_still_goes_out_when_a_stream_is_closed() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (a, mut b) = meet(&alice, &bob, &alice.link_to(&bob), &bob.table(&[&alice])).await;
    for n in 0..20 {
        a.tx.try_send(vec![n; 1000]).unwrap();
    }
    let Opened { tx, rx, ended, .. } = a;
    drop((tx, rx));
    for n in 0..20 {
        assert_eq!(received(&mut b).await.unwrap(), vec![n; 1000]);
    }
    assert_eq!(end_of(b).await, Ended::There);
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap(), Ended::Here);
}

#[tokio::test]
async fn a_wrong_tag_gets_what_a_node_with_nothing_open_gives() {
    let (alice, bob, eve) = (Person::new(1), Person::new(2), Person::new(3));
    let open_to_alice = bob.table(&[&alice]);
    let mut openings = vec![eve.opening(&bob), vec![0; 32], vec![0; 500]];
    openings.push(alice.opening(&bob));
    openings[3][31] ^= 1;
    for opening in openings {
        let with = observe(&bob.acceptor(), &bob.ends(&eve), &open_to_alice, &opening, false).await;
        let without = observe(&bob.acceptor(), &bob.ends(&eve), &GateTable::default(), &opening, false).await;
        assert_eq!(with, without);
        assert_eq!(with, (Vec::new(), Ok(false)));
    }
}

#[tokio::test]
async fn an_old_token_and_a_former_friend_are_not_let_in() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let mut rotated = Person::new(2);
    rotated.token = ContactToken::random(&mut rand::rng());
    for target in [alice.link_to(&bob), Person::contact_to(&bob)] {
        let (a, b) = pipe();
        let (table, acceptor) = (rotated.table(&[]), bob.acceptor());
        let (to_bob, to_alice) = (alice.ends(&bob), bob.ends(&alice));
        let (at_alice, at_bob) =
            tokio::join!(open(a, &to_bob, &target, &alice.identity), acceptor.accept(b, &to_alice, &table));
        assert_eq!(at_alice.unwrap_err(), LinkError::NotAdmitted);
        assert!(at_bob.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_recorded_opening_is_worth_nothing_to_another_node_and_leads_nowhere_from_the_same() {
    let (alice, bob, eve) = (Person::new(1), Person::new(2), Person::new(3));
    let (table, acceptor, recorded) = (bob.table(&[&alice]), bob.acceptor(), alice.opening(&bob));
    assert_eq!(observe(&acceptor, &bob.ends(&eve), &table, &recorded, false).await, (Vec::new(), Ok(false)));
    let mut replayed = recorded.clone();
    replayed.extend_from_slice(&[0, 64]);
    replayed.extend_from_slice(&[1; 64]);
    let (answer, result) = observe(&acceptor, &bob.ends(&alice), &table, &replayed, false).await;
    // The second handshake message is encrypted to an ephemeral key that the eavesdropper does not have.
    assert!(!answer.is_empty());
    assert_eq!(result, Err(LinkError::Handshake(HandshakeError::Refused)));
}

#[tokio::test]
async fn openings_cut_short_anywhere_end_without_harm() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (table, opening) = (bob.table(&[&alice]), alice.opening(&bob));
    for cut in 0..=opening.len() {
        let (answer, result) = observe(&bob.acceptor(), &bob.ends(&alice), &table, &opening[..cut], true).await;
        assert_eq!(answer.is_empty(), cut < opening.len(), "cut at {cut}");
        match result {
            Ok(admitted) => assert!(!admitted && cut < 32, "cut at {cut}"),
            Err(error) => assert_eq!(error, LinkError::Lost(io::ErrorKind::UnexpectedEof), "cut at {cut}"),
        }
    }
}

#[tokio::test]
async fn who_goes_silent_before_or_in_the_handshake_is_dropped_in_time() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (table, opening) = (bob.table(&[&alice]), alice.opening(&bob));
    let silent = observe(&bob.acceptor(), &bob.ends(&alice), &table, &opening[..31], false).await;
    assert_eq!(silent, (Vec::new(), Ok(false)));
    let (_, result) = observe(&bob.acceptor(), &bob.ends(&alice), &table, &opening, false).await;
    assert_eq!(result, Err(LinkError::Timeout));
}

#[tokio::test]
async fn garbage_after_the_gate_is_a_violation() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (table, opening) = (bob.table(&[&alice]), alice.opening(&bob));
    for (length, expected) in [
        (0_u16, LinkError::Length(0)),
        (u16::MAX, LinkError::Length(65_535)),
        (48, LinkError::Handshake(HandshakeError::Refused)),
    ] {
        let mut bytes = opening[..32].to_vec();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[0xaa; 48]);
        let (_, result) = observe(&bob.acceptor(), &bob.ends(&alice), &table, &bytes, true).await;
        assert_eq!(result, Err(expected));
    }
}

#[tokio::test]
async fn who_knocks_too_often_is_not_heard_for_a_while_and_friends_are() {
    let (alice, bob, eve) = (Person::new(1), Person::new(2), Person::new(3));
    let (table, acceptor) = (bob.table(&[&alice, &eve]), bob.acceptor());
    for _ in 0..5 {
        let (_, result) = observe(&acceptor, &bob.ends(&eve), &table, &[9; 32], true).await;
        assert_eq!(result, Ok(false));
    }
    // The right tag now, from the same connection: not even compared.
    let late = observe(&acceptor, &bob.ends(&eve), &table, &eve.opening(&bob), true).await;
    assert_eq!(late, (Vec::new(), Ok(false)));
    // Good links use nothing up, however many there are.
    for _ in 0..40 {
        let (a, b) = pipe();
        let (to_bob, to_alice, target) = (alice.ends(&bob), bob.ends(&alice), alice.link_to(&bob));
        let (at_alice, at_bob) =
            tokio::join!(open(a, &to_bob, &target, &alice.identity), acceptor.accept(b, &to_alice, &table));
        assert!(at_alice.is_ok() && at_bob.unwrap().is_some());
    }
}

#[tokio::test]
async fn one_source_cannot_guess_on_through_new_connections() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (table, acceptor) = (bob.table(&[&alice]), bob.acceptor());
    let mut ends = bob.ends(&alice);
    for n in 0..30 {
        ends.connection = n.to_string();
        assert_eq!(observe(&acceptor, &ends, &table, &[9; 32], true).await, (Vec::new(), Ok(false)));
    }
    ends.connection = "new".to_owned();
    assert_eq!(observe(&acceptor, &ends, &table, &alice.opening(&bob), true).await, (Vec::new(), Ok(false)));
    ends.address = "/ip4/203.0.113.8/tcp/1".to_owned();
    assert_eq!(observe(&acceptor, &ends, &table, &alice.opening(&bob), true).await.0.len(), 2 + 32 + 159 + 16);
}

#[tokio::test]
async fn a_node_in_the_middle_can_only_fail() {
    let (alice, bob, mallory) = (Person::new(1), Person::new(2), Person::new(3));
    // Alice was told that Bob is at Mallory's node. Mallory is a friend of Bob's, so the gate opens for her own tag;
    // behind it she passes Alice's handshake on.
    let table = bob.table(&[&alice, &mallory]);
    let acceptor = bob.acceptor();
    let (alices, mut from_alice) = pipe();
    let (mut to_bob, bobs) = pipe();
    let passing_on = async {
        let mut tag = [0; 32];
        from_alice.read_exact(&mut tag).await.unwrap();
        let own = mallory.link_to(&bob).gate.tag(&mallory.peer, &bob.peer);
        to_bob.write_all(&own).await.unwrap();
        let (mut alice_read, mut alice_write) = from_alice.split();
        let (mut bob_read, mut bob_write) = to_bob.split();
        tokio::select! {
            _ = futures::io::copy(&mut alice_read, &mut bob_write) => {}
            _ = futures::io::copy(&mut bob_read, &mut alice_write) => {}
        }
    };
    let (ends_alice, ends_bob, target) = (alice.ends(&mallory), bob.ends(&mallory), alice.link_to(&bob));
    let all = async {
        tokio::join!(
            open(alices, &ends_alice, &target, &alice.identity),
            acceptor.accept(bobs, &ends_bob, &table),
            passing_on
        )
    };
    let (at_alice, at_bob, ()) = tokio::time::timeout(PATIENCE, all).await.unwrap();
    assert_eq!(at_alice.unwrap_err(), LinkError::NotAdmitted);
    assert_eq!(at_bob.unwrap_err(), LinkError::Handshake(HandshakeError::Refused));
}

#[tokio::test]
async fn a_friend_cannot_enter_under_another_friends_tag() {
    let (alice, bob, mallory) = (Person::new(1), Person::new(2), Person::new(3));
    // Suppose that Alice's friendship key was stolen, and nothing else of hers.
    let stolen = Target { gate: Key::link(&alice.key(&bob)), ..mallory.link_to(&bob) };
    let (a, b) = pipe();
    let (acceptor, table) = (bob.acceptor(), bob.table(&[&alice, &mallory]));
    let (to_bob, to_mallory) = (mallory.ends(&bob), bob.ends(&mallory));
    let (_, at_bob) =
        tokio::join!(open(a, &to_bob, &stolen, &mallory.identity), acceptor.accept(b, &to_mallory, &table));
    assert_eq!(at_bob.unwrap_err(), LinkError::Handshake(HandshakeError::Root));
}

/// An open stream at Bob's, with the raw other end in the test's hands.
async fn bobs_open_stream(alice: &Person, bob: &Person) -> (Opened, Compat<DuplexStream>, Transport) {
    let (mut raw, stream) = pipe();
    let (acceptor, ends, table) = (bob.acceptor(), bob.ends(alice), bob.table(&[alice]));
    let by_hand = async {
        let channel = Channel { purpose: Purpose::Link, initiator: &alice.peer, responder: &bob.peer };
        let local = Local { device: &alice.identity.device, certificate: &alice.identity.certificate, boot: 1 };
        let (target, now) = (alice.link_to(bob), alice.identity.certificate.issued_s);
        let (initiator, first) =
            Initiator::start(local, channel, target.root, target.device, now, &mut rand::rng()).unwrap();
        raw.write_all(&target.gate.tag(&alice.peer, &bob.peer)).await.unwrap();
        wire::write(&mut raw, &first).await.unwrap();
        let begun = wire::begin(&mut raw).await.unwrap();
        let second = wire::finish(&mut raw, begun, 0, 2000).await.unwrap();
        let (third, established) = initiator.finish(&second).unwrap();
        wire::write(&mut raw, &third).await.unwrap();
        (raw, established.transport)
    };
    let ((raw, transport), opened) = tokio::join!(by_hand, acceptor.accept(stream, &ends, &table));
    (opened.unwrap().unwrap(), raw, transport)
}

#[tokio::test]
async fn lies_on_an_open_stream_end_it_with_a_reason() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let refused = Ended::Transport(TransportError::Refused);
    for case in 0..6 {
        let (opened, mut raw, mut transport) = bobs_open_stream(&alice, &bob).await;
        let message = transport.encrypt(b"good").unwrap();
        let expected = match case {
            // Garbage of a good length.
            0 => {
                wire::write(&mut raw, &[7; 100]).await.unwrap();
                refused
            }
            // The same message twice.
            1 => {
                wire::write(&mut raw, &message).await.unwrap();
                wire::write(&mut raw, &message).await.unwrap();
                refused
            }
            // One left out.
            2 => {
                wire::write(&mut raw, &transport.encrypt(b"second").unwrap()).await.unwrap();
                refused
            }
            // Too long, too short, and never finished.
            3 => {
                raw.write_all(&[0xff, 0xff, 0]).await.unwrap();
                Ended::Length(65_535)
            }
            4 => {
                raw.write_all(&[0, 15, 0]).await.unwrap();
                Ended::Length(15)
            }
            _ => {
                raw.write_all(&[0, 100, 0]).await.unwrap();
                Ended::Unfinished
            }
        };
        raw.flush().await.unwrap();
        let ended = end_of(opened).await;
        assert_eq!(ended, expected, "case {case}");
        assert!(ended.is_violation());
        assert_eq!(ended.to_string().lines().count(), 1);
    }
}

#[tokio::test]
async fn who_does_not_read_is_dropped_and_who_floods_is_held_back() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (opened, raw, _) = bobs_open_stream(&alice, &bob).await;
    let mut sent = 0;
    // The channel takes a bounded number although nobody reads at the other end.
    while opened.tx.try_send(vec![1; 10_000]).is_ok() {
        sent += 1;
        assert!(sent <= CHANNEL_FRAMES);
    }
    assert_eq!(end_of(opened).await, Ended::Stalled);
    drop(raw);

    let (opened, mut raw, mut transport) = bobs_open_stream(&alice, &bob).await;
    let flood = async {
        let mut written = 0;
        while let Ok(Ok(())) =
            tokio::time::timeout(SHORT.write, wire::write(&mut raw, &transport.encrypt(&[1; 10_000]).unwrap())).await
        {
            written += 1;
        }
        written
    };
    // Nobody takes frames at Bob's: what gets in is his channel, one frame on its way, and the pipe.
    assert!(flood.await <= CHANNEL_FRAMES + 2);
    drop(raw);
    assert_eq!(end_of(opened).await, Ended::Lost(io::ErrorKind::UnexpectedEof));
}
