//! Recording in a live call: asks, answers, writes while everybody agrees, and says each step in words.

use std::path::{Path, PathBuf};

use twocan_control::{Call, RecordCall, RecordState, Recording};
use twocan_media::record::export::file_name;
use twocan_media::record::{RecordConfig, RecordReport};
use twocan_media::session::Session;

use crate::exit::{Exit, Failure};
use crate::format::{clean_line, sentence, time};

/// What a client does in a call about recording.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Ask when the call is answered, to record into this file.
    wanted: Option<PathBuf>,
    writing: bool,
}

/// What follows from a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What to say.
    pub say: Vec<String>,
    /// What to tell the node.
    pub tell: Option<RecordCall>,
    /// The file is to be completed.
    pub finish: bool,
}

impl Recorder {
    /// One that asks by itself if there is a file.
    pub fn new(wanted: Option<PathBuf>) -> Self {
        Self { wanted, writing: false }
    }

    /// The call changed; `own` is this side's name.
    pub fn changed(&mut self, before: &Call, now: &Call, own: &str, session: &Session) -> Step {
        let mut step = Step::default();
        if now.answered_ms.is_some()
            && let Some(file) = self.wanted.take()
        {
            step.tell = Some(RecordCall::Ask { file: Some(file.display().to_string()) });
        }
        if before.recording == now.recording {
            return step;
        }
        let friend = clean_line(&now.friend_name);
        step.say.extend(now.recording.as_ref().and_then(|recording| told(recording, &friend)));
        let mine = now.recording.as_ref().filter(|recording| recording.mine).map(|recording| recording.state);
        match mine {
            Some(RecordState::Agreed) if !self.writing => {
                let wish = now.recording.as_ref().and_then(|recording| recording.file.clone());
                let path = wish.map_or_else(|| default_file(&friend, time::unix_ms()), PathBuf::from);
                let config = RecordConfig { path, own: own.to_owned(), friend: friend.clone() };
                match session.start_recording(&config) {
                    Ok(()) => {
                        self.writing = true;
                        step.tell = Some(RecordCall::Started);
                    }
                    Err(error) => {
                        let reason = error.to_string();
                        step.say.push(sentence(&reason));
                        step.tell = Some(RecordCall::Stop { reason: Some("the file cannot be written".to_owned()) });
                    }
                }
            }
            Some(RecordState::Agreed | RecordState::Running) => {}
            _ => step.finish = std::mem::take(&mut self.writing),
        }
        step
    }

    /// The file cannot be written any more: what to tell the node.
    pub fn failed(&mut self) -> RecordCall {
        RecordCall::Stop { reason: Some("the recording's disk is full or broken".to_owned()) }
    }

    /// What the key for recording does now.
    pub fn key(call: &Call) -> RecordCall {
        match &call.recording {
            Some(Recording { state: RecordState::Asked, .. }) => RecordCall::Allow,
            Some(Recording { state: RecordState::Ended, .. }) | None => RecordCall::Ask { file: None },
            Some(Recording { mine: true, .. }) => RecordCall::Stop { reason: None },
            Some(_) => RecordCall::Refuse,
        }
    }
}

/// A file that a recording may make.
///
/// # Errors
/// It exists, or its folder does not.
pub fn new_file(path: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(path).map_err(|error| Failure::file(path, "use", &error))?;
    if path.exists() {
        return Err(Failure::new(Exit::Conflict, format!("{} exists already", path.display()))
            .hint("a recording never replaces a file: choose another name"));
    }
    if !path.parent().is_some_and(Path::is_dir) {
        return Err(Failure::new(Exit::Storage, format!("the folder of {} does not exist", path.display())));
    }
    Ok(path)
}

/// The file that a recording goes to if nothing was said, in the current folder.
pub fn default_file(friend: &str, now_ms: u64) -> PathBuf {
    let when = time::utc(now_ms).replace(' ', "-").replace([':', 'Z'], "");
    PathBuf::from(format!("twocan-{}-{when}.mkv", file_name(friend)))
}

/// The banner of a running recording, for both sides.
pub fn banner(call: &Call) -> Option<String> {
    let recording = call.recording.as_ref().filter(|recording| recording.state == RecordState::Running)?;
    let friend = clean_line(&call.friend_name);
    Some(match recording.mine {
        true => format!("● recording, agreed by {friend}"),
        false => format!("● recorded by {friend}, agreed by you"),
    })
}

/// A step of a recording in one sentence.
fn told(recording: &Recording, friend: &str) -> Option<String> {
    Some(match (recording.state, recording.mine) {
        (RecordState::Asking, _) | (RecordState::Agreed, true) => return None,
        (RecordState::Shown, _) => format!("Asked {friend} to agree to a recording …"),
        (RecordState::Asked, _) => format!(
            "{friend} asks to record this call: r allows, x refuses (`twocan record allow`, `twocan record refuse`)."
        ),
        (RecordState::Agreed, false) => format!("You agreed that {friend} records this call."),
        (RecordState::Running, true) => format!("Recording, agreed by {friend}. r ends it."),
        (RecordState::Running, false) => format!("{friend} records this call, agreed by you. r ends it."),
        (RecordState::Ended, _) => {
            let reason = recording.reason.as_deref().unwrap_or("it is over");
            format!("No recording: {}.", clean_line(reason))
        }
    })
}

/// What was recorded, in one sentence.
pub fn finished(report: &RecordReport) -> String {
    let (path, length) = (report.path.display(), time::clock((report.seconds * 1e3) as u64));
    let why = report.error.as_ref().map(|error| format!(" It ended early: {error}.")).unwrap_or_default();
    let lost = if report.dropped > 0 {
        format!(" The disk was too slow for {} frames.", report.dropped)
    } else {
        String::new()
    };
    format!("Recorded {length} in {path} ({:.1} MB).{why}{lost}", report.bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_does_what_the_moment_asks_for() {
        use twocan_control::testing::{sample_call, sample_friend};
        use twocan_control::{CallState, Direction};
        let mut call = sample_call(&sample_friend("bob"), Direction::Outgoing, CallState::Active);
        let mut with = |state, mine| {
            call.recording = Some(Recording { state, mine, file: None, since_ms: None, reason: None });
            (Recorder::key(&call), banner(&call))
        };
        assert_eq!(with(RecordState::Asked, false).0, RecordCall::Allow);
        assert_eq!(with(RecordState::Shown, true).0, RecordCall::Stop { reason: None });
        assert_eq!(with(RecordState::Ended, true).0, RecordCall::Ask { file: None });
        let (key, shown) = with(RecordState::Running, false);
        assert_eq!((key, shown.as_deref()), (RecordCall::Refuse, Some("● recorded by bob, agreed by you")));
        assert_eq!(with(RecordState::Running, true).1.as_deref(), Some("● recording, agreed by bob"));
    }

    #[test]
    fn a_file_that_exists_is_never_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mkv");
        assert_eq!(new_file(&path).unwrap(), path);
        std::fs::write(&path, "x").unwrap();
        assert_eq!(new_file(&path).unwrap_err().exit, Exit::Conflict);
        assert_eq!(new_file(&folder.path().join("no/a.mkv")).unwrap_err().exit, Exit::Storage);
        assert_eq!(default_file("bob/../x", 0), PathBuf::from("twocan-bob____x-1970-01-01-000000.mkv"));
    }
}
