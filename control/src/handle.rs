//! The whole local API as one trait: the node implements it in process, [`crate::Client`] over the socket.

use std::future::Future;

use futures::stream::BoxStream;
use tokio::sync::mpsc;

use crate::*;

/// What travels on the media socket, either way.
#[derive(Clone, Debug, PartialEq)]
pub enum MediaMessage {
    /// An encoded frame.
    Frame(MediaFrame),
    /// A word about the streams.
    Control(MediaControl),
}

/// The two directions of a seat's media. Dropping it gives the seat up.
#[derive(Debug)]
pub struct MediaChannel {
    /// To the node.
    pub tx: mpsc::Sender<MediaMessage>,
    /// From the node; ends with the call, or with the seat.
    pub rx: mpsc::Receiver<MediaMessage>,
}

/// The local API (`specs/06-control-api.md` has the paths). Where a method takes `friend: &str`, an id, a unique
/// beginning of one, the exact name, or an address does.
pub trait Handle: Clone + Send + Sync + 'static {
    /// How the node is. Answers while locked, too. `GET /v1/status`
    fn status(&self) -> impl Future<Output = Result<Status>> + Send;
    /// Who I am. `GET /v1/identity`
    fn identity(&self) -> impl Future<Output = Result<Identity>> + Send;
    /// Makes a new contact token: the old address stops working for strangers. `POST /v1/identity/rotate`
    fn rotate_token(&self) -> impl Future<Output = Result<Identity>> + Send;
    /// Changes what friends see of me. `PUT /v1/identity/profile`
    fn set_profile(&self, profile: Profile) -> impl Future<Output = Result<Identity>> + Send;
    /// The 24 words. `GET /v1/identity/phrase`
    fn phrase(&self) -> impl Future<Output = Result<Phrase>> + Send;
    /// An encrypted backup file. `POST /v1/identity/backup`
    fn backup(&self, request: BackupRequest) -> impl Future<Output = Result<Backup>> + Send;
    /// Puts the keys under a passphrase, or takes it off. `PUT /v1/identity/passphrase`
    fn set_passphrase(&self, passphrase: Passphrase) -> impl Future<Output = Result<()>> + Send;
    /// Opens a locked node. `POST /v1/unlock`
    fn unlock(&self, passphrase: Passphrase) -> impl Future<Output = Result<()>> + Send;

    /// Friends and the asked. `GET /v1/friends`
    fn friends(&self) -> impl Future<Output = Result<Vec<Friend>>> + Send;
    /// One of them. `GET /v1/friends/{friend}`
    fn friend(&self, friend: &str) -> impl Future<Output = Result<Friend>> + Send;
    /// Asks somebody to be a friend. `POST /v1/friends`
    fn add_friend(&self, add: AddFriend) -> impl Future<Output = Result<Friend>> + Send;
    /// Renames, marks as verified. `PATCH /v1/friends/{friend}`
    fn update_friend(&self, friend: &str, update: FriendUpdate) -> impl Future<Output = Result<Friend>> + Send;
    /// Ends a friendship, or withdraws a request. `DELETE /v1/friends/{friend}`
    fn remove_friend(&self, friend: &str) -> impl Future<Output = Result<()>> + Send;
    /// Blocks a friend or anybody else by id or address. `POST /v1/friends/{friend}/block`
    fn block(&self, friend: &str) -> impl Future<Output = Result<()>> + Send;
    /// Who is blocked (ids). `GET /v1/blocked`
    fn blocked(&self) -> impl Future<Output = Result<Vec<FriendId>>> + Send;
    /// Lifts a block. `DELETE /v1/blocked/{id}`
    fn unblock(&self, id: &str) -> impl Future<Output = Result<()>> + Send;
    /// What strangers asked. `GET /v1/requests`
    fn requests(&self) -> impl Future<Output = Result<Vec<Request>>> + Send;
    /// Answers a request. `POST /v1/requests/{id}`
    fn answer_request(&self, id: &str, answer: RequestAnswer) -> impl Future<Output = Result<()>> + Send;
    /// Sets the own availability. `PUT /v1/availability`
    fn set_availability(&self, set: SetAvailability) -> impl Future<Output = Result<()>> + Send;

    /// What others learn of this node. `GET /v1/privacy`
    fn privacy(&self) -> impl Future<Output = Result<Privacy>> + Send;
    /// Hides this node's addresses from everybody, or shows them again. `PUT /v1/privacy`
    fn set_privacy(&self, privacy: Privacy) -> impl Future<Output = Result<Privacy>> + Send;

    /// Calls a friend and takes the seat. `POST /v1/calls`
    fn place_call(&self, place: PlaceCall) -> impl Future<Output = Result<SeatedCall>> + Send;
    /// Calls that are not over, and those that ended in the last minute. `GET /v1/calls`
    fn calls(&self) -> impl Future<Output = Result<Vec<Call>>> + Send;
    /// One of them. `GET /v1/calls/{id}` (a unique beginning of the id does, too)
    fn call(&self, id: &str) -> impl Future<Output = Result<Call>> + Send;
    /// Answers and takes the seat. `POST /v1/calls/{id}/answer`
    fn answer_call(&self, id: &str, answer: AnswerCall) -> impl Future<Output = Result<SeatedCall>> + Send;
    /// Goes on with a call that was lost, in a new call, and takes its seat. `POST /v1/calls/{id}/resume`
    fn resume_call(&self, id: &str, resume: AnswerCall) -> impl Future<Output = Result<SeatedCall>> + Send;
    /// Takes the seat of a running call. `POST /v1/calls/{id}/seat`
    fn take_seat(&self, id: &str, take: TakeSeat) -> impl Future<Output = Result<SeatedCall>> + Send;
    /// Says no. `POST /v1/calls/{id}/decline`
    fn decline_call(&self, id: &str, decline: Decline) -> impl Future<Output = Result<()>> + Send;
    /// Leaves, or gives up calling. `POST /v1/calls/{id}/hangup`
    fn hangup(&self, id: &str) -> impl Future<Output = Result<()>> + Send;
    /// Mutes, holds, video on and off. `PATCH /v1/calls/{id}`
    fn update_call(&self, id: &str, update: CallUpdate) -> impl Future<Output = Result<Call>> + Send;
    /// Asks to record, agrees, refuses, begins, ends. `POST /v1/calls/{id}/recording`
    fn record_call(&self, id: &str, record: RecordCall) -> impl Future<Output = Result<Call>> + Send;
    /// Calls that are over, newest first, at most 1000. `GET /v1/history`
    fn history(&self) -> impl Future<Output = Result<Vec<HistoryEntry>>> + Send;
    /// Marks all missed calls as seen. `POST /v1/history/seen`
    fn history_seen(&self) -> impl Future<Output = Result<()>> + Send;
    /// Forgets all calls that are over. `DELETE /v1/history`
    fn clear_history(&self) -> impl Future<Output = Result<()>> + Send;
    /// Opens the media of a seat. `GET /v1/calls/{id}/media?seat=…` (WebSocket)
    fn media(&self, id: &str, seat: &SeatToken) -> impl Future<Output = Result<MediaChannel>> + Send;

    /// All conversations, the one with the latest line first. `GET /v1/messages`
    fn conversations(&self) -> impl Future<Output = Result<Vec<Conversation>>> + Send;
    /// Lines of a conversation. `GET /v1/friends/{friend}/messages?before=…&limit=…`
    fn messages(&self, friend: &str, page: PageRequest) -> impl Future<Output = Result<MessagePage>> + Send;
    /// Sends a message; it is kept until it is delivered. `POST /v1/friends/{friend}/messages`
    fn send_message(&self, friend: &str, send: SendMessage) -> impl Future<Output = Result<ChatMessage>> + Send;
    /// Marks lines as read. `POST /v1/friends/{friend}/messages/read`
    fn mark_read(&self, friend: &str, read: MarkRead) -> impl Future<Output = Result<Conversation>> + Send;
    /// Deletes a conversation here, with what waits in it. `DELETE /v1/friends/{friend}/messages`
    fn delete_conversation(&self, friend: &str) -> impl Future<Output = Result<()>> + Send;

    /// Transfers, the latest offer first. `GET /v1/files`
    fn files(&self) -> impl Future<Output = Result<Vec<FileTransfer>>> + Send;
    /// One of them. `GET /v1/files/{file}` (a unique beginning of the id does, too)
    fn file(&self, id: &str) -> impl Future<Output = Result<FileTransfer>> + Send;
    /// Offers a file to a friend. `POST /v1/friends/{friend}/files`
    fn offer_file(&self, friend: &str, offer: OfferFile) -> impl Future<Output = Result<FileTransfer>> + Send;
    /// Accepts, declines, pauses, resumes, cancels. `POST /v1/files/{file}/{accept|decline|pause|resume|cancel}`
    fn file_act(&self, id: &str, act: FileAct) -> impl Future<Output = Result<FileTransfer>> + Send;
    /// Takes a transfer that is over off the list; the file stays. `DELETE /v1/files/{file}`
    fn forget_file(&self, id: &str) -> impl Future<Output = Result<()>> + Send;

    /// My picture. `GET /v1/identity/picture`
    fn picture(&self) -> impl Future<Output = Result<Picture>> + Send;
    /// Sets my picture, or takes it away. `PUT /v1/identity/picture`
    fn set_picture(&self, picture: Picture) -> impl Future<Output = Result<Identity>> + Send;
    /// A friend's picture. `GET /v1/friends/{friend}/picture`
    fn friend_picture(&self, friend: &str) -> impl Future<Output = Result<Picture>> + Send;

    /// What is set. `GET /v1/settings`
    fn settings(&self) -> impl Future<Output = Result<Settings>> + Send;
    /// Changes it. `PATCH /v1/settings`
    fn update_settings(&self, update: SettingsUpdate) -> impl Future<Output = Result<Settings>> + Send;

    /// How relaying is. `GET /v1/relay`
    fn relay(&self) -> impl Future<Output = Result<RelayStatus>> + Send;
    /// Sets whom this node relays for. `PUT /v1/relay`
    fn set_relay(&self, set: SetRelay) -> impl Future<Output = Result<RelayStatus>> + Send;

    /// Looks a slot up afresh. `POST /v1/lookup`
    fn lookup(&self, request: LookupRequest) -> impl Future<Output = Result<Lookup>> + Send;
    /// Examines the node. `GET /v1/doctor`
    fn doctor(&self) -> impl Future<Output = Result<Doctor>> + Send;
    /// Tries the media path to a friend without a call. `POST /v1/friends/{friend}/preflight`
    fn preflight(&self, friend: &str) -> impl Future<Output = Result<Preflight>> + Send;
    /// A redacted report. `GET /v1/report`
    fn report(&self) -> impl Future<Output = Result<Report>> + Send;
    /// Everything that happens from now on. `GET /v1/events` (JSON lines)
    fn events(&self) -> impl Future<Output = Result<BoxStream<'static, Event>>> + Send;
    /// Stops the node: leaves calls, says good-bye, writes everything. `POST /v1/shutdown`
    fn shutdown(&self) -> impl Future<Output = Result<()>> + Send;
}
