//! The TURN server (RFC 8656) as a state machine: packets in, at most one packet out for each.
//!
//! It speaks the profile of `specs/08-relay.md`: UDP allocations of IPv4, IPv6 or both; long-term credentials that were
//! handed out one by one ([`Core::issue`]); stateless nonces. Whoever shows no good credential costs no memory and gets
//! few answers. What the owner's friends use is counted per friend.

mod allocation;
mod requests;
mod today;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use twocan_protocol::identity::RootPublic;

use super::auth::{Key, Nonces, REALM};
use super::codec::{self, Class, Message, attribute, method};
use super::peers::PeerRules;
use super::quota::{Answers, Bounds, Clock, Meter};
use allocation::Allocation;
pub(crate) use requests::data_indication;
pub use today::DayUse;

/// An unused credential is good for this long. Nodes keep one ready and renew it before.
pub(crate) const CREDENTIAL_LIFE: Duration = Duration::from_secs(3600);
/// A credential that was used is good for this long after its last allocation is gone: an address change in a call.
const CREDENTIAL_REST: Duration = Duration::from_secs(600);
/// The credential of a friend's partner ends after this time though it is in use: it is for one call. A longer one goes on
/// over the friend's own allocation.
pub(crate) const PARTNER_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Credentials of one account; the oldest unused one goes. A call takes two, and some calls may begin at once.
const CREDENTIALS: usize = 64;
/// Accounts of nodes that are no friends, in a day.
const GUESTS: usize = 256;
/// Allocations by one credential: UDP, TLS, another family, and after an address change; then the idlest one goes.
const ALLOCATIONS_PER_USER: usize = 4;
/// A friend gets at most this part of the whole.
const FRIENDS_PART: u32 = 4;
/// All guests together, and then each of them, get at most this part.
const GUESTS_PART: u32 = 4;

/// Who pays for what is relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    /// A friend, with the partners that the friend brings.
    Friend(RootPublic),
    /// Another node, where the owner serves anyone: a number made of its source address.
    Guest(u64),
}

/// Who sends: address, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) from: SocketAddr,
    pub(crate) via: Via,
}

/// What a client's packets come over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Via {
    /// The UDP port.
    Udp,
    /// A TLS connection, by its number.
    Stream(u64),
}

/// Opens sockets for allocations. Dropping all clones of one closes it.
pub(crate) trait Ports {
    /// A socket.
    type Socket: Clone;

    /// Binds a socket on this address of the machine, for the allocation of this number, with an even port if asked for.
    /// `None` if no such port is free.
    fn open(&mut self, ip: IpAddr, even: bool, client: Client, allocation: u64) -> Option<(Self::Socket, SocketAddr)>;
}

/// What to do with a packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<'a, S> {
    /// It is dropped.
    Nothing,
    /// This goes back to the client.
    Reply(Vec<u8>),
    /// Its payload goes to a peer.
    Relay { socket: S, peer: SocketAddr, payload: &'a [u8] },
}

/// How a packet of a peer goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrap {
    /// As ChannelData of this number.
    Channel(u16),
    /// As a Data indication.
    Indication,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// STUN binding requests answered.
    pub(crate) bindings: u64,
    /// Requests that showed no good credential.
    pub(crate) unauthorized: u64,
    /// Of these, with a credential that is wrong, has ended, or was taken back.
    pub(crate) wrong: u64,
    /// Of these, without an answer: too many came from one network.
    pub(crate) unanswered: u64,
    /// Packets dropped for a quota.
    pub(crate) over_quota: u64,
    /// Packets from or for a peer without a permission.
    pub(crate) unpermitted: u64,
}

/// Settings of the core.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Addresses that relayed packets leave from.
    pub(crate) v4: Option<IpAddr>,
    /// Addresses that relayed packets leave from.
    pub(crate) v6: Option<IpAddr>,
    /// To whom.
    pub(crate) rules: PeerRules,
    /// How much, in total.
    pub(crate) bounds: Bounds,
    /// Whether new allocations are made for friends.
    pub(crate) friends: bool,
    /// Whether new allocations are made for guests.
    pub(crate) guests: bool,
}

struct User {
    account: Account,
    key: Key,
    expires: Instant,
    /// Nothing is granted after this, though it is in use.
    ends: Option<Instant>,
    allocations: usize,
    used: bool,
}

struct Books {
    meter: Meter,
    allocations: u32,
    /// Oldest first.
    users: VecDeque<String>,
}

/// What one account uses, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountUse {
    pub(crate) account: Account,
    pub(crate) allocations: u32,
    pub(crate) bytes_per_second: u64,
    pub(crate) bytes_today: u64,
}

/// The server. `S` is a socket of an allocation.
pub(crate) struct Core<S> {
    settings: Settings,
    nonces: Nonces,
    answers: Answers,
    users: HashMap<String, User>,
    accounts: BTreeMap<Account, Books>,
    allocations: HashMap<Client, Allocation<S>>,
    /// The relayed addresses of all of them.
    relayed: HashSet<SocketAddr>,
    allocated: u32,
    last_allocation: u64,
    total: Meter,
    guests: Meter,
    counters: Counters,
}

impl<S> std::fmt::Debug for Core<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("users", &self.users.len())
            .field("allocations", &self.allocations.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<S: Clone> Core<S> {
    /// A server without users. `secret` keys the nonces.
    pub(crate) fn new(clock: Clock, settings: Settings, secret: &[u8; 32]) -> Self {
        Self {
            nonces: Nonces::new(clock.now, secret),
            answers: Answers::new(clock.now),
            users: HashMap::new(),
            accounts: BTreeMap::new(),
            allocations: HashMap::new(),
            relayed: HashSet::new(),
            allocated: 0,
            last_allocation: 0,
            total: Meter::new(clock, settings.bounds),
            guests: Meter::new(clock, settings.bounds.part(GUESTS_PART)),
            counters: Counters::default(),
            settings,
        }
    }

    /// Changes the settings. Allocations of those who are not served any more end, and those on addresses that are gone.
    pub(crate) fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        let over: Vec<Client> = self
            .allocations
            .iter()
            .filter(|(_, allocation)| {
                !self.serves(allocation.account) || !allocation.stands_on(self.settings.v4, self.settings.v6)
            })
            .map(|(client, _)| *client)
            .collect();
        for client in over {
            self.release(&client);
        }
    }

    fn serves(&self, account: Account) -> bool {
        match account {
            Account::Friend(_) => self.settings.friends,
            Account::Guest(_) => self.settings.guests,
        }
    }

    /// Lets a credential in, that ends after this time even in use if one is given. `false` if this account is not served, or there are too many of its kind.
    pub(crate) fn issue(
        &mut self,
        clock: Clock,
        account: Account,
        user: String,
        password: &str,
        life: Option<Duration>,
    ) -> bool {
        let guests = self.accounts.keys().filter(|account| matches!(account, Account::Guest(_))).count();
        let full = matches!(account, Account::Guest(_)) && guests >= GUESTS && !self.accounts.contains_key(&account);
        if !self.serves(account) || full {
            return false;
        }
        let bounds = self.bounds_of(account);
        let books = self.accounts.entry(account).or_insert_with(|| Books {
            meter: Meter::new(clock, bounds),
            allocations: 0,
            users: VecDeque::new(),
        });
        if books.users.len() >= CREDENTIALS {
            let unused = books.users.iter().position(|user| self.users.get(user).is_none_or(|user| !user.used));
            let Some(old) = unused.and_then(|place| books.users.remove(place)) else { return false };
            self.users.remove(&old);
        }
        books.users.push_back(user.clone());
        let key = Key::long_term(&user, REALM, password);
        let expires = clock.now + CREDENTIAL_LIFE;
        let ends = life.map(|life| clock.now + life);
        self.users.insert(user, User { account, key, expires, ends, allocations: 0, used: false });
        true
    }

    /// Ends all credentials and allocations of an account. What it used today stays counted.
    pub(crate) fn revoke(&mut self, account: Account) {
        let over: Vec<Client> =
            self.allocations.iter().filter(|(_, one)| one.account == account).map(|(client, _)| *client).collect();
        for client in over {
            self.release(&client);
        }
        if let Some(books) = self.accounts.get_mut(&account) {
            for user in books.users.drain(..) {
                self.users.remove(&user);
            }
        }
    }

    /// Ends what came over a TLS connection that is gone.
    pub(crate) fn closed(&mut self, client: &Client) {
        self.release(client);
    }

    /// Whether this client has an allocation.
    pub(crate) fn knows(&self, client: &Client) -> bool {
        self.allocations.contains_key(client)
    }

    /// What is used, by account.
    pub(crate) fn uses(&mut self, clock: Clock) -> Vec<AccountUse> {
        let uses = self.accounts.iter_mut().map(|(account, books)| {
            let (bytes_per_second, bytes_today) = books.meter.used(clock);
            AccountUse { account: *account, allocations: books.allocations, bytes_per_second, bytes_today }
        });
        uses.collect()
    }

    /// Bytes in about the last second and since midnight (UTC), in total; and the allocations.
    pub(crate) fn total(&mut self, clock: Clock) -> (u32, u64, u64) {
        let (rate, today) = self.total.used(clock);
        (self.allocated, rate, today)
    }

    /// What was counted.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    fn bounds_of(&self, account: Account) -> Bounds {
        match account {
            Account::Friend(_) => self.settings.bounds.part(FRIENDS_PART),
            Account::Guest(_) => self.settings.bounds.part(GUESTS_PART).part(GUESTS_PART),
        }
    }

    /// When [`Self::handle_timeout`] has something to do, at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let allocations = self.allocations.values().map(Allocation::next_expiry);
        let users = self.users.values().filter(|user| user.allocations == 0).map(|user| user.expires);
        allocations.chain(users).min()
    }

    /// Ends what has run out.
    pub(crate) fn handle_timeout(&mut self, clock: Clock) {
        let over: Vec<Client> = self
            .allocations
            .iter_mut()
            .filter_map(|(client, allocation)| allocation.expire(clock.now).then_some(*client))
            .collect();
        for client in over {
            self.release(&client);
        }
        self.count_relayed();
        let Self { users, accounts, .. } = self;
        users.retain(|name, user| {
            let stays = user.allocations > 0 || user.expires > clock.now;
            if !stays && let Some(books) = accounts.get_mut(&user.account) {
                books.users.retain(|user| user != name);
            }
            stays
        });
        // What an account has used today is remembered; one that has used nothing costs nothing.
        accounts
            .retain(|_, books| books.allocations > 0 || !books.users.is_empty() || books.meter.used(clock) != (0, 0));
    }

    /// Notes the relayed addresses anew, after an allocation came, changed or went.
    fn count_relayed(&mut self) {
        let relays = self.allocations.values().flat_map(Allocation::relays);
        self.relayed = relays.map(|relay| relay.address).collect();
    }

    fn release(&mut self, client: &Client) {
        let Some(allocation) = self.allocations.remove(client) else { return };
        self.allocated = self.allocated.saturating_sub(1);
        self.count_relayed();
        if let Some(books) = self.accounts.get_mut(&allocation.account) {
            books.allocations = books.allocations.saturating_sub(1);
        }
        if let Some(user) = self.users.get_mut(&allocation.user) {
            user.allocations = user.allocations.saturating_sub(1);
            user.expires = user.expires.max(allocation.active + CREDENTIAL_REST);
        }
    }

    /// A packet of a client.
    pub(crate) fn handle<'a, P: Ports<Socket = S>>(
        &mut self,
        clock: Clock,
        client: Client,
        packet: &'a [u8],
        ports: &mut P,
    ) -> Action<'a, S> {
        // A relay that is used through itself could be made to send packets in a circle.
        if client.via == Via::Udp && self.relayed.contains(&client.from) {
            return Action::Nothing;
        }
        if let Some((number, payload)) = codec::channel_data(packet) {
            let peer = self.allocations.get(&client).and_then(|allocation| allocation.channel(number));
            return peer.map_or(Action::Nothing, |peer| self.relay(clock, &client, peer, payload));
        }
        let Some(message) = Message::parse(packet) else { return Action::Nothing };
        match (message.class, message.method) {
            (Class::Request, _) => self.request(clock, client, &message, ports).map_or(Action::Nothing, Action::Reply),
            (Class::Indication, method::SEND) => {
                let peer = message.address(attribute::XOR_PEER_ADDRESS);
                match (peer, message.get(attribute::DATA)) {
                    (Some(peer), Some(payload)) => self.relay(clock, &client, peer, payload),
                    _ => Action::Nothing,
                }
            }
            _ => Action::Nothing,
        }
    }

    /// From a client to a peer.
    fn relay<'a>(&mut self, clock: Clock, client: &Client, peer: SocketAddr, payload: &'a [u8]) -> Action<'a, S> {
        let Some(allocation) = self.allocations.get_mut(client) else { return Action::Nothing };
        allocation.active = clock.now;
        let account = allocation.account;
        let socket = allocation.socket_to(peer.ip()).cloned();
        let permitted = allocation.permits(clock.now, peer.ip()) && self.settings.rules.allows(peer, &self.relayed);
        let Some(socket) = socket.filter(|_| permitted) else {
            self.counters.unpermitted += 1;
            return Action::Nothing;
        };
        if !self.count(clock, account, payload.len()) {
            return Action::Nothing;
        }
        Action::Relay { socket, peer, payload }
    }

    /// A packet of `length` bytes came from a peer to an allocation: whether and how it goes to the client.
    pub(crate) fn peer_sent(
        &mut self,
        clock: Clock,
        client: &Client,
        allocation: u64,
        peer: SocketAddr,
        length: usize,
    ) -> Option<Wrap> {
        let found = self.allocations.get(client).filter(|found| found.number == allocation)?;
        if !found.permits(clock.now, peer.ip()) {
            self.counters.unpermitted += 1;
            return None;
        }
        let (account, wrap) = (found.account, found.wrap(peer));
        self.count(clock, account, length).then_some(wrap)
    }

    /// Counts a packet with everybody who pays for it, if all of them can.
    fn count(&mut self, clock: Clock, account: Account, bytes: usize) -> bool {
        let (bounds, all) = (self.bounds_of(account), self.settings.bounds);
        let Some(books) = self.accounts.get_mut(&account) else { return false };
        let guest = matches!(account, Account::Guest(_));
        let fits = books.meter.allows(clock, bounds, bytes)
            && self.total.allows(clock, all, bytes)
            && (!guest || self.guests.allows(clock, all.part(GUESTS_PART), bytes));
        if !fits {
            self.counters.over_quota += 1;
            return false;
        }
        books.meter.count(clock, bytes);
        self.total.count(clock, bytes);
        if guest {
            self.guests.count(clock, bytes);
        }
        true
    }
}

#[cfg(test)]
mod tests;
