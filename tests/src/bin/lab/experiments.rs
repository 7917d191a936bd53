//! The subcommands that measure.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use futures::StreamExt;
use serde::Serialize;
use twocan_tests::lab::matrix::{self, Row};
use twocan_tests::lab::nat::Memory;
use twocan_tests::lab::pair::Setup;
use twocan_tests::lab::survive::{self, Outcome, Story};
use twocan_tests::lab::{Lab, idle, people, relaycost};

/// What all experiments take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Round trip between two sites, in milliseconds.
    #[arg(long, default_value_t = 50)]
    rtt: u64,
    /// How often each is done; medians are shown.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// What chance does in the lab, repeatable.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Keep the nodes' homes with their logs below this folder.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Lines for the `config.toml` of the public friend (`\n` between them), first in `[network]`.
    #[arg(long, value_name = "LINES", default_value = people::PUBLIC_CONFIG)]
    public_config: String,
    /// Lines for the `config.toml` of the two.
    #[arg(long, value_name = "LINES", default_value = "")]
    config: String,
}

impl Common {
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            strangers: false,
            rtt: Duration::from_millis(self.rtt),
            seed: self.seed,
            public_friends: 1,
            public_config: self.public_config.replace("\\n", "\n"),
            config: self.config.replace("\\n", "\n"),
            keep: self.keep.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    common: Common,
    /// Only these pairs: two kinds of sites, the caller's first; or one kind, for it with every kind.
    #[arg(long, value_name = "A,B", num_args = 1..)]
    pairs: Vec<String>,
    /// How many pairs at the same time. More is faster, and distorts the times on a small machine.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

#[derive(Debug, Serialize)]
struct Matrix<'a> {
    rtt_ms: u64,
    runs: usize,
    pairs: &'a [Row],
}

/// The whole matrix, or some pairs of it. Fails if a pair does not talk, or by another kind of path than it must.
pub(crate) async fn matrix(args: &MatrixArgs) -> Result<ExitCode> {
    // Says at once if no lab can run.
    drop(Lab::start(Duration::ZERO, 0)?);
    let all = chosen(&args.pairs)?;
    let common = &args.common;
    let measured = futures::stream::iter(all.iter().enumerate()).map(|(at, (a, b))| async move {
        let mut setup = common.setup();
        setup.keep = setup.keep.map(|keep| matrix::folder(&keep, a, b));
        let row = matrix::measure(a, b, common.runs.max(1), &setup).await;
        eprintln!("{}", matrix::line(&row));
        (at, row)
    });
    let mut rows: Vec<(usize, Row)> = measured.buffer_unordered(args.jobs.max(1)).collect().await;
    rows.sort_by_key(|(at, _)| *at);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    print!("{}", matrix::table(&rows));
    if common.json {
        println!("{}", serde_json::to_string(&Matrix { rtt_ms: common.rtt, runs: common.runs, pairs: &rows })?);
    }
    for row in rows.iter().filter(|row| !row.is_as_it_must()) {
        eprintln!("not as it must be: {} with {}", row.a, row.b);
    }
    Ok(if rows.iter().all(Row::is_as_it_must) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Debug, Args)]
pub(crate) struct SurviveArgs {
    #[command(flatten)]
    common: Common,
    /// Only these stories; all if not said.
    #[arg(long, value_name = "STORY", num_args = 1..)]
    stories: Vec<Story>,
    /// How long "suspended" sleeps, in seconds.
    #[arg(long, default_value_t = 60)]
    sleep: u64,
}

#[derive(Debug, Serialize)]
struct Survived {
    story: Story,
    runs: usize,
    survived: usize,
    silence_ms: [Option<f64>; 2],
    reconnecting_ms: [Option<f64>; 2],
    back_ms: [Option<f64>; 2],
    each: Vec<Outcome>,
}

/// All stories, or some of them. Fails if one was not survived.
pub(crate) async fn survive(args: &SurviveArgs) -> Result<ExitCode> {
    drop(Lab::start(Duration::ZERO, 0)?);
    let stories: Vec<(&str, Story)> = survive::STORIES
        .into_iter()
        .filter(|(_, story)| args.stories.is_empty() || args.stories.contains(story))
        .collect();
    println!(
        "milliseconds: of the one to whom it happened / of the other; medians of {} runs",
        args.common.runs.max(1)
    );
    let mut all = Vec::new();
    for (name, story) in stories {
        let mut each = Vec::new();
        for run in 1..=args.common.runs.max(1) {
            let mut setup = args.common.setup();
            setup.keep = setup.keep.map(|keep| keep.join(format!("{name}-{run}")));
            each.push(survive::happen(story, &setup, Duration::from_secs(args.sleep)).await);
        }
        let both = |value: &dyn Fn(&Outcome, usize) -> Option<f64>| {
            [0, 1].map(|side| median(each.iter().filter_map(|outcome| value(outcome, side)).collect()))
        };
        let row = Survived {
            story,
            runs: each.len(),
            survived: each.iter().filter(|outcome| outcome.survived).count(),
            silence_ms: both(&|outcome, side| outcome.silence_ms.map(|silence| silence[side])),
            reconnecting_ms: both(&|outcome, side| outcome.reconnecting_ms[side]),
            back_ms: both(&|outcome, side| outcome.back_ms[side]),
            each,
        };
        let show = |what: &str, [one, two]: [Option<f64>; 2]| {
            let text = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
            if one.or(two).is_none() { String::new() } else { format!("  {what} {}/{}", text(one), text(two)) }
        };
        println!(
            "{name:<18} survived {}/{}{}{}{}{}",
            row.survived,
            row.runs,
            show("silence", row.silence_ms),
            show("reconnecting shown", row.reconnecting_ms),
            show("back", row.back_ms),
            if row.each.iter().any(|outcome| outcome.rang_again) { "  RANG AGAIN" } else { "" },
        );
        for error in row.each.iter().filter_map(|outcome| outcome.error.as_ref()) {
            println!("  {error}");
        }
        all.push(row);
    }
    if args.common.json {
        println!("{}", serde_json::json!({ "rtt_ms": args.common.rtt, "sleep_s": args.sleep, "stories": all }));
    }
    Ok(if all.iter().all(|row| row.survived == row.runs) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get((values.len().max(1) - 1) / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

#[derive(Debug, Args)]
pub(crate) struct RelayCostArgs {
    #[command(flatten)]
    common: Common,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Measures the relay. There is no delay on the lines, whatever `--rtt` says.
pub(crate) async fn relay_cost(args: &RelayCostArgs) -> Result<ExitCode> {
    drop(Lab::start(Duration::ZERO, 0)?);
    let mut costs = Vec::new();
    for run in 1..=args.common.runs.max(1) {
        let mut setup = args.common.setup();
        setup.keep = setup.keep.map(|keep| keep.join(format!("relay-cost-{run}")));
        let cost = relaycost::measure(&setup, Duration::from_secs(args.seconds)).await?;
        println!(
            "relay: {:.2} % of a core at {:.2} Mbit/s in, {} KiB; packet in to packet out {:.2} ms (p99 {:.2}, {} packets)",
            cost.relay_cpu_percent,
            cost.relay_bits_in / 1e6,
            cost.relay_kib,
            cost.relay_delay_ms[0],
            cost.relay_delay_ms[1],
            cost.relay_packets,
        );
        println!(
            "client to client: relayed {:.2} ms, direct {:.2} ms, {:.2} ms more",
            cost.relayed_ms,
            cost.direct_ms,
            cost.relayed_ms - cost.direct_ms
        );
        costs.push(cost);
    }
    if args.common.json {
        println!("{}", serde_json::json!({ "relay_cost": costs }));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    common: Common,
    /// How long nobody says a word, in minutes.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// NATs that remember as Linux does; else they forget UDP after half a minute in which nothing left.
    #[arg(long)]
    linux_nats: bool,
}

/// Leaves one person of each kind idle with all others. Fails if a link was lost.
pub(crate) async fn idle(args: &IdleArgs) -> Result<ExitCode> {
    drop(Lab::start(Duration::ZERO, 0)?);
    let memory = if args.linux_nats { Memory::LINUX } else { Memory::SHORT };
    let outcome = idle::measure(&args.common.setup(), memory, Duration::from_secs(60 * args.minutes)).await?;
    println!("{} of {} links kept for {} s", outcome.kept, outcome.links, outcome.seconds);
    for (one, other, at) in &outcome.lost {
        println!("  {one} saw {other} go after {at:.1} s");
    }
    let paths: Vec<String> = outcome.paths.iter().map(|(path, count)| format!("{count} {path}")).collect();
    println!("paths at the end: {}; {} calls of the first person rang", paths.join(", "), outcome.rang);
    for (name, (bytes, packets)) in &outcome.traffic {
        println!("  {name:<20} sent {bytes:.0} bytes a second in {packets:.0} packets a minute");
    }
    if args.common.json {
        println!("{}", serde_json::json!({ "idle": outcome }));
    }
    Ok(if outcome.kept == outcome.links { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(wanted: &[String]) -> Result<Vec<(String, String)>> {
    if wanted.is_empty() {
        return Ok(matrix::pairs());
    }
    let mut all = Vec::new();
    for pair in wanted {
        match pair.split_once(',') {
            Some((a, b)) => all.push((a.to_owned(), b.to_owned())),
            None => all.extend(matrix::KINDS.iter().map(|other| (pair.clone(), (*other).to_owned()))),
        }
    }
    for (a, b) in &all {
        for kind in [a, b] {
            kind.parse::<twocan_tests::lab::site::Kind>()?;
        }
    }
    Ok(all)
}
