//! Where a node's control server is found: a Unix socket in the home, or, on systems without, loopback TCP with a token.
//!
//! Server and client share these rules, so that neither can talk past the other.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::paths;

/// Largest token file: a port, a line break and 64 hex digits fit many times over.
const MAX_TOKEN_FILE: u64 = 256;

/// The right to use a loopback TCP control server. 64 hex digits, in a file that only the owner reads.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes 64 lowercase hex digits.
    ///
    /// # Errors
    /// [`Code::Invalid`] for anything else.
    pub fn new(digits: impl Into<String>) -> Result<Self> {
        let digits = digits.into();
        if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(digits))
        } else {
            Err(Error::new(Code::Invalid, "a control token has 64 lowercase hex digits"))
        }
    }

    /// The digits, for the `Authorization: Bearer` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares without telling by time where the difference is.
    pub fn matches(&self, other: &str) -> bool {
        self.0.len() == other.len() && self.0.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where a control server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket. The default wherever there are any.
    Unix(PathBuf),
    /// 127.0.0.1 and a token. The default elsewhere.
    Tcp {
        /// The port on 127.0.0.1.
        port: u16,
        /// What every request has to carry.
        token: Token,
    },
}

impl Endpoint {
    /// The endpoint of the node that lives in a home.
    ///
    /// # Errors
    /// [`Code::NoNode`] where the endpoint is told by a file and that file is missing; [`Code::Storage`] if it cannot
    /// be read.
    pub fn of(home: &Path) -> Result<Self> {
        if cfg!(unix) { Ok(Self::Unix(paths::socket(home))) } else { Self::from_token_file(&paths::token_file(home)) }
    }

    /// Reads what [`Endpoint::token_file_text`] wrote.
    ///
    /// # Errors
    /// As [`Endpoint::of`].
    pub fn from_token_file(path: &Path) -> Result<Self> {
        let text = match std::fs::metadata(path) {
            Ok(found) if found.len() <= MAX_TOKEN_FILE => std::fs::read_to_string(path),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long")),
            Err(error) => Err(error),
        };
        let text = text.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_node(),
            _ => Error::new(Code::Storage, format!("cannot read {}: {error}", path.display())),
        })?;
        let mut lines = text.lines();
        let port = lines.next().and_then(|line| line.parse().ok());
        let token = lines.next().and_then(|line| Token::new(line).ok());
        match (port, token) {
            (Some(port), Some(token)) => Ok(Self::Tcp { port, token }),
            _ => Err(Error::new(Code::Storage, format!("{} is damaged", path.display())).hint("restart the node")),
        }
    }

    /// The text of the token file: the port in decimal, the token, each on a line. `None` for a Unix socket.
    pub fn token_file_text(&self) -> Option<String> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp { port, token } => Some(format!("{port}\n{}\n", token.as_str())),
        }
    }
}

/// The error for a home in which no node answers.
pub(crate) fn no_node() -> Error {
    Error::new(Code::NoNode, "no node is running here").hint("start it with `twocan up`")
}

/// Whether a control socket belongs to the person who asks (or to root): in a shared folder like `/tmp` somebody else
/// could have put one there, and would be told the passphrase.
///
/// # Errors
/// [`Code::NoNode`] if there is no such socket, [`Code::Storage`] if it is somebody else's.
#[cfg(unix)]
pub(crate) fn check_owner(socket: &Path) -> Result<()> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let found = std::fs::symlink_metadata(socket).map_err(|_| no_node())?;
    let folder = socket.parent().and_then(|folder| std::fs::metadata(folder).ok()).ok_or_else(no_node)?;
    let me = own_uid().map_err(|error| Error::new(Code::Storage, format!("cannot tell who I am: {error}")))?;
    let mine = |uid: u32| uid == me || uid == 0;
    if found.file_type().is_socket() && mine(found.uid()) && mine(folder.uid()) && folder.mode() & 0o022 == 0 {
        return Ok(());
    }
    let text = format!("{} is not a control socket of yours", socket.display());
    Err(Error::new(Code::Storage, text).hint("remove it, or choose another home with TWOCAN_HOME"))
}

/// The effective user id of this process, as the kernel tells the other end of a socket.
///
/// # Errors
/// If no socket pair can be made.
#[cfg(unix)]
pub fn own_uid() -> io::Result<u32> {
    let (one, _other) = std::os::unix::net::UnixStream::pair()?;
    one.set_nonblocking(true)?;
    Ok(tokio::net::UnixStream::from_std(one)?.peer_cred()?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_says_port_and_token() {
        let token = Token::new("ab".repeat(32)).unwrap();
        let endpoint = Endpoint::Tcp { port: 4711, token };
        let dir = std::env::temp_dir().join(format!("twocan-endpoint-{}", std::process::id()));
        std::fs::write(&dir, endpoint.token_file_text().unwrap()).unwrap();
        assert_eq!(Endpoint::from_token_file(&dir).unwrap(), endpoint);
        std::fs::write(&dir, "70000\nxx").unwrap();
        assert_eq!(Endpoint::from_token_file(&dir).unwrap_err().code, Code::Storage);
        std::fs::write(&dir, "1".repeat(1000)).unwrap();
        assert_eq!(Endpoint::from_token_file(&dir).unwrap_err().code, Code::Storage);
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(Endpoint::from_token_file(&dir).unwrap_err().code, Code::NoNode);
    }

    #[test]
    fn a_token_matches_only_itself() {
        let token = Token::new("0f".repeat(32)).unwrap();
        assert!(token.matches(&"0f".repeat(32)));
        assert!(!token.matches(&"0e".repeat(32)));
        assert!(!token.matches("0f"));
        assert!(Token::new("0F".repeat(32)).is_err());
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
