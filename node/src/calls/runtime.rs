//! The webrtc crate's view of the world: its socket leads to our own agent, and the end of its driver is seen.
//!
//! The driver (webrtc's event loop for one call) can stop on an error without telling anyone: the connection's state
//! stays as it was for ever. It is spawned through this seam, so its end, by return or by panic, is noticed here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime, TokioRuntime,
};

use super::ice::paths::{Inside, Paths};

/// Runtime of one call.
#[derive(Debug)]
pub(super) struct CallRuntime {
    paths: Arc<Paths>,
    /// Turns true when the driver is gone.
    stopped: watch::Sender<bool>,
}

impl CallRuntime {
    /// For the given paths. The receiver turns true when the driver has stopped.
    pub(super) fn new(paths: Arc<Paths>) -> (Self, watch::Receiver<bool>) {
        let (stopped, seen) = watch::channel(false);
        (Self { paths, stopped }, seen)
    }
}

struct Tell(watch::Sender<bool>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

fn no_tcp() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "calls use no TCP candidates")
}

impl Runtime for CallRuntime {
    /// webrtc spawns its driver, and (without TCP candidates) nothing else.
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        let tell = Tell(self.stopped.clone());
        TokioRuntime.spawn(Box::pin(async move {
            let _tell = tell;
            future.await;
        }))
    }

    /// The socket that webrtc has just bound is closed again: it only served to name an address.
    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let local = socket.local_addr()?;
        drop(socket);
        Ok(Arc::new(Inside::new(local, self.paths.clone())))
    }

    fn wrap_tcp_listener(&self, _listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        Err(no_tcp())
    }

    fn connect_tcp<'a>(
        &'a self,
        _remote: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        Box::pin(async { Err(no_tcp()) })
    }

    /// Nothing in a call is named by a host name.
    fn resolve_host<'a>(
        &'a self,
        _host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async { Err(io::Error::new(io::ErrorKind::Unsupported, "calls resolve no names")) })
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }
}
