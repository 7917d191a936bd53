//! The local time zone, from the system.

/// Seconds by which local time is ahead of UTC at this moment (Unix s); 0 where the system does not say.
#[cfg(unix)]
#[expect(unsafe_code, reason = "only the C library knows the time zone")]
#[must_use]
pub fn offset(now_s: i64) -> i32 {
    // SAFETY: all fields of `tm` may be zero, and `localtime_r` writes to nothing but it.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let time = libc::time_t::from(now_s);
    // SAFETY: both pointers are of values that live here.
    let filled = unsafe { libc::localtime_r(&raw const time, &raw mut tm) };
    if filled.is_null() { 0 } else { i32::try_from(tm.tm_gmtoff).unwrap_or(0) }
}

/// Seconds by which local time is ahead of UTC: not asked for on this system.
#[cfg(not(unix))]
#[must_use]
pub fn offset(_now_s: i64) -> i32 {
    0
}
