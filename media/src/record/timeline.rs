//! Puts the frames of one stream on the time line of the recording.
//!
//! The sender's timestamps say how far apart frames are; when they arrived says where the stream lies among the others.
//! The quickest frame of the first two seconds decides that, so that the jitter of the network is not recorded. A stream
//! whose timestamps jump is placed anew.

/// So long the place of a stream is still looked for.
const SEARCH_NS: i128 = 2_000_000_000;
/// A frame that lies further than this from where its arrival says, begins the stream anew.
const JUMP_NS: i128 = 1_500_000_000;

/// One stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    clock_rate: u32,
    last: Option<(u32, i128)>,
    /// From the stream's time to ours, and until when a smaller one is taken.
    offset: Option<(i128, i128)>,
}

impl Timeline {
    pub(super) fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.max(1), last: None, offset: None }
    }

    /// When the frame with this timestamp, which came at `now_ns`, is to be heard or seen: nanoseconds of our clock.
    pub(super) fn place(&mut self, timestamp: u32, now_ns: u64, restart: bool) -> i128 {
        let now = i128::from(now_ns);
        if restart {
            (self.last, self.offset) = (None, None);
        }
        let ticks = match self.last {
            Some((last, ticks)) => ticks + i128::from(timestamp.wrapping_sub(last).cast_signed()),
            None => 0,
        };
        let media = ticks * 1_000_000_000 / i128::from(self.clock_rate);
        let offset = now - media;
        let (mut base, mut until) = self.offset.unwrap_or((offset, now + SEARCH_NS));
        if now < until {
            base = base.min(offset);
        }
        if (offset - base).abs() > JUMP_NS {
            (base, until) = (offset, now + SEARCH_NS);
        }
        self.last = Some((timestamp, ticks));
        self.offset = Some((base, until));
        media + base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn jitter_is_not_recorded_and_the_quickest_frame_places_the_stream() {
        let mut line = Timeline::new(48_000);
        let start = u32::MAX - 9_600;
        let jitter = [30, 12, 0, 25, 40, 7];
        let mut at = |n: u32| {
            let came = 1_000 + u64::from(n) * 20 + jitter[n as usize % 6];
            line.place(start.wrapping_add(n * 960), came * MS, false) / i128::from(MS)
        };
        assert_eq!(at(0), 1_030);
        let later: Vec<i128> = (1..100).map(&mut at).collect();
        // After the quickest one each lies where it was said, also past the wrap of the timestamp.
        assert!(later.iter().enumerate().skip(1).all(|(n, ms)| *ms == 1_020 + n as i128 * 20), "{later:?}");
    }

    #[test]
    fn a_stream_that_jumps_or_begins_anew_is_placed_anew() {
        let mut line = Timeline::new(90_000);
        line.place(0, 1_000 * MS, false);
        assert_eq!(line.place(90_000, 2_000 * MS, false), 2_000_000_000);
        assert_eq!(line.place(u32::MAX / 2, 2_033 * MS, false), 2_033_000_000);
        assert_eq!(line.place(5, 9_000 * MS, true), 9_000_000_000);
    }
}
