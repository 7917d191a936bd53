//! The one thread of a lab that carries packets between the TUN devices of its hosts, when they are due.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::net::Net;

/// Largest packet that a TUN device gives.
const PACKET: usize = 65_536;
/// Packets taken from one device before the others have their turn.
const TURN: usize = 64;
/// Longest wait, so that a changed network is looked at again.
const IDLE: Duration = Duration::from_millis(500);

/// What the pump and the hands of a test share.
#[derive(Debug)]
pub(super) struct Shared {
    net: Mutex<Net>,
    devices: Mutex<Vec<Arc<File>>>,
    stop: AtomicBool,
    wake: UnixStream,
}

impl Shared {
    /// The state, and the other end of what wakes the pump.
    pub(super) fn new() -> std::io::Result<(Self, UnixStream)> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok((Self { net: Mutex::default(), devices: Mutex::default(), stop: AtomicBool::new(false), wake }, woken))
    }

    /// The network, to look at and to change. Keep it short: meanwhile no packet moves.
    pub(super) fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the device of the host that was added to the network just now.
    pub(super) fn add_device(&self, device: File) {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(device));
        self.wake();
    }

    /// Ends the pump.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn wake(&self) {
        // A full pipe wakes as well.
        let _ = (&self.wake).write(&[0]);
    }
}

/// Carries packets until stopped.
pub(super) fn run(shared: &Shared, woken: &UnixStream) {
    hurry();
    let mut buffer = vec![0; PACKET];
    while !shared.stop.load(Ordering::Relaxed) {
        let devices = shared.devices.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let due = shared.net().due();
        let wait = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()).min(IDLE));
        let ready = poll(&devices, woken, wait);
        if ready.last() == Some(&true) {
            let _ = (&*woken).read(&mut buffer);
        }
        let mut net = shared.net();
        for (host, device) in devices.iter().enumerate().filter(|(host, _)| ready[*host]) {
            for _ in 0..TURN {
                let Ok(length) = (&**device).read(&mut buffer) else { break };
                net.send(Instant::now(), host, buffer[..length].to_vec());
            }
        }
        net.run(Instant::now(), |host, packet| {
            // A device that is down or full takes nothing: the packet is lost, as on any line.
            if let Some(device) = devices.get(host) {
                let _ = (&**device).write(packet);
            }
        });
    }
}

/// Which devices have packets; the last answer is for the wake-up.
fn poll(devices: &[Arc<File>], woken: &UnixStream, wait: Duration) -> Vec<bool> {
    let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<libc::pollfd> = devices.iter().map(|device| entry(device.as_raw_fd())).collect();
    entries.push(entry(woken.as_raw_fd()));
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(wait.as_secs()).unwrap_or_default(),
        tv_nsec: libc::c_long::from(wait.subsec_nanos().cast_signed()),
    };
    // SAFETY: the entries live for the call and their number is right; the descriptors are open while borrowed here.
    #[expect(unsafe_code, reason = "waits for descriptors to the microsecond, which no crate in use does")]
    unsafe {
        libc::ppoll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, &raw const timeout, std::ptr::null());
    }
    entries.iter().map(|entry| entry.revents & libc::POLLIN != 0).collect()
}

/// Delay is what this thread measures out: it comes before others, and its waits are exact.
fn hurry() {
    let _ = nix::sys::prctl::set_timerslack(1_000);
    // SAFETY: no pointers; 0 is this thread. It is fine if this is refused.
    #[expect(unsafe_code, reason = "the standard library does not set priorities")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, -15);
    }
}
