//! Links that are idle for an hour behind NATs that forget after 30 seconds: the link's session and a model of the
//! transport's keep-alive, in virtual time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use twocan_node::swarm::QUIC_KEEP_ALIVE;
use twocan_protocol::link::{ConnectionId, Input, Output, Session};
use twocan_protocol::testing::{Clock, people};

/// A home router forgets a UDP mapping that nothing left by for this long (RFC 4787 asks for two minutes; 30 s are seen).
const NAT_FORGETS: Duration = Duration::from_secs(30);
/// One way.
const DELAY: Duration = Duration::from_millis(200);
/// The transport gives a silent connection up after this long.
const IDLE: Duration = Duration::from_secs(40);

/// What crosses the network.
enum Packet {
    Frame(Vec<u8>),
    KeepAlive,
    Acknowledgement,
}

/// One side: its session, and its half of the transport. As in quinn, whatever is received puts the keep-alive off.
struct Side {
    session: Session,
    keep_alive_at: Instant,
    heard: Instant,
    /// When its router last saw a packet leave.
    left: Instant,
    up: bool,
}

struct Network {
    clock: Clock,
    keep_alive: Duration,
    /// How long a router remembers a flow on which nothing left.
    forgets: Duration,
    sides: [Side; 2],
    wire: VecDeque<(Instant, usize, Packet)>,
    alive: bool,
}

impl Network {
    fn new(keep_alive: Duration, forgets: Duration) -> Self {
        let clock = Clock::new();
        let [a, b] = people::<2>();
        // The two do not speak at the same moments: what comes finds a router that heard nothing for a while.
        let side = |own, friend, first| Side {
            session: Session::new(own, friend),
            keep_alive_at: clock.now + first,
            heard: clock.now,
            left: clock.now,
            up: false,
        };
        let mut network = Self {
            clock,
            keep_alive,
            forgets,
            sides: [side(&a, &b, keep_alive), side(&b, &a, keep_alive / 2)],
            wire: VecDeque::new(),
            alive: true,
        };
        for side in [0, 1] {
            let connection = ConnectionId(1);
            let remote_boot = 1;
            network.input(side, Input::Connected { connection, remote_boot, dialled: side == 0, relayed: false });
        }
        network
    }

    fn input(&mut self, side: usize, input: Input) {
        let outputs = self.sides[side].session.handle(self.clock.now, input);
        self.carry_out(side, outputs);
    }

    fn carry_out(&mut self, side: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Transmit(_, frame) => self.send(side, Packet::Frame(frame)),
                Output::Up { .. } => self.sides[side].up = true,
                Output::Down(_) | Output::Unopened { .. } => self.sides[side].up = false,
                _ => {}
            }
        }
    }

    fn send(&mut self, from: usize, packet: Packet) {
        self.sides[from].left = self.clock.now;
        self.wire.push_back((self.clock.now + DELAY, 1 - from, packet));
    }

    fn arrive(&mut self, to: usize, packet: Packet) {
        if self.clock.now - self.sides[to].left > self.forgets {
            return;
        }
        self.sides[to].heard = self.clock.now;
        self.sides[to].keep_alive_at = self.clock.now + self.keep_alive;
        match packet {
            Packet::Frame(frame) => {
                self.send(to, Packet::Acknowledgement);
                self.input(to, Input::Frame(ConnectionId(1), frame));
            }
            Packet::KeepAlive => self.send(to, Packet::Acknowledgement),
            Packet::Acknowledgement => {}
        }
    }

    /// Lets time pass; whether both sides have the link at the end of it.
    fn pass(&mut self, time: Duration) -> bool {
        let end = self.clock.now + time;
        while self.clock.now < end && self.alive {
            self.clock.advance(Duration::from_millis(50));
            while self.wire.front().is_some_and(|(at, ..)| *at <= self.clock.now) {
                if let Some((_, to, packet)) = self.wire.pop_front() {
                    self.arrive(to, packet);
                }
            }
            for side in [0, 1] {
                if self.sides[side].keep_alive_at <= self.clock.now {
                    self.sides[side].keep_alive_at = self.clock.now + self.keep_alive;
                    self.send(side, Packet::KeepAlive);
                }
                let session = &mut self.sides[side].session;
                if session.poll_timeout().is_some_and(|due| due <= self.clock.now) {
                    let outputs = session.handle_timeout(self.clock.now);
                    self.carry_out(side, outputs);
                }
                self.alive &= self.clock.now - self.sides[side].heard < IDLE;
            }
        }
        self.alive && self.sides.iter().all(|side| side.up)
    }
}

#[test]
fn a_link_that_is_idle_for_an_hour_behind_nats_that_forget_is_kept() {
    assert!(Network::new(QUIC_KEEP_ALIVE, NAT_FORGETS).pass(Duration::from_secs(3600)));
}
