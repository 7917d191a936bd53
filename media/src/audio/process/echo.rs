//! The echo canceller: alignment, linear filter and suppressor as one, 10 ms at a time.

use super::adaptive::{Adaptive, BLOCK, PARTITIONS, Room};
use super::align::{Aligner, MAX_DELAY};
use super::rival::{Rival, energy};
use super::suppress::{HOP, Knows, Sounds, Suppressor};

/// Samples by which the echo comes out later than it went in.
pub(super) const LATENCY: usize = HOP;
/// The direct sound is kept so far from the filter's beginning: 20 ms ...
const HEADROOM: usize = 2 * BLOCK;
/// ... and is brought back there when it is farther away than so many blocks.
const MOST_HEADROOM: usize = 5;
/// A partition with so much less energy than the strongest is before the echo's beginning.
const BEFORE: f32 = 0.05;
/// Power of what is played below which nothing can be learnt (-60 dBFS).
const AUDIBLE: f32 = 1e-6;
/// After so many blocks with played sound in which no echo was found there is taken to be none, as with headphones: 2 s.
/// From then on only a filter that shows that it cancels one is believed.
const NONE_AFTER: u32 = 200;
/// An echo that was found shortly before that gets so many blocks with sound to show it.
const CHANCE_AFTER: u32 = 100;
/// It is shown when the filter has fitted for so many blocks, and what it leaves is less than so much of what is heard.
const FITS_AFTER: u32 = 20;
const CANCELS: f32 = 0.7;
/// Memory of how much the filter leaves, per block: half a second.
const LEFT_KEEPS: f32 = 0.98;
/// A filter that leaves less than this knows the room, which is worth being remembered for the time after a jump.
const KNOWS_ROOM: f32 = 0.1;
/// Blocks from one look at a filter that does well to the next.
const LOOK_EVERY: u32 = 50;
/// A predicted echo that fits at least so well may be the echo.
const FIT: f32 = 0.6;
/// Blocks in which the filter fitted no more, counted up and down, after which it is taken to be another room: one with
/// nothing learnt is tried beside it.
const OTHER_ROOM_AFTER: u32 = 12;
/// Blocks with sound for which such a trial goes on, and one with a jumped delay.
const TRY_ROOM: u32 = 200;
const TRY_JUMP: u32 = 40;

/// See the module.
#[derive(Debug)]
pub(super) struct EchoCanceller {
    aligner: Aligner,
    filter: Box<Adaptive>,
    suppressor: Suppressor,
    delay: usize,
    locked: bool,
    /// What `played` was then.
    locked_at: u32,
    /// Blocks in which the filter was right since it last knew nothing.
    known: u32,
    /// Blocks in which it fitted no more, less those in which it did.
    broken: u32,
    /// Blocks in which something was played.
    played: u32,
    loud: f32,
    /// Blocks of silence that were played, in a row.
    silent: usize,
    /// Energies of what was heard lately, and of what the filter left of it.
    heard: f32,
    left: f32,
    /// What the filter knew when it last knew the room well.
    room: Option<Room>,
    /// The supposition that the delay has jumped, and that everything is new.
    jumped: Option<Rival>,
    fresh: Option<Rival>,
}

impl EchoCanceller {
    pub(super) fn new() -> Self {
        let mut filter = Box::new(Adaptive::new());
        filter.doubt_place();
        Self {
            aligner: Aligner::new(),
            filter,
            suppressor: Suppressor::new(),
            delay: 0,
            locked: false,
            locked_at: 0,
            known: 0,
            broken: 0,
            played: 0,
            loud: 0.0,
            silent: 0,
            heard: 0.0,
            left: 0.0,
            room: None,
            jumped: None,
            fresh: None,
        }
    }

    /// How much later the echo comes than its sound was handed over, samples; none before it was found.
    pub(super) fn delay(&self) -> Option<usize> {
        self.locked.then_some(self.delay + HEADROOM)
    }

    /// Takes 10 ms of what was handed to the speaker and of what the microphone heard; gives what is no echo.
    pub(super) fn process(&mut self, played: &[f32; BLOCK], heard: &[f32; BLOCK], out: &mut [f32; BLOCK]) {
        self.aligner.push(played, heard);
        let block = self.aligner.block(self.delay);
        let (mut error, mut echo) = ([0.0; BLOCK], [0.0; BLOCK]);
        self.silent = if block.iter().all(|x| x.abs() < 1e-7) { self.silent + 1 } else { 0 };
        if self.silent > PARTITIONS + 1 {
            // Nothing was played that could come back now: no work.
            error = *heard;
            self.filter.rest();
        } else {
            self.filter.play(&block);
            self.filter.cancel(heard, &mut error, &mut echo);
        }
        let left = error;
        let knows = match self.locked {
            _ if self.silent > PARTITIONS + 1 || self.none() => Knows::NoEcho,
            true => Knows::Echo,
            false => Knows::Nothing,
        };
        if knows == Knows::NoEcho {
            // What the filter then predicts is chance, and would be taken out of a voice.
            error = *heard;
        }
        self.suppressor.set_knows(knows);
        for half in [0..HOP, HOP..BLOCK] {
            let sounds = Sounds {
                error: &error[half.clone()],
                echo: &echo[half.clone()],
                heard: &heard[half.clone()],
                played: &block[half.clone()],
            };
            self.suppressor.process(sounds, self.filter.doubtful(), &mut out[half]);
        }
        let power = block.iter().map(|x| x * x).sum::<f32>() / BLOCK as f32;
        self.loud = (0.9 * self.loud).max(power);
        if self.loud > AUDIBLE {
            self.played = self.played.saturating_add(1);
            self.heard = LEFT_KEEPS * self.heard + energy(heard);
            self.left = LEFT_KEEPS * self.left + energy(&left);
            self.follow();
        }
        self.compare(heard, &left);
    }

    /// Whether there is taken to be no echo.
    fn none(&self) -> bool {
        let until = if self.locked { NONE_AFTER.max(self.locked_at + CHANCE_AFTER) } else { NONE_AFTER };
        self.known <= FITS_AFTER && self.played >= until
    }

    /// Looks whether the delay is still the right one.
    fn follow(&mut self) {
        if self.locked && self.suppressor.validity() > 0.8 && self.left < CANCELS * self.heard {
            self.known = self.known.saturating_add(1);
        }
        let broken = self.locked && self.suppressor.broken();
        self.broken = if broken { self.broken + 1 } else { self.broken.saturating_sub(1) };
        if broken && self.broken % 3 == 2 {
            self.look_for_jump();
        }
        if self.broken >= OTHER_ROOM_AFTER && self.fresh.is_none() {
            self.fresh = Some(Rival::new(&self.aligner, self.delay, None));
        }
        if self.played.is_multiple_of(LOOK_EVERY) && self.broken == 0 && self.left < KNOWS_ROOM * self.heard {
            self.look_at_filter();
        }
        let every = if self.known <= FITS_AFTER || self.broken > 10 { 10 } else { LOOK_EVERY };
        if self.played.is_multiple_of(every)
            && let Some(found) = self.aligner.search(self.played)
        {
            let wanted = found.saturating_sub(HEADROOM).min(MAX_DELAY);
            if self.known <= FITS_AFTER && self.played < NONE_AFTER {
                if !self.locked || wanted.abs_diff(self.delay) > HEADROOM {
                    self.begin(wanted);
                }
            } else if self.none() || (self.broken > 0 && wanted.abs_diff(self.delay) > HEADROOM) {
                let elsewhere = |fresh: &Rival| fresh.loses() && fresh.delay().abs_diff(wanted) > HEADROOM;
                if self.fresh.as_ref().is_none_or(elsewhere) {
                    self.fresh = Some(Rival::new(&self.aligner, wanted, None));
                }
            }
        }
    }

    /// Looks for the known room's echo at another time.
    fn look_for_jump(&mut self) {
        let Some(room) = &self.room else { return };
        if self.jumped.as_ref().is_some_and(|jumped| !jumped.loses()) {
            return;
        }
        if let Some((fit, delay)) = self.aligner.search_known(&room.answer)
            && fit > FIT
            && delay.min(MAX_DELAY).abs_diff(self.delay) > 2
        {
            self.jumped = Some(Rival::new(&self.aligner, delay.min(MAX_DELAY), Some(room)));
        }
    }

    /// Remembers what the filter knows, and keeps the echo's beginning in its beginning: clocks may drift apart.
    fn look_at_filter(&mut self) {
        let energies = self.filter.energies();
        let most = energies.iter().copied().fold(0.0, f32::max);
        let begins = energies.iter().position(|energy| *energy > BEFORE * most).unwrap_or_default();
        let blocks = begins as isize - (HEADROOM / BLOCK) as isize;
        if begins > MOST_HEADROOM || (begins == 0 && self.delay >= HEADROOM) {
            self.filter.shift(blocks);
            self.delay = self.delay.saturating_add_signed(blocks * BLOCK as isize).min(MAX_DELAY);
            self.filter.replay(&self.aligner.recent(self.delay));
        }
        self.room = Some(self.filter.room());
    }

    /// Lets suppositions work on the same sounds, and takes one over that shows to be right.
    fn compare(&mut self, heard: &[f32; BLOCK], left: &[f32; BLOCK]) {
        for (jump, most) in [(true, TRY_JUMP), (false, TRY_ROOM)] {
            let taken = if jump { self.jumped.take() } else { self.fresh.take() };
            let Some(mut rival) = taken else { continue };
            rival.process(&self.aligner, heard, left);
            if rival.wins() {
                if self.none() {
                    self.known = FITS_AFTER + 1;
                    self.suppressor.begin();
                }
                self.locked = true;
                self.delay = rival.delay();
                self.filter = rival.into_filter();
                self.broken = 0;
                self.suppressor.mended();
                self.aligner.forget();
                (self.jumped, self.fresh) = (None, None);
                return;
            }
            let kept = (rival.age() < most).then_some(rival);
            if jump {
                self.jumped = kept;
            } else {
                self.fresh = kept;
            }
        }
    }

    /// The echo was found for the first time.
    fn begin(&mut self, delay: usize) {
        self.locked = true;
        self.locked_at = self.played;
        let blocks = (delay / BLOCK) as isize - (self.delay / BLOCK) as isize;
        self.filter.shift(blocks);
        self.filter.doubt();
        self.delay = delay / BLOCK * BLOCK;
        self.filter.replay(&self.aligner.recent(self.delay));
        self.suppressor.begin();
    }
}
