//! A server on a socket of its own, and callers that speak raw bytes.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use twocan_control::testing::FakeNode;
use twocan_control::{Client, Endpoint, Error};
use twocan_node::control::{Limits, Listener, Server};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that has to happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A node in memory behind a real server.
pub(crate) struct Bench {
    pub(crate) node: FakeNode,
    pub(crate) server: Server,
    pub(crate) socket: PathBuf,
    pub(crate) home: TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let home = tempfile::tempdir().unwrap();
        let node = FakeNode::new();
        let listener = Listener::bind(home.path()).await.unwrap();
        let Endpoint::Unix(socket) = listener.endpoint().clone() else { panic!("not a Unix socket") };
        let server = Server::serve(listener, node.clone(), limits);
        Self { node, server, socket, home }
    }

    pub(crate) async fn client(&self) -> Client {
        soon("connecting", Client::connect(self.home.path())).await.unwrap()
    }

    pub(crate) async fn raw(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// Sends bytes and reads all that comes until the server closes; whether it closed by a reset does not matter.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.raw().await;
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        read_all(&mut stream).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}");
        Reply::parse(&self.exchange(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).await)
    }
}

pub(crate) async fn read_all(stream: &mut UnixStream) -> String {
    let mut out = Vec::new();
    soon("the end of the connection", async {
        let mut part = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut part).await {
            out.extend_from_slice(&part[..n]);
        }
    })
    .await;
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn error(&self) -> Error {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no error in {self:?}"))
    }
}
