//! Looking into one place.

use std::time::{Duration, Instant};

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{Found, Judge, LINGER, Place, Verdict};
use crate::{
    rendezvous::unix_ms,
    swarm::{GetEvent, Handle},
};

/// Nodes that hold a record at most (Kademlia's k).
const HOLDERS: usize = 20;
/// A lookup can end empty by bad luck: it is made once more after this time.
const AGAIN: Duration = Duration::from_millis(150);

/// What one lookup says to the search.
pub(super) enum News {
    Copy(Box<Found>),
    Bad,
    Ended { empty: bool },
}

/// Looks into one place.
pub(super) async fn look(swarm: Handle, place: Place, news: mpsc::Sender<News>, started: Instant) {
    let mut judge = Judge::default();
    for attempt in 0..2 {
        if attempt > 0 {
            sleep(AGAIN).await;
        }
        let answered = look_once(&swarm, &place, &news, started, &mut judge).await;
        // Nobody to ask, or everybody was asked: once more would not help.
        if judge.has_found() || answered == 0 || answered >= swarm.dht_peers().min(HOLDERS) {
            break;
        }
    }
    let empty = !judge.has_found();
    if let Some((value, stale)) = judge.stale()
        && !stale.is_empty()
    {
        let _ = swarm.put_to(*place.reader.key.as_bytes(), value, stale).await;
    }
    let _ = news.send(News::Ended { empty }).await;
}

/// One lookup; returns how many nodes answered, or some number if they gave copies.
async fn look_once(
    swarm: &Handle,
    place: &Place,
    news: &mpsc::Sender<News>,
    started: Instant,
    judge: &mut Judge,
) -> usize {
    let Ok(mut get) = swarm.get(*place.reader.key.as_bytes()).await else { return 0 };
    let query = get.id();
    let begun = Instant::now();
    let mut answered = 0;
    loop {
        let event = if judge.has_found() {
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
        let first = !judge.has_found();
        let said = match judge.take(&place.reader, copy, unix_ms()) {
            Verdict::Bad => News::Bad,
            Verdict::Good(sequence, body) => {
                if first {
                    let (ms, (_, bad)) = (begun.elapsed().as_millis(), judge.counts());
                    tracing::info!(%query, slot = place.via, epoch = place.epoch, ms, bad_copies = bad, "lookup: found");
                }
                News::Copy(Box::new(Found { body: *body, via: place.via, sequence, query, took: started.elapsed() }))
            }
        };
        if news.send(said).await.is_err() || judge.is_enough() {
            break;
        }
    }
    let ms = begun.elapsed().as_millis();
    let (slot, epoch) = (place.via, place.epoch);
    match judge.counts() {
        (0, bad) => tracing::info!(%query, slot, epoch, ms, answered, bad_copies = bad, "lookup: nothing there"),
        (copies, bad) => tracing::debug!(%query, slot, epoch, ms, copies, bad_copies = bad, "lookup ended"),
    }
    answered
}
