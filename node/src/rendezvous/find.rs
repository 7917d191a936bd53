//! Looking for somebody.
//!
//! Places are looked into one after the other, likeliest first (the contact slots of one day together), and the next is
//! begun when one turns out empty or takes long. [`mod@places`] says which, [`judge`] what the copies are worth, [`hunt`]
//! how it goes on; this drives them over the swarm. Every copy is verified and opened; the newest counts. The first valid
//! copy is reported at once, a newer one when it comes, and the search ends when it is good enough: some copies agree, or
//! little time has passed since the first. Nodes that gave an older copy are sent the newest. [`public`] looks into the
//! same places in the public DHT, if that is wanted; nobody waits for it who has found something.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

mod hunt;
mod judge;
mod places;
mod public;

pub use hunt::{Hunt, Order};
pub use judge::{Judge, Verdict};
pub use places::{Place, places};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{sleep_until, timeout},
};
use twocan_protocol::{
    address::Address,
    identity::{FriendshipKey, RootPublic},
    rendezvous::{Body, Grant},
};

use super::{Discovery, unix_ms};
use crate::swarm::{Get, GetEvent, GetReport, Handle, QueryId};

/// A search ends by then.
const DEADLINE: Duration = Duration::from_secs(30);
/// A search in the public DHT too, which is larger.
const PUBLIC_DEADLINE: Duration = Duration::from_secs(55);
/// Newer and newer copies come at most this often.
const EVENTS: usize = 16;

/// Whom to look for.
#[derive(Clone)]
pub enum Target {
    /// A friend: presence (with the grant), then pair.
    Friend {
        /// Who.
        root: RootPublic,
        /// Key of the friendship.
        friendship: FriendshipKey,
        /// The grant that the friend gave us last, if any.
        grant: Option<Grant>,
    },
    /// Whoever has this address.
    Contact(Address),
}

/// Somebody was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the person's node is, by its own word, which is not expired.
    pub body: Body,
    /// In which kind of slot: "presence", "pair" or "contact", and "… over IPFS" for a copy from the public DHT.
    pub via: &'static str,
    /// Whether its copy lay in the public DHT.
    pub public: bool,
    /// Of two by one person the higher one counts.
    pub sequence: u64,
    /// The lookup, as in the log.
    pub query: QueryId,
    /// Since the search began.
    pub took: Duration,
}

/// How a search ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The slot and lookup that answered first.
    pub answer: Option<(&'static str, QueryId)>,
    /// From asking to the first valid copy.
    pub first: Option<Duration>,
    /// Valid copies seen.
    pub copies: u32,
    /// Copies that failed verification, or were expired.
    pub bad_copies: u32,
    /// Places looked into.
    pub queries: u32,
    /// The whole search.
    pub took: Duration,
}

/// What a search reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchEvent {
    /// A valid copy, newer than any before.
    Found(Box<Found>),
    /// Nothing more will come. Nothing found means unknown, never offline.
    Done(Report),
}

/// A search that runs until it is good enough, or dropped.
#[derive(Debug)]
pub struct Search {
    events: mpsc::Receiver<SearchEvent>,
    task: JoinHandle<()>,
    found: bool,
}

impl Search {
    /// The next event; `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<SearchEvent> {
        let event = self.events.recv().await;
        self.found |= matches!(event, Some(SearchEvent::Found(_)));
        event
    }

    /// Waits for the first that is found.
    pub async fn first(&mut self) -> Option<Found> {
        match self.next().await {
            Some(SearchEvent::Found(found)) => Some(*found),
            _ => None,
        }
    }

    /// Waits for the end.
    pub async fn report(mut self) -> Report {
        while let Some(event) = self.next().await {
            if let SearchEvent::Done(report) = event {
                return report;
            }
        }
        Report::default()
    }
}

impl Drop for Search {
    /// A search that has found somebody ends by itself very soon, and mends stale copies on the way.
    fn drop(&mut self) {
        if !self.found {
            self.task.abort();
        }
    }
}

/// Starts a search.
pub(super) fn start(swarm: Handle, discovery: &Discovery, target: Target) -> Search {
    let (events, receiver) = mpsc::channel(EVENTS);
    let discovery = discovery.clone();
    let task = tokio::spawn(async move {
        let started = Instant::now();
        let mut report = Report::default();
        match discovery.public() {
            None => {
                let _ = timeout(DEADLINE, run(&swarm, &target, &events, &mut report, started)).await;
            }
            Some(client) => {
                let both = public::beside(&swarm, client, discovery.is_own(), &target, &events, &mut report, started);
                let _ = timeout(PUBLIC_DEADLINE, both).await;
            }
        }
        report.took = started.elapsed();
        let _ = events.send(SearchEvent::Done(report)).await;
    });
    Search { events: receiver, task, found: false }
}

/// A lookup under way.
struct Lookup {
    query: QueryId,
    begun: Instant,
    task: AbortHandle,
}

/// Does what the [`Hunt`] wants done, and tells it what comes of it.
async fn run(
    swarm: &Handle,
    target: &Target,
    events: &mpsc::Sender<SearchEvent>,
    report: &mut Report,
    started: Instant,
) {
    let (news, mut inbox) = mpsc::channel(EVENTS);
    let mut hunt = Hunt::new(target, Instant::now(), unix_ms());
    let mut lookups: HashMap<usize, Lookup> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        while let Some(order) = hunt.order() {
            match order {
                Order::Look(place, key) => {
                    let Ok(get) = swarm.get(key).await else { return };
                    let (query, news) = (get.id(), news.clone());
                    let task = tasks.spawn(forward(place, get, news));
                    lookups.insert(place, Lookup { query, begun: Instant::now(), task });
                }
                Order::Stop(place) => {
                    if let Some(lookup) = lookups.get(&place) {
                        lookup.task.abort();
                        log_end(&hunt, place, lookup);
                    }
                }
                Order::Found(place, sequence, body) => {
                    let (Some(lookup), Some((via, epoch))) = (lookups.get(&place), hunt.place(place)) else { continue };
                    let query = lookup.query;
                    let found = Found { body: *body, via, public: false, sequence, query, took: started.elapsed() };
                    if report.answer.is_none() {
                        report.answer = Some((via, query));
                        report.first = Some(found.took);
                    }
                    let (ms, (_, bad)) = (lookup.begun.elapsed().as_millis(), hunt.copies(place));
                    tracing::info!(%query, slot = via, epoch, ms, bad_copies = bad, "lookup: found");
                    // Nobody may be listening any more; the search still mends stale copies.
                    let _ = events.send(SearchEvent::Found(Box::new(found))).await;
                }
                Order::Mend(key, value, peers) => {
                    let _ = swarm.put_to(key, value, peers).await;
                }
                Order::Done => return,
            }
            (report.copies, report.bad_copies) = hunt.all_copies();
            report.queries = u32::try_from(hunt.begun()).unwrap_or(u32::MAX);
        }
        let due = hunt.next_due().unwrap_or_else(|| Instant::now() + DEADLINE);
        tokio::select! {
            Some((place, event)) = inbox.recv() => match event {
                GetEvent::Copy(copy) => hunt.copy(place, copy, Instant::now(), unix_ms()),
                GetEvent::Done(done) => {
                    hunt.ended(place, done.answered as usize, swarm.dht_peers(), Instant::now());
                    if let Some(lookup) = lookups.get(&place) {
                        log_end(&hunt, place, lookup);
                    }
                }
            },
            () = sleep_until(due.into()) => hunt.tick(Instant::now()),
        }
        (report.copies, report.bad_copies) = hunt.all_copies();
    }
}

/// Hands on what a lookup reports; a lookup that was refused has ended.
async fn forward(place: usize, mut get: Get, news: mpsc::Sender<(usize, GetEvent)>) {
    loop {
        let event = get.next().await.unwrap_or(GetEvent::Done(GetReport { asked: 0, answered: 0 }));
        let last = matches!(event, GetEvent::Done(_));
        if news.send((place, event)).await.is_err() || last {
            return;
        }
    }
}

fn log_end(hunt: &Hunt, place: usize, lookup: &Lookup) {
    let (query, ms) = (lookup.query, lookup.begun.elapsed().as_millis());
    let (slot, epoch) = hunt.place(place).unwrap_or_default();
    match hunt.copies(place) {
        (0, bad) => tracing::info!(%query, slot, epoch, ms, bad_copies = bad, "lookup: nothing there"),
        (copies, bad) => tracing::debug!(%query, slot, epoch, ms, copies, bad_copies = bad, "lookup ended"),
    }
}
