//! One gateway: which protocol it speaks, and single mappings with it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::pcp::{self, Ask, Nonce, Server};
use super::route::Side;
use super::upnp::Router;
use super::{LIFETIME, Mapped, Via, Want};

/// Shortest time after which a mapping is renewed, however short its life: a router must not keep us busy.
const SOONEST: Duration = Duration::from_secs(60);
/// A mapping without an end is looked after this often, because a restarted router has forgotten it.
const PERMANENT: Duration = Duration::from_secs(1800);

/// A protocol that a gateway was found to speak.
#[derive(Clone, Debug)]
pub(super) enum Method {
    Pcp(Server),
    NatPmp(Server),
    Upnp(Router),
}

/// A mapping, and how long it lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) mapped: Mapped,
    /// When to renew, counted from when it was given.
    pub(super) renew: Duration,
    /// When it is gone without renewal.
    pub(super) life: Duration,
}

/// What a gateway that was of no help said, by protocol.
pub(super) type Tried = Vec<(Via, String)>;

impl Method {
    pub(super) fn via(&self) -> Via {
        match self {
            Self::Pcp(_) => Via::Pcp,
            Self::NatPmp(_) => Via::NatPmp,
            Self::Upnp(_) => Via::Upnp,
        }
    }

    /// Where the router is.
    pub(super) fn gateway(&self) -> IpAddr {
        match self {
            Self::Pcp(server) | Self::NatPmp(server) => server.gateway.ip(),
            Self::Upnp(router) => router.ip(),
        }
    }

    /// Finds out what the gateway speaks, by mapping `want` with it.
    ///
    /// # Errors
    /// What came of each protocol.
    pub(super) async fn find(
        side: &Side,
        want: Want,
        secret: &[u8; 32],
        ssdp: Option<SocketAddr>,
    ) -> Result<(Self, Lease), Tried> {
        let mut tried = Vec::new();
        if let Some(gateway) = side.gateway {
            let server = Server { local: side.local, gateway };
            let pcp = Self::Pcp(server);
            let closed = match pcp.map(want, want.port, secret).await {
                Ok(lease) => return Ok((pcp, lease)),
                Err(Error::Pcp(error)) => {
                    let closed = matches!(error, pcp::Error::Closed);
                    tried.push((Via::Pcp, error.to_string()));
                    closed
                }
                Err(error) => {
                    tried.push((Via::Pcp, error.to_string()));
                    false
                }
            };
            if !closed && side.local.is_ipv4() {
                let nat_pmp = Self::NatPmp(server);
                match nat_pmp.map(want, want.port, secret).await {
                    Ok(lease) => return Ok((nat_pmp, lease)),
                    Err(error) => tried.push((Via::NatPmp, error.to_string())),
                }
            }
        }
        if let (true, Some(ssdp)) = (side.local.is_ipv4(), ssdp) {
            match Self::find_upnp(side, want, secret, ssdp).await {
                Ok(found) => return Ok(found),
                Err(error) => tried.push((Via::Upnp, error.to_string())),
            }
        }
        Err(tried)
    }

    async fn find_upnp(side: &Side, want: Want, secret: &[u8; 32], ssdp: SocketAddr) -> Result<(Self, Lease), Error> {
        let method = Self::Upnp(Router::find(side, ssdp).await?);
        let lease = method.map(want, want.port, secret).await?;
        Ok((method, lease))
    }

    /// Makes or renews a mapping; `wished` is the external port.
    pub(super) async fn map(&self, want: Want, wished: u16, secret: &[u8; 32]) -> Result<Lease, Error> {
        let (external, lifetime) = match self {
            Self::Pcp(server) => {
                let given = server.pcp(ask(want, wished, lifetime()), nonce(secret, want)).await?;
                (given.external, Some(given.lifetime))
            }
            Self::NatPmp(server) => {
                let given = server.nat_pmp(ask(want, wished, lifetime())).await?;
                (given.external, Some(given.lifetime))
            }
            Self::Upnp(router) => {
                let made = router.map(want.purpose.is_udp(), want.port, wished, lifetime()).await?;
                (SocketAddr::new(router.external().await?, made.port), made.lifetime)
            }
        };
        let mapped = Mapped { want, external, via: self.via() };
        Ok(match lifetime {
            // No more than asked for: a router's number of years would overflow nothing, but is not believed either.
            Some(seconds) => {
                let life = Duration::from_secs(seconds.into()).min(LIFETIME);
                Lease { mapped, renew: (life / 2).max(SOONEST), life: life.max(SOONEST * 2) }
            }
            None => Lease { mapped, renew: PERMANENT, life: PERMANENT * 2 },
        })
    }

    /// Takes a mapping back; a router that does not answer forgets it by itself.
    pub(super) async fn unmap(&self, mapped: &Mapped, secret: &[u8; 32]) {
        let gone = match self {
            Self::Pcp(server) => {
                let ask = ask(mapped.want, 0, 0);
                server.pcp(ask, nonce(secret, mapped.want)).await.map(drop).map_err(Error::Pcp)
            }
            Self::NatPmp(server) => server.nat_pmp(ask(mapped.want, 0, 0)).await.map(drop).map_err(Error::Pcp),
            Self::Upnp(router) => {
                router.unmap(mapped.want.purpose.is_udp(), mapped.external.port()).await.map_err(Error::Upnp)
            }
        };
        if let Err(error) = gone {
            tracing::debug!("a port mapping was not taken back: {error}");
        }
    }
}

/// Why a mapping was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Pcp(#[from] pcp::Error),
    #[error(transparent)]
    Upnp(#[from] super::upnp::Error),
}

fn lifetime() -> u32 {
    u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
}

fn ask(want: Want, external: u16, lifetime: u32) -> Ask {
    Ask { udp: want.purpose.is_udp(), internal: want.port, external, lifetime }
}

/// The same for the same port after a restart, and nothing that another machine could guess.
fn nonce(secret: &[u8; 32], want: Want) -> Nonce {
    let mut hash = Sha256::new();
    hash.update(secret);
    hash.update([u8::from(want.purpose.is_udp()), u8::from(want.family == super::Family::V6)]);
    hash.update(want.port.to_be_bytes());
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&hash.finalize()[..12]);
    nonce
}
