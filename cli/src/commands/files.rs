//! Files: offer some, see how they stand, take or hold them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::StreamExt;
use twocan_control::{AcceptFile, Direction, Event, FileAct, FileState, FileTransfer, Handle, OfferFile};

use crate::args::FilesAction;
use crate::exit::{Exit, Failure};
use crate::format::clean_line;
use crate::output::Out;

/// Offers files, and waits until they are through, unless `detach`.
pub async fn send<H: Handle>(
    node: &H,
    who: &str,
    paths: &[PathBuf],
    detach: bool,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let mut events = node.events().await?;
    let mut open: BTreeMap<String, FileTransfer> = BTreeMap::new();
    for path in paths {
        // The node's folder is another one than ours.
        let path = std::path::absolute(path)?.display().to_string();
        let file = node.offer_file(who, OfferFile { path }).await?;
        if detach {
            out.show(&file, one)?;
        }
        open.insert(file.id.clone(), file);
    }
    if detach {
        return Ok(Exit::Ok);
    }
    let mut over: Vec<FileTransfer> = Vec::new();
    let mut told: BTreeMap<String, (FileState, u64)> = BTreeMap::new();
    // What happened before the events were followed is in the list.
    for file in node.files().await? {
        settle(file, &mut open, &mut over, &mut told, out)?;
    }
    while !open.is_empty() {
        match events.next().await {
            Some(Event::File { file }) => settle(file, &mut open, &mut over, &mut told, out)?,
            Some(Event::FileRemoved { id }) => drop(open.remove(&id)),
            Some(Event::Stopping) | None => {
                return Err(Failure::new(Exit::NoNode, "the node went away; the files stay offered"));
            }
            Some(_) => {}
        }
    }
    if out.json() {
        out.value(&over)?;
    }
    let failed = over.iter().any(|file| file.state != FileState::Done);
    Ok(if failed { Exit::Conflict } else { Exit::Ok })
}

fn settle(
    file: FileTransfer,
    open: &mut BTreeMap<String, FileTransfer>,
    over: &mut Vec<FileTransfer>,
    told: &mut BTreeMap<String, (FileState, u64)>,
    out: &mut Out,
) -> Result<(), Failure> {
    if !open.contains_key(&file.id) {
        return Ok(());
    }
    // A line for each change of state and each tenth.
    let now = (file.state, file.done.saturating_mul(10).checked_div(file.size).unwrap_or(10));
    if told.insert(file.id.clone(), now) != Some(now) && !out.json() {
        out.text(&one(&file))?;
    }
    if file.state.is_over() {
        open.remove(&file.id);
        over.push(file);
    }
    Ok(())
}

/// Lists transfers, or acts on one.
pub async fn files<H: Handle>(node: &H, action: Option<FilesAction>, out: &mut Out) -> Result<Exit, Failure> {
    let (which, act) = match action {
        None => {
            out.show(&node.files().await?, |files| match files.as_slice() {
                [] => "No files. `twocan send NAME FILE` offers one.\n".to_owned(),
                files => files.iter().map(one).collect(),
            })?;
            return Ok(Exit::Ok);
        }
        Some(FilesAction::Forget { file }) => {
            node.forget_file(&file).await?;
            out.done("Off the list; the file itself stays.")?;
            return Ok(Exit::Ok);
        }
        Some(FilesAction::Accept { file, into }) => {
            let folder = into.map(std::path::absolute).transpose()?.map(|folder| folder.display().to_string());
            (file, FileAct::Accept(AcceptFile { folder }))
        }
        Some(FilesAction::Decline { file }) => (file, FileAct::Decline),
        Some(FilesAction::Pause { file }) => (file, FileAct::Pause),
        Some(FilesAction::Resume { file }) => (file, FileAct::Resume),
        Some(FilesAction::Cancel { file }) => (file, FileAct::Cancel),
    };
    out.show(&node.file_act(&which, act).await?, one)?;
    Ok(Exit::Ok)
}

/// A transfer in a line.
fn one(file: &FileTransfer) -> String {
    let way = if file.direction == Direction::Incoming { "from" } else { "to" };
    let state = match file.state {
        FileState::Preparing => "is being read",
        FileState::Offered => "offered",
        FileState::Waiting => "waiting",
        FileState::Running => "moving",
        FileState::Paused => "paused",
        FileState::Done => "done",
        FileState::Declined => "declined",
        FileState::Cancelled => "given up",
        FileState::Failed => "failed",
    };
    let percent = file.done.saturating_mul(100).checked_div(file.size).unwrap_or(100);
    let rate = file.bytes_per_second.map(|rate| format!(", {} kB/s", rate / 1000)).unwrap_or_default();
    let reason = file.reason.as_deref().map(|reason| format!(" ({})", clean_line(reason))).unwrap_or_default();
    let path =
        file.path.as_deref().filter(|_| file.state == FileState::Done).map(|path| format!(": {}", clean_line(path)));
    format!(
        "{} {} {way} {}: {state}{reason}, {percent} % of {} bytes{rate}{}\n",
        &file.id[..8.min(file.id.len())],
        clean_line(&file.name),
        clean_line(&file.friend_name),
        file.size,
        path.unwrap_or_default(),
    )
}
