//! Two agents and a network made of numbers: addresses, filters, delay and loss, in virtual time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::agent::{Agent, MAX_PAIRS, MAX_PENDING, MAX_REMOTES, Transmit};
use super::{Credentials, Local, Route, Via};
use crate::calls::candidate::{Candidate, Kind};
use crate::calls::stun::Writer;

const MS: Duration = Duration::from_millis(1);
const PORT: u16 = 4000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn credentials(name: &str) -> Credentials {
    Credentials { ufrag: name.into(), password: format!("{name}-secret") }
}

/// One side and its surroundings.
struct Side {
    agent: Agent,
    ip: IpAddr,
    relay: Option<SocketAddr>,
    /// Behind a NAT that lets in only from where something was sent to.
    filtered: bool,
    opened: HashSet<SocketAddr>,
    /// Nothing passes directly.
    cut: bool,
    /// Nothing passes through the relay.
    relay_dead: bool,
}

/// The network.
struct Net {
    now: Instant,
    sides: [Side; 2],
    air: BTreeMap<(Instant, u64), (usize, Route, Vec<u8>)>,
    sent: u64,
    delay: Duration,
    /// Every n-th packet is lost.
    loss: u64,
    /// Media goes each way this often, if it can.
    media: bool,
    /// When each side heard media last, and the longest silence.
    heard: [Option<Instant>; 2],
    stranded: [bool; 2],
    silence: [Duration; 2],
    /// Checks that left each side, by route.
    checks: HashMap<(usize, Route), u32>,
}

fn agent(now: Instant, name: &str, other: &str, controlling: bool) -> Agent {
    let crypto = rtc::crypto::default_provider().unwrap();
    let tie = if controlling { 9 } else { 5 };
    let mut agent = Agent::new(now, crypto, controlling, tie, false, PORT);
    agent.set_own(credentials(name));
    agent.set_friend(now, credentials(other));
    agent
}

impl Net {
    /// Two open sides, 25 ms apart. `leader` controls.
    fn new(leader: usize) -> Self {
        let now = Instant::now();
        let side = |n: usize, name, other, text: &str| Side {
            agent: agent(now, name, other, n == leader),
            ip: ip(text),
            relay: None,
            filtered: false,
            opened: HashSet::new(),
            cut: false,
            relay_dead: false,
        };
        Self {
            now,
            sides: [side(0, "alice", "bob", "203.0.113.1"), side(1, "bob", "alice", "203.0.114.1")],
            air: BTreeMap::new(),
            sent: 0,
            delay: MS * 25,
            loss: 0,
            media: false,
            heard: [None; 2],
            stranded: [false; 2],
            silence: [Duration::ZERO; 2],
            checks: HashMap::new(),
        }
    }

    fn with_relay(mut self, side: usize) -> Self {
        self.sides[side].relay = Some(at(&format!("198.51.100.{}:3000", side + 1)));
        self
    }

    fn ways(&mut self, n: usize) {
        let side = &mut self.sides[n];
        let mut locals = vec![Local { via: Via::Direct(side.ip), v4: true, extra: 0 }];
        locals.extend(side.relay.map(|_| Local { via: Via::Relay(1), v4: true, extra: 0 }));
        side.agent.set_locals(self.now, locals);
    }

    /// Tells each side the other's candidates.
    fn meet(&mut self) {
        for n in [0, 1] {
            self.ways(n);
            let other = &self.sides[1 - n];
            let mut told = vec![(SocketAddr::new(other.ip, PORT), Kind::Host)];
            told.extend(other.relay.map(|address| (address, Kind::Relay)));
            for (address, kind) in told {
                let candidate = Candidate { foundation: "1".into(), priority: kind.priority(u16::MAX), address, kind };
                self.sides[n].agent.add_remote(self.now, &candidate);
            }
        }
    }

    /// A packet leaves a side.
    fn send(&mut self, n: usize, route: Route, packet: Vec<u8>) {
        self.sent += 1;
        if self.loss > 0 && self.sent.is_multiple_of(self.loss) {
            return;
        }
        let (me, other) = (&self.sides[n], &self.sides[1 - n]);
        let (from, open) = match route.via {
            Via::Direct(ip) => (SocketAddr::new(ip, PORT), !me.cut && ip == me.ip),
            Via::Relay(_) => (me.relay.unwrap(), !me.relay_dead),
        };
        if !open {
            return;
        }
        let other_direct = SocketAddr::new(other.ip, PORT);
        let way = if route.to == other_direct && !other.cut {
            Some((Via::Direct(other.ip), self.delay))
        } else if Some(route.to) == other.relay && !other.relay_dead {
            Some((Via::Relay(1), self.delay * 2))
        } else {
            None
        };
        if !route.via.is_relay() {
            self.sides[n].opened.insert(route.to);
        }
        let Some((via, delay)) = way else { return };
        let when = self.now + delay + if route.via.is_relay() { self.delay } else { Duration::ZERO };
        self.air.insert((when, self.sent), (1 - n, Route { via, to: from }, packet));
    }

    fn arrive(&mut self, n: usize, route: Route, packet: &[u8]) {
        let side = &mut self.sides[n];
        if side.filtered && !route.via.is_relay() && !side.opened.contains(&route.to) {
            return;
        }
        if packet == b"media" {
            side.agent.heard(self.now, route);
            if let Some(last) = self.heard[n].replace(self.now) {
                self.silence[n] = self.silence[n].max(self.now - last);
            }
        } else {
            side.agent.input(self.now, route, packet);
        }
    }

    /// Runs for a while.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut tick = 0_u32;
        while self.now < end {
            self.now += MS;
            tick += 1;
            while let Some((&key, _)) = self.air.first_key_value()
                && key.0 <= self.now
            {
                let (to, route, packet) = self.air.remove(&key).unwrap();
                self.arrive(to, route, &packet);
            }
            for n in [0, 1] {
                let agent = &mut self.sides[n].agent;
                if agent.poll_timeout().is_some_and(|at| at <= self.now) {
                    agent.handle_timeout(self.now);
                }
                let route = agent.selected;
                let work = agent.take();
                self.stranded[n] |= work.stranded;
                for Transmit { route, packet, check } in work.packets {
                    *self.checks.entry((n, route)).or_default() += u32::from(check.is_some());
                    self.send(n, route, packet);
                }
                if let Some(route) = route.filter(|_| self.media && tick.is_multiple_of(20)) {
                    self.send(n, route, b"media".to_vec());
                }
            }
        }
    }

    fn kinds(&self) -> [Option<(Kind, Kind)>; 2] {
        [0, 1].map(|n| self.sides[n].agent.chosen().map(|c| (c.local, c.remote)))
    }

    fn talk(&mut self, time: Duration) {
        self.media = true;
        self.run(time);
        self.silence = [Duration::ZERO; 2];
    }
}

const DIRECT: Option<(Kind, Kind)> = Some((Kind::Host, Kind::Host));

#[test]
fn open_sides_find_each_other_in_two_round_trips_whoever_leads() {
    for leader in [0, 1] {
        let mut net = Net::new(leader);
        net.meet();
        net.run(MS * 110);
        assert_eq!(net.kinds(), [DIRECT; 2]);
        assert_eq!(net.sides[0].agent.chosen().unwrap().round_trip.map(|rtt| rtt.as_millis()), Some(50));
    }
}

#[test]
fn the_direct_pair_wins_over_relays_whoever_leads() {
    for leader in [0, 1] {
        let mut net = Net::new(leader).with_relay(0).with_relay(1);
        net.meet();
        net.run(MS * 500);
        assert_eq!(net.kinds(), [DIRECT; 2]);
    }
}

#[test]
fn two_filters_are_opened_from_both_sides() {
    for leader in [0, 1] {
        let mut net = Net::new(leader);
        (net.sides[0].filtered, net.sides[1].filtered) = (true, true);
        net.meet();
        net.run(MS * 250);
        assert_eq!(net.kinds(), [DIRECT; 2]);
    }
}

#[test]
fn where_nothing_is_direct_one_relay_of_either_side_is_enough() {
    for (leader, owner) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut net = Net::new(leader).with_relay(owner);
        // The owner's own direct way is shut, the other's is open to the relay.
        net.sides[owner].cut = true;
        net.meet();
        net.run(MS * 600);
        let kinds = net.kinds();
        assert_eq!(kinds[owner].map(|k| k.0), Some(Kind::Relay), "{kinds:?}");
        assert_eq!(kinds[1 - owner].map(|k| k.1), Some(Kind::Relay), "{kinds:?}");
    }
}

#[test]
fn a_way_that_opens_late_is_found_and_taken() {
    let mut net = Net::new(0).with_relay(0);
    net.sides[1].cut = false;
    net.sides[0].cut = true;
    net.meet();
    net.talk(MS * 5000);
    assert_eq!(net.kinds()[0].map(|k| k.0), Some(Kind::Relay));
    net.sides[0].cut = false;
    net.run(MS * 12_000);
    assert_eq!(net.kinds(), [DIRECT; 2]);
    assert!(net.silence.iter().all(|silence| *silence < MS * 120), "{:?}", net.silence);
}

#[test]
fn a_path_that_dies_is_left_for_the_one_in_reserve() {
    for leader in [0, 1] {
        for victim in [0, 1] {
            let mut net = Net::new(leader).with_relay(victim);
            net.meet();
            net.talk(MS * 4000);
            assert_eq!(net.kinds(), [DIRECT; 2]);
            net.sides[victim].cut = true;
            net.run(MS * 3000);
            let kinds = net.kinds();
            assert_eq!(kinds[victim].map(|k| k.0), Some(Kind::Relay), "{kinds:?}");
            assert!(net.silence.iter().all(|silence| *silence < MS * 1000), "{:?}", net.silence);
        }
    }
}

#[test]
fn a_relay_that_dies_is_replaced_by_the_other_sides() {
    for leader in [0, 1] {
        let mut net = Net::new(leader).with_relay(0).with_relay(1);
        // Each side reaches relays only; both relays reach both.
        (net.sides[0].filtered, net.sides[1].filtered) = (false, false);
        net.meet();
        // No direct pair: both sides' addresses are told, but packets between them are lost.
        let direct = [SocketAddr::new(net.sides[0].ip, PORT), SocketAddr::new(net.sides[1].ip, PORT)];
        for n in [0, 1] {
            net.sides[n].agent.pairs.retain(|pair| pair.route.via.is_relay() || pair.route.to != direct[1 - n]);
        }
        net.talk(MS * 4000);
        let used = usize::from(net.kinds()[0].unwrap().0 != Kind::Relay);
        net.sides[used].relay_dead = true;
        net.run(MS * 3000);
        let kinds = net.kinds();
        assert_eq!(kinds[1 - used].map(|k| k.0), Some(Kind::Relay), "{kinds:?}");
        assert!(net.silence.iter().all(|silence| *silence < MS * 1500), "{:?}", net.silence);
    }
}

#[test]
fn a_change_of_address_needs_no_word_over_the_link() {
    for leader in [0, 1] {
        let mut net = Net::new(leader);
        net.meet();
        net.talk(MS * 3000);
        net.sides[0].ip = ip("203.0.115.77");
        // The system tells half a second later.
        net.run(MS * 500);
        net.ways(0);
        net.run(MS * 3000);
        assert_eq!(net.kinds()[0], DIRECT);
        assert_eq!(net.kinds()[1].map(|k| k.1), Some(Kind::PeerReflexive));
        assert!(net.silence.iter().all(|silence| *silence < MS * 1000), "{leader} {:?}", net.silence);
    }
}

#[test]
fn a_side_that_hears_nothing_any_more_says_so_once_in_a_while() {
    let mut net = Net::new(0);
    net.meet();
    net.talk(MS * 1000);
    let cries = |net: &mut Net, time: u32| {
        (0..time / 10)
            .filter(|_| {
                net.run(MS * 10);
                std::mem::take(&mut net.stranded)[0]
            })
            .count()
    };
    assert_eq!(cries(&mut net, 2000), 0);
    net.sides[1].cut = true;
    net.sides[0].cut = true;
    assert_eq!(cries(&mut net, 700), 1);
    assert_eq!(cries(&mut net, 30_000), 3);
    net.sides[1].cut = false;
    net.sides[0].cut = false;
    net.run(MS * 3000);
    assert_eq!(net.kinds(), [DIRECT; 2]);
}

#[test]
fn loss_does_not_move_a_call_from_its_path() {
    let mut net = Net::new(0).with_relay(0);
    net.meet();
    net.run(MS * 300);
    net.loss = 5;
    net.talk(MS * 20_000);
    assert_eq!(net.kinds(), [DIRECT; 2]);
}

#[test]
fn a_quiet_call_is_checked_seldom_and_a_single_lost_check_alarms_nobody() {
    let mut net = Net::new(0).with_relay(0).with_relay(1);
    net.meet();
    net.talk(MS * 3000);
    let mut checks = |loss| {
        net.loss = loss;
        net.checks.clear();
        net.run(MS * 16_000);
        (net.checks.values().sum::<u32>(), net.checks.clone())
    };
    // Both sides: the path in use every two seconds, three in reserve every eight.
    let (quiet, all) = checks(0);
    assert!((24..=40).contains(&quiet), "{quiet}: {all:?}");
    // Every ninth packet is lost: no check of everything anew because of one that was.
    let (lossy, all) = checks(9);
    assert!(lossy <= 80, "{lossy}: {all:?}");
}

#[test]
fn on_a_narrow_path_checks_of_everything_take_a_part_of_it_only() {
    let mut net = Net::new(0).with_relay(0).with_relay(1);
    net.meet();
    net.talk(MS * 3000);
    for side in &mut net.sides {
        side.agent.set_rate(64_000.0);
        side.agent.renew(net.now);
        for n in 0..12_u32 {
            let address = SocketAddr::new(IpAddr::from((0xc000_0201 + n).to_be_bytes()), 5000);
            let candidate = Candidate { foundation: "1".into(), priority: n, address, kind: Kind::Host };
            side.agent.add_remote(net.now, &candidate);
        }
    }
    let before = net.sent;
    net.run(MS * 2000);
    let packets = net.sent - before - 200;
    // 14 checks a second and as many answers, from each side.
    assert!((30..=14 * 2 * 4).contains(&packets), "{packets}");
    let asked = net.sides[0].agent.pairs.iter().filter(|pair| pair.sent.is_some_and(|at| net.now - at < MS * 2000));
    assert!(asked.count() > 20, "all have had their turn");
}

#[test]
fn two_that_both_lead_settle_who_does() {
    for lead in [true, false] {
        let mut net = Net::new(0);
        for side in &mut net.sides {
            side.agent.controlling = lead;
        }
        net.meet();
        net.run(MS * 600);
        assert_eq!(net.kinds(), [DIRECT; 2]);
        assert!(net.sides[0].agent.controlling != net.sides[1].agent.controlling);
    }
}

#[test]
fn relays_are_not_asked_for_private_addresses() {
    let mut net = Net::new(0).with_relay(0);
    net.meet();
    for address in ["192.168.1.5:4000", "127.0.0.1:4000", "100.64.1.1:4000"] {
        let candidate = Candidate { foundation: "1".into(), priority: 1, address: at(address), kind: Kind::Host };
        net.sides[0].agent.add_remote(net.now, &candidate);
    }
    let permits = net.sides[0].agent.take().permits;
    assert_eq!(permits, [(1, at("203.0.114.1:4000"))]);
}

#[test]
fn forged_replayed_and_late_packets_change_nothing() {
    let mut net = Net::new(0);
    net.meet();
    net.talk(MS * 1000);
    let crypto = rtc::crypto::default_provider().unwrap();
    let victim = &mut net.sides[0].agent;
    let before = (victim.pairs.len(), victim.selected);
    let far = Route { via: Via::Direct(ip("203.0.113.1")), to: at("192.0.2.66:666") };
    // A stranger who has seen the user fragments.
    let forged = Writer::request([1; 12]).username("alice:bob").role(true, u64::MAX).use_candidate();
    assert!(!victim.input(net.now, far, &forged.sealed(&*crypto, b"guess").unwrap()));
    // Answers to nothing, with the right password even; and garbage.
    let answer = Writer::success([2; 12], at("203.0.113.1:4000")).sealed(&*crypto, b"bob-secret").unwrap();
    assert!(!victim.input(net.now, far, &answer));
    for n in 0..200_u8 {
        assert!(!victim.input(net.now, far, &vec![n; usize::from(n)]));
    }
    assert_eq!((victim.pairs.len(), victim.selected), before);
    // A genuine check, replayed from elsewhere: it is answered there, but media does not follow.
    let genuine = Writer::request([3; 12]).username("alice:bob").role(false, 5).sealed(&*crypto, b"alice-secret");
    assert!(victim.input(net.now, far, &genuine.unwrap()));
    let selected = victim.selected;
    net.run(MS * 3000);
    assert_eq!(net.sides[0].agent.selected, selected);
}

#[test]
fn a_friend_gone_mad_costs_bounded_memory_and_packets() {
    let mut net = Net::new(0).with_relay(0);
    net.meet();
    let crypto = rtc::crypto::default_provider().unwrap();
    let alice = &mut net.sides[0].agent;
    for n in 0..5000_u32 {
        let to = SocketAddr::new(IpAddr::from((0x0b00_0000 + n).to_be_bytes()), 5000);
        let check = Writer::request([n as u8; 12]).username("alice:bob").role(false, 5).use_candidate();
        let route = Route { via: Via::Direct(ip("203.0.113.1")), to };
        assert!(alice.input(net.now, route, &check.sealed(&*crypto, b"alice-secret").unwrap()));
        let candidate = Candidate { foundation: "1".into(), priority: n, address: to, kind: Kind::Host };
        alice.add_remote(net.now, &candidate);
        alice.take();
    }
    assert!(alice.pairs.len() <= MAX_PAIRS && alice.remotes() <= MAX_REMOTES);
    let before = net.sent;
    net.run(MS * 1000);
    // Both sides together: a check every four milliseconds, and answers.
    assert!(net.sent - before < 700, "{}", net.sent - before);
    assert!(net.sides[0].agent.pending() <= MAX_PENDING);
}
