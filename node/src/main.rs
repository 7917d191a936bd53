//! `twocand`: the background node. Runs in the foreground until it is told to stop; `twocan up` puts it into the
//! background. Everything it can be asked is on the control socket in its home.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use twocan_node::backup::{self, Source};
use twocan_node::home::{self, Home};
use twocan_node::{logging, runtime};
use twocan_protocol::sealed::passphrase::OpenError;
use zeroize::{Zeroize, Zeroizing};

/// Largest input of `restore`: a backup in hexadecimal, and room.
const MAX_RESTORE: u64 = 40 * 1024 * 1024;

/// The background node of twocan.
#[derive(Parser)]
#[command(name = "twocand", version, about, long_about = None)]
struct Arguments {
    /// Home folder of the node (also: TWOCAN_HOME).
    #[arg(long, env = twocan_control::paths::HOME_VARIABLE, value_name = "DIR")]
    home: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Puts an identity into an empty home. Reads one JSON object from standard input:
    /// {"words": "…"} or {"file_hex": "…", "passphrase": "…"}. (`twocan restore` asks for these.)
    Restore,
}

/// The input of `restore`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Material {
    Words { words: String },
    File { file_hex: String, passphrase: String },
}

impl Material {
    /// Overwrites the secrets.
    fn wipe(self) {
        match self {
            Self::Words { mut words } => words.zeroize(),
            Self::File { mut file_hex, mut passphrase } => {
                file_hex.zeroize();
                passphrase.zeroize();
            }
        }
    }
}

fn main() -> ExitCode {
    let began = Instant::now();
    let arguments = Arguments::parse();
    let Some(home) = arguments.home.or_else(twocan_control::paths::home) else {
        eprintln!("twocand: {}", home::Error::NoHome);
        return ExitCode::from(Failed::STORAGE);
    };
    let result = match arguments.command {
        Some(Command::Restore) => restore(&home),
        None => {
            logging::init();
            run(&home, began)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("twocand: {}", failed.text);
            ExitCode::from(failed.exit)
        }
    }
}

/// Why the program ends: a sentence, and an exit code with the meaning that `twocan help exit-codes` tells.
struct Failed {
    exit: u8,
    text: String,
}

impl Failed {
    const INTERNAL: u8 = 1;
    const USAGE: u8 = 2;
    const WRONG_PASSPHRASE: u8 = 9;
    const STORAGE: u8 = 13;

    fn new(exit: u8, text: impl std::fmt::Display) -> Self {
        Self { exit, text: text.to_string() }
    }
}

impl From<backup::Error> for Failed {
    fn from(error: backup::Error) -> Self {
        let exit = match &error {
            backup::Error::Open(OpenError::WrongPassphrase) => Self::WRONG_PASSPHRASE,
            backup::Error::Aside(_) | backup::Error::Store(_) | backup::Error::Keys(_) => Self::STORAGE,
            _ => Self::USAGE,
        };
        Self::new(exit, error)
    }
}

/// Two threads: one may wait for the disk while the other serves.
fn run(home: &std::path::Path, began: Instant) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .map_err(|error| Failed::new(Failed::INTERNAL, format!("the system has no more threads: {error}")))?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(signals(stop.clone()));
        runtime::run(home, began, stop).await
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result.map_err(|error| Failed::new(Failed::INTERNAL, error))
}

/// Stops the node on Ctrl-C and on SIGTERM.
async fn signals(stop: CancellationToken) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return stop.cancel();
        }
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        stop.cancel();
    }
}

fn restore(home: &std::path::Path) -> Result<(), Failed> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .take(MAX_RESTORE)
        .read_to_string(&mut text)
        .map_err(|error| Failed::new(Failed::USAGE, format!("cannot read standard input: {error}")))?;
    let expected =
        "standard input must be {\"words\": …} or {\"file_hex\": …, \"passphrase\": …}; use `twocan restore`";
    let material: Material = serde_json::from_str(&text).map_err(|_| Failed::new(Failed::USAGE, expected))?;
    let home = Home::open(home).map_err(|error| Failed::new(Failed::STORAGE, error))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let keys = match &material {
        Material::Words { words } => backup::restore(&home, Source::Words(words), now),
        Material::File { file_hex, passphrase } => {
            let bytes = unhex(file_hex).ok_or_else(|| Failed::new(Failed::USAGE, "the backup is not hexadecimal"))?;
            backup::restore(&home, Source::File { bytes: &bytes, passphrase }, now)
        }
    }?;
    let from = match &material {
        Material::Words { .. } => {
            "restored the identity from the words; the contact token is the first one again, so an address that was \
             handed out after `id rotate` no longer works, and friends have to be added again"
        }
        Material::File { .. } => "restored identity, friends and settings from the backup",
    };
    println!("{from} (identity {})", keys.root.public().short());
    material.wipe();
    Ok(())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
