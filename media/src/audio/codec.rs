//! The voice codec behind two small traits, so that the Opus library can be changed without touching anything else.

use ropus::{Application, Bitrate, Channels, DecodeMode, InbandFec, Signal};

use super::packet::{self, MAX_PACKET_LEN, PacketError};
use super::{AudioSettings, SAMPLE_RATE};

/// Lowest bitrate that still carries speech well enough to be worth sending.
pub const MIN_BITRATE: u32 = 6_000;
/// Above this nothing is gained for a mono voice.
pub const MAX_BITRATE: u32 = 128_000;
/// Opus looks back this many samples at 48 kHz: 6.5 ms that every sample waits in encoder and decoder together.
pub const LOOKAHEAD: usize = 312;

/// A codec that refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The codec could not be set up with these settings.
    #[error("cannot set up the Opus codec: {0}")]
    Setup(String),
    /// The encoder does not take this.
    #[error("cannot encode: {0}")]
    Encode(String),
    /// The packet is no sound.
    #[error("cannot decode: {0}")]
    Decode(String),
    /// The packet's own words about itself make no sense.
    #[error(transparent)]
    Packet(#[from] PacketError),
}

/// Turns voice into packets.
pub trait VoiceEncoder: Send {
    /// Encodes one frame (480 or 960 samples at 48 kHz) into `packet`, which is overwritten.
    fn encode(&mut self, frame: &[f32], packet: &mut Vec<u8>) -> Result<(), CodecError>;
    /// Bits per second from the next frame on; clamped to what the codec takes.
    fn set_bitrate(&mut self, bits_per_second: u32);
    /// The share of packets that will be lost, 0 to 1: decides how much redundancy packets carry; none at 0.
    fn set_expected_loss(&mut self, share: f64);
    /// Whether silence is sent as (almost) nothing.
    fn set_dtx(&mut self, on: bool);
}

/// Turns packets back into voice, and invents what is missing.
pub trait VoiceDecoder: Send {
    /// Decodes a packet; appends its samples to `out` and tells how many.
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<usize, CodecError>;
    /// Rebuilds the `samples` before `next` from the redundancy inside `next`; call before decoding `next` itself.
    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<f32>) -> Result<usize, CodecError>;
    /// Continues the sound for `samples` (a multiple of 120) as well as it can be guessed.
    fn conceal(&mut self, samples: usize, out: &mut Vec<f32>) -> Result<usize, CodecError>;
}

/// Opus encoder, mono, tuned for speech.
pub struct OpusEncoder {
    inner: ropus::Encoder,
    scratch: Box<[u8; MAX_PACKET_LEN]>,
}

impl OpusEncoder {
    /// With in-band redundancy on; bitrate and complexity as in `settings`.
    pub fn new(settings: &AudioSettings) -> Result<Self, CodecError> {
        let inner = ropus::Encoder::builder(SAMPLE_RATE, Channels::Mono, Application::Voip)
            .bitrate(bitrate(settings.max_bitrate)?)
            .complexity(settings.complexity.min(10))
            .signal(Signal::Voice)
            .inband_fec(InbandFec::Enabled)
            .packet_loss_perc(INITIAL_LOSS_PERCENT)
            .dtx(settings.dtx)
            .build()
            .map_err(|error| CodecError::Setup(error.to_string()))?;
        Ok(Self { inner, scratch: Box::new([0; MAX_PACKET_LEN]) })
    }
}

/// Loss that is expected before the other side has told any; with 0 packets would carry no redundancy at all.
const INITIAL_LOSS_PERCENT: u8 = 5;
/// Most loss that the encoder is told: never so much redundancy that the voice itself suffers.
const MAX_LOSS_PERCENT: f64 = 30.0;

fn bitrate(bits_per_second: u32) -> Result<Bitrate, CodecError> {
    Bitrate::try_bits(bits_per_second.clamp(MIN_BITRATE, MAX_BITRATE))
        .map_err(|error| CodecError::Setup(error.to_string()))
}

impl VoiceEncoder for OpusEncoder {
    fn encode(&mut self, frame: &[f32], packet: &mut Vec<u8>) -> Result<(), CodecError> {
        let len = self
            .inner
            .encode_float(frame, &mut self.scratch[..])
            .map_err(|error| CodecError::Encode(error.to_string()))?;
        packet.clear();
        packet.extend_from_slice(self.scratch.get(..len).unwrap_or_default());
        Ok(())
    }

    fn set_bitrate(&mut self, bits_per_second: u32) {
        let result = bitrate(bits_per_second)
            .and_then(|rate| self.inner.set_bitrate(rate).map_err(|error| CodecError::Setup(error.to_string())));
        if let Err(error) = result {
            tracing::debug!(%error, bits_per_second, "bitrate kept");
        }
    }

    fn set_expected_loss(&mut self, share: f64) {
        let share = if share.is_finite() { share } else { 0.0 };
        // Bursts are worse than the mean says: half as much again.
        let percent = (share * 150.0).clamp(0.0, MAX_LOSS_PERCENT).round() as u8;
        if let Err(error) = self.inner.set_packet_loss_perc(percent) {
            tracing::debug!(%error, percent, "expected loss kept");
        }
    }

    fn set_dtx(&mut self, on: bool) {
        if let Err(error) = self.inner.set_dtx(on) {
            tracing::debug!(%error, on, "DTX kept");
        }
    }
}

/// Opus decoder, mono: stereo packets are mixed down by the codec.
pub struct OpusDecoder {
    inner: ropus::Decoder,
}

impl OpusDecoder {
    /// A decoder that has heard nothing yet.
    pub fn new() -> Result<Self, CodecError> {
        let inner =
            ropus::Decoder::new(SAMPLE_RATE, Channels::Mono).map_err(|error| CodecError::Setup(error.to_string()))?;
        Ok(Self { inner })
    }

    /// One call of the codec that may append up to `room` samples; `out` is as before if it fails.
    fn run(&mut self, packet: &[u8], mode: DecodeMode, room: usize, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        let start = out.len();
        out.resize(start + room, 0.0);
        let result = match out.get_mut(start..) {
            Some(space) => self.inner.decode_float(packet, space, mode),
            None => Ok(0),
        };
        let samples = result.as_ref().map_or(0, |n| (*n).min(room));
        out.truncate(start + samples);
        for sample in out.iter_mut().skip(start) {
            if !sample.is_finite() {
                *sample = 0.0;
            }
        }
        result.map(|_| samples).map_err(|error| CodecError::Decode(error.to_string()))
    }
}

impl VoiceDecoder for OpusDecoder {
    fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<usize, CodecError> {
        let samples = packet::duration(packet)?;
        self.run(packet, DecodeMode::Normal, samples, out)
    }

    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        packet::duration(next)?;
        self.run(next, DecodeMode::Fec, samples, out)
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        self.run(&[], DecodeMode::Normal, samples, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::synth::{Speech, Synth};
    use crate::measure::correlation;
    use proptest::prelude::*;

    fn speech(samples: usize) -> Vec<f32> {
        let mut out = vec![0.0; samples];
        Speech::new(5).fill(&mut out);
        out
    }

    fn packets(sound: &[f32], settings: &AudioSettings, loss: f64) -> Vec<Vec<u8>> {
        let mut encoder = OpusEncoder::new(settings).unwrap();
        encoder.set_expected_loss(loss);
        let mut packets = Vec::new();
        for frame in sound.chunks_exact(960) {
            let mut packet = Vec::new();
            encoder.encode(frame, &mut packet).unwrap();
            packets.push(packet);
        }
        packets
    }

    #[test]
    fn speech_survives_the_codec() {
        let sound = speech(48_000 * 2);
        let mut decoder = OpusDecoder::new().unwrap();
        let mut heard = Vec::new();
        for packet in packets(&sound, &AudioSettings::default(), 0.0) {
            assert_eq!(decoder.decode(&packet, &mut heard).unwrap(), 960);
        }
        let similarity = correlation(&sound[..90_000], &heard[LOOKAHEAD..LOOKAHEAD + 90_000]);
        assert!(similarity > 0.85, "correlation {similarity}");
    }

    #[test]
    fn a_lost_packet_comes_back_from_the_next_one() {
        let sound = speech(48_000 * 2);
        let packets = packets(&sound, &AudioSettings::default(), 0.1);
        let with_copy = packets.iter().filter(|packet| packet::has_redundancy(packet)).count();
        assert!(with_copy * 2 > packets.len(), "{with_copy} of {} packets carry redundancy", packets.len());

        // Every fourth packet is lost: once rebuilt from the next, once guessed.
        let hear = |use_copy: bool| {
            let mut decoder = OpusDecoder::new().unwrap();
            let mut heard = Vec::new();
            for (i, packet) in packets.iter().enumerate() {
                match packets.get(i + 1) {
                    Some(next) if i % 4 == 2 && use_copy => decoder.recover(next, 960, &mut heard).unwrap(),
                    _ if i % 4 == 2 => decoder.conceal(960, &mut heard).unwrap(),
                    _ => decoder.decode(packet, &mut heard).unwrap(),
                };
            }
            correlation(&sound[..90_000], &heard[LOOKAHEAD..LOOKAHEAD + 90_000])
        };
        let (rebuilt, guessed) = (hear(true), hear(false));
        assert!(rebuilt > 0.8 && rebuilt > guessed + 0.02, "rebuilt {rebuilt}, guessed {guessed}");
    }

    #[test]
    fn silence_becomes_packets_that_say_so() {
        let packets = packets(&vec![0.0; 48_000 * 2], &AudioSettings::default(), 0.0);
        let quiet = packets.iter().filter(|packet| packet::is_dtx(packet)).count();
        assert!(quiet > 80, "{quiet} of {} packets are DTX", packets.len());
    }

    #[test]
    fn the_bitrate_is_obeyed_while_running() {
        let sound = speech(48_000 * 4);
        let mut encoder = OpusEncoder::new(&AudioSettings::default()).unwrap();
        let mut sizes = Vec::new();
        let mut packet = Vec::new();
        for (i, frame) in sound.chunks_exact(960).enumerate() {
            if i == 100 {
                encoder.set_bitrate(12_000);
            }
            encoder.encode(frame, &mut packet).unwrap();
            sizes.push(packet.len());
        }
        let (first, second): (usize, usize) = (sizes[..100].iter().sum(), sizes[100..].iter().sum());
        assert!(second * 3 < first * 2, "{first} bytes, then {second}");
    }

    proptest! {
        #[test]
        fn hostile_packets_decode_to_bounded_sound_or_an_error(
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..20),
            recover in any::<bool>(),
        ) {
            let mut decoder = OpusDecoder::new().unwrap();
            for packet in &packets {
                let mut out = Vec::new();
                let result = if recover { decoder.recover(packet, 960, &mut out) } else { decoder.decode(packet, &mut out) };
                prop_assert!(out.len() <= packet::MAX_PACKET_SAMPLES);
                prop_assert!(result.is_ok() || out.is_empty());
                prop_assert!(out.iter().all(|sample| sample.is_finite()));
            }
        }
    }
}
