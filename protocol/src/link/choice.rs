//! Which of two connections to the same friend stays. Both sides apply the same rule to the same facts, so they keep
//! the same connection without a word about it.

use std::time::{Duration, Instant};

use super::ConnectionId;

/// Two connections dialled by different sides count as crossing dials if the second came up within this time after
/// the first. Later, the side that dials anew has lost the first: then the newer one is right.
pub const CROSSING_WINDOW: Duration = Duration::from_secs(10);

/// A direct connection dialled by one side and a relayed one dialled by the other cross if the relayed one came up
/// within this time after the direct one: it takes a few more round trips. One who dials a circuit later than that has
/// lost the direct connection, perhaps just after it came up.
pub const CROSSING_CIRCUIT: Duration = Duration::from_secs(3);

/// What is known of a connection when the choice is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// Boot id of the friend's node.
    pub remote_boot: u64,
    /// Whether this side dialled.
    pub dialled: bool,
    /// Whether it runs through a third node's circuit.
    pub relayed: bool,
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

/// Chooses: a greater boot id wins; of two that came up at about the same time, the direct one beats the relayed one;
/// between equal ones the newer of the same dialler; of crossing dials the one that the lower root dialled (`lower`
/// says whether that is this side). A direct connection always takes over from a relayed one; a relayed one takes over
/// from a direct one unless both sides dialled at about the same time: whoever dials anew has lost it.
#[must_use]
pub fn prefer(lower: bool, old: &Connection, new: &Connection) -> Keep {
    if new.remote_boot != old.remote_boot {
        return if new.remote_boot > old.remote_boot { Keep::New } else { Keep::Old };
    }
    let age = new.since.saturating_duration_since(old.since);
    let crossing = |window| new.dialled != old.dialled && age < window;
    let old_stays = match (old.relayed, new.relayed) {
        (true, false) => false,
        (false, true) => crossing(CROSSING_CIRCUIT),
        _ => crossing(CROSSING_WINDOW) && new.dialled != lower,
    };
    if old_stays { Keep::Old } else { Keep::New }
}
