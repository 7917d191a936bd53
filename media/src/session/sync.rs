//! Lip sync: when to show a picture so that it meets the voice.
//!
//! Sound is the master: it plays when the jitter buffer lets it. Two clock messages (audio and video timestamp against
//! one clock of the sender, from RTCP sender reports) tie the two time lines together, and the playout of the voice
//! ties them to our clock. It is pure: times come in as arguments.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::frame::Kind;

/// Most streams whose clocks are kept; the lowest stream numbers stay.
const MAX_CLOCKS: usize = 32;
/// A picture is never held longer than this: clocks that say more are wrong, and it is shown at once.
const MAX_WAIT_NS: i128 = 1_000_000_000;
/// A picture that is later than this against its voice is not tied to it: the clocks mean nothing (a restart).
const MAX_LATE_NS: i128 = 10_000_000_000;
/// The playout of the voice is believed for so long after it was last heard of.
const PLAYOUT_VALID_NS: u64 = 2_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub struct PlayoutClock {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// (RTP timestamp, sender's microseconds) of each stream.
    clocks: BTreeMap<u16, (u32, u64)>,
    audio: Option<Playout>,
}

/// A sample with this timestamp is heard at this time.
#[derive(Clone, Copy, Debug)]
struct Playout {
    stream: u16,
    timestamp: u32,
    heard_ns: u64,
}

impl PlayoutClock {
    /// A clock message of any stream.
    pub fn tie(&self, stream: u16, timestamp: u32, sender_us: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.clocks.len() < MAX_CLOCKS || state.clocks.contains_key(&stream) {
            state.clocks.insert(stream, (timestamp, sender_us));
        }
    }

    /// The voice of this stream is at this timestamp, heard at `heard_ns`.
    pub fn plays(&self, stream: u16, timestamp: u32, heard_ns: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.audio = Some(Playout { stream, timestamp, heard_ns });
    }

    /// When to show the picture with this timestamp (of a video stream), in [`crate::now_ns`]; in the past for one that
    /// is late already. None if nothing ties it to a voice: show it at once.
    #[must_use]
    pub fn present_at(&self, now_ns: u64, stream: u16, timestamp: u32) -> Option<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let audio = state.audio?;
        if now_ns.saturating_sub(audio.heard_ns) > PLAYOUT_VALID_NS {
            return None;
        }
        let (video_stamp, video_us) = *state.clocks.get(&stream)?;
        let (audio_stamp, audio_us) = *state.clocks.get(&audio.stream)?;
        let captured = sender_ns(Kind::Video, timestamp, video_stamp, video_us);
        let spoken = sender_ns(Kind::Audio, audio.timestamp, audio_stamp, audio_us);
        let show = i128::from(audio.heard_ns) + captured - spoken;
        let wait = show - i128::from(now_ns);
        if !(-MAX_LATE_NS..=MAX_WAIT_NS).contains(&wait) {
            return None;
        }
        u64::try_from(show).ok()
    }
}

/// The sender's nanoseconds at `timestamp`, from the tie of `stamp` to `us`; timestamps wrap.
fn sender_ns(kind: Kind, timestamp: u32, stamp: u32, us: u64) -> i128 {
    let ticks = i128::from(timestamp.wrapping_sub(stamp) as i32);
    i128::from(us) * 1000 + ticks * 1_000_000_000 / i128::from(kind.clock_rate())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AUDIO: u16 = 3;
    const VIDEO: u16 = 4;
    const MS: u64 = 1_000_000;

    #[test]
    fn a_picture_is_shown_when_the_voice_of_that_moment_is_heard() {
        let clock = PlayoutClock::default();
        // Random offsets of both streams; the sender's clock says 5 s at both.
        clock.tie(AUDIO, 0xffff_ff00, 5_000_000);
        clock.tie(VIDEO, 123, 5_000_000);
        // The sample of 5.2 s is heard at 100 s of ours.
        clock.plays(AUDIO, 0xffff_ff00_u32.wrapping_add(48 * 200), 100_000 * MS);
        // A picture of 5.25 s is then due at 100.05 s, one of 5.1 s was due at 99.9 s.
        let at = |ms: u32| clock.present_at(100_010 * MS, VIDEO, 123 + 90 * ms);
        assert_eq!(at(250), Some(100_050 * MS));
        assert_eq!(at(100), Some(99_900 * MS));
    }

    #[test]
    fn without_ties_or_voice_a_picture_waits_for_nothing() {
        let clock = PlayoutClock::default();
        assert_eq!(clock.present_at(MS, VIDEO, 0), None);
        clock.tie(VIDEO, 0, 0);
        clock.plays(AUDIO, 0, MS);
        assert_eq!(clock.present_at(MS, VIDEO, 0), None);
        clock.tie(AUDIO, 0, 0);
        assert_eq!(clock.present_at(MS, VIDEO, 0), Some(MS));
        assert_eq!(clock.present_at(3_000 * MS, VIDEO, 0), None, "the voice stopped long ago");
        assert_eq!(clock.present_at(MS, VIDEO, 90_000 * 3), None, "three seconds ahead of the voice");
    }

    proptest! {
        #[test]
        fn no_clock_makes_a_picture_wait_long(
            ties in prop::collection::vec((any::<u16>(), any::<u32>(), any::<u64>()), 0..50),
            audio in any::<(u16, u32, u64)>(), now: u64, stream: u16, timestamp: u32,
        ) {
            let clock = PlayoutClock::default();
            for (stream, timestamp, us) in ties {
                clock.tie(stream, timestamp, us);
            }
            clock.plays(audio.0, audio.1, audio.2);
            if let Some(at) = clock.present_at(now, stream, timestamp) {
                prop_assert!(at <= now.saturating_add(MAX_WAIT_NS as u64));
            }
        }
    }
}
