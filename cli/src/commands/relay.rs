//! Relays: what this node carries for friends, and what friends carry for it.

use twocan_control::{Handle, RelayPolicy, SetRelay};

use crate::args::RelayAction;
use crate::exit::{Exit, Failure};
use crate::format::{self, Style};
use crate::output::Out;

/// Shows how relaying is, or sets whom this node relays for.
pub async fn relay<H: Handle>(node: &H, action: RelayAction, out: &mut Out) -> Result<Exit, Failure> {
    let serve = match action {
        RelayAction::Status => {
            let status = node.relay().await?;
            let style = Style::of(out);
            out.show(&status, |status| format::relay::status(status, style))?;
            return Ok(Exit::Ok);
        }
        RelayAction::Off => RelayPolicy::Off,
        RelayAction::Friends => RelayPolicy::Friends,
        RelayAction::Anyone => RelayPolicy::Anyone,
        RelayAction::Auto => RelayPolicy::Auto,
    };
    let status = node.set_relay(SetRelay { serve }).await?;
    out.show(&status, format::relay::chosen)?;
    Ok(Exit::Ok)
}
