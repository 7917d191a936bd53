//! Relays of strangers: for nodes that no friend can relay for, where their owners serve anyone.
//!
//! A node that the internet cannot reach, and that has no friend's relay, asks a few public nodes that it knows. Those
//! that serve anyone answer with a credential within small limits; the others look as if they did not understand. Nobody
//! says who he is. The circuit's relays are asked first: they are near, and in use already.

use std::sync::Arc;
use std::time::{Duration, Instant};

use twocan_protocol::wire::{CallId, CallRelay, Frame, GuestRelay, List, Message, RelayMessage};

use super::super::links::Note;
use super::super::{Service, unix_ms};
use super::own::Own;
use super::{LIFETIME_MAX, RENEW_BEFORE, Ready, credential};
use crate::links as streams;
use crate::relay::{Access, Carried, Owner, Policy, Secret};
use crate::swarm;

/// Time between two searches: strangers are not asked often.
const SEEK: Duration = Duration::from_secs(600);
/// The first search waits until friends have had time to offer.
const SEEK_FIRST: Duration = Duration::from_secs(5);
/// Nodes asked in one search.
const ASKED: usize = 6;
/// Relays of strangers that are kept ready.
const KEPT: usize = 2;
/// A connection to one of them.
const DIAL: Duration = Duration::from_secs(5);

/// Relays of strangers.
#[derive(Default)]
pub(super) struct Guests {
    pub(super) ready: Vec<Ready>,
    seek_at: Option<Instant>,
}

impl Guests {
    /// When to look for some.
    pub(super) fn seek_at(&self) -> Option<Instant> {
        self.seek_at
    }

    /// They were used, or friends' relays went: look soon.
    pub(super) fn seek_soon(&mut self) {
        let soon = Instant::now() + SEEK_FIRST;
        self.seek_at = Some(self.seek_at.map_or(soon, |at| at.min(soon)));
    }
}

impl Own {
    /// Who answers strangers, if this node serves anyone.
    pub(in crate::service) fn guest_desk(&self) -> Option<streams::RelayDesk> {
        if self.policy != Policy::Anyone || !self.serving {
            return None;
        }
        let (server, offer) = (self.server.clone(), self.offer().clone());
        Some(streams::RelayDesk(Arc::new(move |source| {
            let (own, partner) = server.issue_guest(source).zip(server.issue_guest(source))?;
            let lifetime = own.expires_ms.saturating_sub(unix_ms()) / 1000;
            let guest = GuestRelay {
                udp: offer.udp.clone(),
                tls: offer.tls.clone(),
                certificate: offer.certificate,
                own: credential(&own)?,
                partner: credential(&partner)?,
                lifetime: u32::try_from(lifetime).ok()?,
            };
            Frame::plain(Message::Relay(RelayMessage::Guest(guest))).encode().ok()
        })))
    }
}

impl Service {
    /// Looks for relays of strangers, if there is need.
    pub(super) fn seek_guests(&mut self, now: Instant) {
        let guests = &mut self.relays.guests;
        guests.ready.retain(|ready| ready.expires > now + RENEW_BEFORE);
        if guests.seek_at.is_none_or(|at| at > now) {
            return;
        }
        guests.seek_at = Some(now + SEEK);
        let friends = self.relays.remote.values().any(super::Remote::is_useful);
        let public = !self.swarm.reachability().borrow().public.is_empty();
        if friends || public || self.book.friends().next().is_none() || self.relays.guests.ready.len() >= KEPT {
            return;
        }
        let (swarm, notes) = (self.swarm.clone(), self.notes.clone());
        tokio::spawn(async move {
            let nodes = swarm.relay_nodes().await;
            let asks = nodes.into_iter().take(ASKED).map(|node| ask(&swarm, node));
            let found: Vec<GuestRelay> = futures::future::join_all(asks).await.into_iter().flatten().collect();
            if !found.is_empty() {
                let _ = notes.send(Note::Guests(found)).await;
            }
        });
    }

    /// Strangers relay for us.
    pub(in crate::service) fn guests_answered(&mut self, relays: Vec<GuestRelay>) {
        for guest in relays {
            let lifetime = guest.lifetime.min(LIFETIME_MAX);
            let (udp, tls) =
                (self.relays.own.usable(guest.udp.as_slice()), self.relays.own.usable(guest.tls.as_slice()));
            let ready = &mut self.relays.guests.ready;
            if ready.len() >= KEPT || ready.iter().any(|known| known.own.udp == udp) {
                continue;
            }
            let own = Access {
                owner: Owner::Stranger,
                udp,
                tls,
                certificate: guest.certificate,
                user: guest.own.user.reveal().to_owned(),
                password: Secret::new(guest.own.password.reveal()),
                expires_ms: unix_ms().saturating_add(u64::from(lifetime) * 1000),
                carried: Carried::default(),
            };
            let partner = CallRelay {
                udp: List::first_of(guest.udp.into_vec()),
                tls: guest.tls,
                certificate: guest.certificate,
                user: guest.partner.user,
                password: guest.partner.password,
                lifetime,
            };
            tracing::info!("a stranger's node relays for calls");
            ready.push(Ready { own, partner, expires: Instant::now() + Duration::from_secs(lifetime.into()) });
        }
        // A call that runs without any relay gets one.
        let calls: Vec<CallId> = self.relays.calls.keys().copied().collect();
        for call in calls {
            self.add_relays(call);
        }
    }
}

/// Asks one node; `None` if it does not serve anyone.
async fn ask(swarm: &swarm::Handle, node: swarm::RelayNode) -> Option<GuestRelay> {
    let info = swarm.dial(vec![node.address], Some(node.peer), DIAL).await.ok()?;
    let stream = swarm.open(info.connection).await.ok()?;
    let ends = streams::Ends::of(swarm.peer_id().clone(), &info);
    let answer = streams::ask_relay(stream, &ends).await.ok()?;
    match Frame::decode(&answer).ok()?.message {
        Message::Relay(RelayMessage::Guest(guest)) => Some(guest),
        _ => None,
    }
}
