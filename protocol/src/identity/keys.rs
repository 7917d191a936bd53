//! Root and device keys. Public keys are checked when they are made from bytes (canonical, in the prime-order group),
//! so that everything after that can rely on them; secret keys are zeroized and print nothing.

use std::{fmt, str::FromStr};

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{PhraseError, fixed_bytes_serde, phrase, secret_debug};
use crate::{domain, limits::PEER_ID_MAX};

/// Why bytes are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the canonical encoding of a point on edwards25519.
    #[error("not a valid Ed25519 public key")]
    NotAPoint,
    /// A point outside the prime-order group (this includes the neutral element).
    #[error("a weak Ed25519 public key")]
    Weak,
    /// Not 64 hexadecimal digits.
    #[error("an identity is written as 64 hexadecimal digits")]
    NotHex,
}

/// Decodes a public key and refuses every encoding that an honest key never has: not canonical, neutral element, any
/// part outside the prime-order group. Without this, one key could have several names and blinding could be undone.
pub(crate) fn checked_point(bytes: &[u8; 32]) -> Result<EdwardsPoint, KeyError> {
    let point = CompressedEdwardsY(*bytes).decompress().ok_or(KeyError::NotAPoint)?;
    if point.compress().to_bytes() != *bytes {
        return Err(KeyError::NotAPoint);
    }
    if point.is_small_order() || !point.is_torsion_free() {
        return Err(KeyError::Weak);
    }
    Ok(point)
}

/// The Montgomery form of a key that was checked before.
fn montgomery(key: &[u8; 32]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "invariant: checked when the key was made from bytes")]
    CompressedEdwardsY(*key).decompress().expect("a checked point").to_montgomery().to_bytes()
}

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes 32 bytes that are the canonical encoding of a point in the prime-order group.
            pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
                checked_point(bytes).map(|_| Self(*bytes))
            }

            /// The encoding (RFC 8032, section 5.1.2).
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The encoding, copied.
            pub const fn to_bytes(&self) -> [u8; 32] {
                self.0
            }

            /// The first 8 hexadecimal digits, for logs.
            pub fn short(&self) -> String {
                self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
            }

            /// The Montgomery form: the X25519 public key that belongs to the same secret (RFC 7748, section 4.1).
            pub fn montgomery(&self) -> [u8; 32] {
                montgomery(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                let digits = text.as_bytes();
                if digits.len() != 64 {
                    return Err(KeyError::NotHex);
                }
                let mut bytes = [0; 32];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|d| u8::try_from(d).ok());
                    *byte = digit(0).zip(digit(1)).map(|(high, low)| high << 4 | low).ok_or(KeyError::NotHex)?;
                }
                Self::from_bytes(&bytes)
            }
        }

        fixed_bytes_serde!($name, 32);
    };
}

public_key! {
    /// Who a person is: the public half of the root key. Shown as 64 hexadecimal digits.
    RootPublic
}

public_key! {
    /// Which installation speaks: the public half of a device key. Its Montgomery form is the Noise static key.
    DevicePublic
}

impl RootPublic {
    /// Whether this key made the signature over the message: strict Ed25519 (canonical, cofactorless, no weak R).
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

/// The secret that a person is. Comes from (and is worth as much as) the 24-word phrase.
pub struct RootKey {
    /// What the phrase encodes.
    entropy: Zeroizing<[u8; 32]>,
    /// Ed25519, seed derived from the entropy. Zeroizes itself.
    signing: SigningKey,
    public: RootPublic,
}

secret_debug!(RootKey, DeviceKey);

impl RootKey {
    /// A new identity.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut entropy = Zeroizing::new([0; 32]);
        rng.fill_bytes(entropy.as_mut_slice());
        Self::from_secret(&entropy)
    }

    /// The identity of a recovery phrase.
    pub fn from_phrase(words: &str) -> Result<Self, PhraseError> {
        Ok(Self::from_secret(&*phrase::decode(words)?))
    }

    /// The recovery phrase: 24 words separated by single spaces.
    pub fn phrase(&self) -> Zeroizing<String> {
        phrase::encode(&self.entropy)
    }

    /// The identity of 32 secret bytes, as [`Self::secret`] gives them. Any 32 bytes are an identity.
    pub fn from_secret(entropy: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(&domain::kdf(domain::ROOT_KEY, entropy, &[]));
        let public = RootPublic(signing.verifying_key().to_bytes());
        Self { entropy: Zeroizing::new(*entropy), signing, public }
    }

    /// The secret bytes, for the key file and for nothing else.
    pub fn secret(&self) -> &Zeroizing<[u8; 32]> {
        &self.entropy
    }

    /// Who this is.
    pub const fn public(&self) -> RootPublic {
        self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    pub(crate) const fn signing(&self) -> &SigningKey {
        &self.signing
    }
}

/// The secret of one installation, made there and never leaving it.
pub struct DeviceKey {
    signing: SigningKey,
    public: DevicePublic,
}

impl DeviceKey {
    /// A new installation.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::from_secret(&seed)
    }

    /// The device key of an Ed25519 seed, as [`Self::secret`] gives it.
    pub fn from_secret(seed: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let public = DevicePublic(signing.verifying_key().to_bytes());
        Self { signing, public }
    }

    /// The seed, for the key file and for nothing else.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_bytes())
    }

    /// Which installation this is.
    pub const fn public(&self) -> DevicePublic {
        self.public
    }

    /// The X25519 secret (to be clamped by X25519 itself) whose public half is [`DevicePublic::montgomery`].
    pub(crate) fn noise_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_scalar_bytes())
    }
}

/// Name of a running node in the swarm: the bytes of a libp2p PeerId, opaque here. New at every start.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(Vec<u8>);

/// Why bytes are no PeerId.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PeerId has 1 to 64 bytes, not {0}")]
pub struct PeerIdError(usize);

impl PeerId {
    /// Takes 1 to [`PEER_ID_MAX`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PeerIdError> {
        if bytes.is_empty() || bytes.len() > PEER_ID_MAX {
            return Err(PeerIdError(bytes.len()));
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerId(")?;
        let tail = &self.0[self.0.len().saturating_sub(4)..];
        tail.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl serde::Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_phrase_gives_the_same_identity_back() {
        let root = RootKey::from_secret(&[3; 32]);
        let again = RootKey::from_phrase(&root.phrase()).unwrap();
        assert_eq!(root.public(), again.public());
        assert_ne!(root.public(), RootKey::from_secret(&[4; 32]).public());
    }

    #[test]
    fn secrets_print_nothing() {
        let root = RootKey::from_secret(&[3; 32]);
        assert_eq!(format!("{root:?}"), "RootKey(..)");
        assert_eq!(format!("{:?}", DeviceKey::from_secret(&[3; 32])), "DeviceKey(..)");
    }

    #[test]
    fn public_keys_read_back_from_their_text() {
        let public = RootKey::from_secret(&[3; 32]).public();
        assert_eq!(public.to_string().parse::<RootPublic>().unwrap(), public);
        assert_eq!(public.to_string().to_uppercase().parse::<RootPublic>().unwrap(), public);
        assert_eq!("zz".parse::<RootPublic>().unwrap_err(), KeyError::NotHex);
        assert_eq!("é".repeat(32).parse::<RootPublic>().unwrap_err(), KeyError::NotHex);
        assert_eq!(public.short(), public.to_string()[..8]);
    }

    #[test]
    fn weak_and_ambiguous_public_keys_are_refused() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        assert_eq!(RootPublic::from_bytes(&neutral).unwrap_err(), KeyError::Weak);
        // The neutral element again, as y = p + 1.
        let mut ambiguous = [0xff; 32];
        ambiguous[0] = 0xee;
        ambiguous[31] = 0x7f;
        assert_eq!(RootPublic::from_bytes(&ambiguous).unwrap_err(), KeyError::NotAPoint);
        // An honest key plus a point of order eight.
        let honest = checked_point(RootKey::from_secret(&[9; 32]).public().as_bytes()).unwrap();
        let mixed = honest + curve25519_dalek::constants::EIGHT_TORSION[1];
        assert_eq!(RootPublic::from_bytes(&mixed.compress().to_bytes()).unwrap_err(), KeyError::Weak);
    }

    #[test]
    fn the_noise_secret_belongs_to_the_montgomery_form() {
        let device = DeviceKey::from_secret(&[5; 32]);
        let public = curve25519_dalek::MontgomeryPoint::mul_base_clamped(*device.noise_secret());
        assert_eq!(public.to_bytes(), device.public().montgomery());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_come_back(bytes: [u8; 32]) {
            if let Ok(key) = RootPublic::from_bytes(&bytes) {
                prop_assert_eq!(key.to_bytes(), bytes);
                key.montgomery();
            }
        }
    }
}
