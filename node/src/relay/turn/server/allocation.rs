//! One allocation: its sockets, and the peers that may use it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::codec::TransactionId;
use super::{Account, Wrap};

/// Life of an allocation that asks for none, and the least (RFC 8656, 3.2).
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// The longest life: a client that vanished holds nothing longer.
pub(super) const LIFETIME_MAX: Duration = Duration::from_secs(1200);
/// Life of a permission (RFC 8656, 9).
const PERMISSION: Duration = Duration::from_secs(300);
/// Life of a channel (RFC 8656, 12).
const CHANNEL: Duration = Duration::from_secs(600);
/// Peers' addresses with a permission: 16 candidates of the other side, twice for a restart, and room.
const PERMISSIONS: usize = 48;
/// Channels: the same, with their ports.
const CHANNELS: usize = 64;

/// A relayed address.
#[derive(Debug)]
pub(super) struct Relay<S> {
    pub(super) socket: S,
    /// Where the socket is bound: what peers see.
    pub(super) address: SocketAddr,
    pub(super) expires: Instant,
}

#[derive(Debug)]
pub(super) struct Allocation<S> {
    /// Tells it from an earlier one of the same client.
    pub(super) number: u64,
    pub(super) account: Account,
    pub(super) user: String,
    /// Of the request that made it: sent again, it gets the same answer.
    pub(super) transaction: TransactionId,
    /// When the client sent something last.
    pub(super) active: Instant,
    relays: Vec<Relay<S>>,
    permissions: HashMap<IpAddr, Instant>,
    channels: HashMap<u16, (SocketAddr, Instant)>,
    numbers: HashMap<SocketAddr, u16>,
}

/// A permission or channel that cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Too many.
    Full,
    /// The channel has another peer, or the peer another channel.
    Taken,
}

impl<S> Allocation<S> {
    pub(super) fn new(
        number: u64,
        account: Account,
        user: String,
        transaction: TransactionId,
        now: Instant,
        relays: Vec<Relay<S>>,
    ) -> Self {
        Self {
            number,
            account,
            user,
            transaction,
            active: now,
            relays,
            permissions: HashMap::new(),
            channels: HashMap::new(),
            numbers: HashMap::new(),
        }
    }

    /// The relayed addresses.
    pub(super) fn relays(&self) -> &[Relay<S>] {
        &self.relays
    }

    /// Whether all its addresses are among those that are relayed from now.
    pub(super) fn stands_on(&self, v4: Option<IpAddr>, v6: Option<IpAddr>) -> bool {
        self.relays.iter().all(|relay| [v4, v6].contains(&Some(relay.address.ip())))
    }

    /// The socket that reaches an address.
    pub(super) fn socket_to(&self, ip: IpAddr) -> Option<&S> {
        self.relays.iter().find(|relay| relay.address.is_ipv4() == ip.is_ipv4()).map(|relay| &relay.socket)
    }

    /// Whether it has a relayed address of this family.
    pub(super) fn has_family(&self, v4: bool) -> bool {
        self.relays.iter().any(|relay| relay.address.is_ipv4() == v4)
    }

    /// Gives the relayed addresses (of one family, or all) a new life; none ends them. `false` if nothing is left.
    pub(super) fn refresh(&mut self, now: Instant, v4: Option<bool>, lifetime: Option<Duration>) -> bool {
        let meant = |relay: &Relay<S>| v4.is_none_or(|v4| relay.address.is_ipv4() == v4);
        match lifetime {
            Some(lifetime) => {
                self.relays.iter_mut().filter(|relay| meant(relay)).for_each(|relay| relay.expires = now + lifetime);
            }
            None => self.relays.retain(|relay| !meant(relay)),
        }
        !self.relays.is_empty()
    }

    /// Whether packets from and to this address pass.
    pub(super) fn permits(&self, now: Instant, ip: IpAddr) -> bool {
        self.permissions.get(&ip).is_some_and(|expires| *expires > now)
    }

    /// Makes or renews a permission.
    pub(super) fn permit(&mut self, now: Instant, ip: IpAddr) -> Result<(), NoRoom> {
        if self.permissions.len() >= PERMISSIONS && !self.permissions.contains_key(&ip) {
            self.permissions.retain(|_, expires| *expires > now);
            if self.permissions.len() >= PERMISSIONS {
                return Err(NoRoom::Full);
            }
        }
        self.permissions.insert(ip, now + PERMISSION);
        Ok(())
    }

    /// Makes or renews a channel, and with it the permission.
    pub(super) fn bind(&mut self, now: Instant, number: u16, peer: SocketAddr) -> Result<(), NoRoom> {
        let other_peer = self.channels.get(&number).is_some_and(|(bound, _)| *bound != peer);
        let other_number = self.numbers.get(&peer).is_some_and(|bound| *bound != number);
        if other_peer || other_number {
            return Err(NoRoom::Taken);
        }
        if self.channels.len() >= CHANNELS && !self.channels.contains_key(&number) {
            return Err(NoRoom::Full);
        }
        self.permit(now, peer.ip())?;
        self.channels.insert(number, (peer, now + CHANNEL));
        self.numbers.insert(peer, number);
        Ok(())
    }

    /// The peer of a channel.
    pub(super) fn channel(&self, number: u16) -> Option<SocketAddr> {
        self.channels.get(&number).map(|(peer, _)| *peer)
    }

    /// How a packet of this peer goes to the client.
    pub(super) fn wrap(&self, peer: SocketAddr) -> Wrap {
        self.numbers.get(&peer).map_or(Wrap::Indication, |number| Wrap::Channel(*number))
    }

    /// When something of it runs out next. (A permission is looked at when it is used.)
    pub(super) fn next_expiry(&self) -> Instant {
        let channels = self.channels.values().map(|(_, expires)| *expires);
        // An allocation without addresses is over at once.
        self.relays.iter().map(|relay| relay.expires).chain(channels).min().unwrap_or(self.active)
    }

    /// Drops what has run out; `true` if nothing is left.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.relays.retain(|relay| relay.expires > now);
        self.permissions.retain(|_, expires| *expires > now);
        let numbers = &mut self.numbers;
        self.channels.retain(|_, (peer, expires)| {
            let stays = *expires > now;
            if !stays {
                numbers.remove(peer);
            }
            stays
        });
        self.relays.is_empty()
    }
}
