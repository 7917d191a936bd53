//! Who gets what of the rate: the voice first, then camera and screen; who gets too little is stopped.
//!
//! The rate counts bytes on the wire; what the encoders are told is without headers. A picture that would get less than
//! [`OFF`] is stopped, because it would be a smear that takes the voice's room; it comes back when there was enough for
//! it for a while, and the more patiently the sooner it had to be stopped again.
//!
//! Pure: time comes as an argument.

use std::time::{Duration, Instant};

/// Room that the voice has for itself in any case, headers included: Opus at 24 kbit/s in packets of 20 ms, and more
/// while it uses more.
const VOICE: f64 = 52_000.0;
/// Most that the voice is given without headers: Opus in full quality with as many copies as a very bad path asks for.
const VOICE_MAX: f64 = 200_000.0;
/// Least that Opus can do anything with.
const VOICE_MIN: f64 = 6_000.0;
/// A picture with less than this is stopped.
const OFF: f64 = 40_000.0;
/// And starts again with this.
const ON: f64 = 75_000.0;
/// If there was so much for this time; doubled when it had to be stopped again within [`SOON`].
const ON_AFTER: Duration = Duration::from_millis(700);
const ON_AFTER_MAX: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(20);
/// A shortage must last this long.
const OFF_AFTER: Duration = Duration::from_millis(400);
/// Share of the screen where both pictures are sent: text must be sharp, faces may be soft.
const SCREEN: f64 = 0.6;
/// Headers of a packet in bits: IP, UDP, RTP with its extension, SRTP tag.
pub(super) const PACKET_BITS: f64 = 72.0 * 8.0;

/// What there is to share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bits per second on the wire for good.
    pub(super) target: f64,
    /// And at the moment.
    pub(super) pace: f64,
    /// Voice packets a second, and their bits per second on the wire, at the most lately.
    pub(super) voice_packets: f64,
    pub(super) voice: f64,
    /// Bits per second of reports.
    pub(super) reports: f64,
    /// Packets of pictures a second.
    pub(super) picture_packets: f64,
    /// How long pictures wait for their turn.
    pub(super) wait: Duration,
    /// Which pictures there are to send.
    pub(super) camera: bool,
    pub(super) screen: bool,
}

/// Bits per second without headers, for the encoders.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shares {
    pub(super) audio: u64,
    pub(super) camera: u64,
    pub(super) screen: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Allocator {
    stopped: bool,
    /// Since when it should be the other way round.
    since: Option<Instant>,
    started: Option<Instant>,
    on_after: Duration,
}

impl Allocator {
    pub(super) fn new() -> Self {
        Self { stopped: false, since: None, started: None, on_after: ON_AFTER }
    }

    /// Whether pictures are stopped because the path is too narrow.
    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    /// The shares at this moment.
    pub(super) fn share(&mut self, now: Instant, room: &Room) -> Shares {
        let packets = room.voice_packets.clamp(10.0, 110.0);
        let free = (room.target - room.reports).max(0.0);
        let audio = (free * 0.97 - packets * 60.0 * 8.0).clamp(VOICE_MIN, VOICE_MAX);
        let voice = room.voice.max(VOICE);
        self.judge(now, free - voice);
        if !self.stopped {
            self.started.get_or_insert(now);
        }
        let mut shares = Shares { audio: audio as u64, camera: 0, screen: 0 };
        if self.stopped {
            return shares;
        }
        // While a queue drains there is less; while pictures wait for their turn, too.
        let waiting = (room.wait.as_secs_f64() - 0.05).clamp(0.0, 0.5);
        let rest = (room.pace.min(room.target) - room.reports - voice).max(OFF) * (1.0 - waiting);
        let headers = (room.picture_packets * PACKET_BITS).clamp(rest * 0.06, rest * 0.5);
        let rest = rest - headers;
        let (camera, screen) = match (room.camera, room.screen) {
            (true, true) => (rest * (1.0 - SCREEN), rest * SCREEN),
            (false, true) => (0.0, rest),
            _ => (rest, 0.0),
        };
        // Who begins to send is told beforehand what there will be.
        let (camera, screen) = (camera.max(rest * 0.3), screen.max(rest * 0.3));
        (shares.camera, shares.screen) = (camera as u64, screen as u64);
        shares
    }

    fn judge(&mut self, now: Instant, rest: f64) {
        let other = if self.stopped { rest >= ON } else { rest < OFF };
        if !other {
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert(now);
        let needed = match self.started {
            _ if self.stopped => self.on_after,
            // Before the first picture nothing is lost by waiting.
            None => Duration::ZERO,
            Some(_) => OFF_AFTER,
        };
        if now.saturating_duration_since(since) < needed {
            return;
        }
        self.since = None;
        self.stopped = !self.stopped;
        if self.stopped {
            let soon = self.started.is_some_and(|at| now.saturating_duration_since(at) < SOON);
            self.on_after = if soon { (self.on_after * 2).min(ON_AFTER_MAX) } else { ON_AFTER };
        } else {
            self.started = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(target: f64) -> Room {
        Room {
            target,
            pace: target,
            voice_packets: 50.0,
            voice: 50_000.0,
            reports: 4_000.0,
            picture_packets: 60.0,
            wait: Duration::ZERO,
            camera: true,
            screen: false,
        }
    }

    #[test]
    fn the_voice_is_served_first_and_pictures_get_the_rest() {
        let now = Instant::now();
        let mut allocator = Allocator::new();
        let wide = allocator.share(now, &room(2_000_000.0));
        assert!(wide.audio >= 100_000 && wide.camera > 1_700_000 && wide.camera < 1_950_000, "{wide:?}");
        let both = allocator.share(now, &Room { screen: true, ..room(2_000_000.0) });
        assert!(both.camera + both.screen < 1_950_000 && both.screen > both.camera, "{both:?}");
        let narrow = allocator.share(now, &room(150_000.0));
        assert!(narrow.camera < 95_000 && narrow.camera > 20_000 && narrow.audio > 60_000, "{narrow:?}");
        let queued = allocator.share(now, &Room { wait: Duration::from_millis(400), ..room(2_000_000.0) });
        assert!(queued.camera < wide.camera * 3 / 4, "{queued:?}");
    }

    #[test]
    fn a_picture_that_would_be_a_smear_is_stopped_and_comes_back_with_patience() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut allocator = Allocator::new();
        assert!(allocator.share(at(0), &room(500_000.0)).camera > 0);
        assert!(allocator.share(at(30_000), &room(70_000.0)).camera > 0, "a moment is no shortage");
        let off = allocator.share(at(30_500), &room(70_000.0));
        assert_eq!((off.camera, off.screen, allocator.stopped()), (0, 0, true));
        assert!(off.audio > 20_000, "the voice goes on: {off:?}");
        assert_eq!(allocator.share(at(31_000), &room(500_000.0)).camera, 0);
        assert!(allocator.share(at(31_800), &room(500_000.0)).camera > 0);
        // Stopped again soon: the next time it takes longer.
        allocator.share(at(33_000), &room(70_000.0));
        assert_eq!(allocator.share(at(33_500), &room(70_000.0)).camera, 0);
        allocator.share(at(34_000), &room(500_000.0));
        assert_eq!(allocator.share(at(35_000), &room(500_000.0)).camera, 0);
        assert!(allocator.share(at(35_500), &room(500_000.0)).camera > 0);
    }

    #[test]
    fn where_nothing_fits_from_the_beginning_no_picture_is_tried() {
        let mut allocator = Allocator::new();
        assert_eq!(allocator.share(Instant::now(), &room(60_000.0)).camera, 0);
    }
}
