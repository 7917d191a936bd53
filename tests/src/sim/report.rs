//! What a simulation came to, in rows for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::net::HOUR;
use super::tries::{Spread, Tally};
use super::world::World;

/// How searches of one kind went.
#[derive(Clone, Debug, Serialize)]
pub struct Searches {
    /// How many there were.
    pub tries: usize,
    /// How many found the friend's node as it runs now.
    pub found: usize,
    /// Of those that did not, how many ended with an older record.
    pub stale: usize,
    /// Milliseconds until it was found.
    pub ms: Spread,
    /// Hops to the copy that was found first.
    pub hops: Spread,
    /// Requests until it was found.
    pub requests: Spread,
    /// Requests of the whole search.
    pub all_requests: Spread,
    /// Bytes of the whole search, both ways.
    pub bytes: Spread,
}

impl Searches {
    fn of(tally: &Tally) -> Self {
        Self {
            tries: tally.len(),
            found: tally.found(),
            stale: tally.stale(),
            ms: tally.time_ms(),
            hops: tally.hops(),
            requests: tally.requests(),
            all_requests: tally.all_requests(),
            bytes: tally.bytes(),
        }
    }

    /// Share of the searches that found.
    pub fn success(&self) -> f64 {
        self.found as f64 / self.tries.max(1) as f64
    }
}

/// How puts went.
#[derive(Clone, Debug, Serialize)]
pub struct Puts {
    /// How many there were.
    pub count: usize,
    /// Milliseconds until the first node took the record.
    pub first_ms: Spread,
    /// Nodes that took it, by their word.
    pub holders: Spread,
    /// Requests, with those of reading back.
    pub requests: Spread,
    /// Bytes, both ways.
    pub bytes: Spread,
}

/// What all of it costs a node.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Load {
    /// Requests that a node sends in an hour.
    pub requests_per_node_hour: f64,
    /// Bytes that a node sends and receives in an hour for what it asks.
    pub bytes_per_node_hour: f64,
    /// Records on the fullest shelf, of those that a shelf of the model holds.
    pub fullest_shelf: usize,
    /// Nodes in a routing table.
    pub table: f64,
}

/// A network of one size.
#[derive(Clone, Debug, Serialize)]
pub struct FindRow {
    /// Nodes.
    pub nodes: usize,
    /// Friends with the grant.
    pub presence: Searches,
    /// Friends without it.
    pub pair: Searches,
    /// Strangers with the address, whom nobody crowds.
    pub contact: Searches,
    /// Publishing.
    pub puts: Puts,
    /// What a node bears.
    pub load: Load,
    /// Tries that did not count: somebody restarted in the middle.
    pub void: usize,
}

impl FindRow {
    pub(super) fn of(nodes: usize, world: &World, load: Load) -> Self {
        let [presence, pair, contact] = [0, 1, 2].map(|group| Searches::of(&world.tallies[group]));
        let puts = &world.puts;
        let spread = |value: fn(&(u64, u64, u32, u64)) -> f64| Spread::of(puts.iter().map(value));
        let puts = Puts {
            count: puts.len(),
            first_ms: spread(|put| put.3 as f64 / 1000.0),
            holders: spread(|put| f64::from(put.2)),
            requests: spread(|put| put.0 as f64),
            bytes: spread(|put| put.1 as f64),
        };
        Self { nodes, presence, pair, contact, puts, load, void: world.void }
    }

    /// Tries by presence and pair slot, and how many of them found.
    pub fn friends(&self) -> (usize, usize) {
        (self.presence.tries + self.pair.tries, self.presence.found + self.pair.found)
    }
}

/// A contact slot crowded by one attacker.
#[derive(Clone, Debug, Serialize)]
pub struct CrowdCell {
    /// The attacker's nodes.
    pub attackers: usize,
    /// Its networks.
    pub ranges: usize,
    /// Searches for its victims.
    pub searches: Searches,
}

impl CrowdCell {
    pub(super) fn of(attackers: usize, ranges: usize, world: &World) -> Self {
        Self { attackers, ranges, searches: Searches::of(&world.tallies[0]) }
    }
}

impl World {
    /// Forgets what was counted so far.
    pub(super) fn start_counting(&mut self) {
        self.puts.clear();
        self.net.traffic = (0, 0);
    }

    /// What a node bore since [`World::start_counting`], which was `time` ago.
    pub(super) fn load(&self, time: u64) -> Load {
        let nodes = || self.net.nodes.iter().flatten();
        let count = nodes().count().max(1) as f64;
        let hours = time as f64 / HOUR as f64;
        Load {
            requests_per_node_hour: self.net.traffic.0 as f64 / count / hours,
            bytes_per_node_hour: self.net.traffic.1 as f64 / count / hours,
            fullest_shelf: nodes().map(|node| node.shelf.len()).max().unwrap_or_default(),
            table: nodes().map(|node| node.table.len()).sum::<usize>() as f64 / count,
        }
    }
}

/// Rows for people.
pub fn find_table(rows: &[FindRow]) -> String {
    let mut out = String::from(
        "| nodes | slot | tries | found | ms p50 / p95 / p99 | hops p50 / p95 | requests until found p50 / p95 | of the \
         whole search p50 | kB p50 |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        for (name, searches) in [("presence", &row.presence), ("pair", &row.pair), ("contact", &row.contact)] {
            let _ = writeln!(
                out,
                "| {} | {name} | {} | {:.2} % | {:.0} / {:.0} / {:.0} | {:.0} / {:.0} | {:.0} / {:.0} | {:.0} | {:.0} |",
                row.nodes,
                searches.tries,
                100.0 * searches.success(),
                searches.ms.p50,
                searches.ms.p95,
                searches.ms.p99,
                searches.hops.p50,
                searches.hops.p95,
                searches.requests.p50,
                searches.requests.p95,
                searches.all_requests.p50,
                searches.bytes.p50 / 1000.0,
            );
        }
    }
    out.push_str(
        "\n| nodes | puts | first taken ms p50 / p95 | holders p50 | requests p50 | kB p50 | requests of a node in an \
         hour | kB of a node in an hour | in a table | fullest shelf |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let (puts, load) = (&row.puts, &row.load);
        let _ = writeln!(
            out,
            "| {} | {} | {:.0} / {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
            row.nodes,
            puts.count,
            puts.first_ms.p50,
            puts.first_ms.p95,
            puts.holders.p50,
            puts.requests.p50,
            puts.bytes.p50 / 1000.0,
            load.requests_per_node_hour,
            load.bytes_per_node_hour / 1000.0,
            load.table,
            load.fullest_shelf,
        );
    }
    out
}

/// Success against the attacker's nodes (down) and networks (across).
pub fn crowd_table(cells: &[CrowdCell]) -> String {
    let mut out = String::from("| attacker's nodes | its networks (/24) | tries | found | ms p50 | requests p50 |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    for cell in cells {
        let searches = &cell.searches;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.1} % | {:.0} | {:.0} |",
            cell.attackers,
            cell.ranges,
            searches.tries,
            100.0 * searches.success(),
            searches.ms.p50,
            searches.all_requests.p50,
        );
    }
    out
}
