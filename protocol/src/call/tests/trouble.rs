//! Calls on a bad network, with nodes that die.

use std::time::Duration;

use super::{both, ended, outcomes, state};
use crate::call::{GRACE, Input, Outcome, PeerEvent, SETUP, Settings, State};
use crate::testing::calls::Pair;
use crate::wire::{CallBody, CallMessage};

#[test]
fn a_friend_who_is_away_is_unreachable_and_finds_a_missed_call_when_back() {
    let mut pair = Pair::new();
    pair.link_down();
    let call = pair.place(0, 1, false);
    pair.pass_ms(31_000);
    assert_eq!(outcomes(&pair, call), [Some(Outcome::Unreachable), None]);
    pair.link_up();
    pair.pass_ms(100);
    ended(&pair, call, [Outcome::Unreachable, Outcome::Unanswered]);
}

#[test]
fn an_invite_waits_for_the_link_and_then_rings() {
    let mut pair = Pair::new();
    pair.link_down();
    let call = pair.place(0, 1, false);
    pair.pass_ms(5_000);
    pair.link_up();
    pair.pass_ms(100);
    assert!(both(&pair, call, State::Ringing));
}

#[test]
fn a_link_that_breaks_while_it_rings_changes_nothing_if_it_comes_back() {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(100);
    pair.link_down();
    pair.pass_ms(3_000);
    pair.answer(1, call, false);
    pair.pass_ms(1_000);
    assert_eq!(state(&pair, 0, call), Some(State::Ringing), "the answer could not be delivered");
    pair.link_up();
    pair.pass_ms(100);
    assert!(both(&pair, call, State::Active));
    assert!(pair.hears(0, [call; 2]) && pair.hears(1, [call; 2]));
}

#[test]
fn a_link_that_breaks_during_a_call_is_not_noticed_while_media_flows() {
    let (mut pair, call) = Pair::talking();
    pair.link_down();
    pair.pass_ms(120_000);
    assert!(both(&pair, call, State::Active));
    pair.input(0, Input::HangUp(call));
    pair.pass_ms(1_000);
    pair.link_up();
    pair.pass_ms(100);
    ended(&pair, call, [Outcome::Completed; 2]);
}

#[test]
fn media_that_stops_shows_reconnecting_and_comes_back() {
    let (mut pair, call) = Pair::talking();
    pair.set_media(false);
    pair.pass_ms(1_600);
    assert!(both(&pair, call, State::Reconnecting));
    pair.pass_ms(8_000);
    pair.set_media(true);
    pair.pass_ms(6_000);
    assert!(both(&pair, call, State::Active));
    assert!(pair.hears(0, [call; 2]) && pair.hears(1, [call; 2]));
}

#[test]
fn media_that_stays_away_ends_the_call_with_the_reason() {
    let (mut pair, call) = Pair::talking();
    pair.set_media(false);
    pair.pass(GRACE + Duration::from_millis(1_700));
    ended(&pair, call, [Outcome::Failed; 2]);
    assert!(pair.sides[0].history[&call].reason.as_deref().is_some_and(|reason| reason.contains("no new way")));
}

#[test]
fn a_changed_address_is_renegotiated_as_soon_as_the_link_is_back() {
    for side in [0, 1] {
        let (mut pair, call) = Pair::talking();
        pair.roam(side);
        pair.pass_ms(400);
        pair.link_up();
        pair.pass_ms(200);
        assert!(both(&pair, call, State::Active));
        assert!(pair.hears(0, [call; 2]) && pair.hears(1, [call; 2]), "after less than a second");
    }
}

#[test]
fn both_change_their_address_at_once() {
    let (mut pair, call) = Pair::talking();
    pair.roam(0);
    pair.roam(1);
    pair.pass_ms(3_000);
    assert!(both(&pair, call, State::Reconnecting));
    pair.link_up();
    pair.pass_ms(500);
    assert!(both(&pair, call, State::Active));
    assert!(pair.hears(0, [call; 2]) && pair.hears(1, [call; 2]));
}

#[test]
fn without_any_path_the_call_fails_ten_seconds_after_the_answer() {
    let mut pair = Pair::new();
    pair.set_media(false);
    let call = pair.place(0, 1, false);
    pair.pass_ms(200);
    pair.answer(1, call, false);
    pair.pass_ms(100);
    assert!(both(&pair, call, State::Connecting));
    pair.pass(SETUP + Duration::from_millis(100));
    ended(&pair, call, [Outcome::Failed; 2]);
}

#[test]
fn a_long_ring_without_a_path_still_connects_when_there_is_one_at_the_answer() {
    let mut pair = Pair::new();
    pair.set_media(false);
    let call = pair.place(0, 1, false);
    pair.pass_ms(15_000);
    pair.set_media(true);
    pair.answer(1, call, false);
    pair.pass_ms(500);
    assert!(both(&pair, call, State::Active));
}

#[test]
fn a_killed_node_goes_on_with_the_call_when_it_is_back_in_time() {
    for side in [0, 1] {
        let (mut pair, call) = Pair::talking();
        pair.kill(side);
        pair.pass_ms(5_000);
        assert_eq!(state(&pair, 1 - side, call), Some(State::Reconnecting));
        pair.start(side);
        pair.pass_ms(500);
        assert!(both(&pair, call, State::Active), "{:?}", pair.sides[side].seen);
        let here = &pair.sides[side].seen[&call];
        assert!(!here.seat_taken && here.seat == Some(if side == 0 { [1; 32] } else { [0xaa; 32] }));
        assert!(pair.sides[1 - side].seen[&call].remote_seat_empty);
        assert!(!pair.hears(1 - side, [call; 2]), "no microphone opens by itself");
        pair.input(side, Input::SeatTaken { call, seat: [7; 32] });
        pair.pass_ms(100);
        assert!(pair.hears(0, [call; 2]) && pair.hears(1, [call; 2]));
    }
}

#[test]
fn both_nodes_killed_go_on_with_the_call() {
    let (mut pair, call) = Pair::talking();
    pair.kill(0);
    pair.kill(1);
    pair.pass_ms(2_000);
    pair.start(0);
    pair.start(1);
    pair.pass_ms(1_500);
    assert!(both(&pair, call, State::Active));
}

#[test]
fn a_killed_node_that_stays_away_ends_the_call_after_the_time_of_grace() {
    let (mut pair, call) = Pair::talking();
    pair.kill(1);
    pair.pass(GRACE + Duration::from_millis(1_700));
    assert_eq!(outcomes(&pair, call), [Some(Outcome::Failed), None]);
    pair.start(1);
    pair.pass_ms(200);
    ended(&pair, call, [Outcome::Failed; 2]);
}

#[test]
fn a_node_that_lost_its_memory_ends_the_call_at_once() {
    let (mut pair, call) = Pair::talking();
    pair.kill(1);
    pair.sides[1].stored.clear();
    pair.pass_ms(2_000);
    pair.start(1);
    pair.pass_ms(200);
    assert_eq!(outcomes(&pair, call), [Some(Outcome::Failed), None]);
    assert!(pair.sides[0].calls.iter().next().is_none());
}

#[test]
fn a_callee_restarted_while_it_rings_rings_again_and_the_call_can_be_answered() {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(1_000);
    pair.kill(1);
    pair.pass_ms(1_000);
    pair.start(1);
    pair.pass_ms(500);
    assert_eq!(pair.sides[1].rang, [call, call]);
    pair.answer(1, call, false);
    pair.pass_ms(300);
    assert!(both(&pair, call, State::Active));
}

#[test]
fn a_caller_killed_while_it_rings_stops_the_ringing_when_it_is_back() {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(1_000);
    pair.kill(0);
    pair.pass_ms(1_000);
    assert_eq!(state(&pair, 1, call), Some(State::Ringing));
    pair.start(0);
    pair.pass_ms(100);
    assert_eq!(outcomes(&pair, call)[1], Some(Outcome::Cancelled));
}

#[test]
fn a_wrong_certificate_ends_the_call_on_both_sides() {
    let (mut pair, call) = Pair::talking();
    let reason = "the certificate is not the friend's".to_owned();
    pair.input(1, Input::Peer(call, PeerEvent::Failed { fatal: true, reason: reason.clone() }));
    pair.pass_ms(100);
    ended(&pair, call, [Outcome::Failed; 2]);
    assert_eq!(pair.sides[0].history[&call].reason, Some(reason));
}

#[test]
fn an_engine_that_fails_at_once_is_not_driven_in_circles() {
    let (mut pair, call) = Pair::talking();
    pair.set_media(false);
    for _ in 0..1000 {
        pair.input(0, Input::Peer(call, PeerEvent::Failed { fatal: false, reason: String::new() }));
    }
    let offers = pair.sides[0].log.iter().filter(|line| line.contains("Rebuild")).count();
    assert!(offers <= 3, "{offers} offers");
}

#[test]
fn a_call_whose_words_the_link_does_not_take_fails_instead_of_hanging() {
    let (mut pair, call) = Pair::talking();
    let friend = pair.sides[1].root;
    let message = CallMessage { call, participant: 0, body: CallBody::Ringing };
    pair.input(0, Input::Undelivered(friend, message));
    assert_eq!(outcomes(&pair, call)[0], Some(Outcome::Failed));
}

#[test]
fn crossing_ends_are_told_alike_and_the_callers_word_counts() {
    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(100);
    pair.input(0, Input::HangUp(call));
    pair.answer(1, call, false);
    pair.pass_ms(100);
    ended(&pair, call, [Outcome::Cancelled; 2]);

    let mut pair = Pair::new();
    let call = pair.place(0, 1, false);
    pair.pass_ms(100);
    pair.input(0, Input::HangUp(call));
    pair.input(1, Input::HangUp(call));
    pair.pass_ms(100);
    ended(&pair, call, [Outcome::Cancelled; 2]);
}

#[test]
fn a_call_given_up_on_one_side_makes_way_for_the_next() {
    let (mut pair, call) = Pair::talking();
    pair.kill(1);
    pair.sides[1].stored.clear();
    pair.pass_ms(2_000);
    pair.sides[1].running = true;
    let again = pair.place(1, 5, false);
    pair.link_up();
    pair.pass_ms(300);
    assert_eq!(outcomes(&pair, call)[0], Some(Outcome::Failed));
    assert_eq!(state(&pair, 0, again), Some(State::Ringing));
}

#[test]
fn the_time_of_grace_can_be_set_and_is_bounded() {
    let mut pair = Pair::new();
    pair.settings(0, Settings { grace: Duration::from_secs(100_000), ..Settings::default() });
    pair.settings(1, Settings { grace: Duration::from_secs(100_000), ..Settings::default() });
    let call = pair.place(0, 1, false);
    pair.pass_ms(100);
    pair.answer(1, call, false);
    pair.pass_ms(100);
    pair.set_media(false);
    pair.pass_ms(300_000);
    assert!(both(&pair, call, State::Reconnecting));
    pair.pass_ms(302_000);
    ended(&pair, call, [Outcome::Failed; 2]);
}
