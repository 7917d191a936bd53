//! The little of EBML (RFC 8794) and Matroska (RFC 9559) that a recording needs, as bytes.

/// Element ids, with their length marker.
pub(super) mod id {
    pub(in crate::record) const EBML: u32 = 0x1A45_DFA3;
    pub(in crate::record) const EBML_VERSION: u32 = 0x4286;
    pub(in crate::record) const EBML_READ_VERSION: u32 = 0x42F7;
    pub(in crate::record) const EBML_MAX_ID: u32 = 0x42F2;
    pub(in crate::record) const EBML_MAX_SIZE: u32 = 0x42F3;
    pub(in crate::record) const DOC_TYPE: u32 = 0x4282;
    pub(in crate::record) const DOC_TYPE_VERSION: u32 = 0x4287;
    pub(in crate::record) const DOC_TYPE_READ_VERSION: u32 = 0x4285;
    pub(in crate::record) const VOID: u32 = 0xEC;
    pub(in crate::record) const SEGMENT: u32 = 0x1853_8067;
    pub(in crate::record) const SEEK_HEAD: u32 = 0x114D_9B74;
    pub(in crate::record) const SEEK: u32 = 0x4DBB;
    pub(in crate::record) const SEEK_ID: u32 = 0x53AB;
    pub(in crate::record) const SEEK_POSITION: u32 = 0x53AC;
    pub(in crate::record) const INFO: u32 = 0x1549_A966;
    pub(in crate::record) const TIMESTAMP_SCALE: u32 = 0x002A_D7B1;
    pub(in crate::record) const DURATION: u32 = 0x4489;
    pub(in crate::record) const DATE_UTC: u32 = 0x4461;
    pub(in crate::record) const MUXING_APP: u32 = 0x4D80;
    pub(in crate::record) const WRITING_APP: u32 = 0x5741;
    pub(in crate::record) const TRACKS: u32 = 0x1654_AE6B;
    pub(in crate::record) const TRACK_ENTRY: u32 = 0xAE;
    pub(in crate::record) const TRACK_NUMBER: u32 = 0xD7;
    pub(in crate::record) const TRACK_UID: u32 = 0x73C5;
    pub(in crate::record) const TRACK_TYPE: u32 = 0x83;
    pub(in crate::record) const FLAG_LACING: u32 = 0x9C;
    pub(in crate::record) const NAME: u32 = 0x536E;
    pub(in crate::record) const LANGUAGE: u32 = 0x0022_B59C;
    pub(in crate::record) const CODEC_ID: u32 = 0x86;
    pub(in crate::record) const CODEC_PRIVATE: u32 = 0x63A2;
    pub(in crate::record) const CODEC_DELAY: u32 = 0x56AA;
    pub(in crate::record) const SEEK_PRE_ROLL: u32 = 0x56BB;
    pub(in crate::record) const VIDEO: u32 = 0xE0;
    pub(in crate::record) const PIXEL_WIDTH: u32 = 0xB0;
    pub(in crate::record) const PIXEL_HEIGHT: u32 = 0xBA;
    pub(in crate::record) const AUDIO: u32 = 0xE1;
    pub(in crate::record) const SAMPLING_FREQUENCY: u32 = 0xB5;
    pub(in crate::record) const CHANNELS: u32 = 0x9F;
    pub(in crate::record) const CLUSTER: u32 = 0x1F43_B675;
    pub(in crate::record) const TIMESTAMP: u32 = 0xE7;
    pub(in crate::record) const SIMPLE_BLOCK: u32 = 0xA3;
    pub(in crate::record) const CUES: u32 = 0x1C53_BB6B;
    pub(in crate::record) const CUE_POINT: u32 = 0xBB;
    pub(in crate::record) const CUE_TIME: u32 = 0xB3;
    pub(in crate::record) const CUE_TRACK_POSITIONS: u32 = 0xB7;
    pub(in crate::record) const CUE_TRACK: u32 = 0xF7;
    pub(in crate::record) const CUE_CLUSTER_POSITION: u32 = 0xF1;
}

/// A size that is not known (all bits set), in eight bytes.
pub(super) const UNKNOWN_SIZE: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// A size in eight bytes, so that it can be put right later.
pub(super) fn long_size(size: u64) -> [u8; 8] {
    (size | 1 << 56).to_be_bytes()
}

/// An element with this content.
pub(super) fn element(id: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 12);
    put_id(&mut out, id);
    put_size(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

/// An element that holds these, one after the other.
pub(super) fn master(id: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    element(id, &parts.concat())
}

/// An unsigned number, as short as it can be.
pub(super) fn unsigned(id: u32, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let from = (value.leading_zeros() as usize / 8).min(7);
    element(id, bytes.get(from..).unwrap_or_default())
}

/// A number with a fraction.
pub(super) fn float(id: u32, value: f64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// Text.
pub(super) fn text(id: u32, value: &str) -> Vec<u8> {
    element(id, value.as_bytes())
}

/// Nothing, of exactly `length` bytes (at least 2).
pub(super) fn void(length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length);
    put_id(&mut out, id::VOID);
    if length < 10 {
        put_size(&mut out, length.saturating_sub(2) as u64);
    } else {
        out.extend_from_slice(&long_size(length as u64 - 9));
    }
    out.resize(length, 0);
    out
}

pub(super) fn put_id(out: &mut Vec<u8>, id: u32) {
    let bytes = id.to_be_bytes();
    let from = id.leading_zeros() as usize / 8;
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

/// A size, as short as it can be: length marker and value (RFC 8794, 4). All ones mean "unknown" and are avoided.
pub(super) fn put_size(out: &mut Vec<u8>, size: u64) {
    let length = (1..8).find(|length| size < (1 << (7 * length)) - 1).unwrap_or(8);
    let marked = size | 1 << (7 * length);
    let bytes = marked.to_be_bytes();
    out.extend_from_slice(bytes.get(8 - length..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers_are_those_of_the_rfc() {
        let size = |value| {
            let mut out = Vec::new();
            put_size(&mut out, value);
            out
        };
        assert_eq!(size(0), [0x80]);
        assert_eq!(size(126), [0xfe]);
        assert_eq!(size(127), [0x40, 0x7f]);
        assert_eq!(size(16_382), [0x7f, 0xfe]);
        assert_eq!(size(16_383), [0x20, 0x3f, 0xff]);
        assert_eq!(unsigned(id::TRACK_NUMBER, 0), [0xd7, 0x81, 0]);
        assert_eq!(unsigned(id::TRACK_NUMBER, 256), [0xd7, 0x82, 1, 0]);
        assert_eq!(element(id::EBML, b"a"), [0x1a, 0x45, 0xdf, 0xa3, 0x81, b'a']);
        for length in [2, 9, 10, 300] {
            assert_eq!(void(length).len(), length);
        }
        assert_eq!(long_size(5), [1, 0, 0, 0, 0, 0, 0, 5]);
    }
}
