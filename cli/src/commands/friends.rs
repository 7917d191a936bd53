//! Friends: add, friends, rename, verify, remove, lookup.

use futures::StreamExt;
use twocan_control::{AddFriend, Event, FriendState, FriendUpdate, Handle, LookupRequest, Privacy};

use crate::args::Add;
use crate::exit::{Exit, Failure};
use crate::format::{self, Style, clean_line};
use crate::output::Out;
use crate::prompt;

/// Asks somebody to be a friend.
pub async fn add<H: Handle>(node: &H, add: Add, out: &mut Out) -> Result<Exit, Failure> {
    // Followed before the request leaves, so that no answer is missed.
    let mut events = if add.wait { Some(node.events().await?) } else { None };
    let mut friend = node.add_friend(AddFriend { address: add.address, name: add.name, message: add.message }).await?;
    if let Some(events) = &mut events {
        while friend.state == FriendState::Requested {
            match events.next().await {
                Some(Event::Friend { friend: changed }) if changed.id == friend.id => friend = changed,
                Some(Event::FriendRemoved { id }) if id == friend.id => {
                    return Err(Failure::new(Exit::NotFound, "the request was withdrawn"));
                }
                Some(_) => {}
                None => return Err(Failure::new(Exit::NoNode, "the node went away; the request stays")),
            }
        }
    }
    out.show(&friend, |friend| {
        let name = clean_line(&friend.name);
        match friend.state {
            FriendState::Accepted => format!("{name} is your friend.\n"),
            FriendState::Requested => {
                format!("Asked {name}. It is delivered now or when they are next online; `twocan friends` shows how it stands.\n")
            }
        }
    })?;
    Ok(Exit::Ok)
}

/// Lists friends, or tells all about one.
pub async fn friends<H: Handle>(node: &H, who: Option<&str>, out: &mut Out) -> Result<Exit, Failure> {
    let style = Style::of(out);
    match who {
        Some(who) => out.show(&node.friend(who).await?, |friend| format::friend::one(friend, style))?,
        None => {
            let mut friends = node.friends().await?;
            friends.sort_by(|a, b| (!a.online, &a.name, &a.id).cmp(&(!b.online, &b.name, &b.id)));
            out.show(&friends, |friends| format::friend::list(friends, style))?;
        }
    }
    Ok(Exit::Ok)
}

/// Gives a friend another name here.
pub async fn rename<H: Handle>(node: &H, who: &str, name: String, out: &mut Out) -> Result<Exit, Failure> {
    let friend = node.update_friend(who, FriendUpdate { name: Some(name), ..FriendUpdate::default() }).await?;
    out.show(&friend, |friend| format!("Now called {}.\n", clean_line(&friend.name)))?;
    Ok(Exit::Ok)
}

/// Shows the safety words, and remembers that they were compared.
pub async fn verify<H: Handle>(node: &H, who: &str, yes: bool, undo: bool, out: &mut Out) -> Result<Exit, Failure> {
    let mut friend = node.friend(who).await?;
    let name = clean_line(&friend.name);
    if !out.json() {
        out.line(&format!("Safety words with {name}: {}", clean_line(&friend.safety_words)))?;
    }
    let question = format!("Read them to each other in a call. Does {name} have the same six words?");
    let verified = !undo && (yes || (out.terminal() && prompt::confirm(&question)?));
    if !verified && !undo && !friend.verified && !out.terminal() {
        // Nobody could be asked; a script must not take that for a yes.
        return Err(Failure::new(Exit::Conflict, format!("{name} is not verified"))
            .hint("compare the words by voice, then `twocan verify NAME --yes`"));
    }
    if verified || undo {
        friend = node
            .update_friend(&friend.id, FriendUpdate { verified: Some(verified), ..FriendUpdate::default() })
            .await?;
    }
    let said = match (undo, friend.verified) {
        (true, _) => format!("{name} is no longer marked as verified.\n"),
        (false, true) => format!("{name} is verified.\n"),
        (false, false) => format!("{name} is not verified. If the words differ, somebody sits between you.\n"),
    };
    out.show(&friend, |_| said)?;
    Ok(Exit::Ok)
}

/// Hides the own address from one friend or from everybody, or says from whom it is hidden.
pub async fn hide<H: Handle>(
    node: &H,
    who: Option<&str>,
    all: bool,
    hidden: bool,
    out: &mut Out,
) -> Result<Exit, Failure> {
    match who {
        Some(who) => {
            let update = FriendUpdate { hide_address: Some(hidden), ..FriendUpdate::default() };
            let friend = node.update_friend(who, update).await?;
            out.show(&friend, |friend| {
                let name = clean_line(&friend.name);
                if hidden {
                    format!(
                        "Your address is hidden from {name}: links and calls with {name} run through relays of your other \
                         friends.\nWhere you were until now {name} may remember; after `twocan down` and `twocan up` \
                         nothing of that leads to you.\n"
                    )
                } else {
                    format!("{name} may know your address again.\n")
                }
            })?;
        }
        None if all || !hidden => {
            let privacy = node.set_privacy(Privacy { hide_address: hidden }).await?;
            out.show(&privacy, |_| {
                if hidden {
                    "Your address is hidden from everybody; links and calls need relays. A relay sees whom it serves: name \
                     the friends whose relays you trust with `twocan hide NAME --off`.\n"
                        .to_owned()
                } else {
                    "Your address is hidden only from those friends from whom you hid it by name.\n".to_owned()
                }
            })?;
        }
        None => {
            let privacy = node.privacy().await?;
            let friends = node.friends().await?;
            let names = |hidden: bool| {
                let chosen = friends.iter().filter(|friend| friend.hide_address == hidden);
                chosen.map(|friend| clean_line(&friend.name).to_string()).collect::<Vec<_>>().join(", ")
            };
            let (hidden, shown) = (names(true), names(false));
            out.show(&privacy, |privacy| match (privacy.hide_address, hidden.is_empty(), shown.is_empty()) {
                (false, true, _) => "Your address is hidden from nobody.\n".to_owned(),
                (false, false, _) => format!("Your address is hidden from: {hidden}\n"),
                (true, _, true) => "Your address is hidden from everybody.\n".to_owned(),
                (true, _, false) => format!("Your address is hidden from everybody but: {shown}\n"),
            })?;
        }
    }
    Ok(Exit::Ok)
}

/// Ends a friendship, or withdraws a request.
pub async fn remove<H: Handle>(node: &H, who: &str, out: &mut Out) -> Result<Exit, Failure> {
    let friend = node.friend(who).await?;
    node.remove_friend(&friend.id).await?;
    out.done(&format!("{} is removed.", clean_line(&friend.name)))?;
    Ok(Exit::Ok)
}

/// Looks a slot up afresh.
pub async fn lookup<H: Handle>(node: &H, whom: String, out: &mut Out) -> Result<Exit, Failure> {
    let lookup = node.lookup(LookupRequest { whom }).await?;
    out.show(&lookup, format::node::lookup)?;
    Ok(Exit::Ok)
}
