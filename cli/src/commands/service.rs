//! `twocan service`: has the system start the node at login, so that calls arrive while no window is open.
//!
//! Where systemd runs the person's services, by a unit of theirs; elsewhere by an autostart entry of the desktop, which
//! runs `twocan up`. What a package has installed is used as it is; files of our own carry a mark, and only these are
//! ever overwritten or removed.

mod files;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use twocan_control::{Client, Handle, paths};

use crate::args::ServiceAction;
use crate::exit::{Exit, Failure};
use crate::output::Out;
use crate::process;

/// Name of the unit.
const UNIT: &str = "twocan.service";
/// Where packages put units for people's services.
const PACKAGED: [&str; 4] = [
    "/usr/lib/systemd/user/twocan.service",
    "/usr/local/lib/systemd/user/twocan.service",
    "/usr/share/systemd/user/twocan.service",
    "/usr/local/share/systemd/user/twocan.service",
];

/// A node that was started answers within this time.
const WAIT: Duration = Duration::from_secs(15);
/// How often it is looked for.
const POLL: Duration = Duration::from_millis(50);

/// Who starts the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Manager {
    Systemd,
    Autostart,
}

/// How it stands, as `--json` prints it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Standing {
    /// Who starts the node at login, or would.
    manager: Manager,
    /// It is started at login.
    enabled: bool,
    /// A node runs now, whoever started it.
    running: bool,
    /// The unit or entry, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

/// Where everything is.
#[derive(Debug)]
struct Place {
    /// `$XDG_CONFIG_HOME`.
    config: PathBuf,
    /// `twocand`.
    node: PathBuf,
    /// `twocan`.
    client: PathBuf,
    /// The node's home, where it is not the usual one.
    home: Option<PathBuf>,
    /// `systemctl`, which tests replace.
    systemctl: PathBuf,
    /// Units of packages.
    packaged: Vec<PathBuf>,
}

impl Place {
    fn here(home: &Path) -> Result<Self, Failure> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let config = config.ok_or_else(|| Failure::new(Exit::Storage, "neither XDG_CONFIG_HOME nor HOME is set"))?;
        let client = std::env::current_exe()
            .map_err(|error| Failure::new(Exit::Internal, format!("cannot find this program: {error}")))?;
        Ok(Self {
            config,
            node: process::find()?,
            client,
            home: (usual().as_deref() != Some(home)).then(|| home.to_owned()),
            systemctl: "systemctl".into(),
            packaged: PACKAGED.map(PathBuf::from).to_vec(),
        })
    }

    fn unit(&self) -> PathBuf {
        self.config.join("systemd/user").join(UNIT)
    }

    fn entry(&self) -> PathBuf {
        self.config.join("autostart/twocan-node.desktop")
    }

    /// Asks systemd's manager of this person's services.
    fn systemctl(&self, words: &[&str]) -> io::Result<std::process::Output> {
        Command::new(&self.systemctl).arg("--user").args(words).stdin(Stdio::null()).output()
    }

    fn manager(&self) -> Manager {
        // Answers only if that manager runs and can be reached.
        let answers = self.systemctl(&["show-environment"]).is_ok_and(|output| output.status.success());
        if answers { Manager::Systemd } else { Manager::Autostart }
    }

    /// A package's unit that starts this very node.
    fn packaged(&self) -> Option<&PathBuf> {
        let starts = format!("ExecStart={}", self.node.display());
        let fits = |file: &&PathBuf| {
            std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.trim_end() == starts))
        };
        self.packaged.iter().find(fits).filter(|_| self.home.is_none())
    }

    fn must(&self, words: &[&str]) -> Result<(), Failure> {
        let output = self.systemctl(words).map_err(|error| Failure::file(&self.systemctl, "run", &error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or("it says nothing").trim();
        Err(Failure::new(Exit::Internal, format!("systemctl --user {} failed: {said}", words.join(" "))))
    }

    /// Has the node started at login, and now if none runs.
    fn install(&self, running: bool) -> Result<Standing, Failure> {
        let manager = self.manager();
        let file = match manager {
            Manager::Systemd => {
                let file = match self.packaged() {
                    Some(file) => file.clone(),
                    None => files::write(&self.unit(), &files::unit(&self.node, self.home.as_deref())?)?,
                };
                self.must(&["daemon-reload"])?;
                self.must(if running { &["enable", UNIT] } else { &["enable", "--now", UNIT] })?;
                // Both would start a node.
                files::remove(&self.entry())?;
                file
            }
            Manager::Autostart => files::write(&self.entry(), &files::entry(&self.client, self.home.as_deref())?)?,
        };
        Ok(Standing { manager, enabled: true, running, file: Some(file) })
    }

    /// Undoes [`Self::install`]; a node that runs goes on. True: there was something to undo.
    fn uninstall(&self) -> Result<bool, Failure> {
        let systemd = self.manager() == Manager::Systemd;
        let enabled = systemd && self.enabled();
        if enabled {
            self.must(&["disable", UNIT])?;
        }
        let removed = files::remove(&self.unit())? | files::remove(&self.entry())?;
        if systemd && removed {
            self.must(&["daemon-reload"])?;
        }
        Ok(enabled || removed)
    }

    fn enabled(&self) -> bool {
        self.systemctl(&["is-enabled", UNIT]).is_ok_and(|output| output.status.success())
    }

    fn standing(&self, running: bool) -> Standing {
        let manager = self.manager();
        let there = |file: PathBuf| file.exists().then_some(file);
        let (enabled, file) = match manager {
            Manager::Systemd => (self.enabled(), there(self.unit()).or_else(|| self.packaged().cloned())),
            Manager::Autostart => {
                let file = there(self.entry());
                (file.is_some(), file)
            }
        };
        Standing { manager, enabled, running, file }
    }
}

/// The home of a node that is told nothing.
fn usual() -> Option<PathBuf> {
    // A home of the environment is gone at the next login: it counts as one that was chosen.
    if std::env::var_os(paths::HOME_VARIABLE).is_some_and(|home| !home.is_empty()) { None } else { paths::home() }
}

/// Runs the command.
///
/// # Errors
/// What cannot be written, or what systemd says.
pub async fn run(home: &Path, action: ServiceAction, out: &mut Out) -> Result<Exit, Failure> {
    if cfg!(target_os = "macos") {
        let text = "the node cannot be started at login on this system yet";
        return Err(Failure::new(Exit::Usage, text).hint("`twocan up` starts it now"));
    }
    let place = Place::here(home)?;
    let running = match Client::connect(home).await {
        Ok(client) => client.status().await.is_ok(),
        Err(_) => false,
    };
    match action {
        ServiceAction::Install => {
            let mut standing = place.install(running)?;
            match standing.manager {
                _ if running => {}
                Manager::Systemd => answers(home).await?,
                Manager::Autostart => {
                    let quiet = &mut Out::to(Box::new(io::sink()), false, false);
                    super::node::up(home, WAIT.as_secs(), quiet).await?;
                }
            }
            standing.running = true;
            out.show(&standing, describe)?;
        }
        ServiceAction::Uninstall => {
            let undone = place.uninstall()?;
            let standing = place.standing(running);
            out.show(&standing, |standing| {
                let first =
                    if undone { "The node is not started at login any more." } else { "Nothing was installed." };
                let second = if standing.running { " It runs now; `twocan down` stops it." } else { "" };
                format!("{first}{second}\n")
            })?;
        }
        ServiceAction::Status => out.show(&place.standing(running), describe)?,
    }
    Ok(Exit::Ok)
}

/// Waits until the node that systemd has just started answers.
async fn answers(home: &Path) -> Result<(), Failure> {
    let begin = Instant::now();
    while Client::connect(home).await.is_err() {
        if begin.elapsed() > WAIT {
            return Err(Failure::new(Exit::NoNode, "systemd has started the node, but it does not answer")
                .hint(format!("`systemctl --user status {UNIT}` says why")));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn describe(standing: &Standing) -> String {
    let by = match standing.manager {
        Manager::Systemd => "systemd",
        Manager::Autostart => "the desktop's autostart",
    };
    let first = if standing.enabled {
        format!("The node is started at login by {by}.")
    } else {
        format!("The node is not started at login; `twocan service install` has {by} do it.")
    };
    let second = if standing.running { "It runs." } else { "It does not run now." };
    let file = standing.file.as_ref().map_or_else(String::new, |file| format!("File: {}\n", file.display()));
    format!("{first} {second}\n{file}")
}

/// A path as text that can stand in a unit or an entry.
fn plain(path: &OsStr) -> Result<&str, Failure> {
    path.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("{path:?} cannot stand in a file of the system's"))
            .hint("move the programs or the home to a folder with a plain name")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A person's folder with a `systemctl` that writes down what it is asked, and answers as it is told.
    fn place(systemd: bool, home: Option<&str>) -> (tempfile::TempDir, Place) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (asked, enabled, answer) = (at("asked"), at("enabled"), u8::from(!systemd));
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {0}\ncase $2 in enable) touch {1};; disable) rm {1};; is-enabled) test -e {1}; \
             exit;; esac\nexit {answer}\n",
            asked.display(),
            enabled.display()
        );
        fs::write(at("systemctl"), script).unwrap();
        fs::set_permissions(at("systemctl"), PermissionsExt::from_mode(0o700)).unwrap();
        let place = Place {
            config: at("config"),
            node: "/opt/two can/twocand".into(),
            client: "/opt/two can/twocan".into(),
            home: home.map(PathBuf::from),
            systemctl: at("systemctl"),
            packaged: vec![at("packaged.service")],
        };
        (folder, place)
    }

    fn asked(folder: &tempfile::TempDir) -> Vec<String> {
        let text = fs::read_to_string(folder.path().join("asked")).unwrap_or_default();
        text.lines().filter(|line| !line.contains("show-environment")).map(str::to_owned).collect()
    }

    #[test]
    fn systemd_gets_a_unit_that_is_enabled_shown_and_taken_away_again() {
        let (folder, place) = place(true, Some("/data/100% mine"));
        assert!(!place.standing(false).enabled);
        let standing = place.install(false).unwrap();
        assert_eq!((standing.manager, standing.file.clone()), (Manager::Systemd, Some(place.unit())));
        let unit = fs::read_to_string(place.unit()).unwrap();
        let starts = "ExecStart=\"/opt/two can/twocand\" \"--home\" \"/data/100%% mine\"\n";
        assert!(unit.contains(starts) && unit.contains("WantedBy=default.target"), "{unit}");
        assert_eq!(asked(&folder)[1..], ["--user daemon-reload", "--user enable --now twocan.service"]);
        assert!(place.standing(true).enabled);
        // Once more changes nothing; a node that runs is not started.
        place.install(true).unwrap();
        assert_eq!(asked(&folder).last().unwrap(), "--user enable twocan.service");
        assert!(place.uninstall().unwrap());
        assert!(!place.unit().exists() && !place.standing(true).enabled);
        assert!(!place.uninstall().unwrap());
    }

    #[test]
    fn the_unit_of_a_package_is_enabled_as_it_is() {
        let (folder, place) = place(true, None);
        let packaged = folder.path().join("packaged.service");
        fs::write(&packaged, "[Service]\nExecStart=/usr/bin/twocand\n").unwrap();
        assert_eq!(place.packaged(), None, "it starts another node");
        fs::write(&packaged, format!("[Service]\nExecStart={}\n", place.node.display())).unwrap();
        assert_eq!(place.install(false).unwrap().file, Some(packaged.clone()));
        assert!(!place.unit().exists() && place.standing(false).enabled);
        assert!(place.uninstall().unwrap());
        assert!(packaged.exists(), "it is the package's");
    }

    #[test]
    fn without_systemd_the_desktop_starts_the_node() {
        let (_folder, place) = place(false, None);
        let standing = place.install(false).unwrap();
        assert_eq!((standing.manager, standing.file.clone()), (Manager::Autostart, Some(place.entry())));
        let entry = fs::read_to_string(place.entry()).unwrap();
        assert!(entry.contains("Exec=\"/opt/two can/twocan\" \"up\"\n"), "{entry}");
        assert!(place.standing(false).enabled);
        assert!(place.uninstall().unwrap() && !place.entry().exists());
    }

    #[test]
    fn what_somebody_else_wrote_is_left_alone() {
        let (_folder, place) = place(true, None);
        fs::create_dir_all(place.unit().parent().unwrap()).unwrap();
        fs::write(place.unit(), "[Service]\nExecStart=/my/own\n").unwrap();
        assert!(place.install(false).unwrap_err().message.contains("was not written by"));
        assert!(!place.uninstall().unwrap());
        assert!(place.unit().exists());
    }

    #[test]
    fn every_standing_is_said_in_words() {
        let standing = Standing { manager: Manager::Systemd, enabled: false, running: true, file: None };
        let text = describe(&standing);
        assert!(text.contains("`twocan service install` has systemd do it") && text.contains("It runs."), "{text}");
        let standing = Standing { manager: Manager::Autostart, enabled: true, running: false, file: Some("/x".into()) };
        assert_eq!(
            describe(&standing),
            "The node is started at login by the desktop's autostart. It does not run now.\nFile: /x\n"
        );
    }
}
