//! What an Opus packet says about itself, without decoding it (RFC 6716, section 3.1 and 3.2).
//!
//! The jitter buffer needs the duration of packets that a stranger made, so nothing here trusts a byte of them.

/// Largest Opus packet that is taken: what fits into one UDP datagram on any path that carries calls.
pub const MAX_PACKET_LEN: usize = 1500;
/// Longest packet that Opus knows: 120 ms.
pub const MAX_PACKET_SAMPLES: usize = 5760;
/// Packets of up to this many bytes say "nothing to hear until further notice" (Opus DTX).
pub const DTX_PACKET_LEN: usize = 2;

/// What a packet costs on the wire besides its payload: IP (4), UDP, RTP with its extension, SRTP tag.
pub const OVERHEAD_BYTES: u32 = 60;

/// Why bytes are no Opus packet that we would decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// No byte at all.
    #[error("an Opus packet has at least one byte")]
    Empty,
    /// More than [`MAX_PACKET_LEN`].
    #[error("an Opus packet here has at most {MAX_PACKET_LEN} bytes")]
    TooLong,
    /// A frame count that is missing, zero, or makes more than 120 ms.
    #[error("the frame count of the Opus packet is impossible")]
    BadCount,
}

/// Samples at 48 kHz that a packet decodes to: 120 (2.5 ms) to [`MAX_PACKET_SAMPLES`].
pub fn duration(packet: &[u8]) -> Result<usize, PacketError> {
    let &toc = packet.first().ok_or(PacketError::Empty)?;
    if packet.len() > MAX_PACKET_LEN {
        return Err(PacketError::TooLong);
    }
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(*packet.get(1).ok_or(PacketError::BadCount)? & 0x3f),
    };
    let samples = frames * frame_samples(toc);
    if samples == 0 || samples > MAX_PACKET_SAMPLES { Err(PacketError::BadCount) } else { Ok(samples) }
}

/// Samples per frame at 48 kHz, from the configuration in the first byte (RFC 6716, table 2).
fn frame_samples(toc: u8) -> usize {
    let config = usize::from(toc >> 3);
    match config {
        0..=11 => [480, 960, 1920, 2880][config & 3],
        12..=15 => [480, 960][config & 1],
        _ => [120, 240, 480, 960][config & 3],
    }
}

/// Whether the packet carries a second, coarser copy of the packet before it (SILK LBRR, RFC 6716, section 4.2.4).
/// Packets of several Opus frames are taken to carry none: our own side never makes them.
#[must_use]
pub fn has_redundancy(packet: &[u8]) -> bool {
    let [toc, first, ..] = packet else { return false };
    let celt_only = toc & 0x80 != 0;
    if celt_only || toc & 3 != 0 {
        return false;
    }
    // The SILK layer begins with one voice activity bit per 20 ms, then the LBRR bit; so again for the side channel.
    let silk_frames = frame_samples(*toc).div_ceil(960);
    let mid = first >> (7 - silk_frames) & 1 != 0;
    let stereo = toc & 4 != 0;
    mid || (stereo && first >> 6_usize.saturating_sub(2 * silk_frames) & 1 != 0)
}

/// Whether the packet holds no voice, only noise, by its own words: the voice activity bits of its SILK layer.
#[must_use]
pub fn is_noise(packet: &[u8]) -> bool {
    let [toc, first, ..] = packet else { return false };
    let celt_only = toc & 0x80 != 0;
    if celt_only || toc & 3 != 0 {
        return false;
    }
    let silk_frames = frame_samples(*toc).div_ceil(960);
    first >> (8 - silk_frames) == 0
}

/// Whether the packet announces that nothing is sent for a while.
#[must_use]
pub fn is_dtx(packet: &[u8]) -> bool {
    packet.len() <= DTX_PACKET_LEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_follow_the_table_of_the_rfc() {
        // Config 1: SILK 20 ms; 4: SILK mediumband 10 ms; 3: 60 ms; 15: hybrid 20 ms; 16: CELT 2.5 ms; 31: 20 ms.
        for (config, samples) in [(1, 960), (4, 480), (3, 2880), (15, 960), (16, 120), (31, 960)] {
            assert_eq!(duration(&[config << 3, 0]), Ok(samples), "config {config}");
            assert_eq!(duration(&[config << 3 | 1, 0]), Ok(samples * 2), "config {config}, two frames");
        }
        assert_eq!(duration(&[31 << 3 | 3, 6]), Ok(5760));
    }

    #[test]
    fn impossible_packets_are_refused() {
        assert_eq!(duration(&[]), Err(PacketError::Empty));
        assert_eq!(duration(&[3]), Err(PacketError::BadCount));
        assert_eq!(duration(&[31 << 3 | 3, 7]), Err(PacketError::BadCount));
        assert_eq!(duration(&[31 << 3 | 3, 0]), Err(PacketError::BadCount));
        assert_eq!(duration(&[0; MAX_PACKET_LEN + 1]), Err(PacketError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_give_a_duration_out_of_bounds(packet in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(samples) = duration(&packet) {
                prop_assert!((120..=MAX_PACKET_SAMPLES).contains(&samples));
            }
            let _ = has_redundancy(&packet);
        }
    }
}
