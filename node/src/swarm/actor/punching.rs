//! From a relayed connection to a direct one.
//!
//! The side that accepted the circuit begins: three attempts at once, then again with growing pauses while the relayed
//! connection lives, and anew when our candidates change. What the other side names is dialled only in bounds: at most
//! three machines, of the scope in which the relay is, at a bounded rate, so that nobody can use us to knock at others.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    swarm::{
        self,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{
    super::{
        limits::{Bucket, Rate},
        punch::{Agreement, Event as PunchEvent},
        scope::{Circuit, Scope, ip_of, scope_of},
        types::{ConnectionId, ConnectionInfo, Event},
    },
    Actor,
};

/// Attempts one right after the other: a hole may need a second packet, or the timing a second measure.
const AT_ONCE: u32 = 3;
/// The pause before the attempts after those; the last one repeats.
const PAUSES: [Duration; 3] = [Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(600)];
/// After a change of our candidates.
const SETTLE: Duration = Duration::from_millis(500);
/// Other machines that one agreement may have us dial: two families, and one more for a NAT with several addresses.
const MAX_MACHINES: usize = 3;
/// Punches that one relayed connection may ask of us.
const ASKED_RATE: Rate = Rate { burst: 6.0, per_second: 0.05 };

#[derive(Default)]
pub(super) struct Punching {
    relayed: HashMap<swarm::ConnectionId, Relayed>,
    dials: HashMap<swarm::ConnectionId, swarm::ConnectionId>,
}

struct Relayed {
    peer: PeerId,
    scope: Scope,
    begins: bool,
    attempts: u32,
    next_at: Option<Instant>,
    upgraded: bool,
    asked: Bucket,
}

impl Relayed {
    fn retry(&mut self, now: Instant) {
        if self.begins && !self.upgraded {
            let pause = match self.attempts.checked_sub(AT_ONCE) {
                None => Duration::ZERO,
                Some(late) => PAUSES[(late as usize).min(PAUSES.len() - 1)],
            };
            self.next_at = Some(now + pause);
        }
    }
}

impl Punching {
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.relayed.values().filter_map(|relayed| relayed.next_at).min()
    }

    /// Our candidates changed: what failed before may work now.
    pub(super) fn renew(&mut self, now: Instant) {
        for relayed in self.relayed.values_mut().filter(|relayed| relayed.begins && !relayed.upgraded) {
            if relayed.attempts >= AT_ONCE {
                relayed.attempts = 0;
                relayed.next_at = Some(now + SETTLE);
            }
        }
    }
}

impl Actor {
    /// A relayed connection is there; `path` is the address over the relay.
    pub(super) fn on_relayed(
        &mut self,
        id: swarm::ConnectionId,
        peer: PeerId,
        path: &Multiaddr,
        inbound: bool,
        now: Instant,
    ) {
        let transport = Circuit::of(path).map(|circuit| circuit.address);
        // An accepted circuit's address may lack the relay's PeerId, if the relay was dialled without.
        let Some(scope) = transport.as_ref().map_or_else(|| scope_of_transport(path), scope_of) else { return };
        let upgraded = self.connections.direct_with(peer).is_some();
        let relayed = Relayed {
            peer,
            scope,
            begins: inbound,
            attempts: 0,
            next_at: (inbound && !upgraded).then_some(now),
            upgraded,
            asked: Bucket::full(ASKED_RATE, now),
        };
        self.punching.relayed.insert(id, relayed);
    }

    pub(super) fn tend_punches(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (id, relayed) in &mut self.punching.relayed {
            if relayed.next_at.is_some_and(|at| at <= now) {
                relayed.next_at = None;
                relayed.attempts += 1;
                due.push((*id, relayed.peer, relayed.scope));
            }
        }
        for (id, peer, scope) in due {
            tracing::debug!(connection = %id, %peer, "agreeing on a hole punch");
            self.swarm.behaviour_mut().punch.attempt(peer, id, scope);
        }
    }

    pub(super) fn on_agreement(&mut self, PunchEvent { connection, agreement }: PunchEvent, now: Instant) {
        let Some(relayed) = self.punching.relayed.get_mut(&connection) else { return };
        let Agreement::Dial { addresses, listener } = agreement else {
            relayed.attempts = relayed.attempts.max(AT_ONCE);
            relayed.retry(now);
            return;
        };
        let peer = relayed.peer;
        if relayed.upgraded || (!listener && !relayed.asked.take(ASKED_RATE, now)) {
            return;
        }
        let families = self.families();
        let mut machines = Vec::new();
        let mut chosen: Vec<Multiaddr> = Vec::new();
        for address in addresses.into_iter().filter(|address| families.reach(address)) {
            let Some(ip) = ip_of(&address) else { continue };
            if !machines.contains(&ip) {
                machines.push(ip);
            }
            if machines.len() <= MAX_MACHINES && !chosen.contains(&address) {
                chosen.push(address);
            }
        }
        tracing::debug!(%connection, %peer, addresses = chosen.len(), listener, "punching");
        let dial = DialOpts::peer_id(peer).addresses(chosen).condition(PeerCondition::Always);
        let dial = if listener { dial.override_role().build() } else { dial.build() };
        let id = dial.connection_id();
        self.punching.dials.insert(id, connection);
        if self.swarm.dial(dial).is_err() {
            self.on_punch_failed(id, now);
        }
    }

    /// A dial failed; if it was a punch (then `true`), there may be another attempt.
    pub(super) fn on_punch_failed(&mut self, id: swarm::ConnectionId, now: Instant) -> bool {
        let Some(relayed) = self.punching.dials.remove(&id) else { return false };
        if let Some(relayed) = self.punching.relayed.get_mut(&relayed) {
            tracing::debug!(peer = %relayed.peer, attempts = relayed.attempts, "the punch failed");
            relayed.retry(now);
        }
        true
    }

    /// A direct connection is there: every relayed one to the same peer could be left now.
    pub(super) fn on_direct(&mut self, id: swarm::ConnectionId, peer: PeerId, info: &ConnectionInfo) {
        self.punching.dials.remove(&id);
        for (from, relayed) in &mut self.punching.relayed {
            if relayed.peer == peer && !relayed.upgraded {
                relayed.upgraded = true;
                relayed.next_at = None;
                tracing::debug!(%from, to = %id, %peer, "a direct connection beside the relayed one");
                let (peer, to) = (info.peer.clone(), info.clone());
                self.outbox.push_back(Event::Upgraded { peer, from: ConnectionId(*from), to });
            }
        }
    }

    /// A connection ended: relayed ones are forgotten; without a direct one, there may be a punch again.
    pub(super) fn on_punched_closed(&mut self, id: swarm::ConnectionId, peer: PeerId, now: Instant) {
        self.punching.relayed.remove(&id);
        if self.connections.direct_with(peer).is_some() {
            return;
        }
        for relayed in self.punching.relayed.values_mut().filter(|relayed| relayed.peer == peer && relayed.upgraded) {
            relayed.upgraded = false;
            relayed.attempts = AT_ONCE;
            relayed.retry(now);
        }
    }
}

/// The scope of what stands before `/p2p-circuit`.
fn scope_of_transport(path: &Multiaddr) -> Option<Scope> {
    let transport: Multiaddr = path
        .iter()
        .take_while(|part| {
            !matches!(part, libp2p::multiaddr::Protocol::P2pCircuit | libp2p::multiaddr::Protocol::P2p(_))
        })
        .collect();
    scope_of(&transport)
}
