//! From the client's frames to RTP.
//!
//! Audio is written the moment it comes. Pictures go packet by packet at the pace that the path bears ([`super::pacing`]),
//! so that they neither fill a router's queue nor stand before the next audio packet. Frames of a stopped stream are
//! dropped. Timestamps stay continuous for the friend when another client takes the seat.
//! The sender reports are ours: they tie RTP timestamps to the moment of *capture*, which is what lip sync needs.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rtc::rtcp::sender_report::SenderReport;
use tokio::sync::mpsc;
use twocan_control::{MediaControl, MediaFrame, MediaKind, MediaMessage};
use webrtc::media_stream::track_local::TrackLocal;

use super::formats::Ability;
use super::pacing::{Pacing, Verdict};
use super::peer::{Note, Shared};
use super::session::OutTrack;
use super::tap::Meters;
use super::{clock, h264, place_of, red};

/// Largest audio packet: what fits unfragmented. Opus needs a tenth.
const MAX_AUDIO: usize = h264::MAX_PAYLOAD;
/// Payload of a filler packet: large enough that a narrow link shows in the time between two.
const FILLER: usize = 128;
/// Pace and shares are looked at this often when nothing happens.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two sender reports; the first one comes with the first frame's packets. Longer while hardly anything is
/// sent: silence shall cost nothing.
const REPORT_EVERY: Duration = Duration::from_millis(500);
const REPORT_SELDOM: Duration = Duration::from_millis(2500);
/// Fewer packets than this since the last report are hardly anything.
const HARDLY: u32 = 8;
/// A capture time farther from now than this is not believed.
const BELIEVED_NS: u64 = 2_000_000_000;

/// What the peer's task tells.
#[derive(Debug)]
pub(super) enum Input {
    /// A client took the seat; the number tells its notes from those of an earlier one.
    Seat(u64, mpsc::Receiver<MediaMessage>),
    /// Nobody has the seat.
    NoSeat,
    /// Where RTP goes.
    Wire([Option<OutTrack>; 4]),
    /// The path is up; here is what is known of it.
    Up(Arc<Meters>),
}

/// One stream of ours.
#[derive(Debug)]
struct Line {
    out: OutTrack,
    /// The friend takes what the client makes. A closed line keeps its numbers: they must go on when it opens again.
    open: bool,
    rate: u32,
    sequence: u16,
    /// What is added to the client's timestamps; `None`: the next frame begins anew.
    offset: Option<u32>,
    last: Option<(Instant, u32)>,
    /// RTP timestamp and capture time of the newest frame.
    capture: Option<(u32, u64)>,
    packets: u32,
    octets: u32,
    report_at: Instant,
    /// Packets at the last report.
    reported: u32,
}

impl Line {
    fn new(out: OutTrack, rate: u32, now: Instant) -> Self {
        Self {
            out,
            open: true,
            rate,
            sequence: rand::random(),
            offset: None,
            last: None,
            capture: None,
            packets: 0,
            octets: 0,
            report_at: now,
            reported: 0,
        }
    }

    /// The RTP timestamp of a frame.
    fn timestamp(&mut self, now: Instant, frame: &MediaFrame) -> u32 {
        if frame.restart {
            self.offset = None;
        }
        let offset = *self.offset.get_or_insert_with(|| {
            let wanted = match self.last {
                Some((at, timestamp)) => timestamp.wrapping_add(ticks(now.saturating_duration_since(at), self.rate)),
                None => rand::random(),
            };
            wanted.wrapping_sub(frame.timestamp)
        });
        let timestamp = frame.timestamp.wrapping_add(offset);
        self.last = Some((now, timestamp));
        let now_ns = clock::now_ns();
        let captured = if now_ns.abs_diff(frame.time_ns) < BELIEVED_NS { frame.time_ns.min(now_ns) } else { now_ns };
        self.capture = Some((timestamp, captured));
        timestamp
    }

    fn packet(&mut self, timestamp: u32, marker: bool, payload: Bytes) -> rtc::rtp::Packet {
        self.packet_of(self.out.payload_type, timestamp, marker, payload)
    }

    /// Audio in the type that the friend takes; `None` if the client's payload is none.
    fn audio(&mut self, timestamp: u32, marker: bool, frame: MediaFrame) -> Option<rtc::rtp::Packet> {
        if !frame.red {
            return Some(self.packet(timestamp, marker, frame.payload));
        }
        match self.out.red_type {
            Some(red_type) => {
                let payload = red::retyped(frame.payload, red::CLIENT_TYPE, self.out.payload_type)?;
                Some(self.packet_of(red_type, timestamp, marker, payload))
            }
            None => Some(self.packet(timestamp, marker, red::primary(&frame.payload)?)),
        }
    }

    fn packet_of(&mut self, payload_type: u8, timestamp: u32, marker: bool, payload: Bytes) -> rtc::rtp::Packet {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u32::try_from(payload.len()).unwrap_or(0));
        let sequence_number = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        let header = rtc::rtp::header::Header {
            version: 2,
            marker,
            payload_type,
            sequence_number,
            timestamp,
            ssrc: self.out.ssrc,
            ..Default::default()
        };
        rtc::rtp::Packet { header, payload }
    }

    /// A packet that holds nothing: filler data of H.264 (7.3.2.7), which belongs to no picture.
    fn filler(&mut self) -> rtc::rtp::Packet {
        let mut payload = vec![0xff; FILLER];
        payload[0] = 0x0c;
        payload[FILLER - 1] = 0x80;
        let timestamp = self.last.map_or(0, |(_, timestamp)| timestamp);
        self.packet(timestamp, true, payload.into())
    }

    /// A sender report, if one is due: now, in both clocks.
    fn report(&mut self, now: Instant) -> Option<SenderReport> {
        if now < self.report_at {
            return None;
        }
        let (timestamp, captured) = self.capture?;
        let lately = self.packets.wrapping_sub(std::mem::replace(&mut self.reported, self.packets));
        self.report_at = now + if lately < HARDLY { REPORT_SELDOM } else { REPORT_EVERY };
        let age = Duration::from_nanos(clock::now_ns().saturating_sub(captured));
        Some(SenderReport {
            ssrc: self.out.ssrc,
            ntp_time: ntp(SystemTime::now()),
            rtp_time: timestamp.wrapping_add(ticks(age, self.rate)),
            packet_count: self.packets,
            octet_count: self.octets,
            ..Default::default()
        })
    }
}

fn ticks(time: Duration, rate: u32) -> u32 {
    (time.as_nanos() * u128::from(rate) / 1_000_000_000) as u32
}

/// NTP time: seconds since 1900 and their fraction in 32 bits each.
fn ntp(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    ((since.as_secs() + 2_208_988_800) << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

/// Microseconds of an NTP time.
pub(super) fn ntp_us(ntp: u64) -> u64 {
    (ntp >> 32) * 1_000_000 + (((ntp & 0xffff_ffff) * 1_000_000) >> 32)
}

/// The lanes of the pacer.
const CAMERA: usize = 0;
const SCREEN: usize = 1;

/// Whether no other picture needs this one.
fn spare(frame: &MediaFrame) -> bool {
    frame.layer > 0 && !frame.key && h264::unreferenced(&frame.payload)
}

struct Outbound {
    shared: Arc<Shared>,
    /// By [`place_of`].
    lines: [Option<Line>; 4],
    pacing: Pacing<rtc::rtp::Packet>,
}

/// Runs until the peer's task ends. Started once for each peer.
pub(super) async fn run(shared: Arc<Shared>, mut inputs: mpsc::Receiver<Input>) {
    let mut out = Outbound { shared, lines: Default::default(), pacing: Pacing::new(Instant::now()) };
    let mut clock = tokio::time::interval(LOOK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seat: Option<(u64, mpsc::Receiver<MediaMessage>)> = None;
    loop {
        let due = out.pacing.due(Instant::now());
        let meters = out.pacing.meters();
        tokio::select! {
            input = inputs.recv() => match input {
                Some(Input::Seat(number, receiver)) => {
                    seat = Some((number, receiver));
                    out.begin_anew();
                }
                Some(Input::NoSeat) => seat = None,
                Some(Input::Wire(tracks)) => out.wire(tracks),
                Some(Input::Up(meters)) => out.pacing.wire(Instant::now(), Some(meters)),
                None => break,
            },
            message = next(&mut seat) => match message {
                Ok(MediaMessage::Frame(frame)) => out.frame(frame).await,
                Ok(MediaMessage::Control(control)) => out.control(control),
                Err(number) => {
                    seat = None;
                    out.shared.note(Note::SeatGone(number));
                }
            },
            () = until(due) => out.paced().await,
            () = estimates(meters.as_deref()) => out.look(),
            _ = clock.tick() => out.look(),
        }
    }
}

/// The client's next message; its end gives the seat's number.
async fn next(seat: &mut Option<(u64, mpsc::Receiver<MediaMessage>)>) -> Result<MediaMessage, u64> {
    match seat {
        Some((number, receiver)) => receiver.recv().await.ok_or(*number),
        None => std::future::pending().await,
    }
}

/// Sleeps until then, or for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits for a new estimate.
async fn estimates(meters: Option<&Meters>) {
    match meters {
        Some(meters) => meters.estimates.notified().await,
        None => std::future::pending().await,
    }
}

impl Outbound {
    fn look(&mut self) {
        self.pacing.allow([MediaKind::Video, MediaKind::Screen].map(|kind| self.shared.may_send(kind)));
        self.pacing.look(Instant::now());
    }

    fn begin_anew(&mut self) {
        self.pacing.begin_anew();
        for line in self.lines.iter_mut().flatten() {
            line.offset = None;
        }
    }

    fn wire(&mut self, tracks: [Option<OutTrack>; 4]) {
        let now = Instant::now();
        self.pacing.begin_anew();
        let down = tracks.iter().all(Option::is_none);
        if down {
            self.pacing.wire(now, None);
        }
        // Tracks stay the same in a renegotiation; numbers must go on then, or the friend takes it for a replay.
        let keep = |line: Option<Line>, out: Option<OutTrack>, rate| match (line, out) {
            (Some(line), Some(out)) if line.out.ssrc == out.ssrc => Some(Line { out, open: true, ..line }),
            (_, Some(out)) => Some(Line::new(out, rate, now)),
            (line, None) => line.filter(|_| !down).map(|line| Line { open: false, ..line }),
        };
        for ((line, out), kind) in self.lines.iter_mut().zip(tracks).zip(MediaKind::ALL) {
            *line = keep(line.take(), out, kind.clock_rate());
        }
    }

    async fn frame(&mut self, frame: MediaFrame) {
        if frame.payload.is_empty() || !self.shared.may_send(frame.kind) {
            return;
        }
        let now = Instant::now();
        let (kind, bytes, key) = (frame.kind, frame.payload.len(), frame.key);
        match kind {
            MediaKind::Audio | MediaKind::Sound => {
                let line = self.lines[place_of(kind)].as_mut().filter(|line| line.open && bytes <= MAX_AUDIO);
                let Some(line) = line else { return };
                let begins = line.offset.is_none() || frame.restart;
                let timestamp = line.timestamp(now, &frame);
                if let Some(packet) = line.audio(timestamp, begins, frame) {
                    self.pacing.voice(now, packet.payload.len());
                    let _ = line.out.track.write_rtp(packet).await;
                }
            }
            MediaKind::Video | MediaKind::Screen => {
                let Some(line) = self.lines[place_of(kind)].as_mut().filter(|line| line.open) else { return };
                let spare = spare(&frame);
                let lane = if kind == MediaKind::Screen { SCREEN } else { CAMERA };
                let verdict = self.pacing.picture(now, lane, key, spare, || {
                    let payloads = h264::packetize(&frame.payload);
                    let timestamp = line.timestamp(now, &frame);
                    let last = payloads.len().saturating_sub(1);
                    let packet = |(number, payload): (usize, Bytes)| {
                        (payload.len(), line.packet(timestamp, number == last, payload))
                    };
                    payloads.into_iter().enumerate().map(packet).collect()
                });
                match verdict {
                    Verdict::Taken => self.paced().await,
                    // The picture is lost to the friend, who must not wait for a repair: ask the encoder at once.
                    Verdict::NeedsKey => {
                        self.shared.note(Note::KeyFrameLost(kind));
                        return;
                    }
                    Verdict::LeftOut | Verdict::Stopped => return,
                }
            }
        }
        self.shared.emitted(kind, bytes, key && kind.is_picture());
        self.reports(now).await;
    }

    /// Writes what may leave now.
    async fn paced(&mut self) {
        let now = Instant::now();
        while let Some((lane, packet)) = self.pacing.pop(now) {
            let kind = if lane == SCREEN { MediaKind::Screen } else { MediaKind::Video };
            if let Some(line) = &self.lines[place_of(kind)] {
                let _ = line.out.track.write_rtp(packet).await;
            }
        }
        if self.pacing.fill(now, FILLER)
            && let Some(line) = self.lines[place_of(MediaKind::Video)].as_mut().filter(|line| line.open)
        {
            for packet in [line.filler(), line.filler()] {
                let _ = line.out.track.write_rtp(packet).await;
            }
        }
    }

    async fn reports(&mut self, now: Instant) {
        for line in self.lines.iter_mut().flatten().filter(|line| line.open) {
            if let Some(report) = line.report(now) {
                let _ = line.out.track.write_rtcp(vec![Box::new(report)]).await;
            }
        }
    }

    fn control(&self, control: MediaControl) {
        match control {
            MediaControl::NeedKeyFrame { stream: super::VIDEO_STREAM } => {
                self.shared.note(Note::NeedKeyFrame(MediaKind::Video));
            }
            MediaControl::NeedKeyFrame { stream: super::SCREEN_STREAM } => {
                self.shared.note(Note::NeedKeyFrame(MediaKind::Screen));
            }
            MediaControl::Codecs { encode, decode } => self.shared.note(Note::Able(Ability::new(encode, decode))),
            MediaControl::Shown(shown) => self.shared.note(Note::Shown(shown)),
            MediaControl::Made(made) => self.shared.note(Note::Made(made)),
            MediaControl::Playout { concealed, delay_ms, late } => {
                self.shared.note(Note::Playout { concealed, delay_ms, late });
            }
            // The rest goes the other way; from a client it means nothing.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(timestamp: u32, restart: bool) -> MediaFrame {
        MediaFrame {
            kind: MediaKind::Audio,
            key: false,
            gap: false,
            restart,
            red: false,
            layer: 0,
            stream: 0,
            sequence: 0,
            timestamp,
            time_ns: 0,
            payload: Bytes::new(),
        }
    }

    fn line() -> Line {
        let track = rtc::media_stream::MediaStreamTrack::new(
            "call".into(),
            "audio".into(),
            "audio".into(),
            rtc::rtp_transceiver::rtp_sender::RtpCodecKind::Audio,
            vec![],
        );
        let track = Arc::new(webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP::new(track));
        Line::new(OutTrack { track, ssrc: 1, payload_type: 96, red_type: Some(63) }, 48_000, Instant::now())
    }

    #[test]
    fn timestamps_go_on_when_another_client_takes_the_seat() {
        let mut line = line();
        let start = Instant::now();
        let first = line.timestamp(start, &frame(5000, false));
        assert_eq!(line.timestamp(start, &frame(5960, false)), first.wrapping_add(960));
        line.offset = None;
        let later = start + Duration::from_millis(100);
        assert_eq!(line.timestamp(later, &frame(77, false)), first.wrapping_add(960 + 4800));
        assert_eq!(line.timestamp(later, &frame(77 + 960, false)), first.wrapping_add(2 * 960 + 4800));
        let restarted = line.timestamp(later + Duration::from_millis(20), &frame(3, true));
        assert_eq!(restarted, first.wrapping_add(3 * 960 + 4800));
    }

    #[test]
    fn redundant_audio_goes_out_as_the_friend_takes_it() {
        let mut line = line();
        let payload = Bytes::from_static(b"\xef\x0f\x00\x03\x6f\xf8\x01\x02\xf8\x03\x04\x05");
        let frame = || MediaFrame { red: true, payload: payload.clone(), ..frame(0, false) };
        let packet = line.audio(0, false, frame()).unwrap();
        assert_eq!((packet.header.payload_type, packet.payload[0], packet.payload[4]), (63, 0xe0, 0x60));
        line.out.red_type = None;
        let packet = line.audio(960, false, frame()).unwrap();
        assert_eq!((packet.header.payload_type, &packet.payload[..]), (96, &b"\xf8\x03\x04\x05"[..]));
        let broken = MediaFrame { payload: payload.slice(..6), ..frame() };
        assert!(line.audio(0, false, broken).is_none());
    }

    #[test]
    fn ntp_times_survive_in_microseconds() {
        let time = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let us = ntp_us(ntp(time));
        assert!(us.abs_diff((1_700_000_000 + 2_208_988_800) * 1_000_000 + 123_456) <= 1);
    }
}
