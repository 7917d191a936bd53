//! What pages ask of the node beside calls: conversations, files, history, settings, the doctor.

use std::path::PathBuf;
use std::sync::Arc;

use twocan_control::{
    BackupRequest, Code, Error, FileAct, FileId, FriendId, FriendUpdate, Handle, MarkRead, OfferFile, PageRequest,
    Passphrase, Picture, Privacy, RelayPolicy, Result, SendMessage, SetRelay, SettingsUpdate,
};

use super::engine::Desk;
use crate::model::Update;
use crate::model::desk::NodeUpdate;

/// What a page asks for.
#[derive(Clone, Debug)]
pub enum NodeCommand {
    /// All conversations, transfers and calls, when a connection is new.
    Everything,
    /// Lines of a conversation, before this place or the latest.
    Lines {
        /// With whom.
        friend: FriendId,
        /// Before this place.
        before: Option<u64>,
    },
    /// Sends a message.
    Send {
        /// To whom.
        friend: FriendId,
        /// What it says.
        text: String,
    },
    /// All lines of a friend have been read.
    MarkRead {
        /// Whose.
        friend: FriendId,
    },
    /// Forgets a conversation.
    DeleteConversation {
        /// With whom.
        friend: FriendId,
    },
    /// Offers a file.
    OfferFile {
        /// To whom.
        friend: FriendId,
        /// Which.
        path: PathBuf,
    },
    /// Does something with a transfer.
    File {
        /// Which.
        id: FileId,
        /// What.
        act: FileAct,
    },
    /// Calls that are over.
    History,
    /// Missed calls were looked at.
    HistorySeen,
    /// Forgets all calls.
    ClearHistory,
    /// Examines the network.
    Doctor,
    /// A report without names, to be saved.
    Report,
    /// How relaying is.
    Relay,
    /// For whom to relay.
    SetRelay(RelayPolicy),
    /// What others learn.
    Privacy,
    /// Hides this node's addresses from everybody, or not.
    SetPrivacy(Privacy),
    /// Settings of the node.
    Settings,
    /// Changes them.
    UpdateSettings(SettingsUpdate),
    /// Who is blocked.
    Blocked,
    /// Blocks somebody.
    Block(FriendId),
    /// Lifts a block.
    Unblock(FriendId),
    /// Hides this node's addresses from a friend, or not.
    HideAddress {
        /// From whom.
        friend: FriendId,
        /// Hidden from now on.
        hide: bool,
    },
    /// How a call would be.
    Preflight {
        /// To whom.
        friend: FriendId,
    },
    /// The 24 words.
    Phrase,
    /// A backup, to be saved.
    Backup(Passphrase),
    /// Locks the keys under a passphrase, or takes it off.
    SetPassphrase(Passphrase),
    /// A new contact token.
    Rotate,
    /// Sets my picture; no bytes take it away.
    SetPicture(Vec<u8>),
    /// The picture of a person; of me without a friend.
    Picture {
        /// Of whom.
        friend: Option<FriendId>,
        /// The hash that it has now.
        hash: String,
    },
    /// Stops the node; it is started again by the button that is shown then.
    Stop,
    /// Keeps the node running from login on.
    InstallService,
}

impl Desk {
    /// Does what a page asks for. What fails and has no place to be shown is told as a refusal.
    pub(super) async fn page<H: Handle>(&self, node: &H, command: NodeCommand) -> Result<()> {
        let update = match command {
            NodeCommand::Everything => {
                self.answer(NodeUpdate::Conversations(node.conversations().await?)).await;
                self.answer(NodeUpdate::Files(node.files().await?)).await;
                NodeUpdate::History(node.history().await?)
            }
            NodeCommand::Lines { friend, before } => {
                let page = node.messages(&friend, PageRequest { before, limit: None }).await;
                NodeUpdate::Page { friend, page }
            }
            NodeCommand::Send { friend, text } => {
                match node.send_message(&friend, SendMessage { text: text.clone() }).await {
                    Ok(_) => return Ok(()),
                    Err(error) => {
                        self.answer(NodeUpdate::Unsent { friend, text, error: error.clone() }).await;
                        return Err(error);
                    }
                }
            }
            NodeCommand::MarkRead { friend } => {
                NodeUpdate::Conversation(node.mark_read(&friend, MarkRead::default()).await?)
            }
            NodeCommand::DeleteConversation { friend } => return node.delete_conversation(&friend).await,
            NodeCommand::OfferFile { friend, path } => {
                let Some(path) = path.to_str().map(str::to_owned) else {
                    return Err(Error::new(Code::Invalid, "the name of this file is no readable text")
                        .hint("give it another name"));
                };
                return node.offer_file(&friend, OfferFile { path }).await.map(drop);
            }
            NodeCommand::File { id, act } => return node.file_act(&id, act).await.map(drop),
            NodeCommand::History => NodeUpdate::History(node.history().await?),
            NodeCommand::HistorySeen => {
                node.history_seen().await?;
                NodeUpdate::History(node.history().await?)
            }
            NodeCommand::ClearHistory => {
                node.clear_history().await?;
                NodeUpdate::History(node.history().await?)
            }
            NodeCommand::Doctor => NodeUpdate::Doctor(Box::new(node.doctor().await)),
            NodeCommand::Report => {
                let text = node.report().await?.text;
                NodeUpdate::Text { name: "twocan-report.txt", bytes: Arc::from(text.into_bytes()) }
            }
            NodeCommand::Relay => NodeUpdate::Relay(node.relay().await),
            NodeCommand::SetRelay(serve) => NodeUpdate::Relay(node.set_relay(SetRelay { serve }).await),
            NodeCommand::Privacy => NodeUpdate::Privacy(node.privacy().await),
            NodeCommand::SetPrivacy(privacy) => NodeUpdate::Privacy(node.set_privacy(privacy).await),
            NodeCommand::Settings => NodeUpdate::Settings(node.settings().await),
            NodeCommand::UpdateSettings(update) => NodeUpdate::Settings(Ok(node.update_settings(update).await?)),
            NodeCommand::Blocked => NodeUpdate::Blocked(node.blocked().await),
            NodeCommand::Block(id) => {
                node.block(&id).await?;
                NodeUpdate::Blocked(node.blocked().await)
            }
            NodeCommand::Unblock(id) => {
                node.unblock(&id).await?;
                NodeUpdate::Blocked(node.blocked().await)
            }
            NodeCommand::HideAddress { friend, hide } => {
                let update = FriendUpdate { hide_address: Some(hide), ..FriendUpdate::default() };
                return node.update_friend(&friend, update).await.map(drop);
            }
            NodeCommand::Preflight { friend } => {
                let result = Box::new(node.preflight(&friend).await);
                NodeUpdate::Preflight { friend, result }
            }
            NodeCommand::Phrase => NodeUpdate::Phrase(node.phrase().await),
            NodeCommand::Backup(passphrase) => {
                let backup = node.backup(BackupRequest { passphrase }).await?;
                let bytes = unhex(&backup.file_hex)?;
                NodeUpdate::Text { name: "twocan-backup.bin", bytes: Arc::from(bytes) }
            }
            NodeCommand::SetPassphrase(passphrase) => return node.set_passphrase(passphrase).await,
            NodeCommand::Rotate => {
                node.rotate_token().await?;
                self.refresh(node).await;
                return Ok(());
            }
            NodeCommand::SetPicture(bytes) => {
                node.set_picture(Picture::of(&bytes)?).await?;
                self.refresh(node).await;
                return Ok(());
            }
            NodeCommand::Picture { friend, hash } => {
                let picture = match &friend {
                    Some(friend) => node.friend_picture(friend).await?,
                    None => node.picture().await?,
                };
                NodeUpdate::Picture { bytes: Arc::from(picture.bytes()?), friend, hash }
            }
            NodeCommand::Stop => return node.shutdown().await,
            NodeCommand::InstallService => NodeUpdate::Service(self.install_service().await),
        };
        self.answer(update).await;
        Ok(())
    }

    async fn answer(&self, update: NodeUpdate) {
        self.tell(Update::Node(update)).await;
    }

    async fn install_service(&self) -> Result<()> {
        super::engine::run_twocan(self.home(), &["service", "install"], None).await
    }
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let wrong = || Error::new(Code::Internal, "the backup is not written in hexadecimal");
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect::<Option<_>>().ok_or_else(wrong)
}
