//! Redundant audio data (RFC 2198): a packet that carries copies of the packets before it.
//!
//! The payload is a row of headers, one per block, oldest first, and then the blocks. All but the last header hold how
//! much older than the packet a block is (14 bits of timestamp) and how long it is (10 bits); the last block is the
//! packet itself. The type of all blocks is Opus ([`OPUS_TYPE`] between client and node, `specs/06-control-api.md`).
//!
//! Nothing here trusts a byte: what a stranger says of lengths and ages is checked, and a packet has few blocks.

use std::collections::VecDeque;

use super::packet;

/// Payload type of the blocks between client and node.
pub const OPUS_TYPE: u8 = 111;
/// Most copies that we send in one packet, and most that we read: 80 ms of bursts, and what others may send.
pub const MAX_GENERATIONS: usize = 4;
/// The oldest packet that is copied was sent so many packets ago.
pub const MAX_REACH: usize = 12;
/// Most blocks that are read from one payload, the packet itself included.
const MAX_BLOCKS: usize = 9;
/// A copy is at most so much older than its packet: 14 bits.
const MAX_OFFSET: u32 = (1 << 14) - 1;
/// A copy has at most so many bytes: 10 bits.
const MAX_BLOCK_LEN: usize = (1 << 10) - 1;
/// Bytes of a header before a copy, and of the one before the packet itself.
pub const HEADER_LEN: usize = 4;
/// Payloads stay below this, so that a packet fits into one datagram on any path.
const MAX_PAYLOAD_LEN: usize = 1100;

/// One block of a payload that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// How much older than the packet it is, in ticks of the timestamp; 0 for the packet itself.
    pub offset: u32,
    /// The Opus packet.
    pub payload: &'a [u8],
}

/// Why a payload cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedError {
    /// Headers or blocks end early, or there is no packet after the copies.
    #[error("the redundant audio is cut short")]
    Short,
    /// More than [`MAX_BLOCKS`] blocks.
    #[error("the redundant audio has more than {MAX_BLOCKS} blocks")]
    TooMany,
    /// A block that is not Opus.
    #[error("the redundant audio holds payload type {0}")]
    Type(u8),
}

/// The blocks of a payload, oldest first as they stand there; the packet itself is last. Empty copies are left out.
pub fn read(payload: &[u8]) -> Result<Vec<Block<'_>>, RedError> {
    let mut headers: Vec<(u32, usize)> = Vec::with_capacity(MAX_BLOCKS);
    let mut at = 0;
    loop {
        let &first = payload.get(at).ok_or(RedError::Short)?;
        if first & 0x7f != OPUS_TYPE {
            return Err(RedError::Type(first & 0x7f));
        }
        if first & 0x80 == 0 {
            at += 1;
            break;
        }
        if headers.len() + 1 >= MAX_BLOCKS {
            return Err(RedError::TooMany);
        }
        let &[a, b, c] = payload.get(at + 1..at + HEADER_LEN).ok_or(RedError::Short)? else {
            return Err(RedError::Short);
        };
        let bits = u32::from_be_bytes([0, a, b, c]);
        headers.push((bits >> 10, (bits & 0x3ff) as usize));
        at += HEADER_LEN;
    }
    let mut blocks = Vec::with_capacity(headers.len() + 1);
    for (offset, len) in headers {
        let block = payload.get(at..at + len).ok_or(RedError::Short)?;
        at += len;
        if len > 0 && offset > 0 {
            blocks.push(Block { offset, payload: block });
        }
    }
    let primary = payload.get(at..).filter(|rest| !rest.is_empty()).ok_or(RedError::Short)?;
    blocks.push(Block { offset: 0, payload: primary });
    Ok(blocks)
}

/// The packet itself, without the copies before it; `None` if the payload cannot be read.
#[must_use]
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    read(payload).ok()?.last().map(|block| block.payload)
}

/// Remembers the packets that were sent, and puts copies of them before the next one.
#[derive(Clone, Debug, Default)]
pub struct Packer {
    sent: VecDeque<(u32, Vec<u8>)>,
}

impl Packer {
    /// Forgets what was sent: the time line begins anew.
    pub fn clear(&mut self) {
        self.sent.clear();
    }

    /// Wraps a packet into `out` (overwritten) with copies of up to `generations` packets before it, every `spacing`-th;
    /// false, and `out` is empty, if there is nothing to copy: then the packet goes as it is. Announced silence is never
    /// copied.
    pub fn pack(
        &mut self,
        timestamp: u32,
        packet: &[u8],
        generations: usize,
        spacing: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        let mut room = MAX_PAYLOAD_LEN.saturating_sub(packet.len() + 1);
        let mut copies = Vec::with_capacity(MAX_GENERATIONS);
        let spacing = spacing.max(1);
        for (at, copy) in
            self.sent.iter().rev().skip(spacing - 1).step_by(spacing).take(generations.min(MAX_GENERATIONS))
        {
            let offset = timestamp.wrapping_sub(*at);
            let needed = copy.len() + HEADER_LEN;
            // A gap in time: what is older helps nobody any more.
            if offset == 0 || offset > MAX_OFFSET || copy.len() > MAX_BLOCK_LEN || needed > room {
                break;
            }
            if packet::is_dtx(copy) {
                continue;
            }
            room -= needed;
            copies.push((offset, copy));
        }
        if !copies.is_empty() {
            for (offset, copy) in copies.iter().rev() {
                let bits = offset << 10 | copy.len() as u32;
                out.push(0x80 | OPUS_TYPE);
                out.extend(bits.to_be_bytes().iter().skip(1));
            }
            out.push(OPUS_TYPE);
            for (_, copy) in copies.iter().rev() {
                out.extend_from_slice(copy);
            }
            out.extend_from_slice(packet);
        }
        self.sent.push_back((timestamp, packet.to_vec()));
        if self.sent.len() > MAX_REACH {
            self.sent.pop_front();
        }
        !out.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_wire_form_is_that_of_the_specification() {
        let mut packer = Packer::default();
        let mut out = vec![1, 2, 3];
        assert!(!packer.pack(6720, &[0xf8, 1, 2], 2, 1, &mut out));
        assert!(out.is_empty(), "nothing to copy yet");
        assert!(packer.pack(7680, &[0xf8, 3, 4, 5], 2, 1, &mut out));
        assert_eq!(out, [0xef, 0x0f, 0x00, 0x03, 0x6f, 0xf8, 1, 2, 0xf8, 3, 4, 5]);
        let blocks = read(&out).unwrap();
        assert_eq!(blocks[0], Block { offset: 960, payload: &[0xf8, 1, 2] });
        assert_eq!(blocks[1], Block { offset: 0, payload: &[0xf8, 3, 4, 5] });
        assert_eq!(primary(&out), Some(&[0xf8, 3, 4, 5][..]));
        assert_eq!(primary(&[]), None);
    }

    #[test]
    fn as_many_generations_are_copied_as_wanted_and_remembered() {
        let mut packer = Packer::default();
        let mut out = Vec::new();
        for i in 0..20_u32 {
            let generations = (i % 7) as usize;
            let packed = packer.pack(i * 960, &[0xf8, i as u8, 0], generations, 1, &mut out);
            let copies = generations.min(i as usize).min(MAX_GENERATIONS);
            assert_eq!(packed, copies > 0, "packet {i}");
            if packed {
                let offsets: Vec<u32> = read(&out).unwrap().iter().map(|block| block.offset).collect();
                let wanted: Vec<u32> = (0..=copies as u32).rev().map(|back| back * 960).collect();
                assert_eq!(offsets, wanted, "packet {i}");
            }
        }
    }

    #[test]
    fn copies_stand_apart_if_losses_come_together() {
        let mut packer = Packer::default();
        let mut out = Vec::new();
        for i in 0..20_u32 {
            let packed = packer.pack(i * 960, &[0xf8, i as u8, 0], 2, 5, &mut out);
            let wanted: Vec<u32> = [10, 5, 0].into_iter().filter(|back| *back <= i).map(|back| back * 960).collect();
            assert_eq!(packed, wanted.len() > 1, "packet {i}");
            if packed {
                let blocks = read(&out).unwrap();
                assert_eq!(blocks.iter().map(|block| block.offset).collect::<Vec<_>>(), wanted, "packet {i}");
                assert!(blocks.iter().all(|block| u32::from(block.payload[1]) == i - block.offset / 960));
            }
        }
    }

    #[test]
    fn announced_silence_and_what_is_long_past_are_not_copied() {
        let mut packer = Packer::default();
        let mut out = Vec::new();
        packer.pack(0, &[0xf8, 1, 2], 3, 1, &mut out);
        assert!(packer.pack(960, &[0xf8], 3, 1, &mut out), "the end of the speech is copied");
        assert!(packer.pack(1920, &[0xf8], 3, 1, &mut out));
        assert_eq!(read(&out).unwrap().len(), 2, "the silence is not");
        assert!(!packer.pack(1920 + MAX_OFFSET + 1, &[0xf8, 3, 4], 3, 1, &mut out), "too old");
        packer.clear();
        assert!(!packer.pack(960 * 30, &[0xf8, 3, 4], 3, 1, &mut out));
    }

    #[test]
    fn what_does_not_fit_into_a_datagram_is_not_copied() {
        let mut packer = Packer::default();
        let mut out = Vec::new();
        packer.pack(0, &[0xf8; 600], 3, 1, &mut out);
        assert!(!packer.pack(960, &[0xf8; 600], 3, 1, &mut out));
        assert!(packer.pack(1920, &[0xf8; 200], 3, 1, &mut out));
        assert!(out.len() <= MAX_PAYLOAD_LEN);
    }

    #[test]
    fn broken_payloads_are_refused() {
        assert_eq!(read(&[]), Err(RedError::Short));
        assert_eq!(read(&[111]), Err(RedError::Short));
        assert_eq!(read(&[13, 1]), Err(RedError::Type(13)));
        assert_eq!(read(&[0xef, 0x0f]), Err(RedError::Short));
        assert_eq!(read(&[0xef, 0x0f, 0x00, 0x03, 0x6f, 1, 2, 3]), Err(RedError::Short));
        assert_eq!(read(&[0xef, 0, 4, 0].repeat(9)), Err(RedError::TooMany));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_again(
            packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..500), 0..6_usize, 1..3000_u32), 1..12),
            spacing in 0..8_usize,
        ) {
            let (mut packer, mut out, mut timestamp) = (Packer::default(), Vec::new(), u32::MAX - 5000);
            for (packet, generations, step) in packets {
                timestamp = timestamp.wrapping_add(step);
                if packer.pack(timestamp, &packet, generations, spacing, &mut out) {
                    let blocks = read(&out).unwrap();
                    prop_assert!(blocks.len() <= generations + 1 && out.len() <= MAX_PAYLOAD_LEN);
                    prop_assert_eq!(blocks.last().unwrap().payload, &packet[..]);
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..300), redden in any::<bool>()) {
            let mut bytes = bytes;
            if redden {
                bytes.iter_mut().take(20).step_by(4).for_each(|byte| *byte = 0xef);
            }
            if let Ok(blocks) = read(&bytes) {
                prop_assert!(blocks.len() <= MAX_BLOCKS);
                prop_assert!(blocks.iter().all(|block| block.offset <= MAX_OFFSET && !block.payload.is_empty()));
            }
        }
    }
}
