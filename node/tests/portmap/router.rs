//! A home router for tests, on a loopback address of its own: NAT-PMP, PCP and UPnP-IGD as the specifications have them,
//! and it remembers what it mapped.
#![expect(clippy::unwrap_used, reason = "a test stops where its router fails")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use twocan_node::portmap::{Place, Side};

/// What a router speaks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Speaks {
    pub(crate) pcp: bool,
    pub(crate) nat_pmp: bool,
    pub(crate) upnp: bool,
}

/// How it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    pub(crate) external: Ipv4Addr,
    /// Seconds that it gives.
    pub(crate) lifetime: u32,
    /// External ports that another machine has.
    pub(crate) taken: Vec<u16>,
    /// UPnP: refuses leases that end.
    pub(crate) permanent_only: bool,
    /// Refuses everything: port mapping is switched off.
    pub(crate) off: bool,
    /// UPnP: where the description says it lies, if not here.
    pub(crate) points_at: Option<SocketAddr>,
    /// UPnP: answers with an endless body.
    pub(crate) endless: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            external: Ipv4Addr::new(11, 0, 0, 9),
            lifetime: 3600,
            taken: Vec::new(),
            permanent_only: false,
            off: false,
            points_at: None,
            endless: false,
        }
    }
}

/// What it has done.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// (udp, external port) -> (internal port, seconds).
    pub(crate) mapped: BTreeMap<(bool, u16), (u16, u32)>,
    /// (udp, internal port) of every mapping that was made or renewed, in order.
    pub(crate) made: Vec<(bool, u16)>,
    /// Searches seen.
    pub(crate) searches: u32,
    /// Nonces seen with PCP.
    pub(crate) nonces: Vec<[u8; 12]>,
}

pub(crate) struct Router {
    ip: Ipv4Addr,
    state: Arc<Mutex<State>>,
    udp: SocketAddr,
    ssdp: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Router {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Router {
    pub(crate) async fn start(ip: Ipv4Addr, speaks: Speaks, behaviour: Behaviour) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let behaviour = Arc::new(Mutex::new(behaviour));
        let mut tasks = Vec::new();
        let mut udp = SocketAddr::new(ip.into(), 9);
        if speaks.pcp || speaks.nat_pmp {
            let socket = UdpSocket::bind((ip, 0)).await.unwrap();
            udp = socket.local_addr().unwrap();
            tasks.push(tokio::spawn(serve_udp(socket, speaks, Arc::clone(&state), Arc::clone(&behaviour))));
        }
        let mut ssdp = SocketAddr::new(ip.into(), 9);
        if speaks.upnp {
            let http = TcpListener::bind((ip, 0)).await.unwrap();
            let socket = UdpSocket::bind((ip, 0)).await.unwrap();
            ssdp = socket.local_addr().unwrap();
            let at = http.local_addr().unwrap();
            tasks.push(tokio::spawn(serve_ssdp(socket, at, Arc::clone(&state), Arc::clone(&behaviour))));
            tasks.push(tokio::spawn(serve_http(http, Arc::clone(&state), Arc::clone(&behaviour))));
        }
        Self { ip, state, udp, ssdp, tasks }
    }

    /// The place of a machine in this router's network.
    pub(crate) fn place(&self) -> Place {
        // Loopback, so that it is a private address from which the router can be reached.
        let side = Side { local: self.ip.into(), gateway: Some(self.udp) };
        Place { v4: Some(side), v6: None, ssdp: self.ssdp }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Maps, or says why not (result code of PCP).
fn map(
    state: &mut State,
    behaviour: &Behaviour,
    udp: bool,
    internal: u16,
    wished: u16,
    lifetime: u32,
) -> Result<(u16, u32), u8> {
    if behaviour.off {
        return Err(2);
    }
    if lifetime == 0 {
        state.mapped.retain(|(kind, _), (port, _)| *kind != udp || *port != internal);
        return Ok((0, 0));
    }
    let mut external = if wished == 0 { internal } else { wished };
    while behaviour.taken.contains(&external)
        || state.mapped.get(&(udp, external)).is_some_and(|(port, _)| *port != internal)
    {
        external += 1;
    }
    let given = lifetime.min(behaviour.lifetime);
    state.mapped.insert((udp, external), (internal, given));
    state.made.push((udp, internal));
    Ok((external, given))
}

async fn serve_udp(socket: UdpSocket, speaks: Speaks, state: Arc<Mutex<State>>, behaviour: Arc<Mutex<Behaviour>>) {
    let mut buffer = [0; 1500];
    loop {
        let (size, from) = socket.recv_from(&mut buffer).await.unwrap();
        let answer = {
            let (mut state, behaviour) = (state.lock().unwrap(), behaviour.lock().unwrap().clone());
            answer_udp(&buffer[..size], speaks, &mut state, &behaviour)
        };
        if let Some(answer) = answer {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

fn answer_udp(packet: &[u8], speaks: Speaks, state: &mut State, behaviour: &Behaviour) -> Option<Vec<u8>> {
    match packet {
        [2, 1, ..] if speaks.pcp && packet.len() == 60 => {
            let lifetime = u32::from_be_bytes(packet[4..8].try_into().unwrap());
            state.nonces.push(packet[24..36].try_into().unwrap());
            let result = map(state, behaviour, packet[36] == 17, number(packet, 40), number(packet, 42), lifetime);
            let mut answer = packet.to_vec();
            answer[1] = 0x81;
            answer[4..24].fill(0);
            match result {
                Ok((port, given)) => {
                    answer[4..8].copy_from_slice(&given.to_be_bytes());
                    answer[42..44].copy_from_slice(&port.to_be_bytes());
                    answer[44..60].copy_from_slice(&behaviour.external.to_ipv6_mapped().octets());
                }
                Err(code) => answer[3] = code,
            }
            Some(answer)
        }
        [2, ..] if speaks.nat_pmp => Some(vec![0, 0x81, 0, 1, 0, 0, 0, 1]),
        [0, 0] if speaks.nat_pmp => {
            let mut answer = vec![0, 0x80, 0, 0, 0, 0, 0, 1];
            answer.extend(behaviour.external.octets());
            Some(answer)
        }
        [0, opcode @ 1..=2, ..] if speaks.nat_pmp && packet.len() == 12 => {
            let lifetime = u32::from_be_bytes(packet[8..12].try_into().unwrap());
            let result = map(state, behaviour, *opcode == 1, number(packet, 4), number(packet, 6), lifetime);
            let (code, port, given) = result.map_or_else(|code| (code, 0, 0), |(port, given)| (0, port, given));
            let mut answer = vec![0, 0x80 | opcode, 0, code, 0, 0, 0, 1];
            answer.extend(&packet[4..6]);
            answer.extend(port.to_be_bytes());
            answer.extend(given.to_be_bytes());
            Some(answer)
        }
        _ => None,
    }
}

async fn serve_ssdp(socket: UdpSocket, http: SocketAddr, state: Arc<Mutex<State>>, behaviour: Arc<Mutex<Behaviour>>) {
    let mut buffer = [0; 1500];
    loop {
        let (size, from) = socket.recv_from(&mut buffer).await.unwrap();
        let text = std::str::from_utf8(&buffer[..size]).unwrap();
        assert!(text.starts_with("M-SEARCH * HTTP/1.1\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(text.contains("ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"), "{text}");
        state.lock().unwrap().searches += 1;
        let at = behaviour.lock().unwrap().points_at.unwrap_or(http);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
             EXT:\r\nLocation: http://{at}/root.xml\r\n\r\n"
        );
        socket.send_to(answer.as_bytes(), from).await.unwrap();
    }
}

async fn serve_http(listener: TcpListener, state: Arc<Mutex<State>>, behaviour: Arc<Mutex<Behaviour>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (state, behaviour) = (Arc::clone(&state), behaviour.lock().unwrap().clone());
        // A client that goes away in the middle is its own business.
        tokio::spawn(async move { drop(talk(stream, &state, &behaviour).await) });
    }
}

async fn talk(mut stream: TcpStream, state: &Mutex<State>, behaviour: &Behaviour) -> std::io::Result<()> {
    let mut request = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 4096];
        let size = stream.read(&mut piece).await?;
        request.extend(&piece[..size]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        }
        if size == 0 {
            return Ok(());
        }
    };
    if behaviour.endless {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
        loop {
            stream.write_all(&[b'<'; 8192]).await?;
        }
    }
    let (status, answer) = if head.starts_with("GET /root.xml ") {
        let service = "urn:schemas-upnp-org:service:WANIPConnection:1";
        (
            200,
            format!(
                "<root><service><serviceType>{service}</serviceType><controlURL>/ctl</controlURL></service></root>"
            ),
        )
    } else if head.starts_with("POST /ctl ") {
        act(&body, &mut state.lock().unwrap(), behaviour)
    } else {
        (404, String::new())
    };
    // In chunks, as many routers do.
    let chunk = format!("{:x}\r\n{answer}\r\n0\r\n\r\n", answer.len());
    let head = format!("HTTP/1.1 {status} x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{chunk}").as_bytes()).await
}

fn act(body: &str, state: &mut State, behaviour: &Behaviour) -> (u16, String) {
    let field = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0.to_owned())
    };
    let refuse = |code: u16| (500, format!("<errorCode>{code}</errorCode><errorDescription>no</errorDescription>"));
    let udp = field("NewProtocol").as_deref() == Some("UDP");
    let external: u16 = field("NewExternalPort").and_then(|text| text.parse().ok()).unwrap_or(0);
    if body.contains("<u:GetExternalIPAddress ") {
        return (200, format!("<NewExternalIPAddress>{}</NewExternalIPAddress>", behaviour.external));
    }
    if behaviour.off {
        return refuse(606);
    }
    if body.contains("<u:DeletePortMapping ") {
        return if state.mapped.remove(&(udp, external)).is_some() { (200, String::new()) } else { refuse(714) };
    }
    assert!(body.contains("<u:AddPortMapping "), "{body}");
    let lease: u32 = field("NewLeaseDuration").unwrap().parse().unwrap();
    let internal: u16 = field("NewInternalPort").unwrap().parse().unwrap();
    let other = state.mapped.get(&(udp, external)).is_some_and(|(port, _)| *port != internal);
    if behaviour.taken.contains(&external) || other {
        return refuse(718);
    }
    if behaviour.permanent_only && lease != 0 {
        return refuse(725);
    }
    state.mapped.insert((udp, external), (internal, lease));
    state.made.push((udp, internal));
    (200, "<ok/>".to_owned())
}
