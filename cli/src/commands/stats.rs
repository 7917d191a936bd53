//! `twocan stats`: how running calls go, once or every second with a graph of the last minute.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use twocan_control::{CallState, Handle};

use crate::choose::{self, Which};
use crate::exit::{Exit, Failure};
use crate::format::quality::{self, Stats};
use crate::format::{Style, time};
use crate::live::graph::Graph;
use crate::output::{Out, reader_gone};

/// How often the numbers are asked for: the node makes them as often.
const EVERY: Duration = Duration::from_secs(1);

/// What `--json` prints.
#[derive(Serialize)]
struct Calls {
    calls: Vec<Stats>,
}

/// How calls go now.
pub async fn stats<H: Handle>(node: &H, who: Option<&str>, watching: bool, out: &mut Out) -> Result<Exit, Failure> {
    let calls = node.calls().await?;
    if watching {
        let id = choose::call(&calls, Which::Running, who)?.id.clone();
        return watch(node, &id, out).await;
    }
    let meant = choose::calls(&calls, Which::Running, who);
    if who.is_some() && meant.is_empty() {
        choose::call(&calls, Which::Running, who)?;
    }
    let now = time::unix_ms();
    let style = Style::of(out);
    let calls = Calls { calls: meant.into_iter().map(|call| Stats::of(call, now)).collect() };
    out.show(&calls, |calls| {
        let text: Vec<String> = calls.calls.iter().map(|stats| quality::call(stats, style)).collect();
        if text.is_empty() && style.terminal { "There is no call.\n".to_owned() } else { text.join("\n") }
    })?;
    Ok(Exit::Ok)
}

/// The numbers of one call every second, until it ends.
async fn watch<H: Handle>(node: &H, id: &str, out: &mut Out) -> Result<Exit, Failure> {
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut graph, mut drawn) = (Graph::default(), 0);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
            () = reader_gone(), if !out.terminal() => return Ok(Exit::Ok),
        }
        let call = node.call(id).await?;
        if call.state == CallState::Ended {
            return Ok(Exit::Ok);
        }
        let stats = Stats::of(&call, time::unix_ms());
        graph.push(call.quality.as_ref());
        let style = Style::of(out);
        if out.json() {
            out.json_line(&stats)?;
        } else if out.terminal() {
            let width = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns)).saturating_sub(1);
            let mut text = quality::call(&stats, style);
            for row in graph.rows(style, width) {
                text.push_str(&row);
                text.push('\n');
            }
            // Back to where the last picture began, and over it.
            let back = if drawn > 0 { format!("\x1b[{drawn}A\x1b[0J") } else { String::new() };
            drawn = text.lines().map(|line| rows_of(line, width + 1)).sum();
            out.text(&format!("{back}{text}"))?;
            std::io::stdout().flush()?;
        } else {
            out.text(&quality::call(&stats, style))?;
        }
    }
}

/// Rows that a line takes on a terminal so wide; colours take no room.
fn rows_of(line: &str, width: usize) -> usize {
    let (mut columns, mut escape) = (0_usize, false);
    for c in line.chars() {
        match c {
            '\x1b' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            _ => columns += 1,
        }
    }
    columns.div_ceil(width.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::rows_of;

    #[test]
    fn long_lines_take_more_rows_and_colours_none() {
        assert_eq!((rows_of("", 10), rows_of("0123456789", 10), rows_of("0123456789a", 10)), (1, 1, 2));
        assert_eq!(rows_of("\x1b[32m0123456789\x1b[0m", 10), 1);
    }
}
