//! Calls on a good network.

use std::time::Duration;

use super::{both, ended, outcomes, state};
use crate::call::{Input, MAX_INVITES, MAX_RINGING, Outcome, RING, Refusal, SEAT_RINGING, Settings, State};
use crate::testing::calls::Pair;
use crate::testing::person;
use crate::wire::{
    Bounded, CallBody, CallId, CallMessage, Description, DescriptionKind, LeaveReason, List, Note, Reason,
};

#[test]
fn a_call_rings_is_answered_and_is_hung_up() {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, true);
    assert_eq!(state(&pair, 0, call), Some(State::Calling));
    pair.pass_ms(35);
    assert_eq!(state(&pair, 1, call), Some(State::Ringing), "it rings after the offer and half a round trip");
    assert!(pair.sides[1].seen[&call].wants_video);
    pair.pass_ms(200);
    assert!(both(&pair, call, State::Ringing));
    assert!(!pair.hears(0, [call; 2]) && !pair.hears(1, [call; 2]), "nobody hears anything before the answer");
    pair.answer(1, call, false);
    assert_eq!(state(&pair, 1, call), Some(State::Active), "the path was built while it rang");
    pair.pass_ms(25);
    assert_eq!(state(&pair, 0, call), Some(State::Active));
    assert!(pair.hears(0, [call; 2]) && pair.hears(1, [call; 2]));
    pair.pass_ms(10_000);
    pair.input(0, Input::HangUp(call));
    pair.pass_ms(25);
    ended(&pair, call, [Outcome::Completed; 2]);
    let record = &pair.sides[0].history[&call];
    assert!(record.video && record.talked_ms >= 10_000 && record.talked_ms < 10_100);
}

#[test]
fn the_callers_sound_goes_out_on_the_callees_first_packet_already() {
    use crate::call::PeerEvent;
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(200);
    pair.input(0, Input::Peer(call, PeerEvent::MediaArrived));
    assert_eq!(state(&pair, 0, call), Some(State::Active));
    pair.answer(1, call, true);
    pair.pass_ms(100);
    assert!(pair.sides[0].seen[&call].remote_video, "the word that came after still counts");
}

#[test]
fn declining_tells_the_caller_why() {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(100);
    pair.input(1, Input::Decline { call, text: Note::clean("in a meeting") });
    pair.pass_ms(100);
    ended(&pair, call, [Outcome::Declined; 2]);
    assert_eq!(pair.sides[0].history[&call].reason.as_deref(), Some("in a meeting"));
}

#[test]
fn a_caller_who_gives_up_leaves_a_missed_call() {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(100);
    pair.input(0, Input::HangUp(call));
    pair.pass_ms(100);
    ended(&pair, call, [Outcome::Cancelled; 2]);
}

#[test]
fn nobody_answers_and_it_stops_after_half_a_minute() {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass(RING - Duration::from_millis(100));
    assert!(both(&pair, call, State::Ringing));
    pair.pass_ms(300);
    ended(&pair, call, [Outcome::Unanswered; 2]);
}

#[test]
fn do_not_disturb_declines_without_ringing_and_is_listed() {
    let mut pair = Pair::new();
    pair.settings(1, Settings { dnd: true, ..Settings::default() });
    let call = pair.place(0, 1, false);
    pair.pass_ms(200);
    assert!(pair.sides[1].rang.is_empty());
    ended(&pair, call, [Outcome::DoNotDisturb; 2]);
}

#[test]
fn both_calling_at_once_is_one_answered_call_under_the_lower_id() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut pair = Pair::new();
        let calls = [pair.place(0, first, false), pair.place(1, second, true)];
        pair.pass_ms(400);
        for side in [0, 1] {
            assert_eq!(state(&pair, side, calls[side]), Some(State::Active));
            assert_eq!(pair.sides[side].calls.iter().count(), 1);
            assert!(pair.sides[side].rang.is_empty(), "nobody is rung");
            assert!(pair.hears(side, calls));
        }
        assert!(pair.sides[0].seen[&calls[0]].remote_video);
        pair.input(1, Input::HangUp(calls[1]));
        pair.pass_ms(100);
        assert_eq!(outcomes(&pair, calls[0])[0], Some(Outcome::Completed));
        assert_eq!(outcomes(&pair, calls[1])[1], Some(Outcome::Completed));
    }
}

/// An invite of somebody else than the partner.
fn invite(n: u8) -> Input {
    let description = Description {
        kind: DescriptionKind::Offer,
        generation: 0,
        fingerprint: [n; 32],
        sdp: Bounded::new("v=0").expect("short"),
        more: Bounded::default(),
    };
    let body = CallBody::Invite { description, candidates: List::default(), video: false, resumes: None };
    Input::Received(person(n), CallMessage { call: CallId([n; 16]), participant: 0, body })
}

#[test]
fn a_second_call_waits_and_answering_it_holds_the_first() {
    let (mut pair, first) = Pair::talking();
    pair.input(1, invite(50));
    let second = CallId([50; 16]);
    assert!(pair.sides[1].seen[&second].waiting);
    assert!(pair.hears(0, [first; 2]), "ringing disturbs nobody");
    pair.answer(1, second, false);
    pair.pass_ms(100);
    assert!(pair.sides[1].seen[&first].held && pair.sides[0].seen[&first].remote_held);
    assert!(!pair.hears(0, [first; 2]) && !pair.hears(1, [first; 2]), "a held call is silent");
    pair.input(1, Input::Update { call: first, muted: None, video: None, screen: None, held: Some(false) });
    pair.pass_ms(100);
    assert!(pair.hears(0, [first; 2]) && pair.hears(1, [first; 2]), "back to the first");
    assert!(pair.sides[1].seen[&second].held);
}

#[test]
fn without_call_waiting_a_second_caller_is_told_that_the_callee_is_busy() {
    let (mut pair, _) = Pair::talking();
    pair.settings(1, Settings { call_waiting: false, ..Settings::default() });
    pair.input(1, invite(50));
    let second = CallId([50; 16]);
    assert_eq!(pair.sides[1].history[&second].outcome, Outcome::Busy);
    assert!(pair.sides[1].log.iter().any(|line| line.contains("Decline { reason: Busy")));
    assert_eq!(pair.sides[1].rang.len(), 1);
}

#[test]
fn only_so_many_calls_ring_at_once() {
    let mut pair = Pair::new();
    for n in 50..60 {
        pair.input(1, invite(n));
    }
    assert_eq!(pair.sides[1].rang.len(), MAX_RINGING);
    assert_eq!(pair.sides[1].history.len(), 10 - MAX_RINGING);
}

#[test]
fn nobody_speaks_for_a_call_of_somebody_else() {
    let (mut pair, call) = Pair::talking();
    let leave = CallBody::Leave { reason: LeaveReason::Completed, text: Reason::default() };
    pair.input(1, Input::Received(person(77), CallMessage { call, participant: 0, body: leave.clone() }));
    let partner = pair.sides[0].root;
    pair.input(1, Input::Received(partner, CallMessage { call, participant: 1, body: leave }));
    assert!(both(&pair, call, State::Active));
}

#[test]
fn a_shared_screen_is_told_and_let_through_beside_the_camera() {
    let (mut pair, call) = Pair::talking();
    pair.input(0, Input::Update { call, muted: None, video: None, screen: Some(true), held: None });
    pair.pass_ms(100);
    assert!(pair.sides[0].seen[&call].screen && !pair.sides[0].seen[&call].remote_screen);
    let seen = &pair.sides[1].seen[&call];
    assert!(seen.remote_screen && !seen.remote_video && !seen.screen);
    assert!(pair.shows(1, [call; 2]) && !pair.shows(0, [call; 2]));
    pair.input(1, Input::Update { call, muted: None, video: None, screen: None, held: Some(true) });
    pair.pass_ms(100);
    assert!(!pair.shows(1, [call; 2]), "nothing goes to a friend who holds the call");
    pair.input(1, Input::Update { call, muted: None, video: None, screen: None, held: Some(false) });
    pair.input(0, Input::Update { call, muted: None, video: None, screen: Some(false), held: None });
    pair.pass_ms(100);
    assert!(!pair.sides[1].seen[&call].remote_screen && !pair.shows(1, [call; 2]));
}

#[test]
fn mute_and_video_are_told_to_the_other_side() {
    let (mut pair, call) = Pair::talking();
    pair.input(0, Input::Update { call, muted: Some(true), video: Some(true), screen: None, held: None });
    pair.pass_ms(100);
    let seen = &pair.sides[1].seen[&call];
    assert!(seen.remote_muted && seen.remote_video);
    assert!(!pair.hears(1, [call; 2]) && pair.hears(0, [call; 2]));
    pair.input(0, Input::HangUp(call));
    pair.pass_ms(100);
    assert!(pair.sides[1].history[&call].video, "there was video, if only for a while");
}

#[test]
fn a_lost_seat_pauses_media_and_the_call_waits_for_its_client() {
    let (mut pair, call) = Pair::talking();
    pair.input(0, Input::SeatLost(call));
    pair.pass_ms(100);
    assert!(pair.sides[1].seen[&call].remote_seat_empty);
    assert!(!pair.hears(1, [call; 2]));
    pair.pass_ms(20_000);
    pair.input(0, Input::SeatTaken { call, seat: [9; 32] });
    pair.pass_ms(100);
    assert!(!pair.sides[1].seen[&call].remote_seat_empty && pair.hears(1, [call; 2]));
    assert_eq!(pair.sides[0].calls.get(&call).and_then(|snapshot| snapshot.seat), Some([9; 32]));
    pair.input(0, Input::SeatLost(call));
    pair.pass_ms(31_000);
    ended(&pair, call, [Outcome::Completed; 2]);
}

#[test]
fn a_caller_whose_client_is_gone_stops_ringing_soon() {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(100);
    pair.input(0, Input::SeatLost(call));
    pair.pass(SEAT_RINGING + Duration::from_millis(100));
    ended(&pair, call, [Outcome::Cancelled; 2]);
}

#[test]
fn a_second_client_that_answers_is_told_that_it_is_late() {
    let (mut pair, call) = Pair::talking();
    pair.answer(1, call, false);
    assert_eq!(pair.sides[1].refused, [(call, Refusal::AnsweredElsewhere)]);
}

#[test]
fn acts_that_make_no_sense_are_refused_with_a_reason() {
    let mut pair = Pair::new();
    let none = CallId([9; 16]);
    pair.input(0, Input::HangUp(none));
    let call = pair.place(0, 1, false);
    pair.answer(0, call, false);
    pair.place(0, 2, false);
    pair.pass_ms(100);
    pair.place(1, 3, false);
    pair.input(1, Input::Update { call, muted: Some(true), video: None, screen: None, held: None });
    assert_eq!(
        pair.sides[0].refused,
        [(none, Refusal::NoCall), (call, Refusal::State(State::Calling)), (CallId([2; 16]), Refusal::InCall(call))]
    );
    assert_eq!(
        pair.sides[1].refused,
        [(CallId([3; 16]), Refusal::Ringing(call)), (call, Refusal::State(State::Ringing))]
    );
}

#[test]
fn a_friend_who_calls_without_end_is_turned_away() {
    let mut pair = Pair::new();
    for n in 1..100 {
        let call = pair.place(0, n, false);
        pair.pass_ms(100);
        pair.input(0, Input::HangUp(call));
        pair.pass_ms(100);
    }
    assert_eq!(pair.sides[1].rang.len(), MAX_INVITES as usize);
    assert_eq!(pair.sides[1].history.len(), MAX_INVITES as usize);
}

#[test]
fn a_friend_whose_calls_are_answered_may_call_as_often_as_both_like() {
    let mut pair = Pair::new();
    for n in 1..50 {
        let call = pair.place(0, n, false);
        pair.pass_ms(100);
        pair.answer(1, call, false);
        pair.pass_ms(100);
        pair.input(0, Input::HangUp(call));
        pair.pass_ms(100);
    }
    assert_eq!(pair.sides[1].rang.len(), 49);
}
