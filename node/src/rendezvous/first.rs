//! First nodes: how a node that knows no other finds some through the public DHT, and how one that everybody can reach
//! lets itself be found there (`specs/02-rendezvous.md`, "First nodes").
//!
//! Seeking begins only when nobody has been known for a few seconds: remembered nodes, hints, configured ones and
//! neighbours come first. What the public DHT says is unverified, so it is only ever dialled, within bounds; who then
//! lists our DHT in its own words is a node.

mod pace;

use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use twocan_protocol::rendezvous::{DAY_MS, FIRST_KEYS, first_key};

use super::unix_ms;
use crate::swarm::{
    DhtView, DialError, Handle,
    public::{Client, PublicError},
};
use pace::{Announced, Asked};

/// Nobody is known for this long before the public DHT is asked; then the pauses between rounds in vain.
const ALONE: Duration = Duration::from_secs(4);
const PAUSES: [Duration; 4] =
    [Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(600), Duration::from_secs(3600)];
/// One key is asked for no longer than this.
const KEY_LIMIT: Duration = Duration::from_secs(20);
/// After the last dial of a round, a node still has this long to say that it serves our DHT.
const SETTLE: Duration = Duration::from_secs(5);
/// How long one provider may take to be dialled.
const DIAL_PATIENCE: Duration = Duration::from_secs(8);
/// Addresses dialled of one provider.
const PER_PROVIDER: usize = 4;
/// How often it is looked whether announcements are due, while there is anything to announce.
const LOOK: Duration = Duration::from_secs(60);
/// Pause after announcements that reached nobody.
const AGAIN: Duration = Duration::from_secs(600);

/// Whether to announce this node as one that others can start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Announce {
    /// When it is publicly reachable (tested by others) and serves our DHT.
    #[default]
    Auto,
    /// While it serves, at every public address that it listens on.
    On,
}

/// Seeks first nodes over `client` whenever no other node is known; ends with `swarm`.
pub fn start_seeking(swarm: &Handle, client: &Client) {
    tokio::spawn(seek(swarm.clone(), client.clone()));
}

/// Announces this node over `announcer` whenever it can be reached; ends with `swarm`.
pub fn start_announcing(swarm: &Handle, announcer: Client, announce: Announce) {
    tokio::spawn(tell(swarm.clone(), announcer, announce));
}

async fn seek(swarm: Handle, client: Client) {
    let mut dht = swarm.dht();
    let mut asked = Asked::default();
    let mut rounds: usize = 0;
    loop {
        if dht.wait_for(|view| view.peers == 0).await.is_err() {
            return;
        }
        let pause = rounds.checked_sub(1).map_or(ALONE, |round| PAUSES[round.min(PAUSES.len() - 1)]);
        match timeout(pause, dht.wait_for(|view| view.peers > 0)).await {
            Ok(Ok(_)) => {
                rounds = 0;
                continue;
            }
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        asked.new_round(unix_ms());
        let mut watching = dht.clone();
        let found = tokio::select! {
            biased;
            known = watching.wait_for(|view| view.peers > 0) => known.is_ok(),
            () = round(&swarm, &client, &mut asked) => false,
        };
        let found = found || is_known(&mut dht).await;
        if found {
            if asked.dialled() > 0 {
                tracing::info!("found first nodes through the public DHT");
            }
            rounds = 0;
        } else {
            rounds += 1;
            tracing::info!(dialled = asked.dialled(), "no first node found through the public DHT");
        }
        client.rest().await;
    }
}

/// Whether a node becomes known within [`SETTLE`].
async fn is_known(dht: &mut watch::Receiver<DhtView>) -> bool {
    matches!(timeout(SETTLE, dht.wait_for(|view| view.peers > 0)).await, Ok(Ok(_)))
}

/// Asks for the keys of today and yesterday, and dials who is named there.
async fn round(swarm: &Handle, client: &Client, asked: &mut Asked) {
    let today = unix_ms() / DAY_MS;
    let mut dials: JoinSet<()> = JoinSet::new();
    for day in [today, today.saturating_sub(1)] {
        let mut indexes: Vec<u8> = (0..FIRST_KEYS).collect();
        indexes.shuffle(&mut rand::rng());
        for index in indexes {
            let ask = async {
                let Ok(mut lookup) = client.providers(first_key(day, index)).await else { return };
                while let Some(addresses) = lookup.next().await {
                    let chosen = asked.choose(&addresses, PER_PROVIDER, unix_ms());
                    if !chosen.is_empty() {
                        dials.spawn(dial(swarm.clone(), chosen));
                    }
                    if asked.is_full() {
                        return;
                    }
                }
            };
            let _ = timeout(KEY_LIMIT, ask).await;
            if asked.is_full() {
                break;
            }
        }
    }
    while dials.join_next().await.is_some() {}
}

/// Whoever answers enters the table by what it says of itself, or does not.
async fn dial(swarm: Handle, addresses: Vec<String>) {
    match swarm.dial(addresses, None, DIAL_PATIENCE).await {
        Ok(_) => tracing::debug!("somebody answers where the public DHT said"),
        Err(DialError::Stopped) => {}
        Err(error) => tracing::debug!(%error, "nobody answers where the public DHT said"),
    }
}

async fn tell(swarm: Handle, client: Client, announce: Announce) {
    let (mut addresses, mut dht, mut reachability) = (swarm.addresses(), swarm.dht(), swarm.reachability());
    let mut announced = Announced::default();
    loop {
        let public = public_addresses(&swarm, announce);
        let due = if public.is_empty() { Vec::new() } else { announced.due(&public, unix_ms()) };
        let mut failed = false;
        for day in due {
            if let Err(error) = put(&client, day, &public).await {
                tracing::info!(%error, "not announced in the public DHT");
                failed = true;
                break;
            }
            tracing::info!(day, "announced this node in the public DHT");
            announced.done(day, public.clone(), unix_ms());
        }
        if failed {
            sleep(AGAIN).await;
        } else if public.is_empty() {
            // Nothing to announce: only a change can make something of it.
            let changed = tokio::select! {
                changed = addresses.changed() => changed,
                changed = dht.changed() => changed,
                changed = reachability.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        } else {
            sleep(LOOK).await;
        }
        if addresses.has_changed().is_err() {
            return;
        }
    }
}

/// Announces at every key of a day.
async fn put(client: &Client, day: u64, addresses: &[String]) -> Result<(), PublicError> {
    for index in 0..FIRST_KEYS {
        client.provide(first_key(day, index), addresses.to_vec()).await?;
    }
    Ok(())
}

/// Where everybody can reach this node, while it serves.
fn public_addresses(swarm: &Handle, announce: Announce) -> Vec<String> {
    if !swarm.dht().borrow().server {
        return Vec::new();
    }
    match announce {
        Announce::On => swarm.addresses().borrow().direct.clone(),
        Announce::Auto => {
            let found = swarm.reachability().borrow().clone();
            // The first node of all has nobody to test it; a public IPv4 address on an interface is seldom unreachable,
            // while a home router lets nothing in at an IPv6 address.
            found.public.into_iter().filter(|address| found.tested || address.starts_with("/ip4/")).collect()
        }
    }
}
