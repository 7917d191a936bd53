//! The agent: candidates and pairs, checks out, checks and answers in. No sockets and no clock: time comes in, packets
//! come out of [`Agent::take`].
//!
//! Everything that a stranger could send is bounded before it is looked at (pairs, candidates, transactions), and
//! nothing changes before its integrity has been verified with a password that only the link knows.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::RTCCryptoProvider;

use super::pair::{Pair, RESERVE};
use super::{Chosen, Credentials, Local, Route, Via};
use crate::calls::candidate::{self, Candidate, Kind};
use crate::calls::stun::{Class, Message, Transaction, Writer};

/// Addresses of the friend that are kept: 16 candidates of this generation and the last, and what checks came from.
pub(super) const MAX_REMOTES: usize = 40;
/// Pairs: more than five ways out to each of sixteen candidates.
pub(super) const MAX_PAIRS: usize = 96;
/// Unanswered checks remembered.
pub(super) const MAX_PENDING: usize = 512;
/// Ways out.
const MAX_LOCALS: usize = 32;
/// A check that is older than this is not answered any more.
const PENDING_LIFE: Duration = Duration::from_secs(4);
/// Between two checks (RFC 8445, 14.2, asks for 50 ms where nothing is known of the network; checks here are as large as
/// audio packets, and a call sends fifty of those a second).
const PACE: Duration = Duration::from_millis(4);
/// On a path that is known to be narrow checks take a quarter of it at most, or they would be what fills it...
const CHECK_SHARE: f64 = 0.25;
/// ...and answers to as many of the friend's another quarter. Bits of a check inside a relay's channel.
const CHECK_BITS: f64 = 144.0 * 8.0;
/// Slower than this it never gets.
const SLOWEST: Duration = Duration::from_millis(80);
/// A check provoked by one of the friend's follows the last one not closer than this.
const TRIGGERED: Duration = Duration::from_millis(20);
/// ...and not before so much time has passed since the pair answered.
const STALE: Duration = Duration::from_millis(RESERVE.as_millis() as u64 * 3 / 2);
/// How often the path in use is looked at.
const LOOK: Duration = Duration::from_millis(40);
/// Everything is checked anew at most this often because of doubts.
const PANIC: Duration = Duration::from_millis(900);
/// Between two cries that nothing answers: at first, and at last.
const STRANDED: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(32));
/// Pairs kept in reserve.
const RESERVES: usize = 4;

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transmit {
    pub(super) route: Route,
    pub(super) packet: Vec<u8>,
    /// Set for a check: its answer is wanted.
    pub(super) check: Option<Transaction>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) packets: Vec<Transmit>,
    /// Addresses that a relay must let through.
    pub(super) permits: Vec<(u16, SocketAddr)>,
    /// The path in use is another, or its kind has become known better.
    pub(super) changed: bool,
    /// Nothing answers any more: what we look like from outside may have changed, and allocations may be gone with it.
    pub(super) stranded: bool,
}

#[derive(Debug)]
struct Remote {
    address: SocketAddr,
    kind: Kind,
    priority: u32,
}

/// The agent of one connection.
pub(super) struct Agent {
    crypto: Arc<dyn RTCCryptoProvider>,
    own: Option<Credentials>,
    friend: Option<Credentials>,
    pub(super) controlling: bool,
    tie_breaker: u64,
    /// Loopback addresses make sense, and relays may be asked for private ones.
    lax: bool,
    locals: Vec<Local>,
    remotes: Vec<Remote>,
    pub(super) pairs: Vec<Pair>,
    pending: HashMap<Transaction, (Route, Instant)>,
    order: VecDeque<(Transaction, Instant)>,
    /// The path in use.
    pub(super) selected: Option<Route>,
    /// The pair that the controlling friend chose last.
    pub(super) nominated: Option<Route>,
    work: Work,
    pace: Instant,
    pause: Duration,
    looked: Instant,
    panicked: Option<Instant>,
    /// When it was last said that nothing answers, and how long that stands.
    stranded: Option<(Instant, Duration)>,
    /// Own addresses as servers saw them, to name the kind of our side.
    reflexive: Vec<SocketAddr>,
    port: u16,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("pairs", &self.pairs.len()).finish_non_exhaustive()
    }
}

impl Agent {
    pub(super) fn new(
        now: Instant,
        crypto: Arc<dyn RTCCryptoProvider>,
        controlling: bool,
        tie_breaker: u64,
        lax: bool,
        port: u16,
    ) -> Self {
        Self {
            crypto,
            own: None,
            friend: None,
            controlling,
            tie_breaker,
            lax,
            locals: Vec::new(),
            remotes: Vec::new(),
            pairs: Vec::new(),
            pending: HashMap::new(),
            order: VecDeque::new(),
            selected: None,
            nominated: None,
            work: Work::default(),
            pace: now,
            pause: PACE,
            looked: now,
            panicked: None,
            stranded: None,
            reflexive: Vec::new(),
            port,
        }
    }

    // ---- what both sides have ----

    pub(super) fn set_own(&mut self, own: Credentials) {
        self.own = Some(own);
    }

    /// The friend's credentials: from now on checks go out.
    pub(super) fn set_friend(&mut self, now: Instant, friend: Credentials) {
        if self.friend.as_ref() != Some(&friend) {
            self.friend = Some(friend);
            self.renew(now);
        }
    }

    pub(super) fn set_reflexive(&mut self, reflexive: Vec<SocketAddr>) {
        self.reflexive = reflexive;
    }

    /// Our ways out, anew: pairs over those that are gone go with them.
    pub(super) fn set_locals(&mut self, now: Instant, mut locals: Vec<Local>) {
        locals.truncate(MAX_LOCALS);
        let fresh: Vec<Local> = locals.iter().filter(|local| !self.locals.contains(local)).copied().collect();
        let before = std::mem::replace(&mut self.locals, locals);
        let gone = |route: Route| {
            let is = |local: &&Local| local.via == route.via && local.v4 == route.to.is_ipv4();
            before.iter().any(|l| is(&l)) && !self.locals.iter().any(|l| is(&l))
        };
        self.pairs.retain(|pair| !gone(pair.route));
        for chosen in [&mut self.selected, &mut self.nominated] {
            if chosen.is_some_and(gone) {
                *chosen = None;
            }
        }
        for local in fresh {
            for at in 0..self.remotes.len() {
                let remote = &self.remotes[at];
                let (address, kind, priority) = (remote.address, remote.kind, remote.priority);
                self.pair(now, local, address, kind, priority);
            }
        }
        self.choose(now);
    }

    /// An address of the friend, from the link.
    pub(super) fn add_remote(&mut self, now: Instant, candidate: &Candidate) {
        let Candidate { address, kind, priority, .. } = *candidate;
        if let Some(known) = self.remotes.iter_mut().find(|remote| remote.address == address) {
            // A check may have come from it before the link told its kind.
            if known.kind == Kind::PeerReflexive && kind != Kind::PeerReflexive {
                (known.kind, known.priority) = (kind, priority);
                let mut renamed = std::mem::take(&mut self.pairs);
                for pair in renamed.iter_mut().filter(|pair| pair.route.to == address) {
                    pair.remote_kind = kind;
                    if let Some(local) = self.local(pair.route) {
                        pair.cost = cost(&local, kind, priority, address.ip());
                    }
                }
                self.pairs = renamed;
                self.work.changed = true;
            }
            return;
        }
        self.remember(address, kind, priority);
        for local in self.locals.clone() {
            self.pair(now, local, address, kind, priority);
        }
    }

    fn remember(&mut self, address: SocketAddr, kind: Kind, priority: u32) {
        if self.remotes.len() >= MAX_REMOTES {
            let used = |remote: &Remote| {
                [self.selected, self.nominated].iter().flatten().any(|route| route.to == remote.address)
            };
            // The oldest that is not in use makes way.
            if let Some(at) = self.remotes.iter().position(|remote| !used(remote)) {
                let gone = self.remotes.remove(at).address;
                self.pairs.retain(|pair| pair.route.to != gone);
            }
        }
        self.remotes.push(Remote { address, kind, priority });
    }

    fn local(&self, route: Route) -> Option<Local> {
        self.locals.iter().find(|local| local.via == route.via && local.v4 == route.to.is_ipv4()).copied()
    }

    /// Makes a pair, if one makes sense.
    fn pair(&mut self, now: Instant, local: Local, to: SocketAddr, kind: Kind, priority: u32) {
        let route = Route { via: local.via, to };
        let loopback_only = |ip: IpAddr| ip.is_loopback();
        let sense = local.v4 == to.is_ipv4()
            && match local.via {
                Via::Direct(ip) => self.lax || loopback_only(ip) == loopback_only(to.ip()),
                Via::Relay(_) => self.lax || candidate::is_public(to.ip()),
            };
        if !sense || self.pairs.iter().any(|pair| pair.route == route) {
            return;
        }
        if self.pairs.len() >= MAX_PAIRS {
            // The least promising that has never answered makes way, or nothing does.
            let worst = (0..self.pairs.len())
                .filter(|&at| self.pairs[at].answered.is_none() && Some(self.pairs[at].route) != self.selected)
                .max_by_key(|&at| (self.pairs[at].cost, std::cmp::Reverse(self.pairs[at].priority)));
            match worst {
                Some(at) => drop(self.pairs.swap_remove(at)),
                None => return,
            }
        }
        if let Via::Relay(number) = local.via {
            self.work.permits.push((number, to));
        }
        self.pairs.push(Pair::new(now, route, cost(&local, kind, priority, to.ip()), u64::from(priority), kind));
    }

    /// What the path in use carries, bits per second: so many checks there may be. Zero: unknown.
    pub(super) fn set_rate(&mut self, rate: f64) {
        let pause = if rate > 0.0 { CHECK_BITS / (rate * CHECK_SHARE) } else { 0.0 };
        self.pause = Duration::try_from_secs_f64(pause).unwrap_or(SLOWEST).clamp(PACE, SLOWEST);
    }

    /// Checks everything anew, densely; what works stays in use meanwhile.
    pub(super) fn renew(&mut self, now: Instant) {
        for pair in &mut self.pairs {
            pair.rearm(now);
        }
    }

    // ---- packets ----

    /// Takes a check or an answer. Says whether it was genuine: then its source belongs to this connection.
    pub(super) fn input(&mut self, now: Instant, route: Route, packet: &[u8]) -> bool {
        let Some(message) = Message::read(packet) else { return false };
        match message.class {
            Class::Request => self.asked(now, route, &message),
            Class::Success | Class::Error => self.answered(now, route, &message),
        }
    }

    fn asked(&mut self, now: Instant, route: Route, message: &Message<'_>) -> bool {
        let Some(own) = self.own.clone() else { return false };
        let name = match &self.friend {
            Some(friend) => message.is_for(&format!("{}:{}", own.ufrag, friend.ufrag)),
            // A check may overtake the answer; who knows our password has it from the link.
            None => message.username.is_some_and(|name| name.starts_with(format!("{}:", own.ufrag).as_bytes())),
        };
        if !name || !message.verified(&*self.crypto, own.password.as_bytes()) || self.local(route).is_none() {
            return false;
        }
        let writer = match self.conflict(message) {
            true => Writer::role_conflict(message.transaction),
            false => Writer::success(message.transaction, route.to),
        };
        if let Some(packet) = writer.sealed(&*self.crypto, own.password.as_bytes()) {
            self.work.packets.push(Transmit { route, packet, check: None });
        }
        if !self.remotes.iter().any(|remote| remote.address == route.to) {
            self.remember(route.to, Kind::PeerReflexive, message.priority.unwrap_or(0));
        }
        if !self.pairs.iter().any(|pair| pair.route == route)
            && let Some(local) = self.local(route)
            && let Some(remote) = self.remotes.iter().find(|remote| remote.address == route.to)
        {
            let (kind, priority) = (remote.kind, remote.priority);
            self.pair(now, local, route.to, kind, priority);
        }
        if message.use_candidate && !self.controlling {
            self.nominated = Some(route);
        }
        if let Some(pair) = self.pairs.iter_mut().find(|pair| pair.route == route) {
            // Triggered check: the friend's NAT is open for us at this moment.
            // One that answered lately needs none: two sides that trigger each other would check twice as often.
            if pair.is_overdue(now) || pair.answered.is_none_or(|at| now.saturating_duration_since(at) > STALE) {
                let soon = pair.sent.map_or(now, |sent| (sent + TRIGGERED).max(now));
                pair.next = pair.next.min(soon);
            }
        }
        self.choose(now);
        true
    }

    /// Settles who leads when both believe to (RFC 8445, 7.3.1.1); true if the friend must give in.
    fn conflict(&mut self, message: &Message<'_>) -> bool {
        let theirs = match (self.controlling, message.controlling, message.controlled) {
            (true, Some(theirs), _) => theirs,
            (false, _, Some(theirs)) => theirs,
            _ => return false,
        };
        // The larger tie breaker controls.
        if self.controlling == (self.tie_breaker >= theirs) {
            return true;
        }
        self.switch_role();
        false
    }

    fn switch_role(&mut self) {
        self.controlling = !self.controlling;
        self.nominated = None;
    }

    fn answered(&mut self, now: Instant, route: Route, message: &Message<'_>) -> bool {
        let Some(friend) = &self.friend else { return false };
        let Some((asked, sent)) = self.pending.get(&message.transaction).copied() else { return false };
        if asked != route || !message.verified(&*self.crypto, friend.password.as_bytes()) {
            return false;
        }
        self.pending.remove(&message.transaction);
        if message.class == Class::Error {
            if message.error == Some(487) {
                self.switch_role();
                self.renew(now);
            }
            return true;
        }
        let (in_use, reserve) = (self.selected == Some(route), self.is_reserve(now, route));
        if let Some(pair) = self.pairs.iter_mut().find(|pair| pair.route == route) {
            pair.answers(now, sent, in_use, reserve);
            if pair.mapped != message.mapped {
                pair.mapped = message.mapped;
                self.work.changed |= in_use;
            }
        }
        self.choose(now);
        true
    }

    /// Media came. Says whether the route is one of ours, checked in either direction or not yet.
    pub(super) fn heard(&mut self, now: Instant, route: Route) -> bool {
        let known = self.pairs.iter_mut().find(|pair| pair.route == route);
        known.map(|pair| pair.heard = Some(now)).is_some()
    }

    /// The way in of a packet that came to the shared port: by the address it was sent to, else any of its family.
    pub(super) fn via_direct(&self, to: Option<IpAddr>, from: SocketAddr) -> Option<Via> {
        let direct = |local: &&Local| !local.via.is_relay() && local.v4 == from.is_ipv4();
        let exact = self.locals.iter().filter(direct).find(|local| to.is_some_and(|ip| local.via == Via::Direct(ip)));
        exact.or_else(|| self.locals.iter().find(direct)).map(|local| local.via)
    }

    // ---- the clock ----

    /// When [`Self::handle_timeout`] is to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.friend.as_ref()?;
        let check = self.pairs.iter().map(|pair| pair.next).min().map(|at| at.max(self.pace));
        let look = self.selected.is_some().then_some(self.looked + LOOK);
        [check, look].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.friend.is_none() {
            return;
        }
        while self.order.front().is_some_and(|(_, sent)| now.saturating_duration_since(*sent) > PENDING_LIFE) {
            if let Some((old, _)) = self.order.pop_front() {
                self.pending.remove(&old);
            }
        }
        if now.saturating_duration_since(self.looked) >= LOOK {
            self.looked = now;
            self.look(now);
            self.choose(now);
        }
        while self.pace <= now {
            // The pair in use goes first, then what was asked seldom, then the cheapest.
            let due = (0..self.pairs.len()).filter(|&at| self.pairs[at].next <= now).min_by_key(|&at| {
                let pair = &self.pairs[at];
                let priority = std::cmp::Reverse(pair.priority);
                (Some(pair.route) != self.selected, pair.tries(), pair.cost, priority, pair.next)
            });
            let Some(at) = due else { break };
            self.check(now, at);
            // A tick that comes late makes up for what it missed, but not for more than a few checks.
            self.pace = self.pace.max(now.checked_sub(PACE * 4).unwrap_or(now)) + self.pause;
        }
    }

    /// Is the path in use alive? If not, everything is asked at once.
    fn look(&mut self, now: Instant) {
        let Some(at) = self.selected_at() else { return };
        let (doubted, fell_silent) = (self.pairs[at].is_doubted(now), self.pairs[at].fell_silent(now));
        if self.pairs[at].is_overdue(now) || fell_silent {
            self.pairs[at].doubt(now);
        }
        if doubted {
            self.strand(now, at);
        }
        let alarm = doubted || (fell_silent && !self.pairs.iter().any(|pair| pair.is_heard(now)));
        if alarm && self.panicked.is_none_or(|last| now.saturating_duration_since(last) >= PANIC) {
            self.panicked = Some(now);
            let selected = self.selected;
            for pair in self.pairs.iter_mut().filter(|pair| Some(pair.route) != selected) {
                pair.rearm(now);
            }
        }
    }

    /// Says that nothing answers, if that is so: at first at once, then ever more seldom.
    fn strand(&mut self, now: Instant, at: usize) {
        let Some(since) = self.pairs[at].silent_since() else { return };
        let alive = |pair: &Pair| pair.is_heard(now) || pair.answered.is_some_and(|at| at >= since);
        if self.pairs.iter().any(alive) {
            return;
        }
        let pause = match self.stranded {
            // What was said before belongs to another silence.
            Some((last, _)) if self.pairs[at].answered.is_some_and(|at| at >= last) => STRANDED.0,
            Some((last, pause)) if now.saturating_duration_since(last) < pause => return,
            Some((_, pause)) => (pause * 2).min(STRANDED.1),
            None => STRANDED.0,
        };
        self.stranded = Some((now, pause));
        self.work.stranded = true;
    }

    fn check(&mut self, now: Instant, at: usize) {
        let (in_use, reserve) =
            (Some(self.pairs[at].route) == self.selected, self.is_reserve(now, self.pairs[at].route));
        let pair = &mut self.pairs[at];
        pair.checked(now, in_use, reserve);
        let (route, priority) = (pair.route, Kind::PeerReflexive.priority(u16::MAX));
        let (Some(own), Some(friend)) = (&self.own, &self.friend) else { return };
        let id: Transaction = rand::random();
        let mut writer = Writer::request(id)
            .username(&format!("{}:{}", friend.ufrag, own.ufrag))
            .priority(priority)
            .role(self.controlling, self.tie_breaker);
        if self.controlling && in_use {
            writer = writer.use_candidate();
        }
        let Some(packet) = writer.sealed(&*self.crypto, friend.password.as_bytes()) else { return };
        if self.order.len() >= MAX_PENDING
            && let Some((old, _)) = self.order.pop_front()
        {
            self.pending.remove(&old);
        }
        self.pending.insert(id, (route, now));
        self.order.push_back((id, now));
        self.work.packets.push(Transmit { route, packet, check: Some(id) });
    }

    /// The best working pairs beside the one in use are kept fresh.
    fn is_reserve(&self, now: Instant, route: Route) -> bool {
        let Some(this) = self.pairs.iter().find(|pair| pair.route == route) else { return false };
        let better = |pair: &&Pair| {
            pair.works(now)
                && Some(pair.route) != self.selected
                && (pair.cost, pair.round_trip) < (this.cost, this.round_trip)
        };
        self.pairs.iter().filter(better).count() < RESERVES
    }

    #[cfg(test)]
    pub(super) fn remotes(&self) -> usize {
        self.remotes.len()
    }

    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    // ---- what comes out ----

    pub(super) fn take(&mut self) -> Work {
        std::mem::take(&mut self.work)
    }

    pub(super) fn set_changed(&mut self) {
        self.work.changed = true;
    }

    pub(super) fn selected_at(&self) -> Option<usize> {
        let selected = self.selected?;
        self.pairs.iter().position(|pair| pair.route == selected)
    }

    /// When the path in use answered last.
    pub(super) fn alive_at(&self) -> Option<Instant> {
        self.pairs[self.selected_at()?].answered
    }

    /// The path in use, with names for both ends.
    pub(super) fn chosen(&self) -> Option<Chosen> {
        let pair = &self.pairs[self.selected_at()?];
        let local =
            match pair.route.via {
                Via::Relay(_) => Kind::Relay,
                Via::Direct(ip) => {
                    match pair.mapped {
                        Some(mapped) if mapped != SocketAddr::new(ip, self.port) => {
                            if self.reflexive.contains(&mapped) { Kind::ServerReflexive } else { Kind::PeerReflexive }
                        }
                        _ => Kind::Host,
                    }
                }
            };
        Some(Chosen { route: pair.route, local, remote: pair.remote_kind, round_trip: pair.round_trip })
    }
}

/// Cost from which on a relay is in the path.
const RELAYED: u32 = 10;
/// Added to the cost of a path for each end that reaches its relay inside TLS.
pub(in crate::calls) const TLS_EXTRA: u32 = 3;
/// Relayed candidates with a local preference below this are reached inside TLS by their owner.
pub(in crate::calls) const TLS_PREFERENCE: u16 = 0x8000;

/// What a pair costs: nothing in the own network, little directly, ten for each relay and a few more for TLS.
fn cost(local: &Local, remote: Kind, priority: u32, to: IpAddr) -> u32 {
    let relays = u32::from(local.via.is_relay()) + u32::from(remote == Kind::Relay);
    let tls = remote == Kind::Relay && (priority >> 8 & 0xffff) < u32::from(TLS_PREFERENCE);
    match relays {
        0 => u32::from(candidate::is_public(to)),
        n => n * RELAYED + local.extra + if tls { TLS_EXTRA } else { 0 },
    }
}
