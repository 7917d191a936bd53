//! The public IPFS DHT, proved against foreign implementations: a real kubo node and js-libp2p keep our slots, check
//! them, refuse what is not the owner's, and lead nodes that know nobody to their first twocan nodes; both ways.
//!
//! Each test has a network namespace of its own, in which addresses look public. Without root or the package registries
//! they say SKIPPED and why.
#![cfg(target_os = "linux")]

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::time::timeout;
use twocan_control::{Event, Handle, RequestAnswer};
use twocan_node::swarm::public::{Client, PublicError};
use twocan_protocol::{
    address::{Address, ContactToken},
    identity::{Certificate, DeviceKey, PeerId, RootKey},
    rendezvous::{
        Body, DAY_MS, FIRST_KEYS, Publisher, Schedule, contact_publisher, contact_reader, first_key, verify_ipns,
    },
};
use twocan_tests::{
    DEADLINE, Node, Options, ask,
    foreign::{self, Foreign, Installed, skipped},
    incoming_request, online,
};

/// A foreign node in a network of the test's own; `None` (and a word why) where that cannot be.
async fn network(install: fn() -> Result<Installed>, home: &tempfile::TempDir) -> Result<Option<Foreign>> {
    let installed = match install().and_then(|installed| foreign::enter_network().map(|()| installed)) {
        Ok(installed) => installed,
        Err(why) => {
            skipped(&why);
            return Ok(None);
        }
    };
    Foreign::start(&installed, "11.0.0.1", home.path()).await.map(Some)
}

/// A person's node at an address of the test's network.
async fn node(name: &str, ip: &str, foreign: &Foreign, extra: &str) -> Result<Node> {
    let options = Options {
        listen: Some(vec![format!("/ip4/{ip}/udp/0/quic-v1"), format!("/ip4/{ip}/tcp/0")]),
        extra: format!("port_mapping = false\nipfs_bootstrap = [{:?}]\n{extra}", foreign.address()),
        ..Options::default()
    };
    Node::start(name, &options).await
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `asker` adds `asked` by address alone, and both see each other.
async fn befriend(asker: &Node, asked: &Node) -> Result<()> {
    ask(asker, asked).await?;
    let request = incoming_request(asked, asker).await?;
    asked.api().answer_request(&request, RequestAnswer::Accept { name: None }).await?;
    online(asker, asked).await?;
    online(asked, asker).await?;
    Ok(())
}

/// Where the next find of this node came from.
async fn found_via(events: &mut twocan_tests::Events) -> Result<String> {
    events
        .wait("somebody found", |event| match event {
            Event::Found { via, .. } => Some(via),
            _ => None,
        })
        .await
}

/// Somebody's contact slot of today, to write into without a node.
fn slot(n: u8) -> (Publisher, Address, u64) {
    let root = RootKey::from_secret(&[n; 32]);
    let token = ContactToken::derived(&root);
    let day = Schedule::contact(&root.public(), &token).epoch_of(unix_ms());
    (contact_publisher(&root, &token, day, 0), Address { root: root.public(), token }, day)
}

fn record(n: u8, sequence: u64, valid_until_ms: u64) -> Result<Vec<u8>> {
    let root = RootKey::from_secret(&[n; 32]);
    let device = DeviceKey::from_secret(&[n; 32]).public();
    let body = Body {
        certificate: Certificate::issue(&root, device, 0, unix_ms() / 1000, u64::MAX / 1000),
        peer_id: PeerId::from_bytes(&[9; 38])?,
        direct: vec!["/ip4/11.0.0.8/tcp/4001".to_owned()],
        lan: Vec::new(),
        relayed: Vec::new(),
        expires_ms: unix_ms() + 3_600_000,
    };
    Ok(slot(n).0.ipns_record(sequence, &body, valid_until_ms, &mut rand::rng())?)
}

/// The first copy that servers give.
async fn first_copy(client: &Client, publisher: &Publisher) -> Result<Option<Vec<u8>>> {
    let mut lookup = client.get(publisher.ipns_name()).await?;
    Ok(timeout(DEADLINE, lookup.next()).await?)
}

/// Who is announced under a key; waits for the first.
async fn first_provider(client: &Client, key: [u8; 34]) -> Result<Vec<String>> {
    let wait = async {
        loop {
            if let Some(found) = client.providers(key).await?.next().await {
                return Ok(found);
            }
            // An announcement has no answer: it may still be on its way.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    timeout(DEADLINE, wait).await.context("nobody is announced")?
}

#[tokio::test]
async fn friends_meet_by_slots_that_a_real_kubo_keeps() -> Result<()> {
    let home = tempfile::tempdir()?;
    let Some(kubo) = network(foreign::kubo, &home).await? else { return Ok(()) };
    let alone = "discovery = \"ipfs\"\nbootstrap_public = false\n";
    let options = |ip| node(if ip == "11.0.0.3" { "alice" } else { "bob" }, ip, &kubo, alone);
    let (alice, bob) = tokio::try_join!(options("11.0.0.3"), options("11.0.0.4"))?;
    for person in [&alice, &bob] {
        let complete = |status: &twocan_control::Status| {
            let public = status.dht.public.clone().unwrap_or_default();
            public.slots_confirmed >= 3
        };
        let status = person.until(complete).await?;
        assert_eq!((status.dht.discovery.as_str(), status.dht.peers), ("ipfs", 0));
    }
    let mut found = alice.events();
    befriend(&alice, &bob).await?;
    assert_eq!(found_via(&mut found).await?, "contact over IPFS");
    Ok(())
}

#[tokio::test]
async fn kubo_keeps_the_newest_record_of_the_owner_and_refuses_all_others() -> Result<()> {
    let home = tempfile::tempdir()?;
    let Some(kubo) = network(foreign::kubo, &home).await? else { return Ok(()) };
    let client = Client::new(&[kubo.address().to_owned()])?;
    let (publisher, address, day) = slot(1);
    let name = publisher.ipns_name();
    let until = unix_ms() + 3_600_000;
    assert!(first_copy(&client, &publisher).await?.is_none());
    assert_eq!(client.put(name, record(1, 5, until)?).await, Ok(1));

    assert_eq!(client.put(name, record(1, 4, until)?).await, Err(PublicError::Refused), "older");
    assert_eq!(client.put(name, record(2, 9, until)?).await, Err(PublicError::Refused), "by somebody else");
    assert_eq!(client.put(name, record(1, 9, unix_ms() - 5000)?).await, Err(PublicError::Refused), "expired");
    let mut changed = record(1, 9, until)?;
    changed[300] ^= 1;
    assert_eq!(client.put(name, changed).await, Err(PublicError::Refused), "changed");

    assert_eq!(client.put(name, record(1, 6, until)?).await, Ok(1));
    let copy = first_copy(&client, &publisher).await?.context("kubo gives nothing")?;
    let (sequence, body) = contact_reader(&address, day, 0)?.open_ipns(&copy, unix_ms())?;
    assert_eq!((sequence, body.direct[0].as_str()), (6, "/ip4/11.0.0.8/tcp/4001"));
    Ok(())
}

#[tokio::test]
async fn nodes_with_empty_homes_find_their_first_node_through_kubo_and_then_each_other() -> Result<()> {
    let home = tempfile::tempdir()?;
    let Some(kubo) = network(foreign::kubo, &home).await? else { return Ok(()) };
    start_from_nothing(&kubo).await
}

#[tokio::test]
async fn nodes_with_empty_homes_find_their_first_node_through_js_libp2p_and_then_each_other() -> Result<()> {
    let home = tempfile::tempdir()?;
    let Some(mut js) = network(foreign::js, &home).await? else { return Ok(()) };
    start_from_nothing(&js).await?;

    // js-libp2p reads the announcement too, and is found by what it announces itself.
    let announced = js.ask(&format!("providers {}", hex(&first_key(unix_ms() / DAY_MS, 0)))).await?;
    assert!(announced.contains("/ip4/11.0.0.2/udp/"), "{announced}");
    let key = first_key(1, 0);
    assert_eq!(js.ask(&format!("provide {}", hex(&key))).await?, "ok");
    let client = Client::new(&[js.address().to_owned()])?;
    let found = first_provider(&client, key).await?;
    assert!(found.iter().all(|address| address == "/ip4/11.0.0.1/tcp/4001"), "{found:?}");
    Ok(())
}

/// A public node announces itself; two people who know nobody find it, then each other by address alone.
async fn start_from_nothing(server: &Foreign) -> Result<()> {
    let public = node("public", "11.0.0.2", server, "announce = \"on\"\n").await?;
    public
        .eventually("the announcement", |_| async { Ok(public.log()?.contains("announced this node").then_some(())) })
        .await?;
    let quiet = "announce = \"off\"\n";
    let (alice, bob) =
        tokio::try_join!(node("alice", "11.0.0.3", server, quiet), node("bob", "11.0.0.4", server, quiet))?;
    for person in [&alice, &bob] {
        person.until(|status| status.dht.peers > 0).await?;
        person
            .eventually("the word of it", |_| async { Ok(person.log()?.contains("found first nodes").then_some(())) })
            .await?;
    }
    let mut found = alice.events();
    befriend(&alice, &bob).await?;
    assert_eq!(found_via(&mut found).await?, "contact");
    // Who knows somebody asks the public DHT for nothing more.
    alice.until(|status| status.dht.public.as_ref().is_some_and(|public| public.servers == 0)).await?;
    Ok(())
}

#[tokio::test]
async fn js_libp2p_reads_and_validates_our_slots_and_gives_them_on() -> Result<()> {
    let home = tempfile::tempdir()?;
    let Some(mut js) = network(foreign::js, &home).await? else { return Ok(()) };
    let alone = "discovery = \"both\"\nbootstrap_public = false\n";
    let alice = node("alice", "11.0.0.3", &js, alone).await?;
    let complete =
        |status: &twocan_control::Status| status.dht.public.as_ref().is_some_and(|public| public.slots_confirmed >= 3);
    alice.until(complete).await?;

    // Alice's contact slot, by her address: js-libp2p's own IPNS validator takes what it keeps.
    let address: Address = alice.api().identity().await?.address.parse()?;
    let day = Schedule::contact(&address.root, &address.token).epoch_of(unix_ms());
    let reader = contact_reader(&address, day, 0)?;
    let name = reader.ipns_name();
    let copy = unhex(&js.ask(&format!("get {}", hex(name.as_bytes()))).await?)?;
    verify_ipns(&name, &copy, unix_ms())?;
    assert_eq!(reader.open_ipns(&copy, unix_ms())?.1.certificate.root, address.root);

    // It refuses what its validator refuses, and a put by it is read by us.
    let client = Client::new(&[js.address().to_owned()])?;
    let mut changed = record(1, 9, unix_ms() + 3_600_000)?;
    changed[300] ^= 1;
    let publisher = slot(1).0;
    assert!(client.put(publisher.ipns_name(), changed).await.is_err());
    assert!(first_copy(&client, &publisher).await?.is_none());
    let good = record(1, 10, unix_ms() + 3_600_000)?;
    js.ask(&format!("put {} {}", hex(publisher.ipns_name().as_bytes()), hex(&good))).await?;
    assert_eq!(first_copy(&client, &publisher).await?, Some(good));

    // And Bob, who asks js-libp2p only, finds Alice.
    let bob = node("bob", "11.0.0.4", &js, alone).await?;
    let mut found = bob.events();
    befriend(&bob, &alice).await?;
    assert_eq!(found_via(&mut found).await?, "contact over IPFS");
    Ok(())
}

#[test]
fn every_day_has_its_own_keys_for_first_nodes() {
    let keys: std::collections::BTreeSet<_> =
        (1..4).flat_map(|day| (0..FIRST_KEYS).map(move |index| first_key(day, index))).collect();
    assert_eq!(keys.len(), 12);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2).unwrap_or("x"), 16).context("no hexadecimal"))
        .collect()
}
