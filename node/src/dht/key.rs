//! Places in the DHT, and how far apart they are.

use sha2::{Digest, Sha256};

/// Where a node or a record is: SHA-256 of the PeerId, or of the record key, as Kademlia's specification has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key([u8; 32]);

impl Key {
    /// The place of a PeerId or a record key.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A place by itself.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bits, the most significant first.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// How far the two are apart: smaller is nearer.
    pub fn distance(&self, other: &Self) -> Distance {
        Distance(std::array::from_fn(|at| self.0[at] ^ other.0[at]))
    }
}

/// The exclusive or of two places, compared as a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Distance([u8; 32]);

impl Distance {
    /// Leading bits that the two places share: 0 to 256.
    pub fn shared_bits(&self) -> u32 {
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        let rest = self.0.get(zeros).map_or(0, |byte| byte.leading_zeros());
        u32::try_from(zeros).unwrap_or(32) * 8 + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_order_like_numbers_and_count_what_is_shared() {
        let zero = Key::from_bytes([0; 32]);
        let with = |at: usize, byte: u8| {
            let mut bytes = [0; 32];
            bytes[at] = byte;
            zero.distance(&Key::from_bytes(bytes))
        };
        assert!(with(0, 1) > with(1, 255));
        assert!(with(31, 1) > zero.distance(&zero));
        assert_eq!([with(0, 0x80), with(0, 1), with(1, 0x40)].map(|d| d.shared_bits()), [0, 7, 9]);
        assert_eq!(zero.distance(&zero).shared_bits(), 256);
    }
}
