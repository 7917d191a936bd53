//! The node as a process: found, started in the background, watched while it starts, and waited for when it stops.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use twocan_control::paths::HOME_VARIABLE;

use crate::exit::{Exit, Failure};

/// Name of the node's program.
const PROGRAM: &str = "twocand";
/// Name of the log inside a home.
pub const LOG: &str = "node.log";
/// A log larger than this is put aside (one generation) before the next start, so that it cannot fill the disk.
const LOG_LIMIT: u64 = 8 << 20;
/// How much of the log's end is looked at for the reason of a failed start.
const TAIL: u64 = 4096;

/// Finds `twocand`: next to this program, else in `PATH`.
pub fn find() -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|folder| folder.join(PROGRAM)));
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    let candidates = beside.into_iter().chain(std::env::split_paths(&path).map(|folder| folder.join(PROGRAM)));
    candidates.into_iter().find(|candidate| candidate.is_file()).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("cannot find {PROGRAM}: neither next to twocan nor in PATH"))
            .hint("from the sources: `cargo build --release -p twocan-node -p twocan-cli`")
    })
}

/// Makes the home if it is missing, for its owner alone (0700).
pub fn make_home(home: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home)
        .map_err(|error| Failure::file(home, "make the folder", &error))
}

/// A node that was just started.
#[derive(Debug)]
pub struct Started {
    /// The process.
    pub child: Child,
    /// Its log, and where this start begins in it.
    log: PathBuf,
    log_start: u64,
}

/// Starts a node for `home`: standard input closed, output appended to the log. With `detach` it gets a session of its
/// own, so that neither a closed terminal nor its Ctrl-C reaches it; without, it dies with this process (Linux).
pub fn start(program: &Path, home: &Path, detach: bool) -> Result<Started, Failure> {
    make_home(home)?;
    let path = home.join(LOG);
    if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        fs::rename(&path, home.join(format!("{LOG}.1"))).map_err(|error| Failure::file(&path, "put aside", &error))?;
    }
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Failure::file(&path, "write", &error))?;
    let log_start = log.metadata().map(|meta| meta.len()).unwrap_or(0);
    let errors = log.try_clone().map_err(|error| Failure::file(&path, "write", &error))?;
    let mut command = Command::new(program);
    command.env(HOME_VARIABLE, home).current_dir("/").stdin(Stdio::null()).stdout(log).stderr(errors);
    prepare(&mut command, detach);
    let child = command.spawn().map_err(|error| Failure::file(program, "start", &error))?;
    Ok(Started { child, log: path, log_start })
}

/// Arranges what has to happen between fork and exec.
fn prepare(command: &mut Command, detach: bool) {
    #[cfg(target_os = "linux")]
    let parent = std::process::id();
    let setup = move || {
        if detach {
            // SAFETY: setsid takes no pointers, and is async-signal-safe (POSIX.1-2024, 2.4.3).
            #[expect(unsafe_code, reason = "std offers no stable way to start a session")]
            if unsafe { libc::setsid() } == -1 {
                return Err(std::io::Error::last_os_error());
            }
        } else {
            #[cfg(target_os = "linux")]
            {
                // SAFETY: prctl(PR_SET_PDEATHSIG) and getppid take no pointers; both are plain system calls.
                #[expect(unsafe_code, reason = "std cannot ask for a signal at the parent's death")]
                let (result, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
                if result == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                // The parent may have died before the wish was heard.
                if u32::try_from(now) != Ok(parent) {
                    return Err(std::io::Error::from(std::io::ErrorKind::NotConnected));
                }
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes only the system calls above: no allocation, no locks (fork in a threaded process).
    #[expect(unsafe_code, reason = "pre_exec is the only seam between fork and exec")]
    unsafe {
        command.pre_exec(setup);
    }
}

impl Started {
    /// Why the node ended, as it wrote it since it was started: the sentence meant for people, else its last lines, at
    /// most four.
    pub fn last_words(&self) -> String {
        let tail = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.log_start.max(length.saturating_sub(TAIL))))?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = tail().unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        match lines.iter().rev().find_map(|line| line.strip_prefix("twocand: ")) {
            Some(sentence) => sentence.to_owned(),
            None => lines[lines.len().saturating_sub(4)..].join("\n"),
        }
    }
}

/// Whether a process is alive.
pub fn alive(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: kill with signal 0 takes no pointers and sends nothing; it only asks.
    #[expect(unsafe_code, reason = "std cannot ask about a process that is no child")]
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_node_that_cannot_start_are_kept() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(LOG), "an older start\n").unwrap();
        let program = home.path().join("fake");
        fs::write(&program, "#!/bin/sh\necho one\necho \"$TWOCAN_HOME\" >&2\nexit 3\n").unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let mut started = start(&program, home.path(), true).unwrap();
        assert_eq!(started.child.wait().unwrap().code(), Some(3));
        assert_eq!(started.last_words(), format!("one\n{}", home.path().display()));
    }

    #[test]
    fn this_process_is_alive_and_an_impossible_one_is_not() {
        assert!(alive(std::process::id()));
        assert!(!alive(u32::MAX));
    }
}
