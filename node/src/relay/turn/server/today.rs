//! What was relayed today, to be kept over a restart: else the bound of a day would be one of a run.

use std::collections::VecDeque;

use twocan_protocol::identity::RootPublic;

use super::super::quota::{Clock, Meter};
use super::{Account, Books, Core};

/// Bytes relayed on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayUse {
    /// The day, counted from 1970 (UTC).
    pub day: u64,
    /// By all.
    pub total: u64,
    /// By those who are no friends.
    pub guests: u64,
    /// By friends.
    pub friends: Vec<(RootPublic, u64)>,
}

impl<S: Clone> Core<S> {
    /// What was relayed today.
    pub(crate) fn day_use(&mut self, clock: Clock) -> DayUse {
        let mut friends = Vec::new();
        for (account, books) in &mut self.accounts {
            let (_, today) = books.meter.used(clock);
            if let (Account::Friend(root), 1..) = (account, today) {
                friends.push((*root, today));
            }
        }
        let (total, guests) = (self.total.used(clock).1, self.guests.used(clock).1);
        DayUse { day: clock.day(), total, guests, friends }
    }

    /// Counts what an earlier run has relayed today; what it did on another day counts no more.
    pub(crate) fn restore(&mut self, clock: Clock, used: &DayUse) {
        if used.day != clock.day() {
            return;
        }
        self.total.add_today(clock, used.total);
        self.guests.add_today(clock, used.guests);
        for (root, today) in &used.friends {
            let account = Account::Friend(*root);
            let bounds = self.bounds_of(account);
            let books = self.accounts.entry(account).or_insert_with(|| Books {
                meter: Meter::new(clock, bounds),
                allocations: 0,
                users: VecDeque::new(),
            });
            books.meter.add_today(clock, *today);
        }
    }
}
