//! The numbers of one participant in both directions, as people read them: rates and loss of each stream, what the client
//! says of playing and showing, and the score that the model makes of it.

use std::time::{Duration, Instant};

use twocan_control::quality::model::{self, BPL_CONCEALED, BPL_REPAIRED};
use twocan_control::{
    FlowQuality, Made, MediaKind, ParticipantQuality, PictureQuality, Quality, RepairCounts, Shown, SoundQuality,
};

use super::super::super::picture::PictureCounts;
use super::super::super::{place_of, stream_of};
use super::super::Emission;
use super::{Reading, SMOOTH, There};

/// What a client said holds for so long.
const TOLD: Duration = Duration::from_secs(4);
/// A stream that nothing came of (or went out of) for so long does not flow. A still screen sends less than a picture a
/// second.
const QUIET: Duration = Duration::from_secs(3);
const QUIET_SCREEN: Duration = Duration::from_secs(10);
/// From fewer packets a second than this no bitrate of speech is read: it is silence.
const SPEECH_PACKETS: f64 = 20.0;
/// What capture, the frame itself and the encoder's look-ahead add to the delay of a voice, milliseconds.
const CAPTURE_MS: f64 = 30.0;
/// The friend's jitter buffer, of which nothing is known here, milliseconds.
const BUFFER_THERE_MS: f64 = 40.0;

/// One stream in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    bytes: u64,
    frames: u64,
    expected: u64,
    received: u64,
    /// When something flowed last.
    flowed: Option<Instant>,
    loss: f64,
    /// Bits per second while somebody spoke.
    speech: Option<f64>,
}

impl Stream {
    /// Takes the totals so far; gives bits and frames per second.
    fn step(&mut self, now: Instant, seconds: f64, bytes: u64, frames: u64) -> (u64, f64) {
        let bits = bytes.saturating_sub(self.bytes) as f64 * 8.0 / seconds;
        let rate = frames.saturating_sub(self.frames) as f64 / seconds;
        if frames != self.frames {
            self.flowed = Some(now);
        }
        if rate >= SPEECH_PACKETS {
            self.speech = Some(bits);
        }
        (self.bytes, self.frames) = (bytes, frames);
        (bits as u64, rate)
    }

    fn flows(&self, now: Instant, kind: MediaKind) -> bool {
        let quiet = if kind == MediaKind::Screen { QUIET_SCREEN } else { QUIET };
        self.flowed.is_some_and(|at| now.saturating_duration_since(at) < quiet)
    }
}

/// What the client says of a stream that it shows, with the share of time that it was frozen lately.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    shown: Shown,
    frozen: f64,
}

/// How the client plays the voice.
#[derive(Clone, Copy, Debug)]
struct Playout {
    /// Share that was concealed.
    concealed: f64,
    /// In the jitter buffer, milliseconds.
    delay_ms: f64,
    /// Packets so far.
    late: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct People {
    received: [Stream; 4],
    sent: [Stream; 4],
    playout: Option<(Instant, Playout)>,
    seen: [Option<Seen>; 4],
    made: [Option<(Instant, Made)>; 4],
    /// Key frames that we asked for, and that we were asked for.
    pub(super) asked: [u64; 4],
    pub(super) was_asked: [u64; 4],
}

impl People {
    pub(super) fn playout(&mut self, now: Instant, concealed: f64, delay_ms: f64, late: u64) {
        let sane = |value: f64, most: f64| if value.is_nan() { 0.0 } else { value.clamp(0.0, most) };
        let (concealed, delay_ms) = (sane(concealed, 1.0), sane(delay_ms, 10_000.0));
        self.playout = Some((now, Playout { concealed, delay_ms, late }));
    }

    pub(super) fn shown(&mut self, now: Instant, shown: Shown) {
        let Some(kind) = MediaKind::ALL.into_iter().find(|kind| stream_of(*kind) == shown.stream) else { return };
        let seen = &mut self.seen[place_of(kind)];
        let frozen = match *seen {
            Some(before) => {
                let ms = now.saturating_duration_since(before.at).as_secs_f64() * 1e3;
                let share = shown.freeze_ms.saturating_sub(before.shown.freeze_ms) as f64 / ms.max(1.0);
                before.frozen + (share.min(1.0) - before.frozen) / SMOOTH
            }
            None => 0.0,
        };
        *seen = Some(Seen { at: now, shown, frozen });
    }

    pub(super) fn made(&mut self, now: Instant, made: Made) {
        self.made[place_of(made.kind)] = Some((now, made));
    }

    /// Rates a participant, and the call by it.
    pub(super) fn rate(
        &mut self,
        now: Instant,
        seconds: f64,
        reading: &Reading,
        there: &[There; 4],
        quality: &mut Quality,
    ) {
        let half_rtt = reading.round_trip.map(|rtt| rtt.as_secs_f64() * 5e2);
        let mut received = FlowQuality { bitrate: quality.bitrate_in, loss: quality.loss_in, ..FlowQuality::default() };
        let mut sent = FlowQuality {
            bitrate: quality.bitrate_out,
            loss: quality.loss_out,
            narrow: reading.narrow,
            ..FlowQuality::default()
        };
        for kind in MediaKind::ALL {
            let at = place_of(kind);
            self.come(now, seconds, kind, reading, half_rtt, &mut received);
            let open = match kind {
                MediaKind::Audio => reading.flow.audio,
                MediaKind::Video => reading.flow.video,
                MediaKind::Screen | MediaKind::Sound => reading.flow.screen,
            };
            self.go(now, seconds, kind, open, &reading.emissions[at], there[at], half_rtt, &mut sent);
        }
        for flow in [&mut received, &mut sent] {
            conclude(flow, reading.silent);
        }
        let levels = [&received, &sent].into_iter().filter(|flow| flow.mos.is_some()).map(|flow| flow.level);
        quality.level = levels.min().unwrap_or(0);
        quality.mos = [received.mos, sent.mos].into_iter().flatten().reduce(f64::min);
        quality.participants = vec![ParticipantQuality {
            participant: reading.participant,
            // Names are the service's business.
            name: String::new(),
            path: quality.path,
            rtt_ms: quality.rtt_ms,
            received,
            sent,
        }];
    }

    fn come(
        &mut self,
        now: Instant,
        seconds: f64,
        kind: MediaKind,
        reading: &Reading,
        half_rtt: Option<f64>,
        flow: &mut FlowQuality,
    ) {
        let at = place_of(kind);
        let reception = &reading.receptions[at];
        let stream = &mut self.received[at];
        let (bitrate, rate) = stream.step(now, seconds, reception.bytes, reception.frames);
        let expected = reception.expected.saturating_sub(stream.expected);
        let got = reception.received.saturating_sub(stream.received);
        (stream.expected, stream.received) = (reception.expected, reception.received);
        if expected > 0 {
            let lost = expected.saturating_sub(got) as f64 / expected as f64;
            stream.loss += (lost - stream.loss) / SMOOTH;
        }
        let stream = *stream;
        if !stream.flows(now, kind) {
            return;
        }
        let (loss, jitter_ms) = (stream.loss, reception.jitter_ms);
        if kind.is_picture() {
            let seen = self.seen[at].filter(|seen| now.saturating_duration_since(seen.at) < TOLD);
            let shown = seen.map(|seen| seen.shown);
            let (width, height) = shown.map_or((0, 0), |shown| (shown.width, shown.height));
            let frame_rate =
                shown.map_or(rate, |shown| if shown.frame_rate.is_finite() { shown.frame_rate } else { rate });
            let frozen = seen.map(|seen| seen.frozen);
            let picture = PictureQuality {
                bitrate,
                loss,
                jitter_ms,
                width,
                height,
                frame_rate,
                freezes: shown.map(|shown| shown.freezes),
                frozen,
                av_offset_ms: shown.and_then(|shown| shown.av_offset_ms).filter(|offset| offset.is_finite()),
                key_requests: self.asked[at],
                keys: reading.pictures[at].keys,
                repairs: repairs(&reading.pictures[at]),
                ..PictureQuality::default()
            };
            put_picture(flow, kind, picture);
        } else {
            let playout = self.playout.filter(|(told, ..)| now.saturating_duration_since(*told) < TOLD);
            let concealed = playout.map(|(_, playout)| playout.concealed);
            let buffer_ms = playout.map(|(_, playout)| playout.delay_ms);
            // The client counts all voices together; sound beside a screen is none.
            let late = playout.filter(|_| kind == MediaKind::Audio).map(|(_, playout)| playout.late);
            let (lost, bpl) = concealed.map_or((loss, BPL_REPAIRED), |concealed| (concealed, BPL_CONCEALED));
            let delay_ms = half_rtt.map(|half| half + CAPTURE_MS + buffer_ms.unwrap_or(BUFFER_THERE_MS));
            let sound = SoundQuality {
                bitrate,
                loss,
                jitter_ms,
                concealed,
                late,
                buffer_ms,
                delay_ms,
                ..SoundQuality::default()
            };
            put_sound(flow, kind, sound, stream.speech, lost, bpl);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what is known of one stream")]
    fn go(
        &mut self,
        now: Instant,
        seconds: f64,
        kind: MediaKind,
        open: bool,
        emission: &Emission,
        there: There,
        half_rtt: Option<f64>,
        flow: &mut FlowQuality,
    ) {
        let at = place_of(kind);
        let stream = &mut self.sent[at];
        let (bitrate, frame_rate) = stream.step(now, seconds, emission.bytes, emission.frames);
        if !open || !stream.flows(now, kind) {
            return;
        }
        let loss = there.lost;
        let jitter_ms = f64::from(there.jitter) / f64::from(kind.clock_rate()) * 1e3;
        if kind.is_picture() {
            let made = self.made[at].filter(|(told, _)| now.saturating_duration_since(*told) < TOLD);
            let (width, height) = made.map_or((0, 0), |(_, made)| (made.width, made.height));
            let key_requests = self.was_asked[at];
            let picture = PictureQuality {
                bitrate,
                loss,
                jitter_ms,
                width,
                height,
                frame_rate,
                key_requests,
                keys: emission.keys,
                repairs: there.repairs,
                ..PictureQuality::default()
            };
            put_picture(flow, kind, picture);
        } else {
            let delay_ms = half_rtt.map(|half| half + CAPTURE_MS + BUFFER_THERE_MS);
            let sound = SoundQuality { bitrate, loss, jitter_ms, delay_ms, ..SoundQuality::default() };
            put_sound(flow, kind, sound, stream.speech, loss, BPL_REPAIRED);
        }
    }
}

/// What was asked for of the friend's pictures.
fn repairs(counts: &PictureCounts) -> RepairCounts {
    RepairCounts { asked: counts.asked, repaired: counts.repaired, given_up: counts.given_up }
}

fn put_picture(flow: &mut FlowQuality, kind: MediaKind, mut picture: PictureQuality) {
    picture.mos = model::picture_mos(&model::Picture {
        screen: kind == MediaKind::Screen,
        width: picture.width,
        height: picture.height,
        frame_rate: picture.frame_rate,
        bitrate: picture.bitrate as f64,
        frozen: picture.frozen,
        lost: picture.loss,
    });
    picture.level = model::level(picture.mos);
    let place = if kind == MediaKind::Screen { &mut flow.screen } else { &mut flow.camera };
    *place = Some(picture);
}

fn put_sound(
    flow: &mut FlowQuality,
    kind: MediaKind,
    mut sound: SoundQuality,
    speech: Option<f64>,
    lost: f64,
    bpl: f64,
) {
    let music = kind == MediaKind::Sound;
    sound.mos = model::sound_mos(&model::Sound {
        bitrate: speech,
        lost,
        burst: 1.0,
        bpl,
        // Nobody waits for an answer of music.
        delay_ms: if music { 0.0 } else { sound.delay_ms.unwrap_or_default() },
    });
    sound.level = model::level(sound.mos);
    let place = if music { &mut flow.sound } else { &mut flow.voice };
    *place = Some(sound);
}

/// A direction is as good as its worst stream; where nothing flows there is nothing to rate.
fn conclude(flow: &mut FlowQuality, silent: bool) {
    let sounds = [&flow.voice, &flow.sound].into_iter().flatten().map(|sound| sound.mos);
    let pictures = [&flow.camera, &flow.screen].into_iter().flatten().map(|picture| picture.mos);
    flow.mos = sounds.chain(pictures).reduce(f64::min).filter(|_| !silent);
    flow.level = flow.mos.map_or(0, model::level);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::peer::Flow;
    use crate::calls::tap::Counts;

    const SECOND: Duration = Duration::from_secs(1);

    /// A second of a call: voice of 50 packets, of which `lost` go missing, and pictures.
    struct Talk {
        now: Instant,
        people: People,
        reading: Reading,
    }

    impl Talk {
        fn new() -> Self {
            Self {
                now: Instant::now(),
                people: People::default(),
                reading: Reading {
                    participant: 1,
                    counts: Counts::default(),
                    target: 1_000_000,
                    receptions: Default::default(),
                    emissions: Default::default(),
                    pictures: Default::default(),
                    repairs: Vec::new(),
                    round_trip: Some(Duration::from_millis(40)),
                    flow: Flow { audio: true, video: true, screen: true, receive: true },
                    silent: false,
                    narrow: false,
                },
            }
        }

        fn pass(&mut self, lost: u64, pictures: u64) -> Quality {
            self.now += SECOND;
            let voice = &mut self.reading.receptions[0];
            voice.expected += 50;
            voice.received += 50 - lost;
            voice.frames += 50 - lost;
            voice.bytes += 4000;
            let screen = &mut self.reading.receptions[2];
            (screen.frames, screen.bytes) = (screen.frames + pictures, screen.bytes + pictures * 3000);
            (screen.expected, screen.received) = (screen.expected + 3 * pictures, screen.received + 3 * pictures);
            self.reading.emissions[0].frames += 50;
            self.reading.emissions[0].bytes += 4000;
            let mut quality = Quality::default();
            self.people.rate(self.now, 1.0, &self.reading, &[There::default(); 4], &mut quality);
            quality
        }
    }

    #[test]
    fn a_clean_voice_is_very_good_in_both_directions() {
        let mut talk = Talk::new();
        let quality = talk.pass(0, 0);
        let one = &quality.participants[0];
        let (here, there) = (one.received.voice.as_ref().unwrap(), one.sent.voice.as_ref().unwrap());
        assert_eq!((here.level, there.level, quality.level), (5, 5, 5));
        assert_eq!((here.bitrate, there.bitrate), (32_000, 32_000));
        assert_eq!(here.delay_ms, Some(20.0 + CAPTURE_MS + BUFFER_THERE_MS));
        assert!(one.received.camera.is_none() && one.received.screen.is_none() && one.sent.screen.is_none());
    }

    #[test]
    fn what_was_concealed_counts_and_not_what_was_repaired() {
        let mut talk = Talk::new();
        for _ in 0..20 {
            talk.people.playout(talk.now, 0.0, 60.0, 7);
            talk.pass(10, 0);
        }
        talk.people.playout(talk.now, 0.0, 60.0, 7);
        let voice = talk.pass(10, 0).participants[0].received.voice.clone().unwrap();
        assert!((voice.loss - 0.2).abs() < 0.01 && voice.level == 5, "{voice:?}");
        assert_eq!((voice.buffer_ms, voice.concealed), (Some(60.0), Some(0.0)));
        talk.people.playout(talk.now, 0.15, f64::NAN, 8);
        let voice = talk.pass(10, 0).participants[0].received.voice.clone().unwrap();
        assert_eq!((voice.level, voice.concealed, voice.late), (1, Some(0.15), Some(8)));
        talk.now += TOLD;
        let voice = talk.pass(10, 0).participants[0].received.voice.clone().unwrap();
        assert_eq!(voice.concealed, None, "what a client said long ago does not hold");
    }

    #[test]
    fn a_screen_is_there_while_it_is_shared_and_frozen_time_is_counted() {
        let mut talk = Talk::new();
        talk.pass(0, 5);
        let shown = Shown {
            stream: 3,
            width: 1920,
            height: 1080,
            frame_rate: 5.0,
            freezes: 1,
            freeze_ms: 0,
            av_offset_ms: Some(f64::NAN),
        };
        talk.people.shown(talk.now, shown);
        let screen = talk.pass(0, 5).participants[0].received.screen.clone().unwrap();
        assert_eq!((screen.width, screen.height, screen.level, screen.av_offset_ms), (1920, 1080, 5, None));
        for n in 1..20 {
            talk.people.shown(talk.now, Shown { freeze_ms: n * 500, ..shown });
            talk.pass(0, 1);
        }
        let screen = talk.pass(0, 1).participants[0].received.screen.clone().unwrap();
        assert!(screen.frozen.unwrap() > 0.4 && screen.level == 1, "{screen:?}");
        talk.people.shown(talk.now, Shown { stream: 77, ..shown });
        for _ in 0..QUIET_SCREEN.as_secs() {
            talk.pass(0, 0);
        }
        assert!(talk.pass(0, 0).participants[0].received.screen.is_none(), "nothing has come for a long time");
    }

    #[test]
    fn repairs_and_key_frames_are_counted_in_both_directions() {
        let mut talk = Talk::new();
        talk.pass(0, 5);
        talk.reading.pictures[2] =
            PictureCounts { asked: 9, repaired: 7, given_up: 2, keys: 3, ..PictureCounts::default() };
        (talk.people.asked[2], talk.people.was_asked[2]) = (4, 5);
        talk.reading.emissions[2] = Emission { frames: 5, bytes: 100, keys: 6 };
        talk.now += SECOND;
        let repairs = RepairCounts { asked: 20, repaired: 18, given_up: 2 };
        let there = [There { repairs, ..There::default() }; 4];
        talk.reading.receptions[2].frames += 5;
        let mut quality = Quality::default();
        talk.people.rate(talk.now, 1.0, &talk.reading, &there, &mut quality);
        let [here, there] =
            [&quality.participants[0].received, &quality.participants[0].sent].map(|flow| flow.screen.clone().unwrap());
        assert_eq!((here.key_requests, here.keys), (4, 3));
        assert_eq!(here.repairs, RepairCounts { asked: 9, repaired: 7, given_up: 2 });
        assert_eq!((there.key_requests, there.keys, there.repairs), (5, 6, repairs));
    }

    #[test]
    fn a_silent_path_is_level_0() {
        let mut talk = Talk::new();
        talk.pass(0, 0);
        talk.reading.silent = true;
        let quality = talk.pass(0, 0);
        assert_eq!((quality.level, quality.mos, quality.participants[0].received.level), (0, None, 0));
    }
}
