//! The one clock of media: frames, probes and sinks are stamped by it, also across processes of one machine.

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of the media frame header.
///
/// On systems without that clock: nanoseconds since the first call in this process, which is enough for everything
/// but comparing the stamps of two processes.
#[must_use]
pub fn now_ns() -> u64 {
    platform_ns()
}

#[cfg(unix)]
fn platform_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "std does not tell the value of the monotonic clock, only differences")]
    // SAFETY: `time` is a valid, writable timespec for the whole call, which is all that clock_gettime asks for.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    if result != 0 {
        return 0;
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(not(unix))]
fn platform_ns() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(std::time::Instant::now);
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_forward_and_at_the_pace_of_instant() {
        let (a, i) = (now_ns(), std::time::Instant::now());
        std::thread::yield_now();
        let (b, e) = (now_ns(), i.elapsed());
        assert!(a > 0 && b >= a);
        assert!(b - a >= u64::try_from(e.as_nanos()).unwrap_or(0).saturating_sub(1_000_000));
    }
}
