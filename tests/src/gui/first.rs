//! The first minutes of a person with the desktop program: start a node, add a friend, accept one.

use anyhow::Result;

use super::Desktop;

/// From an empty home to a window with a node.
///
/// # Errors
/// What did not happen.
pub fn start(desk: &mut Desktop, _name: &str) -> Result<()> {
    desk.see("root", "Your node does not run")?;
    desk.click("root", "Start it")?;
    desk.see("root", "Add a friend").map(drop)
}

/// Asks the owner of an address to be a friend.
///
/// # Errors
/// What did not happen.
pub fn add(desk: &mut Desktop, address: &str) -> Result<()> {
    desk.click("root", "Add a friend")?;
    desk.see("root", "Ask")?;
    desk.write(address)?;
    desk.click_on("root", "Ask", |thing| thing.name == "Ask" && !thing.off)
}

/// Accepts the first request.
///
/// # Errors
/// What did not happen.
pub fn accept(desk: &mut Desktop) -> Result<()> {
    desk.click("root", "Accept")
}

/// Opens a friend's page.
///
/// # Errors
/// What did not happen.
pub fn choose(desk: &mut Desktop, friend: &str) -> Result<()> {
    desk.click("root", friend)
}
