//! `twocan-gui bench`: what the window costs and how fast it is, measured on this machine with the real decoder, the real
//! screens and a real window.
//!
//! Four people are played from encoded files through decoder, film and tile; ten thousand friends scroll; the program is
//! started anew several times; and a long run of calls is played faster than time, to see whether memory grows. Without
//! a display an Xvfb of its own is started, so that a machine without a graphics card can be measured, too.

mod people;
mod players;
mod report;
mod usage;
mod window;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

pub use window::Plan;

/// Starts of the program that are measured; the middle one counts.
const STARTS: usize = 5;
/// Size of the display that is made.
const SCREEN: &str = "1280x800x24";
/// Tells a process that it is the one to be measured for its start.
const START: &str = "--start";
/// Tells that a display was made.
const INNER: &str = "--inner";

/// Runs the bench with what stood after `bench` on the command line.
///
/// # Errors
/// There is no display and none can be made, or something cannot be measured.
pub fn run(args: &[String]) -> anyhow::Result<()> {
    if args.iter().any(|arg| arg == START) {
        return window::start();
    }
    let mut plan = Plan::default();
    let mut words = args.iter().map(String::as_str).filter(|word| *word != INNER);
    while let Some(word) = words.next() {
        let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).context("a number is missing");
        match word {
            "--seconds" => plan.seconds = number(words.next())?,
            "--people" => plan.people = usize::try_from(number(words.next())?)?.clamp(1, 5),
            "--friends" => plan.friends = usize::try_from(number(words.next())?)?,
            "--growth" => plan.growth_seconds = number(words.next())?,
            _ => bail!("twocan-gui bench [--seconds N] [--people N] [--friends N] [--growth SECONDS]"),
        }
    }
    let here = std::env::var_os("DISPLAY").is_some_and(|display| !display.is_empty());
    if !here && !args.iter().any(|arg| arg == INNER) {
        return with_display(args);
    }
    let starts = starts()?;
    let measured = window::measure(&plan)?;
    report::print(&plan, &starts, &measured);
    Ok(())
}

/// Makes a display and runs the bench on it.
fn with_display(args: &[String]) -> anyhow::Result<()> {
    let (mut server, display) = server()?;
    let done =
        Command::new(std::env::current_exe()?).arg("bench").args(args).arg(INNER).env("DISPLAY", display).status();
    server.kill()?;
    server.wait()?;
    ensure!(done?.success(), "the bench failed");
    Ok(())
}

fn server() -> anyhow::Result<(Child, String)> {
    let mut server = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", SCREEN, "-nolisten", "tcp", "-noreset"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("there is no display, and Xvfb, which would make one, does not start")?;
    let mut number = String::new();
    if let Some(out) = server.stdout.take() {
        BufReader::new(out).read_line(&mut number)?;
    }
    ensure!(!number.trim().is_empty(), "Xvfb does not start");
    Ok((server, format!(":{}", number.trim())))
}

/// Milliseconds from the start of the process to a window that can be used, several times.
fn starts() -> anyhow::Result<Vec<f64>> {
    let home = std::env::temp_dir().join(format!("twocan-gui-bench-{}", std::process::id()));
    std::fs::create_dir_all(&home)?;
    let one = || -> anyhow::Result<f64> {
        let begin = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", START])
            .env(twocan_control::paths::HOME_VARIABLE, &home)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let took = begin.elapsed();
        child.wait()?;
        ensure!(line.trim() == window::USABLE, "the window did not open");
        Ok(took.as_secs_f64() * 1e3)
    };
    let measured = (0..STARTS).map(|_| one()).collect();
    drop(std::fs::remove_dir_all(&home));
    measured
}
