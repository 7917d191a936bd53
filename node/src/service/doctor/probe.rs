//! Asks friends' relays whether they answer, right now: STUN over UDP, a TLS handshake over TCP.
//!
//! A few packets to addresses that friends offered and that were checked to be of the internet; all at once, within
//! [`PATIENCE`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::facts::RelayFact;
use crate::relay::{Proxy, tls_answers};

/// A relay that has not answered after this does not answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// A question is sent again after this, as UDP gets lost.
const AGAIN: Duration = Duration::from_millis(700);
/// Relays that are asked at most.
pub(super) const MAX_RELAYS: usize = 8;

/// A relay to be asked.
#[derive(Clone, Debug)]
pub(in crate::service) struct Target {
    /// Name of the friend here.
    pub(in crate::service) friend: String,
    pub(in crate::service) udp: Vec<SocketAddr>,
    pub(in crate::service) tls: Vec<SocketAddr>,
    /// SHA-256 of the certificate.
    pub(in crate::service) certificate: [u8; 32],
}

/// Asks them all.
pub(super) async fn ask(targets: Vec<Target>, proxy: Option<Proxy>) -> Vec<RelayFact> {
    let proxy = proxy.as_ref();
    let each = targets.into_iter().take(MAX_RELAYS).map(|target| async move {
        let udp = futures::future::join_all(target.udp.iter().map(|server| timed(stun(*server))));
        let tls = futures::future::join_all(
            target.tls.iter().map(|server| timed(async { tls_answers(*server, proxy, target.certificate).await.ok() })),
        );
        let (udp, tls) = futures::join!(udp, tls);
        let best = |times: Vec<Option<f64>>| times.into_iter().flatten().min_by(f64::total_cmp);
        RelayFact {
            friend: target.friend,
            udp: (!target.udp.is_empty()).then(|| best(udp)),
            tls: (!target.tls.is_empty()).then(|| best(tls)),
        }
    });
    futures::future::join_all(each).await
}

/// How long it took in milliseconds, if it came to something in time.
async fn timed(question: impl Future<Output = Option<Duration>>) -> Option<f64> {
    tokio::time::timeout(PATIENCE, question).await.ok().flatten().map(|took| took.as_secs_f64() * 1000.0)
}

/// Round trip of a STUN binding request (RFC 8489).
async fn stun(server: SocketAddr) -> Option<Duration> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(server).await.ok()?;
    let mut buffer = [0; 1500];
    loop {
        let request = request(rand::random());
        let begin = Instant::now();
        socket.send(&request).await.ok()?;
        let answer = async {
            loop {
                let size = socket.recv(&mut buffer).await.ok()?;
                if is_answer(&buffer[..size], &request) {
                    return Some(begin.elapsed());
                }
            }
        };
        match tokio::time::timeout(AGAIN, answer).await {
            Ok(Some(took)) => return Some(took),
            // Nobody listens there; the system says so at once.
            Ok(None) => return None,
            Err(_) => {}
        }
    }
}

/// A binding request without attributes.
fn request(transaction: [u8; 12]) -> [u8; 20] {
    let mut request = [0; 20];
    request[1] = 1;
    request[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    request[8..].copy_from_slice(&transaction);
    request
}

/// Whether this is a success response to that request.
fn is_answer(packet: &[u8], request: &[u8; 20]) -> bool {
    packet.len() >= 20 && packet[..2] == [1, 1] && packet[4..20] == request[4..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_very_request_counts() {
        let request = request([7; 12]);
        let mut answer = request;
        answer[..2].copy_from_slice(&[1, 1]);
        assert!(is_answer(&answer, &request));
        assert!(!is_answer(&request, &request));
        assert!(!is_answer(&answer[..19], &request));
        answer[19] ^= 1;
        assert!(!is_answer(&answer, &request));
    }

    #[tokio::test]
    async fn a_server_that_answers_late_packets_is_found_and_a_dead_one_is_not() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        let serve = async {
            let mut buffer = [0; 1500];
            // The first question gets lost.
            server.recv_from(&mut buffer).await.unwrap();
            let (size, from) = server.recv_from(&mut buffer).await.unwrap();
            buffer[..2].copy_from_slice(&[1, 1]);
            server.send_to(&buffer[..size], from).await.unwrap();
        };
        let (took, ()) = futures::join!(stun(at), serve);
        assert!(took.is_some());
        drop(server);
        assert_eq!(stun(at).await, None);
    }
}
