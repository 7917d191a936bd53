//! What the service keeps, and how it comes back at the next start.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use twocan_protocol::address::ContactToken;
use twocan_protocol::call::{CallRecord, HistoryRecord};
use twocan_protocol::chat::{ChatRecord, LineRecord};
use twocan_protocol::files::TransferRecord;
use twocan_protocol::friend::{BookRecord, FriendRecord, RequestRecord};
use twocan_protocol::identity::{Certificate, DevicePublic, PeerId, RootPublic};
use twocan_protocol::rendezvous::PresenceKey;
use twocan_protocol::wire::{CallId, Id, MAX_HOSTS, few_hosts};

use super::pictures::{PictureRecord, Pictures};
use super::relay::RelayRecord;
use super::settings::SettingsRecord;
use crate::store::{Change, Collection, Error, Keeper, Store, Tree, Vault};

/// Version of all records below.
const VERSION: u16 = 1;
/// DHT nodes that are remembered for the next start.
pub(super) const DHT_PEERS: usize = 32;
/// Addresses that are remembered of one friend.
pub(super) const FRIEND_ADDRESSES: usize = 8;

/// The contact token in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) token: ContactToken,
    /// When it was made (Unix ms); none for the one derived from the phrase.
    #[serde(default)]
    pub(super) rotated_ms: Option<u64>,
}

/// Where a friend's node was reached last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Whereabouts {
    /// The friend's certificate (encoded), for the device key.
    #[serde(with = "serde_bytes")]
    pub(super) certificate: Vec<u8>,
    /// Multiaddr texts, latest first.
    pub(super) addresses: Vec<String>,
    /// Name of the friend's node in the swarm, by its own word.
    #[serde(default, with = "serde_bytes")]
    pub(super) peer: Vec<u8>,
    /// Where the friend's node is, by its own word over the link.
    #[serde(default)]
    pub(super) told: Vec<String>,
    /// Through which relays, by its own word.
    #[serde(default)]
    pub(super) relayed: Vec<String>,
}

impl Whereabouts {
    /// The key of the friend's device, for the handshake.
    pub(super) fn device(&self) -> Option<DevicePublic> {
        Certificate::decode(&self.certificate).ok().map(|certificate| certificate.device)
    }

    /// Name of the friend's node in the swarm.
    pub(super) fn peer(&self) -> Option<PeerId> {
        PeerId::from_bytes(&self.peer).ok()
    }

    /// Addresses to dial, the friend's own word first, of few machines.
    pub(super) fn to_dial(&self) -> Vec<String> {
        let mut addresses = few_hosts(self.told.iter().chain(&self.addresses).map(String::as_str), MAX_HOSTS);
        addresses.truncate(crate::swarm::MAX_DIAL_ADDRESSES);
        addresses
    }
}

/// Ports that are kept across restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// QUIC of the swarm.
    #[serde(default)]
    pub quic: u16,
    /// TCP of the swarm.
    #[serde(default)]
    pub tcp: u16,
    /// All calls.
    #[serde(default)]
    pub media: u16,
}

/// Everything that was kept.
pub(super) struct Kept {
    pub(super) book: BookRecord,
    pub(super) friends: Vec<FriendRecord>,
    pub(super) requests: Vec<RequestRecord>,
    pub(super) calls: Vec<CallRecord>,
    pub(super) history: Vec<HistoryRecord>,
    pub(super) history_seen_ms: u64,
    pub(super) settings: SettingsRecord,
    pub(super) chats: Vec<ChatRecord>,
    pub(super) lines: Vec<LineRecord>,
    pub(super) files: Vec<TransferRecord>,
    pub(super) pictures: Pictures,
    pub(super) whereabouts: Vec<(RootPublic, Whereabouts)>,
    pub(super) presence: Option<PresenceKey>,
    pub(super) token: Option<TokenRecord>,
}

/// Typed access to the store.
pub struct Records {
    friends: Collection<FriendRecord>,
    requests: Collection<RequestRecord>,
    calls: Collection<CallRecord>,
    history: Collection<HistoryRecord>,
    whereabouts: Collection<Whereabouts>,
    book: Collection<BookRecord>,
    presence: Collection<PresenceKey>,
    token: Collection<TokenRecord>,
    numbers: Collection<u64>,
    ports: Collection<Ports>,
    dht: Collection<Vec<String>>,
    relay: Collection<RelayRecord>,
    settings: Collection<SettingsRecord>,
    chats: Collection<ChatRecord>,
    lines: Collection<LineRecord>,
    picture: Collection<PictureRecord>,
    pictures: Collection<PictureRecord>,
    files: Collection<TransferRecord>,
    vault: Arc<Vault>,
    keeper: Keeper,
}

impl Records {
    /// Records in a store that is open.
    ///
    /// # Errors
    /// If the system has no thread for the writer.
    pub fn new(vault: Vault) -> std::io::Result<Self> {
        fn of<T: Serialize + for<'de> Deserialize<'de>>(store: &Arc<dyn Store>, tree: Tree) -> Collection<T> {
            Collection::new(Arc::clone(store), tree, VERSION)
        }
        let vault = Arc::new(vault);
        let store: Arc<dyn Store> = vault.clone();
        Ok(Self {
            friends: of(&store, Tree::Friends),
            requests: of(&store, Tree::Requests),
            calls: of(&store, Tree::Calls),
            history: of(&store, Tree::History),
            whereabouts: of(&store, Tree::Peers),
            book: of(&store, Tree::Settings),
            presence: of(&store, Tree::Settings),
            token: of(&store, Tree::Settings),
            numbers: of(&store, Tree::Settings),
            ports: of(&store, Tree::Settings),
            dht: of(&store, Tree::Peers),
            relay: of(&store, Tree::Settings),
            settings: of(&store, Tree::Settings),
            chats: of(&store, Tree::Chats),
            lines: of(&store, Tree::Lines),
            picture: of(&store, Tree::Settings),
            pictures: of(&store, Tree::Pictures),
            files: of(&store, Tree::Files),
            keeper: Keeper::start(store)?,
            vault,
        })
    }

    /// The number of this start: greater than that of every start before, and than the clock.
    ///
    /// # Errors
    /// If it cannot be written: a boot id that is used twice would confuse friends.
    pub fn next_boot(&self, unix_ms: u64) -> Result<u64, Error> {
        let last = self.numbers.get(b"boot").ok().flatten().unwrap_or(0);
        let boot = unix_ms.max(last.saturating_add(1));
        self.numbers.put(b"boot", &boot)?;
        Ok(boot)
    }

    /// The ports used last.
    pub fn ports(&self) -> Ports {
        self.ports.get(b"ports").ok().flatten().unwrap_or_default()
    }

    /// Remembers the ports in use.
    pub fn set_ports(&self, ports: Ports) {
        if self.ports() != ports {
            self.later(self.ports.change(b"ports", &ports));
        }
    }

    /// Certificate and policy of the own relay.
    pub(super) fn relay(&self) -> RelayRecord {
        self.relay.get(b"relay").ok().flatten().unwrap_or_default()
    }

    /// Keeps certificate and policy of the own relay.
    pub(super) fn set_relay(&self, record: &RelayRecord) {
        self.later(self.relay.change(b"relay", record));
    }

    /// DHT nodes of the last run.
    pub fn dht_peers(&self) -> Vec<String> {
        self.dht.get(b"dht").ok().flatten().unwrap_or_default()
    }

    /// What is wrong with the disk at present.
    pub(super) fn trouble(&self) -> Option<String> {
        self.vault.trouble()
    }

    pub(super) fn load(&self) -> Kept {
        let whereabouts = self.whereabouts.all().records.into_iter().filter_map(|(key, record)| {
            let root = RootPublic::from_bytes(key.as_slice().try_into().ok()?).ok()?;
            Some((root, record))
        });
        Kept {
            book: self.book.get(b"book").ok().flatten().unwrap_or_default(),
            friends: self.friends.all().records.into_iter().map(|(_, record)| record).collect(),
            requests: self.requests.all().records.into_iter().map(|(_, record)| record).collect(),
            calls: self.calls.all().records.into_iter().map(|(_, record)| record).collect(),
            history: self.history.all().records.into_iter().map(|(_, record)| record).collect(),
            history_seen_ms: self.numbers.get(b"history seen").ok().flatten().unwrap_or(0),
            settings: self.settings.get(b"settings").ok().flatten().unwrap_or_default(),
            chats: self.chats.all().records.into_iter().map(|(_, record)| record).collect(),
            lines: self.lines.all().records.into_iter().map(|(_, record)| record).collect(),
            files: self.files.all().records.into_iter().map(|(_, record)| record).collect(),
            pictures: Pictures::new(
                self.picture.get(b"picture").ok().flatten().unwrap_or_default(),
                self.pictures.all().records,
            ),
            whereabouts: whereabouts.collect(),
            presence: self.presence.get(b"presence").ok().flatten(),
            token: self.token.get(b"token").ok().flatten(),
        }
    }

    /// Writes changes and returns when they are on the disk (or, on a broken disk, kept in memory and told by
    /// [`Records::trouble`]). Blocks for some milliseconds: for what must be there before a word of it leaves.
    pub(super) fn now(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let written = tokio::task::block_in_place(|| self.vault.apply(changes));
        if let Err(error) = written {
            tracing::error!("{error}");
        }
    }

    /// Writes a change some time soon.
    fn later(&self, change: Result<Change, Error>) {
        match change {
            Ok(change) => drop(tokio::spawn(log_failure(self.keeper.apply(vec![change])))),
            Err(error) => tracing::error!("{error}"),
        }
    }

    pub(super) fn friend(&self, record: &FriendRecord) -> Option<Change> {
        kept(self.friends.change(record.root.as_bytes(), record))
    }

    pub(super) fn forget_friend(&self, root: &RootPublic) -> [Change; 2] {
        [self.friends.removal(root.as_bytes()), self.whereabouts.removal(root.as_bytes())]
    }

    pub(super) fn request(&self, record: &RequestRecord) -> Option<Change> {
        kept(self.requests.change(record.root.as_bytes(), record))
    }

    pub(super) fn forget_request(&self, root: &RootPublic) -> Change {
        self.requests.removal(root.as_bytes())
    }

    pub(super) fn book(&self, record: &BookRecord) -> Option<Change> {
        kept(self.book.change(b"book", record))
    }

    pub(super) fn presence(&self, key: &PresenceKey) -> Option<Change> {
        kept(self.presence.change(b"presence", key))
    }

    pub(super) fn token(&self, record: &TokenRecord) -> Option<Change> {
        kept(self.token.change(b"token", record))
    }

    pub(super) fn call(&self, record: &CallRecord) {
        self.later(self.calls.change(&record.id.0, record));
    }

    pub(super) fn forget_call(&self, id: &CallId) {
        self.later(Ok(self.calls.removal(&id.0)));
    }

    pub(super) fn history(&self, record: &HistoryRecord) {
        self.later(self.history.change(&record.id.0, record));
    }

    /// A conversation, and a new line of it.
    pub(super) fn chat(&self, record: &ChatRecord, line: Option<&LineRecord>) -> Vec<Change> {
        let line = line.and_then(|line| kept(self.lines.change(&line_key(&line.friend, line.place), line)));
        line.into_iter().chain(kept(self.chats.change(record.friend.as_bytes(), record))).collect()
    }

    /// Has changes written in their turn; the answer says when they are on the disk.
    pub(super) fn write(&self, changes: Vec<Change>) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        self.keeper.apply(changes)
    }

    /// A line of a conversation.
    pub(super) fn line(&self, friend: &RootPublic, place: u64) -> Option<LineRecord> {
        self.lines.get(&line_key(friend, place)).ok().flatten()
    }

    /// Forgets lines; the answer comes when they are gone from the disk.
    pub(super) fn forget_lines(&self, friend: &RootPublic, places: &[u64]) -> oneshot::Receiver<()> {
        self.gone(places.iter().map(|place| self.lines.removal(&line_key(friend, *place))).collect())
    }

    /// Forgets a conversation; the answer comes when it is gone from the disk.
    pub(super) fn forget_chat(&self, friend: &RootPublic) -> oneshot::Receiver<()> {
        self.gone(vec![self.chats.removal(friend.as_bytes())])
    }

    fn gone(&self, changes: Vec<Change>) -> oneshot::Receiver<()> {
        let write = self.keeper.apply(changes);
        let (done, gone) = oneshot::channel();
        tokio::spawn(async move {
            log_failure(write).await;
            // Nobody may wait for it.
            let _ = done.send(());
        });
        gone
    }

    /// The own picture.
    pub(super) fn picture(&self, record: &PictureRecord) -> Option<Change> {
        kept(self.picture.change(b"picture", record))
    }

    /// A friend's picture.
    pub(super) fn friend_picture(&self, friend: &RootPublic) -> Option<PictureRecord> {
        self.pictures.get(friend.as_bytes()).ok().flatten()
    }

    /// Keeps a friend's picture, or forgets it.
    pub(super) fn set_friend_picture(&self, friend: &RootPublic, record: Option<&PictureRecord>) {
        self.later(match record {
            Some(record) => self.pictures.change(friend.as_bytes(), record),
            None => Ok(self.pictures.removal(friend.as_bytes())),
        });
    }

    pub(super) fn file(&self, record: &TransferRecord) {
        self.later(self.files.change(&record.id.0, record));
    }

    pub(super) fn forget_file(&self, id: &Id) {
        self.later(Ok(self.files.removal(&id.0)));
    }

    pub(super) fn forget_history(&self, entries: &[HistoryRecord]) {
        let changes = entries.iter().map(|entry| self.history.removal(&entry.id.0)).collect();
        drop(tokio::spawn(log_failure(self.keeper.apply(changes))));
    }

    pub(super) fn set_history_seen(&self, unix_ms: u64) {
        self.later(self.numbers.change(b"history seen", &unix_ms));
    }

    pub(super) fn settings(&self, record: &SettingsRecord) -> Option<Change> {
        kept(self.settings.change(b"settings", record))
    }

    pub(super) fn whereabouts(&self, root: &RootPublic, record: &Whereabouts) {
        self.later(self.whereabouts.change(root.as_bytes(), record));
    }

    pub(super) fn set_dht_peers(&self, addresses: &Vec<String>) {
        self.later(self.dht.change(b"dht", addresses));
    }

    /// The store itself, for a backup.
    pub(super) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault)
    }
}

async fn log_failure(write: impl Future<Output = Result<(), Error>>) {
    if let Err(error) = write.await {
        tracing::error!("{error}");
    }
}

fn kept(change: Result<Change, Error>) -> Option<Change> {
    change.inspect_err(|error| tracing::error!("{error}")).ok()
}

/// The key of a line: whose conversation, and its place.
fn line_key(friend: &RootPublic, place: u64) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(friend.as_bytes());
    key[32..].copy_from_slice(&place.to_be_bytes());
    key
}
