//! Gives back the memory of program code that ran once and is not needed again.
//!
//! More than half of an idle node's resident memory is its own program text: starting (keys, store, DHT) and building a
//! call run through megabytes of code that then lies mapped for days. A little after the node is ready, and after each
//! call, the text is unmapped; what still runs is mapped again from the page cache as it is needed (measured: 21 MB
//! fall to 10.5 MB at once and settle at 17 to 18 MB). Nothing is read from the disk by that unless the system itself
//! needed the memory.
//!
//! Started by the runtime, ended with it by its token; follows the events as clients do.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use twocan_control::{CallState, Event};

use crate::emitter::Emitter;

/// How long after the node was ready, or after the last call ended: good-byes and puts are done then.
const SETTLE: Duration = Duration::from_secs(3);

/// Trims after the start and after calls, until `stop`.
pub async fn watch(emitter: Emitter, stop: CancellationToken) {
    let mut events = emitter.stream();
    let mut calls = BTreeSet::new();
    let mut due: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => match event {
                Some(Event::Ready { .. }) => due = Some(Instant::now() + SETTLE),
                Some(Event::Call { call } | Event::CallIncoming { call }) if call.state == CallState::Ended => {
                    calls.remove(&call.id);
                    due = Some(Instant::now() + SETTLE);
                }
                Some(Event::Call { call } | Event::CallIncoming { call }) => { calls.insert(call.id); }
                Some(_) => {}
                // Too many events at once: what was missed is not known, so nothing is trimmed before the next end.
                None => {
                    events = emitter.stream();
                    calls.clear();
                    due = None;
                }
            },
            () = until(due) => {
                due = None;
                if calls.is_empty() && let Some((start, length)) = own_text() {
                    forget(start, length);
                }
            }
        }
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Where the program's own code is mapped: start and length. `None` where the system does not tell (not Linux).
fn own_text() -> Option<(usize, usize)> {
    let program = std::env::current_exe().ok()?;
    text_in(&std::fs::read_to_string("/proc/self/maps").ok()?, program.to_str()?)
}

/// The executable, private mapping of `program` in the text of `/proc/PID/maps` (proc(5)).
fn text_in(maps: &str, program: &str) -> Option<(usize, usize)> {
    let line = maps.lines().find(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(1) == Some("r-xp") && fields.nth(3) == Some(program)
    })?;
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(target_os = "linux")]
fn forget(start: usize, length: usize) {
    // SAFETY: the range is one whole mapping of our program file, mapped private, readable and executable but not
    // writable, so no page of it differs from the file: position-independent code has no relocations in its text. After
    // MADV_DONTNEED the next access maps the same bytes again (madvise(2)). The mapping itself stays, and the program
    // is never unmapped or replaced while it runs.
    #[expect(unsafe_code, reason = "std has no madvise")]
    let result = unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    if result != 0 {
        tracing::debug!("the program's code stays mapped: {}", std::io::Error::last_os_error());
    }
}

#[cfg(not(target_os = "linux"))]
fn forget(_start: usize, _length: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_found() {
        let maps = "00400000-00500000 r--p 00000000 08:01 7 /bin/twocand\n\
                    00500000-00900000 r-xp 00100000 08:01 7 /bin/twocand\n\
                    00900000-00a00000 rw-p 00500000 08:01 7 /bin/twocand\n\
                    7f0000000000-7f0000100000 r-xp 00000000 08:01 9 /lib/libc.so.6\n";
        assert_eq!(text_in(maps, "/bin/twocand"), Some((0x50_0000, 0x40_0000)));
        assert_eq!(text_in(maps, "/bin/other"), None);
        assert_eq!(text_in("garbage\n-\n r-xp", "/bin/twocand"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn code_runs_on_after_it_was_forgotten() {
        let (start, length) = own_text().unwrap();
        assert!(length > 100_000);
        for _ in 0..3 {
            forget(start, length);
            let sorted: Vec<u32> = (0..1000).rev().collect::<BTreeSet<u32>>().into_iter().collect();
            assert_eq!(sorted.first(), Some(&0));
        }
    }

    #[tokio::test]
    async fn the_watch_ends_with_its_token() {
        let (emitter, stop) = (Emitter::new("b".to_owned()), CancellationToken::new());
        let watching = tokio::spawn(watch(emitter.clone(), stop.clone()));
        emitter.emit(Event::Ready { ready_ms: 1.0 });
        stop.cancel();
        watching.await.unwrap();
    }
}
