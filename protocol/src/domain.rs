//! One rule for every hash, key derivation and signature: a label that names the use, then the parts, each with its
//! length. Two different uses can therefore never feed the same bytes to a primitive (`specs/01-identity.md`, "Tuples").

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

/// Salt of every HKDF of this protocol.
const SALT: &[u8] = b"twocan/1";

pub(crate) const ROOT_KEY: &str = "twocan/1 root key";
pub(crate) const FIRST_TOKEN: &str = "twocan/1 first contact token";
pub(crate) const CERTIFICATE: &str = "twocan/1 certificate";
pub(crate) const FRIENDSHIP_KEY: &str = "twocan/1 friendship key";
pub(crate) const SAFETY_WORDS: &str = "twocan/1 safety words";
pub(crate) const STORE: &str = "twocan/1 store";
pub(crate) const STORE_INDEX_KEY: &str = "twocan/1 store index key";
pub(crate) const STORE_INDEX: &str = "twocan/1 store index";
pub(crate) const GATE_LINK_KEY: &str = "twocan/1 gate link key";
pub(crate) const GATE_FILE_KEY: &str = "twocan/1 gate file key";
pub(crate) const GATE_CONTACT_KEY: &str = "twocan/1 gate contact key";
pub(crate) const GATE_RELAY_KEY: &str = "twocan/1 gate relay key";
pub(crate) const GATE_TAG: &str = "twocan/1 gate tag";

pub(crate) const BLIND_PRESENCE: &str = "twocan/1 blind presence";
pub(crate) const BLIND_PAIR: &str = "twocan/1 blind pair";
pub(crate) const BLIND_CONTACT: &str = "twocan/1 blind contact";
pub(crate) const BLIND_PREFIX: &str = "twocan/1 blind prefix";
pub(crate) const SEAL_PRESENCE: &str = "twocan/1 seal presence";
pub(crate) const SEAL_PAIR: &str = "twocan/1 seal pair";
pub(crate) const SEAL_CONTACT: &str = "twocan/1 seal contact";
pub(crate) const RECORD: &str = "twocan/1 record";
pub(crate) const PHASE_PRESENCE: &str = "twocan/1 phase presence";
pub(crate) const PHASE_PAIR: &str = "twocan/1 phase pair";
pub(crate) const PHASE_CONTACT: &str = "twocan/1 phase contact";
pub(crate) const FIRST_NODES: &str = "twocan/1 first nodes";
pub(crate) const HANDSHAKE: &str = "twocan/1 handshake";

/// `u8 length of label | label | for each part: u16 (big-endian) length | part`.
///
/// Labels are the constants above (shorter than 256 bytes) and parts are keys, identifiers and contexts of this crate;
/// a part longer than 65535 bytes cannot occur and would be cut, never mixed up, because its bytes come after its length.
pub(crate) fn tuple(label: &str, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let size = 1 + label.len() + parts.iter().map(|part| 2 + part.len()).sum::<usize>();
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    out.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(label.as_bytes());
    for part in parts {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&part[..usize::from(length)]);
    }
    out
}

/// HKDF-SHA256 (RFC 5869) with salt `twocan/1`, the given key material, and the tuple as info; 32 bytes.
pub(crate) fn kdf(label: &str, key_material: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    #[expect(clippy::expect_used, reason = "invariant: 32 bytes are far below HKDF-SHA256's limit of 8160")]
    Hkdf::<Sha256>::new(Some(SALT), key_material)
        .expand(&tuple(label, parts), out.as_mut_slice())
        .expect("32 bytes from HKDF-SHA256");
    out
}

/// HMAC-SHA256 (RFC 2104) of the tuple.
pub(crate) fn hmac(key: &[u8; 32], label: &str, parts: &[&[u8]]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "invariant: HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(&tuple(label, parts));
    mac.finalize().into_bytes().into()
}

/// SHA-256 of the tuple.
pub(crate) fn sha256(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(tuple(label, parts).as_slice()).into()
}

/// SHA-512 of the tuple.
pub(crate) fn sha512(label: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    Zeroizing::new(Sha512::digest(tuple(label, parts).as_slice()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_parts_changes_the_tuple() {
        assert_ne!(*tuple("a", &[b"bc", b"d"]), *tuple("a", &[b"b", b"cd"]));
        assert_ne!(*tuple("a", &[b"bc"]), *tuple("ab", &[b"c"]));
        assert_ne!(*tuple("a", &[]), *tuple("a", &[b""]));
        assert_eq!(tuple("ab", &[b"c"]).as_slice(), b"\x02ab\x00\x01c");
    }
}
