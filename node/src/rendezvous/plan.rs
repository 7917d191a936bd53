//! What to publish when: a table of places (slot and epoch), each with the time at which something is due.
//!
//! Pure: time and randomness come in, jobs come out. The rules, which `specs/02-rendezvous.md` gives to others:
//! - The current epoch of every slot is put at once, the next one at a random time in the second half of the current
//!   one (or at once if that is past), so that the turn of an epoch costs nothing and is seen by nobody.
//! - A place is put again when the addresses changed, when its copies get old, and when it is not found any more.
//! - Pair slots are put in every epoch for two days, then in every fourth, after two weeks in every twelfth.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{CryptoRng, RngExt};
use twocan_protocol::{
    address::ContactToken,
    identity::{FriendshipKey, RootKey, RootPublic},
    rendezvous::{
        CONTACT_SLOTS, PresenceKey, Publisher, Schedule, contact_publisher, pair_publisher, presence_publisher,
    },
};

/// With so many holders a record outlives what happens in two hours, and is not looked at.
const MANY: u32 = 10;
/// Changes of addresses come in bunches: one put for all.
const SETTLE: Duration = Duration::from_millis(600);
/// What is due within this time is done along with what is due now, over the same connections.
const TOGETHER: Duration = Duration::from_secs(600);
/// A next epoch is put this long before its turn at the earliest: records live three hours.
const AHEAD_MS: u64 = 3_600_000;
/// What differs between our own DHT and the public one.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A record is put again after this time, if its epoch lasts so long.
    pub renew: Duration,
    /// A place with few holders is looked at this long after it was last seen: do the others still have it?
    pub check: Option<Duration>,
    /// Between two puts of one place for changed addresses.
    pub min_pause: Duration,
    /// Pauses after a put that nobody took.
    pub back_off: [Duration; 5],
    /// Pair slots in one epoch; more wait for a later one.
    pub pairs: usize,
    /// Pair slots in one epoch for friends from whom the addresses are hidden, who have no other.
    pub hidden: usize,
    /// Contact slots of a day.
    pub contacts: u8,
}

impl Rules {
    /// Our own DHT: storing nodes keep a record for three hours; it is renewed well before.
    pub const OWN: Self = Self {
        renew: Duration::from_secs(8100),
        check: Some(Duration::from_secs(2700)),
        min_pause: Duration::from_secs(20),
        back_off: seconds([1, 4, 15, 60, 300]),
        pairs: 64,
        // About 30 MB an hour.
        hidden: 256,
        contacts: CONTACT_SLOTS,
    };
    /// The public one: servers keep a record for two days, and each put costs more and bothers strangers.
    pub const PUBLIC: Self = Self {
        renew: Duration::from_secs(36_000),
        check: None,
        min_pause: Duration::from_secs(60),
        back_off: seconds([30, 120, 600, 1800, 3600]),
        pairs: 8,
        hidden: 8,
        contacts: 2,
    };
}

impl Default for Rules {
    fn default() -> Self {
        Self::OWN
    }
}

const fn seconds(pauses: [u64; 5]) -> [Duration; 5] {
    let mut out = [Duration::ZERO; 5];
    let mut at = 0;
    while at < 5 {
        out[at] = Duration::from_secs(pauses[at]);
        at += 1;
    }
    out
}

/// Until then a pair slot is put in every epoch (ms).
const EVERY_UNTIL_MS: u64 = 2 * 24 * 3_600_000;
/// Until then in every fourth, later in every twelfth (ms).
const FOURTH_UNTIL_MS: u64 = 14 * 24 * 3_600_000;

/// A slot of one's own to publish in.
#[derive(Clone)]
pub enum Slot {
    /// For all friends who have the grant.
    Presence(Arc<PresenceKey>),
    /// For one friend who has not acknowledged the current grant, or from whom the own addresses are hidden.
    Pair {
        /// Own root key.
        root: Arc<RootKey>,
        /// Key of this friendship.
        friendship: FriendshipKey,
        /// Who it is for.
        friend: RootPublic,
        /// Since when it is published (Unix ms): the older, the rarer. `None`: in every epoch, and naming the hidden
        /// node (see [`super::Hidden`]).
        since_ms: Option<u64>,
    },
    /// For whoever holds the address: one of several a day, see [`Slot::contacts`].
    Contact {
        /// Own root key.
        root: Arc<RootKey>,
        /// Current contact token.
        token: ContactToken,
        /// Which of the day's slots.
        index: u8,
        /// Whether it names the hidden node (see [`super::Hidden`]).
        hidden: bool,
    },
}

/// Which slot, without its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotId {
    /// Presence, by generation of the grant.
    Presence(u64),
    /// Pair, by friend.
    Pair(RootPublic),
    /// Contact, by token and number of the slot in its day.
    Contact([u8; 8], u8),
}

impl SlotId {
    /// One word, as reports name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Presence(_) => "presence",
            Self::Pair(_) => "pair",
            Self::Contact(..) => "contact",
        }
    }
}

impl Slot {
    /// All contact slots of an address.
    pub fn contacts(root: &Arc<RootKey>, token: ContactToken, hidden: bool) -> impl Iterator<Item = Self> {
        (0..CONTACT_SLOTS).map(move |index| Self::Contact { root: Arc::clone(root), token, index, hidden })
    }

    /// Whether its records name the hidden node, and nothing of where this one is.
    pub fn is_hidden(&self) -> bool {
        matches!(self, Self::Pair { since_ms: None, .. } | Self::Contact { hidden: true, .. })
    }

    /// Which slot this is.
    pub fn id(&self) -> SlotId {
        match self {
            Self::Presence(key) => SlotId::Presence(key.generation()),
            Self::Pair { friend, .. } => SlotId::Pair(*friend),
            Self::Contact { token, index, .. } => SlotId::Contact(*token.as_bytes(), *index),
        }
    }

    /// Its epochs.
    pub fn schedule(&self) -> Schedule {
        match self {
            Self::Presence(key) => Schedule::presence(&key.grant()),
            Self::Pair { root, friendship, .. } => Schedule::pair(&root.public(), friendship),
            Self::Contact { root, token, .. } => Schedule::contact(&root.public(), token),
        }
    }

    /// What signs and seals its records in `epoch`.
    pub fn publisher(&self, epoch: u64) -> Publisher {
        match self {
            Self::Presence(key) => presence_publisher(key, epoch),
            Self::Pair { root, friendship, .. } => pair_publisher(root, friendship, epoch),
            Self::Contact { root, token, index, .. } => contact_publisher(root, token, epoch, *index),
        }
    }

    fn is_wanted(&self, epoch: u64, unix_ms: u64) -> bool {
        let Self::Pair { friend, since_ms: Some(since_ms), .. } = self else { return true };
        let age = unix_ms.saturating_sub(*since_ms);
        let every = if age < EVERY_UNTIL_MS {
            1
        } else if age < FOURTH_UNTIL_MS {
            4
        } else {
            12
        };
        epoch.wrapping_add(u64::from(friend.as_bytes()[0])).is_multiple_of(every)
    }
}

/// A place: one slot in one epoch.
pub type PlaceId = (SlotId, u64);

/// What is to be done at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Put a record.
    Put,
    /// See whether others still have it.
    Check,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nodes took the record; `confirmed` if it was read back from one.
    Put {
        /// Sequence of the record.
        sequence: u64,
        /// Which version of the body it holds.
        version: u64,
        /// Nodes that took it.
        holders: u32,
        /// Read back from another node.
        confirmed: bool,
    },
    /// Nobody took it, or somebody has a record with this higher sequence (of an earlier run of this node).
    Failed {
        /// Highest sequence seen.
        seen: u64,
    },
    /// Others still have it.
    Present,
    /// Nobody gave it back.
    Missing,
}

struct Place {
    due: Instant,
    ends_ms: u64,
    running: bool,
    put: Option<(Instant, u64)>,
    sequence: u64,
    failures: usize,
    confirmed: bool,
    next_epoch: bool,
}

/// The table.
#[derive(Default)]
pub struct Plan {
    rules: Rules,
    slots: Vec<Slot>,
    places: BTreeMap<PlaceId, Place>,
    version: u64,
    /// Records older than this version do not say how to reach us.
    urgent: u64,
}

/// How much of the plan is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Slots to publish (current epochs).
    pub wanted: usize,
    /// Of them, put to at least one node.
    pub published: usize,
    /// Of them, read back from another node since they were last put.
    pub confirmed: usize,
}

impl Status {
    /// Whether everything in the plan was read back.
    pub fn is_complete(&self) -> bool {
        self.wanted > 0 && self.confirmed == self.wanted
    }
}

impl Plan {
    /// An empty plan with other rules than those of our own DHT.
    pub fn with(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Takes the slots to publish from now on.
    pub fn set_slots(&mut self, slots: Vec<Slot>, now: Instant, unix_ms: u64, rng: &mut impl CryptoRng) {
        self.slots = slots;
        self.turn(now, unix_ms, rng);
    }

    /// The body changed (its `version` counts up): every place that was put is due again soon.
    pub fn set_version(&mut self, version: u64, now: Instant) {
        self.version = version;
        for place in self.places.values_mut() {
            if let Some((at, put)) = place.put
                && put != version
            {
                place.due = place.due.min((now + SETTLE).max(at + self.rules.min_pause));
            }
        }
    }

    /// As [`Plan::set_version`], but without waiting for more changes: what was put before does not help anybody to reach
    /// us.
    pub(super) fn set_urgent_version(&mut self, version: u64, now: Instant) {
        self.version = version;
        self.urgent = version;
        let begun = |place: &&mut Place| place.put.is_some() || place.running || place.failures > 0;
        for place in self.places.values_mut().filter(begun) {
            // Beside the put that runs: what that one says helps nobody.
            place.due = now;
            place.running = false;
        }
    }

    /// Makes the places of the epochs that time has come to, and forgets those that are past.
    pub fn turn(&mut self, now: Instant, unix_ms: u64, rng: &mut impl CryptoRng) {
        let mut wanted: BTreeMap<PlaceId, (u64, Instant, bool)> = BTreeMap::new();
        let (mut pairs, mut hidden) = (0, 0);
        for slot in &self.slots {
            let schedule = slot.schedule();
            let [current, next] = schedule.to_publish(unix_ms);
            match slot {
                Slot::Pair { .. } => {
                    let (count, most) = if slot.is_hidden() {
                        (&mut hidden, self.rules.hidden)
                    } else {
                        (&mut pairs, self.rules.pairs)
                    };
                    *count += 1;
                    if *count > most {
                        continue;
                    }
                }
                Slot::Contact { index, .. } if *index >= self.rules.contacts => continue,
                _ => {}
            }
            let ends_ms = schedule.end_ms(current);
            if slot.is_wanted(current, unix_ms) {
                wanted.insert((slot.id(), current), (ends_ms, now, false));
            }
            if slot.is_wanted(next, unix_ms) {
                let ahead = AHEAD_MS.min(schedule.period_ms());
                let earliest = ends_ms.saturating_sub(ahead / 2).max(unix_ms);
                let at_ms = if ends_ms.saturating_sub(unix_ms) < ahead / 8 {
                    unix_ms
                } else {
                    rng.random_range(earliest..ends_ms.saturating_sub(ahead / 16).max(earliest + 1))
                };
                let at = now + Duration::from_millis(at_ms.saturating_sub(unix_ms));
                wanted.insert((slot.id(), next), (schedule.end_ms(next), at, true));
            }
        }
        self.places.retain(|id, place| wanted.contains_key(id) || place.running);
        for (id, (ends_ms, due, next_epoch)) in wanted {
            let place = self.places.entry(id).or_insert(Place {
                due,
                ends_ms,
                running: false,
                put: None,
                sequence: 0,
                failures: 0,
                confirmed: false,
                next_epoch,
            });
            if place.next_epoch && !next_epoch && place.put.is_none() {
                place.due = now;
            }
            place.next_epoch = next_epoch;
        }
    }

    /// Whether one of these slots is to name another node than before.
    pub(super) fn turns(&self, slots: &[Slot]) -> bool {
        let before: BTreeMap<SlotId, bool> = self.slots.iter().map(|slot| (slot.id(), slot.is_hidden())).collect();
        slots.iter().any(|slot| before.get(&slot.id()).is_some_and(|hidden| *hidden != slot.is_hidden()))
    }

    /// The slot of a place.
    pub fn slot(&self, id: &PlaceId) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.id() == id.0)
    }

    /// When a place ends (Unix ms): until then its record may be believed.
    pub fn ends_ms(&self, id: &PlaceId) -> Option<u64> {
        self.places.get(id).map(|place| place.ends_ms)
    }

    /// Sequence for the next record at a place: `max(last + 1, Unix ms)`.
    pub fn next_sequence(&self, id: &PlaceId, unix_ms: u64) -> u64 {
        let last = self.places.get(id).map_or(0, |place| place.sequence);
        unix_ms.max(last.saturating_add(1))
    }

    /// When to ask for jobs again.
    pub fn next_due(&self) -> Option<Instant> {
        self.places.values().filter(|place| !place.running).map(|place| place.due).min()
    }

    /// The jobs that are due, with those that go along; they count as running until [`Plan::finished`].
    pub fn due(&mut self, now: Instant) -> Vec<(PlaceId, Job)> {
        let any = self.places.values().any(|place| !place.running && place.due <= now);
        if !any {
            return Vec::new();
        }
        let version = self.version;
        let rules = self.rules;
        let mut jobs = Vec::new();
        for (id, place) in &mut self.places {
            let along = place.failures == 0 && place.due <= now + TOGETHER;
            if place.running || !(place.due <= now || along) {
                continue;
            }
            place.running = true;
            let job = match place.put {
                Some((at, put))
                    if put == version
                        && rules.check.is_some()
                        && now.saturating_duration_since(at) + TOGETHER < rules.renew =>
                {
                    Job::Check
                }
                _ => Job::Put,
            };
            jobs.push((*id, job));
        }
        jobs
    }

    /// A job ended.
    pub fn finished(&mut self, id: &PlaceId, outcome: Outcome, now: Instant) {
        let (version, urgent) = (self.version, self.urgent);
        let Rules { renew, check, back_off: pauses, .. } = self.rules;
        let Some(place) = self.places.get_mut(id) else { return };
        if let Outcome::Put { sequence, version: put, .. } = outcome
            && put < urgent
            && (place.running || place.put.is_some_and(|(_, later)| later >= urgent))
        {
            // Overtaken by an urgent one.
            place.sequence = place.sequence.max(sequence);
            return;
        }
        place.running = false;
        match outcome {
            Outcome::Put { sequence, version: put, holders, confirmed } => {
                place.sequence = place.sequence.max(sequence);
                place.put = Some((now, put));
                place.confirmed = confirmed;
                place.failures = if confirmed { 0 } else { place.failures + 1 };
                place.due = if put < urgent {
                    now
                } else if put != version {
                    now + SETTLE
                } else if confirmed {
                    now + if holders < MANY { check.unwrap_or(renew) } else { renew }
                } else {
                    now + back_off(&pauses, place.failures)
                };
            }
            Outcome::Failed { seen } => {
                place.sequence = place.sequence.max(seen);
                place.put = None;
                place.confirmed = false;
                place.failures += 1;
                place.due = now + back_off(&pauses, place.failures);
            }
            Outcome::Present => {
                place.confirmed = true;
                place.failures = 0;
                place.due = now + check.unwrap_or(renew);
            }
            Outcome::Missing => {
                place.put = None;
                place.confirmed = false;
                place.due = now;
            }
        }
    }

    /// DHT nodes were found where there were none: what failed is tried again at once.
    pub fn hasten(&mut self, now: Instant) {
        for place in self.places.values_mut().filter(|place| place.failures > 0) {
            place.due = place.due.min(now);
        }
    }

    /// The machine slept: what is due by a clock that stood is due that much sooner.
    pub(super) fn slept(&mut self, time: Duration) {
        let sooner = |at: Instant| at.checked_sub(time).unwrap_or(at);
        for place in self.places.values_mut() {
            place.due = sooner(place.due);
            place.put = place.put.map(|(at, version)| (sooner(at), version));
        }
    }

    /// Places that lie on other nodes now, with the sequence there.
    pub fn published(&self) -> Vec<PlaceId> {
        self.places.iter().filter(|(_, place)| place.put.is_some()).map(|(id, _)| *id).collect()
    }

    /// How much is done.
    pub fn status(&self) -> Status {
        let current = || self.places.values().filter(|place| !place.next_epoch);
        Status {
            wanted: current().count(),
            published: current().filter(|place| place.put.is_some()).count(),
            confirmed: current().filter(|place| place.confirmed).count(),
        }
    }
}

fn back_off(pauses: &[Duration; 5], failures: usize) -> Duration {
    pauses[failures.saturating_sub(1).min(pauses.len() - 1)]
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn presence() -> Slot {
        Slot::Presence(Arc::new(PresenceKey::generate(1, &mut StdRng::seed_from_u64(1))))
    }

    fn pair(since_ms: u64) -> Slot {
        let [root, friend] = [1, 2].map(|n| RootKey::from_secret(&[n; 32]));
        let friendship = FriendshipKey::of(&root, &friend.public());
        Slot::Pair { root: Arc::new(root), friendship, friend: friend.public(), since_ms: Some(since_ms) }
    }

    fn contact() -> Slot {
        let root = RootKey::from_secret(&[1; 32]);
        let token = ContactToken::derived(&root);
        Slot::Contact { root: Arc::new(root), token, index: 0, hidden: false }
    }

    /// Runs a plan for `hours` in steps of a minute, every job succeeding, and returns the jobs with their minute.
    fn run(slots: Vec<Slot>, hours: u64) -> Vec<(u64, PlaceId, Job)> {
        let mut rng = StdRng::seed_from_u64(7);
        let (start, start_ms) = (Instant::now(), 1_800_000_000_000);
        let mut plan = Plan::default();
        plan.set_slots(slots, start, start_ms, &mut rng);
        let mut done = Vec::new();
        for minute in 0..hours * 60 {
            let (now, unix_ms) = (start + Duration::from_secs(60 * minute), start_ms + 60_000 * minute);
            plan.turn(now, unix_ms, &mut rng);
            for (id, job) in plan.due(now) {
                let outcome = match job {
                    Job::Put => Outcome::Put { sequence: unix_ms, version: 0, holders: 3, confirmed: true },
                    Job::Check => Outcome::Present,
                };
                plan.finished(&id, outcome, now);
                done.push((minute, id, job));
            }
        }
        done
    }

    #[test]
    fn each_epoch_is_published_before_it_begins_and_costs_one_put() {
        let slot = presence();
        let schedule = slot.schedule();
        let jobs = run(vec![slot.clone()], 24);
        let puts: Vec<u64> =
            jobs.iter().filter(|(.., job)| *job == Job::Put).map(|(_, (_, epoch), _)| *epoch).collect();
        let first = schedule.epoch_of(1_800_000_000_000);
        let mut expected: Vec<u64> = (first..first + puts.len() as u64).collect();
        expected.sort_unstable();
        assert_eq!(puts, expected, "one put for each epoch, in order");
        assert!((24..=26).contains(&puts.len()), "{}", puts.len());
    }

    #[test]
    fn only_records_with_few_holders_are_looked_at_between_puts() {
        let mut rng = StdRng::seed_from_u64(7);
        let (now, unix_ms) = (Instant::now(), 1_800_000_000_000);
        let pause = |holders| {
            let mut plan = Plan::default();
            plan.set_slots(vec![contact()], now, unix_ms, &mut rng);
            let jobs = plan.due(now);
            plan.finished(&jobs[0].0, Outcome::Put { sequence: 1, version: 0, holders, confirmed: true }, now);
            plan.places[&jobs[0].0].due - now
        };
        assert_eq!([2, 20].map(pause), [Rules::OWN.check.unwrap(), Rules::OWN.renew]);
    }

    #[test]
    fn a_contact_slot_is_renewed_before_storing_nodes_forget_it() {
        let puts: Vec<u64> = run(vec![contact()], 24)
            .into_iter()
            .filter(|(.., job)| *job == Job::Put)
            .map(|(minute, ..)| minute)
            .collect();
        assert!(puts.windows(2).all(|pair| pair[1] - pair[0] < 170), "{puts:?}");
        assert!(puts.len() <= 16, "{puts:?}");
    }

    #[test]
    fn pair_slots_get_rarer_with_age() {
        let puts = |age_days: u64| {
            let since = 1_800_000_000_000 - age_days * 24 * HOUR_MS;
            run(vec![pair(since)], 24).into_iter().filter(|(.., job)| *job == Job::Put).count()
        };
        assert!((24..=26).contains(&puts(0)));
        assert!((5..=8).contains(&puts(5)), "{}", puts(5));
        assert!((1..=4).contains(&puts(30)), "{}", puts(30));
    }

    #[test]
    fn changed_addresses_are_put_once_after_they_settled() {
        let mut rng = StdRng::seed_from_u64(7);
        let (now, unix_ms) = (Instant::now(), 1_800_000_000_000);
        let mut plan = Plan::default();
        plan.set_slots(vec![contact()], now, unix_ms, &mut rng);
        let jobs = plan.due(now);
        assert_eq!(jobs.len(), 1);
        plan.finished(&jobs[0].0, Outcome::Put { sequence: 1, version: 0, holders: 3, confirmed: true }, now);
        assert_eq!(plan.status(), Status { wanted: 1, published: 1, confirmed: 1 });
        plan.set_version(1, now);
        plan.set_version(2, now);
        assert!(plan.due(now + SETTLE).is_empty(), "not so soon after the last put");
        let again = plan.due(now + Rules::OWN.min_pause);
        assert_eq!(again, [(jobs[0].0, Job::Put)]);
        assert!(plan.due(now + Rules::OWN.min_pause).is_empty(), "it runs");
    }

    #[test]
    fn what_friends_need_to_reach_us_is_put_beside_the_put_that_runs() {
        let mut rng = StdRng::seed_from_u64(7);
        let (now, unix_ms) = (Instant::now(), 1_800_000_000_000);
        let mut plan = Plan::default();
        plan.set_slots(vec![contact()], now, unix_ms, &mut rng);
        let first = plan.due(now);
        plan.set_urgent_version(1, now);
        let second = plan.due(now);
        assert_eq!(second, first);
        let put = |sequence, version| Outcome::Put { sequence, version, holders: 3, confirmed: true };
        plan.finished(&first[0].0, put(5, 0), now);
        assert!(plan.due(now).is_empty(), "the urgent one still runs");
        plan.finished(&first[0].0, put(9, 1), now);
        assert_eq!(plan.status(), Status { wanted: 1, published: 1, confirmed: 1 });
        assert_eq!(plan.next_due().unwrap() - now, Rules::OWN.check.unwrap());
    }

    #[test]
    fn a_put_that_nobody_took_is_repeated_later_and_later_or_when_nodes_are_found() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut now = Instant::now();
        let mut plan = Plan::default();
        plan.set_slots(vec![contact()], now, 1_800_000_000_000, &mut rng);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let jobs = plan.due(now);
            plan.finished(&jobs[0].0, Outcome::Failed { seen: 0 }, now);
            let next = plan.next_due().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(pauses[..5], Rules::OWN.back_off);
        let jobs = plan.due(now);
        plan.finished(&jobs[0].0, Outcome::Failed { seen: 9_000_000_000_000 }, now);
        assert!(plan.due(now).is_empty());
        plan.hasten(now);
        assert_eq!(plan.due(now).len(), 1);
        assert_eq!(plan.next_sequence(&jobs[0].0, 1_800_000_000_000), 9_000_000_000_001);
    }

    #[test]
    fn the_public_dht_gets_fewer_places_and_each_of_them_once_in_ten_hours() {
        let mut rng = StdRng::seed_from_u64(7);
        let (start, unix_ms) = (Instant::now(), 1_800_000_000_000);
        let root = Arc::new(RootKey::from_secret(&[1; 32]));
        let token = ContactToken::derived(&root);
        let pairs = (2..30).map(|n| {
            let friend = RootKey::from_secret(&[n; 32]).public();
            Slot::Pair {
                root: Arc::clone(&root),
                friendship: FriendshipKey::of(&root, &friend),
                friend,
                since_ms: None,
            }
        });
        let mut plan = Plan::with(Rules::PUBLIC);
        plan.set_slots(Slot::contacts(&root, token, false).chain(pairs).collect(), start, unix_ms, &mut rng);
        let current = plan.status().wanted;
        assert_eq!(current, Rules::PUBLIC.pairs + usize::from(Rules::PUBLIC.contacts));
        let contact = |jobs: &[(PlaceId, Job)]| jobs.iter().filter(|((id, _), _)| id.kind() == "contact").count();
        let mut puts = 0;
        for minute in 0..20 * 60 {
            let now = start + Duration::from_secs(minute * 60);
            plan.turn(now, unix_ms, &mut rng);
            let jobs = plan.due(now);
            assert!(jobs.iter().all(|(_, job)| *job == Job::Put));
            puts += contact(&jobs);
            for (id, _) in jobs {
                let outcome = Outcome::Put { sequence: 1, version: 0, holders: 3, confirmed: true };
                plan.finished(&id, outcome, now);
            }
        }
        // Two places of the current day at the start and ten hours later, and two of the next day at some time.
        assert!((4..=8).contains(&puts), "{puts}");
    }

    #[test]
    fn a_slot_that_is_no_longer_wanted_is_not_published_again() {
        let mut rng = StdRng::seed_from_u64(7);
        let (now, unix_ms) = (Instant::now(), 1_800_000_000_000);
        let mut plan = Plan::default();
        plan.set_slots(vec![presence(), contact()], now, unix_ms, &mut rng);
        plan.set_slots(vec![contact()], now, unix_ms, &mut rng);
        assert!(plan.due(now).iter().all(|((id, _), _)| id.kind() == "contact"));
    }
}
