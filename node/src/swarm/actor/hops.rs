//! Searches and puts through a relay, for a hidden node; and doing that for others ([`super::super::hop`]).
//!
//! A hidden node asks the relays that it waits at. A put goes to one of them, in turn, and to the next if that one does not
//! do it; a search goes to two, since one may be silent about what it finds.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{PeerId, swarm};
use tokio::sync::mpsc;
use twocan_protocol::rendezvous::verify_record;

use super::{
    super::{
        hop::{Answer, Event, Report, Request},
        limits::{Bucket, RangeLimiter, Rate},
        scope::{SourceRange, ip_of, public_range},
        types::{GetEvent, GetReport, PutEvent, PutReport, QueryId},
    },
    Actor,
};

/// Searches and puts of ours that run or wait.
const MAX_QUERIES: usize = 128;
/// What is asked of one relay at a time: as much as it serves.
const AT_ONCE: usize = 4;
/// Relays that are asked in one search.
const SEARCHED: usize = 2;
/// What no relay has done by then has failed.
const LIMIT: Duration = Duration::from_secs(30);
/// Requests of others that are carried out at a time: a quarter of all queries that may run.
const MAX_SERVED: usize = 32;
/// Requests from one network: the slots of a hundred friends at once, and some searches for friends that are away.
const RATE: Rate = Rate { burst: 256.0, per_second: 2.0 };
/// The same from loopback and private networks, where many nodes may be ours.
const NEAR_RATE: Rate = Rate { burst: 1024.0, per_second: 64.0 };
/// Requests of everybody: a search is about sixty requests to other nodes.
const ALL: Rate = Rate { burst: 512.0, per_second: 16.0 };
/// How long a request of another may take.
const SERVE: Duration = Duration::from_secs(12);
/// Events of one query for another that may wait: those of a put or search, as elsewhere.
const EVENTS: usize = 64;
/// Numbers of queries that are made for others: far above those of our own.
const FIRST_ID: u64 = 1 << 48;

enum Kind {
    Put { value: Vec<u8>, reply: mpsc::Sender<PutEvent>, started: Instant },
    Get { reply: mpsc::Sender<GetEvent>, answered: u32 },
}

struct Query {
    id: QueryId,
    key: [u8; 32],
    kind: Kind,
    until: Instant,
    tried: Vec<PeerId>,
}

/// What is asked of relays, and what they ask of us.
pub(super) struct Hops {
    queries: VecDeque<Query>,
    /// Requests under way.
    asked: Vec<(QueryId, PeerId, swarm::ConnectionId)>,
    turn: usize,
    ranges: RangeLimiter,
    all: Bucket,
    served: Arc<()>,
    next_id: u64,
}

impl Hops {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queries: VecDeque::new(),
            asked: Vec::new(),
            turn: 0,
            ranges: RangeLimiter::new(RATE, NEAR_RATE),
            all: Bucket::full(ALL, now),
            served: Arc::new(()),
            next_id: FIRST_ID,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queries.len()
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.queries.iter().map(|query| query.until).min()
    }

    fn is_asked(&self, id: QueryId) -> bool {
        self.asked.iter().any(|(query, ..)| *query == id)
    }

    fn load(&self, hop: PeerId) -> usize {
        self.asked.iter().filter(|(_, peer, _)| *peer == hop).count()
    }
}

impl Actor {
    pub(super) fn put_by_hop(
        &mut self,
        id: QueryId,
        key: [u8; 32],
        value: Vec<u8>,
        reply: mpsc::Sender<PutEvent>,
        now: Instant,
    ) {
        self.query_by_hop(id, key, Kind::Put { value, reply, started: now }, now);
    }

    pub(super) fn get_by_hop(&mut self, id: QueryId, key: [u8; 32], reply: mpsc::Sender<GetEvent>, now: Instant) {
        self.query_by_hop(id, key, Kind::Get { reply, answered: 0 }, now);
    }

    fn query_by_hop(&mut self, id: QueryId, key: [u8; 32], kind: Kind, now: Instant) {
        if self.hops.queries.len() >= MAX_QUERIES {
            tracing::warn!(query = %id, "refused: too many searches and puts at a time");
            return;
        }
        self.hops.queries.push_back(Query { id, key, kind, until: now + LIMIT, tried: Vec::new() });
        self.tend_hops(now);
    }

    pub(super) fn finish_by_hop(&mut self, id: QueryId) {
        self.hops.queries.retain(|query| query.id != id);
    }

    /// The relays that hold a reservation of ours, and that can be asked.
    fn hops(&self) -> Vec<(PeerId, swarm::ConnectionId, Option<SourceRange>)> {
        let held = self.relays.view().into_iter().filter(|relay| relay.held);
        held.filter_map(|relay| {
            let connection = *self.connections.direct_ids(relay.peer).first()?;
            let range = self.connections.remote(connection).and_then(|(remote, _)| public_range(remote));
            Some((relay.peer, connection, range))
        })
        .collect()
    }

    /// Asks relays for what waits, and ends what is over.
    pub(super) fn tend_hops(&mut self, now: Instant) {
        if self.hops.queries.is_empty() {
            return;
        }
        let hops = self.hops();
        let mut queries = std::mem::take(&mut self.hops.queries);
        queries.retain_mut(|query| {
            let unwanted = matches!(&query.kind, Kind::Get { reply, .. } if reply.is_closed());
            if unwanted {
                return false;
            }
            let wanted = match &query.kind {
                Kind::Put { .. } if self.hops.is_asked(query.id) => 0,
                Kind::Put { .. } => 1,
                Kind::Get { .. } => SEARCHED.saturating_sub(query.tried.len()),
            };
            let turn = self.hops.turn;
            let in_turn = (0..hops.len()).map(|at| hops[(at + turn) % hops.len()]);
            let untried: Vec<_> = in_turn.filter(|(peer, ..)| !query.tried.contains(peer)).take(wanted).collect();
            // One that is busy has time for it soon.
            let busy = untried.iter().any(|(peer, ..)| self.hops.load(*peer) >= AT_ONCE);
            for hop in untried.into_iter().filter(|(peer, ..)| self.hops.load(*peer) < AT_ONCE).collect::<Vec<_>>() {
                query.tried.push(hop.0);
                self.hops.asked.push((query.id, hop.0, hop.1));
                let (request, copies) = match &query.kind {
                    Kind::Put { value, .. } => {
                        self.hops.turn = self.hops.turn.wrapping_add(1);
                        (Request::Put(query.key, value.clone()), None)
                    }
                    Kind::Get { reply, .. } => (Request::Get(query.key), Some(reply.clone())),
                };
                tracing::debug!(query = %query.id, hop = %hop.0, "asking a relay to do it");
                self.swarm.behaviour_mut().hop.ask(hop, query.id, request, copies);
            }
            let ended = !busy && !query.tried.is_empty() && !self.hops.is_asked(query.id);
            if ended || now >= query.until {
                end(query, 0, now);
                return false;
            }
            true
        });
        self.hops.queries = queries;
    }

    /// A relay has answered, or has not.
    fn on_hop_report(&mut self, report: &Report, now: Instant) {
        self.hops.asked.retain(|(query, peer, _)| (*query, *peer) != (report.query, report.hop));
        tracing::debug!(query = %report.query, hop = %report.hop, count = report.count, "a relay has done it");
        if let Some(at) = self.hops.queries.iter().position(|query| query.id == report.query) {
            let query = &mut self.hops.queries[at];
            match (&mut query.kind, report.count) {
                (Kind::Put { .. }, Some(stored)) if stored > 0 => {
                    end(query, stored, now);
                    self.hops.queries.remove(at);
                }
                (Kind::Get { answered, .. }, Some(count)) => *answered = answered.saturating_add(count),
                _ => {}
            }
        }
        self.tend_hops(now);
    }

    /// What was asked on a connection that has ended is not answered any more.
    pub(super) fn hops_lost(&mut self, connection: swarm::ConnectionId, now: Instant) {
        let before = self.hops.asked.len();
        self.hops.asked.retain(|(_, _, on)| *on != connection);
        if self.hops.asked.len() != before {
            self.tend_hops(now);
        }
    }

    pub(super) fn on_hop(&mut self, event: Event, now: Instant) {
        match event {
            Event::Answered(report) => self.on_hop_report(&report, now),
            Event::Asked { peer, connection, request, answers } => {
                if !self.may_ask(peer, connection, now) {
                    tracing::debug!(%peer, "a hop was refused");
                    return;
                }
                self.serve_hop(request, answers, now);
            }
        }
    }

    /// Only who waits here for circuits may ask, at a bounded rate.
    fn may_ask(&mut self, peer: PeerId, connection: swarm::ConnectionId, now: Instant) -> bool {
        let Some(ip) = self.connections.remote(connection).and_then(|(remote, _)| ip_of(remote)) else { return false };
        let waits = self.swarm.behaviour().circuits.waits(peer, connection);
        let idle = Arc::strong_count(&self.hops.served) <= MAX_SERVED;
        waits && idle && !self.hidden && self.hops.ranges.take(ip, now) && self.hops.all.take(ALL, now)
    }

    fn serve_hop(&mut self, request: Request, answers: mpsc::Sender<Answer>, now: Instant) {
        let id = QueryId::new(self.hops.next_id);
        self.hops.next_id += 1;
        let place = Arc::clone(&self.hops.served);
        match request {
            Request::Put(key, value) => {
                if verify_record(&key, &value).is_err() {
                    return;
                }
                let (reply, mut events) = mpsc::channel(EVENTS);
                self.put(id, key, value, reply, now);
                tokio::spawn(async move {
                    let _place = place;
                    let mut stored = 0;
                    let all = async {
                        while let Some(PutEvent::Stored(count)) = events.recv().await {
                            stored = count;
                        }
                    };
                    let _ = tokio::time::timeout(SERVE, all).await;
                    let _ = answers.send(Answer::Done(stored)).await;
                });
            }
            Request::Get(key) => {
                let (reply, mut events) = mpsc::channel(EVENTS);
                self.get(id, key, reply, now);
                tokio::spawn(async move {
                    let _place = place;
                    let (mut newest, mut answered) = (0, 0);
                    let all = async {
                        loop {
                            match events.recv().await {
                                Some(GetEvent::Copy(copy)) => {
                                    let sequence = verify_record(&key, &copy.value).unwrap_or(0);
                                    if sequence > newest {
                                        newest = sequence;
                                        if answers.send(Answer::Copy(copy.value)).await.is_err() {
                                            return;
                                        }
                                    }
                                }
                                Some(GetEvent::Done(report)) => answered = report.answered,
                                None => return,
                            }
                        }
                    };
                    let _ = tokio::time::timeout(SERVE, all).await;
                    let _ = answers.send(Answer::Done(answered)).await;
                });
            }
        }
    }
}

/// Says how it ended.
fn end(query: &Query, stored: u32, now: Instant) {
    match &query.kind {
        Kind::Put { reply, started, .. } => {
            if stored > 0 {
                let _ = reply.try_send(PutEvent::Stored(stored));
            }
            let took = now.saturating_duration_since(*started);
            let _ = reply.try_send(PutEvent::Done(PutReport { stored, failed: 0, took }));
        }
        Kind::Get { reply, answered } => {
            let asked = u32::try_from(query.tried.len()).unwrap_or(u32::MAX);
            let _ = reply.try_send(GetEvent::Done(GetReport { asked, answered: *answered }));
        }
    }
}
