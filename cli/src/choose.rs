//! Which one is meant: pure choices among requests and calls by name, id or the beginning of an id.

use twocan_control::{Call, CallState, Direction, HistoryEntry, Request};

use crate::exit::{Exit, Failure};
use crate::format::{clean_line, short};

/// Fewest hex digits that count as the beginning of an id; shorter words are names only.
const MIN_PREFIX: usize = 4;

fn is_prefix(word: &str, id: &str) -> bool {
    word.len() >= MIN_PREFIX && id.starts_with(&word.to_ascii_lowercase())
}

/// The request that `who` means, or the only one.
pub fn request<'a>(requests: &'a [Request], who: Option<&str>) -> Result<&'a Request, Failure> {
    let found: Vec<&Request> = match who {
        Some(who) => requests.iter().filter(|request| request.name == who || is_prefix(who, &request.id)).collect(),
        None => requests.iter().collect(),
    };
    match (found.as_slice(), who) {
        ([one], _) => Ok(one),
        ([], Some(who)) => {
            Err(Failure::new(Exit::NotFound, format!("no request from {who}")).hint("`twocan requests` lists who asks"))
        }
        ([], None) => Err(Failure::new(Exit::NotFound, "nobody asks to be your friend")),
        (many, _) => {
            let names: Vec<String> = many.iter().map(|request| named(&request.name, &request.id)).collect();
            Err(Failure::new(Exit::Ambiguous, format!("which request: {}", names.join(", ")))
                .hint("give the name or the beginning of the id"))
        }
    }
}

/// What kind of call a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// One that rings here.
    RingingHere,
    /// One that is not over.
    Running,
    /// One that was answered and is not over.
    Answered,
}

impl Which {
    fn fits(self, call: &Call) -> bool {
        match self {
            Self::RingingHere => call.state == CallState::Ringing && call.direction == Direction::Incoming,
            Self::Running => call.state != CallState::Ended,
            Self::Answered => {
                matches!(call.state, CallState::Connecting | CallState::Active | CallState::Reconnecting)
            }
        }
    }

    fn none(self) -> &'static str {
        match self {
            Self::RingingHere => "no call rings",
            Self::Running => "there is no call",
            Self::Answered => "there is no answered call",
        }
    }
}

/// The calls that fit `which`, and `who` if given (a call's id, or the friend's name or id).
pub fn calls<'a>(calls: &'a [Call], which: Which, who: Option<&str>) -> Vec<&'a Call> {
    let meant = |call: &&Call| {
        who.is_none_or(|who| call.friend_name == who || is_prefix(who, &call.id) || is_prefix(who, &call.friend))
    };
    calls.iter().filter(|call| which.fits(call)).filter(meant).collect()
}

/// The call that `who` means, or the only one that fits `which`.
pub fn call<'a>(all: &'a [Call], which: Which, who: Option<&str>) -> Result<&'a Call, Failure> {
    match (calls(all, which, who).as_slice(), who) {
        ([one], _) => Ok(one),
        ([], Some(who)) => {
            Err(Failure::new(Exit::NotFound, format!("{} with {who}", which.none())).hint("`twocan calls` lists them"))
        }
        ([], None) => Err(Failure::new(Exit::NotFound, which.none())),
        (many, _) => {
            let names: Vec<String> = many.iter().map(|call| named(&call.friend_name, &call.id)).collect();
            Err(Failure::new(Exit::Ambiguous, format!("which call: {}", names.join(", ")))
                .hint("give the friend's name or the beginning of the call's id"))
        }
    }
}

/// The lost call that `who` means, or the only one that can be resumed.
pub fn lost<'a>(history: &'a [HistoryEntry], who: Option<&str>) -> Result<&'a HistoryEntry, Failure> {
    let meant = |entry: &&HistoryEntry| {
        who.is_none_or(|who| entry.friend_name == who || is_prefix(who, &entry.id) || is_prefix(who, &entry.friend))
    };
    let lost: Vec<&HistoryEntry> =
        history.iter().filter(|entry| entry.resumable_until_ms.is_some()).filter(meant).collect();
    match lost.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::new(Exit::NotFound, "no call is held, and none was lost in the last five minutes")
            .hint("`twocan call` calls anew")),
        many => {
            let names: Vec<String> = many.iter().map(|entry| named(&entry.friend_name, &entry.id)).collect();
            Err(Failure::new(Exit::Ambiguous, format!("which call: {}", names.join(", ")))
                .hint("give the friend's name or the beginning of the call's id"))
        }
    }
}

fn named(name: &str, id: &str) -> String {
    format!("{} ({})", clean_line(name), short(id))
}

/// What `twocan decline` is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Declined<'a> {
    /// A ringing call.
    Call(&'a Call),
    /// A request.
    Request(&'a Request),
}

/// Decides between calls that ring and requests that wait. What rings comes first when nothing is named: it is the
/// more urgent. A name that fits both is refused.
pub fn declined<'a>(
    all_calls: &'a [Call],
    requests: &'a [Request],
    who: Option<&str>,
) -> Result<Declined<'a>, Failure> {
    let ringing = calls(all_calls, Which::RingingHere, who);
    let asked = request(requests, who);
    match (ringing.as_slice(), asked, who) {
        ([], Ok(request), _) => Ok(Declined::Request(request)),
        ([], Err(failure), Some(who)) if failure.exit == Exit::NotFound => {
            Err(Failure::new(Exit::NotFound, format!("neither a ringing call nor a request from {who}"))
                .hint("`twocan calls` and `twocan requests` list them"))
        }
        ([], Err(failure), None) if failure.exit == Exit::NotFound => {
            Err(Failure::new(Exit::NotFound, "no call rings and nobody asks to be your friend"))
        }
        ([], Err(failure), _) => Err(failure),
        (_, Ok(_), Some(who)) => {
            Err(Failure::new(Exit::Ambiguous, format!("{who} both calls and asks to be a friend"))
                .hint("say which: `--call` or `--request`"))
        }
        (..) => call(all_calls, Which::RingingHere, who).map(Declined::Call),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ringing(name: &str, id: &str) -> Call {
        serde_json::from_value(serde_json::json!({
            "id": id, "friend": "f".repeat(64), "friend_name": name, "direction": "incoming", "state": "ringing",
            "started_ms": 0, "wants_video": false, "muted": false, "video": false, "held": false,
            "remote_muted": false, "remote_video": false, "remote_held": false, "remote_seat_empty": false,
            "seat_taken": false,
        }))
        .unwrap()
    }

    fn asked(name: &str, id: &str) -> Request {
        Request { id: id.into(), name: name.into(), message: String::new(), received_ms: 0, says_friends: false }
    }

    #[test]
    fn the_only_one_needs_no_name() {
        assert_eq!(request(&[asked("bob", "b0b0")], None).unwrap().name, "bob");
        assert_eq!(call(&[ringing("bob", "c0c0")], Which::RingingHere, None).unwrap().id, "c0c0");
    }

    #[test]
    fn a_lost_call_is_found_by_name_and_only_while_it_can_be_resumed() {
        let entry = |name: &str, until: Option<u64>| -> HistoryEntry {
            serde_json::from_value(serde_json::json!({
                "id": "c0".repeat(16), "friend": "f".repeat(64), "friend_name": name, "direction": "incoming",
                "outcome": "failed", "started_ms": 0, "talked_ms": 5, "video": false, "resumable_until_ms": until,
            }))
            .unwrap()
        };
        let history = [entry("bob", Some(7)), entry("eve", None)];
        assert_eq!(lost(&history, None).unwrap().friend_name, "bob");
        assert_eq!(lost(&history, Some("eve")).unwrap_err().exit, Exit::NotFound);
        let both = [entry("bob", Some(7)), entry("carol", Some(7))];
        assert_eq!(lost(&both, None).unwrap_err().exit, Exit::Ambiguous);
        assert_eq!(lost(&both, Some("carol")).unwrap().friend_name, "carol");
    }

    #[test]
    fn two_of_a_name_are_told_apart_by_id() {
        let both = [asked("bob", "b0b0"), asked("bob", "b1b1")];
        assert_eq!(request(&both, Some("bob")).unwrap_err().exit, Exit::Ambiguous);
        assert_eq!(request(&both, Some("B1B1")).unwrap().id, "b1b1");
        assert_eq!(request(&both, Some("b1")).unwrap_err().exit, Exit::NotFound, "two digits are no id");
    }

    #[test]
    fn declining_without_a_name_means_the_ringing_call_first() {
        let (calls, requests) = ([ringing("bob", "c0c0")], [asked("eve", "e0e0")]);
        assert!(matches!(declined(&calls, &requests, None), Ok(Declined::Call(_))));
        assert!(matches!(declined(&[], &requests, None), Ok(Declined::Request(_))));
        assert_eq!(declined(&[], &[], None).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn declining_somebody_who_calls_and_asks_needs_a_word_more() {
        let (calls, requests) = ([ringing("bob", "c0c0")], [asked("bob", "b0b0")]);
        assert_eq!(declined(&calls, &requests, Some("bob")).unwrap_err().exit, Exit::Ambiguous);
        assert!(matches!(declined(&calls, &requests, Some("b0b0")), Ok(Declined::Request(_))));
        assert!(matches!(declined(&calls, &requests, Some("c0c0")), Ok(Declined::Call(_))));
    }

    #[test]
    fn two_ringing_calls_are_ambiguous_even_when_requests_wait() {
        let calls = [ringing("bob", "c0c0"), ringing("eve", "c1c1")];
        assert_eq!(declined(&calls, &[asked("mia", "a0a0")], None).unwrap_err().exit, Exit::Ambiguous);
    }
}
