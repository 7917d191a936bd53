//! One candidate pair: when it is checked, and whether it lives.

use std::time::{Duration, Instant};

use super::Route;
use crate::calls::candidate::Kind;

/// Times between the first checks of a pair, milliseconds: dense at first, because both sides' NATs open only when both
/// have sent.
const FIRST_CHECKS: [u64; 12] = [20, 40, 60, 80, 120, 160, 200, 250, 500, 500, 1000, 1000];
/// Between checks of a pair that has not answered to those.
const HOPELESS: Duration = Duration::from_secs(3);
/// After so many checks it is asked seldom.
const MANY: u32 = 20;
/// Seldom.
const SELDOM: Duration = Duration::from_secs(10);
/// Between checks of the pair in use.
const IN_USE: Duration = Duration::from_millis(400);
/// The same while media comes over it: a way that is cut is noticed by the silence first. Consent (RFC 7675) asks for one
/// in five seconds.
const IN_USE_HEARD: Duration = Duration::from_millis(2000);
/// Between checks of the pair in use while one is unanswered.
const DOUBTED: Duration = Duration::from_millis(100);
/// Between checks of the pair in use when it has been dead for seconds, and there is no other: the network may come
/// back without a word from the system.
const REVIVAL: Duration = Duration::from_secs(1);
/// Between checks of a pair kept in reserve: no NAT forgets a mapping that fast, and a relay's permission lives longer.
pub(super) const RESERVE: Duration = Duration::from_secs(8);
/// Between checks of working pairs that are not needed.
const SPARE: Duration = Duration::from_secs(15);
/// Bounds of the time that an answer may take.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(120), Duration::from_millis(1000));
/// Media came over a pair not longer ago than this: it is heard.
const HEARD: Duration = Duration::from_millis(250);
/// Media that stopped longer ago says nothing any more: the friend may use another pair.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// A queue on the path may hold an answer back for this long.
const QUEUE: Duration = Duration::from_millis(300);
/// Unanswered checks after which a pair has failed; more are allowed where media comes, since checks get lost, too.
const MISSES: u32 = 2;
const MISSES_HEARD: u32 = 5;

/// A way out together with an address of the friend.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) route: Route,
    /// What it costs: fewer relays are better. Lower is preferred whatever the round trip.
    pub(super) cost: u32,
    pub(super) priority: u64,
    pub(super) remote_kind: Kind,
    /// When the next check is due.
    pub(super) next: Instant,
    /// Checks sent since the schedule was begun anew.
    tries: u32,
    /// When the last check left.
    pub(super) sent: Option<Instant>,
    /// When the last answer came.
    pub(super) answered: Option<Instant>,
    pub(super) round_trip: Option<Duration>,
    /// The first check since the last answer, and how many there were.
    missed: Option<(Instant, u32)>,
    /// When media came over it last.
    pub(super) heard: Option<Instant>,
    /// It failed while in use and must prove itself until then.
    pub(super) distrusted: Option<Instant>,
    /// From where the friend sees us on it.
    pub(super) mapped: Option<std::net::SocketAddr>,
}

impl Pair {
    pub(super) fn new(now: Instant, route: Route, cost: u32, priority: u64, remote_kind: Kind) -> Self {
        Self {
            route,
            cost,
            priority,
            remote_kind,
            next: now,
            tries: 0,
            sent: None,
            answered: None,
            round_trip: None,
            missed: None,
            heard: None,
            distrusted: None,
            mapped: None,
        }
    }

    /// How long an answer may take before it is missed.
    fn patience(&self) -> Duration {
        let usual = self.round_trip.map_or(Duration::from_millis(500), |rtt| rtt * 3 / 2 + Duration::from_millis(80));
        usual.clamp(PATIENCE.0, PATIENCE.1)
    }

    pub(super) fn is_heard(&self, now: Instant) -> bool {
        self.heard.is_some_and(|at| now.saturating_duration_since(at) < HEARD)
    }

    /// Media came over it until a moment ago.
    pub(super) fn fell_silent(&self, now: Instant) -> bool {
        self.heard.is_some_and(|at| (HEARD..FORGOTTEN).contains(&now.saturating_duration_since(at)))
    }

    /// A check has been left unanswered for longer than the path takes: it is to be asked again.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.missed.is_some_and(|(since, _)| now.saturating_duration_since(since) > self.patience())
    }

    /// Overdue, and more than a lost check or a full queue: where media comes, two are missed for long enough.
    pub(super) fn is_doubted(&self, now: Instant) -> bool {
        let heard = self.is_heard(now);
        self.missed.is_some_and(|(since, count)| {
            let waited = now.saturating_duration_since(since);
            if heard { count > 1 && waited > self.patience() * 2 + QUEUE } else { waited > self.patience() }
        })
    }

    /// Several checks were left unanswered.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        let needed = if self.is_heard(now) { MISSES_HEARD } else { MISSES };
        self.missed.is_some_and(|(since, count)| {
            count >= needed && now.saturating_duration_since(since) > self.patience() + DOUBTED * (needed - 1)
        })
    }

    /// Since when it has not answered, if it does not.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.missed.map(|(since, _)| since)
    }

    /// It works, as far as is known now.
    pub(super) fn works(&self, now: Instant) -> bool {
        self.answered.is_some() && !self.is_dead(now)
    }

    /// How often it was asked since the schedule began anew.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// The schedule begins anew.
    pub(super) fn rearm(&mut self, now: Instant) {
        self.tries = 0;
        self.next = now;
    }

    /// A check leaves.
    pub(super) fn checked(&mut self, now: Instant, in_use: bool, reserve: bool) {
        self.tries = self.tries.saturating_add(1);
        self.sent = Some(now);
        let missed = self.missed.get_or_insert((now, 0));
        missed.1 = missed.1.saturating_add(1);
        self.next = now + self.pause(now, in_use, reserve);
    }

    /// An answer came to a check sent at `sent`.
    pub(super) fn answers(&mut self, now: Instant, sent: Instant, in_use: bool, reserve: bool) {
        let measured = now.saturating_duration_since(sent);
        // The first is taken as it is, later ones smooth it (RFC 6298).
        let smoothed = self.round_trip.map_or(measured, |before| (before * 7 + measured) / 8);
        self.round_trip = Some(smoothed);
        self.answered = Some(now);
        self.missed = None;
        self.tries = 0;
        self.next = now + self.pause(now, in_use, reserve);
    }

    fn pause(&self, now: Instant, in_use: bool, reserve: bool) -> Duration {
        if self.answered.is_some() && self.missed.is_none_or(|(_, count)| count <= 1) {
            return match (in_use, reserve) {
                (true, _) if self.is_heard(now) => IN_USE_HEARD,
                (true, _) => IN_USE,
                (_, true) => RESERVE,
                _ => SPARE,
            };
        }
        if in_use && self.answered.is_some() {
            return if self.long_dead(now) { REVIVAL } else { DOUBTED };
        }
        match FIRST_CHECKS.get(self.tries.saturating_sub(1) as usize) {
            Some(ms) => Duration::from_millis(*ms),
            None if self.tries < MANY => HOPELESS,
            None => SELDOM,
        }
    }

    /// Even dense checks have not helped for seconds.
    fn long_dead(&self, now: Instant) -> bool {
        self.missed.is_some_and(|(since, _)| now.saturating_duration_since(since) > Duration::from_secs(3))
    }

    /// A check of the pair in use must not wait longer than this after it was found silent.
    pub(super) fn doubt(&mut self, now: Instant) {
        let soon = self.sent.map_or(now, |sent| (sent + DOUBTED).max(now));
        self.next = self.next.min(soon);
    }
}
