//! The task behind a [`super::Client`]: starts the swarm when something is asked, runs the queries, and ends the swarm
//! when nothing has been asked for a while.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, identity,
    kad::{self, GetClosestPeersError, GetProvidersOk, GetRecordOk, QueryResult, Quorum, Record, RecordKey},
    swarm::{self, SwarmEvent},
};
use tokio::sync::{mpsc, oneshot, watch};
use twocan_protocol::rendezvous::{FIRST_KEY_LEN, IPNS_RECORD_MAX, IpnsName};

use super::{
    super::{
        limits::{Bucket, Rate},
        scope::{Scope, is_dialable, scope_of, without_peer},
        transport,
    },
    Answer, PublicDhtView, PublicError, Start, State,
    behaviour::{Behaviour, BehaviourEvent},
};

/// The swarm lives this long without a question: a put is followed by a look, a search by the next one.
const LINGER: Duration = Duration::from_secs(60);
/// Connections without a request are closed after this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// After [`Command::Rest`], what was sent last still has to leave: announcements have no answer.
const FLUSH: Duration = Duration::from_secs(2);
/// Nodes that answered are where the next swarm starts, besides the configured ones.
const MAX_REMEMBERED: usize = 16;
/// Puts and announcements: twenty at once, then one a minute and a half; each costs a search and twenty messages.
const WRITES: Rate = Rate { burst: 20.0, per_second: 40.0 / 3600.0 };
/// Lookups: forty at once, then two a minute.
const READS: Rate = Rate { burst: 40.0, per_second: 120.0 / 3600.0 };
/// Servers that are to hold a record (Kademlia's k).
const HOLDERS: usize = 20;
/// Providers passed on by one lookup: who wants more asks again. Bounds what a flood of junk can cost.
const MAX_PROVIDERS: usize = 64;

/// What clients ask.
#[derive(Debug)]
pub(super) enum Command {
    Put { name: IpnsName, record: Vec<u8>, reply: oneshot::Sender<Answer> },
    Get { name: IpnsName, reply: mpsc::Sender<Vec<u8>> },
    Provide { key: [u8; FIRST_KEY_LEN], addresses: Vec<String>, reply: oneshot::Sender<Answer> },
    Providers { key: [u8; FIRST_KEY_LEN], reply: mpsc::Sender<Vec<String>> },
    Rest,
}

enum Operation {
    Search { record: Record, reply: oneshot::Sender<Answer> },
    Store { reply: oneshot::Sender<Answer> },
    Get { reply: mpsc::Sender<Vec<u8>> },
    Provide { reply: oneshot::Sender<Answer> },
    Providers { reply: mpsc::Sender<Vec<String>>, told: Vec<PeerId> },
}

struct Running {
    swarm: Swarm<Behaviour>,
    operations: HashMap<kad::QueryId, Operation>,
    end_at: Option<Instant>,
}

pub(super) struct Actor {
    start: Vec<Start>,
    remembered: Vec<Start>,
    scope: Scope,
    announces: bool,
    inbox: mpsc::Receiver<Command>,
    view: watch::Sender<PublicDhtView>,
    writes: Bucket,
    reads: Bucket,
    running: Option<Box<Running>>,
}

impl Actor {
    pub(super) fn new(
        start: Vec<Start>,
        announces: bool,
        inbox: mpsc::Receiver<Command>,
        view: watch::Sender<PublicDhtView>,
    ) -> Self {
        let now = Instant::now();
        let scope = start.iter().filter_map(|start| scope_of(&start.address)).min().unwrap_or(Scope::Public);
        Self {
            start,
            remembered: Vec::new(),
            scope,
            announces,
            inbox,
            view,
            writes: Bucket::full(WRITES, now),
            reads: Bucket::full(READS, now),
            running: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let end_at = self.running.as_ref().and_then(|running| running.end_at);
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    None => return,
                    Some(command) => self.on_command(command, Instant::now()),
                },
                event = next_event(&mut self.running) => self.on_event(event, Instant::now()),
                () = sleep_until(end_at) => self.rest(),
            }
        }
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        self.end_what_nobody_reads();
        match command {
            Command::Rest => {
                if let Some(running) = &mut self.running
                    && running.operations.is_empty()
                {
                    running.end_at = Some(now + FLUSH);
                }
            }
            Command::Put { reply, .. } | Command::Provide { reply, .. } if !self.writes.take(WRITES, now) => {
                self.fail(PublicError::TooMuch);
                let _ = reply.send(Err(PublicError::TooMuch));
            }
            // Dropping the sender ends the lookup.
            Command::Get { .. } | Command::Providers { .. } if !self.reads.take(READS, now) => {
                self.fail(PublicError::TooMuch);
            }
            Command::Put { name, record, reply } => {
                let Some(running) = self.running(now) else { return };
                let record = Record::new(RecordKey::new(name.as_bytes()), record);
                let query = running.kad().get_closest_peers(name.as_bytes().to_vec());
                running.operations.insert(query, Operation::Search { record, reply });
            }
            Command::Get { name, reply } => {
                let Some(running) = self.running(now) else { return };
                let query = running.kad().get_record(RecordKey::new(name.as_bytes()));
                running.operations.insert(query, Operation::Get { reply });
            }
            Command::Provide { key, addresses, reply } => {
                let Some(running) = self.running(now) else { return };
                let addresses = addresses.iter().filter_map(|text| text.parse().ok()).filter(is_dialable).collect();
                running.swarm.behaviour_mut().announce(addresses);
                match running.kad().start_providing(RecordKey::new(&key)) {
                    Ok(query) => {
                        running.operations.insert(query, Operation::Provide { reply });
                    }
                    Err(error) => tracing::error!(%error, "an announcement could not be made"),
                }
            }
            Command::Providers { key, reply } => {
                let Some(running) = self.running(now) else { return };
                let query = running.kad().get_providers(RecordKey::new(&key));
                running.operations.insert(query, Operation::Providers { reply, told: Vec::new() });
            }
        }
    }

    /// A lookup whose reader is gone is noticed when it finds something; here at once.
    fn end_what_nobody_reads(&mut self) {
        let Some(running) = self.running.as_deref_mut() else { return };
        let unread = |operation: &Operation| match operation {
            Operation::Get { reply } => reply.is_closed(),
            Operation::Providers { reply, .. } => reply.is_closed(),
            _ => false,
        };
        let ended: Vec<kad::QueryId> =
            running.operations.iter().filter(|(_, operation)| unread(operation)).map(|(query, _)| *query).collect();
        for query in ended {
            running.operations.remove(&query);
            if let Some(mut query) = running.kad().query_mut(&query) {
                query.finish();
            }
        }
    }

    /// The swarm; made if there is none.
    fn running(&mut self, now: Instant) -> Option<&mut Running> {
        if self.running.is_none() {
            let key = identity::Keypair::generate_ed25519();
            let me = PeerId::from(key.public());
            let transport = transport::direct(&key, None)
                .inspect_err(|error| tracing::error!(%error, "no transport for the public DHT"))
                .ok()?;
            let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE_TIMEOUT);
            let start: Vec<Start> = self.start.iter().chain(&self.remembered).cloned().collect();
            let swarm = Swarm::new(transport, Behaviour::new(&key, self.scope, &start, self.announces), me, config);
            tracing::debug!("the client of the public DHT starts");
            self.running = Some(Box::new(Running { swarm, operations: HashMap::new(), end_at: None }));
            self.view.send_modify(|view| view.state = State::Reaching);
        }
        let running = self.running.as_deref_mut()?;
        running.end_at = Some(now + LINGER);
        Some(running)
    }

    fn rest(&mut self) {
        let Some(running) = &mut self.running else { return };
        if !running.operations.is_empty() {
            running.end_at = None;
            return;
        }
        tracing::debug!("the client of the public DHT rests");
        self.running = None;
        self.view.send_modify(|view| {
            view.state = State::Resting;
            view.peers = 0;
        });
    }

    fn fail(&self, error: PublicError) {
        self.view.send_if_modified(|view| {
            let text = Some(error.to_string());
            std::mem::replace(&mut view.last_error, text.clone()) != text
        });
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>, now: Instant) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Dht(event)) => match event {
                kad::Event::OutboundQueryProgressed { id, result, stats, step } => {
                    self.on_progress(id, result, stats.num_successes(), step.last, now);
                }
                kad::Event::RoutingUpdated { peer, addresses, is_new_peer: true, .. } => {
                    self.remember(peer, addresses.first());
                }
                _ => {}
            },
            SwarmEvent::ConnectionEstablished { .. } | SwarmEvent::ConnectionClosed { .. } => {
                let peers = self.running.as_ref().map_or(0, |running| running.swarm.network_info().num_peers());
                self.view.send_if_modified(|view| {
                    let was = std::mem::replace(&mut view.peers, peers);
                    let state = if peers > 0 { State::Connected } else { view.state };
                    std::mem::replace(&mut view.state, state) != state || was != peers
                });
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                tracing::debug!(?peer_id, %error, "a server of the public DHT was not reached");
            }
            _ => {}
        }
    }

    /// A server that answered is a good place to start from next time. The configured ones are there anyway.
    fn remember(&mut self, peer: PeerId, address: &Multiaddr) {
        let known = |start: &Start| start.peer == peer;
        if self.start.iter().chain(&self.remembered).any(known) {
            return;
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.remove(0);
        }
        self.remembered.push(Start { peer, address: without_peer(address.clone()) });
    }

    fn on_progress(&mut self, query: kad::QueryId, result: QueryResult, answers: u32, last: bool, now: Instant) {
        let Some(running) = self.running.as_deref_mut() else { return };
        let Some(operation) = running.operations.remove(&query) else { return };
        let reached = if answers > 0 { Ok(answers) } else { Err(PublicError::Unreachable) };
        let ended = match (operation, result) {
            (Operation::Search { mut record, reply }, QueryResult::GetClosestPeers(result)) if last => {
                let (Ok(kad::GetClosestPeersOk { mut peers, .. })
                | Err(GetClosestPeersError::Timeout { mut peers, .. })) = result;
                peers.truncate(HOLDERS);
                record.publisher = None;
                let peers: Vec<PeerId> = peers.into_iter().map(|peer| peer.peer_id).collect();
                if reached.is_err() || peers.is_empty() {
                    let _ = reply.send(Err(PublicError::Unreachable));
                    Some(Err(PublicError::Unreachable))
                } else {
                    let store = running.kad().put_record_to(record, peers.into_iter(), Quorum::One);
                    running.operations.insert(store, Operation::Store { reply });
                    None
                }
            }
            (Operation::Store { reply }, QueryResult::PutRecord(_)) if last => {
                let answer = if answers > 0 { Ok(answers) } else { Err(PublicError::Refused) };
                let _ = reply.send(answer);
                Some(answer)
            }
            (Operation::Provide { reply }, QueryResult::StartProviding(_)) if last => {
                let _ = reply.send(reached);
                Some(reached)
            }
            (Operation::Get { reply }, QueryResult::GetRecord(result)) => {
                if let Ok(GetRecordOk::FoundRecord(found)) = result
                    && found.record.value.len() <= IPNS_RECORD_MAX
                {
                    // A reader that is slow misses copies, of which there are twenty.
                    let _ = reply.try_send(found.record.value);
                }
                running.go_on(query, last, reply.is_closed(), Operation::Get { reply }, reached)
            }
            (Operation::Providers { reply, mut told }, QueryResult::GetProviders(result)) => {
                if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result {
                    for peer in providers {
                        if told.len() >= MAX_PROVIDERS || told.contains(&peer) {
                            continue;
                        }
                        let addresses = running.swarm.behaviour_mut().dht.addresses_of(peer);
                        if !addresses.is_empty() {
                            told.push(peer);
                            let _ = reply.try_send(addresses.iter().map(ToString::to_string).collect());
                        }
                    }
                }
                let enough = reply.is_closed() || told.len() >= MAX_PROVIDERS;
                running.go_on(query, last, enough, Operation::Providers { reply, told }, reached)
            }
            (operation, _) => {
                running.operations.insert(query, operation);
                None
            }
        };
        if running.operations.is_empty() {
            running.end_at = Some(now + LINGER);
        }
        match ended {
            Some(Err(error)) => self.fail(error),
            Some(Ok(_)) => {
                self.view.send_if_modified(|view| view.last_error.take().is_some());
            }
            None => {}
        }
    }
}

impl Running {
    fn kad(&mut self) -> &mut super::super::dht::Kademlia {
        self.swarm.behaviour_mut().dht.kad()
    }

    /// Keeps a lookup that may find more, or ends it; says how it ended.
    fn go_on(
        &mut self,
        query: kad::QueryId,
        last: bool,
        enough: bool,
        operation: Operation,
        reached: Answer,
    ) -> Option<Answer> {
        if last {
            return Some(reached);
        }
        if enough {
            if let Some(mut query) = self.kad().query_mut(&query) {
                query.finish();
            }
            return Some(reached);
        }
        self.operations.insert(query, operation);
        None
    }
}

async fn next_event(running: &mut Option<Box<Running>>) -> SwarmEvent<BehaviourEvent> {
    match running {
        Some(running) => running.swarm.select_next_some().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
