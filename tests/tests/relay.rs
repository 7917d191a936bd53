//! Relays among friends, with real processes: offers, credentials that are ready before a call, and their end with the
//! friendship or the owner's word.

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twocan_control::{Doctor, FriendRelay, FriendUpdate, Handle, PlaceCall, RelayPolicy, RelayStatus, SetRelay};
use twocan_tests::{DEADLINE, Node, Options, World, incoming_call};

/// On loopback nothing is public: these nodes take what is not, too.
fn options() -> Options {
    Options { extra: "[relay]\nprivate_peers = true\nserve = \"off\"\n".to_owned(), ..Options::default() }
}

/// Waits until the node's relaying is as wanted.
async fn relaying(node: &Node, what: &str, wanted: impl Fn(&RelayStatus) -> bool) -> Result<RelayStatus> {
    node.eventually(what, |api| {
        let wanted = &wanted;
        async move { Ok(Some(api.relay().await?).filter(wanted)) }
    })
    .await
}

fn ready(status: &RelayStatus) -> Option<&FriendRelay> {
    status.for_me.iter().find(|relay| relay.ready)
}

async fn serve(node: &Node, serve: RelayPolicy) -> Result<RelayStatus> {
    Ok(node.api().set_relay(SetRelay { serve }).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friends_relay_is_ready_before_it_is_needed_and_gone_when_it_is_switched_off() -> Result<()> {
    let mut world = World::with(&["alice", "carol"], &options()).await?;
    world.befriend(0, 1).await?;
    let before = world.people[0].api().relay().await?;
    assert!(!before.serving && before.for_me.is_empty(), "{before:?}");

    let set = serve(&world.people[1], RelayPolicy::Friends).await?;
    assert!(set.serving && set.udp.len() == 1 && set.tls.len() == 1, "{set:?}");
    let alice = &world.people[0];
    let status = relaying(alice, "a credential", |status| ready(status).is_some()).await?;
    let relay = &status.for_me[0];
    assert_eq!((relay.name.as_str(), relay.udp, relay.tls), ("carol", true, true));

    // What was chosen holds over a restart, and so does the certificate; friends ask anew.
    world.people[1].stop().await?;
    world.people[1].start_again().await?;
    let (alice, carol) = (&world.people[0], &world.people[1]);
    let again = relaying(carol, "serving again", |status| status.serving).await?;
    assert_eq!(again.serve, RelayPolicy::Friends);
    relaying(alice, "a credential of the new start", |status| ready(status).is_some()).await?;

    let off = serve(carol, RelayPolicy::Off).await?;
    assert!(!off.serving && off.udp.is_empty(), "{off:?}");
    relaying(alice, "no relay any more", |status| ready(status).is_none()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_makes_allocations_at_the_relays_of_both_sides_and_gives_them_back() -> Result<()> {
    let world = World::with(&["alice", "bob", "carol"], &options()).await?;
    world.befriend(0, 1).await?;
    world.befriend(0, 2).await?;
    let (alice, bob, carol) = (&world.people[0], &world.people[1], &world.people[2]);
    serve(carol, RelayPolicy::Friends).await?;
    relaying(alice, "a credential", |status| ready(status).is_some()).await?;

    let friend = bob.api().identity().await?.root;
    let mut rings = bob.events();
    let seated = alice.api().place_call(PlaceCall { friend, video: false }).await?;
    rings.wait("the ringing", incoming_call).await?;
    // Carol is no friend of Bob's: he uses the other half of the credential, and she counts both as Alice's.
    let status = relaying(carol, "two allocations", |status| status.total.allocations == 2).await?;
    assert_eq!(status.by_me.len(), 1);
    assert_eq!((status.by_me[0].name.as_str(), status.by_me[0].traffic.allocations), ("alice", 2));
    let mine = alice.api().relay().await?;
    assert_eq!(mine.for_me[0].traffic.allocations, 1);
    relaying(alice, "a credential for the next call", |status| ready(status).is_some()).await?;

    alice.api().hangup(&seated.call.id).await?;
    relaying(carol, "no allocation", |status| status.total.allocations == 0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_friend_any_more_has_no_relay_any_more() -> Result<()> {
    let world = World::with(&["alice", "bob", "carol"], &options()).await?;
    world.befriend(0, 1).await?;
    world.befriend(0, 2).await?;
    let (alice, bob, carol) = (&world.people[0], &world.people[1], &world.people[2]);
    serve(carol, RelayPolicy::Friends).await?;
    relaying(alice, "a credential", |status| ready(status).is_some()).await?;
    let friend = bob.api().identity().await?.root;
    let mut rings = bob.events();
    alice.api().place_call(PlaceCall { friend, video: false }).await?;
    rings.wait("the ringing", incoming_call).await?;
    relaying(carol, "two allocations", |status| status.total.allocations == 2).await?;

    carol.api().remove_friend("alice").await?;
    assert_eq!(carol.api().relay().await?.total.allocations, 0);
    relaying(alice, "no relay", |status| status.for_me.is_empty()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_relayed_today_is_known_after_a_restart() -> Result<()> {
    let mut world = World::with(&["alice", "bob", "carol"], &options()).await?;
    world.befriend(0, 1).await?;
    world.befriend(0, 2).await?;
    serve(&world.people[2], RelayPolicy::Friends).await?;
    relaying(&world.people[0], "a credential", |status| ready(status).is_some()).await?;
    let friend = world.people[1].api().identity().await?.root;
    let mut rings = world.people[1].events();
    world.people[0].api().place_call(PlaceCall { friend, video: false }).await?;
    rings.wait("the ringing", incoming_call).await?;
    // Checks of the path that are relayed count, too.
    let before = relaying(&world.people[2], "relayed bytes", |status| status.total.bytes_today > 0).await?;
    world.people[2].stop().await?;
    world.people[2].start_again().await?;
    let after = world.people[2].api().relay().await?;
    assert!(after.total.bytes_today >= before.total.bytes_today, "{after:?}");
    let alice = |status: &RelayStatus| status.by_me.iter().find(|used| used.name == "alice").cloned();
    assert!(alice(&after).is_some_and(|used| used.traffic.bytes_today > 0), "{after:?}");
    Ok(())
}

/// Does what systemd does with a socket unit: opens a port, hands it over as file descriptor 3, and becomes the service.
const HAND_OVER: &str = "
import os, socket, sys
listener = socket.create_server(('127.0.0.1', 0))
open(sys.argv[1], 'w').write(str(listener.getsockname()[1]))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execv(sys.argv[2], sys.argv[2:])
";

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_systemd_hands_over_serves_the_relays_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let told = folder.path().join("port");
    let launcher = ["python3", "-c", HAND_OVER, &told.to_string_lossy()].map(str::to_owned).to_vec();
    let mut world = World::with(&["alice"], &options()).await?;
    let mut options = Options { launcher, ..options() };
    options.bootstrap.push(world.people[0].bootstrap_address().await?);
    world.people.push(Node::start("carol", &options).await?);
    world.befriend(0, 1).await?;

    let serving = serve(&world.people[1], RelayPolicy::Friends).await?;
    let port: u16 = std::fs::read_to_string(&told)?.parse()?;
    assert_eq!(serving.tls, [format!("127.0.0.1:{port}")], "{serving:?}");
    assert_eq!(serving.tls_note, format!("TLS is on port {port}, from a systemd socket."));
    let status = relaying(&world.people[0], "a credential", |status| ready(status).is_some()).await?;
    assert!(status.for_me[0].tls, "{status:?}");
    // Who is served by it speaks TLS: something else is shut out by the node, not left hanging at an unused socket.
    let mut line = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    line.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
    tokio::time::timeout(DEADLINE, line.read_to_end(&mut Vec::new())).await??;

    // Off and on again: a socket that was handed over comes only once, so it is kept.
    assert!(serve(&world.people[1], RelayPolicy::Off).await?.tls.is_empty());
    assert_eq!(serve(&world.people[1], RelayPolicy::Friends).await?.tls, serving.tls);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_asks_no_relay_of_a_friend_from_whom_we_hide() -> Result<()> {
    let world = World::with(&["alice", "bob", "carol"], &options()).await?;
    for other in [1, 2] {
        world.befriend(0, other).await?;
        serve(&world.people[other], RelayPolicy::Friends).await?;
    }
    let [alice, bob, ..] = &world.people[..] else { unreachable!() };
    relaying(alice, "both relays", |status| status.for_me.iter().filter(|relay| relay.ready).count() == 2).await?;
    let named = |doctor: &Doctor| {
        let mut names: Vec<String> = doctor.relays.iter().map(|relay| relay.friend.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(named(&alice.api().doctor().await?), ["bob", "carol"]);
    let hide = FriendUpdate { hide_address: Some(true), ..FriendUpdate::default() };
    alice.api().update_friend("bob", hide).await?;
    let before = bob.api().relay().await?;
    assert_eq!(named(&alice.api().doctor().await?), ["carol"]);
    let after = bob.api().relay().await?;
    assert_eq!((before.stun_answers, before.refused), (after.stun_answers, after.refused), "{after:?}");
    Ok(())
}
