//! The mapper's task: looks where the machine stands, finds what the router speaks, maps, renews, takes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gateway::{Lease, Method, Tried};
use super::route::{Place, Side};
use super::{Config, Family, Mapped, State, View, Want, is_public};

/// Ports come one by one while a node starts; this long is waited for the rest.
const SETTLE: Duration = Duration::from_millis(300);
/// How soon a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// A mapping younger than this is not renewed just because the network may have changed.
const FRESH: Duration = Duration::from_secs(30);
/// Multicast searches are this far apart at least, however often the network changes.
const SEARCH_PAUSE: Duration = Duration::from_secs(20);
/// How often a router that refused, or a missing one, is asked again (a unicast of a few bytes; no multicast).
const ASK_AGAIN: Duration = Duration::from_secs(3600);

/// A mapping that is kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    mapped: Mapped,
    made_at: Instant,
    renew_at: Instant,
    ends_at: Instant,
}

impl Kept {
    fn new(now: Instant, lease: Lease) -> Self {
        Self { mapped: lease.mapped, made_at: now, renew_at: now + lease.renew, ends_at: now + lease.life }
    }
}

/// One address family's gateway and what is mapped there.
#[derive(Debug, Default)]
struct Gateway {
    side: Option<Side>,
    method: Option<Method>,
    kept: BTreeMap<Want, Kept>,
    tried: Tried,
    /// Ports that the router would not map though it maps others, and when to ask again.
    refused: BTreeMap<Want, Instant>,
    /// When to look for a protocol (again).
    look_at: Option<Instant>,
    /// Whether the next look may search by multicast.
    search: bool,
    /// The last multicast search.
    searched_at: Option<Instant>,
}

pub(super) struct Task {
    config: Config,
    wants: watch::Receiver<Vec<Want>>,
    show: watch::Sender<View>,
    changed: Arc<Notify>,
    stop: CancellationToken,
    place: Option<Place>,
    v4: Gateway,
    v6: Gateway,
}

impl Task {
    pub(super) fn new(
        config: Config,
        wants: watch::Receiver<Vec<Want>>,
        show: watch::Sender<View>,
        changed: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        Self { config, wants, show, changed, stop, place: None, v4: Gateway::default(), v6: Gateway::default() }
    }

    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                next = self.round() => next,
            };
            let (wants, changed) = (&mut self.wants, &self.changed);
            let moved = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = changed.notified() => true,
                more = wants.changed() => match more {
                    Ok(()) => false,
                    Err(_) => break,
                },
                () = until(next) => false,
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(SETTLE) => {}
            }
            if moved {
                self.place = None;
            }
        }
        self.take_back().await;
    }

    /// Does what is due; returns when something is due next.
    async fn round(&mut self) -> Option<Instant> {
        let wants = self.wants.borrow_and_update().clone();
        if wants.is_empty() && self.v4.kept.is_empty() && self.v6.kept.is_empty() {
            self.publish(State::Idle);
            return None;
        }
        self.look_around();
        if self.v4.side.is_some_and(|side| is_public(side.local)) {
            self.publish(State::Unneeded);
            return None;
        }
        let ssdp = self.place.filter(|_| self.config.upnp).map(|place| place.ssdp);
        if self.v4.side.is_none() && self.v6.side.is_none() {
            self.publish(State::NoGateway);
            return None;
        }
        if self.v4.method.is_none() && self.v6.method.is_none() && self.v4.tried.is_empty() && self.v6.tried.is_empty()
        {
            self.publish(State::Asking);
        }
        let secret = self.config.secret;
        let of = |family| wants.iter().copied().filter(|want| want.family == family).collect::<Vec<_>>();
        let due4 = self.v4.keep(&of(Family::V4), &secret, ssdp).await;
        self.publish_now();
        let due6 = self.v6.keep(&of(Family::V6), &secret, None).await;
        self.publish_now();
        due4.into_iter().chain(due6).min()
    }

    /// Looks where the machine stands; another place means another router.
    fn look_around(&mut self) {
        if self.place.is_some() {
            return;
        }
        let place = (self.config.place)();
        self.place = Some(place);
        let v6 = place.v6.filter(|side| is_public(side.local) && side.gateway.is_some());
        self.v4.stand(place.v4);
        self.v6.stand(v6);
    }

    fn publish_now(&self) {
        let mapped = !self.v4.kept.is_empty() || !self.v6.kept.is_empty();
        self.publish(if mapped { State::Mapped } else { State::Refused });
    }

    fn publish(&self, state: State) {
        let gateway = |gateway: &Gateway| {
            let known = gateway.side.and_then(|side| side.gateway).map(|gateway| gateway.ip());
            gateway.method.as_ref().map(Method::gateway).or(known)
        };
        let mut tried = self.v4.tried.clone();
        tried.extend(self.v6.tried.iter().filter(|_| self.v4.side.is_none()).cloned());
        let view = View {
            state,
            gateway: gateway(&self.v4).or_else(|| gateway(&self.v6)),
            mapped: self.v4.kept.values().chain(self.v6.kept.values()).map(|kept| kept.mapped).collect(),
            tried,
        };
        self.show.send_if_modified(|shown| {
            let new = *shown != view;
            if new {
                tracing::info!("port mapping: {:?}, {} ports", view.state, view.mapped.len());
                *shown = view;
            }
            new
        });
    }

    async fn take_back(&mut self) {
        let secret = self.config.secret;
        futures::join!(self.v4.take_back(&secret), self.v6.take_back(&secret));
        self.publish(State::Idle);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Gateway {
    /// The machine stands here now. In another network everything is asked for anew; what was mapped in the old one ends
    /// there by itself. In the same one it is asked for again, too: the router may have been restarted meanwhile.
    fn stand(&mut self, side: Option<Side>) {
        if self.side == side && self.method.is_some() && !self.kept.is_empty() {
            let now = Instant::now();
            for kept in self.kept.values_mut().filter(|kept| kept.made_at + FRESH < now) {
                kept.renew_at = kept.renew_at.min(now);
            }
            return;
        }
        self.begin(side);
    }

    /// Forgets everything but when it searched last.
    fn begin(&mut self, side: Option<Side>) {
        *self = Self { side, search: true, searched_at: self.searched_at, ..Self::default() };
    }

    /// Maps what is wanted and not mapped, renews what is due, takes back what is no longer wanted.
    async fn keep(&mut self, wants: &[Want], secret: &[u8; 32], ssdp: Option<std::net::SocketAddr>) -> Option<Instant> {
        let side = self.side?;
        self.drop_unwanted(wants, secret).await;
        let first = *wants.first()?;
        if self.method.is_none() {
            if self.look_at.is_some_and(|at| at > Instant::now()) {
                return self.look_at;
            }
            let searches = ssdp.is_some();
            let rested = self.searched_at.is_none_or(|at| at.elapsed() >= SEARCH_PAUSE);
            let ssdp = ssdp.filter(|_| rested && std::mem::take(&mut self.search));
            if ssdp.is_some() {
                self.searched_at = Some(Instant::now());
            }
            match Method::find(&side, first, secret, ssdp).await {
                Ok((method, lease)) => {
                    tracing::info!("the router maps ports by {}", method.via().name());
                    self.method = Some(method);
                    self.tried.clear();
                    self.kept.insert(first, Kept::new(Instant::now(), lease));
                }
                Err(tried) => {
                    self.tried = tried;
                    let pause = if self.search && searches { SEARCH_PAUSE } else { ASK_AGAIN };
                    self.look_at = Some(Instant::now() + pause);
                    return self.look_at;
                }
            }
        }
        let method = self.method.clone()?;
        for want in wants {
            self.keep_one(&method, *want, secret).await;
        }
        if self.kept.is_empty() && self.refused.is_empty() {
            // Everything ran out: the router has lost its tongue. One search more, then only now and then.
            self.begin(Some(side));
            return Some(Instant::now() + RETRY);
        }
        self.kept.values().map(|kept| kept.renew_at).chain(self.refused.values().copied()).min()
    }

    async fn keep_one(&mut self, method: &Method, want: Want, secret: &[u8; 32]) {
        let before = self.kept.get(&want).copied();
        let now = Instant::now();
        let due = before.is_none_or(|kept| kept.renew_at <= now);
        if !due || self.refused.get(&want).is_some_and(|at| *at > now) {
            return;
        }
        let wished = before.map_or(want.port, |kept| kept.mapped.external.port());
        match method.map(want, wished, secret).await {
            Ok(lease) => {
                self.refused.remove(&want);
                self.kept.insert(want, Kept::new(Instant::now(), lease));
            }
            Err(error) => {
                let now = Instant::now();
                tracing::debug!("a port mapping by {} failed: {error}", method.via().name());
                match self.kept.get_mut(&want) {
                    Some(kept) if kept.ends_at > now => kept.renew_at = now + RETRY,
                    Some(_) => drop(self.kept.remove(&want)),
                    None => drop(self.refused.insert(want, now + ASK_AGAIN)),
                }
            }
        }
    }

    async fn drop_unwanted(&mut self, wants: &[Want], secret: &[u8; 32]) {
        let gone: Vec<Want> = self.kept.keys().filter(|want| !wants.contains(want)).copied().collect();
        self.refused.retain(|want, _| wants.contains(want));
        for want in gone {
            if let (Some(kept), Some(method)) = (self.kept.remove(&want), &self.method) {
                method.unmap(&kept.mapped, secret).await;
            }
        }
    }

    async fn take_back(&mut self, secret: &[u8; 32]) {
        let kept = std::mem::take(&mut self.kept);
        let Some(method) = &self.method else { return };
        futures::future::join_all(kept.values().map(|kept| method.unmap(&kept.mapped, secret))).await;
    }
}
