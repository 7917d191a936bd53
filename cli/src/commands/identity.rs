//! Who I am: id, name, phrase.

use twocan_control::{Handle, Profile};

use crate::args::{Id, IdAction};
use crate::exit::{Exit, Failure};
use crate::format::{self, Style};
use crate::output::Out;
use crate::{prompt, qr};

/// Shows the address, or makes a new contact token.
pub async fn id<H: Handle>(node: &H, id: &Id, out: &mut Out) -> Result<Exit, Failure> {
    let identity = match id.action {
        Some(IdAction::Rotate) => node.rotate_token().await?,
        None => node.identity().await?,
    };
    if out.json() {
        out.value(&identity)?;
        return Ok(Exit::Ok);
    }
    if matches!(id.action, Some(IdAction::Rotate)) && out.terminal() {
        out.line("Your new address. The old one no longer works for strangers; friends stay friends.\n")?;
    }
    let style = Style::of(out);
    if id.uri {
        out.line(&identity.uri)?;
    } else {
        out.text(&format::friend::identity(&identity, style))?;
    }
    if id.qr {
        let text = if id.uri { identity.uri.clone() } else { identity.address.to_uppercase() };
        out.text(&qr::draw(&text, style.colour)?)?;
    }
    Ok(Exit::Ok)
}

/// Shows or sets the own name.
pub async fn name<H: Handle>(node: &H, name: Option<String>, out: &mut Out) -> Result<Exit, Failure> {
    let identity = match name {
        Some(name) => node.set_profile(Profile { name }).await?,
        None => node.identity().await?,
    };
    out.show(&identity, |identity| format!("{}\n", format::clean_line(&identity.name)))?;
    Ok(Exit::Ok)
}

/// Shows the 24 words, after a warning.
pub async fn phrase<H: Handle>(node: &H, out: &mut Out) -> Result<Exit, Failure> {
    let warned = "Whoever reads these words is you. Is nobody looking?";
    if out.terminal() && !out.json() && !prompt::confirm(warned)? {
        return Err(Failure::new(Exit::Interrupted, "not shown"));
    }
    let phrase = node.phrase().await?;
    if out.json() {
        out.value(&phrase)?;
    } else if out.terminal() {
        for (index, words) in phrase.words.split(' ').collect::<Vec<_>>().chunks(6).enumerate() {
            let line: Vec<String> =
                words.iter().enumerate().map(|(n, word)| format!("{:2} {word:<10}", index * 6 + n + 1)).collect();
            out.line(line.concat().trim_end())?;
        }
    } else {
        out.line(&phrase.words)?;
    }
    Ok(Exit::Ok)
}
