//! A second filter beside the first, for the time of a doubt: has the delay jumped, or is it another room?
//!
//! What was measured in 100 ms of a vowel is often chance. So a supposition does not replace the filter, but has to show
//! with the next sounds that it cancels more.

use super::adaptive::{Adaptive, BLOCK, Room};
use super::align::Aligner;

/// Memory of the energies that are compared, per block: 200 ms.
const KEEPS: f32 = 0.95;
/// A rival that leaves so much less than the filter has won after so many blocks with sound ...
const CLEAR: f32 = 0.35;
const CLEAR_AFTER: u32 = 6;
/// ... and one that leaves so much less after so many.
const BETTER: f32 = 0.7;
const BETTER_AFTER: u32 = 25;
/// And what wins leaves at most this of what is heard.
const CANCELS: f32 = 0.6;

/// See the module.
#[derive(Debug)]
pub(super) struct Rival {
    filter: Box<Adaptive>,
    delay: usize,
    /// Blocks with sound since it began.
    age: u32,
    left: f32,
    /// What the filter left, and what was heard in the same time.
    other: f32,
    heard: f32,
}

impl Rival {
    /// A filter for an echo that comes `delay` samples after its sound. `room` is what is known of the room.
    pub(super) fn new(aligner: &Aligner, delay: usize, room: Option<&Room>) -> Self {
        let mut filter = Box::new(Adaptive::new());
        if let Some(room) = room {
            filter.set_room(room);
        }
        // The newest block comes with the next call.
        filter.replay(&aligner.recent(delay));
        Self { filter, delay, age: 0, left: 0.0, other: 0.0, heard: 0.0 }
    }

    pub(super) fn delay(&self) -> usize {
        self.delay
    }

    pub(super) fn age(&self) -> u32 {
        self.age
    }

    /// Takes what was heard, and what the filter left of it.
    pub(super) fn process(&mut self, aligner: &Aligner, heard: &[f32; BLOCK], other: &[f32; BLOCK]) {
        let (mut error, mut echo) = ([0.0; BLOCK], [0.0; BLOCK]);
        self.filter.play(&aligner.block(self.delay));
        self.filter.cancel(heard, &mut error, &mut echo);
        self.left = KEEPS * self.left + energy(&error);
        self.other = KEEPS * self.other + energy(other);
        self.heard = KEEPS * self.heard + energy(heard);
        self.age += 1;
    }

    /// Whether it is right, and the filter is not.
    pub(super) fn wins(&self) -> bool {
        let clear = self.age >= CLEAR_AFTER && self.left < CLEAR * self.other;
        let better = self.age >= BETTER_AFTER && self.left < BETTER * self.other;
        (clear || better) && self.left < CANCELS * self.heard
    }

    /// Whether it is not better so far.
    pub(super) fn loses(&self) -> bool {
        self.age >= CLEAR_AFTER && self.left > BETTER * self.other
    }

    pub(super) fn into_filter(self) -> Box<Adaptive> {
        self.filter
    }
}

/// Of the differences from sample to sample, so that rumble does not decide.
pub(super) fn energy(block: &[f32]) -> f32 {
    block.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum()
}
