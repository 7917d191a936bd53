//! Finds the one slip that explains a wrong checksum. The checksum has distance five over this length, so a single
//! wrong character has exactly one explanation. The result is told to the person and never applied: guessing who
//! somebody meant is not for a program.

use std::fmt;

use super::{ADDRESS_LEN, CHARSET, PREFIX, payload};

/// One slip in typing. Positions count characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typo {
    /// This character is another.
    Wrong {
        /// Where.
        position: usize,
    },
    /// This character and the next changed places.
    Swapped {
        /// The first of the two.
        position: usize,
    },
    /// A character is missing before this one.
    Missing {
        /// The character after the gap.
        position: usize,
    },
    /// This character should not be there.
    Extra {
        /// Where.
        position: usize,
    },
}

impl Typo {
    pub(super) fn shifted(self, by: isize) -> Self {
        let shift = |position: usize| position.saturating_add_signed(by);
        match self {
            Self::Wrong { position } => Self::Wrong { position: shift(position) },
            Self::Swapped { position } => Self::Swapped { position: shift(position) },
            Self::Missing { position } => Self::Missing { position: shift(position) },
            Self::Extra { position } => Self::Extra { position: shift(position) },
        }
    }
}

impl fmt::Display for Typo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong { position } => write!(f, "look at character {position}"),
            Self::Swapped { position } => write!(f, "character {position} and the next one have changed places"),
            Self::Missing { position } => write!(f, "something is missing at character {position}"),
            Self::Extra { position } => write!(f, "character {position} is one too many"),
        }
    }
}

/// Tries every single slip on the characters after the prefix (all of [`CHARSET`]); at most some 2300 checksums.
pub(super) fn find(data: &str) -> Option<Typo> {
    let data = data.as_bytes();
    let full = ADDRESS_LEN - PREFIX.len();
    let at = |index: usize| PREFIX.len() + index + 1;
    let fits = |candidate: &[u8]| {
        let text: String = PREFIX.chars().chain(candidate.iter().map(|&byte| char::from(byte))).collect();
        payload(&text).is_some()
    };
    let mut candidate = data.to_vec();
    if data.len() == full {
        for index in 0..full {
            for symbol in CHARSET.bytes().filter(|&symbol| symbol != data[index]) {
                candidate[index] = symbol;
                if fits(&candidate) {
                    return Some(Typo::Wrong { position: at(index) });
                }
            }
            candidate[index] = data[index];
        }
        for index in 0..full - 1 {
            candidate.swap(index, index + 1);
            if fits(&candidate) {
                return Some(Typo::Swapped { position: at(index) });
            }
            candidate.swap(index, index + 1);
        }
    } else if data.len() + 1 == full {
        for index in 0..=data.len() {
            candidate.insert(index, 0);
            for symbol in CHARSET.bytes() {
                candidate[index] = symbol;
                if fits(&candidate) {
                    return Some(Typo::Missing { position: at(index) });
                }
            }
            candidate.remove(index);
        }
    } else if data.len() == full + 1 {
        for index in 0..data.len() {
            let removed = candidate.remove(index);
            if fits(&candidate) {
                return Some(Typo::Extra { position: at(index) });
            }
            candidate.insert(index, removed);
        }
    }
    None
}
