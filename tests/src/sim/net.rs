//! The simulated network: places, nodes, connections, and the queue of what happens when.
//!
//! Nothing is sent anywhere. A request takes the round trips that were measured over QUIC: 3.1 on a new connection, 2 on
//! an open one. Who is not there is noticed after a dial's time limit, who is silent after a request's.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use twocan_node::dht::{Key, Shelf};
use twocan_node::swarm::{RangeLimiter, SourceRange};
use twocan_protocol::identity::PeerId;
use twocan_protocol::rendezvous::verify_record;

use super::hostile::Trick;
use super::table::{IDLE, Table};

/// Microseconds since the beginning.
pub(super) type Time = u64;
/// A node, for as long as it runs: a restart makes another one. Also names what never was a node.
pub(super) type Id = u32;

/// Units of [`Time`].
pub(super) const MILLI: Time = 1000;
/// A second.
pub(super) const SECOND: Time = 1_000_000;
/// A minute.
pub(super) const MINUTE: Time = 60 * SECOND;
/// An hour.
pub(super) const HOUR: Time = 60 * MINUTE;
/// The wall clock at the beginning.
pub(super) const START_MS: u64 = 1_800_000_000_000;

/// What a dial to a node that is not there costs: QUIC gives up after 2.5 s, TCP after 5 s.
const DIAL_LIMIT: Time = 5 * SECOND;
/// How long one request may take, as in the node.
const REQUEST_LIMIT: Time = 4 * SECOND;
/// Bytes of making a connection, both ways: QUIC's handshake and identify.
const CONNECT_BYTES: u64 = 4400;
/// Bytes of a request and its answer without what they carry: negotiation, framing, acknowledgements.
const REQUEST_BYTES: u64 = 360;
/// Bytes of one node that is named in an answer.
const NODE_BYTES: u64 = 90;
/// Bytes of a record on the wire.
const RECORD_BYTES: u64 = 1080;
/// A quarter of what a real node keeps, so that shelves are filled sooner and the model fits into memory.
pub(super) const SHELF: (usize, usize) = (1024, 128);

/// A record on its way, verified once by the real rules.
#[derive(Clone)]
pub(super) struct Rec {
    /// Where it lies.
    pub(super) key: [u8; 32],
    /// Its bytes.
    pub(super) value: Vec<u8>,
    /// Its sequence, if it is valid.
    pub(super) sequence: Option<u64>,
}

impl Rec {
    /// Verifies a record as every storing node does; the model's nodes share the result.
    pub(super) fn new(key: [u8; 32], value: Vec<u8>) -> Rc<Self> {
        let sequence = verify_record(&key, &value).ok();
        Rc::new(Self { key, value, sequence })
    }
}

/// What is known of a node from outside, also after it is gone.
pub(super) struct Spot {
    /// Its place in the DHT.
    pub(super) key: Key,
    /// Its public network.
    pub(super) range: SourceRange,
    /// Its share of every round trip.
    pub(super) delay: Time,
}

/// A running node.
pub(super) struct Node {
    /// Whether it serves the DHT.
    pub(super) serves: bool,
    /// How it lies, if it does.
    pub(super) trick: Option<Trick>,
    /// Whose it is.
    pub(super) person: Option<usize>,
    /// Its routing table.
    pub(super) table: Table,
    /// What it keeps for others.
    pub(super) shelf: Shelf<Rc<Rec>>,
    /// What it lets networks put.
    pub(super) puts: RangeLimiter,
    /// Since when it runs.
    pub(super) since: Time,
    /// Buckets that are still to be refreshed; a refresh is under way while there are some.
    pub(super) refresh: Vec<usize>,
    /// Whether a refresh is due or under way.
    pub(super) refreshing: bool,
    /// The first record seen at each key, by who replays.
    pub(super) first: HashMap<[u8; 32], Rc<Rec>>,
}

/// What a node is asked.
#[derive(Clone)]
pub(super) enum Ask {
    /// Who is near this place?
    Find(Key),
    /// What lies at this record key, and who is near it?
    Get([u8; 32], Key),
    /// Keep this.
    Put(Rc<Rec>),
}

/// What a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// A lookup.
    Lookup(u64),
    /// A put of a person's record.
    Store(u64),
    /// Nobody waits for the answer.
    Nobody,
}

/// What an answer says.
#[derive(Clone, Default)]
pub(super) struct Answer {
    /// Nodes that it names.
    pub(super) nodes: Vec<Id>,
    /// A record.
    pub(super) record: Option<Rc<Rec>>,
}

/// What happens.
pub(super) enum Event {
    /// A request reaches a node.
    Arrive { from: Id, to: Id, ask: Ask, tag: Tag, back: Time },
    /// Its answer comes back.
    Answer { from: Id, to: Id, tag: Tag, answer: Answer },
    /// It will not be answered.
    Fail { asker: Id, peer: Id, tag: Tag },
    /// A dial that only asks whether a node is there has its answer.
    Probe { asker: Id, peer: Id },
    /// A lookup is to be looked at.
    Wake(u64),
    /// A search is to be looked at.
    Tick(u64),
    /// A person's plan is to be looked at.
    Person(usize),
    /// A record is to be read back once more.
    ReadAgain(u64),
    /// A node looks after its table.
    Refresh(Id),
    /// Somebody joins.
    Join(super::world::Newcomer),
    /// Somebody leaves.
    Churn,
    /// A hostile node does what it does by itself.
    Mischief(Id),
    /// A try begins.
    Try,
}

struct Due(Time, u64, Event);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// The network.
pub(super) struct Net {
    /// Chance, from the seed.
    pub(super) rng: StdRng,
    /// The time.
    pub(super) now: Time,
    base: Instant,
    queue: BinaryHeap<Reverse<Due>>,
    pushed: u64,
    /// Places by [`Id`].
    pub(super) spots: Vec<Spot>,
    /// Running nodes by [`Id`].
    pub(super) nodes: Vec<Option<Box<Node>>>,
    /// Running nodes, in no order.
    pub(super) running: Vec<Id>,
    links: HashMap<(Id, Id), Time>,
    /// Requests sent, and bytes moved for them.
    pub(super) traffic: (u64, u64),
}

impl Net {
    /// An empty network.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: 0,
            base: Instant::now(),
            queue: BinaryHeap::new(),
            pushed: 0,
            spots: Vec::new(),
            nodes: Vec::new(),
            running: Vec::new(),
            links: HashMap::new(),
            traffic: (0, 0),
        }
    }

    /// The time, as the node's rules take it.
    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    /// The time of an instant that the rules gave.
    pub(super) fn time_of(&self, instant: Instant) -> Time {
        u64::try_from(instant.saturating_duration_since(self.base).as_micros()).unwrap_or(Time::MAX)
    }

    /// The wall clock, which is right at every node.
    pub(super) fn unix_ms(&self) -> u64 {
        START_MS + self.now / MILLI
    }

    /// Something will happen.
    pub(super) fn push(&mut self, at: Time, event: Event) {
        self.pushed += 1;
        self.queue.push(Reverse(Due(at.max(self.now), self.pushed, event)));
    }

    /// What happens next, until `end`; the time moves there.
    pub(super) fn pop(&mut self, end: Time) -> Option<Event> {
        if self.queue.peek().is_none_or(|Reverse(due)| due.0 > end) {
            self.now = end;
            return None;
        }
        let Reverse(Due(at, _, event)) = self.queue.pop()?;
        self.now = at;
        Some(event)
    }

    /// A new place, where a node may run or be said to run.
    pub(super) fn place(&mut self, key: Option<Key>, range: SourceRange) -> Id {
        let id = Id::try_from(self.spots.len()).unwrap_or(Id::MAX);
        let delay = self.rng.random_range(5 * MILLI..45 * MILLI);
        self.spots.push(Spot { key: key.unwrap_or_else(|| Key::of(peer_id(id).as_bytes())), range, delay });
        self.nodes.push(None);
        id
    }

    /// A network that nobody else is in, or hardly anybody.
    pub(super) fn any_range(&mut self) -> SourceRange {
        let [a, b]: [u8; 2] = self.rng.random();
        SourceRange::of([self.rng.random_range(11..100), a, b, 1].into())
    }

    /// Starts a node at a place.
    pub(super) fn start(&mut self, id: Id, serves: bool, trick: Option<Trick>, person: Option<usize>) {
        let own = self.spots[id as usize].key;
        let node = Node {
            serves,
            trick,
            person,
            table: Table::new(own),
            shelf: Shelf::with_bounds(own, SHELF.0, SHELF.1),
            puts: RangeLimiter::puts(),
            since: self.now,
            refresh: Vec::new(),
            refreshing: false,
            first: HashMap::new(),
        };
        self.nodes[id as usize] = Some(Box::new(node));
        self.running.push(id);
    }

    /// Ends a node, without a word to anybody.
    pub(super) fn stop(&mut self, id: Id) {
        self.nodes[id as usize] = None;
        self.running.retain(|running| *running != id);
    }

    /// The node, if it runs.
    pub(super) fn node(&mut self, id: Id) -> Option<&mut Node> {
        self.nodes.get_mut(id as usize)?.as_deref_mut()
    }

    /// A running node that serves, by chance.
    pub(super) fn any_server(&mut self) -> Option<Id> {
        for _ in 0..100 {
            let id = self.running[self.rng.random_range(0..self.running.len())];
            if self.nodes[id as usize].as_ref().is_some_and(|node| node.serves) {
                return Some(id);
            }
        }
        None
    }

    /// Sends a request; gives the bytes that it and its answer will have moved, without what the answer carries.
    pub(super) fn send(&mut self, from: Id, to: Id, ask: Ask, tag: Tag) -> u64 {
        let link = (from.min(to), from.max(to));
        let open = self.links.get(&link).is_some_and(|used| used + IDLE > self.now);
        let bytes = REQUEST_BYTES
            + if open { 0 } else { CONNECT_BYTES }
            + if matches!(ask, Ask::Put(_)) { RECORD_BYTES } else { 0 };
        self.traffic.0 += 1;
        let trip = self.spots[from as usize].delay + self.spots[to as usize].delay;
        let trip = trip + self.rng.random_range(0..trip / 4);
        if self.nodes[to as usize].is_none() {
            let limit = if open { REQUEST_LIMIT } else { DIAL_LIMIT };
            self.push(self.now + limit, Event::Fail { asker: from, peer: to, tag });
            return bytes;
        }
        self.traffic.1 += bytes;
        let whole = if open { 2 * trip } else { trip * 31 / 10 };
        let back = trip / 2;
        self.push(self.now + whole - back, Event::Arrive { from, to, ask, tag, back });
        bytes
    }

    /// A request is dropped: who asks notices after its time limit.
    pub(super) fn ignore(&mut self, asker: Id, peer: Id, tag: Tag) {
        self.push(self.now + REQUEST_LIMIT, Event::Fail { asker, peer, tag });
    }

    /// A dial that asks whether a node is there.
    pub(super) fn probe(&mut self, asker: Id, peer: Id) {
        let at = self.now + if self.nodes[peer as usize].is_some() { 150 * MILLI } else { DIAL_LIMIT };
        self.push(at, Event::Probe { asker, peer });
    }

    /// The connection between two nodes is used; whether it is new.
    pub(super) fn touch(&mut self, one: Id, other: Id) -> bool {
        let link = (one.min(other), one.max(other));
        let now = self.now;
        let used = self.links.insert(link, now);
        if self.links.len() > 200_000 {
            self.links.retain(|_, used| *used + IDLE > now);
        }
        used.is_none_or(|used| used + IDLE <= now)
    }

    /// What an answer weighs.
    pub(super) fn weight(answer: &Answer) -> u64 {
        answer.nodes.len() as u64 * NODE_BYTES + answer.record.as_ref().map_or(0, |_| RECORD_BYTES)
    }
}

/// The PeerId of a node; its number is in it.
pub(super) fn peer_id(id: Id) -> PeerId {
    let mut bytes = [0x5a; 38];
    bytes[..6].copy_from_slice(&[0, 0x24, 8, 1, 0x12, 0x20]);
    bytes[34..].copy_from_slice(&id.to_be_bytes());
    #[expect(clippy::expect_used, reason = "invariant: 38 bytes are within the bounds of a PeerId")]
    PeerId::from_bytes(&bytes).expect("a PeerId of 38 bytes")
}

/// The number in a PeerId of this model.
pub(super) fn id_of(peer: &PeerId) -> Option<Id> {
    let bytes = peer.as_bytes().last_chunk()?;
    Some(Id::from_be_bytes(*bytes))
}
