//! The local API, in process: each operation runs on the service's task, or waits aside where it takes long.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use twocan_control::doctor::{Preflight, Reachability};
use twocan_control::{
    AddFriend, AnswerCall, Availability, Backup, BackupRequest, Call, CallUpdate, ChatMessage, Code, Conversation,
    Decline, Doctor, Error, Event, FileAct, FileTransfer, Friend, FriendId, FriendUpdate, Health, HistoryEntry,
    Identity, Lookup, LookupRequest, MarkRead, MediaChannel, MessagePage, OfferFile, PageRequest, Passphrase, Phrase,
    Picture, PlaceCall, Privacy, Profile, RecordCall, RelayStatus, Report, Request as ContactRequest, RequestAnswer,
    Result, SeatToken, SeatedCall, SendMessage, SetAvailability, SetRelay, Settings, SettingsUpdate, Status, TakeSeat,
    Timings,
};
use twocan_protocol::friend::Input;

use super::{Request, Service, view};
use crate::emitter::Emitter;
use crate::{backup, keyfile};

/// The doctor looks this often for friends' clocks, this far apart.
const CLOCK_LOOKS: u32 = 20;
const CLOCK_LOOK: Duration = Duration::from_millis(50);

/// Opens a locked node with a passphrase.
pub type Unlocker = Box<dyn FnMut(String) -> futures::future::BoxFuture<'static, Result<()>> + Send>;

/// What the handles share.
struct Shared {
    home: PathBuf,
    began: Instant,
    emitter: Emitter,
    stop: CancellationToken,
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Default)]
enum Stage {
    /// On the way up: whoever asks waits.
    #[default]
    Starting,
    /// The keys are under a passphrase.
    Locked(Arc<Mutex<Unlocker>>),
    /// The service runs.
    Running(mpsc::Sender<Request>),
}

/// The node's own implementation of the local API. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// A handle of a node that is still starting.
    pub fn new(home: PathBuf, began: Instant, emitter: Emitter, stop: CancellationToken) -> Self {
        Self { shared: Arc::new(Shared { home, began, emitter, stop, stage: watch::Sender::default() }) }
    }

    /// The node waits for a passphrase.
    pub fn locked(&self, unlocker: Unlocker) {
        self.shared.stage.send_replace(Stage::Locked(Arc::new(Mutex::new(unlocker))));
    }

    /// The service runs.
    pub(crate) fn running(&self, requests: mpsc::Sender<Request>) {
        self.shared.stage.send_replace(Stage::Running(requests));
    }

    /// Milliseconds since the process began.
    pub fn since_start_ms(&self) -> f64 {
        self.shared.began.elapsed().as_secs_f64() * 1000.0
    }

    /// Waits until the node is past starting. (The server gives each request a deadline.)
    async fn stage(&self) -> Result<Stage> {
        let mut stage = self.shared.stage.subscribe();
        let known = stage.wait_for(|stage| !matches!(stage, Stage::Starting));
        tokio::select! {
            stage = known => stage.map(|stage| stage.clone()).map_err(|_| stopping()),
            () = self.shared.stop.cancelled() => Err(stopping()),
        }
    }

    /// Runs something on the service's task.
    async fn run<T, F>(&self, act: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Service) -> Result<T> + Send + 'static,
    {
        let requests = match self.stage().await? {
            Stage::Running(requests) => requests,
            Stage::Locked(_) | Stage::Starting => {
                return Err(Error::new(Code::Locked, "the node is locked").hint("open it with `twocan unlock`"));
            }
        };
        let (reply, answer) = oneshot::channel();
        let request: Request = Box::new(move |service| {
            // The client may have given up waiting.
            let _ = reply.send(act(service));
        });
        requests.send(request).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    fn status_without_service(&self, locked: bool) -> Status {
        Status {
            api_version: twocan_control::API_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            home: self.shared.home.display().to_string(),
            uptime_s: self.shared.began.elapsed().as_secs(),
            locked,
            availability: Availability::Available,
            peer_id: String::new(),
            listen: Vec::new(),
            media_port: 0,
            reachability: Reachability::Unknown,
            dht: Health::default(),
            friends: 0,
            friends_online: 0,
            requests: 0,
            calls: 0,
            missed: 0,
            unread: 0,
            timings: Timings::default(),
            notices: Vec::new(),
        }
    }
}

fn stopping() -> Error {
    Error::new(Code::NoNode, "the node is stopping").hint("start it again with `twocan up`")
}

/// Runs what takes long or blocks, aside.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::new(Code::Internal, "a task of the node died; its log says more"))?
}

impl twocan_control::Handle for Handle {
    async fn status(&self) -> Result<Status> {
        let locked = match &*self.shared.stage.borrow() {
            Stage::Running(_) => None,
            Stage::Locked(_) => Some(true),
            Stage::Starting => Some(false),
        };
        match locked {
            None => {
                let (mut status, swarm) = self.run(|service| Ok((service.status(), service.swarm.clone()))).await?;
                status.dht.records_stored = u32::try_from(swarm.stats().await.records).unwrap_or(u32::MAX);
                Ok(status)
            }
            Some(locked) => Ok(self.status_without_service(locked)),
        }
    }

    async fn identity(&self) -> Result<Identity> {
        self.run(|service| Ok(service.identity())).await
    }

    async fn rotate_token(&self) -> Result<Identity> {
        self.run(|service| Ok(service.rotate_token())).await
    }

    async fn set_profile(&self, profile: Profile) -> Result<Identity> {
        self.run(move |service| Ok(service.set_profile(&profile))).await
    }

    async fn phrase(&self) -> Result<Phrase> {
        self.run(|service| Ok(Phrase { words: service.keys.root.phrase().to_string() })).await
    }

    async fn backup(&self, mut request: BackupRequest) -> Result<Backup> {
        let (keys, vault) = self.run(|service| Ok((Arc::clone(&service.keys), service.records.vault()))).await?;
        let passphrase = zeroize::Zeroizing::new(std::mem::take(&mut request.passphrase.passphrase));
        aside(move || {
            let file = backup::make(&keys, &vault, &passphrase)
                .map_err(|error| Error::new(Code::Invalid, error.to_string()))?;
            Ok(Backup { file_hex: hex(&file) })
        })
        .await
    }

    async fn set_passphrase(&self, mut passphrase: Passphrase) -> Result<()> {
        let (keys, home) = self.run(|service| Ok((Arc::clone(&service.keys), service.home.clone()))).await?;
        let text = zeroize::Zeroizing::new(std::mem::take(&mut passphrase.passphrase));
        aside(move || {
            keys.write(&home.join(keyfile::NAME), &text, &mut rand::rng())
                .map_err(|error| Error::new(Code::Storage, error.to_string()))
        })
        .await
    }

    async fn unlock(&self, mut passphrase: Passphrase) -> Result<()> {
        let Stage::Locked(unlocker) = self.stage().await? else {
            return Err(Error::new(Code::Conflict, "the node is not locked"));
        };
        let text = std::mem::take(&mut passphrase.passphrase);
        // One attempt after another: each costs 64 MiB.
        let attempt = (unlocker.lock().await)(text);
        attempt.await
    }

    async fn friends(&self) -> Result<Vec<Friend>> {
        self.run(|service| Ok(service.friend_views())).await
    }

    async fn friend(&self, friend: &str) -> Result<Friend> {
        let whom = friend.to_owned();
        self.run(move |service| {
            let root = service.resolve(&whom)?;
            service.friend_view(&root).ok_or_else(|| Error::new(Code::NotFound, "there is no such friend"))
        })
        .await
    }

    async fn add_friend(&self, add: AddFriend) -> Result<Friend> {
        self.run(move |service| service.add_friend(&add)).await
    }

    async fn update_friend(&self, friend: &str, update: FriendUpdate) -> Result<Friend> {
        let whom = friend.to_owned();
        self.run(move |service| service.update_friend(&whom, &update)).await
    }

    async fn privacy(&self) -> Result<Privacy> {
        self.run(|service| Ok(service.privacy())).await
    }

    async fn set_privacy(&self, privacy: Privacy) -> Result<Privacy> {
        self.run(move |service| service.set_privacy(privacy)).await
    }

    async fn remove_friend(&self, friend: &str) -> Result<()> {
        let whom = friend.to_owned();
        self.run(move |service| {
            let root = service.resolve(&whom)?;
            service.act(Input::Remove(root))
        })
        .await
    }

    async fn block(&self, friend: &str) -> Result<()> {
        let whom = friend.to_owned();
        self.run(move |service| service.block(&whom)).await
    }

    async fn blocked(&self) -> Result<Vec<FriendId>> {
        self.run(|service| Ok(service.book.blocked().map(ToString::to_string).collect())).await
    }

    async fn unblock(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.run(move |service| {
            let beginning = id.to_ascii_lowercase();
            let found: Vec<_> =
                service.book.blocked().filter(|root| root.to_string().starts_with(&beginning)).copied().collect();
            match (found.as_slice(), beginning.len()) {
                ([root], 6..) => service.act(Input::Unblock(*root)),
                ([_, _, ..], 6..) => Err(Error::new(Code::Ambiguous, "several blocked ids begin like this")),
                _ => {
                    Err(Error::new(Code::NotFound, "nobody with this id is blocked")
                        .hint("`twocan blocked` lists the ids"))
                }
            }
        })
        .await
    }

    async fn requests(&self) -> Result<Vec<ContactRequest>> {
        self.run(|service| Ok(service.book.requests().map(view::request).collect())).await
    }

    async fn answer_request(&self, id: &str, answer: RequestAnswer) -> Result<()> {
        let id = id.to_owned();
        self.run(move |service| service.answer_request(&id, &answer)).await
    }

    async fn set_availability(&self, set: SetAvailability) -> Result<()> {
        self.run(move |service| service.act(Input::Availability(view::availability_in(set.availability)))).await
    }

    async fn place_call(&self, place: PlaceCall) -> Result<SeatedCall> {
        self.run(move |service| service.place_call(&place)).await
    }

    async fn calls(&self) -> Result<Vec<Call>> {
        self.run(|service| Ok(service.call_views())).await
    }

    async fn call(&self, id: &str) -> Result<Call> {
        let id = id.to_owned();
        self.run(move |service| service.call_of(&id)).await
    }

    async fn answer_call(&self, id: &str, answer: AnswerCall) -> Result<SeatedCall> {
        let id = id.to_owned();
        self.run(move |service| service.answer_call(&id, answer)).await
    }

    async fn resume_call(&self, id: &str, resume: AnswerCall) -> Result<SeatedCall> {
        let id = id.to_owned();
        self.run(move |service| service.resume_call(&id, resume)).await
    }

    async fn take_seat(&self, id: &str, take: TakeSeat) -> Result<SeatedCall> {
        let id = id.to_owned();
        self.run(move |service| service.take_seat(&id, &take)).await
    }

    async fn decline_call(&self, id: &str, decline: Decline) -> Result<()> {
        let id = id.to_owned();
        self.run(move |service| service.decline_call(&id, &decline)).await
    }

    async fn hangup(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.run(move |service| service.hangup(&id)).await
    }

    async fn update_call(&self, id: &str, update: CallUpdate) -> Result<Call> {
        let id = id.to_owned();
        self.run(move |service| service.update_call(&id, update)).await
    }

    async fn record_call(&self, id: &str, record: RecordCall) -> Result<Call> {
        let id = id.to_owned();
        self.run(move |service| service.record_call(&id, record)).await
    }

    async fn history(&self) -> Result<Vec<HistoryEntry>> {
        self.run(|service| Ok(service.history_views())).await
    }

    async fn history_seen(&self) -> Result<()> {
        self.run(Service::see_history).await
    }

    async fn clear_history(&self) -> Result<()> {
        self.run(Service::clear_history).await
    }

    async fn conversations(&self) -> Result<Vec<Conversation>> {
        self.run(|service| Ok(service.conversations())).await
    }

    async fn messages(&self, friend: &str, page: PageRequest) -> Result<MessagePage> {
        let whom = friend.to_owned();
        self.run(move |service| service.messages(&whom, page)).await
    }

    async fn send_message(&self, friend: &str, send: SendMessage) -> Result<ChatMessage> {
        let whom = friend.to_owned();
        let (message, written) = self.run(move |service| service.send_message(&whom, &send)).await?;
        if let Some(written) = written {
            written.await.map_err(|_| stopping())?;
        }
        Ok(message)
    }

    async fn mark_read(&self, friend: &str, read: MarkRead) -> Result<Conversation> {
        let whom = friend.to_owned();
        self.run(move |service| service.mark_read(&whom, read)).await
    }

    async fn delete_conversation(&self, friend: &str) -> Result<()> {
        let whom = friend.to_owned();
        if let Some(gone) = self.run(move |service| service.delete_conversation(&whom)).await? {
            // The writer answers, or the node stops.
            let _ = gone.await;
        }
        Ok(())
    }

    async fn files(&self) -> Result<Vec<FileTransfer>> {
        self.run(|service| Ok(service.file_views())).await
    }

    async fn file(&self, id: &str) -> Result<FileTransfer> {
        let id = id.to_owned();
        self.run(move |service| service.file(&id)).await
    }

    async fn offer_file(&self, friend: &str, offer: OfferFile) -> Result<FileTransfer> {
        let whom = friend.to_owned();
        self.run(move |service| service.offer_file(&whom, &offer)).await
    }

    async fn file_act(&self, id: &str, act: FileAct) -> Result<FileTransfer> {
        let id = id.to_owned();
        self.run(move |service| service.file_act(&id, &act)).await
    }

    async fn forget_file(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.run(move |service| service.forget_file(&id)).await
    }

    async fn picture(&self) -> Result<Picture> {
        self.run(|service| Ok(service.own_picture())).await
    }

    async fn set_picture(&self, picture: Picture) -> Result<Identity> {
        self.run(move |service| service.set_picture(&picture)).await
    }

    async fn friend_picture(&self, friend: &str) -> Result<Picture> {
        let whom = friend.to_owned();
        self.run(move |service| service.friend_picture(&whom)).await
    }

    async fn settings(&self) -> Result<Settings> {
        self.run(|service| Ok(service.settings())).await
    }

    async fn update_settings(&self, update: SettingsUpdate) -> Result<Settings> {
        self.run(move |service| service.update_settings(&update)).await
    }

    async fn media(&self, id: &str, seat: &SeatToken) -> Result<MediaChannel> {
        let (id, seat) = (id.to_owned(), seat.clone());
        self.run(move |service| service.media(&id, &seat)).await
    }

    async fn relay(&self) -> Result<RelayStatus> {
        self.run(|service| Ok(service.relay_status())).await
    }

    async fn set_relay(&self, set: SetRelay) -> Result<RelayStatus> {
        self.run(move |service| Ok(service.set_relay(set))).await
    }

    async fn lookup(&self, request: LookupRequest) -> Result<Lookup> {
        self.run(move |service| service.lookup(&request.whom)).await?.run().await
    }

    async fn doctor(&self) -> Result<Doctor> {
        self.run(|service| {
            service.ask_clocks();
            Ok(())
        })
        .await?;
        let examination = self.run(|service| Ok(service.examination())).await?;
        let answers = examination.ask().await;
        // Friends tell the time while relays are asked; who has not yet is waited for a little.
        for _ in 0..CLOCK_LOOKS {
            if !self.run(|service| Ok(service.clocks.waiting(Instant::now()))).await? {
                break;
            }
            tokio::time::sleep(CLOCK_LOOK).await;
        }
        self.run(move |service| Ok(service.concluded(answers))).await
    }

    async fn preflight(&self, friend: &str) -> Result<Preflight> {
        let whom = friend.to_owned();
        let asked = self.run(move |service| service.preflight(&whom)).await?;
        Ok(asked.result().await)
    }

    async fn report(&self) -> Result<Report> {
        self.run(|service| Ok(service.report())).await
    }

    async fn events(&self) -> Result<BoxStream<'static, Event>> {
        Ok(self.shared.emitter.stream())
    }

    async fn shutdown(&self) -> Result<()> {
        self.shared.stop.cancel();
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
