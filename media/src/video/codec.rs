//! What a video codec is to the rest of the crate. The codec is negotiated by name, so that another (one that the
//! machine's hardware does, too) can stand beside H.264 without a change anywhere else: it gets a line in [`CODECS`].

use super::h264::{self, H264Decoder, H264Encoder};
use super::picture::Picture;

/// Makes an encoder for pictures of this width and height, so many a second, at so many bits a second.
pub type MakeEncoder = fn(u32, u32, f32, u32) -> Result<Box<dyn VideoEncoder>, CodecError>;
/// Makes a decoder.
pub type MakeDecoder = fn() -> Box<dyn VideoDecoder>;

/// A codec of this build. There may be several of one name: hardware first, and what needs none after it.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    /// The name under which it is negotiated.
    pub name: &'static str,
    /// Its encoder; an error makes room for the next codec of the same name.
    pub encoder: MakeEncoder,
    /// Its decoder, for what anyone may send.
    pub decoder: MakeDecoder,
}

/// The codecs of this build, best first.
pub const CODECS: &[Codec] = &[Codec {
    name: h264::NAME,
    encoder: |width, height, rate, bitrate| Ok(Box::new(H264Encoder::new(width, height, rate, bitrate)?)),
    decoder: || Box::new(H264Decoder::new()),
}];

/// The encoder of this name that works.
pub fn encoder(name: &str, size: (u32, u32), rate: f32, bitrate: u32) -> Result<Box<dyn VideoEncoder>, CodecError> {
    let mut last = CodecError::Unknown(name.chars().take(16).collect());
    for codec in CODECS.iter().filter(|codec| codec.name == name) {
        match (codec.encoder)(size.0, size.1, rate, bitrate) {
            Ok(encoder) => return Ok(encoder),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The decoder of this name.
pub fn decoder(name: &str) -> Result<Box<dyn VideoDecoder>, CodecError> {
    let codec = CODECS.iter().find(|codec| codec.name == name);
    codec.map(|codec| (codec.decoder)()).ok_or_else(|| CodecError::Unknown(name.chars().take(16).collect()))
}

/// The best codec of this build that is among those the other side takes.
#[must_use]
pub fn common<'a>(theirs: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'static str> {
    CODECS.iter().map(|codec| codec.name).find(|name| theirs.clone().into_iter().any(|theirs| theirs == *name))
}

/// An encoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// One access unit in the codec's own form (H.264: Annex B, parameter sets before each key frame).
    pub payload: Vec<u8>,
    /// It needs no other picture.
    pub key: bool,
    /// Temporal layer: a picture of layer n needs only layers up to n; layer 1 may be dropped by anyone on the way.
    pub layer: u8,
}

/// Turns pictures into access units, one for one and without delay.
pub trait VideoEncoder: Send {
    /// The name under which the codec is negotiated, "h264".
    fn codec(&self) -> &'static str;

    /// Encodes a picture of the size that the encoder was made for. `None`: the encoder left this picture out.
    fn encode(&mut self, picture: &Picture) -> Result<Option<Encoded>, CodecError>;

    /// The next picture is a key frame.
    fn force_key(&mut self);

    /// From the next picture on, so many bits a second.
    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError>;

    /// Tells the rate control how many pictures a second will come.
    fn set_frame_rate(&mut self, frames_per_second: f32) -> Result<(), CodecError>;
}

/// Turns access units into pictures.
pub trait VideoDecoder: Send {
    /// The name under which the codec is negotiated, "h264".
    fn codec(&self) -> &'static str;

    /// Decodes one access unit. After an error nothing is decoded until the next key frame ([`CodecError::NeedKey`]):
    /// a damaged picture never comes out.
    fn decode(&mut self, access_unit: &[u8]) -> Result<Option<Picture>, CodecError>;
}

/// Why nothing was encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The codec library refused.
    #[error("the {codec} encoder failed: {text}")]
    Encoder {
        /// Which codec.
        codec: &'static str,
        /// In the library's words.
        text: String,
    },
    /// No codec of this build has this name.
    #[error("this build has no video codec named {0:?}")]
    Unknown(String),
    /// A picture of another size than the encoder was made for.
    #[error("the encoder was made for another picture size")]
    WrongSize,
    /// Bytes that are not what they should be, or that ask for more than the limits allow.
    #[error("the received video cannot be decoded: {0}")]
    Damaged(String),
    /// A picture that this one builds on is missing; waiting for a key frame.
    #[error("waiting for a key frame")]
    NeedKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codec_is_chosen_from_what_both_have() {
        assert_eq!(common(["av1", "h264", "vp8"]), Some("h264"));
        assert_eq!(common(["av1"]), None);
        assert_eq!(common([]), None);
        let made = encoder("h264", (64, 48), 30.0, 100_000).unwrap();
        assert_eq!((made.codec(), decoder("h264").unwrap().codec()), ("h264", "h264"));
        assert_eq!(decoder("av1").err(), Some(CodecError::Unknown("av1".into())));
        assert!(matches!(encoder("vp9", (64, 48), 30.0, 100_000).err(), Some(CodecError::Unknown(_))));
    }
}
