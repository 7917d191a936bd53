//! Meeting in the DHT: publishes where this node is, in slots that only the entitled find, and finds others in theirs.
//!
//! The service says what to publish ([`Rendezvous::set_slots`], [`Rendezvous::set_device`]); addresses come from the
//! swarm itself. [`plan`] decides when a record is put, [`publish`] puts it and reads it back from another node,
//! [`find`] looks for somebody. A slot counts as published when a node took it, as *confirmed* when another node gave
//! it back. Whoever searches never waits for any of this, nor for the DHT's bootstrap.

mod find;
mod plan;
mod publish;

pub use find::{Found, Hunt, Judge, Order, Place, Report, Search, SearchEvent, Target, Verdict, places};
pub use plan::{Job, Outcome, PlaceId, Plan, Slot, SlotId, Status};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use twocan_protocol::identity::{Certificate, PeerId};

use crate::swarm::{self, QueryId};
use publish::Command;

/// Commands that may wait for the publishing task.
const COMMANDS: usize = 32;
/// Events that may wait for their reader; more are dropped, since [`Rendezvous::status`] has the sum of them.
const EVENTS: usize = 64;

/// What publishing reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nodes took a record.
    Published {
        /// Which slot.
        slot: SlotId,
        /// In which epoch.
        epoch: u64,
        /// The put, as in the log.
        query: QueryId,
        /// How many nodes had taken it when this was reported.
        holders: u32,
    },
    /// A record was read back from another node.
    Confirmed {
        /// Which slot.
        slot: SlotId,
        /// In which epoch.
        epoch: u64,
        /// The lookup, as in the log.
        query: QueryId,
    },
}

/// The node that records name for those from whom the own addresses are hidden: a swarm of its own PeerId that is
/// reached through relays only. Its records hold nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Of that swarm.
    pub peer_id: PeerId,
    /// Circuit addresses (multiaddr).
    pub relayed: Vec<String>,
}

/// What the rest of the node holds of the rendezvous. Publishing stops when the last one is dropped.
#[derive(Clone)]
pub struct Rendezvous {
    swarm: swarm::Handle,
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

impl Rendezvous {
    /// Starts publishing (nothing, until it is told what) over `swarm`.
    pub fn start(swarm: swarm::Handle) -> (Self, mpsc::Receiver<Event>) {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (outbox, events) = mpsc::channel(EVENTS);
        let (status, status_view) = watch::channel(Status::default());
        tokio::spawn(publish::Publishing::new(swarm.clone(), inbox, outbox, status).run());
        (Self { swarm, commands, status: status_view }, events)
    }

    /// Replaces the slots to publish in. What is put already and still wanted is left as it is.
    pub async fn set_slots(&self, slots: Vec<Slot>) {
        let _ = self.commands.send(Command::Slots(slots)).await;
    }

    /// Sets the certificate that records carry, and addresses through relays. Nothing is published before.
    pub async fn set_device(&self, certificate: Certificate, relayed: Vec<String>) {
        let _ = self.commands.send(Command::Device(certificate, relayed)).await;
    }

    /// The network is another one, or the machine slept (for `slept`): epochs may have turned, what is due by a clock
    /// that stood is due sooner, and what failed may work now.
    pub async fn hasten(&self, slept: Duration) {
        let _ = self.commands.send(Command::Hasten(slept)).await;
    }

    /// Sets the node that hidden slots name.
    pub async fn set_hidden(&self, hidden: Option<Hidden>) {
        let _ = self.commands.send(Command::Hidden(hidden)).await;
    }

    /// How much of what is to be published is, and is confirmed; now and as it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Looks for somebody, at once. Dropping the [`Search`] ends it.
    pub fn find(&self, target: Target) -> Search {
        find::start(self.swarm.clone(), target)
    }
}

/// Milliseconds since 1970 by the system's clock.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
