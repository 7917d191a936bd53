//! Lookups and puts.
//!
//! A put is one search for the closest nodes, then one request to each of them on its own: the crate's own put reports
//! nothing before the slowest of twenty nodes has answered or failed, which takes seconds when some are dead.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use libp2p::{
    PeerId,
    kad::{self, GetClosestPeersError, GetRecordOk, QueryResult, QueryStats, Quorum, Record, RecordKey},
};
use tokio::sync::mpsc;

use super::{
    super::types::{Copy, GetEvent, GetReport, PutEvent, PutReport, QueryId},
    Actor, to_ours, to_theirs,
};

/// Lookups and puts that may run or wait at a time.
const MAX_QUERIES: usize = 128;
/// A search for the closest nodes whose remaining nodes are silent for this time, or for twice the time to the first
/// answer if that is longer, goes on with who has answered: dead nodes would hold it up for seconds.
const SILENCE: Duration = Duration::from_millis(400);
/// No search takes longer.
const SEARCH_LIMIT: Duration = Duration::from_secs(6);
/// How often searches are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What is asked while no DHT node is known waits for one at most so long.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Nodes that hold a record (Kademlia's k).
const HOLDERS: usize = 20;

#[derive(Default)]
pub(super) struct Queries {
    running: HashMap<kad::QueryId, Running>,
    puts: HashMap<QueryId, Put>,
    waiting: VecDeque<(Instant, Waiting)>,
}

enum Running {
    Get { id: QueryId, reply: mpsc::Sender<GetEvent> },
    Search { put: QueryId, progress: Progress },
    Store { put: QueryId },
}

/// How a search for the closest nodes gets on.
struct Progress {
    started: Instant,
    first: Option<Duration>,
    answers: u32,
    last: Instant,
    look_at: Instant,
}

impl Progress {
    fn new(now: Instant) -> Self {
        Self { started: now, first: None, answers: 0, last: now, look_at: now + LOOK }
    }

    /// Whether to go on with `answers` nodes.
    fn is_enough(&mut self, answers: u32, now: Instant) -> bool {
        self.look_at = now + LOOK;
        let elapsed = now.saturating_duration_since(self.started);
        if answers > self.answers {
            self.answers = answers;
            self.last = now;
            self.first.get_or_insert(elapsed);
        }
        let silent = now.saturating_duration_since(self.last);
        elapsed >= SEARCH_LIMIT || self.first.is_some_and(|first| silent >= SILENCE.max(first * 2))
    }
}

enum Waiting {
    Get { id: QueryId, key: [u8; 32], reply: mpsc::Sender<GetEvent> },
    Put { id: QueryId },
}

struct Put {
    key: [u8; 32],
    value: Vec<u8>,
    reply: mpsc::Sender<PutEvent>,
    started: Instant,
    left: u32,
    stored: u32,
    failed: u32,
}

impl Queries {
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        let cuts = self.running.values().filter_map(|running| match running {
            Running::Search { progress, .. } => Some(progress.look_at),
            _ => None,
        });
        cuts.chain(self.waiting.front().map(|(until, _)| *until)).min()
    }

    fn is_full(&self) -> bool {
        self.running.len() + self.waiting.len() + self.puts.len() >= MAX_QUERIES
    }
}

impl Actor {
    pub(super) fn get(&mut self, id: QueryId, key: [u8; 32], reply: mpsc::Sender<GetEvent>, now: Instant) {
        if self.queries.is_full() {
            tracing::warn!(query = %id, "lookup refused: too many at a time");
            return;
        }
        if self.table.is_empty() {
            self.queries.waiting.push_back((now + MAX_WAIT, Waiting::Get { id, key, reply }));
            self.table.hasten(now);
        } else {
            self.start_get(id, key, reply);
        }
    }

    fn start_get(&mut self, id: QueryId, key: [u8; 32], reply: mpsc::Sender<GetEvent>) {
        let query = self.swarm.behaviour_mut().dht.kad().get_record(RecordKey::new(&key));
        tracing::debug!(query = %id, kad = ?query, "lookup");
        self.queries.running.insert(query, Running::Get { id, reply });
    }

    pub(super) fn finish_get(&mut self, wanted: QueryId) {
        self.queries.waiting.retain(|(_, waiting)| !matches!(waiting, Waiting::Get { id, .. } if *id == wanted));
        let found = self.queries.running.iter().find_map(|(query, running)| match running {
            Running::Get { id, .. } if *id == wanted => Some(*query),
            _ => None,
        });
        if let Some(query) = found {
            self.queries.running.remove(&query);
            self.end(query);
        }
    }

    fn end(&mut self, query: kad::QueryId) {
        if let Some(mut query) = self.swarm.behaviour_mut().dht.kad().query_mut(&query) {
            query.finish();
        }
    }

    pub(super) fn put(
        &mut self,
        id: QueryId,
        key: [u8; 32],
        value: Vec<u8>,
        reply: mpsc::Sender<PutEvent>,
        now: Instant,
    ) {
        if self.queries.is_full() {
            tracing::warn!(query = %id, "put refused: too many at a time");
            return;
        }
        self.queries.puts.insert(id, Put { key, value, reply, started: now, left: 0, stored: 0, failed: 0 });
        if self.table.is_empty() {
            self.queries.waiting.push_back((now + MAX_WAIT, Waiting::Put { id }));
            self.table.hasten(now);
        } else {
            self.start_search(id, now);
        }
    }

    fn start_search(&mut self, id: QueryId, now: Instant) {
        let Some(put) = self.queries.puts.get_mut(&id) else { return };
        put.started = now;
        let query = self.swarm.behaviour_mut().dht.kad().get_closest_peers(put.key.to_vec());
        tracing::debug!(query = %id, kad = ?query, "put");
        self.queries.running.insert(query, Running::Search { put: id, progress: Progress::new(now) });
    }

    pub(super) fn put_to(
        &mut self,
        id: QueryId,
        key: [u8; 32],
        value: Vec<u8>,
        peers: &[twocan_protocol::identity::PeerId],
        reply: mpsc::Sender<PutEvent>,
        now: Instant,
    ) {
        if self.queries.is_full() {
            return;
        }
        let peers = peers.iter().filter_map(to_theirs).collect();
        self.queries.puts.insert(id, Put { key, value, reply, started: now, left: 0, stored: 0, failed: 0 });
        self.start_stores(id, peers, now);
    }

    fn start_stores(&mut self, id: QueryId, mut peers: Vec<PeerId>, now: Instant) {
        peers.truncate(HOLDERS);
        let Some(put) = self.queries.puts.get_mut(&id) else { return };
        put.left = u32::try_from(peers.len()).unwrap_or(u32::MAX);
        let (key, value) = (put.key, put.value.clone());
        for peer in peers {
            let record = Record::new(RecordKey::new(&key), value.clone());
            let query = self.swarm.behaviour_mut().dht.kad().put_record_to(record, [peer].into_iter(), Quorum::One);
            self.queries.running.insert(query, Running::Store { put: id });
        }
        self.end_put_if_done(id, now);
    }

    fn end_put_if_done(&mut self, id: QueryId, now: Instant) {
        if self.queries.puts.get(&id).is_some_and(|put| put.left == 0)
            && let Some(put) = self.queries.puts.remove(&id)
        {
            let took = now.saturating_duration_since(put.started);
            let _ = put.reply.try_send(PutEvent::Done(PutReport { stored: put.stored, failed: put.failed, took }));
            if put.stored == 0 {
                self.table.hasten(now);
            }
        }
    }

    pub(super) fn on_progress(
        &mut self,
        query: kad::QueryId,
        result: QueryResult,
        stats: &QueryStats,
        last: bool,
        now: Instant,
    ) {
        match (self.queries.running.get(&query), result) {
            (Some(Running::Get { reply, .. }), QueryResult::GetRecord(result)) => {
                let mut alive = true;
                if let Ok(GetRecordOk::FoundRecord(found)) = result {
                    let from = found.peer.as_ref().and_then(to_ours);
                    let range = found.peer.and_then(|peer| self.connections.range(peer));
                    let copy = GetEvent::Copy(Copy { value: found.record.value, from, range });
                    alive = !matches!(reply.try_send(copy), Err(mpsc::error::TrySendError::Closed(_)));
                }
                if last {
                    let report = GetReport { asked: stats.num_requests(), answered: stats.num_successes() };
                    let _ = reply.try_send(GetEvent::Done(report));
                    if report.answered == 0 {
                        self.table.hasten(now);
                    }
                    self.queries.running.remove(&query);
                } else if !alive {
                    self.queries.running.remove(&query);
                    self.end(query);
                }
            }
            (Some(&Running::Search { put, .. }), QueryResult::GetClosestPeers(result)) if last => {
                self.queries.running.remove(&query);
                let peers = match result {
                    Ok(found) => found.peers,
                    Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                if self.table.view().server {
                    self.keep_own(put, now);
                }
                self.start_stores(put, peers.into_iter().map(|peer| peer.peer_id).collect(), now);
            }
            (Some(&Running::Store { put }), QueryResult::PutRecord(result)) if last => {
                self.queries.running.remove(&query);
                if let Some(put) = self.queries.puts.get_mut(&put) {
                    put.left = put.left.saturating_sub(1);
                    if result.is_ok() {
                        put.stored += 1;
                        let _ = put.reply.try_send(PutEvent::Stored(put.stored));
                    } else {
                        put.failed += 1;
                    }
                }
                self.end_put_if_done(put, now);
            }
            _ => {}
        }
    }

    /// A server is one of the nodes that its own records may belong on.
    fn keep_own(&mut self, id: QueryId, now: Instant) {
        if let Some(put) = self.queries.puts.get(&id) {
            let record = Record::new(RecordKey::new(&put.key), put.value.clone());
            self.keep(record, None, now);
        }
    }

    /// Starts what waited for a first DHT node.
    pub(super) fn start_waiting(&mut self, now: Instant) {
        for (_, waiting) in std::mem::take(&mut self.queries.waiting) {
            match waiting {
                Waiting::Get { reply, .. } if reply.is_closed() => {}
                Waiting::Get { id, key, reply } => self.start_get(id, key, reply),
                Waiting::Put { id } => self.start_search(id, now),
            }
        }
    }

    pub(super) fn cut_what_is_due(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (query, running) in &mut self.queries.running {
            if let Running::Search { progress, .. } = running
                && progress.look_at <= now
            {
                let kad = self.swarm.behaviour_mut().dht.kad();
                let answers = kad.query(query).map_or(0, |query| query.stats().num_successes());
                if progress.is_enough(answers, now) {
                    due.push(*query);
                }
            }
        }
        for query in due {
            self.end(query);
        }
        while self.queries.waiting.front().is_some_and(|(until, _)| *until <= now) {
            match self.queries.waiting.pop_front() {
                Some((_, Waiting::Get { reply, .. })) => {
                    let _ = reply.try_send(GetEvent::Done(GetReport { asked: 0, answered: 0 }));
                }
                Some((_, Waiting::Put { id })) => self.end_put_if_done(id, now),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_goes_on_without_nodes_that_are_silent_for_long_by_the_measure_of_the_network() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut near = Progress::new(start);
        assert!(!near.is_enough(3, at(100)));
        assert!(!near.is_enough(5, at(200)));
        assert!(!near.is_enough(5, at(500)));
        assert!(near.is_enough(5, at(600)));

        let mut far = Progress::new(start);
        assert!(!far.is_enough(0, at(800)));
        assert!(!far.is_enough(1, at(900)));
        assert!(!far.is_enough(1, at(2600)), "one more hop may take as long as the first");
        assert!(far.is_enough(1, at(2700)));

        let mut dead = Progress::new(start);
        assert!(!dead.is_enough(0, at(5900)));
        assert!(dead.is_enough(0, at(6000)));
    }
}
