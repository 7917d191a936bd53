//! Looking into the places of a search in the public DHT, beside the search in our own.

use std::time::{Duration, Instant};

use tokio::{
    pin,
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{EVENTS, Found, Place, Report, SearchEvent, Target, judge::is_current, places, run};
use crate::{
    rendezvous::{plan::Rules, unix_ms},
    swarm::{Handle, QueryId, public::Client},
};

/// Our own DHT has this long before the public one is asked too.
const HEAD_START: Duration = Duration::from_millis(700);
/// Places looked into at a time.
const AT_ONCE: usize = 2;
/// After the first valid copy, a newer one may come this long: servers are far apart.
const LINGER: Duration = Duration::from_millis(1500);
/// What the public DHT gave is good enough; our own may still have something newer for this time.
const OWN_LINGER: Duration = Duration::from_millis(250);
/// So many copies of the newest sequence are enough.
const ENOUGH: u32 = 3;
/// Copies of one place that are opened at most; beyond, somebody floods.
const MAX_COPIES: u32 = 40;

/// What a tour of the public DHT came to.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    places: u32,
    good: u32,
    bad: u32,
}

/// Searches in our own DHT (if `own`) and in the public one, side by side: the first valid copy is told at once, a newer
/// one from either replaces it. Whoever was found in our own is not waited for in the public one.
pub(super) async fn beside(
    swarm: &Handle,
    client: &Client,
    own: bool,
    target: &Target,
    events: &mpsc::Sender<SearchEvent>,
    report: &mut Report,
    started: Instant,
) {
    let (sender, mut found) = mpsc::channel(EVENTS);
    let own_sender = sender.clone();
    let in_own = async move {
        let mut report = Report::default();
        if own {
            let _ = timeout(super::DEADLINE, run(swarm, target, &own_sender, &mut report, started)).await;
        }
        report
    };
    let wait = if own && swarm.dht_peers() > 0 { HEAD_START } else { Duration::ZERO };
    let in_public = tour(client.clone(), places(target, unix_ms()), swarm.name_query(), wait, sender, started);
    pin!(in_own, in_public);
    let (mut own_ended, mut public_ended) = (false, false);
    let mut newest: Option<(u64, bool)> = None;
    let mut until: Option<tokio::time::Instant> = None;
    loop {
        tokio::select! {
            biased;
            Some(event) = found.recv() => {
                let SearchEvent::Found(found) = event else { continue };
                if newest.is_some_and(|(sequence, _)| found.sequence <= sequence) {
                    continue;
                }
                if newest.is_none() {
                    report.answer = Some((found.via, found.query));
                    report.first = Some(found.took);
                }
                newest = Some((found.sequence, found.public));
                // Nobody may be listening any more.
                let _ = events.send(SearchEvent::Found(found)).await;
            }
            ended = &mut in_own, if !own_ended => {
                own_ended = true;
                add(report, &Tally { places: ended.queries, good: ended.copies, bad: ended.bad_copies });
                if newest.is_some_and(|(_, public)| !public) {
                    return;
                }
            }
            ended = &mut in_public, if !public_ended => {
                public_ended = true;
                add(report, &ended);
                if newest.is_some() {
                    until = Some(tokio::time::Instant::now() + OWN_LINGER);
                }
            }
            () = async { tokio::time::sleep_until(until.unwrap_or_else(tokio::time::Instant::now)).await },
                if until.is_some() || own_ended && public_ended => return,
        }
    }
}

fn add(report: &mut Report, tally: &Tally) {
    report.queries += tally.places;
    report.copies += tally.good;
    report.bad_copies += tally.bad;
}

/// Looks into places, likeliest first, until one is found good.
async fn tour(
    client: Client,
    groups: Vec<Vec<Place>>,
    query: QueryId,
    wait: Duration,
    events: mpsc::Sender<SearchEvent>,
    started: Instant,
) -> Tally {
    sleep(wait).await;
    let mirrored = usize::from(Rules::PUBLIC.contacts);
    let mut waiting = groups.into_iter().flat_map(|group| group.into_iter().take(mirrored));
    let mut looking = JoinSet::new();
    let mut tally = Tally::default();
    while tally.good == 0 {
        while looking.len() < AT_ONCE
            && let Some(place) = waiting.next()
        {
            tally.places += 1;
            looking.spawn(look(client.clone(), place, query, events.clone(), started));
        }
        match looking.join_next().await {
            Some(Ok((good, bad))) => {
                tally.good += good;
                tally.bad += bad;
            }
            Some(Err(_)) => {}
            None => break,
        }
    }
    tally
}

/// How a find is named: the kind of slot, and that it was found elsewhere.
fn via(place: &Place) -> &'static str {
    match place.via {
        "presence" => "presence over IPFS",
        "pair" => "pair over IPFS",
        _ => "contact over IPFS",
    }
}

/// Looks into one place; how many valid and bad copies were there.
async fn look(
    client: Client,
    place: Place,
    query: QueryId,
    events: mpsc::Sender<SearchEvent>,
    started: Instant,
) -> (u32, u32) {
    let begun = Instant::now();
    let (slot, epoch) = (place.via, place.epoch);
    let Ok(mut lookup) = client.get(place.reader.ipns_name()).await else { return (0, 0) };
    let mut newest: Option<u64> = None;
    let (mut agreeing, mut good, mut bad) = (0, 0, 0);
    while agreeing < ENOUGH && good < MAX_COPIES && bad < MAX_COPIES {
        let copy =
            if newest.is_some() { timeout(LINGER, lookup.next()).await.ok().flatten() } else { lookup.next().await };
        let Some(copy) = copy else { break };
        let now_ms = unix_ms();
        let opened = place.reader.open_ipns(&copy, now_ms).ok().filter(|(_, body)| is_current(body, now_ms));
        let Some((sequence, body)) = opened else {
            bad += 1;
            continue;
        };
        good += 1;
        if newest.is_none() {
            tracing::info!(%query, slot, epoch, ms = begun.elapsed().as_millis(), "public lookup: found");
        }
        if newest.is_some_and(|newest| sequence <= newest) {
            agreeing += u32::from(newest == Some(sequence));
            continue;
        }
        newest = Some(sequence);
        agreeing = 1;
        let found = Found { body, via: via(&place), public: true, sequence, query, took: started.elapsed() };
        if events.send(SearchEvent::Found(Box::new(found))).await.is_err() {
            break;
        }
    }
    if newest.is_none() {
        tracing::info!(%query, slot, epoch, ms = begun.elapsed().as_millis(), bad, "public lookup: nothing there");
    }
    (good, bad)
}
