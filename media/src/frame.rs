//! The encoded frame: what leaves an encoder, crosses a node, and enters a jitter buffer or decoder.

/// Kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Voice: Opus, timestamps in ticks of 48 kHz.
    Audio,
    /// Camera: one access unit a frame, timestamps in ticks of 90 kHz.
    Video,
    /// Shared screen: as [`Kind::Video`].
    Screen,
    /// The sound that goes with the shared screen: as [`Kind::Audio`].
    Sound,
}

impl Kind {
    /// Ticks of a frame's timestamp per second.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Audio | Self::Sound => 48_000,
            Self::Video | Self::Screen => 90_000,
        }
    }

    /// Whether it is made of pictures; else it is sound.
    #[must_use]
    pub const fn is_picture(self) -> bool {
        matches!(self, Self::Video | Self::Screen)
    }
}

/// One encoded frame: an Opus packet, or an access unit of video. The fields mean what they mean in the header of the
/// media socket (`specs/06-control-api.md`, "Media").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// Kind of stream.
    pub kind: Kind,
    /// A picture that needs no other (video).
    pub key: bool,
    /// Something is missing before this frame (frames that come in).
    pub gap: bool,
    /// The sender begins anew here: sequence and timestamp are not continuous with what came before.
    pub restart: bool,
    /// The payload is redundant audio data (RFC 2198, see [`crate::audio::red`]), not one Opus packet.
    pub red: bool,
    /// Temporal layer, 0 to 3; a frame of layer n needs only layers up to n.
    pub layer: u8,
    /// Which stream it belongs to; 0 for what this side sends.
    pub stream: u16,
    /// Frames that go out: counts frames of this kind. Frames that come in: the extended sequence number of the first
    /// packet.
    pub sequence: u32,
    /// RTP timestamp, see [`Kind::clock_rate`]. What one session sends counts audio and video from one clock: the
    /// timestamp of both is the capture time, in their own ticks (see [`timestamp_of`]).
    pub timestamp: u32,
    /// [`crate::now_ns`] when the frame was captured (out) or its first packet arrived (in).
    pub time_ns: u64,
    /// The encoded bytes.
    pub payload: Vec<u8>,
}

/// The RTP timestamp of something captured at `time_ns`, in ticks of `kind`; wraps at 32 bits as RTP does.
#[must_use]
pub fn timestamp_of(kind: Kind, time_ns: u64) -> u32 {
    (u128::from(time_ns) * u128::from(kind.clock_rate()) / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_both_kinds_count_one_clock() {
        assert_eq!(timestamp_of(Kind::Audio, 2_000_000_000), 96_000);
        assert_eq!(timestamp_of(Kind::Video, 2_000_000_000), 180_000);
        // Thirty days in: both have wrapped, and still count 20 ms as 960 and 1800 ticks.
        let late = 30 * 86_400 * 1_000_000_000_u64;
        let step = |kind| timestamp_of(kind, late + 20_000_000).wrapping_sub(timestamp_of(kind, late));
        assert_eq!((step(Kind::Audio), step(Kind::Video)), (960, 1800));
    }
}
