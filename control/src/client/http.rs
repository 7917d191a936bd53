//! Requests and answers over HTTP: deadlines, bounds, and errors that say what happened.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::endpoint::{Endpoint, no_node};
use crate::error::{Code, Error, Result};
use crate::limits::{IDLE, MARGIN, MAX_ANSWER, QUICK};
use crate::{API_VERSION, VERSION_HEADER};

/// An endpoint and the connections to it.
#[derive(Debug)]
pub(super) struct Wire {
    endpoint: Endpoint,
    base: String,
    http: reqwest::Client,
}

impl Wire {
    pub(super) fn new(endpoint: Endpoint) -> Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(VERSION_HEADER, HeaderValue::from(API_VERSION));
        // Half of the server's own patience: a connection is never reused in the moment when the server closes it.
        let mut builder = reqwest::Client::builder().no_proxy().pool_idle_timeout(IDLE / 2).pool_max_idle_per_host(4);
        let base = match &endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => {
                builder = builder.unix_socket(path.as_path());
                "http://twocan".to_owned()
            }
            #[cfg(not(unix))]
            Endpoint::Unix(_) => return Err(Error::new(Code::NoNode, "this system has no Unix sockets")),
            Endpoint::Tcp { port, token } => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))
                    .map_err(|_| Error::new(Code::Internal, "the control token cannot be sent"))?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
                format!("http://127.0.0.1:{port}")
            }
        };
        let http = builder.default_headers(headers).build().map_err(|error| failure(&error))?;
        Ok(Self { endpoint, base, http })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether a node answers that this client can speak with.
    pub(super) async fn check(&self) -> Result<()> {
        #[cfg(unix)]
        if let Endpoint::Unix(path) = &self.endpoint {
            crate::endpoint::check_owner(path)?;
        }
        // Any answer will do: what counts is its version header.
        self.send(Method::GET, "/version", None, Some(QUICK)).await.map(drop)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, deadline: Duration) -> Result<T> {
        let response = self.send(Method::GET, path, None, Some(deadline + MARGIN)).await?;
        parse(response).await
    }

    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        deadline: Duration,
    ) -> Result<T> {
        let response = self.send(method, path, Some(encode(body)?), Some(deadline + MARGIN)).await?;
        parse(response).await
    }

    /// For operations whose answer says no more than that it was done.
    pub(super) async fn tell(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        deadline: Duration,
    ) -> Result<()> {
        let response = self.send(method, path, Some(encode(body)?), Some(deadline + MARGIN)).await?;
        read(response).await.map(drop)
    }

    /// An answer whose body has no end; only its head has a deadline.
    pub(super) async fn follow(&self, path: &str) -> Result<Response> {
        tokio::time::timeout(QUICK + MARGIN, self.send(Method::GET, path, None, None)).await.map_err(|_| silent())?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        deadline: Option<Duration>,
    ) -> Result<Response> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(deadline) = deadline {
            request = request.timeout(deadline);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await.map_err(|error| failure(&error))?;
        check_version(response.headers().get(VERSION_HEADER))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        Err(error_of(status, &read(response).await?))
    }
}

/// The error that a failing answer carries, or one that says that it carried none.
pub(super) fn error_of(status: u16, body: &[u8]) -> Error {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Error::new(Code::Internal, format!("the node answered with status {status} and no reason")))
}

/// Both sides name their version in every message; whoever finds a foreign one says which side is older.
pub(super) fn check_version(header: Option<&HeaderValue>) -> Result<()> {
    let theirs = header.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u32>().ok());
    match theirs {
        Some(API_VERSION) => Ok(()),
        Some(theirs) => Err(version_error(theirs)),
        None => Err(Error::new(Code::Version, "what listens on the control socket is no twocan node")),
    }
}

fn version_error(theirs: u32) -> Error {
    let text = format!("the node speaks version {theirs} of the control API, this program version {API_VERSION}");
    let hint = if theirs < API_VERSION {
        "the node is older: `twocan down`, then `twocan up` starts the installed one"
    } else {
        "this program is older than the node: update it"
    };
    Error::new(Code::Version, text).hint(hint)
}

/// A path segment in which nothing has a meaning of its own.
///
/// # Errors
/// [`Code::Invalid`] for what no path can carry: nothing, "." and "..".
pub(super) fn segment(text: &str) -> Result<String> {
    if matches!(text, "" | "." | "..") {
        return Err(Error::new(Code::Invalid, format!("{text:?} cannot be looked up by name")).hint("use the id"));
    }
    Ok(escape(text))
}

/// Percent-encodes everything but letters, digits and `-._~` (RFC 3986, unreserved).
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>> {
    match serde_json::to_vec(body) {
        // `()` stands for "no body".
        Ok(bytes) if bytes == b"null" => Ok(Vec::new()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(Error::new(Code::Invalid, format!("the request cannot be written: {error}"))),
    }
}

async fn parse<T: DeserializeOwned>(response: Response) -> Result<T> {
    let body = read(response).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Error::new(Code::Internal, format!("the node's answer cannot be read: {error}")))
}

/// The whole body, as long as it keeps within [`MAX_ANSWER`].
async fn read(mut response: Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Error::new(Code::Internal, "the node's answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn silent() -> Error {
    Error::new(Code::NoNode, "the node does not answer")
        .hint("look at its log (`twocand` runs it in the foreground), or restart it with `twocan down` and `twocan up`")
}

fn failure(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        silent()
    } else if error.is_connect() {
        no_node()
    } else if error.is_request() || error.is_body() || error.is_decode() {
        Error::new(Code::NoNode, "the node closed the connection").hint("see whether it still runs: `twocan status`")
    } else {
        Error::new(Code::Internal, format!("the request failed: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_path_segment() {
        assert_eq!(segment("bob").unwrap(), "bob");
        assert_eq!(segment("Anna-Lena / ö?#%").unwrap(), "Anna-Lena%20%2F%20%C3%B6%3F%23%25");
        assert_eq!(segment("..").unwrap_err().code, Code::Invalid);
        assert_eq!(segment("").unwrap_err().code, Code::Invalid);
    }

    #[test]
    fn a_foreign_version_says_which_side_is_older() {
        let value = |text: &'static str| HeaderValue::from_static(text);
        assert!(check_version(Some(&HeaderValue::from(API_VERSION))).is_ok());
        let newer = check_version(Some(&value("999"))).unwrap_err();
        assert_eq!(newer.code, Code::Version);
        assert!(newer.hint.unwrap().contains("update"));
        let older = check_version(Some(&value("0"))).unwrap_err();
        assert!(older.hint.unwrap().contains("twocan down"));
        assert_eq!(check_version(Some(&value("x"))).unwrap_err().code, Code::Version);
        assert_eq!(check_version(None).unwrap_err().code, Code::Version);
    }

    #[test]
    fn an_answer_without_a_reason_is_an_internal_error() {
        assert_eq!(error_of(502, b"<html>").code, Code::Internal);
        let known = error_of(404, br#"{"code":"not_found","message":"no friend is called bob"}"#);
        assert_eq!(known.code, Code::NotFound);
        let future = error_of(400, br#"{"code":"brand_new","message":"x"}"#);
        assert_eq!(future.code, Code::Internal);
    }
}
