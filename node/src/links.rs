//! Streams between people: the gate, the handshake, and then frames both ways (`specs/03-contact.md`, `04-link.md`).
//!
//! This driver turns a raw stream of the swarm into [`Opened`]: who is there, proved, and two bounded channels of
//! decrypted frames. It decides nothing about friends: whom to let in is in the [`GateTable`] that the service gives,
//! what frames mean is for the link and contact machines.
//!
//! Started by: the service, for every inbound stream ([`Acceptor::accept`]) and for every dial ([`open()`]). One task per
//! open stream; it ends when the service drops both channels, when the other side goes, or at the first violation.
//! [`Opened::ended`] tells which.

mod gate;
mod limiter;
mod open;
mod pump;
mod wire;

use std::{fmt, io, time::Duration};

use tokio::sync::{mpsc, oneshot};
use twocan_protocol::{
    handshake::{HandshakeError, Purpose, TransportError},
    identity::{Certificate, DeviceKey, PeerId},
};

use crate::swarm::ConnectionInfo;

pub use gate::{Admission, GateTable, RelayDesk};
pub use limiter::Limiter;
pub use open::{Acceptor, Target, ask_relay, open};

/// Frames waiting for the service, and frames waiting to be sent, per stream. 32 frames of 32 KiB are 1 MiB at most;
/// a full inbound channel holds the other side back, a full outbound one is for the service to see (`try_send`).
pub const CHANNEL_FRAMES: usize = 32;

/// How long things may take. Only tests use others than [`Deadlines::NORMAL`].
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    /// From an inbound stream to its gate tag. The tag comes with the first packet; who needs longer is no friend.
    gate: Duration,
    /// From the tag to the end of the handshake: two round trips over the slowest path.
    handshake: Duration,
    /// The network must take a message within this time; longer than any outage that a link is to survive.
    write: Duration,
    /// A message that has begun must be complete within this time.
    message: Duration,
    /// After closing, the other side may take this long to close too.
    linger: Duration,
}

impl Deadlines {
    const NORMAL: Self = Self {
        gate: Duration::from_secs(5),
        handshake: Duration::from_secs(10),
        write: Duration::from_secs(10),
        message: Duration::from_secs(15),
        linger: Duration::from_secs(2),
    };

    /// Those of a stream with this purpose: the bytes of a file may have to wait for those of a call.
    fn of(self, purpose: Purpose) -> Self {
        match purpose {
            Purpose::File => Self { write: self.write * 12, message: self.message * 8, ..self },
            Purpose::Link | Purpose::Contact => self,
        }
    }
}

/// What this node says about itself in handshakes.
pub struct Identity {
    /// Its device key.
    pub device: DeviceKey,
    /// The certificate of that key.
    pub certificate: Certificate,
    /// Boot id of this start: greater than that of every start before.
    pub boot: u64,
}

/// Where a stream runs.
#[derive(Clone)]
pub struct Ends {
    /// This node's name in the swarm.
    pub own: PeerId,
    /// The other node's, proved by the connection.
    pub remote: PeerId,
    /// Name of the connection, for limits.
    pub connection: String,
    /// Network address of the other end as multiaddr text, for limits only.
    pub address: String,
}

impl Ends {
    /// The ends of a stream on that connection of the swarm.
    pub fn of(own: PeerId, connection: &ConnectionInfo) -> Self {
        Self {
            own,
            remote: connection.peer.clone(),
            connection: connection.connection.to_string(),
            address: connection.remote.clone(),
        }
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ends({:?} on {})", self.remote, self.connection)
    }
}

/// An open, proved stream.
#[derive(Debug)]
pub struct Opened {
    /// Who is there.
    pub remote: Certificate,
    /// Boot id of the other node.
    pub remote_boot: u64,
    /// Version of the link protocol to speak.
    pub version: u16,
    /// Friend or stranger.
    pub purpose: Purpose,
    /// Whether this node opened it.
    pub dialled: bool,
    /// Frames to send, at most [`twocan_protocol::limits::LINK_FRAME_MAX`] bytes each. Dropping it closes the stream
    /// after what is queued has been sent.
    pub tx: mpsc::Sender<Vec<u8>>,
    /// Frames received. Ends when the stream does.
    pub rx: mpsc::Receiver<Vec<u8>>,
    /// Why the stream ended.
    pub ended: oneshot::Receiver<Ended>,
}

/// Why an open stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// This node closed it.
    #[error("closed here")]
    Here,
    /// The other node closed it.
    #[error("closed by the other node")]
    There,
    /// The connection broke.
    #[error("connection lost ({0})")]
    Lost(io::ErrorKind),
    /// The other node did not read for too long.
    #[error("the other node does not read")]
    Stalled,
    /// The other node began a message and did not finish it.
    #[error("the other node stopped in the middle of a message")]
    Unfinished,
    /// A message of a length that cannot be.
    #[error("violation: message of {0} bytes")]
    Length(usize),
    /// A message that does not decrypt, or a frame that is too long to be sent.
    #[error("violation: {0}")]
    Transport(#[from] TransportError),
}

impl Ended {
    /// Whether the other node broke the rules.
    pub const fn is_violation(self) -> bool {
        matches!(self, Self::Length(_) | Self::Transport(_) | Self::Unfinished)
    }
}

/// Why a stream did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The other node closed the stream at the gate: it is not who we look for, or does not know us.
    #[error("not let in: the node does not know us, or is another")]
    NotAdmitted,
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// The stream broke.
    #[error("connection lost ({0})")]
    Lost(io::ErrorKind),
    /// A message of a length that cannot be.
    #[error("violation: handshake message of {0} bytes")]
    Length(usize),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

#[cfg(test)]
mod tests;
