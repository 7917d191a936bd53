//! A small run of the simulated network in which everything must be found.

use twocan_tests::sim::{crowd, find};

#[test]
fn friends_are_found_among_liars_while_nodes_come_and_go() {
    let row = find(200, 1000, 7);
    let (tries, found) = row.friends();
    assert_eq!(tries, 1000);
    assert!(found >= 999, "{found} of {tries}: {row:?}");
    assert!(row.presence.hops.p95 <= 4.0 && row.presence.requests.p50 <= 20.0, "{:?}", row.presence);
    assert!(row.puts.holders.p50 >= 15.0, "{:?}", row.puts);
}

#[test]
fn one_machine_with_any_number_of_nodes_hides_nobody_whose_address_it_holds() {
    let cell = crowd(150, 120, 2, 100, 7);
    assert!(cell.searches.found >= 99, "{cell:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let [one, other] = [3, 3].map(|seed| serde_json::to_string(&find(40, 60, seed)).unwrap_or_default());
    assert_eq!(one, other);
}
