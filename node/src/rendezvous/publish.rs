//! The task that publishes.
//!
//! It owns the [`Plan`]; jobs run as tasks of their own, a few at a time, and report back. That a node answers a put
//! does not prove that it stored the record, so each is read back, starting at the first answer.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use twocan_protocol::{
    identity::{Certificate, PeerId},
    rendezvous::{Publisher, verify_record},
};

use super::{
    Event, Hidden,
    author::{Author, Change},
    plan::{Job, Outcome, PlaceId, Plan, Slot, SlotId, Status},
    unix_ms,
};
use crate::swarm::{Copy, DhtView, GetEvent, Handle, PutEvent, QueryId};

/// Jobs at a time: all places of a node at its start, so that none waits for the dead nodes that another meets.
const AT_ONCE: usize = 16;
/// Epochs turn by the wall clock, which may jump: it is looked at this often.
const LOOK: Duration = Duration::from_secs(60);
/// Attempts to read a record back after a put, and the pause between them.
const READ_BACK: (usize, Duration) = (3, Duration::from_millis(700));
/// Nodes that joined a small network get our records after this time, all that joined together.
const NEWCOMER_DELAY: Duration = Duration::from_secs(2);
/// Nodes served in that way in an hour: in a network that grows, the next put finds the right holders anyway.
const NEWCOMERS_PER_HOUR: usize = 20;
/// A put that gets no first answer within this time is reported as failed; it runs on.
const PUT_DEADLINE: Duration = Duration::from_secs(15);

/// What publishing tasks are told.
#[derive(Clone)]
pub(super) enum Command {
    Slots(Vec<Slot>),
    Device(Certificate, Vec<String>),
    /// The network is another one, or the machine slept for this long.
    Hasten(Duration),
    Hidden(Option<Hidden>),
}

/// State of the publishing task.
pub(super) struct Publishing {
    swarm: Handle,
    inbox: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    status: watch::Sender<Status>,
    plan: Plan,
    author: Author,
    version: u64,
    queue: VecDeque<(PlaceId, Job)>,
    jobs: JoinSet<(PlaceId, Outcome)>,
    served: HashSet<PeerId>,
    newcomers_at: Option<Instant>,
    newcomers_left: usize,
    newcomers_refill: Instant,
}

impl Publishing {
    pub(super) fn new(
        swarm: Handle,
        inbox: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            author: Author::new(swarm.clone()),
            swarm,
            inbox,
            events,
            status,
            plan: Plan::default(),
            version: 0,
            queue: VecDeque::new(),
            jobs: JoinSet::new(),
            served: HashSet::new(),
            newcomers_at: None,
            newcomers_left: NEWCOMERS_PER_HOUR,
            newcomers_refill: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut addresses = self.swarm.addresses();
        let mut dht = self.swarm.dht();
        self.author.set_addresses(addresses.borrow_and_update().clone());
        let mut was_alone = dht.borrow_and_update().peers == 0;
        loop {
            let now = Instant::now();
            self.start_due(now);
            let wake = now + LOOK;
            let wake =
                [self.plan.next_due(), self.newcomers_at].into_iter().flatten().fold(wake, Instant::min).max(now);
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    None => return,
                    Some(command) => self.on_command(command, Instant::now()),
                },
                Some(done) = self.jobs.join_next() => {
                    if let Ok((place, outcome)) = done {
                        self.plan.finished(&place, outcome, Instant::now());
                    }
                }
                changed = addresses.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.author.set_addresses(addresses.borrow_and_update().clone());
                    self.bump(Instant::now());
                }
                changed = dht.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let view = dht.borrow_and_update().clone();
                    let alone = view.peers == 0;
                    if was_alone && !alone {
                        self.plan.hasten(Instant::now());
                    }
                    was_alone = alone;
                    self.on_dht(&view, Instant::now());
                }
                () = tokio::time::sleep_until(wake.into()) => self.on_time(Instant::now()),
            }
            self.report();
        }
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Slots(slots) => {
                let turns = self.plan.turns(&slots);
                self.plan.set_slots(slots, now, unix_ms(), &mut rand::rng());
                if turns {
                    self.bump_at_once(now);
                }
            }
            Command::Hidden(hidden) => {
                self.set_hidden(hidden, now);
            }
            Command::Hasten(slept) => {
                self.plan.slept(slept);
                self.plan.turn(now, unix_ms(), &mut rand::rng());
                self.plan.hasten(now);
            }
            Command::Device(certificate, relayed) => self.set_device(certificate, relayed, now),
        }
    }

    fn set_device(&mut self, certificate: Certificate, relayed: Vec<String>, now: Instant) {
        let change = self.author.set_device(certificate, relayed);
        if change == Change::None {
            return;
        }
        self.version += 1;
        if change == Change::Urgent {
            self.plan.set_urgent_version(self.version, now);
        } else {
            self.plan.set_version(self.version, now);
        }
    }

    fn set_hidden(&mut self, hidden: Option<Hidden>, now: Instant) {
        match self.author.set_hidden(hidden) {
            Change::None => {}
            Change::New => self.bump(now),
            Change::Urgent => self.bump_at_once(now),
        }
    }

    fn bump_at_once(&mut self, now: Instant) {
        self.version += 1;
        self.plan.set_urgent_version(self.version, now);
    }

    fn bump(&mut self, now: Instant) {
        self.version += 1;
        self.plan.set_version(self.version, now);
    }

    fn on_time(&mut self, now: Instant) {
        self.plan.turn(now, unix_ms(), &mut rand::rng());
        if self.newcomers_at.is_some_and(|at| at <= now) {
            self.newcomers_at = None;
            self.serve_newcomers(now);
        }
    }

    fn is_ready(&self) -> bool {
        self.author.is_ready()
    }

    fn start_due(&mut self, now: Instant) {
        if !self.is_ready() {
            return;
        }
        self.queue.extend(self.plan.due(now));
        while self.jobs.len() < AT_ONCE
            && let Some((place, job)) = self.queue.pop_front()
        {
            self.start(place, job, now);
        }
    }

    fn start(&mut self, place: PlaceId, job: Job, now: Instant) {
        let Some((slot, made)) = self.record(&place) else {
            self.plan.finished(&place, Outcome::Failed { seen: 0 }, now);
            return;
        };
        let Made { swarm, sequence, value } = made;
        let work = Work { swarm, events: self.events.clone(), place, key: slot };
        match job {
            Job::Put => {
                // Whoever is in the table now is asked by the put itself.
                self.served.extend(self.swarm.dht().borrow().all.iter().cloned());
                let version = self.version;
                self.jobs.spawn(async move { (place, work.put(sequence, value, version).await) });
            }
            Job::Check => {
                self.jobs.spawn(async move { (place, work.check().await) });
            }
        }
    }

    /// The key of a place and a fresh record for it.
    fn record(&self, place: &PlaceId) -> Option<([u8; 32], Made)> {
        let slot = self.plan.slot(place)?;
        let swarm = self.author.swarm_for(slot)?;
        let publisher: Publisher = slot.publisher(place.1);
        let body = self.author.body(slot, self.plan.ends_ms(place)?)?;
        let sequence = self.plan.next_sequence(place, unix_ms());
        let value = publisher
            .record(sequence, &body, &mut rand::rng())
            .inspect_err(|error| tracing::error!(%error, "a record could not be made"))
            .ok()?;
        Some((*publisher.key.as_bytes(), Made { swarm, sequence, value }))
    }

    fn on_dht(&mut self, view: &DhtView, now: Instant) {
        if view.all.iter().any(|peer| !self.served.contains(peer)) && !self.plan.published().is_empty() {
            self.newcomers_at.get_or_insert(now + NEWCOMER_DELAY);
        }
        // Whoever left may come back without our records.
        if !view.all.is_empty() {
            self.served.retain(|peer| view.all.contains(peer));
        }
    }

    /// In a network of at most twenty nodes each of them is among the closest to every key.
    fn serve_newcomers(&mut self, now: Instant) {
        if now.saturating_duration_since(self.newcomers_refill) >= Duration::from_secs(3600) {
            self.newcomers_refill = now;
            self.newcomers_left = NEWCOMERS_PER_HOUR;
        }
        let all = self.swarm.dht().borrow().all.clone();
        let mut new: Vec<PeerId> = all.into_iter().filter(|peer| !self.served.contains(peer)).collect();
        new.truncate(self.newcomers_left);
        self.newcomers_left -= new.len();
        if new.is_empty() || !self.is_ready() {
            return;
        }
        self.served.extend(new.iter().cloned());
        let records: Vec<([u8; 32], Made)> =
            self.plan.published().iter().filter_map(|place| self.record(place)).collect();
        tracing::debug!(nodes = new.len(), records = records.len(), "giving our records to nodes that joined");
        let swarm = self.swarm.clone();
        tokio::spawn(async move {
            for (key, made) in records {
                let put = if made.swarm.peer_id() == swarm.peer_id() {
                    swarm.put_to(key, made.value, new.clone()).await
                } else {
                    // A hidden swarm puts to whoever is nearest now, and sends nothing to anybody itself.
                    made.swarm.put(key, made.value).await
                };
                let Ok((_, mut events)) = put else { return };
                while let Some(PutEvent::Stored(_)) = events.recv().await {}
            }
        });
    }

    fn report(&self) {
        let new = self.plan.status();
        self.status.send_if_modified(|status| std::mem::replace(status, new) != new);
    }
}

struct Made {
    /// By which it is put.
    swarm: Handle,
    sequence: u64,
    value: Vec<u8>,
}

/// One job at one place.
struct Work {
    swarm: Handle,
    events: mpsc::Sender<Event>,
    place: PlaceId,
    key: [u8; 32],
}

/// What reading back found.
struct ReadBack {
    query: QueryId,
    highest: u64,
    stale: Vec<PeerId>,
}

impl Work {
    fn slot(&self) -> SlotId {
        self.place.0
    }

    async fn put(self, sequence: u64, value: Vec<u8>, version: u64) -> Outcome {
        let started = Instant::now();
        let Ok((query, mut progress)) = self.swarm.put(self.key, value.clone()).await else {
            return Outcome::Failed { seen: 0 };
        };
        let first = tokio::time::timeout(PUT_DEADLINE, progress.recv()).await;
        let Ok(Some(PutEvent::Stored(holders))) = first else {
            tracing::info!(%query, slot = self.slot().kind(), epoch = self.place.1, "put: no node took it");
            return Outcome::Failed { seen: 0 };
        };
        let first_ms = started.elapsed().as_millis();
        let event = Event::Published { slot: self.slot(), epoch: self.place.1, query, holders };
        let _ = self.events.try_send(event);
        let (read, holders) = tokio::join!(self.read_back(sequence), rest(&mut progress, holders));
        let confirmed = read.as_ref().is_some_and(|read| read.highest == sequence);
        tracing::info!(
            %query,
            slot = self.slot().kind(),
            epoch = self.place.1,
            first_ms,
            ms = started.elapsed().as_millis(),
            holders,
            confirmed,
            "put"
        );
        match read {
            Some(read) if read.highest > sequence => Outcome::Failed { seen: read.highest },
            read => {
                let stale = read.map(|read| read.stale).unwrap_or_default();
                if confirmed && !stale.is_empty() {
                    let _ = self.swarm.put_to(self.key, value, stale).await;
                }
                Outcome::Put { sequence, version, holders, confirmed }
            }
        }
    }

    /// Reads until another node gives `sequence` or a higher one.
    async fn read_back(&self, sequence: u64) -> Option<ReadBack> {
        let mut last = None;
        for attempt in 0..READ_BACK.0 {
            if attempt > 0 {
                tokio::time::sleep(READ_BACK.1).await;
            }
            let read = self.read(sequence).await?;
            if read.highest >= sequence {
                if read.highest == sequence {
                    let event = Event::Confirmed { slot: self.slot(), epoch: self.place.1, query: read.query };
                    let _ = self.events.try_send(event);
                }
                return Some(read);
            }
            last = Some(read);
        }
        last
    }

    async fn read(&self, enough: u64) -> Option<ReadBack> {
        let mut get = self.swarm.get(self.key).await.ok()?;
        let mut read = ReadBack { query: get.id(), highest: 0, stale: Vec::new() };
        while let Some(GetEvent::Copy(copy)) = get.next().await {
            let Copy { value, from: Some(from), .. } = copy else { continue };
            let Ok(found) = verify_record(&self.key, &value) else { continue };
            if found < enough {
                read.stale.push(from);
            }
            read.highest = read.highest.max(found);
            if read.highest >= enough {
                break;
            }
        }
        Some(read)
    }

    async fn check(self) -> Outcome {
        match self.read(1).await {
            Some(read) if read.highest > 0 => Outcome::Present,
            _ => Outcome::Missing,
        }
    }
}

/// Waits for the end of a put, and returns how many nodes took it.
async fn rest(progress: &mut mpsc::Receiver<PutEvent>, mut holders: u32) -> u32 {
    let end = async {
        while let Some(event) = progress.recv().await {
            match event {
                PutEvent::Stored(count) => holders = count,
                PutEvent::Done(report) => return report.stored,
            }
        }
        holders
    };
    tokio::time::timeout(PUT_DEADLINE, end).await.unwrap_or(holders)
}
