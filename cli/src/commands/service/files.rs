//! The files of `twocan service`: a unit of systemd and an autostart entry, with the quoting that each wants.
//!
//! Sources: systemd.service(5), "Command lines"; the Desktop Entry Specification, "The Exec key".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::plain;
use crate::exit::{Exit, Failure};

/// The unit as packages have it; only what it starts is another.
const UNIT: &str = include_str!("../../../../packaging/twocan.service");
/// Marks what this program wrote, and may take away.
const MARK: &str = "# Written by `twocan service install`; `twocan service uninstall` removes it.";

/// A unit that starts this node.
pub(super) fn unit(node: &Path, home: Option<&Path>) -> Result<String, Failure> {
    let command =
        command(node, home.map(|home| ["--home".as_ref(), home.as_os_str()]).into_iter().flatten(), unit_word)?;
    let lines = UNIT.lines().map(|line| match line.strip_prefix("ExecStart=") {
        Some(_) => format!("ExecStart={command}\n"),
        None => format!("{line}\n"),
    });
    Ok(format!("{MARK}\n{}", lines.collect::<String>()))
}

/// An entry that has the client start its node.
pub(super) fn entry(client: &Path, home: Option<&Path>) -> Result<String, Failure> {
    let home = home.map(|home| ["--home".as_ref(), home.as_os_str()]).into_iter().flatten();
    let command = command(client, home.chain(["up".as_ref()]), entry_word)?;
    Ok(format!(
        "{MARK}\n[Desktop Entry]\nType=Application\nName=twocan\nComment=Starts the node, so that calls arrive\n\
         Exec={command}\nIcon=twocan\nTerminal=false\nNoDisplay=true\n"
    ))
}

fn command<'a>(
    program: &'a Path,
    words: impl Iterator<Item = &'a std::ffi::OsStr>,
    quote: fn(&str) -> String,
) -> Result<String, Failure> {
    let words: Result<Vec<String>, Failure> =
        std::iter::once(program.as_os_str()).chain(words).map(|word| plain(word).map(quote)).collect();
    Ok(words?.join(" "))
}

/// A word of a command line of systemd: in double quotes, where a backslash takes the meaning of the next character away;
/// a per cent sign and a dollar are doubled.
fn unit_word(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{word}\"")
}

/// A word of a desktop entry: in double quotes, with a backslash before four characters. Since a backslash has a meaning in
/// every text of an entry, each stands there twice.
fn entry_word(word: &str) -> String {
    let mut quoted = String::new();
    for character in word.chars() {
        match character {
            '"' | '`' | '$' => quoted.extend(["\\\\", &character.to_string()]),
            '\\' => quoted.push_str("\\\\\\\\"),
            '%' => quoted.push_str("%%"),
            other => quoted.push(other),
        }
    }
    format!("\"{quoted}\"")
}

fn ours(file: &Path) -> io::Result<bool> {
    Ok(fs::read_to_string(file)?.starts_with(MARK))
}

/// Writes a file of ours, over an older one of ours only.
pub(super) fn write(file: &Path, text: &str) -> Result<PathBuf, Failure> {
    match ours(file) {
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(false) => {
            return Err(Failure::new(Exit::Conflict, format!("{} was not written by twocan", file.display()))
                .hint("move it away, or keep it: it may start the node already"));
        }
        Err(error) => return Err(Failure::file(file, "read", &error)),
    }
    let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, text));
    written.map_err(|error| Failure::file(file, "write", &error))?;
    Ok(file.to_owned())
}

/// Removes a file of ours. True: it was there.
pub(super) fn remove(file: &Path) -> Result<bool, Failure> {
    match ours(file) {
        Ok(true) => fs::remove_file(file).map(|()| true).map_err(|error| Failure::file(file, "remove", &error)),
        Ok(false) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::file(file, "read", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_each_file_wants_it() {
        assert_eq!(unit_word("/a b/100%/$x\"\\"), "\"/a b/100%%/$$x\\\"\\\\\"");
        assert_eq!(entry_word("/a b/100%/$x\"\\"), "\"/a b/100%%/\\\\$x\\\\\"\\\\\\\\\"");
        assert!(unit(Path::new("/a\nExecStartPre=/bin/evil"), None).is_err());
        assert!(entry(Path::new("/a\nb"), None).is_err());
    }

    #[test]
    fn the_unit_is_the_packages_but_for_what_it_starts() {
        let own = unit(Path::new("/usr/bin/twocand"), None).unwrap();
        let own = own.replace("\"/usr/bin/twocand\"", "/usr/bin/twocand");
        assert_eq!(own, format!("{MARK}\n{UNIT}"));
    }

    /// systemd's own check, where it is installed.
    #[test]
    fn systemd_takes_the_unit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("twocan.service");
        let here = std::env::current_exe().unwrap();
        fs::write(&file, unit(&here, Some(Path::new("/data/100% mine"))).unwrap()).unwrap();
        let mut command = std::process::Command::new("systemd-analyze");
        command.args(["--user", "--man=no", "verify"]).arg(&file).env("XDG_RUNTIME_DIR", folder.path());
        let (ok, said) = match command.output() {
            Ok(checked) => (checked.status.success(), String::from_utf8_lossy(&checked.stderr).into_owned()),
            Err(error) => (false, error.to_string()),
        };
        assert!(!said.contains("twocan.service"), "{said}");
        if !ok {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "SKIPPED: systemd-analyze does not run here: {said}");
        }
    }
}
