//! H.264 as files store it (ISO/IEC 14496-15): lengths instead of start codes, and the parameters beside the pictures.

use super::syntax::{Inspector, nals};

/// NAL unit types (ITU-T H.264, table 7-1).
const SEQUENCE_PARAMETERS: u8 = 7;
const PICTURE_PARAMETERS: u8 = 8;
const DELIMITER: u8 = 9;
const FILLER: u8 = 12;
/// Most parameter sets of one picture that are kept.
const MAX_SETS: usize = 8;

/// What a file says of a stream of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Pixels.
    pub(crate) width: u32,
    /// Pixels.
    pub(crate) height: u32,
    /// The `AVCDecoderConfigurationRecord`.
    pub(crate) configuration: Vec<u8>,
}

impl Format {
    /// The format of the stream that this key frame (Annex B) begins; none if it lacks its parameters or is not of the
    /// kind that calls use.
    pub(crate) fn of(key_frame: &[u8]) -> Option<Self> {
        let unit = Inspector::default().inspect(key_frame).ok()??;
        let of_kind = |kind: u8| nals(key_frame).filter(move |nal| nal.first().is_some_and(|head| head & 31 == kind));
        let sequence: Vec<&[u8]> = of_kind(SEQUENCE_PARAMETERS).take(MAX_SETS).collect();
        let picture: Vec<&[u8]> = of_kind(PICTURE_PARAMETERS).take(MAX_SETS).collect();
        let [_, profile, compatibility, level, ..] = **sequence.first()? else { return None };
        // Version 1, and lengths of four bytes.
        let mut configuration = vec![1, profile, compatibility, level, 0xff];
        for (mark, sets) in [(0xe0, &sequence), (0, &picture)] {
            configuration.push(mark | u8::try_from(sets.len()).ok()?);
            for set in sets {
                configuration.extend_from_slice(&u16::try_from(set.len()).ok()?.to_be_bytes());
                configuration.extend_from_slice(set);
            }
        }
        Some(Self { width: unit.width, height: unit.height, configuration })
    }
}

/// The access unit with lengths of four bytes; parameter sets stay in it, since they may change.
pub(crate) fn lengths(access_unit: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(access_unit.len() + 8);
    for nal in nals(access_unit) {
        let kind = nal.first().map_or(0, |head| head & 31);
        if nal.is_empty() || kind == DELIMITER || kind == FILLER {
            continue;
        }
        out.extend_from_slice(&u32::try_from(nal.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(nal);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_become_lengths() {
        let unit = [0, 0, 0, 1, 9, 0x10, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x65, 0xaa];
        assert_eq!(lengths(&unit), [0, 0, 0, 3, 0x67, 1, 2, 0, 0, 0, 2, 0x65, 0xaa]);
        assert!(Format::of(&unit).is_none());
        assert!(lengths(&[]).is_empty());
    }
}
