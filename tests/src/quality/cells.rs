//! The grid: what the lines of a call are put through.

use std::time::Duration;

use serde::Serialize;

use crate::lab::link::Conditions;

/// Round trip of the base cell.
pub const BASE_RTT: Duration = Duration::from_millis(20);

/// Other traffic of the same home, through the same uplink: UDP that does not give way, on and off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cross {
    /// Bits per second while it is on.
    pub rate: u64,
    /// How long it is on, and then off, seconds.
    pub period_s: f64,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    /// What it stands for.
    pub what: &'static str,
    /// The caller's line, each direction; the delay is in `rtt`.
    pub line: Conditions,
    /// Round trip without queues and jitter.
    pub rtt: Duration,
    /// What else goes through the caller's uplink.
    pub cross: Option<Cross>,
    /// Whether its voice is in the summary, so that it is worth more calls.
    pub judged: bool,
}

impl Cell {
    fn new(name: &'static str, what: &'static str, line: Conditions) -> Self {
        Self { name, what, line, rtt: BASE_RTT, cross: None, judged: false }
    }

    /// The caller's uplink for this cell; every other line has a quarter of the base's round trip.
    #[must_use]
    pub fn uplink(&self) -> Conditions {
        Conditions { delay: (self.rtt / 2).saturating_sub(BASE_RTT / 4), ..self.line }
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// All cells: each condition varied alone, then four combinations.
#[must_use]
pub fn grid() -> Vec<Cell> {
    let base = Conditions::default();
    let loss = |name, what, share: f64| {
        let judged = matches!(name, "loss_0" | "loss_10" | "loss_20" | "loss_30");
        Cell { judged, ..Cell::new(name, what, Conditions { loss: share, ..base }) }
    };
    // As netem and most tables do it: each packet's extra delay is by chance, so that packets overtake each other.
    let jitter = |extra| Conditions { jitter: ms(extra), overtake: true, ..base };
    let rate = |kbit: u64| Conditions { rate: Some(kbit * 1000), ..base };
    let mut cells = vec![
        loss("loss_0", "the base: 20 ms, nothing else", 0.0),
        loss("loss_2", "2 % lost at random", 0.02),
        loss("loss_5", "5 % lost at random", 0.05),
        loss("loss_10", "10 % lost at random", 0.10),
        loss("loss_20", "20 % lost at random", 0.20),
        loss("loss_30", "30 % lost at random", 0.30),
        Cell::new("loss_burst", "10 % lost in outages of 100 ms", Conditions { loss: 0.1, burst: ms(100), ..base }),
        Cell::new("jitter_30", "up to 30 ms of jitter", jitter(30)),
        Cell::new("jitter_100", "up to 100 ms of jitter", jitter(100)),
        Cell::new("rate_1000", "1 Mbit/s", rate(1000)),
        Cell::new("rate_300", "300 kbit/s", rate(300)),
        Cell::new("rate_64", "64 kbit/s", rate(64)),
        Cell { rtt: ms(150), ..Cell::new("rtt_150", "150 ms round trip", base) },
    ];
    cells.extend([
        Cell {
            rtt: ms(60),
            ..Cell::new(
                "hotel_wifi",
                "a crowded Wi-Fi: 60 ms, 60 ms jitter in order, 3 % lost, 1.5 Mbit/s",
                Conditions { loss: 0.03, jitter: ms(60), rate: Some(1_500_000), ..base },
            )
        },
        Cell {
            rtt: ms(80),
            ..Cell::new(
                "train",
                "a phone in a train: 80 ms, 50 ms jitter in order, outages of 400 ms (5 %), 1 Mbit/s with 600 ms of queue",
                Conditions {
                    loss: 0.05,
                    burst: ms(400),
                    jitter: ms(50),
                    rate: Some(1_000_000),
                    queue: Some(ms(600)),
                    ..base
                },
            )
        },
        Cell {
            rtt: ms(30),
            cross: Some(Cross { rate: 1_400_000, period_s: 4.0 }),
            ..Cell::new(
                "home_upload",
                "an upload in the same home: 2 Mbit/s with 500 ms of queue, 1.4 Mbit/s taken every other 4 s",
                Conditions { rate: Some(2_000_000), queue: Some(ms(500)), ..base },
            )
        },
        Cell {
            rtt: ms(600),
            ..Cell::new(
                "satellite",
                "a satellite: 600 ms, 20 ms jitter in order, 1 % lost, 2 Mbit/s",
                Conditions { loss: 0.01, jitter: ms(20), rate: Some(2_000_000), ..base },
            )
        },
    ]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_delays_add_up() {
        let cells = grid();
        for (at, cell) in cells.iter().enumerate() {
            assert!(cells[at + 1..].iter().all(|other| other.name != cell.name), "{}", cell.name);
            assert_eq!(cell.uplink().delay + BASE_RTT / 4, cell.rtt / 2, "{}", cell.name);
        }
        assert_eq!(cells.iter().filter(|cell| cell.judged).count(), 4);
    }
}
