//! The shared screen: what there is to share, how it is captured, and how it is sent so that text stays sharp.
//!
//! ```text
//! Grab (X11, the desktop's portal, synthetic page) ─▶ Sender's thread: only what changed, quantiser bounded ─▶ Outgoing::Frame (Kind::Screen)
//! ```
//!
//! A screen differs from a camera in all that matters: it stands still for most of the time, then changes at once, and
//! its letters must be legible. So frames go out on change only, the quantiser is bounded, and where the bitrate does
//! not suffice, frames come later instead of getting worse; only far below that the picture is made smaller.

mod font;
pub mod page;
#[cfg(target_os = "linux")]
mod pixels;
#[cfg(target_os = "linux")]
mod portal;
mod rate;
mod sender;
#[cfg(target_os = "linux")]
mod x11;

use super::Error;
use super::picture::Picture;

#[cfg(target_os = "linux")]
pub use portal::{Dialog, Kinds, Pick};
pub use sender::Settings;

/// What to share.
///
/// Under Wayland only the desktop hands out pictures of its screens and windows, to whom the person lets in its own
/// dialog: there, a whole screen and a window that is none of XWayland mean that dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScreenSource {
    /// A whole screen: its number in [`Offer::screens`], or the primary one.
    Screen(Option<usize>),
    /// A window: its exact title, or a part of it that no other has, or its id as [`Offer::windows`] gives it.
    Window(String),
    /// What the person chooses in the desktop's dialog ([`Offer::dialog`]).
    #[cfg(target_os = "linux")]
    Dialog(Dialog),
    /// A page of text that scrolls by itself, the same for the same seed; see [`page`].
    Synthetic {
        /// Chooses the words.
        seed: u64,
    },
}

impl ScreenSource {
    /// The same, with a file that keeps the permit to share once more what is chosen now ([`Dialog::permit`]), where it is
    /// the desktop that asks.
    #[must_use]
    pub fn with_permit(self, file: std::path::PathBuf) -> Self {
        #[cfg(target_os = "linux")]
        return match self {
            Self::Dialog(dialog) => Self::Dialog(Dialog { permit: Some(file), ..dialog }),
            Self::Screen(number) if wayland() => Self::Dialog(Dialog { permit: Some(file), ..whole(number) }),
            other => other,
        };
        #[cfg(not(target_os = "linux"))]
        {
            drop(file);
            self
        }
    }
}

/// The dialog that stands for a whole screen.
#[cfg(target_os = "linux")]
fn whole(number: Option<usize>) -> Dialog {
    // Who says no more than "the screen" may also mean a window.
    Dialog { pick: if number.is_some() { Pick::Screen } else { Pick::Any }, ..Dialog::default() }
}

/// A screen that can be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Counts from 0.
    pub number: usize,
    /// What the system calls it ("eDP-1").
    pub name: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Whether it is the one that is shared unless another is asked for.
    pub primary: bool,
}

/// A window that can be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Names it as long as it exists ("0x2a00007").
    pub id: String,
    /// Its title; foreign text, cut to [`MAX_TITLE`] characters.
    pub title: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// Everything that can be shared at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Whole screens.
    pub screens: Vec<Screen>,
    /// Windows with a title, the uppermost first.
    pub windows: Vec<Window>,
    /// The desktop asks by a dialog of its own ([`ScreenSource::Dialog`]), and this is what can be chosen there.
    #[cfg(target_os = "linux")]
    pub dialog: Option<Kinds>,
}

/// Longest title, in characters: what fits on a line.
pub const MAX_TITLE: usize = 200;
/// Most windows that are listed: more cannot be chosen from.
pub const MAX_WINDOWS: usize = 200;

/// What came of looking at the screen.
#[derive(Debug)]
pub(crate) enum Grabbed {
    /// It looks different from the last time.
    New(Picture),
    /// It looks as before.
    Same,
}

/// Looks at what is shared. Called a few times a second, never from two threads.
pub(crate) trait Grab: Send {
    /// Looks now ([`crate::now_ns`]). After `fresh` the next look gives a picture, changed or not.
    fn grab(&mut self, now_ns: u64) -> Result<Grabbed, Error>;

    /// Forgets what was given last.
    fn fresh(&mut self);

    /// Why there will never be another picture, if that is so: what `grab` would say.
    fn over(&mut self) -> Option<Error> {
        None
    }
}

/// What can be shared here. Under Wayland the desktop's portal is asked, which may take some seconds the first time.
///
/// # Errors
/// Why nothing can be: no display, or one that does not let programs look.
pub fn offer() -> Result<Offer, Error> {
    #[cfg(target_os = "linux")]
    if wayland() {
        // Programs under XWayland show their windows to each other.
        let windows = x11::offer().map(|offer| offer.windows).unwrap_or_default();
        return match portal::kinds() {
            Ok(kinds) => Ok(Offer { screens: Vec::new(), windows, dialog: Some(kinds) }),
            Err(error) if windows.is_empty() => Err(error),
            Err(_) => Ok(Offer { screens: Vec::new(), windows, dialog: None }),
        };
    }
    #[cfg(target_os = "linux")]
    return x11::offer();
    #[cfg(not(target_os = "linux"))]
    Err(unsupported())
}

/// Opens what shall be shared, for so many looks a second.
pub(crate) fn open(source: &ScreenSource, fps: u32) -> Result<Box<dyn Grab>, Error> {
    match source {
        ScreenSource::Synthetic { seed } => Ok(Box::new(page::Scrolling::new(*seed)?)),
        #[cfg(target_os = "linux")]
        ScreenSource::Dialog(dialog) => Ok(Box::new(portal::PortalGrab::new(dialog.clone(), fps)?)),
        #[cfg(target_os = "linux")]
        ScreenSource::Screen(number) if wayland() => Ok(Box::new(portal::PortalGrab::new(whole(*number), fps)?)),
        #[cfg(target_os = "linux")]
        ScreenSource::Screen(number) => Ok(Box::new(x11::X11Grab::screen(*number)?)),
        #[cfg(target_os = "linux")]
        ScreenSource::Window(title) => match x11::X11Grab::window(title) {
            Ok(grab) => Ok(Box::new(grab)),
            Err(_) if wayland() => {
                let dialog = Dialog { pick: Pick::Window, ..Dialog::default() };
                Ok(Box::new(portal::PortalGrab::new(dialog, fps)?))
            }
            Err(error) => Err(error),
        },
        #[cfg(not(target_os = "linux"))]
        ScreenSource::Screen(_) | ScreenSource::Window(_) => Err(unsupported()),
    }
}

/// Whether this is a Wayland session: an X11 program sees X11 windows only there, and screens as black.
#[cfg(target_os = "linux")]
fn wayland() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("WAYLAND_DISPLAY").is_some() || set("XDG_SESSION_TYPE").is_some_and(|kind| kind == "wayland")
}

#[cfg(not(target_os = "linux"))]
fn unsupported() -> Error {
    Error::Screen("screens of this system cannot be shared yet".into())
}

/// The window that is meant among those that are there.
fn choose<'a>(windows: &'a [Window], meant: &str) -> Result<&'a Window, Error> {
    if let Some(window) = windows.iter().find(|window| window.id == meant || window.title == meant) {
        return Ok(window);
    }
    let part = meant.to_lowercase();
    let mut fitting = windows.iter().filter(|window| window.title.to_lowercase().contains(&part));
    match (fitting.next(), fitting.next()) {
        (Some(window), None) if !part.is_empty() => Ok(window),
        (Some(_), Some(_)) => Err(Error::Screen(format!(
            "several windows have {meant:?} in their title; say more of it, or the id that `twocan screens` shows"
        ))),
        _ => Err(Error::Screen(format!("no window is called {meant:?}; `twocan screens` lists them"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_meant_by_its_id_its_title_or_a_part_that_no_other_has() {
        let window = |id: &str, title: &str| Window { id: id.into(), title: title.into(), width: 1, height: 1 };
        let windows =
            [window("0x1", "Notes"), window("0x2", "Notes (old)"), window("0x3", "Slides: Summer"), window("0x4", "")];
        let id = |meant: &str| choose(&windows, meant).map(|window| window.id.as_str());
        assert_eq!(id("Notes"), Ok("0x1"));
        assert_eq!(id("0x2"), Ok("0x2"));
        assert_eq!(id("summer"), Ok("0x3"));
        assert!(id("note").unwrap_err().to_string().contains("several"));
        assert!(id("winter").unwrap_err().to_string().contains("no window"));
        assert!(id("").is_ok_and(|id| id == "0x4"));
    }
}
