//! The client of the local API: [`Handle`] over the Unix socket (or loopback TCP where there are none).
//!
//! Ordinary operations are HTTP requests with a deadline; events are one endless answer, read line by line; media is a
//! WebSocket on a connection of its own. A client may be cloned and used from many tasks at once.

mod events;
mod http;
mod media;

use std::path::Path;
use std::sync::Arc;

use futures::stream::BoxStream;
use reqwest::Method;

use crate::limits::{QUICK, SLOW};
use crate::*;
use http::{Wire, segment};

/// Speaks to a node over its control server.
#[derive(Clone, Debug)]
pub struct Client {
    wire: Arc<Wire>,
}

impl Client {
    /// Connects to the node that lives in a home, and checks that both speak the same API version.
    ///
    /// # Errors
    /// [`Code::NoNode`] if none runs there or it does not answer, [`Code::Version`] if it is older or newer than this
    /// client can speak to, [`Code::Storage`] if the socket is not ours.
    pub async fn connect(home: &Path) -> Result<Self> {
        Self::open(Endpoint::of(home)?).await
    }

    /// The same for a known endpoint.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn open(endpoint: Endpoint) -> Result<Self> {
        let wire = Wire::new(endpoint)?;
        wire.check().await?;
        Ok(Self { wire: Arc::new(wire) })
    }

    /// Where this client is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        self.wire.endpoint()
    }
}

impl Handle for Client {
    async fn status(&self) -> Result<Status> {
        self.wire.get("/v1/status", QUICK).await
    }

    async fn identity(&self) -> Result<Identity> {
        self.wire.get("/v1/identity", QUICK).await
    }

    async fn rotate_token(&self) -> Result<Identity> {
        self.wire.ask(Method::POST, "/v1/identity/rotate", &(), QUICK).await
    }

    async fn set_profile(&self, profile: Profile) -> Result<Identity> {
        self.wire.ask(Method::PUT, "/v1/identity/profile", &profile, QUICK).await
    }

    async fn phrase(&self) -> Result<Phrase> {
        self.wire.get("/v1/identity/phrase", QUICK).await
    }

    async fn backup(&self, request: BackupRequest) -> Result<Backup> {
        self.wire.ask(Method::POST, "/v1/identity/backup", &request, SLOW).await
    }

    async fn set_passphrase(&self, passphrase: Passphrase) -> Result<()> {
        self.wire.tell(Method::PUT, "/v1/identity/passphrase", &passphrase, SLOW).await
    }

    async fn unlock(&self, passphrase: Passphrase) -> Result<()> {
        self.wire.tell(Method::POST, "/v1/unlock", &passphrase, SLOW).await
    }

    async fn friends(&self) -> Result<Vec<Friend>> {
        self.wire.get("/v1/friends", QUICK).await
    }

    async fn friend(&self, friend: &str) -> Result<Friend> {
        self.wire.get(&format!("/v1/friends/{}", segment(friend)?), QUICK).await
    }

    async fn add_friend(&self, add: AddFriend) -> Result<Friend> {
        self.wire.ask(Method::POST, "/v1/friends", &add, QUICK).await
    }

    async fn update_friend(&self, friend: &str, update: FriendUpdate) -> Result<Friend> {
        self.wire.ask(Method::PATCH, &format!("/v1/friends/{}", segment(friend)?), &update, QUICK).await
    }

    async fn remove_friend(&self, friend: &str) -> Result<()> {
        self.wire.tell(Method::DELETE, &format!("/v1/friends/{}", segment(friend)?), &(), QUICK).await
    }

    async fn block(&self, friend: &str) -> Result<()> {
        self.wire.tell(Method::POST, &format!("/v1/friends/{}/block", segment(friend)?), &(), QUICK).await
    }

    async fn blocked(&self) -> Result<Vec<FriendId>> {
        self.wire.get("/v1/blocked", QUICK).await
    }

    async fn unblock(&self, id: &str) -> Result<()> {
        self.wire.tell(Method::DELETE, &format!("/v1/blocked/{}", segment(id)?), &(), QUICK).await
    }

    async fn requests(&self) -> Result<Vec<Request>> {
        self.wire.get("/v1/requests", QUICK).await
    }

    async fn answer_request(&self, id: &str, answer: RequestAnswer) -> Result<()> {
        self.wire.tell(Method::POST, &format!("/v1/requests/{}", segment(id)?), &answer, QUICK).await
    }

    async fn set_availability(&self, set: SetAvailability) -> Result<()> {
        self.wire.tell(Method::PUT, "/v1/availability", &set, QUICK).await
    }

    async fn privacy(&self) -> Result<Privacy> {
        self.wire.get("/v1/privacy", QUICK).await
    }

    async fn set_privacy(&self, privacy: Privacy) -> Result<Privacy> {
        self.wire.ask(Method::PUT, "/v1/privacy", &privacy, QUICK).await
    }

    async fn place_call(&self, place: PlaceCall) -> Result<SeatedCall> {
        self.wire.ask(Method::POST, "/v1/calls", &place, QUICK).await
    }

    async fn calls(&self) -> Result<Vec<Call>> {
        self.wire.get("/v1/calls", QUICK).await
    }

    async fn call(&self, id: &str) -> Result<Call> {
        self.wire.get(&format!("/v1/calls/{}", segment(id)?), QUICK).await
    }

    async fn answer_call(&self, id: &str, answer: AnswerCall) -> Result<SeatedCall> {
        self.wire.ask(Method::POST, &format!("/v1/calls/{}/answer", segment(id)?), &answer, QUICK).await
    }

    async fn resume_call(&self, id: &str, resume: AnswerCall) -> Result<SeatedCall> {
        self.wire.ask(Method::POST, &format!("/v1/calls/{}/resume", segment(id)?), &resume, QUICK).await
    }

    async fn take_seat(&self, id: &str, take: TakeSeat) -> Result<SeatedCall> {
        self.wire.ask(Method::POST, &format!("/v1/calls/{}/seat", segment(id)?), &take, QUICK).await
    }

    async fn decline_call(&self, id: &str, decline: Decline) -> Result<()> {
        self.wire.tell(Method::POST, &format!("/v1/calls/{}/decline", segment(id)?), &decline, QUICK).await
    }

    async fn hangup(&self, id: &str) -> Result<()> {
        self.wire.tell(Method::POST, &format!("/v1/calls/{}/hangup", segment(id)?), &(), QUICK).await
    }

    async fn update_call(&self, id: &str, update: CallUpdate) -> Result<Call> {
        self.wire.ask(Method::PATCH, &format!("/v1/calls/{}", segment(id)?), &update, QUICK).await
    }

    async fn record_call(&self, id: &str, record: RecordCall) -> Result<Call> {
        self.wire.ask(Method::POST, &format!("/v1/calls/{}/recording", segment(id)?), &record, QUICK).await
    }

    async fn history(&self) -> Result<Vec<HistoryEntry>> {
        self.wire.get("/v1/history", QUICK).await
    }

    async fn history_seen(&self) -> Result<()> {
        self.wire.tell(Method::POST, "/v1/history/seen", &(), QUICK).await
    }

    async fn clear_history(&self) -> Result<()> {
        self.wire.tell(Method::DELETE, "/v1/history", &(), QUICK).await
    }

    async fn media(&self, id: &str, seat: &SeatToken) -> Result<MediaChannel> {
        media::open(&self.wire, id, seat).await
    }

    async fn conversations(&self) -> Result<Vec<Conversation>> {
        self.wire.get("/v1/messages", QUICK).await
    }

    async fn messages(&self, friend: &str, page: PageRequest) -> Result<MessagePage> {
        let limit = page.limit.unwrap_or(limits::PAGE);
        let before = page.before.map(|before| format!("&before={before}")).unwrap_or_default();
        self.wire.get(&format!("/v1/friends/{}/messages?limit={limit}{before}", segment(friend)?), QUICK).await
    }

    async fn send_message(&self, friend: &str, send: SendMessage) -> Result<ChatMessage> {
        self.wire.ask(Method::POST, &format!("/v1/friends/{}/messages", segment(friend)?), &send, QUICK).await
    }

    async fn mark_read(&self, friend: &str, read: MarkRead) -> Result<Conversation> {
        self.wire.ask(Method::POST, &format!("/v1/friends/{}/messages/read", segment(friend)?), &read, QUICK).await
    }

    async fn delete_conversation(&self, friend: &str) -> Result<()> {
        self.wire.tell(Method::DELETE, &format!("/v1/friends/{}/messages", segment(friend)?), &(), QUICK).await
    }

    async fn files(&self) -> Result<Vec<FileTransfer>> {
        self.wire.get("/v1/files", QUICK).await
    }

    async fn file(&self, id: &str) -> Result<FileTransfer> {
        self.wire.get(&format!("/v1/files/{}", segment(id)?), QUICK).await
    }

    async fn offer_file(&self, friend: &str, offer: OfferFile) -> Result<FileTransfer> {
        self.wire.ask(Method::POST, &format!("/v1/friends/{}/files", segment(friend)?), &offer, QUICK).await
    }

    async fn file_act(&self, id: &str, act: FileAct) -> Result<FileTransfer> {
        let path = format!("/v1/files/{}/{}", segment(id)?, act.word());
        match act {
            FileAct::Accept(accept) => self.wire.ask(Method::POST, &path, &accept, QUICK).await,
            _ => self.wire.ask(Method::POST, &path, &(), QUICK).await,
        }
    }

    async fn forget_file(&self, id: &str) -> Result<()> {
        self.wire.tell(Method::DELETE, &format!("/v1/files/{}", segment(id)?), &(), QUICK).await
    }

    async fn picture(&self) -> Result<Picture> {
        self.wire.get("/v1/identity/picture", QUICK).await
    }

    async fn set_picture(&self, picture: Picture) -> Result<Identity> {
        self.wire.ask(Method::PUT, "/v1/identity/picture", &picture, QUICK).await
    }

    async fn friend_picture(&self, friend: &str) -> Result<Picture> {
        self.wire.get(&format!("/v1/friends/{}/picture", segment(friend)?), QUICK).await
    }

    async fn settings(&self) -> Result<Settings> {
        self.wire.get("/v1/settings", QUICK).await
    }

    async fn update_settings(&self, update: SettingsUpdate) -> Result<Settings> {
        self.wire.ask(Method::PATCH, "/v1/settings", &update, QUICK).await
    }

    async fn relay(&self) -> Result<RelayStatus> {
        self.wire.get("/v1/relay", QUICK).await
    }

    async fn set_relay(&self, set: SetRelay) -> Result<RelayStatus> {
        self.wire.ask(Method::PUT, "/v1/relay", &set, QUICK).await
    }

    async fn lookup(&self, request: LookupRequest) -> Result<Lookup> {
        self.wire.ask(Method::POST, "/v1/lookup", &request, SLOW).await
    }

    async fn doctor(&self) -> Result<Doctor> {
        self.wire.get("/v1/doctor", SLOW).await
    }

    async fn preflight(&self, friend: &str) -> Result<Preflight> {
        self.wire.ask(Method::POST, &format!("/v1/friends/{}/preflight", segment(friend)?), &(), SLOW).await
    }

    async fn report(&self) -> Result<Report> {
        self.wire.get("/v1/report", QUICK).await
    }

    async fn events(&self) -> Result<BoxStream<'static, Event>> {
        events::open(&self.wire).await
    }

    async fn shutdown(&self) -> Result<()> {
        self.wire.tell(Method::POST, "/v1/shutdown", &(), QUICK).await
    }
}
