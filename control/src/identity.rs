//! Who this node speaks for: identity, address, backup.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroize;

/// The identity of this node and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The address to hand out (`twocan1…`, bech32m; `specs/01-identity.md`).
    pub address: String,
    /// The same as a URI with hints (`twocan:…`).
    pub uri: String,
    /// Public root key, 64 hex digits.
    pub root: String,
    /// The name that friends are shown.
    pub name: String,
    /// Hash of the picture that friends are shown (`GET /v1/identity/picture`), if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Index of this device's certificate.
    pub device_index: u32,
    /// When the contact token was made anew last (Unix ms); absent while it is the one derived from the phrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_rotated_ms: Option<u64>,
}

/// What friends see of me.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    /// A name of at most 64 characters.
    pub name: String,
}

/// A passphrase on its way to the node.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Passphrase {
    /// The passphrase; empty removes it (in `set passphrase`).
    pub passphrase: String,
}

impl Drop for Passphrase {
    fn drop(&mut self) {
        self.passphrase.zeroize();
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// The 24 words. Whoever has them is the person.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Phrase {
    /// The words, separated by single spaces.
    pub words: String,
}

impl Drop for Phrase {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

impl std::fmt::Debug for Phrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phrase(..)")
    }
}

/// Asks for an encrypted backup.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BackupRequest {
    /// The passphrase that the backup is sealed under (at least 8 characters).
    pub passphrase: Passphrase,
}

/// An encrypted backup of identity, friends, grants, blocks and settings (`specs/07-storage.md`).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// The file's bytes in hexadecimal.
    pub file_hex: String,
}
