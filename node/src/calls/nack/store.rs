//! What was sent lately of one stream, and what of it is sent again.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Packets are kept for so long: later than this a key frame has mended the picture.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Bytes kept for one stream: a second at 8 Mbit/s.
const MAX_BYTES: usize = 1 << 20;
/// Packets kept for one stream; two thousand of 500 bytes are those bytes.
const MAX_PACKETS: usize = 2048;
/// A packet is sent again so often at most.
const MAX_TIMES: u8 = 10;
/// A packet is not sent again within this share of a round trip: the friend cannot know yet that it got lost.
const GUARD: f64 = 0.8;
/// The share of the path's rate that repairs may take in the long run: at 30 % loss, 43 % are needed.
const SHARE: f64 = 0.45;
/// Bytes that may be sent again at once: the largest key frame of a call.
const BURST: f64 = 64.0 * 1024.0;

#[derive(Clone, Debug)]
struct Sent<P> {
    at: Instant,
    size: usize,
    again: Option<Instant>,
    times: u8,
    packet: P,
}

/// What was sent lately of one stream, by sequence number.
#[derive(Debug)]
pub(in crate::calls) struct Store<P> {
    sent: HashMap<u16, Sent<P>>,
    order: VecDeque<(u16, Instant)>,
    bytes: usize,
    /// Bytes that may be sent again now.
    credit: f64,
    filled: Option<Instant>,
}

impl<P> Default for Store<P> {
    fn default() -> Self {
        Self { sent: HashMap::new(), order: VecDeque::new(), bytes: 0, credit: BURST, filled: None }
    }
}

impl<P: Clone> Store<P> {
    /// Keeps a packet of `size` bytes.
    pub(in crate::calls) fn keep(&mut self, now: Instant, number: u16, size: usize, packet: P) {
        while self.order.front().is_some_and(|(_, at)| now.saturating_duration_since(*at) > MAX_AGE)
            || self.order.len() >= MAX_PACKETS
            || self.bytes + size > MAX_BYTES && !self.order.is_empty()
        {
            let Some((oldest, at)) = self.order.pop_front() else { break };
            // The same number may have come round again.
            if self.sent.get(&oldest).is_some_and(|sent| sent.at == at)
                && let Some(gone) = self.sent.remove(&oldest)
            {
                self.bytes -= gone.size;
            }
        }
        self.order.push_back((number, now));
        self.bytes += size;
        let sent = Sent { at: now, size, again: None, times: 0, packet };
        if let Some(old) = self.sent.insert(number, sent) {
            self.bytes -= old.size;
        }
    }

    /// A packet that was asked for, if it is to be sent again now. `rate` is what the path carries, bits per second.
    pub(in crate::calls) fn answer(&mut self, now: Instant, round_trip: Duration, rate: u64, number: u16) -> Option<P> {
        let passed = self.filled.replace(now).map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
        self.credit = (self.credit + passed.as_secs_f64() * rate as f64 / 8.0 * SHARE).min(BURST);
        let sent = self.sent.get_mut(&number)?;
        let last = sent.again.unwrap_or(sent.at);
        let soon = now.saturating_duration_since(last) < round_trip.mul_f64(GUARD) && sent.again.is_some();
        let old = now.saturating_duration_since(sent.at) > MAX_AGE;
        if soon || old || sent.times >= MAX_TIMES || self.credit < sent.size as f64 {
            return None;
        }
        self.credit -= sent.size as f64;
        sent.again = Some(now);
        sent.times += 1;
        Some(sent.packet.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RATE: u64 = 1_000_000;

    #[test]
    fn a_packet_is_sent_again_once_in_a_round_trip_and_not_for_ever() {
        let (mut store, start) = (Store::default(), Instant::now());
        store.keep(start, 5, 1000, ());
        assert!(store.answer(start + MS, 20 * MS, RATE, 5).is_some());
        assert!(store.answer(start + 10 * MS, 20 * MS, RATE, 5).is_none());
        let times = (0..900).filter(|ms| store.answer(start + (20 + ms) * MS, 20 * MS, RATE, 5).is_some()).count();
        assert_eq!(times, usize::from(MAX_TIMES) - 1);
        store.keep(start, 6, 1000, ());
        assert!(store.answer(start + MAX_AGE + MS, 20 * MS, RATE, 6).is_none(), "too old");
    }

    #[test]
    fn a_flood_of_requests_costs_a_share_of_the_path() {
        let (mut store, start) = (Store::default(), Instant::now());
        let mut sent = 0;
        for ms in 0..10_000_u32 {
            let now = start + ms * MS;
            store.keep(now, (ms / 8) as u16, 1000, ());
            for number in 0..100_u16 {
                sent += usize::from(store.answer(now, MS, RATE, ((ms / 8) as u16).wrapping_sub(number)).is_some());
            }
        }
        let bits = sent as f64 * 8000.0 - BURST * 8.0;
        assert!(bits / 10.0 <= RATE as f64 * (SHARE + 0.01), "{bits}");
    }

    #[test]
    fn the_store_is_bounded_in_packets_bytes_and_time() {
        let (mut store, start) = (Store::default(), Instant::now());
        for number in 0..10_000_u32 {
            store.keep(start, number as u16, 100, ());
        }
        assert_eq!((store.sent.len(), store.order.len(), store.bytes), (MAX_PACKETS, MAX_PACKETS, 100 * MAX_PACKETS));
        for number in 0..2000_u16 {
            store.keep(start, number, 60_000, ());
        }
        assert!(store.bytes <= MAX_BYTES);
        store.keep(start + 2 * MAX_AGE, 1, 10, ());
        assert_eq!((store.sent.len(), store.bytes), (1, 10));
    }
}
