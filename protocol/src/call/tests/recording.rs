//! Recording a call: only while everybody has agreed, and everybody knows.

use std::time::Duration;

use crate::call::{
    Input, MAX_RECORD_ASKS, RECORD_ANSWER, RECORD_BEGIN, RECORD_SHOWN, RECORD_UNLINKED, RecordAct, RecordEnd,
    RecordState, RecordView, Refusal,
};
use crate::testing::calls::Pair;
use crate::wire::{CallBody, CallId, CallMessage, Reason, RecordWord};

fn talking() -> (Pair, CallId) {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(200);
    pair.answer(1, call, false);
    pair.pass_ms(200);
    (pair, call)
}

fn act(pair: &mut Pair, side: usize, call: CallId, act: RecordAct) {
    pair.input(side, Input::Record { call, act });
    pair.pass_ms(100);
}

fn view(pair: &Pair, side: usize, call: CallId) -> RecordView {
    pair.sides[side].seen[&call].recording.clone().expect("somebody asked")
}

fn states(pair: &Pair, call: CallId) -> [(RecordState, bool); 2] {
    [0, 1].map(|side| {
        let view = view(pair, side, call);
        (view.state, view.mine)
    })
}

fn ends(pair: &Pair, call: CallId) -> [Option<RecordEnd>; 2] {
    [0, 1].map(|side| view(pair, side, call).end)
}

fn running() -> (Pair, CallId) {
    let (mut pair, call) = talking();
    act(&mut pair, 1, call, RecordAct::Ask);
    act(&mut pair, 0, call, RecordAct::Allow);
    act(&mut pair, 1, call, RecordAct::Started);
    assert_eq!(states(&pair, call), [(RecordState::Running, false), (RecordState::Running, true)]);
    (pair, call)
}

#[test]
fn who_wants_to_record_asks_and_both_see_each_step() {
    let (mut pair, call) = talking();
    pair.input(1, Input::Record { call, act: RecordAct::Ask });
    assert_eq!(view(&pair, 1, call).state, RecordState::Asking);
    pair.pass_ms(100);
    assert_eq!(states(&pair, call), [(RecordState::Asked, false), (RecordState::Shown, true)]);
    act(&mut pair, 0, call, RecordAct::Allow);
    assert_eq!(states(&pair, call), [(RecordState::Agreed, false), (RecordState::Agreed, true)]);
    act(&mut pair, 1, call, RecordAct::Started);
    assert_eq!(states(&pair, call), [(RecordState::Running, false), (RecordState::Running, true)]);
    assert!(view(&pair, 0, call).since_ms.is_some());
    pair.pass(Duration::from_secs(600));
    act(&mut pair, 1, call, RecordAct::Stop(Reason::clean("the disk is full")));
    let stopped = Some(RecordEnd::Stopped(Reason::clean("the disk is full")));
    assert_eq!(ends(&pair, call), [stopped.clone(), stopped]);
    // And again.
    act(&mut pair, 0, call, RecordAct::Ask);
    act(&mut pair, 1, call, RecordAct::Refuse);
    assert_eq!(ends(&pair, call), [Some(RecordEnd::Refused), Some(RecordEnd::Refused)]);
}

#[test]
fn consent_can_be_taken_back_at_any_time() {
    let (mut pair, call) = running();
    act(&mut pair, 0, call, RecordAct::Refuse);
    assert_eq!(ends(&pair, call), [Some(RecordEnd::Withdrawn), Some(RecordEnd::Withdrawn)]);
    pair.input(1, Input::Record { call, act: RecordAct::Started });
    assert_eq!(pair.sides[1].refused.last(), Some(&(call, Refusal::NotAgreed)));
}

#[test]
fn nothing_is_agreed_by_silence_or_by_the_one_who_asks() {
    let (mut pair, call) = talking();
    act(&mut pair, 0, call, RecordAct::Ask);
    for wrong in [RecordAct::Allow, RecordAct::Started, RecordAct::Ask] {
        pair.input(0, Input::Record { call, act: wrong });
    }
    let refused: Vec<Refusal> = pair.sides[0].refused.iter().map(|(_, why)| *why).collect();
    assert_eq!(refused, [Refusal::NotAsked, Refusal::NotAgreed, Refusal::Recording]);
    pair.pass(RECORD_ANSWER);
    assert_eq!(ends(&pair, call), [Some(RecordEnd::Unanswered), Some(RecordEnd::Stopped(Reason::default()))]);
    // Before the answer there is nothing to record.
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    act(&mut pair, 0, call, RecordAct::Ask);
    assert!(matches!(pair.sides[0].refused.last(), Some((_, Refusal::State(_)))));
}

#[test]
fn a_node_that_does_not_know_of_recording_is_named() {
    let (mut pair, call) = talking();
    pair.input(0, Input::Record { call, act: RecordAct::Ask });
    let partner = pair.sides[1].root;
    pair.input(0, Input::RecordUnknown(partner));
    assert_eq!(view(&pair, 0, call).end, Some(RecordEnd::Unsupported));
    // One that says nothing at all is not waited for.
    let (mut pair, call) = talking();
    pair.link_down();
    pair.input(0, Input::Record { call, act: RecordAct::Ask });
    pair.pass(RECORD_SHOWN);
    assert_eq!(view(&pair, 0, call).end, Some(RecordEnd::Unanswered));
}

#[test]
fn when_both_ask_at_once_the_callers_request_stands() {
    let (mut pair, call) = talking();
    pair.input(0, Input::Record { call, act: RecordAct::Ask });
    pair.input(1, Input::Record { call, act: RecordAct::Ask });
    pair.pass_ms(200);
    assert_eq!(states(&pair, call), [(RecordState::Shown, true), (RecordState::Asked, false)]);
}

#[test]
fn a_friend_who_says_to_record_without_consent_is_told_no() {
    let (mut pair, call) = talking();
    let friend = pair.sides[1].root;
    let say = |word| CallMessage { call, participant: 1, body: CallBody::Record(word) };
    let said = |pair: &Pair, word: &str| pair.sides[0].log.last().is_some_and(|line| line.contains(word));
    pair.input(0, Input::Received(friend, say(RecordWord::Start(1))));
    assert!(said(&pair, "Refuse(1)"));
    pair.input(0, Input::Received(friend, say(RecordWord::Allow(7))));
    assert!(said(&pair, "Stop(7"));
    // Asking without end reaches the person only so often.
    for request in 2..100 {
        pair.input(0, Input::Received(friend, say(RecordWord::Ask(request))));
        pair.input(0, Input::Received(friend, say(RecordWord::Stop(request, Reason::default()))));
    }
    let shown = pair.sides[0].log.iter().filter(|line| line.contains("Shown(")).count();
    assert_eq!(shown, MAX_RECORD_ASKS as usize);
}

#[test]
fn an_agreement_does_not_outlive_its_client_a_restart_or_the_link() {
    let (mut pair, call) = running();
    pair.input(1, Input::SeatLost(call));
    pair.pass_ms(100);
    assert!(matches!(ends(&pair, call)[0], Some(RecordEnd::Stopped(ref text)) if !text.is_empty()));

    let (mut pair, call) = running();
    pair.kill(0);
    pair.pass(Duration::from_secs(1));
    pair.start(0);
    pair.link_up();
    pair.pass(Duration::from_secs(1));
    assert_eq!(view(&pair, 1, call).end, Some(RecordEnd::Restarted));
    assert_eq!(pair.sides[0].seen[&call].recording, None);

    let (mut pair, call) = running();
    pair.link_down();
    pair.pass(RECORD_UNLINKED / 2);
    pair.link_up();
    pair.pass(RECORD_UNLINKED * 2);
    assert_eq!(states(&pair, call), [(RecordState::Running, false), (RecordState::Running, true)]);
    pair.link_down();
    pair.pass(RECORD_UNLINKED);
    assert_eq!(ends(&pair, call), [Some(RecordEnd::Unlinked), Some(RecordEnd::Unlinked)]);

    let (mut pair, call) = talking();
    act(&mut pair, 1, call, RecordAct::Ask);
    act(&mut pair, 0, call, RecordAct::Allow);
    pair.pass(RECORD_BEGIN);
    assert!(matches!(ends(&pair, call)[1], Some(RecordEnd::Stopped(_))), "no client began to write");

    let (mut pair, call) = running();
    pair.input(0, Input::HangUp(call));
    pair.pass_ms(100);
    assert_eq!(ends(&pair, call), [Some(RecordEnd::CallOver), Some(RecordEnd::CallOver)]);
}
