//! IP bytes of one process on loopback, counted from the packets themselves (Linux, with the right to capture).
//!
//! A packet socket for IPv4 sees every packet that arrives on an interface; packets between loopback addresses whose
//! source or destination port belongs to the process are counted with their IP total length (RFC 791, 3.1), both
//! directions. Which ports belong to it is read from `/proc` at both ends of the window.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the counting thread looks whether it shall end.
const POLL: Duration = Duration::from_millis(50);
/// Different ports that are counted; more means that this machine does something else besides, and what is left out is
/// not the demo's.
const MAX_PORTS: usize = 65_536;

/// Bytes by port, both directions together.
type Counts = Vec<u64>;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Counts>,
    begin: Instant,
}

/// What was counted.
#[derive(Debug)]
pub struct Counted {
    bytes: Counts,
    seconds: f64,
}

impl Capture {
    /// Begins to count; fails without the right to capture (root or CAP_NET_RAW), and on other systems than Linux.
    ///
    /// # Errors
    /// What the system said.
    pub fn start() -> io::Result<Self> {
        let socket = packet_socket()?;
        socket.set_read_timeout(Some(POLL))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("traffic".into()).spawn(move || count(&socket, &stopped))?;
        Ok(Self { stop, thread, begin: Instant::now() })
    }

    /// Ends the window.
    pub fn stop(self) -> Counted {
        let seconds = self.begin.elapsed().as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        Counted { bytes: self.thread.join().unwrap_or_default(), seconds }
    }
}

impl Counted {
    /// IP bytes a second, both directions, of the process that owns `ports`.
    #[expect(clippy::cast_precision_loss, reason = "a rate shown with one decimal")]
    pub fn bytes_per_s(&self, ports: &HashSet<u16>) -> f64 {
        let bytes: u64 = ports.iter().filter_map(|port| self.bytes.get(usize::from(*port))).sum();
        bytes as f64 / self.seconds.max(0.001)
    }
}

fn count(socket: &std::net::UdpSocket, stop: &AtomicBool) -> Counts {
    let mut bytes = vec![0; MAX_PORTS];
    let mut packet = [0; 128];
    while !stop.load(Ordering::Relaxed) {
        // A packet longer than the buffer is cut; its header says how long it was.
        let Ok(length) = socket.recv(&mut packet) else { continue };
        let Some(seen) = packet.get(..length).and_then(parse) else { continue };
        for port in HashSet::from([seen.source, seen.destination]) {
            if let Some(count) = bytes.get_mut(usize::from(port)) {
                *count += u64::from(seen.length);
            }
        }
    }
    bytes
}

/// What matters of a packet.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    source: u16,
    destination: u16,
    length: u16,
}

/// Reads an IPv4 packet between loopback addresses that carries TCP or UDP.
fn parse(packet: &[u8]) -> Option<Seen> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let be = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let loopback = *packet.get(12)? == 127 && *packet.get(16)? == 127;
    let transport = matches!(packet.get(9)?, 6 | 17);
    let version = packet.first()? >> 4;
    if version != 4 || !loopback || !transport {
        return None;
    }
    Some(Seen { source: be(header)?, destination: be(header + 2)?, length: be(2)? })
}

#[cfg(target_os = "linux")]
fn packet_socket() -> io::Result<std::net::UdpSocket> {
    use std::os::fd::{FromRawFd, OwnedFd};
    // Only IPv4, and no outgoing copies: those go to sockets that ask for all protocols (packet(7)).
    let protocol = i32::from((libc::ETH_P_IP as u16).to_be());
    // SAFETY: socket takes no pointers; its result is checked before use.
    #[expect(unsafe_code, reason = "std opens no packet sockets")]
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, is open, and is owned by nobody else.
    #[expect(unsafe_code, reason = "the way from a descriptor to an owner")]
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // Only recv and the read timeout are used, which work on any datagram socket.
    Ok(fd.into())
}

#[cfg(not(target_os = "linux"))]
fn packet_socket() -> io::Result<std::net::UdpSocket> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Local ports of a process, over IPv4, TCP and UDP.
pub fn ports(pid: u32) -> HashSet<u16> {
    let Ok(folder) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    let sockets: HashSet<String> = folder
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    ["/proc/net/udp", "/proc/net/tcp"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| owned(&table, &sockets))
        .collect()
}

/// Ports of the rows in a table of `/proc/net` whose inode is among `sockets`.
fn owned(table: &str, sockets: &HashSet<String>) -> Vec<u16> {
    let port = |row: &str| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let mine = sockets.contains(*fields.get(9)?);
        let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        mine.then_some(port)
    };
    table.lines().skip(1).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_transport_headers_between_loopback_addresses_count() {
        let mut packet = vec![0x45, 0, 0x01, 0x02, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1, 0, 80, 0, 90];
        assert_eq!(parse(&packet), Some(Seen { source: 80, destination: 90, length: 0x102 }));
        packet[16] = 10;
        assert_eq!(parse(&packet), None);
        assert_eq!(parse(&packet[..10]), None);
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn ports_are_those_of_the_own_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     1: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 111 2 0 0\n\
                     2: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 222 2 0 0\n";
        assert_eq!(owned(table, &HashSet::from(["111".to_owned()])), vec![8080]);
    }
}
