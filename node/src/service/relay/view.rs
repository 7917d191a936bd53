//! What people see of relays.

use twocan_control as api;
use twocan_protocol::identity::RootPublic;

use super::super::Service;
use super::super::doctor::Target;
use super::Remote;
use crate::relay::{Policy, UsedBy};

fn policy_out(policy: Policy) -> api::RelayPolicy {
    match policy {
        Policy::Auto => api::RelayPolicy::Auto,
        Policy::Off => api::RelayPolicy::Off,
        Policy::Friends => api::RelayPolicy::Friends,
        Policy::Anyone => api::RelayPolicy::Anyone,
    }
}

fn policy_in(policy: api::RelayPolicy) -> Policy {
    match policy {
        api::RelayPolicy::Auto => Policy::Auto,
        api::RelayPolicy::Off => Policy::Off,
        api::RelayPolicy::Friends => Policy::Friends,
        api::RelayPolicy::Anyone => Policy::Anyone,
    }
}

impl Service {
    /// How relaying is.
    pub(in crate::service) fn relay_status(&self) -> api::RelayStatus {
        let own = &self.relays.own;
        let status = own.server.status();
        let texts = |endpoints: &[twocan_protocol::wire::Endpoint]| {
            super::addresses(endpoints).iter().map(ToString::to_string).collect()
        };
        let by_me = status.usage.iter().map(|used| api::RelayUse {
            id: match used.by {
                UsedBy::Friend(root) => root.to_string(),
                UsedBy::Guest(number) => format!("{number:016x}"),
            },
            name: match used.by {
                UsedBy::Friend(root) => self.book.name_of(&root),
                UsedBy::Guest(_) => String::new(),
            },
            guest: matches!(used.by, UsedBy::Guest(_)),
            traffic: api::RelayTraffic {
                allocations: used.allocations,
                bytes_per_second: used.bytes_per_second,
                bytes_today: used.bytes_today,
            },
        });
        api::RelayStatus {
            serve: policy_out(own.policy),
            serving: own.serving,
            reason: own.reason.clone(),
            udp: texts(own.offer().udp.as_slice()),
            tls: texts(own.offer().tls.as_slice()),
            tls_note: own.tls_note(),
            limits: api::RelayLimits {
                allocations: status.limits.allocations,
                bytes_per_second: status.limits.bytes_per_second,
                bytes_per_day: status.limits.bytes_per_day,
            },
            total: api::RelayTraffic {
                allocations: status.allocations,
                bytes_per_second: status.bytes_per_second,
                bytes_today: status.bytes_today,
            },
            by_me: by_me.collect(),
            for_me: self.relays_for_me(),
            stun_answers: status.bindings,
            refused: status.unauthorized,
            over_quota: status.over_quota,
        }
    }

    /// Friends' relays, for the doctor to ask.
    pub(in crate::service) fn relay_targets(&self) -> Vec<Target> {
        // To ask is to be seen: not by those from whom we hide.
        let asked = |root: &RootPublic, remote: &Remote| remote.is_useful() && !self.book.hides(root);
        let useful = self.relays.remote.iter().filter(|(root, remote)| asked(root, remote));
        useful
            .map(|(root, remote)| Target {
                friend: self.book.name_of(root),
                udp: self.relays.own.usable(remote.offer.udp.as_slice()),
                tls: self.relays.own.usable(remote.offer.tls.as_slice()),
                certificate: remote.offer.certificate,
            })
            .collect()
    }

    /// Whether this node relays at present.
    pub(in crate::service) fn relays_now(&self) -> bool {
        self.relays.own.serving
    }

    fn relays_for_me(&self) -> Vec<api::FriendRelay> {
        let remotes = self.relays.remote.iter().map(|(root, remote)| {
            let carried = remote.carried.used();
            api::FriendRelay {
                id: root.to_string(),
                name: self.book.name_of(root),
                udp: !remote.offer.udp.as_slice().is_empty(),
                tls: !remote.offer.tls.as_slice().is_empty(),
                ready: remote.ready.as_ref().is_some_and(|ready| ready.expires > std::time::Instant::now()),
                traffic: api::RelayTraffic {
                    allocations: carried.allocations,
                    bytes_per_second: carried.bytes_per_second,
                    bytes_today: carried.bytes_today,
                },
            }
        });
        remotes.collect()
    }

    /// Sets whom this node relays for.
    pub(in crate::service) fn set_relay(&mut self, set: api::SetRelay) -> api::RelayStatus {
        self.set_relay_policy(policy_in(set.serve));
        self.relay_status()
    }
}
