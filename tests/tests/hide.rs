//! "Hide my address": the friend from whom it is hidden looks everywhere, and finds nothing.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use twocan_control::{CallState, Code, Event, FriendUpdate, Handle, LinkPath, PlaceCall, Privacy};
use twocan_node::rendezvous::{Target, places};
use twocan_protocol::address::Address;
use twocan_protocol::identity::{FriendshipKey, RootKey};
use twocan_protocol::rendezvous::Body;
use twocan_tests::lab::net::Verdict;
use twocan_tests::lab::{Host, Lab, packet, people};
use twocan_tests::lurker::{Lurker, Visit, Wish};
use twocan_tests::{DEADLINE, Node, Options, spy, talk};

/// Round trip on the public network.
const RTT: Duration = Duration::from_millis(20);

/// Every address that packets at a site's uplink come from or go to, from now on.
fn watch(lab: &Lab, host: &Host) -> Arc<Mutex<BTreeSet<IpAddr>>> {
    let seen: Arc<Mutex<BTreeSet<IpAddr>>> = Arc::default();
    let note = Arc::clone(&seen);
    let tamper = move |_way, packet: &mut Vec<u8>| {
        if let Some((from, to)) = packet::addresses(packet) {
            note.lock().unwrap_or_else(PoisonError::into_inner).extend([from, to]);
        }
        Verdict::Pass
    };
    lab.tamper(host.site(), Some(Box::new(tamper)));
    seen
}

/// Where packets of a host come from, as the world sees it, and its addresses at home.
fn addresses_of(lab: &Lab, host: &Host) -> Vec<IpAddr> {
    let outside =
        lab.with_site(host.site(), |site| site.nats.iter().map(|nat| nat.address().into()).collect::<Vec<_>>());
    outside.into_iter().chain(host.addresses()).collect()
}

/// Alice, who hides from everybody but Carol, whose node is public; and Bob, who has asked and is her friend.
struct World {
    lab: Lab,
    at: [Host; 2],
    public: Vec<IpAddr>,
    alice: Node,
    bob: Node,
    carol: Node,
    _dora: Node,
    bootstrap: Vec<String>,
    seen: Arc<Mutex<BTreeSet<IpAddr>>>,
}

async fn world(carol_is_a_friend: bool) -> Result<Option<World>> {
    let Some(lab) = Lab::or_skip(RTT) else { return Ok(None) };
    let (at_carol, carol, bootstrap) = people::public_node(&lab, "carol", &[], "").await?;
    // A stranger's node: one alone has nobody to keep its records.
    let (at_dora, dora, more) = people::public_node(&lab, "dora", &bootstrap, "").await?;
    let bootstrap = [bootstrap, more].concat();
    let public = [at_carol.addresses(), at_dora.addresses()].concat();
    let (at_alice, at_bob) = (lab.host_at("port-restricted")?, lab.host_at("open")?);
    let alice = people::person(&at_alice, "alice", &bootstrap, "").await?;
    if carol_is_a_friend {
        people::befriend(&alice, &carol).await?;
        let shown = FriendUpdate { hide_address: Some(false), ..FriendUpdate::default() };
        alice.api().update_friend("carol", shown).await?;
    }
    alice.api().set_privacy(Privacy { hide_address: true }).await?;
    // What was told before is overwritten: the record names no address at home any more.
    let address: Address = alice.api().identity().await?.address.parse()?;
    let (from, known) = (at_carol.namespace().clone(), bootstrap.clone());
    let overwritten = move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let deadline = tokio::time::Instant::now() + DEADLINE;
            loop {
                let body = spy::read_slot(&known, Target::Contact(address)).await?;
                if body.lan.is_empty() && !body.relayed.is_empty() {
                    return Ok(());
                }
                anyhow::ensure!(tokio::time::Instant::now() < deadline, "the old record stays: {body:?}");
            }
        })
    };
    tokio::task::spawn_blocking(move || from.inside(overwritten)).await???;
    // Bob hears of her only now. His node does not serve the DHT: whom it speaks with, it speaks with about her.
    let seen = watch(&lab, &at_bob);
    let options = Options { dht_server: Some("off"), ..people::options(&at_bob, &bootstrap, "") };
    let bob = Node::start("bob", &options).await?;
    people::befriend(&bob, &alice).await?;
    Ok(Some(World { lab, at: [at_alice, at_bob], public, alice, bob, carol, _dora: dora, bootstrap, seen }))
}

impl World {
    /// What the spy finds out in Bob's network with what Bob knows.
    async fn spy(&self) -> Result<([Body; 2], spy::Learned)> {
        let phrase = self.bob.api().phrase().await?;
        let address: Address = self.alice.api().identity().await?.address.parse()?;
        let friendship = FriendshipKey::of(&RootKey::from_phrase(&phrase.words)?, &address.root);
        let (bootstrap, namespace) = (self.bootstrap.clone(), self.at[1].namespace().clone());
        let prying = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let pair = Target::Friend { root: address.root, friendship, grant: None };
                let slots = [
                    spy::read_slot(&bootstrap, pair).await?,
                    spy::read_slot(&bootstrap, Target::Contact(address)).await?,
                ];
                let learned = spy::pry(&bootstrap, slots[0].peer_id.as_bytes(), &slots[0].relayed).await?;
                anyhow::Ok((slots, learned))
            })
        };
        tokio::task::spawn_blocking(move || namespace.inside(prying)).await??
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_from_whom_the_address_is_hidden_finds_it_nowhere() -> Result<()> {
    let Some(world) = world(true).await? else { return Ok(()) };
    let (alice, bob) = (&world.alice, &world.bob);
    let secret = addresses_of(&world.lab, &world.at[0]);
    for (caller, callee) in [(bob, alice), (alice, bob)] {
        let mut ended = callee.events();
        let (mut at_caller, mut at_callee) = talk(caller, callee).await?;
        at_caller.hear().await?;
        at_callee.hear().await?;
        let call = at_caller.seated.call.id.clone();
        let path = bob
            .eventually("the path of the call", |api| {
                let call = call.clone();
                async move { Ok(api.call(&call).await?.quality.and_then(|quality| quality.path)) }
            })
            .await?;
        assert_eq!(path, LinkPath::Relayed);
        caller.api().hangup(&call).await?;
        ended
            .wait("the end of the call", |event| match event {
                Event::Call { call } if call.state == CallState::Ended => Some(()),
                _ => None,
            })
            .await?;
    }
    let link = bob.api().friends().await?.into_iter().next().and_then(|friend| friend.link).context("no link")?;
    assert_eq!(link.path, LinkPath::Relayed);

    let (slots, learned) = world.spy().await?;
    let open = alice.api().status().await?.peer_id;
    let relays: Vec<String> = world.public.iter().map(|ip| format!("/{ip}/")).collect();
    for body in &slots {
        assert!(body.direct.is_empty() && body.lan.is_empty() && !body.relayed.is_empty(), "{body:?}");
        assert!(body.relayed.iter().all(|address| relays.iter().any(|relay| address.contains(relay))), "{body:?}");
        assert_eq!(body.peer_id, slots[0].peer_id);
    }
    assert!(learned.reached && !learned.punched, "{learned:?}");
    let tells = ["kad", "dcutr", "autonat", "relay"];
    assert!(!learned.protocols.iter().any(|protocol| tells.iter().any(|word| protocol.contains(word))), "{learned:?}");
    assert!(!learned.addresses.iter().any(|address| address.contains(&open)), "{learned:?}");
    for ip in &secret {
        assert!(!learned.addresses.iter().any(|address| address.contains(&format!("/{ip}/"))), "{learned:?}");
    }
    let seen = world.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(world.public.iter().any(|ip| seen.contains(ip)), "the watch saw nothing: {seen:?}");
    assert!(!secret.iter().any(|ip| seen.contains(ip)), "{secret:?} in {seen:?}");
    assert!(world.carol.api().status().await?.friends_online > 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_relay_that_may_carry_it_the_call_is_refused_with_the_reason() -> Result<()> {
    let Some(world) = world(false).await? else { return Ok(()) };
    // A stranger's node carries the link, but no stranger's carries a call.
    let friend = world.bob.api().identity().await?.root;
    let refused = world.alice.api().place_call(PlaceCall { friend, video: false }).await.unwrap_err();
    assert_eq!(refused.code, Code::Unreachable);
    assert!(refused.message.contains("hidden") && refused.message.contains("relay"), "{refused:?}");
    assert!(refused.hint.is_some_and(|hint| hint.contains("--off")));
    assert!(world.alice.api().calls().await?.is_empty());
    Ok(())
}

/// The keys of a target's slots at present, and in the epochs beside it.
fn keys(target: &Target) -> Result<Vec<[u8; 32]>> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let places = places(target, u64::try_from(since.as_millis())?);
    Ok(places.into_iter().flatten().map(|place| *place.reader.key.as_bytes()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_who_lies_in_wait_near_the_slots_does_not_see_who_puts_them_or_looks_for_them() -> Result<()> {
    let Some(mut world) = world(true).await? else { return Ok(()) };
    let secret = addresses_of(&world.lab, &world.at[0]);
    // Bob can compute where Alice puts her word for him, where she looks for his, and where her address leads.
    let bob = RootKey::from_phrase(&world.bob.api().phrase().await?.words)?;
    let address: Address = world.alice.api().identity().await?.address.parse()?;
    let friendship = FriendshipKey::of(&bob, &address.root);
    let pair = |root| keys(&Target::Friend { root, friendship: friendship.clone(), grant: None });
    let (hers, his, contact) = (pair(address.root)?, pair(bob.public())?, keys(&Target::Contact(address))?);
    let mut lurkers = Vec::new();
    for key in [hers[0], his[0], contact[0]] {
        lurkers.push(Lurker::start(&world.lab.host_at("open")?, &key, &world.bootstrap)?);
    }
    // He is away: she looks for him in all his slots, and puts all of hers anew.
    world.bob.stop().await?;
    world.alice.stop().await?;
    world.alice.start_again().await?;
    let comes = |visit: &Visit, keys: &[[u8; 32]]| keys.iter().any(|key| visit.key == key);
    let puts = |visit: &Visit, keys| visit.wish == Wish::Put && comes(visit, keys);
    let computed = [hers.clone(), his.clone(), contact.clone()].concat();
    let mut others = BTreeSet::new();
    let mut look = || {
        for visit in lurkers.iter().flat_map(Lurker::visits).filter(|visit| comes(visit, &computed)) {
            assert!(!secret.contains(&visit.from), "she came herself: {visit:?}");
            others.insert(visit.from);
        }
    };
    lurkers[0].until("a put of her pair slot", |visit| puts(visit, &hers)).await?;
    look();
    lurkers[2].until("a put of her contact slot", |visit| puts(visit, &contact)).await?;
    look();
    lurkers[1].until("a search in his pair slot", |visit| visit.wish == Wish::Get && comes(visit, &his)).await?;
    look();
    assert!(others.iter().all(|ip| world.public.contains(ip)), "{others:?} are not all relays of {:?}", world.public);
    Ok(())
}
