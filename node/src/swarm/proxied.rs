//! TCP through an HTTP proxy (CONNECT), where the network lets nothing else out.
//!
//! Wraps the TCP transport: a public address is dialled directly, and a moment later through the proxy as well, if there
//! is one; whichever comes first is the connection. What the proxy carries is Noise and Yamux as on any TCP connection, so
//! it sees to whom and how much, and nothing else. Addresses near by are never asked of a proxy.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::FusedFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    multiaddr::Protocol,
    tcp,
};

use super::scope::{Scope, scope_of_ip};
use crate::relay::Proxy;

/// The proxy is asked this much later: where the direct way works, it is faster than that, and the proxy hears nothing.
const PROXY_DELAY: Duration = Duration::from_millis(400);

/// TCP, directly or through a proxy.
pub(super) struct Proxied {
    inner: tcp::tokio::Transport,
    proxy: Option<Arc<Proxy>>,
}

impl Proxied {
    pub(super) fn new(config: tcp::Config, proxy: Option<Proxy>) -> Self {
        Self { inner: tcp::tokio::Transport::new(config), proxy: proxy.map(Arc::new) }
    }
}

type Dial = Pin<Box<dyn Future<Output = io::Result<tcp::tokio::TcpStream>> + Send>>;

/// Where a multiaddr leads, if it is a public address with a TCP port.
fn public_target(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    (scope_of_ip(ip) == Some(Scope::Public)).then(|| SocketAddr::new(ip, port))
}

/// The first of the two that comes; the proxy's error if neither does.
async fn either(direct: Dial, proxy: Arc<Proxy>, target: SocketAddr) -> io::Result<tcp::tokio::TcpStream> {
    let mut direct = direct.fuse();
    // A refusal at once is no reason to wait.
    tokio::select! {
        result = &mut direct => if result.is_ok() {
            return result;
        },
        () = tokio::time::sleep(PROXY_DELAY) => {}
    }
    let through = async {
        let stream = proxy.connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(tcp::tokio::TcpStream(stream))
    };
    tokio::pin!(through);
    tokio::select! {
        Ok(stream) = &mut direct => Ok(stream),
        result = &mut through => match result {
            Err(error) if direct.is_terminated() => Err(error),
            Err(_) => direct.await,
            stream => stream,
        },
    }
}

impl Transport for Proxied {
    type Output = tcp::tokio::TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <tcp::tokio::Transport as Transport>::ListenerUpgrade;
    type Dial = Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Dial, TransportError<io::Error>> {
        let target = public_target(&address);
        let direct = self.inner.dial(address, options)?;
        Ok(match (self.proxy.clone(), target) {
            (Some(proxy), Some(target)) => Box::pin(either(direct, proxy, target)),
            _ => direct,
        })
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn only_public_addresses_are_asked_of_a_proxy() {
        let target = |text: &str| public_target(&text.parse().unwrap());
        assert_eq!(target("/ip4/9.9.9.9/tcp/443"), Some("9.9.9.9:443".parse().unwrap()));
        assert_eq!(target("/ip6/2a00::1/tcp/443"), Some("[2a00::1]:443".parse().unwrap()));
        for none in
            ["/ip4/192.168.1.1/tcp/443", "/ip4/127.0.0.1/tcp/443", "/ip4/9.9.9.9/udp/443/quic-v1", "/dns/a/tcp/1"]
        {
            assert_eq!(target(none), None, "{none}");
        }
    }

    /// A proxy that takes one connection: what it was asked for comes out of the task.
    async fn proxy(answer: &'static str) -> (Arc<Proxy>, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(client.read_u8().await.unwrap());
            }
            client.write_all(answer.as_bytes()).await.unwrap();
            // The other side's end.
            let _ = client.read_u8().await;
            String::from_utf8(asked).unwrap()
        });
        (Arc::new(Proxy::parse(&at.to_string()).unwrap()), served)
    }

    #[tokio::test]
    async fn where_the_direct_way_is_closed_the_proxy_is_taken_and_asked_for_the_same_target() {
        let refused: Dial = Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        let (proxy, served) = proxy("HTTP/1.1 200 OK\r\n\r\n").await;
        let stream = either(refused, proxy, "9.9.9.9:443".parse().unwrap()).await.unwrap();
        drop(stream);
        assert!(served.await.unwrap().starts_with("CONNECT 9.9.9.9:443 HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_does_not_end_a_slow_direct_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (proxy, served) = proxy("HTTP/1.1 403 No\r\n\r\n").await;
        // The direct way comes only after the proxy has refused.
        let slow: Dial = Box::pin(async move {
            served.await.unwrap();
            Ok(tcp::tokio::TcpStream(tokio::net::TcpStream::connect(at).await?))
        });
        let stream = either(slow, proxy, "9.9.9.9:443".parse().unwrap()).await.unwrap();
        assert_eq!(stream.0.peer_addr().unwrap(), at);
    }

    #[tokio::test]
    async fn without_any_way_the_proxys_word_is_the_error() {
        let refused: Dial = Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        let (proxy, _served) = proxy("HTTP/1.1 403 No\r\n\r\n").await;
        let error = either(refused, proxy, "9.9.9.9:443".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("403"), "{error}");
    }
}
