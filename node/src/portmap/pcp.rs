//! PCP (RFC 6887) and its older brother NAT-PMP (RFC 6886): the packets, and asking a gateway for one mapping.
//!
//! Ours instead of a crate's because a hole in an IPv6 firewall must be asked for from the very address that the hole is
//! for, while the gateway is known by a link-local one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// Bytes of a MAP request and the least of a MAP answer (RFC 6887, 7 and 11.1).
const MAP: usize = 60;
/// Answers longer than this are none (RFC 6887, 7).
const MAX_ANSWER: usize = 1100;
/// Waits after the first, second and third request. The RFC's first is 3 s, for hosts in no hurry; a home router answers
/// within milliseconds.
const WAITS: [Duration; 3] = [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(1000)];
/// Datagrams read for one request at most: whoever floods us gets no further.
const MAX_READ: usize = 16;

/// Names a mapping's owner (RFC 6887, 11.1).
pub(super) type Nonce = [u8; 12];

/// Why a gateway did not map.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No answer at all.
    #[error("no answer")]
    Silent,
    /// Nobody listens there.
    #[error("it does not listen for it")]
    Closed,
    /// It speaks NAT-PMP only (an answer of version 0 to a request of version 2), or another version.
    #[error("it does not speak this version")]
    Version,
    /// It refused, with the reason's number (RFC 6887, 7.4; RFC 6886, 3.5).
    #[error("{}", refusal(*.0))]
    Refused(u8),
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

fn refusal(code: u8) -> String {
    let word = match code {
        2 => "port mapping is switched off in the router, or not allowed for this machine",
        4 | 5 => "the router does not know this request",
        7 => "the router has no address from the internet yet",
        8 | 10 => "the router has no room for another mapping",
        9 => "the router does not map this protocol",
        11 => "the router cannot give such a port",
        12 => "there is another router between this machine and the one that was asked",
        _ => return format!("the router refused (code {code})"),
    };
    word.to_owned()
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// UDP, else TCP.
    pub(super) udp: bool,
    /// Port on this machine.
    pub(super) internal: u16,
    /// Wished external port.
    pub(super) external: u16,
    /// Seconds; 0 takes the mapping back.
    pub(super) lifetime: u32,
}

/// What was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) external: SocketAddr,
    /// Seconds.
    pub(super) lifetime: u32,
}

/// One datagram to the gateway and back, with our own address as the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub(super) local: IpAddr,
    pub(super) gateway: SocketAddr,
}

impl Server {
    /// Asks by PCP.
    pub(super) async fn pcp(&self, ask: Ask, nonce: Nonce) -> Result<Given, Error> {
        let request = pcp_request(self.local, ask, nonce);
        self.exchange(&request, |answer| read_pcp(answer, ask, &nonce)).await
    }

    /// Asks by NAT-PMP; the external address is a question of its own.
    pub(super) async fn nat_pmp(&self, ask: Ask) -> Result<Given, Error> {
        let address =
            if ask.lifetime == 0 { Ipv4Addr::UNSPECIFIED } else { self.exchange(&[0, 0], read_external).await? };
        let (port, lifetime) = self.exchange(&nat_pmp_request(ask), |answer| read_nat_pmp(answer, ask)).await?;
        Ok(Given { external: SocketAddr::new(address.into(), port), lifetime })
    }

    /// Sends until an answer is understood. Answers that are not for this request are skipped.
    async fn exchange<T>(&self, request: &[u8], read: impl Fn(&[u8]) -> Option<Result<T, Error>>) -> Result<T, Error> {
        let socket = UdpSocket::bind((self.local, 0)).await?;
        socket.connect(self.gateway).await.map_err(unreachable)?;
        let mut buffer = [0; MAX_ANSWER];
        let mut left = MAX_READ;
        for wait in WAITS {
            socket.send(request).await.map_err(unreachable)?;
            let answer = async {
                while left > 0 {
                    left -= 1;
                    let size = socket.recv(&mut buffer).await.map_err(unreachable)?;
                    if let Some(result) = read(&buffer[..size]) {
                        return result;
                    }
                }
                Err(Error::Silent)
            };
            if let Ok(result) = tokio::time::timeout(wait, answer).await {
                return result;
            }
        }
        Err(Error::Silent)
    }
}

/// The system says that nobody is there (an ICMP message came back), or something of its own.
fn unreachable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            Error::Closed
        }
        _ => Error::Socket(error),
    }
}

fn in_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A MAP request (RFC 6887, 7.1 and 11.1).
fn pcp_request(client: IpAddr, ask: Ask, nonce: Nonce) -> [u8; MAP] {
    let mut out = [0; MAP];
    out[0] = 2;
    out[1] = 1;
    out[4..8].copy_from_slice(&ask.lifetime.to_be_bytes());
    out[8..24].copy_from_slice(&in_v6(client));
    out[24..36].copy_from_slice(&nonce);
    out[36] = protocol(ask);
    out[40..42].copy_from_slice(&ask.internal.to_be_bytes());
    if ask.lifetime > 0 {
        out[42..44].copy_from_slice(&ask.external.to_be_bytes());
    }
    // No wish for an address, in the right family.
    let any: IpAddr = if client.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    out[44..60].copy_from_slice(&in_v6(any));
    out
}

/// Number of the protocol (IANA).
fn protocol(ask: Ask) -> u8 {
    if ask.udp { 17 } else { 6 }
}

/// Reads an answer to a MAP request; `None` if it answers something else.
fn read_pcp(answer: &[u8], ask: Ask, nonce: &Nonce) -> Option<Result<Given, Error>> {
    match answer {
        // A server that speaks NAT-PMP only answers in its own version (RFC 6886, 3.5).
        [0, kind, ..] if *kind >= 0x80 => return Some(Err(Error::Version)),
        [2, 0x81, _, code, ..] if answer.len() >= MAP => {
            if answer[24..36] != *nonce || answer[36] != protocol(ask) || number(answer, 40) != ask.internal {
                return None;
            }
            if *code != 0 {
                return Some(Err(Error::Refused(*code)));
            }
        }
        // A header alone can only tell a refusal; the request it belongs to is the only one on this socket.
        [2, 0x81, _, 1, ..] if answer.len() >= 24 => return Some(Err(Error::Version)),
        [2, 0x81, _, code, ..] if answer.len() >= 24 && *code != 0 => return Some(Err(Error::Refused(*code))),
        _ => return None,
    }
    let mut ip = [0; 16];
    ip.copy_from_slice(&answer[44..60]);
    let external = SocketAddr::new(IpAddr::V6(ip.into()).to_canonical(), number(answer, 42));
    let lifetime = long(answer, 4);
    if ask.lifetime > 0 && (external.port() == 0 || lifetime == 0) {
        return None;
    }
    Some(Ok(Given { external, lifetime }))
}

/// A mapping request of NAT-PMP (RFC 6886, 3.3).
fn nat_pmp_request(ask: Ask) -> [u8; 12] {
    let mut out = [0; 12];
    out[1] = nat_pmp_opcode(ask);
    out[4..6].copy_from_slice(&ask.internal.to_be_bytes());
    if ask.lifetime > 0 {
        out[6..8].copy_from_slice(&ask.external.to_be_bytes());
        out[8..12].copy_from_slice(&ask.lifetime.to_be_bytes());
    }
    out
}

fn nat_pmp_opcode(ask: Ask) -> u8 {
    if ask.udp { 1 } else { 2 }
}

/// Result code of a NAT-PMP answer to this request; `None` if it is another's.
fn nat_pmp_result(answer: &[u8], opcode: u8) -> Option<Result<(), Error>> {
    if answer.len() < 8 || answer[0] != 0 || answer[1] != 0x80 | opcode {
        return None;
    }
    Some(match number(answer, 2) {
        0 => Ok(()),
        1 => Err(Error::Version),
        // NAT-PMP numbers its reasons differently from PCP.
        2 => Err(Error::Refused(2)),
        3 => Err(Error::Refused(7)),
        4 => Err(Error::Refused(8)),
        5 => Err(Error::Refused(4)),
        _ => Err(Error::Refused(u8::MAX)),
    })
}

fn read_nat_pmp(answer: &[u8], ask: Ask) -> Option<Result<(u16, u32), Error>> {
    if let Err(error) = nat_pmp_result(answer, nat_pmp_opcode(ask))? {
        return Some(Err(error));
    }
    if answer.len() < 16 || number(answer, 8) != ask.internal {
        return None;
    }
    let (port, lifetime) = (number(answer, 10), long(answer, 12));
    (ask.lifetime == 0 || (port != 0 && lifetime != 0)).then_some(Ok((port, lifetime)))
}

fn read_external(answer: &[u8]) -> Option<Result<Ipv4Addr, Error>> {
    if let Err(error) = nat_pmp_result(answer, 0)? {
        return Some(Err(error));
    }
    let ip: [u8; 4] = answer.get(8..12)?.try_into().ok()?;
    Some(Ok(ip.into()))
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: Ask = Ask { udp: true, internal: 4001, external: 4001, lifetime: 3600 };
    const NONCE: Nonce = [7; 12];

    fn pcp_answer(code: u8, lifetime: u32) -> Vec<u8> {
        let mut answer = pcp_request("192.168.1.2".parse().unwrap(), ASK, NONCE).to_vec();
        answer[1] = 0x81;
        answer[3] = code;
        answer[4..8].copy_from_slice(&lifetime.to_be_bytes());
        answer[42..44].copy_from_slice(&5555_u16.to_be_bytes());
        answer[44..60].copy_from_slice(&in_v6("11.0.0.9".parse().unwrap()));
        answer
    }

    fn nat_pmp_answer(code: u8) -> Vec<u8> {
        let mut answer = vec![0, 0x81, 0, code, 0, 0, 0, 9];
        answer.extend(4001_u16.to_be_bytes());
        answer.extend(5555_u16.to_be_bytes());
        answer.extend(7200_u32.to_be_bytes());
        answer
    }

    #[test]
    fn a_map_request_has_the_bytes_of_the_rfc() {
        let request = pcp_request("192.168.1.2".parse().unwrap(), ASK, NONCE);
        assert_eq!(request[..8], [2, 1, 0, 0, 0, 0, 14, 16]);
        assert_eq!(request[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 168, 1, 2]);
        assert_eq!(request[24..36], NONCE);
        assert_eq!(request[36..44], [17, 0, 0, 0, 15, 161, 15, 161]);
        assert_eq!(request[44..60], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0]);
    }

    #[test]
    fn a_mapping_is_read_from_either_protocol() {
        let given = read_pcp(&pcp_answer(0, 120), ASK, &NONCE).unwrap().unwrap();
        assert_eq!(given, Given { external: "11.0.0.9:5555".parse().unwrap(), lifetime: 120 });
        assert_eq!(read_nat_pmp(&nat_pmp_answer(0), ASK).unwrap().unwrap(), (5555, 7200));
        let external = read_external(&[0, 0x80, 0, 0, 0, 0, 0, 1, 11, 0, 0, 9]).unwrap().unwrap();
        assert_eq!(external, Ipv4Addr::new(11, 0, 0, 9));
    }

    #[test]
    fn refusals_are_told_with_their_reason() {
        assert!(matches!(read_pcp(&pcp_answer(2, 30), ASK, &NONCE), Some(Err(Error::Refused(2)))));
        assert!(matches!(read_pcp(&[0, 0x81, 0, 1, 0, 0, 0, 9], ASK, &NONCE), Some(Err(Error::Version))));
        assert!(matches!(read_nat_pmp(&nat_pmp_answer(2), ASK), Some(Err(Error::Refused(2)))));
        assert!(matches!(read_nat_pmp(&nat_pmp_answer(4), ASK), Some(Err(Error::Refused(8)))));
        assert!(Error::Refused(12).to_string().contains("another router"));
    }

    #[test]
    fn answers_to_other_requests_are_skipped() {
        let mut other = pcp_answer(0, 120);
        other[24] ^= 1;
        assert!(read_pcp(&other, ASK, &NONCE).is_none());
        assert!(read_pcp(&pcp_answer(0, 120), Ask { internal: 4002, ..ASK }, &NONCE).is_none());
        assert!(read_nat_pmp(&nat_pmp_answer(0), Ask { udp: false, ..ASK }).is_none());
        assert!(read_pcp(&pcp_answer(0, 0), ASK, &NONCE).is_none(), "a mapping that ends at once is none");
    }

    #[test]
    fn no_cut_or_bent_answer_is_read_past_its_end() {
        for whole in [pcp_answer(0, 9), nat_pmp_answer(0), vec![0, 0x80, 0, 0, 0, 0, 0, 1, 11, 0, 0, 9]] {
            for end in 0..=whole.len() {
                for value in [0, 1, 2, 0x81, 0xff] {
                    let mut bent = whole[..end].to_vec();
                    if let Some(last) = bent.last_mut() {
                        *last = value;
                    }
                    let _ = read_pcp(&bent, ASK, &NONCE);
                    let _ = read_nat_pmp(&bent, ASK);
                    let _ = read_external(&bent);
                }
            }
        }
    }
}
