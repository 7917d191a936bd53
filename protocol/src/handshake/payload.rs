//! What the second and third handshake messages carry: version, boot id, certificate.

use super::{HandshakeError, Local};
use crate::identity::{CERTIFICATE_LEN, Certificate};

/// Highest version of the link protocol that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;

/// `version u16 | boot u64 | certificate 149`.
const LEN: usize = 2 + 8 + CERTIFICATE_LEN;

/// Version, boot id and certificate of one side.
pub(super) struct Payload {
    pub(super) version: u16,
    pub(super) boot: u64,
    pub(super) certificate: Certificate,
}

impl Payload {
    pub(super) const fn of(local: Local<'_>) -> Self {
        Self { version: PROTOCOL_VERSION, boot: local.boot, certificate: *local.certificate }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.boot.to_be_bytes());
        out.extend_from_slice(&self.certificate.encode());
        out
    }

    /// Bytes after the certificate are for later versions and ignored.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let (version, rest) = bytes.split_first_chunk().ok_or(HandshakeError::Payload)?;
        let (boot, rest) = rest.split_first_chunk().ok_or(HandshakeError::Payload)?;
        let certificate = rest.get(..CERTIFICATE_LEN).ok_or(HandshakeError::Payload)?;
        let version = u16::from_be_bytes(*version);
        if version == 0 {
            return Err(HandshakeError::Version(version));
        }
        Ok(Self { version, boot: u64::from_be_bytes(*boot), certificate: Certificate::decode(certificate)? })
    }
}
