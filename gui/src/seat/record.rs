//! Writing a call down: begins when everybody has agreed, ends when anybody takes that back, and says each step.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use twocan_control::{Call, RecordCall, RecordState};
use twocan_media::record::export::file_name;
use twocan_media::record::{RecordConfig, RecordReport};
use twocan_media::session::Session;

/// How often another name is tried when a file of that name is there already.
const NAMES: u32 = 100;

/// Whether this side writes.
#[derive(Debug, Default)]
pub struct Recorder {
    writing: bool,
}

/// What follows from a change of the call.
#[derive(Debug, Default)]
pub struct Step {
    /// What to tell the node.
    pub tell: Option<RecordCall>,
    /// What went wrong here, for the person.
    pub trouble: Option<String>,
    /// A file that is complete now.
    pub finished: Option<RecordReport>,
}

impl Recorder {
    /// The call changed; `own` is this side's name, `folder` where recordings go.
    pub fn changed(&mut self, call: &Call, own: &str, folder: &Path, session: &Session) -> Step {
        let mut step = Step::default();
        let mine = call.recording.as_ref().filter(|recording| recording.mine);
        match mine.map(|recording| recording.state) {
            Some(RecordState::Agreed) if !self.writing => {
                let wish = mine.and_then(|recording| recording.file.clone()).map(PathBuf::from);
                match begin(wish, own, &call.friend_name, folder, session) {
                    Ok(()) => {
                        self.writing = true;
                        step.tell = Some(RecordCall::Started);
                    }
                    Err(text) => {
                        step.trouble = Some(text);
                        step.tell = Some(RecordCall::Stop { reason: Some("the file cannot be written".into()) });
                    }
                }
            }
            Some(RecordState::Agreed | RecordState::Running) => {}
            _ if self.writing => {
                self.writing = false;
                step.finished = session.stop_recording();
            }
            _ => {}
        }
        step
    }
}

fn begin(wish: Option<PathBuf>, own: &str, friend: &str, folder: &Path, session: &Session) -> Result<(), String> {
    let path = match wish {
        Some(path) => path,
        None => {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            new_file(folder, friend, unix_s()).ok_or("there are too many recordings of this minute")?
        }
    };
    let own = if own.is_empty() { "me" } else { own };
    let config = RecordConfig { path, own: own.to_owned(), friend: friend.to_owned() };
    session.start_recording(&config).map_err(|error| error.to_string())
}

/// A name that no file in this folder has.
fn new_file(folder: &Path, friend: &str, unix_s: u64) -> Option<PathBuf> {
    let base = format!("twocan {} {unix_s}", file_name(friend));
    let name = |n| if n == 0 { format!("{base}.mkv") } else { format!("{base} ({n}).mkv") };
    (0..NAMES).map(|n| folder.join(name(n))).find(|path| !path.exists())
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Where recordings go: `Videos` where a person has such a folder, else the node's home.
#[must_use]
pub fn folder(home: &Path) -> PathBuf {
    let videos = std::env::var_os("HOME").map(|home| PathBuf::from(home).join("Videos"));
    videos.filter(|path| path.is_dir()).unwrap_or_else(|| home.join("recordings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_recording_takes_the_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let first = new_file(folder.path(), "Ana/../x", 7).unwrap();
        assert_eq!(first.parent(), Some(folder.path()), "a name never leaves the folder");
        std::fs::write(&first, "x").unwrap();
        let second = new_file(folder.path(), "Ana/../x", 7).unwrap();
        assert_ne!(first, second);
    }
}
