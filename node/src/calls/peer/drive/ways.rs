//! The ways that a peer has: its relays, its addresses as they come and go, what of them the friend has been told, and
//! which path media takes.

use std::time::Instant;

use super::{Driver, Live};
use crate::calls::MAX_CANDIDATES;
use crate::calls::candidate::Kind;
use crate::calls::ice::Via;
use crate::calls::peer::{Failure, FailureKind, PathInfo, PeerEvent, path_to};
use crate::relay::{Access, Owner, RelayedEvent};

impl Driver {
    /// More relays; allocations begin at once.
    pub(super) async fn relays(&mut self, relays: Vec<Access>) {
        let now = Instant::now();
        self.slots.add(now, relays);
        self.relays_tick(now).await;
    }

    pub(super) async fn relays_tick(&mut self, now: Instant) {
        if self.slots.is_empty() {
            return;
        }
        let in_use =
            self.live.as_ref().and_then(|live| live.session.chosen()).and_then(|chosen| match chosen.route.via {
                Via::Relay(number) => Some(number),
                Via::Direct(_) => None,
            });
        let environment = self.engine.environment(self.loopback());
        if self.slots.tick(now, &environment, in_use) {
            self.ways_changed().await;
        }
    }

    pub(super) async fn relay_news(&mut self, number: u16, event: RelayedEvent) {
        if self.slots.event(Instant::now(), number, event) {
            self.ways_changed().await;
        }
    }

    /// Looks at what there is now and gives it to the agent.
    pub(super) fn look_around(&mut self) {
        self.engine.look_around();
        let known = self.known.borrow_and_update().clone();
        let Some(live) = &self.live else { return };
        let mut locals = if self.config.relay_only { Vec::new() } else { self.engine.direct(self.loopback()) };
        locals.extend(self.slots.locals());
        live.session.paths.set_locals(locals, known.outside());
    }

    /// The network changed, or more is known of it. Relays know us by the old addresses; what is left of the paths is
    /// tried at once.
    pub(super) async fn known_changed(&mut self) {
        let network = {
            let known = self.known.borrow();
            (known.changes, known.hosts.clone())
        };
        if std::mem::replace(&mut self.network, network.clone()) != network {
            self.slots.replace(Instant::now());
            self.relays_tick(Instant::now()).await;
            if let Some(live) = &self.live {
                live.session.paths.renew();
            }
        }
        self.ways_changed().await;
    }

    /// Addresses came or went: the agent uses them, and the friend is told.
    pub(super) async fn ways_changed(&mut self) {
        self.look_around();
        let list = self.untold();
        if let Some(live) = &self.live
            && !list.is_empty()
        {
            self.tell(PeerEvent::Candidates { generation: live.generation, list }).await;
        }
    }

    /// Candidates of ours that have not been told in this generation; at most sixteen in all are.
    pub(super) fn untold(&mut self) -> Vec<String> {
        if self.live.is_none() {
            return Vec::new();
        }
        let loopback = self.loopback();
        let mut candidates = Vec::new();
        if !self.config.relay_only {
            candidates = self.known.borrow().candidates(self.engine.port_number(), loopback);
        }
        candidates.extend(self.slots.candidates());
        let mut lines = Vec::new();
        for candidate in candidates {
            if self.told.len() < MAX_CANDIDATES && !self.told.contains(&candidate.address) {
                self.told.push(candidate.address);
                lines.push(candidate.line());
            }
        }
        lines
    }

    // ---- the path in use ----

    /// The path in use, in words.
    pub(super) fn path_info(&self) -> Option<PathInfo> {
        let chosen = self.live.as_ref()?.session.chosen()?;
        let relayed = [chosen.local, chosen.remote].contains(&Kind::Relay);
        let relay = match chosen.route.via {
            Via::Relay(number) => self.slots.owner(number),
            // The friend's allocation may be at a relay that we know better.
            Via::Direct(_) if relayed => self.slots.owner_at(chosen.route.to.ip()).or(Some(Owner::Partner)),
            Via::Direct(_) => None,
        };
        let tls = matches!(chosen.route.via, Via::Relay(number) if self.slots.is_tls(number));
        Some(PathInfo {
            path: path_to(chosen.route.to.ip(), relayed),
            candidates: format!("{}/{}", chosen.local.word(), chosen.remote.word()),
            round_trip: chosen.round_trip,
            relay,
            tls,
        })
    }

    pub(super) fn path_shown(&mut self, path: &PathInfo) {
        self.measure.path(path.path, path.candidates.clone());
        self.path = Some(path.clone());
    }

    /// The agent has chosen.
    pub(super) async fn path_news(&mut self) {
        let Some(live) = &mut self.live else { return };
        if live.session.paths.take_stranded() {
            tracing::info!(call = %self.config.label, "nothing answers any more: relays and STUN servers are asked anew");
            self.engine.ask_again();
            self.slots.replace(Instant::now());
            self.relays_tick(Instant::now()).await;
            self.look_around();
        }
        let Some(live) = &mut self.live else { return };
        if live.session.chosen().is_none() {
            return;
        }
        live.reached.get_or_insert_with(Instant::now);
        if live.since.is_some() {
            return self.connected().await;
        }
        if !live.announced {
            return;
        }
        let Some(path) = self.path_info() else { return };
        let same = |before: &PathInfo| {
            (before.path, &before.candidates, before.relay, before.tls)
                == (path.path, &path.candidates, path.relay, path.tls)
        };
        if !self.path.as_ref().is_some_and(same) {
            tracing::debug!(call = %self.config.label, path = %path.candidates, "the call's media takes another path");
            if let Some(live) = &self.live {
                live.session.meters.path_changed();
            }
            self.path_shown(&path);
            self.tell(PeerEvent::Path(path)).await;
        }
    }

    /// Why there is no connection.
    pub(super) fn set_up_failure(&self) -> Failure {
        match &self.live {
            Some(live) if live.wrong_certificate() => Failure::fingerprint(),
            Some(live) if live.reached.is_some() => Failure::new(
                FailureKind::Handshake,
                "the encrypted handshake with the friend did not come to an end; the friend may have refused our \
                 certificate's fingerprint",
            ),
            live => Failure::new(FailureKind::NoPath, self.no_path(live.as_ref())),
        }
    }

    fn no_path(&self, live: Option<&Live>) -> &'static str {
        let friend_has_relay = live.is_some_and(|live| live.friend_has_relay);
        match (self.config.relay_only, self.slots.is_empty(), friend_has_relay) {
            (true, true, _) => {
                "your address is hidden from this friend, and there is no relay to hide it behind: a friend whose node \
                 is publicly reachable would be one (`twocan relay status` lists yours)"
            }
            (true, false, _) => {
                "your address is hidden from this friend, and no relay carries the call at present (`twocan relay \
                 status` lists yours)"
            }
            (false, true, false) => {
                "no direct path was found and neither side has a relay: one friend whose node is publicly reachable \
                 would be enough, or a port forwarded on one of the two routers (`twocan doctor` says which)"
            }
            _ => {
                "no direct path was found and no relay answers: a firewall may be in the way (`twocan doctor` says \
                 what passes)"
            }
        }
    }
}
