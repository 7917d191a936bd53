//! Opus for sound that is no voice: what a shared screen plays. No redundancy and no silence tricks; music hides neither.

use ropus::{Application, Bitrate, Channels, Signal};

use super::SAMPLE_RATE;
use super::codec::CodecError;
use super::packet::MAX_PACKET_LEN;

/// Samples of one packet: 20 ms.
pub const FRAME: usize = 960;
/// Bits per second: transparent enough for one channel.
pub const BITRATE: u32 = 64_000;
/// Effort of the encoder, 0 to 10.
const COMPLEXITY: u8 = 7;

/// An encoder for music, mono.
pub struct MusicEncoder {
    inner: ropus::Encoder,
    scratch: Box<[u8; MAX_PACKET_LEN]>,
}

impl std::fmt::Debug for MusicEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MusicEncoder").finish_non_exhaustive()
    }
}

impl MusicEncoder {
    /// At [`BITRATE`].
    pub fn new() -> Result<Self, CodecError> {
        let setup = |error: String| CodecError::Setup(error);
        let bitrate = Bitrate::try_bits(BITRATE).map_err(|error| setup(error.to_string()))?;
        let inner = ropus::Encoder::builder(SAMPLE_RATE, Channels::Mono, Application::Audio)
            .bitrate(bitrate)
            .complexity(COMPLEXITY)
            .signal(Signal::Music)
            .build()
            .map_err(|error| setup(error.to_string()))?;
        Ok(Self { inner, scratch: Box::new([0; MAX_PACKET_LEN]) })
    }

    /// Encodes [`FRAME`] samples.
    pub fn encode(&mut self, frame: &[f32]) -> Result<Vec<u8>, CodecError> {
        let len = self.inner.encode_float(frame, &mut self.scratch[..]);
        let len = len.map_err(|error| CodecError::Encode(error.to_string()))?;
        Ok(self.scratch.get(..len).unwrap_or_default().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::codec::{OpusDecoder, VoiceDecoder};

    #[test]
    fn a_chord_comes_back_as_loud_as_it_was() {
        let (mut encoder, mut decoder) = (MusicEncoder::new().unwrap(), OpusDecoder::new().unwrap());
        let (mut sent, mut heard, mut bytes) = (Vec::new(), Vec::new(), 0);
        for n in 0..100 {
            let frame: Vec<f32> = (0..FRAME)
                .map(|i| {
                    let t = (n * FRAME + i) as f32 / SAMPLE_RATE as f32 * std::f32::consts::TAU;
                    0.1 * ((t * 440.0).sin() + (t * 3520.0).sin() + (t * 9000.0).sin())
                })
                .collect();
            let packet = encoder.encode(&frame).unwrap();
            bytes += packet.len();
            decoder.decode(&packet, &mut heard).unwrap();
            sent.extend(frame);
        }
        let power = |samples: &[f32]| samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32;
        let (sent, heard) = (power(&sent[48_000..]), power(&heard[48_000..]));
        assert!((heard / sent - 1.0).abs() < 0.1, "{heard} of {sent}");
        assert!(bytes * 8 / 2 < 100_000, "{bytes} bytes in two seconds");
    }
}
