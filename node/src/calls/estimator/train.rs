//! What the narrowest link of the path carries, from packets that left together.
//!
//! Two packets that leave back to back leave the narrowest link apart by the time that it takes to pass on the second
//! one. That is a hint, not a proof: jitter and links that bundle packets blur it. It decides only how fast the
//! estimate may grow where nothing speaks against it, and whether a path that carries just the voice has become wide
//! again. It costs nothing: the pacer lets packets of a picture go by twos and threes anyway.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets that left within this time after the one before belong together.
const TOGETHER: Duration = Duration::from_micros(1500);
/// Trains in the median.
const TRAINS: usize = 21;
/// Trains older than this tell nothing about now.
const FRESH: Duration = Duration::from_secs(7);
/// So many trains make a hint.
pub(in crate::calls) const ENOUGH: usize = 3;
/// What arrives in no time came at this rate, bits per second: more than is ever sent.
const LIMIT: f64 = 10e6;
/// The middle half of the trains must agree within this factor; else it is jitter that sets them apart, not the link.
const AGREE: f64 = 2.2;

#[derive(Clone, Copy, Debug)]
struct Train {
    sent: Instant,
    first: Duration,
    last: Duration,
    bytes: usize,
    packets: usize,
}

/// The trains of late.
#[derive(Debug, Default)]
pub(in crate::calls) struct Trains {
    open: Option<Train>,
    rates: VecDeque<(Instant, f64)>,
}

impl Trains {
    /// A packet, in the order of sending. `bytes` on the wire; `None` if it was lost.
    pub(in crate::calls) fn packet(&mut self, now: Instant, sent: Instant, arrival: Option<Duration>, bytes: usize) {
        let Some(arrival) = arrival else {
            self.close(now);
            return;
        };
        if let Some(train) = &mut self.open
            && sent.saturating_duration_since(train.sent) <= TOGETHER
            && arrival >= train.last
        {
            (train.sent, train.last) = (sent, arrival);
            train.bytes += bytes;
            train.packets += 1;
            return;
        }
        self.close(now);
        self.open = Some(Train { sent, first: arrival, last: arrival, bytes: 0, packets: 1 });
    }

    fn close(&mut self, now: Instant) {
        let Some(train) = self.open.take().filter(|train| train.packets > 1) else { return };
        let took = train.last.saturating_sub(train.first).as_secs_f64();
        let rate = (train.bytes as f64 * 8.0 / took.max(1e-6)).min(LIMIT);
        if self.rates.len() >= TRAINS {
            self.rates.pop_front();
        }
        self.rates.push_back((now, rate));
    }

    /// The median rate, if there are enough fresh trains, and they agree.
    pub(in crate::calls) fn hint(&self, now: Instant) -> Option<f64> {
        let mut rates: Vec<f64> = self.fresh(now).collect();
        if rates.len() < ENOUGH {
            return None;
        }
        rates.sort_by(f64::total_cmp);
        let at = |quarter: usize| rates.get((rates.len() * quarter / 4).min(rates.len() - 1)).copied();
        at(2)
            .filter(|_| at(0).zip(at(3)).is_some_and(|(low, high)| rates.len() > 4 || high < AGREE * low))
            .filter(|_| at(1).zip(at(3)).is_some_and(|(low, high)| high < AGREE * low))
    }

    /// The lower rate of the last two trains, if they are fresh and agree.
    pub(in crate::calls) fn latest(&self, now: Instant) -> Option<f64> {
        let fresh: Vec<f64> = self.fresh(now).collect();
        let &[.., one, other] = fresh.as_slice() else { return None };
        (one.max(other) < AGREE * one.min(other)).then(|| one.min(other))
    }

    fn fresh(&self, now: Instant) -> impl Iterator<Item = f64> {
        self.rates.iter().filter(move |(at, _)| now.saturating_duration_since(*at) <= FRESH).map(|(_, rate)| *rate)
    }

    /// What was learned of a path that is another one now.
    pub(in crate::calls) fn forget(&mut self) {
        self.rates.clear();
        self.open = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_tell_the_narrowest_link_and_jitter_tells_nothing() {
        let start = Instant::now();
        let (mut clear, mut blurred) = (Trains::default(), Trains::default());
        for n in 0..20_u64 {
            let sent = start + Duration::from_millis(n * 40);
            let arrival = |ms: f64| Some(Duration::from_secs_f64(100.0 + n as f64 * 0.04 + ms / 1e3));
            // 1000 bytes take 8 ms at 1 Mbit/s.
            for trains in [&mut clear, &mut blurred] {
                trains.packet(sent, sent, arrival(0.0), 1000);
            }
            clear.packet(sent, sent, arrival(8.0), 1000);
            blurred.packet(sent, sent, arrival(1.0 + (n * 37 % 60) as f64), 1000);
        }
        let now = start + Duration::from_secs(1);
        assert!(clear.hint(now).is_some_and(|hint| (0.9e6..1.1e6).contains(&hint)), "{:?}", clear.hint(now));
        assert_eq!(blurred.hint(now), None);
        assert_eq!(clear.hint(now + 2 * FRESH), None, "what was long ago says nothing of now");
    }

    #[test]
    fn losses_and_overtaking_make_no_train() {
        let start = Instant::now();
        let mut trains = Trains::default();
        for n in 0..50_u64 {
            let sent = start + Duration::from_millis(n * 40);
            trains.packet(sent, sent, Some(Duration::from_millis(n * 40 + 20)), 1000);
            trains.packet(sent, sent, None, 1000);
            trains.packet(sent, sent, Some(Duration::from_millis(n * 40 + 10)), 1000);
        }
        assert_eq!(trains.hint(start + Duration::from_secs(2)), None);
    }
}
