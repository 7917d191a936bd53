//! Runs the grid: calls side by side as far as the machine carries them, and judges each while the next is on.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::{Semaphore, oneshot};

use super::call::{self, Bench, Measure, Raw};
use super::cells::{Cell, grid};
use super::person::Plan;
use super::pesq::Pesq;
use super::report::{CellResult, Cpu, Direction, RateStep, Report, SCHEMA, Silence, Summary};
use super::score::{self};
use super::special;
use super::wire::{Class, Wire};

/// Cells besides the grid.
pub const SPECIAL: [(&str, &str); 3] = [
    ("rate_step", "4 Mbit/s, 700 kbit/s, 4 Mbit/s, with a queue of 300 ms"),
    ("silence", "what two quiet people cost"),
    ("cpu", "what a call with 640x480 pictures costs"),
];
/// From the first sound to the window: what adapts has adapted.
const SETTLE: Duration = Duration::from_secs(6);

/// What to run.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Names of cells; empty: all.
    pub cells: Vec<String>,
    /// Measured seconds of each call.
    pub window: Duration,
    /// Calls of a cell whose voice is in the summary, and of the others. Each call is two directions.
    pub calls: (usize, usize),
    /// Calls at the same time.
    pub jobs: usize,
    /// What chance does.
    pub seed: u64,
    /// With pictures.
    pub pictures: bool,
    /// Where homes and logs of the nodes stay.
    pub keep: Option<PathBuf>,
}

/// One call of a cell.
#[derive(Clone, Debug)]
struct Job {
    at: usize,
    cell: Cell,
    seed: usize,
}

/// What the workers share.
struct Work {
    wanted: Wanted,
    jobs: Mutex<VecDeque<Job>>,
    results: Mutex<Vec<CellResult>>,
    silence: Mutex<Option<Silence>>,
    pesq: Pesq,
    judging: Arc<Semaphore>,
    folder: tempfile::TempDir,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what is wanted.
///
/// # Errors
/// Nothing can be measured here at all; single failures are in the report.
pub async fn run(wanted: Wanted) -> Result<Report> {
    let begun = Instant::now();
    let all = grid();
    for name in &wanted.cells {
        if !all.iter().any(|cell| cell.name == name) && !SPECIAL.iter().any(|(special, _)| special == name) {
            let names: Vec<&str> = all.iter().map(|cell| cell.name).chain(SPECIAL.map(|(name, _)| name)).collect();
            bail!("{name:?} is no cell; there are: {}", names.join(", "));
        }
    }
    let is_wanted = |name: &str| wanted.cells.is_empty() || wanted.cells.iter().any(|one| one == name);
    super::speech::check()?;
    let pesq = tokio::task::spawn_blocking(Pesq::find).await.context("looking for PESQ panicked")??;
    let cells: Vec<Cell> = all.into_iter().filter(|cell| is_wanted(cell.name)).collect();
    let mut jobs = VecDeque::new();
    for seed in 0..wanted.calls.0.max(wanted.calls.1) {
        for (at, cell) in cells.iter().enumerate() {
            if seed < if cell.judged { wanted.calls.0 } else { wanted.calls.1 } {
                jobs.push_back(Job { at, cell: cell.clone(), seed });
            }
        }
    }
    let special = SPECIAL.map(|(name, _)| is_wanted(name));
    let workers = wanted.jobs.clamp(1, jobs.len().max(1));
    let work = Arc::new(Work {
        jobs: Mutex::new(jobs),
        results: Mutex::new(cells.iter().map(CellResult::new).collect()),
        silence: Mutex::default(),
        pesq,
        judging: Arc::new(Semaphore::new(1)),
        folder: tempfile::tempdir()?,
        wanted,
    });
    // One after the other: starting is work, too, and the first bench serves the cells that run alone.
    let mut benches = Vec::new();
    for number in 0..workers {
        let keep = work.wanted.keep.as_ref().map(|folder| folder.join(format!("bench-{number}")));
        benches.push(Bench::start(work.wanted.seed + number as u64, keep.as_deref()).await?);
    }
    let (mut step, mut cpu) = (None, None);
    let mut failures = Vec::new();
    if special[2] {
        cpu = tell("cpu", special::cpu(&benches[0], Duration::from_secs(15), work.folder.path()).await, &mut failures);
    }
    if special[0] {
        step = tell("rate_step", special::rate_step(&benches[0], work.folder.path()).await, &mut failures);
    }
    let mut handles = Vec::new();
    for (number, bench) in benches.into_iter().enumerate() {
        let (work, quiet) = (Arc::clone(&work), special[1] && number == 0);
        handles.push(tokio::spawn(async move { labour(&work, bench, quiet).await }));
    }
    for handle in handles {
        failures.extend(handle.await.context("a worker panicked")?);
    }
    let mut results = std::mem::take(&mut *lock(&work.results));
    results.iter_mut().for_each(CellResult::conclude);
    let silence = lock(&work.silence).take();
    let mut report = assemble(results, step, silence, cpu, &work.wanted);
    report.other_failures = failures;
    report.took_s = begun.elapsed().as_secs_f64();
    report.conclude();
    Ok(report)
}

fn assemble(
    cells: Vec<CellResult>,
    rate_step: Option<RateStep>,
    silence: Option<Silence>,
    cpu: Option<Cpu>,
    wanted: &Wanted,
) -> Report {
    Report {
        schema: SCHEMA,
        summary: Summary::default(),
        cells,
        rate_step,
        silence,
        cpu,
        other_failures: Vec::new(),
        window_s: wanted.window.as_secs_f64(),
        took_s: 0.0,
    }
}

fn tell<T>(name: &str, result: Result<T>, failures: &mut Vec<String>) -> Option<T> {
    match result {
        Ok(value) => {
            eprintln!("{name}: done");
            Some(value)
        }
        Err(error) => {
            eprintln!("{name}: {error:#}");
            failures.push(format!("{name}: {error:#}"));
            None
        }
    }
}

/// One worker: silence if it is its task, then calls until none is left.
async fn labour(work: &Arc<Work>, bench: Bench, quiet: bool) -> Vec<String> {
    let (mut failures, mut judging) = (Vec::new(), Vec::new());
    if quiet {
        let silence = tell("silence", special::silence(&bench).await, &mut failures);
        *lock(&work.silence) = silence;
    }
    loop {
        let Some(job) = lock(&work.jobs).pop_front() else { break };
        match one(work, &bench, &job).await {
            Ok((raw, wires)) => judging.push(tokio::spawn(judge_later(Arc::clone(work), job, raw, wires))),
            Err(error) => {
                eprintln!("{}: {error:#}", job.cell.name);
                lock(&work.results)[job.at].failures.push(format!("{error:#}"));
            }
        }
    }
    // Judging goes on without the nodes.
    drop(bench);
    for task in judging {
        if task.await.is_err() {
            failures.push("judging a call panicked".to_owned());
        }
    }
    failures
}

/// What went over the wire in the window, of each direction: all media and voice alone, bits per second.
type Wires = [(f64, f64); 2];

async fn one(work: &Work, bench: &Bench, job: &Job) -> Result<(Raw, Wires)> {
    let measure = Measure {
        cell: job.cell.clone(),
        settle: SETTLE,
        window: work.wanted.window,
        plans: plans(work, job)?,
        steps: Vec::new(),
    };
    let raw = bench.call(&measure).await?;
    let (from, to) = raw.window;
    let of = |wire: &Wire| (wire.rate(from, to, Class::of_media), wire.rate(from, to, |class| class == Class::Voice));
    Ok((raw, [of(&bench.wires[0]), of(&bench.wires[1])]))
}

fn plans(work: &Work, job: &Job) -> Result<[Plan; 2]> {
    call::plans(job.seed, work.folder.path(), work.wanted.pictures)
}

/// Judges a call on a thread of its own with a low priority, one call at a time.
async fn judge_later(work: Arc<Work>, job: Job, raw: Raw, wires: Wires) {
    let Ok(_permit) = Arc::clone(&work.judging).acquire_owned().await else { return };
    let (tell, told) = oneshot::channel();
    let judging = Arc::clone(&work);
    std::thread::spawn(move || {
        yield_to_others();
        let judged = plans(&judging, &job).and_then(|plans| judge(&judging.pesq, &plans, &raw, wires));
        // The receiver waits until this is sent.
        let _ = tell.send((job, judged));
    });
    let Ok((job, judged)) = told.await else { return };
    let mut results = lock(&work.results);
    match judged {
        Ok(directions) => {
            for one in &directions {
                eprintln!("{}", line(job.cell.name, one));
            }
            results[job.at].directions.extend(directions);
        }
        Err(error) => {
            eprintln!("{}: {error:#}", job.cell.name);
            results[job.at].failures.push(format!("{error:#}"));
        }
    }
}

fn line(name: &str, one: &Direction) -> String {
    let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
    let picture = one.picture.as_ref().map_or_else(String::new, |picture| {
        format!(", picture {} dB {:.0}/s, {} freezes", show(picture.psnr_db), picture.frame_rate, picture.freezes)
    });
    format!(
        "{name}: voice {:.1} % ({:.2}/{:.2}), delay {}/{} ms, {:.1} % made up{picture}, {:.0} kbit/s of {}",
        one.voice.share * 100.0,
        one.voice.pesq,
        one.voice.reference_pesq,
        show(one.voice.delay_p50_ms),
        show(one.voice.delay_p95_ms),
        one.voice.concealed * 100.0,
        one.wire_kbit_s,
        show(one.target_kbit_s),
    )
}

/// Both directions of a call.
fn judge(pesq: &Pesq, plans: &[Plan; 2], raw: &Raw, wires: Wires) -> Result<Vec<Direction>> {
    let mut directions = Vec::new();
    for (from, to) in [(0, 1), (1, 0)] {
        let (mut voice, pieces) = score::voice(pesq, &raw.notes[from], &raw.notes[to], raw.window)?;
        let (before, after) = (&raw.stats[to].0.voice_in, &raw.stats[to].1.voice_in);
        let played = after.played.saturating_sub(before.played);
        voice.concealed = after.concealed.saturating_sub(before.concealed) as f64 / played.max(1) as f64;
        voice.kbit_s = wires[from].1 / 1e3;
        let picture = match &plans[from].picture {
            Some((seed, settings)) => {
                Some(score::picture(&raw.notes[to].shown, (*seed, settings), &pieces, raw.window)?)
            }
            None => None,
        };
        let targets: Vec<f64> = raw.samples[from].iter().map(|sample| sample.target / 1e3).collect();
        let mean = (!targets.is_empty()).then(|| targets.iter().sum::<f64>() / targets.len() as f64);
        directions.push(Direction { voice, picture, target_kbit_s: mean, wire_kbit_s: wires[from].0 / 1e3 });
    }
    Ok(directions)
}

/// What judges must not disturb what is measured.
fn yield_to_others() {
    // SAFETY: no pointers; 0 is this thread. It is fine if this is refused.
    #[expect(unsafe_code, reason = "the standard library does not set priorities")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10);
    }
}

/// Lets this process and what it starts come before others, where it may: it measures, and a busy machine would be
/// measured instead.
pub fn come_first() {
    // SAFETY: no pointers; 0 is this process. It is fine if this is refused.
    #[expect(unsafe_code, reason = "the standard library does not set priorities")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, -10);
    }
}
