//! An hour in which two linked friends have nothing to say, behind NATs that forget after half a minute.
//!
//! Everything in it that decides is the real thing, in virtual time: the QUIC state machine with the node's own numbers,
//! the link's session with its heartbeat, the lab's NATs. Between them is a wire with a delay. What a NAT sees is the
//! longest time in which nothing leaves a side, and that is asserted; that the links would not live without the
//! keep-alive is shown too.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends it")]

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event, IdleTimeout,
    ServerConfig, StreamId, TransportConfig, VarInt,
};
use twocan_node::swarm::{QUIC_IDLE, QUIC_KEEP_ALIVE};
use twocan_protocol::link::{ConnectionId, Input, Output, Session};
use twocan_protocol::testing::{Clock, people};
use twocan_tests::lab::nat::{Behaviour, Memory, Nat};
use twocan_tests::lab::packet::{Flow, Proto};

/// One way.
const DELAY: Duration = Duration::from_millis(100);
/// The time of which nobody says a word.
const HOUR: Duration = Duration::from_secs(3600);
/// The one connection of each side, as its session names it.
const LINK: ConnectionId = ConnectionId(1);

/// How the two are connected.
#[derive(Clone, Copy)]
struct Terms {
    /// The NAT of the one who dialled, and of the other.
    nats: [Behaviour; 2],
    /// How both NATs remember.
    memory: Memory,
    /// QUIC's keep-alive.
    keep_alive: Option<Duration>,
    /// Whether the sessions ask for each other.
    heartbeat: bool,
}

/// What happened in the time.
#[derive(Debug)]
struct Seen {
    /// Both links were up to the end.
    kept: bool,
    /// The longest time in which nothing left each side.
    silence: [Duration; 2],
    /// Bytes of UDP payload that left each side.
    bytes: [usize; 2],
}

struct Side {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    stream: Option<StreamId>,
    inside: SocketAddr,
    nat: Nat,
    session: Session,
    up: bool,
    lost: bool,
    received: Vec<u8>,
    sent: Option<Instant>,
    silence: Duration,
    bytes: usize,
}

struct Packet {
    at: Instant,
    to: usize,
    flow: Flow,
    payload: Vec<u8>,
}

struct World {
    clock: Clock,
    heartbeat: bool,
    sides: [Side; 2],
    wire: VecDeque<Packet>,
}

fn transport(keep_alive: Option<Duration>) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    let idle = VarInt::from_u32(u32::try_from(QUIC_IDLE.as_millis()).unwrap());
    transport.keep_alive_interval(keep_alive).max_idle_timeout(Some(IdleTimeout::from(idle)));
    transport.mtu_discovery_config(None);
    Arc::new(transport)
}

/// Both ends of TLS, for a certificate that was made for this.
fn configs(keep_alive: Option<Duration>) -> (ClientConfig, ServerConfig) {
    let made = rcgen::generate_simple_self_signed(["friend".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let only = [&rustls::version::TLS13];
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&only)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&only)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    client.transport_config(transport(keep_alive));
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
    server.transport_config(transport(keep_alive)).migration(false);
    (client, server)
}

impl World {
    /// Two friends whose NATs have been punched, and whose link is up.
    fn linked(terms: &Terms) -> Self {
        let clock = Clock::new();
        let (client, server) = configs(terms.keep_alive);
        let people = people::<2>();
        let side = |at: usize, server: Option<ServerConfig>| {
            let number = u8::try_from(at).unwrap() + 1;
            let nat = Nat::new(terms.nats[at], Ipv4Addr::new(11, number, 0, 1), 7).remembering(terms.memory);
            let seed = Some([number; 32]);
            Side {
                endpoint: Endpoint::new(Arc::new(EndpointConfig::default()), server.map(Arc::new), false, seed),
                connection: None,
                stream: None,
                inside: SocketAddr::new(Ipv4Addr::new(192, 168, number, 10).into(), 5000),
                nat,
                session: Session::new(&people[at], &people[1 - at]),
                up: false,
                lost: false,
                received: Vec::new(),
                sent: None,
                silence: Duration::ZERO,
                bytes: 0,
            }
        };
        let sides = [side(0, None), side(1, Some(server))];
        let mut world = Self { clock, heartbeat: terms.heartbeat, sides, wire: VecDeque::new() };
        let outer = world.punch();
        let connected = world.sides[0].endpoint.connect(world.clock.now, client, outer, "friend").unwrap();
        world.sides[0].connection = Some(connected);
        world.transmit(0);
        world.pass(Duration::from_secs(5));
        assert!(world.sides.iter().all(|side| side.up), "the link is made");
        world
    }

    /// Both NATs hear a word for the other, as hole punching has it; the second one's outer endpoint.
    fn punch(&mut self) -> SocketAddr {
        let now = self.clock.now;
        let third: SocketAddr = "11.9.0.1:443".parse().unwrap();
        let says = |side: &mut Side, dst| side.nat.outbound(now, &Flow { proto: Proto::Udp, src: side.inside, dst });
        let outer = [0, 1].map(|at| says(&mut self.sides[at], third));
        for at in [0, 1] {
            says(&mut self.sides[at], outer[1 - at]);
        }
        outer[1]
    }

    /// Lets time pass, from event to event.
    fn pass(&mut self, time: Duration) {
        let end = self.clock.now + time;
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            self.clock.advance_to(next);
            while self.wire.front().is_some_and(|packet| packet.at <= self.clock.now) {
                let packet = self.wire.pop_front().unwrap();
                self.arrive(packet);
            }
            for at in [0, 1] {
                self.timeouts(at);
                self.transmit(at);
            }
        }
        self.clock.advance_to(end);
    }

    fn next_event(&mut self) -> Option<Instant> {
        let heartbeat = self.heartbeat;
        let timers = self.sides.iter_mut().flat_map(|side| {
            let quic = side.connection.as_mut().and_then(|(_, connection)| connection.poll_timeout());
            let session = heartbeat.then(|| side.session.poll_timeout()).flatten();
            [quic, session]
        });
        timers.flatten().chain(self.wire.front().map(|packet| packet.at)).min()
    }

    fn timeouts(&mut self, at: usize) {
        let (now, side) = (self.clock.now, &mut self.sides[at]);
        if let Some((_, connection)) = &mut side.connection
            && connection.poll_timeout().is_some_and(|due| due <= now)
        {
            connection.handle_timeout(now);
        }
        if self.heartbeat && side.session.poll_timeout().is_some_and(|due| due <= now) {
            let outputs = side.session.handle_timeout(now);
            side.carry_out(outputs);
        }
    }

    /// A packet is at a NAT's outer side.
    fn arrive(&mut self, packet: Packet) {
        let (now, side) = (self.clock.now, &mut self.sides[packet.to]);
        if side.nat.inbound(now, &packet.flow).is_none() {
            return;
        }
        let mut answer = Vec::new();
        let data = BytesMut::from(packet.payload.as_slice());
        match side.endpoint.handle(now, packet.flow.src, None, None, data, &mut answer) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut side.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                side.connection = side.endpoint.accept(incoming, now, &mut answer, None).ok();
            }
            _ => {}
        }
    }

    /// Sends what a side has to send, after it has heard what came.
    fn transmit(&mut self, at: usize) {
        let now = self.clock.now;
        self.sides[at].listen(now, at == 0);
        let mut sent = Vec::new();
        let side = &mut self.sides[at];
        let Some((_, connection)) = &mut side.connection else { return };
        let mut payload = Vec::new();
        while let Some(transmit) = connection.poll_transmit(now, 1, &mut payload) {
            let flow = Flow { proto: Proto::Udp, src: side.inside, dst: transmit.destination };
            sent.push((flow, std::mem::take(&mut payload)));
        }
        for (flow, payload) in sent {
            if let Some(before) = side.sent.replace(now) {
                side.silence = side.silence.max(now - before);
            }
            side.bytes += payload.len();
            let flow = Flow { src: side.nat.outbound(now, &flow), ..flow };
            self.wire.push_back(Packet { at: now + DELAY, to: 1 - at, flow, payload });
        }
    }

    fn idle(mut self, time: Duration) -> Seen {
        for side in &mut self.sides {
            (side.silence, side.bytes) = (Duration::ZERO, 0);
        }
        self.pass(time);
        let now = self.clock.now;
        // That it is silent at the end counts as well.
        let silence = self.sides.each_ref().map(|side| side.silence.max(side.sent.map_or(time, |sent| now - sent)));
        let kept = self.sides.iter().all(|side| side.up && !side.lost);
        Seen { kept, silence, bytes: self.sides.each_ref().map(|side| side.bytes) }
    }
}

impl Side {
    /// Takes what QUIC has for the session.
    fn listen(&mut self, now: Instant, dialled: bool) {
        let mut opened = false;
        let Some((handle, connection)) = &mut self.connection else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            match event {
                Event::Connected if dialled => {
                    self.stream = connection.streams().open(Dir::Bi);
                    opened = self.stream.is_some();
                }
                Event::ConnectionLost { .. } => self.lost = true,
                _ => {}
            }
        }
        if self.stream.is_none() {
            self.stream = connection.streams().accept(Dir::Bi);
            opened = self.stream.is_some();
        }
        if opened {
            let connected = Input::Connected { connection: LINK, remote_boot: 1, dialled, relayed: false };
            let outputs = self.session.handle(now, connected);
            self.carry_out(outputs);
        }
        self.read(now);
    }

    /// Frames come with their length before them, as on a real link.
    fn read(&mut self, now: Instant) {
        let (Some((_, connection)), Some(stream)) = (&mut self.connection, self.stream) else { return };
        if let Ok(mut chunks) = connection.recv_stream(stream).read(true) {
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                self.received.extend_from_slice(&chunk.bytes);
            }
            let _ = chunks.finalize();
        }
        while let Some(frame) = take_frame(&mut self.received) {
            let outputs = self.session.handle(now, Input::Frame(LINK, frame));
            self.carry_out(outputs);
        }
    }

    fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Transmit(_, frame) => {
                    if let (Some((_, connection)), Some(stream)) = (&mut self.connection, self.stream) {
                        let mut message = u16::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
                        message.extend(frame);
                        assert_eq!(connection.send_stream(stream).write(&message), Ok(message.len()));
                    }
                }
                Output::Up { .. } => self.up = true,
                Output::Down(_) | Output::Unopened { .. } => self.up = false,
                _ => {}
            }
        }
    }
}

fn take_frame(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*received.first()?, *received.get(1)?]));
    (received.len() >= 2 + length).then(|| received.drain(..2 + length).skip(2).collect())
}

/// Friends behind a router that keeps ports and a carrier that moves them.
const TERMS: Terms = Terms {
    nats: [Behaviour::CARRIER, Behaviour::PORT_RESTRICTED],
    memory: Memory::SHORT,
    keep_alive: Some(QUIC_KEEP_ALIVE),
    heartbeat: true,
};

#[test]
fn an_idle_link_is_kept_for_an_hour_and_no_side_is_silent_for_as_long_as_a_nat_remembers() {
    let kinds = [Behaviour::ENDPOINT_INDEPENDENT, Behaviour::PORT_RESTRICTED, Behaviour::CARRIER];
    for dialler in kinds {
        for other in kinds {
            let seen = World::linked(&Terms { nats: [dialler, other], ..TERMS }).idle(HOUR);
            assert!(seen.kept, "{dialler:?} with {other:?}: {seen:?}");
            for silence in seen.silence {
                assert!(silence + Duration::from_secs(10) <= Memory::SHORT.udp, "too near to the edge: {seen:?}");
            }
            // An idle link may cost ten bytes a second and side.
            assert!(seen.bytes.iter().all(|bytes| *bytes < 36_000), "{seen:?}");
        }
    }
}

#[test]
fn the_keep_alive_alone_keeps_the_mappings_whatever_the_heartbeat_does() {
    let seen = World::linked(&Terms { heartbeat: false, ..TERMS }).idle(HOUR);
    assert!(seen.kept && seen.silence.iter().all(|silence| *silence < Memory::SHORT.udp), "{seen:?}");
}

#[test]
fn with_the_heartbeat_alone_a_nat_forgets_and_the_link_is_lost() {
    let seen = World::linked(&Terms { keep_alive: None, ..TERMS }).idle(HOUR);
    assert!(!seen.kept && seen.silence.iter().any(|silence| *silence >= Memory::SHORT.udp), "{seen:?}");
}

#[test]
fn with_neither_the_link_is_lost_as_soon_as_the_transport_gives_up() {
    let terms = Terms { keep_alive: None, heartbeat: false, memory: Memory::LINUX, ..TERMS };
    let seen = World::linked(&terms).idle(2 * QUIC_IDLE);
    assert!(!seen.kept, "{seen:?}");
}

/// The same hour over TCP, which has no keep-alive of ours below the link: what leaves each side, and when.
fn over_tcp(heartbeat: bool) -> [Duration; 2] {
    let mut clock = Clock::new();
    let start = clock.now;
    let people = people::<2>();
    let mut sessions = [Session::new(&people[0], &people[1]), Session::new(&people[1], &people[0])];
    let (mut wire, mut sent, mut silence) = (VecDeque::new(), [start; 2], [Duration::ZERO; 2]);
    let mut due: Vec<(usize, Vec<Output>)> = Vec::new();
    for at in [0, 1] {
        let input = Input::Connected { connection: LINK, remote_boot: 1, dialled: at == 0, relayed: false };
        due.push((at, sessions[at].handle(clock.now, input)));
    }
    loop {
        for (at, outputs) in due.drain(..) {
            for output in outputs {
                match output {
                    Output::Transmit(_, frame) => {
                        silence[at] = silence[at].max(clock.now - sent[at]);
                        sent[at] = clock.now;
                        wire.push_back((clock.now + DELAY, 1 - at, frame));
                    }
                    Output::Down(reason) => panic!("the link is down: {reason}"),
                    _ => {}
                }
            }
        }
        let timers = sessions.iter().filter_map(|session| heartbeat.then(|| session.poll_timeout()).flatten());
        let next = timers.chain(wire.front().map(|(at, ..)| *at)).min();
        let Some(next) = next.filter(|next| *next < start + HOUR) else { break };
        clock.advance_to(next);
        while let Some((_, to, frame)) = wire.pop_front_if(|(at, ..)| *at <= clock.now) {
            // Its acknowledgement by TCP leaves at once.
            silence[to] = silence[to].max(clock.now - sent[to]);
            sent[to] = clock.now;
            due.push((to, sessions[to].handle(clock.now, Input::Frame(LINK, frame))));
        }
        for (at, session) in sessions.iter_mut().enumerate() {
            if heartbeat && session.poll_timeout().is_some_and(|due| due <= clock.now) {
                due.push((at, session.handle_timeout(clock.now)));
            }
        }
    }
    [0, 1].map(|at| silence[at].max(start + HOUR - sent[at]))
}

#[test]
fn over_tcp_the_heartbeat_speaks_more_often_than_any_nat_forgets_and_without_it_none_would_remember() {
    // RFC 5382 asks for two hours; a minute is the least that is seen.
    let forgets = Duration::from_secs(60);
    let silence = over_tcp(true);
    assert!(silence.iter().all(|silence| *silence + Duration::from_secs(20) <= forgets), "{silence:?}");
    assert!(over_tcp(false).iter().all(|silence| *silence > forgets));
}
