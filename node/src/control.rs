//! The control server: the local API (`twocan_control::Handle`) over HTTP on a Unix socket in the home.
//!
//! Whoever can open the socket is the owner of the node or root: the folder is 0700, the socket 0600, and the kernel is
//! asked for the user id of every caller. Web pages are kept out by refusing whatever carries an `Origin`. Nobody can
//! make the node wait or grow: connections, bodies, headers, lines and queues are bounded, every operation has a
//! deadline, and a client that does not read is dropped. On systems without Unix sockets the server listens on
//! 127.0.0.1 and wants the token from a file that only the owner reads.
//!
//! [`Server::start`] spawns the accept loop; one task per connection hangs below it, and one per event stream and media
//! socket. [`Server::stop`] ends them all: requests under way get a moment to finish.

mod calls;
mod connection;
mod events;
mod extract;
mod files;
mod friends;
mod identity;
mod listener;
mod media;
mod messages;
mod node;
pub mod openapi;
mod routes;
mod settings;
mod stall;

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twocan_control::{Endpoint, Handle, limits};

pub use listener::{BindError, Listener};

/// Connections at one time. A client holds about three (requests, events, media); a person has few clients.
const MAX_CONNECTIONS: usize = 64;
/// Events that wait for one client beyond what the socket holds; with about 1 kB each 256 kB.
const EVENT_QUEUE: usize = 256;
/// How long a client may let the node's bytes lie before it is dropped.
const STALL: Duration = Duration::from_secs(30);
/// What requests under way get to finish in when the node stops.
const GRACE: Duration = Duration::from_secs(2);

/// The server's bounds, as constants say; tests make some smaller.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time; whoever comes then is told so and closed.
    pub connections: usize,
    /// Events that wait for one client before it is dropped.
    pub event_queue: usize,
    /// Deadline of an ordinary operation, its body included.
    pub quick: Duration,
    /// Deadline of what hashes a passphrase or searches the network.
    pub slow: Duration,
    /// How long a connection may take for the head of its next request.
    pub idle: Duration,
    /// How long a client may let the node's bytes lie before it is dropped.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            event_queue: EVENT_QUEUE,
            quick: limits::QUICK,
            slow: limits::SLOW,
            idle: limits::IDLE,
            stall: STALL,
        }
    }
}

/// A running control server.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens in the home (its folder must exist) and serves `handle` from now on.
    ///
    /// # Errors
    /// [`BindError`] says what is in the way, among others a node that already answers there.
    pub async fn start<H: Handle>(home: &Path, handle: H) -> Result<Self, BindError> {
        Ok(Self::serve(Listener::bind(home).await?, handle, Limits::default()))
    }

    /// Serves `handle` on a listener that is bound already.
    pub fn serve<H: Handle>(listener: Listener, handle: H, limits: Limits) -> Self {
        let endpoint = listener.endpoint().clone();
        let stop = CancellationToken::new();
        let task = tokio::spawn(connection::accept(listener, handle, limits, stop.clone()));
        Self { endpoint, stop, task }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Stops listening, ends event streams and media sockets, lets requests under way finish for a moment, and removes
    /// the socket.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the control server died");
        }
    }
}

/// Without waiting for anybody.
impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
