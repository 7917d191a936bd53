//! Relays among friends: offers, credentials, and the relays of a call (`specs/08-relay.md`).
//!
//! Where this node can serve it says so to friends when a link comes up, and when something changes. Of every friend
//! that offers, one unused credential (with one for the partner of the call to come) is kept ready, so that a call need
//! not wait for it. A call takes those that are ready; its partner gets the partner's halves in `call.relays`.

mod day;
mod guest;
mod own;
mod view;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use twocan_protocol::identity::RootPublic;
use twocan_protocol::limits::RELAYS_PER_CALL_MAX;
use twocan_protocol::link;
use twocan_protocol::wire::{
    CallId, CallRelay, Credential, Endpoint, List, Message, Offer, RelayGrant, RelayMessage, RelayRefusal, Word,
};

use super::{Service, unix_ms};
use crate::calls as engine;
use crate::relay::{self, Access, Carried, Kind, Owner, Secret};

use guest::Guests;
pub(super) use own::{Own, RelayRecord};

/// An unused credential is renewed when it has less than this left.
const RENEW_BEFORE: Duration = Duration::from_secs(600);
/// A question without answer is asked again after this, and a refusal is not doubted earlier.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Calls whose relays are remembered: as many as can run.
const CALLS: usize = 64;
/// Longest life of a credential that is believed.
const LIFETIME_MAX: u32 = 24 * 3600;

/// A credential that waits for a call, with its other half.
struct Ready {
    own: Access,
    partner: CallRelay,
    expires: Instant,
}

/// A friend's relay.
#[derive(Default)]
struct Remote {
    offer: Offer,
    ready: Option<Ready>,
    /// The question under way, or the last one.
    asked: Option<(u64, Instant)>,
    /// A link is up.
    up: bool,
    /// What it carried for us.
    carried: Carried,
    /// Counts the starts of the friend's node as far as we saw them: credentials do not outlive it.
    generation: u64,
}

/// A relay that a call took.
struct Taken {
    /// A friend; none: a stranger.
    owner: Option<RootPublic>,
    generation: u64,
    own: Access,
    partner: CallRelay,
    /// When the partner's half runs out.
    expires: Instant,
}

/// The relays of one call.
struct OfCall {
    friend: RootPublic,
    participant: Option<u16>,
    taken: Vec<Taken>,
    /// From the partner.
    brought: Vec<Access>,
}

/// What the service knows of relays.
pub(super) struct Relays {
    pub(super) own: Own,
    remote: BTreeMap<RootPublic, Remote>,
    guests: Guests,
    calls: BTreeMap<CallId, OfCall>,
}

impl Relays {
    pub(super) fn new(own: Own) -> Self {
        let mut guests = Guests::default();
        guests.seek_soon();
        Self { own, remote: BTreeMap::new(), guests, calls: BTreeMap::new() }
    }

    /// Whether a friend whom the caller accepts offers to carry packets.
    pub(super) fn any_useful(&self, accept: impl Fn(&RootPublic) -> bool) -> bool {
        self.remote.iter().any(|(root, remote)| accept(root) && remote.is_useful())
    }

    /// When something is due next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.remote.values().filter_map(Remote::ask_at).chain(self.guests.seek_at()).min()
    }
}

impl Remote {
    /// Whether it carries packets.
    fn is_useful(&self) -> bool {
        !self.offer.udp.as_slice().is_empty() || !self.offer.tls.as_slice().is_empty()
    }

    /// When to ask for a credential; `None` while there is no way to.
    fn ask_at(&self) -> Option<Instant> {
        if !self.up || !self.is_useful() {
            return None;
        }
        let wanted = self.ready.as_ref().map(|ready| ready.expires.checked_sub(RENEW_BEFORE).unwrap_or(ready.expires));
        let again = self.asked.map(|(_, at)| at + ASK_AGAIN);
        match (wanted, again) {
            (Some(wanted), Some(again)) => Some(wanted.max(again)),
            (Some(wanted), None) => Some(wanted),
            (None, Some(again)) => Some(again),
            (None, None) => None,
        }
    }
}

impl Service {
    /// A friend's link is up: the offer goes first, then a question if it has offered before.
    pub(super) fn relay_link_up(&mut self, root: RootPublic, restarted: bool) {
        self.relays.own.forget_told(&root);
        self.offer_to(root);
        if let Some(remote) = self.relays.remote.get_mut(&root) {
            if restarted {
                // A node that was started anew offers anew, and has forgotten its credentials.
                remote.generation += 1;
                remote.ready = None;
                remote.offer = Offer::default();
            }
            remote.up = true;
            remote.asked = None;
            self.ask_relay(root);
        }
        // With a first friend there is somebody who may know our address.
        self.use_stun_servers();
    }

    /// A friend's link is down: credentials stay good, but nobody can be asked.
    pub(super) fn relay_link_down(&mut self, root: &RootPublic) {
        self.relays.own.forget_told(root);
        if let Some(remote) = self.relays.remote.get_mut(root) {
            remote.up = false;
            remote.asked = None;
        }
    }

    /// Tells a friend what is offered, if that is something else than was told last.
    pub(super) fn offer_to(&mut self, root: RootPublic) {
        let up = self.sessions.get(&root).is_some_and(|linked| linked.view.is_some());
        if !up || !self.book.is_friend(&root) {
            return;
        }
        // Whom the address is hidden from is told of no relay that stands at it.
        let offer = if self.book.hides(&root) { Offer::default() } else { self.relays.own.offer().clone() };
        if self.relays.own.tell(&root, &offer) {
            self.relay_send(root, RelayMessage::Offer(offer));
        }
    }

    fn relay_send(&mut self, root: RootPublic, message: RelayMessage) {
        self.session_input(root, link::Input::SendNow(Message::Relay(message)));
    }

    /// What a friend says about relays.
    pub(super) fn relay_received(&mut self, root: RootPublic, message: RelayMessage) {
        if !self.book.is_friend(&root) {
            return;
        }
        match message {
            RelayMessage::Offer(offer) => self.offered(root, offer),
            RelayMessage::Ask { id } => {
                let answer = self.answer_ask(root, id);
                self.relay_send(root, answer);
            }
            RelayMessage::Grant(grant) => self.granted_relay(root, grant),
            RelayMessage::Refuse { id, reason } => {
                if self.relays.remote.get(&root).and_then(|remote| remote.asked).is_some_and(|(asked, _)| asked == id) {
                    tracing::info!("{} refuses a relay credential: {}", root.short(), reason.word());
                }
            }
            RelayMessage::Call { call, relays, .. } => self.brought(root, call, relays.into_vec()),
            // For strangers, on a stream of its own.
            RelayMessage::Guest(_) => {}
        }
    }

    fn offered(&mut self, root: RootPublic, offer: Offer) {
        if self.book.hides(&root) && offer.is_empty() {
            self.relays.remote.remove(&root);
        } else {
            let remote = self.relays.remote.entry(root).or_default();
            if remote.offer == offer {
                return self.ask_relay(root);
            }
            // Credentials are for the addresses that were offered with them.
            remote.ready = None;
            remote.asked = None;
            remote.generation += 1;
            remote.up = true;
            remote.offer = offer;
        }
        self.use_offers();
        self.ask_relay(root);
    }

    /// Tells swarm and media port where friends' relays are.
    pub(super) fn use_offers(&self) {
        // A relay sees who comes to it: those of friends from whom we hide are left alone, for questions, too.
        let remotes = || self.relays.remote.iter().filter(|(root, _)| !self.book.hides(root));
        let offers = || remotes().map(|(_, remote)| &remote.offer);
        let circuits = offers().flat_map(|offer| offer.circuits.as_slice()).map(|text| text.as_str().to_owned());
        let swarm = self.swarm.clone();
        let circuits: Vec<String> = circuits.collect();
        tokio::spawn(async move { swarm.prefer_relays(circuits).await });
        self.use_stun_servers();
    }

    /// Tells the media port whom to ask how it looks from outside.
    pub(super) fn use_stun_servers(&self) {
        let own = &self.relays.own;
        let remotes = self.relays.remote.iter().filter(|(root, _)| !self.book.hides(root));
        let servers = self.stun_servers(remotes.flat_map(|(_, remote)| own.usable(remote.offer.udp.as_slice())));
        self.engine.set_stun_servers(servers);
    }

    /// Where those relay from whom the address is hidden.
    pub(super) fn relays_avoided(&self) -> Vec<std::net::IpAddr> {
        let avoided = self.relays.remote.iter().filter(|(root, _)| self.book.hides(root));
        let endpoints =
            avoided.flat_map(|(_, remote)| remote.offer.udp.as_slice().iter().chain(remote.offer.tls.as_slice()));
        endpoints.filter_map(Endpoint::address).map(|address| address.ip()).collect()
    }

    /// Asks for a credential, unless one is ready, or a question is under way.
    fn ask_relay(&mut self, root: RootPublic) {
        let Some(remote) = self.relays.remote.get_mut(&root) else { return };
        let now = Instant::now();
        let due = match (&remote.ready, remote.asked) {
            (None, None) => true,
            _ => remote.ask_at().is_some_and(|at| at <= now),
        };
        if !remote.up || !remote.is_useful() || !due {
            return;
        }
        let id: u64 = rand::random();
        remote.asked = Some((id, now));
        self.relay_send(root, RelayMessage::Ask { id });
    }

    /// Renews credentials that run out.
    pub(super) fn relay_timeouts(&mut self, now: Instant) {
        let due = |remote: &Remote| remote.ask_at().is_some_and(|at| at <= now);
        let roots: Vec<RootPublic> =
            self.relays.remote.iter().filter(|(_, remote)| due(remote)).map(|(root, _)| *root).collect();
        for root in roots {
            self.ask_relay(root);
        }
        self.seek_guests(now);
    }

    /// Answers a friend who asks for a credential.
    fn answer_ask(&mut self, root: RootPublic, id: u64) -> RelayMessage {
        if self.book.hides(&root) || self.relays.own.offer().is_empty() {
            return RelayMessage::Refuse { id, reason: RelayRefusal::Off };
        }
        let server = &self.relays.own.server;
        let pair = server.issue(root, Kind::Own).zip(server.issue(root, Kind::Partner));
        let grant = pair.and_then(|(own, partner)| {
            let lifetime = own.expires_ms.min(partner.expires_ms).saturating_sub(unix_ms()) / 1000;
            Some(RelayGrant {
                id,
                own: credential(&own)?,
                partner: credential(&partner)?,
                lifetime: u32::try_from(lifetime).ok()?,
            })
        });
        grant.map_or(RelayMessage::Refuse { id, reason: RelayRefusal::Busy }, RelayMessage::Grant)
    }

    fn granted_relay(&mut self, root: RootPublic, grant: RelayGrant) {
        let Some(remote) = self.relays.remote.get_mut(&root) else { return };
        if remote.asked.is_none_or(|(id, _)| id != grant.id) {
            return;
        }
        let lifetime = grant.lifetime.min(LIFETIME_MAX);
        let life = Duration::from_secs(lifetime.into());
        let offer = &remote.offer;
        let own = Access {
            owner: Owner::Friend(root),
            udp: self.relays.own.usable(offer.udp.as_slice()),
            tls: self.relays.own.usable(offer.tls.as_slice()),
            certificate: offer.certificate,
            user: grant.own.user.reveal().to_owned(),
            password: Secret::new(grant.own.password.reveal()),
            expires_ms: unix_ms().saturating_add(u64::from(lifetime) * 1000),
            carried: remote.carried.clone(),
        };
        let partner = CallRelay {
            udp: offer.udp.clone(),
            tls: offer.tls.clone(),
            certificate: offer.certificate,
            user: grant.partner.user,
            password: grant.partner.password,
            lifetime,
        };
        remote.ready = Some(Ready { own, partner, expires: Instant::now() + life });
        // Calls that run without this relay get it, too.
        let calls: Vec<CallId> = self.relays.calls.keys().copied().collect();
        for call in calls {
            self.add_relays(call);
        }
    }

    /// The relays for a call's peer: those that friends offer, and those that the partner brought.
    pub(super) fn call_relays(&mut self, call: CallId, friend: RootPublic) -> Vec<Access> {
        if self.relays.calls.len() >= CALLS && !self.relays.calls.contains_key(&call) {
            return Vec::new();
        }
        let hides = self.book.hides(&friend);
        self.take_relays(call, friend);
        let Some(of) = self.relays.calls.get(&call) else { return Vec::new() };
        let own = of.taken.iter().map(|taken| taken.own.clone());
        let brought = of.brought.iter().filter(|_| !hides).cloned();
        own.chain(brought).collect()
    }

    /// Gives a call the credentials that are ready and that it has not; `true` if there were any.
    fn take_relays(&mut self, call: CallId, friend: RootPublic) -> bool {
        let fresh = || OfCall { friend, participant: None, taken: Vec::new(), brought: Vec::new() };
        let hidden = self.book.hides(&friend);
        // The nearest first; a relay of a friend without a link at present comes last.
        let mut owners: Vec<(u64, RootPublic)> = self
            .relays
            .remote
            .iter()
            .filter(|(root, remote)| remote.ready.is_some() && !(hidden && **root == friend))
            .filter(|(root, _)| !self.book.hides(root))
            .map(|(root, _)| {
                let view = self.sessions.get(root).and_then(|linked| linked.view.as_ref());
                let rtt = view.map_or(f64::MAX, |view| view.rtt_ms.unwrap_or(1000.0));
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a rank, and never negative"
                )]
                let rank = (rtt * 1000.0) as u64;
                (rank, *root)
            })
            .collect();
        owners.sort();
        let now = Instant::now();
        let mut any = false;
        for (_, root) in owners {
            let of = self.relays.calls.entry(call).or_insert_with(fresh);
            let Some(remote) = self.relays.remote.get_mut(&root) else { continue };
            let known = of.taken.iter().any(|taken| taken.owner == Some(root) && taken.generation == remote.generation);
            if known || remote.ready.as_ref().is_none_or(|ready| ready.expires <= now) {
                continue;
            }
            of.taken.retain(|taken| taken.owner != Some(root));
            if of.taken.len() >= RELAYS_PER_CALL_MAX {
                break;
            }
            if let Some(Ready { own, partner, expires }) = remote.ready.take() {
                of.taken.push(Taken { owner: Some(root), generation: remote.generation, own, partner, expires });
                any = true;
            }
            // The next call needs another.
            remote.asked = None;
            self.ask_relay(root);
        }
        let of = self.relays.calls.entry(call).or_insert_with(fresh);
        // A stranger's only where no friend relays, and never where the address is hidden: it could be the friend's own.
        if of.taken.is_empty() && !hidden && !self.relays.guests.ready.is_empty() {
            let ready = std::mem::take(&mut self.relays.guests.ready);
            let live = ready.into_iter().filter(|ready| ready.expires > now);
            of.taken.extend(live.map(|Ready { own, partner, expires }| Taken {
                owner: None,
                generation: 0,
                own,
                partner,
                expires,
            }));
            any |= !of.taken.is_empty();
            self.relays.guests.seek_soon();
        }
        any
    }

    /// Hands relays that came later to a call that runs, and to its partner.
    fn add_relays(&mut self, call: CallId) {
        let Some((friend, participant)) = self.relays.calls.get(&call).map(|of| (of.friend, of.participant)) else {
            return;
        };
        if !self.take_relays(call, friend) {
            return;
        }
        let access = self.call_relays(call, friend);
        self.command_peer(call, engine::PeerCommand::Relays(access));
        if let Some(participant) = participant {
            self.tell_relays(friend, call, participant);
        }
    }

    /// The partner's halves of the credentials that a call took.
    pub(super) fn relays_to_bring(&self, call: CallId, friend: &RootPublic) -> Vec<CallRelay> {
        let now = Instant::now();
        let taken = self.relays.calls.get(&call).map_or(&[][..], |of| of.taken.as_slice());
        // A relay of the partner's own is known there, and needs no second credential.
        let live = taken
            .iter()
            .filter(|taken| taken.expires > now && taken.owner != Some(*friend) && !self.book.hides(friend));
        live.map(|taken| {
            let left = taken.expires.saturating_duration_since(now).as_secs();
            CallRelay { lifetime: u32::try_from(left).unwrap_or(u32::MAX), ..taken.partner.clone() }
        })
        .collect()
    }

    /// What a partner brought, as far as it may be used: who hides an address goes through friends' relays only.
    pub(super) fn relays_brought(&self, friend: &RootPublic, relays: Vec<CallRelay>) -> Vec<Access> {
        let own = &self.relays.own;
        let usable = relays.into_iter().filter(|_| !self.book.hides(friend));
        usable.map(|relay| access_of(own, relay)).collect()
    }

    /// Tells the partner of a call its halves of the credentials. Goes right behind an invite or offer, and right before
    /// an answer, so that they are there when candidates are gathered.
    pub(super) fn tell_relays(&mut self, friend: RootPublic, call: CallId, participant: u16) {
        let Some(of) = self.relays.calls.get_mut(&call) else { return };
        of.participant = Some(participant);
        let relays = self.relays_to_bring(call, &friend);
        if relays.is_empty() {
            return;
        }
        let message = RelayMessage::Call { call, participant, relays: List::first_of(relays) };
        self.session_input(friend, link::Input::Send(Message::Relay(message)));
    }

    /// Relays that the partner brings to a call.
    fn brought(&mut self, root: RootPublic, call: CallId, relays: Vec<CallRelay>) {
        // Who hides an address goes through friends' relays only: the partner's could be the partner's own.
        let mine = self.calls.get(&call).is_some_and(|snapshot| snapshot.friend == root);
        if !mine || self.book.hides(&root) || self.relays.calls.len() >= CALLS {
            return;
        }
        let fresh = || OfCall { friend: root, participant: None, taken: Vec::new(), brought: Vec::new() };
        let of = self.relays.calls.entry(call).or_insert_with(fresh);
        let own = &self.relays.own;
        of.brought = relays.into_iter().map(|relay| access_of(own, relay)).collect();
        let brought = of.brought.clone();
        self.command_peer(call, engine::PeerCommand::Relays(brought));
    }

    /// A call is over.
    pub(super) fn relay_call_over(&mut self, call: &CallId) {
        self.relays.calls.remove(call);
    }

    /// A friend is one no more.
    pub(super) fn relay_friend_gone(&mut self, root: &RootPublic) {
        self.relays.own.server.revoke(root);
        self.relays.own.forget_told(root);
        if self.relays.remote.remove(root).is_some() {
            self.use_offers();
        }
    }
}

fn addresses(endpoints: &[Endpoint]) -> Vec<std::net::SocketAddr> {
    endpoints.iter().filter_map(Endpoint::address).collect()
}

fn credential(of: &relay::Credential) -> Option<Credential> {
    Some(Credential { user: Word::new(of.user.as_str())?, password: Word::new(of.password.reveal())? })
}

fn access_of(own: &Own, relay: CallRelay) -> Access {
    let lifetime = u64::from(relay.lifetime.min(LIFETIME_MAX)) * 1000;
    Access {
        owner: Owner::Partner,
        udp: own.usable(relay.udp.as_slice()),
        tls: own.usable(relay.tls.as_slice()),
        certificate: relay.certificate,
        user: relay.user.reveal().to_owned(),
        password: Secret::new(relay.password.reveal()),
        expires_ms: unix_ms().saturating_add(lifetime),
        carried: Carried::default(),
    }
}
