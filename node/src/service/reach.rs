//! Finding people and opening streams to them, in tasks of their own.
//!
//! All ways are tried at once: addresses where the friend was last, nodes on the LAN, and the slots in the DHT. The first
//! that ends in an authenticated stream wins; only the Noise handshake proves who it is, so an address may be dialled
//! that another node has taken over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until, timeout};
use twocan_control::{Code, Error, Event, Lookup};
use twocan_protocol::address::{Address, AddressUri};
use twocan_protocol::friend::Asked;
use twocan_protocol::gate::Key;
use twocan_protocol::handshake::Purpose;
use twocan_protocol::identity::{Certificate, DevicePublic, PeerId, RootPublic};
use twocan_protocol::rendezvous::Body;
use twocan_protocol::wire::{ContactMessage, MAX_HOSTS, Reply, Request, few_hosts};

use super::keep::FRIEND_ADDRESSES;
use super::keep::Whereabouts;
use super::links::Note;
use super::{Service, unix_ms};
use crate::links::{self as streams, Ends, Opened, Target};
use crate::rendezvous::{self, Rendezvous, SearchEvent};
use crate::swarm::{self, ConnectionInfo, Route};

/// How long a whole search may take; the book tries again later.
const SEARCH_PATIENCE: Duration = Duration::from_secs(60);
/// How long one node may take to be dialled.
pub(super) const DIAL_PATIENCE: Duration = Duration::from_secs(8);
/// How long the answer to a request may take once the stream is open.
const REPLY_PATIENCE: Duration = Duration::from_secs(15);
/// While a call waits for the link, known addresses are dialled anew this often: a handshake that began while the network
/// was away would repeat itself much later than that.
const REDIAL_EVERY: Duration = Duration::from_millis(800);
/// Circuits are dialled this much later than addresses: two round trips of most connections.
const DIRECT_FIRST: Duration = Duration::from_millis(250);
/// Rounds of dialling in a search that a call waits for.
const ROUNDS_IN_CALL: u32 = 40;
/// Rounds of dialling beside a link that may be dead.
const ROUNDS_BESIDE: u32 = 4;
/// While what was found in a slot is dialled, the slots are looked at again after this time, then each time after one that is
/// longer by a third: a node that has just started puts its new word within a few round trips.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A person who has a word in a slot and is not where it says may be putting a new one: so long the slots are looked
/// at again, ten times or so, also when the dial has failed.
const INSIST: Duration = Duration::from_secs(3);
/// Words of one person that are dialled at a time: an old one, and newer ones that come meanwhile.
const MAX_FOUND: usize = 3;
/// Nodes on the LAN that are kept in mind; the one seen longest ago goes.
const NEIGHBOURS: usize = 16;

/// A node seen on the LAN.
#[derive(Clone, Debug)]
pub(super) struct Neighbour {
    peer: PeerId,
    addresses: Vec<String>,
}

/// Where somebody was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    via: &'static str,
    query: Option<String>,
    took: Duration,
    /// Where its slot says that it is, if it was a slot.
    body: Option<Box<Body>>,
}

/// Tasks that dial at present.
#[derive(Default)]
pub(super) struct Dials {
    searches: BTreeMap<RootPublic, AbortHandle>,
    redials: BTreeMap<RootPublic, AbortHandle>,
}

impl Dials {
    /// Nothing is wanted from this friend's any more.
    pub(super) fn stop(&mut self, root: &RootPublic) {
        for task in [self.searches.remove(root), self.redials.remove(root)].into_iter().flatten() {
            task.abort();
        }
    }

    /// Ends all searches without a note; returns whose.
    pub(super) fn stop_searches(&mut self) -> Vec<RootPublic> {
        let searches = std::mem::take(&mut self.searches);
        searches
            .into_iter()
            .filter(|(_, task)| !task.is_finished())
            .map(|(root, task)| {
                task.abort();
                root
            })
            .collect()
    }
}

/// What a searching task needs.
pub(super) struct Seeker {
    pub(super) swarm: swarm::Handle,
    /// Our address is hidden from whom we look for: the way leads through relays.
    circuits_only: bool,
    rendezvous: Rendezvous,
    identity: Arc<streams::Identity>,
    pub(super) notes: mpsc::Sender<Note>,
    root: RootPublic,
    gate: Key,
    purpose: Purpose,
    began: Instant,
}

impl Service {
    /// `None` if there is no way at present that does not show our address to somebody from whom it is hidden.
    pub(super) fn seeker(&self, root: RootPublic, gate: Key, purpose: Purpose) -> Option<Seeker> {
        Some(Seeker {
            swarm: self.swarm_for(&root)?.clone(),
            circuits_only: self.book.hides(&root),
            rendezvous: self.rendezvous.clone(),
            identity: Arc::clone(&self.identity),
            notes: self.notes.clone(),
            root,
            gate,
            purpose,
            began: Instant::now(),
        })
    }

    /// Searches for a friend; ends with a note.
    pub(super) fn search(&mut self, root: RootPublic) {
        let friendship = self.friendship(&root);
        let Some(seeker) = self.seeker(root, Key::link(&friendship), Purpose::Link) else {
            let notes = self.notes.clone();
            tokio::spawn(async move { notes.send(Note::NotFound(root)).await });
            return;
        };
        let known = self.whereabouts.get(&root).cloned().unwrap_or_default();
        let neighbours = self.lan.clone();
        let grant = self.book.friend(&root).and_then(|friend| friend.record.grant);
        let target = rendezvous::Target::Friend { root, friendship, grant };
        let in_call = self.calls.iter().any(|snapshot| snapshot.friend == root);
        let rounds = if in_call { ROUNDS_IN_CALL } else { 1 };
        let task = tokio::spawn(async move {
            let device = known.device();
            let mut ways = FuturesUnordered::new();
            if let Some(device) = device {
                ways.push(seeker.by_memory(&known, device, rounds).boxed());
                ways.push(seeker.by_lan(&neighbours, device).boxed());
            }
            ways.push(seeker.by_slots(target).boxed());
            let first = async {
                while let Some(result) = ways.next().await {
                    if result.is_some() {
                        return result;
                    }
                }
                None
            };
            let found = timeout(SEARCH_PATIENCE, first).await.ok().flatten();
            let note = match found {
                Some((opened, info)) => Note::Opened { opened, info },
                None => Note::NotFound(root),
            };
            let _ = seeker.notes.send(note).await;
        });
        if let Some(before) = self.dials.searches.insert(root, task.abort_handle()) {
            before.abort();
        }
    }

    /// Dials a friend anew beside a link that may be dead; ends with a note. Whichever link is up stays.
    pub(super) fn redial(&mut self, root: RootPublic) {
        let friendship = self.friendship(&root);
        let Some(seeker) = self.seeker(root, Key::link(&friendship), Purpose::Link) else { return };
        let known = self.whereabouts.get(&root).cloned().unwrap_or_default();
        let Some(device) = known.device() else { return };
        let task = tokio::spawn(async move {
            let found = timeout(SEARCH_PATIENCE, seeker.by_memory(&known, device, ROUNDS_BESIDE)).await.ok().flatten();
            let _ = seeker.notes.send(Note::Redialled(root, found)).await;
        });
        if let Some(before) = self.dials.redials.insert(root, task.abort_handle()) {
            before.abort();
        }
    }

    /// What came of a redial.
    pub(super) fn redialled(&mut self, root: RootPublic, redialled: Option<(Opened, ConnectionInfo)>) {
        self.dials.redials.remove(&root);
        if let Some((opened, info)) = redialled {
            self.opened(opened, info);
        }
    }

    /// Asks whoever has this address to be a friend; ends with a note.
    pub(super) fn ask(&mut self, address: Address, request: Request) {
        let root = address.root;
        let gate = Key::contact(&root, &address.token);
        let Some(seeker) = self.seeker(root, gate, Purpose::Contact) else {
            let notes = self.notes.clone();
            tokio::spawn(async move { notes.send(Note::Asked(root, Asked::NotReached)).await });
            return;
        };
        tokio::spawn(async move {
            let deliver = async {
                let (opened, _) = seeker.by_slots(rendezvous::Target::Contact(address)).await?;
                exchange(opened, request).await
            };
            let reply = timeout(SEARCH_PATIENCE, deliver).await.ok().flatten();
            let asked = reply.map_or(Asked::NotReached, Asked::Reply);
            let _ = seeker.notes.send(Note::Asked(root, asked)).await;
        });
    }

    /// Somebody was found in a slot, or reached where they were before.
    pub(super) fn found(&mut self, root: RootPublic, found: Found) {
        tracing::info!(
            "found {} by {} after {:.1} ms{}",
            root.short(),
            found.via,
            found.took.as_secs_f64() * 1000.0,
            found.query.as_deref().map(|query| format!(" (query {query})")).unwrap_or_default()
        );
        if let Some(body) = found.body {
            self.remember_whereabouts(root, &body.certificate, &[]);
            if let Some(known) = self.whereabouts.get_mut(&root) {
                known.peer = body.peer_id.as_bytes().to_vec();
                known.told = few_hosts(body.lan.iter().chain(&body.direct).map(String::as_str), MAX_HOSTS);
                known.relayed = few_hosts(body.relayed.iter().map(String::as_str), MAX_HOSTS);
                self.keep_whereabouts(&root);
            }
        }
        self.emitter.emit(Event::Found {
            id: root.to_string(),
            via: found.via.to_owned(),
            query: found.query,
            took_ms: found.took.as_secs_f64() * 1000.0,
        });
    }

    /// Remembers where a friend was reached.
    pub(super) fn remember_link(&mut self, root: RootPublic, certificate: &Certificate, info: &ConnectionInfo) {
        if info.route != Route::Relayed {
            return self.remember_whereabouts(root, certificate, std::slice::from_ref(&info.remote));
        }
        self.remember_whereabouts(root, certificate, &[]);
        let Some(known) = self.whereabouts.get_mut(&root).filter(|_| info.outbound) else { return };
        known.peer = info.peer.as_bytes().to_vec();
        known.relayed.retain(|address| *address != info.remote);
        known.relayed.insert(0, info.remote.clone());
        known.relayed.truncate(FRIEND_ADDRESSES);
        self.keep_whereabouts(&root);
    }

    /// Writes down where a friend is.
    pub(super) fn keep_whereabouts(&self, root: &RootPublic) {
        if let (Some(_), Some(known)) = (self.book.friend(root), self.whereabouts.get(root)) {
            self.records.whereabouts(root, known);
        }
    }

    /// Remembers where somebody is, the latest address first. On disk only for friends.
    pub(super) fn remember_whereabouts(&mut self, root: RootPublic, certificate: &Certificate, addresses: &[String]) {
        let friend = self.book.friend(&root).is_some();
        if !friend && !self.book.requests().any(|request| request.root == root) {
            return;
        }
        let known = self.whereabouts.entry(root).or_default();
        let before = known.clone();
        known.certificate = certificate.encode().to_vec();
        known.addresses.retain(|address| !addresses.contains(address));
        known.addresses.splice(0..0, addresses.iter().cloned());
        known.addresses.truncate(FRIEND_ADDRESSES);
        if friend && *known != before {
            self.records.whereabouts(&root, known);
        }
    }

    /// A node was seen on the LAN: a friend may be there.
    pub(super) fn neighbour(&mut self, peer: PeerId, addresses: Vec<String>) {
        self.lan.retain(|neighbour| neighbour.peer != peer);
        if self.lan.len() >= NEIGHBOURS {
            self.lan.remove(0);
        }
        self.lan.push(Neighbour { peer, addresses });
        self.book_input(twocan_protocol::friend::Input::NetworkChanged);
    }

    /// A search without any cache, for `doctor` and `demo`. The answer comes on a task of its own.
    pub(super) fn lookup(&mut self, whom: &str) -> twocan_control::Result<LookupTask> {
        let (root, target) = if let Ok(uri) = whom.parse::<AddressUri>() {
            (uri.address.root, rendezvous::Target::Contact(uri.address))
        } else {
            let root = self.resolve(whom)?;
            let grant = self.book.friend(&root).and_then(|friend| friend.record.grant);
            (root, rendezvous::Target::Friend { root, friendship: self.friendship(&root), grant })
        };
        let Some(swarm) = self.swarm_for(&root).cloned() else {
            return Err(Error::new(Code::Unreachable, "there is no way to look that does not show your address"));
        };
        let hidden = self.book.hides(&root).then_some(swarm);
        Ok(LookupTask { rendezvous: self.rendezvous.clone(), hidden, target })
    }
}

/// A lookup that is ready to run.
pub(super) struct LookupTask {
    rendezvous: Rendezvous,
    /// Who looks, if it is for somebody from whom we hide.
    hidden: Option<swarm::Handle>,
    target: rendezvous::Target,
}

impl LookupTask {
    pub(super) async fn run(self) -> twocan_control::Result<Lookup> {
        let search = match self.hidden {
            Some(swarm) => self.rendezvous.find_by(swarm, self.target),
            None => self.rendezvous.find(self.target),
        };
        let report = search.report().await;
        let (Some((slot, query)), Some(first)) = (report.answer, report.first) else {
            return Err(Error::new(
                Code::Unreachable,
                "nothing was found in the DHT: unknown, not necessarily offline",
            ));
        };
        Ok(Lookup {
            slot: slot.to_owned(),
            query: query.to_string(),
            first_ms: first.as_secs_f64() * 1000.0,
            copies: report.copies,
            bad_copies: report.bad_copies,
        })
    }
}

impl Seeker {
    /// Dials where the friend was before, and where it said that it is, so many times; each time without waiting for
    /// the time before.
    async fn by_memory(
        &self,
        known: &Whereabouts,
        device: DevicePublic,
        rounds: u32,
    ) -> Option<(Opened, ConnectionInfo)> {
        let addresses = self.allowed(known.to_dial());
        let circuits =
            known.peer().map(|peer| (known.relayed.clone(), peer)).filter(|(relayed, _)| !relayed.is_empty());
        if addresses.is_empty() && circuits.is_none() {
            return None;
        }
        let mut left = rounds;
        let mut ticks = tokio::time::interval(REDIAL_EVERY);
        let mut tries = FuturesUnordered::new();
        loop {
            tokio::select! {
                result = tries.next(), if !tries.is_empty() => match result {
                    Some(Some(found)) => return Some(found),
                    _ if left == 0 && tries.is_empty() => return None,
                    _ => {}
                },
                _ = ticks.tick(), if left > 0 => {
                    left -= 1;
                    if !addresses.is_empty() {
                        tries.push(self.dial_round(addresses.clone(), None, device).boxed());
                    }
                    if let Some((relayed, peer)) = circuits.clone() {
                        // With a call at stake, a circuit at once is better than a direct way later.
                        let patient = rounds == 1 && !addresses.is_empty();
                        let first = if patient { DIRECT_FIRST } else { Duration::ZERO };
                        tries.push(
                            async move {
                                sleep(first).await;
                                self.dial_round(relayed, Some(peer), device).await
                            }
                            .boxed(),
                        );
                    }
                }
            }
        }
    }

    /// Dials each address once. Circuits lead to a certain node, which must be known.
    async fn dial_round(
        &self,
        addresses: Vec<String>,
        peer: Option<PeerId>,
        device: DevicePublic,
    ) -> Option<(Opened, ConnectionInfo)> {
        let mut dials = self.swarm.dial_each(addresses, peer).await.ok()?;
        while let Some(result) = dials.recv().await {
            if let Ok(info) = result
                && let Some(opened) = self.open(&info, device).await
            {
                self.tell("memory", None, None).await;
                return Some((opened, info));
            }
        }
        None
    }

    /// Those of the addresses that may be dialled without showing ours to whom it is hidden from.
    fn allowed(&self, mut addresses: Vec<String>) -> Vec<String> {
        if self.circuits_only {
            addresses.retain(|address| address.contains("/p2p-circuit"));
        }
        addresses
    }

    /// Tries the nodes on the LAN.
    async fn by_lan(&self, neighbours: &[Neighbour], device: DevicePublic) -> Option<(Opened, ConnectionInfo)> {
        if self.circuits_only {
            return None;
        }
        let mut tries: FuturesUnordered<_> = neighbours
            .iter()
            .map(|neighbour| async {
                let peer = Some(neighbour.peer.clone());
                let info = self.swarm.dial(neighbour.addresses.clone(), peer, DIAL_PATIENCE).await.ok()?;
                Some((self.open(&info, device).await?, info))
            })
            .collect();
        while let Some(result) = tries.next().await {
            if result.is_some() {
                self.tell("lan", None, None).await;
                return result;
            }
        }
        None
    }

    /// Begins to look into slots. Those of somebody from whom we hide only relays look into for us: he could have nodes of
    /// his own near them, and see who comes.
    fn find(&self, target: rendezvous::Target) -> rendezvous::Search {
        if self.circuits_only {
            self.rendezvous.find_by(self.swarm.clone(), target)
        } else {
            self.rendezvous.find(target)
        }
    }

    /// Looks into the slots, and dials what is found there. While that dials, and for a while after it failed, it looks
    /// again: what was found may be the word of a node that has been restarted since, and has not put its new one yet.
    async fn by_slots(&self, target: rendezvous::Target) -> Option<(Opened, ConnectionInfo)> {
        let mut search = Some(self.find(target.clone()));
        let mut dials = FuturesUnordered::new();
        let mut newest = None;
        let began = Instant::now();
        let (mut pause, mut again) = (LOOK_AGAIN, None);
        loop {
            tokio::select! {
                event = next_of(&mut search) => match event {
                    Some(SearchEvent::Found(found)) => {
                        let valid = found.body.certificate.verify(unix_ms() / 1000).is_ok();
                        if valid && newest.is_none_or(|newest| found.sequence > newest) && dials.len() < MAX_FOUND {
                            newest = Some(found.sequence);
                            // Who puts new words puts more: its relays come a moment after its own addresses.
                            pause = LOOK_AGAIN;
                            let query = Some(found.query.to_string());
                            self.tell(found.via, query, Some(Box::new(found.body.clone()))).await;
                            dials.push(self.dial_found(found.body));
                        }
                        // Not before a search has found what there is: so none is begun faster than they go.
                        again.get_or_insert_with(|| Instant::now() + pause);
                    }
                    Some(SearchEvent::Done(_)) | None => {
                        search = None;
                        if dials.is_empty() && (newest.is_none() || began.elapsed() > INSIST) {
                            return None;
                        }
                        again.get_or_insert_with(|| Instant::now() + pause);
                    }
                },
                Some(reached) = dials.next(), if !dials.is_empty() => {
                    if reached.is_some() {
                        return reached;
                    }
                    if search.is_none() && dials.is_empty() && began.elapsed() > INSIST {
                        return None;
                    }
                }
                () = at(again) => {
                    // A search that has found something goes on by itself to mend stale copies.
                    search = Some(self.find(target.clone()));
                    (pause, again) = (pause * 4 / 3, None);
                }
            }
        }
    }

    /// Dials where a slot says that somebody is.
    async fn dial_found(&self, body: Body) -> Option<(Opened, ConnectionInfo)> {
        match self.swarm.dial(self.allowed(addresses_of(&body)), Some(body.peer_id.clone()), DIAL_PATIENCE).await {
            Ok(info) => Some((self.open(&info, body.certificate.device).await?, info)),
            Err(error) => {
                tracing::debug!("{} was found but not reached: {error}", self.root.short());
                None
            }
        }
    }

    pub(super) async fn open(&self, info: &ConnectionInfo, device: DevicePublic) -> Option<Opened> {
        let stream = self.swarm.open(info.connection).await.ok()?;
        let ends = Ends::of(self.swarm.peer_id().clone(), info);
        let target = Target { purpose: self.purpose, root: self.root, device, gate: self.gate.clone() };
        match streams::open(stream, &ends, &target, &self.identity).await {
            Ok(opened) => Some(opened),
            Err(error) => {
                tracing::debug!("no stream to {}: {error}", self.root.short());
                None
            }
        }
    }

    async fn tell(&self, via: &'static str, query: Option<String>, body: Option<Box<Body>>) {
        let found = Found { via, query, took: self.began.elapsed(), body };
        let _ = self.notes.send(Note::Found { root: self.root, found }).await;
    }
}

/// The next event of a search, if there is one.
async fn next_of(search: &mut Option<rendezvous::Search>) -> Option<SearchEvent> {
    match search {
        Some(search) => search.next().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// All addresses of a slot's body, nearest first.
fn addresses_of(body: &Body) -> Vec<String> {
    body.lan.iter().chain(&body.direct).chain(&body.relayed).cloned().collect()
}

/// One request, one reply.
async fn exchange(mut opened: Opened, request: Request) -> Option<Reply> {
    let frame = ContactMessage::Request(request).encode().ok()?;
    opened.tx.send(frame).await.ok()?;
    let answer = timeout(REPLY_PATIENCE, opened.rx.recv()).await.ok()??;
    match ContactMessage::decode(&answer) {
        Ok(ContactMessage::Reply(reply)) => Some(reply),
        _ => None,
    }
}
