//! `twocan bench quality`: hands over to the program `quality`, which is built beside this one.
//!
//! It needs the laboratory of the whole-system tests and looks into the media engine, which is not this program's to do;
//! so it is a program of its own, and this command only finds it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::exit::{Exit, Failure};

/// Name of the program.
const PROGRAM: &str = "quality";

/// Becomes the program; comes back only if that is not possible.
///
/// # Errors
/// The program is not beside this one.
pub fn run(options: &[OsString], json: bool) -> Result<Exit, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure::new(Exit::Internal, format!("where am I? {error}")))?;
    let program = own.with_file_name(PROGRAM);
    if !program.is_file() {
        return Err(Failure::new(Exit::NotFound, format!("{} is missing, which measures this", program.display()))
            .hint("from the sources: `cargo build --release --workspace --bins`"));
    }
    let mut command = Command::new(&program);
    command.args(options.iter().filter(|option| *option != "--"));
    if json && options.iter().all(|option| option != "--json") {
        command.arg("--json");
    }
    Err(Failure::file(&program, "start", &command.exec()))
}
