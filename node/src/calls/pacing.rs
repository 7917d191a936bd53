//! Pacing and allocation of one connection, as the sending task uses them.
//!
//! Joins the pure parts ([`super::pacer`], [`super::allocate`]) to the [`Meters`]: takes the estimate from there, puts
//! the shares there, and charges the pacer for whatever left beside it (repairs, reports).
//!
//! It also decides when filler packets go: three pairs when a path is new, so that it is known whether there is room for
//! a picture before the first one is sent; and a pair every two seconds while pictures are stopped, to notice that there
//! is room again. Fillers are sent on the camera's stream and only while no picture is under way on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allocate::{Allocator, Room};
use super::estimator::START;
use super::pacer::{LANES, Pacer, Pushed};
use super::tap::{Estimate, Meters, OVERHEAD};
use super::unheard;

/// Header of RTP with its extension.
const RTP: usize = 20;
/// Pace and shares are reckoned anew this often at most.
const LOOK: Duration = Duration::from_millis(20);
/// Pictures wait for the first trains for so long at most...
const HOLD: Duration = Duration::from_millis(500);
/// ...and for the first report of any kind, which tells that the friend can tell.
const HOLD_UNHEARD: Duration = Duration::from_secs(2);
/// Pairs of fillers when the path is new, and the time between them.
const FIRST_PAIRS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(40);
/// Between two pairs while pictures are stopped.
const FILL_EVERY: Duration = Duration::from_secs(2);
/// A stream of which nothing has come for this long is not being sent.
const GONE: Duration = Duration::from_secs(3);
/// Seconds over which the voice's greatest use is taken.
const USE_SECONDS: usize = 5;

/// What a packet takes on the wire.
pub(super) fn on_wire(payload: usize) -> usize {
    payload + RTP + OVERHEAD as usize
}

/// What to do with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Packets of it will come out of [`Pacing::pop`].
    Taken,
    /// Left out; nothing is missing by that.
    LeftOut,
    /// Cannot be sent, and none after it before a key frame.
    NeedsKey,
    /// Pictures are stopped.
    Stopped,
}

/// Packets and bytes of the last seconds.
#[derive(Debug)]
struct Use {
    seconds: VecDeque<(u32, usize)>,
    since: Instant,
}

impl Use {
    fn new(now: Instant) -> Self {
        Self { seconds: VecDeque::from([(0, 0)]), since: now }
    }

    fn add(&mut self, now: Instant, packets: u32, bytes: usize) {
        self.turn(now);
        if let Some(last) = self.seconds.back_mut() {
            last.0 = last.0.saturating_add(packets);
            last.1 = last.1.saturating_add(bytes);
        }
    }

    fn turn(&mut self, now: Instant) {
        let mut passed = now.saturating_duration_since(self.since).as_secs();
        if passed > 0 {
            self.since += Duration::from_secs(passed);
        }
        passed = passed.min(USE_SECONDS as u64 + 1);
        for _ in 0..passed {
            self.seconds.push_back((0, 0));
        }
        while self.seconds.len() > USE_SECONDS + 1 {
            self.seconds.pop_front();
        }
    }

    /// Greatest packets and bits in one of the last seconds.
    fn most(&mut self, now: Instant) -> (f64, f64) {
        self.turn(now);
        // How many packets there are follows what the path carries; the newest whole seconds tell.
        let packets = self.seconds.iter().rev().take(3).map(|second| second.0).max().unwrap_or(0);
        let bytes = self.seconds.iter().map(|second| second.1).max().unwrap_or(0);
        (f64::from(packets), bytes as f64 * 8.0)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pacing<T> {
    pacer: Pacer<T>,
    allocator: Allocator,
    meters: Option<Arc<Meters>>,
    looked: Option<Instant>,
    wired: Instant,
    /// Bytes that were charged already, of those that the meters count.
    charged: u64,
    reports: (Instant, u64, f64),
    voice: Use,
    pictures: Use,
    /// When a picture of each lane came last, and whether any may.
    seen: [Option<Instant>; LANES],
    allowed: [bool; LANES],
    await_key: [bool; LANES],
    fill_at: Option<Instant>,
    pairs: u32,
}

impl<T> Pacing<T> {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pacer: Pacer::new(now, START),
            allocator: Allocator::new(),
            meters: None,
            looked: None,
            wired: now,
            charged: 0,
            reports: (now, 0, 0.0),
            voice: Use::new(now),
            pictures: Use::new(now),
            seen: [None; LANES],
            allowed: [false; LANES],
            await_key: [false; LANES],
            fill_at: None,
            pairs: 0,
        }
    }

    /// A connection with these meters is up; `None`: it is gone. The same one again (a renegotiation) changes nothing.
    pub(super) fn wire(&mut self, now: Instant, meters: Option<Arc<Meters>>) {
        let same = match (&self.meters, &meters) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        *self = Self { allowed: self.allowed, ..Self::new(now) };
        if let Some(meters) = &meters {
            self.charged = meters.counts().bytes_out;
            self.fill_at = Some(now);
        }
        self.meters = meters;
        self.look(now);
    }

    /// The meters in use.
    pub(super) fn meters(&self) -> Option<Arc<Meters>> {
        self.meters.clone()
    }

    /// Whether the call lets pictures of each lane out.
    pub(super) fn allow(&mut self, allowed: [bool; LANES]) {
        self.allowed = allowed;
    }

    /// Another client sends: what waits is not its own.
    pub(super) fn begin_anew(&mut self) {
        for lane in 0..LANES {
            self.pacer.clear(lane);
        }
        (self.seen, self.await_key) = ([None; LANES], [false; LANES]);
    }

    /// Voice (or sound) of this payload leaves.
    pub(super) fn voice(&mut self, now: Instant, payload: usize) {
        let bytes = on_wire(payload);
        self.voice.add(now, 1, bytes);
        self.left(now, bytes);
        self.look(now);
    }

    /// Something leaves at once that is charged here and counted by the meters later.
    fn left(&mut self, now: Instant, bytes: usize) {
        self.pacer.charge(now, bytes);
        self.charged += bytes as u64;
    }

    /// A picture wants to leave; `packets` makes its packets with their payload sizes, if it may.
    pub(super) fn picture(
        &mut self,
        now: Instant,
        lane: usize,
        key: bool,
        spare: bool,
        packets: impl FnOnce() -> Vec<(usize, T)>,
    ) -> Verdict {
        self.seen[lane] = Some(now);
        self.look(now);
        if self.allocator.stopped() {
            self.await_key[lane] = true;
            return Verdict::Stopped;
        }
        if self.await_key[lane] && !key {
            return Verdict::NeedsKey;
        }
        let packets = packets().into_iter().map(|(payload, packet)| (on_wire(payload), packet)).collect();
        match self.pacer.push(now, lane, packets, key, spare) {
            Pushed::Queued => {
                self.await_key[lane] = false;
                Verdict::Taken
            }
            Pushed::LeftOut => Verdict::LeftOut,
            Pushed::Overflow => {
                self.await_key[lane] = true;
                Verdict::NeedsKey
            }
        }
    }

    /// The next packet of a picture that may leave now, and its lane.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(usize, T)> {
        if self.held(now) {
            return None;
        }
        let before = self.pacer.bytes();
        let (lane, packet) = self.pacer.pop(now)?;
        let bytes = before - self.pacer.bytes();
        self.pictures.add(now, 1, bytes);
        // The pacer has charged it; the meters will count it.
        self.charged += bytes as u64;
        Some((lane, packet))
    }

    /// When [`Self::pop`] or [`Self::fill`] may give something.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let picture = match self.hold().filter(|until| now < *until) {
            Some(until) => self.pacer.due().map(|due| due.max(until)),
            None => self.pacer.due(),
        };
        match (picture, self.fill_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Whether pictures wait for the first trains.
    fn held(&self, now: Instant) -> bool {
        self.hold().is_some_and(|until| now < until)
    }

    /// Until when they wait if nothing becomes known.
    fn hold(&self) -> Option<Instant> {
        let known = self.meters.as_ref().map(|meters| meters.estimate()).unwrap_or_default();
        let time = if known.reported.is_some() { HOLD } else { HOLD_UNHEARD };
        if known.begun { None } else { self.wired.checked_add(time) }
    }

    /// Whether a pair of fillers of this payload is due.
    pub(super) fn fill(&mut self, now: Instant, payload: usize) -> bool {
        if self.fill_at.is_none_or(|at| now < at) {
            return false;
        }
        let first = self.pairs < FIRST_PAIRS;
        let stopped = self.allocator.stopped() && self.wanted(now, 0);
        self.pairs = self.pairs.saturating_add(1);
        self.fill_at =
            if self.pairs < FIRST_PAIRS { Some(now + FIRST_PAUSE) } else { stopped.then(|| now + FILL_EVERY) };
        let fill = (first || stopped) && self.pacer.is_empty();
        if fill {
            self.left(now, 2 * on_wire(payload));
        }
        fill
    }

    /// Whether there are pictures of a lane to send. While they are stopped none comes, but one may be wanted.
    fn wanted(&self, now: Instant, lane: usize) -> bool {
        let comes = self.seen[lane].is_some_and(|at| now.saturating_duration_since(at) < GONE);
        comes || (self.allocator.stopped() && self.allowed[lane])
    }

    /// The estimate has changed, or time has passed: reckons pace and shares anew.
    pub(super) fn look(&mut self, now: Instant) {
        let Some(meters) = self.meters.clone() else { return };
        if self.looked.is_some_and(|at| now.saturating_duration_since(at) < LOOK) {
            return;
        }
        self.looked = Some(now);
        let counted = meters.counts().bytes_out;
        if counted > self.charged {
            self.pacer.charge(now, usize::try_from(counted - self.charged).unwrap_or(usize::MAX));
            self.charged = counted;
        }
        let (since, before, _) = self.reports;
        if now.saturating_duration_since(since) >= Duration::from_secs(1) {
            let total = meters.reports_out();
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            self.reports = (now, total, total.saturating_sub(before) as f64 * 8.0 / seconds);
        }
        let mut estimate = match meters.estimate() {
            known if known.target > 0.0 => known,
            unknown => Estimate { target: START, pace: START, ..unknown },
        };
        if let Some((reported, sent)) = estimate.reported {
            let share = unheard::share(now, reported + estimate.response, counted.saturating_sub(sent));
            estimate.pace *= share;
            estimate.near |= share < 1.0;
        }
        self.pacer.set_pace(now, estimate.pace, estimate.near);
        let (voice_packets, voice) = self.voice.most(now);
        let (picture_packets, _) = self.pictures.most(now);
        let (camera, screen) = (self.wanted(now, 0), self.wanted(now, 1));
        let room = Room {
            target: estimate.target,
            pace: estimate.pace,
            voice_packets,
            voice,
            reports: self.reports.2,
            picture_packets,
            wait: self.pacer.wait(),
            camera,
            screen,
        };
        let was = self.allocator.stopped();
        let shares = self.allocator.share(now, &room);
        let stopped = self.allocator.stopped();
        if stopped && !was {
            for lane in 0..LANES {
                self.pacer.clear(lane);
                self.await_key[lane] |= self.seen[lane].is_some();
            }
            self.fill_at.get_or_insert(now + FILL_EVERY);
        }
        if stopped && camera {
            self.fill_at.get_or_insert(now + FILL_EVERY);
        }
        meters.share(shares, stopped, camera || screen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(start: Instant, n: u64) -> Instant {
        start + Duration::from_millis(n)
    }

    #[test]
    fn a_picture_waits_for_the_first_fillers_but_not_for_ever() {
        let start = Instant::now();
        let mut pacing: Pacing<u32> = Pacing::new(start);
        pacing.wire(start, Some(Arc::new(Meters::new(start, START as u64))));
        let verdict = pacing.picture(start, 0, true, false, || vec![(1000, 1), (1000, 2)]);
        assert_eq!(verdict, Verdict::Taken);
        assert!(pacing.fill(start, 128) || !pacing.pacer.is_empty(), "no filler amid a picture");
        assert_eq!(pacing.pop(ms(start, 100)), None);
        assert_eq!(pacing.pop(ms(start, 1_900)), None, "no report has come");
        assert_eq!(pacing.pop(ms(start, 2_100)), Some((0, 1)));
    }

    #[test]
    fn a_first_report_without_trains_lets_them_out_sooner() {
        let start = Instant::now();
        let meters = Arc::new(Meters::new(start, START as u64));
        let mut pacing: Pacing<u32> = Pacing::new(start);
        pacing.wire(start, Some(meters.clone()));
        assert_eq!(pacing.picture(start, 0, true, false, || vec![(1000, 1)]), Verdict::Taken);
        meters.estimated(start, &super::super::estimator::rate::Rate::new());
        assert_eq!(pacing.pop(ms(start, 400)), None);
        assert_eq!(pacing.pop(ms(start, 600)), Some((0, 1)));
    }

    #[test]
    fn where_reports_stay_away_pictures_dry_up() {
        let start = Instant::now();
        let meters = Arc::new(Meters::new(start, START as u64));
        let mut pacing: Pacing<u32> = Pacing::new(start);
        pacing.wire(start, Some(meters.clone()));
        meters.estimated(start, &super::super::estimator::rate::Rate::new());
        let sent = |pacing: &mut Pacing<u32>, from: u64| -> usize {
            let mut sent = 0;
            for n in from..from + 400 {
                if n % 33 == 0 {
                    pacing.picture(ms(start, n), 0, true, false, || vec![(1000, 1), (1000, 2)]);
                }
                while pacing.pop(ms(start, n)).is_some() {
                    sent += 1;
                    meters.left(1_000);
                }
            }
            sent
        };
        let (before, after) = (sent(&mut pacing, 600), sent(&mut pacing, 1_600));
        assert!(before > 8 && after <= 3, "{before} packets, and then {after}");
        meters.estimated(ms(start, 2_000), &super::super::estimator::rate::Rate::new());
        assert!(sent(&mut pacing, 2_001) > 8, "the next report lets them out again");
    }

    #[test]
    fn three_pairs_of_fillers_go_on_a_new_path_and_no_more() {
        let start = Instant::now();
        let mut pacing: Pacing<u32> = Pacing::new(start);
        assert!(!pacing.fill(start, 128), "not before the path is up");
        let meters = Arc::new(Meters::new(start, START as u64));
        pacing.wire(start, Some(meters.clone()));
        let pairs = (0..3000).filter(|n| pacing.fill(ms(start, *n), 128)).count();
        assert_eq!(pairs, 3);
        pacing.wire(ms(start, 3000), Some(meters));
        assert!(!pacing.fill(ms(start, 3001), 128), "the same connection again is no new path");
    }

    #[test]
    fn after_an_overflow_only_a_key_frame_is_taken() {
        let start = Instant::now();
        let mut pacing: Pacing<u32> = Pacing::new(start);
        pacing.wire(start, Some(Arc::new(Meters::new(start, START as u64))));
        let now = ms(start, 2_100);
        let large = || (0..200).map(|n| (1100, n)).collect::<Vec<_>>();
        assert_eq!(pacing.picture(now, 0, true, false, large), Verdict::Taken);
        assert_eq!(pacing.picture(now, 0, false, true, large), Verdict::LeftOut);
        assert_eq!(pacing.picture(now, 0, false, false, large), Verdict::NeedsKey);
        assert_eq!(pacing.picture(now, 0, false, false, || vec![(10, 0)]), Verdict::NeedsKey);
        assert_eq!(pacing.picture(now, 0, true, false, || vec![(10, 0)]), Verdict::Taken);
    }
}
