//! Times, names and states in words.

use twocan_control::{Availability, Call, CallState, Direction, Friend, FriendState, LinkPath, Outcome};

/// One or two capital letters for a person's disc.
#[must_use]
pub fn initials(name: &str) -> String {
    let mut words = name.split_whitespace().filter_map(|word| word.chars().find(|c| c.is_alphanumeric()));
    let (first, last) = (words.next(), words.next_back());
    first.into_iter().chain(last).flat_map(char::to_uppercase).take(2).collect()
}

/// A hue for a person, 0 to 1: the same for the same id on every machine.
#[must_use]
pub fn hue(id: &str) -> f32 {
    let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    // Neighbouring hashes are put far apart on the wheel (golden ratio).
    (hash % 1024) as f32 * 0.618_034 % 1.0
}

/// "just now", "5 min ago", "yesterday": how long before `now_ms` (both Unix ms) something was.
#[must_use]
pub fn ago(then_ms: u64, now_ms: u64) -> String {
    let minutes = now_ms.saturating_sub(then_ms) / 60_000;
    match minutes {
        0 => "just now".into(),
        1..60 => format!("{minutes} min ago"),
        60..1440 => format!("{} h ago", minutes / 60),
        1440..2880 => "yesterday".into(),
        2880..43_200 => format!("{} days ago", minutes / 1440),
        _ => "long ago".into(),
    }
}

/// "3:07" or "1:02:03".
#[must_use]
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A path in a word.
#[must_use]
pub fn path(path: LinkPath) -> &'static str {
    match path {
        LinkPath::Loopback => "this computer",
        LinkPath::Lan => "local network",
        LinkPath::Direct => "direct",
        LinkPath::Relayed => "through a relay",
    }
}

/// The second line under a friend's name.
#[must_use]
pub fn presence(friend: &Friend, now_ms: u64) -> String {
    if friend.state == FriendState::Requested {
        return friend.trouble.clone().unwrap_or_else(|| "asked, no answer yet".into());
    }
    if !friend.online {
        return friend
            .last_seen_ms
            .map_or_else(|| "not seen yet".into(), |at| format!("last seen {}", ago(at, now_ms)));
    }
    let mood = match friend.availability {
        Some(Availability::Dnd) => "do not disturb",
        _ => "online",
    };
    friend.link.as_ref().map_or_else(|| mood.to_owned(), |link| format!("{mood} · {}", path(link.path)))
}

/// What a call is doing, under the friend's name.
#[must_use]
pub fn call(call: &Call, now_ms: u64) -> String {
    match call.state {
        CallState::Calling => "calling…".into(),
        CallState::Ringing if call.direction == Direction::Outgoing => "ringing…".into(),
        CallState::Ringing => "calls you".into(),
        CallState::Connecting => "connecting…".into(),
        CallState::Active if call.held => "on hold".into(),
        CallState::Active if call.remote_held => "holds the call".into(),
        CallState::Active => duration(now_ms.saturating_sub(call.answered_ms.unwrap_or(now_ms))),
        CallState::Reconnecting => "reconnecting…".into(),
        CallState::Ended => ended(call),
    }
}

/// How a call ended, in words.
#[must_use]
pub fn ended(call: &Call) -> String {
    let what = match call.outcome {
        Some(Outcome::Completed) | None => "call ended",
        Some(Outcome::Declined) => "declined",
        Some(Outcome::Cancelled) => "call cancelled",
        Some(Outcome::Unanswered) => "no answer",
        Some(Outcome::Busy) => "busy in another call",
        Some(Outcome::DoNotDisturb) => "does not want to be disturbed",
        Some(Outcome::AnsweredElsewhere) => "answered elsewhere",
        Some(Outcome::Unreachable) => "cannot be reached now",
        Some(Outcome::Failed) => "the call failed",
    };
    call.reason.as_ref().map_or_else(|| what.to_owned(), |reason| format!("{what}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initials_come_from_first_and_last_word() {
        for (name, expected) in
            [("Bob", "B"), ("mira okafor", "MO"), ("Ana Maria de Souza", "AS"), ("  ", ""), ("(x) ünal", "XÜ")]
        {
            assert_eq!(initials(name), expected, "{name}");
        }
    }

    #[test]
    fn times_are_told_in_words() {
        let now = 100 * 86_400_000;
        let minutes = |n: u64| ago(now - n * 60_000, now);
        assert_eq!(minutes(0), "just now");
        assert_eq!(minutes(59), "59 min ago");
        assert_eq!(minutes(61), "1 h ago");
        assert_eq!(minutes(25 * 60), "yesterday");
        assert_eq!(minutes(72 * 60), "3 days ago");
        assert_eq!(minutes(99 * 1440), "long ago");
        // A clock that was set back is no reason to show nonsense.
        assert_eq!(ago(now + 5, now), "just now");
        assert_eq!((duration(187_900), duration(3_723_000)), ("3:07".into(), "1:02:03".into()));
    }

    #[test]
    fn hues_differ_and_stay() {
        assert_eq!(hue("a"), hue("a"));
        assert!((hue("a") - hue("b")).abs() > 0.05);
    }
}
