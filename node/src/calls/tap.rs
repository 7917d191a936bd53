//! Our own interceptor in webrtc's packet chain: it counts, and it hears what the crate keeps to itself.
//!
//! Everything it sees has been decrypted and authenticated. RTCP that matters to us (key frame requests, reports) is
//! copied into a small inbox for the peer's task; the crate's own way of delivering it needs a queue per track and
//! prints whole packets into the log when one is full.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use tokio::sync::Notify;

use super::allocate::Shares;
use super::estimator::rate::Rate;
use super::nack::Repairs;

/// Messages held for the peer's task; the oldest goes first. Key frame requests are a flag and cannot be lost.
const MAX_INBOX: usize = 32;
/// Bytes that SRTP, UDP and IPv4 add to a packet of the chain.
pub(super) const OVERHEAD: u64 = 16 + 8 + 20;

/// A report from the friend's side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Report {
    /// The clock of a stream: RTP timestamp at an NTP time.
    Sender { ssrc: u32, ntp: u64, rtp: u32 },
    /// How a stream of ours arrives there: share lost since the last report, jitter in ticks of its clock.
    Receiver { ssrc: u32, lost: f64, jitter: u32 },
}

/// Counters and the inbox, shared between the driver, the peer's tasks and the estimator.
#[derive(Debug)]
pub(super) struct Meters {
    origin: Instant,
    last_in: AtomicU64,
    last_out: AtomicU64,
    packets_in: AtomicU64,
    packets_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    key_requests: AtomicU32,
    screen_key_requests: AtomicU32,
    /// Source of our shared screen: requests for it are counted apart.
    screen: AtomicU32,
    /// Estimate of what the path carries, bits per second.
    target: AtomicU64,
    estimate: Mutex<Estimate>,
    shares: Mutex<Told>,
    voice_only: AtomicBool,
    moved: AtomicBool,
    reports_out: AtomicU64,
    inbox: Mutex<VecDeque<Report>>,
    /// What is sent again.
    pub(super) repairs: Arc<Repairs>,
    /// Told when the inbox, the key frame flag or the shares change.
    pub(super) news: Notify,
    /// Told when the estimate changes.
    pub(super) estimates: Notify,
}

/// What the estimator found out last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Estimate {
    /// Bits per second on the wire, for good and at this moment; zero before the first report.
    pub(super) target: f64,
    pub(super) pace: f64,
    /// The path is nearly full.
    pub(super) near: bool,
    /// It is known how wide the path is about.
    pub(super) begun: bool,
    /// Share of packets lost, and how many in a row.
    pub(super) loss: f64,
    pub(super) burst: f64,
    /// Length of the path's queue, seconds.
    pub(super) queue: f64,
    /// When the last report came, and how much had left until then.
    pub(super) reported: Option<(Instant, u64)>,
    /// How long after a packet its report comes.
    pub(super) response: Duration,
}

/// What the sending task wants the estimator to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Nothing but the voice is sent, because more does not fit.
    pub(super) voice_only: bool,
    /// Media takes another path than at the last report.
    pub(super) moved: bool,
}

/// What each stream may use, and whether pictures are stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) shares: Shares,
    pub(super) stopped: bool,
    /// Not yet told the client.
    pub(super) fresh: bool,
}

impl Told {
    /// What a client may use before anything is known of the path: a small picture and a good voice.
    fn at_first(target: u64) -> Self {
        let shares = Shares { audio: target / 10, camera: target * 3 / 4, screen: target * 3 / 4 };
        Self { shares, stopped: false, fresh: false }
    }
}

/// A reading of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) packets_in: u64,
    pub(super) packets_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Meters {
    pub(super) fn new(origin: Instant, target: u64) -> Self {
        Self {
            origin,
            last_in: AtomicU64::new(0),
            last_out: AtomicU64::new(0),
            packets_in: AtomicU64::new(0),
            packets_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            key_requests: AtomicU32::new(0),
            screen_key_requests: AtomicU32::new(0),
            screen: AtomicU32::new(0),
            target: AtomicU64::new(target),
            estimate: Mutex::default(),
            shares: Mutex::new(Told::at_first(target)),
            voice_only: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            reports_out: AtomicU64::new(0),
            inbox: Mutex::default(),
            repairs: Arc::new(Repairs::new(target)),
            news: Notify::new(),
            estimates: Notify::new(),
        }
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the last authenticated packet came (or since `since`, whichever is later).
    pub(super) fn silence_ms(&self, now: Instant, since: Instant) -> u64 {
        self.ms(now).saturating_sub(self.last_in.load(Relaxed).max(self.ms(since)))
    }

    /// Milliseconds since a packet of media or RTCP left.
    pub(super) fn idle_out_ms(&self, now: Instant) -> u64 {
        self.ms(now).saturating_sub(self.last_out.load(Relaxed))
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            packets_in: self.packets_in.load(Relaxed),
            packets_out: self.packets_out.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
        }
    }

    /// Estimate of what the path carries, bits per second with all headers.
    pub(super) fn target(&self) -> u64 {
        self.target.load(Relaxed)
    }

    /// What the estimator found out last.
    pub(super) fn estimate(&self) -> Estimate {
        *self.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the estimator: there is a new estimate.
    pub(super) fn estimated(&self, now: Instant, rate: &Rate) {
        self.target.store(rate.target() as u64, Relaxed);
        *self.estimate.lock().unwrap_or_else(PoisonError::into_inner) = Estimate {
            target: rate.target(),
            pace: rate.pace(),
            near: rate.near(),
            begun: rate.begun(),
            loss: rate.loss_at_random(),
            burst: rate.loss().burst(),
            queue: rate.queue(),
            response: rate.response(),
            reported: Some((now, self.bytes_out.load(Relaxed))),
        };
        self.estimates.notify_one();
    }

    /// For the estimator: what has changed on our side.
    pub(super) fn wishes(&self) -> Wishes {
        Wishes { voice_only: self.voice_only.load(Relaxed), moved: self.moved.swap(false, Relaxed) }
    }

    /// Media takes another path now.
    pub(super) fn path_changed(&self) {
        self.moved.store(true, Relaxed);
    }

    /// From the sending task: what each stream may use. The peer's task is told of a change of more than a twentieth.
    pub(super) fn share(&self, shares: Shares, stopped: bool, picture: bool) {
        self.voice_only.store(stopped && picture, Relaxed);
        let mut told = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let other = |old: u64, new: u64| old.abs_diff(new) * 20 > old.max(1);
        let before = told.shares;
        let changed = told.stopped != stopped
            || other(before.audio, shares.audio)
            || other(before.camera, shares.camera)
            || other(before.screen, shares.screen);
        if changed {
            *told = Told { shares, stopped, fresh: true };
            drop(told);
            self.news.notify_one();
        }
    }

    /// What each stream may use.
    pub(super) fn told(&self) -> Told {
        *self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether pictures are wanted, and stopped because the path is too narrow.
    pub(super) fn narrow(&self) -> bool {
        self.voice_only.load(Relaxed)
    }

    /// The client has been told.
    pub(super) fn heard(&self) {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).fresh = false;
    }

    /// Bytes of reports that left, with headers.
    pub(super) fn reports_out(&self) -> u64 {
        self.reports_out.load(Relaxed)
    }

    /// Key frame requests since the last look: for the camera, for the shared screen.
    pub(super) fn take_key_requests(&self) -> (u32, u32) {
        (self.key_requests.swap(0, Relaxed), self.screen_key_requests.swap(0, Relaxed))
    }

    /// The source of our shared screen.
    pub(super) fn set_screen(&self, ssrc: u32) {
        self.screen.store(ssrc, Relaxed);
    }

    fn key_request(&self, ssrc: u32) {
        let screen = ssrc == self.screen.load(Relaxed);
        let counter = if screen { &self.screen_key_requests } else { &self.key_requests };
        counter.fetch_add(1, Relaxed);
    }

    /// Reports since the last look.
    pub(super) fn take_reports(&self) -> VecDeque<Report> {
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn report(&self, report: Report) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.len() >= MAX_INBOX {
            inbox.pop_front();
        }
        inbox.push_back(report);
    }

    fn incoming(&self, now: Instant, bytes: usize) {
        self.last_in.fetch_max(self.ms(now), Relaxed);
        self.packets_in.fetch_add(1, Relaxed);
        self.bytes_in.fetch_add(bytes as u64 + OVERHEAD, Relaxed);
    }

    /// Something left, for tests of who reads the counters.
    #[cfg(test)]
    pub(super) fn left(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    fn outgoing(&self, now: Instant, bytes: usize) {
        self.last_out.fetch_max(self.ms(now), Relaxed);
        self.packets_out.fetch_add(1, Relaxed);
        self.bytes_out.fetch_add(bytes as u64 + OVERHEAD, Relaxed);
    }

    fn receptions(&self, reports: &[ReceptionReport]) {
        for report in reports.iter().take(4) {
            let lost = f64::from(report.fraction_lost) / 256.0;
            self.report(Report::Receiver { ssrc: report.ssrc, lost, jitter: report.jitter });
        }
    }

    fn rtcp(&self, packets: &[Box<dyn rtc::rtcp::Packet>]) {
        for packet in packets {
            let any = packet.as_any();
            if let Some(request) = any.downcast_ref::<PictureLossIndication>() {
                self.key_request(request.media_ssrc);
            } else if let Some(request) = any.downcast_ref::<FullIntraRequest>() {
                request.fir.iter().take(4).for_each(|entry| self.key_request(entry.ssrc));
            } else if let Some(report) = any.downcast_ref::<SenderReport>() {
                self.report(Report::Sender { ssrc: report.ssrc, ntp: report.ntp_time, rtp: report.rtp_time });
                self.receptions(&report.reports);
            } else if let Some(report) = any.downcast_ref::<ReceiverReport>() {
                self.receptions(&report.reports);
            } else {
                continue;
            }
            self.news.notify_one();
        }
    }
}

/// The interceptor itself: passes everything through.
pub(super) struct Tap {
    meters: std::sync::Arc<Meters>,
    reading: VecDeque<TaggedPacket>,
    writing: VecDeque<TaggedPacket>,
}

impl Tap {
    /// Place in the chain: nearest to the wire but for the congestion controller, so that retransmissions and reports
    /// made by other interceptors are counted.
    pub(super) const SLOT: usize = 1_500;

    pub(super) fn new(meters: std::sync::Arc<Meters>) -> Self {
        Self { meters, reading: VecDeque::new(), writing: VecDeque::new() }
    }
}

fn size(packet: &Packet) -> usize {
    match packet {
        Packet::Rtp(packet) => packet.payload.len() + 20,
        Packet::Rtcp(packets) => packets.iter().map(|packet| packet.raw_size()).sum(),
        _ => 0,
    }
}

impl rtc::sansio::Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.meters.incoming(message.now, size(&message.message.packet));
        if let Packet::Rtcp(packets) = &message.message.packet {
            self.meters.rtcp(packets);
        }
        self.reading.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reading.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        let bytes = size(&message.message.packet);
        self.meters.outgoing(message.now, bytes);
        if matches!(message.message.packet, Packet::Rtcp(_)) {
            self.meters.reports_out.fetch_add(bytes as u64 + OVERHEAD, Relaxed);
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

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
