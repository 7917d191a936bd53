//! Everything that happens, as JSON lines.

use futures::StreamExt;
use twocan_control::{Event, Handle};

use crate::exit::{Exit, Failure};
use crate::output::Out;

/// Follows the node until it stops. A node that goes away without a word is a failure.
pub async fn events<H: Handle>(node: &H, out: &mut Out) -> Result<Exit, Failure> {
    let mut events = node.events().await?;
    while let Some(event) = events.next().await {
        out.json_line(&event)?;
        if event == Event::Stopping {
            return Ok(Exit::Ok);
        }
    }
    Err(Failure::new(Exit::NoNode, "the node went away, or this reader was too slow for it")
        .hint("ask for the state anew and follow again"))
}
