//! Lookups and puts.
//!
//! [`crate::dht::Lookup`] says whom to ask next, [`super::super::ask`] carries the requests, and this drives the one
//! with the other. A put is one lookup for the nearest nodes and one request to each of them, as soon as it is sure to be
//! one; while we know so few nodes that everybody may be one, those that we are connected to are sent the record at once.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    kad::{self, KBucketKey, Record, RecordKey, store::RecordStore},
    request_response::{Message, OutboundRequestId},
    swarm,
};
use tokio::sync::mpsc;

use super::{
    super::{
        ask::{self, Request, Response},
        scope::{is_useful, public_range, without_peer},
        types::{Copy, GetEvent, GetReport, PutEvent, PutReport, QueryId},
    },
    Actor, to_ours, to_theirs,
};
use crate::dht::{self, K, Key, Lookup, Patience, Step};

/// Lookups and puts that may run or wait at a time.
const MAX_QUERIES: usize = 128;
/// A lookup that has not ended by then has met many dead nodes; what it found was reported on the way.
const GET_LIMIT: Duration = Duration::from_secs(10);
/// The same for the lookup of a put, which goes on with the nodes that have answered.
const SEARCH_LIMIT: Duration = Duration::from_secs(6);
/// What is asked while no DHT node is known waits for one at most so long.
const MAX_WAIT: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Queries {
    running: HashMap<QueryId, Running>,
    asked: HashMap<OutboundRequestId, (PeerId, Asked)>,
    puts: HashMap<QueryId, Put>,
    waiting: VecDeque<(Instant, Waiting)>,
}

/// A lookup under way.
struct Running {
    lookup: Lookup<PeerId>,
    addresses: HashMap<PeerId, Vec<Multiaddr>>,
    key: [u8; 32],
    /// Where copies go; none for the lookup of a put.
    copies: Option<mpsc::Sender<GetEvent>>,
    until: Instant,
    wake: Instant,
}

/// What a request belongs to.
#[derive(Clone, Copy)]
enum Asked {
    Lookup(QueryId),
    Store(QueryId),
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
    /// Whether the lookup for the nearest nodes runs, or waits for a first node.
    searching: bool,
    /// Who has been sent the record; at most twice [`K`].
    sent: Vec<PeerId>,
    left: u32,
    stored: u32,
    failed: u32,
}

impl Put {
    fn new(key: [u8; 32], value: Vec<u8>, reply: mpsc::Sender<PutEvent>, searching: bool, now: Instant) -> Self {
        Self { key, value, reply, started: now, searching, sent: Vec::new(), left: 0, stored: 0, failed: 0 }
    }
}

impl Queries {
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.puts.len() + self.waiting.len()
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        let lookups = self.running.values().map(|running| running.wake);
        lookups.chain(self.waiting.front().map(|(until, _)| *until)).min()
    }

    fn is_full(&self) -> bool {
        self.len() >= MAX_QUERIES
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
            self.start_get(id, key, reply, now);
        }
    }

    fn start_get(&mut self, id: QueryId, key: [u8; 32], reply: mpsc::Sender<GetEvent>, now: Instant) {
        tracing::debug!(query = %id, "lookup");
        let store = self.swarm.behaviour_mut().dht.kad().store_mut();
        if let Some(record) = store.get(&RecordKey::new(&key)).filter(|record| !record.is_expired(now)) {
            let _ = reply.try_send(GetEvent::Copy(Copy { value: record.value.clone(), from: None, range: None }));
        }
        self.start_lookup(id, key, Some(reply), now);
    }

    fn start_lookup(&mut self, id: QueryId, key: [u8; 32], copies: Option<mpsc::Sender<GetEvent>>, now: Instant) {
        let me = *self.swarm.local_peer_id();
        let target = KBucketKey::new(RecordKey::new(&key));
        let kad = self.swarm.behaviour_mut().dht.kad();
        let near: Vec<(PeerId, Vec<Multiaddr>)> =
            kad.find_closest_local_peers(&target, &me).map(|peer| (peer.node_id, peer.multiaddrs)).collect();
        let mut addresses = HashMap::new();
        let seeds = self.usable(near, &mut addresses, now);
        let (patience, limit) =
            if copies.is_some() { (Patience::Full, GET_LIMIT) } else { (Patience::None, SEARCH_LIMIT) };
        let lookup = Lookup::new(Key::of(&key), patience, seeds, now);
        let running = Running { lookup, addresses, key, copies, until: now + limit, wake: now };
        self.queries.running.insert(id, running);
        self.go_on(id, now);
    }

    /// What of the nodes that somebody named can be asked; their addresses go into `addresses`.
    fn usable(
        &self,
        named: Vec<(PeerId, Vec<Multiaddr>)>,
        addresses: &mut HashMap<PeerId, Vec<Multiaddr>>,
        now: Instant,
    ) -> Vec<dht::Node<PeerId>> {
        let me = *self.swarm.local_peer_id();
        let confirmed = self.table.confirmed_scope(now);
        let mut nodes = Vec::new();
        for (peer, told) in named {
            let mut told: Vec<Multiaddr> = told.into_iter().map(without_peer).collect();
            told.retain(|address| is_useful(address, confirmed));
            if peer == me || told.is_empty() && !self.swarm.is_connected(&peer) {
                continue;
            }
            let range = self.connections.range(peer).or_else(|| told.iter().find_map(public_range));
            nodes.push(dht::Node { peer, key: Key::of(&peer.to_bytes()), range });
            addresses.entry(peer).or_insert(told);
        }
        nodes
    }

    /// Lets a lookup ask whom it wants to ask now.
    fn go_on(&mut self, id: QueryId, now: Instant) {
        loop {
            let Some(running) = self.queries.running.get_mut(&id) else { return };
            let abandoned = running.copies.as_ref().is_some_and(mpsc::Sender::is_closed);
            let step = if abandoned || now >= running.until { Step::Done } else { running.lookup.next(now) };
            match step {
                Step::Ask(peer) => {
                    let key = running.key;
                    let request =
                        if running.copies.is_some() { Request::GetValue(key) } else { Request::FindNode(key) };
                    let addresses = running.addresses.get(&peer).cloned().unwrap_or_default();
                    self.ask(peer, request, addresses, Asked::Lookup(id));
                }
                Step::Wait(due) => {
                    running.wake = due.map_or(running.until, |due| due.min(running.until));
                    if running.copies.is_none() {
                        let settled = running.lookup.settled();
                        self.send_record(id, settled);
                    }
                    return;
                }
                Step::Done => return self.end_lookup(id, now),
            }
        }
    }

    fn ask(&mut self, peer: PeerId, request: Request, addresses: Vec<Multiaddr>, asked: Asked) {
        let id = self.swarm.behaviour_mut().ask.send_request_with_addresses(&peer, request, addresses);
        self.queries.asked.insert(id, (peer, asked));
    }

    fn end_lookup(&mut self, id: QueryId, now: Instant) {
        let Some(running) = self.queries.running.remove(&id) else { return };
        let (asked, answered) = running.lookup.counts();
        if let Some(copies) = running.copies {
            let small = |count| u32::try_from(count).unwrap_or(u32::MAX);
            let _ = copies.try_send(GetEvent::Done(GetReport { asked: small(asked), answered: small(answered) }));
            if answered == 0 {
                self.table.hasten(now);
            }
            return;
        }
        let closest = running.lookup.closest();
        tracing::debug!(query = %id, asked, answered, holders = closest.len(), "put: the nearest nodes are known");
        self.send_record(id, closest);
        self.end_search(id, now);
    }

    pub(super) fn finish_get(&mut self, wanted: QueryId) {
        self.queries.waiting.retain(|(_, waiting)| !matches!(waiting, Waiting::Get { id, .. } if *id == wanted));
        self.queries.running.remove(&wanted);
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
        self.queries.puts.insert(id, Put::new(key, value, reply, true, now));
        // At once: the only node that serves is one that others can ask, though it has nobody to put to.
        if self.table.view().server {
            self.keep_own(id, now);
        }
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
        let key = put.key;
        tracing::debug!(query = %id, "put");
        if self.table.view().peers < K {
            let near: Vec<PeerId> = self.swarm.behaviour_mut().dht.kad().kbuckets().flat_map(nodes_of).collect();
            let connected = near.into_iter().filter(|peer| self.connections.direct_with(*peer).is_some()).collect();
            self.send_record(id, connected);
        }
        self.start_lookup(id, key, None, now);
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
        let peers: Vec<PeerId> = peers.iter().filter_map(to_theirs).take(K).collect();
        self.queries.puts.insert(id, Put::new(key, value, reply, false, now));
        self.send_record(id, peers);
        self.end_put_if_done(id, now);
    }

    /// Sends the record of a put to those of the nodes that it has not been sent to.
    fn send_record(&mut self, id: QueryId, peers: Vec<PeerId>) {
        let Some(put) = self.queries.puts.get_mut(&id) else { return };
        let mut new: Vec<PeerId> = Vec::new();
        for peer in peers {
            if !put.sent.contains(&peer) && put.sent.len() < 2 * K {
                put.sent.push(peer);
                put.left += 1;
                new.push(peer);
            }
        }
        let request = Request::PutValue(put.key, put.value.clone());
        for peer in new {
            // It answered a moment ago, or it is in the table: its address is known.
            self.ask(peer, request.clone(), Vec::new(), Asked::Store(id));
        }
    }

    /// Nobody more will be sent the record.
    fn end_search(&mut self, id: QueryId, now: Instant) {
        if let Some(put) = self.queries.puts.get_mut(&id) {
            put.searching = false;
        }
        self.end_put_if_done(id, now);
    }

    fn end_put_if_done(&mut self, id: QueryId, now: Instant) {
        if self.queries.puts.get(&id).is_some_and(|put| put.left == 0 && !put.searching)
            && let Some(put) = self.queries.puts.remove(&id)
        {
            let took = now.saturating_duration_since(put.started);
            let _ = put.reply.try_send(PutEvent::Done(PutReport { stored: put.stored, failed: put.failed, took }));
            if put.stored == 0 {
                self.table.hasten(now);
            }
        }
    }

    /// A request was answered, or failed.
    pub(super) fn on_answer(&mut self, event: ask::Event, now: Instant) {
        match event {
            ask::Event::Message { connection_id, message: Message::Response { request_id, response }, .. } => {
                match self.queries.asked.remove(&request_id) {
                    Some((peer, Asked::Lookup(id))) => self.on_found(id, peer, connection_id, response, now),
                    Some((_, Asked::Store(id))) => self.on_stored(id, true, now),
                    None => {}
                }
            }
            ask::Event::OutboundFailure { request_id, error, .. } => {
                let Some((peer, asked)) = self.queries.asked.remove(&request_id) else { return };
                tracing::debug!(%peer, %error, "a DHT node did not answer");
                match asked {
                    Asked::Lookup(id) => {
                        if let Some(running) = self.queries.running.get_mut(&id) {
                            running.lookup.failed(&peer);
                            self.go_on(id, now);
                        }
                    }
                    Asked::Store(id) => self.on_stored(id, false, now),
                }
            }
            _ => {}
        }
    }

    fn on_found(
        &mut self,
        id: QueryId,
        peer: PeerId,
        connection: swarm::ConnectionId,
        response: Response,
        now: Instant,
    ) {
        let Some(mut running) = self.queries.running.remove(&id) else { return };
        let range = self.connections.remote(connection).and_then(|(remote, _)| public_range(remote));
        if let Some((key, value)) = response.record
            && key == running.key
            && let Some(copies) = &running.copies
        {
            let _ = copies.try_send(GetEvent::Copy(Copy { value, from: to_ours(&peer), range }));
        }
        let closer = self.usable(response.closer, &mut running.addresses, now);
        running.lookup.answered(&peer, range, closer, now);
        self.queries.running.insert(id, running);
        self.go_on(id, now);
    }

    fn on_stored(&mut self, id: QueryId, stored: bool, now: Instant) {
        if let Some(put) = self.queries.puts.get_mut(&id) {
            put.left = put.left.saturating_sub(1);
            if stored {
                put.stored += 1;
                let _ = put.reply.try_send(PutEvent::Stored(put.stored));
            } else {
                put.failed += 1;
            }
        }
        self.end_put_if_done(id, now);
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
                Waiting::Get { id, key, reply } => self.start_get(id, key, reply, now),
                Waiting::Put { id } => self.start_search(id, now),
            }
        }
    }

    /// Lookups whose time has come go on, or end; what waited too long for a first node ends.
    pub(super) fn go_on_with_lookups(&mut self, now: Instant) {
        let due: Vec<QueryId> =
            self.queries.running.iter().filter(|(_, running)| running.wake <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.go_on(id, now);
        }
        while self.queries.waiting.front().is_some_and(|(until, _)| *until <= now) {
            match self.queries.waiting.pop_front() {
                Some((_, Waiting::Get { reply, .. })) => {
                    let _ = reply.try_send(GetEvent::Done(GetReport { asked: 0, answered: 0 }));
                }
                Some((_, Waiting::Put { id })) => self.end_search(id, now),
                None => {}
            }
        }
    }
}

fn nodes_of(bucket: kad::KBucketRef<'_, KBucketKey<PeerId>, kad::Addresses>) -> Vec<PeerId> {
    bucket.iter().map(|entry| *entry.node.key.preimage()).collect()
}
