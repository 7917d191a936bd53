//! How much is dialled and announced for first nodes, and when. Pure: times come in.

use std::collections::{BTreeMap, HashMap};

use rand::seq::SliceRandom;
use twocan_protocol::rendezvous::DAY_MS;

use crate::swarm::{SourceRange, check_bootstrap, ip_range};

/// Addresses dialled in one round of seeking.
const PER_ROUND: usize = 24;
/// Of them, in one source network.
const PER_RANGE: usize = 2;
/// The same on loopback and private networks, which are ours.
const PER_NEAR_RANGE: usize = 8;
/// The same address is not dialled again within this time (ms).
const ONCE_MS: u64 = 3_600_000;
/// Addresses kept in mind for that: a few rounds.
const MAX_KEPT: usize = 256;
/// Announcements are made anew after this time (ms): servers keep them for a day at least.
const RENEW_MS: u64 = 12 * 3_600_000;
/// The next day's keys are announced this long before it begins (ms).
const AHEAD_MS: u64 = 3_600_000;
/// Changed addresses are announced at most this often (ms).
const CHANGE_MS: u64 = 600_000;

/// Who was dialled on the word of the public DHT.
#[derive(Debug, Default)]
pub(super) struct Asked {
    at_ms: HashMap<String, u64>,
    ranges: HashMap<SourceRange, usize>,
    dialled: usize,
}

impl Asked {
    /// Begins a round.
    pub(super) fn new_round(&mut self, unix_ms: u64) {
        self.at_ms.retain(|_, at| unix_ms.saturating_sub(*at) < ONCE_MS);
        self.ranges.clear();
        self.dialled = 0;
    }

    /// Addresses dialled in this round.
    pub(super) fn dialled(&self) -> usize {
        self.dialled
    }

    /// Whether this round has had its share.
    pub(super) fn is_full(&self) -> bool {
        self.dialled >= PER_ROUND || self.at_ms.len() >= MAX_KEPT
    }

    /// Of one provider's addresses, those to dial now; they count as dialled.
    pub(super) fn choose(&mut self, addresses: &[String], most: usize, unix_ms: u64) -> Vec<String> {
        let mut shuffled: Vec<&String> = addresses.iter().collect();
        // Who lists many third parties' addresses does not choose which are dialled.
        shuffled.shuffle(&mut rand::rng());
        let mut chosen = Vec::new();
        for address in shuffled {
            if chosen.len() >= most || self.is_full() {
                break;
            }
            if self.at_ms.contains_key(address) || check_bootstrap(address).is_err() {
                continue;
            }
            let Some((range, near)) = ip_range(address) else { continue };
            let count = self.ranges.entry(range).or_default();
            if *count >= if near { PER_NEAR_RANGE } else { PER_RANGE } {
                continue;
            }
            *count += 1;
            self.dialled += 1;
            self.at_ms.insert(address.clone(), unix_ms);
            chosen.push(address.clone());
        }
        chosen
    }
}

/// What was announced, by day.
#[derive(Debug, Default)]
pub(super) struct Announced {
    days: BTreeMap<u64, (u64, Vec<String>)>,
}

impl Announced {
    /// The days whose keys are to be announced now.
    pub(super) fn due(&self, addresses: &[String], unix_ms: u64) -> Vec<u64> {
        let today = unix_ms / DAY_MS;
        let ahead = (unix_ms + AHEAD_MS) / DAY_MS;
        (today..=ahead)
            .filter(|day| {
                self.days.get(day).is_none_or(|(at, told)| {
                    let age = unix_ms.saturating_sub(*at);
                    age >= RENEW_MS || told != addresses && age >= CHANGE_MS
                })
            })
            .collect()
    }

    /// A day's keys were announced.
    pub(super) fn done(&mut self, day: u64, addresses: Vec<String>, unix_ms: u64) {
        let today = unix_ms / DAY_MS;
        self.days.retain(|day, _| *day >= today);
        self.days.insert(day, (unix_ms, addresses));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(range: std::ops::Range<u8>) -> Vec<String> {
        range.map(|n| format!("/ip4/9.9.{n}.1/tcp/4001")).collect()
    }

    #[test]
    fn a_round_dials_so_many_and_of_one_network_few_and_nobody_twice() {
        let mut asked = Asked::default();
        asked.new_round(0);
        let one_network: Vec<String> = (1..100).map(|n| format!("/ip4/9.9.9.{n}/tcp/4001")).collect();
        assert_eq!(asked.choose(&one_network, 99, 0).len(), PER_RANGE);
        assert_eq!(asked.choose(&addresses(20..30), 4, 0).len(), 4);
        assert!(
            asked
                .choose(&["/ip4/9.1.1.1/tcp/0".to_owned(), "/memory/1".to_owned(), "junk".to_owned()], 4, 0)
                .is_empty()
        );
        let many = asked.choose(&addresses(100..200), 99, 0);
        assert_eq!(many.len(), PER_ROUND - 4 - PER_RANGE);
        assert!(asked.is_full());

        asked.new_round(ONCE_MS - 1);
        assert!(asked.choose(&many, 99, ONCE_MS - 1).is_empty());
        asked.new_round(ONCE_MS);
        assert_eq!(asked.choose(&many, 99, ONCE_MS).len(), many.len());
    }

    #[test]
    fn a_day_is_announced_once_in_twelve_hours_the_next_one_an_hour_ahead_and_changes_soon() {
        let (a, b) = (addresses(1..2), addresses(2..3));
        let start = 20_000 * DAY_MS + 1000;
        let mut announced = Announced::default();
        assert_eq!(announced.due(&a, start), [20_000]);
        announced.done(20_000, a.clone(), start);
        assert!(announced.due(&a, start + RENEW_MS - 1).is_empty());
        assert_eq!(announced.due(&a, start + RENEW_MS), [20_000]);
        assert!(announced.due(&b, start + CHANGE_MS - 1).is_empty());
        assert_eq!(announced.due(&b, start + CHANGE_MS), [20_000]);
        let late = 20_001 * DAY_MS - AHEAD_MS;
        announced.done(20_000, a.clone(), late - 1);
        assert_eq!(announced.due(&a, late), [20_001]);
        announced.done(20_001, a.clone(), late);
        assert!(announced.due(&a, late + AHEAD_MS).is_empty());
    }
}
