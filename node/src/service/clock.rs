//! Compares this machine's clock with friends' clocks, whenever a link comes up and when the doctor asks.
//!
//! Slots are published for epochs counted from the clock, so a wrong one means that nobody is found.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use twocan_protocol::identity::RootPublic;
use twocan_protocol::link;
use twocan_protocol::wire::{ClockMessage, Message};

use super::{Service, unix_ms};

/// Answers that take longer are not used: half of the way is the error of the comparison.
const PATIENCE: Duration = Duration::from_secs(5);
/// Beyond this the person is told without asking: epochs are an hour long, and one more is read before and after.
const TELL: Duration = Duration::from_secs(300);

/// What friends' clocks say.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// The last question to each friend.
    asked: BTreeMap<RootPublic, (u64, Instant)>,
    /// Milliseconds by which our clock is ahead of each friend's.
    ahead: BTreeMap<RootPublic, i64>,
    last: u64,
    /// Whether the person was told.
    told: bool,
}

impl Clocks {
    /// A new question for a friend.
    fn ask(&mut self, root: RootPublic, now: Instant) -> u64 {
        self.last += 1;
        self.asked.insert(root, (self.last, now));
        self.last
    }

    /// A friend's answer; whether it is one to the last question, in time.
    fn told(&mut self, root: RootPublic, id: u64, time: u64, now: Instant, unix_ms: u64) -> bool {
        let Some((_, at)) = self.asked.get(&root).copied().filter(|(asked, _)| *asked == id) else { return false };
        self.asked.remove(&root);
        let way = now.saturating_duration_since(at);
        if way > PATIENCE {
            return false;
        }
        let half = u64::try_from(way.as_millis() / 2).unwrap_or(0);
        let theirs = i64::try_from(time.saturating_add(half)).unwrap_or(i64::MAX);
        let ours = i64::try_from(unix_ms).unwrap_or(i64::MAX);
        self.ahead.insert(root, ours.saturating_sub(theirs));
        true
    }

    /// Whether an answer is still to come.
    pub(super) fn waiting(&self, now: Instant) -> bool {
        self.asked.values().any(|(_, at)| now.saturating_duration_since(*at) < PATIENCE)
    }

    /// Forgets a friend.
    pub(super) fn forget(&mut self, root: &RootPublic) {
        self.asked.remove(root);
        self.ahead.remove(root);
    }

    /// Median by which our clock is ahead (milliseconds), and of how many friends' clocks.
    pub(super) fn error(&self) -> Option<(f64, usize)> {
        let mut all: Vec<i64> = self.ahead.values().copied().collect();
        all.sort_unstable();
        let count = all.len();
        let middle = all.get(count / 2)?;
        let other = all.get((count - 1) / 2)?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a clock error need no 53 bits")]
        let median = (*middle as f64 + *other as f64) / 2.0;
        Some((median, count))
    }

    /// Whether an error is so large, by so many clocks, that the person has to know; once.
    fn alarm(&mut self) -> Option<f64> {
        let (error, _) = self.error()?;
        let large = error.abs() > TELL.as_secs_f64() * 1000.0;
        let tell = large && !self.told;
        self.told = large;
        tell.then_some(error)
    }
}

impl Service {
    /// Asks a friend for the time.
    pub(super) fn ask_clock(&mut self, root: RootPublic) {
        let id = self.clocks.ask(root, Instant::now());
        self.session_input(root, link::Input::SendNow(Message::Clock(ClockMessage::Ask { id })));
    }

    /// Asks every linked friend for the time.
    pub(super) fn ask_clocks(&mut self) {
        let linked: Vec<RootPublic> =
            self.sessions.iter().filter(|(_, linked)| linked.view.is_some()).map(|(root, _)| *root).collect();
        linked.into_iter().for_each(|root| self.ask_clock(root));
    }

    /// A friend asks, or answers.
    pub(super) fn clock_message(&mut self, root: RootPublic, message: ClockMessage) {
        match message {
            ClockMessage::Ask { id } => {
                let answer = ClockMessage::Tell { id, time: unix_ms() };
                self.session_input(root, link::Input::SendNow(Message::Clock(answer)));
            }
            ClockMessage::Tell { id, time } => {
                if self.clocks.told(root, id, time, Instant::now(), unix_ms())
                    && let Some(error) = self.clocks.alarm()
                {
                    let way = if error > 0.0 { "ahead of" } else { "behind" };
                    let minutes = error.abs() / 60_000.0;
                    self.notice(format!(
                        "The clock of this machine is {minutes:.0} minutes {way} friends' clocks; if it is this one that \
                         is wrong, friends will not be found until it is set right."
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_protocol::identity::RootKey;

    fn friend(number: u8) -> RootPublic {
        RootKey::from_secret(&[number; 32]).public()
    }

    fn told(clocks: &mut Clocks, number: u8, ahead: i64, way: Duration) -> bool {
        let now = Instant::now();
        let id = clocks.ask(friend(number), now);
        let ours = 1_800_000_000_000_i64;
        let half = i64::try_from(way.as_millis() / 2).unwrap();
        let theirs = u64::try_from(ours - ahead - half).unwrap();
        clocks.told(friend(number), id, theirs, now + way, u64::try_from(ours).unwrap())
    }

    #[test]
    fn the_error_is_the_median_over_friends_less_half_of_the_way() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.error(), None);
        for (number, ahead) in [(1, 100), (2, -50), (3, 900_000)] {
            assert!(told(&mut clocks, number, ahead, Duration::from_millis(80)));
        }
        assert_eq!(clocks.error(), Some((100.0, 3)));
        clocks.forget(&friend(3));
        assert_eq!(clocks.error(), Some((25.0, 2)));
    }

    #[test]
    fn answers_that_nobody_asked_for_or_that_come_late_are_not_used() {
        let mut clocks = Clocks::default();
        assert!(!clocks.told(friend(1), 1, 5, Instant::now(), 5));
        assert!(!told(&mut clocks, 1, 0, PATIENCE + Duration::from_millis(1)));
        assert_eq!(clocks.error(), None);
    }

    #[test]
    fn a_large_error_is_told_once_until_it_is_mended() {
        let mut clocks = Clocks::default();
        told(&mut clocks, 1, 400_000, Duration::ZERO);
        assert_eq!(clocks.alarm(), Some(400_000.0));
        assert_eq!(clocks.alarm(), None);
        told(&mut clocks, 1, 10, Duration::ZERO);
        assert_eq!(clocks.alarm(), None);
        told(&mut clocks, 1, -400_000, Duration::ZERO);
        assert_eq!(clocks.alarm(), Some(-400_000.0));
    }

    #[test]
    fn no_told_time_overflows() {
        let mut clocks = Clocks::default();
        let id = clocks.ask(friend(1), Instant::now());
        assert!(clocks.told(friend(1), id, u64::MAX, Instant::now(), 0));
        assert!(clocks.error().unwrap().0 < 0.0);
    }
}
