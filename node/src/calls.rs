//! Calls: the media path between two nodes, over webrtc.
//!
//! An [`Engine`] owns one UDP port for all calls and keeps certificates ready. [`Engine::open`] makes a [`Peer`]: a
//! task that drives one webrtc connection by [`PeerCommand`]s and tells what happens by [`PeerEvent`]s. Media does not
//! pass the owner: frames go between the client's [`SeatEnd`] and RTP inside the peer.
//!
//! The order of things: `Offer` makes `Local` (to be sent over the link); the friend's `Remote` answer and candidates
//! come in; `Connected` tells that the path is up and that the certificate which the friend presented is the one that
//! the link vouched for. All that can happen while it rings. Nothing of media is sent or handed on before
//! `Flow` says so.
//!
//! The way there is our own: `gather` (addresses of this machine), `reflexive` (as others see them), `slots` (relays),
//! and the agent in `ice`, which moves media between paths without a gap.
//!
//! webrtc's types stay in here. What its crate gets wrong and how that is dealt with is written where it is done:
//! `mux` (one port), `ice` (one path only), `runtime` (its silent death), `session` (settings), `tap` (RTCP),
//! `estimator` (bandwidth), `h264` and `assembly` (hostile packets), `nack` (repairs).

mod allocate;
mod assembly;
mod candidate;
mod clock;
mod dtls;
mod engine;
mod estimator;
mod formats;
mod gather;
mod h264;
mod ice;
mod inbound;
mod mux;
mod nack;
mod outbound;
mod pacer;
mod pacing;
mod peer;
mod picture;
mod red;
mod reflexive;
mod reporter;
mod runtime;
mod sdp;
mod seat;
mod session;
#[cfg(test)]
mod simulation;
mod slots;
mod stun;
mod tap;
#[cfg(test)]
mod tests;
mod unheard;

use twocan_control::MediaKind;

pub use engine::{Engine, EngineConfig, EngineError};
pub use mux::PortStats;
pub use peer::{
    Connected, Failure, FailureKind, Flow, OfferKind, PathInfo, Peer, PeerCommand, PeerConfig, PeerEvent, PeerHandle,
    SendError,
};
pub use picture::{Link, PictureCounts, PictureIn, Step, VideoPacket, WholeFrame};
pub use reflexive::Reflexive;
pub use seat::{SeatEnd, SeatStats, seat_pair};

/// Directives for the log filter: these targets print whole media payloads, or a line per packet, when something is
/// wrong. Their errors come out of this module in words of our own.
pub const LOG_FILTER: &[&str] = &[
    "webrtc=off",
    "rtc=off",
    "rtc_dtls=off",
    "rtc_ice=off",
    "rtc_interceptor=off",
    "rtc_mdns=off",
    "rtc_rtcp=off",
    "rtc_rtp=off",
    "rtc_sctp=off",
    "rtc_sdp=off",
    "rtc_srtp=off",
    "rtc_stun=off",
    "rtc_turn=off",
];

/// Longest session description taken from a friend, bytes, with its further sections. Ours have about 4 kB.
pub const MAX_SDP_LEN: usize = 16 * 1024;
/// Longest candidate line taken from a friend, bytes.
pub const MAX_CANDIDATE_LEN: usize = 256;
/// Candidates taken from a friend in one generation.
pub const MAX_CANDIDATES: usize = 16;
/// Stream number of the friend's audio in media frames.
pub const AUDIO_STREAM: u16 = 1;
/// Stream number of the friend's video in media frames.
pub const VIDEO_STREAM: u16 = 2;
/// Stream number of the friend's shared screen in media frames.
pub const SCREEN_STREAM: u16 = 3;
/// Stream number of the sound beside it in media frames.
pub const SOUND_STREAM: u16 = 4;

/// The stream number of a kind: each kind has one stream in a call of two, and one section in the description, in this
/// order.
pub(crate) const fn stream_of(kind: MediaKind) -> u16 {
    match kind {
        MediaKind::Audio => AUDIO_STREAM,
        MediaKind::Video => VIDEO_STREAM,
        MediaKind::Screen => SCREEN_STREAM,
        MediaKind::Sound => SOUND_STREAM,
    }
}

/// Place of a kind in arrays that have one entry for each.
pub(crate) const fn place_of(kind: MediaKind) -> usize {
    stream_of(kind) as usize - 1
}

/// SHA-256 of a DTLS certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Reads 32 pairs of hex digits with colons between.
    fn from_text(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut out {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        pairs.next().is_none().then_some(Self(out))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if n > 0 { ":" } else { "" })?;
        }
        Ok(())
    }
}

/// Offer or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptionKind {
    /// Asks for a path.
    Offer,
    /// Accepts an offer of the same generation.
    Answer,
}

/// A session description with the candidates known when it was made, as it travels in the link.
#[derive(Clone, PartialEq, Eq)]
pub struct Description {
    /// Offer or answer.
    pub kind: DescriptionKind,
    /// Which negotiation it belongs to; an answer has its offer's. Grows with each offer of the call.
    pub generation: u32,
    /// SDP without candidates: session part, voice and camera.
    pub sdp: String,
    /// The further sections (shared screen, its sound); empty if there are none. They travel apart, so that a node
    /// which does not know them takes the rest.
    pub more: String,
    /// SHA-256 of the certificate that its sender will present.
    pub fingerprint: Fingerprint,
    /// Candidate lines (`candidate:…`).
    pub candidates: Vec<String>,
}

impl std::fmt::Debug for Description {
    /// Without the text: it holds addresses and the password of the connectivity checks.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Description")
            .field("kind", &self.kind)
            .field("generation", &self.generation)
            .field("candidates", &self.candidates.len())
            .finish_non_exhaustive()
    }
}

/// What is wrong with a friend's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// Beyond [`MAX_SDP_LEN`], or with too many or too long lines.
    #[error("the friend's session description is too long")]
    TooLong,
    /// Not plain ASCII lines.
    #[error("the friend's session description is not plain text")]
    Text,
    /// Other sections than voice, camera, shared screen and its sound, in this order.
    #[error("the friend's session description has other sections than those of a call")]
    Sections,
    /// Not exactly one SHA-256 fingerprint, or not the one that came beside it.
    #[error("the fingerprint in the friend's session description is missing or not the one from the link")]
    Fingerprint,
}
