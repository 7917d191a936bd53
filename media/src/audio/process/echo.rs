//! The echo canceller: alignment, linear filter and suppressor as one, 10 ms at a time.

use super::adaptive::{Adaptive, BLOCK, PARTITIONS, TAPS};
use super::align::{Aligner, MAX_DELAY};
use super::suppress::{HOP, Knows, Sounds, Suppressor};

/// Samples by which the echo comes out later than it went in.
pub(super) const LATENCY: usize = HOP;
/// The direct sound is kept so far from the filter's beginning: 20 ms.
const HEADROOM: usize = 960;
/// Power of what is played below which nothing can be learnt (-60 dBFS).
const AUDIBLE: f32 = 1e-6;
/// Blocks in which the filter must have been right before its knowledge is used to find a jump.
const KNOWN_AFTER: u32 = 50;
/// A predicted echo that fits at least so well is the echo.
const FIT: f32 = 0.7;
/// Blocks without a fit after which the played sound itself is looked for again.
const LOST_AFTER: u32 = 30;
/// After so many blocks with played sound in which no echo was found there is taken to be none: 4 s, as with headphones.
const NONE_AFTER: u32 = 400;
/// Blocks of sound after which a found delay whose filter has not fitted for [`FITS_AFTER`] blocks was chance.
const CHANCE_AFTER: u32 = 200;
const FITS_AFTER: u32 = 20;
/// Blocks without a fit after which the filter learns like at the beginning.
const DOUBT_AFTER: u32 = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct EchoCanceller {
    aligner: Aligner,
    filter: Adaptive,
    suppressor: Suppressor,
    delay: usize,
    locked: bool,
    /// What `played` was then.
    locked_at: u32,
    /// Blocks in which the filter was right since it last knew nothing.
    known: u32,
    /// Blocks in which it fitted no more, in a row.
    broken: u32,
    /// Blocks in which something was played.
    played: u32,
    loud: f32,
    /// Blocks of silence that were played, in a row.
    silent: usize,
}

impl EchoCanceller {
    pub(super) fn new() -> Self {
        Self {
            aligner: Aligner::new(),
            filter: Adaptive::new(),
            suppressor: Suppressor::new(),
            delay: 0,
            locked: false,
            locked_at: 0,
            known: 0,
            broken: 0,
            played: 0,
            loud: 0.0,
            silent: 0,
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
        // A delay that was found by chance never lets the filter fit.
        let fits = self.locked && (self.known > FITS_AFTER || self.played - self.locked_at < CHANCE_AFTER);
        let knows = match (fits, self.played < NONE_AFTER) {
            _ if self.silent > PARTITIONS + 1 => Knows::NoEcho,
            (true, _) => Knows::Echo,
            (false, true) if !self.locked => Knows::Nothing,
            (false, _) => Knows::NoEcho,
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
            self.follow();
        }
    }

    /// Looks whether the delay is still the right one.
    fn follow(&mut self) {
        if self.locked && self.suppressor.validity() > 0.8 {
            self.known += 1;
        }
        self.broken = if self.locked && self.suppressor.broken() { self.broken + 1 } else { 0 };
        if self.broken % 3 == 2 && self.known > KNOWN_AFTER {
            let answer = self.filter.answer();
            if let Some((fit, delay)) = self.aligner.search_known(&answer)
                && fit > FIT
                && delay.abs_diff(self.delay) > 2
            {
                self.jump(delay);
                return;
            }
        }
        let every = if !self.locked || self.broken > 10 { 10 } else { 50 };
        if self.played.is_multiple_of(every)
            && let Some(found) = self.aligner.search()
        {
            let wanted = found.saturating_sub(HEADROOM).min(MAX_DELAY);
            if !self.locked {
                self.locked = true;
                self.locked_at = self.played;
                self.cut_anew(wanted);
            } else if self.broken > LOST_AFTER && wanted.abs_diff(self.delay) > BLOCK {
                self.filter.forget();
                self.known = 0;
                self.jump(wanted);
            }
        }
        if self.broken == DOUBT_AFTER {
            self.filter.doubt();
        }
    }

    /// The echo comes at another time; the room is the same.
    fn jump(&mut self, delay: usize) {
        self.delay = delay.min(MAX_DELAY);
        self.broken = 0;
        self.filter.replay(&self.aligner.recent(self.delay));
        self.suppressor.mended();
        self.aligner.forget();
    }

    /// The echo comes when it came; the filter shall hold another part of it.
    fn cut_anew(&mut self, delay: usize) {
        let old = self.filter.answer();
        let mut new = vec![0.0; TAPS];
        for (i, slot) in new.iter_mut().enumerate() {
            *slot = (i + delay).checked_sub(self.delay).and_then(|i| old.get(i)).copied().unwrap_or(0.0);
        }
        self.filter.set_answer(&new);
        self.filter.doubt();
        self.delay = delay;
        self.filter.replay(&self.aligner.recent(delay));
        self.suppressor.begin();
    }
}
