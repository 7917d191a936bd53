//! Errors of the local API: a stable code for programs, a sentence for people, and what to do about it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Result of an API operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, stable across versions. New codes may be added; treat an unknown one as [`Code::Internal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The request is malformed or a value is out of range.
    Invalid,
    /// The address has a typing error, or is not a twocan address.
    BadAddress,
    /// The caller may not use this API (a web page, a missing token).
    Forbidden,
    /// No friend, request or call matches.
    NotFound,
    /// More than one friend matches the name.
    Ambiguous,
    /// It exists already (the friend, the request).
    Exists,
    /// The state of the friend or call does not allow it now.
    Conflict,
    /// The friend is not reachable now.
    Unreachable,
    /// The node is locked; `unlock` first.
    Locked,
    /// The passphrase is wrong.
    WrongPassphrase,
    /// Another client holds the seat of the call, or the seat token is wrong.
    SeatTaken,
    /// A bound is reached (friends, calls, requests, size).
    Limit,
    /// No node runs, or it does not answer.
    NoNode,
    /// Client and node speak different API versions.
    Version,
    /// The node cannot read or write its files.
    Storage,
    /// A fault of the node; its log says more.
    #[serde(other)]
    Internal,
}

impl Code {
    /// The HTTP status it travels with.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid | Self::BadAddress => 400,
            Self::WrongPassphrase | Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Ambiguous | Self::Exists | Self::Conflict | Self::SeatTaken => 409,
            Self::Locked => 423,
            Self::Version => 426,
            Self::Limit => 429,
            Self::Unreachable | Self::NoNode => 503,
            Self::Storage => 507,
            Self::Internal => 500,
        }
    }
}

/// An error as the API tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// For programs.
    pub code: Code,
    /// For people: what happened, one sentence without a final full stop.
    pub message: String,
    /// What to do about it, if anything helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Error {
    /// An error without advice.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
