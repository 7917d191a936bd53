//! The port mapper against routers of every kind, good and bad, over real sockets on loopback addresses.
#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends it")]

#[path = "portmap/router.rs"]
mod router;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use router::{Behaviour, Router, Speaks};
use twocan_node::portmap::{Config, Family, Place, Portmap, Purpose, Side, State, Via, View, Want};

const PCP: Speaks = Speaks { pcp: true, nat_pmp: false, upnp: false };
const NAT_PMP: Speaks = Speaks { pcp: false, nat_pmp: true, upnp: false };
const UPNP: Speaks = Speaks { pcp: false, nat_pmp: false, upnp: true };

fn want(purpose: Purpose, port: u16) -> Want {
    Want { purpose, family: Family::V4, port }
}

fn all() -> Vec<Want> {
    vec![want(Purpose::Quic, 4001), want(Purpose::Tcp, 4001), want(Purpose::Media, 4002), want(Purpose::Tls, 443)]
}

/// A mapper whose place can be changed.
fn mapper(place: Place) -> (Portmap, Arc<Mutex<Place>>) {
    let place = Arc::new(Mutex::new(place));
    let now = Arc::clone(&place);
    let config = Config { place: Arc::new(move || *now.lock().unwrap()), secret: [5; 32], upnp: true };
    (Portmap::start(config), place)
}

async fn until(portmap: &Portmap, what: &str, done: impl FnMut(&View) -> bool) -> View {
    let mut view = portmap.view();
    let waited = tokio::time::timeout(Duration::from_secs(20), view.wait_for(done)).await;
    waited.unwrap_or_else(|_| panic!("{what}: {:?}", portmap.view().borrow())).unwrap().clone()
}

async fn maps_all_and_takes_back(ip: [u8; 4], speaks: Speaks, via: Via) {
    let router = Router::start(ip.into(), speaks, Behaviour::default()).await;
    let (mut portmap, _) = mapper(router.place());
    portmap.want(all());
    let view = until(&portmap, "four ports", |view| view.mapped.len() == 4).await;
    assert_eq!((view.state, view.gateway), (State::Mapped, Some(IpAddr::from(ip))));
    for mapped in &view.mapped {
        assert_eq!((mapped.via, mapped.is_public()), (via, true));
        assert_eq!(mapped.external, SocketAddr::from(([11, 0, 0, 9], mapped.want.port)), "the same port outside");
    }
    assert_eq!(router.state().mapped.len(), 4);
    assert!(router.state().mapped.values().all(|(_, seconds)| *seconds == 3600));
    portmap.stop().await;
    assert!(router.state().mapped.is_empty());
}

#[tokio::test]
async fn a_router_with_pcp_maps_every_port_and_forgets_them_at_the_end() {
    maps_all_and_takes_back([127, 77, 0, 1], PCP, Via::Pcp).await;
}

#[tokio::test]
async fn a_router_with_nat_pmp_maps_every_port_and_forgets_them_at_the_end() {
    maps_all_and_takes_back([127, 77, 0, 2], NAT_PMP, Via::NatPmp).await;
}

#[tokio::test]
async fn a_router_with_upnp_maps_every_port_and_forgets_them_at_the_end() {
    maps_all_and_takes_back([127, 77, 0, 3], UPNP, Via::Upnp).await;
}

#[tokio::test]
async fn a_router_that_has_two_protocols_is_asked_by_one_and_not_searched_for() {
    let both = Speaks { pcp: true, nat_pmp: true, upnp: true };
    let router = Router::start(Ipv4Addr::new(127, 77, 0, 4), both, Behaviour::default()).await;
    let (portmap, _) = mapper(router.place());
    portmap.want(all());
    let view = until(&portmap, "mapped", |view| view.mapped.len() == 4).await;
    assert!(view.mapped.iter().all(|mapped| mapped.via == Via::Pcp));
    assert_eq!(router.state().searches, 0);
}

#[tokio::test]
async fn a_port_that_another_machine_has_is_mapped_onto_another() {
    for (ip, speaks) in [([127, 77, 0, 5], NAT_PMP), ([127, 77, 0, 6], UPNP)] {
        let behaviour = Behaviour { taken: vec![4001], ..Behaviour::default() };
        let router = Router::start(ip.into(), speaks, behaviour).await;
        let (portmap, _) = mapper(router.place());
        portmap.want(vec![want(Purpose::Quic, 4001)]);
        let view = until(&portmap, "mapped", |view| view.mapped.len() == 1).await;
        assert_ne!(view.mapped[0].external.port(), 4001);
        assert_eq!(router.state().mapped.values().next().unwrap().0, 4001);
    }
}

#[tokio::test]
async fn a_router_that_knows_only_endless_leases_is_used_and_cleaned_up() {
    let behaviour = Behaviour { permanent_only: true, ..Behaviour::default() };
    let router = Router::start(Ipv4Addr::new(127, 77, 0, 7), UPNP, behaviour).await;
    let (mut portmap, _) = mapper(router.place());
    portmap.want(all());
    until(&portmap, "mapped", |view| view.mapped.len() == 4).await;
    assert!(router.state().mapped.values().all(|(_, seconds)| *seconds == 0));
    portmap.stop().await;
    assert!(router.state().mapped.is_empty());
}

#[tokio::test]
async fn a_router_behind_another_nat_is_told_apart() {
    let behaviour = Behaviour { external: Ipv4Addr::new(100, 64, 3, 4), ..Behaviour::default() };
    let router = Router::start(Ipv4Addr::new(127, 77, 0, 8), PCP, behaviour).await;
    let (portmap, _) = mapper(router.place());
    portmap.want(all());
    let view = until(&portmap, "mapped", |view| view.mapped.len() == 4).await;
    assert_eq!(view.public().count(), 0);
    assert_eq!(view.behind_another(), Some(IpAddr::from([100, 64, 3, 4])));
}

#[tokio::test]
async fn a_router_that_refuses_is_reported_with_its_reason_for_each_protocol() {
    let everything = Speaks { pcp: true, nat_pmp: true, upnp: true };
    let behaviour = Behaviour { off: true, ..Behaviour::default() };
    let router = Router::start(Ipv4Addr::new(127, 77, 0, 9), everything, behaviour).await;
    let (portmap, _) = mapper(router.place());
    portmap.want(all());
    let view = until(&portmap, "refused", |view| view.state == State::Refused).await;
    let protocols: Vec<Via> = view.tried.iter().map(|(via, _)| *via).collect();
    assert_eq!(protocols, [Via::Pcp, Via::NatPmp, Via::Upnp]);
    assert!(view.tried[0].1.contains("switched off"), "{:?}", view.tried);
    assert!(view.tried[2].1.contains("606"), "{:?}", view.tried);
}

#[tokio::test]
async fn another_network_means_another_router_and_one_search_each() {
    let first = Router::start(Ipv4Addr::new(127, 77, 0, 10), UPNP, Behaviour::default()).await;
    let second = Router::start(Ipv4Addr::new(127, 77, 0, 11), PCP, Behaviour::default()).await;
    let (portmap, place) = mapper(first.place());
    portmap.want(all());
    until(&portmap, "first", |view| view.mapped.len() == 4).await;
    *place.lock().unwrap() = second.place();
    portmap.network_changed();
    let moved = until(&portmap, "second", |view| {
        view.mapped.len() == 4 && view.mapped.iter().all(|mapped| mapped.via == Via::Pcp)
    });
    assert_eq!(moved.await.gateway, Some(IpAddr::from([127, 77, 0, 11])));
    assert_eq!((first.state().searches, second.state().searches), (1, 0));
}

#[tokio::test]
async fn no_packet_is_sent_where_the_machine_has_a_public_address_or_nothing_is_wanted() {
    let both = Speaks { pcp: true, nat_pmp: true, upnp: true };
    let router = Router::start(Ipv4Addr::new(127, 77, 0, 12), both, Behaviour::default()).await;
    let public = Side { local: IpAddr::from([11, 0, 0, 2]), ..router.place().v4.unwrap() };
    let (portmap, place) = mapper(Place { v4: Some(public), ..router.place() });
    portmap.want(all());
    until(&portmap, "unneeded", |view| view.state == State::Unneeded).await;
    portmap.want(Vec::new());
    until(&portmap, "idle", |view| view.state == State::Idle).await;
    *place.lock().unwrap() = Place { v4: None, ..router.place() };
    portmap.network_changed();
    portmap.want(all());
    until(&portmap, "no gateway", |view| view.state == State::NoGateway).await;
    let state = router.state();
    assert_eq!((state.searches, state.made.len()), (0, 0));
}

#[tokio::test]
async fn a_mapping_of_a_crashed_node_can_be_renewed_by_the_next_one() {
    let router = Router::start(Ipv4Addr::new(127, 77, 0, 13), PCP, Behaviour::default()).await;
    for _ in 0..2 {
        // Dropped without a good-bye.
        let (portmap, _) = mapper(router.place());
        portmap.want(vec![want(Purpose::Media, 4002)]);
        until(&portmap, "mapped", |view| view.mapped.len() == 1).await;
    }
    let state = router.state();
    assert_eq!(state.nonces.len(), 2);
    assert_eq!(state.nonces[0], state.nonces[1], "the owner is the same");
}

#[tokio::test]
async fn a_port_that_is_no_longer_wanted_is_taken_back() {
    let router = Router::start(Ipv4Addr::new(127, 77, 0, 14), NAT_PMP, Behaviour::default()).await;
    let (portmap, _) = mapper(router.place());
    portmap.want(all());
    until(&portmap, "four", |view| view.mapped.len() == 4).await;
    portmap.want(vec![want(Purpose::Media, 4002)]);
    until(&portmap, "one", |view| view.mapped.len() == 1).await;
    assert_eq!(router.state().mapped.keys().copied().collect::<Vec<_>>(), [(true, 4002)]);
}

#[tokio::test]
async fn a_router_cannot_make_us_ask_another_machine_or_read_without_end() {
    let victim = tokio::net::TcpListener::bind("127.77.1.1:0").await.unwrap();
    let behaviour = Behaviour { points_at: Some(victim.local_addr().unwrap()), ..Behaviour::default() };
    let router = Router::start(Ipv4Addr::new(127, 77, 0, 15), UPNP, behaviour).await;
    let (portmap, _) = mapper(router.place());
    portmap.want(all());
    let view = until(&portmap, "refused", |view| view.state == State::Refused).await;
    assert!(view.tried.iter().any(|(_, why)| why.contains("another machine")), "{:?}", view.tried);
    let asked = futures::FutureExt::now_or_never(victim.accept());
    assert!(asked.is_none(), "the victim was asked");

    let behaviour = Behaviour { endless: true, ..Behaviour::default() };
    let router = Router::start(Ipv4Addr::new(127, 77, 0, 16), UPNP, behaviour).await;
    let (portmap, _) = mapper(router.place());
    portmap.want(all());
    let view = until(&portmap, "refused", |view| view.state == State::Refused).await;
    assert!(view.tried.iter().any(|(_, why)| why.contains("too long")), "{:?}", view.tried);
}
