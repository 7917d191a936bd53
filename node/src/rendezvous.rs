//! Meeting in the DHT: publishes where this node is, in slots that only the entitled find, and finds others in theirs.
//!
//! The service says what to publish ([`Rendezvous::set_slots`], [`Rendezvous::set_device`]); addresses come from the
//! swarm itself. [`plan`] decides when a record is put, [`publish`] puts it and reads it back from another node,
//! [`find`] looks for somebody; [`mirror`] does in the public DHT what publish does in our own, and [`first`] finds a
//! first node there. A slot counts as published when a node took it, as *confirmed* when another node gave
//! it back. Whoever searches never waits for any of this, nor for the DHT's bootstrap.

mod author;
mod find;
pub mod first;
mod mirror;
mod plan;
mod publish;

pub use find::{Found, Hunt, Judge, Order, Place, Report, Search, SearchEvent, Target, Verdict, places};
pub use plan::{Job, Outcome, PlaceId, Plan, Rules, Slot, SlotId, Status};

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use twocan_protocol::identity::Certificate;

use crate::swarm::{self, QueryId, public::Client};
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
#[derive(Clone)]
pub struct Hidden {
    /// That swarm. Its records are put, and read back, by it alone: whoever lies in wait near a slot's key sees who comes.
    pub swarm: swarm::Handle,
    /// Circuit addresses (multiaddr).
    pub relayed: Vec<String>,
}

impl PartialEq for Hidden {
    /// The same node, reached in the same ways.
    fn eq(&self, other: &Self) -> bool {
        self.swarm.peer_id() == other.swarm.peer_id() && self.relayed == other.relayed
    }
}

/// Where slots are published and looked for.
#[derive(Clone, Debug, Default)]
pub enum Discovery {
    /// In the DHT of the nodes themselves.
    #[default]
    Own,
    /// In the public IPFS DHT.
    Public(Client),
    /// In both, side by side: the public one never holds up our own.
    Both(Client),
}

impl Discovery {
    fn public(&self) -> Option<&Client> {
        match self {
            Self::Own => None,
            Self::Public(client) | Self::Both(client) => Some(client),
        }
    }

    fn is_own(&self) -> bool {
        !matches!(self, Self::Public(_))
    }
}

/// A publishing task: where it is told what, and how far it has got.
#[derive(Clone)]
struct Publisher {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

/// What the rest of the node holds of the rendezvous. Publishing stops when the last one is dropped.
#[derive(Clone)]
pub struct Rendezvous {
    swarm: swarm::Handle,
    discovery: Discovery,
    own: Option<Publisher>,
    public: Option<Publisher>,
}

impl Rendezvous {
    /// Starts publishing (nothing, until it is told what) over `swarm`, in the DHT of the nodes themselves.
    pub fn start(swarm: swarm::Handle) -> (Self, mpsc::Receiver<Event>) {
        Self::start_in(swarm, Discovery::Own)
    }

    /// The same in the DHTs of `discovery`.
    pub fn start_in(swarm: swarm::Handle, discovery: Discovery) -> (Self, mpsc::Receiver<Event>) {
        let (outbox, events) = mpsc::channel(EVENTS);
        let own = discovery.is_own().then(|| {
            let (commands, inbox) = mpsc::channel(COMMANDS);
            let (status, status_view) = watch::channel(Status::default());
            tokio::spawn(publish::Publishing::new(swarm.clone(), inbox, outbox, status).run());
            Publisher { commands, status: status_view }
        });
        let public = discovery.public().map(|client| {
            let (commands, inbox) = mpsc::channel(COMMANDS);
            let (status, status_view) = watch::channel(Status::default());
            tokio::spawn(mirror::Mirroring::new(client.clone(), swarm.clone(), inbox, status).run());
            Publisher { commands, status: status_view }
        });
        (Self { swarm, discovery, own, public }, events)
    }

    async fn tell(&self, command: Command) {
        for publisher in self.own.iter().chain(&self.public) {
            let _ = publisher.commands.send(command.clone()).await;
        }
    }

    /// Replaces the slots to publish in. What is put already and still wanted is left as it is.
    pub async fn set_slots(&self, slots: Vec<Slot>) {
        self.tell(Command::Slots(slots)).await;
    }

    /// Sets the certificate that records carry, and addresses through relays. Nothing is published before.
    pub async fn set_device(&self, certificate: Certificate, relayed: Vec<String>) {
        self.tell(Command::Device(certificate, relayed)).await;
    }

    /// The network is another one, or the machine slept (for `slept`): epochs may have turned, what is due by a clock
    /// that stood is due sooner, and what failed may work now.
    pub async fn hasten(&self, slept: Duration) {
        self.tell(Command::Hasten(slept)).await;
    }

    /// Sets the node that hidden slots name.
    pub async fn set_hidden(&self, hidden: Option<Hidden>) {
        self.tell(Command::Hidden(hidden)).await;
    }

    /// How much of what is to be published is, and is confirmed; now and as it changes. Of our own DHT, unless only the
    /// public one is used.
    pub fn status(&self) -> watch::Receiver<Status> {
        let publisher = self.own.as_ref().or(self.public.as_ref());
        // One of them is always there; a status that never changes says that nothing is published.
        publisher.map_or_else(|| watch::channel(Status::default()).1, |publisher| publisher.status.clone())
    }

    /// The same of the public DHT, if it is used.
    pub fn public_status(&self) -> Option<Status> {
        self.public.as_ref().map(|publisher| *publisher.status.borrow())
    }

    /// Looks for somebody from whom we hide, through the relays of the hidden swarm `by`, in our own DHT alone: nobody near
    /// the slots sees who looks.
    pub fn find_by(&self, by: swarm::Handle, target: Target) -> Search {
        find::start(by, &Discovery::Own, target)
    }

    /// Looks for somebody, at once. Dropping the [`Search`] ends it.
    pub fn find(&self, target: Target) -> Search {
        find::start(self.swarm.clone(), &self.discovery, target)
    }
}

/// Milliseconds since 1970 by the system's clock.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
