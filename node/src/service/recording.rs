//! Recording in the words of the local API: what clients do about it, and what they see.

use twocan_control as api;
use twocan_protocol::call::{RecordAct, RecordEnd, RecordState, RecordView};
use twocan_protocol::wire::Reason;

/// An act of a client.
pub(super) fn act(record: api::RecordCall) -> RecordAct {
    match record {
        api::RecordCall::Ask { .. } => RecordAct::Ask,
        api::RecordCall::Allow => RecordAct::Allow,
        api::RecordCall::Refuse => RecordAct::Refuse,
        api::RecordCall::Started => RecordAct::Started,
        api::RecordCall::Stop { reason } => RecordAct::Stop(Reason::clean(&reason.unwrap_or_default())),
    }
}

/// A recording as clients see it; `friend` is the friend's name.
pub(super) fn view(view: &RecordView, file: Option<String>, friend: &str) -> api::Recording {
    api::Recording {
        state: match view.state {
            RecordState::Asking => api::RecordState::Asking,
            RecordState::Shown => api::RecordState::Shown,
            RecordState::Asked => api::RecordState::Asked,
            RecordState::Agreed => api::RecordState::Agreed,
            RecordState::Running => api::RecordState::Running,
            RecordState::Ended => api::RecordState::Ended,
        },
        mine: view.mine,
        file: file.filter(|_| view.mine),
        since_ms: view.since_ms,
        reason: view.end.as_ref().map(|end| reason(end, view.mine, friend)),
    }
}

fn reason(end: &RecordEnd, mine: bool, friend: &str) -> String {
    let (recorder, other) = if mine { ("you", friend) } else { (friend, "you") };
    match end {
        RecordEnd::Refused => format!("{other} did not agree"),
        RecordEnd::Withdrawn => format!("{other} no longer agreed"),
        RecordEnd::Stopped(text) if text.is_empty() => format!("{recorder} ended it"),
        RecordEnd::Stopped(text) => text.to_string(),
        RecordEnd::Unanswered if mine => format!("{friend} did not answer"),
        RecordEnd::Unanswered => "nobody answered".to_owned(),
        RecordEnd::Unsupported => format!("{friend}'s twocan cannot record with consent"),
        RecordEnd::Unlinked => format!("the link to {friend} is gone, over which the agreement could be taken back"),
        RecordEnd::Restarted => format!("{friend}'s node was started anew"),
        RecordEnd::CallOver => "the call is over".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_reads_who_ended_it() {
        let said = |end, mine| {
            let view = RecordView { state: RecordState::Ended, mine, since_ms: None, end: Some(end) };
            super::view(&view, Some("/x.mkv".to_owned()), "bob").reason.unwrap_or_default()
        };
        assert_eq!(said(RecordEnd::Refused, true), "bob did not agree");
        assert_eq!(said(RecordEnd::Refused, false), "you did not agree");
        assert_eq!(said(RecordEnd::Stopped(Reason::default()), false), "bob ended it");
        assert_eq!(said(RecordEnd::Unsupported, true), "bob's twocan cannot record with consent");
    }
}
