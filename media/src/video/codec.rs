//! What a video codec is to the rest of the crate. The codec is negotiated by name, so that another can stand beside
//! H.264 without a change anywhere else.

use super::picture::Picture;

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
