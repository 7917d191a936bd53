//! The task that publishes the own slots in the public DHT too: the same places, at a slower pace.
//!
//! It has a plan of its own, so that the public DHT, where a put takes seconds, never holds up our own. A server there
//! refuses what it cannot verify, and keeps a record for two days; still each record is read back.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use twocan_protocol::rendezvous::{IpnsName, verify_ipns};

use super::{
    author::{Author, Change},
    plan::{Job, Outcome, PlaceId, Plan, Rules, Status},
    publish::Command,
    unix_ms,
};
use crate::swarm::{Handle, public::Client};

/// Puts at a time: each is a search and twenty messages.
const AT_ONCE: usize = 2;
/// Epochs turn by the wall clock, which may jump: it is looked at this often.
const LOOK: Duration = Duration::from_secs(60);
/// Attempts to read a record back after a put, and the pause between them.
const READ_BACK: (usize, Duration) = (2, Duration::from_secs(3));
/// Reading back takes no longer: the copies of those that were just told come first.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// State of the mirroring task.
pub(super) struct Mirroring {
    client: Client,
    swarm: Handle,
    inbox: mpsc::Receiver<Command>,
    status: watch::Sender<Status>,
    plan: Plan,
    author: Author,
    version: u64,
    queue: VecDeque<(PlaceId, Job)>,
    jobs: JoinSet<(PlaceId, Outcome)>,
}

impl Mirroring {
    pub(super) fn new(
        client: Client,
        swarm: Handle,
        inbox: mpsc::Receiver<Command>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            author: Author::new(swarm.clone()),
            client,
            swarm,
            inbox,
            status,
            plan: Plan::with(Rules::PUBLIC),
            version: 0,
            queue: VecDeque::new(),
            jobs: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut addresses = self.swarm.addresses();
        self.author.set_addresses(addresses.borrow_and_update().clone());
        loop {
            let now = Instant::now();
            self.start_due(now);
            let wake = self.plan.next_due().map_or(now + LOOK, |due| due.min(now + LOOK)).max(now);
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
                () = tokio::time::sleep_until(wake.into()), if self.is_ready() || wake > now => {
                    self.plan.turn(Instant::now(), unix_ms(), &mut rand::rng());
                }
            }
            let new = self.plan.status();
            self.status.send_if_modified(|status| std::mem::replace(status, new) != new);
        }
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Slots(mut slots) => {
                // Who can compute a slot's name can run a server near it, and see who puts.
                slots.retain(|slot| !slot.is_hidden());
                let turns = self.plan.turns(&slots);
                self.plan.set_slots(slots, now, unix_ms(), &mut rand::rng());
                if turns {
                    self.bump_at_once(now);
                }
            }
            Command::Hidden(hidden) => match self.author.set_hidden(hidden) {
                Change::None => {}
                Change::New => self.bump(now),
                Change::Urgent => self.bump_at_once(now),
            },
            Command::Hasten(slept) => {
                self.plan.slept(slept);
                self.plan.turn(now, unix_ms(), &mut rand::rng());
                self.plan.hasten(now);
            }
            Command::Device(certificate, relayed) => {
                // Nothing is urgent here: our own DHT and the relays are faster.
                if self.author.set_device(certificate, relayed) != Change::None {
                    self.bump(now);
                }
            }
        }
    }

    /// What was put before tells more than it should.
    fn bump_at_once(&mut self, now: Instant) {
        self.version += 1;
        self.plan.set_urgent_version(self.version, now);
    }

    fn bump(&mut self, now: Instant) {
        self.version += 1;
        self.plan.set_version(self.version, now);
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
            && let Some((place, _)) = self.queue.pop_front()
        {
            match self.record(&place) {
                Some((work, record)) => {
                    let version = self.version;
                    self.jobs.spawn(async move { (place, work.put(record, version).await) });
                }
                None => self.plan.finished(&place, Outcome::Failed { seen: 0 }, now),
            }
        }
    }

    /// A fresh record for a place, and what is to be done with it.
    fn record(&self, place: &PlaceId) -> Option<(Work, Vec<u8>)> {
        let slot = self.plan.slot(place)?;
        let publisher = slot.publisher(place.1);
        let body = self.author.body(slot, self.plan.ends_ms(place)?)?;
        let sequence = self.plan.next_sequence(place, unix_ms());
        let record = publisher
            .ipns_record(sequence, &body, body.expires_ms, &mut rand::rng())
            .inspect_err(|error| tracing::error!(%error, "a record could not be made"))
            .ok()?;
        let work = Work { client: self.client.clone(), place: *place, name: publisher.ipns_name(), sequence };
        Some((work, record))
    }
}

/// One put.
struct Work {
    client: Client,
    place: PlaceId,
    name: IpnsName,
    sequence: u64,
}

impl Work {
    async fn put(self, record: Vec<u8>, version: u64) -> Outcome {
        let started = Instant::now();
        let (slot, epoch) = (self.place.0.kind(), self.place.1);
        match self.client.put(self.name, record).await {
            Err(error) => {
                tracing::info!(slot, epoch, %error, "public put failed");
                Outcome::Failed { seen: 0 }
            }
            Ok(holders) => {
                let highest = self.read_back().await;
                let confirmed = highest == self.sequence;
                tracing::info!(slot, epoch, ms = started.elapsed().as_millis(), holders, confirmed, "public put");
                if highest > self.sequence {
                    return Outcome::Failed { seen: highest };
                }
                Outcome::Put { sequence: self.sequence, version, holders, confirmed }
            }
        }
    }

    /// The highest sequence that servers give for the name; reads until it is ours or higher.
    async fn read_back(&self) -> u64 {
        let mut highest = 0;
        for attempt in 0..READ_BACK.0 {
            if attempt > 0 {
                sleep(READ_BACK.1).await;
            }
            let read = async {
                let Ok(mut lookup) = self.client.get(self.name).await else { return };
                while highest < self.sequence
                    && let Some(copy) = lookup.next().await
                {
                    let found = verify_ipns(&self.name, &copy, unix_ms());
                    highest = highest.max(found.map_or(0, |entry| entry.sequence));
                }
            };
            let _ = timeout(READ_LIMIT, read).await;
            if highest >= self.sequence {
                break;
            }
        }
        highest
    }
}
