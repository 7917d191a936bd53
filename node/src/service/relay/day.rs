//! The relay's count of the day, kept over a restart of the node.

use serde::{Deserialize, Serialize};
use twocan_protocol::identity::RootPublic;

use super::super::Service;
use crate::relay::DayUse;

/// Friends whose use is kept: those with the most.
const FRIENDS: usize = 256;

/// What was relayed on a day, as it is kept.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct DayRecord {
    day: u64,
    total: u64,
    guests: u64,
    friends: Vec<(String, u64)>,
}

impl DayRecord {
    fn of(used: DayUse) -> Self {
        let mut friends: Vec<(String, u64)> =
            used.friends.into_iter().map(|(root, bytes)| (root.to_string(), bytes)).collect();
        friends.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        friends.truncate(FRIENDS);
        Self { day: used.day, total: used.total, guests: used.guests, friends }
    }

    /// For the server.
    pub(super) fn to_use(&self) -> DayUse {
        let root = |(root, bytes): &(String, u64)| Some((root.parse::<RootPublic>().ok()?, *bytes));
        let friends = self.friends.iter().take(FRIENDS).filter_map(root).collect();
        DayUse { day: self.day, total: self.total, guests: self.guests, friends }
    }
}

impl Service {
    /// Writes down what was relayed today, if there is news.
    pub(in crate::service) fn keep_relayed_today(&mut self) {
        let own = &mut self.relays.own;
        let used = own.server.day_use();
        let record = DayRecord::of(used);
        if record.total > 0 && own.keep_day(record) {
            self.records.set_relay(self.relays.own.record());
        }
    }
}
