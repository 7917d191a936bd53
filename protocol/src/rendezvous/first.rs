//! Where a node that knows no other looks for its first ones: well-known keys of the public IPFS DHT.
//!
//! Publicly reachable nodes announce themselves as providers of these keys; the keys move with the day, and there are
//! several a day, so that whoever crowds one has not crowded the others.

use crate::domain;

/// Keys a day. Providers announce at each of them, who seeks asks one after the other in random order.
pub const FIRST_KEYS: u8 = 4;
/// Length of a key: a SHA-256 multihash, as the public DHT wants provider keys to be.
pub const FIRST_KEY_LEN: usize = 34;
/// Multihash code of SHA-256, and its length.
const MULTIHASH_HEAD: [u8; 2] = [0x12, 0x20];

/// The key with number `index` (below [`FIRST_KEYS`]) on a day (Unix time divided by 86 400 s).
pub fn first_key(day: u64, index: u8) -> [u8; FIRST_KEY_LEN] {
    let mut key = [0; FIRST_KEY_LEN];
    key[..2].copy_from_slice(&MULTIHASH_HEAD);
    key[2..].copy_from_slice(&domain::sha256(domain::FIRST_NODES, &[&day.to_be_bytes(), &[index]]));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_days_and_numbers_are_all_different_multihashes() {
        let keys: Vec<_> = (0..3).flat_map(|day| (0..FIRST_KEYS).map(move |index| first_key(day, index))).collect();
        let mut different = keys.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), keys.len());
        assert!(keys.iter().all(|key| key.starts_with(&[0x12, 32])));
    }
}
