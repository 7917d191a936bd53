//! The certificate: a root key says which device key speaks for it, since when and until when. Fixed size, so that it
//! fits a slot record and a handshake payload and hides nothing in its length.

use super::{DevicePublic, KeyError, RootKey, RootPublic, fixed_bytes_serde};
use crate::{domain, limits::CLOCK_SKEW_S};

/// Size of an encoded certificate in bytes.
pub const CERTIFICATE_LEN: usize = 149;

/// Format version, the first byte.
const VERSION: u8 = 1;

/// Bytes before the signature.
const SIGNED: usize = CERTIFICATE_LEN - 64;

/// Root key `root` lets device key `device` speak for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Who signed.
    pub root: RootPublic,
    /// Whose key it is about.
    pub device: DevicePublic,
    /// Number of the device among its owner's, from 0.
    pub index: u32,
    /// Valid from (Unix seconds). Between two certificates of one root and index the later one counts.
    pub issued_s: u64,
    /// Valid until (Unix seconds), exclusive.
    pub expires_s: u64,
    signature: [u8; 64],
}

/// Why a certificate does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Wrong number of bytes.
    #[error("a certificate has {CERTIFICATE_LEN} bytes, not {0}")]
    Length(usize),
    /// Another format version.
    #[error("certificate of unknown version {0}")]
    Version(u8),
    /// One of the keys is none.
    #[error("certificate with a bad key")]
    Key(#[from] KeyError),
    /// The root did not sign this.
    #[error("certificate with a wrong signature")]
    Signature,
    /// Issued in the future by more than [`CLOCK_SKEW_S`].
    #[error("certificate from the future: one of the two clocks is wrong")]
    NotYetValid,
    /// Its time is over.
    #[error("certificate has expired")]
    Expired,
}

impl Certificate {
    /// Signs a certificate.
    pub fn issue(root: &RootKey, device: DevicePublic, index: u32, issued_s: u64, expires_s: u64) -> Self {
        let mut certificate = Self { root: root.public(), device, index, issued_s, expires_s, signature: [0; 64] };
        certificate.signature = root.sign(&certificate.signed());
        certificate
    }

    /// `u8 version = 1 | root 32 | device 32 | index u32 | issued u64 | expires u64 | signature 64`, integers big-endian.
    pub fn encode(&self) -> [u8; CERTIFICATE_LEN] {
        let mut out = [0; CERTIFICATE_LEN];
        out[0] = VERSION;
        out[1..33].copy_from_slice(self.root.as_bytes());
        out[33..65].copy_from_slice(self.device.as_bytes());
        out[65..69].copy_from_slice(&self.index.to_be_bytes());
        out[69..77].copy_from_slice(&self.issued_s.to_be_bytes());
        out[77..85].copy_from_slice(&self.expires_s.to_be_bytes());
        out[85..].copy_from_slice(&self.signature);
        out
    }

    /// Reads the format; whether the certificate counts is for [`Self::verify`] to say.
    pub fn decode(bytes: &[u8]) -> Result<Self, CertificateError> {
        let bytes: &[u8; CERTIFICATE_LEN] = bytes.try_into().map_err(|_| CertificateError::Length(bytes.len()))?;
        Self::from_bytes(bytes)
    }

    /// [`Self::decode`] for an array.
    pub fn from_bytes(bytes: &[u8; CERTIFICATE_LEN]) -> Result<Self, CertificateError> {
        if bytes[0] != VERSION {
            return Err(CertificateError::Version(bytes[0]));
        }
        Ok(Self {
            root: RootPublic::from_bytes(&array(bytes, 1))?,
            device: DevicePublic::from_bytes(&array(bytes, 33))?,
            index: u32::from_be_bytes(array(bytes, 65)),
            issued_s: u64::from_be_bytes(array(bytes, 69)),
            expires_s: u64::from_be_bytes(array(bytes, 77)),
            signature: array(bytes, 85),
        })
    }

    /// [`Self::encode`] under the name that the other byte types use.
    pub fn to_bytes(&self) -> [u8; CERTIFICATE_LEN] {
        self.encode()
    }

    /// Whether the root signed this and it is valid at that time.
    pub fn verify(&self, unix_s: u64) -> Result<(), CertificateError> {
        self.verify_signature()?;
        if self.issued_s > unix_s.saturating_add(CLOCK_SKEW_S) {
            return Err(CertificateError::NotYetValid);
        }
        if unix_s >= self.expires_s {
            return Err(CertificateError::Expired);
        }
        Ok(())
    }

    /// Whether the root signed this, whenever.
    pub fn verify_signature(&self) -> Result<(), CertificateError> {
        if self.root.verify(&self.signed(), &self.signature) { Ok(()) } else { Err(CertificateError::Signature) }
    }

    fn signed(&self) -> Vec<u8> {
        domain::tuple(domain::CERTIFICATE, &[&self.encode()[..SIGNED]]).to_vec()
    }
}

fixed_bytes_serde!(Certificate, CERTIFICATE_LEN);

/// `N` bytes from `at`; both are constants of the layout above.
fn array<const N: usize>(bytes: &[u8; CERTIFICATE_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::DeviceKey;

    fn example() -> Certificate {
        let device = DeviceKey::from_secret(&[2; 32]).public();
        Certificate::issue(&RootKey::from_secret(&[1; 32]), device, 0, 1_000_000, 2_000_000)
    }

    #[test]
    fn a_certificate_counts_within_its_time() {
        let certificate = example();
        assert_eq!(certificate.verify(1_500_000), Ok(()));
        assert_eq!(certificate.verify(1_000_000 - CLOCK_SKEW_S), Ok(()));
        assert_eq!(certificate.verify(999_999 - CLOCK_SKEW_S), Err(CertificateError::NotYetValid));
        assert_eq!(certificate.verify(2_000_000), Err(CertificateError::Expired));
        assert_eq!(certificate.verify(u64::MAX), Err(CertificateError::Expired));
    }

    #[test]
    fn a_change_to_any_bit_is_noticed() {
        let bytes = example().encode();
        for at in 0..CERTIFICATE_LEN * 8 {
            let mut changed = bytes;
            changed[at / 8] ^= 1 << (at % 8);
            let result = Certificate::decode(&changed).and_then(|certificate| certificate.verify(1_500_000));
            assert!(result.is_err(), "bit {at}");
        }
    }

    #[test]
    fn another_root_cannot_be_put_in() {
        let mut certificate = example();
        certificate.root = RootKey::from_secret(&[9; 32]).public();
        assert_eq!(certificate.verify(1_500_000), Err(CertificateError::Signature));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(certificate) = Certificate::decode(&bytes) {
                prop_assert_eq!(certificate.encode().to_vec(), bytes);
            }
        }
    }
}
