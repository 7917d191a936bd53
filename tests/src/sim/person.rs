//! People: their keys, and what they publish when, by the node's own plan.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;
use twocan_node::rendezvous::{Job, PlaceId, Plan, Slot, Target};
use twocan_node::swarm::SourceRange;
use twocan_protocol::address::{Address, ContactToken};
use twocan_protocol::identity::{Certificate, DeviceKey, FriendshipKey, PeerId, RootKey};
use twocan_protocol::rendezvous::{Body, PresenceKey, Schedule};

use super::net::{Id, Rec, START_MS, Time, peer_id};

/// A record is believed this long after its epoch's end, as in the node.
const GRACE_MS: u64 = 15 * 60_000;

/// Somebody with a node, which restarts under another PeerId now and then.
pub(super) struct Person {
    root: Arc<RootKey>,
    presence: Arc<PresenceKey>,
    certificate: Certificate,
    token: ContactToken,
    friendship: FriendshipKey,
    slots: Vec<Slot>,
    /// When what is put.
    pub(super) plan: Plan,
    /// The node, while it runs.
    pub(super) node: Option<Id>,
    /// Whether the node serves.
    pub(super) serves: bool,
    /// Jobs that wait.
    pub(super) queue: VecDeque<(PlaceId, Job)>,
    /// Jobs under way.
    pub(super) running: usize,
    /// When the plan is looked at next.
    pub(super) wake: Time,
}

/// In which slot somebody is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By a friend who has the grant.
    Presence,
    /// By a friend who has not.
    Pair,
    /// By a stranger who has the address.
    Contact,
}

impl Person {
    /// Makes somebody, with one friend; with contact slots if `contact`.
    pub(super) fn new(rng: &mut StdRng, serves: bool, contact: bool) -> Self {
        let root = Arc::new(RootKey::from_secret(&rng.random()));
        let friend = RootKey::from_secret(&rng.random());
        let presence = Arc::new(PresenceKey::generate(1, rng));
        let device = DeviceKey::from_secret(&rng.random()).public();
        let token = ContactToken::derived(&root);
        let friendship = FriendshipKey::of(&root, &friend.public());
        let mut slots = vec![
            Slot::Presence(Arc::clone(&presence)),
            Slot::Pair {
                root: Arc::clone(&root),
                friendship: friendship.clone(),
                friend: friend.public(),
                since_ms: None,
            },
        ];
        if contact {
            slots.extend(Slot::contacts(&root, token, false));
        }
        Self {
            certificate: Certificate::issue(&root, device, 0, 0, u64::MAX),
            root,
            presence,
            token,
            friendship,
            slots,
            plan: Plan::default(),
            node: None,
            serves,
            queue: VecDeque::new(),
            running: 0,
            wake: 0,
        }
    }

    /// What a node of this person wants published after its start.
    pub(super) fn slots(&self) -> Vec<Slot> {
        self.slots.clone()
    }

    /// Whether strangers can find this person.
    pub(super) fn has_contact(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Contact { .. }))
    }

    /// When the contact slots of today end, if there are any.
    pub(super) fn contact_day_ends_ms(&self, unix_ms: u64) -> Option<u64> {
        let schedule = Schedule::contact(&self.root.public(), &self.token);
        self.has_contact().then(|| schedule.end_ms(schedule.epoch_of(unix_ms)))
    }

    /// Whom others look for.
    pub(super) fn target(&self, by: By) -> Target {
        let root = self.root.public();
        match by {
            By::Contact => Target::Contact(Address { root, token: self.token }),
            By::Presence | By::Pair => Target::Friend {
                root,
                friendship: self.friendship.clone(),
                grant: (by == By::Presence).then(|| self.presence.grant()),
            },
        }
    }

    /// A fresh record for a place, with its sequence.
    pub(super) fn record(&self, place: &PlaceId, node: Id, unix_ms: u64, rng: &mut StdRng) -> Option<(u64, Rc<Rec>)> {
        let publisher = self.plan.slot(place)?.publisher(place.1);
        let expires_ms = self.plan.ends_ms(place)?.saturating_add(GRACE_MS);
        let body = body(self.certificate, peer_id(node), expires_ms);
        let sequence = self.plan.next_sequence(place, unix_ms);
        let value = publisher.record(sequence, &body, rng).ok()?;
        Some((sequence, Rec::new(*publisher.key.as_bytes(), value)))
    }
}

fn body(certificate: Certificate, peer_id: PeerId, expires_ms: u64) -> Body {
    let direct = vec!["/ip4/11.1.1.1/udp/4001/quic-v1".to_owned()];
    Body { certificate, peer_id, direct, lan: Vec::new(), relayed: Vec::new(), expires_ms }
}

/// What junk says.
pub(super) fn nobody(rng: &mut StdRng) -> Body {
    let root = RootKey::from_secret(&rng.random());
    let device = DeviceKey::from_secret(&rng.random()).public();
    body(Certificate::issue(&root, device, 0, 0, u64::MAX), peer_id(0), START_MS)
}

/// An address in a network of this model.
pub(super) fn ip_in(range: SourceRange) -> IpAddr {
    range.first()
}
