//! Blinded keys on edwards25519: the public key times a hash that only the entitled can compute. Tor's onion services
//! (rend-spec-v3, appendix A.2) use the same construction.

use curve25519_dalek::{edwards::EdwardsPoint, scalar::Scalar};
use ed25519_dalek::{
    SigningKey, VerifyingKey,
    hazmat::{ExpandedSecretKey, raw_sign},
};
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    domain,
    identity::{KeyError, checked_point},
};

/// The factor: SHA-512 of the tuple, read as a little-endian number modulo the group order.
pub(super) fn factor(label: &str, parts: &[&[u8]]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&domain::sha512(label, parts))
}

/// The blinded public key.
pub(super) fn public(key: &[u8; 32], factor: &Scalar) -> Result<[u8; 32], KeyError> {
    let blinded: EdwardsPoint = checked_point(key)? * factor;
    let bytes = blinded.compress().to_bytes();
    // A factor of zero has probability 2^-252; then the slot does not exist rather than being weak.
    checked_point(&bytes).map(|_| bytes)
}

/// The blinded secret key. Who learns it and the factor has the original secret: it never leaves the node.
pub(super) struct BlindedKey {
    expanded: ExpandedSecretKey,
    public: VerifyingKey,
}

impl BlindedKey {
    /// Blinds a key pair. The signing prefix is derived anew too, so that no nonce repeats between slots.
    pub(super) fn new(key: &SigningKey, factor: &Scalar) -> Self {
        let hash = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(key.as_bytes())));
        let mut expanded = ExpandedSecretKey::from_bytes(&hash);
        let mut factor_bytes = factor.to_bytes();
        let prefix = domain::sha512(domain::BLIND_PREFIX, &[&expanded.hash_prefix, &factor_bytes]);
        factor_bytes.zeroize();
        expanded.hash_prefix.copy_from_slice(&prefix[..32]);
        expanded.scalar *= factor;
        let public = VerifyingKey::from(&expanded);
        Self { expanded, public }
    }

    pub(super) fn public(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    /// An ordinary Ed25519 signature under the blinded key.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        raw_sign::<Sha512>(&self.expanded, message, &self.public).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signature;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn owner_and_reader_compute_the_same_public_key_and_its_signatures_verify(seed: [u8; 32], context: [u8; 8]) {
            let key = SigningKey::from_bytes(&seed);
            let factor = factor("test", &[&context]);
            let blinded = BlindedKey::new(&key, &factor);
            prop_assert_eq!(blinded.public(), public(key.verifying_key().as_bytes(), &factor).unwrap());
            prop_assert_ne!(blinded.public(), key.verifying_key().to_bytes());
            let signature = Signature::from_bytes(&blinded.sign(b"message"));
            let verifier = VerifyingKey::from_bytes(&blinded.public()).unwrap();
            prop_assert!(verifier.verify_strict(b"message", &signature).is_ok());
            prop_assert!(key.verifying_key().verify_strict(b"message", &signature).is_err());
        }
    }

    #[test]
    fn a_zero_factor_is_no_slot() {
        let key = SigningKey::from_bytes(&[1; 32]);
        assert_eq!(public(key.verifying_key().as_bytes(), &Scalar::ZERO), Err(KeyError::Weak));
    }
}
