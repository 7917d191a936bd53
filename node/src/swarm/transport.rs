//! The transports: QUIC, TCP with Noise and Yamux (names resolved on the way), and circuits through relays with the same
//! Noise and Yamux inside; windows and timers are small.
//!
//! A node has a few connections that carry a few hundred bytes a minute, so what is tuned here is the cost of being
//! idle: no path MTU probing (the default sends kilobytes on every connection), a slow keep-alive (links notice a dead
//! peer by their own heartbeat), and windows that hold the largest message rather than a download. Who dials does not wait
//! for the agreement to protocols that everybody speaks (`V1Lazy`; the same bytes): two round trips less.

use std::time::Duration;

use futures::future::Either;
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OrTransport},
        upgrade,
    },
    dns, identity, noise, quic, relay, tcp, yamux,
};

use super::proxied::Proxied;
use crate::relay::Proxy;

/// A dead node costs a query this long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(2500);
/// A silent QUIC connection is dead after this time. The heartbeat of a link is faster where it matters.
pub const QUIC_IDLE: Duration = Duration::from_secs(40);
/// When nothing came for this time, QUIC asks, which keeps a NAT's mapping (30 s in the worst case seen) and the
/// connection at about 8 bytes a second. `tests/tests/idle.rs` holds that.
pub const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(18);
/// Window of one stream: the largest link frame, twice.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Window of one connection.
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// Streams that the other side may have open on one connection.
const MAX_STREAMS: u32 = 64;

/// A circuit is a few round trips to the relay, from there to the other node, and a handshake through both.
const CIRCUIT_TIMEOUT: Duration = Duration::from_secs(8);

/// A transport for everything, and the behaviour that asks relays for circuits.
pub(super) type Built = (Boxed<(PeerId, StreamMuxerBox)>, relay::client::Behaviour);

/// Builds the transport for one swarm key; TCP may go through a proxy. Without a usable resolver configuration, names
/// cannot be dialled.
///
/// # Errors
/// If Noise cannot make its static key from `key`, which no Ed25519 key does.
pub(super) fn build(key: &identity::Keypair, proxy: Option<Proxy>) -> Result<Built, noise::Error> {
    let (circuits, client) = relay::client::new(key.public().to_peer_id());
    let circuits = circuits
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(muxer())
        .timeout(CIRCUIT_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let direct = direct(key, proxy)?;
    let all = OrTransport::new(circuits, direct)
        .map(|either, _| match either {
            Either::Left(output) | Either::Right(output) => output,
        })
        .boxed();
    Ok((all, client))
}

/// The part of it that needs no relay.
///
/// # Errors
/// As [`build`].
pub(super) fn direct(
    key: &identity::Keypair,
    proxy: Option<Proxy>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    Ok(match dns::tokio::Transport::system(sockets(key, proxy.clone())?) {
        Ok(transport) => transport.boxed(),
        Err(error) => {
            tracing::warn!(%error, "addresses with names are not dialled: no resolver");
            sockets(key, proxy)?
        }
    })
}

fn muxer() -> yamux::Config {
    let mut muxer = yamux::Config::default();
    muxer.set_max_num_streams(MAX_STREAMS as usize);
    muxer
}

fn sockets(key: &identity::Keypair, proxy: Option<Proxy>) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let tcp = Proxied::new(tcp::Config::default().nodelay(true), proxy)
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(muxer())
        .timeout(2 * HANDSHAKE_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    let mut config = quic::Config::new(key).disable_path_mtu_discovery();
    config.handshake_timeout = HANDSHAKE_TIMEOUT;
    config.max_idle_timeout = u32::try_from(QUIC_IDLE.as_millis()).unwrap_or(u32::MAX);
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    config.max_concurrent_stream_limit = MAX_STREAMS;
    config.max_stream_data = STREAM_WINDOW;
    config.max_connection_data = CONNECTION_WINDOW;
    let quic = quic::tokio::Transport::new(config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    Ok(OrTransport::new(quic, tcp)
        .map(|either, _| match either {
            Either::Left(output) | Either::Right(output) => output,
        })
        .boxed())
}
