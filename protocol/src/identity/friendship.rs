//! The friendship key: a secret that two people share from the moment both know the other's root key, without a word
//! between them. Gate tags, pair slots and grants hang on it.

use curve25519_dalek::MontgomeryPoint;
use zeroize::Zeroizing;

use super::{RootKey, RootPublic, secret_debug};
use crate::domain;

/// Shared secret of a pair of root keys; the same from both sides.
#[derive(Clone)]
pub struct FriendshipKey(Zeroizing<[u8; 32]>);

secret_debug!(FriendshipKey);

impl FriendshipKey {
    /// HKDF over X25519 of the two root keys and both public keys, the smaller one first.
    pub fn of(mine: &RootKey, theirs: &RootPublic) -> Self {
        let scalar = Zeroizing::new(mine.signing().to_scalar_bytes());
        // The other key is a checked point of the prime-order group: the result is never zero.
        let shared = Zeroizing::new(MontgomeryPoint(theirs.montgomery()).mul_clamped(*scalar).to_bytes());
        let mut pair = [mine.public(), *theirs];
        pair.sort();
        Self(domain::kdf(domain::FRIENDSHIP_KEY, shared.as_slice(), &[pair[0].as_bytes(), pair[1].as_bytes()]))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_compute_the_same_key_and_nobody_else_does() {
        let [alice, bob, carol] = [1, 2, 3].map(|n| RootKey::from_secret(&[n; 32]));
        let key = FriendshipKey::of(&alice, &bob.public());
        assert_eq!(key.as_bytes(), FriendshipKey::of(&bob, &alice.public()).as_bytes());
        assert_ne!(key.as_bytes(), FriendshipKey::of(&alice, &carol.public()).as_bytes());
        assert_ne!(key.as_bytes(), FriendshipKey::of(&carol, &bob.public()).as_bytes());
        assert_eq!(format!("{key:?}"), "FriendshipKey(..)");
    }
}
