//! Entry point of `twocan-gui`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        None => {}
        Some("--version" | "-V") => {
            println!("twocan-gui {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some("bench") => {
            return match twocan_gui::bench::run(&args.collect::<Vec<_>>()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("twocan-gui bench: {error:#}");
                    ExitCode::FAILURE
                }
            };
        }
        Some(_) => {
            println!("twocan-gui opens the window of twocan. Your node is the one in $TWOCAN_HOME, if that is set.");
            return ExitCode::from(2);
        }
    }
    match twocan_gui::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twocan-gui: {error:#}");
            ExitCode::FAILURE
        }
    }
}
