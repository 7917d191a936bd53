//! From the friend's RTP to the client's frames.
//!
//! Audio packets go on as they arrive, neither reordered nor held. Video goes through [`PictureIn`], which
//! asks for what is missing. Before the
//! call is answered, and while it is held, everything is read and dropped: a full queue inside webrtc would print
//! packets into the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};
use twocan_control::media::{HEADER_LEN, MAX_FRAME_LEN};
use twocan_control::{MediaFrame, MediaKind, MediaMessage};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::assembly::Extended;
use super::peer::{Note, Shared};
use super::picture::{PictureIn, Step, VideoPacket};
use super::{clock, h264, nack, red, stream_of};

/// Round trip that is assumed before it was measured.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(50);

/// What a stream has received; read by the peer's task.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reception {
    /// Packets that should have come, by their numbers.
    pub(super) expected: u64,
    /// Packets that came.
    pub(super) received: u64,
    /// Jitter (RFC 3550, 6.4.1), milliseconds.
    pub(super) jitter_ms: f64,
    /// Bytes of encoded media that came.
    pub(super) bytes: u64,
    /// Whole frames that were handed on or could have been.
    pub(super) frames: u64,
}

/// Statistics of one stream as packets come in.
#[derive(Debug, Default)]
struct Meter {
    first: Option<u64>,
    highest: u64,
    /// Packets expected in what came before a restart of the numbers.
    before: u64,
    received: u64,
    bytes: u64,
    frames: u64,
    transit: Option<f64>,
    jitter: f64,
}

impl Meter {
    fn packet(&mut self, number: u64, restart: bool, arrived_ns: u64, timestamp: u32, rate: u32) -> Reception {
        if restart {
            self.before += self.first.map_or(0, |first| self.highest - first + 1);
            self.first = None;
            self.transit = None;
        }
        let first = *self.first.get_or_insert(number);
        self.highest = self.highest.max(number);
        self.received += 1;
        let transit = arrived_ns as f64 / 1e9 * f64::from(rate) - f64::from(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let change = (transit - before).abs();
            // Beyond a second it is the timestamp that wrapped or jumped.
            if change < f64::from(rate) {
                self.jitter += (change - self.jitter) / 16.0;
            }
        }
        Reception {
            expected: self.before + (self.highest - first.min(self.highest) + 1),
            received: self.received,
            jitter_ms: self.jitter / f64::from(rate) * 1e3,
            bytes: self.bytes,
            frames: self.frames,
        }
    }
}

/// Reads one track until it ends.
pub(super) async fn read(shared: Arc<Shared>, track: Arc<dyn TrackRemote>, kind: MediaKind) {
    if kind.is_picture() {
        read_video(shared, track, kind).await;
    } else {
        read_audio(shared, track, kind).await;
    }
}

/// Tells whether the frames that a client gets begin anew: another client, or after a pause.
#[derive(Default)]
struct Beginning {
    epoch: Option<u64>,
}

impl Beginning {
    /// The epoch to deliver in, if any, and whether it is a new one.
    fn look(&mut self, shared: &Shared) -> Option<bool> {
        let epoch = shared.delivery()?;
        Some(self.epoch.replace(epoch) != Some(epoch))
    }
}

/// The payload types of the friend's audio.
#[derive(Clone, Copy, Debug)]
pub(super) struct AudioTypes {
    pub(super) opus: u8,
    pub(super) red: Option<u8>,
}

impl AudioTypes {
    /// Whether a packet is redundant audio, and its payload as the client takes it; `None` if it is nothing that was
    /// agreed.
    fn read(self, payload_type: u8, payload: Bytes) -> Option<(bool, Bytes)> {
        if payload_type == self.opus {
            return Some((false, payload));
        }
        (Some(payload_type) == self.red)
            .then(|| red::retyped(payload, self.opus, red::CLIENT_TYPE).map(|payload| (true, payload)))?
    }
}

async fn read_audio(shared: Arc<Shared>, track: Arc<dyn TrackRemote>, kind: MediaKind) {
    let (mut extended, mut meter, mut beginning) = (Extended::default(), Meter::default(), Beginning::default());
    let mut source = None;
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        let arrived_ns = clock::now_ns();
        shared.arrived(kind);
        let header = &packet.header;
        let (mut number, mut far) = extended.number(header.sequence_number);
        far |= source.replace(header.ssrc).is_some_and(|before| before != header.ssrc);
        if far {
            number = extended.restart(header.sequence_number);
        }
        meter.bytes += packet.payload.len() as u64;
        meter.frames += u64::from(!packet.payload.is_empty());
        shared.received(kind, meter.packet(number, far, arrived_ns, header.timestamp, kind.clock_rate()));
        if packet.payload.is_empty() || packet.payload.len() > MAX_FRAME_LEN - HEADER_LEN {
            continue;
        }
        let Some((red, payload)) = shared.audio_types().read(header.payload_type, packet.payload) else { continue };
        let Some(begins) = beginning.look(&shared) else { continue };
        shared.deliver(MediaMessage::Frame(MediaFrame {
            kind,
            key: false,
            gap: false,
            restart: begins || far,
            red,
            layer: 0,
            stream: stream_of(kind),
            sequence: number as u32,
            timestamp: header.timestamp,
            time_ns: arrived_ns,
            payload,
        }));
    }
}

async fn read_video(shared: Arc<Shared>, track: Arc<dyn TrackRemote>, kind: MediaKind) {
    let (mut meter, mut beginning) = (Meter::default(), Beginning::default());
    let mut picture = PictureIn::new();
    let mut ssrc = 0;
    let mut next = track.poll();
    loop {
        let deadline = picture.deadline();
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let step = tokio::select! {
            event = &mut next => {
                next = track.poll();
                let packet = match event {
                    Some(TrackRemoteEvent::OnRtpPacket(packet)) => packet,
                    Some(_) => continue,
                    None => break,
                };
                let arrived_ns = clock::now_ns();
                let (header, payload) = (packet.header, packet.payload);
                if !h264::is_filler(&payload) {
                    shared.arrived(kind);
                }
                meter.bytes += payload.len() as u64;
                ssrc = header.ssrc;
                picture.set_round_trip(shared.round_trip().unwrap_or(FIRST_ROUND_TRIP));
                let packet = VideoPacket {
                    sequence: header.sequence_number,
                    timestamp: header.timestamp,
                    marker: header.marker,
                    payload,
                    arrived_ns,
                };
                let step = picture.handle_packet(Instant::now(), ssrc, packet);
                if let Some((number, far)) = step.number {
                    let reception = meter.packet(number, far, arrived_ns, header.timestamp, kind.clock_rate());
                    shared.received(kind, reception);
                }
                step
            }
            () = timer => picture.handle_timeout(Instant::now()),
        };
        meter.frames += step.frames.len() as u64;
        shared.pictures(kind, picture.counts());
        ask(&track, ssrc, &step.ask).await;
        hand_on(&shared, kind, step, &mut beginning);
    }
}

/// Asks the friend for packets.
async fn ask(track: &Arc<dyn TrackRemote>, media_ssrc: u32, numbers: &[u16]) {
    if numbers.is_empty() {
        return;
    }
    let nacks = nack::pairs(numbers)
        .into_iter()
        .map(|(packet_id, lost_packets)| NackPair { packet_id, lost_packets })
        .collect();
    // Video goes both ways in one section, whose sender the crate names by itself where it matters to it.
    let _ = track.write_rtcp(vec![Box::new(TransportLayerNack { sender_ssrc: 0, media_ssrc, nacks })]).await;
}

fn hand_on(shared: &Shared, kind: MediaKind, step: Step, beginning: &mut Beginning) {
    let mut want_key = step.want_key;
    for frame in step.frames {
        let Some(begins) = beginning.look(shared) else {
            want_key = false;
            continue;
        };
        // A decoder that begins needs a whole picture first.
        want_key |= begins && !frame.key;
        shared.deliver(MediaMessage::Frame(MediaFrame {
            kind,
            key: frame.key,
            gap: frame.gap,
            restart: begins || frame.restart,
            red: false,
            layer: frame.layer,
            stream: stream_of(kind),
            sequence: frame.sequence as u32,
            timestamp: frame.timestamp,
            time_ns: frame.arrived_ns,
            payload: frame.payload,
        }));
    }
    if want_key {
        shared.note(Note::NeedKeyFrame(kind));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_agreed_types_of_audio_are_handed_on() {
        let types = AudioTypes { opus: 96, red: Some(63) };
        let redundant = Bytes::from_static(b"\xe0\x0f\x00\x01\x60\xf8\xf8\x03");
        assert_eq!(types.read(96, redundant.clone()), Some((false, redundant.clone())));
        let for_client = Bytes::from_static(b"\xef\x0f\x00\x01\x6f\xf8\xf8\x03");
        assert_eq!(types.read(63, redundant.clone()), Some((true, for_client)));
        assert_eq!(types.read(0, redundant.clone()), None);
        assert_eq!(AudioTypes { opus: 96, red: None }.read(63, redundant.clone()), None);
        assert_eq!(types.read(63, redundant.slice(..5)), None);
    }

    #[test]
    fn loss_and_jitter_are_measured() {
        let mut meter = Meter::default();
        let mut last = Reception::default();
        for n in 0..100_u64 {
            if n % 10 == 5 {
                continue;
            }
            // Every other packet is 4 ms late.
            let late = if n % 2 == 0 { 4_000_000 } else { 0 };
            last = meter.packet(1000 + n, false, n * 20_000_000 + late, (n * 960) as u32, 48_000);
        }
        assert_eq!((last.expected, last.received), (100, 90));
        assert!((2.0..4.5).contains(&last.jitter_ms), "{}", last.jitter_ms);
        let next = meter.packet(1 << 20, true, 0, 0, 48_000);
        assert_eq!((next.expected, next.received), (101, 91));
    }
}
