//! Screens and windows of an X11 display, by shared memory (MIT-SHM) where the display is on this machine.
//!
//! A window is redirected (Composite), so that it can be seen while others cover it; the pointer is drawn in (XFixes),
//! because what people point at is half of what they show. Which part of the display is a screen, RandR says.

mod image;
#[cfg(test)]
mod tests;

use x11rb::connection::Connection;
use x11rb::errors::{ConnectionError, ReplyError, ReplyOrIdError};
use x11rb::protocol::ErrorKind;
use x11rb::protocol::composite::{ConnectionExt as _, Redirect};
use x11rb::protocol::randr::ConnectionExt as _;
use x11rb::protocol::xfixes::ConnectionExt as _;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, MapState, Pixmap, Window as WindowId};
use x11rb::rust_connection::RustConnection;

use super::pixels::{MAX_RAW_SIDE, Order, convert};
use super::{Error, Grab, Grabbed, MAX_TITLE, MAX_WINDOWS, Offer, Screen, Window, choose};
use image::{Images, Pointer};

/// What a window says of itself is read up to this many 32-bit words.
const MAX_PROPERTY: u32 = 1024;

/// A connection to the display, and what its server can do.
struct Display {
    connection: RustConnection,
    root: WindowId,
    composite: bool,
    pointer: bool,
}

/// A rectangle of the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    x: i16,
    y: i16,
    width: u16,
    height: u16,
}

impl From<ConnectionError> for Error {
    fn from(error: ConnectionError) -> Self {
        Self::ScreenOver(format!("the display does not answer any more ({error})"))
    }
}

impl From<ReplyError> for Error {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::ConnectionError(error) => error.into(),
            ReplyError::X11Error(error) if matches!(error.error_kind, ErrorKind::Window | ErrorKind::Drawable) => {
                Self::ScreenOver("the window was closed".into())
            }
            ReplyError::X11Error(error) => Self::Screen(format!("the display refuses ({:?})", error.error_kind)),
        }
    }
}

impl From<ReplyOrIdError> for Error {
    fn from(error: ReplyOrIdError) -> Self {
        match error {
            ReplyOrIdError::ConnectionError(error) => error.into(),
            ReplyOrIdError::X11Error(error) => ReplyError::X11Error(error).into(),
            ReplyOrIdError::IdsExhausted => Self::Screen("the display has no names left".into()),
        }
    }
}

fn no_display(why: &str) -> Error {
    Error::Screen(if std::env::var_os("DISPLAY").is_none_or(|display| display.is_empty()) {
        "there is no display to share (DISPLAY is not set)".into()
    } else {
        format!("the display cannot be opened ({why})")
    })
}

impl Display {
    /// Opens the named display (":1"), or the one of the environment.
    fn open(name: Option<&str>) -> Result<Self, Error> {
        let (connection, number) = RustConnection::connect(name).map_err(|error| no_display(&error.to_string()))?;
        let setup = connection.setup();
        let Some(screen) = setup.roots.get(number) else { return Err(no_display("it has no screen")) };
        let root = screen.root;
        image::check(setup, screen)?;
        let composite = connection.composite_query_version(0, 4)?.reply().is_ok();
        let pointer = connection.xfixes_query_version(5, 0)?.reply().is_ok();
        Ok(Self { connection, root, composite, pointer })
    }

    fn atom(&self, name: &[u8]) -> Result<u32, Error> {
        Ok(self.connection.intern_atom(false, name)?.reply()?.atom)
    }

    /// The screens with their areas.
    fn screens(&self) -> Result<Vec<(Screen, Area)>, Error> {
        let mut screens = Vec::new();
        if let Ok(reply) = self.connection.randr_get_monitors(self.root, true)?.reply() {
            for monitor in reply.monitors.iter().filter(|monitor| monitor.width > 1 && monitor.height > 1) {
                let name = self.connection.get_atom_name(monitor.name)?.reply()?.name;
                let number = screens.len();
                let area = Area { x: monitor.x, y: monitor.y, width: monitor.width, height: monitor.height };
                let screen = Screen {
                    number,
                    name: title(&name),
                    width: u32::from(area.width),
                    height: u32::from(area.height),
                    primary: monitor.primary,
                };
                screens.push((screen, area));
            }
        }
        if screens.is_empty() {
            let whole = self.geometry(self.root)?;
            let (width, height) = (u32::from(whole.width), u32::from(whole.height));
            screens.push((Screen { number: 0, name: "screen".into(), width, height, primary: true }, whole));
        }
        if !screens.iter().any(|(screen, _)| screen.primary) {
            screens[0].0.primary = true;
        }
        Ok(screens)
    }

    /// Windows with a title, the uppermost first: those that the window manager lists, else the root's children.
    fn windows(&self) -> Result<Vec<Window>, Error> {
        let mut ids = Vec::new();
        for list in [&b"_NET_CLIENT_LIST_STACKING"[..], b"_NET_CLIENT_LIST"] {
            let atom = self.atom(list)?;
            let reply = self.connection.get_property(false, self.root, atom, AtomEnum::WINDOW, 0, MAX_PROPERTY)?;
            ids = reply.reply()?.value32().map(Iterator::collect).unwrap_or_default();
            if !ids.is_empty() {
                break;
            }
        }
        if ids.is_empty() {
            ids = self.connection.query_tree(self.root)?.reply()?.children;
        }
        let mut windows = Vec::new();
        for &id in ids.iter().rev() {
            if windows.len() >= MAX_WINDOWS {
                break;
            }
            // A window may be gone by now.
            if let Ok(Some(window)) = self.describe(id) {
                windows.push(window);
            }
        }
        Ok(windows)
    }

    fn describe(&self, id: WindowId) -> Result<Option<Window>, Error> {
        let attributes = self.connection.get_window_attributes(id)?.reply()?;
        let title = self.title(id)?;
        if title.is_empty() || attributes.map_state != MapState::VIEWABLE {
            return Ok(None);
        }
        let area = self.geometry(id)?;
        let (width, height) = (u32::from(area.width), u32::from(area.height));
        Ok((width > 1 && height > 1).then_some(Window { id: format!("{id:#x}"), title, width, height }))
    }

    fn title(&self, id: WindowId) -> Result<String, Error> {
        let (name, utf8) = (self.atom(b"_NET_WM_NAME")?, self.atom(b"UTF8_STRING")?);
        for (property, kind) in [(name, utf8), (AtomEnum::WM_NAME.into(), AtomEnum::ANY.into())] {
            let reply = self.connection.get_property(false, id, property, kind, 0, MAX_PROPERTY)?.reply()?;
            if !reply.value.is_empty() {
                return Ok(title(&reply.value));
            }
        }
        Ok(String::new())
    }

    fn geometry(&self, id: WindowId) -> Result<Area, Error> {
        let geometry = self.connection.get_geometry(id)?.reply()?;
        Ok(Area { x: geometry.x, y: geometry.y, width: geometry.width, height: geometry.height })
    }
}

/// Foreign bytes as a title on one line.
fn title(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TITLE).collect::<String>().trim().to_owned()
}

/// What can be shared on this display.
pub(super) fn offer() -> Result<Offer, Error> {
    let display = Display::open(None)?;
    let screens = display.screens()?.into_iter().map(|(screen, _)| screen).collect();
    Ok(Offer { screens, windows: display.windows()?, dialog: None })
}

/// What is looked at.
enum Target {
    Screen { number: usize },
    Window { id: WindowId, pixmap: Option<(Pixmap, u16, u16)> },
}

/// Looks at a screen or a window.
pub(super) struct X11Grab {
    display: Display,
    target: Target,
    images: Images,
    /// What was given last: the raw pixels and the pointer in them.
    last: Vec<u8>,
    last_area: Option<Area>,
}

impl X11Grab {
    /// A whole screen: its number, or the primary one.
    pub(super) fn screen(number: Option<usize>) -> Result<Self, Error> {
        Self::screen_of(Display::open(None)?, number)
    }

    fn screen_of(display: Display, number: Option<usize>) -> Result<Self, Error> {
        let screens = display.screens()?;
        let chosen = match number {
            Some(number) => screens.get(number),
            None => screens.iter().find(|(screen, _)| screen.primary),
        };
        let Some((screen, _)) = chosen else {
            let many = screens.len();
            let (number, last) = (number.unwrap_or_default(), many.saturating_sub(1));
            return Err(Error::Screen(format!("there is no screen {number}: they are numbered 0 to {last}")));
        };
        let target = Target::Screen { number: screen.number };
        Self::new(display, target)
    }

    /// A window: its title or id.
    pub(super) fn window(meant: &str) -> Result<Self, Error> {
        Self::window_of(Display::open(None)?, meant)
    }

    fn window_of(display: Display, meant: &str) -> Result<Self, Error> {
        let windows = display.windows()?;
        let window = choose(&windows, meant)?;
        let id = window.id.strip_prefix("0x").and_then(|id| WindowId::from_str_radix(id, 16).ok());
        let id = id.ok_or_else(|| Error::Screen("the window has no name".into()))?;
        if display.composite {
            display.connection.composite_redirect_window(id, Redirect::AUTOMATIC)?.check()?;
        }
        Self::new(display, Target::Window { id, pixmap: None })
    }

    fn new(display: Display, target: Target) -> Result<Self, Error> {
        let images = Images::new(&display.connection)?;
        Ok(Self { display, target, images, last: Vec::new(), last_area: None })
    }

    /// Where to read from, which part of it, and where that part lies on the display.
    fn place(&mut self) -> Result<(u32, Area, (i32, i32)), Error> {
        let root = self.display.root;
        match &mut self.target {
            Target::Screen { number } => {
                let screens = self.display.screens()?;
                let gone = || Error::Screen("the screen was taken away".into());
                let (_, area) = screens.get(*number).ok_or_else(gone)?;
                Ok((root, *area, (i32::from(area.x), i32::from(area.y))))
            }
            Target::Window { id, pixmap } => {
                let connection = &self.display.connection;
                let geometry = connection.get_geometry(*id)?.reply()?;
                let (width, height) = (geometry.width, geometry.height);
                let at = connection.translate_coordinates(*id, root, 0, 0)?.reply()?;
                let on_display = (i32::from(at.dst_x), i32::from(at.dst_y));
                let area = Area { x: 0, y: 0, width, height };
                if !self.display.composite {
                    return Ok((*id, area, on_display));
                }
                if pixmap.is_none_or(|(_, w, h)| (w, h) != (width, height)) {
                    if let Some((old, ..)) = pixmap.take() {
                        connection.free_pixmap(old)?.ignore_error();
                    }
                    if connection.get_window_attributes(*id)?.reply()?.map_state != MapState::VIEWABLE {
                        return Err(Error::Screen("the window is minimised; it is shown again when it is back".into()));
                    }
                    let new = connection.generate_id()?;
                    connection.composite_name_window_pixmap(*id, new)?.check()?;
                    *pixmap = Some((new, width, height));
                }
                // The pixmap of a window has its border around it.
                let border = i16::try_from(geometry.border_width).unwrap_or_default();
                let from = pixmap.map_or(*id, |(pixmap, ..)| pixmap);
                Ok((from, Area { x: border, y: border, width, height }, on_display))
            }
        }
    }

    /// The pointer, if the server tells.
    fn pointer(&self, (left, top): (i32, i32)) -> Result<Option<Pointer>, Error> {
        if !self.display.pointer {
            return Ok(None);
        }
        let image = self.display.connection.xfixes_get_cursor_image()?.reply()?;
        Ok(Some(Pointer {
            x: i32::from(image.x) - i32::from(image.xhot) - left,
            y: i32::from(image.y) - i32::from(image.yhot) - top,
            width: usize::from(image.width),
            pixels: image.cursor_image,
        }))
    }
}

impl Grab for X11Grab {
    fn grab(&mut self, now_ns: u64) -> Result<Grabbed, Error> {
        let (from, area, on_display) = self.place()?;
        let most = MAX_RAW_SIDE as u16;
        let area = Area { width: (area.width & !1).min(most), height: (area.height & !1).min(most), ..area };
        if area.width < 2 || area.height < 2 {
            return Ok(Grabbed::Same);
        }
        let pointer = self.pointer(on_display)?;
        let read = self.images.read(&self.display.connection, from, area);
        if let (Err(_), Target::Window { pixmap, .. }) = (&read, &mut self.target) {
            // Mapped anew, or resized between two requests: it has another pixmap by now.
            *pixmap = None;
        }
        let mut pixels = read?;
        if let Some(pointer) = &pointer {
            image::draw(&mut pixels, usize::from(area.width), pointer);
        }
        if self.last_area == Some(area) && self.last == pixels {
            return Ok(Grabbed::Same);
        }
        let size = (u32::from(area.width), u32::from(area.height));
        let mut picture = convert(&pixels, size, Order::Bgr)?;
        picture.time_ns = now_ns;
        (self.last, self.last_area) = (pixels, Some(area));
        Ok(Grabbed::New(picture))
    }

    fn fresh(&mut self) {
        self.last_area = None;
    }
}

impl Drop for X11Grab {
    fn drop(&mut self) {
        // The connection ends with this, and with it all that the server keeps for us.
        self.images.release(&self.display.connection);
    }
}
