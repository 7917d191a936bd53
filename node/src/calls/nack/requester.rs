//! The receiver's half: which packets are missing, and when to ask for each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most packets that are asked for at once: more is no loss but an outage, and a key frame mends it.
const MAX_MISSING: usize = 512;
/// Most packets named in one message; the rest follows a moment later.
const MAX_ASK: usize = 96;
/// A packet is asked for so often at most.
const MAX_TIMES: u8 = 10;
/// A hole is waited for so long before it is asked about, at least and at most: packets overtake each other.
const WAIT: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(40));
/// What is added to the time that a repair takes before it is asked for again.
const MARGIN: Duration = Duration::from_millis(8);
/// Shortest and longest time between two requests for one packet.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// A frame whose last packet does not come within this time is asked about before the next frame shows the hole.
const TAIL: Duration = Duration::from_millis(12);

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Instant,
    asked: Option<Instant>,
    times: u8,
}

/// Counters of a requester.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::calls) struct Asked {
    /// Requests for a packet, repeated ones counted again.
    pub(in crate::calls) requests: u64,
    /// Packets that came after they were asked for.
    pub(in crate::calls) repaired: u64,
    /// Packets that never came, or too late.
    pub(in crate::calls) given_up: u64,
}

/// Decides what to ask for. Numbers are extended past 16 bits.
#[derive(Debug)]
pub(in crate::calls) struct Requester {
    missing: BTreeMap<u64, Missing>,
    /// One after the highest number that came.
    next: Option<u64>,
    /// When the newest packet came, if its frame goes on after it.
    open: Option<Instant>,
    /// A packet after the newest that was asked about, and when.
    tail: Option<(u64, Instant)>,
    round_trip: Duration,
    /// How much later than those after them overtaken packets came, of late.
    disorder: Duration,
    /// What a repair takes from the request on, smoothed.
    repair: Option<Duration>,
    counts: Asked,
}

impl Requester {
    pub(in crate::calls) fn new() -> Self {
        Self {
            missing: BTreeMap::new(),
            next: None,
            open: None,
            tail: None,
            round_trip: Duration::from_millis(50),
            disorder: Duration::ZERO,
            repair: None,
            counts: Asked::default(),
        }
    }

    pub(in crate::calls) fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip.min(Duration::from_secs(2));
    }

    /// Forgets the stream, but not the path.
    pub(in crate::calls) fn reset(&mut self) {
        self.missing.clear();
        (self.next, self.open, self.tail) = (None, None, None);
    }

    pub(in crate::calls) fn counts(&self) -> Asked {
        self.counts
    }

    /// How long a hole may be a packet that was merely overtaken.
    pub(in crate::calls) fn wait(&self) -> Duration {
        (self.disorder + self.disorder / 4).clamp(WAIT.0, WAIT.1)
    }

    /// The time from a request to the packet, as far as it is known.
    pub(in crate::calls) fn repair_time(&self) -> Duration {
        self.repair.unwrap_or(self.round_trip).max(self.round_trip)
    }

    fn again(&self) -> Duration {
        (self.repair_time() + self.repair_time() / 8 + MARGIN).clamp(AGAIN.0, AGAIN.1)
    }

    /// A packet came; `ends` tells that it is the last of its frame. `false`: so much is missing before it that asking
    /// is of no use.
    pub(in crate::calls) fn handle_packet(&mut self, now: Instant, number: u64, ends: bool) -> bool {
        let next = *self.next.get_or_insert(number);
        if number < next {
            if let Some(missing) = self.missing.remove(&number) {
                self.learn(now, missing);
            }
            return true;
        }
        self.open = (!ends).then_some(now);
        self.next = Some(number + 1);
        let asked = self.tail.take().filter(|(asked, _)| *asked < number);
        if (number - next) as usize + self.missing.len() > MAX_MISSING {
            self.counts.given_up += self.missing.len() as u64 + (number - next);
            self.missing.clear();
            return false;
        }
        if number > next {
            // Each hole without disorder makes the path look a little more orderly.
            self.disorder = self.disorder - self.disorder / 64;
        }
        for lost in next..number {
            let early = asked.filter(|(asked, _)| *asked == lost).map(|(_, at)| at);
            self.missing.insert(lost, Missing { since: now, asked: early, times: u8::from(early.is_some()) });
        }
        true
    }

    fn learn(&mut self, now: Instant, missing: Missing) {
        let late = now.saturating_duration_since(missing.since);
        let answered = missing.asked.map(|at| now.saturating_duration_since(at));
        match answered {
            // Sooner than any answer can be: it was on its way already.
            Some(took) if took < self.round_trip.mul_f64(0.6) && missing.times == 1 => {
                self.disorder = self.disorder.max(late);
            }
            None => self.disorder = self.disorder.max(late),
            Some(took) => {
                self.counts.repaired += 1;
                // Of a packet asked for twice nobody knows which request was answered.
                if missing.times == 1 {
                    let before = self.repair.unwrap_or(took);
                    self.repair = Some((before * 7 + took.min(4 * self.round_trip + AGAIN.0)) / 8);
                }
            }
        }
    }

    /// Nothing before this number is of use any more.
    pub(in crate::calls) fn forget_before(&mut self, number: u64) {
        while let Some(first) = self.missing.first_entry().filter(|first| *first.key() < number) {
            first.remove();
            self.counts.given_up += 1;
        }
    }

    fn due_at(&self, missing: &Missing) -> Option<Instant> {
        match missing.asked {
            None => Some(missing.since + self.wait()),
            Some(at) => (missing.times < MAX_TIMES).then(|| at + self.again()),
        }
    }

    fn tail_at(&self) -> Option<Instant> {
        let open = self.open.filter(|_| self.tail.is_none())?;
        Some(open + TAIL.max(2 * self.wait()))
    }

    /// When [`Self::due`] wants to be called, if at all.
    pub(in crate::calls) fn deadline(&self) -> Option<Instant> {
        self.missing.values().filter_map(|missing| self.due_at(missing)).chain(self.tail_at()).min()
    }

    /// What is to be asked for now, growing.
    pub(in crate::calls) fn due(&mut self, now: Instant) -> Vec<u64> {
        let due = |missing: &Missing| self.due_at(missing).is_some_and(|at| at <= now);
        let mut out: Vec<u64> =
            self.missing.iter().filter(|(_, missing)| due(missing)).map(|(number, _)| *number).take(MAX_ASK).collect();
        for number in &out {
            if let Some(missing) = self.missing.get_mut(number) {
                missing.asked = Some(now);
                missing.times += 1;
            }
        }
        if self.tail_at().is_some_and(|at| at <= now)
            && let Some(next) = self.next
        {
            self.tail = Some((next, now));
            out.push(next);
        }
        self.counts.requests += out.len() as u64;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn requester() -> Requester {
        let mut requester = Requester::new();
        requester.set_round_trip(20 * MS);
        requester
    }

    #[test]
    fn a_hole_is_asked_for_once_soon_and_again_after_a_round_trip_and_a_margin() {
        let (mut requester, start) = (requester(), Instant::now());
        for number in [10, 11, 14] {
            assert!(requester.handle_packet(start, number, true));
        }
        assert_eq!(requester.deadline(), Some(start + WAIT.0));
        assert!(requester.due(start).is_empty());
        let first = start + WAIT.0;
        assert_eq!(requester.due(first), [12, 13]);
        assert!(requester.due(first + 20 * MS).is_empty(), "the answer may be on its way");
        let second = requester.deadline().unwrap();
        assert!(second > first + 20 * MS && second < first + 40 * MS);
        assert_eq!(requester.due(second), [12, 13]);
        requester.handle_packet(second + MS, 12, true);
        requester.forget_before(14);
        assert_eq!(requester.deadline(), None);
        assert_eq!(requester.counts(), Asked { requests: 4, repaired: 1, given_up: 1 });
    }

    #[test]
    fn a_packet_is_not_asked_for_for_ever() {
        let (mut requester, start) = (requester(), Instant::now());
        requester.handle_packet(start, 1, true);
        requester.handle_packet(start, 3, true);
        let mut asked = 0;
        while let Some(at) = requester.deadline() {
            assert!(at < start + 2000 * MS);
            asked += requester.due(at).len();
        }
        assert_eq!(asked, usize::from(MAX_TIMES));
    }

    #[test]
    fn the_wait_follows_the_disorder_of_the_path_and_packets_that_were_overtaken_are_not_asked_for() {
        let (mut requester, mut now) = (requester(), Instant::now());
        let mut asked = 0;
        requester.handle_packet(now, 0, true);
        for number in (1..400).step_by(2) {
            requester.handle_packet(now, number + 1, true);
            asked += requester.due(now + 9 * MS).len();
            requester.handle_packet(now + 9 * MS, number, true);
            now += 33 * MS;
        }
        assert!(asked < 5, "{asked}");
        assert!(requester.wait() >= 9 * MS && requester.wait() <= WAIT.1);
    }

    #[test]
    fn the_end_of_a_frame_is_asked_for_before_the_next_frame_shows_that_it_is_missing() {
        let (mut requester, start) = (requester(), Instant::now());
        requester.handle_packet(start, 5, false);
        assert_eq!(requester.due(start + TAIL), [6]);
        assert_eq!(requester.deadline(), None, "once");
        requester.handle_packet(start + 33 * MS, 7, true);
        assert!(requester.due(start + 33 * MS).is_empty(), "the answer may be on its way");
        assert_eq!(requester.due(start + 50 * MS), [6], "a request may be lost, too");
        requester.handle_packet(start + 60 * MS, 6, true);
        requester.handle_packet(start + 66 * MS, 8, true);
        assert_eq!(requester.deadline(), None);
    }

    #[test]
    fn an_outage_is_not_asked_for() {
        let (mut requester, start) = (requester(), Instant::now());
        requester.handle_packet(start, 5, true);
        assert!(!requester.handle_packet(start, 4000, true));
        assert_eq!(requester.deadline(), None);
        assert!(requester.handle_packet(start, 4002, true));
        assert_eq!(requester.due(start + 10 * MS), [4001]);
    }

    proptest! {
        #[test]
        fn hostile_numbers_stay_within_bounds(packets in prop::collection::vec((0_u64..5000, any::<bool>(), 0_u64..50), 0..300)) {
            let (mut requester, mut now) = (requester(), Instant::now());
            for (number, ends, ms) in packets {
                now += Duration::from_millis(ms);
                requester.handle_packet(now, number, ends);
                prop_assert!(requester.missing.len() <= MAX_MISSING);
                prop_assert!(requester.due(now).len() <= MAX_ASK + 1);
            }
        }
    }
}
