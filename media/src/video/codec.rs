//! What a video codec is to the rest of the crate. The codec is negotiated by name, so that another (one that the
//! machine's hardware does, too) can stand beside H.264 without a change anywhere else: it gets a line in [`CODECS`]. The
//! node picks from what both clients can ([`Registry::encodes`], [`Registry::decodes`]) and tells it back
//! ([`PictureCodec`]).

use super::h264::{self, H264Decoder, H264Encoder};
use super::picture::{MAX_PIXELS, MIN_SIDE, Picture};

/// Makes an encoder for pictures of this width and height, so many a second, at so many bits a second.
pub type MakeEncoder = fn(u32, u32, f32, u32) -> Result<Box<dyn VideoEncoder>, CodecError>;
/// Makes an encoder for a shared screen; as above, and the worst quantiser on H.264's scale (0 to 51).
pub type MakeScreenEncoder = fn(u32, u32, f32, u32, u8) -> Result<Box<dyn VideoEncoder>, CodecError>;
/// Makes a decoder.
pub type MakeDecoder = fn() -> Box<dyn VideoDecoder>;

/// A codec of this build. There may be several of one name: hardware first, and what needs none after it.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    /// The name under which it is negotiated.
    pub name: &'static str,
    /// Its encoders, for a camera and for a screen, if it has any; an error makes room for the next codec of the same
    /// name.
    pub encoder: Option<(MakeEncoder, MakeScreenEncoder)>,
    /// Its decoder, for what anyone may send.
    pub decoder: Option<MakeDecoder>,
}

/// The codecs of this build, best first.
pub const CODECS: &[Codec] = &[Codec {
    name: h264::NAME,
    encoder: Some((
        |width, height, rate, bitrate| Ok(Box::new(H264Encoder::new(width, height, rate, bitrate)?)),
        |width, height, rate, bitrate, worst| {
            Ok(Box::new(H264Encoder::for_screen(width, height, rate, bitrate, worst)?))
        },
    )),
    decoder: Some(|| Box::new(H264Decoder::new())),
}];

/// The codecs of this build: what a session and a node that negotiates for it ask.
#[derive(Clone, Copy, Debug)]
pub struct Registry(pub &'static [Codec]);

impl Default for Registry {
    fn default() -> Self {
        Self(CODECS)
    }
}

impl Registry {
    /// The names that pictures can be encoded in, best first.
    #[must_use]
    pub fn encodes(self) -> Vec<&'static str> {
        self.names(|codec| codec.encoder.is_some())
    }

    /// The names that pictures can be decoded from, best first.
    #[must_use]
    pub fn decodes(self) -> Vec<&'static str> {
        self.names(|codec| codec.decoder.is_some())
    }

    fn names(self, of: impl Fn(&Codec) -> bool) -> Vec<&'static str> {
        let mut names = Vec::new();
        for codec in self.0.iter().filter(|codec| of(codec)) {
            if !names.contains(&codec.name) {
                names.push(codec.name);
            }
        }
        names
    }

    /// The first encoder of this name that `make` makes.
    fn first<T>(
        self,
        name: &str,
        make: impl Fn((MakeEncoder, MakeScreenEncoder)) -> Result<T, CodecError>,
    ) -> Result<T, CodecError> {
        let mut last = unknown(name);
        for encoder in self.0.iter().filter(|codec| codec.name == name).filter_map(|codec| codec.encoder) {
            match make(encoder) {
                Ok(encoder) => return Ok(encoder),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The encoder of this name that works, for pictures of this size, so many a second, at so many bits a second.
    pub fn encoder(
        self,
        name: &str,
        (width, height): (u32, u32),
        rate: f32,
        bitrate: u32,
    ) -> Result<Box<dyn VideoEncoder>, CodecError> {
        self.first(name, |(camera, _)| camera(width, height, rate, bitrate))
    }

    /// The encoder of this name that works for a shared screen; see [`MakeScreenEncoder`].
    pub fn screen_encoder(
        self,
        name: &str,
        (width, height): (u32, u32),
        rate: f32,
        bitrate: u32,
        worst_quantiser: u8,
    ) -> Result<Box<dyn VideoEncoder>, CodecError> {
        self.first(name, |(_, screen)| screen(width, height, rate, bitrate, worst_quantiser))
    }

    /// The decoder of this name.
    pub fn decoder(self, name: &str) -> Result<Box<dyn VideoDecoder>, CodecError> {
        let make = self.0.iter().filter(|codec| codec.name == name).find_map(|codec| codec.decoder);
        make.map(|make| make()).ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> CodecError {
    CodecError::Unknown(name.chars().take(16).collect())
}

/// What the other side takes of a codec.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureLimits {
    /// Pixels of a picture.
    pub pixels: u32,
    /// Pixels in a second.
    pub pixel_rate: u64,
    /// Bits in a second.
    pub bitrate: u32,
}

impl PictureLimits {
    /// No limits but our own.
    pub const NONE: Self = Self { pixels: MAX_PIXELS, pixel_rate: u64::MAX, bitrate: u32::MAX };

    /// The size in which a picture may be sent so often a second: as it is, or smaller in the same shape. Even, and not
    /// smaller than codecs take.
    #[must_use]
    pub fn fitted(&self, (width, height): (u32, u32), rate: f64) -> (u32, u32) {
        let by_rate = (self.pixel_rate as f64 / rate.max(1.0)).min(f64::from(u32::MAX));
        let most = f64::from(self.pixels).min(by_rate);
        let has = f64::from(width) * f64::from(height);
        if has <= most {
            return (width, height);
        }
        let scale = (most / has).sqrt();
        let side = |n: u32| ((f64::from(n) * scale) as u32 & !1).max(MIN_SIDE);
        (side(width), side(height))
    }
}

/// What pictures are to be encoded in.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureCodec {
    /// The name under which it was negotiated.
    pub name: String,
    /// What the other side takes of it.
    pub limits: PictureLimits,
}

impl Default for PictureCodec {
    /// What every client can, without limits: good until the node says otherwise.
    fn default() -> Self {
        Self { name: h264::NAME.to_owned(), limits: PictureLimits::NONE }
    }
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

    /// A build with another codec before H.264, of which it has hardware that is busy, and one that it only decodes.
    const OTHER: Registry = Registry(&[
        Codec { name: "av1", encoder: Some((|_, _, _, _| busy(), |_, _, _, _, _| busy())), decoder: None },
        Codec { name: "av1", ..CODECS[0] },
        Codec { name: "vp9", encoder: None, ..CODECS[0] },
        CODECS[0],
    ]);

    fn busy() -> Result<Box<dyn VideoEncoder>, CodecError> {
        Err(CodecError::Encoder { codec: "av1", text: "the hardware is busy".into() })
    }

    #[test]
    fn a_build_tells_what_it_encodes_and_decodes_best_first() {
        assert_eq!((Registry::default().encodes(), Registry::default().decodes()), (vec!["h264"], vec!["h264"]));
        assert_eq!(OTHER.encodes(), ["av1", "h264"]);
        assert_eq!(OTHER.decodes(), ["av1", "vp9", "h264"]);
    }

    #[test]
    fn a_codec_is_made_by_name_and_hardware_that_fails_makes_room() {
        let made = Registry::default().encoder("h264", (64, 48), 30.0, 100_000).unwrap();
        assert_eq!((made.codec(), Registry::default().decoder("h264").unwrap().codec()), ("h264", "h264"));
        assert!(OTHER.encoder("av1", (64, 48), 30.0, 100_000).is_ok());
        assert!(OTHER.screen_encoder("av1", (64, 48), 30.0, 100_000, 30).is_ok());
        assert_eq!(OTHER.encoder("vp9", (64, 48), 30.0, 100_000).err(), Some(CodecError::Unknown("vp9".into())));
        let unknown = Registry::default().decoder("av1").err();
        assert_eq!(unknown, Some(CodecError::Unknown("av1".into())));
    }

    #[test]
    fn pictures_are_made_as_small_as_the_other_side_takes_them() {
        // H.264 level 3.1: 3600 macroblocks a picture, 108 000 a second.
        let limits = PictureLimits { pixels: 3600 * 256, pixel_rate: 108_000 * 256, bitrate: 14_000_000 };
        assert_eq!(limits.fitted((1280, 720), 30.0), (1280, 720));
        assert_eq!(limits.fitted((640, 360), 30.0), (640, 360));
        let (width, height) = limits.fitted((2560, 1440), 12.0);
        assert_eq!((width, height), (1280, 720));
        let (width, height) = limits.fitted((1280, 720), 60.0);
        assert!(width * height <= 54_000 * 256 / 30 && width > 900, "{width}x{height}");
        assert_eq!(PictureLimits::NONE.fitted((4096, 2304), 60.0), (4096, 2304));
        let nothing = PictureLimits { pixels: 0, pixel_rate: 0, bitrate: 0 };
        assert_eq!(nothing.fitted((4096, 16), f64::NAN), (MIN_SIDE, MIN_SIDE));
    }
}
