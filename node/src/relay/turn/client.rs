//! The TURN client (RFC 8656) as a state machine: one allocation, kept alive, with a channel for each peer.
//!
//! An allocation takes two round trips, one where a nonce of the relay is remembered. A peer gets a channel at once, which
//! makes the permission too; until the relay has confirmed it, packets go as Send indications right behind the request.
//! A relay that is silent while we send is probed, and given up within two seconds.

mod transaction;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::auth::Key;
use super::codec::{self, CHANNELS, Class, Message, TransactionId, Writer, attribute, method};
use transaction::{Expired, Pending, What};

/// Peers of one allocation: 16 candidates of the other side, with new ones after restarts. The server has as many.
const PEERS: usize = 48;
/// Channels and permissions are renewed after this: a permission lives 300 s.
const REBIND: Duration = Duration::from_secs(200);
/// The life that we ask for (the least that a server gives) and when it is renewed.
const LIFETIME: Duration = Duration::from_secs(600);
/// With nothing sent for this long, a packet keeps the NAT's mapping.
const IDLE: Duration = Duration::from_secs(15);
/// Nothing heard for this long while packets go out: the relay is asked whether it is there.
const SILENT: Duration = Duration::from_millis(500);
/// Time between such questions, and how many may stay unanswered. Two seconds from the last sign of life.
const PROBE: Duration = Duration::from_millis(250);
const PROBES: u32 = 6;
/// Answers "stale nonce" to one request: more often is no clock but a fault.
const STALES: u32 = 3;
/// Longest realm and nonce taken (RFC 8489, 14.9: 763 bytes).
const MAX_TEXT: usize = 763;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    V4,
    V6,
    Both,
}

/// Why there is no allocation (any more).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// It does not answer.
    #[error("the relay does not answer")]
    Silent,
    /// It does not know the credential.
    #[error("the relay does not take the credential")]
    Credential,
    /// It answers with an error.
    #[error("the relay refuses: error {0}")]
    Refused(u16),
    /// It answers with something else than TURN asks for.
    #[error("the relay's answer makes no sense")]
    Nonsense,
    /// It has forgotten the allocation.
    #[error("the relay has forgotten the allocation")]
    Forgotten,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The allocation is there, with these addresses.
    Ready(Vec<SocketAddr>),
    /// It did not come about.
    Failed(Failure),
    /// It is over.
    Lost(Failure),
}

/// What a packet of the relay was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input<'a> {
    /// Not for this allocation.
    Foreign,
    /// Taken.
    Taken,
    /// A packet of a peer.
    Data(SocketAddr, &'a [u8]),
}

/// What the relay asked us to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) realm: String,
    pub(crate) nonce: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Allocating,
    Ready,
    Over,
}

#[derive(Debug)]
struct Peer {
    channel: u16,
    /// When the relay confirmed the channel last.
    bound: Option<Instant>,
    /// The relay refused it.
    refused: bool,
}

/// Counters of an allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Packets that could not be sent: before the allocation was there, or to a peer that is not permitted.
    pub(crate) dropped: u64,
}

/// The client.
pub(crate) struct Client {
    user: String,
    password: zeroize::Zeroizing<String>,
    wanted: Wanted,
    /// Requests are sent again (UDP), or not (a stream loses nothing).
    reliable: bool,
    phase: Phase,
    challenge: Option<Challenge>,
    /// The challenge was remembered from an earlier allocation: a refusal of it is no refusal of the credential.
    remembered: bool,
    key: Option<Key>,
    relayed: Vec<SocketAddr>,
    peers: HashMap<SocketAddr, Peer>,
    by_channel: HashMap<u16, SocketAddr>,
    next_channel: u16,
    pending: Vec<Pending>,
    refresh_at: Option<Instant>,
    heard: Instant,
    sent: Instant,
    /// Since when packets go out unanswered.
    asking_since: Option<Instant>,
    probed: Option<Instant>,
    probes: u32,
    outgoing: Vec<Vec<u8>>,
    events: Vec<Event>,
    counts: Counts,
    random: fn() -> TransactionId,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("phase", &self.phase)
            .field("peers", &self.peers.len())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Begins an allocation. `random` gives unguessable transaction ids. The first packets are in [`Self::outgoing`].
    pub(crate) fn new(
        now: Instant,
        user: String,
        password: &str,
        wanted: Wanted,
        reliable: bool,
        challenge: Option<Challenge>,
        random: fn() -> TransactionId,
    ) -> Self {
        // Channel numbers begin anywhere: two nodes that are each other's relay over one pair of ports can then tell
        // the other's ChannelData from the answers to their own.
        let [n0, n1, ..] = random();
        let next_channel = CHANNELS.start() | (u16::from_be_bytes([n0, n1]) & 0x0fff);
        let mut client = Self {
            user,
            password: zeroize::Zeroizing::new(password.to_owned()),
            wanted,
            reliable,
            phase: Phase::Allocating,
            remembered: challenge.is_some(),
            challenge: None,
            key: None,
            relayed: Vec::new(),
            peers: HashMap::new(),
            by_channel: HashMap::new(),
            next_channel,
            pending: Vec::new(),
            refresh_at: None,
            heard: now,
            sent: now,
            asking_since: None,
            probed: None,
            probes: 0,
            outgoing: Vec::new(),
            events: Vec::new(),
            counts: Counts::default(),
            random,
        };
        if let Some(challenge) = challenge {
            client.take_challenge(challenge);
        }
        client.request(now, What::Allocate);
        client
    }

    /// What is to be sent to the relay.
    pub(crate) fn outgoing(&mut self) -> std::vec::Drain<'_, Vec<u8>> {
        self.outgoing.drain(..)
    }

    /// What happened.
    pub(crate) fn events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// The addresses at the relay; empty until ready.
    pub(crate) fn relayed(&self) -> &[SocketAddr] {
        &self.relayed
    }

    /// The challenge to remember for the next allocation at this relay.
    pub(crate) fn challenge(&self) -> Option<&Challenge> {
        self.challenge.as_ref()
    }

    /// Counters.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Lets packets from and to a peer through. What is beyond the bound is not let through.
    pub(crate) fn permit(&mut self, now: Instant, peer: SocketAddr) {
        if self.peers.contains_key(&peer) || self.peers.len() >= PEERS {
            return;
        }
        let channel = self.next_channel;
        self.next_channel = if channel == *CHANNELS.end() { *CHANNELS.start() } else { channel + 1 };
        self.peers.insert(peer, Peer { channel, bound: None, refused: false });
        self.by_channel.insert(channel, peer);
        if self.phase == Phase::Ready {
            self.bind(now, peer);
        }
    }

    fn bind(&mut self, now: Instant, peer: SocketAddr) {
        if self.relayed.iter().any(|relayed| relayed.is_ipv4() == peer.is_ipv4()) {
            self.request(now, What::Bind(peer));
        }
    }

    /// Wraps a packet to a peer; it is in `buffer` then. `false` if it cannot go.
    pub(crate) fn wrap(&mut self, now: Instant, peer: SocketAddr, packet: &[u8], buffer: &mut Vec<u8>) -> bool {
        let same_family = self.relayed.iter().any(|relayed| relayed.is_ipv4() == peer.is_ipv4());
        let known = self.peers.get(&peer).filter(|known| self.phase == Phase::Ready && same_family && !known.refused);
        let Some(known) = known.filter(|_| packet.len() <= super::framing::MAX_FRAME - 128) else {
            self.counts.dropped += 1;
            return false;
        };
        buffer.clear();
        if known.bound.is_some() {
            buffer.extend_from_slice(&codec::channel_header(known.channel, packet.len()));
            buffer.extend_from_slice(packet);
        } else {
            *buffer = Writer::into(std::mem::take(buffer), Class::Indication, method::SEND, &(self.random)())
                .put_address(attribute::XOR_PEER_ADDRESS, peer)
                .put(attribute::DATA, packet)
                .finish(None, false);
        }
        self.counts.sent += 1;
        self.sent = now;
        if self.asking_since.is_none() {
            self.asking_since = Some(now);
        }
        true
    }

    /// A packet from the relay.
    pub(crate) fn handle<'a>(&mut self, now: Instant, packet: &'a [u8]) -> Input<'a> {
        if let Some((number, payload)) = codec::channel_data(packet) {
            let Some(peer) = self.by_channel.get(&number).filter(|_| self.phase == Phase::Ready) else {
                return Input::Foreign;
            };
            let peer = *peer;
            self.hear(now);
            self.counts.received += 1;
            return Input::Data(peer, payload);
        }
        let Some(message) = Message::parse(packet) else { return Input::Foreign };
        match (message.class, message.method) {
            (Class::Indication, method::DATA) => self.data(now, &message),
            (Class::Success | Class::Error, _) => {
                let place = self.pending.iter().position(|pending| pending.transaction == message.transaction);
                let Some(place) = place else { return Input::Foreign };
                if !self.believes(&message) {
                    return Input::Taken;
                }
                let pending = self.pending.swap_remove(place);
                self.hear(now);
                self.response(now, &pending, &message);
                Input::Taken
            }
            _ => Input::Foreign,
        }
    }

    fn data<'a>(&mut self, now: Instant, message: &Message<'a>) -> Input<'a> {
        // A permission is for an address, whatever the port: a peer behind a NAT that gives each destination another
        // port comes from one that nobody could tell us. It gets a channel when it is permitted itself.
        let permitted = |peer: &SocketAddr| self.peers.keys().any(|known| known.ip() == peer.ip());
        let peer = message.address(attribute::XOR_PEER_ADDRESS).filter(permitted);
        match (peer, message.get(attribute::DATA)) {
            (Some(peer), Some(payload)) if self.phase == Phase::Ready => {
                self.hear(now);
                self.counts.received += 1;
                Input::Data(peer, payload)
            }
            _ => Input::Foreign,
        }
    }

    fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.asking_since = None;
        self.probes = 0;
        self.probed = None;
    }

    /// A success that carries no good MESSAGE-INTEGRITY is not from the relay; errors may come without.
    fn believes(&self, message: &Message<'_>) -> bool {
        match &self.key {
            Some(key) if message.class == Class::Success && message.method != method::BINDING => {
                message.is_authentic(key)
            }
            Some(key) => !message.has_integrity() || message.is_authentic(key),
            None => true,
        }
    }

    fn response(&mut self, now: Instant, pending: &Pending, message: &Message<'_>) {
        if message.class == Class::Error {
            return self.refused(now, pending, message);
        }
        match pending.what {
            What::Allocate => {
                let relayed: Option<Vec<_>> = message.addresses(attribute::XOR_RELAYED_ADDRESS).collect();
                let relayed = relayed.filter(|relayed| (1..=2).contains(&relayed.len()) && self.key.is_some());
                let Some(relayed) = relayed else { return self.fail(Failure::Nonsense) };
                self.relayed = relayed;
                self.phase = Phase::Ready;
                self.plan_refresh(now, message);
                self.events.push(Event::Ready(self.relayed.clone()));
                let waiting: Vec<_> = self.peers.keys().copied().collect();
                waiting.into_iter().for_each(|peer| self.bind(now, peer));
            }
            What::Refresh => self.plan_refresh(now, message),
            What::Bind(peer) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.bound = Some(now);
                }
            }
            What::Probe | What::Release => {}
        }
    }

    fn plan_refresh(&mut self, now: Instant, message: &Message<'_>) {
        let life = message.number(attribute::LIFETIME).map_or(LIFETIME, |seconds| Duration::from_secs(seconds.into()));
        self.refresh_at = Some(now + (life / 2).clamp(Duration::from_secs(10), LIFETIME));
    }

    fn refused(&mut self, now: Instant, pending: &Pending, message: &Message<'_>) {
        let Some(code) = message.error() else { return self.fail(Failure::Nonsense) };
        if matches!(code, 401 | 438) {
            let first = self.challenge.is_none();
            let stale = code == 438 && pending.stales < STALES;
            // A remembered realm may be another relay's by now.
            let other_realm = std::mem::take(&mut self.remembered);
            if first || stale || other_realm {
                let texts = (message.text(attribute::REALM), message.text(attribute::NONCE));
                let (Some(realm), Some(nonce)) = texts else { return self.fail(Failure::Nonsense) };
                if realm.len() > MAX_TEXT || nonce.len() > MAX_TEXT {
                    return self.fail(Failure::Nonsense);
                }
                self.take_challenge(Challenge { realm: realm.to_owned(), nonce: nonce.to_owned() });
                let stales = pending.stales + u32::from(code == 438);
                return self.request_again(now, pending.what, stales);
            }
            return self.fail(Failure::Credential);
        }
        match (pending.what, code) {
            // The relay has lost what we build on.
            (What::Refresh | What::Bind(_), 437) => self.fail(Failure::Forgotten),
            (What::Allocate | What::Refresh, _) => self.fail(Failure::Refused(code)),
            (What::Bind(peer), _) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.refused = true;
                }
            }
            (What::Probe | What::Release, _) => {}
        }
    }

    fn take_challenge(&mut self, challenge: Challenge) {
        self.key = Some(Key::long_term(&self.user, &challenge.realm, &self.password));
        self.challenge = Some(challenge);
    }

    fn fail(&mut self, failure: Failure) {
        if self.phase == Phase::Over {
            return;
        }
        let ready = self.phase == Phase::Ready;
        self.phase = Phase::Over;
        self.pending.clear();
        self.events.push(if ready { Event::Lost(failure) } else { Event::Failed(failure) });
    }

    /// The connection under it is gone.
    pub(crate) fn disconnected(&mut self) {
        self.fail(Failure::Silent);
    }

    /// Gives the allocation back. One packet; nobody waits for its answer.
    pub(crate) fn release(&mut self, now: Instant) {
        if self.phase == Phase::Ready {
            self.request(now, What::Release);
        }
        self.phase = Phase::Over;
        self.pending.clear();
    }

    fn request(&mut self, now: Instant, what: What) {
        self.request_again(now, what, 0);
    }

    fn request_again(&mut self, now: Instant, what: What, stales: u32) {
        let transaction = (self.random)();
        let bytes = self.encode(what, &transaction);
        self.outgoing.push(bytes.clone());
        self.sent = now;
        if what != What::Release {
            self.pending.retain(|pending| pending.what != what || what == What::Probe);
            self.pending.push(Pending::new(now, what, transaction, bytes, stales, self.reliable));
        }
    }

    fn encode(&self, what: What, transaction: &TransactionId) -> Vec<u8> {
        let writer = |method| Writer::new(Class::Request, method, transaction);
        let writer = match what {
            What::Allocate => {
                let writer = writer(method::ALLOCATE).put(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
                match self.wanted {
                    Wanted::V4 => writer.put(attribute::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]),
                    Wanted::V6 => writer.put(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]),
                    Wanted::Both => writer.put(attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
                }
            }
            What::Refresh => {
                let seconds = u32::try_from(LIFETIME.as_secs()).unwrap_or(0);
                writer(method::REFRESH).put(attribute::LIFETIME, &seconds.to_be_bytes())
            }
            What::Release => writer(method::REFRESH).put(attribute::LIFETIME, &[0; 4]),
            What::Bind(peer) => {
                let channel = self.peers.get(&peer).map_or(*CHANNELS.start(), |peer| peer.channel);
                let [n0, n1] = channel.to_be_bytes();
                writer(method::CHANNEL_BIND)
                    .put(attribute::CHANNEL_NUMBER, &[n0, n1, 0, 0])
                    .put_address(attribute::XOR_PEER_ADDRESS, peer)
            }
            // A question that costs the relay no cryptography, and that it answers whoever asks.
            What::Probe => return writer(method::BINDING).finish(None, true),
        };
        match (&self.challenge, &self.key) {
            (Some(challenge), Some(key)) => writer
                .put(attribute::USERNAME, self.user.as_bytes())
                .put(attribute::REALM, challenge.realm.as_bytes())
                .put(attribute::NONCE, challenge.nonce.as_bytes())
                .finish(Some(key), true),
            _ => writer.finish(None, true),
        }
    }

    /// When [`Self::handle_timeout`] has something to do next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Over {
            return None;
        }
        let mut at: Vec<Instant> = self.pending.iter().map(|pending| pending.due).collect();
        if self.phase == Phase::Ready {
            at.extend(self.refresh_at);
            at.push(self.sent + IDLE);
            at.extend(self.next_probe());
            at.extend(
                self.peers.values().filter_map(|peer| peer.bound.filter(|_| !peer.refused)).map(|at| at + REBIND),
            );
        }
        at.into_iter().min()
    }

    fn next_probe(&self) -> Option<Instant> {
        let since = self.asking_since?;
        Some(self.probed.map_or(since + SILENT, |probed| probed + PROBE))
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.phase == Phase::Over {
            return;
        }
        let mut expired = Vec::new();
        for pending in &mut self.pending {
            match pending.timeout(now) {
                Some(Expired::Again) => {
                    self.outgoing.push(pending.bytes.clone());
                    self.sent = now;
                }
                Some(Expired::Over) => expired.push(pending.transaction),
                None => {}
            }
        }
        for transaction in expired {
            let Some(place) = self.pending.iter().position(|pending| pending.transaction == transaction) else {
                continue;
            };
            match self.pending.swap_remove(place).what {
                What::Allocate | What::Refresh | What::Bind(_) => return self.fail(Failure::Silent),
                What::Probe | What::Release => {}
            }
        }
        if self.phase == Phase::Ready {
            self.keep(now);
        }
    }

    /// Renews what runs out, keeps the mapping, and looks whether the relay is there.
    fn keep(&mut self, now: Instant) {
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            self.request(now, What::Refresh);
        }
        let old = |peer: &Peer| !peer.refused && peer.bound.is_some_and(|bound| bound + REBIND <= now);
        let stale: Vec<_> = self.peers.iter().filter(|(_, peer)| old(peer)).map(|(peer, _)| *peer).collect();
        for peer in stale {
            // Until it is confirmed again the channel is as good as before.
            if let Some(known) = self.peers.get_mut(&peer) {
                known.bound = Some(now);
            }
            self.request(now, What::Bind(peer));
        }
        if self.next_probe().is_some_and(|at| at <= now) {
            if self.probes >= PROBES {
                return self.fail(Failure::Silent);
            }
            self.probes += 1;
            self.probed = Some(now);
            self.request(now, What::Probe);
        } else if self.sent + IDLE <= now {
            self.request(now, What::Probe);
            self.asking_since.get_or_insert(now);
        }
    }
}

#[cfg(test)]
mod tests;
