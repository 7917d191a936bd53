//! Publishing: the jobs of a person's plan, carried out as the node does it.

use std::rc::Rc;

use twocan_node::rendezvous::{Job as Work, Outcome, PlaceId};

use super::net::{Ask, Event, Id, MILLI, Rec, SECOND, Tag, Time};
use super::world::{Kind, World};

/// Jobs of one node at a time, as in the node.
const AT_ONCE: usize = 4;
/// Attempts to read a record back, and the pause between them, as in the node.
const READ_BACK: (u32, Time) = (3, 700 * MILLI);

/// How reading back gets on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    NotYet,
    UnderWay,
    Over,
}

/// A put, or a look whether a record is still there.
pub(super) struct Job {
    person: usize,
    node: Id,
    place: PlaceId,
    record: Rc<Rec>,
    sequence: u64,
    left: u32,
    stored: u32,
    read: Read,
    attempts: u32,
    highest: u64,
    stale: Vec<Id>,
    op: u64,
    traffic: (u64, u64),
    started: Time,
    /// When the first answer to the put came.
    first: Time,
}

impl World {
    /// A person's node has started.
    pub(super) fn start_person(&mut self, number: usize, node: Id) {
        let (now, unix_ms) = (self.net.instant(), self.net.unix_ms());
        let person = &mut self.persons[number];
        person.node = Some(node);
        person.plan = Default::default();
        let slots = person.slots();
        person.plan.set_slots(slots, now, unix_ms, &mut self.net.rng);
        person.queue.clear();
        person.running = 0;
        person.wake = 0;
        self.net.push(self.net.now + SECOND, Event::Person(number));
    }

    /// Starts what is due of a person's plan.
    pub(super) fn look_at_plan(&mut self, number: usize) {
        let (now, unix_ms) = (self.net.instant(), self.net.unix_ms());
        let person = &mut self.persons[number];
        let Some(node) = person.node else { return };
        if self.net.node(node).is_none_or(|node| node.table.len() == 0) {
            // The node's puts wait for a first DHT node.
            self.net.push(self.net.now + SECOND, Event::Person(number));
            return;
        }
        person.plan.turn(now, unix_ms, &mut self.net.rng);
        let due = person.plan.due(now);
        person.queue.extend(due);
        while self.persons[number].running < AT_ONCE
            && let Some((place, work)) = self.persons[number].queue.pop_front()
        {
            self.start_job(number, node, place, work);
        }
        self.wake_person(number);
    }

    fn start_job(&mut self, number: usize, node: Id, place: PlaceId, work: Work) {
        let (now, unix_ms) = (self.net.instant(), self.net.unix_ms());
        let person = &mut self.persons[number];
        let Some((sequence, record)) = person.record(&place, node, unix_ms, &mut self.net.rng) else {
            person.plan.finished(&place, Outcome::Failed { seen: 0 }, now);
            return;
        };
        person.running += 1;
        let (job, key) = (self.number(), record.key);
        let kind = if work == Work::Put { Kind::Search(job) } else { Kind::Check(job) };
        let op = self.look_up(node, key, kind);
        let started = self.net.now;
        self.jobs.insert(
            job,
            Job {
                person: number,
                node,
                place,
                record,
                sequence,
                left: 0,
                stored: 0,
                read: Read::NotYet,
                attempts: 0,
                highest: 0,
                stale: Vec::new(),
                op,
                traffic: (0, 0),
                started,
                first: started,
            },
        );
    }

    /// The nearest nodes are known: each gets the record.
    pub(super) fn store(&mut self, number: u64, closest: Vec<Id>, traffic: (u64, u64)) {
        let now = self.net.instant();
        let Some(job) = self.jobs.get_mut(&number) else { return };
        add(&mut job.traffic, traffic);
        job.left = u32::try_from(closest.len()).unwrap_or(u32::MAX);
        let (node, record) = (job.node, Rc::clone(&job.record));
        if let Some(own) = self.net.node(node)
            && own.serves
        {
            let _ = own.shelf.admit(record.key, Rc::clone(&record), job.sequence, None, None, now);
        }
        for peer in closest {
            let bytes = self.net.send(node, peer, Ask::Put(Rc::clone(&record)), Tag::Store(number));
            if let Some(job) = self.jobs.get_mut(&number) {
                add(&mut job.traffic, (1, bytes));
            }
        }
        self.end_job_if_done(number);
    }

    /// A node took the record, by its word, or did not answer.
    pub(super) fn stored(&mut self, number: u64, stored: bool) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.left = job.left.saturating_sub(1);
        job.stored += u32::from(stored);
        if stored && job.read == Read::NotYet {
            job.read = Read::UnderWay;
            job.first = self.net.now;
            self.read_back(number);
        }
        self.end_job_if_done(number);
    }

    pub(super) fn read_back(&mut self, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.attempts += 1;
        let (node, key) = (job.node, job.record.key);
        let op = self.look_up(node, key, Kind::Read(number));
        if let Some(job) = self.jobs.get_mut(&number) {
            job.op = op;
        }
    }

    pub(super) fn read_copy(&mut self, number: u64, from: Option<Id>, record: &Rec) {
        let (Some(job), Some(from), Some(sequence)) = (self.jobs.get_mut(&number), from, record.sequence) else {
            return;
        };
        if sequence < job.sequence {
            job.stale.push(from);
        }
        job.highest = job.highest.max(sequence);
        if job.highest >= job.sequence {
            let op = job.op;
            job.read = Read::Over;
            let traffic = self.ops.remove(&op).map(|op| op.traffic).unwrap_or_default();
            add(&mut job.traffic, traffic);
            self.end_job_if_done(number);
        }
    }

    pub(super) fn read_ended(&mut self, number: u64, traffic: (u64, u64)) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        add(&mut job.traffic, traffic);
        if job.attempts < READ_BACK.0 {
            self.net.push(self.net.now + READ_BACK.1, Event::ReadAgain(number));
        } else {
            job.read = Read::Over;
            self.end_job_if_done(number);
        }
    }

    /// A look whether a record is still there has its answer.
    pub(super) fn check_ended(&mut self, number: u64, present: bool) {
        let Some(job) = self.jobs.remove(&number) else { return };
        self.ops.remove(&job.op);
        let outcome = if present { Outcome::Present } else { Outcome::Missing };
        self.finish_job(&job, outcome);
    }

    fn end_job_if_done(&mut self, number: u64) {
        let Some(job) = self.jobs.get(&number) else { return };
        let nobody = job.read == Read::NotYet && job.left == 0;
        if !nobody && (job.left > 0 || job.read != Read::Over) {
            return;
        }
        let Some(job) = self.jobs.remove(&number) else { return };
        let confirmed = job.highest == job.sequence;
        let outcome = if nobody || job.highest > job.sequence {
            Outcome::Failed { seen: job.highest }
        } else {
            Outcome::Put { sequence: job.sequence, version: 0, holders: job.stored, confirmed }
        };
        if confirmed {
            for peer in &job.stale {
                self.net.send(job.node, *peer, Ask::Put(Rc::clone(&job.record)), Tag::Nobody);
            }
        }
        if !nobody {
            self.puts.push((job.traffic.0, job.traffic.1, job.stored, job.first - job.started));
        }
        self.finish_job(&job, outcome);
    }

    fn finish_job(&mut self, job: &Job, outcome: Outcome) {
        let now = self.net.instant();
        let person = &mut self.persons[job.person];
        if person.node == Some(job.node) {
            person.plan.finished(&job.place, outcome, now);
            person.running = person.running.saturating_sub(1);
            self.look_at_plan(job.person);
        }
    }
}

fn add(sum: &mut (u64, u64), more: (u64, u64)) {
    sum.0 += more.0;
    sum.1 += more.1;
}
