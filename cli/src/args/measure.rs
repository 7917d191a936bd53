//! Arguments of what measures: the demo and the benches.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

/// The demo.
#[derive(Clone, Debug, ClapArgs)]
pub struct Demo {
    /// How long to talk
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=3600))]
    pub seconds: u64,
    /// Call this often and print medians
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub calls: u32,
    /// Seconds to watch the idle nodes' traffic
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub idle: u64,
    /// Sound to send instead of synthetic speech (WAV)
    #[arg(long, value_name = "FILE")]
    pub audio_in: Option<PathBuf>,
    /// Picture to send instead of the synthetic one (Y4M)
    #[arg(long, value_name = "FILE")]
    pub video_in: Option<PathBuf>,
    /// Keep homes, logs and results in this folder
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Sound only
    #[arg(long)]
    pub no_video: bool,
}

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub enum Bench {
    /// Calls one after the other: medians, 95th percentiles, failures
    Calls {
        /// How many
        #[arg(default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        calls: u32,
        /// How long each lasts once both hear each other, milliseconds
        #[arg(long, default_value_t = 300, value_name = "MS")]
        talk_ms: u64,
        /// Sound only
        #[arg(long)]
        no_video: bool,
        /// Keep homes and logs in this folder
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
    },
    /// From nothing to friends, again and again: first start, request, link, lookup, relink
    Setup {
        /// How often
        #[arg(default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        runs: u32,
        /// Keep homes and logs in this folder
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
    },
    /// What it costs to be online: traffic, memory and CPU of an idle node with one friend
    Idle {
        /// How long to watch; an hour contains one epoch turn
        #[arg(default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
        seconds: u64,
        /// Keep homes and logs in this folder
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
    },
    /// Mouth to ear through real sound devices, and how soon the delay falls back after a bad spell
    ///
    /// Runs a PulseAudio server of its own, whose devices make no sound.
    Delay {
        /// How long the calm part of the call lasts
        #[arg(default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=60))]
        seconds: u64,
        /// Keep homes and logs in this folder
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
    },
    /// The echo canceller in simulated rooms: how much echo it takes out, how much of a near voice it leaves
    Echo {
        /// Voices and rooms per scene
        #[arg(default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
        seeds: u64,
        /// WebRTC's canceller beside ours
        #[arg(long)]
        compare: bool,
        /// The friend's voice instead of a synthetic one (WAV)
        #[arg(long, value_name = "FILE", requires = "near")]
        far: Option<PathBuf>,
        /// My voice instead of a synthetic one (WAV)
        #[arg(long, value_name = "FILE", requires = "far")]
        near: Option<PathBuf>,
    },
    /// How a call sounds and looks over bad networks: PESQ, delay, PSNR, freezes, rates, cell by cell of a grid
    ///
    /// Runs the program `quality` that is built beside this one (`cargo build --release --workspace --bins`).
    /// `twocan bench quality -- --help` lists its options and cells.
    Quality {
        /// Options of the program, such as `--full` or `--cells loss_10,rate_64`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        options: Vec<std::ffi::OsString>,
    },
}
