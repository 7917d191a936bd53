//! Calls in words: running, over, and how one ended.

use serde::Serialize;
use twocan_control::{Call, CallState, Direction, HistoryEntry, LinkPath, Outcome, Quality};

use super::table::Cell;
use super::{Colour, Style, Table, clean_line, short, time};

/// What `twocan calls` tells.
#[derive(Clone, Debug, Serialize)]
pub struct Calls {
    /// Calls that are not over.
    pub running: Vec<Call>,
    /// Calls that are over, newest first.
    pub history: Vec<HistoryEntry>,
}

/// Running calls and the history.
pub fn list(calls: &Calls, style: Style) -> String {
    let mut out = String::new();
    if !calls.running.is_empty() {
        let mut table = Table::new(["call", "with", "direction", "state", "time", "path"]);
        for call in &calls.running {
            table.row([
                short(&call.id).into(),
                clean_line(&call.friend_name).into(),
                direction(call.direction).into(),
                Cell::painted(Colour::Green, state(call)),
                time::clock(style.now_ms.saturating_sub(call.answered_ms.unwrap_or(call.started_ms))).into(),
                call.quality.as_ref().and_then(path).unwrap_or_default().into(),
            ]);
        }
        out.push_str(&table.render(style));
        if style.terminal && !calls.history.is_empty() {
            out.push('\n');
        }
    }
    if !calls.history.is_empty() {
        let mut table = Table::new(["when", "with", "direction", "how it ended", "talked", "call"]);
        for entry in &calls.history {
            let when =
                if style.terminal { time::ago(style.now_ms, entry.started_ms) } else { time::utc(entry.started_ms) };
            let ended = ended(entry);
            table.row([
                when.into(),
                clean_line(&entry.friend_name).into(),
                direction(entry.direction).into(),
                if missed(entry) { Cell::painted(Colour::Red, ended) } else { ended.into() },
                time::clock(entry.talked_ms).into(),
                short(&entry.id).into(),
            ]);
        }
        out.push_str(&table.render(style));
    }
    if out.is_empty() && style.terminal {
        out.push_str("No calls yet. `twocan call NAME` starts one.\n");
    }
    out
}

/// The path of the media in words; a relay by its owner.
pub fn path(quality: &Quality) -> Option<String> {
    match (quality.path?, &quality.relay) {
        (LinkPath::Relayed, Some(relay)) => Some(format!("through {}", clean_line(relay))),
        (path, _) => Some(super::friend::path(path).to_owned()),
    }
}

/// Whether the person here missed it: somebody called and it was not taken here, nor refused here.
pub fn missed(entry: &HistoryEntry) -> bool {
    let taken = [Outcome::Completed, Outcome::Declined, Outcome::AnsweredElsewhere, Outcome::Failed];
    entry.direction == Direction::Incoming && !taken.contains(&entry.outcome)
}

fn ended(entry: &HistoryEntry) -> String {
    let outcome =
        if missed(entry) { format!("missed ({})", outcome(entry.outcome)) } else { outcome(entry.outcome).to_owned() };
    let outcome = if entry.resumes.is_some() { format!("{outcome} (resumed)") } else { outcome };
    match &entry.reason {
        Some(reason) => format!("{outcome}: {}", clean_line(reason)),
        None => outcome,
    }
}

/// Who called whom, in a word.
pub fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Incoming => "incoming",
        Direction::Outgoing => "outgoing",
    }
}

/// An outcome in words.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "talked",
        Outcome::Declined => "declined",
        Outcome::Cancelled => "cancelled",
        Outcome::Unanswered => "unanswered",
        Outcome::Busy => "busy",
        Outcome::DoNotDisturb => "do not disturb",
        Outcome::AnsweredElsewhere => "answered elsewhere",
        Outcome::Unreachable => "unreachable",
        Outcome::Failed => "failed",
    }
}

/// The state of a call in words.
pub fn state(call: &Call) -> &'static str {
    match call.state {
        CallState::Calling => "calling",
        CallState::Ringing => "ringing",
        CallState::Connecting => "connecting",
        CallState::Active if call.held => "on hold",
        CallState::Active if call.remote_held => "held by the friend",
        CallState::Active => "talking",
        CallState::Reconnecting => "reconnecting",
        CallState::Ended => "over",
    }
}

/// How a call ended, as a sentence to the person who was in it.
pub fn ending(call: &Call) -> String {
    let name = clean_line(&call.friend_name);
    let talked = call.answered_ms.zip(call.ended_ms).map(|(from, to)| time::clock(to.saturating_sub(from)));
    let sentence = match call.outcome {
        Some(Outcome::Completed) => {
            format!("The call with {name} is over ({}).", talked.unwrap_or_else(|| time::clock(0)))
        }
        Some(Outcome::Declined) if call.direction == Direction::Outgoing => format!("{name} declined."),
        Some(Outcome::Declined) => "Declined.".to_owned(),
        Some(Outcome::Cancelled) if call.direction == Direction::Incoming => format!("{name} gave up calling."),
        Some(Outcome::Cancelled) => "Cancelled.".to_owned(),
        Some(Outcome::Unanswered) if call.direction == Direction::Outgoing => format!("{name} did not answer."),
        Some(Outcome::Unanswered) => format!("You did not answer {name}."),
        Some(Outcome::Busy) => format!("{name} is in another call."),
        Some(Outcome::DoNotDisturb) => format!("{name} does not want to be disturbed now."),
        Some(Outcome::AnsweredElsewhere) => "The call was taken by another client.".to_owned(),
        Some(Outcome::Unreachable) => format!("{name} could not be reached."),
        Some(Outcome::Failed) => format!("The call with {name} failed."),
        None => format!("The call with {name} is over."),
    };
    let sentence = match &call.reason {
        Some(reason) => format!("{sentence} ({})", clean_line(reason)),
        None => sentence,
    };
    if call.outcome == Some(Outcome::Failed) && call.answered_ms.is_some() {
        return format!("{sentence} For five minutes `twocan resume` goes on with it, once {name} is back.");
    }
    sentence
}

/// A sentence about an incoming call.
pub fn incoming(call: &Call) -> String {
    let video = if call.wants_video { " with video" } else { "" };
    if call.resumes.is_some() {
        return format!("{} wants to go on with the call that was lost{video}", clean_line(&call.friend_name));
    }
    format!("{} calls{video}", clean_line(&call.friend_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(direction: Direction, outcome: Outcome) -> HistoryEntry {
        HistoryEntry {
            id: "c0".repeat(16),
            friend: "b0".repeat(32),
            friend_name: "bob".into(),
            direction,
            outcome,
            reason: None,
            started_ms: 0,
            talked_ms: 61_000,
            video: false,
            unseen: false,
            resumes: None,
            resumable_until_ms: None,
        }
    }

    #[test]
    fn a_relayed_path_names_whose_relay_it_is() {
        let quality = |path, relay: Option<&str>| Quality {
            path: Some(path),
            relay: relay.map(str::to_owned),
            ..Quality::default()
        };
        assert_eq!(path(&quality(LinkPath::Relayed, Some("carol's relay"))).unwrap(), "through carol's relay");
        assert_eq!(path(&quality(LinkPath::Relayed, None)).unwrap(), "relayed");
        assert_eq!(path(&quality(LinkPath::Direct, None)).unwrap(), "direct");
        assert_eq!(path(&Quality::default()), None);
    }

    #[test]
    fn only_calls_that_nobody_here_took_or_refused_are_missed() {
        assert!(missed(&entry(Direction::Incoming, Outcome::Unanswered)));
        assert!(missed(&entry(Direction::Incoming, Outcome::Cancelled)));
        assert!(missed(&entry(Direction::Incoming, Outcome::DoNotDisturb)));
        assert!(!missed(&entry(Direction::Incoming, Outcome::Declined)));
        assert!(!missed(&entry(Direction::Outgoing, Outcome::Unanswered)));
    }

    #[test]
    fn the_history_names_what_was_missed() {
        let calls = Calls { running: vec![], history: vec![entry(Direction::Incoming, Outcome::Unanswered)] };
        let text = list(&calls, Style::default());
        assert_eq!(text, "1970-01-01 00:00:00Z\tbob\tincoming\tmissed (unanswered)\t1:01\tc0c0c0c0\n");
    }
}
