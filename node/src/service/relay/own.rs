//! The own relay: whether it serves, where, and what friends are told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde::{Deserialize, Serialize};
use twocan_protocol::identity::RootPublic;
use twocan_protocol::wire::{Bounded, Endpoint, List, Offer};

use super::super::Service;
use super::super::links::Note;
use super::day::DayRecord;
use crate::config;
use crate::relay::{self, Identity, Policy, Server};

/// What is kept of the relay.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::service) struct RelayRecord {
    /// The certificate (DER).
    #[serde(with = "serde_bytes")]
    pub(in crate::service) certificate: Vec<u8>,
    /// Its key (PKCS #8).
    #[serde(with = "serde_bytes")]
    pub(in crate::service) key: Vec<u8>,
    /// What the person chose with `twocan relay`: "auto", "off", "friends" or "anyone"; absent: as configured.
    #[serde(default)]
    pub(in crate::service) serve: Option<String>,
    /// What it relayed on the last day on which it did.
    #[serde(default)]
    pub(super) used: DayRecord,
}

/// Where TLS is served.
struct Tls {
    port: u16,
    note: String,
}

/// The own relay.
pub(in crate::service) struct Own {
    pub(in crate::service) server: Server,
    pub(super) policy: Policy,
    /// For laboratories: addresses that are not public count.
    private: bool,
    configured_tls: Option<u16>,
    record: RelayRecord,
    identity: Option<Identity>,
    tls: Option<Tls>,
    /// The swarm's TCP port on this machine, to which the TLS port passes on what is no TLS; 0 until it listens.
    swarm_port: Arc<AtomicU16>,
    /// TLS was tried in vain; why.
    tls_trouble: Option<String>,
    pub(super) serving: bool,
    /// Where it serves.
    usable: Vec<IpAddr>,
    pub(super) reason: String,
    offer: Offer,
    /// What friends were told last over the link that they have now.
    told: BTreeMap<RootPublic, Offer>,
    /// Friends who were told of an offer since this node started, and may still believe it.
    believers: BTreeSet<RootPublic>,
}

/// The policy of a word, as configuration, store and API write it.
pub(super) fn policy_of(word: &str) -> Option<Policy> {
    match word {
        "auto" => Some(Policy::Auto),
        "off" => Some(Policy::Off),
        "friends" => Some(Policy::Friends),
        "anyone" => Some(Policy::Anyone),
        _ => None,
    }
}

/// The word of a policy.
pub(super) fn word_of(policy: Policy) -> &'static str {
    match policy {
        Policy::Auto => "auto",
        Policy::Off => "off",
        Policy::Friends => "friends",
        Policy::Anyone => "anyone",
    }
}

/// What a configuration says about whom to serve.
fn configured(serve: config::RelayServe) -> Policy {
    match serve {
        config::RelayServe::Auto => Policy::Auto,
        config::RelayServe::Off => Policy::Off,
        config::RelayServe::Friends => Policy::Friends,
        config::RelayServe::Anyone => Policy::Anyone,
    }
}

impl Own {
    pub(in crate::service) fn new(server: Server, config: &config::Relay, record: RelayRecord) -> Self {
        let chosen = record.serve.as_deref().and_then(policy_of);
        server.restore(&record.used.to_use());
        Self {
            server,
            policy: chosen.unwrap_or_else(|| configured(config.serve)),
            private: config.private_peers,
            configured_tls: config.tls_port,
            record,
            identity: None,
            tls: None,
            swarm_port: Arc::default(),
            tls_trouble: None,
            serving: false,
            usable: Vec::new(),
            reason: "The node is starting.".into(),
            offer: Offer::default(),
            told: BTreeMap::new(),
            believers: BTreeSet::new(),
        }
    }

    /// Whom the person lets it serve.
    pub(in crate::service) fn policy(&self) -> Policy {
        self.policy
    }

    /// What friends are told.
    pub(super) fn offer(&self) -> &Offer {
        &self.offer
    }

    /// What is kept.
    pub(super) fn record(&self) -> &RelayRecord {
        &self.record
    }

    /// Notes what was relayed today; `false` if that is known already.
    pub(super) fn keep_day(&mut self, used: DayRecord) -> bool {
        let new = self.record.used != used;
        self.record.used = used;
        new
    }

    /// Notes that a friend is told this; `false` if that is known there already.
    pub(super) fn tell(&mut self, root: &RootPublic, offer: &Offer) -> bool {
        // A friend who was never told anything takes no offer for no offer.
        let nothing = || offer.is_empty() && !self.believers.contains(root);
        let known = self.told.get(root).map_or_else(nothing, |told| told == offer);
        if !known {
            self.told.insert(*root, offer.clone());
            if offer.is_empty() {
                self.believers.remove(root);
            } else {
                self.believers.insert(*root);
            }
        }
        !known
    }

    /// The next link begins with nothing told.
    pub(super) fn forget_told(&mut self, root: &RootPublic) {
        self.told.remove(root);
    }

    /// The TCP port of TLS, while there is one.
    pub(in crate::service) fn tls_port(&self) -> Option<u16> {
        self.tls.as_ref().map(|tls| tls.port)
    }

    /// One sentence about the TLS port.
    pub(super) fn tls_note(&self) -> String {
        match (&self.tls, &self.tls_trouble) {
            (Some(tls), _) => tls.note.clone(),
            (None, Some(trouble)) => trouble.clone(),
            (None, None) if self.configured_tls == Some(0) => "TLS is switched off by `[relay] tls_port = 0`.".into(),
            (None, None) => "TLS is opened when this node serves.".into(),
        }
    }

    /// Those endpoints at which a relay can be. A friend names them: nobody is made to knock at a private network, or at
    /// a service of some third party.
    pub(super) fn usable(&self, endpoints: &[Endpoint]) -> Vec<SocketAddr> {
        super::addresses(endpoints).into_iter().filter(|address| self.is_usable(*address)).collect()
    }

    /// The same of one address.
    pub(in crate::service) fn is_usable(&self, address: SocketAddr) -> bool {
        let port = address.port() >= 1024 || address.port() == relay::HTTPS;
        port && (relay::is_public(address.ip()) || (self.private && !address.ip().is_multicast()))
    }
}

impl Service {
    /// Has [`Self::refresh_relay`] called whenever other nodes find that this one can, or cannot, be reached.
    pub(in crate::service) fn watch_reachability(&self) {
        let (mut reachability, notes) = (self.swarm.reachability(), self.notes.clone());
        tokio::spawn(async move {
            // The first look is at what is known already.
            while notes.send(Note::Reachability).await.is_ok() && reachability.changed().await.is_ok() {
                reachability.mark_unchanged();
            }
        });
    }

    /// Looks anew whether and where this node can relay, and tells friends if it is another answer than before.
    pub(in crate::service) fn refresh_relay(&mut self) {
        let reached = self.swarm.reachability().borrow().public.clone();
        let addresses = self.relay_addresses();
        self.tell_stun_port(&reached, &addresses);
        let reachable = |ip: &IpAddr| {
            let part = match ip {
                IpAddr::V4(ip) => format!("/ip4/{ip}/"),
                IpAddr::V6(ip) => format!("/ip6/{ip}/"),
            };
            reached.iter().any(|address| address.starts_with(&part))
        };
        let own = &mut self.relays.own;
        let (usable, reason): (Vec<IpAddr>, &str) = match own.policy {
            Policy::Off => (Vec::new(), "It is switched off."),
            _ if addresses.is_empty() => (Vec::new(), "This machine has no public address of its own."),
            Policy::Auto if reached.is_empty() => {
                (Vec::new(), "No other node has found yet that the internet can reach this one.")
            }
            Policy::Auto => {
                let usable: Vec<IpAddr> = addresses.into_iter().filter(reachable).collect();
                let reason = if usable.is_empty() {
                    "The internet reaches this node only through a router, which does not forward relayed packets."
                } else {
                    "The internet can reach this node."
                };
                (usable, reason)
            }
            Policy::Friends | Policy::Anyone => (addresses, "It is switched on."),
        };
        own.serving = !usable.is_empty();
        own.usable.clone_from(&usable);
        own.reason = reason.to_owned();
        own.server.set_addresses(usable.clone());
        own.server.set_policy(if own.serving { own.policy } else { Policy::Off });
        if own.serving {
            self.open_relay_tls();
        }
        let media = self.engine.port();
        let own = &mut self.relays.own;
        let at = |port: u16| List::first_of(usable.iter().map(|ip| Endpoint::from(SocketAddr::new(*ip, port))));
        let peer = self.swarm.peer_text();
        let circuits = reached.iter().filter_map(|address| Bounded::new(format!("{address}/p2p/{peer}")));
        let offer = if own.serving {
            Offer {
                circuits: List::first_of(circuits),
                udp: at(media),
                tls: own.tls.as_ref().map(|tls| at(tls.port)).unwrap_or_default(),
                certificate: own.identity.as_ref().map(Identity::fingerprint).unwrap_or_default(),
            }
        } else {
            Offer::default()
        };
        if offer == own.offer {
            return;
        }
        tracing::info!("relaying for friends: {} {}", if own.serving { "yes." } else { "no." }, own.reason);
        own.offer = offer;
        self.open_gates();
        self.want_ports();
        self.share_relay_tls();
        let friends: Vec<RootPublic> = self.sessions.keys().copied().collect();
        for friend in friends {
            self.offer_to(friend);
        }
    }

    /// Lets the swarm be reached behind the TLS port, once both listen.
    pub(in crate::service) fn share_relay_tls(&mut self) {
        let Some(port) = self.swarm_tcp_port() else { return };
        let own = &self.relays.own;
        own.swarm_port.store(port, Ordering::Relaxed);
        let also: Vec<String> = match &own.tls {
            Some(tls) if tls.port != port => own.usable.iter().map(|ip| multiaddr(*ip, tls.port)).collect(),
            _ => Vec::new(),
        };
        let swarm = self.swarm.clone();
        tokio::spawn(async move { swarm.also_listens(also).await });
    }

    /// Addresses of this machine at which others can reach it.
    fn relay_addresses(&self) -> Vec<IpAddr> {
        let bound = self.bound_ip();
        let found = if bound.is_unspecified() { relay::source_addresses() } else { vec![bound] };
        let private = self.relays.own.private;
        found.into_iter().filter(|ip| relay::is_public(*ip) || private).collect()
    }

    /// Where this node's ports are bound.
    fn bound_ip(&self) -> IpAddr {
        if crate::runtime::loopback_alone(&self.config) {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        }
    }

    /// Serves TLS from now on, if it does not yet.
    fn open_relay_tls(&mut self) {
        let (media, ip) = (self.engine.port(), self.bound_ip());
        let swarm_port = Arc::clone(&self.relays.own.swarm_port);
        let own = &mut self.relays.own;
        if own.tls.is_some() || own.configured_tls == Some(0) || own.tls_trouble.is_some() {
            return;
        }
        let opened = own.identity().and_then(|identity| {
            let open = relay::open_tls(own.configured_tls, media, ip).map_err(|error| error.to_string())?;
            own.server.serve_tls(open.listener, &identity, swarm_port).map_err(|error| error.to_string())?;
            Ok(Tls { port: open.port, note: open.note })
        });
        match opened {
            Ok(tls) => {
                tracing::info!("{}", tls.note);
                own.tls = Some(tls);
            }
            Err(error) => {
                tracing::warn!("no TLS for the relay: {error}");
                own.tls_trouble = Some(format!("TLS cannot be served: {error}."));
            }
        }
        let record = own.record.clone();
        self.records.set_relay(&record);
    }

    /// The swarm's TCP port on this machine.
    fn swarm_tcp_port(&self) -> Option<u16> {
        self.listen.iter().find_map(|address| address.split_once("/tcp/")?.1.split('/').next()?.parse().ok())
    }

    /// The person chooses whom to serve.
    pub(in crate::service) fn set_relay_policy(&mut self, policy: Policy) {
        self.relays.own.policy = policy;
        self.relays.own.record.serve = Some(word_of(policy).to_owned());
        let record = self.relays.own.record.clone();
        self.records.set_relay(&record);
        self.refresh_relay();
        self.open_gates();
    }
}

fn multiaddr(ip: IpAddr, port: u16) -> String {
    match ip {
        IpAddr::V4(ip) => format!("/ip4/{ip}/tcp/{port}"),
        IpAddr::V6(ip) => format!("/ip6/{ip}/tcp/{port}"),
    }
}

impl Own {
    /// The certificate: the one that was kept, or a new one.
    fn identity(&mut self) -> Result<Identity, String> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        let identity = if self.record.certificate.is_empty() {
            let identity = Identity::generate().map_err(|error| error.to_string())?;
            self.record.certificate.clone_from(&identity.certificate);
            self.record.key = identity.key.to_vec();
            identity
        } else {
            Identity { certificate: self.record.certificate.clone(), key: self.record.key.clone().into() }
        };
        self.identity = Some(identity.clone());
        Ok(identity)
    }
}
