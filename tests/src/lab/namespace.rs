//! A host of a lab: a network namespace with one TUN device, both gone when the last file descriptor is closed.
//!
//! Nothing has a name in the system, so labs cannot collide, and a crash leaves nothing but processes that ran inside;
//! these carry [`MARK`] in their environment, by which the next lab finds and ends them.

use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Environment variable of all processes in a lab: process id and start time of the process whose lab it is.
const MARK: &str = "TWOCAN_LAB";

/// A network namespace that lives as long as this does.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<OwnedFd>);

impl Namespace {
    /// A new namespace with a TUN device `eth0`, which is returned for reading and writing IP packets.
    pub(super) fn create() -> Result<(Self, File)> {
        // A thread of its own enters the new namespace and ends there.
        let made = thread::spawn(|| -> Result<(Self, File)> {
            unshare(CloneFlags::CLONE_NEWNET).context("no network namespace can be made")?;
            let namespace = File::open("/proc/thread-self/ns/net")?;
            Ok((Self(Arc::new(namespace.into())), tun("eth0").context("no TUN device can be made")?))
        });
        made.join().map_err(|_| anyhow::anyhow!("making a namespace panicked"))?
    }

    /// What other processes can open to get to it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    /// A command that runs a program inside; its process id is the program's.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command.env(MARK, mark(std::process::id()));
        command
    }

    /// Runs something inside; sockets made there stay there.
    pub fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let entered = scope.spawn(|| -> Result<T> {
                setns(&*self.0, CloneFlags::CLONE_NEWNET)?;
                Ok(run())
            });
            entered.join().map_err(|_| anyhow::anyhow!("it panicked inside the namespace"))?
        })
    }

    /// Runs lines of `ip` inside.
    pub(super) fn ip(&self, lines: &str) -> Result<()> {
        let mut command = self.command(Path::new("ip"));
        let mut child = command.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("no stdin")?.write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("ip: {} in:\n{lines}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Sets addresses and routes of `eth0`, in place of those it had.
    pub(super) fn configure(&self, addresses: &[(IpAddr, u8)], gateway: Option<IpAddr>) -> Result<()> {
        let mut lines =
            "link set lo up\nlink set eth0 up mtu 1500 txqueuelen 5000\naddr flush dev eth0 scope global\n".to_owned();
        for (address, prefix) in addresses {
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            lines += &format!("addr add {address}/{prefix} dev eth0{nodad}\n");
        }
        if let Some(gateway) = gateway {
            lines += &format!("route replace default via {gateway} dev eth0\n");
        }
        if addresses.iter().any(|(address, _)| address.is_ipv6()) {
            lines += "route replace ::/0 dev eth0\n";
        }
        self.ip(&lines)
    }
}

/// Makes a TUN device in the namespace of this thread.
fn tun(name: &str) -> io::Result<File> {
    let device = File::options().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all zeroes is a valid `ifreq`.
    #[expect(unsafe_code, reason = "a C structure of the system call")]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap_or_default();
    // SAFETY: the descriptor is open, and the request lives for the duration of the call.
    #[expect(unsafe_code, reason = "no crate in use makes TUN devices")]
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open; the flags are those of a file that never waits.
    #[expect(unsafe_code, reason = "the device must not block its one reader")]
    let done = unsafe { libc::fcntl(device.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK | libc::O_RDWR) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(device) }
}

/// Why no lab can run here, if it cannot.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("it needs root, for network namespaces".to_owned());
    }
    for program in ["ip", "nsenter"] {
        if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return Some(format!("it needs the program {program}"));
        }
    }
    Namespace::create().err().map(|error| format!("{error:#}"))
}

/// Names a process beyond the reuse of its id.
fn mark(pid: u32) -> String {
    format!("{pid}:{}", start_time(pid).unwrap_or_default())
}

/// When a process started, in clock ticks since the system did.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; field 22 counts from the first.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Ends the processes of labs whose own process is gone. Tells how many.
pub(super) fn remove_leftovers() -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let mut ended = 0;
    for pid in processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
        let prefix = format!("{MARK}=");
        let owner = environment
            .split(|byte| *byte == 0)
            .filter_map(|entry| std::str::from_utf8(entry).ok())
            .find_map(|entry| entry.strip_prefix(&prefix));
        let Some(owner) = owner.and_then(|owner| owner.split_once(':')) else { continue };
        let (Ok(owner), Ok(started)) = (owner.0.parse::<u32>(), owner.1.parse::<u64>()) else { continue };
        if start_time(owner) != Some(started) && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
            ended += 1;
        }
    }
    ended
}
