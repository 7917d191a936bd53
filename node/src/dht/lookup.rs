//! One lookup: which nodes to ask for the way to a key, in which order, and when it is over.
//!
//! It is Kademlia's iterative lookup, made for a network in which a fifth of the nodes lie:
//! - It runs on a few *paths*. Each begins with nodes of its own, asks for itself, and follows only what its own nodes
//!   say; no node is asked twice. A path that falls among liars leads only itself astray (S/Kademlia).
//! - Among the nodes that count as near, a public network (IPv4 /24, IPv6 /48) has [`PER_RANGE`] places, however many
//!   nodes it runs and however near to the key their ids were made. What is beyond is asked only where there are too few
//!   others, as in a small network.
//! - A node that is silent for long keeps no other from being asked, and does not keep a lookup from ending.
//! - A node that names others of whom most are not there is not believed: what only such nodes named is not asked any more.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::{Duration, Instant},
};

use super::{Distance, K, Key};
use crate::swarm::SourceRange;

/// Paths of one lookup.
const PATHS: usize = 4;
/// Nodes that one path waits for at a time.
const ALPHA: usize = 1;
/// Places of one public network among the nodes that count as near.
pub const PER_RANGE: usize = 1;
/// A node is silent after this time, or after twice the time of the first answer if that is longer.
const SILENT: Duration = Duration::from_millis(400);
/// Nodes that may be silent at a time before the lookup waits for them.
const MAX_SILENT: usize = 16;
/// So many of the nodes that one node named are asked in vain before it is not believed any more.
const MAX_IN_VAIN: usize = 3;
/// Nodes that are remembered to have named one node.
const MAX_NAMERS: usize = 8;
/// Requests of one lookup; an honest network of a million nodes takes about 60.
const MAX_ASKED: usize = 120;
/// Nodes that one lookup remembers: what the most answers can name, and no more.
const MAX_KNOWN: usize = 1024;

/// A node as a lookup knows it.
#[derive(Clone, Debug)]
pub struct Node<P> {
    /// Its name.
    pub peer: P,
    /// Its place.
    pub key: Key,
    /// The public network that it is said to be in; `None` on loopback and private networks, where none counts.
    pub range: Option<SourceRange>,
}

/// How long a lookup waits for silent nodes when there is nobody else to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: to put a record, enough nodes are enough.
    None,
    /// Until each has answered or failed: what is sought may be there only.
    Full,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<P> {
    /// Ask this node.
    Ask(P),
    /// Wait for an answer, until this time at most.
    Wait(Option<Instant>),
    /// It is over.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Heard,
    Asked { at: Instant, by: usize },
    Answered,
    Failed,
}

struct Entry<P> {
    node: Node<P>,
    state: State,
    /// The paths on which it was named, one bit each.
    paths: u8,
    /// Who named it, by the order of answers, [`MAX_NAMERS`] at most; nobody did if it was known.
    named_by: Vec<usize>,
}

/// What is to be known of all nodes before one is chosen.
struct Survey {
    /// Nodes that answered or are about to, as far as their networks have places.
    counted: Vec<Distance>,
    /// Places that are taken.
    taken: HashMap<SourceRange, usize>,
    /// Who is not believed, by the order of answers.
    liars: Vec<usize>,
    /// Nodes that are silent.
    silent: usize,
}

/// A running lookup. `P` names a node.
pub struct Lookup<P> {
    target: Key,
    patience: Patience,
    started: Instant,
    first: Option<Duration>,
    entries: BTreeMap<Distance, Entry<P>>,
    places: HashMap<P, Distance>,
    asked: usize,
    answered: usize,
}

impl<P: Clone + Eq + Hash> Lookup<P> {
    /// A lookup for `target` that begins with `seeds` (the nearest nodes known; more than [`K`] are not used).
    pub fn new(target: Key, patience: Patience, seeds: impl IntoIterator<Item = Node<P>>, now: Instant) -> Self {
        let mut lookup = Self {
            target,
            patience,
            started: now,
            first: None,
            entries: BTreeMap::new(),
            places: HashMap::new(),
            asked: 0,
            answered: 0,
        };
        let mut seeds: Vec<Node<P>> = seeds.into_iter().collect();
        seeds.sort_by_key(|seed| seed.key.distance(&target));
        for (index, seed) in seeds.into_iter().take(K).enumerate() {
            lookup.hear(seed, 1 << (index % PATHS), None);
        }
        lookup
    }

    /// Where it goes.
    pub fn target(&self) -> &Key {
        &self.target
    }

    /// Requests sent and answered.
    pub fn counts(&self) -> (usize, usize) {
        (self.asked, self.answered)
    }

    /// What to do now. After [`Step::Ask`] it is to be called again.
    pub fn next(&mut self, now: Instant) -> Step<P> {
        let silent_after = self.silent_after();
        let is_waiting =
            |state: State| matches!(state, State::Asked { at, .. } if now.saturating_duration_since(at) < silent_after);
        let survey = self.survey(&is_waiting);
        let may_ask = survey.silent < MAX_SILENT && self.asked < MAX_ASKED;
        let (mut waiting, mut over) = (false, 0);
        for path in 0..PATHS {
            let under_way = self
                .entries
                .values()
                .filter(|entry| matches!(entry.state, State::Asked { by, .. } if by == path) && is_waiting(entry.state))
                .count();
            waiting |= under_way > 0;
            if under_way >= ALPHA || !may_ask {
                continue;
            }
            match self.choose(path, &survey) {
                Some(distance) => {
                    if let Some(entry) = self.entries.get_mut(&distance) {
                        entry.state = State::Asked { at: now, by: path };
                        self.asked += 1;
                        return Step::Ask(entry.node.peer.clone());
                    }
                }
                None => over += usize::from(under_way == 0),
            }
        }
        // One path that is led on by liars does not hold up what the others have come to.
        if self.patience == Patience::None && over + 1 >= PATHS && survey.counted.len() >= K {
            return Step::Done;
        }
        let silent = survey.silent;
        if waiting || silent > 0 && (self.patience == Patience::Full || silent >= MAX_SILENT) {
            let due = self.entries.values().filter_map(|entry| match entry.state {
                State::Asked { at, .. } if is_waiting(entry.state) => Some(at + silent_after),
                _ => None,
            });
            return Step::Wait(due.min());
        }
        Step::Done
    }

    /// A node answered, over the network `range`, and named nodes that it thinks are nearer.
    pub fn answered(
        &mut self,
        peer: &P,
        range: Option<SourceRange>,
        closer: impl IntoIterator<Item = Node<P>>,
        now: Instant,
    ) {
        let Some(entry) = self.places.get(peer).and_then(|distance| self.entries.get_mut(distance)) else { return };
        let State::Asked { by, .. } = entry.state else { return };
        entry.state = State::Answered;
        entry.node.range = range;
        let me = self.answered;
        self.answered += 1;
        self.first.get_or_insert(now.saturating_duration_since(self.started));
        // Paths that have nothing yet take their share of what the first answers say.
        let mut bare: Vec<usize> = (0..PATHS).filter(|path| self.is_bare(*path)).collect();
        bare.insert(0, by);
        for (index, node) in closer.into_iter().take(K).enumerate() {
            self.hear(node, 1 << bare[index % bare.len()], Some(me));
        }
    }

    /// A node could not be asked, or did not answer in time.
    pub fn failed(&mut self, peer: &P) {
        if let Some(entry) = self.places.get(peer).and_then(|distance| self.entries.get_mut(distance))
            && matches!(entry.state, State::Asked { .. })
        {
            entry.state = State::Failed;
        }
    }

    /// The nodes that answered, nearest first: at most [`K`], each public network with its share; with fewer networks,
    /// the nearest of the others too.
    pub fn closest(&self) -> Vec<P> {
        let mut taken: HashMap<SourceRange, usize> = HashMap::new();
        let (mut within, mut beyond) = (Vec::new(), Vec::new());
        for entry in self.entries.values().filter(|entry| entry.state == State::Answered) {
            let list = if take(&mut taken, entry.node.range) { &mut within } else { &mut beyond };
            list.push(entry.node.peer.clone());
        }
        within.extend(beyond);
        within.truncate(K);
        within
    }

    /// Those of [`Lookup::closest`] that will be among them however it goes on: they answered, everybody nearer has been
    /// asked, and with all of those there is still a place for them.
    pub fn settled(&self) -> Vec<P> {
        let mut taken: HashMap<SourceRange, usize> = HashMap::new();
        let (mut places, mut settled) = (0, Vec::new());
        for entry in self.entries.values().filter(|entry| entry.state != State::Failed) {
            if entry.state == State::Heard || places >= K {
                break;
            }
            if take(&mut taken, entry.node.range) {
                places += 1;
                settled.extend((entry.state == State::Answered).then(|| entry.node.peer.clone()));
            }
        }
        settled
    }

    fn silent_after(&self) -> Duration {
        self.first.map_or(SILENT, |first| SILENT.max(first * 2))
    }

    fn is_bare(&self, path: usize) -> bool {
        self.entries.values().all(|entry| entry.paths & (1 << path) == 0)
    }

    fn hear(&mut self, node: Node<P>, paths: u8, named_by: Option<usize>) {
        let distance = node.key.distance(&self.target);
        if let Some(entry) = self.entries.get_mut(&distance) {
            entry.paths |= paths;
            if entry.named_by.len() < MAX_NAMERS && !entry.named_by.is_empty() {
                entry.named_by.extend(named_by);
            }
        } else if self.entries.len() < MAX_KNOWN && !self.places.contains_key(&node.peer) {
            self.places.insert(node.peer.clone(), distance);
            self.entries
                .insert(distance, Entry { node, state: State::Heard, paths, named_by: named_by.into_iter().collect() });
        }
    }

    fn survey(&self, is_waiting: &impl Fn(State) -> bool) -> Survey {
        let mut survey = Survey { counted: Vec::new(), taken: HashMap::new(), liars: Vec::new(), silent: 0 };
        // Of what each node named: how many answered, and how many did not.
        let mut fruits: Vec<(usize, usize)> = vec![(0, 0); self.answered];
        for (distance, entry) in &self.entries {
            let answered = entry.state == State::Answered;
            let waiting = is_waiting(entry.state);
            survey.silent += usize::from(matches!(entry.state, State::Asked { .. }) && !waiting);
            // Whoever has answered or is being asked, on any path, takes its network's place.
            if (answered || waiting) && take(&mut survey.taken, entry.node.range) {
                survey.counted.push(*distance);
            }
            for by in &entry.named_by {
                if let Some(fruit) = fruits.get_mut(*by) {
                    fruit.0 += usize::from(answered);
                    fruit.1 += usize::from(!answered && !waiting && entry.state != State::Heard);
                }
            }
        }
        let lies = |(good, vain): &(usize, usize)| *vain >= MAX_IN_VAIN && vain > good;
        survey.liars = (0..fruits.len()).filter(|index| lies(&fruits[*index])).collect();
        if survey.liars.len() == fruits.len() {
            // Where all would be liars, the nearest nodes have just gone, and nobody has noticed yet.
            survey.liars.clear();
        }
        survey
    }

    /// The node that a path asks next: the nearest one not asked yet, unless [`K`] nearer ones have answered or are
    /// about to.
    fn choose(&self, path: usize, survey: &Survey) -> Option<Distance> {
        let (mut near, mut beyond) = (0, None);
        for (distance, entry) in self.entries.iter().filter(|(_, entry)| entry.paths & (1 << path) != 0) {
            match entry.state {
                State::Heard
                    if !entry.named_by.is_empty() && entry.named_by.iter().all(|by| survey.liars.contains(by)) => {}
                State::Heard if has_room(&survey.taken, entry.node.range) => return Some(*distance),
                State::Heard => beyond = beyond.or(Some(*distance)),
                State::Answered | State::Asked { .. } if survey.counted.binary_search(distance).is_ok() => near += 1,
                _ => {}
            }
            if near >= K {
                return None;
            }
        }
        beyond
    }
}

fn has_room(taken: &HashMap<SourceRange, usize>, range: Option<SourceRange>) -> bool {
    range.is_none_or(|range| taken.get(&range).copied().unwrap_or(0) < PER_RANGE)
}

/// Takes a place of the network, if it has one left.
fn take(taken: &mut HashMap<SourceRange, usize>, range: Option<SourceRange>) -> bool {
    let room = has_room(taken, range);
    if let Some(range) = range {
        *taken.entry(range).or_default() += 1;
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network in which everybody knows everybody, but names two of one network at most, as tables have no more; node
    /// `n` is at its own place and network.
    struct Net {
        nodes: Vec<Node<u32>>,
        dead: Vec<u32>,
        liars: Vec<u32>,
        /// What liars name: one another, unless something else is said.
        named_by_liars: Vec<u32>,
    }

    impl Net {
        fn new(count: u32) -> Self {
            let nodes = (0..count).map(|n| node(n, Key::of(&n.to_be_bytes()), n)).collect();
            Self { nodes, dead: Vec::new(), liars: Vec::new(), named_by_liars: Vec::new() }
        }

        fn nearest(&self, target: &Key, among: impl Fn(u32) -> bool) -> Vec<Node<u32>> {
            let mut nodes: Vec<_> = self.nodes.iter().filter(|node| among(node.peer)).cloned().collect();
            nodes.sort_by_key(|node| node.key.distance(target));
            let mut named: HashMap<Option<SourceRange>, usize> = HashMap::new();
            nodes.retain(|node| {
                let count = named.entry(node.range).or_default();
                *count += 1;
                *count <= 2
            });
            nodes.truncate(K);
            nodes
        }

        /// Runs a lookup to its end: an answer takes 50 ms, a dead node fails after 2.5 s.
        fn run(&self, lookup: &mut Lookup<u32>, start: Instant) -> Duration {
            let mut now = start;
            let mut events: Vec<(Instant, u32)> = Vec::new();
            loop {
                match lookup.next(now) {
                    Step::Ask(peer) => {
                        let takes = if self.dead.contains(&peer) { 2500 } else { 50 };
                        events.push((now + Duration::from_millis(takes), peer));
                    }
                    Step::Done => return now - start,
                    Step::Wait(due) => {
                        events.sort();
                        assert!(due.is_some() || !events.is_empty(), "it waits for nothing");
                        if let Some(due) = due
                            && events.first().is_none_or(|(at, _)| due < *at)
                        {
                            now = now.max(due);
                            continue;
                        }
                        let (at, peer) = events.remove(0);
                        now = now.max(at);
                        if self.dead.contains(&peer) {
                            lookup.failed(&peer);
                            continue;
                        }
                        let liar = self.liars.contains(&peer);
                        let lies = if self.named_by_liars.is_empty() { &self.liars } else { &self.named_by_liars };
                        let closer = self.nearest(lookup.target(), |n| {
                            n != peer && if liar { lies.contains(&n) } else { !self.named_by_liars.contains(&n) }
                        });
                        lookup.answered(&peer, self.nodes[peer as usize].range, closer, now);
                    }
                }
            }
        }
    }

    fn node(peer: u32, key: Key, network: u32) -> Node<u32> {
        let [_, a, b, c] = network.to_be_bytes();
        Node { peer, key, range: Some(SourceRange::of([11 + a, b, c, 1].into())) }
    }

    fn target() -> Key {
        Key::of(b"somewhere")
    }

    fn names(nodes: &[Node<u32>]) -> Vec<u32> {
        nodes.iter().map(|node| node.peer).collect()
    }

    #[test]
    fn the_nearest_nodes_are_found_and_each_is_asked_once() {
        let net = Net::new(300);
        let start = Instant::now();
        let mut lookup = Lookup::new(target(), Patience::None, net.nodes[..3].to_vec(), start);
        net.run(&mut lookup, start);
        // Paths that share no node may pass by one of the farthest.
        let (found, nearest) = (lookup.closest(), names(&net.nearest(&target(), |_| true)));
        assert_eq!(found[..12], nearest[..12]);
        assert!(nearest.iter().filter(|peer| found.contains(peer)).count() >= 18, "{found:?} {nearest:?}");
        let (asked, answered) = lookup.counts();
        assert!(answered >= 20 && asked <= 60, "{asked} {answered}");
    }

    #[test]
    fn dead_nodes_do_not_hold_it_up_unless_it_has_patience() {
        let mut net = Net::new(100);
        net.dead = net.nearest(&target(), |_| true)[..6].iter().map(|node| node.peer).collect();
        let seeds = || net.nodes.iter().filter(|node| !net.dead.contains(&node.peer)).take(5).cloned();
        let start = Instant::now();
        let mut hasty = Lookup::new(target(), Patience::None, seeds(), start);
        assert!(net.run(&mut hasty, start) < Duration::from_millis(2000));
        // Of the twenty that everybody names six are dead.
        assert_eq!(hasty.closest()[..12], names(&net.nearest(&target(), |n| !net.dead.contains(&n)))[..12]);
        let mut patient = Lookup::new(target(), Patience::Full, seeds(), start);
        assert!(net.run(&mut patient, start) >= Duration::from_millis(2500));
    }

    #[test]
    fn who_answers_last_before_the_silent_ones_is_settled_while_they_are_waited_for() {
        let mut net = Net::new(100);
        let nearest = names(&net.nearest(&target(), |_| true));
        net.dead = vec![nearest[0], nearest[3]];
        let start = Instant::now();
        let mut lookup = Lookup::new(target(), Patience::None, net.nodes[..4].to_vec(), start);
        let mut answers: Vec<u32> = Vec::new();
        while let Step::Ask(peer) = lookup.next(start) {
            answers.extend((!net.dead.contains(&peer)).then_some(peer));
            // Nobody is settled while somebody nearer has not been asked.
            assert!(lookup.settled().iter().all(|settled| nearest.contains(settled)));
            for peer in answers.drain(..) {
                lookup.answered(&peer, net.nodes[peer as usize].range, net.nearest(&target(), |n| n != peer), start);
            }
        }
        assert!(matches!(lookup.next(start), Step::Wait(_)), "for the silent ones");
        let (settled, closest) = (lookup.settled(), lookup.closest());
        assert!(settled.len() >= K - 2 && settled.iter().all(|peer| closest.contains(peer)), "{settled:?} {closest:?}");
    }

    #[test]
    fn one_network_has_one_place_however_many_nodes_it_runs_near_the_key() {
        let mut net = Net::new(200);
        let honest = names(&net.nearest(&target(), |_| true));
        for n in 0..50 {
            let mut near = *target().as_bytes();
            near[31] ^= n;
            net.nodes.push(node(200 + u32::from(n), Key::from_bytes(near), 70_000));
            net.liars.push(200 + u32::from(n));
        }
        let start = Instant::now();
        let mut lookup = Lookup::new(target(), Patience::None, net.nodes[..8].to_vec(), start);
        net.run(&mut lookup, start);
        let found = lookup.closest();
        assert_eq!(found.iter().filter(|peer| **peer >= 200).count(), 1);
        assert_eq!(found[1..19], honest[..18]);
    }

    #[test]
    fn who_names_nodes_that_are_not_there_is_not_believed_for_long() {
        let mut net = Net::new(300);
        net.liars = (0..300).filter(|n| n % 20 == 0).collect();
        for n in 0..80 {
            let mut near = *target().as_bytes();
            near[31] ^= n;
            net.nodes.push(node(300 + u32::from(n), Key::from_bytes(near), 80_000 + u32::from(n)));
            net.dead.push(300 + u32::from(n));
        }
        // What the liars name: those that are not there.
        net.named_by_liars = (300..380).collect();
        let honest = |n: u32| n < 300;
        let expected = names(&net.nearest(&target(), honest));
        let start = Instant::now();
        let mut lookup = Lookup::new(target(), Patience::None, net.nodes[..20].to_vec(), start);
        assert!(net.run(&mut lookup, start) < Duration::from_millis(3500));
        assert_eq!(lookup.closest(), expected);
        assert!(lookup.counts().0 < 80, "{:?}", lookup.counts());
    }

    #[test]
    fn where_all_are_in_one_network_all_are_asked() {
        let mut net = Net::new(12);
        for node in &mut net.nodes {
            node.range = Some(SourceRange::of([9, 9, 9, 9].into()));
        }
        let start = Instant::now();
        let mut lookup = Lookup::new(target(), Patience::None, net.nodes.clone(), start);
        net.run(&mut lookup, start);
        assert_eq!(lookup.closest().len(), 12);
    }

    #[test]
    fn names_without_end_end() {
        let start = Instant::now();
        let mut now = start;
        let mut lookup = Lookup::new(target(), Patience::Full, [node(0, Key::of(b"0"), 0)], now);
        let mut made = 0;
        let mut asked = 0;
        while let Step::Ask(peer) = lookup.next(now) {
            asked += 1;
            now += Duration::from_millis(10);
            let closer: Vec<_> = (0..K)
                .map(|_| {
                    made += 1;
                    node(made, Key::of(&made.to_be_bytes()), made)
                })
                .collect();
            lookup.answered(&peer, None, closer, now);
        }
        assert!(asked <= MAX_ASKED && lookup.entries.len() <= MAX_KNOWN);
        assert_eq!(lookup.next(now), Step::Done);
    }
}
