//! A Wayland desktop of a test's own, without a screen: sway on the headless backend, PipeWire with its session manager,
//! the desktop's portal with its wlroots part, and a session bus, all in one folder. What to share is "chosen" by a script.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zbus::blocking::Connection;
use zbus::blocking::connection::Builder;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The one screen.
pub(crate) const SCREEN: &str = "HEADLESS-1";
/// Its pixels.
pub(crate) const SIZE: (u32, u32) = (1280, 720);
/// Folders for programs that are not for people to call.
const PROGRAMS: [&str; 5] = ["/usr/libexec", "/usr/lib", "/usr/lib/xdg-desktop-portal", "/usr/local/libexec", "/lib"];

/// The desktop, which ends with this.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    children: Vec<(String, Child)>,
    display: String,
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(PROGRAMS.map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

impl Desk {
    /// None, with a word why, where a program for it is missing or does not run.
    pub(crate) fn start() -> Option<Self> {
        let needed = [
            "dbus-daemon",
            "sway",
            "swaymsg",
            "pipewire",
            "wireplumber",
            "xdg-desktop-portal",
            "xdg-desktop-portal-wlr",
        ];
        let missing: Vec<&str> = needed.into_iter().filter(|program| find(program).is_none()).collect();
        if !missing.is_empty() {
            let _ = writeln!(std::io::stderr(), "SKIPPED: not installed here: {}", missing.join(", "));
            return None;
        }
        let desk = Self::begin();
        if desk.is_none() {
            let _ = writeln!(std::io::stderr(), "SKIPPED: no Wayland desktop runs here");
        }
        desk
    }

    fn begin() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut desk = Self { folder, children: Vec::new(), display: String::new() };
        desk.write_files();
        let bus = desk.path("bus.conf");
        desk.run("dbus-daemon", &["--nofork", &format!("--config-file={}", bus.display())]);
        let socket = desk.path("run/bus");
        desk.until(|_| socket.exists())?;
        // sway refuses to run as root: in a user namespace it runs as somebody without rights.
        let config = desk.path("sway.conf").display().to_string();
        if std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
            desk.run("unshare", &["--user", "--map-user=1000", "--map-group=1000", "sway", "-c", &config]);
        } else {
            desk.run("sway", &["-c", &config]);
        }
        desk.display = desk.until(|desk| {
            let files = std::fs::read_dir(desk.path("run")).ok()?;
            let mut names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
            names.find(|name| name.starts_with("wayland-") && !name.ends_with(".lock"))
        })?;
        desk.run("pipewire", &[]);
        desk.until(|desk| desk.path("run/pipewire-0").exists())?;
        desk.run("wireplumber", &[]);
        desk.run("xdg-desktop-portal-wlr", &[]);
        desk.until(|desk| desk.owned("org.freedesktop.impl.portal.desktop.wlr"))?;
        desk.run("xdg-desktop-portal", &[]);
        desk.until(|desk| desk.owned("org.freedesktop.portal.Desktop"))?;
        Some(desk)
    }

    fn write_files(&self) {
        for folder in ["run", "home", "services", "config/xdg-desktop-portal", "config/xdg-desktop-portal-wlr"] {
            std::fs::create_dir_all(self.path(folder)).expect("a folder");
        }
        let write = |name: &str, text: String| std::fs::write(self.path(name), text).expect("a file");
        std::fs::set_permissions(self.path("run"), PermissionsExt::from_mode(0o700)).expect("a folder of one's own");
        write(
            "bus.conf",
            format!(
                "<busconfig><type>session</type><listen>unix:path={}</listen><servicedir>{}</servicedir>\
                 <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
                 <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
                self.path("run/bus").display(),
                self.path("services").display()
            ),
        );
        if let Some(store) = find("xdg-permission-store") {
            let name = "org.freedesktop.impl.portal.PermissionStore";
            let service = format!("[D-BUS Service]\nName={name}\nExec={}\n", store.display());
            write(&format!("services/{name}.service"), service);
        }
        write("sway.conf", format!("output {SCREEN} resolution {}x{}\ndefault_border none\n", SIZE.0, SIZE.1));
        write("config/xdg-desktop-portal/portals.conf", "[preferred]\ndefault=wlr\n".into());
        let chooser = self.path("chooser");
        write(
            "config/xdg-desktop-portal-wlr/config",
            format!("[screencast]\nchooser_type=dmenu\nchooser_cmd={}\n", chooser.display()),
        );
        let (asked, choice) = (self.path("asked"), self.path("choice"));
        // What can be chosen comes in a line each.
        let script = format!(
            "#!/bin/sh\necho once >> {}\nwhat=$(cat {})\n[ -n \"$what\" ] && grep -m 1 -F -- \"$what\"\n",
            asked.display(),
            choice.display()
        );
        write("chooser", script);
        std::fs::set_permissions(chooser, PermissionsExt::from_mode(0o700)).expect("a script");
        self.choose(SCREEN);
    }

    /// A file of the desktop's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the person chooses from now on; nothing closes the dialog.
    pub(crate) fn choose(&self, what: &str) {
        std::fs::write(self.path("choice"), what).expect("a file");
    }

    /// How often the person was asked.
    pub(crate) fn asked(&self) -> usize {
        std::fs::read_to_string(self.path("asked")).map_or(0, |text| text.lines().count())
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.path("run/bus").display())
    }

    /// Puts a program on this desktop.
    pub(crate) fn furnish(&self, command: &mut Command) {
        let set = |command: &mut Command, name: &str, value: &Path| {
            command.env(name, value);
        };
        for name in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET", "PIPEWIRE_REMOTE", "SWAYSOCK"] {
            command.env_remove(name);
        }
        set(command, "XDG_RUNTIME_DIR", &self.path("run"));
        set(command, "XDG_CONFIG_HOME", &self.path("config"));
        set(command, "XDG_DATA_HOME", &self.path("home/data"));
        set(command, "XDG_STATE_HOME", &self.path("home/state"));
        set(command, "HOME", &self.path("home"));
        command
            .env("DBUS_SESSION_BUS_ADDRESS", self.address())
            .env("XDG_CURRENT_DESKTOP", "sway")
            .env("XDG_SESSION_TYPE", "wayland")
            .env("WLR_BACKENDS", "headless")
            .env("WLR_RENDERER", "pixman")
            .env("WLR_LIBINPUT_NO_DEVICES", "1");
        if !self.display.is_empty() {
            command.env("WAYLAND_DISPLAY", &self.display);
        }
    }

    fn run(&mut self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
        self.furnish(&mut command);
        let log = std::fs::File::create(self.path(&format!("{program}.log"))).expect("a file");
        let errors = log.try_clone().expect("a file");
        command.args(arguments).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        self.children.push((program.to_owned(), child));
    }

    /// Has sway do something.
    pub(crate) fn sway(&self, order: &str) {
        let mut command = Command::new("swaymsg");
        self.furnish(&mut command);
        let mut files = std::fs::read_dir(self.path("run")).expect("its folder").flatten().map(|file| file.path());
        let socket = files.find(|path| path.to_string_lossy().contains("sway-ipc")).expect("sway's socket");
        let done = command.arg("-s").arg(socket).args(order.split(' ')).output().expect("swaymsg");
        assert!(done.status.success(), "{order}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Ends one of the desktop's programs.
    pub(crate) fn end(&mut self, program: &str) {
        for (_, child) in self.children.iter_mut().filter(|(name, _)| name == program) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether one of the desktop's programs has ended by itself.
    pub(crate) fn lost(&mut self, program: &str) -> bool {
        let mut named = self.children.iter_mut().filter(|(name, _)| name == program);
        named.any(|(_, child)| !matches!(child.try_wait(), Ok(None)))
    }

    fn owned(&self, name: &str) -> bool {
        let ask = || -> zbus::Result<bool> {
            let bus: Connection = Builder::address(self.address().as_str())?.build()?;
            let bus_name = Some("org.freedesktop.DBus");
            let reply = bus.call_method(bus_name, "/org/freedesktop/DBus", bus_name, "NameHasOwner", &(name,))?;
            reply.body().deserialize()
        };
        ask().unwrap_or(false)
    }

    /// Waits for something; None if a program of the desktop ends before. Its last words are shown.
    fn until<T: Found>(&mut self, found: impl Fn(&Self) -> T) -> Option<T::Thing> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(thing) = found(self).found() {
                return Some(thing);
            }
            let mut children = self.children.iter_mut();
            if let Some((name, _)) = children.find_map(|(name, child)| match child.try_wait() {
                Ok(None) => None,
                _ => Some((name, ())),
            }) {
                let log = self.folder.path().join(format!("{name}.log"));
                let words = std::fs::read_to_string(log).unwrap_or_default();
                let _ = writeln!(std::io::stderr(), "{name} does not run here: {}", words.trim());
                return None;
            }
            assert!(Instant::now() < deadline, "the desktop does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What was waited for.
trait Found {
    type Thing;
    fn found(self) -> Option<Self::Thing>;
}

impl Found for bool {
    type Thing = ();
    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Found for Option<T> {
    type Thing = T;
    fn found(self) -> Option<T> {
        self
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for (_, child) in self.children.iter_mut().rev() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
