//! The law by which the rate goes up and down.
//!
//! - *Free*: no queue. The rate grows: gently near what the path was last seen to carry, faster where nothing is known,
//!   fastest where the trains ([`super::train`]) say that there is room. Never far beyond what arrived lately: who sends
//!   little proves little.
//! - *Drain*: a queue stands. What arrives now is exactly what the path carries: that is remembered. Until the queue is
//!   gone less is sent than that, the less the longer the queue; then the rate goes back to just below the remembered
//!   one, not to where the draining was.
//! - *Crowded*: the queue does not shrink although we sent less: somebody else fills it, who looks at loss only. Then
//!   delay is no guide any more, and we do as he does: grow until packets are lost.
//!
//! Pure: time comes as an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::delay::Delay;
use super::loss::Loss;
use super::train::Trains;
use super::{MAX, MIN, START, START_MOST};

/// Arrivals are counted over this time, and over the short one where the path has just changed.
const WINDOW_S: f64 = 0.5;
const WINDOW: Duration = Duration::from_millis(500);
const SHORT_S: f64 = 0.2;
/// Fewest packets in a window that make a rate.
const FEWEST: usize = 5;
/// Most packets remembered for it (4 Mbit/s for half a second are 250; a hostile report has up to 65 535).
const MAX_ARRIVED: usize = 2048;
/// Growth per second: near the known rate at most, elsewhere, and where trains say that there is room.
const GENTLE: f64 = 0.15;
const BRISK: f64 = 0.3;
const FAST: f64 = 0.8;
/// Added per second near the known rate, bits per second. The same for all: so calls that share a link come to equal
/// parts, because what each gives up is in proportion to what it has.
const SHARE: f64 = 60_000.0;
/// The rate may exceed what arrived by this much.
const BEYOND: f64 = 1.4;
/// Where the rate goes after the queue is gone, of what the path carried.
const BELOW: f64 = 0.92;
/// A queue that stands for so long in spite of all is not ours.
const PATIENCE: Duration = Duration::from_millis(2500);
/// In a crowd: the queue's least length is that of this time; without loss for this long it is no crowd.
const CROWD_WINDOW: Duration = Duration::from_secs(5);
const CROWD_ENDS: Duration = Duration::from_secs(12);
/// A queue that others fill goes up and down. A delay that stays within this, seconds, for that long, whatever we send,
/// is the path's own: it has become longer.
const STEADY_S: f64 = 0.006;
const STEADY: Duration = Duration::from_secs(4);
/// Between two tries to send more than the voice, while nothing but it flows; doubles each time up to the second.
const TRY: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(120));
/// What is tried at least: the voice and a small picture.
const TRY_RATE: f64 = 160_000.0;
/// The path's own loss is known this well where the rate loses packets, too.
const OWN_MARGIN: f64 = 0.03;
/// A silence of reports that long breaks the reckoning.
const GAP: Duration = Duration::from_secs(2);

/// One packet of ours, and what became of it.
#[derive(Clone, Copy, Debug)]
pub(in crate::calls) struct Sample {
    /// When it left.
    pub(in crate::calls) sent: Instant,
    /// When it came, on the friend's clock.
    pub(in crate::calls) arrival: Option<Duration>,
    /// Whether it came.
    pub(in crate::calls) arrived: bool,
    /// With all headers.
    pub(in crate::calls) bytes: usize,
}

/// The least and greatest queue since a time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Steady {
    since: Instant,
    band: [f64; 2],
}

impl Steady {
    fn new(since: Instant, queue: f64) -> Self {
        Self { since, band: [queue; 2] }
    }

    /// The queue is so long now: is it the same still?
    fn look(self, now: Instant, queue: f64, blur: f64) -> Self {
        let band = [self.band[0].min(queue), self.band[1].max(queue)];
        if band[1] - band[0] > STEADY_S + blur { Self::new(now, queue) } else { Self { band, ..self } }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Free,
    Drain { since: Instant, settle: Instant },
    Crowded { since: Instant, lost: Instant, floor: [f64; 2], window: Instant, steady: Steady },
}

/// See the module.
#[derive(Debug)]
pub(in crate::calls) struct Rate {
    delay: Delay,
    trains: Trains,
    loss: Loss,
    arrived: VecDeque<(f64, usize)>,
    /// What left lately, of what is known to have come or to be lost.
    left: VecDeque<(Instant, usize)>,
    /// What may be sent when all is well.
    target: f64,
    /// What may be sent now.
    pace: f64,
    /// What the path carried when it was last full.
    known: Option<f64>,
    mode: Mode,
    reported: Option<Instant>,
    /// Time from sending to the report.
    response: Duration,
    /// Nothing but the voice flows because the path is too narrow for more.
    voice_only: Option<Instant>,
    next_try: Option<Instant>,
    try_pause: Duration,
    /// The first trains have been looked at.
    begun: bool,
}

impl Rate {
    pub(in crate::calls) fn new() -> Self {
        Self {
            delay: Delay::new(),
            trains: Trains::default(),
            loss: Loss::new(),
            arrived: VecDeque::new(),
            left: VecDeque::new(),
            target: START,
            pace: START,
            known: None,
            mode: Mode::Free,
            reported: None,
            response: Duration::from_millis(100),
            voice_only: None,
            next_try: None,
            try_pause: TRY.0,
            begun: false,
        }
    }

    /// Bits per second, headers included, that may be sent for good.
    pub(in crate::calls) fn target(&self) -> f64 {
        self.target.clamp(MIN, MAX)
    }

    /// Bits per second that may be sent now: less than the target while a queue drains.
    pub(in crate::calls) fn pace(&self) -> f64 {
        self.pace.clamp(MIN * 0.5, MAX)
    }

    /// Whether the rate is near what the path is known to carry: then nothing may be sent in a burst.
    pub(in crate::calls) fn near(&self) -> bool {
        self.known.is_some_and(|known| self.target > 0.8 * known) || self.mode != Mode::Free
    }

    /// Whether it is known how wide the path is about.
    pub(in crate::calls) fn begun(&self) -> bool {
        self.begun
    }

    pub(in crate::calls) fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Share of packets lost for which copies help: not what a full path loses, because copies would only fill it more.
    pub(in crate::calls) fn loss_at_random(&self) -> f64 {
        let share = self.loss.share();
        if self.loss.limit().is_some() { share.min(self.loss.own() + OWN_MARGIN) } else { share }
    }

    /// Time from sending to the report.
    pub(in crate::calls) fn response(&self) -> Duration {
        self.response
    }

    pub(in crate::calls) fn queue(&self) -> f64 {
        self.delay.queue()
    }

    /// Packets held for reckoning.
    #[cfg(test)]
    pub(in crate::calls) fn remembered(&self) -> usize {
        self.arrived.len()
    }

    /// Nothing but the voice is sent, because more does not fit; or all again.
    pub(in crate::calls) fn set_voice_only(&mut self, now: Instant, on: bool) {
        match (on, self.voice_only) {
            (true, None) => {
                self.voice_only = Some(now);
                // A try that ended soon was a bad one; after a long time with a picture the next one comes early.
                self.next_try = Some(now + self.try_pause);
                self.trains.forget();
                // What was lost while pictures filled the path tells of them.
                self.loss.forget();
            }
            (false, Some(_)) => self.voice_only = None,
            _ => {}
        }
    }

    /// Media goes another way now: what was learned of the old one is void, but for the rate itself.
    pub(in crate::calls) fn path_changed(&mut self) {
        let target = self.target.min(START);
        *self = Self { loss: std::mem::replace(&mut self.loss, Loss::new()), target, pace: target, ..Self::new() };
        self.loss.forget();
    }

    /// A report came.
    pub(in crate::calls) fn report(&mut self, now: Instant, samples: &[Sample]) {
        let mut response = None;
        for sample in samples {
            self.leave(sample.sent, sample.bytes);
            self.loss.packet(sample.arrived, sample.bytes);
            let arrival = sample.arrival.filter(|_| sample.arrived);
            self.trains.packet(now, sample.sent, arrival, sample.bytes);
            if let Some(arrival) = arrival {
                self.delay.packet(sample.sent, arrival);
                self.count(arrival.as_secs_f64(), sample.bytes);
                response = Some(now.saturating_duration_since(sample.sent));
            }
        }
        self.delay.judge(now);
        self.loss.judge(now, self.delay.queue() > self.delay.full(self.target));
        if let Some(response) = response {
            self.response = (self.response * 7 + response.min(Duration::from_secs(2))) / 8;
        }
        if !self.begun
            && let Some(hint) = self.trains.hint(now)
        {
            // The first trains come before the first picture, and say whether there is room for one.
            self.begun = true;
            let share = if hint < 300_000.0 { 0.85 } else { 0.7 };
            self.target = (hint * share).clamp(MIN, START_MOST);
        }
        let passed = self.reported.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let seconds = if passed > GAP { 0.0 } else { passed.as_secs_f64().min(0.5) };
        match self.mode {
            Mode::Free => self.free(now, seconds),
            Mode::Drain { since, settle } => self.drain(now, since, settle),
            Mode::Crowded { .. } => self.crowded(now, seconds),
        }
        if let Some(limit) = self.loss.limit()
            && limit < self.target
            && !self.outlived(now, limit)
        {
            self.target = limit;
            self.known = Some(limit);
        }
        self.target = self.target.clamp(MIN, MAX);
        self.pace = self.pace.min(self.target);
    }

    fn count(&mut self, arrival: f64, bytes: usize) {
        // Times that leap belong to another clock.
        if self.arrived.back().is_some_and(|(last, _)| (arrival - last).abs() > 10.0) {
            self.arrived.clear();
        }
        if self.arrived.len() >= MAX_ARRIVED {
            self.arrived.pop_front();
        }
        self.arrived.push_back((arrival, bytes));
        while self.arrived.front().is_some_and(|(old, _)| *old < arrival - 2.0 * WINDOW_S) {
            self.arrived.pop_front();
        }
    }

    fn leave(&mut self, sent: Instant, bytes: usize) {
        if self.left.len() >= MAX_ARRIVED {
            self.left.pop_front();
        }
        self.left.push_back((sent, bytes));
        while self.left.front().is_some_and(|(old, _)| sent.saturating_duration_since(*old) > 2 * WINDOW) {
            self.left.pop_front();
        }
    }

    /// Bits per second that were sent in the last of those moments.
    fn sent(&self) -> f64 {
        let Some((newest, _)) = self.left.back() else { return 0.0 };
        let lately = self.left.iter().filter(|(at, _)| newest.saturating_duration_since(*at) < WINDOW);
        lately.map(|(_, bytes)| *bytes as f64 * 8.0).sum::<f64>() / WINDOW_S
    }

    /// Bits per second that arrived in the last moments of the friend's clock, and what was lost at random beside.
    fn carried(&self, window: f64) -> Option<f64> {
        let newest = self.arrived.iter().map(|(arrival, _)| *arrival).reduce(f64::max)?;
        let first = self.arrived.iter().map(|(arrival, _)| *arrival).reduce(f64::min)?;
        // What jitter holds back has not come yet: the window ends before that. At the beginning it is shorter.
        let end = newest - (2.0 * self.delay.spread()).min(SHORT_S / 2.0);
        let window = window.min(end - first);
        if window < SHORT_S / 2.0 {
            return None;
        }
        let (mut bytes, mut packets) = (0, 0);
        for (arrival, size) in self.arrived.iter().rev() {
            if *arrival > end - window && *arrival <= end {
                (bytes, packets) = (bytes + size, packets + 1);
            }
        }
        (packets >= FEWEST).then(|| bytes as f64 * 8.0 / window / (1.0 - self.loss.own()))
    }

    fn free(&mut self, now: Instant, seconds: f64) {
        if self.delay.queue() > self.delay.full(self.target) {
            self.full();
            self.mode = Mode::Drain { since: now, settle: now + self.response };
            return;
        }
        if self.delay.queue() < self.delay.free(self.target) {
            self.grow(now, seconds);
        }
        self.pace = self.target;
    }

    /// Growth while nothing speaks against it.
    fn grow(&mut self, now: Instant, seconds: f64) {
        let hint = self.trains.hint(now).filter(|_| self.delay.spread() < 0.01);
        let Some(carried) = self.carried(WINDOW_S) else { return };
        if self.voice_only.is_some() {
            self.look_for_more(now, seconds);
            return;
        }
        // More has arrived than the path could carry, and no queue: it can carry more now.
        if self.known.is_some_and(|known| carried > known * 1.08 || self.target > known * 1.15) {
            self.known = None;
        }
        let near = self.known.is_some_and(|known| self.target > known * 0.85);
        let roomy = hint.is_some_and(|hint| hint > self.target * 1.3);
        let growth = match (near, roomy) {
            (true, false) => (self.target * GENTLE).min(SHARE),
            (true, true) | (false, false) => self.target * BRISK,
            (false, true) => self.target * FAST,
        };
        let most = (carried * BEYOND).max(self.target);
        self.target = (self.target + growth * seconds).min(most);
    }

    /// The voice alone proves nothing beyond itself: trains of filler packets do, or a try.
    fn look_for_more(&mut self, now: Instant, seconds: f64) {
        let hint = self.trains.latest(now);
        match hint {
            Some(hint) => {
                if hint > self.target * 2.0 {
                    self.target = (hint * 0.6).min(START);
                    self.known = None;
                } else {
                    let growth = if hint > self.target * 1.15 { BRISK } else { GENTLE };
                    self.target = (self.target * (1.0 + growth * seconds)).min((hint * BELOW).max(self.target));
                }
            }
            None => {
                if self.next_try.is_some_and(|at| now >= at) {
                    self.try_pause = (self.try_pause * 2).min(TRY.1);
                    self.next_try = Some(now + self.try_pause);
                    self.target = (self.target * 2.0).max(TRY_RATE);
                }
            }
        }
    }

    /// A limit that comes from losses of before, while a voice alone loses nothing and trains say that there is more.
    fn outlived(&self, now: Instant, limit: f64) -> bool {
        let more = self.trains.latest(now).is_some_and(|hint| hint > limit * 1.2);
        self.voice_only.is_some() && self.loss.share() < 0.03 && more
    }

    /// The path is full: what arrives is what it carries.
    fn full(&mut self) {
        let carried = self.carried(SHORT_S).or_else(|| self.carried(WINDOW_S)).unwrap_or(self.target * 0.9);
        // A voice that does not use its room: something else stood in the queue for a moment, one large packet even. What
        // arrives is what was sent, and tells nothing of the path.
        if self.voice_only.is_some() && self.carried(WINDOW_S).unwrap_or(carried) > 0.9 * self.sent() {
            let over = self.delay.queue() - self.delay.full(self.target);
            let share = (1.0 - 1.5 * over).clamp(0.7, BELOW);
            self.target = self.target.min((carried * BELOW).max(self.target * share));
            self.pace = self.target;
            return;
        }
        // While it drains, what arrives may be just what is sent; then it tells nothing of the path.
        let draining = self.mode != Mode::Free && self.pace < self.target;
        let own = draining && (carried / self.pace - 1.0).abs() < 0.15;
        if !own {
            self.known = Some(match self.known {
                Some(known) if (known - carried).abs() < 0.1 * known => known + 0.3 * (carried - known),
                _ => carried,
            });
            self.target = self.target.min(carried * BELOW);
        }
        // A queue of 30 ms is gone after 300 ms at nine tenths; one of 300 ms after 500 ms at four tenths.
        let share = (0.94 - 1.8 * self.delay.queue()).clamp(0.4, 0.9);
        self.pace = if own { self.pace.min(self.target * share) } else { (carried * share).min(self.target) };
        self.pace = self.pace.max(self.target * 0.35);
    }

    fn drain(&mut self, now: Instant, since: Instant, settle: Instant) {
        if self.delay.queue() < self.delay.free(self.target) * 1.3 {
            self.mode = Mode::Free;
            self.pace = self.target;
            return;
        }
        if now >= settle && !self.delay.falls() {
            self.full();
            self.mode = Mode::Drain { since, settle: now + self.response / 2 };
        }
        if now.saturating_duration_since(since) > PATIENCE {
            let queue = self.delay.queue();
            let (floor, steady) = ([queue, f64::INFINITY], Steady::new(now, queue));
            self.mode = Mode::Crowded { since: now, lost: now, floor, window: now, steady };
            self.pace = self.target;
        }
    }

    fn crowded(&mut self, now: Instant, seconds: f64) {
        let Mode::Crowded { since, mut lost, mut floor, mut window, mut steady } = self.mode else { return };
        let queue = self.delay.queue();
        steady = steady.look(now, queue, self.delay.spread());
        if queue < self.delay.free(self.target) {
            self.mode = Mode::Free;
            return;
        }
        if now.saturating_duration_since(window) > CROWD_WINDOW {
            (window, floor) = (now, [queue, floor[0]]);
        }
        floor[0] = floor[0].min(queue);
        let least = floor[0].min(floor[1]);
        let loses = self.loss.limit().is_some();
        if loses {
            lost = now;
        }
        let carried = self.carried(WINDOW_S).unwrap_or(self.target);
        if loses || queue > least + 0.25 {
            if !self.delay.falls() {
                self.target = self.target.min((carried * 0.9).max(self.target * (1.0 - 0.5 * seconds)));
            }
        } else if steady.since > since {
            let growth = (self.target * 0.1).max(SHARE * 0.6);
            self.target = (self.target + growth * seconds).min((carried * BEYOND).max(self.target));
        }
        // Nothing has moved it yet: first it is looked whether anything does.
        self.pace = if steady.since > since { self.target } else { self.target * 0.8 };
        self.mode = Mode::Crowded { since, lost, floor, window, steady };
        if now.saturating_duration_since(steady.since) > STEADY && now.saturating_duration_since(lost) > STEADY {
            self.delay.rebase(now, steady.band[0]);
            self.mode = Mode::Free;
            return;
        }
        // Nobody loses anything and the least delay stays as it is: the path has become longer, that is all.
        if now.saturating_duration_since(lost) > CROWD_ENDS && now.saturating_duration_since(since) > CROWD_ENDS {
            self.delay.rebase(now, least);
            self.mode = Mode::Free;
        }
    }
}
