//! Exit codes and failures: what a script can rely on, and what a person reads on standard error.

use std::io;
use std::process::ExitCode;

use twocan_control::{Code, Error, Outcome};

/// Exit codes of every command. They are part of the interface: a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// A fault of ours.
    Internal = 1,
    /// Wrong arguments, or a value out of range.
    Usage = 2,
    /// No node runs, or it does not answer.
    NoNode = 3,
    /// No friend, request or call matches.
    NotFound = 4,
    /// More than one matches.
    Ambiguous = 5,
    /// It exists already, or the state does not allow it now.
    Conflict = 6,
    /// The friend is not reachable now.
    Unreachable = 7,
    /// The node is locked.
    Locked = 8,
    /// The passphrase is wrong.
    WrongPassphrase = 9,
    /// Another client holds the seat of the call.
    SeatTaken = 10,
    /// A bound is reached.
    Limit = 11,
    /// Client and node speak different versions.
    Version = 12,
    /// Files cannot be read or written.
    Storage = 13,
    /// The address has a typing error.
    BadAddress = 14,
    /// A microphone, speaker, camera, screen or media file cannot be used.
    Media = 15,
    /// The call was declined, or the friend does not want to be disturbed.
    Declined = 20,
    /// Nobody answered in time, or the caller gave up.
    Unanswered = 21,
    /// The friend is in another call.
    Busy = 22,
    /// No media path could be built, or it was lost for good.
    CallFailed = 23,
    /// The call was taken by another client.
    Elsewhere = 24,
    /// Something that `doctor`, `demo` or `bench` examined is not as it should be.
    Unwell = 30,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
}

/// Every exit code with its meaning, in order, for `twocan help exit-codes`.
pub const TABLE: &[(Exit, &str)] = &[
    (Exit::Ok, "done"),
    (Exit::Internal, "a fault of the program or the node; the node's log says more"),
    (Exit::Usage, "wrong arguments, or a value out of range"),
    (Exit::NoNode, "no node runs, or it does not answer"),
    (Exit::NotFound, "no friend, request or call matches"),
    (Exit::Ambiguous, "more than one friend, request or call matches"),
    (Exit::Conflict, "it exists already, or its state does not allow this now"),
    (Exit::Unreachable, "the friend is not reachable now"),
    (Exit::Locked, "the node is locked"),
    (Exit::WrongPassphrase, "the passphrase is wrong"),
    (Exit::SeatTaken, "another client holds the seat of the call"),
    (Exit::Limit, "a bound is reached (friends, calls, requests, size)"),
    (Exit::Version, "twocan and twocand are of different versions"),
    (Exit::Storage, "a file or folder cannot be read or written"),
    (Exit::BadAddress, "the address has a typing error"),
    (Exit::Media, "a microphone, speaker, camera, screen or media file cannot be used"),
    (Exit::Declined, "call: declined, or do not disturb"),
    (Exit::Unanswered, "call: nobody answered, or given up before an answer"),
    (Exit::Busy, "call: the friend is in another call"),
    (Exit::CallFailed, "call: no media path, or it was lost for good"),
    (Exit::Elsewhere, "call: another client took it"),
    (Exit::Unwell, "doctor, demo or bench: something is not as it should be"),
    (Exit::Interrupted, "interrupted by Ctrl-C"),
];

impl Exit {
    /// The exit code of a call that ended this way.
    pub fn of_call(outcome: Option<Outcome>) -> Self {
        match outcome {
            Some(Outcome::Completed) => Self::Ok,
            Some(Outcome::Declined | Outcome::DoNotDisturb) => Self::Declined,
            Some(Outcome::Cancelled | Outcome::Unanswered) => Self::Unanswered,
            Some(Outcome::Busy) => Self::Busy,
            Some(Outcome::AnsweredElsewhere) => Self::Elsewhere,
            Some(Outcome::Unreachable) => Self::Unreachable,
            Some(Outcome::Failed) => Self::CallFailed,
            None => Self::Internal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: an exit code, one sentence without a final full stop, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The process ends with this.
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do about it, if anything helps.
    pub hint: Option<String>,
    broken_pipe: bool,
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, broken_pipe: false }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the reader of our output went away: nothing to complain about.
    pub fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }

    /// Tells it on standard error.
    pub fn print(&self) {
        use std::io::Write;
        let mut text = format!("twocan: {}\n", crate::format::clean(&self.message));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {}\n", crate::format::clean(hint)));
        }
        // Standard error may be closed; there is nobody left to tell then.
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Wrong arguments, from what the parser says about them: its first paragraph is the sentence, its tip the hint.
    pub fn arguments(said: &str) -> Self {
        let mut paragraphs = said.split("\n\n");
        let first = paragraphs.next().unwrap_or_default();
        let words: Vec<&str> = first.trim_start_matches("error: ").split_whitespace().collect();
        let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
        let failure = Self::new(Exit::Usage, words.join(" "));
        failure.hint(tip.unwrap_or("`twocan help` lists the commands, `twocan help COMMAND` explains one"))
    }

    /// A file that cannot be read or written.
    pub fn file(path: &std::path::Path, action: &str, error: &io::Error) -> Self {
        Self::new(Exit::Storage, format!("cannot {action} {}: {error}", path.display()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.code {
            Code::Invalid => Exit::Usage,
            Code::BadAddress => Exit::BadAddress,
            Code::NotFound => Exit::NotFound,
            Code::Ambiguous => Exit::Ambiguous,
            Code::Exists | Code::Conflict => Exit::Conflict,
            Code::Unreachable => Exit::Unreachable,
            Code::Locked => Exit::Locked,
            Code::WrongPassphrase => Exit::WrongPassphrase,
            Code::SeatTaken => Exit::SeatTaken,
            Code::Limit => Exit::Limit,
            Code::NoNode => Exit::NoNode,
            Code::Version => Exit::Version,
            Code::Storage => Exit::Storage,
            _ => Exit::Internal,
        };
        let default_hint = match error.code {
            Code::NoNode => Some("start it with `twocan up`"),
            Code::Locked => Some("open it with `twocan unlock`"),
            Code::Internal => Some("`twocan report FILE` writes a redacted file for a bug report"),
            _ => None,
        };
        let hint = error.hint.or_else(|| default_hint.map(str::to_owned));
        Self { exit, message: error.message, hint, broken_pipe: false }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { broken_pipe, ..Self::new(Exit::Storage, format!("cannot write the output: {error}")) }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => io::Error::from(kind).into(),
            None => Self::new(Exit::Internal, format!("cannot write JSON: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_in_the_table_once_and_in_order() {
        let codes: Vec<u8> = TABLE.iter().map(|(exit, _)| *exit as u8).collect();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
        assert_eq!(codes.len(), 23);
    }

    #[test]
    fn a_missing_node_says_how_to_start_one() {
        let failure = Failure::from(Error::new(Code::NoNode, "no node runs"));
        assert_eq!(failure.exit, Exit::NoNode);
        assert_eq!(failure.hint.as_deref(), Some("start it with `twocan up`"));
    }

    #[test]
    fn wrong_arguments_are_told_like_every_other_failure() {
        let unknown =
            "error: unrecognized subcommand 'frends'\n\n  tip: a similar subcommand exists: 'friends'\n\nUsage: x\n";
        let failure = Failure::arguments(unknown);
        assert_eq!(failure.message, "unrecognized subcommand 'frends'");
        assert_eq!(failure.hint.as_deref(), Some("a similar subcommand exists: 'friends'"));
        let missing =
            Failure::arguments("error: the following required arguments were not provided:\n  <WHO>\n\nUsage: x");
        assert_eq!(missing.message, "the following required arguments were not provided: <WHO>");
        assert!(missing.hint.is_some_and(|hint| hint.contains("twocan help")));
    }

    #[test]
    fn a_closed_pipe_is_not_a_failure_to_talk_about() {
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_broken_pipe());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_broken_pipe());
    }
}
