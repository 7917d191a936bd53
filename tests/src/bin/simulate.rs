//! `simulate`: runs the model of the rendezvous ([`twocan_tests::sim`]) and prints what it came to.
//!
//! `cargo run --release -p twocan-tests --bin simulate -- [--nodes N] [--tries N] [--seed S] [--no-crowd] [--json]`
//!
//! Without `--nodes` it runs networks of 100, 300 and 1000 nodes, so that growth can be seen. Exits with 1 if a friend
//! was found in fewer than 99.9 % of the tries in the largest network.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use twocan_tests::sim::{CrowdCell, FindRow, crowd, crowd_table, find, find_table};

/// Sizes of networks, if none is asked for.
const SIZES: [usize; 3] = [100, 300, 1000];
/// Attackers: nodes, and networks.
const CROWDS: [(usize, usize); 9] =
    [(0, 1), (80, 1), (400, 1), (80, 5), (80, 10), (80, 20), (400, 20), (400, 50), (400, 100)];
/// Tries for each attacker.
const CROWD_TRIES: usize = 200;
/// What must be reached.
const ENOUGH: f64 = 0.999;

struct Options {
    sizes: Vec<usize>,
    tries: usize,
    seed: u64,
    crowd: bool,
    json: bool,
}

fn options() -> Result<Options> {
    let mut options = Options { sizes: SIZES.into(), tries: 10_000, seed: 1, crowd: true, json: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            arguments.next().and_then(|text| text.parse().ok()).with_context(|| format!("{argument} needs a number"))
        };
        match argument.as_str() {
            "--nodes" => options.sizes = vec![usize::try_from(number()?)?],
            "--tries" => options.tries = usize::try_from(number()?)?,
            "--seed" => options.seed = number()?,
            "--no-crowd" => options.crowd = false,
            "--json" => options.json = true,
            _ => bail!("unknown argument {argument}; known: --nodes N --tries N --seed S --no-crowd --json"),
        }
    }
    Ok(options)
}

fn main() -> Result<ExitCode> {
    let options = options()?;
    let begun = Instant::now();
    let mut rows: Vec<FindRow> = Vec::new();
    for nodes in &options.sizes {
        eprintln!("{nodes} nodes, {} tries …", options.tries);
        let row = find(*nodes, options.tries, options.seed);
        let ((tries, found), stale) = (row.friends(), row.presence.stale + row.pair.stale);
        eprintln!("  found in {found} of {tries} tries; in {stale} an older record");
        rows.push(row);
    }
    let mut cells: Vec<CrowdCell> = Vec::new();
    let largest = options.sizes.iter().copied().max().unwrap_or_default();
    for (attackers, ranges) in CROWDS.iter().filter(|_| options.crowd) {
        eprintln!("{attackers} nodes of {ranges} networks near a contact slot in a network of {largest} …");
        let cell = crowd(largest, *attackers, *ranges, CROWD_TRIES, options.seed);
        eprintln!("  found in {} of {} tries", cell.searches.found, cell.searches.tries);
        cells.push(cell);
    }
    if options.json {
        println!("{}", serde_json::json!({ "seed": options.seed, "find": rows, "crowd": cells }));
    } else {
        println!("{}", find_table(&rows));
        println!("{}", crowd_table(&cells));
    }
    let (tries, found) = rows.iter().max_by_key(|row| row.nodes).map(FindRow::friends).unwrap_or_default();
    eprintln!("{found} of {tries} tries found a friend; {:.0} s", begun.elapsed().as_secs_f64());
    Ok(if found as f64 >= ENOUGH * tries as f64 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
