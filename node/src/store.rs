//! What the node keeps from run to run: friends, requests, blocks, calls, history, settings, peers, sequences.
//!
//! Everything lies sealed under the store key, and the names of entries are keyed hashes: who your friends are is a
//! secret on a stolen disk too (`specs/07-storage.md`). The engine is sled; because sled 0.34 is known to refuse
//! opening after an unlucky kill, what cannot be rebuilt (see [`Tree::is_precious`]) is also written to a small sealed
//! snapshot file at each change, and opening falls back to that and says so.
//!
//! **Flush policy**: when [`Store::apply`] returns `Ok`, all its changes are on the disk (fsync), in order, and a batch
//! is there as a whole or not at all. Nothing is written later in the background. [`Keeper`] does the waiting on a
//! thread of its own and puts batches that arrive meanwhile into one.
//!
//! **When the disk fails** the store keeps the changes in memory, answers reads from there, and tries the disk again
//! with the next change: the node goes on, and [`Store::trouble`] says what a person should know.

mod collection;
mod entry;
mod keeper;
mod log;
mod migrations;
mod mirror;
mod opening;
mod snapshot;
#[cfg(test)]
mod tests;
mod vault;

use std::io;
use std::path::PathBuf;

use twocan_protocol::sealed::SealError;
use zeroize::Zeroizing;

pub use collection::{All, Collection};
pub use keeper::Keeper;
pub use opening::Opened;
pub use vault::Vault;

/// Version of the store's layout, in the file `format`.
pub const FORMAT: u32 = 1;
/// Longest key of an entry in bytes. The longest in use is a root key of 32.
pub const MAX_KEY: usize = 256;
/// Longest record in bytes, before sealing. The largest in use, a friend with grant, is below 1 kB.
pub const MAX_RECORD: usize = 64 * 1024;
/// Most changes in one batch: a restore of a full backup fits.
pub const MAX_BATCH: usize = 16 * 1024;

/// A kind of records. The byte is part of every entry on the disk and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tree {
    /// Friends, and those asked.
    Friends = 1,
    /// What strangers asked.
    Requests = 2,
    /// Who is blocked.
    Blocks = 3,
    /// Calls that go on, for a node that restarts.
    Calls = 4,
    /// Calls that are over.
    History = 5,
    /// Own settings and secrets: profile, contact token, presence key, boot id.
    Settings = 6,
    /// Addresses of nodes seen before.
    Peers = 7,
    /// Sequences of published records.
    Sequences = 8,
    /// Conversations with friends.
    Chats = 9,
    /// Their lines.
    Lines = 10,
    /// Pictures of friends.
    Pictures = 11,
    /// Files on their way, and those that were.
    Files = 12,
}

/// What a full tree does with one more entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuses it ([`Error::Full`]).
    Refuse,
    /// Forgets the one that was written longest ago.
    ForgetOldest,
}

impl Tree {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Friends,
        Self::Requests,
        Self::Blocks,
        Self::Calls,
        Self::History,
        Self::Settings,
        Self::Peers,
        Self::Sequences,
        Self::Chats,
        Self::Lines,
        Self::Pictures,
        Self::Files,
    ];

    /// The name in texts and in exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Friends => "friends",
            Self::Requests => "requests",
            Self::Blocks => "blocks",
            Self::Calls => "calls",
            Self::History => "history",
            Self::Settings => "settings",
            Self::Peers => "peers",
            Self::Sequences => "sequences",
            Self::Chats => "chats",
            Self::Lines => "lines",
            Self::Pictures => "pictures",
            Self::Files => "files",
        }
    }

    /// Whether it cannot be rebuilt from the network, and so stands in the snapshot and in backups, too.
    pub fn is_precious(self) -> bool {
        matches!(self, Self::Friends | Self::Requests | Self::Blocks | Self::Settings)
    }

    /// Most entries. A person has some hundred friends; the rest follows from what 20 MB of node memory allow.
    pub fn limit(self) -> usize {
        match self {
            Self::Friends | Self::History | Self::Chats => 1000,
            Self::Lines => 40_000,
            Self::Requests => 200,
            Self::Blocks => 5000,
            Self::Calls => 32,
            Self::Settings => 256,
            Self::Peers | Self::Pictures | Self::Files => 512,
            Self::Sequences => 4096,
        }
    }

    /// What happens beyond the limit.
    pub fn when_full(self) -> WhenFull {
        match self {
            Self::Friends | Self::Requests | Self::Blocks | Self::Calls | Self::Settings => WhenFull::Refuse,
            Self::History
            | Self::Peers
            | Self::Sequences
            | Self::Chats
            | Self::Lines
            | Self::Pictures
            | Self::Files => WhenFull::ForgetOldest,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tree| *tree as u8 == byte)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tree| tree.name() == name)
    }
}

/// One entry, opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key, as the writer chose it.
    pub key: Vec<u8>,
    /// Version of the record's shape, as the writer numbers it.
    pub version: u16,
    /// The record, in CBOR.
    pub record: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry(version {}, {} bytes)", self.version, self.record.len())
    }
}

/// One change of a batch.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes an entry, new or over the old one.
    Put(Tree, Entry),
    /// Removes one, if it is there.
    Remove(Tree, Vec<u8>),
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Put(tree, entry) => write!(f, "Put({}, {entry:?})", tree.name()),
            Self::Remove(tree, _) => write!(f, "Remove({})", tree.name()),
        }
    }
}

/// Where entries are kept. Calls may wait for the disk: use [`Keeper`] from async code.
pub trait Store: Send + Sync + 'static {
    /// One entry.
    ///
    /// # Errors
    /// [`Error::Sealed`] if it was changed on the disk.
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error>;

    /// All entries of a tree, the one written longest ago first. Those that do not open are left out and stay.
    fn all(&self, tree: Tree) -> Vec<Entry>;

    /// Carries out all changes or none, and returns when they are on the disk.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::TooLarge`] before anything is changed. [`Error::Disk`] if the changes are kept in
    /// memory only, for now.
    fn apply(&self, changes: Vec<Change>) -> Result<(), Error>;

    /// What is wrong with the disk at present, in one sentence for the person.
    fn trouble(&self) -> Option<String>;
}

/// Why the store cannot do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tree is full.
    #[error("no more than {} {} can be kept", .0.limit(), .0.name())]
    Full(Tree),
    /// A key, record or batch is beyond its bound.
    #[error("a {0} is too large to be kept")]
    TooLarge(&'static str),
    /// A record cannot be written or read as CBOR.
    #[error("a record cannot be {0}")]
    Record(&'static str),
    /// An entry was changed on the disk.
    #[error("an entry of {tree} does not open: {source}", tree = .0.name(), source = .1)]
    Sealed(Tree, SealError),
    /// The disk refuses. The change is kept in memory and written with the next one that succeeds.
    #[error("the store cannot be written: {0}; free some space, or look at the rights of the home folder")]
    Disk(String),
    /// The folder or a file in it cannot be used at all.
    #[error("the store {} cannot be used: {action} failed: {source}", .path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("the store {} is in use by another twocand", .0.display())]
    InUse(PathBuf),
    /// Written by a later version of the program; nothing was touched.
    #[error("the store has format {found}, this twocan knows up to {FORMAT}: update twocan (nothing was changed)")]
    Newer {
        /// The format found.
        found: u32,
    },
    /// Written by a version that no migration leads from; nothing was touched.
    #[error(
        "the store has format {found}, which this twocan no longer reads: start an older twocan once (nothing was changed)"
    )]
    Older {
        /// The format found.
        found: u32,
    },
    /// Neither sled nor the snapshot opens under this key.
    #[error(
        "the store does not belong to this key file; put the right key file back, or move the folder `store` away to start without it"
    )]
    WrongKey,
    /// Neither sled nor the snapshot can be read.
    #[error(
        "the store is damaged and its snapshot too ({0}); restore a backup with `twocan restore`, or move the folder `store` away to start without it"
    )]
    Damaged(String),
    /// The thread that writes is gone.
    #[error("the store is closed")]
    Closed,
}
