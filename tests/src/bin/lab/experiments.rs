//! The subcommands that measure.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use futures::StreamExt;
use serde::Serialize;
use twocan_tests::lab::matrix::{self, Row};
use twocan_tests::lab::pair::Setup;
use twocan_tests::lab::{Lab, people};

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

/// The whole matrix, or some pairs of it. Fails if a pair does not talk.
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
    Ok(if rows.iter().all(|row| row.all.talked) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
