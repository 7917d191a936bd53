//! The linear echo canceller: a Kalman filter per frequency bin, in blocks of 10 ms (after Enzner and Vary 2006, and
//! Kuech, Mabande and Enzner 2014: "State-space architecture of the partitioned-block-based acoustic echo controller").
//!
//! The room's answer is cut into partitions of one block. For each partition and bin the filter keeps a weight and how
//! uncertain that weight is; a step is as large as the uncertainty says, against how much else than echo is heard.
//! So it learns fast at first, hardly moves while somebody speaks on this side, and needs no detector for that.

use super::spectrum::{Fft, Spectrum};

/// Samples of one block: 10 ms.
pub(super) const BLOCK: usize = 480;
/// Length of the transforms.
const SIZE: usize = 2 * BLOCK;
/// Bins of the transforms.
pub(super) const BINS: usize = BLOCK + 1;
/// Blocks of the room's answer that the filter holds: 320 ms, for a room of 250 ms and what the delay may be off.
pub(super) const PARTITIONS: usize = 32;
/// Samples of the room's answer.
pub(super) const TAPS: usize = PARTITIONS * BLOCK;
/// So many partitions are brought back to the form of a causal answer after each block, one after the other.
const CONSTRAIN: usize = 3;
/// How much of its square a weight keeps being valid from block to block: the room changes.
const KEEPS: f32 = 0.985;
/// Power of a weight of the first partition that is always taken to change, so that nothing is ever learnt for good.
const LEAST_CHANGE: f32 = 0.001;
/// How uncertain weights are at the beginning: power of the direct sound's partition ...
const UNSURE: f32 = 1.0;
/// ... and how it falls from partition to partition (60 dB in 250 ms).
const FALLS: f32 = 0.76;
/// How uncertain all weights are while it is not known where the echo begins.
const UNSURE_WHERE: f32 = 0.1;
/// How slowly the estimate of what is no echo follows, per block.
const NEAR_KEEPS: f32 = 0.7;
/// Bins of a voice: 300 Hz to 4 kHz.
const VOICE: std::ops::Range<usize> = 6..80;
/// Power of the quietest noise per bin (-96 dBFS), so that nothing is divided by zero.
const QUIET: f32 = 1e-8;

/// What a filter knows of a room.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// Its answer: [`TAPS`] samples.
    pub(super) answer: Vec<f32>,
    /// How uncertain each weight is.
    unsure: Vec<Vec<f32>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Adaptive {
    fft: Fft,
    /// Spectra of the played sound, newest at `newest`, then backwards in time with rising index (a ring).
    played: Vec<Spectrum>,
    played_power: Vec<Vec<f32>>,
    newest: usize,
    weights: Vec<Spectrum>,
    unsure: Vec<Vec<f32>>,
    near: Vec<f32>,
    constrain_next: usize,
    last: [f32; BLOCK],
    estimate: Spectrum,
    error: Spectrum,
    denominator: Vec<f32>,
    doubtful: Vec<f32>,
    gain: Vec<f32>,
}

impl Adaptive {
    pub(super) fn new() -> Self {
        let mut new = Self {
            fft: Fft::new(SIZE),
            played: vec![Spectrum::new(BINS); PARTITIONS],
            played_power: vec![vec![0.0; BINS]; PARTITIONS],
            newest: 0,
            weights: vec![Spectrum::new(BINS); PARTITIONS],
            unsure: vec![vec![0.0; BINS]; PARTITIONS],
            near: vec![0.0; BINS],
            constrain_next: 0,
            last: [0.0; BLOCK],
            estimate: Spectrum::new(BINS),
            error: Spectrum::new(BINS),
            denominator: vec![0.0; BINS],
            doubtful: vec![0.0; BINS],
            gain: vec![0.0; BINS],
        };
        new.doubt();
        new
    }

    /// Keeps what it knows, but is as uncertain about it as at the beginning.
    pub(super) fn doubt(&mut self) {
        let mut unsure = UNSURE;
        for partition in &mut self.unsure {
            partition.fill(unsure);
            unsure *= FALLS;
        }
    }

    /// Does not even know where in its length the echo begins.
    pub(super) fn doubt_place(&mut self) {
        for partition in &mut self.unsure {
            partition.fill(UNSURE_WHERE);
        }
    }

    /// The same echo in other partitions: those of `blocks` are cut off at the beginning, or new ones are put there if
    /// that is negative. What was played has to be told anew ([`Self::replay`]).
    pub(super) fn shift(&mut self, blocks: isize) {
        let by = blocks.unsigned_abs().min(PARTITIONS);
        let new = if blocks < 0 {
            self.weights.rotate_right(by);
            self.unsure.rotate_right(by);
            0..by
        } else {
            self.weights.rotate_left(by);
            self.unsure.rotate_left(by);
            PARTITIONS - by..PARTITIONS
        };
        for p in new {
            self.weights[p].clear();
            self.unsure[p].fill(UNSURE * FALLS.powf(p as f32));
        }
    }

    /// The energy of the room's answer in each partition, in the bins of a voice.
    pub(super) fn energies(&self) -> [f32; PARTITIONS] {
        std::array::from_fn(|p| {
            let weight = &self.weights[p];
            VOICE.map(|k| weight.re[k] * weight.re[k] + weight.im[k] * weight.im[k]).sum()
        })
    }

    /// Takes the next played block.
    pub(super) fn play(&mut self, block: &[f32; BLOCK]) {
        self.newest = (self.newest + PARTITIONS - 1) % PARTITIONS;
        let input = self.fft.input();
        input[..BLOCK].copy_from_slice(&self.last);
        input[BLOCK..].copy_from_slice(block);
        self.last = *block;
        self.fft.forward(&mut self.played[self.newest]);
        self.played[self.newest].power(&mut self.played_power[self.newest]);
    }

    /// Nothing was played for longer than the filter is.
    pub(super) fn rest(&mut self) {
        self.doubtful.fill(0.0);
    }

    /// Replaces everything that was played: `recent` are the last [`TAPS`] + [`BLOCK`] samples, oldest first.
    pub(super) fn replay(&mut self, recent: &[f32]) {
        let mut blocks = recent.as_chunks::<BLOCK>().0.iter();
        if let Some(first) = blocks.next() {
            self.last = *first;
        }
        for block in blocks {
            self.play(block);
        }
    }

    /// Takes what the microphone heard while the last block was played; gives the error (what remains) and the echo
    /// that was taken out.
    pub(super) fn cancel(&mut self, heard: &[f32; BLOCK], error: &mut [f32; BLOCK], echo: &mut [f32; BLOCK]) {
        self.estimate.clear();
        for p in 0..PARTITIONS {
            self.estimate.add_product(&self.played[(self.newest + p) % PARTITIONS], &self.weights[p]);
        }
        echo.copy_from_slice(&self.fft.backward(&self.estimate)[BLOCK..]);
        for ((error, heard), echo) in error.iter_mut().zip(heard).zip(echo.iter()) {
            *error = heard - echo;
        }
        let input = self.fft.input();
        input[..BLOCK].fill(0.0);
        input[BLOCK..].copy_from_slice(error);
        self.fft.forward(&mut self.error);
        self.adapt();
        self.constrain();
    }

    fn adapt(&mut self) {
        self.error.power(&mut self.gain);
        for (near, power) in self.near.iter_mut().zip(&self.gain) {
            *near = NEAR_KEEPS * *near + (1.0 - NEAR_KEEPS) * power;
        }
        self.denominator.fill(QUIET);
        for p in 0..PARTITIONS {
            let power = &self.played_power[(self.newest + p) % PARTITIONS];
            for ((sum, power), unsure) in self.denominator.iter_mut().zip(power).zip(&self.unsure[p]) {
                *sum += 0.5 * power * unsure;
            }
        }
        for (out, sum) in self.doubtful.iter_mut().zip(&self.denominator) {
            *out = 0.25 * sum;
        }
        for ((denominator, near), power) in self.denominator.iter_mut().zip(&self.near).zip(&self.gain) {
            *denominator = 1.0 / (*denominator + 2.0 * near.max(*power));
        }
        let mut least = LEAST_CHANGE;
        for p in 0..PARTITIONS {
            least *= FALLS;
            let ring = (self.newest + p) % PARTITIONS;
            let (played, power) = (&self.played[ring], &self.played_power[ring]);
            let (weight, unsure) = (&mut self.weights[p], &mut self.unsure[p]);
            for k in 0..BINS {
                let gain = unsure[k] * self.denominator[k];
                let (xr, xi, er, ei) = (played.re[k], played.im[k], self.error.re[k], self.error.im[k]);
                let re = weight.re[k] + gain * (xr * er + xi * ei);
                let im = weight.im[k] + gain * (xr * ei - xi * er);
                weight.re[k] = re;
                weight.im[k] = im;
                let left = unsure[k] * (1.0 - 0.5 * gain * power[k]);
                unsure[k] = KEEPS * left + (1.0 - KEEPS) * (re * re + im * im).max(least);
            }
        }
    }

    /// Some partitions, in turn: their answers must be one block long.
    fn constrain(&mut self) {
        for _ in 0..CONSTRAIN {
            let weight = &mut self.weights[self.constrain_next];
            let answer = self.fft.backward(weight);
            answer[BLOCK..].fill(0.0);
            self.fft.forward(weight);
            self.constrain_next = (self.constrain_next + 1) % PARTITIONS;
        }
    }

    /// Power of the echo that the filter expects to be left in the last block, per bin of a transform of [`BLOCK`]
    /// samples behind as many zeros, halved.
    pub(super) fn doubtful(&self) -> &[f32] {
        &self.doubtful
    }

    /// What the filter knows of the room.
    pub(super) fn room(&mut self) -> Room {
        let mut answer = Vec::with_capacity(TAPS);
        for weight in &self.weights {
            answer.extend_from_slice(&self.fft.backward(weight)[..BLOCK]);
        }
        Room { answer, unsure: self.unsure.clone() }
    }

    /// Takes over what another filter knew.
    pub(super) fn set_room(&mut self, room: &Room) {
        for (weight, part) in self.weights.iter_mut().zip(room.answer.chunks_exact(BLOCK)) {
            let input = self.fft.input();
            input[..BLOCK].copy_from_slice(part);
            input[BLOCK..].fill(0.0);
            self.fft.forward(weight);
        }
        self.unsure.clone_from(&room.unsure);
    }
}
