//! Numbers of a call for people and programs: how it goes from each participant to here and from here to each, with a
//! level from 0 to 5 that anybody understands. What the levels and scores mean is in [`model`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::friend::LinkPath;
use crate::media::MediaKind;

pub mod model;

/// Numbers of a call, about once a second: the whole of it, and each participant by direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Quality {
    /// Path of the media.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<LinkPath>,
    /// Candidate kinds of the chosen pair, as "host/srflx".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<String>,
    /// Whose relay the media goes through, in words ("carol's relay", "a relay of bob's").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// Round trip of the media path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Share of the friend's packets lost on the way here (0 to 1, over the last seconds).
    pub loss_in: f64,
    /// Share of my packets lost on the way there, as the friend reports it.
    pub loss_out: f64,
    /// Jitter of the friend's audio, milliseconds.
    pub jitter_ms: f64,
    /// Bits per second received.
    pub bitrate_in: u64,
    /// Bits per second sent.
    pub bitrate_out: u64,
    /// Bits per second that the path is believed to carry.
    pub target_bitrate: u64,
    /// Packets received since the start.
    pub packets_in: u64,
    /// Packets sent since the start.
    pub packets_out: u64,
    /// How good the call is, 0 (nothing comes) to 5 (very good): the worse direction's level.
    #[serde(default)]
    pub level: u8,
    /// Estimated mean opinion score of the worse direction, 1 to 4.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// By participant: those whom this node exchanges media with.
    #[serde(default)]
    pub participants: Vec<ParticipantQuality>,
}

/// How it goes between one participant and this node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ParticipantQuality {
    /// Number in the call (0 is the caller, 1 the callee of a call between two).
    pub participant: u16,
    /// The friend's name at present.
    #[serde(default)]
    pub name: String,
    /// Path of the media.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<LinkPath>,
    /// Round trip of that path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// From the participant to here.
    pub received: FlowQuality,
    /// From here to the participant.
    pub sent: FlowQuality,
}

/// One direction: everything that flows in it. A stream that does not flow is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlowQuality {
    /// 0 (nothing comes) to 5 (very good): the lowest of the streams'.
    pub level: u8,
    /// Estimated mean opinion score, the lowest of the streams'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// Bits per second of all streams, with headers.
    pub bitrate: u64,
    /// Share of packets lost on the way, of all streams (0 to 1, over the last seconds).
    pub loss: f64,
    /// The path is too narrow for pictures: they are stopped until it widens. Known for what is sent.
    #[serde(default)]
    pub narrow: bool,
    /// The voice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<SoundQuality>,
    /// The camera's picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<PictureQuality>,
    /// The shared screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<PictureQuality>,
    /// The sound that goes with the shared screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound: Option<SoundQuality>,
}

/// A stream of sound in one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SoundQuality {
    /// 0 to 5.
    pub level: u8,
    /// Estimated mean opinion score (ITU-T G.107, see [`model`]).
    pub mos: f64,
    /// Bits per second of encoded sound.
    pub bitrate: u64,
    /// Share of its packets lost on the way.
    pub loss: f64,
    /// Interarrival jitter (RFC 3550, 6.4.1), milliseconds.
    pub jitter_ms: f64,
    /// Share of what was heard that had to be made up, 0 to 1: lost or late, and not repaired. Known for what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concealed: Option<f64>,
    /// Packets so far that came too late to be played (copies of them may have been). Known for what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<u64>,
    /// Time in the jitter buffer, milliseconds. Known for what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_ms: Option<f64>,
    /// Estimated delay from mouth to ear, milliseconds: half a round trip, the frame, the jitter buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
}

/// A stream of pictures in one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PictureQuality {
    /// 0 to 5.
    pub level: u8,
    /// Estimated mean opinion score (see [`model`]).
    pub mos: f64,
    /// Bits per second of encoded pictures.
    pub bitrate: u64,
    /// Share of its packets lost on the way.
    pub loss: f64,
    /// Interarrival jitter (RFC 3550, 6.4.1), milliseconds.
    pub jitter_ms: f64,
    /// Pixels; 0 while unknown.
    pub width: u32,
    /// Pixels; 0 while unknown.
    pub height: u32,
    /// Pictures in the last second.
    pub frame_rate: f64,
    /// How often the picture froze so far. Known for what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freezes: Option<u64>,
    /// Share of the last seconds in which it was frozen, 0 to 1. Known for what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<f64>,
    /// How much later than its voice the picture is shown, milliseconds (negative: earlier). Known for what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub av_offset_ms: Option<f64>,
    /// Key frames asked for since the start: by this side for what comes, by the friend for what is sent.
    pub key_requests: u64,
    /// Key frames since the start: that came, or were sent.
    #[serde(default)]
    pub keys: u64,
    /// Repairs of lost packets since the start of the connection.
    #[serde(default)]
    pub repairs: RepairCounts,
}

/// Repairs of a stream of pictures since the start of the connection (NACK, RFC 4585; RFC 4588).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairCounts {
    /// Packets asked for, repeated requests counted again: by this side for what comes, by the friend for what is sent.
    pub asked: u64,
    /// Packets that came after they were asked for, or were sent again.
    pub repaired: u64,
    /// Packets that never came or too late, or that were not sent again: unknown, too old, too soon, or too much.
    pub given_up: u64,
}

/// What a client shows of a picture stream of the friend, for the numbers: about once a second, in a text message of
/// the media socket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Shown {
    /// Which stream.
    pub stream: u16,
    /// Pixels of the latest picture.
    pub width: u32,
    /// Pixels of the latest picture.
    pub height: u32,
    /// Pictures shown in the last second.
    pub frame_rate: f64,
    /// How often it froze so far.
    #[serde(default)]
    pub freezes: u64,
    /// For how long it was frozen so far, milliseconds.
    #[serde(default)]
    pub freeze_ms: u64,
    /// How much later than its voice the picture was shown lately, milliseconds, where there is a voice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub av_offset_ms: Option<f64>,
}

/// What a client's encoder makes, for the numbers: about once a second, in a text message of the media socket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Made {
    /// Which of its streams.
    pub kind: MediaKind,
    /// Pixels of the latest picture.
    pub width: u32,
    /// Pixels of the latest picture.
    pub height: u32,
    /// Pictures per second that it aims at.
    pub frame_rate: f64,
}
