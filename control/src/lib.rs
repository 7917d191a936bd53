//! The local API of a twocan node: everything that a client (the terminal, the desktop program, a script) may know of it.
//!
//! The types here are the JSON of `specs/06-control-api.md`. [`Handle`] is the whole API as a trait; the node implements
//! it in process, [`Client`] over the Unix socket, so that servers and clients are tested against one contract.
//! A client asks for the state first and then follows [`Event`]s: no state is lost between the two, because the event
//! stream begins with [`Event::Hello`] and everything after it is a change.

pub mod call;
pub mod client;
pub mod doctor;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod files;
pub mod friend;
pub mod handle;
pub mod identity;
pub mod limits;
pub mod media;
pub mod message;
pub mod node;
pub mod paths;
pub mod picture;
pub mod quality;
pub mod recording;
pub mod relay;
pub mod settings;
#[cfg(feature = "testing")]
pub mod testing;
pub mod validate;

pub use call::{
    AnswerCall, Call, CallId, CallState, CallUpdate, Decline, Direction, HistoryEntry, Outcome, PlaceCall, SeatToken,
    SeatedCall, TakeSeat,
};

pub use client::Client;
pub use doctor::{Check, Doctor, Preflight};
pub use endpoint::{Endpoint, Token};
pub use error::{Code, Error, Result};
pub use event::Event;
pub use files::{AcceptFile, FileAct, FileId, FileState, FileTransfer, OfferFile};
pub use friend::{
    AddFriend, Availability, Friend, FriendId, FriendState, FriendUpdate, Link, LinkPath, Privacy, Request,
    RequestAnswer, SetAvailability,
};
pub use handle::{Handle, MediaChannel, MediaMessage};
pub use identity::{Backup, BackupRequest, Identity, Passphrase, Phrase, Profile};
pub use media::{Feedback, MediaControl, MediaFrame, MediaKind, PictureLimits, StreamInfo};
pub use message::{
    ChatMessage, Conversation, FileNote, MarkRead, MessageId, MessagePage, MessageState, PageRequest, SendMessage,
};
pub use node::{Health, Lookup, LookupRequest, PublicDht, PublicDhtState, Report, Status, Timings};
pub use picture::Picture;
pub use quality::{FlowQuality, Made, ParticipantQuality, PictureQuality, Quality, RepairCounts, Shown, SoundQuality};
pub use recording::{RecordCall, RecordState, Recording};
pub use relay::{FriendRelay, RelayLimits, RelayPolicy, RelayStatus, RelayTraffic, RelayUse, SetRelay};
pub use settings::{Settings, SettingsUpdate};
pub use validate::Validate;

/// Version of this API, in every path (`/v1/…`) and in [`Status`].
pub const API_VERSION: u32 = 1;

/// Header of every answer, and of requests where the client wishes to be checked: the API version of its sender.
pub const VERSION_HEADER: &str = "twocan-api";
