//! H.264 in RTP (RFC 6184, packetization mode 1): access units in, payloads out, and back.
//!
//! Ours instead of the crate's: its depacketizer reads past the end of a cut STAP-A and collects fragments without
//! bound, and its packetizer forgets parameter sets that do not fit into one packet.
//! An access unit is a run of NAL units in Annex B form (start codes).

use bytes::{BufMut, Bytes, BytesMut};

mod syntax;

pub(super) use syntax::{Start, access_unit, start};

/// Largest RTP payload that we send. With RTP header, extensions, SRTP tag, UDP and IPv6 it stays below 1280 bytes,
/// which every path carries.
pub(super) const MAX_PAYLOAD: usize = 1160;

const START_CODE: [u8; 4] = [0, 0, 0, 1];
const TYPE_MASK: u8 = 0x1f;
const NRI_MASK: u8 = 0x60;
const FRAGMENT_START: u8 = 0x80;
const FRAGMENT_END: u8 = 0x40;

const SLICE: u8 = 1;
const IDR: u8 = 5;
const DELIMITER: u8 = 9;
const FILLER: u8 = 12;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Whether a payload is padding: filler data (7.3.2.7), which the sender uses to try what the path carries.
pub(super) fn is_filler(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| header & TYPE_MASK == FILLER)
}

/// The NAL units of an access unit. Without any start code the whole is one NAL unit.
fn nal_units(access_unit: &Bytes) -> Vec<Bytes> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = access_unit.get(at..).and_then(|rest| rest.windows(3).position(|w| w == [0, 0, 1])) {
        starts.push(at + found);
        at += found + 3;
    }
    if starts.is_empty() {
        return if access_unit.is_empty() { Vec::new() } else { vec![access_unit.clone()] };
    }
    let ends = starts.iter().skip(1).copied().chain([access_unit.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| {
            let unit = access_unit.slice(start + 3..end);
            // A NAL unit ends in a non-zero byte; zeros there belong to the next start code.
            let length = unit.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
            (length > 0).then(|| unit.slice(..length))
        })
        .collect()
}

/// Cuts an access unit into RTP payloads of at most [`MAX_PAYLOAD`] bytes. Delimiters and filler stay behind.
pub(super) fn packetize(access_unit: &Bytes) -> Vec<Bytes> {
    let mut out = Vec::new();
    let mut group: Vec<Bytes> = Vec::new();
    let mut group_len = 1;
    for unit in nal_units(access_unit) {
        if matches!(unit[0] & TYPE_MASK, DELIMITER | FILLER) {
            continue;
        }
        if group_len + 2 + unit.len() > MAX_PAYLOAD {
            flush(&mut group, &mut out);
            group_len = 1;
        }
        if unit.len() > MAX_PAYLOAD {
            fragment(&unit, &mut out);
        } else if unit.len() + 3 > MAX_PAYLOAD {
            out.push(unit);
        } else {
            group_len += 2 + unit.len();
            group.push(unit);
        }
    }
    flush(&mut group, &mut out);
    out
}

/// One NAL unit goes as it is, several as STAP-A.
fn flush(group: &mut Vec<Bytes>, out: &mut Vec<Bytes>) {
    match group.as_slice() {
        [] => {}
        [unit] => out.push(unit.clone()),
        units => {
            let importance = units.iter().map(|unit| unit[0] & NRI_MASK).max().unwrap_or(0);
            let mut packet = BytesMut::with_capacity(1 + units.iter().map(|unit| unit.len() + 2).sum::<usize>());
            packet.put_u8(STAP_A | importance);
            for unit in units {
                packet.put_u16(u16::try_from(unit.len()).unwrap_or(u16::MAX));
                packet.put_slice(unit);
            }
            out.push(packet.freeze());
        }
    }
    group.clear();
}

fn fragment(unit: &Bytes, out: &mut Vec<Bytes>) {
    let body = &unit[1..];
    let pieces = body.chunks(MAX_PAYLOAD - 2);
    let last = pieces.len().saturating_sub(1);
    for (number, piece) in pieces.enumerate() {
        let mut flags = unit[0] & TYPE_MASK;
        if number == 0 {
            flags |= FRAGMENT_START;
        }
        if number == last {
            flags |= FRAGMENT_END;
        }
        let mut packet = BytesMut::with_capacity(piece.len() + 2);
        packet.put_u8(FU_A | (unit[0] & NRI_MASK));
        packet.put_u8(flags);
        packet.put_slice(piece);
        out.push(packet.freeze());
    }
}

/// An access unit put together again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AccessUnit {
    /// Annex B bytes.
    pub(super) bytes: Bytes,
    /// Contains an IDR picture.
    pub(super) key: bool,
    /// 1 if no slice in it is referred to by others (the upper temporal layer), else 0.
    pub(super) layer: u8,
}

/// Whether no other picture refers to this one.
pub(super) fn unreferenced(access_unit: &Bytes) -> bool {
    let mut slices = nal_units(access_unit)
        .into_iter()
        .filter_map(|unit| unit.first().copied())
        .filter(|header| (SLICE..=IDR).contains(&(header & TYPE_MASK)));
    let first = slices.next();
    first.is_some_and(|header| header & NRI_MASK == 0) && slices.all(|header| header & NRI_MASK == 0)
}

/// Puts the payloads of one access unit together. `None` if they are not a whole number of well-formed NAL units, or
/// longer than `limit` bytes together.
pub(super) fn depacketize<'a>(payloads: impl Iterator<Item = &'a [u8]>, limit: usize) -> Option<AccessUnit> {
    let mut out = BytesMut::new();
    let (mut key, mut slices, mut referred) = (false, false, false);
    let mut in_fragment = None;
    let mut begin = |out: &mut BytesMut, header: u8| {
        key |= header & TYPE_MASK == IDR;
        if (SLICE..=IDR).contains(&(header & TYPE_MASK)) {
            slices = true;
            referred |= header & NRI_MASK != 0;
        }
        out.put_slice(&START_CODE);
    };
    for payload in payloads {
        if out.len() + payload.len() + 64 > limit {
            return None;
        }
        let &[header, ref rest @ ..] = payload else { return None };
        match header & TYPE_MASK {
            1..=23 if in_fragment.is_none() => {
                begin(&mut out, header);
                out.put_slice(payload);
            }
            STAP_A if in_fragment.is_none() => {
                let mut rest = rest;
                while let [high, low, tail @ ..] = rest {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    let unit = tail.get(..length)?;
                    begin(&mut out, *unit.first()?);
                    out.put_slice(unit);
                    if out.len() > limit {
                        return None;
                    }
                    rest = &tail[length..];
                }
                if !rest.is_empty() {
                    return None;
                }
            }
            FU_A => {
                let &[flags, ref piece @ ..] = rest else { return None };
                let unit = (header & !TYPE_MASK) | (flags & TYPE_MASK);
                match (in_fragment, flags & FRAGMENT_START != 0) {
                    (None, true) => {
                        begin(&mut out, unit);
                        out.put_u8(unit);
                    }
                    (Some(open), false) if open == unit => {}
                    _ => return None,
                }
                in_fragment = (flags & FRAGMENT_END == 0).then_some(unit);
                out.put_slice(piece);
            }
            _ => return None,
        }
    }
    if in_fragment.is_some() || out.is_empty() {
        return None;
    }
    Some(AccessUnit { bytes: out.freeze(), key, layer: u8::from(slices && !referred) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(header: u8, length: usize) -> Vec<u8> {
        let mut out = START_CODE.to_vec();
        out.push(header);
        out.extend((0..length).map(|i| (i % 250 + 1) as u8));
        out
    }

    fn back(payloads: &[Bytes]) -> Option<AccessUnit> {
        depacketize(payloads.iter().map(|p| &p[..]), 1 << 20)
    }

    #[test]
    fn a_key_frame_survives_with_its_parameter_sets() {
        let access_unit = Bytes::from([unit(0x67, 20), unit(0x68, 5), unit(0x65, 9000)].concat());
        let payloads = packetize(&access_unit);
        assert!(payloads.iter().all(|p| p.len() <= MAX_PAYLOAD));
        assert_eq!(payloads[0][0] & TYPE_MASK, STAP_A);
        assert_eq!(back(&payloads), Some(AccessUnit { bytes: access_unit, key: true, layer: 0 }));
    }

    #[test]
    fn a_small_frame_is_one_plain_packet() {
        let access_unit = Bytes::from(unit(0x41, 300));
        let payloads = packetize(&access_unit);
        assert_eq!(payloads, [access_unit.slice(4..)]);
        assert_eq!(back(&payloads), Some(AccessUnit { bytes: access_unit, key: false, layer: 0 }));
    }

    #[test]
    fn a_frame_that_nobody_refers_to_is_of_the_upper_layer() {
        assert_eq!(back(&packetize(&Bytes::from(unit(0x01, 300)))).unwrap().layer, 1);
    }

    #[test]
    fn delimiters_and_filler_are_left_out() {
        let access_unit = Bytes::from([unit(0x09, 1), unit(0x41, 50), unit(0x0c, 400)].concat());
        assert_eq!(back(&packetize(&access_unit)).unwrap().bytes, unit(0x41, 50));
    }

    #[test]
    fn large_parameter_sets_are_not_forgotten() {
        let access_unit = Bytes::from([unit(0x67, 700), unit(0x68, 700), unit(0x65, 3000)].concat());
        assert_eq!(back(&packetize(&access_unit)).unwrap().bytes, access_unit);
    }

    #[test]
    fn a_frame_with_a_hole_is_no_frame() {
        let payloads = packetize(&Bytes::from(unit(0x65, 9000)));
        for missing in 0..payloads.len() {
            let mut rest = payloads.clone();
            rest.remove(missing);
            // A hole in the middle cannot be seen here: sequence numbers show it.
            if missing == 0 || missing == payloads.len() - 1 {
                assert_eq!(back(&rest), None);
            }
        }
    }

    #[test]
    fn cut_aggregates_are_refused() {
        for payload in [&[0x78][..], &[0x78, 0], &[0x78, 0, 5, 1], &[0x78, 0, 0], &[0x78, 0, 1, 0x41, 0], &[0x1c], &[]]
        {
            assert_eq!(depacketize([payload].into_iter(), 1 << 20), None, "{payload:?}");
        }
    }

    #[test]
    fn an_access_unit_beyond_the_limit_is_refused() {
        let payloads = packetize(&Bytes::from(unit(0x65, 9000)));
        assert_eq!(depacketize(payloads.iter().map(|p| &p[..]), 5000), None);
        let tiny: Vec<u8> = std::iter::once(0x78).chain([0, 1, 0x41].into_iter().cycle().take(1140)).collect();
        assert_eq!(depacketize([&tiny[..]].into_iter(), 1500), None);
    }

    proptest! {
        #[test]
        fn any_access_unit_survives(sizes in prop::collection::vec((1_u8..24, 1_usize..4000), 1..6)) {
            let units: Vec<_> = sizes.iter().filter(|(kind, _)| !matches!(*kind, DELIMITER | FILLER)).collect();
            let access_unit = Bytes::from(units.iter().flat_map(|(kind, len)| unit(0x60 | kind, *len)).collect::<Vec<_>>());
            prop_assume!(!access_unit.is_empty());
            prop_assert_eq!(back(&packetize(&access_unit)).map(|unit| unit.bytes), Some(access_unit));
        }

        #[test]
        fn no_payload_breaks_the_reader(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let _ = depacketize(payloads.iter().map(|p| &p[..]), 4096);
        }

        #[test]
        fn no_bytes_break_the_writer(bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..3000)) {
            prop_assert!(packetize(&Bytes::from(bytes)).iter().all(|p| !p.is_empty() && p.len() <= MAX_PAYLOAD));
        }
    }
}
