//! UPnP Internet Gateway Device, as much of it as a port mapping needs: one multicast search, the device's description,
//! three SOAP actions (WANIPConnection:1 and :2, WANPPPConnection:1).
//!
//! Everything a device says is a stranger's word: only the default gateway is listened to (where it is known), its
//! addresses must lie on itself, so that nobody can make this node send requests to third parties, and every answer is
//! bounded in size and time.

mod http;
mod xml;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::route::Side;

/// How long devices may take for the answer to a search. They are asked to answer within a second (MX).
const SEARCH: Duration = Duration::from_millis(2500);
/// The search is sent twice, because UDP gets lost; this far apart.
const AGAIN: Duration = Duration::from_millis(400);
/// Answers to a search that are looked at. A LAN has a few routers at most.
const MAX_ANSWERS: usize = 16;
/// Other ports that are tried when the one wanted is taken by another machine.
const OTHER_PORTS: u32 = 4;
/// What the router's page shows for our mappings.
const DESCRIPTION: &str = "twocan";

/// Why a UPnP router was of no help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Nobody answered the search.
    #[error("no router answered the search")]
    NotFound,
    /// The description names no service that maps ports.
    #[error("the router's description names no service that maps ports")]
    NoService,
    /// The description's addresses lie on another machine.
    #[error("the router's description points at another machine")]
    Elsewhere,
    /// The router refused, with its number and words.
    #[error("the router refused: {text} (code {code})")]
    Refused {
        /// As in the specification of WANIPConnection.
        code: u16,
        /// In the router's words, made safe to show.
        text: String,
    },
    /// An answer that makes no sense.
    #[error("the router's answer makes no sense")]
    Nonsense,
    /// HTTP or the socket failed.
    #[error("{0}")]
    Http(#[from] http::Error),
    /// The search could not be sent.
    #[error("the search could not be sent: {0}")]
    Socket(#[from] io::Error),
}

/// The mapping is taken by another machine (ConflictInMappingEntry).
const CONFLICT: u16 = 718;
/// The router maps a port only onto the same number (SamePortValuesRequired).
const SAME_PORT: u16 = 724;
/// Only mappings without an end (OnlyPermanentLeasesSupported).
const ONLY_PERMANENT: u16 = 725;

/// A service of a router that maps ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Router {
    /// Where its HTTP server is.
    at: SocketAddr,
    /// Path of the actions.
    path: String,
    /// Type of the service, as the actions name it.
    service: String,
    /// Our address on its network.
    local: IpAddr,
}

/// A mapping that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) port: u16,
    /// Seconds; `None` if the router keeps it until told otherwise.
    pub(super) lifetime: Option<u32>,
}

impl Router {
    /// Sends one search and takes the first router that can map ports.
    pub(super) async fn find(side: &Side, ssdp: SocketAddr) -> Result<Self, Error> {
        let socket = UdpSocket::bind((side.local, 0)).await?;
        let search = format!(
            "M-SEARCH * HTTP/1.1\r\nHOST: {ssdp}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
             ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n"
        );
        socket.send_to(search.as_bytes(), ssdp).await?;
        let mut last = Error::NotFound;
        let listen = async {
            let mut buffer = [0; 1500];
            let mut again = Some(tokio::time::Instant::now() + AGAIN);
            let mut asked: Vec<String> = Vec::new();
            for _ in 0..MAX_ANSWERS {
                let (size, from) = loop {
                    let repeat = async {
                        match again {
                            Some(at) => tokio::time::sleep_until(at).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        got = socket.recv_from(&mut buffer) => break got?,
                        () = repeat => {
                            again = None;
                            socket.send_to(search.as_bytes(), ssdp).await?;
                        }
                    }
                };
                if side.gateway.is_some_and(|gateway| gateway.ip() != from.ip()) {
                    continue;
                }
                let Some(location) = std::str::from_utf8(&buffer[..size]).ok().and_then(location) else { continue };
                if asked.iter().any(|before| before == location) {
                    continue;
                }
                asked.push(location.to_owned());
                match Self::described(location, from.ip(), side.local).await {
                    Ok(router) => return Ok(Some(router)),
                    Err(error) => last = error,
                }
            }
            Ok::<_, Error>(None)
        };
        match tokio::time::timeout(SEARCH, listen).await {
            Ok(Ok(Some(router))) => Ok(router),
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) | Err(_) => Err(last),
        }
    }

    /// Reads the description at `location`, which must lie on `device` itself.
    async fn described(location: &str, device: IpAddr, local: IpAddr) -> Result<Self, Error> {
        let (at, path) = http::split(location).ok_or(Error::Nonsense)?;
        if at.ip() != device {
            return Err(Error::Elsewhere);
        }
        let text = http::get(at, path).await?;
        let (service, control) = xml::service(&text).ok_or(Error::NoService)?;
        let (at, path) = match http::split(&control) {
            Some((there, path)) if there.ip() == device => (there, path.to_owned()),
            Some(_) => return Err(Error::Elsewhere),
            None if control.contains("://") => return Err(Error::Elsewhere),
            None if control.starts_with('/') => (at, control),
            None => (at, format!("/{control}")),
        };
        Ok(Self { at, path, service, local })
    }

    /// Where the router is.
    pub(super) fn ip(&self) -> IpAddr {
        self.at.ip()
    }

    /// The router's own outer address.
    pub(super) async fn external(&self) -> Result<IpAddr, Error> {
        let answer = self.act("GetExternalIPAddress", &[]).await?;
        let text = xml::field(&answer, "NewExternalIPAddress").ok_or(Error::Nonsense)?;
        text.trim().parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Error::Nonsense)
    }

    /// Maps `internal`, onto `wished` if that is free, else onto another port.
    pub(super) async fn map(&self, udp: bool, internal: u16, wished: u16, lifetime: u32) -> Result<Made, Error> {
        let mut external = wished;
        let mut lifetime = Some(lifetime);
        let mut left = OTHER_PORTS;
        loop {
            match self.add(udp, internal, external, lifetime).await {
                Ok(()) => return Ok(Made { port: external, lifetime }),
                Err(Error::Refused { code: ONLY_PERMANENT, .. }) if lifetime.is_some() => lifetime = None,
                Err(Error::Refused { code: SAME_PORT, .. }) if external != internal => external = internal,
                Err(Error::Refused { code: CONFLICT, .. }) if left > 0 => {
                    left -= 1;
                    external = rand::random_range(20_000..60_000);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn add(&self, udp: bool, internal: u16, external: u16, lifetime: Option<u32>) -> Result<(), Error> {
        let fields = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", external.to_string()),
            ("NewProtocol", protocol(udp).to_owned()),
            ("NewInternalPort", internal.to_string()),
            ("NewInternalClient", self.local.to_string()),
            ("NewEnabled", "1".to_owned()),
            ("NewPortMappingDescription", DESCRIPTION.to_owned()),
            ("NewLeaseDuration", lifetime.unwrap_or(0).to_string()),
        ];
        self.act("AddPortMapping", &fields).await.map(drop)
    }

    /// Takes a mapping back.
    pub(super) async fn unmap(&self, udp: bool, external: u16) -> Result<(), Error> {
        let fields = [
            ("NewRemoteHost", String::new()),
            ("NewExternalPort", external.to_string()),
            ("NewProtocol", protocol(udp).to_owned()),
        ];
        self.act("DeletePortMapping", &fields).await.map(drop)
    }

    /// One SOAP action.
    async fn act(&self, action: &str, fields: &[(&str, String)]) -> Result<String, Error> {
        use std::fmt::Write;
        let mut body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{}\">",
            self.service
        );
        for (name, value) in fields {
            // Writing to a string does not fail.
            let _ = write!(body, "<{name}>{value}</{name}>");
        }
        let _ = write!(body, "</u:{action}></s:Body></s:Envelope>");
        let soap_action = format!("\"{}#{action}\"", self.service);
        let (ok, answer) = http::post(self.at, &self.path, &soap_action, body).await?;
        if ok {
            return Ok(answer);
        }
        let code = xml::field(&answer, "errorCode").and_then(|text| text.trim().parse().ok()).ok_or(Error::Nonsense)?;
        let text = xml::field(&answer, "errorDescription").unwrap_or_default();
        let text = text.chars().filter(|c| !c.is_control()).take(80).collect();
        Err(Error::Refused { code, text })
    }
}

fn protocol(udp: bool) -> &'static str {
    if udp { "UDP" } else { "TCP" }
}

/// The LOCATION header of an answer to a search.
fn location(answer: &str) -> Option<&str> {
    let mut lines = answer.lines();
    let status = lines.next()?;
    if !status.starts_with("HTTP/1.") || status.split_whitespace().nth(1) != Some("200") {
        return None;
    }
    lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("location").then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_is_found_in_any_case_and_only_in_an_answer() {
        let answer = "HTTP/1.1 200 OK\r\nST: x\r\nLocation:http://192.168.0.1:5000/rootDesc.xml\r\n\r\n";
        assert_eq!(location(answer), Some("http://192.168.0.1:5000/rootDesc.xml"));
        assert_eq!(location("NOTIFY * HTTP/1.1\r\nLOCATION: http://192.168.0.1/\r\n\r\n"), None);
        assert_eq!(location("HTTP/1.1 404 no\r\nLOCATION: http://192.168.0.1/\r\n\r\n"), None);
        assert_eq!(location(""), None);
    }

    #[tokio::test]
    async fn a_description_on_another_machine_is_not_asked_for() {
        let device: IpAddr = "192.0.2.1".parse().unwrap();
        let error = Router::described("http://192.0.2.2:80/x.xml", device, device).await.unwrap_err();
        assert!(matches!(error, Error::Elsewhere), "{error}");
    }
}
