//! What a session tells of its pictures for the numbers of the call, about once a second: size and rate of what it shows
//! and of what it makes. Its owner asks for it, so that no thread wakes up for nothing.

use super::{Outgoing, Session, lock};
use crate::frame::Kind;
use crate::now_ns;
use crate::video::{ReceiverStats, SenderStats};

/// Streams that are reported: one of each kind of pictures.
const KINDS: usize = 2;

/// What was reported last.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// When, and how many pictures had been shown by then.
    shown: [Option<(u64, u64)>; KINDS],
}

impl Reported {
    /// How a stream is shown, if anything of it ever was.
    fn shown(&mut self, place: usize, now: u64, stream: u16, stats: &ReceiverStats) -> Option<Outgoing> {
        let (width, height) = (stats.width, stats.height);
        if stats.shown == 0 || width == 0 {
            return None;
        }
        let before = self.shown.get_mut(place)?.replace((now, stats.shown));
        let (then, shown) = before?;
        let seconds = now.saturating_sub(then) as f64 / 1e9;
        let frame_rate = stats.shown.saturating_sub(shown) as f64 / seconds.max(1e-3);
        let (freezes, freeze_ms, av_offset_ms) = (stats.freezes, stats.freeze_ms, stats.av_offset_ms);
        Some(Outgoing::Shown { stream, width, height, frame_rate, freezes, freeze_ms, av_offset_ms })
    }
}

fn made(kind: Kind, stats: &SenderStats) -> Option<Outgoing> {
    let (width, height, frame_rate) = (stats.width, stats.height, stats.frame_rate);
    (stats.sent > 0 && width > 0).then_some(Outgoing::Made { kind, width, height, frame_rate })
}

impl Session {
    /// What to tell the node of the pictures since the last call of this function, which belongs about a second ago.
    #[must_use]
    pub fn report(&self) -> Vec<Outgoing> {
        let stats = self.stats();
        let mut reported = lock(&self.reported);
        let camera = reported.shown(0, now_ns(), self.picture_in.stream().unwrap_or_default(), &stats.video_in);
        let stream = lock(&self.screens).stream();
        let screen = stats.screen_in.as_ref().zip(stream);
        // A screen that stands still is no frozen picture: only what could not be decoded counts.
        let screen = screen.and_then(|(stats, stream)| {
            let (freezes, freeze_ms, av_offset_ms) = (stats.broken, 0, None);
            let stats = ReceiverStats { freezes, freeze_ms, av_offset_ms, ..stats.clone() };
            reported.shown(1, now_ns(), stream, &stats)
        });
        let made_camera = stats.video_out.as_ref().and_then(|stats| made(Kind::Video, stats));
        let made_screen = stats.screen_out.as_ref().and_then(|stats| made(Kind::Screen, stats));
        [camera, screen, made_camera, made_screen].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_since_the_last_report() {
        let mut reported = Reported::default();
        let stats = |shown| ReceiverStats { shown, width: 640, height: 360, ..ReceiverStats::default() };
        let second = 1_000_000_000;
        assert_eq!(reported.shown(0, 0, 2, &stats(0)), None);
        assert_eq!(reported.shown(0, second, 2, &stats(3)), None, "there is nothing to compare with yet");
        let Some(Outgoing::Shown { stream: 2, width: 640, frame_rate, .. }) =
            reported.shown(0, 3 * second, 2, &stats(43))
        else {
            panic!("a report")
        };
        assert!((frame_rate - 20.0).abs() < 1e-9);
    }
}
