//! Files: carries out what [`Transfers`] says, opens and serves their streams, and answers what clients ask.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use twocan_control::{self as api, Code, Error, Event};
use twocan_protocol::chat::FileNote;
use twocan_protocol::files::{Fetched, Input, Output, Refusal, Stage, TransferRecord, Transfers};
use twocan_protocol::gate::Key;
use twocan_protocol::handshake::Purpose;
use twocan_protocol::identity::RootPublic;
use twocan_protocol::link;
use twocan_protocol::wire::{FileRefusal, FileRequest, FilesMessage, Id, MAX_FILES, Message};

use super::links::Note;
use super::{Service, unix_ms};
use crate::files::{self, Facts, Job, Pace, Served, Source};
use crate::links::Opened;
use crate::swarm::{ConnectionId, ConnectionInfo, Route};

/// Streams of one friend that are served at a time.
const STREAMS: usize = 4;
/// Clients are told of progress this often.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Shortest beginning of a transfer's id that names it.
const ID_MIN: usize = 4;

/// How fast a transfer moves.
#[derive(Clone, Copy, Debug)]
struct Speed {
    at: Instant,
    done: u64,
    bytes_per_second: Option<u64>,
}

/// Transfers and the tasks that move them.
#[derive(Default)]
pub(super) struct Files {
    pub(super) transfers: Transfers,
    fetching: HashMap<Id, CancellationToken>,
    serving: HashMap<Id, CancellationToken>,
    places: HashMap<RootPublic, Arc<Semaphore>>,
    speeds: HashMap<Id, Speed>,
    down: Pace,
    up: Pace,
}

impl Files {
    pub(super) fn new(records: Vec<TransferRecord>) -> Self {
        Self { transfers: Transfers::new(records), ..Self::default() }
    }

    /// Files give way to calls.
    pub(super) fn set_calling(&self, calling: bool) {
        self.down.set_calling(calling);
        self.up.set_calling(calling);
    }
}

/// What the tasks of transfers tell.
pub(super) enum FileWord {
    /// A file was hashed.
    Hashed(Id, Result<[u8; 32], String>),
    /// It came so far; so many bytes went over this connection since the last word.
    Moved { id: Id, done: u64, connection: ConnectionId, bytes: u64 },
    /// A fetch is over.
    Fetched(Id, Fetched),
    /// A friend opened a stream.
    Stream(Box<Opened>, ConnectionInfo),
    /// A friend asks for bytes.
    Asked(RootPublic, FileRequest, oneshot::Sender<Result<Serving, FileRefusal>>),
    /// A stream is over.
    Served(Id, Served),
}

/// What a serving task needs.
pub(super) struct Serving {
    source: Source,
    stop: CancellationToken,
    pace: Pace,
}

/// Tells of progress, but not of each frame.
struct Progress {
    notes: mpsc::Sender<Note>,
    id: Id,
    connection: ConnectionId,
    told: Option<(Instant, u64)>,
}

impl Progress {
    fn moved(&mut self, done: u64, size: u64) {
        let now = Instant::now();
        let last = self.told.get_or_insert((now, done));
        if done < size && now.duration_since(last.0) < TELL_EVERY {
            return;
        }
        let bytes = done.saturating_sub(last.1);
        *last = (now, done);
        // When the service is busy, the next word says it.
        let word = FileWord::Moved { id: self.id, done, connection: self.connection, bytes };
        let _ = self.notes.try_send(Note::File(word));
    }
}

impl Service {
    /// Gives the machine something; a refusal becomes an error.
    pub(super) fn files_input(&mut self, input: Input) -> api::Result<()> {
        let outputs = self.files.transfers.handle(Instant::now(), unix_ms(), input);
        self.files_outputs(outputs)
    }

    /// The same for what nobody here asked for.
    pub(super) fn files_happen(&mut self, input: Input) {
        if let Err(error) = self.files_input(input) {
            tracing::debug!("{error}");
        }
    }

    pub(super) fn files_timeout(&mut self, now: Instant) {
        if self.files.transfers.poll_timeout().is_some_and(|at| at <= now) {
            let outputs = self.files.transfers.handle_timeout(now);
            let _ = self.files_outputs(outputs);
        }
    }

    /// The first steps: limits, and files that were not hashed yet.
    pub(super) fn begin_files(&mut self) {
        self.limit_files();
        let outputs = self.files.transfers.begin();
        let _ = self.files_outputs(outputs);
    }

    /// What the person has set about files that come.
    pub(super) fn limit_files(&mut self) {
        let folder = self.settings.folder(&self.home).display().to_string();
        self.files_happen(Input::Limits { auto: self.settings.auto_accept, most: self.settings.max_file, folder });
    }

    fn files_outputs(&mut self, outputs: Vec<Output>) -> api::Result<()> {
        let mut refused = None;
        for output in outputs {
            match output {
                Output::Send(root, message) => {
                    if self.sessions.contains_key(&root) {
                        self.session_input(root, link::Input::SendNow(Message::Files(message)));
                    }
                }
                Output::Hash(id, path) => self.hash_file(id, path),
                Output::Fetch(record) => self.fetch_file(&record),
                Output::StopFetch(id) => {
                    if let Some(stop) = self.files.fetching.remove(&id) {
                        stop.cancel();
                    }
                }
                Output::StopServing(id) => {
                    if let Some(stop) = self.files.serving.remove(&id) {
                        stop.cancel();
                    }
                }
                Output::RemovePart(record) => {
                    if !record.path.is_empty() {
                        let folder = PathBuf::from(record.path);
                        tokio::task::spawn_blocking(move || files::remove_part(&folder, &record.name, &record.id));
                    }
                }
                Output::Store(record) => self.records.file(&record),
                Output::Forgotten(id) => {
                    self.records.forget_file(&id);
                    self.files.speeds.remove(&id);
                    self.emitter.emit(Event::FileRemoved { id: id.to_string() });
                }
                Output::New(record) => {
                    let note = FileNote { id: record.id, name: record.name.clone(), size: record.size };
                    self.emitter.emit(Event::File { file: self.file_view(&record) });
                    self.chat_file(record.friend, record.mine, note);
                }
                Output::Changed(id) => {
                    if let Some(record) = self.files.transfers.get(&id) {
                        self.emitter.emit(Event::File { file: self.file_view(record) });
                    }
                }
                Output::Refused(refusal) => refused = Some(refusal),
            }
        }
        refused.map_or(Ok(()), |refusal| Err(refusal_of(refusal)))
    }

    fn hash_file(&self, id: Id, path: String) {
        let stamp = self.files.transfers.get(&id).map(|record| Facts { size: record.size, stamp: record.stamp });
        let (Some(facts), notes) = (stamp, self.notes.clone()) else { return };
        tokio::spawn(async move {
            let hashed = tokio::task::spawn_blocking(move || files::hash(Path::new(&path), facts)).await;
            let hashed = match hashed {
                Ok(Ok(hash)) => Ok(hash),
                Ok(Err(error)) => Err(format!("the file cannot be read: {error}")),
                Err(_) => Err("the file cannot be read".to_owned()),
            };
            let _ = notes.send(Note::File(FileWord::Hashed(id, hashed))).await;
        });
    }

    fn fetch_file(&mut self, record: &TransferRecord) {
        let (root, id, size) = (record.friend, record.id, record.size);
        let notes = self.notes.clone();
        let over = move |fetched| Note::File(FileWord::Fetched(id, fetched));
        let live = self.live_channel(&root).map(|(info, _)| info.clone());
        let device = self.whereabouts.get(&root).and_then(super::keep::Whereabouts::device);
        let friendship = self.friendship(&root);
        let seeker = self.seeker(root, Key::file(&friendship), Purpose::File);
        let (Some(info), Some(device), Some(seeker)) = (live, device, seeker) else {
            tokio::spawn(async move { notes.send(over(Fetched::Lost)).await });
            return;
        };
        let stop = CancellationToken::new();
        self.files.fetching.insert(id, stop.clone());
        let job = Job { id, name: record.name.clone(), size, hash: record.hash, folder: PathBuf::from(&record.path) };
        let (pace, relayed) = (self.files.down.clone(), info.route == Route::Relayed);
        let mut progress = Progress { notes: notes.clone(), id, connection: info.connection, told: None };
        tokio::spawn(async move {
            let open = seeker.open(&info, device);
            let fetch = files::fetch(job, open, &pace, relayed, |done| progress.moved(done, size));
            tokio::select! {
                () = stop.cancelled() => {}
                fetched = fetch => drop(notes.send(over(fetched)).await),
            }
        });
    }

    /// What tasks tell.
    pub(super) fn file_word(&mut self, word: FileWord) {
        match word {
            FileWord::Hashed(id, hash) => self.files_happen(Input::Hashed(id, hash)),
            FileWord::Moved { id, done, connection, bytes } => {
                self.count_frame(connection, usize::try_from(bytes).unwrap_or(usize::MAX));
                self.files.measure(id, done);
                self.files_happen(Input::Moved(id, done));
            }
            FileWord::Fetched(id, fetched) => {
                self.files.fetching.remove(&id);
                self.files.speeds.remove(&id);
                self.files_happen(Input::Fetched(id, fetched));
            }
            FileWord::Stream(opened, info) => self.file_stream(*opened, info),
            FileWord::Asked(root, request, reply) => {
                // A task that has ended meanwhile needs no answer, and nothing is served then.
                let answer = self.file_asked(root, &request);
                let granted = answer.is_ok();
                if reply.send(answer).is_ok() && granted {
                    self.files_happen(Input::Serving(request.id, true));
                }
            }
            FileWord::Served(id, served) => {
                self.files.speeds.remove(&id);
                self.files_happen(Input::Serving(id, false));
                if served == Served::Changed {
                    self.files_happen(Input::SourceGone(id));
                }
            }
        }
    }

    /// A friend's stream for a file: served on a task of its own.
    fn file_stream(&mut self, mut opened: Opened, info: ConnectionInfo) {
        let root = opened.remote.root;
        if !self.book.is_friend(&root) {
            return;
        }
        let places = self.files.places.entry(root).or_insert_with(|| Arc::new(Semaphore::new(STREAMS)));
        let place = Arc::clone(places).try_acquire_owned();
        let notes = self.notes.clone();
        tokio::spawn(async move {
            let Ok(_place) = place else { return files::refuse(opened, FileRefusal::Busy).await };
            let Some(request) = files::read_request(&mut opened).await else { return };
            let (reply, answer) = oneshot::channel();
            let id = request.id;
            if notes.send(Note::File(FileWord::Asked(root, request.clone(), reply))).await.is_err() {
                return;
            }
            let serving = match answer.await {
                Ok(Ok(serving)) => serving,
                Ok(Err(reason)) => return files::refuse(opened, reason).await,
                Err(_) => return,
            };
            let Serving { source, stop, pace } = serving;
            let (size, relayed) = (source.facts.size, info.route == Route::Relayed);
            let mut progress = Progress { notes: notes.clone(), id, connection: info.connection, told: None };
            let serve = files::serve(opened, request, source, &pace, relayed, |done| progress.moved(done, size));
            let served = tokio::select! {
                () = stop.cancelled() => Served::Over,
                served = serve => served,
            };
            let _ = notes.send(Note::File(FileWord::Served(id, served))).await;
        });
    }

    fn file_asked(&mut self, root: RootPublic, request: &FileRequest) -> Result<Serving, FileRefusal> {
        let record = self.files.transfers.may_serve(&root, &request.id).ok_or(FileRefusal::Closed)?;
        let facts = Facts { size: record.size, stamp: record.stamp };
        let source = Source { path: PathBuf::from(&record.path), facts };
        // A stream before this one of the same file has lost its reader.
        let stop = CancellationToken::new();
        if let Some(before) = self.files.serving.insert(request.id, stop.clone()) {
            before.cancel();
        }
        Ok(Serving { source, stop, pace: self.files.up.clone() })
    }

    pub(super) fn files_received(&mut self, root: RootPublic, message: FilesMessage) {
        if self.book.is_friend(&root) {
            self.files_happen(Input::Received(root, message));
        }
    }

    // What clients ask.

    fn file_view(&self, record: &TransferRecord) -> api::FileTransfer {
        let transfers = &self.files.transfers;
        let running = transfers.is_running(&record.id);
        let held = record.paused_here || record.paused_there;
        let state = match record.stage {
            Stage::Preparing => api::FileState::Preparing,
            Stage::Offered | Stage::Accepted if held => api::FileState::Paused,
            Stage::Offered => api::FileState::Offered,
            Stage::Accepted if running => api::FileState::Running,
            Stage::Accepted => api::FileState::Waiting,
            Stage::Done => api::FileState::Done,
            Stage::Declined => api::FileState::Declined,
            Stage::Cancelled => api::FileState::Cancelled,
            Stage::Failed => api::FileState::Failed,
        };
        let old = !record.stage.is_over() && transfers.is_unsupported(&record.friend);
        let speed = self.files.speeds.get(&record.id).and_then(|speed| speed.bytes_per_second);
        api::FileTransfer {
            id: record.id.to_string(),
            friend: record.friend.to_string(),
            friend_name: self.book.name_of(&record.friend),
            direction: if record.mine { api::Direction::Outgoing } else { api::Direction::Incoming },
            name: record.name.clone(),
            size: record.size,
            state,
            done: record.done,
            bytes_per_second: speed.filter(|_| state == api::FileState::Running),
            paused_here: record.paused_here,
            paused_there: record.paused_there,
            path: (!record.path.is_empty()).then(|| record.path.clone()),
            reason: match old {
                true => Some("your friend's twocan is too old for files".to_owned()),
                false => record.reason.clone(),
            },
            offered_ms: record.offered_ms,
            ended_ms: record.ended_ms,
        }
    }

    pub(super) fn file_views(&self) -> Vec<api::FileTransfer> {
        let mut all: Vec<&TransferRecord> = self.files.transfers.iter().collect();
        all.sort_by_key(|record| std::cmp::Reverse((record.offered_ms, record.id)));
        all.into_iter().map(|record| self.file_view(record)).collect()
    }

    fn resolve_file(&self, id: &str) -> api::Result<&TransferRecord> {
        let beginning = id.to_ascii_lowercase();
        let named = |record: &&TransferRecord| record.id.to_string().starts_with(&beginning);
        let found: Vec<&TransferRecord> = self.files.transfers.iter().filter(named).take(2).collect();
        match (found.as_slice(), beginning.len()) {
            ([record], ID_MIN..) => Ok(record),
            ([_, _, ..], ID_MIN..) => Err(Error::new(Code::Ambiguous, "several files begin like this")),
            _ => Err(refusal_of(Refusal::NoFile)),
        }
    }

    pub(super) fn file(&self, id: &str) -> api::Result<api::FileTransfer> {
        self.resolve_file(id).map(|record| self.file_view(record))
    }

    pub(super) fn offer_file(&mut self, whom: &str, offer: &api::OfferFile) -> api::Result<api::FileTransfer> {
        let friend = self.resolve(whom)?;
        if !self.book.is_friend(&friend) {
            return Err(Error::new(Code::Conflict, "you are not friends yet")
                .hint("files go to those who have accepted your request"));
        }
        let path = Path::new(&offer.path);
        let wrong = |error: std::io::Error| Error::new(Code::Invalid, format!("{}: {error}", path.display()));
        let facts = tokio::task::block_in_place(|| files::facts(path)).map_err(wrong)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (id, path) = (Id(rand::random()), offer.path.clone());
        self.files_input(Input::Offer { friend, id, name, size: facts.size, path, stamp: facts.stamp })?;
        self.file(&id.to_string())
    }

    pub(super) fn file_act(&mut self, id: &str, act: &api::FileAct) -> api::Result<api::FileTransfer> {
        let id = self.resolve_file(id)?.id;
        self.files_input(match act {
            api::FileAct::Accept(accept) => {
                let usual = || self.settings.folder(&self.home).display().to_string();
                Input::Accept(id, accept.folder.clone().unwrap_or_else(usual))
            }
            api::FileAct::Decline => Input::Decline(id),
            api::FileAct::Pause => Input::Pause(id),
            api::FileAct::Resume => Input::Resume(id),
            api::FileAct::Cancel => Input::Cancel(id),
        })?;
        self.file(&id.to_string())
    }

    pub(super) fn forget_file(&mut self, id: &str) -> api::Result<()> {
        let id = self.resolve_file(id)?.id;
        self.files_input(Input::Forget(id))
    }
}

impl Files {
    /// Notes how far a transfer has come, for its speed.
    fn measure(&mut self, id: Id, done: u64) {
        let now = Instant::now();
        let last = self.speeds.entry(id).or_insert(Speed { at: now, done, bytes_per_second: None });
        let passed = now.duration_since(last.at);
        if passed >= TELL_EVERY / 2 {
            let moved = u32::try_from(done.saturating_sub(last.done)).unwrap_or(u32::MAX);
            let present = f64::from(moved) / passed.as_secs_f64();
            let before =
                last.bytes_per_second.map_or(present, |rate| f64::from(u32::try_from(rate).unwrap_or(u32::MAX)));
            // Bytes a second, rounded; a rate is never near 2^52.
            let rate = ((before + present) / 2.0).round() as u64;
            *last = Speed { at: now, done, bytes_per_second: Some(rate) };
        }
    }
}

fn refusal_of(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NoFile => Error::new(Code::NotFound, refusal.to_string()).hint("`twocan files` lists them"),
        Refusal::State => Error::new(Code::Conflict, refusal.to_string()).hint("`twocan files` shows how it stands"),
        Refusal::TooMany => Error::new(Code::Limit, refusal.to_string())
            .hint(format!("wait until some of the {MAX_FILES} are through, or cancel one")),
    }
}
