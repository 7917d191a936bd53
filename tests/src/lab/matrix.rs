//! Every kind of site with every kind: do they connect and talk, over which paths, and how fast.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use twocan_control::{Call, Handle, LinkPath};

use super::pair::{Pair, Setup};
use super::site::Kind;

/// The kinds of the matrix.
pub const KINDS: [&str; 8] =
    ["open", "endpoint-independent", "port-restricted", "symmetric", "cgnat", "udp-blocked", "tcp443", "ipv6-only"];

/// How long they talk before the paths are read: time enough to find the best one.
const TALK: Duration = Duration::from_secs(4);
/// How long a pair stays at a new place before it is restarted there.
const SETTLE: Duration = Duration::from_secs(2);
/// Frames in the last second of the talk by which it counts as talking; 50 are sent.
pub(super) const TALKED: usize = 40;

/// What one run of a pair showed. Times in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// Both heard the other without a break in the last second of the talk.
    pub talked: bool,
    /// Path of the link after the talk: "direct", "relayed", …
    pub link_path: Option<String>,
    /// Transport of the link.
    pub link_transport: Option<String>,
    /// Path of the media at the end of the talk.
    pub media_path: Option<String>,
    /// Kinds of the chosen candidates, at the caller.
    pub candidates: Option<String>,
    /// Round trip of the media path.
    pub media_rtt_ms: Option<f64>,
    /// Both started for the first time where they are now, having met elsewhere: until both see each other online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_ms: Option<f64>,
    /// Both restarted, call placed as soon as the API answers: until it rings.
    pub cold_ring_ms: Option<f64>,
    /// From the same moment until both see each other online.
    pub link_ms: Option<f64>,
    /// Call placed over the link: until it rings.
    pub ring_ms: Option<f64>,
    /// From the answer until both have heard the other.
    pub answer_to_audio_ms: Option<f64>,
    /// What went wrong first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What all runs of a pair showed: medians, and what held in every run.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The caller's kind of site.
    pub a: String,
    /// The callee's.
    pub b: String,
    /// How many runs.
    pub runs: usize,
    /// In how many both talked.
    pub runs_talked: usize,
    /// All of them, and medians.
    #[serde(flatten)]
    pub all: Run,
    /// Each run.
    pub each: Vec<Run>,
}

impl Row {
    fn of(a: &str, b: &str, each: Vec<Run>) -> Self {
        let median = |value: fn(&Run) -> Option<f64>| {
            let mut values: Vec<f64> = each.iter().filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            let (low, high) = (values.get((values.len().max(1) - 1) / 2)?, values.get(values.len() / 2)?);
            Some(((low + high) * 5.0).round() / 10.0)
        };
        let all = Run {
            moved_ms: median(|run| run.moved_ms),
            talked: !each.is_empty() && each.iter().all(|run| run.talked),
            link_path: spread(&each, |run| run.link_path.as_ref()),
            link_transport: spread(&each, |run| run.link_transport.as_ref()),
            media_path: spread(&each, |run| run.media_path.as_ref()),
            candidates: spread(&each, |run| run.candidates.as_ref()),
            media_rtt_ms: median(|run| run.media_rtt_ms),
            cold_ring_ms: median(|run| run.cold_ring_ms),
            link_ms: median(|run| run.link_ms),
            ring_ms: median(|run| run.ring_ms),
            answer_to_audio_ms: median(|run| run.answer_to_audio_ms),
            error: each.iter().find_map(|run| run.error.clone()),
        };
        let runs_talked = each.iter().filter(|run| run.talked).count();
        Self { a: a.to_owned(), b: b.to_owned(), runs: each.len(), runs_talked, all, each }
    }

    /// Whether they talked in each run, by the kind of path that it must be (as far as that is known of these kinds).
    pub fn is_as_it_must(&self) -> bool {
        let known = KINDS.contains(&self.a.as_str()) && KINDS.contains(&self.b.as_str());
        let path = if expected(&self.a, &self.b) == LinkPath::Direct { "direct" } else { "relayed" };
        self.all.talked && (!known || self.all.media_path.as_deref() == Some(path))
    }
}

/// The different values, the most frequent first, joined by a comma.
fn spread(runs: &[Run], value: fn(&Run) -> Option<&String>) -> Option<String> {
    let mut counts: Vec<(&String, usize)> = Vec::new();
    for value in runs.iter().filter_map(value) {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let names: Vec<&str> = counts.iter().map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// All pairs of the kinds, each once.
pub fn pairs() -> Vec<(String, String)> {
    let of =
        |(at, a): (usize, &&str)| KINDS[at..].iter().map(|b| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    KINDS.iter().enumerate().flat_map(|each| of((each.0, each.1))).collect()
}

/// The path that the media of two kinds must take: direct wherever addresses and packets can be made to meet.
pub fn expected(a: &str, b: &str) -> LinkPath {
    let open = ["open", "endpoint-independent"];
    let steady = ["open", "endpoint-independent", "port-restricted", "cgnat"];
    let both = |kinds: &[&str]| kinds.contains(&a) && kinds.contains(&b);
    let with = |one: &str, kinds: &[&str]| (a == one && kinds.contains(&b)) || (b == one && kinds.contains(&a));
    if both(&steady) || with("symmetric", &open) || both(&["ipv6-only"]) { LinkPath::Direct } else { LinkPath::Relayed }
}

/// Runs a pair so many times. Nothing ends early: what fails is in the row.
pub async fn measure(a: &str, b: &str, runs: usize, setup: &Setup) -> Row {
    let each = match prepare(a, b, setup).await {
        Ok((mut pair, moved)) => {
            let mut each = Vec::new();
            for _ in 0..runs {
                let mut run = Run { moved_ms: Some(moved), ..Run::default() };
                if let Err(error) = once(&mut pair, &mut run).await {
                    run.error = Some(format!("{error:#}"));
                }
                each.push(run);
                // Whatever state it is in: the next run begins with stopped nodes.
                halt(&mut pair).await;
            }
            each
        }
        Err(error) => vec![Run { error: Some(format!("set-up: {error:#}")), ..Run::default() }],
    };
    Row::of(a, b, each)
}

/// A pair that has been where it is before, and how long the first time took.
async fn prepare(a: &str, b: &str, setup: &Setup) -> Result<(Pair, f64)> {
    let (a, b): (Kind, Kind) = (a.parse()?, b.parse()?);
    let mut pair = Pair::stopped([&a, &b], setup).await?;
    pair.start().await?;
    let started = Instant::now();
    pair.online().await.context("they do not find each other at their new places")?;
    let moved = millis(started.elapsed());
    // The slots that say where they are now are written within this time.
    tokio::time::sleep(SETTLE).await;
    halt(&mut pair).await;
    Ok((pair, moved))
}

async fn halt(pair: &mut Pair) {
    for node in &mut pair.nodes {
        if node.alive() && node.stop().await.is_err() {
            let _ = node.kill().await;
        }
    }
}

async fn once(pair: &mut Pair, run: &mut Run) -> Result<()> {
    pair.start().await.context("starting")?;
    let started = Instant::now();
    let (online, cold) = tokio::join!(
        async {
            pair.online().await?;
            anyhow::Ok(millis(started.elapsed()))
        },
        pair.ring()
    );
    run.link_ms = online.as_ref().ok().copied();
    let (ringing, took) = cold.context("the call right after the start")?;
    run.cold_ring_ms = Some(millis(took));
    pair.nodes[0].api().hangup(&ringing.id).await?;
    drop(ringing);
    online.context("the link")?;
    // A link that was just made may still move to a better path.
    tokio::time::sleep(Duration::from_secs(2)).await;
    note_link(run, pair).await?;
    let (talk, rang) = pair.talk().await.context("the call over the link")?;
    run.ring_ms = Some(millis(rang));
    run.answer_to_audio_ms = Some(millis(talk.first[0].max(talk.first[1])));
    tokio::time::sleep(TALK).await;
    let now = Instant::now();
    let last = now - Duration::from_secs(1);
    run.talked = talk.ears.iter().all(|ear| ear.count(last, now) >= TALKED);
    let [caller, _] = pair.calls(&talk.id).await?;
    note_media(run, &caller);
    note_link(run, pair).await?;
    pair.hang_up(talk).await
}

async fn note_link(run: &mut Run, pair: &Pair) -> Result<()> {
    if let Some(link) = pair.friend().await?.link {
        run.link_path = Some(name(link.path));
        run.link_transport = Some(link.transport);
    }
    Ok(())
}

fn note_media(run: &mut Run, call: &Call) {
    if let Some(quality) = &call.quality {
        run.media_path = quality.path.map(name);
        run.candidates.clone_from(&quality.candidates);
        run.media_rtt_ms = quality.rtt_ms;
    }
}

pub(super) fn name(path: LinkPath) -> String {
    match path {
        LinkPath::Loopback => "loopback",
        LinkPath::Lan => "lan",
        LinkPath::Direct => "direct",
        LinkPath::Relayed => "relayed",
    }
    .to_owned()
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// A row in one line, to watch the matrix grow.
pub fn line(row: &Row) -> String {
    let all = &row.all;
    let number =
        |what: &str, value: Option<f64>| value.map_or_else(String::new, |value| format!(", {what} {value:.0} ms"));
    let path = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    format!(
        "{} with {}: {}/{} talked, link {}, media {}{}{}{}{}{}",
        row.a,
        row.b,
        row.runs_talked,
        row.runs,
        path(&all.link_path),
        path(&all.media_path),
        number("cold ring", all.cold_ring_ms),
        number("link up", all.link_ms),
        number("ring", all.ring_ms),
        number("answer to audio", all.answer_to_audio_ms),
        all.error.as_ref().map_or_else(String::new, |error| format!("; {error}")),
    )
}

/// The rows as a table for people.
pub fn table(rows: &[Row]) -> String {
    let head = [
        "caller",
        "callee",
        "talked",
        "link",
        "media",
        "candidates",
        "cold ring",
        "link up",
        "ring",
        "answer to audio",
    ];
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let line = |row: &Row| {
        vec![
            row.a.clone(),
            row.b.clone(),
            format!("{}/{}", row.runs_talked, row.runs),
            format!("{} {}", text(&row.all.link_path), text(&row.all.link_transport)),
            text(&row.all.media_path),
            text(&row.all.candidates),
            number(row.all.cold_ring_ms),
            number(row.all.link_ms),
            number(row.all.ring_ms),
            number(row.all.answer_to_audio_ms),
        ]
    };
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    let width = |column: usize| {
        lines.iter().map(|line| line[column].len()).chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let show = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut table = show(head.to_vec()) + &show(rule.iter().map(String::as_str).collect());
    for line in &lines {
        table += &show(line.iter().map(String::as_str).collect());
    }
    for row in rows {
        if let Some(error) = &row.all.error {
            table += &format!("{} with {}: {error}\n", row.a, row.b);
        }
    }
    table
}

/// Where a pair's homes are kept, below a folder.
pub fn folder(keep: &Path, a: &str, b: &str) -> std::path::PathBuf {
    keep.join(format!("{a}--{b}"))
}
