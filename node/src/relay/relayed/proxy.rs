//! HTTP proxies: how they are written down, and the CONNECT request (RFC 9110, 9.3.6).

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::types::Secret;

/// Longest answer of a proxy before the connection is open.
const MAX_ANSWER: usize = 8 * 1024;

/// A proxy for TCP connections (HTTP CONNECT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `user:password`, if it wants one (Basic authentication).
    pub login: Option<Secret>,
}

/// A text that is no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proxy is written http://host:port or http://user:password@host:port")]
pub struct ProxyError;

impl Proxy {
    /// Reads `http://[user:password@]host[:port]`; the port is 80 if there is none. `http://` may be left out.
    ///
    /// # Errors
    /// [`ProxyError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let text = text.trim();
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(ProxyError),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(unescape(login).ok_or(ProxyError)?), place),
            None => (None, rest),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| ProxyError)?),
            _ => (place, 80),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) || port == 0 {
            return Err(ProxyError);
        }
        Ok(Self { host: host.to_owned(), port, login: login.map(Secret::new) })
    }

    /// The proxy that the environment names for TLS connections (`https_proxy`, `HTTPS_PROXY`, `all_proxy`,
    /// `ALL_PROXY`), if it is one that this node can use.
    pub fn from_environment() -> Option<Self> {
        let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        let text = names.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))?;
        Self::parse(&text).ok()
    }

    /// A connection to `target` through the proxy. No time limit of its own.
    ///
    /// # Errors
    /// If the proxy is not reached, or refuses.
    pub async fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        self.tunnel(&mut stream, &target.to_string()).await?;
        Ok(stream)
    }

    /// Asks for a connection to `target` (`host:port`) on a connection to the proxy.
    async fn tunnel(&self, stream: &mut TcpStream, target: &str) -> io::Result<()> {
        let login = match &self.login {
            Some(login) => format!("Proxy-Authorization: Basic {}\r\n", base64(login.reveal().as_bytes())),
            None => String::new(),
        };
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(256);
        // One byte at a time: what follows the empty line belongs to TLS.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= MAX_ANSWER {
                return Err(io::Error::other("the proxy's answer is too long"));
            }
            answer.push(stream.read_u8().await?);
        }
        let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        match status {
            [b'2', _, _] if answer.starts_with(b"HTTP/1.") => Ok(()),
            _ => {
                let status: String = status.iter().take(3).map(|byte| char::from(*byte)).collect();
                let status: String = status.chars().filter(char::is_ascii_digit).collect();
                Err(io::Error::other(format!("the proxy refuses: {status}")))
            }
        }
    }
}

/// Undoes percent-encoding.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for n in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * n) & 63).unwrap_or(0);
            text.push(if n <= three.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_as_people_write_them() {
        let plain = |host: &str, port| Ok(Proxy { host: host.into(), port, login: None });
        assert_eq!(Proxy::parse("http://proxy.example:3128"), plain("proxy.example", 3128));
        assert_eq!(Proxy::parse("proxy.example:3128/"), plain("proxy.example", 3128));
        assert_eq!(Proxy::parse("http://10.0.0.1"), plain("10.0.0.1", 80));
        assert_eq!(Proxy::parse("http://[2001:db8::1]:8080"), plain("2001:db8::1", 8080));
        let login = Proxy::parse("http://me:p%40ss@proxy:1").unwrap().login.unwrap();
        assert_eq!(login.reveal(), "me:p@ss");
        for bad in
            ["", "https://proxy:1", "socks5://proxy:1", "http://", "http://a b:1", "proxy:0", "proxy:x", "a\r\nb:1"]
        {
            assert_eq!(Proxy::parse(bad), Err(ProxyError), "{bad}");
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }
}
