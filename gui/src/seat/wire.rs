//! What the node and the media session call the same things: frames and words of one in the terms of the other.

use bytes::Bytes;
use twocan_control::{Made, MediaControl, MediaFrame, MediaKind, PictureLimits, Shown};
use twocan_media::session::{Agreed, Guidance, Incoming, Outgoing};
use twocan_media::video::codec::{self, PictureCodec, Registry};
use twocan_media::{EncodedFrame, Kind};

/// What the node says, for the session; `None` if it is not for the session.
pub(super) fn told(control: MediaControl) -> Option<Incoming> {
    Some(match control {
        MediaControl::Flow { audio, video, screen } => Incoming::Flow { audio, video, screen },
        MediaControl::Feedback(told) => Incoming::Feedback(Guidance {
            target_bitrate: told.target_bitrate,
            audio_bitrate: told.audio_bitrate,
            video_bitrate: told.video_bitrate,
            screen_bitrate: told.screen_bitrate,
            loss: told.loss,
            loss_burst: told.loss_burst,
            rtt_ms: told.rtt_ms,
        }),
        MediaControl::Streams {
            receive, audio_red, video_codec, video_limits, screen_codec, screen_limits, ..
        } => Incoming::Agreed(Agreed {
            redundancy: audio_red,
            video: video_codec.map(|name| picture_codec(name, video_limits)),
            screen: screen_codec.map(|name| picture_codec(name, screen_limits)),
            receive: receive.into_iter().map(|stream| (kind_here(stream.kind), stream.codec)).collect(),
        }),
        MediaControl::KeyFrameRequest { kind } => Incoming::KeyFrameRequest { kind: kind_here(kind) },
        MediaControl::Clock { stream, timestamp, sender_us } => Incoming::Clock { stream, timestamp, sender_us },
        _ => return None,
    })
}

/// What this build makes and shows of pictures.
pub(super) fn codecs() -> MediaControl {
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let build = Registry::default();
    MediaControl::Codecs { encode: names(build.encodes()), decode: names(build.decodes()) }
}

/// A codec of pictures in the session's terms.
fn picture_codec(name: String, limits: Option<PictureLimits>) -> PictureCodec {
    let limits = limits.map_or(codec::PictureLimits::NONE, |told| codec::PictureLimits {
        pixels: told.pixels,
        pixel_rate: told.pixel_rate,
        bitrate: u32::try_from(told.bitrate).unwrap_or(u32::MAX),
    });
    PictureCodec { name, limits }
}

/// What the session says of itself, for the node; `None` if it is not for the node.
pub(super) fn said(outgoing: &Outgoing) -> Option<MediaControl> {
    Some(match *outgoing {
        Outgoing::NeedKeyFrame { stream } => MediaControl::NeedKeyFrame { stream },
        Outgoing::Playout { concealed, delay_ms, late } => MediaControl::Playout { concealed, delay_ms, late },
        Outgoing::Shown { stream, width, height, frame_rate, freezes, freeze_ms, av_offset_ms } => {
            MediaControl::Shown(Shown { stream, width, height, frame_rate, freezes, freeze_ms, av_offset_ms })
        }
        Outgoing::Made { kind, width, height, frame_rate } => {
            MediaControl::Made(Made { kind: kind_there(kind), width, height, frame_rate })
        }
        _ => return None,
    })
}

/// A kind of stream in the node's terms.
fn kind_there(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
        Kind::Screen => MediaKind::Screen,
        Kind::Sound => MediaKind::Sound,
    }
}

/// A kind of stream in the session's terms.
fn kind_here(kind: MediaKind) -> Kind {
    match kind {
        MediaKind::Audio => Kind::Audio,
        MediaKind::Video => Kind::Video,
        MediaKind::Screen => Kind::Screen,
        MediaKind::Sound => Kind::Sound,
    }
}

/// A frame that leaves.
pub(super) fn to_node(frame: EncodedFrame) -> MediaFrame {
    MediaFrame {
        kind: kind_there(frame.kind),
        key: frame.key,
        gap: frame.gap,
        restart: frame.restart,
        red: frame.red,
        layer: frame.layer,
        stream: frame.stream,
        sequence: frame.sequence,
        timestamp: frame.timestamp,
        time_ns: frame.time_ns,
        payload: Bytes::from(frame.payload),
    }
}

/// A frame that came.
pub(super) fn from_node(frame: MediaFrame) -> EncodedFrame {
    EncodedFrame {
        kind: kind_here(frame.kind),
        key: frame.key,
        gap: frame.gap,
        restart: frame.restart,
        red: frame.red,
        layer: frame.layer,
        stream: frame.stream,
        sequence: frame.sequence,
        timestamp: frame.timestamp,
        time_ns: frame.time_ns,
        payload: frame.payload.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_from_the_node_as_it_went() {
        for kind in [Kind::Audio, Kind::Video, Kind::Screen, Kind::Sound] {
            let frame = EncodedFrame {
                kind,
                key: true,
                gap: false,
                restart: true,
                red: true,
                layer: 1,
                stream: 3,
                sequence: 9,
                timestamp: 90_000,
                time_ns: 5,
                payload: vec![1, 2, 3],
            };
            assert_eq!(from_node(to_node(frame.clone())), frame);
        }
    }
}
