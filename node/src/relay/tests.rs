//! Client and server over real sockets on loopback: UDP, TLS, and TLS through a proxy.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use twocan_protocol::identity::{RootKey, RootPublic};

use super::*;

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("no {what} in time"))
}

fn friend(n: u8) -> RootPublic {
    RootKey::from_secret(&[n; 32]).public()
}

struct Rig {
    server: Server,
    udp: Vec<SocketAddr>,
    tls: SocketAddr,
    identity: Identity,
}

impl Rig {
    async fn new() -> Self {
        Self::with(None).await
    }

    async fn with(other: Option<u16>) -> Self {
        let addresses: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let server = Server::start(ServerConfig {
            addresses,
            ports: 20_000..=60_000,
            calls_port: None,
            policy: Policy::Friends,
            limits: Limits::default(),
            private_peers: true,
        });
        // In the place of the calls' port: a socket for each family.
        let mut sockets = Vec::new();
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(any).await else { continue };
            let (socket, server) = (Arc::new(socket), server.clone());
            sockets.push(socket.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 2048];
                while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                    server.input(from, &buffer[..length]);
                }
            });
        }
        let udp = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        server.set_out(Arc::new(move |to, packet| {
            let socket = sockets.iter().find(|socket| socket.local_addr().unwrap().is_ipv4() == to.is_ipv4()).unwrap();
            let _ = socket2::SockRef::from(&**socket).send_to(packet, &to.into());
        }));
        let identity = Identity::generate().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tls = server.serve_tls(listener, &identity, Arc::new(other.unwrap_or(0).into())).unwrap();
        Self { server, udp, tls, identity }
    }

    fn access(&self, kind: Kind) -> Access {
        let credential = self.server.issue(friend(1), kind).unwrap();
        Access {
            owner: Owner::Friend(friend(9)),
            udp: self.udp.clone(),
            tls: vec![self.tls],
            certificate: self.identity.fingerprint(),
            user: credential.user,
            password: credential.password,
            expires_ms: credential.expires_ms,
            carried: Carried::default(),
        }
    }

    fn socket_way(&self) -> Way {
        Way::Socket { server: self.udp[0] }
    }

    fn tls_way(&self) -> Way {
        Way::Tls { server: self.tls, proxy: None }
    }
}

/// An allocation with what came through it.
struct User {
    relayed: Relayed,
    events: mpsc::Receiver<RelayedEvent>,
    packets: mpsc::Receiver<(SocketAddr, Vec<u8>)>,
}

impl User {
    fn open(access: Access, way: Way, family: Family) -> Self {
        let (sink, packets) = mpsc::channel(64);
        let sink: PacketOut = Arc::new(move |peer, packet: &[u8]| drop(sink.try_send((peer, packet.to_vec()))));
        let (relayed, events) = Relayed::open(access, way, family, sink);
        Self { relayed, events, packets }
    }

    async fn ready(&mut self) -> Vec<SocketAddr> {
        match soon("allocation", self.events.recv()).await {
            Some(RelayedEvent::Ready { relayed }) => relayed,
            other => panic!("{other:?}"),
        }
    }

    async fn packet(&mut self) -> (SocketAddr, Vec<u8>) {
        soon("packet", self.packets.recv()).await.unwrap()
    }
}

/// Both directions between a user and a plain UDP peer.
async fn talk(user: &mut User) {
    let relayed = user.ready().await;
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    user.relayed.permit(peer.local_addr().unwrap());
    let mut buffer = [0; 2048];
    for round in 0..50_u8 {
        let packet = vec![round; 1 + usize::from(round) * 24];
        user.relayed.send(peer.local_addr().unwrap(), &packet);
        let (length, from) = soon("packet at the peer", peer.recv_from(&mut buffer)).await.unwrap();
        assert_eq!((&buffer[..length], from), (packet.as_slice(), relayed[0]));
        peer.send_to(&packet, from).await.unwrap();
        assert_eq!(user.packet().await, (peer.local_addr().unwrap(), packet));
    }
    let counts = user.relayed.counts();
    assert_eq!((counts.sent, counts.received, counts.dropped), (50, 50, 0));
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    soon(what, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn packets_pass_over_udp_and_the_allocation_ends_with_its_owner() {
    let rig = Rig::new().await;
    let mut user = User::open(rig.access(Kind::Own), rig.socket_way(), Family::V4);
    talk(&mut user).await;
    let status = rig.server.status();
    assert_eq!((status.allocations, status.usage.len()), (1, 1));
    assert_eq!(status.usage[0].by, UsedBy::Friend(friend(1)));
    assert_eq!(status.bytes_today, 2 * (0..50).map(|n| 1 + n * 24).sum::<u64>());
    drop(user);
    until("end of the allocation", || rig.server.status().allocations == 0).await;
}

#[tokio::test]
async fn packets_pass_through_a_socket_that_the_caller_owns() {
    let rig = Rig::new().await;
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let sender = socket.clone();
    let out: PacketOut = Arc::new(move |to, packet| drop(sender.try_send_to(packet, to)));
    socket.writable().await.unwrap();
    let mut user = User::open(rig.access(Kind::Own), Way::Udp { server: rig.udp[0], out }, Family::V4);
    assert!(!user.relayed.input(b"\x80something else"));
    let User { relayed, events, packets } = &mut user;
    let mut buffer = vec![0; 2048];
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    relayed.permit(peer.local_addr().unwrap());
    soon("round", async {
        loop {
            tokio::select! {
                received = socket.recv_from(&mut buffer) => {
                    let (length, from) = received.unwrap();
                    assert_eq!(from, rig.udp[0]);
                    assert!(relayed.input(&buffer[..length]));
                }
                Some(event) = events.recv() => {
                    assert!(matches!(event, RelayedEvent::Ready { .. }), "{event:?}");
                    relayed.send(peer.local_addr().unwrap(), b"there");
                    let mut arrived = [0; 16];
                    let (_, from) = peer.recv_from(&mut arrived).await.unwrap();
                    peer.send_to(b"back", from).await.unwrap();
                }
                Some((_, packet)) = packets.recv() => {
                    assert_eq!(packet, b"back");
                    break;
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn packets_pass_over_tls_and_the_connection_ends_with_its_owner() {
    let rig = Rig::new().await;
    let mut user = User::open(rig.access(Kind::Own), rig.tls_way(), Family::V4);
    talk(&mut user).await;
    assert_eq!(rig.server.status().tls_connections, 1);
    drop(user);
    until("end of the connection", || {
        let status = rig.server.status();
        status.allocations == 0 && status.tls_connections == 0
    })
    .await;
}

#[tokio::test]
async fn two_users_of_one_relay_meet_in_it_over_different_ways_and_families() {
    let rig = Rig::new().await;
    let mut alice = User::open(rig.access(Kind::Own), rig.socket_way(), Family::Both);
    let mut bob = User::open(rig.access(Kind::Partner), rig.tls_way(), Family::V6);
    let (of_alice, of_bob) = (alice.ready().await, bob.ready().await);
    assert_eq!((of_alice.len(), of_bob.len()), (2, 1));
    assert!(of_alice[0].is_ipv4() && of_alice[1].is_ipv6() && of_bob[0].is_ipv6());
    alice.relayed.permit(of_bob[0]);
    bob.relayed.permit(of_alice[1]);
    // The permission of the other side may come later than the first packet.
    soon("packets both ways", async {
        let (mut there, mut back) = (false, false);
        while !(there && back) {
            alice.relayed.send(of_bob[0], b"to bob");
            bob.relayed.send(of_alice[1], b"to alice");
            tokio::select! {
                Some((from, packet)) = bob.packets.recv() => {
                    assert_eq!((from, packet.as_slice()), (of_alice[1], &b"to bob"[..]));
                    there = true;
                }
                Some((from, packet)) = alice.packets.recv() => {
                    assert_eq!((from, packet.as_slice()), (of_bob[0], &b"to alice"[..]));
                    back = true;
                }
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    })
    .await;
}

/// A proxy that asks for a login and knows CONNECT.
async fn proxy(listener: TcpListener) {
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            if !head.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n") {
                client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
                return;
            }
            let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

#[tokio::test]
async fn packets_pass_over_tls_through_a_proxy_with_its_login_only() {
    let rig = Rig::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(proxy(listener));
    let way = |login: &str| {
        let proxy = Proxy::parse(&format!("http://{login}{address}")).unwrap();
        Way::Tls { server: rig.tls, proxy: Some(proxy) }
    };
    let mut user = User::open(rig.access(Kind::Own), way("me:secret@"), Family::V4);
    talk(&mut user).await;
    let mut refused = User::open(rig.access(Kind::Own), way(""), Family::V4);
    assert!(matches!(soon("failure", refused.events.recv()).await, Some(RelayedEvent::Failed(_))));
}

#[tokio::test]
async fn another_certificate_and_another_password_fail() {
    let rig = Rig::new().await;
    let mut other = rig.access(Kind::Own);
    other.certificate = Identity::generate().unwrap().fingerprint();
    let mut user = User::open(other, rig.tls_way(), Family::V4);
    assert!(matches!(soon("failure", user.events.recv()).await, Some(RelayedEvent::Failed(_))));
    let mut wrong = rig.access(Kind::Own);
    wrong.password = Secret::new("guess");
    for way in [rig.tls_way(), rig.socket_way()] {
        let mut user = User::open(wrong.clone(), way, Family::V4);
        let failed = soon("failure", user.events.recv()).await;
        assert_eq!(failed, Some(RelayedEvent::Failed("the relay does not take the credential".into())));
    }
    assert_eq!(rig.server.status().allocations, 0);
}

#[tokio::test]
async fn a_friend_who_is_one_no_more_loses_what_runs() {
    let rig = Rig::new().await;
    let mut over_udp = User::open(rig.access(Kind::Own), rig.socket_way(), Family::V4);
    let mut over_tls = User::open(rig.access(Kind::Own), rig.tls_way(), Family::V4);
    over_udp.ready().await;
    over_tls.ready().await;
    rig.server.revoke(&friend(1));
    assert_eq!(rig.server.status().allocations, 0);
    for user in [&mut over_udp, &mut over_tls] {
        user.relayed.permit("127.0.0.1:9999".parse().unwrap());
        assert!(matches!(soon("loss", user.events.recv()).await, Some(RelayedEvent::Lost(_))));
    }
    rig.server.set_policy(Policy::Off);
    assert_eq!(rig.server.issue(friend(1), Kind::Own), None);
}

#[tokio::test]
async fn a_tls_connection_that_breaks_is_told_at_once() {
    let rig = Rig::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = listener.local_addr().unwrap();
    let tls = rig.tls;
    let wire = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(tls).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let mut user = User::open(rig.access(Kind::Own), Way::Tls { server: between, proxy: None }, Family::V4);
    user.ready().await;
    wire.abort();
    assert!(matches!(soon("loss", user.events.recv()).await, Some(RelayedEvent::Lost(_))));
}

#[tokio::test]
async fn what_is_no_tls_goes_to_the_swarms_port() {
    let swarm = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::with(Some(swarm.local_addr().unwrap().port())).await;
    let mut stream = TcpStream::connect(rig.tls).await.unwrap();
    stream.write_all(b"\x13/multistream/1.0.0\n").await.unwrap();
    let (mut passed, _) = soon("connection", swarm.accept()).await.unwrap();
    let mut hello = [0; 20];
    soon("hello", passed.read_exact(&mut hello)).await.unwrap();
    assert_eq!(&hello, b"\x13/multistream/1.0.0\n");
    passed.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    soon("answer", stream.read_exact(&mut answer)).await.unwrap();
    let mut user = User::open(rig.access(Kind::Own), rig.tls_way(), Family::V4);
    talk(&mut user).await;
}

#[tokio::test]
async fn one_address_gets_so_many_connections_and_garbage_none() {
    let rig = Rig::new().await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(TcpStream::connect(rig.tls).await.unwrap());
    }
    // Those beyond the bound are closed at once; the others wait for a handshake.
    let mut byte = [0];
    let mut closed = 0;
    for stream in &mut open {
        if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut byte)).await {
            closed += 1;
        }
    }
    assert_eq!(closed, 40);
    drop(open);
    until("a free place", || {
        let stream = std::net::TcpStream::connect(rig.tls).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        std::io::Read::read(&mut &stream, &mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    })
    .await;
    let mut garbage = TcpStream::connect(rig.tls).await.unwrap();
    garbage.write_all(&[0x16; 100]).await.unwrap();
    let mut rest = Vec::new();
    let _ = soon("end", garbage.read_to_end(&mut rest)).await;
    assert_eq!(rig.server.status().tls_connections, 0);
}

#[tokio::test]
async fn thousands_of_packets_from_strangers_are_answered_to_few() {
    let rig = Rig::new().await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut binding = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    binding.extend([7; 12]);
    for _ in 0..2000 {
        stranger.send_to(&binding, rig.udp[0]).await.unwrap();
    }
    until("answers", || rig.server.status().bindings >= 40).await;
    let mut user = User::open(rig.access(Kind::Own), rig.tls_way(), Family::V4);
    talk(&mut user).await;
    // 40 in a second; the test may have run for some.
    assert!(rig.server.status().bindings < 1000, "{}", rig.server.status().bindings);
}
