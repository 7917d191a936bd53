//! How a call sounds and looks over bad networks: `twocan bench quality` runs this program.

#[cfg(target_os = "linux")]
#[path = "quality/linux.rs"]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("quality: it needs Linux, for network namespaces");
    std::process::ExitCode::FAILURE
}
