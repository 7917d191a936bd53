//! The laboratory by hand: `cargo run --release -p twocan-tests --bin lab -- --help`.

#[cfg(target_os = "linux")]
#[path = "lab/experiments.rs"]
mod experiments;
#[cfg(target_os = "linux")]
#[path = "lab/linux.rs"]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("lab: it needs Linux, for network namespaces");
    std::process::ExitCode::FAILURE
}
