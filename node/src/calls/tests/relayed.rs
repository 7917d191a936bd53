//! Whole calls through a real relay server, which answers on a calls' port as in a node.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use twocan_control::friend::LinkPath;
use twocan_protocol::identity::{RootKey, RootPublic};

use super::harness::{Pair, engine};
use super::{Connected, Engine, OPEN, OfferKind, PathInfo, PeerCommand, PeerEvent};
use crate::relay::{Access, Carried, Identity, Kind, Limits, Owner, Policy, Server, ServerConfig};

fn person(n: u8) -> RootPublic {
    RootKey::from_secret(&[n; 32]).public()
}

/// A friend's node that relays.
struct Relay {
    engine: Engine,
    server: Server,
    tls: SocketAddr,
    identity: Identity,
    who: u8,
}

impl Relay {
    async fn new(who: u8) -> Self {
        let addresses: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap()];
        let server = Server::start(ServerConfig {
            addresses,
            ports: 20_000..=60_000,
            calls_port: None,
            policy: Policy::Friends,
            limits: Limits::default(),
            private_peers: true,
        });
        let engine = engine().await;
        engine.serve(server.clone());
        let identity = Identity::generate().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tls = server.serve_tls(listener, &identity, Arc::default()).unwrap();
        Self { engine, server, tls, identity, who }
    }

    fn udp(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.engine.port()))
    }

    /// For both sides of a call.
    fn access(&self) -> [Vec<Access>; 2] {
        [Kind::Own, Kind::Partner].map(|kind| {
            let credential = self.server.issue(person(1), kind).unwrap();
            let owner = if kind == Kind::Own { Owner::Friend(person(self.who)) } else { Owner::Partner };
            vec![Access {
                owner,
                udp: vec![self.udp()],
                tls: vec![self.tls],
                certificate: self.identity.fingerprint(),
                user: credential.user,
                password: credential.password,
                expires_ms: credential.expires_ms,
                carried: Carried::default(),
            }]
        })
    }
}

/// Offers, and waits until both are connected.
async fn connect(pair: &mut Pair) -> [PathInfo; 2] {
    pair.a.command(PeerCommand::Offer { generation: 1, kind: OfferKind::First });
    let mut paths = Vec::new();
    for side in [&mut pair.a, &mut pair.b] {
        match side.event(|event| matches!(event, PeerEvent::Connected(_))).await {
            PeerEvent::Connected(Connected { path, .. }) => paths.push(path),
            _ => unreachable!(),
        }
    }
    paths.try_into().unwrap()
}

#[tokio::test]
async fn who_hides_speaks_through_a_relay_and_tells_no_address() {
    let relay = Relay::new(7).await;
    let mut pair = Pair::relayed(relay.access(), [true, false]).await;
    let (tell, told) = std::sync::mpsc::sync_channel(64);
    pair.a.tamper(move |description| drop(tell.send((description.sdp.clone(), description.candidates.clone()))));
    let paths = connect(&mut pair).await;
    assert!(paths.iter().all(|path| path.path == LinkPath::Relayed), "{paths:?}");
    assert_eq!(paths[0].relay, Some(Owner::Friend(person(7))));
    pair.open(OPEN).await;
    pair.audio_passes(1).await;
    let own_port = pair.a.engine.port().to_string();
    while let Ok((sdp, candidates)) = told.try_recv() {
        assert!(!sdp.contains(&own_port));
        assert!(candidates.iter().all(|line| line.contains("typ relay")), "{candidates:?}");
    }
    // Its port has neither sent nor taken anything of the call.
    assert_eq!(pair.a.engine.stats().sources, 0);
}

#[tokio::test]
async fn with_a_relay_and_a_direct_way_the_direct_one_is_taken() {
    let relay = Relay::new(7).await;
    for leader in [0, 1] {
        let mut pair = Pair::relayed(relay.access(), [false; 2]).await;
        let offers = if leader == 0 { &pair.a } else { &pair.b };
        offers.command(PeerCommand::Offer { generation: 1, kind: OfferKind::First });
        pair.connect().await;
        pair.open(OPEN).await;
        pair.audio_passes(1).await;
        pair.settle().await;
        for side in [&mut pair.a, &mut pair.b] {
            let stats = side.event(|event| matches!(event, PeerEvent::Stats(_))).await;
            let PeerEvent::Stats(quality) = stats else { unreachable!() };
            assert_eq!(quality.candidates.as_deref(), Some("host/host"));
        }
    }
}

#[tokio::test]
async fn a_relay_that_dies_in_mid_call_is_replaced_without_an_offer() {
    let (first, second) = (Relay::new(7).await, Relay::new(8).await);
    let ([mut a, mut b], [more_a, more_b]) = (first.access(), second.access());
    a.extend(more_a);
    b.extend(more_b);
    let mut pair = Pair::relayed([a, b], [true, true]).await;
    let paths = connect(&mut pair).await;
    pair.open(OPEN).await;
    pair.audio_passes(1).await;
    // Both allocations of both sides are there.
    pair.settle().await;
    let used = if paths[0].relay == Some(Owner::Friend(person(7))) { &first } else { &second };
    used.server.set_policy(Policy::Off);
    let other = Some(Owner::Friend(person(if used.who == 7 { 8 } else { 7 })));
    pair.a.event(|event| matches!(event, PeerEvent::Path(path) if path.relay == other)).await;
    pair.audio_passes(2).await;
}

#[tokio::test]
async fn without_udp_the_relay_is_reached_inside_tls() {
    let relay = Relay::new(7).await;
    let mut access = relay.access();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    access.iter_mut().flatten().for_each(|access| access.udp = vec![silent.local_addr().unwrap()]);
    let mut pair = Pair::relayed(access, [true, true]).await;
    let paths = connect(&mut pair).await;
    assert!(paths.iter().all(|path| path.path == LinkPath::Relayed && path.tls), "{paths:?}");
    pair.open(OPEN).await;
    pair.audio_passes(1).await;
}

/// What a bad relay does to packets.
const DROP_ALL: u8 = 0;
const PASS: u8 = 1;
const MISTREAT: u8 = 2;

/// A way to the relay that drops, passes, or mistreats packets. Gives its address and the switch.
async fn way_to(relay: SocketAddr, mood: u8) -> (SocketAddr, Arc<AtomicU8>) {
    let (mood, front) = (Arc::new(AtomicU8::new(mood)), Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap()));
    let (address, switch) = (front.local_addr().unwrap(), mood.clone());
    tokio::spawn(async move {
        let mut backs: std::collections::HashMap<SocketAddr, Arc<UdpSocket>> = std::collections::HashMap::new();
        let mut buffer = vec![0; 2048];
        let mut count = 0_u32;
        while let Ok((length, from)) = front.recv_from(&mut buffer).await {
            let back = match backs.get(&from) {
                Some(back) => back.clone(),
                None => {
                    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    backs.insert(from, back.clone());
                    let (reader, front, mood) = (back.clone(), front.clone(), mood.clone());
                    tokio::spawn(async move {
                        let (mut buffer, mut count) = (vec![0; 2048], 0_u32);
                        while let Ok((length, _)) = reader.recv_from(&mut buffer).await {
                            count += 1;
                            for packet in treated(&buffer[..length], mood.load(Ordering::Relaxed), count) {
                                let _ = front.send_to(&packet, from).await;
                            }
                        }
                    });
                    back
                }
            };
            count += 1;
            for packet in treated(&buffer[..length], mood.load(Ordering::Relaxed), count) {
                let _ = back.send_to(&packet, relay).await;
            }
        }
    });
    (address, switch)
}

/// The packets that come out where this one went in.
fn treated(packet: &[u8], mood: u8, count: u32) -> Vec<Vec<u8>> {
    let mut bent = packet.to_vec();
    match (mood, count % 7) {
        (DROP_ALL, _) => vec![],
        (MISTREAT, 2) => vec![],
        // Replayed at once, and bent in one place in a copy.
        (MISTREAT, 3) => vec![bent.clone(), bent],
        (MISTREAT, 5) => {
            let at = bent.len() - 1 - count as usize % bent.len();
            bent[at] ^= 0x55;
            vec![bent, packet.to_vec()]
        }
        _ => vec![bent],
    }
}

#[tokio::test]
async fn a_relay_that_drops_bends_and_replays_does_not_harm_the_call() {
    let relay = Relay::new(7).await;
    let (address, switch) = way_to(relay.udp(), PASS).await;
    let mut access = relay.access();
    access.iter_mut().flatten().for_each(|access| {
        access.udp = vec![address];
        access.tls.clear();
    });
    let mut pair = Pair::relayed(access, [true, true]).await;
    connect(&mut pair).await;
    pair.open(OPEN).await;
    pair.audio_passes(1).await;
    switch.store(MISTREAT, Ordering::Relaxed);
    for number in 2..60 {
        pair.audio_passes(number).await;
    }
    switch.store(PASS, Ordering::Relaxed);
    pair.quiet_for(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_call_inside_tls_goes_back_to_udp_when_that_works_again() {
    let relay = Relay::new(7).await;
    let (address, switch) = way_to(relay.udp(), DROP_ALL).await;
    let mut access = relay.access();
    access.iter_mut().flatten().for_each(|access| access.udp = vec![address]);
    let mut pair = Pair::relayed(access, [true, true]).await;
    let paths = connect(&mut pair).await;
    assert!(paths.iter().all(|path| path.tls), "{paths:?}");
    pair.open(OPEN).await;
    pair.audio_passes(1).await;
    switch.store(PASS, Ordering::Relaxed);
    for side in [&mut pair.a, &mut pair.b] {
        side.event(|event| matches!(event, PeerEvent::Path(path) if !path.tls)).await;
    }
    pair.audio_passes(2).await;
}
