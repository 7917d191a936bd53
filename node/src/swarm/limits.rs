//! Token buckets per source network, and the behaviour that refuses connections from networks that come too often.
//!
//! Refusing happens before the handshake, so a flood costs its sender more than us.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, dummy,
    },
};

use super::scope::{Scope, SourceRange, ip_of, scope_of_ip};

/// Networks that are watched at a time; when more come, those with a full bucket are forgotten first.
const MAX_RANGES: usize = 1024;

/// A rate: `burst` at once, then `per_second`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Tokens of a full bucket.
    pub(super) burst: f64,
    /// Tokens gained in a second.
    pub(super) per_second: f64,
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, at: now }
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second;
        self.tokens = (self.tokens + gained).min(rate.burst);
        self.at = self.at.max(now);
    }

    /// Takes one token if there is one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// Token buckets per source network; loopback and private networks have a wider rate, since they are ours.
pub struct RangeLimiter {
    public: Rate,
    near: Rate,
    buckets: HashMap<SourceRange, (Bucket, Rate)>,
}

impl RangeLimiter {
    pub(super) fn new(public: Rate, near: Rate) -> Self {
        Self { public, near, buckets: HashMap::new() }
    }

    /// For the records that nodes put: one publishes fewer than ten an hour to us.
    pub fn puts() -> Self {
        Self::new(Rate { burst: 100.0, per_second: 5.0 }, Rate { burst: 1000.0, per_second: 200.0 })
    }

    /// Whether one more from `ip` is within the rate.
    pub fn take(&mut self, ip: IpAddr, now: Instant) -> bool {
        let rate = if scope_of_ip(ip) == Some(Scope::Public) { self.public } else { self.near };
        let range = SourceRange::of(ip);
        if !self.buckets.contains_key(&range) && self.buckets.len() >= MAX_RANGES {
            self.make_room(now);
        }
        self.buckets.entry(range).or_insert_with(|| (Bucket::full(rate, now), rate)).0.take(rate, now)
    }

    fn make_room(&mut self, now: Instant) {
        self.buckets.retain(|_, (bucket, rate)| {
            bucket.refill(*rate, now);
            bucket.tokens < rate.burst
        });
        if self.buckets.len() >= MAX_RANGES
            && let Some(range) = self.buckets.iter().min_by_key(|(_, (bucket, _))| bucket.at).map(|(range, _)| *range)
        {
            self.buckets.remove(&range);
        }
    }
}

/// Too many connections came from one network.
#[derive(Debug, thiserror::Error)]
#[error("too many connections from this network")]
struct TooMany;

/// Refuses inbound connections beyond the rate of their network.
pub(super) struct Behaviour {
    limiter: RangeLimiter,
}

impl Behaviour {
    /// A stranger needs a handful of connections; a site or a test on one machine may have many nodes.
    pub(super) fn new() -> Self {
        Self {
            limiter: RangeLimiter::new(Rate { burst: 32.0, per_second: 2.0 }, Rate { burst: 256.0, per_second: 64.0 }),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        // Who comes through a relay is counted as coming from the relay.
        match ip_of(remote).or_else(|| ip_of(local)) {
            Some(ip) if !self.limiter.take(ip, Instant::now()) => Err(ConnectionDenied::new(TooMany)),
            _ => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long an empty bucket of the public rate takes to fill again.
    const REFILL: Duration = Duration::from_secs(16);

    #[test]
    fn a_network_that_floods_is_refused_until_its_bucket_fills_again() {
        let now = Instant::now();
        let mut limiter = Behaviour::new().limiter;
        let ip: IpAddr = "9.9.9.9".parse().unwrap();
        let neighbour: IpAddr = "9.9.9.10".parse().unwrap();
        assert_eq!((0..100).filter(|_| limiter.take(ip, now)).count(), 32);
        assert!(!limiter.take(neighbour, now), "one network, one bucket");
        assert!(limiter.take("8.8.8.8".parse().unwrap(), now));
        assert_eq!((0..100).filter(|_| limiter.take(ip, now + REFILL)).count(), 32);
    }

    #[test]
    fn watching_many_networks_takes_bounded_memory() {
        let now = Instant::now();
        let mut limiter = Behaviour::new().limiter;
        for n in 0..5000u32 {
            let [_, a, b, _] = n.to_be_bytes();
            let [_, _, c, d] = n.to_be_bytes();
            limiter.take(IpAddr::from([9, a ^ b, c, d]), now);
            limiter.take(IpAddr::from([11, c, d, 1]), now);
        }
        assert!(limiter.buckets.len() <= MAX_RANGES);
    }
}
