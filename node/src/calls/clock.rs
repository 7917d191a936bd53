//! The clock of media frames: `CLOCK_MONOTONIC` in nanoseconds, as the local API names it.
//!
//! `std::time::Instant` counts the same clock but does not tell its value.

/// Now, in nanoseconds of `CLOCK_MONOTONIC`.
pub(super) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable timespec, and the clock id exists on every system we build for.
    #[expect(unsafe_code, reason = "std gives no access to the value of the monotonic clock")]
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    debug_assert_eq!(failed, 0, "CLOCK_MONOTONIC exists");
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_does_not_run_backwards() {
        let first = super::now_ns();
        assert!(first > 0 && super::now_ns() >= first);
    }
}
