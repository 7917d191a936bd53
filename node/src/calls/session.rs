//! One webrtc connection, set up the one way that works for us.
//!
//! Where the crate's defaults were measured to be wrong: checks every 20 ms (not 200), keep-alive every 500 ms, no
//! mDNS (it opens a socket per call), local candidates renewed at an ICE restart (kept ones are never told again and
//! the restart hangs), NACK every 20 ms at most five times and no RTX, own estimator without the crate's pacer, one
//! track per section that is never replaced, candidates rewritten to the shared port, roll-back said aloud.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::interceptor::{
    CongestionControlBuilder, NackGeneratorBuilder, NackResponderBuilder, ReceiverReportBuilder, Registry, Slot,
    TwccReceiverBuilder, TwccSenderBuilder,
};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MediaEngine};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder, RTCIceConnectionState,
    RTCIceGatheringState, RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSdpType, RTCSessionDescription,
    RTCStatsReportEntry, SettingEngineBuilder, StatsSelector,
};
use webrtc::rtp_transceiver::RtpSender;

use super::candidate::{Candidate, Kind};
use super::engine::{EngineError, Inner};
use super::estimator::{self, Estimator};
use super::mux::Port;
use super::runtime::CallRuntime;
use super::tap::{Meters, Tap};
use super::{Fingerprint, sdp};

/// Payload types that we offer (dynamic, RFC 3551); an answer may have the offerer's instead.
const OPUS: u8 = 111;
const H264: u8 = 102;
/// Happenings held for the peer's task: states, candidates, two tracks. A call has a few dozen in all.
const HAPPENINGS: usize = 128;
/// How long a description waits for the candidates of its own machine. They take less than a millisecond.
const GATHERING: Duration = Duration::from_millis(50);

/// What the connection tells.
pub(super) enum Happening {
    Candidate(String),
    Gathered,
    Connection(RTCPeerConnectionState),
    Ice(RTCIceConnectionState),
    Track(Arc<dyn TrackRemote>),
}

/// What can go wrong with a step. The text is the crate's, which holds no secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("there are too many calls at once")]
    Full,
    #[error("the media engine refused a step: {0}")]
    Step(#[from] webrtc::error::Error),
    #[error("the media engine made a description without user fragment or fingerprint")]
    Own,
}

/// Where our RTP goes out.
#[derive(Clone)]
pub(super) struct OutTrack {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
}

impl std::fmt::Debug for OutTrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutTrack").field("payload_type", &self.payload_type).finish_non_exhaustive()
    }
}

/// The chosen candidate pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) local: Kind,
    pub(super) remote: Kind,
    pub(super) remote_ip: std::net::IpAddr,
}

/// Hands webrtc's callbacks on. They run inside its event loop and must never wait.
struct Handler(mpsc::Sender<Happening>);

impl Handler {
    fn tell(&self, happening: Happening) {
        if self.0.try_send(happening).is_err() {
            tracing::warn!("a call's events are not taken; one is lost");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            self.tell(Happening::Candidate(init.candidate));
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.tell(Happening::Gathered);
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        self.tell(Happening::Ice(state));
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.tell(Happening::Connection(state));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.tell(Happening::Track(track));
    }
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.into(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".into(),
        rtcp_feedback: vec![],
    }
}

fn h264() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.into(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
        rtcp_feedback: vec![],
    }
}

fn feedback(typ: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback { typ: typ.into(), parameter: parameter.into() }
}

/// Opus and H.264, nothing else: in particular no RTX.
fn codecs() -> Result<MediaEngine, webrtc::error::Error> {
    let mut engine = MediaEngine::default();
    let mut video = h264();
    video.rtcp_feedback = vec![feedback("ccm", "fir"), feedback("nack", ""), feedback("nack", "pli")];
    engine.register_codec(RTCRtpCodecParameters { rtp_codec: opus(), payload_type: OPUS }, RtpCodecKind::Audio)?;
    engine.register_codec(RTCRtpCodecParameters { rtp_codec: video, payload_type: H264 }, RtpCodecKind::Video)?;
    for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
        engine.register_feedback(feedback("transport-cc", ""), kind);
        let uri = rtc::sdp::extmap::TRANSPORT_CC_URI.to_owned();
        engine.register_header_extension(RTCRtpHeaderExtensionCapability { uri }, kind, None)?;
    }
    Ok(engine)
}

/// The packet chain, without the crate's estimator and pacer, and without its sender reports (ours know when a frame
/// was captured, see [`super::outbound`]).
fn chain(meters: &Arc<Meters>) -> Registry {
    let nack = NackGeneratorBuilder::new()
        .with_interval(Duration::from_millis(20))
        .with_max_nacks_per_packet(5)
        .with_size(1024);
    Registry::new()
        .with(Slot::CongestionControl, CongestionControlBuilder::new(Estimator::new(Some(meters.clone()))).build())
        .with(Slot::Custom(Tap::SLOT), Tap::new(meters.clone()))
        .with(Slot::TwccSender, TwccSenderBuilder::new().build())
        .with(Slot::NackResponder, NackResponderBuilder::new().with_size(1024).build())
        .with(Slot::NackGenerator, nack.build())
        .with(Slot::TwccReceiver, TwccReceiverBuilder::new().with_interval(Duration::from_millis(50)).build())
        .with(Slot::ReceiverReport, ReceiverReportBuilder::new().with_interval(Duration::from_millis(500)).build())
}

fn track(kind: RtpCodecKind, name: &str, codec: RTCRtpCodec) -> (Arc<TrackLocalStaticRTP>, u32) {
    let ssrc: u32 = rand::random();
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec,
        ..Default::default()
    };
    let track = MediaStreamTrack::new("call".into(), name.into(), name.into(), kind, vec![coding]);
    (Arc::new(TrackLocalStaticRTP::new(track)), ssrc)
}

/// One connection. [`Self::close`] must be called: the crate keeps running otherwise.
pub(super) struct Session {
    connection: Arc<dyn PeerConnection>,
    engine: Arc<Inner>,
    port: Arc<Port>,
    pub(super) meters: Arc<Meters>,
    /// Turns true when webrtc's driver is gone.
    pub(super) stopped: watch::Receiver<bool>,
    happenings: mpsc::Receiver<Happening>,
    backlog: VecDeque<Happening>,
    own: Fingerprint,
    audio: (Arc<TrackLocalStaticRTP>, u32, Arc<dyn RtpSender>),
    video: (Arc<TrackLocalStaticRTP>, u32, Arc<dyn RtpSender>),
}

impl Session {
    /// Builds a connection with both sections; nothing is sent yet.
    pub(super) async fn new(engine: Arc<Inner>, loopback: bool) -> Result<Self, SessionError> {
        let certificate = engine.take_certificate()?;
        let own = engine.own_fingerprint(&certificate).ok_or(SessionError::Own)?;
        let port = Arc::new(engine.open_port().ok_or(SessionError::Full)?);
        let (runtime, stopped) = CallRuntime::new(port.clone());
        let meters = Arc::new(Meters::new(Instant::now(), estimator::START as u64));
        let settings = SettingEngineBuilder::new()
            .with_crypto_provider(engine.crypto())
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_ice_connection_attempts(Some(Duration::from_millis(20)), None)
            .with_ice_timeouts(
                Some(Duration::from_secs(2)),
                Some(Duration::from_secs(10)),
                Some(Duration::from_millis(500)),
            )
            .with_relay_acceptance_min_wait(Some(Duration::from_millis(200)))
            .with_discard_local_candidates_during_ice_restart(true)
            .build();
        let (tell, happenings) = mpsc::channel(HAPPENINGS);
        let configuration = RTCConfigurationBuilder::new().with_certificates(vec![certificate]).build();
        let connection = PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_media_engine(codecs()?)
            .with_interceptor_registry(chain(&meters))
            .with_setting_engine(settings)
            .with_handler(Arc::new(Handler(tell)))
            .with_runtime(Arc::new(runtime))
            .with_udp_addrs(vec![engine.addresses(loopback)])
            .build()
            .await?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let mut lines = Vec::with_capacity(2);
        for (kind, name, codec) in [(RtpCodecKind::Audio, "audio", opus()), (RtpCodecKind::Video, "video", h264())] {
            let (track, ssrc) = track(kind, name, codec);
            match connection.add_track(track.clone() as Arc<dyn TrackLocal>).await {
                Ok(sender) => lines.push((track, ssrc, sender)),
                Err(error) => {
                    let _ = connection.close().await;
                    return Err(error.into());
                }
            }
        }
        let (Some(video), Some(audio)) = (lines.pop(), lines.pop()) else { return Err(SessionError::Own) };
        Ok(Self { connection, engine, port, meters, stopped, happenings, backlog: VecDeque::new(), own, audio, video })
    }

    /// The fingerprint of our certificate.
    pub(super) fn own_fingerprint(&self) -> Fingerprint {
        self.own
    }

    /// Makes an offer and puts it in force; returns its SDP and the candidates.
    pub(super) async fn offer(&mut self, restart: bool) -> Result<(String, Vec<String>), SessionError> {
        let options = restart.then_some(RTCOfferOptions { ice_restart: true });
        let offer = self.connection.create_offer(options).await?;
        self.put_in_force(offer).await
    }

    /// Takes a friend's (examined) offer and makes the answer.
    pub(super) async fn answer(&mut self, offer: String) -> Result<(String, Vec<String>), SessionError> {
        self.connection.set_remote_description(RTCSessionDescription::offer(offer)?).await?;
        let answer = self.connection.create_answer(None).await?;
        self.put_in_force(answer).await
    }

    /// Takes a friend's (examined) answer.
    pub(super) async fn accept(&mut self, answer: String) -> Result<(), SessionError> {
        Ok(self.connection.set_remote_description(RTCSessionDescription::answer(answer)?).await?)
    }

    /// Takes the own offer back; the crate does not do it by itself when the friend's offer wins.
    pub(super) async fn roll_back(&mut self) -> Result<(), SessionError> {
        let mut nothing = RTCSessionDescription::default();
        nothing.sdp_type = RTCSdpType::Rollback;
        Ok(self.connection.set_local_description(nothing).await?)
    }

    async fn put_in_force(
        &mut self,
        description: RTCSessionDescription,
    ) -> Result<(String, Vec<String>), SessionError> {
        let sdp = sdp::without_candidates(&description.sdp);
        // The crate chooses the user fragment (a fixed one would make every ICE restart a restart in name only). The
        // port must know it before the friend does.
        let mut named = false;
        for ufrag in sdp::ufrags(&sdp) {
            self.port.add_ufrag(ufrag);
            named = true;
        }
        if !named || sdp::fingerprint(&sdp).ok() != Some(self.own) {
            return Err(SessionError::Own);
        }
        self.connection.set_local_description(description).await?;
        Ok((sdp, self.gather().await))
    }

    /// Collects the own candidates; they are there at once unless the machine is very busy.
    async fn gather(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        let deadline = tokio::time::Instant::now() + GATHERING;
        while let Ok(Some(happening)) = tokio::time::timeout_at(deadline, self.happenings.recv()).await {
            match happening {
                Happening::Candidate(line) => found.extend(self.rewritten(&line)),
                Happening::Gathered => break,
                other => self.backlog.push_back(other),
            }
        }
        found
    }

    /// Our candidate with the port that it really has.
    pub(super) fn rewritten(&self, line: &str) -> Option<String> {
        let mut candidate = Candidate::parse(line).ok()?;
        if candidate.kind == Kind::Host {
            candidate.address.set_port(self.engine.port_number());
        }
        Some(candidate.line())
    }

    /// Adds an examined candidate of the friend.
    pub(super) async fn add_candidate(&self, candidate: &Candidate) -> Result<(), SessionError> {
        let init = webrtc::peer_connection::RTCIceCandidateInit {
            candidate: candidate.line(),
            sdp_mid: None,
            sdp_mline_index: Some(0),
            ..Default::default()
        };
        Ok(self.connection.add_ice_candidate(init).await?)
    }

    /// The next happening. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Happening> {
        match self.backlog.pop_front() {
            Some(happening) => Some(happening),
            None => self.happenings.recv().await,
        }
    }

    /// The certificate that the friend presented; `None` until there is one.
    pub(super) async fn presented(&self) -> Option<Fingerprint> {
        let transport = self.audio.2.transport().await.ok()??;
        let chain = transport.get_remote_certificates().await.ok()?;
        self.engine.fingerprint(chain.first()?)
    }

    /// Fingerprint of the certificate seen last in a handshake; not authenticated, good for words only.
    pub(super) fn seen(&self) -> Option<Fingerprint> {
        self.engine.fingerprint(&self.port.seen_certificate()?)
    }

    /// The chosen candidate pair.
    pub(super) async fn chosen(&self) -> Option<Chosen> {
        let transport = self.audio.2.transport().await.ok()??;
        let pair = transport.ice_transport().get_selected_candidate_pair().await.ok()??;
        let kind = |typ: webrtc::peer_connection::RTCIceCandidateType| match typ.to_string().as_str() {
            "srflx" => Kind::ServerReflexive,
            "prflx" => Kind::PeerReflexive,
            "relay" => Kind::Relay,
            _ => Kind::Host,
        };
        Some(Chosen {
            local: kind(pair.local().typ),
            remote: kind(pair.remote().typ),
            remote_ip: pair.remote().address.parse().ok()?,
        })
    }

    /// Round trip of the chosen pair, measured by its checks.
    pub(super) async fn round_trip(&self) -> Option<Duration> {
        let report = self.connection.get_stats(Instant::now(), StatsSelector::None).await;
        report
            .iter()
            .filter_map(|entry| match entry {
                RTCStatsReportEntry::IceCandidatePair(pair) if pair.nominated => Some(pair.current_round_trip_time),
                _ => None,
            })
            .find(|seconds| *seconds > 0.0 && *seconds < 60.0)
            .map(Duration::from_secs_f64)
    }

    /// Where our audio goes out, once negotiated.
    pub(super) async fn out_audio(&self) -> Option<OutTrack> {
        out_track(&self.audio, MIME_TYPE_OPUS).await
    }

    /// Where our video goes out, if the friend takes any.
    pub(super) async fn out_video(&self) -> Option<OutTrack> {
        out_track(&self.video, MIME_TYPE_H264).await
    }

    /// Sends a report without content: a sign of life that every receiver passes over (RFC 3550, 6.4.2).
    pub(super) async fn sign_of_life(&self) {
        let report = ReceiverReport { ssrc: self.audio.1, ..Default::default() };
        let _ = self.audio.0.write_rtcp(vec![Box::new(report)]).await;
    }

    /// Asks the friend for a key frame.
    pub(super) async fn ask_key_frame(&self, video: &Arc<dyn TrackRemote>) {
        if let Some(&media_ssrc) = video.ssrcs().await.first() {
            let request = PictureLossIndication { sender_ssrc: self.video.1, media_ssrc };
            let _ = video.write_rtcp(vec![Box::new(request)]).await;
        }
    }

    /// Ends the connection and everything it holds. The friend is not told: that goes over the link.
    pub(super) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!("closing a call's connection: {error}");
        }
    }
}

async fn out_track(line: &(Arc<TrackLocalStaticRTP>, u32, Arc<dyn RtpSender>), mime: &str) -> Option<OutTrack> {
    let parameters = line.2.get_parameters().await.ok()?;
    let codec =
        parameters.rtp_parameters.codecs.iter().find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(mime))?;
    Some(OutTrack { track: line.0.clone(), ssrc: line.1, payload_type: codec.payload_type })
}
