//! What we tell the friend about what arrives: when each packet came, and how much is missing.
//!
//! The crate's two reporters speak twenty times a second for each stream whether much flows or little. This one keeps
//! its reports below a twentieth of what comes in: every 50 ms for a picture, four times a second for a voice, once a
//! second in silence. A report about arrivals also repeats the two before it, so that the loss of a report is not taken
//! for the loss of what it told.
//!
//! It also stands guard on the way in: reports of the friend that nobody asked for, or that claim to tell of more
//! packets than could have been sent, do not get to the estimator.

mod arrivals;
mod reception;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtc::interceptor::{AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::cc_feedback_report::CcFeedbackReport;
use rtc::rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc::rtp::extension::transport_cc_extension::TransportCcExtension;
use rtc::shared::TransportContext;
use rtc::shared::marshal::Unmarshal;

use arrivals::Arrivals;
use reception::Receptions;

/// Most packets that a believable report tells of: what is sent in two seconds at the highest rate.
const MAX_STATUSES: u16 = 2000;
/// Most believable reports in a second.
const MAX_REPORTS: u32 = 120;
const SECOND: Duration = Duration::from_secs(1);

/// Whether a report about arrivals can be true. Both reporters together are one interceptor, because both need what
/// comes in and neither changes it.
#[derive(Debug)]
struct Guard {
    since: Option<Instant>,
    count: u32,
}

impl Guard {
    fn lets(&mut self, now: Instant, report: &dyn rtc::rtcp::Packet) -> bool {
        let any = report.as_any();
        // Not negotiated, and its numbers are not bounded.
        if any.is::<CcFeedbackReport>() {
            return false;
        }
        let Some(feedback) = any.downcast_ref::<TransportLayerCc>() else { return true };
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= SECOND) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        feedback.packet_status_count <= MAX_STATUSES && self.count <= MAX_REPORTS
    }
}

/// Keeps unbelievable reports away from the estimator. Nearest to the wire.
pub(super) struct Gate {
    guard: Guard,
    reading: VecDeque<TaggedPacket>,
    writing: VecDeque<TaggedPacket>,
}

impl Gate {
    /// Place in the chain: before the congestion controller.
    pub(super) const SLOT: usize = 500;

    pub(super) fn new() -> Self {
        Self { guard: Guard { since: None, count: 0 }, reading: VecDeque::new(), writing: VecDeque::new() }
    }
}

/// Tells the friend what arrives.
pub(super) struct Reporter {
    arrivals: Arrivals,
    receptions: Receptions,
    /// Number of the header extension with the transport-wide number, as negotiated.
    extension: Option<u8>,
    ssrc: u32,
    reading: VecDeque<TaggedPacket>,
    writing: VecDeque<TaggedPacket>,
}

impl Reporter {
    pub(super) fn new() -> Self {
        Self {
            arrivals: Arrivals::new(),
            receptions: Receptions::new(),
            extension: None,
            ssrc: rand::random(),
            reading: VecDeque::new(),
            writing: VecDeque::new(),
        }
    }

    fn take(&mut self, now: Instant, packet: &rtc::rtp::Packet) {
        let header = &packet.header;
        if let Some(mut number) = self.extension.and_then(|id| header.get_extension(id))
            && let Ok(number) = TransportCcExtension::unmarshal(&mut number)
        {
            let bytes = packet.payload.len() + super::tap::OVERHEAD as usize;
            self.arrivals.packet(now, number.transport_sequence, bytes, header.ssrc);
        }
        self.receptions.packet(now, header.ssrc, header.sequence_number, header.timestamp);
    }

    fn put(&mut self, now: Instant, report: Box<dyn rtc::rtcp::Packet>) {
        self.writing.push_back(TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtcp(vec![report])),
        });
    }
}

impl rtc::sansio::Protocol<TaggedPacket, TaggedPacket, ()> for Gate {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), Self::Error> {
        if let Packet::Rtcp(packets) = &mut message.message.packet {
            packets.retain(|packet| self.guard.lets(message.now, packet.as_ref()));
            if packets.is_empty() {
                return Ok(());
            }
        }
        self.reading.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reading.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
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

impl Interceptor for Gate {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

impl rtc::sansio::Protocol<TaggedPacket, TaggedPacket, ()> for Reporter {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        match &message.message.packet {
            Packet::Rtp(packet) => self.take(message.now, packet),
            Packet::Rtcp(packets) => {
                for report in packets.iter().filter_map(|packet| packet.as_any().downcast_ref::<SenderReport>()) {
                    self.receptions.sender_report(message.now, report.ssrc, report.ntp_time);
                }
            }
            _ => {}
        }
        self.reading.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reading.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.writing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writing.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Self::Error> {
        for report in self.arrivals.reports(now, self.ssrc) {
            self.put(now, Box::new(report));
        }
        if let Some(reports) = self.receptions.reports(now) {
            self.put(now, Box::new(ReceiverReport { ssrc: self.ssrc, reports, ..Default::default() }));
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        match (self.arrivals.due(), self.receptions.due()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

impl Interceptor for Reporter {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        // One number for the whole connection: all sections are bundled.
        let wanted = |extension: &&rtc::interceptor::RTPHeaderExtension| {
            extension.uri == rtc::sdp::extmap::TRANSPORT_CC_URI && extension.id != 0
        };
        if let Some(found) = info.rtp_header_extensions.iter().find(wanted) {
            self.extension = u8::try_from(found.id).ok();
        }
        self.receptions.bind(info.ssrc, info.clock_rate);
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.receptions.unbind(info.ssrc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_that_cannot_be_true_are_kept_away() {
        let mut guard = Guard { since: None, count: 0 };
        let now = Instant::now();
        let report = |count| TransportLayerCc { packet_status_count: count, ..Default::default() };
        assert!(guard.lets(now, &report(100)));
        assert!(!guard.lets(now, &report(65_535)));
        assert!(!guard.lets(now, &CcFeedbackReport::default()));
        assert!(guard.lets(now, &ReceiverReport::default()));
        let passed = (0..10_000).filter(|_| guard.lets(now, &report(1))).count();
        assert!(passed <= MAX_REPORTS as usize, "{passed}");
        assert!(guard.lets(now + SECOND, &report(1)), "a second later it may speak again");
    }
}
