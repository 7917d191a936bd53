//! `twocan bench`: the demo's measurements again and again, for medians, percentiles and failures.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::call::{Numbers, Talk};
use super::numbers::{median, percentile, tenth};
use super::setup::World;
use super::story::Story;
use super::{Folder, calls, idle, interruptible};
use crate::args::Bench;
use crate::exit::{Exit, Failure};
use crate::format::{Style, Table};
use crate::output::Out;

/// One measured quantity.
#[derive(Clone, Debug, Serialize)]
struct Row {
    what: &'static str,
    unit: &'static str,
    count: usize,
    median: f64,
    p95: f64,
    worst: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_reach: Option<f64>,
}

/// What a bench prints.
#[derive(Clone, Debug, Serialize)]
struct Outcomes {
    runs: u32,
    failed: usize,
    failures: Vec<String>,
    rows: Vec<Row>,
}

impl Row {
    fn of(what: &'static str, unit: &'static str, to_reach: Option<f64>, values: &[f64]) -> Option<Self> {
        let worst = values.iter().copied().reduce(f64::max)?;
        let (median, p95) = (tenth(median(values)?), tenth(percentile(values, 0.95)?));
        Some(Self { what, unit, count: values.len(), median, p95, worst: tenth(worst), to_reach })
    }
}

/// Runs a bench.
///
/// # Errors
/// Whatever kept it from measuring at all.
pub async fn run(bench: Bench, out: &mut Out) -> Result<Exit, Failure> {
    let quiet = out.json();
    let result = match &bench {
        Bench::Echo { seeds, compare, far, near } => {
            return super::echo::run(*seeds, *compare, far.as_deref().zip(near.as_deref()), out);
        }
        Bench::Quality { options } => return super::quality::run(options, quiet),
        Bench::Calls { calls, talk_ms, no_video, keep } => {
            let folder = Folder::new(keep.as_deref())?;
            let talk = Talk {
                talk: Duration::from_millis(*talk_ms),
                video: !no_video,
                audio_in: None,
                video_in: None,
                results: None,
            };
            interruptible(bench_calls(folder.path(), &talk, *calls, &mut Story::new(out, quiet))).await?
        }
        Bench::Setup { runs, keep } => {
            let folder = Folder::new(keep.as_deref())?;
            interruptible(bench_setup(folder.path(), *runs, &mut Story::new(out, quiet))).await?
        }
        Bench::Delay { seconds, keep } => {
            let folder = Folder::new(keep.as_deref())?;
            let story = &mut Story::new(out, quiet);
            interruptible(bench_delay(folder.path(), Duration::from_secs(*seconds), story)).await?
        }
        Bench::Idle { seconds, keep } => {
            let folder = Folder::new(keep.as_deref())?;
            interruptible(bench_idle(folder.path(), *seconds, &mut Story::new(out, quiet))).await?
        }
    };
    let style = Style::of(out);
    out.show(&result, |result| describe(result, style))?;
    Ok(if result.failed == 0 { Exit::Ok } else { Exit::Unwell })
}

fn describe(result: &Outcomes, style: Style) -> String {
    let mut table = Table::new(["", "unit", "n", "median", "p95", "worst", "to reach"]);
    for row in &result.rows {
        let target = row.to_reach.map(|target| format!("≤ {target}")).unwrap_or_default();
        table.row([
            row.what.into(),
            row.unit.into(),
            row.count.to_string().into(),
            format!("{:.1}", row.median).into(),
            format!("{:.1}", row.p95).into(),
            format!("{:.1}", row.worst).into(),
            target.into(),
        ]);
    }
    let mut text = format!("\n{}\n{} of {} failed\n", table.render(style), result.failed, result.runs);
    for failure in &result.failures {
        text.push_str(&format!("failed: {failure}\n"));
    }
    text
}

async fn bench_calls(folder: &Path, talk: &Talk, times: u32, story: &mut Story<'_>) -> Result<Outcomes, Failure> {
    let world = World::create(folder, story).await?;
    story.chapter("Calling")?;
    let (done, failures) = calls(&world, talk, times, story).await?;
    let pick = |pick: &dyn Fn(&Numbers) -> Vec<f64>| -> Vec<f64> { done.iter().flat_map(pick).collect() };
    let both = |(a, b): (f64, f64)| vec![a, b];
    let rows = [
        Row::of("ring", "ms", Some(10.0), &pick(&|n| vec![n.ring_ms])),
        Row::of("answer to first audio, caller", "ms", Some(60.0), &pick(&|n| vec![n.audio_ms.0])),
        Row::of("answer to first audio, callee", "ms", Some(60.0), &pick(&|n| vec![n.audio_ms.1])),
        Row::of(
            "answer to first video, caller",
            "ms",
            Some(150.0),
            &pick(&|n| n.video_ms.map_or(vec![], |ms| vec![ms.0])),
        ),
        Row::of(
            "answer to first video, callee",
            "ms",
            Some(150.0),
            &pick(&|n| n.video_ms.map_or(vec![], |ms| vec![ms.1])),
        ),
        Row::of(
            "audio delay",
            "ms",
            Some(60.0),
            &pick(&|n| [n.sound.0.delay_ms, n.sound.1.delay_ms].into_iter().flatten().collect()),
        ),
        Row::of("hang-up", "ms", None, &pick(&|n| vec![n.hangup_ms])),
        Row::of("node memory in the call", "MB", Some(28.0), &pick(&|n| n.rss_mb.into_iter().collect())),
        Row::of("answer to first audio, both", "ms", Some(60.0), &pick(&|n| both(n.audio_ms))),
    ];
    Ok(Outcomes { runs: times, failed: failures.len(), failures, rows: rows.into_iter().flatten().collect() })
}

#[cfg(target_os = "linux")]
async fn bench_delay(folder: &Path, calm: Duration, story: &mut Story<'_>) -> Result<Outcomes, Failure> {
    let measured = super::delay::measure(folder, calm, story).await?;
    let row = |what, unit, to_reach, count, median, p95, worst| Row { what, unit, count, median, p95, worst, to_reach };
    let mut rows = vec![
        row("mouth to ear", "ms", Some(90.0), measured.pieces, measured.median_ms, measured.p95_ms, measured.worst_ms),
        row("in the jitter buffer", "ms", None, 1, measured.buffer_ms, measured.buffer_ms, measured.buffer_ms),
    ];
    let mut failures = Vec::new();
    match measured.back_s {
        Some(back) => rows.push(row("back after the bad spell", "s", Some(10.0), 1, back, back, back)),
        None => failures.push("the delay did not fall back after the bad spell".to_owned()),
    }
    Ok(Outcomes { runs: 1, failed: failures.len(), failures, rows })
}

#[cfg(not(target_os = "linux"))]
async fn bench_delay(_: &Path, _: Duration, _: &mut Story<'_>) -> Result<Outcomes, Failure> {
    Err(Failure::new(Exit::NotFound, "this bench needs PulseAudio, which runs on Linux"))
}

/// One run from nothing to friends and back: ready, API, request, link, lookup, relink cached and by DHT.
type Setup = [f64; 7];

async fn setup_once(folder: &Path, story: &mut Story<'_>) -> Result<Setup, Failure> {
    let mut world = World::create(folder, story).await?;
    let lookup = world.lookup(story).await?;
    let (cached, dht) = (world.relink(story).await?, world.relink_by_dht(story).await?);
    let numbers = world.numbers;
    let slower = |(alice, bob): (f64, f64)| alice.max(bob);
    Ok([
        slower(numbers.api_ms),
        slower(numbers.ready_ms),
        numbers.request_ms,
        numbers.accept_to_link_ms,
        lookup,
        cached,
        dht,
    ])
}

async fn bench_setup(folder: &Path, runs: u32, story: &mut Story<'_>) -> Result<Outcomes, Failure> {
    let (mut done, mut failures): (Vec<Setup>, Vec<String>) = (Vec::new(), Vec::new());
    for run in 1..=runs {
        let home = folder.join(format!("run-{run}"));
        let result =
            if run == 1 { setup_once(&home, story).await } else { setup_once(&home, &mut story.silent()).await };
        match result {
            Ok(setup) => done.push(setup),
            Err(failure) if failure.is_broken_pipe() => return Err(failure),
            Err(failure) => {
                story.tell(&format!("run {run} failed: {failure}"))?;
                failures.push(format!("run {run}: {failure}"));
            }
        }
    }
    let column = |index: usize| done.iter().filter_map(|setup| setup.get(index).copied()).collect::<Vec<f64>>();
    let names = [
        ("first start to API", Some(100.0)),
        ("first start to ready", Some(500.0)),
        ("request to the other's client", None),
        ("accept to link", Some(200.0)),
        ("DHT lookup, empty caches", None),
        ("relink, remembered addresses", Some(500.0)),
        ("relink, DHT alone", Some(2000.0)),
    ];
    let rows =
        names.iter().enumerate().filter_map(|(index, (name, target))| Row::of(name, "ms", *target, &column(index)));
    Ok(Outcomes { runs, failed: failures.len(), rows: rows.collect(), failures })
}

async fn bench_idle(folder: &Path, seconds: u64, story: &mut Story<'_>) -> Result<Outcomes, Failure> {
    let world = World::create(folder, story).await?;
    story.chapter("Doing nothing")?;
    let idle = idle::watch(&world, Duration::from_secs(seconds), story).await?;
    let one = |value: Option<f64>| value.into_iter().collect::<Vec<f64>>();
    let rows = [
        Row::of("idle traffic, busier node", "B/s", Some(150.0), &one(idle.bytes_per_s)),
        Row::of("idle memory, larger node", "MB", Some(20.0), &one(idle.rss_mb)),
        Row::of("idle CPU, busier node", "%", None, &one(idle.cpu_percent)),
    ];
    let failures = if idle.bytes_per_s.is_none() { vec![idle.method] } else { Vec::new() };
    Ok(Outcomes { runs: 1, failed: failures.len(), failures, rows: rows.into_iter().flatten().collect() })
}
