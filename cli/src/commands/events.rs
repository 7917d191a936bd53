//! Everything that happens, as JSON lines.

use std::pin::pin;

use futures::StreamExt;
use twocan_control::{Event, Handle};

use crate::exit::{Exit, Failure};
use crate::output::{Out, reader_gone};

/// Follows the node until it stops, or until nobody reads what is written. A node that goes away without a word is a failure.
pub async fn events<H: Handle>(node: &H, out: &mut Out) -> Result<Exit, Failure> {
    let mut events = node.events().await?;
    let mut gone = pin!(reader_gone());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = &mut gone => return Ok(Exit::Ok),
        };
        let Some(event) = event else { break };
        out.json_line(&event)?;
        if event == Event::Stopping {
            return Ok(Exit::Ok);
        }
    }
    Err(Failure::new(Exit::NoNode, "the node went away, or this reader was too slow for it")
        .hint("ask for the state anew and follow again"))
}
