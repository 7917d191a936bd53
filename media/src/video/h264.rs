//! H.264, constrained baseline: `openh264` encodes, `rusty_h264` (no unsafe code) decodes what others send, and
//! [`syntax`] checks every header before the decoder sees a byte.

pub mod decoder;
pub mod encoder;
pub(crate) mod stored;
pub(crate) mod syntax;

pub use decoder::H264Decoder;
pub use encoder::H264Encoder;

/// The name under which the codec is negotiated.
pub const NAME: &str = "h264";

#[cfg(test)]
mod tests;
