//! `twocan record`: asks to record a running call, answers such a request, ends a recording, takes the voices out of one.

use futures::StreamExt;
use twocan_control::{Call, Event, Handle, RecordCall, RecordState};

use crate::args::Record;
use crate::choose::{self, Which};
use crate::exit::{Exit, Failure};
use crate::format::{clean_line, sentence};
use crate::live::record::new_file;
use crate::output::Out;

/// Runs what needs a node.
///
/// # Errors
/// There is no such call, or it cannot be done now.
pub async fn record<H: Handle>(node: &H, what: Record, out: &mut Out) -> Result<Exit, Failure> {
    let (act, who) = match what {
        Record::Start { file, who } => {
            let file = file.as_deref().map(new_file).transpose()?.map(|path| path.display().to_string());
            return ask(node, file, who.as_deref(), out).await;
        }
        Record::Stop { who } => (RecordCall::Stop { reason: None }, who),
        Record::Allow { who } => (RecordCall::Allow, who),
        Record::Refuse { who } => (RecordCall::Refuse, who),
        Record::Wav { .. } => return Err(Failure::new(Exit::Internal, "this does not run on a node")),
    };
    let call = chosen(node, who.as_deref()).await?;
    let said = match &act {
        RecordCall::Allow => "You agreed. `twocan record stop` ends it at any time.",
        RecordCall::Refuse => "You did not agree.",
        _ => "The recording is over.",
    };
    let call = node.record_call(&call.id, act).await?;
    out.show(&call, |call| format!("{said} (call with {})\n", clean_line(&call.friend_name)))?;
    Ok(Exit::Ok)
}

/// Writes the voices of a recording as WAV files.
///
/// # Errors
/// The file is no recording, or one of the WAV files exists.
pub fn wav(file: &std::path::Path, out: &mut Out) -> Result<Exit, Failure> {
    let written = twocan_media::record::export::wav(file)
        .map_err(|error| Failure::new(Exit::Media, error.to_string()).hint("`twocan record start` makes recordings"))?;
    let names: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    out.show(&names, |names| names.iter().map(|name| format!("{name}\n")).collect())?;
    Ok(Exit::Ok)
}

async fn chosen<H: Handle>(node: &H, who: Option<&str>) -> Result<Call, Failure> {
    let calls = node.calls().await?;
    Ok(choose::call(&calls, Which::Answered, who)?.clone())
}

/// Asks, and waits for what comes of it.
async fn ask<H: Handle>(node: &H, file: Option<String>, who: Option<&str>, out: &mut Out) -> Result<Exit, Failure> {
    let call = chosen(node, who).await?;
    let friend = clean_line(&call.friend_name);
    let mut events = node.events().await?;
    node.record_call(&call.id, RecordCall::Ask { file }).await?;
    while let Some(event) = events.next().await {
        let Event::Call { call: now } = event else { continue };
        let Some(recording) = now.recording.as_ref().filter(|_| now.id == call.id) else { continue };
        match recording.state {
            RecordState::Shown if !out.json() => out.line(&format!("Asked {friend} …"))?,
            RecordState::Running => {
                out.show(&now, |_| format!("Recording, agreed by {friend}. `twocan record stop` ends it.\n"))?;
                return Ok(Exit::Ok);
            }
            RecordState::Ended => {
                let reason = recording.reason.clone().unwrap_or_else(|| "it was not recorded".to_owned());
                return Err(Failure::new(Exit::Declined, sentence(&reason)));
            }
            _ => {}
        }
    }
    Err(crate::live::seat::gone())
}
