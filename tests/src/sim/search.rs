//! Searching: the node's own [`Hunt`], driven over the simulated network.

use std::collections::HashMap;

use rand::RngExt;
use twocan_node::rendezvous::{Hunt, Order};
use twocan_node::swarm::Copy;

use super::net::{Ask, Event, Id, MINUTE, Rec, Tag, Time, id_of, peer_id};
use super::person::By;
use super::tries::{Outcome, Try};
use super::world::{Kind, World};

/// Who has run so long has published, and knows the network.
const SETTLED: Time = 2 * MINUTE;

impl World {
    /// Plans `count` tries between two times; somebody by chance is looked for, or `person`.
    pub(super) fn plan_tries(
        &mut self,
        count: usize,
        from: Time,
        until: Time,
        by: By,
        group: usize,
        person: Option<usize>,
    ) {
        for _ in 0..count {
            self.wanted.push((group, by, person));
            let at = self.net.rng.random_range(from..until);
            self.net.push(at, Event::Try);
        }
    }

    /// People who publish contact slots of a day that lasts for `time` yet, and whose nodes run.
    pub(super) fn with_contact(&self, time: Time) -> impl Iterator<Item = usize> {
        let unix_ms = self.net.unix_ms();
        self.persons.iter().enumerate().filter_map(move |(index, person)| {
            let ends = person.contact_day_ends_ms(unix_ms)?;
            (person.node.is_some() && ends > unix_ms + time / 1000).then_some(index)
        })
    }

    /// Tries that are still to come or under way.
    pub(super) fn open_tries(&self) -> usize {
        self.wanted.len() + self.tries.len()
    }

    pub(super) fn begin_try(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        let index = self.net.rng.random_range(0..self.wanted.len());
        let (group, by, person) = self.wanted.swap_remove(index);
        let reader = self.settled(None);
        let person = person.or_else(|| self.settled(Some(by)).map(|(person, _)| person));
        let target = person.and_then(|person| Some((person, self.settled_node(person)?)));
        let (Some((reader, node)), Some((person, expected))) = (reader, target) else {
            return self.again(group, by, person);
        };
        if reader == person {
            return self.again(group, by, Some(person));
        }
        let number = self.number();
        let hunt = Hunt::new(&self.persons[person].target(by), self.net.instant(), self.net.unix_ms());
        let started = self.net.now;
        self.tries.insert(
            number,
            Try {
                hunt,
                node,
                person,
                expected,
                by,
                group,
                started,
                looks: HashMap::new(),
                found: None,
                first: None,
                hops: 0,
                traffic: (0, 0),
            },
        );
        self.obey(number);
    }

    /// A try that cannot be is made a little later.
    fn again(&mut self, group: usize, by: By, person: Option<usize>) {
        self.wanted.push((group, by, person));
        self.net.push(self.net.now + MINUTE / 6, Event::Try);
    }

    fn settled_node(&self, person: usize) -> Option<Id> {
        let id = self.persons[person].node?;
        let node = self.net.nodes[id as usize].as_ref()?;
        (node.since + SETTLED <= self.net.now).then_some(id)
    }

    /// Somebody whose node has run for a while; one who publishes in the slot that is wanted.
    fn settled(&mut self, by: Option<By>) -> Option<(usize, Id)> {
        for _ in 0..100 {
            let person = self.net.rng.random_range(0..self.persons.len());
            let publishes = by != Some(By::Contact) || self.persons[person].has_contact();
            if let Some(node) = self.settled_node(person)
                && publishes
            {
                return Some((person, node));
            }
        }
        None
    }

    /// Does what a search wants done.
    fn obey(&mut self, number: u64) {
        loop {
            let Some(search) = self.tries.get_mut(&number) else { return };
            let node = search.node;
            let Some(order) = search.hunt.order() else { break };
            match order {
                Order::Look(place, key) => {
                    let op = self.look_up(node, key, Kind::Look(number, place));
                    if let Some(search) = self.tries.get_mut(&number) {
                        search.looks.insert(place, op);
                    }
                    self.own_copy(node, &key, Kind::Look(number, place));
                }
                Order::Stop(place) => self.stop_look(number, place),
                Order::Found(_, _, body) => self.found(number, &body.peer_id),
                Order::Mend(key, value, peers) => {
                    let record = Rec::new(key, value);
                    for peer in peers.iter().filter_map(id_of) {
                        self.net.send(node, peer, Ask::Put(std::rc::Rc::clone(&record)), Tag::Nobody);
                    }
                }
                Order::Done => return self.end_try(number),
            }
        }
        if let Some(search) = self.tries.get(&number)
            && let Some(due) = search.hunt.next_due()
        {
            let due = self.net.time_of(due).max(self.net.now + 1);
            self.net.push(due, Event::Tick(number));
        }
    }

    pub(super) fn tick(&mut self, number: u64) {
        let now = self.net.instant();
        if let Some(search) = self.tries.get_mut(&number)
            && search.hunt.next_due().is_some_and(|due| due <= now)
        {
            search.hunt.tick(now);
            self.obey(number);
        }
    }

    pub(super) fn look_copy(&mut self, number: u64, place: usize, from: Option<Id>, record: &Rec, depth: u32) {
        let (now, unix_ms) = (self.net.instant(), self.net.unix_ms());
        let range = from.map(|from| self.net.spots[from as usize].range);
        let Some(search) = self.tries.get_mut(&number) else { return };
        search.hops = depth;
        let copy = Copy { value: record.value.clone(), from: from.map(peer_id), range };
        search.hunt.copy(place, copy, now, unix_ms);
        self.obey(number);
    }

    pub(super) fn look_ended(&mut self, number: u64, place: usize, answered: usize, traffic: (u64, u64)) {
        let now = self.net.instant();
        let Some(search) = self.tries.get_mut(&number) else { return };
        search.traffic.0 += traffic.0;
        search.traffic.1 += traffic.1;
        search.looks.remove(&place);
        let known = self.net.node(search.node).map_or(0, |node| node.table.len());
        search.hunt.ended(place, answered, known, now);
        self.obey(number);
    }

    fn stop_look(&mut self, number: u64, place: usize) {
        let Some(search) = self.tries.get_mut(&number) else { return };
        if let Some(op) = search.looks.remove(&place).and_then(|op| self.ops.remove(&op)) {
            search.traffic.0 += op.traffic.0;
            search.traffic.1 += op.traffic.1;
        }
    }

    fn found(&mut self, number: u64, peer: &twocan_protocol::identity::PeerId) {
        let Some(search) = self.tries.get_mut(&number) else { return };
        search.found = Some(peer.clone());
        if search.first.is_none() && *peer == peer_id(search.expected) {
            let under_way: u64 = search.looks.values().filter_map(|op| self.ops.get(op)).map(|op| op.traffic.0).sum();
            search.first = Some((self.net.now - search.started, search.hops, search.traffic.0 + under_way));
        }
    }

    fn end_try(&mut self, number: u64) {
        let places: Vec<usize> =
            self.tries.get(&number).map(|search| search.looks.keys().copied().collect()).unwrap_or_default();
        for place in places {
            self.stop_look(number, place);
        }
        let Some(search) = self.tries.remove(&number) else { return };
        let both_there = self.net.node(search.expected).is_some() && self.net.node(search.node).is_some();
        if !both_there {
            self.void += 1;
            let person = (search.group > 0).then_some(search.person);
            return self.again(search.group, search.by, person);
        }
        let found = search.found.as_ref() == Some(&peer_id(search.expected));
        let stale = !found && search.found.is_some();
        self.tallies[search.group].add(Outcome { found, stale, first: search.first, traffic: search.traffic });
    }
}
