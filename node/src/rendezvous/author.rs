//! What records say: where this node is, for everybody who may know, and for those from whom that is hidden.

use twocan_protocol::{identity::Certificate, rendezvous::Body};

use super::{Hidden, plan::Slot};
use crate::swarm::{Addresses, Handle};

/// A record is believed this long after its epoch's end, for clocks that differ.
const GRACE_MS: u64 = 15 * 60_000;

/// How much a change matters to what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// What lies in the DHT is still right, or nearly.
    None,
    /// It is to be replaced.
    New,
    /// It is useless: replace it at once.
    Urgent,
}

/// What the own records are made of.
pub(super) struct Author {
    swarm: Handle,
    device: Option<(Certificate, Vec<String>)>,
    hidden: Option<Hidden>,
    /// The addresses at relays that were published last, if any were.
    told_relayed: Vec<String>,
    addresses: Addresses,
}

impl Author {
    pub(super) fn new(swarm: Handle) -> Self {
        let addresses = swarm.addresses().borrow().clone();
        Self { swarm, device: None, hidden: None, told_relayed: Vec::new(), addresses }
    }

    /// By which swarm a slot is put, and read back: a hidden one never by our own.
    pub(super) fn swarm_for(&self, slot: &Slot) -> Option<Handle> {
        if slot.is_hidden() {
            self.hidden.as_ref().map(|hidden| hidden.swarm.clone())
        } else {
            Some(self.swarm.clone())
        }
    }

    /// Whether there is anything to say.
    pub(super) fn is_ready(&self) -> bool {
        self.device.as_ref().is_some_and(|(_, relayed)| !relayed.is_empty() || !self.addresses.is_empty())
    }

    pub(super) fn set_addresses(&mut self, addresses: Addresses) {
        self.addresses = addresses;
    }

    /// Sets the node that hidden slots name.
    pub(super) fn set_hidden(&mut self, hidden: Option<Hidden>) -> Change {
        let circuits = |hidden: &Option<Hidden>| hidden.as_ref().is_some_and(|hidden| !hidden.relayed.is_empty());
        let before = std::mem::replace(&mut self.hidden, hidden);
        let peer = |hidden: &Option<Hidden>| hidden.as_ref().map(|node| node.swarm.peer_id().clone());
        let same_node = peer(&before) == peer(&self.hidden);
        match (same_node, circuits(&before), circuits(&self.hidden)) {
            // A relay that is lost is mostly back in a moment.
            (true, _, false) => Change::None,
            (true, true, true) if before != self.hidden => Change::New,
            (true, true, true) => Change::None,
            _ => Change::Urgent,
        }
    }

    pub(super) fn set_device(&mut self, certificate: Certificate, relayed: Vec<String>) -> Change {
        let (same, had_none) = match &self.device {
            Some((known, relayed)) => (*known == certificate, relayed.is_empty()),
            None => (false, true),
        };
        let known = self.told_relayed == relayed;
        if !relayed.is_empty() {
            self.told_relayed.clone_from(&relayed);
        }
        let lost = relayed.is_empty();
        self.device = Some((certificate, relayed));
        // A relay that is lost is mostly back, or replaced, in a moment: for that nothing is put.
        if same && (lost || known) {
            Change::None
        } else if had_none && !lost {
            Change::Urgent
        } else {
            Change::New
        }
    }

    /// What a record in `slot` says, in an epoch that ends at `ends_ms` (Unix ms). A hidden slot names the hidden node
    /// and nothing of this one, in whichever DHT it lies; `None` while there is nothing to say.
    pub(super) fn body(&self, slot: &Slot, ends_ms: u64) -> Option<Body> {
        let (certificate, relayed) = self.device.clone()?;
        let expires_ms = ends_ms.saturating_add(GRACE_MS);
        let mut body = if slot.is_hidden() {
            // Also without a circuit: what was put before may tell more than it should from now on.
            let Hidden { swarm, relayed } = self.hidden.clone()?;
            Body {
                certificate,
                peer_id: swarm.peer_id().clone(),
                direct: Vec::new(),
                lan: Vec::new(),
                relayed,
                expires_ms,
            }
        } else {
            Body {
                certificate,
                peer_id: self.swarm.peer_id().clone(),
                direct: self.addresses.direct.clone(),
                lan: self.addresses.lan.clone(),
                relayed,
                expires_ms,
            }
        };
        body.fit();
        Some(body)
    }
}
