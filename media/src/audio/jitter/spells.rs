//! Bad spells that come again and again, with good times between them: a stall of the radio every few seconds, say.

/// A packet that is later than this belongs to a bad spell ...
const BAD_MS: f64 = 40.0;
/// ... and when none was for so long, the spell was over.
const GOOD_FOR_MS: f64 = 1_000.0;
/// Spells that are farther apart are not waited for: a delay all the time would be worse than a gap now and then.
const LONGEST_GAP_MS: f64 = 6_000.0;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Spells {
    /// When the last bad packet came, and when the last spell began.
    last_bad: Option<f64>,
    began: f64,
    /// From the beginning of one spell to that of the next; None while there was only one.
    gap: Option<f64>,
    /// The delay that this spell, and the one before, asked for.
    height: f64,
    before: f64,
}

impl Spells {
    /// Takes a packet's lateness and the delay that is asked for now. Some: as much delay will be needed again soon.
    pub(super) fn learn(&mut self, now: f64, late: f64, wanted: f64) -> Option<f64> {
        if late > BAD_MS {
            match self.last_bad {
                Some(last) if now - last < GOOD_FOR_MS => {}
                Some(last) => {
                    let gap = now - self.began;
                    self.gap = (now - last < LONGEST_GAP_MS).then_some(gap);
                    (self.began, self.before, self.height) = (now, self.height, 0.0);
                }
                None => self.began = now,
            }
            self.last_bad = Some(now);
        }
        let last = self.last_bad?;
        if now - last < GOOD_FOR_MS {
            self.height = self.height.max(wanted);
        }
        let gap = self.gap?;
        if now - self.began > 2.0 * gap {
            self.gap = None;
            return None;
        }
        Some(self.height.max(self.before))
    }
}
