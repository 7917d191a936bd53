//! Binding the control socket: nobody else's, nobody else's to open, and never in the place of a node that answers.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use twocan_control::{Endpoint, Token, paths};

/// Why the control server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A node answers on the socket.
    #[error("another node answers on {}; stop it with `twocan down`, or set TWOCAN_HOME to another folder", .0.display())]
    InUse(PathBuf),
    /// The folder of the socket is somebody else's.
    #[error("{} is not a folder of yours alone; remove it, or set TWOCAN_HOME to another folder", .0.display())]
    Folder(PathBuf),
    /// The system refused.
    #[error("cannot listen on {}: {action} failed: {source}", .path.display())]
    Io {
        /// The socket or file concerned.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A bound control socket. Dropping it removes what it made.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    inner: Inner,
    /// The socket or token file to remove in the end.
    file: PathBuf,
}

#[derive(Debug)]
enum Inner {
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        uid: u32,
    },
    Tcp(TcpListener),
}

/// A connection of either kind.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Listener {
    /// Binds as this system does by default: a Unix socket in the home, else loopback TCP with a token file.
    ///
    /// # Errors
    /// [`BindError`]
    pub async fn bind(home: &Path) -> Result<Self, BindError> {
        #[cfg(unix)]
        return Self::unix(&paths::socket(home)).await;
        #[cfg(not(unix))]
        return Self::tcp(&paths::token_file(home)).await;
    }

    /// Binds a Unix socket; a stale one is replaced, one that answers is not. The folder is made if it is missing.
    ///
    /// # Errors
    /// [`BindError`]
    #[cfg(unix)]
    pub async fn unix(path: &Path) -> Result<Self, BindError> {
        use std::os::unix::fs::PermissionsExt;
        let fail = |action| {
            let path = path.to_owned();
            move |source| BindError::Io { path, action, source }
        };
        let uid = twocan_control::endpoint::own_uid().map_err(fail("asking for the own user id"))?;
        own_folder(path, uid)?;
        remove_stale(path).await?;
        let listener = UnixListener::bind(path).map_err(fail("binding the socket"))?;
        // Between bind and chmod the 0700 folder keeps everybody else out.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fail("setting 0600"))?;
        Ok(Self {
            endpoint: Endpoint::Unix(path.to_owned()),
            inner: Inner::Unix { listener, uid },
            file: path.to_owned(),
        })
    }

    /// Binds a free port on 127.0.0.1 and writes port and a new token into a file that only the owner reads.
    ///
    /// # Errors
    /// [`BindError`]
    pub async fn tcp(token_file: &Path) -> Result<Self, BindError> {
        let fail = |action| {
            let path = token_file.to_owned();
            move |source| BindError::Io { path, action, source }
        };
        let random = |_| BindError::Io {
            path: token_file.to_owned(),
            action: "making a token",
            source: io::Error::other("no randomness"),
        };
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret).map_err(random)?;
        let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = Token::new(digits).map_err(|error| fail("making a token")(io::Error::other(error)))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(fail("binding a port"))?;
        let port = listener.local_addr().map_err(fail("asking for the port"))?.port();
        let endpoint = Endpoint::Tcp { port, token };
        let text = endpoint.token_file_text().unwrap_or_default();
        write_private(token_file, &text).map_err(fail("writing the token file"))?;
        Ok(Self { endpoint, inner: Inner::Tcp(listener), file: token_file.to_owned() })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The next caller; `None` for one who has no business here.
    pub(super) async fn accept(&self) -> io::Result<Option<Box<dyn Io>>> {
        match &self.inner {
            #[cfg(unix)]
            Inner::Unix { listener, uid } => {
                let (stream, _) = listener.accept().await?;
                Ok(allowed(&stream, *uid).then(|| Box::new(stream) as Box<dyn Io>))
            }
            Inner::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(from.ip().is_loopback().then(|| Box::new(stream) as Box<dyn Io>))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A file that stays behind is found to be stale by the next node.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// The owner of the node, or root.
#[cfg(unix)]
fn allowed(stream: &UnixStream, own: u32) -> bool {
    match stream.peer_cred() {
        Ok(caller) if caller.uid() == own || caller.uid() == 0 => true,
        Ok(caller) => {
            tracing::warn!(uid = caller.uid(), "refused a caller of another user on the control socket");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "refused a caller whom the kernel could not name");
            false
        }
    }
}

/// Makes the socket's folder with 0700, or sees that the one that is there is ours alone.
#[cfg(unix)]
fn own_folder(socket: &Path, uid: u32) -> Result<(), BindError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    let folder = socket.parent().unwrap_or(Path::new("/"));
    let fail = |action| move |source| BindError::Io { path: folder.to_owned(), action, source };
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail("making its folder")(error)),
        _ => {}
    }
    // Not following a link: in /tmp somebody else could have put one there.
    let found = std::fs::symlink_metadata(folder).map_err(fail("looking at its folder"))?;
    if !found.is_dir() || found.uid() != uid {
        return Err(BindError::Folder(folder.to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(fail("setting 0700"))?;
    }
    Ok(())
}

/// Removes a socket on which nobody answers any more; anything else in its place is left alone.
#[cfg(unix)]
async fn remove_stale(path: &Path) -> Result<(), BindError> {
    use std::os::unix::fs::FileTypeExt;
    let fail = |action, source| BindError::Io { path: path.to_owned(), action, source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail("looking at it", error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(fail("replacing it", io::Error::new(io::ErrorKind::AlreadyExists, "it is not a socket")));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| fail("removing the stale socket", error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Somebody answers, or is only too busy to.
        Ok(_) | Err(_) => Err(BindError::InUse(path.to_owned())),
    }
}

/// Writes a file that only the owner can read, in one step.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    let new = path.with_extension("token.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&new)?.write_all(text.as_bytes())?;
    std::fs::rename(&new, path)
}
