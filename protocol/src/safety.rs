//! Six words that two friends compare by voice. Both sides show the same words if, and only if, each has the other's
//! true root key: 66 bits, out of reach for whoever would have to find a key pair with equal words beforehand.

use crate::{
    domain,
    identity::{RootPublic, phrase},
};

/// Words shown.
const WORDS: usize = 6;

/// The six words of a pair, separated by single spaces; the same from both sides.
pub fn safety_words(a: &RootPublic, b: &RootPublic) -> String {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    let hash = domain::sha256(domain::SAFETY_WORDS, &[first.as_bytes(), second.as_bytes()]);
    (0..WORDS).map(|index| phrase::word(phrase::eleven_bits(&hash, index))).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::RootKey;

    #[test]
    fn both_sides_read_the_same_six_words() {
        let [alice, bob, carol] = [1, 2, 3].map(|n| RootKey::from_secret(&[n; 32]).public());
        let words = safety_words(&alice, &bob);
        assert_eq!(words, safety_words(&bob, &alice));
        assert_eq!(words.split(' ').count(), 6);
        assert_ne!(words, safety_words(&alice, &carol));
    }
}
