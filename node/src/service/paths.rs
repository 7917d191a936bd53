//! Which connection a link runs on: from a relay's circuit to a direct connection when there is one, and to a fresh circuit
//! before the old one reaches its limit. The session moves without losing a word; what is left behind is closed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use twocan_protocol::gate::Key;
use twocan_protocol::handshake::Purpose;
use twocan_protocol::identity::RootPublic;

use super::Service;
use super::links::Note;
use super::reach::DIAL_PATIENCE;
use crate::swarm::{self, ConnectionInfo, Route};

/// The side that dialled the link moves it. If it has not within this time, the other side does.
const SECOND: Duration = Duration::from_secs(2);
/// A connection that was left is closed this much later: the good-bye on it goes first.
const LEAVE: Duration = Duration::from_secs(1);
/// Share of a circuit's time or bytes after which the side that dialled makes a fresh one; and after which the other does.
const RENEW_AT: [u32; 2] = [12, 14];
/// Of so many.
const RENEW_OF: u32 = 16;
/// What a frame costs on a circuit besides its own bytes: lengths, tags and headers of three layers.
const FRAME_COST: u64 = 96;
/// After a renewal that failed, another is tried this much later.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// A relayed connection with a limit.
#[derive(Debug)]
pub(super) struct Circuit {
    since: Instant,
    limit: swarm::CircuitLimit,
    bytes: u64,
    /// Not before this time is a fresh one made (again).
    not_before: Instant,
}

impl Circuit {
    /// When a fresh circuit is due for the side that dialled the link, or for the other.
    fn renewal(&self, dialled: bool) -> Option<Instant> {
        let share = RENEW_AT[usize::from(!dialled)];
        let full = self.limit.bytes.is_some_and(|most| self.bytes >= most / u64::from(RENEW_OF) * u64::from(share));
        let by_time = self.limit.duration.map(|most| self.since + most / RENEW_OF * share);
        let due = if full { Some(self.since) } else { by_time };
        due.map(|due| due.max(self.not_before))
    }
}

/// The relayed connections that have a limit. As many as the swarm allows connections.
pub(super) type Circuits = HashMap<swarm::ConnectionId, Circuit>;

impl Service {
    /// A connection was made.
    pub(super) fn connected(&mut self, info: &ConnectionInfo) {
        if let Some(limit) = info.limit {
            let since = Instant::now();
            self.circuits.insert(info.connection, Circuit { since, limit, bytes: 0, not_before: since });
        }
    }

    /// A direct connection came up beside a relayed one: a link on the relayed one moves.
    pub(super) fn upgraded(&mut self, from: swarm::ConnectionId, to: ConnectionInfo) {
        for (root, dialled) in self.links_on(from) {
            tracing::info!("a direct way to {} is open ({:?}): the link moves there", root.short(), to.route);
            if dialled {
                self.move_link(root, from, to.clone());
            } else {
                let (notes, to) = (self.notes.clone(), to.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(SECOND).await;
                    let _ = notes.send(Note::Move { root, from, to }).await;
                });
            }
        }
    }

    /// Opens a link stream on another connection, if the link still runs on `from`; ends with a note.
    pub(super) fn move_link(&mut self, root: RootPublic, from: swarm::ConnectionId, to: ConnectionInfo) {
        let Some((channel, _)) = self.live_channel(&root).filter(|(info, _)| info.connection == from) else { return };
        let Some(device) = self.whereabouts.get(&root).and_then(super::keep::Whereabouts::device) else { return };
        tracing::debug!("moving the link to {} from {} to {}", root.short(), channel.connection, to.connection);
        let friendship = self.friendship(&root);
        let Some(seeker) = self.seeker(root, Key::link(&friendship), Purpose::Link) else { return };
        tokio::spawn(async move {
            if let Some(opened) = seeker.open(&to, device).await {
                let _ = seeker.notes.send(Note::Opened { opened, info: to }).await;
            }
        });
    }

    /// A link left this connection for another one.
    pub(super) fn left(&self, info: &ConnectionInfo) {
        let busy = self.channels.on(info.connection).next().is_some();
        if info.route == Route::Relayed && !busy {
            let connection = info.connection;
            for swarm in self.swarms() {
                let swarm = swarm.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LEAVE).await;
                    swarm.disconnect(connection).await;
                });
            }
        }
    }

    /// A frame of a link went over a connection, in either direction.
    pub(super) fn count_frame(&mut self, connection: swarm::ConnectionId, bytes: usize) {
        if let Some(circuit) = self.circuits.get_mut(&connection) {
            circuit.bytes += bytes as u64 + FRAME_COST;
        }
    }

    /// When a link needs a fresh circuit.
    pub(super) fn next_renewal(&self) -> Option<Instant> {
        if self.circuits.is_empty() {
            return None;
        }
        let live = self.sessions.keys().filter_map(|root| self.live_channel(root));
        live.filter_map(|(info, dialled)| self.circuits.get(&info.connection)?.renewal(dialled)).min()
    }

    /// Makes a fresh circuit for each link whose circuit is near its limit.
    pub(super) fn renew_circuits(&mut self, now: Instant) {
        if self.circuits.is_empty() {
            return;
        }
        let roots: Vec<RootPublic> = self.sessions.keys().copied().collect();
        for root in roots {
            let Some((info, dialled)) = self.live_channel(&root) else { continue };
            let due = self.circuits.get(&info.connection).and_then(|circuit| circuit.renewal(dialled));
            if due.is_some_and(|due| due <= now) {
                let info = info.clone();
                if let Some(circuit) = self.circuits.get_mut(&info.connection) {
                    circuit.not_before = now + RENEW_AGAIN;
                }
                self.renew(root, &info);
            }
        }
    }

    /// Makes a fresh circuit beside the present one; the session moves to it.
    fn renew(&mut self, root: RootPublic, info: &ConnectionInfo) {
        let Some(known) = self.whereabouts.get(&root) else { return };
        let Some(device) = known.device() else { return };
        let mut addresses = known.relayed.clone();
        if info.outbound {
            addresses.insert(0, info.remote.clone());
        }
        tracing::info!("the circuit to {} is near its limit: a fresh one takes over", root.short());
        let friendship = self.friendship(&root);
        let Some(seeker) = self.seeker(root, Key::link(&friendship), Purpose::Link) else { return };
        let peer = info.peer.clone();
        // A dial gives an open connection back, unless it is doubted.
        seeker.swarm.doubt(info.connection);
        tokio::spawn(async move {
            if let Ok(info) = seeker.swarm.dial(addresses, Some(peer), DIAL_PATIENCE).await
                && let Some(opened) = seeker.open(&info, device).await
            {
                let _ = seeker.notes.send(Note::Opened { opened, info }).await;
            }
        });
    }

    /// Tries the direct addresses of a friend whose link is relayed. If one answers, the link moves there.
    pub(super) fn try_direct(&self, root: &RootPublic) {
        let Some((info, _)) = self.live_channel(root).filter(|(info, _)| info.route == Route::Relayed) else { return };
        let Some(known) = self.whereabouts.get(root).filter(|_| !self.book.hides(root)) else { return };
        let (swarm, notes, addresses) = (self.swarm.clone(), self.notes.clone(), known.to_dial());
        let (root, from, peer) = (*root, info.connection, info.peer.clone());
        if addresses.is_empty() {
            return;
        }
        tokio::spawn(async move {
            let Ok(mut results) = swarm.dial_each(addresses, None).await else { return };
            while let Some(result) = results.recv().await {
                if let Ok(to) = result
                    && to.peer == peer
                    && to.route != Route::Relayed
                {
                    let _ = notes.send(Note::Move { root, from, to }).await;
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(duration: Option<u64>, bytes: Option<u64>) -> (Instant, Circuit) {
        let since = Instant::now();
        let limit = swarm::CircuitLimit { duration: duration.map(Duration::from_secs), bytes };
        (since, Circuit { since, limit, bytes: 0, not_before: since })
    }

    #[test]
    fn a_fresh_circuit_is_due_before_the_time_is_up_first_for_the_side_that_dialled() {
        let (since, circuit) = circuit(Some(120), None);
        assert_eq!(circuit.renewal(true), Some(since + Duration::from_secs(90)));
        assert_eq!(circuit.renewal(false), Some(since + Duration::from_secs(105)));
    }

    #[test]
    fn a_fresh_circuit_is_due_when_most_bytes_are_used_and_not_again_at_once() {
        let (since, mut circuit) = circuit(None, Some(160_000));
        assert_eq!(circuit.renewal(true), None);
        circuit.bytes = 121_000;
        assert_eq!((circuit.renewal(true), circuit.renewal(false)), (Some(since), None));
        circuit.bytes = 141_000;
        assert_eq!(circuit.renewal(false), Some(since));
        circuit.not_before = since + RENEW_AGAIN;
        assert_eq!(circuit.renewal(true), Some(since + RENEW_AGAIN));
    }
}
