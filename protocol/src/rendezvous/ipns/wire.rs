//! The bytes of an IPNS record: a protobuf message around a DAG-CBOR map (IPNS specification, "Record Serialization
//! Format"). Only what version 2 signatures need is written; other fields are skipped when reading.

use ciborium::Value;

use super::{IpnsEntry, time};

/// Protobuf field numbers.
const SIGNATURE_V2: u64 = 8;
const DATA: u64 = 9;
/// How long others may answer from a cache, in nanoseconds: a minute, since a slot changes when a node moves.
const TTL_NS: u64 = 60_000_000_000;
/// The only kind of validity: an expiry.
const EOL: u64 = 0;

/// The message: signature and data, and nothing else.
pub(super) fn join(signature: &[u8; 64], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(signature.len() + data.len() + 8);
    for (field, bytes) in [(SIGNATURE_V2, signature.as_slice()), (DATA, data)] {
        push_varint(&mut out, field << 3 | 2);
        push_varint(&mut out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
    out
}

/// Signature and data of a message. `None` if there is none, or one of them is there twice.
pub(super) fn split(mut message: &[u8]) -> Option<([u8; 64], &[u8])> {
    let (mut signature, mut data) = (None, None);
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match tag & 7 {
            0 => {
                take_varint(&mut message)?;
            }
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                let twice = match tag >> 3 {
                    SIGNATURE_V2 => signature.replace(bytes).is_some(),
                    DATA => data.replace(bytes).is_some(),
                    _ => false,
                };
                if twice {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some((signature?.try_into().ok()?, data?))
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The map, with its keys in DAG-CBOR's order (shorter first, then by bytes) and every number in its shortest form.
pub(super) fn data(entry: &IpnsEntry) -> Vec<u8> {
    let mut out = Vec::with_capacity(entry.value.len() + 128);
    push_head(&mut out, 5, 5);
    let key = |out: &mut Vec<u8>, name: &str| {
        push_head(out, 3, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
    };
    key(&mut out, "TTL");
    push_head(&mut out, 0, TTL_NS);
    key(&mut out, "Value");
    push_bytes(&mut out, &entry.value);
    key(&mut out, "Sequence");
    push_head(&mut out, 0, entry.sequence);
    key(&mut out, "Validity");
    push_bytes(&mut out, time::format(entry.valid_until_ms).as_bytes());
    key(&mut out, "ValidityType");
    push_head(&mut out, 0, EOL);
    out
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_head(out, 2, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Head of a CBOR item (RFC 8949, 3): major type and the shortest form of the argument.
fn push_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let bytes = argument.to_be_bytes();
    let (info, length) = match argument {
        0..=23 => (bytes[7], 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    out.push(major << 5 | info);
    out.extend_from_slice(&bytes[8 - length..]);
}

/// Reads a map. Keys that are not known here are ignored; one that is there twice, or a wrong type, is refused.
pub(super) fn entry(data: &[u8]) -> Option<IpnsEntry> {
    let mut rest = data;
    let Ok(Value::Map(map)) = ciborium::from_reader::<Value, _>(&mut rest) else { return None };
    if !rest.is_empty() {
        return None;
    }
    let find = |name: &str| {
        let mut found = map.iter().filter(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value);
        found.next().filter(|_| found.next().is_none())
    };
    let integer = |name| find(name)?.as_integer().and_then(|number| u64::try_from(number).ok());
    if integer("ValidityType")? != EOL {
        return None;
    }
    Some(IpnsEntry {
        sequence: integer("Sequence")?,
        valid_until_ms: time::parse(find("Validity")?.as_bytes()?)?,
        value: find("Value")?.as_bytes()?.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry_of(sequence: u64) -> IpnsEntry {
        IpnsEntry { sequence, valid_until_ms: 1_800_000_000_000, value: vec![b'/'; 300] }
    }

    #[test]
    fn numbers_of_every_length_read_back() {
        for sequence in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let data = data(&entry_of(sequence));
            assert_eq!(entry(&data).unwrap(), entry_of(sequence));
            let message = join(&[7; 64], &data);
            assert_eq!(split(&message).unwrap(), ([7; 64], data.as_slice()));
        }
    }

    #[test]
    fn foreign_fields_are_skipped_and_doubled_or_cut_ones_refused() {
        let data = data(&entry_of(1));
        let message = join(&[7; 64], &data);
        // A sequence (field 5) and a public key (field 7), as other writers add them.
        let with_more = [&[0x28, 0x05, 0x3a, 0x02, 1, 2], message.as_slice()].concat();
        assert_eq!(split(&with_more).unwrap().1, data.as_slice());
        assert!(split(&[message.as_slice(), &message].concat()).is_none());
        assert!(split(&message[..message.len() - 1]).is_none());
        assert!(split(&join(&[7; 64], &data)[66..]).is_none(), "no signature");
        assert!(split(&[0xff; 20]).is_none());
        assert!(entry(&[data.as_slice(), &[0]].concat()).is_none(), "something after the map");
    }
}
