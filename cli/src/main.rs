//! Entry point of `twocan`: reads the arguments, runs one command, and turns its result into an exit code.

use clap::Parser;
use std::process::ExitCode;

use twocan_cli::{Args, Exit, Failure, Out, commands};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            let failure = Failure::arguments(&error.to_string());
            failure.print();
            return failure.exit.into();
        }
    };
    let mut out = Out::stdout(args.json);
    // Two threads: one for the call's frames, one for everything else; codecs have their own threads.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("twocan: cannot start: {error}");
            return Exit::Internal.into();
        }
    };
    let result = runtime.block_on(commands::run(args, &mut out));
    // A thread that waits for a key cannot be woken; the process ends without it.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(failure) if failure.is_broken_pipe() => Exit::Ok.into(),
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}
