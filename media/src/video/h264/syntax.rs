//! The headers of an H.264 byte stream (ITU-T H.264, 7.3), read before any decoder sees them.
//!
//! The decoder behind this is free of unsafe code, but trusts a header about sizes: `2^32` parameter sets, references
//! or weights would cost memory without bound, and missing references would be shown as grey. So each access unit is
//! read up to the macroblocks first and must be what a constrained baseline encoder for real-time calls sends
//! (progressive, CAVLC, I and P slices in order, sliding-window references); anything else is refused, and a missing
//! reference picture is told by `frame_num`.

use crate::video::picture::{MAX_SIDE, check_size};

/// Most NAL units in an access unit: one slice for each row of the highest picture, and what surrounds them.
const MAX_NALS: usize = 256;
/// Longest parameter set in bytes; real ones have 10 to 60.
const MAX_PARAMETER_SET: usize = 512;
/// So many bytes of a slice are read for its header; real ones have 4 to 12.
const SLICE_HEADER_ROOM: usize = 512;
/// Most macroblocks in all reference pictures together: `MaxDpbMbs` of level 5.1 (Table A-1), about 70 MB.
const MAX_REFERENCE_BLOCKS: u32 = 184_320;
/// Most entries in a reference list of frames (7.4.3).
const MAX_REFERENCES: u32 = 16;
/// Most commands of a list modification; one per entry and the end is what 7.3.3.1 allows.
const MAX_MODIFICATIONS: usize = 17;

/// Why an access unit is refused, for one line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it ends in the middle of a header")]
    Truncated,
    #[error("the picture is too large, or its size is odd or empty")]
    Size,
    #[error("H.264 profile {0} instead of baseline (66)")]
    Profile(u32),
    #[error("a header field is out of its range: {0}")]
    Range(&'static str),
    #[error("outside of what calls use: {0}")]
    Unsupported(&'static str),
    #[error("a slice without its parameter sets")]
    MissingParameterSet,
    #[error("there is no NAL unit in it")]
    Empty,
    #[error("slices are missing or out of order")]
    SliceOrder,
}

/// The parts of a sequence parameter set that matter here (7.3.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sps {
    id: usize,
    log2_max_frame_num: u32,
    poc_type: u32,
    log2_max_poc_lsb: u32,
    delta_poc_always_zero: bool,
    max_references: u32,
    blocks: u32,
    width: u32,
    height: u32,
}

/// The parts of a picture parameter set that matter here (7.3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pps {
    id: usize,
    sps: usize,
    poc_of_bottom_field: bool,
    references: u32,
    redundant_pictures: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    first_block: u32,
    idr: bool,
    reference: bool,
    frame_num: u32,
    sps: Sps,
}

/// What an access unit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// A key frame (IDR).
    pub(crate) key: bool,
    /// Later pictures build on it.
    pub(crate) reference: bool,
    /// A reference picture between the last one and this is missing.
    pub(crate) gap: bool,
    /// Pixels.
    pub(crate) width: u32,
    /// Pixels.
    pub(crate) height: u32,
}

/// Remembers the parameter sets of a stream and where in it we are.
#[derive(Clone, Debug)]
pub(crate) struct Inspector {
    sps: [Option<Sps>; 32],
    pps: Box<[Option<Pps>; 256]>,
    /// What the last key frame used; it holds until the next.
    active: Option<Sps>,
    previous_reference: u32,
}

impl Default for Inspector {
    fn default() -> Self {
        Self { sps: [None; 32], pps: Box::new([None; 256]), active: None, previous_reference: 0 }
    }
}

impl Inspector {
    /// Reads all headers of an access unit. `Ok(None)`: no picture in it (parameter sets alone). After a refusal
    /// nothing of it is remembered, and it must not be given to a decoder.
    pub(crate) fn inspect(&mut self, access_unit: &[u8]) -> Result<Option<Unit>, Refusal> {
        // Most units carry no parameter set, so that the copy to go back to is rarely made.
        let mut before: Option<Self> = None;
        let result = self.read(access_unit, &mut before);
        if result.is_err()
            && let Some(before) = before
        {
            *self = before;
        }
        result
    }

    /// Forgets the stream: after a decoder was replaced.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    fn read(&mut self, access_unit: &[u8], before: &mut Option<Self>) -> Result<Option<Unit>, Refusal> {
        let mut first: Option<Slice> = None;
        let mut last_block = 0;
        for (count, nal) in nals(access_unit).enumerate() {
            if count == MAX_NALS {
                return Err(Refusal::Range("number of NAL units"));
            }
            let Some((&header, body)) = nal.split_first() else { continue };
            if header & 0x80 != 0 {
                return Err(Refusal::Range("forbidden_zero_bit"));
            }
            match header & 31 {
                7 => {
                    before.get_or_insert_with(|| self.clone());
                    let sps = parse_sps(body)?;
                    self.sps[sps.id] = Some(sps);
                }
                8 => {
                    before.get_or_insert_with(|| self.clone());
                    let pps = parse_pps(body)?;
                    self.pps[pps.id] = Some(pps);
                }
                kind @ (1 | 5) => {
                    let slice = self.slice(body, kind == 5, header >> 5 & 3)?;
                    match first {
                        None if slice.first_block == 0 => first = Some(slice),
                        Some(f) if slice.first_block > last_block && (Slice { first_block: 0, ..slice }) == f => {}
                        _ => return Err(Refusal::SliceOrder),
                    }
                    last_block = slice.first_block;
                }
                2..=4 => return Err(Refusal::Unsupported("data partitioning")),
                _ => {}
            }
        }
        match first {
            Some(slice) => self.place(slice).map(Some),
            None if nals(access_unit).next().is_none() => Err(Refusal::Empty),
            None => Ok(None),
        }
    }

    /// Where a picture stands in the stream.
    fn place(&mut self, slice: Slice) -> Result<Unit, Refusal> {
        if !slice.idr && self.active.is_some_and(|active| active != slice.sps) {
            return Err(Refusal::Unsupported("new parameters without a key frame"));
        }
        // Every picture after a reference picture counts one up (7.4.3), as long as no marking commands are used.
        let expected = (self.previous_reference + 1) % (1 << slice.sps.log2_max_frame_num);
        let gap = !slice.idr && (self.active.is_none() || slice.frame_num != expected);
        if slice.idr {
            self.active = Some(slice.sps);
        }
        if slice.reference && !gap {
            self.previous_reference = slice.frame_num;
        }
        Ok(Unit { key: slice.idr, reference: slice.reference, gap, width: slice.sps.width, height: slice.sps.height })
    }

    /// The header of a slice (7.3.3) up to and with the marking of references.
    fn slice(&self, body: &[u8], idr: bool, ref_idc: u8) -> Result<Slice, Refusal> {
        let mut r = Bits::of(&body[..body.len().min(SLICE_HEADER_ROOM)]);
        let first_block = r.ue()?;
        let predicted = match r.ue()? {
            0 | 5 => true,
            2 | 7 => false,
            _ => return Err(Refusal::Unsupported("B, SP or SI slices")),
        };
        let pps = usize::try_from(r.ue()?).ok().and_then(|id| self.pps.get(id).copied().flatten());
        let pps = pps.ok_or(Refusal::MissingParameterSet)?;
        let sps = self.sps[pps.sps].ok_or(Refusal::MissingParameterSet)?;
        let frame_num = r.bits(sps.log2_max_frame_num)?;
        if first_block >= sps.blocks {
            return Err(Refusal::Range("first_mb_in_slice"));
        }
        if idr {
            if ref_idc == 0 || predicted || frame_num != 0 {
                return Err(Refusal::Range("key frame"));
            }
            r.ue()?;
        }
        if sps.poc_type == 0 {
            r.bits(sps.log2_max_poc_lsb)?;
            if pps.poc_of_bottom_field {
                r.ue()?;
            }
        } else if sps.poc_type == 1 && !sps.delta_poc_always_zero {
            r.ue()?;
            if pps.poc_of_bottom_field {
                r.ue()?;
            }
        }
        if pps.redundant_pictures && r.ue()? != 0 {
            return Err(Refusal::Unsupported("redundant pictures"));
        }
        if predicted {
            let references = if r.bit()? { r.ue()?.saturating_add(1) } else { pps.references };
            if references > MAX_REFERENCES {
                return Err(Refusal::Range("num_ref_idx_l0_active"));
            }
            if r.bit()? {
                list_modification(&mut r)?;
            }
        }
        if ref_idc != 0 {
            let unusual = if idr { r.bits(2)? & 1 != 0 } else { r.bit()? };
            if unusual {
                return Err(Refusal::Unsupported("long-term references or marking commands"));
            }
        }
        Ok(Slice { first_block, idr, reference: ref_idc != 0, frame_num, sps })
    }
}

fn list_modification(r: &mut Bits) -> Result<(), Refusal> {
    for _ in 0..MAX_MODIFICATIONS {
        match r.ue()? {
            0 | 1 => r.ue()?,
            3 => return Ok(()),
            _ => return Err(Refusal::Unsupported("long-term references")),
        };
    }
    Err(Refusal::Range("ref_pic_list_modification"))
}

fn parse_sps(body: &[u8]) -> Result<Sps, Refusal> {
    if body.len() > MAX_PARAMETER_SET {
        return Err(Refusal::Range("length of a parameter set"));
    }
    let mut r = Bits::of(body);
    let profile = r.bits(8)?;
    if profile != 66 {
        return Err(Refusal::Profile(profile));
    }
    r.bits(16)?; // constraint flags and level: the size itself is checked below
    let id = index(r.ue()?, 32, "seq_parameter_set_id")?;
    let log2_max_frame_num = within(r.ue()?, 12, "log2_max_frame_num")? + 4;
    let poc_type = within(r.ue()?, 2, "pic_order_cnt_type")?;
    let (mut log2_max_poc_lsb, mut delta_poc_always_zero) = (0, false);
    if poc_type == 0 {
        log2_max_poc_lsb = within(r.ue()?, 12, "log2_max_pic_order_cnt_lsb")? + 4;
    } else if poc_type == 1 {
        delta_poc_always_zero = r.bit()?;
        r.ue()?;
        r.ue()?;
        for _ in 0..within(r.ue()?, 255, "num_ref_frames_in_pic_order_cnt_cycle")? {
            r.ue()?;
        }
    }
    let max_references = within(r.ue()?, MAX_REFERENCES, "max_num_ref_frames")?;
    r.bit()?; // gaps_in_frame_num_value_allowed: a gap is loss all the same
    // In macroblocks; a number beyond the limit is refused before it is multiplied.
    let columns = within(r.ue()?, MAX_SIDE / 16, "width").map_err(|_| Refusal::Size)? + 1;
    let rows = within(r.ue()?, MAX_SIDE / 16, "height").map_err(|_| Refusal::Size)? + 1;
    if !r.bit()? {
        return Err(Refusal::Unsupported("interlaced pictures"));
    }
    r.bit()?;
    let (mut width, mut height) = (columns * 16, rows * 16);
    if r.bit()? {
        let mut crop = [0; 4];
        for side in &mut crop {
            *side = within(r.ue()?, MAX_SIDE, "crop")?;
        }
        width = width.checked_sub(2 * (crop[0] + crop[1])).ok_or(Refusal::Size)?;
        height = height.checked_sub(2 * (crop[2] + crop[3])).ok_or(Refusal::Size)?;
    }
    check_size(width, height).map_err(|_| Refusal::Size)?;
    let blocks = columns * rows;
    if blocks * max_references.max(1) > MAX_REFERENCE_BLOCKS {
        return Err(Refusal::Range("max_num_ref_frames for this size"));
    }
    Ok(Sps {
        id,
        log2_max_frame_num,
        poc_type,
        log2_max_poc_lsb,
        delta_poc_always_zero,
        max_references,
        blocks,
        width,
        height,
    })
}

fn parse_pps(body: &[u8]) -> Result<Pps, Refusal> {
    if body.len() > MAX_PARAMETER_SET {
        return Err(Refusal::Range("length of a parameter set"));
    }
    let mut r = Bits::of(body);
    let id = index(r.ue()?, 256, "pic_parameter_set_id")?;
    let sps = index(r.ue()?, 32, "seq_parameter_set_id")?;
    if r.bit()? {
        return Err(Refusal::Unsupported("CABAC"));
    }
    let poc_of_bottom_field = r.bit()?;
    if r.ue()? != 0 {
        return Err(Refusal::Unsupported("slice groups"));
    }
    let references = within(r.ue()?, MAX_REFERENCES - 1, "num_ref_idx_l0_default")? + 1;
    within(r.ue()?, MAX_REFERENCES - 1, "num_ref_idx_l1_default")?;
    if r.bits(3)? != 0 {
        return Err(Refusal::Unsupported("weighted prediction"));
    }
    // Signed values as their unsigned code numbers: -26 to 25 is 0 to 52, -12 to 12 is 0 to 24 (9.1.1).
    within(r.ue()?, 52, "pic_init_qp")?;
    within(r.ue()?, 52, "pic_init_qs")?;
    within(r.ue()?, 24, "chroma_qp_index_offset")?;
    r.bits(2)?;
    let redundant_pictures = r.bit()?;
    if r.more_data() {
        return Err(Refusal::Unsupported("extensions of the high profiles"));
    }
    Ok(Pps { id, sps, poc_of_bottom_field, references, redundant_pictures })
}

fn within(value: u32, max: u32, name: &'static str) -> Result<u32, Refusal> {
    if value <= max { Ok(value) } else { Err(Refusal::Range(name)) }
}

fn index(value: u32, len: usize, name: &'static str) -> Result<usize, Refusal> {
    usize::try_from(value).ok().filter(|&i| i < len).ok_or(Refusal::Range(name))
}

/// The NAL units of an Annex B byte stream, without start codes.
pub(crate) fn nals(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start(stream).map(|at| &stream[at..]);
    std::iter::from_fn(move || {
        let here = rest?;
        let end = here.windows(3).position(|w| w == [0, 0, 1]);
        rest = end.map(|at| &here[at + 3..]);
        let nal = &here[..end.unwrap_or(here.len())];
        // Zeros before a start code belong to it (a NAL unit never ends in one, 7.4.1).
        Some(&nal[..nal.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1)])
    })
}

fn start(stream: &[u8]) -> Option<usize> {
    stream.windows(3).position(|w| w == [0, 0, 1]).map(|at| at + 3)
}

/// The `nal_ref_idc` of the first slice: 0 for a picture that nothing builds on. `None` without a slice.
pub(crate) fn reference_idc(access_unit: &[u8]) -> Option<u8> {
    nals(access_unit).filter_map(|nal| nal.first()).find(|&h| matches!(h & 31, 1 | 5)).map(|h| h >> 5 & 3)
}

/// Reads bits of a NAL unit's payload, leaving out emulation prevention bytes (7.4.1).
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn of(body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(body.len());
        let mut zeros = 0;
        for &b in body {
            if zeros >= 2 && b == 3 {
                zeros = 0;
                continue;
            }
            zeros = if b == 0 { zeros + 1 } else { 0 };
            bytes.push(b);
        }
        Self { bytes, at: 0 }
    }

    fn bit(&mut self) -> Result<bool, Refusal> {
        let byte = self.bytes.get(self.at / 8).ok_or(Refusal::Truncated)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    fn bits(&mut self, count: u32) -> Result<u32, Refusal> {
        (0..count).try_fold(0, |value, _| Ok(value << 1 | u32::from(self.bit()?)))
    }

    /// An Exp-Golomb code (9.1). A signed value of that form is read as its code number, where it matters not.
    fn ue(&mut self) -> Result<u32, Refusal> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros == 32 {
                return Err(Refusal::Range("Exp-Golomb code"));
            }
        }
        let suffix = self.bits(zeros)?;
        Ok(((1_u64 << zeros) - 1 + u64::from(suffix)) as u32)
    }

    /// Whether anything stands before the closing bit (`more_rbsp_data`, 7.2).
    fn more_data(&self) -> bool {
        let last = self.bytes.iter().rposition(|&b| b != 0);
        last.is_some_and(|byte| self.at < byte * 8 + 7 - self.bytes[byte].trailing_zeros() as usize)
    }
}
