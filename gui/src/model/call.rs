//! What the window shows of a call beyond what the node says of it: who stands on which tile, how good it is in words,
//! and the numbers of the last minutes for the plots.

pub mod gear;
pub mod layout;
pub mod mark;
pub mod plot;

use twocan_control::{Call, CallState, Direction, Quality, RecordState};

pub use layout::{Layout, arrange};
pub use mark::{Mark, mark};
pub use plot::{Plots, Sample};

/// The call that is here.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// Numbers of the last minutes.
    pub plots: Plots,
}

impl Stage {
    /// Numbers came.
    pub fn numbers(&mut self, quality: &Quality, now_ms: u64) {
        self.plots.push(Sample::of(quality, now_ms));
    }
}

/// One of the others in a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Party {
    /// Number in the call.
    pub participant: u16,
    /// The friend's id, for colour and picture.
    pub id: String,
    /// The name here.
    pub name: String,
    /// Sends a picture.
    pub video: bool,
    /// Shares a screen.
    pub screen: bool,
    /// The microphone is muted.
    pub muted: bool,
    /// Holds the call.
    pub held: bool,
    /// Nobody is at the other end now.
    pub away: bool,
    /// How good it is.
    pub mark: Option<Mark>,
}

/// The others in a call, in the order of their tiles.
#[must_use]
pub fn parties(call: &Call) -> Vec<Party> {
    // Of a call between two the caller is 0 and the callee 1.
    let participant = u16::from(call.direction == Direction::Outgoing);
    vec![Party {
        participant,
        id: call.friend.clone(),
        name: call.friend_name.clone(),
        video: call.remote_video,
        screen: call.remote_screen,
        muted: call.remote_muted,
        held: call.remote_held,
        away: call.remote_seat_empty && call.state == CallState::Active,
        mark: mark(call),
    }]
}

/// How the recording of a call stands, for the one who looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing is recorded, and nobody asked.
    None,
    /// I asked; the friend has not answered.
    Asking,
    /// The friend asks: I have to answer.
    Asked,
    /// It is recorded here.
    Mine,
    /// It is recorded at the friend's.
    Theirs,
}

/// How the recording stands.
#[must_use]
pub fn record(call: &Call) -> Record {
    let Some(recording) = &call.recording else { return Record::None };
    match (recording.state, recording.mine) {
        (RecordState::Ended, _) => Record::None,
        (RecordState::Asked, _) => Record::Asked,
        (RecordState::Asking | RecordState::Shown, _) => Record::Asking,
        (RecordState::Agreed | RecordState::Running, true) => Record::Mine,
        (RecordState::Agreed | RecordState::Running, false) => Record::Theirs,
    }
}

/// Whether this call has its people talking, or will have them again without anybody's act.
#[must_use]
pub fn running(call: &Call) -> bool {
    matches!(call.state, CallState::Connecting | CallState::Active | CallState::Reconnecting)
}

#[cfg(test)]
mod tests {
    use twocan_control::Recording;
    use twocan_control::testing::{sample_call, sample_friend};

    use super::*;

    #[test]
    fn consent_is_asked_of_the_one_and_shown_to_both() {
        let mut call = sample_call(&sample_friend("bea"), Direction::Incoming, CallState::Active);
        assert_eq!(record(&call), Record::None);
        let mut stands = |state, mine| {
            call.recording = Some(Recording { state, mine, file: None, since_ms: None, reason: None });
            record(&call)
        };
        assert_eq!(stands(RecordState::Asked, false), Record::Asked);
        assert_eq!(stands(RecordState::Shown, true), Record::Asking);
        assert_eq!(stands(RecordState::Running, true), Record::Mine);
        assert_eq!(stands(RecordState::Running, false), Record::Theirs);
        assert_eq!(stands(RecordState::Ended, true), Record::None);
    }

    #[test]
    fn a_friend_without_a_client_is_away_only_in_a_running_call() {
        let mut call = sample_call(&sample_friend("bea"), Direction::Outgoing, CallState::Ringing);
        call.remote_seat_empty = true;
        assert!(!parties(&call)[0].away);
        call.state = CallState::Active;
        assert!(parties(&call)[0].away);
        assert_eq!(parties(&call)[0].participant, 1);
    }
}
