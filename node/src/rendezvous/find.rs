//! Looking for somebody.
//!
//! Places are looked into one after the other, likeliest first (the contact slots of one day together), and the next is
//! begun when one turns out empty or takes long. [`places`] says which, [`look`] looks into one, [`judge`] says what its
//! copies are worth. Every copy is verified and opened; the newest counts. The first valid copy is reported at once, a newer one
//! when it comes, and the search ends when it is good enough: some copies agree, or little time has passed since the
//! first. Nodes that gave an older copy are sent the newest.

use std::time::{Duration, Instant};

mod judge;
mod look;
mod places;

pub use judge::{Judge, Verdict};
pub use places::{Place, places};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use twocan_protocol::{
    address::Address,
    identity::{FriendshipKey, RootPublic},
    rendezvous::{Body, Grant},
};

use super::unix_ms;
use crate::swarm::{Handle, QueryId};
use look::{News, look};

/// The next places are looked into after this time, even if those before have not ended.
pub const HEDGE: Duration = Duration::from_millis(400);
/// After the first valid copy, a newer one may come this long.
pub const LINGER: Duration = Duration::from_millis(250);
/// A search ends by then.
const DEADLINE: Duration = Duration::from_secs(30);
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

/// The places that are looked into at present, and those that wait.
struct Tour {
    waiting: std::vec::IntoIter<Vec<Place>>,
    looking: JoinSet<()>,
    open: u32,
}

impl Tour {
    /// Begins to look into the next places; `false` if there are none.
    fn go_on(&mut self, swarm: &Handle, news: &mpsc::Sender<News>, started: Instant, report: &mut Report) -> bool {
        let Some(together) = self.waiting.next() else { return false };
        for place in together {
            report.queries += 1;
            self.open += 1;
            self.looking.spawn(look(swarm.clone(), place, news.clone(), started));
        }
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
    // Set when a place was found good: others that are being looked into may still have something newer.
    let mut closing: Option<Instant> = None;
    loop {
        if tour.open == 0 && (newest.is_some() || !tour.go_on(swarm, &news, started, report)) {
            return;
        }
        let pause = closing.map_or(HEDGE, |at| at.saturating_duration_since(Instant::now()));
        match timeout(pause, inbox.recv()).await {
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
                if !empty {
                    closing.get_or_insert_with(|| Instant::now() + LINGER);
                }
            }
            Ok(None) => return,
            Err(_) if closing.is_some() => return,
            Err(_) if newest.is_none() => {
                tour.go_on(swarm, &news, started, report);
            }
            Err(_) => {}
        }
    }
}
