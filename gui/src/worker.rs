//! The worker: a thread with a tokio runtime that owns the client of the node and the media of the call.
//!
//! It ends when its [`Worker`] is dropped. Commands run beside each other, so that a slow one holds nobody up; what
//! comes of them is an [`Update`].

pub mod bell;
mod engine;
pub mod node;
pub mod notify;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use twocan_control::{
    AddFriend, Availability, CallId, Client, Code, Error, FriendId, Handle, Passphrase, RequestAnswer,
};

use crate::model::Update;
use crate::model::call::gear::Look;
use crate::seat::{Act, Devices, Live};
use engine::Engine;

/// Updates that wait for the window; then the worker waits, and the node drops a client that does not read.
const UPDATES: usize = 256;
/// Commands that wait for the worker; a person does not click faster.
const COMMANDS: usize = 64;

/// What the window wants done.
#[derive(Clone, Debug)]
pub enum Command {
    /// Call a friend.
    Call {
        /// Whom.
        friend: FriendId,
        /// With picture.
        video: bool,
    },
    /// Answer a call that rings.
    Answer {
        /// Which.
        call: CallId,
        /// With picture.
        video: bool,
    },
    /// Bring the sound of a running call here.
    Join {
        /// Which.
        call: CallId,
    },
    /// Decline a call that rings.
    Decline {
        /// Which.
        call: CallId,
        /// A line for the caller.
        text: Option<String>,
    },
    /// Leave a call.
    Hangup {
        /// Which.
        call: CallId,
    },
    /// Mute or unmute my microphone.
    Mute {
        /// Which call.
        call: CallId,
        /// Muted from now on.
        muted: bool,
    },
    /// Send my picture, or stop.
    Video {
        /// Which call.
        call: CallId,
        /// Sent from now on.
        on: bool,
    },
    /// Hold a call, or go on.
    Hold {
        /// Which call.
        call: CallId,
        /// Held from now on.
        held: bool,
    },
    /// Change devices, share, record: what a person does in a call.
    InCall {
        /// Which call.
        call: CallId,
        /// What.
        act: Act,
    },
    /// Look what can be shared, or which devices there are.
    Look(Look),
    /// Ask somebody to be a friend.
    Add(AddFriend),
    /// Answer a stranger's request.
    AnswerRequest {
        /// Whose.
        id: FriendId,
        /// How.
        answer: RequestAnswer,
    },
    /// Give a friend another name here.
    Rename {
        /// Whom.
        friend: FriendId,
        /// The name.
        name: String,
    },
    /// Remember whether the safety words were compared.
    Verify {
        /// Of whom.
        friend: FriendId,
        /// They are the same.
        verified: bool,
    },
    /// End a friendship, or withdraw a request.
    Remove {
        /// With whom.
        friend: FriendId,
    },
    /// Set my availability.
    SetAvailability(Availability),
    /// Set the name that friends see.
    SetName(String),
    /// What a page asks for beside calls.
    Node(node::NodeCommand),
    /// Unlock the node.
    Unlock(Passphrase),
    /// Start the node.
    StartNode,
    /// Stop the node, of whatever version it is, and start it again.
    RestartNode,
    /// Bring an identity back where there is none yet, and start the node.
    Restore {
        /// The 24 words, or the passphrase of the backup.
        secret: Passphrase,
        /// The backup.
        file: Option<PathBuf>,
    },
}

/// What the worker needs to know.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Home of the node.
    pub home: PathBuf,
    /// Which devices calls use.
    pub devices: Devices,
}

/// Wakes the window.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The window's side of the worker.
#[derive(Debug)]
pub struct Worker {
    commands: mpsc::Sender<Command>,
    updates: mpsc::Receiver<Update>,
    live: Live,
}

impl Worker {
    /// Starts the thread; `wake` is called after each update and each picture.
    ///
    /// # Errors
    /// The system gives no thread or event queue.
    pub fn start(options: Options, wake: Wake) -> std::io::Result<Self> {
        let home = options.home.clone();
        Self::start_on(options, wake, move || {
            let home = home.clone();
            async move { Client::connect(&home).await }
        })
    }

    /// The same with another way to reach a node.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn start_on<H, C, F>(options: Options, wake: Wake, connect: C) -> std::io::Result<Self>
    where
        H: Handle,
        C: Fn() -> F + Send + 'static,
        F: Future<Output = twocan_control::Result<H>> + Send,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, wanted) = mpsc::channel(COMMANDS);
        let (told, updates) = mpsc::channel(UPDATES);
        let live = Live::default();
        let engine = Engine::new(options, told, wake, live.clone());
        std::thread::Builder::new().name("worker".into()).spawn(move || {
            runtime.block_on(engine.run(connect, wanted));
            // A device that hangs must not keep the program from ending.
            runtime.shutdown_background();
        })?;
        Ok(Self { commands, updates, live })
    }

    /// Sends a command. Never waits.
    ///
    /// # Errors
    /// So many commands wait that one more makes no sense, or the worker is gone.
    pub fn send(&self, command: Command) -> Result<(), Error> {
        let busy = |_| Error::new(Code::Limit, "the node does not keep up; wait a moment");
        self.commands.try_send(command).map_err(busy)
    }

    /// The next update, if there is one.
    pub fn try_next(&mut self) -> Option<Update> {
        self.updates.try_recv().ok()
    }

    /// Waits for the next update; `None` when the worker is gone. For tests: the window never waits.
    pub async fn wait(&mut self) -> Option<Update> {
        self.updates.recv().await
    }

    /// The media of the call.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }
}

#[cfg(test)]
mod tests;
