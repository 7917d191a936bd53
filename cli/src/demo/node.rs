//! A node of the demo: a real `twocand` process with a home of its own on loopback, killed when dropped.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use twocan_control::{Client, Code, Event, Handle, Status, paths};
use twocan_media::now_ns;

use super::diary::Diary;
use super::usage;
use crate::exit::{Exit, Failure};
use crate::process::{self, Started};

/// How often a starting node is tried: short, because what is measured ends with it.
const POLL: Duration = Duration::from_millis(2);
/// A node that does not answer after this long does not work.
const START: Duration = Duration::from_secs(20);
/// How long a node may take to stop.
const STOP: Duration = Duration::from_secs(15);

/// Whether a node serves the DHT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Somebody's node behind a router: asks the DHT, does not serve it.
    Person,
    /// A node that serves the DHT for others.
    Server,
}

/// A running node, its client, and everything that happened in it.
#[derive(Debug)]
pub struct Node {
    /// What the story calls it.
    pub name: String,
    /// Its home.
    pub home: PathBuf,
    /// Its local API.
    pub client: Client,
    /// Its events with their times.
    pub diary: Diary,
    /// When the process was started ([`now_ns`]).
    pub started_ns: u64,
    /// Milliseconds from then until the API answered.
    pub api_ms: f64,
    process: Running,
}

/// A process that is killed when nobody holds it any more: also when the demo ends before the node answers.
#[derive(Debug)]
struct Running(Started);

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone after `stop`; else the demo ends early, and no process may stay behind.
        let _ = self.0.child.kill();
        let _ = self.0.child.wait();
    }
}

/// Writes the settings of a demo node into its home: loopback only, no multicast, one node to start from.
///
/// # Errors
/// The home cannot be written.
pub fn configure(home: &Path, role: Role, bootstrap: &[String]) -> Result<(), Failure> {
    process::make_home(home)?;
    let list: Vec<String> = bootstrap.iter().map(|address| format!("{address:?}")).collect();
    let server = match role {
        Role::Person => "off",
        Role::Server => "on",
    };
    let text = format!(
        "[network]\nlisten = [\"/ip4/127.0.0.1/udp/0/quic-v1\", \"/ip4/127.0.0.1/tcp/0\"]\nbootstrap = [{}]\nmdns = false\n\
         dht_server = \"{server}\"\n\n[media]\nport = 0\n",
        list.join(", ")
    );
    let path = home.join("config.toml");
    std::fs::write(&path, text).map_err(|error| Failure::file(&path, "write", &error))
}

impl Node {
    /// Starts a node in a configured home and waits until its API answers.
    ///
    /// # Errors
    /// It does not start; the failure carries its last words.
    pub async fn start(name: &str, home: &Path) -> Result<Self, Failure> {
        Self::start_program(&process::find()?, name, home).await
    }

    /// The same with a given `twocand`.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_program(program: &Path, name: &str, home: &Path) -> Result<Self, Failure> {
        let (started, started_ns) = (Instant::now(), now_ns());
        let mut process = Running(process::start(program, home, false)?);
        let client = loop {
            // Looking for the socket is cheap, so the node that starts is not disturbed by it.
            if paths::socket(home).exists()
                && let Ok(client) = Client::connect(home).await
            {
                break client;
            }
            if let Ok(Some(status)) = process.0.child.try_wait() {
                let words = process.0.last_words();
                return Err(Failure::new(Exit::Unwell, format!("{name}'s node ended ({status}): {words}")));
            }
            if started.elapsed() > START {
                return Err(Failure::new(
                    Exit::Unwell,
                    format!("{name}'s node does not answer: {}", process.0.last_words()),
                ));
            }
            sleep(POLL).await;
        };
        let api_ms = milliseconds(started.elapsed());
        let diary = Diary::follow(client.events().await?);
        Ok(Self { name: name.to_owned(), home: home.to_owned(), client, diary, started_ns, api_ms, process })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.0.child.id()
    }

    /// Waits until the node is ready (a DHT peer, and the own slots read back from another node); milliseconds from the
    /// start of the process to the word of it.
    ///
    /// # Errors
    /// It did not become ready.
    pub async fn ready(&self) -> Result<f64, Failure> {
        // Asked once, because it may have been before the events were followed.
        let known = self.client.status().await?.timings.ready_ms.is_some();
        if known {
            return Ok(since(self.started_ns, now_ns()));
        }
        let what = format!("{}'s node to be ready", self.name);
        let pick = |event: &Event| matches!(event, Event::Ready { .. }).then_some(());
        let ((), at) = self.diary.wait(&what, pick).await?;
        Ok(since(self.started_ns, at))
    }

    /// Waits until the node knows who it is: its API answers a little earlier.
    ///
    /// # Errors
    /// It does not come so far.
    pub async fn running(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            match self.client.identity().await {
                Ok(_) => return Ok(()),
                Err(error) if error.code == Code::NoNode && begin.elapsed() < START => sleep(POLL).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until a DHT peer is connected.
    ///
    /// # Errors
    /// None is in time.
    pub async fn joined(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        while self.client.status().await?.dht.peers == 0 {
            if begin.elapsed() > START {
                return Err(Failure::new(Exit::Unwell, format!("{}'s node finds no DHT peer", self.name)));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Addresses to reach it at, with its peer id.
    ///
    /// # Errors
    /// It listens nowhere.
    pub async fn addresses(&self) -> Result<Vec<String>, Failure> {
        let begin = Instant::now();
        loop {
            let Status { listen, peer_id, .. } = self.client.status().await?;
            if !listen.is_empty() && !peer_id.is_empty() {
                let with_peer = |address: &String| match address.contains("/p2p/") {
                    true => address.clone(),
                    false => format!("{address}/p2p/{peer_id}"),
                };
                return Ok(listen.iter().map(with_peer).collect());
            }
            if begin.elapsed() > START {
                return Err(Failure::new(Exit::Unwell, format!("{}'s node listens nowhere", self.name)));
            }
            sleep(POLL).await;
        }
    }

    /// Waits until the node shows a friend as online; the time of it ([`now_ns`]).
    ///
    /// # Errors
    /// It did not happen in time.
    pub async fn sees_online(&self, friend: &str) -> Result<u64, Failure> {
        let pick = |event: &Event| match event {
            Event::Friend { friend: known } => (known.id == friend && known.online).then_some(()),
            _ => None,
        };
        // A node whose API answers may still be reading its friends.
        self.running().await?;
        if self.client.friends().await?.iter().any(|known| known.id == friend && known.online) {
            // It may have been told already: then the diary knows since when.
            return Ok(self.diary.find(pick).map_or_else(now_ns, |((), at)| at));
        }
        let what = format!("{} to see the friend online", self.name);
        Ok(self.diary.wait(&what, pick).await?.1)
    }

    /// Resident memory, megabytes (10^6 bytes).
    pub fn rss_mb(&self) -> Option<f64> {
        usage::rss_mb(self.pid())
    }

    /// Stops the node as `twocan down` does, and waits until the process is gone.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.client.shutdown().await?;
        let gone = async {
            while matches!(self.process.0.child.try_wait(), Ok(None)) {
                sleep(POLL).await;
            }
        };
        timeout(STOP, gone).await.map_err(|_| Failure::new(Exit::Unwell, format!("{}'s node does not stop", self.name)))
    }
}

/// A length of time in milliseconds.
pub fn milliseconds(length: Duration) -> f64 {
    length.as_secs_f64() * 1e3
}

/// From one time to a later one, in milliseconds; 0 if it is not later.
#[expect(clippy::cast_precision_loss, reason = "differences of seconds, shown in milliseconds")]
pub fn since(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e6
}
