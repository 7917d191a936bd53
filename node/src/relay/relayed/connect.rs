//! A TLS 1.3 connection to a relay, directly or through a proxy.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::certificate;
use super::super::stream::tune;
use super::proxy::Proxy;

/// From nothing to TLS; each step of it.
const PATIENCE: Duration = Duration::from_secs(8);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("it took too long")]
    Late(#[from] tokio::time::error::Elapsed),
}

/// Connects. Only a server with the certificate of this hash will do.
pub(super) async fn connect(
    server: SocketAddr,
    proxy: Option<&Proxy>,
    certificate: [u8; 32],
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let connector = TlsConnector::from(certificate::client(certificate)?);
    let stream = tokio::time::timeout(PATIENCE, async {
        match proxy {
            None => TcpStream::connect(server).await,
            Some(proxy) => proxy.connect(server).await,
        }
    });
    let stream = stream.await??;
    tune(&stream);
    // The certificate is known by its hash; the name is only what the library asks for, and is not sent.
    let name = ServerName::IpAddress(server.ip().into());
    Ok(tokio::time::timeout(PATIENCE, connector.connect(name, stream)).await??)
}
