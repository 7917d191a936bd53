//! What relay server, relay client, calls and the link's messages share: credentials and where to use them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use twocan_protocol::identity::RootPublic;
use zeroize::Zeroizing;

use super::carried::Carried;

/// Takes a datagram: to whom (or from whom), and its bytes. Never waits; what does not fit is dropped.
pub type PacketOut = Arc<dyn Fn(SocketAddr, &[u8]) + Send + Sync>;

/// A text that is never shown: prints as `[redacted]`, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for use.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Whose relay it is, as far as this node may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A friend of ours.
    Friend(RootPublic),
    /// Somebody whom the partner of the call knows and we do not.
    Partner,
    /// A node that relays for anyone.
    Stranger,
}

/// Who uses a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The friend to whom it was handed.
    Own,
    /// The friend's partner in a call; counts as the friend's use.
    Partner,
}

/// User name and password for the relay (long-term credential of RFC 8489), random, for one call.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// User name: says nothing about who uses it.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Unix ms until which an allocation must have been made with it. An allocation that exists is not cut by it.
    pub expires_ms: u64,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("expires_ms", &self.expires_ms).finish_non_exhaustive()
    }
}

/// All that is needed to use a relay once.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// Whose relay it is.
    pub owner: Owner,
    /// Where it answers over UDP; may be empty. At most four are kept.
    pub udp: Vec<SocketAddr>,
    /// Where it answers over TLS; may be empty. At most four are kept.
    pub tls: Vec<SocketAddr>,
    /// SHA-256 of its TLS certificate (DER); nothing else is trusted.
    pub certificate: [u8; 32],
    /// User name.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// Unix ms until which it can be used for a new allocation.
    pub expires_ms: u64,
    /// Counts what goes through it.
    pub carried: Carried,
}

impl fmt::Debug for Access {
    /// Without addresses and credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("owner", &self.owner)
            .field("udp", &self.udp.len())
            .field("tls", &self.tls.len())
            .field("expires_ms", &self.expires_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_password_nor_address() {
        let access = Access {
            owner: Owner::Partner,
            udp: vec!["203.0.113.9:4001".parse().unwrap()],
            tls: Vec::new(),
            certificate: [0; 32],
            user: "the-user".into(),
            password: Secret::new("the-password"),
            expires_ms: 1,
            carried: Carried::default(),
        };
        let text = format!("{access:?} {:#?}", access.password);
        assert!(
            !text.contains("203.0.113.9") && !text.contains("the-user") && !text.contains("the-password"),
            "{text}"
        );
    }
}
