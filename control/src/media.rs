//! The frames of the media WebSocket (`specs/06-control-api.md`, "Media").
//!
//! Binary messages carry one encoded frame each, behind a header of 20 bytes; text messages carry one
//! [`MediaControl`] as JSON. The node neither reorders nor holds audio back: order and loss are the jitter buffer's.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::quality::{Made, Shown};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 20;
/// Largest frame with its header: a key frame of 4K video has room, and no client can make the node hold more.
pub const MAX_FRAME_LEN: usize = 1 << 20;

/// Kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// Voice.
    Audio,
    /// Camera.
    Video,
    /// The shared screen: pictures as of a camera, in a stream beside it.
    Screen,
    /// The sound that goes with the shared screen.
    Sound,
}

impl MediaKind {
    /// All kinds, by their numbers in the header less one.
    pub const ALL: [Self; 4] = [Self::Audio, Self::Video, Self::Screen, Self::Sound];

    /// The number in the header of a frame.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Audio => 1,
            Self::Video => 2,
            Self::Screen => 3,
            Self::Sound => 4,
        }
    }

    /// Whether it is made of pictures: access units with key frames, 90 kHz. Else it is sound, 48 kHz.
    #[must_use]
    pub const fn is_picture(self) -> bool {
        matches!(self, Self::Video | Self::Screen)
    }

    /// Ticks of the timestamp per second.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        if self.is_picture() { 90_000 } else { 48_000 }
    }
}

/// One encoded frame: an Opus packet, or an access unit of video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaFrame {
    /// Kind of stream.
    pub kind: MediaKind,
    /// A picture that needs no other (video).
    pub key: bool,
    /// Something is missing before this frame.
    pub gap: bool,
    /// The sender begins anew here: sequence and timestamp are not continuous with what came before.
    pub restart: bool,
    /// The payload is redundant audio data (RFC 2198), all of whose blocks are Opus of payload type 111.
    pub red: bool,
    /// Temporal layer, 0 to 3; a frame of layer n needs only layers up to n.
    pub layer: u8,
    /// Which stream (see [`StreamInfo::id`]); 0 for what a client sends.
    pub stream: u16,
    /// Sequence number of the first packet, extended past 16 bits by the node (frames from the node), or of the frame
    /// (frames from a client).
    pub sequence: u32,
    /// RTP timestamp: 48 kHz for sound, 90 kHz for pictures. All streams of one client count from one clock.
    pub timestamp: u32,
    /// `CLOCK_MONOTONIC` nanoseconds: when the first packet arrived (frames from the node), or when the frame was
    /// captured (frames from a client).
    pub time_ns: u64,
    /// The encoded bytes.
    pub payload: Bytes,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header.
    #[error("a media frame has at least {HEADER_LEN} bytes")]
    TooShort,
    /// Longer than [`MAX_FRAME_LEN`].
    #[error("a media frame has at most {MAX_FRAME_LEN} bytes")]
    TooLong,
    /// The first byte is not the number of a kind (1 to 4).
    #[error("unknown kind of media frame: {0}")]
    UnknownKind(u8),
}

const FLAG_KEY: u8 = 1;
const FLAG_GAP: u8 = 2;
const FLAG_RESTART: u8 = 4;
const FLAG_RED: u8 = 8;

impl MediaFrame {
    /// The wire form: kind u8, flags u8 (1 key, 2 gap, 4 restart, 8 redundant, bits 4-5 layer), stream u16, sequence
    /// u32, timestamp u32, time u64, payload; all big-endian.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_LEN + self.payload.len());
        out.put_u8(self.kind.number());
        let mut flags = (self.layer & 3) << 4;
        let bits = [(self.key, FLAG_KEY), (self.gap, FLAG_GAP), (self.restart, FLAG_RESTART), (self.red, FLAG_RED)];
        for (on, bit) in bits {
            if on {
                flags |= bit;
            }
        }
        out.put_u8(flags);
        out.put_u16(self.stream);
        out.put_u32(self.sequence);
        out.put_u32(self.timestamp);
        out.put_u64(self.time_ns);
        out.put_slice(&self.payload);
        out.freeze()
    }

    /// Reads the wire form; the payload shares the given bytes.
    pub fn decode(mut bytes: Bytes) -> Result<Self, FrameError> {
        use bytes::Buf;
        if bytes.len() < HEADER_LEN {
            return Err(FrameError::TooShort);
        }
        if bytes.len() > MAX_FRAME_LEN {
            return Err(FrameError::TooLong);
        }
        let number = bytes.get_u8();
        let kind = MediaKind::ALL.into_iter().find(|kind| kind.number() == number);
        let kind = kind.ok_or(FrameError::UnknownKind(number))?;
        let flags = bytes.get_u8();
        Ok(Self {
            kind,
            key: flags & FLAG_KEY != 0,
            gap: flags & FLAG_GAP != 0,
            restart: flags & FLAG_RESTART != 0,
            red: flags & FLAG_RED != 0,
            layer: (flags >> 4) & 3,
            stream: bytes.get_u16(),
            sequence: bytes.get_u32(),
            timestamp: bytes.get_u32(),
            time_ns: bytes.get_u64(),
            payload: bytes,
        })
    }
}

/// A stream that the friend may send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamInfo {
    /// The number in the frames' header.
    pub id: u16,
    /// Participant that it comes from (0 is the caller, 1 the callee of a call between two).
    pub participant: u16,
    /// Kind.
    pub kind: MediaKind,
    /// Codec: "opus", "h264".
    pub codec: String,
    /// Ticks of the timestamp per second.
    pub clock_rate: u32,
}

/// What the friend's side takes of pictures: from its description (for H.264, level and `max-…` parameters of RFC 6184).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PictureLimits {
    /// Pixels of a picture.
    pub pixels: u32,
    /// Pixels in a second.
    pub pixel_rate: u64,
    /// Bits in a second.
    pub bitrate: u64,
}

/// What the path carries, and who may use how much of it. Bit rates of streams are without headers of the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Feedback {
    /// Bits per second for all that this client sends, headers included.
    pub target_bitrate: u64,
    /// For the voice, redundancy included; it is served first. What it does not use is not given to others at once.
    pub audio_bitrate: u64,
    /// For the camera; 0: stop it, the path is too narrow for a picture.
    pub video_bitrate: u64,
    /// For the screen; 0: stop it, as the camera.
    #[serde(default)]
    pub screen_bitrate: u64,
    /// Share of my packets that the friend lost over the last two seconds (0 to 1).
    pub loss: f64,
    /// How many were lost in a row, on average; 1 if every loss stands alone.
    #[serde(default)]
    pub loss_burst: f64,
    /// Round trip, if measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
}

/// Text messages of the media socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum MediaControl {
    /// Node to client, first and at each change: the streams that the friend may send, and the codecs to send in.
    Streams {
        /// What may come.
        receive: Vec<StreamInfo>,
        /// Codec to send audio in.
        audio_codec: String,
        /// Whether audio may also be sent as redundant audio data (RFC 2198).
        #[serde(default)]
        audio_red: bool,
        /// Codec to send video in; absent if the friend takes none that this client makes ([`MediaControl::Codecs`]).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        video_codec: Option<String>,
        /// What the friend takes of it; absent if that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        video_limits: Option<PictureLimits>,
        /// Codec to send a shared screen in; absent as above.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        screen_codec: Option<String>,
        /// What the friend takes of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        screen_limits: Option<PictureLimits>,
        /// Codec to send the sound beside a shared screen in; absent if the friend takes none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sound_codec: Option<String>,
    },
    /// Node to client: send now (the call is answered and not held), or stop. Frames sent while stopped are dropped.
    Flow {
        /// Whether audio is let through.
        audio: bool,
        /// Whether video is let through.
        video: bool,
        /// Whether a shared screen and its sound are let through.
        #[serde(default)]
        screen: bool,
    },
    /// Node to client, twice a second and within 50 ms of a change by more than a twentieth: what the path carries and how
    /// the friend receives.
    Feedback(Feedback),
    /// Node to client: the friend's decoder needs a key frame now.
    KeyFrameRequest {
        /// Of which stream: `video` or `screen`.
        #[serde(default = "camera")]
        kind: MediaKind,
    },
    /// Client to node, first: the codecs of pictures that this client makes and shows, best first. A client that does not
    /// say so has `h264` both ways, which every client has.
    Codecs {
        /// What it encodes, at most 16 names of at most 16 bytes.
        encode: Vec<String>,
        /// What it decodes, likewise.
        decode: Vec<String>,
    },
    /// Client to node: my decoder needs a key frame of that stream.
    NeedKeyFrame {
        /// Which stream.
        stream: u16,
    },
    /// Node to client: a stream's clock against the sender's wall clock, from RTCP sender reports; pairs streams for lip sync.
    Clock {
        /// Which stream.
        stream: u16,
        /// RTP timestamp.
        timestamp: u32,
        /// The sender's clock at that timestamp, microseconds (NTP epoch; only differences mean something).
        sender_us: u64,
    },
    /// Client to node, about once a second: what only the client knows, for `GET /v1/calls/{id}`.
    Playout {
        /// Share of concealed audio, 0 to 1.
        concealed: f64,
        /// Delay in the jitter buffer, ms.
        delay_ms: f64,
        /// Packets so far that came too late to be played.
        #[serde(default)]
        late: u64,
    },
    /// Client to node, about once a second for each stream that is shown: for `GET /v1/calls/{id}`.
    Shown(Shown),
    /// Client to node, about once a second for each picture stream that is sent: for `GET /v1/calls/{id}`.
    Made(Made),
    /// Node to client: the call is over; the socket closes after this.
    Ended,
}

/// What a key frame request without a kind means.
fn camera() -> MediaKind {
    MediaKind::Video
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_its_wire_form() {
        let frame = MediaFrame {
            kind: MediaKind::Video,
            key: true,
            gap: false,
            restart: true,
            red: true,
            layer: 2,
            stream: 7,
            sequence: 0x0102_0304,
            timestamp: 0xffff_fff0,
            time_ns: 1 << 40,
            payload: Bytes::from_static(b"abc"),
        };
        assert_eq!(MediaFrame::decode(frame.encode()), Ok(frame.clone()));
        for (kind, number) in MediaKind::ALL.into_iter().zip(1..) {
            let frame = MediaFrame { kind, ..frame.clone() };
            let bytes = frame.encode();
            assert_eq!(bytes[0], number);
            assert_eq!(MediaFrame::decode(bytes), Ok(frame));
        }
    }

    #[test]
    fn a_key_frame_request_without_a_kind_is_one_for_the_camera() {
        let asked: MediaControl = serde_json::from_str(r#"{"type":"key_frame_request"}"#).unwrap();
        assert_eq!(asked, MediaControl::KeyFrameRequest { kind: MediaKind::Video });
        let shown = Shown {
            stream: 3,
            width: 1920,
            height: 1080,
            frame_rate: 5.0,
            freezes: 1,
            freeze_ms: 200,
            av_offset_ms: None,
        };
        let text = serde_json::to_string(&MediaControl::Shown(shown)).unwrap();
        assert!(text.contains(r#""type":"shown""#), "{text}");
        assert_eq!(serde_json::from_str::<MediaControl>(&text).unwrap(), MediaControl::Shown(shown));
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused() {
        assert_eq!(MediaFrame::decode(Bytes::from_static(&[1; 19])), Err(FrameError::TooShort));
        assert_eq!(MediaFrame::decode(Bytes::from_static(&[9; 20])), Err(FrameError::UnknownKind(9)));
        assert_eq!(MediaFrame::decode(Bytes::from(vec![1; MAX_FRAME_LEN + 1])), Err(FrameError::TooLong));
    }
}
