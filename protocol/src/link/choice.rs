//! Which of two connections to the same friend stays. Both sides apply the same rule to the same facts, so they keep
//! the same connection without a word about it.

use std::time::{Duration, Instant};

use super::ConnectionId;

/// Two connections dialled by different sides count as crossing dials if the second came up within this time after
/// the first. Later, the side that dials anew has lost the first: then the newer one is right.
pub const CROSSING_WINDOW: Duration = Duration::from_secs(10);

/// What is known of a connection when the choice is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// Boot id of the friend's node.
    pub remote_boot: u64,
    /// Whether this side dialled.
    pub dialled: bool,
    /// When its handshake was finished.
    pub since: Instant,
}

/// The outcome of the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The one that was there.
    Old,
    /// The one that came.
    New,
}

/// Chooses: a greater boot id wins; between equal ones the newer of the same dialler; of crossing dials the one that
/// the lower root dialled (`lower` says whether that is this side).
#[must_use]
pub fn prefer(lower: bool, old: &Connection, new: &Connection) -> Keep {
    if new.remote_boot != old.remote_boot {
        return if new.remote_boot > old.remote_boot { Keep::New } else { Keep::Old };
    }
    let crossing = new.dialled != old.dialled && new.since.saturating_duration_since(old.since) < CROSSING_WINDOW;
    if crossing && new.dialled != lower { Keep::Old } else { Keep::New }
}
