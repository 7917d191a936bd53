//! The sender's half in webrtc's packet chain: requests come in, repairs go out.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use rtc::interceptor::{Attribute, AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;

use twocan_control::RepairCounts;

use super::Store;

/// Numbers looked at in one message; ours names a hundred.
const MAX_NUMBERS: usize = 256;
/// Streams of ours that are kept: camera and screen, and room for a change.
const MAX_STREAMS: usize = 4;

/// Counters, and what the responder is told of the path.
#[derive(Debug)]
pub(in crate::calls) struct Repairs {
    packets: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
    round_trip_us: AtomicU64,
    /// Bits per second that the path carries.
    rate: AtomicU64,
    /// By SSRC of the stream, at most [`MAX_STREAMS`].
    streams: Mutex<Vec<(u32, RepairCounts)>>,
}

impl Repairs {
    pub(in crate::calls) fn new(rate: u64) -> Self {
        Self {
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            round_trip_us: AtomicU64::new(50_000),
            rate: AtomicU64::new(rate),
            streams: Mutex::default(),
        }
    }

    /// Packets sent again so far.
    pub(in crate::calls) fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    /// Their bytes with RTP headers, for whoever shares the path out.
    pub(in crate::calls) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Packets asked for that were not sent again: unknown, too old, too soon, or too much.
    pub(in crate::calls) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// What was asked for and sent again so far, with the SSRC of each stream.
    pub(in crate::calls) fn streams(&self) -> Vec<(u32, RepairCounts)> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, ssrc: u32, asked: u64, repaired: u64) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let at = streams.iter().position(|(of, _)| *of == ssrc).unwrap_or_else(|| {
            if streams.len() >= MAX_STREAMS {
                streams.remove(0);
            }
            streams.push((ssrc, RepairCounts::default()));
            streams.len() - 1
        });
        if let Some((_, counts)) = streams.get_mut(at) {
            counts.asked += asked;
            counts.repaired += repaired;
            counts.given_up += asked.saturating_sub(repaired);
        }
    }

    pub(in crate::calls) fn set_path(&self, round_trip: Option<Duration>, rate: u64) {
        if let Some(round_trip) = round_trip {
            self.round_trip_us.store(u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX), Relaxed);
        }
        self.rate.store(rate, Relaxed);
    }

    fn round_trip(&self) -> Duration {
        Duration::from_micros(self.round_trip_us.load(Relaxed).min(2_000_000))
    }
}

struct Stream {
    store: Store<rtc::rtp::Packet>,
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
}

/// The interceptor that answers requests for packets of ours.
pub(in crate::calls) struct Responder {
    repairs: Arc<Repairs>,
    streams: HashMap<u32, Stream>,
    reading: VecDeque<TaggedPacket>,
    writing: VecDeque<TaggedPacket>,
}

impl Responder {
    pub(in crate::calls) fn new(repairs: Arc<Repairs>) -> Self {
        Self { repairs, streams: HashMap::new(), reading: VecDeque::new(), writing: VecDeque::new() }
    }

    fn asked(&mut self, now: Instant, request: &TransportLayerNack) {
        let Some(stream) = self.streams.get_mut(&request.media_ssrc) else { return };
        let (round_trip, rate) = (self.repairs.round_trip(), self.repairs.rate.load(Relaxed));
        let (mut asked, mut repaired) = (0, 0);
        for number in request.nacks.iter().flat_map(|pair| pair.into_iter()).take(MAX_NUMBERS) {
            asked += 1;
            let Some(packet) = stream.store.answer(now, round_trip, rate, number) else {
                self.repairs.refused.fetch_add(1, Relaxed);
                continue;
            };
            let packet = again(packet, stream.ssrc, stream.payload_type, stream.sequence);
            stream.sequence = stream.sequence.wrapping_add(1);
            repaired += 1;
            self.repairs.packets.fetch_add(1, Relaxed);
            self.repairs.bytes.fetch_add(size(&packet) as u64, Relaxed);
            let message = AttributedPacket::new(Packet::Rtp(packet)).with(Attribute::Retransmission);
            self.writing.push_back(TaggedPacket { now, transport: TransportContext::default(), message });
        }
        self.repairs.count(request.media_ssrc, asked, repaired);
    }
}

fn size(packet: &rtc::rtp::Packet) -> usize {
    packet.payload.len() + 20
}

/// The packet as its own repair (RFC 4588, 4): the old number stands before the payload.
fn again(packet: rtc::rtp::Packet, ssrc: u32, payload_type: u8, sequence_number: u16) -> rtc::rtp::Packet {
    let mut payload = BytesMut::with_capacity(2 + packet.payload.len());
    payload.put_u16(packet.header.sequence_number);
    payload.put_slice(&packet.payload);
    let header = rtc::rtp::header::Header {
        version: 2,
        marker: packet.header.marker,
        timestamp: packet.header.timestamp,
        ssrc,
        payload_type,
        sequence_number,
        ..Default::default()
    };
    rtc::rtp::Packet { header, payload: Bytes::from(payload) }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Responder {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtcp(packets) = &message.message.packet {
            for packet in packets {
                if let Some(request) = packet.as_any().downcast_ref::<TransportLayerNack>() {
                    self.asked(message.now, request);
                }
            }
        }
        self.reading.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reading.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtp(packet) = &message.message.packet
            && let Some(stream) = self.streams.get_mut(&packet.header.ssrc)
        {
            stream.store.keep(message.now, packet.header.sequence_number, size(packet), packet.clone());
        }
        self.writing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writing.pop_front()
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), Self::Error> {
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }
}

impl Interceptor for Responder {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        // A friend who takes no repairs of this form gets none: see the module.
        let (Some(ssrc), Some(payload_type)) = (info.ssrc_rtx, info.payload_type_rtx) else { return };
        if self.streams.len() < MAX_STREAMS || self.streams.contains_key(&info.ssrc) {
            let kept = self.streams.remove(&info.ssrc).filter(|stream| stream.ssrc == ssrc);
            let stream = kept.map_or_else(
                || Stream { store: Store::default(), ssrc, payload_type, sequence: rand::random() },
                // The numbers go on, or they would be used twice.
                |stream| Stream { payload_type, ..stream },
            );
            self.streams.insert(info.ssrc, stream);
        }
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        // Its numbers must not begin anew if it is bound again; what it keeps goes with age.
        if let Some(stream) = self.streams.get_mut(&info.ssrc) {
            stream.store = Store::default();
        }
    }

    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;

    const RATE: u64 = 1_000_000;

    fn packet(number: u16) -> TaggedPacket {
        let header = rtc::rtp::header::Header {
            version: 2,
            ssrc: 7,
            sequence_number: number,
            timestamp: 9,
            ..Default::default()
        };
        let packet = rtc::rtp::Packet { header, payload: Bytes::from(vec![number as u8; 1000]) };
        TaggedPacket {
            now: Instant::now(),
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtp(packet)),
        }
    }

    fn request(media_ssrc: u32, numbers: &[u16]) -> TaggedPacket {
        let nacks = numbers.iter().map(|&number| NackPair::new(number)).collect();
        let request = TransportLayerNack { sender_ssrc: 1, media_ssrc, nacks };
        TaggedPacket {
            now: Instant::now(),
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtcp(vec![Box::new(request)])),
        }
    }

    fn responder(rtx: Option<u32>) -> Responder {
        let mut responder = Responder::new(Arc::new(Repairs::new(RATE)));
        let info = StreamInfo { ssrc: 7, ssrc_rtx: rtx, payload_type_rtx: rtx.map(|_| 103), ..Default::default() };
        responder.bind_local_stream(&info);
        responder
    }

    fn written(responder: &mut Responder) -> Vec<rtc::rtp::Packet> {
        std::iter::from_fn(|| responder.poll_write())
            .filter_map(|message| match message.message.packet {
                Packet::Rtp(packet) => Some(packet),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn what_is_asked_for_is_sent_again_under_other_numbers() {
        let mut responder = responder(Some(8));
        for number in 100..110 {
            responder.handle_write(packet(number)).unwrap();
        }
        assert_eq!(written(&mut responder).len(), 10);
        responder.handle_read(request(7, &[103, 500])).unwrap();
        responder.handle_read(request(7, &[104])).unwrap();
        let out = written(&mut responder);
        assert_eq!(out.len(), 2);
        assert_eq!((out[0].header.ssrc, out[0].header.payload_type, out[0].header.timestamp), (8, 103, 9));
        assert_eq!(out[0].payload[..3], [0, 103, 103]);
        assert_eq!(out[1].header.sequence_number, out[0].header.sequence_number.wrapping_add(1));
        assert_eq!((responder.repairs.packets(), responder.repairs.refused()), (2, 1));
        let counts = RepairCounts { asked: 3, repaired: 2, given_up: 1 };
        assert_eq!(responder.repairs.streams(), [(7, counts)]);
    }

    #[test]
    fn without_a_stream_for_repairs_nothing_is_sent_under_the_old_number() {
        let mut responder = responder(None);
        responder.handle_write(packet(100)).unwrap();
        assert_eq!(written(&mut responder).len(), 1);
        responder.handle_read(request(7, &[100])).unwrap();
        assert!(written(&mut responder).is_empty());
    }

    #[test]
    fn a_renegotiation_does_not_use_numbers_twice() {
        let mut responder = responder(Some(8));
        responder.handle_write(packet(1)).unwrap();
        responder.handle_read(request(7, &[1])).unwrap();
        let before = written(&mut responder).pop().unwrap().header.sequence_number;
        let info = StreamInfo { ssrc: 7, ssrc_rtx: Some(8), payload_type_rtx: Some(103), ..Default::default() };
        responder.unbind_local_stream(&info);
        responder.bind_local_stream(&info);
        responder.handle_write(packet(2)).unwrap();
        responder.handle_read(request(7, &[2])).unwrap();
        let after = written(&mut responder).pop().unwrap().header.sequence_number;
        assert_eq!(after, before.wrapping_add(1));
    }
}
