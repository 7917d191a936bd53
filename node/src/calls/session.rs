//! One webrtc connection, set up the one way that works for us.
//!
//! Its ICE agent is kept busy by a stand-in (see [`super::ice`]): one socket under a loopback name, one remote address
//! that is nobody's, no candidates told, no restart ever. Candidates, checks and restarts on the wire are our own.
//!
//! Where the crate's defaults were measured to be wrong: no mDNS (it opens a socket per call), own requests
//! for lost packets and answers to them (see [`super::nack`]), own estimator without the crate's pacer, one track per section that is never replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::interceptor::{CongestionControlBuilder, Registry, Slot, TwccSenderBuilder};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_RTX, MediaEngine};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use twocan_control::MediaKind;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder, RTCPeerConnectionState,
    RTCSessionDescription, SettingEngineBuilder,
};
use webrtc::rtp_transceiver::RtpSender;

use super::engine::{EngineError, Inner};
use super::estimator::{self, Estimator};
use super::formats::{self, Ability, Common, FORMATS, Format};
use super::ice::paths::{self, Paths, Relays, Setup};
use super::ice::{Chosen, Credentials};
use super::mux::Port;
use super::nack::{Numbered, Responder};
use super::reporter::{Gate, Reporter};
use super::runtime::CallRuntime;
use super::tap::{Meters, Tap};
use super::{Fingerprint, place_of, sdp};

/// Payload types that we offer (dynamic, RFC 3551); an answer may have the offerer's instead.
const OPUS: u8 = 111;
const RED: u8 = 63;
/// Redundant audio data (RFC 2198).
const MIME_TYPE_RED: &str = "audio/red";
/// Happenings held for the peer's task: states, candidates, four tracks. A call has a few dozen in all.
const HAPPENINGS: usize = 128;
/// Between two looks of webrtc's agent whether its stand-in answers: a tick costs microseconds and ends when there is a
/// path.
const INNER_CHECKS: Duration = Duration::from_millis(10);
/// Its checks are never given up; the time limit for a path is our own.
const INNER_TRIES: u16 = 20_000;
/// What was sent is remembered for so long: a report comes after the round trip, a full queue and a second of silence.
const SENT_REMEMBERED: Duration = Duration::from_secs(4);
/// Times of webrtc's agent that must not come into play.
const NEVER: Duration = Duration::from_secs(86_400);

/// What the connection tells.
pub(super) enum Happening {
    Connection(RTCPeerConnectionState),
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
    #[error("a description has no user fragment, password or fingerprint")]
    Own,
}

/// Where our RTP goes out.
#[derive(Clone)]
pub(super) struct OutTrack {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    /// The type for redundant audio, if the friend takes it.
    pub(super) red_type: Option<u8>,
}

impl std::fmt::Debug for OutTrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutTrack").field("payload_type", &self.payload_type).finish_non_exhaustive()
    }
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

/// Blocks of Opus, as many as a packet holds. The parameters name the type of the first two blocks (RFC 2198, 5), as
/// browsers do.
fn red() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_RED.into(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: format!("{OPUS}/{OPUS}"),
        rtcp_feedback: vec![],
    }
}

fn picture(format: &Format) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: format!("video/{}", format.encoding),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: format.parameters.into(),
        rtcp_feedback: vec![],
    }
}

fn feedback(typ: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback { typ: typ.into(), parameter: parameter.into() }
}

/// Repairs of pictures in this form (RFC 4588).
fn repairs(format: &Format) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.into(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: format!("apt={}", format.payload_type),
        rtcp_feedback: vec![],
    }
}

/// Opus (also redundant), our forms of pictures and their repairs, nothing else.
fn codecs() -> Result<MediaEngine, webrtc::error::Error> {
    let mut engine = MediaEngine::default();
    engine.register_codec(RTCRtpCodecParameters { rtp_codec: opus(), payload_type: OPUS }, RtpCodecKind::Audio)?;
    engine.register_codec(RTCRtpCodecParameters { rtp_codec: red(), payload_type: RED }, RtpCodecKind::Audio)?;
    for format in FORMATS {
        let mut video = picture(format);
        video.rtcp_feedback = vec![feedback("ccm", "fir"), feedback("nack", ""), feedback("nack", "pli")];
        for (rtp_codec, payload_type) in [(video, format.payload_type), (repairs(format), format.repairs)] {
            engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, RtpCodecKind::Video)?;
        }
    }
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
    let control = CongestionControlBuilder::new(Estimator::new(meters.clone())).with_prune_horizon(SENT_REMEMBERED);
    Registry::new()
        .with(Slot::Custom(Gate::SLOT), Gate::new())
        .with(Slot::CongestionControl, Numbered(control.build()))
        .with(Slot::Custom(Tap::SLOT), Tap::new(meters.clone()))
        .with(Slot::TwccSender, Numbered(TwccSenderBuilder::new().build()))
        .with(Slot::NackResponder, Responder::new(meters.repairs.clone()))
        .with(Slot::TwccReceiver, Reporter::new())
}

fn track(kind: MediaKind) -> (Arc<TrackLocalStaticRTP>, u32) {
    let (name, kind, codec) = match kind {
        MediaKind::Audio => ("audio", RtpCodecKind::Audio, opus()),
        MediaKind::Video => ("video", RtpCodecKind::Video, picture(&FORMATS[0])),
        MediaKind::Screen => ("screen", RtpCodecKind::Video, picture(&FORMATS[0])),
        MediaKind::Sound => ("sound", RtpCodecKind::Audio, opus()),
    };
    let ssrc: u32 = rand::random();
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec,
        ..Default::default()
    };
    let track = MediaStreamTrack::new("call".into(), name.into(), name.into(), kind, vec![coding]);
    (Arc::new(TrackLocalStaticRTP::new(track)), ssrc)
}

/// How a connection is set up.
pub(super) struct SessionConfig {
    /// Our side made the first offer.
    pub(super) offers: bool,
    /// The friend is on this machine.
    pub(super) loopback: bool,
    /// Only relays may be used.
    pub(super) relay_only: bool,
    /// The allocations of the peer.
    pub(super) relays: Arc<Relays>,
}

/// One connection. [`Self::close`] must be called: the crate keeps running otherwise.
pub(super) struct Session {
    connection: Arc<dyn PeerConnection>,
    engine: Arc<Inner>,
    port: Port,
    pub(super) paths: Arc<Paths>,
    clock: JoinHandle<()>,
    pub(super) meters: Arc<Meters>,
    /// Turns true when webrtc's driver is gone.
    pub(super) stopped: watch::Receiver<bool>,
    happenings: mpsc::Receiver<Happening>,
    own: Fingerprint,
    /// Our description as it was first, and how often it was told since.
    said: Option<String>,
    versions: u64,
    /// Our part in the DTLS handshake, once settled.
    setup: Option<sdp::DtlsPart>,
    /// Our streams, by [`place_of`].
    streams: [OutStream; 4],
    /// The friend's description (its sections count, and its sources), once there is one.
    friend: String,
}

/// A track of ours with its source and the sender that it got.
type OutStream = (Arc<TrackLocalStaticRTP>, u32, Arc<dyn RtpSender>);

impl Drop for Session {
    fn drop(&mut self) {
        self.clock.abort();
    }
}

impl Session {
    /// Builds a connection with all sections; nothing is sent yet.
    pub(super) async fn new(engine: Arc<Inner>, config: SessionConfig) -> Result<Self, SessionError> {
        let certificate = engine.take_certificate()?;
        let own = engine.own_fingerprint(&certificate).ok_or(SessionError::Own)?;
        let port = engine.open_port().ok_or(SessionError::Full)?;
        let setup = Setup {
            crypto: engine.crypto(),
            controlling: config.offers,
            lax: config.loopback,
            relay_only: config.relay_only,
        };
        let paths = Paths::new(port.mux().clone(), port.id(), config.relays, setup);
        port.attach(&paths);
        let (runtime, stopped) = CallRuntime::new(paths.clone());
        let meters = Arc::new(Meters::new(Instant::now(), estimator::START as u64));
        paths.watch(meters.clone());
        let settings = SettingEngineBuilder::new()
            .with_crypto_provider(engine.crypto())
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_ice_connection_attempts(Some(INNER_CHECKS), Some(INNER_TRIES))
            .with_ice_timeouts(Some(NEVER), Some(NEVER), Some(Duration::from_secs(5)))
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
            .with_udp_addrs(vec![std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0))])
            .build()
            .await?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let mut streams = Vec::with_capacity(MediaKind::ALL.len());
        for kind in MediaKind::ALL {
            let (track, ssrc) = track(kind);
            match connection.add_track(track.clone() as Arc<dyn TrackLocal>).await {
                Ok(sender) => streams.push((track, ssrc, sender)),
                Err(error) => {
                    let _ = connection.close().await;
                    return Err(error.into());
                }
            }
        }
        let streams = <[OutStream; 4]>::try_from(streams).map_err(|_| SessionError::Own)?;
        meters.set_screen(streams[place_of(MediaKind::Screen)].1);
        let clock = tokio::spawn(Paths::run(Arc::downgrade(&paths)));
        Ok(Self {
            connection,
            engine,
            port,
            paths,
            clock,
            meters,
            stopped,
            happenings,
            own,
            said: None,
            versions: 0,
            setup: None,
            streams,
            friend: String::new(),
        })
    }

    /// The fingerprint of our certificate.
    pub(super) fn own_fingerprint(&self) -> Fingerprint {
        self.own
    }

    /// Makes the first offer and puts it in force; returns its SDP.
    pub(super) async fn offer(&mut self) -> Result<String, SessionError> {
        let offer = self.connection.create_offer(None).await?;
        self.put_in_force(offer, &[]).await
    }

    /// Takes a friend's (examined) first offer and makes the answer.
    pub(super) async fn answer(&mut self, offer: String) -> Result<String, SessionError> {
        let friend = credentials(&offer)?;
        let (offer, refused) = formats::answerable(&offer);
        self.friend = formats::turned_down(&offer, &refused);
        self.connection.set_remote_description(RTCSessionDescription::offer(offer)?).await?;
        let answer = self.connection.create_answer(None).await?;
        let said = self.put_in_force(answer, &refused).await?;
        self.setup = sdp::dtls_part(&said);
        self.meet(friend).await?;
        Ok(said)
    }

    /// Takes a friend's (examined) first answer.
    pub(super) async fn accept(&mut self, answer: String) -> Result<(), SessionError> {
        let friend = credentials(&answer)?;
        let (_, refused) = formats::answerable(&answer);
        let answer = formats::turned_down(&answer, &refused);
        let answer = sdp::completed(&answer, self.said.as_deref().unwrap_or_default());
        self.setup = sdp::dtls_part(&answer).map(sdp::DtlsPart::other);
        self.friend.clone_from(&answer);
        self.connection.set_remote_description(RTCSessionDescription::answer(answer)?).await?;
        self.meet(friend).await
    }

    /// Our description for a renewed exchange of candidates: nothing in it is new but its number.
    pub(super) fn say_again(&mut self, offer: bool) -> Result<String, SessionError> {
        let said = self.said.as_ref().ok_or(SessionError::Own)?;
        self.versions += 1;
        Ok(sdp::again(said, self.versions, if offer { None } else { self.setup }))
    }

    /// Takes a friend's (examined) description of a renewed exchange. webrtc is not told: for it nothing changes.
    pub(super) fn renewed(&self, description: &str) -> Result<(), SessionError> {
        self.paths.set_friend(credentials(description)?);
        self.paths.renew();
        Ok(())
    }

    /// Puts our description in force; gives it as the friend is told, with these kinds turned down.
    async fn put_in_force(
        &mut self,
        description: RTCSessionDescription,
        refused: &[MediaKind],
    ) -> Result<String, SessionError> {
        let sdp = formats::with_our_limits(&sdp::without_candidates(&description.sdp));
        let sdp = formats::turned_down(&sdp, refused);
        let own = credentials(&sdp)?;
        if sdp::fingerprint(&sdp).ok() != Some(self.own) {
            return Err(SessionError::Own);
        }
        // The port must know the fragment before the friend does.
        self.port.add_ufrag(&own.ufrag);
        self.paths.set_own(own);
        self.connection.set_local_description(description).await?;
        self.said = Some(sdp.clone());
        Ok(sdp)
    }

    /// Both sides are known: our agent may begin, and webrtc's gets its stand-in.
    async fn meet(&self, friend: Credentials) -> Result<(), SessionError> {
        self.paths.set_friend(friend);
        let init = webrtc::peer_connection::RTCIceCandidateInit {
            candidate: format!("candidate:1 1 udp 2130706431 {} {} typ host", paths::INSIDE.ip(), paths::INSIDE.port()),
            sdp_mid: None,
            sdp_mline_index: Some(0),
            ..Default::default()
        };
        Ok(self.connection.add_ice_candidate(init).await?)
    }

    /// The next happening. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Happening> {
        self.happenings.recv().await
    }

    /// The certificate that the friend presented; `None` until there is one.
    pub(super) async fn presented(&self) -> Option<Fingerprint> {
        let transport = self.streams[0].2.transport().await.ok()??;
        let chain = transport.get_remote_certificates().await.ok()?;
        self.engine.fingerprint(chain.first()?)
    }

    /// Fingerprint of the certificate seen last in a handshake; not authenticated, good for words only.
    pub(super) fn seen(&self) -> Option<Fingerprint> {
        self.engine.fingerprint(&self.port.seen_certificate()?)
    }

    /// The path in use.
    pub(super) fn chosen(&self) -> Option<Chosen> {
        self.paths.chosen()
    }

    /// What the friend takes of pictures of this kind that we carry, best first.
    pub(super) fn common(&self, kind: MediaKind) -> Vec<Common> {
        formats::common(&self.friend, kind)
    }

    /// Where a stream of ours goes out, if the friend takes what the client makes.
    pub(super) async fn out(&self, kind: MediaKind, ability: &Ability) -> Option<OutTrack> {
        if !sdp::takes(&self.friend, kind) {
            return None;
        }
        let (track, ssrc, sender) = &self.streams[place_of(kind)];
        let parameters = sender.get_parameters().await.ok()?;
        let codecs = &parameters.rtp_parameters.codecs;
        let of = |mime: &str| {
            let codec = codecs.iter().find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(mime));
            codec.map(|codec| codec.payload_type)
        };
        let red_type = if sdp::takes_red(&self.friend) { of(MIME_TYPE_RED) } else { None };
        let red_type = red_type.filter(|_| kind == MediaKind::Audio);
        let payload_type = if kind.is_picture() {
            let agreed = ability.sends(&self.common(kind))?.payload_type;
            codecs.iter().find(|codec| codec.payload_type == agreed)?.payload_type
        } else {
            of(MIME_TYPE_OPUS)?
        };
        Some(OutTrack { track: track.clone(), ssrc: *ssrc, payload_type, red_type })
    }

    /// What a track of the friend is: by the section that names its source, else the first of its kind.
    pub(super) fn kind_of(&self, ssrc: Option<u32>, video: bool) -> MediaKind {
        let named = sdp::sources(&self.friend).into_iter().find(|(of, _)| Some(*of) == ssrc);
        match named {
            Some((_, kind)) if kind.is_picture() == video => kind,
            _ if video => MediaKind::Video,
            _ => MediaKind::Audio,
        }
    }

    /// Sends a report without content: a sign of life that every receiver passes over (RFC 3550, 6.4.2).
    pub(super) async fn sign_of_life(&self) {
        let report = ReceiverReport { ssrc: self.streams[0].1, ..Default::default() };
        let _ = self.streams[0].0.write_rtcp(vec![Box::new(report)]).await;
    }

    /// Asks the friend for a key frame.
    pub(super) async fn ask_key_frame(&self, video: &Arc<dyn TrackRemote>) {
        if let Some(&media_ssrc) = video.ssrcs().await.first() {
            let request = PictureLossIndication { sender_ssrc: self.streams[place_of(MediaKind::Video)].1, media_ssrc };
            let _ = video.write_rtcp(vec![Box::new(request)]).await;
        }
    }

    /// Ends the connection and everything it holds. The friend is not told: that goes over the link.
    pub(super) async fn close(self) {
        let repairs = &self.meters.repairs;
        tracing::debug!(
            packets = repairs.packets(),
            bytes = repairs.bytes(),
            refused = repairs.refused(),
            "sent again in this call"
        );
        if let Err(error) = self.connection.close().await {
            tracing::debug!("closing a call's connection: {error}");
        }
    }
}

fn credentials(sdp: &str) -> Result<Credentials, SessionError> {
    let value = |name| sdp::attribute(sdp, name).map(str::to_owned).ok_or(SessionError::Own);
    Ok(Credentials { ufrag: value("ice-ufrag")?, password: value("ice-pwd")? })
}
