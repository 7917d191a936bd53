//! Calls seen from outside: calls, hangup, mute, unmute, video, hold. Talking itself is in `talk`.

use twocan_control::{CallState, CallUpdate, Handle};

use crate::args::Switch;
use crate::choose::{self, Which};
use crate::exit::{Exit, Failure};
use crate::format::call::Calls;
use crate::format::{self, Style, clean_line};
use crate::output::Out;

/// Running calls and the history.
pub async fn calls<H: Handle>(node: &H, missed: bool, limit: usize, out: &mut Out) -> Result<Exit, Failure> {
    let running = if missed { Vec::new() } else { node.calls().await? };
    let history = node.history().await?.into_iter().filter(|entry| !missed || format::call::missed(entry));
    let calls = Calls {
        running: running.into_iter().filter(|call| call.state != CallState::Ended).collect(),
        history: history.take(limit).collect(),
    };
    let style = Style::of(out);
    out.show(&calls, |calls| format::call::list(calls, style))?;
    Ok(Exit::Ok)
}

/// Ends a call, or gives up calling.
pub async fn hangup<H: Handle>(node: &H, who: Option<&str>, out: &mut Out) -> Result<Exit, Failure> {
    let calls = node.calls().await?;
    let call = choose::call(&calls, Which::Running, who)?;
    node.hangup(&call.id).await?;
    out.done(&format!("The call with {} is over.", clean_line(&call.friend_name)))?;
    Ok(Exit::Ok)
}

async fn update<H: Handle>(
    node: &H,
    who: Option<&str>,
    update: CallUpdate,
    said: &str,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let calls = node.calls().await?;
    let call = choose::call(&calls, Which::Answered, who)?;
    let call = node.update_call(&call.id, update).await?;
    out.show(&call, |call| format!("{said} (call with {}).\n", clean_line(&call.friend_name)))?;
    Ok(Exit::Ok)
}

/// Mutes or unmutes.
pub async fn mute<H: Handle>(node: &H, muted: bool, who: Option<&str>, out: &mut Out) -> Result<Exit, Failure> {
    let change = CallUpdate { muted: Some(muted), ..CallUpdate::default() };
    update(node, who, change, if muted { "Muted" } else { "Unmuted" }, out).await
}

/// Video on or off.
pub async fn video<H: Handle>(node: &H, switch: Switch, who: Option<&str>, out: &mut Out) -> Result<Exit, Failure> {
    let on = switch == Switch::On;
    let change = CallUpdate { video: Some(on), ..CallUpdate::default() };
    update(node, who, change, if on { "Video is on" } else { "Video is off" }, out).await
}

/// Shares the screen that the client in the seat was started with, or stops it.
pub async fn screen<H: Handle>(node: &H, switch: Switch, who: Option<&str>, out: &mut Out) -> Result<Exit, Failure> {
    let on = switch == Switch::On;
    let change = CallUpdate { screen: Some(on), ..CallUpdate::default() };
    update(node, who, change, if on { "The screen is shared" } else { "The screen is not shared any more" }, out).await
}

/// Holds or resumes.
pub async fn hold<H: Handle>(node: &H, held: bool, who: Option<&str>, out: &mut Out) -> Result<Exit, Failure> {
    let change = CallUpdate { held: Some(held), ..CallUpdate::default() };
    update(node, who, change, if held { "On hold" } else { "Off hold" }, out).await
}
