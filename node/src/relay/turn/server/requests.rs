//! Requests to the server: each is authenticated, carried out, and answered (RFC 8656, 7 to 12).

use std::time::Duration;

use super::super::auth::{Key, REALM};
use super::super::codec::{CHANNELS, Class, Message, Writer, attribute, method};
use super::super::quota::Clock;
use super::allocation::{Allocation, LIFETIME, LIFETIME_MAX, NoRoom, Relay};
use super::{ALLOCATIONS_PER_USER, Client, Core, Ports, Via};

/// IPv4 in REQUESTED-ADDRESS-FAMILY.
const FAMILY_V4: u8 = 1;
/// IPv6 in REQUESTED-ADDRESS-FAMILY.
const FAMILY_V6: u8 = 2;
/// UDP in REQUESTED-TRANSPORT.
const TRANSPORT_UDP: u8 = 17;
/// Peers in one CreatePermission: the candidates of the other side.
const PEERS_PER_REQUEST: usize = 16;

/// An error response: code and reason phrase.
type Refused = (u16, &'static str);

const BAD_REQUEST: Refused = (400, "Bad Request");
const UNAUTHENTICATED: Refused = (401, "Unauthenticated");
const FORBIDDEN: Refused = (403, "Forbidden");
const UNKNOWN_ATTRIBUTE: Refused = (420, "Unknown Attribute");
const MISMATCH: Refused = (437, "Allocation Mismatch");
const STALE_NONCE: Refused = (438, "Stale Nonce");
const FAMILY_UNSUPPORTED: Refused = (440, "Address Family not Supported");
const WRONG_CREDENTIALS: Refused = (441, "Wrong Credentials");
const TRANSPORT_UNSUPPORTED: Refused = (442, "Unsupported Transport Protocol");
const FAMILY_MISMATCH: Refused = (443, "Peer Address Family Mismatch");
const QUOTA_REACHED: Refused = (486, "Allocation Quota Reached");
const NO_CAPACITY: Refused = (508, "Insufficient Capacity");

/// What is carried out for whom.
struct Known {
    user: String,
    key: Key,
}

/// Families that an Allocate asks for.
struct Wanted {
    v4: bool,
    v6: bool,
    /// IPv6 is only wished for besides IPv4.
    additional: bool,
}

impl<S: Clone> Core<S> {
    /// Carries a request out. `None` where nobody is to be answered.
    pub(super) fn request<P: Ports<Socket = S>>(
        &mut self,
        clock: Clock,
        client: Client,
        message: &Message<'_>,
        ports: &mut P,
    ) -> Option<Vec<u8>> {
        let fingerprint = message.has_fingerprint();
        if message.method == method::BINDING {
            return self.binding(clock, client, message, fingerprint);
        }
        let known = match self.authenticate(clock, client, message) {
            Ok(known) => known,
            Err(refused) => {
                self.counters.unauthorized += 1;
                // Whoever begins shows none, and is told what to show.
                self.counters.wrong += u64::from(message.has_integrity() && refused == UNAUTHENTICATED);
                if !self.may_answer(clock, client) {
                    self.counters.unanswered += 1;
                    return None;
                }
                let mut writer =
                    Writer::new(Class::Error, message.method, &message.transaction).put_error(refused.0, refused.1);
                if refused != BAD_REQUEST {
                    let nonce = self.nonces.make(clock.now, client.from.ip());
                    writer = writer.put(attribute::REALM, REALM.as_bytes()).put(attribute::NONCE, nonce.as_bytes());
                }
                return Some(writer.finish(None, fingerprint));
            }
        };
        let unknown = unknown_attributes(message);
        let done = if unknown.is_empty() {
            match message.method {
                method::ALLOCATE => self.allocate(clock, client, message, &known, ports),
                method::REFRESH => self.refresh(clock, client, message, &known),
                method::CREATE_PERMISSION => self.create_permission(clock, client, message, &known),
                method::CHANNEL_BIND => self.channel_bind(clock, client, message, &known),
                _ => Err(BAD_REQUEST),
            }
        } else {
            Err(UNKNOWN_ATTRIBUTE)
        };
        let writer = done.unwrap_or_else(|refused| {
            let writer =
                Writer::new(Class::Error, message.method, &message.transaction).put_error(refused.0, refused.1);
            if refused == UNKNOWN_ATTRIBUTE { writer.put(attribute::UNKNOWN_ATTRIBUTES, &unknown) } else { writer }
        });
        Some(writer.finish(Some(&known.key), fingerprint))
    }

    /// Whether somebody without a credential gets an answer. The sender of a datagram may be forged; who has a
    /// connection is where the answer goes.
    fn may_answer(&mut self, clock: Clock, client: Client) -> bool {
        matches!(client.via, Via::Stream(_)) || self.answers.allow(clock.now, client.from.ip())
    }

    /// STUN for anyone: tells who asks from where the packet came.
    fn binding(&mut self, clock: Clock, client: Client, message: &Message<'_>, fingerprint: bool) -> Option<Vec<u8>> {
        // One with a user name is a connectivity check for a call that is gone: not for us to answer.
        if message.get(attribute::USERNAME).is_some() || message.has_integrity() {
            return None;
        }
        if !self.knows(&client) && !self.may_answer(clock, client) {
            return None;
        }
        let unknown = unknown_attributes(message);
        if !unknown.is_empty() {
            let writer = Writer::new(Class::Error, method::BINDING, &message.transaction)
                .put_error(UNKNOWN_ATTRIBUTE.0, UNKNOWN_ATTRIBUTE.1)
                .put(attribute::UNKNOWN_ATTRIBUTES, &unknown);
            return Some(writer.finish(None, fingerprint));
        }
        self.counters.bindings += 1;
        let writer = Writer::new(Class::Success, method::BINDING, &message.transaction)
            .put_address(attribute::XOR_MAPPED_ADDRESS, client.from);
        Some(writer.finish(None, fingerprint))
    }

    /// RFC 8489, 9.2.4.
    fn authenticate(&self, clock: Clock, client: Client, message: &Message<'_>) -> Result<Known, Refused> {
        if !message.has_integrity() {
            return Err(UNAUTHENTICATED);
        }
        let (Some(user), Some(realm), Some(nonce)) =
            (message.text(attribute::USERNAME), message.text(attribute::REALM), message.get(attribute::NONCE))
        else {
            return Err(BAD_REQUEST);
        };
        if !self.nonces.is_good(clock.now, client.from.ip(), nonce) {
            return Err(STALE_NONCE);
        }
        let known = self.users.get(user).filter(|known| {
            let lives = known.expires > clock.now || known.allocations > 0;
            let ended = known.ends.is_some_and(|ends| ends <= clock.now);
            realm == REALM && lives && !ended && message.is_authentic(&known.key)
        });
        known.map(|known| Known { user: user.to_owned(), key: known.key.clone() }).ok_or(UNAUTHENTICATED)
    }

    /// RFC 8656, 7.2.
    fn allocate<P: Ports<Socket = S>>(
        &mut self,
        clock: Clock,
        client: Client,
        message: &Message<'_>,
        known: &Known,
        ports: &mut P,
    ) -> Result<Writer, Refused> {
        if let Some(allocation) = self.allocations.get(&client) {
            let same = allocation.transaction == message.transaction && allocation.user == known.user;
            return if same { Ok(allocated(message, client, allocation, None)) } else { Err(MISMATCH) };
        }
        let transport = message.get(attribute::REQUESTED_TRANSPORT).ok_or(BAD_REQUEST)?;
        if *transport.first().filter(|_| transport.len() == 4).ok_or(BAD_REQUEST)? != TRANSPORT_UDP {
            return Err(TRANSPORT_UNSUPPORTED);
        }
        let wanted = wanted(message)?;
        // An even port can be had; the next higher one beside it (the R bit) is of no use to anyone here.
        let even = match message.get(attribute::EVEN_PORT) {
            None => false,
            Some([flags, ..]) if flags & 0x80 == 0 => true,
            Some(_) => return Err(NO_CAPACITY),
        };
        let (v4, v6) = (self.settings.v4.filter(|_| wanted.v4), self.settings.v6.filter(|_| wanted.v6));
        if (wanted.v4 && v4.is_none()) || (wanted.v6 && v6.is_none() && !wanted.additional) {
            return Err(FAMILY_UNSUPPORTED);
        }
        let account = self.users.get(&known.user).map(|user| user.account).ok_or(UNAUTHENTICATED)?;
        if !self.serves(account) {
            return Err(FORBIDDEN);
        }
        self.make_room(&known.user);
        let taken = self.accounts.get(&account).map_or(0, |books| books.allocations);
        if taken >= self.bounds_of(account).allocations {
            return Err(QUOTA_REACHED);
        }
        if self.allocated >= self.settings.bounds.allocations {
            return Err(NO_CAPACITY);
        }
        let number = self.last_allocation + 1;
        let expires = clock.now + lifetime(message).unwrap_or(LIFETIME);
        let mut relays = Vec::new();
        for ip in [v4, v6].into_iter().flatten() {
            match ports.open(ip, even, client, number) {
                Some((socket, address)) => relays.push(Relay { socket, address, expires }),
                None if wanted.additional && ip.is_ipv6() => {}
                None => return Err(NO_CAPACITY),
            }
        }
        let missing = match (wanted.additional && relays.len() < 2, v6) {
            (true, None) => Some(FAMILY_UNSUPPORTED),
            (true, Some(_)) => Some(NO_CAPACITY),
            _ => None,
        };
        let transaction = message.transaction;
        let allocation = Allocation::new(number, account, known.user.clone(), transaction, clock.now, relays);
        let answer = allocated(message, client, &allocation, missing);
        self.last_allocation = number;
        self.relayed.extend(allocation.relays().iter().map(|relay| relay.address));
        self.allocations.insert(client, allocation);
        self.allocated += 1;
        if let Some(books) = self.accounts.get_mut(&account) {
            books.allocations += 1;
        }
        if let Some(user) = self.users.get_mut(&known.user) {
            user.allocations += 1;
            user.used = true;
        }
        Ok(answer)
    }

    /// A client whose address changed leaves allocations behind: the idlest one of too many goes.
    fn make_room(&mut self, user: &str) {
        let own = || self.allocations.iter().filter(|(_, allocation)| allocation.user == user);
        if own().count() >= ALLOCATIONS_PER_USER
            && let Some(client) = own().min_by_key(|(_, allocation)| allocation.active).map(|(client, _)| *client)
        {
            self.release(&client);
        }
    }

    /// The allocation that a request is about.
    fn own(&mut self, client: &Client, known: &Known) -> Result<&mut Allocation<S>, Refused> {
        let allocation = self.allocations.get_mut(client).ok_or(MISMATCH)?;
        if allocation.user == known.user { Ok(allocation) } else { Err(WRONG_CREDENTIALS) }
    }

    /// RFC 8656, 8.2.
    fn refresh(
        &mut self,
        clock: Clock,
        client: Client,
        message: &Message<'_>,
        known: &Known,
    ) -> Result<Writer, Refused> {
        let allocation = self.own(&client, known)?;
        let family = message.get(attribute::REQUESTED_ADDRESS_FAMILY).map(family).transpose()?;
        if family.is_some_and(|v4| !allocation.has_family(v4)) {
            return Err(FAMILY_MISMATCH);
        }
        let lifetime = match message.number(attribute::LIFETIME) {
            Some(0) => None,
            _ => Some(lifetime(message).unwrap_or(LIFETIME)),
        };
        allocation.active = clock.now;
        if allocation.refresh(clock.now, family, lifetime) {
            self.count_relayed();
        } else {
            self.release(&client);
        }
        let seconds = lifetime.map_or(0, |lifetime| u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX));
        Ok(Writer::new(Class::Success, message.method, &message.transaction)
            .put(attribute::LIFETIME, &seconds.to_be_bytes()))
    }

    /// RFC 8656, 10.2.
    fn create_permission(
        &mut self,
        clock: Clock,
        client: Client,
        message: &Message<'_>,
        known: &Known,
    ) -> Result<Writer, Refused> {
        let rules = self.settings.rules.clone();
        let allocation = self.own(&client, known)?;
        let peers: Option<Vec<_>> = message.addresses(attribute::XOR_PEER_ADDRESS).collect();
        let peers = peers.filter(|peers| (1..=PEERS_PER_REQUEST).contains(&peers.len())).ok_or(BAD_REQUEST)?;
        // All or none.
        for peer in &peers {
            if !allocation.has_family(peer.is_ipv4()) {
                return Err(FAMILY_MISMATCH);
            }
            if !rules.allows_ip(peer.ip()) {
                return Err(FORBIDDEN);
            }
        }
        allocation.active = clock.now;
        for peer in &peers {
            allocation.permit(clock.now, peer.ip()).map_err(refused)?;
        }
        Ok(Writer::new(Class::Success, message.method, &message.transaction))
    }

    /// RFC 8656, 12.2.
    fn channel_bind(
        &mut self,
        clock: Clock,
        client: Client,
        message: &Message<'_>,
        known: &Known,
    ) -> Result<Writer, Refused> {
        let peer = message.address(attribute::XOR_PEER_ADDRESS).ok_or(BAD_REQUEST)?;
        let allowed = self.settings.rules.allows(peer, &self.relayed);
        let allocation = self.own(&client, known)?;
        let number = message.number(attribute::CHANNEL_NUMBER).ok_or(BAD_REQUEST)? >> 16;
        let number = u16::try_from(number).ok().filter(|number| CHANNELS.contains(number)).ok_or(BAD_REQUEST)?;
        if !allocation.has_family(peer.is_ipv4()) {
            return Err(FAMILY_MISMATCH);
        }
        if !allowed {
            return Err(FORBIDDEN);
        }
        allocation.active = clock.now;
        allocation.bind(clock.now, number, peer).map_err(refused)?;
        Ok(Writer::new(Class::Success, message.method, &message.transaction))
    }
}

fn refused(no_room: NoRoom) -> Refused {
    match no_room {
        NoRoom::Full => NO_CAPACITY,
        NoRoom::Taken => BAD_REQUEST,
    }
}

/// The answer to an Allocate.
fn allocated<S>(message: &Message<'_>, client: Client, allocation: &Allocation<S>, missing: Option<Refused>) -> Writer {
    let mut writer = Writer::new(Class::Success, message.method, &message.transaction);
    for relay in allocation.relays() {
        writer = writer.put_address(attribute::XOR_RELAYED_ADDRESS, relay.address);
    }
    if let Some((code, reason)) = missing {
        let head = [FAMILY_V6, 0, u8::try_from(code / 100).unwrap_or(5), u8::try_from(code % 100).unwrap_or(0)];
        writer = writer.put(attribute::ADDRESS_ERROR_CODE, &[&head, reason.as_bytes()].concat());
    }
    let seconds = lifetime(message).unwrap_or(LIFETIME).as_secs();
    writer
        .put(attribute::LIFETIME, &u32::try_from(seconds).unwrap_or(u32::MAX).to_be_bytes())
        .put_address(attribute::XOR_MAPPED_ADDRESS, client.from)
}

/// The life that is asked for, within bounds.
fn lifetime(message: &Message<'_>) -> Option<Duration> {
    let seconds = message.number(attribute::LIFETIME)?;
    Some(Duration::from_secs(seconds.into()).clamp(LIFETIME, LIFETIME_MAX))
}

/// Whether a family attribute says IPv4.
fn family(value: &[u8]) -> Result<bool, Refused> {
    match value {
        [FAMILY_V4, _, _, _] => Ok(true),
        [FAMILY_V6, _, _, _] => Ok(false),
        [_, _, _, _] => Err(FAMILY_UNSUPPORTED),
        _ => Err(BAD_REQUEST),
    }
}

fn wanted(message: &Message<'_>) -> Result<Wanted, Refused> {
    let one = message.get(attribute::REQUESTED_ADDRESS_FAMILY);
    let more = message.get(attribute::ADDITIONAL_ADDRESS_FAMILY);
    match (one, more) {
        (None, None) => Ok(Wanted { v4: true, v6: false, additional: false }),
        (Some(value), None) => {
            let v4 = family(value)?;
            Ok(Wanted { v4, v6: !v4, additional: false })
        }
        (None, Some(value)) if !family(value)? => Ok(Wanted { v4: true, v6: true, additional: true }),
        _ => Err(BAD_REQUEST),
    }
}

/// Attributes that must be understood and are not, as UNKNOWN-ATTRIBUTES lists them.
fn unknown_attributes(message: &Message<'_>) -> Vec<u8> {
    let known = |kind| {
        use attribute as a;
        matches!(
            kind,
            a::USERNAME
                | a::MESSAGE_INTEGRITY
                | a::CHANNEL_NUMBER
                | a::LIFETIME
                | a::XOR_PEER_ADDRESS
                | a::DATA
                | a::REALM
                | a::NONCE
                | a::REQUESTED_ADDRESS_FAMILY
                | a::EVEN_PORT
                | a::REQUESTED_TRANSPORT
        )
    };
    let unknown = message.attributes().filter(|(kind, _)| *kind < 0x8000 && !known(*kind));
    unknown.take(8).flat_map(|(kind, _)| kind.to_be_bytes()).collect()
}

/// A client's Data indication around a peer's packet.
pub(crate) fn data_indication(buffer: Vec<u8>, peer: std::net::SocketAddr, payload: &[u8]) -> Vec<u8> {
    // Indications have no response: any transaction id does.
    Writer::into(buffer, Class::Indication, method::DATA, &[0; 12])
        .put_address(attribute::XOR_PEER_ADDRESS, peer)
        .put(attribute::DATA, payload)
        .finish(None, false)
}
