//! Every kind of message, as bytes and as a reader sees it; and bytes that must be refused.

use ciborium::Value as Cbor;
use serde_json::{Value, json};

use super::{bytes, check};
use crate::identity::{PeerId, RootKey};
use crate::rendezvous::Grant;
use crate::wire::{
    Availability, Blob, Bounded, ByeReason, CallBody, CallId, CallMessage, CallRelay, Candidate, ChatMessage,
    ClockMessage, ContactMessage, Credential, DeclineReason, Description, DescriptionKind, Endpoint, Endpoints,
    FileAnswer, FileEnd, FileName, FileOffer, FileRefusal, FileReply, FileRequest, FileWord, FilesMessage, Frame,
    Friendship, GuestRelay, Hello, Id, LeaveReason, List, Mark, Message, Name, Note, Offer, Open, PortraitMessage,
    PreflightBody, PreflightMessage, PreflightRefusal, PreflightReport, Prose, Reason, RecordWord, RelayGrant,
    RelayMessage, RelayRefusal, Reply, Request, Side, Text, Whereabouts, Word,
};

const MORE: &str = "m=video 0 UDP/TLS/RTP/SAVPF 102\r\na=mid:2\r\n";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";

/// CBOR as JSON; byte strings as `{"bytes": hex}`.
fn readable(value: &Cbor) -> Value {
    match value {
        Cbor::Integer(n) => json!(u64::try_from(i128::from(*n)).unwrap()),
        Cbor::Bytes(bytes) => json!({ "bytes": hex::encode(bytes) }),
        Cbor::Text(text) => json!(text),
        Cbor::Bool(on) => json!(on),
        Cbor::Array(items) => Value::Array(items.iter().map(readable).collect()),
        Cbor::Map(fields) => Value::Object(
            fields.iter().map(|(key, value)| (key.as_text().unwrap().to_owned(), readable(value))).collect(),
        ),
        other => panic!("not used in messages: {other:?}"),
    }
}

fn field<'a>(map: &'a Cbor, name: &str) -> &'a Cbor {
    let fields = map.as_map().unwrap();
    fields.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value).unwrap()
}

/// Kind and body of an encoded frame.
fn parts(encoded: &[u8]) -> (Value, Value) {
    let envelope: Cbor = ciborium::from_reader(encoded).unwrap();
    let body: Cbor = ciborium::from_reader(field(&envelope, "b").as_bytes().unwrap().as_slice()).unwrap();
    (readable(field(&envelope, "k")), readable(&body))
}

fn frame(name: &str, sequence: Option<u64>, acknowledged: Option<u64>, message: Message) -> Value {
    let frame = Frame { sequence, acknowledged, message };
    let encoded = frame.encode().unwrap();
    assert_eq!(Frame::decode(&encoded).unwrap(), frame, "{name}");
    let (kind, body) = parts(&encoded);
    json!({
        "name": name, "kind": kind, "sequence": sequence, "acknowledged": acknowledged, "body": body,
        "hex": hex::encode(encoded),
    })
}

fn contact(name: &str, message: ContactMessage) -> Value {
    let encoded = message.encode().unwrap();
    assert_eq!(ContactMessage::decode(&encoded).unwrap(), message, "{name}");
    let (kind, body) = parts(&encoded);
    json!({ "name": name, "kind": kind, "body": body, "hex": hex::encode(encoded) })
}

fn call(participant: u16, body: CallBody) -> Message {
    Message::Call(CallMessage { call: CallId(*b"0123456789abcdef"), participant, body })
}

fn description(kind: DescriptionKind, generation: u32) -> Description {
    let more = Bounded::default();
    Description { kind, generation, fingerprint: bytes(3), sdp: Bounded::new(SDP).unwrap(), more }
}

fn candidates<const MAX: usize>() -> List<Candidate, MAX> {
    let lines = [
        "candidate:1 1 udp 2130706431 192.0.2.7 40000 typ host",
        "candidate:2 1 udp 1694498815 198.51.100.9 40001 typ srflx raddr 0.0.0.0 rport 0",
    ];
    List::first_of(lines.map(|line| Candidate::new(line).unwrap()))
}

fn whereabouts() -> Whereabouts {
    let peer = PeerId::from_bytes(&[9; 38]).unwrap();
    let direct = ["/ip4/203.0.113.7/udp/4001/quic-v1", "/ip4/203.0.113.7/tcp/4001"].map(str::to_owned);
    let relayed = ["/ip4/198.51.100.9/udp/4001/quic-v1/p2p/12D3KooWRelay/p2p-circuit".to_owned()];
    Whereabouts::new(&peer, &direct, &["/ip4/192.168.1.2/udp/4001/quic-v1".to_owned()], &relayed)
}

fn link_frames() -> Vec<Value> {
    let hello = Hello {
        protocol: 1,
        name: Name::clean("Bob ☎"),
        availability: Availability::Available,
        granted: 1_800_000_000_000,
    };
    let slot_public = RootKey::from_secret(&bytes(1)).public().to_bytes();
    let grant = Grant { slot_public, secret: bytes(2), generation: 1_800_000_000_001 };
    let mut frames = vec![
        frame(
            "open, nothing known of the other",
            None,
            None,
            Message::Open(Open { session: 2, first: 1, of: 0, received: 0 }),
        ),
        frame("open after a redial", None, None, Message::Open(Open { session: 2, first: 7, of: 5, received: 41 })),
        frame("acknowledgement alone", None, Some(41), Message::Ack),
        frame("ping", None, Some(41), Message::Ping(3)),
        frame("pong", None, None, Message::Pong(3)),
        frame("a kind that was not understood", None, None, Message::Unsupported(Bounded::new("hologram").unwrap())),
        frame("hello", Some(1), None, Message::Hello(hello)),
        frame("own name", Some(2), Some(1), Message::Profile(Name::clean("Alice"))),
        frame("grant", Some(3), Some(1), Message::Grant(grant)),
        frame("whereabouts", None, Some(3), Message::Whereabouts(whereabouts())),
        frame("whereabouts of a node without addresses", None, None, Message::Whereabouts(Whereabouts::default())),
        frame("grant stored", Some(4), Some(3), Message::GrantStored(1_800_000_000_001)),
    ];
    for reason in ByeReason::ALL {
        frames.push(frame(&format!("bye: {}", reason.word()), None, None, Message::Bye(*reason)));
    }
    for availability in Availability::ALL {
        let name = format!("presence: {}", availability.word());
        frames.push(frame(&name, Some(5), None, Message::Presence(*availability)));
    }
    for state in Friendship::ALL {
        frames.push(frame(&format!("friendship: {}", state.word()), Some(6), None, Message::Friendship(*state)));
    }
    frames
}

fn call_frames() -> Vec<Value> {
    let offer = |generation| description(DescriptionKind::Offer, generation);
    let answer = |generation| description(DescriptionKind::Answer, generation);
    let invite = |resumes| CallBody::Invite { description: offer(0), candidates: candidates(), video: true, resumes };
    let more = Description { more: Bounded::new(MORE).unwrap(), ..answer(0) };
    let mut frames = vec![
        ("invite", call(0, invite(None))),
        ("invite to go on with a lost call", call(0, invite(Some(CallId(*b"fedcba9876543210"))))),
        ("ringing", call(1, CallBody::Ringing)),
        ("answer", call(1, CallBody::Answer { description: answer(0), candidates: List::default() })),
        ("candidates", call(0, CallBody::Candidates { generation: 0, candidates: candidates() })),
        ("accept", call(1, CallBody::Accept { video: false })),
        ("state", call(0, CallBody::State { muted: true, video: false, screen: true, held: false, seat: true })),
        (
            "answer with a shared screen's sections",
            call(1, CallBody::Answer { description: more, candidates: List::default() }),
        ),
        ("offer of a new path", call(1, CallBody::Offer { description: offer(1), candidates: candidates() })),
    ]
    .into_iter()
    .map(|(name, message)| frame(&format!("call: {name}"), Some(8), Some(3), message))
    .collect::<Vec<_>>();
    let words = [
        ("ask", 0, RecordWord::Ask(1)),
        ("shown", 1, RecordWord::Shown(1)),
        ("allow", 1, RecordWord::Allow(1)),
        ("refuse", 1, RecordWord::Refuse(1)),
        ("start", 0, RecordWord::Start(1)),
        ("stop", 0, RecordWord::Stop(1, Reason::default())),
        ("stop, not by choice", 0, RecordWord::Stop(2, Reason::clean("the disk is full"))),
    ];
    for (name, participant, word) in words {
        let message = call(participant, CallBody::Record(word));
        frames.push(frame(&format!("call: recording, {name}"), Some(11), None, message));
    }
    for reason in DeclineReason::ALL {
        let text = Note::clean(if *reason == DeclineReason::Declined { "in a meeting" } else { "" });
        let message = call(1, CallBody::Decline { reason: *reason, text });
        frames.push(frame(&format!("call: decline, {}", reason.word()), Some(9), None, message));
    }
    for reason in LeaveReason::ALL {
        let text = Reason::clean(if *reason == LeaveReason::Failed { "no way was found" } else { "" });
        let message = call(0, CallBody::Leave { reason: *reason, text });
        frames.push(frame(&format!("call: leave, {}", reason.word()), Some(10), None, message));
    }
    frames
}

fn clock_frames() -> Vec<Value> {
    [("ask", ClockMessage::Ask { id: 5 }), ("tell", ClockMessage::Tell { id: 5, time: 1_800_000_000_123 })]
        .map(|(name, message)| frame(&format!("clock: {name}"), None, None, Message::Clock(message)))
        .to_vec()
}

fn chat_frames() -> Vec<Value> {
    let mark = Mark { line: 1_800_000_000_000, number: 7 };
    let text = |text: &str, call| Text {
        line: mark.line,
        number: 7,
        id: Id(*b"message names 16"),
        sent: 1_800_000_000_123,
        text: Prose::clean(text).unwrap(),
        call,
    };
    let declined = Some(CallId(*b"0123456789abcdef"));
    let said = [
        ("message", ChatMessage::Text(text("Two lines,\nthe second with ☎.", None))),
        ("message with the decline of a call", ChatMessage::Text(text("in a meeting", declined))),
        ("kept", ChatMessage::Got(mark)),
        ("too fast", ChatMessage::Wait { mark, ms: 2500 }),
        ("read", ChatMessage::Read(mark)),
    ];
    said.map(|(name, message)| frame(&format!("text: {name}"), None, None, Message::Chat(message))).to_vec()
}

fn file_frames() -> Vec<Value> {
    let id = Id(*b"transfer name 16");
    let offer = FileOffer { id, name: FileName::clean("plan.pdf"), size: 5_000_000_000, hash: bytes(6), paused: false };
    let answer = |word| FileAnswer { id, word, done: 4096, reason: Reason::default() };
    let end = FileEnd { id, cancelled: true, reason: Reason::clean("it is the wrong one") };
    let mut frames = vec![
        frame("files: an offer", None, None, {
            Message::Files(FilesMessage { offers: List::first_of([offer.clone()]), ..FilesMessage::default() })
        }),
        frame("files: all at once", None, None, {
            Message::Files(FilesMessage {
                offers: List::first_of([offer.clone(), FileOffer { paused: true, ..offer }]),
                answers: List::first_of([answer(FileWord::Accepted)]),
                ends: List::first_of([end]),
            })
        }),
    ];
    for word in FileWord::ALL {
        let message = FilesMessage { answers: List::first_of([answer(*word)]), ..FilesMessage::default() };
        frames.push(frame(&format!("files: {}", word.word()), None, None, Message::Files(message)));
    }
    frames
}

fn portrait_frames() -> Vec<Value> {
    let part = Blob::new(vec![0xff, 0xd8, 0xff, 0xe0]).unwrap();
    let said = [
        ("told", PortraitMessage::Tell(Some(bytes(7)))),
        ("none", PortraitMessage::Tell(None)),
        ("asked for", PortraitMessage::Ask { hash: bytes(7), offset: 8192 }),
        ("a part", PortraitMessage::Part { hash: bytes(7), offset: 8192, size: 8196, bytes: part }),
    ];
    said.map(|(name, message)| frame(&format!("picture: {name}"), None, None, Message::Portrait(message))).to_vec()
}

/// What is said first on a stream for a file.
fn stream_frames() -> Vec<Value> {
    let story = |name: &str, encoded: Vec<u8>| {
        let (kind, body) = parts(&encoded);
        json!({ "name": name, "kind": kind, "body": body, "hex": hex::encode(encoded) })
    };
    let request = FileRequest { id: Id(*b"transfer name 16"), offset: 65_536, tail: bytes(8) };
    let mut stories = vec![
        story("a file is asked for", request.encode().unwrap()),
        story("its bytes follow", FileReply::Data { offset: 65_536 }.encode().unwrap()),
    ];
    for reason in FileRefusal::ALL {
        stories.push(story(&format!("nothing follows: {}", reason.word()), FileReply::No(*reason).encode().unwrap()));
    }
    stories
}

fn preflight_frames() -> Vec<Value> {
    let word = |text: &str| Word::new(text).unwrap();
    let endpoint = |text: &str| Endpoint::from(text.parse::<std::net::SocketAddr>().unwrap());
    let relay = CallRelay {
        udp: Endpoints::first_of([endpoint("203.0.113.9:4001")]),
        tls: Endpoints::first_of([endpoint("203.0.113.9:443")]),
        certificate: bytes(4),
        user: word("3f9c0e5d7a1b2c4d"),
        password: word("partners-password"),
        lifetime: 3500,
    };
    let side = |kind, relays| Side { description: description(kind, 0), candidates: candidates(), relays };
    let report = PreflightReport { packets: 148, lost: 2, jitter: 1250, rate: 2_400_000 };
    let mut bodies = vec![
        ("offer".to_owned(), PreflightBody::Offer(side(DescriptionKind::Offer, List::first_of([relay])))),
        ("answer".to_owned(), PreflightBody::Answer(side(DescriptionKind::Answer, List::default()))),
        ("candidates".to_owned(), PreflightBody::Candidates(candidates())),
        ("report".to_owned(), PreflightBody::Report(report)),
        ("end".to_owned(), PreflightBody::End),
    ];
    for reason in PreflightRefusal::ALL {
        bodies.push((format!("refuse, {}", reason.word()), PreflightBody::Refuse(*reason)));
    }
    let named = |(name, body)| {
        let message = PreflightMessage { id: CallId(*b"0123456789abcdef"), body };
        frame(&format!("preflight: {name}"), None, None, Message::Preflight(message))
    };
    bodies.into_iter().map(named).collect()
}

fn relay_frames() -> Vec<Value> {
    let endpoints = |texts: &[&str]| {
        Endpoints::first_of(texts.iter().map(|text| Endpoint::from(text.parse::<std::net::SocketAddr>().unwrap())))
    };
    let word = |text: &str| Word::new(text).unwrap();
    let (udp, tls) = (endpoints(&["203.0.113.9:4001", "[2001:db8::9]:4001"]), endpoints(&["203.0.113.9:443"]));
    let circuit = "/ip4/203.0.113.9/udp/4000/quic-v1/p2p/12D3KooWAWN6QoYNePLFQuW3wGFrF96XEFnrbkHh6UiKHsXRqfNW";
    let circuits = List::first_of([Bounded::new(circuit).unwrap()]);
    let relay = CallRelay {
        udp: udp.clone(),
        tls: tls.clone(),
        certificate: bytes(4),
        user: word("3f9c0e5d7a1b2c4d"),
        password: word("partners-password"),
        lifetime: 3500,
    };
    let grant = RelayGrant {
        id: 7,
        own: Credential { user: word("9d8e7f6a5b4c3d2e"), password: word("own-password") },
        partner: Credential { user: relay.user.clone(), password: relay.password.clone() },
        lifetime: 3600,
    };
    let guest = GuestRelay {
        udp: udp.clone(),
        tls: tls.clone(),
        certificate: bytes(4),
        own: grant.own.clone(),
        partner: grant.partner.clone(),
        lifetime: 3600,
    };
    let call = |relays| RelayMessage::Call { call: CallId(*b"0123456789abcdef"), participant: 0, relays };
    let frame =
        |name: &str, sequence, message| frame(&format!("relay: {name}"), sequence, None, Message::Relay(message));
    let mut frames = vec![
        frame("offer", None, RelayMessage::Offer(Offer { circuits, udp, tls, certificate: bytes(4) })),
        frame("offer withdrawn", None, RelayMessage::Offer(Offer::default())),
        frame("ask", None, RelayMessage::Ask { id: 7 }),
        frame("grant", None, RelayMessage::Grant(grant)),
        frame("for a guest", None, RelayMessage::Guest(guest)),
        frame("relays of a call", Some(11), call(List::first_of([relay]))),
        frame("no relays for a call", Some(12), call(List::default())),
    ];
    for reason in RelayRefusal::ALL {
        let refusal = RelayMessage::Refuse { id: 7, reason: *reason };
        frames.push(frame(&format!("refuse, {}", reason.word()), None, refusal));
    }
    frames
}

/// An envelope made by hand.
fn envelope(version: u64, kind: &str, body: &Cbor) -> Vec<u8> {
    let mut inner = Vec::new();
    ciborium::into_writer(body, &mut inner).unwrap();
    let envelope = map(&[("v", version.into()), ("k", kind.into()), ("b", Cbor::Bytes(inner))]);
    let mut bytes = Vec::new();
    ciborium::into_writer(&envelope, &mut bytes).unwrap();
    bytes
}

fn map(fields: &[(&str, Cbor)]) -> Cbor {
    Cbor::Map(fields.iter().map(|(key, value)| (Cbor::from(*key), value.clone())).collect())
}

fn refused() -> Vec<Value> {
    let ping = envelope(1, "ping", &map(&[("id", 3.into())]));
    let trailing = [ping.as_slice(), &[0]].concat();
    let addressed = |call: usize, body: Cbor| {
        map(&[("call", Cbor::Bytes(vec![7; call])), ("participant", 0.into()), ("body", body)])
    };
    let list = |count: usize, length: usize| {
        let items = vec![Cbor::from("c".repeat(length)); count];
        map(&[("generation", 0.into()), ("candidates", Cbor::Array(items))])
    };
    let offer = |count: usize, length: usize| {
        let items = vec![Cbor::from("1".repeat(length)); count];
        map(&[("udp", Cbor::Array(items)), ("certificate", Cbor::Bytes(vec![7; 32]))])
    };
    let long = map(&[
        ("line", 1.into()),
        ("number", 1.into()),
        ("id", Cbor::Bytes(vec![7; 16])),
        ("sent", 1.into()),
        ("text", "x".repeat(16_385).into()),
    ]);
    let one = map(&[
        ("id", Cbor::Bytes(vec![7; 16])),
        ("name", "a".into()),
        ("size", 1.into()),
        ("hash", Cbor::Bytes(vec![7; 32])),
    ]);
    let many = map(&[("offers", Cbor::Array(vec![one; 17]))]);
    let short = map(&[("hash", Cbor::Bytes(vec![7; 31]))]);
    let stories = [
        ("envelope of another version", "version", envelope(2, "ping", &map(&[("id", 3.into())]))),
        ("bytes after the end", "trailing", trailing),
        ("cut short", "malformed", ping[..ping.len() - 1].to_vec()),
        ("a body without its field", "malformed", envelope(1, "ping", &map(&[]))),
        ("a text for a number", "malformed", envelope(1, "ping", &map(&[("id", "3".into())]))),
        ("name of 257 bytes", "malformed", envelope(1, "profile", &map(&[("name", "a".repeat(257).into())]))),
        ("kind of 33 bytes", "malformed", envelope(1, &"k".repeat(33), &map(&[]))),
        ("call id of 15 bytes", "malformed", envelope(1, "call.ringing", &addressed(15, map(&[])))),
        ("17 candidates", "malformed", envelope(1, "call.candidates", &addressed(16, list(17, 1)))),
        ("candidate of 257 bytes", "malformed", envelope(1, "call.candidates", &addressed(16, list(1, 257)))),
        ("message of 16385 bytes", "malformed", envelope(1, "text", &long)),
        ("17 offers of files", "malformed", envelope(1, "files", &many)),
        ("picture with a hash of 31 bytes", "malformed", envelope(1, "picture", &short)),
        ("five endpoints of a relay", "malformed", envelope(1, "relay.offer", &offer(5, 20))),
        ("endpoint of 65 bytes", "malformed", envelope(1, "relay.offer", &offer(1, 65))),
    ];
    let stories = stories.into_iter().map(|(name, why, bytes)| {
        assert!(Frame::decode(&bytes).is_err(), "{name}");
        json!({ "name": name, "why": why, "hex": hex::encode(bytes) })
    });
    stories.collect()
}

/// What a reader of this version must take although it does not know all of it.
fn later() -> Vec<Value> {
    let colour = map(&[("id", 3.into()), ("colour", "green".into())]);
    let asleep = map(&[("availability", "asleep".into())]);
    let unknown = map(&[("depth", 3.into())]);
    let stories = [
        ("an unknown field", envelope(1, "ping", &colour), Message::Ping(3)),
        ("an unknown word", envelope(1, "presence", &asleep), Message::Presence(Availability::Other)),
        ("an unknown kind", envelope(1, "hologram", &unknown), Message::Unknown(Bounded::new("hologram").unwrap())),
        (
            "absent fields have their empty value",
            envelope(1, "hello", &map(&[("protocol", 1.into()), ("availability", "dnd".into())])),
            Message::Hello(Hello { protocol: 1, name: Name::default(), availability: Availability::Dnd, granted: 0 }),
        ),
    ];
    let stories = stories.into_iter().map(|(name, bytes, expected)| {
        assert_eq!(Frame::decode(&bytes).unwrap().message, expected, "{name}");
        let (kind, body) = parts(&bytes);
        json!({ "name": name, "kind": kind, "body": body, "hex": hex::encode(bytes) })
    });
    stories.collect()
}

#[test]
fn messages_are_those_in_the_vectors() {
    let request = |friends| {
        ContactMessage::Request(Request {
            id: 0x0102_0304_0506_0708,
            name: Name::clean("Alice"),
            message: Note::clean("it's me, from the choir"),
            friends,
        })
    };
    let mut contacts = vec![
        contact("request", request(false)),
        contact("request of one who holds a friendship already", request(true)),
    ];
    let replies =
        Reply::ALL.iter().map(|reply| contact(&format!("reply: {}", reply.word()), ContactMessage::Reply(*reply)));
    contacts.extend(replies);
    let frames: Vec<_> = link_frames()
        .into_iter()
        .chain(call_frames())
        .chain(relay_frames())
        .chain(clock_frames())
        .chain(preflight_frames())
        .chain(chat_frames())
        .chain(file_frames())
        .chain(portrait_frames())
        .collect();
    check(
        "messages",
        &json!({
            "spec": "specs/04-link.md", "version": 1, "frames": frames, "contact": contacts, "streams": stream_frames(), "later": later(),
            "refused": refused(),
        }),
    );
}
