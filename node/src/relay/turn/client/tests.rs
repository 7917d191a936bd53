//! The client against the server in virtual time, over a network that loses, doubles, delays and bends packets.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::peers::PeerRules;
use super::super::quota::{Bounds, Clock};
use super::super::server::{self, Account, Action, Core, Ports, Settings, Via, Wrap};
use super::*;

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// Transaction ids that are all different, without being random: a failing test fails again.
fn number() -> TransactionId {
    let next = NEXT.with(|next| {
        next.set(next.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        next.get()
    });
    let mut id = TransactionId::default();
    id[..8].copy_from_slice(&next.to_be_bytes());
    id
}

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

/// A network between one client and one server, with a delay each way. `fate` says what becomes of the nth packet.
struct World {
    began: Instant,
    now: Instant,
    client: Client,
    core: Core<u16>,
    ports: Numbers,
    delay: Duration,
    fate: fn(u64) -> Fate,
    packets: u64,
    flying: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    events: Vec<(Duration, Event)>,
    /// Payloads that arrived at the peer, and at the client.
    out: Vec<(SocketAddr, Vec<u8>)>,
    back: Vec<(SocketAddr, Vec<u8>)>,
    dead: bool,
}

#[derive(Clone, Copy)]
enum Fate {
    Fine,
    Lost,
    Twice,
    Late,
    Bent,
}

const US: &str = "11.0.0.7:4000";
const PEER: &str = "11.0.0.9:5000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn from() -> server::Client {
    server::Client { from: address(US), via: Via::Udp }
}

impl World {
    fn new(user: &str, wanted: Wanted, fate: fn(u64) -> Fate) -> Self {
        let now = Instant::now();
        let v4 = "11.0.0.1".parse().unwrap();
        let rules = PeerRules { private: false, own: vec![v4], calls: None };
        let bounds = Bounds { allocations: 64, bytes_per_second: 1_000_000, bytes_per_day: 1_000_000_000 };
        let settings = Settings {
            v4: Some(v4),
            v6: Some("2a00:1::1".parse().unwrap()),
            rules,
            bounds,
            friends: true,
            guests: false,
        };
        let clock = Clock { now, unix_ms: 1_800_000_000_000 };
        let mut core = Core::new(clock, settings, &[5; 32]);
        let root = twocan_protocol::identity::RootKey::from_secret(&[1; 32]).public();
        assert!(core.issue(clock, Account::Friend(root), "user".into(), "password", None));
        Self {
            began: now,
            now,
            client: Client::new(now, user.into(), "password", wanted, false, None, number),
            core,
            ports: Numbers(50_000),
            delay: Duration::from_millis(25),
            fate,
            packets: 0,
            flying: BTreeMap::new(),
            events: Vec::new(),
            out: Vec::new(),
            back: Vec::new(),
            dead: false,
        }
    }

    fn clock(&self) -> Clock {
        let passed = u64::try_from((self.now - self.began).as_millis()).unwrap();
        Clock { now: self.now, unix_ms: 1_800_000_000_000 + passed }
    }

    fn fly(&mut self, to_server: bool, mut packet: Vec<u8>) {
        self.packets += 1;
        let n = self.packets;
        let (mut delay, mut copies) = (self.delay, 1);
        match (self.fate)(n) {
            Fate::Fine => {}
            Fate::Lost => copies = 0,
            Fate::Twice => copies = 2,
            Fate::Late => delay += Duration::from_millis(60),
            Fate::Bent => {
                let place = usize::try_from(n * 7).unwrap() % packet.len();
                packet[place] ^= 0x55;
            }
        }
        for copy in 0..copies {
            self.flying.insert((self.now + delay, n * 2 + copy), (to_server, packet.clone()));
        }
    }

    fn drain(&mut self) {
        let outgoing: Vec<_> = self.client.outgoing().collect();
        outgoing.into_iter().for_each(|packet| self.fly(true, packet));
        let since = self.now - self.began;
        self.events.extend(self.client.events().map(|event| (since, event)));
    }

    fn send(&mut self, payload: &[u8]) {
        let mut buffer = Vec::new();
        if self.client.wrap(self.now, address(PEER), payload, &mut buffer) {
            self.fly(true, buffer);
        }
    }

    fn peer_sent(&mut self, peer: SocketAddr, payload: &[u8]) {
        let wrap = self.core.peer_sent(self.clock(), &from(), 1, peer, payload.len());
        let packet = match wrap {
            Some(Wrap::Channel(number)) => [&codec::channel_header(number, payload.len())[..], payload].concat(),
            Some(Wrap::Indication) => server::data_indication(Vec::new(), peer, payload),
            None => return,
        };
        self.fly(false, packet);
    }

    /// Lets time pass, with a packet from us and one from the peer every 20 ms if `talk`.
    fn run(&mut self, span: Duration, talk: bool) {
        let (end, mut next_talk) = (self.now + span, self.now);
        self.drain();
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let due = [arrival, self.client.poll_timeout(), self.core.poll_timeout(), talk.then_some(next_talk)];
            let Some(at) = due.into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if arrival == Some(at)
                && let Some((_, (to_server, packet))) = self.flying.pop_first()
            {
                self.deliver(to_server, &packet);
            }
            if talk && next_talk <= self.now {
                next_talk = self.now + Duration::from_millis(20);
                self.send(b"ours");
                self.peer_sent(address(PEER), b"theirs");
            }
            self.client.handle_timeout(self.now);
            let clock = self.clock();
            self.core.handle_timeout(clock);
            self.drain();
        }
        self.now = end;
    }

    fn deliver(&mut self, to_server: bool, packet: &[u8]) {
        let clock = self.clock();
        if !to_server {
            if let Input::Data(peer, payload) = self.client.handle(self.now, packet) {
                self.back.push((peer, payload.to_vec()));
            }
        } else if !self.dead {
            match self.core.handle(clock, from(), packet, &mut self.ports) {
                Action::Nothing => {}
                Action::Reply(reply) => self.fly(false, reply),
                Action::Relay { peer, payload, .. } => self.out.push((peer, payload.to_vec())),
            }
        }
    }

    fn ready_after(&self) -> Option<Duration> {
        self.events.iter().find(|(_, event)| matches!(event, Event::Ready(_))).map(|(at, _)| *at)
    }
}

fn fine(_: u64) -> Fate {
    Fate::Fine
}

#[test]
fn an_allocation_takes_two_round_trips_and_one_where_the_nonce_is_known() {
    let mut world = World::new("user", Wanted::V4, fine);
    world.run(Duration::from_millis(300), false);
    assert_eq!(world.ready_after(), Some(Duration::from_millis(100)));
    let challenge = world.client.challenge().cloned();
    world.client.release(world.now);
    world.run(Duration::from_millis(100), false);
    let again = world.now;
    world.events.clear();
    world.client = Client::new(again, "user".into(), "password", Wanted::V4, false, challenge, number);
    world.run(Duration::from_millis(300), false);
    assert_eq!(world.ready_after(), Some(again - world.began + Duration::from_millis(50)));
}

#[test]
fn packets_go_as_soon_as_a_peer_is_permitted_and_through_a_channel_from_then_on() {
    let mut world = World::new("user", Wanted::Both, fine);
    world.client.permit(world.now, address(PEER));
    world.run(Duration::from_millis(101), false);
    assert_eq!(world.client.relayed().len(), 2);
    world.send(b"at once");
    assert_eq!(world.client.counts().dropped, 0);
    world.run(Duration::from_millis(100), false);
    assert_eq!(world.out, [(address(PEER), b"at once".to_vec())]);
    let mut buffer = Vec::new();
    assert!(world.client.wrap(world.now, address(PEER), b"later", &mut buffer));
    assert!(codec::channel_data(&buffer).is_some(), "a channel");
    world.peer_sent(address(PEER), b"answer");
    world.peer_sent(address("11.0.0.10:1234"), b"of a stranger");
    world.run(Duration::from_millis(100), false);
    assert_eq!(world.back, [(address(PEER), b"answer".to_vec())]);
    assert!(!world.client.wrap(world.now, address("11.0.0.10:1234"), b"x", &mut buffer), "not permitted");
}

#[test]
fn it_comes_up_and_stays_up_over_a_bad_network() {
    fn bad(n: u64) -> Fate {
        match n % 11 {
            1 | 4 => Fate::Lost,
            2 => Fate::Twice,
            3 | 7 => Fate::Late,
            5 => Fate::Bent,
            _ => Fate::Fine,
        }
    }
    let mut world = World::new("user", Wanted::V4, bad);
    world.client.permit(world.now, address(PEER));
    world.run(Duration::from_secs(5), false);
    assert!(world.ready_after().is_some(), "{:?}", world.events);
    world.run(Duration::from_secs(1500), true);
    assert_eq!(world.events.len(), 1, "{:?}", world.events);
    let rate = |count: usize| count * 100 / 75_000;
    assert!(rate(world.out.len()) > 60 && rate(world.back.len()) > 60, "{} {}", world.out.len(), world.back.len());
    // Bent packets carry other bytes; none of them reaches somebody else.
    assert!(world.out.iter().all(|(peer, _)| *peer == address(PEER)));
}

#[test]
fn an_idle_allocation_is_kept_for_hours_and_with_few_packets() {
    let mut world = World::new("user", Wanted::V4, fine);
    world.client.permit(world.now, address(PEER));
    world.run(Duration::from_secs(4 * 3600), false);
    assert_eq!(world.events.len(), 1, "{:?}", world.events);
    world.send(b"still there");
    world.run(Duration::from_secs(1), false);
    assert_eq!(world.out.len(), 1);
    assert!(world.packets < 4 * 240 * 2 + 400, "{}", world.packets);
}

#[test]
fn a_wrong_credential_fails_at_once() {
    let mut world = World::new("nobody", Wanted::V4, fine);
    world.run(Duration::from_secs(1), false);
    let at = Duration::from_millis(100);
    assert_eq!(world.events, [(at, Event::Failed(Failure::Credential))]);
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn a_relay_that_is_not_there_is_given_up() {
    let mut world = World::new("user", Wanted::V4, |_| Fate::Lost);
    world.run(Duration::from_secs(20), false);
    assert_eq!(world.events, [(Duration::from_millis(7500), Event::Failed(Failure::Silent))]);
    assert_eq!(world.packets, 5);
}

#[test]
fn a_relay_that_dies_in_a_call_is_noticed_within_two_seconds() {
    let mut world = World::new("user", Wanted::V4, fine);
    world.client.permit(world.now, address(PEER));
    world.run(Duration::from_secs(10), true);
    world.dead = true;
    let died = world.now - world.began;
    // What the peer sends does not pass either.
    world.core.revoke(Account::Friend(twocan_protocol::identity::RootKey::from_secret(&[1; 32]).public()));
    world.run(Duration::from_secs(5), true);
    let (at, event) = world.events.last().unwrap();
    assert_eq!(*event, Event::Lost(Failure::Silent));
    assert!(*at - died < Duration::from_millis(2300), "{:?}", *at - died);
}

#[test]
fn a_relay_that_was_restarted_is_noticed() {
    let mut world = World::new("user", Wanted::V4, fine);
    world.client.permit(world.now, address(PEER));
    world.run(Duration::from_secs(10), false);
    let root = twocan_protocol::identity::RootKey::from_secret(&[1; 32]).public();
    world.core.revoke(Account::Friend(root));
    let clock = world.clock();
    assert!(world.core.issue(clock, Account::Friend(root), "user".into(), "password", None));
    world.run(Duration::from_secs(400), false);
    assert_eq!(world.events.last().unwrap().1, Event::Lost(Failure::Forgotten));
}

#[test]
fn answers_that_the_relay_did_not_make_are_not_believed() {
    let mut world = World::new("user", Wanted::V4, fine);
    world.run(Duration::from_millis(60), false);
    let transaction = world.client.pending[0].transaction;
    for key in [None, Some(Key::long_term("user", "twocan", "guess"))] {
        let forged = Writer::new(Class::Success, method::ALLOCATE, &transaction)
            .put_address(attribute::XOR_RELAYED_ADDRESS, address("11.6.6.6:666"))
            .finish(key.as_ref(), true);
        assert_eq!(world.client.handle(world.now, &forged), Input::Taken);
    }
    world.run(Duration::from_millis(100), false);
    assert_eq!(world.client.relayed(), [address("11.0.0.1:50001")]);
    let unasked = Writer::new(Class::Success, method::REFRESH, &[1; 12]).finish(None, true);
    assert_eq!(world.client.handle(world.now, &unasked), Input::Foreign);
}

#[test]
fn peers_are_bounded() {
    let mut world = World::new("user", Wanted::V4, fine);
    for port in 1..1000 {
        world.client.permit(world.now, SocketAddr::new([11, 0, 0, 9].into(), port));
    }
    assert_eq!(world.client.peers.len(), PEERS);
    world.run(Duration::from_secs(1), false);
    assert!(world.packets < 10 + 2 * PEERS as u64, "{}", world.packets);
}
