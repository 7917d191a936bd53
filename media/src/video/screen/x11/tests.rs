//! A real X server (Xvfb) with windows of our own: what is listed, what is seen, what is noticed. Where there is no Xvfb,
//! that is said, and nothing is tested.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    AtomEnum, ChangeWindowAttributesAux, ConfigureWindowAux, ConnectionExt as _, CreateWindowAux, PropMode, StackMode,
    WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use super::*;
use crate::video::Picture;

const PATIENCE: Duration = Duration::from_secs(20);
const RED: u32 = 0x00ff_0000;
const BLUE: u32 = 0x0000_00ff;
const GREEN: u32 = 0x0000_ff00;

struct Xvfb {
    child: Child,
    display: String,
}

impl Drop for Xvfb {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn xvfb() -> Option<Xvfb> {
    let mut command = Command::new("Xvfb");
    command.args(["-displayfd", "1", "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no Xvfb here");
        return None;
    };
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Some(Xvfb { child, display: format!(":{}", line.trim()) })
}

/// A person's desktop: windows that are made and moved.
struct Desk {
    connection: RustConnection,
    root: WindowId,
}

impl Desk {
    fn new(server: &Xvfb) -> Self {
        let (connection, number) = RustConnection::connect(Some(&server.display)).unwrap();
        let root = connection.setup().roots[number].root;
        Self { connection, root }
    }

    fn window(&self, title: &str, (x, y): (i16, i16), (width, height): (u16, u16), colour: u32) -> WindowId {
        let id = self.connection.generate_id().unwrap();
        let look = CreateWindowAux::new().background_pixel(colour);
        let class = WindowClass::INPUT_OUTPUT;
        self.connection.create_window(0, id, self.root, x, y, width, height, 0, class, 0, &look).unwrap();
        self.connection
            .change_property8(PropMode::REPLACE, id, AtomEnum::WM_NAME, AtomEnum::STRING, title.as_bytes())
            .unwrap();
        self.connection.map_window(id).unwrap();
        self.connection.sync().unwrap();
        id
    }

    fn paint(&self, id: WindowId, colour: u32) {
        let look = ChangeWindowAttributesAux::new().background_pixel(colour);
        self.connection.change_window_attributes(id, &look).unwrap();
        self.connection.clear_area(false, id, 0, 0, 0, 0).unwrap();
        self.connection.sync().unwrap();
    }
}

/// Looks until the picture is as it should be.
fn until(grab: &mut X11Grab, wanted: impl Fn(&Picture) -> bool) -> Picture {
    let end = Instant::now() + PATIENCE;
    loop {
        grab.fresh();
        if let Ok(Grabbed::New(picture)) = grab.grab(1)
            && wanted(&picture)
        {
            return picture;
        }
        assert!(Instant::now() < end, "the screen never looked as it should");
        std::thread::yield_now();
    }
}

fn colour_at(picture: &Picture, x: usize, y: usize) -> u32 {
    let rgb = picture.to_rgb();
    let at = (y * picture.width() as usize + x) * 3;
    let [r, g, b] = [rgb[at], rgb[at + 1], rgb[at + 2]].map(|c| u32::from(c > 128) * 0xff);
    r << 16 | g << 8 | b
}

#[test]
fn a_screen_and_a_covered_window_are_seen_as_they_are() {
    let Some(server) = xvfb() else { return };
    let desk = Desk::new(&server);
    let open = || Display::open(Some(&server.display)).unwrap();
    let notes = desk.window("Notes to share", (100, 100), (400, 300), RED);

    let display = open();
    let screens = display.screens().unwrap();
    assert_eq!(screens.len(), 1);
    assert_eq!((screens[0].0.width, screens[0].0.height, screens[0].0.primary), (1280, 720, true));
    let windows = display.windows().unwrap();
    assert_eq!(windows.len(), 1);
    assert_eq!((windows[0].title.as_str(), windows[0].width, windows[0].height), ("Notes to share", 400, 300));

    let mut whole = X11Grab::screen_of(open(), None).unwrap();
    let picture = until(&mut whole, |picture| colour_at(picture, 300, 250) == RED);
    assert_eq!((picture.width(), picture.height()), (1280, 720));
    assert_ne!(colour_at(&picture, 50, 50), RED);
    assert!(matches!(whole.grab(2), Ok(Grabbed::Same)), "nothing has changed");
    desk.paint(notes, GREEN);
    until(&mut whole, |picture| colour_at(picture, 300, 250) == GREEN);
    desk.paint(notes, RED);

    // Another window covers it: who shares the window is not seen to have done so.
    let mut window = X11Grab::window_of(open(), "notes").unwrap();
    desk.window("Secrets", (50, 50), (600, 500), BLUE);
    until(&mut whole, |picture| colour_at(picture, 300, 250) == BLUE);
    let picture = until(&mut window, |picture| colour_at(picture, 200, 150) == RED);
    assert_eq!((picture.width(), picture.height()), (400, 300));
    assert_eq!(colour_at(&picture, 20, 20), RED);

    // It grows, is painted anew below the other, and is closed.
    desk.connection.configure_window(notes, &ConfigureWindowAux::new().width(500).height(201)).unwrap();
    desk.connection.configure_window(notes, &ConfigureWindowAux::new().stack_mode(StackMode::BELOW)).unwrap();
    desk.paint(notes, GREEN);
    let picture = until(&mut window, |picture| picture.width() == 500 && colour_at(picture, 450, 150) == GREEN);
    assert_eq!(picture.height(), 200, "sizes are even");
    desk.connection.destroy_window(notes).unwrap();
    desk.connection.sync().unwrap();
    let end = Instant::now() + PATIENCE;
    let error = loop {
        match window.grab(3) {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < end),
        }
    };
    assert_eq!(error.to_string(), "the window was closed");
}

#[test]
fn the_pointer_is_part_of_the_screen() {
    let Some(server) = xvfb() else { return };
    let desk = Desk::new(&server);
    desk.window("Board", (0, 0), (1280, 720), BLUE);
    let mut whole = X11Grab::screen_of(Display::open(Some(&server.display)).unwrap(), Some(0)).unwrap();
    let shift = |x| {
        desk.connection.warp_pointer(0u32, desk.root, 0, 0, 0, 0, x, 300).unwrap();
        desk.connection.sync().unwrap();
    };
    // The cross of a bare X server is black and white.
    shift(200);
    let differs = |picture: &Picture, x: usize| {
        let around = (x - 8..x + 8).flat_map(|x| (292..308).map(move |y| (x, y)));
        around.filter(|&(x, y)| colour_at(picture, x, y) != BLUE).count() > 4
    };
    until(&mut whole, |picture| differs(picture, 200) && !differs(picture, 600));
    shift(600);
    until(&mut whole, |picture| differs(picture, 600) && !differs(picture, 200));
}

#[test]
fn what_is_not_there_is_named() {
    let Some(server) = xvfb() else { return };
    let open = || Display::open(Some(&server.display)).unwrap();
    let text = |result: Result<X11Grab, Error>| result.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(text(X11Grab::screen_of(open(), Some(7))).contains("no screen 7"));
    assert!(text(X11Grab::window_of(open(), "nothing")).contains("no window"));
    assert!(Display::open(Some(":9999")).err().unwrap().to_string().contains("display"));
}
