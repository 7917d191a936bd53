//! The last minute of a call as rows of small bars: round trip, loss, bitrates and score, one column a second.

use std::collections::VecDeque;

use twocan_control::Quality;

use crate::format::{self, Colour, Style};

/// Columns that are kept: a minute.
const COLUMNS: usize = 60;
/// Bars from nothing to full.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Full bars of rows whose scale is fixed: loss of 20 %, a perfect score.
const FULL_LOSS: f64 = 0.2;
const FULL_MOS: f64 = 4.5;
/// Least full bar of rows whose scale is their largest value: below it differences mean nothing.
const LEAST_RTT_MS: f64 = 50.0;
const LEAST_BITRATE: f64 = 64_000.0;

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sample {
    rtt_ms: Option<f64>,
    loss_in: f64,
    loss_out: f64,
    bitrate_in: u64,
    bitrate_out: u64,
    mos: Option<f64>,
}

/// The last minute.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    samples: VecDeque<Option<Sample>>,
}

impl Graph {
    /// A second has passed with these numbers, or without any.
    pub fn push(&mut self, quality: Option<&Quality>) {
        if self.samples.len() >= COLUMNS {
            self.samples.pop_front();
        }
        self.samples.push_back(quality.map(|quality| Sample {
            rtt_ms: quality.rtt_ms,
            loss_in: quality.loss_in,
            loss_out: quality.loss_out,
            bitrate_in: quality.bitrate_in,
            bitrate_out: quality.bitrate_out,
            mos: quality.mos,
        }));
    }

    /// The rows, each at most `width` columns.
    pub fn rows(&self, style: Style, width: usize) -> Vec<String> {
        let ms = |ms: f64| if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") };
        let rate = |bits: f64| format::bitrate(bits.max(0.0) as u64);
        let mos = |mos: f64| format!("{mos:.2}");
        [
            self.row("round trip", Scale::Largest(LEAST_RTT_MS), |s| s.rtt_ms, ms, None),
            self.row("loss ↓", Scale::Fixed(FULL_LOSS), |s| Some(s.loss_in), format::percent, Some(Colour::Red)),
            self.row("loss ↑", Scale::Fixed(FULL_LOSS), |s| Some(s.loss_out), format::percent, Some(Colour::Red)),
            self.row("bitrate ↓", Scale::Largest(LEAST_BITRATE), |s| Some(s.bitrate_in as f64), rate, None),
            self.row("bitrate ↑", Scale::Largest(LEAST_BITRATE), |s| Some(s.bitrate_out as f64), rate, None),
            self.row("score", Scale::Fixed(FULL_MOS), |s| s.mos, mos, Some(Colour::Green)),
        ]
        .map(|row| row.render(style, width))
        .to_vec()
    }

    fn row(
        &self,
        name: &'static str,
        scale: Scale,
        pick: impl Fn(&Sample) -> Option<f64>,
        words: impl Fn(f64) -> String,
        colour: Option<Colour>,
    ) -> Row {
        let values: Vec<Option<f64>> =
            self.samples.iter().map(|s| s.as_ref().and_then(&pick).filter(|value| value.is_finite())).collect();
        let full = match scale {
            Scale::Fixed(full) => full,
            Scale::Largest(least) => values.iter().flatten().copied().fold(least, f64::max),
        };
        let bars = values.iter().map(|value| value.map_or(' ', |value| bar(value / full))).collect();
        let now = values.last().copied().flatten().map_or_else(|| "-".to_owned(), &words);
        let most = values.iter().flatten().copied().reduce(f64::max).map_or_else(|| "-".to_owned(), &words);
        Row { name, bars, now, most, colour }
    }
}

/// What a full bar stands for.
#[derive(Clone, Copy)]
enum Scale {
    Fixed(f64),
    /// The largest value, but no less than this.
    Largest(f64),
}

struct Row {
    name: &'static str,
    bars: Vec<char>,
    now: String,
    most: String,
    colour: Option<Colour>,
}

impl Row {
    fn render(self, style: Style, width: usize) -> String {
        let head = format!("{:<10} ", self.name);
        let tail = format!(" {} (most {})", self.now, self.most);
        let used = head.chars().count() + tail.chars().count();
        let room = width.saturating_sub(used).min(COLUMNS);
        let skip = self.bars.len().saturating_sub(room);
        let bars: String = self.bars.iter().skip(skip).collect();
        let fill = " ".repeat(room.saturating_sub(self.bars.len() - skip));
        let bars = self.colour.map_or_else(|| bars.clone(), |colour| style.paint(colour, &bars));
        if room == 0 {
            return format!("{head}{}", self.now).chars().take(width).collect();
        }
        format!("{head}{fill}{bars}{tail}")
    }
}

/// The bar of a share of the full one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the bars before")]
fn bar(share: f64) -> char {
    BARS[(share.clamp(0.0, 1.0) * (BARS.len() - 1) as f64).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(rtt: f64, loss: f64, mos: f64) -> Quality {
        Quality {
            rtt_ms: Some(rtt),
            loss_in: loss,
            bitrate_in: 640_000,
            bitrate_out: 32_000,
            mos: Some(mos),
            ..Quality::default()
        }
    }

    #[test]
    fn a_minute_is_drawn_with_the_newest_on_the_right() {
        let mut graph = Graph::default();
        graph.push(None);
        graph.push(Some(&quality(20.0, 0.0, 4.5)));
        graph.push(Some(&quality(100.0, 0.2, 1.0)));
        let rows = graph.rows(Style::default(), 40);
        assert_eq!(rows.len(), 6);
        assert!(rows[0].ends_with(" ▂█ 100 ms (most 100 ms)"), "{}", rows[0]);
        assert!(rows[1].ends_with(" ▁█ 20 % (most 20 %)"), "{}", rows[1]);
        assert!(rows[5].ends_with(" █▃ 1.00 (most 4.50)"), "{}", rows[5]);
    }

    #[test]
    fn nothing_grows_beyond_a_minute_or_the_terminal() {
        let mut graph = Graph::default();
        for n in 0..1000 {
            graph.push(Some(&quality(f64::from(n), f64::NAN, f64::INFINITY)));
        }
        assert_eq!(graph.samples.len(), COLUMNS);
        for width in 0..120 {
            let rows = graph.rows(Style::default(), width);
            assert!(rows.iter().all(|row| row.chars().count() <= width), "{width}: {rows:?}");
        }
    }
}
