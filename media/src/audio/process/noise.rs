//! The noise of the room per bin: the least that was there in the last second or two (Martin 2001, much simplified).

/// Hops after which the older half of the search is forgotten: 1 s.
const HALF: u32 = 200;
/// The least of a smoothed noise is below its mean by so much.
const BIAS: f32 = 1.7;

/// See the module.
#[derive(Debug)]
pub(super) struct Noise {
    floor: Vec<f32>,
    smooth: Vec<f32>,
    least: Vec<f32>,
    next: Vec<f32>,
    hops: u32,
}

impl Noise {
    pub(super) fn new(bins: usize) -> Self {
        Self {
            floor: vec![1e-9; bins],
            smooth: vec![0.0; bins],
            least: vec![1e-3; bins],
            next: vec![1e-3; bins],
            hops: 0,
        }
    }

    /// Takes the powers of one hop.
    pub(super) fn learn(&mut self, power: &[f32]) {
        for (b, power) in power.iter().enumerate() {
            self.smooth[b] = 0.85 * self.smooth[b] + 0.15 * power;
            self.next[b] = self.next[b].min(self.smooth[b]);
            self.least[b] = self.least[b].min(self.smooth[b]);
            self.floor[b] = 0.95 * self.floor[b] + 0.05 * BIAS * self.least[b];
        }
        self.hops += 1;
        if self.hops == HALF {
            self.hops = 0;
            self.least.copy_from_slice(&self.next);
            self.next.copy_from_slice(&self.smooth);
        }
    }

    /// Power per bin.
    pub(super) fn floor(&self) -> &[f32] {
        &self.floor
    }
}
