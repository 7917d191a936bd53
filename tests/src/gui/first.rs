//! The first minutes of a person with the desktop program: start a node, add a friend, accept one.

use anyhow::Result;

use super::{Desktop, Thing};

/// From an empty home to a window with a node, in the steps that the program asks for.
///
/// # Errors
/// What did not happen.
pub fn start(desk: &mut Desktop, name: &str) -> Result<()> {
    let first = desk.until("the first page", |desk| {
        desk.things("root").into_iter().find(|thing| thing.says("Get started") || thing.says("Start it"))
    })?;
    desk.click("root", &first.name)?;
    if first.says("Get started") {
        desk.see("root", "What is your name?")?;
        desk.write(name)?;
        desk.click("root", "Continue")?;
        desk.see("root", "Copy address")?;
        desk.click("root", "Continue")?;
        desk.click("root", "Start using twocan")?;
    }
    desk.see("root", "Add a friend").map(drop)
}

/// Asks the owner of an address to be a friend.
///
/// # Errors
/// What did not happen.
pub fn add(desk: &mut Desktop, address: &str) -> Result<()> {
    desk.click("root", "Add a friend")?;
    desk.see("root", "Cancel")?;
    desk.write(address)?;
    let ask = |thing: &Thing| !thing.off && ["Ask", "Send request"].contains(&thing.name.as_str());
    desk.click_on("root", "the button that asks", ask)
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
