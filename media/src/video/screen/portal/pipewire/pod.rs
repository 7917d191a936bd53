//! Values as PipeWire writes them ("SPA POD": a length, a type and a body, padded to eight bytes, in the order of bytes of
//! the machine): built for what a stream offers, read where the other side says what it is to be.
//!
//! Source: PipeWire's documentation, "SPA POD", and `spa/pod/pod.h`.

/// Types of values (`spa/utils/type.h`).
const ID: u32 = 3;
const INT: u32 = 4;
const RECTANGLE: u32 = 10;
const FRACTION: u32 = 11;
const OBJECT: u32 = 15;
const CHOICE: u32 = 19;
/// Kinds of choices (`enum spa_choice_type`).
const RANGE: u32 = 1;
const ENUM: u32 = 3;
const FLAGS: u32 = 4;
/// More properties than any format has.
const MAX_PROPERTIES: usize = 64;

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A member of an enumeration.
    Id(u32),
    /// A number.
    Int(i32),
    /// Width and height.
    Rectangle(u32, u32),
    /// Numerator and denominator.
    Fraction(u32, u32),
}

/// What a property may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Property {
    /// This.
    Is(Value),
    /// The first if possible, else anything from the second to the third.
    Between(Value, Value, Value),
    /// The first if possible, else another of them.
    OneOf(Vec<Value>),
    /// Any of these bits.
    Bits(i32),
}

impl Value {
    fn kind(self) -> u32 {
        match self {
            Self::Id(_) => ID,
            Self::Int(_) => INT,
            Self::Rectangle(..) => RECTANGLE,
            Self::Fraction(..) => FRACTION,
        }
    }

    fn body(self) -> Vec<u8> {
        match self {
            Self::Id(id) => id.to_ne_bytes().to_vec(),
            Self::Int(number) => number.to_ne_bytes().to_vec(),
            Self::Rectangle(a, b) | Self::Fraction(a, b) => [a.to_ne_bytes(), b.to_ne_bytes()].concat(),
        }
    }

    fn read(kind: u32, body: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
        Some(match kind {
            ID => Self::Id(word(0)?),
            INT => Self::Int(i32::from_ne_bytes(word(0)?.to_ne_bytes())),
            RECTANGLE => Self::Rectangle(word(0)?, word(4)?),
            FRACTION => Self::Fraction(word(0)?, word(4)?),
            _ => return None,
        })
    }
}

/// An object, ready to be given to PipeWire: whole eights, which a pointer to it is aligned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod(Vec<u64>);

impl Pod {
    /// An object of a type (`SPA_TYPE_OBJECT_…`), for a parameter (`SPA_PARAM_…`), of these properties.
    pub(super) fn object(kind: u32, parameter: u32, properties: &[(u32, Property)]) -> Self {
        let mut body = [kind.to_ne_bytes(), parameter.to_ne_bytes()].concat();
        for (key, property) in properties {
            body.extend([key.to_ne_bytes(), 0u32.to_ne_bytes()].concat());
            match property {
                Property::Is(value) => write(&mut body, value.kind(), &value.body()),
                Property::Between(first, least, most) => choice(&mut body, RANGE, &[*first, *least, *most]),
                Property::OneOf(values) => {
                    // The one that is preferred stands for itself first, then among the others.
                    let all: Vec<Value> = values.first().into_iter().chain(values).copied().collect();
                    choice(&mut body, ENUM, &all);
                }
                Property::Bits(bits) => choice(&mut body, FLAGS, &[Value::Int(*bits)]),
            }
        }
        let mut bytes = Vec::new();
        write(&mut bytes, OBJECT, &body);
        let eights = bytes.chunks_exact(8).filter_map(|eight| eight.try_into().ok()).map(u64::from_ne_bytes);
        Self(eights.collect())
    }

    /// Where it lies, as long as this value lives.
    pub(super) fn as_ptr(&self) -> *const u64 {
        self.0.as_ptr()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|eight| eight.to_ne_bytes()).collect()
    }
}

fn write(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(body);
    out.resize(out.len().next_multiple_of(8), 0);
}

fn choice(out: &mut Vec<u8>, kind: u32, values: &[Value]) {
    let Some(first) = values.first() else { return };
    let size = u32::try_from(first.body().len()).unwrap_or(u32::MAX);
    let mut body = [kind, 0, size, first.kind()].map(u32::to_ne_bytes).concat();
    values.iter().for_each(|value| body.extend(value.body()));
    write(out, CHOICE, &body);
}

/// The properties of an object, each with its value; of a choice the first. What is of another type is left out. `None`:
/// this is no object.
pub(super) fn properties(bytes: &[u8]) -> Option<Vec<(u32, Value)>> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (size, kind) = (word(0)? as usize, word(4)?);
    let end = size.checked_add(8).filter(|end| *end <= bytes.len() && size >= 8 && kind == OBJECT)?;
    let mut found = Vec::new();
    let mut at = 16;
    while at + 16 <= end && found.len() < MAX_PROPERTIES {
        let (key, size, kind) = (word(at)?, word(at + 8)? as usize, word(at + 12)?);
        let body = bytes.get(at + 16..(at + 16).checked_add(size)?.min(end))?;
        let value = if kind == CHOICE {
            let inner = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
            inner(12).and_then(|kind| Value::read(kind, body.get(16..)?))
        } else {
            Value::read(kind, body)
        };
        found.extend(value.map(|value| (key, value)));
        at = at.checked_add(16)?.checked_add(size.checked_next_multiple_of(8)?)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_written_byte_by_byte_as_pipewire_writes_it() {
        let pod = Pod::object(0x40003, 3, &[(1, Property::Is(Value::Id(2))), (9, Property::Bits(6))]);
        let words: Vec<u32> =
            pod.bytes().chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
        let head = [8 + 24 + 40, OBJECT, 0x40003, 3];
        let id = [1, 0, 4, ID, 2, 0];
        let bits = [9, 0, 20, CHOICE, FLAGS, 0, 4, INT, 6, 0];
        assert_eq!(words, [&head[..], &id, &bits].concat());
        assert_eq!(pod.as_ptr().align_offset(8), 0);
    }

    #[test]
    fn what_was_written_is_read_and_of_a_choice_the_first() {
        let size = Value::Rectangle(640, 480);
        let rate = Value::Fraction(30, 1);
        let pod = Pod::object(
            0x40003,
            4,
            &[
                (1, Property::Is(Value::Int(-5))),
                (2, Property::OneOf(vec![Value::Id(8), Value::Id(7)])),
                (3, Property::Between(size, Value::Rectangle(1, 1), Value::Rectangle(9, 9))),
                (4, Property::Is(rate)),
            ],
        );
        let read = properties(&pod.bytes()).unwrap();
        assert_eq!(read, [(1, Value::Int(-5)), (2, Value::Id(8)), (3, size), (4, rate)]);
    }

    #[test]
    fn bytes_that_are_cut_or_wrong_are_no_object_and_no_fault() {
        let pod = Pod::object(0x40003, 4, &[(1, Property::Is(Value::Id(2))), (9, Property::Bits(6))]).bytes();
        for len in 0..pod.len() {
            assert_eq!(properties(&pod[..len]), None, "{len}");
        }
        for at in 0..pod.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut wrong = pod.clone();
                wrong[at] = byte;
                let read = properties(&wrong);
                assert!(read.is_none_or(|read| read.len() <= 2));
            }
        }
    }
}
