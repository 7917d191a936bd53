//! Relays.

use twocan_control::{RelayPolicy, RelayStatus, RelayTraffic};

use super::table::Table;
use super::{Style, clean_line};

fn policy(serve: RelayPolicy) -> &'static str {
    match serve {
        RelayPolicy::Auto => "auto: friends, where the internet can reach this node",
        RelayPolicy::Off => "off",
        RelayPolicy::Friends => "friends",
        RelayPolicy::Anyone => "anyone",
    }
}

/// Bytes as people read them (decimal units).
fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A rate as people read it.
fn rate(bytes_per_second: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let megabits = bytes_per_second as f64 * 8.0 / 1e6;
    format!("{megabits:.1} Mbit/s")
}

fn traffic(of: &RelayTraffic) -> [String; 3] {
    [of.allocations.to_string(), rate(of.bytes_per_second), bytes(of.bytes_today)]
}

/// What was chosen.
pub fn chosen(status: &RelayStatus) -> String {
    let now = if status.serving { "This node relays now." } else { "This node does not relay at present." };
    format!("Relaying is set to {}. {now} {}\n", policy(status.serve), status.reason)
}

/// How relaying is.
pub fn status(status: &RelayStatus, style: Style) -> String {
    let serving = if status.serving { "yes" } else { "no" };
    let mut text = format!("Relays for others: {serving} ({}). {}\n", policy(status.serve), status.reason);
    if status.serving {
        text.push_str(&format!("UDP {}, TLS {}. {}\n", list(&status.udp), list(&status.tls), status.tls_note));
    }
    let [allocations, now, today] = traffic(&status.total);
    let limits = &status.limits;
    text.push_str(&format!(
        "In use {allocations} of {} allocations, {now} of {}, {today} of {} today; a friend gets a quarter at most.\n",
        limits.allocations,
        rate(limits.bytes_per_second),
        bytes(limits.bytes_per_day)
    ));
    if !status.by_me.is_empty() {
        let mut table = Table::new(["CARRIED FOR", "ALLOCATIONS", "NOW", "TODAY"]);
        for used in &status.by_me {
            let name = match (used.guest, clean_line(&used.name)) {
                (true, _) => format!("a guest ({})", used.id.chars().take(8).collect::<String>()),
                (false, name) => name,
            };
            let [allocations, now, today] = traffic(&used.traffic);
            table.row([name.into(), allocations.into(), now.into(), today.into()]);
        }
        text.push_str(&table.render(style));
    }
    if status.for_me.is_empty() {
        text.push_str("No friend's node relays for you at present.\n");
    } else {
        let mut table = Table::new(["CARRIED BY", "OVER", "READY", "ALLOCATIONS", "NOW", "TODAY"]);
        for relay in &status.for_me {
            let over = match (relay.udp, relay.tls) {
                (true, true) => "udp, tls",
                (true, false) => "udp",
                (false, true) => "tls",
                (false, false) => "links only",
            };
            let [allocations, now, today] = traffic(&relay.traffic);
            let ready = if relay.ready { "yes" } else { "no" };
            let name = clean_line(&relay.name);
            table.row([name.into(), over.into(), ready.into(), allocations.into(), now.into(), today.into()]);
        }
        text.push_str(&table.render(style));
    }
    text
}

fn list(of: &[String]) -> String {
    if of.is_empty() { "nowhere".to_owned() } else { of.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_decimal_units() {
        for (count, text) in [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (20_000_000_000, "20.0 GB")] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(rate(2_500_000), "20.0 Mbit/s");
    }
}
