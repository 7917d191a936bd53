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

/// What the desktop's own dialog lets people choose, as `--json` prints it.
#[derive(Serialize)]
struct Dialog {
    screens: bool,
    windows: bool,
}

#[derive(Serialize)]
struct Shareable {
    screens: Vec<Screen>,
    windows: Vec<Window>,
    /// Absent where the desktop does not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    dialog: Option<Dialog>,
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
        #[cfg(target_os = "linux")]
        let dialog = offer.dialog.map(|kinds| Dialog { screens: kinds.screens, windows: kinds.windows });
        #[cfg(not(target_os = "linux"))]
        let dialog = None;
        Self {
            dialog,
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
    if let Some(dialog) = &shareable.dialog {
        let what = match (dialog.screens, dialog.windows) {
            (true, false) => "a screen",
            (false, true) => "a window",
            _ => "a screen or window",
        };
        table.row(["--screen".into(), "".into(), format!("{what}, chosen in the desktop's dialog").into()]);
        table.row(["--screen=again".into(), "".into(), "what was chosen there the last time".into()]);
    }
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
        let mut shareable = Shareable { screens: vec![screen], windows: vec![window], dialog: None };
        let text = list(&shareable, Style::default());
        assert_eq!(text, "--screen=0\t1920x1080\tscreen eDP-1 (primary)\n--screen=0x2a00007\t640x480\tNo\u{fffd}tes\n");
        shareable.dialog = Some(Dialog { screens: true, windows: true });
        let text = list(&shareable, Style::default());
        assert!(text.starts_with("--screen\t\ta screen or window, chosen in the desktop's dialog\n"), "{text}");
    }
}
