//! Where the relay's TLS can listen: a socket that systemd hands over, port 443, or the number of the calls' port.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
#[cfg(unix)]
use std::sync::atomic::{AtomicU32, Ordering};

/// The port of HTTPS, which every firewall lets out.
pub const HTTPS: u16 = 443;
/// First file descriptor that systemd hands over (`sd_listen_fds(3)`).
const FIRST_HANDED: i32 = 3;
/// Sockets that are looked at.
const HANDED_MAX: i32 = 16;

/// A TCP socket that listens, and one sentence about it.
#[derive(Debug)]
pub struct TlsPort {
    /// The socket.
    pub listener: TcpListener,
    /// Its port.
    pub port: u16,
    /// What is to be known of it.
    pub note: String,
}

/// Opens the port for TLS on `ip` (all addresses if unspecified): the configured one; else a socket of systemd, 443, the
/// number of the calls' port, any.
///
/// # Errors
/// What the system said to the configured, or the last, attempt.
pub fn open_tls(configured: Option<u16>, media: u16, ip: IpAddr) -> io::Result<TlsPort> {
    if let Some(listener) = handed() {
        let port = listener.local_addr()?.port();
        return Ok(TlsPort { listener, port, note: format!("TLS is on port {port}, from a systemd socket.") });
    }
    let bind = |port: u16| {
        let listener = TcpListener::bind(SocketAddr::new(ip, port))?;
        let port = listener.local_addr()?.port();
        Ok::<_, io::Error>((listener, port))
    };
    if let Some(port) = configured {
        let (listener, port) = bind(port)?;
        return Ok(TlsPort { listener, port, note: format!("TLS is on port {port}, as configured.") });
    }
    let refused = match bind(HTTPS) {
        Ok((listener, port)) => return Ok(TlsPort { listener, port, note: "TLS is on port 443.".into() }),
        Err(error) => error,
    };
    let why = match refused.kind() {
        io::ErrorKind::PermissionDenied => {
            "Port 443 needs a right that this program has not: give it by `sudo setcap cap_net_bind_service+ep` on \
             twocand, or by a systemd socket."
        }
        io::ErrorKind::AddrInUse => "Port 443 is used by another program.",
        _ => "Port 443 cannot be had.",
    };
    let (listener, port) = bind(media).or_else(|_| bind(0))?;
    let note = format!("TLS is on port {port}; firewalls that let out HTTPS only do not let friends reach it. {why}");
    Ok(TlsPort { listener, port, note })
}

/// A listening TCP socket that systemd handed over, if there is one.
#[cfg(unix)]
fn handed() -> Option<TcpListener> {
    use std::os::fd::{BorrowedFd, FromRawFd};

    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let own = i32::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|_| own.is_some() && number("LISTEN_PID") == own)?;
    (FIRST_HANDED..FIRST_HANDED + count.clamp(0, HANDED_MAX)).find_map(|fd| {
        // Each is owned once: a second look must not find it.
        let bit = 1 << fd;
        if TAKEN.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
            return None;
        }
        #[expect(unsafe_code, reason = "systemd hands file descriptors over by number")]
        // SAFETY: by sd_listen_fds(3) these numbers are open and given to this process alone, and nothing else here uses
        // them. Each is looked at once, borrowed, before it is owned.
        unsafe {
            let socket = BorrowedFd::borrow_raw(fd);
            let looked = socket2::SockRef::from(&socket);
            let fits = looked.is_listener().unwrap_or(false)
                && looked.r#type().is_ok_and(|kind| kind == socket2::Type::STREAM)
                && looked.local_addr().is_ok_and(|address| address.as_socket().is_some());
            fits.then(|| TcpListener::from_raw_fd(fd))
        }
    })
}

/// Handed sockets that were looked at, a bit for each number.
#[cfg(unix)]
static TAKEN: AtomicU32 = AtomicU32::new(0);

#[cfg(not(unix))]
fn handed() -> Option<TcpListener> {
    None
}

/// The addresses that packets to the internet leave from, IPv4 first. Nothing is sent to find out.
pub fn source_addresses() -> Vec<IpAddr> {
    let source = |any: &str, far: &str| -> io::Result<IpAddr> {
        let socket = UdpSocket::bind(any)?;
        socket.connect(far)?;
        Ok(socket.local_addr()?.ip())
    };
    // Any address of the internet will do: the system only looks up the route.
    let v4 = source("0.0.0.0:0", "1.1.1.1:53").ok();
    let v6 = source("[::]:0", "[2606:4700:4700::1111]:53").ok();
    [v4, v6].into_iter().flatten().filter(|ip| !ip.is_unspecified()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_port_is_taken_or_refused() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        let held = TcpListener::bind((ip, 0)).unwrap();
        let busy = held.local_addr().unwrap().port();
        assert!(open_tls(Some(busy), 0, ip).is_err());
        let open = open_tls(Some(0), busy, ip).unwrap();
        assert!(open.port != busy && open.note.contains(&open.port.to_string()), "{open:?}");
    }

    #[test]
    fn there_is_some_port_whatever_is_busy() {
        let ip = IpAddr::from([127, 0, 0, 1]);
        let first = open_tls(None, 0, ip).unwrap();
        let second = open_tls(None, first.port, ip).unwrap();
        assert_ne!(first.port, second.port);
        assert!(second.note.contains("443"), "{}", second.note);
    }
}
