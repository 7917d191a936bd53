//! The relays of one peer: an allocation at each that either side brought, over UDP, and inside TLS where UDP does not
//! get through.
//!
//! Both sides make an allocation at every relay they know when the call begins, so that a relay that dies has a
//! stand-by, and each allocation is just one more way out for the agent ([`super::ice`]). TLS is tried when UDP has not
//! answered for a quarter of a second, or at once where no STUN server answers; while TLS is in use UDP is tried again and
//! again, and when it works the agent moves to it by itself, because it is cheaper.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::candidate::{Candidate, Kind};
use super::ice::paths::Relays;
use super::ice::{Local, TLS_EXTRA, TLS_PREFERENCE, Via};
use crate::relay::{Access, Family, Owner, Proxy, Relayed, RelayedEvent, Way};

/// Relays used by one peer: two of each side.
pub(super) const MAX_RELAYS: usize = 4;
/// Relayed addresses told to the friend: an IPv4 and an IPv6 one of three relays.
const MAX_TOLD: usize = 6;
/// News of allocations waiting for the peer's task.
const NEWS: usize = 32;
/// How long UDP has the field for itself. Twice as long, and the way through TLS comes up only after a second of ringing,
/// and those who answer at once wait for it; a relay that is a quarter of a second away costs one connection too many.
const UDP_FIRST: Duration = Duration::from_millis(250);
/// Pauses between attempts, seconds; the last one repeats.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 15];
/// An allocation inside TLS that is not in use is given back when one over UDP has been there for this long.
const SPARE_TLS: Duration = Duration::from_secs(5);
/// An allocation that was replaced is kept for this long: it may have been the friend that was away.
const REPLACED: Duration = Duration::from_secs(6);
/// Allocations are replaced at most this often.
const REPLACE_EVERY: Duration = Duration::from_secs(3);

/// Over what an allocation is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Udp,
    Tls,
}

#[derive(Debug)]
enum State {
    /// Not wanted (TLS only).
    Idle,
    /// Asked for.
    Opening,
    /// There, since.
    Ready(Vec<SocketAddr>, Instant),
    /// Failed; again at.
    Paused(Instant),
}

/// One allocation, or the wish for one.
#[derive(Debug)]
struct Slot {
    over: Over,
    /// Tells this attempt from those before.
    number: u16,
    state: State,
    attempts: usize,
    /// When it was asked for, or replaced.
    since: Instant,
    relayed: Option<Arc<Relayed>>,
}

#[derive(Debug)]
struct Relay {
    access: Access,
    slots: [Slot; 2],
    /// Allocations that were replaced and are not given back yet.
    old: Vec<Slot>,
}

impl Relay {
    fn all(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().chain(&self.old)
    }
}

/// What the environment allows.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    /// Whether UDP gets out, as far as is known.
    pub(super) udp: Option<bool>,
    pub(super) v4: bool,
    pub(super) v6: bool,
    pub(super) proxy: Option<Proxy>,
}

/// The relays of one peer.
#[derive(Debug)]
pub(super) struct Slots {
    list: Vec<Relay>,
    relays: Arc<Relays>,
    next: u16,
    replaced: Option<Instant>,
    tell: mpsc::Sender<(u16, RelayedEvent)>,
    told: mpsc::Receiver<(u16, RelayedEvent)>,
}

impl Slots {
    pub(super) fn new() -> Self {
        let (tell, told) = mpsc::channel(NEWS);
        Self { list: Vec::new(), relays: Arc::default(), next: 0, replaced: None, tell, told }
    }

    /// Where packets of the allocations go in and out.
    pub(super) fn relays(&self) -> Arc<Relays> {
        self.relays.clone()
    }

    /// Whether any relay is known.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes relays in addition; one that is known gets its new credentials for the next attempt.
    pub(super) fn add(&mut self, now: Instant, relays: Vec<Access>) {
        for access in relays {
            if access.udp.is_empty() && access.tls.is_empty() {
                continue;
            }
            let same = |known: &Relay| {
                let shared = |a: &[SocketAddr], b: &[SocketAddr]| a.iter().any(|address| b.contains(address));
                shared(&known.access.udp, &access.udp) || shared(&known.access.tls, &access.tls)
            };
            if let Some(known) = self.list.iter_mut().find(|known| same(known)) {
                // A friend's relay stays a friend's, if the partner brings it, too.
                if matches!(access.owner, Owner::Friend(_)) || known.access.owner == access.owner {
                    known.access = access;
                }
            } else if self.list.len() < MAX_RELAYS {
                let slot = |over| Slot {
                    over,
                    number: 0,
                    state: if over == Over::Udp { State::Paused(now) } else { State::Idle },
                    attempts: 0,
                    since: now,
                    relayed: None,
                };
                self.list.push(Relay { access, slots: [slot(Over::Udp), slot(Over::Tls)], old: Vec::new() });
            }
        }
    }

    /// The next news of an allocation. Cancel safe.
    pub(super) async fn news(&mut self) -> (u16, RelayedEvent) {
        match self.told.recv().await {
            Some(news) => news,
            // Cannot be: a sender is held beside the receiver.
            None => std::future::pending().await,
        }
    }

    /// Takes news in; true if the ways out are others now.
    pub(super) fn event(&mut self, now: Instant, number: u16, event: RelayedEvent) -> bool {
        let Some(slot) = self.list.iter_mut().flat_map(|relay| &mut relay.slots).find(|slot| slot.number == number)
        else {
            // The end of one that was replaced.
            return !matches!(event, RelayedEvent::Ready { .. }) && self.give_back(|old| old.number == number);
        };
        match event {
            RelayedEvent::Ready { relayed } => {
                tracing::debug!(over = ?slot.over, took = ?now.saturating_duration_since(slot.since), "a relay is ready");
                if let Some(open) = &slot.relayed {
                    self.relays.insert(number, open.clone());
                }
                slot.state = State::Ready(relayed, now);
                slot.attempts = 0;
                true
            }
            RelayedEvent::Failed(reason) | RelayedEvent::Lost(reason) => {
                tracing::debug!(over = ?slot.over, "a relay is not to be had: {reason}");
                let was_ready = matches!(slot.state, State::Ready(..));
                let pause = Duration::from_secs(PAUSES[slot.attempts.min(PAUSES.len() - 1)]);
                slot.attempts += 1;
                // One that worked is asked again at once: it may only have forgotten us.
                slot.state = State::Paused(if was_ready { now } else { now + pause });
                slot.relayed = None;
                self.relays.remove(number);
                was_ready
            }
        }
    }

    /// The network has changed, or nothing answers any more: a NAT may give us other addresses now, and relays know us
    /// by the old ones. Every allocation gets a fresh one beside it.
    pub(super) fn replace(&mut self, now: Instant) {
        if self.replaced.is_some_and(|last| now.saturating_duration_since(last) < REPLACE_EVERY) {
            return;
        }
        self.replaced = Some(now);
        for relay in &mut self.list {
            for slot in &mut relay.slots {
                match &slot.state {
                    State::Ready(..) => {
                        let fresh = Slot {
                            over: slot.over,
                            number: 0,
                            state: State::Paused(now),
                            attempts: 0,
                            since: now,
                            relayed: None,
                        };
                        let old = std::mem::replace(slot, fresh);
                        relay.old.push(Slot { since: now, ..old });
                    }
                    // What was asked for on the old network will not come.
                    State::Opening | State::Paused(_) => {
                        (slot.state, slot.relayed, slot.attempts) = (State::Paused(now), None, 0);
                    }
                    State::Idle => {}
                }
            }
        }
    }

    /// Gives back replaced allocations; true if there were any.
    fn give_back(&mut self, which: impl Fn(&Slot) -> bool) -> bool {
        let mut any = false;
        for relay in &mut self.list {
            relay.old.retain(|old| {
                let gone = which(old);
                if gone {
                    self.relays.remove(old.number);
                    any = true;
                }
                !gone
            });
        }
        any
    }

    /// Opens what is due, gives back what is not needed. `in_use`: the allocation that media takes. True if the ways out
    /// are others now.
    pub(super) fn tick(&mut self, now: Instant, environment: &Environment, in_use: Option<u16>) -> bool {
        let mut changed =
            self.give_back(|old| in_use != Some(old.number) && now.saturating_duration_since(old.since) >= REPLACED);
        for relay in &mut self.list {
            let [udp, tls] = &mut relay.slots;
            let udp_since = match &udp.state {
                State::Ready(_, since) => Some(*since),
                _ => None,
            };
            let udp_hopeless = environment.udp == Some(false) || server(&relay.access.udp, environment, 0).is_none();
            let waited = now.saturating_duration_since(udp.since) >= UDP_FIRST && udp.number != 0;
            match &tls.state {
                State::Idle if udp_since.is_none() && (udp_hopeless || waited) => tls.state = State::Paused(now),
                State::Idle => {}
                _ if in_use != Some(tls.number)
                    && udp_since.is_some_and(|at| now.saturating_duration_since(at) >= SPARE_TLS) =>
                {
                    changed |= matches!(tls.state, State::Ready(..));
                    self.relays.remove(tls.number);
                    (tls.state, tls.relayed) = (State::Idle, None);
                }
                _ => {}
            }
            for slot in &mut relay.slots {
                let due = matches!(slot.state, State::Paused(at) if at <= now);
                if due {
                    self.next = self.next.wrapping_add(1).max(1);
                    open(slot, &relay.access, environment, self.next, now, &self.relays, &self.tell);
                }
            }
        }
        changed
    }

    fn ready(&self) -> impl Iterator<Item = (&Slot, &[SocketAddr])> {
        self.list.iter().flat_map(Relay::all).filter_map(|slot| match &slot.state {
            State::Ready(relayed, _) => Some((slot, relayed.as_slice())),
            _ => None,
        })
    }

    /// Ways out for the agent.
    pub(super) fn locals(&self) -> Vec<Local> {
        let local = |slot: &Slot, address: &SocketAddr| Local {
            via: Via::Relay(slot.number),
            v4: address.is_ipv4(),
            extra: if slot.over == Over::Tls { TLS_EXTRA } else { 0 },
        };
        self.ready().flat_map(|(slot, relayed)| relayed.iter().map(move |address| local(slot, address))).collect()
    }

    /// Candidates for the friend.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let over = |(slot, relayed): (&Slot, &'_ [SocketAddr])| {
            relayed.iter().map(|address| (slot.over, *address)).collect::<Vec<_>>()
        };
        let addresses = self.ready().flat_map(over).take(MAX_TOLD);
        let candidate = |(rank, (over, address)): (usize, (Over, SocketAddr))| {
            let best = if over == Over::Tls { TLS_PREFERENCE - 1 } else { u16::MAX };
            Candidate {
                foundation: format!("r{rank}"),
                priority: Kind::Relay.priority(best - rank as u16 * 256),
                address,
                kind: Kind::Relay,
            }
        };
        addresses.enumerate().map(candidate).collect()
    }

    /// Whose relay an allocation is at.
    pub(super) fn owner(&self, number: u16) -> Option<Owner> {
        self.list.iter().find(|relay| relay.all().any(|slot| slot.number == number)).map(|r| r.access.owner)
    }

    /// Whose relay has this address, where a candidate of the friend is at a relay that we know, too.
    pub(super) fn owner_at(&self, ip: IpAddr) -> Option<Owner> {
        let at = |relay: &&Relay| relay.access.udp.iter().chain(&relay.access.tls).any(|address| address.ip() == ip);
        self.list.iter().find(at).map(|relay| relay.access.owner)
    }

    /// Whether an allocation goes inside TLS.
    pub(super) fn is_tls(&self, number: u16) -> bool {
        let mut slots = self.list.iter().flat_map(Relay::all);
        slots.any(|slot| slot.number == number && slot.over == Over::Tls)
    }
}

/// The address of a relay to ask: of a family that this machine has, another at each attempt.
fn server(addresses: &[SocketAddr], environment: &Environment, attempt: usize) -> Option<SocketAddr> {
    let usable = |address: &&SocketAddr| if address.is_ipv4() { environment.v4 } else { environment.v6 };
    let usable: Vec<&SocketAddr> = addresses.iter().filter(usable).collect();
    (!usable.is_empty()).then(|| *usable[attempt % usable.len()])
}

fn open(
    slot: &mut Slot,
    access: &Access,
    environment: &Environment,
    number: u16,
    now: Instant,
    relays: &Arc<Relays>,
    tell: &mpsc::Sender<(u16, RelayedEvent)>,
) {
    let way = match slot.over {
        Over::Udp => server(&access.udp, environment, slot.attempts).map(|server| Way::Socket { server }),
        Over::Tls => match &environment.proxy {
            // A proxy reaches both families.
            Some(proxy) => access.tls.first().map(|&server| Way::Tls { server, proxy: Some(proxy.clone()) }),
            None => server(&access.tls, environment, slot.attempts).map(|server| Way::Tls { server, proxy: None }),
        },
    };
    (slot.number, slot.since) = (number, now);
    let Some(way) = way else {
        // The network may bring an address of that family later.
        slot.state = State::Paused(now + Duration::from_secs(PAUSES[PAUSES.len() - 1]));
        return;
    };
    let into = Arc::downgrade(relays);
    let sink = Arc::new(move |from: SocketAddr, packet: &[u8]| {
        if let Some(relays) = into.upgrade() {
            relays.packet(number, from, packet);
        }
    });
    let (relayed, mut events) = Relayed::open(access.clone(), way, Family::Both, sink);
    (slot.relayed, slot.state) = (Some(Arc::new(relayed)), State::Opening);
    let tell = tell.clone();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if tell.send((number, event)).await.is_err() {
                return;
            }
        }
    });
}
