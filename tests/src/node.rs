//! One node as a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use tokio::process::{Child, Command};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};
use twocan_control::{Client, Event, Handle, Status};

/// How long anything may take before a test fails. Generous: the machines are shared.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How a node of a test is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Nodes to start from.
    pub bootstrap: Vec<String>,
    /// More lines of `config.toml`.
    pub extra: String,
    /// Whether the node serves the DHT ("auto", "on", "off").
    pub dht_server: Option<&'static str>,
    /// Addresses to listen on (multiaddr), instead of loopback.
    pub listen: Option<Vec<String>>,
    /// Words before the program: what starts it, and becomes it (`exec`).
    pub launcher: Vec<String>,
    /// Where it runs, if not here: a host of a [`crate::lab::Lab`].
    #[cfg(target_os = "linux")]
    pub namespace: Option<crate::lab::namespace::Namespace>,
}

impl Options {
    /// The command that runs a program where these options want it.
    fn command(&self, program: &Path) -> std::process::Command {
        let Some((launcher, words)) = self.launcher.split_first() else { return self.at_its_place(program) };
        let mut command = self.at_its_place(Path::new(launcher));
        command.args(words).arg(program);
        command
    }

    fn at_its_place(&self, program: &Path) -> std::process::Command {
        #[cfg(target_os = "linux")]
        if let Some(namespace) = &self.namespace {
            return namespace.command(program);
        }
        std::process::Command::new(program)
    }
}

/// A running `twocand`.
#[derive(Debug)]
pub struct Node {
    name: String,
    home: PathBuf,
    options: Options,
    child: Child,
    client: Client,
    events: broadcast::Sender<Event>,
    // Declared last: the folder goes after the process.
    _folder: Option<tempfile::TempDir>,
}

/// The path of a program of ours, built next to the running test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let folder = test.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    // Tests run from `deps/`, helper programs from the folder itself.
    let beside = test.parent().unwrap_or(Path::new(".")).join(name);
    if beside.is_file() { beside } else { folder.join(name) }
}

impl Node {
    /// Starts a node with an empty home on loopback, without multicast DNS.
    pub async fn start(name: &str, options: &Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("twocan-{name}-")).tempdir()?;
        let home = folder.path().to_owned();
        Self::start_in(name, &home, options, Some(folder)).await
    }

    /// Starts a node in a given home.
    pub async fn start_in(
        name: &str,
        home: &Path,
        options: &Options,
        folder: Option<tempfile::TempDir>,
    ) -> Result<Self> {
        write_config(home, options)?;
        let child = spawn(name, home, options)?;
        let mut node = Self::connected(name, home, options, child).await?;
        node._folder = folder;
        Ok(node)
    }

    async fn connected(name: &str, home: &Path, options: &Options, mut child: Child) -> Result<Self> {
        let client = wait_for_api(home, &mut child).await.with_context(|| format!("{name} does not answer"))?;
        let events = broadcast::Sender::new(4096);
        follow(&client, &events).await?;
        let (name, home, options) = (name.to_owned(), home.to_owned(), options.clone());
        Ok(Self { name, home, options, child, client, events, _folder: None })
    }

    /// The name in the story.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The client of its local API.
    pub fn api(&self) -> &Client {
        &self.client
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Resident memory of the process, in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Everything that the node has logged so far, over all starts in this home.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.home.join("node.log"))?).into_owned())
    }

    /// Events from now on; make it before what is to be waited for.
    pub fn events(&self) -> Events {
        Events { name: self.name.clone(), receiver: self.events.subscribe() }
    }

    /// An address at which other nodes reach this one over loopback, with its PeerId.
    pub async fn bootstrap_address(&self) -> Result<String> {
        let status = self.until(|status| loopback_address(status).is_some()).await?;
        loopback_address(&status).context("no loopback address")
    }

    /// Waits until the status satisfies a condition; asks again after each event, and now and then.
    pub async fn until(&self, mut condition: impl FnMut(&Status) -> bool) -> Result<Status> {
        let mut events = self.events();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.client.status().await?;
            if condition(&status) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{}: the status never became as wanted: {status:?}", self.name);
            }
            let _ = timeout(Duration::from_millis(50), events.receiver.recv()).await;
        }
    }

    /// Waits until something that is asked for anew each time holds.
    pub async fn eventually<T, F, Fut>(&self, what: &str, mut ask: F) -> Result<T>
    where
        F: FnMut(Client) -> Fut,
        Fut: Future<Output = Result<Option<T>>>,
    {
        let mut events = self.events();
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = ask(self.client.clone()).await? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("{}: waited in vain for: {what}", self.name);
            }
            let _ = timeout(Duration::from_millis(100), events.receiver.recv()).await;
        }
    }

    /// Kills the process without a word (`kill -9`), waits until it is gone, and starts it again in the same home.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.start_again().await
    }

    /// Kills the process without a word (`kill -9`).
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Stops the node politely and waits until it is gone.
    pub async fn stop(&mut self) -> Result<()> {
        self.client.shutdown().await?;
        let status = timeout(DEADLINE, self.child.wait()).await.context("it does not stop")??;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }

    /// Starts a stopped node again in the same home.
    pub async fn start_again(&mut self) -> Result<()> {
        let child = spawn(&self.name, &self.home, &self.options)?;
        let folder = self._folder.take();
        let mut again = Self::connected(&self.name, &self.home, &self.options, child).await?;
        again._folder = folder;
        *self = again;
        Ok(())
    }

    /// Whether the process still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// The stream of a node's events, for waiting.
#[derive(Debug)]
pub struct Events {
    name: String,
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// Waits for an event from which `pick` takes something.
    pub async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> Result<T> {
        let wait = async {
            loop {
                match self.receiver.recv().await {
                    Ok(event) => {
                        if let Some(found) = pick(event) {
                            return Ok(found);
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => bail!("{}: the event stream ended", self.name),
                }
            }
        };
        timeout(DEADLINE, wait).await.with_context(|| format!("{}: waited in vain for: {what}", self.name))?
    }
}

/// Writes the configuration of a node that is to live in a home.
///
/// # Errors
/// The home cannot be written.
pub(crate) fn write_config(home: &Path, options: &Options) -> Result<()> {
    let quoted: Vec<String> = options.bootstrap.iter().map(|address| format!("{address:?}")).collect();
    let loopback = || ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"].map(str::to_owned).to_vec();
    let listen = options.listen.clone().unwrap_or_else(loopback);
    let listen: Vec<String> = listen.iter().map(|address| format!("{address:?}")).collect();
    // No test asks the internet for first nodes; who wants to find some says where.
    let outside = if options.extra.contains("ipfs_bootstrap") { "" } else { "bootstrap_public = false\n" };
    let text = format!(
        "[network]\nlisten = [{}]\nmdns = false\nbootstrap = [{}]\ndht_server = \"{}\"\n{outside}{}",
        listen.join(", "),
        quoted.join(", "),
        options.dht_server.unwrap_or("auto"),
        options.extra
    );
    std::fs::create_dir_all(home)?;
    std::fs::write(home.join("config.toml"), text)?;
    Ok(())
}

fn spawn(name: &str, home: &Path, options: &Options) -> Result<Child> {
    let program = binary("twocand");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(home.join("node.log"))?;
    Command::from(options.command(&program))
        .env("TWOCAN_HOME", home)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!("cannot start {} for {name}: build it with `cargo build --release`", program.display())
        })
}

async fn wait_for_api(home: &Path, child: &mut Child) -> Result<Client> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match Client::connect(home).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => {}
        }
        // The socket appears without an event that could be waited for; the process ending is one.
        if let Ok(status) = timeout(Duration::from_millis(5), child.wait()).await {
            let log = std::fs::read_to_string(home.join("node.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            bail!("it ended at once ({}): {}", status?, last.join(" | "));
        }
    }
}

async fn follow(client: &Client, events: &broadcast::Sender<Event>) -> Result<()> {
    let mut stream = client.events().await?;
    let hello = timeout(DEADLINE, stream.next()).await?;
    if !matches!(hello, Some(Event::Hello { .. })) {
        bail!("the event stream begins with {hello:?}");
    }
    let events = events.clone();
    tokio::spawn(async move {
        while let Some(event) = stream.next().await {
            // Nobody waiting is no fault.
            let _ = events.send(event);
        }
    });
    Ok(())
}

fn loopback_address(status: &Status) -> Option<String> {
    let quic = status.listen.iter().find(|address| address.starts_with("/ip4/127.0.0.1/udp/"))?;
    let quic = quic.split("/p2p/").next()?;
    (!status.peer_id.is_empty()).then(|| format!("{quic}/p2p/{}", status.peer_id))
}
