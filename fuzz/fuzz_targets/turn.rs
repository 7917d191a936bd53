//! STUN and TURN: arbitrary bytes at the reader, the stream splitter, the server (with an allocation and without) and
//! the client; and good requests with arbitrary attributes.
#![no_main]

// What is looked at is built from its own files: the node's other dependencies would take minutes, and add nothing.
#[path = "../../node/src/relay"]
mod relay {
    #[expect(dead_code, reason = "the node uses more of it than this target")]
    pub(crate) mod turn;
}

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use twocan_protocol::identity::RootKey;

use relay::turn::auth::{Key, REALM};
use relay::turn::client::{Client, Wanted};
use relay::turn::codec::{self, Class, Message, Writer, attribute, method};
use relay::turn::framing::Splitter;
use relay::turn::peers::PeerRules;
use relay::turn::quota::{Bounds, Clock};
use relay::turn::server::{self, Account, Action, Core, Ports, Settings, Via};

struct Numbers(u16);

impl Ports for Numbers {
    type Socket = u16;

    fn open(
        &mut self,
        ip: IpAddr,
        _even: bool,
        _client: server::Client,
        _allocation: u64,
    ) -> Option<(u16, SocketAddr)> {
        self.0 += 1;
        Some((self.0, SocketAddr::new(ip, self.0)))
    }
}

fn core(clock: Clock) -> Core<u16> {
    let (v4, v6) = (IpAddr::from([11, 0, 0, 1]), "2a00:1::1".parse().expect("an address"));
    let settings = Settings {
        v4: Some(v4),
        v6: Some(v6),
        rules: PeerRules { private: false, own: vec![v4, v6], calls: Some(4000) },
        bounds: Bounds { allocations: 8, bytes_per_second: 1_000_000, bytes_per_day: 1_000_000_000 },
        friends: true,
        guests: false,
    };
    let mut core = Core::new(clock, settings, &[3; 32]);
    let root = RootKey::from_secret(&[1; 32]).public();
    assert!(core.issue(clock, Account::Friend(root), "user".into(), "password", None));
    core
}

/// Whatever goes to a peer goes to one that may be relayed to.
fn look(action: &Action<'_, u16>) {
    match action {
        Action::Relay { peer, .. } => assert!(peer.port() >= 1024 || peer.port() == 4000),
        Action::Reply(reply) => assert!(Message::parse(reply).is_some(), "an answer is a STUN message"),
        Action::Nothing => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let clock = Clock { now: Instant::now(), unix_ms: 1_800_000_000_000 };
    if let Some(message) = Message::parse(data) {
        let _ = (message.error(), message.addresses(attribute::XOR_PEER_ADDRESS).count());
        let _ = message.is_authentic(&Key::long_term("user", REALM, "password"));
    }
    let _ = codec::channel_data(data);
    let indication = server::data_indication(Vec::new(), SocketAddr::from(([11, 0, 0, 9], 5000)), data);
    assert_eq!(Message::parse(&indication).and_then(|message| message.get(attribute::DATA)), Some(data));
    let mut splitter = Splitter::default();
    for piece in data.chunks(7) {
        splitter.fill(piece);
        while let Ok(Some(_)) = splitter.next() {}
    }

    let (mut core, mut ports) = (core(clock), Numbers(50_000));
    let from = server::Client { from: SocketAddr::from(([11, 0, 0, 7], 4000)), via: Via::Stream(1) };
    look(&core.handle(clock, from, data, &mut ports));
    // The nonce is in the answer to a request without one.
    let challenge = match core.handle(clock, from, &request(None, method::ALLOCATE, &[]), &mut ports) {
        Action::Reply(reply) => {
            let nonce = Message::parse(&reply).and_then(|message| message.text(attribute::NONCE).map(str::to_owned));
            nonce.expect("a nonce")
        }
        other => panic!("{other:?}"),
    };
    let transport = [(attribute::REQUESTED_TRANSPORT, &[17_u8, 0, 0, 0][..])];
    look(&core.handle(clock, from, &request(Some(&challenge), method::ALLOCATE, &transport), &mut ports));
    assert!(core.knows(&from));
    // The same bytes as a packet of the owner of an allocation, and as methods and attributes of good requests.
    look(&core.handle(clock, from, data, &mut ports));
    let mut rest = data;
    while let [what, kind, length, tail @ ..] = rest {
        let value = &tail[..tail.len().min(usize::from(*length % 64))];
        rest = &tail[value.len()..];
        let attributes = [(u16::from(*kind), value)];
        let signed = request(Some(&challenge), u16::from(*what % 16), &attributes);
        look(&core.handle(clock, from, &signed, &mut ports));
        let channel = [&codec::channel_header(0x4000 | u16::from(*kind), value.len())[..], value].concat();
        look(&core.handle(clock, from, &channel, &mut ports));
    }
    core.handle_timeout(Clock { now: clock.now + Duration::from_secs(3600), ..clock });
    assert!(!core.knows(&from), "nothing outlives its time");

    let mut client = Client::new(clock.now, "user".into(), "password", Wanted::Both, false, None, || [7; 12]);
    client.permit(clock.now, SocketAddr::from(([11, 0, 0, 9], 5000)));
    let _ = client.handle(clock.now, data);
    let forged = Writer::new(Class::Success, method::ALLOCATE, &[7; 12]).put(attribute::XOR_RELAYED_ADDRESS, data);
    let _ = client.handle(clock.now, &forged.finish(None, false));
    assert!(client.relayed().is_empty(), "an answer without integrity is believed");
    client.handle_timeout(clock.now + Duration::from_secs(1));
});

fn request(nonce: Option<&str>, method: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Class::Request, method, &[9; 12]);
    for (kind, value) in attributes {
        writer = writer.put(*kind, value);
    }
    let Some(nonce) = nonce else { return writer.finish(None, true) };
    writer
        .put(attribute::USERNAME, b"user")
        .put(attribute::REALM, REALM.as_bytes())
        .put(attribute::NONCE, nonce.as_bytes())
        .finish(Some(&Key::long_term("user", REALM, "password")), true)
}
