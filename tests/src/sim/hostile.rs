//! Nodes that lie. All of them serve, are in tables, and say that they took a record.

use std::rc::Rc;

use rand::RngExt;
use rand::seq::IndexedRandom;
use twocan_node::dht::{K, Key};
use twocan_protocol::rendezvous::{PresenceKey, RECORD_LEN, presence_publisher};

use super::net::{Answer, Ask, Event, Id, MINUTE, Net, Rec, SHELF, Time};
use super::person;

/// How a node lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trick {
    /// Answers nothing, after it was connected to.
    Drop,
    /// Names nodes that are not there, nearer than any other.
    Lie,
    /// Keeps the first record of each key, and gives it for ever; gives garbage where it has none.
    Replay,
    /// Names hostile nodes only.
    Ring,
    /// Fills the shelves of others with records that are valid and worthless, each near its victim.
    Fill,
    /// One of many near somebody's contact slots: names the others of its crowd only. The number is the crowd's.
    Crowd(u32),
}

/// What the hostile fifth does, in turn.
pub(super) const TRICKS: [Trick; 5] = [Trick::Drop, Trick::Lie, Trick::Replay, Trick::Ring, Trick::Fill];
/// How often a hostile node does what it does by itself.
pub(super) const EVERY: Time = MINUTE;
/// Shelves that one node fills in a turn, and records for each: the rate that a network may put at.
const VICTIMS: usize = 10;
const JUNK: usize = 100;
/// Nodes that one of a crowd makes itself known to in a turn.
const ACQUAINTANCES: usize = 8;

/// What hostile nodes share.
pub(super) struct Hostile {
    /// The nodes of the hostile fifth that run.
    pub(super) ring: Vec<Id>,
    /// The nodes of each crowd.
    pub(super) crowds: Vec<Vec<Id>>,
    junk: Vec<(Key, Rc<Rec>)>,
    garbage: Rec,
}

impl Hostile {
    /// Makes the junk: valid records of nobody.
    pub(super) fn new(net: &mut Net, junk: usize) -> Self {
        let body = person::nobody(&mut net.rng);
        let mut records = Vec::new();
        for _ in 0..junk {
            let publisher = presence_publisher(&PresenceKey::generate(1, &mut net.rng), 1);
            if let Ok(value) = publisher.record(1, &body, &mut net.rng) {
                let key = *publisher.key.as_bytes();
                records.push((Key::of(&key), Rec::new(key, value)));
            }
        }
        let garbage = Rec { key: [0; 32], value: vec![7; RECORD_LEN], sequence: None };
        Self { ring: Vec::new(), crowds: Vec::new(), junk: records, garbage }
    }

    /// What a hostile node answers; `None` is silence.
    pub(super) fn answer(&self, net: &mut Net, me: Id, asker: Id, trick: Trick, ask: &Ask) -> Option<Answer> {
        if trick == Trick::Drop {
            return None;
        }
        let target = match ask {
            Ask::Find(target) | Ask::Get(_, target) => *target,
            Ask::Put(record) => {
                if let Some(node) = net.node(me)
                    && trick == Trick::Replay
                    && node.first.len() < SHELF.0
                {
                    node.first.entry(record.key).or_insert_with(|| Rc::clone(record));
                }
                return Some(Answer::default());
            }
        };
        let honest = |net: &mut Net| net.node(me).map(|node| node.table.closest(&target, Some(asker)));
        let nodes = match trick {
            Trick::Lie => (0..K).map(|_| fake(net, &target)).collect(),
            Trick::Ring => nearest(net, &self.ring, &target),
            Trick::Crowd(number) => nearest(net, &self.crowds[number as usize], &target),
            Trick::Drop | Trick::Replay | Trick::Fill => honest(net).unwrap_or_default(),
        };
        let record = match (trick, ask) {
            (Trick::Replay, Ask::Get(key, _)) => {
                let first = net.node(me).and_then(|node| node.first.get(key).cloned());
                first.or_else(|| Some(Rc::new(Rec { key: *key, ..self.garbage.clone() })))
            }
            _ => None,
        };
        Some(Answer { nodes, record })
    }

    /// What it does by itself, once a minute.
    pub(super) fn mischief(&self, net: &mut Net, me: Id, trick: Trick) {
        match trick {
            Trick::Fill => self.fill(net, me),
            Trick::Crowd(_) => {
                for _ in 0..ACQUAINTANCES {
                    if let Some(to) = net.any_server() {
                        let key = net.spots[to as usize].key;
                        net.send(me, to, Ask::Find(key), super::net::Tag::Nobody);
                    }
                }
            }
            _ => return,
        }
        net.push(net.now + EVERY, Event::Mischief(me));
    }

    /// Puts the junk that is nearest to some nodes onto their shelves, as far as their rules let it.
    fn fill(&self, net: &mut Net, me: Id) {
        let range = net.spots[me as usize].range;
        let ip = person::ip_in(range);
        for _ in 0..VICTIMS {
            let Some(victim) = net.any_server() else { return };
            let place = net.spots[victim as usize].key;
            let mut near: Vec<_> = self.junk.iter().map(|(key, record)| (key.distance(&place), record)).collect();
            let wanted = (8 * JUNK).min(near.len());
            if near.len() > wanted {
                near.select_nth_unstable_by_key(wanted - 1, |(distance, _)| *distance);
                near.truncate(wanted);
            }
            let chosen: Vec<Rc<Rec>> = near.sample(&mut net.rng, JUNK).map(|(_, record)| Rc::clone(record)).collect();
            let now = net.instant();
            let Some(node) = net.node(victim) else { continue };
            for record in chosen {
                if node.puts.take(ip, now)
                    && let Some(sequence) = record.sequence
                {
                    let _ = node.shelf.admit(record.key, record, sequence, Some(range), None, now);
                }
            }
        }
    }
}

/// The nodes of a list that are nearest to a place.
fn nearest(net: &Net, of: &[Id], target: &Key) -> Vec<Id> {
    let mut all: Vec<_> = of.iter().map(|id| (net.spots[*id as usize].key.distance(target), *id)).collect();
    if all.len() > K {
        all.select_nth_unstable(K - 1);
        all.truncate(K);
    }
    all.sort_unstable();
    all.into_iter().map(|(_, id)| id).collect()
}

/// A node that is not there, very near to a place, in a network of its own.
fn fake(net: &mut Net, target: &Key) -> Id {
    let range = net.any_range();
    let key = near(net, target, 60);
    net.place(Some(key), range)
}

/// A place that shares `bits` leading bits with another. Whoever can make ids at will can have it, for 2^bits tries.
pub(super) fn near(net: &mut Net, target: &Key, bits: usize) -> Key {
    let mut bytes: [u8; 32] = net.rng.random();
    for bit in 0..bits {
        let mask = 0x80 >> (bit % 8);
        bytes[bit / 8] = bytes[bit / 8] & !mask | target.as_bytes()[bit / 8] & mask;
    }
    Key::from_bytes(bytes)
}
