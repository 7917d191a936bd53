//! What a change of the network means for links and calls, and what friends are told of where this node is.
//!
//! A change may have ended every connection without a word. So all links are asked for a sign of life, links of calls
//! are dialled anew at once besides (whichever is up first, stays), searches begin anew, and what others know of our
//! addresses is renewed: in the slots, and over the links that live.

use std::time::{Duration, Instant};

use twocan_protocol::identity::RootPublic;
use twocan_protocol::wire::{Message, Whereabouts};
use twocan_protocol::{call, friend, link};

use super::Service;
use crate::netwatch::Change;
use crate::swarm::{self, Route};

/// A timer of ours that fires this much too late tells of a stop before the watch does.
const LATE: Duration = Duration::from_millis(1500);

impl Service {
    /// The operating system or the clocks tell of a change.
    pub(super) fn network_changed(&mut self, change: Change) {
        let slept = change.slept.unwrap_or_default();
        tracing::info!(
            moved = change.moved,
            slept_s = slept.as_secs(),
            stopped_s = change.stopped.unwrap_or_default().as_secs(),
            "the network may be another one"
        );
        let unseen = change.slept.or(change.stopped).is_some();
        let broken = change.moved || unseen;
        if broken {
            self.swarms().for_each(swarm::Handle::network_changed);
        }
        self.probe_links();
        if broken {
            for friend in self.in_calls() {
                self.redial(friend);
            }
            // What is dialled at present leaves by a way that is gone.
            for friend in self.dials.stop_searches() {
                self.book_input(friend::Input::SearchFailed(friend));
            }
            self.book_input(friend::Input::NetworkChanged);
            let linked: Vec<RootPublic> = self.sessions.keys().copied().collect();
            linked.iter().for_each(|root| self.try_direct(root));
        }
        if !slept.is_zero() {
            self.calls_input(call::Input::Unseen(slept));
        }
        self.engine.network_changed();
        if broken {
            self.calls_input(call::Input::AddressChanged);
        }
        self.portmap.network_changed();
        let rendezvous = self.rendezvous.clone();
        tokio::spawn(async move { rendezvous.hasten(slept).await });
    }

    /// A timer that was due at `due` fires only now: if that is far too late, the process was stopped, and no silence
    /// that seems to have been is one.
    pub(super) fn excuse_silence(&mut self, due: Option<Instant>, now: Instant) {
        if due.is_some_and(|due| now.saturating_duration_since(due) > LATE) {
            self.probe_links();
        }
    }

    /// Asks every link for a sign of life.
    fn probe_links(&mut self) {
        let roots: Vec<RootPublic> = self.sessions.keys().copied().collect();
        for root in roots {
            self.session_input(root, link::Input::Probe);
        }
    }

    /// Friends with whom there is a call.
    fn in_calls(&self) -> Vec<RootPublic> {
        let mut friends: Vec<RootPublic> = self.calls.iter().map(|snapshot| snapshot.friend).collect();
        friends.sort();
        friends.dedup();
        friends
    }

    /// Our addresses are others than before: every friend with a link is told.
    pub(super) fn tell_whereabouts(&mut self) {
        let linked: Vec<RootPublic> =
            self.sessions.iter().filter(|(_, linked)| linked.session.is_up()).map(|(root, _)| *root).collect();
        for root in linked {
            self.tell_whereabouts_to(root);
        }
    }

    /// Tells one friend where this node is: what the slots say, and to one on another site no address of this site.
    pub(super) fn tell_whereabouts_to(&mut self, root: RootPublic) {
        if self.book.hides(&root) {
            let Some(hidden) = &self.hidden else { return };
            let circuits = hidden.swarm.relayed().borrow().clone();
            let told = Whereabouts::new(hidden.swarm.peer_id(), &[], &[], &circuits);
            return self.session_input(root, link::Input::SendNow(Message::Whereabouts(told)));
        }
        let Some(addresses) = self.addresses.clone() else { return };
        let near = self.route_to(&root).is_some_and(|route| matches!(route, Route::Loopback | Route::Lan));
        let lan: &[String] = if near { &addresses.lan } else { &[] };
        let relayed = self.swarm.relayed().borrow().clone();
        let told = Whereabouts::new(self.swarm.peer_id(), &addresses.direct, lan, &relayed);
        self.session_input(root, link::Input::SendNow(Message::Whereabouts(told)));
    }

    /// A friend says where its node is.
    pub(super) fn told_whereabouts(&mut self, root: RootPublic, told: &Whereabouts) {
        let Some(known) = self.whereabouts.get_mut(&root) else { return };
        let (to_dial, relayed) = (told.to_dial(), told.through_relays());
        if known.told == to_dial && known.relayed == relayed {
            return;
        }
        (known.told, known.relayed) = (to_dial, relayed);
        known.peer = told.peer().map(|peer| peer.as_bytes().to_vec()).unwrap_or_default();
        self.keep_whereabouts(&root);
        self.try_direct(&root);
    }
}
