//! Stories of calls between two people, in virtual time.

mod model;
mod recording;
mod stories;
mod survive;
mod trouble;

use crate::call::{Outcome, State};
use crate::testing::calls::Pair;
use crate::wire::CallId;

fn state(pair: &Pair, side: usize, call: CallId) -> Option<State> {
    pair.sides[side].seen.get(&call).map(|snapshot| snapshot.state)
}

fn both(pair: &Pair, call: CallId, expected: State) -> bool {
    [0, 1].into_iter().all(|side| state(pair, side, call) == Some(expected))
}

fn outcomes(pair: &Pair, call: CallId) -> [Option<Outcome>; 2] {
    [0, 1].map(|side| pair.sides[side].history.get(&call).map(|record| record.outcome))
}

fn ended(pair: &Pair, call: CallId, expected: [Outcome; 2]) {
    assert_eq!(outcomes(pair, call), expected.map(Some));
    for side in &pair.sides {
        assert_eq!(side.calls.iter().count(), 0, "nothing runs");
        assert!(side.stored.is_empty(), "nothing is stored");
        assert_eq!(side.calls.poll_timeout(), None, "no timer is left");
    }
}
