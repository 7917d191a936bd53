//! What processes use: memory and CPU time from `/proc` (Linux; elsewhere nothing is known).

use std::time::Instant;

/// Clock ticks per second in `/proc/PID/stat`: fixed for user space on Linux (`USER_HZ`, see proc(5)).
const TICKS: f64 = 100.0;

/// Resident memory of a process in megabytes (10^6 bytes).
pub fn rss_mb(pid: u32) -> Option<f64> {
    parse_rss(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn parse_rss(status: &str) -> Option<f64> {
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}

/// CPU seconds that a process has used, all its threads, in user and system mode.
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    parse_cpu(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_cpu(stat: &str) -> Option<f64> {
    // The name in parentheses may contain anything; fields are counted after it. utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS)
}

/// Measures the CPU share of processes over a window.
#[derive(Debug)]
pub struct CpuWindow {
    begin: Instant,
    at_begin: Vec<(u32, f64)>,
}

impl CpuWindow {
    /// Opens the window.
    pub fn open(pids: &[u32]) -> Self {
        let at_begin = pids.iter().filter_map(|pid| cpu_seconds(*pid).map(|used| (*pid, used))).collect();
        Self { begin: Instant::now(), at_begin }
    }

    /// Percent of one core that the process used since.
    pub fn percent(&self, pid: u32) -> Option<f64> {
        let before = self.at_begin.iter().find(|(known, _)| *known == pid)?.1;
        Some((cpu_seconds(pid)? - before) / self.begin.elapsed().as_secs_f64().max(0.001) * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 5 0 100 1000 10 18446744073709551615";
        assert_eq!(parse_cpu(stat), Some(3.0));
    }

    #[test]
    fn memory_is_read_in_kilobytes() {
        assert_eq!(parse_rss("Name:\tx\nVmRSS:\t    2000 kB\n"), Some(2.048));
        assert_eq!(parse_rss("Name:\tx\n"), None);
    }
}
