//! How long the queue on the path is: one-way delay above the least one lately.
//!
//! Clocks of the two sides differ by an unknown constant, which falls out. Jitter makes packets late but never early,
//! so the *least* delay of the packets that came within the last moments tells the queue, and how far the others lie
//! above it tells the jitter. A threshold on the queue needs no slope: a path that carries half of what is sent shows
//! 30 ms after 60 ms, one that carries 95 % after 600 ms.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The least delay of packets that came within this time tells the queue.
const RECENT: Duration = Duration::from_millis(120);
/// On a path with so much jitter it is twice as long: the least of a few late packets is late, too.
const BLURRED_S: f64 = 0.015;
/// Packets remembered for it at most (10 Mbit/s in small packets; a hostile report may hold 65 535).
const MAX_RECENT: usize = 512;
/// The least delay is that of the last one to two such times. Clocks drift by less than 2 ms in it.
const BASE_WINDOW: Duration = Duration::from_secs(15);
/// A queue below this is none: feedback is timed to a quarter of a millisecond, schedulers to a few.
const FREE_S: f64 = 0.01;
const FREE_BITS: f64 = 1_600.0;
const FREE_MAX_S: f64 = 0.025;
/// A queue above this, and so many bits of ours in it, is one that must shrink on a path without jitter.
const FULL_S: f64 = 0.012;
const FULL_BITS: f64 = 26_000.0;
/// The second part is at most this.
const FULL_MAX_S: f64 = 0.045;
/// A delay that jumps by more than this, up or down, is another clock (or a lie): everything begins anew.
const MAX_JUMP_S: f64 = 20.0;

/// The delay half of the estimator.
#[derive(Debug)]
pub(in crate::calls) struct Delay {
    epoch: Option<Instant>,
    recent: VecDeque<(f64, f64)>,
    /// Least delay of this window and of the one before.
    least: [f64; 2],
    window: Option<Instant>,
    /// Mean distance of packets from the least one.
    spread: f64,
    looks: u32,
    queue: f64,
    before: f64,
}

impl Delay {
    pub(in crate::calls) fn new() -> Self {
        Self {
            epoch: None,
            recent: VecDeque::new(),
            least: [f64::INFINITY; 2],
            window: None,
            spread: 0.0,
            looks: 0,
            queue: 0.0,
            before: 0.0,
        }
    }

    /// A packet left at `sent` and came at `arrival` of the friend's clock.
    pub(in crate::calls) fn packet(&mut self, sent: Instant, arrival: Duration) {
        let epoch = *self.epoch.get_or_insert(sent);
        let arrival = arrival.as_secs_f64();
        let delay = arrival - sent.saturating_duration_since(epoch).as_secs_f64();
        if self.recent.back().is_some_and(|(_, last)| (delay - last).abs() > MAX_JUMP_S) {
            *self = Self { epoch: self.epoch, ..Self::new() };
        }
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((arrival, delay));
        self.least[0] = self.least[0].min(delay);
    }

    /// To be called once for each report, after its packets.
    pub(in crate::calls) fn judge(&mut self, now: Instant) {
        let Some(newest) = self.recent.iter().map(|(arrival, _)| *arrival).reduce(f64::max) else { return };
        let oldest = newest - RECENT.as_secs_f64() * if self.spread > BLURRED_S { 2.0 } else { 1.0 };
        self.recent.retain(|(arrival, _)| *arrival >= oldest);
        let Some(least) = self.recent.iter().map(|(_, delay)| *delay).reduce(f64::min) else { return };
        if self.window.is_none_or(|since| now.saturating_duration_since(since) >= BASE_WINDOW) {
            self.window = Some(now);
            self.least = [least, self.least[0]];
        }
        let spread = self.recent.iter().map(|(_, delay)| delay - least).sum::<f64>() / self.recent.len() as f64;
        self.looks = self.looks.saturating_add(1);
        self.spread += (spread - self.spread) / f64::from(self.looks.min(10));
        self.before = self.queue;
        self.queue = (least - self.base()).max(0.0);
    }

    fn base(&self) -> f64 {
        self.least[0].min(self.least[1])
    }

    /// The path is longer than it was: the present delay is its least.
    pub(in crate::calls) fn rebase(&mut self, now: Instant, queue: f64) {
        let base = self.base() + queue;
        self.least = [base, base];
        self.window = Some(now);
        self.queue = (self.queue - queue).max(0.0);
    }

    /// Length of the queue, seconds.
    pub(in crate::calls) fn queue(&self) -> f64 {
        self.queue
    }

    /// Mean jitter, seconds.
    pub(in crate::calls) fn spread(&self) -> f64 {
        self.spread
    }

    /// Whether it has become shorter since the last report.
    pub(in crate::calls) fn falls(&self) -> bool {
        self.queue < self.before
    }

    /// Above this the queue must shrink, seconds. Who sends much at `rate` bits per second gives way sooner: so calls
    /// that share a link come to equal parts (the idea of TCP Vegas: the same number of bits in the queue for each).
    /// And at a low rate a single packet takes that long.
    pub(in crate::calls) fn full(&self, rate: f64) -> f64 {
        FULL_S + (FULL_BITS / rate.max(1.0)).min(FULL_MAX_S) + self.spread.min(0.15) * 0.8
    }

    /// Below this there is none, seconds. At a low rate a packet of our own takes long, too.
    pub(in crate::calls) fn free(&self, rate: f64) -> f64 {
        FREE_S + (FREE_BITS / rate.max(1.0)).min(FREE_MAX_S) + self.spread.min(0.15) * 0.4
    }
}
