//! Which calls ring here, what is heard of it, and what a desktop notification shows: pure, from the model alone.

use std::collections::{BTreeMap, BTreeSet};

use twocan_control::{Availability, Call, CallId, CallState, Direction};
use twocan_media::audio::ring::Tune;

use super::Model;
use super::call::running;

/// What the person did about the ringing.
#[derive(Clone, Debug, Default)]
pub struct Rings {
    silenced: BTreeSet<CallId>,
    /// The call that had its sound here last.
    here: Option<CallId>,
}

impl Rings {
    /// Stops the sound of this call; it rings on for the eye.
    pub fn silence(&mut self, call: &str) {
        self.silenced.insert(call.to_owned());
    }

    /// The sound of this call is here.
    pub(super) fn taken(&mut self, call: &str) {
        self.here = Some(call.to_owned());
    }

    /// Forgets calls that ring no more.
    pub(super) fn tidy(&mut self, ringing: &BTreeMap<CallId, Call>) {
        self.silenced.retain(|id| ringing.get(id).is_some_and(rings));
    }
}

/// Whether a call waits for an answer of the person here.
#[must_use]
pub fn rings(call: &Call) -> bool {
    call.direction == Direction::Incoming && call.state == CallState::Ringing
}

/// What is heard now, while nobody talks; `None` is silence.
#[must_use]
pub fn tune(model: &Model) -> Option<Tune> {
    let talking = model.calls().any(|call| running(call) && !call.held && model.seat.as_ref() == Some(&call.id));
    let loud = model.availability != Availability::Dnd;
    if model.ringing().iter().any(|call| loud && !model.rings.silenced.contains(&call.id)) {
        return Some(if talking { Tune::Knock } else { Tune::Ring });
    }
    let call = model.rings.here.as_ref().and_then(|id| model.call(id))?;
    match call.state {
        CallState::Ringing if call.direction == Direction::Outgoing => Some(Tune::RingBack),
        CallState::Ended if call.answered_ms.is_some() => Some(Tune::Over),
        _ => None,
    }
}

/// A desktop notification about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Shows it, or shows it anew.
    Show {
        /// Which call.
        call: CallId,
        /// Who calls.
        name: String,
        /// Wants to be seen.
        video: bool,
    },
    /// Takes it away: the call rings no more.
    Close {
        /// Which call.
        call: CallId,
    },
}

/// Which notifications are shown.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    shown: BTreeSet<CallId>,
}

impl Notices {
    /// What to do about notifications. They are for a person who does not look at the window; one that is shown stays
    /// until its call rings no more.
    pub fn follow(&mut self, model: &Model, focused: bool) -> Vec<Notice> {
        let ringing = model.ringing();
        let quiet = focused || model.availability == Availability::Dnd;
        let mut steps = Vec::new();
        self.shown.retain(|id| {
            let stays = ringing.iter().any(|call| call.id == *id);
            if !stays {
                steps.push(Notice::Close { call: id.clone() });
            }
            stays
        });
        for call in ringing {
            if !quiet && self.shown.insert(call.id.clone()) {
                let (call, name, video) = (call.id.clone(), call.friend_name.clone(), call.wants_video);
                steps.push(Notice::Show { call, name, video });
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use twocan_control::testing::{sample_call, sample_friend};
    use twocan_control::{Event, Friend};

    use super::*;
    use crate::model::Update;

    fn call(friend: &Friend, direction: Direction, state: CallState) -> Call {
        let mut call = sample_call(friend, direction, state);
        call.id = friend.name.clone();
        call
    }

    fn told(model: &mut Model, call: Call) {
        model.apply(Update::Event(Event::Call { call }), 1);
    }

    #[test]
    fn it_rings_until_it_is_answered_anywhere() {
        let (bea, mut model, mut notices) = (sample_friend("bea"), Model::default(), Notices::default());
        assert_eq!(tune(&model), None);
        told(&mut model, call(&bea, Direction::Incoming, CallState::Ringing));
        assert_eq!(tune(&model), Some(Tune::Ring));
        assert!(notices.follow(&model, true).is_empty(), "who looks needs no notification");
        let shown = notices.follow(&model, false);
        assert!(matches!(&shown[..], [Notice::Show { name, .. }] if name == "bea"));
        assert!(notices.follow(&model, false).is_empty(), "once is enough");
        let mut elsewhere = call(&bea, Direction::Incoming, CallState::Ended);
        elsewhere.outcome = Some(twocan_control::Outcome::AnsweredElsewhere);
        told(&mut model, elsewhere);
        assert_eq!(tune(&model), None);
        assert_eq!(notices.follow(&model, false), vec![Notice::Close { call: "bea".into() }]);
    }

    #[test]
    fn a_second_call_knocks_and_silence_is_kept() {
        let mut model = Model::default();
        told(&mut model, call(&sample_friend("ann"), Direction::Outgoing, CallState::Active));
        model.apply(Update::Seat(Some("ann".into())), 1);
        told(&mut model, call(&sample_friend("bea"), Direction::Incoming, CallState::Ringing));
        assert_eq!(tune(&model), Some(Tune::Knock));
        model.rings.silence("bea");
        assert_eq!(tune(&model), None);
        told(&mut model, call(&sample_friend("carl"), Direction::Incoming, CallState::Ringing));
        assert_eq!(tune(&model), Some(Tune::Knock));
    }

    #[test]
    fn do_not_disturb_is_quiet_and_my_own_call_rings_back() {
        let mut model = Model::default();
        told(&mut model, call(&sample_friend("bea"), Direction::Incoming, CallState::Ringing));
        model.availability = Availability::Dnd;
        assert_eq!(tune(&model), None);
        assert!(Notices::default().follow(&model, false).is_empty());
        let mut model = Model::default();
        told(&mut model, call(&sample_friend("bea"), Direction::Outgoing, CallState::Calling));
        model.apply(Update::Seat(Some("bea".into())), 1);
        assert_eq!(tune(&model), None, "nothing rings there yet");
        told(&mut model, call(&sample_friend("bea"), Direction::Outgoing, CallState::Ringing));
        assert_eq!(tune(&model), Some(Tune::RingBack));
        let mut over = call(&sample_friend("bea"), Direction::Outgoing, CallState::Ended);
        told(&mut model, over.clone());
        assert_eq!(tune(&model), None, "who did not talk hears no end");
        over.answered_ms = Some(1);
        told(&mut model, over);
        model.apply(Update::Seat(None), 1);
        assert_eq!(tune(&model), Some(Tune::Over));
    }
}
