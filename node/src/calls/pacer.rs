//! What goes out when: the voice at once, pictures at the pace that the path bears, and never an old picture.
//!
//! A bucket of bytes fills at the pace. Everything that leaves is taken from it, also what does not wait here (voice,
//! repairs, reports); packets of pictures leave while it is not empty, so they give way to all the rest. Two lanes,
//! camera and screen, take turns packet by packet. What waits is bounded in time: first the pictures that no other one
//! needs are left out, then all that waits is dropped and a key frame begins anew.
//!
//! Pure: time comes as an argument, and what is sent is the caller's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Lanes: camera and screen.
pub(super) const LANES: usize = 2;
/// Pictures that no other one needs are left out when so much waits.
const THIN: Duration = Duration::from_millis(100);
/// More than this must not wait: it would be shown too late.
const LIMIT: Duration = Duration::from_millis(600);
/// A key frame may wait longer, or none would ever get through a narrow path.
const KEY_LIMIT: Duration = Duration::from_millis(1500);
/// Packets that wait at most in a lane: the largest picture there is.
const MAX_PACKETS: usize = 1024;
/// The pace is exceeded by this much for pictures, or a picture that fills its time would end when the next one begins;
/// more where the path is known to have room.
const TIGHT: f64 = 1.15;
const LOOSE: f64 = 1.6;
/// The bucket holds what flows in this time.
const DEPTH_S: f64 = 0.005;
/// It is never overdrawn by more than what flows in this time.
const DEBT_S: f64 = 0.25;

/// What became of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits its turn.
    Queued,
    /// Left out; no other picture needs it.
    LeftOut,
    /// Too much waits: all of the lane is dropped, and nothing but a key frame makes sense now.
    Overflow,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<(usize, T)>,
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pacer<T> {
    lanes: [Lane<T>; LANES],
    turn: usize,
    /// Bytes that may leave; negative: what has left too early.
    bucket: f64,
    /// Bytes per second.
    rate: f64,
    filled: Instant,
}

impl<T> Pacer<T> {
    /// With an empty bucket, at this many bits per second.
    pub(super) fn new(now: Instant, pace: f64) -> Self {
        let lane = || Lane { waiting: VecDeque::new(), bytes: 0 };
        Self { lanes: [lane(), lane()], turn: 0, bucket: 0.0, rate: pace * TIGHT / 8.0, filled: now }
    }

    /// The pace in bits per second; `near`: the path is known to be nearly full.
    pub(super) fn set_pace(&mut self, now: Instant, pace: f64, near: bool) {
        self.fill(now);
        self.rate = (pace * if near { TIGHT } else { LOOSE } / 8.0).max(1.0);
    }

    /// Something left that did not wait here.
    pub(super) fn charge(&mut self, now: Instant, bytes: usize) {
        self.fill(now);
        self.bucket = (self.bucket - bytes as f64).max(-self.rate * DEBT_S);
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.bucket = (self.bucket + passed * self.rate).min(self.rate * DEPTH_S);
    }

    /// How long it takes until all has left.
    pub(super) fn wait(&self) -> Duration {
        let bytes = self.lanes.iter().map(|lane| lane.bytes).sum::<usize>() as f64;
        if bytes <= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64((bytes - self.bucket.min(0.0)) / self.rate).unwrap_or(KEY_LIMIT)
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.bytes).sum()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.waiting.is_empty())
    }

    /// A picture in packets, each with its size on the wire. `key`: it needs no other; `spare`: no other needs it.
    pub(super) fn push(
        &mut self,
        now: Instant,
        lane: usize,
        picture: Vec<(usize, T)>,
        key: bool,
        spare: bool,
    ) -> Pushed {
        self.fill(now);
        let wait = self.wait();
        let lane = &mut self.lanes[lane.min(LANES - 1)];
        if spare && wait > THIN {
            return Pushed::LeftOut;
        }
        let limit = if key { KEY_LIMIT } else { LIMIT };
        if wait > limit || lane.waiting.len() + picture.len() > MAX_PACKETS {
            // A key frame makes what waits before it worthless.
            (lane.bytes, _) = (0, lane.waiting.clear());
            if !key || picture.len() > MAX_PACKETS {
                return Pushed::Overflow;
            }
        }
        lane.bytes += picture.iter().map(|(bytes, _)| bytes).sum::<usize>();
        lane.waiting.extend(picture);
        Pushed::Queued
    }

    /// The next packet, if one may leave now, and its lane.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(usize, T)> {
        self.fill(now);
        if self.bucket < 0.0 {
            return None;
        }
        let other = (self.turn + 1) % LANES;
        let lane = if self.lanes[self.turn].waiting.is_empty() { other } else { self.turn };
        let (bytes, packet) = self.lanes[lane].waiting.pop_front()?;
        self.lanes[lane].bytes -= bytes;
        self.bucket -= bytes as f64;
        self.turn = (lane + 1) % LANES;
        Some((lane, packet))
    }

    /// When [`Self::pop`] will give the next packet. Two go at once where the pace allows it: so the estimator sees
    /// trains.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        let missing = (self.rate * DEPTH_S).min(1300.0) - self.bucket;
        let seconds = (missing / self.rate).clamp(0.0, 2.0);
        Some(self.filled + Duration::from_secs_f64(seconds))
    }

    /// Drops what waits in a lane.
    pub(super) fn clear(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.waiting.clear();
            lane.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(packets: u32, bytes: usize) -> Vec<(usize, u32)> {
        (0..packets).map(|n| (bytes, n)).collect()
    }

    /// Bytes that leave within this time.
    fn sent(pacer: &mut Pacer<u32>, from: Instant, time: Duration) -> usize {
        let mut bytes = 0;
        for ms in 0..time.as_millis() as u64 {
            let before = pacer.bytes();
            while pacer.pop(from + Duration::from_millis(ms)).is_some() {}
            bytes += before - pacer.bytes();
        }
        bytes
    }

    #[test]
    fn pictures_leave_at_the_pace_and_make_room_for_all_the_rest() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 800_000.0);
        pacer.set_pace(start, 800_000.0, true);
        assert_eq!(pacer.push(start, 0, picture(100, 1000), true, false), Pushed::Queued);
        let alone = sent(&mut pacer, start, Duration::from_millis(200));
        assert!((21_000..27_000).contains(&alone), "{alone}");
        let then = start + Duration::from_millis(200);
        pacer.charge(then, 10_000);
        let beside = sent(&mut pacer, then, Duration::from_millis(200));
        assert!((11_000..16_000).contains(&beside), "{beside}");
    }

    #[test]
    fn what_waits_is_bounded_in_time() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 100_000.0);
        assert_eq!(pacer.push(start, 0, picture(3, 1000), false, false), Pushed::Queued);
        assert_eq!(pacer.push(start, 0, picture(3, 1000), false, true), Pushed::LeftOut);
        let mut verdicts = Vec::new();
        for _ in 0..10 {
            verdicts.push(pacer.push(start, 0, picture(3, 1000), false, false));
            assert!(pacer.wait() < Duration::from_secs(2), "{:?}", pacer.wait());
        }
        assert!(verdicts.contains(&Pushed::Overflow));
        pacer.clear(0);
        assert!(pacer.is_empty() && pacer.due().is_none());
        assert_eq!(pacer.push(start, 0, picture(5000, 1000), true, false), Pushed::Overflow);
        assert!(pacer.is_empty());
    }

    #[test]
    fn the_lanes_take_turns() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 8_000_000.0);
        pacer.push(start, 0, picture(10, 1000), true, false);
        pacer.push(start, 1, picture(10, 1000), true, false);
        let mut lanes = Vec::new();
        for ms in 0..100 {
            while let Some((lane, _)) = pacer.pop(start + Duration::from_millis(ms)) {
                lanes.push(lane);
            }
        }
        assert_eq!(lanes.len(), 20);
        assert_eq!(lanes[..6].iter().filter(|lane| **lane == 0).count(), 3);
    }

    #[test]
    fn the_time_of_the_next_packet_is_told() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 80_000.0);
        pacer.push(start, 0, picture(4, 1000), true, false);
        let mut now = start;
        let mut left = 0;
        for _ in 0..50 {
            let Some(due) = pacer.due() else { break };
            assert!(due >= now, "never in the past by more than nothing");
            now = now.max(due);
            while pacer.pop(now).is_some() {
                left += 1;
            }
        }
        assert_eq!(left, 4);
    }
}
