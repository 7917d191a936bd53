//! The smallest HTTP client that a router needs: one request a connection, bounded in size and time, IP addresses only.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A request and its answer take this long at most. Routers have slow processors.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer. Descriptions of real routers have 2 to 20 KiB.
const MAX_BODY: usize = 128 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::portmap) enum Error {
    /// It took too long.
    #[error("the router does not answer over HTTP")]
    Late,
    /// The connection failed.
    #[error("{0}")]
    Connect(#[from] std::io::Error),
    /// No HTTP.
    #[error("the router's HTTP is broken")]
    Broken(#[from] hyper::Error),
    /// The address cannot be asked for.
    #[error("the router's address is broken")]
    Address(#[from] hyper::http::Error),
    /// Another status.
    #[error("the router answered with HTTP status {0}")]
    Status(u16),
    /// More than [`MAX_BODY`].
    #[error("the router's answer is too long")]
    TooLong,
}

/// Address and path of an `http://` URL that names an IP address; `None` for any other.
pub(super) fn split(url: &str) -> Option<(SocketAddr, &str)> {
    let rest = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).map(|_| &url[7..])?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let at = host.parse().ok().or_else(|| Some(SocketAddr::new(host.parse().ok()?, 80)))?;
    Some((at, path))
}

/// Fetches a text.
pub(super) async fn get(at: SocketAddr, path: &str) -> Result<String, Error> {
    let request = Request::get(path).header(HOST, at.to_string()).header(CONNECTION, "close").body(String::new())?;
    match run(at, request).await? {
        (200, text) => Ok(text),
        (status, _) => Err(Error::Status(status)),
    }
}

/// Posts a SOAP action. Whether the answer is a success, and its text: a failure (status 500) tells its reason there.
pub(super) async fn post(at: SocketAddr, path: &str, action: &str, body: String) -> Result<(bool, String), Error> {
    let request = Request::post(path)
        .header(HOST, at.to_string())
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "text/xml; charset=\"utf-8\"")
        .header("SOAPAction", action)
        .body(body)?;
    match run(at, request).await? {
        (200, text) => Ok((true, text)),
        (500, text) => Ok((false, text)),
        (status, _) => Err(Error::Status(status)),
    }
}

async fn run(at: SocketAddr, request: Request<String>) -> Result<(u16, String), Error> {
    let whole = async {
        let stream = TcpStream::connect(at).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let talk = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            Ok((status, read(answer).await?))
        };
        tokio::pin!(connection);
        tokio::pin!(talk);
        // The connection moves the bytes; it may end before the answer is read to its end.
        tokio::select! {
            biased;
            done = &mut talk => done,
            _ = &mut connection => talk.await,
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.unwrap_or(Err(Error::Late))
}

async fn read(answer: Response<Incoming>) -> Result<String, Error> {
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > MAX_BODY {
                return Err(Error::TooLong);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_with_an_ip_address_are_taken() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(split("http://192.168.1.1:5000/a/b?c"), Some((at("192.168.1.1:5000"), "/a/b?c")));
        assert_eq!(split("HTTP://192.168.1.1"), Some((at("192.168.1.1:80"), "/")));
        assert_eq!(split("http://[fd00::1]:80/x"), Some((at("[fd00::1]:80"), "/x")));
        for other in
            ["https://192.168.1.1/", "http://router.local/", "ftp://1.2.3.4/", "http:/", "", "ü://192.168.1.1/"]
        {
            assert_eq!(split(other), None, "{other}");
        }
    }
}
