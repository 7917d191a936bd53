//! Calls that were lost and are resumed, and calls over which the machine slept.

use std::time::Duration;

use super::{ended, outcomes, state};
use crate::call::{CallRecord, GRACE, Input, Outcome, RESUME, Refusal, Resumable, SETUP, State};
use crate::testing::calls::Pair;
use crate::wire::CallId;

const AGAIN: CallId = CallId([9; 16]);

/// A call that both sides lost, while the link is down.
fn lost() -> (Pair, CallId) {
    let (mut pair, call) = Pair::talking();
    pair.link_down();
    pair.set_media(false);
    pair.pass(GRACE + Duration::from_secs(2));
    ended(&pair, call, [Outcome::Failed; 2]);
    pair.set_media(true);
    (pair, call)
}

fn resume(pair: &mut Pair, side: usize, lost: CallId, call: CallId) {
    pair.input(side, Input::Resume { lost, call, video: false, seat: [3; 32] });
}

#[test]
fn a_lost_call_is_offered_on_both_sides_when_the_friend_is_back_and_goes_on_in_a_new_one() {
    for side in [0, 1] {
        let (mut pair, call) = lost();
        assert!(pair.sides.iter().all(|side| side.resumable.is_empty()), "nobody is there to resume with");
        pair.pass(Duration::from_secs(60));
        pair.link_up();
        pair.pass_ms(100);
        for node in [0, 1] {
            let offered: Vec<_> = pair.sides[node].resumable.iter().map(|r: &Resumable| (r.call, r.friend)).collect();
            assert_eq!(offered, [(call, pair.sides[1 - node].root)]);
        }
        resume(&mut pair, side, call, AGAIN);
        pair.pass_ms(100);
        let there = &pair.sides[1 - side].seen[&AGAIN];
        assert_eq!((there.state, there.resumes), (State::Ringing, Some(call)), "it rings as what it is");
        pair.answer(1 - side, AGAIN, false);
        pair.pass_ms(200);
        assert!(pair.hears(0, [AGAIN; 2]) && pair.hears(1, [AGAIN; 2]));
        pair.input(side, Input::HangUp(AGAIN));
        pair.pass_ms(100);
        ended(&pair, AGAIN, [Outcome::Completed; 2]);
        for node in &pair.sides {
            assert_eq!(node.history[&AGAIN].resumes, Some(call));
            assert_eq!(node.calls.resumable(&call, pair.clock.unix_ms), None, "it was gone on with");
        }
    }
}

#[test]
fn a_lost_call_is_offered_at_once_where_the_link_lives() {
    let (mut pair, call) = Pair::talking();
    pair.set_media(false);
    pair.pass(GRACE + Duration::from_secs(2));
    assert_eq!(outcomes(&pair, call), [Some(Outcome::Failed); 2]);
    assert!(pair.sides.iter().all(|side| side.resumable.len() == 1));
}

#[test]
fn both_resume_at_once_and_talk_without_a_ring() {
    let (mut pair, call) = lost();
    pair.link_up();
    pair.pass_ms(100);
    let rang = pair.sides.iter().map(|side| side.rang.len()).sum::<usize>();
    let other = CallId([8; 16]);
    resume(&mut pair, 0, call, AGAIN);
    resume(&mut pair, 1, call, other);
    pair.pass_ms(300);
    assert!(pair.hears(0, [AGAIN, other]) && pair.hears(1, [AGAIN, other]));
    assert_eq!(pair.sides.iter().map(|side| side.rang.len()).sum::<usize>(), rang);
}

#[test]
fn a_call_is_resumed_for_five_minutes_only_and_only_if_it_was_lost() {
    let (mut pair, call) = lost();
    pair.pass(RESUME);
    pair.link_up();
    pair.pass_ms(100);
    assert!(pair.sides.iter().all(|side| side.resumable.is_empty()));
    resume(&mut pair, 0, call, AGAIN);
    assert_eq!(pair.sides[0].refused, [(AGAIN, Refusal::NotResumable)]);

    let (mut pair, call) = Pair::talking();
    pair.input(0, Input::HangUp(call));
    pair.pass_ms(100);
    resume(&mut pair, 1, call, AGAIN);
    assert_eq!(pair.sides[1].refused, [(AGAIN, Refusal::NotResumable)]);
    assert!(pair.sides.iter().all(|side| side.resumable.is_empty()));
}

#[test]
fn a_node_that_was_started_again_remembers_what_was_lost_by_its_history() {
    let (mut pair, call) = lost();
    pair.kill(0);
    pair.pass(Duration::from_secs(30));
    let history = pair.sides[0].history[&call].clone();
    pair.sides[0].running = true;
    pair.input(0, Input::EndedBefore(history));
    pair.link_up();
    pair.pass_ms(100);
    assert_eq!(pair.sides[0].resumable.len(), 1);
    resume(&mut pair, 0, call, AGAIN);
    pair.pass_ms(100);
    assert_eq!(pair.sides[1].seen[&AGAIN].resumes, Some(call));
}

#[test]
fn a_friend_who_names_a_call_that_was_none_just_calls() {
    let (mut pair, call) = lost();
    pair.kill(1);
    pair.sides[1].stored.clear();
    pair.start(1);
    pair.pass_ms(100);
    resume(&mut pair, 0, call, AGAIN);
    pair.pass_ms(100);
    let there = &pair.sides[1].seen[&AGAIN];
    assert_eq!((there.state, there.resumes), (State::Ringing, None));
}

#[test]
fn a_call_over_which_the_machine_slept_longer_than_it_waits_is_given_a_short_while_only() {
    let (mut pair, call) = Pair::talking();
    pair.link_down();
    pair.set_media(false);
    pair.input(0, Input::Unseen(Duration::from_secs(3600)));
    pair.pass(SETUP + Duration::from_secs(2));
    assert_eq!(state(&pair, 0, call), Some(State::Ended));
    assert_eq!(state(&pair, 1, call), Some(State::Reconnecting), "the other side did not sleep");
}

#[test]
fn a_short_sleep_costs_a_call_nothing() {
    let (mut pair, call) = Pair::talking();
    pair.input(0, Input::Unseen(Duration::from_secs(5)));
    pair.input(0, Input::AddressChanged);
    pair.pass(Duration::from_secs(60));
    assert!(pair.hears(0, [call; 2]) && pair.hears(1, [call; 2]));
    // And later troubles have the whole time of grace.
    pair.set_media(false);
    pair.pass(GRACE);
    assert_eq!(state(&pair, 0, call), Some(State::Reconnecting));
}

#[test]
fn a_call_that_ended_long_ago_without_the_node_is_over_at_its_start_and_was_talked_as_long_as_it_was_seen() {
    let (mut pair, call) = Pair::talking();
    let seen_ms = pair.clock.unix_ms + 60_000;
    pair.kill(1);
    let stored = pair.sides[1].stored.remove(&call).expect("stored");
    pair.pass(Duration::from_secs(7200));
    pair.sides[1].running = true;
    pair.input(1, Input::Restore(CallRecord { seen_ms: Some(seen_ms), ..stored.clone() }));
    assert_eq!(state(&pair, 1, call), Some(State::Ended));
    let history = &pair.sides[1].history[&call];
    assert_eq!((history.outcome, history.ended_ms), (Outcome::Failed, seen_ms));
    assert_eq!(history.talked_ms, seen_ms - stored.answered_ms);
    pair.link_up();
    pair.pass_ms(100);
    assert!(pair.sides[1].resumable.is_empty(), "too long ago");
}
