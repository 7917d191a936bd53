//! Gives memory back that only the start or a call needed.
//!
//! Most of a small node's resident memory is code, and most of that runs once: when the node starts, when a call is set
//! up. The system brings code in by the 64 kB around each place that is run, and takes it out only when memory is short.
//! When the node is ready, some seconds later, and some seconds after a call this lets all of it go: what still runs is
//! there again at once, from the system's file cache. The heap gives back what it keeps at the same time.
//!
//! Started by: [`crate::runtime`], one task for the life of the node; it hears of calls by the events of the local API.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};
use twocan_control::{CallState, Event};

use crate::emitter::Emitter;

/// After the start, or a call: until then slots are published, and connections that are not needed have ended.
const QUIET: Duration = Duration::from_secs(5);

/// Lets memory go whenever things have become quiet.
pub(crate) fn start(emitter: &Emitter) {
    if cfg!(target_os = "linux") {
        tokio::spawn(tend(emitter.clone()));
    }
}

async fn tend(emitter: Emitter) {
    let mut events = emitter.stream();
    let mut quiet = Some(Instant::now() + QUIET);
    loop {
        tokio::select! {
            () = at(quiet) => {
                quiet = None;
                shrink();
            }
            event = events.next() => match event {
                Some(Event::Ready { .. }) => {
                    shrink();
                    quiet = Some(Instant::now() + QUIET);
                }
                Some(Event::Call { call }) => quiet = (call.state == CallState::Ended).then(|| Instant::now() + QUIET),
                Some(_) => {}
                // It did not keep up.
                None => events = emitter.stream(),
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(target_os = "linux")]
fn shrink() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no safe crate in use calls it")]
    // SAFETY: it takes no pointer, and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
    let (Ok(maps), Ok(program)) = (std::fs::read_to_string("/proc/self/maps"), std::env::current_exe()) else { return };
    for (start, length) in code(&maps, &program.to_string_lossy()) {
        #[expect(unsafe_code, reason = "no safe crate in use calls it")]
        // SAFETY: the range is code of this program, mapped from its file and never written to, so that each page is
        // brought in again with the same bytes when it is next run or read.
        let failed = unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) } != 0;
        if failed {
            tracing::debug!("the system does not let code go: {}", std::io::Error::last_os_error());
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn shrink() {}

/// Start and length of the mappings that are code of the program's file and that nothing can write to.
#[cfg(target_os = "linux")]
fn code(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let of = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (flags, rest) = rest.split_once(' ')?;
        // Offset, device and inode come between, then spaces.
        let path = rest.splitn(4, ' ').nth(3)?.trim_start();
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (flags == "r-xp" && path == program && end > start).then(|| (start, end - start))
    };
    maps.lines().filter_map(of).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_let_go() {
        let maps = "\
55e206b7d000-55e20711c000 r--p 00000000 fe:00 10257362                   /opt/two can/twocand
55e20711c000-55e20808d000 r-xp 0059f000 fe:00 10257362                   /opt/two can/twocand
55e20808d000-55e208158000 r--p 01510000 fe:00 10257362                   /opt/two can/twocand
55e208158000-55e208165000 rw-p 015db000 fe:00 10257362                   /opt/two can/twocand
7f95214e2000-7f9521638000 r-xp 00026000 fe:00 131                        /usr/lib/libc.so.6
7f9521638000-7f9521639000 rwxp 00000000 00:00 0
7ffc9e7f2000-7ffc9e7f4000 r-xp 00000000 00:00 0                          [vdso]
nonsense
";
        assert_eq!(code(maps, "/opt/two can/twocand"), [(0x55e2_0711_c000, 0xf7_1000)]);
        assert!(code(maps, "/opt/other").is_empty());
    }

    #[test]
    fn a_program_runs_on_after_it_has_let_its_code_go() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let program = std::env::current_exe().unwrap();
        let own = code(&maps, &program.to_string_lossy());
        let here = only_the_programs_own_code_is_let_go as fn() as usize;
        assert!(own.iter().any(|(start, length)| (*start..start + length).contains(&here)), "{own:x?}");
        shrink();
        only_the_programs_own_code_is_let_go();
    }
}
