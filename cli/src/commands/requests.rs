//! What strangers asked, and who is kept out: requests, accept, decline, block, unblock, blocked.

use twocan_control::{Decline as DeclineCall, Handle, Request, RequestAnswer};

use crate::args::Decline;
use crate::choose::{self, Declined, Which};
use crate::exit::{Exit, Failure};
use crate::format::{self, Style, clean_line};
use crate::output::Out;

/// Lists requests.
pub async fn requests<H: Handle>(node: &H, out: &mut Out) -> Result<Exit, Failure> {
    let requests = node.requests().await?;
    let style = Style::of(out);
    out.show(&requests, |requests| format::friend::requests(requests, style))?;
    Ok(Exit::Ok)
}

/// Accepts a request.
pub async fn accept<H: Handle>(
    node: &H,
    who: Option<&str>,
    name: Option<String>,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let requests = node.requests().await?;
    let request = choose::request(&requests, who)?;
    let shown = clean_line(name.as_deref().unwrap_or(&request.name));
    node.answer_request(&request.id, RequestAnswer::Accept { name }).await?;
    out.done(&format!("{shown} is your friend now."))?;
    Ok(Exit::Ok)
}

/// Declines a ringing call or a request.
pub async fn decline<H: Handle>(node: &H, decline: Decline, out: &mut Out) -> Result<Exit, Failure> {
    let calls = if decline.request { Vec::new() } else { node.calls().await? };
    // A text goes to a caller: requests carry none back.
    let only_calls = decline.call || decline.text.is_some();
    let requests = if only_calls { Vec::new() } else { node.requests().await? };
    let who = decline.who.as_deref();
    let meant = match (only_calls, decline.request) {
        (true, _) => choose::call(&calls, Which::RingingHere, who).map(Declined::Call)?,
        (_, true) => choose::request(&requests, who).map(Declined::Request)?,
        _ => choose::declined(&calls, &requests, who)?,
    };
    match meant {
        Declined::Call(call) => {
            node.decline_call(&call.id, DeclineCall { text: decline.text }).await?;
            out.done(&format!("Declined the call of {}.", clean_line(&call.friend_name)))?;
        }
        Declined::Request(request) => {
            node.answer_request(&request.id, RequestAnswer::Decline).await?;
            out.done(&format!(
                "Declined the request of {}. They may ask again; `twocan block` stops that.",
                clean_line(&request.name)
            ))?;
        }
    }
    Ok(Exit::Ok)
}

/// Blocks whoever is meant: a request comes first, then friends, ids and addresses.
pub async fn block<H: Handle>(node: &H, who: &str, out: &mut Out) -> Result<Exit, Failure> {
    let requests = node.requests().await?;
    match choose::request(&requests, Some(who)) {
        Ok(Request { id, .. }) => node.answer_request(id, RequestAnswer::Block).await?,
        Err(failure) if failure.exit == Exit::NotFound => node.block(who).await?,
        Err(failure) => return Err(failure),
    }
    out.done(&format!(
        "{} is blocked, and is not told. Your address is another one now (`twocan id`).",
        clean_line(who)
    ))?;
    Ok(Exit::Ok)
}

/// Lifts a block.
pub async fn unblock<H: Handle>(node: &H, id: &str, out: &mut Out) -> Result<Exit, Failure> {
    let blocked = node.blocked().await?;
    let word = id.to_ascii_lowercase();
    let found: Vec<&String> = blocked.iter().filter(|blocked| word.len() >= 4 && blocked.starts_with(&word)).collect();
    match found.as_slice() {
        [one] => node.unblock(one).await?,
        [] => {
            return Err(Failure::new(Exit::NotFound, format!("{} is not blocked", clean_line(id)))
                .hint("`twocan blocked` lists the ids"));
        }
        _ => return Err(Failure::new(Exit::Ambiguous, format!("more than one blocked id begins with {word}"))),
    }
    out.done("The block is lifted. They are not a friend by that: add them, or let them ask.")?;
    Ok(Exit::Ok)
}

/// Who is blocked.
pub async fn blocked<H: Handle>(node: &H, out: &mut Out) -> Result<Exit, Failure> {
    let blocked = node.blocked().await?;
    let person = out.terminal();
    out.show(&blocked, |blocked| match blocked.as_slice() {
        [] if person => "Nobody is blocked.\n".to_owned(),
        ids => ids.iter().map(|id| format!("{id}\n")).collect(),
    })?;
    Ok(Exit::Ok)
}
