//! Files between friends: what is offered, wanted, held and over (`specs/04-link.md`, "Files").
//!
//! A pure state machine. [`Transfers`] takes what happens and the time, and gives what to do; the driver hashes, opens
//! streams, reads and writes. Both sides tell each other how transfers *stand*, whenever the link comes up and when
//! something changes, so that nothing has to arrive exactly once.

mod record;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::identity::RootPublic;
use crate::wire::{FilesMessage, Id, MAX_FILES, Reason};

pub use record::{Stage, TransferRecord};

/// Files of one friend that move here at a time; others wait for their turn.
pub const AT_A_TIME: usize = 2;
/// New offers of one friend that are looked at within an hour; beyond that they are declined, and nothing is kept of them.
pub const OFFERS_PER_HOUR: u32 = 60;
/// Transfers that are over and still listed.
pub const MAX_OVER: usize = 200;
/// Longest pause between tries to fetch a file whose stream broke.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The person offers a file. Its hash comes with [`Input::Hashed`].
    Offer {
        /// To whom.
        friend: RootPublic,
        /// A new random name.
        id: Id,
        /// Its name, without folders.
        name: String,
        /// Its size.
        size: u64,
        /// Where it is.
        path: String,
        /// When it was changed last, in a form of the driver's.
        stamp: u64,
    },
    /// The file of an offer was read, or cannot be.
    Hashed(Id, Result<[u8; 32], String>),
    /// The person wants a file, in this folder.
    Accept(Id, String),
    /// The person does not want it.
    Decline(Id),
    /// The person holds a transfer.
    Pause(Id),
    /// The person goes on with it.
    Resume(Id),
    /// The person gives it up.
    Cancel(Id),
    /// The person takes one that is over off the list.
    Forget(Id),
    /// The link to a friend is up.
    LinkUp(RootPublic),
    /// The link to a friend is down.
    LinkDown(RootPublic),
    /// A friend's node said this.
    Received(RootPublic, FilesMessage),
    /// A friend's node does not know files.
    Unsupported(RootPublic),
    /// So many bytes are there (incoming), or were handed to the stream (outgoing).
    Moved(Id, u64),
    /// An [`Output::Fetch`] came to its end.
    Fetched(Id, Fetched),
    /// A stream of an outgoing file began, or ended.
    Serving(Id, bool),
    /// An outgoing file is another one than it was, or is gone.
    SourceGone(Id),
    /// No friend any more.
    FriendGone(RootPublic),
    /// Sizes in bytes: up to which files are accepted without asking (with the folder for them), beyond which declined.
    Limits {
        /// Accepted.
        auto: u64,
        /// Declined.
        most: u64,
        /// Folder for what is accepted.
        folder: String,
    },
}

/// How a fetch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// All of it is there and right, under this path.
    Done(String),
    /// The stream broke or did not come up: try again later.
    Lost,
    /// The other side has nothing to give at present; it says why over the link.
    Closed,
    /// The hash of the whole is wrong; what had come was removed.
    Wrong,
    /// This machine cannot write it.
    Disk(String),
}

/// What the driver is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell the friend over the present connection, or forget it.
    Send(RootPublic, FilesMessage),
    /// Read the file and give [`Input::Hashed`].
    Hash(Id, String),
    /// Open a stream and fetch the rest of it; give [`Input::Fetched`].
    Fetch(TransferRecord),
    /// End a fetch, without a word.
    StopFetch(Id),
    /// End the streams of an outgoing file.
    StopServing(Id),
    /// Remove what has come of it.
    RemovePart(TransferRecord),
    /// Keep this.
    Store(TransferRecord),
    /// No longer kept.
    Forgotten(Id),
    /// It is new: show it, in the conversation, too.
    New(TransferRecord),
    /// It is another than before.
    Changed(Id),
    /// An act of the person was refused.
    Refused(Refusal),
}

/// Why an act of the person was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such transfer.
    #[error("there is no such file")]
    NoFile,
    /// Its state does not allow it.
    #[error("the file is not in a state for that")]
    State,
    /// Too many are open.
    #[error("{MAX_FILES} files are open with this friend already")]
    TooMany,
}

/// A transfer and what is not kept of it.
#[derive(Clone, Debug)]
struct Transfer {
    record: TransferRecord,
    /// A fetch runs (incoming), or so many streams (outgoing).
    running: u32,
    /// When a fetch may begin again, and how often it came to nothing.
    retry: Option<Instant>,
    failures: u32,
}

/// What is known of a friend.
#[derive(Clone, Copy, Debug, Default)]
struct Friend {
    up: bool,
    unsupported: bool,
    /// When the hour began in which offers are counted, and how many came.
    offers: Option<(Instant, u32)>,
}

/// All transfers.
#[derive(Clone, Debug, Default)]
pub struct Transfers {
    by: BTreeMap<Id, Transfer>,
    friends: BTreeMap<RootPublic, Friend>,
    auto: u64,
    most: u64,
    folder: String,
    out: Vec<Output>,
}

impl Transfers {
    /// Transfers as they were kept. Call [`Transfers::begin`] then.
    #[must_use]
    pub fn new(records: Vec<TransferRecord>) -> Self {
        let transfer = |record: TransferRecord| (record.id, Transfer { record, running: 0, retry: None, failures: 0 });
        Self { by: records.into_iter().map(transfer).collect(), ..Self::default() }
    }

    /// What is to be done at a start: files are hashed that were not.
    #[must_use]
    pub fn begin(&self) -> Vec<Output> {
        let preparing = self.by.values().filter(|transfer| transfer.record.stage == Stage::Preparing);
        preparing.map(|transfer| Output::Hash(transfer.record.id, transfer.record.path.clone())).collect()
    }

    /// Takes what happened at `now` (`unix_ms` on the wall clock); returns what to do, in order.
    pub fn handle(&mut self, now: Instant, unix_ms: u64, input: Input) -> Vec<Output> {
        match input {
            Input::Offer { friend, id, name, size, path, stamp } => {
                if self.open(&friend, true) >= MAX_FILES {
                    return vec![Output::Refused(Refusal::TooMany)];
                }
                let record = TransferRecord::offered_here(friend, id, name, size, path, stamp, unix_ms);
                self.out.push(Output::Hash(id, record.path.clone()));
                self.add(record);
            }
            Input::Hashed(id, hash) => self.hashed(unix_ms, id, hash),
            Input::Accept(id, folder) => self.act(id, |transfers, record| {
                if record.mine || record.stage != Stage::Offered {
                    return false;
                }
                transfers.accept(id, folder);
                true
            }),
            Input::Decline(id) => self.act(id, |transfers, record| {
                let fits = !record.mine && record.stage == Stage::Offered;
                if fits {
                    transfers.end(unix_ms, id, Stage::Declined, "");
                }
                fits
            }),
            Input::Pause(id) => self.act(id, |transfers, record| transfers.hold(id, record, true)),
            Input::Resume(id) => self.act(id, |transfers, record| transfers.hold(id, record, false)),
            Input::Cancel(id) => self.act(id, |transfers, record| {
                let open = !record.stage.is_over();
                if open {
                    transfers.end(unix_ms, id, Stage::Cancelled, "you gave it up");
                }
                open
            }),
            Input::Forget(id) => self.act(id, |transfers, record| {
                if record.stage.is_over() {
                    transfers.forget(id);
                }
                record.stage.is_over()
            }),
            Input::LinkUp(friend) => {
                let known = self.friends.entry(friend).or_default();
                (known.up, known.unsupported) = (true, false);
                for transfer in self.by.values_mut().filter(|transfer| transfer.record.friend == friend) {
                    (transfer.retry, transfer.failures) = (None, 0);
                }
                self.say_all(friend);
            }
            Input::LinkDown(friend) => self.friends.entry(friend).or_default().up = false,
            Input::Received(friend, message) => self.received(now, unix_ms, friend, &message),
            Input::Unsupported(friend) => self.friends.entry(friend).or_default().unsupported = true,
            Input::Moved(id, done) => {
                if let Some(transfer) = self.by.get_mut(&id).filter(|transfer| !transfer.record.stage.is_over()) {
                    transfer.record.done = done.min(transfer.record.size);
                    transfer.failures = 0;
                    self.out.push(Output::Changed(id));
                }
            }
            Input::Fetched(id, fetched) => self.fetched(now, unix_ms, id, fetched),
            Input::Serving(id, on) => {
                if let Some(transfer) = self.by.get_mut(&id) {
                    transfer.running = if on { transfer.running + 1 } else { transfer.running.saturating_sub(1) };
                    self.out.push(Output::Changed(id));
                }
            }
            Input::SourceGone(id) => {
                if self.by.get(&id).is_some_and(|transfer| !transfer.record.stage.is_over()) {
                    self.end(unix_ms, id, Stage::Failed, "the file was changed or is gone");
                }
            }
            Input::FriendGone(friend) => {
                let of: Vec<Id> =
                    self.by.values().filter(|transfer| transfer.record.friend == friend).map(|t| t.record.id).collect();
                for id in of {
                    self.stop(id);
                    self.forget(id);
                }
                self.friends.remove(&friend);
            }
            Input::Limits { auto, most, folder } => (self.auto, self.most, self.folder) = (auto, most, folder),
        }
        self.schedule(now);
        std::mem::take(&mut self.out)
    }

    /// When [`Transfers::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = self.by.values().filter(|transfer| self.wants(&transfer.record) && transfer.running == 0);
        waits.filter_map(|transfer| transfer.retry).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Output> {
        self.schedule(now);
        std::mem::take(&mut self.out)
    }

    /// All transfers.
    pub fn iter(&self) -> impl Iterator<Item = &TransferRecord> {
        self.by.values().map(|transfer| &transfer.record)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&TransferRecord> {
        self.by.get(id).map(|transfer| &transfer.record)
    }

    /// Whether bytes of it move.
    #[must_use]
    pub fn is_running(&self, id: &Id) -> bool {
        self.by.get(id).is_some_and(|transfer| transfer.running > 0)
    }

    /// Whether a friend's node does not know files.
    #[must_use]
    pub fn is_unsupported(&self, friend: &RootPublic) -> bool {
        self.friends.get(friend).is_some_and(|friend| friend.unsupported)
    }

    /// The outgoing file that a friend may have bytes of now.
    #[must_use]
    pub fn may_serve(&self, friend: &RootPublic, id: &Id) -> Option<&TransferRecord> {
        let record = self.get(id).filter(|record| record.mine && record.friend == *friend)?;
        let open = matches!(record.stage, Stage::Offered | Stage::Accepted);
        (open && !record.paused_here).then_some(record)
    }

    fn open(&self, friend: &RootPublic, mine: bool) -> usize {
        let of = |record: &&TransferRecord| record.friend == *friend && record.mine == mine;
        self.iter().filter(of).filter(|record| !record.stage.is_over()).count()
    }

    fn is_up(&self, friend: &RootPublic) -> bool {
        self.friends.get(friend).is_some_and(|friend| friend.up && !friend.unsupported)
    }

    fn act(&mut self, id: Id, act: impl FnOnce(&mut Self, &TransferRecord) -> bool) {
        let Some(record) = self.get(&id).cloned() else {
            self.out.push(Output::Refused(Refusal::NoFile));
            return;
        };
        if !act(self, &record) {
            self.out.push(Output::Refused(Refusal::State));
        }
    }

    fn add(&mut self, record: TransferRecord) {
        let over: Vec<(u64, Id)> =
            self.iter().filter(|record| record.stage.is_over()).map(|record| (record.offered_ms, record.id)).collect();
        if over.len() >= MAX_OVER
            && let Some((_, oldest)) = over.into_iter().min()
        {
            self.forget(oldest);
        }
        self.out.push(Output::Store(record.clone()));
        self.out.push(Output::New(record.clone()));
        self.by.insert(record.id, Transfer { record, running: 0, retry: None, failures: 0 });
    }

    fn forget(&mut self, id: Id) {
        if self.by.remove(&id).is_some() {
            self.out.push(Output::Forgotten(id));
        }
    }

    /// Changes a record, has it kept, and tells.
    fn change(&mut self, id: Id, change: impl FnOnce(&mut TransferRecord)) {
        if let Some(transfer) = self.by.get_mut(&id) {
            change(&mut transfer.record);
            self.out.push(Output::Store(transfer.record.clone()));
            self.out.push(Output::Changed(id));
        }
    }

    fn hashed(&mut self, unix_ms: u64, id: Id, hash: Result<[u8; 32], String>) {
        if self.get(&id).is_none_or(|record| record.stage != Stage::Preparing) {
            return;
        }
        match hash {
            Ok(hash) => {
                self.change(id, |record| {
                    record.hash = hash;
                    record.stage = Stage::Offered;
                });
                self.say(id);
            }
            Err(reason) => self.end(unix_ms, id, Stage::Failed, &reason),
        }
    }

    fn accept(&mut self, id: Id, folder: String) {
        self.change(id, |record| {
            record.path = folder;
            record.stage = Stage::Accepted;
        });
        self.say(id);
    }

    fn hold(&mut self, id: Id, record: &TransferRecord, hold: bool) -> bool {
        if record.stage.is_over() || record.paused_here == hold || (!record.mine && record.stage == Stage::Offered) {
            return false;
        }
        if hold {
            self.stop(id);
        }
        self.change(id, |record| record.paused_here = hold);
        if let Some(transfer) = self.by.get_mut(&id) {
            (transfer.retry, transfer.failures) = (None, 0);
        }
        self.say(id);
        true
    }

    /// Ends what moves.
    fn stop(&mut self, id: Id) {
        if let Some(transfer) = self.by.get_mut(&id)
            && transfer.running > 0
        {
            if transfer.record.mine {
                self.out.push(Output::StopServing(id));
            } else {
                transfer.running = 0;
                self.out.push(Output::StopFetch(id));
            }
        }
    }

    /// A transfer is over; the friend is told, now or at the next link.
    fn end(&mut self, unix_ms: u64, id: Id, stage: Stage, reason: &str) {
        self.stop(id);
        self.change(id, |record| {
            record.stage = stage;
            record.ended_ms = Some(unix_ms);
            record.reason = (!reason.is_empty()).then(|| Reason::clean(reason).into());
        });
        if let Some(record) = self.get(&id).filter(|record| !record.mine && stage != Stage::Done).cloned() {
            self.out.push(Output::RemovePart(record));
        }
        self.say(id);
    }

    /// Whether bytes of an incoming file are wanted now.
    fn wants(&self, record: &TransferRecord) -> bool {
        !record.mine
            && record.stage == Stage::Accepted
            && !record.paused_here
            && !record.paused_there
            && self.is_up(&record.friend)
    }

    /// Begins to fetch what may be fetched.
    fn schedule(&mut self, now: Instant) {
        let mut busy: BTreeMap<RootPublic, usize> = BTreeMap::new();
        for transfer in self.by.values().filter(|transfer| !transfer.record.mine && transfer.running > 0) {
            *busy.entry(transfer.record.friend).or_default() += 1;
        }
        let mut next: Vec<(u64, Id)> = Vec::new();
        for transfer in self.by.values() {
            let due = transfer.retry.is_none_or(|at| at <= now);
            if transfer.running == 0 && due && self.wants(&transfer.record) {
                next.push((transfer.record.offered_ms, transfer.record.id));
            }
        }
        next.sort_unstable();
        for (_, id) in next {
            let Some(transfer) = self.by.get_mut(&id) else { continue };
            let busy = busy.entry(transfer.record.friend).or_default();
            if *busy < AT_A_TIME {
                *busy += 1;
                transfer.running = 1;
                transfer.retry = None;
                self.out.push(Output::Fetch(transfer.record.clone()));
                self.out.push(Output::Changed(id));
            }
        }
    }

    fn fetched(&mut self, now: Instant, unix_ms: u64, id: Id, fetched: Fetched) {
        let Some(transfer) = self.by.get_mut(&id).filter(|transfer| transfer.running > 0) else { return };
        transfer.running = 0;
        let over = transfer.record.stage.is_over();
        let tried = transfer.record.tried_again;
        match fetched {
            _ if over => {}
            Fetched::Done(path) => {
                self.change(id, |record| {
                    record.done = record.size;
                    record.path = path;
                });
                self.end(unix_ms, id, Stage::Done, "");
            }
            Fetched::Lost | Fetched::Closed => {
                transfer.failures = transfer.failures.saturating_add(1);
                let pause = Duration::from_secs(1 << transfer.failures.min(6)).min(LONGEST_PAUSE);
                transfer.retry = Some(now + pause);
                self.change(id, |_| {});
            }
            Fetched::Wrong if !tried => self.change(id, |record| {
                record.tried_again = true;
                record.done = 0;
            }),
            Fetched::Wrong => self.end(unix_ms, id, Stage::Failed, "what came is not the file that was offered"),
            Fetched::Disk(reason) => self.end(unix_ms, id, Stage::Failed, &reason),
        }
    }

    fn offers_too_fast(&mut self, friend: RootPublic, now: Instant) -> bool {
        let known = &mut self.friends.entry(friend).or_default().offers;
        let hour = Duration::from_secs(3600);
        let (began, count) =
            known.filter(|(began, _)| now.saturating_duration_since(*began) < hour).unwrap_or((now, 0));
        *known = Some((began, count.saturating_add(1)));
        count >= OFFERS_PER_HOUR
    }

    /// Friends with whom something is open.
    #[must_use]
    pub fn busy_with(&self) -> BTreeSet<RootPublic> {
        self.iter().filter(|record| !record.stage.is_over()).map(|record| record.friend).collect()
    }
}
