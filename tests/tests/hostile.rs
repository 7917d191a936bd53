//! A third party at every entrance of a real node: streams, DHT, control socket, media socket, UDP ports, requests.
//!
//! After each attack the node is alive and answers, has not grown, has said in its log what it dropped, and friends
//! still talk over it.

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UdpSocket, UnixStream};
use tokio::time::timeout;
use twocan_control::{CallState, Client, FriendState, Handle, RequestAnswer, TakeSeat};
use twocan_node::swarm::{GetEvent, Stream};
use twocan_protocol::address::{Address, ContactToken};
use twocan_protocol::friend::REQUEST_BURST;
use twocan_protocol::identity::{Certificate, DeviceKey, RootKey};
use twocan_protocol::rendezvous::{Body, Schedule, contact_publisher, contact_reader};
use twocan_protocol::wire::{
    Bounded, CallBody, CallId, CallMessage, Candidate, Candidates, Description, DescriptionKind, Frame, Message, Open,
    Reply,
};
use twocan_tests::{Attacker, DEADLINE, Node, Options, Recorder, Seat, World, ask, garbage, online, say, talk};

/// How much a node may grow under attack. Its bounds are tens of connections, streams and frames, each of some KiB.
const GROWTH_KIB: u64 = 20 * 1024;

/// Friends who have talked once, so that what a call needs is there; and what Bob's node weighs then.
async fn friends_who_have_talked() -> Result<(World, u64)> {
    let world = World::of_friends().await?;
    call_and_hang_up(&world).await?;
    let before = world.people[1].resident_kib()?;
    Ok((world, before))
}

async fn call_and_hang_up(world: &World) -> Result<()> {
    let (at_alice, mut at_bob) = talk(&world.people[0], &world.people[1]).await?;
    world.people[0].api().hangup(&at_alice.seated.call.id).await?;
    at_bob.ended().await
}

/// The node is there, answers, has not grown, and nothing in it broke.
async fn still_well(node: &mut Node, before_kib: u64) -> Result<()> {
    ensure!(node.alive(), "the node is gone: {}", node.log()?.lines().last().unwrap_or_default());
    node.eventually("an answer", |api| async move { Ok(api.status().await.ok()) }).await?;
    let log = node.log()?;
    ensure!(!log.contains("panicked"), "{log}");
    ensure!(log.lines().count() < 500, "the log is flooded: {} lines", log.lines().count());
    let grown = node.resident_kib()?.saturating_sub(before_kib);
    ensure!(grown < GROWTH_KIB, "the node has grown by {grown} KiB");
    Ok(())
}

fn reasons(node: &Node, text: &str) -> Result<usize> {
    Ok(node.log()?.lines().filter(|line| line.contains(text)).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_truncated_and_replayed_streams_are_dropped_with_a_reason() -> Result<()> {
    let (mut world, before) = friends_who_have_talked().await?;
    let known = [world.stranger.bootstrap_address().await?];
    let (mallory, trudy) = tokio::try_join!(Attacker::start(&known), Attacker::start(&known))?;
    let bob = &world.people[1];
    let target = mallory.contact(bob).await?;

    // Without the right tag there is not a byte of answer, whatever comes.
    for (seed, length) in [(1, 0), (2, 1), (3, 31), (4, 32), (5, 33), (6, 200), (7, 65_536), (8, 1 << 20)] {
        let (stream, info) = mallory.stream(bob).await?;
        let answer = say(stream, &garbage(seed, length)).await?;
        assert!(answer.is_empty(), "{length} bytes of garbage were answered with {} bytes", answer.len());
        mallory.swarm.disconnect(info.connection).await;
    }

    // Behind the right tag, what is no handshake is dropped, and the log says why.
    for wrong in [&[0, 0][..], &[0xff, 0xff], &[0, 16], &[0, 15], &[4], &[]] {
        let (stream, info) = mallory.stream(bob).await?;
        let mut bytes = target.gate.tag(mallory.swarm.peer_id(), &info.peer).to_vec();
        bytes.extend_from_slice(wrong);
        bytes.extend(garbage(9, 16 * usize::from(wrong == [0, 16])));
        let answer = say(stream, &bytes).await?;
        assert!(answer.is_empty());
        mallory.swarm.disconnect(info.connection).await;
    }
    bob.eventually("a reason in the log", |_| async { Ok((reasons(bob, "a stream was dropped")? >= 4).then_some(())) })
        .await?;

    // A whole conversation, replayed: by the same node the handshake fails, by another one the tag is wrong.
    let (stream, info) = mallory.stream(bob).await?;
    let (stream, written) = Recorder::new(stream);
    assert_eq!(mallory.ask(1, &target, stream, &info).await?, Reply::Pending);
    let recorded = written.lock().map(|bytes| bytes.clone()).unwrap_or_default();
    let dropped = reasons(bob, "a stream was dropped")?;
    bob.api().answer_request(&bob.api().requests().await?[0].id, RequestAnswer::Decline).await?;
    let answer = say(mallory.stream(bob).await?.0, &recorded).await?;
    assert!(answer.len() < 1024, "a handshake message at most: {}", answer.len());
    let cut = say(mallory.stream(bob).await?.0, &recorded[..recorded.len() / 2]).await?;
    assert!(cut.len() < 1024);
    assert!(say(trudy.stream(bob).await?.0, &recorded).await?.is_empty(), "another node's tag");
    bob.eventually("more reasons in the log", |_| async {
        Ok((reasons(bob, "a stream was dropped")? >= dropped + 2).then_some(()))
    })
    .await?;
    assert!(bob.api().requests().await?.is_empty(), "a replayed request is none");

    still_well(&mut world.people[1], before).await?;
    call_and_hang_up(&world).await
}

/// Opens streams until no more are let through, says a little on each, and keeps them all.
async fn hoard(attacker: &Attacker, node: &Node) -> Vec<Stream> {
    use futures::AsyncWriteExt;
    let mut held = Vec::new();
    for _ in 0..6 {
        let Ok(info) = attacker.connect(node).await else { continue };
        let opened = join_all((0..24).map(|_| attacker.swarm.open(info.connection))).await;
        for mut stream in opened.into_iter().flatten() {
            // A stream that was closed meanwhile is as good.
            let _ = stream.write_all(&garbage(1, 20)).await;
            let _ = stream.flush().await;
            held.push(stream);
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_streams_is_bounded_and_friends_talk_on() -> Result<()> {
    let (mut world, before) = friends_who_have_talked().await?;
    let bob = &world.people[1];
    let (mut at_alice, mut at_bob) = talk(&world.people[0], bob).await?;
    let mut attackers = Vec::new();
    for _ in 0..6 {
        attackers.push(Attacker::start(&[]).await?);
    }
    for _ in 0..3 {
        let held = join_all(attackers.iter().map(|attacker| hoard(attacker, bob))).await;
        let held: usize = held.iter().map(Vec::len).sum();
        assert!(held > 0, "not one stream was opened: nothing was tested");
        at_bob.hear().await?;
        at_alice.hear().await?;
    }
    world.people[0].api().hangup(&at_alice.seated.call.id).await?;
    still_well(&mut world.people[1], before).await?;
    call_and_hang_up(&world).await
}

/// Something that is signed well and means nothing: the contact slot of nobody.
fn worthless_record(number: u64, peer: &twocan_protocol::identity::PeerId) -> Result<([u8; 32], Vec<u8>)> {
    let mut secret = [0x33; 32];
    secret[..8].copy_from_slice(&number.to_be_bytes());
    let root = RootKey::from_secret(&secret);
    let device = DeviceKey::from_secret(&secret);
    let body = Body {
        certificate: Certificate::issue(&root, device.public(), 0, 0, u64::MAX),
        peer_id: peer.clone(),
        direct: Vec::new(),
        lan: Vec::new(),
        relayed: Vec::new(),
        expires_ms: u64::MAX,
    };
    let publisher = contact_publisher(&root, &ContactToken::derived(&root), 1, 0);
    Ok((*publisher.key.as_bytes(), publisher.record(1, &body, &mut rand::rng())?))
}

fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_in_the_dht_does_not_hide_anybody() -> Result<()> {
    let (mut world, before) = friends_who_have_talked().await?;
    let stranger_before = world.stranger.resident_kib()?;
    let mallory = Attacker::start(&[world.stranger.bootstrap_address().await?]).await?;
    mallory.joined().await?;
    let address: Address = world.people[1].api().identity().await?.address.parse()?;

    // What anybody who has the address can do to the slot: put there what is none, what was changed, what is too large.
    for day in Schedule::contact(&address.root, &address.token).to_read(unix_ms()) {
        let key = *contact_reader(&address, day, 0)?.key.as_bytes();
        let mut copies = Vec::new();
        let mut get = mallory.swarm.get(key).await?;
        while let Some(event) = timeout(DEADLINE, get.next()).await? {
            match event {
                GetEvent::Copy(copy) => copies.push(copy.value),
                GetEvent::Done(_) => break,
            }
        }
        for copy in copies {
            for at in [0, 5, 40, 100, copy.len() - 1] {
                let mut changed = copy.clone();
                changed[at] ^= 1;
                mallory.put(key, changed).await?;
            }
            mallory.put(key, copy[..copy.len() - 1].to_vec()).await?;
        }
        for (seed, length) in [(1, 0), (2, 1), (3, 1023), (4, 1024), (5, 1025), (6, 8000)] {
            mallory.put(key, garbage(seed, length)).await?;
        }
    }
    // And to the storing nodes: many keys with junk, and many that are good but worthless.
    let stored = world.stranger.api().status().await?.dht.records_stored;
    for batch in 0..16 {
        let junk = (0..16).map(|n| {
            let key: [u8; 32] = std::array::from_fn(|at| garbage(batch * 16 + n, 32)[at]);
            mallory.put(key, garbage(n, 1024))
        });
        join_all(junk).await.into_iter().collect::<Result<Vec<_>>>()?;
    }
    let after_junk = world.stranger.api().status().await?.dht.records_stored;
    assert!(after_junk < stored + 16, "junk was stored: {stored} records became {after_junk}");
    for batch in 0..16 {
        let records: Vec<_> =
            (0..16).map(|n| worthless_record(batch * 16 + n, mallory.swarm.peer_id())).collect::<Result<_>>()?;
        join_all(records.into_iter().map(|(key, value)| mallory.put(key, value)))
            .await
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
    }
    still_well(&mut world.stranger, stranger_before).await?;
    still_well(&mut world.people[1], before).await?;

    // Somebody new, who knows the attacker best, finds Bob all the same; and Alice finds him after both were away.
    let bootstrap = vec![mallory.address.clone(), world.stranger.bootstrap_address().await?];
    let carol = Node::start("carol", &Options { bootstrap, ..Options::default() }).await?;
    ask(&carol, &world.people[1]).await?;
    let id = twocan_tests::incoming_request(&world.people[1], &carol).await?;
    world.people[1].api().answer_request(&id, RequestAnswer::Accept { name: None }).await?;
    online(&carol, &world.people[1]).await?;
    world.people[0].kill_and_restart().await?;
    online(&world.people[0], &world.people[1]).await?;
    online(&world.people[1], &world.people[0]).await?;
    call_and_hang_up(&world).await
}

async fn raw(node: &Node) -> Result<UnixStream> {
    Ok(UnixStream::connect(twocan_control::paths::socket(node.home())).await?)
}

/// Writes all that is taken, and reads what comes until the node closes.
async fn raw_exchange(mut stream: UnixStream, bytes: &[u8]) -> Result<String> {
    // Who is closed to while writing has an answer as well.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    let read = async {
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            answer.extend_from_slice(&part[..count]);
        }
    };
    timeout(DEADLINE, read).await.context("the control server does not close")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Asks for the media of a seat; the status line of the answer.
async fn media_status(stream: &mut UnixStream, call: &str, seat: &str) -> Result<String> {
    stream.write_all(&upgrade(call, seat)).await?;
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        anyhow::Ok(())
    };
    timeout(DEADLINE, read).await.context("no answer of the media socket")??;
    Ok(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned())
}

fn upgrade(call: &str, seat: &str) -> Vec<u8> {
    format!(
        "GET /v1/calls/{call}/media?seat={seat} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// A masked WebSocket frame that says it has `length` bytes; `payload` is what comes.
fn frame(opcode: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode, 0x80 | 127];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_at_the_control_and_media_sockets_does_not_end_the_call() -> Result<()> {
    let (mut world, before) = friends_who_have_talked().await?;
    let bob = &world.people[1];
    let (mut at_alice, mut at_bob) = talk(&world.people[0], bob).await?;
    let (call, token) = (at_bob.seated.call.id.clone(), at_bob.seated.seat.clone());

    for (seed, length) in [(1, 1), (2, 100), (3, 20_000), (4, 1 << 20)] {
        let answer = raw_exchange(raw(bob).await?, &garbage(seed, length)).await?;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let endless = format!("POST /v1/friends HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", u64::MAX);
    let answer = raw_exchange(raw(bob).await?, &[endless.as_bytes(), &garbage(5, 1 << 20)].concat()).await?;
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    let refused = media_status(&mut raw(bob).await?, &call, "0123456789abcdef0123456789abcdef").await?;
    assert!(refused.starts_with("HTTP/1.1 409"), "{refused}");
    let refused = media_status(&mut raw(bob).await?, "ffffffffffffffff", &token.0).await?;
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
    // Nobody who had not the token came near the seat.
    at_bob.hear().await?;
    at_alice.hear().await?;

    // Now somebody with the token of the seat, who speaks garbage in it.
    let audio = |length: usize| [&[1, 0, 0, 0][..], &garbage(6, 16), &garbage(7, length)].concat();
    for bad in [
        garbage(8, 10_000),
        frame(2, u64::MAX, &garbage(9, 5000)),
        frame(2, 2 << 20, &garbage(10, 2 << 20)),
        frame(2, 3, b"abc"),
        frame(2, 20_020, &audio(20_000)),
        frame(2, 24, &[&[9; 4][..], &[0; 20]].concat()),
        frame(1, 20, "{\"type\":\"nonsense\"}x".as_bytes()),
        frame(1, 60_000, "[".repeat(60_000).as_bytes()),
        frame(0, 4, b"junk"),
    ] {
        let mut stream = raw(bob).await?;
        let status = media_status(&mut stream, &call, &token.0).await?;
        assert!(status.starts_with("HTTP/1.1 101"), "{status}");
        raw_exchange(stream, &bad).await?;
    }
    at_bob.ended().await?;
    let again = bob.api().take_seat(&call, TakeSeat { token: Some(token) }).await?;
    let mut at_bob = Seat::take(bob.api(), again).await?;
    at_bob.hear().await?;
    while at_alice.hear().await? > 50 {}

    // Every place taken, by connections that say nothing or half a head.
    let mut held = Vec::new();
    for number in 0..300 {
        let Ok(mut stream) = raw(bob).await else { break };
        if number % 2 == 0 {
            let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nho").await;
        }
        held.push(stream);
    }
    at_bob.hear().await?;
    at_alice.hear().await?;
    drop(held);
    bob.eventually("a free place", |_| async { Ok(Client::connect(bob.home()).await.ok()) }).await?;
    bob.api().hangup(&call).await?;
    still_well(&mut world.people[1], before).await?;
    call_and_hang_up(&world).await
}

/// A datagram that begins like one of the protocols that share the port, or like none.
fn datagram(number: u64) -> Vec<u8> {
    let mut bytes = garbage(number, 1 + usize::try_from(number * 37 % 1400).unwrap_or(1));
    let start: &[u8] = match number % 6 {
        // STUN binding request and response with the magic cookie.
        0 => &[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42],
        1 => &[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42],
        // DTLS handshake and application data.
        2 => &[22, 0xfe, 0xfd, 0, 0, 0, 0],
        3 => &[23, 0xfe, 0xfd, 0, 1, 0, 0],
        // RTP and RTCP.
        4 => &[0x80, 111, 0, 1],
        _ => &[0x80, 200, 0, 6],
    };
    if !number.is_multiple_of(13) && bytes.len() >= start.len() {
        bytes[..start.len()].copy_from_slice(start);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_under_garbage_at_its_ports() -> Result<()> {
    let (mut world, before) = friends_who_have_talked().await?;
    let bob = &world.people[1];
    let (mut at_alice, mut at_bob) = talk(&world.people[0], bob).await?;
    let status = bob.api().status().await?;
    let quic = status.listen.iter().find_map(|at| at.strip_prefix("/ip4/127.0.0.1/udp/")).context("no QUIC port")?;
    let quic: u16 = quic.split('/').next().unwrap_or_default().parse()?;
    let sockets = [UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?];
    let flood = async {
        for number in 0..20_000 {
            let bytes = datagram(number);
            for port in [status.media_port, quic] {
                // A full queue of the system loses it: that is the flood.
                let _ = sockets[usize::from(number % 2 == 0)].try_send_to(&bytes, ([127, 0, 0, 1], port).into());
            }
            if number % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    };
    let listen = async {
        let (from_alice, from_bob) = (at_bob.hear().await?, at_alice.hear().await?);
        while at_bob.hear().await? < from_alice + 150 {}
        while at_alice.hear().await? < from_bob + 150 {}
        anyhow::Ok(())
    };
    tokio::try_join!(flood, listen)?;
    let call = at_bob.seated.call.id.clone();
    assert_eq!(bob.api().call(&call).await?.state, CallState::Active);
    bob.api().hangup(&call).await?;
    still_well(&mut world.people[1], before).await?;
    call_and_hang_up(&world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_is_bounded_and_friends_are_made_all_the_same() -> Result<()> {
    let mut world = World::of(&["alice", "bob"]).await?;
    let before = world.people[1].resident_kib()?;
    let bob = &world.people[1];
    let mallory = Attacker::start(&[world.stranger.bootstrap_address().await?]).await?;
    let target = mallory.contact(bob).await?;
    let mut answers = Vec::new();
    // Each with a name of its own, a few on each connection, until the doors are shut.
    for number in 0..60 {
        let Ok(info) = mallory.connect(bob).await else { continue };
        if let Ok(stream) = mallory.swarm.open(info.connection).await
            && let Ok(reply) = mallory.ask(number, &target, Recorder::new(stream).0, &info).await
        {
            answers.push(reply);
        }
        mallory.swarm.disconnect(info.connection).await;
    }
    let taken = answers.iter().filter(|reply| **reply == Reply::Pending).count();
    let requests = bob.api().requests().await?;
    assert_eq!(requests.len(), taken, "whoever was told so waits");
    assert!(taken > 0 && taken <= REQUEST_BURST as usize + 1, "{taken} requests of a flood were taken");
    assert!(answers.contains(&Reply::Later), "the rest is told to come later");

    // An honest request now has to wait as well, and does. But who expects it can ask in turn.
    let (alice, bob) = (&world.people[0], &world.people[1]);
    ask(alice, bob).await?;
    assert_eq!(alice.api().friends().await?[0].state, FriendState::Requested);
    for request in requests {
        bob.api().answer_request(&request.id, RequestAnswer::Decline).await?;
    }
    ask(bob, alice).await?;
    online(alice, bob).await?;
    online(bob, alice).await?;
    assert!(bob.api().requests().await?.is_empty());
    still_well(&mut world.people[1], before).await?;
    call_and_hang_up(&world).await
}

/// The first frame of a link.
fn opening(session: u64) -> Vec<u8> {
    let open = Open { session, first: 1, of: 0, received: 0 };
    Frame::plain(Message::Open(open)).encode().unwrap_or_default()
}

/// A call with a description that describes nothing.
fn nonsense_call(number: u8) -> Message {
    let description = Description {
        kind: DescriptionKind::Offer,
        generation: 0,
        fingerprint: [number; 32],
        sdp: Bounded::new("v=0\r\nm=audio 9 nonsense".repeat(usize::from(number))).unwrap_or_default(),
        more: Bounded::new("m=video 9\r\nm=audio 9\r\n".repeat(usize::from(number))).unwrap_or_default(),
    };
    let candidates = Candidates::first_of((0..16).filter_map(|port| Candidate::new(format!("candidate:{port} junk"))));
    let body = CallBody::Invite { description, candidates, video: number.is_multiple_of(2), resumes: None };
    Message::Call(CallMessage { call: CallId([number; 16]), participant: 0, body })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_friend_who_breaks_the_rules_of_the_link_loses_the_link_and_nothing_else_happens() -> Result<()> {
    const JUDAS: u64 = 77;
    let (mut world, before) = friends_who_have_talked().await?;
    let bob = &world.people[1];
    let (mut at_alice, mut at_bob) = talk(&world.people[0], bob).await?;
    let mallory = Attacker::start(&[world.stranger.bootstrap_address().await?]).await?;
    let target = mallory.contact(bob).await?;
    let (stream, info) = mallory.stream(bob).await?;
    assert_eq!(mallory.ask(JUDAS, &target, Recorder::new(stream).0, &info).await?, Reply::Pending);
    let request = bob.api().requests().await?.remove(0);
    bob.api().answer_request(&request.id, RequestAnswer::Accept { name: None }).await?;

    let ping = |sequence, acknowledged| Frame { sequence, acknowledged, message: Message::Ping(7) }.encode();
    let plain = ping(None, None)?;
    let version = plain.windows(3).position(|bytes| bytes == [0x61, b'v', 1]).context("no version in the frame")?;
    let mut newer = plain.clone();
    newer[version + 2] = 9;
    let faults: [Vec<Vec<u8>>; 9] = [
        vec![garbage(1, 100)],
        vec![vec![0; 32 * 1024]],
        vec![vec![0x9f; 32 * 1024]],
        vec![plain.clone()],
        vec![opening(4), opening(4)],
        vec![opening(5), ping(Some(1000), None)?],
        vec![opening(6), ping(None, Some(1000))?],
        vec![opening(7), newer],
        std::iter::once(opening(8)).chain(std::iter::repeat_n(plain.clone(), 3000)).collect(),
    ];
    // A flood may fill the queue of answers before it is counted as one.
    let closed = |node: &Node| anyhow::Ok(reasons(node, " closed: ")? + reasons(node, "the channel is too slow")?);
    for (number, frames) in faults.into_iter().enumerate() {
        let mut link = mallory.link(JUDAS, &target, bob).await?;
        let (tx, mut rx) = (link.tx, link.rx);
        let attack = async {
            for frame in frames {
                if tx.send(frame).await.is_err() {
                    return;
                }
            }
        };
        let end = async { while rx.recv().await.is_some() {} };
        timeout(DEADLINE, async { tokio::join!(attack, end) }).await.with_context(|| format!("fault {number}"))?;
        timeout(DEADLINE, &mut link.ended).await??;
        bob.eventually("the reason in the log", |_| async { Ok((closed(bob)? > number).then_some(())) })
            .await
            .with_context(|| format!("fault {number}: {}", bob.log().unwrap_or_default()))?;
    }

    // A link that keeps to the rules, and calls that make no sense: each fails or is turned away.
    let mut link = mallory.link(JUDAS, &target, bob).await?;
    link.tx.send(opening(9)).await?;
    for number in 1..=40_u8 {
        let frame = Frame { sequence: Some(number.into()), acknowledged: None, message: nonsense_call(number) };
        link.tx.send(frame.encode()?).await?;
    }
    let answered = async {
        while let Some(frame) = link.rx.recv().await {
            if Frame::decode(&frame).is_ok_and(|frame| matches!(frame.message, Message::Call(_))) {
                return true;
            }
        }
        false
    };
    assert!(timeout(DEADLINE, answered).await?, "the calls arrived");
    let mine = at_bob.seated.call.id.clone();
    bob.eventually("the end of the nonsense", |api| {
        let mine = mine.clone();
        async move {
            let calls = api.calls().await?;
            let running: Vec<_> = calls.iter().filter(|call| call.state != CallState::Ended).collect();
            Ok((running.len() == 1 && running[0].id == mine).then_some(()))
        }
    })
    .await?;
    // Many links at once: one stays.
    let links = join_all((0..12).map(|_| mallory.link(JUDAS, &target, bob))).await;
    assert!(links.iter().any(Result::is_ok));
    drop(links);

    at_bob.hear().await?;
    at_alice.hear().await?;
    assert_eq!(bob.api().call(&mine).await?.state, CallState::Active);
    bob.api().hangup(&mine).await?;
    still_well(&mut world.people[1], before).await?;
    call_and_hang_up(&world).await
}
