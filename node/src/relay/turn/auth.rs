//! Long-term credentials (RFC 8489, 9.2): keys made of user, realm and password, and nonces that need no memory.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use ring::hmac;
use subtle::ConstantTimeEq;

/// The realm of every twocan relay.
pub(crate) const REALM: &str = "twocan";
/// A nonce is good for this long (RFC 8656, 5: at least once an hour a new one).
const NONCE_LIFE: Duration = Duration::from_secs(3600);
/// Bytes of a nonce's tag: too many to guess.
const NONCE_TAG: usize = 16;
/// Characters of a nonce: time and tag in hexadecimal digits.
const NONCE_LEN: usize = 2 * (4 + NONCE_TAG);

/// Key of MESSAGE-INTEGRITY.
#[derive(Clone)]
pub(crate) struct Key(hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Key {
    /// MD5 of `user:realm:password` (RFC 8489, 18.5.1.1), for HMAC-SHA1. The passwords are random and long, so that
    /// what these two hashes cannot do any more is not needed here.
    pub(crate) fn long_term(user: &str, realm: &str, password: &str) -> Self {
        let mut hash = Md5::new();
        for part in [user, ":", realm, ":", password] {
            hash.update(part.as_bytes());
        }
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &hash.finalize()))
    }

    /// HMAC-SHA1.
    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 20] {
        let mut tag = [0; 20];
        tag.copy_from_slice(hmac::sign(&self.0, bytes).as_ref());
        tag
    }

    /// Whether `tag` is the HMAC-SHA1 of the parts, in constant time.
    pub(super) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        context.sign().as_ref().ct_eq(tag).into()
    }
}

/// Makes and knows nonces: seconds since the start and a tag over them and the client's IP address. A nonce heard on
/// one path is of no use from another address.
pub(crate) struct Nonces {
    key: hmac::Key,
    began: Instant,
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces")
    }
}

impl Nonces {
    /// With a random key.
    pub(crate) fn new(now: Instant, secret: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), began: now }
    }

    /// A nonce for a client, good from now on.
    pub(crate) fn make(&self, now: Instant, ip: IpAddr) -> String {
        let seconds = u32::try_from(now.saturating_duration_since(self.began).as_secs()).unwrap_or(u32::MAX);
        self.at(seconds, ip)
    }

    fn at(&self, seconds: u32, ip: IpAddr) -> String {
        use std::fmt::Write;

        let mut context = hmac::Context::with_key(&self.key);
        context.update(&seconds.to_be_bytes());
        match ip {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        let tag = context.sign();
        let bytes = seconds.to_be_bytes().into_iter().chain(tag.as_ref()[..NONCE_TAG].iter().copied());
        bytes.fold(String::with_capacity(NONCE_LEN), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Whether it is one of ours, for this client, and not too old.
    pub(crate) fn is_good(&self, now: Instant, ip: IpAddr, nonce: &[u8]) -> bool {
        let seconds = nonce
            .get(..8)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let Some(seconds) = seconds else { return false };
        let age = now.saturating_duration_since(self.began).as_secs().checked_sub(u64::from(seconds));
        age.is_some_and(|age| age <= NONCE_LIFE.as_secs()) && bool::from(self.at(seconds, ip).as_bytes().ct_eq(nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_for_its_address_and_its_hour_only() {
        let start = Instant::now();
        let (nonces, ip) = (Nonces::new(start, &[7; 32]), IpAddr::from([192, 0, 2, 1]));
        let made = start + Duration::from_secs(100);
        let nonce = nonces.make(made, ip);
        assert!(nonces.is_good(made, ip, nonce.as_bytes()));
        assert!(nonces.is_good(made + NONCE_LIFE, ip, nonce.as_bytes()));
        assert!(!nonces.is_good(made + NONCE_LIFE + Duration::from_secs(1), ip, nonce.as_bytes()));
        assert!(!nonces.is_good(made, IpAddr::from([192, 0, 2, 2]), nonce.as_bytes()));
        assert!(!nonces.is_good(start, ip, nonce.as_bytes()), "from the future");
        assert!(!Nonces::new(start, &[8; 32]).is_good(made, ip, nonce.as_bytes()), "of another server");
        for bent in ["", "0000006", &nonce[1..], &format!("{nonce}0"), &nonce.to_uppercase().replace('0', "1")] {
            assert!(!nonces.is_good(made, ip, bent.as_bytes()), "{bent}");
        }
    }
}
