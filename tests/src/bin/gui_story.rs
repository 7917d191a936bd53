//! Plays the story of a first call with the desktop program and leaves its screenshots in a folder:
//! `cargo run --release -p twocan-tests --bin gui_story -- DIR`.

use std::path::PathBuf;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("gui-story"), PathBuf::from);
    if let Some(tool) = twocan_tests::gui::missing() {
        eprintln!("gui_story: {tool} is not installed, and without it there is no display to play on");
        return ExitCode::from(2);
    }
    match twocan_tests::gui::story::play(&folder).await {
        Ok(told) => {
            println!("{} steps; the pictures are in {}", told.steps.len(), folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("gui_story: {error:#}");
            ExitCode::FAILURE
        }
    }
}
