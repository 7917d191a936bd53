//! `twocan` in the terminal: every feature of the node, scriptable, and the demo that shows the whole story.
//!
//! The library exists so that tests and the demo can run commands in process, against any [`twocan_control::Handle`].
//! Logic lives in [`commands`] (a file per noun) and never formats; [`mod@format`] formats and never asks the node.
//! All output goes through [`output::Out`], so that a closed pipe ends a command quietly and `--json` is one decision.

pub mod args;
pub mod bridge;
pub mod choose;
pub mod commands;
pub mod demo;
pub mod exit;
pub mod format;
pub mod live;
pub mod output;
pub mod process;
pub mod prompt;
pub mod qr;

pub use args::Args;
pub use exit::{Exit, Failure};
pub use output::Out;
