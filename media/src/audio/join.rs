//! Two Opus packets in one (RFC 6716, 3.2.3 and 3.2.4): half the headers, where those are what fills the path.
//!
//! At 64 kbit/s the headers of fifty packets a second take 24 kbit/s, as much as the voice itself. A packet of 40 ms costs
//! its second half nothing but 20 ms of waiting.

/// A frame has at most so many bytes (RFC 6716, 3.2.1).
const MAX_FRAME: usize = 1_275;
/// Lengths from here on take two bytes.
const TWO_BYTES: usize = 252;

/// One packet of two, each of one frame and of the same kind; `None` if they do not join.
#[must_use]
pub fn join(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let ((&toc, one), (&other, two)) = (first.split_first()?, second.split_first()?);
    if toc != other || toc & 3 != 0 || one.len() > MAX_FRAME || two.len() > MAX_FRAME {
        return None;
    }
    let mut joined = Vec::with_capacity(first.len() + second.len() + 2);
    if one.len() == two.len() {
        joined.push(toc | 1);
    } else {
        joined.push(toc | 2);
        if one.len() < TWO_BYTES {
            joined.push(u8::try_from(one.len()).ok()?);
        } else {
            // The first byte is 252 to 255; the second counts in fours.
            let low = TWO_BYTES + (one.len() - TWO_BYTES) % 4;
            joined.push(u8::try_from(low).ok()?);
            joined.push(u8::try_from((one.len() - low) / 4).ok()?);
        }
    }
    joined.extend_from_slice(one);
    joined.extend_from_slice(two);
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::AudioSettings;
    use crate::audio::codec::{OpusDecoder, OpusEncoder, VoiceDecoder, VoiceEncoder};
    use crate::audio::packet::duration;
    use crate::audio::synth::{Speech, Synth};

    #[test]
    fn a_decoder_makes_the_same_sound_of_two_as_of_each() {
        let mut encoder = OpusEncoder::new(&AudioSettings { dtx: false, ..AudioSettings::default() }).unwrap();
        encoder.set_bitrate(16_000);
        let (mut apart, mut together) = (OpusDecoder::new().unwrap(), OpusDecoder::new().unwrap());
        let (mut sound, mut joined_sound) = (Vec::new(), Vec::new());
        let (mut speech, mut frame) = (Speech::new(5), [0.0; 960]);
        let mut joined = 0;
        for _ in 0..200 {
            let mut two = [Vec::new(), Vec::new()];
            for packet in &mut two {
                speech.fill(&mut frame);
                encoder.encode(&frame, packet).unwrap();
                apart.decode(packet, &mut sound).unwrap();
            }
            match join(&two[0], &two[1]) {
                Some(packet) => {
                    joined += 1;
                    assert_eq!(duration(&packet), Ok(1920));
                    assert!(packet.len() <= two[0].len() + two[1].len() + 1);
                    together.decode(&packet, &mut joined_sound).unwrap();
                }
                None => {
                    for packet in &two {
                        together.decode(packet, &mut joined_sound).unwrap();
                    }
                }
            }
        }
        assert!(joined > 150, "{joined} of 200 joined");
        assert_eq!(sound, joined_sound);
    }

    #[test]
    fn long_frames_have_their_length_in_two_bytes_and_what_differs_is_refused() {
        let mut long = vec![0x48; 301];
        long[1] = 7;
        let joined = join(&long, &[0x48, 1, 2]).unwrap();
        // 300 = 252 + 4 * 12
        assert_eq!((joined[0], joined[1], joined[2], joined[3], joined.len()), (0x4a, 252, 12, 7, 305));
        assert_eq!(join(&[0x48, 1], &[0x48, 2]), Some(vec![0x49, 1, 2]));
        assert_eq!(join(&[0x48, 1], &[0x50, 2]), None);
        assert_eq!(join(&[0x49, 1, 2], &[0x49, 1, 2]), None);
        assert_eq!(join(&[], &[0x48, 2]), None);
    }
}
