//! What this process uses, as the kernel counts it: processor time by thread, and private memory by whose it is.

use std::collections::BTreeMap;
use std::fs;

/// Processor time in the kernel's ticks, by what the thread is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Processor {
    /// By the threads' names.
    pub(super) ticks: BTreeMap<String, u64>,
}

/// The kernel's ticks a second: fixed by its interface to programs.
const TICKS: f64 = 100.0;

impl Processor {
    /// Since the start of the process; threads that ended are missing.
    pub(super) fn now() -> Self {
        let mut ticks = BTreeMap::new();
        let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Self::default() };
        for task in tasks.flatten() {
            if let Some((name, used)) = fs::read_to_string(task.path().join("stat")).ok().as_deref().and_then(stat) {
                *ticks.entry(name).or_default() += used;
            }
        }
        Self { ticks }
    }

    /// Percent of one core since `before`, by name.
    pub(super) fn since(&self, before: &Self, seconds: f64) -> BTreeMap<String, f64> {
        let used = |name: &String, ticks: u64| ticks.saturating_sub(before.ticks.get(name).copied().unwrap_or(0));
        self.ticks
            .iter()
            .map(|(name, &ticks)| (name.clone(), used(name, ticks) as f64 / TICKS / seconds * 100.0))
            .collect()
    }
}

/// Whether a thread belongs to the program that draws in place of a graphics card.
pub(super) fn rasteriser(thread: &str) -> bool {
    thread.starts_with("llvmpipe") || thread.starts_with("softpipe") || thread.starts_with("swr")
}

/// Name and ticks of a thread.
fn stat(line: &str) -> Option<(String, u64)> {
    let (open, close) = (line.find('(')?, line.rfind(')')?);
    let fields: Vec<&str> = line[close + 1..].split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    // proc(5): utime and stime are fields 14 and 15; the name is the second.
    Some((line[open + 1..close].to_owned(), number(11)? + number(12)?))
}

/// Private memory in kilobytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// All of it.
    pub(super) all: u64,
    /// Of that: files of Mesa and LLVM that are mapped, and what they wrote into them.
    pub(super) mesa: u64,
    /// Anonymous memory that can be executed: the programs that LLVM made.
    pub(super) made: u64,
    /// The heap and other anonymous memory.
    pub(super) anonymous: u64,
}

impl Memory {
    /// At this moment.
    pub(super) fn now() -> Self {
        fs::read_to_string("/proc/self/smaps").map(|text| Self::of(&text)).unwrap_or_default()
    }

    fn of(smaps: &str) -> Self {
        let mut memory = Self::default();
        let (mut path, mut executable) = (String::new(), false);
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            if let Some(key) = first.strip_suffix(':') {
                if matches!(key, "Private_Clean" | "Private_Dirty") {
                    let kb = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                    memory.all += kb;
                    match path.as_str() {
                        path if theirs(path) => memory.mesa += kb,
                        "" | "[heap]" if executable => memory.made += kb,
                        "" | "[heap]" => memory.anonymous += kb,
                        _ => {}
                    }
                }
            } else if first.contains('-') {
                executable = words.next().is_some_and(|rights| rights.contains('x'));
                path = words.nth(3).unwrap_or_default().to_owned();
            }
        }
        memory
    }

    /// Without what Mesa and LLVM mapped and made.
    pub(super) fn ours(&self) -> u64 {
        self.all - self.mesa - self.made
    }
}

/// Whether a mapped file belongs to the libraries that draw in place of a graphics card.
fn theirs(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    ["libLLVM", "libgallium", "swrast", "libGL", "libEGL", "libgbm", "libz3", "libdrm", "libglapi"]
        .iter()
        .any(|library| name.contains(library))
        || path.contains("/dri/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let line = "77 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 1 0";
        assert_eq!(stat(line), Some(("a (b) c".into(), 150)));
        assert!(Processor::now().ticks.values().sum::<u64>() < 1 << 40);
        let smaps = "00-10 rw-p 0 00:00 0 \nPrivate_Dirty:  40 kB\n10-20 r-xp 0 08:01 5   /usr/lib/libLLVM.so.19.1\n\
                     Private_Clean:  7 kB\nPrivate_Dirty:  1 kB\nShared_Clean: 9 kB\n20-30 rwxp 0 00:00 0\n\
                     Private_Dirty: 3 kB\n30-40 rw-p 0 08:01 9 /usr/bin/x\nPrivate_Dirty: 2 kB\n";
        let memory = Memory::of(smaps);
        assert_eq!(memory, Memory { all: 53, mesa: 8, made: 3, anonymous: 40 });
        assert_eq!(memory.ours(), 42);
    }
}
