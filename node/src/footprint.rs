//! Gives memory back that only the start or a call needed.
//!
//! The allocator keeps what was freed, in case it is wanted again. When the node is ready, some seconds later, and some
//! seconds after a call this gives it back to the system: a few megabytes of a node that then does nothing for hours.
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
    if cfg!(all(target_os = "linux", target_env = "gnu")) {
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

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn shrink() {
    #[expect(unsafe_code, reason = "no safe crate in use calls it")]
    // SAFETY: it takes no pointer, and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn shrink() {}
