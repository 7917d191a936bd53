//! How a search goes on. Pure: lookups and their copies come in, with the time; what to look into comes out.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use twocan_protocol::{identity::PeerId, rendezvous::Body};

use super::{Judge, Place, Target, Verdict, places};
use crate::{dht::K, swarm::Copy};

/// The next places are looked into after this time, even if those before have not ended.
const HEDGE: Duration = Duration::from_millis(400);
/// After a valid copy, a newer one may come this long, or twice the time that the first copy took if that is longer; and
/// so long other places may, after the first was found good.
const LINGER: Duration = Duration::from_millis(400);
/// But no longer than this.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// A lookup can end empty by bad luck: it is made once more after this time.
const AGAIN: Duration = Duration::from_millis(150);
/// Lookups of one place.
const ATTEMPTS: u32 = 2;

/// What a search wants done.
#[derive(Debug)]
pub enum Order {
    /// Look into the place with this number, at this key.
    Look(usize, [u8; 32]),
    /// Give that lookup up.
    Stop(usize),
    /// A copy that is newer than any before: its place, its sequence, and what it says.
    Found(usize, u64, Box<Body>),
    /// Put the value at this key to nodes that have an older one.
    Mend([u8; 32], Vec<u8>, Vec<PeerId>),
    /// The search is over, and its lookups with it.
    Done,
}

enum State {
    Looking { linger: Option<Instant> },
    Pausing(Instant),
    Ended,
}

struct Look {
    place: Place,
    judge: Judge,
    attempts: u32,
    state: State,
}

/// A search under way.
pub struct Hunt {
    waiting: std::vec::IntoIter<Vec<Place>>,
    looks: Vec<Look>,
    started: Instant,
    linger: Duration,
    newest: Option<u64>,
    hedge: Instant,
    closing: Option<Instant>,
    done: bool,
    orders: VecDeque<Order>,
}

impl Hunt {
    /// Begins to look for `target`.
    pub fn new(target: &Target, now: Instant, unix_ms: u64) -> Self {
        let mut hunt = Self {
            waiting: places(target, unix_ms).into_iter(),
            looks: Vec::new(),
            started: now,
            linger: LINGER,
            newest: None,
            hedge: now,
            closing: None,
            done: false,
            orders: VecDeque::new(),
        };
        hunt.go_on(now);
        hunt
    }

    /// What is to be done next; after [`Order::Done`] nothing more comes.
    pub fn order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Kind of slot and epoch of a place.
    pub fn place(&self, look: usize) -> Option<(&'static str, u64)> {
        self.looks.get(look).map(|look| (look.place.via, look.place.epoch))
    }

    /// Valid and bad copies at a place.
    pub fn copies(&self, look: usize) -> (u32, u32) {
        self.looks.get(look).map_or((0, 0), |look| look.judge.counts())
    }

    /// Valid and bad copies in all.
    pub fn all_copies(&self) -> (u32, u32) {
        let counts = self.looks.iter().map(|look| look.judge.counts());
        counts.fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1))
    }

    /// Places begun so far.
    pub fn begun(&self) -> usize {
        self.looks.len()
    }

    /// When [`Hunt::tick`] is to be called at the latest.
    pub fn next_due(&self) -> Option<Instant> {
        if self.done {
            return None;
        }
        let hedge = (self.newest.is_none() && self.waiting.len() > 0).then_some(self.hedge);
        let looks = self.looks.iter().filter_map(|look| match look.state {
            State::Looking { linger } => linger,
            State::Pausing(until) => Some(until),
            State::Ended => None,
        });
        looks.chain(hedge).chain(self.closing).min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        if self.done {
            return;
        }
        if self.closing.is_some_and(|at| at <= now) {
            return self.finish();
        }
        for index in 0..self.looks.len() {
            match self.looks[index].state {
                State::Looking { linger: Some(until) } if until <= now => self.end(index, true, now),
                State::Pausing(until) if until <= now => self.look(index),
                _ => {}
            }
        }
        if !self.done && self.newest.is_none() && self.hedge <= now {
            self.go_on(now);
        }
    }

    /// A copy came from the lookup of a place.
    pub fn copy(&mut self, index: usize, copy: Copy, now: Instant, unix_ms: u64) {
        let Some(look) = self.looks.get_mut(index) else { return };
        if self.done || !matches!(look.state, State::Looking { .. }) {
            return;
        }
        if let Verdict::Good(sequence, body) = look.judge.take(&look.place.reader, copy, unix_ms) {
            if self.newest.is_none() {
                self.linger = (2 * now.saturating_duration_since(self.started)).clamp(LINGER, LINGER_MAX);
            }
            if self.newest.is_none_or(|newest| sequence > newest) {
                self.newest = Some(sequence);
                self.orders.push_back(Order::Found(index, sequence, body));
            }
        }
        if look.judge.has_found() {
            look.state = State::Looking { linger: Some(now + self.linger) };
        }
        if look.judge.is_enough() {
            self.end(index, true, now);
        }
    }

    /// The lookup of a place ended by itself: `answered` of the `known` nodes (in the routing table) gave an answer.
    pub fn ended(&mut self, index: usize, answered: usize, known: usize, now: Instant) {
        let Some(look) = self.looks.get_mut(index) else { return };
        if self.done || !matches!(look.state, State::Looking { .. }) {
            return;
        }
        // With nobody to ask, or everybody asked, once more would not help.
        let hopeless = answered == 0 || answered >= known.min(K);
        if look.judge.has_found() || hopeless || look.attempts >= ATTEMPTS {
            self.end(index, false, now);
        } else {
            look.state = State::Pausing(now + AGAIN);
        }
    }

    fn look(&mut self, index: usize) {
        let Some(look) = self.looks.get_mut(index) else { return };
        look.attempts += 1;
        look.state = State::Looking { linger: None };
        self.orders.push_back(Order::Look(index, *look.place.reader.key.as_bytes()));
    }

    /// Begins the next places; ends the search if there are none, and none under way.
    fn go_on(&mut self, now: Instant) {
        self.hedge = now + HEDGE;
        if let Some(together) = self.waiting.next() {
            for place in together {
                self.looks.push(Look { place, judge: Judge::default(), attempts: 0, state: State::Ended });
                self.look(self.looks.len() - 1);
            }
        }
        if self.is_idle() {
            self.finish();
        }
    }

    fn is_idle(&self) -> bool {
        self.looks.iter().all(|look| matches!(look.state, State::Ended))
    }

    fn end(&mut self, index: usize, stop: bool, now: Instant) {
        if stop {
            self.orders.push_back(Order::Stop(index));
        }
        self.looks[index].state = State::Ended;
        self.mend(index);
        if self.looks[index].judge.has_found() {
            self.closing.get_or_insert(now + self.linger);
        }
        if self.is_idle() {
            if self.newest.is_some() {
                self.finish();
            } else {
                self.go_on(now);
            }
        }
    }

    fn mend(&mut self, index: usize) {
        let look = &mut self.looks[index];
        if let Some((value, stale)) = look.judge.stale()
            && !stale.is_empty()
        {
            self.orders.push_back(Order::Mend(*look.place.reader.key.as_bytes(), value, stale));
        }
    }

    fn finish(&mut self) {
        for index in 0..self.looks.len() {
            if !matches!(self.looks[index].state, State::Ended) {
                self.looks[index].state = State::Ended;
                self.mend(index);
            }
        }
        self.done = true;
        self.orders.push_back(Order::Done);
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};
    use twocan_protocol::{
        address::{Address, ContactToken},
        identity::{Certificate, DeviceKey, FriendshipKey, RootKey},
        rendezvous::{Schedule, contact_publisher, pair_publisher},
    };

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn alice() -> RootKey {
        RootKey::from_secret(&[1; 32])
    }

    fn contact() -> Target {
        Target::Contact(Address { root: alice().public(), token: ContactToken::derived(&alice()) })
    }

    fn body(root: &RootKey) -> Body {
        Body {
            certificate: Certificate::issue(root, DeviceKey::from_secret(&[2; 32]).public(), 0, 0, u64::MAX),
            peer_id: PeerId::from_bytes(&[9; 38]).unwrap(),
            direct: Vec::new(),
            lan: Vec::new(),
            relayed: Vec::new(),
            expires_ms: u64::MAX,
        }
    }

    fn copy(index: u8, sequence: u64, from: u8) -> Copy {
        let token = ContactToken::derived(&alice());
        let day = Schedule::contact(&alice().public(), &token).epoch_of(NOW_MS);
        let publisher = contact_publisher(&alice(), &token, day, index);
        let value = publisher.record(sequence, &body(&alice()), &mut StdRng::seed_from_u64(1)).unwrap();
        Copy { value, from: PeerId::from_bytes(&[from; 38]).ok(), range: None }
    }

    /// One letter for each order, with its place.
    fn orders(hunt: &mut Hunt) -> Vec<String> {
        std::iter::from_fn(|| hunt.order())
            .map(|order| match order {
                Order::Look(place, _) => format!("look {place}"),
                Order::Stop(place) => format!("stop {place}"),
                Order::Found(place, sequence, _) => format!("found {sequence} at {place}"),
                Order::Mend(_, _, peers) => format!("mend {}", peers.len()),
                Order::Done => "done".to_owned(),
            })
            .collect()
    }

    #[test]
    fn the_slots_of_a_day_are_looked_into_together_and_the_newest_of_them_counts() {
        let now = Instant::now();
        let mut hunt = Hunt::new(&contact(), now, NOW_MS);
        assert_eq!(orders(&mut hunt), ["look 0", "look 1", "look 2", "look 3"]);
        hunt.copy(2, copy(2, 5, 1), now, NOW_MS);
        hunt.copy(3, copy(3, 7, 1), now, NOW_MS);
        hunt.copy(0, copy(0, 6, 1), now, NOW_MS);
        assert_eq!(orders(&mut hunt), ["found 5 at 2", "found 7 at 3"]);
        hunt.tick(now + LINGER);
        assert_eq!(orders(&mut hunt), ["stop 0", "stop 2", "stop 3"]);
        hunt.tick(now + 2 * LINGER);
        assert_eq!(orders(&mut hunt), ["done"]);
        assert_eq!(hunt.next_due(), None);
    }

    #[test]
    fn agreement_ends_a_place_and_older_copies_are_mended() {
        let now = Instant::now();
        let mut hunt = Hunt::new(&contact(), now, NOW_MS);
        orders(&mut hunt);
        for (sequence, from) in [(4, 1), (5, 2), (5, 3), (5, 4), (5, 5)] {
            hunt.copy(0, copy(0, sequence, from), now, NOW_MS);
        }
        assert_eq!(orders(&mut hunt), ["found 4 at 0", "found 5 at 0", "stop 0", "mend 1"]);
        for place in 1..4 {
            hunt.ended(place, 20, 100, now);
        }
        assert_eq!(orders(&mut hunt), ["done"]);
    }

    #[test]
    fn an_empty_place_is_tried_again_unless_all_were_asked_and_then_come_the_next() {
        let mut now = Instant::now();
        let bob = RootKey::from_secret(&[2; 32]);
        let friendship = FriendshipKey::of(&bob, &alice().public());
        let target = Target::Friend { root: alice().public(), friendship: friendship.clone(), grant: None };
        let mut hunt = Hunt::new(&target, now, NOW_MS);
        assert_eq!(orders(&mut hunt), ["look 0"]);
        hunt.ended(0, 12, 100, now);
        now = hunt.next_due().unwrap();
        hunt.tick(now);
        assert_eq!(orders(&mut hunt), ["look 0"]);
        hunt.ended(0, 12, 100, now);
        assert_eq!(orders(&mut hunt), ["look 1"]);
        now = hunt.next_due().unwrap();
        hunt.tick(now);
        assert_eq!(orders(&mut hunt), ["look 2"], "without waiting for the end of the one before");
        hunt.ended(1, 7, 7, now);
        let last = Schedule::pair(&alice().public(), &friendship).epoch_of(NOW_MS) + 1;
        let publisher = pair_publisher(&alice(), &friendship, last);
        let value = publisher.record(9, &body(&alice()), &mut StdRng::seed_from_u64(1)).unwrap();
        hunt.copy(2, Copy { value, from: None, range: None }, now, NOW_MS);
        hunt.ended(2, 1, 100, now);
        assert_eq!(orders(&mut hunt), ["found 9 at 2", "done"]);
    }

    #[test]
    fn nothing_anywhere_is_an_end_too() {
        let now = Instant::now();
        let mut hunt = Hunt::new(&contact(), now, NOW_MS);
        let mut begun = 0;
        loop {
            match hunt.order() {
                Some(Order::Look(place, _)) => {
                    begun += 1;
                    hunt.ended(place, 0, 0, now);
                }
                Some(Order::Done) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(begun, 8);
    }
}
