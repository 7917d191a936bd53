//! Requests to the core, one by one, in virtual time.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::codec::{CHANNELS, TransactionId, Writer, channel_header};
use super::*;

const DAY: u64 = 86_400_000;

/// Sockets that are numbers; how many are open is counted.
#[derive(Default)]
struct Fake {
    open: Rc<RefCell<usize>>,
    next: u16,
    most: usize,
}

#[derive(Debug)]
struct Held(Rc<RefCell<usize>>);

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.borrow_mut() -= 1;
    }
}

#[derive(Clone, Debug)]
struct Socket(u16, #[expect(dead_code, reason = "held for its drop")] Rc<Held>);

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Ports for Fake {
    type Socket = Socket;

    fn open(
        &mut self,
        ip: IpAddr,
        even: bool,
        _client: super::Client,
        _allocation: u64,
    ) -> Option<(Socket, SocketAddr)> {
        if *self.open.borrow() >= self.most {
            return None;
        }
        *self.open.borrow_mut() += 1;
        self.next += 1;
        if even && self.next.is_multiple_of(2) {
            self.next += 1;
        }
        let port = 49_151 + self.next;
        Some((Socket(port, Rc::new(Held(self.open.clone()))), SocketAddr::new(ip, port)))
    }
}

struct Rig {
    clock: Clock,
    core: Core<Socket>,
    fake: Fake,
    id: u8,
}

fn friend(n: u8) -> Account {
    Account::Friend(twocan_protocol::identity::RootKey::from_secret(&[n; 32]).public())
}

fn guest(n: u8) -> Account {
    Account::Guest(n.into())
}

fn client(port: u16) -> super::Client {
    super::Client { from: SocketAddr::new([11, 0, 0, 7].into(), port), via: Via::Udp }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Rig {
    fn new(bounds: Bounds) -> Self {
        let (v4, v6) = ("11.0.0.1".parse().unwrap(), "2a00:1::1".parse().unwrap());
        let rules = PeerRules { private: false, own: vec![v4, v6], calls: Some(4000) };
        let settings = Settings { v4: Some(v4), v6: Some(v6), rules, bounds, friends: true, guests: true };
        let clock = Clock { now: Instant::now(), unix_ms: 20_000 * DAY };
        Self { clock, core: Core::new(clock, settings, &[3; 32]), fake: Fake { most: 1000, ..Fake::default() }, id: 0 }
    }

    fn usual() -> Self {
        Self::new(Bounds { allocations: 64, bytes_per_second: 2_500_000, bytes_per_day: 1_000_000_000 })
    }

    fn pass(&mut self, seconds: u64) {
        self.clock.now += Duration::from_secs(seconds);
        self.clock.unix_ms += seconds * 1000;
        self.core.handle_timeout(self.clock);
    }

    fn packet<'a>(&mut self, client: super::Client, packet: &'a [u8]) -> Action<'a, Socket> {
        self.core.handle(self.clock, client, packet, &mut self.fake)
    }

    fn transaction(&mut self) -> TransactionId {
        self.id = self.id.wrapping_add(1);
        [self.id; 12]
    }

    /// A request under a credential.
    fn signed(&mut self, client: super::Client, user: &str, method: u16, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let nonce = self.core.nonces.make(self.clock.now, client.from.ip());
        let transaction = self.transaction();
        sign(user, &nonce, &transaction, method, attributes)
    }

    fn ask(&mut self, client: super::Client, request: &[u8]) -> Vec<u8> {
        match self.packet(client, request) {
            Action::Reply(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// The error of a signed request, or 0.
    fn code(&mut self, client: super::Client, user: &str, method: u16, attributes: &[(u16, Vec<u8>)]) -> u16 {
        let request = self.signed(client, user, method, attributes);
        let reply = self.ask(client, &request);
        let message = Message::parse(&reply).unwrap();
        assert!(message.is_authentic(&key(user)), "signed like the request");
        if message.class == Class::Success { 0 } else { message.error().unwrap() }
    }

    fn issue(&mut self, account: Account, user: &str) {
        assert!(self.core.issue(self.clock, account, user.into(), "password", None));
    }

    /// An allocation with a permission and channel 0x4000 for this peer.
    fn allocated(&mut self, port: u16, user: &str, peer: &str) {
        assert_eq!(self.code(client(port), user, method::ALLOCATE, &allocate()), 0);
        assert_eq!(self.code(client(port), user, method::CHANNEL_BIND, &bind(0x4000, peer)), 0);
    }
}

fn key(user: &str) -> Key {
    Key::long_term(user, REALM, "password")
}

fn sign(user: &str, nonce: &str, transaction: &TransactionId, method: u16, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Class::Request, method, transaction);
    for (kind, value) in attributes {
        writer = writer.put(*kind, value);
    }
    writer
        .put(attribute::USERNAME, user.as_bytes())
        .put(attribute::REALM, REALM.as_bytes())
        .put(attribute::NONCE, nonce.as_bytes())
        .finish(Some(&key(user)), true)
}

fn allocate() -> Vec<(u16, Vec<u8>)> {
    vec![(attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0])]
}

fn family(kind: u16, family: u8) -> (u16, Vec<u8>) {
    (kind, vec![family, 0, 0, 0])
}

fn peer_value(peer: &str, transaction: &TransactionId) -> Vec<u8> {
    let bytes = Writer::new(Class::Request, 1, transaction).put_address(attribute::XOR_PEER_ADDRESS, address(peer));
    bytes.finish(None, false)[24..].to_vec()
}

/// IPv4 peers only: their encoding does not depend on the transaction.
fn bind(number: u16, peer: &str) -> Vec<(u16, Vec<u8>)> {
    let [n0, n1] = number.to_be_bytes();
    vec![(attribute::CHANNEL_NUMBER, vec![n0, n1, 0, 0]), (attribute::XOR_PEER_ADDRESS, peer_value(peer, &[0; 12]))]
}

fn channel(number: u16, payload: &[u8]) -> Vec<u8> {
    [&channel_header(number, payload.len())[..], payload].concat()
}

const PEER: &str = "11.0.0.9:5000";

#[test]
fn anybody_learns_where_a_packet_came_from_and_a_check_of_a_gone_call_gets_no_answer() {
    let mut rig = Rig::usual();
    let binding = Writer::new(Class::Request, method::BINDING, &[1; 12]).finish(None, false);
    for from in ["11.0.0.7:4000", "[2a00:2::7]:4000"] {
        let from = super::Client { from: address(from), via: Via::Udp };
        let reply = rig.ask(from, &binding);
        let message = Message::parse(&reply).unwrap();
        assert_eq!(message.address(attribute::XOR_MAPPED_ADDRESS), Some(from.from));
        assert!(reply.len() <= 3 * binding.len(), "no amplifier: {} bytes", reply.len());
    }
    let check = Writer::new(Class::Request, method::BINDING, &[1; 12])
        .put(attribute::USERNAME, b"gone:theirs")
        .finish(Some(&key("x")), true);
    assert_eq!(rig.packet(client(1), &check), Action::Nothing);
    let strange = Writer::new(Class::Request, method::BINDING, &[1; 12]).put(0x0003, &[0; 4]).finish(None, false);
    let reply = rig.ask(client(1), &strange);
    assert_eq!(Message::parse(&reply).unwrap().error(), Some(420));
}

#[test]
fn a_challenge_comes_first_and_carries_realm_and_nonce() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    let plain = Writer::new(Class::Request, method::ALLOCATE, &[1; 12])
        .put(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .finish(None, true);
    let reply = rig.ask(client(1), &plain);
    let message = Message::parse(&reply).unwrap();
    assert_eq!((message.error(), message.text(attribute::REALM)), (Some(401), Some(REALM)));
    let nonce = message.text(attribute::NONCE).unwrap().to_owned();
    let signed = sign("alice", &nonce, &[2; 12], method::ALLOCATE, &allocate());
    let reply = rig.ask(client(1), &signed);
    let message = Message::parse(&reply).unwrap();
    assert!(message.is_authentic(&key("alice")));
    assert_eq!(message.address(attribute::XOR_RELAYED_ADDRESS), Some(address("11.0.0.1:49152")));
    assert_eq!(message.address(attribute::XOR_MAPPED_ADDRESS), Some(client(1).from));
    assert_eq!(message.number(attribute::LIFETIME), Some(600));
    // The same request once more, as after a lost answer, gets the same answer and no second allocation.
    assert_eq!(rig.ask(client(1), &signed), reply);
    assert_eq!(*rig.fake.open.borrow(), 1);
    assert_eq!(rig.code(client(1), "alice", method::ALLOCATE, &allocate()), 437);
}

#[test]
fn wrong_expired_revoked_and_replayed_credentials_get_nothing() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    let nonce = rig.core.nonces.make(rig.clock.now, client(1).from.ip());
    let refused = |rig: &mut Rig, from, request: &[u8]| {
        let reply = rig.ask(from, request);
        Message::parse(&reply).unwrap().error().unwrap()
    };
    let unknown = sign("mallory", &nonce, &[1; 12], method::ALLOCATE, &allocate());
    assert_eq!(refused(&mut rig, client(1), &unknown), 401);
    let wrong_password = Writer::new(Class::Request, method::ALLOCATE, &[1; 12])
        .put(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .put(attribute::USERNAME, b"alice")
        .put(attribute::REALM, REALM.as_bytes())
        .put(attribute::NONCE, nonce.as_bytes())
        .finish(Some(&Key::long_term("alice", REALM, "guess")), true);
    assert_eq!(refused(&mut rig, client(1), &wrong_password), 401);
    // Heard by another and sent again from elsewhere: the nonce is for another address.
    let good = sign("alice", &nonce, &[1; 12], method::ALLOCATE, &allocate());
    let elsewhere = super::Client { from: address("11.0.0.8:1"), via: Via::Udp };
    assert_eq!(refused(&mut rig, elsewhere, &good), 438);
    rig.pass(3601);
    assert_eq!(refused(&mut rig, client(1), &good), 438);
    let late = rig.signed(client(1), "alice", method::ALLOCATE, &allocate());
    assert_eq!(refused(&mut rig, client(1), &late), 401, "too late");
    rig.issue(friend(1), "again");
    rig.allocated(2, "again", PEER);
    rig.core.revoke(friend(1));
    assert_eq!(*rig.fake.open.borrow(), 0, "revoked with the friendship");
    let gone = rig.signed(client(2), "again", method::REFRESH, &[]);
    assert_eq!(refused(&mut rig, client(2), &gone), 401);
    assert_eq!(rig.packet(client(2), &channel(0x4000, b"x")), Action::Nothing);
}

#[test]
fn a_credential_of_another_does_not_touch_an_allocation() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    rig.issue(friend(2), "bob");
    rig.allocated(1, "alice", PEER);
    for (method, attributes) in [
        (method::REFRESH, vec![(attribute::LIFETIME, vec![0; 4])]),
        (method::CHANNEL_BIND, bind(0x4001, "11.0.0.9:5001")),
        (method::CREATE_PERMISSION, vec![(attribute::XOR_PEER_ADDRESS, peer_value(PEER, &[0; 12]))]),
    ] {
        assert_eq!(rig.code(client(1), "bob", method, &attributes), 441);
    }
    assert!(matches!(rig.packet(client(1), &channel(0x4000, b"x")), Action::Relay { .. }));
}

#[test]
fn packets_pass_both_ways_for_permitted_peers_only() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    rig.allocated(1, "alice", PEER);
    match rig.packet(client(1), &channel(0x4000, b"voice")) {
        Action::Relay { peer, payload, .. } => assert_eq!((peer, payload), (address(PEER), &b"voice"[..])),
        other => panic!("{other:?}"),
    }
    let from = |rig: &mut Rig, peer| rig.core.peer_sent(rig.clock, &client(1), 1, address(peer), 5);
    assert_eq!(from(&mut rig, PEER), Some(Wrap::Channel(0x4000)));
    assert_eq!(from(&mut rig, "11.0.0.9:5001"), Some(Wrap::Indication), "another port of a permitted address");
    assert_eq!(from(&mut rig, "11.0.0.10:5000"), None);
    assert_eq!(rig.core.peer_sent(rig.clock, &client(1), 2, address(PEER), 5), None, "a socket of an earlier one");
    let send = |peer: &str| {
        Writer::new(Class::Indication, method::SEND, &[9; 12])
            .put_address(attribute::XOR_PEER_ADDRESS, address(peer))
            .put(attribute::DATA, b"voice")
            .finish(None, false)
    };
    assert!(matches!(rig.packet(client(1), &send("11.0.0.9:5002")), Action::Relay { payload: b"voice", .. }));
    for nobody in ["11.0.0.10:5000", "11.0.0.9:80", "11.0.0.1:4001"] {
        assert_eq!(rig.packet(client(1), &send(nobody)), Action::Nothing, "{nobody}");
    }
    assert_eq!(rig.packet(client(2), &send(PEER)), Action::Nothing, "from another client");
    assert_eq!(rig.packet(client(1), &channel(0x4001, b"x")), Action::Nothing, "a channel without peer");
    // A permission lives for five minutes, a channel for ten.
    rig.pass(301);
    assert_eq!(rig.packet(client(1), &channel(0x4000, b"x")), Action::Nothing);
    assert_eq!(from(&mut rig, PEER), None);
    assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(0x4000, PEER)), 0);
    assert!(matches!(rig.packet(client(1), &channel(0x4000, b"x")), Action::Relay { .. }));
}

#[test]
fn private_addresses_low_ports_and_the_relays_own_are_no_peers() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    assert_eq!(rig.code(client(1), "alice", method::ALLOCATE, &allocate()), 0);
    for peer in ["10.0.0.1:5000", "127.0.0.1:5000", "192.168.1.1:5000", "169.254.0.1:5000", "224.0.0.1:5000"] {
        assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(0x4000, peer)), 403, "{peer}");
        let permission = [(attribute::XOR_PEER_ADDRESS, peer_value(peer, &[0; 12]))];
        assert_eq!(rig.code(client(1), "alice", method::CREATE_PERMISSION, &permission), 403, "{peer}");
    }
    for peer in ["11.0.0.9:22", "11.0.0.1:4001", "11.0.0.1:443", "11.0.0.1:49153"] {
        assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(0x4000, peer)), 403, "{peer}");
    }
    // The owner's own calls are reached through the relay, too, and both sides of a call on one relay meet inside it.
    assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(0x4001, "11.0.0.1:4000")), 0);
    assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(0x4000, "11.0.0.1:49152")), 0);
}

#[test]
fn a_relay_is_not_used_through_itself() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    let both = [allocate(), vec![family(attribute::ADDITIONAL_ADDRESS_FAMILY, 2)]].concat();
    assert_eq!(rig.code(client(1), "alice", method::ALLOCATE, &both), 0);
    for from in ["11.0.0.1:49152", "[2a00:1::1]:49153"] {
        let itself = super::Client { from: address(from), via: Via::Udp };
        let request = rig.signed(itself, "alice", method::ALLOCATE, &allocate());
        assert_eq!(rig.packet(itself, &request), Action::Nothing);
    }
    let beside = super::Client { from: address("11.0.0.1:4001"), via: Via::Udp };
    assert_eq!(rig.code(beside, "alice", method::ALLOCATE, &allocate()), 0);
}

#[test]
fn a_channel_keeps_its_peer_and_a_peer_its_channel() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    rig.allocated(1, "alice", PEER);
    assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(0x4000, PEER)), 0, "renewed");
    assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(0x4000, "11.0.0.9:5001")), 400);
    assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(0x4001, PEER)), 400);
    for number in [0x3fff, 0x5000, CHANNELS.end() + 1] {
        assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(number, "11.0.0.9:5002")), 400);
    }
}

#[test]
fn families_are_given_by_choice_and_each_relays_to_its_own() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    let ask = |rig: &mut Rig, port, more: Vec<(u16, Vec<u8>)>| {
        let attributes = [allocate(), more].concat();
        let request = rig.signed(client(port), "alice", method::ALLOCATE, &attributes);
        let reply = rig.ask(client(port), &request);
        let message = Message::parse(&reply).unwrap();
        let relayed: Vec<_> = message.addresses(attribute::XOR_RELAYED_ADDRESS).map(Option::unwrap).collect();
        message.error().map_or(Ok(relayed), Err)
    };
    let only = |family_| vec![family(attribute::REQUESTED_ADDRESS_FAMILY, family_)];
    let both = || vec![family(attribute::ADDITIONAL_ADDRESS_FAMILY, 2)];
    assert_eq!(ask(&mut rig, 1, only(1)), Ok(vec![address("11.0.0.1:49152")]));
    assert_eq!(ask(&mut rig, 2, only(2)), Ok(vec![address("[2a00:1::1]:49153")]));
    assert_eq!(ask(&mut rig, 3, both()), Ok(vec![address("11.0.0.1:49154"), address("[2a00:1::1]:49155")]));
    assert_eq!(ask(&mut rig, 4, only(3)), Err(440));
    assert_eq!(ask(&mut rig, 4, [only(1), both()].concat()), Err(400));
    assert_eq!(ask(&mut rig, 4, vec![family(attribute::ADDITIONAL_ADDRESS_FAMILY, 1)]), Err(400));
    // A peer of a family that the allocation has not.
    assert_eq!(rig.code(client(2), "alice", method::CHANNEL_BIND, &bind(0x4000, PEER)), 443);
    assert_eq!(rig.code(client(3), "alice", method::CHANNEL_BIND, &bind(0x4000, PEER)), 0);
    // One family of two is given back.
    let back = [(attribute::LIFETIME, vec![0; 4]), family(attribute::REQUESTED_ADDRESS_FAMILY, 1)];
    assert_eq!(rig.code(client(3), "alice", method::REFRESH, &back), 0);
    assert_eq!(rig.code(client(3), "alice", method::REFRESH, &back), 443);
    assert_eq!(*rig.fake.open.borrow(), 3);
    // Where there is no IPv6, "both" is IPv4 and says so.
    rig.core.settings.v6 = None;
    let request = rig.signed(client(5), "alice", method::ALLOCATE, &[allocate(), both()].concat());
    let reply = rig.ask(client(5), &request);
    let message = Message::parse(&reply).unwrap();
    assert_eq!(message.addresses(attribute::XOR_RELAYED_ADDRESS).count(), 1);
    assert_eq!(message.get(attribute::ADDRESS_ERROR_CODE).unwrap()[..4], [2, 0, 4, 40]);
    rig.core.settings.v4 = None;
    assert_eq!(ask(&mut rig, 6, Vec::new()), Err(440));
}

#[test]
fn what_a_partner_was_given_for_a_call_ends_though_it_is_refreshed() {
    let mut rig = Rig::usual();
    let life = Duration::from_secs(3600);
    assert!(rig.core.issue(rig.clock, friend(1), "partner".into(), "password", Some(life)));
    rig.issue(friend(1), "own");
    for (port, user) in [(1, "partner"), (2, "own")] {
        assert_eq!(rig.code(client(port), user, method::ALLOCATE, &allocate()), 0);
    }
    for _ in 0..11 {
        rig.pass(300);
        assert_eq!(rig.code(client(1), "partner", method::REFRESH, &[]), 0);
        assert_eq!(rig.code(client(2), "own", method::REFRESH, &[]), 0);
    }
    rig.pass(300);
    let late = rig.signed(client(1), "partner", method::REFRESH, &[]);
    assert_eq!(Message::parse(&rig.ask(client(1), &late)).unwrap().error(), Some(401));
    assert_eq!(rig.code(client(2), "own", method::REFRESH, &[]), 0);
    rig.pass(601);
    assert_eq!(*rig.fake.open.borrow(), 0, "both have run out");
}

#[test]
fn other_transports_and_unknown_attributes_are_refused_as_the_rfc_says() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    let mut code = |attributes: &[(u16, Vec<u8>)]| rig.code(client(1), "alice", method::ALLOCATE, attributes);
    assert_eq!(code(&[]), 400);
    assert_eq!(code(&[(attribute::REQUESTED_TRANSPORT, vec![6, 0, 0, 0])]), 442);
    assert_eq!(code(&[(attribute::REQUESTED_TRANSPORT, vec![17, 0])]), 400);
    assert_eq!(code(&[allocate(), vec![(0x0022, vec![0; 8])]].concat()), 420);
    assert_eq!(code(&[allocate(), vec![(attribute::EVEN_PORT, vec![0x80])]].concat()), 508, "a pair of ports");
    assert_eq!(code(&[allocate(), vec![(attribute::EVEN_PORT, vec![0])]].concat()), 0);
    assert_eq!(rig.code(client(2), "alice", method::REFRESH, &[]), 437);
    assert_eq!(rig.code(client(2), "alice", 0x00c, &[]), 400);
}

#[test]
fn thousands_of_allocates_cost_nothing() {
    let mut rig = Rig::usual();
    let plain = Writer::new(Class::Request, method::ALLOCATE, &[1; 12]).finish(None, true);
    let answered = (0..5000).filter(|n| rig.packet(client(*n), &plain) != Action::Nothing).count();
    assert!(answered < 100, "{answered}");
    assert!(rig.core.allocations.is_empty() && rig.core.users.is_empty() && rig.core.accounts.is_empty());
    // One with a credential stops at the bounds: of the credential, of the friend, of the whole.
    rig.issue(friend(1), "alice");
    for port in 0..1000 {
        assert_eq!(rig.code(client(port), "alice", method::ALLOCATE, &allocate()), 0);
    }
    assert_eq!(*rig.fake.open.borrow(), ALLOCATIONS_PER_USER);
    for n in 0..100_u16 {
        rig.issue(friend(1), &format!("alice-{n}"));
        let code = rig.code(client(2000 + n), &format!("alice-{n}"), method::ALLOCATE, &allocate());
        assert_eq!(code, if usize::from(n) + ALLOCATIONS_PER_USER < 16 { 0 } else { 486 });
    }
    assert!(rig.core.users.len() <= CREDENTIALS && *rig.fake.open.borrow() == 16);
    for n in 2..10 {
        for m in 0..16_u16 {
            let user = format!("{n}-{m}");
            rig.issue(friend(n), &user);
            let code = rig.code(client(3000 + u16::from(n) * 20 + m), &user, method::ALLOCATE, &allocate());
            assert_eq!(code, if n < 5 { 0 } else { 508 }, "{user}");
        }
    }
    assert_eq!(*rig.fake.open.borrow(), 64);
    // All of it ends by itself.
    rig.pass(601);
    assert_eq!(*rig.fake.open.borrow(), 0);
    rig.pass(3601);
    assert!(rig.core.users.is_empty() && rig.core.accounts.is_empty());
    assert_eq!(rig.core.poll_timeout(), None);
}

#[test]
fn when_no_socket_is_free_that_is_said() {
    let mut rig = Rig::usual();
    rig.fake.most = 1;
    rig.issue(friend(1), "alice");
    let both = [allocate(), vec![family(attribute::ADDITIONAL_ADDRESS_FAMILY, 2)]].concat();
    assert_eq!(rig.code(client(1), "alice", method::ALLOCATE, &both), 0);
    assert_eq!(rig.code(client(2), "alice", method::ALLOCATE, &allocate()), 508);
}

#[test]
fn quotas_hold_for_a_friend_and_in_total_and_a_guest_gets_little() {
    let bounds = Bounds { allocations: 64, bytes_per_second: 400_000, bytes_per_day: 8_000_000 };
    let mut rig = Rig::new(bounds);
    rig.issue(friend(1), "alice");
    rig.issue(guest(2), "guest");
    rig.allocated(1, "alice", PEER);
    rig.allocated(2, "guest", PEER);
    let mut passed = [0_u64; 2];
    let packet = channel(0x4000, &[0; 1000]);
    for _ in 0..40_000 {
        rig.clock.now += Duration::from_millis(1);
        rig.clock.unix_ms += 1;
        for port in [1, 2] {
            if matches!(rig.packet(client(port), &packet), Action::Relay { .. }) {
                passed[usize::from(port) - 1] += 1000;
            }
        }
    }
    // A quarter of the day's bytes for the friend, a sixteenth for the guest.
    assert_eq!(passed, [2_000_000, 500_000]);
    let uses = rig.core.uses(rig.clock);
    assert_eq!(uses.iter().map(|one| one.bytes_today).collect::<Vec<_>>(), [2_000_000, 500_000]);
    assert!(rig.core.counters().over_quota > 10_000);
}

#[test]
fn what_was_relayed_today_counts_after_a_restart_and_not_tomorrow() {
    let bounds = Bounds { allocations: 64, bytes_per_second: 4_000_000, bytes_per_day: 8_000_000 };
    let relay = |rig: &mut Rig| {
        rig.issue(friend(1), "alice");
        rig.issue(guest(2), "guest");
        rig.allocated(1, "alice", PEER);
        rig.allocated(2, "guest", PEER);
        let mut passed = [0_u64; 2];
        for _ in 0..4000 {
            rig.clock.now += Duration::from_millis(10);
            for port in [1, 2] {
                if matches!(rig.packet(client(port), &channel(0x4000, &[0; 1000])), Action::Relay { .. }) {
                    passed[usize::from(port) - 1] += 1000;
                }
            }
        }
        passed
    };
    let mut rig = Rig::new(bounds);
    assert_eq!(relay(&mut rig), [2_000_000, 500_000]);
    let used = rig.core.day_use(rig.clock);
    assert_eq!((used.total, used.guests, used.friends.len()), (2_500_000, 500_000, 1));
    let mut again = Rig::new(bounds);
    again.core.restore(again.clock, &used);
    assert_eq!(again.core.day_use(again.clock), used);
    // A guest is known by no name: what holds is the sum of all of them, of which a quarter is used.
    assert_eq!(relay(&mut again), [0, 500_000]);
    let mut tomorrow = Rig::new(bounds);
    tomorrow.clock.unix_ms += 86_400_000;
    tomorrow.core.restore(tomorrow.clock, &used);
    assert_eq!(relay(&mut tomorrow), [2_000_000, 500_000]);
}

#[test]
fn a_call_goes_on_after_its_credential_ran_out_and_a_new_address_is_taken() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    rig.allocated(1, "alice", PEER);
    for _ in 0..20 {
        rig.pass(290);
        assert_eq!(rig.code(client(1), "alice", method::REFRESH, &[]), 0);
        assert_eq!(rig.code(client(1), "alice", method::CHANNEL_BIND, &bind(0x4000, PEER)), 0);
    }
    // More than an hour later the client has another address; its old allocation is still there.
    assert_eq!(rig.code(client(2), "alice", method::ALLOCATE, &allocate()), 0);
    for port in [1, 2] {
        assert_eq!(rig.code(client(port), "alice", method::REFRESH, &[(attribute::LIFETIME, vec![0; 4])]), 0);
    }
    rig.pass(500);
    assert_eq!(rig.code(client(3), "alice", method::ALLOCATE, &allocate()), 0, "soon after its end");
    rig.pass(1300);
    let request = rig.signed(client(4), "alice", method::ALLOCATE, &allocate());
    let reply = rig.ask(client(4), &request);
    assert_eq!(Message::parse(&reply).unwrap().error(), Some(401), "long after it");
}

#[test]
fn turning_it_off_ends_what_there_is() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    rig.issue(guest(2), "guest");
    rig.allocated(1, "alice", PEER);
    rig.allocated(2, "guest", PEER);
    let settings = Settings { guests: false, ..rig.core.settings.clone() };
    rig.core.set_settings(settings.clone());
    assert_eq!(*rig.fake.open.borrow(), 1);
    assert!(!rig.core.issue(rig.clock, guest(2), "more".into(), "password", None));
    rig.core.set_settings(Settings { friends: false, ..settings });
    assert_eq!(*rig.fake.open.borrow(), 0);
}

#[test]
fn bent_and_cut_packets_do_no_harm() {
    let mut rig = Rig::usual();
    rig.issue(friend(1), "alice");
    rig.allocated(1, "alice", PEER);
    let good = rig.signed(client(2), "alice", method::ALLOCATE, &allocate());
    let send = Writer::new(Class::Indication, method::SEND, &[9; 12])
        .put_address(attribute::XOR_PEER_ADDRESS, address(PEER))
        .put(attribute::DATA, b"voice")
        .finish(None, false);
    let allocation = good.clone();
    for packet in [good, send, channel(0x4000, b"voice")] {
        for end in 0..packet.len() {
            let _ = rig.packet(client(2), &packet[..end]);
        }
        // A fingerprint that is bent into some other attribute lies behind the integrity, and means nothing.
        let covered = if packet == allocation { packet.len() - 8 } else { packet.len() };
        for at in 0..covered {
            for bit in 0..8 {
                let mut bent = packet.clone();
                bent[at] ^= 1 << bit;
                if bent.first().is_some_and(|first| *first < 4) {
                    rig.clock.now += Duration::from_secs(1);
                    if let Action::Reply(reply) = rig.packet(client(2), &bent) {
                        assert_ne!(Message::parse(&reply).map(|message| message.class), Some(Class::Success));
                    }
                }
            }
        }
    }
    assert_eq!(*rig.fake.open.borrow(), 1);
}
