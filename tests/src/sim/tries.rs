//! One try: somebody looks for somebody, by the node's own search.

use std::collections::HashMap;

use twocan_node::rendezvous::Hunt;
use twocan_protocol::identity::PeerId;

use super::net::{Id, Time};
use super::person::By;

/// A try under way.
pub(super) struct Try {
    /// The search.
    pub(super) hunt: Hunt,
    /// Who looks.
    pub(super) node: Id,
    /// For whom.
    pub(super) person: usize,
    /// The node that is to be found.
    pub(super) expected: Id,
    /// In which slot.
    pub(super) by: By,
    /// Of which experiment it is.
    pub(super) group: usize,
    /// When it began.
    pub(super) started: Time,
    /// The lookups of its places.
    pub(super) looks: HashMap<usize, u64>,
    /// What was found last, and how.
    pub(super) found: Option<PeerId>,
    /// Time, hops and requests until the right record was found.
    pub(super) first: Option<(Time, u32, u64)>,
    /// Hops to the copy that is being looked at.
    pub(super) hops: u32,
    /// Requests and bytes so far.
    pub(super) traffic: (u64, u64),
}

/// How a try ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Whether the friend's node, as it runs now, was found.
    pub(super) found: bool,
    /// Whether another (an older) record was what the search ended with.
    pub(super) stale: bool,
    /// Time, hops and requests until it was found.
    pub(super) first: Option<(Time, u32, u64)>,
    /// Requests and bytes of the whole search.
    pub(super) traffic: (u64, u64),
}

/// What many tries came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    outcomes: Vec<Outcome>,
}

/// A distribution: median, 95th and 99th percentile.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Spread {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Spread {
    /// Of some values.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let index = (values.len().saturating_sub(1)) as f64 * part;
            values.get(index.round() as usize).copied().unwrap_or_default()
        };
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

impl Tally {
    /// One more.
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Tries.
    pub(super) fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Tries that found whom they looked for.
    pub(super) fn found(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.found).count()
    }

    /// Tries that ended with an older record.
    pub(super) fn stale(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.stale).count()
    }

    /// Milliseconds until it was found.
    pub(super) fn time_ms(&self) -> Spread {
        Spread::of(self.firsts().map(|(time, ..)| time as f64 / 1000.0))
    }

    /// Hops to the copy that was first.
    pub(super) fn hops(&self) -> Spread {
        Spread::of(self.firsts().map(|(_, hops, _)| f64::from(hops)))
    }

    /// Requests until it was found.
    pub(super) fn requests(&self) -> Spread {
        Spread::of(self.firsts().map(|(.., requests)| requests as f64))
    }

    /// Requests of the whole search.
    pub(super) fn all_requests(&self) -> Spread {
        Spread::of(self.outcomes.iter().map(|outcome| outcome.traffic.0 as f64))
    }

    /// Bytes of the whole search.
    pub(super) fn bytes(&self) -> Spread {
        Spread::of(self.outcomes.iter().map(|outcome| outcome.traffic.1 as f64))
    }

    fn firsts(&self) -> impl Iterator<Item = (Time, u32, u64)> {
        self.outcomes.iter().filter_map(|outcome| outcome.first)
    }
}
