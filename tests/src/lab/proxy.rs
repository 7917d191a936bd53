//! A small HTTP CONNECT proxy on a host of a lab, as offices have them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Host;
use super::namespace::Namespace;

/// Longest request that is read, in bytes.
const REQUEST: u64 = 8192;
/// How long a connection to the target may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A running proxy; its threads end with the process.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one on a host.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let listener = host.namespace().inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??;
        let address = (host.v4().context("the proxy's host has no IPv4")?, port).into();
        let connections: Arc<AtomicUsize> = Arc::default();
        let (namespace, counted) = (host.namespace().clone(), Arc::clone(&connections));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (namespace, counted) = (namespace.clone(), Arc::clone(&counted));
                // A connection that breaks concerns nobody else.
                std::thread::spawn(move || serve(&client, &namespace, &counted).ok());
            }
        });
        Ok(Self { address, connections })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has made for others.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn serve(client: &TcpStream, namespace: &Namespace, counted: &AtomicUsize) -> Result<()> {
    let mut reader = BufReader::new(client.take(REQUEST));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? <= 2 {
            break;
        }
    }
    let mut words = request.split_whitespace();
    let target = (words.next() == Some("CONNECT")).then(|| words.next()).flatten();
    let target: Option<SocketAddr> = target.and_then(|target| target.parse().ok());
    let mut answer = client;
    let Some(target) = target else {
        answer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        return Ok(());
    };
    let Ok(server) = namespace.inside(|| TcpStream::connect_timeout(&target, CONNECT))? else {
        answer.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")?;
        return Ok(());
    };
    counted.fetch_add(1, Ordering::Relaxed);
    answer.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let early = reader.buffer().to_vec();
    (&server).write_all(&early)?;
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let upwards = std::thread::spawn(move || carry(&from, &to));
    carry(&server, client);
    let _ = upwards.join();
    Ok(())
}

/// Carries one direction to its end, and says so to the other side.
fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
