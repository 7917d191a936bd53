//! `twocan demo`: a whole call on this machine, from nothing to talking, told as it happens and measured.
//!
//! Three real nodes run as processes with throw-away homes on loopback; the two clients, with their codecs, run here and
//! reach their nodes only through the local API. Everything is killed and removed at the end, whatever the end is.

pub mod bench;
pub mod call;
#[cfg(target_os = "linux")]
pub mod delay;
pub mod diary;
mod echo;
pub mod idle;
pub mod node;
pub mod numbers;
pub mod quality;
pub mod report;
pub mod setup;
pub mod side;
pub mod story;
pub mod traffic;
pub mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::Demo;
use crate::exit::{Exit, Failure};
use crate::format::Style;
use crate::output::Out;
use call::Talk;
use numbers::tenth;
use report::{People, Received, Relink, Report};
use setup::World;
use story::Story;

/// Where homes, logs and results lie.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    // Removed when dropped, if nobody wants to keep it.
    _homes: Option<tempfile::TempDir>,
}

impl Folder {
    /// The folder to keep, made if missing, or one that goes away.
    ///
    /// # Errors
    /// It cannot be made, or it holds homes of an earlier run.
    pub fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        match keep {
            Some(path) => {
                let path = std::path::absolute(path).map_err(|error| Failure::file(path, "use", &error))?;
                crate::process::make_home(&path)?;
                if path.join("alice").exists() {
                    return Err(Failure::new(Exit::Conflict, format!("{} holds an earlier run", path.display()))
                        .hint("give another folder, or remove that one"));
                }
                Ok(Self { path, _homes: None })
            }
            None => {
                let homes = tempfile::Builder::new().prefix("twocan-demo-").tempdir();
                let homes = homes.map_err(|error| Failure::file(&std::env::temp_dir(), "make a folder in", &error))?;
                Ok(Self { path: homes.path().to_owned(), _homes: Some(homes) })
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Runs `work`, unless Ctrl-C or SIGTERM comes first; either way everything that it holds is dropped, nodes are killed.
///
/// # Errors
/// Those of the work, or that it was interrupted.
pub async fn interruptible<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::new(Exit::Internal, format!("cannot listen to signals: {error}")));
    let (mut terminate, mut hangup) = (listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        _ = terminate.recv() => Err(Failure::new(Exit::Interrupted, "terminated")),
        _ = hangup.recv() => Err(Failure::new(Exit::Interrupted, "the terminal was closed")),
    }
}

/// Runs the demo.
///
/// # Errors
/// Whatever did not happen; all nodes are gone then, too.
pub async fn run(demo: Demo, out: &mut Out) -> Result<Exit, Failure> {
    // A file that cannot be played is known before three nodes are started for it.
    drop(side::Side::start(&side::Plan {
        seed: 1,
        video: !demo.no_video,
        audio_in: demo.audio_in.clone(),
        video_in: demo.video_in.clone(),
        heard: None,
    })?);
    let folder = Folder::new(demo.keep.as_deref())?;
    // Results outlive the homes: somebody wants to hear and see them.
    let results = match &demo.keep {
        Some(_) => folder.path().to_owned(),
        None => {
            let kept = tempfile::Builder::new().prefix("twocan-received-").tempdir();
            kept.map_err(|error| Failure::file(&std::env::temp_dir(), "make a folder in", &error))?.keep()
        }
    };
    let quiet = out.json();
    let report = interruptible(tell(&demo, folder.path(), &results, &mut Story::new(out, quiet))).await;
    let report = match report {
        Ok(report) => report,
        Err(failure) => {
            if demo.keep.is_none() {
                // What is half done is worth nothing; a folder that is kept is the person's.
                let _ = std::fs::remove_dir_all(&results);
            }
            return Err(match (failure.exit, &demo.keep) {
                (Exit::Unwell | Exit::Internal, None) => {
                    failure.hint("run it again with `--keep DIR` to read the nodes' logs")
                }
                (Exit::Unwell | Exit::Internal, Some(_)) => {
                    failure.hint(format!("the nodes' logs are in {}", folder.path().display()))
                }
                _ => failure,
            });
        }
    };
    if out.json() {
        out.json_line(&report)?;
    } else {
        let style = Style::of(out);
        out.line(&format!("\n{}", report.table(style)))?;
        out.line(&format!("What Bob heard: {}", report.received.sound.display()))?;
        if let Some(picture) = &report.received.picture {
            out.line(&format!("What Bob saw:   {}", picture.display()))?;
        }
    }
    Ok(if report.failed_calls == 0 { Exit::Ok } else { Exit::Unwell })
}

async fn tell(demo: &Demo, folder: &Path, results: &Path, story: &mut Story<'_>) -> Result<Report, Failure> {
    let mut report = Report { schema: 1, ..Report::default() };
    let mut world = World::create(folder, story).await?;
    let numbers = world.numbers;
    let people = |(alice, bob): (f64, f64)| People { alice: tenth(alice), bob: tenth(bob) };
    report.ready_ms = people(numbers.ready_ms);
    report.api_ms = people(numbers.api_ms);
    report.request_ms = tenth(numbers.request_ms);
    report.accept_to_link_ms = tenth(numbers.accept_to_link_ms);
    // Before the first call: what a node needs that has a friend online and has not talked yet.
    report.rss_mb.idle = idle::rss_mb(&world)?.map(tenth);
    story.chapter("Calling")?;
    let talk = Talk {
        talk: Duration::from_secs(demo.seconds),
        video: !demo.no_video,
        audio_in: demo.audio_in.clone(),
        video_in: demo.video_in.clone(),
        results: Some(results.to_owned()),
    };
    let (calls, failures) = calls(&world, &talk, demo.calls, story).await?;
    report.enter_calls(&calls, failures);
    report.received = Received {
        sound: results.join("received.wav"),
        picture: (!demo.no_video).then(|| results.join("received.png")),
    };
    story.chapter("Doing nothing")?;
    let idle = idle::watch(&world, Duration::from_secs(demo.idle), story).await?;
    report.idle_bytes_per_s = idle.bytes_per_s.map(tenth);
    report.idle_method = idle.method;
    report.window_s.idle = tenth(idle.seconds);
    story.chapter("Finding and coming back")?;
    report.dht_lookup_ms = tenth(world.lookup(story).await?);
    let cached = world.relink(story).await?;
    let dht = world.relink_by_dht(story).await?;
    report.relink_ms = Relink { cached: tenth(cached), dht: tenth(dht) };
    Ok(report)
}

/// Calls again and again; the first is told, of the others only failures are. One failed call does not end it.
///
/// # Errors
/// The story cannot be told, or the only call failed.
pub async fn calls(
    world: &World,
    talk: &Talk,
    times: u32,
    story: &mut Story<'_>,
) -> Result<(Vec<call::Numbers>, Vec<String>), Failure> {
    let (mut numbers, mut failures) = (Vec::new(), Vec::new());
    for n in 1..=times {
        let result = if n == 1 {
            call::one(&world.alice, world.bob()?, &world.bob_is.root, talk, story).await
        } else {
            call::one(&world.alice, world.bob()?, &world.bob_is.root, talk, &mut story.silent()).await
        };
        match result {
            Ok(one) => numbers.push(one),
            Err(failure) if times == 1 || failure.is_broken_pipe() => return Err(failure),
            Err(failure) => {
                story.tell(&format!("call {n} failed: {failure}"))?;
                failures.push(format!("call {n}: {failure}"));
                call::clear_away(world).await;
            }
        }
        if n % 10 == 0 {
            story.tell(&format!("{n} calls, {} failed", failures.len()))?;
        }
    }
    Ok((numbers, failures))
}
