//! "Hide my address": from a friend, or from everybody.
//!
//! Who is hidden from meets us only on a swarm of its own PeerId that exists for that, through circuits of relays; the
//! records for them (pair slots, and the contact slot while anything is hidden) name that swarm and nothing else, are put,
//! read back and looked for by it through its relays, and their calls have relayed candidates only. Who it is, the book of friends knows ([`Book::hides`]).
//!
//! A relay sees whom it serves. So the relays of those from whom we hide are never used: neither for circuits, nor for
//! calls.
//!
//! [`Book::hides`]: twocan_protocol::friend::Book::hides

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use twocan_control::{self as api, Code, Error, Privacy};
use twocan_protocol::friend::Input;
use twocan_protocol::identity::{PeerId, RootPublic};

use super::Service;
use super::links::Note;
use crate::rendezvous;
use crate::swarm::{self, RelayNode};

/// How often relays are looked for while there is no circuit, and how often otherwise: they come and go.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Relays that the hidden swarm is told of.
const RELAYS: usize = 8;

/// The swarm for those from whom we hide.
pub(super) struct HiddenNode {
    pub(super) swarm: swarm::Handle,
    task: JoinHandle<()>,
}

impl Drop for HiddenNode {
    fn drop(&mut self) {
        self.task.abort();
        let swarm = self.swarm.clone();
        tokio::spawn(async move { swarm.shutdown().await });
    }
}

impl Service {
    pub(super) fn privacy(&self) -> Privacy {
        Privacy { hide_address: self.book.hides_all() }
    }

    pub(super) fn set_privacy(&mut self, privacy: Privacy) -> api::Result<Privacy> {
        self.act(Input::Hide { friend: None, hidden: privacy.hide_address })?;
        // Strangers are met elsewhere now, even if there is no friend for whom anything changes.
        self.open_gates();
        self.publish();
        Ok(self.privacy())
    }

    /// The swarm on which somebody is to be met; `None` while there is none for those from whom we hide.
    pub(super) fn swarm_for(&self, root: &RootPublic) -> Option<&swarm::Handle> {
        if self.book.hides(root) { self.hidden.as_ref().map(|hidden| &hidden.swarm) } else { Some(&self.swarm) }
    }

    /// Whether a call to a friend can be made without showing our address where it is to be hidden.
    pub(super) fn may_call_hidden(&self, friend: &RootPublic) -> api::Result<()> {
        if !self.book.hides(friend) || self.relays.any_useful(|root| !self.book.hides(root)) {
            return Ok(());
        }
        let name = self.book.name_of(friend);
        let text =
            format!("your address is hidden from {name}, and no friend's relay is known that could carry the call");
        Err(Error::new(Code::Unreachable, text).hint(format!(
            "a friend whose node can be reached from the internet can relay, unless you hide from that friend, too \
             (`twocan hide FRIEND --off`); or show {name} your address: `twocan hide {name} --off`"
        )))
    }

    /// The swarms that run. A connection's number is never used twice in a process: only one of them knows it.
    pub(super) fn swarms(&self) -> impl Iterator<Item = &swarm::Handle> {
        [Some(&self.swarm), self.hidden.as_ref().map(|hidden| &hidden.swarm)].into_iter().flatten()
    }

    /// What happens in the hidden swarm: streams, and circuits that come and go. Its addresses are told otherwise.
    pub(super) fn hidden_event(&mut self, event: swarm::Event) {
        match event {
            swarm::Event::Inbound(stream) => self.accept_hidden(stream),
            event @ (swarm::Event::Connected(_) | swarm::Event::Disconnected { .. }) => self.swarm_event(event),
            _ => {}
        }
    }

    /// Has the hidden swarm exactly while somebody is hidden from.
    pub(super) fn settle_hiding(&mut self) {
        if self.book.hides_any() == self.hidden.is_some() {
            return;
        }
        if self.hidden.take().is_some() {
            self.name_hidden(None);
            return;
        }
        let config = swarm::Config {
            hidden: true,
            dht_server: swarm::ServerMode::Off,
            proxy: crate::runtime::proxy(&self.config),
            ..swarm::Config::default()
        };
        match swarm::start(config) {
            Ok((handle, events)) => {
                let task = tokio::spawn(follow(handle.clone(), events, self.notes.clone()));
                // At once, though there is no circuit yet: it takes the place of what was told before.
                self.name_hidden(Some(rendezvous::Hidden { swarm: handle.clone(), relayed: Vec::new() }));
                self.hidden = Some(HiddenNode { swarm: handle, task });
            }
            Err(error) => self
                .notice(format!("Your address stays hidden, but nobody from whom it is hidden can reach you: {error}")),
        }
    }

    /// The circuits of the hidden swarm changed: records and friends are told.
    pub(super) fn hidden_moved(&mut self, relayed: Vec<String>) {
        let Some(hidden) = &self.hidden else { return };
        tracing::debug!(circuits = relayed.len(), "the hidden swarm can be reached another way");
        self.name_hidden(Some(rendezvous::Hidden { swarm: hidden.swarm.clone(), relayed }));
        self.tell_whereabouts();
        self.book_input(Input::NetworkChanged);
    }

    fn name_hidden(&self, hidden: Option<rendezvous::Hidden>) {
        let rendezvous = self.rendezvous.clone();
        tokio::spawn(async move { rendezvous.set_hidden(hidden).await });
    }

    /// Tells the hidden swarm which relays there are, but for those of friends from whom we hide.
    pub(super) fn offer_relays_to_hidden(&self) {
        let Some(hidden) = &self.hidden else { return };
        let friends = self.book.friends().map(|friend| friend.record.root);
        let (avoid, ours): (Vec<RootPublic>, Vec<RootPublic>) = friends.partition(|root| self.book.hides(root));
        let peers = |roots: Vec<RootPublic>| -> Vec<PeerId> {
            let told = roots.iter().filter_map(|root| PeerId::from_bytes(&self.whereabouts.get(root)?.peer).ok());
            told.chain(roots.iter().flat_map(|root| self.channels.peers(root))).collect()
        };
        let (avoid, ours) = (peers(avoid), peers(ours));
        let (swarm, hidden) = (self.swarm.clone(), hidden.swarm.clone());
        tokio::spawn(async move {
            let mut nodes: Vec<RelayNode> = swarm.relay_nodes().await;
            nodes.retain(|node| !avoid.contains(&node.peer));
            // Friends' first: they have no reason to watch us.
            nodes.sort_by_key(|node| !ours.contains(&node.peer));
            nodes.truncate(RELAYS);
            hidden.prefer_relays(nodes.into_iter().map(|node| node.address).collect()).await;
        });
    }
}

/// Passes on what happens in the hidden swarm, and asks for relays now and then.
async fn follow(swarm: swarm::Handle, mut events: mpsc::Receiver<swarm::Event>, notes: mpsc::Sender<Note>) {
    let mut relayed = swarm.relayed();
    loop {
        if notes.send(Note::HiddenNeedsRelays).await.is_err() {
            return;
        }
        let pause = if relayed.borrow().is_empty() { LOOK.0 } else { LOOK.1 };
        let look = tokio::time::sleep(pause);
        tokio::pin!(look);
        loop {
            let note = tokio::select! {
                () = &mut look => break,
                event = events.recv() => match event {
                    Some(event) => Note::Hidden(event),
                    None => return,
                },
                changed = relayed.changed() => match changed {
                    Ok(()) => Note::HiddenMoved(relayed.borrow_and_update().clone()),
                    Err(_) => return,
                },
            };
            if notes.send(note).await.is_err() {
                return;
            }
        }
    }
}
