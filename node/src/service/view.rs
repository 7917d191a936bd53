//! From the state machines' words to those of the local API, and back where a client names something.

use twocan_control as api;
use twocan_protocol::call::{self, HistoryRecord, Snapshot};
use twocan_protocol::friend::{FriendState, FriendView, Refusal, RequestRecord};
use twocan_protocol::identity::RootPublic;
use twocan_protocol::safety::safety_words;
use twocan_protocol::wire::Availability;

use crate::swarm::{ConnectionInfo, Route, Transport};

/// A link as clients see it.
#[derive(Clone, Debug)]
pub(super) struct LinkView {
    pub(super) path: api::LinkPath,
    pub(super) transport: &'static str,
    pub(super) rtt_ms: Option<f64>,
    pub(super) since_ms: u64,
}

pub(super) fn path(info: &ConnectionInfo) -> api::LinkPath {
    match info.route {
        Route::Loopback => api::LinkPath::Loopback,
        Route::Lan => api::LinkPath::Lan,
        Route::Direct => api::LinkPath::Direct,
        Route::Relayed => api::LinkPath::Relayed,
    }
}

pub(super) fn transport(info: &ConnectionInfo) -> &'static str {
    match info.transport {
        Transport::Quic => "quic",
        Transport::Tcp => "tcp",
    }
}

pub(super) fn friend(
    view: &FriendView,
    own: &RootPublic,
    link: Option<&LinkView>,
    hidden: bool,
    picture: Option<String>,
) -> api::Friend {
    let record = &view.record;
    api::Friend {
        id: record.root.to_string(),
        name: view.name.clone(),
        own_name: record.own_name.as_ref().map(ToString::to_string).filter(|name| !name.is_empty()),
        state: match record.state {
            FriendState::Requested => api::FriendState::Requested,
            FriendState::Accepted => api::FriendState::Accepted,
        },
        online: view.online,
        availability: view.availability.filter(|_| view.online).map(availability),
        link: link.filter(|_| view.online).map(|link| api::Link {
            path: link.path,
            transport: link.transport.to_owned(),
            rtt_ms: link.rtt_ms,
            since_ms: link.since_ms,
        }),
        last_seen_ms: record.last_seen_ms,
        safety_words: safety_words(own, &record.root),
        verified: record.verified,
        hide_address: hidden,
        trouble: view.trouble.clone(),
        picture,
        added_ms: record.added_ms,
    }
}

pub(super) fn request(record: &RequestRecord) -> api::Request {
    let name = record.name.to_string();
    api::Request {
        id: record.root.to_string(),
        name: if name.is_empty() { record.root.short() } else { name },
        message: record.message.to_string(),
        received_ms: record.received_ms,
        says_friends: record.says_friends,
    }
}

pub(super) fn availability(availability: Availability) -> api::Availability {
    match availability {
        Availability::Dnd => api::Availability::Dnd,
        Availability::Invisible => api::Availability::Invisible,
        Availability::Available | Availability::Other => api::Availability::Available,
    }
}

pub(super) fn availability_in(availability: api::Availability) -> Availability {
    match availability {
        api::Availability::Available => Availability::Available,
        api::Availability::Dnd => Availability::Dnd,
        api::Availability::Invisible => Availability::Invisible,
    }
}

pub(super) fn call(snapshot: &Snapshot, friend_name: String, quality: Option<api::Quality>) -> api::Call {
    api::Call {
        id: snapshot.id.to_string(),
        friend: snapshot.friend.to_string(),
        friend_name,
        direction: direction(snapshot.direction),
        state: match snapshot.state {
            call::State::Calling => api::CallState::Calling,
            call::State::Ringing => api::CallState::Ringing,
            call::State::Connecting => api::CallState::Connecting,
            call::State::Active => api::CallState::Active,
            call::State::Reconnecting => api::CallState::Reconnecting,
            call::State::Ended => api::CallState::Ended,
        },
        started_ms: snapshot.started_ms,
        answered_ms: snapshot.answered_ms,
        ended_ms: snapshot.ended_ms,
        outcome: snapshot.outcome.map(outcome),
        reason: snapshot.reason.clone(),
        wants_video: snapshot.wants_video,
        muted: snapshot.muted,
        video: snapshot.video,
        screen: snapshot.screen,
        held: snapshot.held,
        remote_muted: snapshot.remote_muted,
        remote_video: snapshot.remote_video,
        remote_screen: snapshot.remote_screen,
        remote_held: snapshot.remote_held,
        remote_seat_empty: snapshot.remote_seat_empty,
        seat_taken: snapshot.seat_taken,
        resumes: snapshot.resumes.map(|id| id.to_string()),
        recording: None,
        quality,
    }
}

pub(super) fn history(
    record: &HistoryRecord,
    friend_name: String,
    resumable_until_ms: Option<u64>,
) -> api::HistoryEntry {
    api::HistoryEntry {
        id: record.id.to_string(),
        friend: record.friend.to_string(),
        friend_name,
        direction: direction(record.direction),
        outcome: outcome(record.outcome),
        reason: record.reason.clone(),
        started_ms: record.started_ms,
        talked_ms: record.talked_ms,
        video: record.video,
        unseen: false,
        resumes: record.resumes.map(|id| id.to_string()),
        resumable_until_ms,
    }
}

fn direction(direction: call::Direction) -> api::Direction {
    match direction {
        call::Direction::Incoming => api::Direction::Incoming,
        call::Direction::Outgoing => api::Direction::Outgoing,
    }
}

fn outcome(outcome: call::Outcome) -> api::Outcome {
    match outcome {
        call::Outcome::Completed => api::Outcome::Completed,
        call::Outcome::Declined => api::Outcome::Declined,
        call::Outcome::Cancelled => api::Outcome::Cancelled,
        call::Outcome::Unanswered => api::Outcome::Unanswered,
        call::Outcome::Busy => api::Outcome::Busy,
        call::Outcome::DoNotDisturb => api::Outcome::DoNotDisturb,
        call::Outcome::AnsweredElsewhere => api::Outcome::AnsweredElsewhere,
        call::Outcome::Unreachable => api::Outcome::Unreachable,
        call::Outcome::Failed => api::Outcome::Failed,
    }
}

/// What a client is told when the book refuses.
pub(super) fn friend_refused(refusal: Refusal) -> api::Error {
    let code = match refusal {
        Refusal::Own => api::Code::BadAddress,
        Refusal::AlreadyFriends => api::Code::Exists,
        Refusal::Blocked => api::Code::Conflict,
        Refusal::NoFriend | Refusal::NoRequest | Refusal::NotBlocked => api::Code::NotFound,
        Refusal::TooMany(_) => api::Code::Limit,
        _ => api::Code::Conflict,
    };
    let error = api::Error::new(code, refusal.to_string());
    match refusal {
        Refusal::Own => error.hint("hand it to a friend, and add the friend's address here"),
        Refusal::Blocked => error.hint("`twocan unblock` lifts a block"),
        _ => error,
    }
}

/// What a client is told when the call machine refuses.
pub(super) fn call_refused(refusal: call::Refusal) -> api::Error {
    let code = match refusal {
        call::Refusal::NoCall => api::Code::NotFound,
        call::Refusal::NotResumable => api::Code::Conflict,
        call::Refusal::TooMany => api::Code::Limit,
        _ => api::Code::Conflict,
    };
    let error = api::Error::new(code, refusal.to_string());
    match refusal {
        call::Refusal::InCall(id) => error.hint(format!(
            "`twocan hangup {0}` ends it, `twocan answer {0} --take` brings it here",
            &id.to_string()[..8]
        )),
        call::Refusal::NotResumable => error.hint("`twocan call` calls anew"),
        call::Refusal::Ringing(id) => error.hint(format!("`twocan answer {}` answers it", &id.to_string()[..8])),
        _ => error,
    }
}
