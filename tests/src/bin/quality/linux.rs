//! The command line of the bench.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use twocan_tests::lab::namespace;
use twocan_tests::quality::cells::grid;
use twocan_tests::quality::run::{SPECIAL, Wanted, come_first, run};
use twocan_tests::quality::{plots, special};

/// Set for the copy of this program that runs in a user namespace, so that it does not try again.
const INSIDE: &str = "TWOCAN_QUALITY_INSIDE";

/// How a call sounds and looks over bad networks: voice (PESQ), delay, picture (PSNR, SSIM, freezes), rates.
///
/// Two real nodes and two real clients talk through a small internet on this machine; each cell is a line with other
/// conditions. Needs Linux, and root or unprivileged user namespaces; espeak-ng, and Python 3 for PESQ
/// (`tools/setup tests` installs both). Another load on the machine makes the numbers worse.
#[derive(Debug, Parser)]
#[command(name = "quality", after_help = cells(), args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    bench: BenchArgs,
    #[command(subcommand)]
    command: Option<Inner>,
}

#[derive(Debug, Subcommand)]
enum Inner {
    /// One client as a process of its own, whose cost can be measured.
    #[command(hide = true)]
    Seat {
        #[arg(long)]
        home: PathBuf,
        #[arg(long)]
        call: Option<String>,
        #[arg(long)]
        voice: PathBuf,
        #[arg(long)]
        film: PathBuf,
    },
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// Five calls for every cell, of 32 measured seconds, instead of as many as fit into 12 minutes
    #[arg(long)]
    full: bool,
    /// Only these cells
    #[arg(long, value_name = "CELL,…", value_delimiter = ',', num_args = 1..)]
    cells: Vec<String>,
    /// Measured seconds of each call
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(5..=110))]
    seconds: Option<u64>,
    /// Calls of each cell; each is two directions
    #[arg(long, value_name = "N")]
    calls: Option<usize>,
    /// Calls at the same time
    #[arg(long, default_value_t = 2, value_name = "N")]
    jobs: usize,
    /// What chance does on the lines
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Voice only
    #[arg(long)]
    no_video: bool,
    /// Folder for the plots and the results
    #[arg(long, default_value = "quality", value_name = "DIR")]
    out: PathBuf,
    /// Keep homes and logs of the nodes in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// End with one line of JSON: every cell, and a summary
    #[arg(long)]
    json: bool,
}

fn cells() -> String {
    let mut text = "Cells:\n".to_owned();
    let all = grid();
    for (name, what) in all.iter().map(|cell| (cell.name, cell.what)).chain(SPECIAL) {
        text += &format!("  {name:<12} {what}\n");
    }
    text
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quality: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<ExitCode> {
    if cli.command.is_none() {
        if let Some(why) = namespace::missing() {
            become_root_in_a_namespace()?;
            anyhow::bail!("no laboratory can run here: {why}");
        }
        come_first();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Some(Inner::Seat { home, call, voice, film }) => {
                special::seat(&home, call.as_deref(), voice, film).await?;
                Ok(ExitCode::SUCCESS)
            }
            None => tokio::select! {
                done = bench(cli.bench) => done,
                _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
            },
        }
    })
}

/// Without root: the same program again as root of a user namespace of its own, where the system lets one. Comes back
/// if it does not.
fn become_root_in_a_namespace() -> Result<()> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--"]);
        command
    };
    let inside = std::env::var_os(INSIDE).is_some();
    let possible = unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if inside || !possible {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    let failed = unshare().arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
    Err(failed).context("cannot start anew in a user namespace")
}

async fn bench(args: BenchArgs) -> Result<ExitCode> {
    let report = run(Wanted {
        cells: args.cells,
        window: Duration::from_secs(args.seconds.unwrap_or(if args.full { 32 } else { 24 })),
        calls: args.calls.map_or(if args.full { (5, 5) } else { (3, 1) }, |calls| (calls.max(1), calls.max(1))),
        jobs: args.jobs,
        seed: args.seed,
        pictures: !args.no_video,
        keep: args.keep,
    })
    .await?;
    let plots = plots::write(&report, &args.out)?;
    let json = serde_json::to_string(&report)?;
    std::fs::write(args.out.join("quality.json"), &json)?;
    if args.json {
        eprint!("{}", report.table());
    } else {
        print!("{}", report.table());
    }
    for plot in plots {
        eprintln!("drawn: {}", plot.display());
    }
    eprintln!("{:.0} s; all numbers: {}", report.took_s, args.out.join("quality.json").display());
    if args.json {
        println!("{json}");
    }
    // As the exit codes of `twocan` have it: something that was examined is not as it should be.
    Ok(if report.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(30) })
}
