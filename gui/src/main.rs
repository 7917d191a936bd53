//! Entry point of `twocan-gui`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    let mut address = None;
    match first.as_deref() {
        None => {}
        // What a link or a code of an address leads to.
        Some(word) if word.starts_with("twocan:") || word.starts_with("twocan1") => address = first,
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
            println!("twocan-gui [ADDRESS] opens the window of twocan, to add a friend if an address is given.");
            println!("Your node is the one in $TWOCAN_HOME, if that is set.");
            return ExitCode::from(2);
        }
    }
    match twocan_gui::run(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twocan-gui: {error:#}");
            ExitCode::FAILURE
        }
    }
}
