//! What a person sets while the node runs, and is kept: read marks, and what may come as a file.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// Whether friends are told that their messages were read.
    pub read_marks: bool,
    /// Folder for files that come (absolute).
    pub download_folder: String,
    /// Files up to this size (bytes) are accepted without asking; 0: none.
    pub auto_accept_bytes: u64,
    /// Larger files (bytes) are declined without asking.
    pub max_file_bytes: u64,
}

/// Changes settings. Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingsUpdate {
    /// Whether to tell friends that their messages were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_marks: Option<bool>,
    /// Folder for files that come (absolute); an empty text means the usual one of this system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_folder: Option<String>,
    /// Accept files up to this size (bytes) without asking; 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_accept_bytes: Option<u64>,
    /// Decline larger files (bytes) without asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_file_bytes: Option<u64>,
}
