//! A model of a network with a thousand nodes, in virtual time, to see what the rules of the rendezvous are worth.
//!
//! Nothing of the rules is copied: lookups ([`twocan_node::dht::Lookup`]), shelves, the plan of what is put when, the
//! search and the judging of copies, slot keys, records and their verification are the node's own code. What is modelled
//! is what lies below: who is in whose routing table, how long a request takes, who comes and goes, and who lies
//! (`docs/simulation.md` says how, and what the model leaves out).

mod hostile;
mod net;
mod person;
mod put;
mod report;
mod search;
mod table;
mod tries;
mod world;

pub use report::{CrowdCell, FindRow, Load, Puts, Searches, crowd_table, find_table};
pub use tries::Spread;

use net::{HOUR, MINUTE};
use person::By;
use tries::Tally;
use world::World;

/// Share of the nodes that lie.
pub const HOSTILE: f64 = 0.2;
/// Share of the nodes that restart in an hour, each under a new PeerId.
pub const CHURN: f64 = 0.3;
/// Share of the people whose nodes ask only, because the internet cannot reach them.
pub const ASK_ONLY: f64 = 0.2;
/// When the network has been running for long enough to be judged.
const SETTLED: u64 = 90 * MINUTE;
/// For how long it is judged.
const JUDGED: u64 = 2 * HOUR;

/// Looks for friends by presence and by pair slot, and for strangers by contact slot, `tries` times each half.
pub fn find(nodes: usize, tries: usize, seed: u64) -> FindRow {
    let mut world = World::new(nodes, HOSTILE, CHURN, ASK_ONLY, seed);
    world.tallies = vec![Tally::default(); 3];
    world.run(SETTLED);
    world.start_counting();
    let until = SETTLED + JUDGED;
    for (group, by, count) in
        [(0, By::Presence, tries / 2), (1, By::Pair, tries - tries / 2), (2, By::Contact, tries / 10)]
    {
        world.plan_tries(count, SETTLED, until, by, group, None);
    }
    world.run(until);
    let load = world.load(JUDGED);
    let mut end = until;
    while world.open_tries() > 0 && end < until + HOUR {
        end += MINUTE;
        world.run(end);
    }
    FindRow::of(nodes, &world, load)
}

/// Somebody holds an address, and puts `attackers` nodes of `ranges` networks near its contact slots; the owner puts its
/// record and restarts while they are there.
pub fn crowd(nodes: usize, attackers: usize, ranges: usize, tries: usize, seed: u64) -> CrowdCell {
    const VICTIMS: usize = 2;
    let mut world = World::new(nodes, 0.0, CHURN, ASK_ONLY, seed);
    world.run(45 * MINUTE);
    let victims: Vec<usize> = world.with_contact(2 * HOUR).take(VICTIMS).collect();
    for victim in &victims {
        world.crowd(*victim, attackers, ranges);
    }
    world.run(100 * MINUTE);
    for victim in &victims {
        world.restart(*victim);
    }
    let from = 105 * MINUTE;
    for victim in &victims {
        world.plan_tries(tries / victims.len(), from, from + 20 * MINUTE, By::Contact, 0, Some(*victim));
    }
    let mut end = from + 20 * MINUTE;
    world.run(end);
    while world.open_tries() > 0 && end < from + HOUR {
        end += MINUTE;
        world.run(end);
    }
    CrowdCell::of(attackers, ranges, &world)
}
