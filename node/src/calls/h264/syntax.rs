//! The little of H.264's own syntax (ITU-T H.264, 7.3) that the node reads: which frame is a key frame, which is
//! referred to by others, and how they are numbered, so that a frame which nobody needs can be passed over.
//!
//! A wrong answer costs a frozen picture until the next key frame, never more: the decoder checks everything again.

/// Bytes of a NAL unit that are read at most: the fields wanted are in the first dozen.
const ROOM: usize = 24;
const NON_IDR: u8 = 1;
const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;

/// What the first packet of an access unit tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::calls) struct Start {
    /// It begins a key frame, with its parameter sets.
    pub(in crate::calls) key: bool,
    /// Later frames refer to it.
    pub(in crate::calls) reference: bool,
    /// `frame_num`, if it could be read.
    pub(in crate::calls) frame_num: Option<u32>,
    /// Width of `frame_num` in bits, if a sequence parameter set is in it.
    pub(in crate::calls) bits: Option<u32>,
}

/// Reads an RTP payload as the first of an access unit, `frame_num` being `bits` wide. `None`: it is not the first,
/// or that cannot be told.
pub(in crate::calls) fn start(payload: &[u8], bits: Option<u32>) -> Option<Start> {
    let (&header, rest) = payload.split_first()?;
    match header & 31 {
        STAP_A => {
            let mut out: Option<Start> = None;
            let mut rest = rest;
            while let [high, low, tail @ ..] = rest {
                let unit = tail.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
                let (&header, body) = unit.split_first()?;
                let bits = out.and_then(|out| out.bits).or(bits);
                if let Some(found) = unit_start(header, body, bits) {
                    let before = out;
                    out = Some(Start {
                        key: found.key || before.is_some_and(|before| before.key),
                        bits: found.bits.or(before.and_then(|before| before.bits)),
                        ..found
                    });
                }
                rest = tail.get(unit.len()..)?;
            }
            out
        }
        FU_A => {
            let (&flags, body) = rest.split_first()?;
            if flags & FU_START == 0 {
                return None;
            }
            // A key frame whose parameter sets went before it begins with those.
            unit_start((header & 0xe0) | (flags & 31), body, bits).filter(|start| !start.key)
        }
        1..=23 => unit_start(header, rest, bits).filter(|start| !start.key || start.bits.is_some()),
        _ => None,
    }
}

/// Reads the first slice of an access unit in Annex B form, and what stands before it.
pub(in crate::calls) fn access_unit(unit: &[u8], mut bits: Option<u32>) -> Option<Start> {
    let mut at = 0;
    let mut sets = None;
    while let Some(found) = unit.get(at..).and_then(|rest| rest.windows(3).position(|w| w == [0, 0, 1])) {
        at += found + 3;
        let Some((&header, body)) = unit.get(at..).and_then(<[u8]>::split_first) else { break };
        match unit_start(header, body, bits) {
            Some(Start { bits: Some(width), .. }) => (bits, sets) = (Some(width), Some(width)),
            Some(slice) => return Some(Start { bits: sets, ..slice }),
            None => {}
        }
    }
    None
}

/// Reads one NAL unit that may stand at the beginning of an access unit.
fn unit_start(header: u8, body: &[u8], bits: Option<u32>) -> Option<Start> {
    let mut reader = Bits::of(body);
    match header & 31 {
        SPS => {
            reader.bits(24)?;
            reader.exp_golomb()?;
            let width = reader.exp_golomb()?.checked_add(4).filter(|&width| width <= 16)?;
            Some(Start { key: true, reference: true, frame_num: None, bits: Some(width) })
        }
        kind @ (NON_IDR | IDR) => {
            if reader.exp_golomb()? != 0 {
                // A later slice of its picture.
                return None;
            }
            reader.exp_golomb()?;
            reader.exp_golomb()?;
            let frame_num = bits.and_then(|width| reader.bits(width));
            Some(Start { key: kind == IDR, reference: header & 0x60 != 0, frame_num, bits: None })
        }
        _ => None,
    }
}

/// Reads bits, leaving out emulation prevention bytes (7.4.1).
struct Bits {
    bytes: [u8; ROOM],
    length: usize,
    at: usize,
}

impl Bits {
    fn of(body: &[u8]) -> Self {
        let mut out = Self { bytes: [0; ROOM], length: 0, at: 0 };
        let mut zeros = 0;
        for &byte in body.iter().take(ROOM) {
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.bytes[out.length] = byte;
            out.length += 1;
        }
        out
    }

    fn bit(&mut self) -> Option<u32> {
        let byte = self.bytes[..self.length].get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    fn bits(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value: u32, _| Some(value << 1 | self.bit()?))
    }

    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some(((1_u64 << zeros) - 1 + u64::from(self.bits(zeros)?)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A sequence parameter set of openh264 for 640x360 (frame_num of 15 bits), and the slices of its first frames.
    const SETS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40];

    #[test]
    fn a_set_tells_the_width_of_frame_numbers() {
        // seq_parameter_set_id 0 ("1"), log2_max_frame_num_minus4 11 ("0001100").
        let found = start(SETS, None).unwrap();
        assert_eq!((found.key, found.bits), (true, Some(15)));
    }

    #[test]
    fn slices_tell_their_number_and_whether_they_are_needed() {
        // first_mb 0 ("1"), slice_type 5 ("00110"), pps 0 ("1"), frame_num 3 in 4 bits ("0011").
        let slice = [0b1001_1010, 0b0110_0000, 0xff];
        let needed = start(&[&[0x41][..], &slice].concat(), Some(4)).unwrap();
        assert_eq!(needed, Start { key: false, reference: true, frame_num: Some(3), bits: None });
        let top = [&[0x01][..], &slice].concat();
        assert!(!start(&top, Some(4)).unwrap().reference);
        assert_eq!(access_unit(&[&[0, 0, 0, 1][..], &top].concat(), Some(4)), start(&top, Some(4)));
        let fragment = [&[0x5c, 0x81][..], &slice].concat();
        assert_eq!(start(&fragment, Some(4)), Some(needed));
        assert_eq!(start(&[&[0x5c, 0x01][..], &slice].concat(), Some(4)), None, "a later fragment");
        // first_mb 1 ("010"): not the first slice.
        assert_eq!(start(&[0x41, 0b0101_1010], Some(4)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(payload in prop::collection::vec(any::<u8>(), 0..80), bits in 0_u32..17) {
            let _ = start(&payload, Some(bits));
            let _ = access_unit(&[&[0, 0, 1][..], &payload].concat(), Some(bits));
        }
    }
}
