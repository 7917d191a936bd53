//! A person at a desktop, as programs: a display (Xvfb), a sound server with a null sink (PulseAudio), the desktop program
//! in them, a hand that clicks and types (xdotool, through the X server), and an eye that looks at pixels.
//!
//! Where things stand, the program tells itself: it writes the names and places that a screen reader gets into a folder
//! (`TWOCAN_GUI_PLACES`). Nothing waits by sleeping a guessed time: all that is waited for is looked at again and again
//! until a deadline.

pub mod first;
pub mod story;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::binary;

/// How long anything may take. Generous: the machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(40);
/// Size of the display.
pub const SCREEN: (u32, u32) = (1280, 800);
/// What must be installed to play a story.
const TOOLS: [&str; 3] = ["Xvfb", "xdotool", "import"];

/// What is missing here to play a story of the desktop program; none, if it can be played.
pub fn missing() -> Option<&'static str> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    TOOLS.into_iter().find(|tool| !folders.iter().any(|folder| folder.join(tool).is_file()))
}

/// Something in a window, as a screen reader gets it.
#[derive(Clone, Debug, Deserialize)]
pub struct Thing {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub value: String,
    /// What it is ("Button").
    pub role: String,
    /// Left, top, right, bottom in points of its window.
    pub place: [f64; 4],
    /// It cannot be used now.
    pub off: bool,
}

impl Thing {
    /// Whether it says this, as name or value, from its begin.
    pub fn says(&self, words: &str) -> bool {
        !self.off && (self.name.starts_with(words) || self.value.starts_with(words))
    }
}

/// A part of the display: left, top, width, height in pixels.
pub type Area = (i32, i32, u32, u32);

/// A display with sound, and the desktop program on it.
#[derive(Debug)]
pub struct Desktop {
    name: String,
    display: String,
    places: PathBuf,
    sound: PathBuf,
    servers: Vec<Child>,
    program: Option<Child>,
    folder: tempfile::TempDir,
}

impl Desktop {
    /// Starts display and sound for a person.
    ///
    /// # Errors
    /// A server does not start.
    pub fn start(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("twocan-desk-{name}-")).tempdir()?;
        let places = folder.path().join("places");
        std::fs::create_dir_all(&places)?;
        let (server, display) = display()?;
        let sound = folder.path().join("native");
        let mut servers = vec![server];
        servers.extend(speaker(folder.path(), &sound));
        let (name, program) = (name.to_owned(), None);
        Ok(Self { name, display, places, sound, servers, program, folder })
    }

    /// The name of the person.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts the desktop program on this node's home, with a synthetic camera.
    ///
    /// # Errors
    /// It is not built, or does not start.
    pub fn open(&mut self, home: &Path, camera: &str) -> Result<()> {
        let program = binary("twocan-gui");
        ensure!(program.is_file(), "{} is missing: `cargo build --release -p twocan-gui` builds it", program.display());
        let log = std::fs::File::create(self.folder.path().join("gui.log"))?;
        let mut command = self.command(&program);
        command.env("TWOCAN_HOME", home).env("TWOCAN_GUI_PLACES", &self.places).env("TWOCAN_GUI_CAMERA", camera);
        command.env("TWOCAN_GUI_THEME", "dark").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.program = Some(command.spawn().context("the desktop program does not start")?);
        Ok(())
    }

    /// A program in the world of this desktop.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", &self.display).env("HOME", self.folder.path());
        command
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env("PULSE_SERVER", format!("unix:{}", self.sound.display()));
        command.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("WAYLAND_DISPLAY").env("LC_ALL", "C.UTF-8");
        command
    }

    fn run(&self, words: &[&str]) -> Result<Vec<u8>> {
        let (program, words) = words.split_first().context("no program")?;
        let output = self.command(program).args(words).stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }

    /// Everything with a name in a window ("root", "ring").
    pub fn things(&self, window: &str) -> Vec<Thing> {
        let text = std::fs::read_to_string(self.places.join(format!("{window}.json"))).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Looks until something is there.
    ///
    /// # Errors
    /// It never was, or the program ended.
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            if let Some(ended) = self.program.as_mut().and_then(|program| program.try_wait().ok().flatten()) {
                bail!("{}: the desktop program ended ({ended}): {}", self.name, self.log());
            }
            if Instant::now() > deadline {
                let seen: Vec<String> =
                    self.things("root").into_iter().map(|thing| thing.name + &thing.value).collect();
                bail!("{}: waited in vain for {what}; there is {seen:?}; {}", self.name, self.log());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("gui.log")).unwrap_or_default()
    }

    /// Waits until a window says this.
    ///
    /// # Errors
    /// It never did.
    pub fn see(&mut self, window: &str, words: &str) -> Result<Thing> {
        self.until(words, |desk| desk.things(window).into_iter().find(|thing| thing.says(words)))
    }

    /// Waits until a window does not say this any more.
    ///
    /// # Errors
    /// It says it still.
    pub fn gone(&mut self, window: &str, words: &str) -> Result<()> {
        let what = format!("the end of \"{words}\"");
        self.until(&what, |desk| (!desk.things(window).iter().any(|thing| thing.says(words))).then_some(()))
    }

    /// Clicks on what says this, as soon as it stands still.
    ///
    /// # Errors
    /// It is not there, or the window is not.
    pub fn click(&mut self, window: &str, words: &str) -> Result<()> {
        // Plain writing may say the same as the button above it.
        self.click_on(window, words, |thing| thing.says(words) && thing.role != "Label")
    }

    /// The same for what a function chooses.
    ///
    /// # Errors
    /// As of [`Desktop::click`].
    pub fn click_on(&mut self, window: &str, what: &str, which: impl Fn(&Thing) -> bool) -> Result<()> {
        let mut before = None;
        let place = self.until(what, |desk| {
            let place = desk.things(window).into_iter().rfind(|thing| which(thing))?.place;
            // Twice at the same place: it does not move any more.
            (before.replace(place) == Some(place)).then_some(place)
        })?;
        let (x, y) = self.origin(window)?;
        let centre = ((place[0] + place[2]) / 2.0 + f64::from(x), (place[1] + place[3]) / 2.0 + f64::from(y));
        let (x, y) = (format!("{:.0}", centre.0), format!("{:.0}", centre.1));
        self.run(&["xdotool", "mousemove", "--sync", &x, &y])?;
        self.run(&["xdotool", "click", "1"])?;
        Ok(())
    }

    /// Gives a window the keyboard, as a window manager does when it is clicked on.
    fn focus(&mut self, window: &str) -> Result<()> {
        let id = self.window(window)?;
        self.run(&["xdotool", "windowfocus", "--sync", &id]).map(drop)
    }

    /// Presses a key ("Return") in a window.
    ///
    /// # Errors
    /// The window or the display is gone.
    pub fn key(&mut self, window: &str, key: &str) -> Result<()> {
        self.focus(window)?;
        self.run(&["xdotool", "key", key]).map(drop)
    }

    /// Types a text into the large window.
    ///
    /// # Errors
    /// The window or the display is gone.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.focus("root")?;
        self.run(&["xdotool", "type", "--delay", "4", text]).map(drop)
    }

    /// The X server's number of a window.
    fn window(&mut self, window: &str) -> Result<String> {
        let title = if window == "ring" { "^twocan: " } else { "^twocan$" };
        self.until(title, |desk| {
            let found = desk.run(&["xdotool", "search", "--onlyvisible", "--name", title]).ok()?;
            String::from_utf8_lossy(&found).lines().next_back().map(str::to_owned)
        })
    }

    /// Upper left corner of a window.
    fn origin(&mut self, window: &str) -> Result<(i32, i32)> {
        let id = self.window(window)?;
        let geometry = self.run(&["xdotool", "getwindowgeometry", "--shell", &id])?;
        let geometry = String::from_utf8_lossy(&geometry).into_owned();
        let number = |key: &str| {
            let line = geometry.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|value| value.parse::<i32>().ok()).context("a window has a place")
        };
        Ok((number("X=")?, number("Y=")?))
    }

    /// The part of the display where a thing of the large window stands.
    ///
    /// # Errors
    /// There is no window.
    pub fn area(&mut self, thing: &Thing) -> Result<Area> {
        let (x, y) = self.origin("root")?;
        let [left, top, right, bottom] = thing.place;
        Ok((left as i32 + x, top as i32 + y, (right - left) as u32, (bottom - top) as u32))
    }

    /// The pixels of a part of the display: red, green, blue.
    ///
    /// # Errors
    /// The display is gone.
    pub fn pixels(&self, (x, y, width, height): Area) -> Result<Vec<[u8; 3]>> {
        let crop = format!("{width}x{height}{x:+}{y:+}");
        let bytes = self.run(&["import", "-window", "root", "-crop", &crop, "-depth", "8", "rgb:-"])?;
        Ok(bytes.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect())
    }

    /// Waits until a picture moves: a good part of its pixels changes, and not once only.
    ///
    /// # Errors
    /// It stands still.
    pub fn moves(&mut self, area: Area) -> Result<()> {
        let mut last: Vec<[u8; 3]> = Vec::new();
        let mut changes = 0;
        self.until("a picture that moves", |desk| {
            let now = desk.pixels(area).ok()?;
            let different = |(a, b): &(&[u8; 3], &[u8; 3])| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 24);
            let changed = now.iter().zip(&last).filter(different).count();
            changes += usize::from(last.len() == now.len() && changed * 400 > now.len());
            last = now;
            (changes >= 3).then_some(())
        })
    }

    /// Waits until so large a share of an area has about this colour.
    ///
    /// # Errors
    /// It never has.
    pub fn shows(&mut self, area: Area, colour: [u8; 3], share: f64) -> Result<()> {
        self.until(&format!("the colour {colour:?}"), |desk| {
            let pixels = desk.pixels(area).ok()?;
            let like = |pixel: &&[u8; 3]| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 48);
            let found = pixels.iter().filter(like).count();
            (found as f64 >= share * pixels.len() as f64).then_some(())
        })
    }

    /// Makes everything behind the windows one colour (`#rrggbb`).
    ///
    /// # Errors
    /// There is no such tool.
    pub fn paint_root(&self, colour: &str) -> Result<()> {
        // It ends with 1 though it has painted, so its word is worth nothing: look with `shows`.
        let painted = self.command("display").args(["-window", "root", &format!("xc:{colour}")]).status();
        painted.map(drop).context("display (of ImageMagick)")
    }

    /// Whether the speaker plays something now, by its monitor; none where there is no sound server.
    pub fn hears(&self) -> Option<bool> {
        let mut recorder = self.command("parec");
        recorder.args(["--raw", "--format=s16le", "--channels=1", "--rate=48000", "-d", "spk.monitor"]);
        let mut recorder = recorder_of(&mut recorder)?;
        let mut bytes = vec![0; 96_000];
        let read = recorder.stdout.as_mut().map(|out| out.read_exact(&mut bytes));
        drop(recorder.kill());
        drop(recorder.wait());
        read?.ok()?;
        let loud = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]).unsigned_abs()).max();
        Some(loud.unwrap_or(0) > 1000)
    }

    /// Keeps what the display shows as a PNG file.
    ///
    /// # Errors
    /// The display is gone or the folder cannot be written.
    pub fn shot(&self, path: &Path) -> Result<()> {
        self.run(&["import", "-window", "root", &path.display().to_string()]).map(drop)
    }
}

fn recorder_of(command: &mut Command) -> Option<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for child in self.program.iter_mut().chain(self.servers.iter_mut().rev()) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn display() -> Result<(Child, String)> {
    let screen = format!("{}x{}x24", SCREEN.0, SCREEN.1);
    let mut server = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", &screen, "-nolisten", "tcp", "-noreset"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("Xvfb does not start")?;
    let mut number = String::new();
    if let Some(out) = server.stdout.take() {
        BufReader::new(out).read_line(&mut number)?;
    }
    ensure!(!number.trim().is_empty(), "Xvfb does not start");
    Ok((server, format!(":{}", number.trim())))
}

/// A sound server with a speaker that nobody hears and a microphone that hears nothing.
fn speaker(folder: &Path, socket: &Path) -> Option<Child> {
    let native = format!("module-native-protocol-unix socket={} auth-anonymous=1", socket.display());
    let server = Command::new("pulseaudio")
        .args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--log-target=stderr"])
        .args(["-L", native.as_str()])
        .args(["-L", "module-null-sink sink_name=spk rate=48000 channels=2"])
        .args(["-L", "module-null-sink sink_name=micsink rate=48000 channels=1"])
        .args(["-L", "module-remap-source master=micsink.monitor source_name=mic"])
        .env("HOME", folder)
        .env("XDG_RUNTIME_DIR", folder)
        .env("XDG_CONFIG_HOME", folder)
        .env_remove("PULSE_SERVER")
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    server.ok()
}
