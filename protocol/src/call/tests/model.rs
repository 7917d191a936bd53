//! Random people on a random network: whatever happens, calls end, both sides tell the same story, and the same
//! inputs give the same outputs.

use std::time::Duration;

use proptest::prelude::*;

use crate::call::{Input, MAX_REMEMBERED, Outcome, PeerEvent, RecordAct, RecordState, Settings, State};
use crate::testing::calls::Pair;
use crate::wire::{CallId, Note, Reason};

#[derive(Clone, Debug)]
enum Step {
    Place(usize, bool),
    Answer(usize),
    Decline(usize),
    HangUp(usize),
    Update(usize, Option<bool>, Option<bool>, Option<bool>),
    SeatLost(usize),
    SeatTaken(usize),
    Link(bool),
    Media(bool),
    Roam(usize),
    Kill(usize),
    Start(usize),
    Dnd(usize, bool),
    Failed(usize, bool),
    Record(usize, u8),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let side = || 0usize..2;
    prop_oneof![
        6 => (side(), any::<bool>()).prop_map(|(s, v)| Step::Place(s, v)),
        6 => side().prop_map(Step::Answer),
        1 => side().prop_map(Step::Decline),
        2 => side().prop_map(Step::HangUp),
        2 => (side(), any::<Option<bool>>(), any::<Option<bool>>(), any::<Option<bool>>())
            .prop_map(|(s, m, v, h)| Step::Update(s, m, v, h)),
        1 => side().prop_map(Step::SeatLost),
        2 => side().prop_map(Step::SeatTaken),
        3 => any::<bool>().prop_map(Step::Link),
        3 => any::<bool>().prop_map(Step::Media),
        1 => side().prop_map(Step::Roam),
        1 => side().prop_map(Step::Kill),
        2 => side().prop_map(Step::Start),
        1 => (side(), any::<bool>()).prop_map(|(s, on)| Step::Dnd(s, on)),
        1 => (side(), any::<bool>()).prop_map(|(s, fatal)| Step::Failed(s, fatal)),
        6 => (side(), 0u8..5).prop_map(|(s, act)| Step::Record(s, act)),
        8 => prop_oneof![0u64..100, 100u64..3_000, 3_000u64..40_000].prop_map(Step::Pass),
    ]
}

/// Does all steps; whether a node was ever killed.
fn play(steps: &[Step]) -> (Pair, bool) {
    let mut pair = Pair::new();
    let mut killed = false;
    let mut n = 0;
    for step in steps {
        let first = |side: usize, pair: &Pair| pair.sides[side].calls.iter().next().map(|s| s.id);
        let call = |side: usize, pair: &Pair| first(side, pair).unwrap_or(CallId([0; 16]));
        match *step {
            Step::Place(side, video) => {
                n += 1;
                // Ids are random in life: neither side's are always lower.
                pair.place(side, if n % 3 == 0 { 255 - n } else { n }, video);
            }
            Step::Answer(side) => pair.answer(side, call(side, &pair), false),
            Step::Decline(side) => {
                let call = call(side, &pair);
                pair.input(side, Input::Decline { call, text: Note::clean("no") });
            }
            Step::HangUp(side) => pair.input(side, Input::HangUp(call(side, &pair))),
            Step::Update(side, muted, video, held) => {
                let call = call(side, &pair);
                pair.input(side, Input::Update { call, muted, video, screen: video, held });
            }
            Step::SeatLost(side) => pair.input(side, Input::SeatLost(call(side, &pair))),
            Step::SeatTaken(side) => {
                let call = call(side, &pair);
                pair.input(side, Input::SeatTaken { call, seat: [3; 32] });
            }
            Step::Link(true) => pair.link_up(),
            Step::Link(false) => pair.link_down(),
            Step::Media(on) => pair.set_media(on),
            Step::Roam(side) => pair.roam(side),
            Step::Kill(side) => {
                killed = true;
                pair.kill(side);
            }
            Step::Start(side) => pair.start(side),
            Step::Dnd(side, dnd) => pair.settings(side, Settings { dnd, ..Settings::default() }),
            Step::Failed(side, fatal) => {
                let call = call(side, &pair);
                pair.input(side, Input::Peer(call, PeerEvent::Failed { fatal, reason: "test".to_owned() }));
            }
            Step::Record(side, act) => {
                let call = call(side, &pair);
                let act = match act {
                    0 => RecordAct::Ask,
                    1 => RecordAct::Allow,
                    2 => RecordAct::Refuse,
                    3 => RecordAct::Started,
                    _ => RecordAct::Stop(Reason::default()),
                };
                pair.input(side, Input::Record { call, act });
            }
            Step::Pass(ms) => pair.pass_ms(ms),
        }
        check(&pair, killed);
    }
    (pair, killed)
}

/// What holds at every moment.
fn check(pair: &Pair, killed: bool) {
    for side in &pair.sides {
        let mut talking = 0;
        for snapshot in side.calls.iter() {
            let healthy = snapshot.state == State::Active && snapshot.seat_taken;
            assert!(healthy || side.calls.poll_timeout().is_some(), "without an end: {snapshot:?}");
            talking += usize::from(snapshot.answered_ms.is_some() && !snapshot.held);
            assert_eq!(side.stored.contains_key(&snapshot.id), snapshot.answered_ms.is_some());
            // A node that was killed may have forgotten that it declined, and rings again.
            assert!(killed || !side.history.contains_key(&snapshot.id), "ended and running at once");
        }
        assert!(talking <= 1, "two calls talk at once");
        assert!(side.calls.ended.len() <= MAX_REMEMBERED && side.calls.invites.len() <= 1, "memory grows");
        assert!(side.calls.iter().count() <= 2, "one friend, one call, and one that takes its place");
    }
}

/// Words for the same end seen from both sides.
fn alike(caller: Outcome, callee: Outcome) -> bool {
    caller == callee || (caller, callee) == (Outcome::Unreachable, Outcome::Unanswered)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_happens_calls_end_and_both_sides_tell_the_same_story(steps in proptest::collection::vec(step(), 0..80)) {
        let (mut pair, killed) = play(&steps);
        for side in [0, 1] {
            pair.start(side);
        }
        pair.link_up();
        pair.set_media(true);
        pair.pass(Duration::from_secs(120));
        for side in [0, 1] {
            // What still runs is a healthy call: it goes on until somebody hangs up.
            let running: Vec<_> = pair.sides[side].calls.iter().collect();
            for snapshot in &running {
                prop_assert_eq!(snapshot.state, State::Active);
                // Two minutes with nothing on its way: who records does it by the other's consent.
                let other = pair.sides[1 - side].calls.iter().find_map(|other| other.recording);
                let runs = |view: &crate::call::RecordView| view.state == RecordState::Running;
                if snapshot.recording.as_ref().is_some_and(runs) {
                    let mine = snapshot.recording.as_ref().is_some_and(|view| view.mine);
                    prop_assert!(other.as_ref().is_some_and(|other| runs(other) && other.mine != mine), "{:?}", other);
                }
            }
            prop_assert_eq!(running.len(), pair.sides[1 - side].calls.iter().count(), "both sides have it");
        }
        let running: Vec<_> = pair.sides[0].calls.iter().map(|s| s.id).collect();
        for call in running {
            pair.input(0, Input::HangUp(call));
        }
        pair.pass(Duration::from_secs(1));
        for side in [0, 1] {
            prop_assert_eq!(pair.sides[side].calls.iter().count(), 0);
            prop_assert_eq!(pair.sides[side].calls.poll_timeout(), None);
            prop_assert!(pair.sides[side].stored.is_empty());
        }
        if !killed {
            for record in pair.sides[0].history.values() {
                if let Some(other) = pair.sides[1].history.get(&record.id) {
                    // A call that took on the friend's id is not the one that the friend knows by its first id.
                    if pair.sides.iter().any(|side| side.merged.contains(&record.id)) {
                        continue;
                    }
                    let agree = if record.direction == crate::call::Direction::Outgoing {
                        alike(record.outcome, other.outcome)
                    } else {
                        alike(other.outcome, record.outcome)
                    };
                    prop_assert!(agree, "{:?} and {:?}", record, other);
                }
            }
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(steps in proptest::collection::vec(step(), 0..40)) {
        let (one, _) = play(&steps);
        let (two, _) = play(&steps);
        for side in [0, 1] {
            prop_assert_eq!(&one.sides[side].log, &two.sides[side].log);
        }
    }
}
