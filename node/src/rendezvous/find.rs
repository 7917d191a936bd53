//! Looking for somebody.
//!
//! Places are looked into one after the other, likeliest first, and the next is begun when one turns out empty or takes
//! long. Every copy is verified and opened; the newest counts. The first valid copy is reported at once, a newer one
//! when it comes, and the search ends when it is good enough: some copies agree, or little time has passed since the
//! first. Nodes that gave an older copy are sent the newest.

use std::time::{Duration, Instant};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use twocan_protocol::{
    address::Address,
    identity::{FriendshipKey, PeerId, RootPublic},
    rendezvous::{Body, Grant, Reader, Schedule, contact_reader, pair_reader, presence_reader},
};

use super::unix_ms;
use crate::swarm::{GetEvent, Handle, QueryId};

/// The next place is looked into after this time, even if the one before has not ended.
const HEDGE: Duration = Duration::from_millis(400);
/// After the first valid copy, a newer one may come this long.
const LINGER: Duration = Duration::from_millis(250);
/// So many copies of the newest sequence are enough.
const ENOUGH: u32 = 3;
/// Copies of one place that are opened at most; beyond, somebody floods.
const MAX_COPIES: u32 = 64;
/// Nodes that hold a record at most (Kademlia's k).
const HOLDERS: usize = 20;
/// A search ends by then.
const DEADLINE: Duration = Duration::from_secs(30);
/// A disjoint query can end empty by bad luck (libp2p issue 5418): it is asked once more after this time.
const AGAIN: Duration = Duration::from_millis(150);
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
    /// In which kind of slot: "presence", "pair" or "contact".
    pub via: &'static str,
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

struct Place {
    via: &'static str,
    epoch: u64,
    reader: Reader,
}

/// The places to look into, likeliest first. Keys that cannot be are skipped: a friend's bad grant finds nothing.
fn places(target: &Target, unix_ms: u64) -> Vec<Place> {
    let mut places = Vec::new();
    match target {
        Target::Contact(address) => {
            for day in Schedule::contact(&address.root, &address.token).to_read(unix_ms) {
                places.extend(contact_reader(address, day).map(|reader| Place { via: "contact", epoch: day, reader }));
            }
        }
        Target::Friend { root, friendship, grant } => {
            let pairs = Schedule::pair(root, friendship).to_read(unix_ms);
            let presences = grant.as_ref().map(|grant| (grant, Schedule::presence(grant).to_read(unix_ms)));
            for turn in 0..3 {
                if let Some((grant, epochs)) = &presences {
                    let epoch = epochs[turn];
                    let reader = presence_reader(root, grant, epoch);
                    places.extend(reader.map(|reader| Place { via: "presence", epoch, reader }));
                }
                let epoch = pairs[turn];
                let reader = pair_reader(root, friendship, epoch);
                places.extend(reader.map(|reader| Place { via: "pair", epoch, reader }));
            }
        }
    }
    places
}

/// Starts a search.
pub(super) fn start(swarm: Handle, target: Target) -> Search {
    let (events, receiver) = mpsc::channel(EVENTS);
    let task = tokio::spawn(async move {
        let started = Instant::now();
        let mut report = Report::default();
        let search = run(&swarm, &target, &events, &mut report, started);
        let _ = timeout(DEADLINE, search).await;
        report.took = started.elapsed();
        let _ = events.send(SearchEvent::Done(report)).await;
    });
    Search { events: receiver, task, found: false }
}

/// What one lookup says to the search.
enum News {
    Copy(Box<Found>),
    Bad,
    Ended { empty: bool },
}

/// The places that are looked into at present, and those that wait.
struct Tour {
    waiting: std::vec::IntoIter<Place>,
    looking: JoinSet<()>,
    open: u32,
}

impl Tour {
    /// Begins to look into the next place; `false` if there is none.
    fn go_on(&mut self, swarm: &Handle, news: &mpsc::Sender<News>, started: Instant, report: &mut Report) -> bool {
        let Some(place) = self.waiting.next() else { return false };
        report.queries += 1;
        self.open += 1;
        self.looking.spawn(look(swarm.clone(), place, news.clone(), started));
        true
    }
}

async fn run(
    swarm: &Handle,
    target: &Target,
    events: &mpsc::Sender<SearchEvent>,
    report: &mut Report,
    started: Instant,
) {
    let mut tour = Tour { waiting: places(target, unix_ms()).into_iter(), looking: JoinSet::new(), open: 0 };
    let (news, mut inbox) = mpsc::channel(EVENTS);
    let mut newest: Option<u64> = None;
    loop {
        if tour.open == 0 && !tour.go_on(swarm, &news, started, report) {
            return;
        }
        match timeout(HEDGE, inbox.recv()).await {
            Ok(Some(News::Copy(found))) => {
                report.copies += 1;
                if newest.is_none() {
                    report.answer = Some((found.via, found.query));
                    report.first = Some(found.took);
                }
                if newest.is_none_or(|newest| found.sequence > newest) {
                    newest = Some(found.sequence);
                    // Nobody may be listening any more; the end of this lookup still mends stale copies.
                    let _ = events.send(SearchEvent::Found(found)).await;
                }
            }
            Ok(Some(News::Bad)) => report.bad_copies += 1,
            Ok(Some(News::Ended { empty })) => {
                tour.open = tour.open.saturating_sub(1);
                if !empty || newest.is_some() && tour.open == 0 {
                    return;
                }
            }
            Ok(None) => return,
            Err(_) if newest.is_none() => {
                tour.go_on(swarm, &news, started, report);
            }
            Err(_) => {}
        }
    }
}

/// Looks into one place.
async fn look(swarm: Handle, place: Place, news: mpsc::Sender<News>, started: Instant) {
    let mut outcome = Looked::default();
    for attempt in 0..2 {
        if attempt > 0 {
            sleep(AGAIN).await;
        }
        let answered = look_once(&swarm, &place, &news, started, &mut outcome).await;
        // Nobody to ask, or everybody was asked: once more would not help.
        if outcome.newest.is_some() || answered == 0 || answered >= swarm.dht_peers().min(HOLDERS) {
            break;
        }
    }
    let empty = outcome.newest.is_none();
    if let Some((sequence, value)) = outcome.newest {
        let stale: Vec<PeerId> =
            outcome.holders.into_iter().filter(|(_, held)| *held < sequence).map(|(peer, _)| peer).collect();
        if !stale.is_empty() {
            let _ = swarm.put_to(*place.reader.key.as_bytes(), value, stale).await;
        }
    }
    let _ = news.send(News::Ended { empty }).await;
}

#[derive(Default)]
struct Looked {
    newest: Option<(u64, Vec<u8>)>,
    holders: Vec<(PeerId, u64)>,
}

/// One lookup; returns how many nodes answered, or some number if they gave copies.
async fn look_once(
    swarm: &Handle,
    place: &Place,
    news: &mpsc::Sender<News>,
    started: Instant,
    looked: &mut Looked,
) -> usize {
    let Ok(mut get) = swarm.get(*place.reader.key.as_bytes()).await else { return 0 };
    let query = get.id();
    let begun = Instant::now();
    let (mut copies, mut bad, mut agreeing) = (0, 0, 0);
    let mut answered = 0;
    loop {
        let event = if looked.newest.is_some() {
            let Ok(event) = timeout(LINGER, get.next()).await else { break };
            event
        } else {
            get.next().await
        };
        let copy = match event {
            Some(GetEvent::Copy(copy)) => copy,
            Some(GetEvent::Done(report)) => {
                answered = report.answered as usize;
                break;
            }
            None => break,
        };
        answered += 1;
        let opened = place.reader.open(&copy.value).ok().filter(|(_, body)| is_current(body, unix_ms()));
        let Some((sequence, body)) = opened else {
            bad += 1;
            let _ = news.send(News::Bad).await;
            if bad >= MAX_COPIES {
                break;
            }
            continue;
        };
        copies += 1;
        if copies == 1 {
            let ms = begun.elapsed().as_millis();
            tracing::info!(%query, slot = place.via, epoch = place.epoch, ms, bad_copies = bad, "lookup: found");
        }
        looked.holders.extend(copy.from.map(|peer| (peer, sequence)));
        match &looked.newest {
            Some((newest, _)) if sequence < *newest => {}
            Some((newest, _)) if sequence == *newest => agreeing += 1,
            _ => {
                agreeing = 1;
                looked.newest = Some((sequence, copy.value));
            }
        }
        let found = Found { body, via: place.via, sequence, query, took: started.elapsed() };
        if news.send(News::Copy(Box::new(found))).await.is_err() || agreeing >= ENOUGH || copies >= MAX_COPIES {
            break;
        }
    }
    let ms = begun.elapsed().as_millis();
    let (slot, epoch) = (place.via, place.epoch);
    if copies == 0 {
        tracing::info!(%query, slot, epoch, ms, answered, bad_copies = bad, "lookup: nothing there");
    } else {
        tracing::debug!(%query, slot, epoch, ms, copies, bad_copies = bad, "lookup ended");
    }
    answered
}

/// Whether a body may be believed now.
fn is_current(body: &Body, unix_ms: u64) -> bool {
    body.expires_ms > unix_ms && body.certificate.verify(unix_ms / 1000).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::{SeedableRng, rngs::StdRng};
    use twocan_protocol::{
        address::ContactToken,
        identity::RootKey,
        rendezvous::{PresenceKey, RecordKey},
    };

    use super::{super::plan::Slot, *};

    const NOW_MS: u64 = 1_800_000_000_000;

    fn published(slot: &Slot) -> Vec<RecordKey> {
        slot.schedule().to_publish(NOW_MS).map(|epoch| slot.publisher(epoch).key).into()
    }

    #[test]
    fn readers_look_where_publishers_put_the_likeliest_place_first() {
        let [alice, bob] = [1, 2].map(|n| Arc::new(RootKey::from_secret(&[n; 32])));
        let presence = Arc::new(PresenceKey::generate(1, &mut StdRng::seed_from_u64(1)));
        let friendship = FriendshipKey::of(&bob, &alice.public());
        let target =
            Target::Friend { root: alice.public(), friendship: friendship.clone(), grant: Some(presence.grant()) };
        let looked: Vec<RecordKey> = places(&target, NOW_MS).iter().map(|place| place.reader.key).collect();
        let presences = published(&Slot::Presence(presence));
        let pairs = published(&Slot::Pair { root: alice.clone(), friendship, friend: bob.public(), since_ms: Some(0) });
        assert_eq!(looked.len(), 6);
        assert_eq!(looked[..2], [presences[0], pairs[0]]);
        assert!(looked.contains(&presences[1]) && looked.contains(&pairs[1]));

        let token = ContactToken::derived(&alice);
        let target = Target::Contact(Address { root: alice.public(), token });
        let looked: Vec<RecordKey> = places(&target, NOW_MS).iter().map(|place| place.reader.key).collect();
        let contacts = published(&Slot::Contact { root: alice, token });
        assert_eq!((looked.len(), looked[0]), (3, contacts[0]));
        assert!(looked.contains(&contacts[1]));
    }
}
