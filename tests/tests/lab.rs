//! The laboratory does what it says: seen by sockets in its namespaces, as programs under test see it.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use twocan_tests::lab::link::Conditions;
use twocan_tests::lab::net::{Verdict, Way};
use twocan_tests::lab::packet::{self, Proto};
use twocan_tests::lab::{Host, Lab};

/// How long a packet that must not come is waited for: it would come at once.
const NOTHING: Duration = Duration::from_millis(150);
/// How long a packet that must come is waited for.
const COMES: Duration = Duration::from_secs(20);

/// A lab without delays.
fn lab() -> Option<Lab> {
    Lab::or_skip(Duration::ZERO)
}

/// A host's socket and where a server with a public address sees it.
fn seen(inside: &UdpSocket, server: &UdpSocket, server_address: SocketAddr) -> Result<SocketAddr> {
    inside.send_to(b"hello", server_address)?;
    server.set_read_timeout(Some(COMES))?;
    let mut buffer = [0; 64];
    Ok(server.recv_from(&mut buffer).context("the packet does not come out")?.1)
}

/// Whether a packet arrives that is sent from `from` to `to`, the outer endpoint of `inside`.
fn arrives(inside: &UdpSocket, from: &UdpSocket, to: SocketAddr) -> Result<bool> {
    from.send_to(b"knock", to)?;
    inside.set_read_timeout(Some(NOTHING))?;
    let mut buffer = [0; 64];
    Ok(inside.recv_from(&mut buffer).is_ok())
}

fn public(host: &Host, port: u16) -> Result<SocketAddr> {
    Ok((host.v4().context("no IPv4")?, port).into())
}

/// What two servers see of a host at a site of a kind.
struct Probe {
    same_port_for_both: bool,
    port_kept: bool,
    spoken_to_may_answer: bool,
    other_port_may: bool,
    stranger_may: bool,
}

fn probe(kind: &str) -> Result<Option<Probe>> {
    let Some(lab) = lab() else { return Ok(None) };
    let (one, two, host) = (lab.host_at("open")?, lab.host_at("open")?, lab.host_at(kind)?);
    let (server, other_port, second) = (one.udp(false, 7000)?, one.udp(false, 7001)?, two.udp(false, 7000)?);
    let stranger = two.udp(false, 9000)?;
    let inside = host.udp(false, 5000)?;
    let first = seen(&inside, &server, public(&one, 7000)?)?;
    assert_ne!(Some(first.ip()), host.v4().map(Into::into).filter(|_| kind != "firewalled"));
    let probe = Probe {
        spoken_to_may_answer: arrives(&inside, &server, first)?,
        other_port_may: arrives(&inside, &other_port, first)?,
        stranger_may: arrives(&inside, &stranger, first)?,
        same_port_for_both: seen(&inside, &second, public(&two, 7000)?)? == first,
        port_kept: first.port() == 5000,
    };
    Ok(Some(probe))
}

#[test]
fn endpoint_independent_is_one_port_for_all_and_open_to_all() -> Result<()> {
    let Some(probe) = probe("endpoint-independent")? else { return Ok(()) };
    assert!(probe.same_port_for_both && !probe.port_kept);
    assert!(probe.spoken_to_may_answer && probe.other_port_may && probe.stranger_may);
    Ok(())
}

#[test]
fn port_restricted_keeps_the_port_and_lets_in_only_who_was_spoken_to() -> Result<()> {
    let Some(probe) = probe("port-restricted")? else { return Ok(()) };
    assert!(probe.same_port_for_both && probe.port_kept);
    assert!(probe.spoken_to_may_answer && !probe.other_port_may && !probe.stranger_may);
    Ok(())
}

#[test]
fn symmetric_is_another_port_for_each_and_lets_in_only_who_was_spoken_to() -> Result<()> {
    let Some(probe) = probe("symmetric")? else { return Ok(()) };
    assert!(!probe.same_port_for_both);
    assert!(probe.spoken_to_may_answer && !probe.other_port_may && !probe.stranger_may);
    Ok(())
}

#[test]
fn a_carriers_nat_comes_on_top_and_moves_ports() -> Result<()> {
    let Some(probe) = probe("cgnat")? else { return Ok(()) };
    assert!(probe.same_port_for_both && !probe.port_kept);
    assert!(probe.spoken_to_may_answer && !probe.other_port_may && !probe.stranger_may);
    Ok(())
}

#[test]
fn a_firewall_translates_nothing_and_lets_in_only_who_was_spoken_to() -> Result<()> {
    let Some(probe) = probe("firewalled")? else { return Ok(()) };
    assert!(probe.same_port_for_both && probe.port_kept);
    assert!(probe.spoken_to_may_answer && !probe.other_port_may && !probe.stranger_may);
    Ok(())
}

/// Whether a host can open a TCP connection to a server's port and gets back what it says.
fn connects(host: &Host, server: &Host, port: u16) -> Result<bool> {
    let address = public(server, port)?;
    let listener = server.namespace().inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)
    });
    let stream = host.namespace().inside(|| TcpStream::connect_timeout(&address, NOTHING))?;
    let Ok(mut stream) = stream else { return Ok(false) };
    stream.set_read_timeout(Some(COMES))?;
    stream.write_all(b"hello")?;
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes)?;
    echo.join().map_err(|_| anyhow::anyhow!("the echo panicked"))??;
    Ok(bytes == *b"hello")
}

#[test]
fn blocked_is_blocked_and_the_rest_passes() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let server = lab.host_at("open")?;
    let udp = server.udp(false, 7000)?;
    udp.set_read_timeout(Some(NOTHING))?;
    let (no_udp, web, closed) = (lab.host_at("udp-blocked")?, lab.host_at("tcp443")?, lab.host_at("proxy-only")?);
    for host in [&no_udp, &web, &closed] {
        host.udp(false, 0)?.send_to(b"hello", public(&server, 7000)?)?;
        assert!(udp.recv_from(&mut [0; 64]).is_err());
    }
    assert!(connects(&no_udp, &server, 8080)?);
    assert!(connects(&web, &server, 443)?);
    assert!(!connects(&web, &server, 8081)?);
    assert!(!connects(&closed, &server, 4443)?);
    closed.exempt();
    assert!(connects(&closed, &server, 4444)?);
    Ok(())
}

#[test]
fn ipv6_only_has_no_ipv4_and_a_firewall() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let (host, dual) = (lab.host_at("ipv6-only")?, lab.host_at("dual")?);
    assert_eq!(host.v4(), None);
    assert!(host.udp(false, 0)?.send_to(b"hello", public(&dual, 7000)?).is_err());
    let (inside, server, stranger) = (host.udp(true, 5000)?, dual.udp(true, 7000)?, dual.udp(true, 7001)?);
    let at = seen(&inside, &server, (dual.v6().context("no IPv6")?, 7000).into())?;
    assert_eq!(at, SocketAddr::from((host.v6().context("no IPv6")?, 5000)));
    assert!(arrives(&inside, &server, at)? && !arrives(&inside, &stranger, at)?);
    Ok(())
}

#[test]
fn lines_delay_and_lose_as_told() -> Result<()> {
    let rtt = Duration::from_millis(40);
    let Some(lab) = Lab::or_skip(rtt) else { return Ok(()) };
    let (one, two) = (lab.host_at("port-restricted")?, lab.host_at("open")?);
    let (inside, server) = (one.udp(false, 0)?, two.udp(false, 7000)?);
    let started = Instant::now();
    let at = seen(&inside, &server, public(&two, 7000)?)?;
    assert!(started.elapsed() >= rtt / 2);
    inside.set_read_timeout(Some(COMES))?;
    server.send_to(b"back", at)?;
    inside.recv_from(&mut [0; 64])?;
    assert!(started.elapsed() >= rtt);
    lab.set_uplink(one.site(), Conditions { loss: 0.5, ..Conditions::default() });
    for _ in 0..400 {
        inside.send_to(b"hello", public(&two, 7000)?)?;
    }
    // What the lab says that it lost is what is missing.
    let (sent, lost) = lab.with_site(one.site(), |site| (site.up.packets, site.up.lost));
    server.set_read_timeout(Some(NOTHING))?;
    let mut came = 0;
    while server.recv_from(&mut [0; 64]).is_ok() {
        came += 1;
    }
    let sent = sent.max(lab.with_site(one.site(), |site| site.up.packets));
    let lost = lost.max(lab.with_site(one.site(), |site| site.up.lost));
    assert_eq!((sent, came + lost), (401, 400));
    assert!((100..300).contains(&lost), "{lost}");
    Ok(())
}

#[test]
fn sites_forget_move_and_are_cut_off() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let (home, server) = (lab.host_at("port-restricted")?, lab.host_at("open")?);
    let (inside, outside) = (home.udp(false, 5000)?, server.udp(false, 7000)?);
    let there = public(&server, 7000)?;
    let before = seen(&inside, &outside, there)?;
    assert!(arrives(&inside, &outside, before)?);
    lab.forget(home.site());
    assert!(!arrives(&inside, &outside, before)?);
    lab.readdress(home.site())?;
    let after = seen(&inside, &outside, there)?;
    assert!(after.ip() != before.ip() && !arrives(&inside, &outside, before)? && arrives(&inside, &outside, after)?);
    lab.cut(home.site(), true);
    assert!(!arrives(&inside, &outside, after)?);
    lab.cut(home.site(), false);
    assert!(arrives(&inside, &outside, after)?);
    let old = home.v4();
    home.readdress()?;
    assert_ne!(home.v4(), old);
    let moved = seen(&inside, &outside, there)?;
    assert!(arrives(&inside, &outside, moved)?);
    home.unplug()?;
    assert!(inside.send_to(b"hello", there).is_err());
    home.plug()?;
    assert_eq!(seen(&inside, &outside, there)?, moved);
    home.move_to(lab.site("symmetric".parse()?)?)?;
    assert_ne!(seen(&inside, &outside, there)?.ip(), moved.ip());
    Ok(())
}

#[test]
fn a_forwarded_port_is_open_to_all() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let (home, stranger) = (lab.host_at("port-restricted")?, lab.host_at("open")?);
    let inside = home.udp(false, 5000)?;
    assert!(lab.forward(home.site(), Proto::Udp, 6000, Some(public(&home, 5000)?)));
    let outer = lab.with_site(home.site(), |site| site.nats[0].address());
    assert!(arrives(&inside, &stranger.udp(false, 1)?, (outer, 6000).into())?);
    Ok(())
}

#[test]
fn a_box_on_the_uplink_damages_drops_and_repeats() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let (home, server) = (lab.host_at("port-restricted")?, lab.host_at("open")?);
    let (inside, outside) = (home.udp(false, 5000)?, server.udp(false, 7000)?);
    outside.set_read_timeout(Some(COMES))?;
    let tamper = |way, packet: &mut Vec<u8>| match packet::udp_payload(packet) {
        Some(b"drop") if way == Way::Out => Verdict::Drop,
        Some(b"twice") => Verdict::Twice,
        Some(b"damage") => {
            packet::forget_udp_checksum(packet);
            if let Some(byte) = packet::udp_payload_mut(packet).and_then(|payload| payload.first_mut()) {
                *byte ^= 1;
            }
            Verdict::Pass
        }
        _ => Verdict::Pass,
    };
    lab.tamper(home.site(), Some(Box::new(tamper)));
    for word in ["drop", "twice", "damage", "end"] {
        inside.send_to(word.as_bytes(), public(&server, 7000)?)?;
    }
    let mut came = Vec::new();
    while came.last().is_none_or(|word: &String| word != "end") {
        let mut buffer = [0; 64];
        let length = outside.recv(&mut buffer)?;
        came.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    assert_eq!(came, ["twice", "twice", "eamage", "end"]);
    Ok(())
}

#[test]
fn processes_of_a_host_run_in_its_namespace() -> Result<()> {
    let Some(lab) = lab() else { return Ok(()) };
    let (one, two) = (lab.host_at("open")?, lab.host_at("dual")?);
    for host in [&one, &two] {
        let output = host.command("ip").args(["-o", "addr", "show", "dev", "eth0"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        assert!(host.addresses().iter().all(|address| text.contains(&address.to_string())), "{text}");
    }
    Ok(())
}
