//! How much the path carries: our own estimate from transport-wide feedback.
//!
//! The crate's estimator never noticed a growing queue in our measurements, so this one takes its place behind the
//! same trait. Two halves, the lower one counts:
//! - *delay*: packets sent within 5 ms are a group; if groups arrive ever farther apart than they were sent, a queue
//!   is growing. The slope over the last 20 groups is compared with a threshold that adapts to the path's noise (the
//!   trendline filter of draft-ietf-rmcat-gcc-02 as libwebrtc scales it).
//!   A queue that merely stands does not grow any more; it shows in the one-way delay above the least one lately.
//! - *loss*: above 10 % down, below 2 % up.
//!
//! Going up it needs proof: never beyond one and a half times what was lately acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rtc::interceptor::{BandwidthEstimator, PacketReport};

use super::tap::Meters;

/// Where a call begins, bits per second.
pub(super) const START: f64 = 1_200_000.0;
/// Never less: Opus and a little more.
pub(super) const MIN: f64 = 64_000.0;
/// Never more: what a 720p picture and sound need.
pub(super) const MAX: f64 = 4_000_000.0;

/// Packets sent within this time belong to one group.
const GROUP: Duration = Duration::from_millis(5);
/// Groups in the slope.
const WINDOW: usize = 20;
/// A pause longer than this breaks the comparison of groups.
const PAUSE: Duration = Duration::from_secs(1);
/// The acknowledged rate is taken over this time.
const RATE_WINDOW: Duration = Duration::from_millis(500);
/// At most one step down in this time: the queue needs time to show that it has drained.
const STEP_DOWN: Duration = Duration::from_millis(200);
/// How often the loss half judges.
const LOSS_WINDOW: Duration = Duration::from_millis(250);
/// A queue longer than this must shrink.
const STANDING: f64 = 0.2;
/// If it has not begun to within this time, it is no queue: the path has become longer.
const STANDING_PATIENCE: Duration = Duration::from_secs(4);
/// The least delay is that of the last one to two such times.
const BASE_WINDOW: Duration = Duration::from_secs(15);
/// Most packets remembered for the rate (4 Mbit/s for half a second are 250; a hostile report has at most 65 535).
const MAX_ACKED: usize = 4096;

/// What the delay half sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Normal,
    Over,
    Under,
}

/// The slope of the one-way delay.
#[derive(Debug)]
struct Trend {
    group: Option<(Instant, Instant, Duration)>,
    previous: Option<(Instant, Duration)>,
    accumulated: f64,
    smoothed: f64,
    points: VecDeque<(f64, f64)>,
    origin: Option<Duration>,
    groups: u32,
    threshold: f64,
    threshold_at: Option<Instant>,
    over_since: Option<Instant>,
    last: f64,
    usage: Usage,
}

impl Trend {
    fn new() -> Self {
        Self {
            group: None,
            previous: None,
            accumulated: 0.0,
            smoothed: 0.0,
            points: VecDeque::with_capacity(WINDOW + 1),
            origin: None,
            groups: 0,
            threshold: 12.5,
            threshold_at: None,
            over_since: None,
            last: 0.0,
            usage: Usage::Normal,
        }
    }

    fn packet(&mut self, departure: Instant, arrival: Duration) {
        self.group = Some(match self.group {
            Some((first, last, arrived)) if departure.saturating_duration_since(first) <= GROUP => {
                (first, last.max(departure), arrived.max(arrival))
            }
            Some((_, last, arrived)) => {
                self.close(last, arrived);
                (departure, departure, arrival)
            }
            None => (departure, departure, arrival),
        });
    }

    fn close(&mut self, departure: Instant, arrival: Duration) {
        let Some((before, arrived_before)) = self.previous.replace((departure, arrival)) else { return };
        let sent = departure.saturating_duration_since(before);
        if sent > PAUSE {
            let threshold = self.threshold;
            *self = Self { threshold, previous: self.previous, ..Self::new() };
            return;
        }
        let delta = (arrival.as_secs_f64() - arrived_before.as_secs_f64() - sent.as_secs_f64()) * 1e3;
        // A clock that jumps, or a report that lies, must not poison the sums.
        self.accumulated += delta.clamp(-1000.0, 1000.0);
        self.smoothed = 0.9 * self.smoothed + 0.1 * self.accumulated;
        self.groups = self.groups.saturating_add(1);
        let origin = *self.origin.get_or_insert(arrival);
        self.points.push_back(((arrival.as_secs_f64() - origin.as_secs_f64()) * 1e3, self.smoothed));
        if self.points.len() > WINDOW {
            self.points.pop_front();
        }
        if self.points.len() == WINDOW {
            let trend = f64::from(self.groups.min(60)) * self.slope() * 4.0;
            self.judge(departure, trend);
        }
    }

    fn slope(&self) -> f64 {
        let n = self.points.len() as f64;
        let (x, y) = self.points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
        let (top, bottom) = self.points.iter().fold((0.0, 0.0), |(top, bottom), point| {
            (top + (point.0 - x) * (point.1 - y), bottom + (point.0 - x).powi(2))
        });
        if bottom > 0.0 { top / bottom } else { 0.0 }
    }

    fn judge(&mut self, now: Instant, trend: f64) {
        if trend > self.threshold {
            let since = *self.over_since.get_or_insert(now);
            if now.saturating_duration_since(since) > Duration::from_millis(10) && trend >= self.last {
                self.usage = Usage::Over;
            }
        } else {
            self.over_since = None;
            self.usage = if trend < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.last = trend;
        if let Some(at) = self.threshold_at
            && trend.abs() <= self.threshold + 15.0
        {
            let ms = now.saturating_duration_since(at).as_secs_f64().min(0.1) * 1e3;
            let gain = if trend.abs() < self.threshold { 0.039 } else { 0.0087 };
            self.threshold = (self.threshold + gain * (trend.abs() - self.threshold) * ms).clamp(6.0, 600.0);
        }
        self.threshold_at = Some(now);
    }
}

/// How much longer than at best packets are under way, seconds. Clocks of both sides drift by microseconds in that time.
#[derive(Debug)]
struct Standing {
    epoch: Option<Instant>,
    now: Option<f64>,
    /// Least delay of this window and of the one before.
    least: [f64; 2],
    window: Option<Instant>,
    since: Option<(Instant, f64)>,
}

impl Standing {
    fn new() -> Self {
        Self { epoch: None, now: None, least: [f64::INFINITY; 2], window: None, since: None }
    }

    fn packet(&mut self, departure: Instant, arrival: Duration) {
        let epoch = *self.epoch.get_or_insert(departure);
        let sent = departure.saturating_duration_since(epoch).as_secs_f64();
        let delay = arrival.as_secs_f64() - sent;
        self.now = Some(delay);
        self.least[0] = self.least[0].min(delay);
    }

    /// The queue, if it is one that must shrink.
    fn queue(&mut self, now: Instant) -> Option<f64> {
        if self.window.is_none_or(|since| now.saturating_duration_since(since) >= BASE_WINDOW) {
            self.window = Some(now);
            self.least = [self.now.unwrap_or(f64::INFINITY), self.least[0]];
        }
        let queue = self.now? - self.least[0].min(self.least[1]);
        if queue < STANDING {
            self.since = None;
            return None;
        }
        let (since, then) = *self.since.get_or_insert((now, queue));
        if now.saturating_duration_since(since) > STANDING_PATIENCE {
            if queue > 0.9 * then {
                *self = Self { epoch: self.epoch, now: self.now, window: Some(now), ..Self::new() };
                return None;
            }
            self.since = Some((now, queue));
        }
        Some(queue)
    }
}

/// The estimate.
#[derive(Debug)]
pub(super) struct Estimator {
    trend: Trend,
    standing: Standing,
    delay_target: f64,
    loss_target: f64,
    acked: VecDeque<(Instant, usize)>,
    first_report: Option<Instant>,
    /// What the path carried when it was last full.
    capacity: Option<f64>,
    changed: Option<Instant>,
    decreased: Option<Instant>,
    loss_judged: Option<Instant>,
    loss: f64,
    lost: u32,
    total: u32,
    meters: Option<Arc<Meters>>,
}

impl Estimator {
    /// Publishes its target in the meters at every report.
    pub(super) fn new(meters: Option<Arc<Meters>>) -> Self {
        Self {
            trend: Trend::new(),
            standing: Standing::new(),
            delay_target: START,
            loss_target: MAX,
            acked: VecDeque::new(),
            first_report: None,
            capacity: None,
            changed: None,
            decreased: None,
            loss_judged: None,
            loss: 0.0,
            lost: 0,
            total: 0,
            meters,
        }
    }

    fn target(&self) -> f64 {
        self.delay_target.min(self.loss_target).clamp(MIN, MAX)
    }

    /// Bits per second that were acknowledged lately.
    fn acked_rate(&mut self, now: Instant) -> Option<f64> {
        while self.acked.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > RATE_WINDOW) {
            self.acked.pop_front();
        }
        let long_enough = self.first_report.is_some_and(|at| now.saturating_duration_since(at) >= RATE_WINDOW);
        let bytes: usize = self.acked.iter().map(|(_, size)| size).sum();
        (long_enough && self.acked.len() >= 5).then(|| bytes as f64 * 8.0 / RATE_WINDOW.as_secs_f64())
    }

    fn follow_delay(&mut self, now: Instant, acked: Option<f64>) {
        let since_change = self.changed.map_or(0.1, |at| now.saturating_duration_since(at).as_secs_f64()).min(1.0);
        let queue = self.standing.queue(now);
        let usage = if queue.is_some() { Usage::Over } else { self.trend.usage };
        match usage {
            Usage::Over => {
                let Some(acked) = acked else { return };
                if self.decreased.is_some_and(|at| now.saturating_duration_since(at) <= STEP_DOWN) {
                    return;
                }
                let share = match queue {
                    Some(1.0..) => 0.5,
                    Some(_) => 0.7,
                    None => 0.85,
                };
                self.delay_target = self.delay_target.min(acked * share);
                self.capacity = Some(self.capacity.map_or(acked, |known| 0.95 * known + 0.05 * acked));
                self.decreased = Some(now);
                self.changed = Some(now);
            }
            // The queue drains: wait.
            Usage::Under => {}
            Usage::Normal => {
                if let (Some(known), Some(acked)) = (self.capacity, acked)
                    && acked > known * 1.2
                {
                    self.capacity = None;
                }
                let near = self.capacity.is_some_and(|known| (self.delay_target - known).abs() < 0.15 * known);
                let next = if near {
                    self.delay_target + 40_000.0 * since_change
                } else {
                    self.delay_target * 1.25_f64.powf(since_change)
                };
                if acked.is_some_and(|acked| next < 1.5 * acked + 10_000.0) {
                    self.delay_target = next;
                }
                self.changed = Some(now);
            }
        }
    }

    fn follow_loss(&mut self, now: Instant) {
        if self.total < 10 || self.loss_judged.is_some_and(|at| now.saturating_duration_since(at) < LOSS_WINDOW) {
            return;
        }
        self.loss = 0.7 * self.loss + 0.3 * f64::from(self.lost) / f64::from(self.total);
        (self.lost, self.total) = (0, 0);
        self.loss_judged = Some(now);
        if self.loss > 0.10 {
            self.loss_target = (self.target() * (1.0 - 0.5 * self.loss)).max(MIN);
        } else if self.loss < 0.02 {
            self.loss_target = (self.loss_target * 1.08).min(MAX);
        }
    }
}

impl BandwidthEstimator for Estimator {
    fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        self.first_report.get_or_insert(now);
        for report in reports {
            self.total = self.total.saturating_add(1);
            if !report.arrived {
                self.lost = self.lost.saturating_add(1);
                continue;
            }
            if self.acked.len() >= MAX_ACKED {
                self.acked.pop_front();
            }
            self.acked.push_back((now, report.size));
            if let Some(arrival) = report.arrival {
                self.trend.packet(report.departure, arrival);
                self.standing.packet(report.departure, arrival);
            }
        }
        let acked = self.acked_rate(now);
        self.follow_delay(now, acked);
        self.follow_loss(now);
        self.delay_target = self.delay_target.clamp(MIN, MAX);
        if let Some(meters) = &self.meters {
            meters.target.store(self.target() as u64, Ordering::Relaxed);
        }
    }

    fn target_bitrate(&self) -> f64 {
        self.target()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bottleneck with an endless queue, fed with 30 frames a second, feedback every 100 ms.
    struct Path {
        estimator: Estimator,
        epoch: Instant,
        time: f64,
        busy: f64,
        id: u64,
        pending: Vec<PacketReport>,
        next_feedback: f64,
    }

    impl Path {
        fn new() -> Self {
            Self {
                estimator: Estimator::new(None),
                epoch: Instant::now(),
                time: 0.0,
                busy: 0.0,
                id: 0,
                pending: Vec::new(),
                next_feedback: 0.1,
            }
        }

        /// Runs for `seconds`; the sender obeys the target times `share`. Every `lose`-th packet is lost.
        fn run(&mut self, seconds: f64, capacity: f64, share: f64, lose: Option<u64>) {
            let end = self.time + seconds;
            while self.time < end {
                let bytes = (self.estimator.target() * share / 8.0 / 30.0) as usize;
                let count = bytes.div_ceil(1200).max(1);
                for n in 0..count {
                    let departure = self.time + n as f64 * 0.03 / count as f64;
                    let size = bytes / count;
                    self.busy = self.busy.max(departure) + size as f64 * 8.0 / capacity;
                    let arrived = lose.is_none_or(|every| !self.id.is_multiple_of(every));
                    self.pending.push(PacketReport {
                        ssrc: 1,
                        id: self.id,
                        rtp_sequence_number: self.id as u16,
                        is_twcc: true,
                        twcc_sequence_number: self.id as u16,
                        size,
                        arrived,
                        departure: self.epoch + Duration::from_secs_f64(departure),
                        arrival: Some(Duration::from_secs_f64(1000.0 + self.busy + 0.02)),
                        ecn: Default::default(),
                    });
                    self.id += 1;
                }
                self.time += 1.0 / 30.0;
                while self.next_feedback < self.time {
                    let until = Duration::from_secs_f64(1000.0 + self.next_feedback);
                    let (now, later) =
                        self.pending.drain(..).partition(|report: &PacketReport| report.arrival.unwrap() <= until);
                    self.pending = later;
                    self.estimator.on_reports(self.epoch + Duration::from_secs_f64(self.next_feedback), &now);
                    self.next_feedback += 0.1;
                }
            }
        }

        fn queue_ms(&self) -> f64 {
            (self.busy - self.time).max(0.0) * 1e3
        }
    }

    #[test]
    fn a_wide_path_is_filled_within_seconds() {
        let mut path = Path::new();
        path.run(12.0, 20e6, 1.0, None);
        assert!(path.estimator.target() > 3e6, "{}", path.estimator.target());
    }

    #[test]
    fn a_path_that_turns_narrow_is_noticed_and_its_queue_drains() {
        let mut path = Path::new();
        path.run(8.0, 20e6, 1.0, None);
        path.run(3.0, 700e3, 1.0, None);
        assert!(path.estimator.target() < 800e3, "{}", path.estimator.target());
        path.run(20.0, 700e3, 1.0, None);
        assert!(path.queue_ms() < 300.0, "{} ms", path.queue_ms());
        assert!(path.estimator.target() > 300e3, "{}", path.estimator.target());
    }

    #[test]
    fn it_recovers_when_the_path_turns_wide_again() {
        let mut path = Path::new();
        path.run(10.0, 500e3, 1.0, None);
        path.run(15.0, 20e6, 1.0, None);
        assert!(path.estimator.target() > 2e6, "{}", path.estimator.target());
    }

    #[test]
    fn heavy_loss_lowers_and_light_loss_does_not() {
        let mut path = Path::new();
        path.run(8.0, 20e6, 1.0, Some(50));
        let light = path.estimator.target();
        assert!(light > 1e6, "{light}");
        path.run(8.0, 20e6, 1.0, Some(4));
        assert!(path.estimator.target() < light / 2.0);
    }

    #[test]
    fn a_sender_that_sends_little_proves_little() {
        let mut path = Path::new();
        path.run(20.0, 20e6, 0.05, None);
        assert!(path.estimator.target() <= START, "{}", path.estimator.target());
    }

    #[test]
    fn reports_that_lie_move_it_within_its_bounds() {
        let mut estimator = Estimator::new(None);
        let epoch = Instant::now();
        for n in 0..20_000_u64 {
            let report = PacketReport {
                ssrc: 1,
                id: n,
                rtp_sequence_number: 0,
                is_twcc: true,
                twcc_sequence_number: 0,
                size: usize::from(u16::MAX),
                arrived: n % 3 != 0,
                departure: epoch + Duration::from_millis(n % 77),
                arrival: Some(Duration::from_secs(n.wrapping_mul(7919) % 100_000)),
                ecn: Default::default(),
            };
            estimator.on_reports(epoch + Duration::from_millis(n), &[report]);
            assert!((MIN..=MAX).contains(&estimator.target()));
        }
        assert!(estimator.acked.len() <= MAX_ACKED);
    }
}
