//! `twocan screens`: what can be shared in a call.

use serde::Serialize;
use twocan_media::video::screen::{self, Offer};

use crate::exit::{Exit, Failure};
use crate::format::{Style, Table, clean_line};
use crate::output::Out;

/// A screen, as `--json` prints it.
#[derive(Serialize)]
struct Screen {
    number: usize,
    name: String,
    width: u32,
    height: u32,
    primary: bool,
}

/// A window, as `--json` prints it.
#[derive(Serialize)]
struct Window {
    id: String,
    title: String,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Shareable {
    screens: Vec<Screen>,
    windows: Vec<Window>,
}

impl From<Offer> for Shareable {
    fn from(offer: Offer) -> Self {
        let screen = |s: screen::Screen| Screen {
            number: s.number,
            name: s.name,
            width: s.width,
            height: s.height,
            primary: s.primary,
        };
        let window = |w: screen::Window| Window { id: w.id, title: w.title, width: w.width, height: w.height };
        Self {
            screens: offer.screens.into_iter().map(screen).collect(),
            windows: offer.windows.into_iter().map(window).collect(),
        }
    }
}

/// Lists screens and windows.
pub fn screens(out: &mut Out) -> Result<Exit, Failure> {
    let offer = screen::offer().map_err(|error| {
        Failure::new(Exit::Media, error.to_string()).hint("`--screen=synthetic` shares a page of text that scrolls")
    })?;
    let style = Style::of(out);
    out.show(&Shareable::from(offer), |shareable| list(shareable, style))?;
    Ok(Exit::Ok)
}

fn list(shareable: &Shareable, style: Style) -> String {
    let mut table = Table::new(["share with", "size", "what"]);
    for screen in &shareable.screens {
        let name = clean_line(&screen.name);
        table.row([
            format!("--screen={}", screen.number).into(),
            format!("{}x{}", screen.width, screen.height).into(),
            if screen.primary { format!("screen {name} (primary)") } else { format!("screen {name}") }.into(),
        ]);
    }
    for window in &shareable.windows {
        table.row([
            format!("--screen={}", window.id).into(),
            format!("{}x{}", window.width, window.height).into(),
            clean_line(&window.title).into(),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screens_and_windows_are_listed_by_what_shares_them() {
        let window = Window { id: "0x2a00007".into(), title: "No\u{1b}tes".into(), width: 640, height: 480 };
        let screen = Screen { number: 0, name: "eDP-1".into(), width: 1920, height: 1080, primary: true };
        let shareable = Shareable { screens: vec![screen], windows: vec![window] };
        let text = list(&shareable, Style::default());
        assert_eq!(text, "--screen=0\t1920x1080\tscreen eDP-1 (primary)\n--screen=0x2a00007\t640x480\tNo\u{fffd}tes\n");
    }
}
