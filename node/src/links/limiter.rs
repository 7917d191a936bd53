//! How often somebody may knock: a token bucket per name (connection, source), in bounded memory.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Token buckets. A name that nobody has seen has a full one.
#[derive(Debug)]
pub struct Limiter {
    burst: u32,
    refill: Duration,
    most: usize,
    buckets: HashMap<String, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Tokens left at `since`.
    tokens: u32,
    since: Instant,
}

impl Limiter {
    /// `burst` attempts at once, then one per `refill`; at most `most` names are remembered.
    pub fn new(burst: u32, refill: Duration, most: usize) -> Self {
        Self { burst, refill, most, buckets: HashMap::new() }
    }

    /// Takes one token; false if there is none.
    pub fn take(&mut self, now: Instant, name: &str) -> bool {
        let mut bucket = self.current(now, name);
        let allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        self.put(now, name, bucket);
        allowed
    }

    /// Gives one token back: the attempt was a good one.
    pub fn give_back(&mut self, now: Instant, name: &str) {
        let mut bucket = self.current(now, name);
        bucket.tokens = self.burst.min(bucket.tokens + 1);
        self.put(now, name, bucket);
    }

    fn current(&self, now: Instant, name: &str) -> Bucket {
        let Some(bucket) = self.buckets.get(name) else {
            return Bucket { tokens: self.burst, since: now };
        };
        let waited = now.saturating_duration_since(bucket.since);
        let earned = waited.as_millis() / self.refill.as_millis().max(1);
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        let tokens = bucket.tokens.saturating_add(earned).min(self.burst);
        // What is left of the waiting time counts towards the next token.
        let since = if tokens == self.burst { now } else { bucket.since + self.refill * earned };
        Bucket { tokens, since }
    }

    fn put(&mut self, now: Instant, name: &str, bucket: Bucket) {
        if bucket.tokens >= self.burst {
            self.buckets.remove(name);
            return;
        }
        if self.buckets.len() >= self.most && !self.buckets.contains_key(name) {
            self.make_room(now);
        }
        self.buckets.insert(name.to_owned(), bucket);
    }

    /// Forgets who has waited long enough anyway; if that is nobody, the one who has waited longest.
    fn make_room(&mut self, now: Instant) {
        let full: Vec<String> =
            self.buckets.keys().filter(|name| self.current(now, name).tokens >= self.burst).cloned().collect();
        for name in &full {
            self.buckets.remove(name);
        }
        if full.is_empty() {
            let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.since).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.buckets.remove(&oldest);
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the first 64 bits of an IPv6 address, from multiaddr text. Anything
/// else is a source of its own by its text.
pub(super) fn source_of(address: &str) -> String {
    let mut parts = address.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("ip4"), Some(ip)) => ip.to_owned(),
        (Some("ip6"), Some(ip)) => ip.parse::<std::net::Ipv6Addr>().map_or_else(
            |_| ip.to_owned(),
            |ip| ip.segments()[..4].iter().map(|segment| format!("{segment:x}:")).collect(),
        ),
        _ => address.chars().take(64).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_let_through_and_then_one_per_interval() {
        let start = Instant::now();
        let mut limiter = Limiter::new(3, 10 * SECOND, 10);
        assert_eq!([(); 5].map(|()| limiter.take(start, "a")), [true, true, true, false, false]);
        assert!(limiter.take(start, "b"));
        assert!(!limiter.take(start + 9 * SECOND, "a"));
        assert!(limiter.take(start + 10 * SECOND, "a"));
        assert!(!limiter.take(start + 11 * SECOND, "a"));
        assert_eq!([(); 4].map(|()| limiter.take(start + 1000 * SECOND, "a")), [true, true, true, false]);
    }

    #[test]
    fn good_attempts_cost_nothing() {
        let start = Instant::now();
        let mut limiter = Limiter::new(2, SECOND, 10);
        for _ in 0..100 {
            assert!(limiter.take(start, "a"));
            limiter.give_back(start, "a");
        }
        assert!(limiter.buckets.is_empty());
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let start = Instant::now();
        let mut limiter = Limiter::new(2, SECOND, 10);
        for n in 0..1000 {
            limiter.take(start, &n.to_string());
            assert!(limiter.buckets.len() <= 10);
        }
    }

    #[test]
    fn one_network_is_one_source() {
        assert_eq!(source_of("/ip4/203.0.113.7/udp/1/quic-v1"), source_of("/ip4/203.0.113.7/tcp/2"));
        assert_ne!(source_of("/ip4/203.0.113.7/tcp/2"), source_of("/ip4/203.0.113.8/tcp/2"));
        assert_eq!(source_of("/ip6/2001:db8:1:2::1/tcp/1"), source_of("/ip6/2001:db8:1:2:ffff::/tcp/1"));
        assert_ne!(source_of("/ip6/2001:db8:1:2::1/tcp/1"), source_of("/ip6/2001:db8:1:3::1/tcp/1"));
        assert_eq!(source_of(&"x".repeat(1000)).len(), 64);
    }
}
