//! Who a person is and which installation speaks for them: root key, device key, certificate, friendship key
//! (`specs/01-identity.md`).

mod certificate;
mod friendship;
mod keys;
pub mod phrase;
mod serial;

pub use certificate::{CERTIFICATE_LEN, Certificate, CertificateError};
pub use friendship::FriendshipKey;
pub use keys::{DeviceKey, DevicePublic, KeyError, PeerId, PeerIdError, RootKey, RootPublic};
pub use phrase::PhraseError;

pub(crate) use keys::checked_point;
pub(crate) use serial::{fixed_bytes_serde, secret_debug};
