//! The link to a friend: one [`Session`] per friend that outlives connections. It gives messages a sequence, keeps
//! them until they are acknowledged, replays them after a redial so that each is applied once, notices a dead
//! connection, and decides which of two simultaneous connections stays. The words for it are in `specs/04-link.md`.
//!
//! The caller's law: feed every [`Input`] with the time, carry out all [`Output`]s in order, and call
//! [`Session::handle_timeout`] when [`Session::poll_timeout`] is due.

mod backoff;
mod choice;
mod heartbeat;
mod queue;
mod session;

pub use backoff::Backoff;
pub use choice::{CROSSING_CIRCUIT, CROSSING_WINDOW, Connection, Keep, prefer};
pub use heartbeat::{
    IDLE_INTERVAL, IDLE_PATIENCE, IN_CALL_INTERVAL, IN_CALL_PATIENCE, PATIENCE_LONGEST, PROBE_PATIENCE,
};
pub use queue::{MAX_QUEUED, MAX_QUEUED_BYTES};
pub use session::{ACK_DELAY, HANDOVER_PATIENCE, MAX_FRAMES_PER_SECOND, OPEN_PATIENCE, Session};

use std::time::Duration;

use crate::wire::{ByeReason, Message, WireError};

/// Names a connection for the driver; never used twice in a process, for any friend: the first one also names the
/// session's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What can happen to a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A handshake with the friend is finished on this connection.
    Connected {
        /// Which.
        connection: ConnectionId,
        /// Boot id of the friend's node from the handshake.
        remote_boot: u64,
        /// Whether this side dialled.
        dialled: bool,
        /// Whether it runs through a third node's circuit.
        relayed: bool,
    },
    /// The connection is gone.
    Disconnected(ConnectionId),
    /// One decrypted frame.
    Frame(ConnectionId, Vec<u8>),
    /// Deliver this message, across redials, once. Refused if too much waits already.
    Send(Message),
    /// Deliver this message over the present connection or forget it.
    SendNow(Message),
    /// Whether a call with this friend goes on: the heartbeat quickens.
    InCall(bool),
    /// Something suggests that the connection may be dead (network change, waking up): find out now.
    Probe,
    /// Close the present connection, saying why.
    Close(ByeReason),
}

/// What the driver is to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this frame (at most [`crate::wire::MAX_FRAME`] bytes).
    Transmit(ConnectionId, Vec<u8>),
    /// Close this connection. Nothing of it is wanted any more; frames given before are still to be sent.
    Close(ConnectionId, CloseReason),
    /// A message for the layer above (never one of the link's own).
    Received(Message),
    /// The link is up: the friend's node has spoken.
    Up {
        /// Over which connection. It may replace another without a [`Output::Down`] between.
        connection: ConnectionId,
        /// The friend's node was restarted since the last time that the link was up.
        restarted: bool,
    },
    /// The link is down.
    Down(CloseReason),
    /// The only connection ended before the link was up over it: a dial that came to nothing.
    Unopened {
        /// Whether this side dialled.
        dialled: bool,
        /// Why it ended.
        reason: CloseReason,
    },
    /// A round trip was measured.
    Rtt(Duration),
    /// The message was not taken.
    Refused(Message, Refusal),
}

/// Why a connection is closed or a link is down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The connection went away.
    #[error("the connection was lost")]
    Lost,
    /// Nothing was heard in time.
    #[error("nothing was heard in time")]
    Silent,
    /// Another connection is better.
    #[error("another connection took over")]
    Replaced,
    /// Closed on purpose here.
    #[error("closed here")]
    Local,
    /// Closed on purpose there.
    #[error("closed by the friend's node ({0:?})")]
    Remote(ByeReason),
    /// The friend's node broke the rules.
    #[error("the friend's node broke the protocol: {0}")]
    Fault(#[from] Fault),
}

/// How a friend's node broke the rules. The connection ends; a faulty node costs a redial, nothing more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Bytes that are no frame.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// Something before `open`, or `open` twice.
    #[error("{0} at the wrong time")]
    Order(&'static str),
    /// A message is missing.
    #[error("sequence {got} came instead of {expected}")]
    Gap {
        /// What had to come.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// Something was acknowledged that was never sent.
    #[error("sequence {got} was acknowledged, {sent} was the last one sent")]
    Acknowledged {
        /// Last sequence sent.
        sent: u64,
        /// What was acknowledged.
        got: u64,
    },
    /// More than [`MAX_FRAMES_PER_SECOND`].
    #[error("too many frames")]
    Flood,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// [`MAX_QUEUED`] messages or [`MAX_QUEUED_BYTES`] wait for an acknowledgement. Nothing that waits is dropped for
    /// a newer message; the sender decides what that means.
    #[error("too much waits for the friend's acknowledgement")]
    Full,
    /// There is no connection, and the message was not to wait for one.
    #[error("there is no connection")]
    Down,
    /// The message cannot be written down (a fault of this program).
    #[error("the message cannot be encoded")]
    Encode,
}

#[cfg(test)]
mod tests;
