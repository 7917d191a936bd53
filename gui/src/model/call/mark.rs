//! How good a call is: a level that anybody understands at a glance, and why, in words.

use twocan_control::{Call, CallState};

use crate::text::{call as words, fill, t};

/// Losses below this share are not worth a word: nobody hears them.
const LOSS_TO_TELL: f64 = 0.01;
/// Jitter from here on is told, ms: below it the buffer hides it.
const JITTER_TO_TELL: f64 = 30.0;

/// A quality mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// 0 (nothing comes) to 5 (very good).
    pub level: u8,
    /// One line that explains it.
    pub why: String,
}

/// The mark of a running call; `None` before there are numbers.
#[must_use]
pub fn mark(call: &Call) -> Option<Mark> {
    if call.state == CallState::Reconnecting {
        return Some(Mark { level: 0, why: t(words::RECONNECTING).to_owned() });
    }
    let quality = call.quality.as_ref().filter(|_| call.state == CallState::Active)?;
    let mut parts = vec![t(words::level(quality.level)).to_owned()];
    parts.push(match (&quality.relay, quality.path) {
        (Some(relay), _) => words::relay(relay),
        (None, Some(path)) => t(words::path(path)).to_owned(),
        (None, None) => String::new(),
    });
    if let Some(rtt) = quality.rtt_ms {
        parts.push(fill(words::DELAY, &[&format!("{rtt:.0}")]));
    }
    let worst = quality.loss_in.max(quality.loss_out);
    if worst >= LOSS_TO_TELL {
        parts.push(fill(words::LOST, &[&format!("{:.0}", worst * 100.0)]));
    }
    if quality.jitter_ms >= JITTER_TO_TELL {
        parts.push(fill(words::UNEVEN, &[&format!("{:.0}", quality.jitter_ms)]));
    }
    if quality.participants.iter().any(|participant| participant.sent.narrow) {
        parts.push(t(words::NARROW).to_owned());
    }
    parts.retain(|part| !part.is_empty());
    Some(Mark { level: quality.level.min(5), why: parts.join(", ") })
}

#[cfg(test)]
mod tests {
    use twocan_control::testing::{sample_call, sample_friend};
    use twocan_control::{Direction, LinkPath, Quality};

    use super::*;

    fn why(quality: Quality) -> Mark {
        let mut call = sample_call(&sample_friend("bea"), Direction::Incoming, CallState::Active);
        call.quality = Some(quality);
        mark(&call).unwrap()
    }

    #[test]
    fn the_mark_explains_itself_in_words() {
        let relayed = Quality {
            level: 3,
            relay: Some("carol's relay".into()),
            path: Some(LinkPath::Relayed),
            loss_in: 0.04,
            rtt_ms: Some(80.4),
            ..Quality::default()
        };
        let mark = why(relayed);
        assert_eq!(mark.level, 3);
        assert_eq!(mark.why, "fair, through your friend carol's relay, 80 ms there and back, 4 % loss");
        let good = Quality { level: 5, path: Some(LinkPath::Lan), loss_in: 0.004, ..Quality::default() };
        assert_eq!(why(good).why, "very good, straight over the local network");
        let theirs = Quality { relay: Some("a relay of bob's".into()), level: 9, ..Quality::default() };
        assert_eq!(why(theirs.clone()).level, 5);
        assert!(why(theirs).why.contains("a relay of bob's"));
    }

    #[test]
    fn without_numbers_there_is_no_mark_and_a_broken_path_is_told() {
        let mut call = sample_call(&sample_friend("bea"), Direction::Incoming, CallState::Active);
        assert_eq!(mark(&call), None);
        call.state = CallState::Reconnecting;
        assert_eq!(mark(&call).map(|mark| mark.level), Some(0));
    }
}
