//! The store on the disk: mirror, log and snapshot together.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use super::entry::Sealer;
use super::log::Log;
use super::mirror::{Mirror, Plan};
use super::{Change, Entry, Error, MAX_KEY, MAX_RECORD, Store, Tree, opening, snapshot};

/// How long a disk that failed is left alone before sled is opened anew.
const RETRY: Duration = Duration::from_secs(5);
/// Version of an export, the first element of it.
const EXPORT: u16 = 1;

/// The store of a home.
#[derive(Debug)]
pub struct Vault {
    pub(super) dir: PathBuf,
    pub(super) sealer: Sealer,
    pub(super) state: Mutex<State>,
    /// What [`Store::trouble`] says, apart: whoever asks must not wait for a write.
    pub(super) trouble: Mutex<Option<String>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) mirror: Mirror,
    /// Counts changes; written with each of them.
    pub(super) generation: u64,
    /// Sled, unless it failed. Then everything is written to it anew once it opens again.
    pub(super) log: Option<Log>,
    pub(super) log_tried: Option<Instant>,
    pub(super) log_trouble: Option<String>,
    /// Whether the last snapshot could not be written.
    pub(super) snapshot_trouble: Option<String>,
}

impl Vault {
    /// Everything precious, opened, for a backup: CBOR `[1, [[tree, key, version, record], …]]`.
    ///
    /// # Errors
    /// [`Error::Record`] if it cannot be written as CBOR.
    pub fn export(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut lines = Vec::new();
        for tree in Tree::ALL.into_iter().filter(|tree| tree.is_precious()) {
            for entry in self.all(tree) {
                let record = ByteBuf::from(entry.record.to_vec());
                lines.push((tree.name().to_owned(), ByteBuf::from(entry.key), entry.version, record));
            }
        }
        let export = Export(EXPORT, lines);
        // Large enough at once: growing would leave copies behind.
        let size = export.1.iter().map(|line| line.1.len() + line.3.len() + 64).sum::<usize>() + 16;
        let mut out = Zeroizing::new(Vec::with_capacity(size));
        let written = ciborium::into_writer(&export, &mut *out);
        export.wipe();
        written.map_err(|_| Error::Record("written"))?;
        Ok(out)
    }

    /// The changes that bring an export back.
    ///
    /// # Errors
    /// [`Error::Newer`] for the export of a later version, [`Error::Record`] for what is no export.
    pub fn import(export: &[u8]) -> Result<Vec<Change>, Error> {
        let export: Export = ciborium::from_reader(export).map_err(|_| Error::Record("read"))?;
        if export.0 != EXPORT {
            return Err(Error::Newer { found: export.0.into() });
        }
        let mut changes = Vec::new();
        for (tree, key, version, record) in export.1 {
            let record = Zeroizing::new(record.into_vec());
            if key.len() > MAX_KEY || record.len() > MAX_RECORD {
                return Err(Error::TooLarge("record"));
            }
            // Only what an export holds: nothing else can be smuggled in with a backup.
            match Tree::from_name(&tree).filter(|tree| tree.is_precious()) {
                Some(tree) => changes.push(Change::Put(tree, Entry { key: key.into_vec(), version, record })),
                None => return Err(Error::Record("read")),
            }
        }
        Ok(changes)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is wrong with the disk at present.
    pub(super) fn note_trouble(&self, state: &State) {
        let reason = state.log_trouble.as_ref().or(state.snapshot_trouble.as_ref());
        let tell = |reason| format!("The store cannot be written ({reason}): changes are kept in memory until it can.");
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = reason.map(tell);
    }

    /// Writes the snapshot of what the mirror holds.
    pub(super) fn write_snapshot(&self, state: &mut State) {
        let precious = state.mirror.all().filter(|(tree, ..)| tree.is_precious());
        let lines = precious.map(|(tree, name, sealed)| (tree, name, &*sealed.bytes));
        let path = opening::snapshot_path(&self.dir);
        let written = snapshot::write(&path, self.sealer.store_key(), state.generation, lines);
        state.snapshot_trouble = written.err().map(|error| error.to_string());
    }

    /// Opens sled anew after a failure, and brings it up to date.
    pub(super) fn reopen(&self, state: &mut State) {
        state.log_tried = Some(Instant::now());
        match opening::renew(&self.dir, &self.sealer, state) {
            Ok(log) => {
                state.log = Some(log);
                state.log_trouble = None;
            }
            Err(reason) => state.log_trouble = Some(reason),
        }
    }

    fn write_log(&self, state: &mut State, plan: &Plan) {
        let Some(log) = &state.log else {
            if state.log_tried.is_none_or(|tried| tried.elapsed() >= RETRY) {
                self.reopen(state);
            }
            return;
        };
        let lines = plan.iter().map(|((tree, name), sealed)| (*tree, name, sealed.as_ref().map(|s| &*s.bytes)));
        if let Err(reason) = log.write(state.generation, &opening::mark(&self.sealer), lines) {
            tracing::error!(reason, "the store cannot be written; going on in memory");
            state.log = None;
            state.log_tried = Some(Instant::now());
            state.log_trouble = Some(reason);
        }
    }
}

impl Store for Vault {
    fn get(&self, tree: Tree, key: &[u8]) -> Result<Option<Entry>, Error> {
        let name = self.sealer.name(tree, key);
        let state = self.lock();
        let Some(sealed) = state.mirror.get(tree, &name) else { return Ok(None) };
        match self.sealer.open(tree, &name, &sealed.bytes) {
            Ok((_, entry)) => Ok(Some(entry)),
            Err(error) => Err(Error::Sealed(tree, error)),
        }
    }

    fn all(&self, tree: Tree) -> Vec<Entry> {
        let state = self.lock();
        let open = |(name, sealed): (&_, &super::entry::Sealed)| self.sealer.open(tree, name, &sealed.bytes).ok();
        state.mirror.tree(tree).filter_map(open).map(|(_, entry)| entry).collect()
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), Error> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let plan = state.mirror.plan(&self.sealer, &changes)?;
        if plan.is_empty() && state.log.is_some() && state.snapshot_trouble.is_none() {
            return Ok(());
        }
        state.generation += 1;
        // The mirror first: if sled has to be opened anew, it is written from there.
        state.mirror.commit(plan.clone());
        self.write_log(state, &plan);
        let precious = plan.keys().any(|(tree, _)| tree.is_precious());
        if precious || state.snapshot_trouble.is_some() {
            self.write_snapshot(state);
        }
        self.note_trouble(state);
        let all_precious = plan.keys().all(|(tree, _)| tree.is_precious());
        match (&state.log_trouble, &state.snapshot_trouble) {
            // Sled has it, or the snapshot has all of it.
            (None, _) => Ok(()),
            (Some(_), None) if all_precious => Ok(()),
            (Some(reason), _) => Err(Error::Disk(reason.clone())),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An export: its version, and tree, key, version and record of each entry.
#[derive(Serialize, Deserialize)]
struct Export(u16, Vec<(String, ByteBuf, u16, ByteBuf)>);

impl Export {
    /// Overwrites the copies of the records.
    fn wipe(self) {
        for (_, _, _, record) in self.1 {
            drop(Zeroizing::new(record.into_vec()));
        }
    }
}
