//! Requests that wait for their response, sent again after growing intervals (RFC 8489, 6.2.1).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::codec::TransactionId;

/// First interval. RFC 8489 says 500 ms where nothing is known of the round trip; relays are chosen near, and a call
/// waits for this.
const FIRST: Duration = Duration::from_millis(250);
/// Sends of one request: at 0, 250, 750, 1750, 3750 ms.
const SENDS: u32 = 5;
/// A request on a stream has this long, and one over UDP after its last send the rest of it.
const PATIENCE: Duration = Duration::from_millis(7500);

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Allocate,
    Refresh,
    Bind(SocketAddr),
    Probe,
    Release,
}

/// What a timeout means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// It is to be sent again.
    Again,
    /// There will be no response.
    Over,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) what: What,
    pub(super) transaction: TransactionId,
    pub(super) bytes: Vec<u8>,
    /// How often the nonce was stale.
    pub(super) stales: u32,
    pub(super) due: Instant,
    began: Instant,
    interval: Duration,
    sends: u32,
}

impl Pending {
    pub(super) fn new(
        now: Instant,
        what: What,
        transaction: TransactionId,
        bytes: Vec<u8>,
        stales: u32,
        reliable: bool,
    ) -> Self {
        // A probe is not sent again: the next one is another.
        let once = reliable || what == What::Probe;
        let due = now + if once { PATIENCE } else { FIRST };
        let sends = if once { SENDS } else { 1 };
        Self { what, transaction, bytes, stales, due, began: now, interval: FIRST, sends }
    }

    /// Whether something is due, and what.
    pub(super) fn timeout(&mut self, now: Instant) -> Option<Expired> {
        if now < self.due {
            return None;
        }
        if self.sends >= SENDS {
            return Some(Expired::Over);
        }
        self.sends += 1;
        self.interval *= 2;
        self.due = if self.sends >= SENDS { self.began + PATIENCE } else { now + self.interval };
        Some(Expired::Again)
    }
}
